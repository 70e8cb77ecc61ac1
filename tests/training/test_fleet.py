"""The fleet gives what the plain engine gives, whatever the wave."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.data.views import with_deletions
from lowres.models import adapters, packed
from lowres.models.backbone import Backbone, find_backbone
from lowres.training.adapted import make_adapted
from lowres.training.fit import Fit, Fitted, Part
from lowres.training.fleet import FleetEngine
from lowres.training.loop import LoopEngine
from lowres.training.recipe import MMD, Contrastive, Coral, CrossEntropy, Dann, LoRA, Objective, Recipe, SimCSE

CLOSE = 1e-4
"""Probabilities after training, in fp32."""
THREE = ("a", "b", "c")


@pytest.fixture(scope="module")
def engines(encoders: dict[str, Path]) -> dict[str, tuple[FleetEngine, LoopEngine]]:
    made = {}
    for shape, folder in encoders.items():
        backbone = find_backbone(str(folder))
        made[shape] = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32"), plain(backbone)
    return made


def plain(backbone: Backbone) -> LoopEngine:
    return LoopEngine(backbone, backbone.tokens(), "cpu", "fp32")


def relabelled(rows: Rows, labels: Sequence[str]) -> Rows:
    names = tuple(labels[place % len(labels)] for place in range(len(rows)))
    return Rows(rows.domain, rows.ids, rows.texts, names, rows.groups)


def fit(
    task: Task, *, domain: str = "shop", shots: int = 4, draw: int = 0, steps: int = 12, rate: float = 5e-3,
    batch: int = 8, classes: int = 2, linears: str = "query-value", live: int | None = None, source: str | None = None,
    objective: Objective = CrossEntropy(),
) -> Fit:  # fmt: skip
    rows = splits.shots(task.name, task.domains[domain].train, shots, draw)
    whole = [rows] if source is None else [rows, task.domains[source].train]
    labels = THREE[:classes] if classes == 3 else task.labels
    shares = (0.7, 0.3) if source else (1.0,)
    parts = tuple(
        Part(relabelled(rows, labels) if classes == 3 else rows, share)
        for rows, share in zip(whole, shares, strict=True)
    )
    recipe = Recipe(rate, 10 * rate, batch, steps, 0.01, max_length=24)
    return Fit(parts, labels, task.name, draw, objective=objective, adapter=LoRA(4, 8, linears, live), recipe=recipe)


fits = some.fixed_dictionaries(
    {
        "domain": some.sampled_from(["shop", "film", "chat"]),
        "shots": some.integers(1, 12),
        "draw": some.integers(0, 3),
        "steps": some.integers(1, 14),
        "rate": some.sampled_from([1e-3, 5e-3]),
        "batch": some.integers(1, 16),
        "classes": some.sampled_from([2, 3]),
        "linears": some.sampled_from(["query-value", "attention", "all"]),
        "live": some.sampled_from([None, 1]),
        "source": some.sampled_from([None, "shop", "film"]),
        "objective": some.sampled_from([CrossEntropy(), CrossEntropy(), Contrastive(), Contrastive(0.5)]),
    }
)


def trained(engine: FleetEngine | LoopEngine, wave: list[Fit], starts: Mapping[str, Fitted]) -> dict[str, Fitted]:
    done: dict[str, Fitted] = {}
    for one, result in engine.fit_many(wave, starts):
        assert isinstance(result, Fitted), result
        done[one.content] = result
    return done


def test_a_ragged_wave_agrees_with_the_plain_engine(
    engines: dict[str, tuple[FleetEngine, LoopEngine]], toy_task: Task
) -> None:
    texts = list(toy_task.domains["chat"].test.texts)

    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        some.sampled_from(["bert", "distilbert"]),
        some.lists(fits, min_size=1, max_size=9, unique_by=lambda one: tuple(one.values())),
        some.randoms(use_true_random=False),
    )
    def agree(shape: str, wave: list[dict[str, Any]], shuffle: Any) -> None:
        fleet, loop = engines[shape]
        group = [fit(toy_task, **one) for one in wave]
        start = group[0]
        source = trained(loop, [start], {})
        onward = dataclasses.replace(
            fit(toy_task, domain="film", classes=len(start.labels)), start=start, adapter=start.adapter
        )
        group = list({one.content: one for one in [*group, onward]}.values())
        expected = trained(loop, group, source)
        shuffle.shuffle(group)
        found = trained(fleet, group, source)
        assert set(found) == set(expected)
        for one in group:
            wanted = loop.predict(one, expected[one.content], texts)
            assert fleet.predict(one, found[one.content], texts) == pytest.approx(wanted, abs=CLOSE)
            assert [entry["step"] for entry in found[one.content].log] == list(range(1, one.steps + 1))
            assert [check.name for check in found[one.content].checks] == [
                check.name for check in expected[one.content].checks
            ]

    agree()


@pytest.mark.parametrize("objective", [Coral(), MMD(), Dann(), SimCSE()])
def test_unlabelled_rows_agree_with_the_plain_engine(
    objective: Objective, engines: dict[str, tuple[FleetEngine, LoopEngine]], toy_task: Task
) -> None:
    fleet, loop = engines["bert"]
    texts = list(toy_task.domains["chat"].test.texts)
    wave = []
    for draw in range(3):
        labelled = splits.shots(toy_task.name, toy_task.domains["shop"].train, 3 + draw, draw)
        pool = toy_task.domains["film"].train.take(range(9 + draw)).without_labels()
        first = Part(pool) if isinstance(objective, SimCSE) else Part(labelled)
        second = Part(with_deletions(pool)) if isinstance(objective, SimCSE) else Part(pool)
        wave.append(
            dataclasses.replace(fit(toy_task, draw=draw, steps=8 + draw), parts=(first, second), objective=objective)
        )
    expected, found = trained(loop, wave, {}), trained(fleet, wave, {})
    for one in wave:
        wanted = expected[one.content]
        assert fleet.predict(one, found[one.content], texts) == pytest.approx(
            loop.predict(one, wanted, texts), abs=CLOSE
        )
        figures = [[entry.get("figure", 0.0) for entry in log] for log in (found[one.content].log, wanted.log)]
        assert figures[0] == pytest.approx(figures[1], abs=1e-3)
        assert [check.passed for check in found[one.content].checks] == [check.passed for check in wanted.checks]


@pytest.mark.parametrize("shape", ["bert", "roberta", "distilbert", "electra", "mpnet"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_every_shape_and_pooling_agrees(
    shape: str, pooling: str, encoders: dict[str, Path], toy_task: Task, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoders[shape], folder)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({f"pooling_mode_{pooling}{'_tokens' if pooling == 'mean' else '_token'}": True})
    )
    backbone = find_backbone(str(folder))
    fleet = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")
    assert fleet.notice is None
    wave = [fit(toy_task, draw=draw, shots=2 + draw, steps=8 + draw, linears="all") for draw in range(3)]
    found, expected = trained(fleet, wave, {}), trained(plain(backbone), wave, {})
    texts = list(toy_task.domains["shop"].test.texts)
    for one in wave:
        assert fleet.predict(one, found[one.content], texts) == pytest.approx(
            plain(backbone).predict(one, expected[one.content], texts), abs=CLOSE
        )


def test_one_alone_is_the_same_among_sixty_four(
    engines: dict[str, tuple[FleetEngine, LoopEngine]], toy_task: Task
) -> None:
    fleet, _ = engines["bert"]
    wave = [fit(toy_task, draw=draw, shots=1 + draw % 7, steps=3 + draw % 5) for draw in range(64)]
    together = trained(fleet, wave, {})
    texts = list(toy_task.domains["shop"].test.texts)
    for one in wave[::16]:
        alone = trained(fleet, [one], {})[one.content]
        assert fleet.predict(one, alone, texts) == pytest.approx(
            fleet.predict(one, together[one.content], texts), abs=CLOSE
        )


def test_small_memory_halves_the_group_and_goes_on(
    engines: dict[str, tuple[FleetEngine, LoopEngine]], toy_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, _ = engines["bert"]
    sizes = []
    train = FleetEngine._train

    def short(self: FleetEngine, group: list[Fit], starts: Mapping[str, Fitted]) -> list[Fitted | Exception]:
        sizes.append(len(group))
        if len(group) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(self, group, starts)

    wave = [fit(toy_task, draw=draw) for draw in range(7)]
    whole = trained(fleet, wave, {})
    monkeypatch.setattr(FleetEngine, "_train", short)
    halved = trained(fleet, wave, {})
    assert sizes == [7, 3, 1, 2, 4, 2, 2]
    for one in wave:
        assert halved[one.content].head["weight"] == pytest.approx(whole[one.content].head["weight"], abs=CLOSE)


def test_a_start_of_another_shape_fails_alone(
    engines: dict[str, tuple[FleetEngine, LoopEngine]], toy_task: Task
) -> None:
    fleet, _ = engines["bert"]
    source = fit(toy_task)
    (wrong,) = trained(fleet, [source], {}).values()
    wrong = dataclasses.replace(wrong, head={"weight": wrong.head["weight"][:, :5], "bias": wrong.head["bias"]})
    wave = [fit(toy_task, draw=draw) for draw in range(1, 4)]
    wave.insert(1, dataclasses.replace(fit(toy_task, domain="film"), start=source))
    results = {one.content: result for one, result in fleet.fit_many(wave, {source.content: wrong})}
    assert [isinstance(results[one.content], Fitted) for one in wave] == [True, False, True, True]


def test_memory_that_never_suffices_is_the_failure_of_each_fit(
    engines: dict[str, tuple[FleetEngine, LoopEngine]], toy_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> list[Fitted | Exception]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FleetEngine, "_train", none)
    wave = [fit(toy_task, draw=draw) for draw in range(3)]
    results = list(engines["bert"][0].fit_many(wave, {}))
    assert {one.content for one, _ in results} == {one.content for one in wave}
    assert all(isinstance(result, torch.OutOfMemoryError) for _, result in results)


@pytest.mark.parametrize("change", [{"hidden_act": "gelu_new"}, {"model_type": "deberta", "hidden_act": "gelu"}])
def test_what_has_no_packed_form_goes_to_the_plain_engine(
    change: dict[str, str], encoders: dict[str, Path], toy_task: Task, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModel

    folder = tmp_path / "encoder"
    shutil.copytree(encoders["bert"], folder)
    config = json.loads((folder / "config.json").read_text()) | change
    known = {
        name: config[name]
        for name in (
            "vocab_size",
            "pad_token_id",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "hidden_act",
        )
    }
    AutoModel.from_config(AutoConfig.for_model(config["model_type"], **known)).save_pretrained(folder)
    backbone = find_backbone(str(folder))
    fleet = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")
    assert fleet.notice is not None
    assert "one after another" in fleet.notice
    if change.get("model_type"):
        return
    one = fit(toy_task)
    texts = ["a good box", "an awful box"]
    expected = plain(backbone).predict(one, trained(plain(backbone), [one], {})[one.content], texts)
    assert fleet.predict(one, trained(fleet, [one], {})[one.content], texts) == pytest.approx(expected, abs=1e-6)


def test_a_wrong_packed_form_is_noticed(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = dict(packed.SHAPES["bert"]) | {"query": "attention.self.key"}
    monkeypatch.setattr(packed, "SHAPES", {"bert": swapped})
    notice = FleetEngine(backbone, backbone.tokens(), "cpu", "fp32").notice
    assert notice is not None


@pytest.mark.parametrize("shape", ["bert", "roberta", "distilbert", "electra", "mpnet"])
@pytest.mark.parametrize("linears", adapters.LINEARS)
@pytest.mark.parametrize("live", [None, 1])
def test_names_and_shapes_are_those_of_peft(
    shape: str, linears: str, live: int | None, encoders: dict[str, Path]
) -> None:
    backbone = find_backbone(str(encoders[shape]))
    wanted = make_adapted(backbone.load(), LoRA(3, 6, linears, live)).model
    found = adapters.shapes(backbone.load(), rank=3, linears=linears, live_layers=live)
    assert found == {name: value.shape for name, value in adapters.read(wanted).items()}


@pytest.mark.parametrize("together", [False, True])
def test_the_adapted_linear_has_the_gradients_of_autograd(together: bool) -> None:
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).requires_grad_()

    sizes = (3, 5, 1)
    x, weight, bias = draw(9, 6), draw(8, 6).detach(), draw(8).detach()
    factors = [draw(3, 2, 6), draw(3, 4, 2), draw(3, 2, 6), draw(3, 4, 2)]
    spans = packed.make_spans(sizes, "cpu", together)
    function = packed._AdaptedTogether if together else packed._AdaptedEach
    found = function.apply(x, weight, bias, 2.0, spans, [(0, 4), (4, 8)], *factors)
    pieces = []
    for number, piece in enumerate(x.split(sizes)):
        left, right = (2.0 * piece @ factors[at][number].T @ factors[at + 1][number].T for at in (0, 2))
        pieces.append(piece @ weight.T + bias + torch.cat([left, right], 1))
    wanted = torch.cat(pieces)
    assert torch.allclose(found, wanted)
    seed = draw(9, 8).detach()
    leaves = [x, *factors]
    for one, two in zip(
        torch.autograd.grad((found * seed).sum(), leaves),
        torch.autograd.grad((wanted * seed).sum(), leaves),
        strict=True,
    ):
        assert torch.allclose(one, two)
