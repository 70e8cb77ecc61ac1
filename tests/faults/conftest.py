"""A small study run as a real command that can be stopped, and what has to be the same after it went on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HEARING

SETTINGS = (
    "recipe.min_steps=12", "recipe.epochs=1", "recipe.max_length=24", "recipe.learning_rate=5e-3",
    "recipe.head_learning_rate=5e-2",
)  # fmt: skip
SAME = ("scores", "shift", "transfer", "overall", "verdicts")


@dataclass(frozen=True)
class Command:
    """``lowres run`` on the toy table, with its own store and results below one folder."""

    folder: Path
    arguments: tuple[str, ...]
    launcher: tuple[str, ...] = ("-c", HEARING)

    def start(self, *more: str, store: Path | None = None, out: Path | None = None) -> subprocess.Popen[str]:
        """The command as a process in a session of its own."""
        places = ("--store", str(store or self.folder / "store"), "--out", str(out or self.folder / "out"))
        return subprocess.Popen(
            [sys.executable, *self.launcher, "run", *self.arguments, *places, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def finish(self, *more: str, store: Path | None = None, out: Path | None = None) -> dict[str, Any]:
        """Runs it to its end; the summary."""
        process = self.start("--json", *more, store=store, out=out)
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        summary: dict[str, Any] = json.loads(stdout)
        return summary

    def store(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``lowres store …`` on its store."""
        return lowres("store", *words, "--store", str(self.folder / "store"))


def lowres(*words: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "lowres", *words], capture_output=True, text=True, timeout=300, check=False
    )


def results(summary: dict[str, Any]) -> dict[str, Any]:
    """The part of a summary that does not depend on how often a run was stopped."""
    return {name: summary[name] for name in SAME}


def short(stderr: str) -> bool:
    """Whether an error is told in a few plain lines."""
    start = stderr.index("error: ")
    return "Traceback" not in stderr and len(stderr[start:].strip().splitlines()) <= 3


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60.0) -> bool:
    """Whether something came true while the process ran."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if condition():
            return True
        time.sleep(0.002)
    return condition()


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory, toy_table: Path, encoder: Path) -> Callable[[], Command]:
    """Makes the command anew, with an empty store."""
    arguments = (
        str(toy_table), "--source", "shop", "--target", "film,chat", "--shots", "0,4", "--seeds", "2", "--source-rows",
        "30", "--precision", "fp32", "--backbone", str(encoder), *(f"--set={setting}" for setting in SETTINGS),
    )  # fmt: skip
    return lambda: Command(tmp_path_factory.mktemp("faults"), arguments)


@pytest.fixture(scope="session")
def undisturbed(command: Callable[[], Command]) -> tuple[Command, dict[str, Any], float]:
    """A run to its end, its summary and its seconds."""
    made = command()
    began = time.monotonic()
    summary = made.finish()
    return made, summary, time.monotonic() - began
