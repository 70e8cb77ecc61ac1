"""The classification head: a linear layer over the pooled vector."""

from __future__ import annotations

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


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Probabilities from logits, [rows, classes]."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)
