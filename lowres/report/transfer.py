"""Sections from the summary: how far it falls, what wins it back, labels saved, over all pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from lowres.analysis.evidence import Aggregate
from lowres.analysis.summary import Estimate, Transfer
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
    pair,
    pair_text,
    percent,
    share,
    span,
    whole,
    words,
)
from lowres.report.study import MOST, OPEN, Study
from lowres.report.svg import key
from lowres.report.tables import TOGETHER, hundredths, is_together, number, scenario

START, CEILING = "source-only", "target-full"
INSIDE, OTHERS = "in source", "others"
"""Rows of the matrix where all others are learnt from together: the score in them, and the drop from them."""


def falls(study: Study) -> Section | None:
    """The drop matrix."""
    found = study.summary.shift
    if not found:
        return None
    drops = {(one.source, one.target): one.source_drop for one in found}
    gaps = {(one.source, one.target): one.target_drop for one in found if one.target_drop}
    inside = {
        place: plots.Heat(number(score.mean), "in source")
        for name, place in _insides(study)
        if (score := study.score(START, name, name, 0))
    }
    figures = [_matrix(study, "Source drop, in points", drops, inside)]
    if gaps:
        figures.append(_matrix(study, "Target drop, in points", gaps, {}))
    wide = len(study.summary.study.domains) > plots.WIDE_HEAT
    note = "● the 95 % interval excludes 0, ○ it does not. Orange: lower in the target; blue: higher."
    lead = (
        "Source drop: the score in the source minus the score in the target, of one model trained on the source. Target"
        " drop: what a model trained on as many target rows scores above it, in the target.",
        *([TOGETHER.strip()] if is_together(study.summary) else []),
    )
    return Section("falls", "How far it falls", lead, (Gallery(tuple(figures), note=note, wide=wide), _drops(study)))


def wins(study: Study) -> Section | None:
    """Scores by shots, and everything that is compared with them."""
    if not study.summary.transfer and not study.summary.verdicts:
        return None
    named = [
        name for name in study.styles if name != CEILING and any(one.method == name for one in study.summary.scores)
    ]
    entries = [(name, study.style(name), "mark" if name == START else "line") for name in named]
    charts = ((target, Figure(svg, pair(source, target))) for source, target, svg in _recoveries(study))
    key_ = Gallery((), key=key(entries))
    lead = (
        "Score on the target's test rows by labelled target rows a class, mean over draws with 95 % intervals. The dashed"
        " line is the ceiling: a model trained on as many target rows as the source has."
        + (f" {plots.SIDE_BY_SIDE}" if len(entries) > plots.FEW else ""),
    )
    return Section("wins", "What wins it back", lead, (key_, *study.by_target(charts), _gains(study), _verdicts(study)))


def saved(study: Study) -> Section | None:
    """How many labels of the target a source is worth."""
    found = [one for one in study.summary.transfer if one.labels_saved is not None]
    if not found:
        return None
    groups: dict[str, list[Transfer]] = {}
    for one in found:
        groups.setdefault(one.target, []).append(one)
    figures = []
    for target, group in groups.items():
        rows = [_worth(study, one) for one in group]
        about = "; ".join(f"{row.name}: {row.text}" for row in rows[:8])
        svg = plots.ranges(study.words(f"Labels saved for {target}", about), rows, "target labels", log=_wide(group))
        if svg is not None:
            figures.append((target, Figure(svg, pair(None, target))))
    lead = (
        "How many target labels in all target-only would need for the score that a method reaches with a source and so"
        " many labels a class. Nothing is said where the measured budgets do not reach that score.",
    )
    return Section(
        "saved", "Labels saved", lead, (*study.by_target(figures, many=len(groups) > OPEN), _saved(study, found))
    )


def over_all(study: Study, aggregates: Sequence[Aggregate]) -> Section | None:
    """Each method over all pairs."""
    overall = study.summary.overall
    if len(study.pairs) < 2 or not overall:
        return None
    rows = tuple(
        (
            words(one.method), count(one.shots), span(one.score), span(one.gain), span(one.net_transfer), share(one.recovery),
            Cell(pair(one.worst_pair.source, one.worst_pair.target)),
            figure(one.worst_pair.mean, link=study.records.link(one.method, one.worst_pair.source, one.worst_pair.target, one.shots)),
            percent(one.negative_transfer_rate),
        )
        for one in overall
    )  # fmt: skip
    header = (
        "method", "labels a class", "score", "gain", "net transfer", "recovery", "worst pair", "its score", "pairs it costs",
    )  # fmt: skip
    origin = "Means over the pairs; summary.json, overall. Each rests on all records of its method and budget."
    table = Grid("overall", "Over all pairs", header, rows, origin, heads=2, words=frozenset({0, 6}))
    lead = ("Averages speak of these domains, not of domains in general. The worst pair is what to plan for.",)
    return Section("overall-pairs", "Over all pairs", lead, (table, *_aggregates(study, aggregates)))


def _matrix(
    study: Study, title: str, found: dict[tuple[str, str], Estimate], inside: dict[tuple[str, str], plots.Heat]
) -> Figure:
    top = max((abs(one.mean) for one in found.values()), default=0.0) or 1.0
    fields = inside | {
        (_row(study, place[0]), place[1]): plots.Heat(
            hundredths(one.mean),
            f"{hundredths(one.low)}…{hundredths(one.high)}",
            one.mean / top,
            one.low > 0 or one.high < 0,
        )
        for place, one in found.items()
    }
    rows = [*dict.fromkeys(place[0] for place in inside if place[0] == INSIDE)]
    rows += dict.fromkeys(
        _row(study, name) for name in study.summary.study.sources if any(place[0] == name for place in found)
    )
    columns = [name for name in study.summary.study.targets if any(place[1] == name for place in found)]
    about = "; ".join(
        f"{pair_text(*place)} {one.text} [{one.detail}]"
        for place in list(found)[:16]
        for one in [fields[_row(study, place[0]), place[1]]]
    )
    return Figure(plots.heat_map(study.words(title, about), rows, columns, fields), title)


def _insides(study: Study) -> Iterator[tuple[str, tuple[str, str]]]:
    """Sources, and the field of each with its score inside: on the diagonal, or above the targets that it is for."""
    if is_together(study.summary):
        yield from ((source, (INSIDE, target)) for source, target in study.pairs)
    else:
        yield from ((name, (name, name)) for name in study.summary.study.sources)


def _row(study: Study, source: str) -> str:
    """The row of a source in the matrix; where all others are learnt from together there is one row for them."""
    return OTHERS if is_together(study.summary) else source


def _drops(study: Study) -> Grid:
    link = study.records.link
    reasons: dict[tuple[str, str], str] = {}
    for one in study.summary.transfer:
        if one.recovery_reason:
            reasons.setdefault((one.source, one.target), one.recovery_reason)
    rows = []
    for drop in study.summary.shift:
        source, target = drop.source, drop.target
        own, other, top = (
            study.score(START, source, source, 0), study.score(START, source, target, 0), study.score(CEILING, None, target, None)
        )  # fmt: skip
        rows.append(
            (
                words(source), words(target), figure(own.mean if own else None, link=link(START, source, source, 0)),
                figure(other.mean if other else None, link=link(START, source, target, 0)),
                figure(top.mean if top else None, link=link(CEILING, None, target, None)),
                span(drop.source_drop), span(drop.target_drop), words(scenario(drop)), words(reasons.get((source, target))),
            )
        )  # fmt: skip
    header = (
        "source", "target", "in source", "in target", "ceiling", "source drop", "target drop", "scenario", "why no recovery",
    )  # fmt: skip
    origin = "Scores link to their records; drops are in summary.json, shift. Scenario in brackets: the interval of a drop holds 0."
    return Grid("drops", "Drops, one row a pair", header, tuple(rows), origin, words=frozenset({0, 1, 7, 8}))


def _recoveries(study: Study) -> Iterator[tuple[str, str, Markup]]:
    """A chart a pair, the largest drops first where not all have room."""
    budgets = sorted({0, *study.summary.study.shots})
    drops = {(one.source, one.target): one.source_drop.mean for one in study.summary.shift}
    pairs = study.pairs
    if len(pairs) > MOST:
        pairs = sorted(pairs, key=lambda place: -drops.get(place, 0.0))
    at = [(float(place), str(shots)) for place, shots in enumerate(budgets)]
    for source, target in pairs:
        shown, said = [], []
        for method in study.styles:
            found = [(place, study.score(method, source, target, shots)) for place, shots in enumerate(budgets)]
            points = [(float(place), score.mean, score.low, score.high) for place, score in found if score]
            if points:
                shown.append(plots.Line(method, study.style(method), points))
                said.append(
                    f"{method}: "
                    + ", ".join(f"{number(score.mean)} at {budgets[place]}" for place, score in found if score)
                )
        start, top = study.score(START, source, target, 0), study.score(CEILING, None, target, None)
        rules = [plots.Rule(f"ceiling {number(top.mean)}", top.mean)] if top else []
        rules += [plots.Rule("", start.mean)] if start else []
        title = f"Score by labels a class, {source} → {target}"
        x, y = plots.Axis("labels a class", at=at), plots.Axis(study.metric)
        svg = plots.lines(study.words(title, "; ".join(said)), shown, x, y, rules=rules)
        if svg is not None:
            yield source, target, svg


def _gains(study: Study) -> Grid:
    rows = []
    for one in study.summary.transfer:
        score = study.score(one.method, one.source, one.target, one.shots)
        rows.append(
            (
                words(one.source), words(one.target), words(one.method), count(one.shots),
                span(score, link=study.records.link(one.method, one.source, one.target, one.shots)),
                span(one.gain), span(one.net_transfer), share(one.recovery),
            )
        )  # fmt: skip
    header = ("source", "target", "method", "labels a class", "score", "gain", "net transfer", "recovery")
    origin = (
        "Scores link to their records. Gain: over source-only without target labels. Net transfer: over target-only at as"
        " many labels. Recovery: share of the target drop. summary.json, transfer."
    )
    return Grid("gains", "What each method wins", header, tuple(rows), origin, heads=3, words=frozenset({0, 1, 2}))


def _verdicts(study: Study) -> Grid:
    rows = tuple(
        (
            words(one.source or "all"), words(one.target or "all"), words(one.method), count(one.shots), words(one.against),
            span(one.difference), figure(one.p_adjusted), words(one.verdict), figure(one.minimum_detectable),
        )
        for one in study.summary.verdicts
    )  # fmt: skip
    header = (
        "source", "target", "method", "labels a class", "against", "difference", "p, adjusted", "verdict", "could have seen",
    )  # fmt: skip
    origin = (
        "Paired differences over the same draws and test groups, Holm over the methods of a pair and budget; summary.json,"
        " verdicts. Could have seen: the smallest difference that would have been shown in four of five such studies."
    )
    return Grid("verdicts", "Verdicts", header, rows, origin, heads=3, words=frozenset({0, 1, 2, 4, 7}))


def _worth(study: Study, one: Transfer) -> plots.Range:
    found = one.labels_saved
    assert found is not None
    text = whole(found).text
    name = f"{one.source} · {one.method} · {one.shots}"
    return plots.Range(name, found.mean, found.low, found.high, text, style=study.style(one.method))


def _wide(found: Sequence[Transfer]) -> bool:
    """Whether labels span so much that only a log scale shows them."""
    means = [one.labels_saved for one in found if one.labels_saved is not None]
    low, high = min(one.low for one in means), max(one.high for one in means)
    return low > 0 and high > 30 * low


def _saved(study: Study, found: Sequence[Transfer]) -> Grid:
    rows = tuple(
        (words(one.source), words(one.target), words(one.method), count(one.shots), whole(one.labels_saved))
        for one in found
    )
    header = ("source", "target", "method", "labels a class", "target labels alone")
    origin = "summary.json, transfer; from the records of the method, of target-only at every budget and of target-full on that target."
    return Grid("labels-saved", "Labels saved", header, rows, origin, heads=3, words=frozenset({0, 1, 2}))


def _aggregates(study: Study, found: Sequence[Aggregate]) -> tuple[Block, ...]:
    if not found:
        return ()
    shown = [
        plots.Range(
            f"{one.method} · {one.shots}", one.interquartile_mean.mean, one.interquartile_mean.low, one.interquartile_mean.high,
            number(one.interquartile_mean.mean), style=study.style(one.method),
        )
        for one in found
    ]  # fmt: skip
    about = "; ".join(f"{row.name} {row.text}" for row in shown[:16])
    svg = plots.ranges(study.words("Interquartile mean over pairs and draws", about), shown, study.metric)
    rows = tuple(
        (words(one.method), count(one.shots), span(one.interquartile_mean), words(one.against), share(one.improvement))
        for one in found
    )
    header = ("method", "labels a class", "interquartile mean", "against", "probability of improvement")
    origin = "evidence.json, aggregates: over all pairs and draws of a method and budget (Agarwal et al. 2021)."
    grid = Grid("aggregates", "Robust averages", header, rows, origin, words=frozenset({0, 3}))
    lead = (
        "The interquartile mean leaves the best and the worst quarter out. Improvement: how often a draw beats the reference's."
        " Intervals are over draws and test groups.",
    )
    figures = (Gallery((Figure(svg, "Interquartile mean · labels a class"),)),) if svg is not None else ()
    return (Part("Robust averages", lead, (*figures, grid)),)
