"""What a saved model says of labelled rows, and which task it was made for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lowres.data import leaks
from lowres.data.rows import Rows
from lowres.data.sources import Progress
from lowres.data.task import Task, load_task, shipped_tasks
from lowres.errors import UserError
from lowres.kinds import KINDS
from lowres.models.classifier import Classifier
from lowres.models.patch import marks_of
from lowres.scoring.metrics import all_metrics, widened
from lowres.study.runner import truth


def score(model: Classifier, rows: Rows, labels: Sequence[str] = ()) -> dict[str, object]:
    """Every metric of a saved model on labelled rows.

    Args:
        model: Made for some of the labels.
        rows: What it is scored on, but for those that a patch has taught it (``kept``); a row whose label it has not seen
            counts as wrong.
        labels: All labels of a task whose domains differ in them; none: the model has to know every label.

    Raises:
        UserError: As of ``answers``.
    """
    targets, said, known = answers(model, kept(model, rows)[0], labels)
    return all_metrics(targets, said, known, rows.kind)


def kept(model: Classifier, rows: Rows) -> tuple[Rows, int]:
    """The rows that no patch has taught a model, and how many left.

    A row leaves where its normalised text is that of a fix, or of a test row that the patch found nearly the same as one,
    and its whole group with it.

    Raises:
        UserError: As of ``marks_of``.
    """
    marks = marks_of(model)
    places = [place for place, text in enumerate(rows.texts) if leaks.mark(text) in marks] if marks else []
    own = rows.without(places)
    return own, len(rows) - len(own)


def answers(
    model: Classifier, rows: Rows, labels: Sequence[str] = ()
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], tuple[str, ...]]:
    """What labelled rows, all of them, are, as a ``Metric`` takes it, a saved model's answers on them [units, outputs], and the labels of both.

    Args:
        model: See ``score``.
        rows: See ``score``.
        labels: See ``score``.

    Raises:
        UserError: The model knows other labels than the rows have, or is of another kind, or there are no rows.
    """
    if rows.kind != model.kind:
        raise UserError("the adapter was made for another kind of task", got=rows.kind, expected=model.kind)
    if KINDS[rows.kind].answer == "value" and labels and tuple(labels) != model.labels:
        raise UserError(
            "the adapter was made for another scale", got=" to ".join(labels), expected=" to ".join(model.labels)
        )
    own = set(rows.by_label()) if KINDS[rows.kind].answer != "value" else set[str]()
    known = tuple(labels) if set(model.labels) <= set(labels) and set(model.labels) & own else model.labels
    unknown = sorted(own - set(known))
    if unknown or not len(rows):
        raise UserError(
            "the adapter was made for another label set" if unknown else f"no rows of {rows.domain} to score on",
            got=", ".join(unknown) or None,
            expected=", ".join(model.labels),
        )
    return truth(rows, known), widened(model.predict_proba(list(rows.texts)), model.labels, known), known


def task_of(
    model: Classifier, given: str | Path | Task | None, progress: Progress | None = None, wanted: Sequence[str] = ()
) -> Task:
    """The task that is named, or the shipped one that a model says it was made for: what a folder names leads to no file.

    Args:
        model: A saved one.
        given: A name, file or prepared task; None: the model's.
        progress: Told how far a download is.
        wanted: Domains that are asked for.

    Raises:
        UserError: None is named, and the model's is not shipped.
    """
    if isinstance(given, Task):
        return given
    if given is None and (known := model.about.get("task")) not in shipped_tasks():
        raise UserError(
            "the task of this adapter is not known",
            got=f"{known}, which is not shipped" if known else None,
            hint="name it: --task TASK, as of lowres evaluate",
        )
    return load_task(str(model.about["task"]) if given is None else given, wanted=tuple(wanted), progress=progress)
