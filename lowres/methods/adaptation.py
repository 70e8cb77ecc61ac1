"""Methods that look at unlabelled target rows."""

from __future__ import annotations

from lowres.data.views import with_deletions
from lowres.methods.cell import Bench, shared
from lowres.methods.transfer import joint, mixed
from lowres.training.fit import Fit, Part
from lowres.training.recipe import MaskedLM, Objective

HELD_OUT = 0.1
"""Share of the unlabelled rows that the adapted encoder is checked on."""


def self_train(bench: Bench) -> Fit:
    """A joint fit labels the target rows it is surest of, as many of each class; then joint training anew with these rows (a:2009.11538)."""
    return bench.fit([*mixed(bench), bench.guessed(joint(bench), bench.settings.method.self_train.share)])


def tapt(bench: Bench) -> Fit:
    """LoRA on unlabelled target rows by masked LM, or SimCSE if the backbone lacks its head, then joint from there (a:2004.10964)."""
    return bench.fit(mixed(bench), start=_adapted(bench))


def coral(bench: Bench) -> Fit:
    """LoRA on source rows and target shots while the covariances of the domains' vectors are drawn together (a:1607.01719)."""
    return _aligned(bench, bench.settings.method.coral)


def mmd(bench: Bench) -> Fit:
    """LoRA on source rows and target shots while the mean discrepancy of the domains' vectors is made small (a:1502.02791)."""
    return _aligned(bench, bench.settings.method.mmd)


def dann(bench: Bench) -> Fit:
    """LoRA on source rows and target shots against a domain discriminator; a negative control (a:1505.07818, a:2009.07806)."""
    return _aligned(bench, bench.settings.method.dann)


def _aligned(bench: Bench, objective: Objective) -> Fit:
    """Batches are twice as large: one half labelled rows, one half unlabelled target rows."""
    labelled = shared(bench.source_and_shots, 1.0)
    return bench.fit(
        [*labelled, Part(bench.target_unlabelled)], objective=objective, batch=2 * bench.settings.recipe.batch
    )


def _adapted(bench: Bench) -> Fit:
    """The encoder after a look at the target's unlabelled rows; the same for all shots and draws.

    By masked LM with the head it was pretrained with; a backbone without that head learns by SimCSE.
    """
    rows = bench.domain_texts(bench.cell.target)
    last = max(1, round(HELD_OUT * len(rows)))
    kept, held = rows.take(range(len(rows) - last)), rows.take(range(len(rows) - last, len(rows)))
    if bench.settings.lm_head:
        return bench.fit([Part(kept), Part(held, 0.0)], objective=MaskedLM(), draw=0)
    views = [Part(kept), Part(with_deletions(kept)), Part(held, 0.0), Part(with_deletions(held), 0.0)]
    return bench.fit(views, objective=bench.settings.method.tapt, draw=0, batch=2 * bench.settings.recipe.batch)
