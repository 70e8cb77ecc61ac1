"""The report on a terminal, by ``rich``, in 80 columns or more. Text from data is never read as markup."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lowres.analysis.evidence import Evidence
from lowres.analysis.summary import Summary
from lowres.errors import clean
from lowres.report.sentences import reached, told_apart, verdicts
from lowres.report.tables import Table, tables

STYLES = {"good": "green", "bad": "red"}
NARROW, WIDE = 18, 26
"""Columns that a row's name keeps before the table is parted; more for one that would be cut within a domain's name."""


def show(summary: Summary, console: Console, evidence: Evidence | None = None) -> None:
    """Tables, verdicts, labels to reach a score, what tells rows out of scope, and warnings."""
    for table in tables(summary):
        put_table(table, console)
        for line in table.note.splitlines():
            _hang(console, "  ", line, style="dim")
        console.print()
    said = (("Verdict  ", verdicts(summary)), ("Labels   ", reached(evidence)), ("Outside  ", told_apart(evidence)))
    for head, lines in said:
        for place, line in enumerate(lines):
            _hang(console, head if place == 0 else " " * len(head), line)
    for line in summary.warnings:
        _hang(console, "note: ", clean(line), style="dim")


def put_table(table: Table, console: Console) -> None:
    """A table, in as many parts as the width asks for."""
    for part in parts(table, console.width):
        console.print(_rich(part))


def parts(table: Table, width: int) -> Iterator[Table]:
    """The table, or the same one set tighter, or its columns in as many tables as fit, each with the rows' names.

    Long names of rows are folded first.
    """
    narrow = _narrow(table)
    for found in (table, _tight(table)):
        names, *others = _widths(found)
        if sum(others) + len(others) + min(names, narrow) <= width:
            yield found
            return
    columns: list[int] = []
    taken = used = min(names, max(narrow, width // 3))
    for place, wide in enumerate(others, start=1):
        if columns and used + 1 + wide > width:
            yield _some(found, columns)
            columns, used = [], taken
        columns.append(place)
        used += 1 + wide
    yield _some(found, columns)


def _tight(table: Table) -> Table:
    """Without spaces inside of intervals and before percent signs."""
    rows = tuple((row[0], *(cell.replace(", ", ",").replace(" %", "%") for cell in row[1:])) for row in table.rows)
    return Table(table.title, table.header, rows, table.note, table.tones)


def _some(table: Table, columns: list[int]) -> Table:
    """The names of the rows and some other columns."""
    kept = [0, *columns]
    tones = {(row, kept.index(column)): tone for (row, column), tone in table.tones.items() if column in kept}
    rows = tuple(tuple(row[column] for column in kept) for row in table.rows)
    return Table(table.title, tuple(table.header[column] for column in kept), rows, table.note, tones)


def _narrow(table: Table) -> int:
    """How far the names of rows may be folded: between the domains of a pair."""
    pieces = [cell_len(piece) + 2 for line in (table.header, *table.rows) for piece in line[0].split(" → ")]
    return max(NARROW, min(max(pieces), WIDE))


def _widths(table: Table) -> list[int]:
    lines = (table.header, *table.rows)
    return [max(cell_len(line[place]) for line in lines) for place in range(len(table.header))]


def _hang(console: Console, head: str, text: str, style: str = "") -> None:
    """A line behind a head, folded under itself."""
    folded = Text(text).wrap(console, max(console.width - len(head), NARROW))
    for place, line in enumerate(folded):
        line.rstrip()
        begin = Text(head if place == 0 else " " * len(head), style=style or "bold")
        console.print(begin.append(line.plain, style=style))


def _rich(table: Table) -> RichTable:
    made = RichTable(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for place, name in enumerate(table.header):
        made.add_column(Text(name), justify="left" if place == 0 else "right", overflow="fold", no_wrap=place > 0)
    for number, row in enumerate(table.rows):
        styles = [STYLES.get(table.tones.get((number, place), ""), "") for place in range(len(row))]
        made.add_row(*(Text(cell, style=style) for cell, style in zip(row, styles, strict=True)))
    return made
