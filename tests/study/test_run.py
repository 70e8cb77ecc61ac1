"""Run, run again, go on, survive: on a tiny encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from lowres.analysis.summary import Summary
from lowres.errors import UserError
from lowres.library import Study, load
from lowres.study.config import build_config
from lowres.study.store import Store
from lowres.training import closed_form, loop


def numbers(summary: Summary) -> dict:
    kept = summary.model_dump()
    return {name: kept[name] for name in ("scores", "shift", "transfer", "overall", "verdicts")}


def test_a_second_run_trains_nothing_and_says_the_same(small: Callable[..., Study]) -> None:
    first = small().run().summary
    again = small().run().summary
    assert first.fits.trained == first.fits.distinct == 18
    assert again.fits.trained == 0
    assert again.fits.reused == 18
    assert numbers(first) == numbers(again)


def test_one_more_seed_trains_only_the_new_fits(small: Callable[..., Study]) -> None:
    small().run()
    more = small(seeds=3).run().summary
    assert (more.fits.trained, more.fits.reused) == (9, 18)


def test_force_trains_again_and_gets_the_same(small: Callable[..., Study]) -> None:
    first = small().run().summary
    again = small(force=True).run().summary
    assert again.fits.trained == 18
    assert numbers(first) == numbers(again)


def test_new_test_rows_retrain_nothing(small: Callable[..., Study]) -> None:
    small(limit=8).run()
    more = small().run().summary
    assert more.fits.trained == 0
    assert all(score.seeds == 2 for score in more.scores)


def test_the_run_folder(small: Callable[..., Study], tmp_path: Path) -> None:
    result = small(limit=20).run()
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"study.yaml", "cells.jsonl", "summary.json", "evidence.json", "report.md", "report.html", "best"}
    summary = Summary.model_validate_json((result.folder / "summary.json").read_bytes())
    assert summary == result.summary
    assert json.loads((result.folder / "summary.json").read_text())["schema"] == 1
    cells = [json.loads(line) for line in (result.folder / "cells.jsonl").read_text().splitlines()]
    assert len(cells) == summary.fits.cells == 22
    assert all((tmp_path / "store" / "fits" / cell["key"] / "fit.json").is_file() for cell in cells)
    assert {"macro_f1", "accuracy", "matthews", "nll", "brier", "ece", "aurc", "recall"} == set(cells[0]["metrics"])
    study = yaml.safe_load((result.folder / "study.yaml").read_text())
    assert study["provenance"]["task"]["fingerprint"] == result.plan.task.fingerprint
    assert study["provenance"]["versions"]["torch"]
    again = Study(config=build_config({}, file=result.folder / "study.yaml"))
    assert again.plan.hash(again.environment) == result.plan.hash(result.outcome.environment)
    assert len(result.to_frame()) == 22


def test_scores_are_means_of_the_cells(small: Callable[..., Study]) -> None:
    result = small().run()
    frame = result.to_frame()
    for score in result.summary.scores:
        wanted = frame[(frame.method == score.method) & (frame.target == score.target)]
        wanted = wanted[wanted.source.isna() if score.source is None else wanted.source == score.source]
        wanted = wanted[wanted.shots.isna() if score.shots is None else wanted.shots == score.shots]
        assert score.mean == pytest.approx(wanted["metrics.macro_f1"].mean(), abs=1e-12)
        assert score.low <= score.mean <= score.high


def test_drops_and_gains_are_differences_of_scores(small: Callable[..., Study]) -> None:
    summary = small().run().summary

    def mean(method: str, source: str | None, target: str, shots: int | None) -> float:
        wanted = (method, source, target, shots)
        return next(one.mean for one in summary.scores if (one.method, one.source, one.target, one.shots) == wanted)

    for one in summary.shift:
        start = mean("source-only", one.source, one.target, 0)
        assert one.source_drop.mean == pytest.approx(mean("source-only", one.source, one.source, 0) - start)
        assert one.target_drop is not None
        assert one.target_drop.mean == pytest.approx(mean("target-full", None, one.target, None) - start)
    for one in summary.transfer:
        source = one.source if one.method == "source-then-target" else None
        own = mean(one.method, source, one.target, one.shots)
        assert one.gain.mean == pytest.approx(own - mean("source-only", one.source, one.target, 0))
        if one.net_transfer:
            assert one.net_transfer.mean == pytest.approx(own - mean("target-only", None, one.target, one.shots))
        assert (one.recovery is None) == (one.recovery_reason is not None)


def test_mean_source_drop_is_mean_target_drop_over_complete_pairs(small: Callable[..., Study]) -> None:
    """SS of a domain is its TT, so that over all ordered pairs both drops have the same mean."""
    summary = small(sources=[], targets=[], shots=[0], methods=["source-only"]).run().summary
    assert len(summary.shift) == 6
    source = np.mean([one.source_drop.mean for one in summary.shift])
    target = np.mean([one.target_drop.mean for one in summary.shift if one.target_drop])
    assert source == pytest.approx(target, abs=1e-12)


def test_a_failed_fit_is_counted_and_stops_no_other(
    small: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = loop.LoopEngine._train

    def sometimes(self: loop.LoopEngine, fit: object, start: object) -> object:
        if fit.draw == 1 and fit.parts[0].rows.domain == "shop":  # type: ignore[attr-defined]
            raise RuntimeError("no luck")
        return train(self, fit, start)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.LoopEngine, "_train", sometimes)
    result = small(engine="loop").run()
    assert result.summary.fits.failed == 3  # the source fit of draw 1 and the two that start from it
    assert result.summary.fits.trained == 15
    assert any("failed" in warning for warning in result.summary.warnings)
    assert all("no luck" in text for text in result.outcome.failed.values())
    monkeypatch.undo()
    assert small(engine="loop").run().summary.fits.trained == 3


def test_an_interrupted_run_goes_on(small: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small(engine="loop", store=str(small().config.store) + "-whole").run().summary
    train, count = loop.LoopEngine._train, iter(range(100))

    def interrupted(self: loop.LoopEngine, fit: object, start: object) -> object:
        if next(count) == 5:
            raise KeyboardInterrupt
        return train(self, fit, start)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.LoopEngine, "_train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small(engine="loop").run()
    monkeypatch.undo()
    summary = small(engine="loop").run().summary
    assert 0 < summary.fits.reused < 18
    assert summary.fits.trained + summary.fits.reused == 18
    assert numbers(summary) == numbers(whole)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "head.safetensors", "fit.json", "SHA256SUMS"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_fit_is_found_and_trained_again(small: Callable[..., Study], name: str, harm: str) -> None:
    first = small(seeds=1, targets=["film"]).run().summary
    folder = sorted(Path(small().config.store).glob("fits/*"))[0]
    spoil(folder / name, harm)
    again = small(seeds=1, targets=["film"]).run().summary
    assert again.fits.trained == 1
    assert any("damaged" in warning for warning in again.warnings)
    assert numbers(again) == numbers(first)


@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_damaged_predictions_are_made_again(small: Callable[..., Study], harm: str) -> None:
    first = small(seeds=1, targets=["film"]).run().summary
    for path in sorted(Path(small().config.store).glob("predictions/*/*"))[:2]:
        spoil(path, harm)
    again = small(seeds=1, targets=["film"]).run().summary
    assert again.fits.trained == 0
    assert numbers(again) == numbers(first)


def spoil(path: Path, harm: str) -> None:
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()


def test_predictions_are_kept_with_row_ids(small: Callable[..., Study]) -> None:
    from safetensors import safe_open

    result = small(seeds=1).run()
    path = next(Path(result.plan.config.store).glob("predictions/*/*.safetensors"))
    with safe_open(path, framework="np") as stream:
        ids, values = json.loads(stream.metadata()["ids"]), stream.get_tensor("probabilities")
    assert any(tuple(ids) == rows.ids for rows in result.plan.test_rows.values())
    assert values.shape == (len(ids), 2)
    assert values.sum(axis=1) == pytest.approx(np.ones(len(ids)), abs=1e-5)


def test_an_unwritable_store_is_said(small: Callable[..., Study], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="is a file"):
        small(store=str(tmp_path / "file")).run()


def test_stores_merge_by_copying(small: Callable[..., Study], tmp_path: Path) -> None:
    import shutil

    small(targets=["film"], store=str(tmp_path / "a")).run()
    small(targets=["chat"], store=str(tmp_path / "b")).run()
    for part in ("a", "b"):
        shutil.copytree(tmp_path / part, tmp_path / "both", dirs_exist_ok=True)
    assert small(store=str(tmp_path / "both")).run().summary.fits.trained == 0


def test_best_answers_as_the_cell_did(small: Callable[..., Study]) -> None:
    result = small().run()
    assert {path.name for path in (result.folder / "best").iterdir()} == {"film-0", "film-4", "chat-0", "chat-4"}
    model = load(result.folder / "best" / "chat-4")
    rows = result.plan.test_rows["chat"]
    fit, cell = result._recommended("chat", 4, None)
    assert cell.method == "source-then-target"
    kept = result.outcome.probabilities[fit.content, "chat"]
    assert model.predict_proba(list(rows.texts)) == pytest.approx(kept, abs=1e-5)
    assert result.best("chat", shots=0).about["method"] == "source-only"


def test_a_damaged_head_never_leaves_a_saved_adapter(
    small: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lowres.errors import LowresError
    from lowres.models import classifier

    model = small(seeds=1).run().best("film", shots=4)
    read = classifier.load_classifier

    def otherwise(*args: object, **options: object) -> object:
        found = read(*args, **options)  # type: ignore[arg-type]
        found.head["bias"][0] += 1
        return found

    monkeypatch.setattr(classifier, "load_classifier", otherwise)
    with pytest.raises(LowresError, match="not kept"):
        model.save(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_closed_form_failures_are_counted_too(small: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no solver")

    monkeypatch.setattr(closed_form, "solve", broken)
    summary = small(methods=["tfidf"], seeds=1).run().summary
    assert summary.fits.failed == 2
    assert not any(score.method == "tfidf" for score in summary.scores)


def test_two_processes_share_a_store(small: Callable[..., Study]) -> None:
    store = Store(Path(small().config.store))
    with store.training("key", wait=False) as first:
        assert first
        with Store(store.folder).training("key", wait=False) as second:
            assert not second
    with store.training("key", wait=False) as third:
        assert third


def test_a_target_without_training_rows_is_measured_at_0_shots(encoder: Path, tmp_path: Path) -> None:
    from tests.conftest import toy_rows, write_table

    rows = [
        row | {"split": "test" if row["domain"] == "film" or number % 4 == 0 else "train"}
        for number, row in enumerate(toy_rows(40))
        if row["domain"] != "chat"
    ]
    study = Study(
        str(write_table(tmp_path / "t.csv", rows)), backbone=str(encoder), shots=[0, 4], seeds=2, source_rows=30,
        store=str(tmp_path / "store"), out=str(tmp_path / "out"), recipe={"min_steps": 8, "epochs": 1, "max_length": 24},
    )  # fmt: skip
    summary = study.run().summary
    assert [(one.source, one.target) for one in summary.shift] == [("shop", "film")]
    assert summary.shift[0].target_drop is None
    assert summary.shift[0].scenario is None
    assert any("no rows to train on" in line for line in summary.warnings)
    assert {score.shots for score in summary.scores} == {0}
    assert (tmp_path / "out" / "best" / "film-0").is_dir()


def test_names_that_are_no_file_names_do_not_collide(encoder: Path, tmp_path: Path) -> None:
    from tests.conftest import toy_rows, write_table

    names = {"shop": "a/b", "film": "a-b", "chat": "电影"}
    rows = [row | {"domain": names[row["domain"]]} for row in toy_rows(30)]
    study = Study(
        str(write_table(tmp_path / "t.csv", rows)), sources=["a/b"], backbone=str(encoder), shots=[0], seeds=1, source_rows=30,
        store=str(tmp_path / "store"), out=str(tmp_path / "out"), recipe={"min_steps": 8, "epochs": 1, "max_length": 24},
    )  # fmt: skip
    result = study.run()
    assert len(list((tmp_path / "out" / "best").iterdir())) == len(result.best_folders()) == 2


def test_groups_are_part_of_the_study_but_not_of_its_fits(tmp_path: Path, encoder: Path) -> None:
    from tests.conftest import toy_rows, write_table

    rows = [
        row
        | {
            "split": ("test", "train", "dev", "train", "train", "train")[number % 6],
            "one": str(number // 6),
            "two": str(number // 12),
        }
        for number, row in enumerate(toy_rows(30))
    ]
    table = str(write_table(tmp_path / "t.csv", rows))
    one, two = (
        Study(table, backbone=str(encoder), group_column=name, shots=[4], recipe={"max_length": 24})
        for name in ("one", "two")
    )
    assert one.plan.hash(one.environment) != two.plan.hash(two.environment)
    assert set(one.plan.distinct) == set(two.plan.distinct)


def test_the_card_states_this_models_own_score(small: Callable[..., Study]) -> None:
    result = small(seeds=2).run()
    record = json.loads((result.folder / "best" / "film-4" / "lowres.json").read_text())
    cells = [json.loads(line) for line in (result.folder / "cells.jsonl").read_text().splitlines()]
    own = next(
        cell
        for cell in cells
        if (cell["method"], cell["target"], cell["shots"], cell["draw"]) == ("source-then-target", "film", 4, 0)
    )
    assert record["about"]["scores"][0]["value"] == own["metrics"]["macro_f1"]


def test_the_written_config_names_the_same_study(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    """With everything left open: all domains, automatic precision."""
    given = {"shots": [0], "seeds": 1, "source_rows": 20, "recipe": {"min_steps": 4, "epochs": 1, "max_length": 24}}
    study = Study(str(toy_table), backbone=str(encoder), store=str(tmp_path / "s"), out=str(tmp_path / "o"), **given)
    study.run()
    again = Study(config=build_config({}, file=tmp_path / "o" / "study.yaml"))
    assert again.plan.hash(again.environment) == study.plan.hash(study.environment)


def test_three_classes_one_seed_other_metrics(encoder: Path, tmp_path: Path) -> None:
    from tests.conftest import toy_rows, write_table

    rows = [row | {"label": row["label"] if number % 3 else "mixed"} for number, row in enumerate(toy_rows(40))]
    table = write_table(tmp_path / "t.csv", rows)
    spec = tmp_path / "three.yaml"
    for metric in ("accuracy", "matthews", "macro_f1"):
        spec.write_text(f"name: three\nmetric: {metric}\nsource:\n  kind: files\n  parts:\n    - path: {table.name}\n")
        study = Study(
            str(spec), sources=["shop"], targets=["film"], backbone=str(encoder), shots=[4], seeds=1, source_rows=30,
            methods=["joint", "tree", "majority", "probe-joint"], store=str(tmp_path / "store"), out=str(tmp_path / metric),
            recipe={"min_steps": 8, "epochs": 1, "max_length": 24},
        )  # fmt: skip
        summary = study.run().summary
        assert summary.study.metric == metric
        assert summary.fits.failed == 0
        assert any("one draw" in line for line in summary.warnings)
    assert summary.fits.trained == 0  # the metric is no part of a fit


def test_a_recommended_model_says_when_to_abstain(small: Callable[..., Study]) -> None:
    study = small()
    result = study.run()
    folder = result.folder / "best" / "film-4"
    model = load(folder)
    rows = study.plan.test_rows["film"]
    assert model.counted is not None
    assert str(model.counted) == f"{len(rows)} labelled test rows of film (toy)"
    probabilities = model.predict_proba(list(rows.texts))
    right = np.array(model.predict(list(rows.texts))) == np.array(rows.labels)
    for threshold, answered, good in model.counted.steps.steps:
        sure = probabilities.max(axis=1) >= threshold - 1e-4
        assert abs(int(sure.sum()) - answered) <= 1
        assert abs(int(right[sure].sum()) - good) <= 1
    card = " ".join((folder / "README.md").read_text().split())
    assert f"takes its threshold from {len(rows)} labelled test rows of film" in card
    before = (folder / "lowres.json").stat().st_mtime_ns
    small().run()
    assert (folder / "lowres.json").stat().st_mtime_ns == before
    alone = study.fit("film", shots=4)
    assert alone.counted is not None
    assert alone.counted.steps.rows == len(rows)
