"""The export to plain PEFT: adapter, head, tokenizer and card, without what only lowres reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowres.errors import UserError
from lowres.export.compared import Answers, Compared, compare
from lowres.kinds import rows_of
from lowres.models import encoder
from lowres.models.card import model_card
from lowres.models.classifier import Classifier, read_tensors


def write_peft(model: Classifier, folder: Path, rows: Sequence[str]) -> Compared:
    """Writes the folder, opens it with PEFT and compares.

    Raises:
        UserError: The model has no adapter.
        LowresError: What was opened answers otherwise.
    """
    if model.adapter is None:
        raise UserError(
            "the model has no adapter that PEFT could open", got="a frozen backbone with a head", expected="--to onnx"
        )
    model.write_parts(folder)
    record = model.record() | {"counted": None}
    text = model_card(record, adapted=True, token_types=encoder.tells_apart(model.network))
    (folder / "README.md").write_text(text, encoding="utf-8")
    return compare(model, lambda texts: _said(model, folder, texts), rows)


def _said(model: Classifier, folder: Path, texts: list[Any]) -> Answers:
    """What the folder says through PEFT."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = PeftModel.from_pretrained(model.backbone.load(), str(folder)).eval()
    vectors = encoder.features(
        network,
        model.backbone.tokens(folder, remember=False),
        rows_of(model.kind, texts),
        max_length=model.max_length,
        pooling=model.pooling,
        normalise=model.normalise,
        device="cpu",
        precision="fp32",
        truncation=model.truncation,
    )
    return encoder.said(vectors, read_tensors(folder, "head.safetensors"), model.kind, model.labels)
