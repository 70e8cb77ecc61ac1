"""``evidence.json``: what a report shows beyond the summary. The typed model; one module beside it fills each part.

Everything here follows from kept probabilities, test rows and frozen features. Lists that do not apply are empty, values
that the data do not support are null and carry a reason.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lowres import seeds
from lowres.analysis.summary import Estimate, Part

Against = Literal["labels", "seconds", "flops"]
Wanted = Literal["ceiling less a point", "asked"]


class Aggregate(Part):
    """A method over all pairs of the study (Agarwal et al. 2021). Improvement: P(its draw beats the reference's draw)."""

    method: str
    shots: int
    interquartile_mean: Estimate
    against: str | None
    improvement: Estimate | None


class Cost(Part):
    """What a cell of a method costs, mean over pairs and draws: target labels in all, training seconds and forward and
    backward FLOPs with everything it starts from, beside its mean score.
    """

    method: str
    shots: int | None
    labels: float
    seconds: float
    flops: float
    score: float


class LawPoint(Part):
    """A fitted law at one place, with its 95 % band."""

    x: float
    mean: float
    low: float
    high: float


class Law(Part):
    """score = ceiling − scale · x^−exponent of a method on a pair (source null: it uses none; target null: over all).

    ``points`` are measured means. ``pays_until`` is where a doubling of x stops bringing a point (0.01). Where nothing
    can be fitted ``curve`` is empty and ``reason`` says why.
    """

    method: str
    source: str | None
    target: str | None
    against: Against
    points: list[LawPoint]
    curve: list[LawPoint]
    pays_until: float | None
    reason: str | None
    pays_band: tuple[float, float | None] | None = None
    """Of ``pays_until``, 90 %; the upper bound null beyond four times the most measured."""
    draws: list[list[float]] = Field(default_factory=list)
    """Scores behind the points, [draws, points], and the covariance of their means that the test groups cause, [points,
    points]: from both the law can be fitted again.
    """
    tests: list[list[float]] = Field(default_factory=list)


class Reach(Part):
    """Target labels a class (all of them over the number of classes) that a method takes to a score, by its law.

    ``wanted``: the ceiling less one point (0.01), or a score that was asked for. The band is one of 90 %; a bound is null
    where it leaves what the law may speak of (the fewest labels measured … four times the most). ``labels`` null: ``reason``.
    ``measured``: the fewest labels a class at which the measured mean was no lower, with or without a law; null if at none.
    """

    method: str
    source: str | None
    target: str
    wanted: Wanted
    score: float
    labels: float | None
    low: float | None
    high: float | None
    measured: float | None = None
    reason: str | None


class Forecast(Part):
    """The score of ``source-only`` in the target, said without target labels, beside the measured one.

    ``rule`` is one of ``confidence``, ``doc``, ``atc``, ``agreement`` or ``mean`` (of those). Accuracy unless ``metric``
    says otherwise.
    """

    source: str
    target: str
    rule: str
    metric: str
    predicted: Estimate
    measured: float | None


class Distance(Part):
    """How far two domains lie apart, without a model of the task.

    ``proxy_a`` 0 … 2; ``words``: Jensen-Shannon divergence in bits, 0 … 1; ``unseen``: share of the running words of the
    target that no training text of the source has; ``length``: mean words in the target over those in the source;
    ``labels``: total variation between the label shares, 0 … 1, null where no target labels were used; ``of_labels``:
    the part of the source drop that a change of label shares alone explains.
    """

    source: str
    target: str
    proxy_a: float
    words: float
    unseen: float
    length: float
    labels: float | None
    of_labels: float | None


class Flip(Part):
    """A target row that source-only answers wrongly and the method rightly (``mended``), or the other way round."""

    source: str
    target: str
    method: str
    shots: int
    row: str
    text: str
    label: str
    mended: bool
    share: float
    """Of the draws that agree."""


class Word(Part):
    """A word that speaks for a label otherwise in the target than in the source; weights are log odds."""

    source: str
    target: str
    word: str
    label: str
    in_source: float
    in_target: float


class Calibration(Part):
    """Expected calibration error before and after a temperature fitted on labelled source rows, in both domains."""

    method: str
    source: str
    target: str
    shots: int
    temperature: float
    source_before: float
    source_after: float
    target_before: float
    target_after: float


class RiskCurve(Part):
    """Share of wrong answers when only the surest rows are answered, [coverage, risk] from sure to all, mean over draws."""

    method: str
    source: str | None
    target: str
    shots: int
    domain: str
    """Where it was measured: the source or the target."""
    points: list[tuple[float, float]]


class Promise(Part):
    """How many rows can be answered at a precision. The threshold is fitted on one half of the groups of ``fitted_on`` and
    measured on the other half (or on the whole other domain); ``coverage`` null with a reason where the labels support
    no such promise.
    """

    method: str
    source: str | None
    target: str
    shots: int
    precision: float
    fitted_on: str
    measured_on: str
    threshold: float | None
    coverage: Estimate | None
    kept: float | None
    """Share of right answers among those answered, measured."""
    reason: str | None


class Sets(Part):
    """Split-conformal label sets: wanted coverage, and what they measured in the source and in the target.

    Fitted on one half of the source's groups and measured on the other half and the whole target. ``in_source`` null
    without a reason: the fits were tested on the target alone, so fitted on one half of its groups, measured on the other.
    """

    method: str
    source: str | None
    target: str
    shots: int
    wanted: float
    in_source: float | None
    in_target: float | None
    size: float | None
    """Mean number of labels in a set in the target."""
    reason: str | None


class Outside(Part):
    """How well confidence tells the target's test rows, the inside, from ``rows`` out of scope, the outside.

    ``auroc``: the chance that a row inside is surer than one outside; null with a ``reason`` where a side is one group.
    ``recall``: the share of the outside that can be flagged, least sure rows first, while ``precision`` of the flagged are
    outside: mean over draws, with its ``lowest`` and ``highest`` draw. It holds for this ``prevalence``, the share of the
    outside among the rows of both.
    """

    method: str
    source: str | None
    target: str
    shots: int | None
    rows: int
    prevalence: float
    auroc: Estimate | None
    precision: float
    recall: float
    lowest: float
    highest: float
    reason: str | None


class Place(Part):
    """A text on the map of the domains."""

    domain: str
    label: str
    pca: tuple[float, float]
    tsne: tuple[float, float]


class Choice(Part):
    """Which method a rule without target test labels picks, and what that costs against the best one measured (regret)."""

    rule: str
    source: str
    target: str
    shots: int
    picked: str
    best: str
    regret: float


class Acted(Part):
    """A check of the fits of a method, those that it shares with others among them: how many were asked, which share of
    them passed, and the value that lies furthest on the wrong side of what is wanted.
    """

    method: str
    check: str
    fits: int
    passed: float
    worst: float
    wanted: str


class Evidence(BaseModel):
    """Everything beyond the summary."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    aggregates: list[Aggregate] = []
    costs: list[Cost] = []
    laws: list[Law] = []
    reaches: list[Reach] = []
    forecasts: list[Forecast] = []
    distances: list[Distance] = []
    flips: list[Flip] = []
    words: list[Word] = []
    calibration: list[Calibration] = []
    risks: list[RiskCurve] = []
    promises: list[Promise] = []
    sets: list[Sets] = []
    outside: list[Outside] = []
    choices: list[Choice] = []
    map: list[Place] = []
    acted: list[Acted] = []
    notes: list[str] = []
    classes: int | None = None
    """Labels that the task has, by which ``reaches`` divides."""
    classes_in: dict[str, int] = {}
    """Labels of each target, where domains differ in them."""
    seal: str = ""
    """Of the content and of the study it was made for."""

    def sealed(self, study: str) -> Evidence:
        """The same, so that a later run can tell whether it is whole and of this study."""
        return self.model_copy(update={"seal": self._seal(study)})

    def is_of(self, study: str) -> bool:
        """Whether it was made for this study and nothing in it changed since."""
        return self.seal == self._seal(study)

    def _seal(self, study: str) -> str:
        return seeds.digest("evidence", study, self.model_dump_json(exclude={"seal"}))

    def without_texts(self) -> Evidence:
        """The same without a text of the data; single words stay."""
        return self.model_copy(update={"flips": [one.model_copy(update={"text": "(left out)"}) for one in self.flips]})

    def to_json(self) -> str:
        """The text of ``evidence.json``."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"
