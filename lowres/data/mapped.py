"""Texts that need no memory: beyond a few million characters they lie in a memory-mapped Arrow file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, overload

import numpy as np
import numpy.typing as npt

from lowres.errors import DataError
from lowres.files import clear_drafts

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets.arrow_writer import ArrowWriter

MAP_FROM: Final = 64_000_000
"""Characters of a task from which its texts are mapped instead of held."""
_BATCH: Final = 4096


class MappedTexts(Sequence[str]):
    """Strings of a memory-mapped column, at some of its positions; read anew on every access."""

    def __init__(self, column: pa.ChunkedArray, positions: npt.NDArray[np.int64]) -> None:
        self._column, self._positions = column, positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self.at(self._positions[place]))
        return str(self._column[int(self._positions[place])].as_py())

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self), _BATCH):
            yield from self.at(self._positions[begin : begin + _BATCH])

    def at(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """The strings at these positions of the whole column."""
        return [str(text) for text in self._column.take(positions).to_pylist()]

    def take(self, places: Sequence[int]) -> MappedTexts:
        """A view on some of these texts, in this order."""
        return MappedTexts(self._column, self._positions[np.asarray(places, dtype=np.int64)])


def chosen(texts: Sequence[str], places: Sequence[int]) -> Sequence[str]:
    """The texts at these places: a view where they are mapped, else a tuple."""
    return texts.take(places) if isinstance(texts, MappedTexts) else tuple(texts[place] for place in places)


class TextStore:
    """Takes texts one table after another; moves them to disk when they become many.

    Args:
        folder: Where the file would lie. It is removed as soon as it is mapped, where the system allows that.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[str] = []
        self._characters = 0
        self._count = 0
        self._writer: ArrowWriter | None = None
        self._path: Path | None = None

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> TextStore:
        clear_drafts(self._folder, "texts-*")
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):  # a mapped file cannot be removed on Windows; the next store does
                self._path.unlink(missing_ok=True)

    def add(self, texts: Sequence[str]) -> None:
        """Appends texts.

        Raises:
            DataError: The disk is full or not writable.
        """
        self._held += texts
        self._count += len(texts)
        self._characters += sum(map(len, texts))
        if self._characters > MAP_FROM or self._writer is not None:
            self._write()

    def close(self) -> Sequence[str]:
        """All texts in the order they came; nothing can be added afterwards."""
        if self._writer is None or self._path is None:
            return tuple(self._held)
        from datasets import Dataset

        with self._disk():
            self._writer.finalize()
        column = Dataset.from_file(str(self._path)).data.column("text")
        return MappedTexts(column, np.arange(self._count, dtype=np.int64))

    def _write(self) -> None:
        with self._disk():
            if self._writer is None:
                self._writer = self._open()
            self._writer.write_batch({"text": self._held})
        self._held = []

    def _open(self) -> ArrowWriter:
        from datasets import Features, Value
        from datasets.arrow_writer import ArrowWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix="texts-", suffix=".arrow")
        os.close(handle)
        self._path = Path(name)
        return ArrowWriter(path=name, features=Features({"text": Value("large_string")}))

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"the texts could not be written to {self._folder}",
                got=error.strerror or error,
                hint="free space or set LOWRES_CACHE",
            ) from None
