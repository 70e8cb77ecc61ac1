"""A task file written from a table, with what was guessed and counted as comments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lowres.data.guess import Guess, group_names
from lowres.data.profile import Column, as_number
from lowres.data.spec import FilePart, parse_spec


def draft(found: Guess, name: str, parts: Sequence[FilePart], made_from: str) -> str:
    """A task file for the guessed tables, checked as it would be when it is read.

    Args:
        found: What was guessed.
        name: The name of the task.
        parts: The tables, with paths from the folder of the task file.
        made_from: The table, for the first line.
    """
    profile, columns = found.profile, found.columns
    lines = [
        f"# A first version, made from {_quoted(made_from)}: check it with `lowres tasks check`, and change what is wrong."
    ]
    lines += [f"name: {_quoted(name)}", "version: 1"]
    lines += [f"type: {found.kind}"] if found.kind != "classification" else []
    lines += ["metric: macro_f1    # or accuracy, matthews"]
    lines += [*_label_lines(found), ""]
    lines += ["domains:"]
    domains = profile.domains or found.column("domain").values
    lines += [f"  - {_quoted(domain)}    # {domains[domain]} rows" for domain in sorted(domains)]
    lines += ["", "source:", "  kind: files", "  parts:"]
    for part in parts:
        lines.append(f"    - path: {_quoted(part.path)}")
        lines += [f"      {key}: {_quoted(value)}" for key in ("domain", "split") if (value := getattr(part, key))]
    changed = found.table.model_dump(exclude_defaults=True)
    if changed:
        lines += ["", "table:", *(f"  {key}: {_quoted(value)}" for key, value in changed.items())]
    lines += ["", "columns:"]
    for role in ("text", "pair", "label", "domain", "split", "group"):
        column = getattr(columns, role)
        if column in profile.columns and not (role == "domain" and profile.domains):
            why = found.reasons.get(role)
            lines.append(f"  {role}: {_quoted(column)}" + (f"    # guessed: {why}" if why else ""))
    lines += [
        f"  # group: {_quoted(column)}    # rows with the same value stay together"
        for column in group_names(columns, profile)
    ]
    lines += ["  id: id"] if "id" in profile.columns else []
    lines += ["", "# title: …", "# licence: …", ""]
    text = "\n".join(lines)
    parse_spec(text.encode(), "the task file to be written")
    return text


def _label_lines(found: Guess) -> list[str]:
    column = found.column("label")
    numbers = sorted({number for value in column.values if (number := as_number(value)) is not None})
    if found.scale:
        middle = _median(column)
        above = next((number for number in numbers if number > middle), middle)
        if above == middle:  # half of the rows have the highest number
            middle = numbers[-2]
        return [
            f"labels: [low, high]    # about half of the rows each; the numbers go from {numbers[0]:g} to {numbers[-1]:g}",
            "bands:    # rows with a number in no band are left out",
            f"  - {{label: low, at_most: {middle!r}}}",
            f"  - {{label: high, at_least: {above!r}}}",
        ]
    lines = ["labels:", *(f"  - {_quoted(label)}    # {rows} rows" for label, rows in sorted(column.values.items()))]
    if column.numeric and len(numbers) > 2:
        half = len(numbers) // 2
        lines += [
            "# To make two classes of these numbers, put this in the place of labels:",
            "# labels: [low, high]",
            "# bands:",
            f"#   - {{label: low, at_most: {numbers[half - 1]:g}}}",
            f"#   - {{label: high, at_least: {numbers[-half]:g}}}",
        ]
    return lines


def _median(column: Column) -> float:
    """The smallest number that at least half of the rows do not exceed."""
    passed = 0
    for number, rows in sorted((float(value), rows) for value, rows in column.values.items()):
        passed += rows
        if 2 * passed >= column.rows:
            return number
    raise ValueError("an empty column")


def _quoted(value: object) -> str:
    """A YAML scalar on one line, whatever is in it."""
    import yaml

    if not isinstance(value, str):
        return str(value)
    readable = value.isprintable()
    plain = yaml.safe_dump(value, allow_unicode=readable, width=math.inf).removesuffix("\n").removesuffix("\n...")
    if "\n" not in plain:
        return plain
    return yaml.safe_dump(value, allow_unicode=readable, width=math.inf, default_style='"').removesuffix("\n")
