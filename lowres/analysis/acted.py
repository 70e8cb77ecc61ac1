"""Whether each method did what its name says, from the checks that are stored with every fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lowres.analysis.evidence import Acted
from lowres.study.runner import Outcome
from lowres.study.store import Store


def acted(outcome: Outcome, store: Store) -> list[Acted]:
    """One entry a method and check, in the order of the methods and of their fits."""
    plan = outcome.plan
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for content, fit in plan.distinct.items():
        if content not in outcome.failed:
            for check in store.record(fit.key(outcome.environment))["checks"]:
                for method in plan.methods_of[content]:
                    found.setdefault((method, check["name"]), []).append(check)
    return [entry for method in plan.methods for entry in _of(method, found)]


def _of(method: str, found: dict[tuple[str, str], list[dict[str, Any]]]) -> Iterator[Acted]:
    for (owner, name), checks in found.items():
        if owner == method:
            worst = min(checks, key=_margin)
            passed = sum(check["passed"] for check in checks) / len(checks)
            yield Acted(
                method=method, check=name, fits=len(checks), passed=passed, worst=worst["value"], wanted=worst["wanted"]
            )


def _margin(check: dict[str, Any]) -> float:
    """How far a value lies on the right side of what is wanted: ``> x`` or ``= x``."""
    sign, bound = str(check["wanted"]).split()
    gap = float(check["value"]) - float(bound)
    return gap if sign == ">" else -abs(gap)
