"""Fills ``evidence.json`` after a run: one call a part, each in a module of its own."""

from __future__ import annotations

from lowres.analysis.distances import distances
from lowres.analysis.evidence import Evidence
from lowres.analysis.forecast import forecasts
from lowres.analysis.measure import Scores
from lowres.study.runner import Outcome
from lowres.study.store import Store
from lowres.training.fit import Engine


def gather(outcome: Outcome, engine: Engine, store: Store) -> Evidence:
    """What a finished run shows beyond its summary. Trains nothing; of the encoder it asks frozen features only."""
    scores = Scores(outcome)
    return Evidence(forecasts=forecasts(scores), distances=distances(scores, engine))
