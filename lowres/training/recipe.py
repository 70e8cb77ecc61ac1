"""How a fit is trained: adapter, recipe, and the settings of every objective. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, cast

from lowres.data.tokens import HEAD


@dataclass(frozen=True)
class LowRank:
    """What adapters of low rank have in common."""

    rank: int = 8
    alpha: int = 16
    linears: str = "query-value"
    """Which linears of a layer are adapted: ``query-value``, ``attention`` (with its output) or ``all``."""
    live_layers: int | None = None
    """Only the top so many layers are adapted; None: all of them."""

    @property
    def scale(self) -> float:
        """Factor on B A."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class LoRA(LowRank):
    """Low-rank adapter (Hu et al. 2021, a:2106.09685): W + alpha/rank · B A, with W frozen."""


@dataclass(frozen=True)
class RsLoRA(LowRank):
    """LoRA with the scale alpha/sqrt(rank), so that a higher rank learns no slower (a:2312.03732)."""

    @property
    def scale(self) -> float:
        """Factor on B A."""
        return self.alpha / math.sqrt(self.rank)


@dataclass(frozen=True)
class DoRA(LowRank):
    """LoRA on the direction of each row of W, and its length as a weight of its own (a:2402.09353)."""


@dataclass(frozen=True)
class PiSSA(LowRank):
    """LoRA that begins with the largest singular directions of W, the rest of W frozen (a:2404.02948).

    Kept as plain LoRA of twice the rank on W itself: what was trained side by side with what it began with, negative.
    """


@dataclass(frozen=True)
class AdaLoRA(LowRank):
    """B diag(E) A of half again the rank, whose least important directions are cut until ``rank`` is left on average
    (a:2303.10512). Of a fit that goes on from another all directions take part again.
    """

    warm: float = 0.1
    """Share of the steps before the first is cut."""
    settle: float = 0.3
    """Share of the steps after the last was cut."""
    orthogonal: float = 0.1
    """Weight of the mean distance of A Aᵀ and Bᵀ B from the identity."""

    @property
    def initial_rank(self) -> int:
        """Directions of a linear before any is cut."""
        return self.rank + max(1, self.rank // 2)


@dataclass(frozen=True)
class IA3:
    """One factor for each output of keys and values and each input of a layer's last linear, nothing else (a:2205.05638)."""

    live_layers: int | None = None


@dataclass(frozen=True)
class AllWeights:
    """All weights of the encoder, no adapter. What is kept are the tensors, and the rows of tables, that changed."""

    live_layers: None = None


Adapter = LoRA | RsLoRA | DoRA | PiSSA | AdaLoRA | IA3 | AllWeights
LOOP_ADAPTERS = (DoRA, PiSSA, AdaLoRA, IA3, AllWeights)
"""Those that only the plain engine trains."""

ADAPTERS: Final[Mapping[str, tuple[type[LowRank | IA3], str]]] = {
    "lora": (LoRA, "low rank"),
    "rslora": (RsLoRA, "scaled by the root of the rank"),
    "dora": (DoRA, "direction and length apart"),
    "pissa": (PiSSA, "from the largest singular directions"),
    "adalora": (AdaLoRA, "rank allocated in training"),
    "ia3": (IA3, "factors on keys, values and the last linear"),
}
"""Adapters by name, with a few words each."""


def make_adapter(name: str, settings: LoRA) -> Adapter:
    """The adapter of this name with those of the settings that it has."""
    kind = ADAPTERS[name][0]
    values = {item.name: getattr(settings, item.name) for item in fields(settings)}
    made: Any = kind(**{name: value for name, value in values.items() if name in {item.name for item in fields(kind)}})
    return cast(Adapter, made)


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
    """Tokens of a sequence; what is not read of a longer text is counted."""
    normalise: bool = True
    """Whether the pooled vector of a text is scaled to length 1 before the head; vectors of words never are."""
    truncation: str = HEAD
    """What is read of a text with more tokens than ``max_length``: a name of ``lowres.data.tokens.TRUNCATIONS``."""

    def spec(self) -> dict[str, Any]:
        """Its fields as they enter a hash: ``truncation`` only where it is not ``head``."""
        whole = asdict(self)
        if self.truncation == HEAD:
            del whole["truncation"]
        return whole

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
class SimCSE:
    """Gradient descent on the adapter alone, so that two views of one text lie together and others apart; no label is used.

    The loss of unsupervised SimCSE (a:2104.08821) on the noise of TSDAE (a:2104.06979): the second view has words deleted,
    as a backbone without dropout has no other noise. The first part of the fit holds the texts, the second their other view.
    """

    temperature: float = 0.05


@dataclass(frozen=True)
class MaskedLM:
    """Gradient descent on the adapter alone, so that the encoder's own head tells masked tokens; no label is used (a:1810.04805).

    Of the tokens that are asked for 80 % are masked, 10 % are others and 10 % stay.
    """

    share: float = 0.15
    """Of the tokens of a text that are asked for, one at least."""


@dataclass(frozen=True)
class Coral:
    """Cross-entropy, and the covariances of labelled and unlabelled pooled vectors drawn together (Sun & Saenko 2016, a:1607.01719).

    The squared distance is not divided by 4 · dimensions², a constant that belongs to its weight.
    """

    weight: float = 1.0


@dataclass(frozen=True)
class MMD:
    """Cross-entropy, and the maximum mean discrepancy between labelled and unlabelled vectors made small (Long et al. 2015, a:1502.02791).

    Kernel: the mean of five Gaussians around the median distance.
    """

    weight: float = 1.0


@dataclass(frozen=True)
class Dann:
    """Cross-entropy, and a linear domain discriminator whose gradient reaches the adapter reversed (Ganin et al. 2016, a:1505.07818)."""

    weight: float = 0.1


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


@dataclass(frozen=True)
class Prototypes:
    """The nearest class mean by cosine similarity (Snell et al. 2017, a:1703.05175), on frozen pooled vectors."""

    temperature: float = 0.1
    """Of the similarities; changes the confidence, never the answer."""


@dataclass(frozen=True)
class Average:
    """The weighted mean of trained fits: no rows, no gradient."""

    weights: tuple[float, ...]
    of: str = "update"
    """``update``: of the changes B·A of the weights, exact, with the ranks side by side; ``factors``: of A and B apart,
    for fits that went on from one start (Reptile, a:1803.02999)."""


BY_GRADIENT = (CrossEntropy, Contrastive, SimCSE, MaskedLM, Coral, MMD, Dann)
ADAPTER_ONLY = (Contrastive, SimCSE, MaskedLM)
"""Those that leave the head as it was."""
Objective = (
    CrossEntropy
    | Contrastive
    | SimCSE
    | MaskedLM
    | Coral
    | MMD
    | Dann
    | Logistic
    | Prototypes
    | Tree
    | MostFrequent
    | Average
)
