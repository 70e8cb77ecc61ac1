from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lowres.errors import UserError
from lowres.models import adapters
from lowres.models.backbone import Backbone, find_backbone
from lowres.models.pooling import pool
from lowres.training.adapted import make_adapted
from lowres.training.recipe import LoRA


@pytest.mark.parametrize(("shape", "linears", "count"), [
    ("bert", "all", 12), ("bert", "attention", 8), ("bert", "query-value", 4), ("roberta", "all", 12), ("distilbert", "all", 12),
    ("distilbert", "attention", 8), ("distilbert", "query-value", 4), ("electra", "all", 12), ("electra", "query-value", 4),
])  # fmt: skip
def test_which_linears_are_adapted(encoders: dict[str, Path], shape: str, linears: str, count: int) -> None:
    model = find_backbone(str(encoders[shape])).load()
    assert len(adapters.adapted_linears(model, linears, None)) == count
    top = adapters.adapted_linears(model, linears, 1)
    assert len(top) == count // 2
    assert all(".1." in name for name in top)


def test_too_many_live_layers(backbone: Backbone) -> None:
    with pytest.raises(UserError, match="1 to 2"):
        adapters.adapted_linears(backbone.load(), "all", 3)


def test_facts(encoders: dict[str, Path]) -> None:
    for shape, folder in encoders.items():
        found = find_backbone(str(folder))
        assert (found.hidden, found.layers, found.pooling, found.longest) == (32, 2, "mean", 64), shape
        assert found.parameters == sum(part.numel() for part in found.load().parameters()) or shape in (
            "bert",
            "mpnet",
            "roberta",
        )


def test_fingerprint_follows_content_not_place(encoder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(encoder, tmp_path / "elsewhere")
    assert find_backbone(str(copy)).fingerprint == find_backbone(str(encoder)).fingerprint
    shutil.rmtree(copy / "1_Pooling")
    assert find_backbone(str(copy)).pooling == "cls"
    assert find_backbone(str(copy)).fingerprint != find_backbone(str(encoder)).fingerprint


def test_the_first_adapter_changes_nothing(backbone: Backbone) -> None:
    import torch

    ids = torch.tensor([[2, 6, 7, 3]])
    with torch.inference_mode():
        frozen = backbone.load()(input_ids=ids).last_hidden_state
        model = make_adapted(backbone.load(), LoRA(4, 8, "all")).model
        adapters.write(model, adapters.initial(model, "toy", 0))
        assert torch.allclose(model(input_ids=ids).last_hidden_state, frozen, atol=1e-6)


def test_initial_adapter_by_name_of_the_seed(backbone: Backbone) -> None:
    model = make_adapted(backbone.load(), LoRA(4, 8, "all")).model
    first, same, other = (adapters.initial(model, "toy", draw) for draw in (0, 0, 1))
    a = next(name for name in first if ".lora_A." in name)
    assert np.array_equal(first[a], same[a])
    assert not np.array_equal(first[a], other[a])
    assert np.abs(first[a]).max() <= 1 / np.sqrt(32)
    fewer = make_adapted(backbone.load(), LoRA(4, 8, "query-value", 1)).model
    shared = adapters.initial(fewer, "toy", 0)
    assert shared
    assert all(np.array_equal(value, first[name]) for name, value in shared.items())


def test_pooling_by_hand() -> None:
    import torch

    hidden = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(hidden, mask, "mean", normalise=False).tolist() == [[1.5, 2.0]]
    assert pool(hidden, mask, "cls", normalise=False).tolist() == [[3.0, 0.0]]
    assert pool(hidden, mask, "mean", normalise=True)[0].tolist() == pytest.approx([0.6, 0.8])


def test_tokens(encoder: Path) -> None:
    tokens = find_backbone(str(encoder)).tokens()
    short, long = "good day", "the was and a very really so it my this"
    assert tokens.encode([short], 24)[0].tolist()[0] == 2
    assert len(tokens.encode([long], 6)[0]) == 6
    assert tokens.truncated([short, long], 6) == 0.5
    assert tokens.truncated_about([short, long], 6, 1000) == 0.5
    assert tokens.truncated_about([short, "good " * 10**6], 6, 1000) == 0.5
    assert tokens.truncated_about([long] * 10, 6, 1) == 1
    assert tokens.truncated_about([], 6, 1) == 0
    assert tokens.encode(["", "\ud800 \x00"], 8)[0].tolist() == [2, 3]
    seen = np.concatenate([positions for positions, _, _ in tokens.by_length([short, long] * 9, 24, 40)])
    assert sorted(seen.tolist()) == list(range(18))
    for _, ids, mask in tokens.by_length([short, long] * 9, 24, 40):
        assert ids.shape == mask.shape
        assert ids.size <= 40
        assert (ids[mask == 0] == 0).all()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (
            lambda folder: (folder / "tokenizer.json").unlink() or (folder / "tokenizer_config.json").unlink(),
            "tokenizer",
        ),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pytorch_model.bin"),
        (lambda folder: (folder / "config.json").write_text("{}"), "model_type"),
        (lambda folder: edit(folder, auto_map={"AutoModel": "evil.Model"}), "never run"),
    ],
)
def test_folders_that_cannot_be_used(encoder: Path, tmp_path: Path, harm: object, words: str) -> None:
    folder = shutil.copytree(encoder, tmp_path / "copy")
    harm(folder)  # type: ignore[operator]
    with pytest.raises(UserError, match=words):
        find_backbone(str(folder))


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="minilm"):
        find_backbone("minilmm")


def test_broken_weights_are_a_users_error(encoder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder, tmp_path / "copy")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="could not be loaded"):
        find_backbone(str(folder)).load()
