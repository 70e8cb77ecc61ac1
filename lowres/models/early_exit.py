"""Answers before the last layer: a text leaves the encoder where a head on the way is sure enough (FastBERT, a:2004.02178)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres.data.rows import Spread
from lowres.data.tokens import HEAD, WINDOWS, TokenArray, Tokens
from lowres.errors import UserError
from lowres.kinds import KINDS, is_words
from lowres.models.encoder import BATCH_TOKENS
from lowres.models.heads import answers
from lowres.models.pooling import at_words, lengthened, over_windows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lowres.models.packed import PackedEncoder

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """How a model reads: what its vectors are made of, and what is answered from them."""

    kind: str
    labels: Sequence[str]
    max_length: int
    pooling: str
    normalise: bool
    truncation: str = HEAD


@dataclass(frozen=True)
class Left:
    """Answers [units, outputs], and after how many layers each text left, [texts]."""

    answers: Floats
    depths: npt.NDArray[np.int64]


def check_reading(reading: Reading) -> None:
    """Refuses what has no early exit."""
    if KINDS[reading.kind].answer == "value":
        raise UserError("a number has no early exit", expected="a model that is sure of a label, or not")
    if reading.truncation == WINDOWS:
        raise UserError("texts that are read in windows have no early exit", expected="truncation head or head+tail")


def uncertainty(probabilities: Floats, answer: str) -> Floats:
    """Entropy of each unit over the highest possible, 0 … 1, [units]; of labels that stand each for itself the highest of
    theirs.
    """
    inside = np.clip(probabilities, 1e-12, 1.0)
    if answer == "many":
        outside = np.clip(1 - probabilities, 1e-12, 1.0)
        each = -(probabilities * np.log(inside) + (1 - probabilities) * np.log(outside)) / math.log(2)
        return np.asarray(each.max(axis=1), dtype=np.float32)
    whole = -(probabilities * np.log(inside)).sum(axis=1) / math.log(probabilities.shape[1])
    return np.asarray(whole, dtype=np.float32)


def packed(model: nn.Module, precision: str) -> PackedEncoder:
    """The encoder as it runs layer by layer.

    Raises:
        UserError: An architecture that has no packed form.
    """
    import torch

    from lowres.models.packed import PackedEncoder

    return PackedEncoder(model, torch.bfloat16 if precision == "bf16" else torch.float32)


def vectors_by_layer(
    encoder: PackedEncoder, tokens: Tokens, texts: Sequence[str], reading: Reading, device: str
) -> Floats:
    """What a head on each layer sees of many texts, [layers, units, hidden]."""
    import torch

    made: list[list[Tensor]] = [[] for _ in range(encoder.depth)]
    places: list[npt.NDArray[np.int64]] = []
    with torch.inference_mode():
        for batch in _batches(encoder, tokens, texts, reading, device):
            x = batch.x
            for layer in range(encoder.depth):
                x = encoder.forward(x, batch.pack(device), first=layer, end=layer + 1)
                made[layer].append(_vectors(x, batch, reading).cpu())
            places.append(batch.units)
    joined = torch.stack([torch.cat(one) for one in made]).numpy()
    ordered = np.empty_like(joined)
    ordered[:, np.concatenate(places)] = joined
    return ordered


def leave(
    encoder: PackedEncoder,
    tokens: Tokens,
    texts: Sequence[str],
    reading: Reading,
    exits: Mapping[str, npt.NDArray[Any]],
    head: Mapping[str, npt.NDArray[Any]],
    speed: float,
    device: str,
) -> Left:
    """Answers of an encoder with heads on the way.

    Args:
        encoder: With all of its layers.
        tokens: Its tokenizer.
        texts: Rows of the kind.
        reading: How they are read.
        exits: ``weight`` [layers − 1, outputs, hidden] and ``bias`` [layers − 1, outputs].
        head: On the last layer.
        speed: A text leaves where all its units are less uncertain than this, 0 … 1; at 0 none does.
        device: Where to compute.
    """
    import torch

    answer, spread = KINDS[reading.kind].answer, _spread(tokens, texts, reading)
    found = np.zeros((int(spread.sizes.sum()), len(head["bias"])), dtype=np.float32)
    depths = np.zeros(len(texts), dtype=np.int64)
    with torch.inference_mode():
        for batch in _batches(encoder, tokens, texts, reading, device):
            x = batch.x
            for layer in range(encoder.depth):
                x = encoder.forward(x, batch.pack(device), first=layer, end=layer + 1)
                last = layer == encoder.depth - 1
                weight, bias = (
                    (head["weight"], head["bias"]) if last else (exits["weight"][layer], exits["bias"][layer])
                )
                said = answers(_vectors(x, batch, reading).cpu().numpy() @ weight.T + bias, answer, reading.labels)
                unsure = _highest(uncertainty(said, answer), batch.sizes)
                gone = np.ones(len(unsure), dtype=bool) if last else unsure < speed
                if gone.any():
                    found[spread.units(batch.places[gone])] = said[np.repeat(gone, batch.sizes)]
                    depths[batch.places[gone]] = layer + 1
                    x, batch = batch.without(gone, x)
                if not len(batch.places):
                    break
    return Left(found, depths)


@dataclass(frozen=True)
class _Batch:
    """Texts that are still on their way: tokens side by side [tokens, hidden], places of the texts in the whole list, their
    numbers of tokens and of units, and of words their first tokens.
    """

    x: Tensor
    places: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    firsts: Sequence[TokenArray] | None

    def pack(self, device: str) -> Any:
        """Where the tokens of each text lie."""
        from lowres.models.packed import make_pack

        return make_pack(self.lengths.tolist(), device)

    def without(self, gone: npt.NDArray[np.bool_], x: Tensor) -> tuple[Tensor, _Batch]:
        """The rest of the batch, and its tokens in x."""
        import torch

        stay = torch.from_numpy(np.repeat(~gone, self.lengths)).to(x.device)
        firsts = None if self.firsts is None else [one for one, out in zip(self.firsts, gone, strict=True) if not out]
        rest = _Batch(self.x, self.places[~gone], self.lengths[~gone], self.sizes[~gone], self.units, firsts)
        return x[stay], rest


def _batches(encoder: PackedEncoder, tokens: Tokens, texts: Sequence[str], reading: Reading, device: str) -> Any:
    import torch

    firsts = tokens.firsts(texts, reading.max_length) if len(texts) and is_words(texts[0]) else None
    spread = _spread(tokens, texts, reading)
    for places, ids, mask in tokens.by_length(texts, reading.max_length, BATCH_TOKENS, reading.truncation):
        there = torch.from_numpy(mask.astype(bool)).to(device)
        yield _Batch(
            encoder.embed(torch.from_numpy(ids).to(device))[there],
            places,
            mask.sum(axis=1).astype(np.int64),
            spread.sizes[places],
            spread.units(places),
            [firsts[place] for place in places] if firsts else None,
        )


def _spread(tokens: Tokens, texts: Sequence[str], reading: Reading) -> Spread:
    if len(texts) and is_words(texts[0]):
        return Spread([len(one) for one in tokens.firsts(texts, reading.max_length)])
    return Spread([1] * len(texts))


def _vectors(x: Tensor, batch: _Batch, reading: Reading) -> Tensor:
    """What a head sees of texts side by side, [units, hidden]."""
    starts = np.cumsum(batch.lengths) - batch.lengths
    if batch.firsts is not None:
        return at_words(x, starts.tolist(), batch.firsts)
    vectors = over_windows(x, batch.lengths) if reading.pooling == "mean" else x[starts]
    return lengthened(vectors) if reading.normalise else vectors


def _highest(values: Floats, sizes: npt.NDArray[np.int64]) -> Floats:
    """The highest of the units of each text, [texts]."""
    return np.maximum.reduceat(values, np.cumsum(sizes) - sizes)
