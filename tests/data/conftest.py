"""A cache of its own for every test, so that nothing depends on what this machine holds."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LOWRES_CACHE", str(folder))
    monkeypatch.delenv("LOWRES_MIRROR", raising=False)
    return folder
