"""Several adapters of one encoder answer together as each of them alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lowres
from lowres.errors import UserError
from lowres.models import adapters
from lowres.models.backbone import Backbone, find_backbone
from lowres.models.classifier import Classifier
from lowres.models.heads import initial_head
from lowres.models.several import Several, load_many
from lowres.training.adapted import make_adapted
from lowres.training.recipe import IA3, Adapter, DoRA, LoRA, RsLoRA

LABELS = ("bad", "good", "so")
TEXTS = ["good day lol", "the bad plot was awful 7 and it was so poor", "my phone", "x" * 50, "a b c d e f g h i j k l"]
WORDS = [["good", "day"], ["the", "bad", "plot", "was", "awful"], ["x"]]
LONG = [" ".join(["the bad plot", "was awful", "my good friend"] * number) for number in (1, 2, 5, 9)]


def model(backbone: Backbone, settings: Adapter | None, number: int, **other: Any) -> Classifier:
    """An untrained model whose adapter changes something: every tensor is drawn anew."""
    adapted = make_adapted(backbone.load(), settings)
    rng = np.random.default_rng(number)
    drawn = {
        name: (value + rng.normal(0, 0.1, value.shape)).astype(np.float32)
        for name, value in adapted.fresh("toy", number).items()
    }
    labels = other.pop("labels", LABELS)
    outputs = 1 if other.get("kind") == "regression" else len(labels)
    head = initial_head(backbone.hidden, outputs, "toy", number)
    head = {"weight": 10 * head["weight"], "bias": rng.normal(0, 0.1, outputs).astype(np.float32)}
    config = None if settings is None else adapted.config()
    reading: dict[str, Any] = {"max_length": 16, "pooling": backbone.pooling, "normalise": True, **other}
    return Classifier(
        backbone, config, drawn, head, labels, tokenizer=backbone.folder, about={"task": "toy"}, **reading
    )


@pytest.fixture(params=["bert", "roberta", "distilbert", "electra", "mpnet"])
def shaped(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> Backbone:
    return find_backbone(str(encoders[request.param]))


MIXED: tuple[Adapter | None, ...] = (
    LoRA(),
    LoRA(rank=3, alpha=5, linears="all"),
    RsLoRA(rank=2, linears="attention", live_layers=1),
    None,
)


def several(backbone: Backbone, settings: tuple[Adapter | None, ...] = MIXED, **other: Any) -> Several:
    return Several({f"m{number}": model(backbone, one, number, **other) for number, one in enumerate(settings)})


def test_a_numbered_device_is_one_of_its_kind(backbone: Backbone) -> None:
    many = several(backbone)
    numbered = Several({name: replace(one, device="cpu:0") for name, one in many.models.items()})
    assert numbered.together
    assert numbered.predict_proba(TEXTS) == pytest.approx(many.predict_proba(TEXTS), abs=1e-5)


READINGS: list[tuple[dict[str, Any], list[Any]]] = [
    ({}, TEXTS),
    ({"pooling": "cls", "normalise": False}, TEXTS),
    ({"kind": "tokens", "normalise": False}, WORDS),
    ({"truncation": "windows"}, LONG),
    ({"truncation": "head+tail"}, LONG),
    ({"kind": "pair"}, [(one, TEXTS[0]) for one in TEXTS]),
]


@pytest.mark.parametrize(("reading", "texts"), READINGS)
def test_together_as_alone(shaped: Backbone, reading: dict[str, Any], texts: list[Any]) -> None:
    many = several(shaped, **reading)
    assert many.together
    alone = np.stack([one.predict_proba(texts) for one in many.models.values()])
    assert np.abs(alone[:, None] - alone[None]).max() > 0.01  # the models differ
    assert many.predict_proba(texts) == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(("reading", "texts"), READINGS[:4])
def test_each_text_by_its_own_model(backbone: Backbone, reading: dict[str, Any], texts: list[Any]) -> None:
    many = several(backbone, **reading)
    names = [("m2", "m0", "m1")[number % 3] for number in range(len(texts))]
    alone = np.concatenate([many.models[name].predict_proba([text]) for name, text in zip(names, texts, strict=True)])
    assert many.route(texts, names) == pytest.approx(alone, abs=1e-5)
    shifted = [*names[1:], names[0]]
    assert np.abs(many.route(texts, shifted) - alone).max() > 0.01


def test_no_other_model_computes_a_routed_text(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.models.packed import PackedEncoder

    seen: list[int] = []
    plain: Callable[..., Any] = PackedEncoder.vectors

    def counted(self: PackedEncoder, x: Any, *rest: Any, **named: Any) -> Any:
        seen.append(len(x))
        return plain(self, x, *rest, **named)

    many = several(backbone)
    monkeypatch.setattr(PackedEncoder, "vectors", counted)
    many.predict_proba(TEXTS)
    whole, seen[:] = sum(seen), []
    many.route(TEXTS, ["m0", "m1", "m2", "m3", "m0"])
    assert sum(seen) * 4 == whole


def test_shared_layers_are_computed_once(backbone: Backbone) -> None:
    many = several(backbone, (LoRA(live_layers=1), LoRA(rank=2, live_layers=1), None))
    assert many.together
    alone = np.stack([one.predict_proba(TEXTS) for one in many.models.values()])
    assert many.predict_proba(TEXTS) == pytest.approx(alone, abs=1e-5)
    heads = several(backbone, (None, None))
    assert heads.predict_proba(TEXTS) == pytest.approx(
        np.stack([one.predict_proba(TEXTS) for one in heads.models.values()]), abs=1e-5
    )


@pytest.mark.parametrize("settings", [DoRA(), IA3()])
def test_other_adapters_answer_one_after_the_other(backbone: Backbone, settings: Adapter) -> None:
    many = several(backbone, (LoRA(), settings))
    assert not many.together
    alone = np.stack([one.predict_proba(TEXTS) for one in many.models.values()])
    assert np.array_equal(many.predict_proba(TEXTS), alone)
    names = ["m1", "m0", "m1", "m1", "m0"]
    assert many.route(TEXTS, names) == pytest.approx(
        np.stack([alone[int(name[1]), row] for row, name in enumerate(names)]), abs=1e-6
    )
    with pytest.raises(UserError, match="adapter m1 is no plain LoRA"):
        many.merged()


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_answers_of_other_kinds(backbone: Backbone, kind: str) -> None:
    many = several(backbone, kind=kind, labels=("0", "5") if kind == "regression" else LABELS)
    alone = np.stack([one.predict_proba(TEXTS) for one in many.models.values()])
    assert many.predict_proba(TEXTS) == pytest.approx(alone, abs=1e-5)
    assert many.average(TEXTS) == pytest.approx(alone.mean(0), abs=1e-5)


def test_labels_may_differ_but_for_a_mean(backbone: Backbone) -> None:
    pair = Several(
        {"one": model(backbone, LoRA(), 1), "two": model(backbone, LoRA(), 2, labels=("good", "new"))},
    )
    assert pair.labels == ("bad", "good", "so", "new")
    said = pair.predict_proba(TEXTS)
    assert said[1][:, [1, 3]] == pytest.approx(pair.models["two"].predict_proba(TEXTS), abs=1e-5)
    assert not said[1][:, [0, 2]].any()
    for mean in (pair.average, lambda _: pair.merged()):
        with pytest.raises(UserError, match=r"adapters one and two cannot be .* they differ in labels"):
            mean(TEXTS)


def test_the_mean_of_answers(backbone: Backbone) -> None:
    turned = model(backbone, LoRA(), 2, labels=LABELS[::-1])
    pair = Several({"one": model(backbone, LoRA(), 1), "two": turned})
    expected = 0.25 * pair.models["one"].predict_proba(TEXTS) + 0.75 * turned.predict_proba(TEXTS)[:, ::-1]
    assert pair.average(TEXTS, [1, 3]) == pytest.approx(expected, abs=1e-5)


def test_merged_is_the_mean_change_of_the_weights_and_saved_as_any_other(shaped: Backbone, tmp_path: Path) -> None:
    many, weights = several(shaped), [3.0, 2.0, 4.0, 1.0]
    merged = many.merged(weights)
    assert merged.adapter is not None
    assert merged.adapter["r"] == 8 + 3 + 2
    wanted: dict[str, Any] = {}
    for share, one in zip((0.3, 0.2, 0.4, 0.1), many.models.values(), strict=True):
        for name, change in changes(one).items():
            wanted[name] = wanted.get(name, 0) + share * change
    found = changes(merged)
    assert found.keys() == wanted.keys()
    for name, change in found.items():
        assert change == pytest.approx(wanted[name], abs=1e-6)
        assert np.abs(change).max() > 1e-3
    bias = np.average([one.head["bias"] for one in many.models.values()], axis=0, weights=weights)
    assert merged.head["bias"] == pytest.approx(bias, abs=1e-6)
    loaded = lowres.load(merged.save(tmp_path / "merged", TEXTS))
    assert loaded.predict_proba(TEXTS) == pytest.approx(merged.predict_proba(TEXTS), abs=1e-6)
    assert "0.3 × m0" in loaded.about["merged"]


def changes(one: Classifier) -> dict[str, Any]:
    """scale · B A by linear, computed from the file's own numbers."""
    scale = adapters.plain_scale(one.adapter)
    return {
        name: scale * (one.tensors[name.replace(".lora_A.", ".lora_B.")].astype(float) @ value.astype(float))
        for name, value in one.tensors.items()
        if ".lora_A." in name
    }


def test_one_merged_with_itself_stays_what_it_is(backbone: Backbone) -> None:
    one = model(backbone, LoRA(), 1)
    same = Several({"a": one, "b": one}).merged([0.2, 0.8])
    assert same.predict_proba(TEXTS) == pytest.approx(one.predict_proba(TEXTS), abs=1e-5)
    heads = Several({"a": model(backbone, None, 1), "b": model(backbone, None, 2)}).merged()
    assert heads.adapter is None


@pytest.fixture
def folders(backbone: Backbone, tmp_path: Path) -> list[Path]:
    return [model(backbone, LoRA(), number).save(tmp_path / f"dom{number}") for number in (1, 2)]


def test_from_folders(folders: list[Path]) -> None:
    many = lowres.load_many(folders)
    assert many.names == ("dom1", "dom2")
    alone = np.stack([lowres.load(folder).predict_proba(TEXTS) for folder in folders])
    assert many.predict_proba(TEXTS) == pytest.approx(alone, abs=1e-5)
    named = load_many({"shop": folders[1], "film": folders[0]})
    assert named.route(TEXTS, ["shop"] * 5) == pytest.approx(alone[1], abs=1e-5)
    with pytest.raises(UserError, match="did you mean 'shop'"):
        named.route(TEXTS, ["shpo"] * 5)
    with pytest.raises(UserError, match="one name a text"):
        named.route(TEXTS, ["shop"])


def test_no_texts_no_answers(folders: list[Path]) -> None:
    many = load_many(folders)
    assert many.predict_proba([]).shape == (2, 0, 3)
    assert many.route([], []).shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_length": 12}, "max_length"),
        ({"pooling": "cls"}, "pooling"),
        ({"normalise": False}, "normalise"),
        ({"truncation": "windows"}, "truncation"),
        ({"kind": "pair"}, "kind"),
    ],
)
def test_what_differs_is_named(folders: list[Path], change: dict[str, Any], said: str) -> None:
    path = folders[1] / "lowres.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=rf"dom1 and dom2 do not go together: they differ in {said}\n.* in dom2"):
        load_many(folders)


def test_other_weights_or_another_tokenizer_are_named(
    folders: list[Path], encoders: dict[str, Path], tmp_path: Path
) -> None:
    other = model(find_backbone(str(encoders["electra"])), LoRA(), 3).save(tmp_path / "other")
    with pytest.raises(UserError, match=r"other was made for other weights"):
        load_many([*folders, other])
    tokenizer = folders[1] / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    with pytest.raises(UserError, match=r"dom1 and dom2 .* differ in tokenizer.json"):
        load_many(folders)


def test_misuse_is_said(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one"):
        load_many([])
    with pytest.raises(UserError, match="a list of folders"):
        load_many(str(folders[0]))
    with pytest.raises(UserError, match="one name"):
        load_many([folders[0], tmp_path / "." / "dom1"])
    many = load_many(folders)
    for weights in ([1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]):
        with pytest.raises(UserError, match="2 numbers from 0 on"):
            many.average(TEXTS, weights)


def test_tensors_that_do_not_fit_are_not_answered_from(backbone: Backbone) -> None:
    whole = model(backbone, LoRA(), 1)
    less = replace(whole, tensors={name: value for name, value in whole.tensors.items() if ".layer.0." not in name})
    with pytest.raises(UserError, match="does not fit"):
        Several({"a": whole, "b": less}).predict_proba(TEXTS)
