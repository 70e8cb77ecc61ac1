"""The fleet: all ready fits of a wave train in one computation over one frozen backbone.

Their adapters and heads are stacked, ``[fits, …]``; the tokens of all their batches go through the frozen layers
together, packed without padding. Every fit keeps its own rows, order, schedule and stop, and never sees another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lowres import seeds
from lowres.data.rows import Spread
from lowres.data.sources import cache_dir
from lowres.data.tokens import WINDOWS, TokenArray, Tokens
from lowres.errors import FitError, UserError
from lowres.kinds import KINDS, is_words
from lowres.models import adapters, encoder
from lowres.models.backbone import Backbone
from lowres.models.device import numerics
from lowres.models.packed import NONE, Adapters, Pack, PackedEncoder, Spans, make_pack, make_spans
from lowres.models.pooling import over_windows
from lowres.training.acted import gradient_checks, logged
from lowres.training.beginning import beginning, discriminator_shapes
from lowres.training.fit import SCHEMA, Fit, Fitted, Tensors
from lowres.training.loop import LoopEngine
from lowres.training.objectives import Heads, Step, losses
from lowres.training.prefix import Prefix
from lowres.training.recipe import LoRA, Recipe, RsLoRA

STEP_TOKENS: Final = {"cpu": 4096, "cuda": 262_144, "mps": 16_384}
"""Tokens of a training step of a group of fits. On a CPU a product of this size is as fast as a larger one."""
TEST_TOKENS: Final = {"cpu": 2048, "cuda": 65_536, "mps": 16_384}
"""Tokens of a forward pass over test texts."""
AT_ONCE: Final = {"cpu": 64, "cuda": 512, "mps": 64}
BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8
"""Of AdamW, as in torch."""
KEPT_VECTORS: Final = 200_000
"""Texts whose frozen vectors stay at hand."""
KEPT_SETS: Final = 16
"""Lists of texts whose tokens stay at hand, as test texts come again with every fit."""
Carried = LoRA | RsLoRA
"""Adapters that have a packed form."""


class FleetEngine:
    """Trains fits side by side on one device; what it has no packed form of goes to the plain engine.

    Args:
        backbone: The frozen encoder.
        tokens: Its tokenizer.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16`` (matrix products; adapters, heads, optimiser and what flows between layers
            stay fp32).

    Attributes:
        notice: Why the plain engine does the work instead, or None.
    """

    name = "fleet"

    def __init__(self, backbone: Backbone, tokens: Tokens, device: str, precision: str) -> None:
        self.backbone, self.tokens, self.device, self.precision = backbone, tokens, device, precision
        self.at_once = AT_ONCE[device]
        self.loop = LoopEngine(backbone, tokens, device, precision)
        self.packed: PackedEncoder | None = None
        self.notice: str | None = None
        try:
            self.packed = PackedEncoder(
                self.loop.adapted(None).model, torch.bfloat16 if precision == "bf16" else torch.float32
            )
        except UserError as error:
            self.notice = f"{error.what}; its fits are trained one after another"
        self._prefixes: dict[int, Prefix] = {}
        self._frozen: dict[tuple[int, str, bool, str], npt.NDArray[np.float32]] = {}
        self._merged: tuple[Tensors, PackedEncoder] | None = None
        self._sets: dict[tuple[int, str, tuple[str, ...]], list[_Batch]] = {}

    def fit_many(self, fits: list[Fit], starts: Mapping[str, Fitted]) -> Iterator[tuple[Fit, Fitted | Exception]]:
        """Trains fits together, those of the same shape and similar number of steps in one group; what it cannot carry
        is trained by the plain engine.
        """
        carried = [fit for fit in fits if self.packed is not None and not fit.needs_loop]
        for group in self._groups(carried):
            yield from self._halving(group, starts)
        yield from self.loop.fit_many([fit for fit in fits if self.packed is None or fit.needs_loop], starts)

    def features(
        self, texts: list[str], recipe: Recipe, under: tuple[Fit, Fitted] | None = None
    ) -> npt.NDArray[np.float32]:
        """Vectors of the frozen backbone, or ``under`` the adapter of a trained fit, [units, hidden]; the adapter is added
        to the weights first.
        """
        if self.packed is None or (under is not None and under[0].needs_loop):
            return self.loop.features(texts, recipe, under)
        lora = _carried(under[0]) if under is not None else None
        if under is not None and lora is not None:
            return self._features(self._with(lora, under[1]), texts, recipe, self._first(lora))
        if texts and is_words(texts[0]):
            return self._features(self.packed, texts, recipe)
        known, name = self._frozen, (recipe.max_length, recipe.truncation, recipe.normalise)
        missing = list(dict.fromkeys(text for text in texts if (*name, text) not in known))
        if len(known) > KEPT_VECTORS:
            known.clear()
            missing = list(dict.fromkeys(texts))
        vectors = self._features(self.packed, missing, recipe)
        known |= {(*name, text): vector for text, vector in zip(missing, vectors, strict=True)}
        return np.array([known[(*name, text)] for text in texts], dtype=np.float32).reshape(len(texts), -1)

    def predict(self, fit: Fit, fitted: Fitted, texts: list[str]) -> npt.NDArray[np.float32]:
        """Answers of a trained fit, [units, outputs]."""
        return encoder.said(self.features(texts, fit.recipe, (fit, fitted)), fitted.head, fit.kind, fit.labels)

    def adapter_config(self, fit: Fit) -> dict[str, object] | None:
        """PEFT's settings of a fit's adapter; None for a frozen backbone."""
        return self.loop.adapter_config(fit)

    def _with(self, lora: Carried, fitted: Fitted) -> PackedEncoder:
        """The encoder with an adapter added to its weights; the last one stays at hand."""
        assert self.packed is not None
        if self._merged is None or self._merged[0] is not fitted.adapter:
            stack = _Stack.of([fitted], self._places(lora), self.device)
            factors = Adapters(stack.factors(stack.tensors), lora.scale, NONE.tokens, NONE.tokens)
            self._merged = (fitted.adapter, self.packed.merged(factors))
        return self._merged[1]

    def _groups(self, fits: Sequence[Fit]) -> Iterator[list[Fit]]:
        """Fits of one adapter and length limit, longest first, as many as fill a training step."""
        shapes: dict[object, list[Fit]] = {}
        for fit in fits:
            recipe = fit.recipe
            reading = recipe.max_length, recipe.truncation, recipe.normalise
            shape = (fit.adapter, fit.objective, *reading, KINDS[fit.kind])
            shapes.setdefault(shape, []).append(fit)
        for alike in shapes.values():
            alike.sort(key=lambda fit: -fit.steps)
            group: list[Fit] = []
            filled = 0.0
            for fit in alike:
                texts = fit.texts
                arrays = self.tokens.encode(texts, fit.recipe.max_length, fit.recipe.truncation)
                step = fit.recipe.batch * sum(map(len, arrays)) / len(texts)
                if group and filled + step > STEP_TOKENS[self.device]:
                    yield group
                    group, filled = [], 0.0
                group.append(fit)
                filled += step
            yield group

    def _halving(self, group: list[Fit], starts: Mapping[str, Fitted]) -> Iterator[tuple[Fit, Fitted | Exception]]:
        """Trains a group; where that fails, for want of memory or for one of its fits, one half of it after the other."""
        try:
            done = self._train(group, starts)
        except Exception as error:  # the failure of one fit is its result, whatever its kind
            if len(group) == 1:
                yield group[0], error
                return
        else:
            yield from zip(group, done, strict=True)
            return
        if self.device == "cuda":
            torch.cuda.empty_cache()
        half = len(group) // 2
        for part in (group[:half], group[half:]):
            yield from self._halving(part, starts)

    def _train(self, group: list[Fit], starts: Mapping[str, Fitted]) -> list[Fitted | Exception]:
        """Trains fits that are sorted by their steps, the longest first."""
        began = time.perf_counter()
        assert self.packed is not None
        lora, recipe = _carried(group[0]), group[0].recipe
        first = [self._start(fit, starts) for fit in group]
        stack = _Stack.of(first, self._places(lora), self.device, discriminator_shapes(group[0], self.backbone.hidden))
        lowest, scale = self._first(lora), lora.scale if lora else 1.0
        schedules = [self._schedule(fit, lowest) for fit in group]
        history = np.full((2, group[0].steps, len(group)), np.nan)
        work = np.zeros(len(group))
        active = 0
        leaves: list[Tensor] = []
        for step in range(group[0].steps):
            running = sum(step < fit.steps for fit in group)
            if running != active:
                active, leaves = running, stack.leaves(running)
            held = [schedule.at(step) for schedule in schedules[:active]]
            tokens = [sum(map(len, one.sequences)) for one in held]
            work[:active] += tokens
            pack = make_pack([len(row) for one in held for row in one.sequences], self.device)
            spans = make_spans([len(one.targets) for one in held], self.device, together=True)
            stacked = Adapters(
                stack.factors(leaves), scale, self._spans(tokens),
                self._spans([len(one.sequences) for one in held]),
            )  # fmt: skip
            x = torch.cat([row for one in held for row in one.sequences]).float()
            words = None if held[0].words is None else [word for one in held for word in one.words or ()]
            vectors = self.packed.vectors(x, pack, self.backbone.pooling, recipe.normalise, stacked, lowest, words)
            if recipe.truncation == WINDOWS:
                vectors = over_windows(vectors, np.concatenate([one.windows for one in held]))
            each, figure = losses(group[0].objective, _filled(vectors, spans, held), stack.heads(leaves))
            each.sum().backward()  # type: ignore[no-untyped-call]
            stack.step(leaves, step, group[:active])
            history[0, step, :active] = each.detach().cpu().numpy()
            if figure is not None:
                history[1, step, :active] = figure.cpu().numpy()
        seconds = (time.perf_counter() - began) * work / work.sum()
        return [
            _result(fit, before, after, history[:, : fit.steps, at], float(seconds[at]), scale)
            for at, (fit, before, after) in enumerate(zip(group, first, stack.fitted(group), strict=True))
        ]

    def _schedule(self, fit: Fit, lowest: int) -> _Schedule:
        firsts = None if fit.units_are_rows else self.tokens.firsts(fit.texts, fit.recipe.max_length)
        windows = self.tokens.windows(fit.texts, fit.recipe.max_length, fit.recipe.truncation)
        return _Schedule(fit, self._inputs(fit.texts, fit.recipe, lowest), windows, firsts, self.device)

    def _start(self, fit: Fit, starts: Mapping[str, Fitted]) -> Fitted:
        """The adapter and head a fit starts from."""
        return beginning(
            fit, starts, self.backbone.hidden, lambda: adapters.fresh(self._shapes(_carried(fit)), fit.task, fit.draw)
        )

    def _shapes(self, lora: Carried | None) -> dict[str, tuple[int, int]]:
        assert self.packed is not None
        if lora is None:
            return {}
        return adapters.shapes(self.packed.model, rank=lora.rank, linears=lora.linears, live_layers=lora.live_layers)

    def _places(self, lora: Carried | None) -> dict[tuple[int, str], str]:
        """Where each adapted linear is, and the name under which PEFT saves its A."""
        assert self.packed is not None
        return self.packed.places(self._shapes(lora))

    def _spans(self, rows: Sequence[int]) -> Spans:
        return make_spans(rows, self.device, together=self.device != "cpu")

    def _first(self, lora: Carried | None) -> int:
        """The lowest layer that an adapter can change; what lies below is computed once a text."""
        assert self.packed is not None
        return self.packed.depth - lora.live_layers if lora is not None and lora.live_layers is not None else 0

    def _inputs(self, texts: list[str], recipe: Recipe, first: int) -> list[Tensor]:
        """What goes into layer ``first`` for every sequence of the texts, [tokens, hidden] each."""
        arrays = self.tokens.encode(texts, recipe.max_length, recipe.truncation)
        return (
            [piece.to(self.device) for piece in self._prefix(first).hidden(arrays)] if first else self._below(arrays, 0)
        )

    def _prefix(self, first: int) -> Prefix:
        if first not in self._prefixes:
            name = seeds.digest("prefix", SCHEMA, self.backbone.fingerprint, self.precision, numerics(), first)
            self._prefixes[first] = Prefix(cache_dir() / "prefix" / name, lambda arrays: self._below(arrays, first))
        return self._prefixes[first]

    @torch.no_grad()
    def _below(self, arrays: Sequence[TokenArray], first: int) -> list[Tensor]:
        """What the layers below ``first`` make of token sequences, [tokens, hidden] each."""
        assert self.packed is not None
        made: list[Tensor] = [torch.empty(0)] * len(arrays)
        for batch in self._batches(arrays):
            x = self.packed.forward(self.packed.embed(batch.ids)[batch.mask], batch.pack, end=first)
            for place, piece in zip(batch.places, torch.split(x, batch.pack.lengths.tolist()), strict=True):
                made[place] = piece.to(self.packed.dtype) if first else piece.clone()
        return made

    def _batches(self, arrays: Sequence[TokenArray]) -> Iterator[_Batch]:
        """Token sequences of similar length side by side."""
        for places, ids, mask in self.tokens.batches(arrays, TEST_TOKENS[self.device]):
            there = torch.from_numpy(mask.astype(bool)).to(self.device)
            yield _Batch(places, torch.from_numpy(ids).to(self.device), there, make_pack(mask.sum(1), self.device))

    def _features(
        self, model: PackedEncoder, texts: list[str], recipe: Recipe, first: int = 0
    ) -> npt.NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.backbone.hidden), dtype=np.float32)
        firsts = self.tokens.firsts(texts, recipe.max_length) if is_words(texts[0]) else None
        windows = self.tokens.windows(texts, recipe.max_length, recipe.truncation)
        spread = Spread([len(one) for one in firsts] if firsts else [1] * int(windows.sum()))
        made = np.zeros((int(spread.sizes.sum()), self.backbone.hidden), dtype=np.float32)
        name = (recipe.max_length, recipe.truncation, tuple(texts))
        if name in self._sets:  # test texts come again with every fit
            self._sets[name] = self._sets.pop(name)
        else:
            self._sets[name] = list(self._batches(self.tokens.encode(texts, recipe.max_length, recipe.truncation)))
            while len(self._sets) > KEPT_SETS:
                del self._sets[next(iter(self._sets))]
        below = self._inputs(texts, recipe, first) if first else []
        with torch.inference_mode():
            for batch in self._sets[name]:
                x = torch.cat([below[place] for place in batch.places]) if first else model.embed(batch.ids)[batch.mask]
                words = [firsts[place] for place in batch.places] if firsts else None
                reading = self.backbone.pooling, recipe.normalise
                vectors = model.vectors(x.float(), batch.pack, *reading, first=first, words=words)
                made[spread.units(batch.places)] = vectors.cpu().numpy()
        if recipe.truncation != WINDOWS:
            return made
        return over_windows(torch.from_numpy(made), windows).numpy()


@dataclass(frozen=True)
class _Batch:
    """Sequences of similar length: their places in a list, padded ids and mask [sequences, tokens], and their pack."""

    places: npt.NDArray[np.int64]
    ids: Tensor
    mask: Tensor
    pack: Pack


@dataclass(frozen=True)
class _Held:
    """What one fit brings to a step: embedded sequences and how many of them each row is, targets and loss weights of the
    rows' units, and of rows that are lists of words the first token of each word.
    """

    sequences: list[Tensor]
    windows: npt.NDArray[np.int64]
    targets: Tensor
    weights: Tensor
    words: list[TokenArray] | None


class _Schedule:
    """The batches of one fit, as tensors."""

    def __init__(
        self,
        fit: Fit,
        sequences: list[Tensor],
        windows: npt.NDArray[np.int64],
        firsts: list[TokenArray] | None,
        device: str,
    ) -> None:
        self._sequences, self._windows, self._firsts = sequences, Spread(windows), firsts
        self._batches = []
        for places, weights in fit.batches():
            units, shares = fit.spread(places, weights)
            made = torch.from_numpy(fit.targets[units]).to(device), torch.from_numpy(shares).float().to(device)
            self._batches.append((places, *made))

    def at(self, step: int) -> _Held:
        """What comes at a step."""
        places, targets, weights = self._batches[step]
        words = None if self._firsts is None else [self._firsts[place] for place in places]
        sequences = [self._sequences[place] for place in self._windows.units(places)]
        return _Held(sequences, self._windows.sizes[places], targets, weights, words)


@dataclass
class _Stack:
    """Adapters, heads and optimiser state of a group, stacked."""

    places: dict[tuple[int, str], str]
    tensors: list[Tensor]
    """A and B of every place in turn, then weight and bias of the discriminators, if any, and of the heads; [fits, …]
    each, in fp32.
    """
    absent: Tensor
    """Classes that a fit does not have, [fits, classes]."""
    heads_from: int
    """Where the tensors of discriminators and heads begin."""
    _means: list[Tensor] = field(default_factory=list)
    _squares: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        fitted: Sequence[Fitted],
        places: dict[tuple[int, str], str],
        device: str,
        discriminator: Sequence[tuple[int, ...]] = (),
    ) -> _Stack:
        """Stacks what fits start from; heads with fewer classes are filled up with zeros."""

        def stacked(arrays: Sequence[npt.NDArray[np.float32]]) -> Tensor:
            return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(device)

        tensors = [
            stacked([one.adapter[key] for one in fitted])
            for name in places.values()
            for key in (name, name.replace(".lora_A.", ".lora_B."))
        ]
        heads_from = len(tensors)
        tensors += [torch.zeros((len(fitted), *shape), device=device) for shape in discriminator]
        classes = [len(one.head["bias"]) for one in fitted]
        most = max(classes)
        for part in ("weight", "bias"):
            arrays = [np.asarray(one.head[part], dtype=np.float32) for one in fitted]
            tensors.append(
                stacked([np.pad(array, [(0, most - len(array)), *[(0, 0)] * (array.ndim - 1)]) for array in arrays])
            )
        absent = np.arange(most)[None, :] >= np.array(classes)[:, None]
        return cls(places, tensors, torch.from_numpy(absent).to(device), heads_from)

    def heads(self, leaves: Sequence[Tensor]) -> Heads:
        """The heads among the leaves of the first fits."""
        *discriminator, weight, bias = leaves[self.heads_from :]
        told = (discriminator[0], discriminator[1]) if discriminator else None
        return Heads(weight, bias, self.absent[: len(bias)], told)

    def leaves(self, active: int) -> list[Tensor]:
        """The tensors of the first fits, as leaves of a graph that share their memory."""
        if not self._means:
            self._means = [torch.zeros_like(tensor) for tensor in self.tensors]
            self._squares = [torch.zeros_like(tensor) for tensor in self.tensors]
        return [tensor[:active].detach().requires_grad_() for tensor in self.tensors]

    def factors(self, tensors: Sequence[Tensor]) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
        """A and B by place."""
        return {place: (tensors[2 * at], tensors[2 * at + 1]) for at, place in enumerate(self.places)}

    def step(self, leaves: Sequence[Tensor], step: int, fits: Sequence[Fit]) -> None:
        """One step of AdamW without decay, with the rate of each fit."""
        now = np.array([fit.recipe.rate(step, fit.steps) for fit in fits]) / (1 - BETAS[0] ** (step + 1))
        peaks = np.array([[fit.recipe.learning_rate, fit.recipe.head_learning_rate] for fit in fits])
        rates = torch.from_numpy((now[:, None] * peaks).astype(np.float32)).to(leaves[0].device)
        unbias = (1 - BETAS[1] ** (step + 1)) ** 0.5
        with torch.no_grad():
            for at, leaf in enumerate(leaves):
                grad = leaf.grad
                assert grad is not None
                mean, square = self._means[at][: len(fits)], self._squares[at][: len(fits)]
                mean.lerp_(grad, 1 - BETAS[0])
                square.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
                rate = rates[:, int(at >= self.heads_from)].view(-1, *[1] * (leaf.dim() - 1))
                leaf.sub_(rate * mean / (square.sqrt() / unbias).add_(EPSILON))
                leaf.grad = None

    def fitted(self, group: Sequence[Fit]) -> Iterator[tuple[Tensors, Tensors]]:
        """Adapter and head of each fit, as saved."""
        arrays = [tensor.cpu().numpy() for tensor in self.tensors]
        for number, fit in enumerate(group):
            adapter = {}
            for at, name in enumerate(self.places.values()):
                adapter[name] = arrays[2 * at][number].copy()
                adapter[name.replace(".lora_A.", ".lora_B.")] = arrays[2 * at + 1][number].copy()
            classes = fit.outputs
            yield adapter, {"weight": arrays[-2][number, :classes].copy(), "bias": arrays[-1][number, :classes].copy()}


def _carried(fit: Fit) -> Carried | None:
    """The adapter of a fit that the fleet trains."""
    assert fit.adapter is None or isinstance(fit.adapter, Carried)
    return fit.adapter


def _filled(vectors: Tensor, spans: Spans, held: Sequence[_Held]) -> Step:
    """The units of a step by fit; they lie one fit after another in ``vectors``, [units, hidden]."""
    assert spans.places is not None
    sizes = torch.tensor([len(one.targets) for one in held], device=vectors.device)
    return Step(
        vectors[spans.places],
        torch.nn.utils.rnn.pad_sequence([one.targets for one in held], batch_first=True),
        torch.nn.utils.rnn.pad_sequence([one.weights for one in held], batch_first=True),
        torch.arange(spans.places.shape[1], device=vectors.device)[None, :] < sizes[:, None],
    )


def _result(
    fit: Fit,
    before: Fitted,
    after: tuple[Tensors, Tensors],
    history: npt.NDArray[np.float64],
    seconds: float,
    scale: float,
) -> Fitted | Exception:
    bad = np.flatnonzero(~np.isfinite(history[0]))
    if len(bad):
        return FitError(
            f"the loss became {history[0, bad[0]]} at step {bad[0] + 1} of {fit.steps}; try a lower learning rate"
        )
    log = [logged(step, float(loss), float(figure)) for step, (loss, figure) in enumerate(history.T)]
    checks = gradient_checks(fit, before.adapter, after[0], log, scale)
    return Fitted(*after, tuple(log), checks, seconds)
