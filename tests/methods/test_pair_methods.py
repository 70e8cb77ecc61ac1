"""Every method of the catalogue on pairs of texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lowres.data.task import Task
from lowres.kinds import PAIR
from lowres.methods.catalogue import METHODS
from lowres.models.backbone import Backbone
from lowres.study.config import build_config
from lowres.study.plan import make_plan
from lowres.study.runner import run_plan
from lowres.study.store import Store
from lowres.training.fit import Environment
from lowres.training.fleet import FleetEngine
from tests.conftest import BAD, GOOD
from tests.methods.follow import leaks

GIVEN = {
    "task": "pairs", "source": ["shop", "chat"], "target": ["film"], "shots": [0, 4], "seeds": 1, "source_rows": 24,
    "recipe": {"min_steps": 3, "epochs": 1, "max_length": 24, "learning_rate": 5e-3, "head_learning_rate": 5e-2},
}  # fmt: skip


def test_all_methods_train_and_answer_on_pairs(pair_task: Task, backbone: Backbone, tmp_path: Path) -> None:
    hints = {
        "descriptions": {"agree": "good and great", "differ": "good and bad"},
        "keywords": {"agree": GOOD[:3], "differ": BAD[:3]},
    }
    task = replace(pair_task, spec=pair_task.spec.model_copy(update=hints))
    plan = make_plan(build_config({**GIVEN, "methods": list(METHODS)}), task)
    assert not [fault for cell, fit in plan.fits.items() for fault in leaks(task, cell, fit)]
    engine = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")
    environment = Environment("tiny", "fleet", "fp32", "test")
    outcome = run_plan(plan, engine, environment, Store(tmp_path), {})
    assert not outcome.failed, outcome.failed
    assert {cell.method for cell in plan.fits} == set(METHODS)
    for cell, fit in plan.fits.items():
        found = outcome.probabilities[fit.content, cell.target]
        assert found.shape == (len(plan.test_rows[cell.target]), 2)
        assert np.abs(found.sum(axis=1) - 1).max() < 1e-5, cell
        parts = [part for link in fit.lineage() for part in link.parts if part.rows.domain in task.domains]
        assert all(text.count(PAIR) == 1 for part in parts for text in part.rows.texts)


def test_words_of_both_texts_count_and_the_mark_between_them_does_not(
    pair_task: Task, backbone: Backbone, tmp_path: Path
) -> None:
    plan = make_plan(build_config({**GIVEN, "methods": ["tfidf", "tree"]}), pair_task)
    engine = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")
    environment = Environment("tiny", "fleet", "fp32", "test")
    store = Store(tmp_path)
    run_plan(plan, engine, environment, store, {})
    fits = [fit for cell, fit in plan.fits.items() if cell.method in ("tfidf", "tree")]
    assert len(fits) > 2
    for fit in fits:
        fitted = store.read_fit(fit.key(environment))
        assert fitted is not None
        known = set(fitted.words)
        assert not any(PAIR in word for word in known)
        assert {word for text in fit.texts for side in text.split(PAIR) for word in side.split()} <= known
