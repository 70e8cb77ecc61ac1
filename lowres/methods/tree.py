"""A method as a small tree: fits, their rows, objective and start, and who decides on rows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction

from lowres.data import splits
from lowres.data.hints import NAMES
from lowres.methods.cell import Bench
from lowres.methods.symbolic import TRAIN, budgets, expression, symbolic
from lowres.training.fit import Fit, Part
from lowres.training.picks import PseudoLabels, Resembling
from lowres.training.recipe import AllWeights, Average, Words

WIDTH = 68
"""Columns of a line of rows."""


def trees(name: str) -> list[tuple[str, list[str]]]:
    """The trees of a method, each with its budgets: one where it is the same at 0 shots and at more."""
    drawn = [(_budget(shots), draw(name, shots)) for shots in budgets(name)]
    if len(drawn) == 2 and drawn[0][1] == drawn[1][1]:
        return [("at any number of shots", drawn[0][1])]
    return drawn


def _budget(shots: int | None) -> str:
    return "with the pool" if shots is None else "at k shots" if shots else "at 0 shots"


def draw(name: str, shots: int | None) -> list[str]:
    """Lines of the tree of a method on a symbolic bench."""
    fit = expression(name, shots)
    numbers = {link.content: place for place, link in enumerate(fit.lineage(), start=1)}
    return list(_Tree(symbolic(name, shots), numbers).of(fit))


@dataclass
class _Tree:
    bench: Bench
    numbers: dict[str, int]
    """Number of each fit by its content, what is needed first."""
    _drawn: set[str] = field(default_factory=set)
    _like: dict[str, Fit] = field(default_factory=dict)
    """The first fit of each form that is drawn."""

    def of(self, fit: Fit) -> Iterator[str]:
        """The fit, and below it its rows and the fits that it needs; of a form that comes again what is new in it."""
        self._drawn.add(fit.content)
        first = self._like.setdefault(self._form(fit), fit)
        below: list[Part | Fit] = [*fit.parts, *_once(fit.needs)]
        if first is fit:
            yield f"{self._name(fit)}: {self._what(fit)}"
        else:
            yield f"{self._name(fit)}: made like {self._name(first)}, and so on down to"
            below = [link for link in fit.lineage() if self._form(link) not in self._like]
        for one in below:
            if isinstance(one, Fit):
                self._like.setdefault(self._form(one), one)
        for place, one in enumerate(below):
            first_head, rest = ("└─ ", "   ") if place == len(below) - 1 else ("├─ ", "│  ")
            lines = self._part(one, fit) if isinstance(one, Part) else self._need(one)
            yield from ((rest if number else first_head) + line for number, line in enumerate(lines))

    def _need(self, fit: Fit) -> list[str]:
        return [f"{self._name(fit)}, as above"] if fit.content in self._drawn else list(self.of(fit))

    def _form(self, fit: Fit) -> str:
        """What two fits have in common that differ in the turn alone."""
        parts = [self._line(part, fit) for part in fit.parts]
        start = type(fit.start).__name__
        return repr((fit.objective, fit.recipe, fit.replica, fit.draw, start, parts, len(fit.ingredients)))

    def _name(self, fit: Fit) -> str:
        return f"fit {self.numbers[fit.content]}"

    def _what(self, fit: Fit) -> str:
        """Objective, adapter and start, what of the recipe is its own, and for which draws it is the same."""
        settings = asdict(self.bench.settings.recipe)
        own = [f"{name} {value}" for name, value in asdict(fit.recipe).items() if value != settings[name]]
        shared = ["the same for all draws"] if fit.draw != self.bench.cell.draw else []
        order = [f"order {fit.replica + 1} of its rows"] if fit.replica else []
        if isinstance(fit.objective, Average):
            return self._average(fit)
        adapter = [] if fit.adapter is None or not fit.uses_gradients else [type(fit.adapter).__name__]
        return ", ".join([repr(fit.objective).removesuffix("()"), *adapter, self._start(fit), *own, *order, *shared])

    def _average(self, fit: Fit) -> str:
        assert isinstance(fit.objective, Average)
        weights = [str(Fraction(weight).limit_denominator(100)) for weight in fit.objective.weights]
        *others, last = (str(self.numbers[one.content]) for one in fit.ingredients)
        of = "the updates" if fit.objective.of == "update" else "A and B"
        each = f"{weights[0]} each" if len(set(weights)) == 1 else ", ".join(weights)
        return f"mean of {of} of fits {', '.join(others)} and {last}, {each}"

    def _start(self, fit: Fit) -> str:
        start = fit.start
        if start is None:
            return "from the backbone" if fit.reads_backbone else "whatever the text"
        if isinstance(start, Words):
            return f"on TF-IDF of up to {start.ngrams} words" if start.ngrams > 1 else "on TF-IDF of words"
        kind = "weights" if isinstance(start.adapter, AllWeights) else "adapter"
        taken = [kind] * (start.adapter is not None) + ["head"] * (fit.takes_head and fit.uses_gradients)
        return f"from the {' and '.join(taken)} of {self._name(start)}"

    def _part(self, part: Part, fit: Fit) -> list[str]:
        return textwrap.wrap(self._line(part, fit), WIDTH, subsequent_indent="  ")

    def _line(self, part: Part, fit: Fit) -> str:
        share = Fraction(part.share / sum(one.share for one in fit.parts)).limit_denominator(100)
        of = "a batch" if fit.uses_gradients else "the weight"
        found = ["held out"] if not part.share else [f"{share} of {of}"] * (share < 1)
        return ", ".join([f"rows {self._rows(part)}", *found, *self._decided(part)])

    def _decided(self, part: Part) -> list[str]:
        if isinstance(part.by, PseudoLabels):
            return [
                f"labelled by {self._name(part.by.asked)}: as many of each class, the surest, at most {part.by.share:.0%}"
            ]
        if isinstance(part.by, Resembling):
            return [f"of each class the {part.by.share:.0%} that {self._name(part.by.asked)} finds most target-like"]
        return [] if part.by is None else ["labelled by keywords; a tie, or none, leaves a row out"]

    def _rows(self, part: Part) -> str:
        """Which rows these are, by their ids and labels."""
        rows, bench = part.rows, self.bench
        if rows.domain == NAMES:
            return "names"
        whole = TRAIN[rows.domain]
        named = "S" if rows.domain == bench.cell.source else f"of {rows.domain!r}"
        if rows.domain == bench.cell.target:
            named = self._target(part)
        called = set(rows.labels) - set(bench.labels) - {""}
        texts = dict(zip(whole.ids, whole.texts, strict=True))
        other = any(texts[row] != text for row, text in zip(rows.ids, rows.texts, strict=True))
        return ", ".join([named, *(f"called {label!r}" for label in sorted(called)), *["words deleted"] * other]) + (
            f", {min(map(len, rows.by_label().values()))} a class" * self._few(part)
        )

    def _target(self, part: Part) -> str:
        bench, ids = self.bench, set(part.rows.ids)
        pool = set(bench.target_pool[0].rows.ids)
        if set(part.rows.labels) <= set(bench.labels):
            return "T" if ids <= {row for one in bench.target_shots for row in one.rows.ids} else "pool"
        whole = set(bench.target_unlabelled.ids) if set(part.rows.labels) == {""} else ids
        fixed = splits.cap(bench.cell.task, TRAIN[bench.cell.target], bench.settings.row_cap, 0)
        return "U" if ids == whole else f"{len(ids) / min(len(fixed), len(pool)):.0%} of U"

    def _few(self, part: Part) -> bool:
        """Whether it is a window of a source."""
        bench, domain = self.bench, part.rows.domain
        return domain not in (bench.cell.target, NAMES) and len(part.rows) < bench.settings.row_cap


def _once(fits: tuple[Fit, ...]) -> list[Fit]:
    return list({fit.content: fit for fit in fits}.values())
