"""Follows the rows of every fit behind a cell, and names each that the cell may not see."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from lowres.data import splits
from lowres.data.hints import NAMES
from lowres.data.rows import UNLABELLED, Rows
from lowres.data.task import Task
from lowres.methods.catalogue import METHODS
from lowres.methods.cell import Cell
from lowres.training.fit import Fit, Part
from lowres.training.picks import PseudoLabels, Rules


def leaks(task: Task, cell: Cell, fit: Fit, members: Collection[str] = ()) -> list[str]:
    """What is wrong with any fit behind a cell: starts, ingredients, and fits that decide on rows, with the rows that
    they decide on; nothing where all is well. ``members``: the domains that a source is made of, if more than itself.
    """
    members = members or ([cell.source] if cell.source is not None else [])
    links = {link.content: link for link in fit.lineage()}
    faults = [
        f"a fit that is not followed decides for {cell}"
        for link in links.values()
        for part in link.parts
        if part.by is not None and part.by.asked is not None and part.by.asked.content not in links
    ]
    shown: set[str] = set()
    for link in links.values():
        for part in link.parts:
            faults += [
                f"{cell.method}, {cell.shots} shots: {fault}" for fault in _part(task, cell, members, link, part)
            ]
            if part.rows.domain == cell.target and set(part.rows.labels) & set(task.labels):
                shown |= set(part.rows.ids)
    most = (cell.shots or 0) * len(task.labels_in(cell.target))
    if "pool" not in METHODS[cell.method].uses and len(shown) > most and cell.target not in members:
        faults.append(f"{cell.method} sees {len(shown)} target labels in all its fits")
    return faults


def _part(task: Task, cell: Cell, members: Collection[str], link: Fit, part: Part) -> Iterator[str]:
    uses, rows = METHODS[cell.method].uses, part.rows
    ids, labels = set(rows.ids), set(rows.labels)
    for domain in task.domains.values():
        if ids & set(domain.test.ids):
            yield "test rows"
        if ids & set(domain.dev.ids):
            yield "dev rows"
    if rows.domain == NAMES:
        texts = {
            text
            for domain in task.domains.values()
            for one in (domain.train, domain.dev, domain.test)
            for text in one.texts
        }
        if "names" not in uses or texts & set(rows.texts) or ids != {f"{NAMES}/{label}" for label in task.labels}:
            yield "rows in place of names"
        return
    train = task.domains[rows.domain].train
    if not ids or not ids <= set(train.ids):
        yield "rows of no training part"
        return
    yield from _texts(train, rows)
    true = dict(zip(train.ids, train.labels, strict=True))
    if labels & set(task.labels) and any(true[row] != label for row, label in zip(rows.ids, rows.labels, strict=True)):
        yield "labels that are not the rows' own"
    if rows.domain == cell.target and cell.target not in members:
        yield from _target(task, cell, rows, uses)
    elif not uses & {"S", "others"}:
        if "pool" not in uses:
            yield "source rows that it does not declare"
    elif rows.domain not in members and "others" not in uses:
        yield "rows of a third domain"
    yield from _decided(task, link, part)


def _texts(train: Rows, rows: Rows) -> Iterator[str]:
    """Every text is that of its row, or some of its words in order."""
    texts = dict(zip(train.ids, train.texts, strict=True))
    for row, text in zip(rows.ids, rows.texts, strict=True):
        words = iter(texts[row].split())
        if not all(word in words for word in text.split()):
            yield f"a text that is not of row {row}"


def _target(task: Task, cell: Cell, rows: Rows, uses: frozenset[str]) -> Iterator[str]:
    """Labels only of the shots of this very draw; other rows without labels, or all under one name that is no label."""
    known = set(rows.labels) & set(task.labels)
    if known and "pool" not in uses:
        allowed = splits.shots(task.name, task.domains[cell.target].train, cell.shots or 0, cell.draw)
        if "T" not in uses or not set(rows.ids) <= set(allowed.ids):
            yield "target labels beyond its shots"
    if not known and ("U" not in uses or len(set(rows.labels)) > 1):
        yield "target rows that it does not declare"
    if known and UNLABELLED in rows.labels:
        yield "rows with and without labels in one part"


def _decided(task: Task, link: Fit, part: Part) -> Iterator[str]:
    """What decides keeps rows of its part; new labels follow from the answers, or from the texts, alone."""
    if part.by is None:
        return
    if isinstance(part.by, Rules):
        picked, _ = part.by.pick(part.rows)
        wanted = [_by_words(task, text) for text in part.rows.texts]
        if list(part.by.labels) != wanted:
            yield "rules that do not follow from the texts"
    else:
        rng = np.random.default_rng(0)
        chances = rng.dirichlet(np.ones(len(part.by.asked.labels)), len(part.rows)).astype(np.float32)
        picked, _ = part.by.pick(part.rows, chances)
        asked = part.by.asked.labels
        given = part.by.labels if isinstance(part.by, PseudoLabels) else asked
        among = [place for place, label in enumerate(asked) if label in given]
        said = dict(zip(part.rows.ids, (given[place] for place in chances[:, among].argmax(1)), strict=True))
        if part.rows.unlabelled and any(
            said[row] != label for row, label in zip(picked.ids, picked.labels, strict=True)
        ):
            yield "labels that no fit gave"
    if not set(picked.ids) <= set(part.rows.ids):
        yield "decided rows that were not asked about"


def _by_words(task: Task, text: str) -> str:
    """The label of most keywords among the words of a text, by a plain count."""
    words = set(text.split())
    counts = {label: len(words & set(task.hints.keywords[label])) for label in task.labels}
    most = [label for label, count in counts.items() if count == max(counts.values()) > 0]
    return most[0] if len(most) == 1 else ""
