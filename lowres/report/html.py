"""The report as one HTML file: no network, no library, a strict policy, everything from data escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lowres.analysis.evidence import Evidence
from lowres.analysis.summary import Summary
from lowres.errors import clean
from lowres.report import acted, diagnosis, outlook, transfer, trust
from lowres.report.blocks import Cell, Column, Grid, Part, Records, Section, count, span, words
from lowres.report.markdown import HOW
from lowres.report.policy import file, policy
from lowres.report.sentences import behind, falling_behind, sentences, verdicts
from lowres.report.study import Study
from lowres.report.tables import MISSING, heading, number, reading

KEY_DIGITS = 12
"""Of a fit's key, enough to find its folder in the store."""


def render(summary: Summary, evidence: Evidence | None = None, records: Iterable[Mapping[str, Any]] = ()) -> str:
    """A whole page.

    Args:
        summary: The study in numbers.
        evidence: What it shows beyond them; None for a run folder that has none.
        records: Lines of ``cells.jsonl``, to which the numbers of the page are linked.
    """
    every = list(records)
    study = Study(summary, Records(every))
    fallen = behind(falling_behind(summary, every))
    return page(
        heading(summary),
        [study.parted(line) for line in sentences(summary, evidence)],
        list(_sections(study, evidence or Evidence())),
        summary.lowres,
        fallen=f"{fallen[:1].upper()}{fallen[1:]}." if fallen else "",
        verdicts=[study.parted(line) for line in verdicts(summary)],
    )


def page(
    title: str,
    said: Sequence[Markup | str],
    sections: Sequence[Section],
    version: str,
    *,
    subject: str = "How far it falls, and what wins it back",
    fallen: str = "",
    verdicts: Sequence[Markup | str] = (),
) -> str:
    """A page of sections.

    Args:
        title: What it is about: the title of the window, and a line below the subject.
        said: Sentences at its top.
        sections: In their order.
        version: Of lowres, that made the numbers.
        subject: The question that it answers, its heading.
        fallen: A warning beside the sentences.
        verdicts: Sentences that are folded away below them.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False, cache_size=0)
    style, script = file("style.css"), file("script.js")
    return environment.from_string(file("page.html")).render(
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        heading=title,
        subject=subject,
        sentences=said,
        fallen=fallen,
        verdicts=verdicts,
        sections=sections,
        end=f"lowres {clean(version)}. This page holds all it shows and asks no network for anything.",
    )


def _sections(study: Study, evidence: Evidence) -> Iterator[Section]:
    """In the order of a reader's questions; what has nothing to show is left out."""
    found = (
        transfer.falls(study),
        transfer.wins(study),
        transfer.saved(study),
        transfer.over_all(study, evidence.aggregates),
        outlook.costs(study, evidence),
        outlook.laws(study, evidence),
        trust.trust(study, evidence),
        outlook.forecasts(study, evidence),
        outlook.choices(study, evidence),
        diagnosis.shifted(study, evidence),
        diagnosis.domain_map(study, evidence),
        acted.section(evidence),
        _warnings(study, evidence),
        _measured(study),
    )
    yield from (section for section in found if section is not None)


def _warnings(study: Study, evidence: Evidence) -> Section | None:
    lines = tuple(study.parted(clean(line)) for line in (*study.summary.warnings, *evidence.notes))
    return Section("warnings", "Warnings", lines, ()) if lines else None


def _measured(study: Study) -> Section:
    fits, seconds = study.summary.fits, study.summary.seconds
    lead = (
        reading(study.summary),
        HOW,
        f"{fits.cells} cells, {fits.distinct} distinct fits: {fits.trained} trained, {fits.reused} from the store,"
        f" {fits.failed} failed; {seconds.total:.0f} s in all, {seconds.train:.0f} s of them training. Row cap"
        f" {study.summary.study.row_cap}.",
    )
    return Section("measured", "How it was measured", lead, _records(study))


def _records(study: Study) -> tuple[Part, ...]:
    """One row a column: its score, what each draw scored, and the keys of the fits, where records are at hand."""
    columns = dict.fromkeys([*study.records.by_column, *study.scores])
    rows = tuple((*_coordinates(column), *_record(study, column)) for column in columns)
    metric = study.metric
    header = (
        "source", "target", "method", "labels a class", metric, "draws", "of each draw", "train rows", "test rows", "keys of the fits",
    )  # fmt: skip
    origin = (
        "summary.json, scores; cells.jsonl, the lines with this method, source, target and shots, draws rising. Keys are the"
        f" first {KEY_DIGITS} digits of folders in the store's fits/. Source –: the method uses none."
    )
    grid = Grid(
        "records",
        "All scores and their records",
        header,
        rows,
        origin,
        heads=3,
        words=frozenset({0, 1, 2, 6, 9}),
        marks=True,
    )
    lead = ("Scores on this page link to a row here: what each draw scored, and which fits made it.",)
    return (Part("Records", lead, (grid,)),) if rows else ()


def _coordinates(column: Column) -> tuple[Cell, ...]:
    method, source, target, shots = column
    return words(source), words(target), words(method), Cell("all") if shots is None else count(shots)


def _record(study: Study, column: Column) -> tuple[Cell, ...]:
    score = study.scores.get(column)
    found = sorted(study.records.by_column.get(column, []), key=lambda record: record["draw"])
    values = [record["metrics"].get(study.summary.study.metric) for record in found]
    each = " ".join(number(value) if isinstance(value, int | float) else MISSING for value in values)
    keys = " ".join(str(record["key"])[:KEY_DIGITS] for record in found)
    rows = [found[0].get(name) if found else None for name in ("train_rows", "test_rows")]
    return (
        span(score),
        count(score.seeds if score else len(found)),
        Cell(each or MISSING),
        *map(count, rows),
        words(keys),
    )
