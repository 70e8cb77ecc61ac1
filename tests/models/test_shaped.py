"""Encoders of other shapes than their configuration: kept, loaded, and never loaded wrongly."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lowres.data.task import Task
from lowres.errors import UserError
from lowres.export import cutting, factors
from lowres.export.whole import with_encoder
from lowres.models.backbone import find_backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.models.early_exit import packed
from lowres.models.shaped import SHAPED, dequantised, quantised
from tests.conftest import SHAPES
from tests.export.trained import TEXTS, fitted, gap, size


@pytest.fixture(scope="module", params=SHAPES)
def model(request: pytest.FixtureRequest, encoders: dict[str, Path], toy_task: Task) -> Classifier:
    return fitted(find_backbone(str(encoders[request.param])), toy_task)


def test_a_merged_model_answers_as_before_and_opens_in_transformers(model: Classifier, tmp_path: Path) -> None:
    whole = with_encoder(model, model.merged(), tmp_path / "e", what="merged")
    folder = whole.save(tmp_path / "whole", TEXTS)
    assert gap(load_classifier(folder), model) < 1e-5
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(folder / "encoder")
    state = model.merged().state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items() if name in state)
    again = load_classifier(folder).save(tmp_path / "copy", TEXTS)
    assert gap(load_classifier(again), model) < 1e-5


@pytest.mark.parametrize("how", ["pruned", "factors", "weights", "dynamic"])
def test_other_shapes_are_loaded_as_they_were(model: Classifier, how: str, tmp_path: Path) -> None:
    network = model.merged()
    if how == "pruned":
        if model.backbone.name == "mpnet":
            with pytest.raises(UserError, match="table of positions"):
                cutting.prune(network, model, TEXTS, 0.5, 0.3)
        cutting.prune(network, model, TEXTS, 1.0 if model.backbone.name == "mpnet" else 0.5, 0.3)
    if how == "factors":
        assert factors.factorise(network, model, TEXTS, 0.5)
    bits = how if how in ("weights", "dynamic") else None
    made = with_encoder(model, copy.deepcopy(network), tmp_path / "e", what=how, eight_bits=bits)
    folder = made.save(tmp_path / "kept", TEXTS)
    assert (folder / "encoder" / SHAPED).is_file()
    assert size(folder / "encoder") < size(model.backbone.folder)
    loaded = load_classifier(folder)
    if bits is None:  # exactly the network in memory
        ids = torch.tensor([[2, 5, 9, 3]])
        with torch.no_grad():
            both = [one(input_ids=ids).last_hidden_state for one in (network, loaded.network)]
        assert torch.equal(*both)
    else:
        assert 0 < gap(loaded, model) < 0.05
    assert "lowres.load" in (folder / "README.md").read_text()
    from transformers import AutoModel

    with pytest.raises(OSError, match="safetensors"):
        AutoModel.from_pretrained(folder / "encoder")
    with pytest.raises(UserError, match="compressed"):
        find_backbone(str(folder / "encoder"))


def test_pruned_models_keep_the_head_that_is_used(model: Classifier) -> None:
    """A head whose outputs are all zero matters nothing, and goes first."""
    if model.backbone.name == "mpnet":
        return
    network = model.merged()
    names = cutting.parts(network)
    value = network.get_submodule(names["layer"].format(0) + names["value"])
    assert isinstance(value, nn.Linear)
    value.weight.data[:16] = 0.0
    value.bias.data[:16] = 0.0
    kept = value.weight.data[16:].clone()
    cutting.prune(network, model, TEXTS, 0.5, 1.0)
    left = network.get_submodule(names["layer"].format(0) + names["value"])
    assert isinstance(left, nn.Linear)
    assert torch.equal(left.weight, kept)


def test_fewer_heads_than_the_configuration_have_no_packed_form(encoders: dict[str, Path], toy_task: Task) -> None:
    model = fitted(find_backbone(str(encoders["bert"])), toy_task)
    network = model.merged()
    cutting.prune(network, model, TEXTS, 0.5, 1.0)
    with pytest.raises(UserError, match="fewer heads"):
        packed(network, "fp32")


def test_all_of_it_kept_changes_nothing(model: Classifier, tmp_path: Path) -> None:
    network = model.merged()
    cutting.prune(network, model, TEXTS, 1.0, 1.0)
    assert gap(with_encoder(model, network, tmp_path / "e", what="same"), model) < 1e-5


def test_eight_bits_are_at_most_half_a_step_away() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.26], [0.0, 0.0, 0.0], [3.0, 2.0, -3.0]])
    kept = quantised({"a.weight": weight, "a.bias": torch.ones(3), "n.weight": torch.ones(3)})
    assert kept["a.weight"].dtype == torch.int8
    assert torch.equal(kept["a.weight"][0], torch.tensor([127, -64, 33], dtype=torch.int8))  # 0.5 · 127 = 63.5, to even
    back = dequantised(kept)
    assert set(back) == {"a.weight", "a.bias", "n.weight"}
    steps = weight.abs().amax(1, keepdim=True) / 127
    assert bool(((back["a.weight"] - weight).abs() <= steps / 2 + 1e-7).all())


def test_full_energy_keeps_the_outputs(encoders: dict[str, Path], toy_task: Task) -> None:
    """With all but a hair of the energy, outputs on the texts are those of before, where a factor is smaller at all."""
    model = fitted(find_backbone(str(encoders["bert"])), toy_task)
    network = model.merged()
    linear = nn.Linear(32, 64)
    linear.weight.data = torch.outer(torch.ones(64), torch.arange(32.0)) / 32  # of rank 1
    network.encoder.layer[0].intermediate.dense = linear
    before = model.tokens.encode(TEXTS, 24)[0]
    ids = torch.from_numpy(before[None].astype(np.int64))
    with torch.no_grad():
        wanted = network(input_ids=ids).last_hidden_state
        assert factors.factorise(network, model, TEXTS, 0.999999)
        found = network(input_ids=ids).last_hidden_state
    first = network.encoder.layer[0].intermediate.dense[0]
    assert first.out_features == 1
    assert float((found - wanted).abs().max()) < 1e-2


@pytest.mark.parametrize("break_it", ["missing", "odd", "garbage"])
def test_a_damaged_encoder_is_said(break_it: str, encoders: dict[str, Path], toy_task: Task, tmp_path: Path) -> None:
    model = fitted(find_backbone(str(encoders["bert"])), toy_task)
    made = with_encoder(model, model.merged(), tmp_path / "e", what="x", eight_bits="weights")
    path = made.backbone.folder / SHAPED
    tensors = load_file(path)
    name = "encoder.layer.0.output.dense"
    if break_it == "missing":
        del tensors[f"{name}.scale"]
    if break_it == "odd":
        tensors[f"{name}.weight"] = tensors[f"{name}.weight"][:, :7].contiguous()
    save_file(tensors, path)
    if break_it == "garbage":
        path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="could not be loaded"):
        made.backbone.load()


def test_a_folder_whose_encoder_was_changed_is_refused(
    encoders: dict[str, Path], toy_task: Task, tmp_path: Path
) -> None:
    model = fitted(find_backbone(str(encoders["bert"])), toy_task)
    whole = with_encoder(model, model.merged(), tmp_path / "e", what="merged")
    folder = whole.save(tmp_path / "whole", TEXTS)
    path = folder / "encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.layer.0.output.dense.bias"] += 1.0
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="other weights"):
        load_classifier(folder)
    (folder / "encoder" / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json"):
        load_classifier(folder)


def test_a_model_cannot_name_an_encoder_elsewhere(encoders: dict[str, Path], toy_task: Task, tmp_path: Path) -> None:
    model = fitted(find_backbone(str(encoders["bert"])), toy_task)
    folder = with_encoder(model, model.merged(), tmp_path / "e", what="merged").save(tmp_path / "whole", TEXTS)
    record = json.loads((folder / "lowres.json").read_text())
    record["backbone"]["folder"] = "../e"
    (folder / "lowres.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="not here"):
        load_classifier(folder)


def test_an_unpackable_model_has_no_exit(encoders: dict[str, Path], toy_task: Task, tmp_path: Path) -> None:
    model = fitted(find_backbone(str(encoders["bert"])), toy_task)
    network = model.merged()
    assert factors.factorise(network, model, TEXTS, 0.5)
    made = with_encoder(model, network, tmp_path / "e", what="low rank")
    exits = {"weight": np.zeros((1, 2, 32), dtype=np.float32), "bias": np.zeros((1, 2), dtype=np.float32)}
    with pytest.raises(UserError):
        replace(made, exits=exits, speed=0.5).predict_proba(TEXTS)
