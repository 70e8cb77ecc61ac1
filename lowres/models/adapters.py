"""Adapters by PEFT on an encoder: which linears, how they start, how they are read and written."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.errors import UserError, unknown_name
from lowres.settings import shown

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

Tensors = Mapping[str, npt.NDArray[Any]]
KEY = frozenset({"key", "k_lin", "k", "k_proj"})
VALUE = frozenset({"value", "v_lin", "v", "v_proj"})
LAST = frozenset({"dense", "lin2"})
MAGNITUDE = ".lora_magnitude_vector"
QUERY_VALUE = frozenset({"query", "value", "q_lin", "v_lin", "q", "v", "q_proj", "v_proj"})
KEY_OUTPUT = frozenset({"key", "k_lin", "k", "k_proj", "out_lin", "o", "out_proj"})
PROVENANCE = frozenset(
    {"base_model_name_or_path", "revision", "inference_mode", "peft_version", "task_type", "auto_mapping"}
)
"""Fields of ``adapter_config.json`` that steer no number."""
TRAINING = frozenset({"r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"})
"""Those of AdaLoRA that steer its training only."""
SIZES = {"LORA": ("r", "lora_alpha"), "ADALORA": ("init_r", "lora_alpha"), "IA3": ()}
"""Kinds of adapters that are read, and the whole numbers that each needs."""
PARTS = {
    "LORA": (".lora_A.weight", ".lora_B.weight"),
    "ADALORA": (".lora_A", ".lora_B", ".lora_E"),
    "IA3": (".ia3_l",),
}
"""How the names of their tensors end."""
LINEARS = ("query-value", "attention", "all")
"""Choices for the linears of a layer that are adapted."""


def adapted_linears(model: nn.Module, linears: str, live_layers: int | None) -> list[str]:
    """Names of the linears that get an adapter.

    Args:
        model: An encoder of transformers.
        linears: One of ``LINEARS``.
        live_layers: Only the top so many layers; None: all.

    Raises:
        UserError: Nothing matches, or there are not so many layers.
    """
    from torch import nn

    if linears not in LINEARS:
        raise unknown_name("choice of linears", linears, LINEARS)
    found: list[tuple[int, str]] = []
    for name, module in model.named_modules():
        match = re.search(r"(?:^|\.)layers?\.(\d+)\.", name)
        if match and isinstance(module, nn.Linear) and _wanted(name, linears):
            found.append((int(match.group(1)), name))
    layers = max((layer for layer, _ in found), default=-1) + 1
    if not found:
        raise UserError(f"no linear of {type(model).__name__} matches {linears!r}", hint="try --set lora.linears=all")
    if live_layers is not None and not 1 <= live_layers <= layers:
        raise UserError("no such number of live layers", got=live_layers, expected=f"1 to {layers}, or all")
    lowest = 0 if live_layers is None else layers - live_layers
    return [name for layer, name in found if layer >= lowest]


def scaled_linears(model: nn.Module, live_layers: int | None) -> tuple[list[str], list[str]]:
    """Names of the linears that IA3 scales, and of those among them whose inputs it scales: keys and values of the
    attention, and the last linear of each layer (a:2205.05638).
    """
    inner = [name for name in adapted_linears(model, "all", live_layers) if not _in_attention(name)]
    last = {name.rsplit(".", 2)[0]: name for name in inner if name.rsplit(".", 1)[-1] in LAST}
    if not last:
        raise UserError(f"no last linear of a layer of {type(model).__name__} is known", hint="try --adapter lora")
    named = [
        name for name in adapted_linears(model, "attention", live_layers) if name.rsplit(".", 1)[-1] in KEY | VALUE
    ]
    ends = sorted(last.values())
    return [*named, *ends], ends


def attach(model: nn.Module, config: Mapping[str, Any], **begin: Any) -> nn.Module:
    """The encoder with an adapter of these PEFT settings, in evaluation mode.

    Args:
        model: An encoder of transformers.
        config: As in ``adapter_config.json``; what is left out is PEFT's default.
        begin: How it begins, as PEFT names it; by default empty.
    """
    return _wrapped(model, _known(config, **begin))


def check_config(config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Compares ``adapter_config.json`` with the tensors beside it, before memory of its size is taken.

    Raises:
        UserError: It is of another kind, lacks a part, or does not belong to the tensors.
    """
    kind, modules = config.get("peft_type", "LORA"), config.get("target_modules")
    if not isinstance(kind, str) or kind not in SIZES or isinstance(modules, str):
        named = [f"target_modules {modules}"] if isinstance(modules, str) else []
        raise _foreign([f"peft_type {kind}", *named])
    if not _names(modules):
        raise UserError("adapter_config.json names no target_modules", expected="a list of names")
    for name in SIZES[kind]:
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"adapter_config.json has no usable {name}", got=value, expected="a whole number from 1")
    if config.get("feedforward_modules") and not _names(config["feedforward_modules"]):
        raise UserError("adapter_config.json names no feedforward_modules", expected="a list of names")
    differ = "adapter_config.json and adapter_model.safetensors differ"
    if kind != "IA3":
        rank = config[SIZES[kind][0]]
        ranks = {value.shape[:1] for name, value in tensors.items() if ".lora_A" in name}
        if ranks != {(rank,)}:
            found = "tensors of rank " + (", ".join(str(rank) for shape in sorted(ranks) for rank in shape) or "0")
            raise UserError(differ, got=found, expected=f"rank {rank}")
    wanted = {*PARTS[kind], *([MAGNITUDE] if config.get("use_dora") is True else [])}
    ends = {next((end for end in wanted if name.endswith(end)), name) for name in tensors}
    if ends != wanted:
        odd = sorted(ends - wanted)[:1] or [f"no {end}" for end in sorted(wanted - ends)]
        raise UserError(differ, got=odd[0], expected=f"tensors of {kind}: {', '.join(sorted(wanted))}")


def attach_config(model: nn.Module, config: Mapping[str, Any]) -> nn.Module:
    """The encoder with an empty adapter of these PEFT settings, in evaluation mode.

    Raises:
        UserError: The settings ask for something that would be left out silently, or name no linears of this encoder.
    """
    return _wrapped(model, _whole(config))


def plain_scale(config: Mapping[str, Any] | None) -> float | None:
    """Factor on B A where an adapter is W + scale · B A and nothing else, 0 where there is none; None of every other kind.

    Raises:
        UserError: As of ``attach_config``.
    """
    if config is None:
        return 0.0
    plain = _whole(config).to_dict()
    if plain["peft_type"] != "LORA" or plain["use_dora"]:
        return None
    return float(plain["lora_alpha"] / (math.sqrt(plain["r"]) if plain["use_rslora"] else plain["r"]))


def plain_config(like: Mapping[str, Any], tensors: Tensors) -> dict[str, Any]:
    """The content of ``adapter_config.json`` of a plain adapter with these tensors, whose scale is 1.

    Args:
        like: Settings of another one, for what is not said of the tensors.
        tensors: Under PEFT's names.
    """
    ranks = {name: len(value) for name, value in tensors.items() if ".lora_A." in name}
    modules = sorted(name.removeprefix("base_model.model.").partition(".lora_A.")[0] for name in ranks)
    rank = next(iter(ranks.values()))
    changed = {"r": rank, "lora_alpha": rank, "target_modules": modules, "use_rslora": False}
    return {**like, **changed}


def beside(each: Sequence[Tensors], weights: Sequence[float]) -> dict[str, npt.NDArray[np.float32]]:
    """Tensors of a plain adapter whose B A is the weighted sum of those of several: exact, with their ranks side by side.

    A linear that one of them leaves alone has zeros for its ranks.
    """
    ranks = [next((len(value) for name, value in one.items() if ".lora_A." in name), 0) for one in each]
    made = {}
    for name, like in {name: value for one in each for name, value in one.items()}.items():
        side = 0 if ".lora_A." in name else 1
        parts = []
        for one, rank, weight in zip(each, ranks, weights, strict=True):
            shape = (rank, like.shape[1]) if side == 0 else (like.shape[0], rank)
            part = one.get(name, np.zeros(shape, dtype=np.float32))
            parts.append(part if side == 0 else np.float32(weight) * part)
        made[name] = np.concatenate(parts, axis=side)
    return made


def _whole(config: Mapping[str, Any]) -> PeftConfig:
    """PEFT's settings, of which nothing that steers a number is left out."""
    known = _known(config)
    plain = known.to_dict()
    unread = PROVENANCE | {"target_modules", "feedforward_modules", *(TRAINING if "init_r" in plain else ())}
    foreign = [
        f"{name}: {shown(value)}"
        for name, value in config.items()
        if name not in unread and value and name in plain and value != plain[name]
    ]
    if foreign:
        raise _foreign(foreign)
    return known


def _known(config: Mapping[str, Any], **begin: Any) -> PeftConfig:
    """PEFT's settings with that part of the given ones that is understood."""
    from peft import AdaLoraConfig, IA3Config, LoraConfig

    shared: dict[str, Any] = {
        "task_type": "FEATURE_EXTRACTION",
        "target_modules": list(config["target_modules"]),
        **begin,
    }
    kind = config.get("peft_type", "LORA")
    if kind == "IA3":
        return IA3Config(feedforward_modules=list(config.get("feedforward_modules") or ()), **shared)
    shared |= {"lora_alpha": config["lora_alpha"], "lora_dropout": 0.0, "bias": "none"}
    if kind == "ADALORA":
        target = {"target_r": config["target_r"]} if "target_r" in config else {}
        return AdaLoraConfig(init_r=config["init_r"], total_step=1, **target, **shared)
    flags = {name: config.get(name) is True for name in ("use_rslora", "use_dora")}
    return LoraConfig(r=config["r"], **flags, **shared)


def _wrapped(model: nn.Module, known: PeftConfig) -> nn.Module:
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by a name that is being replaced
        try:
            wrapped: nn.Module = get_peft_model(model, known)
        except ValueError as error:
            names: Any = known.target_modules or ()
            raise UserError(
                "the adapter does not fit this backbone", got=f"target_modules {', '.join(names)}"
            ) from error
    return wrapped.eval()


def _names(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(name, str) for name in found)


def _foreign(found: list[str]) -> UserError:
    return UserError(
        "this adapter is of a kind that is not read",
        got=", ".join(found),
        expected="LoRA (plain, rsLoRA or DoRA), AdaLoRA or IA3, with a list of target_modules",
    )


def peft_config(model: nn.Module) -> dict[str, Any]:
    """The content of ``adapter_config.json`` of a PEFT model."""
    config: Any = model.peft_config["default"]  # type: ignore[index]
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    return {name: getattr(value, "value", value) for name, value in plain.items()} | {"inference_mode": True}


def shapes(model: nn.Module, *, rank: int, linears: str, live_layers: int | None) -> dict[str, tuple[int, int]]:
    """Shapes of the tensors that an adapter of an encoder has, by the names under which PEFT saves them."""
    made = {}
    for name in adapted_linears(model, linears, live_layers):
        weight: Any = model.get_submodule(name).weight
        outputs, inputs = weight.shape
        made[f"base_model.model.{name}.lora_A.weight"] = (rank, inputs)
        made[f"base_model.model.{name}.lora_B.weight"] = (outputs, rank)
    return made


def initial(model: nn.Module, *name: object) -> dict[str, npt.NDArray[np.float32]]:
    """Fresh tensors for the adapter of a PEFT model; magnitudes of DoRA are the lengths of the rows that it adapts."""
    import torch

    made = fresh({key: value.shape for key, value in read(model).items()}, *name)
    for key in made:
        if key.endswith(MAGNITUDE):
            adapted: Any = model.get_submodule(key.removesuffix(MAGNITUDE))
            made[key] = torch.linalg.norm(adapted.get_base_layer().weight.detach(), dim=1).cpu().numpy()
    return made


def fresh(shapes: Mapping[str, tuple[int, ...]], *name: object) -> dict[str, npt.NDArray[np.float32]]:
    """Fresh adapter tensors as in PEFT, each from a seed of its own name: A uniform in ±1/sqrt(inputs), B zero; of AdaLoRA
    both normal with deviation 0.02, and zeros between them; factors of IA3 one.
    """
    tensors = {}
    for key, shape in shapes.items():
        if ".lora_A." in key:
            bound = 1.0 / np.sqrt(shape[1])
            tensors[key] = seeds.generator("init", *name, key).uniform(-bound, bound, shape).astype(np.float32)
        elif key.endswith((".lora_A", ".lora_B")):
            tensors[key] = seeds.generator("init", *name, key).normal(0.0, 0.02, shape).astype(np.float32)
        elif key.endswith(".ia3_l"):
            tensors[key] = np.ones(shape, dtype=np.float32)
        else:
            tensors[key] = np.zeros(shape, dtype=np.float32)
    return tensors


def read(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """The adapter's tensors under the names that PEFT saves, copied."""
    from peft import get_peft_model_state_dict

    state: Mapping[str, Any] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().float().cpu().numpy().copy() for name, tensor in state.items()}


def write(model: nn.Module, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Puts tensors, under the names that PEFT saves, into the adapter.

    Raises:
        UserError: The tensors belong to another adapter.
    """
    import torch
    from peft import set_peft_model_state_dict

    expected = read(model)
    if set(expected) != set(tensors) or any(expected[name].shape != tensors[name].shape for name in expected):
        raise UserError(
            "the adapter does not fit this backbone", got=f"{len(tensors)} tensors", expected=f"{len(expected)} tensors"
        )
    set_peft_model_state_dict(model, {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})


def _wanted(name: str, linears: str) -> bool:
    last = name.rsplit(".", 1)[-1]
    if linears == "all" or last in QUERY_VALUE:
        return True
    in_attention = last in KEY_OUTPUT or (_in_attention(name) and last == "dense")
    return linears == "attention" and in_attention


def _in_attention(name: str) -> bool:
    return ".attention." in name
