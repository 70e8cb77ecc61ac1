"""``compression.json``: what a model lost and won when it was made smaller. What fills it is ``compare.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field

from lowres.analysis.summary import Estimate, Part
from lowres.errors import LowresError


class MaxLossError(LowresError):
    """A compressed model costs more of a score than was allowed; nothing was written.

    Args:
        faults: The domains on which it does, a line each.
        found: Everything measured.
    """

    def __init__(self, faults: Sequence[str], found: Compression) -> None:
        self.faults, self.found = tuple(faults), found
        super().__init__("\n".join(["the model is refused, nothing was written; try a milder setting", *faults]))


class Side(Part):
    """One of the two models, its adapter merged into the encoder."""

    bytes: int
    """Of encoder and head on disk."""
    parameters: int
    flops: float
    """Of a text, mean over the test texts: two a weight and token, and the products of attention."""
    milliseconds: dict[str, float]
    """Of a text, tokenising included, by how many are asked at once; median."""


class OnDomain(Part):
    """Scores of both models on the same test rows."""

    domain: str
    role: Literal["source", "target"]
    rows: int
    before: Estimate
    after: Estimate
    change: Estimate
    """After − before, paired over test groups."""
    agreement: Estimate | None
    """Share of the answers that are the same; null of numbers."""
    calibration_before: float | None
    """Expected calibration error; null where an answer is not one label a text."""
    calibration_after: float | None
    layers: float | None
    """Layers that a text went through on average; null without early exits."""


class Falls(Part):
    """The drop from source to target, before and after."""

    source: str
    target: str
    before: Estimate
    after: Estimate
    growth: Estimate
    """After − before, paired over test groups."""


class Compression(Part):
    """A model beside the one that was made of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    lowres: str
    task: str
    task_version: int
    metric: str
    model: str
    """What the model before was: backbone and method."""
    method: str
    settings: dict[str, Any]
    texts: int
    """Texts without labels that the method was given."""
    draws: int
    """Models that were compared, each before and after."""
    device: str
    precision: str
    threads: int
    seconds: float
    """That the method took."""
    before: Side
    after: Side
    speed_up: dict[str, float]
    """Milliseconds before over milliseconds after, by how many texts are asked at once; median of pairs taken side by side."""
    domains: list[OnDomain]
    shift: list[Falls]
    warnings: list[str]

    def to_json(self) -> str:
        """As it is written."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    def worst(self) -> OnDomain:
        """The domain on which the score fell most."""
        return min(self.domains, key=lambda one: one.change.mean)

    def moved(self) -> OnDomain:
        """The domain on which the score changed most."""
        return max(self.domains, key=lambda one: abs(one.change.mean))
