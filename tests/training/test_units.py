"""Words, several labels and numbers through both engines and the closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lowres import seeds
from lowres.data.rows import Rows
from lowres.kinds import join_words, words_of
from lowres.models.backbone import Backbone
from lowres.scoring.metrics import all_metrics, find_metric
from lowres.study.runner import truth
from lowres.training import closed_form
from lowres.training.engines import make_engine
from lowres.training.fit import Engine, Fit, Fitted, Part
from lowres.training.recipe import Logistic, LoRA, MostFrequent, Recipe
from tests.conftest import BAD, FILLER, GOOD, THINGS

TAGS = ("O", "B-thing", "B-mood", "I-mood")
MOODS = ("cheerful", "gloomy", "wordy")
RECIPE = Recipe(min_steps=60, epochs=1, batch=8, learning_rate=5e-3, max_length=24)


def sentences(rows: int) -> list[list[str]]:
    """Fillers, things and moods in any order, of different lengths."""
    made = []
    for number in range(rows):
        rng = seeds.generator("sentence", number)
        words = [
            *rng.choice(FILLER, int(rng.integers(1, 7))),
            *rng.choice(THINGS["shop"], 2),
            *rng.choice((*GOOD, *BAD), 2),
        ]
        made.append([str(word) for word in rng.permutation(words)])
    return made


def tags_of(words: list[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        mood = word in (*GOOD, *BAD)
        after = mood and bool(found) and found[-1].endswith("mood")
        found.append("I-mood" if after else "B-mood" if mood else "B-thing" if word in THINGS["shop"] else "O")
    return found


def rows_of(kind: str, rows: int = 60) -> Rows:
    texts = sentences(rows)
    if kind == "tokens":
        labels = [join_words(tags_of(words)) for words in texts]
        return _rows([join_words(words) for words in texts], labels, kind)
    if kind == "multilabel":
        return _rows([" ".join(words) for words in texts], [join_words(moods_of(words)) for words in texts], kind)
    return _rows([" ".join(words) for words in texts], [f"{5 * share(words):.10g}" for words in texts], kind)


def moods_of(words: list[str]) -> list[str]:
    held = {"cheerful": set(words) & set(GOOD), "gloomy": set(words) & set(BAD), "wordy": len(words) > 7}
    return sorted(mood for mood, there in held.items() if there)


def share(words: list[str]) -> float:
    return sum(word in GOOD for word in words) / 2


def _rows(texts: list[str], labels: list[str], kind: str) -> Rows:
    ids = tuple(f"shop/{number}" for number in range(len(texts)))
    return Rows("shop", ids, texts, tuple(labels), ids, kind)


LABELS = {"tokens": TAGS, "multilabel": MOODS, "regression": ("0", "5")}


def fit_of(kind: str, **changes: object) -> Fit:
    return Fit((Part(rows_of(kind)),), LABELS[kind], "toy", 0, recipe=RECIPE, adapter=LoRA(rank=4), **changes)  # type: ignore[arg-type]


@pytest.fixture(params=["loop", "fleet"])
def engine(request: pytest.FixtureRequest, backbone: Backbone) -> Engine:
    return make_engine(request.param, backbone, backbone.tokens(), "cpu", "fp32")


def trained(engine: Engine, fit: Fit, starts: dict[str, Fitted] | None = None) -> Fitted:
    ((_, fitted),) = engine.fit_many([fit], starts or {})
    assert isinstance(fitted, Fitted), fitted
    return fitted


@pytest.mark.parametrize("kind", list(LABELS))
def test_it_learns(kind: str, engine: Engine) -> None:
    fit, rows = fit_of(kind), rows_of(kind, 90).take(range(60, 90))
    said = engine.predict(fit, trained(engine, fit), list(rows.texts))
    assert said.shape == (rows.units, fit.outputs)
    scores = all_metrics(truth(rows, fit.labels), said, fit.labels, kind)
    assert scores[{"tokens": "entity_f1", "multilabel": "micro_f1", "regression": "spearman"}[kind]] > 0.55, scores  # type: ignore[operator]


@pytest.mark.parametrize("kind", list(LABELS))
def test_the_fleet_agrees_with_the_loop(kind: str, backbone: Backbone) -> None:
    engines = [make_engine(name, backbone, backbone.tokens(), "cpu", "fp32") for name in ("loop", "fleet")]
    texts = list(rows_of(kind, 20).texts)
    first, second = (
        (one.predict(fit, trained(one, fit), texts), one.features(texts, RECIPE))
        for one in engines
        for fit in [fit_of(kind)]
    )
    assert first[1] == pytest.approx(second[1], abs=1e-5)
    assert first[0] == pytest.approx(second[0], abs=5e-4 if kind == "regression" else 1e-4)


@pytest.mark.parametrize("kind", list(LABELS))
def test_closed_forms(kind: str, backbone: Backbone) -> None:
    engine = make_engine("fleet", backbone, backbone.tokens(), "cpu", "fp32")
    rows = rows_of(kind)
    chance, probe = (
        Fit((Part(rows),), LABELS[kind], "toy", 0, objective=objective, adapter=None, recipe=RECIPE)
        for objective in (MostFrequent(), Logistic())
    )
    scores = []
    for fit in (chance, probe):
        said = closed_form.answer(fit, closed_form.solve(fit, engine, {}), list(rows.texts), engine)
        assert said.shape == (rows.units, fit.outputs)
        scores.append(
            find_metric({"tokens": "accuracy", "multilabel": "micro_f1", "regression": "pearson"}[kind], kind).score(
                truth(rows, fit.labels), said
            )
        )
    assert scores[0] < scores[1]


def test_a_word_without_tokens_changes_no_other(engine: Engine) -> None:
    words = sentences(1)[0]
    fit = fit_of("tokens")
    fitted = trained(engine, fit)
    plain, odd = (engine.predict(fit, fitted, [join_words(one)]) for one in (words, [words[0], "", *words[1:]]))
    assert odd.shape == (len(words) + 1, len(TAGS))
    assert np.delete(odd, 1, axis=0) == pytest.approx(plain, abs=1e-5)
    long = engine.predict(fit, fitted, [join_words(words * 20)])
    assert long.shape == (len(words) * 20, len(TAGS))
    assert long[-1] == pytest.approx(odd[1])  # beyond max_length as without a token: the bias alone


def test_each_word_of_a_part_weighs_the_same() -> None:
    fit = fit_of("tokens")
    rows, weights = fit.batches()[0]
    units, shares = fit.spread(rows, weights)
    sizes = [len(words_of(fit.texts[row])) for row in rows]
    assert shares == pytest.approx(np.full(sum(sizes), 1 / sum(sizes)))
    assert [fit.labels[tag] for tag in fit.targets[units]] == [
        tag for row in rows for tag in words_of(fit.parts[0].rows.labels[row])
    ]
    assert fit.unit_weights == pytest.approx(1.0)


def test_the_kind_is_part_of_the_key(tmp_path: Path) -> None:
    numbers = rows_of("regression")
    named = Rows("shop", numbers.ids, numbers.texts, numbers.labels, numbers.groups)
    labels = tuple(sorted(set(numbers.labels)))
    assert len(labels) == 3
    one, other = (Fit((Part(rows),), ("0", "5"), "toy", 0) for rows in (numbers, named))
    assert one.content != other.content
    assert "kind" not in other.spec()
