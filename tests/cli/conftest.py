"""Commands called in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from lowres.cli.main import app

QUICK = [
    "--set",
    "recipe.min_steps=8",
    "--set",
    "recipe.epochs=1",
    "--set",
    "recipe.max_length=24",
    "--precision",
    "fp32",
]
"""A training of seconds."""


def call(*words: object) -> Result:
    """``lowres`` with these words, to its end."""
    return CliRunner().invoke(app, [str(word) for word in words])
