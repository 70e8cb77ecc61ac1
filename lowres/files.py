"""Files are written all at once or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from lowres.errors import UserError

SUMS: Final = "SHA256SUMS"


def clear_drafts(folder: Path, pattern: str, older_than: float = 3600.0) -> int:
    """Removes what a killed process left below ``folder`` if nothing touched it for so many seconds; the number."""
    stale = [path for path in folder.glob(pattern) if time.time() - path.lstat().st_mtime > older_than]
    for path in stale:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(stale)


def write_sums(folder: Path) -> None:
    """Writes ``SHA256SUMS`` of all files in a folder and below it, as the program of that name does."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in _names(folder) if name != SUMS]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def holds_sums(folder: Path, parts: Collection[str] = ()) -> bool:
    """Whether the files of ``SHA256SUMS``, these ``parts`` among them, are there unchanged.

    A list may come from a stranger: one that names anything but regular files of the folder does not hold, and nothing
    else is read.
    """
    try:
        if not _is_own(folder, SUMS):
            return False
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        return (
            set(wanted) >= set(parts)
            and all(_is_own(folder, name) for name in wanted)
            and all(_sha256(folder / name) == digest for name, digest in wanted.items())
        )
    except (OSError, ValueError):
        return False


def holds_nothing_else(folder: Path) -> bool:
    """Whether a folder holds the files of its ``SHA256SUMS``, unchanged, and no others."""
    return holds_sums(folder) and holds_sums(folder, set(_names(folder)) - {SUMS})


def check_free(folder: Path) -> None:
    """Refuses a place for a model that is to be written, where it holds something else than an earlier one of this package,
    untouched; an adapter folder is something else.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file", expected="a folder", hint="choose an empty or new folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    adapter = (folder / "lowres.json").exists()
    if adapter or not _is_card(folder / "README.md") or not holds_nothing_else(folder):
        found = "an adapter folder" if adapter else "files that are not those of an earlier export"
        raise UserError(f"{folder} holds something else", got=found, hint="choose an empty or new folder")


def _is_card(path: Path) -> bool:
    """Whether a file is a model card of this package, by its tag."""
    return path.is_file() and b"\n- lowres\n" in path.read_bytes()[:2000]


def _names(folder: Path) -> list[str]:
    """The files in a folder and below it, as paths within it, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _is_own(folder: Path, name: str) -> bool:
    """Whether a name leads to a regular file of the folder or below it."""
    path, place = Path(name), folder / name
    if path.is_absolute() or ".." in path.parts or not place.is_file():
        return False
    return place.resolve().is_relative_to(folder.resolve())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def give_mode(draft: str | Path, path: Path) -> None:
    """Gives a private draft the mode of the file it replaces, or that of any new file."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(draft, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder`` that takes its place at the end; an older one stays until then."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".draft-") as place:
        draft = Path(place) / "new"
        draft.mkdir()
        yield draft
        for path in draft.rglob("*"):  # some libraries keep what they write from other users
            if path.is_file() and not path.is_symlink():
                give_mode(path, path.with_name(f".{path.name}.new"))
        if folder.exists():
            os.replace(folder, Path(place) / "old")
        os.replace(draft, folder)


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 stream beside ``path`` that takes its place at the end; an older file stays until then.

    Raises:
        OSError: The folder cannot be written; nothing is left behind.
    """
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            yield stream
        give_mode(draft, path)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
