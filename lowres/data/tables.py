"""Bytes of a table → columns of strings, with an error that names the line where that fails.

Tolerant only where nothing can be lost: a byte order mark, CRLF, blank lines, quoted fields, a semicolon for a comma.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from lowres.data.spec import TableFormat
from lowres.errors import DataError, nearest

ENDINGS: Final = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Table:
    """Columns of one table. ``lines`` says where each row starts in the file (for Parquet: its number, from 1)."""

    name: str
    columns: dict[str, list[Any]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, flag: str | None = None) -> list[str]:
        """One column as strings; missing values are empty strings, numbers their shortest form.

        Args:
            name: The column.
            flag: The command-line option that names it, for the message.

        Raises:
            DataError: There is no such column, or a value of it is a list or an object.
        """
        if name not in self.columns:
            close = nearest(name, self.columns)
            said = f"did you mean {' or '.join(repr(match) for match in close)}? " if close else ""
            raise DataError(
                f"{self.name} has no column {name!r}",
                got=f"columns {', '.join(map(repr, self.columns))}",
                hint=f"{said}name it with {flag} or under columns: in a task file" if flag else said or None,
            )
        return [self._string(name, line, value) for line, value in zip(self.lines, self.columns[name], strict=True)]

    def _string(self, name: str, line: int, value: object) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, (list, dict, bytes)):
            raise DataError(
                f"{self.name}, line {line}: column {name!r} holds a {type(value).__name__}", expected="text or a number"
            )
        return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)


def read_table(data: bytes, name: str, form: TableFormat) -> Table:
    """Parse the bytes of one table; ``name`` decides an ``auto`` format and is shown in messages."""
    kind = form.format
    if kind == "auto":
        ending = "." + name.rsplit(".", 1)[-1].lower()
        if ending not in ENDINGS:
            raise DataError(f"{name}: unknown kind of table", got=ending, expected=f"one of {', '.join(ENDINGS)}")
        kind = ENDINGS[ending]  # type: ignore[assignment]
    if kind == "parquet":
        table = _parquet(data, name)
    else:
        text = decode(data, name, form.encoding)
        if kind == "jsonl":
            table = _jsonl(text, name, form.skip_lines)
        else:
            table = _delimited(text, name, form, "\t" if kind == "tsv" else ",")
    if not len(table):
        raise DataError(f"{name} holds no rows", expected="a header and at least one row")
    return table


def decode(data: bytes, name: str, encoding: str = "utf-8") -> str:
    """Text of a file, or an error with the line of the first broken byte and the likely encoding."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        start = error.start
    line = data.count(b"\n", 0, start) + 1
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        guess = "utf-16"
    elif len(data) - start < 4 and data[start] >= 0xC2:
        raise DataError(
            f"{name}, line {line}: the file ends within a character", hint="it looks truncated: copy it again"
        )
    else:
        guess = "cp1252" if re.search(rb"[\x80-\x9f]", data) else "latin-1"
    raise DataError(
        f"{name}, line {line}: not {encoding.removesuffix('-sig')}",
        got=f"byte 0x{data[start]:02x}; the file looks like {guess}",
        hint=f"convert it (iconv -f {guess} -t utf-8) or set table: {{encoding: {guess}}} in a task file",
    )


def unescape(text: str, times: int) -> str:
    """Decode HTML entities so many times."""
    for _ in range(times):
        if "&" not in text:
            break
        text = html.unescape(text)
    return text


def _delimited(text: str, name: str, form: TableFormat, delimiter: str) -> Table:
    records = _quoted(text, name, form, delimiter) if form.quoting or delimiter == "," else _plain(text, delimiter)
    records = (record for record in records if record[0] > form.skip_lines)
    header = [cell.strip() for cell in form.header or next(records, (0, []))[1]]
    repeated = {cell for cell in header if header.count(cell) > 1}
    if repeated:
        raise DataError(f"{name}: the header names a column twice", got=", ".join(sorted(repeated)))
    rows: list[list[str]] = []
    lines: list[int] = []
    ragged: list[tuple[int, int]] = []
    for line, cells in records:
        if len(cells) == len(header):
            rows.append(cells)
            lines.append(line)
        else:
            ragged.append((line, len(cells)))
    if ragged:
        raise DataError(
            f"{name}, line {ragged[0][0]}: wrong number of fields ({len(ragged)} such rows)",
            got=ragged[0][1],
            expected=f"{len(header)}, as in the header",
            hint='the file may be truncated, or a field with the delimiter in it needs "quotes"',
        )
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in header]
    return Table(name, dict(zip(header, columns, strict=True)), lines)


def _plain(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip("\r"):
            yield number, line.removesuffix("\r").split(delimiter)


def _quoted(text: str, name: str, form: TableFormat, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    first = text.split("\n", 1)[0]
    if delimiter == "," and form.header is None and "," not in first and ";" in first:
        delimiter = ";"
    limit = csv.field_size_limit(max(len(text), 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}, line {start}: {error}",
            hint='a "quoted" field is not closed: the file may be truncated' if "end of data" in str(error) else None,
        ) from None
    finally:
        csv.field_size_limit(limit)


def _jsonl(text: str, name: str, skip: int) -> Table:
    records: list[dict[str, Any]] = []
    lines: list[int] = []
    split = text.split("\n")
    for number, line in enumerate(split, start=1):
        if number <= skip or not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            last = not any(rest.strip() for rest in split[number:])
            hint = "it is the last line: the file may be truncated" if last else None
            message = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise DataError(f"{name}, line {number}: not JSON", got=message, hint=hint) from None
        if not isinstance(record, dict):
            raise DataError(f"{name}, line {number}: not a JSON object", got=type(record).__name__)
        records.append(record)
        lines.append(number)
    keys = dict.fromkeys(key for record in records for key in record)
    return Table(name, {key: [_whole(record.get(key)) for record in records] for key in keys}, lines)


def _whole(value: object) -> object:
    """Half of a surrogate pair, which JSON can spell but UTF-8 cannot, becomes the replacement character."""
    return _SURROGATE.sub("�", value) if isinstance(value, str) and not value.isascii() else value


def _parquet(data: bytes, name: str) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
        columns = {column: table.column(column).to_pylist() for column in table.column_names}
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{name} cannot be read as Parquet", got=error, hint="it may be truncated") from None
    return Table(name, columns, list(range(1, table.num_rows + 1)))
