"""Which column of an own table holds what, where nobody said it.

A guess needs a reason that only one column gives; otherwise the table is refused with the columns that could be meant.
"""

from __future__ import annotations

import itertools
import re
import shlex
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final, Literal

from lowres.data.assemble import SPLITS
from lowres.data.likely import Likely, counting, is_scale, likely_kind, marked, name_parts
from lowres.data.profile import Column, Profile, as_number, profile_tables
from lowres.data.sources import Piece
from lowres.data.spec import Columns, TableFormat
from lowres.data.tables import Table
from lowres.errors import DataError

Role = Literal["domain", "text", "label"]
_ROLES: Final[tuple[Role, ...]] = ("domain", "text", "label")  # in this order: there may be evidence for the domain
_FLAGGED: Final = ("text", "pair", "label", "domain")
"""The roles that a flag can give a column."""

MAX_LABELS: Final = 50
"""Values of a label column that only its content speaks for."""
MAX_DOMAINS: Final = 200
MIN_DOMAIN_ROWS: Final = 5

_NAMES: Final[dict[Role, str]] = {
    "domain": "domain source platform genre topic channel country language lang locale product site website shop store"
    " market region corpus dataset origin brand department dialect year",
    "text": "text review reviewtext sentence content message body comment tweet utterance post article document"
    " description question query headline snippet passage abstract",
    "label": "label class category sentiment rating star score y intent target polarity emotion stance toxic tag",
}
_KNOWN: Final[dict[Role, frozenset[str]]] = {
    role: frozenset(form for name in names.split() for form in (name, f"{name}s")) for role, names in _NAMES.items()
}
_SECOND: Final = {
    "premise": "hypothesis", "texta": "textb", "text1": "text2", "sentencea": "sentenceb", "sentence1": "sentence2",
    "question1": "question2", "text": "textpair",
}  # fmt: skip
"""Usual names of two texts that are a pair, without marks between their parts."""
_GROUPS: Final = re.compile(
    r"(group|(review|doc|document|article|thread|conversation|dialog|dialogue|session|user|author|parent)(_?id)?)$"
)
_USED: Final = ("id", "split")
"""Columns that are used by their name, and are no candidates for another role."""


@dataclass(frozen=True)
class Guess:
    """How the tables are read, and what to say about it."""

    columns: Columns
    table: TableFormat
    profile: Profile
    notes: tuple[str, ...]
    """Lines for the user: what was guessed, and what might be wanted besides."""
    warnings: tuple[str, ...]
    reasons: Mapping[str, str]
    """Role → why this column, for those that were guessed."""
    likely: Likely
    """Which kind of task it is."""

    def column(self, role: Role) -> Column:
        """What is known of the column with this role."""
        return self.profile.columns[getattr(self.columns, role)]

    def arguments(self) -> dict[str, str]:
        """The arguments of ``load_task`` that make the guess unnecessary."""
        roles = [*(role for role in _FLAGGED if role != "domain" or not self.profile.domains), "group"]
        return {f"{role}_column": column for role in roles if (column := getattr(self.columns, role)) is not None}

    @property
    def kind(self) -> Literal["classification", "pair"]:
        """The kind of task that the table is without a task file that says more; see ``likely``."""
        return "classification" if self.columns.pair is None else "pair"


def guess(
    pieces: Iterable[Piece],
    given: Mapping[str, str],
    wanted: Collection[str] = (),
    *,
    table: TableFormat = TableFormat(),
    whole: bool = False,
) -> Guess:
    """Decide which columns hold text, label and domain.

    Args:
        pieces: The tables.
        given: Role → column, as named by the user; also ``pair`` and ``group``.
        wanted: Names that have to be domains.
        table: How the bytes are read.
        whole: Read all rows, and allow a label column of many numbers, because bands will be made of it.

    Raises:
        DataError: A table cannot be read, or a guess is not safe.
    """
    needed = None if whole else {role: role for role in _ROLES} | dict(given)
    profile = profile_tables(pieces, table, needed)
    chosen = {role: role for role in _ROLES if role in profile.columns} | dict(given)
    if profile.domains:
        chosen["domain"] = "domain"
    for named, name in given.items():
        Table(profile.name, {key: [] for key in profile.columns}, []).column(name, f"--{named}-column")  # or it refuses
    missing = [role for role in _ROLES if role not in chosen]
    if missing:
        _refuse_no_header(profile)
    reasons: dict[str, str] = {}
    if "text" in missing and "pair" not in given and (both := _pair(profile)):
        missing.remove("text")
        for role, name in zip(("text", "pair"), both, strict=True):
            chosen[role], reasons[role] = name, "by its name"
    by_kind = _by_kind(profile, chosen, given)
    if whole:
        for role, name in by_kind.items():
            chosen[role], reasons[role] = name, "by what it holds"
        missing = [role for role in missing if role not in by_kind]
    else:
        _refuse_lists(profile, chosen | by_kind)
    for role in missing:
        taken = {*chosen.values(), *(name for name in profile.columns if name.strip().casefold() in _USED)}
        free = [column for name, column in profile.columns.items() if name not in taken]
        if role == "label":
            _refuse_marks(profile, free)
        column, reason = _choose(role, free, profile, wanted, whole, chosen.get("domain"))
        chosen[role], reasons[role] = column.name, reason
    if "split" not in profile.columns and (split := _split_column(profile)):
        chosen["split"], reasons["split"] = split, "by its name"
    _refuse_same(profile, chosen)
    if not whole:
        _refuse_labels(profile, profile.columns[chosen["label"]], chosen["domain"])
    columns = Columns(**chosen)
    notes = [*_said(columns, profile, reasons), *_pair_hint(columns, profile), *_group_hint(columns, profile)]
    likely = likely_kind(profile, chosen)
    return Guess(columns, table, profile, tuple(notes), tuple(_spaces(columns, profile)), reasons, likely)


def _pair(profile: Profile) -> tuple[str, str] | None:
    """The two columns that are named like a pair of texts and hold texts; None where there are none, or more."""
    names = {
        "".join(name_parts(name)): name
        for name, column in profile.columns.items()
        if not _flaw("text", column, 2, False)
    }
    found = [(names[first], names[second]) for first, second in _SECOND.items() if first in names and second in names]
    return found[0] if len(found) == 1 else None


def _split_column(profile: Profile) -> str | None:
    """``Split`` for ``split``, if all of it names parts."""
    found = [name for name in profile.columns if name.casefold() == "split"]
    if len(found) == 1 and all(value.casefold() in SPLITS for value in profile.columns[found[0]].values):
        return found[0]
    return None


def _by_kind(profile: Profile, chosen: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Columns of lists, or of joined labels, that decide on the kind of task; not where a name speaks for another."""
    likely = likely_kind(profile, {role: name for role, name in chosen.items() if role != "domain"})
    found = {role: name for role, name in likely.columns.items() if role not in given}
    if likely.kind == "tokens":
        return found
    label = found.get("label")
    if label is None or "label" in chosen:
        return {}
    others = (_strength("label", name) for name in profile.columns if name != label)
    return {} if max(others, default=0) >= max(1, _strength("label", label)) else found


def _refuse_lists(profile: Profile, chosen: Mapping[str, str]) -> None:
    """A table alone has one label a text; lists of words, tags or labels are for a task file to declare."""
    likely = likely_kind(profile, chosen)
    if any(profile.columns[name].lists for name in likely.columns.values()):
        raise DataError(
            f"{profile.name}: this is a task of type {likely.kind}",
            got=likely.evidence,
            expected="a task file that says so",
            hint=f"`lowres tasks init {_shell(_origin(profile))}` writes one",
        )


def _refuse_marks(profile: Profile, free: Sequence[Column]) -> None:
    """Labels that stand in a column of 0 and 1 each."""
    marks = marked(profile)
    if marks and not any(_strength("label", column.name) for column in free if column.name not in marks):
        raise DataError(
            f"{profile.name}: the labels seem to stand in columns of their own, with 0 and 1",
            got=", ".join(map(repr, marks[:6])) + ", …" * (len(marks) > 6),
            expected="one column with the names of a row's labels, as a list or joined by ;",
            hint="join them, or name the one column of the label with --label-column",
        )


def _refuse_same(profile: Profile, chosen: Mapping[str, str]) -> None:
    roles = [role for role in _FLAGGED if role in chosen and (role != "domain" or not profile.domains)]
    for one, other in itertools.combinations(roles, 2):
        if chosen[one] == chosen[other]:
            raise DataError(
                f"{profile.name}: {one} and {other} are the same column",
                got=repr(chosen[one]),
                hint=f"say which is which with --{one}-column and --{other}-column",
            )


def _refuse_labels(profile: Profile, label: Column, domain: str) -> None:
    """Also a column that was named can hold no classes, though it may count them by numbers."""
    distinct = len(label.values)
    if is_scale(label) and not counting(label):
        raise DataError(
            f"{profile.name}: column {label.name!r} has {distinct} different numbers",
            expected="a few classes",
            hint=_bands_hint(profile, label.name, domain),
        )
    if distinct > MAX_LABELS and distinct > label.rows / 2:
        raise DataError(
            f"{profile.name}: column {label.name!r} has nearly as many values as rows",
            got=f"{distinct} values in {label.rows} rows",
            expected="a few classes",
            hint="name the column of the label with --label-column",
        )


def lookalikes(kind: str, names: Iterable[str]) -> Iterator[str]:
    """A warning for every set of names that are different only in case, space, signs that are not seen or the spelling
    of a sign (as é), or are one number.
    """
    alike: dict[object, list[str]] = {}
    for name in names:
        seen = "".join(sign for sign in unicodedata.normalize("NFKC", name) if unicodedata.category(sign) != "Cf")
        number = as_number(seen)
        alike.setdefault(" ".join(seen.split()).casefold() if number is None else number, []).append(name)
    for same in alike.values():
        if len(same) > 1:
            spelled = {unicodedata.normalize("NFC", name) for name in same}
            shown = ascii if len(spelled) < len(same) else repr
            yield f"{kind}s {' and '.join(map(shown, same))} may be meant as one; they count as {len(same)}"


def _choose(
    role: Role,
    free: Sequence[Column],
    profile: Profile,
    wanted: Collection[str],
    scale: bool,
    domain: str | None,
) -> tuple[Column, str]:
    """The one column that can have a role, and why; ``domain``: the column of the domain, once it is known."""
    if role == "domain" and (found := _by_wanted(free, wanted)):
        return _single(role, found, profile), "it holds the domains asked for"
    ranked: dict[int, list[Column]] = {}
    flawed: list[str] = []
    for column in free:
        strength = _strength(role, column.name)
        flaw = _flaw(role, column, strength, scale)
        if flaw is None:
            ranked.setdefault(strength, []).append(column)
        elif strength:
            flawed.append(f"{column.name!r} {flaw}")
    if not ranked or (max(ranked) == 0 and role == "domain"):
        raise _none(role, free, flawed, profile, domain)
    strength = max(ranked)
    best = ranked[strength]
    if strength == 0 and role == "text":
        best = [column for column in best if 2 * column.length > max(other.length for other in best)]
    return _single(role, best, profile), "by its name" if strength else "the only one like it"


def _by_wanted(free: Sequence[Column], wanted: Collection[str]) -> list[Column]:
    """The columns that hold most of the names, those with a name of a domain first."""
    names = {name.strip().casefold() for name in wanted}
    held = {
        column.name: len(names & {value.casefold() for value in column.values})
        for column in free
        if not column.nested and len(column.values) <= max(MAX_DOMAINS, column.rows // 5)
    }
    most = max(held.values(), default=0)
    found = [column for column in free if most and held.get(column.name) == most]
    strongest = max((_strength("domain", column.name) for column in found), default=0)
    return [column for column in found if _strength("domain", column.name) == strongest]


def _single(role: Role, found: Sequence[Column], profile: Profile) -> Column:
    if len(found) == 1:
        return found[0]
    names = " or ".join(repr(column.name) for column in found[:4])
    raise DataError(
        f"{profile.name}: the {role} could be in column {names}",
        got="; ".join(f"{column.name!r}: {_like(role, column)}" for column in found[:4]),
        hint=f"say which, as in --{role}-column {_shell(found[0].name)}",
    )


def _strength(role: Role, name: str) -> int:
    """3: the name that is the default, in other case; 2: a usual name; 1: one word of it is; 0: none of these."""
    parts = name_parts(name)
    if parts == [role]:
        return 3
    if "_".join(parts) in _KNOWN[role]:
        return 2
    return int(any(part in _KNOWN[role] for part in parts))


def _flaw(role: Role, column: Column, strength: int, scale: bool) -> str | None:
    """Why a column cannot have a role, or None."""
    distinct, rows = len(column.values), column.rows
    if column.nested:
        return "holds lists or objects"
    if not rows:
        return "is empty"
    if role == "text":
        return _text_flaw(column, strength)
    if distinct < 2:
        return "holds one value only"
    if role == "domain":
        if distinct > MAX_DOMAINS or distinct > rows / 2:
            return f"has {distinct} values in {rows} rows"
        rarest, fewest = min(column.values.items(), key=lambda item: item[1])
        return f"has {fewest} rows of {rarest!r}" if fewest < MIN_DOMAIN_ROWS else None
    if is_scale(column):
        return None if scale and strength else f"has {distinct} different numbers"
    if distinct > rows / 2:
        return f"has {distinct} values in {rows} rows"
    if not strength and (distinct > MAX_LABELS or rows < 5 * distinct or min(column.values.values()) < 2):
        return "has too many values"
    return None


def _text_flaw(column: Column, strength: int) -> str | None:
    distinct, rows = len(column.values), column.rows
    if column.words < (1.5 if strength >= 2 else 3):
        return "holds numbers" if column.numeric else "holds no running text"
    if distinct < (rows / 50 if strength >= 2 else rows / 2):
        return f"has {distinct} values in {rows} rows"
    return None


def _none(role: Role, free: Sequence[Column], flawed: Sequence[str], profile: Profile, domain: str | None) -> DataError:
    flag = f"--{role}-column"
    if role == "domain":
        able = [
            column.name
            for column in free
            if (_strength(role, column.name) and 1 < len(column.values) <= MAX_DOMAINS)
            or (_flaw(role, column, 0, False) is None and not column.numeric)
        ]
        could = f" ({' or '.join(_shell(name) for name in able[:3])}?)" if able else ""
        return DataError(
            f"{profile.name}: no column names the domain of a row, and within one domain there is no shift",
            got="; ".join(flawed) or f"columns {', '.join(map(repr, profile.columns))}",
            hint=f"name the column with {flag}{could}, or give a folder with one file a domain",
        )
    scales = [column.name for column in free if role == "label" and is_scale(column) and _strength(role, column.name)]
    return DataError(
        f"{profile.name}: no column is surely the {role}",
        got="; ".join(flawed) or f"columns {', '.join(map(repr, profile.columns)) or 'that differ between the files'}",
        hint=_bands_hint(profile, scales[0], domain) if scales else f"name it with {flag}",
    )


def _bands_hint(profile: Profile, column: str, domain: str | None) -> str:
    """A command that asks for no more than it is given: it does not know which domains were asked for."""
    named = "" if profile.domains or domain in (None, "domain") else f" --domain-column {_shell(str(domain))}"
    return f"`lowres tasks init {_shell(_origin(profile))} --label-column {_shell(column)}{named}` writes a task file for such numbers"


def _origin(profile: Profile) -> str:
    """The table, or the folder of tables."""
    return str(PurePath(profile.name).parent) if profile.domains else profile.name


def _refuse_no_header(profile: Profile) -> None:
    """A first line with a value of its own column, a number or a whole sentence in it is a row, not a header."""
    columns = [profile.columns[cell] for cell in profile.first if cell in profile.columns and cell]
    names = [column.name for column in columns]
    if names == [str(number) for number in range(len(names))]:  # as pandas names columns that have no name
        return
    repeated = any(column.values[column.name] > 1 for column in columns)
    known = any(_strength(role, name) >= 2 for name in names for role in _ROLES)
    sentence = any(len(name.split()) > 5 for name in names)
    number = any(column.numeric and as_number(column.name) is not None for column in columns)
    if repeated or (not known and (sentence or number)):
        raise DataError(
            f"{profile.name} seems to have no header: its first line looks like a row",
            got=", ".join(map(repr, profile.first)),
            hint="put a line such as text,label,domain on top, or set table: {header: [text, label, domain]} in a task file",
        )


def _said(columns: Columns, profile: Profile, reasons: Mapping[str, str]) -> Iterator[str]:
    guesses = [
        f"{role} column {name!r} ({_like(role, profile.columns[name])})"
        for role in (*_FLAGGED, "split")
        if role in reasons and (name := getattr(columns, role))
    ]
    if guesses:
        flags = ", ".join(f"--{role}-column" for role in _FLAGGED if role in reasons)
        yield f"guessed: {', '.join(guesses)}" + (f"; to change: {flags}" if flags else "")


def _like(role: str, column: Column) -> str:
    if role in ("text", "pair"):
        return f"{column.words:.0f} words on average"
    return f"{len(column.values)} {'domains' if role == 'domain' else 'values'}"


def _pair_hint(columns: Columns, profile: Profile) -> Iterator[str]:
    """A text that has been chosen alone, though there is a second one."""
    both = _pair(profile)
    if both and columns.pair is None and columns.text == both[0]:
        yield f"column {both[1]!r} may be the second text of a pair: --pair-column {_shell(both[1])}"


def _group_hint(columns: Columns, profile: Profile) -> Iterator[str]:
    for name in group_names(columns, profile)[:1]:
        yield f"column {name!r} may say which rows belong together: --group-column {_shell(name)}"


def group_names(columns: Columns, profile: Profile) -> list[str]:
    """Columns named like a group whose values come back, and that have no other role."""
    taken = (columns.text, columns.pair, columns.label, columns.domain)
    if columns.group is not None:
        return []
    return [
        column.name
        for column in profile.columns.values()
        if column.name not in taken
        and _GROUPS.match("_".join(name_parts(column.name)))
        and 1 < len(column.values) < 0.95 * column.rows
    ]


def _spaces(columns: Columns, profile: Profile) -> Iterator[str]:
    for role in ("label", "domain"):
        column = profile.columns.get(getattr(columns, role))
        if column is None or (role == "domain" and profile.domains):
            continue
        spaced = [value for value in column.counts if value != value.strip() and value.strip() in column.counts]
        if spaced:
            yield f"{role} {spaced[0]!r} is read as {spaced[0].strip()!r}, without the space around it"


def _shell(name: str) -> str:
    """A name as a word of a shell command, on one line."""
    return shlex.quote(" ".join(name.split()))
