"""Names that the shell completes: tasks, methods, backbones, formats."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer


def tasks(incomplete: str) -> list[str]:
    """Shipped tasks; the shell falls back to file names where none fits."""
    from lowres.data.task import shipped_tasks

    return _begin(incomplete, shipped_tasks())


def backbones(incomplete: str) -> list[str]:
    """Backbones known by name."""
    from lowres.models.backbone import NAMED

    return _begin(incomplete, NAMED)


def methods(incomplete: str) -> list[str]:
    """Methods, also after a comma."""
    from lowres.methods.catalogue import METHODS

    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [before + comma + name for name in _begin(last, METHODS) if name not in taken]


def protocols(incomplete: str) -> list[str]:
    """What a target can be learnt from."""
    from lowres.study.protocol import PROTOCOLS

    return _begin(incomplete, PROTOCOLS)


def adapters(incomplete: str) -> list[str]:
    """Kinds of adapters."""
    from lowres.training.recipe import ADAPTERS

    return _begin(incomplete, ADAPTERS)


def formats(incomplete: str) -> list[str]:
    """Formats of a report."""
    from lowres.cli.run import FORMATS

    return _begin(incomplete, FORMATS)


def exports(incomplete: str) -> list[str]:
    """Ways of an export."""
    from lowres.export.catalogue import EXPORTS

    return _begin(incomplete, EXPORTS)


BY_COMMAND: dict[str, dict[str, Callable[[str], list[str]]]] = {
    "run": {"task": tasks, "protocol": protocols, "methods": methods, "backbone": backbones, "adapter": adapters},
    "plan": {"task": tasks, "protocol": protocols, "methods": methods, "backbone": backbones, "adapter": adapters},
    "forecast": {"task": tasks, "protocol": protocols, "backbone": backbones, "adapter": adapters},
    "tune": {"task": tasks, "method": methods, "backbone": backbones, "adapter": adapters},
    "report": {"format": formats},
    "fit": {"task": tasks, "method": methods, "backbone": backbones, "adapter": adapters},
    "evaluate": {"task": tasks, "backbone": backbones},
    "predict": {"backbone": backbones},
    "patch": {"task": tasks, "backbone": backbones},
    "compress": {"task": tasks, "backbone": backbones},
    "explain": {"task": tasks, "backbone": backbones},
    "export": {"to": exports, "backbone": backbones},
    "tasks show": {"name": tasks},
    "tasks check": {"name": tasks},
    "tasks fetch": {"name": tasks},
    "models fetch": {"name": backbones},
    "models rank": {"task": tasks, "backbone": backbones},
    "methods show": {"name": methods},
}
"""Parameters by command: what completes them."""


def complete(app: typer.Typer) -> None:
    """Gives every command of ``BY_COMMAND`` its completion."""
    for name, command in _commands(app):
        if name in BY_COMMAND:
            command.callback = _completed(command.callback, BY_COMMAND[name])


def _commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    for command in app.registered_commands:
        yield str(command.name or getattr(command.callback, "__name__", "")), command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from ((f"{group.name} {name}", command) for name, command in _commands(group.typer_instance))


def _completed(command: Callable[..., Any], by_name: dict[str, Callable[[str], list[str]]]) -> Callable[..., Any]:
    signature = inspect.signature(command, eval_str=True)
    for parameter in signature.parameters.values():
        for info in getattr(parameter.annotation, "__metadata__", ()):
            if parameter.name in by_name:
                info.autocompletion = by_name[parameter.name]
    command.__signature__ = signature  # type: ignore[attr-defined]
    return command


def _begin(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
