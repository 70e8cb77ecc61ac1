"""Texts through an encoder: pooled vectors, logits and probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres.data.rows import Spread
from lowres.data.tokens import HEAD, SECOND, WINDOWS, TokenArray, Tokens
from lowres.kinds import KINDS, is_words
from lowres.models.heads import answers
from lowres.models.pooling import at_words, over_windows, pool

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

BATCH_TOKENS = 4096
"""Padded tokens a forward pass at the most."""


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which a forward pass runs at this precision."""
    import torch

    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def tells_apart(model: Any) -> bool:
    """Whether an encoder has a token type for a second text."""
    return (getattr(model.config, "type_vocab_size", None) or 1) > 1


def inputs(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """What an encoder is given for ids of ``Tokens``: the tokens, and which belong to a second text if it tells two apart."""
    given = {"input_ids": ids % SECOND}
    if tells_apart(model):
        given["token_type_ids"] = ids // SECOND
    return given


def pooled(model: nn.Module, ids: Tensor, mask: Tensor, pooling: str, normalise: bool) -> Tensor:
    """Pooled vectors of one batch in fp32, [texts, hidden]."""
    return pool(model(**inputs(model, ids), attention_mask=mask).last_hidden_state, mask, pooling, normalise)


def word_vectors(model: nn.Module, ids: Tensor, mask: Tensor, firsts: Sequence[TokenArray]) -> Tensor:
    """Vectors of the words of one batch in fp32, [words, hidden]."""
    hidden = model(**inputs(model, ids), attention_mask=mask).last_hidden_state
    starts = range(0, hidden.shape[0] * hidden.shape[1], hidden.shape[1])
    return at_words(hidden.flatten(0, 1), starts, firsts)


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
    truncation: str = HEAD,
) -> npt.NDArray[np.float32]:
    """Pooled vectors of many texts, sorted by length on the way, [texts, hidden]; of lists of words one vector a word, of
    texts in windows the mean of theirs.
    """
    import torch

    vectors: list[npt.NDArray[np.float32]] = []
    places: list[npt.NDArray[np.int64]] = []
    firsts = tokens.firsts(texts, max_length) if texts and is_words(texts[0]) else None
    spread = Spread([len(one) for one in firsts]) if firsts else None
    with torch.inference_mode(), autocast(device, precision):
        for positions, ids, mask in tokens.by_length(texts, max_length, BATCH_TOKENS, truncation):
            moved = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
            if firsts and spread:
                own = [firsts[place] for place in positions]
                vectors.append(word_vectors(model, *moved, own).cpu().numpy())
                places.append(spread.units(positions))
            else:
                vectors.append(pooled(model, *moved, pooling, normalise).cpu().numpy())
                places.append(positions)
    if not vectors:
        return np.zeros((0, 0), dtype=np.float32)
    joined = np.concatenate(vectors)
    ordered = np.empty_like(joined)
    ordered[np.concatenate(places)] = joined
    if truncation != WINDOWS:
        return ordered
    return over_windows(torch.from_numpy(ordered), tokens.windows(texts, max_length)).numpy()


def said(
    vectors: npt.NDArray[np.float32],
    head: Mapping[str, npt.NDArray[Any]],
    kind: str = "classification",
    labels: Sequence[str] = (),
) -> npt.NDArray[np.float32]:
    """What the linear head says of vectors, as of ``heads.answers``, [units, outputs]."""
    if not len(vectors):
        return np.zeros((0, len(head["bias"])), dtype=np.float32)
    return answers(vectors @ head["weight"].T + head["bias"], KINDS[kind].answer, labels)
