"""Heads on the way through an encoder: how they learn, and which speed leaves so many operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from lowres.data.rows import unit_sizes
from lowres.errors import UserError
from lowres.export.compare import operations
from lowres.kinds import KINDS
from lowres.models import early_exit
from lowres.models.classifier import Classifier
from lowres.models.heads import answers

STEPS: Final = 400
RATE: Final = 3e-2
UNITS: Final = 40_000
"""Most units that are learned from."""
SEARCH: Final = 2048
"""Texts on which a speed is sought."""


def learned(model: Classifier, texts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    """A head for each layer below the last that says what the model's own head says, as of ``Classifier.exits``.

    Each is a linear layer over the vector of its layer, trained by the cross-entropy to the model's answers; the encoder
    stays as it is (self-distillation; FastBERT has a small transformer layer in its place).

    Args:
        model: With an encoder of its own.
        texts: The first of them that make at most ``UNITS`` units are looked at.

    Raises:
        UserError: A model that has no early exit.
    """
    import torch
    from torch.nn import functional

    early_exit.check_reading(model.reading)
    some = texts[: max(1, int((np.cumsum(unit_sizes(texts)) <= UNITS).sum()))]
    vectors = torch.from_numpy(
        early_exit.vectors_by_layer(model.packed, model.tokens, some, model.reading, model.device)
    )
    last = vectors[-1].numpy() @ model.head["weight"].T + model.head["bias"]
    wanted = torch.from_numpy(answers(last, KINDS[model.kind].answer, model.labels))
    below = vectors[:-1]
    weight = torch.zeros(len(below), len(model.head["bias"]), below.shape[2], requires_grad=True)
    bias = torch.zeros(len(below), len(model.head["bias"]), requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=RATE)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        logits = torch.baddbmm(bias[:, None], below, weight.transpose(1, 2))
        if KINDS[model.kind].answer == "one":
            loss = -(wanted * functional.log_softmax(logits, dim=-1)).sum(-1).mean(1).sum()
        else:
            every = wanted.expand_as(logits)
            loss = functional.binary_cross_entropy_with_logits(logits, every, reduction="none").mean((1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {"weight": weight.detach().numpy(), "bias": bias.detach().numpy()}


def speed_for(model: Classifier, texts: Sequence[str], share: float) -> float:
    """The least speed at which at most this share of the operations is left on the first of the texts, mean.

    Args:
        model: With early exits.
        texts: At most ``SEARCH`` of them are looked at.
        share: 0 … 1.

    Raises:
        UserError: So few are not left at any speed.
    """
    some = list(texts[:SEARCH])
    unsure = _uncertainties(model, some)
    each = operations(model, some)
    total, layers = each.sum(), np.arange(each.shape[1])
    for speed in np.unique(np.ceil(1e4 * np.append(unsure.ravel(), 1.0)) / 1e4):
        gone = np.concatenate([unsure < speed, np.ones((1, len(some)), dtype=bool)])
        left = (each * (layers <= gone.argmax(0)[:, None])).sum() / total
        if left <= share:
            return float(speed)
    raise UserError("so few operations are never left", got=f"{share:g}", expected=f"from {left:.2f} on, at speed 1")


def _uncertainties(model: Classifier, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """How unsure the head on each layer below the last is of each text, [layers − 1, texts]."""
    kind = KINDS[model.kind]
    vectors = early_exit.vectors_by_layer(model.packed, model.tokens, texts, model.reading, model.device)
    ends = np.cumsum(unit_sizes(texts))
    found = []
    for layer in range(len(vectors) - 1):
        logits = vectors[layer] @ model.exits["weight"][layer].T + model.exits["bias"][layer]
        unsure = early_exit.uncertainty(answers(logits, kind.answer, model.labels), kind.answer)
        found.append(np.maximum.reduceat(unsure, ends - unit_sizes(texts)))
    return np.stack(found)
