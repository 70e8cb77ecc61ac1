"""What every command shares: streams, errors and exit codes, progress. Imports nothing heavy."""

from __future__ import annotations

import errno
import functools
import io
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import typer

from lowres.errors import LowresError, UserError, clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])
INTERRUPTED = 130
EVERY = 10.0
"""Seconds between two lines on how far a run is."""
PATH_FAULTS = {
    getattr(errno, name) for name in ("EACCES", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOTDIR", "EPERM", "EROFS")
}
"""What the system says of a path that was given and cannot be used."""
INTERRUPTION: Final = dict.fromkeys(
    ("run", "forecast", "tune"), "what was finished is kept, the same command goes on from there"
)
"""What becomes of the work of a command, where it is not lost."""


def guarded(command: F) -> F:
    """Turns errors into a few lines on stderr and the right exit code, never a traceback for a user's mistake."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # a terminal that lacks a character is no reason to fail; data for other programs is UTF-8
            if sys.stdout.isatty():
                sys.stdout.reconfigure(errors="replace")
            else:
                sys.stdout.reconfigure(encoding="utf-8")
        try:
            return command(*args, **options)
        except LowresError as error:
            say(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            say(f"interrupted; {INTERRUPTION.get(command.__name__, 'the same command starts again')}")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if os.environ.get("LOWRES_DEBUG"):
                raise
            if isinstance(error, OSError) and error.errno in PATH_FAULTS and error.filename is not None:
                say(f"error: {UserError('a path cannot be used', got=f'{error.strerror}: {error.filename}')}")
                raise typer.Exit(UserError.exit_code) from None
            say(f"error: {type(error).__name__}: {error}\nnot expected; LOWRES_DEBUG=1 shows where it comes from")
            raise typer.Exit(1) from None

    return wrapper  # type: ignore[return-value]


def say(text: str) -> None:
    """Talk, to stderr, with terminal escapes of quoted data taken out."""
    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()


def put(text: str) -> None:
    """Data, to stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def plain(text: str) -> str:
    """The text without control characters, lines kept."""
    return clean(text, keep="\n\t")


def console(columns: int = 80) -> Console:
    """Tables for stdout: colour and width of a terminal, ``columns`` otherwise. ``NO_COLOR`` is honoured."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else columns, highlight=False, markup=False, emoji=False)


class RunProgress:
    """A bar on stderr while fits are made; where stderr is no terminal a line now and then. ``fits``: in all, None: not known."""

    def __init__(self, fits: int | None) -> None:
        self.fits, self.done, self.label = fits, 0, ""
        self._bar: Progress | None = None
        self._began = self._said = time.monotonic()

    def __enter__(self) -> RunProgress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("fits"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=self.fits)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def wave(self, number: int, waves: int) -> None:
        """A wave begins."""
        self.label = f"wave {number}/{waves}"
        if self._bar is not None:
            self._bar.update(self._task, description=self.label)

    def fit_done(self, fits: int) -> None:
        """So many further fits are done."""
        self.done += fits
        if self._bar is not None:
            self._bar.update(self._task, advance=fits)
        elif fits and time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            of = "" if self.fits is None else f" of {self.fits}"
            say(f"{self.label}: {self.done}{of} fits after {self._said - self._began:.0f} s")


class ShareProgress:
    """How far one long step is, on stderr: a line now and then, on a terminal rewritten in place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._began = self._said = time.monotonic()

    def __enter__(self) -> ShareProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._said > self._began and sys.stderr.isatty():
            sys.stderr.write("\n")

    def __call__(self, share: float) -> None:
        """So large a share is done."""
        now = time.monotonic()
        if now - self._said < (0.5 if sys.stderr.isatty() else EVERY) or not share:
            return
        self._said = now
        left = (now - self._began) * (1 - share) / share
        end = "\r" if sys.stderr.isatty() else "\n"
        sys.stderr.write(f"{plain(self.name)}: {share:.0%}, {left:.0f} s left   {end}")
        sys.stderr.flush()


class DownloadProgress:
    """A line on stderr for a download that takes longer than two seconds, on a terminal rewritten in place."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """So many bytes of ``total`` are here."""
        now = time.monotonic()
        began = self._began.setdefault(name, now)
        if now - began < 2 or now - self._said.get(name, 0.0) < (0.2 if sys.stderr.isatty() else 10):
            return
        self._said[name] = now
        left = f", {(now - began) * (total - done) / done:.0f} s left" if total and done else ""
        of = f" of {total / 1e6:.0f}" if total else ""
        end = "\r" if sys.stderr.isatty() else "\n"
        sys.stderr.write(f"fetching {plain(name)}: {done / 1e6:.0f}{of} MB{left}   {end}")
        sys.stderr.flush()
