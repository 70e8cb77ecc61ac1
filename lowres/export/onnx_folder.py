"""The export to ONNX: a folder that answers without torch, transformers and lowres."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import lowres
from lowres.data.tokens import HEAD, MOST_WINDOWS, WINDOWS, overlap
from lowres.export.compared import Compared, Says, compare
from lowres.export.example import example_program
from lowres.export.graph import check_libraries, graph_inputs, make_int8, write_graph
from lowres.kinds import KINDS
from lowres.models.abstention import Counted
from lowres.models.card import card
from lowres.models.classifier import Classifier
from lowres.models.heads import softmax
from lowres.scoring.multilabel import GIVEN_FROM
from lowres.scoring.operating import operating_point

SCHEMA: Final = 1
PRECISIONS: Final = (0.8, 0.85, 0.9, 0.95, 0.98)
"""Shares of right answers for which a threshold is named, where the labels support them."""
USAGE: Final = """\
`model.onnx` holds encoder, adapter, pooling and head in {numbers}: {inputs} to `logits`. `config.json` says the rest.
With `pip install onnxruntime tokenizers numpy`, and no more, `python example.py {texts}` answers; its code in short:

```python
import runpy

model = runpy.run_path("example.py")
probabilities = model["predict_proba"]({given})
```"""
GIVEN: Final = {"pair": '[("a text", "its second text")]', "tokens": '[["a", "word", "each"]]'}
"""What the code of a kind is given, where that is not a text."""


def write_fp32(model: Classifier, folder: Path, rows: Sequence[str]) -> Compared:
    """Writes the graph as it is, with all that goes with it, into an empty folder, and compares.

    Raises:
        UserError: The libraries are missing.
        LowresError: It answers otherwise by more than 1e-4 of a probability.
    """
    check_libraries()
    write_graph(model, folder / "model.onnx")
    _write_beside(model, folder, "fp32")
    return compare(model, says(folder), rows)


def write_int8(model: Classifier, folder: Path, rows: Sequence[str]) -> Compared:
    """The same with weights in eight bits; says how often it answers alike.

    Raises:
        UserError: The libraries are missing.
    """
    check_libraries()
    write_graph(model, folder / "model.onnx")
    make_int8(folder / "model.onnx")
    _write_beside(replace(model, about={**model.about, "scores": []}), folder, "int8")
    return compare(model, says(folder), rows, within=None)


def says(folder: Path) -> Says:
    """The folder's own example, which has just been written, as it will answer elsewhere."""
    predict_proba = runpy.run_path(str(folder / "example.py"))["predict_proba"]
    return lambda texts: np.concatenate([np.atleast_2d(one) for one in predict_proba(texts)])


def _write_beside(model: Classifier, folder: Path, precision: str) -> None:
    """Writes what goes with the graph."""
    inputs = graph_inputs(model)
    shutil.copyfile(model.tokenizer / "tokenizer.json", folder / "tokenizer.json")
    config = _config(model, inputs, precision)
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    program = example_program(model.kind, model.truncation, inputs)
    (folder / "example.py").write_text(program, encoding="utf-8")
    record = model.record()
    record["backbone"]["folder"] = None  # of this machine
    notes = [
        f"abstaining: from a confidence of {one['threshold']:.4f} on the answers keep a precision of {one['precision']:g}"
        f" ({one['coverage']:.0%} of {one['of']} are answered)"
        for one in config.get("abstain", [])
    ]
    usage = USAGE.format(
        numbers="fp32" if precision == "fp32" else "int8 (weights; the sums are fp32)",
        inputs=", ".join(f"`{name}`" for name in inputs),
        texts='"a text" "its second text"' if model.kind == "pair" else '"a text"',
        given=GIVEN.get(model.kind, '["a text"]'),
    )
    (folder / "README.md").write_text(card(record, "onnx", notes, usage), encoding="utf-8")


def _config(model: Classifier, inputs: Sequence[str], precision: str) -> dict[str, Any]:
    """What a program has to know beside the graph."""
    record, kind = model.record(), KINDS[model.kind]
    config: dict[str, Any] = {
        "schema": SCHEMA,
        "made_by": f"lowres {lowres.__version__}",
        "kind": model.kind,
        "answer": kind.answer,
        "labels": list(model.labels),
        "inputs": list(inputs),
        "precision": precision,
        "max_length": model.max_length,
        "truncation": record.get("truncation", HEAD),
        "pad_id": model.backbone.pad_id,
        "backbone": {name: value for name, value in record["backbone"].items() if name != "folder"},
        "about": record["about"],
    }
    if model.truncation == WINDOWS:
        config |= {"overlap": overlap(model.max_length), "windows": MOST_WINDOWS}
    if kind.answer == "value":
        config["scale"] = [float(end) for end in model.labels]
    if kind.answer == "many":
        config["given_from"] = GIVEN_FROM
    if kind.unit == "word":
        config["unread"] = softmax(model.head["bias"][None])[0].tolist()
    if model.counted is not None:
        config["abstain"] = _thresholds(model.counted, "" if precision == "fp32" else ", counted in fp32")
    return config


def _thresholds(counted: Counted, note: str) -> list[dict[str, Any]]:
    """From which confidence on each of ``PRECISIONS`` is kept, where the labels that were counted support it."""
    steps, of = counted.steps, f"{counted}{note}"
    points = ((precision, operating_point(steps, precision)) for precision in PRECISIONS)
    return [
        {"precision": precision, "threshold": point.threshold, "coverage": round(point.coverage, 4), "of": of}
        for precision, point in points
        if point is not None
    ]
