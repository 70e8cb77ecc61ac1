"""The masked-LM head of a backbone: whether the folder has it, and the encoder under it. A fresh head is never made.

Looking imports no torch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from lowres.errors import UserError
from lowres.models.backbone import Backbone

if TYPE_CHECKING:
    from torch import nn

HEADS: Final = {
    "bert": ("cls.predictions.transform.dense.weight", "cls.predictions.bias"),
    "distilbert": ("vocab_transform.weight", "vocab_projector.bias"),
    "electra": ("generator_predictions.dense.weight", "generator_lm_head.bias"),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), ("lm_head.dense.weight", "lm_head.bias")),
}
"""Weights by which the head is known, by architecture. The discriminator of an ELECTRA has none of them."""
MASKS: Final = ("[MASK]", "<mask>")


def mask_id(backbone: Backbone) -> int | None:
    """Number of the token that stands for a hidden one; None if the tokenizer has none."""
    try:
        added = json.loads((backbone.folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
        known = {str(token["content"]): int(token["id"]) for token in added}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((known[name] for name in MASKS if name in known), None)


def has_lm_head(backbone: Backbone) -> bool:
    """Whether the folder holds the head that the encoder was pretrained with, and a mask token."""
    needed = HEADS.get(backbone.config["model_type"])
    return needed is not None and set(needed) <= set(backbone.shapes) and mask_id(backbone) is not None


def load_with_lm_head(backbone: Backbone, device: str) -> tuple[nn.Module, nn.Module]:
    """The frozen encoder with its masked-LM head, and the encoder in it, in evaluation mode and fp32.

    Raises:
        UserError: A weight of the head or of the encoder is not there.
    """
    from transformers import AutoModelForMaskedLM

    model, missing = backbone.open(AutoModelForMaskedLM, device)
    if missing:
        raise UserError(f"backbone {backbone.name} has no whole masked-LM head", got=f"weights without {missing[0]}")
    model.requires_grad_(False)
    whole: nn.Module = model.eval().to(device)
    return whole, model.base_model
