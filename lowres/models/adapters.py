"""LoRA by PEFT on an encoder: which linears, how they start, how they are read and written."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.errors import UserError, unknown_name
from lowres.settings import shown

if TYPE_CHECKING:
    from torch import nn

QUERY_VALUE = frozenset({"query", "value", "q_lin", "v_lin", "q", "v", "q_proj", "v_proj"})
KEY_OUTPUT = frozenset({"key", "k_lin", "k", "k_proj", "out_lin", "o", "out_proj"})
PROVENANCE = frozenset(
    {"base_model_name_or_path", "revision", "inference_mode", "peft_version", "task_type", "auto_mapping"}
)
"""Fields of ``adapter_config.json`` that steer no number."""
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


def attach(model: nn.Module, *, rank: int, alpha: int, linears: str, live_layers: int | None) -> nn.Module:
    """The encoder with an empty LoRA adapter, as a PEFT model in evaluation mode."""
    return attach_config(
        model, {"r": rank, "lora_alpha": alpha, "target_modules": adapted_linears(model, linears, live_layers)}
    )


def check_config(config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Compares ``adapter_config.json`` with the tensors beside it, before memory of its size is taken.

    Raises:
        UserError: It is of another kind, lacks a part, or does not belong to the tensors.
    """
    kind, modules = config.get("peft_type", "LORA"), config.get("target_modules")
    if kind != "LORA" or isinstance(modules, str):
        named = [f"target_modules {modules}"] if isinstance(modules, str) else []
        raise _foreign([f"peft_type {kind}", *named])
    if not isinstance(modules, list) or not modules or not all(isinstance(name, str) for name in modules):
        raise UserError("adapter_config.json names no target_modules", expected="a list of names")
    for name in ("r", "lora_alpha"):
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"adapter_config.json has no usable {name}", got=value, expected="a whole number from 1")
    ranks = {value.shape[:1] for name, value in tensors.items() if ".lora_A." in name}
    if ranks != {(config["r"],)}:
        found = "tensors of rank " + (", ".join(str(rank) for shape in sorted(ranks) for rank in shape) or "0")
        raise UserError(
            "adapter_config.json and adapter_model.safetensors differ", got=found, expected=f"rank {config['r']}"
        )


def attach_config(model: nn.Module, config: Mapping[str, Any]) -> nn.Module:
    """The encoder with an empty LoRA adapter of these PEFT settings, in evaluation mode.

    Raises:
        UserError: The settings ask for something that would be left out silently, or name no linears of this encoder.
    """
    from peft import LoraConfig, get_peft_model

    known = LoraConfig(
        r=config["r"],
        lora_alpha=config["lora_alpha"],
        lora_dropout=0.0,
        bias="none",
        task_type="FEATURE_EXTRACTION",
        target_modules=list(config["target_modules"]),
    )
    plain = known.to_dict()
    foreign = [
        f"{name}: {shown(value)}"
        for name, value in config.items()
        if name not in PROVENANCE and value and name in plain and value != plain[name] and name != "target_modules"
    ]
    if foreign:
        raise _foreign(foreign)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by a name that is being replaced
        try:
            wrapped: nn.Module = get_peft_model(model, known)
        except ValueError as error:
            names = known.target_modules or ()
            raise UserError(
                "the adapter does not fit this backbone", got=f"target_modules {', '.join(names)}"
            ) from error
    return wrapped.eval()


def _foreign(found: list[str]) -> UserError:
    return UserError(
        "this adapter is of a kind that is not read",
        got=", ".join(found),
        expected="plain LoRA with a list of target_modules",
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
    """Fresh tensors for the adapter of a PEFT model."""
    return fresh({key: value.shape for key, value in read(model).items()}, *name)


def fresh(shapes: Mapping[str, tuple[int, ...]], *name: object) -> dict[str, npt.NDArray[np.float32]]:
    """Fresh adapter tensors: A uniform in ±1/sqrt(inputs) as in PEFT, B zero; each A from a seed of its own name."""
    tensors = {}
    for key, shape in shapes.items():
        if ".lora_A." in key:
            bound = 1.0 / np.sqrt(shape[1])
            tensors[key] = seeds.generator("init", *name, key).uniform(-bound, bound, shape).astype(np.float32)
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
    in_attention = last in KEY_OUTPUT or (".attention." in name and last == "dense")
    return linears == "attention" and in_attention
