"""The charts of a report: plain numbers in, SVG out. Narrow enough for a phone; none computes anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from markupsafe import Markup

from lowres.report.room import Room, Spot
from lowres.report.svg import (
    DASHES,
    SHAPES,
    Scale,
    Words,
    amount,
    drawable,
    element,
    image,
    mark,
    name,
    outline,
    place,
    style_of,
)
from lowres.report.tables import cut

WIDTH = 328
HEIGHT = 214
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 40
WIDE_HEAT = 6
"""A heat map of more domains shows no intervals."""
FEW = 5
"""Lines of a chart whose bands and marks can lie over each other. Of more, marks at one place stand side by side, with bars."""
SIDE_BY_SIDE = "Marks of one place stand side by side, with bars for intervals, where there are many."
ASIDE = 6.0
"""How far apart, at most."""


@dataclass(frozen=True)
class Heat:
    """One field of a heat map. ``strength`` −1 … 1 is its colour; ``sure``: its interval excludes 0."""

    text: str
    detail: str = ""
    strength: float = 0.0
    sure: bool | None = None


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (x, y, low, high); without low and high it has no band."""

    name: str
    style: int
    points: Sequence[tuple[float, float, float | None, float | None]]
    marks: bool = True
    joined: bool = True
    loose: bool = False
    """Whether its band may leave the chart."""


@dataclass(frozen=True)
class Axis:
    """What stands below or beside a chart. ``at``: (x, label) instead of round numbers."""

    label: str
    log: bool = False
    at: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Rule:
    """A straight line at one value, named in the chart; one without a name is dotted."""

    name: str
    value: float


@dataclass(frozen=True)
class Dot:
    """A mark with bars: x, y, each with low and high where known, and the text beside it."""

    x: float
    y: float
    style: int
    across: tuple[float, float] | None = None
    text: str = ""


@dataclass(frozen=True)
class Range:
    """A mean with its interval, on a line of its own; ``other`` is a second mark on that line."""

    name: Markup | str
    mean: float
    low: float | None
    high: float | None
    text: str
    other: float | None = None
    style: int = 0


@dataclass(frozen=True)
class _Frame:
    """The room of a chart between its axes."""

    x: Scale
    y: Scale
    body: list[Markup] = field(default_factory=list)


def heat_map(
    words: Words, rows: Sequence[str], columns: Sequence[str], fields: Mapping[tuple[str, str], Heat]
) -> Markup:
    """Rows × columns with a value in each field. A full dot says that the interval excludes 0, an empty one that not."""
    wide = max(len(rows), len(columns)) > WIDE_HEAT
    across, down, left, top = (52, 30, 92, 92) if wide else (62, 44, 78, 44)
    longest = 13 if wide else 9
    body = [element("text", "source ↓  target →", x=0, y=12, class_="soft")]
    for number, column in enumerate(columns):
        middle = left + across * (number + 0.5)
        if wide:
            turned = f"translate({place(middle)} {top - 8}) rotate(-45)"
            body.append(element("text", name(column, longest), transform=turned))
        else:
            body.append(element("text", name(column, longest - 2), x=middle, y=top - 8, text_anchor="middle"))
    for line, row in enumerate(rows):
        y = top + down * line
        body.append(element("text", name(row, longest), x=left - 6, y=y + down / 2 + 4, text_anchor="end"))
        for number, column in enumerate(columns):
            body.append(_heat(fields.get((row, column)), left + across * number, y, across, down, not wide))
    return image(
        words, max(WIDTH, left + across * len(columns) + (50 if wide else 2)), top + down * len(rows) + 4, body
    )


def lines(
    words: Words, shown: Sequence[Line], x: Axis, y: Axis, *, rules: Sequence[Rule] = (), upright: Sequence[Rule] = ()
) -> Markup | None:
    """Lines with bands; ``rules`` lie, ``upright`` stand where there are points. None where nothing can be drawn."""
    kept = [replace(one, points=[spot for spot in one.points if drawable(spot[0], spot[1])]) for one in shown]
    places = [spot[0] for one in kept for spot in one.points]
    if not places:
        return None
    rules = [rule for rule in rules if drawable(rule.value)]
    upright = [rule for rule in upright if min(places) <= rule.value <= max(places)]
    heights = [rule.value for rule in rules]
    for one in kept:
        seen = [spot[1:2] if one.loose else spot[1:] for spot in one.points]
        heights += [value for values in seen for value in values if value is not None]
    places += [spot for spot, _ in x.at]
    many = sum(one.marks for one in kept) > FEW
    frame = _frame(places, heights, x, y, air=0.2 if many else 0.06)
    aside = _side_by_side(frame, kept) if many else {}
    room = Room((LEFT, TOP - 6, WIDTH - RIGHT, HEIGHT - BOTTOM))
    for rule in rules:
        ends = [(LEFT, frame.y(rule.value)), (WIDTH - RIGHT, frame.y(rule.value))]
        frame.body.append(_stroke(ends, "rule", "5 3" if rule.name else "1 3"))
        room.path(ends)
    for number, rule in enumerate(upright):
        _standing(frame, room, rule, HEIGHT - BOTTOM - 5 - 11 * number)
    bands = [_band(frame, one) for one in kept if not (many and one.marks)]
    if sum(map(bool, bands)) <= FEW:
        frame.body.extend(itertools.chain.from_iterable(bands))
    for number, one in enumerate(kept):
        spots = [(frame.x(x) + aside.get((number, x), 0.0), frame.y(y)) for x, y, _, _ in one.points]
        frame.body.extend(_line(frame, one, spots, bars=many))
        room.path(spots if one.joined else [])
        for (left, top), (_, _, low, high) in zip(spots, one.points, strict=True) if one.marks else ():
            room.mark(left, top, 4)
            if many and low is not None and high is not None and drawable(low, high):
                room.path([(left, frame.y(low)), (left, frame.y(high))])
    for rule in (rule for rule in rules if rule.name):
        height = frame.y(rule.value)
        beside = [Spot(left, up) for up in (height - 4, height + 12) for left in range(LEFT + 4, WIDTH - RIGHT, 12)]
        stand = room.stand(rule.name, beside)
        if stand is not None:
            frame.body.append(element("text", rule.name, x=stand.x, y=stand.y, class_="small soft over"))
    return image(words, WIDTH, HEIGHT, frame.body)


def dots(words: Words, shown: Sequence[Dot], x: Axis, y: Axis, *, diagonal: bool = False) -> Markup | None:
    """Marks in a plane; with ``diagonal`` both axes are the same and the line of equals is drawn."""
    kept = [dot for dot in shown if drawable(dot.x, dot.y) and (dot.x > 0 or not x.log)]
    if not kept:
        return None
    places = [value for dot in kept for value in (dot.x, *(dot.across or ()))]
    heights = [dot.y for dot in kept]
    if diagonal:
        places = heights = [*places, *heights]
    frame = _frame(places, heights, x, y)
    if diagonal:
        low, high = frame.x.low, frame.x.high
        frame.body.append(_stroke([(frame.x(low), frame.y(low)), (frame.x(high), frame.y(high))], "rule", "4 3"))
    room = Room((LEFT, TOP - 6, WIDTH - 2, HEIGHT - BOTTOM))
    for dot in kept:
        room.mark(frame.x(dot.x), frame.y(dot.y), 4)
    for dot in kept:
        left, top = frame.x(dot.x), frame.y(dot.y)
        parts = [mark(dot.style, left, top, 4)]
        if dot.across and drawable(*dot.across):
            ends = [(frame.x(dot.across[0]), top), (frame.x(dot.across[1]), top)]
            parts.insert(0, _stroke(ends, "bar"))
        spot = room.stand(dot.text, _around(left, top), free=True) if dot.text else None
        if spot is not None:
            parts.append(element("text", dot.text, x=spot.x, y=spot.y, class_="small", text_anchor=spot.anchor))
        frame.body.append(element("g", *parts, class_=style_of(dot.style)))
    return image(words, WIDTH, HEIGHT, frame.body)


def ranges(words: Words, shown: Sequence[Range], label: str, *, zero: bool = False, log: bool = False) -> Markup | None:
    """One line a row: its name and value in words, and below them the interval."""
    kept = [row for row in shown if drawable(row.mean)]
    if not kept:
        return None
    values = [value for row in kept for value in (row.mean, row.low, row.high, row.other) if value is not None]
    scale = Scale.over([*values, *([0.0] if zero else [])], 8, WIDTH - 8, log=log)
    bottom = 36 * len(kept) + 4
    body = [_stroke([(8, bottom), (WIDTH - 8, bottom)], "axis")]
    if zero:
        body.append(_stroke([(scale(0), 2), (scale(0), bottom)], "axis"))
    for tick in scale.ticks():
        body.append(_stroke([(scale(tick), bottom), (scale(tick), bottom + 4)], "axis"))
        body.append(element("text", amount(tick), x=scale(tick), y=bottom + 17, class_="soft", text_anchor="middle"))
    body.append(element("text", label, x=WIDTH / 2, y=bottom + 33, class_="soft", text_anchor="middle"))
    for number, row in enumerate(kept):
        body.append(_range(row, scale, 36 * number))
    return image(words, WIDTH, bottom + 38, body)


def cloud(words: Words, groups: Iterable[tuple[int, Sequence[tuple[float, float]]]], label: str) -> Markup | None:
    """Many small marks, one path a group: (style, points)."""
    kept = [(style, [point for point in points if drawable(*point)]) for style, points in groups]
    points = [point for _, found in kept for point in found]
    if not points:
        return None
    x = Scale.over([point[0] for point in points], 6, WIDTH - 6)
    y = Scale.over([point[1] for point in points], 274, 6)
    body = [element("rect", x=0.5, y=0.5, width=WIDTH - 1, height=279, class_="box")]
    for style, found in kept:
        kind = SHAPES[style % len(SHAPES)]
        size = 0 if kind == "circle" else 2.2
        path = "".join(outline(kind, x(left), y(up), size) for left, up in found)
        body.append(element("path", d=path, class_=f"{style_of(style)} c {'r' if kind == 'circle' else ''}".rstrip()))
    body.append(element("text", label, x=WIDTH / 2, y=296, class_="soft", text_anchor="middle"))
    return image(words, WIDTH, 302, body)


def _side_by_side(frame: _Frame, shown: Sequence[Line]) -> dict[tuple[int, float], float]:
    """How far marks stand aside of their place where several share it, by number of the line and place."""
    sharing: dict[float, list[int]] = {}
    for number, one in enumerate(shown):
        for spot in one.points if one.marks else ():
            if number not in sharing.setdefault(spot[0], []):
                sharing[spot[0]].append(number)
    lefts = sorted(frame.x(spot) for spot in sharing)
    gap = min((right - left for left, right in itertools.pairwise(lefts)), default=float(WIDTH))
    found: dict[tuple[int, float], float] = {}
    for value, numbers in sharing.items():
        step = min(ASIDE, gap / len(numbers))
        for order, number in enumerate(numbers):
            found[number, value] = step * (order - (len(numbers) - 1) / 2)
    return found


def _around(left: float, top: float) -> list[Spot]:
    """Where a text can stand beside a mark."""
    sides = [Spot(left + 7, top + down) for down in (-4, 4, 11)]
    sides += [Spot(left - 7, top + down, "end") for down in (-4, 4, 11)]
    return [*sides, Spot(left, top - 8, "middle"), Spot(left, top + 15, "middle")]


def _frame(places: Sequence[float], heights: Sequence[float], x: Axis, y: Axis, *, air: float = 0.06) -> _Frame:
    """Both axes with their ticks and labels."""
    across = Scale.over(places, LEFT, WIDTH - RIGHT, log=x.log, air=air)
    up = Scale.over(heights, HEIGHT - BOTTOM, TOP)
    frame, bottom = _Frame(across, up), HEIGHT - BOTTOM
    for tick in up.ticks():
        frame.body.append(_stroke([(LEFT, up(tick)), (WIDTH - RIGHT, up(tick))], "guide"))
        frame.body.append(element("text", amount(tick), x=LEFT - 5, y=up(tick) + 4, class_="soft", text_anchor="end"))
    for spot, text in x.at or [(tick, amount(tick)) for tick in across.ticks()]:
        frame.body.append(_stroke([(across(spot), bottom), (across(spot), bottom + 4)], "axis"))
        frame.body.append(element("text", text, x=across(spot), y=bottom + 17, class_="soft", text_anchor="middle"))
    frame.body.append(_stroke([(LEFT, bottom), (WIDTH - RIGHT, bottom)], "axis"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    frame.body.append(element("text", x.label, x=middle, y=HEIGHT - 6, class_="soft", text_anchor="middle"))
    turned = f"translate(10 {place((TOP + bottom) / 2)}) rotate(-90)"
    frame.body.append(element("text", cut(y.label, 28), transform=turned, class_="soft", text_anchor="middle"))
    return frame


def _standing(frame: _Frame, room: Room, rule: Rule, height: float) -> None:
    """An upright line, with its name at a height."""
    left = frame.x(rule.value)
    end = left > WIDTH * 0.6
    ends = [(left, float(TOP)), (left, float(HEIGHT - BOTTOM))]
    frame.body.append(_stroke(ends, "rule", "2 3"))
    spot = Spot(left - 4, height, "end") if end else Spot(left + 4, height)
    frame.body.append(element("text", rule.name, x=spot.x, y=height, class_="small soft over", text_anchor=spot.anchor))
    room.path(ends)
    room.stand(rule.name, [spot])


def _band(frame: _Frame, one: Line) -> list[Markup]:
    banded = [
        (x, low, high) for x, _, low, high in one.points if low is not None and high is not None and drawable(low, high)
    ]
    if len(banded) < 2 or not one.joined:
        return []
    there = [f"{place(frame.x(x))} {place(frame.y(high))}" for x, _, high in banded]
    back = [f"{place(frame.x(x))} {place(frame.y(low))}" for x, low, _ in reversed(banded)]
    return [element("path", d=f"M{'L'.join([*there, *back])}z", class_=f"{style_of(one.style)} b")]


def _line(frame: _Frame, one: Line, spots: Sequence[tuple[float, float]], *, bars: bool) -> list[Markup]:
    """A line with its marks, and bars where it has no band."""
    parts = []
    if one.joined and len(spots) > 1:
        parts.append(_stroke(spots, "l", DASHES[one.style % len(DASHES)]))
    if one.marks:
        if bars or not one.joined or len(spots) == 1:
            for (left, _), (_, _, low, high) in zip(spots, one.points, strict=True):
                if low is not None and high is not None and drawable(low, high):
                    parts.append(_stroke([(left, frame.y(low)), (left, frame.y(high))], "bar"))
        parts += [mark(one.style, left, top) for left, top in spots]
    return [element("g", *parts, class_=style_of(one.style))] if parts else []


def _range(row: Range, scale: Scale, top: float) -> Markup:
    middle = top + 25
    parts = [
        element("text", name(row.name, 46 - len(row.text)), x=8, y=top + 15),
        element("text", row.text, x=WIDTH - 8, y=top + 15, text_anchor="end"),
    ]
    if row.low is not None and row.high is not None and drawable(row.low, row.high):
        parts.append(_stroke([(scale(row.low), middle), (scale(row.high), middle)], "bar"))
    if row.other is not None and drawable(row.other):
        parts.append(_stroke([(scale(row.mean), middle), (scale(row.other), middle)], "l", "2 2"))
        parts.append(element("circle", cx=scale(row.other), cy=middle, r=4, class_="m hollow"))
    parts.append(mark(row.style, scale(row.mean), middle, 4))
    return element("g", *parts, class_=style_of(row.style))


def _heat(found: Heat | None, x: float, y: float, across: float, down: float, intervals: bool) -> Markup:
    if found is None:
        return element("text", "–", x=x + across / 2, y=y + down / 2 + 4, class_="soft", text_anchor="middle")
    strength = min(max(found.strength, -1.0), 1.0)
    kind = "hot" if strength > 0 else "cold"
    sign = "" if found.sure is None else " ●" if found.sure else " ○"
    two = bool(found.detail) and intervals
    parts = [
        element("rect", x=x + 1, y=y + 1, width=across - 2, height=down - 2, rx=3, class_=kind, fill_opacity=f"{0.55 * abs(strength):.2f}"),
        element("text", found.text + sign, x=x + across / 2, y=y + down / 2 + (-2 if two else 4), text_anchor="middle"),
    ]  # fmt: skip
    if two:
        parts.append(
            element("text", found.detail, x=x + across / 2, y=y + down / 2 + 13, class_="small", text_anchor="middle")
        )
    return element("g", *parts)


def _stroke(spots: Sequence[tuple[float, float]], kind: str, dash: str | None = None) -> Markup:
    path = "L".join(f"{place(x)} {place(y)}" for x, y in spots)
    return element("path", d=f"M{path}", class_=kind, stroke_dasharray=dash)
