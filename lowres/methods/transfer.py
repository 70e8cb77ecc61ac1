"""Methods that carry a labelled source over to the target."""

from __future__ import annotations

from lowres.methods.cell import Bench
from lowres.training.fit import Fit


def source_then_target(bench: Bench) -> Fit:
    """LoRA on the source rows, then the same adapter and head on the target shots (STILTs, a:1811.01088)."""
    return bench.fit(bench.target_shots, start=bench.fit(bench.source_train))


def joint(bench: Bench) -> Fit:
    """LoRA on source rows and target shots together; each gives half of every batch."""
    return bench.fit(*bench.source_and_shots)
