"""``lowres forecast``: how far it will fall, before anything of the target is labelled."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowres.cli.flags import study_flags
from lowres.cli.talk import DownloadProgress, RunProgress, console, guarded, plain, put, say

if TYPE_CHECKING:
    from lowres.analysis.outlook import Outlook
    from lowres.report.tables import Table


@functools.partial(study_flags, skip=frozenset({"shots", "methods", "out"}))
@guarded
def forecast(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    target_texts: Annotated[
        Path | None,
        typer.Option(
            help="File of unlabelled texts in place of a target domain: plain lines (no pairs), JSON Lines, CSV, TSV or Parquet.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the forecast as JSON.", show_default=False)] = False,
) -> None:
    """Say what a model of the source will score in the target, without any target label.

    Trains source-only on the source (kept in the store, like a run) and asks it on the target's texts.
    """
    from lowres.errors import UserError
    from lowres.library import Study
    from lowres.study.config import build_config

    config = build_config(given, file=file, sets=sets)
    if target_texts is not None and config.target:
        raise UserError("--target and --target-texts are both given", expected="one of them")
    study = Study(config=config, downloads=DownloadProgress())
    for line in study.task.notes:
        say(line)
    pair = study.task.spec.columns.pair
    columns = [config.text_column or "text"] if pair is None else [study.task.spec.columns.text, pair]
    texts = _read(target_texts, columns) if target_texts is not None else None
    name = target_texts.stem if target_texts else "texts"
    with RunProgress(study.fits_ahead(texts, name)) as progress:
        found = study.forecast(texts, name, progress)
    if json:
        put(found.to_json())
        return
    _show(found)


def _read(path: Path, columns: Sequence[str]) -> list[str]:
    from lowres.data.texts import read_texts

    with ExitStack() as files:
        items = list(read_texts(str(path), "auto", columns, files))
    bad = [str(number) for number, _, fault in items if fault is not None]
    if bad:
        say(
            f"left out, could not be read: {len(bad)} of {len(items)} rows ({', '.join(bad[:5])}{', …' * (len(bad) > 5)})"
        )
    return [text for _, text, fault in items if fault is None]


def _show(found: Outlook) -> None:
    from lowres.report.terminal import put_table

    screen = console()
    for table in (*_forecasts(found), _distances(found)):
        put_table(table, screen)
        put("")
    for line in found.says:
        put(plain(line))


def _forecasts(found: Outlook) -> list[Table]:
    """One table a metric: a row a pair, a column a rule; beside accuracy the measured one in the source."""
    from lowres.report.tables import Table, estimate, metric_name

    inside = {one.source: one.accuracy for one in found.inside}
    said = {(one.source, one.target, one.metric, one.rule): one.predicted for one in found.forecasts}
    pairs = dict.fromkeys((source, target) for source, target, _, _ in said)
    made = []
    for metric in dict.fromkeys(metric for *_, metric, _ in said):
        rules = list(dict.fromkeys(rule for *_, name, rule in said if name == metric))
        own = metric == "accuracy"
        rows = tuple(
            (
                f"{source} → {target}",
                *([estimate(inside[source], digits=2)] if own else []),
                *(estimate(said.get((source, target, metric, rule)), digits=2) for rule in rules),
            )
            for source, target in pairs
        )
        title = f"Forecast of {metric_name(metric)}"
        made.append(Table(title, (title, *(["in source"] if own else []), *rules), rows))
    return made


def _distances(found: Outlook) -> Table:
    from lowres.report.tables import Table, percent

    rows = tuple(
        (
            f"{one.source} → {one.target}",
            f"{one.proxy_a:.2f}",
            f"{one.words:.2f}",
            percent(one.unseen),
            f"{one.length:.2f}",
        )
        for one in found.distances
    )
    header = ("How far apart", "told apart (0-2)", "words (0-1)", "unseen words", "length ratio")
    return Table("How far apart", header, rows)
