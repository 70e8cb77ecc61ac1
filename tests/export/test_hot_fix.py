"""Patches: what they learn, what they are held to, and what is never written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lowres
from lowres.analysis import asked
from lowres.data import leaks, splits
from lowres.data.leaks import normalise
from lowres.data.task import Task
from lowres.errors import LowresError, UserError
from lowres.export import hot_fix
from lowres.export.hot_fix import PatchError, make_fixes, patch, patch_rows
from lowres.export.mend import Mending, mended
from lowres.files import write_sums
from lowres.kinds import Given
from lowres.models.backbone import Backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.models.patch import fingerprint, patched, read_patch
from lowres.training.fit import Fit, Fitted, Part
from lowres.training.loop import LoopEngine
from lowres.training.recipe import Adapter, DoRA, LoRA, Recipe

QUICK = Mending(learning_rate=5e-3, replay_rows=60)
FIXES: list[tuple[Given, str]] = [("my phone was lovely and the box", "negative"), ("awful plot", "positive")]


def fitted(
    backbone: Backbone, task: Task, adapter: Adapter | None = None, domain: str = "shop", **reading: Any
) -> Classifier:
    engine = LoopEngine(backbone, backbone.tokens(), "cpu", "fp32")
    recipe = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=60, max_length=24, **reading)
    rows = splits.shots(task.name, task.domains[domain].train, 20, 0)
    fit = Fit((Part(rows),), task.labels, task.name, 0, recipe=recipe, adapter=adapter or LoRA(rank=4, alpha=8))
    ((_, made),) = engine.fit_many([fit], {})
    assert isinstance(made, Fitted)
    return Classifier(
        backbone, engine.adapter_config(fit), made.adapter, made.head, task.labels, 24, "mean", True, backbone.folder,
        {"task": task.name, "target": domain}, kind=task.kind, truncation=recipe.truncation,
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapter(backbone: Backbone, toy_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(backbone, toy_task).save(tmp_path_factory.mktemp("fitted") / "shop")


@pytest.fixture(scope="module")
def made(adapter: Path, toy_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("patched") / "patch"
    patch(adapter, FIXES, task=toy_task, out=place, max_loss=0.3, settings=QUICK)
    return place


TEXTS: list[Given] = [text for text, _ in FIXES]
OTHERS: list[Given] = ["good day lol", "the movie was bad", "a fine price"]


def test_every_fix_is_right_and_the_adapter_is_as_it_was(adapter: Path, made: Path) -> None:
    before = fingerprint(load_classifier(adapter))
    off, on = lowres.load(adapter), lowres.load(adapter, patch=made)
    wrong = sum(said != label for said, (_, label) in zip(off.predict(TEXTS), FIXES, strict=True))
    record = read_patch(made).record
    assert wrong == record.mended > 0
    assert on.predict(TEXTS) == [label for _, label in FIXES]
    assert fingerprint(load_classifier(adapter)) == before == record.adapter
    assert on.counted is None
    assert {path.name for path in made.iterdir()} == {"README.md", "SHA256SUMS", "patch.json", "patch.safetensors"}


def test_it_is_small_and_beside_the_adapter(adapter: Path, made: Path) -> None:
    tensors, model = read_patch(made).tensors, lowres.load(adapter)
    assert {name for name in tensors if "lora" in name} == set(model.tensors)
    assert {value.shape[0] for name, value in tensors.items() if ".lora_A." in name} == {4}
    on = lowres.load(adapter, patch=made)
    assert on.adapter is not None
    assert on.adapter["r"] == 8


def test_saving_bakes_it_in(adapter: Path, made: Path, tmp_path: Path) -> None:
    on = lowres.load(adapter, patch=made)
    baked = lowres.load(on.save(tmp_path / "baked"))
    both = [*TEXTS, *OTHERS]
    assert baked.predict_proba(both) == pytest.approx(on.predict_proba(both), abs=1e-6)
    assert np.abs(on.predict_proba(both) - lowres.load(adapter).predict_proba(both)).max() > 0.1


def test_the_patch_is_the_same_again(adapter: Path, toy_task: Task, made: Path, tmp_path: Path) -> None:
    again = patch(adapter, FIXES, task=toy_task, out=tmp_path / "again", max_loss=0.3, settings=QUICK)
    first = read_patch(made)
    assert again.record == first.record
    assert all(np.array_equal(value, first.tensors[name]) for name, value in again.tensors.items())


def test_recorded_scores_are_those_of_the_saved_patch(adapter: Path, toy_task: Task, made: Path) -> None:
    off, on = lowres.load(adapter), lowres.load(adapter, patch=made)
    record = read_patch(made).record
    assert [one.domain for one in record.domains] == list(toy_task.domains)
    for one in record.domains:
        rows = toy_task.domains[one.domain].test
        for model, value in ((off, one.before), (on, one.after)):
            said = model.predict_proba(list(rows.texts))
            assert value == pytest.approx(toy_task.measure.score(rows.targets(toy_task.labels), said))
        assert one.low <= one.change <= one.high
        assert (one.rows, one.left_out) == (len(rows), 0)


def test_fixes_that_are_test_rows_leave_them_and_replay_is_train_rows_alone(adapter: Path, toy_task: Task) -> None:
    """Followed by row id: what is trained on, what is replayed, and what is scored have no row in common."""
    model, task = load_classifier(adapter), toy_task
    chosen = {"shop": task.domains["shop"].test.take([0, 3]), "film": task.domains["film"].test.take([1])}
    texts = [text.upper() + " !!" for rows in chosen.values() for text in rows.texts]
    texts.append(task.domains["film"].train.texts[0])
    fixes = make_fixes(model, texts, ["positive"] * 4)
    held = patch_rows(model, fixes, task, (), 10_000, "name")
    gone = {row for rows in chosen.values() for row in rows.ids}
    for name, domain in task.domains.items():
        assert set(held.tests[name].ids) == set(domain.test.ids) - gone
        assert held.left_out[name] == len(chosen.get(name, ()))
    assert sum(held.left_out.values()) == 3
    replayed, kept = set(held.replay.ids), {row for rows in held.tests.values() for row in rows.ids}
    train = {row for domain in task.domains.values() for row in domain.train.ids}
    assert replayed == train - {task.domains["film"].train.ids[0]}
    assert not replayed & kept
    assert held.replay.unlabelled
    scored = {normalise(text) for rows in held.tests.values() for text in rows.texts}
    assert not scored & {normalise(text) for text in fixes.texts}


def test_what_is_scored_is_what_was_kept(
    adapter: Path, toy_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = toy_task.domains["film"].test.take([2])
    seen: dict[str, set[str]] = {}
    plain = hot_fix.mended

    def followed(model: Any, fixes: Any, replay: Any, *rest: Any) -> Any:
        seen["trained"] = {*fixes.texts, *replay}
        return plain(model, fixes, replay, *rest)

    monkeypatch.setattr(hot_fix, "mended", followed)
    wrong = "negative" if load_classifier(adapter).predict(list(row.texts)) == ["positive"] else "positive"
    made = patch(adapter, [(row.texts[0], wrong)], task=toy_task, out=tmp_path / "p", max_loss=0.5, settings=QUICK)
    (film,) = [one for one in made.record.domains if one.domain == "film"]
    assert (film.rows, film.left_out) == (len(toy_task.domains["film"].test) - 1, 1)
    tests = {text for domain in toy_task.domains.values() for text in domain.test.texts}
    assert seen["trained"] & tests == set(row.texts)


def test_rows_that_were_fixes_are_never_scored(adapter: Path, toy_task: Task, tmp_path: Path) -> None:
    """Neither with the patch on, nor baked in, nor where a further patch is measured."""
    test = toy_task.domains["film"].test
    wrong = "negative" if load_classifier(adapter).predict(list(test.texts[2:3])) == ["positive"] else "positive"
    fixes: list[tuple[Given, str]] = [(test.texts[2].upper(), wrong)]
    made = patch(adapter, fixes, task=toy_task, out=tmp_path / "p", max_loss=0.5, settings=QUICK)
    on = lowres.load(adapter, patch=tmp_path / "p")
    baked = lowres.load(on.save(tmp_path / "baked"))
    assert asked.kept(lowres.load(adapter), test) == (test, 0)
    (film,) = [one for one in made.record.domains if one.domain == "film"]
    for model in (on, baked):
        rows, left = asked.kept(model, test)
        assert (set(rows.ids), left) == (set(test.ids) - {test.ids[2]}, 1)
        assert asked.score(model, test)["macro_f1"] == pytest.approx(film.after)
    held = patch_rows(baked, make_fixes(baked, TEXTS, ["positive"] * 2), toy_task, ["film"], 10, "name")
    assert (test.ids[2] in held.tests["film"].ids, held.left_out["film"]) == (False, 1)
    (mark,) = made.record.seen
    assert mark in (tmp_path / "baked" / "lowres.json").read_text()
    for folder in ("baked", "p"):
        assert mark not in (tmp_path / folder / "README.md").read_text()
    merged = lowres.load_many([adapter, tmp_path / "baked"]).merged()
    assert asked.kept(merged, test)[1] == 1


def test_the_group_of_a_fix_leaves_with_it(adapter: Path, toy_task: Task) -> None:
    domain = toy_task.domains["film"]
    parts = {
        name: replace(rows, groups=tuple(f"{name} {place // 3}" for place in range(len(rows))))
        for name, rows in (("test", domain.test), ("train", domain.train))
    }
    task = replace(toy_task, domains={"film": replace(domain, **parts)})
    model = load_classifier(adapter)
    fixes = make_fixes(model, [parts["test"].texts[4], parts["train"].texts[1]], ["positive"] * 2)
    held = patch_rows(model, fixes, task, (), 10_000, "name")
    assert set(held.tests["film"].ids) == set(domain.test.ids) - set(domain.test.ids[3:6])
    assert held.left_out["film"] == 3
    assert set(held.replay.ids) == set(domain.train.ids) - set(domain.train.ids[:3])
    taught = replace(model, about={"seen": [leaks.mark(str(domain.test.texts[4]))]})
    rows, left = asked.kept(taught, parts["test"])
    assert (list(rows.ids), left) == ([*domain.test.ids[:3], *domain.test.ids[6:]], 3)


def test_a_model_that_says_nonsense_of_what_it_was_taught(adapter: Path, toy_task: Task) -> None:
    model = replace(load_classifier(adapter), about={"seen": 3})
    with pytest.raises(UserError, match="expected a list of marks"):
        asked.score(model, toy_task.domains["film"].test)


def test_a_fix_that_stays_wrong_is_refused(adapter: Path, toy_task: Task, tmp_path: Path) -> None:
    with pytest.raises(PatchError, match=r"fixes [12] is still \w+ \(0\.\d\d\), not \w+ \(0\.\d\d\)") as refused:
        patch(adapter, FIXES, task=toy_task, out=tmp_path / "p", max_loss=1.0, settings=Mending(steps=1))
    assert refused.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_domain_that_falls_is_refused(
    adapter: Path, toy_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backwards: list[tuple[Given, str]] = [
        (text, "negative" if label == "positive" else "positive")
        for text, label in zip(*(getattr(toy_task.domains["shop"].train, part)[:12] for part in ("texts", "labels")), strict=True)
    ]  # fmt: skip
    settings = Mending(learning_rate=5e-3, keep=0.0)
    with pytest.raises(PatchError, match=r"falls from 0\.\d+ to 0\.\d+ macro_f1, by 0\.\d+; bound 0.01") as refused:
        patch(adapter, backwards, task=toy_task, out=tmp_path / "p", settings=settings)
    assert not list(tmp_path.iterdir())
    fallen = [one for one in refused.value.record.domains if one.change < -0.01]
    assert len([line for line in refused.value.faults if " falls from " in line]) == len(fallen) > 0


def test_replay_holds_the_model_to_its_answers(adapter: Path, toy_task: Task) -> None:
    model = load_classifier(adapter)
    fixes = make_fixes(model, TEXTS, [label for _, label in FIXES])
    replay = list(toy_task.domains["film"].train.texts[:40])
    before, moved = model.predict_proba(replay), []
    for keep in (0.0, 10.0):
        trained = mended(model, fixes, replay, Mending(learning_rate=5e-3, keep=keep, margin=0.9, steps=80), ("x",))
        own = read_record(model, trained.tensors)
        moved.append(float(np.abs(patched(model, own).predict_proba(replay) - before).mean()))
    assert moved[1] < 0.7 * moved[0]


def read_record(model: Classifier, tensors: Any) -> Any:
    from lowres.models.patch import Patch, PatchRecord

    record = PatchRecord(1, fingerprint(model), model.labels, 4, 2, (), 1, 0, 0, "toy", "macro_f1", 0.1, ())
    return Patch(record, tensors)


@pytest.mark.parametrize(
    ("fixes", "said"),
    [
        ([], "no fixes"),
        ([("good", "negativ")], "did you mean 'negative'"),
        ([("  ", "negative")], "fix in line 1 has no text"),
        ([("Good!", "negative"), ("fine", "positive"), ("good", "positive")], "lines 1 and 3 contradict each other"),
        ([("good", "positive")] * 501, "at most 500"),
    ],
)
def test_fixes_that_cannot_be_used(
    adapter: Path, toy_task: Task, tmp_path: Path, fixes: list[tuple[Given, str]], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        patch(adapter, fixes, task=toy_task, out=tmp_path / "p")
    assert not list(tmp_path.iterdir())


def test_fixes_that_are_right_already_are_none(adapter: Path, toy_task: Task, tmp_path: Path) -> None:
    right = list(zip(OTHERS, lowres.load(adapter).predict(OTHERS), strict=True))
    with pytest.raises(UserError, match="nothing to mend"):
        patch(adapter, right, task=toy_task, out=tmp_path / "p")


def test_repeated_fixes_count_once(adapter: Path) -> None:
    rows = make_fixes(load_classifier(adapter), ["Good!", "good", "bad"], ["negative", "negative", "positive"])
    assert list(rows.texts) == ["Good!", "bad"]
    assert rows.ids == ("fixes 1", "fixes 3")


def test_wrong_requests(adapter: Path, toy_task: Task, uneven_task: Task, pair_task: Task, tmp_path: Path) -> None:
    for options, said in (
        ({}, "task of this adapter is not known"),
        ({"task": toy_task, "on": ["shpo"]}, "did you mean 'shop'"),
        ({"task": toy_task, "max_loss": 2.0}, "0 to 1"),
        ({"task": pair_task}, "another kind of task"),
    ):
        with pytest.raises(UserError, match=said):
            patch(adapter, FIXES, out=tmp_path / "p", **options)  # type: ignore[arg-type]
    for settings in ({"rank": 5}, {"steps": 0}, {"margin": 1.0}):
        with pytest.raises(UserError):
            Mending(**settings)  # type: ignore[arg-type]
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="something else"):
        patch(adapter, FIXES, task=toy_task, out=tmp_path / "p")
    assert (tmp_path / "p" / "thesis.txt").read_text() == "precious"


def test_a_patch_of_another_adapter_is_not_put_on(
    backbone: Backbone, adapter: Path, made: Path, tmp_path: Path
) -> None:
    model = load_classifier(adapter)
    other = Classifier(**{**fields_of(model), "head": {**model.head, "bias": model.head["bias"] + 1}})
    folder = other.save(tmp_path / "other")
    with pytest.raises(UserError, match=r"made for another adapter than .*other"):
        lowres.load(folder, patch=made)
    moved = model.save(tmp_path / "moved")  # the same model in another place is the same
    assert lowres.load(moved, patch=made).predict(TEXTS) == [label for _, label in FIXES]


def fields_of(model: Classifier) -> dict[str, Any]:
    return {name: value for name, value in vars(model).items() if name in Classifier.__dataclass_fields__}


def test_damaged_patches(adapter: Path, made: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(UserError, match="no patch folder"):
        lowres.load(adapter, patch=tmp_path)
    cut = shutil.copytree(made, tmp_path / "cut")
    (cut / "patch.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="damaged"):
        lowres.load(adapter, patch=cut)
    bent = shutil.copytree(made, tmp_path / "bent")
    record = json.loads((bent / "patch.json").read_text())
    (bent / "patch.json").write_text(json.dumps(record | {"rank": 3}))
    write_sums_again(bent)
    with pytest.raises(UserError, match="ranks"):
        lowres.load(adapter, patch=bent)
    (bent / "patch.json").write_text(json.dumps(record | {"rank": 12}))
    with pytest.raises(UserError, match="expected 1 to 4"):
        lowres.load(adapter, patch=bent)


@pytest.mark.parametrize("part", ["head.weight", "head.bias", ".lora_A.", ".lora_B.", "gone"])
def test_a_patch_of_other_shapes_is_refused_not_broadcast(adapter: Path, made: Path, part: str) -> None:
    whole, model = read_patch(made), load_classifier(adapter)
    tensors = dict(whole.tensors)
    name = next(name for name in tensors if part in name or part == "gone")
    value = tensors.pop(name)
    if part != "gone":
        tensors[name] = value[:, :1] if ".lora_A." in name else value[:1]
    with pytest.raises(UserError, match="does not fit the adapter that it names"):
        patched(model, replace(whole, tensors=tensors))
    with pytest.raises(UserError, match="does not fit"):
        patched(model, replace(whole, tensors={**whole.tensors, "head.more": value}))


def test_a_damaged_patch_is_called_a_patch(adapter: Path, made: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(made, tmp_path / "bent")
    for content in ("{", "[]"):
        (folder / "patch.json").write_text(content)
        with pytest.raises(UserError, match=r"^patch folder .*bent is damaged: patch\.json"):
            lowres.load(adapter, patch=folder)


def write_sums_again(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    write_sums(folder)


def test_other_adapters_take_no_patch(backbone: Backbone, toy_task: Task, tmp_path: Path) -> None:
    folder = fitted(backbone, toy_task, DoRA(rank=2)).save(tmp_path / "dora")
    with pytest.raises(UserError, match="no plain LoRA"):
        patch(folder, FIXES, task=toy_task)


@pytest.mark.parametrize("kind", ["multilabel", "tokens", "regression"])
def test_other_kinds_are_refused_by_name(adapter: Path, toy_task: Task, tmp_path: Path, kind: str) -> None:
    import shutil

    folder = shutil.copytree(adapter, tmp_path / "kind")
    record = json.loads((folder / "lowres.json").read_text())
    record |= {"kind": kind}
    if kind == "regression":
        record |= {"labels": ["0", "1"]}
        from safetensors.numpy import load_file, save_file

        head = load_file(folder / "head.safetensors")
        save_file({name: value[:1] for name, value in head.items()}, folder / "head.safetensors")
    (folder / "lowres.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"of kind {kind}"):
        patch(folder, FIXES, task=toy_task)


def test_pairs(backbone: Backbone, pair_task: Task, tmp_path: Path) -> None:
    folder = fitted(backbone, pair_task).save(tmp_path / "pairs")
    text: Given = ("the box was good", "a lovely movie")
    wrong = {"agree": "differ", "differ": "agree"}[load_classifier(folder).predict([text])[0]]
    table = tmp_path / "fixes.csv"
    table.write_text(f'one,two,label\n"{text[0]}","{text[1]}",{wrong}\n')
    with pytest.raises(UserError, match="reads pairs"):
        patch(folder, table, task=pair_task)
    patch(
        folder, table, task=pair_task, max_loss=1.0, settings=QUICK, text_column="one", pair_column="two",
    )  # fmt: skip
    assert lowres.load(folder, patch=tmp_path / "pairs-patch").predict([text]) == [wrong]


def test_texts_in_windows(backbone: Backbone, toy_task: Task, tmp_path: Path) -> None:
    folder = fitted(backbone, toy_task, truncation="windows").save(tmp_path / "long")
    text = " ".join(["my good box was lovely and fine"] * 8)
    label = {"positive": "negative", "negative": "positive"}[load_classifier(folder).predict([text])[0]]
    patch(folder, [(text, label)], task=toy_task, max_loss=1.0, settings=QUICK)
    assert lowres.load(folder, patch=tmp_path / "long-patch").predict([text]) == [label]


def test_the_error_tree() -> None:
    assert issubclass(PatchError, LowresError)
    assert not issubclass(PatchError, UserError)
