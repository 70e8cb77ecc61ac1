"""Scores as CSV, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from lowres.analysis.summary import Summary
from lowres.errors import clean

FORMULA = tuple("=+-@＝＋－＠")
"""What a spreadsheet may take for the start of a formula, in some languages also full width."""


def render(summary: Summary) -> str:
    """All scores, one row each."""
    names = ("method", "source", "target", "shots", "metric", "mean", "low", "high", "seeds")
    scores = (score.model_dump() for score in summary.scores)
    return csv_table(names, ([score[name] for name in names] for score in scores))


def csv_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their header. Cells that could be read as formulas get a leading apostrophe; None is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_safe(name) for name in header])
    writer.writerows([_safe(value) for value in row] for row in rows)
    return stream.getvalue()


def _safe(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    text = clean(value)
    return "'" + text if text.lstrip()[:1] in FORMULA else text
