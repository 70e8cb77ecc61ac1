"""The worked examples of docs/trust.md, computed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lowres.scoring.calibration import conformal_level, label_sets, risk_by_coverage, scaled, temperature
from lowres.scoring.detection import auroc, recall_at_precision
from lowres.scoring.metrics import calibration_error, find_metric
from lowres.scoring.operating import design_effect, labels_needed, lower_bound
from lowres.scoring.shift_measures import label_shift, log_odds, of_labels

PAGE = " ".join((Path(__file__).parent.parent / "docs" / "trust.md").read_text(encoding="utf-8").split())


def said(*texts: str) -> None:
    for text in texts:
        assert text in PAGE, text


def test_temperature() -> None:
    truth, sure = np.array([0] * 8 + [1] * 2), np.tile([0.9, 0.1], (10, 1))
    heat = temperature(truth, sure)
    assert heat == pytest.approx(math.log(9) / math.log(4), abs=1e-3)
    said(f"T = ln 9 / ln 4 = {heat:.3f}")
    assert calibration_error(truth, sure, bins=1) == pytest.approx(0.1)
    assert calibration_error(truth, scaled(sure, heat), bins=1) == pytest.approx(0, abs=1e-3)


def test_chance_of_bins() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, (200, 600))
    found = [calibration_error((rng.random(600) > one).astype(int), np.stack([one, 1 - one], axis=1)) for one in sure]
    assert np.mean(found) == pytest.approx(0.06, abs=0.012)
    said("15 bins of 40 rows show an ECE of about .06")


def test_risk() -> None:
    sure = np.array([0.9, 0.8, 0.8, 0.6])
    coverage, risk = risk_by_coverage(np.array([0, 0, 1, 0]), np.stack([sure, 1 - sure], axis=1))
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 1 / 4])
    said("Coverage .25: risk 0. Coverage .75: risk 1/3. All: risk 1/4.")


def test_labels() -> None:
    for precision in (0.9, 0.95, 0.99):
        counts = " | ".join(str(labels_needed(precision, wrong=wrong)) for wrong in (0, 1, 3))
        said(f"| {f'{precision:.2f}'[1:]} | {counts} |")
    said(
        f"For n = 59 it is {lower_bound(59, 59, 0.95):.4f}, for n = 58 {lower_bound(58, 58, 0.95):.4f}".replace(
            " 0.", " ."
        )
    )


def test_design() -> None:
    right = np.array([0.0, 0.0] + [1.0] * 18)
    found = design_effect(right, [str(row // 2) for row in range(20)])
    said(f"= 1.8: {found:.2f}. So 20 rows count as {20 / found:.0f}")


def test_sets() -> None:
    true = np.array([0.95, 0.9, 0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.3])
    level = conformal_level(np.zeros(9, int), np.stack([true, 1 - true], axis=1), 0.9)
    assert level == 0.3
    assert label_sets(np.array([[0.65, 0.35], [0.8, 0.2]]), level).tolist() == [[True, True], [True, False]]
    said("so the level is .3. A text with .65 / .35 gets both labels, one with .8 / .2 gets one")


def test_rows_out_of_scope() -> None:
    inside, outside = np.array([0.9, 0.8, 0.5]), np.array([0.6, 0.5, 0.2, 0.2])
    assert auroc(inside, outside) == 0.875
    said("AUROC (1 + 1 + 2.5/4) / 3 = .875")
    assert recall_at_precision(inside, outside, 0.95) == 0.5
    assert recall_at_precision(inside, outside, 0.8) == 1.0
    said("At a precision of .95 half of the outside is found, at .8 all of it")
    said("with 1,000 rows outside and 1,500 inside it is 40 %")


def test_shift() -> None:
    target = np.array([0.2, 0.8])
    assert label_shift(np.array([0.5, 0.5]), target) == pytest.approx(0.3)
    truth, answers = np.repeat([0, 1], 10), np.array([0] * 9 + [1] * 7 + [0] * 4)
    fall = of_labels(truth, np.eye(2)[answers], target, find_metric("accuracy"))
    assert fall == pytest.approx(0.09)
    odds, _ = log_odds(np.array([[8.0, 2.0], [1.0, 9.0]]), np.array([1.0, 2.0]))
    said(f"ln(9/4) − ln(2/11) = {odds[0, 0]:.2f}", ".66 at .2 / .8: .09", ".5 / .5 and .2 / .8: .3")
