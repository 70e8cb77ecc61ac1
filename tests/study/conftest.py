from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lowres.library import Study

SMALL = {
    "sources": ["shop"], "targets": ["film", "chat"], "shots": [0, 4], "seeds": 2, "source_rows": 30, "precision": "fp32",
    "recipe": {"min_steps": 12, "epochs": 1, "max_length": 24, "learning_rate": 5e-3, "head_learning_rate": 5e-2},
}  # fmt: skip


@pytest.fixture
def small(tmp_path: Path, toy_table: Path, encoder: Path) -> Callable[..., Study]:
    """Makes the small study, with its store and results below ``tmp_path``."""

    def make(**changes: object) -> Study:
        given = {
            **SMALL,
            "backbone": str(encoder),
            "store": str(tmp_path / "store"),
            "out": str(tmp_path / "out"),
            **changes,
        }
        return Study(str(toy_table), **given)

    return make
