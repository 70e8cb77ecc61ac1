"""Costs and trees against the expressions, counted and walked in another way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lowres.cli.main import app
from lowres.methods.catalogue import METHODS
from lowres.methods.symbolic import DRAW, GROUPS, SHOTS, budgets, cost, entries, expression, group
from lowres.methods.tree import draw, trees

PAGE = Path(__file__).parent.parent.parent / "docs" / "methods.md"


def call(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("name", "shots", "fits", "shared"),
    [
        ("target-only", SHOTS, 1, 0),
        ("source-only", 0, 1, 1),
        ("source-then-target", SHOTS, 2, 2),  # the source, and the whole fit inside of interpolate
        ("probe-then-lora", SHOTS, 2, 1),
        ("interpolate", SHOTS, 3, 2),
        ("soup", SHOTS, 4, 1),
        ("merge-domains", SHOTS, 5, 4),  # a head, two domains and their mean, at every budget
        ("meta", SHOTS, 13, 12),
        ("label-names", SHOTS, 2, 1),
        ("keywords", SHOTS, 2, 0),
        ("joint", SHOTS, 1, 1),  # inside of soup and self-train
        ("target-full", None, 1, 1),
    ],
)
def test_costs_by_hand(name: str, shots: int | None, fits: int, shared: int) -> None:
    found = cost(name, shots)
    assert (found.fits, found.shared) == (fits, shared)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_tree_shows_every_fit_once(name: str) -> None:
    for shots in budgets(name):
        fit = expression(name, shots)
        lines = draw(name, shots)
        drawn = [int(number) for line in lines for number in re.findall(r"^[│├└─ ]*fit (\d+)(?!, as above)", line)]
        assert len(set(drawn)) == len(drawn)
        assert drawn[0] == len(fit.lineage())
        if name != "meta":  # whose turns are told in one line
            assert sorted(drawn) == list(range(1, len(fit.lineage()) + 1))
        objectives = {type(link.objective).__name__ for link in fit.lineage()} - {"Average"}
        assert all(any(one in line for line in lines) for one in objectives)
        assert all(len(line) <= 100 for line in lines)


def test_a_tree_says_who_decides_and_what_is_shared() -> None:
    text = "\n".join(draw("self-train", SHOTS))
    assert "rows U, 1/3 of a batch, labelled by fit 1" in text
    assert "from the adapter and head of fit 1" in "\n".join(draw("source-then-target", SHOTS))
    assert "labelled by keywords" in "\n".join(draw("keywords", 0))
    assert "of each class the 50% that fit 1 finds" in "\n".join(draw("select-source", 0))
    tapt = "\n".join(draw("tapt", 0))
    assert "the same for all draws" in tapt
    assert "90% of U, words deleted" in tapt
    assert "10% of U, held out" in tapt
    assert [budget for budget, _ in trees("label-names")] == ["at 0 shots", "at k shots"]
    assert [budget for budget, _ in trees("target-full")] == ["with the pool"]


def test_a_changed_expression_changes_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    expression.cache_clear()
    before = draw("joint", SHOTS)
    expression.cache_clear()
    other = dataclasses.replace(METHODS["joint"], expression=METHODS["coral"].expression)
    monkeypatch.setitem(METHODS, "joint", other)
    assert draw("joint", SHOTS) == draw("coral", SHOTS) != before
    expression.cache_clear()


def test_no_stage_is_fixed_to_the_symbolic_draw() -> None:
    drawn = {link.draw for name in METHODS for shots in budgets(name) for link in expression(name, shots).lineage()}
    assert drawn == {0, DRAW}


def test_the_list_has_every_method_in_its_group() -> None:
    found = list(entries())
    assert sorted(entry.name for entry in found) == sorted(METHODS)
    assert [one for one in GROUPS if any(entry.group == one for entry in found)] == list(GROUPS)
    assert group("probe") == group("majority") == GROUPS[0]
    assert group("probe-then-lora") == GROUPS[1]
    text = call("methods", "ls")
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(heading in text.splitlines() for heading in GROUPS)
    listed = json.loads(call("methods", "ls", "--json"))
    assert [one["name"] for one in listed] == [entry.name for entry in found]
    assert next(one for one in listed if one["name"] == "soup")["fits"]["k"] == {"fits": 4, "shared": 1}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_is_shown(name: str) -> None:
    text = call("methods", "show", name)
    assert all(line in text for _, lines in trees(name) for line in lines)


def test_the_page_holds_what_the_commands_print() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"```bash\nlowres (methods [^\n]*)\n```\n\n```text\n(.*?)```", page, flags=re.S)
    assert len(shown) == 3
    for words, text in shown:
        assert call(*words.split()) == text, f"paste the output of: lowres {words}"
