"""``lowres compress`` and what takes its models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, call


@pytest.fixture(scope="module")
def adapter(toy_table: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compressed")
    words = ["--on", "film", "--start-from", "shop", "--shots", "4", "--backbone", encoder, "--store", place / "store"]
    made = call("fit", toy_table, *words, "--out", place / "adapter", *QUICK)
    assert made.exit_code == 0, made.output
    return place / "adapter"


def test_a_model_is_made_and_shown(adapter: Path, toy_table: Path, tmp_path: Path) -> None:
    common = ["--task", toy_table, "--target", "film,chat"]
    made = call(
        "compress", adapter, "--method", "distil", "--layers", "1", "--epochs", "1", *common, "--out", tmp_path / "s"
    )
    assert made.exit_code == 0, made.output
    assert "shop (source)" in made.stdout
    assert "shop → chat" in made.stdout
    assert made.stdout.rstrip().endswith(str(tmp_path / "s"))
    said = json.loads(call("report", tmp_path / "s", "--format", "json").stdout)
    assert said == json.loads((tmp_path / "s" / "compression.json").read_text())
    assert said["settings"]["layers"] == 1
    assert [(one["source"], one["target"]) for one in said["shift"]] == [("shop", "film"), ("shop", "chat")]
    assert call("report", tmp_path / "s").stdout.splitlines()[0] in made.stdout
    for format in ("markdown", "html"):
        assert "How far it falls" in call("report", tmp_path / "s", "--format", format).stdout
    page = call("report", tmp_path / "s", "--format", "html").stdout
    assert "<h1>What was won, and what it costs</h1>" in page
    assert "How far it falls</h2>" not in page
    assert "What it costs\n" in made.stdout
    assert "film has 23 test rows" in made.stderr
    refused = call("report", tmp_path / "s", "--format", "latex")
    assert refused.exit_code == 2
    assert "latex" in refused.stderr
    over = call("fit", toy_table, "--on", "film", "--shots", "4", "--out", tmp_path / "s", *QUICK)
    assert over.exit_code == 2
    assert "holds a compressed model" in over.stderr
    score = json.loads(call("evaluate", tmp_path / "s", toy_table, "--on", "chat").stdout)
    chat = next(one for one in said["domains"] if one["domain"] == "chat")
    assert score["macro_f1"] == pytest.approx(chat["after"]["mean"])


def test_json_is_all_there_is_on_stdout(adapter: Path, toy_table: Path, tmp_path: Path) -> None:
    made = call(
        "compress",
        adapter,
        "--method",
        "quantise",
        "--task",
        toy_table,
        "--limit",
        "9",
        "--json",
        "--out",
        tmp_path / "q",
    )
    found = json.loads(made.stdout)
    assert found["settings"] == {"bits": "dynamic"}
    assert (found["kept"], found["folder"]) == (True, str(tmp_path / "q"))
    assert [one["rows"] for one in found["domains"]] == [9, 9]


def test_a_refused_model_shows_what_it_costs(adapter: Path, toy_table: Path, tmp_path: Path) -> None:
    words = ["compress", adapter, "--method", "distil", "--width", "16", "--epochs", "0", "--task", toy_table]
    found = call(*words, "--max-loss", "0", "--out", tmp_path / "m", "--json")
    assert found.exit_code == 1
    said = json.loads(found.stdout)
    assert (said["kept"], "folder" in said) == (False, False)
    assert said["faults"]
    assert all(line in found.stderr for line in said["faults"])
    assert min(one["change"]["mean"] for one in said["domains"]) < 0
    assert not (tmp_path / "m").exists()
    for names in (",", ""):
        nameless = call(*words, "--target", names, "--out", tmp_path / "m")
        assert nameless.exit_code == 2
        assert "--target names nothing" in nameless.stderr


def test_speed_of_early_exits(adapter: Path, toy_table: Path, tmp_path: Path) -> None:
    made = call(
        "compress", adapter, "--method", "early-exit", "--task", toy_table, "--speed", "0.7", "--out", tmp_path / "e"
    )
    assert made.exit_code == 0, made.output
    assert "layers" in made.stdout
    (tmp_path / "texts.txt").write_text("good day lol\nthe bad plot was awful 7\n")
    answers = {}
    for speed in ((), ("--speed", "0"), ("--speed", "1")):
        found = call("predict", tmp_path / "e", "--input", tmp_path / "texts.txt", *speed)
        assert found.exit_code == 0, found.output
        answers[speed] = [json.loads(line)["probabilities"]["positive"] for line in found.stdout.splitlines()]
    assert answers["--speed", "0"] != answers["--speed", "1"]
    none = call("predict", adapter, "--input", tmp_path / "texts.txt", "--speed", "0.5")
    assert none.exit_code == 2
    assert "no early exits" in none.stderr


def test_a_loss_is_refused(adapter: Path, toy_table: Path, tmp_path: Path) -> None:
    words = [
        "--method",
        "distil",
        "--layers",
        "1",
        "--width",
        "16",
        "--epochs",
        "0",
        "--max-loss",
        "0.001",
        "--task",
        toy_table,
    ]
    refused = call("compress", adapter, *words, "--out", tmp_path / "s")
    assert refused.exit_code == 1
    assert "max_loss of 0.001" in refused.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "distill"], "distil"),
        (["--method", "prune", "--layers", "2"], "no setting"),
        (["--method", "distil", "--width", "31"], "smaller"),
        (["--method", "quantise", "--bits", "dynamics"], "dynamic"),
        (["--method", "quantise", "--target", "flim"], "film"),
        (["--method", "quantise", "--texts", "0"], "at least 1"),
        (["--method", "quantise", "--limit", "0"], "limit"),
        (["--method", "quantise", "--methd", "x"], "--method"),
    ],
)
def test_mistakes(words: list[str], said: str, adapter: Path, toy_table: Path, tmp_path: Path) -> None:
    made = call("compress", adapter, "--task", toy_table, *words, "--out", tmp_path / "x")
    assert made.exit_code == 2
    assert said in made.stderr
    assert not (tmp_path / "x").exists()


def test_the_old_model_is_never_overwritten(adapter: Path, toy_table: Path) -> None:
    before = (adapter / "lowres.json").read_bytes()
    made = call("compress", adapter, "--task", toy_table, "--method", "quantise", "--out", adapter)
    assert made.exit_code == 2
    assert "take the place" in made.stderr
    assert (adapter / "lowres.json").read_bytes() == before
    named = call("compress", adapter, "--method", "quantise", "--out", adapter.parent / "y")
    assert named.exit_code == 2  # a task made of a table is not found by its name
    assert "toy" in named.stderr
