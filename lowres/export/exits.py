"""Heads on the way through an encoder: how they learn, and which speed leaves so many operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lowres.kinds import KINDS
from lowres.models import early_exit
from lowres.models.classifier import Classifier
from lowres.models.heads import answers

STEPS = 400
RATE = 3e-2
UNITS = 40_000
"""Most units that are learned from."""
SEARCH = 2048
"""Texts on which a speed is sought."""


def learned(model: Classifier, texts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    """A head for each layer below the last that says what the model's own head says, as of ``Classifier.exits``.

    Each is a linear layer over the vector of its layer, trained by the cross-entropy to the model's answers; the encoder
    stays as it is (self-distillation; FastBERT has a small transformer layer in its place).
    """
    import torch
    from torch.nn import functional

    early_exit.check_reading(model.reading)
    vectors = torch.from_numpy(
        early_exit.vectors_by_layer(model.packed, model.tokens, texts, model.reading, model.device)
    )[:, :UNITS]
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
    """The lowest speed at which the texts go through at most this share of the layers on average."""
    some = list(texts[:SEARCH])
    low, high = 0.0, 1.0
    for _ in range(8):
        middle = (low + high) / 2
        depths = model.leave(some, middle).depths
        low, high = (low, middle) if depths.mean() <= share * model.backbone.layers else (middle, high)
    return round(high, 4)
