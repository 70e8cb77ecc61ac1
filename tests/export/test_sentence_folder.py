"""The export to sentence-transformers: the vectors of the trained encoder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowres.errors import LowresError, UserError
from lowres.export import sentence_folder
from lowres.export.catalogue import write_export
from lowres.models import encoder
from lowres.models.backbone import find_backbone
from lowres.models.classifier import Classifier
from tests.export.fitted import TEXTS, fitted

SHAPES = {"bert": {}, "roberta": {"pooling": "cls"}, "distilbert": {"normalise": False}, "mpnet": {}}


@pytest.mark.parametrize("shape", SHAPES)
def test_sentence_transformers_opens_the_folder(encoders: dict[str, Path], tmp_path: Path, shape: str) -> None:
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = fitted(find_backbone(str(encoders[shape])), **SHAPES[shape])
    found = write_export(model, "sentence-transformers", tmp_path / "out")
    texts = TEXTS["classification"]
    opened = library.SentenceTransformer(str(found.folder), device="cpu", local_files_only=True)
    assert opened.max_seq_length == model.max_length
    vectors = encoder.features(
        model.network,
        model.tokens,
        texts,
        max_length=model.max_length,
        pooling=model.pooling,
        normalise=model.normalise,
        device="cpu",
        precision="fp32",
    )
    assert opened.encode(texts) == pytest.approx(vectors, abs=1e-5)


def test_the_card_gives_the_probabilities(
    encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = fitted(find_backbone(str(encoders["bert"])))
    folder = write_export(model, "sentence-transformers", tmp_path / "out").folder
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert code
    monkeypatch.chdir(folder)
    place: dict[str, object] = {}
    exec(code.group(1), place)
    assert place["probabilities"] == pytest.approx(model.predict_proba(["a text"]), abs=1e-5)
    assert place["labels"] == list(model.labels)


@pytest.mark.parametrize("fault", ["max_seq_length", "modules", "pooling"])
def test_settings_that_the_library_would_take_otherwise_are_noticed(
    encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    right = sentence_folder._settings

    def wrong(model: Classifier) -> dict[str, Any]:
        files = right(model)
        if fault == "max_seq_length":
            files["sentence_bert_config.json"]["max_seq_length"] += 8
        elif fault == "modules":
            del files["modules.json"][-1]
        else:
            files["1_Pooling/config.json"] |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
        return files

    monkeypatch.setattr(sentence_folder, "_settings", wrong)
    with pytest.raises(LowresError, match="not kept"):
        write_export(fitted(find_backbone(str(encoders["bert"]))), "sentence-transformers", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["sentence-transformers", "peft"])
@pytest.mark.parametrize("installed", [True, False])
def test_the_head_is_read_back(
    encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, installed: bool
) -> None:
    if installed:
        pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    else:
        monkeypatch.setattr(sentence_folder, "find_spec", lambda name: None)
    model = fitted(find_backbone(str(encoders["bert"])))
    assert write_export(model, to, tmp_path / "right").compared.gap < 1e-4
    right, zeros = Classifier.write_head, {name: np.zeros_like(value) for name, value in model.head.items()}
    monkeypatch.setattr(Classifier, "write_head", lambda self, folder: right(replace(self, head=zeros), folder))
    with pytest.raises(LowresError, match="answers otherwise"):
        write_export(model, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_is_complete(encoders: dict[str, Path], tmp_path: Path) -> None:
    model = fitted(find_backbone(str(encoders["electra"])), "multilabel")
    found = write_export(model, "sentence-transformers", tmp_path / "out", TEXTS["multilabel"])
    assert {"model.safetensors", "config.json", "1_Pooling/config.json", "head.safetensors", "labels.json"} <= set(
        found.sizes
    )
    modules = json.loads((found.folder / "modules.json").read_text(encoding="utf-8"))
    assert [part["path"] for part in modules] == ["", "1_Pooling", "2_Normalize"]
    assert not {name for name in found.sizes if name.endswith((".bin", ".pt", ".pkl"))}
    assert found.compared.gap < 1e-4


@pytest.mark.parametrize(
    ("kind", "truncation"),
    [("pair", "head"), ("tokens", "head"), ("classification", "windows"), ("regression", "head+tail")],
)
def test_what_it_would_read_otherwise_is_refused(
    encoders: dict[str, Path], tmp_path: Path, kind: str, truncation: str
) -> None:
    model = fitted(find_backbone(str(encoders["bert"])), kind, truncation=truncation)
    with pytest.raises(UserError, match="sentence-transformers"):
        write_export(model, "sentence-transformers", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_vectors_without_the_adapter_would_differ(encoders: dict[str, Path]) -> None:
    model = fitted(find_backbone(str(encoders["bert"])))
    bare = model.backbone.load().state_dict()
    assert any(not np.array_equal(value, bare[name]) for name, value in model.merged().state_dict().items())
