"""``lowres tune``: which settings, and of several methods which one, before any target row beyond the shots is looked at."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowres.cli.flags import listed, study_flags
from lowres.cli.talk import DownloadProgress, RunProgress, console, guarded, plain, put, say

if TYPE_CHECKING:
    from lowres.tuning.result import Tuned
    from lowres.tuning.search import Searched

SHOWN = 10
"""Trials of the table, and warnings, at the most."""
SHOTS = 8
"""Where neither a flag nor a file says a budget."""


@functools.partial(study_flags, skip=frozenset({"shots", "methods", "limit", "out", "force"}))
@guarded
def tune(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    method: Annotated[
        str | None,
        typer.Option(
            help="Method to tune; several, separated by commas, are compared as well (lowres methods ls).",
            show_default=False,
        ),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(help=f"Labelled target rows per class. Default: {SHOTS}.", show_default=False),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="What a trial is scored on. source-dev: dev rows of the source; few-shot: cross-validation over the"
            " target shots. Default: few-shot, at 0 shots source-dev.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(help="Trials in all; the first is the default recipe, of several methods one each.")
    ] = 24,
    wave: Annotated[int, typer.Option(help="Trials that are proposed, and trained together, at once.")] = 8,
    folds: Annotated[int, typer.Option(help="Folds of the few-shot cross-validation; at most one a shot.")] = 4,
    over: Annotated[
        str | None,
        typer.Option(
            help="Settings to search, separated by commas, such as recipe.learning_rate,lora.rank. Default: all that"
            " the method feels.",
            show_default=False,
        ),
    ] = None,
    dev_rows: Annotated[
        int | None, typer.Option(help="At most so many dev rows a source, for source-dev.", show_default=False)
    ] = None,
    study_db: Annotated[
        str | None,
        typer.Option(help="SQLite file that keeps the search. Default: tune.db beside the store.", show_default=False),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="YAML file for the chosen config; all trials beside it as JSON. Default: runs/TASK-tuned-HASH.yaml.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all trials as JSON.", show_default=False)] = False,
) -> None:
    """Search learning rates, rank, steps and method settings without a look at the target's dev and test rows.

    A wave of trials is trained as one; fits and trials are kept, and the same command goes on from there.
    """
    from lowres.errors import UserError
    from lowres.library import Study
    from lowres.study.config import build_config

    if method is None and file is None and not any(text.startswith("methods=") for text in sets):
        raise UserError("no method to tune", expected="--method NAME", hint="lowres methods ls")
    if method is not None:
        given["methods"] = method
    if shots is not None or (file is None and not any(text.startswith("shots=") for text in sets)):
        given["shots"] = str(SHOTS if shots is None else shots)
    settings = listed(over, "--over")
    study = Study(config=build_config(given, file=file, sets=sets), downloads=DownloadProgress())
    for line in study.task.notes:
        say(line)
    with RunProgress(None) as progress:
        found = study.tune(
            by=by, trials=trials, wave=wave, folds=folds, over=settings, dev_rows=dev_rows, study_db=study_db, out=out,
            progress=progress, told=lambda done: _say_wave(done, trials),
        )  # fmt: skip
    for warning in found.warnings[:SHOWN]:
        say(f"warning: {warning}")
    if len(found.warnings) > SHOWN:
        say(f"… and {len(found.warnings) - SHOWN} more warnings in {_beside(found)}")
    if json:
        put(found.to_json())
    else:
        _show(found)
    if any(trial.failed for trial in found.trials):
        raise typer.Exit(1)


def _say_wave(done: Searched, trials: int) -> None:
    best = done.best
    say(
        f"{len(done.trials)}/{trials} trials · best {best.mean:.3f} (trial {best.number}) · {done.trained} fits trained"
    )


def _show(found: Tuned) -> None:
    """The best trials, the default among them, and the sentence."""
    from rich.table import Table
    from rich.text import Text

    ranked = sorted(found.trials, key=lambda one: (one.score is None, -(one.score or 0), one.number))
    shown = ranked[:SHOWN] + [one for one in ranked[SHOWN:] if one.number == 0]
    table = Table("Trial", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(found.metric, justify="right")
    table.add_column("method")
    table.add_column("settings")
    for one in shown:
        score = "failed" if one.score is None else f"{one.score:.3f}"
        chosen = " ".join(f"{path.removeprefix('recipe.')}={value:g}" for path, value in one.settings.items())
        mark = "*" if one.number == found.chosen else ""
        table.add_row(f"{one.number}{mark}", score, Text(plain(one.method)), Text(plain(chosen)))
    console().print(table)
    if len(shown) < len(found.trials):
        put(f"… and {len(found.trials) - len(shown)} more in {_beside(found)}")
    put(plain(found.says))
    put(f"{found.config} is ready for `lowres run --config`; every trial: {_beside(found)}")


def _beside(found: Tuned) -> str:
    from pathlib import Path

    return str(Path(found.config or "").with_suffix(".json"))
