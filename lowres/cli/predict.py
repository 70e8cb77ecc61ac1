"""``lowres predict``: texts in, JSON Lines out, a batch at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from lowres.cli.talk import guarded, say
from lowres.data.texts import FORMATS, Item, read_texts
from lowres.files import replacing

if TYPE_CHECKING:
    from lowres.models.classifier import Classifier

CHUNK = 1024
"""Rows that are held, sorted by length and answered at once."""
CHARACTERS = 16_000_000
"""Of the rows that are held: long ones are answered in smaller chunks."""
NAMED_ROWS = 5
"""Bad rows that are named at the end."""


@guarded
def predict(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, such as runs/NAME/best/TARGET-SHOTS.")],
    input: Annotated[str, typer.Option(help="File of the texts; - for standard input.")] = "-",
    output: Annotated[str, typer.Option(help="File for the answers; - for standard output.")] = "-",
    text_column: Annotated[str, typer.Option(help="Column of the text, for JSON Lines, CSV and Parquet.")] = "text",
    pair_column: Annotated[
        str | None,
        typer.Option(help="Column of the second text, for an adapter that reads pairs.", show_default=False),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(FORMATS)}. auto goes by the ending; standard input is JSON Lines if its first line is an object."
        ),
    ] = "auto",
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
    patch: Annotated[
        Path | None, typer.Option(help="A folder of `lowres patch` to put on.", show_default=False)
    ] = None,
    min_precision: Annotated[
        float | None,
        typer.Option(
            help="Share of the answers that has to be right, such as 0.95: rows that are not sure enough get no label.",
            show_default=False,
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            help="Of a model with early exits: uncertainty below which a row leaves, 0 (every layer) to 1. Default: its own.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Answer with a saved adapter: one JSON object a row with label and probabilities, in order.

    A row that cannot be read is marked in its place, and the exit code is 1. With --min-precision a row may be abstained:
    label null. An adapter that was made for pairs of texts reads them from --text-column and --pair-column; one for words
    reads lists of words, or texts with blanks between the words, and answers with tags and entities; others with labels, or a value.
    """
    from json import dumps

    from lowres.errors import unknown_name
    from lowres.kinds import KINDS
    from lowres.models.abstention import basis
    from lowres.models.classifier import load_classifier
    from lowres.models.patch import with_patch

    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    model = with_patch(load_classifier(adapter, backbone=backbone), adapter, patch)
    model = model if speed is None else model.at_speed(speed)
    columns = columns_of(model, text_column, pair_column)
    promise = None if min_precision is None else model.operating(min_precision)
    threshold = promise.threshold if promise else 0.0
    rows_read, abstained, faults, named, wrong_encoding = 0, 0, 0, list[str](), False
    with ExitStack() as files:
        rows = read_texts(input, format, columns, files, words=KINDS[model.kind].unit == "word")
        out = sys.stdout if output == "-" else _open(Path(output), files)
        for chunk in _chunks(rows):
            for answer in _answers(model, chunk, threshold):
                out.write(dumps(answer, ensure_ascii=False) + "\n")
                abstained += "abstained" in answer
            out.flush()
            rows_read += len(chunk)
            bad = [str(number) for number, _, fault in chunk if fault is not None]
            wrong_encoding |= any(fault == "not UTF-8" for _, _, fault in chunk)
            faults, named = faults + len(bad), (named + bad)[:NAMED_ROWS]
    if min_precision is not None and promise and model.counted:
        read = rows_read - faults
        say(f"abstained: {abstained} of {read} rows" + (f" ({abstained / read:.0%})" if read else ""))
        say(basis(model.counted, promise, min_precision))
    if faults:
        more = ", …" if faults > NAMED_ROWS else ""
        say(f"could not be read, marked in the output: {faults} of the rows ({', '.join(named)}{more})")
        if wrong_encoding:
            say("texts have to be UTF-8 here; to convert a file: iconv -f WINDOWS-1252 -t UTF-8 FILE")
        raise typer.Exit(1)


def _chunks(rows: Iterator[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for item in rows:
        chunk.append(item)
        size += len(item[1])
        if len(chunk) == CHUNK or size >= CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def columns_of(model: Classifier, text: str, pair: str | None) -> list[str]:
    """The columns of the texts that a model reads."""
    from lowres.errors import UserError

    if model.kind == "pair" and pair is None:
        raise UserError(
            "the adapter reads pairs of texts",
            got=f"--text-column {text}",
            expected="--pair-column as well: the column of the second text",
        )
    if model.kind != "pair" and pair is not None:
        raise UserError("the adapter reads one text a row", got=f"--pair-column {pair}", expected="--text-column alone")
    return [text] if pair is None else [text, pair]


def _answers(model: Classifier, chunk: list[Item], threshold: float) -> Iterator[dict[str, object]]:
    """One object a row; below the threshold without a label."""
    from lowres.kinds import KINDS

    texts = [text for _, text, fault in chunk if fault is None]
    made = _labels(model, texts, threshold) if KINDS[model.kind].single else _others(model, texts)
    for number, _, fault in chunk:
        yield next(made) if fault is None else {"row": number, "error": fault}


def _labels(model: Classifier, texts: list[str], threshold: float) -> Iterator[dict[str, object]]:
    for row in model.predict_proba(texts):
        scores = {label: round(float(value), 6) for label, value in zip(model.labels, row, strict=True)}
        if row.max() >= threshold:
            yield {"label": model.labels[int(row.argmax())], "probabilities": scores}
        else:
            yield {"label": None, "abstained": True, "probabilities": scores}


def _others(model: Classifier, texts: list[str]) -> Iterator[dict[str, object]]:
    """Of words their tags, with the probability of each, and the entities that they name (words counted from 0, the end
    exclusive); of any number of labels those given; of a regression the number.
    """
    from lowres.data.rows import unit_sizes
    from lowres.kinds import KINDS, entities

    if not texts:
        return
    rows, begin = model.predict_proba(texts), 0
    for answer, size in zip(model.answers_of(rows, texts), unit_sizes(texts), strict=True):
        own = rows[begin : begin + size]
        begin += size
        if KINDS[model.kind].unit == "word":
            sure = [round(float(value), 6) for value in own.max(axis=1)]
            found = [{"type": name, "begin": first, "end": end} for name, first, end in entities(answer)]
            yield {"tags": answer, "probabilities": sure, "entities": found}
        elif KINDS[model.kind].answer == "many":
            scores = {label: round(float(value), 6) for label, value in zip(model.labels, own[0], strict=True)}
            yield {"labels": answer, "probabilities": scores}
        else:
            yield {"value": round(answer, 6)}


def _open(path: Path, files: ExitStack) -> IO[str]:
    """A file takes its place when it is whole; a pipe or a terminal is written as it is."""
    from lowres.errors import UserError

    if path.is_dir():
        raise UserError(f"{path} cannot be written", got="a folder", expected="a file, or - for standard output")
    try:
        plain = path.exists() and not path.is_file() and not path.is_dir()
        return files.enter_context(path.open("w", encoding="utf-8") if plain else replacing(path))
    except OSError as error:
        raise UserError(f"{path} cannot be written", got=error.strerror) from error
