"""Methods that begin with what a person knows of the labels, written down in the task file."""

from __future__ import annotations

from lowres.methods.cell import Bench
from lowres.training.fit import Fit
from lowres.training.recipe import Prototypes


def label_names(bench: Bench) -> Fit:
    """The label whose description or name is most like the text, on frozen features; with shots LoRA from that head (after a:1909.00161)."""
    names = bench.fit(bench.label_texts, objective=Prototypes(), draw=0)
    return bench.fit(bench.target_shots, start=names) if bench.cell.shots else names


def keywords(bench: Bench) -> Fit:
    """LoRA on rows that keywords label, then anew on the shots and the rows that this fit is surest of (after a:2010.07835)."""
    weak = bench.fit([bench.ruled])
    return bench.fit([*bench.target_shots, bench.guessed(weak)])
