"""Tables → rows with ids, labels by name, domains, groups and given splits."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lowres import seeds
from lowres.data.leaks import Finding
from lowres.data.mapped import TextStore, chosen
from lowres.data.rows import Rows
from lowres.data.sources import Piece, cache_dir
from lowres.data.spec import TaskSpec
from lowres.data.tables import Table, read_tables, unescape
from lowres.data.tagged import tagged
from lowres.errors import DataError, nearest
from lowres.kinds import MARKS, cleaned, join_pair, join_words, words_of
from lowres.settings import shown

SPLITS: Final = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
OUTSIDE: Final = "out of scope"
"""What stands for a domain of rows that belong to no class."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One row before its id is known to be unique."""

    table: str
    line: int
    text: int
    """Position in the store of texts."""
    label: str
    domain: str
    split: str | None
    group: str
    given: str
    """The id in the data, or nothing."""
    content: str
    """Hash of text and label; made only where no id is given."""

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.table}, line {self.line}"


@dataclass(frozen=True)
class Assembled:
    """All rows of a task before any split: per domain the rows and, if the data say so, the part of each row."""

    labels: tuple[str, ...]
    domains: dict[str, tuple[Rows, tuple[str, ...] | None]]
    left_out: tuple[Finding, ...]
    outside: Rows | None = None
    """Those that belong to no class and may be tested on; None where the task names none."""


def assemble(spec: TaskSpec, pieces: Iterable[Piece], wanted: Collection[str] = ()) -> Assembled:
    """Read all tables of a task.

    Args:
        spec: The task file.
        pieces: Its tables.
        wanted: Domains that need every label; none named: all of them.

    Raises:
        DataError: Anything that makes the rows unusable, with file and line.
    """
    raws: list[Raw] = []
    left_out: Counter[str] = Counter()
    with TextStore(cache_dir() / "mapped") as store:
        for piece in pieces:
            for table in read_tables(piece.data, piece.name, spec.table, records=piece.records):
                found, dropped = _rows_of(spec, piece, table, store)
                raws += found
                left_out += dropped
        texts = store.close()
    outer = [raw for raw in raws if raw.label == spec.out_of_scope]
    raws = [raw for raw in raws if raw.label != spec.out_of_scope]
    domains = _names("domain", spec.domains, (raw.domain for raw in raws))
    _names("domain", tuple(spec.values_by_domain), domains)
    left_out += Counter(raw.domain for raw in raws if raw.domain not in domains)
    raws = [raw for raw in raws if raw.domain in domains]
    if spec.range is not None:
        labels = tuple(f"{end:.15g}" for end in spec.range)
    elif is_structured(spec):
        labels = _names("label", spec.labels, (one for label in {raw.label for raw in raws} for one in words_of(label)))
        _check_parts(raws, labels)
    else:
        labels = _names("label", spec.labels, (raw.label for raw in raws))
        _check_labels(spec, raws, labels, domains, wanted)
    outside, unused = _outside(spec, outer, labels, domains, texts)
    return Assembled(
        labels,
        {
            domain: _domain_rows(domain, [raw for raw in raws if raw.domain == domain], texts, spec.type)
            for domain in domains
        },
        (*(Finding("left out", domain, "", domain, rows) for domain, rows in sorted(left_out.items())), *unused),
        outside,
    )


def _rows_of(spec: TaskSpec, piece: Piece, table: Table, store: TextStore) -> tuple[list[Raw], Counter[str]]:
    columns = spec.columns
    raw_labels, texts = tagged(spec, table) if spec.type == "tokens" else (_labels(spec, table), _texts(spec, table))
    meaning = _meaning(spec, table)
    domains = _domains(spec, piece, table)
    ids = _optional(table, columns.id)
    splits = [piece.split] * len(table) if piece.split else _splits(table, columns.split)
    if not is_structured(spec):
        _refuse_empty(table, "text", texts)
        _refuse_empty(table, "label", raw_labels)
    meanings = [meaning(*row) for row in zip(raw_labels, table.lines, domains, strict=True)]
    domains = [
        OUTSIDE if known is not None and known[0] == spec.out_of_scope else domain
        for known, domain in zip(meanings, domains, strict=True)
    ]
    _refuse_empty(table, "domain", [domain if domain is not None else "open" for domain in domains])
    groups = _groups(spec, table)
    first = len(store)
    store.add(texts)
    rows: list[Raw] = []
    dropped: Counter[str] = Counter()
    for place, line in enumerate(table.lines):
        known = meanings[place]
        domain = (known[1] if known else None) or domains[place]
        if known is None:
            dropped[domain or "(none)"] += 1
            continue
        if domain is None:
            raise DataError(
                f"{table.name}, line {line}: the row has no domain", hint="name a domain for every value of the label"
            )
        label, given = sys.intern(known[0]), ids[place].strip()
        content = "" if given else seeds.digest("row", texts[place], label)[:16]
        rows.append(
            Raw(
                table.name, line, first + place, label, sys.intern(domain), splits[place], groups[place], given, content
            )
        )
    return rows, dropped


def is_structured(spec: TaskSpec) -> bool:
    """Whether the labels of a row are several."""
    return spec.type in ("tokens", "multilabel")


def _labels(spec: TaskSpec, table: Table) -> list[str]:
    """What the label column says of each row, several labels joined."""
    columns = spec.columns
    if spec.type != "multilabel":
        return [label.strip() for label in table.column(columns.label, "--label-column")]
    if columns.label_separator is None:
        rows = table.lists(columns.label)
    else:
        rows = [value.split(columns.label_separator) for value in table.column(columns.label, "--label-column")]
    rows = [[label.strip() for label in labels] for labels in rows]
    # in one order, so that the same labels are the same string
    return [join_words(sorted({label for label in labels if label})) for labels in rows]


def _texts(spec: TaskSpec, table: Table) -> list[str]:
    """The text of each row, of one column or of two that are a pair, HTML entities decoded as often as the task says."""
    times, columns = spec.table.unescape_html, spec.columns
    first = [cleaned(unescape(text, times)) for text in table.column(columns.text, "--text-column")]
    if columns.pair is None:
        return first
    second = [cleaned(unescape(text, times)) for text in table.column(columns.pair, "--pair-column")]
    _refuse_empty(table, "text", first)
    _refuse_empty(table, "second text", second)
    return list(map(join_pair, first, second))


def _meaning(spec: TaskSpec, table: Table) -> Callable[[str, int, str | None], tuple[str, str | None] | None]:
    """Value of the label column, line and domain → label and perhaps domain; None leaves the row out."""

    def by_band(value: str, line: int, _: str | None) -> tuple[str, str | None] | None:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            raise DataError(f"{table.name}, line {line}: {value!r} is no number", expected="a number to put in a band")
        return next(((band.label, None) for band in spec.bands if band.holds(number)), None)

    def by_value(value: str, line: int, domain: str | None) -> tuple[str, str | None] | None:
        if domain in spec.values_by_domain:
            label = spec.values_by_domain[domain].get(value)
            return None if label is None else (label, None)
        if not spec.values:
            return value, None
        meaning = spec.values.get(value)
        return (meaning.label, meaning.domain) if meaning else None

    def by_range(value: str, line: int, _: str | None) -> tuple[str, str | None] | None:
        assert spec.range is not None
        low, high = spec.range
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise DataError(
                f"{table.name}, line {line}: no number of the scale",
                got=repr(value),
                expected=f"{low:g} to {high:g}, as range: says",
            )
        return f"{number:.10g}", None

    def by_type(value: str, line: int, _: str | None) -> tuple[str, str | None] | None:
        made = [_renamed(one, spec) for one in words_of(value)]
        return join_words(made if spec.type == "tokens" else sorted({one for one in made if one})), None

    if spec.type == "regression":
        return by_range
    if is_structured(spec):
        return by_type
    if spec.bands:
        return by_band
    return by_value


def _renamed(name: str, spec: TaskSpec) -> str:
    """The label or tag that ``values:`` names for one; of the tag of an entity its type is renamed, and ``O`` takes it
    out of the entities. What is not listed there keeps its name.
    """
    mark, dash, entity = name.partition("-")
    if spec.type == "tokens" and dash and mark in MARKS:
        meaning = spec.values.get(entity)
        if meaning is None:
            return name
        return meaning.label if meaning.label == "O" else f"{mark}-{meaning.label}"
    found = spec.values.get(name)
    return found.label if found else name


def _domains(spec: TaskSpec, piece: Piece, table: Table) -> list[str | None]:
    if piece.domain is not None:
        return [piece.domain] * len(table)
    if any(meaning.domain for meaning in spec.values.values()):
        return [None] * len(table)
    columns = spec.columns
    names = [name.strip() for name in table.column(columns.domain, "--domain-column")]
    if columns.domain_pattern is None:
        return [*names]
    places = (f"{table.name}, line {line}" for line in table.lines)
    return [_domain_in(name, columns.domain_pattern, where) for name, where in zip(names, places, strict=True)]


def _domain_in(value: str, pattern: str, where: str) -> str:
    match = re.search(pattern, value)
    name = (match.group(1) or "").strip() if match else ""
    if not name:
        raise DataError(
            f"{where}: no domain is found", got=shown(value), expected=f"what domain_pattern matches: {pattern}"
        )
    return name


def _optional(table: Table, column: str) -> list[str]:
    return table.column(column) if column in table.columns else [""] * len(table)


def _splits(table: Table, column: str) -> list[str | None]:
    if column not in table.columns:
        return [None] * len(table)
    values = [value.strip().casefold() for value in table.column(column)]
    for value, line in zip(values, table.lines, strict=True):
        if value not in SPLITS:
            close = nearest(value, SPLITS)
            raise DataError(
                f"{table.name}, line {line}: unknown split",
                got=repr(value),
                expected="train, dev (or validation), test",
                hint=f"did you mean {close[0]!r}?" if close else f"rename the column {column!r} if it means no split",
            )
    return [SPLITS[value] for value in values]


def _groups(spec: TaskSpec, table: Table) -> list[str]:
    """The group of each row, ``""`` where the row stands for itself; those from the id column keep a mark."""
    column = spec.columns.group
    if column is None:
        return [""] * len(table)
    values = [value.strip() for value in table.column(column, "--group-column")]
    if spec.columns.group_pattern is not None:
        matches = [re.search(spec.columns.group_pattern, value) for value in values]
        values = [match.group(1) if match else "" for match in matches]
    local = column == spec.columns.id
    return [f"/{value}" if local and value else value for value in values]


def _refuse_empty(table: Table, what: str, values: Sequence[str]) -> None:
    empty = [line for line, value in zip(table.lines, values, strict=True) if not value.strip()]
    if empty:
        raise DataError(
            f"{table.name}, line {empty[0]}: empty {what} ({len(empty)} such rows)",
            expected=f"a {what} in every row",
            hint=f"fill in or delete these rows: lines {', '.join(map(str, empty[:10]))}",
        )


def _names(kind: str, listed: tuple[str, ...], found: Iterable[str]) -> tuple[str, ...]:
    """The names listed in the task file if there are any, else those that occur, sorted."""
    known = sorted(set(found))
    if not listed:
        return tuple(known)
    for name in listed:
        if name not in known:
            close = nearest(name, known)
            raise DataError(
                f"no row has the {kind} {name!r}",
                got=f"{kind}s {', '.join(known)}" if known else "no rows",
                hint=f"did you mean {close[0]!r}?" if close else None,
            )
    return listed


def _check_labels(
    spec: TaskSpec, raws: list[Raw], labels: tuple[str, ...], domains: tuple[str, ...], wanted: Collection[str]
) -> None:
    for raw in raws:
        if raw.label not in labels:
            close = nearest(raw.label, labels)
            raise DataError(
                f"{raw.where}: unknown label",
                got=repr(raw.label),
                expected=f"one of: {', '.join(labels)}",
                hint=f"did you mean {close[0]!r}?" if close else "list it under labels: in the task file",
            )
    if len(labels) < 2:
        raise DataError("all rows have one label", got=", ".join(labels) or "no rows", expected="two labels or more")
    by_domain = {domain: sorted({raw.label for raw in raws if raw.domain == domain}) for domain in domains}
    for domain, found in by_domain.items():
        if spec.label_sets == "same" and len(found) < len(labels) and (domain in wanted or not wanted):
            missing = ", ".join(repr(label) for label in labels if label not in found)
            raise DataError(
                f"labels differ between domains: domain {domain!r} has no row of {missing}",
                got="; ".join(f"{name}: {', '.join(names)}" for name, names in by_domain.items()),
                expected="the same names in every domain",
                hint="in a task file: rename labels under values:, choose domains under domains:, or, where they differ "
                "on purpose, label_sets: differ",
            )


def _check_parts(raws: list[Raw], labels: tuple[str, ...]) -> None:
    """Every label of rows with several is known, and there is something to tell apart."""
    for raw in raws:
        for one in words_of(raw.label):
            if one not in labels:
                close = nearest(one, labels)
                raise DataError(
                    f"{raw.where}: unknown label",
                    got=repr(one),
                    expected=f"one of: {', '.join(labels)}",
                    hint=f"did you mean {close[0]!r}?" if close else "list it under labels: in the task file",
                )
    if len(labels) < 2:
        raise DataError("all rows have one label", got=", ".join(labels) or "no labels", expected="two labels or more")


def _domain_rows(domain: str, raws: list[Raw], texts: Sequence[str], kind: str) -> tuple[Rows, tuple[str, ...] | None]:
    ids = _ids(domain, raws)
    groups = [
        f"{domain}{raw.group}" if raw.group.startswith("/") else raw.group or row_id
        for raw, row_id in zip(raws, ids, strict=True)
    ]
    own = chosen(texts, [raw.text for raw in raws])
    rows = Rows(domain, tuple(ids), own, tuple(raw.label for raw in raws), tuple(groups), kind)
    given = [raw.split for raw in raws]
    if not any(given):
        return rows, None
    for raw in raws:
        if raw.split is None:
            raise DataError(f"{raw.where}: no split, while other rows of domain {domain!r} have one")
    return rows, tuple(split for split in given if split is not None)


def _outside(
    spec: TaskSpec, raws: list[Raw], labels: tuple[str, ...], domains: tuple[str, ...], texts: Sequence[str]
) -> tuple[Rows | None, list[Finding]]:
    """The rows out of scope with split test, or all where they have no split, and a count of the others."""
    if spec.out_of_scope is None:
        return None, []
    if not raws:
        close = nearest(spec.out_of_scope, labels)
        raise DataError(
            f"out_of_scope: no row has the label {spec.out_of_scope!r}",
            got=f"labels {', '.join(labels)}",
            hint=f"did you mean {close[0]!r}?" if close else None,
        )
    if OUTSIDE in domains:
        raise DataError(f"a domain is called {OUTSIDE!r}", expected="another name where out_of_scope is set")
    rows, given = _domain_rows(OUTSIDE, raws, texts, spec.type)
    if given is None:
        return rows, []
    unused = Counter(split for split in given if split != "test")
    return rows.take(place for place, split in enumerate(given) if split == "test"), [
        Finding("left out", OUTSIDE, split, OUTSIDE, count) for split, count in sorted(unused.items())
    ]


def _ids(domain: str, raws: list[Raw]) -> list[str]:
    """The given id, else a hash of text and label with a counter for repeats, so that other rows do not matter."""
    ids: list[str] = []
    seen: dict[str, Raw] = {}
    repeats: Counter[str] = Counter()
    for raw in raws:
        name = raw.given
        if name and name in seen:
            raise DataError(
                f"{raw.where}: the id {name!r} occurs twice in domain {domain!r}",
                got=f"first in {seen[name].where}",
                hint="make ids unique, or rename the column so that ids are made from the texts",
            )
        if name:
            seen[name] = raw
        else:
            repeats[raw.content] += 1
            name = f"#{raw.content}" + (f"-{repeats[raw.content]}" if repeats[raw.content] > 1 else "")
        ids.append(f"{domain}/{name}")
    return ids
