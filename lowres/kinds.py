"""The kinds of task: what a row is made of, what gets a label, and what a model answers.

A row's text is always one string, so that ids, leak checks, splits, stores and caches know nothing of kinds. What has
inner structure carries it in two characters that Unicode made for this and that ``cleaned`` takes out of all other
texts: ``PAIR`` between two texts, ``WORD`` before each word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lowres.errors import UserError

Given = str | tuple[str, str] | Sequence[str]
"""A text as a user of the library gives it; two of them where the kind is ``pair``."""
PAIR: Final = "\x1e"
WORD: Final = "\x1f"
MARKS: Final = ("B", "I", "E", "S")
"""What the tag of a word in an entity begins with, before a dash and the type; ``O`` is every other word."""
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
    budget: str = ""
    """What a number of shots stands for, where it is not rows a class."""

    @property
    def single(self) -> bool:
        """Whether a row has exactly one label, so that classes have rows of their own."""
        return self.answer == "one" and self.unit == "text"


KINDS: Final[dict[str, Kind]] = {
    "classification": Kind("one label a text", "one", "macro_f1"),
    "pair": Kind("one label for two texts", "one", "macro_f1"),
    "tokens": Kind(
        "one tag a word",
        "one",
        "entity_f1",
        unit="word",
        budget="sentences that hold each entity type so often, or so many sentences where tags name no entities",
    ),
    "multilabel": Kind(
        "any number of labels a text", "many", "macro_f1", budget="rows that hold each label, and none, so often"
    ),
    "regression": Kind("a number a text", "value", "spearman", budget="so many rows in all"),
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


def rows_of(kind: str, texts: Iterable[Given]) -> list[str]:
    """Texts as rows of a kind; what is a row of that kind already stays as it is.

    Raises:
        UserError: No text, one text where the kind takes two or words, or two where it takes one; one text and no list of them.
    """
    check_list(texts)
    one = _paired if kind == "pair" else _listed if KINDS[kind].unit == "word" else _single
    return [one(number, text) for number, text in enumerate(texts)]


def check_list(texts: object) -> None:
    """Raises a ``UserError`` for one text in the place of a list of them."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise UserError(
            "texts are no list",
            got=f"a single {type(texts).__name__}",
            expected="a list of texts",
            hint="put it in a list: [text]",
        )


def _paired(number: int, given: object) -> str:
    if isinstance(given, str) and pair_of(given):
        return given
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(text, str) for text in given):
        return join_pair(*given)
    raise UserError(f"item {number} is no pair of texts", got=type(given).__name__, expected="(text, text)")


def _listed(number: int, given: object) -> str:
    if isinstance(given, str) and is_words(given):
        return given
    if isinstance(given, tuple | list) and any(given) and all(isinstance(word, str) for word in given):
        return join_words(given)
    raise UserError(f"item {number} is no list of words", got=type(given).__name__, expected='["a", "word", "each"]')


def _single(number: int, given: object) -> str:
    if isinstance(given, str):
        return cleaned(given)
    raise UserError(f"item {number} is not one text", got=type(given).__name__, expected="a str")


def join_words(words: Iterable[str]) -> str:
    """Words, or the tags of words, or labels, as one string; none at all is ``WORD`` alone, as a single empty word would be."""
    return "".join(f"{WORD}{cleaned(word)}" for word in words) or WORD


def words_of(text: str) -> list[str]:
    """What ``join_words`` joined."""
    return text.split(WORD)[1:] if text != WORD else []


def is_words(text: str) -> bool:
    """Whether a string is made by ``join_words``."""
    return text.startswith(WORD)


def readable(text: str) -> str:
    """A row's text for people: words with blanks between them, a pair with a bar, any other as it is."""
    if is_words(text):
        return " ".join(words_of(text))
    return text.replace(PAIR, " | ") if PAIR in text else text


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans that tags in BIO or BIOES name: type, first word and the one after the last.

    Read as leniently as the scorer of CoNLL-2003 does: a type that goes on without a beginning begins there. Tags of other
    forms name none.
    """
    found: list[tuple[str, int, int]] = []
    begin, current = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, dash, name = tag.partition("-")
        inside = bool(dash) and mark in MARKS
        if current and not (inside and mark in "IE" and name == current):
            found.append((current, begin, place))
            current = ""
        if inside and not current:
            begin, current = place, name
        if current and mark in "ES":
            found.append((current, begin, place + 1))
            current = ""
    return found
