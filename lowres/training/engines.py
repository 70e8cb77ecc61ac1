"""The engines by name. Imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lowres.data.tokens import Tokens
    from lowres.models.backbone import Backbone
    from lowres.training.fit import Engine

ENGINES: Final = {
    "fleet": "all ready fits of a wave in one computation",
    "loop": "one fit after another with PEFT and Accelerate, the reference",
}


def make_engine(name: str, backbone: Backbone, tokens: Tokens, device: str, precision: str) -> Engine:
    """An engine that is ready to train.

    Args:
        name: One of ``ENGINES``.
        backbone: The frozen encoder.
        tokens: Its tokenizer.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: The encoder cannot be loaded.
    """
    if name == "loop":
        from lowres.training.loop import LoopEngine

        return LoopEngine(backbone, tokens, device, precision)
    from lowres.training.fleet import FleetEngine

    return FleetEngine(backbone, tokens, device, precision)
