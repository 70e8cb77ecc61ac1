"""Masked LM with the head that an encoder was pretrained with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lowres.data.task import Task
from lowres.errors import UserError
from lowres.library import Study
from lowres.methods.catalogue import METHODS
from lowres.methods.cell import Bench, Cell, Settings
from lowres.models import adapters, lm_head
from lowres.models.backbone import Backbone, find_backbone
from lowres.study.plan import make_plan
from lowres.training.adapted import make_adapted
from lowres.training.fit import Fit, Fitted, Part
from lowres.training.fleet import FleetEngine
from lowres.training.loop import LoopEngine
from lowres.training.masked import UNASKED, MaskedRows, asked
from lowres.training.recipe import LoRA, MaskedLM, Recipe, SimCSE
from tests.conftest import make_encoder

SHAPES = ("bert", "roberta", "distilbert", "electra", "mpnet")
RECIPE = Recipe(learning_rate=3e-2, head_learning_rate=5e-2, min_steps=40, epochs=1, max_length=24)


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    """Tiny encoders with their masked-LM head, by shape."""
    place = tmp_path_factory.mktemp("headed")
    return {shape: find_backbone(str(make_encoder(place / shape, shape, lm_head=True))) for shape in SHAPES}


def loop(backbone: Backbone) -> LoopEngine:
    return LoopEngine(backbone, backbone.tokens(), "cpu", "fp32")


def look(task: Task, recipe: Recipe = RECIPE) -> Fit:
    rows = task.domains["film"].train.without_labels()
    parts = Part(rows.take(range(60))), Part(rows.take(range(60, len(rows))), 0.0)
    return Fit(parts, task.labels, task.name, 0, objective=MaskedLM(), adapter=LoRA(linears="all"), recipe=recipe)


def train(engine: LoopEngine | FleetEngine, fit: Fit, starts: dict[str, Fitted] | None = None) -> Fitted:
    ((_, fitted),) = engine.fit_many([fit], starts or {})
    assert isinstance(fitted, Fitted), fitted
    return fitted


@pytest.mark.parametrize("shape", SHAPES)
def test_the_head_is_known_by_the_names_of_its_weights(
    shape: str, headed: dict[str, Backbone], encoders: dict[str, Path]
) -> None:
    assert lm_head.has_lm_head(headed[shape])
    assert not lm_head.has_lm_head(find_backbone(str(encoders[shape])))
    assert lm_head.mask_id(headed[shape]) == 4
    with pytest.raises(UserError, match="masked-LM head"):
        lm_head.load_with_lm_head(find_backbone(str(encoders[shape])), "cpu")


@pytest.mark.parametrize("shape", SHAPES)
def test_it_learns_and_the_encoder_goes_on(shape: str, headed: dict[str, Backbone], toy_task: Task) -> None:
    """What is kept has the names that PEFT saves for the plain encoder, and later fits start from it in any engine."""
    backbone = headed[shape]
    engine = loop(backbone)
    fit = look(toy_task)
    fitted = train(engine, fit)
    assert all(check.passed for check in fitted.checks), fitted.checks
    (held,) = (check for check in fitted.checks if check.name.startswith("held-out masked-LM"))
    assert held.value > 0.01
    plain = make_adapted(backbone.load(), LoRA(linears="all"))
    assert {name: value.shape for name, value in plain.read().items()} == {
        name: value.shape for name, value in fitted.adapter.items()
    }
    rows = toy_task.domains["shop"].train
    calm = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=20, epochs=0.01, max_length=24)
    onward = Fit((Part(rows),), fit.labels, fit.task, 0, start=fit, adapter=fit.adapter, recipe=calm)
    fleet = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")
    starts = {fit.content: fitted}
    texts = list(toy_task.domains["film"].test.texts)
    got = [one.predict(onward, train(one, onward, starts), texts) for one in (engine, fleet)]
    assert got[0] == pytest.approx(got[1], abs=2e-4)
    apart = Fit((Part(rows),), fit.labels, fit.task, 0, adapter=fit.adapter, recipe=calm)
    assert np.abs(fleet.predict(apart, train(fleet, apart), texts) - got[1]).max() > 1e-3


def test_the_held_out_loss_is_what_plain_transformers_gives(headed: dict[str, Backbone], toy_task: Task) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    backbone = headed["bert"]
    fit = look(toy_task)
    fitted = train(loop(backbone), fit)
    (held,) = (check for check in fitted.checks if check.name.startswith("held-out masked-LM"))
    losses = []
    for adapted in (False, True):
        model = AutoModelForMaskedLM.from_pretrained(backbone.folder)
        if adapted:
            adapters.write(make_adapted(model.bert, LoRA(linears="all")).model, fitted.adapter)
        model.eval()
        total, count = 0.0, 0
        for row, text in zip(fit.parts[1].rows.ids, fit.parts[1].rows.texts, strict=True):
            (pieces,) = backbone.tokens().pieces(text, 24)
            words = np.array([word is not None for word in pieces.words])
            ids, targets = asked(pieces.ids, words, 0.15, 4, backbone.vocabulary, 0, row, "held out")
            places = np.flatnonzero(targets != UNASKED)
            with torch.inference_mode():
                logits = model(torch.from_numpy(ids)[None]).logits[0]
            total -= float(torch.log_softmax(logits, -1)[places, targets[places]].sum())
            count += len(places)
        losses.append(total / count)
    assert held.value == pytest.approx(losses[0] - losses[1], abs=1e-4)


def test_the_check_fails_where_the_wrong_is_learned(
    headed: dict[str, Backbone], toy_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder is led away from the tokens that are asked for; the loss that it is given falls all the same."""
    loss = MaskedRows.loss
    monkeypatch.setattr(MaskedRows, "loss", lambda self, rows: -loss(self, rows))
    fitted = train(loop(headed["bert"]), look(toy_task))
    assert {check.name for check in fitted.checks if not check.passed} == {
        "held-out masked-LM loss below the frozen encoder's"
    }


def test_the_same_numbers_again(headed: dict[str, Backbone], toy_task: Task) -> None:
    import torch

    fit = look(toy_task)
    first = train(loop(headed["bert"]), fit)
    torch.manual_seed(99)
    engine = loop(headed["bert"])
    train(engine, look(toy_task, Recipe(min_steps=5, epochs=0.01, max_length=24)))
    again = train(engine, fit)
    assert all(np.array_equal(value, again.adapter[name]) for name, value in first.adapter.items())


class TestMasks:
    IDS = np.array([2, *range(10, 90), 3], dtype=np.int32)
    WORDS = np.array([False, *[True] * 80, False])

    def test_shares(self) -> None:
        shown, wanted = zip(
            *(asked(self.IDS, self.WORDS, 0.15, 4, 150, "row", epoch) for epoch in range(300)), strict=True
        )
        ids, targets = np.stack(shown), np.stack(wanted)
        chosen = targets != UNASKED
        assert (chosen.sum(1) == 12).all()  # 15 % of 80
        assert not chosen[:, [0, -1]].any()
        assert (targets[chosen] == np.broadcast_to(self.IDS, targets.shape)[chosen]).all()
        assert (ids[~chosen] == np.broadcast_to(self.IDS, ids.shape)[~chosen]).all()
        masked, same = (ids == 4)[chosen].mean(), (ids == targets)[chosen].mean()
        assert masked == pytest.approx(0.8, abs=0.03)
        assert same == pytest.approx(0.1, abs=0.03)

    def test_another_epoch_or_row_asks_for_others(self) -> None:
        first, again, epoch, row = (
            asked(self.IDS, self.WORDS, 0.15, 4, 150, *name)[1] for name in (("a", 0), ("a", 0), ("a", 1), ("b", 0))
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, epoch)
        assert not np.array_equal(first, row)

    def test_one_word_at_least(self) -> None:
        _, targets = asked(np.array([2, 9, 3], dtype=np.int32), np.array([False, True, False]), 0.15, 4, 150, "a", 0)
        assert targets.tolist() == [UNASKED, 9, UNASKED]


@pytest.mark.parametrize("head", [True, False])
def test_tapt_takes_the_head_where_there_is_one(head: bool, toy_task: Task) -> None:
    train = {name: domain.train for name, domain in toy_task.domains.items()}
    cell = Cell(toy_task.name, "shop", "film", 4, "tapt", 0)
    settings = Settings(row_cap=30, lm_head=head)
    fit = METHODS["tapt"].expression(Bench(cell, train, toy_task.labels, settings, tuple(train)))
    first, *_ = fit.lineage()
    assert isinstance(first.objective, MaskedLM if head else SimCSE)
    assert first.steps == Settings(30).recipe.steps(27)
    assert "MaskedLM" in first.spec()["objective"] or not head


def test_a_study_takes_it_and_planning_loads_no_torch(
    headed: dict[str, Backbone], toy_table: Path, tmp_path: Path
) -> None:
    given = {
        "sources": ["shop"], "targets": ["film"], "shots": [4], "seeds": 1, "methods": ["tapt"], "source_rows": 30,
        "precision": "fp32", "device": "cpu", "backbone": str(headed["bert"].folder), "store": str(tmp_path / "store"),
        "out": str(tmp_path / "out"), "recipe": {"min_steps": 10, "epochs": 1, "max_length": 24},
    }  # fmt: skip
    study = Study(str(toy_table), **given)
    kinds = {type(fit.objective).__name__ for fit in study.plan.distinct.values()}
    assert "MaskedLM" in kinds
    assert "SimCSE" not in kinds
    code = (
        "import json, sys\nfrom lowres.library import Study\n"
        f"study = Study({str(toy_table)!r}, **json.loads({json.dumps(given)!r}))\nstudy.plan\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    result = study.run()
    assert result.summary.fits.failed == 0
    assert "tapt" in {score.method for score in result.summary.scores}
    again = Study(str(toy_table), **given).run()
    assert again.summary.fits.trained == 0
    assert make_plan(study.config, study.task).hash(study.environment) == study.plan.hash(study.environment)
