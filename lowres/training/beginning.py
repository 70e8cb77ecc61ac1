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
    if start is not None and fit.takes_head:
        head = {name: np.asarray(value, dtype=np.float32) for name, value in start.head.items()}
    else:
        head = initial_head(hidden, fit.outputs, fit.task, fit.draw)
    return Fitted(start.adapter if start is not None and start.adapter else fresh(), head)


def discriminator_shapes(fit: Fit, hidden: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of weight and bias of the domain discriminator, which begin with zeros; none where the fit has none."""
    return ((hidden,), ()) if isinstance(fit.objective, Dann) else ()
