"""Plain low-rank adapters of several saved models, side by side on one packed encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lowres.data.rows import Spread
from lowres.data.tokens import WINDOWS, TokenArray
from lowres.errors import UserError
from lowres.kinds import is_words
from lowres.models import adapters
from lowres.models.classifier import Classifier
from lowres.models.packed import Adapters, PackedEncoder, make_pack, make_spans
from lowres.models.pooling import over_windows

TOKENS: Final = {"cpu": 2048, "cuda": 65_536, "mps": 16_384}
"""Padded tokens of a pass, over all models that answer them."""
Positions = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Stacked:
    """Several models' adapters on the encoder of the first.

    Args:
        models: On the same weights, reading texts in the same way.
        packed: Their encoder.
        factors: As of ``Adapters``, the scale of each model in its B, zeros where it has fewer ranks or no adapter.
    """

    models: Sequence[Classifier]
    packed: PackedEncoder
    factors: Mapping[tuple[int, str], tuple[Tensor, Tensor]]

    def vectors(self, rows: Sequence[str], asked: Sequence[Positions]) -> list[Vectors]:
        """Pooled vectors of those of the rows that each model is asked for, [units, hidden] each.

        Args:
            rows: As ``rows_of`` gives them.
            asked: Of each model ascending positions among the rows.
        """
        reading = _Reading.of(self.models[0], rows)
        spreads = [Spread(reading.sizes[reading.sequences(own)]) for own in asked]
        made = [np.zeros((int(one.sizes.sum()), self.models[0].backbone.hidden), dtype=np.float32) for one in spreads]
        place = np.full((len(asked), len(reading.arrays)), -1, dtype=np.int64)  # among the sequences of each model
        for line, own in zip(place, asked, strict=True):
            line[reading.sequences(own)] = np.arange(int(reading.windows.sizes[own].sum()))
        answers = max(1.0, sum(map(len, asked)) / max(1, len(rows)))
        with torch.inference_mode():
            for sequences, ids, mask in self._batches(reading, int(TOKENS[_family(self.models[0].device)] / answers)):
                some = [sequences[place[model, sequences] >= 0] for model in range(len(asked))]
                for model, vectors in self._pass(reading, sequences, ids, mask, some):
                    made[model][spreads[model].units(place[model, some[model]])] = vectors.cpu().numpy()
        if self.models[0].truncation != WINDOWS:
            return made
        return [_mean(vectors, reading.windows.sizes[own]) for vectors, own in zip(made, asked, strict=True)]

    def _pass(
        self, reading: _Reading, sequences: Positions, ids: Tensor, mask: Tensor, own: Sequence[Positions]
    ) -> Iterator[tuple[int, Tensor]]:
        """Vectors of a batch by model: below the lowest adapter each sequence is computed once, above it once a model."""
        first, device = self.models[0], self.models[0].device
        lowest = min((layer for layer, _ in self.factors), default=self.packed.depth)
        lengths = mask.sum(1).tolist()
        x = self.packed.forward(self.packed.embed(ids)[mask], make_pack(lengths, device), end=lowest)
        piece = dict(zip(sequences.tolist(), torch.split(x, lengths), strict=True))
        present = [model for model, some in enumerate(own) if len(some)]
        pieces = [[piece[one] for one in own[model].tolist()] for model in present]
        together = _family(device) != "cpu"
        at = torch.tensor(present, device=device)
        stacked = Adapters(
            {where: (a[at], b[at]) for where, (a, b) in self.factors.items()},
            1.0,
            make_spans([sum(map(len, some)) for some in pieces], device, together),
            make_spans([len(some) for some in pieces], device, together),
        )
        flat = [one for some in pieces for one in some]
        words = reading.words([one for model in present for one in own[model].tolist()])
        pack = make_pack([len(one) for one in flat], device)
        vectors = self.packed.vectors(
            torch.cat(flat), pack, first.pooling, first.normalise, stacked, first=lowest, words=words
        )
        units = [int(reading.sizes[own[model]].sum()) for model in present]
        yield from zip(present, torch.split(vectors, units), strict=True)

    def _batches(self, reading: _Reading, tokens: int) -> Iterator[tuple[Positions, Tensor, Tensor]]:
        device = self.models[0].device
        for places, ids, mask in self.models[0].tokens.batches(reading.arrays, tokens):
            yield places, torch.from_numpy(ids).to(device), torch.from_numpy(mask.astype(bool)).to(device)


@dataclass(frozen=True)
class _Reading:
    """Rows as token sequences."""

    arrays: list[TokenArray]
    windows: Spread
    """How many sequences each row is."""
    firsts: list[TokenArray] | None
    """Of rows that are lists of words the place of the first token of each word."""
    sizes: Positions
    """Units of each sequence."""

    @classmethod
    def of(cls, model: Classifier, rows: Sequence[str]) -> _Reading:
        firsts = model.tokens.firsts(rows, model.max_length) if rows and is_words(rows[0]) else None
        arrays = model.tokens.encode(rows, model.max_length, model.truncation)
        windows = Spread(model.tokens.windows(rows, model.max_length, model.truncation))
        sizes = np.array([len(one) for one in firsts] if firsts else np.ones(len(arrays)), dtype=np.int64)
        return cls(arrays, windows, firsts, sizes)

    def sequences(self, rows: Positions) -> Positions:
        """The sequences of some rows."""
        return self.windows.units(rows)

    def words(self, sequences: Sequence[int]) -> list[TokenArray] | None:
        """First tokens of the words of some sequences, each of which is a row then."""
        return None if self.firsts is None else [self.firsts[one] for one in sequences]


def stacked(models: Sequence[Classifier]) -> Stacked | None:
    """The models on one packed encoder; None where it has no packed form, or one of them is no plain adapter that fits it."""
    first = models[0]
    scales = [adapters.plain_scale(model.adapter) for model in models]
    if any(scale is None for scale in scales) or any(model.exits and model.speed for model in models):
        return None
    try:
        dtype = torch.bfloat16 if first.precision == "bf16" else torch.float32
        packed = PackedEncoder(first.backbone.load(first.device), dtype)
    except UserError:
        return None
    if not all(_fits(packed, model) for model in models):
        return None  # its own network says what is wrong with it
    return Stacked(models, packed, _factors(packed, models, [scale or 0.0 for scale in scales]))


def _fits(packed: PackedEncoder, model: Classifier) -> bool:
    """Whether the tensors are those of the linears that the settings name, each of them a linear of a packed layer."""
    targets = [] if model.adapter is None else model.adapter["target_modules"]
    wanted = {}
    for name, module in packed.model.named_modules():
        if any(name == target or name.endswith(f".{target}") for target in targets):
            outputs, inputs = getattr(module, "weight", torch.empty(0, 0)).shape[-2:]
            rank = 0 if model.adapter is None else model.adapter["r"]
            wanted[f"base_model.model.{name}.lora_A.weight"] = (rank, inputs)
            wanted[f"base_model.model.{name}.lora_B.weight"] = (outputs, rank)
    found = {name: value.shape for name, value in model.tensors.items()}
    return found == wanted and len(packed.places(found)) * 2 == len(found)


def _factors(
    packed: PackedEncoder, models: Sequence[Classifier], scales: Sequence[float]
) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
    """A [models, rank, inputs] and B [models, outputs, rank] by place, filled up with zeros to the highest rank."""
    most = max((0 if model.adapter is None else int(model.adapter["r"]) for model in models), default=0)
    made = {}
    for place, name in packed.places({name: None for model in models for name in model.tensors}).items():
        other = name.replace(".lora_A.", ".lora_B.")
        like = next(model.tensors for model in models if name in model.tensors)
        a = np.zeros((len(models), most, like[name].shape[1]), dtype=np.float32)
        b = np.zeros((len(models), like[other].shape[0], most), dtype=np.float32)
        for number, (model, scale) in enumerate(zip(models, scales, strict=True)):
            if name in model.tensors:
                rank = len(model.tensors[name])
                a[number, :rank], b[number, :, :rank] = model.tensors[name], scale * model.tensors[other]
        made[place] = torch.from_numpy(a).to(models[0].device), torch.from_numpy(b).to(models[0].device)
    return made


def _family(device: str) -> str:
    """``cuda`` of ``cuda:0``."""
    return torch.device(device).type


def _mean(vectors: Vectors, windows: Positions) -> Vectors:
    """The mean over the windows of each row, [rows, hidden]."""
    if not len(windows):
        return vectors
    made: Vectors = over_windows(torch.from_numpy(vectors), windows).numpy()
    return made
