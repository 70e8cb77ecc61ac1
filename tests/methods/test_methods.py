"""The contract of every method, above all: no row or label it may not use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lowres.data.hints import NAMES
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.methods.catalogue import METHODS, REFERENCES, Method, find_method, recommended
from lowres.methods.cell import Bench, Cell, Settings
from lowres.methods.settings import DEFAULT
from lowres.methods.symbolic import LETTERS
from lowres.study.config import build_config
from lowres.study.plan import Plan, make_plan
from lowres.training.fit import Environment, Fit, Part
from lowres.training.picks import PseudoLabels, Resembling, Rules
from lowres.training.recipe import AllWeights, Logistic
from tests.methods.follow import leaks

SETTINGS = Settings(row_cap=30)
SHOTS, DRAWS = [0, 4, 8], 2


def bench(task: Task, method: str, shots: int | None, draw: int = 0, target: str = "film") -> Bench:
    source = "shop" if METHODS[method].uses_source else None
    train = {name: domain.train for name, domain in task.domains.items()}
    sources = tuple(task.domains)
    cell = Cell(task.name, source, target, shots, method, draw)
    return Bench(cell, train, task.labels, SETTINGS, sources, hints=task.hints)


@pytest.fixture(scope="module")
def plan(hinted_task: Task) -> Plan:
    """All methods on all pairs."""
    given = {"task": "toy", "shots": SHOTS, "seeds": DRAWS, "methods": list(METHODS), "source_rows": 30}
    return make_plan(build_config(given), hinted_task)


def test_no_fit_sees_a_row_or_label_it_may_not_use(plan: Plan, hinted_task: Task) -> None:
    """Follows the row ids of every fit of every method: no target test or dev row, no target label beyond the shots."""
    assert not [fault for cell, fit in plan.fits.items() for fault in leaks(hinted_task, cell, fit)]
    followed = {(cell.method, cell.shots) for cell in plan.fits}
    assert followed == {(name, shots) for name, method in METHODS.items() for shots in method.budgets(SHOTS)}


def more_shots(bench: Bench) -> Fit:
    """One label more than was asked for."""
    assert bench.cell.shots is not None
    other = replace(bench, cell=replace(bench.cell, shots=bench.cell.shots + 1))
    return bench.fit(other.target_shots)


def other_draw(bench: Bench) -> Fit:
    """A stage that all draws share looks at the shots of the first."""
    start = bench.fit(replace(bench, cell=replace(bench.cell, draw=0)).target_shots, draw=0)
    return bench.fit(bench.target_shots, start=start)


def labelled_pool(bench: Bench) -> Fit:
    """The unlabelled rows keep their labels."""
    return bench.fit([*bench.target_shots, *bench.target_pool])


def told_teacher(bench: Bench) -> Fit:
    """The fit that labels rows has seen their labels."""
    teacher = bench.fit(bench.target_pool)
    return bench.fit([*bench.target_shots, Part(bench.target_unlabelled, by=PseudoLabels(teacher))])


def told_judge(bench: Bench) -> Fit:
    """The fit that chooses source rows was trained on target labels."""
    judge = bench.fit(bench.target_pool, objective=Logistic())
    return bench.fit([Part(bench.source_train[0].rows, by=Resembling(judge)), *bench.target_shots])


def told_ingredient(bench: Bench) -> Fit:
    """One of the averaged fits has seen the pool."""
    return bench.mean([bench.fit(bench.target_shots), bench.fit(bench.target_pool)])


def told_rules(bench: Bench) -> Fit:
    """Rules that give the true labels."""
    rows = bench.target_unlabelled
    true = dict(zip(bench.train[rows.domain].ids, bench.train[rows.domain].labels, strict=True))
    rules = Rules(tuple(true[row] for row in rows.ids), 1.0, 1.0, None, 0.5)
    return bench.fit([*bench.target_shots, Part(rows, by=rules)])


def told_names(bench: Bench) -> Fit:
    """Rows of the target in place of descriptions."""
    rows = bench.target_unlabelled.take([0, 1])
    return bench.fit([Part(Rows(NAMES, rows.ids, rows.texts, bench.labels, rows.ids))])


@pytest.mark.parametrize(
    ("leak", "fault"),
    [
        (more_shots, "beyond its shots"), (other_draw, "beyond its shots"), (labelled_pool, "beyond its shots"),
        (told_teacher, "beyond its shots"), (told_judge, "beyond its shots"), (told_ingredient, "beyond its shots"),
        (told_rules, "do not follow"), (told_names, "in place of names"),
    ],
)  # fmt: skip
def test_a_leak_is_noticed(
    leak: Callable[[Bench], Fit], fault: str, hinted_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = frozenset({"S", "T", "U", "names", "rules"})
    monkeypatch.setitem(METHODS, "leaking", Method(leak, uses, zero=True))
    one = bench(hinted_task, "leaking", 4, draw=1, target="chat")
    assert any(fault in found for found in leaks(hinted_task, one.cell, leak(one)))


@pytest.mark.parametrize("part", ["test", "dev"])
def test_a_row_that_is_held_out_is_noticed(part: str, hinted_task: Task) -> None:
    one = bench(hinted_task, "source-only", 0)
    told = replace(one, train={name: getattr(domain, part) for name, domain in hinted_task.domains.items()})
    assert any(
        f"{part} rows" in found for found in leaks(hinted_task, one.cell, METHODS["source-only"].expression(told))
    )


def test_no_training_text_is_a_test_text(plan: Plan, hinted_task: Task) -> None:
    from lowres.data.leaks import normalise

    tested = {normalise(text) for domain in hinted_task.domains.values() for text in domain.test.texts}
    for fit in plan.distinct.values():
        assert not tested & {normalise(text) for text in fit.texts}, plan.methods_of[fit.content]


def test_keywords_are_no_part_of_other_fits(plan: Plan, toy_task: Task) -> None:
    """A task file that gets hints keeps the keys of what was trained before."""
    others = [name for name in METHODS if not METHODS[name].uses & {"names", "rules"}]
    given = {"task": "toy", "shots": SHOTS, "seeds": DRAWS, "methods": others, "source_rows": 30}
    bare = make_plan(build_config(given), toy_task)
    assert set(bare.distinct) <= set(plan.distinct)
    assert bare.task.fingerprint == plan.task.fingerprint
    environment = Environment("a", "b", "c", "d")
    assert bare.hash(environment) == replace(bare, task=plan.task).hash(environment)
    words = replace(plan.task, spec=plan.task.spec.model_copy(update={"keywords": {}}))
    assert plan.hash(environment) != replace(plan, task=words).hash(environment)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_described(name: str) -> None:
    method = METHODS[name]
    assert method.summary.endswith(".")
    assert method.uses <= set(LETTERS)
    assert method.budgets([0, 8])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_uses_what_it_declares(name: str, hinted_task: Task) -> None:
    method = METHODS[name]
    fit = method.expression(bench(hinted_task, name, method.budgets([8, 0])[0]))
    domains = {part.rows.domain for link in fit.lineage() for part in link.parts}
    assert ("shop" in domains) == bool({"S", "others"} & method.uses)
    assert method.adapts == (fit.adapter is not None and not isinstance(fit.adapter, AllWeights))


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


def test_without_keywords_it_is_said(toy_task: Task, hinted_task: Task) -> None:
    with pytest.raises(UserError, match="field keywords"):
        METHODS["keywords"].expression(bench(toy_task, "keywords", 4))
    rare = {"negative": ("bad",), "positive": ("unheard of",)}
    told = replace(hinted_task, spec=hinted_task.spec.model_copy(update={"keywords": rare}))
    with pytest.raises(UserError, match="keywords of positive label no"):
        METHODS["keywords"].expression(bench(told, "keywords", 0))


def test_names_stand_in_for_descriptions(toy_task: Task, hinted_task: Task) -> None:
    described, named = (
        METHODS["label-names"].expression(bench(task, "label-names", 0, draw)).parts[0].rows
        for task, draw in ((hinted_task, 0), (toy_task, 1))
    )
    assert (described.texts, described.labels) == (["bad and awful", "good and great"], ("negative", "positive"))
    assert named.texts == ["negative", "positive"]


def test_the_method_handed_over_is_the_one_of_least_regret() -> None:
    """The order is that of docs/methods-measured.md; a study without any of them hands nothing over."""
    assert recommended(["soup", "joint", "source-then-target", "target-only"], 8) == "source-then-target"
    assert recommended(["target-only", "joint", "soup"], 32) == "soup"
    assert recommended(["target-only", "probe"], 8) == "target-only"
    assert recommended(["source-only", "soup"], 0) == "source-only"
    assert recommended(["tfidf"], 8) is None
