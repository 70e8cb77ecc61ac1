from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from lowres.report import plots, svg
from lowres.report.policy import file
from lowres.report.room import Room, Spot
from lowres.report.svg import Scale, Words

ABOUT = Words("i1", "<title> & \x1b", "about \u202e")


def paths(drawing: str, kind: str) -> list[list[tuple[float, float]]]:
    """Corners of the paths of a class that are made of straight lines."""
    found = re.findall(rf'<path d="M([^"]*?)z?" class="{kind}', drawing)
    return [[tuple(map(float, spot.split())) for spot in path.split("L")] for path in found]  # type: ignore[misc]


def whole(drawing: str | None) -> ElementTree.Element:
    assert drawing is not None
    assert "\x1b" not in drawing
    assert "\u202e" not in drawing
    return ElementTree.fromstring(drawing)


def test_an_element_by_hand() -> None:
    made = svg.element("text", "a<b", Markup("<tspan/>"), x=3.04, class_="n", text_anchor=None, id='"')
    assert made == '<text x="3" class="n" id="&#34;">a&lt;b<tspan/></text>'
    assert svg.element("path", d="M0 0") == '<path d="M0 0"/>'


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0.0, 1.0, False, [0, 0.25, 0.5, 0.75, 1]),
        (0.61, 0.89, False, [0.7, 0.8]),
        (-3.0, 12.0, False, [0, 5, 10]),
        (0.0, 3.0, True, [1, 10, 100, 1000]),
        (1.0, 2.0, True, [10, 20, 50, 100]),
    ],
)
def test_ticks_are_round(low: float, high: float, log: bool, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 100, log).ticks() == pytest.approx(ticks)


def test_a_scale_by_hand() -> None:
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert [scale(value) for value in (0, 2.5, 10, 99, -1)] == [100, 75, 0, 0, 100]
    log = Scale.over([10, 1000], 0, 100, log=True, air=0)
    assert [log(value) for value in (10, 100, 1000)] == pytest.approx([0, 50, 100])
    level = Scale.over([0.7, 0.7], 0, 100)
    assert 0 < level(0.7) < 100


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, 1], [1e308, -1e308], [5e-324], [0.0], [1e18, 2e18]])
@pytest.mark.parametrize("log", [False, True])
def test_any_numbers_have_a_scale(values: list[float], log: bool) -> None:
    scale = Scale.over(values, 0, 100, log=log)
    assert len(scale.ticks()) < 20
    for value in values:
        if not math.isnan(value):
            assert 0 <= scale(value) <= 100


def test_a_line_goes_through_its_points() -> None:
    line = plots.Line("m", 0, [(0, 0.5, 0.4, 0.6), (1, 0.7, 0.6, 0.8), (2, 0.9, 0.85, 0.95)])
    drawing = plots.lines(ABOUT, [line], plots.Axis("x"), plots.Axis("y"), rules=[plots.Rule("top", 0.95)])
    whole(drawing)
    (corners,) = paths(str(drawing), "l")
    assert len(corners) == 3
    (left, low), (middle, half), (right, high) = corners
    assert middle - left == pytest.approx(right - middle, abs=0.2)
    assert low - half == pytest.approx(half - high, abs=0.2)
    assert low > high
    (band,) = paths(str(drawing), "s0 b")
    assert len(band) == 6
    assert [x for x, _ in band[:3]] == [left, middle, right] == [x for x, _ in reversed(band[3:])]
    assert all(
        above < y < below for (_, y), (_, above), (_, below) in zip(corners, band[:3], reversed(band[3:]), strict=True)
    )


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert (
        plots.lines(ABOUT, [plots.Line("m", 0, [(0, math.nan, None, None)])], plots.Axis("x"), plots.Axis("y")) is None
    )
    assert plots.dots(ABOUT, [plots.Dot(0, 1, 0)], plots.Axis("x", log=True), plots.Axis("y")) is None
    assert plots.ranges(ABOUT, [], "x") is None
    assert plots.cloud(ABOUT, [(0, [])], "x") is None


def test_a_heat_map_prints_its_values() -> None:
    fields = {
        ("a", "b"): plots.Heat("12.0", "9…15", 1.0, True),
        ("b", "a"): plots.Heat("−3.0", "−8…2", -0.25, False),
    }
    drawing = whole(plots.heat_map(ABOUT, ["a", "b"], ["a", "b"], fields))
    space = "{http://www.w3.org/2000/svg}" if drawing.tag.startswith("{") else ""
    texts = [found.text for found in drawing.iter(f"{space}text")]
    assert {"12.0 ●", "−3.0 ○", "9…15", "−8…2"} <= set(texts)
    assert texts.count("–") == 2
    colours = [(one.get("class"), one.get("fill-opacity")) for one in drawing.iter(f"{space}rect")]
    assert colours == [("hot", "0.55"), ("cold", "0.14")]


def test_series_differ_by_more_than_colour() -> None:
    marks = {re.sub(r"[\d.]+", "", svg.mark(style, 0, 0)) for style in range(svg.STYLES)}
    assert len(marks) == len(svg.SHAPES) == svg.STYLES == 12
    drawn = svg.key([("<a>", style, "line") for style in range(4)])
    assert len(set(re.findall(r'class="l"(.*?)/>', drawn))) == 4
    assert "&lt;a&gt;" in drawn
    again = {(svg.style_of(style), svg.DASHES[style % len(svg.DASHES)]) for style in range(5 * svg.STYLES)}
    assert len(again) == 5 * svg.STYLES


def lab(colour: str) -> tuple[float, float, float]:
    """CIE L*a*b* under D65 of ``#rrggbb``."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.0888
    x, y, z = (one ** (1 / 3) if one > 0.008856 else 7.787 * one + 16 / 116 for one in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_colours_of_series_differ() -> None:
    """In light and dark: ten times what an eye just tells apart (about 2.3)."""
    style = file("style.css")
    for sheet in re.findall(r":root\{(.*?)\}", style, flags=re.S):
        named = dict(re.findall(r"--(\w+):(#\w{6})", sheet))
        colours = [lab(named[f"c{number}"]) for number in range(svg.STYLES)]
        assert min(math.dist(one, other) for one, other in itertools.combinations(colours, 2)) > 23
    assert all(f".s{number}{{--c:var(--c{number})}}" in style for number in range(svg.STYLES))


@pytest.mark.parametrize("count", [5, 6, 12])
def test_marks_of_many_lines_stand_side_by_side(count: int) -> None:
    shown = [
        plots.Line(
            f"m{number}", number, [(place, 0.5 + number / 100, 0.4, 0.6 + number / 100) for place in (0.0, 1.0, 2.0)]
        )
        for number in range(count)
    ]
    axis = plots.Axis("labels", at=[(0.0, "0"), (1.0, "8"), (2.0, "32")])
    drawing = str(plots.lines(ABOUT, shown, axis, plots.Axis("y"), rules=[plots.Rule("ceiling .700", 0.7)]))
    whole(drawing)
    lefts = [[x for x, _ in corners] for corners in paths(drawing, "l")]
    bars = paths(drawing, "bar")
    if count <= plots.FEW:
        assert all(one == lefts[0] for one in lefts)
        assert not bars
        assert drawing.count(' b"') == count
        return
    assert ' b"' not in drawing
    assert len(bars) == 3 * count
    every = sorted(x for one in lefts for x in one)
    assert all(right - left > 4 for left, right in itertools.pairwise(every))
    assert every[0] > plots.LEFT
    assert every[-1] < plots.WIDTH - plots.RIGHT
    assert [x for (x, _), _ in bars] == [x for one in lefts for x in one]


def test_a_text_stands_where_it_meets_nothing() -> None:
    room = Room((0, 0, 100, 100))
    room.mark(50, 50, 4)
    around = [Spot(57, 54), Spot(43, 54, "end")]
    assert room.stand("8", around, free=True) == around[0]
    assert room.stand("8", around, free=True) == around[1]
    assert room.stand("8", around, free=True) is None
    assert room.stand("8", around) == around[0]
    assert room.stand("32", [Spot(95, 20)], free=True) is None
    room.path([(0, 20), (100, 20)])
    assert room.stand("a name", [Spot(10, 22), Spot(10, 35)]) == Spot(10, 35)


def test_texts_of_dots_do_not_lie_on_each_other_or_on_marks() -> None:
    """Twenty-four marks in two columns: a text that has no room is left out, the others are read."""
    dots = [plots.Dot(10.0 * (1 + number % 2), 0.6 + number / 80, number % 12, text="32") for number in range(24)]
    drawing = whole(plots.dots(ABOUT, dots, plots.Axis("labels", log=True), plots.Axis("score")))
    texts = [
        one for one in drawing.iter() if one.tag.endswith("text") and one.text == "32" and one.get("class") == "small"
    ]
    assert 8 <= len(texts) <= 24
    boxes = [
        Spot(float(one.get("x", 0)), float(one.get("y", 0)), one.get("text-anchor", "")).box("32") for one in texts
    ]
    for one, other in itertools.combinations(boxes, 2):
        assert (
            one[2] <= other[0] + 0.2 or other[2] <= one[0] + 0.2 or one[3] <= other[1] + 0.2 or other[3] <= one[1] + 0.2
        )
    circles = [one for one in drawing.iter() if one.tag.endswith("circle")]
    for circle in circles:
        x, y = float(circle.get("cx", 0)), float(circle.get("cy", 0))
        assert not any(left < x < right and top < y < bottom for left, top, right, bottom in boxes)


def test_a_range_and_its_interval_by_hand() -> None:
    rows = [plots.Range("a", 10, 0, 20, "10"), plots.Range("b", 20, None, None, "20", other=5)]
    drawing = str(plots.ranges(ABOUT, rows, "labels", zero=True))
    whole(drawing)
    ((left, _), (right, _)) = paths(drawing, "bar")[0]
    scale = Scale.over([10, 0, 20, 20, 5, 0], 8, plots.WIDTH - 8)
    assert (left, right) == pytest.approx((scale(0), scale(20)), abs=0.06)
    assert "hollow" in drawing


def test_every_text_of_a_cloud_is_drawn() -> None:
    points = [(float(number), float(number % 7)) for number in range(50)]
    drawing = str(plots.cloud(ABOUT, [(0, points), (1, points[:20])], "PCA"))
    whole(drawing)
    assert [path.count("M") for path in re.findall(r'<path d="([^"]*)"', drawing)] == [50, 20]
