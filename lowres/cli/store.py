"""``lowres store``: look at what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowres.cli.talk import guarded, plain, put, say

if TYPE_CHECKING:
    from lowres.study.store import Store

store = typer.Typer(no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--store", help="The store's folder.")]
DEFAULT = Path("runs/store")


def _open(folder: Path) -> Store:
    from lowres.errors import UserError
    from lowres.study.store import Store

    if not (folder / "fits").is_dir():
        raise UserError(f"{folder} is no store", got="no folder fits/", hint="name it with --store")
    return Store(folder)


@store.command("ls")
@guarded
def store_ls(folder: Folder = DEFAULT) -> None:
    """List the fits that are kept: key, rows, seconds."""
    kept = _open(folder)
    for key in kept.list_fits():
        if not kept.is_whole(key):
            say(f"damaged: {key}; the next run that needs it makes it again")
        else:
            record = kept.record(key)
            rows = " + ".join(f"{part['rows']} {part['domain']}" for part in record["spec"]["parts"])
            spec, kind = record["spec"], next(iter(record["spec"]["objective"]))
            put(plain(f"{key[:12]}  draw {spec['init'][1]}  {kind:14} {rows}  {record['seconds']:.1f} s"))


@store.command("check")
@guarded
def store_check(folder: Folder = DEFAULT) -> None:
    """Check every fit and prediction against its checksum; damaged ones are set aside and will be made again."""
    if folder == DEFAULT and not folder.exists():
        put(f"nothing to check: no run has made {folder} here yet (another store: --store)")
        return
    kept = _open(folder)
    whole = sum(kept.has_fit(key) for key in kept.list_fits())
    answers = kept.check_predictions()
    for entry in kept.damaged:
        say(f"damaged, set aside: {entry}")
    put(f"{whole} fits and {answers} sets of predictions whole, {len(kept.damaged)} damaged")
    if kept.damaged:
        raise typer.Exit(1)


@store.command("prune")
@guarded
def store_prune(
    keep: Annotated[
        list[Path],
        typer.Option(
            help="A run folder, or the YAML file of a search or a folder of such, whose fits stay; may be repeated.",
            show_default=False,
        ),
    ],
    folder: Folder = DEFAULT,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it only says what would go.")] = False,
) -> None:
    """Remove the fits that no kept run or search uses, and drafts that a killed process left."""
    used = set[str]().union(*map(_used, keep))
    kept = _open(folder)
    unused = [key for key in kept.list_fits() if key not in used]
    if not yes:
        put(f"{len(unused)} of {len(kept.list_fits())} fits would be removed; --yes removes them")
        return
    for key in unused:
        kept.drop_fit(key)
    put(f"{len(unused)} fits removed, {len(kept.list_fits())} kept, {kept.clear_drafts()} drafts cleared")


def _used(kept: Path) -> set[str]:
    """Keys of the fits that a run or searches rest on."""
    from lowres.errors import UserError
    from lowres.tuning.result import is_chosen, read_tuned

    if (kept / "cells.jsonl").is_file():
        return _used_by_run(kept / "cells.jsonl")
    searches = [path for path in (sorted(kept.glob("*.y*ml")) if kept.is_dir() else [kept]) if is_chosen(path)]
    if not searches:
        raise UserError(f"{kept} is no run folder and no search", got="no cells.jsonl, no file of lowres tune")
    if any(kept.glob("*/cells.jsonl")):
        raise UserError(f"{kept} holds runs beside searches", hint="name each run folder and each search with a --keep")
    return {key for path in searches for key in read_tuned(path).fits}


def _used_by_run(cells: Path) -> set[str]:
    from json import loads

    from lowres.errors import UserError

    used: set[str] = set()
    try:
        for line in filter(None, cells.read_text(encoding="utf-8").split("\n")):
            record = loads(line)
            used |= {record["key"], *record["starts"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{cells} is damaged", got=error, hint="run the study again") from None
    return used
