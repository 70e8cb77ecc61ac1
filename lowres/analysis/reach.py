"""How many labels a class take a method to a score, by learning curves of one pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lowres.analysis.costs import Bills, Place, learning_curves, measured, refit
from lowres.analysis.evidence import Evidence, LawPoint, Reach, Wanted
from lowres.analysis.measure import Scores, ceiling_of, column_of, methods_by_budget
from lowres.analysis.summary import Summary
from lowres.errors import UserError
from lowres.scoring.metrics import find_metric
from lowres.stats import laws
from lowres.stats.variance import Floats

POINT = 0.01
"""The ceiling less so much is what labels are counted to."""
LEVEL = 0.9
AGAIN = "run the study again with the same settings; finished fits are not trained again"


@dataclass(frozen=True)
class _Question:
    """What is asked of every learning curve of a study."""

    task: str
    metric: str
    classes: Mapping[str, int]
    """Labels of each target."""
    wanted: Wanted

    def answer(
        self, place: Place, points: list[LawPoint], draws: Floats, tests: Floats, score: float, most: float = np.inf
    ) -> Reach:
        """Of one learning curve against labels; the arrays are those of ``measured``. A budget of ``most`` labels is the
        ceiling, of which it says nothing that it is enough.
        """
        method, source, target = place
        assert target is not None
        x, classes = [point.x for point in points], self.classes[target]
        enough = next((point.x / classes for point in points if point.mean >= score and point.x < most), None)
        found = laws.Reached(reason=laws.refusal(x, len(draws)))
        if found.reason is None:
            top = find_metric(self.metric).bounds[1]
            found = refit(x, draws, tests, self.task, place, "labels", top).reach(score, LEVEL)
        labels, low, high = (None if one is None else one / classes for one in (found.x, found.low, found.high))
        return Reach(
            method=method, source=source, target=target, wanted=self.wanted, score=score, labels=labels, low=low,
            high=high, measured=enough, reason=found.reason,
        )  # fmt: skip

    def without_labels(self, method: str, source: str | None, target: str, score: float) -> Reach:
        """Of a method that was measured there at 0 shots."""
        return Reach(
            method=method, source=source, target=target, wanted=self.wanted, score=score, labels=None, low=None,
            high=None, measured=0, reason="reached without target labels",
        )  # fmt: skip


def near_ceiling(scores: Scores, bills: Bills) -> list[Reach]:
    """Labels to the measured ceiling of each target less a point, by every method on a pair.

    The law is fitted to what each draw lacks to the ceiling in the same draw and on the same test rows: what test rows
    shift in both does not widen the band, and what the ceiling varies with the draw does.
    """
    task, cap, found = scores.outcome.plan.task, scores.outcome.plan.row_cap, list[Reach]()
    classes = {target: task.counted_in(target) for target in scores.outcome.plan.targets}
    question = _Question(task.name, task.metric, classes, "ceiling less a point")
    wanted = {
        target: float(blocks[0].theta.mean()) - POINT
        for target in scores.outcome.plan.targets
        if (blocks := scores.blocks([ceiling_of(target)]))
    }
    for place, budgets in learning_curves(scores).items():
        target = place[2]
        if target is not None and target in wanted:
            _, draws, points, tests = measured(scores, bills, "labels", budgets, less=ceiling_of(target))
            found.append(question.answer(place, points, draws, tests, wanted[target], most=cap))
    start = (
        column_of(method, *pair, 0)
        for method, shots in methods_by_budget(scores)
        for pair in scores.outcome.plan.pairs
        if shots == 0
    )
    for method, source, target, _ in dict.fromkeys(start):
        blocks = scores.blocks([(method, source, target, 0)])
        if target in wanted and blocks is not None and blocks[0].theta.mean() >= wanted[target]:
            found.append(question.without_labels(method, source, target, wanted[target]))
    return found


def with_asked(evidence: Evidence, summary: Summary, score: float) -> Evidence:
    """The evidence of a finished run with the labels that each of its laws takes to a score.

    Raises:
        UserError: No score of the metric, or the run is too old to tell.
    """
    study = summary.study
    bottom, top = find_metric(study.metric).bounds
    if not bottom < score < top:
        raise UserError(
            f"no {study.metric} to reach",
            got=f"{score:g}",
            expected=f"above {bottom:g} and below {top:g}",
            hint="scores are fractions: 0.85, not 85",
        )
    special = [law for law in evidence.laws if law.target is not None and law.against == "labels"]
    if evidence.classes is None or any(law.reason is None and not law.tests for law in special):
        raise UserError("the run is of an earlier version and does not hold what --reach needs", hint=AGAIN)
    if not special:
        raise UserError(
            "no learning curve to read labels from",
            expected="a method with shots above 0 in the study",
            hint="run it with three budgets or more, such as --shots 8,32,128",
        )
    classes = dict.fromkeys(study.targets, evidence.classes) | evidence.classes_in
    question = _Question(study.task, study.metric, classes, "asked")
    asked = [
        question.answer(
            (law.method, law.source, law.target), law.points, np.array(law.draws), np.array(law.tests), score
        )
        for law in special
    ]
    asked += [
        question.without_labels(one.method, one.source, one.target, score)
        for one in summary.scores
        if one.shots == 0 and one.source != one.target and one.target in study.targets and one.mean >= score
    ]
    return evidence.model_copy(update={"reaches": [*evidence.reaches, *asked]})
