"""``patch``: a handful of corrected rows, learned, proved on what lies on disk, and kept only if nothing else fell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lowres import seeds
from lowres.analysis.asked import kept, task_of
from lowres.data import leaks
from lowres.data.rows import Positions, Rows
from lowres.data.sources import Progress
from lowres.data.spec import TableFormat
from lowres.data.tables import read_table
from lowres.data.task import Task
from lowres.errors import DataError, LowresError, UserError, unknown_name
from lowres.export import compare
from lowres.export.mend import Mending, mended
from lowres.files import replacing_folder
from lowres.kinds import KINDS, Given, pair_of, readable, rows_of
from lowres.models.classifier import Classifier, check_place, load_classifier
from lowres.models.patch import (
    FILES,
    RECORD,
    Measured,
    Patch,
    PatchRecord,
    check_patchable,
    fingerprint,
    patched,
    read_patch,
    with_patch,
    write_patch,
)

MOST_FIXES: Final = 500
"""More rows than this are training data."""
FIXES: Final = "fixes"
"""The domain of the rows that a patch learns."""


class PatchError(LowresError):
    """The patch does not do what it is for, or costs too much elsewhere; nothing was written.

    Args:
        faults: What failed, a line each.
        record: Everything measured.
    """

    def __init__(self, faults: Sequence[str], record: PatchRecord) -> None:
        self.faults, self.record = tuple(faults), record
        super().__init__("\n".join(["the patch is refused, nothing was written", *faults]))


@dataclass(frozen=True)
class PatchRows:
    """What a patch is held to: kept test rows by domain, how many left them, and train rows to replay.

    ``seen`` are the marks of the fixes and of the test rows that are the same, or nearly so.
    """

    task: Task
    tests: Mapping[str, Rows]
    left_out: Mapping[str, int]
    replay: Rows
    seen: tuple[str, ...]


def patch(
    adapter: str | Path,
    fixes: str | Path | Sequence[tuple[Given, str]],
    *,
    out: str | Path | None = None,
    task: str | Path | Task | None = None,
    on: Sequence[str] = (),
    max_loss: float = 0.01,
    settings: Mending | None = None,
    backbone: str | None = None,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str = "label",
    progress: Progress | None = None,
) -> Patch:
    """Learns corrected rows as a patch of a saved adapter, which itself stays as it is.

    Args:
        adapter: Its folder.
        fixes: A table of texts and labels, or pairs of a text and its label.
        out: Folder of the patch; None: beside the adapter, with ``-patch`` behind its name.
        task: As of a ``Study``, or a prepared one; None: the shipped task that the adapter was made for.
        on: Domains that must not fall and that are replayed; none: all of the task that have test rows.
        max_loss: How much the score of a domain may fall, point estimate, 0 … 1.
        settings: Of the training.
        backbone: Encoder, if it is not where the adapter says.
        text_column: Of the table.
        pair_column: Of the table, for an adapter that reads pairs.
        label_column: Of the table.
        progress: Told how far a download is.

    Raises:
        UserError: Fixes that cannot be used, an adapter that takes no patch, no task, or a folder that holds something else.
        PatchError: A fix is still wrong, or a domain fell by more than the bound; nothing is written.
    """
    settings = settings or Mending()
    if not 0 <= max_loss <= 1:
        raise UserError("the bound on the loss", got=f"{max_loss:g}", expected="0 to 1")
    folder = Path(adapter)
    place = Path(out) if out is not None else folder.resolve().with_name(f"{folder.resolve().name}-patch")
    check_place(place, FILES, RECORD)
    model = load_classifier(folder, backbone=backbone)
    _check_kind(model, folder)
    rows = (
        read_fixes(Path(fixes), model, text_column, pair_column, label_column)
        if isinstance(fixes, str | Path)
        else make_fixes(model, [text for text, _ in fixes], [label for _, label in fixes])
    )
    wrong = _wrong(model, rows)
    if not len(wrong):
        raise UserError("there is nothing to mend", got=f"{len(rows)} fixes that the adapter answers so already")
    own = fingerprint(model)
    held = patch_rows(model, rows, task_of(model, task, progress), on, settings.replay_rows, own)
    trained = mended(model, rows, held.replay.texts, settings, (own, rows.fingerprint))
    record = PatchRecord(
        1, own, model.labels, settings.rank, len(rows), held.seen, len(wrong), len(held.replay), trained.steps,
        held.task.name, held.task.metric, max_loss, (),
    )  # fmt: skip
    with replacing_folder(place) as draft:
        write_patch(Patch(record, trained.tensors), draft)
        again = load_classifier(folder, backbone=model.backbone)
        after = patched(again, read_patch(draft), folder)
        record = PatchRecord(**{**vars(record), "domains": _measured(again, after, held)})
        faults = [*_still_wrong(after, rows), *_fallen(record)]
        if faults:
            raise PatchError(faults, record)
        write_patch(Patch(record, trained.tensors), draft)
        if len(_wrong(with_patch(again, folder, draft), rows)):
            raise LowresError("the saved patch answers otherwise than the measured one; not kept")
    return Patch(record, trained.tensors)


def read_fixes(path: Path, model: Classifier, text: str, pair: str | None, label: str) -> Rows:
    """Fixes from a table (JSON Lines, CSV, TSV, Parquet).

    Raises:
        UserError: As of ``make_fixes``; a column that is not there.
    """
    if (model.kind == "pair") != (pair is not None):
        raise UserError(
            "the adapter reads pairs of texts" if model.kind == "pair" else "the adapter reads one text a row",
            got="no --pair-column" if pair is None else f"--pair-column {pair}",
            expected="--text-column and --pair-column" if model.kind == "pair" else "--text-column alone",
        )
    if not path.is_file():
        raise DataError(f"no such file: {path}", expected="a table of texts and labels")
    table = read_table(path, path.name, TableFormat())
    texts: list[Given] = list(table.column(text, "--text-column"))
    if pair is not None:
        texts = list(zip(table.column(text), table.column(pair, "--pair-column"), strict=True))
    return make_fixes(model, texts, table.column(label, "--label-column"), table.lines)


def make_fixes(model: Classifier, texts: Sequence[Given], labels: Sequence[str], lines: Sequence[int] = ()) -> Rows:
    """Fixes as rows; of those that are the same but for case, punctuation and blanks the first.

    Args:
        model: Whose labels they have.
        texts: As the model reads them.
        labels: One a text.
        lines: Where each stands in its file, for errors; none: counted from 1.

    Raises:
        UserError: No fixes, too many, an empty text, an unknown label, or one text with two labels.
    """
    if not len(texts):
        raise UserError("no fixes", expected="at least one text with its label")
    if len(texts) > MOST_FIXES:
        raise UserError(
            "more fixes than a patch holds",
            got=len(texts),
            expected=f"at most {MOST_FIXES}",
            hint="lowres fit trains on them",
        )
    rows = rows_of(model.kind, texts)
    lines = lines or range(1, len(rows) + 1)
    kept: dict[str, int] = {}
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        if not all(part.strip() for part in pair_of(row) or (row,)):
            raise UserError(f"fix in line {lines[place]} has no text")
        if label not in model.labels:
            raise unknown_name(f"label in line {lines[place]}:", label, model.labels)
        first = kept.setdefault(leaks.normalise(row), place)
        if labels[first] != label:
            raise UserError(
                f"fixes in lines {lines[first]} and {lines[place]} contradict each other",
                got=f"{labels[first]} and {label} for one text: {readable(row)}",
                expected="one label a text",
            )
    chosen = list(kept.values())
    ids = tuple(f"{FIXES} {lines[place]}" for place in chosen)
    return Rows(
        FIXES, ids, [rows[place] for place in chosen], tuple(labels[place] for place in chosen), ids, model.kind
    )


def patch_rows(
    model: Classifier, fixes: Rows, task: Task, on: Collection[str], replay_rows: int, name: str
) -> PatchRows:
    """Kept test rows and replayed train rows of a task's domains.

    Rows that are the same as a fix, or share nine tenths of their 5-grams with it, are neither scored nor replayed, nor are
    rows of their groups, nor those that an earlier patch has taught the model. Replayed rows are train rows, as many of each
    domain; none is a test or dev row.

    Raises:
        UserError: A task of another kind or other labels, an unknown domain, or one with too few kept test rows.
    """
    if task.kind != model.kind:
        raise UserError("the adapter was made for another kind of task", got=task.kind, expected=model.kind)
    if not set(model.labels) <= set(task.labels):
        raise UserError(
            f"the adapter was made for another label set than that of {task.name}",
            got=", ".join(model.labels),
            expected=", ".join(task.labels),
        )
    names = list(dict.fromkeys(on)) or [one for one, domain in task.domains.items() if len(domain.test)]
    tests, left_out, replay = {}, {}, list[Rows]()
    seen = {leaks.mark(text) for text in fixes.texts}
    for one in names:
        domain = task.domain(one)
        same = _same_as(fixes, domain.test)
        seen.update(leaks.mark(text) for text in domain.test.take(same).texts)
        tests[one], _ = kept(model, domain.test.without(same))
        left_out[one] = len(domain.test) - len(tests[one])
        if len(set(tests[one].groups)) < 2:
            raise UserError(
                f"domain {one} has too few test rows to see whether it falls",
                got=f"{len(tests[one])} that are no fix",
                expected="rows of at least two groups",
                hint="name other domains: --on D,…",
            )
        train = domain.train.without(_same_as(fixes, domain.train))
        replay.append(train.take(seeds.order(train.ids, "patch", name, "replay", one)[: -(-replay_rows // len(names))]))
    return PatchRows(task, tests, left_out, _joined(replay, task.kind), tuple(sorted(seen)))


def _joined(parts: Sequence[Rows], kind: str) -> Rows:
    """Rows of several domains without their labels."""
    ids = tuple(one for part in parts for one in part.ids)
    texts = [text for part in parts for text in part.texts]
    return Rows("replay", ids, texts, ("",) * len(ids), ids, kind)


def _same_as(fixes: Rows, rows: Rows) -> Positions:
    """Positions of the rows that are the same as a fix."""
    return np.flatnonzero(leaks.partners(rows.texts, fixes.texts) >= 0) if len(rows) else np.zeros(0, dtype=np.int64)


def _check_kind(model: Classifier, folder: Path) -> None:
    check_patchable(model, folder)
    if not KINDS[model.kind].single:
        raise UserError(
            f"a patch mends one label a text, {folder} is of kind {model.kind}",
            got=KINDS[model.kind].title,
            expected="classification or pair",
        )


def _wrong(model: Classifier, fixes: Rows) -> list[int]:
    """Positions of the fixes that a model answers otherwise."""
    said = model.predict_proba(list(fixes.texts)).argmax(1)
    return [int(place) for place in np.flatnonzero(said != fixes.targets(model.labels))]


def _still_wrong(model: Classifier, fixes: Rows) -> list[str]:
    """A line for each fix that is answered otherwise, with what the model gives its label."""
    said, targets = model.predict_proba(list(fixes.texts)), fixes.targets(model.labels)
    return [
        f"{fixes.ids[place]} is still {model.labels[int(said[place].argmax())]} ({said[place].max():.2f}), not"
        f" {fixes.labels[place]} ({said[place, int(targets[place])]:.2f})"
        for place in _wrong(model, fixes)
    ]


def _fallen(record: PatchRecord) -> list[str]:
    """A line for each domain whose score fell by more than the bound."""
    return [
        f"{one.domain} falls from {one.before:.4f} to {one.after:.4f} {record.metric}, by {-one.change:.4f}; bound {record.max_loss:g}"
        for one in record.domains
        if -one.change > record.max_loss + 1e-12
    ]


def _measured(before: Classifier, after: Classifier, held: PatchRows) -> tuple[Measured, ...]:
    """Both models on the kept test rows of each domain."""
    task = held.task
    pair = (compare.ask(before, held.tests, task.labels), compare.ask(after, held.tests, task.labels))
    return tuple(
        Measured(
            one.domain, one.rows, held.left_out[one.domain], one.before.mean, one.after.mean, one.change.low, one.change.high
        )
        for one in compare.on_domains([pair], held.tests, task.measure, (), task.kind)
    )  # fmt: skip
