"""Pieces of SVG: elements in which everything from data is escaped, scales and their ticks, marks and colours."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from lowres.errors import clean
from lowres.report.tables import cut

MOST, MOST_LOG = 1e9, 1e30
"""A number further from 0 is drawn as if it were this, the latter on a logarithmic scale."""
TICKS = 4
LOG_TICKS = 5
STYLES = 12
"""Colours of the style sheet: classes ``s0`` … Beyond as many series, colour and shape come again with other dashes."""
SHAPES = (
    "circle", "square", "triangle", "diamond", "cross", "plus", "wedge", "bar", "right", "left", "star", "hourglass",
)  # fmt: skip
STROKED = frozenset({"cross", "plus", "bar", "star"})
"""Shapes without an inside."""
DASHES = (None, "6 3", "2 3", "8 3 2 3", "1 4")


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element. Children are escaped unless they are markup; of an attribute's name ``_`` is written as ``-``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>")


def place(value: float) -> str:
    """A place in a drawing, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def name(text: str, longest: int = 99) -> Markup:
    """A name from data that keeps its direction to itself, cut where it is long; nothing in markup is cut."""
    if isinstance(text, Markup):
        return text
    return escape(clean(cut(text, longest))) if text.isascii() else element("tspan", cut(text, longest), class_="n")


@dataclass(frozen=True)
class Words:
    """What an image says to those who do not see it. ``ident`` is unique in its page."""

    ident: str
    title: str
    about: str


def image(words: Words, width: float, height: float, body: Iterable[Markup]) -> Markup:
    """A drawing with its title and description."""
    head = (
        element("title", words.title, id=f"{words.ident}-t"),
        element("desc", words.about, id=f"{words.ident}-d"),
    )
    return element(
        "svg", *head, *body, viewBox=f"0 0 {place(width)} {place(height)}", width=place(width), height=place(height),
        role="img", aria_labelledby=f"{words.ident}-t {words.ident}-d",
    )  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """From numbers ``low`` … ``high`` to places ``start`` … ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @staticmethod
    def over(values: Iterable[float], start: float, end: float, *, log: bool = False, air: float = 0.06) -> Scale:
        """Room for all values that can be drawn, with some air at both ends."""
        least, most = (1 / MOST_LOG, MOST_LOG) if log else (-MOST, MOST)
        kept = [min(max(value, least), most) for value in values if drawable(value) and (value > 0 or not log)]
        low, high = (min(kept), max(kept)) if kept else (1.0, 10.0)
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-6:
            air_alone = 0.05 * max(abs(low), 1e-3)
            low, high = low - air_alone, high + air_alone
        spread = air * (high - low)
        return Scale(low - spread, high + spread, start, end, log)

    def __call__(self, value: float) -> float:
        """Where a value lies; what is outside lies on the edge."""
        value = math.log10(max(value, 1 / MOST_LOG)) if self.log else value
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """A handful of round values."""
        if self.log:
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            rounds: tuple[int, ...] = (
                (1,) if self.high - self.low > 2.5 else (1, 3) if self.high - self.low > 1 else (1, 2, 5)
            )
            found = [digit * 10.0**power for power in decades for digit in rounds]
            inside = [value for value in found if self.low <= math.log10(value) <= self.high]
            return inside[:: math.ceil(len(inside) / LOG_TICKS) or 1]
        step = _round_step((self.high - self.low) / TICKS)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [step * number for number in range(first, min(last, first + 4 * TICKS) + 1)]


def drawable(*values: float | None) -> bool:
    """Whether all values are numbers."""
    return all(value is not None and math.isfinite(value) for value in values)


def amount(value: float) -> str:
    """A tick's number: ``0.75``, ``120``, ``3k``, ``2M``."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def mark(shape: int, x: float, y: float, size: float = 3.6) -> Markup:
    """A mark, told from others by its shape as well as by its colour."""
    kind = SHAPES[shape % len(SHAPES)]
    if kind == "circle":
        return element("circle", cx=place(x), cy=place(y), r=size, class_="m")
    return element("path", d=outline(kind, x, y, size), class_="m o" if kind in STROKED else "m")


def outline(kind: str, x: float, y: float, size: float) -> str:
    """The path of a mark."""
    at, s = f"M{place(x)} {place(y)}", place(size)
    double = place(2 * size)
    short, long = place(0.7 * size), place(1.4 * size)
    return {
        "circle": f"{at}h.01",
        "square": f"{at}m-{s}-{s}h{double}v{double}h-{double}z",
        "triangle": f"{at}m0-{s}l{s} {double}h-{double}z",
        "diamond": f"{at}m0-{place(size * 1.35)}l{place(size * 1.35)} {place(size * 1.35)}l-{place(size * 1.35)} {place(size * 1.35)}l-{place(size * 1.35)}-{place(size * 1.35)}z",
        "cross": f"{at}m-{s}-{s}l{double} {double}m0-{double}l-{double} {double}",
        "plus": f"{at}m-{s} 0h{double}m-{s}-{s}v{double}",
        "wedge": f"{at}m0 {s}l{s}-{double}h-{double}z",
        "bar": f"{at}m-{s} 0h{double}",
        "right": f"{at}m-{s}-{s}l{double} {s}l-{double} {s}z",
        "left": f"{at}m{s}-{s}l-{double} {s}l{double} {s}z",
        "star": f"{at}m-{s} 0h{double}m-{s}-{s}v{double}m-{short}-{place(1.7 * size)}l{long} {long}m0-{long}l-{long} {long}",
        "hourglass": f"{at}m-{s}-{s}h{double}l-{double} {double}h{double}z",
    }[kind]


def key(entries: Iterable[tuple[str, int, str]]) -> Markup:
    """The key of a figure as a list: (name, style, kind), of kind ``line`` or ``mark``."""
    return element(
        "ul", *(element("li", _swatch(style, kind), bdi(text)) for text, style, kind in entries), class_="key"
    )


def bdi(text: str) -> Markup:
    """A name from data in a page; what may run from right to left keeps that to itself."""
    if isinstance(text, Markup):
        return text
    return escape(clean(text)) if text.isascii() else element("bdi", text)


def _swatch(style: int, kind: str) -> Markup:
    body = []
    if kind == "line":
        body.append(element("path", d="M0 7h28", class_="l", stroke_dasharray=DASHES[style % len(DASHES)]))
    body.append(mark(style, 14, 7))
    return element("svg", *body, viewBox="0 0 28 14", width=28, height=14, class_=style_of(style), aria_hidden="true")


def style_of(number: int) -> str:
    """The class of a series' colour."""
    return f"s{number % STYLES}"


def _value(value: str | float) -> str:
    return escape(clean(value)) if isinstance(value, str) else place(value)


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(step * size for step in (1, 2, 2.5, 5, 10) if step * size >= rough * 0.999)
