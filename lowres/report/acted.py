"""Whether each method did what its name says."""

from __future__ import annotations

from lowres.analysis.evidence import Acted, Evidence
from lowres.report.blocks import Cell, Grid, Section, count, percent, raw, words
from lowres.report.tables import Table

TITLE = "Did each method act"
HEADER = ("method", "check", "fits", "passed", "worst value", "wanted")
LEAD = (
    "A method that silently does nothing looks like a weak method. So every fit is asked whether it did what its name says;"
    " fits that methods share count for each of them. What did not pass stands under warnings, too.",
)


def section(evidence: Evidence) -> Section | None:
    """Of the page; None where nothing was kept."""
    if not evidence.acted:
        return None
    rows = tuple(
        (
            words(one.method), words(one.check), count(one.fits), percent(one.passed), Cell(f"{one.worst:.3g}", raw(one.worst)),
            words(one.wanted),
        )
        for one in evidence.acted
    )  # fmt: skip
    origin = "evidence.json, acted; from the checks in fit.json of every fit in the store."
    grid = Grid("checks", TITLE, HEADER, rows, origin, words=frozenset({0, 1, 5}))
    return Section("acted", TITLE, LEAD, (grid,))


def tables(evidence: Evidence | None) -> list[Table]:
    """The same as text."""
    if evidence is None or not evidence.acted:
        return []
    return [Table(TITLE, HEADER, tuple(map(_row, evidence.acted)))]


def _row(one: Acted) -> tuple[str, ...]:
    passed = f"{100 * one.passed:.0f} %"
    return one.method, one.check, str(one.fits), passed, f"{one.worst:.3g}", one.wanted
