"""The command line. Importing it imports no torch; commands import what they need."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from lowres import __version__
from lowres.cli import (
    catalogue,
    complete,
    compress,
    doctor,
    explain,
    export,
    forecast,
    model,
    patch,
    predict,
    run,
    store,
    tasks,
    tune,
)
from lowres.cli.talk import INTERRUPTED, say
from lowres.cli.usage import Commands

app = typer.Typer(
    name="lowres",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measures how far small encoders fall under domain shift, and what wins it back.",
)
app.command()(run.run)
app.command()(run.plan)
app.command()(run.report)
app.command()(forecast.forecast)
app.command()(tune.tune)
app.command()(model.fit)
app.command()(model.evaluate)
app.command()(predict.predict)
app.command()(compress.compress)
app.command()(patch.patch)
app.command()(explain.explain)
app.command()(export.export)
app.command()(doctor.doctor)
app.add_typer(tasks.tasks, name="tasks", help="Tasks: labelled texts with domains.")
app.add_typer(catalogue.models, name="models", help="Backbones: pretrained encoders.")
app.add_typer(catalogue.methods, name="methods", help="Methods: recipes made of fits.")
app.add_typer(store.store, name="store", help="The store: every fit and prediction, kept.")
complete.complete(app)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"lowres {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Measures how far small encoders fall under domain shift, and what wins it back."""


def main() -> None:
    """Entry point of the console script and of ``python -m lowres``."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except KeyboardInterrupt:
        _leave()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _leave()
        raise


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C. An error raised while torch starts would abort inside its libraries, so there it ends at once: nothing is trained yet."""
    if getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", False):
        say("interrupted while it was starting; nothing was being trained yet")
        _leave()
    raise KeyboardInterrupt


def _leave() -> NoReturn:
    """Ends at once: taking down torch can take longer than a person who pressed Ctrl-C waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)
