"""Ways to make a fitted model smaller or faster. Each takes a model and texts without labels, and gives another model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowres.errors import UserError, unknown_name
from lowres.export import cutting, exits, factors
from lowres.export.teaching import Teaching, Told, taught
from lowres.export.whole import with_encoder
from lowres.models.classifier import Classifier
from lowres.models.shaped import COMPUTED
from lowres.settings import shown

if TYPE_CHECKING:
    from torch import nn


HALF = 0.5
"""Share of the operations that early exits leave where nothing else is said."""


@dataclass(frozen=True)
class Distil(Teaching):
    """A student with fewer layers, or narrower ones, learns from the model (TinyBERT, a:1909.10351)."""

    layers: int | None = None
    """Layers of the student; default: half."""
    width: int | None = None
    """Width of its vectors, a multiple of the size of a head; default: as wide."""


@dataclass(frozen=True)
class Prune(Teaching):
    """The heads and inner neurons that matter least are cut (a:1905.10650), and what is left learns from the model."""

    heads: float = 0.5
    """Share of the attention heads that is kept."""
    neurons: float = 0.5
    """Share of the inner neurons of the layers that is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _share("heads", self.heads)
        _share("neurons", self.neurons)


@dataclass(frozen=True)
class LowRank(Teaching):
    """Each linear becomes the product of two smaller ones, where that is smaller, and learns from the model."""

    energy: float = 0.9
    """Share of the energy of a linear's outputs that its rank keeps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _share("energy", self.energy)


@dataclass(frozen=True)
class Quantise:
    """Weights as whole numbers of eight bits."""

    bits: str = "dynamic"
    """weights: on disk only; dynamic: products in eight bits too, which is faster and less exact."""

    def __post_init__(self) -> None:
        if self.bits not in COMPUTED:
            raise unknown_name("way to compute with eight bits", self.bits, COMPUTED)


@dataclass(frozen=True)
class EarlyExit:
    """A head on every layer learns what the last one says; a text leaves where one is sure (FastBERT, a:2004.02178)."""

    flops: float | None = None
    """Share of the operations that is left on average, on texts like those given; default: a half, without a speed."""
    speed: float | None = None
    """Uncertainty below which a text leaves, 0 to 1, in place of flops."""

    @property
    def asked(self) -> float:
        """Share of the operations that is asked for, without a speed."""
        return self.flops or HALF

    def __post_init__(self) -> None:
        if self.flops is not None:
            _share("flops", self.flops)
            if self.speed is not None:
                raise UserError("flops and speed are two ways to say the same", expected="one of them")
        if self.speed is not None and not 0 <= self.speed <= 1:
            raise UserError("no such speed", got=self.speed, expected="0 (every layer) to 1 (the first)")


def _share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise UserError(f"{name} is out of range", got=value, expected="above 0, at most 1")


Settings = Distil | Prune | LowRank | Quantise | EarlyExit


def distil(model: Classifier, settings: Distil, texts: Sequence[str], place: Path, told: Told) -> Classifier:
    """The student."""
    teacher = model.merged()
    student, config = cutting.student(teacher, settings.layers, settings.width)
    name = ("distil", model.backbone.weights_sha256, config["layers"], config["width"])
    head = taught(student, teacher, model, texts, settings, name, told)
    return with_encoder(model, student, place, what=f"{config['layers']} layers", config=config["changed"], head=head)


def prune(model: Classifier, settings: Prune, texts: Sequence[str], place: Path, told: Told) -> Classifier:
    """The model without some heads and neurons."""
    teacher = model.merged()
    student = copy.deepcopy(teacher)
    cutting.prune(student, model, texts, settings.heads, settings.neurons)
    return _mended(model, student, teacher, settings, texts, place, "pruned", told)


def lowrank(model: Classifier, settings: LowRank, texts: Sequence[str], place: Path, told: Told) -> Classifier:
    """The model with linears of two factors."""
    teacher = model.merged()
    student = copy.deepcopy(teacher)
    if not factors.factorise(student, model, texts, settings.energy):
        raise UserError(
            "no linear becomes smaller as a product of two",
            got=f"energy {settings.energy:g}",
            hint="try a lower --energy",
        )
    return _mended(model, student, teacher, settings, texts, place, "low rank", told)


def quantise(model: Classifier, settings: Quantise, texts: Sequence[str], place: Path, told: Told) -> Classifier:
    """The model with weights of eight bits."""
    return with_encoder(model, model.merged(), place, what="eight bits", eight_bits=settings.bits)


def early_exit(model: Classifier, settings: EarlyExit, texts: Sequence[str], place: Path, told: Told) -> Classifier:
    """The model with a head on every layer."""
    plain = with_encoder(model, model.merged(), place, what="merged")
    heads = exits.learned(plain, texts)
    ready = replace(plain, exits=heads, speed=1.0)
    speed = exits.speed_for(ready, texts, settings.asked) if settings.speed is None else settings.speed
    return replace(ready, speed=speed)


def _mended(
    model: Classifier,
    student: nn.Module,
    teacher: nn.Module,
    settings: Teaching,
    texts: Sequence[str],
    place: Path,
    what: str,
    told: Told,
) -> Classifier:
    head: Any = model.head
    if settings.epochs:
        head = taught(student, teacher, model, texts, settings, (what, model.backbone.weights_sha256), told)
    return with_encoder(model, student, place, what=what, head=head)


@dataclass(frozen=True)
class Method:
    """A way to shrink a model, and its settings."""

    settings: Callable[..., Settings]
    act: Callable[[Classifier, Any, Sequence[str], Path, Told], Classifier]

    @property
    def summary(self) -> str:
        """Its sentence."""
        return (self.settings.__doc__ or "").strip().splitlines()[0]

    def options(self) -> tuple[str, ...]:
        """Names of its settings."""
        return tuple(item.name for item in fields(self.settings))  # type: ignore[arg-type]


METHODS: dict[str, Method] = {
    "distil": Method(Distil, distil),
    "prune": Method(Prune, prune),
    "quantise": Method(Quantise, quantise),
    "lowrank": Method(LowRank, lowrank),
    "early-exit": Method(EarlyExit, early_exit),
}
"""All by name."""


def settings_of(method: str, given: Mapping[str, object]) -> Settings:
    """The settings of a method, with these given.

    Raises:
        UserError: An unknown method, a setting that it does not have, or a value out of range.
    """
    if method not in METHODS:
        raise unknown_name("compression", method, METHODS)
    found = METHODS[method]
    for name in given:
        if name not in found.options():
            raise UserError(f"{method} has no setting {shown(name)}", expected=", ".join(found.options()))
    return found.settings(**given)
