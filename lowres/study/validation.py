"""Scores of methods and settings without the target's dev and test rows: what a choice may look at.

Two rules: the dev rows of the source, or few-shot cross-validation, where every target shot is scored once by a fit that
did not see it. Nothing here reads a dev or test row of a target, or a test row of any domain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from lowres import seeds
from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.data.tokens import check_truncation
from lowres.errors import FitError, UserError, unknown_name
from lowres.kinds import KINDS, words_of
from lowres.methods.catalogue import find_method
from lowres.methods.cell import Bench, Cell, Settings
from lowres.stats.variance import Block, Floats, Quantity, block, combine, group_sums
from lowres.study.config import StudyConfig
from lowres.study.label_sets import check_common, label_faults
from lowres.study.plan import Plan, holders, row_cap, trainable
from lowres.study.protocol import PAIRS, Origins
from lowres.study.runner import Outcome, Progress, kept_answers, run_plan
from lowres.study.store import Store
from lowres.training.fit import Engine, Environment, Fit

RULES: Final = {
    "source-dev": "the dev rows of the source",
    "few-shot": "cross-validation over the target shots",
}


@dataclass(frozen=True)
class Candidate:
    """A method with its settings: adapter, recipe and method settings of a config."""

    method: str
    config: StudyConfig


@dataclass(frozen=True, eq=False)
class Exam:
    """A fit and rows that it has not seen."""

    fit: Fit
    rows: Rows
    draw: int
    pair: tuple[str | None, str]
    """(source, target); exams of one pair and draw are scored together."""
    method: str


@dataclass(frozen=True, eq=False)
class Validated:
    """A candidate and its score as a quantity over the draws."""

    candidate: Candidate
    quantity: Quantity

    @property
    def draws(self) -> list[float]:
        """The score of each draw, mean over the pairs."""
        return [float(value) for value in np.sum([one.theta for one in self.quantity], axis=0)]

    @property
    def mean(self) -> float:
        """Over draws and pairs."""
        return float(np.mean(self.draws))


@dataclass(frozen=True)
class Validation:
    """On which rows, pairs and draws candidates are scored; the same for all of them."""

    task: Task
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    shots: int
    draws: int
    by: str
    folds: int
    dev_rows: int | None
    row_cap: int
    lm_head: bool = False
    """Whether the backbone has its masked-LM head."""

    def exams(self, candidate: Candidate) -> Iterator[Exam]:
        """All fits of a candidate with the rows that each is scored on."""
        method, own = find_method(candidate.method), candidate.config
        settings = Settings(self.row_cap, own.trained, own.recipe, own.method, self.lm_head)
        for draw in range(self.draws):
            for source, target in self._pairs(method.uses_source):
                cell = Cell(self.task.name, source, target, self.shots, candidate.method, draw)
                bench = Bench(
                    cell, self._train, self.task.labels, settings, self.sources,
                    hints=self.task.hints, labels_of=self.task.labels_of,
                )  # fmt: skip
                if self.by == "source-dev":
                    fit = method.expression(bench)
                    for origin in [source] if source else [one for one in self.sources if one != target]:
                        yield Exam(fit, self.dev[origin], draw, (origin, target), candidate.method)
                    continue
                for held in self._held(bench):
                    fit = method.expression(replace(bench, held_out=frozenset(held.ids)))
                    yield Exam(fit, held, draw, (source, target), candidate.method)

    @cached_property
    def dev(self) -> dict[str, Rows]:
        """Dev rows of each source, at most ``dev_rows``."""
        return {
            name: splits.limit_test(self.task.name, self.task.domains[name].dev, self.dev_rows) for name in self.sources
        }

    @property
    def known(self) -> str:
        """What the task file says of its labels, as a name for a hash."""
        return self.task.hints.fingerprint

    def read(self) -> list[Any]:
        """The content of every row that may be read, as names for a hash."""
        parts = [rows.fingerprint for rows in self._train.values()]
        return parts + ([rows.fingerprint for rows in self.dev.values()] if self.by == "source-dev" else [])

    def scored(self, candidate: Candidate, exams: Sequence[Exam], outcome: Outcome) -> Validated | FitError:
        """The score of a candidate from the probabilities of a run, or why it has none."""
        metric = self.task.measure
        sums: dict[tuple[tuple[str | None, str], int], list[tuple[Rows, Floats]]] = {}
        for exam in exams:
            place = exam.fit.content, exam.rows.fingerprint
            if place not in outcome.probabilities:
                return FitError(outcome.failed.get(exam.fit.content, "it has no answers in the store"))
            values = metric.statistics(outcome.targets(exam.rows.fingerprint), outcome.probabilities[place])
            sums.setdefault((exam.pair, exam.draw), []).append((exam.rows, values))
        pairs = sorted({pair for pair, _ in sums}, key=str)
        if self.by == "few-shot":
            totals = [
                [metric.value(np.concatenate([one for _, one in sums[pair, draw]]).sum(0)) for pair in pairs]
                for draw in range(self.draws)
            ]
            theta = np.mean(np.array(totals, dtype=np.float64), axis=1)
            # every draw has rows of its own: draws alone vary, and the interval is that of a t test over them
            return Validated(candidate, (Block(theta, np.repeat(theta[:, None], 2, axis=1)),))
        terms = []
        for pair in pairs:
            ((rows, _),) = sums[pair, 0]
            _, groups = np.unique(rows.unit_groups, return_inverse=True)
            by_draw = np.stack([group_sums(sums[pair, draw][0][1], groups) for draw in range(self.draws)])
            terms.append((str(pair[0]), 1 / len(pairs), block(by_draw, metric.value)))
        return Validated(candidate, combine(terms))

    @cached_property
    def _train(self) -> Mapping[str, Rows]:
        return {name: self.task.domains[name].train for name in dict.fromkeys((*self.sources, *self.targets))}

    def _pairs(self, uses_source: bool) -> list[tuple[str | None, str]]:
        if not uses_source:
            return [(None, target) for target in self.targets]
        return [(source, target) for target in self.targets for source in self.sources if source != target]

    def _held(self, bench: Bench) -> list[Rows]:
        return folds(bench.all_shots, self.folds, "folds", self.task.name, bench.cell.target, bench.cell.draw)


@dataclass(frozen=True)
class ExamPlan(Plan):
    """Fits of several configs as one plan; each is asked about rows of its own, named by their fingerprint."""

    exams: tuple[Exam, ...] = ()

    @cached_property
    def test_rows(self) -> dict[str, Rows]:
        """The rows of all exams by fingerprint."""
        return {exam.rows.fingerprint: exam.rows for exam in self.exams}

    @cached_property
    def distinct(self) -> dict[str, Fit]:
        """Every distinct fit by its content, starts before what starts from them."""
        return {link.content: link for exam in self.exams for link in exam.fit.lineage()}

    @cached_property
    def methods_of(self) -> dict[str, tuple[str, ...]]:
        """The methods whose expressions hold each fit (by content)."""
        return holders((exam.method, exam.fit) for exam in self.exams)

    @cached_property
    def tests(self) -> dict[str, tuple[str, ...]]:
        """Fingerprints of the rows that each fit (by content) is asked about."""
        found: dict[str, dict[str, None]] = {}
        for exam in self.exams:
            found.setdefault(exam.fit.content, {})[exam.rows.fingerprint] = None
        return {content: tuple(names) for content, names in found.items()}


def exam_plan(how: Validation, config: StudyConfig, exams: Sequence[Sequence[Exam]]) -> ExamPlan:
    """All that some candidates need, in one plan."""
    every = tuple(exam for one in exams for exam in one)
    return ExamPlan(config, how.task, Origins(how.sources), how.targets, (), how.row_cap, {}, every)


def validate(
    how: Validation,
    candidates: Sequence[Candidate],
    engine: Engine,
    environment: Environment,
    store: Store,
    provenance: Mapping[str, Any],
    progress: Progress | None = None,
) -> tuple[list[Validated | FitError], Outcome]:
    """Scores candidates; all their fits are trained together, those that the store has are not trained again.

    Returns one score, or the reason why there is none, a candidate, in order; and what the run left.
    """
    exams = [list(how.exams(candidate)) for candidate in candidates]
    plan = exam_plan(how, candidates[0].config, exams)
    outcome = run_plan(plan, engine, environment, store, provenance, progress=progress)
    return [how.scored(one, own, outcome) for one, own in zip(candidates, exams, strict=True)], outcome


def recalled(
    how: Validation, candidates: Sequence[Candidate], environment: Environment, store: Store
) -> list[Validated | FitError]:
    """Scores from what the store holds; trains and asks nothing."""
    if not candidates:
        return []
    exams = [list(how.exams(candidate)) for candidate in candidates]
    outcome = kept_answers(exam_plan(how, candidates[0].config, exams), environment, store)
    return [how.scored(one, own, outcome) for one, own in zip(candidates, exams, strict=True)]


def folds(rows: Rows, count: int, *name: object) -> list[Rows]:
    """Parts of few rows with about the same number of each label, tag or type; rows of a group stay together.

    Raises:
        UserError: The groups leave a part empty, or all rows of a class in one part.
    """
    members: dict[str, list[int]] = {}
    for place, group in enumerate(rows.groups):
        members.setdefault(group, []).append(place)
    groups = list(members)
    turns = [groups[place] for place in seeds.order(groups, *name)]
    single = KINDS[rows.kind].single
    held_by = [Counter([label]) if single else Counter(words_of(label)) for label in rows.labels]
    held: list[list[int]] = [[] for _ in range(count)]
    labels: list[Counter[str]] = [Counter() for _ in range(count)]
    for group in sorted(turns, key=lambda one: -len(members[one])):
        own = sum((held_by[place] for place in members[group]), Counter[str]())
        at = min(
            range(count),
            key=lambda part: (sum(labels[part][label] * n for label, n in own.items()), len(held[part]), part),
        )
        held[at] += members[group]
        labels[at] += own
    whole = Counter(rows.labels)
    if not all(held) or (single and any(part[label] == whole[label] for part in labels for label in part)):
        raise UserError(
            f"the shots of {rows.domain} cannot be cut into {count} folds",
            got=f"{len(groups)} groups in {len(rows)} rows",
            expected="every class in every training part",
            hint="ask for fewer --folds or more --shots",
        )
    return [rows.take(sorted(places)) for places in held]


def validation(
    config: StudyConfig,
    task: Task,
    methods: Sequence[str],
    *,
    by: str | None = None,
    folds: int = 4,
    dev_rows: int | None = None,
    lm_head: bool = False,
) -> Validation:
    """How candidates of a config are scored, checked before anything is trained.

    Args:
        config: Sources, targets, the one budget and the number of draws.
        task: The prepared task.
        methods: Those of the candidates.
        by: One of ``RULES``; None: few-shot cross-validation, at 0 shots the source's dev rows.
        folds: Parts of the target shots; at most one a shot is made.
        dev_rows: At most so many dev rows of a source.
        lm_head: Whether the backbone has its masked-LM head.

    Raises:
        UserError: Domains, methods, budget and rule do not go together.
    """
    if len(config.shots) != 1:
        raise UserError("one budget is chosen for", got=f"shots {', '.join(map(str, config.shots))}", expected="one")
    (shots,) = config.shots
    if config.protocol != PAIRS:
        raise UserError("candidates are scored on pairs", got=f"--protocol {config.protocol}", expected=PAIRS)
    by = by or ("few-shot" if shots else "source-dev")
    if by not in RULES:
        raise unknown_name("rule", by, RULES)
    if dev_rows is not None and dev_rows < 2:
        raise UserError(f"dev-rows: got {dev_rows}, expected at least 2")
    if dev_rows is not None and by != "source-dev":
        raise UserError("dev-rows has no use here", got=f"--by {by}", expected="--by source-dev")
    _check_methods(methods, shots, by, folds)
    check_truncation(config.recipe.truncation, task.kind)
    sources = config.source or trainable(task)
    targets = config.target or tuple(name for name in trainable(task) if any(one != name for one in sources))
    _check_domains(task, sources, targets, by)
    pairs = [(source, target) for target in targets for source in sources if source != target]
    check_common(task, Origins(), pairs, shots > 0)
    cap = row_cap(config, task, (*sources, *targets))
    return Validation(
        task, tuple(sources), tuple(targets), shots, config.seeds, by, min(folds, shots), dev_rows, cap, lm_head
    )


def _check_methods(methods: Sequence[str], shots: int, by: str, folds: int) -> None:
    for name in methods:
        method = find_method(name)
        if "pool" in method.uses:
            raise UserError(f"{name} cannot be chosen", got="the ceiling: it learns from labels beyond the shots")
        if shots == 0 and not method.zero:
            raise UserError(f"{name} needs target labels", got="0 shots", expected="--shots of 1 or more")
    if by == "few-shot" and (shots < 2 or folds < 2):
        raise UserError(
            "few-shot cross-validation needs two rows a class and two folds",
            got=f"{shots} shots, {folds} folds",
            hint="--by source-dev scores on the dev rows of the source instead",
        )


def _check_domains(task: Task, sources: Sequence[str], targets: Sequence[str], by: str) -> None:
    for name in (*sources, *targets):
        task.domain(name)
    lonely = [name for name in targets if all(source == name for source in sources)]
    if lonely or not targets:
        raise UserError(
            "no pair of a source and another target",
            got=f"source {', '.join(sources)}; target {', '.join(targets) or 'none'}",
            expected="another source for every target",
        )
    faults: list[str] = []
    for name in dict.fromkeys((*sources, *targets)):
        if not len(task.domains[name].train):
            faults.append(f"{name}: no training rows")
        elif KINDS[task.kind].single:
            faults += label_faults(task, name)
    if by == "source-dev":
        faults += [f"{name}: too few dev rows" for name in sources if len(set(task.domains[name].dev.groups)) < 2]
    if faults:
        raise UserError(
            "domains that cannot be used as asked: " + "; ".join(faults[:5]), hint="lowres tasks check TASK"
        )
