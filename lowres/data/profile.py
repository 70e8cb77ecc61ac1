"""What the columns of own tables are like: values, numbers, words."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Final

from lowres.data.sources import Piece
from lowres.data.spec import TableFormat
from lowres.data.tables import ENDINGS, read_tables

MAX_VALUES: Final = 10_000
"""Different values of a column that are looked at; a column with more of them is read no further."""
SAMPLE: Final = 1000
"""Different values in which words are counted."""
_DENSE = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")  # Thai, Japanese, Chinese: no spaces between words


@dataclass
class Column:
    """What the values of one column are like; blank values do not count."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    nested: bool = False
    """Some value is a list or an object."""
    lists: list[int] = field(default_factory=list)
    """Lengths of the first ``SAMPLE`` values where all of them are lists of texts or numbers; else none."""
    items: Counter[str] = field(default_factory=Counter)
    """What is in these lists."""

    @property
    def many(self) -> bool:
        """There are more values than were counted."""
        return len(self.counts) >= MAX_VALUES

    def add(self, values: Iterable[object]) -> None:
        """Count further values, with numbers and truth values spelled as ``Table.column`` does."""
        if self.many or (self.nested and len(self.lists) in (0, SAMPLE)):
            return
        for value in values:
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            if self.nested or isinstance(value, (list, dict, bytes)):
                self._add_list(value)
                if len(self.lists) in (0, SAMPLE):
                    return
                continue
            plain = isinstance(value, (bool, int, float))
            self.counts[value if isinstance(value, str) else json.dumps(value) if plain else str(value)] += 1

    def _add_list(self, value: object) -> None:
        """Count a list; whatever else there is takes away what was counted."""
        first, self.nested = not self.nested and not self.counts, True
        plain = isinstance(value, list) and all(isinstance(one, (str, int, float)) for one in value)
        if isinstance(value, list) and plain and (first or self.lists):
            self.lists.append(len(value))
            self.items.update(one if isinstance(one, str) else json.dumps(one) for one in value)
        else:
            self.lists.clear()
            self.items.clear()

    @cached_property
    def values(self) -> Counter[str]:
        """Rows of each value without surrounding space."""
        found: Counter[str] = Counter()
        for value, rows in self.counts.items():
            found[value.strip()] += rows
        return found

    @cached_property
    def rows(self) -> int:
        """Rows that were counted."""
        return self.counts.total()

    @cached_property
    def numeric(self) -> bool:
        """All values are finite numbers."""
        return bool(self.counts) and all(as_number(value) is not None for value in self.counts)

    @cached_property
    def words(self) -> float:
        """Words of a value, on average; 0 where letters are the smaller part, as in dates and codes."""
        sample = list(itertools.islice(self.counts, SAMPLE))
        inked = "".join("".join(value.split()) for value in sample)
        if sum(map(str.isalpha, inked)) <= len(inked) / 2:
            return 0.0
        return sum(len(value.split()) + len(_DENSE.findall(value)) // 2 for value in sample) / len(sample)

    @cached_property
    def length(self) -> float:
        """Characters of a value, on average."""
        return sum(map(len, self.counts)) / max(1, len(self.counts))


@dataclass
class Profile:
    """The columns that all tables of a task have, and the rows of the domains that files stand for."""

    name: str
    columns: dict[str, Column] = field(default_factory=dict)
    domains: Counter[str] = field(default_factory=Counter)
    first: tuple[str, ...] = ()
    """The first line, where it should be a header."""


def profile_tables(pieces: Iterable[Piece], form: TableFormat, enough: Mapping[str, str] | None) -> Profile:
    """Read the tables, each only in part if it has the columns that are enough."""
    profile: Profile | None = None
    for piece in pieces:
        needed = {name for role, name in (enough or {}).items() if role != "domain" or not piece.domain}
        columns: dict[str, Column] = {}
        rows = 0
        for table in read_tables(piece.data, piece.name, form):
            if profile is None:
                profile = Profile(
                    piece.name, columns, first=() if _has_keys(piece.name, form) else tuple(table.columns)
                )
            for name, values in table.columns.items():
                columns.setdefault(name, profile.columns.get(name) or Column(name)).add(values)
            rows += len(table)
            if enough is not None and needed <= set(columns):
                break
        if profile is None:
            break
        profile.columns = {name: column for name, column in columns.items() if name in profile.columns}
        if piece.domain is not None:
            profile.domains[piece.domain] += rows
    if profile is None:
        raise ValueError("no table")
    return profile


def _has_keys(name: str, form: TableFormat) -> bool:
    """Whether column names cannot be a row by mistake."""
    return form.header is not None or ENDINGS.get(PurePath(name).suffix.lower()) not in ("csv", "tsv")


def as_number(value: str) -> float | None:
    """A finite number, or None."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
