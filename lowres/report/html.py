"""The report as one HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path

from lowres.analysis.summary import Summary
from lowres.errors import clean
from lowres.report.markdown import HOW
from lowres.report.tables import READING, heading, tables, verdicts

PAGE = Path(__file__).with_name("page.html")


def render(summary: Summary) -> str:
    """A whole page; everything that comes from data is escaped."""
    from jinja2 import Environment, StrictUndefined

    zero, bars = _bars(summary)
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE.read_text(encoding="utf-8"))
    return template.render(
        heading=heading(summary),
        verdicts=verdicts(summary),
        tables=tables(summary),
        how=HOW,
        reading=READING,
        fits=summary.fits,
        warnings=[clean(line) for line in summary.warnings],
        seconds=summary.seconds.total,
        version=clean(summary.lowres),
        zero=zero,
        bars=bars,
    )


def _bars(summary: Summary) -> tuple[float, list[dict[str, object]]]:
    """Places of the source drops on a line 200 … 520 wide."""
    drops = [one.source_drop for one in summary.shift]
    if not drops:
        return 0.0, []
    low, high = min(0.0, *(drop.low for drop in drops)), max(0.0, *(drop.high for drop in drops))
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return round(200 + 320 * (value - low) / width, 1)

    bars: list[dict[str, object]] = [
        {
            "name": f"{clean(one.source)} → {clean(one.target)}"[:28],
            "low": place(one.source_drop.low),
            "high": place(one.source_drop.high),
            "mean": place(one.source_drop.mean),
            "text": f"{100 * one.source_drop.mean:.1f} points".replace("-", "−"),
        }
        for one in summary.shift
    ]
    return place(0.0), bars
