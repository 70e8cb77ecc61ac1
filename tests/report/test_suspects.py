"""Suspected labels as tables and files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lowres.analysis.noise import Doubted, Suspect
from lowres.errors import UserError
from lowres.kinds import join_pair
from lowres.report import noise

PAIR = join_pair("a man sleeps", "a man\x1b[2J is awake " + "word " * 60)
FOUND = [
    Doubted(
        "shop",
        40,
        {"rare": 2},
        (
            Suspect("shop/1", "shop", "train", "=1+1, [bold]so[/bold]", "neg", "pos", 0.91, 0.05, True),
            Suspect("shop/2", "shop", "dev", PAIR, "pos", "neg", 0.8, 0.2, False),
        ),
        1.4,
    ),
    Doubted("film", 0, {"pos": 3}, (), 0.0),
]


def printed(table: object) -> str:
    console = Console(width=100, file=io.StringIO(), markup=False, highlight=False)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_tables_are_for_eyes() -> None:
    lines = printed(noise.counts(FOUND)).splitlines()
    assert lines[1].split() == ["shop", "40", "2", "5.0%", "1", "1"]
    assert lines[2].split() == ["film", "0", "–", "–", "–", "–"]
    text = printed(noise.examples(FOUND[0]))
    assert "[bold]so[/bold]" in text
    assert "a man sleeps | a man" in text
    assert "\x1b" not in text
    assert "…" in text
    assert list(noise.too_few(FOUND)) == [
        "domain 'shop': too few rows to doubt them: rare 2",
        "domain 'film': not looked at, fewer than two labels have 5 rows or groups",
    ]


def test_files_hold_every_suspicion_whole() -> None:
    rows = list(csv.DictReader(io.StringIO(noise.as_csv(FOUND))))
    assert [row["id"] for row in rows] == ["shop/1", "shop/2"]
    assert rows[0]["text"] == "'=1+1, [bold]so[/bold]"  # no formula
    assert (rows[1]["label"], rows[1]["suggested"], rows[1]["probability"]) == ("pos", "neg", "0.8")
    objects = [json.loads(line) for line in noise.as_jsonl(FOUND).splitlines()]
    assert objects[0]["text"] == "=1+1, [bold]so[/bold]"
    assert objects[1]["text"].startswith("a man sleeps | a man")
    whole = json.loads(noise.as_json("t", "minilm", FOUND))
    assert [one["suspects"] for one in whole["domains"]] == [objects, []]
    assert (whole["domains"][0]["share"], whole["domains"][0]["by_chance"]) == (0.05, 1.4)


def test_where_they_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("precious")
    for name, said in (
        ("there.csv", "is there already"),
        ("x.txt", "expected .csv or .jsonl"),
        ("no/x.csv", "no folder"),
    ):
        with pytest.raises(UserError, match=said):
            noise.check_out(tmp_path / name)
    noise.check_out(tmp_path / "new.jsonl")
