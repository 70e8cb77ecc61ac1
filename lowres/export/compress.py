"""``compress``: a fitted model made smaller or faster, loaded again, and compared with what it was."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lowres
from lowres.analysis.asked import kept
from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.export import compare
from lowres.export.compression import Compression, MaxLossError
from lowres.export.shrink import METHODS, EarlyExit, Settings
from lowres.export.teaching import Teaching, Told
from lowres.export.whole import is_stock, with_encoder
from lowres.kinds import KINDS
from lowres.models.abstention import Counted
from lowres.models.classifier import Classifier, check_place, load_classifier
from lowres.models.device import resolve
from lowres.scoring.operating import operating_steps
from lowres.study.protocol import JOIN

MOST_TEXTS = 8000
"""Texts of a domain that a method is given."""
RECORD = "compression.json"
FEW_ROWS = 200
"""Test rows of a domain below which a report says so."""


@dataclass(frozen=True)
class Ground:
    """What a compression is tried on: domains of a task, and how much of them is looked at."""

    task: Task
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    limit: int | None = None
    """At most so many test rows a domain."""
    texts: int = MOST_TEXTS
    """At most so many train texts a domain, labels out of reach."""

    @property
    def tests(self) -> dict[str, Rows]:
        """Test rows by domain, sources first."""
        names = (*self.sources, *self.targets)
        return {name: splits.limit_test(self.task.name, self.task.domain(name).test, self.limit) for name in names}

    @property
    def unlabelled(self) -> list[str]:
        """Train texts of all domains, those of draw 0, one of each domain in turn: the first of them are of all domains."""
        parts = []
        for name in (*self.sources, *self.targets):
            train = self.task.domain(name).train
            parts.append(splits.cap(self.task.name, train, self.texts, 0).texts if len(train) else ())
        turns = itertools.zip_longest(*parts)
        return [text for turn in turns for text in turn if text is not None]


def ground(
    model: Classifier,
    task: Task,
    *,
    sources: Sequence[str] = (),
    targets: Sequence[str] = (),
    limit: int | None = None,
    texts: int = MOST_TEXTS,
) -> Ground:
    """Where a model is tried: by default on the source and the target that it was made for, or where it had no source on
    its own domain and all others.

    Raises:
        UserError: An unknown domain, one without test rows, or a task of another kind.
    """
    if task.kind != model.kind:
        raise UserError("the adapter was made for another kind of task", got=task.kind, expected=model.kind)
    own, made_for = model.about.get("source"), model.about.get("target")
    if not sources:
        if own is None and made_for is None:
            raise UserError(
                "the model does not say on which domain it was trained", hint="name a source: --source DOMAIN"
            )
        known = str(own).split(JOIN) if own else [str(made_for)]
        if missing := [name for name in known if name not in task.domains]:
            raise UserError(
                f"the adapter was made for {', '.join(missing)}, which task {task.name} lacks",
                expected=", ".join(task.domains),
                hint="name a source: --source DOMAIN",
            )
        sources = known
    if not targets:
        others = [str(made_for)] if own and made_for in task.domains else [*task.domains]
        targets = [name for name in others if name not in sources]
    both = [name for name in targets if name in sources]
    if both:
        raise UserError("a domain is source and target", got=", ".join(both))
    fresh = {name: replace(domain, test=kept(model, domain.test)[0]) for name, domain in task.domains.items()}
    task = replace(task, domains=fresh)  # rows that a patch has taught are scored no more
    found = Ground(task, tuple(dict.fromkeys(sources)), tuple(dict.fromkeys(targets)), limit, texts)
    for name, rows in found.tests.items():
        if len(groups := set(rows.groups)) < 2:
            raise UserError(
                f"domain {name} has too few test rows for an interval", got=f"{len(rows)} rows of {len(groups)} groups",
                expected="at least 2 groups",
            )  # fmt: skip
    if texts < 1:
        raise UserError("texts", got=texts, expected="at least 1")
    return found


def compress(
    model: Classifier,
    where: Ground,
    method: str,
    settings: Settings,
    out: str | Path,
    *,
    max_loss: float | None = None,
    told: Told = lambda _: None,
) -> Compression:
    """Makes a smaller or faster model, saves it, loads it again and compares it with the one before.

    No label is looked at to make it. The comparison is on test rows: of this one model, so its intervals are over test groups.

    Args:
        model: The one before.
        where: Domains of its task.
        method: A name of ``shrink.METHODS``.
        settings: Of the method.
        out: Folder of the new model.
        max_loss: Refuse a model whose score on any domain falls by more.
        told: Told how far the method is, 0 … 1.

    Raises:
        UserError: The method does not fit the model, or the folder holds something else.
        MaxLossError: The score fell by more than ``max_loss``; nothing is written.
    """
    folder = Path(out)
    check_place(folder)
    if folder.resolve() in (model.tokenizer.resolve(), model.backbone.folder.resolve().parent):
        raise UserError("the new model would take the place of the old one", got=folder, expected="another folder")
    if (folder / "lowres.json").exists() and not (folder / RECORD).exists():
        raise UserError(f"{folder} holds a model that is no compressed one", hint="choose an empty or new folder")
    above = next(one for one in folder.resolve().parents if one.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise UserError(
            f"{folder} cannot be written", got=f"{above} is no folder to write to", hint="choose another --out"
        )
    if max_loss is not None and not 0 <= max_loss <= 1:
        raise UserError("the bound on the loss", got=f"{max_loss:g}", expected="0 to 1")
    check_input(model, method)
    texts = where.unlabelled
    if not texts:
        raise UserError("no train texts to learn from", got=f"domains {', '.join((*where.sources, *where.targets))}")
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        precision = resolve("cpu").precision if isinstance(settings, Teaching) else model.precision
        learner = replace(model, device="cpu", precision=precision)
        made = METHODS[method].act(learner, settings, texts, Path(place) / "encoder", told)
        made = replace(made, device=model.device, precision=model.precision)
        seconds = time.perf_counter() - began
        draft = _described(made, model, method, where).save(Path(place) / "draft", texts[:8])
        after = load_classifier(draft, device=model.device, precision=model.precision)
        before = with_encoder(model, model.merged(), Path(place) / "before", what="merged")
        found = compared([(before, after)], where, method, settings, seconds, len(texts))
        if model.whole:  # its own size, not that of its weights in fp32
            own = compare.stored(model)
            found = found.model_copy(update={"before": found.before.model_copy(update={"bytes": own})})
        if after.exits:
            left = found.after.flops / found.before.flops
            note = f"{left:.0%} of the operations are left on test rows of {where.sources[0]}"
            if isinstance(settings, EarlyExit) and settings.speed is None:
                note += f"; {settings.asked:.0%} were asked for, and held on the train texts of all domains"
            settled, warnings = {**found.settings, "speed": after.speed}, [*found.warnings, note]
            found = found.model_copy(update={"settings": settled, "warnings": warnings})
        check_loss(found, max_loss)
        _measured(after, where, found).save(folder, texts[:8], {RECORD: found.to_json()})
    return found


def compared(
    pairs: Sequence[tuple[Classifier, Classifier]],
    where: Ground,
    method: str,
    settings: Settings | None,
    seconds: float,
    texts: int,
) -> Compression:
    """Both sides of each pair on all test rows; with several pairs, such as one a draw, intervals are over these too.

    Args:
        pairs: (Before, after), both whole models; costs are those of the first pair.
        where: Domains of their task.
        method: Its name.
        settings: Its settings, if it has any.
        seconds: That it took.
        texts: That it was given.
    """
    import torch

    task, tests = where.task, where.tests
    known = task.labels if task.labels_of else ()
    asked = [(compare.ask(before, tests, known), compare.ask(after, tests, known)) for before, after in pairs]
    before, after = pairs[0]
    first = where.sources[0]
    sample = list(tests[first].texts)
    times, gains = compare.timed(before, after, sample)
    about = before.about
    return Compression(
        lowres=lowres.__version__,
        task=task.name,
        task_version=task.version,
        metric=task.metric,
        model=f"{before.backbone.name}, {about.get('method', 'lowres')}",
        method=method,
        settings=asdict(settings) if settings else {},
        texts=texts,
        draws=len(pairs),
        device=before.device,
        precision=before.precision,
        threads=torch.get_num_threads(),
        seconds=round(seconds, 2),
        before=compare.side(before, sample, times[0]),
        after=compare.side(after, sample, times[1]),
        speed_up=gains,
        domains=compare.on_domains(asked, tests, task.measure, where.sources, task.kind),
        shift=compare.falls(asked, tests, task.measure, where.sources),
        warnings=[
            f"{name} has {len(rows)} test rows, fewer than {FEW_ROWS}: a small change is not told from chance there"
            for name, rows in tests.items()
            if len(rows) < FEW_ROWS
        ],
    )


def check_loss(found: Compression, max_loss: float | None) -> None:
    """Raises ``MaxLossError`` where the score of a domain fell by more than allowed."""
    worse = [one for one in found.domains if max_loss is not None and -one.change.mean > max_loss]
    if worse:
        raise MaxLossError(
            [
                f"{one.domain}: {one.before.mean:.3f} → {one.after.mean:.3f}, {one.change.mean:+.3f}"
                f" [{one.change.low:+.3f}, {one.change.high:+.3f}], more than a max_loss of {max_loss:g}"
                for one in worse
            ],
            found,
        )


def check_input(model: Classifier, method: str) -> None:
    """Refuses a model that a method cannot take.

    Raises:
        UserError: It computes in eight bits, or its linears are not those of its configuration and the method needs them.
    """
    if model.backbone.computed == "dynamic":
        raise UserError(
            "a model that computes in eight bits is not compressed again",
            hint="compress the model that it was made of, and quantise last; --bits weights can be compressed again",
        )
    if model.whole and method != "quantise" and not is_stock(model.network):
        raise UserError(
            f"{method} needs the linears of a configuration", got="a pruned encoder, or one of low rank",
            hint="such a model can be quantised; do that last",
        )  # fmt: skip


def _described(made: Classifier, model: Classifier, method: str, where: Ground) -> Classifier:
    """The new model with a card that says how it came about; what was counted on the model before does not hold for it."""
    step = f"{method}, on train texts without labels of {', '.join((*where.sources, *where.targets))}"
    before = model.about.get("compressed")
    origin = model.about.get("made of") or model.backbone.hub_id or model.backbone.name
    about = {**model.about, "made of": origin, "compressed": f"{before}; {step}" if before else step, "scores": []}
    return replace(made, about=about, counted=None)


def _measured(model: Classifier, where: Ground, found: Compression) -> Classifier:
    """The model with its own scores, and where it can say when to abstain its own counts."""
    scores = [
        {"task": found.task, "domain": one.domain, "metric": found.metric, "value": one.after.mean}
        for one in found.domains
    ]
    made: Classifier = replace(model, about={**model.about, "scores": scores})
    domain: Any = model.about.get("target") or where.sources[0]
    rows = where.tests.get(domain)
    if rows is None or not KINDS[model.kind].single or set(rows.by_label()) - set(model.labels):
        return made
    steps = operating_steps(rows.targets(model.labels), model.predict_proba(list(rows.texts)), rows.groups)
    return replace(made, counted=Counted(found.task, domain, "test", steps))
