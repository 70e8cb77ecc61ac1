"""The kinds of task: what a row is made of, what gets a label, and what a model answers.

A row's text is always one string, so that ids, leak checks, splits, stores and caches know nothing of kinds. What has
inner structure carries it in two characters that Unicode made for this and that ``cleaned`` takes out of all other
texts: ``PAIR`` between two texts, ``WORD`` before each word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

PAIR: Final = "\x1e"
WORD: Final = "\x1f"
_BLANK: Final = str.maketrans({PAIR: " ", WORD: " "})


@dataclass(frozen=True)
class Kind:
    """One kind of task."""

    title: str
    answer: Literal["one", "many", "value"]
    """What a unit gets: one label, any number of labels, or a number between two ends."""
    metric: str
    """Primary metric where the task file names none."""
    unit: Literal["text", "word"] = "text"
    """What gets an answer: a row's text, or each of its words."""


KINDS: Final[dict[str, Kind]] = {
    "classification": Kind("one label a text", "one", "macro_f1"),
    "pair": Kind("one label for two texts", "one", "macro_f1"),
    "tokens": Kind("one tag a word", "one", "entity_f1", unit="word"),
    "multilabel": Kind("any number of labels a text", "many", "macro_f1"),
    "regression": Kind("a number a text, or for two texts", "value", "spearman"),
}


def cleaned(text: str) -> str:
    """A text of data without the characters that structure rows; blanks stand in their place."""
    return text.translate(_BLANK)


def join_pair(first: str, second: str) -> str:
    """Two texts as one row."""
    return f"{cleaned(first)}{PAIR}{cleaned(second)}"


def pair_of(text: str) -> tuple[str, str] | None:
    """The two texts of a row; None where it is no pair."""
    first, mark, second = text.partition(PAIR)
    return (first, second) if mark else None


def join_words(words: Iterable[str]) -> str:
    """Words, or the tags of words, or labels, as one string; none at all is ``WORD`` alone."""
    return "".join(f"{WORD}{cleaned(word)}" for word in words) or WORD


def words_of(text: str) -> list[str]:
    """What ``join_words`` joined."""
    return text.split(WORD)[1:] if text != WORD else []


def is_words(text: str) -> bool:
    """Whether a string is made by ``join_words``."""
    return text.startswith(WORD)


def readable(text: str) -> str:
    """A row's text for people: words with blanks between them, a pair with a bar."""
    return " ".join(words_of(text)) if is_words(text) else text.replace(PAIR, " | ")
