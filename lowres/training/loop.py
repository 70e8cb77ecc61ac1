"""The plain engine: one fit after another, PEFT inside an Accelerate loop. The readable reference for faster ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from lowres.data.rows import Spread
from lowres.data.tokens import WINDOWS, Tokens
from lowres.errors import FitError
from lowres.models import encoder, lm_head
from lowres.models.backbone import Backbone
from lowres.models.pooling import over_windows
from lowres.training.acted import gradient_checks, held_out_check, logged
from lowres.training.adapted import Adapted, make_adapted
from lowres.training.beginning import beginning, discriminator_shapes
from lowres.training.fit import Fit, Fitted, Tensors
from lowres.training.masked import MaskedRows
from lowres.training.recipe import Adapter, MaskedLM, Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

KEPT_ENCODERS: Final = 4
"""Encoders with adapters of different settings that stay at hand."""


class LoopEngine:
    """Trains fits one by one on one device.

    Args:
        backbone: The frozen encoder.
        tokens: Its tokenizer.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16`` (autocast; adapter, head and optimiser stay fp32).
    """

    name = "loop"
    at_once = 1
    notice: str | None = None
    trains_head = True

    def __init__(self, backbone: Backbone, tokens: Tokens, device: str, precision: str) -> None:
        from accelerate import Accelerator

        self.backbone, self.tokens, self.device, self.precision = backbone, tokens, device, precision
        # Accelerate keeps one precision for the whole process; autocast is entered here, so that engines of two
        # precisions can live side by side
        self.accelerator = Accelerator(mixed_precision="no", cpu=device == "cpu")
        self._adapted: dict[Adapter | None, Adapted] = {}
        self._masked: dict[Adapter | None, tuple[nn.Module, Adapted]] = {}

    def fit_many(self, fits: list[Fit], starts: Mapping[str, Fitted]) -> Iterator[tuple[Fit, Fitted | Exception]]:
        """Trains each fit in turn; an error becomes the result of its fit."""
        if fits:
            self.adapted(None)  # a backbone that cannot be loaded is no failure of a fit
        for fit in fits:
            try:
                yield fit, self._train(fit, starts)
            except Exception as error:  # one fit's failure is its result, whatever its kind
                yield fit, error

    def features(
        self, texts: list[str], recipe: Recipe, under: tuple[Fit, Fitted] | None = None
    ) -> npt.NDArray[np.float32]:
        """Vectors of the frozen backbone, or ``under`` the adapter of a trained fit, [units, hidden]."""
        adapted = self.adapted(under[0].adapter if under else None)
        if under:
            adapted.write(under[1].adapter)
        return self._features(adapted.model, texts, recipe)

    def predict(self, fit: Fit, fitted: Fitted, texts: list[str]) -> npt.NDArray[np.float32]:
        """Answers of a trained fit, [units, outputs]."""
        return encoder.said(self.features(texts, fit.recipe, (fit, fitted)), fitted.head, fit.kind, fit.labels)

    def adapter_config(self, fit: Fit) -> dict[str, object] | None:
        """PEFT's settings of a fit's adapter; None for a frozen backbone."""
        return self.adapted(fit.adapter).config() if fit.adapter is not None else None

    def _train(self, fit: Fit, starts: Mapping[str, Fitted]) -> Fitted:
        began = time.perf_counter()
        run = _Run(self, fit, starts)
        log = [run.step(step, rows, weights) for step, (rows, weights) in enumerate(fit.batches())]
        return replace(run.ended(tuple(log)), seconds=time.perf_counter() - began)

    def _features(self, model: nn.Module, texts: list[str], recipe: Recipe) -> npt.NDArray[np.float32]:
        pooling, normalise = self.reading(recipe)
        return encoder.features(
            model,
            self.tokens,
            texts,
            max_length=recipe.max_length,
            pooling=pooling,
            normalise=normalise,
            device=self.device,
            precision=self.precision,
            truncation=recipe.truncation,
        )

    def adapted(self, adapter: Adapter | None) -> Adapted:
        """The encoder with an adapter of these settings; its weights are set anew for every fit. The last few stay at hand."""
        found = self._adapted.pop(adapter, None) or self.make(adapter)
        self._adapted[adapter] = found
        while len(self._adapted) > KEPT_ENCODERS:
            del self._adapted[next(iter(self._adapted))]
        return found

    def make(self, adapter: Adapter | None) -> Adapted:
        """A new encoder with an adapter of these settings."""
        return make_adapted(self.backbone.load(self.device), adapter)

    def reading(self, recipe: Recipe) -> tuple[str, bool]:
        """How a text's vector comes from those of its tokens: the pooling, and whether it is scaled to length 1."""
        return self.backbone.pooling, recipe.normalise

    def begin(self, fit: Fit, starts: Mapping[str, Fitted], fresh: Callable[[], Tensors]) -> Fitted:
        """Adapter and head that a fit begins with; ``fresh`` gives an adapter that starts from nothing."""
        return beginning(fit, starts, self.backbone.hidden, fresh)

    def masked(self, adapter: Adapter | None) -> tuple[nn.Module, Adapted]:
        """The encoder with its masked-LM head, and an adapter of these settings on the same encoder; made once too."""
        if adapter not in self._masked:
            whole, inner = lm_head.load_with_lm_head(self.backbone, self.device)
            self._masked[adapter] = whole, make_adapted(inner, adapter)
        return self._masked[adapter]


class _Run:
    """One fit on its way: encoder, head and optimiser."""

    def __init__(self, engine: LoopEngine, fit: Fit, starts: Mapping[str, Fitted]) -> None:
        import torch

        self.engine, self.fit = engine, fit
        self.masked: MaskedRows | None = None
        if isinstance(fit.objective, MaskedLM):
            whole, self.adapted = engine.masked(fit.adapter)
            mask = lm_head.mask_id(engine.backbone)
            assert mask is not None
            self.masked = MaskedRows(fit, whole, engine.tokens, mask, engine.device, engine.precision)
        else:
            self.adapted = engine.adapted(fit.adapter)
        hidden = engine.backbone.hidden
        first = engine.begin(fit, starts, lambda: self.adapted.fresh(fit.task, fit.draw))
        self.adapted.write(first.adapter)
        self.adapted.begin(fit.steps)
        self.first = self.adapted.weights()
        self.weight, self.bias = (
            torch.nn.Parameter(torch.from_numpy(np.array(first.head[name])).to(engine.device), engine.trains_head)
            for name in ("weight", "bias")
        )
        self.discriminator = [
            torch.nn.Parameter(torch.zeros(shape, device=engine.device)) for shape in discriminator_shapes(fit, hidden)
        ]
        self.peaks = [fit.recipe.learning_rate, fit.recipe.head_learning_rate]
        self.optimizer = self._optimizer()
        reading = fit.texts, fit.recipe.max_length, fit.recipe.truncation
        self.arrays, self.windows = engine.tokens.encode(*reading), Spread(engine.tokens.windows(*reading))
        self.firsts = None if fit.units_are_rows else engine.tokens.firsts(fit.texts, fit.recipe.max_length)
        self.targets = torch.from_numpy(fit.targets).to(engine.device)

    def step(self, step: int, rows: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> dict[str, float]:
        """Makes one step; its entry of the log."""
        import torch

        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * self.fit.recipe.rate(step, self.fit.steps)
        loss, figure = (self.masked.loss(rows), None) if self.masked else self._loss(rows, weights)
        if not torch.isfinite(loss):
            raise FitError(
                f"the loss became {loss.item()} at step {step + 1} of {self.fit.steps}; try a lower learning rate"
            )
        penalty = self.adapted.penalty()
        self.optimizer.zero_grad()
        self.engine.accelerator.backward(loss if penalty is None else loss + penalty)
        self.optimizer.step()
        self.adapted.stepped(step)
        return logged(step, loss.item(), None if figure is None else figure.item())

    def ended(self, log: tuple[dict[str, float], ...]) -> Fitted:
        """What came out, with its checks."""
        adapter = self.adapted.read()
        checks = gradient_checks(self.fit, self.first, self.adapted.weights(), log, self.adapted.scale())
        head = {
            name: value.detach().cpu().numpy().copy() for name, value in (("weight", self.weight), ("bias", self.bias))
        }
        if self.masked is not None and len(self.masked.held_out):
            after = self.masked.held_out_loss()
            self.adapted.write(self.adapted.fresh(self.fit.task, self.fit.draw))
            checks += (held_out_check("masked-LM loss", self.masked.held_out_loss(), after),)
        return Fitted(adapter=adapter, head=head, log=log, checks=checks)

    def _optimizer(self) -> torch.optim.Optimizer:
        import torch

        live = [parameter for parameter in self.adapted.model.parameters() if parameter.requires_grad]
        groups = [live, [*self.discriminator, self.weight, self.bias]]
        # not prepared by Accelerate: it would keep the state of every optimiser, and has nothing to add at this precision
        return torch.optim.AdamW(
            [{"params": part, "lr": peak} for part, peak in zip(groups, self.peaks, strict=True)], weight_decay=0.0
        )

    def _loss(self, rows: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> tuple[Tensor, Tensor | None]:
        """Loss of a batch over the vectors of its units, and the figure of its objective."""
        import torch

        from lowres.training.objectives import Heads, Step, losses

        engine, recipe = self.engine, self.fit.recipe
        arrays = [self.arrays[place] for place in self.windows.units(rows)]
        ids, mask = (torch.from_numpy(part).to(engine.device) for part in engine.tokens.pad(arrays))
        with encoder.autocast(engine.device, engine.precision):
            if self.firsts is None:
                vectors = encoder.pooled(self.adapted.model, ids, mask, *engine.reading(recipe))
                if recipe.truncation == WINDOWS:
                    vectors = over_windows(vectors, self.windows.sizes[rows])
            else:
                firsts = [self.firsts[row] for row in rows]
                vectors = encoder.word_vectors(self.adapted.model, ids, mask, firsts)
        units, weights = self.fit.spread(rows, weights)
        shares = torch.from_numpy(weights).to(vectors)[None]
        now = Step(vectors[None], self.targets[units][None], shares, torch.ones_like(shares, dtype=torch.bool))
        absent = torch.zeros_like(self.bias[None], dtype=torch.bool)
        told = (self.discriminator[0][None], self.discriminator[1][None]) if self.discriminator else None
        (loss,), figure = losses(self.fit.objective, now, Heads(self.weight[None], self.bias[None], absent, told))
        return loss, figure
