"""The command line, in process with a tiny encoder; signals and streams in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from lowres.analysis.summary import Summary
from lowres.cli import main
from lowres.cli.main import app
from lowres.data.task import load_task
from tests.cli.conftest import QUICK, call
from tests.conftest import HEARING, toy_rows, write_table


@pytest.fixture
def study(toy_table: Path, encoder: Path, tmp_path: Path) -> list[str]:
    return [
        str(toy_table), "--source", "shop", "--target", "film", "--shots", "0,4", "--seeds", "2", "--source-rows", "30",
        "--backbone", str(encoder), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), *QUICK,
    ]  # fmt: skip


def test_a_plan_says_what_it_could_show_once_two_draws_are_there(study: list[str]) -> None:
    before = call("plan", *study)
    assert "what it could show: not known before the store has two draws of it" in before.stdout
    call("run", *study)
    more = [*study, "--seeds", "6"]
    done = call("plan", *more)
    assert done.exit_code == 0, done.output
    line = next(line for line in done.stdout.splitlines() if line.startswith("what it could show"))
    assert "at 4 labels a class (source-then-target against target-only, 80 % power)" in line
    assert "(from 2 draws of 1 pairs)" in line
    found = json.loads(call("plan", *more, "--json").stdout)["power"]
    assert len(found) == 1
    assert found[0]["over_all"] is None
    assert f"{100 * found[0]['on_a_pair']:.1f} points on a pair;" in line
    summary = Summary.model_validate_json(call("run", *study, "--json").stdout)
    seen = next(one for one in summary.verdicts if one.method == "source-then-target" and one.source)
    again = json.loads(call("plan", *study, "--json").stdout)["power"]
    assert again[0]["on_a_pair"] == pytest.approx(seen.minimum_detectable)


def test_run_ends_with_tables_and_the_report(study: list[str], tmp_path: Path) -> None:
    result = call("run", *study)
    assert result.exit_code == 0, result.output
    for words in ("How far it falls", "shop → film", "source drop", "no recovery: ", "Verdict", "source-then-target"):
        assert words in result.stdout
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith(str(tmp_path / "out"))
    assert "best/film-4" in last
    assert "plan:" in result.stderr
    assert "9 distinct fits" not in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines()[:-1])


def test_json_is_all_of_stdout(study: list[str], tmp_path: Path) -> None:
    result = call("run", *study, "--json")
    summary = Summary.model_validate_json(result.stdout)
    assert summary.study.shots == [0, 4]
    assert json.loads(result.stdout) == json.loads((tmp_path / "out" / "summary.json").read_text())
    again = Summary.model_validate_json(call("run", *study, "--json").stdout)
    assert again.fits.trained == 0
    assert again.scores == summary.scores


def test_summary_has_exactly_the_promised_names(study: list[str]) -> None:
    found = json.loads(call("run", *study, "--json").stdout)
    assert list(found) == [
        "schema",
        "lowres",
        "study",
        "fits",
        "seconds",
        "scores",
        "shift",
        "transfer",
        "overall",
        "verdicts",
        "warnings",
    ]
    assert set(found["study"]) == {
        "task", "task_version", "backbone", "metric", "domains", "sources", "targets", "shots", "seeds", "methods", "limit", "row_cap",
        "protocol",
    }  # fmt: skip
    assert set(found["fits"]) == {"cells", "distinct", "trained", "reused", "failed"}
    assert set(found["seconds"]) == {"total", "train", "evaluate", "encode"}
    assert set(found["scores"][0]) == {"method", "source", "target", "shots", "metric", "mean", "low", "high", "seeds"}
    assert set(found["shift"][0]) == {"source", "target", "metric", "source_drop", "target_drop", "scenario"}
    assert set(found["shift"][0]["source_drop"]) == {"mean", "low", "high"}
    assert set(found["transfer"][0]) == {
        "method", "source", "target", "shots", "gain", "net_transfer", "recovery", "recovery_reason", "labels_saved",
    }  # fmt: skip
    assert set(found["overall"][0]) == {
        "method", "shots", "score", "gain", "recovery", "net_transfer", "worst_pair", "negative_transfer_rate",
    }  # fmt: skip
    assert set(found["verdicts"][0]) == {
        "method", "against", "source", "target", "shots", "difference", "p_adjusted", "verdict", "minimum_detectable",
    }  # fmt: skip
    methods = {(one["method"], one["source"], one["target"], one["shots"]) for one in found["scores"]}
    assert ("source-only", "shop", "shop", 0) in methods  # SS
    assert ("target-full", None, "film", None) in methods  # TT


def test_plan_trains_nothing(study: list[str], tmp_path: Path) -> None:
    result = call("plan", *study)
    assert result.exit_code == 0, result.output
    assert "distinct fits" in result.stdout
    facts = json.loads(call("plan", *study, "--json").stdout)
    assert facts["distinct_fits"] == 2 * (1 + 1 + 3)
    assert facts["stored_fits"] == 0
    assert not (tmp_path / "store").exists()
    call("run", *study)
    assert json.loads(call("plan", *study, "--json").stdout)["stored_fits"] == facts["distinct_fits"]


def test_texts_that_are_cut_are_said_by_domain(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the texts of shop are too long, none of film; plan and check look at a part of them where they are many."""
    long = " the was and a very really so it my this" * 3
    rows = [
        row | {"text": row["text"] + long * (row["domain"] == "shop" and place % 2)}
        for place, row in enumerate(toy_rows())
        if row["domain"] != "chat"
    ]
    table = write_table(tmp_path / "toy.csv", rows)
    words = [table, "--shots", "0", "--seeds", "1", "--backbone", encoder, "--store", tmp_path / "store", "--out", tmp_path / "out", *QUICK]  # fmt: skip
    tests = load_task(table).domain("shop").test.texts
    share = sum(long in text for text in tests) / len(tests)
    line = f"cut at 24 tokens: shop {100 * share:.0f} % of the test texts"
    checked = call("tasks", "check", table, "--backbone", encoder, "--max-length", 24)
    assert line in checked.stdout.splitlines()
    assert line in call("plan", *words).stdout.splitlines()
    facts = json.loads(call("plan", *words, "--json").stdout)
    assert (facts["max_length"], facts["truncated"]) == (24, {"film": 0, "shop": pytest.approx(share, abs=1e-3)})
    done = call("run", *words)
    assert done.exit_code == 0, done.output
    assert f"note: {line}" in done.stdout.splitlines()
    for format in ("markdown", "html"):
        assert line in call("report", tmp_path / "out", "--format", format).stdout
    assert (
        "fewer than 1 % in every domain"
        in call("tasks", "check", table, "--backbone", encoder, "--max-length", 64).stdout
    )
    monkeypatch.setattr("lowres.library.QUICK_CHARACTERS", 2000)
    part = json.loads(call("plan", *words, "--json").stdout)["truncated"]
    assert 0 < part["shop"] < 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-length", "24"], "add --backbone"),
        (["--backbone", "ENCODER", "--max-length", "2"], "max_length"),
        (["--backbone", "ENCODER", "--max-length", "65"], "at most 64"),
        (["--backbone", "minilmm"], "'minilm'"),
    ],
)
def test_lengths_that_cannot_be_looked_at(words: list[str], said: str, encoder: Path, toy_table: Path) -> None:
    result = call("tasks", "check", toy_table, *(str(encoder) if word == "ENCODER" else word for word in words))
    assert result.exit_code == 2
    assert said in result.stderr


def test_flags_win_over_the_file(study: list[str], tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text("shots: [0, 2]\nseeds: 3\nlive-layers: 1\nrecipe:\n  batch: 4\n")
    words = [word for word in study if word not in ("--shots", "0,4")]
    facts = json.loads(call("plan", *words, "--config", str(config), "--json").stdout)
    assert facts["distinct_fits"] == 2 * (1 + 1 + 3)  # seeds 2 by flag, shots 0,2 by file
    config.write_text("shotz: [0, 2]\n")
    result = call("plan", *study, "--config", str(config))
    assert result.exit_code == 2
    assert "did you mean shots?" in result.stderr


def test_report_formats(study: list[str], tmp_path: Path) -> None:
    call("run", *study)
    out = tmp_path / "out"
    assert "How far it falls" in call("report", out).stdout
    assert call("report", out, "--format", "markdown").stdout.strip() == (out / "report.md").read_text().strip()
    assert json.loads(call("report", out, "--format", "json").stdout) == json.loads((out / "summary.json").read_text())
    assert call("report", out, "--format", "html").stdout.startswith("<!doctype html>")
    assert (
        call("report", out, "--format", "csv").stdout.splitlines()[0]
        == "method,source,target,shots,metric,mean,low,high,seeds"
    )
    wrong = call("report", out, "--format", "markdwon")
    assert wrong.exit_code == 2
    assert "markdown" in wrong.stderr
    assert call("report", tmp_path).exit_code == 2


def test_predict_reads_lines_csv_and_json_lines(study: list[str], tmp_path: Path) -> None:
    call("run", *study)
    best = tmp_path / "out" / "best" / "film-4"
    (tmp_path / "a.txt").write_text("good plot\nbad plot\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text('body,x\n"good plot",1\n"bad plot",2\n', encoding="utf-8-sig")
    (tmp_path / "a.jsonl").write_text('{"text": "good plot"}\n{"text": "bad plot"}\n')
    (tmp_path / "empty.txt").write_text("")
    plain = call("predict", best, "--input", tmp_path / "a.txt")
    rows = [json.loads(line) for line in plain.stdout.splitlines()]
    assert [set(row) for row in rows] == [{"label", "probabilities"}] * 2
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert call("predict", best, "--input", tmp_path / "a.csv", "--text-column", "body").stdout == plain.stdout
    assert call("predict", best, "--input", tmp_path / "a.jsonl").stdout == plain.stdout
    assert CliRunner().invoke(app, ["predict", str(best)], input="good plot\nbad plot\n").stdout == plain.stdout
    assert call("predict", best, "--input", tmp_path / "empty.txt").stdout == ""
    wrong = call("predict", best, "--input", tmp_path / "a.csv")
    assert (wrong.exit_code, "--text-column" in wrong.stderr) == (2, True)
    (tmp_path / "b.jsonl").write_text('{"text": "good plot"}\nno json\n{"text": "bad plot"}\n')
    some = call("predict", best, "--input", tmp_path / "b.jsonl")
    answers = [json.loads(line) for line in some.stdout.splitlines()]
    assert some.exit_code == 1
    assert answers[1] == {"row": 2, "error": "no JSON object"}
    assert [answers[0], answers[2]] == rows


def test_catalogues() -> None:
    assert "vader-sentiment" in call("tasks", "ls").stdout
    assert "kind: pypi" in call("tasks", "show", "vader-sentiment").stdout
    assert "minilm" in call("models", "ls").stdout
    listed = call("methods", "ls").stdout
    from lowres.methods.catalogue import METHODS

    assert all(name in listed for name in METHODS)
    assert "1811.01088" in call("methods", "show", "source-then-target").stdout
    assert call("tasks", "show", "vader").exit_code == 2
    assert call("methods", "show", "joined").exit_code == 2


def test_tasks_check_counts(toy_table: Path, toy_task: object) -> None:
    result = call("tasks", "check", toy_table)
    assert result.exit_code == 0, result.output
    train = len(toy_task.domains["shop"].train.by_label()["positive"])  # type: ignore[attr-defined]
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith("shop") and "train" in line)
    assert row[-1] == str(train)


def test_store_commands(study: list[str], tmp_path: Path) -> None:
    call("run", *study)
    store = tmp_path / "store"
    assert len(call("store", "ls", "--store", store).stdout.splitlines()) == 10
    assert "10 fits and 12 sets of predictions whole, 0 damaged" in call("store", "check", "--store", store).stdout
    head = sorted(store.glob("fits/*/head.safetensors"))[0]
    head.write_bytes(head.read_bytes()[:-1])
    checked = call("store", "check", "--store", store)
    assert (checked.exit_code, "9 fits and 12 sets of predictions whole, 1 damaged" in checked.stdout) == (1, True)


def test_nothing_to_check_before_the_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("store", "check")
    assert (result.exit_code, result.stdout.startswith("nothing to check")) == (0, True)
    (tmp_path / "runs" / "store").mkdir(parents=True)
    assert call("store", "check").exit_code == 2


def test_lines_on_how_far_it_is_where_stderr_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lowres.cli import talk

    now = iter([0.0, 4.0, 11.0, 11.0, 15.0, 22.0, 22.0])
    monkeypatch.setattr(talk.time, "monotonic", lambda: next(now))
    with talk.RunProgress(8) as progress:
        progress.wave(1, 2)
        for fits in (1, 2, 1, 0, 3):
            progress.fit_done(fits)
    assert capsys.readouterr().err.splitlines() == [
        "wave 1/2: 3 of 8 fits after 11 s",
        "wave 1/2: 7 of 8 fits after 22 s",
    ]


def test_a_model_that_labels_made_worse_is_named(
    study: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lowres.results import StudyResult

    monkeypatch.setattr(StudyResult, "falling_behind", lambda self: [("film-4", 0.61, 0.7)])
    *_, said, last = call("run", *study).stdout.strip().splitlines()
    assert said.endswith("without target labels, in the one draw handed over: best/film-4 .610 (that one .700)")
    assert "report.html" in last


def test_no_store_is_no_success(tmp_path: Path) -> None:
    for words in (["ls"], ["check"], ["prune", "--keep", str(tmp_path)]):
        result = call("store", *words, "--store", tmp_path / "nope")
        assert result.exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "no task given"),
        (["run", "vader-sentimant"], "vader-sentiment"),
        (["run", "missing.csv"], "missing.csv"),
        (["run", "TABLE", "--source", "shpo"], "shop"),
        (["run", "TABLE", "--methods", "prob"], "probe"),
        (["run", "TABLE", "--shots", "0,eight"], "shots"),
        (["run", "TABLE", "--shots", ""], "shots"),
        (["run", "TABLE", "--seeds", "0"], "seeds"),
        (["run", "TABLE", "--backbone", "minilmm"], "minilm"),
        (["run", "TABLE", "--precision", "fp16"], "bf16"),
        (["run", "TABLE", "--device", "gpu"], "cuda"),
        (["run", "TABLE", "--engine", "fleeet"], "loop"),
        (["run", "TABLE", "--set", "recipe.learning_rat=1"], "learning_rate"),
        (["run", "TABLE", "--set", "rubbish"], "key=value"),
        (["run", "TABLE", "--set", "seeds.x=1"], "seeds"),
        (["run", "TABLE", "--config", "missing.yaml"], "missing.yaml"),
        (["run", "TABLE", "--text-column", "txt"], "text"),
        (["run", "TABLE", "--label-column", "lable"], "label"),
        (["run", "TABLE", "--domain-column", "domian"], "domain"),
        (["run", "TABLE", "--live-layers", "0"], "live-layers"),
        (["run", "TABLE", "--live-layers", "some"], "live_layers"),
        (["run", "TABLE", "--sources", "shop"], "--source"),
        (["run", "TABLE", "--seeds", "many"], "seeds"),
        (["predict", "nowhere"], "no adapter folder"),
        (["report", "nowhere"], "no run folder"),
        (["tasks", "check", "nowhere.csv"], "nowhere.csv"),
        (["models", "fetch", "minlm"], "minilm"),
        (["methods", "show", "prob"], "probe"),
        (["runn"], "unknown command 'runn'\ndid you mean run"),
        (["store", "prun"], "did you mean prune? (lowres store --help)"),
        (["qqqq"], "lowres --help lists what there is"),
        (["tune", "TABLE", "--trials", "x"], "--trials cannot be 'x'\nexpected a whole number\nlowres tune --help"),
        (["tune", "TABLE", "--wave=2.5"], "--wave cannot be '2.5'\nexpected a whole number"),
        (["predict", "nowhere", "--min-precision", "z"], "--min-precision cannot be 'z'\nexpected a number"),
        (["run", "TABLE", "--zzzz", "1"], "unknown option --zzzz\nlowres run --help lists"),
        (["run", "TABLE", "--seeds"], "'--seeds' requires an argument\nlowres run --help"),
        (["run", "TABLE", "--force=3"], "--force"),
        (["run", "TABLE", "other"], "more words than the command takes\ngot other"),
        (["fit", "TABLE"], "--on is missing"),
        (["report"], "FOLDER is missing\nexpected A run folder, or that of a compressed model."),
    ],
)
def test_mistakes_are_said_in_three_lines(
    words: list[str], said: str, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*(str(toy_table) if word == "TABLE" else word for word in words))
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) <= 3
    assert result.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_a_group_without_a_command_shows_which_there_are() -> None:
    for words in ([], ["store"]):
        result = call(*words)
        assert result.exit_code == 2
        assert "Usage:" in result.output
        assert "error" not in result.output


def start(study: list[str], tmp_path: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HEARING, "run", *study, "--set", "recipe.min_steps=400"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    ends = time.monotonic() + 60
    while not list((tmp_path / "store").glob("fits/*")) and time.monotonic() < ends and process.poll() is None:
        time.sleep(0.05)
    return process


@pytest.mark.alone
def test_ctrl_c_keeps_what_is_finished(study: list[str], tmp_path: Path) -> None:
    process = start(study, tmp_path)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 2
    assert out == ""
    assert "kept" in err
    assert "Traceback" not in err
    kept = len(list((tmp_path / "store").glob("fits/*")))
    result = call("run", *study, "--set", "recipe.min_steps=400", "--json")
    assert Summary.model_validate_json(result.stdout).fits.reused >= kept >= 1


def test_kill_leaves_a_store_that_goes_on(study: list[str], tmp_path: Path) -> None:
    process = start(study, tmp_path)
    process.kill()
    process.communicate(timeout=30)
    summary = Summary.model_validate_json(call("run", *study, "--set", "recipe.min_steps=400", "--json").stdout)
    assert summary.fits.reused >= 1
    assert summary.fits.failed == 0


def test_a_failed_fit_exits_1_and_is_named(study: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.training import loop

    def broken(self: object, fit: object, start: object) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr(loop.LoopEngine, "_train", broken)
    result = call("run", *study, "--engine", "loop")
    assert result.exit_code == 1
    assert "no luck" in result.stderr
    assert "Traceback" not in result.output


def test_a_closed_pipe_is_no_traceback(study: list[str]) -> None:
    line = f"{sys.executable} -m lowres methods ls | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_predict_may_write_over_its_input(study: list[str], tmp_path: Path) -> None:
    call("run", *study)
    best, texts = tmp_path / "out" / "best" / "film-4", tmp_path / "a.txt"
    texts.write_text("good plot\nbad plot\n")
    assert call("predict", best, "--input", texts, "--output", texts).exit_code == 0
    assert len(texts.read_text().splitlines()) == 2
    assert json.loads(texts.read_text().splitlines()[0])["label"]
    older = tmp_path / "b.jsonl"
    older.write_text("precious")
    assert call("predict", best, "--input", tmp_path / "gone.txt", "--output", older).exit_code == 2
    assert older.read_text() == "precious"
    assert call("predict", best, "--input", texts, "--output", tmp_path / "no" / "folder.jsonl").exit_code == 2
    assert not list(tmp_path.glob(".*-*"))


def test_a_place_for_results_is_tried_before_training(study: list[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    words = [*study[: study.index("--out")], "--out", str(tmp_path / "taken"), *QUICK]
    result = call("run", *words)
    assert result.exit_code == 2
    assert "results cannot be written" in result.stderr
    assert not (tmp_path / "store").exists()


def test_one_test_group_is_refused_before_training(encoder: Path, tmp_path: Path) -> None:
    from tests.conftest import toy_rows, write_table

    rows = [
        row
        | {"split": "test" if number % 3 == 0 else "train", "review": row["domain"] if number % 3 == 0 else str(number)}
        for number, row in enumerate(toy_rows(30))
    ]
    table = write_table(tmp_path / "t.csv", rows)
    words = ["--shots", "0,4", "--group-column", "review", "--backbone", encoder, "--store", tmp_path / "store"]
    result = call("run", table, *words, *QUICK)
    assert result.exit_code == 2
    assert "shop: one test group" in result.stderr
    assert not (tmp_path / "store").exists()


def test_no_training_rows_at_all(encoder: Path, tmp_path: Path) -> None:
    from tests.conftest import toy_rows, write_table

    table = write_table(tmp_path / "t.csv", [row | {"split": "test"} for row in toy_rows(30)])
    result = call("run", table, "--backbone", encoder, *QUICK)
    assert result.exit_code == 2
    assert "no domain has training rows" in result.stderr


def test_fit_evaluate_predict(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    common = [toy_table, "--backbone", encoder, "--store", tmp_path / "store", "--source-rows", "30", *QUICK]
    for words, method, rows in (
        (["--on", "film"], "target-full", 30),
        (["--on", "film", "--shots", "4"], "target-only", 8),
        (["--on", "film", "--shots", "4", "--start-from", "shop"], "source-then-target", 38),
    ):
        out = tmp_path / method
        result = call("fit", *common, *words, "--out", out)
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == str(out)
        record = json.loads((out / "lowres.json").read_text())
        assert (record["about"]["method"], record["about"]["train_rows"]) == (method, rows)
        scored = json.loads(call("evaluate", out, toy_table, "--on", "film").stdout)
        assert scored["macro_f1"] == pytest.approx(record["about"]["scores"][0]["value"])
        assert (scored["rows"], scored["split"]) == (23, "test") or scored["rows"] > 0
    dev = json.loads(call("evaluate", out, toy_table, "--on", "chat", "--split", "dev").stdout)
    assert dev["domain"] == "chat"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--on", "flim"], "film"),
        (["--on", "film", "--start-from", "shop"], "needs --shots"),
        (["--on", "film", "--start-from", "film", "--shots", "2"], "is the domain to train on"),
        (["--on", "film", "--method", "joint", "--shots", "2"], "needs --start-from"),
        (["--on", "film", "--method", "probe", "--shots", "2"], "trains no adapter"),
        (["--on", "film", "--method", "full-finetune"], "error: full-finetune trains no adapter"),
        (["--on", "film", "--method", "tree", "--shots", "0"], "error: tree trains no adapter"),
        (
            ["--on", "film", "--start-from", "shop", "--shots", "0", "--method", "label-names"],
            "no use for --start-from",
        ),
        (["--on", "film", "--method", "target-only"], "needs --shots"),
        (["--on", "film", "--shots", "4000"], "too few"),
    ],
)
def test_fits_that_make_no_sense(words: list[str], said: str, toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    result = call(
        "fit", toy_table, "--backbone", encoder, "--store", tmp_path / "s", "--out", tmp_path / "o", *QUICK, *words
    )
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3
    assert not (tmp_path / "s").exists()


def test_evaluate_refuses_other_labels(study: list[str], tmp_path: Path) -> None:
    from tests.conftest import toy_rows, write_table

    call("run", *study)
    rows = [row | {"label": row["label"].upper()} for row in toy_rows(20)]
    table = write_table(tmp_path / "other.csv", rows)
    result = call("evaluate", tmp_path / "out" / "best" / "film-4", table, "--on", "film")
    assert result.exit_code == 2
    assert "another label set" in result.stderr


def test_prune_keeps_what_a_run_uses(study: list[str], tmp_path: Path) -> None:
    store = tmp_path / "store"
    call("run", *study)
    call(
        "run",
        *study[: study.index("--out")],
        "--out",
        str(tmp_path / "more"),
        "--limit",
        "10",
        *QUICK,
        "--set",
        "recipe.batch=4",
    )
    before = len(list((store / "fits").iterdir()))
    assert before == 18  # the probes do not depend on the batch
    draft = store / "drafts" / "left"
    draft.mkdir(parents=True)
    os.utime(draft, (0, 0))
    said = call("store", "prune", "--keep", tmp_path / "out", "--store", store)
    assert "8 of 18 fits would be removed" in said.stdout
    assert len(list((store / "fits").iterdir())) == 18
    done = call("store", "prune", "--keep", tmp_path / "out", "--store", store, "--yes")
    assert "8 fits removed, 10 kept, 1 drafts cleared" in done.stdout
    assert json.loads(call("plan", *study, "--json").stdout)["stored_fits"] == 10
    assert call("store", "prune", "--keep", tmp_path, "--store", store).exit_code == 2


def test_doctor_says_what_is_here_and_next(monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.cli import doctor
    from lowres.data import index

    monkeypatch.setattr(index, "reachable", lambda: False)
    monkeypatch.setattr(doctor, "_hub", lambda: False)
    result = call("doctor")
    assert result.exit_code == 0, result.output
    for words in (
        "torch",
        "device       cpu",
        "cache",
        "index        not reachable",
        "next: lowres models fetch minilm",
    ):
        assert words in result.stdout


def test_predict_reads_what_studies_read(study: list[str], tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    call("run", *study)
    best = str(tmp_path / "out" / "best" / "film-4")
    (tmp_path / "a.csv").write_text("n;body\n1;good plot\n2;\n3;bad plot\n")
    some = call("predict", best, "--input", tmp_path / "a.csv", "--text-column", "body")
    assert some.exit_code == 1
    rows = [json.loads(line) for line in some.stdout.splitlines()]
    assert rows[1] == {"row": 2, "error": "empty"}
    parquet.write_table(pa.table({"body": ["good plot", "", "bad plot"]}), tmp_path / "a.parquet")
    assert call("predict", best, "--input", tmp_path / "a.parquet", "--text-column", "body").stdout == some.stdout
    lines = '{"text": "good plot"}\n{"text": "bad plot"}\n'
    piped = CliRunner().invoke(app, ["predict", best], input=lines)
    assert [json.loads(line) for line in piped.stdout.splitlines()] == [rows[0], rows[2]]
    raw = CliRunner().invoke(app, ["predict", best, "--format", "lines"], input=lines)
    assert raw.stdout != piped.stdout
    wrong = CliRunner().invoke(app, ["predict", best], input='{"txt": "good plot"}\n')
    assert (wrong.exit_code, "--text-column 'txt'?" in wrong.stderr) == (2, True)
    assert call("predict", best, "--format", "jsn").exit_code == 2


def test_one_draw_gives_no_verdict(study: list[str]) -> None:
    words = ["1" if before == "--seeds" else word for before, word in zip(["", *study], study, strict=False)]
    summary = Summary.model_validate_json(call("run", *words, "--json").stdout)
    assert summary.verdicts == []
    assert any("one draw" in warning for warning in summary.warnings)


def test_what_cannot_work_is_said_before_training(study: list[str], tmp_path: Path) -> None:
    for words, said in (
        (["--live-layers", "99"], "1 to 2, or all"),
        (["--revision", "abc"], "hub id only"),
    ):
        result = call("plan", *study, *words)
        assert result.exit_code == 2, words
        assert said in result.stderr
    spec = tmp_path / "task.yaml"
    spec.write_text(f"name: t\nmetric: f1\nsource:\n  kind: files\n  parts:\n    - path: {study[0]}\n")
    result = call("plan", spec, *study[1:])
    assert (result.exit_code, "macro_f1" in result.stderr) == (2, True)


@pytest.mark.parametrize("starting", [True, False])
def test_ctrl_c_while_torch_starts_raises_nothing_inside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], starting: bool
) -> None:
    class LeftError(Exception):
        pass

    def leave() -> None:
        raise LeftError

    module = ModuleType("torch")
    module.__spec__ = ModuleSpec("torch", None)
    module.__spec__._initializing = starting  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(main, "_leave", leave)
    with pytest.raises(LeftError if starting else KeyboardInterrupt):
        main._interrupt(signal.SIGINT, None)
    assert ("interrupted" in capsys.readouterr().err) == starting


@pytest.mark.parametrize("option", ["--source", "--target", "--shots", "--methods"])
def test_an_option_that_names_nothing_is_refused(toy_table: Path, option: str) -> None:
    for names in (",", ""):
        found = call("plan", toy_table, option, names)
        assert found.exit_code == 2
        assert f"{option.strip('-')} names nothing" in found.stderr
