"""Texts without labels, one at a time: plain lines, JSON Lines, CSV, TSV or Parquet. Needs no more memory for more rows."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lowres.errors import DataError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("auto", "lines", "jsonl", "csv", "tsv", "parquet")
ENDINGS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet",
}  # fmt: skip
MAX_FIELD = 64 * 1024 * 1024
"""Characters of one CSV cell at the most."""
PARQUET_ROWS = 1024
"""Rows of a Parquet file that are held at once."""

Item = tuple[int, str, str | None]
"""Row number from 1, text, and what is wrong with the row (the text is then empty)."""

_BROKEN = re.compile("[\udc80-\udcff]")
"""What a byte that is not UTF-8 becomes."""
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')


def read_texts(source: str, format: str, column: str, files: ExitStack) -> Iterator[Item]:
    """Rows of a file or of standard input, in order. Blank lines of JSON Lines and tables are no rows.

    Args:
        source: A path, or ``-``.
        format: One of ``FORMATS``; ``auto`` goes by the ending, and looks at the first line of standard input.
        column: Column of the text, where there are columns.
        files: Holds what is open.

    Raises:
        DataError: No such file or column, or a table that cannot be read. A single bad row is marked instead.
    """
    kind = ENDINGS.get(Path(source).suffix.lower(), "lines") if format == "auto" else format
    if kind == "parquet":
        if source == "-":
            raise DataError("Parquet is not read from standard input", hint="give the file with --input")
        return _parquet(source, column, files)
    lines: Iterator[str] = iter(_open(source, "" if kind in ("csv", "tsv") else "\n", files))
    if format == "auto" and source == "-":
        first = list(itertools.islice(lines, 1))
        lines = itertools.chain(first, lines)
        kind = "jsonl" if first and isinstance(_parsed(first[0]), dict) else "lines"
    if kind in ("csv", "tsv"):
        return _table(source, lines, column, "\t" if kind == "tsv" else ",")
    return _objects(source, lines, column) if kind == "jsonl" else _lines(lines)


def _open(source: str, newline: str, files: ExitStack) -> TextIO:
    """The characters; a byte that is not UTF-8 becomes a lone surrogate, so that only its row is lost."""
    if source == "-":
        if not isinstance(sys.stdin, io.TextIOWrapper):
            raise DataError("standard input is closed", hint="give a file with --input")
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline=newline)
        return sys.stdin
    try:
        return files.enter_context(open(source, encoding="utf-8-sig", errors="surrogateescape", newline=newline))
    except OSError as error:
        raise DataError(f"{source} could not be read", got=error.strerror) from error


def _lines(lines: Iterator[str]) -> Iterator[Item]:
    for number, line in enumerate(lines, start=1):
        yield _checked(number, line.rstrip("\r\n"), "empty")


def _objects(source: str, lines: Iterator[str], column: str) -> Iterator[Item]:
    for number, line in enumerate((line for line in lines if not line.isspace()), start=1):
        value = _parsed(line)
        if number == 1 and line.lstrip().startswith("["):
            raise DataError(f"{source} is a JSON document", expected="JSON Lines: one object a line")
        if not isinstance(value, dict):
            yield number, "", "no JSON object"
            continue
        if number == 1 and column not in value:
            raise _no_column(source, column, [str(name) for name in value])
        yield _checked(number, value.get(column), f"no {column!r}")


def _table(source: str, lines: Iterator[str], column: str, mark: str) -> Iterator[Item]:
    csv.field_size_limit(MAX_FIELD)
    head = next(lines, "")
    said = _SEPARATOR.fullmatch(head)
    if said:  # Excel's way of naming the delimiter in a line of its own
        mark, head = said[1], next(lines, "")
    if _BROKEN.search(head):
        raise DataError(f"{source}: the header is not UTF-8", hint="convert the file with iconv")
    if mark not in head:
        mark = max(",;\t|", key=head.count)
    rows = _records(source, itertools.chain([head], lines), mark)
    names = next(rows, [])
    if isinstance(names, str):
        raise DataError(f"{source}: the header cannot be read", got=names)
    names = [name.strip() for name in names]
    if column not in names:
        raise _no_column(source, column, names)
    place = names.index(column)
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str):
            yield number, "", row
        elif len(row) != len(names):
            yield number, "", f"{len(row)} cells, expected {len(names)}"
        else:
            yield _checked(number, row[place], "empty")


def _records(source: str, lines: Iterator[str], mark: str) -> Iterator[list[str] | str]:
    """The cells of each row that is not blank, or what is wrong with it; a quote that is not closed takes in what follows."""
    rows = csv.reader(lines, delimiter=mark, strict=True)
    while True:
        start = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "limit" in str(error):
                raise DataError(f"{source} is no table that can be read", got=f"line {start}: {error}") from None
            yield f"quotes that close no cell, lines {start} to {rows.line_num}"
        else:
            if row:
                yield row


def _parquet(source: str, column: str, files: ExitStack) -> Iterator[Item]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = files.enter_context(parquet.ParquetFile(source, pre_buffer=False, buffer_size=1 << 16))
        if column not in table.schema_arrow.names:
            raise _no_column(source, column, table.schema_arrow.names)
        number = 0
        for batch in table.iter_batches(batch_size=PARQUET_ROWS, columns=[column], use_threads=False):
            for value in _values(batch.column(0)):
                number += 1
                yield _checked(number, value, "empty")
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{source} could not be read as Parquet", got=error) from error


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        cells = column.cast("binary").to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]


def _checked(number: int, value: Any, missing: str) -> Item:
    if value is None:
        return number, "", missing
    if not isinstance(value, str):
        return number, "", "no text"
    if not value.isascii() and _BROKEN.search(value):
        return number, "", "not UTF-8"
    return (number, value, None) if value.strip() else (number, "", "empty")


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
