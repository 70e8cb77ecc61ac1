"""From token vectors to one vector a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def pool(hidden: Tensor, mask: Tensor, pooling: str, normalise: bool) -> Tensor:
    """Pooled vectors in fp32, [texts, hidden].

    Args:
        hidden: Last layer, [texts, tokens, hidden].
        mask: 1 for a token, 0 for padding, [texts, tokens].
        pooling: ``mean`` over the tokens, or ``cls`` for the first.
        normalise: Whether each vector is scaled to length 1.
    """
    hidden = hidden.float()
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        vectors = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)
    else:
        vectors = hidden[:, 0]
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12) if normalise else vectors
