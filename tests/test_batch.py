"""The batch scripts on tiny encoders and tiny tables, and every command of their page."""

from __future__ import annotations

import csv
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import lowres
from lowres.data.task import load_task
from lowres.library import score
from lowres.models.backbone import NAMED, Backbone
from tests.conftest import toy_rows, write_table
from tests.test_scripts import ROOT, run_script

QUICK = {
    "shots": [0, 4], "seeds": 2, "source-rows": 20, "precision": "fp32", "methods": ["target-only", "source-then-target"],
    "recipe": {"min_steps": 4, "epochs": 1, "max_length": 24},
}  # fmt: skip


@pytest.mark.parametrize("name", ["batch_grid.py", "regression_gate.py", "score_folder.py"])
def test_help_says_how_it_is_called(name: str) -> None:
    done = run_script(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"python scripts/{name} " in done.stdout


class TestGrid:
    @pytest.fixture
    def grid(self, tmp_path: Path, toy_table: Path, encoders: dict[str, Path]) -> dict[str, Any]:
        """Two backbones and two variants of a task; one study of a second task that cannot be."""
        return {
            "defaults": {**QUICK, "source": "shop", "target": "film", "store": str(tmp_path / "store")},
            "tasks": [str(toy_table)],
            "backbones": [str(encoders["bert"]), {"backbone": str(encoders["electra"])}],
            "variants": {"plain": {}, "wide": {"recipe": {"batch": 8}, "methods": "probe"}},
            "overrides": [{"when": {"variant": "wide", "backbone": str(encoders["bert"])}, "set": {"seeds": 1}}],
        }

    def call(self, folder: Path, grid: dict[str, Any], *words: str) -> tuple[int, str, str]:
        (folder / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
        done = run_script("batch_grid.py", str(folder / "grid.yaml"), "--out", str(folder / "out"), *words)
        return done.returncode, done.stdout, done.stderr

    def test_all_studies_one_table_and_nothing_is_trained_twice(self, grid: dict[str, Any], tmp_path: Path) -> None:
        code, said, talk = self.call(tmp_path, grid, "--plan")
        assert code == 0, talk
        assert said.count(" 0 in ") == 4
        assert not (tmp_path / "store" / "fits").exists()
        code, table, talk = self.call(tmp_path, grid)
        assert code == 0, talk
        names = ["toy-bert-plain", "toy-bert-wide", "toy-electra-plain", "toy-electra-wide"]
        found = json.loads((tmp_path / "out" / "grid.json").read_text())
        assert list(found["studies"]) == names
        assert all((tmp_path / "out" / name / "report.html").is_file() for name in names)
        assert len(found["rows"]) == table.count("shop → film") == 4 * 2
        wide = tmp_path / "out" / "toy-bert-wide"
        config = yaml.safe_load((wide / "study.yaml").read_text())
        assert (config["recipe"]["batch"], config["recipe"]["max_length"], config["seeds"]) == (8, 24, 1)
        summary = json.loads((wide / "summary.json").read_text())
        zero, four = (row for row in found["rows"] if row["variant"] == "wide" and "bert" in row["backbone"])
        assert zero["drop"] == summary["shift"][0]["source_drop"]["mean"]
        scores = {
            one["method"]: one["mean"] for one in summary["scores"] if (one["target"], one["shots"]) == ("film", 4)
        }
        assert set(scores) == {"target-only", "probe"}
        assert (four["best"], four["score"]) == max(scores.items(), key=lambda item: item[1])
        assert zero["best"] == "source-only"
        with (tmp_path / "out" / "grid.csv").open(encoding="utf-8") as stream:
            assert [float(row["drop_low"]) for row in csv.DictReader(stream)] == [
                row["drop_low"] for row in found["rows"]
            ]
        before = (tmp_path / "out" / "grid.csv").read_bytes()
        code, _, talk = self.call(tmp_path, grid)
        assert code == 0, talk
        again = json.loads((tmp_path / "out" / "grid.json").read_text())["studies"]
        assert [one["trained"] for one in again.values()] == [0] * 4
        assert (tmp_path / "out" / "grid.csv").read_bytes() == before

    def test_a_study_that_fails_is_named_and_the_others_go_on(self, grid: dict[str, Any], tmp_path: Path) -> None:
        lone = write_table(tmp_path / "lone.csv", [row for row in toy_rows(20) if row["domain"] == "shop"])
        grid |= {
            "tasks": [str(lone), *grid["tasks"]],
            "backbones": grid["backbones"][:1],
            "variants": {"": {}},
            "overrides": [],
        }
        code, table, talk = self.call(tmp_path, grid)
        assert code == 1
        assert talk.splitlines()[-1] == "failed: lone-bert"
        assert table.count("shop → film") == 2
        found = json.loads((tmp_path / "out" / "grid.json").read_text())["studies"]
        assert "film" in found["lone-bert"]["error"]
        assert "error" not in found["toy-bert"]

    def test_parts_make_the_whole(self, grid: dict[str, Any], tmp_path: Path) -> None:
        ran = []
        for part in ("1/2", "2/2"):
            code, said, talk = self.call(tmp_path, grid, "--plan", "--part", part)
            assert code == 0, talk
            ran.append([line.split(":")[0] for line in said.splitlines()[:-1]])
        assert ran == [["toy-bert-plain", "toy-electra-plain"], ["toy-bert-wide", "toy-electra-wide"]]
        assert self.call(tmp_path, grid, "--part", "3/2")[0] == 2

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"defautls": {}}, "did you mean defaults"),
            ({"defaults": {"shotz": [1]}}, "did you mean shots"),
            ({"defaults": {"out": "x"}}, "out cannot be set here"),
            ({"tasks": []}, "no study"),
            ({"tasks": [{"source": "shop"}]}, "names no task"),
            ({"tasks": ["a.csv", "b/a.csv"]}, "two studies are called a-bert"),
            ({"overrides": [{"when": {"variant": "narrow"}, "set": {}}]}, "meets no study"),
            ({"overrides": [{"when": {"model": "x"}, "set": {}}]}, "unknown axis"),
            ({"overrides": [{"when": {}, "sets": {}}]}, "did you mean set"),
        ],
    )
    def test_a_fault_of_the_file_is_said_before_anything_runs(
        self, change: dict[str, Any], said: str, grid: dict[str, Any], tmp_path: Path
    ) -> None:
        code, _, talk = self.call(tmp_path, {**grid, **change})
        assert code == 2
        assert said in talk
        assert "Traceback" not in talk
        assert not (tmp_path / "out").exists()


def divided(folder: Path, swapped: bool = False) -> Path:
    """The toy table with given parts; the labels of its training rows swapped, if asked for."""
    rows = toy_rows(100)
    other = {"negative": "positive", "positive": "negative"}
    for number, row in enumerate(rows):
        row["split"] = "test" if number % 2 else "train"
        if swapped and row["split"] == "train":
            row["label"] = other[row["label"]]
    folder.mkdir()
    return write_table(folder / "toy.csv", rows)


class TestGate:
    """One baseline; what is compared with it is a run of its own each."""

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
        folder = tmp_path_factory.mktemp("gate")
        config = {
            **QUICK, "task": str(divided(folder / "good")), "source": "shop", "target": "film", "seeds": 3, "source-rows": 60,
            "backbone": str(encoder), "store": str(folder / "store"), "out": str(folder / "out"),
            "recipe": {"min_steps": 40, "max_length": 24, "learning_rate": 5e-3, "head_learning_rate": 5e-2},
        }  # fmt: skip
        divided(folder / "bad", swapped=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        made = self.call(folder, "--update-baseline")
        assert made.returncode == 0, made.stderr
        return folder

    def call(self, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
        given = ["--config", str(place / "study.yaml"), "--baseline", str(place / "baseline.json")]
        return run_script("regression_gate.py", *given, *words)

    def test_what_did_not_change_passes(self, place: Path, tmp_path: Path) -> None:
        done = self.call(place, "--junit", str(tmp_path / "gate.xml"))
        assert done.returncode == 0, done.stderr
        *checks, last = done.stdout.splitlines()
        assert last == "3 checks, 0 failed, 0 open"
        assert all(line.startswith("ok ") and "worse by .000 [.000, .000]" in line for line in checks)
        assert all(line.endswith("paired over 3 draws") for line in checks)
        assert ["drop" in line for line in checks] == [True, False, False]
        assert "source-only shop → film, 0 shots" in checks[1]
        assert "source-then-target shop → film, 4 shots" in checks[2]
        suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
        assert (suite.get("tests"), suite.get("failures")) == ("3", "0")

    @pytest.mark.slow
    def test_a_model_that_learned_the_wrong_labels_fails(self, place: Path, tmp_path: Path) -> None:
        """The score falls; the drop does not grow, since the model is as bad in its source."""
        words = ["--set", f"task={place / 'bad' / 'toy.csv'}", "--junit", str(tmp_path / "gate.xml"), "--github"]
        done = self.call(place, *words, "--set", f"out={tmp_path / 'out'}")
        assert done.returncode == 1, done.stderr
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        assert len(failed) == 2
        assert all("macro-F1 of" in line for line in failed)
        assert sum(line.startswith("::error title=regression gate::FAILED") for line in done.stdout.splitlines()) == 2
        failures = ElementTree.parse(tmp_path / "gate.xml").getroot().findall("testcase/failure")
        assert [one.text for one in failures] == failed
        assert json.loads((place / "baseline.json").read_text())["summary"]["study"]["task"] == "toy"

    def test_a_model_that_learned_nothing_fails_also_from_two_intervals(self, place: Path, tmp_path: Path) -> None:
        words = ["--set", "recipe.learning_rate=1e-9", "--set", "recipe.head_learning_rate=1e-9"]
        done = self.call(place, *words, "--set", f"out={tmp_path / 'out'}", "--baseline-store", str(tmp_path / "none"))
        assert done.returncode == 1, done.stdout
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        assert any("source-only shop → film" in line for line in failed)
        assert all(line.endswith("from two intervals") for line in failed)

    def test_noise_passes(self, place: Path, tmp_path: Path) -> None:
        """A recipe that comes to other numbers, not shown to be worse."""
        done = self.call(place, "--set", "recipe.batch=12", "--set", f"out={tmp_path / 'out'}")
        assert done.returncode == 0, done.stdout
        assert not all("worse by .000 [.000, .000]" in line for line in done.stdout.splitlines()[:-1])

    @pytest.mark.slow
    def test_answers_that_were_made_again_are_not_taken_for_the_baselines(self, place: Path, tmp_path: Path) -> None:
        shutil.copytree(place / "store", tmp_path / "store")
        found = json.loads((place / "baseline.json").read_text())
        for cell in found["cells"]:
            cell["answers"] = "0" * 64
        (tmp_path / "baseline.json").write_text(json.dumps(found))
        words = ["--set", f"store={tmp_path / 'store'}", "--set", f"out={tmp_path / 'out'}"]
        done = self.call(place, *words, "--baseline", str(tmp_path / "baseline.json"))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("from two intervals") == 3

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (["--set", "limit=20"], "--limit: None, now 20"),
            (["--set", "target=chat"], "not in this study: source-only shop → film, 0 shots"),
            (["--set", "shots=0"], "source-then-target shop → film, 4 shots"),
            (["--set", "protocol=leave-one-out", "--set", "source=shop,chat"], "protocol: pairs, now leave-one-out"),
            (["--max-score-fall", "-1"], "--max-score-fall"),
            (["--methods", "joints"], "unknown method"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, change: list[str], said: str, place: Path) -> None:
        done = self.call(place, *change)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not done.stdout

    def test_other_test_rows_are_refused(self, place: Path, tmp_path: Path) -> None:
        rows = divided(tmp_path / "own").read_text().splitlines()
        last = max(number for number, line in enumerate(rows) if line.endswith("film,test"))
        (tmp_path / "own" / "toy.csv").write_text("\n".join([*rows[:last], *rows[last + 1 :]]) + "\n")
        done = self.call(place, "--set", f"task={tmp_path / 'own' / 'toy.csv'}")
        assert done.returncode == 2
        assert "test rows of film" in done.stderr

    def test_no_baseline(self, place: Path, tmp_path: Path) -> None:
        for text in (None, "{}"):
            if text:
                (tmp_path / "b.json").write_text(text)
            done = self.call(place, "--baseline", str(tmp_path / "b.json"))
            assert done.returncode == 2
            assert "--update-baseline" in done.stderr


class TestFolder:
    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory, encoders: dict[str, Path]) -> Path:
        """Adapters of a run and of a single fit on two backbones, and much that is none."""
        folder = tmp_path_factory.mktemp("adapters")
        table = divided(folder / "tables")
        given = {name.replace("-", "_"): value for name, value in QUICK.items()}
        study = lowres.Study(
            table, sources="shop", targets="film", **given, backbone=encoders["bert"], store=folder / "runs" / "store",
            out=folder / "runs" / "one",
        )  # fmt: skip
        study.run()
        other = lowres.Study(table, **given, backbone=encoders["electra"], store=folder / "store")
        other.fit("chat", shots=8).save(folder / "runs" / "deep" / "er" / "chat-8")
        shutil.copytree(folder / "runs" / "one" / "best" / "film-4", folder / "runs" / "damaged")
        (folder / "runs" / "damaged" / "head.safetensors").write_bytes(b"none")
        (folder / "runs" / "foreign").mkdir()
        (folder / "runs" / "foreign" / "adapter_config.json").write_text("{}")
        return folder

    def test_every_adapter_is_scored_and_the_rest_is_named(self, place: Path, tmp_path: Path) -> None:
        files = ["--csv", str(tmp_path / "scores.csv"), "--json", str(tmp_path / "scores.json")]
        table = place / "tables" / "toy.csv"
        done = run_script("score_folder.py", str(place / "runs"), str(table), "--on", "film,chat", *files)
        assert done.returncode == 1, done.stderr
        said = done.stderr.splitlines()
        assert {line for line in said if line.startswith("no adapter")} == {
            f"no adapter: {place / 'runs' / name}" for name in ("foreign", "store")
        }
        assert any(line.startswith(f"not scored: {place / 'runs' / 'damaged'}: ") for line in said)
        found = json.loads((tmp_path / "scores.json").read_text())
        assert list(found["not_scored"]) == [str(place / "runs" / "damaged")]
        entries = found["scores"]
        assert len(entries) == 3 * 2
        worst = [one["mean"] for one in entries if one["worst"]]
        assert worst == sorted(worst, reverse=True)
        task = load_task(table)
        for one in entries:
            exact = score(lowres.load(one["adapter"]), task.domain(one["domain"]).test)["macro_f1"]
            assert one["mean"] == pytest.approx(exact, abs=1e-6)
            assert one["low"] < one["mean"] < one["high"]
            assert one["mean"] >= min(other["mean"] for other in entries if other["adapter"] == one["adapter"])
        run, single = ([one for one in entries if (one["method"] == "target-only") == alone] for alone in (False, True))
        assert {one["trained_on"] for one in run} == {0}
        assert {one["trained_on"] for one in single} == {None}
        with (tmp_path / "scores.csv").open(encoding="utf-8") as stream:
            assert [row["adapter"] for row in csv.DictReader(stream)] == [one["adapter"] for one in entries]
        assert [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines()[2:]] == [
            str(Path(one["adapter"]).relative_to(place / "runs")) for one in entries if one["worst"]
        ]

    def test_rows_that_an_adapter_was_trained_on_are_counted(self, place: Path, tmp_path: Path) -> None:
        """A table in which training and test rows have changed places: 4 shots a class of two classes were seen."""
        text = (place / "tables" / "toy.csv").read_text()
        turned = text.replace(",train", ",held").replace(",test", ",train").replace(",held", ",test")
        (tmp_path / "turned.csv").write_text(turned)
        done = run_script("score_folder.py", str(place / "runs" / "one"), str(tmp_path / "turned.csv"), "--on", "film")
        assert done.returncode == 0, done.stderr
        seen = {
            line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ") for line in done.stdout.splitlines()[2:]
        }
        assert seen == {"best/film-0": "0", "best/film-4": "8 of 100 film"}

    def test_each_backbone_is_loaded_once(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        opened, whole = list[str](), Backbone.open
        monkeypatch.setattr(Backbone, "open", lambda one, *given: opened.append(one.name) or whole(one, *given))
        words = [str(place / "runs"), str(place / "tables" / "toy.csv"), "--on", "film"]
        monkeypatch.setattr(sys, "argv", ["score_folder.py", *words])
        with pytest.raises(SystemExit, match="1"):
            runpy.run_path(str(ROOT / "scripts" / "score_folder.py"), run_name="__main__")
        assert sorted(opened) == ["bert", "electra"]
        assert capsys.readouterr().out.count("film") >= 3

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["tables", "--on", "film"], "holds no adapter"),
            (["runs", "--on", "flim"], "did you mean 'film'"),
            (["runs", "--on", "film", "--split", "train"], "unknown split"),
        ],
    )
    def test_mistakes_are_said(self, words: list[str], said: str, place: Path) -> None:
        done = run_script("score_folder.py", str(place / words[0]), str(place / "tables" / "toy.csv"), *words[1:])
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_command_of_the_page_runs(encoder: Path, toy_table: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(bash|sh)\n(.*?)^```", text, flags=re.S | re.M)
    assert len(blocks) == len(re.findall(r"^```(?!text|$)", text, flags=re.M)) == 5
    cache = tmp_path / "cache"
    shutil.copytree(encoder, cache / "models" / f"minilm-{NAMED['minilm'].weights_sha256[:12]}")
    shutil.copyfile(toy_table, tmp_path / "reviews.csv")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "LOWRES_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PATH": path}
    said = []
    for shell, block in blocks:
        done = subprocess.run(
            [shell, "-euc", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    assert "in all: " in said[0]
    whole = json.loads((tmp_path / "runs" / "grid" / "grid.json").read_text())["studies"]
    assert [one["trained"] for one in whole.values()] == [0, 0]
    assert "3 checks, 0 failed, 0 open" in said[2]
    assert said[3] == "no worse than the baseline\n"
    assert len(list((tmp_path / "nightly").glob("*.xml"))) == 1
    assert said[4].count("best/film-") == 4
