"""What scores cost, in target labels, seconds and FLOPs, and the laws by which they rise with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lowres import seeds
from lowres.analysis.evidence import Against, Cost, Law, LawPoint
from lowres.analysis.measure import Column, Scores, ceiling_of, column_of, mean_over, methods_by_budget
from lowres.models.backbone import Backbone
from lowres.stats import laws
from lowres.stats.variance import Block, Floats, combine, interval, moments
from lowres.study.plan import tokens_trained
from lowres.study.store import Store
from lowres.training.fit import Fit

CURVE_POINTS = 25
Place = tuple[str, str | None, str | None]
"""Method, source (None: it uses none) and target (None: over all pairs)."""
AGAINST: tuple[Against, ...] = ("labels", "seconds", "flops")


@dataclass(frozen=True)
class Bills:
    """What each fit cost with everything it starts from.

    Seconds are those in its record: of the machine that trained it, and of a fit's share of what was trained together.
    FLOPs are counted as ``lowres plan`` counts its floor: forward and backward passes of the encoder's linears, lengths
    estimated from characters; a solver on frozen features pays for the features alone.
    """

    scores: Scores
    backbone: Backbone
    store: Store

    def of(self, columns: Sequence[Column]) -> dict[Against, float] | None:
        """Mean cost over the columns and their common draws; None if a fit of theirs, or one it starts from, failed."""
        if self.scores.blocks(columns) is None:
            return None
        known = self.scores.columns
        draws = set.intersection(*(set(known[column]) for column in columns))
        bills = [self._bill(known[column][draw], column[2]) for column in columns for draw in draws]
        each = [bill for bill in bills if bill is not None]
        if len(each) < len(bills):
            return None
        return {against: float(np.mean([bill[against] for bill in each])) for against in AGAINST}

    def _bill(self, content: str, target: str) -> dict[Against, float] | None:
        plan = self.scores.outcome.plan
        chain = plan.distinct[content].lineage()
        if any(fit.content not in self._work for fit in chain):
            return None
        seconds, flops = (sum(self._work[fit.content][place] for fit in chain) for place in (0, 1))
        labels = len(
            {
                row
                for fit in chain
                for part in fit.parts
                if part.rows.domain == target and set(fit.labels) <= set(plan.task.labels) and not part.rows.unlabelled
                for row in part.rows.ids
            }
        )
        return {"labels": float(labels), "seconds": seconds, "flops": flops}

    @cached_property
    def _work(self) -> dict[str, tuple[float, float]]:
        """Seconds and FLOPs of each fit that was finished, without its start."""
        outcome = self.scores.outcome
        return {
            content: (float(self.store.record(fit.key(outcome.environment))["seconds"]), self._flops(fit))
            for content, fit in outcome.plan.distinct.items()
            if content not in outcome.failed
        }

    def _flops(self, fit: Fit) -> float:
        live = fit.adapter.live_layers if fit.adapter is not None else None
        return tokens_trained(fit) * self.backbone.flops_per_token(live)


def costs(scores: Scores, bills: Bills) -> list[Cost]:
    """Every method and budget over all pairs that it was finished on."""
    found = []
    for method, shots, columns in _everywhere(scores):
        bill, score = bills.of(columns), _mean_scores(scores, columns)
        if bill is not None and score is not None:
            found.append(Cost(method=method, shots=shots, **bill, score=float(score.mean())))
    return found


def learning_laws(scores: Scores, bills: Bills) -> list[Law]:
    """Against labels on each pair and over all of them, against seconds and FLOPs over all."""
    return [
        _law(scores, bills, place, against, budgets)
        for place, budgets in learning_curves(scores).items()
        for against in (AGAINST if place[2] is None else AGAINST[:1])
    ]


def learning_curves(scores: Scores) -> dict[Place, list[list[Column]]]:
    """The columns of every budget above 0, by method on each pair and over all.

    The largest budget of ``target-only`` is the ceiling's: the same recipe on as many rows as a source fit has.
    """
    found: dict[Place, list[list[Column]]] = {}
    for method, shots, columns in _everywhere(scores):
        if not shots:
            continue
        found.setdefault((method, None, None), []).append(columns)
        for column in dict.fromkeys(columns):
            found.setdefault((method, column[1], column[2]), []).append([column])
    for (method, _, _), budgets in found.items():
        if method == "target-only":
            budgets.append([ceiling_of(column[2]) for column in budgets[-1]])
    return found


def _law(
    scores: Scores,
    bills: Bills,
    place: Place,
    against: Against,
    budgets: list[list[Column]],
) -> Law:
    metric = scores.outcome.plan.task.measure
    x, values, points, tests = measured(scores, bills, against, budgets)
    reason = laws.refusal(x, len(values))
    curve, pays, band = list[LawPoint](), None, None
    if reason is None:
        law = refit(x, values, tests, scores.outcome.plan.task.name, place, against, metric.bounds[1])
        at = np.geomspace(law.smallest, laws.REACH * law.largest, CURVE_POINTS)
        drawn = zip(at, law.at(at), *law.band(at), strict=True)
        curve = [LawPoint(x=one, mean=mean, low=low, high=high) for one, mean, low, high in drawn]
        pays, band = law.pays_until(), law.pays_band()
    method, source, target = place
    return Law(
        method=method, source=source, target=target, against=against, points=points, curve=curve, pays_until=pays, reason=reason,
        pays_band=band,
        draws=values.tolist(), tests=tests.tolist(),
    )  # fmt: skip


def refit(
    x: Sequence[float], draws: Floats, tests: Floats, task: str, place: Place, against: Against, top: float
) -> laws.Law:
    """The law of a place, the same from the same scores wherever it is asked for; its band covers draws and test groups."""
    return laws.fit_law(x, draws, seeds.generator("law", task, *place, against), top=top, tests=tests)


def measured(
    scores: Scores, bills: Bills, against: Against, budgets: list[list[Column]], less: Column | None = None
) -> tuple[list[float], Floats, list[LawPoint], Floats]:
    """Cost of each budget, by rising labels; scores [draws, budgets] over the draws that all have; means with their
    intervals; covariance of the means that the test groups cause, [budgets, budgets], 0 where budgets have other targets.

    With ``less``, a column of the one target, what it departs from its own mean, by draw and by test group, is taken
    from scores and covariance. The means stay.
    """
    metric = scores.outcome.plan.task.measure
    kept = [columns for columns in budgets if bills.of(columns) is not None]
    flat = [column for columns in kept for column in columns]
    blocks = scores.blocks(flat + ([less] if less else []))
    if blocks is None:
        return [], np.zeros((0, 0)), [], np.zeros((0, 0))
    if less is not None:
        *own, other = blocks
        apart = Block(other.theta - other.theta.mean(), other.pseudo)
        blocks = [one - apart for one in own]
    parts, begin = [], 0
    for columns in kept:
        bill = bills.of(columns)
        assert bill is not None
        own = blocks[begin : begin + len(columns)]
        begin += len(columns)
        terms = combine((column[2], 1 / len(own), one) for column, one in zip(columns, own, strict=True))
        parts.append((bill, np.mean([one.theta for one in own], axis=0), columns, terms))
    parts.sort(key=lambda part: part[0]["labels"])
    points = []
    for bill, _, columns, _ in parts:
        level = mean_over(scores, columns)
        assert level is not None
        one = interval(level, bounds=metric.bounds)
        points.append(LawPoint(x=bill[against], mean=one.mean, low=one.low, high=one.high))
    alike = all([column[2] for column in part[2]] == [column[2] for column in parts[0][2]] for part in parts)
    tests = moments([terms for *_, terms in parts]).between() if alike else np.zeros((len(parts), len(parts)))
    return [bill[against] for bill, *_ in parts], np.stack([values for _, values, *_ in parts], axis=1), points, tests


def _mean_scores(scores: Scores, columns: list[Column]) -> Floats | None:
    """Mean over the columns, [draws]."""
    blocks = scores.blocks(columns)
    return None if blocks is None else np.mean([one.theta for one in blocks], axis=0)


def _everywhere(scores: Scores) -> Iterator[tuple[str, int | None, list[Column]]]:
    """Each method and budget, with its column on every pair that it was finished on."""
    plan = scores.outcome.plan
    for method, shots in methods_by_budget(scores):
        columns = [column_of(method, source, target, shots) for source, target in plan.pairs]
        finished = [column for column in columns if column in scores.columns]
        if finished:
            yield method, shots, finished
