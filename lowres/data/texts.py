"""Texts without labels, or pairs of them, one row at a time: plain lines, JSON Lines, CSV, TSV or Parquet. Needs no more
memory for more rows.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lowres.errors import DataError, nearest
from lowres.kinds import join_pair, join_words

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
"""Row number from 1, text or joined pair, and what is wrong with the row (the text is then empty)."""
LISTED = "a list of words"
"""What is wrong with a row, where a text is wanted."""
FLAGS = ("--text-column", "--pair-column")

_BROKEN = re.compile("[\udc80-\udcff]")
"""What a byte that is not UTF-8 becomes."""
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')


def read_texts(
    source: str, format: str, columns: Sequence[str], files: ExitStack, words: bool = False
) -> Iterator[Item]:
    """Rows of a file or of standard input, in order. Blank lines of JSON Lines and tables are no rows.

    Args:
        source: A path, or ``-``.
        format: One of ``FORMATS``; ``auto`` goes by the ending, and looks at the first line of standard input.
        columns: Column of the text, where there are columns; of both texts for pairs, which need columns.
        files: Holds what is open.
        words: Rows are lists of words; where there is a text instead, its words stand between blanks.

    Raises:
        DataError: No such file or column, or a table that cannot be read. A single bad row is marked instead.
    """
    rows = _rows(source, format, columns, files)
    return map(_as_words if words else _as_text, rows)


def _rows(source: str, format: str, columns: Sequence[str], files: ExitStack) -> Iterator[Item]:
    kind = ENDINGS.get(Path(source).suffix.lower(), "lines") if format == "auto" else format
    if kind == "parquet":
        if source == "-":
            raise DataError("Parquet is not read from standard input", hint="give the file with --input")
        return _parquet(source, columns, files)
    lines: Iterator[str] = iter(_open(source, "" if kind in ("csv", "tsv") else "\n", files))
    if format == "auto" and source == "-":
        first = list(itertools.islice(lines, 1))
        lines = itertools.chain(first, lines)
        kind = "jsonl" if first and isinstance(_parsed(first[0]), dict) else "lines"
    if kind in ("csv", "tsv"):
        return _table(source, lines, columns, "\t" if kind == "tsv" else ",")
    if kind == "jsonl":
        return _objects(source, lines, columns)
    if len(columns) > 1:
        raise DataError(
            f"{_named(source)} is plain text, and a line is one text",
            expected="pairs of texts in two columns: JSON Lines, CSV, TSV or Parquet",
            hint=f"--format says how it is written: {', '.join(FORMATS)}",
        )
    return _lines(lines)


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
        yield _row(number, [line.rstrip("\r\n")])


def _objects(source: str, lines: Iterator[str], columns: Sequence[str]) -> Iterator[Item]:
    for number, line in enumerate((line for line in lines if not line.isspace()), start=1):
        value = _parsed(line)
        if number == 1 and line.lstrip().startswith("["):
            raise DataError(f"{source} is a JSON document", expected="JSON Lines: one object a line")
        if not isinstance(value, dict):
            yield number, "", "no JSON object"
            continue
        if number == 1:
            _check_columns(source, columns, [str(name) for name in value])
        absent = next((name for name in columns if value.get(name) is None), None)
        yield (number, "", f"no {absent!r}") if absent is not None else _row(number, [value[name] for name in columns])


def _table(source: str, lines: Iterator[str], columns: Sequence[str], mark: str) -> Iterator[Item]:
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
    _check_columns(source, columns, names)
    places = [names.index(name) for name in columns]
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str):
            yield number, "", row
        elif len(row) != len(names):
            yield number, "", f"{len(row)} cells, expected {len(names)}"
        else:
            yield _row(number, [row[place] for place in places])


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


def _parquet(source: str, columns: Sequence[str], files: ExitStack) -> Iterator[Item]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = files.enter_context(parquet.ParquetFile(source, pre_buffer=False, buffer_size=1 << 16))
        _check_columns(source, columns, table.schema_arrow.names)
        number = 0
        for batch in table.iter_batches(batch_size=PARQUET_ROWS, columns=list(columns), use_threads=False):
            for values in zip(*(_values(batch.column(name)) for name in columns), strict=True):
                number += 1
                yield _row(number, values)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{source} could not be read as Parquet", got=error) from error


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        cells = column.cast("binary").to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]


def _row(number: int, values: Sequence[Any]) -> Item:
    """A row of one text, of two, or of a list of words."""
    if len(values) == 1 and isinstance(values[0], list) and all(isinstance(word, str) for word in values[0]):
        broken = any(_BROKEN.search(word) for word in values[0])
        fault = "not UTF-8" if broken else None if any(values[0]) else "empty"
        return number, "" if fault else join_words(values[0]), fault or LISTED
    fault = next((found for value in values if (found := _fault(value))), None)
    if fault is not None:
        return number, "", fault
    return number, values[0] if len(values) == 1 else join_pair(*values), None


def _as_words(item: Item) -> Item:
    number, text, fault = item
    if fault == LISTED:
        return number, text, None
    return item if fault is not None else (number, join_words(text.split()), None)


def _as_text(item: Item) -> Item:
    return (item[0], "", "no text") if item[2] == LISTED else item


def _fault(value: Any) -> str | None:
    if value is None:
        return "empty"
    if not isinstance(value, str):
        return "no text"
    if not value.isascii() and _BROKEN.search(value):
        return "not UTF-8"
    return None if value.strip() else "empty"


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _check_columns(source: str, columns: Sequence[str], names: Sequence[str]) -> None:
    for flag, column in zip(FLAGS, columns, strict=False):
        if column not in names:
            close = nearest(column, names)
            hint = f"{flag} {close[0]!r}?" if close else f"name it with {flag}"
            raise DataError(f"{_named(source)} has no column {column!r}", got=", ".join(names), hint=hint)


def _named(source: str) -> str:
    return "standard input" if source == "-" else source
