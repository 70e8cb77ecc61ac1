"""``lowres tasks``: what there is to study, and what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowres.cli.flags import Column, Domains, PairColumn, listed
from lowres.cli.talk import DownloadProgress, console, guarded, plain, put, say

if TYPE_CHECKING:
    from rich.table import Table

    from lowres.data.task import Counts, Task

LEGEND = """\
left out: of no label or domain of the task · test overlap, dev overlap: removed, because a row of that part is the same
train overlap: removed from test, because a training row of the domain is the same (overlap: leaves-test), or from the
rows out of scope, because an equal row is trained on
conflict: removed, equal texts with different labels · duplicate: removed, an equal row stays
test duplicate, shared group: kept, only counted"""
FOUND = (
    "left out",
    "train overlap",
    "test overlap",
    "dev overlap",
    "conflict",
    "duplicate",
    "test duplicate",
    "shared group",
)
SPLITS = ("train", "dev", "test")
MOST = 20
"""Lines of a list that are shown."""
WIDE = 8
"""Labels that are shown in columns of their own."""
WIDE_SCREEN = 100
"""Columns where stdout is no terminal: titles of tasks and names of labels are cut as little as may be."""

tasks = typer.Typer(no_args_is_help=True)


@tasks.command("ls")
@guarded
def tasks_ls() -> None:
    """List the shipped tasks: name, labels, where the data come from, domains, title."""
    from rich.table import Table

    from lowres.data.spec import read_spec
    from lowres.data.task import shipped_tasks

    specs = {name: read_spec(path) for name, path in shipped_tasks().items()}
    table = Table(box=None, pad_edge=False, padding=(0, 1), expand=True)
    table.add_column("task", no_wrap=True, min_width=max(map(len, specs), default=0))
    table.add_column("labels", justify="right", min_width=6)
    table.add_column("source", min_width=6)
    table.add_column("domains", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("title", ratio=3, no_wrap=True, overflow="ellipsis")
    for name, spec in specs.items():
        table.add_row(name, str(len(spec.labels) or "?"), spec.source.kind, ", ".join(spec.domains), spec.title)
    console(WIDE_SCREEN).print(table)


@tasks.command("show")
@guarded
def tasks_show(name: Annotated[str, typer.Argument(help="A shipped task, a task file, a table or a folder.")]) -> None:
    """Print a task file; of a table, the one that `tasks init` would write."""
    from lowres.data.task import SPEC_ENDINGS, draft_task, find_task

    path = find_task(name)
    is_file = path.suffix.lower() in SPEC_ENDINGS
    put(plain(path.read_text(encoding="utf-8", errors="replace") if is_file else draft_task(path)))


@tasks.command("init")
@guarded
def tasks_init(
    table: Annotated[str, typer.Argument(help="A table, or a folder with one file a domain.")],
    output: Annotated[
        Path | None, typer.Option(help="Where to write (.yaml); stdout if left out.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the task; by default that of the table.", show_default=False)
    ] = None,
    text_column: Column = None,
    pair_column: PairColumn = None,
    label_column: Column = None,
    domain_column: Column = None,
    group_column: Column = None,
    domains: Domains = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.", show_default=False)
    ] = False,
) -> None:
    """Write a task file for a table: columns, labels and domains, with what was guessed and counted as comments."""
    from lowres.data.task import draft_task

    if output is not None:
        _refuse_output(output, force)
    text = draft_task(
        table,
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        domain_column=domain_column,
        group_column=group_column,
        wanted=listed(domains, "--domains"),
        name=name,
        folder=output.parent if output is not None else Path(),
    )
    if output is None:
        put(plain(text))
        return
    from lowres.files import replacing

    with replacing(output) as stream:
        stream.write(text)
    say(f"wrote {output}; look at it, then: lowres tasks check {output}")


def _refuse_output(output: Path, force: bool) -> None:
    from lowres.data.task import SPEC_ENDINGS
    from lowres.errors import UserError

    if output.suffix.lower() not in SPEC_ENDINGS:
        raise UserError(f"{output} would be no task file", expected=f"an ending of {' or '.join(SPEC_ENDINGS)}")
    if not output.parent.is_dir():
        raise UserError(f"there is no folder {output.parent}", hint="make it, or choose another --output")
    if output.exists() and not force:
        raise UserError(f"{output} is there already", hint="choose another --output, or --force to write over it")


@tasks.command("check")
@guarded
def tasks_check(
    name: Annotated[str, typer.Argument(help="A shipped task, a task file, a table or a folder.")],
    text_column: Column = None,
    pair_column: PairColumn = None,
    label_column: Column = None,
    domain_column: Column = None,
    group_column: Column = None,
    domains: Domains = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Also say how many test texts are too long for this encoder; --noise: whose features are used, by default minilm.",
            show_default=False,
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="With --backbone or --noise: tokens that it reads of a text, else as many as in a run.",
            show_default=False,
        ),
    ] = None,
    noise: Annotated[
        bool,
        typer.Option(
            "--noise", help="Also look for labels that are probably wrong, in train and dev rows.", show_default=False
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="--noise: print what was found as JSON and nothing else.", show_default=False)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="--noise: file for all suspected rows (.csv, .jsonl).", show_default=False),
    ] = None,
    truncation: Annotated[
        str | None,
        typer.Option(
            help="With --backbone: what is read of a longer text, as of recipe.truncation: head, head+tail or windows.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Count rows by domain, split and class, and the duplicates, conflicts and overlaps that were found."""
    from lowres.data.task import check_counts, load_task
    from lowres.errors import UserError

    reading = {"max_length": max_length, "truncation": truncation}
    recipe = {name: value for name, value in reading.items() if value is not None}
    if recipe and backbone is None and not noise:
        flag = next(iter(recipe)).replace("_", "-")
        raise UserError(f"--{flag} needs the encoder whose tokens are counted", hint="add --backbone NAME")
    if not noise and (json or out):
        raise UserError("--json and --out of `tasks check` go with --noise", hint="add --noise")
    if out is not None:
        from lowres.report.noise import check_out

        check_out(out)
    task = load_task(
        name,
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        domain_column=domain_column,
        group_column=group_column,
        wanted=listed(domains, "--domains"),
        progress=DownloadProgress(),
    )
    task.check()
    for line in task.notes:
        say(line)
    if not json:
        _show_counts(task, check_counts(task), backbone if recipe or not noise else None, recipe)
    if noise:
        _show_noise(task, backbone or "minilm", recipe, json, out)


def _show_counts(task: Task, counts: Counts, backbone: str | None, recipe: Mapping[str, object]) -> None:
    from lowres.kinds import KINDS

    screen = console(WIDE_SCREEN)
    kind = "" if task.kind == "classification" else f" · {KINDS[task.kind].title}"
    of_values = KINDS[task.kind].answer == "value"
    given = f"{task.labels[0]} to {task.labels[-1]}" if of_values else f"{len(task.labels)} labels"
    facts = f"{task.metric} · {len(task.domains)} domains · {given}"
    put(f"{plain(task.name)} v{task.version} · {facts}{kind}")
    screen.print(_values(task) if of_values else _sizes(task, counts))
    if task.labels_of:
        screen.print(_labels_by_domain(task, counts))
    put(_counted(counts))
    if task.spec.out_of_scope is not None:
        put(_outside(task))
    if backbone is not None:
        put(plain(_too_long(task, backbone, recipe)))
    for line in _known(task):
        put(line)
    if counts.findings.items:
        screen.print(_findings(counts))
        _say_rest(counts.findings.items, put)
        put(LEGEND)
    for line in counts.findings.warnings[:MOST]:
        say(f"note: {line}")
    _say_rest(counts.findings.warnings, say)


def _too_long(task: Task, backbone: str, recipe: Mapping[str, object]) -> str:
    """Where test texts are cut."""
    from lowres.data.tokens import check_truncation
    from lowres.library import about_truncated, check_reach
    from lowres.models.backbone import find_backbone
    from lowres.report.sentences import too_long
    from lowres.study.config import build_config

    config = build_config({"backbone": backbone, "recipe": recipe})
    check_truncation(config.recipe.truncation, task.kind)
    found = find_backbone(backbone, progress=DownloadProgress())
    check_reach(found, config)
    tests = {name: domain.test.texts for name, domain in task.domains.items()}
    shares = about_truncated(found.tokens(), tests, config.recipe)
    return too_long(shares, config.recipe.max_length, config.recipe.truncation)


def _show_noise(task: Task, backbone: str, recipe: Mapping[str, object], json: bool, out: Path | None) -> None:
    from lowres.files import replacing
    from lowres.library import doubted_labels
    from lowres.report import noise

    found = doubted_labels(task, backbone=backbone, recipe=recipe, progress=DownloadProgress())
    if out is not None:
        with replacing(out) as stream:
            stream.write(noise.WRITERS[out.suffix.lower()](found))
    if json:
        put(noise.as_json(task.name, backbone, found))
    else:
        screen = console(WIDE_SCREEN)
        put(f"\nlabels that are probably wrong, by frozen features of {plain(backbone)}")
        screen.print(noise.counts(found))
        for one in found:
            if one.suspects:
                put(f"\n{plain(one.domain)}: the worst of {len(one.suspects)}")
                screen.print(noise.examples(one))
        put("\n" + noise.CAUTION)
    for line in noise.too_few(found):
        say(f"note: {line}")
    if out is not None:
        say(f"wrote {out}: {sum(len(one.suspects) for one in found)} rows to look at")


def _sizes(task: Task, counts: Counts) -> Table:
    """Rows of every label, or of the rarest and the commonest where labels are many."""
    from rich.table import Table
    from rich.text import Text

    few = len(task.labels) <= WIDE
    table = Table("domain", "part", box=None, pad_edge=False)
    for heading in ("rows", *(task.labels if few else ("labels", "rarest", "commonest"))):
        table.add_column(Text(plain(heading)), justify="right")
    sizes = {(size.domain, size.split, size.label): size.rows for size in counts.sizes}
    wholes = []
    for name, domain in task.domains.items():
        for split, part in zip(SPLITS, (domain.train, domain.dev, domain.test), strict=True):
            rows = [sizes[name, split, label] for label in (task.labels if few else task.labels_in(name))]
            wholes.append(len(part))
            table.add_row(Text(plain(name)), split, *_row(len(part), rows, few))
    total = [sum(sizes[domain, split, label] for domain in task.domains for split in SPLITS) for label in task.labels]
    table.add_row("all", "", *_row(sum(wholes), total, few))
    return table


def _values(task: Task) -> Table:
    """Rows of a regression, and the lowest, the mean and the highest of their numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table("domain", "part", box=None, pad_edge=False)
    for heading in ("rows", "lowest", "mean", "highest"):
        table.add_column(heading, justify="right")
    for name, domain in task.domains.items():
        for split, part in zip(SPLITS, (domain.train, domain.dev, domain.test), strict=True):
            numbers = [float(label) for label in part.labels]
            told = (min(numbers), sum(numbers) / len(numbers), max(numbers)) if numbers else ()
            table.add_row(Text(plain(name)), split, str(len(part)), *(f"{number:.4g}" for number in told))
    return table


def _labels_by_domain(task: Task, counts: Counts) -> Table:
    """Rows of every label in every domain, all parts together; a dash where there are none."""
    from rich.table import Table
    from rich.text import Text

    table = Table("label", box=None, pad_edge=False)
    for domain in task.domains:
        table.add_column(Text(plain(domain)), justify="right")
    for label in task.labels:
        sizes = [
            sum(one.rows for one in counts.sizes if (one.domain, one.label) == (name, label)) for name in task.domains
        ]
        table.add_row(Text(plain(label)), *(str(size) if size else "–" for size in sizes))
    return table


def _row(whole: int, rows: list[int], few: bool) -> list[str]:
    """In all, then those with each label, or how many labels have rows, and of the rarest and the commonest."""
    return list(map(str, [whole, *(rows if few else (sum(map(bool, rows)), min(rows), max(rows)))]))


def _counted(counts: Counts) -> str:
    """How many rows of every kind were found, none too."""
    return "found: " + " · ".join(f"{kind} {counts.findings.total(kind)}" for kind in FOUND)


def _outside(task: Task) -> str:
    """How many rows of no class there are to test with."""
    rows = len(task.outside) if task.outside is not None else 0
    return plain(f"out of scope: {rows} rows of {task.spec.out_of_scope!r} to test with")


def _known(task: Task) -> Iterator[str]:
    """What the task file says of the labels, and how far its keywords reach on training rows; no label is looked at."""
    from lowres.data.hints import covered

    said, words = task.hints.descriptions, task.hints.keywords
    if said:
        yield f"descriptions: {len(said)} of {len(task.labels)} labels"
    if words:
        yield plain("keywords: " + ", ".join(f"{label} {len(words.get(label, ()))}" for label in task.labels))
        for domain in (one for one in task.domains.values() if len(one.train)):
            reach, agreed = covered(task.hints.votes(domain.train.texts, task.labels))
            yield plain(
                f"  {domain.name}: {reach:.0%} of the training rows hold one, {agreed:.0%} of these for one label alone"
            )


def _findings(counts: Counts) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("found", "in", "part", "same as in", box=None, pad_edge=False)
    table.add_column("rows", justify="right")
    for item in counts.findings.items[:MOST]:
        table.add_row(
            item.kind, *(Text(plain(str(part or ""))) for part in (item.domain, item.split, item.other)), str(item.rows)
        )
    return table


def _say_rest(lines: Sequence[object], say_it: Callable[[str], None]) -> None:
    if len(lines) > MOST:
        say_it(f"… and {len(lines) - MOST} more")


@tasks.command("fetch")
@guarded
def tasks_fetch(name: Annotated[str, typer.Argument(help="A shipped task or a task file.")]) -> None:
    """Download and check the data of a task, for use without a network."""
    from lowres.data.task import load_task

    task = load_task(name, progress=DownloadProgress())
    rows = sum(len(part.train) + len(part.dev) + len(part.test) for part in task.domains.values())
    own = task.spec.source.kind == "files"
    say(f"{task.name}: {rows} rows, " + ("own files: nothing to fetch" if own else "checked and in the cache"))
