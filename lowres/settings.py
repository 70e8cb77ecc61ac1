"""Strict settings: a frozen dataclass is the one source of a setting's default, type and help."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from lowres.errors import DataError, UserError, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")
MAX_YAML_BYTES = 256 * 1024
MAX_DEPTH = 20
"""Levels of a YAML file."""
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "text",
    "bool": "true or false",
    **dict.fromkeys(("tuple", "list", "set"), "a list"),
    **dict.fromkeys(("dict", "mapping", "model", "dataclass"), "keys with values"),
}
_BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "int_parsing_size": "fewer digits",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text like {pattern}",
    "literal_error": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
}
TRUTH = "YAML reads yes, no, on, off, true and false as truth values: put the word in quotes"


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
            faults = [fault(item) for item in error.errors()]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    raise UserError(f"{where}: " + "; ".join(faults[:3]) + more)


def fault(detail: ErrorDetails) -> str:
    """What pydantic found, in plain words: where, what was got, and what was expected."""
    where = ".".join(map(str, detail["loc"]))
    return f"{where}: {_found(detail)}" if where else _found(detail)


def _found(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_not_found":
        return f"the key {context['discriminator']} is missing"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    expected = _BOUNDS.get(kind, "").format(**context) or _KINDS.get(kind.split("_")[0])
    if kind == "string_type" and isinstance(detail["input"], int | float):
        expected = "text: put it in quotes"
    if expected is None:
        return f"got {shown(detail['input'])}: {detail['msg'].removeprefix('Input should ')}"
    return f"got {shown(detail['input'])}, expected {expected}"


def shown(value: object) -> str:
    """A value from a file in a few words; neither a long nor a nested one is spelled out."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:59] + "…")
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of many digits"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "keys with values"
    return "a list" if isinstance(value, list | tuple) else type(value).__name__


def load_yaml(data: bytes, what: str) -> object:
    """The content of a small YAML file from anywhere: plain values only, no aliases, no key twice, not too deep.

    Args:
        data: The file.
        what: Said in errors, such as ``config study.yaml``.

    Raises:
        DataError: It is not all of that.
    """
    import yaml

    if len(data) > MAX_YAML_BYTES:
        raise DataError(f"{what} is too big", expected=f"at most {MAX_YAML_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise DataError(f"{what} is nested too deeply", expected=f"at most {MAX_DEPTH} levels")
            if isinstance(event, yaml.AliasEvent):
                raise DataError(f"{what} uses YAML aliases (*name), which are not allowed")
        _refuse_repeats(yaml.compose(text, Loader=yaml.SafeLoader), what)
        return yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{what} is not UTF-8", got=f"byte {error.start}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        tabs = "\\t" in str(error) or "\t" in str(error)
        hint = "YAML is indented with spaces, not with tabs" if tabs else None
        raise DataError(f"{what} is no valid YAML", got=_yaml_fault(error), hint=hint) from None


def _yaml_fault(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if problem is None:
        problem = getattr(error, "reason", None) or str(error)
    problem = str(problem).replace("could not determine a constructor for the tag", "not allowed: the tag")
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark is not None else problem


def _refuse_repeats(node: Any, what: str) -> None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, times in keys.items():
            if times > 1:
                raise DataError(f"{what} has the key {shown(key)} twice", got=f"line {node.start_mark.line + 1}")
        for _, value in node.value:
            _refuse_repeats(value, what)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeats(value, what)


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
        if hints[name] is not bool and any(
            isinstance(part, bool) for part in (value if isinstance(value, list) else [value])
        ):
            faults.append(f"{prefix}{name}: {TRUTH}")
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
