"""The task file: strict models of one YAML, and how it is read."""

from __future__ import annotations

import re
from itertools import combinations
from math import inf
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from lowres.data.hints import hint_faults
from lowres.errors import DataError, nearest
from lowres.kinds import KINDS
from lowres.settings import fault, load_yaml, shown

Split = Literal["train", "dev", "test"]
Overlap = Literal["leaves-train", "leaves-test"]
"""Which of a train row and a test row of one domain leaves where the two are the same."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _commit(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", value):
        raise ValueError(f"needs the 40 hex digits of a commit, which never changes, got {value!r}")
    return value


def _owner(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,38}", value):
        raise ValueError(f"is no name of an account, got {value!r}")
    return value


def _repository(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value) or value in (".", ".."):
        raise ValueError(f"is no name of a repository, got {value!r}")
    return value


def _inside(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f\\:]", value) or any(step in ("", ".", "..") for step in value.split("/")):
        raise ValueError(
            f"has to stay inside the repository: names joined by single /, no . or .., backslash, colon or control "
            f"character, got {value!r}"
        )
    return value


Commit = Annotated[str, AfterValidator(_commit)]
Folder = Annotated[str, Field(max_length=500), AfterValidator(_inside)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class _Part(_Strict):
    """One table; ``domain`` and ``split`` hold for all its rows if they are named."""

    domain: str | None = None
    split: Split | None = None


class _TablePart(_Part):
    records: str | None = None
    """Where in a JSON document the list of rows is: a key, or keys joined by dots."""


class FilePart(_TablePart):
    """One table on disk."""

    path: str


class FilesSource(_Strict):
    """Own tables; relative paths start at the folder of the task file."""

    kind: Literal["files"]
    parts: tuple[FilePart, ...] = Field(min_length=1)


class ArchivePart(_TablePart):
    """One table in an archive: its name there, or the names along a chain of nested archives."""

    member: tuple[str, ...] = Field(min_length=1, max_length=3)

    @field_validator("member", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class PypiSource(_Strict):
    """Data files inside one file of a Python package index, read as data."""

    kind: Literal["pypi"]
    project: Name
    version: str
    filename: Name
    sha256: Sha256
    parts: tuple[ArchivePart, ...] = Field(min_length=1)


class GithubPart(_TablePart):
    """One table in a repository."""

    path: Annotated[str, Field(max_length=500), AfterValidator(_inside)]
    sha256: Sha256


class GithubSource(_Strict):
    """Data files of one commit of a public GitHub repository."""

    kind: Literal["github"]
    owner: Annotated[str, AfterValidator(_owner)]
    repository: Annotated[str, AfterValidator(_repository)]
    commit: Commit
    parts: tuple[GithubPart, ...] = Field(min_length=1)


class HubPart(_Part):
    """One split of a dataset; ``split`` is the part of the study that its rows belong to."""

    hub_split: Name
    config: Name | None = None
    folder: Folder | None = None


class HubSource(_Strict):
    """A dataset of the Hugging Face hub that consists of data files, or a folder that is laid out like one."""

    kind: Literal["hub"]
    dataset: str
    """``owner/name``, or a path that starts with ``./``, ``../`` or ``/``; it starts at the folder of the task file."""
    revision: Commit | None = None
    """Needed for the hub; a folder has none."""
    config: Name | None = None
    """For the parts that name none."""
    folder: Folder | None = None
    """Where the data files of a split are, in a dataset that lists no configs; for the parts that name none."""
    parts: tuple[HubPart, ...] = Field(min_length=1)

    @property
    def local(self) -> bool:
        """Whether the dataset is a folder."""
        return self.dataset.startswith(("./", "../", "/"))

    def config_of(self, part: HubPart) -> str | None:
        """The config that a part is read from."""
        return part.config or self.config

    def folder_of(self, part: HubPart) -> str | None:
        """The folder inside the dataset that a part is read from."""
        return part.folder or self.folder

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.local and self.revision is not None:
            raise ValueError("a folder has no revision: remove it")
        if not self.local and not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", self.dataset, re.ASCII):
            raise ValueError(f"dataset has to be owner/name, or a folder as in ./name, got {self.dataset!r}")
        if not self.local and self.revision is None:
            raise ValueError("revision is missing: the commit of the dataset, 40 hex digits")
        if any(self.config_of(part) and self.folder_of(part) for part in self.parts):
            raise ValueError("config and folder exclude each other: a folder is for a dataset that lists no configs")
        return self


# A further kind is a model here and an opener in sources.OPENERS.
Source = Annotated[FilesSource | PypiSource | GithubSource | HubSource, Field(discriminator="kind")]


class TableFormat(_Strict):
    """How the bytes of a table become columns."""

    format: Literal["auto", "csv", "tsv", "jsonl", "json", "parquet", "conll"] = "auto"
    """``auto`` goes by the ending of the name. ``conll``: a word a line with its tag, a blank line after each sentence;
    ``header`` names the fields of a line, by default ``tokens`` for the first and ``tags`` for the last."""
    header: tuple[str, ...] | None = None
    """Column names, if the first line does not hold them, or the rows of a JSON document are lists."""
    skip_lines: int = Field(default=0, ge=0)
    """Lines before the first one that counts."""
    quoting: bool = True
    """Off: every line is a row and quotation marks are text (TSV only)."""
    encoding: str = "utf-8"
    unescape_html: int = Field(default=0, ge=0, le=3)
    """How many times HTML entities in texts are decoded; 2 for texts that were escaped twice."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}") from None
        return value


class Columns(_Strict):
    """Which column holds what. ``id``, ``split`` are used if they exist; ``domain`` unless each part names its own."""

    text: str = "text"
    pair: str | None = None
    """The second text, where a row is two; ``text`` is then the first."""
    label: str = "label"
    label_separator: str | None = None
    """Between the labels of a row, where one column holds several as one string; None: the column holds lists."""
    domain: str = "domain"
    domain_pattern: str | None = None
    """Regular expression whose first group is the domain's name; a value that does not match is an error."""
    id: str = "id"
    split: str = "split"
    group: str | None = None
    """What is resampled together. Rows with the same value in an own column are one group in every domain; a group
    taken from the id column stays within its domain."""
    group_pattern: str | None = None
    """Regular expression whose first group is the group's name; a value that does not match is a group of its own."""

    @field_validator("domain_pattern", "group_pattern")
    @classmethod
    def _one_capture(cls, value: str | None, info: ValidationInfo) -> str | None:
        try:
            if value is not None and re.compile(value).groups < 1:
                raise ValueError(f"needs one (…) that captures the {str(info.field_name).removesuffix('_pattern')}")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value


class Band(_Strict):
    """Numbers from ``at_least`` to ``at_most``, both included, have this label."""

    label: str
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _upright(self) -> Self:
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"a band from {self.at_least:g} to {self.at_most:g} holds nothing")
        return self

    def holds(self, value: float) -> bool:
        """Whether a number is in the band."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


class Meaning(_Strict):
    """What a value of the label column stands for."""

    label: str
    domain: str | None = None


class TaskSpec(_Strict):
    """One task file. Rows in no band, with no meaning, or of a domain that is not listed are left out and counted."""

    name: Name
    version: int = Field(default=1, ge=1, le=1_000_000)
    title: str = ""
    description: str = ""
    type: Literal["classification", "pair", "tokens", "multilabel", "regression"] = "classification"
    metric: str = ""
    """Empty: that of the kind."""
    labels: tuple[str, ...] = ()
    """In this order; empty: those that occur, sorted. Of words their tags."""
    label_sets: Literal["same", "differ"] = "same"
    """Whether every domain has rows of every label, or each has some of those that are listed."""
    range: tuple[float, float] | None = None
    """Ends of the scale of a regression."""
    domains: tuple[str, ...] = ()
    """In this order; empty: those that occur, sorted."""
    out_of_scope: str | None = Field(default=None, min_length=1)
    """What rows that belong to no class have for a label: no domain's, never trained on, counted in no score."""
    source: Source
    table: TableFormat = TableFormat()
    columns: Columns = Columns()
    bands: tuple[Band, ...] = ()
    values: dict[str, Meaning] = {}
    values_by_domain: dict[str, dict[str, str]] = {}
    """Of a domain that writes labels in its own way: value → label, in place of ``values``."""
    skip_words: dict[str, str] = {}
    """Of a task of words: column of lists → value. A word that has this value in one of them is left out with its tag."""
    overlap: Overlap = "leaves-train"
    """Where a train row and a test row of one domain are the same. ``leaves-test`` is for given splits whose test part
    was mixed with the training part upstream; between domains the train row leaves in any case."""
    descriptions: dict[str, str] = {}
    """A sentence for each of some labels, known before any row is seen."""
    keywords: dict[str, tuple[str, ...]] = {}
    """Words or phrases that speak for a label, known before any row is seen."""
    licence: str = ""
    citation: str = ""
    homepage: str = ""

    @model_validator(mode="before")
    @classmethod
    def _metric_of_kind(cls, content: object) -> object:
        if isinstance(content, dict) and not content.get("metric"):
            kind = KINDS.get(str(content.get("type", "classification")))
            return {**content, "metric": kind.metric} if kind else content
        return content

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source.kind == "hub" and (self.table.format != "auto" or self.table.header):
            raise ValueError("table: a dataset of the hub has its own format and columns")
        self._check_pair()
        self._check_domains()
        edges = [
            (-inf if b.at_least is None else b.at_least, inf if b.at_most is None else b.at_most) for b in self.bands
        ]
        if any(max(one[0], other[0]) <= min(one[1], other[1]) for one, other in combinations(edges, 2)):
            raise ValueError("bands overlap: a number would have two labels")
        if self.bands and self.values:
            raise ValueError("bands and values exclude each other")
        if self.values_by_domain and (self.bands or any(meaning.domain for meaning in self.values.values())):
            raise ValueError(
                "values_by_domain goes with domains that the rows name: not with bands, nor values with domains"
            )
        strangers = sorted(set(self.values_by_domain) - set(self.domains))
        if self.domains and strangers:
            raise ValueError(f"values_by_domain: no such domain in domains: {', '.join(strangers)}")
        if not KINDS[self.type].single and (self.values_by_domain or self.label_sets == "differ"):
            raise ValueError(f"label_sets and values_by_domain are for one label a text, not for type {self.type}")
        if self.label_sets == "differ" and not self.labels:
            raise ValueError("label_sets: differ needs the list labels, so that no slip of spelling becomes a label")
        for what, names in (("labels", self.labels), ("domains", self.domains)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} holds a name twice")
        if len(self.labels) == 1:
            raise ValueError("labels needs at least two names")
        if self.type == "regression" and self.range is None:
            raise ValueError("type: regression needs range: [lowest, highest], the ends of its scale")
        if self.type != "regression" and self.range is not None:
            raise ValueError("range goes with type: regression, and only there")
        if self.range is not None and not -inf < self.range[0] < self.range[1] < inf:
            raise ValueError(f"range goes from a lower to a higher number, got {self.range[0]:g}, {self.range[1]:g}")
        given = {"labels": self.labels, "bands": self.bands, "values": self.values}
        odd = [name for name, value in given.items() if value] if self.type == "regression" else []
        odd += ["bands"] if self.bands and self.type in ("tokens", "multilabel") else []
        if odd:
            raise ValueError(f"{', '.join(odd)} has no place in a task of type {self.type}")
        if self.columns.label_separator is not None and self.type != "multilabel":
            raise ValueError("columns.label_separator goes with type: multilabel")
        self._check_out_of_scope()
        if self.skip_words and self.type != "tokens":
            raise ValueError("skip_words goes with type: tokens")
        used = {band.label for band in self.bands} | {meaning.label for meaning in self.values.values()}
        used |= {label for own in self.values_by_domain.values() for label in own.values()}
        used = used - {self.out_of_scope}
        if self.type != "tokens" and self.labels and not used <= set(self.labels):
            raise ValueError(f"no such label in labels: {', '.join(sorted(used - set(self.labels)))}")
        faults = list(hint_faults(self.labels, self.descriptions, self.keywords))
        if faults:
            raise ValueError("; ".join(faults[:3]))
        return self

    def _check_pair(self) -> None:
        first, second = self.columns.text, self.columns.pair
        if self.type == "pair" and second is None:
            raise ValueError(
                "type pair needs the column of the second text, as in columns: {text: premise, pair: hypothesis}"
            )
        if self.type != "pair" and second is not None:
            raise ValueError(f"columns.pair: {second!r} is a second text, which goes with type: pair")
        if first == second:
            raise ValueError(f"columns: text and pair are the same column, {first!r}")

    def _check_out_of_scope(self) -> None:
        name = self.out_of_scope
        if name is None:
            return
        if not KINDS[self.type].single:
            raise ValueError(f"out_of_scope has no place in a task of type {self.type}: its rows have no single label")
        if name in self.labels:
            raise ValueError(f"out_of_scope: {name!r} is no class, take it out of labels")
        if any(meaning.label == name and meaning.domain for meaning in self.values.values()):
            raise ValueError(f"out_of_scope: {name!r} is of no domain, name none for it under values")
        made = [band.label for band in self.bands] + [meaning.label for meaning in self.values.values()]
        made += [label for own in self.values_by_domain.values() for label in own.values()] if made else []
        if made and name not in made:
            where = "bands" if self.bands else "values"
            raise ValueError(f"out_of_scope: nothing becomes {name!r}, list under {where} what does")

    def _check_domains(self) -> None:
        named = all(part.domain for part in self.source.parts) or any(value.domain for value in self.values.values())
        if self.columns.domain_pattern is not None and named:
            raise ValueError("columns.domain_pattern has no place where parts or values name the domains")


_SECTIONS: Final[dict[tuple[str, ...], type[BaseModel]]] = {
    (): TaskSpec,
    ("source", "files"): FilesSource,
    ("source", "files", "parts"): FilePart,
    ("source", "pypi"): PypiSource,
    ("source", "pypi", "parts"): ArchivePart,
    ("source", "github"): GithubSource,
    ("source", "github", "parts"): GithubPart,
    ("source", "hub"): HubSource,
    ("source", "hub", "parts"): HubPart,
    ("table",): TableFormat,
    ("columns",): Columns,
    ("bands",): Band,
    ("values",): Meaning,
}


def read_spec(path: Path) -> TaskSpec:
    """Read a task file.

    Raises:
        DataError: All faults of the file at once; unknown keys with the nearest key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read task file {path}", got=error.strerror) from None
    return parse_spec(data, str(path))


def parse_spec(data: bytes, name: str) -> TaskSpec:
    """Check the bytes of a task file; ``name`` is for messages."""
    content = load_yaml(data, f"task file {name}")
    if not isinstance(content, dict):
        raise DataError(f"task file {name} is no list of keys and values", got=shown(content))
    try:
        return TaskSpec.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(_fault(detail) for detail in error.errors())
        raise DataError(
            f"task file {name}: {faults}", hint="`lowres tasks show vader-sentiment` prints a valid one"
        ) from None


def _fault(detail: ErrorDetails) -> str:
    loc = detail["loc"]
    where = ".".join(str(part) for part in (("source", *loc[2:]) if loc[:1] == ("source",) else loc))
    if detail["type"] == "extra_forbidden":
        *parents, key = detail["loc"]
        section = tuple(str(part) for part in parents if not isinstance(part, int))
        model = _SECTIONS.get(section[:1] if section[:1] == ("values",) else section, TaskSpec)
        close = nearest(str(key), model.model_fields)
        return f"unknown key {where!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
    if detail["type"] == "string_type" and isinstance(detail["input"], bool):
        return f"{where}: YAML reads yes, no, on, off, true and false as truth values: put the word in quotes"
    if detail["type"] == "missing":
        return f"key {where!r} is missing"
    found = fault({**detail, "loc": ()})
    return f"{where}: {found}" if where else found
