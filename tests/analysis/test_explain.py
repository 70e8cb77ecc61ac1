"""Word attributions, compared with sums that need no integral, on tiny encoders of every shape."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import lowres
from lowres.analysis import explain as explaining
from lowres.errors import UserError
from lowres.models.classifier import Classifier
from tests.conftest import BAD, GOOD, SHAPES, toy_rows

pytest.importorskip("captum", reason="captum is not installed: pip install 'lowres[explain]'")

RECIPE = {"learning_rate": 5e-3, "head_learning_rate": 5e-2, "min_steps": 60, "max_length": 24}
ROWS = [row for row in toy_rows(40) if row["domain"] == "film"]


@pytest.fixture(scope="module", params=SHAPES)
def shaped(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> Classifier:
    return trained(encoders[request.param])


@pytest.fixture(scope="module")
def model(encoder: Path) -> Classifier:
    return trained(encoder)


def trained(encoder: Path) -> Classifier:
    fitted = lowres.Classifier(backbone=encoder, recipe=RECIPE, precision="fp32")
    return fitted.fit([row["text"] for row in ROWS], [row["label"] for row in ROWS]).model_


def test_attributions_sum_to_the_difference_of_the_logits(shaped: Classifier) -> None:
    for row in ROWS[::20]:
        (one,) = explaining.explain(shaped, [row["text"]])
        probabilities = shaped.predict_proba([row["text"]])[0]
        assert one.predicted == one.label == shaped.labels[int(probabilities.argmax())]
        assert one.probability == pytest.approx(probabilities.max(), abs=1e-6)
        summed = sum(word.weight for word in one.words)
        difference = one.logit - one.empty
        assert one.gap == pytest.approx(abs(summed - difference) / abs(difference), abs=1e-6)
        assert one.gap < 0.02 or one.steps == explaining.STEPS[-1]
        assert [word.word for word in one.words] == row["text"].split()


def test_the_logits_are_the_models(model: Classifier) -> None:
    text = ROWS[0]["text"]
    by_label = {label: explaining.explain(model, [text], label)[0] for label in model.labels}
    logits = np.array([by_label[label].logit for label in model.labels])
    assert np.exp(logits) / np.exp(logits).sum() == pytest.approx(model.predict_proba([text])[0], abs=1e-5)
    words = len(text.split())
    # the empty text: the tokenizer's own marks with padding tokens between them
    empties = np.array([by_label[label].empty for label in model.labels])
    padded = model.predict_proba([" ".join(["[PAD]"] * words)])[0]
    assert np.exp(empties) / np.exp(empties).sum() == pytest.approx(padded, abs=1e-5)


def test_weights_are_those_of_a_sum_over_the_way(model: Classifier) -> None:
    """Midpoint rule with 400 points, by plain autograd through the saved head."""
    import torch

    text, place = ROWS[0]["text"], 1
    (one,) = explaining.explain(model, [text], model.labels[place])
    ids = torch.tensor(model.tokens.encode([text], 24)[0].astype(np.int64))
    blank = ids.clone()
    blank[1:-1] = 0
    table = model.network.get_input_embeddings()
    start, end = table(blank).detach(), table(ids).detach()
    total = torch.zeros_like(end)
    for step in range(400):
        at = (start + (step + 0.5) / 400 * (end - start)).requires_grad_()
        hidden = model.network(inputs_embeds=at[None], attention_mask=torch.ones(1, len(ids))).last_hidden_state
        vector = torch.nn.functional.normalize(hidden.mean(dim=1), dim=-1)
        (vector @ torch.tensor(model.head["weight"][place]) + float(model.head["bias"][place])).sum().backward()
        total += at.grad / 400
    wanted = ((end - start) * total).sum(dim=1)[1:-1]
    assert [word.weight for word in one.words] == pytest.approx(wanted.tolist(), abs=0.01 * float(wanted.abs().max()))


def test_mood_words_carry_the_answer(model: Classifier) -> None:
    """They alone tell the label in the rows that it was trained on."""
    moods: list[float] = []
    others: list[float] = []
    for one in explaining.explain(model, [row["text"] for row in ROWS[::4]]):
        for word in one.words:
            (moods if word.word in (*GOOD, *BAD) else others).append(word.weight)
    assert np.mean(moods) > 2 * abs(np.mean(others))
    text = "the plot was great and lovely"
    (one,) = explaining.explain(model, [text])
    (other,) = explaining.explain(model, [text], next(name for name in model.labels if name != one.label))
    assert (other.predicted, other.probability) == (one.label, pytest.approx(1 - one.probability, abs=1e-5))
    assert one.logit > other.logit


def test_steps_are_raised_until_the_gap_is_small(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "STEPS", (1,))
    monkeypatch.setattr(explaining, "SMALL", 0.0)
    (rough,) = explaining.explain(model, [ROWS[0]["text"]])
    assert rough.steps == 1
    assert rough.gap > 0  # not small enough, and shown as it is
    monkeypatch.setattr(explaining, "STEPS", (1, 64, 512))
    monkeypatch.setattr(explaining, "SMALL", rough.gap / 2)
    (one,) = explaining.explain(model, [ROWS[0]["text"]])
    assert one.steps == 64
    assert one.gap < rough.gap / 2


def test_a_long_text_is_cut_and_says_so(model: Classifier) -> None:
    (one,) = explaining.explain(model, ["good " * 40])
    assert one.cut
    assert len(one.words) == RECIPE["max_length"] - 2
    assert not explaining.explain(model, ["good plot"])[0].cut


def test_faults(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'positive'"):
        explaining.explain(model, ["good"], "positiv")
    with pytest.raises(UserError, match="empty text"):
        explaining.explain(model, ["good", " "])
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UserError, match=r"lowres\[explain\]"):
        explaining.explain(model, ["good"])


def test_changes_are_differences_of_mean_weights(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "FEWEST", 3)
    source = ["good plot", "a good scene", "good actor", "bad plot", "bad day"]
    target = ["good and very good price", "good bad box", "good phone", "bad box", "poor box"]
    found = explaining.changes(model, source, target, "positive")
    assert [one.word for one in found] == ["good"]  # the only word in three texts of both
    means = []
    for texts in (source[:3], target[:3]):
        weights = [
            sum(word.weight for word in one.words if word.word == "good")
            for one in explaining.explain(model, texts, "positive")
        ]
        means.append(np.mean(weights))
    assert (found[0].in_source, found[0].in_target) == pytest.approx(means)
    assert (found[0].source_texts, found[0].target_texts) == (3, 3)


def test_words_of_several_tokens_are_one(tmp_path: Path, encoder: Path) -> None:
    """With a tokenizer that cuts words into letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from lowres.data.tokens import Tokens

    letters = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    made = Tokenizer(models.WordPiece({word: place for place, word in enumerate(letters)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    (pieces,) = Tokens(tmp_path / "tokenizer.json", 0, len(letters)).pieces("Good plot", 24)
    assert pieces.words == (None, 0, 0, 0, 0, 1, 1, 1, 1, None)
    merged = explaining._merged("Good plot", [pieces], [np.array([9.0, 1, 2, 3, 4, 0.5, 0, 0, -1, 9])])
    assert merged == (explaining.WordWeight("Good", 10.0), explaining.WordWeight("plot", -0.5))
