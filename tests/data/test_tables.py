"""Tables: what is forgiven, and the error for what is not."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.data import tables
from lowres.data.spec import TableFormat
from lowres.data.tables import read_table, read_tables, unescape
from lowres.errors import DataError

AUTO = TableFormat()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.csv", b'\xef\xbb\xbftext,label\r\n"a, ""b""\nc",1\r\n\r\nd,2\r\n'),
        ("x.csv", b'text;label\n"a, ""b""\nc";1\nd;2\n'),
        ("x.tsv", b'text\tlabel\n"a, ""b""\nc"\t1\nd\t2'),
        ("x.jsonl", b'{"text": "a, \\"b\\"\\nc", "label": 1}\n\n{"label": 2, "text": "d"}\n'),
        ("x.json", b'\xef\xbb\xbf[{"text": "a, \\"b\\"\\nc", "label": 1},\r\n{"label": 2, "text": "d"}]\n'),
    ],
)
def test_forgiven(name: str, data: bytes) -> None:
    table = read_table(data, name, AUTO)
    assert table.column("text") == ['a, "b"\nc', "d"]
    assert table.column("label") == ["1", "2"]


def test_lines_point_into_the_file() -> None:
    assert read_table(b'text,label\n"a\nb",1\n\nc,2\n', "x.csv", AUTO).lines == [2, 5]
    assert read_table(b'\n{"a": 1}\n\n{"a": 2}', "x.jsonl", AUTO).lines == [2, 4]


def test_parquet() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1], "no": [None, 0.5]}), sink)
    table = read_table(sink.getvalue(), "x.parquet", AUTO)
    assert [table.column(name) for name in ("text", "label", "no")] == [["a", "b"], ["0", "1"], ["", "0.5"]]
    with pytest.raises(DataError, match=r"x\.parquet cannot be read as Parquet"):
        read_table(sink.getvalue()[:-20], "x.parquet", AUTO)


DOCUMENT = b'{"train": [["a", "x"], ["b", "y"]], "more": {"test": [["c", "x"]], "a.b": 1}, "a.b": [["d", "y"]]}'
LISTS = TableFormat(header=("text", "label"))


@pytest.mark.parametrize(("records", "texts"), [("train", ["a", "b"]), ("more.test", ["c"]), ("a.b", ["d"])])
def test_lists_in_a_json_document(records: str, texts: list[str]) -> None:
    (table,) = read_tables(DOCUMENT, "x.json", LISTS, records=records)
    assert (table.name, table.column("text")) == (f"x.json ({records})", texts)
    assert table.lines == list(range(1, len(texts) + 1))


def test_a_json_document_comes_in_pieces() -> None:
    rows = [{"text": str(number)} | ({"label": "x"} if number == 4 else {}) for number in range(5)]
    pieces = list(read_tables(json.dumps(rows).encode(), "x.json", AUTO, rows=2))
    assert [piece.lines for piece in pieces] == [[1, 2], [3, 4], [5]]
    assert [piece.column("label") for piece in pieces] == [["", ""], ["", ""], ["x"]]


@pytest.mark.parametrize(
    ("data", "form", "records", "message"),
    [
        (
            DOCUMENT,
            LISTS,
            None,
            "x.json: no list of rows\ngot keys with values\nname it with records: .* records: train",
        ),
        (DOCUMENT, LISTS, "trian", "nothing at records: trian\ngot keys 'train', 'more', 'a.b'\ndid you mean 'train'"),
        (DOCUMENT, LISTS, "more.dev", "nothing at records: more.dev\ngot keys 'test', 'a.b'"),
        (DOCUMENT, LISTS, "train.x", "got a list, not an object"),
        (DOCUMENT, LISTS, "more", "x.json, records: more: no list of rows"),
        (DOCUMENT, AUTO, "train", r"row 1: .*\ngot a list of 2; expected an object\n.*header"),
        (b'[["a", "b"], ["c"]]', LISTS, None, "row 2: .*\ngot a list of 1; expected a list of 2"),
        (b'[{"text": "a"}]', LISTS, None, "row 1: .*\ngot keys with values; expected a list of 2"),
        (b"[]", AUTO, None, "holds no rows"),
        (b'[{"text": "a"},\n{"te', AUTO, None, "line 2: not JSON"),
        (b'[{"text": "a"},\n', AUTO, None, "not JSON\n.*\nit ends too early"),
        (b"[" * 100_000, AUTO, None, "not JSON"),
        (b'[{"text":\n"caf\xe9"}]', AUTO, None, "line 2: not utf-8"),
    ],
)
def test_refused_json(data: bytes, form: TableFormat, records: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_tables(data, "x.json", form, records=records))
    assert len(str(caught.value).splitlines()) <= 3


def test_records_go_with_json_only() -> None:
    with pytest.raises(DataError, match="records: only goes with a JSON document\ngot csv"):
        list(read_tables(b"text,label\na,x\n", "x.csv", AUTO, records="train"))


def test_a_json_document_has_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_DOCUMENT", 10)
    with pytest.raises(DataError, match="too big for one JSON document"):
        list(read_tables(DOCUMENT, "x.json", LISTS, records="train"))


def test_unquoted_lines_keep_their_quotation_marks() -> None:
    form = TableFormat(format="tsv", quoting=False, header=("a", "b"), skip_lines=1)
    assert read_table(b'junk\n"x\ty"\r\n', "x.txt", form).columns == {"a": ['"x'], "b": ['y"']}


def test_odd_characters_do_not_crash() -> None:
    assert read_table(b"text,label\na\x00\x1b[31m,1\n", "x.csv", AUTO).column("text") == ["a\x00\x1b[31m"]
    assert read_table(b'{"text": "\\ud800x"}', "x.jsonl", AUTO).column("text") == ["\ufffdx"]
    big = "y" * 300_000
    assert read_table(f"text,label\n{big},1\n".encode(), "x.csv", AUTO).column("text") == [big]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.csv", b"text,label\na,1\nb\n", r"line 3: wrong number of fields \(1 such rows\)\ngot 1; expected 2"),
        ("x.csv", b'text,label\na,1\n"b,2\nc,3', r"line 3: unexpected end of data\n.*truncated"),
        ("x.csv", b"text,text\na,1\n", "names a column twice\ngot text"),
        ("x.csv", b"text,label\n", "holds no rows"),
        ("x.csv", b"", "holds no rows"),
        ("x.jsonl", b'{"text": "a"}\n{"text": ', r"line 2: not JSON\n.*\nit is the last line"),
        ("x.jsonl", b'nope\n{"text": 1}', "line 1: not JSON"),
        ("x.jsonl", b'{"text": 1}\n[1]', "line 2: not a JSON object\ngot a list"),
        (
            "x.csv",
            b"text,label\nok,1\ncaf\xe9,1\n",
            r"line 3: not utf-8\ngot byte 0xe9; .* latin-1\n.*iconv -f latin-1",
        ),
        ("x.csv", b"text,label\n\x93caf\xe9\x94,1\n", "looks like cp1252"),
        ("x.csv", "text,label\na,1\n".encode("utf-16"), "looks like utf-16"),
        ("x.csv", "text,label\ncafé".encode()[:-1], r"line 2: the file ends within a character"),
        ("x.doc", b"text", "unknown kind of table"),
        ("x.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_refused(name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_table(data, name, AUTO)
    assert len(str(caught.value).splitlines()) <= 3


def test_missing_column_names_the_nearest() -> None:
    table = read_table(b"Text,lable\na,1\n", "x.csv", AUTO)
    with pytest.raises(
        DataError, match=r"no column 'text'\ngot columns 'Text', 'lable'\ndid you mean 'Text'\?.*--text"
    ):
        table.column("text", "--text-column")


def test_nested_values_are_no_text() -> None:
    table = read_table(b'{"text": ["a"], "label": true}', "x.jsonl", AUTO)
    assert table.column("label") == ["true"]
    with pytest.raises(DataError, match="line 1: column 'text' holds a list"):
        table.column("text")


def test_entities() -> None:
    assert unescape("a &amp;#38; b &lt;3", 2) == "a & b <3"
    assert unescape("a &amp;amp; b", 1) == "a &amp; b"


@given(st.lists(st.tuples(st.text('ab,"\n\t;é\x00', min_size=1), st.text('xy," ', min_size=1)), min_size=1))
def test_csv_round_trip(rows: list[tuple[str, str]]) -> None:
    quoted = "\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    table = read_table(f"text,label\n{quoted}\n".encode(), "x.csv", AUTO)
    assert list(zip(table.column("text"), table.column("label"), strict=True)) == rows


@given(st.binary(max_size=80), st.sampled_from(["x.csv", "x.tsv", "x.jsonl", "x.json", "x.parquet"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    try:
        outcome = "rows" if len(read_table(data, name, AUTO)) else "nothing"
    except DataError as error:
        outcome = str(error)
    assert outcome == "rows" or name in outcome
