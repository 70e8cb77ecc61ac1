"""Damaged files and full disks: found, said, made again; the store stays whole."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lowres.analysis.summary import Summary
from lowres.cli.main import app
from tests.faults.conftest import Command, results, short

Made = tuple[Command, dict[str, Any], float]
KINDS = (
    "fit.json", "adapter_model.safetensors", "head.safetensors", "log.jsonl", "SHA256SUMS", "words.json",
    "predictions/*.safetensors",
)  # fmt: skip


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_first(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[6] ^= 0x80
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: tuple[Callable[[Path], None], ...] = (halve, flip, flip_first, empty, Path.unlink, folder)


def one_of(store: Path, kind: str) -> Path:
    """A file of this kind that holds something; solvers leave an empty log."""
    room = "predictions" if kind.startswith("predictions") else "fits"
    return next(path for path in sorted((store / room).rglob(kind.rpartition("/")[2])) if path.stat().st_size)


@pytest.fixture(scope="module")
def with_words(command: Callable[[], Command]) -> tuple[Command, dict[str, Any]]:
    """A finished run with a method that keeps a word list."""
    made = command()
    made = Command(made.folder, (*made.arguments, "--methods", "source-then-target,tfidf"))
    return made, made.finish()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_found_and_made_again(
    with_words: tuple[Command, dict[str, Any]], tmp_path: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    made, summary = with_words
    shutil.copytree(made.folder / "store", tmp_path / "store")
    damage(one_of(tmp_path / "store", kind))
    places = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, ["run", *made.arguments, *places])
    assert result.exit_code == 0, result.output
    again = Summary.model_validate_json(result.stdout)
    assert results(again.model_dump(mode="json")) == results(summary)
    if not kind.startswith("predictions"):
        assert again.fits.trained == 1
    checked = CliRunner().invoke(app, ["store", "check", "--store", str(tmp_path / "store")])
    assert checked.exit_code == 0, checked.output


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of its own with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=False)


@pytest.mark.parametrize(
    "disk",
    [pytest.param("16k", marks=pytest.mark.slow), "64k", pytest.param("160k", marks=pytest.mark.slow)],
    indirect=True,
)
@pytest.mark.parametrize("part", ["store", "out"])
def test_a_full_disk_is_said_and_the_same_command_goes_on(
    undisturbed: Made, command: Callable[[], Command], disk: Path, part: str
) -> None:
    made = command()
    process = made.start("--json", **{part: disk / part})
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1, stderr
    assert short(stderr), stderr
    assert "No space left" in stderr
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert results(made.finish(**{part: disk / part})) == results(undisturbed[1])
    store = disk / "store" if part == "store" else made.folder / "store"
    checked = CliRunner().invoke(app, ["store", "check", "--store", str(store)])
    assert checked.exit_code == 0, checked.output
