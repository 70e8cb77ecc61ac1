"""A plan of a thousand fits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = (
    "import json, resource, sys\n"
    "from typer.testing import CliRunner\n"
    "from lowres.cli.main import app\n"
    "done = CliRunner().invoke(app, sys.argv[1:])\n"
    "assert done.exit_code == 0, done.output\n"
    "print(json.dumps([json.loads(done.stdout)['fits'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))\n"
)


def peak(draws: int, table: Path, encoder: Path, place: Path) -> tuple[dict[str, int], float]:
    """Counts of fits and peak memory in MB of a study in a process of its own."""
    words = [
        "run", table, "--backbone", encoder, "--source", "shop", "--target", "film,chat", "--shots", "0,1,2", "--seeds",
        draws, "--limit", "10", "--source-rows", "20", "--precision", "fp32", "--set=recipe.min_steps=2",
        "--set=recipe.epochs=0.01", "--set=recipe.max_length=24", "--store", place / "store", "--out", place / "out", "--json",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    counts, megabytes = json.loads(done.stdout.splitlines()[-1])
    return counts, megabytes


@pytest.mark.slow
def test_a_thousand_fits_need_no_more_memory_than_a_hundred(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    few, small = peak(10, toy_table, encoder, tmp_path / "few")
    many, large = peak(100, toy_table, encoder, tmp_path / "many")
    print(f"{few['distinct']} fits: {small:.0f} MB, {many['distinct']} fits: {large:.0f} MB")  # noqa: T201
    assert many["trained"] == many["distinct"] >= 1000
    assert large < small + 100
