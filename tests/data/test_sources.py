"""Archives and downloads, without a network."""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, ClassVar

import pytest
import yaml

from lowres.data import index, sources
from lowres.data.sources import fetch_github, fetch_pypi, read_member, read_pieces
from lowres.data.spec import GithubSource, HubSource, TableFormat, read_spec
from lowres.data.tables import read_table
from lowres.data.task import load_task, shipped_tasks
from lowres.errors import DataError, FetchError, UserError
from lowres.kinds import join_pair


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


COMMIT = "0123456789" * 4
GITHUB = {
    "kind": "github",
    "owner": "an-owner",
    "repository": "a.repo",
    "commit": COMMIT,
    "parts": [{"path": "data/a b.csv", "sha256": SHA, "domain": "x"}],
}


def test_github_is_fetched_once_by_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download_url(url: str, name: str, target: IO[bytes], *rest: object) -> None:
        asked.append(url)
        target.write(DATA)

    monkeypatch.setattr(index, "download_url", download_url)
    source = GithubSource.model_validate(GITHUB)
    for _ in range(2):
        (piece,) = read_pieces(source, Path())
        assert (piece.name, piece.domain, piece.split) == ("data/a b.csv", "x", None)
        assert piece.data == cache / "github" / "an-owner" / "a.repo" / COMMIT / "data" / "a b.csv"
        assert piece.data.read_bytes() == DATA
    assert asked == [f"https://raw.githubusercontent.com/an-owner/a.repo/{COMMIT}/data/a%20b.csv"]


def test_github_comes_from_the_mirror_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWRES_MIRROR", str(tmp_path))
    held = tmp_path / "github" / "o" / "r" / COMMIT / "d" / "x.json"
    held.parent.mkdir(parents=True)
    held.write_bytes(DATA)
    assert fetch_github("o", "r", COMMIT, "d/x.json", SHA).read_bytes() == DATA
    held.write_bytes(b"wrong")
    with pytest.raises(FetchError, match="not the pinned file"):
        fetch_github("o", "r", COMMIT, "d/x.json", "0" * 64)


class Server(BaseHTTPRequestHandler):
    """Serves ``DATA``; the path names how many failures come first, as in ``/503/2/name``."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        _, status, failures, _ = self.path.split("/")
        fine = self.asked.count(self.path) > int(failures)
        self.send_response(200 if fine else int(status))
        self.send_header("Content-Length", str(len(DATA) if fine else 0))
        self.end_headers()
        if fine:
            self.wfile.write(DATA)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(index.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Server, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_download_by_address(server: str) -> None:
    target, told = io.BytesIO(), []
    target.write(b"left over from before, and longer")
    index.download_url(f"{server}/503/2/x", "x", target, 100, lambda *seen: told.append(seen))
    assert target.getvalue() == DATA
    assert told == [("x", len(DATA), len(DATA))]
    assert len(Server.asked) == 3
    with pytest.raises(FetchError, match="x is larger than 5 bytes"):
        index.download_url(f"{server}/200/0/y", "x", io.BytesIO(), 5)


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, index.TRIES)])
def test_a_download_that_fails_says_what_from_where_and_what_next(server: str, status: int, tries: int) -> None:
    with pytest.raises(FetchError) as caught:
        index.download_url(f"{server}/{status}/9/x", "x", io.BytesIO(), 100, advice="do this")
    assert str(caught.value) == f"cannot fetch x\n127.0.0.1: HTTP status {status}\ndo this"
    assert len(Server.asked) == tries


ROWS = [{"text": f"text {number}", "label": number % 2, "site": "ab"[number % 2]} for number in range(6)]
README = """---
dataset_info:
- config_name: one
  features: &features
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': bad, '1': good}}}}
  - {name: site, dtype: string}
- config_name: two
  features: *features
configs:
- config_name: one
  data_files:
  - {split: train, path: one/train.jsonl}
  - {split: validation, path: one/more.jsonl}
- config_name: two
  data_files: [{split: test, path: two/*.jsonl}]
---
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder as ``datasets`` lays it out, with class labels and two configs."""
    for name, rows in {"one/train": ROWS, "one/more": [*ROWS[:2], ROWS[2] | {"label": -1}], "two/x": ROWS[3:]}.items():
        path = tmp_path / "set" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "set" / "README.md").write_text(README)
    return tmp_path / "set"


def hub(parts: list[dict[str, str]], **fields: Any) -> HubSource:
    return HubSource.model_validate({"kind": "hub", "dataset": "./set", "parts": parts} | fields)


def read(source: HubSource, folder: Path) -> list[tuple[str, list[str], list[str], str | None, str | None]]:
    found = []
    for piece in read_pieces(source, folder):
        table = read_table(piece.data, piece.name, TableFormat())
        found.append((piece.name, table.column("text"), table.column("label"), piece.domain, piece.split))
    return found


def test_a_folder_is_read_like_a_dataset_of_the_hub(
    dataset: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    parts = [
        {"hub_split": "train", "split": "train", "domain": "x"},
        {"hub_split": "validation", "split": "dev", "domain": "x"},
        {"hub_split": "test", "config": "two"},
    ]
    texts = [row["text"] for row in ROWS]
    for _ in range(2):
        assert read(hub(parts, config="one"), dataset.parent) == [
            ("./set/one/train.parquet", texts, ["bad", "good"] * 3, "x", "train"),
            ("./set/one/validation.parquet", texts[:3], ["bad", "good", ""], "x", "dev"),
            ("./set/two/test.parquet", texts[3:], ["good", "bad", "good"], None, None),
        ]
    assert list((cache / "datasets").iterdir()) == []  # a folder may change: nothing of it is kept


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"cannot be loaded\ngot .*\['one', 'two'\]"),
        ({"config": "three"}, "config three cannot be loaded\ngot .*three"),
        ({"config": "two"}, r"unknown split of dataset ./set, config two 'train'(.|\n)*test"),
        ({"dataset": "./gone"}, "no such folder"),
        ({"dataset": "./code", "config": "x"}, "cannot be loaded\ngot Dataset scripts are no longer supported"),
        ({"dataset": "./text"}, "holds no tables\ngot files of kind text"),
        ({"dataset": "./empty"}, "cannot be loaded"),
    ],
)
def test_a_folder_that_cannot_be_used(dataset: Path, fields: dict[str, str], message: str) -> None:
    for name, file in {"code": "code.py", "text": "train.txt", "empty": "x.unknown"}.items():
        (dataset.parent / name).mkdir()
        (dataset.parent / name / file).write_text("raise SystemExit('was run')")
    with pytest.raises(UserError, match=message) as caught:
        read(hub([{"hub_split": "train"}], **fields), dataset.parent)
    assert len(str(caught.value).splitlines()) <= 3


HUB = {"dataset": "owner/set", "revision": COMMIT, "config": "one"}


def test_what_came_from_the_hub_is_kept_under_its_revision(
    dataset: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    asked: list[Any] = []
    load = datasets.load_dataset_builder

    def builder(path: str, config: str, *, data_dir: None, revision: str, cache_dir: str) -> Any:
        asked.append((path, config, revision))
        return load(str(dataset), config, cache_dir=cache_dir)

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, *names, **fields: asked.append(names[0]))
    source = hub([{"hub_split": "train"}, {"hub_split": "validation"}], **HUB)
    first = read(source, Path())
    assert asked == ["owner/set", ("owner/set", "one", COMMIT)]
    kept = {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}
    assert kept == {f"datasets/owner/set/{COMMIT}/one/{split}.parquet" for split in ("train", "validation")}
    assert read(source, Path()) == first
    assert [name for name, *_ in first] == ["owner/set/one/train.parquet", "owner/set/one/validation.parquet"]
    assert len(asked) == 2
    read(hub([{"hub_split": "train"}], **HUB | {"revision": "f" * 40}), Path())
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("OfflineModeIsEnabled", "HF_HUB_OFFLINE is set"),
        ("RepositoryNotFoundError", "no such dataset, or it is private"),
        ("RevisionNotFoundError", "no such revision"),
        ("ConnectError", r"no answer \(ConnectError\)"),
    ],
)
def test_a_hub_that_does_not_give_it(kind: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*arguments: object, **fields: object) -> None:
        raise type(kind, (Exception,), {})("https://hub/with?secrets")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    with pytest.raises(FetchError, match=f"owner/set, revision {COMMIT}\nthe hub: .*{reason}") as caught:
        read(hub([{"hub_split": "train"}], **HUB), Path())
    assert len(str(caught.value).splitlines()) <= 3
    assert "secrets" not in str(caught.value)


def test_a_folder_here_is_never_taken_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="meant for the hub, but is a folder here"):
        read(hub([{"hub_split": "train"}], **HUB), Path())


def test_inference_tasks_of_the_hub_on_a_folder_of_the_same_layout(tmp_path: Path) -> None:
    """One config, class labels as numbers, two texts; domains by genre in a column, or by round in the splits."""
    names = ["entailment", "neutral", "contradiction"]
    for name, config, more in (
        ("mnli-genres", "default", ["promptID", "genre"]),
        ("anli-rounds", "plain_text", ["uid"]),
    ):
        spec = read_spec(shipped_tasks()[name])
        assert isinstance(spec.source, HubSource)
        splits = [part.hub_split for part in spec.source.parts]
        genres = spec.domains if "genre" in more else ("",)
        for split in splits:
            lines = [
                json.dumps({
                    "premise": f"{split} {genre} premise {place}", "hypothesis": f"hypothesis {place}", "label": place,
                    **dict.fromkeys(more, f"{split}-{place}") | {"genre": genre},
                })
                for genre in genres
                for place in range(3)
            ]  # fmt: skip
            path = tmp_path / name / "data" / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines))
        kinds = [{"name": column, "dtype": "string"} for column in ("premise", "hypothesis", *more)]
        label = {"name": "label", "dtype": {"class_label": {"names": dict(enumerate(names))}}}
        features = [
            *({column["name"]: column for column in [*kinds, {"name": "genre", "dtype": "string"}]}.values()),
            label,
        ]
        files = [{"split": split, "path": f"data/{split}.jsonl"} for split in splits]
        card = {
            "dataset_info": {"config_name": config, "features": features},
            "configs": [{"config_name": config, "data_files": files}],
        }
        (tmp_path / name / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
        text = shipped_tasks()[name].read_text(encoding="utf-8")
        text = re.sub(r"^  revision: .*\n", "", text, flags=re.M).replace(spec.source.dataset, f"./{name}")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        task = load_task(tmp_path / f"{name}.yaml")
        assert (task.kind, task.labels) == ("pair", tuple(names))
        assert tuple(task.domains) == spec.domains
        for domain in task.domains.values():
            genre = domain.name if "genre" in more else ""
            split = next(one for one in splits if one.startswith(("validation", f"test_{domain.name}")))
            assert list(domain.test.texts) == [
                join_pair(f"{split} {genre} premise {place}", f"hypothesis {place}") for place in range(3)
            ]
            assert list(domain.test.labels) == names


@pytest.mark.parametrize("name", ["amazon-counterfactual", "massive-scenario", "mtop-domain"])
def test_hub_tasks_on_a_folder_of_the_same_layout(name: str, tmp_path: Path) -> None:
    spec = read_spec(shipped_tasks()[name])
    assert isinstance(spec.source, HubSource)
    values = list(spec.values) or ["alarm", "weather"]
    configs: dict[str, list[dict[str, str]]] = {}
    for part in spec.source.parts:
        path = tmp_path / "set" / f"{part.config}" / f"{part.hub_split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {spec.columns.text: f"{part.hub_split} row {place} of {part.config}", spec.columns.label: value}
            for place, value in enumerate(int(value) if value.isdigit() else value for value in values)
        ]
        path.write_text("\n".join(json.dumps(row) for row in rows))
        configs.setdefault(f"{part.config}", []).append(
            {"split": part.hub_split, "path": f"{part.config}/{part.hub_split}.jsonl"}
        )
    card = {"configs": [{"config_name": config, "data_files": files} for config, files in configs.items()]}
    (tmp_path / "set" / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    text = shipped_tasks()[name].read_text(encoding="utf-8")
    text = re.sub(r"^  revision: .*\n", "", text, flags=re.M).replace(spec.source.dataset, "./set")
    (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
    task = load_task(tmp_path / "task.yaml")
    assert task.labels == (spec.labels or ("alarm", "weather"))
    assert tuple(task.domains) == spec.domains
    for domain in task.domains.values():
        for rows, word in ((domain.train, "train"), (domain.dev, "validation"), (domain.test, "test")):
            assert list(rows.texts) == [f"{word} row {place} of {domain.name}" for place in range(len(values))]
            assert sorted(rows.labels) == sorted(task.labels)
