"""What a study will do, known before anything is trained: cells, distinct fits, test rows, seconds and disk.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from lowres import seeds, settings
from lowres.data import splits
from lowres.data.rows import Rows, pooled
from lowres.data.task import Task
from lowres.data.tokens import MARKS, MOST_WINDOWS, WINDOWS, check_truncation, tokens_read
from lowres.errors import UserError, unknown_name
from lowres.kinds import KINDS
from lowres.methods.catalogue import METHODS, REFERENCES, find_method
from lowres.methods.cell import Bench, Cell, Settings
from lowres.study.config import StudyConfig
from lowres.study.label_sets import check_common, label_faults
from lowres.study.protocol import PAIRS, Origins, find_origins, targets_of
from lowres.training.fit import SCHEMA, Environment, Fit
from lowres.training.recipe import AllWeights, Recipe

CHARACTERS_PER_TOKEN = 4.2
"""Of English word pieces; only for estimates."""
EFFICIENCY = {"fleet": (0.5, 0.7), "loop": (0.4, 0.6)}
"""Shares of the measured matrix speed that each engine reaches in training and in tests, measured on a CPU with MiniLM."""

START_UP = 4.0
"""Seconds to import, load the backbone and write the results."""


@dataclass(frozen=True)
class Plan:
    """All cells of a study and the fits they need."""

    config: StudyConfig
    task: Task
    origins: Origins
    targets: tuple[str, ...]
    methods: tuple[str, ...]
    row_cap: int
    fits: Mapping[Cell, Fit]

    @property
    def cells(self) -> list[Cell]:
        """All cells, in a fixed order."""
        return list(self.fits)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, domains or sets of them."""
        return self.origins.sources

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains that are learnt from, and targets, each once."""
        return tuple(dict.fromkeys((*self.origins.domains, *self.targets)))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(source, target); no target is in its source."""
        return self.origins.pairs

    def rows(self, name: str) -> Rows:
        """Test rows of a domain, or of all domains of a source together."""
        members = self.origins.members(name)
        if len(members) > 1 and name not in self._pooled:
            self._pooled[name] = pooled(name, [self.test_rows[one] for one in members])
        return self._pooled[name] if len(members) > 1 else self.test_rows[name]

    @cached_property
    def _pooled(self) -> dict[str, Rows]:
        return {}

    @cached_property
    def test_rows(self) -> dict[str, Rows]:
        """Test rows by domain, at most ``limit`` each."""
        return {
            name: splits.limit_test(self.task.name, self.task.domains[name].test, self.config.limit)
            for name in self.domains
        }

    @cached_property
    def distinct(self) -> dict[str, Fit]:
        """Every distinct fit by its content, starts before what starts from them."""
        found: dict[str, Fit] = {}
        for fit in self.fits.values():
            for link in fit.lineage():
                found.setdefault(link.content, link)
        return found

    @cached_property
    def methods_of(self) -> dict[str, tuple[str, ...]]:
        """The methods whose expressions hold each fit (by content)."""
        return holders((cell.method, fit) for cell, fit in self.fits.items())

    @cached_property
    def tests(self) -> dict[str, tuple[str, ...]]:
        """Domains on which each fit (by content) is tested."""
        found: dict[str, dict[str, None]] = {}
        for cell, fit in self.fits.items():
            found.setdefault(fit.content, {})[cell.target] = None
        return {content: tuple(domains) for content, domains in found.items()}

    def waves(self) -> Iterator[list[Fit]]:
        """Distinct fits in waves: those of a wave start from nothing that is not in an earlier one."""
        depth: dict[str, int] = {}
        for content, fit in self.distinct.items():
            depth[content] = 1 + max((depth[need.content] for need in fit.needs), default=0)
        for level in sorted(set(depth.values())):
            yield [fit for content, fit in self.distinct.items() if depth[content] == level]

    def hash(self, environment: Environment) -> str:
        """Name of the study: everything that may change one of its numbers, as resolved."""
        config = self.config
        request: dict[str, object] = {
            "shots": sorted(config.shots),
            "seeds": config.seeds,
            "limit": config.limit,
            "lora": settings.as_dict(config.lora),
            **({} if config.adapter == "lora" else {"adapter": config.adapter}),
            "recipe": config.recipe.spec(),
            "row_cap": self.row_cap,
            "schema": SCHEMA,
            "study": [self.task.name, self.task.fingerprint, self.sources, self.targets, self.methods],
        }
        if config.method.changed():
            request["method"] = config.method.changed()
        if config.protocol != PAIRS:
            request["protocol"] = config.protocol
        if any(METHODS[name].uses & {"names", "rules"} for name in self.methods):
            request["hints"] = self.task.hints.fingerprint
        return seeds.digest("study", request, asdict(environment))

    def estimate(
        self, gflops: float, flops_per_token: float, done: set[str] | None = None, layer_weights: int = 0
    ) -> Estimate:
        """Expected work of the fits that are not in ``done`` (contents).

        Args:
            gflops: Measured speed of matrix products.
            flops_per_token: Forward FLOPs of the backbone, in the layers that an adapter changes.
            done: Fits that need no training and no test.
            layer_weights: Weights of all layers; a fit of all weights runs through them, and keeps them.
        """
        recipe = self.config.recipe
        lengths = {name: _tokens(rows, recipe) for name, rows in self.test_rows.items()}
        todo = {content: fit for content, fit in self.distinct.items() if content not in (done or set())}
        speed = gflops * 1e9 / flops_per_token
        floor = seconds = megabytes = 0.0
        for content, fit in todo.items():
            whole = isinstance(fit.adapter, AllWeights)
            engine = "loop" if fit.needs_loop else self.config.engine
            deep = 2 * layer_weights / flops_per_token if whole else 1.0
            trained = tokens_trained(fit)
            tested = sum(lengths[domain] for domain in self.tests.get(content, ())) if fit.reads_backbone else 0.0
            floor += deep * ((trained if fit.uses_gradients else 0.0) + tested)
            if engine == "loop" and fit.uses_gradients:
                trained = _asked(fit) + _padded(fit) * (1.5 if whole else 1.0)
            training, testing = EFFICIENCY[engine]
            seconds += deep * (trained / training + tested / testing)
            if fit.adapter is not None:
                megabytes += 4e-6 * layer_weights if whole else 1.0
        rows_tested = sum(len(self.test_rows[d]) for content in todo for d in self.tests.get(content, ()))
        return Estimate(
            floor=floor / speed,
            seconds=seconds / speed + 0.03 * len(todo) + (START_UP if todo else 0),
            megabytes=megabytes + rows_tested * 40e-6 + 0.02 * len(todo),
        )


def _asked(fit: Fit) -> float:
    """Tokens of the rows about which another fit is asked."""
    asked = (part for part in fit.parts if part.by is not None and part.by.asked is not None)
    return sum(_tokens(part.rows, fit.recipe) for part in asked)


def _padded(fit: Fit) -> float:
    """Tokens that the plain engine computes for a fit: batches are padded to their longest text, three passes each."""
    recipe = fit.recipe
    most = recipe.max_length * (MOST_WINDOWS if recipe.truncation == WINDOWS else 1)
    mean = max(_tokens(part.rows, recipe) / len(part.rows) for part in fit.parts)
    return 3 * fit.steps * min(recipe.batch, fit.size) * min(most, mean * 1.5)


def tokens_trained(fit: Fit) -> float:
    """Tokens that pass the encoder while a fit is trained, not counting what it starts from: forward and backward each
    once a step, without padding and without the gradients of frozen weights (all weights: a third pass for theirs); on a frozen backbone, and where another fit
    is asked about it, each row once.
    """
    asked, recipe = _asked(fit), fit.recipe
    if not fit.uses_gradients:
        return asked + sum(_tokens(part.rows, recipe) for part in fit.parts) if fit.reads_backbone else asked
    mean = sum(part.share * _tokens(part.rows, recipe) / len(part.rows) for part in fit.parts)
    mean /= sum(part.share for part in fit.parts)
    passes = 3 if isinstance(fit.adapter, AllWeights) else 2
    return asked + passes * fit.steps * min(recipe.batch, fit.size) * mean


def _tokens(rows: Rows, recipe: Recipe) -> float:
    limit, how = recipe.max_length, recipe.truncation
    return sum(tokens_read(MARKS + len(text) / CHARACTERS_PER_TOKEN, limit, how) for text in rows.texts)


@dataclass(frozen=True)
class Estimate:
    """Expected seconds and disk."""

    seconds: float
    megabytes: float
    floor: float
    """Seconds if nothing but the matrix products of the encoder took time, at the measured speed."""


def make_plan(config: StudyConfig, task: Task, lm_head: bool = False) -> Plan:
    """All cells of a study, checked before anything is trained.

    Args:
        config: What is asked for.
        task: The prepared task.
        lm_head: Whether the backbone has its masked-LM head, for methods that ask.

    Raises:
        UserError: Unknown domains or methods, no pair, or a class with too few rows for the shots.
    """
    task.check()
    known = list(task.domains)
    for kind, names in (("source domain", config.source), ("target domain", config.target)):
        for name in names:
            if name not in task.domains:
                raise unknown_name(kind, name, known)
    for name in config.methods:
        find_method(name)
    check_truncation(config.recipe.truncation, task.kind)
    _check_kind(task, config.methods)
    able = trainable(task)
    sources = config.source or able
    targets = config.target or targets_of(config.protocol, known, sources)
    if not any(source != target for source in sources for target in targets):
        raise UserError(
            "no pair of a source and another target",
            got=f"source {', '.join(sources)}; target {', '.join(targets)}",
            expected="two domains",
            hint=_without_shift(config, known),
        )
    origins = find_origins(config.protocol, known, sources, targets)
    _check_domains(task, sources, targets, config.limit)
    check_common(task, origins, origins.pairs, any(config.shots))
    domains = dict.fromkeys((*sources, *targets))
    cap = row_cap(config, task, domains)
    origins.check(cap)
    methods = tuple(dict.fromkeys((*REFERENCES, *config.methods)))
    shared = Settings(cap, config.trained, config.recipe, config.method, lm_head)
    fits = {}
    train = {name: task.domains[name].train for name in domains}
    for cell in _cells(config, task, origins, methods):
        bench = Bench(
            cell, train, task.labels, shared, origins.domains, origins.sets, task.hints, labels_of=task.labels_of
        )
        fits[cell] = find_method(cell.method).expression(bench)
    return Plan(config, task, origins, tuple(targets), methods, cap, fits)


def holders(fits: Iterable[tuple[str, Fit]]) -> dict[str, tuple[str, ...]]:
    """Names by the content of each fit that their expressions hold."""
    found: dict[str, dict[str, None]] = {}
    for name, fit in fits:
        for link in fit.lineage():
            found.setdefault(link.content, {})[name] = None
    return {content: tuple(names) for content, names in found.items()}


def row_cap(config: StudyConfig, task: Task, domains: Iterable[str]) -> int:
    """Rows of a source fit and of the ceiling: as asked, or the smallest training part of these domains."""
    sizes = (len(task.domains[name].train) for name in domains)
    return min([config.source_rows, *(size for size in sizes if size)])


def trainable(task: Task) -> tuple[str, ...]:
    """Domains with training rows; refuses a task that has none."""
    found = tuple(name for name, domain in task.domains.items() if len(domain.train))
    if not found:
        raise UserError(f"no domain has training rows in task {task.name}", hint="lowres tasks check TASK")
    return found


def _without_shift(config: StudyConfig, known: list[str]) -> str:
    if len(known) > 1:
        return f"the task has the domains {', '.join(known)}"
    return f"to train on one domain alone: lowres fit {config.task or 'TASK'} --on {known[0]} --out FOLDER"


def single_cell(task: Task, on: str, start_from: str | None, shots: int | None, method: str | None, draw: int) -> Cell:
    """The cell of one adapter trained on ``on``, the method chosen by what is given unless it is named.

    Raises:
        UserError: Domains, shots and method do not go together.
    """
    for name in (on, *([start_from] if start_from else [])):
        task.domain(name)
    if method is not None:
        name = method
    elif start_from is not None:
        name = "source-only" if shots == 0 else "source-then-target"
    else:
        name = "target-full" if shots is None else "target-only"
    known = find_method(name)
    uses = known.uses
    if not known.adapts:
        raise _no_adapter(name)
    if shots == 0 and start_from is None:
        raise UserError("shots: 0 rows of the domain and no --start-from leave nothing to train on")
    faults = [
        (start_from == on, f"--start-from {start_from} is the domain to train on"),
        ("S" in uses and start_from is None, f"{name} needs --start-from"),
        ("S" not in uses and start_from is not None, f"{name} has no use for --start-from"),
        ("T" in uses and not shots, f"{name} needs --shots"),
        ("T" not in uses and bool(shots), f"{name} has no use for --shots"),
        (draw < 0, f"draw: got {draw}, expected at least 0"),
    ]
    wrong = [text for found, text in faults if found]
    if wrong:
        raise UserError("; ".join(wrong), hint=f"lowres methods show {name}")
    return Cell(task.name, start_from, on, None if "pool" in uses else shots or 0, name, draw)


def single_plan(config: StudyConfig, task: Task, cell: Cell, lm_head: bool = False) -> Plan:
    """A plan of one cell, whose model can be saved."""
    domains = tuple(name for name in (cell.source, cell.target) if name is not None)
    _check_domains(task, domains, (cell.target,), None)
    if cell.source is not None:
        check_common(task, Origins(), [(cell.source, cell.target)], bool(cell.shots))
    train = {name: task.domains[name].train for name in domains}
    cap = min(config.source_rows, max(len(rows) for rows in train.values()))
    shared = Settings(cap, config.trained, config.recipe, config.method, lm_head)
    check_truncation(config.recipe.truncation, task.kind)
    _check_kind(task, [cell.method])
    bench = Bench(cell, train, task.labels, shared, hints=task.hints, labels_of=task.labels_of)
    fit = find_method(cell.method).expression(bench)
    if fit.adapter is None or isinstance(fit.adapter, AllWeights):
        raise _no_adapter(cell.method)
    return Plan(config, task, Origins(), (cell.target,), (cell.method,), cap, {cell: fit})


def _no_adapter(method: str) -> UserError:
    return UserError(
        f"{method} trains no adapter",
        expected="a method that does, such as target-only",
        hint="what it scores says lowres run --methods " + method,
    )


def source_plan(config: StudyConfig, task: Task, targets: Sequence[str]) -> Plan:
    """``source-only`` on each source and tested there: what can be trained before anything of a target is labelled.

    The row cap looks at the sources alone. ``targets`` are names, of domains or of texts that the task does not have.

    Raises:
        UserError: An unknown source, or one that cannot be trained and tested on.
    """
    for name in config.source:
        task.domain(name)
    check_truncation(config.recipe.truncation, task.kind)
    sources = config.source or trainable(task)
    origins = find_origins(config.protocol, list(task.domains), sources, targets)
    _check_domains(task, sources, (), config.limit)
    train = {name: task.domains[name].train for name in sources}
    cap = row_cap(config, task, sources)
    origins.check(cap)
    shared = Settings(cap, config.trained, config.recipe, config.method)
    benches = {
        cell: Bench(
            cell, train, task.labels, shared, origins.domains, origins.sets, task.hints, labels_of=task.labels_of
        )
        for draw in range(config.seeds)
        for source in origins.sources
        for cell in _inside(task, origins, source, draw)
    }
    fits = {cell: METHODS[cell.method].expression(bench) for cell, bench in benches.items()}
    return Plan(config, task, origins, (), ("source-only",), cap, fits)


def _cells(config: StudyConfig, task: Task, origins: Origins, methods: tuple[str, ...]) -> Iterator[Cell]:
    shots = sorted(config.shots)
    used = {source for own in origins.of.values() for source in own}
    for draw in range(config.seeds):
        for source in origins.sources:
            if source in used:
                yield from _inside(task, origins, source, draw)
        for name in methods:
            method = METHODS[name]
            for target, own in origins.of.items():
                if not own:
                    continue
                pool = len(task.domains[target].train) > 0
                for budget in method.budgets(shots):
                    if not pool and (budget != 0 or "U" in method.uses):
                        continue  # nothing of this target can be labelled or looked at; reported as a warning
                    for origin in own if method.uses_source else (None,):
                        yield Cell(task.name, origin, target, budget, name, draw)


def _inside(task: Task, origins: Origins, source: str, draw: int) -> Iterator[Cell]:
    """``source-only`` tested on each domain that its source is made of."""
    for member in origins.members(source):
        yield Cell(task.name, source, member, 0, "source-only", draw)


def _check_kind(task: Task, methods: Iterable[str]) -> None:
    """Refuses methods that have no meaning for a kind of task."""
    odd = [name for name in methods if task.kind in find_method(name).not_for]
    if odd:
        raise UserError(
            f"not for a task of type {task.kind}, which is {KINDS[task.kind].title}: {', '.join(odd)}",
            expected=f"of {', '.join(name for name, method in METHODS.items() if task.kind not in method.not_for)}",
            hint="leave them out of --methods",
        )


def _check_domains(task: Task, sources: tuple[str, ...], targets: tuple[str, ...], limit: int | None) -> None:
    """Refuses domains that cannot play the part they are asked for; all faults at once."""
    faults = [f"{name}: no training rows" for name in sources if not len(task.domains[name].train)]
    for name in dict.fromkeys((*sources, *targets)):
        train, test = task.domains[name].train, task.domains[name].test
        groups = len(set(splits.limit_test(task.name, test, limit).groups))
        if groups < 2:
            what = "no test rows" if not len(test) else "one test group"
            faults.append(f"{name}: {what}, at least two groups are needed")
        if len(train) and KINDS[task.kind].single:
            faults += label_faults(task, name)
    if faults:
        raise UserError(
            "domains that cannot be used as asked: " + "; ".join(faults[:5]), hint="lowres tasks check TASK"
        )


def minutes(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
