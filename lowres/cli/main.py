"""The command line. Importing it imports no torch; commands import what they need."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lowres import __version__
from lowres.cli import catalogue, predict, run, store
from lowres.cli.talk import INTERRUPTED

app = typer.Typer(
    name="lowres",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measures how far small encoders fall under domain shift, and what wins it back.",
)
app.command()(run.run)
app.command()(run.plan)
app.command()(run.report)
app.command()(predict.predict)
app.add_typer(catalogue.tasks, name="tasks", help="Tasks: labelled texts with domains.")
app.add_typer(catalogue.models, name="models", help="Backbones: pretrained encoders.")
app.add_typer(catalogue.methods, name="methods", help="Methods: recipes made of fits.")
app.add_typer(store.store, name="store", help="The store: every fit and prediction, kept.")


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
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
