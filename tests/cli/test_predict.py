"""``lowres predict``: what it reads, what it does with bad rows, and that it needs no more memory for more rows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

import lowres
from lowres.cli.main import app
from lowres.cli.predict import CHUNK
from lowres.data.texts import PARQUET_ROWS, read_texts
from lowres.errors import DataError
from tests.conftest import toy_rows

ROWS = [row for row in toy_rows(20) if row["domain"] == "film"]
TEXTS = [row["text"] for row in ROWS]


@pytest.fixture(scope="module")
def adapter(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"learning_rate": 5e-3, "min_steps": 20, "max_length": 24}
    classifier = lowres.Classifier(backbone=encoder, recipe=recipe, precision="fp32")
    classifier.fit(TEXTS, [row["label"] for row in ROWS])
    return classifier.save(tmp_path_factory.mktemp("model") / "adapter")


def call(*words: object, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["predict", *(str(word) for word in words)], input=input)


def answers(result: Result | str) -> list[dict[str, Any]]:
    text = result if isinstance(result, str) else result.stdout
    return [json.loads(line) for line in text.splitlines()]


def read(path: Path, column: str = "text", format: str = "auto") -> list[tuple[int, str, str | None]]:
    with ExitStack() as files:
        return list(read_texts(str(path), format, [column], files))


def test_answers_come_in_order_and_are_those_of_the_library(adapter: Path, tmp_path: Path) -> None:
    texts = [" ".join(TEXTS[: 1 + number % 5]) + f" {number}" for number in range(CHUNK + 7)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    found = answers(call(adapter, "--input", tmp_path / "a.txt"))
    model = lowres.load(adapter)
    expected = model.predict_proba(texts)
    assert len(found) == len(texts)
    for answer, row in zip(found, expected, strict=True):
        assert list(answer["probabilities"].values()) == pytest.approx(row, abs=1e-5)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)


def test_every_format_gives_the_same(adapter: Path, tmp_path: Path) -> None:
    lines = "\n".join(TEXTS) + "\n"
    objects = "".join(json.dumps({"body": text, "n": 1}) + "\n" for text in TEXTS)
    (tmp_path / "a.txt").write_text(lines)
    (tmp_path / "a.jsonl").write_text(objects)
    (tmp_path / "a.csv").write_text("n,body\n" + "".join(f'1,"{text}"\n' for text in TEXTS))
    (tmp_path / "a.tsv").write_text("n\tbody\n" + "".join(f"1\t{text}\n" for text in TEXTS))
    parquet.write_table(pa.table({"body": TEXTS, "n": [1] * len(TEXTS)}), tmp_path / "a.parquet")
    whole = call(adapter, "--input", tmp_path / "a.txt").stdout
    assert len(whole.splitlines()) == len(TEXTS)
    for name in ("a.jsonl", "a.csv", "a.tsv", "a.parquet"):
        assert call(adapter, "--input", tmp_path / name, "--text-column", "body").stdout == whole, name
    assert call(adapter, input=lines).stdout == whole
    assert call(adapter, "--text-column", "body", input=objects).stdout == whole
    table = (tmp_path / "a.csv").read_bytes()
    assert call(adapter, "--text-column", "body", "--format", "csv", input=table).stdout == whole


OK, BAD = "good plot", "bad plot"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"good plot\nbad plot", [OK, BAD]),
        ("a.txt", b"\xef\xbb\xbfgood plot\r\nbad plot\r\n", [OK, BAD]),
        ("a.txt", b"good plot\n\nbad plot\n", [OK, None, BAD]),
        ("a.txt", b"good\rplot\nbad plot\n", ["good\rplot", BAD]),
        ("a.txt", b"good plot\nb\xe4d plot\nbad plot\n", [OK, None, BAD]),
        ("a.txt", b"good plot\nbad plot\n\xf0\x9f\x98", [OK, BAD, None]),
        ("a.txt", b"good\x00plot\n", ["good\x00plot"]),
        ("a.txt", b"", []),
        ("a.jsonl", b'{"text": "good plot"}\n\n{"text": "bad plot"}\n\n', [OK, BAD]),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "good plot"}\r\n{"text": "bad plot"}\r\n', [OK, BAD]),
        ("a.jsonl", b'{"text": "good plot"}\n{"text": "b\xe4d"}\n{"text": "bad plot"}\n', [OK, None, BAD]),
        ("a.jsonl", b'{"text": "good plot"}\n{"txt": 1}\n[1]\n{"text": 5}\n{"text": null}\n', [OK, *[None] * 4]),
        ("a.jsonl", b'{"text": "good plot"}\n' + b"[" * 100_000 + b'\n{"text": "bad plot"}\n', [OK, None, BAD]),
        ("a.ndjson", b'{"text": "good\\nplot"}\n', ["good\nplot"]),
        ("a.csv", b"text,n\ngood plot,1\nbad plot,2\n", [OK, BAD]),
        ("a.csv", b"\xef\xbb\xbftext\r\ngood plot\r\nbad plot\r\n", [OK, BAD]),
        ("a.csv", b'n,text\n1,"good\nplot"\n2,"bad, ""plot"""\n', ["good\nplot", 'bad, "plot"']),
        ("a.csv", b"n;text\n1;good plot\n2;bad, plot\n", [OK, "bad, plot"]),
        ("a.csv", b"sep=;\nn;text\n1;good plot\n", [OK]),
        ("a.csv", b'"n","text "\n1,good plot\n', [OK]),
        ("a.csv", b"text,n\ngood plot\nbad plot,1,2\nbad plot,3\n", [None, None, BAD]),
        ("a.csv", b"text\n\ngood plot\n\n", [OK]),
        ("a.csv", b"text,n\ngood\x00plot,1\nbad plot,2\n", ["good\x00plot", BAD]),
        ("a.csv", b"text,n\nb\xe4d,1\nbad plot,2\n,3\n", [None, BAD, None]),
        ("a.csv", b"n,text\n\xe4,good plot\n", [OK]),
        ("a.csv", b"n|text\n1|good plot\n", [OK]),
        ("a.tsv", b"n\ttext\n1\tgood, plot\n", ["good, plot"]),
    ],
)
def test_what_is_read(name: str, content: bytes, expected: list[str | None], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = read(tmp_path / name)
    assert [number for number, _, _ in found] == list(range(1, len(expected) + 1))
    assert [None if fault else text for _, text, fault in found] == expected
    assert all(not text for _, text, fault in found if fault)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,n\ngood\n", "1 cells, expected 2"),
        (b"text,n\nb\xe4d,1\n", "not UTF-8"),
        (b"text,n\n ,1\n", "empty"),
    ],
)
def test_why_a_row_is_bad(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert read(tmp_path / "a.csv") == [(1, "", said)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"txt,n\ngood,1\n", "--text-column 'txt'?"),
        ("a.csv", "text,n\ngood,1\n".encode("utf-16"), "not UTF-8"),
        ("a.csv", b"", "no column 'text'"),
        ("a.csv", b"text\n" + b"x" * (64 << 20) + b"y\n", "field larger"),
        ("a.jsonl", b'{"txt": "good"}\n', "--text-column 'txt'?"),
        ("a.json", b'[\n  {"text": "good"}\n]', "one object a line"),
        ("a.parquet", b"PAR1 no table", "Parquet"),
        ("a.parquet", None, "could not be read"),
        ("a.txt", None, "could not be read"),
    ],
)
def test_what_cannot_be_read_at_all(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(said)):
        read(tmp_path / name)


def test_parquet_rows_that_are_no_text_are_marked(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\x02\0\0\0\x03\0\0\0\x05\0\0\0"), pa.py_buffer(b"ok\xe4ok")]
    )
    parquet.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [(1, "ok", None), (2, "", "not UTF-8"), (3, "ok", None)]
    many = [f"good {number}" for number in range(PARQUET_ROWS)] + [None, "", "bad"]
    parquet.write_table(pa.table({"text": many}), tmp_path / "b.parquet", row_group_size=700)
    found = read(tmp_path / "b.parquet")
    assert [fault for _, _, fault in found] == [None] * PARQUET_ROWS + ["empty", "empty", None]
    assert found[-1][:2] == (PARQUET_ROWS + 3, "bad")
    parquet.write_table(pa.table({"text": [1, 2]}), tmp_path / "c.parquet")
    assert [fault for _, _, fault in read(tmp_path / "c.parquet")] == ["no text", "no text"]


def test_bad_rows_are_named_and_the_rest_goes_on(adapter: Path, tmp_path: Path) -> None:
    lines = [b"b\xe4d" if number % 10 == 3 else b"good plot" for number in range(1, 81)]
    (tmp_path / "a.txt").write_bytes(b"\n".join(lines))
    for result in (call(adapter, "--input", tmp_path / "a.txt"), call(adapter, input=b"\n".join(lines))):
        assert result.exit_code == 1
        found = answers(result)
        assert found[2] == {"row": 3, "error": "not UTF-8"}
        assert [place for place, answer in enumerate(found) if "error" in answer] == list(range(2, 80, 10))
        assert "8 of the rows (3, 13, 23, 33, 43, …)" in result.stderr
    whole = call(adapter, "--input", tmp_path / "a.txt", "--output", tmp_path / "out.jsonl")
    assert (whole.exit_code, whole.stdout) == (1, "")
    assert (tmp_path / "out.jsonl").read_text() == result.stdout


def test_a_row_of_a_megabyte(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good " * 200_000 + "\nbad plot\n")
    assert [set(answer) for answer in answers(call(adapter, "--input", tmp_path / "a.txt"))] == [
        {"label", "probabilities"}
    ] * 2


def test_parquet_is_not_read_from_standard_input(adapter: Path) -> None:
    result = call(adapter, "--format", "parquet", input=b"PAR1")
    assert (result.exit_code, "--input" in result.stderr) == (2, True)


def start(adapter: Path, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lowres", "predict", str(adapter), *words]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **streams)


def test_answers_come_while_texts_still_come(adapter: Path) -> None:
    process = start(adapter, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"good plot\n" * CHUNK)
    process.stdin.flush()
    timer = threading.Timer(60, process.kill)
    timer.start()
    assert "label" in json.loads(process.stdout.readline())  # standard input is still open
    process.stdin.write(b"bad plot\n")
    process.stdin.close()
    assert len(process.stdout.readlines()) == CHUNK
    assert process.wait(60) == 0
    timer.cancel()
    process.stdout.close()


def test_a_reader_that_leaves_is_no_fault(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good plot\n" * 5 * CHUNK)
    process = start(adapter, "--input", str(tmp_path / "a.txt"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert said == b""


def test_no_standard_input(adapter: Path) -> None:
    line = f"{sys.executable} -m lowres predict {adapter} <&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "standard input is closed" in done.stderr


def test_answers_go_into_a_pipe(adapter: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("good plot\n")
    process = start(adapter, "--input", str(tmp_path / "a.txt"), "--output", str(tmp_path / "pipe"))
    assert len(answers((tmp_path / "pipe").read_text())) == 1
    assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of one process is read from /proc")
def test_more_rows_need_no_more_memory(adapter: Path, tmp_path: Path) -> None:
    def peak(rows: int) -> float:
        (tmp_path / "a.txt").write_text("".join(f"good plot and a {number} lovely scene\n" for number in range(rows)))
        code = (
            "import sys\nfrom lowres.cli.main import app\n"
            f"app(['predict', {str(adapter)!r}, '--input', 'a.txt', '--output', 'out'], standalone_mode=False)\n"
            "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])\n"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=environment
        )
        assert len((tmp_path / "out").read_text().splitlines()) == rows
        return int(done.stdout) / 1024

    assert CHUNK < 60_000
    assert peak(60_000) - peak(2_000) < 20


@pytest.fixture(scope="module")
def measured(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter with its answers counted on rows of which the surest half are always right, the others half the time."""
    model = lowres.load(adapter)
    texts = [" ".join(TEXTS[number : number + 1 + number % 3]) for number in range(len(TEXTS))] * 4
    rows = model.predict_proba(texts)
    middle = float(np.median(rows.max(axis=1)))
    labels = [
        model.labels[int(row.argmax()) if row.max() > middle or number % 2 else int(row.argmin())]
        for number, row in enumerate(rows)
    ]
    counted = model.counted_on(texts, labels, domain="film", part="test")
    return counted.save(tmp_path_factory.mktemp("model") / "measured")


def test_rows_that_are_not_sure_enough_get_no_label(measured: Path) -> None:
    model = lowres.load(measured)
    point = model.operating(0.9)
    result = call(measured, "--min-precision", 0.9, input="\n".join(TEXTS))
    assert result.exit_code == 0
    found, sure = answers(result), model.predict_proba(TEXTS).max(axis=1)
    assert {answer["label"] for answer in found} > {None}
    for answer, confidence in zip(found, sure, strict=True):
        if confidence >= point.threshold:
            assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
            assert "abstained" not in answer
        else:
            assert answer == {"label": None, "abstained": True, "probabilities": answer["probabilities"]}
    assert model.predict(TEXTS, min_precision=0.9) == [answer["label"] for answer in found]
    assert None not in model.predict(TEXTS)
    share = (sure < point.threshold).mean()
    assert f"of {len(TEXTS)} rows ({share:.0%})" in result.stderr
    assert "160 labelled test rows of film" in result.stderr
    assert "abstained" not in call(measured, input="\n".join(TEXTS)).stdout


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        (0.99, "160 labelled rows are too few, 299 are needed even if all are answered rightly"),
        (1.0, "expected above 0 and below 1"),
        (-1, "expected above 0 and below 1"),
    ],
)
def test_a_precision_that_the_labels_do_not_support(measured: Path, precision: float, said: str) -> None:
    result = call(measured, "--min-precision", precision, input="good plot")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3
    if precision == 0.99:
        highest = float(result.stderr.strip().rsplit(" ", 1)[1])
        assert call(measured, "--min-precision", highest, input="good plot").exit_code == 0


def test_a_folder_without_counts_is_read_but_promises_nothing(adapter: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(adapter, folder)
    record = json.loads((folder / "lowres.json").read_text())
    del record["counted"]
    (folder / "lowres.json").write_text(json.dumps(record))
    assert answers(call(folder, input="good plot"))[0]["label"]
    for place in (folder, adapter):
        result = call(place, "--min-precision", 0.9, input="good plot")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "cannot say when to abstain" in result.stderr


@pytest.mark.parametrize(
    "change", [{"rows": 0}, {"design": 0.5}, {"steps": []}, {"steps": [[2.0, 1, 1]]}, {"steps": "no"}]
)
def test_damaged_counts_are_said(measured: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(measured, folder)
    record = json.loads((folder / "lowres.json").read_text())
    record["counted"]["steps"] |= change
    (folder / "lowres.json").write_text(json.dumps(record))
    result = call(folder, input="good plot")
    assert result.exit_code == 2
    assert "lowres.json" in result.stderr
