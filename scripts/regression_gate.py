"""Runs a study and fails where it has become worse than a baseline by more than a bound, beyond uncertainty.

    python scripts/regression_gate.py reviews.csv --set source=shop --set target=app --baseline baseline.json --update-baseline
    python scripts/regression_gate.py reviews.csv --set source=shop --set target=app --baseline baseline.json
    python scripts/regression_gate.py --config study.yaml --baseline baseline.json --junit gate.xml --github

Two things are compared: each source drop, and the score on each pair of the chosen method of each budget (``--methods``;
default: the one whose model a run hands over). A check **fails** where the whole 95 % interval of what grew worse lies above
the bound; it is **open**, and passes, where the interval only reaches above it: with so few draws and rows nobody can tell.

The interval is paired, over draws and test groups together, where the store still has what the baseline answered (same test
rows, draws that both have); else it is made of the two intervals of the summaries as if they were independent (Zou & Donner
2008, doi:10.1002/sim.3095), which is wider. Exit codes: 0 passed; 1 worse, or a fit failed; 2 not comparable (other task,
version, metric, labels or test rows: what differs is said), or a mistake. A store answers from what it has: what tests new
code of lowres itself has to name a new store (``--set store=…``), and that of the baseline by ``--baseline-store``.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from pydantic import ValidationError

import lowres
from lowres.analysis.measure import Column, Scores, column_of, start_of
from lowres.analysis.summary import Estimate, Part, Score, Summary
from lowres.cli.talk import put, say
from lowres.errors import LowresError, UserError, clean
from lowres.methods.catalogue import find_method, recommended
from lowres.report.tables import estimate, metric_name, number
from lowres.results import StudyResult, write_text
from lowres.settings import fault
from lowres.stats.shift import drop
from lowres.stats.variance import Quantity, combine, interval
from lowres.study.config import build_config
from lowres.study.plan import Plan
from lowres.study.runner import Outcome
from lowres.study.store import Store


class KeptCell(Part):
    """A cell, its fit, and the checksum of what that answered."""

    method: str
    source: str | None
    target: str
    shots: int | None
    draw: int
    key: str
    answers: str


class Baseline(Part):
    """The summary of a run, and what tells whether another one can be compared with it."""

    schema_version: Literal[1] = 1
    summary: Summary
    labels: list[str]
    test_rows: dict[str, str]
    """Fingerprint by domain."""
    cells: list[KeptCell]


@dataclass(frozen=True)
class Check:
    """Something that was compared; ``worse`` is how much it grew worse, None where it was not measured now."""

    name: str
    before: Estimate | Score
    now: Estimate | Score | None
    worse: Estimate | None
    rule: str
    bound: float

    @property
    def state(self) -> Literal["ok", "open", "FAILED"]:
        if self.worse is None or self.worse.low > self.bound:
            return "FAILED"
        return "open" if self.worse.high > self.bound else "ok"

    def __str__(self) -> str:
        if self.now is None or self.worse is None:
            return f"{self.state:6} {self.name}: {number(self.before.mean)}, now not measured: a fit failed"
        change = f"worse by {estimate(self.worse)}, bound {number(self.bound)}"
        return (
            f"{self.state:6} {self.name}: {number(self.before.mean)} → {number(self.now.mean)}; {change}; {self.rule}"
        )


def make_baseline(result: StudyResult) -> Baseline:
    """What a later run is compared with."""
    outcome, plan = result.outcome, result.plan
    cells = [
        KeptCell(
            method=cell.method, source=cell.source, target=cell.target, shots=cell.shots, draw=cell.draw,
            key=fit.key(outcome.environment),
            answers=_checksum(outcome.probabilities[fit.content, cell.target].tobytes()),
        )
        for cell, fit in plan.fits.items()
    ]  # fmt: skip
    rows = {name: rows.fingerprint for name, rows in plan.test_rows.items()}
    return Baseline(summary=result.summary, labels=list(plan.task.labels), test_rows=rows, cells=cells)


def read_baseline(path: Path) -> Baseline:
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"no baseline {path}", got=error.strerror, hint="--update-baseline makes one") from None
    except ValidationError as error:
        faults = "; ".join(fault(detail) for detail in error.errors()[:3])
        raise UserError(f"{path} is no baseline", got=faults, hint="--update-baseline makes one") from None


def check_comparable(baseline: Baseline, plan: Plan, columns: Sequence[Column]) -> None:
    """Raises a ``UserError`` that names what differs where a comparison would say nothing."""
    study, task = baseline.summary.study, plan.task
    sides = {
        "task": (study.task, task.name),
        "task version": (study.task_version, task.version),
        "metric": (study.metric, task.metric),
        "labels": (", ".join(baseline.labels), ", ".join(task.labels)),
        "protocol": (study.protocol, plan.config.protocol),
        "--limit": (study.limit, plan.config.limit),
    }
    found = [f"{name}: {before}, now {now}" for name, (before, now) in sides.items() if before != now]
    known = {(cell.method, cell.source, cell.target, cell.shots) for cell in plan.fits}
    lost = [f"{method} {source or ''} → {target}, {shots} shots" for method, source, target, shots in columns
            if (method, source, target, shots) not in known]  # fmt: skip
    if not found and not lost:
        own = {name: rows.fingerprint for name, rows in plan.test_rows.items()}
        found = [
            f"test rows of {name}" for name, before in baseline.test_rows.items() if own.get(name, before) != before
        ]
    if found or lost:
        more = [f"not in this study: {'; '.join(lost[:3])}"] if lost else []
        raise UserError(
            "the baseline cannot be compared with this study",
            got="; ".join(found + more),
            hint="--update-baseline makes a new one",
        )


def gated(baseline: Baseline, methods: Sequence[str]) -> list[tuple[str, str, str, int]]:
    """(method, source, target, shots) whose score is compared."""
    study = baseline.summary.study
    found = []
    for shots in study.shots:
        for method in methods or filter(None, [recommended(study.methods, shots)]):
            if shots in find_method(method).budgets(study.shots):
                found += [(method, one.source, one.target, shots) for one in baseline.summary.shift]
    once = {column_of(*place): place for place in reversed(found)}  # a method without a source stands once a target
    return [place for place in found if once[column_of(*place)] == place]


def answers_before(baseline: Baseline, study: lowres.Study, columns: set[Column], folder: Path) -> Outcome:
    """What the baseline's fits answered, as far as a store still has it, in the place of this study's fits."""
    plan, store = study.plan, Store(folder)
    fits = {(cell.method, cell.source, cell.target, cell.shots, cell.draw): fit for cell, fit in plan.fits.items()}
    outcome = Outcome(plan, study.environment)
    for cell in baseline.cells:
        column = (cell.method, cell.source, cell.target, cell.shots)
        fit = fits.get((*column, cell.draw))
        if fit is None or column not in columns:
            continue
        values = store.read_predictions(cell.key, plan.test_rows[cell.target].fingerprint)
        if values is None:
            continue
        outcome.keep(fit, cell.target, values)
        if _checksum(outcome.probabilities[fit.content, cell.target].tobytes()) != cell.answers:
            del outcome.probabilities[fit.content, cell.target]
    return outcome


def checks(baseline: Baseline, result: StudyResult, before: Outcome, options: argparse.Namespace) -> Iterator[Check]:
    """Every drop, then every score."""
    both = before.probabilities.keys() & result.outcome.probabilities.keys()
    old = Scores(replace(before, probabilities={place: before.probabilities[place] for place in both}))
    new = Scores(replace(result.outcome, probabilities={place: result.outcome.probabilities[place] for place in both}))
    drops = {(one.source, one.target): one.source_drop for one in result.summary.shift}
    for one in baseline.summary.shift:
        inside = new.inside(one.source)
        columns = [*inside, start_of(one.source, one.target)]
        grown = _paired(old, new, columns)
        terms = grown and drop(
            combine((column[2], 1 / len(inside), part) for column, part in zip(inside, grown, strict=False)),
            grown[-1],
            same_rows=False,
        )
        now = drops.get((one.source, one.target))
        yield _check(
            f"source drop {one.source} → {one.target}", one.source_drop, now, terms, 1, options.max_drop_growth
        )
    scores = {(one.method, one.source, one.target, one.shots): one for one in result.summary.scores}
    earlier = {(one.method, one.source, one.target, one.shots): one for one in baseline.summary.scores}
    for method, source, target, shots in gated(baseline, options.methods):
        column = column_of(method, source, target, shots)
        if column not in earlier:
            raise UserError(
                f"the baseline has no score of {method} at {shots} shots",
                got=f"methods {', '.join(baseline.summary.study.methods)}",
                hint="--update-baseline after a run with it",
            )
        fallen = _paired(old, new, [column])
        name = f"{metric_name(baseline.summary.study.metric)} of {method} {source} → {target}, {shots} shots"
        yield _check(name, earlier[column], scores.get(column), fallen and (-fallen[0],), -1, options.max_score_fall)


def _paired(old: Scores, new: Scores, columns: list[Column]) -> Quantity | None:
    """Now less before, by draw and test group, over the draws that both have."""
    before, now = old.blocks(columns), new.blocks(columns)
    return None if before is None or now is None else [one - other for one, other in zip(now, before, strict=True)]


def _check(
    name: str, before: Estimate | Score, now: Estimate | Score | None, terms: Quantity | None, sign: int, bound: float
) -> Check:
    if now is None:
        return Check(name, before, None, None, "", bound)
    if terms is not None:
        found = interval(terms)
        rule = f"paired over {len(terms[0].theta)} draws"
        return Check(name, before, now, Estimate(mean=found.mean, low=found.low, high=found.high), rule, bound)
    high, low = (now, before) if sign > 0 else (before, now)
    mean = high.mean - low.mean
    below = math.hypot(high.mean - high.low, low.high - low.mean)
    above = math.hypot(high.high - high.mean, low.mean - low.low)
    return Check(
        name, before, now, Estimate(mean=mean, low=mean - below, high=mean + above), "from two intervals", bound
    )


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_junit(path: Path, found: Sequence[Check]) -> None:
    """One test case a check, as continuous integration reads them."""
    failed = sum(one.state == "FAILED" for one in found)
    suite = ElementTree.Element("testsuite", name="regression_gate", tests=str(len(found)), failures=str(failed))
    for one in found:
        case = ElementTree.SubElement(suite, "testcase", classname="regression_gate", name=clean(one.name))
        ElementTree.SubElement(case, "failure" if one.state == "FAILED" else "system-out").text = clean(str(one))
    write_text(path, ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")


def run(options: argparse.Namespace) -> int:
    """Runs the study and compares; the exit code."""
    for flag in ("max_drop_growth", "max_score_fall"):
        if not 0 <= getattr(options, flag) <= 2:
            raise UserError(f"--{flag.replace('_', '-')}", got=getattr(options, flag), expected="0 up to 2")
    config = build_config({"task": options.task} if options.task else {}, file=options.config, sets=options.set)
    study = lowres.Study(config=config)
    if options.update_baseline:
        result = study.run()
        if not _failed_fits(result):
            write_text(options.baseline, make_baseline(result).model_dump_json(by_alias=True, indent=1) + "\n")
            put(f"{options.baseline} is the baseline now: {len(result.summary.shift)} pairs")
        return 1 if result.outcome.failed else 0
    baseline = read_baseline(options.baseline)
    columns = [column_of(*place) for place in gated(baseline, options.methods)]
    for one in baseline.summary.shift:
        members = study.plan.origins.members(one.source)
        columns += [start_of(one.source, target) for target in (*members, one.target)]
    check_comparable(baseline, study.plan, columns)
    before = answers_before(baseline, study, set(columns), options.baseline_store or study.store.folder)
    result = study.run()
    for name in ("backbone", "row_cap", "seeds"):
        then, now = getattr(baseline.summary.study, name), getattr(result.summary.study, name)
        if then != now:
            say(f"note: {name} {then}, now {now}")
    found = list(checks(baseline, result, before, options))
    for check in found:
        put(clean(str(check)))
        if options.github and check.state == "FAILED":
            put(f"::error title=regression gate::{clean(str(check)).replace('%', '%25')}")
    if options.junit:
        write_junit(options.junit, found)
    bad, unsure = (sum(one.state == state for one in found) for state in ("FAILED", "open"))
    put(f"{len(found)} checks, {bad} failed, {unsure} open")
    return 1 if _failed_fits(result) or bad else 0


def _failed_fits(result: StudyResult) -> bool:
    for content, error in result.outcome.failed.items():
        say(f"failed fit {content[:12]}: {error}")
    return bool(result.outcome.failed)


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", help="a shipped task, a task file or a table; or --config names it")
    parser.add_argument("--baseline", type=Path, required=True, help="JSON file that --update-baseline writes")
    parser.add_argument(
        "--update-baseline", action="store_true", help="run, and make this the baseline; compare nothing"
    )
    parser.add_argument("--config", help="YAML file with the flags of `lowres run`, such as a run's study.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting; may be repeated")
    parser.add_argument(
        "--methods", type=lambda text: text.split(","), default=[], help="whose scores; default: the recommended"
    )
    parser.add_argument("--max-drop-growth", type=float, default=0.02, help="default: 0.02")
    parser.add_argument("--max-score-fall", type=float, default=0.02, help="default: 0.02")
    parser.add_argument("--baseline-store", type=Path, help="store of the baseline's run; default: that of the study")
    parser.add_argument("--junit", type=Path, help="also write the checks as JUnit XML")
    parser.add_argument("--github", action="store_true", help="also print failures as GitHub annotations")
    try:
        return run(parser.parse_args())
    except LowresError as error:
        say(f"error: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
