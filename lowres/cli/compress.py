"""``lowres compress``: a fitted model made smaller or faster, and what that does to its scores and drops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowres.cli.flags import listed
from lowres.cli.talk import DownloadProgress, ShareProgress, guarded, plain, put, say

if TYPE_CHECKING:
    from lowres.export.compression import Compression


@guarded
def compress(
    adapter: Annotated[Path, typer.Argument(help="An adapter folder, such as runs/NAME/best/TARGET-SHOTS.")],
    method: Annotated[str, typer.Option(help="distil, prune, quantise, lowrank or early-exit.")],
    out: Annotated[Path, typer.Option(help="Folder of the new model.", show_default=False)],
    task: Annotated[
        str | None,
        typer.Option(help="Shipped task, task file or table. Default: the task it was made for.", show_default=False),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Domains with commas. Default: what it was trained on.", show_default=False)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Domains with commas. Default: the target it was made for, without a source all others.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        int | None, typer.Option(help="distil: layers of the student. Default: half.", show_default=False)
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(help="distil: width of its vectors, in steps of a head. Default: as wide.", show_default=False),
    ] = None,
    heads: Annotated[
        float | None,
        typer.Option(help="prune: share of the attention heads that is kept. Default: 0.5.", show_default=False),
    ] = None,
    neurons: Annotated[
        float | None,
        typer.Option(help="prune: share of the inner neurons that is kept. Default: 0.5.", show_default=False),
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(help="lowrank: share of the energy of outputs that is kept. Default: 0.9.", show_default=False),
    ] = None,
    bits: Annotated[
        str | None,
        typer.Option(
            help="quantise: weights (eight bits on disk) or dynamic (in products too). Default: dynamic.",
            show_default=False,
        ),
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(help="early-exit: share of the operations that is left. Default: 0.5.", show_default=False),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="early-exit: uncertainty below which a text leaves, 0 to 1.", show_default=False),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="distil, prune, lowrank: passes over the train texts in which it learns from the model; 0: none. Default: 4.",
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The same: peak learning rate. Default: 3e-4.", show_default=False)
    ] = None,
    texts: Annotated[int, typer.Option(help="Most train texts of a domain; no label is looked at.")] = 8000,
    limit: Annotated[int | None, typer.Option(help="Most test rows a domain.", show_default=False)] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(help="Refuse a model whose score on any domain falls by more, such as 0.01.", show_default=False),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Encoder, if it is not where the adapter says.", show_default=False)
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print compression.json, with kept and folder or faults, and nothing else.")
    ] = False,
) -> None:
    """Make a saved model smaller or faster, and measure what that does to its scores and drops.

    The new model is a folder like any other: `lowres predict`, `evaluate` and `export` take it, and so does `compress` again.
    It learns from the train texts of the domains without their labels, and is compared on their test rows.
    """
    from lowres.analysis.asked import task_of
    from lowres.export.compression import MaxLossError
    from lowres.export.shrink import settings_of
    from lowres.library import compress as act
    from lowres.models.classifier import check_place, load_classifier

    given = {
        "layers": layers, "width": width, "heads": heads, "neurons": neurons, "energy": energy, "bits": bits, "flops": flops,
        "speed": speed, "epochs": epochs, "learning_rate": learning_rate,
    }  # fmt: skip
    settings = {name: value for name, value in given.items() if value is not None}
    settings_of(method, settings)
    check_place(out)
    sources, targets = listed(source, "--source"), listed(target, "--target")
    model = load_classifier(adapter, backbone=backbone)
    loaded = task_of(model, task, DownloadProgress(), (*sources, *targets))
    for line in loaded.notes:
        say(line)
    say(
        f"{method}: learning from at most {texts} train texts a domain (--texts), then both models answer the test rows"
    )
    try:
        with ShareProgress(method) as progress:
            found = act(
                model, out, method=method, task=loaded, sources=sources, targets=targets, limit=limit,
                texts=texts, max_loss=max_loss, progress=progress, **settings,
            )  # fmt: skip
    except MaxLossError as refused:
        _show(refused.found, json, {"kept": False, "faults": list(refused.faults)})
        raise
    _show(found, json, {"kept": True, "folder": str(out)})
    if not json:
        put(plain(str(out)))


def _show(found: Compression, json: bool, more: dict[str, Any]) -> None:
    """What was measured: as JSON with what became of it, else as tables."""
    if json:
        from json import dumps

        put(dumps(found.model_dump(mode="json", by_alias=True) | more, indent=2, ensure_ascii=False))
        return
    from lowres.cli.run import show_compression

    show_compression(found, "table")
