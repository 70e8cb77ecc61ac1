"""A model with an encoder of its own: the adapter merged into the weights, or weights that were changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowres.models.backbone import TOKENIZER_FILES, Backbone
from lowres.models.classifier import Classifier, Tensors
from lowres.models.shaped import EIGHT_BITS, SHAPED, STOCK, quantised

if TYPE_CHECKING:
    from torch import nn

POOLING = {"mean": "mean_tokens", "cls": "cls_token"}
"""What sentence encoders call it."""


def with_encoder(
    model: Classifier,
    network: nn.Module,
    folder: Path,
    *,
    what: str,
    config: Mapping[str, Any] | None = None,
    head: Tensors | None = None,
    eight_bits: str | None = None,
) -> Classifier:
    """The model with this encoder in the place of backbone and adapter, written to a new folder and read from there.

    Args:
        model: Whose head, labels and way to read stay.
        network: An encoder of the same kind, perhaps of other shapes.
        folder: A place for the encoder.
        what: A word for its name.
        config: Keys of ``config.json`` that change.
        head: In place of the model's own.
        eight_bits: Keep matrices as whole numbers, and how to compute with them: a name of ``shaped.COMPUTED``.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    settings = {key: value for key, value in model.backbone.config.items() if key not in ("architectures", EIGHT_BITS)}
    settings |= dict(config or {}) | ({EIGHT_BITS: eight_bits} if eight_bits else {})
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    if eight_bits:
        state = quantised(state)
    save_file(state, folder / (SHAPED if eight_bits or not is_stock(network) else STOCK), metadata={"format": "pt"})
    for name in TOKENIZER_FILES:
        if (model.tokenizer / name).is_file():
            shutil.copyfile(model.tokenizer / name, folder / name)
    write_pooling(folder, model.pooling, model.normalise, int(settings.get("hidden_size") or settings["dim"]))
    base = model.backbone.name.split(",")[0]
    found = Backbone(name=base if what == "merged" else f"{base}, {what}", folder=folder)
    return replace(
        model,
        backbone=found,
        adapter=None,
        tensors={},
        head=model.head if head is None else head,
        tokenizer=folder,
        whole=True,
        exits=model.exits if head is None and found.layers == model.backbone.layers else {},
    )


def is_stock(network: nn.Module) -> bool:
    """Whether an encoder has the linears that transformers makes from its configuration."""
    import torch
    from transformers import AutoModel

    config: Any = network.config
    with torch.device("meta"):
        plain = AutoModel.from_config(config)
    wanted = {name: value.shape for name, value in plain.state_dict().items() if not name.startswith("pooler.")}
    return wanted == {name: value.shape for name, value in network.state_dict().items()}


def write_pooling(folder: Path, pooling: str, normalise: bool, hidden: int) -> None:
    """How token vectors become one, in the files of sentence encoders."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalise else [])]
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": "" if kind == "Transformer" else f"{place}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for place, kind in enumerate(kinds)
    ]
    modes = {f"pooling_mode_{name}": name == POOLING[pooling] for name in POOLING.values()}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": hidden, **modes}, indent=2), encoding="utf-8"
    )
    (folder / "modules.json").write_text(json.dumps(modules, indent=2), encoding="utf-8")
