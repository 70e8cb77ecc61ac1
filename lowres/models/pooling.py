"""From token vectors to one vector a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lowres.data.tokens import LOST, TokenArray

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
    return lengthened(vectors) if normalise else vectors


def at_words(hidden: Tensor, starts: Sequence[int], firsts: Sequence[TokenArray]) -> Tensor:
    """The vector of the first token of each word in fp32, as long as it is, [words, hidden]; of a word that has none zeros.

    Args:
        hidden: Last layer, [tokens, hidden].
        starts: Where each text begins among the tokens.
        firsts: Place of the first token of each word of a text, as ``Tokens.firsts`` gives it.
    """
    import torch

    places = np.concatenate(
        [np.where(one == LOST, LOST, one + start) for one, start in zip(firsts, starts, strict=True)]
    )
    at = torch.from_numpy(places.astype(np.int64)).to(hidden.device)
    vectors: Tensor = hidden.float()[at.clamp(min=0)] * (at != LOST).unsqueeze(-1)
    return vectors


def over_windows(vectors: Tensor, windows: npt.NDArray[np.int64]) -> Tensor:
    """The mean vector of the windows of each text, not scaled again, [texts, hidden].

    So the logits of a linear head are the means of those of the windows, and a text of one window has its vector.

    Args:
        vectors: Of all windows, those of a text side by side, [windows, hidden].
        windows: How many each text has, [texts].
    """
    import torch

    return torch.segment_reduce(vectors, "mean", lengths=torch.from_numpy(windows).to(vectors.device))


def lengthened(vectors: Tensor) -> Tensor:
    """Vectors scaled to length 1."""
    made: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return made
