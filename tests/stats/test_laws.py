from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from lowres.stats.laws import Reached, back_tests, fit_law, refusal
from lowres.stats.variance import Floats

X = [16.0, 32.0, 64.0, 128.0, 256.0]


def made(seed: int, truth: Sequence[float], x: Sequence[float] = X, draws: int = 5, noise: float = 0.02) -> Floats:
    """Scores [draws, budgets] around ceiling − scale · x^−exponent; half of the noise is the draw's at every budget."""
    rng = np.random.default_rng(seed)
    ceiling, scale, exponent = truth
    means = ceiling - scale * np.array(x) ** -exponent
    return means + noise * 0.5**0.5 * (rng.standard_normal((draws, 1)) + rng.standard_normal((draws, len(x))))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_it_finds_the_law_that_made_the_points() -> None:
    truth = 0.9, 1.2, 0.5
    law = fit_law(X, made(1, truth, noise=1e-6), rng())
    x = np.array([16.0, 100.0, 1024.0])
    assert law.at(x) == pytest.approx(0.9 - 1.2 * x**-0.5, abs=2e-3)
    low, high = law.band(x)
    assert (low <= law.at(x) + 1e-6).all()
    assert (high - low < 0.01).all()


def test_it_is_the_weighted_least_squares_of_scipy() -> None:
    scores = made(2, (0.9, 1.2, 0.5))
    law = fit_law(X, scores, rng())
    variance = scores.var(axis=0, ddof=1) / 5
    sigma = np.sqrt((variance + variance.mean()) / 2)
    units = np.array(X) / 16

    def residuals(p: Floats) -> Floats:
        return np.asarray((scores.mean(axis=0) - p[0] + p[1] * units ** -p[2]) / sigma)

    bounds = ([-np.inf, 0, 0.05], [1, np.inf, 3])
    starts = [(0.9, 0.3, e) for e in (0.1, 0.5, 1.5)]
    best = min(optimize.least_squares(residuals, start, bounds=bounds).cost for start in starts)
    assert (residuals(law.parameters) ** 2).sum() / 2 == pytest.approx(best, rel=0.01, abs=2e-3)


def test_pays_until_by_hand() -> None:
    # 0.9 − 0.8 · x^−0.5: a doubling brings 0.8 x^−0.5 (1 − 2^−0.5) = 0.01 at x = (80 (1 − 2^−0.5))² = 549
    law = fit_law(X, made(3, (0.9, 0.8, 0.5), noise=1e-7), rng())
    assert law.pays_until() == pytest.approx((80 * (1 - 2**-0.5)) ** 2, rel=0.05)
    low, high = fit_law(X, made(3, (0.9, 0.8, 0.5), noise=0.003), rng()).pays_band()
    assert low < 549 < (high or np.inf)
    assert low > 200
    flat = fit_law(X, np.full((4, 5), 0.7), rng())
    assert (flat.pays_until(), flat.pays_band()) == (16, (16, 16))
    steep = fit_law(X, made(3, (0.95, 0.95, 0.06), noise=1e-7), rng())
    assert steep.pays_until() is None
    assert steep.pays_band() == (4 * X[-1], None)
    loose = fit_law(X[:3], made(3, (0.9, 0.8, 0.5), X[:3], draws=3, noise=0.05), rng())
    low, high = loose.pays_band()
    assert low <= (loose.pays_until() or np.inf) <= (high or np.inf)


@pytest.mark.parametrize("score", [0.68, 0.75, 0.8])
def test_reach_is_the_root_of_the_law_and_of_its_band(score: float) -> None:
    law = fit_law(X, made(4, (0.9, 1.2, 0.5), noise=0.01), rng())
    found = law.reach(score, 0.9)

    def root(value: Callable[[Floats], Floats]) -> float:
        return float(optimize.brentq(lambda x: float(value(np.array([x]))[0]) - score, 16, 1024, xtol=1e-9))

    assert found.x == pytest.approx(root(law.at))
    # 400 laws: the edges of a band are quantiles between two of them
    assert found.low == pytest.approx(root(lambda x: law.band(x, 0.9)[1]), rel=0.02)
    assert found.high == pytest.approx(root(lambda x: law.band(x, 0.9)[0]), rel=0.02)
    assert found.low < found.x < found.high
    assert found.reason is None


def test_reach_by_hand_and_where_it_is_not_said() -> None:
    # 0.9 − 0.8 · x^−0.5 = 0.85 at x = 16² = 256
    law = fit_law(X, made(3, (0.9, 0.8, 0.5), noise=1e-7), rng())
    assert law.reach(0.85).x == pytest.approx(256, rel=0.02)
    assert law.reach(0.6) == Reached(reason="already reached with the fewest measured")  # 0.7 at 16
    assert law.reach(0.88) == Reached(reason="not within 4 times the most measured")  # 1600 > 4 · 256
    assert law.reach(0.95).reason == "the law levels off at .900"
    flat = fit_law(X, np.full((4, 5), 0.7), rng())
    assert flat.reach(0.71) == Reached(reason="the law levels off at .700")
    assert flat.reach(0.69).reason == "already reached with the fewest measured"


def test_a_reach_that_is_hardly_known_has_open_bounds() -> None:
    law = fit_law(X[:3], made(5, (0.8, 0.6, 0.4), X[:3], draws=3, noise=0.04), rng())
    for x in (17.0, 60.0):
        found = law.reach(float(law.at(np.array([x]))[0]))
        assert found.x == pytest.approx(x)
        assert (found.low is None) == (x == 17.0)


@pytest.mark.parametrize(
    "means", [[0.7] * 5, [0.9, 0.8, 0.7, 0.6, 0.5], [0.5, 0.9, 0.5, 0.9, 0.5], [1.0] * 5, [0.0] * 5]
)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_flat_falling_and_jumping_curves(means: list[float], noise: float) -> None:
    scores = np.clip(np.array(means) + noise * np.random.default_rng(1).standard_normal((4, 5)), 0, 1)
    with np.errstate(all="raise"):
        law = fit_law(X, scores, rng())
        x = np.geomspace(16, 1024, 20)
        low, high = law.band(x)
    assert (np.diff(law.at(x)) >= -1e-12).all()
    assert (low <= high).all()
    assert (high <= 1 + 1e-9).all()
    if means[0] > means[-1]:
        assert law.pays_until() == 16.0
        assert law.at(x) == pytest.approx(law.parameters[0])


def test_refusals_say_why() -> None:
    assert "2 budgets above 0" in str(refusal([16, 32], 5))
    assert "one draw" in str(refusal(X, 1))
    assert "more and more" in str(refusal([16, 16, 32], 5))
    assert "nearly the same" in str(refusal([100, 101, 104], 5))
    assert refusal(X, 2) is None
    law = fit_law(X, made(4, (0.9, 1.2, 0.5)), rng())
    law.at(np.array([1024.0]))
    with pytest.raises(ValueError, match="speaks of"):
        law.at(np.array([1025.0]))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_units_of_x_do_not_matter(seed: int, unit: float) -> None:
    scores = made(seed, (0.9, 1.2, 0.5))
    plain, scaled = fit_law(X, scores, rng()), fit_law([unit * x for x in X], scores, rng())
    assert scaled.parameters == pytest.approx(plain.parameters)
    x = np.array([20.0, 500.0])
    assert scaled.band(unit * x)[0] == pytest.approx(plain.band(x)[0])


@pytest.mark.parametrize("draws", [3, 10])
@pytest.mark.parametrize("truth", [(0.9, 1.2, 0.5), (0.85, 1.0, 0.4), (0.8, 6.0, 1.0)])
def test_back_tests_hold_at_their_level(draws: int, truth: tuple[float, float, float]) -> None:
    """90 % bands around laws that hold: the last budget alone, so that the tests are independent."""
    held, widths = 0, []
    for seed in range(100):
        found = list(back_tests(X, made(seed, truth, draws=draws), np.random.default_rng(seed)))
        assert [one.x for one in found] == X[3:]
        held += found[-1].held
        widths.append(found[-1].high - found[-1].low)
    assert stats.binomtest(held, 100, 0.88, alternative="less").pvalue > 0.01
    if draws == 10:
        assert np.median(widths) < 0.1


def test_a_band_that_is_too_narrow_is_caught() -> None:
    held = 0
    for seed in range(100):
        one = list(back_tests(X, made(seed, (0.9, 1.2, 0.5)), np.random.default_rng(seed), level=0.6))[-1]
        held += one.held
    assert stats.binomtest(held, 100, 0.88, alternative="less").pvalue < 0.01


def test_back_tests_need_three_budgets_and_reach_no_further_than_four_times() -> None:
    scores = made(1, (0.9, 1.2, 0.5), x=[16, 32, 64, 1000])
    assert not list(back_tests([16, 32, 64, 1000], scores, rng()))
    assert not list(back_tests(X[:3], scores[:, :3], rng()))
