"""Runs a plan once: trains what the store lacks, wave by wave, and predicts every fit on every test set that needs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lowres.data.rows import Rows
from lowres.errors import FitError, StoreError
from lowres.kinds import KINDS
from lowres.models.device import Team
from lowres.scoring.metrics import all_metrics, widened
from lowres.study.plan import Plan
from lowres.study.store import Store
from lowres.training import closed_form
from lowres.training.acted import encoder_checks
from lowres.training.check import Check
from lowres.training.fit import Engine, Environment, Fit, Fitted

MOST_NAMED = 3
"""Methods that a warning about a fit of theirs names."""


def truth(rows: Rows, labels: tuple[str, ...]) -> npt.NDArray[Any]:
    """What rows are, as a ``Metric`` takes it."""
    if KINDS[rows.kind].answer == "value":
        return np.array([float(label) for label in rows.labels])
    targets = rows.targets(labels)
    if KINDS[rows.kind].unit == "text":
        return targets
    return np.stack([targets, np.repeat(np.arange(len(rows)), rows.sizes)], axis=1)


class Progress(Protocol):
    """Told how far a run is."""

    def wave(self, number: int, waves: int) -> None:
        """A wave begins."""

    def fit_done(self, fits: int) -> None:
        """So many further fits are done: trained and tested, or found in the store."""


class Silent:
    """No progress."""

    def wave(self, number: int, waves: int) -> None:
        """Says nothing."""

    def fit_done(self, fits: int) -> None:
        """Says nothing."""


@dataclass
class Seconds:
    """Where the time went. ``encode`` is tokenising the test texts; training texts are tokenised as they come."""

    total: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0
    encode: float = 0.0


@dataclass
class Outcome:
    """What a run left: keys by fit content, probabilities by (content, domain) over the labels of the task, and what went
    wrong.
    """

    plan: Plan
    environment: Environment
    probabilities: dict[tuple[str, str], npt.NDArray[np.float32]] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    """Contents of the fits that were trained now."""
    failed: dict[str, str] = field(default_factory=dict)
    """Error by content of the fit."""
    warnings: list[str] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    @property
    def reused(self) -> int:
        """Fits that were not trained because the store had them."""
        return len(self.plan.distinct) - len(self.trained | set(self.failed))

    def keep(self, fit: Fit, domain: str, values: npt.NDArray[np.float32]) -> None:
        """Remembers what a fit says of the test rows of a domain; ``values`` [units, outputs of the fit]."""
        self.probabilities[fit.content, domain] = widened(values, fit.labels, self.plan.task.labels)

    def targets(self, domain: str) -> npt.NDArray[Any]:
        """What the test rows of a domain, or of a source with all its domains, are, as a ``Metric`` takes it: label positions
        [rows], of other kinds as said there.
        """
        return truth(self.plan.rows(domain), self.plan.task.labels)

    def answers(self, content: str, name: str) -> npt.NDArray[np.float32] | None:
        """Probabilities of a fit on those rows, [rows, classes]; None where it was not tested on all of them."""
        parts = [self.probabilities.get((content, one)) for one in self.plan.origins.members(name)]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return known[0] if len(known) == 1 else np.concatenate(known)

    def records(self) -> Iterator[dict[str, Any]]:
        """One JSON-like record a finished cell: cell, keys, every metric, rows."""
        scored: dict[tuple[str, str], dict[str, object]] = {}
        for cell, fit in self.plan.fits.items():
            place = (fit.content, cell.target)
            if place not in self.probabilities:
                continue
            if place not in scored:
                scored[place] = all_metrics(
                    self.targets(cell.target), self.probabilities[place], self.plan.task.labels, self.plan.task.kind
                )
            yield {
                **cell.as_dict(),
                "key": fit.key(self.environment),
                "starts": [need.key(self.environment) for need in fit.lineage()[:-1]],
                "train_rows": fit.rows_trained,
                "test_rows": len(self.plan.test_rows[cell.target]),
                "metrics": scored[place],
            }


def run_plan(
    plan: Plan,
    engine: Engine,
    environment: Environment,
    store: Store,
    provenance: Mapping[str, Any],
    *,
    force: bool = False,
    progress: Progress | None = None,
    team: Team = Team(),
) -> Outcome:
    """Runs what is missing. A fit that fails is noted and never stops the others.

    Args:
        plan: What to run.
        engine: Who trains and predicts.
        environment: Part of every key.
        store: What is there already, and where the rest goes.
        provenance: Written into every new fit.
        force: Train again what is there.
        progress: Told how far it is.
        team: The processes that share the work; they meet in the store.
    """
    return _Run(plan, engine, environment, store, provenance, progress or Silent(), team).go(force)


@dataclass
class _Run:
    plan: Plan
    engine: Engine
    environment: Environment
    store: Store
    provenance: Mapping[str, Any]
    progress: Progress
    team: Team

    def __post_init__(self) -> None:
        self.outcome = Outcome(self.plan, self.environment)
        self.fitted: dict[str, Fitted] = {}
        self.wanted = {need.content for fit in self.plan.distinct.values() for need in fit.needs}
        self.store.damaged.clear()

    def go(self, force: bool) -> Outcome:
        self.team.wait()
        if force and self.team.rank == 0:
            for fit in self.plan.distinct.values():
                self.store.drop_fit(self._key(fit))
        self.team.wait()
        waves = list(self.plan.waves())
        needed = self._needed()
        self.absent = {
            content for content, fit in self.plan.distinct.items() if not self.store.is_whole(self._key(fit))
        }
        self.team.wait()
        for number, wave in enumerate(waves, start=1):
            self.progress.wave(number, len(waves))
            todo = [fit for fit in wave if fit.content in needed]
            self.progress.fit_done(len(wave) - len(todo))
            self._wave(todo)
            self._forget(number, waves)
        for content, fit in self.plan.distinct.items():
            if content not in self.outcome.failed:
                checks = self.store.record(self._key(fit))["checks"]
                self.outcome.warnings += _failed_checks(fit, checks, self.plan.methods_of[content])
        self.outcome.warnings += [f"damaged in the store, made again: {entry}" for entry in self.store.damaged]
        return self.outcome

    def _needed(self) -> set[str]:
        """Contents of the fits that have to be trained or asked: something of theirs, or of a fit from them, is missing."""
        needed: set[str] = set()
        for content, fit in reversed(self.plan.distinct.items()):
            missing = [domain for domain in self.plan.tests.get(content, ()) if not self._recall(fit, domain)]
            absent = not self.store.has_fit(self._key(fit))
            if missing or absent or content in needed:
                needed.add(content)
            if absent:
                needed |= {need.content for need in fit.needs}
        return needed

    def _wave(self, todo: list[Fit]) -> None:
        """Trains and predicts fits that do not depend on one another, as many at once as the engine likes.

        Of several processes each begins with its own share, and then helps with what no other has begun.
        """
        rank, processes, size = self.team.rank, self.team.size, self.engine.at_once
        busy: list[Fit] = []
        for ahead in range(processes):
            share = todo[(rank + ahead) % processes :: processes]
            for begin in range(0, len(share), size):
                busy += self._chunk(share[begin : begin + size], wait=False)
        for fit in busy:  # another process was at them
            self._chunk([fit], wait=True)

    def _chunk(self, fits: list[Fit], wait: bool) -> list[Fit]:
        """Finishes some fits; those that another process is training are given back unless ``wait``."""
        busy, absent = [], []
        with contextlib.ExitStack() as locks:
            for fit in fits:
                key = self._key(fit)
                stored = self.store.read_fit(key)
                if stored is None:
                    if not locks.enter_context(self.store.training(key, wait)):
                        busy.append(fit)
                        continue
                    stored = self.store.read_fit(key)  # another process may have been faster
                if stored is not None:
                    if self.team.size > 1 and fit.content in self.absent:
                        self.outcome.trained.add(fit.content)  # by another of the team
                    self._keep(fit, stored)
                    self.progress.fit_done(1)
                else:
                    absent.append(fit)
            began = time.perf_counter()
            for fit, result in self._train(absent):
                self.outcome.seconds.train += time.perf_counter() - began
                if isinstance(result, Exception):
                    self._fail(fit, result)
                else:
                    self.store.write_fit(self._key(fit), fit, self.environment, result, self.provenance)
                    self.outcome.trained.add(fit.content)
                    self._keep(fit, result)
                self.progress.fit_done(1)
                began = time.perf_counter()
        return busy

    def _train(self, fits: list[Fit]) -> Iterator[tuple[Fit, Fitted | Exception]]:
        """Results of fits that are not in the store, as they come."""
        able: dict[str, tuple[Fit, tuple[Check, ...]]] = {}
        ready: list[Fit] = []
        for fit in fits:
            lost = [need.content for need in fit.needs if need.content not in self.fitted]
            if lost:
                reason = self.outcome.failed.get(lost[0], "it is not in the store")
                yield fit, FitError(f"the fit it starts from failed: {reason}")
                continue
            try:
                whole, checks = self._decided(fit)
                if whole.uses_gradients:
                    able[fit.content] = fit, checks
                    ready.append(whole)
                else:
                    yield fit, _checked(closed_form.solve(whole, self.engine, self.fitted), checks)
            except StoreError:
                raise
            except Exception as error:  # the failure of one fit is its result
                yield fit, error
        if ready:
            for whole, result in self.engine.fit_many(ready, self.fitted):
                fit, checks = able[whole.content]
                if not isinstance(result, Exception):
                    try:
                        seen = encoder_checks(whole, result, self.engine, self.fitted)
                        result = _checked(result, (*checks, *seen))
                    except Exception as error:  # the failure of one fit is its result
                        result = error
                yield fit, result

    def _decided(self, fit: Fit) -> tuple[Fit, tuple[Check, ...]]:
        """A fit with the rows that other fits or rules decide on; what those answered is kept in the store."""
        answers = {}
        for part in fit.parts:
            if part.by is not None and part.by.asked is not None:
                asked, key = part.by.asked, self._key(part.by.asked)
                values = _recalled(self.store, asked, key, part.rows)
                if values is None:
                    values = _ask(self.engine, asked, self.fitted[asked.content], part.rows)
                    self.store.write_predictions(key, part.rows.fingerprint, part.rows.ids, values)
                answers[f"{part.rows.fingerprint} {asked.content}"] = values
        return fit.decided(answers) if any(part.by for part in fit.parts) else (fit, ())

    def _keep(self, fit: Fit, fitted: Fitted) -> None:
        """Remembers a fit for those that need it, and predicts with it where that is missing."""
        if fit.content in self.wanted:
            self.fitted[fit.content] = fitted
        began = time.perf_counter()
        try:
            for domain in self.plan.tests.get(fit.content, ()):
                if not self._recall(fit, domain):
                    self._predict(fit, fitted, domain)
        except StoreError:
            raise  # nothing more can be kept: stop, what is finished stays
        except Exception as error:  # the failure of one fit is its result
            self._fail(fit, error)
        self.outcome.seconds.evaluate += time.perf_counter() - began

    def _fail(self, fit: Fit, error: Exception) -> None:
        self.fitted.pop(fit.content, None)
        text = " ".join(str(error).split()) or "no message"
        self.outcome.failed[fit.content] = f"{type(error).__name__}: {text[:300]}"

    def _predict(self, fit: Fit, fitted: Fitted, domain: str) -> None:
        rows = self.plan.test_rows[domain]
        values = _ask(self.engine, fit, fitted, rows)
        self.store.write_predictions(self._key(fit), rows.fingerprint, rows.ids, values)
        self.outcome.keep(fit, domain, values)

    def _recall(self, fit: Fit, domain: str) -> bool:
        """Whether the probabilities on this domain are at hand, after a look into the store."""
        place = (fit.content, domain)
        if place not in self.outcome.probabilities:
            values = _recalled(self.store, fit, self._key(fit), self.plan.test_rows[domain])
            if values is None:
                return False
            self.outcome.keep(fit, domain, values)
        return True

    def _forget(self, number: int, waves: list[list[Fit]]) -> None:
        """Lets go of weights that no later fit starts from."""
        wanted = {need.content for wave in waves[number:] for fit in wave for need in fit.needs}
        self.fitted = {content: fitted for content, fitted in self.fitted.items() if content in wanted}

    def _key(self, fit: Fit) -> str:
        return fit.key(self.environment)


def kept_answers(plan: Plan, environment: Environment, store: Store) -> Outcome:
    """What the store has of a study so far. Trains and asks nothing."""
    outcome = Outcome(plan, environment)
    for content, fit in plan.distinct.items():
        for domain in plan.tests.get(content, ()):
            values = _recalled(store, fit, fit.key(environment), plan.test_rows[domain])
            if values is not None:
                outcome.keep(fit, domain, values)
    return outcome


def answer(
    fit: Fit, environment: Environment, engine: Engine, store: Store, rows: Rows, labels: tuple[str, ...]
) -> npt.NDArray[np.float32]:
    """Probabilities of a kept fit on any rows, [rows, labels]; from the store, or made and kept now.

    Raises:
        StoreError: The fit is not in the store.
    """
    key = fit.key(environment)
    values = _recalled(store, fit, key, rows)
    if values is None:
        fitted = store.read_fit(key)
        if fitted is None:
            raise StoreError(f"fit {key} is not in the store; run it again")
        values = _ask(engine, fit, fitted, rows)
        store.write_predictions(key, rows.fingerprint, rows.ids, values)
    return widened(values, fit.labels, labels)


def _recalled(store: Store, fit: Fit, key: str, rows: Rows) -> npt.NDArray[np.float32] | None:
    values = store.read_predictions(key, rows.fingerprint)
    return values if values is not None and values.shape == (rows.units, fit.outputs) else None


def _ask(engine: Engine, fit: Fit, fitted: Fitted, rows: Rows) -> npt.NDArray[np.float32]:
    texts = list(rows.texts)
    values = engine.predict(fit, fitted, texts) if fit.is_encoder else closed_form.answer(fit, fitted, texts, engine)
    if not np.isfinite(values).all():
        raise FitError(f"probabilities on {rows.domain} are not finite")
    return values


def _checked(fitted: Fitted, checks: tuple[Check, ...]) -> Fitted:
    return replace(fitted, checks=(*fitted.checks, *checks))


def _failed_checks(fit: Fit, checks: list[dict[str, Any]], methods: tuple[str, ...]) -> Iterator[str]:
    """What a fit that did not do what its name says is reported with, also where the store had it."""
    named = ", ".join(methods[:MOST_NAMED]) + (f" and {len(methods) - MOST_NAMED} more" * (len(methods) > MOST_NAMED))
    rows = " + ".join(f"{len(part.rows)} rows of {part.rows.domain}" for part in fit.parts)
    where = rows or f"{type(fit.objective).__name__.lower()} of {len(fit.ingredients)} fits"
    for check in checks:
        if not check["passed"]:
            found = f"{check['name']}: {check['value']:.3g}, wanted {check['wanted']}"
            yield f"{named}: draw {fit.draw}, {where}: {found}"
