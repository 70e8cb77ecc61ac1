"""Linears as products of two smaller ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lowres.models.classifier import Classifier
from lowres.models.encoder import inputs
from lowres.models.shaped import in_layer, put

if TYPE_CHECKING:
    from torch import Tensor, nn

PROBED = 512
"""Texts on which inputs are looked at."""
LEAST = 1e-6
"""Share of the mean energy of an input below which a direction counts as never used."""


def factorise(network: nn.Module, model: Classifier, texts: Sequence[str], energy: float) -> int:
    """Replaces each linear of the layers by two where that is smaller, in place; how many.

    The rank is the least whose singular values keep so large a share of the energy of the outputs: those of W C^(1/2), C the
    second moments of the linear's inputs on the texts, so that directions no text uses cost nothing.
    """
    from torch import nn

    linears = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and in_layer(name) is not None
    }
    moments = _moments(network, linears, model, texts[:PROBED])
    replaced = 0
    for name, module in linears.items():
        pair = _factors(module, moments[name], energy)
        if pair is not None:
            put(network, name, pair)
            replaced += 1
    return replaced


def _moments(
    network: nn.Module, linears: dict[str, nn.Linear], model: Classifier, texts: Sequence[str]
) -> dict[str, Tensor]:
    """Second moments of the inputs of each linear, [inputs, inputs]."""
    import torch

    found: dict[str, Any] = {}
    there: list[Tensor] = []
    hooks = []
    for name, module in linears.items():

        def add(_: nn.Module, given: tuple[Tensor, ...], place: str = name) -> None:
            x = given[0][there[0]].double()
            found[place] = found.get(place, 0.0) + x.T @ x

        hooks.append(module.register_forward_pre_hook(add))
    with torch.inference_mode():
        for _, ids, mask in model.tokens.by_length(texts, model.max_length, 4096, model.truncation):
            given = torch.from_numpy(mask)
            there[:] = [given.bool()]
            network(**inputs(network, torch.from_numpy(ids)), attention_mask=given)
    for hook in hooks:
        hook.remove()
    return {name: value.clone() for name, value in found.items()}


def _factors(linear: nn.Linear, moments: Tensor, energy: float) -> nn.Sequential | None:
    """Two linears in the place of one; None where that is no smaller."""
    import torch
    from torch import nn

    values, vectors = torch.linalg.eigh(moments)
    values = values.clamp(min=LEAST * float(values.mean()))
    root = vectors * values.sqrt() @ vectors.T
    back = vectors / values.sqrt() @ vectors.T
    left, sizes, right = torch.linalg.svd(linear.weight.detach().double() @ root, full_matrices=False)
    kept = sizes.square().cumsum(0) / sizes.square().sum()
    rank = int((kept < energy).sum()) + 1
    outputs, width = linear.weight.shape
    if rank * (outputs + width) >= outputs * width:
        return None
    first, second = nn.Linear(width, rank, bias=False), nn.Linear(rank, outputs)
    share = sizes[:rank].sqrt()
    first.weight.data.copy_((share[:, None] * right[:rank]) @ back)
    second.weight.data.copy_(left[:, :rank] * share)
    second.bias.data.copy_(linear.bias.detach())
    return nn.Sequential(first, second).requires_grad_(False)
