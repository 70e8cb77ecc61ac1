"""Other views of a text that keep most of its meaning."""

from __future__ import annotations

from dataclasses import replace

from lowres import seeds
from lowres.data.rows import Rows


def with_deletions(rows: Rows, share: float = 0.3) -> Rows:
    """The same rows with about this share of the words of each text deleted, one word at least kept (the noise of TSDAE,
    a:2104.06979). Which words is a pure function of the row's id.
    """
    texts = []
    for row, text in zip(rows.ids, rows.texts, strict=True):
        words = text.split()
        drawn = seeds.generator("deletion", row).random(len(words))
        kept = [word for word, chance in zip(words, drawn, strict=True) if chance >= share]
        texts.append(" ".join(kept or words[:1]))
    return replace(rows, texts=texts)
