"""``summary.json``: the typed model. What fills it is ``measure.py``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A piece of a result: frozen, and unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Part):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class StudyPart(Part):
    """What was studied."""

    task: str
    task_version: int
    backbone: str
    metric: str
    domains: list[str]
    sources: list[str]
    targets: list[str]
    shots: list[int]
    seeds: int
    methods: list[str]
    limit: int | None
    row_cap: int
    protocol: str = "pairs"
    """``pairs``: a source is a domain; ``leave-one-out``: all of the study's but the target, joined by +."""


class FitsPart(Part):
    """How much was trained."""

    cells: int
    distinct: int
    trained: int
    reused: int
    failed: int


class SecondsPart(Part):
    """Where the time went."""

    total: float
    train: float
    evaluate: float
    encode: float


class Score(Part):
    """A method's score on a target, over draws and test groups."""

    method: str
    source: str | None
    target: str
    shots: int | None
    metric: str
    mean: float
    low: float
    high: float
    seeds: int


class Shift(Part):
    """How far a pair falls. Target drop and scenario are null where the target has no rows to train on."""

    source: str
    target: str
    metric: str
    source_drop: Estimate
    target_drop: Estimate | None
    scenario: Literal["classic", "observed", "unobserved", "none"] | None


class Transfer(Part):
    """What a method wins back on a pair. ``labels_saved`` is the number of target labels in all that ``target-only``
    would need to match it; null where the measured budgets do not tell.
    """

    method: str
    source: str
    target: str
    shots: int
    gain: Estimate
    net_transfer: Estimate | None
    recovery: Estimate | None
    recovery_reason: str | None
    labels_saved: Estimate | None


class WorstPair(Part):
    """The pair with the lowest score."""

    source: str
    target: str
    mean: float


class Overall(Part):
    """A method over all pairs, for these domains."""

    method: str
    shots: int
    score: Estimate
    gain: Estimate
    recovery: Estimate | None
    net_transfer: Estimate | None
    worst_pair: WorstPair
    negative_transfer_rate: float | None


class Verdict(Part):
    """A method against the reference; source and target null: over all pairs."""

    method: str
    against: str
    source: str | None
    target: str | None
    shots: int
    difference: Estimate
    p_adjusted: float
    verdict: Literal["better", "worse", "no difference shown"]
    minimum_detectable: float


class Summary(BaseModel):
    """One study in numbers. Scores are fractions; bounds are 95 %."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    lowres: str
    study: StudyPart
    fits: FitsPart
    seconds: SecondsPart
    scores: list[Score]
    shift: list[Shift]
    transfer: list[Transfer]
    overall: list[Overall]
    verdicts: list[Verdict]
    warnings: list[str]

    def to_json(self) -> str:
        """The text of ``summary.json``."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
