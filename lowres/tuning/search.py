"""Ask and tell: Optuna proposes a wave of trials, all their fits are trained together, the scores go back.

The database holds what was proposed and what it scored, the store every fit: a search can be broken off anywhere and goes
on with the trials that it would have made anyway.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import filelock

from lowres import seeds, settings
from lowres.errors import FitError, UserError
from lowres.study.config import StudyConfig
from lowres.study.runner import Progress
from lowres.study.store import Store
from lowres.study.validation import Candidate, Validated, Validation, recalled, validate
from lowres.training.fit import SCHEMA, Engine, Environment
from lowres.tuning.space import Dimension, Value, check_found, settled, space_of, value_of

if TYPE_CHECKING:
    import optuna

RANDOM_FIRST: Final = 8
"""Trials before the sampler (a tree-structured Parzen estimator) looks at scores."""
MOST: Final = 10_000
"""Trials."""
SEARCHED: Final = "method"
"""The choice among methods that have something to search."""
FIXED: Final = "method without settings"
"""That among the others, which are tried once."""


@dataclass(frozen=True)
class Trial:
    """A candidate that was tried, what was changed in it, and its score or why it has none."""

    number: int
    candidate: Candidate
    values: Mapping[str, Value]
    found: Validated | FitError

    @property
    def mean(self) -> float:
        """Its score; minus infinity without one."""
        return self.found.mean if isinstance(self.found, Validated) else float("-inf")


@dataclass
class Searched:
    """A search as far as it is: trials in order, the number of fits trained now, and what the fits warn of."""

    default: Candidate
    """The recipe of the config with the first method."""
    trials: list[Trial] = field(default_factory=list)
    trained: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def first(self) -> Trial:
        """The trial of the default."""
        return next(trial for trial in self.trials if trial.candidate == self.default)

    @property
    def best(self) -> Trial:
        """The highest score; of equal ones the earliest."""
        return max(self.trials, key=lambda trial: (trial.mean, -trial.number))


@dataclass(frozen=True)
class Search:
    """What is searched, and with what: see ``go``."""

    how: Validation
    methods: tuple[str, ...]
    config: StudyConfig
    engine: Engine
    environment: Environment
    store: Store
    provenance: Mapping[str, Any]
    spaces: Mapping[str, tuple[Dimension, ...]]

    @property
    def name(self) -> str:
        """Everything that may change a score or what can be proposed; not how many trials, nor in what waves."""
        how, config = self.how, self.config
        return seeds.digest(
            "search",
            SCHEMA,
            [how.task.name, how.task.metric, list(how.task.labels), how.read(), how.known],
            [list(how.sources), list(how.targets), how.shots, how.draws, how.by, how.folds, how.row_cap],
            [list(self.methods), config.adapter, settings.as_dict(config.lora), config.recipe.spec()],
            config.method.changed(),
            asdict(self.environment),
            {method: [(d.path, d.low, d.high, d.choices) for d in space] for method, space in self.spaces.items()},
        )

    def keys(self, done: Searched) -> list[str]:
        """Of every fit that the trials rest on, sorted."""
        exams = (exam for trial in done.trials for exam in self.how.exams(trial.candidate))
        return sorted({link.key(self.environment) for exam in exams for link in exam.fit.lineage()})

    def go(
        self,
        database: Path,
        trials: int,
        wave: int,
        progress: Progress | None = None,
        told: Callable[[Searched], None] = lambda _: None,
    ) -> Searched:
        """Searches until there are so many trials in all, those of earlier calls among them.

        Args:
            database: An SQLite file; made if it is not there. May hold other searches.
            trials: How many; the first ones are the default recipes of the methods.
            wave: How many are proposed, and trained together, at once.
            progress: Told of waves of fits.
            told: Told after every wave of trials.

        Raises:
            UserError: Optuna is not installed, the database cannot be used, or another search is at it.
            FitError: The default recipe could not be trained.
        """
        optuna = import_optuna()
        done = Searched(Candidate(self.methods[0], self.config))
        with _opened(optuna, database, self.name) as study:
            state = optuna.trial.TrialState
            every = study.get_trials(deepcopy=False)
            begun = [one for one in every if one.state == state.RUNNING]
            ended = [one for one in every if one.state in (state.COMPLETE, state.FAIL)]
            finished = [one for one in ended if self._values(one) is not None]
            self._recall(study, finished, done, progress)
            while True:
                todo, begun = self._whole(optuna, study, begun), []
                known = {trial.candidate for trial in done.trials} | {self._candidate(values) for _, values in todo}
                todo += self._asked(optuna, study, min(wave - len(todo), trials - len(done.trials) - len(todo)), known)
                if not todo:
                    _check_default(done)
                    return done
                self._wave(optuna, study, todo, done, progress)
                told(done)

    def _asked(
        self, optuna: Any, study: optuna.Study, count: int, known: Set[Candidate]
    ) -> list[tuple[int, dict[str, Value | str]]]:
        """New trials: the recipes of the config first, one a method, unless they are ``known``.

        What else is proposed depends on the trials before and on the name of the search alone.
        """
        if count <= 0:
            return []
        seed = seeds.number("tune", self.name, len(study.get_trials(deepcopy=False))) % 2**32
        study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=RANDOM_FIRST, multivariate=True, group=True, constant_liar=True
        )
        defaults = [one for one in self.methods if Candidate(one, self.config) not in known][:count]
        for method in defaults:
            given = {dimension.path: value_of(self.config, dimension.path) for dimension in self.spaces[method]}
            study.enqueue_trial({self._choice(method): method, **given})
        kinds = [self._choice(method) for method in defaults]
        if self._named(SEARCHED):
            kinds += [SEARCHED] * (count - len(kinds))
        found = []
        for kind in kinds:
            trial = study.ask()
            method = str(trial.suggest_categorical(kind, self._named(kind)))
            values = {dimension.path: dimension.suggest(trial) for dimension in self.spaces[method]}
            found.append((trial.number, {"method": method, **values}))
        return found

    def _choice(self, method: str) -> str:
        """Where a trial says its method."""
        return SEARCHED if self.spaces[method] else FIXED

    def _named(self, kind: str) -> list[str]:
        """The methods among which this is the choice."""
        return [method for method in self.methods if self._choice(method) == kind]

    def _whole(
        self, optuna: Any, study: optuna.Study, begun: Sequence[optuna.trial.FrozenTrial]
    ) -> list[tuple[int, dict[str, Value | str]]]:
        """Trials that were proposed before the search was broken off; one that was not wholly proposed is given up."""
        found = []
        for trial in begun:
            values = self._values(trial)
            if values is None:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            else:
                found.append((trial.number, values))
        return found

    def _values(self, trial: optuna.trial.FrozenTrial) -> dict[str, Value | str] | None:
        """Method and settings of a trial as they were proposed; None if something is missing."""
        method = str(trial.params.get(SEARCHED, trial.params.get(FIXED)))
        if method not in self.spaces or any(one.path not in trial.params for one in self.spaces[method]):
            return None
        return {"method": method, **{one.path: one.given(trial.params[one.path]) for one in self.spaces[method]}}

    def _recall(
        self,
        study: optuna.Study,
        finished: Sequence[optuna.trial.FrozenTrial],
        done: Searched,
        progress: Progress | None,
    ) -> None:
        """Scores of earlier trials, from what the store holds; what it has lost is trained again."""
        values = [self._values(trial) or {} for trial in finished]
        candidates = [self._candidate(one) for one in values]
        found = recalled(self.how, candidates, self.environment, self.store)
        lost = [at for at, one in enumerate(found) if isinstance(one, FitError)]  # what failed is tried once more
        for at, one in zip(lost, self._validated([candidates[at] for at in lost], done, progress), strict=True):
            found[at] = one
        for trial, candidate, own, one in zip(finished, candidates, values, found, strict=True):
            done.trials.append(Trial(trial.number, candidate, _settings(own), one))

    def _wave(
        self,
        optuna: Any,
        study: optuna.Study,
        todo: Sequence[tuple[int, dict[str, Value | str]]],
        done: Searched,
        progress: Progress | None,
    ) -> None:
        """Trains and scores trials together, and tells Optuna."""
        candidates = [self._candidate(values) for _, values in todo]
        found = self._validated(candidates, done, progress)
        for (number, values), candidate, one in zip(todo, candidates, found, strict=True):
            done.trials.append(Trial(number, candidate, _settings(values), one))
            if isinstance(one, Validated):
                study.tell(number, one.mean)
            else:
                study.tell(number, state=optuna.trial.TrialState.FAIL)
        done.trials.sort(key=lambda trial: trial.number)
        _check_default(done)

    def _validated(
        self, candidates: Sequence[Candidate], done: Searched, progress: Progress | None
    ) -> list[Validated | FitError]:
        if not candidates:
            return []
        found, outcome = validate(
            self.how, candidates, self.engine, self.environment, self.store, self.provenance, progress
        )
        done.trained += len(outcome.trained)
        done.warnings += [text for text in outcome.warnings if text not in done.warnings]
        return found

    def _candidate(self, values: Mapping[str, Value | str]) -> Candidate:
        return Candidate(str(values["method"]), settled(self.config, _settings(values)))


def _check_default(done: Searched) -> None:
    if isinstance(done.first.found, FitError):
        raise FitError(f"the default recipe could not be trained: {done.first.found}")


def make_search(
    how: Validation,
    methods: Sequence[str],
    config: StudyConfig,
    engine: Engine,
    environment: Environment,
    store: Store,
    provenance: Mapping[str, Any],
    over: Sequence[str] = (),
) -> Search:
    """A search over the settings that the methods feel.

    Args:
        how: How candidates are scored.
        methods: With several the method is a choice of the search.
        config: The default recipe, where the search begins.
        engine: Who trains.
        environment: Part of every key.
        store: Keeps the fits.
        provenance: Written into every new fit.
        over: Paths of the settings that are searched; none: all.

    Raises:
        UserError: An unknown setting, or one that no method feels.
    """
    spaces = {method: space_of(how, method, config, over) for method in methods}
    check_found(spaces, over)
    return Search(how, tuple(methods), config, engine, environment, store, provenance, spaces)


def check_counts(trials: int, wave: int, methods: int) -> None:
    """Refuses a search without room for the default recipe of every method."""
    faults = [
        (trials < methods, f"trials: got {trials}, expected at least {methods}, one default recipe a method"),
        (trials > MOST, f"trials: got {trials}, expected at most {MOST}"),
        (not 1 <= wave <= MOST, f"wave: got {wave}, expected 1 to {MOST}"),
        (methods < 1, "no method given"),
    ]
    wrong = [text for found, text in faults if found]
    if wrong:
        raise UserError("; ".join(wrong))


def import_optuna() -> Any:
    """Optuna, or how to get it."""
    try:
        import optuna
    except ImportError:
        raise UserError("a search needs Optuna", hint="pip install 'lowres[tune]'") from None
    return optuna


@contextlib.contextmanager
def _opened(optuna: Any, database: Path, name: str) -> Iterator[optuna.Study]:
    """The search of this name in a database that nobody else uses meanwhile; Optuna is silent."""
    import sqlalchemy

    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with contextlib.ExitStack() as held, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            try:
                database.parent.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=database.parent).close()  # the lock would wait where nothing can be written
                held.enter_context(filelock.FileLock(f"{database}.lock", timeout=0))
                storage = optuna.storages.RDBStorage(f"sqlite:///{database}")
                study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
            except filelock.Timeout:
                raise UserError(
                    f"another search is using {database}", hint="wait for it, or give another --study-db"
                ) from None
            except (sqlalchemy.exc.SQLAlchemyError, RuntimeError, OSError) as error:
                raise UserError(
                    f"the search cannot be kept in {database}",
                    got=getattr(error, "orig", None) or error,
                    expected="an SQLite file of Optuna, or a new one",
                    hint="give another --study-db",
                ) from error
            yield study
    finally:
        optuna.logging.set_verbosity(said)


def _settings(values: Mapping[str, Value | str]) -> dict[str, Value]:
    return {path: value for path, value in values.items() if not isinstance(value, str)}
