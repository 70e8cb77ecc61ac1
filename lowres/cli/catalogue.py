"""``lowres models`` and ``methods``: what there is to choose from."""

from __future__ import annotations

from textwrap import wrap
from typing import Annotated

import typer

from lowres.cli.flags import Column, PairColumn, listed
from lowres.cli.talk import DownloadProgress, console, guarded, plain, put, say

COLUMNS = 80
COSTS = (
    "Fits: distinct fits of a cell with shots (or of its only budget); shared: needed by another cell of a study too. Several"
    " sources are counted as two."
)

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
    pair_column: PairColumn = None,
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
        task, text_column=text_column, pair_column=pair_column, label_column=label_column, domain_column=domain_column,
        group_column=group_column, progress=DownloadProgress(),
    )  # fmt: skip
    for line in loaded.notes:
        say(line)
    found = rank_backbones(loaded, listed(backbone, "--backbone"), rows=rows, progress=DownloadProgress())
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
def methods_ls(
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.", show_default=False)] = False,
) -> None:
    """List the methods by kind: what each may use, how many fits a cell costs, where it is described, and its sentence."""
    from json import dumps

    from lowres.methods.catalogue import REFERENCES
    from lowres.methods.symbolic import entries

    if json:
        put(dumps([entry.as_dict() for entry in entries()], indent=2, ensure_ascii=False))
        return
    heading = ""
    for entry in entries():
        if entry.group != heading:
            put(("\n" if heading else "") + entry.group)
            heading = entry.group
        mark = "*" if entry.name in REFERENCES else " "
        fits = str(list(entry.fits.values())[-1])
        put(f"{mark} {entry.name:19} {' '.join(entry.uses):11} {fits:15} {entry.source}".rstrip())
        _hang(entry.summary)
    put("")
    for line in (f"{_legend()}.", COSTS, "* always measured: drops, gains and verdicts refer to it."):
        _hang(line, "")


def _hang(text: str, indent: str = "    ") -> None:
    for line in wrap(text, COLUMNS, initial_indent=indent, subsequent_indent=indent):
        put(line)


def _legend() -> str:
    from lowres.methods.symbolic import LETTERS

    return " · ".join(f"{letter} {meaning}" for letter, meaning in LETTERS.items())


@methods.command("show")
@guarded
def methods_show(name: Annotated[str, typer.Argument(help="A name of `methods ls`.")]) -> None:
    """Describe one method, and draw it: its fits, their rows, objective and start, and who decides on rows."""
    from lowres.methods.catalogue import find_method
    from lowres.methods.symbolic import LETTERS, group
    from lowres.methods.tree import trees

    method = find_method(name)
    _hang(f"{name}: {method.summary}", "")
    put(f"kind: {group(name)}")
    _hang("uses: " + " · ".join(f"{one} {meaning}" for one, meaning in LETTERS.items() if one in method.uses), "")
    if method.not_for:
        put(f"not for tasks of type: {', '.join(sorted(method.not_for))}")
    if method.source:
        put(f"described in: {method.source}")
    for budget, lines in trees(name):
        put(f"\n{budget}")
        put("\n".join(lines))
