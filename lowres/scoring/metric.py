"""What a primary metric is: sums over rows, and a value of them.

That makes its value without any group of rows, and so its standard error, a subtraction instead of a new pass over the
data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Targets = npt.NDArray[Any]
Probabilities = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Metric:
    """A primary metric.

    ``statistics`` maps targets and answers [units, outputs] to addends [units, k]; ``value`` maps their sums [..., k] to
    scores [...]. Targets: label positions [units]; of words also the number of their row, [units, 2]; of several labels 0
    or 1 each, [rows, labels]; of a scale the number, [rows].
    """

    name: str
    title: str
    statistics: Callable[[Targets, Probabilities], Floats]
    value: Callable[[Floats], Floats]
    bounds: tuple[float, float] = (0.0, 1.0)

    def score(self, targets: Targets, probabilities: Probabilities) -> float:
        """The score of one set of rows.

        Raises:
            ValueError: There are no rows.
        """
        not_empty(targets)
        return float(self.value(self.statistics(targets, probabilities).sum(axis=0)))


def not_empty(targets: Targets) -> None:
    """Raises a ``ValueError`` where there is nothing to score: an empty set has no score, not 0."""
    if len(targets) == 0:
        raise ValueError("no rows to score")
