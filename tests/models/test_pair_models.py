"""Two texts in one encoder: as transformers does it, the same in both engines, and again from a saved folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lowres
from lowres.data.encodings import whole
from lowres.data.task import Task
from lowres.data.tokens import SECOND
from lowres.errors import UserError
from lowres.kinds import join_pair, pair_of
from lowres.models import encoder, lm_head
from lowres.models.backbone import Backbone, find_backbone, is_kept, kept
from lowres.models.packed import PackedEncoder, make_pack
from lowres.training.fit import Fit, Fitted, Part
from lowres.training.fleet import FleetEngine
from lowres.training.loop import LoopEngine
from lowres.training.masked import MaskedRows
from lowres.training.recipe import LoRA, MaskedLM, Recipe
from tests.conftest import SHAPES, make_encoder, pair_rows

TYPED = ("bert", "electra", "roberta")
"""Encoders that have a token type for a second text; the tokenizer of RoBERTa does not use it."""
PAIRS = [
    ("good day lol", "the bad plot was awful 7"),
    ("my phone", "my phone"),
    ("the box was very good and the price was fine and so was my phone 12", "bad day 3"),
    ("bad", "the plot was a very lovely scene and the actor was great in this movie really so 4"),
    ("a [SEP] b good", "it [SEP] was"),
    ("price", "\u4e0d \ud800"),
]
ROWS = [join_pair(*pair) for pair in PAIRS]
SINGLES = ["good day lol", "a [SEP] b good [SEP] c"]
RECIPE = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=12, max_length=24)


@pytest.fixture(scope="module")
def found(encoders: dict[str, Path]) -> dict[str, Backbone]:
    return {shape: find_backbone(str(folder)) for shape, folder in encoders.items()}


def coded(folder: Path, pair: tuple[str, str] | tuple[str], longest: int) -> Any:
    from transformers import AutoTokenizer

    clean = map(whole, pair)
    return AutoTokenizer.from_pretrained(folder)(
        *clean, truncation=True, max_length=longest, return_token_type_ids=True
    )


@pytest.mark.parametrize("longest", [6, 12, 24])
@pytest.mark.parametrize("name", [*SHAPES, "minilm"])
def test_tokens_are_those_of_transformers(
    name: str, longest: int, found: dict[str, Backbone], own_models: Path | None
) -> None:
    if name == "minilm" and own_models is None:
        pytest.skip("minilm is not in the user's cache: lowres models fetch minilm")
    folder = own_models if name == "minilm" and own_models is not None else found[name].folder
    tokens = find_backbone(str(folder)).tokens()
    for pair, array in zip(PAIRS, tokens.encode(ROWS, longest), strict=True):
        wanted = coded(folder, pair, longest)
        assert array.dtype == np.int32
        assert list(array % SECOND) == wanted["input_ids"]
        assert list(array // SECOND) == wanted["token_type_ids"]
        assert np.array_equal(tokens.pieces(join_pair(*pair), longest)[0].ids, array)
        assert len(array) <= longest
    for text, array in zip(SINGLES, tokens.encode(SINGLES, longest), strict=True):
        assert list(array) == coded(folder, (text,), longest)["input_ids"]
    if name != "roberta":
        assert any((array >= SECOND).any() for array in tokens.encode(ROWS, longest))


@pytest.fixture
def own_models() -> Path | None:
    """MiniLM in the cache of whoever runs the tests, not in that of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LOWRES_CACHE")
        return kept("minilm") if is_kept("minilm") else None


def test_pieces_point_into_the_whole_row(found: dict[str, Backbone]) -> None:
    row = join_pair("the box", "was the box good")
    (pieces,) = found["bert"].tokens().pieces(row, 24)
    assert [row[begin:end] for begin, end in pieces.spans] == ["", "the", "box", "", "was", "the", "box", "good", ""]
    assert pieces.words == (None, 0, 1, None, 2, 3, 4, 5, None)
    assert not pieces.cut
    assert found["bert"].tokens().pieces(row, 7)[0].cut


def plain(backbone: Backbone, pair: tuple[str, ...]) -> torch.Tensor:
    """Hidden vectors by transformers alone."""
    batch = coded(backbone.folder, pair, 24).convert_to_tensors("pt", prepend_batch_axis=True)
    if backbone.name not in TYPED:
        del batch["token_type_ids"]
    with torch.inference_mode():
        hidden: torch.Tensor = backbone.load()(**batch).last_hidden_state[0]
    return hidden


@pytest.mark.parametrize("shape", SHAPES)
def test_both_forms_of_an_encoder_are_plain_transformers(shape: str, found: dict[str, Backbone]) -> None:
    backbone = found[shape]
    tokens, model = backbone.tokens(), backbone.load()
    packed = PackedEncoder(model, torch.float32)
    for pair in [*PAIRS, *[(text,) for text in SINGLES]]:
        wanted = plain(backbone, pair)
        (array,) = tokens.encode([join_pair(*pair) if len(pair) == 2 else pair[0]], 24)
        ids = torch.from_numpy(array.astype(np.int64))[None]
        with torch.inference_mode():
            loop = model(**encoder.inputs(model, ids)).last_hidden_state[0]
            fleet = packed.forward(packed.embed(ids)[0], make_pack([len(array)], "cpu"))
        assert torch.allclose(loop, wanted, atol=1e-6)
        assert torch.allclose(fleet, wanted, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_single_texts_are_computed_as_ever(shape: str, found: dict[str, Backbone]) -> None:
    """Bit for bit what an encoder gives that is told nothing of token types."""
    model, tokens = found[shape].load(), found[shape].tokens()
    ids, mask = (torch.from_numpy(part) for part in tokens.pad(tokens.encode([*SINGLES, "my phone"], 24)))
    with torch.inference_mode():
        wanted = model(input_ids=ids, attention_mask=mask).last_hidden_state
        assert torch.equal(model(**encoder.inputs(model, ids), attention_mask=mask).last_hidden_state, wanted)


def test_only_encoders_with_token_types_are_given_some(found: dict[str, Backbone]) -> None:
    ids = torch.tensor([[2, 7, 3, SECOND + 8, SECOND + 3]])
    for shape, backbone in found.items():
        given = encoder.inputs(backbone.load(), ids)
        assert given["input_ids"].tolist() == [[2, 7, 3, 8, 3]]
        assert ("token_type_ids" in given) == (shape in TYPED)
        if shape in TYPED:
            assert given["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]]


def a_fit(task: Task, **fields: Any) -> Fit:
    rows = task.domains["shop"].train.take(range(24))
    return Fit((Part(rows),), task.labels, task.name, 0, recipe=RECIPE, **fields)


def trained(engine: LoopEngine | FleetEngine, fit: Fit) -> Fitted:
    ((_, fitted),) = engine.fit_many([fit], {})
    assert isinstance(fitted, Fitted), fitted
    return fitted


@pytest.mark.parametrize("live", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_fleet_agrees_with_the_plain_engine(
    shape: str, live: int | None, found: dict[str, Backbone], pair_task: Task
) -> None:
    """With ``live`` 1 the layer below comes from the cache of the frozen layers."""
    backbone, fit = found[shape], a_fit(pair_task, adapter=LoRA(4, 8, "all", live))
    fleet, loop = (kind(backbone, backbone.tokens(), "cpu", "fp32") for kind in (FleetEngine, LoopEngine))
    texts = list(pair_task.domains["film"].test.texts)
    turned = [join_pair(*reversed(pair_of(text) or ())) for text in texts]
    one, other = trained(fleet, fit), trained(loop, fit)
    for rows in (texts, turned):
        assert fleet.predict(fit, one, rows) == pytest.approx(loop.predict(fit, other, rows), abs=1e-4)
    assert np.abs(loop.predict(fit, other, texts) - loop.predict(fit, other, turned)).max() > 3e-4
    assert fleet.features(texts, RECIPE) == pytest.approx(loop.features(texts, RECIPE), abs=1e-4)


def test_masked_rows_keep_their_token_types(tmp_path: Path, pair_task: Task) -> None:
    backbone = find_backbone(str(make_encoder(tmp_path / "headed", "bert", lm_head=True)))
    fit = a_fit(pair_task, objective=MaskedLM(), adapter=LoRA(linears="all"))
    model, _ = lm_head.load_with_lm_head(backbone, "cpu")
    seen: list[dict[str, torch.Tensor]] = []
    model.register_forward_pre_hook(lambda module, args, given: seen.append(given), with_kwargs=True)
    tokens, mask = backbone.tokens(), lm_head.mask_id(backbone)
    assert mask is not None
    MaskedRows(fit, model, tokens, mask, "cpu", "fp32").loss(np.arange(4))
    (given,) = seen
    ids, _ = tokens.pad(tokens.encode(fit.texts[:4], RECIPE.max_length))
    assert np.array_equal(given["token_type_ids"], ids // SECOND)
    assert int(given["input_ids"].max()) < backbone.vocabulary
    changed = given["input_ids"].numpy() != ids % SECOND
    assert 0 < changed.sum() < changed.size / 4


@pytest.fixture(scope="module", params=["bert", "roberta", "electra"])
def classifier(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> lowres.Classifier:
    rows = [row for row in pair_rows(16) if row["domain"] == "film"]
    settings = {"learning_rate": 5e-3, "head_learning_rate": 5e-2, "min_steps": 10, "max_length": 24}
    made = lowres.Classifier(backbone=encoders[request.param], recipe=settings, precision="fp32")
    return made.fit([(row["premise"], row["hypothesis"]) for row in rows], [row["label"] for row in rows])


def test_a_saved_model_of_pairs(classifier: lowres.Classifier, tmp_path: Path) -> None:
    folder = classifier.save(tmp_path / "kept")
    assert json.loads((folder / "lowres.json").read_text())["kind"] == "pair"
    model = lowres.load(folder)
    pairs = PAIRS[:4]
    probabilities = model.predict_proba(pairs)
    assert probabilities == pytest.approx(classifier.predict_proba(pairs), abs=1e-6)
    assert model.predict(pairs) == list(classifier.predict(pairs))
    assert probabilities == pytest.approx(model.predict_proba(ROWS[:4]), abs=0)
    for wrong in (["one text"], [("a", "b", "c")], [("a", None)]):
        with pytest.raises(UserError, match=r"item 0 is no pair of texts\ngot .*expected .text, text."):
            model.predict(wrong)  # type: ignore[list-item]
        with pytest.raises(ValueError, match="item 0 is no pair of texts"):
            classifier.predict(wrong)  # type: ignore[list-item]
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert code
    program = f"texts = {pairs!r}\n{code.group(1)}\nimport json; print(json.dumps(probabilities.tolist()))\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert np.array(json.loads(done.stdout.strip().splitlines()[-1])) == pytest.approx(probabilities, abs=1e-5)


def test_a_model_of_single_texts_reads_no_pairs(encoder: Path, tmp_path: Path) -> None:
    made = lowres.Classifier(backbone=encoder, recipe={"min_steps": 2, "max_length": 24}, precision="fp32")
    made.fit(["good day", "bad day"], ["a", "b"])
    folder = made.save(tmp_path / "kept")
    with pytest.raises(UserError, match="item 1 is not one text\ngot tuple"):
        lowres.load(folder).predict(["a", ("a", "b")])
    with pytest.raises(ValueError, match="item 0 is no text"):
        made.predict([("a", "b")])
    record = json.loads((folder / "lowres.json").read_text())
    (folder / "lowres.json").write_text(json.dumps({name: value for name, value in record.items() if name != "kind"}))
    assert lowres.load(folder).kind == "classification"  # as earlier versions wrote it
    (folder / "lowres.json").write_text(json.dumps(record | {"kind": "pears"}))
    with pytest.raises(UserError, match="kind: got 'pears'"):
        lowres.load(folder)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([("a", "b"), "c"], "item 1 is no pair of texts"),
        (["a", ("b", "c")], "item 1 is no text"),
        ([("a", "b"), ("c", " ")], "item 1 is an empty text"),
        ([("a", "b", "c"), ("d", "e", "f")], "item 0 is no text"),
    ],
)
def test_faults_of_texts_for_the_estimator(texts: list[Any], message: str, encoder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        lowres.Classifier(backbone=encoder).fit(texts, ["a", "b"])


def test_explained_pairs(classifier: lowres.Classifier) -> None:
    pytest.importorskip("captum", reason="captum is not installed: pip install 'lowres[explain]'")
    from lowres.analysis.explain import explain

    (one,) = explain(classifier.model_, [("my phone was good", "bad day")])
    assert one.text == "my phone was good | bad day"
    assert [word.word for word in one.words] == ["my", "phone", "was", "good", "|", "bad", "day"]
    assert one.probability == pytest.approx(
        float(classifier.predict_proba([("my phone was good", "bad day")]).max()), abs=1e-6
    )
    head = classifier.model_.head
    vectors = encoder.features(
        classifier.model_.network, classifier.model_.tokens, [join_pair("my phone was good", "bad day")],
        max_length=24, pooling="mean", normalise=True, device="cpu", precision="fp32",
    )  # fmt: skip
    logits = (vectors @ head["weight"].T + head["bias"])[0]
    assert one.logit == pytest.approx(float(logits[classifier.model_.labels.index(one.label)]), abs=1e-5)
    with pytest.raises(UserError, match="an empty text"):
        explain(classifier.model_, [("a", " ")])
    with pytest.raises(UserError, match="no pair"):
        explain(classifier.model_, ["a"])
