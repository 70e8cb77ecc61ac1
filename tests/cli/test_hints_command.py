"""What a task file says of its labels, from the command line: counted, used, and asked for where it is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, call
from tests.conftest import toy_rows, write_table

TASK = """\
name: toy
source: {kind: files, parts: [{path: toy.csv}]}
descriptions: {positive: good and great}
keywords:
  negative: [bad, awful, poor]
  positive: [good, great, fine]
"""


@pytest.fixture
def told(tmp_path: Path) -> Path:
    write_table(tmp_path / "toy.csv", toy_rows())
    (tmp_path / "toy.yaml").write_text(TASK)
    return tmp_path / "toy.yaml"


LONGER = [
    word for name, value in (("min_steps", 60), ("learning_rate", 5e-3), ("head_learning_rate", 5e-2))
    for word in ("--set", f"recipe.{name}={value}")
]  # fmt: skip
"""An encoder with random weights needs more steps than a quick run has."""


def words(task: Path, encoder: Path, tmp_path: Path) -> list[str]:
    return [
        str(task), "--source", "shop", "--target", "film", "--shots", "0,4", "--seeds", "2", "--source-rows", "30",
        "--backbone", str(encoder), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), *QUICK,
    ]  # fmt: skip


@pytest.mark.parametrize("engine", ["fleet", "loop"])
def test_both_methods_run_at_every_budget(engine: str, told: Path, encoder: Path, tmp_path: Path) -> None:
    given = [*words(told, encoder, tmp_path), *LONGER]
    done = call("run", *given, "--methods", "label-names,keywords", "--engine", engine, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    scores = {
        (one["method"], one["source"], one["target"], one["shots"]): one["mean"]
        for one in summary["scores"]
        if one["method"] in ("label-names", "keywords")
    }
    assert set(scores) == {(name, None, "film", shots) for name in ("label-names", "keywords") for shots in (0, 4)}
    # six of the eight mood words are keywords, so they label nearly all rows of film right
    assert min(scores["keywords", None, "film", 0], scores["keywords", None, "film", 4]) > 0.6
    evidence = json.loads((tmp_path / "out" / "evidence.json").read_text())
    checks = {one["check"]: one for one in evidence["acted"] if one["method"] == "keywords"}
    assert checks["rows with a keyword"]["worst"] > 0.9
    assert checks["of those, keywords agree"]["worst"] == 1.0
    assert checks["keywords are right on the shots"]["worst"] == 1.0
    again = call("run", *given, "--methods", "label-names,keywords", "--engine", engine, "--json")
    assert json.loads(again.stdout)["fits"]["trained"] == 0


def test_a_task_without_keywords_is_refused(toy_table: Path, told: Path, encoder: Path, tmp_path: Path) -> None:
    bare = call("run", *words(toy_table, encoder, tmp_path), "--methods", "keywords")
    assert bare.exit_code == 2
    assert "field keywords" in bare.stderr
    assert "negative, positive" in bare.stderr
    assert len(bare.stderr.strip().splitlines()) <= 4
    told.write_text(TASK.replace("  negative: [bad, awful, poor]\n", ""))
    half = call("plan", *words(told, encoder, tmp_path), "--methods", "keywords")
    assert half.exit_code == 2
    assert "none for negative" in half.stderr
    names = call("plan", *words(toy_table, encoder, tmp_path), "--methods", "label-names")
    assert names.exit_code == 0, names.output


def test_check_names_keywords_that_nothing_holds(told: Path, tmp_path: Path) -> None:
    assert "keyword" not in call("tasks", "check", told).stderr
    told.write_text(TASK.replace("[bad, awful, poor]", "[bad, dreadful]"))
    assert "note: keyword 'dreadful' of 'negative' is found in no training row\n" in call("tasks", "check", told).stderr
    told.write_text(TASK.replace("[bad, awful, poor]", "[dreadful]"))
    said = call("tasks", "check", told).stderr
    for domain in ("chat", "film", "shop"):
        assert (
            f"note: domain '{domain}': of all labels only 'positive' has keywords that a training row holds\n" in said
        )


def test_check_says_how_far_keywords_reach(told: Path, toy_table: Path) -> None:
    text = call("tasks", "check", told).stdout
    assert "descriptions: 1 of 2 labels" in text
    assert "keywords: negative 3, positive 3" in text
    assert "  film: 100% of the training rows hold one, 100% of these for one label alone" in text
    assert "keywords" not in call("tasks", "check", toy_table).stdout
    assert "descriptions: {positive: good and great}" in call("tasks", "show", told).stdout
