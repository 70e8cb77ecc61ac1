"""``lowres patch`` and ``--patch``: exit codes, what is printed, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lowres
from lowres.data.task import Task
from lowres.models.backbone import Backbone
from tests.cli.conftest import call
from tests.export.test_hot_fix import fitted

TEXT = "my phone was lovely and the box"


@pytest.fixture(scope="module")
def adapter(backbone: Backbone, toy_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(backbone, toy_task).save(tmp_path_factory.mktemp("fitted") / "shop")


@pytest.fixture
def fixes(adapter: Path, tmp_path: Path) -> tuple[Path, str]:
    """A file with one text and the label that it has not got, and that label."""
    label = {"negative": "positive", "positive": "negative"}[lowres.load(adapter).predict([TEXT])[0]]
    path = tmp_path / "fixes.jsonl"
    path.write_text(json.dumps({"text": TEXT, "label": label}) + "\n")
    return path, label


def test_from_file_to_answers(adapter: Path, fixes: tuple[Path, str], toy_table: Path, tmp_path: Path) -> None:
    path, label = fixes
    out = tmp_path / "patch"
    made = call("patch", adapter, path, "--task", toy_table, "--max-loss", "1", "--out", out, "--json")
    assert made.exit_code == 0, made.stderr
    found = json.loads(made.stdout)
    assert (found["kept"], found["fixes"], found["mended"], found["folder"]) == (True, 1, 1, str(out))
    assert [one["domain"] for one in found["domains"]] == ["chat", "film", "shop"]
    (tmp_path / "texts.txt").write_text(TEXT)
    on = call("predict", adapter, "--input", tmp_path / "texts.txt", "--patch", out)
    off = call("predict", adapter, "--input", tmp_path / "texts.txt")
    assert json.loads(on.stdout)["label"] == label != json.loads(off.stdout)["label"]
    scored = call("evaluate", adapter, toy_table, "--on", "film", "--patch", out)
    (film,) = [one for one in found["domains"] if one["domain"] == "film"]
    assert json.loads(scored.stdout)["macro_f1"] == pytest.approx(film["after"])
    assert json.loads(scored.stdout)["left_out"] == 0


def test_evaluate_leaves_out_what_was_taught(adapter: Path, toy_task: Task, toy_table: Path, tmp_path: Path) -> None:
    test = toy_task.domains["film"].test
    label = {"negative": "positive", "positive": "negative"}[lowres.load(adapter).predict(list(test.texts[:1]))[0]]
    path, out = tmp_path / "fixes.jsonl", tmp_path / "patch"
    path.write_text(json.dumps({"text": test.texts[0], "label": label}) + "\n")
    made = call("patch", adapter, path, "--task", toy_table, "--max-loss", "1", "--out", out)
    assert "1 left out: the same as a fix" in made.stderr
    lowres.load(adapter, patch=out).save(tmp_path / "baked")
    for words in ((adapter, toy_table, "--patch", out), (tmp_path / "baked", toy_table)):
        scored = call("evaluate", *words, "--on", "film")
        found = json.loads(scored.stdout)
        assert (found["rows"], found["left_out"]) == (len(test) - 1, 1)
        assert "1 test rows of film are left out: a patch has taught them" in scored.stderr


def test_the_bound_decides_on_the_exit_code(
    adapter: Path, fixes: tuple[Path, str], toy_table: Path, tmp_path: Path
) -> None:
    rows = [{"text": f"{TEXT} {number}", "label": fixes[1]} for number in range(3)]
    rows += [{"text": "a good and great price", "label": "negative"}, {"text": "bad awful plot", "label": "positive"}]
    fixes[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("patch", adapter, fixes[0], "--task", toy_table, "--on", "film,chat", "--out", tmp_path / "p")
    refused = call(*words, "--max-loss", "0")
    assert refused.exit_code == 1
    assert "the patch is refused, nothing was written" in refused.stderr
    assert "falls from" in refused.stderr
    assert "paired over the test groups of this one model" in refused.stderr
    assert not (tmp_path / "p").exists()
    said = json.loads(call(*words, "--max-loss", "0", "--json").stdout)
    assert said["kept"] is False
    assert said["faults"]
    kept = call(*words, "--max-loss", "1")
    assert kept.exit_code == 0
    assert kept.stdout.strip() == str(tmp_path / "p")


def test_mistakes_exit_with_two(adapter: Path, fixes: tuple[Path, str], toy_table: Path, tmp_path: Path) -> None:
    path, _ = fixes
    for words, said in (
        ((adapter, path), "--task"),
        ((adapter, tmp_path / "gone.csv", "--task", toy_table), "no such file"),
        ((adapter, path, "--task", toy_table, "--label-column", "lable"), "did you mean 'label'"),
        ((adapter, path, "--task", toy_table, "--pair-column", "b"), "one text a row"),
        ((tmp_path, path, "--task", toy_table), "no adapter folder"),
    ):
        result = call("patch", *words, "--out", tmp_path / "p")
        assert result.exit_code == 2, result.stderr
        assert said in result.stderr
    missing = call("predict", adapter, "--input", path, "--patch", tmp_path / "nothing")
    assert missing.exit_code == 2
    assert "no patch folder" in missing.stderr
