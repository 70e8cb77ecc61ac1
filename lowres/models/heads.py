"""The classification head: a linear layer over the pooled vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lowres import seeds


def initial_head(hidden: int, classes: int, *name: object) -> dict[str, npt.NDArray[np.float32]]:
    """Fresh weight [classes, hidden] and bias [classes], uniform in ±1/sqrt(hidden) as in ``torch.nn.Linear``."""
    bound = 1.0 / np.sqrt(hidden)
    rng = seeds.generator("init", *name, "head", hidden, classes)
    return {
        "weight": rng.uniform(-bound, bound, (classes, hidden)).astype(np.float32),
        "bias": np.zeros(classes, dtype=np.float32),
    }


def answers(logits: npt.NDArray[np.floating], answer: str, labels: Sequence[str] = ()) -> npt.NDArray[np.float32]:
    """What a head says of each unit, [units, outputs].

    Args:
        logits: [units, outputs].
        answer: Of the kind: ``one`` probabilities that sum to 1, ``many`` each for itself, ``value`` the place on a scale.
        labels: Of a scale its ends.
    """
    if answer == "one":
        return softmax(logits)
    chances = 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))
    if answer == "value":
        low, high = map(float, labels)
        chances = low + (high - low) * chances
    return np.asarray(chances, dtype=np.float32)


def losses(
    logits: npt.NDArray[np.float64], targets: npt.NDArray[np.int64] | npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Cross-entropy of each unit in nats, [units]; of labels that stand each for itself, and of a place on a scale, the
    mean of the binary ones.

    Args:
        logits: [units, outputs].
        targets: As ``Rows.targets`` gives them.
    """
    if targets.dtype == np.int64:
        top = logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        return np.asarray(total - logits[np.arange(len(logits)), targets])
    wanted = targets.reshape(logits.shape)
    each = np.maximum(logits, 0) - logits * wanted + np.log1p(np.exp(-np.abs(logits)))
    return np.asarray(each.mean(axis=1))


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Probabilities from logits, [rows, classes]."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)
