"""Killed at any moment, by itself or beside another: the last run finds what is whole and makes the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lowres import seeds
from tests.faults.conftest import Command, lowres, results, wait_for

Made = tuple[Command, dict[str, Any], float]
LONGER = "recipe.min_steps=400"


def kill(process: subprocess.Popen[str]) -> bool:
    """Whether it was still there to be killed."""
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return alive


def killed_often(command: Command, times: int, run: tuple[float, float], *more: str) -> int:
    """Starts the command so many times and kills it at a random moment after its start-up; how often it still ran.

    ``run``: seconds of start-up and, after that, of work, within which to kill.
    """
    hit = 0
    for number in range(times):
        process = command.start(*more)
        time.sleep(run[0] + run[1] * seeds.uniform("kill", number))
        hit += kill(process)
    return hit


def parts(seconds: float, summary: dict[str, Any]) -> tuple[float, float]:
    """Of an undisturbed run: seconds of start-up and end, and of training and testing."""
    work = float(summary["seconds"]["train"] + summary["seconds"]["evaluate"])
    return seconds - work, work


def check_whole(command: Command) -> None:
    checked = command.store("check")
    assert checked.returncode == 0, checked.stderr
    assert ", 0 damaged" in checked.stdout


@pytest.mark.slow
def test_killed_three_times(undisturbed: Made, command: Callable[[], Command]) -> None:
    _, summary, seconds = undisturbed
    made = command()
    start_up, work = parts(seconds, summary)
    assert killed_often(made, 3, (0.5 * start_up, work)) >= 1
    assert results(made.finish()) == results(summary)
    check_whole(made)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "share"), [("fleet", 0.5), ("loop", 0.15)])
def test_killed_ten_times(command: Callable[[], Command], engine: str, share: float) -> None:
    """Within a share of the work: the fleet keeps fits when a group is done, the plain engine one after another."""
    words = ("--set", LONGER, "--engine", engine)
    began = time.monotonic()
    summary = command().finish(*words)
    start_up, work = parts(time.monotonic() - began, summary)
    made = command()
    hit = killed_often(made, 10, (0.8 * start_up, share * work), *words)
    kept = len(list((made.folder / "store" / "fits").glob("*/SHA256SUMS")))
    last = made.finish(*words)
    print(f"{engine}: {start_up:.1f} + {work:.1f} s, killed in it {hit} of 10 times; fits kept {kept}")  # noqa: T201
    assert hit >= 5
    assert kept > 0
    assert results(last) == results(summary)
    check_whole(made)
    pruned = made.store("prune", "--keep", str(made.folder / "out"), "--yes")
    assert pruned.returncode == 0, pruned.stderr


def test_killed_while_a_fit_is_written(undisturbed: Made, command: Callable[[], Command]) -> None:
    made = command()
    process = made.start()
    drafts = made.folder / "store" / "drafts"
    assert wait_for(lambda: any(files for _, _, files in os.walk(drafts)), process)
    assert kill(process)
    assert results(made.finish()) == results(undisturbed[1])
    check_whole(made)
    for path in drafts.iterdir():
        os.utime(path, (0, 0))
    pruned = made.store("prune", "--keep", str(made.folder / "out"), "--yes")
    assert "drafts cleared" in pruned.stdout
    assert not any(drafts.iterdir())


def test_killed_while_the_results_are_written(undisturbed: Made, command: Callable[[], Command]) -> None:
    made = command()
    process = made.start()
    assert wait_for((made.folder / "out" / "study.yaml").exists, process)
    kill(process)
    summary = made.finish()
    assert results(summary) == results(undisturbed[1])
    assert summary["fits"]["trained"] == 0
    names = {path.relative_to(made.folder / "out") for path in (made.folder / "out").rglob("*") if path.is_file()}
    whole = undisturbed[0].folder / "out"
    expected = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert {name for name in names if not name.name.startswith(".")} == expected


def test_two_processes_share_one_store(undisturbed: Made, command: Callable[[], Command]) -> None:
    made = command()
    outs = [made.folder / name for name in ("one", "two")]
    processes = [made.start("--json", out=out) for out in outs]
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    summaries = [json.loads(stdout) for stdout, _ in ends]
    assert [results(summary) for summary in summaries] == [results(undisturbed[1])] * 2
    assert sum(summary["fits"]["trained"] for summary in summaries) == undisturbed[1]["fits"]["distinct"]
    check_whole(made)


def test_a_store_that_was_copied_together_is_a_store(undisturbed: Made, tmp_path: Path) -> None:
    import shutil

    whole, summary, _ = undisturbed
    for half in ("fits", "predictions"):
        shutil.copytree(whole.folder / "store" / half, tmp_path / "store" / half)
    again = whole.finish(store=tmp_path / "store", out=tmp_path / "out")
    assert again["fits"]["trained"] == 0
    assert results(again) == results(summary)
    assert lowres("store", "check", "--store", str(tmp_path / "store")).returncode == 0
