"""Proof that training acted: what every gradient fit is asked afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lowres.training.fit import Check, Engine, Fit, Fitted, Tensors
from lowres.training.recipe import MMD, Coral, Dann, SimCSE


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


def held_out_checks(fit: Fit, fitted: Fitted, engine: Engine) -> tuple[Check, ...]:
    """Of an encoder that looked at unlabelled texts: its loss on texts it was not shown, against that of the frozen one."""
    if not isinstance(fit.objective, SimCSE) or len(fit.parts) < 4:
        return ()
    pairs = [list(part.rows.texts) for part in fit.parts[2:4]]
    losses = []
    for under in (None, (fit, fitted)):
        texts, views = (engine.features(one, fit.recipe, under) for one in pairs)
        losses.append(_view_loss(texts, views, fit.objective.temperature))
    before, after = losses
    return (Check("held-out loss below the frozen encoder's", after < before, before - after, "> 0"),)


def _view_loss(texts: npt.NDArray[np.float32], views: npt.NDArray[np.float32], temperature: float) -> float:
    """Mean loss of finding each text among all by its other view, rows scaled to length 1; [rows, hidden] each."""
    one, other = (
        vectors.astype(float) / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        for vectors in (texts, views)
    )
    alike = other @ one.T / temperature
    top = alike.max(1, keepdims=True)
    total = np.log(np.exp(alike - top).sum(1)) + top[:, 0]
    return float(np.mean(total - np.diag(alike)))


def _fall(log: Sequence[dict[str, Any]], name: str) -> float:
    """Mean of the first tenth of the steps less that of the last."""
    width = max(1, len(log) // 10)
    values = [entry[name] for entry in log]
    return float(np.mean(values[:width]) - np.mean(values[-width:]))
