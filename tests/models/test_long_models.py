"""Saved models of long texts, and a study of them: what they read stands in the folder, the card and every report."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import lowres
from lowres.data.task import load_task
from lowres.data.tokens import TRUNCATIONS
from lowres.errors import UserError
from lowres.kinds import KINDS
from lowres.library import Study
from lowres.study.config import build_config
from lowres.study.plan import START_UP
from lowres.training.recipe import Recipe
from tests.cli.conftest import QUICK, call
from tests.conftest import FILLER, pair_rows, toy_rows, write_table
from tests.training.test_long_texts import told_at_the_end

LONGEST = 16
CUT = [name for name in TRUNCATIONS if name != "head"]
TEXTS = ["good", "", *told_at_the_end(6, 0, 12).texts, *told_at_the_end(6, 20, 60).texts, "bad " * 300]
LONG = " " + " ".join(FILLER * 3)


def fitted(encoder: Path, truncation: str, **given: Any) -> lowres.Classifier:
    rows = told_at_the_end(16)
    recipe = {"learning_rate": 5e-3, "min_steps": 10, "max_length": LONGEST, "truncation": truncation}
    made = lowres.Classifier(backbone=encoder, precision="fp32", **{"recipe": recipe, **given})
    return made.fit(rows.texts, rows.labels)


@pytest.fixture(scope="module")
def models(encoders: dict[str, Path]) -> dict[str, lowres.Classifier]:
    return {name: fitted(encoders["roberta" if name == "windows" else "bert"], name) for name in TRUNCATIONS}


@pytest.mark.parametrize("truncation", list(TRUNCATIONS))
def test_a_saved_model_answers_the_same_and_so_does_its_card(
    truncation: str, models: dict[str, lowres.Classifier], tmp_path: Path
) -> None:
    folder = models[truncation].save(tmp_path / "kept")
    record = json.loads((folder / "lowres.json").read_text())
    assert record.get("truncation", "head") == truncation
    assert ("truncation" in record) == (truncation != "head")
    assert list(record)[:9] == [
        "schema", "labels", "pooling", "normalise", "max_length", "backbone", "about", "counted", "kind",
    ]  # fmt: skip
    model = lowres.load(folder)
    probabilities = model.predict_proba(TEXTS)
    assert np.array_equal(probabilities, models[truncation].model_.predict_proba(TEXTS))
    assert model.predict_proba(TEXTS[-3:]) == pytest.approx(probabilities[-3:], abs=1e-5)
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert code
    assert len(code.group(1).splitlines()) <= 16
    program = f"texts = {TEXTS!r}\n{code.group(1)}\nimport json; print(json.dumps(probabilities.tolist()))\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert np.array(json.loads(done.stdout.strip().splitlines()[-1])) == pytest.approx(probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"truncation": "tail"}, "truncation: got 'tail', expected head or head.tail or windows for kind classification"),
        ({"truncation": "windows", "kind": "pair"}, "truncation: got 'windows', expected head for kind pair"),
        ({"truncation": "head+tail", "kind": "tokens"}, "got 'head.tail', expected head for kind tokens"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be(
    changed: dict[str, str], said: str, models: dict[str, lowres.Classifier], tmp_path: Path
) -> None:
    folder = models["windows"].save(tmp_path / "kept")
    record = json.loads((folder / "lowres.json").read_text())
    (folder / "lowres.json").write_text(json.dumps(record | changed))
    with pytest.raises(UserError, match=said):
        lowres.load(folder)


@pytest.mark.parametrize("truncation", CUT)
def test_words_of_all_that_is_read_explain_an_answer(truncation: str, models: dict[str, lowres.Classifier]) -> None:
    pytest.importorskip("captum", reason="captum is not installed: pip install 'lowres[explain]'")
    from lowres.analysis.explain import explain

    model = models[truncation].model_
    words = [*(str(number) for number in range(20)), "good", "great"]
    (one,) = explain(model, [" ".join(words)])
    seen = words if truncation == "windows" else [*words[:7], *words[-7:]]
    assert [word.word for word in one.words] == seen
    assert one.cut == (truncation == "head+tail")
    said = model.predict_proba([one.text])[0]
    assert one.logit - one.empty == pytest.approx(sum(word.weight for word in one.words), rel=0.05, abs=1e-3)
    (other,) = explain(model, [one.text], next(label for label in model.labels if label != one.label))
    assert 1 / (1 + np.exp(other.logit - one.logit)) == pytest.approx(said.max(), abs=1e-5)


def kinds_of(folder: Path) -> dict[str, Path]:
    """A small table or task file of the kinds that are read from the beginning alone."""
    words = [
        {"tokens": ["Ada", "met", f"Bob{number}"], "tags": ["B-per", "O", "B-per"], "domain": domain}
        for domain in ("Rome", "Oslo")
        for number in range(30)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in words), encoding="utf-8")
    content = {
        "name": "own", "type": "tokens", "columns": {"text": "tokens", "label": "tags"},
        "source": {"kind": "files", "parts": [{"path": "rows.jsonl"}]},
    }  # fmt: skip
    (folder / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return {"pair": write_table(folder / "pairs.csv", pair_rows(20)), "tokens": folder / "own.yaml"}


@pytest.mark.parametrize("kind", ["pair", "tokens"])
@pytest.mark.parametrize("truncation", CUT)
def test_kinds_that_are_read_from_the_beginning(kind: str, truncation: str, encoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'lowres[tune]'")
    said = f"not for a task of type {kind}, which is {KINDS[kind].title}: recipe.truncation\ngot {truncation}"
    task = kinds_of(tmp_path)[kind]

    def study(**given: Any) -> Study:
        recipe = {"truncation": truncation, "max_length": LONGEST}
        return Study(task, backbone=str(encoder), recipe=recipe, store=str(tmp_path / "store"), seeds=1, **given)

    first = next(iter(load_task(task).domains))
    for refused in (
        lambda: study(shots=[0]).plan,
        lambda: study().fit(first),
        lambda: study(shots=[2], methods=["target-only"]).tune(),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            refused()
    with pytest.raises(UserError, match=re.escape(said) if kind == "pair" else "a forecast is for"):
        study(source=[first]).forecast()
    result = call("tasks", "check", task, "--backbone", encoder, "--truncation", truncation)
    assert (result.exit_code, said in result.stderr) == (2, True)
    assert not (tmp_path / "store").exists()


def test_the_estimator_refuses_pairs_in_windows(encoder: Path) -> None:
    recipe = {"truncation": "windows", "max_length": LONGEST}
    with pytest.raises(UserError, match="not for a task of type pair"):
        lowres.Classifier(backbone=encoder, recipe=recipe).fit([("a", "b"), ("c", "d")], ["x", "y"])


def test_a_value_that_is_none_names_the_nearest() -> None:
    assert build_config({}, sets=["recipe.truncation=windows"]).recipe == Recipe(truncation="windows")
    with pytest.raises(UserError, match=r"recipe.truncation: got 'window', expected one of .*; did you mean 'windows'"):
        build_config({"recipe": {"truncation": "window"}})


@pytest.fixture(scope="module")
def long_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy task, half of the texts of shop so long that 24 tokens do not hold them."""
    rows = [
        row | {"text": row["text"] + LONG * (place % 2) * (row["domain"] == "shop")}
        for place, row in enumerate(toy_rows())
        if row["domain"] != "chat"
    ]
    return write_table(tmp_path_factory.mktemp("long") / "toy.csv", rows)


@pytest.fixture
def study(long_table: Path, encoder: Path, tmp_path: Path) -> Callable[..., Study]:
    def make(**recipe: Any) -> Study:
        return Study(
            long_table, source=["shop"], target=["film"], shots=[0], seeds=1, source_rows=30, backbone=str(encoder), precision="fp32",
            store=str(tmp_path / "store"), out=str(tmp_path / "out"), recipe={"min_steps": 8, "epochs": 1, "max_length": 24, **recipe},
        )  # fmt: skip

    return make


def test_a_study_by_what_it_reads(study: Callable[..., Study]) -> None:
    plans = {name: study(truncation=name) for name in TRUNCATIONS}
    hashes = {one.plan.hash(one.environment) for one in [*plans.values(), study()]}
    assert len(hashes) == len(TRUNCATIONS)
    assert plans["head"].plan.hash(plans["head"].environment) == study().plan.hash(study().environment)
    assert set(plans["head"].plan.distinct) == set(study().plan.distinct)
    floors = {name: one.plan.estimate(1.0, 1e7) for name, one in plans.items()}
    assert floors["head+tail"].floor == floors["head"].floor
    assert floors["windows"].floor > 1.2 * floors["head"].floor
    assert floors["windows"].seconds > floors["head"].seconds > START_UP
    result = plans["windows"].run()
    assert result.best("film", shots=0).truncation == "windows"
    kept = lowres.load(result.folder / "best" / "film-0")
    texts = list(plans["windows"].task.domains["shop"].test.texts)
    assert kept.truncation == "windows"
    assert kept.predict_proba(texts) == pytest.approx(result.best("film", shots=0).predict_proba(texts), abs=1e-6)
    assert "truncation: windows" in (result.folder / "study.yaml").read_text()


def test_what_is_cut_is_said_for_what_is_read(long_table: Path, encoder: Path, tmp_path: Path) -> None:
    """Half of the texts of shop have 39 tokens: more than 24 from the beginning or both ends, in two windows none is lost."""
    words = [long_table, "--source", "shop", "--target", "film", "--shots", "0", "--seeds", "1", "--backbone", encoder,
             "--store", tmp_path / "store", *QUICK]  # fmt: skip
    tests = load_task(long_table).domain("shop").test.texts
    share = sum(LONG in text for text in tests) / len(tests)
    shop = f"shop {100 * share:.0f} % of the test texts"
    for truncation, longest, line in (
        ("head", 24, f"cut at 24 tokens: {shop}"),
        ("head+tail", 24, f"cut at 24 tokens from both ends: {shop}"),
        ("windows", 24, "cut at 8 windows of 24 tokens: fewer than 1 % in every domain"),
        ("windows", 4, "cut at 8 windows of 4 tokens: shop "),
    ):
        check = [long_table, "--backbone", encoder, "--max-length", longest, "--truncation", truncation]
        assert any(one.startswith(line) for one in call("tasks", "check", *check).stdout.splitlines())
        own = [*words, "--set", f"recipe.truncation={truncation}", "--set", f"recipe.max_length={longest}"]
        assert any(one.startswith(line) for one in call("plan", *own).stdout.splitlines())
        facts = json.loads(call("plan", *own, "--json").stdout)
        assert (facts["truncation"], facts["max_length"]) == (truncation, longest)
        assert facts["truncated"]["film"] == (0 if longest == 24 else facts["truncated"]["film"])
    done = call("run", *own[:-2], "--set", "recipe.max_length=4", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "note: cut at 8 windows of 4 tokens: shop " in done.stdout
    result = call("tasks", "check", long_table, "--truncation", "windows")
    assert (result.exit_code, "add --backbone" in result.stderr) == (2, True)
    assert "did you mean 'windows'" in call("plan", *words, "--set", "recipe.truncation=windws").stderr
