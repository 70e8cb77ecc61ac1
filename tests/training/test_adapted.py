"""Every kind of adapter: it learns, it acts as its kind, and what is kept of it gives the same numbers."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowres.data import splits
from lowres.data.task import Task
from lowres.models import adapters
from lowres.models.backbone import Backbone, find_backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.training import adapted
from lowres.training.engines import make_engine
from lowres.training.fit import Environment, Fit, Fitted, Part
from lowres.training.fleet import FleetEngine
from lowres.training.loop import LoopEngine
from lowres.training.recipe import (
    ADAPTERS,
    IA3,
    LOOP_ADAPTERS,
    AdaLoRA,
    Adapter,
    AllWeights,
    DoRA,
    LoRA,
    PiSSA,
    Recipe,
    RsLoRA,
    make_adapter,
)

RECIPE = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=30, epochs=1, max_length=24)
TEXTS = ["good day lol", "the bad plot was awful 7", "my phone", "x" * 50]
KINDS: list[Adapter] = [make_adapter(name, LoRA(4, 8)) for name in ADAPTERS]
WHOLE: list[Adapter] = [*KINDS, AllWeights()]
named = pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: type(kind).__name__)
saved = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)


def loop(backbone: Backbone) -> LoopEngine:
    return LoopEngine(backbone, backbone.tokens(), "cpu", "fp32")


def few(task: Task, kind: Adapter, *, domain: str = "shop", draw: int = 0, shots: int = 8, **changes: Any) -> Fit:
    rows = splits.shots(task.name, task.domains[domain].train, shots, draw)
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-3) if isinstance(kind, AllWeights) else RECIPE
    given = {"adapter": kind, "recipe": recipe, **changes}
    return Fit((Part(rows),), task.labels, task.name, draw, **given)


def train(engine: LoopEngine | FleetEngine, fit: Fit, starts: dict[str, Fitted] | None = None) -> Fitted:
    ((_, fitted),) = engine.fit_many([fit], starts or {})
    assert isinstance(fitted, Fitted), fitted
    return fitted


def failed(fitted: Fitted) -> set[str]:
    return {check.name for check in fitted.checks if not check.passed}


def classifier(backbone: Backbone, engine: LoopEngine, fit: Fit, fitted: Fitted) -> Classifier:
    about = {"task": "toy", "method": "target-only", "scores": []}
    return Classifier(
        backbone, engine.adapter_config(fit), fitted.adapter, fitted.head, fit.labels, 24, backbone.pooling, True,
        backbone.folder, about,
    )  # fmt: skip


@named
@pytest.mark.parametrize("shape", ["bert", "distilbert", "mpnet"])
def test_each_kind_learns_and_acts(kind: Adapter, shape: str, encoders: dict[str, Path], toy_task: Task) -> None:
    engine = loop(find_backbone(str(encoders[shape])))
    fit = few(toy_task, kind, shots=24)
    fitted = train(engine, fit)
    assert not failed(fitted), fitted.checks
    assert (engine.predict(fit, fitted, fit.texts).argmax(1) == fit.targets).mean() > 0.75
    assert {check.name for check in fitted.checks} >= {"training loss fell"}


@named
def test_the_same_numbers_in_any_order_and_engine(kind: Adapter, backbone: Backbone, toy_task: Task) -> None:
    """Also after another fit of the same kind has been on the same encoder, and inside a wave of the fleet."""
    import torch

    fit, other = few(toy_task, kind), few(toy_task, kind, domain="film", draw=1)
    alone = train(loop(backbone), fit)
    torch.manual_seed(1234)
    engine = loop(backbone)
    later = dict(engine.fit_many([other, fit], {}))[fit]
    assert isinstance(later, Fitted)
    assert same(alone, later)
    assert np.array_equal(engine.predict(fit, later, TEXTS), loop(backbone).predict(fit, alone, TEXTS))
    if isinstance(kind, LOOP_ADAPTERS):
        fleet = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")
        found = dict(fleet.fit_many([few(toy_task, LoRA()), other, fit], {}))
        assert len(found) == 3
        routed = found[fit]
        assert isinstance(routed, Fitted)
        assert same(alone, routed)
        assert np.array_equal(fleet.predict(fit, routed, TEXTS), engine.predict(fit, alone, TEXTS))


def same(one: Fitted, other: Fitted) -> bool:
    return set(one.adapter) == set(other.adapter) and all(
        np.array_equal(value, other.adapter[name]) for name, value in one.adapter.items()
    ) and np.array_equal(one.head["weight"], other.head["weight"])  # fmt: skip


@named
def test_a_start_goes_on_where_it_stood(kind: Adapter, backbone: Backbone, toy_task: Task) -> None:
    engine = loop(backbone)
    source = few(toy_task, kind)
    fitted = train(engine, source)
    still = dataclasses.replace(RECIPE, min_steps=1, epochs=0.01, learning_rate=1e-9, head_learning_rate=1e-9)
    if isinstance(kind, AdaLoRA):
        pytest.skip("all directions take part again, and a part of them is cut again")
    onward = few(toy_task, kind, domain="film", start=source, recipe=still)
    moved = train(engine, onward, {source.content: fitted})
    texts = list(toy_task.domains["film"].test.texts)
    assert engine.predict(onward, moved, texts) == pytest.approx(engine.predict(source, fitted, texts), abs=1e-5)


def test_of_adalora_the_start_is_where_it_stood(backbone: Backbone, toy_task: Task) -> None:
    engine = loop(backbone)
    kind = AdaLoRA(4, 8)
    fitted = train(engine, few(toy_task, kind))
    run = engine.adapted(kind)
    run.write(fitted.adapter)
    run.begin(20)
    assert all(np.array_equal(value, fitted.adapter[name]) for name, value in run.weights().items())


@saved
def test_what_is_saved_is_loaded_again(kind: Adapter, backbone: Backbone, toy_task: Task, tmp_path: Path) -> None:
    """By lowres bit for bit, and by the plain PEFT lines of the model card, on the unchanged backbone."""
    engine = loop(backbone)
    fit = few(toy_task, kind)
    fitted = train(engine, fit)
    model = classifier(backbone, engine, fit, fitted)
    folder = model.save(tmp_path / "kept", TEXTS)
    assert not [path for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pkl"}]
    loaded = load_classifier(folder)
    assert np.array_equal(loaded.predict_proba(TEXTS), model.predict_proba(TEXTS))
    trained = engine.predict(fit, fitted, TEXTS)
    assert loaded.predict_proba(TEXTS) == pytest.approx(trained, abs=1e-6)
    assert np.abs(trained - plain_head(backbone, fitted)).max() > 1e-4
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert code
    program = f"texts = {TEXTS!r}\n{code.group(1)}\nimport json; print(json.dumps(probabilities.tolist()))\n"
    answer = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    got = np.array(json.loads(answer.stdout.strip().splitlines()[-1]))
    assert got == pytest.approx(trained, abs=1e-5)


def plain_head(backbone: Backbone, fitted: Fitted) -> Any:
    """What the head alone would answer, had the adapter been lost."""
    from lowres.models import encoder

    return encoder.said(loop(backbone).features(TEXTS, RECIPE), fitted.head)


class TestBrokenOnPurpose:
    """The check of each kind fails where the kind does not act."""

    def test_a_scale_that_is_plain_loras(
        self, backbone: Backbone, toy_task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fit = few(toy_task, RsLoRA(4, 8))
        wanted = "scale is alpha / sqrt(rank)"
        engines = make_engine("fleet", backbone, backbone.tokens(), "cpu", "fp32"), loop(backbone)
        assert all(wanted in {check.name for check in train(engine, fit).checks} for engine in engines)  # type: ignore[arg-type]
        monkeypatch.setattr(RsLoRA, "scale", property(lambda self: self.alpha / self.rank))
        assert failed(train(engines[0], fit)) == {wanted}  # type: ignore[arg-type]
        settings = adapted.peft_settings
        monkeypatch.setattr(adapted, "peft_settings", lambda *given: settings(*given) | {"use_rslora": False})
        assert failed(train(loop(backbone), fit)) == {wanted}

    def test_an_allocator_that_is_not_called(
        self, backbone: Backbone, toy_task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fit = few(toy_task, AdaLoRA(4, 8))
        assert not failed(train(loop(backbone), fit))
        monkeypatch.setattr(adapted._Allocated, "stepped", lambda self, step: None)
        fitted = train(loop(backbone), fit)
        (check,) = (check for check in fitted.checks if not check.passed)
        assert check.name == "ranks changed"
        assert check.value == 4 * 6  # four linears keep all of their six directions

    def test_magnitudes_that_stay(self, backbone: Backbone, toy_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        freeze(monkeypatch, "magnitude")
        assert failed(train(loop(backbone), few(toy_task, DoRA(4, 8)))) == {"magnitudes moved"}

    def test_factors_that_stay(self, backbone: Backbone, toy_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        freeze(monkeypatch, "ia3_l")
        assert "factors moved from 1" in failed(train(loop(backbone), few(toy_task, IA3())))

    def test_a_start_that_is_plain_loras(
        self, backbone: Backbone, toy_task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attach = adapters.attach
        monkeypatch.setattr(adapters, "attach", lambda encoder, config, **begin: attach(encoder, config))
        assert failed(train(loop(backbone), few(toy_task, PiSSA(4, 8)))) == {"start is no plain LoRA's"}

    def test_weights_that_stay(self, backbone: Backbone, toy_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        freeze(monkeypatch, "")
        assert "weights moved" in failed(train(loop(backbone), few(toy_task, AllWeights())))


def freeze(monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    """No parameter whose name holds the mark learns."""
    make: Callable[..., adapted.Adapted] = adapted.make_adapted

    def frozen(*given: Any) -> adapted.Adapted:
        made = make(*given)
        for name, parameter in made.model.named_parameters():
            if mark in name:
                parameter.requires_grad_(False)
        return made

    monkeypatch.setattr("lowres.training.loop.make_adapted", frozen)


def test_pissa_is_kept_as_peft_converts_it(backbone: Backbone, toy_task: Task, tmp_path: Path) -> None:
    """PEFT's own conversion of the same training, written down with PEFT alone."""
    from peft import LoraConfig, get_peft_model
    from safetensors.numpy import load_file

    kind = PiSSA(4, 8)
    engine = loop(backbone)
    fitted = train(engine, few(toy_task, kind))
    linears = adapters.adapted_linears(backbone.load(), kind.linears, None)
    model = get_peft_model(
        backbone.load(), LoraConfig(r=4, lora_alpha=8, target_modules=linears, init_lora_weights="pissa")
    )
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "first")
    model.peft_config["default"].init_lora_weights = "pissa"
    adapters.write(
        model, {name: np.split(value, 2, int(".lora_B." in name))[0] for name, value in fitted.adapter.items()}
    )
    model.save_pretrained(tmp_path / "converted", path_initial_model_for_weight_conversion=str(tmp_path / "first"))
    converted = load_file(tmp_path / "converted" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "converted" / "adapter_config.json").read_text())
    mine = engine.adapter_config(few(toy_task, kind))
    assert mine is not None
    assert (config["r"], config["lora_alpha"]) == (mine["r"], mine["lora_alpha"]) == (8, 16)
    assert set(converted) == set(fitted.adapter)
    for name, value in converted.items():
        assert fitted.adapter[name] == pytest.approx(value, abs=1e-6)


def test_adalora_is_what_plain_peft_does(backbone: Backbone, toy_task: Task) -> None:
    """The same fit written down again with PEFT and torch alone, its allocator told of every step."""
    import torch
    from peft import AdaLoraConfig, get_peft_model

    from lowres.models.heads import initial_head

    kind, fit = AdaLoRA(4, 8), few(toy_task, AdaLoRA(4, 8))
    fitted = train(loop(backbone), fit)
    model = get_peft_model(
        backbone.load(),
        AdaLoraConfig(init_r=6, target_r=4, lora_alpha=8, lora_dropout=0.0, tinit=3, tfinal=9, total_step=30, target_modules=["query", "value"]),
    ).eval()  # fmt: skip
    adapters.write(model, loop(backbone).adapted(kind).fresh(fit.task, fit.draw))
    head = initial_head(backbone.hidden, 2, fit.task, fit.draw)
    weight, bias = (torch.nn.Parameter(torch.tensor(head[name])) for name in ("weight", "bias"))
    live = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([{"params": live}, {"params": [weight, bias]}], weight_decay=0)
    arrays = backbone.tokens().encode(fit.texts, 24)
    for step, (places, _) in enumerate(fit.batches()):
        for group, peak in zip(optimizer.param_groups, (5e-3, 5e-2), strict=True):
            group["lr"] = peak * fit.recipe.rate(step, 30)
        ids, mask = (torch.from_numpy(one) for one in backbone.tokens().pad([arrays[place] for place in places]))
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = torch.nn.functional.normalize((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
        loss = torch.nn.functional.cross_entropy(vectors @ weight.T + bias, torch.tensor(fit.targets[places]))
        spread = [
            torch.linalg.norm((one @ one.T if "lora_A" in name else one.T @ one) - torch.eye(6))
            for name, one in model.named_parameters()
            if "lora_A" in name or "lora_B" in name
        ]
        optimizer.zero_grad()
        (loss + 0.1 * sum(spread) / len(spread)).backward()
        optimizer.step()
        model.base_model.update_and_allocate(step)
    model.peft_config["default"].rank_pattern = None
    wanted = adapters.read(model)
    assert set(wanted) == set(fitted.adapter)
    for name, value in wanted.items():
        assert fitted.adapter[name] == pytest.approx(value, abs=1e-3)
    left = sum(int(np.count_nonzero(value)) for name, value in wanted.items() if name.endswith("lora_E"))
    assert left == 16


def test_dora_begins_with_the_frozen_encoder(backbone: Backbone, toy_task: Task) -> None:
    for kind in (DoRA(4, 8), IA3(), PiSSA(4, 8), AdaLoRA(4, 8)):
        run = loop(backbone).adapted(kind)
        run.write(run.fresh("toy", 0))
        ids, mask = (torch_of(one) for one in backbone.tokens().pad(backbone.tokens().encode(TEXTS, 24)))
        frozen = backbone.load()(input_ids=ids, attention_mask=mask).last_hidden_state
        found = run.model(input_ids=ids, attention_mask=mask).last_hidden_state
        assert found.detach().numpy() == pytest.approx(frozen.detach().numpy(), abs=1e-5), kind


def torch_of(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)


def test_rslora_in_the_fleet_is_that_of_the_loop(backbone: Backbone, toy_task: Task) -> None:
    fit = few(toy_task, RsLoRA(4, 8))
    fleet = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")
    plain = loop(backbone)
    texts = list(toy_task.domains["film"].test.texts)
    got = fleet.predict(fit, train(fleet, fit), texts)
    assert got == pytest.approx(plain.predict(fit, train(plain, fit), texts), abs=1e-4)
    as_lora = dataclasses.replace(fit, adapter=LoRA(4, 8))
    assert np.abs(got - fleet.predict(as_lora, train(fleet, as_lora), texts)).max() > 1e-4


def test_keys_say_who_trains(toy_task: Task) -> None:
    fleet = Environment("weights", "fleet", "fp32", "torch-2.13")
    plain = dataclasses.replace(fleet, engine="loop")
    for kind in WHOLE:
        fit = few(toy_task, kind)
        assert (fit.key(fleet) == fit.key(plain)) == isinstance(kind, LOOP_ADAPTERS)
        assert fleet.of(fit)["engine"] == ("loop" if isinstance(kind, LOOP_ADAPTERS) else "fleet")
    assert len({few(toy_task, kind).content for kind in WHOLE}) == len(WHOLE)


def test_the_spec_of_plain_lora_is_as_it_was(toy_task: Task) -> None:
    spec = few(toy_task, LoRA(4, 8)).spec()["adapter"]
    assert json.dumps(spec) == '{"LoRA": {"rank": 4, "alpha": 8, "linears": "query-value", "live_layers": null}}'


def test_scales() -> None:
    assert RsLoRA(16, 8).scale == pytest.approx(8 / math.sqrt(16))
    assert LoRA(16, 8).scale == 0.5


class TestAllWeights:
    def test_only_what_changed_is_kept(self, backbone: Backbone, toy_task: Task) -> None:
        engine = loop(backbone)
        fit = few(toy_task, AllWeights(), shots=2)
        fitted = train(engine, fit)
        table = "embeddings.word_embeddings.weight"
        seen = np.unique(np.concatenate(backbone.tokens().encode(fit.texts, 24)))
        assert set(fitted.adapter[table + adapted.ROWS]) <= set(seen.tolist())
        assert fitted.adapter[table].shape == (len(fitted.adapter[table + adapted.ROWS]), backbone.hidden)
        engine.adapted(AllWeights()).write(fitted.adapter)
        full = engine.adapted(AllWeights()).weights()
        frozen = {name: value.numpy() for name, value in backbone.load().named_parameters()}
        for name, value in full.items():
            changed = not np.array_equal(value, frozen[name])
            assert changed == (name in fitted.adapter), name
        engine.adapted(AllWeights()).write({})
        again = engine.adapted(AllWeights()).weights()
        assert all(np.array_equal(value, frozen[name]) for name, value in again.items())

    def test_it_is_what_plain_torch_does(self, backbone: Backbone, toy_task: Task) -> None:
        import torch

        from lowres.models.heads import initial_head

        fit = few(toy_task, AllWeights())
        engine = loop(backbone)
        fitted = train(engine, fit)
        model = backbone.load().requires_grad_(True)
        head = initial_head(backbone.hidden, 2, fit.task, fit.draw)
        weight, bias = (torch.nn.Parameter(torch.tensor(head[name])) for name in ("weight", "bias"))
        optimizer = torch.optim.AdamW(
            [{"params": list(model.parameters())}, {"params": [weight, bias]}], weight_decay=0
        )
        arrays = backbone.tokens().encode(fit.texts, 24)
        for step, (places, _) in enumerate(fit.batches()):
            for group, peak in zip(optimizer.param_groups, (1e-3, 5e-2), strict=True):
                group["lr"] = peak * fit.recipe.rate(step, fit.steps)
            ids, mask = (torch.from_numpy(one) for one in backbone.tokens().pad([arrays[place] for place in places]))
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
            vectors = torch.nn.functional.normalize(
                (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1
            )
            loss = torch.nn.functional.cross_entropy(vectors @ weight.T + bias, torch.tensor(fit.targets[places]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        engine.adapted(AllWeights()).write(fitted.adapter)
        found = engine.adapted(AllWeights()).weights()
        for name, value in model.named_parameters():
            assert found[name] == pytest.approx(value.detach().numpy(), abs=2e-4), name


@named
def test_bf16_stays_close_to_fp32(kind: Adapter, backbone: Backbone, toy_task: Task) -> None:
    fit = few(toy_task, kind)
    texts = list(toy_task.domains["shop"].test.texts)
    engines = (LoopEngine(backbone, backbone.tokens(), "cpu", precision) for precision in ("fp32", "bf16"))
    full, half = (engine.predict(fit, train(engine, fit), texts) for engine in engines)
    assert np.abs(full - half).mean() < 0.02


def test_explanations_of_every_kind(backbone: Backbone, toy_task: Task) -> None:
    pytest.importorskip("captum")
    from lowres.analysis.explain import explain

    engine = loop(backbone)
    for kind in KINDS:
        fit = few(toy_task, kind)
        (one,) = explain(classifier(backbone, engine, fit, train(engine, fit)), ["the plot was awful"])
        assert sum(word.weight for word in one.words) == pytest.approx(one.logit - one.empty, abs=0.05), kind
