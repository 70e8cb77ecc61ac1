"""``lowres doctor``: what it finds, what it calls a fault, and that it ends without a network."""

from __future__ import annotations

import shutil
import socket
import time
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lowres.cli import doctor
from lowres.cli.main import app
from lowres.data import index
from lowres.models.backbone import NAMED


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *(str(word) for word in words)])


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No question leaves this machine; cache and store are new."""
    monkeypatch.setattr(index, "reachable", lambda: True)
    monkeypatch.setattr(doctor, "_hub", lambda: False)
    monkeypatch.setenv("LOWRES_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(result: Result) -> dict[str, str]:
    return {line[:12].strip(): line[13:] for line in result.stdout.splitlines()}


def test_everything_is_said(near: Path) -> None:
    (near / "runs" / "store" / "fits" / "abc").mkdir(parents=True)
    (near / "cache").mkdir()
    (near / "cache" / "a.bin").write_bytes(bytes(2_000_000))
    result = call()
    assert result.exit_code == 0, result.output
    said = lines(result)
    for name in ("lowres", "torch", "transformers", "device", "threads", "cache", "store", "hub cache", "backbones"):
        assert said[name], name
    assert said["cache"].startswith(f"{near / 'cache'}, 2 MB, ")
    assert "1 fits" in said["store"]
    assert (said["index"], said["hub"]) == ("reachable", "not reachable")
    assert "next: lowres models fetch minilm" in result.stdout
    assert "fault" not in result.stdout


def test_nothing_is_left_to_do(near: Path) -> None:
    for name, spec in NAMED.items():
        folder = near / "cache" / "models" / f"{name}-{spec.weights_sha256[:12]}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert "lowres models fetch" not in call().stdout


def test_a_place_that_cannot_be_written_is_a_fault(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (near / "file").write_text("")
    result = call("--store", near / "file")
    assert result.exit_code == 1
    assert "choose another --store" in result.stdout
    assert call("--store", near / "file" / "below").exit_code == 1
    monkeypatch.setenv("LOWRES_CACHE", str(near / "file"))
    result = call()
    assert result.exit_code == 1
    assert "set LOWRES_CACHE" in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("free", "code", "said"), [(1 << 20, 1, "is full"), (1 << 29, 0, "537 MB are left")])
def test_a_disk_that_fills_up(near: Path, monkeypatch: pytest.MonkeyPatch, free: int, code: int, said: str) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1 << 40, 0, free))
    result = call()
    assert (result.exit_code, said in result.stdout) == (code, True)


def test_a_missing_package_is_a_fault(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.study import provenance

    monkeypatch.setattr(provenance, "PACKAGES", (*provenance.PACKAGES, "no-such-package"))
    result = call()
    assert result.exit_code == 1
    assert "pip install no-such-package" in result.stdout


def test_extras_that_are_missing_are_named(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.study import provenance

    sound = provenance.version_of
    assert lines(call())["extras"] == "explain installed, export installed, noise installed, tune installed"
    found = {"optuna": None, "onnx": "1.0"}
    monkeypatch.setattr(provenance, "version_of", lambda name: found.get(name, sound(name)))
    said = lines(call())["extras"]
    assert said.startswith("explain installed, export without onnx, noise installed, tune without optuna: pip install")

    def unknown(name: str) -> list[str]:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", unknown)
    assert "not installed" in lines(call())["extras"]


def test_a_device_that_does_not_work_is_a_fault(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.models import device

    def broken() -> None:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(device, "resolve", broken)
    result = call()
    assert result.exit_code == 1
    assert "fault: nothing can be computed: RuntimeError: driver too old" in result.stdout


def test_it_ends_though_nobody_answers(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    monkeypatch.setattr(index, "reachable", lambda: time.sleep(20))
    monkeypatch.setattr(doctor, "_hub", lambda: time.sleep(20))
    began = time.monotonic()
    result = call()
    assert time.monotonic() - began < 10
    assert result.exit_code == 0
    assert lines(result)["index"].startswith("no answer within")
    assert lines(result)["hub"].startswith("no answer within")


def test_it_ends_with_sockets_refused(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests
    from huggingface_hub import constants

    def refused(*_: object, **__: object) -> None:
        raise OSError("the network is blocked")

    monkeypatch.undo()
    monkeypatch.setenv("LOWRES_CACHE", str(near / "cache"))
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    began = time.monotonic()
    result = call("--store", near / "store")
    assert time.monotonic() - began < 10
    assert result.exit_code == 0, result.output
    assert (lines(result)["index"], lines(result)["hub"]) == ("not reachable", "not reachable")
    with pytest.raises(requests.ConnectionError):
        doctor._hub()


def test_the_hub_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from huggingface_hub import constants

    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def proxy() -> None:
            client, _ = server.accept()
            asked.append(client.recv(1000))
            client.close()

        thread = threading.Thread(target=proxy)
        thread.start()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example.org")
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert doctor._ask(doctor._hub)() == "not reachable"
        thread.join(5)
    assert asked
    assert asked[0].startswith(b"CONNECT hub.example.org:443")
