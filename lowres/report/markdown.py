"""The report as Markdown."""

from __future__ import annotations

from lowres.analysis.evidence import Evidence
from lowres.analysis.summary import Summary
from lowres.errors import clean
from lowres.report import acted
from lowres.report.sentences import reached, told_apart, verdicts
from lowres.report.tables import Table, heading, reading, tables

MARKUP = frozenset("\\`*_|<>!&#")
"""Characters that could start an image, a link by address, HTML or a table cell. A link needs ``](``, ``://`` or ``www.``,
which are parted."""
HOW = (
    "Intervals are 95 %, over draws and test groups together (variance components, t quantiles with Satterthwaite degrees"
    " of freedom; recovery by Fieller). Verdicts are adjusted by Holm over the methods of a pair and budget."
)


def render(summary: Summary, evidence: Evidence | None = None) -> str:
    """A whole report; of the evidence it says how many labels reach a score, what tells rows out of scope, and whether each
    method acted.
    """
    parts = [f"# {escape(heading(summary))}", ""]
    said = {"Verdict": verdicts(summary), "Labels to reach a score": reached(evidence)}
    for title, lines in {**said, "Rows out of scope": told_apart(evidence)}.items():
        if lines:
            parts += [f"## {title}", "", *(f"- {escape(line)}" for line in lines), ""]
    for table in (*tables(summary), *acted.tables(evidence)):
        parts += [f"## {escape(table.title)}", "", markdown_table(table), ""]
        parts += [escape(line) + "  " for line in table.note.splitlines()] + [""] * bool(table.note)
    if summary.warnings:
        parts += ["## Warnings", "", *(f"- {escape(clean(line))}" for line in summary.warnings), ""]
    fits = summary.fits
    parts += [
        "## How it was measured",
        "",
        reading(summary),
        "",
        HOW,
        "",
        f"{fits.cells} cells, {fits.distinct} distinct fits: {fits.trained} trained, {fits.reused} from the store,"
        f" {fits.failed} failed; {summary.seconds.total:.0f} s. lowres {escape(clean(summary.lowres))}.",
        "",
    ]
    return "\n".join(parts)


def markdown_table(table: Table) -> str:
    """One table, right-aligned but for its first column."""
    lines = [_row(tuple(escape(cell) for cell in table.header)), _row((":--", *("--:" for _ in table.header[1:])))]
    return "\n".join([*lines, *(_row(tuple(escape(cell) for cell in row)) for row in table.rows)])


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape(text: str) -> str:
    """The text as Markdown that is nothing but it."""
    marked = "".join(f"\\{character}" if character in MARKUP else character for character in text)
    return marked.replace("](", "]\\(").replace("://", "\\://").replace("www.", "www\\.")
