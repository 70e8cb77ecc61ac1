"""Rows with inner structure as one string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lowres import kinds

TEXT = st.text(max_size=12)


@given(TEXT, TEXT)
def test_a_pair_comes_back(first: str, second: str) -> None:
    assert kinds.pair_of(kinds.join_pair(first, second)) == (kinds.cleaned(first), kinds.cleaned(second))


@given(st.lists(TEXT, max_size=5).filter(lambda words: words != [""]))
def test_words_come_back(words: list[str]) -> None:
    joined = kinds.join_words(words)
    assert kinds.is_words(joined)
    assert kinds.words_of(joined) == [kinds.cleaned(word) for word in words]


def test_what_is_no_structure_stays() -> None:
    assert kinds.pair_of("a plain text") is None
    assert not kinds.is_words("a plain text")
    assert kinds.readable(kinds.join_words(["a", "b"])) == "a b"
    assert kinds.readable(kinds.join_pair("a", "b\x1e")) == "a | b "
