"""Mistakes in the words of a command line, said as all others are: what, got, expected, next step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from lowres.cli.talk import say
from lowres.errors import UserError, nearest

KINDS = {"integer": "a whole number", "float": "a number", "number": "a number", "boolean": "true or false"}
"""What the parser calls a value that it wanted, and what people do."""
SUGGESTED = 3


class Commands(TyperGroup):
    """A command line whose usage errors take three lines and exit with 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs the command line; see ``click.Command.main``."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            if not standalone_mode:
                raise
            say("aborted")
            sys.exit(1)
        except Exception as error:
            if not standalone_mode or not hasattr(error, "format_message"):  # a caller's care, or not of the parser
                raise
            _refuse(self, words, error)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _refuse(app: Commands, words: Sequence[str], error: Any) -> NoReturn:
    """Ends with what is wrong; where a group was called without a command, with the help that says which there are."""
    if type(error).__name__ == "NoArgsIsHelpError":
        if error.format_message().strip():
            say(error.format_message())
    else:
        say(f"error: {explained(app, words, error)}")
    sys.exit(UserError.exit_code)


def explained(app: Any, words: Sequence[str], error: Any) -> UserError:
    """A usage error of the parser.

    Args:
        app: The whole command line.
        words: What was typed after its name.
        error: As click raises it.
    """
    place, path = app, ["lowres"]
    for word in words:
        if word not in getattr(place, "commands", {}):
            break
        place = place.commands[word]
        path.append(word)
    help_ = f"{' '.join(path)} --help"
    kind, parameter = type(error).__name__, getattr(error, "param", None)
    text = str(getattr(error, "message", error)).rstrip(".")
    if kind == "NoSuchOption":
        known = [flag for one in place.params for flag in (*one.opts, *one.secondary_opts) if flag.startswith("-")]
        close = [*nearest(error.option_name, known), *(error.possibilities or ())]
        return UserError(f"unknown option {error.option_name}", hint=_hint(close, help_))
    if kind == "MissingParameter" and parameter is not None:
        return UserError(f"{_name(parameter)} is missing", expected=parameter.help, hint=help_)
    if kind == "BadParameter" and parameter is not None:
        wanted = next((said for word, said in KINDS.items() if word in text), None)
        got = _given(parameter, words)
        what = f"{_name(parameter)} cannot be {'that' if got is None else repr(got)}"
        return UserError(what, got=None if wanted else text, expected=wanted or parameter.help, hint=help_)
    if text.startswith("No such command"):
        name = words[len(path) - 1]
        return UserError(f"unknown command {name!r}", hint=_hint(nearest(name, place.commands), help_))
    if text.startswith("Got unexpected extra"):
        return UserError("more words than the command takes", got=text.rpartition("(")[2].rstrip(")"), hint=help_)
    return UserError(text[:1].lower() + text[1:], hint=help_)


def _hint(close: Sequence[str], help_: str) -> str:
    names = list(dict.fromkeys(close))[:SUGGESTED]
    return f"did you mean {' or '.join(names)}? ({help_})" if names else f"{help_} lists what there is"


def _name(parameter: Any) -> str:
    """A flag, or the name of an argument in capitals."""
    return next((flag for flag in parameter.opts if flag.startswith("--")), str(parameter.name).upper())


def _given(parameter: Any, words: Sequence[str]) -> str | None:
    """What was typed for a flag, the last time."""
    found = None
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in parameter.opts:
            found = value if equals else next(iter(words[place + 1 :]), None)
    return found
