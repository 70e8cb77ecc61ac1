"""Rows that are (nearly) the same must not be trained on and tested on: they leave train and dev, and test only where the
task file says so.

Two rows are the same if their normalised texts are equal, or if the smaller one shares at least 0.9 of its distinct
word 5-grams with the larger one. Two guards keep a stock phrase from wiping out a document: rows under five words only
match exactly, and the smaller row needs at least ``MIN_GRAMS`` 5-grams (a sentence of 12 words) unless the larger row
is at most twice its size.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import Positions, Rows
from lowres.data.spec import Overlap
from lowres.data.splits import Parts

GRAM: Final = 5
MIN_GRAMS: Final = 8
_CHUNK: Final = 20_000_000  # multiply-adds of one block of the sparse product; bounds its memory to a few hundred MB
_BATCH: Final = 16_384

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """A count of rows of one kind.

    Kinds: ``left out`` (no label of the task), ``test overlap`` and ``dev overlap`` (removed from ``split``, because a
    row of that part of ``other`` is the same), ``train overlap`` (the same, from test, or, where the texts are equal, from
    the rows out of scope), ``conflict`` and ``duplicate`` (removed from train), ``test duplicate`` and ``shared group``
    (kept, only counted). The domain of rows that were left out may be unknown: ``(none)``.
    """

    kind: str
    domain: str
    split: str
    other: str
    rows: int


@cache
def _punctuation() -> dict[int, str]:
    return {code: " " for code in range(0x20000) if unicodedata.category(chr(code)).startswith("P")}


def normalise(text: str) -> str:
    """NFKC, case folded, punctuation and runs of white space made one space; a text of punctuation only keeps it."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_punctuation()).split()) or " ".join(folded.split())


def mark(text: str) -> str:
    """Hash of a normalised text: what is kept of one that must be known again and not be read."""
    return seeds.digest(normalise(text))


def remove(
    domains: dict[str, tuple[Rows, Parts]], overlap: Overlap = "leaves-train"
) -> tuple[dict[str, Parts], list[Finding]]:
    """Take the rows that leak out of train and dev, or first out of test.

    In this order: with ``leaves-test``, test rows the same as a train row of their own domain; train and dev rows the
    same as a test row of any domain; train rows the same as a dev row of any domain; train rows of one domain with the
    same normalised text under different labels (all of them); all but one (the smallest id) of the train rows of one
    domain with the same normalised text.

    Args:
        domains: All rows and the parts of each domain of a task.
        overlap: Which row leaves where train and test of one domain share one.

    Returns:
        The parts without the rows that leave, and what was counted.
    """
    table = _Table(domains)
    findings: list[Finding] = []
    kept = np.ones(len(table.place), dtype=bool)
    for name in domains if overlap == "leaves-test" else ():
        own = table.domain == name
        tests, train = (np.flatnonzero(own & (table.place == part)) for part in ("test", "train"))
        mixed = tests[table.partners(tests, train) >= 0]
        kept[mixed] = False
        findings += _tally("train overlap", ((name, "test", name) for _ in mixed))
    for leavers, against, kind in ((("train", "dev"), "test", "test overlap"), (("train",), "dev", "dev overlap")):
        left = np.flatnonzero(kept & np.isin(table.place, leavers))
        right = np.flatnonzero(kept & (table.place == against))
        partner = table.partners(left, right)
        hits = left[partner >= 0]
        kept[hits] = False
        where = zip(table.domain[hits], table.place[hits], table.domain[partner[partner >= 0]], strict=True)
        findings += _tally(kind, where)
    for kind, gone in table.repeats(kept):
        kept[gone] = False
        findings += _tally(kind, ((table.domain[row], "train", table.domain[row]) for row in gone))
    findings += _tally("test duplicate", ((name, "test", name) for name in table.test_duplicates(kept)))
    return {
        name: Parts(*(part[kept[start + part]] for part in parts))
        for (name, (_, parts)), start in zip(domains.items(), table.starts, strict=True)
    }, findings


def remove_taught(outside: Rows, trained: Mapping[str, Rows]) -> tuple[Rows, list[Finding]]:
    """Take those rows out of scope out that equal a train row of a domain, for which a fit was taught a class.

    Args:
        outside: The rows out of scope.
        trained: The train rows of each domain.
    """
    texts = [normalise(text) for text in outside.texts]
    wanted, taught = set(texts), dict[str, str]()
    for name, rows in trained.items():
        for text in map(normalise, rows.texts):
            if text in wanted:
                taught.setdefault(text, name)
    kept = [place for place, text in enumerate(texts) if text not in taught]
    gone = ((outside.domain, "test", taught[text]) for text in texts if text in taught)
    return outside.take(kept), _tally("train overlap", gone)


def partners(left: Sequence[str], right: Sequence[str]) -> Positions:
    """For each text of one side the first of the other that is the same, or −1."""
    whole = [normalise(text) for text in (*left, *right)]
    first = {text: place for place, text in reversed(list(enumerate(whole[len(left) :])))}
    found = np.array([first.get(text, -1) for text in whole[: len(left)]], dtype=np.int64)
    grams = gram_matrix(whole)
    near = nearly_same(grams[: len(left)], grams[len(left) :])
    return np.where(found < 0, near, found)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(texts, _BATCH)):
        yield batch


def _tally(kind: str, where: Iterable[tuple[str, str, str]]) -> list[Finding]:
    counts = Counter((str(domain), str(split), str(other)) for domain, split, other in where)
    return [Finding(kind, *key, count) for key, count in sorted(counts.items())]


class _Table:
    """All rows of all domains in one sequence, with what the rules compare."""

    def __init__(self, domains: dict[str, tuple[Rows, Parts]]) -> None:
        every = [rows for rows, _ in domains.values()]
        sizes = [len(rows) for rows in every]
        self.starts = np.cumsum([0, *sizes])[:-1]
        self.ids = [row_id for rows in every for row_id in rows.ids]
        self.labels = [label for rows in every for label in rows.labels]
        self.domain = np.repeat(np.array(list(domains), dtype=object), sizes)
        self.place = np.full(sum(sizes), "", dtype="U5")
        for start, (_, parts) in zip(self.starts, domains.values(), strict=True):
            for name, part in parts._asdict().items():
                self.place[start + part] = name
        keys, counter = [np.zeros(0, dtype=np.int64)], GramCounter()
        for texts in _batches(normalise(text) for rows in every for text in rows.texts):
            keys.append(np.array([seeds.number(text) for text in texts], dtype=np.int64))
            counter.add(texts)
        self.key = np.concatenate(keys)
        """A 63-bit hash of the normalised text: two of a million different texts agree with probability 5e-8."""
        self.grams = counter.close()

    def partners(self, left: Positions, right: Positions) -> Positions:
        """For each row of ``left`` one row of ``right`` that is the same, or −1."""
        first = {int(self.key[row]): int(row) for row in right[::-1]}
        found = np.array([first.get(int(self.key[row]), -1) for row in left], dtype=np.int64)
        open_ = np.flatnonzero(found < 0)
        near = nearly_same(self.grams[left[open_]], self.grams[right])
        found[open_[near >= 0]] = right[near[near >= 0]]
        return found

    def repeats(self, kept: Mask) -> list[tuple[str, list[int]]]:
        """Conflicting and repeated train rows within each domain."""
        same: dict[tuple[str, int], list[int]] = {}
        for row in np.flatnonzero(kept & (self.place == "train")):
            same.setdefault((self.domain[row], int(self.key[row])), []).append(int(row))
        conflicts: list[int] = []
        duplicates: list[int] = []
        for rows in same.values():
            if len({self.labels[row] for row in rows}) > 1:
                conflicts += rows
            else:
                duplicates += sorted(rows, key=lambda row: self.ids[row])[1:]
        return [("conflict", conflicts), ("duplicate", duplicates)]

    def test_duplicates(self, kept: Mask) -> list[str]:
        """The domain of each test row whose text an earlier one of it has."""
        seen: Counter[tuple[str, int]] = Counter(
            (self.domain[row], int(self.key[row])) for row in np.flatnonzero(kept & (self.place == "test"))
        )
        return [domain for (domain, _), count in seen.items() for _ in range(count - 1)]


@dataclass(frozen=True)
class Grams:
    """Which word 5-grams each text has. Only those that stand in two texts or more need a column."""

    shared: Any
    """Sparse 0/1 matrix [texts, grams in two texts or more]."""
    sizes: npt.NDArray[np.int64]
    """How many distinct 5-grams each text has in all, [texts]."""

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, rows: Any) -> Grams:
        return Grams(self.shared[rows], self.sizes[rows])


class GramCounter:
    """Takes normalised texts batch by batch and keeps eight bytes a distinct 5-gram of each."""

    def __init__(self) -> None:
        self._vocabulary: dict[str, int] = {}
        self._codes: list[npt.NDArray[np.uint64]] = []
        self._sizes: list[npt.NDArray[np.int64]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Appends normalised texts."""
        words = [text.split() for text in texts]
        known = self._vocabulary
        flat = np.fromiter((known.setdefault(word, len(known)) for word in chain.from_iterable(words)), dtype=np.uint64)
        owner = np.repeat(np.arange(len(texts)), [len(row) for row in words])
        count = max(len(flat) - GRAM + 1, 0)
        whole = owner[:count] == owner[len(flat) - count :]
        code = np.zeros(count, dtype=np.uint64)
        for offset in range(GRAM):  # a 64-bit polynomial hash of the five word numbers; wraps around by design
            code = code * np.uint64(0x9E3779B97F4A7C15) + flat[offset : offset + count] + np.uint64(1)
        code, owner = code[whole], owner[:count][whole]
        ranked = np.lexsort((code, owner))
        code, owner = code[ranked], owner[ranked]
        first = np.ones(len(code), dtype=bool)
        first[1:] = (code[1:] != code[:-1]) | (owner[1:] != owner[:-1])
        self._codes.append(code[first])
        self._sizes.append(np.bincount(owner[first], minlength=len(texts)).astype(np.int64))

    def close(self) -> Grams:
        """The 5-grams of all texts; the counter is empty afterwards."""
        from scipy.sparse import csr_matrix

        sizes = np.concatenate([np.zeros(0, dtype=np.int64), *self._sizes])
        ranked = np.concatenate([np.zeros(0, dtype=np.uint64), *self._codes])
        ranked.sort()
        known = np.unique(ranked[1:][ranked[1:] == ranked[:-1]])
        del ranked
        columns, kept = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for codes, counts in zip(self._codes, self._sizes, strict=True):
            place = np.minimum(np.searchsorted(known, codes), max(len(known) - 1, 0))
            found = known[place] == codes if len(known) else np.zeros(len(codes), dtype=bool)
            columns.append(place[found])
            kept.append(np.bincount(np.repeat(np.arange(len(counts)), counts)[found], minlength=len(counts)))
        self._codes, self._sizes, self._vocabulary = [], [], {}
        column, ends = np.concatenate(columns), np.concatenate([[0], np.cumsum(np.concatenate(kept))])
        shape = (len(sizes), len(known))
        return Grams(csr_matrix((np.ones(len(column), dtype=np.int32), column, ends), shape=shape), sizes)


def gram_matrix(texts: Sequence[str]) -> Grams:
    """The 5-grams of normalised texts."""
    counter = GramCounter()
    counter.add(texts)
    return counter.close()


def nearly_same(left: Grams, right: Grams) -> Positions:
    """For each text of one side the first text of the other that passes the 5-gram rule, or −1.

    Only rows nine tenths of whose grams occur on the other side can be the smaller row of a pair: all others are
    dropped before any product is formed.
    """
    found = np.full(len(left), -1, dtype=np.int64)
    smaller_left = _covered(left, right)
    smaller_right = _covered(right, left)
    for rows, others in ((smaller_left, np.arange(len(right))), (np.arange(len(left)), smaller_right)):
        if len(rows) and len(others):
            hits = _first_hits(left[rows], right[others])
            here, there = rows[hits >= 0], others[hits[hits >= 0]]
            found[here] = np.where(found[here] < 0, there, np.minimum(found[here], there))
    return found


def _covered(texts: Grams, others: Grams) -> Positions:
    seen = (np.asarray(others.shared.sum(axis=0)).ravel() > 0).astype(np.int32)
    return np.flatnonzero((texts.sizes > 0) & (10 * (texts.shared @ seen) >= 9 * texts.sizes)).astype(np.int64)


def _first_hits(left: Grams, right: Grams) -> Positions:
    """The first text of ``right`` that passes the rule for each text of ``left``, or −1."""
    turned = right.shared.T.tocsr()
    work = np.asarray(left.shared @ np.diff(turned.indptr)).ravel()
    blocks = np.cumsum(work, dtype=np.int64) // _CHUNK
    found = np.full(len(left), -1, dtype=np.int64)
    for block in np.unique(blocks[work > 0]):
        rows = np.flatnonzero((blocks == block) & (work > 0))
        pairs = (left.shared[rows] @ turned).tocoo()
        here, there = rows[pairs.row], pairs.col
        small = np.minimum(left.sizes[here], right.sizes[there])
        large = np.maximum(left.sizes[here], right.sizes[there])
        same = (10 * pairs.data >= 9 * small) & ((small >= MIN_GRAMS) | (2 * small >= large))
        order = np.lexsort((there[same], here[same]))
        at, first = np.unique(here[same][order], return_index=True)
        found[at] = there[same][order][first]
    return found
