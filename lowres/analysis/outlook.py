"""What a source model will score on texts without labels: the answer of ``lowres forecast``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from lowres import seeds
from lowres.analysis.distances import Ruler
from lowres.analysis.evidence import Distance, Forecast
from lowres.analysis.forecast import Answers, accuracy, predict
from lowres.analysis.measure import Scores
from lowres.analysis.summary import Estimate
from lowres.data.rows import Rows
from lowres.errors import UserError
from lowres.study.runner import Outcome, answer
from lowres.study.store import Store
from lowres.training.fit import Engine

LEAST_TEXTS = 20


class Inside(BaseModel):
    """Measured accuracy of source-only in its own domain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    accuracy: Estimate


class Outlook(BaseModel):
    """Forecasts for every pair of a source and a set of texts. No target label entered it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    task: str
    backbone: str
    draws: int
    texts: dict[str, int]
    """How many of each target."""
    inside: list[Inside]
    forecasts: list[Forecast]
    distances: list[Distance]
    says: list[str]
    """One sentence a pair."""

    def to_json(self) -> str:
        """As JSON."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def unlabelled(domain: str, texts: Sequence[str], groups: Sequence[str] | None = None) -> Rows:
    """Rows that carry no label, and ids of the text alone.

    Raises:
        UserError: Too few texts to say anything about.
    """
    if len(texts) < LEAST_TEXTS:
        raise UserError(f"too few texts of {domain} for a forecast", got=len(texts), expected=f"at least {LEAST_TEXTS}")
    if groups is not None and len(set(groups)) < 2:
        raise UserError(f"the texts of {domain} are one group", expected="at least two, for an interval")
    names = [f"{seeds.digest('text', text)[:16]}-{place}" for place, text in enumerate(texts)]
    return Rows(domain, tuple(names), texts, ("",) * len(texts), tuple(groups or names))


def look_ahead(outcome: Outcome, engine: Engine, store: Store, backbone: str, targets: Iterable[Rows]) -> Outlook:
    """Answers of each source's fits on each target's texts, and what follows from them.

    Args:
        outcome: Of ``source-only`` fits tested on their own domain.
        engine: Who answers.
        store: Keeps the answers.
        backbone: Its name for people.
        targets: Rows from ``unlabelled``.
    """
    plan, scores = outcome.plan, Scores(outcome)
    targets = list(targets)
    metric, ruler = plan.task.measure, Ruler(plan.task.name, engine, plan.config.recipe)
    inside, forecasts, distances = list[Inside](), list[Forecast](), list[Distance]()
    for source in plan.sources:
        rows, truth = plan.rows(source), outcome.targets(source)
        contents = list(scores.starts(source).values())
        if not contents:
            continue
        own = Answers.on(rows, [one for content in contents if (one := outcome.answers(content, source)) is not None])
        train = [plan.task.domains[name].train for name in plan.origins.members(source)]
        inside.append(Inside(source=source, accuracy=accuracy(truth, own)))
        for target in targets:
            if (source, target.domain) not in plan.pairs:
                continue
            other = Answers.on(target, [_answers(outcome, engine, store, content, target) for content in contents])
            forecasts += [
                Forecast(source=source, target=target.domain, rule=rule, metric=name, predicted=found, measured=None)
                for rule, name, found in predict(truth, own, other, metric)
            ]
            distances.append(ruler.apart(rows, target, *train))
    return Outlook(
        task=plan.task.name,
        backbone=backbone,
        draws=plan.config.seeds,
        texts={rows.domain: len(rows) for rows in targets},
        inside=inside,
        forecasts=forecasts,
        distances=distances,
        says=list(_sentences(inside, forecasts)),
    )


def _answers(outcome: Outcome, engine: Engine, store: Store, content: str, rows: Rows) -> npt.NDArray[np.float32]:
    plan = outcome.plan
    return answer(plan.distinct[content], outcome.environment, engine, store, rows, plan.task.labels)


def _sentences(inside: list[Inside], forecasts: list[Forecast]) -> Iterator[str]:
    within = {one.source: one.accuracy for one in inside}
    for one in forecasts:
        if one.rule != "mean":
            continue
        alike = [
            other.predicted.mean
            for other in forecasts
            if (other.source, other.target, other.metric) == (one.source, one.target, "accuracy")
            and other.rule != "mean"
        ]
        before, after = within[one.source].mean, one.predicted.mean
        moves = f"fall by {before - after:.3f}" if before > after else f"rise by {after - before:.3f}"
        yield (
            f"{one.source} → {one.target}: accuracy is forecast to {moves}, from {before:.3f} to about {after:.3f};"
            f" the rules say {min(alike):.3f} to {max(alike):.3f}, and none of them has seen a target label"
        )
