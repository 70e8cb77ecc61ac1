"""The stock sequence-classification model of an encoder: what ``transformers.pipeline`` opens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch import nn

from lowres import seeds
from lowres.data.tokens import Tokens
from lowres.errors import LowresError, UserError
from lowres.files import check_free, replacing_folder, write_sums
from lowres.kinds import Given, pair_of, rows_of
from lowres.models import encoder
from lowres.models.backbone import Backbone, copy_tokenizer, quiet_transformers
from lowres.models.card import card
from lowres.models.classifier import CHECK_TEXTS, STOCK_FILE, as_given, backbone_origin
from lowres.models.heads import softmax

GAP: Final = 1e-5
"""Between a probability before and after the folder is opened again."""
USAGE: Final = """\
The stock sequence-classification model of the encoder, the adapter merged into its weights:

```python
from transformers import pipeline

model = pipeline("text-classification", model=".", top_k=None, truncation=True)
answers = model({texts})
```"""
TEXTS: Final = {
    "classification": '["a text", "another one"]',
    "pair": '[{"text": "a text", "text_pair": "its second text"}]',
}
"""What the pipeline is given, by kind."""


class Logits(nn.Module):
    """A stock model as an encoder of one token a text, whose vector is the logits.

    So all that reads vectors of an encoder, with ``cls`` for the pooling, reads its logits.
    """

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    @property
    def config(self) -> Any:
        """That of the stock model."""
        return self.whole.config

    def forward(self, **given: Any) -> SimpleNamespace:
        """``last_hidden_state`` [texts, 1, labels]."""
        return SimpleNamespace(last_hidden_state=self.whole(**given).logits.unsqueeze(1))


def open_stock(
    backbone: Backbone, labels: Sequence[str], device: str = "cpu"
) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """The frozen stock model over a backbone in evaluation mode, and its new parameters by name: those of the head, and of
    the pooler where the backbone has none.

    Raises:
        UserError: There is no such model for this architecture, or the backbone's own weights are not whole.
    """
    from transformers import AutoModelForSequenceClassification

    names = dict(enumerate(labels))
    known = {"num_labels": len(labels), "id2label": names, "label2id": {name: at for at, name in names.items()}}
    kind = {"problem_type": "single_label_classification"}
    model, absent = backbone.open(AutoModelForSequenceClassification, device, **known, **kind)
    prefix = f"{model.base_model_prefix}."
    missing = [name for name in absent if name.startswith(prefix) and not name.startswith(f"{prefix}pooler.")]
    if missing:
        raise UserError(f"backbone {backbone.name} could not be loaded", got=f"weights without {missing[0]}")
    whole: nn.Module = model.eval().requires_grad_(False).to(device)
    new = {name: value for name, value in whole.named_parameters() if name in absent or not name.startswith(prefix)}
    return whole, new


def initial_stock(
    shapes: Mapping[str, tuple[int, ...]], deviation: float, *name: object
) -> dict[str, npt.NDArray[np.float32]]:
    """Fresh values of new parameters, each from a seed of its own name, as in transformers: tables normal with this
    deviation, scales one, biases zero.
    """
    made = {}
    for key, shape in shapes.items():
        if len(shape) > 1:
            made[key] = seeds.generator("init", *name, "stock", key).normal(0.0, deviation, shape).astype(np.float32)
        else:
            made[key] = np.full(shape, float(key.endswith(".weight")), dtype=np.float32)
    return made


@dataclass(frozen=True)
class StockClassifier:
    """A fitted stock model, the adapter merged into its weights, on the CPU.

    Args:
        network: The stock model of transformers.
        backbone: What it was trained from.
        labels: Names of the classes, in the order of the logits.
        max_length: Tokens of a sequence.
        about: Task, training and measured scores, for the model card.
        kind: ``classification`` or ``pair``.
    """

    network: nn.Module
    backbone: Backbone
    labels: tuple[str, ...]
    max_length: int
    about: Mapping[str, Any]
    kind: str = "classification"

    def predict_proba(self, texts: Sequence[Given]) -> npt.NDArray[np.float32]:
        """Probabilities in the order of ``labels``, [texts, classes].

        Raises:
            UserError: Not texts, or not pairs of texts, where the model reads those.
        """
        rows = rows_of(self.kind, texts)
        if not rows:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        logits = encoder.features(
            Logits(self.network),
            self.tokens,
            rows,
            max_length=self.max_length,
            pooling="cls",
            normalise=False,
            device="cpu",
            precision="fp32",
        )
        return softmax(logits)

    def predict(self, texts: Sequence[Given]) -> list[str]:
        """The most probable label of each text."""
        return [self.labels[place] for place in self.predict_proba(texts).argmax(axis=1)] if len(texts) else []

    def save(self, folder: str | Path, check_texts: Sequence[Given] = ()) -> Path:
        """Writes a folder that ``transformers.pipeline`` opens, asks the pipeline, and compares; nothing is left behind if
        they differ.

        Args:
            folder: Replaced if it is a stock model's already, unchanged.
            check_texts: Texts on which the pipeline has to give the same probabilities; none: some short ones.

        Raises:
            LowresError: The pipeline answers otherwise.
            UserError: The folder holds something else.
        """
        folder = Path(folder)
        check_free(folder)
        rows = rows_of(self.kind, check_texts or [as_given(self.kind, text) for text in CHECK_TEXTS])
        with replacing_folder(folder) as draft:
            self._write(draft)
            gap = float(np.abs(piped(draft, rows, self.labels) - self.predict_proba(rows)).max())
            if not gap <= GAP:
                raise LowresError(f"the saved model answers otherwise than the trained one (by {gap:.2g}); not kept")
        return folder

    def _write(self, folder: Path) -> None:
        with quiet_transformers():
            self.network.save_pretrained(folder)  # type: ignore[operator]
        copy_tokenizer(self.backbone.folder, folder)
        self._write_tokenizer_config(folder / "tokenizer_config.json")
        record = {
            "schema": 1,
            "labels": list(self.labels),
            "kind": self.kind,
            "max_length": self.max_length,
            "backbone": asdict(backbone_origin(self.backbone)) | {"folder": None},
            "about": dict(self.about),
        }
        (folder / STOCK_FILE).write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
        text = card(record, "transformers", ["head: `stock`"], USAGE.replace("{texts}", TEXTS[self.kind]))
        (folder / "README.md").write_text(text, encoding="utf-8")
        write_sums(folder)

    def _write_tokenizer_config(self, path: Path) -> None:
        """Makes the pipeline cut texts where training did, and name the second text of a pair where the encoder tells it."""
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        inputs = ["input_ids", *(["token_type_ids"] if encoder.tells_apart(self.network) else []), "attention_mask"]
        whole = known | {"model_max_length": self.max_length, "model_input_names": inputs}
        path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @cached_property
    def tokens(self) -> Tokens:
        """The tokenizer; it remembers nothing."""
        return self.backbone.tokens(remember=False)


def piped(folder: Path, rows: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """What the pipeline says of rows, from a folder, [rows, labels]."""
    from transformers import pipeline

    with quiet_transformers():
        model = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
        both = [pair_of(row) for row in rows]
        given = [
            row if two is None else {"text": two[0], "text_pair": two[1]} for row, two in zip(rows, both, strict=True)
        ]
        said = [{one["label"]: one["score"] for one in row} for row in model(given, truncation=True)]
    return np.array([[row[label] for label in labels] for row in said], dtype=np.float32)
