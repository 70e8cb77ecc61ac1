import numpy as np
import pytest
from scipy import stats

from lowres.stats.paired import compare
from lowres.stats.power import detectable, draws_to_halve, planned
from lowres.stats.variance import Block, interval, moments

GROUPS = 60


def crossed(rng: np.random.Generator, draws: int, draw: float, group: float, noise: float, mean: float = 0.0) -> Block:
    """Differences with standard deviations of draw, group and draw × group effects."""
    values = mean + draw * rng.standard_normal((draws, 1)) + group * rng.standard_normal(GROUPS)
    values = values + noise * rng.standard_normal((draws, GROUPS))
    return Block(values.mean(axis=1), values)


def test_it_is_what_verdicts_print_for_the_draws_at_hand() -> None:
    one = crossed(np.random.default_rng(1), 5, 0.1, 0.5, 0.4)
    assert detectable([one], 5) == pytest.approx(compare([[one]])[0].minimum_detectable)


def test_components_of_more_draws_by_hand() -> None:
    # Two draws; spread s²/2 = 2, mean squares 10 between and 4 within 5 groups: component (10 − 4) / 2 = 3.
    values = moments([[crossed(np.random.default_rng(2), 2, 0.1, 0.5, 0.4)]])
    found = planned(
        type(values)(values.means, np.array([[2.0]]), np.array([[[10.0]]]), np.array([[[4.0]]]), np.array([5.0]), 2), 8
    )
    assert (found.draws.item(), found.groups.item(), found.rest.item()) == (0.5, 8 * 3 + 4, 4)
    # se² = 0.5 + 3 / 5
    assert found.contrast(np.ones((1, 1)))[1].item() == pytest.approx(1.1)


@pytest.mark.parametrize("effects", [(0.3, 0.2, 0.3), (0.05, 1.0, 0.3), (0.15, 0.7, 0.5)])
def test_planned_studies_detect_it_in_80_percent(effects: tuple[float, float, float]) -> None:
    """A pilot of five draws says what eight would detect; eight fresh draws with that true difference are then tried."""
    rng = np.random.default_rng([3, int(100 * effects[0])])
    pilots = [detectable([crossed(rng, 5, *effects)], 8) for _ in range(400)]
    draw, group, noise = effects
    true = np.sqrt((draw**2 + noise**2 / GROUPS) / 8 + group**2 / GROUPS)
    assert np.median(pilots) == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * true, rel=0.2)

    def shown(size: float) -> float:
        found = [interval([crossed(rng, 8, *effects, mean=size)]) for _ in range(600)]
        return float(np.mean([one.low > 0 for one in found]))

    assert 0.7 <= shown(float(np.median(pilots))) <= 0.92
    assert shown(float(np.median(pilots)) / 2) < 0.5


def test_draws_that_halve_it() -> None:
    one = crossed(np.random.default_rng(4), 5, 0.5, 0.01, 0.1)
    more = draws_to_halve([one], 5)
    assert more is not None
    assert detectable([one], more) <= detectable([one], 5) / 2 < detectable([one], more - 1)
    assert 10 <= more <= 25  # four times the draws, fewer since the t quantiles shrink too
    fixed = crossed(np.random.default_rng(4), 5, 0.01, 1.0, 0.1)
    assert draws_to_halve([fixed], 5) is None


def test_one_draw_plans_nothing() -> None:
    with pytest.raises(ValueError, match="two draws"):
        detectable([crossed(np.random.default_rng(5), 1, 0.1, 0.1, 0.1)], 5)
