"""``lowres tasks check --noise``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lowres.data.task import load_task
from tests.cli.conftest import call
from tests.conftest import toy_rows, write_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The toy table with an id, every tenth label flipped."""
    other = {"negative": "positive", "positive": "negative"}
    rows = [
        row | {"id": f"r{at}", "label": other[row["label"]] if at % 10 == 0 else row["label"]}
        for at, row in enumerate(toy_rows())
    ]
    return write_table(tmp_path / "x.csv", rows)


def test_what_is_doubted_can_be_read_kept_and_piped(table: Path, encoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("cleanlab", reason="cleanlab is not installed: pip install lowres[noise]")
    words = ["tasks", "check", table, "--noise", "--backbone", encoder, "--max-length", 24]
    shown = call(*words)
    assert shown.exit_code == 0, shown.output
    assert "found: left out" in shown.stdout  # the counts stay
    assert "A suspicion is no proof" in shown.stdout
    piped = call(*words, "--json", "--out", tmp_path / "found.csv")
    found = json.loads(piped.stdout)
    task = load_task(table)
    assert [one["rows"] for one in found["domains"]] == [
        len(part.train) + len(part.dev) for part in task.domains.values()
    ]
    for one in found["domains"]:
        line = next(
            line.split() for line in shown.stdout.splitlines() if line.split()[:2] == [one["domain"], str(one["rows"])]
        )
        assert line[2] == str(len(one["suspects"]))
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as stream:
        kept = list(csv.DictReader(stream))
    assert [row["id"] for row in kept] == [suspect["id"] for one in found["domains"] for suspect in one["suspects"]]
    wrong = {f"r{at}" for at in range(0, len(toy_rows()), 10)}
    assert sum(row["id"].rpartition("/")[2] in wrong for row in kept) > len(kept) / 3
    too_long = call(*words[:-2], "--json")
    assert (too_long.exit_code, too_long.stdout) == (2, "")
    assert "expected at most 64" in too_long.stderr
    again = call(*words, "--out", tmp_path / "found.csv")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "is there already" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json"], "add --noise"),
        (["--out", "x.csv"], "add --noise"),
        (["--noise", "--out", "x.txt"], "expected .csv or .jsonl"),
    ],
)
def test_mistakes_are_said_before_anything_is_read(words: list[str], said: str) -> None:
    result = call("tasks", "check", "gone.csv", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
