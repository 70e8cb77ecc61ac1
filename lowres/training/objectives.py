"""What gradient descent makes small: pure losses of many fits at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from lowres.training.recipe import MMD, Contrastive, Coral, CrossEntropy, Dann, Objective, SimCSE

WIDTHS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the kernels of ``MMD``, in median squared distances."""


@dataclass(frozen=True)
class Heads:
    """The heads of several fits: weight [fits, classes, hidden], bias [fits, classes], and classes a fit does not have.

    ``discriminator``: weight [fits, hidden] and bias [fits] that tell unlabelled rows from labelled ones, for ``Dann``.
    """

    weight: Tensor
    bias: Tensor
    absent: Tensor
    discriminator: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Step:
    """The units (texts or words) of several fits, filled up to the longest: vectors [fits, rows, hidden] and, [fits, rows]
    each, targets, weights (0 where a fit has no such row, or no label for it) and whether there is a row.

    Targets are the positions of labels; with any number of labels a row 0 or 1 for each, [fits, rows, labels]; on a scale
    the place between its ends, 0 … 1.
    """

    vectors: Tensor
    targets: Tensor
    weights: Tensor
    there: Tensor


def losses(objective: Objective, step: Step, heads: Heads) -> tuple[Tensor, Tensor | None]:
    """The loss of each fit, [fits], and the figure by which the objective is seen to act, [fits], where it has one.

    What one fit holds never changes the loss of another. The figure: of ``Coral`` and ``MMD`` the distance they make
    small, of ``Dann`` the share of rows whose domain its discriminator tells.
    """
    found: tuple[Tensor, Tensor | None] = _LOSSES[type(objective)](objective, step, heads)
    return found


def _cross_entropy(_: object, step: Step, heads: Heads) -> tuple[Tensor, None]:
    logits = torch.baddbmm(heads.bias[:, None], step.vectors, heads.weight.transpose(1, 2))
    if step.targets.dtype == torch.long:
        logits = logits.masked_fill(heads.absent[:, None], float("-inf"))
        each = functional.cross_entropy(logits.flatten(0, 1), step.targets.flatten(), reduction="none")
    else:
        targets = step.targets if step.targets.dim() == logits.dim() else step.targets[..., None]
        each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        there = ~heads.absent[:, None]
        each = (each * there).sum(2) / there.sum(2)
    return (each.view(step.weights.shape) * step.weights).sum(1), None


def _contrastive(settings: Contrastive | SimCSE, step: Step, heads: Heads) -> tuple[Tensor, None]:
    """Supervised contrastive loss (Khosla et al. 2020, a:2004.11362, eq. 2) over the rows of a step; the head is left alone.

    With the number of its text as the target of each row it is the loss of SimCSE.

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
    return (torch.where(anchors, total - own, 0.0) * weights).sum(1) + untouched, None


def _coral(settings: Coral, step: Step, heads: Heads) -> tuple[Tensor, Tensor]:
    """Squared Frobenius distance of the two covariances."""
    (one, _), (other, _) = (_covariance(step.vectors, rows) for rows in _sides(step))
    distance = (one - other).pow(2).sum((1, 2))
    return _cross_entropy(settings, step, heads)[0] + settings.weight * distance, distance.detach()


def _covariance(vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance [fits, hidden, hidden] and mean [fits, 1, hidden] of the rows where ``rows`` is 1, [fits, rows]."""
    count = rows.sum(1).clamp(min=2)[:, None, None]
    mean = (vectors * rows[..., None]).sum(1, keepdim=True) / count
    apart = (vectors - mean) * rows[..., None]
    return apart.transpose(1, 2) @ apart / (count - 1), mean


def _mmd(settings: MMD, step: Step, heads: Heads) -> tuple[Tensor, Tensor]:
    """Biased estimate of the squared discrepancy, a mean over five widths around the median distance of the step."""
    labelled, unlabelled = _sides(step)
    apart = (step.vectors[:, :, None] - step.vectors[:, None]).pow(2).sum(-1)
    pairs = step.there[:, :, None] & step.there[:, None, :]
    middle = apart.detach().masked_fill(~pairs, float("nan")).flatten(1).nanmedian(1).values.clamp(min=1e-6)
    kernel = sum(torch.exp(-apart / (scale * middle[:, None, None])) for scale in WIDTHS) / len(WIDTHS)
    sign = labelled / labelled.sum(1, keepdim=True).clamp(min=1) - unlabelled / unlabelled.sum(1, keepdim=True).clamp(
        min=1
    )
    distance = torch.einsum("fi,fij,fj->f", sign, kernel, sign)
    return _cross_entropy(settings, step, heads)[0] + settings.weight * distance, distance.detach()


def _dann(settings: Dann, step: Step, heads: Heads) -> tuple[Tensor, Tensor]:
    """The discriminator learns to tell the two sides apart; what it sends back to the vectors has the other sign."""
    assert heads.discriminator is not None
    weight, bias = heads.discriminator
    labelled, unlabelled = _sides(step)
    vectors = step.vectors.detach() - settings.weight * (step.vectors - step.vectors.detach())
    logits = torch.einsum("frh,fh->fr", vectors, weight) + bias[:, None]
    balance = labelled / labelled.sum(1, keepdim=True).clamp(min=1) + unlabelled / unlabelled.sum(
        1, keepdim=True
    ).clamp(min=1)
    each = functional.binary_cross_entropy_with_logits(logits, unlabelled, reduction="none")
    told = ((logits > 0) == (unlabelled > 0)).float()
    share = ((told * balance).sum(1) / balance.sum(1).clamp(min=1e-12)).detach()
    return _cross_entropy(settings, step, heads)[0] + (each * balance).sum(1) / 2, share


def _sides(step: Step) -> tuple[Tensor, Tensor]:
    """1 for each labelled row and for each unlabelled one, [fits, rows] each."""
    labelled = step.weights > 0
    return labelled.to(step.vectors), (step.there & ~labelled).to(step.vectors)


_LOSSES: Final[dict[type, Callable[[Any, Step, Heads], tuple[Tensor, Tensor | None]]]] = {
    CrossEntropy: _cross_entropy,
    Contrastive: _contrastive,
    SimCSE: _contrastive,
    Coral: _coral,
    MMD: _mmd,
    Dann: _dann,
}
