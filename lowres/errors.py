"""The error tree: what the user can mend exits with 2, everything else with 1."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 1000
"""Characters of one line of a message at the most."""


class LowresError(Exception):
    """Base of all errors this package raises on purpose."""

    exit_code = 1


class UserError(LowresError):
    """A mistake the user can mend, said in at most three lines: what, got, expected, next step.

    Args:
        what: One sentence that says what is wrong.
        got: What was found, if that helps.
        expected: What would have been right.
        hint: The next step, often a command.
    """

    exit_code = 2

    def __init__(self, what: str, *, got: object = None, expected: object = None, hint: str | None = None) -> None:
        self.what, self.got, self.expected, self.hint = what, got, expected, hint
        second = "; ".join(
            f"{name} {_short(value)}" for name, value in (("got", got), ("expected", expected)) if value is not None
        )
        super().__init__("\n".join(_short(line, LONGEST) for line in (what, second, hint) if line))


class DataError(UserError):
    """A table, task file or archive that cannot be used as it is."""


class FetchError(LowresError):
    """A download failed, or what arrived is not what was pinned."""


class StoreError(LowresError):
    """The store could not be read or written."""


class FitError(LowresError):
    """One fit could not be trained; others go on."""


def clean(text: str, keep: str = "") -> str:
    """Text from data for people's eyes: what could steer a terminal, turn a line around or end it becomes �.

    Args:
        text: Whatever a file holds.
        keep: Such characters that are wanted, as ends of lines.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep or unicodedata.category(character) == "Zs" else "�"
        for character in text
    )


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names closest to ``name``, best first; empty if none is close."""
    candidates = list(known)
    folded = {candidate.casefold(): candidate for candidate in reversed(candidates)}
    return [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=count, cutoff=0.5)]


MOST_NAMED = 12
"""Names that are listed beside the nearest."""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str | None = None) -> UserError:
    """The error for a name that is not in a catalogue, with the nearest names that are."""
    names = list(known)
    close = nearest(name, names)
    if close:
        hint = f"did you mean {' or '.join(repr(match) for match in close)}?" + (f" ({hint})" if hint else "")
        if len(names) > MOST_NAMED:
            return UserError(f"unknown {kind} {name!r}", hint=hint)
    return UserError(f"unknown {kind} {name!r}", expected=f"one of: {', '.join(names)}" if names else "none", hint=hint)


def _short(value: object, limit: int = 300) -> str:
    value = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    text = clean(" ".join(str(value).split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"
