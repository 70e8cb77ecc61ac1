"""Suspected labels for eyes, and as files from which they can be mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lowres.analysis.noise import FOLDS, Doubted, Suspect
from lowres.errors import UserError, clean
from lowres.kinds import readable
from lowres.report.csv import csv_table

if TYPE_CHECKING:
    from rich.table import Table

CAUTION: Final = """\
suspected: another label is more probable than rows of that label are on average. A suspicion is no proof: read the text
by chance: what the rule would suspect if each label were drawn from the model's own probabilities. Where it is about as
many, their number says nothing about wrong labels; their order still does, the first are the likeliest
agreed: the model of all domains doubts it too · no test row was looked at"""
WORST: Final = 5
"""Examples of a domain that are shown."""
SHOWN: Final = 160
"""Characters of a text that are shown."""


def counts(found: Sequence[Doubted]) -> Table:
    """Rows and suspicions of each domain."""
    from rich.table import Table
    from rich.text import Text

    table = Table("domain", box=None, pad_edge=False)
    for heading in ("rows", "suspected", "share", "by chance", "agreed"):
        table.add_column(heading, justify="right")
    for one in found:
        agreed = [suspect.agreed for suspect in one.suspects]
        values = (
            str(one.rows),
            str(len(one.suspects)),
            f"{one.share:.1%}",
            f"{one.by_chance:.0f}",
            "–" if None in agreed else str(sum(map(bool, agreed))),
        )
        table.add_row(Text(clean(one.domain)), *(values if one.rows else ("0", *"––––")))
    return table


def examples(one: Doubted) -> Table:
    """The worst of a domain."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=True)
    table.add_column("row", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("given", overflow="fold")
    table.add_column("suggested", overflow="fold")
    table.add_column("p", justify="right")
    table.add_column("text", ratio=1, overflow="fold")
    for suspect in one.suspects[:WORST]:
        text = " ".join(clean(readable(suspect.text), keep="\n\t").split())
        shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        cells = (suspect.id, suspect.label, suspect.suggested)
        table.add_row(*(Text(clean(cell)) for cell in cells), f"{suspect.probability:.2f}", Text(shown))
    return table


def too_few(found: Sequence[Doubted]) -> Iterator[str]:
    """A line for each domain that was not looked at, or not all of whose labels were."""
    for one in found:
        labels = ", ".join(f"{label} {rows}" for label, rows in one.too_few.items())
        if not one.rows:
            yield f"domain {one.domain!r}: not looked at, fewer than two labels have {FOLDS} rows or groups"
        elif labels:
            yield f"domain {one.domain!r}: too few rows to doubt them: {labels}"


def as_json(task: str, backbone: str, found: Sequence[Doubted]) -> str:
    """Everything that was found."""
    domains = [{**asdict(one), "share": round(one.share, 4), "suspects": list(_rows([one]))} for one in found]
    return json.dumps({"task": task, "backbone": backbone, "domains": domains}, indent=2, ensure_ascii=False)


def as_csv(found: Sequence[Doubted]) -> str:
    """One row a suspicion."""
    return csv_table([field.name for field in fields(Suspect)], (list(row.values()) for row in _rows(found)))


def as_jsonl(found: Sequence[Doubted]) -> str:
    """One object a suspicion."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(found))


def _rows(found: Sequence[Doubted]) -> Iterator[dict[str, Any]]:
    for one in found:
        yield from ({**asdict(suspect), "text": readable(suspect.text)} for suspect in one.suspects)


WRITERS: Final[dict[str, Callable[[Sequence[Doubted]], str]]] = {".csv": as_csv, ".jsonl": as_jsonl}
"""By the ending of the file."""


def check_out(path: Path) -> None:
    """Whether suspicions can be written there, before they are sought.

    Raises:
        UserError: Another ending, no such folder, or a file that is there.
    """
    if path.suffix.lower() not in WRITERS:
        raise UserError(f"cannot write {path}", got=path.suffix or "no ending", expected=" or ".join(WRITERS))
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", hint="make it, or choose another --out")
    if path.exists():
        raise UserError(f"{path} is there already", hint="choose another --out")
