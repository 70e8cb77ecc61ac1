"""A model with an encoder of its own: the adapter merged into the weights, or weights that were changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lowres.models.backbone import Backbone, copy_tokenizer
from lowres.models.classifier import Classifier, Tensors
from lowres.models.shaped import EIGHT_BITS, SHAPED, STOCK, quantised

if TYPE_CHECKING:
    from torch import nn

POOLINGS: Final = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
"""What sentence encoders call it."""
MODULES: Final = {
    "": "sentence_transformers.models.Transformer",
    "1_Pooling": "sentence_transformers.models.Pooling",
    "2_Normalize": "sentence_transformers.models.Normalize",
}
"""Folders of the parts, by the names under which every version of the library finds them."""


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
    copy_tokenizer(model.tokenizer, folder)
    hidden = int(settings.get("hidden_size") or settings["dim"])
    for name, content in pooling_files(model.pooling, model.normalise, hidden).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    name = model.backbone.name
    found = Backbone(name=name if what == "merged" else f"{name}, {what}", folder=folder)
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


def pooling_files(pooling: str, normalise: bool, hidden: int) -> dict[str, Any]:
    """How token vectors become one, in the JSON files of sentence encoders, by name."""
    parts = [path for path in MODULES if normalise or path != "2_Normalize"]
    return {
        "modules.json": [{"idx": at, "name": str(at), "path": path, "type": MODULES[path]} for at, path in enumerate(parts)],
        "1_Pooling/config.json": {
            "word_embedding_dimension": hidden, **{name: one == pooling for one, name in POOLINGS.items()},
        },
    }  # fmt: skip
