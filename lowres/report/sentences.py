"""What a report says in words: the verdict in three sentences, and one line a target. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lowres.analysis.evidence import Evidence, Law, Outside, Reach
from lowres.analysis.summary import Estimate, Overall, Shift, Summary, Transfer, Verdict
from lowres.data.tokens import HEAD, HEAD_AND_TAIL, MOST_WINDOWS, WINDOWS
from lowres.errors import clean
from lowres.methods.catalogue import recommended
from lowres.report.tables import (
    asked_pairs,
    counted,
    cut,
    estimate,
    hundredths,
    metric_name,
    number,
    percent,
    share,
    transfer_of,
)
from lowres.study.config import safe_stem

LONGEST = 40
"""Characters of a name in a sentence."""
LEAST_CUT = 0.01
"""Share of texts that are cut from which on a domain is named."""


def sentences(summary: Summary, evidence: Evidence | None = None) -> list[str]:
    """How far it falls; what wins it back; how many labels are worth buying and which model is ready."""
    return [clean(line) for line in (_falls(summary), _wins(summary), _next(summary, evidence)) if line]


def verdicts(summary: Summary) -> list[str]:
    """One line a target, over its budgets: what the source adds to target labels alone, by ``spokesman``."""
    method = spokesman(summary)
    found: dict[str, dict[int, list[Verdict]]] = {}
    for one in summary.verdicts:
        if one.source is not None and one.target is not None and one.method == method and one.shots:
            found.setdefault(one.target, {}).setdefault(one.shots, []).append(one)
    whose = "" if method == "source-then-target" else f" ({method})"
    return [clean(f"{short(target)}{whose}: {_budgets(summary, budgets)}") for target, budgets in found.items()]


def reached(evidence: Evidence | None) -> list[str]:
    """One line a target and score: the method that gets there with the fewest labels a class, beside the others."""
    found: dict[tuple[str, str], list[Reach]] = {}
    for one in evidence.reaches if evidence else []:
        found.setdefault((one.wanted, one.target), []).append(one)
    return [clean(_reached(group)) for group in found.values()]


def falling_behind(summary: Summary, records: Iterable[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """Models in ``best/`` that scored below the one of their target without target labels: name, its score, the other's.

    One draw each, as handed over; scores are measured on the target's test rows and choose nothing.

    Args:
        summary: The study.
        records: Lines of ``cells.jsonl``.
    """
    study, first = summary.study, dict[str, str]()
    for source, target in asked_pairs(summary):
        first.setdefault(target, source)
    values = (
        ((one["method"], one["source"], one["target"], one["shots"]), one["metrics"].get(study.metric))
        for one in records
        if one["draw"] == 0
    )
    scored = {place: float(value) for place, value in values if isinstance(value, int | float)}
    found = list[tuple[str, float, float]]()
    for target in study.targets:
        start = None
        for shots in sorted(study.shots):
            method = recommended(study.methods, shots)
            alone = scored.get((method, None, target, shots))
            own = scored.get((method, first.get(target), target, shots), alone)
            if shots == 0:
                start = own
            elif own is not None and start is not None and own < start:
                found.append((f"{safe_stem(target)}-{shots}", own, start))
    return found


def behind(found: Sequence[tuple[str, float, float]]) -> str:
    """What is said of models that fell behind; empty where none did."""
    named = ", ".join(f"best/{name} {number(score)} (that one {number(start)})" for name, score, start in found)
    return f"scored below the model without target labels, in the one draw handed over: {named}" if found else ""


def _reached(group: list[Reach]) -> str:
    first = group[0]
    score = f"{short(first.target)}: {number(first.score)}"
    if first.wanted == "ceiling less a point":
        score += ", a point below the ceiling,"
    there = min((one for one in group if one.measured is not None), key=lambda one: one.measured or 0, default=None)
    by_law: dict[str, Reach] = {}
    for one in sorted((one for one in group if one.labels is not None), key=lambda one: one.labels or 0):
        by_law.setdefault(one.method, one)
    best, *others = by_law.values() if by_law else (None,)
    if there is not None and (best is None or (there.measured or 0) <= (best.labels or 0)):
        with_ = f"with {counted(there.measured)} labels a class" if there.measured else "without target labels"
        return f"{score} was reached {with_} by {_by(there)}"
    if best is None:
        reasons = list(dict.fromkeys(f"{_by(one)}: {one.reason}" for one in group))
        return f"{score} takes a number of labels that is not known ({'; '.join(_some(reasons, 2))})"
    more = "".join(f"; {counted(one.labels or 0)} by {_by(one)}" for one in others[:2])
    return f"{score} takes about {counted(best.labels or 0)} labels a class by {_by(best)} ({_within(best.low, best.high)}){more}"


def _by(one: Reach | Outside) -> str:
    return one.method + (f" from {short(one.source)}" if one.source is not None else "")


def _within(low: float | None, high: float | None) -> str:
    """A band of 90 % of a number of labels, open where the law says no more."""
    if low is not None and high is not None:
        return f"90 % band {counted(low)} to {counted(high)}"
    if low is not None:
        return f"90 % band from {counted(low)} upwards"
    return f"90 % band up to {counted(high)}" if high is not None else "90 % band open on both sides"


def told_apart(evidence: Evidence | None) -> list[str]:
    """One line a target: how well the method that does it best tells rows out of scope, and ``source-only``."""
    found: dict[str, list[Outside]] = {}
    for one in evidence.outside if evidence else []:
        if one.shots is not None and one.auroc is not None:
            found.setdefault(one.target, []).append(one)
    return [clean(_told_apart(group)) for group in found.values()]


def _told_apart(group: list[Outside]) -> str:
    ranked = sorted(group, key=lambda one: -one.auroc.mean if one.auroc else 0.0)
    best, start = ranked[0], next((one for one in ranked if one.method == "source-only"), None)
    said = f"AUROC {estimate(best.auroc)} by {_by(best)}"
    if best.shots:
        said += f" with {best.shots} labels a class"
    if start is not None and start is not best:
        said += f", {estimate(start.auroc)} by {_by(start)}"
    share_of = f"{percent(best.prevalence)} of the rows are out of scope"
    return f"{short(best.target)}: {said} ({share_of}, {percent(best.recall)} of them found at {percent(best.precision)} precision)"


def short(domain: str) -> str:
    """A domain's name as sentences use it."""
    return cut(clean(domain), LONGEST)


def too_long(shares: Mapping[str, float], longest: int, truncation: str = HEAD) -> str:
    """In which domains test texts are longer than a model reads, and how many of them.

    Args:
        shares: Of the test texts, by domain.
        longest: Tokens of a sequence.
        truncation: What is read of a text with more.
    """
    told = [f"{short(domain)} {percent(found)}" for domain, found in shares.items() if found >= LEAST_CUT]
    most = f"{MOST_WINDOWS} windows of {longest} tokens" if truncation == WINDOWS else f"{longest} tokens"
    return (
        f"cut at {most}{' from both ends' * (truncation == HEAD_AND_TAIL)}: {', '.join(told) or 'fewer than 1 % in every domain'}"
        + " of the test texts" * bool(told)
    )


def spokesman(summary: Summary) -> str | None:
    """The method that verdicts speak of: ``source-then-target``, else the first compared one that uses the source."""
    compared = [one.method for one in summary.transfer if one.net_transfer is not None]
    return "source-then-target" if "source-then-target" in compared else next(iter(compared), None)


def could_see(detectable: float) -> str:
    """The smallest difference that a comparison would most likely have shown."""
    return f"could have seen {points(detectable)}" if detectable <= 1.0 else "too few draws to see any"


def points(value: float) -> str:
    """A difference of scores in hundredths, without its sign."""
    return f"{100 * abs(value):.1f} points"


def bounds(found: Estimate) -> str:
    """An interval in hundredths."""
    return f"[{hundredths(found.low)}, {hundredths(found.high)}]"


def _budgets(summary: Summary, budgets: dict[int, list[Verdict]]) -> str:
    """What is said at each budget; what no difference is shown to, and from, is said once."""
    parts = list[str]()
    for shots, found in budgets.items():
        said = _said(summary, found)
        whole = f" to {found[0].against} shown" + (" from any source" if len(found) > 1 else "")
        if any(whole in part for part in parts):
            said = said.replace(whole, " shown")
        begin = f"at {shots}" if parts else f"with {shots} labels a class"
        parts.append(f"{begin}{',' * (len(found) > 1)} {said}")
    return "; ".join(parts)


def _said(summary: Summary, found: list[Verdict]) -> str:
    """The verdicts on one target and budget, one for each source."""
    if len(found) == 1:
        one = found[0]
        assert one.source is not None
        assert one.target is not None
        return _one(one, transfer_of(summary, one.method, one.source, one.target, one.shots))
    better = sorted((one for one in found if one.verdict == "better"), key=lambda one: -one.difference.mean)
    worse = sorted((one for one in found if one.verdict == "worse"), key=lambda one: one.difference.mean)
    parts = []
    if better:
        parts.append(f"{_how_many(better, found)} add{'s' * (len(better) == 1)}, {_most(better)}")
    if worse:
        parts.append(f"{_how_many(worse, found)} cost{'s' * (len(worse) == 1)}, {_most(worse)}")
    if not parts:
        seen = max(one.minimum_detectable for one in found)
        return f"no difference to {found[0].against} shown from any source ({could_see(seen)})"
    return ", ".join(parts)


def _how_many(some: list[Verdict], found: list[Verdict]) -> str:
    if len(some) < len(found):
        return f"{len(some)} of {len(found)} sources"
    return "both sources" if len(found) == 2 else f"all {len(found)} sources"


def _most(some: list[Verdict]) -> str:
    """The first one, with its difference."""
    return f"{'' if len(some) == 1 else 'most '}{short(some[0].source or '')} ({points(some[0].difference.mean)})"


def _one(verdict: Verdict, transfer: Transfer | None) -> str:
    labels = transfer.labels_saved if transfer else None
    if verdict.verdict == "better":
        worth = f", worth {counted(labels.mean)} target labels alone" if labels else ""
        return f"the source adds {points(verdict.difference.mean)}{worth}"
    if verdict.verdict == "worse":
        return f"the source costs {points(verdict.difference.mean)}; leave it out"
    if verdict.minimum_detectable == 0 and verdict.difference.mean == 0:
        return "the same score in every test group"
    if abs(verdict.difference.mean) >= verdict.minimum_detectable:
        more = "more" if verdict.difference.mean > 0 else "less"
        return (
            f"{points(verdict.difference.mean)} {more} than {verdict.against},"
            " but not shown with so few draws and several methods compared"
        )
    return f"no difference to {verdict.against} shown ({could_see(verdict.minimum_detectable)})"


def _falls(summary: Summary) -> str:
    """The first sentence."""
    if not summary.shift:
        return "How far it falls was not measured."
    worst = max(summary.shift, key=lambda one: one.source_drop.mean)
    drop, metric = worst.source_drop, metric_name(summary.study.metric)
    if len(summary.shift) == 1:
        return _single_fall(worst, metric)
    shown = sum(one.source_drop.low > 0 for one in summary.shift)
    tail = f"most from {short(worst.source)} to {short(worst.target)}: {points(drop.mean)} of {metric} {bounds(drop)}."
    if not shown:
        return f"On none of {len(summary.shift)} pairs is a fall shown; the mean falls {tail}"
    return f"The score falls on {shown} of {len(summary.shift)} pairs (95 % interval above 0), {tail}"


def _single_fall(one: Shift, metric: str) -> str:
    drop, way = one.source_drop, f"From {short(one.source)} to {short(one.target)}"
    if drop.low > 0:
        return f"{way} the score falls by {points(drop.mean)} of {metric} {bounds(drop)}."
    if drop.high < 0:
        return f"{way} the score does not fall but rises, by {points(drop.mean)} of {metric} {bounds(drop)}."
    return f"{way} no fall is shown: {hundredths(drop.mean)} points of {metric} {bounds(drop)}."


def _wins(summary: Summary) -> str:
    """The second sentence: the largest gain over the model that saw no target label."""
    overall = [one for one in summary.overall if one.shots and one.method != "source-only"]
    found: list[Overall] | list[Transfer] = overall or [one for one in summary.transfer if one.shots]
    best = max(found, key=lambda one: one.gain.mean, default=None)
    if best is None:
        return "What wins it back was not measured."
    many = isinstance(best, Overall)
    what = f"{best.method} with {best.shots} labels a class"
    over = " over the model without target labels" + (", on average over the pairs" if many else "")
    if best.gain.low <= 0:
        nearest = "gains most" if best.gain.mean > 0 else "comes nearest"
        much = f"{hundredths(best.gain.mean)} points {bounds(best.gain)}"
        return f"Nothing is shown to win it back: {what} {nearest}, {much}{over}."
    won = f"; that is {share(best.recovery)} of the target drop" if best.recovery else ""
    return f"What wins most back is {what}: {points(best.gain.mean)} {bounds(best.gain)}{over}{won}{_against(summary, best)}."


def _against(summary: Summary, best: Overall | Transfer) -> str:
    """How that compares with target labels alone."""
    place = (None, None) if isinstance(best, Overall) else (best.source, best.target)
    for one in summary.verdicts:
        if (one.method, one.shots, one.source, one.target) == (best.method, best.shots, *place):
            if one.verdict == "no difference shown":
                return f"; no difference to {one.against} shown ({could_see(one.minimum_detectable)})"
            side = "more" if one.verdict == "better" else "less"
            return f"; {points(one.difference.mean)} {side} than {one.against}"
    return ""


def _next(summary: Summary, evidence: Evidence | None) -> str:
    """The third sentence."""
    parts = [_enough(summary, evidence.laws if evidence else []), _ready(summary)]
    text = "; ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] + "." if text else ""


def _enough(summary: Summary, laws: list[Law]) -> str:
    """Where labels stop paying, for the recommended method or target labels alone, over all pairs before any of them."""
    method = recommended(summary.study.methods, max(summary.study.shots, default=0))
    fitted = [one for one in laws if one.against == "labels" and one.method in (method, "target-only")]
    order = sorted(fitted, key=lambda one: (one.reason is not None, one.target is not None, one.method != method))
    law = next(iter(order), None)
    if law is not None and law.reason is None:
        where = "" if law.target is None else f" for {short(law.target)}"
        if law.pays_until is None:
            largest = max(point.x for point in law.points)
            return f"{counted(largest)} target labels are not yet where twice as many bring {law.method} less than one point{where}"
        band = f" ({_within(*law.pays_band)})" if law.pays_band else ""
        return f"beyond about {counted(law.pays_until)} target labels{band}, twice as many bring {law.method} less than one point{where}"
    if law is not None and law.reason:
        return f"how many labels are worth buying is not said ({law.reason})"
    saved = [one for one in summary.transfer if one.labels_saved is not None and one.method == spokesman(summary)]
    most = max(saved, key=lambda one: one.labels_saved.mean if one.labels_saved else 0, default=None)
    if most is None or most.labels_saved is None:
        return ""
    return (
        f"the source is worth the most from {short(most.source)} to {short(most.target)}: {most.method} with {most.shots} labels a class"
        f" does what {counted(most.labels_saved.mean)} target labels alone would"
    )


def _ready(summary: Summary) -> str:
    """Which models the run folder holds."""
    shots = max(summary.study.shots, default=0)
    method = recommended(summary.study.methods, shots)
    if method is None:
        return ""
    scored = {one.target for one in summary.scores if (one.method, one.shots) == (method, shots)}
    targets = _some([short(name) for name in summary.study.targets if name in scored])
    made = ", ".join(targets)
    return f"ready for use in best/: {method} at {shots} labels a class for {made}" if made else ""


def _some(names: list[str], most: int = 4) -> Iterator[str]:
    yield from names[:most]
    if len(names) > most:
        yield f"{len(names) - most} more"
