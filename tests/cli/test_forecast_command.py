"""``lowres forecast`` on a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lowres.analysis.outlook import Outlook
from tests.cli.conftest import QUICK, call
from tests.conftest import toy_text


@pytest.fixture
def words(toy_table: Path, encoder: Path, tmp_path: Path) -> list[str]:
    return [
        str(toy_table), "--source", "shop", "--seeds", "2", "--source-rows", "30", "--backbone", str(encoder),
        "--store", str(tmp_path / "store"), *QUICK,
    ]  # fmt: skip


def test_a_table_and_a_sentence(words: list[str]) -> None:
    done = call("forecast", *words, "--target", "chat")
    assert done.exit_code == 0, done.output
    for said in (
        "agreement",
        "Forecast of accuracy",
        "Forecast of macro-F1",
        "told apart",
        "shop → chat: accuracy is forecast to",
    ):
        assert said in done.stdout
    accuracy, macro = done.stdout.split("Forecast of macro-F1")
    assert "in source" in accuracy
    assert "in source" not in macro
    says = [line for line in done.stdout.splitlines() if "is forecast to" in line]
    assert len(says) == 1
    assert all(len(line.rstrip()) <= 80 for line in done.stdout.splitlines() if line not in says)


def test_json_holds_everything_and_nothing_is_trained_twice(words: list[str]) -> None:
    first = call("forecast", *words, "--target", "film,chat", "--json")
    found = Outlook.model_validate_json(first.stdout)
    assert {one.target for one in found.forecasts} == {"film", "chat"}
    assert json.loads(first.stdout)["schema"] == 1
    assert call("forecast", *words, "--target", "film,chat", "--json").stdout == first.stdout


def test_a_file_of_plain_lines(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    lines = [toy_text("chat", label, number) for label in ("negative", "positive") for number in range(15)]
    path.write_text("\n".join([*lines, "", ""]))
    done = call("forecast", *words, "--target-texts", path, "--json")
    assert done.exit_code == 0, done.output
    assert Outlook.model_validate_json(done.stdout).texts == {"new": 30}
    assert "left out, could not be read: 1 of 31 rows (31)" in done.stderr


def test_mistakes_end_with_2(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("one text\n")
    for more in (["--target-texts", tmp_path / "few.txt"], ["--target-texts", tmp_path / "none.txt"], ["--target", "shop"],
                 ["--target", "film", "--target-texts", tmp_path / "few.txt"]):  # fmt: skip
        done = call("forecast", *words, *more)
        assert done.exit_code == 2, done.output
        assert len(done.stderr.strip().splitlines()) <= 3
