"""``lowres patch``: corrected rows become a small patch of a saved adapter, or the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowres.cli.flags import listed
from lowres.cli.talk import DownloadProgress, guarded, plain, put, say

if TYPE_CHECKING:
    from lowres.models.patch import PatchRecord


@guarded
def patch(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, such as runs/NAME/best/TARGET-SHOTS.")],
    fixes: Annotated[Path, typer.Argument(help="Corrected rows, text and label: JSON Lines, CSV, TSV or Parquet.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the patch. Default: that of the adapter with -patch behind it.", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Task whose test rows must not fall: a shipped one, a task file, a table or a folder. Default: the shipped one that the adapter was made for.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None, typer.Option(help="Domains of it, with commas. Default: all with test rows.", show_default=False)
    ] = None,
    max_loss: Annotated[float, typer.Option(help="How much the score of a domain may fall.")] = 0.01,
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    pair_column: Annotated[
        str | None,
        typer.Option(help="Column of the second text, for an adapter that reads pairs.", show_default=False),
    ] = None,
    label_column: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.", show_default=False)] = False,
) -> None:
    """Learn corrected rows as a patch that can be taken off again.

    The patch is written only if every fix is right when it is loaded from disk and no domain's score falls by more than
    --max-loss on the test rows that are no fix; else nothing is, and the exit code is 1. Put it on: lowres predict ADAPTER --patch FOLDER.
    """
    from lowres.export.hot_fix import PatchError
    from lowres.export.hot_fix import patch as make

    try:
        made = make(
            adapter,
            fixes,
            out=out,
            task=task,
            on=listed(on, "--on"),
            max_loss=max_loss,
            backbone=backbone,
            text_column=text_column,
            pair_column=pair_column,
            label_column=label_column,
            progress=DownloadProgress(),
        )
    except PatchError as refused:
        _show(refused.record, json, {"kept": False, "faults": list(refused.faults)})
        raise
    folder = out or adapter.resolve().with_name(f"{adapter.resolve().name}-patch")
    _show(made.record, json, {"kept": True, "folder": str(folder)})
    if not json:
        put(plain(str(folder)))


def _show(record: PatchRecord, json: bool, more: dict[str, Any]) -> None:
    """What was measured: as JSON on stdout, else a few lines on stderr."""
    if json:
        from dataclasses import asdict
        from json import dumps

        found = {name: value for name, value in asdict(record).items() if name != "seen"}
        put(dumps(found | more, indent=2, ensure_ascii=False))
        return
    say(
        f"{record.fixes} fixes, {record.mended} of them wrong before; {record.steps} steps, {record.replayed} rows replayed"
    )
    for one in record.domains:
        left = f" ({one.left_out} left out: the same as a fix, or of its group)" if one.left_out else ""
        say(
            f"{one.domain}: {record.metric} {one.before:.3f} → {one.after:.3f}, change {one.change:+.4f}"
            f" [{one.low:+.4f}, {one.high:+.4f}], on {one.rows} test rows{left}"
        )
    say("intervals: 95 %, paired over the test groups of this one model")
