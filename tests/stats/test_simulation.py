"""Short form of scripts/simulate_intervals.py: coverage, width, false verdicts; every check is seen to fail too."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from lowres.scoring.detection import placements
from lowres.stats.paired import compare, holm
from lowres.stats.variance import Block, Interval, interval, two_samples

GROUPS = 60


def crossed(rng: np.random.Generator, draws: int, share: float) -> Block:
    """Mean 0 and variance of the mean 1, of which ``share`` from draws (a tenth of it draw × group noise)."""
    noise = 0.1 * share * draws * GROUPS
    values = np.sqrt(0.9 * share * draws) * rng.standard_normal((draws, 1))
    values = values + np.sqrt((1 - share) * GROUPS) * rng.standard_normal(GROUPS)
    values = values + np.sqrt(noise) * rng.standard_normal((draws, GROUPS))
    return Block(values.mean(axis=1), values)


def coverage(found: list[Interval], true: float, stretch: float = 1.0) -> float:
    hits = [abs(one.mean - true) <= stretch * (one.high - one.low) / 2 for one in found]
    return float(np.mean(hits))


@pytest.mark.parametrize("draws", [3, 5, 10])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 1.0])
def test_coverage_and_width_of_crossed_effects(draws: int, share: float) -> None:
    rng = np.random.default_rng([1, draws, int(100 * share)])
    found = [interval([crossed(rng, draws, share)]) for _ in range(2000)]
    # True coverage is at least 93.8 %, Monte-Carlo error 0.54 points.
    assert coverage(found, 0.0) >= 0.93
    assert coverage(found, 0.0, stretch=0.6) < 0.93
    width = np.mean([one.high - one.low for one in found]) / (2 * stats.norm.ppf(0.975))
    df = 1 / (share**2 / (draws - 1) + (1 - share) ** 2 / (GROUPS - 1))
    assert width <= 1.25 * stats.t.ppf(0.975, df) / stats.norm.ppf(0.975)


@pytest.mark.parametrize(("draws", "share"), [(3, 0.9), (3, 0.3), (5, 0.8)])
def test_false_verdicts_of_four_equal_methods(draws: int, share: float) -> None:
    rng = np.random.default_rng([2, draws, int(100 * share)])
    false, by_normal, families = 0, 0, 600
    for _ in range(families):
        reference = crossed(rng, draws, share)
        found = compare([[crossed(rng, draws, share) - reference] for _ in range(4)])
        false += any(one.verdict != "no difference shown" for one in found)
        normal = [2 * float(stats.norm.sf(abs(one.difference.mean) / one.difference.se)) for one in found]
        by_normal += min(holm(normal)) <= 0.05
    # True rate is at most 4 %, Monte-Carlo error 0.8 points.
    assert false / families <= 0.05
    assert by_normal / families > 0.05


def two_sided(rng: np.random.Generator, draws: int, apart: float, spread: float) -> tuple[Block, Block]:
    """Placements of 80 rows and of 50, each the same in every draw but for noise; ``spread`` of the draws moves them apart."""
    first, second = rng.standard_normal(80), rng.standard_normal(50)
    sides = [
        placements(
            first + apart + spread * rng.standard_normal() + 0.5 * rng.standard_normal(80),
            second + 0.5 * rng.standard_normal(50),
        )
        for _ in range(draws)
    ]
    own, other = (np.stack(side) for side in zip(*sides, strict=True))
    return Block(own.mean(axis=1), own), Block(other.mean(axis=1), other)


@pytest.mark.parametrize(("draws", "spread"), [(1, 0.0), (3, 0.2), (5, 0.0), (5, 0.6)])
def test_coverage_of_an_auroc_over_two_samples(draws: int, spread: float) -> None:
    rng = np.random.default_rng([4, draws, int(10 * spread)])
    true = float(stats.norm.cdf(1.5 / np.sqrt(2 * 1.25 + spread**2)))
    found, of_one = [], []
    for _ in range(600):
        own, other = two_sided(rng, draws, 1.5, spread)
        found.append(interval(two_samples(own, other), bounds=(0.0, 1.0)))
        of_one.append(interval([own]))
    hits = [one.low <= true <= one.high for one in found]
    assert not short(sum(hits), len(hits), 0.95)
    assert np.mean(hits) <= 0.985
    if spread < 0.5:  # rows of one side alone are not all that varies
        assert short(sum(one.low <= true <= one.high for one in of_one), len(of_one), 0.95)


def script(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def studies() -> ModuleType:
    return script("simulated_studies")


def short(hits: int, given: int, wanted: float = 0.93) -> bool:
    """Whether the hits are too few for a coverage, at the 1 % level."""
    return bool(stats.binomtest(hits, given, wanted, alternative="less").pvalue < 0.01)


def test_coverage_on_clustered_test_rows(studies: ModuleType) -> None:
    setting = studies.Setting(studies.MIXES[2], draws=3, classes=2)
    rng = np.random.default_rng(3)
    found = [studies.simulate(setting, rng) for _ in range(120)]

    for metric in studies.METRICS:
        true = studies.truths(setting, metric)
        for name, value in true.items():
            given = [one[metric].intervals[name] for one in found if one[metric].intervals[name] is not None]
            assert not short(sum(one.low <= value <= one.high for one in given), len(given)), (metric, name)
        plain = [one[metric].plain["score"] for one in found]
        assert short(sum(low <= true["score"] <= high for low, high in plain), len(plain)), "bootstrap over draws"


def test_truth_is_what_large_samples_show(studies: ModuleType) -> None:
    setting = studies.Setting(studies.MIXES[2], draws=400, classes=3, groups=4000)
    rng = np.random.default_rng(4)
    fit = studies.TestSet(setting, rng).fit(0.5, rng.standard_normal((400, 2)))
    for metric, value in studies.METRICS.items():
        shown = float(value(fit.sum(axis=1)).mean())
        # Standard errors: draws 0.15 * 0.3 / 20 = 0.002, groups below 0.25 / sqrt(4000) = 0.004.
        assert shown == pytest.approx(studies.truth(setting, 0.5, metric), abs=0.013), metric


def test_coverage_over_pairs(studies: ModuleType) -> None:
    setting, rng, simulate = (
        studies.Setting(studies.MIXES[2], draws=5, classes=2),
        np.random.default_rng(5),
        script("simulated_pairs").simulate,
    )
    found = [simulate(setting, rng) for _ in range(100)]

    def held(name: str) -> int:
        mean = float(np.mean([one[name][0] for one in found]))
        return sum(
            low <= (mean if true is None else true) <= high for _, low, high, true in (one[name] for one in found)
        )

    for name in ("mean", "interquartile mean", "improvement"):
        assert not short(held(name), len(found)), name
        if name != "mean":
            assert short(held(f"{name}, bootstrap of draws"), len(found)), name


def test_bands_of_laws_and_promises(studies: ModuleType) -> None:
    module, rng = script("simulated_forecasts"), np.random.default_rng(6)
    bands = [module.curve_study(module.CURVES[1], 5, 5, rng) for _ in range(60)]
    for name in ("band at the largest", "band at four times", "back-test", "labels to reach"):
        given = [one[name] for one in bands if one[name] is not None]
        assert not short(sum(given), len(given), 0.88), name
    for on_curve in (False, True):
        near = [module.ceiling_study(module.CURVES[1], 5, 5, rng, on_curve) for _ in range(60)]
        given = [held for one in near for held in one.values() if held is not None]
        assert len(given) > 30
        assert not short(sum(given), len(given), 0.85)
    kinked = [module.curve_study(module.CURVES[2], 10, 3, rng)["band at four times"] for _ in range(40)]
    assert short(sum(kinked), len(kinked), 0.88)
    promised = module.promise_studies(module.TRUSTS[2], 0.95, 40, rng)
    kept = [one["promise kept"] for one in promised if "promise kept" in one]
    answered = [one["coverage"] for one in promised if "coverage" in one]
    assert not short(sum(answered), len(answered))
    given = [one for one in kept if one is not None]
    assert len(given) > 100
    assert sum(not one for one in given) <= 0.08 * len(kept)


def test_the_script_prints_its_tables() -> None:
    script = Path(__file__).parents[2] / "scripts" / "simulate_intervals.py"
    done = subprocess.run(
        [sys.executable, script, "--check", "--replicates", "2"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("| tiny, 10 |") == 7
    page = (script.parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert done.stdout.count("| no power law, 10, 5 |") == done.stdout.count("| 300, 1, 0.95 |") == 1
    begin, end = page.index("<!-- simulation:begin -->"), page.index("<!-- simulation:end -->")
    assert page[begin:end].count("| tiny, 10 |") == 7
