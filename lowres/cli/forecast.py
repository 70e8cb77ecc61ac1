"""``lowres forecast``: how far it will fall, before anything of the target is labelled."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowres.cli.flags import study_flags
from lowres.cli.talk import DownloadProgress, RunProgress, console, guarded, plain, put, say

if TYPE_CHECKING:
    from rich.table import Table

    from lowres.analysis.outlook import Outlook
    from lowres.analysis.summary import Estimate


@functools.partial(study_flags, skip=frozenset({"shots", "methods", "out"}))
@guarded
def forecast(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    target_texts: Annotated[
        Path | None,
        typer.Option(
            help="File of unlabelled texts in place of a target domain: plain lines, JSON Lines, CSV, TSV or Parquet.",
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
    texts: list[str] | None = None
    if target_texts is not None:
        if config.target:
            raise UserError("--target and --target-texts are both given", expected="one of them")
        texts = _read(target_texts, config.text_column or "text")
    study = Study(config=config, downloads=DownloadProgress())
    for line in study.task.notes:
        say(line)
    name = target_texts.stem if target_texts else "texts"
    with RunProgress(study.fits_ahead(texts, name)) as progress:
        found = study.forecast(texts, name, progress)
    if json:
        put(found.to_json())
        return
    _show(found)


def _read(path: Path, column: str) -> list[str]:
    from lowres.data.texts import read_texts

    with ExitStack() as files:
        items = list(read_texts(str(path), "auto", column, files))
    bad = [str(number) for number, _, fault in items if fault is not None]
    if bad:
        say(
            f"left out, could not be read: {len(bad)} of {len(items)} rows ({', '.join(bad[:5])}{', …' * (len(bad) > 5)})"
        )
    return [text for _, text, fault in items if fault is None]


def _show(found: Outlook) -> None:
    screen = console()
    screen.print(_forecasts(found))
    put("")
    screen.print(_distances(found))
    put("")
    for line in found.says:
        put(plain(line))


def _forecasts(found: Outlook) -> Table:
    """One row a pair, one column a rule."""
    from rich.table import Table
    from rich.text import Text

    inside = {one.source: one.accuracy for one in found.inside}
    columns = list(dict.fromkeys((one.rule, one.metric) for one in found.forecasts))
    table = Table("Forecast of the score", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("in source", *(rule if metric == "accuracy" else metric for rule, metric in columns)):
        table.add_column(heading, justify="right")
    for source, target in dict.fromkeys((one.source, one.target) for one in found.forecasts):
        said = {
            (one.rule, one.metric): one.predicted
            for one in found.forecasts
            if (one.source, one.target) == (source, target)
        }
        cells = [_cell(inside[source]), *(_cell(said.get(column)) for column in columns)]
        table.add_row(Text(plain(f"{source} → {target}")), *cells)
    return table


def _cell(value: Estimate | None) -> str:
    from lowres.report.tables import estimate

    return estimate(value, digits=2).replace(" ", "\n", 1)


def _distances(found: Outlook) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("How far apart", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("told apart (0-2)", "words (0-1)", "unseen words", "length ratio"):
        table.add_column(heading, justify="right")
    for one in found.distances:
        values = (f"{one.proxy_a:.2f}", f"{one.words:.2f}", f"{one.unseen:.0%}", f"{one.length:.2f}")
        table.add_row(Text(plain(f"{one.source} → {one.target}")), *values)
    return table
