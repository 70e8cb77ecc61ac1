"""Every method proves that it acted: broken on purpose, a check that is stored fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lowres.data.hints import Hints
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.methods import adaptation
from lowres.methods.catalogue import METHODS
from lowres.methods.cell import Bench
from lowres.models.backbone import Backbone
from lowres.study.config import build_config
from lowres.study.plan import make_plan
from lowres.study.runner import Outcome, run_plan
from lowres.study.store import Store
from lowres.training import closed_form, objectives
from lowres.training.fit import Environment, Fit, Fitted
from lowres.training.fleet import FleetEngine
from lowres.training.objectives import Heads, Step
from lowres.training.picks import PseudoLabels, Resembling
from lowres.training.recipe import MMD, Contrastive, Coral, CrossEntropy, Dann

Break = Callable[[pytest.MonkeyPatch], None]
ENVIRONMENT = Environment("tiny", "fleet", "fp32", "test")
GIVEN = {
    "task": "toy", "source": ["shop", "chat"], "target": ["film"], "shots": [8], "seeds": 1, "source_rows": 40,
    "recipe": {"min_steps": 30, "epochs": 1, "max_length": 24, "learning_rate": 5e-3, "head_learning_rate": 5e-2},
    "method": {"coral": {"weight": 100.0}, "mmd": {"weight": 100.0}},  # vectors of random weights hardly differ
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(backbone: Backbone) -> FleetEngine:
    return FleetEngine(backbone, backbone.tokens(), "cpu", "fp32")


def run(
    method: str, task: Task, engine: FleetEngine, folder: Path
) -> tuple[Outcome, dict[str, list[tuple[bool, float]]]]:
    """Outcome, and passed and value of every check of the method's fits by name."""
    plan = make_plan(build_config({**GIVEN, "methods": [method]}), task)
    wanted = {cell: fit for cell, fit in plan.fits.items() if cell.method == method and cell.source in (None, "shop")}
    plan = dataclasses.replace(plan, methods=(method,), fits=wanted)
    engine._frozen.clear()
    outcome = run_plan(plan, engine, ENVIRONMENT, Store(folder), {})
    assert not outcome.failed, outcome.failed
    found: dict[str, list[tuple[bool, float]]] = {}
    for fit in plan.distinct.values():
        for check in Store(folder).record(fit.key(ENVIRONMENT))["checks"]:
            found.setdefault(check["name"], []).append((check["passed"], check["value"]))
    return outcome, found


def uphill(patch: pytest.MonkeyPatch) -> None:
    """The gradient of the cross-entropy points the other way; the loss that is logged is the true one."""

    def worse(settings: object, step: Step, heads: Heads) -> tuple[torch.Tensor, None]:
        loss = objectives._cross_entropy(settings, step, heads)[0]
        return 2 * loss.detach() - loss, None

    patch.setitem(objectives._LOSSES, CrossEntropy, worse)


def still(patch: pytest.MonkeyPatch) -> None:
    """Fits that go on from another do not move."""

    def unmoved(settings: object, step: Step, heads: Heads) -> tuple[torch.Tensor, None]:
        loss = objectives._cross_entropy(settings, step, heads)[0]
        return loss.detach() + 0 * loss, None

    patch.setitem(objectives._LOSSES, CrossEntropy, unmoved)


def fresh_heads(patch: pytest.MonkeyPatch) -> None:
    """No fit takes the head of its start."""
    from lowres.training import beginning, fleet

    def forgets(fit: Fit, *rest: object) -> Fitted:
        other = dataclasses.replace(fit, labels=("x", "y"), start=fit.start)
        return beginning.beginning(other, *rest)  # type: ignore[arg-type]

    patch.setattr(fleet, "beginning", forgets)


def identical(patch: pytest.MonkeyPatch) -> None:
    """All ingredients of an average are the first."""
    mean = Bench.mean
    patch.setattr(Bench, "mean", lambda self, fits, *rest, **more: mean(self, [fits[0]] * len(fits), *rest, **more))


def constant_features(patch: pytest.MonkeyPatch) -> None:
    def constant(self: FleetEngine, texts: list[str], *rest: object, **more: object) -> np.ndarray:
        return np.ones((len(texts), self.backbone.hidden), dtype=np.float32)

    patch.setattr(FleetEngine, "features", constant)


def one_class(patch: pytest.MonkeyPatch) -> None:
    """The teacher gives one label to all rows."""
    pick = PseudoLabels.pick

    def picked(self: PseudoLabels, rows: Rows, chances: np.ndarray) -> object:
        return pick(self, rows, np.tile(np.eye(chances.shape[1], dtype=np.float32)[0], (len(chances), 1)))

    patch.setattr(PseudoLabels, "pick", picked)


def at_random(patch: pytest.MonkeyPatch) -> None:
    """Rows are kept at random, whatever the domain classifier says."""
    pick = Resembling.pick

    def picked(self: Resembling, rows: Rows, chances: np.ndarray) -> object:
        from lowres.training import picks

        other = np.random.default_rng(0).permutation(chances)
        kept, _ = pick(self, rows, other)
        places = np.array([rows.ids.index(row) for row in kept.ids])
        above = picks._share_above(chances[:, -1].astype(float), places, rows)
        (check,) = pick(self, rows, chances)[1]
        return kept, (dataclasses.replace(check, passed=above > 0.9, value=above),)

    patch.setattr(Resembling, "pick", picked)


def unrelated_views(patch: pytest.MonkeyPatch) -> None:
    """The other view of a text that is trained on is another text."""
    views = adaptation.with_deletions

    def turned(rows: Rows) -> Rows:
        found = views(rows)
        return found.take(np.roll(np.arange(len(found)), 1)) if len(found) > 10 else found

    patch.setattr(adaptation, "with_deletions", turned)


def apart(objective: type, loss: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> Break:
    """The distance of the domains is made large."""
    return lambda patch: patch.setitem(
        objectives._LOSSES, objective, lambda _, step, heads: loss(objective(weight=-5.0), step, heads)
    )


def frozen_discriminator(patch: pytest.MonkeyPatch) -> None:
    def frozen(settings: Dann, step: Step, heads: Heads) -> tuple[torch.Tensor, torch.Tensor]:
        assert heads.discriminator is not None
        weight, bias = heads.discriminator
        loss, told = objectives._dann(
            settings, step, dataclasses.replace(heads, discriminator=(weight.detach(), bias.detach()))
        )
        return loss + 0 * (weight.sum() + bias.sum()), told

    patch.setitem(objectives._LOSSES, Dann, frozen)


def pushed_apart(patch: pytest.MonkeyPatch) -> None:
    def worse(settings: Contrastive, step: Step, heads: Heads) -> tuple[torch.Tensor, None]:
        loss = objectives._contrastive(settings, step, heads)[0]
        return 2 * loss.detach() - loss, None

    patch.setitem(objectives._LOSSES, Contrastive, worse)


def wrong_words(patch: pytest.MonkeyPatch) -> None:
    """The keywords of each label speak for the other."""
    votes = Hints.votes
    patch.setattr(Hints, "votes", lambda self, texts, labels: votes(self, texts, labels)[:, ::-1])


def one_frequency(patch: pytest.MonkeyPatch) -> None:
    """Only rows of one class are counted."""
    counted = np.bincount
    patch.setattr(closed_form.np, "bincount", lambda rows, **more: counted(rows * 0, **more))


def no_words(patch: pytest.MonkeyPatch) -> None:
    """All texts are the same."""
    texts = Fit.texts.fget
    patch.setattr(Fit, "texts", property(lambda self: ["the same"] * len(texts(self))))


FELL, BEGAN, CHANGED, DIFFER, RECALL = (
    "training loss fell", "first loss nearer to its start's than to a fresh head's", "answers on its rows changed", "ingredients differ",
    "mean recall on its rows above chance",
)  # fmt: skip
DISTANCE = "distance of the domains fell"
BREAKS: dict[str, tuple[tuple[Break, str], ...]] = {
    "source-only": ((uphill, FELL),),
    "target-full": ((uphill, FELL),),
    "target-only": ((uphill, FELL),),
    "joint": ((uphill, FELL),),
    "full-finetune": ((uphill, FELL), (still, CHANGED)),
    "source-then-target": ((fresh_heads, BEGAN), (still, CHANGED)),
    "probe-then-lora": ((fresh_heads, BEGAN), (still, CHANGED)),
    "label-names": ((fresh_heads, BEGAN), (constant_features, RECALL)),
    "contrastive": ((pushed_apart, "vectors of a class closer than before"),),
    "interpolate": ((identical, DIFFER),),
    "soup": ((identical, DIFFER),),
    "merge-domains": ((identical, DIFFER), (still, "ingredients with an update")),
    "meta": ((identical, DIFFER), (still, "start moved from the initial one")),
    "select-source": ((at_random, "kept rows are more target-like than others"),),
    "self-train": ((one_class, "classes among the pseudo-labels"),),
    "tapt": ((unrelated_views, "held-out loss below the frozen encoder's"),),
    "coral": ((apart(Coral, objectives._coral), DISTANCE),),
    "mmd": ((apart(MMD, objectives._mmd), DISTANCE),),
    "dann": ((frozen_discriminator, "discriminator better than chance"),),
    "keywords": ((wrong_words, "keywords are right on the shots"), (one_class, "classes among the pseudo-labels")),
    "nearest": ((constant_features, RECALL),),
    "probe": ((constant_features, RECALL),),
    "probe-joint": ((constant_features, RECALL),),
    "tfidf": ((no_words, RECALL),),
    "tfidf-joint": ((no_words, RECALL),),
    "tree": ((no_words, "tree has a split"),),
    "majority": ((one_frequency, "saw every class"),),
}


def test_every_method_is_broken_here() -> None:
    assert set(BREAKS) == set(METHODS)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_sound_method_passes_and_has_a_check_of_its_own(
    method: str, hinted_task: Task, engine: FleetEngine, tmp_path: Path
) -> None:
    outcome, found = run(method, hinted_task, engine, tmp_path)
    assert all(passed for checks in found.values() for passed, _ in checks), outcome.warnings
    assert {name for _, name in BREAKS[method]} <= set(found)
    assert set(found) - {"adapter moved", "weights not zero"}


@pytest.mark.parametrize(
    ("method", "harm", "check"),
    [pytest.param(name, *one, id=f"{name}: {one[1]}") for name, breaks in BREAKS.items() for one in breaks],
)
def test_a_broken_method_is_seen(
    method: str,
    harm: Break,
    check: str,
    hinted_task: Task,
    engine: FleetEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harm(monkeypatch)
    outcome, found = run(method, hinted_task, engine, tmp_path)
    assert not all(passed for passed, _ in found[check]), found
    assert any(line.startswith(f"{method}: draw 0") and check in line for line in outcome.warnings)
