"""What is searched: settings by their path, their ranges, and which of them a method feels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lowres.errors import UserError, unknown_name
from lowres.study.config import StudyConfig
from lowres.study.validation import Candidate, Validation
from lowres.training.fit import Fit
from lowres.training.recipe import ADAPTER_ONLY

if TYPE_CHECKING:
    import optuna

Value = float | int


@dataclass(frozen=True)
class Dimension:
    """One setting and where its values are looked for."""

    path: str
    """As after ``--set``."""
    low: float
    high: float
    log: bool = True
    """Whether ratios count, not differences."""
    whole: bool = False
    choices: tuple[int, ...] = ()
    """These and no others."""
    default: Value | None = None
    """Where the search begins."""
    felt: Callable[[Sequence[Fit]], bool] | None = None
    """Whether a method with these fits feels it; None: if it changes what a fit is."""

    def holding(self, value: Value) -> Dimension:
        """The same with this value as the default, in a range that holds it too."""
        choices = tuple(sorted({*self.choices, int(value)})) if self.choices else ()
        return replace(self, low=min(self.low, value), high=max(self.high, value), choices=choices, default=value)

    def suggest(self, trial: optuna.Trial) -> Value:
        """A value for a trial."""
        if self.choices:
            return self.given(trial.suggest_categorical(self.path, self.choices))
        if self.whole:
            return self.given(trial.suggest_int(self.path, int(self.low), int(self.high), log=self.log))
        return self.given(trial.suggest_float(self.path, self.low, self.high, log=self.log))

    def given(self, value: Value) -> Value:
        """A proposed value as it is used: a number with a point has three digits, unless it is the default."""
        return int(value) if self.choices or self.whole else value if value == self.default else rounded(value)

    def shown(self) -> str:
        """Its range in words."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}" + (", by ratios" if self.log else "")


def rounded(value: float) -> float:
    """Three digits: more say nothing in a config."""
    return float(f"{value:.3g}")


MOST_STEPS, MOST_EPOCHS, LEAST_STEPS = 160, 8.0, 20


def _by_gradient(fits: Sequence[Fit]) -> list[Fit]:
    return [fit for fit in fits if fit.uses_gradients]


def _adapted(fits: Sequence[Fit]) -> bool:
    return any(fit.adapter is not None for fit in _by_gradient(fits))


def _ranked(fits: Sequence[Fit]) -> bool:
    return any(hasattr(fit.adapter, "rank") for fit in _by_gradient(fits))


def _headed(fits: Sequence[Fit]) -> bool:
    return any(not isinstance(fit.objective, ADAPTER_ONLY) for fit in _by_gradient(fits))


def _short(fits: Sequence[Fit]) -> bool:
    return any(fit.size / fit.recipe.batch < MOST_STEPS for fit in _by_gradient(fits))


def _long(fits: Sequence[Fit]) -> bool:
    return any(math.ceil(MOST_EPOCHS * fit.size / fit.recipe.batch) > LEAST_STEPS for fit in _by_gradient(fits))


SPACE: Final = (
    Dimension("recipe.learning_rate", 2e-4, 8e-3, felt=_adapted),
    Dimension("recipe.head_learning_rate", 3e-3, 1e-1, felt=_headed),
    Dimension("recipe.min_steps", LEAST_STEPS, MOST_STEPS, whole=True, felt=_short),
    Dimension("recipe.epochs", 1.0, MOST_EPOCHS, felt=_long),
    Dimension("lora.rank", 2, 32, choices=(2, 4, 8, 16, 32), felt=_ranked),
    Dimension("method.contrastive.temperature", 0.02, 1.0),
    Dimension("method.coral.weight", 0.1, 100.0),
    Dimension("method.dann.weight", 0.01, 1.0),
    Dimension("method.interpolate.target_weight", 0.1, 0.9, log=False),
    Dimension("method.joint.target_share", 0.2, 0.8, log=False),
    Dimension("method.logistic.C", 0.1, 1000.0),
    Dimension("method.mmd.weight", 0.1, 100.0),
    Dimension("method.select_source.share", 0.1, 0.9, log=False),
    Dimension("method.self_train.share", 0.1, 0.9, log=False),
    Dimension("method.tapt.temperature", 0.02, 0.5),
)
"""The scale alpha / rank stays as it is: another rank gets the alpha that goes with it."""


def value_of(config: StudyConfig, path: str) -> Value:
    """The value of a setting by its path."""
    found: Any = config
    for name in path.split("."):
        found = getattr(found, name)
    value: Value = found
    return value


def settled(config: StudyConfig, values: Mapping[str, Value]) -> StudyConfig:
    """A config with some settings changed, by path."""
    for path, value in values.items():
        if path == "lora.rank":
            lora = config.lora
            alpha = max(1, round(lora.alpha * value / lora.rank))
            config = replace(config, lora=replace(lora, rank=int(value), alpha=alpha))
        else:
            config = _put(config, path.split("."), value)
    return config


def _put(place: Any, path: Sequence[str], value: Value) -> Any:
    first, *rest = path
    return replace(place, **{first: _put(getattr(place, first), rest, value) if rest else value})


def space_of(how: Validation, method: str, config: StudyConfig, over: Sequence[str] = ()) -> tuple[Dimension, ...]:
    """The settings that a method feels, their ranges wide enough for those of the config.

    Args:
        how: Gives the fits.
        method: Its name.
        config: Where the search begins.
        over: Paths that are searched; none: all.

    Raises:
        UserError: A path that is not in the space.
    """
    known = [dimension.path for dimension in SPACE]
    for path in over:
        if path not in known:
            raise unknown_name("setting to search", path, known)
    fits = _first(how, Candidate(method, config)).lineage()
    found = []
    for dimension in SPACE:
        wide = dimension.holding(value_of(config, dimension.path))
        if over and dimension.path not in over:
            continue
        if dimension.felt(fits) if dimension.felt else _moves(how, method, config, wide):
            found.append(wide)
    return tuple(found)


def _moves(how: Validation, method: str, config: StudyConfig, dimension: Dimension) -> bool:
    """Whether two values of a setting make two fits."""
    ends = [settled(config, {dimension.path: end}) for end in (dimension.low, dimension.high)]
    one, other = (_first(how, Candidate(method, end)).content for end in ends)
    return one != other


def _first(how: Validation, candidate: Candidate) -> Fit:
    return next(how.exams(candidate)).fit


def check_found(spaces: Mapping[str, tuple[Dimension, ...]], over: Sequence[str]) -> None:
    """Refuses a search in which there is nothing to choose.

    Raises:
        UserError: No method feels a setting that is asked for, or there is one method and it feels none.
    """
    felt = {dimension.path for space in spaces.values() for dimension in space}
    idle = [path for path in over if path not in felt]
    if idle or (not felt and len(spaces) < 2):
        raise UserError(
            f"{', '.join(spaces)} does not feel {', '.join(idle) or 'any setting that is searched'}",
            expected=f"one of: {', '.join(sorted(felt))}" if felt else "a method that does",
        )
