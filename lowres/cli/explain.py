"""``lowres explain``: which words an answer of a saved adapter rests on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowres.cli.talk import DownloadProgress, console, guarded, put, say
from lowres.files import replacing

if TYPE_CHECKING:
    from lowres.models.classifier import Classifier


@guarded
def explain(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, such as runs/NAME/best/TARGET-SHOTS.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts to explain; two by two, first and second, for an adapter that reads pairs.", show_default=False
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Label to explain. Default: the predicted one.", show_default=False)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.", show_default=False)] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a text, or a word.", show_default=False)
    ] = False,
    task: Annotated[
        str | None, typer.Option(help="With --compare: a task, a task file or a table.", show_default=False)
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="SOURCE,TARGET: words whose weight differs most between their test texts.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="With --compare: texts a domain.")] = 100,
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
) -> None:
    """Show what each word adds to the label's logit, by integrated gradients (extra: explain).

    With --task and --compare: the words whose weight for one label (the last unless --label names it) changes most from
    one domain to another.
    """
    from lowres.errors import UserError
    from lowres.models.classifier import load_classifier

    if bool(texts) == bool(compare) or bool(task) != bool(compare) or (compare and html):
        raise UserError("nothing to explain", expected="texts, or --task TASK --compare SOURCE,TARGET (without --html)")
    model = load_classifier(adapter, backbone=backbone)
    if compare:
        sys.stdout.write(_compared(model, str(task), compare, label, limit, json))
    else:
        _explained(model, texts or [], label, html, json)


def _explained(model: Classifier, texts: list[str], label: str | None, html: Path | None, json: bool) -> None:
    from lowres.analysis import explain
    from lowres.errors import UserError
    from lowres.report import attributions

    if model.kind == "pair" and len(texts) % 2:
        raise UserError("the adapter reads pairs of texts", got=f"{len(texts)} texts", expected="two for each answer")
    pairs = list(zip(texts[::2], texts[1::2], strict=True)) if model.kind == "pair" else texts
    found = explain.explain(model, pairs, label)
    if html is not None:
        try:
            with replacing(html) as stream:
                stream.write(attributions.page(found))
        except OSError as error:
            raise UserError(f"{html} cannot be written", got=error.strerror) from error
    if json:
        sys.stdout.write(attributions.lines(found))
        return
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for one in found:
        put(attributions.title(one))
        if colour:
            console().print(attributions.coloured(one))
        else:
            put(attributions.plain(one))
        say(attributions.note(one))


def _compared(model: Classifier, task: str, compare: str, label: str | None, limit: int, json: bool) -> str:
    from lowres.analysis import explain
    from lowres.data.splits import limit_test
    from lowres.data.task import load_task
    from lowres.errors import UserError
    from lowres.report import attributions

    names = [name.strip() for name in compare.split(",")]
    if len(names) != 2 or names[0] == names[1]:
        raise UserError("--compare takes two domains", got=compare, expected="SOURCE,TARGET")
    loaded = load_task(task, wanted=tuple(names), progress=DownloadProgress())
    source, target = (list(limit_test(loaded.name, loaded.domain(name).test, limit).texts) for name in names)
    wanted = label if label is not None else model.labels[-1]
    found = explain.changes(model, source, target, wanted)
    if not found and not json:
        say(f"no word stands in {explain.FEWEST} texts of both domains: raise --limit")
    return attributions.lines(found) if json else attributions.compared(found, wanted, *names)
