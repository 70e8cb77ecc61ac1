"""Fits that need several others: averages, rows that another fit decides on, heads and features of a start."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lowres.data import splits
from lowres.data.task import Task
from lowres.data.views import with_deletions
from lowres.models.backbone import Backbone
from lowres.training import closed_form
from lowres.training.acted import encoder_checks
from lowres.training.fit import Fit, Fitted, Part
from lowres.training.fleet import FleetEngine
from lowres.training.loop import LoopEngine
from lowres.training.picks import PseudoLabels, Resembling
from lowres.training.recipe import Average, Contrastive, CrossEntropy, Logistic, LoRA, Prototypes, Recipe, SimCSE

RECIPE = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=12, max_length=24)


@pytest.fixture(scope="module", params=["fleet", "loop"])
def engine(request: pytest.FixtureRequest, backbone: Backbone) -> FleetEngine | LoopEngine:
    kind = FleetEngine if request.param == "fleet" else LoopEngine
    return kind(backbone, backbone.tokens(), "cpu", "fp32")


def few(task: Task, domain: str = "shop", draw: int = 0, **changes: object) -> Fit:
    rows = splits.shots(task.name, task.domains[domain].train, 6, draw)
    return dataclasses.replace(Fit((Part(rows),), task.labels, task.name, draw, recipe=RECIPE), **changes)


def average(weights: tuple[float, ...], fits: list[Fit], of: str = "update") -> Fit:
    times = len(fits) if of == "update" else 1
    return dataclasses.replace(
        fits[0], parts=(), ingredients=tuple(fits), objective=Average(weights, of), start=None,
        adapter=LoRA(rank=8 * times, alpha=16 * times),
    )  # fmt: skip


def train(
    engine: FleetEngine | LoopEngine, fits: list[Fit], starts: dict[str, Fitted] | None = None
) -> dict[str, Fitted]:
    done = {}
    for fit, result in engine.fit_many(fits, starts or {}):
        assert isinstance(result, Fitted), result
        done[fit.content] = result
    return done


def updates(fitted: Fitted, rank: int) -> dict[str, np.ndarray]:
    return {
        name: 2.0 * fitted.adapter[name.replace("lora_A", "lora_B")] @ fitted.adapter[name]
        for name in fitted.adapter
        if "lora_A" in name
    }


def test_an_average_of_updates_is_exact(engine: FleetEngine | LoopEngine, toy_task: Task) -> None:
    source = few(toy_task)
    start = train(engine, [source])
    target = few(toy_task, "film", start=source)
    done = start | train(engine, [target], start)
    mean = average((0.3, 0.7), [source, target])
    fitted = closed_form.solve(mean, engine, done)
    assert all(check.passed for check in fitted.checks)
    one, other, both = (updates(each, 8) for each in (done[source.content], done[target.content], fitted))
    for name, update in both.items():
        assert update == pytest.approx(0.3 * one[name] + 0.7 * other[name], abs=1e-6)
    texts = list(toy_task.domains["chat"].test.texts)
    assert engine.predict(mean, fitted, texts).shape == (len(texts), 2)
    whole = closed_form.solve(average((0.0, 1.0), [source, target]), engine, done)
    wanted = engine.predict(target, done[target.content], texts)
    assert engine.predict(mean, whole, texts) == pytest.approx(wanted, abs=1e-5)


def test_an_average_of_factors_is_one_of_tensors(engine: FleetEngine | LoopEngine, toy_task: Task) -> None:
    fits = [few(toy_task, domain) for domain in ("shop", "film")]
    done = train(engine, fits)
    fitted = closed_form.solve(average((0.5, 0.5), fits, "factors"), engine, done)
    for name, value in fitted.adapter.items():
        assert value == pytest.approx((done[fits[0].content].adapter[name] + done[fits[1].content].adapter[name]) / 2)


def test_an_average_of_the_same_is_told(engine: FleetEngine | LoopEngine, toy_task: Task) -> None:
    fit = few(toy_task)
    done = train(engine, [fit])
    fitted = closed_form.solve(average((0.5, 0.5), [fit, fit]), engine, done)
    assert [check.name for check in fitted.checks if not check.passed] == ["ingredients differ"]


def test_training_goes_on_from_an_average(engine: FleetEngine | LoopEngine, toy_task: Task) -> None:
    fits = [few(toy_task, domain) for domain in ("shop", "film")]
    done = train(engine, fits)
    mean = average((0.5, 0.5), fits)
    done[mean.content] = closed_form.solve(mean, engine, done)
    onward = few(toy_task, "chat", start=mean, adapter=mean.adapter)
    (fitted,) = train(engine, [onward], done).values()
    assert {value.shape[0] for name, value in fitted.adapter.items() if "lora_A" in name} == {16}
    assert all(check.passed for check in fitted.checks)


def test_a_head_goes_on_from_a_frozen_start(engine: FleetEngine | LoopEngine, toy_task: Task) -> None:
    head = few(toy_task, objective=Logistic(), adapter=None)
    done = {head.content: closed_form.solve(head, engine, {})}
    still = few(toy_task, start=head, recipe=dataclasses.replace(RECIPE, learning_rate=0.0, head_learning_rate=0.0))
    (fitted,) = train(engine, [still], done).values()
    assert fitted.head["weight"] == pytest.approx(done[head.content].head["weight"], abs=1e-6)
    texts = list(toy_task.domains["film"].test.texts)
    wanted = closed_form.answer(head, done[head.content], texts, engine)
    assert engine.predict(still, fitted, texts) == pytest.approx(wanted, abs=1e-5)


def test_a_head_goes_on_in_the_labels_it_knows(engine: FleetEngine | LoopEngine, uneven_task: Task) -> None:
    """Rows of a class that the start has never seen begin fresh; a class that only the start has is left behind."""
    known, whole = ("negative", "positive"), uneven_task.labels
    source = few(uneven_task, "film", labels=known)
    done = train(engine, [source])
    still = few(
        uneven_task, start=source, recipe=dataclasses.replace(RECIPE, learning_rate=0.0, head_learning_rate=0.0)
    )
    fresh = few(uneven_task, recipe=still.recipe)
    (onward,), (anew,) = train(engine, [still], done).values(), train(engine, [fresh]).values()
    first = done[source.content].head["weight"]
    for place, label in enumerate(whole):
        wanted = first[known.index(label)] if label in known else anew.head["weight"][place]
        assert onward.head["weight"][place] == pytest.approx(wanted, abs=1e-6), label
    back = few(uneven_task, "film", start=still, labels=known, recipe=still.recipe)
    (last,) = train(engine, [back], done | {still.content: onward}).values()
    assert last.head["weight"] == pytest.approx(first, abs=1e-6)
    (trained,) = train(engine, [few(uneven_task, start=source)], done).values()
    seen = encoder_checks(few(uneven_task, start=source), trained, engine, done)
    assert len(seen) == 2
    assert all(check.passed for check in seen)


def test_an_average_takes_a_class_from_those_that_know_it(engine: FleetEngine | LoopEngine, uneven_task: Task) -> None:
    source = few(uneven_task, "film", labels=("negative", "positive"))
    start = train(engine, [source])
    target = few(uneven_task, start=source)
    done = start | train(engine, [target], start)
    mean = dataclasses.replace(average((0.3, 0.7), [source, target]), labels=uneven_task.labels)
    head = closed_form.solve(mean, engine, done).head
    own, other = done[source.content].head, done[target.content].head
    for name in ("weight", "bias"):
        assert head[name][1] == pytest.approx(other[name][1], abs=1e-6)
        assert head[name][2] == pytest.approx(0.3 * own[name][1] + 0.7 * other[name][2], abs=1e-6)


def test_a_start_that_trains_no_head_gives_none(engine: FleetEngine | LoopEngine, toy_task: Task) -> None:
    features = few(toy_task, draw=1, objective=Contrastive())
    done = train(engine, [features])
    still = few(toy_task, start=features, recipe=dataclasses.replace(RECIPE, learning_rate=0.0, head_learning_rate=0.0))
    fresh = few(toy_task, recipe=still.recipe)
    assert not still.takes_head
    (onward,), (anew,) = train(engine, [still], done).values(), train(engine, [fresh]).values()
    assert np.array_equal(onward.head["weight"], anew.head["weight"])
    assert all(np.array_equal(value, done[features.content].adapter[name]) for name, value in onward.adapter.items())


@pytest.mark.parametrize("objective", [Logistic(), Prototypes(0.2)])
def test_a_solver_reads_the_features_of_its_start(
    objective: Logistic | Prototypes, engine: FleetEngine | LoopEngine, toy_task: Task
) -> None:
    from sklearn.linear_model import LogisticRegression

    features = few(toy_task, objective=Contrastive())
    done = train(engine, [features])
    fit = few(toy_task, start=features, objective=objective)
    fitted = closed_form.solve(fit, engine, done)
    texts = list(toy_task.domains["film"].test.texts)
    under = (features, done[features.content])
    train_vectors, test_vectors = (engine.features(one, RECIPE, under) for one in (fit.texts, texts))
    if isinstance(objective, Logistic):
        model = LogisticRegression(max_iter=2000).fit(train_vectors, fit.targets)
        wanted = model.predict_proba(test_vectors)
    else:
        means = np.stack([train_vectors[fit.targets == label].mean(0) for label in (0, 1)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        logits = test_vectors @ means.T / 0.2
        wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert engine.predict(fit, fitted, texts) == pytest.approx(wanted, abs=1e-4)


def test_pseudo_labels_are_the_surest_of_each_class(toy_task: Task) -> None:
    rows = toy_task.domains["film"].train.take(range(8)).without_labels()
    teacher = few(toy_task)
    sure = np.array([0.9, 0.2, 0.6, 0.4, 0.95, 0.45, 0.3, 0.7], dtype=np.float32)
    picked, checks = PseudoLabels(teacher, 0.5).pick(rows, np.stack([1 - sure, sure], axis=1))
    assert [rows.ids.index(row) for row in picked.ids] == [0, 1, 4, 6]
    assert picked.labels == tuple(toy_task.labels[label] for label in (1, 0, 1, 0))
    assert all(check.passed for check in checks)
    one_sided, checks = PseudoLabels(teacher, 0.5).pick(rows, np.stack([1 - sure * 0, sure * 0], axis=1))
    assert len(one_sided) == 2
    assert not any(check.passed for check in checks)


def test_resembling_keeps_the_target_like_rows_of_each_class(toy_task: Task) -> None:
    rows = toy_task.domains["shop"].train.take(range(10))
    alike = np.linspace(0.1, 0.9, 10, dtype=np.float32)
    picked, (check,) = Resembling(few(toy_task), 0.5).pick(rows, np.stack([1 - alike, alike], axis=1))
    for own in rows.by_label().values():
        kept = [place for place in own if rows.ids[place] in picked.ids]
        assert kept == sorted(own)[-len(kept) :]
        assert len(kept) == round(0.5 * len(own))
    assert check.passed
    _, (check,) = Resembling(few(toy_task), 0.5).pick(rows, np.full((10, 2), 0.5, dtype=np.float32))
    assert not check.passed


def test_a_decided_fit_keeps_its_name_and_order(toy_task: Task) -> None:
    teacher, pool = few(toy_task), toy_task.domains["film"].train.take(range(12)).without_labels()
    fit = few(toy_task, start=teacher, parts=(Part(pool, by=PseudoLabels(teacher)),))
    assert [need.content for need in fit.needs] == [teacher.content, teacher.content]
    assert [one.content for one in fit.lineage()] == [teacher.content, fit.content]
    sure = np.linspace(0.05, 0.95, 12, dtype=np.float32)
    answers = {f"{pool.fingerprint} {teacher.content}": np.stack([1 - sure, sure], axis=1)}
    whole, checks = fit.decided(answers)
    assert whole.content == fit.content
    assert whole.size == fit.size == 6
    assert len(checks) == 2
    other = few(toy_task, start=teacher, parts=(Part(pool, by=PseudoLabels(teacher, 0.25)),))
    assert other.content != fit.content


def test_replicas_see_other_orders_of_the_same_rows(toy_task: Task) -> None:
    one = few(toy_task)
    two = dataclasses.replace(one, replica=1)
    assert one.content != two.content
    assert dataclasses.replace(one, replica=0).content == one.content
    orders = [[places.tolist() for places, _ in fit.batches()] for fit in (one, two)]
    assert orders[0] != orders[1]


def test_both_views_of_a_text_come_together(toy_task: Task) -> None:
    pool = toy_task.domains["film"].train.take(range(10)).without_labels()
    held = Part(toy_task.domains["film"].train.take(range(10, 14)).without_labels(), 0.0)
    fit = few(toy_task, parts=(Part(pool), Part(with_deletions(pool)), held, held), objective=SimCSE())
    for places, weights in fit.batches():
        half = len(places) // 2
        assert (places[:half] + 10 == places[half:]).all()
        assert places.max() < 20
        assert weights.sum() == pytest.approx(1.0)
        assert set(fit.targets[places]) == set(places[:half])


def test_deletions_keep_words_in_order_and_one_at_least() -> None:
    from lowres.data.rows import Rows

    ids = tuple(f"r{number}" for number in range(300))
    rows = Rows("d", ids, ["a b c d e f g h i j"] * 299 + ["one"], ("",) * 300, ids)
    found = with_deletions(rows)
    assert list(with_deletions(rows).texts) == list(found.texts)
    assert found.texts[-1] == "one"
    lengths = [len(text.split()) for text in found.texts[:-1]]
    assert np.mean(lengths) == pytest.approx(7.0, abs=0.5)
    assert all(text.split() == sorted(text.split()) for text in found.texts)


def test_what_does_not_go_together_is_refused(toy_task: Task) -> None:
    fit = few(toy_task)
    with pytest.raises(ValueError, match="goes on with its adapter"):
        few(toy_task, start=fit, adapter=LoRA(rank=4))
    with pytest.raises(ValueError, match="ingredients"):
        few(toy_task, objective=Average((1.0,)))
    with pytest.raises(ValueError, match="ingredients"):
        few(toy_task, parts=())
    with pytest.raises(ValueError, match="contrastive"):
        few(toy_task, objective=SimCSE(), adapter=None)
    assert isinstance(fit.objective, CrossEntropy)
