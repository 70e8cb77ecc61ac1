"""Words, several labels and numbers from a task file to a report, a saved model and its answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import lowres
import lowres.library
from lowres import seeds
from lowres.analysis.explain import explain
from lowres.cli.main import app
from lowres.data.task import load_task
from lowres.errors import UserError
from lowres.library import score
from lowres.methods.catalogue import METHODS
from lowres.models.classifier import Classifier
from lowres.report.tables import metric_name
from tests.conftest import BAD, FILLER, GOOD, THINGS

KINDS = ("tokens", "multilabel", "regression")
EXAMPLES: dict[str, Any] = {
    "tokens": [["the", "good", "box"], ["bad", "price"]],
    "multilabel": ["the good box", "a bad price"],
    "regression": ["the good box", "a bad price"],
}


def row_of(kind: str, domain: str, number: int) -> dict[str, Any]:
    rng = seeds.generator("kinds", domain, number)
    words = [
        str(word) for word in (*rng.choice(FILLER, 3), *rng.choice(THINGS[domain], 2), *rng.choice((*GOOD, *BAD), 2))
    ]
    words = [str(word) for word in rng.permutation(words)]
    if kind == "tokens":
        tags = ["B-thing" if word in THINGS[domain] else "B-mood" if word in (*GOOD, *BAD) else "O" for word in words]
        return {"tokens": words, "tags": tags, "domain": domain}
    held = [name for name, own in (("cheerful", GOOD), ("gloomy", BAD)) if set(words) & set(own)]
    text = {"text": f"{' '.join(words)} {number}", "domain": domain}
    return text | {"label": held if kind == "multilabel" else sum(word in GOOD for word in words)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        rows = [row_of(kind, domain, number) for domain in ("shop", "film", "chat") for number in range(60)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        content: dict[str, Any] = {"name": kind, "type": kind}
        content["source"] = {"kind": "files", "parts": [{"path": "rows.jsonl"}]}
        content |= {"range": [0, 2]} if kind == "regression" else {}
        content |= {"columns": {"text": "tokens", "label": "tags"}} if kind == "tokens" else {}
        found[kind] = folder / f"{kind}.yaml"
        found[kind].write_text(yaml.safe_dump(content), encoding="utf-8")
    return found


def study(path: Path, encoder: Path, folder: Path, **changes: Any) -> lowres.Study:
    settings: dict[str, Any] = {
        "task": path, "sources": ["shop"], "targets": ["film"], "shots": [0, 4], "seeds": 2, "backbone": str(encoder),
        "store": folder / "store", "out": folder / "out", "source_rows": 30, "precision": "fp32",
        "recipe": {"min_steps": 8, "epochs": 1, "max_length": 16, "learning_rate": 5e-3},
    }  # fmt: skip
    return lowres.Study(**settings | changes)


@pytest.fixture(scope="module", params=KINDS)
def finished(
    request: pytest.FixtureRequest, files: dict[str, Path], encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Any]:
    folder = tmp_path_factory.mktemp(f"study-{request.param}")
    return request.param, folder, study(files[request.param], encoder, folder).run()


def test_a_study_is_whole(finished: tuple[str, Path, Any], files: dict[str, Path]) -> None:
    kind, folder, result = finished
    summary = result.summary
    assert summary.fits.failed == 0
    assert {score.method for score in summary.scores} == {
        "source-only", "target-full", "target-only", "probe", "source-then-target",
    }  # fmt: skip
    assert all(-1.0 <= score.low <= score.mean <= score.high <= 1.0 for score in summary.scores)
    assert any("labels a class, mean here" in line for line in summary.warnings)
    assert all(one.labels_saved is None for one in summary.transfer)
    evidence = json.loads((folder / "out/evidence.json").read_text(encoding="utf-8"))
    assert f"not defined for a task of type {kind}: forecasts" in evidence["notes"][0]
    assert evidence["costs"]
    assert not evidence["calibration"]
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    assert "\x1f" not in page
    assert metric_name(load_task(files[kind]).metric) in page
    records = [json.loads(line) for line in (folder / "out/cells.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(load_task(files[kind]).metric in record["metrics"] for record in records)


def test_the_best_model_answers(finished: tuple[str, Path, Any]) -> None:
    kind, folder, _ = finished
    model = lowres.load(folder / "out/best/film-4")
    said = model.predict_all(EXAMPLES[kind])
    assert len(said) == 2
    if kind == "tokens":
        assert [len(tags) for tags in said] == [3, 2]
        assert {tag for tags in said for tag in tags} <= set(model.labels)
    elif kind == "multilabel":
        assert all(set(labels) <= {"cheerful", "gloomy"} for labels in said)
    else:
        assert all(0.0 <= value <= 2.0 for value in said)
    with pytest.raises(UserError, match="predict_all"):
        model.predict(EXAMPLES[kind])
    if kind == "tokens":
        with pytest.raises(UserError, match="no list of words"):
            model.predict_all(["a text"])


def test_the_card_reproduces_it(finished: tuple[str, Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kind, folder, _ = finished
    place = folder / "out/best/film-4"
    (code,) = re.findall(r"```python\n(.*?)```", (place / "README.md").read_text(encoding="utf-8"), flags=re.S)
    monkeypatch.chdir(place)
    names: dict[str, Any] = {"texts": EXAMPLES[kind]}
    exec(code, names)
    found = names["values" if kind == "regression" else "probabilities"]
    plain = torch.cat(found) if kind == "tokens" else found
    wanted = lowres.load(place).predict_proba(EXAMPLES[kind])
    assert np.abs(plain.numpy().reshape(wanted.shape) - wanted).max() < 1e-5


def test_predict_on_the_command_line(finished: tuple[str, Path, Any]) -> None:
    kind, folder, _ = finished
    (folder / "in.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in [*EXAMPLES[kind], 3]), encoding="utf-8"
    )
    place = str(folder / "out/best/film-4")
    result = CliRunner().invoke(app, ["predict", place, "--input", str(folder / "in.jsonl")])
    *answers, fault = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert fault == {"row": 3, "error": "no text"}
    keys = {
        "tokens": {"tags", "probabilities", "entities"},
        "multilabel": {"labels", "probabilities"},
        "regression": {"value"},
    }
    assert all(set(answer) == keys[kind] for answer in answers)
    if kind == "tokens":
        (folder / "in.txt").write_text("the good box\n", encoding="utf-8")
        plain = CliRunner().invoke(app, ["predict", place, "--input", str(folder / "in.txt")])
        assert json.loads(plain.stdout) == answers[0]


def test_evaluate_scores_as_the_study_does(finished: tuple[str, Path, Any], files: dict[str, Path]) -> None:
    kind, folder, _ = finished
    model: Classifier = lowres.load(folder / "out/best/film-4")
    task = load_task(files[kind])
    own = score(model, task.domains["film"].test)[task.metric]
    assert own == pytest.approx(model.about["scores"][0]["value"], abs=1e-6)
    other = load_task(files["multilabel" if kind == "tokens" else "tokens"]).domains["film"].test
    with pytest.raises(UserError, match="another kind"):
        score(model, other)


def test_what_is_for_one_label_a_text_is_refused(
    finished: tuple[str, Path, Any], files: dict[str, Path], encoder: Path, tmp_path: Path
) -> None:
    kind, folder, _ = finished
    with pytest.raises(UserError, match="a forecast is for tasks with one label a text"):
        study(files[kind], encoder, tmp_path).forecast()
    with pytest.raises(UserError, match="a ranking of backbones is for"):
        lowres.library.rank_backbones(files[kind], [str(encoder)])
    with pytest.raises(UserError, match="one label a text"):
        explain(lowres.load(folder / "out/best/film-4"), EXAMPLES[kind])


def test_a_model_of_another_scale(files: dict[str, Path], encoder: Path, tmp_path: Path) -> None:
    model = study(files["regression"], encoder, tmp_path).fit(on="film", shots=4)
    rows = load_task(files["regression"]).domains["film"].test
    with pytest.raises(UserError, match="another scale"):
        score(model, rows, ("0", "5"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_runs_or_is_refused(kind: str, files: dict[str, Path], encoder: Path, tmp_path: Path) -> None:
    able = [name for name, method in METHODS.items() if kind not in method.not_for]
    refused = [name for name in METHODS if name not in able]
    assert "contrastive" in refused
    assert {"joint", "soup", "probe", "majority", "coral", "tapt"} <= set(able)
    result = study(files[kind], encoder, tmp_path, methods=able, seeds=1, sources=["shop", "chat"]).run()
    assert result.summary.fits.failed == 0
    assert {score.method for score in result.summary.scores} == set(able)
    for name in refused:
        with pytest.raises(UserError, match=f"not for a task of type {kind}"):
            _ = study(files[kind], encoder, tmp_path, methods=[name]).plan


def test_a_model_is_made_smaller(finished: tuple[str, Path, Any], files: dict[str, Path], tmp_path: Path) -> None:
    kind, folder, _ = finished
    model = lowres.load(folder / "out/best/film-4")
    settings: dict[str, dict[str, object]] = {
        "distil": {"layers": 1, "epochs": 1.0},
        "prune": {"epochs": 1.0},
        "lowrank": {"energy": 0.5, "epochs": 1.0},
        "quantise": {"bits": "weights"},
        "early-exit": {},
    }
    for method, given in settings.items():
        if (kind, method) == ("regression", "early-exit"):
            with pytest.raises(UserError, match="a number has no early exit"):
                lowres.compress(model, tmp_path / method, method=method, task=files[kind], **given)
            continue
        found = lowres.compress(model, tmp_path / method, method=method, task=files[kind], **given)
        again = lowres.load(tmp_path / method)
        assert again.kind == kind
        assert len(again.predict_all(EXAMPLES[kind])) == 2
        rows = load_task(files[kind]).domains["film"].test
        metric = load_task(files[kind]).metric
        assert {one.domain: one.after.mean for one in found.domains}["film"] == pytest.approx(
            score(again, rows)[metric]
        )
        assert all((one.agreement is None) == (kind == "regression") for one in found.domains)
        assert all(one.calibration_after is None for one in found.domains)
