"""One encoder learns what another one answers, on texts alone: for students, and to mend what was cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import Spread
from lowres.data.tokens import WINDOWS
from lowres.errors import FitError, UserError
from lowres.kinds import KINDS, is_words
from lowres.models.classifier import Classifier
from lowres.models.encoder import autocast, inputs
from lowres.models.pooling import at_words, over_windows, pool

if TYPE_CHECKING:
    from torch import Tensor, nn

AT_ONCE = 16
"""Batches that are drawn together and cut by length, so that little is padded."""
Told = Any
"""Called with the share of the steps that is done."""


@dataclass(frozen=True)
class Teaching:
    """How an encoder learns from another."""

    epochs: float = 4.0
    """Passes over the texts; 0 leaves it as it was cut."""
    learning_rate: float = 3e-4
    """Peak rate of AdamW, after a tenth of the steps."""
    batch: int = 32
    """Texts a step."""
    temperature: float = 1.0
    """Both sides' logits are divided by it."""
    hidden: float = 1.0
    """Weight of the distance of embeddings and hidden vectors."""
    attention: float = 1.0
    """Weight of the distance of the attention, where both have the same heads."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0.0), ("hidden", 0.0), ("attention", 0.0)):
            if not getattr(self, name) >= least:
                raise UserError(f"{name} is out of range", got=getattr(self, name), expected=f"at least {least:g}")
        for name in ("learning_rate", "temperature", "batch"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is out of range", got=getattr(self, name), expected="above 0")


def taught(
    student: nn.Module,
    teacher: nn.Module,
    model: Classifier,
    texts: Sequence[str],
    settings: Teaching,
    name: Sequence[object],
    told: Told = lambda _: None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Trains the student in place to answer as the teacher (Jiao et al. 2020, TinyBERT, a:1909.10351); its head.

    The loss is the sum of the cross-entropy to the teacher's answers, the relative squared distance of embeddings and of the
    hidden vectors of each student layer to those of its teacher layer (through a learned map where the student is narrower), and the
    Kullback-Leibler divergence of the attention of those layers. All run together, not in stages, and attention is compared
    after its softmax: departures from the paper. The table of tokens stays as it is unless the student is narrower.

    Args:
        student: Trained in place; ends in evaluation mode.
        teacher: Frozen.
        model: Whose head, labels and way to read both have.
        texts: Rows of the model's kind; no label is looked at.
        settings: Of the training.
        name: Of the seeds.
        told: Told the share of the steps that is done.

    Raises:
        FitError: The loss became infinite.
    """
    import torch

    lesson = _Lesson(student, teacher, model, texts, settings, name)
    steps = lesson.steps
    student.requires_grad_(True)
    lesson.freeze()
    optimizer = torch.optim.AdamW([part for part in lesson.parameters() if part.requires_grad], weight_decay=0.01)
    for step, places in enumerate(lesson.batches()):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, steps)
        loss = lesson.loss(places)
        if not torch.isfinite(loss):
            raise FitError(f"the loss became {loss.item()} at step {step + 1} of {steps}; try a lower learning rate")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([part for part in lesson.parameters() if part.grad is not None], 1.0)
        optimizer.step()
        told((step + 1) / steps)
    student.requires_grad_(False).eval()
    return lesson.head()


class _Lesson:
    """Texts, both encoders, and how far apart they are."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        model: Classifier,
        texts: Sequence[str],
        settings: Teaching,
        name: Sequence[object],
    ) -> None:
        import torch

        self.student, self.teacher, self.model, self.settings, self.name = student, teacher, model, settings, name
        words = bool(texts) and is_words(texts[0])
        self.arrays = model.tokens.encode(texts, model.max_length, model.truncation)
        self.windows = Spread(model.tokens.windows(texts, model.max_length, model.truncation))
        self.firsts = model.tokens.firsts(texts, model.max_length) if words else None
        self.count = len(texts)
        config: Any = student.config
        above: Any = teacher.config
        own, their = int(config.num_hidden_layers), int(above.num_hidden_layers)
        self.pairs = [(layer, round(layer * their / own)) for layer in range(own + 1)]
        """(Student, teacher) place among the hidden vectors; place 0 is the embeddings."""
        narrow, wide = int(config.hidden_size), int(above.hidden_size)
        self.heads_match = _same_heads(student, teacher, self.pairs)
        self.map: nn.Linear | None = None
        if narrow != wide:
            self.map = torch.nn.Linear(narrow, wide, bias=False)
            rng = seeds.generator("compress", *name, "map")
            start = rng.normal(0.0, narrow**-0.5, (wide, narrow)).astype(np.float32)
            self.map.weight.data.copy_(torch.from_numpy(start))
        self.weight, self.bias = (
            torch.nn.Parameter(torch.from_numpy(np.array(value))) for value in _start_head(model, narrow, name)
        )
        self.asked = torch.from_numpy(model.head["weight"]), torch.from_numpy(model.head["bias"])

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return int(np.ceil(self.settings.epochs * self.count / self.settings.batch)) if self.settings.epochs else 0

    def freeze(self) -> None:
        """Leaves the table of tokens as it is where the student shares it."""
        student: Any = self.student
        if self.map is None:
            student.get_input_embeddings().weight.requires_grad_(False)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        yield from self.student.parameters()
        yield from (self.weight, self.bias)
        if self.map is not None:
            yield from self.map.parameters()

    def head(self) -> dict[str, npt.NDArray[np.float32]]:
        """The student's head."""
        return {name: value.detach().numpy().copy() for name, value in (("weight", self.weight), ("bias", self.bias))}

    def batches(self) -> Iterator[npt.NDArray[np.int64]]:
        """Places of the texts of each step: texts of similar length together, both in an order of the named seed."""
        sizes = np.array([len(self.arrays[units[0]]) for units in map(self._units, range(self.count))])
        left, epoch, batch = self.steps, 0, self.settings.batch
        while left > 0:
            rng = seeds.generator("compress", *self.name, "order", epoch)
            places, found = rng.permutation(self.count), []
            for begin in range(0, self.count, AT_ONCE * batch):
                block = places[begin : begin + AT_ONCE * batch]
                block = block[np.argsort(sizes[block], kind="stable")]
                found += [block[start : start + batch] for start in range(0, len(block), batch)]
            for number in rng.permutation(len(found))[:left]:
                yield found[number]
            left -= len(found)
            epoch += 1

    def loss(self, places: npt.NDArray[np.int64]) -> Tensor:
        """How far the student is from the teacher on these texts."""
        import torch

        arrays = [self.arrays[place] for place in self.windows.units(places)]
        ids, mask = map(torch.from_numpy, self.model.tokens.pad(arrays))
        attention = self.settings.attention > 0 and self.heads_match
        with autocast("cpu", self.model.precision):
            with torch.no_grad():
                above = self._run(self.teacher, ids, mask, attention)
                wanted = self._vectors(above.last_hidden_state, mask, places) @ self.asked[0].T + self.asked[1]
            below = self._run(self.student, ids, mask, attention)
            vectors = self._vectors(below.last_hidden_state, mask, places)
        logits = vectors @ self.weight.T + self.bias
        total = _apart(logits, wanted, KINDS[self.model.kind].answer, self.settings.temperature)
        if self.settings.hidden:
            far = [self._distance(below, above, own, their, mask) for own, their in self.pairs]
            total = total + self.settings.hidden * torch.stack(far).mean()
        if attention:
            far = [
                _divergence(below.attentions[own - 1], above.attentions[their - 1], mask)
                for own, their in self.pairs[1:]
            ]
            total = total + self.settings.attention * torch.stack(far).mean()
        return total

    def _units(self, place: int) -> npt.NDArray[np.int64]:
        return self.windows.units(np.array([place]))

    def _run(self, encoder: nn.Module, ids: Tensor, mask: Tensor, attention: bool) -> Any:
        return encoder(
            **inputs(encoder, ids), attention_mask=mask, output_hidden_states=True, output_attentions=attention
        )

    def _vectors(self, hidden: Tensor, mask: Tensor, places: npt.NDArray[np.int64]) -> Tensor:
        model = self.model
        if self.firsts is not None:
            starts = range(0, hidden.shape[0] * hidden.shape[1], hidden.shape[1])
            return at_words(hidden.flatten(0, 1), starts, [self.firsts[place] for place in places])
        vectors = pool(hidden, mask, model.pooling, model.normalise)
        return over_windows(vectors, self.windows.sizes[places]) if model.truncation == WINDOWS else vectors

    def _distance(self, below: Any, above: Any, own: int, their: int, mask: Tensor) -> Tensor:
        """Squared distance of hidden vectors over the square of the teacher's."""
        there = mask.bool()
        found, wanted = below.hidden_states[own][there].float(), above.hidden_states[their][there].float()
        if self.map is not None:
            found = self.map(found)
        far: Tensor = (found - wanted).square().mean() / wanted.square().mean()
        return far


def _start_head(model: Classifier, width: int, name: Sequence[object]) -> tuple[Any, Any]:
    """The teacher's head, or where it does not fit a fresh one."""
    from lowres.models.heads import initial_head

    head: Mapping[str, Any] = model.head
    if head["weight"].shape[1] != width:
        head = initial_head(width, len(head["bias"]), "compress", *name)
    return head["weight"], head["bias"]


def _apart(logits: Tensor, wanted: Tensor, answer: str, temperature: float) -> Tensor:
    """Cross-entropy to the teacher's answers above its least possible value, times the temperature squared."""
    import torch
    from torch.nn import functional

    if answer == "one":
        said = functional.log_softmax(logits / temperature, dim=-1)
        each = functional.kl_div(
            said, functional.log_softmax(wanted / temperature, dim=-1), log_target=True, reduction="batchmean"
        )
        return each * temperature**2
    target = torch.sigmoid(wanted / temperature)
    least = functional.binary_cross_entropy(target, target)
    return (functional.binary_cross_entropy_with_logits(logits / temperature, target) - least) * temperature**2


def _divergence(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean over tokens and heads of KL(teacher, student) of attention [texts, heads, tokens, tokens]."""
    import torch

    least = torch.finfo(torch.float32).tiny
    found, wanted = found.float().clamp(min=least), wanted.float().clamp(min=least)
    each = (wanted * (wanted.log() - found.log())).sum(-1).mean(1)
    return each[mask.bool()].mean()


def _rate(step: int, steps: int) -> float:
    """Share of the peak rate: up over a tenth of the steps, then down to zero."""
    rise = max(1, steps // 10)
    return min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def _same_heads(student: nn.Module, teacher: nn.Module, pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether the layers that are compared have as many heads each."""
    own, their = _heads(student), _heads(teacher)
    return bool(own) and all(own[below - 1] == their[above - 1] for below, above in pairs[1:])


def _heads(encoder: nn.Module) -> list[int]:
    """Heads of each layer."""
    modules: list[Any] = [
        one for one in encoder.modules() if isinstance(getattr(one, "attention_head_size", None), int)
    ]
    return [int(getattr(one, "num_attention_heads", None) or one.n_heads) for one in modules]
