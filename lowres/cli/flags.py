"""Flags of every command on a study, made from the fields of ``StudyConfig``: one source for default, type and help."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

NO_FLAG = frozenset({"task", "lora", "recipe", "method"})
Column = Annotated[str | None, typer.Option(show_default=False, help="Column name, for a table; guessed if left out.")]
PairColumn = Annotated[
    str | None, typer.Option(show_default=False, help="Column of the second text, for a table of pairs; guessed too.")
]
Domains = Annotated[
    str | None,
    typer.Option(
        show_default=False, help="Domains with commas, for a table: the column that holds them is the domain."
    ),
]
STUDY_ONLY = frozenset({"source", "target", "protocol", "shots", "seeds", "methods", "limit", "out"})
"""Fields that a command on a single fit has no use for."""


def listed(names: str | None, option: str) -> list[str]:
    """The names of an option that takes several with commas; none where it was not given.

    Raises:
        UserError: It was given without a name.
    """
    from lowres.study.config import parted

    return [] if names is None else parted(option, names)


def study_flags(command: Callable[..., None], skip: frozenset[str] = frozenset()) -> Callable[..., None]:
    """Gives a command one flag for every field of ``StudyConfig`` that is not skipped.

    The command is called with ``given`` (flags that were given, by field name), ``file``, ``sets`` and its own options.
    """
    from lowres.study.config import StudyConfig
    from lowres.study.presets import PRESETS

    fields = [item for item in dataclasses.fields(StudyConfig) if item.name not in NO_FLAG | skip]
    own = {
        name: value
        for name, value in inspect.signature(command, eval_str=True).parameters.items()
        if name not in {"given", "file", "sets"}
    }
    help_of = {item.name: item.metadata["help"] for item in dataclasses.fields(StudyConfig)}
    parameters = [_parameter("task", Annotated[str | None, typer.Argument(help=help_of["task"], show_default=False)])]
    for item in fields:
        flag = "--" + item.name.replace("_", "-")
        option = typer.Option(
            flag,
            help=item.metadata["help"] + _shown(item.default),
            show_default=False,
            metavar="INTEGER" if item.type in ("int", "int | None") else None,
        )
        parameters.append(_parameter(item.name, Annotated[_kind(item), option]))
    preset = typer.Option(
        help=f"Adapter and recipe together: {', '.join(PRESETS)}; other flags win. Default: balanced.",
        show_default=False,
    )
    parameters.append(_parameter("preset", Annotated[str | None, preset]))
    live = typer.Option(help="Adapt only the top so many layers: all, or a number. Default: all.", show_default=False)
    parameters.append(_parameter("live_layers", Annotated[str | None, live]))
    config = typer.Option(help="YAML file with the same names as the flags; flags win.", show_default=False)
    parameters.append(_parameter("config", Annotated[str | None, config]))
    sets = typer.Option(
        "--set", help="key=value, such as recipe.learning_rate=5e-4; may be repeated.", show_default=False
    )
    parameters.append(_parameter("set_", Annotated[list[str] | None, sets]))
    parameters += [value.replace(kind=inspect.Parameter.KEYWORD_ONLY) for value in own.values()]

    def wrapper(**options: Any) -> None:
        mine = {name: options.pop(name) for name in own}
        file, chosen = options.pop("config"), options.pop("set_") or []
        given = {name: value for name, value in options.items() if value is not None}
        command(given=given, file=file, sets=chosen, **mine)

    wrapper.__doc__ = command.__doc__
    wrapper.__name__ = command.__name__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapper


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(item: dataclasses.Field[Any]) -> Any:
    """Flags hold numbers, and lists with commas, as text that ``build_config`` reads; None stands for one not given."""
    return bool | None if item.type == "bool" else str | None


def _shown(default: Any) -> str:
    if default is None or default is dataclasses.MISSING or default is False or default == ():
        return ""
    return f" Default: {','.join(str(part) for part in default) if isinstance(default, tuple) else default}."
