"""The cache of frozen layers gives what was computed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lowres.data.tokens import TokenArray
from lowres.training.prefix import Prefix


class Counting:
    """Stands for frozen layers: token t becomes a row of t modulo 100, and asks are counted."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, arrays: Sequence[TokenArray]) -> list[torch.Tensor]:
        self.asked.append(len(arrays))
        return [torch.from_numpy((array % 100).astype(np.float32))[:, None].repeat(1, 8).bfloat16() for array in arrays]


def sequences(*lengths: int) -> list[TokenArray]:
    return [np.arange(1, length + 1, dtype=np.int32) + 10 * length for length in lengths]


def right(found: Sequence[torch.Tensor], arrays: Sequence[TokenArray]) -> bool:
    return all(
        torch.equal(piece.float()[:, 0], torch.from_numpy((array % 100).astype(np.float32)))
        for piece, array in zip(found, arrays, strict=True)
    )


def test_every_sequence_is_computed_once_also_by_the_next_process(tmp_path: Path) -> None:
    work = Counting()
    prefix = Prefix(tmp_path / "p", work)
    first, second = sequences(3, 5, 3), sequences(5, 7)
    assert right(prefix.hidden(first), first)
    assert right(prefix.hidden(second), second)
    assert work.asked == [2, 1]
    again = Prefix(tmp_path / "p", work)
    assert right(again.hidden([*second, *first]), [*second, *first])
    assert work.asked == [2, 1]
    assert not list((tmp_path / "p").glob(".part-*"))


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "folder"])
def test_a_damaged_shard_is_computed_again(tmp_path: Path, harm: str) -> None:
    work, arrays = Counting(), sequences(3, 5)
    Prefix(tmp_path, work).hidden(arrays)
    (shard,) = tmp_path.glob("*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-20] ^= 4
    if harm == "folder":
        shard.unlink()
        shard.mkdir()
    else:
        shard.write_bytes({"cut": bytes(data[:-30]), "flip": bytes(data), "empty": b""}[harm])
    assert right(Prefix(tmp_path, work).hidden(arrays), arrays)
    assert work.asked == [2, 2]


def test_the_oldest_shards_make_room(tmp_path: Path) -> None:
    work = Counting()
    prefix = Prefix(tmp_path / "p", work, most_bytes=4000)
    for length in range(20, 60):
        arrays = sequences(length)
        assert right(prefix.hidden(arrays), arrays)
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "p").iterdir()) <= 4000
    last = sequences(59)
    assert right(Prefix(tmp_path / "p", work).hidden(last), last)
    assert len(work.asked) == 40


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("a file")
    work, arrays = Counting(), sequences(3)
    prefix = Prefix(tmp_path / "p", work)
    assert right(prefix.hidden(arrays), arrays)
    assert right(prefix.hidden(arrays), arrays)
    assert work.asked == [1]
