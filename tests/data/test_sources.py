"""Archives and downloads, without a network."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import IO

import pytest

from lowres.data import index, sources
from lowres.data.sources import fetch_pypi, read_member
from lowres.errors import DataError, FetchError


def tar(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return out.getvalue()


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_members_of_nested_archives(tmp_path: Path) -> None:
    for number, data in enumerate((tar(a=b"x", inner=zipped(b=b"y")), zipped(a=b"x", inner=tar(b=b"y")))):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert read_member(path, "a") == b"x"
        assert read_member(path, "inner", "b") == b"y"
        with pytest.raises(DataError, match="holds no file 'c'"):
            read_member(path, "inner", "c")
        with pytest.raises(DataError, match="too big"):
            read_member(path, "inner", max_bytes=20)
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=r"damaged archive|holds no file"):
            read_member(path, "inner", "b")


def test_links_are_not_followed_and_nothing_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(tar(**{"../../out": b"x"}))
    assert read_member(path, "../../out") == b"x"
    with pytest.raises(DataError, match="holds no file 'link'"):
        read_member(path, "link")
    assert [child.name for child in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_bomb_stops_at_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_DOWNLOAD_BYTES", 1000)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(tar(big=bytes(100_000), wanted=b"x"))
    with pytest.raises(DataError, match="too big"):
        read_member(path, "wanted")


DATA = b"some data"
SHA = hashlib.sha256(DATA).hexdigest()


def serve(monkeypatch: pytest.MonkeyPatch, data: bytes) -> list[str]:
    calls: list[str] = []

    def download(project: str, version: str, filename: str, target: IO[bytes], *rest: object) -> None:
        calls.append(filename)
        target.write(data)

    monkeypatch.setattr(index, "download", download)
    return calls


def test_fetched_once_then_offline_and_again_if_damaged(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = serve(monkeypatch, DATA)
    path = fetch_pypi("p", "1", "p.whl", SHA)
    assert path == cache / "pypi" / "p" / "p.whl"
    assert fetch_pypi("p", "1", "p.whl", SHA).read_bytes() == DATA
    assert calls == ["p.whl"]
    path.write_bytes(b"some dat")
    assert fetch_pypi("p", "1", "p.whl", SHA).read_bytes() == DATA
    assert calls == ["p.whl"] * 2


def test_a_file_that_is_not_the_pinned_one_is_never_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, b"other data")
    with pytest.raises(FetchError, match="not the pinned file"):
        fetch_pypi("p", "1", "p.whl", SHA)
    assert list((cache / "pypi" / "p").iterdir()) == []


def test_mirror_comes_before_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = serve(monkeypatch, DATA)
    held = tmp_path / "pypi" / "p" / "p.whl"
    held.parent.mkdir(parents=True)
    held.write_bytes(DATA)
    monkeypatch.setenv("LOWRES_MIRROR", str(tmp_path))
    assert fetch_pypi("p", "1", "p.whl", SHA).read_bytes() == DATA
    held.write_bytes(b"wrong")
    with pytest.raises(FetchError, match="not the pinned file"):
        fetch_pypi("p", "1", "p.whl", "0" * 64)
    assert calls == []


@pytest.mark.parametrize(("project", "filename"), [("p", "../x"), ("..", "x"), ("p/q", "x")])
def test_names_cannot_leave_the_cache(project: str, filename: str) -> None:
    with pytest.raises(FetchError, match="no plain file name"):
        fetch_pypi(project, "1", filename, SHA)


def test_no_network_says_what_from_where_and_what_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "TRIES", 1)
    monkeypatch.setattr(index, "pip_settings", lambda: {"index-url": "http://user:secret@127.0.0.1:9/simple"})
    with pytest.raises(FetchError) as caught:
        fetch_pypi("p", "1", "p.whl", SHA)
    first, second, third = str(caught.value).splitlines()
    assert first == "cannot fetch p.whl (p 1)"
    assert second == "127.0.0.1: no connection (ConnectionError)"
    assert "$LOWRES_MIRROR/pypi/p/p.whl" in third
    assert "secret" not in str(caught.value)


def test_pip_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "CERT", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    listing = (
        "global.index-url='http://g'\ninstall.index-url='http://i'\nglobal.extra-index-url='\\nhttp://x\\nhttp://y'\n"
    )
    monkeypatch.setattr(index, "_pip_config", lambda: listing)
    settings = index.pip_settings()
    assert settings["index-url"] == "http://i"
    assert index._endpoints(settings) == ["http://i", "http://x", "http://y"]
    monkeypatch.setenv("PIP_INDEX_URL", "http://e")
    assert index.pip_settings()["index-url"] == "http://e"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FetchError, match="pip is set to use no index"):
        fetch_pypi("p", "1", "p.whl", SHA)


def test_own_file_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.csv\ngot No such file"):
        sources.check_file(tmp_path / "gone.csv")
    (tmp_path / "big.csv").write_bytes(bytes(1000))
    monkeypatch.setattr(sources, "MAX_TABLE_BYTES", 999)
    with pytest.raises(DataError, match="too big for memory"):
        sources.check_file(tmp_path / "big.csv")
