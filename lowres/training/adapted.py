"""An encoder with an adapter of one kind: how a fit begins on it, what is kept of it, and how that is put back.

PEFT does the work; what a kind needs beyond that stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lowres.errors import FitError, UserError
from lowres.models import adapters
from lowres.training.fit import Tensors
from lowres.training.recipe import IA3, AdaLoRA, Adapter, AllWeights, DoRA, LowRank, PiSSA, RsLoRA

if TYPE_CHECKING:
    from torch import Tensor, nn

ROWS: Final = ".rows"
"""Ending of the name under which the changed rows of a table are kept."""


class Adapted:
    """An encoder with an adapter, for one fit after another.

    Args:
        encoder: As loaded; it is changed.
        settings: Of the adapter.
        begin: PEFT's name for another beginning than an empty adapter.

    Attributes:
        model: Encoder and adapter in evaluation mode; what requires a gradient is what a fit trains.
    """

    def __init__(self, encoder: nn.Module, settings: Adapter, **begin: Any) -> None:
        self.settings = settings
        self.model = adapters.attach(encoder, peft_settings(settings, encoder), **begin)

    def fresh(self, *name: object) -> Tensors:
        """What a fit begins with that starts from nothing, from seeds of this name."""
        return adapters.initial(self.model, *name)

    def write(self, kept: Tensors) -> None:
        """Makes the encoder that of these tensors."""
        adapters.write(self.model, kept)

    def read(self) -> Tensors:
        """What is kept of it, copied."""
        return adapters.read(self.model)

    def weights(self) -> Tensors:
        """What a fit trains, copied; to see what it changed."""
        return self.read()

    def config(self) -> dict[str, Any]:
        """PEFT's ``adapter_config.json`` of what is kept."""
        return adapters.peft_config(self.model)

    def scale(self) -> float | None:
        """Factor on B A as PEFT has it; None where there is none."""
        scales: list[Any] = [getattr(one, "scaling", None) for one in self.model.modules()]
        return next((float(one["default"]) for one in scales if isinstance(one, dict) and "default" in one), None)

    def begin(self, steps: int) -> None:
        """A fit of so many steps begins."""

    def penalty(self) -> Tensor | None:
        """What its kind adds to the loss of a step."""
        return None

    def stepped(self, step: int) -> None:
        """The optimiser has made this step (from 0); gradients are still there."""


class _Bare(Adapted):
    """No adapter: the encoder as it is."""

    def __init__(self, encoder: nn.Module) -> None:
        self.model = encoder

    def fresh(self, *name: object) -> Tensors:
        return {}

    def write(self, kept: Tensors) -> None:
        pass

    def read(self) -> Tensors:
        return {}

    def scale(self) -> float | None:
        return None


class _Principal(Adapted):
    """PiSSA: PEFT takes the first directions out of W. On W as it was the same numbers come from twice the rank."""

    def __init__(self, encoder: nn.Module, settings: PiSSA) -> None:
        places = adapters.adapted_linears(encoder, settings.linears, settings.live_layers)
        sides = [side for name in places for side in encoder.get_submodule(name).weight.shape]  # type: ignore[union-attr]
        if settings.rank > min(sides):
            raise UserError(
                "lora.rank has more directions than a linear", got=settings.rank, expected=f"≤ {min(sides)}"
            )
        super().__init__(encoder, settings, init_lora_weights="pissa")
        self._first = adapters.read(self.model)

    def fresh(self, *name: object) -> Tensors:
        return self._beside(self._first)

    def write(self, kept: Tensors) -> None:
        adapters.write(self.model, {name: np.split(value, 2, _side(name))[0] for name, value in kept.items()})

    def read(self) -> Tensors:
        return self._beside(adapters.read(self.model))

    def config(self) -> dict[str, Any]:
        assert isinstance(self.settings, PiSSA)
        rank, alpha = 2 * self.settings.rank, 2 * self.settings.alpha
        return super().config() | {"r": rank, "lora_alpha": alpha, "init_lora_weights": True}

    def _beside(self, trained: Tensors) -> Tensors:
        """LoRA of twice the rank whose update is that of ``trained`` less that of the first directions."""
        return adapters.beside([trained, self._first], [1.0, -1.0])


class _Allocated(Adapted):
    """AdaLoRA: PEFT cuts directions only if it is told of every step, and leaves the penalty to the loss of the caller."""

    def fresh(self, *name: object) -> Tensors:
        self._settings().rank_pattern = None
        return super().fresh(*name)

    def begin(self, steps: int) -> None:
        assert isinstance(self.settings, AdaLoRA)
        if steps < 2:
            raise FitError("AdaLoRA allocates its rank between two steps; raise recipe.min_steps to 2 or more")
        config = self._settings()
        config.total_step, config.rank_pattern = steps, None
        config.tinit, config.tfinal = int(self.settings.warm * steps), max(1, int(self.settings.settle * steps))
        self.model.base_model.rankallocator.reset_ipt()  # type: ignore[operator, union-attr]

    def penalty(self) -> Tensor | None:
        """Mean distance of A Aᵀ and Bᵀ B from the identity, Frobenius (a:2303.10512, eq. 4; not squared, as in PEFT)."""
        import torch

        assert isinstance(self.settings, AdaLoRA)
        apart = []
        for name, value in self.model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                square = value @ value.T if ".lora_A." in name else value.T @ value
                apart.append(torch.linalg.norm(square - torch.eye(len(square), device=square.device)))
        return self.settings.orthogonal * torch.stack(apart).mean()

    def stepped(self, step: int) -> None:
        self.model.base_model.update_and_allocate(step)  # type: ignore[operator, union-attr]

    def read(self) -> Tensors:
        config = self._settings()
        cut, config.rank_pattern = config.rank_pattern, None  # with it PEFT would leave out what was cut
        try:
            return super().read()
        finally:
            config.rank_pattern = cut

    def write(self, kept: Tensors) -> None:
        self._settings().rank_pattern = None
        super().write(kept)

    def config(self) -> dict[str, Any]:
        return super().config() | {"total_step": 1, "tinit": 0, "tfinal": 0, "rank_pattern": None}

    def _settings(self) -> Any:
        return self.model.peft_config["default"]  # type: ignore[index]


class _Whole(Adapted):
    """All weights. Kept are the tensors that changed; of tables (tokens, positions) the rows that did."""

    def __init__(self, encoder: nn.Module, settings: AllWeights) -> None:
        from torch import nn

        self.settings, self.model = settings, encoder.requires_grad_(True)
        self._frozen = self.weights()
        self._tables = {
            f"{name}.weight" for name, module in encoder.named_modules() if isinstance(module, nn.Embedding)
        }

    def fresh(self, *name: object) -> Tensors:
        return {}

    def write(self, kept: Tensors) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                value = self._frozen[name]
                if name + ROWS in kept:
                    value = value.copy()
                    value[kept[name + ROWS]] = kept[name]
                else:
                    value = kept.get(name, value)
                parameter.copy_(torch.from_numpy(np.asarray(value)))

    def read(self) -> Tensors:
        kept = {}
        for name, value in self.weights().items():
            changed = value != self._frozen[name]
            if name in self._tables and changed.any():
                kept[name + ROWS] = np.flatnonzero(changed.any(1))
                kept[name] = value[kept[name + ROWS]]
            elif changed.any():
                kept[name] = value
        return kept

    def weights(self) -> Tensors:
        return {name: value.detach().cpu().numpy().copy() for name, value in self.model.named_parameters()}

    def config(self) -> dict[str, Any]:
        raise UserError("full-finetune has no adapter that could be saved", expected="a method that trains one")

    def scale(self) -> float | None:
        return None


_KINDS: Final[Mapping[type, Callable[..., Adapted]]] = {PiSSA: _Principal, AdaLoRA: _Allocated, AllWeights: _Whole}


def make_adapted(encoder: nn.Module, settings: Adapter | None) -> Adapted:
    """An encoder, which is changed, with an adapter of these settings."""
    if settings is None:
        return _Bare(encoder)
    return _KINDS.get(type(settings), Adapted)(encoder, settings)


def peft_settings(settings: Adapter, encoder: nn.Module) -> dict[str, Any]:
    """Settings in PEFT's words, as they stand in ``adapter_config.json``."""
    if isinstance(settings, IA3):
        scaled, inputs = adapters.scaled_linears(encoder, settings.live_layers)
        return {"peft_type": "IA3", "target_modules": scaled, "feedforward_modules": inputs}
    assert isinstance(settings, LowRank)
    linears = adapters.adapted_linears(encoder, settings.linears, settings.live_layers)
    known: dict[str, Any] = {"target_modules": linears, "lora_alpha": settings.alpha}
    if isinstance(settings, AdaLoRA):
        return known | {"peft_type": "ADALORA", "init_r": settings.initial_rank, "target_r": settings.rank}
    flags = {"use_rslora": isinstance(settings, RsLoRA), "use_dora": isinstance(settings, DoRA)}
    return known | {"peft_type": "LORA", "r": settings.rank, **flags}


def _side(name: str) -> int:
    """The side of a tensor along which its ranks lie."""
    return 0 if ".lora_A." in name else 1
