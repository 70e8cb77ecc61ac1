"""Smaller encoders out of larger ones: fewer layers, narrower vectors, fewer heads and neurons."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.errors import UserError
from lowres.kinds import KINDS, is_words
from lowres.models.classifier import Classifier
from lowres.models.encoder import inputs
from lowres.models.pooling import at_words, pool
from lowres.models.shaped import count_heads, in_layer, put

if TYPE_CHECKING:
    from torch import Tensor, nn

LAYERS: Final = ("num_hidden_layers", "n_layers")
WIDTHS: Final = ("hidden_size", "dim")
HEADS: Final = ("num_attention_heads", "n_heads")
INNER: Final = ("intermediate_size", "hidden_dim")
PROBED: Final = 512
"""Texts on which it is measured what matters."""

Floats = npt.NDArray[np.float64]


def parts(network: nn.Module) -> Mapping[str, str]:
    """Names of the parts of a layer.

    Raises:
        UserError: An architecture whose parts are not known.
    """
    from lowres.models.packed import SHAPES

    config: Any = network.config
    if config.model_type not in SHAPES:
        raise UserError(f"the layers of {config.model_type} are not known", expected=", ".join(SHAPES))
    return SHAPES[config.model_type]


def student(teacher: nn.Module, layers: int | None, width: int | None) -> tuple[nn.Module, dict[str, Any]]:
    """A smaller encoder that begins with some of the teacher's layers and dimensions, and what changed in its configuration.

    Student layer k of m begins as teacher layer k · n / m, the last one of those that it stands for. A narrower one keeps the
    dimensions that vary most over the teacher's table of tokens, the first heads, and inner neurons in the same proportion.

    Raises:
        UserError: Not fewer layers and not narrower, or a width that no whole heads make.
    """
    import torch
    from transformers import AutoModel

    above: Any = teacher.config
    names = {key: next(name for name in options if getattr(above, name, None)) for key, options in
             (("layers", LAYERS), ("width", WIDTHS), ("heads", HEADS), ("inner", INNER))}  # fmt: skip
    deep, wide = getattr(above, names["layers"]), getattr(above, names["width"])
    layers, width = (max(1, deep // 2) if width is None else deep) if layers is None else layers, width or wide
    size = wide // getattr(above, names["heads"])
    if not (1 <= layers <= deep and size <= width <= wide and width % size == 0) or (layers, width) == (deep, wide):
        raise UserError(
            "no smaller encoder",
            got=f"{layers} layers of width {width}",
            expected=f"at most {deep} layers and a width up to {wide} in steps of {size}, one of them smaller",
        )
    config = copy.deepcopy(above)
    changed = {names["layers"]: layers, names["width"]: width}
    if width != wide:
        changed |= {names["heads"]: width // size, names["inner"]: getattr(above, names["inner"]) * width // wide}
    for key, value in changed.items():
        setattr(config, key, value)
    made: Any = AutoModel.from_config(config, attn_implementation="eager", trust_remote_code=False)
    if getattr(made, "pooler", None) is not None:
        made.pooler = None
    state = _renumbered(teacher.state_dict(), deep, layers)
    if width != wide:
        state = _narrowed(teacher, state, made.state_dict(), width, size)
    made.load_state_dict(state, strict=True)
    made.requires_grad_(False).eval()
    with torch.no_grad():
        smaller: nn.Module = made
    return smaller, {"layers": layers, "width": width, "changed": changed}


def prune(network: nn.Module, model: Classifier, texts: Sequence[str], heads: float, neurons: float) -> None:
    """Cuts the heads and inner neurons that matter least, over all layers together, in place; each layer keeps one.

    What matters is |Σ activation · gradient| of the loss to an answer drawn from the model's own, a head's or a neuron's over its
    outputs (Michel et al. 2019, a:1905.10650), scaled to length 1 within a layer; no label is looked at.

    Raises:
        UserError: An architecture whose parts are not known, or whose heads cannot be cut.
    """
    import torch

    from lowres.models.packed import QKV

    names = parts(network)
    if heads < 1 and hasattr(getattr(network, "encoder", None), "relative_attention_bias"):
        raise UserError("the heads of this encoder share one table of positions", expected="--heads 1: all of them")
    found = _importance(network, model, texts[:PROBED])
    kept_heads = _kept(found["output"], heads)
    kept_neurons = _kept(found["down"], neurons)
    size = _head_size(network)
    modules = dict(network.named_modules())
    with torch.no_grad():
        for layer, (own, inner) in enumerate(zip(kept_heads, kept_neurons, strict=True)):
            base = names["layer"].format(layer)
            columns = (own[:, None] * size + np.arange(size)).ravel()
            for part in QKV:
                put(network, base + names[part], _rows(modules[base + names[part]], columns))
            put(network, base + names["output"], _columns(modules[base + names["output"]], columns))
            put(network, base + names["up"], _rows(modules[base + names["up"]], inner))
            put(network, base + names["down"], _columns(modules[base + names["down"]], inner))
    count_heads(network)


def _importance(network: nn.Module, model: Classifier, texts: Sequence[str]) -> dict[str, list[Floats]]:
    """By linear (``output``, ``down``) and layer: how much each head, or inner neuron, matters."""
    import torch

    names, size = parts(network), _head_size(network)
    config: Any = network.config
    depth = int(next(getattr(config, name) for name in LAYERS if getattr(config, name, None)))
    seen: dict[tuple[str, int], Tensor] = {}
    modules = dict(network.named_modules())
    hooks = []
    for layer in range(depth):
        for part in ("output", "down"):

            def keep(_: Any, given: tuple[Tensor, ...], place: tuple[str, int] = (part, layer)) -> None:
                given[0].retain_grad()
                seen[place] = given[0]

            hooks.append(modules[names["layer"].format(layer) + names[part]].register_forward_pre_hook(keep))
    found: dict[tuple[str, int], Floats] = {}
    network.requires_grad_(True)
    weight, bias = (torch.from_numpy(np.array(model.head[name])) for name in ("weight", "bias"))
    firsts = model.tokens.firsts(texts, model.max_length) if is_words(texts[0]) else None
    for number, (places, ids, mask) in enumerate(
        model.tokens.by_length(texts, model.max_length, 1024, model.truncation)
    ):
        given = torch.from_numpy(ids), torch.from_numpy(mask)
        hidden = network(**inputs(network, given[0]), attention_mask=given[1]).last_hidden_state
        if firsts is None:
            vectors = pool(hidden, given[1], model.pooling, model.normalise)
        else:
            starts = range(0, hidden.shape[0] * hidden.shape[1], hidden.shape[1])
            vectors = at_words(hidden.flatten(0, 1), starts, [firsts[place] for place in places])
        _surprise(vectors @ weight.T + bias, KINDS[model.kind].answer, number).backward()  # type: ignore[no-untyped-call]
        for place, value in seen.items():
            assert value.grad is not None
            each = (value.detach() * value.grad)[given[1].bool()]
            if place[0] == "output":
                each = each.view(len(each), -1, size).sum(-1)
            amount = each.abs().sum(0).double().numpy()
            found[place] = found.get(place, 0.0) + amount
    for hook in hooks:
        hook.remove()
    network.zero_grad(set_to_none=True)
    network.requires_grad_(False)
    scaled = {place: value / max(float(np.linalg.norm(value)), 1e-30) for place, value in found.items()}
    return {part: [scaled[part, layer] for layer in range(depth)] for part in ("output", "down")}


def _surprise(logits: Tensor, answer: str, number: int) -> Tensor:
    """Loss to answers drawn from the logits: to the likeliest ones the gradient of a sure model would vanish."""
    import torch
    from torch.nn import functional

    drawn = torch.from_numpy(seeds.generator("prune", number).random(tuple(logits.shape)).astype(np.float32))
    if answer == "one":
        noise = -torch.log(-torch.log(drawn.clamp(1e-7, 1 - 1e-7)))
        return functional.cross_entropy(logits, (logits.detach() + noise).argmax(-1), reduction="sum")
    wanted = (drawn < torch.sigmoid(logits.detach())).float()
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")


def _kept(importance: Sequence[Floats], share: float) -> list[npt.NDArray[np.int64]]:
    """Which units of each layer are kept, so that so large a share of all of them is."""
    flat = np.concatenate(importance)
    count = max(len(importance), round(share * len(flat)))
    must = np.concatenate([one == one.max() for one in importance])
    ranked = np.argsort(np.where(must, -np.inf, -flat), kind="stable")[:count]
    chosen = np.zeros(len(flat), dtype=bool)
    chosen[ranked] = True
    ends = np.cumsum([len(one) for one in importance])
    return [np.flatnonzero(part) for part in np.split(chosen, ends[:-1])]


def _head_size(network: nn.Module) -> int:
    return next(
        size for module in network.modules() if isinstance(size := getattr(module, "attention_head_size", None), int)
    )


def _rows(linear: Any, places: npt.NDArray[np.int64]) -> nn.Linear:
    """A linear with some of the outputs."""
    return _linear(linear.weight[places], linear.bias[places])


def _columns(linear: Any, places: npt.NDArray[np.int64]) -> nn.Linear:
    """A linear with some of the inputs."""
    return _linear(linear.weight[:, places], linear.bias)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    from torch import nn

    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight.data.copy_(weight)
    made.bias.data.copy_(bias)
    return made.requires_grad_(False)


def _renumbered(state: Mapping[str, Tensor], deep: int, layers: int) -> dict[str, Tensor]:
    """The tensors of some layers under their new numbers, and those outside of the layers."""
    from_teacher = {round((layer + 1) * deep / layers) - 1: layer for layer in range(layers)}
    made = {}
    for name, value in state.items():
        number = in_layer(name)
        if number is None:
            made[name] = value
        elif number in from_teacher:
            made[re.sub(rf"(layers?\.){number}\.", rf"\g<1>{from_teacher[number]}.", name, count=1)] = value
    return made


def _narrowed(
    teacher: nn.Module, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], width: int, size: int
) -> dict[str, Tensor]:
    """Tensors cut to the shapes wanted, along the dimensions that vary most."""
    from lowres.models.packed import QKV

    encoder: Any = teacher
    names = parts(teacher)
    table = encoder.get_input_embeddings().weight
    if table.shape[1] != _wide(teacher):
        raise UserError("no narrower form of an encoder whose table of tokens has a width of its own")
    dims = np.sort(np.argsort(-table.var(0).numpy(), kind="stable")[:width])
    made = {}
    for name, value in state.items():
        shape = wanted[name].shape
        if value.shape == shape:
            made[name] = value
            continue
        part = next(
            (key for key in (*QKV, "output", "up", "down") if re.search(rf"\.{re.escape(names[key])}\.", name)), None
        )
        first = np.arange(shape[0]) if part in (*QKV, "up") else dims
        cut = value[first[: shape[0]]] if value.shape[0] != shape[0] else value
        if value.ndim == 2 and value.shape[1] != shape[1]:
            cut = cut[:, np.arange(shape[1]) if part in ("output", "down") else dims]
        made[name] = cut
    return made


def _wide(network: nn.Module) -> int:
    config: Any = network.config
    return int(next(getattr(config, name) for name in WIDTHS if getattr(config, name, None)))
