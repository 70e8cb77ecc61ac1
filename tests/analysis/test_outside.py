"""Rows out of scope in a study: which fits are asked about them, and what is measured."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import precision_recall_curve, roc_auc_score

from lowres import seeds
from lowres.analysis import outside
from lowres.analysis.evidence import Evidence
from lowres.data.rows import Rows
from lowres.library import Study
from lowres.report import html, markdown, terminal
from lowres.results import StudyResult
from lowres.study import runner
from lowres.study.runner import answer
from lowres.training.fit import Fit
from tests.conftest import FILLER, toy_rows, write_table
from tests.study.conftest import SMALL

FILE = "name: scoped\nsource: {kind: files, parts: [{path: rows.csv}]}\nout_of_scope: none\n"


def filler(number: int) -> dict[str, str]:
    """A text without a word of any domain or mood."""
    words = seeds.generator("outside", number).choice(FILLER, 6)
    return {"text": " ".join(map(str, words)) + f" {number}", "label": "none", "domain": ""}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Callable[..., Study]:
    """Makes a study of a task with 40 rows out of scope, all with one store."""
    folder = tmp_path_factory.mktemp("scoped")
    write_table(folder / "rows.csv", [*toy_rows(), *map(filler, range(40))])
    (folder / "scoped.yaml").write_text(FILE, encoding="utf-8")
    fixed = {"backbone": str(encoder), "store": str(folder / "store"), "methods": ["target-only", "source-then-target"]}
    return lambda out, **more: Study(
        str(folder / "scoped.yaml"), **{**SMALL, **fixed, "out": str(folder / out), **more}
    )


@pytest.fixture(scope="module")
def result(make: Callable[..., Study]) -> StudyResult:
    return make("out").run()


def sides(
    result: StudyResult, method: str, source: str | None, target: str, shots: int | None, rows: Rows
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Confidences inside and outside, by draw."""
    for cell, fit in result.plan.fits.items():
        if (cell.method, cell.source, cell.target, cell.shots) == (method, source, target, shots):
            given = (result.outcome.environment, result.engine, result.store, rows, result.plan.task.labels)
            yield result.outcome.probabilities[fit.content, target].max(axis=1), answer(fit, *given).max(axis=1)


def scoped(result: StudyResult) -> Rows:
    """The rows out of scope."""
    assert result.plan.task.outside is not None
    return result.plan.task.outside


def test_every_method_and_budget_is_measured_on_every_pair(result: StudyResult) -> None:
    assert result.evidence.notes == []
    found, rows = result.evidence.outside, scoped(result)
    places = [(one.method, one.source, one.target, one.shots) for one in found]
    assert len(set(places)) == len(places)
    wanted = {
        (cell.method, cell.source, cell.target, cell.shots)
        for cell in result.plan.fits
        if cell.source is None or cell.target != cell.source
    }
    assert set(places) == wanted
    assert {(place[0], place[3]) for place in places} == {
        ("source-only", 0), ("target-full", None), ("target-only", 4), ("source-then-target", 4),
    }  # fmt: skip
    for one in found:
        measured = list(sides(result, one.method, one.source, one.target, one.shots, rows))
        assert len(measured) == 2
        areas, recalls = [], []
        for inner, outer in measured:
            truth, sure = np.repeat([0, 1], [len(inner), len(outer)]), np.concatenate([inner, outer])
            areas.append(roc_auc_score(truth, -sure))
            precise, recall, _ = precision_recall_curve(truth, -sure)
            recalls.append(recall[precise >= 0.95].max())
        assert one.auroc is not None
        assert one.auroc.mean == pytest.approx(np.mean(areas))
        assert one.auroc.low < one.auroc.mean < one.auroc.high
        assert (one.recall, one.lowest, one.highest) == pytest.approx((np.mean(recalls), min(recalls), max(recalls)))
        assert (one.rows, one.precision, one.reason) == (40, 0.95, None)
        assert one.prevalence == pytest.approx(40 / (40 + len(result.plan.test_rows[one.target])))


def test_rows_out_of_scope_are_trained_on_by_no_fit_and_counted_in_no_score(result: StudyResult) -> None:
    rows = scoped(result)
    taught = {row for fit in result.plan.distinct.values() for part in fit.parts for row in part.rows.ids}
    tested = {row for tests in result.plan.test_rows.values() for row in tests.ids}
    assert not set(rows.ids) & (taught | tested)


def test_fits_of_cells_are_asked_and_that_once(result: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Rows]] = []

    def ask(fit: Fit, *given: Any) -> np.ndarray:
        asked.append((fit.content, given[3]))
        return answer(fit, *given)

    def again(*_: object) -> None:
        raise AssertionError("answers are in the store")

    monkeypatch.setattr(outside, "answer", ask)
    monkeypatch.setattr(runner, "_ask", again)
    found = outside.outside(result.scores, result.engine, result.store)
    assert found == result.evidence.outside
    cells = {fit.content for cell, fit in result.plan.fits.items() if cell.source is None or cell.target != cell.source}
    assert {content for content, _ in asked} == cells
    assert len(asked) == len(cells)
    assert {tuple(rows.ids) for _, rows in asked} == {scoped(result).ids}


def test_the_limit_of_test_rows_holds_for_them(make: Callable[..., Study]) -> None:
    limited = make("limited", limit=10).run().evidence.outside
    assert {(one.rows, one.prevalence) for one in limited} == {(10, 0.5)}


def test_one_group_has_no_interval() -> None:
    inner, outer = [np.array([0.9, 0.8, 0.7])], [np.array([0.5, 0.6])]
    assert outside.auroc_interval(inner, outer, ["a", "a", "a"], ["x", "y"]) is None
    assert outside.auroc_interval(inner, outer, ["a", "a", "b"], ["x", "x"]) is None
    found = outside.auroc_interval(inner, outer, ["a", "a", "b"], ["x", "y"])
    assert found is not None
    assert (found.mean, found.high) == (1.0, 1.0)


def test_rows_of_a_group_say_less_than_rows_alone() -> None:
    """Pairs of equal rows: twice the rows, no more groups, so the same interval as one row of each."""
    rng = np.random.default_rng(0)
    inner, outer = rng.uniform(0.4, 1, 12), rng.uniform(0.2, 0.8, 9)
    alone = outside.auroc_interval([inner], [outer], [f"i{n}" for n in range(12)], [f"o{n}" for n in range(9)])
    pairs = outside.auroc_interval(
        [np.repeat(inner, 2)],
        [np.repeat(outer, 2)],
        [f"i{n // 2}" for n in range(24)],
        [f"o{n // 2}" for n in range(18)],
    )
    assert alone is not None
    assert pairs is not None
    assert (pairs.mean, pairs.se) == (pytest.approx(alone.mean), pytest.approx(alone.se))


def test_reports_show_it(result: StudyResult) -> None:
    stream = io.StringIO()
    terminal.show(result.summary, Console(file=stream, width=200), result.evidence)
    lines = [line for line in stream.getvalue().splitlines() if "AUROC" in line]
    assert lines[0].startswith("Outside  film: AUROC ")
    assert len(lines) == 2
    assert "source-only from shop" in lines[0]
    page = html.render(result.summary, result.evidence)
    assert 'id="outside"' in page
    written = markdown.render(result.summary, result.evidence)
    assert "## Rows out of scope" in written
    assert written.count("AUROC") == 2


def test_evidence_of_older_runs_is_read() -> None:
    assert Evidence.model_validate({"schema": 1}).outside == []
