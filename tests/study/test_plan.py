from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lowres.errors import UserError
from lowres.library import Study
from lowres.study.config import StudyConfig, build_config
from lowres.study.plan import START_UP
from lowres.study.presets import PRESETS


def test_cells_and_distinct_fits_by_hand(small: Callable[..., Study]) -> None:
    plan = small(methods=["source-then-target", "probe"]).plan
    # a draw: SS 1; source-only on 2 targets; ceiling 2; target-only, probe, source-then-target at 4 shots on 2 targets
    assert len(plan.cells) == 2 * (1 + 2 + 2 + 2 + 2 + 2)
    # a draw: the source fit, 2 ceilings, and 3 methods on 2 targets
    assert len(plan.distinct) == 2 * (1 + 2 + 6)
    assert [len(wave) for wave in plan.waves()] == [14, 4]
    assert plan.methods[:3] == ("source-only", "target-full", "target-only")


def test_all_pairs_share_source_and_ceiling(small: Callable[..., Study]) -> None:
    plan = small(sources=[], targets=[], methods=["source-only"], shots=[0], seeds=1).plan
    assert len(plan.pairs) == 6
    assert len(plan.distinct) == 3  # SS, ST and TT of a domain are one fit
    assert len(plan.cells) == 3 + 6 + 3
    assert all(set(domains) == {"shop", "film", "chat"} for domains in plan.tests.values())


def test_starts_come_before_what_starts_from_them(small: Callable[..., Study]) -> None:
    seen: set[str] = set()
    for wave in small().plan.waves():
        for fit in wave:
            assert all(start.content in seen for start in fit.lineage()[:-1])
        seen |= {fit.content for fit in wave}


def test_row_cap_is_that_of_the_smallest_part(small: Callable[..., Study]) -> None:
    study = small(source_rows=100_000)
    assert study.plan.row_cap == min(len(study.task.domains[name].train) for name in ("shop", "film", "chat"))


def test_one_more_seed_keeps_the_others(small: Callable[..., Study]) -> None:
    two, three = small().plan, small(seeds=3).plan
    assert set(two.distinct) < set(three.distinct)


def test_limit_takes_a_part_of_the_same_test_rows(small: Callable[..., Study]) -> None:
    few, all_rows = small(limit=5).plan.test_rows, small().plan.test_rows
    assert all(len(rows) == 5 and set(rows.ids) < set(all_rows[name].ids) for name, rows in few.items())


def test_hash_follows_what_may_change_a_number(small: Callable[..., Study]) -> None:
    base = small()
    same = small(device="cpu", out="elsewhere", force=True)
    assert base.plan.hash(base.environment) == same.plan.hash(same.environment)
    for change in (
        {"seeds": 3},
        {"limit": 7},
        {"shots": [0, 3]},
        {"recipe": {"min_steps": 13, "max_length": 24}},
        {"lora": {"rank": 4}},
    ):
        other = small(**change)
        assert other.plan.hash(other.environment) != base.plan.hash(base.environment), change


def test_estimate_grows_with_the_work_and_ends_at_nothing(small: Callable[..., Study]) -> None:
    plan = small().plan
    few, many = plan.estimate(100, 1e6), small(seeds=8).plan.estimate(100, 1e6)
    assert 3 < (many.seconds - START_UP) / (few.seconds - START_UP) < 5
    nothing = plan.estimate(100, 1e6, set(plan.distinct))
    assert nothing.seconds == nothing.megabytes == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": {"max_length": 128}}, "at most 64"),
        ({"sources": ["shopp"]}, "shop"),
        ({"targets": ["flim"]}, "film"),
        ({"methods": ["source-onyl"]}, "source-only"),
        ({"shots": [0, 1000]}, "1000"),
        ({"sources": ["shop"], "targets": ["shop"]}, "pair"),
        ({"shots": [-1]}, "at least 0"),
        ({"seeds": 0}, "at least 1"),
        ({"limit": 1}, "at least 2"),
        ({"shots": [4, 4]}, "repeats"),
        ({"methods": ["probe", "probe"]}, "repeats"),
        ({"precision": "fp23"}, "fp32"),
        ({"engine": "lopp"}, "loop"),
        ({"seedz": 3}, "seeds"),
        ({"recipe": {"learning_rat": 1}}, "learning_rate"),
        ({"recipe": {"learning_rate": 0}}, "more than 0"),
        ({"lora": {"linears": "qv"}}, "query-value"),
        ({"seeds": "three"}, "seeds"),
    ],
)
def test_faults_are_named_with_a_way_out(small: Callable[..., Study], changes: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        small(**changes).estimate()
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_preset_wins_over_a_file_and_other_settings_over_a_preset(tmp_path: Path) -> None:
    fast = build_config({"preset": "fast"})
    assert {
        name: getattr(getattr(fast, part), field) for name in PRESETS["fast"] for part, field in [name.split(".")]
    } == PRESETS["fast"]
    default = StudyConfig()
    balanced = build_config({"preset": "balanced"})
    assert (balanced.lora, balanced.recipe) == (default.lora, default.recipe)
    mixed = build_config({"preset": "fast", "live_layers": "all"}, sets=["recipe.min_steps=7"])
    assert (mixed.lora.live_layers, mixed.recipe.min_steps) == (None, 7)
    assert mixed.recipe.learning_rate == fast.recipe.learning_rate
    file = tmp_path / "study.yaml"
    file.write_text("preset: fast\nrecipe: {min_steps: 9, batch: 4}\n")
    own, other = build_config({}, file=file), build_config({"preset": "balanced"}, file=file)
    assert (own.lora.live_layers, own.recipe.min_steps) == (fast.lora.live_layers, 9)
    assert (other.lora.live_layers, other.recipe.min_steps, other.recipe.batch) == (None, balanced.recipe.min_steps, 4)
    assert build_config({}, sets=["preset=fast"]).lora == fast.lora
    with pytest.raises(UserError, match="did you mean 'fast'"):
        build_config({"preset": "fas"})
