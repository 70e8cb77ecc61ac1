"""The environment of those who have neither torch nor lowres."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.clean import clean_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean_site(tmp_path_factory.mktemp("clean") / "site")
