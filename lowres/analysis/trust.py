"""Whether the models of a study can be believed: calibration, risk by coverage, promised precision and label sets.

``source-only`` is fitted and measured in the source, and measured in the target. The fits that have seen target shots
were tested on the target alone: what is fitted for them is fitted on one half of the target's test groups and measured
on the other. Nothing here goes back into a model or chooses one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.analysis.evidence import Calibration, Promise, RiskCurve, Sets
from lowres.analysis.measure import Column, Scores, estimate_of
from lowres.scoring.calibration import conformal_level, label_sets, risk_by_coverage, scaled, temperature
from lowres.scoring.metric import Floats, Probabilities, Targets
from lowres.scoring.metrics import calibration_error, hits, share
from lowres.scoring.operating import operating_point, operating_steps, refusal
from lowres.stats.variance import block, group_sums, interval
from lowres.study.runner import Outcome

METHODS = ("source-only", "target-only", "source-then-target")
PRECISIONS = (0.9, 0.95)
WANTED = 0.9
"""Coverage of the label sets."""
POINTS = 40
"""Of a risk curve, at most."""
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Domain:
    """Test rows of a domain or of a set of them, cut into halves by group."""

    name: str
    targets: Targets
    groups: tuple[str, ...]
    first: Flags

    @cached_property
    def all(self) -> Flags:
        return np.ones(len(self.targets), dtype=np.bool_)


@dataclass(frozen=True)
class _Fitted:
    """A column whose fits can be asked: where something may be fitted for it, and where that is measured."""

    column: Column
    probabilities: dict[str, list[Probabilities]]
    """By domain, one array [rows, classes] a draw."""

    @property
    def coordinates(self) -> tuple[str, str | None, str, int]:
        method, source, target, shots = self.column
        return method, source, target, shots or 0


def calibration(outcome: Outcome, scores: Scores) -> list[Calibration]:
    """How far confidences are off, before and after a temperature from the source; mean over draws."""
    domains = _domains(outcome)
    return [
        _calibration(one, domains[source], domains[target])
        for one in _columns(outcome, scores)
        for _, source, target, _ in [one.coordinates]
        if source is not None and source in one.probabilities
    ]


def risks(outcome: Outcome, scores: Scores) -> list[RiskCurve]:
    """Share of wrong answers by coverage, in every domain in which a fit was tested."""
    found = []
    for one in _columns(outcome, scores):
        method, source, target, shots = one.coordinates
        for name, arrays in one.probabilities.items():
            found.append(
                RiskCurve(
                    method=method,
                    source=source,
                    target=target,
                    shots=shots,
                    domain=name,
                    points=_curve(outcome.targets(name), arrays),
                )
            )
    return found


def promises(outcome: Outcome, scores: Scores) -> list[Promise]:
    """How much can be answered at each precision, by threshold and place of measurement."""
    domains = _domains(outcome)
    return [
        _promise(one, precision, domains[fitted], domains[measured])
        for one in _columns(outcome, scores)
        for precision in PRECISIONS
        for fitted in one.probabilities
        for measured in one.probabilities
        if fitted == measured or fitted == one.column[1]
    ]


def sets(outcome: Outcome, scores: Scores) -> list[Sets]:
    """Label sets fitted in the source where the fits were tested there, else on one half of the target."""
    domains = _domains(outcome)
    return [
        _sets(one, domains[source if source in one.probabilities else target], domains[target])
        for one in _columns(outcome, scores)
        for _, source, target, _ in [one.coordinates]
    ]


def _columns(outcome: Outcome, scores: Scores) -> Iterator[_Fitted]:
    """The columns in question, with their probabilities in the source where there are any, and in the target."""
    for column, draws in scores.columns.items():
        method, source, target, _ = column
        if method not in METHODS or (source is not None and target in outcome.plan.origins.members(source)):
            continue
        contents = [draws[draw] for draw in sorted(draws)]
        found = {}
        for name in (source, target):
            if name is not None:
                answers = [outcome.answers(content, name) for content in contents]
                known = [one for one in answers if one is not None]
                if len(known) == len(answers):
                    found[name] = known
        yield _Fitted(column, found)


def _domains(outcome: Outcome) -> dict[str, _Domain]:
    found = {}
    for name in dict.fromkeys((*outcome.plan.test_rows, *outcome.plan.sources)):
        groups = outcome.plan.rows(name).groups
        first = seeds.first_half(groups, "trust", outcome.plan.task.name, name)
        found[name] = _Domain(name, outcome.targets(name), groups, first)
    return found


def _calibration(one: _Fitted, source: _Domain, target: _Domain) -> Calibration:
    heats, errors = [], []
    for own, other in zip(one.probabilities[source.name], one.probabilities[target.name], strict=True):
        heat = temperature(source.targets, own)
        heats.append(heat)
        crossed = np.empty(own.shape)
        for half in (source.first, ~source.first):
            crossed[half] = scaled(own[half], temperature(source.targets[~half], own[~half]))
        errors.append(
            [
                calibration_error(source.targets, own),
                calibration_error(source.targets, crossed),
                calibration_error(target.targets, other),
                calibration_error(target.targets, scaled(other, heat)),
            ]
        )
    before, after, there_before, there_after = (float(value) for value in np.mean(errors, axis=0))
    return Calibration(
        method=one.column[0],
        source=source.name,
        target=target.name,
        shots=one.column[3] or 0,
        temperature=float(np.mean(heats)),
        source_before=before,
        source_after=after,
        target_before=there_before,
        target_after=there_after,
    )


def _curve(targets: Targets, arrays: list[Probabilities]) -> list[tuple[float, float]]:
    """Coverage and mean risk over draws; rows tied in confidence are answered in random order, so share their errors."""
    rows = len(targets)
    counts = np.unique(np.ceil(np.arange(1, POINTS + 1) * rows / POINTS))
    found = []
    for probabilities in arrays:
        coverage, risk = risk_by_coverage(targets, probabilities)
        answered = np.concatenate([[0.0], coverage * rows])
        found.append(np.interp(counts, answered, np.concatenate([[0.0], risk * coverage * rows])) / counts)
    return [
        (round(float(count) / rows, 6), round(float(value), 6))
        for count, value in zip(counts, np.mean(found, axis=0), strict=True)
    ]


def _promise(one: _Fitted, precision: float, fitted: _Domain, measured: _Domain) -> Promise:
    """Draws whose labels support no threshold answer nothing."""
    held = ~measured.first if fitted.name == measured.name else measured.all
    thresholds, reasons, answers = [], [], []
    for own, other in zip(one.probabilities[fitted.name], one.probabilities[measured.name], strict=True):
        counts = operating_steps(
            fitted.targets[fitted.first], own[fitted.first], np.array(fitted.groups)[fitted.first].tolist()
        )
        point = operating_point(counts, precision)
        if point is None:
            reasons.append(refusal(counts, precision))
        thresholds.append(np.inf if point is None else point.threshold)
        answers.append(_answers(measured, other, held, thresholds[-1]))
    method, source, target, shots = one.coordinates
    sums = np.stack(answers)  # [draws, groups, rows · answered · right]
    _, answered, right = sums.sum(axis=(0, 1))
    supported = [threshold for threshold in thresholds if np.isfinite(threshold)]
    lonely = sums.shape[1] < 2
    found = interval([block(sums[..., [1, 0]], share)], bounds=(0.0, 1.0)) if supported and not lonely else None
    return Promise(
        method=method,
        source=source,
        target=target,
        shots=shots,
        precision=precision,
        fitted_on=fitted.name,
        measured_on=measured.name,
        threshold=float(np.mean(supported)) if supported else None,
        coverage=estimate_of(found) if found else None,
        kept=float(right / answered) if answered else None,
        reason="one test group to measure on, two are needed"
        if lonely
        else _reason(reasons, len(thresholds), bool(answered)),
    )


def _answers(domain: _Domain, probabilities: Probabilities, held: Flags, threshold: float) -> Floats:
    """Rows, answered rows and rightly answered rows of each group, [groups, 3]."""
    sure = probabilities.max(axis=1) >= threshold
    right = hits(domain.targets, probabilities)[:, 0]
    addends = np.stack([np.ones(len(sure)), sure, sure * right], axis=1)[held]
    _, position = np.unique(np.array(domain.groups)[held], return_inverse=True)
    return group_sums(addends, position)


def _reason(reasons: list[str], draws: int, answered: bool) -> str | None:
    """Why there is nothing to say, or in how many draws."""
    if len(reasons) == draws:
        return reasons[0] + (" (the first draw)" if draws > 1 and len(set(reasons)) > 1 else "")
    if not answered:
        return "no row of the measured ones is sure enough"
    if reasons:
        return f"in {len(reasons)} of {draws} draws the labels support no threshold; they count as answering nothing"
    return None


def _sets(one: _Fitted, here: _Domain, there: _Domain) -> Sets:
    method, source, target, shots = one.coordinates
    held = there.all if here.name == source else ~there.first
    inside, outside, sizes = [], [], []
    for own, other in zip(one.probabilities[here.name], one.probabilities[target], strict=True):
        level = conformal_level(here.targets[here.first], own[here.first], WANTED)
        if level is None:
            break
        own_sets, other_sets = label_sets(own, level), label_sets(other, level)
        inside.append(own_sets[~here.first, here.targets[~here.first]].mean())
        outside.append(other_sets[held, there.targets[held]].mean())
        sizes.append(other_sets[held].sum(axis=1).mean())
    rows = int(here.first.sum())
    return Sets(
        method=method,
        source=source,
        target=target,
        shots=shots,
        wanted=WANTED,
        in_source=float(np.mean(inside)) if inside and here.name == source else None,
        in_target=float(np.mean(outside)) if outside else None,
        size=float(np.mean(sizes)) if sizes else None,
        reason=None if outside else f"{rows} labelled rows are too few, {round(WANTED / (1 - WANTED))} are needed",
    )
