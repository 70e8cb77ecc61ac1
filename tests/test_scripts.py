"""Every script is run by a test, or is the runner of the tests itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, call

ROOT = Path(__file__).parent.parent
RUN_HERE = {
    "bench_grid.py", "choose_recipe.py", "compare_with_setfit.py", "compare_with_trainer.py", "drop_matrix.py",
    "measure_compression.py", "measure_forecasts.py", "measure_methods.py", "measure_noise.py", "tried_methods.py",
}  # fmt: skip
SIMULATED = {"simulated_forecasts.py", "simulated_pairs.py", "simulated_studies.py"}
BATCH = {"batch_grid.py", "regression_gate.py", "score_folder.py"}
RUN_ELSEWHERE = {"simulate_intervals.py"} | SIMULATED | BATCH  # tests/stats, tests/test_batch.py
SHELL = {"demo", "test", "setup", "constraints.txt"}


def run_script(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *words],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=500,
    )  # fmt: skip


def test_no_script_is_left_out() -> None:
    assert {path.name for path in (ROOT / "scripts").iterdir() if path.is_file()} == RUN_HERE | RUN_ELSEWHERE | SHELL


def tiny(encoder: Path, folder: Path) -> list[str]:
    """Flags of a measurement that takes seconds."""
    return ["--backbone", str(encoder), "--max-length", "24", "--source-rows", "20", "--store", str(folder / "store")]


@pytest.mark.parametrize("name", sorted(SHELL - {"constraints.txt"}))
def test_shell_scripts_parse(name: str) -> None:
    done = subprocess.run(["bash", "-n", str(ROOT / "scripts" / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_demo_asks_for_what_there_is() -> None:
    words = (ROOT / "scripts" / "demo").read_text().replace("\\\n", " ").split("exec .venv/bin/lowres run ")[1].split()
    from lowres.data.spec import read_spec
    from lowres.data.task import shipped_tasks

    spec = read_spec(shipped_tasks()[words[0]])
    named = [words[words.index(flag) + 1] for flag in ("--source", "--target")]
    assert set(",".join(named).split(",")) <= set(spec.domains)


@pytest.mark.slow
def test_choose_recipe(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipe.json"
    words = [
        "--task",
        str(toy_table),
        "--domains",
        "shop",
        "--backbone",
        str(encoder),
        "--draws",
        "1",
        "--rows",
        "20",
        "--shots",
        "4,8",
    ]
    done = run_script("choose_recipe.py", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["results"]
    assert len(found) == len(done.stdout.splitlines()) >= 6
    assert all(0 <= value <= 1 for one in found for value in one["dev"].values())
    assert run_script("choose_recipe.py", *words, "--out", str(out)).stdout == ""


@pytest.mark.slow
def test_compare_with_trainer(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    import lowres

    lowres.Study(
        str(toy_table), sources=["shop"], targets=["film"], shots=[0, 8], seeds=2, source_rows=40, backbone=str(encoder),
        methods=["source-then-target", "probe", "tfidf"], store=str(tmp_path / "store"), out=str(tmp_path / "out"), precision="fp32",
        recipe={"max_length": 64},
    ).run()  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- comparison:begin -->\nold\n<!-- comparison:end -->\nafter\n")
    done = run_script("compare_with_trainer.py", str(tmp_path / "out"), "--shots", "8", "--write", str(page))
    assert done.returncode in (0, 1), done.stderr
    text = page.read_text()
    assert "| tfidf, 8 shots | film |" in text
    assert "+0.000 [+0.000, +0.000] | yes" in next(line for line in text.splitlines() if "tfidf" in line)
    assert text.startswith("before")
    assert text.endswith("after\n")


def test_drop_matrix(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    import lowres

    lowres.Study(
        str(toy_table), shots=[0], seeds=2, source_rows=20, backbone=str(encoder), methods=["source-only"], precision="fp32",
        store=str(tmp_path / "store"), out=str(tmp_path / "out"), recipe={"max_length": 24, "min_steps": 4, "epochs": 1},
    ).run()  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- matrix:begin -->\nold\n<!-- matrix:end -->\nafter\n")
    done = run_script("drop_matrix.py", str(tmp_path / "out"), "--write", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert sum(" → " in line for line in text.splitlines()) == 6


def test_measure_forecasts(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    import lowres

    lowres.Study(
        str(toy_table), sources=["shop", "film"], targets=["film", "chat"], shots=[0, 2, 4, 8, 16], seeds=3, source_rows=20,
        backbone=str(encoder), methods=["target-only", "source-then-target"], precision="fp32", store=str(tmp_path / "store"),
        out=str(tmp_path / "out"), recipe={"max_length": 24, "min_steps": 4, "epochs": 1},
    ).run()  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- forecasts:begin -->\nstale text\n<!-- forecasts:end -->\nafter\n")
    done = run_script("measure_forecasts.py", str(tmp_path / "out"), "--write", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale text" not in text
    lines = text.splitlines()
    rules = {
        line.split(" | ")[0].strip("| ") for line in lines if line.split(" | ")[1:2] in (["accuracy"], ["macro_f1"])
    }
    assert rules == {"confidence", "doc", "atc", "agreement", "mean", "no drop"}
    assert sum(" → " in line for line in lines) == 3
    held = next(line for line in lines if line.startswith("| all |"))
    # target-only on two targets and source-then-target on three pairs: 32 labels from 4, 8 and 16
    assert held.split(" | ")[1:3] == ["5", "2"]
    evidence = json.loads((tmp_path / "out" / "evidence.json").read_text())
    errors = [abs(one["predicted"]["mean"] - one["measured"]) for one in evidence["forecasts"] if one["rule"] == "doc"]
    assert f"| doc | accuracy | 3 | {sum(errors) / 3:.3f} |" in text
    assert "| at random | 16 | 3 |" in text


@pytest.mark.slow
def test_bench_grid(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    """The own contenders; the peers need packages that the tests do without."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n")
    words = [
        "--task", str(toy_table), "--source", "shop", "--target", "film", "--backbone", str(encoder), "--shots", "2",
        "--rows", "20", "--limit", "10", "--draws", "2", "--growth", "1", "--only", "exact,fast", "--max-length", "24",
        "--out", str(tmp_path / "bench.json"), "--write", str(page),
    ]  # fmt: skip
    done = run_script("bench_grid.py", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    assert set(found["contenders"]) == {"exact", "fast"}
    for one in found["contenders"].values():
        assert {cell: len(values) for cell, values in one["scores"].items()} == dict.fromkeys(
            ("SS", "ST", "TT", "target-only", "source-then-target"), 2
        )
        assert one["seconds"] > one["floor"] > 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "source-then-target" in text


def test_measure_methods(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "found.json", tmp_path / "page.md"
    words = tiny(encoder, tmp_path)
    given = ["--pairs", "shop:film,chat:film", "--shots", "0,4", "--seeds", "2", "--methods", "probe,probe-joint"]
    run = run_script("measure_methods.py", "run", str(toy_table), "--part", "dev", *given, *words, "--out", str(out))
    assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    assert {(row["method"], row["shots"]) for row in found["rows"]} >= {
        ("probe", 4),
        ("probe-joint", 0),
        ("probe-joint", 4),
    }
    assert {(one["source"], one["target"]) for one in found["transfer"]} == {("shop", "film"), ("chat", "film")}
    page.write_text("before\n<!-- found begin -->\nold\n<!-- found end -->\nafter\n")
    made = run_script("measure_methods.py", "table", str(out), "--write", str(page))
    assert made.returncode == 0, made.stderr
    text = page.read_text()
    assert "old" not in text
    assert "**4 shots**" in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    one = ["--pairs", "shop:film", "--shots", "4", "--seeds", "2", "--methods", "probe", "--adapter", "rslora", *words]
    other = tmp_path / "other.json"
    run = run_script("measure_methods.py", "run", str(toy_table), "--part", "test", *one, "--out", str(other))
    assert run.returncode == 0, run.stderr
    rows = {row["method"]: row for row in json.loads(other.read_text())["rows"]}
    assert rows["probe"]["verdict"]["source"] is None or rows["probe"]["verdict"]["source"] == "shop"
    assert rows["target-only"]["verdict"] is None
    page.write_text("before\n<!-- adapters begin -->\nold\n<!-- adapters end -->\nafter\n")
    made = run_script("measure_methods.py", "table", str(other), "--adapters", "--write", str(page))
    assert made.returncode == 0, made.stderr
    score = rows["probe"]["score"]["mean"]
    assert f"| `rslora` | {rows['source-only']['score']['mean']:.3f}" in page.read_text()
    assert f"{score:.3f}" in page.read_text()


@pytest.mark.slow
def test_tried_methods(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    words = tiny(encoder, tmp_path)
    given = ["--pairs", "shop:film", "--shots", "4", "--seeds", "2", "--methods", "joint,soup-tapt,soup-teaches"]
    run = run_script("tried_methods.py", "run", str(toy_table), "--part", "dev", *given, *words, "--out", str(out))
    assert run.returncode == 0, run.stderr
    scores = {row["method"]: row["score"]["mean"] for row in json.loads(out.read_text())["rows"]}
    assert {"joint", "soup-tapt", "soup-teaches"} <= set(scores)


@pytest.mark.slow
def test_measure_compression(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    fit = call(
        "fit", toy_table, "--on", "film", "--start-from", "shop", "--shots", "4", "--backbone", encoder,
        "--store", tmp_path / "store", "--out", tmp_path / "adapter", *QUICK,
    )  # fmt: skip
    assert fit.exit_code == 0, fit.output
    out, page = tmp_path / "found.json", tmp_path / "page.md"
    words = [str(tmp_path / "adapter"), str(toy_table), "--models", str(tmp_path / "small"), "--out", str(out)]
    given = ["--as", "distil layers=1 epochs=1", "--as", "quantise bits=weights", "--as", "onnx-int8"]
    for _ in range(2):  # the second time there is nothing to do
        run = run_script("measure_compression.py", "run", *words, "--target", "film,chat", *given)
        assert run.returncode == 0, run.stderr
    found = json.loads(out.read_text())
    assert [one["as"] for one in found] == ["distil layers=1 epochs=1", "quantise bits=weights", "onnx-int8"]
    graph = tmp_path / "small" / "onnx-int8" / "model.onnx"
    assert found[2]["found"]["after"]["bytes"] == graph.stat().st_size
    again = run_script("measure_compression.py", "time", *words)
    assert again.returncode == 0, again.stderr
    fresh = json.loads(out.read_text())
    assert [one["found"]["domains"] for one in fresh] == [one["found"]["domains"] for one in found]
    assert fresh[0]["found"]["after"]["milliseconds"] != found[0]["found"]["after"]["milliseconds"]
    page.write_text("<!-- found begin -->\n<!-- found end -->\n")
    made = run_script("measure_compression.py", "table", str(out), "--write", str(page))
    assert made.returncode == 0, made.stderr
    assert "distil (epochs 1, layers 1)" in page.read_text()
    assert "drop to chat" in page.read_text()


@pytest.mark.slow
def test_measure_noise(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("cleanlab", reason="cleanlab is not installed: pip install lowres[noise]")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- noise:begin -->\nold\n<!-- noise:end -->\nafter\n")
    words = ["--task", str(toy_table), "--domains", "shop", "--backbone", str(encoder), "--draws", "1"]
    done = run_script("measure_noise.py", *words, "--write", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    row = next(line for line in text.splitlines() if line.startswith("| shop |")).strip("| ").split(" | ")
    rows, flipped, suspected = int(row[1]), int(row[3]), int(row[4].split(" ")[0])
    precision, recall = float(row[5]), float(row[6])
    assert abs(flipped - rows / 10) <= 1
    assert precision * suspected == pytest.approx(recall * flipped, abs=0.2)  # both count the flipped that were found
    assert precision > 0.3  # guessing finds 0.1


@pytest.mark.slow
def test_compare_with_setfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("setfit", reason="SetFit is not installed: pip install lowres[bench]")
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    out = tmp_path / "found.json"
    words = [
        "--part",
        "dev",
        "--targets",
        "amazon",
        "--shots",
        "2",
        "--draws",
        "2",
        "--methods",
        "probe",
        "--kept",
        str(tmp_path / "kept"),
    ]
    run = run_script("compare_with_setfit.py", *words, "--store", str(tmp_path / "store"), "--out", str(out))
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(out.read_text())["rows"]
    assert row["methods"][0]["method"] == "probe"
    assert len(list((tmp_path / "kept").glob("*.npz"))) == 2
