"""The report on a terminal, by ``rich``. Text from data is never read as markup."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lowres.analysis.summary import Summary
from lowres.errors import clean
from lowres.report.tables import Table, tables, verdicts


def show(summary: Summary, console: Console) -> None:
    """Tables, verdicts and warnings."""
    for table in tables(summary):
        console.print(_rich(table))
        for line in table.note.splitlines():
            console.print(Text(f"  {line}", style="dim"))
        console.print()
    lines = verdicts(summary)
    for place, line in enumerate(lines):
        console.print(Text(("Verdict  " if place == 0 else "         ") + line))
    for line in summary.warnings:
        console.print(Text(f"note: {clean(line)}", style="dim"))


def _rich(table: Table) -> RichTable:
    made = RichTable(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for place, name in enumerate(table.header):
        made.add_column(Text(name), justify="left" if place == 0 else "right", overflow="fold")
    for row in table.rows:
        made.add_row(*(Text(cell) for cell in row))
    return made
