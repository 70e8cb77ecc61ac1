"""Scores as CSV, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io

from lowres.analysis.summary import Summary
from lowres.errors import clean

FORMULA = tuple("=+-@＝＋－＠")
"""What a spreadsheet may take for the start of a formula, in some languages also full width."""


def render(summary: Summary) -> str:
    """All scores, one row each. Cells that could be read as formulas get a leading apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("method", "source", "target", "shots", "metric", "mean", "low", "high", "seeds")
    writer.writerow(names)
    for score in summary.scores:
        values = score.model_dump()
        writer.writerow([_safe(values[name]) for name in names])
    return stream.getvalue()


def _safe(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    text = clean(value)
    return "'" + text if text.lstrip()[:1] in FORMULA else text
