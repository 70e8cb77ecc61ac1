"""What a search found: the typed result, its sentence, and the config that it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

import lowres
from lowres import settings
from lowres.analysis.measure import difference_of, estimate_of
from lowres.analysis.summary import Estimate, Part
from lowres.errors import UserError
from lowres.scoring.metric import Metric
from lowres.stats.paired import Comparison, compare
from lowres.stats.variance import FEW_DRAWS, Quantity, interval
from lowres.study.config import StudyConfig
from lowres.study.validation import RULES, Validated
from lowres.tuning.search import Search, Searched, Trial
from lowres.tuning.space import value_of

FIRST_LINE = "# chosen by lowres tune"
ONE_DRAW = "one draw: nothing says how much the score varies"


class Tried(Part):
    """One trial: method, the settings that were searched, score of each draw and their mean."""

    number: int
    method: str
    settings: dict[str, float | int]
    score: float | None
    draws: list[float]
    failed: str | None


class Difference(Part):
    """The best trial less the default recipe of the first method, paired by draw.

    ``estimate`` has its own interval, which knows nothing of the choice among the trials; ``p_adjusted`` and ``verdict`` are
    Holm's over all distinct candidates.
    """

    estimate: Estimate
    p_adjusted: float
    verdict: Literal["better", "worse", "no difference shown"]
    minimum_detectable: float


class Tuned(Part):
    """What was searched, every trial, and the one that was chosen. No dev or test row of a target entered it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    lowres: str
    search: str
    """Its name in the database."""
    task: str
    task_version: int
    backbone: str
    metric: str
    sources: list[str]
    targets: list[str]
    shots: int
    draws: int
    by: str
    """``source-dev`` or ``few-shot``."""
    folds: int | None
    row_cap: int
    methods: list[str]
    space: dict[str, dict[str, str]]
    """Ranges by method and setting."""
    trials: list[Tried]
    tried: int
    """Distinct candidates among them."""
    fits_trained: int
    """By this call; earlier ones and the store may have had the others."""
    chosen: int
    """Number of the best trial."""
    default: Estimate | None
    """Score of trial 0."""
    best: Estimate | None
    difference: Difference | None
    difference_reason: str | None
    """Why there is no difference."""
    says: str
    warnings: list[str]
    config: str | None = None
    """The file with the chosen config."""
    fits: tuple[str, ...] = ()
    """Keys of all that the trials rest on; none in files of earlier versions."""

    def to_json(self) -> str:
        """As JSON."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def tuned(search: Search, done: Searched, backbone: str) -> Tuned:
    """The result of a search; ``backbone`` is its name for people."""
    how, first, best = search.how, done.first, done.best
    metric = how.task.measure
    certain = how.draws > 1 or how.by == "source-dev"
    found = _compared(done) if certain else None
    scores = [
        estimate_of(interval(trial.found.quantity, bounds=metric.bounds))
        if certain and isinstance(trial.found, Validated)
        else None
        for trial in (first, best)
    ]
    return Tuned(
        lowres=lowres.__version__,
        search=search.name,
        task=how.task.name,
        task_version=how.task.version,
        backbone=backbone,
        metric=how.task.metric,
        sources=list(how.sources),
        targets=list(how.targets),
        shots=how.shots,
        draws=how.draws,
        by=how.by,
        folds=how.folds if how.by == "few-shot" else None,
        row_cap=how.row_cap,
        methods=list(search.methods),
        space={name: {one.path: one.shown() for one in dimensions} for name, dimensions in search.spaces.items()},
        trials=[_tried(trial) for trial in done.trials],
        tried=len(_distinct(done)),
        fits_trained=done.trained,
        chosen=best.number,
        default=scores[0],
        best=scores[1],
        difference=None if found is None else _difference(found, metric),
        difference_reason=None
        if found
        else ONE_DRAW
        if best is not first
        else "no trial scored above the default recipe",
        says=_sentence(search, done, found),
        warnings=done.warnings,
        fits=tuple(search.keys(done)),
    )


def _tried(trial: Trial) -> Tried:
    found = trial.found
    scored = isinstance(found, Validated)
    return Tried(
        number=trial.number,
        method=trial.candidate.method,
        settings=dict(trial.values),
        score=found.mean if isinstance(found, Validated) else None,
        draws=found.draws if isinstance(found, Validated) else [],
        failed=None if scored else str(found),
    )


def _distinct(done: Searched) -> list[Trial]:
    """One trial a candidate, the earliest."""
    return list({trial.candidate: trial for trial in reversed(done.trials)}.values())[::-1]


def _compared(done: Searched) -> Comparison | None:
    """The best trial against the first; the family is every distinct candidate that has a score. None if it is the first."""
    first, best = done.first, done.best
    if best is first or not isinstance(first.found, Validated):
        return None
    others = [trial for trial in _distinct(done) if trial is not first and isinstance(trial.found, Validated)]
    family = [
        minus(trial.found.quantity, first.found.quantity) for trial in others if isinstance(trial.found, Validated)
    ]
    return compare(family)[others.index(best)]


def minus(one: Quantity, other: Quantity) -> Quantity:
    """The difference of two quantities on the same test sets."""
    return tuple(own - its for own, its in zip(one, other, strict=True))


def _difference(found: Comparison, metric: Metric) -> Difference:
    return Difference(
        estimate=difference_of(found.difference, metric),
        p_adjusted=found.p_adjusted,
        verdict=found.verdict,
        minimum_detectable=found.minimum_detectable,
    )


def _sentence(search: Search, done: Searched, found: Comparison | None) -> str:
    how, first, best = search.how, done.first, done.best
    rows = RULES[how.by] if how.by == "source-dev" else f"{how.folds}-fold {RULES[how.by]}"
    count = f"{how.draws} draw{'s' * (how.draws > 1)}" + (", few" if how.draws < FEW_DRAWS else "")
    begin = f"{len(_distinct(done))} candidates on {rows}, {count}: "
    if best is first:
        return begin + f"none scored above the default recipe of {first.candidate.method} ({first.mean:.3f})"
    begin += f"trial {best.number} ({best.candidate.method}) {best.mean:.3f}, the default recipe of "
    begin += f"{first.candidate.method} {first.mean:.3f}"
    if found is None:
        return f"{begin}; {ONE_DRAW}"
    metric = how.task.measure
    one = difference_of(found.difference, metric)
    end = f"; {one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}], {found.verdict}"
    if found.minimum_detectable > metric.bounds[1] - metric.bounds[0]:
        end += " (so few draws show no difference, however large)"
    elif found.verdict == "no difference shown":
        end += f" (could have seen {100 * found.minimum_detectable:.1f} points)"
    return begin + end


def config_text(search: Search, done: Searched, result: Tuned, origin: Mapping[str, Any]) -> str:
    """The chosen config as YAML that every command on a study reads; under ``provenance`` how it was chosen."""
    import yaml

    how, best = search.how, done.best
    own = replace(
        best.candidate.config,
        source=how.sources,
        target=how.targets,
        shots=(how.shots,),
        methods=(best.candidate.method,),
        precision=search.environment.precision,
        out=None,
        force=False,
    )
    facts = {
        "search": result.search,
        "by": how.by,
        "folds": result.folds,
        "dev_rows": how.dev_rows,
        "draws": how.draws,
        "trial": best.number,
        "tried": result.tried,
        "score": best.mean,
        "default_score": done.first.mean,
        "says": result.says,
    }
    body = yaml.safe_dump(plain(own) | {"provenance": {"tuning": facts, **origin}}, sort_keys=False, allow_unicode=True)
    changes = _changes(best, done.first)
    lines = [FIRST_LINE, f"# {result.says}", f"# changed: {', '.join(changes) or 'nothing'}"]
    return "\n".join(" ".join(line.split()) for line in lines) + "\n" + body


def plain(config: StudyConfig) -> dict[str, Any]:
    """A config as names and values; what is not set, and settings of methods that are the default, are left out."""
    given = {name: value for name, value in settings.as_dict(config).items() if value is not None and name != "method"}
    groups: dict[str, dict[str, Any]] = {}
    for path, value in config.method.changed().items():
        group, _, name = path.partition(".")
        groups.setdefault(group, {})[name] = value
    return given | ({"method": groups} if groups else {})


def _changes(best: Trial, first: Trial) -> Sequence[str]:
    """What the chosen config has other than the one that the search began with."""
    names = [first.candidate.method, best.candidate.method]
    return [f"method {' → '.join(names)}"] * (names[0] != names[1]) + [
        f"{path} {value_of(first.candidate.config, path)} → {value}"
        for path, value in best.values.items()
        if value != value_of(first.candidate.config, path)
    ]


def check_out(path: Path) -> None:
    """Refuses to write the chosen config over a file that no search wrote, before anything is trained.

    Raises:
        UserError: Such a file is there, or the name has no ending of a YAML file.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"the chosen config cannot be {path}", expected="a name that ends in .yaml")
    if path.exists() and not is_chosen(path):
        raise UserError(f"{path} is there and was not written by lowres tune", hint="choose another --out")


def is_chosen(path: Path) -> bool:
    """Whether a search wrote this file of a chosen config."""
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.readline().rstrip() == FIRST_LINE
    except (OSError, ValueError):
        return False


def read_tuned(path: Path) -> Tuned:
    """What stands beside the file of a chosen config.

    Raises:
        UserError: Nothing does, or it is of another version.
    """
    beside, again = path.with_suffix(".json"), "run the same lowres tune again: it trains nothing"
    try:
        found = Tuned.model_validate_json(beside.read_bytes())
    except OSError as error:
        raise UserError(f"{path} has no trials beside it", got=f"{beside}: {error.strerror}", hint=again) from None
    except ValidationError as error:
        faults = "; ".join(settings.fault(detail) for detail in error.errors()[:3])
        raise UserError(f"{beside} is no search that this version reads", got=faults, hint=again) from None
    if not found.fits:
        raise UserError(f"{beside} does not name its fits", got="a file of an earlier version", hint=again)
    return found
