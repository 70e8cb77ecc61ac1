"""Completion as the shells ask for it: environment in, names out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from lowres.cli.complete import BY_COMMAND
from lowres.cli.main import app
from lowres.cli.run import FORMATS
from lowres.data.task import shipped_tasks
from lowres.methods.catalogue import METHODS

SHELLS = ("bash", "zsh", "fish")


def lowres(*words: str, **environment: str) -> str:
    code = "import sys; sys.argv[0] = 'lowres'; from lowres.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def completed(line: str, shell: str = "bash") -> list[str]:
    """What a shell would show after ``lowres`` and this line."""
    words = ["lowres", *line.split(" ")]
    asked = {
        "_LOWRES_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": " ".join(words),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    said = lowres(**asked)
    if shell == "zsh":
        return [part.split('"')[1] for part in said.split("((")[1].split("))")[0].splitlines()]
    return [part.split("\t")[0] for part in said.split("\n") if part]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_completes_commands_and_names(shell: str) -> None:
    assert completed("ru", shell) == ["run"]
    assert completed("run vader", shell) == ["vader-sentiment"]
    assert "--precision" in completed("run --pre", shell)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tasks show ", list(shipped_tasks())),
        ("plan --methods ", list(METHODS)),
        ("run --methods source-only,source-t", ["source-only,source-then-target"]),
        ("run --methods target-only,target-", ["target-only,target-full"]),
        ("fit --method target-f", ["target-full"]),
        ("run --backbone mini", ["minilm", "minilm-l12"]),
        ("models fetch mini", ["minilm", "minilm-l12"]),
        ("report runs/x --format la", ["latex"]),
        ("report runs/x --format ", list(FORMATS)),
        ("evaluate runs/x vader", ["vader-sentiment"]),
        ("run --protocol leave", ["leave-one-out"]),
        ("run my-table.cs", []),
    ],
)
def test_names_are_completed(line: str, expected: list[str]) -> None:
    found = completed(line)
    assert sorted(found) == sorted(expected)


def test_every_completed_parameter_exists() -> None:
    root = typer.main.get_command(app)
    for name, by_parameter in BY_COMMAND.items():
        place = root
        for word in name.split():
            place = place.commands[word]  # type: ignore[attr-defined]
        assert set(by_parameter) <= {parameter.name for parameter in place.params}, name


def test_completing_is_light() -> None:
    code = (
        "import sys\nfrom lowres.cli.main import app\nfrom lowres.cli.complete import BY_COMMAND\n"
        "assert all(complete('') for part in BY_COMMAND.values() for complete in part.values())\n"
        "heavy = {'torch', 'transformers', 'peft', 'accelerate', 'datasets', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_shown_and_installed(shell: str, tmp_path: Path) -> None:
    quiet = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    shown = lowres("--show-completion", shell, **quiet)
    assert "_LOWRES_COMPLETE" in shown
    assert f"complete_{shell}" in shown
    assert "installed in" in lowres("--install-completion", shell, **quiet)
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_LOWRES_COMPLETE" in text for text in kept)


def test_bash_itself(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "lowres"
    if not script.is_file():
        pytest.skip("the console script is not beside this Python")
    lines = (
        'eval "$(lowres --show-completion bash)"; COMP_WORDS=(lowres run vader); COMP_CWORD=2;'
        " _lowres_completion lowres; echo ${COMPREPLY[@]}"
    )
    environment = {
        **os.environ,
        "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run(["bash", "-c", lines], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "vader-sentiment", done.stderr
