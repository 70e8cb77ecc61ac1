"""Backbones ranked for a task by LogME on frozen features, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lowres.data import splits
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.models.backbone import NAMED, Backbone, is_kept
from lowres.scoring.logme import logme
from lowres.training.fit import Engine
from lowres.training.recipe import Recipe


@dataclass(frozen=True)
class Suited:
    """LogME of a backbone by domain, and the mean over the domains that it ranks by."""

    backbone: str
    parameters: int
    by_domain: dict[str, float]

    @property
    def mean(self) -> float:
        """Over the domains."""
        return float(np.mean(list(self.by_domain.values())))


def cached_backbones() -> list[str]:
    """Names of the catalogue that need no network."""
    return [name for name in NAMED if is_kept(name)]


def rank(
    task: Task, backbones: Iterable[Backbone], engine: Callable[[Backbone], Engine], rows: int, recipe: Recipe
) -> list[Suited]:
    """The best first. Looks at training rows only, the first ``rows`` of draw 0 of each domain that has some.

    Raises:
        UserError: Another kind of task, or no domain has training rows of two classes.
    """
    task.check_single("a ranking of backbones")
    parts = {
        name: splits.cap(task.name, domain.train, rows, 0) for name, domain in task.domains.items() if len(domain.train)
    }
    parts = {name: part for name, part in parts.items() if len(set(part.labels)) > 1}
    if not parts:
        raise UserError(f"no domain of {task.name} has training rows of two classes", hint="lowres tasks check TASK")
    place = {label: position for position, label in enumerate(task.labels)}
    found = []
    for backbone in backbones:
        own = engine(backbone)
        values = {
            name: logme(
                np.asarray(own.features(list(part.texts), recipe), dtype=np.float64),
                np.array([place[label] for label in part.labels], dtype=np.int64),
                len(task.labels),
            )
            for name, part in parts.items()
        }
        found.append(Suited(backbone.name, backbone.parameters, values))
    return sorted(found, key=lambda one: -one.mean)
