"""A small workplace with everything a command can be given, and the command line in this process."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lowres.cli.main import main
from tests.conftest import toy_rows, write_table

QUICK = ["--precision", "fp32", "--set", "recipe.min_steps=2", "--set", "recipe.epochs=0.1", "--set", "recipe.max_length=24"]  # fmt: skip


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


def call(*words: object, given: bytes = b"") -> Answer:
    """What ``lowres WORDS`` gives, through the entry point of the console script."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "argv", ["lowres", *map(str, words)])
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    finally:
        patch.undo()
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
    code = end.value.code
    return Answer(code if isinstance(code, int) else int(code is not None), *texts)


def listing(folder: Path) -> dict[str, str]:
    """Every path below a folder with the hash of its content; links are not followed."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place) / name
            plain = path.is_file() and not path.is_symlink()
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
    return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """A folder with a table ``toy.csv``, the encoder, a store, a run folder ``out`` and an adapter ``best``."""
    place = tmp_path_factory.mktemp("finished")
    write_table(place / "toy.csv", toy_rows(20))
    shutil.copytree(encoder, place / "encoder")
    with contextlib.chdir(place):
        answer = call(
            "run", "toy.csv", "--source", "shop", "--target", "film", "--shots", "0,2", "--seeds", "1",
            "--methods", "source-then-target", "--backbone", "encoder", "--out", "out", *QUICK,
        )  # fmt: skip
    assert answer.code == 0, answer.err
    (place / "out" / "best" / "film-2").rename(place / "best")
    return place


@pytest.fixture
def work(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own copy of ``finished``, in which the test works."""
    place = tmp_path / "work"
    shutil.copytree(finished, place)
    record = place / "best" / "lowres.json"
    record.write_text(record.read_text().replace(str(finished), str(place)))
    monkeypatch.chdir(place)
    return place
