from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowres.analysis.summary import Summary
from lowres.cli.main import app
from lowres.cli.run import FORMATS
from lowres.report import latex, tables
from tests.report.test_report import estimate, summary

EVIL = r"\input{x}&%$#_{}~^[a]<b>|c`'" + '"\x1b→\n\u202e*'


def unescaped(text: str) -> list[str]:
    """Signs with a meaning in LaTeX that stand in a line of table cells, other than as this module writes them."""
    written = sorted({value for value in latex.SIGNS.values() if value not in ("?", "--", "---")}, key=len)
    for value in reversed(written):
        text = text.replace(value, "")
    return re.findall(r"[\\{}$&%#_^~\"<>|`']", text)


def test_the_drop_table_by_hand() -> None:
    text = latex.render(summary("new_york"))
    assert r"movie $\to$ new\_york & .807 & .718 & .089 [.059, .119] & .135 [.105, .165] & classic \\" in text
    assert r"source-then-target & -- & .747 [.72, .78] & 51 \% [35, 68] \\" in text
    assert (
        r"\caption{What wins it back: movie $\to$ new\_york. ceiling (target-full, 300 rows): .850 [.82, .88]." in text
    )
    row = r"movie $\to$ new\_york & source-then-target & 8 & .030 [.000, .060] & .023 [$-$.007, .053] & 51 \% [35, 68] & 30 [30, 30] \\"
    assert row in text
    assert text.startswith("% vader v1")


@pytest.mark.parametrize(("sign", "written"), latex.SIGNS.items())
def test_every_sign_is_escaped_once(sign: str, written: str) -> None:
    assert latex.escape(f"a{sign}b{sign}") == f"a{written}b{written}"


@pytest.mark.parametrize("sign", [chr(code) for code in range(32, 127)])
def test_no_printable_sign_is_a_command(sign: str) -> None:
    assert unescaped(latex.escape(f"a{sign}")) == []


def test_nothing_from_data_is_a_command() -> None:
    text = latex.render(summary(EVIL))
    assert "\x1b" not in text
    assert r"\input" not in text
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(lines) >= 7
    for line in lines:
        for cell in line.removesuffix(r" \\").removeprefix("{}").split(" & "):
            assert unescaped(cell) == [], cell


def test_a_row_that_begins_with_a_bracket_or_star() -> None:
    table = tables.Table("t", ("[a]", "b"), (("*a", "[b]"), ("c", "d")))
    text = latex.latex_table(table, 1)
    assert r"{}[a] & b \\" in text
    assert r"{}*a & [b] \\" in text
    assert "\nc & d \\\\" in text


def test_tables_are_whole() -> None:
    text = latex.render(summary())
    count = sum(bool(table.rows) for table in tables.tables(summary())) + 1
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended) == ["table"] * count + ["tabular"] * count
    assert [text.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [count] * 3
    assert len(set(re.findall(r"\\label{(.*?)}", text))) == count
    blocks = re.findall(r"\\begin{tabular}{(l(?:r*))}\n(.*?)\\end{tabular}", text, flags=re.S)
    assert len(blocks) == count
    for columns, body in blocks:
        assert {line.count(" & ") + 1 for line in body.splitlines() if "&" in line} == {len(columns)}


def test_the_command_writes_it(tmp_path: Path) -> None:
    found: Summary = summary()
    (tmp_path / "summary.json").write_text(found.to_json())
    result = CliRunner().invoke(app, ["report", str(tmp_path), "--format", "latex"])
    assert (result.exit_code, result.stdout) == (0, latex.render(found))
    for name in FORMATS:
        assert CliRunner().invoke(app, ["report", str(tmp_path), "--format", name]).stdout.strip(), name
    wrong = CliRunner().invoke(app, ["report", str(tmp_path), "--format", "latx"])
    assert (wrong.exit_code, "did you mean 'latex'?" in wrong.stderr) == (2, True)


def test_what_was_not_measured_is_a_dash() -> None:
    found = json.loads(summary().to_json())
    found["transfer"][0] |= {"net_transfer": None, "recovery": None, "labels_saved": None, "gain": estimate(-0.03)}
    text = latex.render(Summary.model_validate(found))
    assert r"& 8 & $-$.030 [$-$.060, .000] & -- & -- & -- \\" in text
