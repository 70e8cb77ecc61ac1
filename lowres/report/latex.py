"""The tables of a report for a paper: LaTeX with booktabs, one ``table`` each."""

from __future__ import annotations

from lowres.analysis.summary import Summary
from lowres.errors import clean
from lowres.report.tables import Table, estimate, heading, share, tables, whole

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "→": r"$\to$", "←": r"$\gets$", "−": "$-$", "–": "--", "—": "---", "·": r"$\cdot$", "×": r"$\times$",
    "±": r"$\pm$", "≥": r"$\ge$", "≤": r"$\le$", "…": r"\dots{}", "\u00a0": "~", "�": "?",
}  # fmt: skip
"""What LaTeX would take for a command, or has no letter for. Letters of any script stay: LuaLaTeX and XeLaTeX print them."""
_ESCAPED = str.maketrans(SIGNS)


def render(summary: Summary) -> str:
    """Drops, one table a pair, all pairs together, and what transfer wins; each in a ``table`` of its own."""
    head = ["% " + clean(heading(summary)), r"% \usepackage[T1]{fontenc} \usepackage{booktabs,textcomp}"]
    found = [*tables(summary), _transfer(summary)]
    return "\n".join([*head, *(latex_table(table, place) for place, table in enumerate(found, start=1) if table.rows)])


def latex_table(table: Table, place: int) -> str:
    """One table; its note stands in the caption, and its label is ``tab:lowres-`` and its place."""
    notes = [line.rstrip(".") for line in (table.title, *table.note.splitlines())]
    return "\n".join(
        [
            "",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{'. '.join(escape(line) for line in notes)}.}}",
            rf"\label{{tab:lowres-{place}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            _row(table.header),
            r"\midrule",
            *(_row(row) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return clean(text).translate(_ESCAPED)


def _row(cells: tuple[str, ...]) -> str:
    line = " & ".join(escape(cell) for cell in cells) + r" \\"
    return "{}" + line if line[:1] in ("[", "*") else line  # after \\ these two would be read as its argument


def _transfer(summary: Summary) -> Table:
    rows = tuple(
        (
            f"{clean(one.source)} → {clean(one.target)}",
            one.method,
            str(one.shots),
            estimate(one.gain),
            estimate(one.net_transfer),
            share(one.recovery),
            whole(one.labels_saved),
        )
        for one in summary.transfer
    )
    header = ("pair", "method", "shots", "gain", "net transfer", "recovery", "labels saved")
    return Table("What transfer wins", header, rows)
