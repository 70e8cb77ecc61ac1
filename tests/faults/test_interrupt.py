"""Ctrl-C and a polite request to end: at once, with a word, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import HEARING
from tests.faults.conftest import Command, results, wait_for

Made = tuple[Command, dict[str, Any], float]
SECONDS = 2.0
pytestmark = pytest.mark.alone
STARTED = HEARING.replace("; run()", "; import sys; print('up', file=sys.stderr, flush=True); run()")
"""Says when Python itself is up: before that a program has no say in what Ctrl-C does."""
MANY_STEPS = ("--set", "recipe.min_steps=4000")


def interrupted(process: subprocess.Popen[str], number: signal.Signals, group: bool) -> tuple[str, float]:
    """What the process said on stderr, and the seconds until it was gone."""
    began = time.monotonic()
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert stdout == ""
    assert "Traceback" not in stderr
    return stderr, time.monotonic() - began


def fits_in(command: Command) -> int:
    return len(list((command.folder / "store" / "fits").glob("*")))


@pytest.mark.parametrize("group", [True, False], ids=["to the group", "to the process"])
def test_ctrl_c_while_training(command: Callable[[], Command], group: bool) -> None:
    made = command()
    process = made.start(*MANY_STEPS)
    assert wait_for(lambda: fits_in(made) > 0, process)
    time.sleep(0.3)
    stderr, seconds = interrupted(process, signal.SIGINT, group)
    print(f"gone after {seconds:.2f} s")  # noqa: T201
    assert process.returncode == 130
    assert seconds < SECONDS
    assert "kept" in stderr
    check = made.store("check")
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("delay", [0.05, 0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
def test_ctrl_c_at_any_moment(undisturbed: Made, command: Callable[[], Command], delay: float) -> None:
    made = replace(command(), launcher=("-c", STARTED))
    process = made.start()
    assert process.stderr is not None
    assert process.stderr.readline() == "up\n"
    time.sleep(delay)
    ended = process.poll() is not None
    stderr, seconds = interrupted(process, signal.SIGINT, True) if not ended else ("", 0.0)
    print(f"after {delay} s: exit {process.returncode}, gone after {seconds:.2f} s")  # noqa: T201
    assert process.returncode in ((0, 130) if ended or fits_in(made) else (130,)), stderr
    assert seconds < SECONDS


def test_the_same_command_goes_on(undisturbed: Made, command: Callable[[], Command]) -> None:
    made = command()
    process = made.start()
    assert wait_for(lambda: fits_in(made) >= 3, process)
    interrupted(process, signal.SIGINT, True)
    summary = made.finish()
    assert summary["fits"]["reused"] >= 3
    assert results(summary) == results(undisturbed[1])


def test_sigterm_ends_and_nothing_is_lost(undisturbed: Made, command: Callable[[], Command]) -> None:
    made = command()
    process = made.start()
    assert wait_for(lambda: fits_in(made) >= 2, process)
    _, seconds = interrupted(process, signal.SIGTERM, True)
    assert process.returncode in (130, 143, -signal.SIGTERM)
    assert seconds < SECONDS
    summary = made.finish()
    assert summary["fits"]["reused"] >= 2
    assert results(summary) == results(undisturbed[1])
