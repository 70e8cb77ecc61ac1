"""``lowres predict``: texts in, JSON Lines out."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from lowres.cli.talk import guarded, say

BATCH = 256
MAX_FIELD = 64 * 1024 * 1024
"""Characters of one CSV cell at the most."""


@guarded
def predict(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, such as runs/NAME/best/TARGET-SHOTS.")],
    input: Annotated[
        str, typer.Option(help="A file with one text a line, JSON Lines or CSV by its ending; - for standard input.")
    ] = "-",
    output: Annotated[str, typer.Option(help="File for the answers; - for standard output.")] = "-",
    text_column: Annotated[str, typer.Option(help="Column of the text, for JSON Lines and CSV.")] = "text",
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
) -> None:
    """Answer with a saved adapter: one JSON object a row with label and probabilities, in order."""
    from json import dumps

    from lowres.models.classifier import load_classifier

    model = load_classifier(adapter, backbone=backbone)
    with ExitStack() as files:
        out = sys.stdout if output == "-" else files.enter_context(replacing(Path(output)))
        bad = 0
        batch: list[str] = []

        def flush() -> None:
            for row in model.predict_proba(batch):
                scores = {label: round(float(value), 6) for label, value in zip(model.labels, row, strict=True)}
                out.write(
                    dumps({"label": model.labels[int(row.argmax())], "probabilities": scores}, ensure_ascii=False)
                    + "\n"
                )
            batch.clear()

        for number, text in _texts(input, text_column, files):
            if text is None:
                bad += 1
                flush()
                out.write(dumps({"row": number, "error": "no text"}) + "\n")
                continue
            batch.append(text)
            if len(batch) == BATCH:
                flush()
        if batch:
            flush()
    if bad:
        say(f"{bad} rows had no text; they are marked in the output")
        raise typer.Exit(1)


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A stream beside ``path`` that takes its place at the end; an older file stays until then."""
    from lowres.errors import UserError

    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise UserError(f"{path} cannot be written", got=error.strerror) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            yield stream
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _texts(source: str, column: str, files: ExitStack) -> Iterator[tuple[int, str | None]]:
    """Row numbers from 1, and texts; None where a row has none."""
    import csv
    import json

    from lowres.errors import DataError

    kind = Path(source).suffix.lower() if source != "-" else ""
    try:
        stream = (
            sys.stdin if source == "-" else files.enter_context(Path(source).open(encoding="utf-8-sig", newline=""))  # noqa: SIM115
        )
    except OSError as error:
        raise DataError(f"{source} could not be read", got=error.strerror) from error
    try:
        if kind in (".csv", ".tsv"):
            csv.field_size_limit(MAX_FIELD)
            reader = csv.DictReader(stream, delimiter="\t" if kind == ".tsv" else ",")
            if column not in (reader.fieldnames or []):
                raise DataError(
                    f"{source} has no column {column!r}",
                    got=", ".join(reader.fieldnames or []),
                    hint="--text-column NAME",
                )
            for number, row in enumerate(reader, start=1):
                yield number, row[column] or None
            return
        for number, line in enumerate(stream, start=1):
            text = line.rstrip("\r\n")
            if kind != ".jsonl":
                yield number, text or None
                continue
            try:
                value = json.loads(text).get(column)
            except (ValueError, AttributeError):
                value = None
            yield number, value if isinstance(value, str) and value else None
    except csv.Error as error:
        raise DataError(f"{source} is no table that can be read", got=error) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source} is not UTF-8", got=f"byte {error.object[error.start]:#04x}", hint="convert it with iconv"
        ) from error
