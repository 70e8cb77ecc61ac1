"""What every export keeps to: where it writes, what it refuses, what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowres.errors import UserError
from lowres.export import factors
from lowres.export.catalogue import EXPORTS, write_export
from lowres.export.whole import with_encoder
from lowres.files import holds_nothing_else, write_sums
from lowres.models.backbone import Backbone
from lowres.models.classifier import load_classifier
from tests.export.fitted import TEXTS, fitted

ROUNDING = 2e-5
"""Of probabilities in fp32: before and after merging each is up to .8e-5 from what the same weights give in fp64."""


def test_an_unknown_name_gets_the_nearest(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'onnx-int8'"):
        write_export(fitted(backbone), "onnx-int4", tmp_path / "out")
    assert {"merged", "onnx", "onnx-int8", "peft", "sentence-transformers"} <= set(EXPORTS)


def test_only_an_untouched_export_is_replaced(backbone: Backbone, tmp_path: Path) -> None:
    model, out = fitted(backbone), tmp_path / "out"
    write_export(model, "peft", out)
    write_export(model, "sentence-transformers", out)
    assert (out / "modules.json").is_file()
    assert not (out / "adapter_config.json").exists()
    assert holds_nothing_else(out)
    (out / "1_Pooling" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        write_export(model, "peft", out)
    assert (out / "1_Pooling" / "thesis.txt").read_text() == "precious"
    (out / "1_Pooling" / "thesis.txt").unlink()
    (out / "README.md").write_text("my own words")
    with pytest.raises(UserError, match="something else"):
        write_export(model, "peft", out)
    assert not list(tmp_path.glob(".draft-*"))


def test_a_strangers_folder_with_checksums_is_left_alone(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my data")
    write_sums(tmp_path)
    assert holds_nothing_else(tmp_path)
    with pytest.raises(UserError, match="not those of an earlier export"):
        write_export(fitted(backbone), "peft", tmp_path)
    assert (tmp_path / "README.md").read_text() == "my data"


def test_an_adapter_is_never_replaced_by_its_export(backbone: Backbone, tmp_path: Path) -> None:
    model = fitted(backbone)
    folder = model.save(tmp_path / "adapter")
    with pytest.raises(UserError, match="an adapter folder"):
        write_export(model, "peft", folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        write_export(model, "peft", tmp_path / "file")
    assert (folder / "lowres.json").is_file()


def test_what_was_written_is_told(backbone: Backbone, tmp_path: Path) -> None:
    found = write_export(fitted(backbone), "peft", tmp_path / "out", ["good day", "bad day"])
    told = found.as_dict()
    assert told["texts"] == 2
    assert told["agreement"] == 1.0
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("kind", ["classification", "pair", "tokens", "multilabel", "regression"])
def test_a_merged_model_is_a_model_of_its_own(kind: str, backbone: Backbone, tmp_path: Path) -> None:
    model = fitted(backbone, kind)
    found = write_export(model, "merged", tmp_path / "whole", TEXTS[kind])
    assert found.compared.gap < ROUNDING
    moved = (tmp_path / "whole").rename(tmp_path / "moved")
    whole = load_classifier(moved)
    assert np.allclose(whole.predict_proba(TEXTS[kind]), model.predict_proba(TEXTS[kind]), atol=ROUNDING)
    assert holds_nothing_else(moved)
    with pytest.raises(UserError, match="already"):
        write_export(whole, "merged", tmp_path / "again")


def test_compressed_models_are_exported_or_refused(backbone: Backbone, tmp_path: Path) -> None:
    """Other shapes go to ONNX; eight-bit products go nowhere, and exits stay behind."""
    model = fitted(backbone)
    network = model.merged()
    assert factors.factorise(network, model, TEXTS["classification"], 0.5)
    shaped = with_encoder(model, network, tmp_path / "s", what="low rank")
    pytest.importorskip("onnxruntime")
    assert write_export(shaped, "onnx", tmp_path / "onnx").compared.gap < 1e-4
    with pytest.raises(UserError, match="other shapes"):
        write_export(shaped, "sentence-transformers", tmp_path / "st")
    for bits in ("weights", "dynamic"):
        small = with_encoder(model, model.merged(), tmp_path / bits, what="eight bits", eight_bits=bits)
        if bits == "weights":
            assert write_export(small, "onnx", tmp_path / "w8").compared.gap < 1e-4
        else:
            with pytest.raises(UserError, match="eight bits"):
                write_export(small, "onnx", tmp_path / "d8")
    plain = with_encoder(model, model.merged(), tmp_path / "m", what="merged")
    exits = {"weight": model.head["weight"][None], "bias": model.head["bias"][None] + 1}
    early = replace(plain, exits=exits, speed=1.0)
    assert write_export(early, "onnx", tmp_path / "early").compared.gap < 1e-4
