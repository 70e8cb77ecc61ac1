"""The export to sentence-transformers: the vectors of the merged encoder, and the head beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from lowres.data.tokens import HEAD
from lowres.errors import LowresError, UserError
from lowres.export.compared import Compared, Says, compare
from lowres.export.whole import pooling_files
from lowres.kinds import KINDS
from lowres.models import encoder
from lowres.models.backbone import Backbone, copy_tokenizer, quiet_transformers
from lowres.models.card import card
from lowres.models.classifier import Classifier, read_tensors

USAGE: Final = """\
The vectors of the trained encoder, and with the head its probabilities:

```python
import json

import numpy as np
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer(".").encode(["a text"])
head, labels = load_file("head.safetensors"), json.load(open("labels.json"))
logits = vectors @ head["weight"].T + head["bias"]
{answer}
```"""
ANSWERS: Final = {
    "one": "probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)",
    "many": "probabilities = 1 / (1 + np.exp(-logits))",
    "value": "low, high = map(float, labels)\nvalues = low + (high - low) / (1 + np.exp(-logits))",
}


def write_sentence(model: Classifier, folder: Path, rows: Sequence[str]) -> Compared:
    """Writes a folder that ``SentenceTransformer`` opens, and compares what it says under the head: by that library where
    it is installed.

    Raises:
        UserError: The model reads something else than the first tokens of one text.
        LowresError: It answers otherwise.
    """
    _check(model)
    save_encoder(model, folder)
    model.write_head(folder)
    for name, content in _settings(model).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    record = model.record()
    record["backbone"]["folder"] = None  # of this machine
    usage = USAGE.format(answer=ANSWERS[KINDS[model.kind].answer])
    (folder / "README.md").write_text(card(record, "sentence-transformers", [], usage), encoding="utf-8")
    return compare(model, _says(model, folder), rows)


def save_encoder(model: Classifier, folder: Path) -> None:
    """Saves the encoder with its adapter merged, and the tokenizer, as transformers does.

    A pooler that the backbone has is left as it was, so that nothing is missing when it is opened.
    """
    from transformers import AutoModel

    merged = model.merged()
    whole, absent = model.backbone.open(AutoModel, "cpu")
    if absent:
        whole = merged
    else:
        whole.load_state_dict(merged.state_dict(), strict=False)
    with quiet_transformers():
        whole.save_pretrained(folder)
    copy_tokenizer(model.tokenizer, folder)


def _check(model: Classifier) -> None:
    """Refuses what sentence-transformers would read otherwise."""
    if model.kind == "pair" or KINDS[model.kind].unit == "word":
        raise UserError(
            "sentence-transformers gives one vector a text", got=KINDS[model.kind].title, expected="--to onnx or peft"
        )
    if model.backbone.is_shaped:
        raise UserError("only lowres loads an encoder of other shapes than its configuration", expected="--to onnx")
    if model.truncation != HEAD:
        raise UserError(
            "sentence-transformers reads the beginning of a text",
            got=f"truncation {model.truncation}",
            expected="--to onnx or peft, or a model trained without recipe.truncation",
        )


def _settings(model: Classifier) -> dict[str, Any]:
    """JSON files by name: how the library reads and pools, and the labels of the head."""
    return {
        "labels.json": list(model.labels),
        "sentence_bert_config.json": {"max_seq_length": model.max_length, "do_lower_case": False},
        **pooling_files(model.pooling, model.normalise, model.backbone.hidden),
    }


def _says(model: Classifier, folder: Path) -> Says:
    """What the vectors of the folder say under the head that lies beside them.

    Raises:
        LowresError: The library would cut texts elsewhere.
    """
    head, labels = read_tensors(folder, "head.safetensors"), json.loads((folder / "labels.json").read_bytes())
    vectors = _opened(model, folder) if find_spec("sentence_transformers") else _read_here(model, folder)
    return lambda texts: encoder.said(vectors(texts), head, model.kind, tuple(labels))


def _opened(model: Classifier, folder: Path) -> Says:
    """Vectors by the library."""
    from sentence_transformers import SentenceTransformer

    with quiet_transformers():
        opened = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    if opened.max_seq_length != model.max_length:
        raise LowresError(
            f"the export reads {opened.max_seq_length} tokens of a text, its origin {model.max_length}; not kept"
        )
    return lambda texts: np.asarray(opened.encode(texts, show_progress_bar=False), dtype=np.float32)


def _read_here(model: Classifier, folder: Path) -> Says:
    """Vectors of the saved encoder, read as the model reads; what the library would make of the settings is not seen."""
    saved = Backbone(model.backbone.name, folder)
    network, tokens = saved.load(), saved.tokens(remember=False)
    return lambda texts: encoder.features(
        network,
        tokens,
        texts,
        max_length=model.max_length,
        pooling=saved.pooling,
        normalise=model.normalise,
        device="cpu",
        precision="fp32",
    )
