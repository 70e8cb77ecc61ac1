"""Fits with the stock head, and the folder that ``transformers.pipeline`` opens."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from lowres.cli.main import app
from lowres.errors import LowresError, UserError
from lowres.library import Study, load
from lowres.models import stock
from lowres.models.backbone import find_backbone
from lowres.models.stock import StockClassifier, initial_stock, open_stock
from lowres.training import stock as training
from lowres.training.fit import STOCK

TEXTS = ["good day lol", "the bad plot was awful 7", "my phone", " ".join(["great movie"] * 40)]
RECIPE = {"learning_rate": 5e-3, "min_steps": 20, "max_length": 24}


@pytest.fixture(scope="module")
def poolerless(encoders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose checkpoint has no pooler, as many sentence encoders and all ELECTRAs have none."""
    folder = shutil.copytree(encoders["bert"], tmp_path_factory.mktemp("poolerless") / "bert")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "pooler" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def made(table: Path, backbone: Path, place: Path, **more: Any) -> Study:
    return Study(
        table, backbone=str(backbone), store=place / "store", recipe=RECIPE, device="cpu", precision="fp32", **more
    )


def opened(folder: Path, texts: Sequence[object], labels: tuple[str, ...]) -> np.ndarray:
    from transformers import pipeline

    model = pipeline("text-classification", model=str(folder), top_k=None, truncation=True)
    said = [{one["label"]: one["score"] for one in row} for row in model(list(texts))]
    return np.array([[row[label] for label in labels] for row in said])


@pytest.mark.parametrize("shape", ["bert", "roberta", "distilbert", "electra", "mpnet", "poolerless"])
def test_the_pipeline_gives_the_same_answers(
    encoders: dict[str, Path], poolerless: Path, toy_table: Path, tmp_path: Path, shape: str
) -> None:
    study = made(toy_table, {**encoders, "poolerless": poolerless}[shape], tmp_path)
    model = study.fit("shop", shots=8, head="stock")
    assert isinstance(model, StockClassifier)
    folder = model.save(tmp_path / "out", TEXTS)
    assert opened(folder, TEXTS, ("negative", "positive")) == pytest.approx(model.predict_proba(TEXTS), abs=1e-5)
    assert [model.labels[place] for place in model.predict_proba(TEXTS).argmax(1)] == model.predict(TEXTS)
    (checks,) = (study.store.record(key)["checks"] for key in study.store.list_fits())
    assert {check["name"]: check["passed"] for check in checks} == {"adapter moved": True, "training loss fell": True}
    assert 0 < model.about["scores"][0]["value"] <= 1
    assert model.save(tmp_path / "out") == folder  # over an older one
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]


def test_all_that_is_new_is_trained_and_kept(poolerless: Path, toy_table: Path, tmp_path: Path) -> None:
    study = made(toy_table, poolerless, tmp_path)
    model = study.fit("shop", shots=8, head="stock")
    network, new = open_stock(study.backbone, ("negative", "positive"))
    assert set(new) == {f"{part}.{end}" for part in ("bert.pooler.dense", "classifier") for end in ("weight", "bias")}
    trained = load_file(model.save(tmp_path / "out") / "model.safetensors")
    shapes = {name: tuple(value.shape) for name, value in new.items()}
    first = initial_stock(shapes, 0.02, study.task.name, 0)
    assert all(not np.array_equal(trained[name], first[name]) for name in new)
    frozen = dict(network.named_parameters())
    assert np.array_equal(
        trained["bert.embeddings.word_embeddings.weight"], frozen["bert.embeddings.word_embeddings.weight"].numpy()
    )


def test_the_adapter_moved_is_said_of_the_adapter(
    encoder: Path, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(study: Study) -> bool:
        (key,) = study.store.list_fits()
        (found,) = [one["passed"] for one in study.store.record(key)["checks"] if one["name"] == "adapter moved"]
        return bool(found)

    study = made(toy_table, encoder, tmp_path / "free")
    trained = load_file(study.fit("shop", shots=4, head="stock").save(tmp_path / "out") / "model.safetensors")
    first = dict(open_stock(study.backbone, ("negative", "positive"))[0].named_parameters())
    changed = {name for name, value in trained.items() if not np.array_equal(value, first[name].detach().numpy())}
    assert any(name.endswith("attention.self.query.weight") for name in changed)
    assert moved(study)
    free = training.StockEngine.make

    def frozen(engine: Any, adapter: Any) -> Any:
        adapted = free(engine, adapter)
        for name, value in adapted.model.named_parameters():
            if "lora_" in name:
                value.requires_grad_(False)
        return adapted

    monkeypatch.setattr(training.StockEngine, "make", frozen)
    held = made(toy_table, encoder, tmp_path / "held")
    held.fit("shop", shots=4, head="stock")
    assert not moved(held)


def test_a_fit_repeats_bit_for_bit_and_draws_differ(poolerless: Path, toy_table: Path, tmp_path: Path) -> None:
    one, again, other = (
        made(toy_table, poolerless, tmp_path / name).fit("shop", shots=4, head="stock", draw=draw).predict_proba(TEXTS)
        for name, draw in (("a", 0), ("b", 0), ("a", 1))
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_fit_goes_on_from_that_of_the_source(encoder: Path, toy_table: Path, tmp_path: Path) -> None:
    study = made(toy_table, encoder, tmp_path)
    study.fit("shop", start_from="film", shots=4, head="stock")
    records = [study.store.record(key) for key in study.store.list_fits()]
    assert len(records) == 2
    assert {record["environment"]["engine"] for record in records} == {STOCK}
    checks = [check for record in records for check in record["checks"]]
    assert {"adapter moved", "training loss fell", "first loss nearer to its start's than to a fresh head's"} <= {
        check["name"] for check in checks
    }
    assert all(check["passed"] for check in checks)


@pytest.mark.parametrize("adapter", ["lora", "dora"])
def test_it_shares_no_key_with_the_linear_head(encoder: Path, toy_table: Path, tmp_path: Path, adapter: str) -> None:
    study = made(toy_table, encoder, tmp_path, adapter=adapter)
    linear, other = study.fit("shop", shots=4), study.fit("shop", shots=4, head="stock")
    assert linear.about["key"] != other.about["key"]
    assert len(study.store.list_fits()) == 2


def test_pairs_keep_their_sides(encoders: dict[str, Path], pair_table: Path, tmp_path: Path) -> None:
    columns = {"text_column": "premise", "pair_column": "hypothesis"}
    model = made(pair_table, encoders["bert"], tmp_path, **columns).fit("shop", shots=8, head="stock")
    pairs = [("good day", "bad day"), ("bad", "good 7")]
    folder = model.save(tmp_path / "out", pairs)
    given = [{"text": one, "text_pair": two} for one, two in pairs]
    assert opened(folder, given, model.labels) == pytest.approx(model.predict_proba(pairs), abs=1e-5)
    turned = [(two, one) for one, two in pairs]
    assert not np.allclose(model.predict_proba(pairs), model.predict_proba(turned), atol=1e-6)


def test_the_card_runs_without_lowres(encoder: Path, toy_table: Path, tmp_path: Path) -> None:
    folder = made(toy_table, encoder, tmp_path).fit("shop", shots=4, head="stock").save(tmp_path / "out")
    text = (folder / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, flags=re.S)
    assert code
    assert "`macro_f1` on shop" in text
    assert "model-index" in text
    program = f"{code.group(1)}\nimport json, sys\nassert 'lowres' not in sys.modules\nprint(json.dumps(answers))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    answers = json.loads(ran.stdout.strip().splitlines()[-1])
    assert {one["label"] for one in answers[0]} == {"negative", "positive"}


def test_a_folder_that_answers_otherwise_is_not_kept(
    encoder: Path, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(toy_table, encoder, tmp_path).fit("shop", shots=4, head="stock")
    monkeypatch.setattr(stock, "piped", lambda folder, rows, labels: model.predict_proba(rows) + 1e-3)
    with pytest.raises(LowresError, match="answers otherwise"):
        model.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_stock_head_cannot_be_is_refused(
    encoder: Path, toy_table: Path, uneven_file: Path, tmp_path: Path
) -> None:
    study = made(toy_table, encoder, tmp_path)
    with pytest.raises(UserError, match="did you mean 'stock'"):
        study.fit("shop", head="stok")
    for method in ("contrastive", "probe-then-lora", "label-names"):
        with pytest.raises(UserError, match=f"{method} is more than|{method}"):
            study.fit("shop", shots=4, method=method, head="stock")
    windows = Study(toy_table, backbone=str(encoder), store=tmp_path / "s", recipe={**RECIPE, "truncation": "windows"})
    with pytest.raises(UserError, match="reads the beginning"):
        windows.fit("shop", shots=4, head="stock")
    longer = Study(toy_table, backbone=str(encoder), store=tmp_path / "s", recipe={**RECIPE, "normalise": False})
    with pytest.raises(UserError, match=r"recipe\.normalise"):
        longer.fit("shop", shots=4, head="stock")
    words = [
        "fit",
        str(toy_table),
        "--on",
        "shop",
        "--head",
        "stock",
        "--engine",
        "fleet",
        "--out",
        str(tmp_path / "o"),
    ]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 2
    assert "leave --engine out" in said.stderr
    with pytest.raises(UserError, match="does not grow"):
        made(uneven_file, encoder, tmp_path).fit("shop", start_from="film", shots=4, head="stock")


def test_other_kinds_are_refused(encoder: Path, tmp_path: Path) -> None:
    lines = ["text,label,domain", *(f"good {n},{n % 5 + 0.5},{d}" for d in ("shop", "film") for n in range(80))]
    (tmp_path / "numbers.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "numbers.yaml").write_text(
        "name: numbers\ntype: regression\nrange: [0, 5]\nsource: {kind: files, parts: [{path: numbers.csv}]}\n"
    )
    with pytest.raises(UserError, match="one label a text"):
        made(tmp_path / "numbers.yaml", encoder, tmp_path).fit("shop", head="stock")


def test_a_folder_with_a_stock_head_is_named_where_an_adapter_is_wanted(
    encoder: Path, toy_table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["fit", str(toy_table), "--on", "shop", "--shots", "4", "--backbone", str(encoder), "--head", "stock"]
    words += ["--out", str(out), "--store", str(tmp_path / "store"), "--set", "recipe.max_length=24"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.strip() == str(out)
    assert "macro_f1 on shop" in ran.stderr
    with pytest.raises(UserError, match=r"transformers\.pipeline"):
        load(out)
    said = CliRunner().invoke(app, ["predict", str(out)], input="good day\n")
    assert said.exit_code == 2
    assert "stock head" in said.stderr
    (out / "thesis.txt").write_text("precious")
    assert CliRunner().invoke(app, words).exit_code == 2
    assert (out / "thesis.txt").read_text() == "precious"


def test_a_head_that_the_checkpoint_has_begins_anew(encoder: Path, tmp_path: Path) -> None:
    """A classifier of an earlier task is no start for this one."""
    from transformers import AutoModelForSequenceClassification

    folder = shutil.copytree(encoder, tmp_path / "tuned")
    AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2).save_pretrained(folder)
    _, new = open_stock(find_backbone(str(folder)), ("a", "b"))
    assert set(new) == {"classifier.weight", "classifier.bias"}
