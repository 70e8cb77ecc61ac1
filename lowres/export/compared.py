"""What an export says, beside what its origin says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lowres.data.encodings import whole
from lowres.errors import LowresError
from lowres.kinds import KINDS, pair_of, words_of
from lowres.models.classifier import Classifier
from lowres.scoring.multilabel import GIVEN_FROM

GAP: Final = 1e-4
"""Between two probabilities (of a scale: its share) that are the same but for rounding."""
AT_ONCE: Final = 16
"""Texts that are answered in one batch."""
Answers = npt.NDArray[np.float32]
Says = Callable[[list[Any]], Answers]
"""Texts, pairs or lists of words to what is said of them, [units, outputs]."""


@dataclass(frozen=True)
class Compared:
    """An export against its origin on some texts."""

    texts: int
    gap: float
    """Largest difference of two probabilities; of a scale of its share, of vectors of a coordinate."""
    agreement: float | None = None
    """Share of the units (texts or words) with the same answer; None where there are no answers."""


def compare(model: Classifier, says: Says, rows: Sequence[str], within: float | None = GAP) -> Compared:
    """Asks both about the same rows.

    Args:
        model: The origin.
        says: The export.
        rows: Texts as rows of the model's kind.
        within: The largest difference that is borne; None: any.

    Raises:
        LowresError: They differ by more.
    """
    own = model.predict_proba(rows)
    other = np.concatenate([says(plain(model.kind, rows[at : at + AT_ONCE])) for at in range(0, len(rows), AT_ONCE)])
    ends = [float(end) for end in model.labels] if KINDS[model.kind].answer == "value" else [0.0, 1.0]
    gap = float(np.abs(own - other).max()) / (ends[1] - ends[0])
    found = Compared(len(rows), gap, _agreement(model.kind, own, other))
    if within is not None and not found.gap <= within:
        raise LowresError(f"the export answers otherwise than its origin (by {found.gap:.2g}); not kept")
    return found


def _agreement(kind: str, own: Answers, other: Answers) -> float | None:
    if KINDS[kind].answer == "value":
        return None
    if KINDS[kind].answer == "many":
        return float(((own >= GIVEN_FROM) == (other >= GIVEN_FROM)).all(1).mean())
    return float((own.argmax(1) == other.argmax(1)).mean())


def plain(kind: str, rows: Sequence[str]) -> list[Any]:
    """Rows as texts, pairs or lists of words, as programs without lowres hold them."""
    if kind == "pair":
        return [tuple(map(whole, pair_of(row) or ())) for row in rows]
    return [words_of(whole(row)) if KINDS[kind].unit == "word" else whole(row) for row in rows]
