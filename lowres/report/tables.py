"""The tables and sentences of a report, as plain data. Nothing is computed here; terminal, Markdown and HTML share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lowres.analysis.summary import Estimate, Score, Shift, Summary, Transfer
from lowres.errors import clean as clean
from lowres.study.protocol import LEAVE_ONE_OUT

MISSING = "–"
Tone = Literal["good", "bad"]
READING = (
    "Source drop: score in the source minus score in the target, of one model trained on the source. Target drop: what a"
    " model trained on as many target rows scores above it, in the target. Scenario, by the two mean drops: classic, both"
    " above 0; observed, source drop only; unobserved, target drop only; in brackets where the interval of a drop holds 0,"
    " so that it is not shown. Recovery: the share of the target drop that a method wins back."
)
TOGETHER = (
    " Each target is learnt from all other sources together, as many rows in all as one source would have; the score in the"
    " source is the mean over them."
)


@dataclass(frozen=True)
class Table:
    """Cells as text, clean of what could steer a terminal; the first column is left-aligned, the others right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    tones: Mapping[tuple[int, int], Tone] = field(default_factory=dict)
    """What is shown to be good or bad, by row and column."""

    def __post_init__(self) -> None:
        cleaned = {
            "title": clean(self.title),
            "header": tuple(map(clean, self.header)),
            "rows": tuple(tuple(map(clean, row)) for row in self.rows),
            "note": clean(self.note, keep="\n"),
        }
        for name, value in cleaned.items():
            object.__setattr__(self, name, value)


def tables(summary: Summary) -> list[Table]:
    """Drops first, then one table a pair, then all pairs together."""
    return [
        _drops(summary),
        *(_pair(summary, source, target) for source, target in asked_pairs(summary)),
        *_overall(summary),
    ]


def reading(summary: Summary) -> str:
    """How to read the tables."""
    return READING + TOGETHER if is_together(summary) else READING


def is_together(summary: Summary) -> bool:
    """Whether each target was learnt from all other sources together."""
    return summary.study.protocol == LEAVE_ONE_OUT


def heading(summary: Summary) -> str:
    """One line: what was studied."""
    study = summary.study
    return clean(
        f"{study.task} v{study.task_version} · {study.backbone} · {metric_name(study.metric)} · {study.seeds} draws"
        f" · row cap {study.row_cap}"
        + (f" · {study.protocol}" if is_together(summary) else "")
        + (f" · at most {study.limit} test rows a domain" if study.limit else "")
    )


def cut(text: str, longest: int) -> str:
    """The text, with an ellipsis where it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def metric_name(metric: str) -> str:
    """A metric as people write it: ``macro-F1``."""
    return metric.replace("_f1", "-F1").replace("_", " ")


def number(value: float, digits: int = 3) -> str:
    """A score without its leading zero: ``.807``, ``−.012``, ``1.000``."""
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def hundredths(value: float) -> str:
    """A difference of scores in points: ``2.4``, ``−0.5``."""
    text = f"{abs(100 * value):.1f}"
    return f"−{text}" if value < 0 and float(text) else text


def estimate(found: Estimate | Score | None, digits: int = 3) -> str:
    """``.089 [.061, .118]``."""
    if found is None:
        return MISSING
    return f"{number(found.mean)} [{number(found.low, digits)}, {number(found.high, digits)}]"


def whole(found: Estimate | None) -> str:
    """A count: ``48 [16, 72]``."""
    if found is None:
        return MISSING
    return f"{counted(found.mean)} [{counted(found.low)}, {counted(found.high)}]"


def counted(value: float, digits: int = 0) -> str:
    """A count with thousands: ``1,024``."""
    return f"{value:,.{digits}f}".replace("-", "−")


def percent(value: float, digits: int = 0) -> str:
    """A share of one in percent: ``51 %``."""
    return f"{100 * value:.{digits}f} %".replace("-", "−")


def share(found: Estimate | None) -> str:
    """``51 % [35, 68]``."""
    if found is None:
        return MISSING
    low, high = (percent(end).removesuffix(" %") for end in (found.low, found.high))
    return f"{percent(found.mean)} [{low}, {high}]"


def measured_pairs(summary: Summary) -> list[tuple[str, str]]:
    """(source, target) with a drop or anything won back."""
    found = [(one.source, one.target) for one in summary.shift]
    found += [(one.source, one.target) for one in summary.transfer]
    return list(dict.fromkeys(found))


def asked_pairs(summary: Summary) -> list[tuple[str, str]]:
    """(source, target) of the study, as they were asked for; of sets of sources those that were measured."""
    if is_together(summary):
        return measured_pairs(summary)
    return [
        (source, target) for source in summary.study.sources for target in summary.study.targets if source != target
    ]


def _score(summary: Summary, method: str, source: str | None, target: str, shots: int | None) -> Score | None:
    wanted = (method, source, target, shots)
    return next((one for one in summary.scores if (one.method, one.source, one.target, one.shots) == wanted), None)


def _mean(score: Score | None) -> str:
    return number(score.mean) if score else MISSING


def _drops(summary: Summary) -> Table:
    rows = tuple(
        (
            f"{one.source} → {one.target}",
            _mean(_score(summary, "source-only", one.source, one.source, 0)),
            _mean(_score(summary, "source-only", one.source, one.target, 0)),
            estimate(one.source_drop),
            estimate(one.target_drop),
            scenario(one),
        )
        for one in summary.shift
    )
    header = ("How far it falls", "source", "target", "source drop", "target drop", "scenario")
    drops = [(one.source_drop, one.target_drop) for one in summary.shift]
    return Table("How far it falls", header, rows, tones=_tones(drops, 3, above="bad"))


def scenario(one: Shift) -> str:
    """In brackets where it rests on a drop that is not shown to be above or below 0."""
    drops = (one.source_drop, one.target_drop)
    shown = all(drop is not None and (drop.low > 0 or drop.high < 0) for drop in drops)
    return (one.scenario if shown else f"({one.scenario})") if one.scenario else MISSING


def _pair(summary: Summary, source: str, target: str) -> Table:
    budgets = sorted({0, *summary.study.shots})
    most = max(budgets)
    header = (
        f"{source} → {target}",
        *(f"{shots} a class" if shots else "0 shots" for shots in budgets),
        f"recovery at {most}",
    )
    rows = list[tuple[str, ...]]()
    for method in summary.study.methods:
        if method == "target-full":
            continue
        scores = [
            _score(summary, method, source, target, shots) or _score(summary, method, None, target, shots)
            for shots in budgets
        ]
        transfer = transfer_of(summary, method, source, target, most)
        if any(scores):
            cells = (estimate(score, digits=2) for score in scores)
            rows.append((method, *cells, share(transfer.recovery) if transfer else MISSING))
    ceiling = _score(summary, "target-full", None, target, None)
    reasons = {one.recovery_reason for one in summary.transfer if (one.source, one.target) == (source, target)} - {None}
    note = f"ceiling (target-full, {summary.study.row_cap} rows): {estimate(ceiling, digits=2)}" if ceiling else ""
    if reasons:
        note += f"\nno recovery: {sorted(str(reason) for reason in reasons)[0]}"
    if all(row[-1] == MISSING for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Table(f"What wins it back: {source} → {target}", header, tuple(rows), note)


def _overall(summary: Summary) -> list[Table]:
    if len(asked_pairs(summary)) < 2:
        return []
    rows = tuple(
        (
            f"{one.method} · {one.shots}",
            estimate(one.score, digits=2),
            estimate(one.net_transfer, digits=2),
            share(one.recovery) if one.method != "source-only" else MISSING,
            f"{number(one.worst_pair.mean)} {one.worst_pair.source} → {one.worst_pair.target}",
        )
        for one in summary.overall
    )
    header = ("Over all pairs · shots", "score", "net transfer", "recovery", "worst pair")
    tones = _tones([(one.net_transfer,) for one in summary.overall], 2, above="good")
    return [Table("Over all pairs", header, rows, tones=tones)]


def _tones(found: Sequence[tuple[Estimate | None, ...]], begin: int, above: Tone) -> dict[tuple[int, int], Tone]:
    """Tones of estimates whose interval excludes 0, from column ``begin`` on."""
    below: Tone = "good" if above == "bad" else "bad"
    return {
        (row, begin + place): above if one.low > 0 else below
        for row, estimates in enumerate(found)
        for place, one in enumerate(estimates)
        if one is not None and (one.low > 0 or one.high < 0)
    }


def transfer_of(summary: Summary, method: str | None, source: str, target: str, shots: int) -> Transfer | None:
    """What a method wins on a pair; None where that was not measured."""
    wanted = (method, source, target, shots)
    return next((one for one in summary.transfer if (one.method, one.source, one.target, one.shots) == wanted), None)
