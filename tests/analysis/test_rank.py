"""``models rank``: LogME of backbones on the training rows of a task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lowres.analysis.rank import rank
from lowres.cli.main import app
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.library import rank_backbones
from lowres.models.backbone import find_backbone
from lowres.scoring.logme import logme
from lowres.training.recipe import Recipe


def test_it_is_logme_of_the_training_rows(toy_task: Task, encoders: dict[str, Path]) -> None:
    """With features made here: a backbone that knows the labels comes first, test rows are never asked for."""
    asked: list[str] = []
    labels = {
        text: label
        for domain in toy_task.domains.values()
        for text, label in zip(domain.train.texts, domain.train.labels, strict=True)
    }

    class Knowing:
        def __init__(self, noise: float) -> None:
            self.noise = noise

        def features(self, texts: list[str], recipe: Recipe) -> np.ndarray:
            asked.extend(texts)
            rng = np.random.default_rng(0)
            known = np.array([[labels[text] == "positive"] for text in texts], dtype=float)
            return np.concatenate([known, np.ones_like(known)], axis=1) + self.noise * rng.normal(size=(len(texts), 2))

    backbones = [find_backbone(str(encoders[name])) for name in ("bert", "electra")]
    noise = dict(zip((one.name for one in backbones), (5.0, 0.3), strict=True))
    found = rank(toy_task, backbones, lambda one: Knowing(noise[one.name]), 20, Recipe())  # type: ignore[arg-type, return-value]
    assert [one.backbone for one in found] == [backbones[1].name, backbones[0].name]
    assert set(found[0].by_domain) == {"shop", "film", "chat"}
    assert found[0].mean == pytest.approx(np.mean(list(found[0].by_domain.values())))
    assert len(asked) == 2 * 3 * 20
    part = asked[:20]
    y = np.array([labels[text] == "positive" for text in part], dtype=np.int64)
    assert found[1].by_domain[next(iter(toy_task.domains))] == pytest.approx(
        logme(Knowing(5.0).features(part, Recipe()), y, 2)
    )


def test_the_command(toy_table: Path, encoders: dict[str, Path]) -> None:
    words = [
        "models",
        "rank",
        str(toy_table),
        "--backbone",
        f"{encoders['bert']},{encoders['electra']}",
        "--rows",
        "30",
    ]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "LogME" in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert {one["backbone"] for one in found} == {"bert", "electra"}
    assert found[0]["logme"] >= found[1]["logme"]
    assert CliRunner().invoke(app, ["models", "rank", str(toy_table)]).exit_code == 2  # the cache of the tests is empty
    assert CliRunner().invoke(app, [*words, "--rows", "1"]).exit_code == 2


def test_a_task_without_two_classes_is_refused(toy_task: Task) -> None:
    only = {
        name: replace(domain, train=domain.train.take(domain.train.by_label()["positive"]))
        for name, domain in toy_task.domains.items()
    }
    with pytest.raises(UserError, match="two classes"):
        rank(replace(toy_task, domains=only), [], lambda one: None, 20, Recipe())  # type: ignore[arg-type, return-value]


def test_a_prepared_task_will_do(toy_task: Task, encoder: Path) -> None:
    (one,) = rank_backbones(toy_task, [str(encoder)], rows=20, device="cpu")
    assert set(one.by_domain) == {"shop", "film", "chat"}
