"""Split every domain and remove leaks; kept on disk by content where that takes long."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lowres import seeds
from lowres.data import leaks
from lowres.data.assemble import Assembled
from lowres.data.leaks import Finding
from lowres.data.rows import Rows
from lowres.data.sources import cache_dir
from lowres.data.spec import Overlap
from lowres.data.splits import Parts, split
from lowres.files import replacing

SCHEMA: Final = 3
"""Raised with every change of the split or leak rules, so that no older result is reused."""
KEEP_FROM: Final = 2.0
"""Seconds of work from which a result is kept on disk."""
_CODES: Final = "-rve"  # left, train, dev, test


@dataclass(frozen=True)
class Prepared:
    """The parts of each domain without the rows that leak, and what was counted."""

    parts: dict[str, Parts]
    findings: tuple[Finding, ...]


def prepare(assembled: Assembled, overlap: Overlap = "leaves-train") -> Prepared:
    """Split and clean all domains of a task; ``overlap`` as in ``leaks.remove``."""
    start = time.perf_counter()
    path = cache_dir() / "prepared" / f"{_key(assembled, overlap)}.json"
    kept = _load(path, assembled)
    if kept is not None:
        return kept
    whole = {name: (rows, split(rows, given)) for name, (rows, given) in assembled.domains.items()}
    shared = [found for name in whole for other in whole if (found := _shared_groups(whole, name, other))]
    parts, findings = leaks.remove(whole, overlap)
    prepared = Prepared(parts, (*findings, *shared))
    if time.perf_counter() - start > KEEP_FROM:
        _save(path, assembled, prepared)
    return prepared


def _shared_groups(whole: dict[str, tuple[Rows, Parts]], name: str, other: str) -> Finding | None:
    """Train and dev rows of a domain whose group has test rows, in the same domain or another, as given splits may have.

    A row whose group is its own id is a group only within its domain: ids of two domains may be the same by chance.
    """
    (rows, parts), (tests, tested) = whole[name], whole[other]
    hidden = {tests.groups[at] for at in tested.test if name == other or tests.groups[at] != tests.ids[at]}
    places = [at for at in (*parts.train, *parts.dev) if rows.groups[at] in hidden]
    count = sum(name == other or rows.groups[at] != rows.ids[at] for at in places)
    return Finding("shared group", name, "train", other, count) if count else None


def _key(assembled: Assembled, overlap: Overlap) -> str:
    content = [
        [name, rows.fingerprint, seeds.digest_lists("groups", rows.groups), seeds.digest_lists("given", given or ())]
        for name, (rows, given) in assembled.domains.items()
    ]
    return seeds.digest("prepared", SCHEMA, content, *([] if overlap == "leaves-train" else [overlap]))


def _load(path: Path, assembled: Assembled) -> Prepared | None:
    """What was kept, or None if there is nothing or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["sum"] != seeds.digest(content["places"], content["findings"]):
            return None
        parts = {}
        for name, (rows, _) in assembled.domains.items():
            codes = np.frombuffer(content["places"][name].encode("ascii"), dtype="S1")
            if len(codes) != len(rows):
                return None
            parts[name] = Parts(*(np.flatnonzero(codes == code.encode()).astype(np.int64) for code in _CODES[1:]))
        return Prepared(parts, tuple(Finding(*found) for found in content["findings"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(path: Path, assembled: Assembled, prepared: Prepared) -> None:
    """Keep a result; a cache that cannot be written only costs time."""
    places = {}
    for name, (rows, _) in assembled.domains.items():
        codes = np.full(len(rows), _CODES[0], dtype="U1")
        for code, part in zip(_CODES[1:], prepared.parts[name], strict=True):
            codes[part] = code
        places[name] = "".join(codes.tolist())
    findings = [list(astuple(found)) for found in prepared.findings]
    content = {"sum": seeds.digest(places, findings), "places": places, "findings": findings}
    with contextlib.suppress(OSError):  # the cache only saves time
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as target:
            json.dump(content, target)
