"""What every export keeps to: where it writes, what it refuses, what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowres.errors import UserError
from lowres.export.catalogue import EXPORTS, write_export
from lowres.files import holds_nothing_else, write_sums
from lowres.models.backbone import Backbone
from tests.export.fitted import fitted


def test_an_unknown_name_gets_the_nearest(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'onnx-int8'"):
        write_export(fitted(backbone), "onnx-int4", tmp_path / "out")
    assert {"onnx", "onnx-int8", "peft", "sentence-transformers"} <= set(EXPORTS)


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
