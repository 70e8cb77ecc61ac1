"""Which net transfer the planned study could show, from what the store already has of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowres.analysis.measure import Column, Scores, column_of, mean_over
from lowres.methods.catalogue import METHODS
from lowres.stats.power import detectable, draws_to_halve

LEAST_DRAWS = 2


@dataclass(frozen=True)
class Power:
    """Detectable difference of a method from ``target-only`` at one budget, with 80 % power, in the metric's units."""

    method: str
    shots: int
    pairs: int
    """Pairs that the store knows enough of."""
    draws: int
    """Draws that it has of them."""
    on_a_pair: float
    """Median over these pairs."""
    over_all: float | None
    """Of the mean over pairs; None with one pair."""
    draws_to_halve: int | None
    """So many draws would halve the median; None where the test rows alone prevent it."""


def power(scores: Scores) -> list[Power]:
    """For every budget above 0; nothing where fewer than two draws of a pair are known, or a single one is planned."""
    plan = scores.outcome.plan
    sharing = [name for name in plan.methods if METHODS[name].uses_source and METHODS[name].few]
    method = "source-then-target" if "source-then-target" in sharing else next(iter(sharing), None)
    found = []
    for shots in sorted(plan.config.shots) if method and plan.config.seeds >= LEAST_DRAWS else ():
        if not shots:
            continue
        assert method is not None
        own: list[Column] = [column_of(method, source, target, shots) for source, target in plan.pairs]
        alone: list[Column] = [("target-only", None, target, shots) for _, target in plan.pairs]
        differences = [
            blocks[0] - blocks[1]
            for pair in zip(own, alone, strict=True)
            if (blocks := scores.blocks(pair)) and len(blocks[0].theta) >= LEAST_DRAWS
        ]
        if not differences:
            continue
        together = mean_over(scores, own, alone) if len(own) > 1 else None
        seeds = plan.config.seeds
        each = sorted(((detectable([one], seeds), one) for one in differences), key=lambda one: one[0])
        found.append(
            Power(
                method=method,
                shots=shots,
                pairs=len(each),
                draws=min(len(one.theta) for one in differences),
                on_a_pair=float(np.median([seen for seen, _ in each])),
                over_all=detectable(together, seeds) if together and len(together[0].theta) >= LEAST_DRAWS else None,
                draws_to_halve=draws_to_halve([each[len(each) // 2][1]], seeds),
            )
        )
    return found
