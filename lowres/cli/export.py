"""``lowres export``: a saved adapter as other programs read it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowres.cli.predict import columns_of
from lowres.cli.talk import guarded, plain, put, say

if TYPE_CHECKING:
    from lowres.export.compared import Compared
    from lowres.models.classifier import Classifier

MOST_TEXTS = 1000
"""Of a file that an export is compared on."""


@guarded
def export(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, such as runs/NAME/best/TARGET-SHOTS.")],
    to: Annotated[
        str,
        typer.Option(
            help="merged, onnx, onnx-int8, peft or sentence-transformers (docs/export.md).", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the export.", show_default=False)],
    texts: Annotated[
        str | None,
        typer.Option(
            help=f"File of texts, as of predict, to compare on (the first {MOST_TEXTS}). Default: some short ones.",
            show_default=False,
        ),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            help="With --texts: column of the text, for JSON Lines, CSV and Parquet. Default: text.", show_default=False
        ),
    ] = None,
    pair_column: Annotated[
        str | None,
        typer.Option(
            help="With --texts: column of the second text, for an adapter that reads pairs.", show_default=False
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.", show_default=False)] = False,
) -> None:
    """Write a saved adapter as other programs read it, open it there, and compare (extra: export).

    merged: the adapter in the encoder's weights, which go with it. onnx: one graph, and a program that answers with onnxruntime, tokenizers and numpy alone; onnx-int8: a quarter of its
    size. peft: a plain PEFT folder. sentence-transformers: the vectors of the trained encoder.
    """
    from json import dumps

    from lowres.errors import UserError
    from lowres.export.catalogue import write_export
    from lowres.models.classifier import load_classifier

    if texts is None and (text_column or pair_column):
        given = f"--text-column {text_column}" if text_column else f"--pair-column {pair_column}"
        raise UserError("a column of no file", got=given, hint="name the file: --texts FILE")
    model = load_classifier(adapter, backbone=backbone)
    rows = [] if texts is None else _rows(model, texts, columns_of(model, text_column or "text", pair_column))
    found = write_export(model, to, out, rows)
    say(compared(found.compared))
    put(dumps(found.as_dict(), indent=2, ensure_ascii=False) if json else plain(str(found.folder)))


def compared(found: Compared) -> str:
    """How an export compares with its origin, in one line."""
    same = "" if found.agreement is None else f", {found.agreement:.1%} of the answers are the same"
    return f"compared with the adapter on {found.texts} texts: they differ by at most {found.gap:.2g}{same}"


def _rows(model: Classifier, path: str, columns: list[str]) -> list[str]:
    """The first readable texts of a file."""
    from itertools import islice

    from lowres.data.texts import read_texts
    from lowres.errors import UserError
    from lowres.kinds import KINDS

    with ExitStack() as files:
        items = read_texts(path, "auto", columns, files, words=KINDS[model.kind].unit == "word")
        rows = list(islice((text for _, text, fault in items if fault is None), MOST_TEXTS))
    if not rows:
        raise UserError(f"{path} holds no text to compare on", hint="leave --texts out")
    return rows
