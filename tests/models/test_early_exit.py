"""Leaving before the last layer, against the hidden vectors of the plain encoder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lowres.data.task import Task
from lowres.errors import UserError
from lowres.export.compare import flops
from lowres.export.exits import learned, speed_for
from lowres.export.whole import with_encoder
from lowres.models.backbone import find_backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.models.early_exit import uncertainty
from lowres.models.heads import softmax
from tests.conftest import SHAPES
from tests.export.trained import TEXTS, fitted, gap


@pytest.fixture(scope="module", params=SHAPES)
def model(
    request: pytest.FixtureRequest, encoders: dict[str, Path], toy_task: Task, tmp_path_factory: pytest.TempPathFactory
) -> Classifier:
    plain = fitted(find_backbone(str(encoders[request.param])), toy_task)
    whole = with_encoder(plain, plain.merged(), tmp_path_factory.mktemp("exits") / "e", what="merged")
    return replace(whole, exits=learned(whole, list(toy_task.domains["shop"].train.texts)), speed=0.4)


def by_hand(model: Classifier, text: str) -> list[np.ndarray]:
    """Probabilities of the head on each layer, from the plain encoder's hidden vectors."""
    ids = torch.from_numpy(model.tokens.encode([text], 24)[0][None].astype(np.int64))
    with torch.no_grad():
        hidden = model.network(input_ids=ids, output_hidden_states=True).hidden_states[1:]
    made = []
    for layer, states in enumerate(hidden):
        vector = states[0].mean(0).numpy()
        vector = vector / np.linalg.norm(vector)
        last = layer == len(hidden) - 1
        weight, bias = (
            (model.head["weight"], model.head["bias"])
            if last
            else (model.exits["weight"][layer], model.exits["bias"][layer])
        )
        made.append(softmax(vector[None] @ weight.T + bias)[0])
    return made


@pytest.mark.parametrize("speed", [0.0, 0.3, 0.7, 0.95, 1.0])
def test_each_text_leaves_where_it_is_sure(model: Classifier, speed: float) -> None:
    left = model.leave(TEXTS, speed)
    for place, text in enumerate(TEXTS):
        steps = by_hand(model, text)
        entropies = [-(step * np.log(step)).sum() / math.log(2) for step in steps]
        wanted = next((layer for layer, one in enumerate(entropies[:-1]) if one < speed), len(steps) - 1)
        assert left.depths[place] == wanted + 1
        assert np.allclose(left.answers[place], steps[wanted], atol=1e-5)


def test_speed_nought_is_the_whole_model(model: Classifier) -> None:
    assert np.allclose(model.leave(TEXTS, 0.0).answers, replace(model, speed=0.0).predict_proba(TEXTS), atol=1e-5)
    assert (model.leave(TEXTS, 0.0).depths == model.backbone.layers).all()
    assert len(model.leave([], 0.5).depths) == 0


def test_exits_are_kept(model: Classifier, tmp_path: Path) -> None:
    loaded = load_classifier(model.save(tmp_path / "kept", TEXTS))
    assert loaded.speed == 0.4
    assert gap(loaded, model) == 0
    assert "--speed" in (tmp_path / "kept" / "README.md").read_text()


def test_heads_on_the_way_say_what_the_last_one_says(model: Classifier, toy_task: Task) -> None:
    texts = list(toy_task.domains["shop"].train.texts)
    wanted = replace(model, speed=0.0).predict(texts)
    early = replace(model, speed=1.0).predict(texts)
    agreed = np.mean([one == other for one, other in zip(wanted, early, strict=True)])
    assert agreed > max(np.mean([one == label for one in wanted]) for label in model.labels)


def test_a_speed_is_found_for_a_share_of_the_operations(model: Classifier, toy_task: Task) -> None:
    """The least one: a step below it more is left than was asked for."""
    texts = list(toy_task.domains["shop"].train.texts)
    whole = flops(model.at_speed(0.0), texts)
    speed = speed_for(model, texts, 0.75)
    assert flops(model.at_speed(speed), texts) <= 0.75 * whole
    assert speed < 1e-3 or flops(model.at_speed(speed - 1e-3), texts) > 0.7 * whole
    with pytest.raises(UserError, match="never left"):
        speed_for(model, texts, 0.2)


def test_uncertainty_by_hand() -> None:
    even = np.array([[0.5, 0.5], [1.0, 0.0]], dtype=np.float32)
    assert np.allclose(uncertainty(even, "one"), [1.0, 0.0], atol=1e-6)
    assert np.allclose(uncertainty(np.array([[0.5, 1.0, 0.0]], dtype=np.float32), "many"), [1.0], atol=1e-6)
    assert np.allclose(uncertainty(np.array([[0.25, 0.25, 0.25, 0.25]], dtype=np.float32), "one"), [1.0], atol=1e-6)


def test_what_has_no_exit_is_said(model: Classifier) -> None:
    with pytest.raises(UserError, match="speed"):
        model.leave(TEXTS, 1.5)
    with pytest.raises(UserError, match="no early exits"):
        replace(model, exits={}).leave(TEXTS)
    with pytest.raises(UserError, match="windows"):
        learned(replace(model, truncation="windows", exits={}), TEXTS)
