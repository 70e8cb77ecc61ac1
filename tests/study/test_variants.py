"""Studies with other adapters, and with all weights, beside plain LoRA."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lowres.errors import UserError
from lowres.library import Study, load
from lowres.methods.catalogue import METHODS
from lowres.study.store import Store
from lowres.training.adapted import ROWS
from lowres.training.recipe import ADAPTERS, LOOP_ADAPTERS, AllWeights

ONE = {"targets": ["film"], "seeds": 1, "methods": ["source-then-target", "contrastive"]}
OTHERS = [name for name in ADAPTERS if name != "lora"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_study_with_another_adapter(name: str, small: Callable[..., Study]) -> None:
    """Runs in the fleet's study, is resumed, and hands over a model that answers as it was measured."""
    study = small(adapter=name, **ONE)
    result = study.run()
    assert not result.outcome.failed
    by_gradient = [fit for fit in study.plan.distinct.values() if fit.uses_gradients]
    kind = ADAPTERS[name][0]
    assert all(type(fit.adapter) is kind for fit in by_gradient)
    for fit in by_gradient:
        record = study.store.record(fit.key(study.environment))
        assert record["environment"]["engine"] == ("loop" if kind in LOOP_ADAPTERS else "fleet")
        assert kind.__name__ in record["spec"]["adapter"]
        assert len(record["checks"]) >= 2
    assert not any("scale is" in text or "ranks changed" in text for text in result.summary.warnings)
    again = small(adapter=name, **ONE).run()
    assert (again.summary.fits.trained, again.summary.fits.reused) == (0, result.summary.fits.distinct)
    texts = list(study.plan.test_rows["film"].texts)
    cell, fit = next(
        (cell, fit)
        for cell, fit in study.plan.fits.items()
        if (cell.method, cell.shots, cell.target) == ("source-then-target", 4, "film")
    )
    measured = result.outcome.probabilities[fit.content, cell.target]
    assert load(result.folder / "best" / "film-4").predict_proba(texts) == pytest.approx(measured, abs=1e-5)
    assert small(**ONE).plan.hash(study.environment) != study.plan.hash(study.environment)


def test_loop_only_fits_are_shared_by_both_engines(small: Callable[..., Study], tmp_path: Path) -> None:
    """Their key names the engine that trains them, so that either study finds them."""
    first = small(adapter="dora", **ONE).run().summary.fits
    both = small(adapter="dora", engine="loop", **ONE, out=str(tmp_path / "loop")).run().summary.fits
    assert first.trained == first.distinct
    assert both.trained == 0


@pytest.mark.parametrize("method", ["interpolate", "soup", "merge-domains", "meta"])
def test_averages_are_of_plain_lora(method: str, small: Callable[..., Study]) -> None:
    sources = {"sources": ["shop", "chat"], "targets": ["film"], "seeds": 1, "methods": [method]}
    assert small(**sources).plan
    with pytest.raises(UserError, match="averages the updates of plain LoRA") as caught:
        assert small(**sources, adapter="rslora").plan
    assert method in str(caught.value)


WHOLE = {**ONE, "methods": ["full-finetune"]}


class TestFullFinetune:
    def test_source_and_shots_go_through_all_weights(self, small: Callable[..., Study]) -> None:
        study = small(**WHOLE)
        fits = [fit for cell, fit in study.plan.fits.items() if cell.method == "full-finetune"]
        assert {cell.shots for cell in study.plan.fits if cell.method == "full-finetune"} == {0, 4}
        for fit in fits:
            for link in fit.lineage():
                assert link.adapter == AllWeights()
                assert link.recipe.learning_rate == pytest.approx(study.config.recipe.learning_rate / 10)
        assert fits[1].start == fits[0] or fits[0].content in {link.content for link in fits[1].lineage()}

    def test_it_runs_is_kept_and_is_resumed(self, small: Callable[..., Study]) -> None:
        study = small(**WHOLE)
        result = study.run()
        assert not result.outcome.failed
        assert "full-finetune" in {score.method for score in result.summary.scores}
        for cell, fit in study.plan.fits.items():
            if cell.method != "full-finetune":
                continue
            folder = study.store.fit_folder(fit.key(study.environment))
            assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".jsonl", ""}
            kept = study.store.read_fit(fit.key(study.environment))
            assert kept is not None
            names = {check.name: check.passed for check in kept.checks}
            assert names["weights moved"]
            assert any(name.endswith(ROWS) for name in kept.adapter)
        predictions = {place: values for place, values in result.outcome.probabilities.items() if "film" in place}
        again = small(**WHOLE).run()
        assert again.summary.fits.trained == 0
        for path in (study.store.folder / "predictions").glob("*/*"):
            path.unlink()
        asked = small(**WHOLE).run()
        assert asked.summary.fits.trained == 0
        for place, values in predictions.items():
            assert np.array_equal(asked.outcome.probabilities[place], values)

    def test_a_start_from_the_store_gives_the_same(self, small: Callable[..., Study]) -> None:
        """The fit on the shots after a restart, from what the store kept of the source fit."""
        study = small(**WHOLE)
        study.run()
        fit = next(fit for cell, fit in study.plan.fits.items() if (cell.method, cell.shots) == ("full-finetune", 4))
        key = fit.key(study.environment)
        before = study.store.read_fit(key)
        assert before is not None
        Store(study.store.folder).drop_fit(key)
        again = small(**WHOLE)
        assert again.run().summary.fits.trained == 1
        after = again.store.read_fit(key)
        assert after is not None
        assert all(np.array_equal(value, after.adapter[name]) for name, value in before.adapter.items())

    def test_it_is_refused_as_an_adapter(self, small: Callable[..., Study]) -> None:
        with pytest.raises(UserError, match="full-finetune trains no adapter"):
            small().fit("film", start_from="shop", shots=4, method="full-finetune")

    def test_the_plan_knows_that_it_is_larger(self, small: Callable[..., Study]) -> None:
        plain, whole = (small(**{**ONE, "methods": [name]}).plan for name in ("joint", "full-finetune"))
        weights = 10_000_000
        assert whole.estimate(10, 1e6, layer_weights=weights).megabytes > (
            plain.estimate(10, 1e6, layer_weights=weights).megabytes + 2 * 4e-6 * weights - 2
        )
        assert whole.estimate(10, 2e7, layer_weights=weights).seconds > plain.estimate(10, 2e7).seconds


def test_the_key_of_plain_lora_is_as_it_was(small: Callable[..., Study]) -> None:
    """Neither the spec of a fit nor the hash of a study names the adapter where it is the default."""
    study = small(**ONE)
    assert small(adapter="lora", **ONE).plan.hash(study.environment) == study.plan.hash(study.environment)
    fit = next(fit for fit in study.plan.distinct.values() if fit.uses_gradients)
    lora = dataclasses.asdict(fit.adapter)  # type: ignore[arg-type]
    assert fit.spec()["adapter"] == {"LoRA": lora}
    assert json.loads(json.dumps(lora)) == {"rank": 8, "alpha": 16, "linears": "query-value", "live_layers": None}


def test_every_method_plans_or_says_why_not(small: Callable[..., Study]) -> None:
    refused = set()
    for name in METHODS:
        try:
            assert small(sources=["shop", "chat"], targets=["film"], seeds=1, methods=[name], adapter="pissa").plan.fits
        except UserError:
            refused.add(name)
    assert refused == {"interpolate", "soup", "merge-domains", "meta", "keywords"}  # a table has no keywords


def test_a_key_names_the_engine_of_what_a_fit_rests_on(small: Callable[..., Study]) -> None:
    keys = {}
    for engine in ("fleet", "loop"):
        study = small(
            sources=["shop"], targets=["film"], seeds=1, methods=["probe-then-lora"], adapter="dora", engine=engine
        )
        fit = next(fit for cell, fit in study.plan.fits.items() if cell.method == "probe-then-lora")
        alone = next(fit for cell, fit in study.plan.fits.items() if cell.method == "target-only")
        keys[engine] = fit.key(study.environment), alone.key(study.environment)
    assert keys["fleet"][0] != keys["loop"][0]  # its head was trained on other features
    assert keys["fleet"][1] == keys["loop"][1]
