"""Settings that belong to one method or a few: defaults, bounds, and what differs from them.

They reach a fit only through its objective, rows, weights or recipe, so a default adds nothing to any key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Final

from lowres.settings import as_dict
from lowres.training.recipe import MMD, Contrastive, Coral, Dann, Logistic, SimCSE

DEFAULT: Final = ("source-only", "target-full", "target-only", "probe", "source-then-target")
"""Methods of a study that names none."""


@dataclass(frozen=True)
class Joint:
    """Of ``joint``."""

    target_share: float = 0.5
    """Of the loss and of every batch that the target shots have."""


@dataclass(frozen=True)
class Interpolate:
    """Of ``interpolate``."""

    target_weight: float = 0.5
    """Of the fit that went on with the target shots; the rest is the fit on the source."""


@dataclass(frozen=True)
class Soup:
    """Of ``soup``."""

    orders: int = 3
    """Fits that are averaged."""


@dataclass(frozen=True)
class Meta:
    """Of ``meta``."""

    turns: int = 4
    """Outer steps."""
    inner_steps: int = 20
    """Optimiser steps of every inner fit."""
    inner_shots: int = 16
    """Rows a class of every inner fit."""


@dataclass(frozen=True)
class SelfTrain:
    """Of ``self-train``."""

    share: float = 0.5
    """Of the unlabelled rows that are kept with a pseudo-label, at the most."""


@dataclass(frozen=True)
class SelectSource:
    """Of ``select-source``."""

    share: float = 0.5
    """Of the source rows of each class that are kept."""


@dataclass(frozen=True)
class MethodSettings:
    """One group a method; ``logistic`` is that of all heads by logistic regression."""

    contrastive: Contrastive = field(default_factory=Contrastive)
    coral: Coral = field(default_factory=Coral)
    dann: Dann = field(default_factory=Dann)
    interpolate: Interpolate = field(default_factory=Interpolate)
    joint: Joint = field(default_factory=Joint)
    logistic: Logistic = field(default_factory=Logistic)
    meta: Meta = field(default_factory=Meta)
    mmd: MMD = field(default_factory=MMD)
    select_source: SelectSource = field(default_factory=SelectSource)
    self_train: SelfTrain = field(default_factory=SelfTrain)
    soup: Soup = field(default_factory=Soup)
    tapt: SimCSE = field(default_factory=SimCSE)

    def changed(self) -> dict[str, Any]:
        """The settings that are not the default, by their path."""
        return {
            f"{group.name}.{name}": value
            for group in fields(self)
            for name, value in as_dict(getattr(self, group.name)).items()
            if value != getattr(getattr(DEFAULTS, group.name), name)
        }

    def faults(self) -> list[str]:
        """What is out of bounds, in plain words."""
        return [
            f"method.{path}: got {value}, expected {said}"
            for path, value in self.changed().items()
            for fine, said in [BOUNDS[path.rpartition(".")[2]]]
            if not (math.isfinite(value) and fine[0] <= value <= fine[1])
        ]


DEFAULTS: Final = MethodSettings()
_SHARE = ((0.01, 0.99), "0.01 to 0.99")
BOUNDS: Final[dict[str, tuple[tuple[float, float], str]]] = {
    "C": ((1e-6, 1e6), "1e-6 to 1e6"),
    "inner_shots": ((1, 1000), "1 to 1000"),
    "inner_steps": ((1, 1000), "1 to 1000"),
    "orders": ((2, 50), "2 to 50"),
    "share": ((0.01, 1.0), "0.01 to 1"),
    "target_share": _SHARE,
    "target_weight": _SHARE,
    "temperature": ((1e-3, 10.0), "0.001 to 10"),
    "turns": ((1, 100), "1 to 100"),
    "weight": ((0.0, 1e6), "0 to 1e6"),
}
"""Least and most of a setting by its name, whatever the method."""
