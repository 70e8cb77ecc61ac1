"""Texts to token arrays. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.encodings import whole
from lowres.errors import DataError, UserError
from lowres.kinds import KINDS, PAIR, is_words, pair_of, words_of

if TYPE_CHECKING:
    import tokenizers

TokenArray = npt.NDArray[np.int32]
HEAD: Final = "head"
HEAD_AND_TAIL: Final = "head+tail"
WINDOWS: Final = "windows"
TRUNCATIONS: Final = {
    HEAD: "its first tokens",
    HEAD_AND_TAIL: "one half of the tokens from its beginning, the other from its end",
    WINDOWS: "windows one after another, and the mean of their vectors",
}
"""What is read of a text that has more tokens than a length limit."""
MOST_WINDOWS: Final = 8
"""Of a text; what lies beyond the last is cut."""
MARKS: Final = 2
"""Tokens that a tokenizer adds to a text, in estimates."""
LOST: Final = -1
NO_WORDS: Final[TokenArray] = np.zeros(0, dtype=np.int32)
AT_ONCE: Final = 1_000_000
"""Characters that are tokenised at once: of a long text each takes more than a hundred bytes until the text is cut."""

SPELLED: Final = 16
"""Characters a token beyond which an estimate looks no further: hardly a text of so many has all of its tokens kept."""

SECOND: Final = 1 << 30
"""Added to the ids of tokens that the tokenizer counts to the second text of a pair. So an array of ids is all that an
encoder's answer depends on; ``lowres.models.encoder.inputs`` takes it apart."""


@dataclass(frozen=True)
class Pieces:
    """One row's text as tokens, or one window of it, with the words they belong to."""

    ids: TokenArray
    words: tuple[int | None, ...]
    """Number of the word of each token; None for the tokenizer's own marks."""
    spans: tuple[tuple[int, int], ...]
    """Begin and end (exclusive) of each token in the row's text, in characters."""
    cut: bool
    """Whether tokens of the text are in no sequence of it."""


@dataclass(frozen=True)
class _Coded:
    """One text as tokens."""

    sequences: tuple[TokenArray, ...]
    cut: bool
    firsts: TokenArray
    """Place of the first token of each word, ``LOST`` of a word without one; empty where the text is no list of words."""


@dataclass
class Tokens:
    """A tokenizer that remembers: every text is tokenised once a length limit and way to cut.

    Args:
        path: A ``tokenizer.json``.
        pad_id: Token id that fills up a batch.
        rows: Rows of the encoder's table of tokens.
        remember: Off where texts do not come again, as in a service that answers for ever.
    """

    path: Path
    pad_id: int
    rows: int
    remember: bool = True
    _known: dict[tuple[str, int, str], _Coded] = field(default_factory=dict)
    _loaded: tokenizers.Tokenizer | None = None

    def encode(self, texts: Sequence[str], max_length: int, truncation: str = HEAD) -> list[TokenArray]:
        """Token ids with special tokens, at most ``max_length`` in an array; one array a text, or with windows as many
        as ``windows`` says, those of a text side by side. Of a pair the longer text is cut first.

        Args:
            texts: Rows of a task.
            max_length: Tokens of an array.
            truncation: A name of ``TRUNCATIONS``; other than ``head`` for single texts alone.
        """
        return [one for coded in self._coded(texts, max_length, truncation) for one in coded.sequences]

    def windows(self, texts: Sequence[str], max_length: int, truncation: str = WINDOWS) -> npt.NDArray[np.int64]:
        """How many arrays ``encode`` makes of each text, [texts]."""
        if truncation != WINDOWS:
            return np.ones(len(texts), dtype=np.int64)
        return np.array([len(coded.sequences) for coded in self._coded(texts, max_length, truncation)], dtype=np.int64)

    def firsts(self, texts: Sequence[str], max_length: int) -> list[TokenArray]:
        """Of texts that are lists of words the place of the first token of each word among the tokens, [words] each.

        ``LOST`` stands for a word that has none: beyond ``max_length``, or of characters that the tokenizer drops.
        """
        return [coded.firsts for coded in self._coded(texts, max_length, HEAD)]

    def pieces(self, text: str, max_length: int, truncation: str = HEAD) -> list[Pieces]:
        """Token ids of one text, as ``encode`` gives them, with words and places."""
        (coded,) = self._tokenizer(max_length, truncation).encode_batch([_given(text)])
        kept, cut = _kept(coded, max_length, truncation)
        return [_pieces(text, one, places, cut) for one, places in kept]

    def truncated(self, texts: Sequence[str], max_length: int, truncation: str = HEAD) -> float:
        """Share of the texts of which tokens are cut."""
        return float(np.mean([coded.cut for coded in self._coded(texts, max_length, truncation)])) if texts else 0.0

    def truncated_about(self, texts: Sequence[str], max_length: int, characters: int, truncation: str = HEAD) -> float:
        """The same from as many of the texts as make so many characters, so that it takes no longer for more or longer ones."""
        some: list[str] = []
        most = SPELLED * max_length * (MOST_WINDOWS if truncation == WINDOWS else 1)
        for place in seeds.generator("truncated").permutation(len(texts)):
            if characters <= 0:
                break
            some.append(texts[int(place)][:most])
            characters -= len(some[-1])
        return self.truncated(some, max_length, truncation)

    def pad(self, arrays: Sequence[TokenArray]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ids and mask, both [texts, longest of these texts]."""
        width = max(len(array) for array in arrays)
        ids = np.full((len(arrays), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(arrays), width), dtype=np.int64)
        for row, array in enumerate(arrays):
            ids[row, : len(array)] = array
            mask[row, : len(array)] = 1
        return ids, mask

    def by_length(
        self, texts: Sequence[str], max_length: int, batch_tokens: int, truncation: str = HEAD
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Batches of similar length: positions among what ``encode`` gives, ids and mask; at most ``batch_tokens`` padded
        tokens each.
        """
        yield from self.batches(self.encode(texts, max_length, truncation), batch_tokens)

    def batches(
        self, arrays: Sequence[TokenArray], batch_tokens: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """The same of texts that are tokens already."""
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        ranked = np.argsort(lengths, kind="stable")
        begin = 0
        while begin < len(ranked):
            end = begin + 1
            while end < len(ranked) and (end + 1 - begin) * lengths[ranked[end]] <= batch_tokens:
                end += 1
            positions = ranked[begin:end]
            yield positions, *self.pad([arrays[position] for position in positions])
            begin = end

    def _coded(self, texts: Sequence[str], max_length: int, truncation: str) -> list[_Coded]:
        known = self._known if self.remember else {}
        missing = list({text for text in texts if (text, max_length, truncation) not in known})
        for words in (False, True):
            for some in _blocks(text for text in missing if is_words(text) == words):
                inputs = [words_of(whole(text)) if words else _given(text) for text in some]
                coded = self._tokenizer(max_length, truncation).encode_batch(inputs, is_pretokenized=words)
                for text, given, one in zip(some, inputs, coded, strict=True):
                    firsts = _firsts(one.word_ids, len(given)) if words else NO_WORDS
                    kept, cut = _kept(one, max_length, truncation)
                    sequences = tuple(_ids(each)[places] for each, places in kept)
                    known[text, max_length, truncation] = _Coded(sequences, cut, firsts)
        return [known[text, max_length, truncation] for text in texts]

    def _tokenizer(self, max_length: int, truncation: str) -> tokenizers.Tokenizer:
        if self._loaded is None:
            import tokenizers

            try:
                self._loaded = tokenizers.Tokenizer.from_file(str(self.path))
            except Exception as error:  # the library raises nothing more special
                raise DataError(f"{self.path} is damaged", got=error, hint="copy it or save the model again") from None
            size = self._loaded.get_vocab_size()
            if size > self.rows:
                raise DataError(
                    f"{self.path} is not the tokenizer of its encoder",
                    got=f"{size} tokens",
                    expected=f"at most {self.rows}, as vocab_size in config.json says",
                )
            self._loaded.no_padding()
        if truncation == HEAD:
            self._loaded.enable_truncation(max_length)
        elif truncation == WINDOWS:
            self._loaded.enable_truncation(max_length, stride=overlap(max_length))
        else:
            self._loaded.no_truncation()
        return self._loaded


def overlap(max_length: int) -> int:
    """Tokens that a window has in common with the one before, so that few phrases are torn apart: an eighth."""
    return max_length // 8


def tokens_read(tokens: float, max_length: int, truncation: str) -> float:
    """How many tokens an encoder is given for a text of so many, both with their marks."""
    if truncation != WINDOWS or tokens <= max_length:
        return min(max_length, tokens)
    again = overlap(max_length) + MARKS
    windows = min(MOST_WINDOWS, math.ceil((tokens - again) / (max_length - again)))
    return min(MOST_WINDOWS * max_length, tokens + (windows - 1) * again)


def truncations(kind: str) -> tuple[str, ...]:
    """The names of ``TRUNCATIONS`` that a kind of task takes: of pairs and of words only the end can be cut."""
    return (HEAD,) if kind == "pair" or KINDS[kind].unit == "word" else tuple(TRUNCATIONS)


def check_truncation(truncation: str, kind: str) -> None:
    """Raises a ``UserError`` where texts of a kind of task are not read in this way."""
    if truncation not in truncations(kind):
        raise UserError(
            f"not for a task of type {kind}, which is {KINDS[kind].title}: recipe.truncation",
            got=truncation,
            expected=", ".join(truncations(kind)),
            hint="leave recipe.truncation out",
        )


def _kept(
    coded: tokenizers.Encoding, max_length: int, truncation: str
) -> tuple[list[tuple[tokenizers.Encoding, npt.NDArray[np.int64]]], bool]:
    """The sequences of a text with the places of those of their tokens that are read, and whether others are not."""
    if truncation == HEAD_AND_TAIL:
        count = len(coded)
        places = np.arange(count)
        if count > max_length:
            places = np.delete(places, np.s_[math.ceil(max_length / 2) : count - max_length // 2])
        return [(coded, places)], count > max_length
    every = [coded, *coded.overflowing]
    most = MOST_WINDOWS if truncation == WINDOWS else 1
    return [(one, np.arange(len(one))) for one in every[:most]], len(every) > most


def _pieces(text: str, coded: tokenizers.Encoding, places: npt.NDArray[np.int64], cut: bool) -> Pieces:
    """Some of the tokens of a text, with words and places."""
    words, spans = coded.word_ids, coded.offsets
    if coded.n_sequences > 1:  # words and places of both texts count from 0
        sides, begin = coded.sequence_ids, text.index(PAIR) + 1
        known = [word for word, side in zip(words, sides, strict=True) if side == 0 and word is not None]
        ahead = max(known, default=-1) + 1
        words = [word + ahead if side and word is not None else word for word, side in zip(words, sides, strict=True)]
        spans = [(a + begin, b + begin) if side else (a, b) for (a, b), side in zip(spans, sides, strict=True)]
    return Pieces(
        _ids(coded)[places], tuple(words[place] for place in places), tuple(spans[place] for place in places), cut
    )


def _firsts(words: Sequence[int | None], count: int) -> TokenArray:
    """Place of the first token of each of so many words."""
    firsts = np.full(count, LOST, dtype=np.int32)
    for place in reversed(range(len(words))):
        word = words[place]
        if word is not None:
            firsts[word] = place
    return firsts


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in blocks of at most ``AT_ONCE`` characters, or of one text."""
    block: list[str] = []
    size = 0
    for text in texts:
        if block and size + len(text) > AT_ONCE:
            yield block
            block, size = [], 0
        block.append(text)
        size += len(text)
    if block:
        yield block


def _given(text: str) -> str | tuple[str, str]:
    """The text of a row, or both of a pair, as the tokenizer takes them."""
    both = pair_of(text)
    return whole(text) if both is None else (whole(both[0]), whole(both[1]))


def _ids(coded: tokenizers.Encoding) -> TokenArray:
    ids = np.array(coded.ids, dtype=np.int32)
    if coded.n_sequences > 1:
        ids[np.array(coded.type_ids) > 0] += SECOND
    return ids
