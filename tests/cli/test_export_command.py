"""``lowres export`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowres.cli.main import app
from lowres.models.backbone import Backbone
from tests.export.fitted import fitted


@pytest.fixture(scope="module")
def adapter(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(backbone).save(tmp_path_factory.mktemp("adapter") / "kept")


def test_an_adapter_is_exported_and_compared_on_texts(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\ngood day\nbad plot\n", encoding="utf-8")
    words = [
        "export",
        str(adapter),
        "--to",
        "peft",
        "--out",
        str(tmp_path / "out"),
        "--texts",
        str(tmp_path / "texts.csv"),
    ]
    ran = CliRunner().invoke(app, [*words, "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["texts"] == 2
    assert told["agreement"] == 1.0
    assert set(told["files"]) == {path.name for path in (tmp_path / "out").iterdir()}
    assert "100.0% of the answers are the same" in ran.stderr
    again = CliRunner().invoke(app, words)
    assert again.stdout.strip() == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "onxx"], "did you mean 'onnx'"),
        (["--to", "peft", "--texts", "none.txt"], "none.txt"),
        (["--to", "peft", "--texts", "texts.csv", "--pair-column", "b"], "one text a row"),
        (["--to", "peft", "--pair-column", "b"], "name the file: --texts"),
        (["--to", "peft", "--text-column", "text"], "name the file: --texts"),
    ],
)
def test_mistakes_take_three_lines(adapter: Path, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "texts.csv").write_text("text\ngood day\n", encoding="utf-8")
    words = [str(tmp_path / word) if word == "texts.csv" else word for word in words]
    ran = CliRunner().invoke(app, ["export", str(adapter), "--out", str(tmp_path / "out"), *words])
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert len(ran.stderr.strip().splitlines()) <= 3
    assert not (tmp_path / "out").exists()


def test_ways_are_completed() -> None:
    from lowres.cli.complete import exports

    assert exports("onnx") == ["onnx", "onnx-int8"]
