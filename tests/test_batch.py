"""The batch scripts on tiny encoders and tiny tables, and every command of their page."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import toy_rows, write_table
from tests.test_scripts import run_script

QUICK = {
    "shots": [0, 4], "seeds": 2, "source-rows": 20, "precision": "fp32", "methods": ["target-only", "source-then-target"],
    "recipe": {"min_steps": 4, "epochs": 1, "max_length": 24},
}  # fmt: skip


@pytest.mark.parametrize("name", ["batch_grid.py"])
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
        scores = {one["method"]: one["mean"] for one in summary["scores"] if (one["target"], one["shots"]) == ("film", 4)}
        assert set(scores) == {"target-only", "probe"}
        assert (four["best"], four["score"]) == max(scores.items(), key=lambda item: item[1])
        assert zero["best"] == "source-only"
        with (tmp_path / "out" / "grid.csv").open(encoding="utf-8") as stream:
            assert [float(row["drop_low"]) for row in csv.DictReader(stream)] == [row["drop_low"] for row in found["rows"]]
        before = (tmp_path / "out" / "grid.csv").read_bytes()
        code, _, talk = self.call(tmp_path, grid)
        assert code == 0, talk
        again = json.loads((tmp_path / "out" / "grid.json").read_text())["studies"]
        assert [one["trained"] for one in again.values()] == [0] * 4
        assert (tmp_path / "out" / "grid.csv").read_bytes() == before

    def test_a_study_that_fails_is_named_and_the_others_go_on(self, grid: dict[str, Any], tmp_path: Path) -> None:
        lone = write_table(tmp_path / "lone.csv", [row for row in toy_rows(20) if row["domain"] == "shop"])
        grid |= {"tasks": [str(lone), *grid["tasks"]], "backbones": grid["backbones"][:1], "variants": {"": {}}, "overrides": []}
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
