"""Texts without labels, one at a time: plain lines, JSON Lines, CSV, TSV or Parquet. Needs no more memory for more rows."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lowres.errors import DataError, nearest

FORMATS = ("auto", "lines", "jsonl", "csv", "tsv", "parquet")
MAX_FIELD = 64 * 1024 * 1024
"""Characters of one CSV cell at the most."""

Item = tuple[int, str, str | None]
"""Row number from 1, text, and what is wrong with the row (the text is then empty)."""


def read_texts(source: str, format: str, column: str, files: ExitStack) -> Iterator[Item]:
    """Rows of a file or of standard input, in order.

    Args:
        source: A path, or ``-``.
        format: One of ``FORMATS``; ``auto`` goes by the ending, and looks at the first line of standard input.
        column: Column of the text, where there are columns.
        files: Holds what is open.

    Raises:
        DataError: No such file or column, broken UTF-8, or a table that cannot be read. A single bad row is marked instead.
    """
    kind = Path(source).suffix.lower().removeprefix(".") if format == "auto" else format
    if kind == "parquet":
        return _parquet(source, column)
    try:
        stream: Iterable[str] = (
            sys.stdin if source == "-" else files.enter_context(open(source, encoding="utf-8-sig", newline=""))  # noqa: SIM115
        )
    except OSError as error:
        raise DataError(f"{source} could not be read", got=error.strerror) from error
    lines = iter(stream)
    if format == "auto" and source == "-":
        first = list(itertools.islice(lines, 1))
        lines = itertools.chain(first, lines)
        kind = "jsonl" if first and isinstance(_parsed(first[0]), dict) else "lines"
    reader = {"csv": _table, "tsv": _table, "jsonl": _objects}.get(kind, _lines)
    return _decoded(source, reader(source, lines, column))


def _decoded(source: str, rows: Iterator[Item]) -> Iterator[Item]:
    try:
        yield from rows
    except csv.Error as error:
        raise DataError(f"{source} is no table that can be read", got=error) from error
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x}"
        raise DataError(f"{source} is not UTF-8", got=byte, hint="convert it with iconv") from error


def _lines(source: str, lines: Iterator[str], column: str) -> Iterator[Item]:
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        yield number, text, None if text.strip() else "empty"


def _objects(source: str, lines: Iterator[str], column: str) -> Iterator[Item]:
    for number, line in enumerate(lines, start=1):
        value = _parsed(line)
        if not isinstance(value, dict):
            yield number, "", "no JSON object"
            continue
        if number == 1 and column not in value:
            raise _no_column(source, column, [str(name) for name in value])
        yield _checked(number, value.get(column), f"no {column!r}")


def _table(source: str, lines: Iterator[str], column: str) -> Iterator[Item]:
    csv.field_size_limit(MAX_FIELD)
    head = next(lines, "")
    found = [(mark, next(csv.reader([head], delimiter=mark), [])) for mark in (",", "\t", ";", "|")]
    mark, names = next((pair for pair in found if column in pair[1]), max(found, key=lambda pair: len(pair[1])))
    if column not in names:
        raise _no_column(source, column, names)
    place = names.index(column)
    for number, row in enumerate(csv.reader(lines, delimiter=mark), start=1):
        yield _checked(number, row[place] if place < len(row) else None, "too few cells")


def _parquet(source: str, column: str) -> Iterator[Item]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(source)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise DataError(f"{source} could not be read as Parquet", got=error) from error
    if column not in table.schema_arrow.names:
        raise _no_column(source, column, table.schema_arrow.names)
    number = 0
    for batch in table.iter_batches(batch_size=1024, columns=[column]):
        for value in batch.column(0).to_pylist():
            number += 1
            yield _checked(number, value, "empty")


def _checked(number: int, value: Any, missing: str) -> Item:
    if value is None:
        return number, "", missing
    if not isinstance(value, str):
        return number, "", "no text"
    return number, value, None if value.strip() else "empty"


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _no_column(source: str, column: str, names: list[str]) -> DataError:
    close = nearest(column, names)
    hint = f"--text-column {close[0]!r}?" if close else "name it with --text-column"
    return DataError(
        f"{'standard input' if source == '-' else source} has no column {column!r}", got=", ".join(names), hint=hint
    )
