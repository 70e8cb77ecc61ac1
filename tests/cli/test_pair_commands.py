"""The commands on a table of pairs: planned, run, answered, scored, explained and forecast."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lowres.analysis.evidence import Evidence
from tests.cli.conftest import QUICK, call
from tests.conftest import pair_rows, write_table


@pytest.fixture(scope="module")
def run(pair_table: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on shop → film."""
    folder = tmp_path_factory.mktemp("run")
    done = call(
        "run", pair_table, "--source", "shop", "--target", "film", "--shots", "0,4", "--seeds", "2", "--source-rows", "30",
        "--backbone", encoder, "--store", folder / "store", "--out", folder / "out", *QUICK,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "guessed: text column 'premise'" in done.stderr
    return folder / "out"


def test_what_a_run_shows_and_keeps(run: Path) -> None:
    assert "pair_column: hypothesis" in (run / "study.yaml").read_text(encoding="utf-8")
    evidence = Evidence.model_validate_json((run / "evidence.json").read_bytes())
    assert all(" | " in flip.text and flip.text.isprintable() for flip in evidence.flips)
    for name in ("report.html", "report.md", "evidence.json", "summary.json"):
        assert "\x1e" not in (run / name).read_text(encoding="utf-8")
        assert "\\u001e" not in (run / name).read_text(encoding="utf-8")


def test_predict_reads_two_columns(run: Path, pair_table: Path, tmp_path: Path) -> None:
    adapter = run / "best" / "film-4"
    done = call(
        "predict", adapter, "--input", pair_table, "--text-column", "premise", "--pair-column", "hypothesis",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(pair_rows())
    turned = call(
        "predict", adapter, "--input", pair_table, "--text-column", "hypothesis", "--pair-column", "premise",
    )  # fmt: skip
    assert found != [json.loads(line) for line in turned.stdout.splitlines()]
    lines = tmp_path / "lines.txt"
    lines.write_text("good day\n")
    for words, message in (
        (["--input", pair_table, "--text-column", "premise"], "reads pairs of texts"),
        (["--input", lines, "--pair-column", "hypothesis"], "plain text, and a line is one text"),
        (["--input", pair_table, "--text-column", "premise", "--pair-column", "hypotheses"], "--pair-column 'hypothesis'?"),
    ):  # fmt: skip
        refused = call("predict", adapter, *words)
        assert refused.exit_code == 2, refused.output
        assert message in refused.stderr
        assert len(refused.stderr.strip().splitlines()) <= 3


def test_evaluate_and_its_refusals(run: Path, pair_table: Path, toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    adapter = run / "best" / "film-0"
    done = call("evaluate", adapter, pair_table, "--on", "film")
    assert done.exit_code == 0, done.output
    assert 0 <= json.loads(done.stdout)["macro_f1"] <= 1
    named = ["--text-column", "premise", "--pair-column", "hypothesis", "--label-column", "label"]
    assert json.loads(call("evaluate", adapter, pair_table, "--on", "film", *named).stdout) == json.loads(done.stdout)
    refused = call("evaluate", adapter, toy_table, "--on", "film")
    assert refused.exit_code == 2
    assert "another kind of task\ngot classification; expected pair" in refused.stderr
    single = tmp_path / "single"
    made = call(
        "fit", toy_table, "--on", "film", "--shots", "2", "--out", single, "--backbone", encoder,
        "--store", tmp_path / "store", *QUICK,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    refused = call("evaluate", single, pair_table, "--on", "film")
    assert "got pair; expected classification" in refused.stderr
    refused = call("predict", single, "--input", pair_table, "--pair-column", "hypothesis")
    assert refused.exit_code == 2
    assert "reads one text a row" in refused.stderr


def test_explain_takes_texts_two_by_two(run: Path) -> None:
    pytest.importorskip("captum", reason="captum is not installed: pip install 'lowres[explain]'")
    adapter = run / "best" / "film-4"
    done = call("explain", adapter, "a good plot", "bad scene", "my day", "lol", "--json")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == [
        "a good plot | bad scene",
        "my day | lol",
    ]
    assert " | " in call("explain", adapter, "a good plot", "bad scene").stdout
    refused = call("explain", adapter, "a good plot", "bad scene", "my day")
    assert refused.exit_code == 2
    assert "got 3 texts; expected two for each answer" in refused.stderr


def test_forecast_of_a_file_of_pairs(pair_table: Path, encoder: Path, tmp_path: Path) -> None:
    new = write_table(tmp_path / "new.csv", [{name: row[name] for name in ("premise", "hypothesis")} for row in pair_rows(15) if row["domain"] == "chat"])  # fmt: skip
    words = [
        pair_table, "--source", "shop", "--seeds", "2", "--source-rows", "30", "--backbone", encoder,
        "--store", tmp_path / "store", *QUICK,
    ]  # fmt: skip
    done = call("forecast", *words, "--target-texts", new, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["texts"] == {"new": 30}
    (tmp_path / "lines.txt").write_text("good day\n" * 30)
    refused = call("forecast", *words, "--target-texts", tmp_path / "lines.txt")
    assert refused.exit_code == 2
    assert "plain text, and a line is one text" in refused.stderr


def test_tasks_check_and_init_take_the_column(pair_table: Path) -> None:
    done = call("tasks", "check", pair_table, "--text-column", "premise", "--pair-column", "hypothesis")
    assert done.exit_code == 0, done.output
    assert "one label for two texts" in done.stdout
    assert not done.stderr
    written = call("tasks", "init", pair_table, "--text-column", "hypothesis", "--pair-column", "premise").stdout
    assert "type: pair" in written
    assert "  pair: premise\n" in written
    single = call("tasks", "check", pair_table, "--text-column", "premise")
    assert "--pair-column hypothesis" in single.stderr
    assert "two texts" not in single.stdout
