"""Which rows train, which test, and which few are shown: pure functions of ids, labels, groups and seed names.

No function looks at a text or at the number or order of other rows, except where a part ends (``cap``, ``shots``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from lowres import seeds
from lowres.data.rows import Positions, Rows
from lowres.errors import UserError
from lowres.kinds import KINDS, entities, words_of

SHARES: Final = {"train": 0.60, "dev": 0.15, "test": 0.25}


class Parts(NamedTuple):
    """Ascending positions of the rows of each part; disjoint."""

    train: Positions
    dev: Positions
    test: Positions


def split(rows: Rows, given: Sequence[str] | None = None) -> Parts:
    """Cut a domain into train, dev and test (60 / 15 / 25) by a hash of the group id, so that no group straddles.

    Args:
        rows: All rows of one domain.
        given: ``train``, ``dev`` or ``test`` for each row, if the data come with a split. Given parts stay as they
            are; parts that are missing are carved from the given train part, in the same proportions (a missing dev
            takes 15/75 of it). A domain given without a train part has nothing to carve from: it can only be tested on.
    """
    places = np.array(given if given is not None else ["train"] * len(rows), dtype="U5")
    present = set(places.tolist()) if given is not None else {"train"}
    wanted = ["train", *(part for part in ("dev", "test") if part not in present)]
    edges = np.cumsum([SHARES[part] for part in wanted]) / sum(SHARES[part] for part in wanted)
    pool = np.flatnonzero(places == "train")
    points = {group: seeds.uniform("split", group) for group in {rows.groups[place] for place in pool}}
    drawn = np.array([points[rows.groups[place]] for place in pool], dtype=float)
    bins = np.minimum(np.searchsorted(edges, drawn, side="right"), len(wanted) - 1)
    places[pool] = np.array(wanted, dtype="U5")[bins]
    return Parts(*(np.flatnonzero(places == part).astype(np.int64) for part in SHARES))


@lru_cache(maxsize=64)
def permutation(task: str, train: Rows, draw: int) -> Positions:
    """The one order in which the train rows of a domain are shown in this draw (read-only array of positions)."""
    order = seeds.order(train.ids, "rows", task, train.domain, draw)
    order.setflags(write=False)
    return order


def shots(task: str, train: Rows, k: int, draw: int) -> Rows:
    """The labelled rows of a budget: the first ``k`` rows of each class along the permutation; the rows for fewer shots are
    among those for more.

    Of a regression, and of words whose tags name no entities, so many rows in all. Of entities, and of texts with any number
    of labels, as few rows as hold each type (and no label at all) ``k`` times, up to about ``2 k`` times (as the
    N-way K~2K-shot sampling of Few-NERD, a:2105.07464); a type that is rarer gives all rows it has.

    Raises:
        UserError: A class has fewer than ``k`` rows.
    """
    if k < 0:
        raise UserError("shots must not be negative", got=k, expected="0 or more rows a class")
    order = permutation(task, train, draw)
    if not KINDS[train.kind].single:
        return train.take(_counted(task, train, k, draw))
    sizes = {label: len(positions) for label, positions in train.by_label().items()}
    label = min(sizes, key=lambda name: sizes[name], default="")
    if sizes and sizes[label] < k:
        raise UserError(
            f"domain {train.domain!r} has too few train rows of class {label!r} for {k} shots",
            got=f"{sizes[label]} rows",
            expected=f"at least {k}",
            hint=f"ask for at most {sizes[label]} shots: --shots 0,{sizes[label]}",
        )
    left = dict.fromkeys(sizes, k)
    chosen = []
    for position in order:
        label = train.labels[position]
        if left[label]:
            left[label] -= 1
            chosen.append(int(position))
    return train.take(chosen)


@lru_cache(maxsize=256)
def _counted(task: str, train: Rows, k: int, draw: int) -> tuple[int, ...]:
    """Positions of the rows of a budget, where a row has no single class."""
    order, types = permutation(task, train, draw), _types(train)
    if any(types):
        return tuple(_covering(types, order, k))
    if len(train) < k:
        raise UserError(
            f"domain {train.domain!r} has too few train rows for {k} shots",
            got=f"{len(train)} rows",
            expected=f"at least {k}",
            hint=f"ask for at most {len(train)} shots: --shots 0,{len(train)}",
        )
    return tuple(order[:k].tolist())


@lru_cache(maxsize=64)
def _types(train: Rows) -> list[Counter[str]]:
    """How often each row holds each of the types that a budget counts, [rows]; none where it counts rows."""
    if KINDS[train.kind].answer == "many":
        return [Counter(words_of(label) or [""]) for label in train.labels]
    if KINDS[train.kind].unit == "word":
        return [Counter(found for found, _, _ in entities(words_of(label))) for label in train.labels]
    return [Counter()] * len(train)


def _covering(types: Sequence[Counter[str]], order: Positions, k: int) -> list[int]:
    """Positions of rows that hold each type ``k`` times, in the order in which they are chosen.

    Level by level, in each the rarest type first, the next row along the order with that type is taken; first one that
    brings no type above twice the level.
    """
    totals = Counter[str]()
    for held_by in types:
        totals.update(held_by)
    having = {one: [int(row) for row in order if one in types[row]] for one in totals}
    held: Counter[str] = Counter()
    chosen: dict[int, None] = {}
    for level in range(1, k + 1):
        for one in sorted(totals, key=lambda name: (totals[name], name)):
            while held[one] < level:
                left = [row for row in having[one] if row not in chosen]
                if not left:
                    break
                row = next(
                    (
                        row
                        for row in left
                        if all(held[other] + times <= 2 * level for other, times in types[row].items())
                    ),
                    left[0],
                )
                chosen[row] = None
                held += types[row]
    return list(chosen)


def cap(task: str, train: Rows, n: int, draw: int) -> Rows:
    """The first ``n`` rows along the permutation, with the natural balance of classes; all rows if there are fewer."""
    if n < 1:
        raise UserError("a row cap must be positive", got=n, expected="1 or more rows")
    return train.take(permutation(task, train, draw)[:n])


def limit_test(task: str, test: Rows, limit: int | None) -> Rows:
    """At most ``limit`` test rows, the same in every draw, in the order of the data."""
    if limit is None or limit >= len(test):
        return test
    if limit < 1:
        raise UserError("a test limit must be positive", got=limit, expected="1 or more rows")
    return test.take(np.sort(seeds.order(test.ids, "test", task, test.domain)[:limit]))
