"""The store: every fit under its key, every probability row under its fit. Written once, atomically, with checksums.

Layout: ``fits/<key>/`` (``fit.json``, tensors, log, ``SHA256SUMS``) and
``predictions/<key>/<fingerprint of the test rows>.safetensors``; ``drafts/`` and ``locks/`` while there is work.
Stores merge by copying.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import filelock
import numpy as np
import numpy.typing as npt
import safetensors
from safetensors import numpy as safe_numpy

from lowres.errors import StoreError
from lowres.files import clear_drafts, holds_sums, write_sums
from lowres.training.check import Check
from lowres.training.fit import Environment, Fit, Fitted, Tensors

KEY: Final = re.compile(r"[0-9a-f]{40}")
_PARTS: Final = {"fit.json", "adapter_model.safetensors", "head.safetensors", "log.jsonl"}


@dataclass
class Store:
    """Fits and predictions below one folder. Damaged entries count as absent and are listed in ``damaged``."""

    folder: Path
    damaged: list[str] = field(default_factory=list)

    def fit_folder(self, key: str) -> Path:
        """Where the fit of this key lies, or would lie."""
        return self.folder / "fits" / key

    def is_whole(self, key: str) -> bool:
        """Whether the fit is here and its checksums hold; changes nothing."""
        return _intact(self.fit_folder(key))

    def has_fit(self, key: str) -> bool:
        """Whether the fit is here and whole; a damaged one is set aside."""
        if self.is_whole(key):
            return True
        if os.path.lexists(self.fit_folder(key)):
            self._set_aside(self.fit_folder(key), f"fit {key}")
        return False

    def read_fit(self, key: str) -> Fitted | None:
        """The fit of this key; None if it is absent or damaged."""
        if not self.has_fit(key):
            return None
        folder = self.fit_folder(key)
        record = self.record(key)
        words = folder / "words.json"
        return Fitted(
            adapter=_load(folder / "adapter_model.safetensors"),
            head=_load(folder / "head.safetensors"),
            log=tuple(json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()),
            checks=tuple(Check(**check) for check in record["checks"]),
            seconds=record["seconds"],
            words=tuple(json.loads(words.read_text(encoding="utf-8"))) if words.is_file() else (),
        )

    def record(self, key: str) -> dict[str, Any]:
        """``fit.json`` of a fit that is here."""
        loaded: dict[str, Any] = json.loads((self.fit_folder(key) / "fit.json").read_text(encoding="utf-8"))
        return loaded

    def write_fit(
        self, key: str, fit: Fit, environment: Environment, fitted: Fitted, provenance: Mapping[str, Any]
    ) -> None:
        """Keeps a fit, all at once or not at all. One that another process kept meanwhile stays.

        Raises:
            StoreError: The disk is full or not writable.
        """
        record = {
            "key": key,
            "spec": fit.spec(),
            "starts": [need.key(environment) for need in fit.lineage()[:-1]],
            "environment": environment.of(fit),
            "checks": [asdict(check) for check in fitted.checks],
            "seconds": round(fitted.seconds, 3),
            "provenance": dict(provenance),
        }
        with self._drafting("fits") as draft:
            (draft / "fit.json").write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
            (draft / "log.jsonl").write_text(
                "".join(json.dumps(entry) + "\n" for entry in fitted.log), encoding="utf-8"
            )
            _save(draft / "adapter_model.safetensors", fitted.adapter)
            _save(draft / "head.safetensors", fitted.head)
            if fitted.words:
                (draft / "words.json").write_text(json.dumps(fitted.words, ensure_ascii=False), encoding="utf-8")
            write_sums(draft)
            with contextlib.suppress(FileExistsError):
                _rename(draft, self.fit_folder(key))

    def drop_fit(self, key: str) -> None:
        """Removes a fit and its predictions."""
        for folder in (self.fit_folder(key), self.folder / "predictions" / key):
            if os.path.lexists(folder):
                self._set_aside(folder, None)

    def check_predictions(self) -> int:
        """Reads every kept prediction against its checksum; the number of whole ones. Damaged ones are removed."""
        paths = sorted((self.folder / "predictions").glob("*/*.safetensors"))
        return sum(self.read_predictions(path.parent.name, path.stem) is not None for path in paths)

    def clear_drafts(self) -> int:
        """Removes locks that nobody holds and drafts of an hour ago that a killed process left; the number of drafts."""
        for path in (self.folder / "locks").glob("*.lock"):
            with contextlib.suppress(filelock.Timeout, OSError), filelock.FileLock(path, timeout=0):
                path.unlink()
        return clear_drafts(self.folder / "drafts", "*")

    def read_predictions(self, key: str, rows: str) -> npt.NDArray[np.float32] | None:
        """Probabilities [rows, classes] on the test rows of this fingerprint; None if absent or damaged."""
        path = self._predictions(key, rows)
        if not path.exists():
            return None
        try:
            with safetensors.safe_open(path, framework="np") as stream:
                meta, values = stream.metadata(), stream.get_tensor("probabilities")
            if meta["sha256"] == _sum(key, rows, meta["ids"], values):
                return np.asarray(values)
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError):
            pass
        self.damaged.append(f"predictions {key}/{rows}")
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return None

    def write_predictions(self, key: str, rows: str, ids: tuple[str, ...], values: npt.NDArray[np.float32]) -> None:
        """Keeps one probability row a test row, with the row ids.

        Raises:
            StoreError: The disk is full or not writable.
        """
        names = json.dumps(list(ids), ensure_ascii=False)
        values = np.ascontiguousarray(values, dtype=np.float32)
        meta = {"ids": names, "sha256": _sum(key, rows, names, values)}
        with self._drafting("predictions") as draft:
            safe_numpy.save_file({"probabilities": values}, draft / "rows", metadata=meta)
            path = self._predictions(key, rows)
            if os.path.lexists(path.parent) and not path.parent.is_dir():
                path.parent.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft / "rows", path)

    def list_fits(self) -> list[str]:
        """Keys of all fits, sorted."""
        folder = self.folder / "fits"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in names if KEY.fullmatch(name))

    @contextlib.contextmanager
    def training(self, key: str, wait: bool) -> Iterator[bool]:
        """Holds other processes off this key; gives False if one of them has it and ``wait`` is off."""
        lock = filelock.FileLock(self.folder / "locks" / f"{key}.lock")
        try:
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            yield False
            return
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield True
        finally:
            lock.release()

    def _predictions(self, key: str, rows: str) -> Path:
        return self.folder / "predictions" / key / f"{rows}.safetensors"

    @contextlib.contextmanager
    def _drafting(self, room: str) -> Iterator[Path]:
        """A folder on the same disk that is gone afterwards, whatever happens."""
        try:
            parent = self.folder / "drafts"
            parent.mkdir(parents=True, exist_ok=True)
            (self.folder / room).mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as place:
                draft = Path(place) / "draft"
                draft.mkdir()
                yield draft
        except (OSError, safetensors.SafetensorError) as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> StoreError:
        return StoreError(
            f"the store {self.folder} could not be written: {getattr(error, 'strerror', None) or error}\n"
            "what was finished is kept; next: make room or choose another folder with --store"
        )

    def _set_aside(self, folder: Path, note: str | None) -> None:
        """Takes a folder out of the store in one step, then removes it."""
        if note:
            self.damaged.append(note)
        with self._drafting("fits") as draft:
            with contextlib.suppress(FileNotFoundError):
                os.replace(folder, draft / folder.name)
            shutil.rmtree(draft / folder.name, ignore_errors=True)


def _intact(folder: Path) -> bool:
    if folder.is_symlink() or not holds_sums(folder, _PARTS):
        return False
    try:
        return bool(json.loads((folder / "fit.json").read_bytes())["key"] == folder.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _rename(draft: Path, final: Path) -> None:
    try:
        os.rename(draft, final)
    except OSError:
        if not final.is_dir():
            raise
        raise FileExistsError(final) from None


def _save(path: Path, tensors: Tensors) -> None:
    safe_numpy.save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    loaded: dict[str, npt.NDArray[Any]] = safe_numpy.load_file(path)
    return loaded


def _sum(key: str, rows: str, names: str, values: npt.NDArray[Any]) -> str:
    """Hash of predictions and of the fit and test rows that they belong to."""
    return _sha256(values.tobytes() + json.dumps([key, rows, names]).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
