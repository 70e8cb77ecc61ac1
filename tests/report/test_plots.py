from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from lowres.report import plots, svg
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
    assert len(marks) == len(svg.SHAPES) == svg.STYLES
    drawn = svg.key([("<a>", style, "line") for style in range(4)])
    assert len(set(re.findall(r'class="l"(.*?)/>', drawn))) == 4
    assert "&lt;a&gt;" in drawn


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
