"""What the frozen lower layers say about a text, computed once and kept on disk, memory-mapped.

One folder an encoder, precision and number of layers; in it any number of shards, each written once. A shard holds
the hidden vectors of some token sequences one after another, their lengths, and a hash of each sequence.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lowres.data.tokens import TokenArray

MOST_BYTES: Final = 4 << 30
"""Of all folders side by side; the shards that were written first make room."""
_HASH: Final = 16


class Prefix:
    """Hidden vectors by token sequence.

    Args:
        folder: Where the shards lie; made when the first is written.
        compute: Hidden vectors [tokens, hidden] of sequences that are not known yet.
        most_bytes: Size from which old shards are removed.
    """

    def __init__(
        self, folder: Path, compute: Callable[[Sequence[TokenArray]], list[Tensor]], most_bytes: int = MOST_BYTES
    ) -> None:
        self.folder, self._compute, self._most = folder, compute, most_bytes
        self._known: dict[bytes, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.name):
            self._read(path)

    def hidden(self, arrays: Sequence[TokenArray]) -> list[Tensor]:
        """Hidden vectors [tokens, hidden] of each sequence, from disk or computed and kept now."""
        names = [_name(array) for array in arrays]
        missing = {name: array for name, array in zip(names, arrays, strict=True) if name not in self._known}
        if missing:
            made = [piece.detach().cpu().contiguous() for piece in self._compute(list(missing.values()))]
            self._known |= dict(zip(missing, made, strict=True))  # until the shard that replaces them is mapped
            with contextlib.suppress(OSError, SafetensorError):  # the cache only saves time
                self._write(list(missing), made)
        return [self._known[name] for name in names]

    def _write(self, names: list[bytes], pieces: list[Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "hidden": torch.cat(pieces),
            "lengths": torch.tensor([len(piece) for piece in pieces]),
            "names": torch.frombuffer(bytearray(b"".join(names)), dtype=torch.uint8),
        }
        shard = hashlib.blake2b(b"".join(names), digest_size=_HASH).hexdigest()
        handle, draft = tempfile.mkstemp(prefix=".part-", dir=self.folder)
        os.close(handle)
        try:
            save_file(tensors, draft, metadata={"sum": _sum(tensors)})
            self._make_room(Path(draft).stat().st_size)
            os.replace(draft, self.folder / f"{shard}.safetensors")
            self._read(self.folder / f"{shard}.safetensors")
        finally:
            Path(draft).unlink(missing_ok=True)

    def _make_room(self, coming: int) -> None:
        """Removes the oldest shards; what this process has mapped of them stays readable."""
        shards = sorted(
            (path.stat().st_mtime, path.stat().st_size, path) for path in self.folder.parent.glob("*/*.safetensors")
        )
        total = sum(size for _, size, _ in shards) + coming
        for _, size, path in shards:
            if total <= self._most:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _read(self, path: Path) -> None:
        """Takes in a shard; a damaged one is removed."""
        try:
            with safe_open(path, framework="pt") as stream:
                tensors = {name: stream.get_tensor(name) for name in ("hidden", "lengths", "names")}
                wanted = (stream.metadata() or {}).get("sum")
            names = tensors["names"].numpy().tobytes()
            pieces = torch.split(tensors["hidden"], tensors["lengths"].tolist())
            whole = wanted == _sum(tensors) and len(names) == _HASH * len(pieces)
        except (OSError, SafetensorError, RuntimeError):
            whole = False
        if not whole:
            with contextlib.suppress(OSError):
                path.unlink()
            return
        self._known |= {names[_HASH * at : _HASH * (at + 1)]: piece for at, piece in enumerate(pieces)}


def _name(array: TokenArray) -> bytes:
    return hashlib.blake2b(array.tobytes(), digest_size=_HASH).digest()


def _sum(tensors: dict[str, Tensor]) -> str:
    hashed = hashlib.blake2b(digest_size=_HASH)
    for name in sorted(tensors):
        hashed.update(tensors[name].contiguous().view(torch.uint8).numpy().data)
    return hashed.hexdigest()
