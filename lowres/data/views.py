"""Other views of a text that keep most of its meaning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lowres import seeds
from lowres.data.rows import Rows
from lowres.kinds import PAIR


def with_deletions(rows: Rows, share: float = 0.3) -> Rows:
    """The same rows with about this share of the words of each text deleted, one word at least kept (the noise of TSDAE,
    a:2104.06979). Which words is a pure function of the row's id. A pair stays a pair.
    """
    texts = []
    for row, text in zip(rows.ids, rows.texts, strict=True):
        generator = seeds.generator("deletion", row)
        texts.append(PAIR.join(_thinned(side.split(), generator, share) for side in text.split(PAIR)))
    return replace(rows, texts=texts)


def _thinned(words: list[str], generator: np.random.Generator, share: float) -> str:
    drawn = generator.random(len(words))
    kept = [word for word, chance in zip(words, drawn, strict=True) if chance >= share]
    return " ".join(kept or words[:1])
