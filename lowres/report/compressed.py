"""What a model lost and won when it was made smaller, as tables, a line or two, Markdown and a page."""

from __future__ import annotations

from collections.abc import Sequence

from lowres.analysis.summary import Estimate
from lowres.errors import clean
from lowres.export.compression import Compression, OnDomain
from lowres.report import html, markdown
from lowres.report.blocks import Cell, Grid, Section, words
from lowres.report.tables import MISSING, Table, Tone, counted, estimate, metric_name, number, percent

HOW = (
    "Both models answered the same test rows; the adapter of the one before was merged into its encoder, so that its time and size"
    " are those of a merged model. Intervals are 95 %, paired over test groups"
)

PARTS = ("Size and speed", "Scores", "Drops")
"""Headings of the page, one a table."""

AS_LARGE = 1.05
"""Up to so many times smaller a model is called as large as before."""


def how(found: Compression) -> str:
    """How the numbers came about."""
    over = (
        f" and {found.draws} draws." if found.draws > 1 else ", of this one model: another draw can come out otherwise."
    )
    return (
        f"{HOW}{over} Milliseconds of a text on {found.device} ({found.precision}, {found.threads} {'thread' if found.threads == 1 else 'threads'}), tokenising included,"
        " both taking turns on the same texts: how many times as fast is the median over the turns, not the quotient of the two medians."
    )


def heading(found: Compression) -> str:
    """One line: what was made of what."""
    settings = ", ".join(f"{name} {value}" for name, value in found.settings.items() if value is not None)
    return clean(
        f"{found.task} v{found.task_version} · {found.model} · {found.method}"
        + (f" ({settings})" if settings else "")
        + f" · {metric_name(found.metric)}"
    )


def tables(found: Compression) -> list[Table]:
    """What it costs, what it scores, and how far it falls."""
    return [_costs(found), _scores(found), *([_falls(found)] if found.shift else [])]


def verdict(found: Compression) -> str:
    """One sentence on what was won and what was lost."""
    worst = found.moved()
    smaller = found.before.bytes / found.after.bytes
    falls = [one for one in found.shift if one.growth.low > 0]
    drop = (
        f" The drop to {', '.join(clean(one.target) for one in falls)} grew."
        if falls
        else " No drop is shown to have grown."
        if found.shift
        else ""
    )
    lost = [clean(one.domain) for one in found.domains if one.change.high < 0]
    fell = f" The score is shown to have fallen on {', '.join(lost)}." if lost else ""
    return (
        f"{f'{smaller:.1f} times smaller' if smaller > AS_LARGE else 'As large as before'}, {found.speed_up['32']:.1f} times as fast at 32 texts at once, {found.speed_up['1']:.1f} at one;"
        f" {metric_name(found.metric)} changes most on {clean(worst.domain)}: {_signed(worst.change)}.{fell}{drop}"
    )


def render_markdown(found: Compression) -> str:
    """The whole as Markdown."""
    parts = [f"# {markdown.escape(heading(found))}", "", f"{markdown.escape(verdict(found))}", ""]
    for table in tables(found):
        parts += [f"## {markdown.escape(table.title)}", "", markdown.markdown_table(table), ""]
    parts += [*(f"- {markdown.escape(clean(line))}" for line in found.warnings), how(found), ""]
    return "\n".join(parts)


def render_html(found: Compression) -> str:
    """The whole as one HTML file."""
    parts = tables(found)
    sections = [
        Section(f"part{place}", title, (), (_grid(f"grid{place}", table),))
        for place, (title, table) in enumerate(zip(PARTS[: len(parts)], parts, strict=True))
    ]
    lines = (how(found), *map(clean, found.warnings))
    sections.append(Section("measured", "How it was measured", lines, ()))
    subject = "What was won, and what it costs"
    return html.page(heading(found), [verdict(found)], sections, found.lowres, subject=subject)


def matrix(found: Sequence[Compression]) -> Table:
    """One line a compression of the same model: size, speed, operations, and on every domain score and drop."""
    first = found[0]
    header = (
        "compression",
        "MB",
        "× as fast at 1",
        "at 32",
        "operations",
        *(f"{one.domain}: {metric_name(first.metric)}" for one in first.domains),
        *(f"agreement {one.domain}" for one in first.domains),
        *(f"drop to {one.target}" for one in first.shift),
        *(f"grown by ({one.target})" for one in first.shift),
    )
    origin = (
        "none",
        counted(first.before.bytes / 1e6, 1),
        "1.0",
        "1.0",
        "100 %",
        *(estimate(one.before) for one in first.domains),
        *(MISSING for _ in first.domains),
        *(estimate(one.before) for one in first.shift),
        *(MISSING for _ in first.shift),
    )
    return Table("Compression and shift", header, (origin, *map(_line, found)))


def _line(found: Compression) -> tuple[str, ...]:
    changed = {
        name: value
        for name, value in found.settings.items()
        if name in ("layers", "width", "bits", "heads", "neurons", "energy", "epochs", "speed", "flops")
        and value is not None
    }
    named = ", ".join(f"{name} {value}" for name, value in changed.items())
    return (
        f"{found.method} ({named})" if named else found.method,
        counted(found.after.bytes / 1e6, 1),
        f"{found.speed_up['1']:.2f}",
        f"{found.speed_up['32']:.2f}",
        percent(found.after.flops / found.before.flops),
        *(f"{number(one.after.mean)}, {_signed(one.change)}" for one in found.domains),
        *(percent(one.agreement.mean, 1) if one.agreement else MISSING for one in found.domains),
        *(estimate(one.after) for one in found.shift),
        *(_signed(one.growth) for one in found.shift),
    )


def _signed(found: Estimate) -> str:
    """``+.012 [−.003, +.027]``."""
    mean, low, high = (
        (number(value) if number(value).startswith("−") else f"+{number(value)}")
        for value in (found.mean, found.low, found.high)
    )
    return f"{mean} [{low}, {high}]"


def _costs(found: Compression) -> Table:
    before, after = found.before, found.after
    rows = (
        ("MB on disk", counted(before.bytes / 1e6, 1), counted(after.bytes / 1e6, 1), percent(after.bytes / before.bytes)),
        ("parameters, millions", counted(before.parameters / 1e6, 2), counted(after.parameters / 1e6, 2), percent(after.parameters / before.parameters)),
        ("operations a text, millions", counted(before.flops / 1e6), counted(after.flops / 1e6), percent(after.flops / before.flops)),
        *(
            (f"ms a text, {size} at once", counted(time, 2), counted(after.milliseconds[size], 2), f"{found.speed_up[size]:.2f} × as fast")
            for size, time in before.milliseconds.items()
        ),
    )  # fmt: skip
    return Table("What it costs", ("", "before", "after", ""), rows)


def _scores(found: Compression) -> Table:
    exits = any(one.layers is not None for one in found.domains)
    sure = any(one.calibration_after is not None for one in found.domains)
    header = (
        "domain", "rows", "before", "after", "change", "agreement",
        *(("calibration error",) if sure else ()), *(("layers",) if exits else ()),
    )  # fmt: skip
    rows, tones = [], dict[tuple[int, int], Tone]()
    for place, one in enumerate(found.domains):
        rows.append(
            (
                f"{one.domain} ({one.role})",
                counted(one.rows),
                number(one.before.mean),
                number(one.after.mean),
                _signed(one.change),
                percent(one.agreement.mean, 1) if one.agreement else MISSING,
                *((_errors(one),) if sure else ()),
                *((number(one.layers, 2) if one.layers is not None else MISSING,) if exits else ()),
            )
        )
        if one.change.high < 0 or one.change.low > 0:
            tones[place, 4] = "good" if one.change.low > 0 else "bad"
    return Table(f"What it scores: {metric_name(found.metric)}", header, tuple(rows), tones=tones)


def _errors(one: OnDomain) -> str:
    if one.calibration_before is None or one.calibration_after is None:
        return MISSING
    return f"{number(one.calibration_before)} → {number(one.calibration_after)}"


def _falls(found: Compression) -> Table:
    rows = tuple(
        (f"{one.source} → {one.target}", estimate(one.before), estimate(one.after), _signed(one.growth))
        for one in found.shift
    )
    tones: dict[tuple[int, int], Tone] = {
        (place, 3): "bad" if one.growth.low > 0 else "good"
        for place, one in enumerate(found.shift)
        if one.growth.low > 0 or one.growth.high < 0
    }
    return Table("How far it falls", ("drop", "before", "after", "grown by"), rows, tones=tones)


def _grid(ident: str, table: Table) -> Grid:
    rows = tuple((words(row[0]), *map(Cell, row[1:])) for row in table.rows)
    return Grid(ident, table.title, table.header, rows, "compression.json", heads=1, words=frozenset({0}))
