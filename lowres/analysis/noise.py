"""Labels that are probably wrong: rows whose given label a model that never saw them doubts.

Confident learning (Northcutt et al. 2021, arXiv 1911.00068) by cleanlab: a row is suspected where its probability of
another label reaches what rows of that label have on average. The probabilities are those of logistic regressions on
frozen features, from folds that keep groups together. No test row is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import Rows
from lowres.data.task import Domain, Task
from lowres.errors import UserError
from lowres.kinds import KINDS
from lowres.models.heads import softmax
from lowres.scoring.calibration import scaled, temperature
from lowres.scoring.metric import Probabilities, Targets
from lowres.training.closed_form import logistic
from lowres.training.fit import Engine
from lowres.training.recipe import Logistic, Recipe

FOLDS: Final = 5
"""Folds of the rows; a label needs so many groups of rows in a domain."""
REDRAWS: Final = 20
"""Times that labels are drawn from the probabilities, to count what chance alone would put under suspicion."""

Rule = Callable[[Targets, Probabilities], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Suspect:
    """A row whose label is doubted. That is no proof: it may as well be a hard text."""

    id: str
    domain: str
    part: str
    """``train`` or ``dev``."""
    text: str
    label: str
    suggested: str
    """The label that the domain's model finds most probable."""
    probability: float
    """Of the suggested label."""
    label_probability: float
    """Of the given label."""
    agreed: bool | None
    """Whether the model of all domains doubts it too; None where there is one domain."""


@dataclass(frozen=True)
class Doubted:
    """What was found in one domain."""

    domain: str
    rows: int
    """Rows that were looked at."""
    too_few: Mapping[str, int]
    """Rows of the labels that have too few groups to be looked at."""
    suspects: tuple[Suspect, ...]
    """The worst first: those that the model of all domains doubts too, and of these those it is surest of."""
    by_chance: float
    """How many the same rule would suspect if each label were drawn from the model's calibrated probabilities: right as
    often as the model expects, and wrong at random."""

    @property
    def share(self) -> float:
        """Of the rows that were looked at; 0 where there are none."""
        return len(self.suspects) / max(1, self.rows)


def find_suspects(task: Task, engine: Engine, recipe: Recipe) -> list[Doubted]:
    """Suspected labels among the train and dev rows of each domain.

    Args:
        task: One label a text.
        engine: Gives the frozen features.
        recipe: Length limit and normalisation of the features.

    Raises:
        UserError: Another kind of task, cleanlab is not installed, or no domain has enough rows of two labels.
    """
    kind = KINDS[task.kind]
    if not kind.single:
        raise UserError(
            "wrong labels are only looked for where a text has one label",
            got=f"type {task.kind} ({kind.title})",
            expected="type classification or pair",
        )
    rule = _cleanlab()
    seen = {name: _Seen.of(domain, task.labels) for name, domain in task.domains.items()}
    able = {name: one for name, one in seen.items() if len(one.labels) > 1}
    if not able:
        raise UserError(
            f"no domain of {task.name} has enough rows to doubt a label",
            expected=f"two labels or more, each with {FOLDS} rows (or groups of rows) in train and dev",
        )
    features = {name: engine.features(list(one.rows.texts), recipe) for name, one in able.items()}
    everywhere = _everywhere(task, able, features) if len(able) > 1 else {}
    found = []
    for name, one in seen.items():
        if name not in able:
            found.append(Doubted(name, 0, one.too_few, (), 0.0))
            continue
        state = seeds.number("noise", task.name, name)
        own = unseen(features[name], one.targets, one.rows.groups, len(one.labels), state)
        order = rule(one.targets, own)
        others = set(rule(one.targets, everywhere[name]).tolist()) if everywhere else None
        suspects = list(one.suspects(order, own, others))
        rng = seeds.generator("noise-chance", task.name, name)
        found.append(
            Doubted(
                name,
                len(one.rows),
                one.too_few,
                tuple(sorted(suspects, key=lambda suspect: not suspect.agreed)),
                by_chance(one.targets, own, rule, rng),
            )
        )
    return found


def unseen(
    features: npt.NDArray[np.float32], targets: Targets, groups: Sequence[str], classes: int, seed: int
) -> Probabilities:
    """Probabilities of every row from a logistic regression on the folds that it is not in, [rows, classes].

    Args:
        features: [rows, hidden].
        targets: Label positions, [rows].
        groups: What stays in one fold, [rows].
        classes: Number of classes.
        seed: Of the folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.zeros((len(targets), classes), dtype=np.float32)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    for fitted, held in folds.split(features, targets, np.asarray(groups)):
        head = logistic(features[fitted], targets[fitted], classes, Logistic().C)
        found[held] = softmax(features[held] @ head["weight"].T + head["bias"])
    return found


def by_chance(targets: Targets, probabilities: Probabilities, rule: Rule, rng: np.random.Generator) -> float:
    """Mean number of rows under suspicion where labels are drawn from the probabilities at their best temperature."""
    drawn_from = scaled(probabilities, temperature(targets, probabilities)).cumsum(axis=1)
    counts = []
    for _ in range(REDRAWS):
        drawn = (rng.random((len(targets), 1)) > drawn_from[:, :-1]).sum(axis=1)
        counts.append(len(rule(drawn, probabilities)))
    return float(np.mean(counts))


@dataclass(frozen=True, eq=False)
class _Seen:
    """The train and dev rows of a domain whose labels have enough groups."""

    rows: Rows
    parts: tuple[str, ...]
    labels: tuple[str, ...]
    too_few: Mapping[str, int]

    @classmethod
    def of(cls, domain: Domain, labels: Sequence[str]) -> _Seen:
        train, dev = domain.train, domain.dev
        rows = Rows(
            domain.name,
            (*train.ids, *dev.ids),
            (*train.texts, *dev.texts),
            (*train.labels, *dev.labels),
            (*train.groups, *dev.groups),
        )
        places = rows.by_label()
        groups = {label: len({rows.groups[place] for place in own}) for label, own in places.items()}
        enough = tuple(label for label in labels if groups.get(label, 0) >= FOLDS)
        kept = [place for place, label in enumerate(rows.labels) if label in enough]
        parts = ("train",) * len(train) + ("dev",) * len(dev)
        return cls(
            rows.take(kept),
            tuple(parts[place] for place in kept),
            enough,
            {label: len(places[label]) for label in labels if label in places and label not in enough},
        )

    @cached_property
    def targets(self) -> Targets:
        """Positions among the labels that are looked at, [rows]."""
        return np.array([self.labels.index(label) for label in self.rows.labels], dtype=np.int64)

    def suspects(self, order: npt.NDArray[np.int64], own: Probabilities, others: set[int] | None) -> Iterator[Suspect]:
        """The rows at these places."""
        for place in order:
            best = int(own[place].argmax())
            yield Suspect(
                self.rows.ids[place],
                self.rows.domain,
                self.parts[place],
                self.rows.texts[place],
                self.rows.labels[place],
                self.labels[best],
                round(float(own[place, best]), 4),
                round(float(own[place, self.targets[place]]), 4),
                None if others is None else int(place) in others,
            )


def _everywhere(
    task: Task, seen: Mapping[str, _Seen], features: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, Probabilities]:
    """By domain, probabilities of the labels it is looked at for, from models of the rows of all domains."""
    labels = [label for one in seen.values() for label in one.rows.labels]
    found = unseen(
        np.concatenate([features[name] for name in seen]),
        np.array([task.labels.index(label) for label in labels], dtype=np.int64),
        [group for one in seen.values() for group in one.rows.groups],
        len(task.labels),
        seeds.number("noise", task.name),
    )
    by_domain, begin = {}, 0
    for name, one in seen.items():
        own = found[begin : begin + len(one.rows), [task.labels.index(label) for label in one.labels]]
        by_domain[name] = own / np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
        begin += len(one.rows)
    return by_domain


def _cleanlab() -> Rule:
    """Places of the suspected rows, those with the widest margin first."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise UserError("to doubt labels needs cleanlab", got=error, hint="pip install 'lowres[noise]'") from None

    def rule(targets: Targets, probabilities: Probabilities) -> npt.NDArray[np.int64]:
        found: Any = find_label_issues(
            targets,
            probabilities,
            filter_by="confident_learning",
            return_indices_ranked_by="normalized_margin",
            n_jobs=1,
        )
        return np.asarray(found, dtype=np.int64)

    return rule
