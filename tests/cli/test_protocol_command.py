"""``--protocol leave-one-out`` on a tiny encoder: plan, run, every format of the report, forecast, mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lowres.analysis.summary import Summary
from tests.cli.conftest import QUICK, call
from tests.conftest import toy_rows, write_table

PAIRS = {("film+shop", "chat"), ("chat+shop", "film"), ("chat+film", "shop")}


@pytest.fixture
def words(toy_table: Path, encoder: Path, tmp_path: Path) -> list[str]:
    return [
        str(toy_table), "--protocol", "leave-one-out", "--seeds", "2", "--source-rows", "30", "--backbone", str(encoder),
        "--store", str(tmp_path / "store"), *QUICK,
    ]  # fmt: skip


def test_plan_run_and_every_format(words: list[str], tmp_path: Path) -> None:
    more = ["--shots", "0,4", "--out", str(tmp_path / "out")]
    facts = json.loads(call("plan", *words, *more, "--json").stdout)
    assert facts["protocol"] == "leave-one-out"
    assert set(facts["sources"]) == {source for source, _ in PAIRS}
    assert "· leave-one-out" in call("plan", *words, *more).stdout.splitlines()[0]
    done = call("run", *words, *more, "--json")
    assert done.exit_code == 0, done.output
    found = Summary.model_validate_json(done.stdout)
    assert found.fits.distinct == facts["distinct_fits"]
    assert found.study.protocol == "leave-one-out"
    for place in (found.shift, found.transfer, [one for one in found.verdicts if one.source]):
        assert {(one.source, one.target) for one in place} == PAIRS
    shown = {
        name: call("report", tmp_path / "out", "--format", name)
        for name in ("table", "markdown", "latex", "csv", "html")
    }
    assert all(one.exit_code == 0 for one in shown.values())
    for source, target in PAIRS:
        assert f"{source} → {target}" in shown["markdown"].stdout
        assert shown["markdown"].stdout.count(f"What wins it back: {source} → {target}") == 1
    assert len(re.findall("What wins it back", shown["markdown"].stdout)) == 3
    assert "learnt from all other sources together" in shown["markdown"].stdout
    page = shown["html"].stdout
    matrix = page[page.index("<svg", page.index('id="falls"')) :]
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", matrix[: matrix.index("</svg>")])
    assert {"in source", "others", "film", "chat", "shop"} <= set(drawn)
    assert "–" not in drawn  # no empty field
    inside = next(one.mean for one in found.scores if one.source == one.target == "chat+shop")
    assert f"{inside:.3f}"[1:] in drawn


def test_forecast(words: list[str]) -> None:
    done = call("forecast", *words, "--json")
    assert done.exit_code == 0, done.output
    assert {(one["source"], one["target"]) for one in json.loads(done.stdout)["forecasts"]} == PAIRS


def test_mistakes_end_with_2(words: list[str], tmp_path: Path) -> None:
    two = write_table(tmp_path / "two.csv", [row for row in toy_rows() if row["domain"] != "chat"])
    for command in ("run", "plan", "forecast"):
        done = call(command, str(two), *words[1:])
        assert done.exit_code == 2, done.output
        assert "expected at least two sources for a target" in done.stderr
    done = call("run", *words, "--protocol", "leave-one-uot")
    assert done.exit_code == 2
    assert "did you mean 'leave-one-out'?" in done.stderr


def test_help_says_how_many_rows_a_set_has() -> None:
    said = " ".join(call("run", "--help").stdout.replace("│", " ").split())
    assert "--protocol" in said
    assert "all other sources together, as many rows in all as one has" in said
