"""Encoders whose linears are not those of their configuration: narrower, in two factors, or of eight bits.

Their weights lie in ``shaped.safetensors``, a name that transformers does not load, so that no other program takes what it does
not find for new weights. What a linear is follows from its tensors: their shapes, two factors under ``NAME.0`` and ``NAME.1``,
whole numbers beside a ``NAME.scale``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lowres.errors import LowresError, UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

SHAPED: Final = "shaped.safetensors"
STOCK: Final = "model.safetensors"
EIGHT_BITS: Final = "lowres_eight_bits"
"""Key of ``config.json``: how whole numbers are computed with, a name of ``COMPUTED``."""
COMPUTED: Final = {
    "weights": "int8 on disk, fp32 in products",
    "dynamic": "int8 in products too, activations rounded as they come",
}
LEVELS: Final = 127
"""Steps of eight bits on each side of zero."""
WEIGHT: Final = ".weight"


def load_shaped(folder: Path, device: str) -> nn.Module:
    """The encoder in a folder with ``shaped.safetensors``, in evaluation mode and fp32, without pooler.

    Raises:
        UserError: The tensors do not make the encoder of ``config.json``.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel

    try:
        tensors = load_file(folder / SHAPED)
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        kernels = "eager" if device == "cpu" else "sdpa"
        model: nn.Module = AutoModel.from_config(config, attn_implementation=kernels, trust_remote_code=False)
        if getattr(model, "pooler", None) is not None:
            setattr(model, "pooler", None)  # noqa: B010 - a module attribute
        reshape(model, tensors)
        model.load_state_dict(dequantised(tensors), strict=True)
        with torch.inference_mode():  # whether what goes out of each linear fits into the next
            model.eval()(input_ids=torch.full((1, 2), int(config.vocab_size) - 1))
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(f"encoder {folder} could not be loaded", got=str(error).splitlines()[0]) from error
    model.requires_grad_(False)
    if getattr(config, EIGHT_BITS, None) == "dynamic":
        if device != "cpu":
            raise UserError(f"encoder {folder} computes in eight bits", got=f"device {device}", expected="cpu")
        make_dynamic(model, tensors)
    return model.to(device)


def reshape(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives each linear the shape, or the two factors, that its tensors have; attention as many heads as are left."""
    from torch import nn

    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        if f"{name}.0{WEIGHT}" in tensors:
            first, second = (tensors[f"{name}.{part}{WEIGHT}"] for part in (0, 1))
            put(model, name, nn.Sequential(_linear(first, bias=False), _linear(second, module.bias is not None)))
        elif tensors[name + WEIGHT].shape != module.weight.shape:
            put(model, name, _linear(tensors[name + WEIGHT], module.bias is not None))
    count_heads(model)


def count_heads(model: nn.Module) -> None:
    """Tells each attention how many heads its queries have."""
    for module in model.modules():
        size = getattr(module, "attention_head_size", None)
        query = next(
            (part for name in ("query", "q_lin", "q") if (part := getattr(module, name, None)) is not None), None
        )
        if isinstance(size, int) and query is not None:
            width = (query[-1] if hasattr(query, "__getitem__") else query).out_features
            for name in ("num_attention_heads", "n_heads"):
                if hasattr(module, name):
                    setattr(module, name, width // size)
            if hasattr(module, "all_head_size"):
                module.all_head_size = width


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module in the place of the one of this name."""
    above, _, last = name.rpartition(".")
    setattr(model.get_submodule(above), last, module)


def in_layer(name: str) -> int | None:
    """The layer that a module or tensor of this name belongs to, from 0; None outside of the layers."""
    found = re.search(r"(?:^|\.)layers?\.(\d+)\.", name)
    return int(found.group(1)) if found else None


def quantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix as whole numbers of eight bits and one scale a row, ``NAME.scale`` [rows]; the rest as it is."""
    import torch

    made: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.ndim != 2 or not name.endswith(WEIGHT):
            made[name] = value
            continue
        scale = (value.float().abs().amax(1) / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        made[name] = (value / scale[:, None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
        made[name.removesuffix(WEIGHT) + ".scale"] = scale
    return made


def dequantised(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``quantised`` made as fp32 again; other tensors as they are."""
    import torch

    made: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.dtype == torch.int8:
            made[name] = value.float() * tensors[name.removesuffix(WEIGHT) + ".scale"][:, None]
        elif not (name.endswith(".scale") and name.removesuffix(".scale") + WEIGHT in tensors):
            made[name] = value.float() if value.is_floating_point() else value
    return made


def make_dynamic(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Lets each linear of eight bits compute in eight bits, by the kernels of ``torch.ao``.

    Raises:
        LowresError: This version of torch, or this machine, has none.
    """
    import warnings

    import torch
    from torch import nn

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torch.ao.nn.quantized.dynamic import Linear

            for name, module in list(model.named_modules()):
                if isinstance(module, nn.Linear) and tensors[name + WEIGHT].dtype == torch.int8:
                    made = Linear(module.in_features, module.out_features)  # type: ignore[no-untyped-call]
                    scale = tensors[name + ".scale"].double()
                    zero = torch.zeros(len(scale), dtype=torch.long)
                    weight: Any = torch.quantize_per_channel(module.weight.detach(), scale, zero, 0, torch.qint8)
                    made.set_weight_bias(weight, None if module.bias is None else module.bias.detach())
                    put(model, name, made)
        except (ImportError, AttributeError, RuntimeError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise LowresError(
                f"torch {torch.__version__} has no products of eight bits here: {reason}\n"
                "next: lowres export --to onnx-int8, or compress with --bits weights"
            ) from error


def _linear(weight: Tensor, bias: bool) -> nn.Linear:
    from torch import nn

    return nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
