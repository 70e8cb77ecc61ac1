"""Which kind of task tables hold, and what speaks for it: pure functions over what the columns are like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lowres.data.profile import Column, Profile, as_number

MAX_TAGS: Final = 200
"""Different tags of words, or labels of texts, at the most."""
MAX_NUMBERS: Final = 20
"""Different numbers in a label column from which it is a scale, not a set of classes."""
MOST_WORDS: Final = 4
"""Words of a label among labels that are joined."""
LEAST_JOINED: Final = 0.05
"""Share of the rows of a label column that have several labels, from which they are meant to."""
CONLL_ROWS: Final = 5
"""Sentences that a file in columns needs."""
CLASSES: Final = {"label", "labels", "class", "category", "intent", "target", "y", "tag"}
"""Names of columns whose numbers are those of classes."""
_SEPARATORS: Final = (";", "|", ",")
_TRUTHS: Final = ({"0", "1"}, {"true", "false"}, {"0.0", "1.0"})
_ONES: Final = ("1", "true", "1.0")
_WORDS: Final = ("tokens", "words", "token", "word", "text")
_TAGS: Final = ("tags", "ner_tags", "labels", "ner", "tag", "label", "upos", "pos_tags", "pos")


@dataclass(frozen=True)
class Likely:
    """A kind of task and the evidence for it."""

    kind: str
    """One of ``KINDS``."""
    evidence: str
    """A phrase for the user."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role → column, where the kind decides on it: ``text`` and ``label``."""
    separator: str | None = None
    """Between the labels of a multilabel value; None: they are lists."""
    ends: tuple[float, float] | None = None
    """The lowest and the highest number of a regression."""


def likely_kind(profile: Profile, chosen: Mapping[str, str]) -> Likely:
    """The kind of task that the tables hold.

    Args:
        profile: What their columns are like.
        chosen: Role → column, as far as it is known; a role ``pair`` makes it a pair.
    """
    label = chosen.get("label")
    if "pair" in chosen and "text" in chosen:
        return Likely("pair", f"{chosen['text']!r} and {chosen['pair']!r} hold two texts a row")
    found = tokens(profile, label) or multilabel(profile, label) or regression(profile, label)
    return found or Likely("classification", "one text and one label a row")


def tokens(profile: Profile, label: str | None = None) -> Likely | None:
    """A column of lists of words, and one of lists of tags (``label``, if it is known) that are as long in every row."""
    lists = [column for column in profile.columns.values() if column.lists]
    found = [
        (words, tags)
        for words in lists
        for tags in lists
        if words.lists == tags.lists and len(tags.items) < len(words.items) and label in (None, tags.name)
    ]
    found = [(words, tags) for words, tags in found if len(tags.items) <= MAX_TAGS]
    if not found:
        return None
    words, tags = min(found, key=lambda two: (_rank(two[0].name, _WORDS), _rank(two[1].name, _TAGS)))
    evidence = (
        f"{words.name!r} and {tags.name!r} hold lists of the same length in each of {len(words.lists)} rows,"
        f" {len(tags.items)} different tags"
    )
    return Likely("tokens", evidence, {"text": words.name, "label": tags.name})


def _rank(name: str, known: Sequence[str]) -> int:
    """Place of a name among the usual ones; after them where it is none."""
    folded = name.strip().casefold()
    return known.index(folded) if folded in known else len(known)


def multilabel(profile: Profile, label: str | None = None) -> Likely | None:
    """A label column of lists, or one of values that are joined."""
    columns = [profile.columns[label]] if label in profile.columns else list(profile.columns.values())
    lists = [column for column in columns if column.lists and 1 < len(column.items) <= MAX_TAGS]
    if len(lists) == 1:
        column = lists[0]
        evidence = (
            f"{column.name!r} holds lists of up to {max(column.lists)} labels, {len(column.items)} different ones"
        )
        return Likely("multilabel", evidence, {"label": column.name})
    for column in columns:
        separator = joined_by(column)
        if separator is not None:
            example = next(value for value in column.values if separator in value.strip(separator))
            evidence = f"{column.name!r} holds {len(joined_labels(column, separator))} labels joined by {separator!r}, as in {example!r}"
            return Likely("multilabel", evidence, {"label": column.name}, separator=separator)
    return None


def joined_by(column: Column) -> str | None:
    """What joins the labels of a value: some rows have several, and half of these come back in other values."""
    if column.nested or column.many or column.numeric:
        return None
    for separator in _SEPARATORS:
        labels = joined_labels(column, separator)
        joined = {value: _split(value, separator) for value in column.values if len(_split(value, separator)) > 1}
        values_of = Counter(label for value in column.values for label in _split(value, separator))
        together = {label for found in joined.values() for label in found}
        if (
            sum(column.values[value] for value in joined) >= max(1.0, LEAST_JOINED * column.rows)
            and sum(values_of[label] > 1 for label in together) >= len(together) / 2
            and 1 < len(labels) <= MAX_TAGS
            and min(labels.values()) > 1
            and all(len(label.split()) <= MOST_WORDS for label in labels)
            and any(as_number(label) is None for label in labels)
        ):
            return separator
    return None


def joined_labels(column: Column, separator: str) -> Counter[str]:
    """Rows of each label of a joined column."""
    found: Counter[str] = Counter()
    for value, rows in column.values.items():
        for label in _split(value, separator):
            found[label] += rows
    return found


def _split(value: str, separator: str) -> set[str]:
    return {part.strip() for part in value.split(separator)} - {""}


def marked(profile: Profile) -> tuple[str, ...]:
    """Three columns or more of 0 and 1 each, a label each; none where every row has exactly one 1 or so it seems."""
    found = [
        column
        for column in profile.columns.values()
        if not column.nested and {value.casefold() for value in column.values} in _TRUTHS
    ]
    ones = sum(rows for column in found for value, rows in column.values.items() if value.casefold() in _ONES)
    return tuple(column.name for column in found) if len(found) > 2 and ones != found[0].rows else ()


def is_scale(column: Column) -> bool:
    """More numbers than classes; whole numbers under a name for classes are class numbers."""
    many = column.numeric and len(column.values) > MAX_NUMBERS
    return many and not (counting(column) and CLASSES & set(name_parts(column.name)))


def counting(column: Column) -> bool:
    """All values are 0, 1, 2 …, as class numbers are."""
    return all(value.isdecimal() for value in column.values)


def name_parts(name: str) -> list[str]:
    """``reviewText``, ``Review Text`` and ``review_text`` are review, text."""
    return [part for part in re.split(r"[\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).casefold()) if part]


def regression(profile: Profile, label: str | None) -> Likely | None:
    """A label column of many different numbers."""
    column = profile.columns.get(label) if label is not None else None
    if column is None or not is_scale(column):
        return None
    numbers = [number for value in column.values if (number := as_number(value)) is not None]
    ends = min(numbers), max(numbers)
    evidence = f"{column.name!r} holds {len(column.values)} different numbers from {ends[0]:g} to {ends[1]:g}"
    return Likely("regression", evidence, {"label": column.name}, ends=ends)


def looks_like_conll(lines: Iterable[str]) -> bool:
    """Whether lines of text are words with their tags: two columns or more, as many in every line, blank lines between
    sentences, and few different tags in the last column.

    Args:
        lines: The first lines of a file; lines that start with ``#`` do not count.
    """
    tags: set[str] = set()
    words: set[str] = set()
    widths: set[int] = set()
    sentences, inside, count = 0, False, 0
    for line in lines:
        if line.startswith(("# ", "-DOCSTART-")):
            continue
        cells = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if not "".join(cells).strip():
            inside = False
            continue
        sentences, inside, count = sentences + (not inside), True, count + 1
        widths.add(len(cells))
        words.add(cells[0])
        tags.add(cells[-1])
    even = len(widths) == 1 and min(widths) > 1
    return even and sentences >= CONLL_ROWS and count > 2 * sentences and len(tags) < min(len(words), MAX_TAGS)
