"""Models made smaller: what they learn from, what is measured of them, and what is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from lowres.analysis import asked
from lowres.analysis.explain import explain
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.export import compress as compressing
from lowres.export import cutting, teaching
from lowres.export.compare import flops
from lowres.export.compress import Ground, compress, ground
from lowres.export.compression import Compression, MaxLossError
from lowres.export.shrink import METHODS, Distil, EarlyExit, LowRank, Prune, Quantise, settings_of
from lowres.export.whole import with_encoder
from lowres.models.backbone import Backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.report import compressed
from tests.export.trained import TEXTS, fitted, gap, size

QUICK: dict[str, Any] = {
    "distil": Distil(layers=1, epochs=2, learning_rate=3e-3),
    "prune": Prune(epochs=1),
    "quantise": Quantise("weights"),
    "lowrank": LowRank(energy=0.5, epochs=0),
    "early-exit": EarlyExit(flops=0.8),
}


@pytest.fixture(scope="module")
def model(backbone: Backbone, toy_task: Task) -> Classifier:
    return fitted(backbone, toy_task)


@pytest.fixture(scope="module")
def where(model: Classifier, toy_task: Task) -> Ground:
    return ground(model, toy_task)


@pytest.fixture(scope="module", params=list(METHODS))
def made(
    request: pytest.FixtureRequest, model: Classifier, where: Ground, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Compression]:
    folder = tmp_path_factory.mktemp("made") / request.param
    return request.param, folder, compress(model, where, request.param, QUICK[request.param], folder)


def test_every_method_is_quick_here() -> None:
    assert set(QUICK) == set(METHODS)


def test_what_is_measured_is_what_the_folder_says(
    made: tuple[str, Path, Compression], model: Classifier, where: Ground
) -> None:
    """Scores by scikit-learn, agreement and drop by hand, sizes by the files."""
    method, folder, found = made
    after = load_classifier(folder)
    assert json.loads((folder / "compression.json").read_text())["method"] == method == found.method
    values: dict[str, list[float]] = {}
    for one in found.domains:
        rows = where.tests[one.domain]
        said = [side.predict(list(rows.texts)) for side in (model, after)]
        values[one.domain] = [float(f1_score(rows.labels, own, average="macro")) for own in said]
        assert [one.before.mean, one.after.mean] == pytest.approx(values[one.domain], abs=1e-9)
        assert one.change.mean == pytest.approx(values[one.domain][1] - values[one.domain][0], abs=1e-9)
        assert one.agreement is not None
        assert one.agreement.mean == pytest.approx(np.mean([a == b for a, b in zip(*said, strict=True)]))
        assert one.change.low <= one.change.mean <= one.change.high
    for fall in found.shift:
        before, now = (values[fall.source][side] - values[fall.target][side] for side in (0, 1))
        assert (fall.before.mean, fall.after.mean) == pytest.approx((before, now), abs=1e-9)
        assert fall.growth.mean == pytest.approx(now - before, abs=1e-9)
    assert {(one.source, one.target) for one in found.shift} == {("shop", "film"), ("shop", "chat")}
    weights = sum(path.stat().st_size for path in (folder / "encoder").glob("*.safetensors"))
    assert found.after.bytes == weights + 4 * sum(
        value.size for part in (after.head, after.exits) for value in part.values()
    )
    assert found.after.flops == pytest.approx(flops(after, list(where.tests["shop"].texts)))
    assert set(found.after.milliseconds) == {"1", "32"}


def test_each_method_makes_something_smaller(made: tuple[str, Path, Compression]) -> None:
    method, _, found = made
    if method == "early-exit":
        assert found.after.flops < found.before.flops
        assert all(one.layers is not None and 1 <= one.layers <= 2 for one in found.domains)
    else:
        assert found.after.bytes < found.before.bytes
        assert all(one.layers is None for one in found.domains)
    assert (found.after.flops < found.before.flops) == (method != "quantise")


def test_the_folder_says_its_own_scores(made: tuple[str, Path, Compression]) -> None:
    method, folder, found = made
    after = load_classifier(folder)
    assert after.about["compressed"].startswith(method)
    assert after.about["made of"] == "bert"
    assert {one["domain"]: one["value"] for one in after.about["scores"]} == {
        one.domain: one.after.mean for one in found.domains
    }
    assert after.counted is not None
    shop = next(one for one in found.domains if one.domain == "shop")
    assert after.counted.steps.rows == shop.rows


def test_it_is_shown_everywhere(made: tuple[str, Path, Compression]) -> None:
    method, _, found = made
    page, text = compressed.render_html(found), compressed.render_markdown(found)
    for shown in (page, text):
        assert method in shown
        assert "film" in shown
    assert "script" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(compressed.matrix([found, found]).rows) == 3


def test_no_label_and_no_test_row_is_learned_from(
    model: Classifier, toy_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every method is given train texts alone, and the labels of train and dev rows can be anything."""
    blind = {
        name: replace(
            domain,
            train=domain.train.labelled(["?"] * len(domain.train)),
            dev=domain.dev.labelled(["?"] * len(domain.dev)),
        )
        for name, domain in toy_task.domains.items()
    }
    hidden = ground(model, replace(toy_task, domains=blind))
    tests = {text for domain in toy_task.domains.values() for text in (*domain.test.texts, *domain.dev.texts)}
    seen: list[str] = []
    for name, method in METHODS.items():

        def watched(model: Any, settings: Any, texts: Any, place: Any, told: Any, act: Any = method.act) -> Classifier:
            seen.extend(texts)
            return act(model, settings, texts, place, told)  # type: ignore[no-any-return]

        monkeypatch.setitem(METHODS, name, replace(method, act=watched))
        found = compress(model, hidden, name, QUICK[name], tmp_path / name)
        again = load_classifier(tmp_path / name)
        monkeypatch.setitem(METHODS, name, method)
        plain = compress(model, ground(model, toy_task), name, QUICK[name], tmp_path / f"{name}-seeing")
        assert gap(again, load_classifier(tmp_path / f"{name}-seeing")) == 0
        assert [one.after for one in found.domains] == [one.after for one in plain.domains]
    assert seen
    assert not set(seen) & tests


def test_a_loss_above_the_bound_is_refused(model: Classifier, where: Ground, tmp_path: Path) -> None:
    ruined = Distil(layers=1, epochs=0)
    found = compress(model, where, "distil", ruined, tmp_path / "all")
    worst = -found.worst().change.mean
    assert worst > 0.02
    with pytest.raises(MaxLossError, match=f"{found.worst().domain}: .* max_loss") as error:
        compress(model, where, "distil", ruined, tmp_path / "none", max_loss=worst - 0.01)
    assert error.value.exit_code == 1
    assert not (tmp_path / "none").exists()
    compress(model, where, "distil", ruined, tmp_path / "some", max_loss=worst + 0.01)


def test_a_student_begins_as_the_last_layers_it_stands_for(backbone: Backbone) -> None:
    teacher = backbone.load()
    student, config = cutting.student(teacher, 1, None)
    assert config["changed"] == {"num_hidden_layers": 1, "hidden_size": 32}
    own, their = student.state_dict(), teacher.state_dict()
    for name, value in own.items():
        assert torch.equal(value, their[name.replace("layer.0.", "layer.1.")]), name
    narrow, config = cutting.student(teacher, None, 16)
    assert config["layers"] == 2
    assert narrow(input_ids=torch.tensor([[2, 5, 3]])).last_hidden_state.shape == (1, 3, 16)
    for layers, width in ((2, 32), (3, None), (0, None), (None, 24), (1, 64)):
        with pytest.raises(UserError, match="smaller"):
            cutting.student(teacher, layers, width)


def test_a_narrower_student_learns_too(model: Classifier, where: Ground, tmp_path: Path) -> None:
    found = compress(model, where, "distil", Distil(width=16, epochs=3, learning_rate=5e-3), tmp_path / "narrow")
    assert load_classifier(tmp_path / "narrow").backbone.hidden == 16
    assert found.after.parameters < found.before.parameters / 1.8
    before = compress(model, where, "distil", Distil(width=16, epochs=0), tmp_path / "raw")
    agreed = [one.agreement.mean for one in (found.domains[0], before.domains[0]) if one.agreement]
    assert agreed[0] > agreed[1]


def test_teaching_comes_closer(model: Classifier, where: Ground) -> None:
    teacher = model.merged()
    texts = where.unlabelled
    name = ("test",)
    apart = []
    for epochs in (1, 8):
        student, _ = cutting.student(teacher, 1, None)
        settings = teaching.Teaching(epochs=epochs, learning_rate=3e-3)
        teaching.taught(student, teacher, model, texts, settings, name)
        lesson = teaching._Lesson(student, teacher, model, texts, settings, name)
        with torch.no_grad():
            apart.append(float(lesson.loss(np.arange(32))))
    assert apart[1] < 0.7 * apart[0]


def test_the_same_again(model: Classifier, where: Ground, tmp_path: Path) -> None:
    for name in ("one", "two"):
        compress(model, where, "distil", QUICK["distil"], tmp_path / name)
    assert gap(load_classifier(tmp_path / "one"), load_classifier(tmp_path / "two")) == 0


def test_one_after_another(model: Classifier, where: Ground, tmp_path: Path) -> None:
    """A student in eight bits."""
    compress(model, where, "distil", QUICK["distil"], tmp_path / "student")
    student = load_classifier(tmp_path / "student")
    found = compress(student, where, "quantise", Quantise("weights"), tmp_path / "both")
    both = load_classifier(tmp_path / "both")
    assert size(tmp_path / "both") < 0.4 * size(tmp_path / "student")
    assert gap(both, student) < 0.05
    assert both.backbone.layers == 1
    assert both.about["compressed"].split("; ")[1].startswith("quantise")
    assert found.model.startswith("bert, 1 layers")


def test_operations_by_hand(model: Classifier) -> None:
    """Two a weight and token, four a pair of tokens and dimension, over both layers of 32 × 64."""
    tokens = np.array([len(one) for one in model.tokens.encode(TEXTS, 24)])
    weights = 4 * 32 * 32 + 2 * 32 * 64
    plain = replace(model, adapter=None, tensors={})
    assert flops(plain, TEXTS) == pytest.approx(float((2 * (2 * weights * tokens + 4 * 32 * tokens**2)).mean()) / 1.0)


def test_where_it_is_tried(model: Classifier, toy_task: Task) -> None:
    found = ground(model, toy_task)
    assert (found.sources, set(found.targets)) == (("shop",), {"film", "chat"})
    moved = replace(model, about={**model.about, "source": "film", "target": "chat"})
    assert (ground(moved, toy_task).sources, ground(moved, toy_task).targets) == (("film",), ("chat",))
    together = replace(model, about={**model.about, "source": "film+shop", "target": "chat"})
    assert ground(together, toy_task).sources == ("film", "shop")
    assert len(ground(model, toy_task, limit=5).tests["chat"]) == 5
    counts = Counter(len(ground(model, toy_task, texts=10).unlabelled) for _ in range(1))
    assert counts == {30: 1}
    for wrong in ({"sources": ["film"], "targets": ["film"]}, {"sources": ["flim"]}, {"targets": ["x"]}, {"texts": 0}):
        with pytest.raises(UserError):
            ground(model, toy_task, **wrong).tests  # type: ignore[arg-type]  # noqa: B018
    elsewhere = replace(model, about={**model.about, "source": "books"})
    with pytest.raises(UserError, match="books"):
        ground(elsewhere, toy_task)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("distill", {}),
        ("quantise", {"layers": 2}),
        ("quantise", {"bits": "four"}),
        ("prune", {"heads": 0.0}),
        ("prune", {"neurons": 1.5}),
        ("lowrank", {"energy": -1}),
        ("early-exit", {"flops": 0}),
        ("early-exit", {"speed": 2}),
        ("early-exit", {"speed": 0.5, "flops": 0.5}),
        ("distil", {"epochs": -1}),
        ("distil", {"learning_rate": 0}),
    ],
)
def test_settings_that_are_none(method: str, given: dict[str, object]) -> None:
    with pytest.raises(UserError):
        settings_of(method, given)


def test_a_place_that_holds_something_else(model: Classifier, where: Ground, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="something else"):
        compress(model, where, "quantise", Quantise(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_pairs_of_texts(backbone: Backbone, pair_task: Task, tmp_path: Path) -> None:
    model = fitted(backbone, pair_task)
    where = ground(model, pair_task, limit=20)
    for name in ("prune", "early-exit", "distil"):
        found = compress(model, where, name, QUICK[name], tmp_path / name)
        assert load_classifier(tmp_path / name).kind == "pair"
        assert found.domains[0].rows == 20


def test_rows_of_domains_without_train_rows(model: Classifier, toy_task: Task) -> None:
    empty = Rows("film", (), (), (), ())
    domain = replace(toy_task.domains["film"], train=empty)
    where = ground(model, replace(toy_task, domains={**toy_task.domains, "film": domain}))
    assert len(where.unlabelled) == len(toy_task.domains["shop"].train) + len(toy_task.domains["chat"].train)


def test_what_each_method_takes(model: Classifier, where: Ground, tmp_path: Path) -> None:
    """Pruned models, those of low rank and of eight bits: quantised, or refused before any work."""
    compress(model, where, "prune", Prune(heads=0.5, neurons=0.5, epochs=0), tmp_path / "prune")
    compress(model, where, "lowrank", QUICK["lowrank"], tmp_path / "lowrank")
    compress(model, where, "quantise", Quantise("dynamic"), tmp_path / "dynamic")
    compress(model, where, "quantise", Quantise("weights"), tmp_path / "weights")
    for before in ("prune", "lowrank"):
        odd = load_classifier(tmp_path / before)
        for bits in ("weights", "dynamic"):
            compress(odd, where, "quantise", Quantise(bits), tmp_path / f"{before}-{bits}")
            assert gap(load_classifier(tmp_path / f"{before}-{bits}"), odd) < 0.1
        for method in ("distil", "prune", "lowrank", "early-exit"):
            with pytest.raises(UserError, match="do that last"):
                compress(odd, where, method, QUICK[method], tmp_path / "no")
    with pytest.raises(UserError, match="eight bits"):
        compress(load_classifier(tmp_path / "dynamic"), where, "distil", QUICK["distil"], tmp_path / "no")
    rounded = load_classifier(tmp_path / "weights")
    for method in ("distil", "prune", "lowrank", "early-exit"):
        compress(rounded, where, method, QUICK[method], tmp_path / f"after-{method}")
    assert not (tmp_path / "no").exists()


def test_the_first_texts_are_of_all_domains(model: Classifier, toy_task: Task) -> None:
    """What looks at some of the texts looks at the targets too."""
    texts = ground(model, toy_task).unlabelled
    homes = {text: name for name, domain in toy_task.domains.items() for text in domain.train.texts}
    assert Counter(homes[text] for text in texts[:30]) == {"shop": 10, "film": 10, "chat": 10}
    assert len(texts) == sum(len(domain.train) for domain in toy_task.domains.values())


def test_operations_that_exits_leave(model: Classifier, where: Ground, tmp_path: Path) -> None:
    found = compress(model, where, "early-exit", EarlyExit(flops=0.9), tmp_path / "some")
    early = load_classifier(tmp_path / "some")
    assert found.settings["speed"] == early.speed > 0
    assert flops(early, where.unlabelled) <= 0.9 * flops(early.at_speed(0.0), where.unlabelled)
    with pytest.raises(UserError, match="never left"):
        compress(model, where, "early-exit", EarlyExit(flops=0.3), tmp_path / "none")
    other = early.at_speed(0.9)
    assert other.counted is None
    assert not other.about["scores"]
    assert early.at_speed(early.speed).counted == early.counted is not None


def test_neither_the_old_model_nor_a_bound_is_lost(model: Classifier, where: Ground, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "old", TEXTS)
    for loaded in (load_classifier(folder), load_classifier(_whole(model, tmp_path))):
        home = loaded.tokenizer if not loaded.whole else loaded.backbone.folder.parent
        with pytest.raises(UserError, match="take the place"):
            compress(loaded, where, "quantise", Quantise(), home)
    for bound in (float("nan"), -0.1, 2):
        with pytest.raises(UserError, match="bound"):
            compress(model, where, "quantise", Quantise(), tmp_path / "x", max_loss=bound)
    with pytest.raises(UserError, match="at least 2 groups"):
        ground(model, where.task, limit=1)


def test_no_other_model_is_replaced_and_a_bad_place_is_said_at_once(
    model: Classifier, where: Ground, tmp_path: Path
) -> None:
    other = model.save(tmp_path / "other", TEXTS)
    before = (other / "lowres.json").read_bytes()
    with pytest.raises(UserError, match="no compressed one"):
        compress(model, where, "quantise", Quantise(), other)
    assert (other / "lowres.json").read_bytes() == before
    compress(model, where, "quantise", Quantise("weights"), tmp_path / "q")
    compress(model, where, "quantise", Quantise("weights"), tmp_path / "q")  # its own kind
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        compress(model, where, "quantise", Quantise(), tmp_path / "file" / "x")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "q").rglob("*") if path.is_file()}
    assert len(modes) == 1
    again = compress(load_classifier(tmp_path / "q"), where, "quantise", Quantise("weights"), tmp_path / "q2")
    assert again.before.bytes == again.after.bytes


def test_a_model_that_computes_in_eight_bits_is_not_explained(model: Classifier, where: Ground, tmp_path: Path) -> None:
    compress(model, where, "quantise", Quantise("dynamic"), tmp_path / "q")
    with pytest.raises(UserError, match="no gradients"):
        explain(load_classifier(tmp_path / "q"), TEXTS[:1])


def test_the_card_of_a_whole_model_runs_from_anywhere(model: Classifier, tmp_path: Path) -> None:
    folder = _whole(model, tmp_path)
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.S)[0]
    place: dict[str, Any] = {"texts": TEXTS}
    exec(code.replace('adapter = "."', f"adapter = {str(folder)!r}"), place)
    assert np.allclose(place["probabilities"].numpy(), model.predict_proba(TEXTS), atol=1e-5)


def _whole(model: Classifier, place: Path) -> Path:
    return with_encoder(model, model.merged(), place / "e", what="merged").save(place / "whole", TEXTS)


def test_rows_that_a_patch_has_taught_are_not_compared_on(
    model: Classifier, toy_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy_task.domains["film"].test
    taught = asked.kept

    def without_the_first(model: Classifier, rows: Rows) -> tuple[Rows, int]:
        own, left = taught(model, rows)
        return (own.take(range(1, len(own))), left + 1) if rows.domain == "film" else (own, left)

    monkeypatch.setattr(compressing, "kept", without_the_first)
    tests = ground(model, toy_task).tests
    assert tests["film"].ids == first.ids[1:]
    assert tests["shop"].ids == toy_task.domains["shop"].test.ids
