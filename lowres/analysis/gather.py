"""Fills ``evidence.json`` after a run: one call a part, each in a module of its own."""

from __future__ import annotations

from lowres.analysis import diagnosis, trust
from lowres.analysis.aggregates import aggregates, choices
from lowres.analysis.costs import Bills, costs, learning_laws
from lowres.analysis.distances import distances
from lowres.analysis.evidence import Evidence
from lowres.analysis.forecast import forecasts
from lowres.analysis.measure import Scores
from lowres.study.runner import Outcome
from lowres.study.store import Store
from lowres.training.fit import Engine


def gather(outcome: Outcome, engine: Engine, store: Store) -> Evidence:
    """What a finished run shows beyond its summary. Trains nothing; of the encoder it asks frozen features only."""
    scores, recipe = Scores(outcome), outcome.plan.config.recipe
    bills = Bills(scores, engine.backbone, store)
    return Evidence(
        aggregates=aggregates(scores),
        costs=costs(scores, bills),
        laws=learning_laws(scores, bills),
        forecasts=forecasts(scores),
        distances=distances(scores, engine),
        flips=diagnosis.flips(outcome, scores),
        words=diagnosis.words(outcome),
        calibration=trust.calibration(outcome, scores),
        risks=trust.risks(outcome, scores),
        promises=trust.promises(outcome, scores),
        sets=trust.sets(outcome, scores),
        choices=choices(scores),
        map=diagnosis.domain_map(outcome, lambda texts: engine.features(texts, recipe)),
    )
