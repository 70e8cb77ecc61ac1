"""Settings of one method: they land in its fits and nowhere else, and a default changes no key."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from lowres.data.task import Task
from lowres.errors import UserError
from lowres.methods.catalogue import METHODS
from lowres.methods.cell import Bench, Cell, Settings
from lowres.methods.settings import DEFAULTS, MethodSettings
from lowres.settings import as_dict
from lowres.study.config import build_config
from lowres.study.plan import make_plan
from lowres.training.fit import Environment, Fit

USED_BY = {
    "contrastive.temperature": {"contrastive"},
    "coral.weight": {"coral"},
    "dann.weight": {"dann"},
    "interpolate.target_weight": {"interpolate"},
    "joint.target_share": {"joint", "self-train", "soup", "tapt"},
    "logistic.C": {"contrastive", "merge-domains", "probe", "probe-joint", "probe-then-lora", "tfidf", "tfidf-joint"},
    "meta.inner_shots": {"meta"},
    "meta.inner_steps": {"meta"},
    "meta.turns": {"meta"},
    "mmd.weight": {"mmd"},
    "select_source.share": {"select-source"},
    "self_train.share": {"self-train"},
    "soup.orders": {"soup"},
    "tapt.temperature": {"tapt"},
}
"""Methods of this page by the setting that steers them; others may come."""
VALUE = {"C": 3.0, "turns": 2, "inner_steps": 7, "inner_shots": 5, "orders": 2}


def changed(path: str) -> MethodSettings:
    group, name = path.split(".")
    own = replace(getattr(DEFAULTS, group), **{name: VALUE.get(name, 0.25)})
    return replace(DEFAULTS, **{group: own})


def expression(task: Task, name: str, settings: MethodSettings) -> Fit:
    method = METHODS[name]
    cell = Cell(task.name, "shop" if method.uses_source else None, "film", method.budgets([4])[0], name, 0)
    train = {one: domain.train for one, domain in task.domains.items()}
    return method.expression(
        Bench(cell, train, task.labels, Settings(30, method=settings), tuple(task.domains), hints=task.hints)
    )


@pytest.mark.parametrize("path", sorted(USED_BY))
def test_a_setting_steers_its_methods_and_no_other(path: str, hinted_task: Task) -> None:
    assert path in changed(path).changed()
    moved = {
        name
        for name in METHODS
        if expression(hinted_task, name, changed(path)).content != expression(hinted_task, name, DEFAULTS).content
    }
    assert moved & set().union(*USED_BY.values()) == USED_BY[path]


def test_every_setting_is_on_this_page_and_has_bounds() -> None:
    paths = {f"{group.name}.{name}" for group in fields(DEFAULTS) for name in as_dict(getattr(DEFAULTS, group.name))}
    assert paths >= set(USED_BY)
    assert not DEFAULTS.faults()
    assert not DEFAULTS.changed()


def test_a_default_that_is_said_changes_no_name(hinted_task: Task) -> None:
    request: dict[str, Any] = {"task": "toy", "shots": [4], "seeds": 1, "methods": ["contrastive"]}
    said = build_config(request, sets=["method.contrastive.temperature=0.1"])
    other = build_config(request, sets=["method.contrastive.temperature=0.05"])
    silent = build_config(request)
    assert said == silent
    environment = Environment("b", "fleet", "fp32", "n")
    names = [make_plan(config, hinted_task).hash(environment) for config in (silent, other)]
    assert names[0] != names[1]


def test_a_method_with_a_hyphen_in_a_file_and_on_the_command_line(tmp_path: Any) -> None:
    (tmp_path / "a.yaml").write_text("task: toy\nmethod:\n  self-train: {share: 0.3}\n")
    assert build_config({}, file=tmp_path / "a.yaml").method.self_train.share == 0.3
    flags = build_config({}, file=tmp_path / "a.yaml", sets=["method.self-train.share=0.2"])
    assert flags.method.self_train.share == 0.2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method.contrastive.temperature=0", "method.contrastive.temperature: got 0"),
        ("method.contrastive.temperatur=1", "did you mean method.contrastive.temperature"),
        ("method.contrastiv.temperature=1", "did you mean method.contrastive"),
        ("method.coral.weight=nan", "method.coral.weight: got nan"),
        ("method=contrastive", "expected keys with values"),
    ],
)
def test_bad_settings(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        build_config({"task": "toy"}, sets=[text])
