"""A search on a tiny encoder: seeded, in waves, resumable, honest about what it found, and free of target rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import yaml
from scipy import stats

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'lowres[tune]'")

from lowres.data.task import load_task
from lowres.errors import FitError, UserError
from lowres.library import Study
from lowres.scoring.metrics import find_metric
from lowres.stats.paired import holm
from lowres.study.config import build_config
from lowres.study.runner import answer
from lowres.training.fit import Fit, Fitted
from lowres.training.fleet import FleetEngine
from lowres.tuning import search
from lowres.tuning.result import Tuned
from lowres.tuning.space import SPACE, settled, value_of
from tests.study.test_validation import poisoned

Make = Callable[..., Study]


@pytest.fixture
def study(tmp_path: Path, toy_table: Path, encoder: Path) -> Make:
    """Makes a study that is tuned in seconds, below ``tmp_path``."""

    def make(place: str = "", **changes: object) -> Study:
        given: dict[str, Any] = {
            "sources": ["shop"], "targets": ["film"], "shots": [4], "seeds": 2, "source_rows": 30, "precision": "fp32",
            "methods": ["target-only"], "backbone": str(encoder), "store": str(tmp_path / place / "store"),
            "recipe": {"min_steps": 8, "epochs": 1, "max_length": 24, "learning_rate": 5e-3}, **changes,
        }  # fmt: skip
        return Study(str(toy_table), **given)

    return make


def tune(study: Study, **given: Any) -> Tuned:
    folder = Path(study.config.store).parent
    over = given.pop("over", ["recipe.learning_rate", "lora.rank"])
    return study.tune(**{"folds": 2, "trials": 4, "wave": 2, "out": folder / "best.yaml", "over": over, **given})


def proposed(found: Tuned) -> list[tuple[int, str, dict[str, float | int]]]:
    return [(trial.number, trial.method, trial.settings) for trial in found.trials]


@pytest.mark.parametrize("by", ["few-shot", "source-dev"])
def test_a_whole_search_touches_no_dev_or_test_row_of_the_target(by: str, study: Make, toy_table: Path) -> None:
    one = study(methods=["self-train", "target-only"])
    one.__dict__["task"] = poisoned(load_task(toy_table), ("shop",) if by == "source-dev" else ())
    found = tune(one, by=by, trials=3)
    assert all(trial.score is not None for trial in found.trials)


def test_the_first_trial_is_the_default_recipe(study: Make) -> None:
    found = tune(study(), trials=3)
    assert found.trials[0].number == 0
    assert found.trials[0].settings == {"recipe.learning_rate": 5e-3, "lora.rank": 8}
    both = tune(study("both", methods=["source-then-target", "target-only"]), trials=3)
    assert [trial.method for trial in both.trials[:2]] == ["source-then-target", "target-only"]
    assert all(trial.settings == found.trials[0].settings for trial in both.trials[:2])
    assert both.trials[1].draws == found.trials[0].draws


def test_a_method_without_settings_is_tried_once(study: Make) -> None:
    found = tune(study(methods=["nearest", "probe"]), trials=6, over=[])
    assert [trial.method for trial in found.trials] == ["nearest", *["probe"] * 5]
    assert len({tuple(trial.settings.items()) for trial in found.trials}) == 6
    both = tune(study("both", methods=["nearest", "majority"]), trials=6, over=[])
    assert [trial.method for trial in both.trials] == ["nearest", "majority"]
    assert tune(study("both", methods=["nearest", "majority"]), trials=6, over=[]).trials == both.trials


def test_methods_are_validated_as_a_search_scores_their_defaults(study: Make) -> None:
    names = ["source-then-target", "target-only"]
    found = tune(study(methods=names), trials=2, wave=4)
    scores = study(methods=names).validate(folds=2)
    assert {name: one.draws for name, one in scores.items()} == {trial.method: trial.draws for trial in found.trials}


def test_a_wave_is_one_call_of_the_engine(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    whole = FleetEngine.fit_many

    def counted(self: FleetEngine, fits: list[Fit], starts: Any) -> Iterator[tuple[Fit, Fitted | Exception]]:
        calls.append(len(fits))
        return whole(self, fits, starts)

    monkeypatch.setattr(FleetEngine, "fit_many", counted)
    found = tune(study(), trials=7, wave=3)
    assert calls == [3 * 2 * 2, 3 * 2 * 2, 1 * 2 * 2]  # trials × draws × folds
    assert found.fits_trained == sum(calls)


def test_the_sampler_is_seeded(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "RANDOM_FIRST", 2)
    one, same = tune(study("a"), trials=6), tune(study("b"), trials=6)
    assert proposed(one) == proposed(same)
    assert [trial.draws for trial in one.trials] == [trial.draws for trial in same.trials]
    other = tune(study("c", seeds=3), trials=6)
    assert proposed(other)[1:] != proposed(one)[1:]
    assert other.search != one.search


class Pressed(KeyboardInterrupt):
    pass


def test_an_interrupted_search_goes_on_as_if_nothing_had_been(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "RANDOM_FIRST", 2)  # so that scores steer what is proposed
    whole, left = FleetEngine._train, [3]

    def pressed(self: FleetEngine, group: list[Fit], starts: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Pressed
        return whole(self, group, starts)

    wanted = tune(study("whole"), trials=6)
    monkeypatch.setattr(FleetEngine, "_train", pressed)
    with pytest.raises(Pressed):
        tune(study("broken"), trials=6)
    monkeypatch.setattr(FleetEngine, "_train", whole)
    kept = len(list(Path(study("broken").config.store, "fits").iterdir()))
    assert 0 < kept < wanted.fits_trained
    waves: list[int] = []
    found = tune(study("broken"), trials=6, told=lambda done: waves.append(len(done.trials)))
    assert waves == [4, 6], "the wave that was broken off is told before more is proposed"
    assert found.fits_trained == wanted.fits_trained - kept
    assert proposed(found) == proposed(wanted)
    assert [trial.draws for trial in found.trials] == [trial.draws for trial in wanted.trials]
    assert found.chosen == wanted.chosen


def test_the_same_command_trains_nothing_and_more_trials_go_on(study: Make) -> None:
    first, again, more = tune(study(), trials=4), tune(study(), trials=4), tune(study(), trials=6)
    assert again.fits_trained == 0
    assert again == first.model_copy(update={"fits_trained": 0})
    assert proposed(more)[:4] == proposed(first)
    assert len(more.trials) == 6
    assert more.fits_trained == 2 * 2 * 2


def test_fits_that_the_store_lost_are_trained_again(study: Make) -> None:
    import shutil

    first = tune(study())
    shutil.rmtree(study().config.store)
    again = tune(study())
    assert again.fits_trained == first.fits_trained
    assert [trial.draws for trial in again.trials] == [trial.draws for trial in first.trials]


def test_a_config_chosen_on_source_dev_reproduces_its_number(study: Make, tmp_path: Path) -> None:
    """``lowres run --config`` makes the very fits whose answers on the source's dev rows were scored."""
    one = study(methods=["source-then-target"])
    found = tune(one, by="source-dev", trials=5, over=["recipe.learning_rate", "recipe.min_steps"])
    assert found.config
    again = Study(config=build_config({"out": str(tmp_path / "run")}, file=found.config))
    stored = {fit.content for fit in again.plan.distinct.values() if again.store.is_whole(fit.key(again.environment))}
    result = again.run()
    metric, dev, draws = find_metric(again.task.metric), again.task.domains["shop"].dev, []
    truth = np.array([again.task.labels.index(label) for label in dev.labels])
    for cell, fit in result.plan.fits.items():
        if (cell.method, cell.shots) == ("source-then-target", 4):
            assert fit.content in stored, "the run trains what the search had trained"
            draws.append(
                metric.score(truth, answer(fit, again.environment, again.engine, again.store, dev, again.task.labels))
            )
    best = found.trials[found.chosen]
    assert best.number == found.chosen
    assert draws == best.draws
    assert yaml.safe_load(Path(found.config).read_text())["provenance"]["tuning"]["score"] == np.mean(draws)


def test_a_config_chosen_by_cross_validation_reproduces_its_number(study: Make, tmp_path: Path) -> None:
    found = tune(study(methods=["contrastive"]), trials=5, over=["method.contrastive.temperature", "method.logistic.C"])
    assert found.config
    again = Study(config=build_config({}, file=found.config))
    best = next(trial for trial in found.trials if trial.number == found.chosen)
    assert again.config.method.contrastive.temperature == best.settings["method.contrastive.temperature"]
    number = again.tune(folds=2, trials=1, study_db=tmp_path / "new.db", out=tmp_path / "again.yaml")
    assert number.trials[0].draws == best.draws
    assert number.fits_trained == 0


def test_what_the_difference_says(study: Make) -> None:
    """The interval is that of a paired t test over draws, the p-value Holm's over all candidates."""
    found = tune(study(seeds=4), trials=6, over=["recipe.learning_rate", "recipe.min_steps"])
    draws = {trial.number: np.array(trial.draws) for trial in found.trials}
    gaps = {number: values - draws[0] for number, values in draws.items() if number}
    best = max(draws, key=lambda number: (draws[number].mean(), -number))
    assert found.chosen == best != 0
    assert found.difference
    with np.errstate(all="ignore"):
        tests = {number: stats.ttest_1samp(gap, 0.0) for number, gap in gaps.items()}
    low, high = tests[best].confidence_interval(0.95)
    estimate = found.difference.estimate
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((gaps[best].mean(), low, high))
    p = [1.0 if not gap.any() else float(tests[number].pvalue) for number, gap in gaps.items()]
    wanted = holm(p)[list(gaps).index(best)]
    assert found.difference.p_adjusted == pytest.approx(wanted)
    assert (found.difference.verdict == "better") == (wanted <= 0.05)
    assert found.difference.verdict in found.says


def test_one_draw_says_nothing_of_the_spread(study: Make) -> None:
    found = tune(study(seeds=1), trials=5, over=["recipe.learning_rate", "recipe.min_steps"])
    assert found.best is None
    assert found.difference is None
    assert found.difference_reason


def test_a_trial_that_fails_is_named_and_stops_no_other(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FleetEngine._train

    def sometimes(self: FleetEngine, group: list[Fit], starts: Any) -> Any:
        if any(fit.recipe.learning_rate != 5e-3 for fit in group):
            raise RuntimeError("no luck")
        return whole(self, group, starts)

    monkeypatch.setattr(FleetEngine, "_train", sometimes)
    found = tune(study(), trials=3)
    assert found.chosen == 0
    assert found.difference_reason == "no trial scored above the default recipe"
    assert [trial.failed is not None and "no luck" in trial.failed for trial in found.trials] == [False, True, True]
    again = tune(study(), trials=3)
    assert again.trials == found.trials
    assert again.fits_trained == 0
    monkeypatch.setattr(FleetEngine, "_train", lambda *_: 1 / 0)
    with pytest.raises(FitError, match="default recipe"):
        tune(study("bad"), trials=3)


def test_the_files(study: Make, tmp_path: Path) -> None:
    found = tune(study())
    text = (tmp_path / "best.yaml").read_text(encoding="utf-8")
    assert text.startswith("# chosen by lowres tune\n# 4 candidates on 2-fold")
    assert Tuned.model_validate_json((tmp_path / "best.json").read_bytes()) == found
    assert json.loads(found.to_json())["schema"] == 1
    (tmp_path / "mine.yaml").write_text("task: toy\n")
    for name in ("mine.yaml", "best.txt"):
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            tune(study(), out=tmp_path / name)
    assert (tmp_path / "mine.yaml").read_text() == "task: toy\n"


def test_databases_that_cannot_be_used(study: Make, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "folder.db").mkdir()
    for name in ("text.db", "folder.db"):
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            tune(study(), study_db=tmp_path / name)
    with filelock.FileLock(tmp_path / "busy.db.lock"), pytest.raises(UserError, match="another search"):
        tune(study(), study_db=tmp_path / "busy.db")


def test_bad_requests(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"trials": 0}, "trials: got 0"),
        ({"wave": 0}, "wave: got 0"),
        ({"over": ["recipe.learning-rates"]}, "recipe.learning_rate"),
        ({"over": ["method.coral.weight"]}, "does not feel method.coral.weight"),
        ({"by": "target-dev"}, "source-dev"),
    ]
    for given, said in bad:
        with pytest.raises(UserError, match=said):
            tune(study(), **given)
    with pytest.raises(UserError, match="does not feel any setting"):
        tune(study(methods=["majority"]), over=[])
    with pytest.raises(UserError, match="expected at least 2"):
        tune(study(methods=["target-only", "probe"]), trials=1)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"lowres\[tune\]"):
        tune(study())


def test_every_setting_of_the_space_is_a_setting() -> None:
    config = build_config({"task": "toy", "lora": {"rank": 4, "alpha": 12}})
    for dimension in SPACE:
        wide = dimension.holding(value_of(config, dimension.path))
        for end in (wide.low, wide.high):
            changed = settled(config, {dimension.path: wide.given(end)})
            assert value_of(changed, dimension.path) == wide.given(end)
            replace(changed)  # its faults are said when it is made
    assert settled(config, {"lora.rank": 16}).lora.alpha == 48


def test_a_method_is_searched_over_what_it_feels(study: Make) -> None:
    felt = {
        name: set(tune(study(name, methods=[name]), trials=1, over=[], by="source-dev").space[name])
        for name in ("probe", "contrastive", "target-only", "joint")
    }
    assert felt["probe"] == {"method.logistic.C"}
    recipe = {"recipe.learning_rate", "recipe.min_steps", "lora.rank"}
    assert felt["contrastive"] == recipe | {"method.contrastive.temperature", "method.logistic.C"}
    assert felt["target-only"] == recipe | {"recipe.head_learning_rate"}
    assert felt["joint"] == felt["target-only"] | {"method.joint.target_share"}
