"""What a study with so many draws could detect, from the variance components that some draws have shown."""

from __future__ import annotations

import math

import numpy as np

from lowres.stats.variance import Moments, Quantity, moments, t_quantile

POWER = 0.80
MOST_DRAWS = 1000


def detectable(difference: Quantity, draws: int, *, level: float = 0.95) -> float:
    """The true difference that an interval over ``draws`` draws excludes 0 for with 80 % power, (t(.975) + t(.80)) · se.

    The spread of the draws shrinks with their number, the group component stays. It is as rough as the pilot is small:
    with two draws the spread between draws is hardly known.

    Args:
        difference: Blocks of the difference over at least two draws.
        draws: Of the planned study, at least two.
        level: Of the interval.
    """
    _, variance, df = (float(one[0]) for one in planned(moments([difference]), draws).contrast(np.ones((1, 1))))
    return float(t_quantile(0.5 + level / 2, df) + t_quantile(POWER, df)) * math.sqrt(variance)


def draws_to_halve(difference: Quantity, draws: int) -> int | None:
    """The fewest draws that halve what ``draws`` could detect; None where the test groups alone keep that from happening."""
    wanted = detectable(difference, draws) / 2
    low, high = draws, MOST_DRAWS
    if detectable(difference, high) > wanted:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(difference, middle) <= wanted else (middle, high)
    return high


def planned(found: Moments, draws: int) -> Moments:
    """The same components as ``draws`` draws would show them."""
    if found.count < 2 or draws < 2:
        raise ValueError(f"needs two draws or more, got {found.count} and {draws}")
    component = np.maximum(0.0, found.groups - found.rest) / found.count
    return Moments(
        means=found.means,
        draws=found.draws * (found.count / draws),
        groups=component * draws + found.rest,
        rest=found.rest,
        sizes=found.sizes,
        count=draws,
    )
