"""The contract of an engine, run against every engine there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lowres.data import splits
from lowres.data.task import Task
from lowres.models.backbone import Backbone, find_backbone
from lowres.training import closed_form
from lowres.training.fit import Engine, Fit, Fitted, Part
from lowres.training.fleet import FleetEngine
from lowres.training.loop import KEPT_ENCODERS, LoopEngine
from lowres.training.recipe import Logistic, LoRA, MostFrequent, Recipe, Tree, Words
from tests.conftest import SHAPES

ENGINES: dict[str, Callable[[Backbone, str], Engine]] = {
    "fleet": lambda backbone, precision: FleetEngine(backbone, backbone.tokens(), "cpu", precision),
    "loop": lambda backbone, precision: LoopEngine(backbone, backbone.tokens(), "cpu", precision),
}
RECIPE = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=40, max_length=24)


@pytest.fixture(params=sorted(ENGINES))
def make(request: pytest.FixtureRequest) -> Callable[[Backbone, str], Engine]:
    return ENGINES[request.param]


@pytest.fixture
def engine(make: Callable[[Backbone, str], Engine], backbone: Backbone) -> Engine:
    return make(backbone, "fp32")


def few(task: Task, draw: int = 0, domain: str = "shop", shots: int = 8, start: Fit | None = None) -> Fit:
    rows = splits.shots(task.name, task.domains[domain].train, shots, draw)
    return Fit((Part(rows),), task.labels, task.name, draw, start=start, recipe=RECIPE)


def train(engine: Engine, fit: Fit, starts: dict[str, Fitted] | None = None) -> Fitted:
    ((_, fitted),) = engine.fit_many([fit], starts or {})
    assert isinstance(fitted, Fitted), fitted
    return fitted


@pytest.mark.parametrize("shape", SHAPES)
def test_learns_on_every_shape(shape: str, make: Callable, encoders: dict[str, Path], toy_task: Task) -> None:
    engine = make(find_backbone(str(encoders[shape])), "fp32")
    fit = dataclasses.replace(few(toy_task, shots=24), adapter=LoRA(linears="all"))
    fitted = train(engine, fit)
    test = toy_task.domains["shop"].test
    truth = np.array([toy_task.labels.index(label) for label in test.labels])
    assert (engine.predict(fit, fitted, list(test.texts)).argmax(1) == truth).mean() > 0.75
    assert all(check.passed for check in fitted.checks)
    assert len(fitted.log) == fit.steps


def test_repeats_bit_for_bit(engine: Engine, make: Callable, backbone: Backbone, toy_task: Task) -> None:
    fit = few(toy_task)
    first, other = train(engine, fit), train(engine, few(toy_task, draw=1))
    again = train(make(backbone, "fp32"), fit)
    for name, value in first.adapter.items():
        assert np.array_equal(value, again.adapter[name])
    assert np.array_equal(first.head["weight"], again.head["weight"])
    assert not np.array_equal(first.head["weight"], other.head["weight"])


def test_a_start_goes_on_where_it_stood(engine: Engine, toy_task: Task) -> None:
    source = few(toy_task)
    fitted = train(engine, source)
    short = Recipe(min_steps=1, epochs=0.01, learning_rate=1e-9, head_learning_rate=1e-9, max_length=24)
    rows = splits.shots(toy_task.name, toy_task.domains["film"].train, 4, 0)
    onward = Fit((Part(rows),), toy_task.labels, toy_task.name, 0, start=source, recipe=short)
    moved = train(engine, onward, {source.content: fitted})
    texts = list(toy_task.domains["film"].test.texts)
    assert engine.predict(onward, moved, texts) == pytest.approx(engine.predict(source, fitted, texts), abs=1e-5)


def test_a_failing_fit_does_not_stop_the_others(engine: Engine, toy_task: Task) -> None:
    good = few(toy_task)
    wild = Fit(
        good.parts, good.labels, good.task, 0, recipe=Recipe(learning_rate=1e30, head_learning_rate=1e30, min_steps=5)
    )
    results = dict(engine.fit_many([wild, good], {}))
    assert isinstance(results[wild], Exception)
    assert "learning rate" in str(results[wild])
    assert isinstance(results[good], Fitted)


def test_frozen_layers_stay(engine: Engine, toy_task: Task) -> None:
    top = Fit(few(toy_task).parts, toy_task.labels, toy_task.name, 0, adapter=LoRA(live_layers=1), recipe=RECIPE)
    fitted = train(engine, top)
    assert fitted.adapter
    assert all("layer.1." in name for name in fitted.adapter)


def test_probabilities_do_not_depend_on_neighbours(engine: Engine, toy_task: Task) -> None:
    fit = few(toy_task)
    fitted = train(engine, fit)
    texts = list(toy_task.domains["chat"].test.texts)
    alone = np.concatenate([engine.predict(fit, fitted, [text]) for text in texts[:5]])
    assert engine.predict(fit, fitted, texts)[:5] == pytest.approx(alone, abs=1e-5)
    assert engine.predict(fit, fitted, []).shape == (0, 2)


def test_bf16_stays_close_to_fp32(make: Callable, backbone: Backbone, toy_task: Task) -> None:
    fit = few(toy_task, shots=20)
    texts = list(toy_task.domains["shop"].test.texts)
    full, half = (
        engine.predict(fit, train(engine, fit), texts) for engine in (make(backbone, "fp32"), make(backbone, "bf16"))
    )
    assert np.abs(full - half).mean() < 0.02
    assert (full.argmax(1) != half.argmax(1)).mean() <= 0.05


def test_training_is_what_plain_peft_does(backbone: Backbone, toy_task: Task) -> None:
    """The same fit written down again with PEFT and torch alone, from the same start and batches."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoTokenizer

    engine = ENGINES["loop"](backbone, "fp32")
    fit = few(toy_task)
    fitted = train(engine, fit)
    from lowres.models import adapters
    from lowres.models.heads import initial_head

    base = AutoModel.from_pretrained(backbone.folder)
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"])).eval()
    adapters.write(model, adapters.initial(model, fit.task, fit.draw))
    head = initial_head(backbone.hidden, 2, fit.task, fit.draw)
    weight, bias = (torch.nn.Parameter(torch.tensor(head[name])) for name in ("weight", "bias"))
    live = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": live, "lr": RECIPE.learning_rate}, {"params": [weight, bias], "lr": RECIPE.head_learning_rate}],
        weight_decay=0,
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    tokenizer = AutoTokenizer.from_pretrained(backbone.folder)
    for step, (positions, _) in enumerate(fit.batches()):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * RECIPE.rate(step, fit.steps)
        batch = tokenizer(
            [fit.texts[place] for place in positions], padding=True, return_tensors="pt", return_token_type_ids=False
        )
        hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        loss = torch.nn.functional.cross_entropy(vectors @ weight.T + bias, torch.tensor(fit.targets[positions]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert fitted.head["weight"] == pytest.approx(weight.detach().numpy(), abs=1e-3)
    texts = list(toy_task.domains["film"].test.texts)
    with torch.inference_mode():
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        wanted = torch.softmax(vectors @ weight.T + bias, dim=-1).numpy()
    assert engine.predict(fit, fitted, texts) == pytest.approx(wanted, abs=1e-3)


class TestClosedForm:
    def test_frequencies(self, engine: Engine, toy_task: Task) -> None:
        parts = (Part(toy_task.domains["shop"].train),)
        fit = Fit(parts, toy_task.labels, toy_task.name, 0, objective=MostFrequent(), adapter=None)
        counts = np.bincount(fit.targets)
        assert closed_form.answer(fit, closed_form.solve(fit, engine, {}), ["x", "y"], engine) == pytest.approx(
            np.tile(counts / counts.sum(), (2, 1)), abs=1e-6
        )

    def test_words_agree_with_scikit_learn(self, engine: Engine, toy_task: Task) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        train = toy_task.domains["shop"].train
        fit = Fit((Part(train),), toy_task.labels, toy_task.name, 0, Words(), Logistic(), None)
        test = list(toy_task.domains["shop"].test.texts)
        words = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, max_features=20_000, token_pattern=r"(?u)\b\w+\b|[^\w\s]+"
        )
        model = LogisticRegression(max_iter=2000).fit(words.fit_transform(train.texts), fit.targets)
        got = closed_form.answer(fit, closed_form.solve(fit, engine, {}), test, engine)
        assert got == pytest.approx(model.predict_proba(words.transform(test)), abs=1e-5)

    def test_tree_agrees_with_scikit_learn(self, engine: Engine, toy_task: Task) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.tree import DecisionTreeClassifier

        from lowres import seeds

        train = toy_task.domains["shop"].train
        fit = Fit((Part(train),), toy_task.labels, toy_task.name, 3, Words(ngrams=1), Tree(), None)
        test = list(toy_task.domains["shop"].test.texts)
        words = TfidfVectorizer(sublinear_tf=True, max_features=20_000, token_pattern=r"(?u)\b\w+\b|[^\w\s]+")
        state = seeds.number("init", fit.task, 3, "tree") % 2**32
        model = DecisionTreeClassifier(max_depth=4, random_state=state).fit(
            words.fit_transform(train.texts), fit.targets
        )
        got = closed_form.answer(fit, closed_form.solve(fit, engine, {}), test, engine)
        assert got == pytest.approx(model.predict_proba(words.transform(test)), abs=1e-6)

    def test_probe_agrees_with_scikit_learn_for_three_classes(self, engine: Engine, toy_task: Task) -> None:
        from sklearn.linear_model import LogisticRegression

        from lowres.data.rows import Rows

        train = toy_task.domains["shop"].train
        three = Rows(
            train.domain, train.ids, train.texts, tuple("abc"[place % 3] for place in range(len(train))), train.groups
        )
        fit = Fit((Part(three),), ("a", "b", "c"), "toy", 0, None, Logistic(), None, RECIPE)
        features = engine.features(list(three.texts), RECIPE)
        model = LogisticRegression(max_iter=2000).fit(features, fit.targets)
        got = closed_form.answer(fit, closed_form.solve(fit, engine, {}), list(three.texts), engine)
        assert got == pytest.approx(model.predict_proba(features), abs=1e-4)

    def test_one_class_only_is_answered_with_it(self, engine: Engine, toy_task: Task) -> None:
        train = toy_task.domains["shop"].train
        one = train.take(train.by_label()["positive"][:5])
        fit = Fit((Part(one),), toy_task.labels, "toy", 0, Words(), Logistic(), None)
        assert closed_form.answer(fit, closed_form.solve(fit, engine, {}), ["x"], engine)[0] == pytest.approx(
            [0.0, 1.0]
        )


def test_the_plain_engine_keeps_nothing_of_a_fit_that_is_done(backbone: Backbone, toy_task: Task) -> None:
    engine = LoopEngine(backbone, backbone.tokens(), "cpu", "fp32")
    for rank in range(1, 8):
        train(engine, dataclasses.replace(few(toy_task, shots=2), adapter=LoRA(rank=rank)))
    assert not engine.accelerator._optimizers
    assert len(engine._adapted) <= KEPT_ENCODERS
