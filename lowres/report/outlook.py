"""Sections on what to spend and to expect: cost against score, diminishing returns, forecasts, choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from lowres.analysis.evidence import Against, Cost, Evidence, Forecast, Law, Reach
from lowres.report import plots
from lowres.report.blocks import (
    Cell,
    Figure,
    Gallery,
    Grid,
    Section,
    count,
    figure,
    first,
    pair,
    pair_text,
    percent,
    raw,
    rest,
    span,
    words,
)
from lowres.report.sentences import reached, short
from lowres.report.study import Study
from lowres.report.svg import amount, key
from lowres.report.tables import MISSING, metric_name, number
from lowres.report.transfer import START

UNITS: dict[Against, str] = {"labels": "target labels", "seconds": "training seconds", "flops": "training FLOPs"}
CURVE = 24
"""Points of a drawn law at most."""
BARRED = 200
"""Marks that have room for their intervals."""


def costs(study: Study, evidence: Evidence) -> Section | None:
    """Cost against score, in labels, seconds and FLOPs."""
    found = evidence.costs
    if not found:
        return None
    figures = []
    for against, label in UNITS.items():
        dots = [
            plots.Dot(
                _spent(one, against),
                one.score,
                study.style(one.method),
                text="all" if one.shots is None else str(one.shots),
            )
            for one in found
        ]
        about = "; ".join(
            f"{one.method} {_budget(one.shots)}: {amount(_spent(one, against))}, {number(one.score)}"
            for one in found[:16]
        )
        title = f"Score against {label}"
        svg = plots.dots(study.words(title, about), dots, plots.Axis(label, log=True), plots.Axis("mean score"))
        if svg is not None:
            figures.append(Figure(svg, title))
    rows = tuple(
        (
            words(one.method), Cell("all") if one.shots is None else count(one.shots), count(one.labels), Cell(amount(one.seconds), raw(one.seconds)),
            Cell(amount(one.flops), raw(one.flops)), figure(one.score),
        )
        for one in found
    )  # fmt: skip
    header = ("method", "labels a class", "target labels", "seconds", "FLOPs", "score")
    origin = (
        "evidence.json, costs: means over pairs and draws of all records of a method and budget; seconds and FLOPs count"
        " forward and backward passes of a fit and of all it starts from."
    )
    marks = dict.fromkeys(one.method for one in found)
    entries = key((name, study.style(name), "mark") for name in marks)
    lead = (
        "Up is better, left is cheaper. The number at a mark is its labels a class, where there is room; costs of nothing have no place on the scale.",
    )
    grid = Grid("cost", "What a method costs", header, rows, origin, words=frozenset({0}))
    return Section("costs", "What it costs", lead, (Gallery(tuple(figures), key=entries), grid))


def laws(study: Study, evidence: Evidence) -> Section | None:
    """Where one more label or second stops paying."""
    found = evidence.laws
    if not found:
        return None
    groups: dict[tuple[str | None, str | None, Against], list[Law]] = {}
    for one in found:
        groups.setdefault((one.source, one.target, one.against), []).append(one)
    general = [figure for place, group in groups.items() if place[1] is None and (figure := _law_figure(study, group))]
    special = [
        (target, figure)
        for source, target, group in _law_pairs(study, groups)
        if (figure := _law_figure(study, group, pair(source, target) if source else short(target)))
    ]
    methods = dict.fromkeys(one.method for one in found)
    entries = key((name, study.style(name), "line") for name in methods)
    lead = (
        "Marks are measured means, lines the law score = ceiling − scale · x^−exponent with its 95 % band (over draws and test groups),"
        " not drawn where it is refused. The upright line is where a doubling stops bringing a point."
        + (f" {plots.SIDE_BY_SIDE}" if len(methods) > plots.FEW else ""),
        *(study.parted(line) for line in reached(evidence)),
    )
    blocks = (
        Gallery(tuple(general), key=entries),
        *study.by_target(special),
        *_reach_table(evidence.reaches),
        _law_table(found),
    )
    return Section("laws", "Where more stops paying", lead, blocks)


def forecasts(study: Study, evidence: Evidence) -> Section | None:
    """What was said without a target label, beside what was measured."""
    found = evidence.forecasts
    if not found:
        return None
    rules = {name: place for place, name in enumerate(dict.fromkeys(one.rule for one in found))}
    entries = key((name, place, "mark") for name, place in rules.items())
    figures = []
    for metric in dict.fromkeys(one.metric for one in found):
        known = [one for one in found if one.metric == metric and one.measured is not None]
        svg = _forecast_plot(study, metric, known, rules)
        if svg is not None:
            figures.append(Figure(svg, f"Forecast against measured {metric_name(metric)}"))
    rows = tuple(
        (
            words(one.source), words(one.target), words(one.rule), words(metric_name(one.metric)), span(one.predicted),
            figure(one.measured, link=study.records.link(START, one.source, one.target, 0)),
        )
        for one in first(found)
    )  # fmt: skip
    header = ("source", "target", "rule", "metric", "forecast", "measured")
    origin = "evidence.json, forecasts; the measured score links to its records." + rest(found)
    grid = Grid(
        "forecast",
        "Forecasts beside the measured score",
        header,
        rows,
        origin,
        heads=3,
        words=frozenset({0, 1, 2, 3}),
    )
    lead = (
        "What source-only was expected to score in the target, without one target label. On the line of equals a forecast"
        " was right; above it the model did better than was said. An interval says how well the rule's answer is known, not"
        " how right the rule is.",
    )
    return Section(
        "forecasts", "Forecasts beside the measured score", lead, (Gallery(tuple(figures), key=entries), grid)
    )


def choices(study: Study, evidence: Evidence) -> Section | None:
    """Which method to take without a target test label, and what that costs."""
    found = evidence.choices
    if not found:
        return None
    link = study.records.link
    rows = tuple(
        (
            words(one.source), words(one.target), count(one.shots), words(one.rule),
            Cell(words(one.picked).text, link=link(one.picked, one.source, one.target, one.shots)),
            Cell(words(one.best).text, link=link(one.best, one.source, one.target, one.shots)), percent(one.regret, 1),
        )
        for one in first(found)
    )  # fmt: skip
    header = ("source", "target", "labels a class", "rule", "picked", "best measured", "regret")
    origin = (
        "evidence.json, choices. Regret: points of score between the best method measured and the one picked."
        + rest(found)
    )
    grid = Grid("choice", "Picked and best methods", header, rows, origin, words=frozenset({0, 1, 3, 4, 5}))
    lead = (
        "What each rule would have picked for a target, none of which looks at a target test label, and how far that is"
        " from the best.",
    )
    return Section("choices", "Choosing a method", lead, (grid,))


def _spent(one: Cost, against: Against) -> float:
    return {"labels": one.labels, "seconds": one.seconds, "flops": one.flops}[against]


def _budget(shots: int | None) -> str:
    return "all" if shots is None else str(shots)


def _law_pairs(
    study: Study, groups: dict[tuple[str | None, str | None, Against], list[Law]]
) -> Iterator[tuple[str | None, str, list[Law]]]:
    """Laws against labels on each pair, those without a source beside the others of their target."""
    for source, target, against in groups:
        if target is None or source is None or against != "labels":
            continue
        yield source, target, [*groups[source, target, against], *groups.get((None, target, against), [])]
    with_source = {target for source, target, _ in groups if source is not None}
    for source, target, against in groups:
        if target is not None and source is None and against == "labels" and target not in with_source:
            yield None, target, groups[source, target, against]


def _law_figure(study: Study, group: Sequence[Law], caption: Markup | str | None = None) -> Figure | None:
    against = group[0].against
    shown, upright, said = [], [], []
    for one in group:
        style = study.style(one.method)
        curve = one.curve[:: max(1, -(-len(one.curve) // CURVE))]
        if curve and curve[-1] != one.curve[-1]:
            curve = [*curve, one.curve[-1]]
        shown.append(
            plots.Line(
                one.method, style, [(p.x, p.mean, p.low, p.high) for p in curve if p.x > 0], marks=False, loose=True
            )
        )
        shown.append(
            plots.Line(one.method, style, [(p.x, p.mean, p.low, p.high) for p in one.points if p.x > 0], joined=False)
        )
        if one.pays_until is not None and one.pays_until > 0:
            upright.append(plots.Rule(f"{one.method} {amount(one.pays_until)}", one.pays_until))
        said.append(f"{one.method}: " + ", ".join(f"{number(p.mean)} at {amount(p.x)}" for p in one.points))
    title = f"Score against {UNITS[against]}, {pair_text(group[0].source, group[0].target)}"
    x, y = plots.Axis(UNITS[against], log=True), plots.Axis(study.metric)
    svg = plots.lines(study.words(title, "; ".join(said)), shown, x, y, upright=upright)
    return Figure(svg, caption or f"All pairs, against {UNITS[against]}") if svg is not None else None


def _law_table(found: Sequence[Law]) -> Grid:
    rows = tuple(
        (
            words(one.source), words(one.target or "all"), words(one.method), words(UNITS[one.against]),
            words(", ".join(f"{amount(p.x)}: {number(p.mean)}" for p in one.points)),
            Cell(amount(one.pays_until), raw(one.pays_until)) if one.pays_until is not None else Cell(MISSING),
            *(Cell(amount(end), raw(end)) if end is not None else Cell(MISSING) for end in one.pays_band or (None, None)), words(one.reason),
        )
        for one in first(found)
    )  # fmt: skip
    header = ("source", "target", "method", "against", "measured", "pays until", "from", "to", "why no law")
    origin = (
        "evidence.json, laws; from the records of the method at every budget. Pays until: a doubling brings less than 0.01 beyond; from … to: its band of 90 %."
        + rest(found)
    )
    return Grid("law", "Diminishing returns", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 3, 4, 8}))


def _reach_table(found: Sequence[Reach]) -> tuple[Grid, ...]:
    rows = tuple(
        (
            words(one.source), words(one.target), words(one.method), words(one.wanted), figure(one.score), count(one.labels),
            count(one.low), count(one.high), count(one.measured), words(one.reason),
        )
        for one in first(found)
    )  # fmt: skip
    header = (
        "source",
        "target",
        "method",
        "wanted",
        "score",
        "labels a class",
        "from",
        "to",
        "measured with",
        "why no law",
    )
    origin = (
        "evidence.json, reaches, from the laws of labels on a pair: from … to is a band of 90 % over draws and test groups, empty where it"
        " leaves what the law may speak of (the fewest labels measured to four times the most). Measured with: the fewest labels a class at which the measured mean was as high."
        + rest(found)
    )
    grid = Grid("reach", "Labels to reach a score", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 3, 9}))
    return (grid,) if rows else ()


def _forecast_plot(study: Study, metric: str, known: Sequence[Forecast], rules: dict[str, int]) -> Markup | None:

    def across(one: Forecast) -> tuple[float, float] | None:
        return (one.predicted.low, one.predicted.high) if len(known) <= BARRED else None

    dots = [
        plots.Dot(one.predicted.mean, one.measured, rules[one.rule], across(one))
        for one in known
        if one.measured is not None
    ]
    about = "; ".join(
        f"{pair_text(one.source, one.target)} {one.rule} {number(one.predicted.mean)}" for one in known[:16]
    )
    title = f"Forecast against measured {metric_name(metric)}"
    return plots.dots(study.words(title, about), dots, plots.Axis("forecast"), plots.Axis("measured"), diagonal=True)
