"""Every block of docs/combining.md, run in order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import lowres
from lowres.data.task import Task
from lowres.models.backbone import Backbone
from tests.cli.conftest import call
from tests.export.test_hot_fix import fitted

PAGE = Path(__file__).parent.parent / "docs" / "combining.md"
TEXT = "the parcel lol was a surprise"


@pytest.fixture
def folder(
    backbone: Backbone, toy_task: Task, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    for name in ("shop", "film", "chat"):
        fitted(backbone, toy_task, domain=name).save(tmp_path / name)
    shutil.copyfile(toy_table, tmp_path / "reviews.csv")
    label = {"negative": "positive", "positive": "negative"}[lowres.load(tmp_path / "shop").predict([TEXT])[0]]
    (tmp_path / "fixes.jsonl").write_text(json.dumps({"text": TEXT, "label": label}) + "\n")
    (tmp_path / "texts.txt").write_text(f"{TEXT}\na good day\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```", text, flags=re.S | re.M)
    assert len(blocks) == len(re.findall(r"^```\w", text, flags=re.M)) == 5
    place: dict[str, object] = {"__name__": "page"}
    said = ""
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, str(PAGE), "exec"), place)
            continue
        for line in block.splitlines():
            result = call(*shlex.split(line)[1:])
            assert result.exit_code == 0, result.stderr
            said += result.stdout
    (fix,) = [json.loads(line) for line in (folder / "fixes.jsonl").read_text().splitlines()]
    assert json.loads(said.splitlines()[1])["label"] == fix["label"]
    assert lowres.load("shop-mended").predict([TEXT]) == [fix["label"]] != lowres.load("shop").predict([TEXT])
    assert (folder / "merged" / "adapter_config.json").is_file()
    assert "(3, 2)" in capsys.readouterr().out
