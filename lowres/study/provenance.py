"""Where a number comes from: versions, machine and revision. Beside the numbers, never part of a key."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lowres

PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "datasets", "scikit-learn", "numpy", "scipy")


def provenance(device: str, precision: str, rank: int = 0) -> dict[str, Any]:
    """Versions, machine, device, git revision and number of the process, as JSON-like data."""
    return {
        "lowres": lowres.__version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "device": device,
        "precision": precision,
        "git": _revision(),
        "process": rank,
    }


def version_of(name: str) -> str | None:
    """Of an installed distribution; None if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Revision of the checkout the package runs from; None for an installed wheel."""
    folder = Path(lowres.__file__).parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
