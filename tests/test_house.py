"""The house itself: imports go one way, shipped files are covered, documents are run."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lowres"
ORDER = (
    "errors", "files", "kinds", "seeds", "settings", "scoring", "data", "models", "training", "methods", "stats", "study", "analysis",
    "tuning", "export", "report", "results", "library", "estimator", "cli",
)  # fmt: skip
NO_TORCH = ("data", "methods", "scoring", "stats", "report")


def modules() -> dict[str, Path]:
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path, *, top_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(tree.body) if top_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path} imports relatively"
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_downwards(module: str) -> None:
    here = room(module)
    if here in ("", "__init__", "__main__"):
        return
    used = {room(name) for name in imported(modules()[module], top_only=False) if name.startswith("lowres.")}
    known = {name for name in used if name in ORDER}
    assert all(ORDER.index(name) <= ORDER.index(here) for name in known), f"{module} imports {known}"
    if here == "stats":
        assert known <= {"stats"}


def test_every_room_has_a_place() -> None:
    rooms = {
        path.stem if path.is_file() else path.name
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or path.is_dir()
    }
    assert rooms - {"__init__", "__main__", "__pycache__", "tasks"} <= set(ORDER)


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in sorted(modules())
        if room(name) in NO_TORCH or name in ("lowres.study.plan", "lowres.study.store")
    ],
)
def test_rooms_without_torch(module: str) -> None:
    names = imported(modules()[module], top_only=False)
    if module == "lowres.scoring.evaluate_modules":
        assert not {"evaluate", "datasets"} & imported(modules()[module], top_only=True)
        return
    assert not {name for name in names if name.split(".")[0] in ("torch", "transformers", "peft", "accelerate")}


def test_what_has_to_do_without_torch_does_so_through_all_its_imports() -> None:
    names = [name for name in modules() if room(name) in NO_TORCH and not name.endswith("__init__")]
    code = f"import importlib, sys\nfor name in {[*names, 'lowres.study.plan', 'lowres.study.store']!r}: importlib.import_module(name)\n"
    code += "assert not {'torch', 'transformers', 'peft', 'accelerate', 'evaluate'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_thin_init_files() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent != PACKAGE:
            assert not path.read_text(encoding="utf-8").strip(), f"{path} re-exports"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["tasks", "--help"]])
def test_help_is_light(words: list[str]) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['lowres', *{words!r}]\n"
        "try:\n    runpy.run_module('lowres', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'accelerate', 'datasets', 'evaluate', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_help_is_fast() -> None:
    """Processor seconds, so that a busy machine fails nothing."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "lowres", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


def test_names_are_the_fields_nouns() -> None:
    assert not {path.stem for path in PACKAGE.rglob("*.py")} & {"utils", "misc", "common", "core", "manager", "helpers"}


def test_every_task_file_is_read_and_listed() -> None:
    from lowres.data.spec import read_spec
    from lowres.data.task import shipped_tasks

    on_disk = {path.stem for path in (ROOT / "tasks").glob("*.yaml")}
    assert on_disk == set(shipped_tasks())
    assert len(on_disk) >= 7
    for name, path in shipped_tasks().items():
        spec = read_spec(path)
        assert spec.name == name
        assert spec.licence
        assert spec.citation


def test_every_task_stands_in_the_readme_or_docs() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for path in (ROOT / "tasks").glob("*.yaml"):
        assert f"`{path.stem}`" in text, f"{path.stem} is documented nowhere"


def test_every_readme_command_parses() -> None:
    """Each ``lowres …`` line of README and docs names a command and flags that exist."""
    import typer

    from lowres.cli.main import app

    command = typer.main.get_command(app)
    lines = []
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for block in re.findall(r"```(?:bash|console|sh)\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S):
            joined = block.replace("\\\n", " ")
            lines += [
                line.strip().removeprefix("$ ")
                for line in joined.splitlines()
                if line.strip().removeprefix("$ ").startswith("lowres ")
            ]
    assert len(lines) >= 10
    for line in lines:
        words = line.split("#")[0].split("|")[0].split("<")[0].split(">")[0].split()[1:]
        place = command
        while words and not words[0].startswith("-") and hasattr(place, "commands"):
            assert words[0] in place.commands, line
            place = place.commands[words.pop(0)]
        known = {option for parameter in place.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
            "--help",
            "-h",
        }
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, line


def test_no_path_of_a_machine_is_committed() -> None:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    home = "/" + "home/", "/" + "root/", "/" + "work/"
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".json", ".html"} and path.is_file():
            assert not any(part in path.read_text(encoding="utf-8") for part in home), name


def test_the_pinned_torch_is_the_documented_one() -> None:
    pinned = re.search(r"^torch==(.*)$", (ROOT / "scripts" / "constraints.txt").read_text(), flags=re.M)
    assert pinned
    assert pinned.group(1) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_task_files_are_plain_yaml() -> None:
    for path in (ROOT / "tasks").glob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_readme_shows_what_the_demo_gave() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.split("<!-- demo:begin -->")[1].split("<!-- demo:end -->")[0]
    words = (ROOT / "scripts" / "demo").read_text(encoding="utf-8").split()
    source, targets = words[words.index("--source") + 1], words[words.index("--target") + 1].split(",")
    for target in targets:
        assert f"{source} → {target}" in shown
    assert "Verdict" in shown
    assert "report.html" in shown


def test_tables_of_measurements_are_filled() -> None:
    for name in ("statistics", "validation", "measured"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        filled = re.findall(r"<!-- (?:simulation|comparison|matrix):begin -->(.*?)<!--", text, flags=re.S)
        assert filled, name
        for inner in filled:
            assert inner.count("|") > 50, name
