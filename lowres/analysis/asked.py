"""What a saved model says of labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lowres.data.rows import Rows
from lowres.errors import UserError
from lowres.kinds import KINDS
from lowres.models.classifier import Classifier
from lowres.scoring.metrics import all_metrics, widened
from lowres.study.runner import truth


def score(model: Classifier, rows: Rows, labels: Sequence[str] = ()) -> dict[str, object]:
    """Every metric of a saved model on labelled rows.

    Args:
        model: Made for some of the labels.
        rows: What it is scored on; a row whose label it has not seen counts as wrong.
        labels: All labels of a task whose domains differ in them; none: the model has to know every label.

    Raises:
        UserError: As of ``answers``.
    """
    targets, said, known = answers(model, rows, labels)
    return all_metrics(targets, said, known, rows.kind)


def answers(
    model: Classifier, rows: Rows, labels: Sequence[str] = ()
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], tuple[str, ...]]:
    """What labelled rows are, as a ``Metric`` takes it, a saved model's answers on them [units, outputs], and the labels of both.

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
