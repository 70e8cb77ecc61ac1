"""How many labels a class take a method to a score, by the laws in ``evidence.json``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lowres.analysis.costs import fit_again
from lowres.analysis.evidence import Evidence, Law, Reach
from lowres.analysis.measure import Scores, ceiling_of
from lowres.analysis.summary import Summary
from lowres.errors import UserError
from lowres.scoring.metrics import find_metric

POINT = 0.01
"""The ceiling less so much is what labels are counted to."""
LEVEL = 0.9


def near_ceiling(scores: Scores, laws: Iterable[Law]) -> list[Reach]:
    """Labels to the measured ceiling of each target less a point, by every law of labels on a pair."""
    task, found = scores.outcome.plan.task, []
    for law in laws:
        ceiling = (
            scores.blocks([ceiling_of(law.target)]) if law.target is not None and law.against == "labels" else None
        )
        if ceiling is not None:
            score = float(ceiling[0].theta.mean()) - POINT
            found.append(_reach(law, score, False, task.name, task.metric, len(task.labels)))
    return found


def with_asked(evidence: Evidence, summary: Summary, score: float) -> Evidence:
    """The evidence of a finished run with the labels that each of its laws takes to a score.

    Raises:
        UserError: No score of the metric, or the run is too old to tell.
    """
    study = summary.study
    bottom, top = find_metric(study.metric).bounds
    if not bottom < score < top:
        raise UserError(f"no {study.metric} to reach", got=f"{score:g}", expected=f"above {bottom:g} and below {top:g}")
    special = [law for law in evidence.laws if law.target is not None and law.against == "labels"]
    if evidence.classes is None or any(law.reason is None and not law.tests for law in special):
        raise UserError(
            "evidence.json does not hold what --reach needs",
            got="one of an earlier version",
            hint="run the study again",
        )
    if not special:
        raise UserError("no learning curve to read labels from", expected="a method with shots above 0 in the study")
    asked = [_reach(law, score, True, study.task, study.metric, evidence.classes) for law in special]
    return evidence.model_copy(update={"reaches": [*evidence.reaches, *asked]})


def _reach(law: Law, score: float, asked: bool, task: str, metric: str, classes: int) -> Reach:
    assert law.target is not None
    labels = low = high = None
    reason = law.reason
    if reason is None:
        x, place = [point.x for point in law.points], (law.method, law.source, law.target)
        again = fit_again(
            x, np.array(law.draws), np.array(law.tests), task, place, law.against, find_metric(metric).bounds[1]
        )
        found = again.reach(score, LEVEL)
        labels, low, high = (None if one is None else one / classes for one in (found.x, found.low, found.high))
        reason = found.reason
    return Reach(
        method=law.method, source=law.source, target=law.target, wanted="asked" if asked else "ceiling less a point",
        score=score, labels=labels, low=low, high=high, reason=reason,
    )  # fmt: skip
