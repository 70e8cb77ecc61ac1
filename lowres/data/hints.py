"""What is known of the labels before any row is seen: a sentence that describes each, and words that speak for it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import Rows
from lowres.errors import nearest

NAMES: Final = "(label names)"
"""What stands for a domain where rows are made of labels."""


@dataclass(frozen=True)
class Hints:
    """The fields ``descriptions`` and ``keywords`` of a task file."""

    descriptions: Mapping[str, str] = field(default_factory=dict)
    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of both."""
        words = {label: list(found) for label, found in self.keywords.items()}
        return seeds.digest("hints", dict(self.descriptions), words)

    def texts(self, labels: Sequence[str]) -> Rows:
        """One row a label: its description, or where there is none its name in words."""
        ids = tuple(f"{NAMES}/{label}" for label in labels)
        texts = [self.descriptions.get(label) or in_words(label) for label in labels]
        return Rows(NAMES, ids, texts, tuple(labels), ids)

    def votes(self, texts: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.int64]:
        """How many different keywords of each label a text holds, [texts, labels].

        A keyword is found as whole words (or marks), in small or capital letters. Of keywords that overlap the one that
        begins first counts, and of those the longest: ``not good`` hides ``good``.
        """
        place = {label: position for position, label in enumerate(labels)}
        found = np.zeros((len(texts), len(labels)), dtype=np.int64)
        for row, text in enumerate(texts):
            for label in self._found_in(text).values():
                found[row, place[label]] += 1
        return found

    def gaps(self, texts: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """What the keywords lack on the texts of each domain; no label of a text is looked at.

        A keyword that no text holds (or only inside a longer one), a domain where only the keywords of one label are
        found, so that they could teach nothing but that label, and one where none is.
        """
        heard = {
            domain: [one for text in found for one in self._found_in(text).items()] for domain, found in texts.items()
        }
        known = {keyword for found in heard.values() for keyword, _ in found}
        for label, words in self.keywords.items():
            for word in words:
                if tuple(_tokens(word)) not in known:
                    yield f"keyword {word!r} of {label!r} is found in no training row"
        for domain, found in heard.items():
            labels = {label for _, label in found}
            if not labels:
                yield f"domain {domain!r}: no keyword is found in a training row"
            elif len(labels) == 1:
                yield f"domain {domain!r}: of all labels only {labels.pop()!r} has keywords that a training row holds"

    def _found_in(self, text: str) -> Mapping[tuple[str, ...], str]:
        """Each different keyword in a text and its label; remembered, as the rows of a task come again."""
        if text not in self._seen:
            tokens, at = _tokens(text), 0
            found: dict[tuple[str, ...], str] = {}
            while at < len(tokens):
                for keyword, label in self._by_first.get(tokens[at], ()):
                    if tokens[at : at + len(keyword)] == keyword:
                        found[tuple(keyword)] = label
                        at += len(keyword) - 1
                        break
                at += 1
            self._seen[text] = found
        return self._seen[text]

    @cached_property
    def _seen(self) -> dict[str, dict[tuple[str, ...], str]]:
        return {}

    @cached_property
    def _by_first(self) -> dict[str, list[tuple[list[str], str]]]:
        """Keywords and their labels by the first of their tokens, the longest first."""
        found: dict[str, list[tuple[list[str], str]]] = {}
        for label, words in self.keywords.items():
            for keyword in map(_tokens, words):
                found.setdefault(keyword[0], []).append((keyword, label))
        return {first: sorted(owned, key=lambda one: -len(one[0])) for first, owned in found.items()}


def _tokens(text: str) -> list[str]:
    """Words and single marks, in small letters, with one kind of apostrophe."""
    return re.findall(r"\w+|[^\w\s]", text.casefold().replace("\u2019", "'"))


def labels_by_vote(votes: npt.NDArray[np.int64], labels: Sequence[str]) -> tuple[str, ...]:
    """The label of most keywords of each row; nothing where none was found, or two labels have as many."""
    most = votes.max(1, initial=0)
    clear = (most > 0) & ((votes == most[:, None]).sum(1) == 1)
    return tuple(labels[best] if sure else "" for best, sure in zip(votes.argmax(1), clear, strict=True))


def covered(votes: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Share of the rows that hold a keyword, and of those the share whose keywords all speak for one label (0 of none)."""
    speaking = (votes > 0).sum(1)
    return float((speaking > 0).mean()), float((speaking == 1).sum() / max(1, (speaking > 0).sum()))


def in_words(label: str) -> str:
    """A label's name as a person would say it: ``newCard_lost`` is ``new card lost``."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[\W_]+", " ", parted).split()).lower() or label


def hint_faults(
    labels: Collection[str], descriptions: Mapping[str, str], keywords: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """What is wrong with the two fields.

    Args:
        labels: Those of the task; none: they are not known yet.
        descriptions: A sentence for each of some labels.
        keywords: Words or phrases for each of some labels.
    """
    for name, given in (("descriptions", descriptions), ("keywords", keywords)):
        for label in given:
            if labels and label not in labels:
                close = nearest(label, labels)
                yield f"{name}: no label {label!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
    yield from (f"descriptions.{label}: is empty" for label, text in descriptions.items() if not text.strip())
    owners: dict[tuple[str, ...], str] = {}
    for label, words in keywords.items():
        if not words:
            yield f"keywords.{label}: is empty"
        for word in words:
            tokens = tuple(_tokens(word))
            if not tokens:
                yield f"keywords.{label}: holds an empty keyword"
            elif tokens in owners:
                also = "is there twice" if owners[tokens] == label else f"is a keyword of {owners[tokens]!r} too"
                yield f"keywords.{label}: {word!r} {also}"
            owners.setdefault(tokens, label)
