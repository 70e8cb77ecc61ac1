"""From probabilities to the summary: scores, drops, recovery and verdicts, each a contrast of per-group scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

import lowres
from lowres.analysis.summary import (
    Estimate,
    FitsPart,
    Overall,
    Score,
    SecondsPart,
    Shift,
    StudyPart,
    Summary,
    Transfer,
    Verdict,
    WorstPair,
)
from lowres.kinds import KINDS
from lowres.methods.catalogue import METHODS
from lowres.scoring.metric import Metric
from lowres.stats import curves, paired, shift
from lowres.stats.variance import FEW_DRAWS, Block, Interval, block, combine, group_sums, interval
from lowres.study.label_sets import label_warnings
from lowres.study.runner import Outcome

Column = tuple[str, str | None, str, int | None]
"""(method, source, target, shots): the cells that differ in the draw only."""


@dataclass(frozen=True)
class Scores:
    """Scores of a study's cells by column, as blocks over the draws that all asked-for columns have."""

    outcome: Outcome

    @cached_property
    def columns(self) -> dict[Column, dict[int, str]]:
        """Fit content by draw, of the cells that were finished."""
        found: dict[Column, dict[int, str]] = {}
        for cell, fit in self.outcome.plan.fits.items():
            if (fit.content, cell.target) in self.outcome.probabilities:
                place = (cell.method, cell.source, cell.target, cell.shots)
                found.setdefault(place, {})[cell.draw] = fit.content
        return found

    def blocks(self, columns: Sequence[Column]) -> list[Block] | None:
        """One block a column over their common draws; None if a column is missing or no draw is common."""
        if not columns or any(column not in self.columns for column in columns):
            return None
        draws = sorted(set.intersection(*(set(self.columns[column]) for column in columns)))
        return [self._block(column, tuple(draws)) for column in columns] if draws else None

    def inside(self, source: str) -> list[Column]:
        """SS of a source: a column for each domain that it is made of."""
        return [start_of(source, member) for member in self.outcome.plan.origins.members(source)]

    def starts(self, source: str) -> dict[int, str]:
        """Fit content by draw of ``source-only`` where it was tested on all that its source is made of."""
        first, *others = (self.columns.get(column, {}) for column in self.inside(source))
        return {draw: content for draw, content in first.items() if all(draw in other for other in others)}

    def _block(self, column: Column, draws: tuple[int, ...]) -> Block:
        place = (column, draws)
        if place not in self._blocks:
            contents = [self.columns[column][draw] for draw in draws]
            sums = np.stack([self._group_sums(content, column[2]) for content in contents])
            self._blocks[place] = block(sums, self._metric.value)
        return self._blocks[place]

    def _group_sums(self, content: str, domain: str) -> npt.NDArray[np.float64]:
        """Sums of the metric's statistics over each test group, [groups, k]."""
        place = (content, domain)
        if place not in self._sums:
            rows = self._metric.statistics(self.outcome.targets(domain), self.outcome.probabilities[place])
            _, position = np.unique(self.outcome.plan.test_rows[domain].unit_groups, return_inverse=True)
            self._sums[place] = group_sums(rows, position)
        return self._sums[place]

    @cached_property
    def _metric(self) -> Metric:
        return self.outcome.plan.task.measure

    @cached_property
    def _blocks(self) -> dict[tuple[Column, tuple[int, ...]], Block]:
        return {}

    @cached_property
    def _sums(self) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
        return {}


def summarise(scores: Scores, backbone: str) -> Summary:
    """Everything the study says in numbers; ``backbone`` is its name for people."""
    outcome = scores.outcome
    plan = outcome.plan
    task = plan.task
    seconds = {name: round(value, 3) for name, value in asdict(outcome.seconds).items()}
    return Summary(
        lowres=lowres.__version__,
        study=StudyPart(
            task=task.name,
            task_version=task.version,
            backbone=backbone,
            metric=task.metric,
            domains=list(plan.domains),
            sources=list(plan.sources),
            targets=list(plan.targets),
            shots=sorted(plan.config.shots),
            seeds=plan.config.seeds,
            methods=list(plan.methods),
            limit=plan.config.limit,
            row_cap=plan.row_cap,
            protocol=plan.config.protocol,
        ),
        fits=FitsPart(
            cells=len(plan.fits),
            distinct=len(plan.distinct),
            trained=len(outcome.trained),
            reused=outcome.reused,
            failed=len(outcome.failed),
        ),
        seconds=SecondsPart(**seconds),
        scores=list(_scores(scores)),
        shift=list(_shift(scores)),
        transfer=list(_transfer(scores)),
        overall=list(_overall(scores)),
        verdicts=[*_pair_verdicts(scores), *_overall_verdicts(scores)],
        warnings=_warnings(outcome),
    )


def reference(shots: int) -> str:
    """The method that verdicts at this budget compare with, named beforehand."""
    return "target-only" if shots else "source-only"


def start_of(source: str, target: str) -> Column:
    """ST of a pair; with a domain that the source is made of as target, SS on it."""
    return "source-only", source, target, 0


def ceiling_of(target: str) -> Column:
    """TT of a domain."""
    return "target-full", None, target, None


def _scores(scores: Scores) -> Iterator[Score]:
    metric = scores.outcome.plan.task.measure
    for (method, source, target, shots), columns in _placed(scores).items():
        level = mean_over(scores, columns)
        if level is None:
            continue
        yield Score(
            method=method,
            source=source,
            target=target,
            shots=shots,
            metric=metric.name,
            seeds=len(level[0].theta),
            **_bounds(interval(level, bounds=metric.bounds)),
        )


def _placed(scores: Scores) -> dict[Column, list[Column]]:
    """Columns by where their score stands: SS of a set of domains, with the set as target, is the mean over them."""
    found: dict[Column, list[Column]] = {}
    for column in scores.columns:
        method, source, target, shots = column
        if source is not None and target in scores.outcome.plan.origins.members(source):
            found[method, source, source, shots] = scores.inside(source)
        else:
            found[column] = [column]
    return found


def _shift(scores: Scores) -> Iterator[Shift]:
    metric = scores.outcome.plan.task.measure
    for source, target in scores.outcome.plan.pairs:
        inside = scores.inside(source)
        outside, ceiling = start_of(source, target), ceiling_of(target)
        both = scores.blocks([*inside, outside])
        if both is None:
            continue
        own = combine((column[2], 1 / len(inside), one) for column, one in zip(inside, both, strict=False))
        fall = interval(shift.drop(own, both[-1], same_rows=False))
        above = scores.blocks([ceiling, outside])
        gap = interval(shift.drop(above[0], above[1], same_rows=True)) if above else None
        yield Shift(
            source=source,
            target=target,
            metric=scores.outcome.plan.task.metric,
            source_drop=difference_of(fall, metric),
            target_drop=difference_of(gap, metric) if gap else None,
            scenario=shift.scenario(fall.mean, gap.mean) if gap else None,
        )


def _transfer(scores: Scores) -> Iterator[Transfer]:
    metric = scores.outcome.plan.task.measure
    for method, source, target, shots in _compared(scores):
        own = column_of(method, source, target, shots)
        start, ceiling = start_of(source, target), ceiling_of(target)
        alone: Column = ("target-only", None, target, shots)
        with_start = scores.blocks([own, start])
        if with_start is None:
            continue
        ratio = _recovery(scores, [(source, target)], method, shots)
        against = scores.blocks([own, alone]) if shots and METHODS[method].transfers else None
        yield Transfer(
            method=method,
            source=source,
            target=target,
            shots=shots,
            gain=difference_of(interval([with_start[0] - with_start[1]]), metric),
            net_transfer=difference_of(interval([against[0] - against[1]]), metric) if against else None,
            recovery=estimate_of(ratio.interval) if ratio.interval else None,
            recovery_reason=ratio.reason
            if ceiling in scores.columns
            else "the target has no rows to train a ceiling on",
            labels_saved=_labels_saved(scores, own) if METHODS[method].transfers else None,
        )


def _labels_saved(scores: Scores, own: Column) -> Estimate | None:
    """Labels that target-only would need, along its budgets up to the ceiling's."""
    plan, target = scores.outcome.plan, own[2]
    if not KINDS[plan.task.kind].single:
        return None  # a budget is no number of labels there
    steps: list[tuple[int, Column]] = [
        (budget * len(plan.task.labels_in(target)), ("target-only", None, target, budget))
        for budget in sorted(plan.config.shots)
        if budget
    ]
    if not steps or plan.row_cap > steps[-1][0]:
        steps.append((plan.row_cap, ceiling_of(target)))
    blocks = scores.blocks([own, *(column for _, column in steps)])
    if blocks is None or len(steps) < 2:
        return None
    match = curves.labels_to_match([labels for labels, _ in steps], blocks[1:], blocks[0])
    return estimate_of(match.interval) if match.interval else None


def _overall(scores: Scores) -> Iterator[Overall]:
    """Each method and budget over all pairs that it was finished on."""
    metric = scores.outcome.plan.task.measure
    for method, shots in dict.fromkeys((method, shots) for method, _, _, shots in _compared(scores, own_start=True)):
        pairs = [
            (source, target)
            for source, target in scores.outcome.plan.pairs
            if column_of(method, source, target, shots) in scores.columns and start_of(source, target) in scores.columns
        ]
        own = [column_of(method, source, target, shots) for source, target in pairs]
        start: list[Column] = [start_of(source, target) for source, target in pairs]
        alone: list[Column] = [("target-only", None, target, shots) for _, target in pairs]
        level, gain = mean_over(scores, own), mean_over(scores, own, start)
        if level is None or gain is None:
            continue
        uses = bool(shots) and METHODS[method].transfers
        net = mean_over(scores, own, alone) if uses else None
        means = [
            (pair, float(np.mean(blocks[0].theta)))
            for pair, column in zip(pairs, own, strict=True)
            if (blocks := scores.blocks([column]))
        ]
        losses = [
            float(np.mean((blocks[0] - blocks[1]).theta))
            for column, other in zip(own, alone, strict=True)
            if uses and (blocks := scores.blocks([column, other]))
        ]
        (worst_source, worst_target), lowest = paired.worst_pair(means)
        ratio = _recovery(scores, pairs, method, shots)
        yield Overall(
            method=method,
            shots=shots,
            score=estimate_of(interval(level, bounds=metric.bounds)),
            gain=difference_of(interval(gain), metric),
            recovery=estimate_of(ratio.interval) if ratio.interval else None,
            net_transfer=difference_of(interval(net), metric) if net else None,
            worst_pair=WorstPair(source=worst_source, target=worst_target, mean=lowest),
            negative_transfer_rate=paired.negative_transfer_rate(losses) if losses else None,
        )


def _recovery(scores: Scores, pairs: list[tuple[str, str]], method: str, shots: int) -> shift.Ratio:
    own = [column_of(method, source, target, shots) for source, target in pairs]
    start: list[Column] = [start_of(source, target) for source, target in pairs]
    ceiling: list[Column] = [ceiling_of(target) for _, target in pairs]
    blocks = scores.blocks([*own, *start, *ceiling])
    if blocks is None:
        return shift.Ratio(None, "a fit it needs is missing")
    size = len(pairs)
    won = combine((target, 1 / size, blocks[place] - blocks[size + place]) for place, (_, target) in enumerate(pairs))
    lost = combine(
        (target, 1 / size, blocks[2 * size + place] - blocks[size + place]) for place, (_, target) in enumerate(pairs)
    )
    return shift.recovery(won, lost)


def mean_over(scores: Scores, own: list[Column], minus: list[Column] | None = None) -> tuple[Block, ...] | None:
    """Mean over columns of a score, or of its difference to others on the same test rows."""
    blocks = scores.blocks([*own, *(minus or [])])
    if blocks is None:
        return None
    size = len(own)
    return combine(
        (column[2], 1 / size, blocks[place] - blocks[size + place] if minus else blocks[place])
        for place, column in enumerate(own)
    )


def _pair_verdicts(scores: Scores) -> Iterator[Verdict]:
    for source, target in scores.outcome.plan.pairs:
        yield from _verdicts(scores, [(source, target)], source, target)


def _overall_verdicts(scores: Scores) -> Iterator[Verdict]:
    if len(scores.outcome.plan.pairs) > 1:
        yield from _verdicts(scores, scores.outcome.plan.pairs, None, None)


def _verdicts(
    scores: Scores, pairs: list[tuple[str, str]], source: str | None, target: str | None
) -> Iterator[Verdict]:
    """One family a budget: all methods measured there, against its reference."""
    metric = scores.outcome.plan.task.measure
    for shots in sorted(scores.outcome.plan.config.shots):
        names, differences = [], []
        for method in scores.outcome.plan.methods:
            if method == reference(shots) or shots not in METHODS[method].budgets(
                list(scores.outcome.plan.config.shots)
            ):
                continue
            own = [column_of(method, one, other, shots) for one, other in pairs]
            difference = mean_over(
                scores, own, [column_of(reference(shots), one, other, shots) for one, other in pairs]
            )
            if difference is not None and len(difference[0].theta) > 1:  # one draw cannot tell a method from its luck
                names.append(method)
                differences.append(difference)
        if not differences:
            continue
        for method, found in zip(names, paired.compare(differences), strict=True):
            yield Verdict(
                method=method,
                against=reference(shots),
                source=source,
                target=target,
                shots=shots,
                difference=difference_of(found.difference, metric),
                p_adjusted=found.p_adjusted,
                verdict=found.verdict,
                minimum_detectable=found.minimum_detectable,
            )


def _compared(scores: Scores, own_start: bool = False) -> Iterator[tuple[str, str, str, int]]:
    """(method, source, target, shots) of everything that is compared with the start, methods without source too."""
    for method, shots in methods_by_budget(scores):
        if shots is None or (method == "source-only" and not own_start):
            continue
        for source, target in scores.outcome.plan.pairs:
            if column_of(method, source, target, shots) in scores.columns:
                yield method, source, target, shots


def methods_by_budget(scores: Scores) -> Iterator[tuple[str, int | None]]:
    """Each method of the study with each budget it is measured at; None for the ceiling."""
    plan = scores.outcome.plan
    for method in plan.methods:
        for shots in METHODS[method].budgets(sorted(plan.config.shots)):
            yield method, shots


def column_of(method: str, source: str, target: str, shots: int | None) -> Column:
    """Where a method's scores on a pair stand; one that uses no source has the same column for every source."""
    return method, source if METHODS[method].uses_source else None, target, shots


def _warnings(outcome: Outcome) -> list[str]:
    plan = outcome.plan
    found = list(outcome.warnings)
    if plan.config.seeds == 1:
        found.append("one draw: no verdicts, and intervals speak of the test rows only; take five or more")
    elif plan.config.seeds < FEW_DRAWS:
        found.append(f"few draws: {plan.config.seeds}; intervals are wide, five or more are better")
    if KINDS[plan.task.kind].budget:
        found.append(f"shots, and labels a class, mean here: {KINDS[plan.task.kind].budget}")
    if plan.config.limit is not None:
        found.append(f"at most {plan.config.limit} test rows a domain (--limit)")
    if outcome.failed:
        found.append(f"{len(outcome.failed)} fits failed; their cells are missing")
    found += [
        f"{name}: no rows to train on, so no ceiling and no labelled shots"
        for name in plan.targets
        if not len(plan.task.domains[name].train)
    ]
    if len(plan.pairs) > 1:
        found.append("averages over pairs speak of these domains, not of domains in general")
    found += label_warnings(plan.task, plan.origins, plan.test_rows)
    return [*found, *plan.task.findings.warnings]


def estimate_of(found: Interval) -> Estimate:
    """An interval as results show it."""
    return Estimate(**_bounds(found))


def difference_of(found: Interval, metric: Metric) -> Estimate:
    """The interval of a difference of two scores, cut where no difference of the metric can lie."""
    most = metric.bounds[1] - metric.bounds[0]
    return Estimate(mean=found.mean, low=max(found.low, -most), high=min(found.high, most))


def _bounds(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}
