"""``lowres tasks``: what there is to study, and what is in it."""

from __future__ import annotations

from typing import Annotated

import typer

from lowres.cli.talk import DownloadProgress, console, guarded, put, say

LEGEND = """\
left out: of no label or domain of the task · test overlap, dev overlap: removed, because a row of that part is the same
conflict: removed, equal texts with different labels · duplicate: removed, an equal row stays
test duplicate, shared group: kept, only counted"""

tasks = typer.Typer(no_args_is_help=True)
Column = Annotated[str | None, typer.Option(show_default=False, help="Column name, for a table.")]


@tasks.command("ls")
@guarded
def tasks_ls() -> None:
    """List the shipped tasks."""
    from lowres.data.spec import read_spec
    from lowres.data.task import shipped_tasks

    for name, path in shipped_tasks().items():
        put(f"{name:26} {read_spec(path).title}")


@tasks.command("show")
@guarded
def tasks_show(name: Annotated[str, typer.Argument(help="A shipped task.")]) -> None:
    """Print a task file."""
    from lowres.data.task import shipped_tasks
    from lowres.errors import unknown_name

    shipped = shipped_tasks()
    if name not in shipped:
        raise unknown_name("task", name, shipped)
    put(shipped[name].read_text(encoding="utf-8"))


@tasks.command("check")
@guarded
def tasks_check(
    name: Annotated[str, typer.Argument(help="A shipped task, a task file, a table or a folder.")],
    text_column: Column = None,
    label_column: Column = None,
    domain_column: Column = None,
    group_column: Column = None,
) -> None:
    """Count rows by domain, split and class, and the duplicates, conflicts and overlaps that were found."""
    from rich.table import Table
    from rich.text import Text

    from lowres.cli.talk import plain
    from lowres.data.task import check_counts, load_task

    task = load_task(
        name,
        text_column=text_column,
        label_column=label_column,
        domain_column=domain_column,
        group_column=group_column,
        progress=DownloadProgress(),
    )
    counts, screen = check_counts(task), console()
    put(f"{plain(task.name)} v{task.version} · {task.metric} · {len(task.domains)} domains · {len(task.labels)} labels")
    sizes = {(size.domain, size.split, size.label): size.rows for size in counts.sizes}
    table = Table("domain", "part", box=None, pad_edge=False)
    for label in task.labels:
        table.add_column(Text(plain(label)), justify="right")
    for domain in task.domains:
        for split in ("train", "dev", "test"):
            table.add_row(Text(plain(domain)), split, *(str(sizes[domain, split, label]) for label in task.labels))
    screen.print(table)
    if counts.findings.items:
        found = Table("found", "in", "part", "same as in", box=None, pad_edge=False)
        found.add_column("rows", justify="right")
        for item in counts.findings.items:
            found.add_row(
                item.kind,
                *(Text(plain(str(part or ""))) for part in (item.domain, item.split, item.other)),
                str(item.rows),
            )
        screen.print(found)
        put(LEGEND)
    for line in counts.findings.warnings:
        say(f"note: {line}")


@tasks.command("fetch")
@guarded
def tasks_fetch(name: Annotated[str, typer.Argument(help="A shipped task or a task file.")]) -> None:
    """Download and check the data of a task, for use without a network."""
    from lowres.data.task import load_task

    task = load_task(name, progress=DownloadProgress())
    say(
        f"{task.name}: {sum(len(part.train) + len(part.dev) + len(part.test) for part in task.domains.values())} rows are in the cache"
    )
