"""Fits with the stock sequence-classification head: the plain loop on another model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from lowres.data.tokens import HEAD, Tokens
from lowres.errors import UserError
from lowres.kinds import KINDS
from lowres.models.backbone import Backbone
from lowres.models.stock import Logits, initial_stock, open_stock
from lowres.training.adapted import Adapted, make_adapted
from lowres.training.beginning import beginning
from lowres.training.fit import STOCK, Fit, Fitted, Tensors
from lowres.training.loop import LoopEngine
from lowres.training.recipe import Adapter, CrossEntropy, Recipe

STOCK_KINDS: Final = ("classification", "pair")
"""Kinds of tasks that the pipeline for text classification answers as lowres does."""


class StockEngine(LoopEngine):
    """The plain engine, on stock models for some labels.

    The new parts of the model, its head among them, are trained and kept with the adapter, at the adapter's rate. What
    the other engines take for the head over vectors is fixed here: the logits as they are.
    """

    name = STOCK
    trains_head = False

    def __init__(
        self, backbone: Backbone, tokens: Tokens, device: str, precision: str, labels: tuple[str, ...]
    ) -> None:
        super().__init__(backbone, tokens, device, precision)
        self.labels = labels

    def reading(self, recipe: Recipe) -> tuple[str, bool]:
        """The logits of a text are those of its one token, as they are."""
        return "cls", False

    def begin(self, fit: Fit, starts: Mapping[str, Fitted], fresh: Callable[[], Tensors]) -> Fitted:
        """The adapter with the new parts, of the start or fresh."""
        size = len(self.labels)
        as_they_are = {"weight": np.eye(size, dtype=np.float32), "bias": np.zeros(size, dtype=np.float32)}
        return replace(beginning(fit, starts, size, fresh), head=as_they_are)

    def make(self, adapter: Adapter | None) -> Adapted:
        """The stock model with an adapter of these settings."""
        return _StockAdapted(*open_stock(self.backbone, self.labels, self.device), adapter)

    def merged(self, fit: Fit, fitted: Fitted) -> nn.Module:
        """The stock model with a trained adapter in its weights, on the CPU."""
        adapted = _StockAdapted(*open_stock(self.backbone, self.labels), fit.adapter)
        adapted.write(fitted.adapter)
        return adapted.merged()


class _StockAdapted(Adapted):
    """A stock model with an adapter; the new parameters of the model are trained and kept with it.

    Args:
        whole: The stock model; it is changed.
        new: Its new parameters by name.
        settings: Of the adapter.
    """

    def __init__(self, whole: nn.Module, new: Mapping[str, nn.Parameter], settings: Adapter | None) -> None:
        self.deviation = float(getattr(whole.config, "initializer_range", 0.02))
        self.inner = make_adapted(whole, settings)
        self.new = new
        self.model = Logits(self.inner.model)
        for parameter in new.values():
            parameter.requires_grad_(True)

    def fresh(self, *name: object) -> Tensors:
        shapes = {key: tuple(value.shape) for key, value in self.new.items()}
        return {**self.inner.fresh(*name), **initial_stock(shapes, self.deviation, *name)}

    def write(self, kept: Tensors) -> None:
        self.inner.write({name: value for name, value in kept.items() if name not in self.new})
        with torch.no_grad():
            for name, parameter in self.new.items():
                parameter.copy_(torch.from_numpy(np.array(kept[name])))

    def read(self) -> Tensors:
        new = {name: value.detach().cpu().numpy().copy() for name, value in self.new.items()}
        return {**self.inner.read(), **new}

    def weights(self) -> Tensors:
        """Those of the adapter: a new head moves in any fit, and would hide that nothing else did."""
        return self.inner.weights()

    def config(self) -> dict[str, Any]:
        return self.inner.config()

    def begin(self, steps: int) -> None:
        self.inner.begin(steps)

    def penalty(self) -> torch.Tensor | None:
        return self.inner.penalty()

    def stepped(self, step: int) -> None:
        self.inner.stepped(step)

    def merged(self) -> nn.Module:
        """The stock model with the adapter in its weights; this object is of no use afterwards."""
        whole: nn.Module = self.inner.model.merge_and_unload()  # type: ignore[operator]
        return whole.eval().requires_grad_(False)


def check_stock(fit: Fit, method: str) -> None:
    """Raises a ``UserError`` where a fit is none that a stock head is trained by: cross-entropy on rows, of one text or two."""
    if fit.kind not in STOCK_KINDS:
        raise UserError(
            "--head stock answers with one label a text",
            got=KINDS[fit.kind].title,
            expected="a task of type " + " or ".join(STOCK_KINDS),
            hint="leave --head out",
        )
    if fit.recipe.truncation != HEAD:
        raise UserError(
            "transformers.pipeline reads the beginning of a text",
            got=f"recipe.truncation {fit.recipe.truncation}",
            hint="leave recipe.truncation or --head out",
        )
    if not fit.recipe.normalise:
        raise UserError(
            "a stock head reads no pooled vector that could be of length 1",
            got="recipe.normalise false",
            hint="leave recipe.normalise or --head out",
        )
    plain = (
        isinstance(one.objective, CrossEntropy) and one.adapter is not None and not any(part.by for part in one.parts)
        for one in fit.lineage()
    )
    if not all(plain):
        raise UserError(
            f"{method} is more than fits by cross-entropy on rows",
            expected="with --head stock such as target-only, target-full, source-only, source-then-target, joint",
            hint="leave --head out",
        )
    if any(one.labels != fit.labels for one in fit.lineage()):
        raise UserError(
            "--head stock does not grow by labels", got="domains that differ in them", hint="leave --head out"
        )
