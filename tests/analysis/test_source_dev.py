"""The rule that picks a method by dev rows of the source: what it reads, what it picks, what that costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import f1_score

from lowres.analysis import source_dev
from lowres.analysis.aggregates import choices
from lowres.analysis.source_dev import SourceDev
from lowres.data.rows import Rows
from lowres.library import Study
from lowres.study.runner import answer


def test_it_reads_the_source_alone_and_takes_the_best_there(
    small: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = small(methods=["target-only", "source-then-target", "tfidf-joint"]).run()
    found = [one for one in result.evidence.choices if one.rule == "source dev"]
    # at 0 shots source-only and tfidf-joint, at 4 source-then-target and tfidf-joint, from shop to two targets
    assert {(one.target, one.shots) for one in found} == {
        (target, shots) for target in ("film", "chat") for shots in (0, 4)
    }
    plan, dev, cells = result.plan, result.plan.task.domains["shop"].dev, result.to_frame()
    assert len(dev) > 0
    assert not set(dev.ids) & set(plan.test_rows["shop"].ids)
    for one in found:
        means: dict[str, list[float]] = {}
        for cell, fit in plan.fits.items():
            if (cell.source, cell.target, cell.shots) == ("shop", one.target, one.shots):
                kept = answer(fit, result.outcome.environment, result.engine, result.store, dev, plan.task.labels)
                said = [plan.task.labels[place] for place in kept.argmax(axis=1)]
                means.setdefault(cell.method, []).append(f1_score(dev.labels, said, average="macro"))
        assert set(means) == {"source-only" if not one.shots else "source-then-target", "tfidf-joint"}
        assert one.picked == max(means, key=lambda method: np.mean(means[method]))
        there = cells[
            (cells.target == one.target) & (cells.shots == one.shots) & (cells.source.isna() | (cells.source == "shop"))
        ]
        measured = there.groupby("method")["metrics.macro_f1"].mean()
        assert one.regret == pytest.approx(measured.max() - measured[one.picked])

    read: list[Rows] = []
    monkeypatch.setattr(source_dev, "answer", lambda *given: read.append(given[4]) or answer(*given))
    monkeypatch.setattr(source_dev, "MOST_ROWS", 5)
    choices(result.scores, SourceDev(result.scores, result.engine, result.store))
    assert {(rows.domain, len(rows)) for rows in read} == {("shop", 5)}
    assert all(set(rows.ids) <= set(dev.ids) for rows in read)


def test_one_method_with_the_source_is_no_choice(small: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("a fit was asked")

    monkeypatch.setattr(source_dev, "answer", asked)
    found = small(methods=["target-only", "source-then-target"]).run().evidence
    assert found.notes == []
    assert {one.rule for one in found.choices} == {"forecast", "always source-then-target"}
