"""Where and how precisely to compute. What was measured once about this machine is kept in the cache."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lowres.errors import UserError
from lowres.files import replacing

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
BF16_GAIN = 1.5
"""bf16 is taken on a CPU or CUDA device whose matrix products run at least so many times faster with it."""


@dataclass(frozen=True)
class Machine:
    """Device, resolved precision and speed."""

    device: str
    precision: str
    gflops: float
    """Measured GFLOP/s of a matrix product of the size that small encoders make, at this precision."""


@dataclass(frozen=True)
class Team:
    """The processes that were started together for one study, and which of them this is."""

    rank: int = 0
    size: int = 1

    def wait(self) -> None:
        """Until all of them are here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def team(device: str) -> Team:
    """The team that computes on such devices, as ``torchrun`` or ``accelerate launch`` started it; a team of one otherwise."""
    if int(os.environ.get("WORLD_SIZE") or 1) < 2:
        return Team()
    from accelerate import PartialState

    with _stdout_as_stderr():  # gloo greets on stdout, which is for data, when processes first meet
        state = PartialState(cpu=device == "cpu")
        state.wait_for_everyone()
    atexit.register(state.destroy_process_group)
    return Team(state.process_index, state.num_processes)


@contextlib.contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    """What libraries print from C meanwhile goes to stderr."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def resolve(device: str = "auto", precision: str = "auto") -> Machine:
    """The device and precision to use.

    Args:
        device: ``auto`` takes CUDA, then MPS, then the CPU.
        precision: ``auto`` takes bf16 where this machine gains from it, by a one-off measurement kept in the cache.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is available", hint="use --device cpu, or see the README on GPU builds of torch"
        )
    elif device == "mps" and not torch.backends.mps.is_available():
        raise UserError("no MPS device is available", hint="use --device cpu")
    speeds = _speeds(device)
    if precision == "auto":
        gain = speeds["bf16"] / speeds["fp32"]
        precision = "bf16" if device in ("cpu", "cuda") and gain >= BF16_GAIN else "fp32"
    return Machine(device, precision, speeds[precision])


def numerics() -> str:
    """Minor versions of the libraries whose change may change a number."""
    from importlib.metadata import version

    return " ".join(
        f"{name}-{'.'.join(version(name).split('.')[:2])}" for name in ("torch", "transformers", "peft", "scikit-learn")
    )


def _speeds(device: str) -> dict[str, float]:
    import torch

    from lowres.data.sources import cache_dir

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    machine = f"{device} {name} torch-{torch.__version__} threads-{torch.get_num_threads()} {torch.backends.cpu.get_cpu_capability()}"
    path = cache_dir() / "machine.json"
    known = _read(path)
    if machine not in known:
        known[machine] = {"fp32": _gflops(device, torch.float32), "bf16": _gflops(device, torch.bfloat16)}
        with contextlib.suppress(OSError):  # the cache only saves time
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as stream:
                json.dump(known, stream, indent=1)
    return known[machine]


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    machines = loaded.items() if isinstance(loaded, dict) else ()
    return {name: speeds for name, speeds in machines if _is_measured(speeds)}


def _is_measured(speeds: object) -> bool:
    return isinstance(speeds, dict) and all(
        isinstance(speeds.get(precision), float) and speeds[precision] > 0 for precision in ("fp32", "bf16")
    )


def _gflops(device: str, dtype: object) -> float:
    """Best of several timings of [512, 384] x [384, 1536]."""
    import torch

    left = torch.ones(512, 384, dtype=dtype, device=device)  # type: ignore[call-overload]
    right = torch.ones(384, 1536, dtype=dtype, device=device)  # type: ignore[call-overload]
    best = float("inf")
    for _ in range(30):
        begin = time.perf_counter()
        product = left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        float(product[0, 0])
        best = min(best, time.perf_counter() - begin)
    return 2 * 512 * 384 * 1536 / best / 1e9
