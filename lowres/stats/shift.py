"""How far a score falls between domains, and which share of the fall a method wins back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lowres.stats.variance import Block, Floats, Interval, Quantity, interval, moments, outermost

Scenario = Literal["classic", "observed", "unobserved", "none"]


@dataclass(frozen=True)
class Ratio:
    """A ratio with its interval, or the reason why there is none."""

    interval: Interval | None
    reason: str | None


def drop(inside: Block | Quantity, outside: Block, *, same_rows: bool) -> tuple[Block, ...]:
    """``inside − outside`` as a quantity, ready for ``interval`` or, over several pairs, for ``combine``.

    Target drop TT − ST: both on the target's test rows, ``same_rows=True``, one block of paired differences.
    Source drop SS − ST: each on its own domain's test rows, ``same_rows=False``, blocks on disjoint test sets; SS of
    several domains is their mean, a quantity with one block a domain.
    Both are of the same draws (Calderon et al. 2023, arXiv 2306.00168).
    """
    parts = (inside,) if isinstance(inside, Block) else tuple(inside)
    if same_rows:
        (only,) = parts
        return (only - outside,)
    for part in parts:
        if part.theta.shape != outside.theta.shape:
            raise ValueError(f"a drop needs the same draws, got {len(part.theta)} and {len(outside.theta)}")
    return (*parts, -outside)


def scenario(source_drop: float, target_drop: float) -> Scenario:
    """Kind of shift from the signs of the mean drops (Calderon et al. 2023, arXiv 2306.00168).

    Both above 0 is classic, the source drop alone observed, the target drop alone unobserved, neither none.
    """
    if source_drop > 0:
        return "classic" if target_drop > 0 else "observed"
    return "unobserved" if target_drop > 0 else "none"


def recovery(numerator: Quantity, denominator: Quantity, *, level: float = 0.95) -> Ratio:
    """Ratio of two means, (score − ST) / (TT − ST), by Fieller's test inversion.

    The interval holds every ratio r for which the t test keeps "numerator − r · denominator = 0" (Fieller 1954,
    J. R. Stat. Soc. B 16). Variance and degrees of freedom are those of that contrast at each r, so components that
    came out negative are treated as in ``interval``; its ends are found by search. It is given only where the
    lower bound of the denominator lies above 0, which is also what makes it bounded.

    Args:
        numerator: Blocks of score − ST, one a test set.
        denominator: Blocks of TT − ST on the same test sets and draws, in the same order.
        level: Confidence.
    """
    below = interval(denominator, level=level)
    if below.low <= 0:
        drop, *ends = (f"{value:.3f}".replace("0.", ".", 1) for value in (below.mean, below.low, below.high))
        text = f"target drop {drop} [{', '.join(ends)}] is not shown to be above 0".replace("-", "−")
        return Ratio(None, text)
    found = moments([numerator, denominator])
    above = interval(numerator, level=level)
    centre = above.mean / below.mean
    unit = above.se / below.se if above.se > 0 and below.se > 0 else max(abs(centre), 1.0)

    def weights(angle: Floats) -> Floats:
        return np.stack([np.cos(angle), -unit * np.sin(angle)], axis=-1)

    grid = np.linspace(-np.pi / 2, np.pi / 2, 1025)
    at = float(np.arctan(centre / unit))
    low, high = (unit * float(np.tan(end)) for end in outermost(lambda x: found.accepts(weights(x), level), grid, at))
    _, variance, df = found.contrast(np.array([1.0, -centre]))
    return Ratio(
        Interval(
            centre,
            min(low, centre),
            max(high, centre),
            float(np.sqrt(variance)) / below.mean,
            float(df),
            below.few_draws,
        ),
        None,
    )
