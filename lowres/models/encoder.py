"""Texts through an encoder: pooled vectors, logits and probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres.data.tokens import Tokens
from lowres.models.heads import softmax
from lowres.models.pooling import pool

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

BATCH_TOKENS = 4096
"""Padded tokens a forward pass at the most."""


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which a forward pass runs at this precision."""
    import torch

    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def pooled(model: nn.Module, ids: Tensor, mask: Tensor, pooling: str, normalise: bool) -> Tensor:
    """Pooled vectors of one batch in fp32, [texts, hidden]."""
    return pool(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask, pooling, normalise)


def features(
    model: nn.Module,
    tokens: Tokens,
    texts: Sequence[str],
    *,
    max_length: int,
    pooling: str,
    normalise: bool,
    device: str,
    precision: str,
) -> npt.NDArray[np.float32]:
    """Pooled vectors of many texts, sorted by length on the way, [texts, hidden]."""
    import torch

    vectors: list[npt.NDArray[np.float32]] = []
    places: list[npt.NDArray[np.int64]] = []
    with torch.inference_mode(), autocast(device, precision):
        for positions, ids, mask in tokens.by_length(texts, max_length, BATCH_TOKENS):
            moved = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
            vectors.append(pooled(model, *moved, pooling, normalise).cpu().numpy())
            places.append(positions)
    if not vectors:
        return np.zeros((0, 0), dtype=np.float32)
    joined = np.concatenate(vectors)
    ordered = np.empty_like(joined)
    ordered[np.concatenate(places)] = joined
    return ordered


def probabilities(vectors: npt.NDArray[np.float32], head: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Softmax of the linear head over pooled vectors, [texts, classes]."""
    if not len(vectors):
        return np.zeros((0, len(head["bias"])), dtype=np.float32)
    return softmax(vectors @ head["weight"].T + head["bias"])
