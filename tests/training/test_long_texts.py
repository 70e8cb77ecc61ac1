"""Texts with more tokens than a sequence has: what is read of them, through the tokenizer and both engines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres import seeds
from lowres.data.rows import Rows
from lowres.data.tokens import MOST_WINDOWS, TRUNCATIONS, Tokens, overlap, tokens_read
from lowres.kinds import join_words
from lowres.models import lm_head
from lowres.models.backbone import Backbone, find_backbone
from lowres.training import closed_form, fleet
from lowres.training.engines import make_engine
from lowres.training.fit import Engine, Fit, Fitted, Part
from lowres.training.masked import MaskedRows
from lowres.training.recipe import Contrastive, Coral, Logistic, LoRA, MaskedLM, Recipe, Words
from tests.conftest import BAD, FILLER, GOOD, make_encoder

LONGEST = 16
RECIPE = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=40, epochs=1, batch=8, max_length=LONGEST)
POOLING = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
LABELS = ("negative", "positive")


def numbers(count: int, first: int = 0) -> str:
    """So many words, each a token of its own."""
    return " ".join(str(number) for number in range(first, first + count))


def told_at_the_end(rows: int, shortest: int = 0, longest: int = 60, name: str = "end") -> Rows:
    """Texts of any length whose last three words tell the label."""
    texts, labels = [], []
    for number in range(rows):
        rng = seeds.generator(name, number)
        label = LABELS[number % 2]
        words = [*rng.choice(FILLER, int(rng.integers(shortest, longest))), *rng.choice((BAD, GOOD)[number % 2], 3)]
        texts.append(" ".join(str(word) for word in words))
        labels.append(label)
    ids = tuple(f"{name}/{number}" for number in range(rows))
    return Rows("shop", ids, texts, tuple(labels), ids)


def fit_of(rows: Rows, truncation: str, **changes: object) -> Fit:
    recipe = replace(RECIPE, truncation=truncation)
    fit = Fit((Part(rows),), LABELS, "toy", 0, recipe=recipe, adapter=LoRA(rank=4))
    return replace(fit, **changes)  # type: ignore[arg-type]


def engines_of(backbone: Backbone) -> list[Engine]:
    return [make_engine(name, backbone, backbone.tokens(), "cpu", "fp32") for name in ("loop", "fleet")]


@pytest.fixture(params=["loop", "fleet"])
def engine(request: pytest.FixtureRequest, backbone: Backbone) -> Engine:
    return make_engine(request.param, backbone, backbone.tokens(), "cpu", "fp32")


def trained(engine: Engine, fit: Fit) -> Fitted:
    ((_, fitted),) = engine.fit_many([fit], {})
    assert isinstance(fitted, Fitted), fitted
    return fitted


def right(said: np.ndarray, rows: Rows) -> float:
    return float((said.argmax(1) == rows.targets(LABELS)).mean())


def shown(backbone: Backbone, arrays: Sequence[np.ndarray]) -> list[str]:
    """Token sequences as words."""
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(backbone.folder / "tokenizer.json"))
    return [" ".join(str(known.id_to_token(int(token))) for token in array) for array in arrays]


class TestTokens:
    def test_head_and_tail_by_hand(self, backbone: Backbone) -> None:
        tokens = backbone.tokens()
        arrays = tokens.encode([numbers(20), numbers(6)], 8, "head+tail")
        assert shown(backbone, arrays) == ["[CLS] 0 1 2 17 18 19 [SEP]", "[CLS] 0 1 2 3 4 5 [SEP]"]
        odd = tokens.encode([numbers(20), numbers(5), numbers(6)], 7, "head+tail")
        assert shown(backbone, odd) == ["[CLS] 0 1 2 18 19 [SEP]", "[CLS] 0 1 2 3 4 [SEP]", "[CLS] 0 1 2 4 5 [SEP]"]

    def test_windows_by_hand(self, backbone: Backbone) -> None:
        tokens = backbone.tokens()
        arrays = tokens.encode([numbers(14), numbers(3), numbers(6)], 8, "windows")
        assert shown(backbone, arrays) == [
            "[CLS] 0 1 2 3 4 5 [SEP]", "[CLS] 5 6 7 8 9 10 [SEP]", "[CLS] 10 11 12 13 [SEP]",
            "[CLS] 0 1 2 [SEP]", "[CLS] 0 1 2 3 4 5 [SEP]",
        ]  # fmt: skip
        assert tokens.windows([numbers(14), numbers(3), numbers(6)], 8).tolist() == [3, 1, 1]
        assert tokens.windows([numbers(14), numbers(3)], 8, "head+tail").tolist() == [1, 1]

    @pytest.mark.parametrize("truncation", list(TRUNCATIONS))
    def test_what_is_lost_is_counted(self, truncation: str, backbone: Backbone) -> None:
        """Eight windows of 14 words, of which 2 stand in the one before, hold 98."""
        tokens = backbone.tokens()
        texts = [numbers(14), numbers(15), numbers(98), numbers(99)]
        lost = {"windows": [0, 0, 0, 1]}.get(truncation, [0, 1, 1, 1])
        assert [tokens.truncated([text], LONGEST, truncation) for text in texts] == lost
        assert tokens.truncated(texts, LONGEST, truncation) == sum(lost) / 4
        assert tokens.truncated_about(texts, LONGEST, 10**6, truncation) == sum(lost) / 4
        assert [tokens.pieces(text, LONGEST, truncation)[0].cut for text in texts] == [bool(one) for one in lost]
        counts = [1, 2, 8, 8] if truncation == "windows" else [1, 1, 1, 1]
        assert tokens.windows(texts, LONGEST, truncation).tolist() == counts

    @given(words=st.integers(0, 200), longest=st.integers(4, 40), truncation=st.sampled_from(sorted(TRUNCATIONS)))
    def test_pieces_and_estimates_follow(self, words: int, longest: int, truncation: str, backbone: Backbone) -> None:
        tokens, text = backbone.tokens(), numbers(words)
        arrays = tokens.encode([text], longest, truncation)
        assert all(len(array) <= longest for array in arrays)
        assert sum(map(len, arrays)) == tokens_read(words + 2, longest, truncation)
        pieces = tokens.pieces(text, longest, truncation)
        assert len(pieces) == len(arrays) <= MOST_WINDOWS
        for one, array in zip(pieces, arrays, strict=True):
            assert np.array_equal(one.ids, array)
            assert one.words[0] is one.words[-1] is None
            own = zip(one.words, one.spans, strict=True)
            assert all(text[a:b] == str(word) for word, (a, b) in own if word is not None)
        held = {word for one in pieces for word in one.words} - {None}
        assert (len(held) < words) == pieces[0].cut
        if words + 2 <= longest:
            assert np.array_equal(arrays[0], tokens.encode([text], longest)[0])

    def test_windows_overlap_by_an_eighth(self, backbone: Backbone) -> None:
        assert [overlap(longest) for longest in (4, 8, 128, 512)] == [0, 1, 16, 64]
        first, second = backbone.tokens().pieces(numbers(30), 24, "windows")
        assert set(first.words) & set(second.words) == {None, 19, 20, 21}


class TestEngines:
    @pytest.mark.parametrize("truncation", ["head+tail", "windows"])
    @pytest.mark.parametrize("live", [None, 1])
    @pytest.mark.parametrize("shape", ["bert", "roberta"])
    @pytest.mark.parametrize("pooling", ["mean", "cls"])
    def test_the_fleet_agrees_with_the_loop(
        self, truncation: str, live: int | None, shape: str, pooling: str, encoders: dict[str, Path], tmp_path: Path
    ) -> None:
        """Short and long ones side by side; with ``live`` 1 the layer below comes from the cache of the frozen layers."""
        folder = shutil.copytree(encoders[shape], tmp_path / shape)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({POOLING[pooling]: True}))
        found = find_backbone(str(folder))
        assert found.pooling == pooling
        fit = fit_of(told_at_the_end(24), truncation, adapter=LoRA(rank=4, live_layers=live))
        texts = list(told_at_the_end(20, name="asked").texts)
        loop, packed = engines_of(found)
        assert packed.features(texts, fit.recipe) == pytest.approx(loop.features(texts, fit.recipe), abs=1e-5)
        one, other = trained(loop, fit), trained(packed, fit)
        said = loop.predict(fit, one, texts)
        assert packed.predict(fit, other, texts) == pytest.approx(said, abs=1e-4)
        head = replace(fit, recipe=replace(fit.recipe, truncation="head"))
        assert np.abs(said - loop.predict(head, one, texts)).max() > 5e-4

    @pytest.mark.parametrize("objective", [Contrastive(), Coral()])
    def test_other_objectives_see_one_vector_a_text(self, objective: Contrastive | Coral, backbone: Backbone) -> None:
        rows = told_at_the_end(24)
        parts = (Part(rows), Part(told_at_the_end(16, name="more").without_labels()))
        fit = fit_of(rows, "windows", objective=objective, parts=parts if isinstance(objective, Coral) else (Part(rows),))  # fmt: skip
        loop, packed = (
            one.features(list(rows.texts), fit.recipe, (fit, trained(one, fit))) for one in engines_of(backbone)
        )
        assert packed == pytest.approx(loop, abs=1e-4)

    @pytest.mark.parametrize("kind", ["multilabel", "regression"])
    def test_other_kinds_of_single_texts(self, kind: str, backbone: Backbone) -> None:
        own = told_at_the_end(24)
        labels = [f"{label == 'positive':d}" if kind == "regression" else join_words([label]) for label in own.labels]
        rows = replace(own, kind=kind, labels=tuple(labels))
        fit = fit_of(rows, "windows", labels=("0", "1") if kind == "regression" else LABELS)
        loop, packed = (one.predict(fit, trained(one, fit), list(own.texts)) for one in engines_of(backbone))
        assert loop.shape == (24, fit.outputs)
        assert packed == pytest.approx(loop, abs=1e-4)

    def test_fits_that_cut_differently_train_side_by_side(self, backbone: Backbone) -> None:
        rows, texts = told_at_the_end(24), list(told_at_the_end(12, name="asked").texts)
        fits = [fit_of(rows, truncation) for truncation in TRUNCATIONS]
        loop, packed = engines_of(backbone)
        for fit, fitted in packed.fit_many(fits, {}):
            assert isinstance(fitted, Fitted)
            assert packed.predict(fit, fitted, texts) == pytest.approx(
                loop.predict(fit, trained(loop, fit), texts), abs=1e-4
            )

    def test_the_logits_of_a_text_are_the_means_of_those_of_its_windows(self, engine: Engine) -> None:
        fit = fit_of(told_at_the_end(24), "windows")
        fitted, words = trained(engine, fit), told_at_the_end(1, 40, 41).texts[0].split()
        step = LONGEST - 2 - overlap(LONGEST)
        parts = [" ".join(words[at : at + LONGEST - 2]) for at in range(0, len(words) - overlap(LONGEST), step)]
        assert len(parts) == 4
        logits = engine.features(parts, fit.recipe, (fit, fitted)) @ fitted.head["weight"].T + fitted.head["bias"]
        mean = np.exp(logits.mean(0))
        (said,) = engine.predict(fit, fitted, [" ".join(words)])
        assert said == pytest.approx(mean / mean.sum(), abs=1e-5)

    @pytest.mark.parametrize("truncation", ["head+tail", "windows"])
    def test_a_text_that_fits_is_answered_as_with_head(self, truncation: str, engine: Engine) -> None:
        fit = fit_of(told_at_the_end(24), truncation)
        fitted, head = trained(engine, fit), replace(fit, recipe=RECIPE)
        short = list(told_at_the_end(12, 0, 12).texts)
        said = engine.predict(head, fitted, short)
        assert np.array_equal(engine.predict(fit, fitted, short), said)
        mixed = [text for pair in zip(short, told_at_the_end(12, 30).texts, strict=True) for text in pair]
        assert engine.predict(fit, fitted, mixed)[::2] == pytest.approx(said, abs=1e-6)
        assert engine.predict(fit, fitted, []).shape == (0, 2)

    def test_texts_that_fit_train_alike(self, engine: Engine) -> None:
        """The same batches, although the content that orders them differs: one row a class and step."""
        rows = told_at_the_end(2, 0, 12)
        one, other = (trained(engine, fit_of(rows, truncation)) for truncation in ("head", "windows"))
        assert other.head["weight"] == pytest.approx(one.head["weight"], abs=1e-5)

    def test_a_cue_at_the_end_is_found_where_the_end_is_read(self, engine: Engine) -> None:
        rows, asked = told_at_the_end(96, 15, 28), told_at_the_end(80, 15, 28, name="asked")
        recipe = replace(RECIPE, min_steps=60, batch=16, learning_rate=1e-2, head_learning_rate=1e-1)
        scores = {}
        for truncation in TRUNCATIONS:
            fit = fit_of(rows, truncation, recipe=replace(recipe, truncation=truncation), adapter=LoRA(linears="all"))
            scores[truncation] = right(engine.predict(fit, trained(engine, fit), list(asked.texts)), asked)
        assert scores["head"] < 0.65
        assert min(scores["head+tail"], scores["windows"]) > 0.85, scores

    def test_a_probe_reads_all_windows(self, engine: Engine) -> None:
        rows, asked = told_at_the_end(200, 16, 24), told_at_the_end(80, 16, 24, name="asked")
        scores = []
        for truncation in ("head", "windows"):
            fit = fit_of(rows, truncation, objective=Logistic(C=100.0), adapter=None)
            said = closed_form.answer(fit, closed_form.solve(fit, engine, {}), list(asked.texts), engine)
            scores.append(right(said, asked))
        assert scores[0] < 0.65 < 0.8 < scores[1], scores

    def test_a_step_has_room_for_all_windows(self, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
        """Four fits of 8 rows a step; a row of 63 words is 16 tokens, or 6 windows of 85 in all."""
        rows = told_at_the_end(16, 60, 61)
        packed = make_engine("fleet", backbone, backbone.tokens(), "cpu", "fp32")
        steps: list[int] = []
        pack = fleet.make_pack
        monkeypatch.setattr(fleet, "make_pack", lambda sizes, device: steps.append(sum(sizes)) or pack(sizes, device))
        monkeypatch.setitem(fleet.STEP_TOKENS, "cpu", 2 * 8 * 85)
        for truncation, most in (("head", 4 * 8 * LONGEST), ("windows", 2 * 8 * 85)):
            steps.clear()
            fits = [replace(fit_of(rows, truncation), draw=draw) for draw in range(4)]
            assert all(isinstance(fitted, Fitted) for _, fitted in packed.fit_many(fits, {}))
            assert max(steps) == most

    def test_masked_tokens_of_every_window(self, tmp_path: Path) -> None:
        found = find_backbone(str(make_encoder(tmp_path / "headed", "bert", lm_head=True)))
        model, _ = lm_head.load_with_lm_head(found, "cpu")
        mask = lm_head.mask_id(found)
        assert mask is not None
        shapes: list[tuple[int, int]] = []
        model.register_forward_pre_hook(
            lambda module, args, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
        )
        rows = told_at_the_end(4, 60, 61)
        parts = (Part(rows), Part(told_at_the_end(3, 60, 61, "held"), 0.0))
        for truncation, windows in (("head", 1), ("head+tail", 1), ("windows", 6)):
            fit = fit_of(rows, truncation, parts=parts, objective=MaskedLM(), adapter=LoRA(linears="all"))
            asked = MaskedRows(fit, model, found.tokens(), mask, "cpu", "fp32")
            shapes.clear()
            assert float(asked.loss(np.arange(4))) > 0
            assert 0 < asked.held_out_loss() < 2 * np.log(found.vocabulary)
            assert shapes == [(4 * windows, LONGEST), (3 * windows, LONGEST)]


class TestKeys:
    """Beside ``test_keys_of_tasks_with_one_label_set_stay``, which pins fits and a study as they were before the field."""

    def test_the_field_is_in_a_hash_only_where_it_is_set(self) -> None:
        assert Recipe().spec() == {
            "learning_rate": 1e-3, "head_learning_rate": 3e-2, "batch": 16, "min_steps": 60, "epochs": 3.0, "warmup": 0.1,
            "max_length": 128, "normalise": True,
        }  # fmt: skip
        assert Recipe(truncation="windows").spec() == {**Recipe().spec(), "truncation": "windows"}
        assert set(asdict(Recipe())) - set(Recipe().spec()) == {"truncation"}

    def test_every_way_to_read_is_another_fit(self) -> None:
        rows = told_at_the_end(4)
        for changes, named in (({}, True), ({"objective": Logistic(), "adapter": None}, True), ({"start": Words(), "objective": Logistic(), "adapter": None}, False)):  # fmt: skip
            fits = [fit_of(rows, truncation, **changes) for truncation in TRUNCATIONS]
            assert len({fit.content for fit in fits}) == (3 if named else 1)
            assert ["truncation" in fit.spec()["recipe"] for fit in fits] == [False, named, named]


def test_a_tokenizer_remembers_each_way_apart(backbone: Backbone) -> None:
    tokens: Tokens = backbone.tokens()
    text = numbers(30)
    for truncation in (*TRUNCATIONS, *reversed(TRUNCATIONS)):
        assert tokens.encode([text], 8, truncation)[-1].tolist() == (
            backbone.tokens().encode([text], 8, truncation)[-1].tolist()
        )
