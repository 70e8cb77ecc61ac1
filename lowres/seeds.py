"""Random choices come from names, never from global state.

``generator("rows", task, domain, draw)`` gives the same stream on every machine, whatever else was drawn before.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt


def digest(*parts: object) -> str:
    """Hash of JSON-like parts as 40 hex digits (BLAKE2b, 160 bits)."""
    return hashlib.blake2b(_json(*parts).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def _json(*parts: object) -> str:
    return json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest_lists(name: str, *lists: Iterable[str]) -> str:
    """The same as ``digest(name, list(…), …)``, without holding more than a few strings at once."""
    hashed = hashlib.blake2b(_json(name)[:-1].encode(), digest_size=20)
    for strings in lists:
        hashed.update(b",[")
        for number, batch in enumerate(_batched(strings, 1024)):
            hashed.update((("," if number else "") + _json(*batch)[1:-1]).encode("utf-8", "surrogatepass"))
        hashed.update(b"]")
    hashed.update(b"]")
    return hashed.hexdigest()


def _batched(items: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(items)
    while batch := tuple(itertools.islice(rest, size)):
        yield batch


def number(*name: object) -> int:
    """A 63-bit seed from a name."""
    return int(digest(*name)[:16], 16) >> 1


def generator(*name: object) -> np.random.Generator:
    """A numpy generator of its own for this name."""
    return np.random.default_rng(number(*name))


def uniform(*name: object) -> float:
    """One number in [0, 1) from a name."""
    return int(digest(*name)[:13], 16) / 16**13


def order(ids: Sequence[str], *name: object) -> npt.NDArray[np.int64]:
    """A permutation of positions that depends only on each id and the name.

    Every id gets its own place in the order, so adding or removing one row leaves the order of the others as it was.
    """
    keys = [digest(*name, row_id) for row_id in ids]
    return np.array(sorted(range(len(ids)), key=lambda position: (keys[position], ids[position])), dtype=np.int64)


def first_half(groups: Sequence[str], *name: object) -> npt.NDArray[np.bool_]:
    """Which rows belong to the first half of their groups, [rows]: halves of the groups in the order of this name.

    No group straddles; with two groups or more neither half is empty.
    """
    names = sorted(set(groups))
    chosen = {names[place] for place in order(names, "half", *name)[: len(names) // 2]}
    return np.array([group in chosen for group in groups], dtype=np.bool_)
