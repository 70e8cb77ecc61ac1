"""The shipped tasks on their real data: with ``-m slow`` and a network, or where a mirror of GitHub lies by the checkout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lowres.data.sources import cache_dir
from lowres.data.spec import read_spec
from lowres.data.task import check_counts, load_task, shipped_tasks
from lowres.errors import FetchError

ROOT = Path(__file__).parent.parent.parent
MIRRORS = [
    Path(os.environ.get("LOWRES_MIRROR", ROOT / "mirror")),
    *(up / "shared/mirror" for up in (ROOT, ROOT.parent)),
]
CLINC = "github/clinc/oos-eval/828f8093932c8fe6ca7936c3d2e52903b1c523de/data"
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


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the files of CLINC150, and an empty cache."""
    found = next((path for path in MIRRORS if (path / CLINC / "data_full.json").is_file()), None)
    if found is None:
        pytest.skip("needs a mirror of GitHub with clinc/oos-eval: LOWRES_MIRROR, or shared/mirror by the checkout")
    monkeypatch.setenv("LOWRES_MIRROR", str(found))
    monkeypatch.setenv("LOWRES_CACHE", str(tmp_path))
    return found


def test_clinc_counts(mirror: Path) -> None:
    task = load_task("clinc150")
    assert [found.rows for found in task.findings.items if found.kind == "left out"] == [1200]
    # 10 topics × 5 intents × 100 / 20 / 30 rows, less what was removed; test rows are never removed
    whole = {"train": 5000, "dev": 1000, "test": 1500}
    for domain in task.domains.values():
        assert len(domain.test) == whole["test"]
        for split, rows in (("train", domain.train), ("dev", domain.dev)):
            removed = sum(
                found.rows
                for found in task.findings.items
                if (found.domain, found.split) == (domain.name, split) and found.kind != "left out"
            )
            assert removed < 0.02 * whole[split]
            assert len(rows) + removed == whole[split]


def test_clinc_values_are_the_upstream_topics(mirror: Path) -> None:
    topics = json.loads((mirror / CLINC / "domains.json").read_text(encoding="utf-8"))
    spec = read_spec(shipped_tasks()["clinc150"])
    assert spec.labels == tuple(topics)
    for topic, intents in topics.items():
        for place, intent in enumerate(intents):
            assert (spec.values[intent].label, spec.values[intent].domain) == (topic, "abc"[place // 5])
    banking = read_spec(shipped_tasks()["clinc150-banking"])
    assert list(banking.values) == topics["banking"]


def test_clinc_banking_counts(mirror: Path) -> None:
    task = load_task("clinc150-banking")
    assert [len(places) for places in task.domain("banking").test.by_label().values()] == [30] * 15
    assert min(len(places) for places in task.domain("banking").train.by_label().values()) > 90
