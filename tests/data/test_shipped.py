"""The shipped tasks on their real archives: run where the cache holds them, or with ``-m slow`` and a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lowres.data.sources import cache_dir
from lowres.data.task import check_counts, load_task, shipped_tasks
from lowres.errors import FetchError

CHOSEN = {name: os.environ.get(name) for name in ("LOWRES_CACHE", "LOWRES_MIRROR")}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own cache, so that the archives are fetched once and for all."""
    for name, value in CHOSEN.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    return cache_dir()


@pytest.mark.slow
def test_vader_counts() -> None:
    try:
        task = load_task("vader-sentiment")
    except FetchError as error:
        pytest.skip(f"needs the network once: {error}")
    left_out = {found.domain: found.rows for found in task.findings.items if found.kind == "left out"}
    # counted in the raw files with: awk -F'\t' '$2 > -0.5 && $2 < 0.5' | wc -l
    assert left_out == {"tweets": 768, "amazon": 723, "movie": 533, "nyt": 2220}
    sizes = check_counts(task).sizes
    removed = dict.fromkeys(task.domains, 0)
    for found in task.findings.items:
        if found.kind in ("test overlap", "dev overlap", "duplicate", "conflict"):
            removed[found.domain] += found.rows
    total = {name: sum(size.rows for size in sizes if size.domain == name) + removed[name] for name in removed}
    # the rest of the same files: 4,200, 3,708, 10,605 and 5,190 rows
    assert total == {"tweets": 3432, "amazon": 2985, "movie": 10072, "nyt": 2970}
    assert not any("&amp;" in text or "&#" in text for d in task.domains.values() for text in d.train.texts)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped_tasks() if name.startswith("newsgroups")])
def test_newsgroups(name: str) -> None:
    try:
        task = load_task(name)
    except FetchError as error:
        pytest.skip(f"needs the network once: {error}")
    for domain in task.domains.values():
        tested = set(domain.test.texts)
        assert not tested & set(domain.train.texts)
        for rows in (domain.train, domain.test):
            assert min(len(places) for places in rows.by_label().values()) > 500
            assert len(rows.by_label()) == 2
