"""Whether each method acted, against the records of the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lowres.analysis.acted import acted
from lowres.library import Study
from lowres.report import markdown
from lowres.training import fleet
from lowres.training.check import Check

METHODS = ["source-then-target", "probe"]


def test_every_check_of_every_fit_is_counted(small: Callable[..., Study], tmp_path: Path) -> None:
    result = small(methods=METHODS).run()
    found = result.evidence.acted
    assert found == acted(result.outcome, result.store)
    records = [json.loads(path.read_text()) for path in (tmp_path / "store" / "fits").glob("*/fit.json")]
    values = [check["value"] for one in records for check in one["checks"] if check["name"] == "adapter moved"]
    by_name = {(one.method, one.check): one for one in found}
    # a draw: a source fit; source-then-target adds one fit on each of two targets, probe and target-only have two
    assert by_name["source-only", "adapter moved"].fits == 2
    assert by_name["source-then-target", "adapter moved"].fits == 2 * (1 + 2)
    assert by_name["probe", "mean recall on its rows above chance"].fits == 4
    assert min(one.worst for (_, check), one in by_name.items() if check == "adapter moved") == min(values)
    assert {one.method for one in found} == set(result.plan.methods)
    assert "Did each method act" in (tmp_path / "out" / "report.md").read_text()
    assert markdown.render(result.summary, result.evidence) == (tmp_path / "out" / "report.md").read_text()
    assert 'id="checks"' in (tmp_path / "out" / "report.html").read_text()


def test_a_failed_check_is_counted_and_its_methods_are_named(small: Callable[..., Study], monkeypatch: object) -> None:
    def some(fit: object, *_: object) -> tuple[Check, ...]:
        return (
            Check("two wanted", fit.start is None, 2.0 if fit.start is None else 5.0, "= 2"),  # type: ignore[attr-defined]
            Check("above", True, 1.0, "> 0"),
        )

    monkeypatch.setattr(fleet, "gradient_checks", some)  # type: ignore[attr-defined]
    result = small(methods=METHODS).run()
    by_name = {(one.method, one.check): one for one in result.evidence.acted}
    onward = by_name["source-then-target", "two wanted"]
    assert (onward.fits, onward.passed, onward.worst, onward.wanted) == (6, 1 / 3, 5.0, "= 2")
    assert by_name["target-only", "two wanted"].passed == 1.0
    lines = [line for line in result.summary.warnings if "two wanted" in line]
    assert len(lines) == 4
    assert all(line.startswith("source-then-target: draw ") and "wanted = 2" in line for line in lines)
