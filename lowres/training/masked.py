"""Masked language modelling: which tokens of a text are asked for, and how well an encoder's own head tells them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.tokens import SECOND, Tokens
from lowres.models import encoder
from lowres.training.fit import Fit
from lowres.training.recipe import MaskedLM

if TYPE_CHECKING:
    from torch import Tensor, nn

UNASKED = -100
"""Target of a token that is not asked for."""
BATCH = 32
"""Texts of a forward pass over held-out rows."""
Ids = npt.NDArray[np.int64]


def asked(
    ids: npt.NDArray[np.integer], words: npt.NDArray[np.bool_], share: float, mask: int, vocabulary: int, *name: object
) -> tuple[Ids, Ids]:
    """What stands in the place of a text's tokens, and what is asked for, [tokens] each.

    So many of the words as ``share`` says are asked for, one at least: 80 % of them masked, 10 % replaced by any token,
    10 % left (a:1810.04805). A pure function of the text and the name.

    Args:
        ids: Tokens of the text.
        words: Which of them are no marks of the tokenizer.
        share: Of the words that are asked for.
        mask: Number of the mask token.
        vocabulary: How many tokens there are.
        name: Of the seed.
    """
    rng = seeds.generator("mask", *name)
    places = np.flatnonzero(words)
    chosen = rng.permutation(places)[: max(1, round(share * len(places)))]
    shown, targets = ids.astype(np.int64), np.full(len(ids), UNASKED, dtype=np.int64)
    targets[chosen] = shown[chosen]
    kind = rng.random(len(chosen))
    shown[chosen[kind < 0.8]] = mask
    other = chosen[(kind >= 0.8) & (kind < 0.9)]
    shown[other] = rng.integers(vocabulary, size=len(other))
    return shown, targets


class MaskedRows:
    """The rows of a fit as an encoder with its head is asked about them.

    Args:
        fit: Its rows; those of a part with a share of 0 are held out.
        model: Encoder and head.
        tokens: Its tokenizer.
        mask: Number of the mask token.
        device: Where the model is.
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(self, fit: Fit, model: nn.Module, tokens: Tokens, mask: int, device: str, precision: str) -> None:
        assert isinstance(fit.objective, MaskedLM)
        self._share, self._draw, self._mask = fit.objective.share, fit.draw, mask
        self._model, self._tokens, self._device, self._precision = model, tokens, device, precision
        self._names = [row for part in fit.parts for row in part.rows.ids]
        reading = fit.recipe.max_length, fit.recipe.truncation
        self._texts = [
            [(one.ids, np.array([word is not None for word in one.words], dtype=bool)) for one in pieces]
            for pieces in (tokens.pieces(text, *reading) for text in fit.texts)
        ]
        self._seen = np.zeros(len(self._texts), dtype=int)
        self.held_out = np.flatnonzero(np.array([part.share == 0 for part in fit.parts])[fit.part_of])

    def loss(self, rows: Ids) -> Tensor:
        """Mean cross-entropy of the tokens that are asked for; other ones each time that a row comes."""
        made = self._loss(rows, [int(count) for count in self._seen[rows]], "mean")
        self._seen[rows] += 1
        return made

    def held_out_loss(self) -> float:
        """The same of the held-out rows, whose tokens are always the same."""
        import torch

        total = 0.0
        count = 0
        with torch.inference_mode():
            for begin in range(0, len(self.held_out), BATCH):
                rows = self.held_out[begin : begin + BATCH]
                total += self._loss(rows, ["held out"] * len(rows), "sum").item()
                asked_of = (targets for row in rows for _, targets in self._ask(row, "held out"))
                count += sum(int((targets != UNASKED).sum()) for targets in asked_of)
        return total / max(1, count)

    def _loss(self, rows: Ids, times: Sequence[int | str], reduction: str) -> Tensor:
        import torch

        made = [one for row, time in zip(rows, times, strict=True) for one in self._ask(row, time)]
        ids, mask = self._tokens.pad([shown.astype(np.int32) for shown, _ in made])
        targets = np.full(ids.shape, UNASKED, dtype=np.int64)
        for row, (_, wanted) in enumerate(made):
            targets[row, : len(wanted)] = wanted
        moved = [torch.from_numpy(array).to(self._device) for array in (ids, mask, targets)]
        with encoder.autocast(self._device, self._precision):
            logits = self._model(**encoder.inputs(self._model, moved[0]), attention_mask=moved[1]).logits
        chosen = moved[2] != UNASKED
        return torch.nn.functional.cross_entropy(logits[chosen].float(), moved[2][chosen], reduction=reduction)

    def _ask(self, row: int, time: int | str) -> Iterator[tuple[Ids, Ids]]:
        """Of each sequence of a row."""
        for window, (ids, words) in enumerate(self._texts[row]):
            name = (self._draw, self._names[row], time, *([window] if window else []))
            shown, targets = asked(ids % SECOND, words, self._share, self._mask, self._tokens.rows, *name)
            yield shown + (ids - ids % SECOND), targets
