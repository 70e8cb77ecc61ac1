"""A fitted classifier as one graph of ONNX: encoder with its adapter merged, pooling, normalisation and head."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from lowres.errors import LowresError, UserError
from lowres.kinds import KINDS
from lowres.models import encoder
from lowres.models.classifier import Classifier
from lowres.models.pooling import pool

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto
    from torch import Tensor, nn

NEEDED: Final = ("onnx", "onnxscript", "onnxruntime")
QUANTISED: Final = {"MatMul": 1, "Gather": 0}
"""Operators whose weights become whole numbers, and which of their inputs those are, as well as the side of the table that
gets a scale for each of its lines.
"""


def check_libraries() -> None:
    """Raises a ``UserError`` that names the extra where what writes and runs graphs is missing."""
    try:
        for name in NEEDED:
            importlib.import_module(name)
    except ImportError:
        raise UserError("an export to ONNX needs onnx and onnxruntime", hint="pip install 'lowres[export]'") from None


def graph_inputs(model: Classifier) -> tuple[str, ...]:
    """Names of what the graph is given, [texts, tokens] each: which tokens are of a second text only where the model reads
    pairs and its encoder tells them apart.
    """
    told = model.kind == "pair" and encoder.tells_apart(model.network)
    return ("input_ids", "attention_mask", *(["token_type_ids"] if told else []))


def write_graph(model: Classifier, path: Path) -> None:
    """Writes the graph, weights inside: names of ``graph_inputs`` to ``logits`` [texts, outputs], of a model of words
    [texts, tokens, tags]; any number of texts and tokens.

    Raises:
        LowresError: The encoder cannot be written as a graph.
    """
    import torch

    names = graph_inputs(model)
    module = _whole(model)
    example = (torch.tensor([[2, 4, 5, 3], [2, 6, 7, 3], [2, 8, 3, 0]]), torch.ones((3, 4), dtype=torch.long))
    given = (*example, *[torch.zeros((3, 4), dtype=torch.long) for _ in names[2:]])
    sides = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=model.backbone.longest)}
    with _quiet():
        try:
            torch.onnx.export(
                module,
                given,
                str(path),
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes=tuple(sides for _ in names),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter raises many kinds; all mean that it cannot follow the encoder
            raise LowresError(
                f"backbone {model.backbone.name} cannot be written as a graph of ONNX: {str(error)[:300]}"
            ) from error


def make_int8(path: Path) -> None:
    """Rewrites a graph with its large weights in eight bits: linears with a scale for each output, tables of tokens and
    positions with one for each row. Sums stay in fp32, so that an answer does not depend on what else is in its batch.

    The head stays as it is.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    weights = {one.name: one for one in model.graph.initializer if _is_large(one)}
    nodes = []
    for node in model.graph.node:
        at = QUANTISED.get(node.op_type)
        if at is None or node.input[at] not in weights:
            nodes.append(node)
            continue
        one = weights[node.input[at]]
        values, scales = _rounded(numpy_helper.to_array(one), side=at)
        small = [numpy_helper.from_array(part, f"{one.name}.{end}") for part, end in ((values, "q"), (scales, "s"))]
        if small[0].name not in {other.name for other in model.graph.initializer}:
            model.graph.initializer.extend(small)
        nodes += _READ_BACK[node.op_type](node, *(part.name for part in small))
    used = {name for node in nodes for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    for field, parts in ((model.graph.node, nodes), (model.graph.initializer, kept)):
        copied = [type(part).FromString(part.SerializeToString()) for part in parts]
        del field[:]
        field.extend(copied)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _rounded(values: npt.NDArray[np.float32], side: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """A table as whole numbers from -127 to 127, and the scale of each of its rows (``side`` 0) or columns (1)."""
    scales = np.abs(values).max(axis=1 - side) / 127
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    shaped = scales[:, None] if side == 0 else scales
    return np.rint(values / shaped).astype(np.int8), scales


def _linear(node: NodeProto, values: str, scales: str) -> list[NodeProto]:
    """A product with a table of eight bits, [inputs, outputs], that is read back once, when the graph is loaded.

    Not by DequantizeLinear: onnxruntime makes one operator of it and the product, which rounds what goes in too.
    """
    from onnx import TensorProto, helper

    wide, full = (f"{values}.{end}.{node.name}" for end in ("wide", "full"))
    return [
        helper.make_node("Cast", [values], [wide], to=TensorProto.FLOAT, name=wide),
        helper.make_node("Mul", [wide, scales], [full], name=full),
        helper.make_node("MatMul", [node.input[0], full], node.output, name=node.name),
    ]


def _lookup(node: NodeProto, values: str, scales: str) -> list[NodeProto]:
    """Rows of a table of eight bits, [rows, width]: only those that are looked up are read back."""
    from onnx import TensorProto, helper

    place, name = node.input[1], node.output[0]
    row, wide, scale, side = (f"{name}.{end}" for end in ("row", "wide", "scale", "side"))
    minus = helper.make_tensor(f"{name}.at", TensorProto.INT64, [1], [-1])
    return [
        helper.make_node("Gather", [values, place], [row], axis=0, name=row),
        helper.make_node("Cast", [row], [wide], to=TensorProto.FLOAT, name=wide),
        helper.make_node("Gather", [scales, place], [scale], axis=0, name=scale),
        helper.make_node("Constant", [], [f"{name}.at"], value=minus, name=f"{name}.at"),
        helper.make_node("Unsqueeze", [scale, f"{name}.at"], [side], name=side),
        helper.make_node("Mul", [wide, side], [name], name=node.name),
    ]


_READ_BACK: Final = {"MatMul": _linear, "Gather": _lookup}


def _is_large(table: TensorProto) -> bool:
    """Whether it is a table of weights, and not of the head."""
    from onnx import TensorProto

    return table.data_type == TensorProto.FLOAT and len(table.dims) == 2 and not table.name.startswith("head.")


def _whole(model: Classifier) -> nn.Module:
    """Ids, mask and, for pairs, token types to logits."""
    import torch
    from torch import nn

    words = KINDS[model.kind].unit == "word"
    told = encoder.tells_apart(model.network)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.merged()
            self.head = nn.Linear(*reversed(model.head["weight"].shape))

        def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
            more = {"token_type_ids": torch.zeros_like(ids) if types is None else types} if told else {}
            hidden = self.encoder(input_ids=ids, attention_mask=mask, **more).last_hidden_state
            vectors = hidden if words else pool(hidden, mask, model.pooling, model.normalise)
            logits: Tensor = self.head(vectors)
            return logits

    whole = Whole()
    with torch.no_grad():
        for name, parameter in whole.head.named_parameters():
            parameter.copy_(torch.from_numpy(model.head[name]))
    return whole.eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the talk of the exporter off the terminal."""
    before = {name: logging.getLogger(name).level for name in ("", "torch", "onnxscript", "onnx_ir")}
    for name in before:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
