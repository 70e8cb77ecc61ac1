"""What one training is: rows, start, objective, adapter, recipe and seed, and the key they make together.

A fit is a value: two fits with the same content are the same fit, wherever they come from. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import Rows

if TYPE_CHECKING:
    from lowres.models.backbone import Backbone

SCHEMA = 2
"""Raised whenever a change of the code may change a trained number."""

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapter (Hu et al. 2021, a:2106.09685): W + alpha/rank · B A, with W frozen."""

    rank: int = 8
    alpha: int = 16
    linears: str = "query-value"
    """Which linears of a layer are adapted: ``query-value``, ``attention`` (with its output) or ``all``."""
    live_layers: int | None = None
    """Only the top so many layers are adapted; None: all of them."""


@dataclass(frozen=True)
class Recipe:
    """How the optimiser walks; the same for all methods, fixed beforehand."""

    learning_rate: float = 1e-3
    """Peak rate of the adapter (AdamW, no weight decay)."""
    head_learning_rate: float = 3e-2
    """Peak rate of the classification head."""
    batch: int = 16
    """Rows a step."""
    min_steps: int = 60
    """Steps of a small fit."""
    epochs: float = 3.0
    """Passes over the rows where that makes more steps than ``min_steps``."""
    warmup: float = 0.1
    """Share of the steps in which the rate rises linearly; it then falls linearly to zero."""
    max_length: int = 128
    """Tokens kept of a text; the rest is cut off and counted."""
    normalise: bool = True
    """Whether the pooled vector is scaled to length 1 before the head."""

    def steps(self, rows: int) -> int:
        """Optimiser steps for a fit of so many rows."""
        return max(self.min_steps, math.ceil(self.epochs * rows / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """Factor on the peak rate at 0-based ``step`` of ``steps``: linear warm-up, then linear decay."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return (step + 1) / rising
        return (steps - step) / max(1, steps - rising)


@dataclass(frozen=True)
class CrossEntropy:
    """Gradient descent on the cross-entropy of a linear head over pooled features."""


@dataclass(frozen=True)
class Contrastive:
    """Gradient descent on the adapter alone, so that vectors of one class lie together (Khosla et al. 2020)."""

    temperature: float = 0.1
    """Of the similarities; a smaller one looks at the nearest rows more."""


@dataclass(frozen=True)
class Logistic:
    """L2-regularised multinomial logistic regression, solved to convergence, on a fixed representation."""

    C: float = 1.0
    """Inverse strength of the penalty, as in scikit-learn."""


@dataclass(frozen=True)
class Tree:
    """A small decision tree, on word features."""

    max_depth: int = 4


@dataclass(frozen=True)
class MostFrequent:
    """Class frequencies of the rows, whatever the text."""


@dataclass(frozen=True)
class Words:
    """TF-IDF of word unigrams and bigrams, fitted on the rows of the fit."""

    ngrams: int = 2
    max_features: int = 20_000


BY_GRADIENT = (CrossEntropy, Contrastive)
Objective = CrossEntropy | Contrastive | Logistic | Tree | MostFrequent


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a fit and the share of the loss (and of every batch) that they have."""

    rows: Rows
    share: float = 1.0


@dataclass(frozen=True, eq=False)
class Fit:
    """One training of one adapter and head, as a value.

    ``start`` is the representation it starts from: None for the study's backbone, another fit (whose adapter and head
    go on with a fresh optimiser), or ``Words``. ``adapter`` None keeps the backbone frozen.
    """

    parts: tuple[Part, ...]
    labels: tuple[str, ...]
    task: str
    draw: int
    start: Fit | Words | None = None
    objective: Objective = field(default_factory=CrossEntropy)
    adapter: LoRA | None = field(default_factory=LoRA)
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        if isinstance(self.start, Fit) and (not self.uses_gradients or self.adapter != self.start.adapter):
            raise ValueError("a fit that starts from another goes on with its adapter, by gradient descent")
        if isinstance(self.objective, Contrastive) and self.adapter is None:
            raise ValueError("a contrastive fit trains nothing but an adapter")
        if isinstance(self.start, Words) and self.uses_gradients:
            raise ValueError("words have no gradient")

    @property
    def uses_gradients(self) -> bool:
        """Whether an engine trains it; the others have a closed form or an exact solver."""
        return isinstance(self.objective, BY_GRADIENT)

    @property
    def reads_backbone(self) -> bool:
        """Whether its numbers depend on the backbone."""
        return not isinstance(self.start, Words) and not isinstance(self.objective, MostFrequent)

    @property
    def size(self) -> int:
        """Number of rows."""
        return sum(len(part.rows) for part in self.parts)

    @property
    def steps(self) -> int:
        """Optimiser steps; 0 where no gradient is used."""
        return self.recipe.steps(self.size) if self.uses_gradients else 0

    @property
    def texts(self) -> list[str]:
        """The texts of all parts, in order."""
        return [text for part in self.parts for text in part.rows.texts]

    @cached_property
    def targets(self) -> npt.NDArray[np.int64]:
        """Label positions of all rows, [rows]."""
        position = {label: index for index, label in enumerate(self.labels)}
        return np.array([position[label] for part in self.parts for label in part.rows.labels], dtype=np.int64)

    @cached_property
    def row_weights(self) -> npt.NDArray[np.float64]:
        """Weight of each row for solvers that see all rows at once: mean 1, each part its share, [rows]."""
        shares = np.array([part.share for part in self.parts])
        shares = shares / shares.sum()
        return np.concatenate(
            [
                np.full(len(part.rows), share * self.size / len(part.rows))
                for part, share in zip(self.parts, shares, strict=True)
            ]
        )

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
                }
                for part in self.parts
            ],
            "labels": list(self.labels),
            "init": [self.task, self.draw],
            "start": start,
            "objective": {type(self.objective).__name__: asdict(self.objective)},
            "adapter": None if self.adapter is None else {type(self.adapter).__name__: asdict(self.adapter)},
            "recipe": self._recipe_spec(),
        }

    def _recipe_spec(self) -> dict[str, Any]:
        """The part of the recipe that steers this fit."""
        whole = asdict(self.recipe)
        if self.uses_gradients:
            return whole
        return {name: whole[name] for name in ("max_length", "normalise")} if self.reads_backbone else {}

    @cached_property
    def content(self) -> str:
        """Hash of the spec. Backbone, engine and precision come on top in ``key``."""
        return seeds.digest("fit", self.spec())

    def key(self, environment: Environment) -> str:
        """The name under which the store keeps it."""
        return seeds.digest("key", self.content, environment.of(self))

    def chain(self) -> Iterator[Fit]:
        """This fit and the fits it starts from, the last first."""
        fit: Fit | Words | None = self
        while isinstance(fit, Fit):
            yield fit
            fit = fit.start

    def batches(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        """Row positions and loss weights (summing to 1) of every step: pure, so that all engines see the same batches.

        Every part gives its share of the rows of a batch, in passes over its own rows without replacement.
        """
        rng = seeds.generator("order", self.content, self.draw)
        shares = np.array([part.share for part in self.parts])
        shares = shares / shares.sum()
        streams, offset = [], 0
        for part, share in zip(self.parts, shares, strict=True):
            take = max(1, min(len(part.rows), round(self.recipe.batch * share)))
            passes = math.ceil(take * self.steps / len(part.rows))
            stream = np.concatenate([rng.permutation(len(part.rows)) for _ in range(passes)]) + offset
            streams.append((stream, take, share))
            offset += len(part.rows)
        return [
            (
                np.concatenate([stream[step * take : (step + 1) * take] for stream, take, _ in streams]),
                np.concatenate([np.full(take, share / take) for _, take, share in streams]),
            )
            for step in range(self.steps)
        ]


@dataclass(frozen=True)
class Environment:
    """What besides the fit itself may change a number: part of the key."""

    backbone: str
    """Fingerprint of the backbone's weights, configuration, tokenizer and pooling."""
    engine: str
    precision: str
    """The resolved precision, ``fp32`` or ``bf16``."""
    numerics: str
    """Minor versions of the libraries that compute."""

    def of(self, fit: Fit) -> dict[str, str]:
        """The parts that matter for this fit."""
        if not fit.reads_backbone:
            return {"numerics": self.numerics}
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """Proof that a fit did what its name says, or a warning that it did not."""

    name: str
    passed: bool
    value: float
    wanted: str


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

    def features(self, texts: list[str], recipe: Recipe) -> npt.NDArray[np.float32]:
        """Pooled vectors of the frozen backbone, [texts, hidden]."""
        ...

    def predict(self, fit: Fit, fitted: Fitted, texts: list[str]) -> npt.NDArray[np.float32]:
        """Probabilities, [texts, classes]."""
        ...

    def adapter_config(self, fit: Fit) -> dict[str, Any] | None:
        """The content of PEFT's ``adapter_config.json`` for a fit's adapter; None for a frozen backbone."""
        ...
