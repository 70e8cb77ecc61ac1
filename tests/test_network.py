"""Nothing reaches for the network once task and model are here; and no test does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests import offline

ROOT = Path(__file__).parent.parent
GUARD = """
import os, sys, traceback

def refuse(event, arguments):
    inet = event == "socket.__new__" and arguments[1] in (2, 10)
    if inet or event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(os.environ["REFUSED"], "a") as stream:
            stream.write(f"{event} {arguments}\\n" + "".join(traceback.format_stack()))
        raise RuntimeError(f"refused: {event}")

sys.addaudithook(refuse)
"""
SESSION = """
import sys
from lowres.cli.main import app

table, encoder = sys.argv[1:]
quick = ["--set", "recipe.min_steps=4", "--set", "recipe.max_length=24", "--backbone", encoder, "--source-rows", "20"]
study = [table, "--source", "shop", "--target", "film", "--shots", "0,4", "--seeds", "2", "--out", "out", *quick]
with open("a.txt", "w") as stream:
    stream.write("good plot\\nbad plot\\n")
for words in (
    ["tasks", "check", table],
    ["plan", *study],
    ["run", *study],
    *(["report", "out", "--format", name] for name in ("table", "markdown", "json", "html", "latex", "csv")),
    ["predict", "out/best/film-4", "--input", "a.txt", "--output", "answers.jsonl"],
    ["fit", table, "--on", "film", "--shots", "4", "--out", "fitted", *quick],
    ["evaluate", "fitted", table, "--on", "film"],
    ["store", "check"],
):
    code = app(words, standalone_mode=False)
    assert not code, (words, code)

import lowres

classifier = lowres.Classifier(backbone=encoder, recipe={"min_steps": 4, "max_length": 24})
classifier.fit(["good plot", "bad plot"] * 4, ["good", "bad"] * 4).save("kept")
lowres.load("kept").predict(["good plot"])
print("whole")
"""


def environment(tmp_path: Path) -> dict[str, str]:
    """As a user has it: no flag says that there is no network, and nothing is in the cache."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "PIP_NO_INDEX")}
    return kept | {
        "LOWRES_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hub"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "guard"), str(ROOT)]),
        "REFUSED": str(tmp_path / "refused"),
        "OMP_NUM_THREADS": "1",
    }


def session(tmp_path: Path, table: Path, encoder: Path, *, before: tuple[str, ...] = (), guard: str = "") -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(guard)
    done = subprocess.run(
        [*before, sys.executable, "-c", SESSION, str(table), str(encoder)],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    refused = tmp_path / "refused"
    assert not refused.exists(), refused.read_text()
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "whole"
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["fits"]["failed"] == 0


def test_a_whole_study_opens_no_socket(tmp_path: Path, toy_table: Path, encoder: Path) -> None:
    session(tmp_path, toy_table, encoder, guard=GUARD)


def test_the_guard_sees_a_socket_and_a_name(tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    for call in (
        "socket.socket()",
        "socket.getaddrinfo('localhost', 80)",
        "socket.create_connection(('127.0.0.1', 9))",
    ):
        code = f"import socket\ntry:\n    {call}\nexcept RuntimeError as error:\n    print(error)"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("refused: socket.")
    assert (tmp_path / "refused").read_text().count("socket.") >= 3


def test_a_whole_study_without_a_network(tmp_path: Path, toy_table: Path, encoder: Path) -> None:
    before = ("unshare", "--map-root-user", "--net")
    if not shutil.which("unshare") or subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no process leave the network (unshare --net is not allowed)")
    session(tmp_path, toy_table, encoder, before=before)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "::1", b"127.0.0.1", None])
def test_this_machine_is_near(host: object) -> None:
    assert offline.is_near(host)


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "example.org", "2001:db8::1", b"example.org", "", "localhost.example.org"]
)
def test_other_machines_are_not(host: object) -> None:
    assert not offline.is_near(host)


def test_the_plugin_keeps_tests_from_the_network() -> None:
    with pytest.MonkeyPatch.context() as patch:
        offline.install(patch)
        with pytest.raises(offline.NetworkUsedError, match=r"looks up example\.org"):
            socket.create_connection(("example.org", 80), timeout=1)
        with socket.socket() as plain, pytest.raises(offline.NetworkUsedError, match=r"192\.0\.2\.1"):
            plain.connect(("192.0.2.1", 80))
        with socket.socket() as plain, pytest.raises(offline.NetworkUsedError):
            plain.connect_ex(("192.0.2.1", 80))
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=lambda: server.accept()[0].close())
            thread.start()
            socket.create_connection(server.getsockname(), timeout=5).close()
            thread.join()


def test_the_plugin_lets_slow_tests_through(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import socket, pytest\n"
        "def ask():\n    socket.getaddrinfo('no.such.host.invalid', 80)\n"
        "def test_quick():\n    with pytest.raises(RuntimeError):\n        ask()\n"
        "@pytest.mark.slow\ndef test_slow():\n    with pytest.raises(OSError):\n        ask()\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "tests.offline", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert "2 passed" in done.stdout, done.stdout
