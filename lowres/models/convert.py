"""Weights of the older ``.bin`` format as safetensors, read by a process of their own once their hash is right.

``python -m lowres.models.convert SOURCE TARGET PREFIX`` is that process.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from lowres.errors import FetchError, UserError

TIMEOUT: Final = 600.0
"""Seconds a conversion has."""
REFUSED: Final = 3
"""Exit code: the file holds something else than named tensors."""


def check_sha256(path: Path, name: str, sha256: str) -> None:
    """Raises a ``FetchError`` unless a file has this hash.

    Args:
        path: The file.
        name: For the message.
        sha256: 64 hex digits.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise FetchError(
            f"{name} is not the pinned file: sha256 {found}\nexpected {sha256}\nreplace or remove it and fetch it again"
        )


def convert(source: Path, target: Path, name: str, sha256: str, prefix: str, timeout: float = TIMEOUT) -> None:
    """Writes the tensors of a ``.bin`` as safetensors, all at once or not at all.

    A private copy is hashed and read, so that nobody can change the file in between.

    Args:
        source: A file of ``torch.save``.
        target: The safetensors file; its folder exists.
        name: Where the file is from, for messages.
        sha256: Hash of ``source``; nothing is read from another file.
        prefix: If tensors are named ``PREFIX.…``, the others (heads of the pretraining) are left out.
        timeout: Seconds.

    Raises:
        FetchError: Another hash, or the conversion did not end.
        UserError: The file holds something else than named tensors.
    """
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as place:
        copy, draft = Path(place) / "weights.bin", Path(place) / "model.safetensors"
        shutil.copyfile(source, copy)
        check_sha256(copy, name, sha256)
        command = [sys.executable, "-P", "-m", __spec__.name, str(copy), str(draft), prefix]
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise FetchError(
                f"{name} was not converted within {timeout:.0f} s\ntry again on a faster machine"
            ) from None
        said = ended.stderr.strip().splitlines()[-1:] or [""]
        if ended.returncode == REFUSED:
            raise UserError(f"{name} is not read", got=said[0], expected="named tensors and nothing else")
        if ended.returncode or not draft.is_file():
            raise FetchError(f"{name} could not be converted: exit code {ended.returncode}\n{said[0][:300]}".rstrip())
        os.replace(draft, target)


def main(source: str, target: str, prefix: str) -> int:
    """Reads one file without running anything in it and writes its tensors; returns the exit code."""
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(source, weights_only=True, map_location="cpu")
    except Exception as error:  # the reader raises many kinds; none of them leaves tensors
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        first = (str(error).splitlines() or [""])[0]
        return _refuse(f"a file that asks for {unsafe[1]}" if unsafe else f"{type(error).__name__}: {first}")
    if not isinstance(state, dict) or not state:
        return _refuse(f"a {type(state).__name__}" if state else "nothing")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            return _refuse(f"{name}: {type(value).__name__}")
    kept = {name: value for name, value in state.items() if name.startswith(f"{prefix}.")} or state
    tensors = {name: value.detach().contiguous().clone() for name, value in kept.items()}
    save_file(tensors, target, metadata={"format": "pt"})
    return 0


def _refuse(reason: str) -> int:
    sys.stderr.write(reason + "\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
