"""The export to ONNX: the same answers where nothing but onnxruntime, tokenizers and numpy is."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowres.errors import LowresError, UserError
from lowres.export import onnx_folder
from lowres.export.catalogue import write_export
from lowres.export.graph import write_graph
from lowres.export.onnx_folder import PRECISIONS
from lowres.files import SUMS, holds_nothing_else
from lowres.models.backbone import Backbone, find_backbone
from lowres.models.classifier import Classifier
from lowres.training.recipe import DoRA
from tests.export.clean import answers_of, run_clean
from tests.export.fitted import TEXTS, fitted

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert-classification": ("bert", "classification", {"truncation": "windows"}),
    "roberta-pair": ("roberta", "pair", {"pooling": "cls", "adapter": None}),
    "electra-pair": ("electra", "pair", {"normalise": False}),
    "bert-tokens": ("bert", "tokens", {}),
    "distilbert-multilabel": ("distilbert", "multilabel", {"truncation": "head+tail", "max_length": 25}),
    "mpnet-regression": ("mpnet", "regression", {"adapter": DoRA(rank=2)}),
}
FILES = {"model.onnx", "tokenizer.json", "config.json", "README.md", "example.py", SUMS}


@pytest.fixture(scope="module", params=list(CASES))
def exported(
    request: pytest.FixtureRequest, encoders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Classifier, Path]:
    shape, kind, more = CASES[request.param]
    model = fitted(find_backbone(str(encoders[shape])), kind, **more)
    folder = tmp_path_factory.mktemp("exported") / request.param
    assert write_export(model, "onnx", folder, TEXTS[kind]).compared.gap < 1e-4
    return model, folder


def test_the_folder_answers_without_torch_and_lowres(exported: tuple[Classifier, Path], site: Path) -> None:
    model, folder = exported
    texts = TEXTS[model.kind]
    rows, named = answers_of(site, folder, texts)
    if model.kind == "tokens":
        assert [len(row) for row in rows] == [len(words) for words in texts]
        rows = [unit for row in rows for unit in row]
    assert np.array(rows) == pytest.approx(model.predict_proba(texts), abs=1e-4)
    said = model.predict_all(texts)
    assert named == pytest.approx(said, abs=1e-3) if model.kind == "regression" else named == said
    assert len({json.dumps(one) for one in named}) > 1


def test_the_program_answers_on_the_command_line(exported: tuple[Classifier, Path], site: Path) -> None:
    model, folder = exported
    words = ["good day lol", "bad phone"]
    given = {"pair": [tuple(words)], "tokens": [text.split() for text in words]}.get(model.kind, words)
    code = "import runpy; sys.argv[0] = 'example.py'; runpy.run_path('example.py', run_name='__main__')"
    found = [json.loads(line) for line in run_clean(site, code, *words, cwd=folder).splitlines()]
    said = model.predict_all(given)
    assert found == pytest.approx(said, abs=1e-3) if model.kind == "regression" else found == said
    nothing = "import runpy\ntry: runpy.run_path('example.py')['predict']([])\nexcept ValueError as error: print(error)"
    assert run_clean(site, nothing, cwd=folder).strip() == "no texts"
    wrong = (
        "import runpy\nsys.stderr = sys.stdout\nsys.argv[0] = 'example.py'\n"
        "try: runpy.run_path('example.py', run_name='__main__')\nexcept SystemExit as end: print(end.code)"
    )
    for given in [[], *([["one", "two", "three"]] if model.kind == "pair" else [])]:
        shown = run_clean(site, wrong, *given, cwd=folder).split()
        assert shown[-1] == "2"
        assert "example.py" in shown


def test_the_folder_is_complete_and_holds_no_path(exported: tuple[Classifier, Path]) -> None:
    model, folder = exported
    assert {path.name for path in folder.iterdir()} == FILES
    assert holds_nothing_else(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["labels"] == list(model.labels)
    assert config["kind"] == model.kind
    assert config["inputs"][2:] == (["token_type_ids"] if model.kind == "pair" else [])
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "`macro_f1` on shop: 0.500" in card
    assert "model-index" in card
    assert str(model.backbone.folder.parent) not in card + json.dumps(config)


@pytest.fixture(scope="module")
def graph(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_graph(fitted(backbone), path)
    return path


@pytest.fixture
def written(graph: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The graph of ``fitted(backbone)``, which every export of the test gets."""
    monkeypatch.setattr(onnx_folder, "write_graph", lambda _, path: shutil.copyfile(graph, path))
    return graph


def test_int8_is_smaller_and_says_how_often_it_agrees(
    backbone: Backbone, tmp_path: Path, site: Path, written: Path
) -> None:
    model, texts = fitted(backbone), TEXTS["classification"]
    small = write_export(model, "onnx-int8", tmp_path / "small", texts)
    assert set(small.sizes) == FILES
    assert small.sizes["model.onnx"] < 0.75 * written.stat().st_size
    tables = [one for one in onnx.load(small.folder / "model.onnx").graph.initializer if len(one.dims) == 2]
    assert {one.name for one in tables if one.data_type == onnx.TensorProto.FLOAT} == {"head.weight"}
    rows, named = answers_of(site, small.folder, texts)
    gap = np.abs(np.array(rows) - model.predict_proba(texts)).max()
    assert small.compared.gap == pytest.approx(gap, abs=1e-5)
    assert 0 < gap < 0.1
    share = np.mean([one == other for one, other in zip(named, model.predict(texts), strict=True)])
    assert small.compared.agreement == pytest.approx(share)


def test_what_int8_says_of_a_text_depends_on_no_other(backbone: Backbone, tmp_path: Path, written: Path) -> None:
    import runpy

    folder = write_export(fitted(backbone), "onnx-int8", tmp_path / "small").folder
    says = runpy.run_path(str(folder / "example.py"))["predict_proba"]
    texts = TEXTS["classification"]
    assert says(texts) == pytest.approx(np.concatenate([says([text]) for text in texts]), abs=1e-6)


def test_thresholds_of_counted_answers_go_with_it(backbone: Backbone, tmp_path: Path, written: Path) -> None:
    model = fitted(backbone)
    texts = [f"{word} phone {number}" for word in ("good", "bad", "my") for number in range(60)]
    model = model.counted_on(texts, model.predict(texts))
    folder = write_export(model, "onnx", tmp_path / "out").folder
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["abstain"]
    assert [one["precision"] for one in found] == list(PRECISIONS)
    assert [one["threshold"] for one in found] == [model.operating(one).threshold for one in PRECISIONS]
    assert "keep a precision of 0.95" in (folder / "README.md").read_text(encoding="utf-8")


def test_an_export_that_answers_otherwise_is_not_kept(backbone: Backbone, tmp_path: Path, written: Path) -> None:
    model = fitted(backbone)
    model = replace(model, head={**model.head, "bias": model.head["bias"] + np.array([1, 0, 0], dtype=np.float32)})
    with pytest.raises(LowresError, match="answers otherwise"):
        write_export(model, "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_missing_libraries_are_named_with_their_extra(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"lowres\[export\]"):
        write_export(fitted(backbone), "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())
