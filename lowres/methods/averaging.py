"""Methods that average fits: their updates, exact, or the factors of fits from one start."""

from __future__ import annotations

from dataclasses import replace

from lowres.methods.cell import Bench
from lowres.methods.transfer import source_then_target
from lowres.training.fit import Fit
from lowres.training.recipe import Logistic

ORDERS = 3
"""Fits of a soup."""
TURNS, INNER_STEPS, INNER_SHOTS = 4, 20, 16
"""Of the meta-learned start: outer steps, and optimiser steps and rows a class of every inner fit."""


def interpolate(bench: Bench) -> Fit:
    """Half way between the fit on the source and the fit that goes on from it with the target shots (WiSE-FT, a:2109.01903)."""
    target = source_then_target(bench)
    assert isinstance(target.start, Fit)
    return bench.mean([target.start, target])


def soup(bench: Bench) -> Fit:
    """The mean of three source-then-target fits that see the target shots in other orders (model soups, a:2203.05482)."""
    one = source_then_target(bench)
    return bench.mean([replace(one, replica=number) for number in range(ORDERS)])


def merge_domains(bench: Bench) -> Fit:
    """The mean of one fit on each other domain, all from one shared head, then LoRA on the target shots (a:2402.15414)."""
    domains = [bench.domain_train(name) for name in bench.others]
    head = bench.fit([part for parts in domains for part in parts], objective=Logistic())
    merged = bench.mean([bench.fit(parts, start=head) for parts in domains])
    return bench.fit(bench.target_shots, start=merged) if bench.cell.shots else merged


def meta(bench: Bench) -> Fit:
    """A start from which few steps on any other domain go far, by Reptile over those domains, then LoRA on the target shots (a:1803.02999)."""
    start: Fit | None = None
    for turn in range(TURNS):
        inner = [
            bench.fit(bench.window(name, INNER_SHOTS, turn), start=start, min_steps=INNER_STEPS, epochs=1)
            for name in bench.others
        ]
        start = bench.mean(inner, of="factors")
    assert start is not None
    return bench.fit(bench.target_shots, start=start) if bench.cell.shots else start
