"""Proof that training acted: what every gradient fit is asked afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lowres.training.fit import Check, Fit, Tensors
from lowres.training.recipe import MMD, Coral, Dann


def logged(step: int, loss: float, figure: float | None) -> dict[str, float]:
    """One entry of a training log, with the figure of the objective where it has one."""
    entry = {"step": step + 1, "loss": round(loss, 6)}
    return entry if figure is None or math.isnan(figure) else entry | {"figure": round(figure, 6)}


def gradient_checks(fit: Fit, first: Tensors, last: Tensors, log: Sequence[dict[str, Any]]) -> tuple[Check, ...]:
    """The adapter moved; from a fresh start the loss fell; the objective did what it is for."""
    change = float(np.sqrt(sum(float(np.sum((last[name] - first[name]) ** 2)) for name in first)))
    checks = [Check("adapter moved", change > 0.0, change, "> 0")]
    if fit.start is None and log:
        fall = _fall(log, "loss")
        checks.append(Check("training loss fell", fall > 0.0, fall, "> 0"))
    if isinstance(fit.objective, Coral | MMD) and log:
        fall = _fall(log, "figure")
        checks.append(Check("distance of the domains fell", fall > 0.0, fall, "> 0"))
    if isinstance(fit.objective, Dann) and log:
        told = float(np.mean([entry["figure"] for entry in log]))
        checks.append(Check("discriminator better than chance", told > 0.5, told, "> 0.5"))
    return tuple(checks)


def _fall(log: Sequence[dict[str, Any]], name: str) -> float:
    """Mean of the first tenth of the steps less that of the last."""
    width = max(1, len(log) // 10)
    values = [entry[name] for entry in log]
    return float(np.mean(values[:width]) - np.mean(values[-width:]))
