"""What other programs import: names, arguments, and every block of the library's page."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lowres
from lowres.errors import UserError
from lowres.models.backbone import NAMED
from lowres.study.config import read_config

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "library.md"


def test_every_block_of_the_page_runs(
    encoder: Path, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M)
    assert len(blocks) == len(re.findall(r"^```\w", text, flags=re.M)) >= 7
    cache = tmp_path / "cache"
    shutil.copytree(encoder, cache / "models" / f"minilm-{NAMED['minilm'].weights_sha256[:12]}")
    monkeypatch.setenv("LOWRES_CACHE", str(cache))
    shutil.copyfile(toy_table, tmp_path / "reviews.csv")
    monkeypatch.chdir(tmp_path)
    place: dict[str, object] = {"__name__": "page"}
    ran = 0
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), place)
        ran += 1
    assert ran == len(blocks)
    said = capsys.readouterr().out
    for words in ("fits", "shop film", "source-then-target", "report.html", "did you mean shots?"):
        assert words in said
    assert (tmp_path / "film-4" / "adapter_config.json").is_file()


def test_importing_is_light() -> None:
    code = (
        "import sys, lowres\n"
        "assert not {'numpy', 'torch', 'pydantic', 'typer', 'rich', 'sklearn'} & set(sys.modules)\n"
        "names = {name for name in dir(lowres) if not name.startswith('_')}\n"
        "wanted = {'Classifier', 'LowresError', 'Study', 'StudyResult', 'UserError', 'compress', 'export_model', 'load', 'load_many', 'patch'}\n"
        "assert names == wanted, names\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_importing_is_fast() -> None:
    """Processor seconds over those of Python itself, the best of five, so that a busy machine fails nothing."""

    def seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds("import lowres") for _ in range(5)) - min(seconds("pass") for _ in range(5)) < 0.1


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "lowres" / "py.typed").is_file()


def test_names_are_all_there_and_typos_get_the_nearest() -> None:
    assert all(getattr(lowres, name) is not None for name in lowres.__all__)
    with pytest.raises(AttributeError, match="did you mean Study or StudyResult"):
        lowres.Studdy  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute '_hidden'$"):
        lowres._hidden  # noqa: B018
    assert not hasattr(lowres, "utils")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no task given"),
        ({"task": "vader-sentimant"}, "did you mean 'vader-sentiment'"),
        ({"task": Path("gone.csv")}, "gone.csv"),
        ({"task": "t.csv", "shotz": [1]}, "did you mean shots"),
        ({"task": "t.csv", "shots": "many"}, "shots"),
        ({"task": "t.csv", "seeds": 0}, "at least 1"),
        ({"task": "t.csv", "recipe": {"batches": 3}}, "recipe.batch"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        lowres.Study(**options).task  # type: ignore[arg-type]  # noqa: B018


def test_paths_and_single_names_are_taken(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    study = lowres.Study(
        task=toy_table,
        sources="shop",
        targets=iter(["film"]),
        shots=[0],
        seeds=1,
        backbone=encoder,
        store=tmp_path / "s",
    )
    assert (study.plan.sources, study.plan.targets) == (("shop",), ("film",))
    assert study.store.folder == tmp_path / "s"
    assert study.backbone.folder == encoder


def test_guessed_columns_are_named_in_what_is_written(toy_table: Path, encoder: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(toy_table.read_text(encoding="utf-8").replace("text,label", "body,stars", 1), encoding="utf-8")
    study = lowres.Study(
        task=table, sources="shop", targets="film", shots=[0], seeds=2, backbone=encoder, store=tmp_path / "s",
        out=tmp_path / "out", recipe={"min_steps": 2, "max_length": 24}, methods=["source-only"],
    )  # fmt: skip
    assert any("'body'" in note for note in study.task.notes)
    study.run()
    written = read_config(tmp_path / "out" / "study.yaml")
    assert (written["text_column"], written["label_column"]) == ("body", "stars")
