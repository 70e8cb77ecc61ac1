"""What a page is built of: sections of tables, galleries of figures and folded parts. Plain data for the template."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from markupsafe import Markup

from lowres.analysis.summary import Estimate, Score
from lowres.errors import clean
from lowres.report import tables
from lowres.report.svg import bdi
from lowres.report.tables import MISSING, estimate, number

MOST_ROWS = 400
"""Of a table whose whole is in ``evidence.json``."""
T = TypeVar("T")
Column: TypeAlias = "tuple[str, str | None, str, int | None]"
"""(method, source, target, shots): the records of a table's number, which differ in the draw only."""


@dataclass(frozen=True)
class Cell:
    """A cell as text, with the number behind it for sorting and for CSV, and a link to the records it comes from."""

    text: str
    value: str = ""
    """One number as text, or with its bounds ``mean,low,high``."""
    link: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of the page. The first ``heads`` columns name the row; ``words`` are the columns that hold text."""

    ident: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    origin: str
    """Where its numbers come from."""
    heads: int = 2
    words: frozenset[int] = frozenset({0, 1})
    marks: bool = False
    """Whether its rows can be linked to, as ``r0``, ``r1`` …, and stay on one line each."""
    kind = "grid"

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", tuple(map(clean, self.header)))


@dataclass(frozen=True)
class Figure:
    """A drawing and what it is of."""

    svg: Markup
    caption: Markup | str


@dataclass(frozen=True)
class Gallery:
    """Figures side by side that share a key."""

    figures: tuple[Figure, ...]
    key: Markup | str = ""
    note: str = ""
    wide: bool = False
    """Whether each takes the whole width and may be scrolled."""
    kind = "gallery"


@dataclass(frozen=True)
class Fold:
    """Blocks that are closed until asked for."""

    title: Markup | str
    blocks: tuple[Block, ...]
    kind = "fold"


@dataclass(frozen=True)
class Part:
    """A part of a section under a heading of its own."""

    title: str
    lead: tuple[str, ...]
    blocks: tuple[Block, ...]
    kind = "part"


Block: TypeAlias = "Grid | Gallery | Fold | Part"


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    ident: str
    title: str
    lead: tuple[str, ...]
    blocks: tuple[Block, ...]


class Records:
    """The finished cells of a run, by column; what they are not told of has no links."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self.by_column: dict[Column, list[Mapping[str, Any]]] = {}
        for record in records:
            column = (record["method"], record["source"], record["target"], record["shots"])
            self.by_column.setdefault(column, []).append(record)
        self.places = {column: f"#r{place}" for place, column in enumerate(self.by_column)}

    def link(self, method: str, source: str | None, target: str, shots: int | None) -> str:
        """Where the records of a column stand in the page; methods that use no source have none in theirs."""
        return self.places.get((method, source, target, shots)) or self.places.get((method, None, target, shots), "")


def words(text: str | None) -> Cell:
    """Text from data."""
    return Cell(bdi(text) if text else MISSING)


def figure(value: float | None, digits: int = 3, link: str = "") -> Cell:
    """One number, as a score is written."""
    if value is None or not math.isfinite(value):
        return Cell(MISSING)
    return Cell(number(value, digits), raw(value), link)


def count(value: float | None, digits: int = 0, link: str = "") -> Cell:
    """One number with thousands."""
    if value is None or not math.isfinite(value):
        return Cell(MISSING)
    return Cell(tables.counted(value, digits), raw(value), link)


def span(found: Estimate | Score | None, digits: int = 3, link: str = "") -> Cell:
    """A mean with its interval."""
    return Cell(estimate(found, digits), _three(found), link if found else "")


def share(found: Estimate | None) -> Cell:
    """A share of one with its interval, in percent."""
    return Cell(tables.share(found), _three(found))


def whole(found: Estimate | None) -> Cell:
    """A count with its interval."""
    return Cell(tables.whole(found), _three(found))


def percent(value: float | None, digits: int = 0) -> Cell:
    """A share of one, in percent."""
    if value is None or not math.isfinite(value):
        return Cell(MISSING)
    return Cell(tables.percent(value, digits), raw(value))


def raw(value: float) -> str:
    """A number for programs, to four digits."""
    return f"{value:.4g}"


def pair(source: str | None, target: str | None) -> Markup:
    """``source → target``, each name in its own direction."""
    if target is None:
        return Markup("all pairs")
    return bdi(target) if source is None else Markup("{} → {}").format(bdi(source), bdi(target))


def pair_text(source: str | None, target: str | None) -> str:
    """The same as plain text."""
    return clean(target or "all pairs") if source is None or target is None else clean(f"{source} → {target}")


def first(found: Sequence[T], most: int = MOST_ROWS) -> Sequence[T]:
    """As many as a table of the page shows of what is in ``evidence.json``."""
    return found[:most]


def rest(found: Sequence[object], most: int = MOST_ROWS) -> str:
    """What a table says of those that it leaves out."""
    return f" Here are the first {most} of {len(found)}." if len(found) > most else ""


def folded(title: Markup | str, blocks: Sequence[Block], fold: bool) -> tuple[Block, ...]:
    """The blocks, closed under a title where there are many."""
    return (Fold(title, tuple(blocks)),) if fold and blocks else tuple(blocks)


def _three(found: Estimate | Score | None) -> str:
    return ",".join(map(raw, (found.mean, found.low, found.high))) if found else ""
