"""``lowres fit`` and ``evaluate``: one adapter, made and scored."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from lowres.cli.flags import STUDY_ONLY, study_flags
from lowres.cli.talk import DownloadProgress, guarded, plain, put, say

SPLITS = ("test", "dev")


@functools.partial(study_flags, skip=STUDY_ONLY)
@guarded
def fit(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    on: Annotated[str, typer.Option(help="Domain to train on.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the adapter.", show_default=False)],
    start_from: Annotated[str | None, typer.Option(help="Domain to train on first.", show_default=False)] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            help="Rows per class; default: all, up to --source-rows; 0 with --start-from: none, source-only.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="A name of `methods ls`. Default: target-full; with --shots target-only; with --start-from source-then-target.",
            show_default=False,
        ),
    ] = None,
    draw: Annotated[int, typer.Option(help="Which draw of rows, start and order.")] = 0,
    head: Annotated[
        str, typer.Option(help="linear; or stock, a whole model for transformers.pipeline instead of an adapter.")
    ] = "linear",
) -> None:
    """Train one adapter, score it on its domain's test rows, and save it ready to use."""
    from lowres.errors import UserError
    from lowres.files import check_free
    from lowres.library import Study
    from lowres.models.classifier import check_place
    from lowres.study.config import build_config

    if head == "stock" and "engine" in given:
        raise UserError(
            "a stock head is trained by the plain engine", got=f"--engine {given['engine']}", hint="leave --engine out"
        )
    study = Study(config=build_config(given, file=file, sets=sets), downloads=DownloadProgress())
    (check_free if head == "stock" else check_place)(out)
    if (out / "compression.json").exists():
        raise UserError(
            f"{out} holds a compressed model",
            expected="a folder without one",
            hint="choose another --out, or remove it",
        )
    for line in study.task.notes:
        say(line)
    model = study.fit(on, start_from=start_from, shots=shots, method=method, draw=draw, head=head)
    folder = model.save(out)
    for score in model.about["scores"]:
        say(f"{score['metric']} on {score['domain']}: {score['value']:.3f}")
    put(plain(str(folder)))


@guarded
def evaluate(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder.")],
    task: Annotated[str, typer.Argument(help="A shipped task, a task file, a table or a folder.")],
    on: Annotated[str, typer.Option(help="Domain to score on.", show_default=False)],
    split: Annotated[str, typer.Option(help="test or dev.")] = "test",
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
    patch: Annotated[
        Path | None, typer.Option(help="A folder of `lowres patch` to put on.", show_default=False)
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="Of a model with early exits, as of predict. Default: its own.", show_default=False),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of the text, for a table.", show_default=False)
    ] = None,
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second text, for a table of pairs.", show_default=False)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the label, for a table.", show_default=False)
    ] = None,
    domain_column: Annotated[
        str | None, typer.Option(help="Column of the domain, for a table.", show_default=False)
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column that says which rows belong together, for a table.", show_default=False)
    ] = None,
) -> None:
    """Score a saved adapter on one domain; prints every metric as JSON. Rows that a patch has taught it are left out."""
    from json import dumps

    from lowres.analysis.asked import kept, score
    from lowres.data.task import load_task
    from lowres.errors import unknown_name
    from lowres.library import load

    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    loaded = load_task(
        task,
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        domain_column=domain_column,
        group_column=group_column,
        wanted=(on,),
        progress=DownloadProgress(),
    )
    for line in loaded.notes:
        say(line)
    domain = loaded.domain(on)
    rows = domain.test if split == "test" else domain.dev
    model = load(adapter, backbone=backbone, patch=patch)
    model = model if speed is None else model.at_speed(speed)
    rows, left = kept(model, rows)
    if left:
        say(f"{left} {split} rows of {on} are left out: a patch has taught them, or rows of their groups")
    found = score(model, rows, loaded.labels if loaded.labels_of else ())
    put(
        dumps(
            {"task": loaded.name, "domain": on, "split": split, "rows": len(rows), "left_out": left, **found},
            indent=2,
            ensure_ascii=False,
        )
    )
