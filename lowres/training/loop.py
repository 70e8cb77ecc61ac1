"""The plain engine: one fit after another, PEFT inside an Accelerate loop. The readable reference for faster ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lowres.data.tokens import Tokens
from lowres.errors import FitError
from lowres.models import adapters, encoder
from lowres.models.backbone import Backbone
from lowres.training.acted import gradient_checks, logged
from lowres.training.beginning import beginning, discriminator_shapes
from lowres.training.fit import Fit, Fitted
from lowres.training.recipe import LoRA, Recipe

if TYPE_CHECKING:
    from torch import nn


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

    def __init__(self, backbone: Backbone, tokens: Tokens, device: str, precision: str) -> None:
        from accelerate import Accelerator

        self.backbone, self.tokens, self.device, self.precision = backbone, tokens, device, precision
        # Accelerate keeps one precision for the whole process; autocast is entered here, so that engines of two
        # precisions can live side by side
        self.accelerator = Accelerator(mixed_precision="no", cpu=device == "cpu")
        self._models: dict[LoRA | None, nn.Module] = {}

    def fit_many(self, fits: list[Fit], starts: Mapping[str, Fitted]) -> Iterator[tuple[Fit, Fitted | Exception]]:
        """Trains each fit in turn; an error becomes the result of its fit."""
        if fits:
            self.model(fits[0].adapter)  # a backbone that cannot be loaded is no failure of a fit
        for fit in fits:
            try:
                yield fit, self._train(fit, starts)
            except Exception as error:  # one fit's failure is its result, whatever its kind
                yield fit, error

    def features(
        self, texts: list[str], recipe: Recipe, under: tuple[Fit, Fitted] | None = None
    ) -> npt.NDArray[np.float32]:
        """Pooled vectors of the frozen backbone, or ``under`` the adapter of a trained fit, [texts, hidden]."""
        adapter = under[0].adapter if under else None
        model = self.model(adapter)
        if under and adapter is not None:
            adapters.write(model, under[1].adapter)
        return self._features(model, texts, recipe)

    def predict(self, fit: Fit, fitted: Fitted, texts: list[str]) -> npt.NDArray[np.float32]:
        """Probabilities of a trained fit, [texts, classes]."""
        return encoder.probabilities(self.features(texts, fit.recipe, (fit, fitted)), fitted.head)

    def adapter_config(self, fit: Fit) -> dict[str, object] | None:
        """PEFT's settings of a fit's adapter; None for a frozen backbone."""
        return adapters.peft_config(self.model(fit.adapter)) if fit.adapter is not None else None

    def _train(self, fit: Fit, starts: Mapping[str, Fitted]) -> Fitted:
        import torch

        from lowres.training.objectives import Heads, Step, losses

        began = time.perf_counter()
        model = self.model(fit.adapter)
        first = beginning(fit, starts, self.backbone.hidden, lambda: adapters.initial(model, fit.task, fit.draw))
        adapters.write(model, first.adapter)
        weight, bias = (
            torch.nn.Parameter(torch.from_numpy(np.array(first.head[name])).to(self.device))
            for name in ("weight", "bias")
        )
        discriminator = [
            torch.nn.Parameter(torch.zeros(shape, device=self.device))
            for shape in discriminator_shapes(fit, self.backbone.hidden)
        ]
        recipe = fit.recipe
        live = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = self.accelerator.prepare_optimizer(
            torch.optim.AdamW(
                [
                    {"params": live, "lr": recipe.learning_rate},
                    {"params": [*discriminator, weight, bias], "lr": recipe.head_learning_rate},
                ],
                weight_decay=0.0,
            )
        )
        peaks = [recipe.learning_rate, recipe.head_learning_rate]
        arrays = self.tokens.encode(fit.texts, recipe.max_length)
        targets = torch.from_numpy(fit.targets).to(self.device)
        log: list[dict[str, float]] = []
        for step, (rows, weights) in enumerate(fit.batches()):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * recipe.rate(step, fit.steps)
            ids, mask = (
                torch.from_numpy(part).to(self.device) for part in self.tokens.pad([arrays[row] for row in rows])
            )
            with encoder.autocast(self.device, self.precision):
                vectors = encoder.pooled(model, ids, mask, self.backbone.pooling, recipe.normalise)
            shares = torch.from_numpy(weights).to(vectors)[None]
            now = Step(vectors[None], targets[rows][None], shares, torch.ones_like(shares, dtype=torch.bool))
            absent = torch.zeros_like(bias[None], dtype=torch.bool)
            told = (discriminator[0][None], discriminator[1][None]) if discriminator else None
            (loss,), figure = losses(fit.objective, now, Heads(weight[None], bias[None], absent, told))
            if not torch.isfinite(loss):
                raise FitError(
                    f"the loss became {loss.item()} at step {step + 1} of {fit.steps}; try a lower learning rate"
                )
            optimizer.zero_grad()
            self.accelerator.backward(loss)
            optimizer.step()
            log.append(logged(step, loss.item(), None if figure is None else figure.item()))
        adapter = adapters.read(model)
        head = {"weight": weight.detach().cpu().numpy().copy(), "bias": bias.detach().cpu().numpy().copy()}
        return Fitted(
            adapter=adapter,
            head=head,
            log=tuple(log),
            checks=gradient_checks(fit, first.adapter, adapter, log),
            seconds=time.perf_counter() - began,
        )

    def _features(self, model: nn.Module, texts: list[str], recipe: Recipe) -> npt.NDArray[np.float32]:
        return encoder.features(
            model,
            self.tokens,
            texts,
            max_length=recipe.max_length,
            pooling=self.backbone.pooling,
            normalise=recipe.normalise,
            device=self.device,
            precision=self.precision,
        )

    def model(self, adapter: LoRA | None) -> nn.Module:
        """The encoder with an adapter of these settings; made once, its weights are set anew for every fit."""
        if adapter not in self._models:
            model = self.backbone.load(self.device)
            if adapter is not None:
                model = adapters.attach(
                    model,
                    rank=adapter.rank,
                    alpha=adapter.alpha,
                    linears=adapter.linears,
                    live_layers=adapter.live_layers,
                )
            self._models[adapter] = model
        return self._models[adapter]
