from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from lowres.analysis.summary import Summary
from lowres.report import terminal
from lowres.report.tables import Table, tables
from tests.report import studies
from tests.report.test_report import summary


def shown(found: Summary, width: int = 80, **settings: bool) -> str:
    stream = io.StringIO()
    terminal.show(found, Console(file=stream, width=width, highlight=False, markup=False, emoji=False, **settings))  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize(
    "domains",
    [
        ("tweets", "amazon"),
        ("a very long name of a domain", "مراجعات الأفلام", "电影评论网站"),
        ("x" * 200, "y"),
        ("a", "b", "c", "d"),
    ],
)
def test_it_fits(domains: tuple[str, ...], width: int) -> None:
    for shots in ((0, 8, 32), (0, 2, 4, 8, 16, 32, 64, 128)):
        text = shown(studies.study(domains, shots=shots)[0], width)
        assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width


def test_folded_lines_hang_under_their_beginning() -> None:
    text = shown(studies.study(shots=(0, 2, 4, 8, 16, 32))[0])
    after = text[text.index("Verdict  ") : text.index("note: ")].splitlines()
    assert len(after) > 6
    assert all(line.startswith(" " * 9) for line in after[1:])
    assert not any(line.endswith(" ") for line in after)


def test_nothing_is_lost_where_a_table_is_parted() -> None:
    found = studies.study(shots=(0, 2, 4, 8, 16, 32, 64, 128))[0]
    for table in tables(found):
        parts = list(terminal.parts(table, 80))
        header = [name for part in parts for name in part.header[1:]]
        assert header == list(table.header[1:])
        for number, row in enumerate(table.rows):
            cells = [cell for part in parts for cell in part.rows[number][1:]]
            assert all(part.rows[number][0] == row[0] for part in parts)
            assert [cell.replace(" ", "") for cell in cells] == [cell.replace(" ", "") for cell in row[1:]]


def test_the_usual_tables_stay_whole_in_80_columns() -> None:
    """Four domains with names of at most six letters, three budgets."""
    found = studies.study(("movie", "amazon", "tweets", "nyt"))[0]
    for table in tables(found)[:-1]:
        assert len(list(terminal.parts(table, 80))) == 1, table.title


def test_names_are_folded_between_domains_and_nowhere_else() -> None:
    table = Table("t", ("Over all pairs · shots", *"abcd"), (("source-then-target · 32", *[".802 [.77, .81]"] * 4),))
    (part,) = terminal.parts(table, 200)
    assert part == table
    assert all("source-then-target · 32" in line for line in _lines(table, 80) if "." in line)


def _lines(table: Table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    for part in terminal.parts(table, width):
        console.print(terminal._rich(part))
    return console.export_text().splitlines()


def test_one_verdict_a_target() -> None:
    text = shown(studies.study()[0])
    after = text[text.index("Verdict  ") :]
    assert [line.split()[0 if line.startswith(" ") else 1] for line in after.splitlines() if ": with " in line] == [
        "amazon:",
        "tweets:",
        "movie:",
    ]
    assert "\nnote: note on movie" in text


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in shown(summary())
    assert "\x1b[31m.089" in shown(summary(), force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shown(summary(), force_terminal=True)


def test_good_and_bad_are_what_is_shown() -> None:
    drops, *_, overall = tables(studies.study()[0])
    assert drops.tones[0, 3] == "bad"
    assert overall.tones[0, 2] == "good"
    one = tables(summary())[0]
    assert one.tones == {(0, 3): "bad", (0, 4): "bad"}
