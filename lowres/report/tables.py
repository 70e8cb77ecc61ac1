"""The tables and sentences of a report, as plain data. Nothing is computed here; terminal, Markdown and HTML share them."""

from __future__ import annotations

from dataclasses import dataclass

from lowres.analysis.summary import Estimate, Score, Summary, Transfer, Verdict
from lowres.errors import clean as clean

MISSING = "–"
READING = (
    "Source drop: score in the source minus score in the target, of one model trained on the source. Target drop: what a"
    " model trained on as many target rows scores above it, in the target. Scenario, by the two mean drops: classic, both"
    " above 0; observed, source drop only; unobserved, target drop only. Recovery: the share of the target drop that a"
    " method wins back."
)


@dataclass(frozen=True)
class Table:
    """Cells as text, clean of what could steer a terminal; the first column is left-aligned, the others right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

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
        *(_pair(summary, source, target) for source, target in _pairs(summary)),
        *_overall(summary),
    ]


def verdicts(summary: Summary) -> list[str]:
    """One line a pair and budget: what the verdict on ``source-then-target`` says, in words.

    Without that method the first other one that uses the source and was compared speaks.
    """
    compared = [one.method for one in summary.transfer if one.net_transfer is not None]
    method = "source-then-target" if "source-then-target" in compared else next(iter(compared), None)
    return [
        clean(
            f"{verdict.source} → {verdict.target}, {verdict.shots} labels a class"
            + (f", {method}: " if method != "source-then-target" else ": ")
            + _verdict(verdict, _transfer(summary, method, verdict.source, verdict.target, verdict.shots))
        )
        for verdict in summary.verdicts
        if verdict.source is not None and verdict.target is not None and verdict.method == method and verdict.shots
    ]


def heading(summary: Summary) -> str:
    """One line: what was studied."""
    study = summary.study
    return clean(
        f"{study.task} v{study.task_version} · {study.backbone} · {study.metric} · {study.seeds} draws"
        f" · row cap {study.row_cap}" + (f" · at most {study.limit} test rows a domain" if study.limit else "")
    )


def number(value: float, digits: int = 3) -> str:
    """A score without its leading zero: ``.807``, ``−.012``, ``1.000``."""
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def estimate(found: Estimate | Score | None, digits: int = 3) -> str:
    """``.089 [.061, .118]``."""
    if found is None:
        return MISSING
    return f"{number(found.mean)} [{number(found.low, digits)}, {number(found.high, digits)}]"


def percent(found: Estimate | None) -> str:
    """``51 % [35, 68]``."""
    if found is None:
        return MISSING
    text = f"{100 * found.mean:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return text.replace("-", "−")


def _pairs(summary: Summary) -> list[tuple[str, str]]:
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
            one.scenario or MISSING,
        )
        for one in summary.shift
    )
    header = ("How far it falls", "in source", "in target", "source drop", "target drop", "scenario")
    return Table("How far it falls", header, rows)


def _pair(summary: Summary, source: str, target: str) -> Table:
    budgets = sorted({0, *summary.study.shots})
    most = max(budgets)
    header = (
        f"{source} → {target}",
        *(f"{shots} a class" if shots else "0 shots" for shots in budgets),
        f"recovery at {most}",
    )
    rows = []
    for method in summary.study.methods:
        if method == "target-full":
            continue
        scores = [
            _score(summary, method, source, target, shots) or _score(summary, method, None, target, shots)
            for shots in budgets
        ]
        transfer = _transfer(summary, method, source, target, most)
        if any(scores):
            cells = (estimate(score, digits=2) for score in scores)
            rows.append((method, *cells, percent(transfer.recovery) if transfer else MISSING))
    ceiling = _score(summary, "target-full", None, target, None)
    reasons = {one.recovery_reason for one in summary.transfer if (one.source, one.target) == (source, target)} - {None}
    note = f"ceiling (target-full, {summary.study.row_cap} rows): {estimate(ceiling, digits=2)}" if ceiling else ""
    if reasons:
        note += f"\nno recovery: {sorted(str(reason) for reason in reasons)[0]}"
    return Table(f"What wins it back: {source} → {target}", header, tuple(rows), note)


def _overall(summary: Summary) -> list[Table]:
    if len(_pairs(summary)) < 2:
        return []
    rows = tuple(
        (
            f"{one.method} · {one.shots}",
            estimate(one.score, digits=2),
            estimate(one.net_transfer, digits=2),
            percent(one.recovery) if one.method != "source-only" else MISSING,
            f"{number(one.worst_pair.mean)} {one.worst_pair.source} → {one.worst_pair.target}",
        )
        for one in summary.overall
    )
    return [
        Table("Over all pairs", ("Over all pairs · shots", "score", "net transfer", "recovery", "worst pair"), rows)
    ]


def _transfer(summary: Summary, method: str, source: str, target: str, shots: int) -> Transfer | None:
    wanted = (method, source, target, shots)
    return next((one for one in summary.transfer if (one.method, one.source, one.target, one.shots) == wanted), None)


def _verdict(verdict: Verdict, transfer: Transfer | None) -> str:
    labels = transfer.labels_saved if transfer else None
    points = f"{100 * abs(verdict.difference.mean):.1f} points"
    if verdict.verdict == "better":
        return f"the source adds {points}" + (f", worth {labels.mean:.0f} target labels alone" if labels else "")
    if verdict.verdict == "worse":
        return f"the source costs {points}; leave it out"
    if verdict.minimum_detectable == 0 and verdict.difference.mean == 0:
        return "the same score in every test group"
    if abs(verdict.difference.mean) >= verdict.minimum_detectable:
        more = "more" if verdict.difference.mean > 0 else "less"
        return f"{points} {more} than {verdict.against}, but not shown with so few draws and several methods compared"
    return f"no difference to {verdict.against} shown (could have seen {100 * verdict.minimum_detectable:.1f} points)"
