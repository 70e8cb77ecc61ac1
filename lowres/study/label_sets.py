"""Domains with other labels than the task as a whole: who may take which part, and what has to be said of a pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.study.protocol import Origins


def label_faults(task: Task, name: str) -> Iterator[str]:
    """Why nothing can be learnt of a domain that has training rows: none of a label that is its own, or one label alone."""
    own, train = task.labels_in(name), task.domains[name].train
    missing = sorted(set(own) - set(train.labels))
    if missing:
        yield f"{name}: no training rows of class {', '.join(missing)}"
    elif len(own) < 2:
        yield f"{name}: rows of class {own[0]} alone, two classes are needed"


def new_labels(task: Task, members: Iterable[str], target: str) -> tuple[str, ...]:
    """Labels of the target that no domain of a source has."""
    known = {label for name in members for label in task.labels_in(name)}
    return tuple(label for label in task.labels_in(target) if label not in known)


def check_common(task: Task, origins: Origins, pairs: Iterable[tuple[str, str]], shots: bool) -> None:
    """Refuses pairs without a common label, unless target rows are labelled.

    Raises:
        UserError: Such a pair, and 0 shots alone.
    """
    apart = [
        f"{source} and {target}"
        for source, target in pairs
        if new_labels(task, origins.members(source), target) == task.labels_in(target)
    ]
    if apart and not shots:
        raise UserError(
            f"domains without a common label: {'; '.join(apart[:5])}",
            got="0 shots: every answer would be wrong",
            hint="choose other domains with --source and --target, or ask for --shots of the target",
        )


def label_warnings(task: Task, origins: Origins, test_rows: Mapping[str, Rows]) -> list[str]:
    """One sentence for every target that has labels its sources have not, sources with the same gap together."""
    found = []
    for target, own in origins.of.items():
        gaps: dict[tuple[str, ...], list[str]] = {}
        for source in own:
            gaps.setdefault(new_labels(task, origins.members(source), target), []).append(source)
        for labels, sources in gaps.items():
            pairs = f"{', '.join(sources)} → {target}"
            if labels == task.labels_in(target):
                found.append(f"{pairs}: no class in common, so source-only is wrong on every row by construction")
            elif labels:
                rows = test_rows[target]
                share = sum(label in labels for label in rows.labels) / len(rows)
                found.append(
                    f"{pairs}: source-only has never seen class {', '.join(labels)}, {share:.0%} of the test rows, and is"
                    " wrong there by construction: that part of the drop is no shift of texts"
                )
    return found
