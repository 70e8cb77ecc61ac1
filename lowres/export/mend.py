"""A small adapter beside a frozen model learns a handful of rows, and is held to the model's own answers on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import Rows, Spread
from lowres.data.tokens import WINDOWS
from lowres.errors import FitError, UserError
from lowres.models import adapters, encoder
from lowres.models.classifier import Classifier
from lowres.models.patch import HEAD, MOST_RANK
from lowres.models.pooling import over_windows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Mending:
    """How a patch is trained."""

    rank: int = 4
    """Of its LoRA, at most 4."""
    learning_rate: float = 2e-3
    """Of AdamW, for LoRA and the difference of the head."""
    batch: int = 8
    """Fixes a step."""
    replay: int = 24
    """Replayed rows a step."""
    replay_rows: int = 512
    """Train rows that are replayed, over all domains."""
    keep: float = 5.0
    """Weight of the cross-entropy to the model's own answers on replayed rows; that of the fixes is 1."""
    margin: float = 0.1
    """Probability by which the right label of every fix has to lead; a fix that leads by twice as much is left in peace."""
    settle: int = 60
    """Steps after all fixes are right, with the rate falling to zero, in which replayed rows come back to their answers."""
    steps: int = 600
    """At the most."""
    every: int = 10
    """Steps between two looks at all fixes."""

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= MOST_RANK:
            raise UserError("rank of a patch", got=self.rank, expected=f"1 to {MOST_RANK}")
        for name in ("learning_rate", "batch", "replay", "replay_rows", "settle", "steps", "every"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is out of range", got=getattr(self, name), expected="above 0")
        if not 0 <= self.margin < 1 or not self.keep >= 0:
            raise UserError(
                "margin or keep is out of range",
                got=f"{self.margin:g}, {self.keep:g}",
                expected="margin 0 to 1, keep from 0 on",
            )


@dataclass(frozen=True)
class Mended:
    """What was trained: tensors as a patch holds them, and after how many steps it ended."""

    tensors: dict[str, npt.NDArray[np.float32]]
    steps: int


def mended(model: Classifier, fixes: Rows, replay: Sequence[str], settings: Mending, name: Sequence[object]) -> Mended:
    """Trains until the right label of every fix leads by the margin and all has settled, or the steps are used up.

    Args:
        model: Stays as it is.
        fixes: Rows with labels of the model.
        replay: Rows that are to keep the answers that the model gives, by the probabilities of each.
        settings: Of the training.
        name: Of the seeds.

    Raises:
        FitError: The loss became infinite.
    """
    import torch

    lesson = _Lesson(model, fixes, replay, settings, name)
    optimizer = torch.optim.AdamW(lesson.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    own = _passes(len(fixes), settings.batch, *name, "fixes")
    others = _passes(len(replay), settings.replay, *name, "replay")
    began: int | None = None  # when it began to settle
    for step in range(settings.steps):
        if began is None and step % settings.every == 0 and lesson.lead() >= settings.margin:
            began = step
        if began is not None and step == began + settings.settle:
            if lesson.lead() >= settings.margin:
                return Mended(lesson.tensors(), step)
            began = None
        left = 1.0 if began is None else 1.0 - (step - began) / settings.settle
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * left
        loss = lesson.loss(own(step), others(step))
        if not torch.isfinite(loss):
            raise FitError(f"the loss became {loss.item()} at step {step + 1}; try a lower learning rate")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Mended(lesson.tensors(), settings.steps)


class _Lesson:
    """The frozen encoder with the model's adapter in its weights, a fresh adapter on it, and the rows as tokens."""

    def __init__(
        self, model: Classifier, fixes: Rows, replay: Sequence[str], settings: Mending, name: Sequence[object]
    ) -> None:
        import torch

        self.model, self.settings = model, settings
        merged = model.merged()
        modules = [one for one, _ in merged.named_modules() if f"base_model.model.{one}.lora_A.weight" in model.tensors]
        linears = modules or adapters.adapted_linears(merged, "query-value", None)
        config = {"target_modules": linears, "r": settings.rank, "lora_alpha": settings.rank}
        self.network: Any = adapters.attach(merged, config)
        adapters.write(self.network, adapters.initial(self.network, "patch", *name))
        self.head = {part: torch.from_numpy(np.array(value)) for part, value in model.head.items()}
        self.change = {part: torch.nn.Parameter(torch.zeros_like(value)) for part, value in self.head.items()}
        rows = [*fixes.texts, *replay]
        self.arrays = model.tokens.encode(rows, model.max_length, model.truncation)
        self.windows = Spread(model.tokens.windows(rows, model.max_length, model.truncation))
        self.targets = torch.from_numpy(fixes.targets(model.labels))
        self.asked = torch.from_numpy(model.predict_proba(list(replay)))

    def parameters(self) -> list[Any]:
        """What is trained."""
        return [one for one in self.network.parameters() if one.requires_grad] + list(self.change.values())

    def loss(self, fixes: npt.NDArray[np.int64], replay: npt.NDArray[np.int64]) -> Tensor:
        """Cross-entropy of fixes, and that of replayed rows to the model's own probabilities."""
        from torch.nn import functional

        logits = self._logits(np.concatenate([fixes, len(self.targets) + replay]))
        own, targets = logits[: len(fixes)], self.targets[fixes]
        open_ = _leads(own.detach(), targets) < 2 * self.settings.margin
        wrong = (functional.cross_entropy(own, targets, reduction="none") * open_).mean()
        if not len(replay):
            return wrong
        return wrong + self.settings.keep * functional.cross_entropy(logits[len(fixes) :], self.asked[replay])

    def lead(self) -> float:
        """By how much the right label leads in probability, on the fix where that is least."""
        import torch

        found = []
        with torch.no_grad():
            for begin in range(0, len(self.targets), 32):
                places = np.arange(begin, min(begin + 32, len(self.targets)))
                found.append(float(_leads(self._logits(places), self.targets[places]).min()))
        return min(found)

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """What a patch holds."""
        change = {HEAD + part: value.detach().numpy().copy() for part, value in self.change.items()}
        return {**adapters.read(self.network), **change}

    def _logits(self, places: npt.NDArray[np.int64]) -> Tensor:
        """Of some rows, [rows, labels]."""
        import torch

        model = self.model
        arrays = [self.arrays[place] for place in self.windows.units(places)]
        ids, mask = map(torch.from_numpy, model.tokens.pad(arrays))
        vectors = encoder.pooled(self.network, ids, mask, model.pooling, model.normalise)
        if model.truncation == WINDOWS:
            vectors = over_windows(vectors, self.windows.sizes[places])
        weight, bias = (self.head[part] + self.change[part] for part in ("weight", "bias"))
        return vectors @ weight.T + bias


def _leads(logits: Tensor, targets: Tensor) -> Tensor:
    """By how much the probability of the right label is above the next, [rows]."""
    said, places = logits.softmax(-1), targets[:, None]
    leads: Tensor = said.gather(1, places)[:, 0] - said.scatter(1, places, -1.0).amax(1)
    return leads


def _passes(rows: int, take: int, *name: object) -> Any:
    """Gives the rows of a step: passes over all of them, each in an order of the named seed."""
    take = min(take, rows)

    def at(step: int) -> npt.NDArray[np.int64]:
        begin = step * take
        numbers = range(begin, begin + take)
        orders = {one // rows: None for one in numbers}
        found = {one: seeds.generator("patch", *name, one).permutation(rows) for one in orders}
        return np.array([found[one // rows][one % rows] for one in numbers], dtype=np.int64)

    return at
