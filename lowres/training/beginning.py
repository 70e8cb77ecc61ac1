"""What a fit begins with, the same in every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lowres.models.heads import initial_head
from lowres.training.fit import Fit, Fitted, Tensors
from lowres.training.recipe import Dann


def beginning(fit: Fit, starts: Mapping[str, Fitted], hidden: int, fresh: Callable[[], Tensors]) -> Fitted:
    """Adapter and head that a fit begins with, in fp32.

    Args:
        fit: The fit.
        starts: What came out of the fits it starts from, by content.
        hidden: Width of the pooled vector.
        fresh: Gives a fresh adapter.
    """
    start = starts[fit.start.content] if isinstance(fit.start, Fit) else None
    head = {name: np.asarray(value, dtype=np.float32) for name, value in first_head(fit, start, hidden).items()}
    return Fitted(start.adapter if start is not None and start.adapter else fresh(), head)


def first_head(fit: Fit, start: Fitted | None, hidden: int) -> Tensors:
    """The head that a fit begins with: that of its start, with fresh rows for labels that the start does not know.

    Args:
        fit: The fit.
        start: What came out of the fit it starts from, if it starts from one.
        hidden: Width of the pooled vector.
    """
    fresh = initial_head(hidden, fit.outputs, fit.task, fit.draw)
    if start is None or not isinstance(fit.start, Fit) or not fit.takes_head:
        return fresh
    if fit.start.labels == fit.labels:
        return start.head
    known = [label for label in fit.start.labels if label in fit.labels]
    own, other = ([labels.index(label) for label in known] for labels in (fit.labels, fit.start.labels))
    for name, rows in fresh.items():
        rows[own] = start.head[name][other]
    return fresh


def discriminator_shapes(fit: Fit, hidden: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of weight and bias of the domain discriminator, which begin with zeros; none where the fit has none."""
    return ((hidden,), ()) if isinstance(fit.objective, Dann) else ()
