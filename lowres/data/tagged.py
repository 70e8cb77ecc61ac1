"""Rows of a task of words: columns of lists → words and their tags."""

from __future__ import annotations

from lowres.data.spec import TaskSpec
from lowres.data.tables import Table, unescape
from lowres.errors import DataError
from lowres.kinds import join_words
from lowres.settings import shown


def tagged(spec: TaskSpec, table: Table) -> tuple[list[str], list[str]]:
    """The tags and the words of each row, HTML entities of words decoded, without the words that the task file skips.

    Raises:
        DataError: Lists of different lengths, a row without a word, a word without a tag; with the line.
    """
    times, skip = spec.table.unescape_html, spec.skip_words
    columns = [table.lists(name) for name in (spec.columns.text, spec.columns.label, *skip)]
    rows: list[tuple[str, str]] = []
    for line, words, tags, *marks in zip(table.lines, *columns, strict=True):
        where = f"{table.name}, line {line}"
        if not words or any(len(words) != len(values) for values in (tags, *marks)):
            counts = ((len(values), f"of {name!r}") for name, values in zip(skip, marks, strict=True))
            raise DataError(
                f"{where}: words and tags do not match",
                got=", ".join(f"{n} {what}" for n, what in ((len(words), "words"), (len(tags), "tags"), *counts)),
                expected="one tag for each word, and at least one word",
            )
        units = [
            (unescape(word, times), tag.strip())
            for word, tag, *values in zip(words, tags, *marks, strict=True)
            if not any(value.strip() == unwanted for value, unwanted in zip(values, skip.values(), strict=True))
        ]
        if not any(word for word, _ in units):
            raise DataError(f"{where}: no word that is not empty is left", hint="see skip_words in the task file")
        bare = next((word for word, tag in units if not tag), None)
        if bare is not None:
            raise DataError(
                f"{where}: the word {shown(bare)} has no tag",
                expected="one tag for each word (-1 in a dataset of the hub is none)",
                hint=f'skip_words: {{{spec.columns.label}: ""}} in a task file leaves such words out',
            )
        rows.append((join_words(tag for _, tag in units), join_words(word for word, _ in units)))
    return [tags for tags, _ in rows], [words for _, words in rows]
