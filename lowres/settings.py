"""Strict settings: a frozen dataclass is the one source of a setting's default, type and help."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from lowres.errors import UserError, nearest

T = TypeVar("T")


def setting(help: str, default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field with its one-line help.

    Args:
        help: Shown by ``--help`` and in the docs.
        default: Its value where nothing is said.
        factory: Makes the default instead.
    """
    return dataclasses.field(default=default, default_factory=factory, metadata={"help": help})


def parse(cls: type[T], given: Mapping[str, Any], where: str) -> T:
    """A settings object from names and values, checked strictly.

    Args:
        cls: A dataclass, which may hold further dataclasses.
        given: Names may have hyphens for underscores.
        where: Said in errors, such as a file name.

    Raises:
        UserError: Lists up to three faults: unknown names with the nearest known one, and values of the wrong kind.
    """
    from pydantic import TypeAdapter, ValidationError

    faults: list[str] = []
    cleaned = _known(cls, given, "", faults)
    if not faults:
        try:
            return TypeAdapter(cls).validate_python(cleaned)
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg'].removeprefix('Value error, ')}, got {item['input']!r}"
                for item in error.errors()
            ]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    raise UserError(f"{where}: " + "; ".join(faults[:3]) + more)


def as_dict(settings: Any) -> dict[str, Any]:
    """A settings object as plain data."""
    chosen = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        chosen[item.name] = as_dict(value) if dataclasses.is_dataclass(value) else _plain(value)
    return chosen


def _known(cls: Any, given: Mapping[str, Any], prefix: str, faults: list[str]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    names = {item.name for item in dataclasses.fields(cls)}
    cleaned: dict[str, Any] = {}
    for raw, value in given.items():
        name = str(raw).replace("-", "_")
        if name not in names:
            close = nearest(name, names)
            faults.append(f"unknown key {prefix}{raw!s}" + (f", did you mean {prefix}{close[0]}?" if close else ""))
            continue
        inner = _dataclass_of(hints[name])
        if inner is not None and isinstance(value, Mapping):
            value = _known(inner, value, f"{prefix}{name}.", faults)
        cleaned[name] = value
    return cleaned


def _dataclass_of(hint: Any) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
