"""Named settings of adapter and recipe, chosen on dev rows (docs/performance.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


def _preset(live: int | None, linears: str, rate: float, head: float, steps: int, epochs: float) -> dict[str, Any]:
    return {
        "lora.live_layers": live,
        "lora.linears": linears,
        "recipe.learning_rate": rate,
        "recipe.head_learning_rate": head,
        "recipe.min_steps": steps,
        "recipe.epochs": epochs,
    }


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "fast": _preset(2, "query-value", 4e-3, 3e-2, 40, 3.0),
    "balanced": _preset(None, "query-value", 1e-3, 3e-2, 60, 3.0),
    "thorough": _preset(None, "query-value", 1e-3, 3e-2, 120, 6.0),
}
"""Settings by preset, the same ones in each. A preset wins over a file, other flags over a preset."""
