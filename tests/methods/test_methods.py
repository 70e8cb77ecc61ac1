"""The contract of every method, above all: no row or label it may not use."""

from __future__ import annotations

import pytest

from lowres.data import splits
from lowres.data.rows import UNLABELLED
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.methods.catalogue import DEFAULT, METHODS, REFERENCES, find_method
from lowres.methods.cell import Bench, Cell, Settings
from lowres.study.config import build_config
from lowres.study.plan import make_plan
from lowres.training.fit import Fit

SETTINGS = Settings(row_cap=30)


def bench(task: Task, method: str, shots: int | None, draw: int = 0, target: str = "film") -> Bench:
    source = "shop" if METHODS[method].uses_source else None
    train = {name: domain.train for name, domain in task.domains.items()}
    sources = tuple(task.domains)
    return Bench(Cell(task.name, source, target, shots, method, draw), train, task.labels, SETTINGS, sources)


def expressions(task: Task) -> list[tuple[str, int | None, Fit]]:
    return [
        (name, shots, method.expression(bench(task, name, shots, draw)))
        for name, method in METHODS.items()
        for shots in method.budgets([0, 4, 8])
        for draw in (0, 1)
    ]


def test_no_fit_sees_a_row_or_label_it_may_not_use(toy_task: Task) -> None:
    """Follows the row ids of every fit of every method, with starts."""
    test = {row for domain in toy_task.domains.values() for row in domain.test.ids}
    dev = {row for domain in toy_task.domains.values() for row in domain.dev.ids}
    followed = 0
    for name, shots, fit in expressions(toy_task):
        uses = METHODS[name].uses
        for link in fit.lineage():
            for part in link.parts:
                ids = set(part.rows.ids)
                assert ids
                assert not ids & test, f"{name} trains on test rows"
                assert not ids & dev, f"{name} trains on dev rows"
                if part.rows.domain == "film":
                    if not set(part.rows.labels) & set(toy_task.labels):
                        assert "U" in uses, f"{name} looks at target rows it does not declare"
                        assert set(part.rows.labels) <= {UNLABELLED, "target"}
                    elif "pool" in uses:
                        assert len(ids) <= SETTINGS.row_cap
                    else:
                        assert "T" in uses, f"{name} uses target labels it does not declare"
                        allowed = splits.shots(toy_task.name, toy_task.domains["film"].train, shots or 0, link.draw)
                        assert ids <= set(allowed.ids), f"{name} sees target labels beyond its shots"
                else:
                    assert part.rows.domain == "shop" or "others" in uses, f"{name} reads a third domain"
                    assert uses & {"S", "others"}, f"{name} uses a source it does not declare"
                    assert len(ids) <= SETTINGS.row_cap
                followed += 1
    assert followed >= 2 * len(METHODS)


def test_no_training_text_is_a_test_text(toy_task: Task) -> None:
    from lowres.data.leaks import normalise

    tested = {normalise(text) for domain in toy_task.domains.values() for text in domain.test.texts}
    for name, _, fit in expressions(toy_task):
        for link in fit.lineage():
            assert not tested & {normalise(text) for text in link.texts}, name


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_described(name: str) -> None:
    method = METHODS[name]
    assert method.summary.endswith(".")
    assert method.uses <= {"S", "T", "U", "others", "pool"}
    assert method.budgets([0, 8])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_uses_what_it_declares(name: str, toy_task: Task) -> None:
    method = METHODS[name]
    fit = method.expression(bench(toy_task, name, method.budgets([8, 0])[0]))
    domains = {part.rows.domain for link in fit.lineage() for part in link.parts}
    assert ("shop" in domains) == bool({"S", "others"} & method.uses)


def test_shots_are_nested_and_source_is_shared(toy_task: Task) -> None:
    small, large = (
        METHODS["source-then-target"].expression(bench(toy_task, "source-then-target", shots)) for shots in (4, 8)
    )
    assert set(small.parts[0].rows.ids) < set(large.parts[0].rows.ids)
    source = METHODS["source-only"].expression(bench(toy_task, "source-only", 0))
    assert isinstance(small.start, Fit)
    assert isinstance(large.start, Fit)
    assert small.start.content == large.start.content == source.content
    other = METHODS["source-then-target"].expression(bench(toy_task, "source-then-target", 4, target="chat"))
    assert isinstance(other.start, Fit)
    assert other.start.content == source.content


def test_ceiling_of_a_domain_is_its_source_fit(toy_task: Task) -> None:
    ceiling = METHODS["target-full"].expression(bench(toy_task, "target-full", None, target="shop"))
    source = METHODS["source-only"].expression(bench(toy_task, "source-only", 0))
    assert ceiling.content == source.content


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UserError, match="source-only"):
        find_method("sourceonly")
    assert set(DEFAULT) | set(REFERENCES) <= set(METHODS)


def test_the_plan_never_lets_a_test_row_in(toy_task: Task, toy_table: object) -> None:
    plan = make_plan(build_config({"task": "toy", "shots": [0, 4], "seeds": 2, "methods": list(METHODS)}), toy_task)
    tested = {row for rows in plan.test_rows.values() for row in rows.ids}
    assert tested
    assert all(not tested & set(part.rows.ids) for fit in plan.distinct.values() for part in fit.parts)
