"""Texts on disk behave like texts in memory, and a task over them is the same task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres import seeds
from lowres.data import mapped
from lowres.data.mapped import MappedTexts, TextStore, chosen
from lowres.data.task import load_task
from lowres.errors import DataError
from tests.conftest import toy_rows, write_table

TEXTS = ["one", "", "drei äöü", "four\nlines", "👍", "six"] * 40


def mapped_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MappedTexts:
    monkeypatch.setattr(mapped, "MAP_FROM", 100)
    monkeypatch.setattr(mapped, "_BATCH", 7)
    with TextStore(folder) as store:
        for begin in range(0, len(TEXTS), 50):
            store.add(TEXTS[begin : begin + 50])
        assert len(store) == len(TEXTS)
        texts = store.close()
    assert isinstance(texts, MappedTexts)
    return texts


def test_few_texts_stay_in_memory(tmp_path: Path) -> None:
    store = TextStore(tmp_path / "never made")
    store.add(TEXTS)
    assert store.close() == tuple(TEXTS)
    assert not list(tmp_path.iterdir())


def test_mapped_texts_read_like_a_tuple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = mapped_texts(tmp_path, monkeypatch)
    assert list(texts) == TEXTS
    assert texts[3] == TEXTS[3]
    assert texts[-1] == TEXTS[-1]
    assert texts[2:9] == tuple(TEXTS[2:9])
    assert list(chosen(chosen(texts, range(10, 60)), [5, 0, 5])) == [TEXTS[15], TEXTS[10], TEXTS[15]]
    assert not list(tmp_path.iterdir()), "the mapped file has no name any more"


def test_a_table_with_a_bad_row_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWRES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped, "MAP_FROM", 100)
    table = write_table(tmp_path / "toy.csv", [*toy_rows(40), {"text": "good", "label": "", "domain": "shop"}])
    with pytest.raises(DataError):
        load_task(table)
    assert not list((tmp_path / "cache").rglob("texts-*"))


def test_a_task_over_mapped_texts_is_the_same_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_table(tmp_path / "toy.csv", toy_rows(40))
    held = load_task(table)
    monkeypatch.setattr(mapped, "MAP_FROM", 100)
    over = load_task(table)
    assert isinstance(over.domains["shop"].train.texts, MappedTexts)
    assert over.fingerprint == held.fingerprint
    assert over.domains["film"].test.take([2, 1]).fingerprint == held.domains["film"].test.take([2, 1]).fingerprint


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "MAP_FROM", 1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="could not be written"):
        TextStore(tmp_path / "file").add(["text"])


@given(st.lists(st.lists(st.text(max_size=5), max_size=2500).map(tuple), max_size=3))
def test_digest_of_lists_is_the_digest(lists: list[tuple[str, ...]]) -> None:
    assert seeds.digest_lists("name", *lists) == seeds.digest("name", *map(list, lists))


def test_digest_of_long_lists_is_the_digest() -> None:
    many = [str(number) for number in np.arange(5000)]
    assert seeds.digest_lists("rows", many, iter(many)) == seeds.digest("rows", many, many)
