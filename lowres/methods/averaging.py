"""Methods that average fits: their updates, exact, or the factors of fits from one start."""

from __future__ import annotations

from dataclasses import replace

from lowres.methods.cell import Bench
from lowres.methods.transfer import joint, source_then_target
from lowres.training.fit import Fit


def interpolate(bench: Bench) -> Fit:
    """Half way between the fit on the source and the fit that goes on from it with the target shots (WiSE-FT, a:2109.01903)."""
    target = source_then_target(bench)
    assert isinstance(target.start, Fit)
    weight = bench.settings.method.interpolate.target_weight
    return bench.mean([target.start, target], [1 - weight, weight])


def soup(bench: Bench) -> Fit:
    """The mean of three joint fits that see the same rows in other orders (model soups, a:2203.05482)."""
    return orders(bench, joint(bench))


def orders(bench: Bench, one: Fit) -> Fit:
    """The mean of fits that see the same rows as this one in other orders."""
    return bench.mean([replace(one, replica=number) for number in range(bench.settings.method.soup.orders)])


def merge_domains(bench: Bench) -> Fit:
    """The mean of one fit on each other domain, all from one shared head, then LoRA on the target shots (a:2402.15414)."""
    domains = [bench.domain_train(name) for name in bench.others]
    head = bench.fit([part for parts in domains for part in parts], objective=bench.settings.method.logistic)
    merged = bench.mean([bench.fit(parts, start=head) for parts in domains])
    return bench.fit(bench.target_shots, start=merged) if bench.cell.shots else merged


def meta(bench: Bench) -> Fit:
    """A start from which few steps on any other domain go far, by Reptile over those domains, then LoRA on the target shots (a:1803.02999)."""
    start: Fit | None = None
    own = bench.settings.method.meta
    for turn in range(own.turns):
        inner = [
            bench.fit(bench.window(name, own.inner_shots, turn), start=start, min_steps=own.inner_steps, epochs=1)
            for name in bench.others
        ]
        start = bench.mean(inner, of="factors")
    assert start is not None
    return bench.fit(bench.target_shots, start=start) if bench.cell.shots else start
