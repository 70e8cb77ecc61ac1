"""What gradient descent makes small: pure losses of many fits at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from lowres.training.fit import Contrastive, CrossEntropy, Objective


@dataclass(frozen=True)
class Heads:
    """The heads of several fits: weight [fits, classes, hidden], bias [fits, classes], and classes a fit does not have."""

    weight: Tensor
    bias: Tensor
    absent: Tensor


@dataclass(frozen=True)
class Step:
    """The rows of several fits, filled up to the longest: vectors [fits, rows, hidden] and, [fits, rows] each, targets,
    weights (0 where a fit has no such row) and whether there is a row.
    """

    vectors: Tensor
    targets: Tensor
    weights: Tensor
    there: Tensor


def losses(objective: Objective, step: Step, heads: Heads) -> Tensor:
    """The loss of each fit, [fits]; what one fit holds never changes the loss of another."""
    found: Tensor = _LOSSES[type(objective)](objective, step, heads)
    return found


def _cross_entropy(_: CrossEntropy, step: Step, heads: Heads) -> Tensor:
    logits = torch.baddbmm(heads.bias[:, None], step.vectors, heads.weight.transpose(1, 2))
    logits = logits.masked_fill(heads.absent[:, None], float("-inf"))
    each = functional.cross_entropy(logits.flatten(0, 1), step.targets.flatten(), reduction="none")
    return (each.view(step.weights.shape) * step.weights).sum(1)


def _contrastive(settings: Contrastive, step: Step, heads: Heads) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, a:2004.11362, eq. 2) over the rows of a step; the head is left alone.

    Rows without another of their class are no anchors; the weights of the others sum to 1.
    """
    vectors = functional.normalize(step.vectors, dim=-1)
    alike = vectors @ vectors.transpose(1, 2) / settings.temperature
    other = (
        step.there[:, None, :]
        & step.there[:, :, None]
        & ~torch.eye(alike.shape[1], dtype=torch.bool, device=alike.device)
    )
    positive = other & (step.targets[:, :, None] == step.targets[:, None, :])
    alike = alike.masked_fill(~other, float("-inf"))
    anchors = positive.any(-1)
    total = torch.where(anchors[..., None], alike, 0.0).logsumexp(-1)
    own = torch.where(positive, alike, 0.0).sum(-1) / positive.sum(-1).clamp(min=1)
    weights = torch.where(anchors, step.weights, 0.0)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    untouched = 0.0 * (heads.weight.sum((1, 2)) + heads.bias.sum(1))
    return (torch.where(anchors, total - own, 0.0) * weights).sum(1) + untouched


_LOSSES: Final[dict[type, Callable[[Any, Step, Heads], Tensor]]] = {
    CrossEntropy: _cross_entropy,
    Contrastive: _contrastive,
}
