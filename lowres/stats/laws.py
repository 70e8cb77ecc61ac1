"""Learning curves: score = ceiling − scale · x^−exponent, with a band over draws, and how it did on budgets it had not seen.

Power laws of learning curves: Hestness et al. 2017 (arXiv 1712.00409). The fit is weighted least squares by variable
projection (Golub & Pereyra 1973, SIAM J. Numer. Anal. 10): for a given exponent the law is linear, and exponents are
searched on a grid, so that no start can be wrong and a flat or falling curve is no special case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lowres.stats.variance import Floats

EXPONENTS = np.geomspace(0.05, 3.0, 200)
LEAST_BUDGETS = 3
REACH = 4.0
"""A law speaks of budgets up to so many times the largest measured one."""
LEAST_SPREAD = 1.5
"""The largest x over the smallest, at least."""
SAMPLES = 400


@dataclass(frozen=True)
class Reached:
    """The x that a score takes, or the reason why it is not said. A bound is None where the band leaves the law's reach."""

    x: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Law:
    """A fitted law. ``parameters`` [3] are ceiling, scale and exponent for x in units of the smallest budget; ``samples``
    [SAMPLES, 3] the same for means that were resampled.
    """

    parameters: Floats
    samples: Floats
    smallest: float
    largest: float
    noise: float
    """Standard error of a measured mean, pooled over the budgets."""

    def at(self, x: Floats) -> Floats:
        """Scores at x, [points]."""
        return np.asarray(self._values(self.parameters[None], x)[0])

    def band(self, x: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
        """Bounds of the mean score over draws at x, each [points]; on which test rows, see ``fit_law``."""
        return _bounds(self._values(self.samples, x), level)

    def next_band(self, x: float, level: float, rng: np.random.Generator) -> tuple[float, float]:
        """Bounds of a mean that will be measured at x, by as many draws as before."""
        values = self._values(self.samples, np.array([x]))[:, 0]
        low, high = _bounds(values + self.noise * rng.standard_normal(len(values)), level)
        return float(low), float(high)

    def pays_until(self, least: float = 0.01) -> float | None:
        """From where on a doubling of x brings less than ``least``: the smallest budget if it never did, None if it still
        does at the end of the law's reach.
        """
        end = float(self._paying(self.parameters[None], least)[0])
        return end if end <= REACH * self.largest else None

    def pays_band(self, least: float = 0.01, level: float = 0.9) -> tuple[float, float | None]:
        """Bounds of that by the laws of resampled means, around it; beyond the law's reach its end and None."""
        ends, limit = self._paying(np.vstack([self.parameters, self.samples]), least), REACH * self.largest
        low = min(ends[0], float(np.quantile(ends[1:], 0.5 - level / 2, method="lower")))
        high = max(ends[0], float(np.quantile(ends[1:], 0.5 + level / 2, method="higher")))
        return float(min(low, limit)), float(high) if high <= limit else None

    def _paying(self, parameters: Floats, least: float) -> Floats:
        _, scale, exponent = parameters.T
        won = np.maximum(1.0, scale * (1 - 2.0**-exponent) / least)
        return np.asarray(self.smallest * won ** (1 / exponent))

    def reach(self, score: float, level: float = 0.9) -> Reached:
        """Where the mean score over draws reaches ``score``, with the band of the laws of resampled means.

        Every law rises, so this inverts ``band``: the low end is where its upper edge crosses the score.
        """
        x, end = float(self._crossing(self.parameters[None], score)[0]), REACH * self.largest * (1 + 1e-9)
        if x < self.smallest * (1 - 1e-9):
            return Reached(reason="already reached with the fewest measured")
        if x > end and self.parameters[0] <= score:
            return Reached(reason=f"the law levels off at {self.parameters[0]:.3f}".replace(" 0.", " ."))
        if x > end:
            return Reached(reason=f"not within {REACH:.0f} times the most measured")
        crossings = self._crossing(self.samples, score)
        low = min(x, float(np.quantile(crossings, 0.5 - level / 2, method="lower")))
        high = max(x, float(np.quantile(crossings, 0.5 + level / 2, method="higher")))
        return Reached(x, low if low >= self.smallest else None, high if high <= end else None)

    def _crossing(self, parameters: Floats, score: float) -> Floats:
        """Where laws [laws, 3] reach a score, [laws]: 0 where they lie above it everywhere, infinite where below."""
        ceiling, scale, exponent = parameters.T
        short = ceiling - score
        with np.errstate(divide="ignore", over="ignore"):
            units = np.where(short > 0, scale / np.where(short > 0, short, 1.0), np.inf) ** (1 / exponent)
        flat = (scale == 0) & (short == 0)
        return np.asarray(self.smallest * np.where(flat, 0.0, units))

    def _values(self, parameters: Floats, x: Floats) -> Floats:
        if (x > REACH * self.largest * (1 + 1e-9)).any() or (x < self.smallest * (1 - 1e-9)).any():
            raise ValueError(f"a law speaks of {self.smallest} to {REACH * self.largest}, got {x}")
        ceiling, scale, exponent = (parameters[:, place, None] for place in range(3))
        return np.asarray(ceiling - scale * (x / self.smallest) ** -exponent)


def refusal(x: Sequence[float], draws: int) -> str | None:
    """Why no law can be fitted to budgets x (all above 0) with so many draws, or None."""
    if len(x) < LEAST_BUDGETS:
        return f"{len(x)} budgets above 0, a law needs {LEAST_BUDGETS}"
    if draws < 2:
        return "one draw, a band needs two"
    if (np.diff(x) <= 0).any():
        return "the budgets do not cost more and more"
    if x[-1] < LEAST_SPREAD * x[0]:
        return "the budgets cost nearly the same"
    return None


def fit_law(
    x: Sequence[float], scores: Floats, rng: np.random.Generator, *, top: float = 1.0, tests: Floats | None = None
) -> Law:
    """The law through the means, 0 ≤ scale, ceiling ≤ ``top``.

    Budgets weigh by one over the variance of their mean, half their own and half the pooled one. For the band the means
    are moved by their draws: normal multipliers on each draw's departures, with the t law's tail for few draws, so that
    budgets keep their covariance; wider where the means scatter around the law more than draws explain. With ``tests``
    they are moved by their test groups too, and the band speaks of endless test rows instead of these.

    Args:
        x: Budgets, rising, above 0; see ``refusal``.
        scores: [draws, budgets], the same draws in each.
        rng: For the band.
        top: Best possible score.
        tests: Covariance of the means that the test groups cause, [budgets, budgets].
    """
    budgets, draws = np.asarray(x, dtype=np.float64), len(scores)
    means, centred = scores.mean(axis=0), scores - scores.mean(axis=0)
    variance = (centred**2).sum(axis=0) / (draws * (draws - 1))
    pooled = float(variance.mean())
    weights = 1 / ((variance + pooled) / 2) if pooled > 0 else np.ones(len(budgets))
    units = budgets / budgets[0]
    parameters = _solve(units, means[None], weights, top)[0]
    excess = 1.0
    if len(budgets) > LEAST_BUDGETS and pooled > 0:
        misfit = means - (parameters[0] - parameters[1] * units ** -parameters[2])
        excess = max(1.0, float((weights * misfit**2).sum() / (len(budgets) - LEAST_BUDGETS)) ** 0.5)
    stretch = np.sqrt((draws - 1) / rng.chisquare(draws - 1, SAMPLES)) * excess / np.sqrt(draws * (draws - 1))
    moved = means + stretch[:, None] * (rng.standard_normal((SAMPLES, draws)) @ centred)
    if tests is not None:
        moved = moved + rng.multivariate_normal(
            np.zeros(len(budgets)), tests, SAMPLES, method="eigh", check_valid="ignore"
        )
    samples = _solve(units, np.minimum(moved, top), weights, top)
    return Law(parameters, samples, float(budgets[0]), float(budgets[-1]), pooled**0.5)


def _solve(units: Floats, means: Floats, weights: Floats, top: float) -> Floats:
    """Weighted least squares of each row of ``means`` [samples, budgets]; parameters [samples, 3]."""
    share = weights / weights.sum()
    z = units ** -EXPONENTS[:, None]
    z_mean, y_mean = z @ share, means @ share
    flat = np.einsum("k,ek,ek->e", share, z - z_mean[:, None], z - z_mean[:, None])
    cross = np.einsum("k,sk,ek->se", share, means - y_mean[:, None], z - z_mean[:, None])
    free = -cross / flat
    pinned = np.maximum(0.0, np.einsum("k,sk,ek->se", share, top - means, z) / np.einsum("k,ek,ek->e", share, z, z))
    level = np.broadcast_to(np.minimum(y_mean, top)[:, None], free.shape)
    inside = (free >= 0) & (y_mean[:, None] + free * z_mean <= top)
    options = [
        (y_mean[:, None] + free * z_mean, free, inside),
        (np.full_like(free, top), pinned, ~inside),
        (level, np.zeros_like(free), ~inside),
    ]
    best = np.full(len(means), np.inf)
    found = np.zeros((len(means), 3))
    for ceiling, scale, allowed in options:
        misfit = means[:, None, :] - ceiling[..., None] + scale[..., None] * z
        error = np.where(allowed, (misfit**2) @ share, np.inf)
        place = error.argmin(axis=1)
        rows = np.arange(len(means))
        better = error[rows, place] < best
        values = np.stack([ceiling[rows, place], scale[rows, place], EXPONENTS[place]], axis=1)
        found[better], best[better] = values[better], error[rows, place][better]
    return found


@dataclass(frozen=True)
class BackTest:
    """A mean that was predicted from smaller budgets: x, what was said with its band, and what was measured."""

    x: float
    predicted: float
    low: float
    high: float
    measured: float

    @property
    def held(self) -> bool:
        """Whether the band holds what was measured."""
        return self.low <= self.measured <= self.high


def back_tests(
    x: Sequence[float], scores: Floats, rng: np.random.Generator, *, level: float = 0.9, top: float = 1.0
) -> Iterator[BackTest]:
    """Every budget that the smaller ones (three or more) may speak of, predicted from them alone.

    Args as ``fit_law``; the tests of one curve share their draws and so are not independent.
    """
    for size in range(LEAST_BUDGETS, len(x)):
        if x[size] <= REACH * x[size - 1] and refusal(x[:size], len(scores)) is None:
            law = fit_law(x[:size], scores[:, :size], rng, top=top)
            low, high = law.next_band(x[size], level, rng)
            yield BackTest(
                float(x[size]), float(law.at(np.array([x[size]]))[0]), low, high, float(scores[:, size].mean())
            )


def _bounds(values: Floats, level: float) -> tuple[Floats, Floats]:
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return low, high
