"""What the sections of a page draw on: the summary looked up by column, the records, and a style for every method."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from markupsafe import Markup

from lowres.analysis.summary import Score, Summary
from lowres.report.blocks import Block, Figure, Gallery, Records, folded, pair
from lowres.report.sentences import short
from lowres.report.svg import Words, bdi
from lowres.report.tables import measured_pairs, metric_name

OPEN = 12
"""Pairs whose charts stand open; of more, those of each target are folded."""
MOST = 40
"""Charts of one kind in a page at most."""


@dataclass
class Study:
    """What the sections draw on: the summary, its scores by column, the records, and a style for every method."""

    summary: Summary
    records: Records
    _images: int = field(default=0)

    @cached_property
    def scores(self) -> dict[tuple[str, str | None, str, int | None], Score]:
        """By method, source, target, shots."""
        return {(one.method, one.source, one.target, one.shots): one for one in self.summary.scores}

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Those that were measured, as the summary lists them."""
        return measured_pairs(self.summary)

    @property
    def metric(self) -> str:
        """The primary metric's name for people."""
        return metric_name(self.summary.study.metric)

    @cached_property
    def styles(self) -> dict[str, int]:
        """A number a method, which fixes its colour, shape and dashes everywhere."""
        return {name: place for place, name in enumerate(self.summary.study.methods)}

    def style(self, method: str) -> int:
        """Of a method, also of one that the study does not name."""
        return self.styles.setdefault(method, len(self.styles))

    def score(self, method: str, source: str | None, target: str, shots: int | None) -> Score | None:
        """Of a column; of a method that uses no source, whatever source is asked for."""
        return self.scores.get((method, source, target, shots)) or self.scores.get((method, None, target, shots))

    def parted(self, line: str) -> Markup:
        """A sentence in which names that may run from right to left keep that to themselves."""
        study = self.summary.study
        names = {short(name) for name in (*study.domains, *study.sources, *study.targets)}
        foreign = sorted((name for name in names if not name.isascii()), key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, foreign)) + ")", line) if foreign else [line]
        return Markup().join(bdi(piece) if piece in names else piece for piece in pieces)

    def words(self, title: str, about: str) -> Words:
        """What a new image of the page is called."""
        self._images += 1
        return Words(f"i{self._images}", title, about)

    def by_target(self, figures: Iterable[tuple[str, Figure]], many: bool | None = None) -> tuple[Block, ...]:
        """Figures as one gallery, or, where the study has many pairs, folded by target."""
        groups: dict[str, list[Figure]] = {}
        shown, left = 0, 0
        for target, one in figures:
            if shown < MOST or len(self.pairs) <= MOST:
                groups.setdefault(target, []).append(one)
                shown += 1
            else:
                left += 1
        if not groups:
            return ()
        note = f"{left} more charts are left out; their numbers are in the table." if left else ""
        if len(self.pairs) <= OPEN if many is None else not many:
            return (Gallery(tuple(one for group in groups.values() for one in group), note=note),)
        blocks: list[Block] = []
        for target, group in groups.items():
            blocks += folded(pair(None, target), [Gallery(tuple(group))], True)
        return (*blocks, Gallery((), note=note)) if note else tuple(blocks)
