"""Fills ``evidence.json`` after a run: one call a part, each in a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lowres.analysis import diagnosis, trust
from lowres.analysis.acted import acted
from lowres.analysis.aggregates import aggregates, choices
from lowres.analysis.costs import Bills, costs, learning_laws
from lowres.analysis.distances import distances
from lowres.analysis.evidence import Evidence
from lowres.analysis.forecast import forecasts
from lowres.analysis.measure import Scores
from lowres.analysis.outside import outside
from lowres.analysis.reach import near_ceiling
from lowres.analysis.source_dev import SourceDev
from lowres.errors import StoreError
from lowres.kinds import KINDS
from lowres.study.store import Store
from lowres.training.fit import Engine

ANY_KIND: Final = ("aggregates", "costs", "laws", "reaches", "acted")
"""Parts that need scores alone; the others ask a text for its one label, and how sure an answer is."""


def gather(scores: Scores, engine: Engine, store: Store) -> Evidence:
    """What a finished run shows beyond its summary.

    Trains nothing. Of the encoder it asks frozen features, and of kept fits answers on a few dev rows of their source
    where methods are compared by them, and on the rows out of scope where the task has some.

    A part that fails is left out, and ``notes`` says why: it must not cost the results of a run.
    """
    outcome = scores.outcome
    recipe = outcome.plan.config.recipe
    bills = Bills(scores, engine.backbone, store)
    parts: dict[str, Callable[[], list[Any]]] = {
        "aggregates": lambda: aggregates(scores),
        "costs": lambda: costs(scores, bills),
        "laws": lambda: learning_laws(scores, bills),
        "reaches": lambda: near_ceiling(scores, bills),
        "forecasts": lambda: forecasts(scores),
        "distances": lambda: distances(scores, engine),
        "flips": lambda: diagnosis.flips(outcome, scores),
        "words": lambda: diagnosis.words(outcome),
        "calibration": lambda: trust.calibration(outcome, scores),
        "risks": lambda: trust.risks(outcome, scores),
        "promises": lambda: trust.promises(outcome, scores),
        "sets": lambda: trust.sets(outcome, scores),
        "outside": lambda: outside(scores, engine, store),
        "choices": lambda: choices(scores, SourceDev(scores, engine, store)),
        "map": lambda: diagnosis.domain_map(outcome, lambda texts: engine.features(texts, recipe)),
        "acted": lambda: acted(outcome, store),
    }
    found: dict[str, list[Any]] = {}
    kind = outcome.plan.task.kind
    left_out = [] if KINDS[kind].single else [name for name in parts if name not in ANY_KIND]
    notes = [f"not defined for a task of type {kind}: {', '.join(left_out)}"] if left_out else []
    for name in left_out:
        del parts[name]
    for name, make in parts.items():
        try:
            found[name] = make()
        except StoreError:
            raise
        except Exception as error:  # whatever its kind: the part is missing, the results are not
            notes.append(f"{name} could not be made: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    task, targets = outcome.plan.task, outcome.plan.targets
    own = {target: len(task.labels_of[target]) for target in targets if target in task.labels_of}
    return Evidence.model_validate({**found, "notes": notes, "classes": task.counted, "classes_in": own})
