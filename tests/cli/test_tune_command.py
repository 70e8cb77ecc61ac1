"""``lowres tune`` on a tiny encoder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'lowres[tune]'")

from lowres.tuning.result import Tuned
from tests.cli.conftest import QUICK, call


@pytest.fixture
def words(toy_table: Path, encoder: Path, tmp_path: Path) -> list[str]:
    return [
        str(toy_table), "--source", "shop", "--target", "film", "--seeds", "2", "--source-rows", "30", "--backbone", str(encoder),
        "--store", str(tmp_path / "store"), "--shots", "4", "--folds", "2", "--trials", "3",
        "--out", str(tmp_path / "best.yaml"), *QUICK,
    ]  # fmt: skip


def test_a_table_a_sentence_and_a_config_that_runs(words: list[str], tmp_path: Path) -> None:
    done = call("tune", *words, "--method", "probe,nearest")
    assert done.exit_code == 0, done.output
    for said in ("macro_f1", "method.logistic.C=1", "nearest", "candidates on 2-fold cross-validation", "best.json"):
        assert said in done.stdout
    assert "3/3 trials" in done.stderr
    assert (tmp_path / "tune.db").is_file()
    run = call("run", "--config", tmp_path / "best.yaml", "--out", tmp_path / "run", "--json")
    assert run.exit_code == 0, run.output
    found = json.loads((tmp_path / "best.json").read_text())
    chosen = next(one for one in found["trials"] if one["number"] == found["chosen"])
    assert chosen["method"] in json.loads(run.stdout)["study"]["methods"]


def test_json_is_all_there_is_on_stdout_and_a_config_is_a_start(words: list[str], tmp_path: Path) -> None:
    first = call("tune", *words, "--method", "probe", "--json")
    assert first.exit_code == 0, first.output
    found = Tuned.model_validate_json(first.stdout)
    assert found.shots == 4
    again = call("tune", "--config", tmp_path / "best.yaml", "--folds", 2, "--trials", 1, "--json",
                 "--study-db", tmp_path / "new.db", "--out", tmp_path / "again.yaml")  # fmt: skip
    assert again.exit_code == 0, again.output
    (only,) = Tuned.model_validate_json(again.stdout).trials
    assert only.score == next(trial.score for trial in found.trials if trial.number == found.chosen)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--method NAME"),
        (["--method", "prob"], "probe"),
        (["--method", "probe", "--by", "few_shot"], "few-shot"),
        (["--method", "probe", "--trials", "0"], "trials"),
        (["--method", "probe", "--over", "logistic"], "method.logistic.C"),
        (["--method", "probe", "--shots", "0"], "needs target labels"),
        (["--method", "target-full"], "ceiling"),
        (["--method", "probe", "--out", "best.txt"], "best.txt"),
        (["--method", "probe", "--set", "method.logistic.C=0"], "method.logistic.C"),
    ],
)
def test_mistakes_end_with_2(words: list[str], more: list[str], said: str) -> None:
    done = call("tune", *words, *more)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 5


def test_without_optuna(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = call("tune", *words, "--method", "probe")
    assert done.exit_code == 2
    assert "pip install 'lowres[tune]'" in done.stderr


def test_prune_keeps_what_a_search_rests_on(words: list[str], tmp_path: Path) -> None:
    store = tmp_path / "store"
    given = [*words[: words.index("--out")], "--out", str(tmp_path / "kept" / "best.yaml"), *QUICK, "--trials", "2"]
    assert call("tune", *given, "--method", "source-then-target").exit_code == 0
    searched = {path.name for path in (store / "fits").iterdir()}
    assert set(json.loads((tmp_path / "kept" / "best.json").read_text())["fits"]) == searched
    run = [
        *words[: words.index("--shots")],
        "--shots",
        "0",
        "--methods",
        "source-only",
        "--out",
        str(tmp_path / "run"),
        *QUICK,
    ]
    assert call("run", *run).exit_code == 0
    both = {path.name for path in (store / "fits").iterdir()}
    for keep in (tmp_path / "kept", tmp_path / "kept" / "best.yaml"):
        said = call("store", "prune", "--keep", keep, "--store", store)
        assert f"{len(both - searched)} of {len(both)} fits would be removed" in said.stdout
    done = call("store", "prune", "--keep", tmp_path / "kept", "--keep", tmp_path / "run", "--store", store, "--yes")
    assert "0 fits removed" in done.stdout
    done = call("store", "prune", "--keep", tmp_path / "kept", "--store", store, "--yes")
    assert done.exit_code == 0
    assert {path.name for path in (store / "fits").iterdir()} == searched
    assert "trial" in call("tune", *given, "--method", "source-then-target").stdout
    assert json.loads((tmp_path / "kept" / "best.json").read_text())["fits_trained"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda kept: (kept / "best.json").unlink(), "has no trials beside it"),
        (lambda kept: (kept / "best.json").write_text("{}"), "is no search"),
        (lambda kept: (kept / "best.yaml").write_text("task: x\n"), "no run folder and no search"),
        (lambda kept: ((kept / "run").mkdir(), (kept / "run" / "cells.jsonl").touch()), "holds runs beside searches"),
    ],
)
def test_prune_refuses_a_search_that_it_cannot_read(
    change: Callable[[Path], object], said: str, words: list[str], tmp_path: Path
) -> None:
    given = [
        *words[: words.index("--out")],
        "--out",
        str(tmp_path / "kept" / "best.yaml"),
        *QUICK,
        "--trials",
        "1",
        "--method",
        "probe",
    ]
    assert call("tune", *given).exit_code == 0
    before = len(list((tmp_path / "store" / "fits").iterdir()))
    change(tmp_path / "kept")
    done = call("store", "prune", "--keep", tmp_path / "kept", "--store", tmp_path / "store", "--yes")
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(list((tmp_path / "store" / "fits").iterdir())) == before > 0
