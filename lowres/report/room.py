"""Where the names in a chart stand: not on marks, lines or each other, as far as there is room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
LETTER, UP, DOWN = 6.0, 9.0, 3.0
"""Width of a letter of a small text, and how far it reaches above and below its line."""
STEP = 6.0


@dataclass(frozen=True)
class Spot:
    """Where a text could stand: a point of its line, and which end of it (``start``, ``middle``, ``end``) lies there."""

    x: float
    y: float
    anchor: str = "start"

    def box(self, text: str) -> Box:
        """The room that a text takes there."""
        wide = LETTER * len(text)
        left = self.x - {"start": 0.0, "middle": wide / 2, "end": wide}[self.anchor]
        return left, self.y - UP, left + wide, self.y + DOWN


@dataclass
class Room:
    """The inside of a chart with what is drawn there."""

    inside: Box
    _taken: list[Box] = field(default_factory=list)

    def mark(self, x: float, y: float, size: float) -> None:
        """A mark is there."""
        self._taken.append((x - size, y - size, x + size, y + size))

    def path(self, corners: Sequence[tuple[float, float]]) -> None:
        """A line is there."""
        for (left, top), (right, bottom) in itertools.pairwise(corners):
            count = math.ceil(math.hypot(right - left, bottom - top) / STEP) or 1
            for number in range(count + 1):
                share = number / count
                self.mark(left + share * (right - left), top + share * (bottom - top), 1)

    def stand(self, text: str, spots: Iterable[Spot], *, free: bool = False) -> Spot | None:
        """The spot where a text meets least, the first of equals, which it then takes.

        Args:
            text: As it is shown.
            spots: The best first.
            free: None where the text would meet something or leave the chart at every spot.
        """
        left, top, right, bottom = self.inside
        found: tuple[int, Spot] | None = None
        for spot in spots:
            own = spot.box(text)
            outside = own[0] < left or own[1] < top or own[2] > right or own[3] > bottom
            met = sum(_meet(own, other) for other in self._taken) + 1000 * outside
            if found is None or met < found[0]:
                found = met, spot
        if found is None or (free and found[0]):
            return None
        self._taken.append(found[1].box(text))
        return found[1]


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
