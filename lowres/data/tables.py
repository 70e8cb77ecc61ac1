"""Bytes of a table → columns of strings, with an error that names the line where that fails.

Tolerant only where nothing can be lost: a byte order mark, CRLF, blank lines, quoted fields, a semicolon, tab or bar
where a comma would be, Excel's ``sep=;`` line.
"""

from __future__ import annotations

import csv
import html
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from lowres.data.encodings import not_text, signed, what_it_is, whole
from lowres.data.spec import TableFormat
from lowres.errors import DataError, nearest
from lowres.settings import shown

ENDINGS: Final = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
"""What a folder of tables is searched for; a ``.json`` there may be anything."""
_KINDS: Final = {**ENDINGS, ".json": "json"}
MAX_DOCUMENT: Final = 256 * 1024 * 1024
"""Characters of a JSON document, which is held whole."""
CHUNK: Final = 20_000
"""Rows of a table that are held at once."""
MAX_FIELD: Final = 64 * 1024 * 1024
"""Characters of one cell at the most."""
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')


@dataclass(frozen=True)
class Table:
    """Columns of one table. ``lines`` says where each row starts in the file (Parquet, JSON: its number, from 1)."""

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

    def lists(self, name: str) -> list[list[str]]:
        """One column whose values are lists of strings.

        Raises:
            DataError: There is no such column, or a value of it is no such list.
        """
        if name not in self.columns:
            self.column(name)
        found = []
        for line, value in zip(self.lines, self.columns[name], strict=True):
            if not isinstance(value, list) or any(isinstance(one, (list, dict, bytes)) for one in value):
                raise DataError(
                    f"{self.name}, line {line}: column {name!r} holds {shown(value)}", expected="a list of texts"
                )
            found.append([self._string(name, line, one) for one in value])
        return found

    def _string(self, name: str, line: int, value: object) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, (list, dict, bytes)):
            raise DataError(
                f"{self.name}, line {line}: column {name!r} holds {shown(value)}", expected="text or a number"
            )
        return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)


def read_table(source: bytes | Path, name: str, form: TableFormat) -> Table:
    """A whole table at once; see ``read_tables``."""
    (table,) = read_tables(source, name, form, rows=None)
    return table


def read_tables(
    source: bytes | Path, name: str, form: TableFormat, rows: int | None = CHUNK, records: str | None = None
) -> Iterator[Table]:
    """A table in pieces of at most so many rows, one after another, so that none needs the whole file in memory.

    Args:
        source: The bytes of the table, or its file.
        name: Decides an ``auto`` format and is shown in messages.
        form: How it is written.
        rows: Rows of a piece; None: all in one.
        records: Where in a JSON document the list of rows is; None: the document is the list.

    Raises:
        DataError: Whatever keeps it from being read; perhaps after some pieces.
    """
    kind = form.format
    if kind == "auto":
        ending = "." + name.rsplit(".", 1)[-1].lower()
        if ending not in _KINDS:
            raise DataError(f"{name}: unknown kind of table", got=ending, expected=f"one of {', '.join(_KINDS)}")
        kind = _KINDS[ending]  # type: ignore[assignment]
    if records is not None and kind != "json":
        raise DataError(f"{name}: records: only goes with a JSON document", got=f"{kind}, records: {records}")
    if kind == "parquet":
        pieces = _parquet(source, name, rows)
    elif kind == "json":
        pieces = _json(_document(source, name, form.encoding), name, form.header, records, rows)
    else:
        pieces = _text_pieces(source, name, form, kind, rows)
    count = 0
    for piece in pieces:
        count += len(piece)
        if len(piece):
            yield piece
    if not count:
        raise DataError(f"{name} holds no rows", expected="a header and at least one row")


def _text_pieces(source: bytes | Path, name: str, form: TableFormat, kind: str, rows: int | None) -> Iterator[Table]:
    encoding = signed(form.encoding)
    delimited = kind not in ("jsonl", "conll") and (form.quoting or kind == "csv")
    try:
        with (
            _open_text(source, name) as raw,
            io.TextIOWrapper(raw, encoding, newline="" if delimited else "\n") as stream,
        ):
            if kind == "jsonl":
                yield from _jsonl(stream, name, form.skip_lines, rows)
            elif kind == "conll":
                yield from _conll(stream, name, form, rows)
            else:
                yield from _delimited(stream, name, form, "\t" if kind == "tsv" else ",", rows)
    except UnicodeError:
        with _open(source, name) as raw:
            raise not_text(raw, name, encoding) from None


def _open(source: bytes | Path, name: str) -> IO[bytes]:
    try:
        return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    except OSError as error:
        raise DataError(f"cannot read {name}", got=error.strerror) from None


def _open_text(source: bytes | Path, name: str) -> IO[bytes]:
    raw = _open(source, name)
    packed = what_it_is(raw)
    if packed is not None:
        raw.close()
        raise DataError(f"{name} is no text", got=packed, hint="unpack it, or export it as CSV in UTF-8")
    return raw


def unescape(text: str, times: int) -> str:
    """Decode HTML entities so many times."""
    for _ in range(times):
        if "&" not in text:
            break
        text = html.unescape(text)
    return text


def _delimited(
    stream: Iterable[str], name: str, form: TableFormat, delimiter: str, size: int | None
) -> Iterator[Table]:
    quoted = form.quoting or delimiter == ","
    records = _quoted(stream, name, form, delimiter) if quoted else _plain(stream, delimiter)
    records = (record for record in records if record[0] > form.skip_lines)
    header = [cell.strip() for cell in form.header or next(records, (0, []))[1]]
    repeated = {cell for cell in header if header.count(cell) > 1}
    if repeated:
        raise DataError(f"{name}: the header names a column twice", got=", ".join(sorted(repeated)))
    rows: list[list[str]] = []
    lines: list[int] = []
    ragged: list[tuple[int, int]] = []
    for line, cells in records:
        if len(cells) != len(header):
            ragged.append((line, len(cells)))
        elif not ragged:
            rows.append(cells)
            lines.append(line)
        if len(rows) == size:
            yield Table(name, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)), lines)
            rows, lines = [], []
    if ragged:
        raise DataError(
            f"{name}, line {ragged[0][0]}: wrong number of fields ({len(ragged)} such rows)",
            got=ragged[0][1],
            expected=f"{len(header)}, as in the header",
            hint='the file may be truncated, or a field with the delimiter in it needs "quotes"',
        )
    if rows:
        yield Table(name, dict(zip(header, map(list, zip(*rows, strict=True)), strict=True)), lines)


def _plain(stream: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(stream, start=1):
        if line := line.rstrip("\r\n"):
            yield number, line.split(delimiter)


def _quoted(stream: Iterable[str], name: str, form: TableFormat, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    lines = iter(stream)
    head = list(itertools.islice(lines, form.skip_lines + 1))
    said = _SEPARATOR.fullmatch(head[-1]) if head else None
    if delimiter == "," and said:  # Excel's way of naming the delimiter in a line of its own
        delimiter, head[-1] = said[1], "\n"
    elif delimiter == "," and head and form.header is None and "," not in head[-1]:
        delimiter = max(",;\t|", key=head[-1].count)
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(itertools.chain(head, lines), delimiter=delimiter, strict=True)
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


def _jsonl(stream: Iterable[str], name: str, skip: int, size: int | None) -> Iterator[Table]:
    records: list[dict[str, Any]] = []
    lines: list[int] = []
    keys: dict[str, None] = {}
    rest = enumerate(stream, start=1)
    for number, line in rest:
        if number <= skip or not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            last = not any(later.strip() for _, later in rest)
            hint = "it is the last line: the file may be truncated" if last else None
            message = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise DataError(f"{name}, line {number}: not JSON", got=message, hint=hint) from None
        if not isinstance(record, dict):
            raise DataError(f"{name}, line {number}: not a JSON object", got=shown(record))
        records.append(record)
        lines.append(number)
        keys.update(dict.fromkeys(record))
        if len(records) == size:
            yield Table(name, {key: [_whole(record.get(key)) for record in records] for key in keys}, lines)
            records, lines = [], []
    if records:
        yield Table(name, {key: [_whole(record.get(key)) for record in records] for key in keys}, lines)


def _conll(stream: Iterable[str], name: str, form: TableFormat, size: int | None) -> Iterator[Table]:
    """Sentences as lists of fields; a line starts a row. Comments of CoNLL-U and marks of documents are no words."""
    sentences: list[list[list[str]]] = []
    lines: list[int] = []
    words: list[list[str]] = []
    begin = width = 0
    tabs: bool | None = None
    for number, line in itertools.chain(enumerate(stream, start=1), [(0, "")]):
        line = line.rstrip("\r\n")
        comment = line.startswith("# ") and not words and "\t" not in line
        if comment and tabs is False:  # without tabs between fields only their number tells a comment from a word
            comment = len(line.split()) != width
        if number and (number <= form.skip_lines or line.startswith("-DOCSTART-") or comment):
            continue
        if line.strip(" \t"):
            cells = line.split("\t") if "\t" in line else line.split()
            tabs = "\t" in line if tabs is None else tabs
            width = width or len(cells)
            if len(cells) != width or width < 2 or (form.header and len(form.header) != width):
                raise DataError(
                    f"{name}, line {number}: wrong number of fields",
                    got=len(cells),
                    expected=f"{max(2, len(form.header or []) or width)}: a word, its tag, and what is between them",
                )
            begin = begin if words else number
            words.append(cells)
        elif words:
            sentences.append(words)
            lines.append(begin)
            words = []
        if sentences and (len(sentences) == size or not number):
            yield _sentences(name, form, sentences, lines)
            sentences, lines = [], []


def _sentences(name: str, form: TableFormat, sentences: list[list[list[str]]], lines: list[int]) -> Table:
    last = len(sentences[0][0]) - 1
    places = dict(zip(form.header, range(last + 1), strict=True)) if form.header else {"tokens": 0, "tags": last}
    columns = {column: [[word[place] for word in words] for words in sentences] for column, place in places.items()}
    return Table(name, columns, lines)


def _document(source: bytes | Path, name: str, encoding: str) -> object:
    """A JSON document as Python values."""
    encoding = signed(encoding)
    try:
        with _open_text(source, name) as raw, io.TextIOWrapper(raw, encoding, newline="\n") as stream:
            text = stream.read(MAX_DOCUMENT + 1)
    except UnicodeError:
        with _open(source, name) as raw:
            raise not_text(raw, name, encoding) from None
    if len(text) > MAX_DOCUMENT:
        raise DataError(
            f"{name} is too big for one JSON document",
            expected=f"at most {MAX_DOCUMENT / 1e6:.0f} million characters",
            hint="write it as JSON Lines, one object a line",
        )
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = "it ends too early: the file may be truncated" if error.pos >= len(text.rstrip()) else None
        raise DataError(f"{name}, line {error.lineno}: not JSON", got=error.msg, hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{name}: not JSON that can be read",
            got="nested too deeply" if isinstance(error, RecursionError) else error,
        ) from None


def _json(
    document: object, name: str, header: tuple[str, ...] | None, records: str | None, size: int | None
) -> Iterator[Table]:
    """The rows of a list of objects, or, where a header names their columns, of a list of lists."""
    rows = _list_of_rows(document, name, records)
    name = f"{name} ({records})" if records else name
    wanted = dict if header is None else list
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, wanted) or (header is not None and len(row) != len(header)):
            raise DataError(
                f"{name}, row {number}: not what the rows should be",
                got=f"a list of {len(row)}" if isinstance(row, list) else shown(row),
                expected="an object" if header is None else f"a list of {len(header)}, as in header:",
                hint="table: {header: [...]} names the columns of lists" if header is None else None,
            )
    columns = header or tuple(dict.fromkeys(key for row in rows for key in row))
    for start in range(0, len(rows), size or max(1, len(rows))):
        part = rows[start : start + size] if size else rows
        cells = [[row[place] if header else row.get(key) for row in part] for place, key in enumerate(columns)]
        values = ([_whole(value) for value in column] for column in cells)
        yield Table(name, dict(zip(columns, values, strict=True)), list(range(start + 1, start + len(part) + 1)))


def _list_of_rows(document: Any, name: str, records: str | None) -> list[Any]:
    found = document
    steps = [] if records is None else records.split(".")
    if records is not None and isinstance(document, dict) and records in document:
        steps = [records]  # a key may have dots itself
    for step in steps:
        if not isinstance(found, dict) or step not in found:
            keys = list(found) if isinstance(found, dict) else []
            close = nearest(step, keys)
            raise DataError(
                f"{name} has nothing at records: {records}",
                got=f"keys {', '.join(map(repr, keys))}" if keys else f"{shown(found)}, not an object",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )
        found = found[step]
    if isinstance(found, list):
        return found
    where = f"{name}, records: {records}" if records is not None else name
    lists = [key for key, value in found.items() if isinstance(value, list)] if isinstance(found, dict) else []
    raise DataError(
        f"{where}: no list of rows",
        got=shown(found),
        hint=f"name it with records: in its part, as in records: {lists[0]}" if lists else None,
    )


def _whole(value: object) -> object:
    return whole(value) if isinstance(value, str) else value


def _parquet(source: bytes | Path, name: str, size: int | None) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    try:
        with _open(source, name) as raw:
            file = pq.ParquetFile(raw)
            for batch in file.iter_batches(batch_size=size or max(1, file.metadata.num_rows)):
                columns = {column: batch.column(column).to_pylist() for column in batch.schema.names}
                yield Table(name, columns, list(range(count + 1, count + batch.num_rows + 1)))
                count += batch.num_rows
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{name} cannot be read as Parquet", got=error, hint="it may be truncated") from None
