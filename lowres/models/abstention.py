"""When a saved model should rather not answer: what it promises, on which labelled rows that rests, and why it may not."""

from __future__ import annotations

from dataclasses import dataclass

from lowres.errors import UserError
from lowres.scoring.operating import Operating, Steps, highest_precision, operating_point, refusal


@dataclass(frozen=True)
class Counted:
    """A model's answers by confidence on labelled rows, none of which it was trained on."""

    task: str
    domain: str
    part: str
    """Which rows of the domain, such as ``test``."""
    steps: Steps

    def __str__(self) -> str:
        return f"{self.steps.rows} labelled {self.part} rows of {self.domain} ({self.task})"


def operating(counted: Counted | None, precision: float) -> Operating:
    """From which confidence the model has to answer to keep a precision.

    Raises:
        UserError: No precision, nothing was counted, or the labels do not support it.
    """
    if not 0 < precision < 1:
        raise UserError("no precision to keep", got=precision, expected="above 0 and below 1, such as 0.95")
    if counted is None:
        raise UserError(
            "this adapter cannot say when to abstain",
            got="no counts of its right answers on labelled rows",
            hint="make it again with `lowres run` or `lowres fit`, or give rows: model.counted_on(texts, labels).save(folder)",
        )
    found = operating_point(counted.steps, precision)
    if found is None:
        highest = highest_precision(counted.steps)
        raise UserError(
            f"the labels of this adapter cannot support a precision of {precision:g}",
            got=f"{counted}: {refusal(counted.steps, precision)}",
            hint=f"the highest that they support is {highest:g}" if highest else "they support none from 0.5 on",
        )
    return found


def basis(counted: Counted, found: Operating, precision: float) -> str:
    """What a promise rests on, for people."""
    return (
        f"a precision of {precision:g} rests on {counted}: {found.coverage:.0%} of them have a"
        f" confidence of {found.threshold:.3f} or more, {100 * found.precision:.1f} % of those are right"
        f" ({100 * found.promised:.1f} % or more, with 95 % confidence); it holds for rows like them"
    )
