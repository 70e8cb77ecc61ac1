"""The section on when to trust a model: risk by coverage, calibration, promised precision, label sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lowres.analysis.evidence import Calibration, Evidence, Promise, RiskCurve, Sets
from lowres.report import plots
from lowres.report.blocks import (
    Block,
    Cell,
    Figure,
    Gallery,
    Grid,
    Part,
    Section,
    count,
    figure,
    first,
    pair,
    percent,
    rest,
    span,
    words,
)
from lowres.report.sentences import told_apart
from lowres.report.study import Study
from lowres.report.svg import key
from lowres.report.tables import number
from lowres.report.transfer import START

COVERAGES = (0.25, 0.5, 0.75, 1.0)
"""Shown in the table of risks; the measured point nearest to each."""
SHOWN = 24
"""Points of a drawn curve at most."""
HERE, THERE = 0, 1
"""Styles of source-only in its source and in the target."""


def trust(study: Study, evidence: Evidence) -> Section | None:
    """When a model may be believed."""
    parts: tuple[Block, ...] = (
        *_risks(study, evidence.risks),
        *_calibration(study, evidence.calibration),
        *_promises(study, evidence.promises),
        *_sets(study, evidence.sets),
        *_outside(study, evidence),
    )
    return Section("trust", "When to trust it", (), parts) if parts else None


def _risks(study: Study, found: Sequence[RiskCurve]) -> tuple[Block, ...]:
    if not found:
        return ()
    entries = [("source-only in its source", HERE, "line"), ("source-only in the target", THERE, "line")]
    others = dict.fromkeys(one.method for one in found if one.method != START)
    entries += [
        (f"{name}, most labels, in the target", _risk_style(place), "line") for place, name in enumerate(others)
    ]
    charts = ((target, one) for target, one in _risk_figures(study, found, list(others)))
    lead = (
        "Share of wrong answers when only the surest rows are answered. Where the curve of the target lies above that of"
        " the source, more answers are wrong there at the same share answered.",
    )
    rows = tuple(
        (
            words(one.source), words(one.target), words(one.method), count(one.shots), words(one.domain),
            *(percent(min(one.points, key=lambda point: abs(point[0] - wanted))[1], 1) for wanted in COVERAGES),
        )
        for one in first(found)
        if one.points
    )  # fmt: skip
    header = (
        "source",
        "target",
        "method",
        "labels a class",
        "measured in",
        *(f"wrong of {100 * wanted:.0f} %" for wanted in COVERAGES),
    )
    origin = (
        "evidence.json, risks: mean over the draws of the method's records; the measured coverage nearest to each column."
        + rest(found)
    )
    grid = Grid("risk", "Wrong answers by coverage", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 4}))
    return (Part("Risk by coverage", lead, (Gallery((), key=key(entries)), *study.by_target(charts), grid)),)


def _risk_figures(study: Study, found: Sequence[RiskCurve], others: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """One a pair: ``source-only`` in both domains, the others at their largest budget."""
    curves: dict[tuple[str, str | None, str, str], RiskCurve] = {}
    for one in sorted(found, key=lambda one: one.shots):
        curves[one.method, one.source, one.target, one.domain] = one
    for source, target in study.pairs:
        wanted = [(START, source, HERE), (START, target, THERE)]
        wanted += [(name, target, _risk_style(place)) for place, name in enumerate(others)]
        shown = []
        for method, domain, style in wanted:
            curve = curves.get((method, source, target, domain)) or curves.get((method, None, target, domain))
            if curve is not None and curve.points:
                kept = curve.points[:: max(1, -(-len(curve.points) // SHOWN))]
                kept = kept if kept[-1] == curve.points[-1] else [*kept, curve.points[-1]]
                shown.append(
                    plots.Line(f"{method} in {domain}", style, [(x, y, None, None) for x, y in kept], marks=False)
                )
        about = "; ".join(f"{line.name}: {number(line.points[-1][1])} of all rows wrong" for line in shown)
        title = f"Wrong answers by coverage, {source} → {target}"
        at = [(0.0, "0"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %")]
        x, y = plots.Axis("rows answered, surest first", at=at), plots.Axis("share wrong")
        svg = plots.lines(study.words(title, about), shown, x, y)
        if svg is not None:
            yield target, Figure(svg, pair(source, target))


def _risk_style(place: int) -> int:
    return place + 2


def _calibration(study: Study, found: Sequence[Calibration]) -> tuple[Block, ...]:
    if not found:
        return ()
    shown: dict[str, list[plots.Range]] = {}
    for one in found:
        shown.setdefault(one.target, []).append(
            plots.Range(
                f"{one.source} · {one.method} · {one.shots}", one.target_before, None, None,
                f"{number(one.target_before)} → {number(one.target_after)}", one.target_after, THERE,
            )
        )  # fmt: skip
    figures = []
    for target, rows in shown.items():
        about = "; ".join(f"{row.name}: {row.text}" for row in rows[:8])
        svg = plots.ranges(
            study.words(f"Calibration error in {target}", about), rows, "calibration error in the target", zero=True
        )
        if svg is not None:
            figures.append((target, Figure(svg, pair(None, target))))
    grid = Grid(
        "calibrated", "Calibration error",
        ("source", "target", "method", "labels a class", "temperature", "source before", "source after", "target before", "target after"),
        tuple(
            (
                words(one.source), words(one.target), words(one.method), count(one.shots), count(one.temperature, 2),
                figure(one.source_before), figure(one.source_after), figure(one.target_before), figure(one.target_after),
            )
            for one in found
        ),
        "evidence.json, calibration: mean over the draws of the method's records.", heads=3, words=frozenset({0, 1, 2}),
    )  # fmt: skip
    lead = (
        "How far stated confidence is from the share of right answers, before and after one temperature that is fitted on"
        " source rows. Filled mark: before; open mark: after.",
    )
    return (Part("Calibration", lead, (*study.by_target(figures, many=len(shown) > 12), grid)),)


def _promises(study: Study, found: Sequence[Promise]) -> tuple[Block, ...]:
    if not found:
        return ()
    rows = tuple(
        (
            words(one.source), words(one.target), words(one.method), count(one.shots), percent(one.precision),
            words(one.fitted_on), words(one.measured_on), figure(one.threshold), span(one.coverage), percent(one.kept, 1),
            words(one.reason),
        )
        for one in first(found)
    )  # fmt: skip
    header = (
        "source", "target", "method", "labels a class", "promised", "fitted on", "measured on", "threshold", "rows answered",
        "right of those", "limits",
    )  # fmt: skip
    lead = (
        "How many rows can be answered if so many of the answers are to be right. A threshold that is fitted on the source"
        " keeps its promise in the target only where the last share is as high as the promised one.",
    )
    origin = (
        "evidence.json, promises: thresholds from one half of the test groups, measured on the other half or in the other domain."
        + rest(found)
    )
    grid = Grid("promise", "Promised precision", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 5, 6, 10}))
    return (Part("Promised precision", lead, (grid,)),)


def _sets(study: Study, found: Sequence[Sets]) -> tuple[Block, ...]:
    if not found:
        return ()
    rows = tuple(
        (
            words(one.source), words(one.target), words(one.method), count(one.shots), percent(one.wanted), percent(one.in_source, 1),
            percent(one.in_target, 1), count(one.size, 2), words(one.reason),
        )
        for one in first(found)
    )  # fmt: skip
    header = (
        "source",
        "target",
        "method",
        "labels a class",
        "wanted",
        "in source",
        "in target",
        "labels in a set",
        "limits",
    )
    lead = (
        "Sets of labels that are to hold the right one so often. Below the wanted share in the target: the shift broke the promise.",
    )
    origin = "evidence.json, sets: split-conformal, measured on rows that were not used to fit." + rest(found)
    grid = Grid("set", "Label sets", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 8}))
    return (Part("Label sets", lead, (grid,)),)


def _outside(study: Study, evidence: Evidence) -> tuple[Block, ...]:
    found = evidence.outside
    if not found:
        return ()
    rows = tuple(
        (
            words(one.source), words(one.target), words(one.method), Cell("all") if one.shots is None else count(one.shots), span(one.auroc), percent(one.recall, 1),
            percent(one.lowest, 1), percent(one.highest, 1), percent(one.prevalence, 1), words(one.reason),
        )
        for one in first(found)
    )  # fmt: skip
    wanted = f"found at {100 * found[0].precision:.0f} %"
    header = (
        "source", "target", "method", "labels a class", "AUROC", wanted, "lowest draw", "highest draw", "out of scope", "limits",
    )  # fmt: skip
    lead = (
        "Whether a low confidence gives away a row that belongs to no class. AUROC: the chance that a test row of the target is"
        f" surer than a row out of scope; .5 is chance. {wanted.capitalize()}: share of the rows out of scope among the least sure"
        " rows, when so many of those are out of scope; it holds for the share of such rows given beside it.",
        *map(study.parted, told_apart(evidence)),
    )
    origin = "evidence.json, outside: mean over the draws of the method's records." + rest(found)
    grid = Grid("outside", "Rows out of scope", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 9}))
    return (Part("Rows out of scope", lead, (grid,)),)
