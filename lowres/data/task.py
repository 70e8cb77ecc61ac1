"""A task: labelled rows of several domains, cut into parts that do not leak into each other."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from lowres import seeds
from lowres.data import sources
from lowres.data.assemble import SPLITS, Assembled, assemble
from lowres.data.draft import draft
from lowres.data.encodings import guess_encoding
from lowres.data.guess import Guess, guess, lookalikes
from lowres.data.hints import Hints, hint_faults
from lowres.data.leaks import Finding, remove_taught
from lowres.data.likely import looks_like_conll
from lowres.data.prepare import prepare
from lowres.data.rows import Rows
from lowres.data.spec import FilePart, FilesSource, Split, TableFormat, TaskSpec, read_spec
from lowres.data.tables import ENDINGS
from lowres.errors import DataError, UserError, unknown_name
from lowres.kinds import KINDS
from lowres.scoring.metric import Metric
from lowres.scoring.metrics import find_metric

__all__ = ["Counts", "Domain", "Findings", "Size", "Task", "TaskSpec", "check_counts", "draft_task", "find_task", "load_task", "shipped_tasks"]  # fmt: skip

SPEC_ENDINGS: Final = (".yaml", ".yml")
TABLE_ENDINGS: Final = (*ENDINGS, ".json")
HEAD: Final = 2000
"""Lines of a file by which tagged words are known."""
MOST_NAMED: Final = 5
"""Classes that a warning names."""


@dataclass(frozen=True)
class Findings:
    """What was left out, removed, or found strange while a task was prepared."""

    items: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()

    def total(self, *kinds: str) -> int:
        """Rows of these kinds over all domains."""
        return sum(item.rows for item in self.items if item.kind in kinds)


@dataclass(frozen=True)
class Domain:
    """The parts of one domain; methods never read ``test``, and never the ``dev`` of a target."""

    name: str
    train: Rows
    dev: Rows
    test: Rows

    @cached_property
    def present(self) -> frozenset[str]:
        """The labels that it has rows of."""
        return frozenset(label for rows in (self.train, self.dev, self.test) for label in rows.labels)


@dataclass(frozen=True, eq=False)
class Task:
    """A prepared task. ``spec`` names labels and domains in full, also where the file left them open."""

    spec: TaskSpec
    labels: tuple[str, ...]
    domains: dict[str, Domain]
    findings: Findings
    notes: tuple[str, ...] = ()
    """Lines for the user of a table: what was guessed, and what else might be said."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The arguments of ``load_task`` that name the columns of this table outright; none for a task file."""
    outside: Rows | None = None
    """Test rows that belong to no class, of no domain; None where the task file names none, or none is left."""

    @property
    def name(self) -> str:
        """The name in seeds, keys and reports."""
        return self.spec.name

    @property
    def version(self) -> int:
        """Raised by the author when the numbers of the task change."""
        return self.spec.version

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        return self.spec.type

    @property
    def metric(self) -> str:
        """The name of the primary metric."""
        return self.spec.metric

    @cached_property
    def measure(self) -> Metric:
        """The primary metric.

        Raises:
            UserError: No such metric of this kind of task, or one that these labels do not have.
        """
        return find_metric(self.metric, self.kind, self.labels)

    @property
    def counted(self) -> int:
        """Classes of which a budget of shots counts rows: the labels, or 1 where it counts rows in all."""
        return len(self.labels) if KINDS[self.kind].single else 1

    def counted_in(self, domain: str) -> int:
        """The same of one domain."""
        return len(self.labels_in(domain)) if KINDS[self.kind].single else 1

    def check_single(self, what: str) -> None:
        """Refuses what is for one label a text.

        Raises:
            UserError: A task of another kind.
        """
        if not KINDS[self.kind].single:
            raise UserError(
                f"{what} is for tasks with one label a text",
                got=f"{self.name} of type {self.kind}: {KINDS[self.kind].title}",
            )

    def check(self) -> None:
        """Raises what ``measure`` raises, before anything else is done."""
        _ = self.measure

    @cached_property
    def fingerprint(self) -> str:
        """Hash of name, version, metric, labels, and the content and groups of every part, with the rows out of scope."""
        parts = [
            [domain.name, *([rows.fingerprint, list(rows.groups)] for rows in (domain.train, domain.dev, domain.test))]
            for domain in self.domains.values()
        ]
        kind = [] if self.kind == "classification" else [self.kind]
        outside = self.outside
        outer = [] if outside is None else [[outside.domain, outside.fingerprint, list(outside.groups)]]
        return seeds.digest("task", self.name, self.version, self.metric, list(self.labels), parts, *kind, *outer)

    @cached_property
    def labels_of(self) -> Mapping[str, tuple[str, ...]]:
        """The labels that each domain has rows of, in the order of ``labels``; nothing where all have the same."""
        if self.spec.label_sets == "same":
            return {}
        return {
            name: tuple(label for label in self.labels if label in domain.present)
            for name, domain in self.domains.items()
        }

    def labels_in(self, domain: str) -> tuple[str, ...]:
        """The labels of one domain: those of the task, unless it says that they differ."""
        return self.labels_of.get(domain, self.labels)

    @cached_property
    def hints(self) -> Hints:
        """What the task file says of the labels; no part of the fingerprint, as no row follows from it."""
        return Hints(self.spec.descriptions, self.spec.keywords)

    def domain(self, name: str) -> Domain:
        """One domain by name, or an error with the nearest names."""
        if name not in self.domains:
            raise unknown_name("domain", name, self.domains)
        return self.domains[name]


@dataclass(frozen=True)
class Size:
    """How many rows and groups one part of one domain has of one label."""

    domain: str
    split: str
    label: str
    rows: int
    groups: int


@dataclass(frozen=True)
class Counts:
    """What ``lowres tasks check`` shows."""

    sizes: tuple[Size, ...]
    findings: Findings


def check_counts(task: Task) -> Counts:
    """Rows and groups by domain, split and label (also zeros), and the findings, with what the keywords lack."""
    sizes = []
    for domain in task.domains.values():
        for split, rows in (("train", domain.train), ("dev", domain.dev), ("test", domain.test)):
            by_label = rows.by_label()
            for label in task.labels:
                places = by_label.get(label, ())
                groups = {rows.groups[place] for place in places}
                sizes.append(Size(domain.name, split, label, len(places), len(groups)))
    trained = {name: domain.train.texts for name, domain in task.domains.items() if len(domain.train)}
    gaps = task.hints.gaps(trained) if task.hints.keywords and trained else ()
    return Counts(tuple(sizes), replace(task.findings, warnings=(*task.findings.warnings, *gaps)))


def shipped_tasks() -> dict[str, Path]:
    """The task files of this package by name, from the wheel or from beside an editable install."""
    package = Path(__file__).resolve().parent.parent
    folder = package / "tasks" if (package / "tasks").is_dir() else package.parent / "tasks"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_task(
    name_or_path: str | Path,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    domain_column: str | None = None,
    group_column: str | None = None,
    wanted: Collection[str] = (),
    progress: sources.Progress | None = None,
) -> Task:
    """Read, split and clean a task.

    Args:
        name_or_path: A shipped name, a task file, a table, or a folder of ``<domain>.<split>.jsonl``.
        text_column: Column names of a table or folder; by default ``text``, ``label``, ``domain`` and no group. Where
            there is no such column it is guessed; ``notes`` of the task say what was.
        pair_column: The second text, which makes it a task of kind ``pair``.
        label_column: See ``text_column``.
        domain_column: See ``text_column``.
        group_column: See ``text_column``.
        wanted: The domains that will be used: a column that holds them is the domain column, and only they need rows of
            every label. None named: all of them.
        progress: Told about downloads.

    Raises:
        UserError: Nothing of that name, data that cannot be used, or a guess that is not safe.
        FetchError: The data of a shipped task are neither in the cache nor to be had.
    """
    given = _given(text_column, pair_column, label_column, domain_column, group_column)
    path = find_task(name_or_path)
    if path.suffix.lower() in SPEC_ENDINGS:
        if given:
            flags = ", ".join(f"--{key}-column" for key in given)
            raise UserError(
                f"{flags} only go with a table", got=str(name_or_path), hint="set columns: in the task file"
            )
        return _build(read_spec(path), path.parent, progress, wanted=wanted)
    folder, source = _tables(path)
    found = _guessed(folder, source, given, wanted)
    spec = TaskSpec(
        name=_name(path.resolve().stem), type=found.kind, source=source, columns=found.columns, table=found.table
    )
    return _build(spec, folder, progress, found, wanted)


def draft_task(
    table: str | Path,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    domain_column: str | None = None,
    group_column: str | None = None,
    wanted: Collection[str] = (),
    name: str | None = None,
    folder: Path = Path(),
) -> str:
    """A task file for a table or a folder, with what is guessed and counted as comments.

    Args:
        table: See ``load_task``.
        text_column: See ``load_task``.
        pair_column: See ``load_task``.
        label_column: See ``load_task``; a column of many numbers is cut into two bands.
        domain_column: See ``load_task``.
        group_column: See ``load_task``.
        wanted: Domains: a column that holds them is the domain column.
        name: The name of the task; by default that of the table.
        folder: Where the task file will be; the paths in it start there.

    Raises:
        UserError: As ``load_task``.
    """
    _refuse_tagged_words(Path(os.path.expanduser(table)))
    path = find_task(table)
    if path.suffix.lower() in SPEC_ENDINGS:
        raise UserError(f"{table} is a task file already", expected="a table or a folder of tables")
    if name is not None and name != _name(name):
        raise UserError(f"{name!r} cannot be the name of a task", hint=f"it could be {_name(name)}")
    base, source = _tables(path)
    given = _given(text_column, pair_column, label_column, domain_column, group_column)
    try:
        found = _guessed(base, source, given, wanted, whole=True)
    except DataError as error:
        likely = re.search(r"\{encoding: ([\w-]+)\}", error.hint or "")
        if likely is None:
            raise
        found = _guessed(base, source, given, wanted, whole=True, form=TableFormat(encoding=likely[1]))
    parts = [
        part.model_copy(update={"path": Path(os.path.relpath(base / part.path, folder)).as_posix()})
        for part in source.parts
    ]
    return draft(found, name or _name(path.resolve().stem), parts, path.resolve().name)


def find_task(name_or_path: str | Path) -> Path:
    """The file or folder that a shipped name or a path stands for.

    Raises:
        UserError: There is none, or it is no task.
    """
    shipped = shipped_tasks()
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(os.path.expanduser(name_or_path))
    known = (*SPEC_ENDINGS, *TABLE_ENDINGS)
    if path.is_dir():
        return path
    if path.exists():
        if path.suffix.lower() in known:
            return path
        raise DataError(f"{path} is no task", got=path.suffix or "no ending", expected=f"one of {', '.join(known)}")
    if path.suffix.lower() in known or len(path.parts) > 1:
        raise DataError(f"no such file: {path}", hint="give a task file, a table, a folder, or a name of `tasks ls`")
    raise unknown_name("task", str(name_or_path), shipped)


def _given(
    text: str | None, pair: str | None, label: str | None, domain: str | None, group: str | None
) -> dict[str, str]:
    columns = {"text": text, "pair": pair, "label": label, "domain": domain, "group": group}
    return {role: column for role, column in columns.items() if column is not None}


def _name(text: str) -> str:
    """The nearest name of a task."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-._+")[:100] or "table"


def _tables(path: Path) -> tuple[Path, FilesSource]:
    """The folder where paths start, and the tables there."""
    folder, parts = (path, _folder_parts(path)) if path.is_dir() else (path.parent, (FilePart(path=path.name),))
    return folder, FilesSource(kind="files", parts=parts)


def _refuse_tagged_words(path: Path) -> None:
    """A file of words with their tags is no table, and nothing in it names a domain: what to write by hand is said."""
    if path.suffix.lower() in (*SPEC_ENDINGS, ".jsonl", ".json", ".parquet") or not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        if not looks_like_conll(itertools.islice(stream, HEAD)):
            return
    raise DataError(
        f"{path} holds words with their tags, a word a line and a blank line after each sentence",
        got="a task of type tokens",
        expected="a table, or a task file with type: tokens and table: {format: conll}",
        hint="in it name each such file as a part with its domain:",
    )


def _guessed(
    folder: Path,
    source: FilesSource,
    given: Mapping[str, str],
    wanted: Collection[str],
    *,
    whole: bool = False,
    form: TableFormat | None = None,
) -> Guess:
    """What the tables hold, the same for every command; ``form`` None: as they look."""
    form, notes = (form, []) if form is not None else _form(folder, source)
    found = guess(sources.read_pieces(source, folder), given, wanted, table=form, whole=whole)
    return replace(found, notes=(*notes, *found.notes))


def _form(folder: Path, source: FilesSource) -> tuple[TableFormat, list[str]]:
    """How the tables are written, with a line for the user where that is not UTF-8."""
    texts = [folder / part.path for part in source.parts if not part.path.lower().endswith(".parquet")]
    found = set()
    for path in texts:
        with sources.check_file(path).open("rb") as raw:
            found.add(guess_encoding(raw))
    encoding = found.pop() if len(found) == 1 else None
    if encoding in (None, "utf-8"):
        return TableFormat(), []
    names = ", ".join(path.name for path in texts[:3]) + (", …" if len(texts) > 3 else "")
    note = f"guessed: {names} is not UTF-8 but {encoding}; if letters look wrong, convert it or write a task file"
    return TableFormat(encoding=encoding), [note]


def _folder_parts(folder: Path) -> tuple[FilePart, ...]:
    """``<domain>.<split>.jsonl`` or ``<domain>.jsonl`` (or another kind of table), or ``train.csv`` and ``test.csv`` with
    a column for the domain; other files are left alone.
    """
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS and path.name[0] != "."]
    if not paths:
        raise DataError(
            f"{folder} holds no table", expected="files named <domain>.<split>.jsonl, as in movie.train.jsonl"
        )
    only_splits = all(path.stem.casefold() in SPLITS for path in paths)
    parts = []
    for path in paths:
        domain, _, ending = path.stem.rpartition(".")
        split: Split | None = SPLITS.get(ending.casefold()) if domain or only_splits else None  # type: ignore[assignment]
        name = None if only_splits else domain if split else path.stem
        parts.append(FilePart(path=path.name, domain=name, split=split))
    return tuple(parts)


def _build(
    spec: TaskSpec,
    folder: Path,
    progress: sources.Progress | None,
    found: Guess | None = None,
    wanted: Collection[str] = (),
) -> Task:
    assembled = assemble(spec, sources.read_pieces(spec.source, folder, progress), wanted)
    faults = list(hint_faults(assembled.labels, spec.descriptions, spec.keywords))
    if faults:
        raise DataError(f"task {spec.name}: {'; '.join(faults[:3])}", expected=f"labels {', '.join(assembled.labels)}")
    prepared = prepare(assembled, spec.overlap)
    domains = {
        name: Domain(name, *(rows.take(part) for part in prepared.parts[name]))
        for name, (rows, _) in assembled.domains.items()
    }
    outside, taught = assembled.outside, list[Finding]()
    if outside is not None:
        outside, taught = remove_taught(outside, {name: domain.train for name, domain in domains.items()})
    spec = spec.model_copy(update={"labels": assembled.labels, "domains": tuple(domains)})
    warnings = (
        *(found.warnings if found else ()),
        *lookalikes("label", assembled.labels),
        *lookalikes("domain", domains),
        *_warnings(domains.values(), assembled, spec.label_sets == "differ"),
        *_tests_removed(prepared.findings),
    )
    if outside is not None and not len(outside):
        outside, warnings = None, (*warnings, f"no row of {spec.out_of_scope!r} is left to test with")
    findings = Findings((*assembled.left_out, *prepared.findings, *taught), warnings)
    notes, columns = (found.notes, found.arguments()) if found else ((), {})
    return Task(spec, assembled.labels, domains, findings, notes, columns, outside)


def _warnings(domains: Iterable[Domain], assembled: Assembled, differ: bool) -> tuple[str, ...]:
    """What keeps a domain from some part in a study; a study that asks for that part refuses. Where label sets ``differ``,
    in one sentence the labels that a domain has no rows of.
    """
    found = []
    for domain in domains:
        labels = assembled.labels
        if differ:
            if lacking := [repr(label) for label in labels if label not in domain.present]:
                more = f" and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
                found.append(f"domain {domain.name!r} has no rows of class {', '.join(lacking[:MOST_NAMED])}{more}")
            labels = tuple(label for label in labels if label in domain.present)
        for part, rows in (("train", domain.train), ("test", domain.test)):
            if not len(rows):
                found.append(f"domain {domain.name!r} has no {part} rows")
                continue
            present = rows.by_label()
            missing = [label for label in labels if label not in present and KINDS[rows.kind].answer != "value"]
            found += [f"domain {domain.name!r} has no {part} rows of class {label!r}" for label in missing]
    return tuple(found)


def _tests_removed(findings: Iterable[Finding]) -> tuple[str, ...]:
    """A line where test rows of the source are not measured on."""
    removed = {found.domain: found.rows for found in findings if found.kind == "train overlap"}
    if not removed:
        return ()
    each = ", ".join(f"{domain} {rows}" for domain, rows in removed.items())
    total = sum(removed.values())
    return (f"{total} given test rows are not tested on, a training row of their domain is the same: {each}",)
