"""docs/export.md: every block of it runs, one after another."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from lowres.export.catalogue import EXPORTS
from lowres.models.backbone import NAMED

PAGE = Path(__file__).parent.parent.parent / "docs" / "export.md"


def test_every_block_of_the_export_page_runs(
    encoder: Path, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("onnxruntime", "sentence_transformers"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M)
    assert len(blocks) + 1 == len(re.findall(r"^```\w", text, flags=re.M))  # and one of commands, see test_house
    shutil.copytree(encoder, tmp_path / "cache" / "models" / f"minilm-{NAMED['minilm'].weights_sha256[:12]}")
    monkeypatch.setenv("LOWRES_CACHE", str(tmp_path / "cache"))
    shutil.copyfile(toy_table, tmp_path / "reviews.csv")
    monkeypatch.chdir(tmp_path)
    place: dict[str, object] = {"__name__": "page"}
    ran = 0
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), place)
        ran += 1
    assert ran == len(blocks) >= 5
    said = capsys.readouterr().out
    assert "onnx" in said
    assert said.count("negative") + said.count("positive") >= 6
    assert all((tmp_path / name).is_dir() for name in ("my-adapter", "served", "vectors", "plain", "whole"))


def test_every_export_stands_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"--to {name} " in text for name in EXPORTS)
