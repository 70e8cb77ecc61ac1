"""Every block of docs/compress.md, run in order; the tiny encoder has two layers, so that its student has one."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

import lowres
from lowres.data.task import Task
from lowres.export.shrink import METHODS
from lowres.models.backbone import Backbone
from tests.cli.conftest import call
from tests.export.trained import fitted

PAGE = Path(__file__).parent.parent / "docs" / "compress.md"


def test_every_block_runs(
    backbone: Backbone, toy_task: Task, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(backbone, toy_task).save(tmp_path / "my-adapter")
    shutil.copyfile(toy_table, tmp_path / "reviews.csv")
    (tmp_path / "texts.txt").write_text("good day lol\nthe bad plot was awful 7\n")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```", text, flags=re.S | re.M)
    assert len(blocks) == len(re.findall(r"^```\w", text, flags=re.M)) == 4
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, str(PAGE), "exec"), {"__name__": "page"})
            continue
        for line in block.splitlines():
            words = shlex.split(line.replace("--layers 3", "--layers 1").replace("--max-loss 0.01", "--max-loss 1"))
            result = call(*words[1:])
            assert result.exit_code == 0, result.stderr
    assert lowres.load("small").backbone.layers == 1
    assert all(f"`{method}`" in text for method in METHODS)
