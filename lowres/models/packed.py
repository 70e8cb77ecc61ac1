"""Layers of an encoder on packed tokens: many texts of many fits side by side, without padding.

A tensor [tokens, hidden] holds the tokens of all sequences of a step one after another, sorted by fit. Every linear
sees all of them at once; an adapted one adds to the tokens of each fit what that fit's own adapter says. Matrix
products and the weights of attention are of the type of the precision; what flows from layer to layer and norms are fp32.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from lowres.data.tokens import SECOND, TokenArray
from lowres.errors import UserError
from lowres.models.encoder import inputs
from lowres.models.pooling import at_words, lengthened

WIDTHS: Final = np.array([8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512])
"""Inside attention a sequence is padded to the next of these lengths; beyond the last to a multiple of it."""
ROWS: Final = 4
"""Sequences of one width are filled up to a multiple of this: a CPU prepares a product anew for every new shape."""
TOKENS: Final = 64
"""For the same reason the tokens of a step are filled up to a multiple of this on a CPU."""
QKV: Final = ("query", "key", "value")
LINEARS: Final = (*QKV, "output", "up", "down")
"""The linears of a layer; the first three are one product."""
ACTIVATIONS: Final = ("gelu", "relu")

_BERT: Final = {
    "layer": "encoder.layer.{}.",
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "output": "attention.output.dense", "first_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "second_norm": "output.LayerNorm",
}  # fmt: skip
_DISTILBERT: Final = {
    "layer": "transformer.layer.{}.",
    "query": "attention.q_lin", "key": "attention.k_lin", "value": "attention.v_lin",
    "output": "attention.out_lin", "first_norm": "sa_layer_norm",
    "up": "ffn.lin1", "down": "ffn.lin2", "second_norm": "output_layer_norm",
}  # fmt: skip
_MPNET: Final = {
    "layer": "encoder.layer.{}.",
    "query": "attention.attn.q", "key": "attention.attn.k", "value": "attention.attn.v",
    "output": "attention.attn.o", "first_norm": "attention.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "second_norm": "output.LayerNorm",
}  # fmt: skip
SHAPES: Final[Mapping[str, Mapping[str, str]]] = {
    "bert": _BERT, "roberta": _BERT, "xlm-roberta": _BERT, "camembert": _BERT, "electra": _BERT,
    "distilbert": _DISTILBERT, "mpnet": _MPNET,
}  # fmt: skip
"""Names of the parts of a layer by ``model_type``."""


@dataclass(frozen=True)
class Pack:
    """Where the tokens of each sequence of a step lie, and how attention pads them."""

    lengths: npt.NDArray[np.int64]
    """[sequences]"""
    starts: Tensor
    """First token of each sequence, [sequences]."""
    buckets: tuple[tuple[Tensor, Tensor, Tensor | None], ...]
    """Of each width: sequences, token positions [rows, width], where they stand for no token; the rows beyond the
    sequences repeat the last one."""
    back: Tensor
    """Where each token lies when the padded groups are laid one after another, [tokens + filling]."""
    filling: int
    """Rows to be added to the tokens, which belong to no sequence."""


def make_pack(lengths: Sequence[int], device: str) -> Pack:
    """The pack of sequences of these lengths, in this order."""
    sizes = np.asarray(lengths, dtype=np.int64)
    starts, tokens = np.cumsum(sizes) - sizes, int(sizes.sum())
    filling = -tokens % TOKENS if device == "cpu" else 0
    groups = np.searchsorted(WIDTHS, sizes)
    buckets, back, passed = [], np.zeros(tokens + filling, dtype=np.int64), 0
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        width = WIDTHS[group] if group < len(WIDTHS) else -(-sizes[rows].max() // WIDTHS[-1]) * WIDTHS[-1]
        steps = np.arange(int(width))[None, :]
        absent = steps >= sizes[rows][:, None]
        # padding repeats the first token of its own sequence: what another sequence holds, even NaN, cannot leak in
        places = starts[rows][:, None] + np.where(absent, 0, steps)
        back[places[~absent]] = passed + np.flatnonzero(~absent.ravel())
        more = [(0, -len(rows) % ROWS), (0, 0)]
        places, absent = np.pad(places, more, mode="edge"), np.pad(absent, more, mode="edge")
        passed += absent.size
        mask = torch.from_numpy(absent).to(device) if absent.any() else None
        buckets.append((torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device), mask))
    return Pack(sizes, torch.from_numpy(starts).to(device), tuple(buckets), torch.from_numpy(back).to(device), filling)


@dataclass(frozen=True)
class Spans:
    """Which rows of a matrix belong to which fit; they lie one fit after another."""

    bounds: Sequence[tuple[int, int]]
    """First row of each fit and the one after its last."""
    places: Tensor | None = None
    """The rows as [fits, most rows of a fit] where one product for all fits is faster than one a fit, else None."""
    back: Tensor | None = None
    """Where each row lies in ``places`` laid flat."""


def make_spans(rows: Sequence[int], device: str, together: bool) -> Spans:
    """Spans of so many rows a fit; ``together`` for one padded product instead of one a fit."""
    sizes = np.asarray(rows, dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    bounds = [(int(start), int(start + size)) for start, size in zip(starts, sizes, strict=True)]
    if not together:
        return Spans(bounds)
    steps = np.arange(int(sizes.max()))[None, :]
    there = steps < sizes[:, None]
    places = starts[:, None] + np.where(there, steps, 0)
    back = np.flatnonzero(there.ravel())
    return Spans(bounds, torch.from_numpy(places).to(device), torch.from_numpy(back).to(device))


@dataclass(frozen=True)
class Adapters:
    """Low-rank adapters of several fits."""

    factors: Mapping[tuple[int, str], tuple[Tensor, Tensor]]
    """(Layer, one of ``LINEARS``) → A [fits, rank, inputs] and B [fits, outputs, rank], fp32."""
    scale: float
    """alpha / rank"""
    tokens: Spans
    """Tokens of each fit."""
    sequences: Spans
    """Sequences of each fit."""


NONE: Final = Adapters({}, 1.0, Spans(()), Spans(()))


class PackedEncoder:
    """The layers of a frozen encoder, for packed tokens.

    Args:
        model: The encoder as ``Backbone.load`` gives it, in fp32.
        dtype: Of matrix products.

    Raises:
        UserError: An architecture, or a setting of one, that has no packed form.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        config: Any = model.config
        names = SHAPES.get(config.model_type)
        activation = getattr(config, "hidden_act", None) or getattr(config, "activation", None)
        if names is None or activation not in ACTIVATIONS:
            raise UserError(
                f"no packed form of {config.model_type} with {activation}",
                expected=f"{', '.join(SHAPES)} with {' or '.join(ACTIVATIONS)}",
            )
        self.model, self.dtype, self.names = model, dtype, names
        self.heads = int(config.num_attention_heads)
        self.depth = int(config.num_hidden_layers)
        self._activation = functional.gelu if activation == "gelu" else functional.relu
        self._modules = dict(model.named_modules())
        try:
            self._layers = [self._layer(number) for number in range(self.depth)]
        except (KeyError, AttributeError) as error:
            raise UserError(f"no packed form of this {config.model_type}", got=f"no {error}") from None
        wide = int(config.hidden_size)
        if any(layer["qkv"][0].shape[0] != len(QKV) * wide for layer in self._layers):
            raise UserError(
                f"no packed form of this {config.model_type}", got="layers with fewer heads than its configuration"
            )
        self._bias: Tensor | None = None
        self._check()

    def place(self, module: str) -> tuple[int, str] | None:
        """(Layer, one of ``LINEARS``) of a module by its name; None if it is no linear of a layer."""
        match = re.match(re.escape(self.names["layer"]).replace(r"\{\}", r"(\d+)"), module)
        part = next((part for part in LINEARS if match and module[match.end() :] == self.names[part]), None)
        return (int(match[1]), part) if match and part else None

    def places(self, names: Iterable[str]) -> dict[tuple[int, str], str]:
        """Where each adapted linear is, and the name under which PEFT saves its A; what is no linear of a layer is left out."""
        found = {}
        for name in names:
            module, mark, _ = name.removeprefix("base_model.model.").partition(".lora_A.")
            place = self.place(module) if mark else None
            if place is not None:
                found[place] = name
        return found

    def embed(self, ids: Tensor) -> Tensor:
        """What goes into the first layer, [texts, tokens, hidden], for ids of ``Tokens`` [texts, tokens] padded at the end."""
        model: Any = self.model
        with torch.no_grad():
            hidden = model.embeddings(**inputs(model, ids))
            made: Tensor = model.embeddings_project(hidden) if hasattr(model, "embeddings_project") else hidden
        return made.float()

    def forward(
        self,
        x: Tensor,
        pack: Pack,
        adapters: Adapters = NONE,
        *,
        first: int = 0,
        end: int | None = None,
        only_first_token: bool = False,
    ) -> Tensor:
        """Layers ``first`` up to ``end`` on packed tokens [tokens, hidden].

        With ``only_first_token`` the last of these layers is computed for the first token of each sequence alone, and
        the result is [sequences, hidden].
        """
        bias = self._position_bias(pack)
        end = self.depth if end is None else end
        tokens = len(x)
        if pack.filling:
            x = torch.cat([x, x.new_zeros(pack.filling, x.shape[1])])
        for number in range(first, end):
            layer, spans = self._layers[number], adapters.tokens
            narrow = x.to(self.dtype)
            if only_first_token and number == end - 1:
                keys = self._linear(narrow, number, QKV[1:], adapters, spans)
                x, spans = x[pack.starts], adapters.sequences
                query = self._linear(x.to(self.dtype), number, QKV[:1], adapters, spans)
                mixed = _first_attention(query, keys, pack, self.heads, bias)
            else:
                qkv = self._linear(narrow, number, QKV, adapters, spans)
                mixed = _Attention.apply(qkv, pack, self.heads, bias)  # type: ignore[no-untyped-call]
            x = _norm(layer["first_norm"], self._linear(mixed, number, ("output",), adapters, spans) + x)
            inner = self._activation(self._linear(x.to(self.dtype), number, ("up",), adapters, spans))
            x = _norm(layer["second_norm"], self._linear(inner, number, ("down",), adapters, spans) + x)
        if only_first_token:
            return x[pack.starts] if end == first else x
        return x[:tokens]

    def vectors(
        self,
        x: Tensor,
        pack: Pack,
        pooling: str,
        normalise: bool,
        adapters: Adapters = NONE,
        first: int = 0,
        words: Sequence[TokenArray] | None = None,
    ) -> Tensor:
        """One vector a sequence in fp32, or one for each of its ``words`` (their first tokens), [units, hidden], from what
        goes into layer ``first``.
        """
        if words is not None:
            hidden = self.forward(x, pack, adapters, first=first)
            return at_words(hidden, (np.cumsum(pack.lengths) - pack.lengths).tolist(), words)
        if pooling == "mean":
            hidden = self.forward(x, pack, adapters, first=first)
            vectors = torch.segment_reduce(hidden, "mean", lengths=torch.from_numpy(pack.lengths).to(hidden.device))
        else:
            vectors = self.forward(x, pack, adapters, first=first, only_first_token=True)
        return lengthened(vectors) if normalise else vectors

    def merged(self, adapters: Adapters) -> PackedEncoder:
        """An encoder of its own with the first fit's adapter added to its weights."""
        other = copy.copy(self)
        other._layers = [dict(layer) for layer in self._layers]
        changed: set[tuple[int, str]] = set()
        for (number, part), (first, second) in adapters.factors.items():
            layer, name = other._layers[number], "qkv" if part in QKV else part
            if (number, name) not in changed:
                layer[name] = (layer[name][0].clone(), layer[name][1])
                changed.add((number, name))
            begin = QKV.index(part) * second.shape[1] if part in QKV else 0
            exact = self._module(number, part).weight.detach() + (second[0] @ first[0]) * adapters.scale
            layer[name][0][begin : begin + second.shape[1]] = exact.to(self.dtype)
        return other

    def _check(self) -> None:
        """Compares itself with the model on a few sequences, so that an unknown variant is never computed wrongly."""
        config: Any = self.model.config
        device = str(next(self.model.parameters()).device)
        lengths = [3, 7, 12]
        mask = torch.arange(12, device=device)[None, :] < torch.tensor(lengths, device=device)[:, None]
        ids = (torch.arange(36, device=device).view(3, 12) * 7 + 3) % config.vocab_size
        ids = ids.masked_fill(~mask, int(config.pad_token_id or 0))
        ids[-1, 6:] += SECOND
        with torch.inference_mode():
            wanted = self.model(**inputs(self.model, ids), attention_mask=mask.long()).last_hidden_state[mask].float()
            found = self.forward(self.embed(ids)[mask], make_pack(lengths, device))
        gap = float((found - wanted).abs().max() / wanted.abs().max())
        if not gap <= (1e-4 if self.dtype == torch.float32 else 0.1):
            raise UserError(
                f"no packed form of this {config.model_type}", got=f"hidden vectors that differ by {gap:.2g}"
            )

    def _module(self, number: int, part: str) -> Any:
        return self._modules[self.names["layer"].format(number) + self.names[part]]

    def _layer(self, number: int) -> dict[str, tuple[Any, ...]]:
        """Weights in the type of the matrix products; query, key and value as one."""
        made: dict[str, tuple[Any, ...]] = {}
        for name, parts in (("qkv", QKV), *((part, (part,)) for part in LINEARS[3:])):
            modules = [self._module(number, part) for part in parts]
            weight = torch.cat([module.weight.detach() for module in modules])
            bias = torch.cat([module.bias.detach() for module in modules])
            made[name] = (weight.to(self.dtype), bias.to(self.dtype))
        for name in ("first_norm", "second_norm"):
            norm = self._module(number, name)
            made[name] = (norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps)
        return made

    def _linear(self, x: Tensor, number: int, parts: Sequence[str], adapters: Adapters, spans: Spans) -> Tensor:
        """One frozen linear, or several that lie side by side in ``QKV``, with the adapters of the fits."""
        name = "qkv" if parts[0] in QKV else parts[0]
        weight, bias = self._layers[number][name]
        if name == "qkv" and len(parts) < len(QKV):
            width = weight.shape[0] // len(QKV)
            begin = QKV.index(parts[0]) * width
            weight, bias = (part[begin : begin + len(parts) * width] for part in (weight, bias))
        columns: list[tuple[int, int]] = []
        factors: list[Tensor] = []
        width = weight.shape[0] // len(parts)
        for at, part in enumerate(parts):
            if (number, part) in adapters.factors:
                columns.append((at * width, (at + 1) * width))
                factors += adapters.factors[number, part]
        if not columns:
            return functional.linear(x, weight, bias)
        function = _AdaptedEach if spans.places is None else _AdaptedTogether
        made: Tensor = function.apply(x, weight, bias, adapters.scale, spans, columns, *factors)  # type: ignore[no-untyped-call]
        return made

    def _position_bias(self, pack: Pack) -> Tensor | None:
        """What MPNet adds to attention scores, [1, heads, longest, longest]."""
        model: Any = self.model
        if not hasattr(getattr(model, "encoder", model), "relative_attention_bias"):
            return None
        longest = max(places.shape[1] for _, places, _ in pack.buckets)
        if self._bias is None or self._bias.shape[-1] < longest:
            with torch.no_grad():
                like = torch.empty(1, longest, 1, device=pack.starts.device)
                self._bias = model.encoder.compute_position_bias(like).float().clone()
        return self._bias


def _norm(held: tuple[Any, ...], x: Tensor) -> Tensor:
    return functional.layer_norm(x, *held)


class _Attention(torch.autograd.Function):
    """Softmax attention within each sequence; forward and backward move tokens by gathers only, which are fast."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, pack: Pack, heads: int, bias: Tensor | None) -> Tensor:
        width = qkv.shape[1] // len(QKV)
        size = width // heads
        kept, outputs = [], []
        for _, places, absent in pack.buckets:
            rows, longest = places.shape
            padded = qkv.index_select(0, places.view(-1)).view(rows, longest, len(QKV), heads, size)
            padded = padded.permute(2, 0, 3, 1, 4).reshape(len(QKV), rows * heads, longest, size)
            query, key, value = padded
            weights = _weights(query, key, heads, bias, absent)
            mixed = torch.bmm(weights, value).view(rows, heads, longest, size)
            outputs.append(mixed.transpose(1, 2).reshape(rows * longest, width))
            kept += [padded, weights]
        ctx.save_for_backward(*kept)
        ctx.pack, ctx.heads = pack, heads
        return torch.cat(outputs).index_select(0, pack.back)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        kept, heads, parts = ctx.saved_tensors, ctx.heads, []
        for number, (_, places, absent) in enumerate(ctx.pack.buckets):
            padded, weights = kept[2 * number], kept[2 * number + 1]
            query, key, value = padded
            (rows, longest), size = places.shape, padded.shape[-1]
            out = grad.index_select(0, places.view(-1)).view(rows, longest, heads, size)
            if absent is not None:
                out.masked_fill_(absent[:, :, None, None], 0.0)
            out = out.transpose(1, 2).reshape(rows * heads, longest, size)
            wanted = torch.bmm(out, value.transpose(1, 2))
            wanted = torch.ops.aten._softmax_backward_data(wanted, weights, -1, weights.dtype)
            made = torch.empty_like(padded)
            torch.baddbmm(made[0], wanted, key, beta=0, alpha=size**-0.5, out=made[0])
            torch.baddbmm(made[1], wanted.transpose(1, 2), query, beta=0, alpha=size**-0.5, out=made[1])
            torch.bmm(weights.transpose(1, 2), out, out=made[2])
            made = made.view(len(QKV), rows, heads, longest, size).permute(1, 3, 0, 2, 4)
            parts.append(made.reshape(rows * longest, len(QKV) * heads * size))
        return torch.cat(parts).index_select(0, ctx.pack.back), None, None, None


def _first_attention(query: Tensor, keys: Tensor, pack: Pack, heads: int, bias: Tensor | None) -> Tensor:
    """What the first token of each sequence gathers, [sequences, width], from its query and the keys and values of all."""
    width = query.shape[1]
    size = width // heads
    outputs, order = [], []
    for rows, places, absent in pack.buckets:
        places, absent = places[: len(rows)], None if absent is None else absent[: len(rows)]
        count, longest = places.shape
        padded = keys.index_select(0, places.reshape(-1)).view(count, longest, 2, heads, size)
        key, value = padded.permute(2, 0, 3, 1, 4).reshape(2, count * heads, longest, size)
        asked = query.index_select(0, rows).view(count * heads, 1, size)
        weights = _weights(asked, key, heads, None if bias is None else bias[:, :, :1], absent)
        outputs.append(torch.bmm(weights, value).view(count, width))
        order.append(rows)
    return torch.cat(outputs).index_select(0, torch.argsort(torch.cat(order)))


def _weights(query: Tensor, key: Tensor, heads: int, bias: Tensor | None, absent: Tensor | None) -> Tensor:
    """Softmax over the tokens of each sequence, [sequences · heads, asking, asked]; sums are fp32."""
    asked, scale = key.shape[1], query.shape[-1] ** -0.5
    added = query.new_zeros(()) if absent is None else query.new_zeros(len(absent), 1, 1, asked)
    if absent is not None:
        added.masked_fill_(absent[:, None, None, :], float("-inf"))
    if bias is not None:
        added = added + bias[:, :, : query.shape[1], :asked].to(query.dtype)
    if added.dim():
        added = added.expand(len(query) // heads, heads, -1, -1).flatten(0, 1)
    return torch.baddbmm(added, query, key.transpose(1, 2), alpha=scale).softmax(-1)


class _AdaptedEach(torch.autograd.Function):
    """x W' + b, plus for each adapted block of outputs (x A') B' · scale on the rows of each fit, one fit after another.

    The small products are fp32, which needs no preparation for a new number of rows.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: float, spans: Spans,
        columns: list[tuple[int, int]], *factors: Tensor,
    ) -> Tensor:  # fmt: skip
        out = functional.linear(x, weight, bias)
        down, ups = torch.cat(factors[::2], 1), [second * scale for second in factors[1::2]]
        inner = []
        for fit, (start, stop) in enumerate(spans.bounds):
            low = x[start:stop].to(down.dtype) @ down[fit].T
            for (begin, end), up, piece in zip(columns, ups, low.chunk(len(ups), 1), strict=True):
                out[start:stop, begin:end] += piece @ up[fit].T
            inner.append(low)
        ctx.save_for_backward(x, weight, down, *ups)
        ctx.inner, ctx.scale, ctx.spans, ctx.columns = inner, scale, spans, columns
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, down, *ups = ctx.saved_tensors
        wanted = grad @ weight if ctx.needs_input_grad[0] else None
        d_down, d_ups = torch.empty_like(down), [torch.empty_like(up) for up in ups]
        for fit, (start, stop) in enumerate(ctx.spans.bounds):
            back = []
            for (begin, end), up, d_up, low in zip(
                ctx.columns, ups, d_ups, ctx.inner[fit].chunk(len(ups), 1), strict=True
            ):
                piece = grad[start:stop, begin:end].to(down.dtype)
                torch.mm(piece.T, low, out=d_up[fit])
                back.append(piece @ up[fit])
            joined = torch.cat(back, 1)
            torch.mm(joined.T, x[start:stop].to(down.dtype), out=d_down[fit])
            if wanted is not None:
                wanted[start:stop] += joined @ down[fit]
        made = zip(d_down.chunk(len(ups), 1), d_ups, strict=True)
        return wanted, None, None, None, None, None, *(part for d, d_up in made for part in (d, d_up * ctx.scale))


class _AdaptedTogether(torch.autograd.Function):
    """The same in one padded product for all fits, for devices on which many small ones are slow."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: float, spans: Spans,
        columns: list[tuple[int, int]], *factors: Tensor,
    ) -> Tensor:  # fmt: skip
        assert spans.back is not None
        out = functional.linear(x, weight, bias)
        padded = _padded(x, spans)
        inner = []
        for (begin, end), first, second in zip(columns, factors[::2], factors[1::2], strict=True):
            low = padded @ first.to(x.dtype).transpose(1, 2)
            added = low @ (second * scale).to(x.dtype).transpose(1, 2)
            out[:, begin:end] += added.flatten(0, 1).index_select(0, spans.back)
            inner.append(low)
        ctx.save_for_backward(x, weight, *factors)
        ctx.inner, ctx.scale, ctx.spans, ctx.columns = inner, scale, spans, columns
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, *factors = ctx.saved_tensors
        spans = ctx.spans
        wanted = grad @ weight if ctx.needs_input_grad[0] else None
        padded = _padded(x, spans)
        there = torch.zeros(spans.places.numel(), 1, dtype=torch.bool, device=x.device)
        absent = ~there.index_fill_(0, spans.back, True).view(*spans.places.shape, 1)
        made: list[Tensor] = []
        for (begin, end), first, second, low in zip(ctx.columns, factors[::2], factors[1::2], ctx.inner, strict=True):
            pieces = _padded(grad[:, begin:end], spans).masked_fill(absent, 0.0)
            up = (second * ctx.scale).to(x.dtype)
            d_second = (pieces.transpose(1, 2) @ low).to(second.dtype) * ctx.scale
            back = pieces @ up
            d_first = (back.transpose(1, 2) @ padded).to(first.dtype)
            if wanted is not None:
                wanted += (back @ first.to(x.dtype)).flatten(0, 1).index_select(0, spans.back)
            made += [d_first, d_second]
        return wanted, None, None, None, None, None, *made


def _padded(x: Tensor, spans: Spans) -> Tensor:
    """[fits, most rows of a fit, width]; what lies beyond a fit's rows repeats its first."""
    assert spans.places is not None
    return x.index_select(0, spans.places.view(-1)).view(*spans.places.shape, x.shape[1])
