"""What a fit is asked after it was trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Proof that a fit did what its name says, or a warning that it did not."""

    name: str
    passed: bool
    value: float
    wanted: str
