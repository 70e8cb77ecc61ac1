"""Leave-one-out: every target learnt from all other sources together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml

from lowres.data import splits
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.library import Study
from lowres.methods.catalogue import METHODS
from lowres.study.config import build_config
from lowres.study.plan import Plan, make_plan
from lowres.study.protocol import find_origins
from tests.methods.follow import leaks

SETS = {"film": "chat+shop", "chat": "film+shop", "shop": "chat+film"}


def together(task: Task, **changes: object) -> Plan:
    given = {"task": "toy", "protocol": "leave-one-out", "shots": [0, 4], "seeds": 2, "source_rows": 21, **changes}
    return make_plan(build_config(given), task)


def renamed(task: Task, names: dict[str, str]) -> Task:
    """The task with some domains called otherwise."""
    domains = {names.get(name, name): domain for name, domain in task.domains.items()}
    return replace(task, domains=domains)


def test_cells_and_distinct_fits_by_hand(toy_task: Task) -> None:
    plan = together(toy_task, methods=["source-then-target", "merge-domains"])
    assert plan.pairs == [(SETS[target], target) for target in plan.targets]
    assert plan.sources == tuple(SETS[target] for target in plan.targets)
    assert plan.domains == tuple(toy_task.domains)
    # a draw, each target: SS on 2 members; ST; ceiling; target-only; source-then-target; merge-domains at 0 and 4
    assert len(plan.cells) == 2 * 3 * (2 + 1 + 1 + 1 + 1 + 2)
    # a draw, each target: source fit; target-only; source-then-target; head, average and last fit of merge-domains;
    # each domain: the ceiling, which merge-domains averages
    assert len(plan.distinct) == 2 * (3 * (1 + 1 + 1 + 3) + 3 + 3 * 2)
    (inside,) = {fit.content for cell, fit in plan.fits.items() if cell.source == "chat+shop" and cell.draw == 0
                 and cell.method == "source-only"}  # fmt: skip
    assert set(plan.tests[inside]) == {"chat", "shop", "film"}


def test_a_set_has_as_many_rows_as_one_source_and_equal_shares(toy_task: Task) -> None:
    for draw in (0, 1):
        plan = together(toy_task)
        assert plan.row_cap == 21
        (fit,) = [
            one
            for cell, one in plan.fits.items()
            if (cell.method, cell.target, cell.shots, cell.draw) == ("source-only", "film", 0, draw)
            and cell.source == "chat+shop"
        ]
        assert [part.rows.domain for part in fit.parts] == ["chat", "shop"]
        assert [len(part.rows) for part in fit.parts] == [11, 10]
        assert [part.share for part in fit.parts] == [0.5, 0.5]
        for part in fit.parts:
            train = toy_task.domains[part.rows.domain].train
            assert part.rows.ids == splits.cap(toy_task.name, train, 21, draw).ids[: len(part.rows)]
        ceiling = next(one for cell, one in plan.fits.items() if (cell.method, cell.target) == ("target-full", "film"))
        assert ceiling.size == fit.size == 21
        assert ceiling.steps == fit.steps


def test_no_method_sees_what_it_may_not(hinted_task: Task) -> None:
    """Follows the row ids of every fit of the catalogue."""
    plan = together(hinted_task, methods=list(METHODS))
    for cell, fit in plan.fits.items():
        members = plan.origins.members(cell.source) if cell.source else ()
        assert cell.target not in members or cell.method == "source-only"
        assert leaks(hinted_task, cell, fit, members) == []
        for link in fit.lineage() if METHODS[cell.method].uses_source else ():
            labelled = {
                row for part in link.parts if set(part.rows.labels) & set(hinted_task.labels) for row in part.rows.ids
            }
            assert len(labelled) <= plan.row_cap + (cell.shots or 0) * len(hinted_task.labels)
    assert {(cell.method, cell.target) for cell in plan.fits} == {(name, target) for name in METHODS for target in SETS}


def test_averages_of_domains_mean_the_same_members_and_the_same_fits(toy_task: Task) -> None:
    given = {"methods": ["merge-domains", "meta"]}
    alone, joined = together(toy_task, protocol="pairs", **given), together(toy_task, **given)
    for name in ("merge-domains", "meta"):
        own, other = (
            {(cell.target, cell.shots, cell.draw, cell.source): fit.content for cell, fit in plan.fits.items() if cell.method == name}
            for plan in (alone, joined)
        )  # fmt: skip
        assert own == other
        assert all(place[-1] is None for place in own)


def test_every_method_runs(small: Callable[..., Study]) -> None:
    able = [name for name in METHODS if name != "keywords"]  # a table says nothing of its labels
    result = small(protocol="leave-one-out", sources=[], targets=[], seeds=1, methods=able).run()
    assert not result.outcome.failed
    assert result.evidence.notes == []
    scored = {(one.method, one.target) for one in result.summary.scores}
    assert {(name, target) for name in able for target in SETS} <= scored
    assert {(one.source, one.target) for one in result.summary.transfer} == {(own, one) for one, own in SETS.items()}


def test_the_run_folder_goes_on_and_holds_models_that_never_saw_the_target(small: Callable[..., Study]) -> None:
    study = small(protocol="leave-one-out", sources=[], targets=["film", "chat"])
    result = study.run()
    summary = result.summary.study
    assert (summary.protocol, summary.sources) == ("leave-one-out", ["chat+shop", "film+shop"])
    assert summary.targets == ["film", "chat"]
    written = yaml.safe_load((result.folder / "study.yaml").read_text())
    assert written["protocol"] == "leave-one-out"
    again = Study(config=build_config({}, file=result.folder / "study.yaml"))
    assert again.plan.hash(again.environment) == result.plan.hash(result.outcome.environment)
    assert again.run().summary.fits.trained == 0
    for target in ("film", "chat"):
        about = json.loads((result.folder / "best" / f"{target}-0" / "lowres.json").read_text())["about"]
        assert (about["source"], about["target"], about["method"]) == (SETS[target], target, "source-only")
    cells = [json.loads(line) for line in (result.folder / "cells.jsonl").read_text().splitlines()]
    members = {cell["target"] for cell in cells if cell["source"] == "chat+shop" and cell["method"] == "source-only"}
    assert members == {"chat", "shop", "film"}


def test_the_name_of_a_study_tells_the_protocol(small: Callable[..., Study]) -> None:
    default, named, joined = small(), small(protocol="pairs"), small(protocol="leave-one-out", sources=[])
    every = small(sources=[])
    assert default.plan.hash(default.environment) == named.plan.hash(named.environment)
    assert every.plan.hash(every.environment) != joined.plan.hash(joined.environment)


def test_named_sources_and_targets(toy_task: Task) -> None:
    plan = together(toy_task, source=["shop", "film"])  # no target named: those that have two sources
    assert plan.pairs == [("film+shop", "chat")]
    wide = renamed(toy_task, {})
    wide.domains["more"] = wide.domains["shop"]
    assert together(wide, source=["chat", "film"], target=["shop", "more"], methods=["source-only"]).pairs == [
        ("chat+film", "shop"), ("chat+film", "more"),
    ]  # fmt: skip
    mixed = together(wide, source=["chat", "film", "shop"], target=["shop", "more"], methods=["source-only"])
    assert mixed.pairs == [("chat+film", "shop"), ("chat+film+shop", "more")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": ["shop", "film"], "target": ["film"]}, "at least two sources"),
        ({"protocol": "leave-one-uot"}, "did you mean 'leave-one-out'"),
        ({"source_rows": 2, "source": ["chat", "film", "shop"], "target": ["more"]}, "2 rows for 3 sources"),
    ],
)
def test_faults_are_named(toy_task: Task, changes: dict, words: str) -> None:
    task = renamed(toy_task, {})
    task.domains["more"] = task.domains["shop"]
    with pytest.raises(UserError, match=words) as caught:
        together(task, **changes)
    assert len(str(caught.value).splitlines()) <= 3


def test_two_domains_are_too_few(toy_task: Task) -> None:
    task = replace(toy_task, domains={name: toy_task.domains[name] for name in ("film", "shop")})
    with pytest.raises(UserError, match="got source shop for target film; expected at least two sources for a target"):
        together(task)


def test_a_plus_in_a_name_is_refused_only_where_two_could_be_meant() -> None:
    fine = find_origins("leave-one-out", ["a+b", "c", "d"], ["a+b", "c", "d"], ["c", "d"])
    assert fine.pairs == [("a+b+d", "c"), ("a+b+c", "d")]
    for known in (["a+b", "a", "b"], ["a+b", "a", "b+a"]):
        with pytest.raises(UserError, match="rename"):
            find_origins("leave-one-out", known, known, known)
