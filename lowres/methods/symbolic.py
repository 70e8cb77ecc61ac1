"""Methods on made-up rows: what an expression is and what it costs, told by the expression itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final

from lowres.data.hints import Hints
from lowres.data.rows import Rows
from lowres.methods.catalogue import METHODS, Method, find_method
from lowres.methods.cell import Bench, Cell, Settings
from lowres.training.fit import Fit

LABELS: Final = ("one", "two")
DOMAINS: Final = ("source", "other source", "target")
ROWS, CAP, SHOTS, DRAW = 80, 60, 8, 1
"""Of a domain, of a source fit; labelled target rows a class; no fixed draw of a stage is this one."""
GROUPS: Final = (
    "floors and frozen features", "target only", "source and target", "unlabelled target rows", "several sources",
    "prior knowledge",
)  # fmt: skip
LETTERS: Final = {
    "S": "labelled source rows",
    "T": "target shots",
    "U": "unlabelled target rows",
    "others": "labelled rows of all other sources",
    "pool": "as many labelled target rows as a source fit has",
    "names": "descriptions (or names) of the labels",
    "rules": "keywords of the labels",
}


def _rows(domain: str) -> Rows:
    ids = tuple(f"{domain}/{number}" for number in range(ROWS))
    labels = tuple(LABELS[number % 2] for number in range(ROWS))
    return Rows(domain, ids, [f"{label} word of {row}" for row, label in zip(ids, labels, strict=True)], labels, ids)


TRAIN: Final = {domain: _rows(domain) for domain in DOMAINS}
HINTS: Final = Hints({}, {label: (label,) for label in LABELS})


def symbolic(name: str, shots: int | None, source: str = "source", target: str = "target", draw: int = DRAW) -> Bench:
    """A bench of two sources and a target."""
    known = source if find_method(name).uses_source else None
    cell = Cell("symbolic", known, target, shots, name, draw)
    return Bench(cell, TRAIN, LABELS, Settings(CAP), DOMAINS, hints=HINTS)


@cache
def expression(name: str, shots: int | None, source: str = "source", target: str = "target", draw: int = DRAW) -> Fit:
    """What a method is on such a bench."""
    return find_method(name).expression(symbolic(name, shots, source, target, draw))


def budgets(name: str) -> list[int | None]:
    """0 and ``SHOTS`` where the method is measured there; [None] for the ceiling."""
    return find_method(name).budgets([0, SHOTS])


@dataclass(frozen=True)
class Cost:
    """Distinct fits of a cell, and how many of them another cell of a study needs as well."""

    fits: int
    shared: int

    def __str__(self) -> str:
        return f"{self.fits} ({self.shared} shared)" if self.shared else str(self.fits)


def cost(name: str, shots: int | None) -> Cost:
    """Counted on a bench of two other sources; shared: with another method, pair, budget or draw."""
    own = {fit.content for fit in expression(name, shots).lineage()}
    elsewhere = {content for other, found in _study().items() if other != (name, shots) for content in found}
    return Cost(len(own), len(own & (elsewhere | _around(name, shots))))


@cache
def _study() -> dict[tuple[str, int | None], frozenset[str]]:
    """Contents of the fits of all methods on one pair in one draw."""
    return {
        (name, shots): frozenset(fit.content for fit in expression(name, shots).lineage())
        for name in METHODS
        for shots in budgets(name)
    }


def _around(name: str, shots: int | None) -> set[str]:
    """Contents of the fits of one method for another source, target, draw or budget; the ceilings of the domains."""
    others = [(shots, "other source", "target", DRAW), (shots, "source", "target", DRAW + 1)]
    others += [(shots, "source", "other source", DRAW)]
    others += [(SHOTS // 2, "source", "target", DRAW)] * bool(shots)
    ceilings = [expression("target-full", None, target=domain) for domain in DOMAINS]
    if name == "target-full":
        ceilings = [expression("source-only", 0, source="target", target="source")]
        others = others[1:]
    if not METHODS[name].uses_source:
        others = [one for one in others if one[1] == "source"]
    fits = (expression(name, *one) for one in others)
    return {link.content for fit in (*fits, *ceilings) for link in fit.lineage()}


def group(name: str) -> str:
    """Under which heading a method is listed, by what its expression is and uses."""
    uses = METHODS[name].uses
    last = expression(name, budgets(name)[-1])
    if uses & {"names", "rules"}:
        return GROUPS[5]
    if "others" in uses:
        return GROUPS[4]
    if "U" in uses:
        return GROUPS[3]
    if last.adapter is None:
        return GROUPS[0]
    return GROUPS[2] if "S" in uses else GROUPS[1]


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue. Costs by budget: ``0``, ``k`` or ``pool``."""

    name: str
    group: str
    summary: str
    uses: tuple[str, ...]
    fits: dict[str, Cost]
    source: str
    """Where it is described: an arXiv id (``a:…``) or a DOI."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON-like data."""
        return asdict(self) | {"uses": list(self.uses)}


def entries() -> Iterator[Entry]:
    """All methods by group, in the order of the catalogue."""
    found = {name: group(name) for name in METHODS}
    for heading in GROUPS:
        yield from (_entry(name, METHODS[name], heading) for name, one in found.items() if one == heading)


def _entry(name: str, method: Method, heading: str) -> Entry:
    named = {None: "pool", 0: "0", SHOTS: "k"}
    uses = tuple(letter for letter in LETTERS if letter in method.uses)
    fits = {named[shots]: cost(name, shots) for shots in budgets(name)}
    return Entry(name, heading, method.summary, uses, fits, method.source)
