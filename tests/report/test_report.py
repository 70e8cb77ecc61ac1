from __future__ import annotations

import re

import pytest
from rich.console import Console

from lowres.analysis.summary import Summary
from lowres.report import csv, html, markdown, sentences, tables, terminal

EVIL = "<script>alert(1)</script>[red]x[/red]\x1b[31m|`=1+1"


def estimate(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.03, "high": mean + 0.03}


def summary(domain: str = "amazon") -> Summary:
    def score(method: str, source: str | None, target: str, shots: int | None, mean: float) -> dict:
        return {
            "method": method,
            "source": source,
            "target": target,
            "shots": shots,
            "metric": "macro_f1",
            "seeds": 5,
            **estimate(mean),
        }

    return Summary.model_validate(
        {
            "schema": 1, "lowres": "0", "warnings": [f"note on {domain}"],
            "study": {
                "task": "vader", "task_version": 1, "backbone": "minilm", "metric": "macro_f1", "domains": ["movie", domain],
                "sources": ["movie"], "targets": [domain], "shots": [0, 8], "seeds": 5,
                "methods": ["source-only", "target-full", "target-only", "source-then-target"], "limit": None, "row_cap": 300,
            },
            "fits": {"cells": 7, "distinct": 5, "trained": 5, "reused": 0, "failed": 0},
            "seconds": {"total": 9, "train": 5, "evaluate": 4, "encode": 0},
            "scores": [
                score("source-only", "movie", "movie", 0, 0.8071), score("source-only", "movie", domain, 0, 0.7181),
                score("target-full", None, domain, None, 0.85), score("target-only", None, domain, 8, 0.724),
                score("source-then-target", "movie", domain, 8, 0.747),
            ],
            "shift": [{
                "source": "movie", "target": domain, "metric": "macro_f1", "source_drop": estimate(0.089),
                "target_drop": estimate(0.135), "scenario": "classic",
            }],
            "transfer": [{
                "method": "source-then-target", "source": "movie", "target": domain, "shots": 8, "gain": estimate(0.03),
                "net_transfer": estimate(0.023), "recovery": {"mean": 0.51, "low": 0.35, "high": 0.68}, "recovery_reason": None,
                "labels_saved": estimate(30),
            }],
            "overall": [],
            "verdicts": [{
                "method": "source-then-target", "against": "target-only", "source": "movie", "target": domain, "shots": 8,
                "difference": estimate(0.023), "p_adjusted": 0.01, "verdict": "better", "minimum_detectable": 0.02,
            }],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [(0.8071, ".807"), (1.0, "1.000"), (-0.0124, "−.012"), (0.0, ".000"), (-0.0001, ".000")]
)
def test_numbers(value: float, text: str) -> None:
    assert tables.number(value) == text


def test_the_drop_table_by_hand() -> None:
    drops = tables.tables(summary())[0]
    assert drops.rows == (("movie → amazon", ".807", ".718", ".089 [.059, .119]", ".135 [.105, .165]", "classic"),)
    pair = tables.tables(summary())[1]
    assert pair.header == ("movie → amazon", "0 shots", "8 a class", "recovery at 8")
    assert pair.rows[-1] == ("source-then-target", "–", ".747 [.72, .78]", "51 % [35, 68]")
    assert "target-full, 300 rows" in pair.note


def test_verdict_sentence() -> None:
    assert sentences.verdicts(summary()) == [
        "amazon: with 8 labels a class the source adds 2.3 points, worth 30 target labels alone"
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_terminal_fits_its_width(width: int) -> None:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    terminal.show(summary(), console)
    assert all(len(line) <= width for line in console.export_text().splitlines())


def test_nothing_from_data_becomes_markup() -> None:
    bad = summary(EVIL)
    assert "\x1b" not in html.render(bad)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    terminal.show(bad, console)
    text = console.export_text()
    assert "[red]" in text
    assert "\x1b" not in text
    assert "<script>" not in markdown.render(bad)
    assert "\x1b" not in markdown.render(bad)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum", "\t=1"])
def test_csv_cells_are_no_formulas(name: str) -> None:
    for line in csv.render(summary(name)).splitlines()[1:]:
        assert not any(cell.strip('"')[:1] in "=+@\t" for cell in line.split(",") if cell)


def test_markdown_tables_have_equal_columns() -> None:
    for block in re.findall(r"(?:^\|.*\n)+", markdown.render(summary()), flags=re.M):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1


@pytest.mark.parametrize(
    ("mean", "reach", "verdict", "said"),
    [
        (0.023, 0.02, "better", "the source adds 2.3 points"),
        (-0.023, 0.02, "worse", "the source costs 2.3 points; leave it out"),
        (0.01, 0.02, "no difference shown", "no difference to target-only shown (could have seen 2.0 points)"),
        (0.04, 0.03, "no difference shown", "4.0 points more than target-only, but not shown"),
        (0.0, 0.0, "no difference shown", "the same score in every test group"),
    ],
)
def test_verdicts_in_words(mean: float, reach: float, verdict: str, said: str) -> None:
    found = summary()
    changed = found.verdicts[0].model_copy(
        update={"difference": tables.Estimate(**estimate(mean)), "minimum_detectable": reach, "verdict": verdict}
    )
    assert said in sentences.verdicts(found.model_copy(update={"verdicts": [changed]}))[0]


def test_a_recovery_that_nothing_has_takes_no_column() -> None:
    found = summary()
    bare = found.model_copy(update={"transfer": [one.model_copy(update={"recovery": None}) for one in found.transfer]})
    for one, wanted in ((found, True), (bare, False)):
        (table,) = (table for table in tables.tables(one) if table.title.startswith("What wins it back"))
        assert table.header[-1].startswith("recovery") == wanted
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_a_scenario_that_is_not_shown_stands_in_brackets() -> None:
    found = summary()
    (shift,) = found.shift
    unsure = shift.source_drop.model_copy(update={"low": -0.01})
    for source_drop, wanted in ((shift.source_drop, "classic"), (unsure, "(classic)")):
        one = found.model_copy(update={"shift": [shift.model_copy(update={"source_drop": source_drop})]})
        assert tables.tables(one)[0].rows[0][-1] == wanted
