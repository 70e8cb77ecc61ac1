"""Files are written all at once or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def clear_drafts(folder: Path, pattern: str, older_than: float = 3600.0) -> int:
    """Removes what a killed process left below ``folder`` if nothing touched it for so many seconds; the number."""
    stale = [path for path in folder.glob(pattern) if time.time() - path.lstat().st_mtime > older_than]
    for path in stale:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(stale)


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
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
