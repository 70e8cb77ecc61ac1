"""``lowres models`` and ``methods``: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from lowres.cli.flags import Column
from lowres.cli.talk import DownloadProgress, console, guarded, plain, put, say

models = typer.Typer(no_args_is_help=True)
methods = typer.Typer(no_args_is_help=True)


@models.command("ls")
@guarded
def models_ls() -> None:
    """List the backbones known by name; any local folder or hub id works too."""
    from lowres.models.backbone import NAMED, is_kept

    for name, spec in NAMED.items():
        put(f"{name:14} {'in the cache' if is_kept(name) else 'not fetched':12}  {spec.about}")


@models.command("fetch")
@guarded
def models_fetch(
    name: Annotated[str, typer.Argument(help="A name of `models ls`, or a hub id.")],
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub id.", show_default=False)] = None,
) -> None:
    """Download and check a backbone, for use without a network; prints its folder."""
    from lowres.models.backbone import find_backbone

    backbone = find_backbone(name, revision, progress=DownloadProgress())
    say(
        f"{backbone.name}: {backbone.parameters / 1e6:.1f}M parameters, {backbone.layers} layers, {backbone.pooling} pooling"
    )
    put(str(backbone.folder))


@models.command("rank")
@guarded
def models_rank(
    task: Annotated[str, typer.Argument(help="A shipped task, a task file, a table or a folder.")],
    backbone: Annotated[
        str | None,
        typer.Option(help="Backbones, separated by commas; default: all in the cache.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option(help="Training rows a domain.")] = 500,
    text_column: Column = None,
    label_column: Column = None,
    domain_column: Column = None,
    group_column: Column = None,
    json: Annotated[bool, typer.Option("--json", help="Print the ranking as JSON.", show_default=False)] = False,
) -> None:
    """Rank backbones for a task by LogME on frozen features of training rows, the best first. Trains nothing."""
    from json import dumps

    from rich.table import Table
    from rich.text import Text

    from lowres.data.task import load_task
    from lowres.library import rank_backbones

    loaded = load_task(
        task, text_column=text_column, label_column=label_column, domain_column=domain_column, group_column=group_column,
        progress=DownloadProgress(),
    )  # fmt: skip
    for line in loaded.notes:
        say(line)
    names = [name.strip() for name in (backbone or "").split(",") if name.strip()]
    found = rank_backbones(loaded, names, rows=rows, progress=DownloadProgress())
    if json:
        facts = [
            {"backbone": one.backbone, "parameters": one.parameters, "logme": one.mean, "domains": one.by_domain}
            for one in found
        ]
        put(dumps(facts, indent=2, ensure_ascii=False))
        return
    table = Table("backbone", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("parameters", "LogME", *found[0].by_domain):
        table.add_column(Text(plain(heading)), justify="right")
    for one in found:
        values = (f"{value:.3f}" for value in (one.mean, *one.by_domain.values()))
        table.add_row(Text(plain(one.backbone)), f"{one.parameters / 1e6:.1f}M", *values)
    console().print(table)
    put("LogME: log evidence a training row, higher is better; only differences on one task mean anything")


@methods.command("ls")
@guarded
def methods_ls() -> None:
    """List the methods: what each may use, and its sentence."""
    from lowres.methods.catalogue import METHODS, REFERENCES

    put("S labelled source rows · T labelled target shots · pool as many labelled target rows as a source fit has")
    for name, method in METHODS.items():
        mark = "*" if name in REFERENCES else " "
        put(f"{mark} {name:20} {'+'.join(sorted(method.uses)):5} {method.summary}")
    put("* always measured: drops, gains and verdicts refer to it")


@methods.command("show")
@guarded
def methods_show(name: Annotated[str, typer.Argument(help="A name of `methods ls`.")]) -> None:
    """Describe one method."""
    from lowres.methods.catalogue import find_method

    method = find_method(name)
    put(f"{name}: {method.summary}")
    put(f"uses: {' + '.join(sorted(method.uses))}")
    put(f"measured at: {', '.join(part for part, on in (('0 shots', method.zero), ('more shots', method.few)) if on)}")
    if method.source:
        put(f"source: {method.source}")
