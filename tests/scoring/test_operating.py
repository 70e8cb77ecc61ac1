from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lowres.scoring.operating import (
    Step,
    Steps,
    design_effect,
    highest_precision,
    labels_needed,
    lower_bound,
    operating_point,
    operating_steps,
    refusal,
    rows_needed,
)


def drawn(rng: np.random.Generator, rows: int, confusing: float) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, confidences uniform in .5 … 1, right with probability 1 − confusing · (1 − confidence)."""
    sure = rng.uniform(0.5, 1.0, rows)
    right = rng.random(rows) < 1 - confusing * (1 - sure)
    return np.where(right, 0, 1), np.stack([sure, 1 - sure], axis=1)


def apart(rows: int) -> list[str]:
    return [str(number) for number in range(rows)]


def test_the_bound_is_clopper_and_pearsons() -> None:
    for good, count in ((59, 59), (57, 60), (1, 10)):
        wanted = scipy_stats.binomtest(good, count).proportion_ci(confidence_level=0.90, method="exact").low
        assert lower_bound(good, count, 0.95) == pytest.approx(wanted)
    assert lower_bound(0, 10, 0.95) == 0.0


@pytest.mark.parametrize("precision", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_labels_needed_are_the_fewest(precision: float, wrong: int) -> None:
    count = labels_needed(precision, wrong=wrong)
    assert lower_bound(count - wrong, count, 0.95) >= precision
    assert lower_bound(count - 1 - wrong, count - 1, 0.95) < precision
    assert labels_needed(0.95) == 59  # .95^59 = .0485


def test_no_precision_is_no_promise() -> None:
    for precision in (0.0, 1.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            labels_needed(precision)


def test_steps_are_counted_by_hand() -> None:
    sure = np.array([0.9, 0.9, 0.8, 0.7, 0.6])
    truth = np.array([0, 0, 1, 0, 0])
    found = operating_steps(truth, np.stack([sure, 1 - sure], axis=1), apart(5))
    assert found == Steps(5, 1.0, (Step(0.9, 2, 2), Step(0.8, 3, 2), Step(0.7, 4, 3), Step(0.6, 5, 4)))


def test_an_operating_point_looked_up_by_hand() -> None:
    # .94 bears three wrong answers from 127 rows on, so the search begins at the second step; lower bounds .9482, .9360
    found = Steps(400, 1.0, (Step(0.9, 100, 90), Step(0.8, 200, 195), Step(0.7, 300, 288)))
    assert labels_needed(0.94, wrong=3) == 127
    assert [round(lower_bound(right, count, 0.95), 4) for _, count, right in found.steps[1:]] == [0.9482, 0.936]
    point = operating_point(found, 0.94)
    assert point is not None
    assert (point.threshold, point.coverage, point.precision) == (0.8, 0.5, 195 / 200)
    assert point.promised == pytest.approx(lower_bound(195, 200, 0.95))
    assert operating_point(found, 0.93).threshold == 0.7
    assert highest_precision(found) == 0.94
    assert operating_point(found, 0.96) is None  # half of the rows at the latest, and those show .9482


def test_a_precision_that_comes_back_later_is_not_taken() -> None:
    """The first failure ends the search: looking on would test as often as one likes."""
    found = Steps(400, 1.0, (Step(0.9, 200, 160), Step(0.8, 400, 399)))
    assert lower_bound(399, 400, 0.95) > 0.95
    assert operating_point(found, 0.95) is None
    assert refusal(found, 0.95) == "of the surest 200 of 400 labelled rows 80.0 % are right, which is not enough"


def test_labels_that_fall_just_short_are_said_with_the_number() -> None:
    found = Steps(400, 1.0, (Step(0.8, 200, 194), Step(0.7, 400, 300)))
    said = refusal(found, 0.95)
    assert "97.0 % are right, which shows 94.2 %" in said
    rows = int(re.search(r"about (\d+) labelled rows", said)[1])  # half of them surest
    assert lower_bound(0.97 * rows / 2, rows / 2, 0.95) >= 0.95 > lower_bound(0.97 * (rows / 2 - 1), rows / 2 - 1, 0.95)


def test_too_few_labels_are_said_with_the_number() -> None:
    found = operating_steps(np.zeros(58, int), np.tile([0.9, 0.1], (58, 1)), apart(58))
    assert operating_point(found, 0.95) is None
    assert refusal(found, 0.95) == "58 labelled rows are too few, 59 are needed even if all are answered rightly"
    one_more = operating_steps(np.zeros(59, int), np.tile([0.9, 0.1], (59, 1)), apart(59))
    point = operating_point(one_more, 0.95)
    assert point is not None
    assert point.coverage == 1.0


@pytest.mark.parametrize(("rows", "confusing"), [(80, 0.1), (300, 0.3), (1000, 0.6), (1000, 0.25)])
def test_a_promise_is_broken_in_at_most_one_of_twenty_samples(rows: int, confusing: float) -> None:
    """The true precision above threshold t is 1 − confusing · (1 − t) / 2."""
    rng = np.random.default_rng(rows)
    broken = made = 0
    for _ in range(1000):
        truth, probabilities = drawn(rng, rows, confusing)
        point = operating_point(operating_steps(truth, probabilities, apart(rows)), 0.95)
        if point is not None:
            made += 1
            broken += 1 - confusing * (1 - point.threshold) / 2 < 0.95
    assert made > 0
    assert broken / 1000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_the_design_effect_is_that_of_the_means_of_equal_groups() -> None:
    """With equal groups: variance of the group means against p (1 − p) / rows."""
    rng = np.random.default_rng(0)
    right = (rng.random((50, 8)) < rng.uniform(0.4, 1.0, (50, 1))).astype(float)
    groups = [str(group) for group in range(50) for _ in range(8)]
    mean = right.mean()
    wanted = (right.mean(axis=1).var(ddof=1) / 50) / (mean * (1 - mean) / 400)
    assert wanted > 1.2
    assert design_effect(right.ravel(), groups) == pytest.approx(wanted)
    assert design_effect(right.ravel(), apart(400)) == 1.0
    assert design_effect(np.ones(400), groups) == 8.0


def test_rows_of_a_group_promise_less() -> None:
    truth, sure = np.zeros(400, int), np.tile([0.9, 0.1], (400, 1))
    grouped = operating_steps(truth, sure, [str(number // 10) for number in range(400)])
    assert rows_needed(grouped, 0.95) == 590
    assert operating_point(grouped, 0.95) is None
    assert operating_point(operating_steps(truth, sure, apart(400)), 0.95) is not None


@pytest.mark.parametrize(
    "steps",
    [(), (Step(0.9, 5, 6),), (Step(0.9, 11, 1),), (Step(0.8, 3, 2), Step(0.9, 5, 4)), (Step(1.2, 3, 2),)],
)
def test_steps_that_cannot_be_are_refused(steps: tuple[Step, ...]) -> None:
    with pytest.raises(ValueError, match="steps"):
        Steps(10, 1.0, steps)
