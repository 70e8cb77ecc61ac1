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
from lowres.models.heads import initial_head
from lowres.training.fit import Check, Fit, Fitted, LoRA, Recipe, Tensors

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
                yield fit, self._train(fit, starts[fit.start.content] if isinstance(fit.start, Fit) else None)
            except Exception as error:  # one fit's failure is its result, whatever its kind
                yield fit, error

    def features(self, texts: list[str], recipe: Recipe) -> npt.NDArray[np.float32]:
        """Pooled vectors of the frozen backbone, [texts, hidden]."""
        return self._features(self.model(None), texts, recipe)

    def predict(self, fit: Fit, fitted: Fitted, texts: list[str]) -> npt.NDArray[np.float32]:
        """Probabilities of a trained fit, [texts, classes]."""
        model = self.model(fit.adapter)
        if fit.adapter is not None:
            adapters.write(model, fitted.adapter)
        return encoder.probabilities(self._features(model, texts, fit.recipe), fitted.head)

    def adapter_config(self, fit: Fit) -> dict[str, object] | None:
        """PEFT's settings of a fit's adapter; None for a frozen backbone."""
        return adapters.peft_config(self.model(fit.adapter)) if fit.adapter is not None else None

    def _train(self, fit: Fit, start: Fitted | None) -> Fitted:
        import torch

        from lowres.training.objectives import Heads, Step, losses

        began = time.perf_counter()
        model = self.model(fit.adapter)
        seed = (fit.task, fit.draw)
        first_adapter = start.adapter if start else adapters.initial(model, *seed)
        first_head = start.head if start else initial_head(self.backbone.hidden, len(fit.labels), *seed)
        adapters.write(model, first_adapter)
        weight, bias = (
            torch.nn.Parameter(torch.from_numpy(np.array(first_head[name])).to(self.device))
            for name in ("weight", "bias")
        )
        recipe = fit.recipe
        live = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = self.accelerator.prepare_optimizer(
            torch.optim.AdamW(
                [
                    {"params": live, "lr": recipe.learning_rate},
                    {"params": [weight, bias], "lr": recipe.head_learning_rate},
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
            heads = Heads(weight[None], bias[None], torch.zeros_like(bias[None], dtype=torch.bool))
            (loss,) = losses(fit.objective, now, heads)
            if not torch.isfinite(loss):
                raise FitError(
                    f"the loss became {loss.item()} at step {step + 1} of {fit.steps}; try a lower learning rate"
                )
            optimizer.zero_grad()
            self.accelerator.backward(loss)
            optimizer.step()
            log.append({"step": step + 1, "loss": round(loss.item(), 6)})
        adapter = adapters.read(model)
        head = {"weight": weight.detach().cpu().numpy().copy(), "bias": bias.detach().cpu().numpy().copy()}
        return Fitted(
            adapter=adapter,
            head=head,
            log=tuple(log),
            checks=gradient_checks(first_adapter, adapter, log, start is None),
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


def gradient_checks(first: Tensors, last: Tensors, log: list[dict[str, float]], fresh: bool) -> tuple[Check, ...]:
    """Proof that training acted: the adapter moved and, from a fresh start, the loss fell."""
    change = float(np.sqrt(sum(float(np.sum((last[name] - first[name]) ** 2)) for name in first)))
    checks = [Check("adapter moved", change > 0.0, change, "> 0")]
    if fresh and log:
        width = max(1, len(log) // 10)
        losses = [entry["loss"] for entry in log]
        fall = float(np.mean(losses[:width]) - np.mean(losses[-width:]))
        checks.append(Check("training loss fell", fall > 0.0, fall, "> 0"))
    return tuple(checks)
