"""What one training is: rows, start, objective, adapter, recipe and seed, and the key they make together.

A fit is a value: two fits with the same content are the same fit, wherever they come from. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import Rows, Spread
from lowres.kinds import KINDS
from lowres.training.check import Check
from lowres.training.picks import PseudoLabels, Resembling, Rules
from lowres.training.recipe import (
    ADAPTER_ONLY,
    BY_GRADIENT,
    LOOP_ADAPTERS,
    Adapter,
    Average,
    CrossEntropy,
    LoRA,
    MaskedLM,
    MostFrequent,
    Objective,
    Recipe,
    SimCSE,
    Words,
)

if TYPE_CHECKING:
    from lowres.models.backbone import Backbone

SCHEMA = 2
"""Raised whenever a change of the code may change a trained number."""

STOCK: Final = "stock"
"""The engine that trains stock heads, as it stands in keys."""
Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a fit and the share of the loss (and of every batch) that they have.

    Rows without labels have a share of the batch, and of the loss only what the objective gives them. A share of 0: rows
    that are held out of training, for a check.
    """

    rows: Rows
    share: float = 1.0
    by: PseudoLabels | Resembling | Rules | None = None
    """Which of the rows, and with which labels, another fit or rules decide; None: all of them as they are."""

    @property
    def size(self) -> int:
        """Rows that are trained on; where others decide, as many as they may keep."""
        return 0 if self.share == 0 else len(self.rows) if self.by is None else self.by.keeps(self.rows)


@dataclass(frozen=True, eq=False)
class Fit:
    """One training of one adapter and head, as a value.

    ``start`` is the representation it starts from: None for the study's backbone, another fit (whose adapter and head
    go on with a fresh optimiser; from a frozen one the head alone), or ``Words``. ``adapter`` None keeps the backbone
    frozen. ``ingredients`` are the fits that an ``Average`` is made of. ``replica`` names a further order of the same rows.
    """

    parts: tuple[Part, ...]
    labels: tuple[str, ...]
    task: str
    draw: int
    start: Fit | Words | None = None
    objective: Objective = field(default_factory=CrossEntropy)
    adapter: Adapter | None = field(default_factory=LoRA)
    recipe: Recipe = field(default_factory=Recipe)
    ingredients: tuple[Fit, ...] = ()
    replica: int = 0
    known_as: str | None = None
    """The content of the expression that this fit is, after other fits decided on its rows."""

    def __post_init__(self) -> None:
        start = self.start
        if isinstance(start, Fit) and start.adapter is not None and self.adapter != start.adapter:
            raise ValueError("a fit that starts from another goes on with its adapter")
        if isinstance(self.objective, ADAPTER_ONLY) and self.adapter is None:
            raise ValueError("a contrastive fit trains nothing but an adapter")
        if isinstance(start, Words) and self.uses_gradients:
            raise ValueError("words have no gradient")
        if isinstance(self.objective, Average) != bool(self.ingredients) or bool(self.ingredients) == bool(self.parts):
            raise ValueError("an average has ingredients and no rows, every other fit has rows")

    @property
    def uses_gradients(self) -> bool:
        """Whether an engine trains it; the others have a closed form or an exact solver."""
        return isinstance(self.objective, BY_GRADIENT)

    @property
    def is_encoder(self) -> bool:
        """Whether it answers as adapter and linear head on the backbone."""
        return self.uses_gradients or self.adapter is not None

    @property
    def reads_backbone(self) -> bool:
        """Whether its numbers depend on the backbone."""
        return not isinstance(self.start, Words) and not isinstance(self.objective, MostFrequent)

    @property
    def kind(self) -> str:
        """The kind of its rows, or of those of its ingredients."""
        return self.parts[0].rows.kind if self.parts else self.ingredients[0].kind

    @property
    def outputs(self) -> int:
        """Numbers that its head gives."""
        return len(self.heads)

    @property
    def heads(self) -> tuple[str, ...]:
        """What each of them stands for: the labels, or the place on a scale."""
        return ("place",) if KINDS[self.kind].answer == "value" else self.labels

    @property
    def needs_loop(self) -> bool:
        """Whether the plain engine trains and answers it, whichever engine was asked for."""
        return isinstance(self.adapter, LOOP_ADAPTERS) or isinstance(self.objective, MaskedLM)

    @property
    def has_head(self) -> bool:
        """Whether what comes out of it tells labels apart."""
        return not isinstance(self.objective, ADAPTER_ONLY)

    @property
    def takes_head(self) -> bool:
        """Whether it goes on with the head of its start, in the labels that both have; from one that trains none, or
        other labels alone, it begins with a fresh one.
        """
        start = self.start
        return isinstance(start, Fit) and start.has_head and bool(set(start.labels) & set(self.labels))

    @property
    def needs(self) -> tuple[Fit, ...]:
        """The fits that have to be there before this one: its start, its ingredients, and those that decide on its rows."""
        start = (self.start,) if isinstance(self.start, Fit) else ()
        asked = (part.by.asked for part in self.parts if part.by is not None)
        return (*start, *self.ingredients, *(fit for fit in asked if fit is not None))

    @property
    def size(self) -> int:
        """Number of rows that are trained on."""
        return sum(part.size for part in self.parts)

    @property
    def steps(self) -> int:
        """Optimiser steps; 0 where no gradient is used."""
        return self.recipe.steps(self.size) if self.uses_gradients else 0

    @property
    def texts(self) -> list[str]:
        """The texts of all parts, in order."""
        return [text for part in self.parts for text in part.rows.texts]

    @cached_property
    def targets(self) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
        """What its units are, as ``Rows.targets`` says, [units] or [units, labels]; of two views of a text its number."""
        if isinstance(self.objective, SimCSE):
            return np.concatenate([np.arange(len(part.rows), dtype=np.int64) for part in self.parts])
        return np.concatenate([part.rows.targets(self.labels) for part in self.parts])

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Units of each row, [rows]."""
        return np.concatenate([part.rows.sizes for part in self.parts])

    @cached_property
    def _units(self) -> Spread:
        return Spread(self.sizes)

    def spread(
        self, rows: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The units of some rows and their weights: each unit of a row has the same share of the row's, [units] each."""
        if self.units_are_rows:
            return rows, weights
        sizes = self.sizes[rows]
        return self._units.units(rows), np.repeat(weights / sizes, sizes)

    @property
    def units_are_rows(self) -> bool:
        """Whether each row has one answer."""
        return KINDS[self.kind].unit == "text"

    @cached_property
    def part_of(self) -> npt.NDArray[np.int64]:
        """Which part each row belongs to, [rows]."""
        return np.repeat(np.arange(len(self.parts)), [len(part.rows) for part in self.parts])

    @cached_property
    def unit_weights(self) -> npt.NDArray[np.float64]:
        """Weight of each unit for solvers that see all at once: mean 1, each part its share, [units]."""
        shares = np.array([part.share for part in self.parts])
        shares = shares / shares.sum()
        units = [part.rows.units for part in self.parts]
        total = sum(one for one, part in zip(units, self.parts, strict=True) if part.share)
        return np.concatenate([np.full(one, share * total / one) for one, share in zip(units, shares, strict=True)])

    def decided(self, answers: Mapping[str, npt.NDArray[np.float32]]) -> tuple[Fit, tuple[Check, ...]]:
        """This fit with the rows that other fits or rules decided on, and the checks of what they decided.

        Args:
            answers: Probabilities [rows, labels] of each deciding fit on the rows of its part, by the rows' fingerprint
                and the fit's content.
        """
        checks: list[Check] = []
        parts = []
        for part in self.parts:
            if part.by is not None:
                if isinstance(part.by, PseudoLabels | Resembling):
                    rows, found = part.by.pick(part.rows, answers[f"{part.rows.fingerprint} {part.by.asked.content}"])
                else:
                    rows, found = part.by.pick(part.rows)
                checks += found
                part = Part(rows, part.share)
            parts.append(part)
        return replace(self, parts=tuple(parts), known_as=self.content), tuple(checks)

    def spec(self) -> dict[str, Any]:
        """Everything that may change its numbers, as JSON-like data; a start is named by its content."""
        start: object = None
        if isinstance(self.start, Fit):
            start = {"fit": self.start.content}
        elif isinstance(self.start, Words):
            start = {"words": asdict(self.start)}
        return {
            "schema": SCHEMA,
            "parts": [
                {
                    "domain": part.rows.domain,
                    "rows": len(part.rows),
                    "content": part.rows.fingerprint,
                    "share": part.share,
                    **({} if part.by is None else part.by.spec()),
                }
                for part in self.parts
            ],
            "labels": list(self.labels),
            "init": [self.task, self.draw],
            "start": start,
            "objective": {type(self.objective).__name__: asdict(self.objective)},
            "adapter": None if self.adapter is None else {type(self.adapter).__name__: asdict(self.adapter)},
            "recipe": self._recipe_spec(),
            **({} if KINDS[self.kind].single else {"kind": self.kind}),
            **({"replica": self.replica} if self.replica else {}),
            **({"ingredients": [one.content for one in self.ingredients]} if self.ingredients else {}),
        }

    def _recipe_spec(self) -> dict[str, Any]:
        """The part of the recipe that steers this fit."""
        whole = self.recipe.spec()
        if self.uses_gradients:
            return whole
        reading = ("max_length", "normalise", "truncation")
        return {name: whole[name] for name in reading if name in whole} if self.reads_backbone else {}

    @cached_property
    def content(self) -> str:
        """Hash of the spec. Backbone, engine and precision come on top in ``key``."""
        return self.known_as or seeds.digest("fit", self.spec())

    def key(self, environment: Environment) -> str:
        """The name under which the store keeps it."""
        return seeds.digest("key", self.content, environment.of(self))

    def lineage(self) -> list[Fit]:
        """Every distinct fit that has to be trained for this one, what is needed first, this one last."""
        found: dict[str, Fit] = {}

        def visit(fit: Fit) -> None:
            if fit.content not in found:
                for need in fit.needs:
                    visit(need)
                found[fit.content] = fit

        visit(self)
        return list(found.values())

    @property
    def rows_trained(self) -> int:
        """Rows of this fit and of all that it rests on."""
        return sum(fit.size for fit in self.lineage())

    def batches(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        """Row positions and loss weights (of labelled rows, summing to 1) of every step: pure, so that all engines see
        the same batches.

        Every part gives its share of the rows of a batch, in passes over its own rows without replacement; both views of
        a text come together. The rows of a part weigh the same, those of words as much as they have words.
        """
        rng = seeds.generator("order", self.content, self.draw)
        if isinstance(self.objective, SimCSE):
            return self._views(rng)
        shares = np.array([part.share for part in self.parts])
        shares = shares / shares.sum()
        labelled = np.array([not part.rows.unlabelled for part in self.parts])
        weights = np.where(labelled, shares, 0.0)
        weights = weights / max(weights.sum(), 1e-12)
        streams, offset = [], 0
        for part, share, weight in zip(self.parts, shares, weights, strict=True):
            if share:
                take = max(1, min(len(part.rows), round(self.recipe.batch * share)))
                streams.append((self._stream(rng, len(part.rows), take) + offset, take, weight))
            offset += len(part.rows)
        return [
            (
                np.concatenate([stream[step * take : (step + 1) * take] for stream, take, _ in streams]),
                np.concatenate(
                    [self._weighed(stream[step * take : (step + 1) * take], weight) for stream, take, weight in streams]
                ),
            )
            for step in range(self.steps)
        ]

    def _weighed(self, rows: npt.NDArray[np.int64], weight: float) -> npt.NDArray[np.float64]:
        """The weight of a part on the rows that it gives to a batch."""
        if self.units_are_rows:
            return np.full(len(rows), weight / len(rows))
        sizes = self.sizes[rows]
        return np.asarray(weight * sizes / sizes.sum())

    def _views(self, rng: np.random.Generator) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        rows = len(self.parts[0].rows)
        take = min(rows, self.recipe.batch // 2)
        stream = self._stream(rng, rows, take)
        own = [stream[step * take : (step + 1) * take] for step in range(self.steps)]
        return [(np.concatenate([places, places + rows]), np.full(2 * take, 0.5 / take)) for places in own]

    def _stream(self, rng: np.random.Generator, rows: int, take: int) -> npt.NDArray[np.int64]:
        """Passes over so many rows, enough for ``take`` of them in every step."""
        return np.concatenate([rng.permutation(rows) for _ in range(math.ceil(take * self.steps / rows))])


@dataclass(frozen=True)
class Environment:
    """What besides the fit itself may change a number: part of the key."""

    backbone: str
    """Fingerprint of the backbone's weights, configuration, tokenizer and pooling."""
    engine: str
    """The one that was asked for; ``of`` names the one that trains."""
    precision: str
    """The resolved precision, ``fp32`` or ``bf16``."""
    numerics: str
    """Minor versions of the libraries that compute."""

    def of(self, fit: Fit) -> dict[str, str]:
        """The parts that matter for this fit."""
        if not fit.reads_backbone:
            return {"numerics": self.numerics}
        if not fit.needs_loop or self.engine == STOCK:
            return asdict(self)
        below = {self.engine for need in fit.lineage() if need.reads_backbone and not need.needs_loop} - {"loop"}
        return asdict(self) | {"engine": "loop"} | ({"below": ", ".join(below)} if below else {})


@dataclass(frozen=True)
class Fitted:
    """What came out of a fit: numpy arrays under the names of PEFT and of the head.

    ``words`` is the vocabulary of word-based floors, in column order.
    """

    adapter: Tensors
    head: Tensors
    log: tuple[Mapping[str, float], ...] = ()
    checks: tuple[Check, ...] = ()
    seconds: float = 0.0
    words: tuple[str, ...] = ()


class Engine(Protocol):
    """Trains fits and gives their probabilities. Plural is the primitive."""

    name: str
    backbone: Backbone
    """The frozen encoder."""
    at_once: int
    """How many fits it likes to be handed at once."""
    notice: str | None
    """What the user should know of how it works here, or None."""

    def fit_many(self, fits: list[Fit], starts: Mapping[str, Fitted]) -> Iterator[tuple[Fit, Fitted | Exception]]:
        """Trains fits whose starts are ready; one that fails does not stop the others.

        Args:
            fits: Fits without dependence on one another.
            starts: What came out of the fits they start from, by content.
        """
        ...

    def features(
        self, texts: list[str], recipe: Recipe, under: tuple[Fit, Fitted] | None = None
    ) -> npt.NDArray[np.float32]:
        """Vectors of the frozen backbone, or ``under`` the adapter of a trained fit, one a text or, where the texts are
        lists of words, one a word, [units, hidden].
        """
        ...

    def predict(self, fit: Fit, fitted: Fitted, texts: list[str]) -> npt.NDArray[np.float32]:
        """Answers as of ``heads.answers``, [units, outputs]."""
        ...

    def adapter_config(self, fit: Fit) -> dict[str, Any] | None:
        """The content of PEFT's ``adapter_config.json`` for a fit's adapter; None for a frozen backbone."""
        ...
