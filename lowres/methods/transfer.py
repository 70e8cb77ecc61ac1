"""Methods that learn the target from its shots, with or without a labelled source before."""

from __future__ import annotations

from dataclasses import replace

from lowres.methods.cell import Bench
from lowres.training.fit import Fit, Part
from lowres.training.picks import Resembling
from lowres.training.recipe import AllWeights, Logistic

FULL_RATE = 0.1
"""Learning rate of all weights, in those of an adapter."""


def source_then_target(bench: Bench) -> Fit:
    """LoRA on the source rows, then the same adapter and head on the target shots (STILTs, a:1811.01088)."""
    source = bench.fit(bench.source_train)
    return bench.fit(bench.target_shots, start=source) if bench.cell.shots else source


def full_finetune(bench: Bench) -> Fit:
    """All weights on the source rows, then on the target shots, at a tenth of the learning rate: what LoRA is compared with."""
    rate = FULL_RATE * bench.settings.recipe.learning_rate
    source = bench.fit(bench.source_train, adapter=AllWeights(), learning_rate=rate)
    return bench.fit(bench.target_shots, start=source, learning_rate=rate) if bench.cell.shots else source


def joint(bench: Bench) -> Fit:
    """LoRA on source rows and target shots together; each gives half of every batch."""
    return bench.fit(mixed(bench))


def mixed(bench: Bench) -> list[Part]:
    """Source rows and target shots with the shares that ``joint`` gives them; at 0 shots the source rows alone."""
    share = bench.settings.method.joint.target_share if bench.cell.shots else 0.5
    return [
        *(replace(part, share=2 * (1 - share) * part.share) for part in bench.source_train),
        *(replace(part, share=2 * share * part.share) for part in bench.target_shots),
    ]


def probe_then_lora(bench: Bench) -> Fit:
    """A head by logistic regression on frozen features of the target shots, then LoRA from there (LP-FT, a:2202.10054)."""
    return bench.fit(bench.target_shots, start=bench.fit(bench.target_shots, objective=bench.settings.method.logistic))


def contrastive(bench: Bench) -> Fit:
    """In-batch supervised contrastive LoRA on the target shots, then logistic regression on its features (after a:2209.11055)."""
    features = bench.fit(bench.target_shots, objective=bench.settings.method.contrastive)
    return bench.fit(bench.target_shots, start=features, objective=bench.settings.method.logistic)


def select_source(bench: Bench) -> Fit:
    """Joint training on the half of the source rows that a domain classifier finds most target-like (doi:10.18653/v1/D19-6109)."""
    unlabelled = bench.target_unlabelled
    kept = []
    for part in bench.source_train:
        sides = ("source", "target")
        named = (rows.labelled([side] * len(rows)) for side, rows in zip(sides, (part.rows, unlabelled), strict=True))
        judge = bench.fit([Part(rows) for rows in named], objective=Logistic(), labels=sides)
        kept.append(Part(part.rows, part.share, Resembling(judge, bench.settings.method.select_source.share)))
    return bench.fit([*kept, *bench.target_shots])
