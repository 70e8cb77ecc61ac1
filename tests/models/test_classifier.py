from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lowres.data import splits
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.models.backbone import Backbone, find_backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.training.fit import Fit, Fitted, Part
from lowres.training.loop import LoopEngine
from lowres.training.recipe import Recipe

TEXTS = ["good day lol", "the bad plot was awful 7", "my phone", "x" * 50]


@pytest.fixture(scope="module", params=["bert", "roberta", "distilbert", "electra"])
def model(request: pytest.FixtureRequest, encoders: dict[str, Path], toy_task: Task) -> Classifier:
    return trained(find_backbone(str(encoders[request.param])), toy_task)


def trained(backbone: Backbone, task: Task, normalise: bool = True) -> Classifier:
    engine = LoopEngine(backbone, backbone.tokens(), "cpu", "fp32")
    recipe = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=10, max_length=24, normalise=normalise)
    fit = Fit(
        (Part(splits.shots(task.name, task.domains["shop"].train, 8, 0)),), task.labels, task.name, 0, recipe=recipe
    )
    ((_, fitted),) = engine.fit_many([fit], {})
    assert isinstance(fitted, Fitted)
    about = {
        "task": task.name,
        "method": "target-only",
        "scores": [{"task": "toy", "domain": "shop", "metric": "macro_f1", "value": 0.5}],
    }
    return Classifier(
        backbone,
        engine.adapter_config(fit),
        fitted.adapter,
        fitted.head,
        task.labels,
        24,
        "mean",
        normalise,
        backbone.folder,
        about,
    )


def test_what_is_saved_is_loaded_again(model: Classifier, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "kept", TEXTS)
    loaded = load_classifier(folder)
    assert np.array_equal(loaded.predict_proba(TEXTS), model.predict_proba(TEXTS))
    assert loaded.predict(TEXTS) == model.predict(TEXTS)
    assert loaded.labels == ("negative", "positive")
    assert model.save(tmp_path / "kept", TEXTS) == folder  # over an older one
    assert {
        "adapter_config.json",
        "adapter_model.safetensors",
        "head.safetensors",
        "lowres.json",
        "README.md",
        "tokenizer.json",
    } <= {path.name for path in folder.iterdir()}
    assert not list(tmp_path.glob(".draft-*"))


def test_the_card_reproduces_the_probabilities_without_lowres(model: Classifier, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "kept")
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, flags=re.S)
    assert code
    assert "lowres" not in code.group(1)
    assert "model-index" in card
    program = f"texts = {TEXTS!r}\n{code.group(1)}\nimport json; print(json.dumps(probabilities.tolist()))\n"
    answer = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    got = np.array(json.loads(answer.stdout.strip().splitlines()[-1]))
    assert got == pytest.approx(model.predict_proba(TEXTS), abs=1e-5)


def test_without_normalisation_too(backbone: Backbone, toy_task: Task, tmp_path: Path) -> None:
    model = trained(backbone, toy_task, normalise=False)
    assert load_classifier(model.save(tmp_path / "kept")).predict_proba(TEXTS) == pytest.approx(
        model.predict_proba(TEXTS)
    )


def test_peft_opens_the_folder(model: Classifier, tmp_path: Path) -> None:
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(model.save(tmp_path / "kept")))
    assert str(config.task_type) in ("FEATURE_EXTRACTION", "TaskType.FEATURE_EXTRACTION")


def test_a_folder_with_something_else_is_left_alone(model: Classifier, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        model.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_faults_of_a_folder(backbone: Backbone, encoders: dict[str, Path], toy_task: Task, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no adapter folder"):
        load_classifier(tmp_path)
    folder = trained(backbone, toy_task).save(tmp_path / "kept")
    with pytest.raises(UserError, match="other weights"):
        load_classifier(folder, backbone=str(encoders["electra"]))
    record = json.loads((folder / "lowres.json").read_text())
    (folder / "lowres.json").write_text(json.dumps({**record, "labels": ["a", "b", "c"]}))
    with pytest.raises(UserError, match="does not fit"):
        load_classifier(folder)
    (folder / "lowres.json").write_text(json.dumps(record))
    (folder / "head.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="damaged"):
        load_classifier(folder)


def test_one_text_is_no_list(model: Classifier) -> None:
    for given in ("good", None):
        with pytest.raises(UserError, match="list of texts"):
            model.predict(given)  # type: ignore[arg-type]


def test_a_model_is_shown_in_a_line(model: Classifier) -> None:
    assert len(repr(model)) < 200
    assert model.backbone.name in repr(model)
    assert "positive" in repr(model)


def test_no_texts_no_answers(backbone: Backbone, toy_task: Task) -> None:
    model = trained(backbone, toy_task)
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 2)


def test_the_folder_says_how_it_pools(backbone: Backbone, toy_task: Task, tmp_path: Path) -> None:
    import shutil

    model = trained(backbone, toy_task)
    folder = model.save(tmp_path / "kept")
    bare = shutil.copytree(backbone.folder, tmp_path / "bare")
    shutil.rmtree(bare / "1_Pooling")
    assert find_backbone(str(bare)).pooling == "cls"
    assert load_classifier(folder, backbone=str(bare)).predict_proba(TEXTS) == pytest.approx(model.predict_proba(TEXTS))


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "VERA"},
        {"target_modules": "all-linear"},
        {"init_lora_weights": "pissa"},
        {"rank_pattern": {"query": 4}},
        {"use_rslora": "yes"},
        {"use_qalora": True},
        {"bias": "all"},
        {"modules_to_save": ["pooler"]},
    ],
)
def test_a_foreign_adapter_is_not_read_as_another(
    backbone: Backbone, toy_task: Task, tmp_path: Path, change: dict
) -> None:
    folder = trained(backbone, toy_task).save(tmp_path / "kept")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match="not read"):
        load_classifier(folder).predict_proba(TEXTS)


@pytest.mark.parametrize("change", [{"peft_type": "IA3"}, {"peft_type": "ADALORA", "init_r": 8}, {"use_dora": True}])
def test_an_adapter_is_not_read_as_a_kind_that_it_is_not(
    backbone: Backbone, toy_task: Task, tmp_path: Path, change: dict
) -> None:
    folder = trained(backbone, toy_task).save(tmp_path / "kept")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match="differ"):
        load_classifier(folder)
