"""Sections on what shifted: distances, words, rows that flipped, and a map of the domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lowres.analysis.evidence import Distance, Evidence, Flip, Place, Word
from lowres.report import plots
from lowres.report.blocks import (
    Block,
    Figure,
    Gallery,
    Grid,
    Part,
    Section,
    count,
    figure,
    first,
    percent,
    rest,
    words,
)
from lowres.report.study import Study
from lowres.report.svg import key
from lowres.report.tables import cut, number

LONGEST = 240
"""Characters of a text that are shown."""
MOST_FLIPS = 300
MOST_PLACES = 2000
"""Texts that are drawn; of more, every second, third …"""


def shifted(study: Study, evidence: Evidence) -> Section | None:
    """What lies behind the fall."""
    parts: tuple[Block, ...] = (
        *_distances(study, evidence.distances),
        *_words(study, evidence.words),
        *_flips(study, evidence.flips),
    )
    return Section("shifted", "What shifted", (), parts) if parts else None


def domain_map(study: Study, evidence: Evidence) -> Section | None:
    """Where the texts of the domains lie for the frozen encoder."""
    found = evidence.map
    if not found:
        return None
    domains = list(dict.fromkeys(one.domain for one in found))
    drawn = found[:: -(-len(found) // MOST_PLACES)]
    styles = {name: place for place, name in enumerate(domains)}
    figures = [
        _cloud(study, "PCA", [(styles[name], [one.pca for one in drawn if one.domain == name]) for name in domains]),
        _cloud(study, "t-SNE", [(styles[name], [one.tsne for one in drawn if one.domain == name]) for name in domains]),
    ]
    lead = (
        "Texts as the frozen encoder sees them. PCA keeps large distances, t-SNE keeps neighbours; what overlaps in both is"
        " alike. Axes have no unit, and distances between groups of t-SNE mean little.",
    )
    entries = key((name, place, "mark") for name, place in styles.items())
    kept = tuple(figure for figure in figures if figure is not None)
    return Section("map", "Map of the domains", lead, (Gallery(kept, key=entries), _counts(found)))


def _cloud(study: Study, kind: str, groups: Sequence[tuple[int, Sequence[tuple[float, float]]]]) -> Figure | None:
    about = f"{sum(len(points) for _, points in groups)} texts of {len(groups)} domains; counts by domain and label in the table"
    svg = plots.cloud(study.words(f"Map of the domains by {kind}", about), groups, kind)
    return Figure(svg, kind) if svg is not None else None


def _counts(found: Sequence[Place]) -> Grid:
    rows = tuple(
        (words(domain), words(label), count(size))
        for (domain, label), size in Counter((one.domain, one.label) for one in found).items()
    )
    origin = "Places of all texts: evidence.json, map."
    return Grid("mapped", "Texts on the map", ("domain", "label", "texts"), rows, origin)


def _distances(study: Study, found: Sequence[Distance]) -> tuple[Block, ...]:
    if not found:
        return ()
    drops = {(one.source, one.target): one.source_drop.mean for one in study.summary.shift}
    dots = [
        plots.Dot(one.proxy_a, 100 * drops[one.source, one.target], 0)
        for one in found
        if (one.source, one.target) in drops
    ]
    about = "; ".join(f"{one.source} → {one.target}: {number(one.proxy_a, 2)}" for one in found[:16])
    title = "Source drop against distance"
    svg = plots.dots(study.words(title, about), dots, plots.Axis("proxy-A distance"), plots.Axis("source drop, points"))
    rows = tuple(
        (
            words(one.source), words(one.target), figure(one.proxy_a), figure(one.words), percent(one.unseen), count(one.length, 2),
            figure(one.labels), figure(one.of_labels), figure(drops.get((one.source, one.target))),
        )
        for one in found
    )  # fmt: skip
    header = (
        "source", "target", "proxy-A", "words", "unseen words", "length ratio", "labels", "drop from labels", "source drop",
    )  # fmt: skip
    lead = (
        "How far two domains lie apart without a model of the task. Proxy-A, 0 to 2: how well a classifier tells them apart."
        " Words, 0 to 1: divergence of their word shares. Unseen: share of the target's words that the source never has."
        " Labels, 0 to 1: change of the label shares, and the part of the source drop which that alone explains.",
    )
    origin = "evidence.json, distances; the drop is in summary.json, shift."
    grid = Grid("distance", "Distances", header, rows, origin)
    figures = (Gallery((Figure(svg, title),)),) if svg is not None and len(dots) > 2 else ()
    return (Part("Distances", lead, (*figures, grid)),)


def _words(study: Study, found: Sequence[Word]) -> tuple[Block, ...]:
    if not found:
        return ()
    rows = tuple(
        (
            words(one.source),
            words(one.target),
            words(one.word),
            words(one.label),
            count(one.in_source, 2),
            count(one.in_target, 2),
        )
        for one in first(found)
    )
    header = ("source", "target", "word", "speaks for", "in source", "in target")
    lead = (
        "Words that speak for a label otherwise in the target than in the source; weights are log odds, above 0 for the label.",
    )
    origin = "evidence.json, words." + rest(found)
    return (
        Part(
            "Words that changed sides",
            lead,
            (Grid("word", "Words", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 3})),),
        ),
    )


def _flips(study: Study, found: Sequence[Flip]) -> tuple[Block, ...]:
    if not found:
        return ()
    rows = tuple(
        (
            words(one.source), words(one.target), words(one.method),
            count(one.shots, link=study.records.link(one.method, one.source, one.target, one.shots)),
            words("wrong to right" if one.mended else "right to wrong"), percent(one.share), words(one.label),
            words(cut(one.text, LONGEST)), words(one.row),
        )
        for one in first(found, MOST_FLIPS)
    )  # fmt: skip
    header = ("source", "target", "method", "labels a class", "answer", "draws", "label", "text", "row")
    lead = (
        "Target rows that source-only answers wrongly and the method rightly, or the other way round, and in how many draws.",
    )
    origin = "evidence.json, flips; row is the row's id in the task." + rest(found, MOST_FLIPS)
    grid = Grid("flip", "Rows that flipped", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 4, 6, 7, 8}))
    return (Part("Rows that flipped", lead, (grid,)),)
