"""What does not belong into a store, what lies in it under a wrong name, and run folders and caches that are damaged."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lowres.analysis.summary import Summary
from lowres.data import prepare
from tests.cli.conftest import call
from tests.faults.conftest import Command, results
from tests.faults.test_damage import DAMAGES

Made = tuple[Command, dict[str, Any], float]


@pytest.fixture
def run(undisturbed: Made, tmp_path: Path) -> Callable[[], Summary]:
    """Runs the study on the store and run folder below ``tmp_path``, which hold a finished run; compares its results."""
    made, summary, _ = undisturbed
    for name in ("store", "out"):
        shutil.copytree(made.folder / name, tmp_path / name)

    def again() -> Summary:
        done = call("run", *made.arguments, "--store", tmp_path / "store", "--out", tmp_path / "out", "--json")
        assert done.exit_code == 0, done.output
        found = Summary.model_validate_json(done.stdout)
        assert results(found.model_dump(mode="json")) == results(summary)
        return found

    return again


def fits(store: Path) -> list[Path]:
    return sorted((store / "fits").iterdir())


def checked(store: Path) -> tuple[int, str]:
    said = call("store", "check", "--store", store)
    return said.exit_code, said.stdout


def as_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("no folder")


def as_lost_link(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to("nowhere")


def as_link_to_another(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(fits(path.parent.parent)[-1].name)


def as_copy_of_another(path: Path) -> None:
    shutil.rmtree(path)
    shutil.copytree(fits(path.parent.parent)[-1], path)


def without_a_line(path: Path) -> None:
    """The list of checksums is well formed but does not speak of the adapter, which is gone."""
    sums = path / "SHA256SUMS"
    lines = [line for line in sums.read_text().splitlines() if "adapter_model" not in line]
    sums.write_text("\n".join(lines) + "\n")
    (path / "adapter_model.safetensors").unlink()


@pytest.mark.parametrize(
    "harm",
    [as_file, as_lost_link, as_link_to_another, as_copy_of_another, without_a_line],
    ids=lambda harm: harm.__name__,
)
def test_an_entry_that_is_no_fit_of_its_key_is_made_again(
    run: Callable[[], Summary], tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    store = tmp_path / "store"
    other = fits(store)[-1]
    kept = {path.name: path.read_bytes() for path in other.iterdir()}
    harm(fits(store)[0])
    assert run().fits.trained == 1
    assert {path.name: path.read_bytes() for path in other.iterdir()} == kept
    assert checked(store)[0] == 0


@pytest.mark.parametrize("harm", [as_file, as_lost_link], ids=lambda harm: harm.__name__)
def test_predictions_that_are_no_folder_are_made_again(
    run: Callable[[], Summary], tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    harm(sorted((tmp_path / "store" / "predictions").iterdir())[0])
    assert run().fits.trained == 0
    code, said = checked(tmp_path / "store")
    assert (code, ", 0 damaged" in said) == (0, True)


def test_check_finds_every_damaged_entry_once(run: Callable[[], Summary], tmp_path: Path) -> None:
    store = tmp_path / "store"
    as_file(fits(store)[0])
    (fits(store)[1] / "head.safetensors").unlink()
    as_lost_link(fits(store)[2])
    prediction = sorted(store.glob("predictions/*/*"))[0]
    prediction.unlink()
    prediction.mkdir()
    assert checked(store) == (1, "15 fits and 21 sets of predictions whole, 4 damaged\n")
    assert checked(store) == (0, "15 fits and 21 sets of predictions whole, 0 damaged\n")
    assert run().fits.trained == 3


def test_ls_names_damaged_entries_and_changes_nothing(run: Callable[[], Summary], tmp_path: Path) -> None:
    store = tmp_path / "store"
    (fits(store)[0] / "head.safetensors").write_bytes(b"")
    before = sorted(path.relative_to(store) for path in store.rglob("*"))
    said = call("store", "ls", "--store", store)
    assert said.exit_code == 0
    assert len(said.stdout.splitlines()) == 17
    assert f"damaged: {fits(store)[0].name}" in said.stderr
    assert sorted(path.relative_to(store) for path in store.rglob("*")) == before


def test_what_is_not_the_stores_is_left_alone(run: Callable[[], Summary], tmp_path: Path) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "photo.jpg").write_text("precious")
    (store / "fits" / ".DS_Store").write_text("")
    shutil.copytree(elsewhere, store / "fits" / "photos")
    (store / "fits" / "link").symlink_to(elsewhere)
    (store / "fits" / ("0" * 40)).symlink_to(elsewhere)
    (store / "predictions" / "notes.txt").write_text("mine")
    assert len(call("store", "ls", "--store", store).stdout.splitlines()) == 18
    assert checked(store)[0] == 1  # the link under a key
    assert checked(store)[0] == 0
    (store / "fits" / ("0" * 40)).symlink_to(elsewhere)
    pruned = call("store", "prune", "--keep", tmp_path / "out", "--store", store, "--yes")
    assert "1 fits removed, 18 kept" in pruned.stdout
    for photo in (elsewhere / "photo.jpg", store / "fits" / "photos" / "photo.jpg", store / "fits/link/photo.jpg"):
        assert photo.read_text() == "precious"
    assert (store / "predictions" / "notes.txt").read_text() == "mine"
    assert run().fits.trained == 0


def test_prune_needs_to_be_told_what_stays(run: Callable[[], Summary], tmp_path: Path) -> None:
    store = tmp_path / "store"
    for words in (["--yes"], ["--yes", "--keep", tmp_path], ["--yes", "--keep", tmp_path / "nowhere"]):
        refused = call("store", "prune", "--store", store, *words)
        assert refused.exit_code == 2
        assert "Traceback" not in refused.output
    assert len(fits(store)) == 18


def test_prune_of_a_wrong_folder_removes_nothing(run: Callable[[], Summary], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    (wrong / "fits" / "trousers").mkdir(parents=True)
    (wrong / "fits" / "trousers" / "size.txt").write_text("32")
    assert call("store", "prune", "--keep", tmp_path / "out", "--store", tmp_path / "out", "--yes").exit_code == 2
    call("store", "prune", "--keep", tmp_path / "out", "--store", wrong, "--yes")
    assert (wrong / "fits" / "trousers" / "size.txt").read_text() == "32"


def test_prune_clears_old_drafts_of_every_kind(run: Callable[[], Summary], tmp_path: Path) -> None:
    drafts = tmp_path / "store" / "drafts"
    (drafts / "folder" / "draft").mkdir(parents=True)
    (drafts / "file").write_text("half")
    (drafts / "new").mkdir()
    for name in ("folder", "file"):
        os.utime(drafts / name, (0, 0))
    (drafts / "link").symlink_to("nowhere")
    os.utime(drafts / "link", (0, 0), follow_symlinks=False)
    pruned = call("store", "prune", "--keep", tmp_path / "out", "--store", tmp_path / "store", "--yes")
    assert "3 drafts cleared" in pruned.stdout
    assert [path.name for path in drafts.iterdir()] == ["new"]


@pytest.mark.parametrize("damage", DAMAGES[:-1], ids=lambda damage: damage.__name__)
def test_a_damaged_run_folder_is_written_again(
    run: Callable[[], Summary], undisturbed: Made, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """One file of each kind at once, the recommended models and their weights with them."""
    out = tmp_path / "out"
    texts = ("study.yaml", "cells.jsonl", "summary.json", "evidence.json", "report.md", "report.html")
    models = ("lowres.json", "head.safetensors", "adapter_model.safetensors", "adapter_config.json")
    folders = sorted((out / "best").iterdir())
    hit = [*(out / name for name in texts), *(best / name for best, name in zip(folders, models, strict=True))]
    for path in hit:
        damage(path)
    assert run().fits.trained == 0
    whole = undisturbed[0].folder / "out"
    for path in hit:
        assert steady(path) == steady(whole / path.relative_to(out)), path


def steady(path: Path) -> object:
    """The content of a file of a run folder without what differs from run to run: places, times, counts of fits."""
    if path.name == "study.yaml":
        content = yaml.safe_load(path.read_text())
        return {name: value for name, value in content.items() if name not in ("out", "store", "provenance")}
    if path.name == "summary.json":
        return results(json.loads(path.read_text()))
    if path.name == "evidence.json":
        content = json.loads(path.read_text())
        costs = [{name: value for name, value in cost.items() if name != "seconds"} for cost in content.pop("costs")]
        return content | {"costs": costs, "laws": [law for law in content["laws"] if law["against"] != "seconds"]}
    if path.name.startswith("report"):
        return re.sub(r"[^\n]*(second|fits|trained|reused)[^\n]*", "", path.read_text())
    return path.read_bytes()


def test_what_others_put_beside_the_recommended_models_stays(run: Callable[[], Summary], tmp_path: Path) -> None:
    best = tmp_path / "out" / "best"
    shutil.copytree(best / "film-4", best / "mine")
    (best / "link").symlink_to(best / "mine")
    shutil.copytree(best / "film-4", best / "film-9")
    record = json.loads((best / "film-9" / "lowres.json").read_text())
    record["about"]["shots"] = 9
    (best / "film-9" / "lowres.json").write_text(json.dumps(record))
    (best / "chat-4" / "notes.txt").write_text("mine")
    (best / "chat-4" / "head.safetensors").write_bytes(b"")
    refused = call(
        "run", "--config", tmp_path / "out" / "study.yaml", "--store", tmp_path / "store", "--out", tmp_path / "out"
    )
    assert refused.exit_code == 2
    assert "notes.txt" in refused.stderr
    (best / "chat-4" / "notes.txt").unlink()
    run()
    assert {path.name for path in best.iterdir()} == {"film-0", "film-4", "chat-0", "chat-4", "mine", "link"}


def test_what_a_killed_writing_left_in_a_run_folder_is_cleared(run: Callable[[], Summary], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".summary.json-abcd1234").write_text("{")
    (out / "best" / ".draft-abcd1234").mkdir()
    os.rename(out / "best" / "film-4", out / "best" / ".draft-abcd1234" / "old")
    (out / "notes.txt").write_text("mine")
    for left in (out / ".summary.json-abcd1234", out / "best" / ".draft-abcd1234"):
        os.utime(left, (0, 0))
    run()
    names = {path.name for path in out.iterdir()}
    written = {"study.yaml", "cells.jsonl", "summary.json", "evidence.json", "report.md", "report.html"}
    assert names == {*written, "best", "notes.txt"}
    assert {path.name for path in (out / "best").iterdir()} == {"film-0", "film-4", "chat-0", "chat-4"}


def test_two_processes_write_the_same_run_folder(undisturbed: Made, command: Callable[[], Command]) -> None:
    made = command()
    shutil.copytree(undisturbed[0].folder / "store", made.folder / "store")
    processes = [made.start("--json") for _ in range(3)]
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ends
    assert all(results(json.loads(stdout)) == results(undisturbed[1]) for stdout, _ in ends)
    names = {path.relative_to(made.folder / "out") for path in (made.folder / "out").rglob("*")}
    whole = undisturbed[0].folder / "out"
    assert names == {path.relative_to(whole) for path in whole.rglob("*")}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_cache_is_made_again(
    run: Callable[[], Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    """Splits and the speed of the machine."""
    monkeypatch.setenv("LOWRES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prepare, "KEEP_FROM", 0.0)
    run()
    (splits,) = (tmp_path / "cache" / "prepared").glob("*.json")
    whole = splits.read_text()
    damage(splits)
    damage(tmp_path / "cache" / "machine.json")
    assert run().fits.trained == 0
    if splits.is_file():
        assert splits.read_text() == whole
    if (tmp_path / "cache" / "machine.json").is_file():
        (speeds,) = json.loads((tmp_path / "cache" / "machine.json").read_text()).values()
        assert min(speeds["fp32"], speeds["bf16"]) > 0


def test_predictions_of_another_fit_are_asked_for_again(run: Callable[[], Summary], tmp_path: Path) -> None:
    one, other, *_ = sorted((tmp_path / "store" / "predictions").glob("*/*.safetensors"))
    shutil.copyfile(other, one)
    run()
    assert checked(tmp_path / "store")[0] == 0
