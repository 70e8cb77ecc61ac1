"""Protocols: which domains a target is learnt from, one at a time or all others together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lowres.errors import UserError

PAIRS: Final = "pairs"
LEAVE_ONE_OUT: Final = "leave-one-out"
PROTOCOLS = {
    PAIRS: "each source alone",
    LEAVE_ONE_OUT: "all other sources together, as many rows in all as one has",
}
"""Names and what a target is learnt from."""
JOIN = "+"
"""Between the domains in the name of a set: ``amazon+nyt``."""


@dataclass(frozen=True)
class Origins:
    """The sources of a study: a domain each, or a set of domains under one name."""

    domains: tuple[str, ...] = ()
    """All domains that are learnt from."""
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Source to the domains that it is made of."""
    of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Target to the sources that it is learnt from."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all sources."""
        return tuple(self.sets)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(source, target), by source."""
        return [(source, target) for source in self.sets for target, own in self.of.items() if source in own]

    def members(self, source: str) -> tuple[str, ...]:
        """The domains that a source is made of; of a domain, itself."""
        return self.sets.get(source, (source,))

    def check(self, row_cap: int) -> None:
        """Raises a ``UserError`` where a row cap leaves a domain of a set without rows."""
        largest = max((len(members) for members in self.sets.values()), default=0)
        if row_cap < largest:
            raise UserError(
                "the row cap leaves a source of a set without rows",
                got=f"{row_cap} rows for {largest} sources",
                expected=f"at least {largest}",
                hint="raise --source-rows",
            )


def targets_of(protocol: str, known: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """What is measured where nothing is named: all domains; with others left in together, those that have two sources."""
    least = 2 if protocol == LEAVE_ONE_OUT else 0
    return tuple(name for name in known if len({*sources} - {name}) >= least) or tuple(known)


def find_origins(protocol: str, known: Sequence[str], sources: Sequence[str], targets: Sequence[str]) -> Origins:
    """The sources of each target.

    Args:
        protocol: One of ``PROTOCOLS``.
        known: Domains of the task, in its order.
        sources: Those to learn from.
        targets: Names of what is measured, such as some of ``known``.

    Raises:
        UserError: A target has fewer than two sources to leave it out of, or the name of a set could be another's.
    """
    if protocol == PAIRS:
        of = {target: tuple(source for source in sources if source != target) for target in targets}
        return Origins(tuple(sources), {source: (source,) for source in sources}, of)
    ordered = tuple(name for name in known if name in sources)
    sets: dict[str, tuple[str, ...]] = {}
    own: dict[str, tuple[str, ...]] = {}
    for target in targets:
        members = tuple(name for name in ordered if name != target)
        if len(members) < 2:
            raise UserError(
                f"{LEAVE_ONE_OUT} learns a target from all other sources",
                got=f"source {', '.join(members) or 'none'} for target {target}",
                expected="at least two sources for a target",
                hint=f"name more sources, or use --protocol {PAIRS}",
            )
        name = JOIN.join(members)
        if name in known or sets.setdefault(name, members) != members:
            raise UserError(
                f"the set of {', '.join(members)} cannot be called {name}",
                got="the name of another" + (" domain" if name in known else " set"),
                hint=f"rename the domain that has a {JOIN} in its name",
            )
        own[target] = (name,)
    return Origins(ordered, sets, own)
