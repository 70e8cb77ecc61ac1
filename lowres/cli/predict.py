"""``lowres predict``: texts in, JSON Lines out, a batch at a time."""

from __future__ import annotations

import itertools
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import typer

from lowres.cli.talk import guarded, say
from lowres.data.texts import FORMATS, read_texts
from lowres.files import replacing

BATCH = 256


@guarded
def predict(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, such as runs/NAME/best/TARGET-SHOTS.")],
    input: Annotated[str, typer.Option(help="File of the texts; - for standard input.")] = "-",
    output: Annotated[str, typer.Option(help="File for the answers; - for standard output.")] = "-",
    text_column: Annotated[str, typer.Option(help="Column of the text, for JSON Lines, CSV and Parquet.")] = "text",
    format: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(FORMATS)}. auto goes by the ending; standard input is JSON Lines if its first line is an object."
        ),
    ] = "auto",
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
) -> None:
    """Answer with a saved adapter: one JSON object a row with label and probabilities, in order."""
    from json import dumps

    from lowres.errors import unknown_name
    from lowres.models.classifier import load_classifier

    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    model = load_classifier(adapter, backbone=backbone)
    bad = 0
    with ExitStack() as files:
        rows = read_texts(input, format, text_column, files)
        out = sys.stdout if output == "-" else _open(Path(output), files)
        while chunk := list(itertools.islice(rows, BATCH)):
            answers = iter(model.predict_proba([text for _, text, fault in chunk if fault is None]))
            for number, _, fault in chunk:
                if fault is not None:
                    bad += 1
                    out.write(dumps({"row": number, "error": fault}, ensure_ascii=False) + "\n")
                    continue
                row = next(answers)
                scores = {label: round(float(value), 6) for label, value in zip(model.labels, row, strict=True)}
                answer = {"label": model.labels[int(row.argmax())], "probabilities": scores}
                out.write(dumps(answer, ensure_ascii=False) + "\n")
    if bad:
        say(f"{bad} {'row' if bad == 1 else 'rows'} could not be read; marked in the output")
        raise typer.Exit(1)


def _open(path: Path, files: ExitStack) -> IO[str]:
    from lowres.errors import UserError

    try:
        return files.enter_context(replacing(path))
    except OSError as error:
        raise UserError(f"{path} cannot be written", got=error.strerror) from error
