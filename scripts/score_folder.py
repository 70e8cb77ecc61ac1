"""Scores every saved adapter below a folder on domains of a task, the one with the best worst domain first.

    python scripts/score_folder.py runs vader-sentiment --on amazon,movie
    python scripts/score_folder.py runs labelled.csv --on app --csv scores.csv --json scores.json

TASK is a shipped task, a task file or a table; a table whose ``split`` column says test everywhere is scored whole. Intervals
are 95 %, over the test groups of one model each: they say nothing of other draws. Each backbone is loaded once. What is no
adapter is named and left out; one that cannot be read or scored is named, does not stop the others, and makes the exit code 1.

The last column says on how many of the rows asked an adapter was trained, where that can be known: from the study.yaml of
its run folder, whose table has to be where it was, or for a shipped task, whose parts never change. A ``?`` is no assurance.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import lowres
from lowres.analysis.measure import estimate_of
from lowres.analysis.summary import Estimate
from lowres.cli.talk import put, say
from lowres.data.leaks import normalise
from lowres.data.rows import Rows
from lowres.data.task import Task, load_task, shipped_tasks
from lowres.errors import LowresError, UserError, unknown_name
from lowres.library import answers
from lowres.methods.cell import Cell
from lowres.models.backbone import Backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.report.csv import csv_table
from lowres.report.markdown import markdown_table
from lowres.report.tables import Table, estimate
from lowres.results import write_text
from lowres.scoring.metrics import find_metric
from lowres.stats.variance import block, group_sums, interval
from lowres.study.config import build_config
from lowres.study.plan import Plan

SPLITS = ("test", "dev")


@dataclass(frozen=True)
class Loaded(Backbone):
    """A backbone that is read from disk once; every adapter gets a copy of it."""

    def load(self, device: str = "cpu") -> nn.Module:
        if device not in self._models:
            self._models[device] = super().load(device)
        return copy.deepcopy(self._models[device])

    @cached_property
    def _models(self) -> dict[str, nn.Module]:
        return {}


@dataclass(frozen=True)
class Scored:
    """An adapter's scores by domain, and on how many rows of each it was trained; None: not known."""

    folder: Path
    model: Classifier
    scores: Mapping[str, Estimate]
    seen: Mapping[str, int | None]

    @property
    def worst(self) -> str:
        return min(self.scores, key=lambda name: self.scores[name].mean)

    def cells(self, top: Path, domains: Mapping[str, Rows]) -> tuple[str, ...]:
        """What the table says."""
        told = [f"{seen} of {len(domains[name])} {name}" for name, seen in self.seen.items() if seen]
        known = all(seen is not None for seen in self.seen.values())
        marked = ", ".join(told) or ("0" if known else "?")
        each = (estimate(one) for one in self.scores.values())
        return os.path.relpath(self.folder, top), self.model.backbone.name, self.worst, *each, marked


@dataclass
class Shelf:
    """What adapters share: backbones by their weights, and plans by the study that they are of."""

    task: Task
    given: str | None
    device: str
    backbones: dict[str, Loaded] = field(default_factory=dict)
    plans: dict[Path, Plan | None] = field(default_factory=dict)

    def load(self, folder: Path) -> Classifier:
        """An adapter on its backbone."""
        try:
            weights = json.loads((folder / "lowres.json").read_bytes())["backbone"]["weights_sha256"]
            known = self.backbones.get(weights)
        except (OSError, ValueError, KeyError, TypeError):
            known = None  # damaged, which is said in full below
        model = load_classifier(folder, backbone=known or self.given, device=self.device)
        if known is None:
            found = {item.name: getattr(model.backbone, item.name) for item in fields(Backbone)}
            self.backbones[model.backbone.weights_sha256] = Loaded(**found)
            return self.load(folder)
        return model

    def trained_on(self, folder: Path, about: Mapping[str, Any]) -> set[str] | None:
        """Texts that an adapter was trained on, normalised; of a shipped task none of any other part; None: not known."""
        plan = self._plan(folder.parent.parent / "study.yaml") if folder.parent.name == "best" else None
        try:
            fit = plan.fits.get(Cell(**{item.name: about[item.name] for item in fields(Cell)})) if plan else None
        except (KeyError, TypeError):
            fit = None
        if fit is not None:
            parts = (part for one in fit.lineage() for part in one.parts if part.share)
            return {normalise(text) for part in parts for text in part.rows.texts}
        shipped = about.get("task") == self.task.name and self.task.name in shipped_tasks()
        return set() if shipped else None

    def _plan(self, file: Path) -> Plan | None:
        if file not in self.plans:
            try:
                self.plans[file] = lowres.Study(config=build_config({}, file=file)).plan
            except LowresError:
                self.plans[file] = None  # another version's, or a table that is no longer there
        return self.plans[file]


def find_adapters(top: Path) -> tuple[list[Path], list[Path]]:
    """Adapter folders, and the topmost folders that hold none."""
    every: list[Path] = []
    found: list[Path] = []
    for place, inner, files in os.walk(top):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        every.append(Path(place))
        if "lowres.json" in files:
            found.append(Path(place))
            inner.clear()
    above = {parent for one in found for parent in one.parents}
    return found, [one for one in every if one not in above and one not in found and one.parent in above]


def score(shelf: Shelf, folder: Path, domains: Mapping[str, Rows]) -> Scored:
    """One adapter on every domain."""
    model = shelf.load(folder)
    texts = shelf.trained_on(folder, model.about)
    scores, seen = dict[str, Estimate](), dict[str, int | None]()
    for name, rows in domains.items():
        _, groups = np.unique(rows.unit_groups, return_inverse=True)
        targets, said, known = answers(model, rows, shelf.task.labels)
        metric = find_metric(shelf.task.metric, rows.kind, known)
        sums = group_sums(metric.statistics(targets, said), groups)
        scores[name] = estimate_of(interval([block(sums[None], metric.value)], bounds=metric.bounds))
        seen[name] = None if texts is None else sum(normalise(text) in texts for text in rows.texts)
    return Scored(folder, model, scores, seen)


def write_files(found: Sequence[Scored], skipped: Mapping[str, str], options: argparse.Namespace, metric: str) -> None:
    """The results for programs, one entry a domain of an adapter."""
    entries = [
        {
            "adapter": str(one.folder), "backbone": one.model.backbone.name,
            **{name: one.model.about.get(name) for name in ("method", "source", "target", "shots", "draw")},
            "domain": name, "worst": name == one.worst, "metric": metric, **score.model_dump(), "trained_on": one.seen[name],
        }
        for one in found
        for name, score in one.scores.items()
    ]  # fmt: skip
    if options.json:
        text = json.dumps({"scores": entries, "not_scored": skipped}, indent=1, ensure_ascii=False)
        write_text(options.json, text + "\n")
    if options.csv:
        header = list(entries[0]) if entries else ["adapter"]
        write_text(options.csv, csv_table(header, (list(entry.values()) for entry in entries)))


def run(options: argparse.Namespace) -> int:
    """Scores what is there; the exit code."""
    if options.split not in SPLITS:
        raise unknown_name("split", options.split, SPLITS)
    columns = {
        name: getattr(options, name) for name in ("text_column", "label_column", "domain_column", "group_column")
    }
    names = [name for given in options.on for name in given.split(",")]
    task = load_task(options.task, wanted=names, **columns)
    domains: dict[str, Rows] = {name: getattr(task.domain(name), options.split) for name in names}
    for name, rows in domains.items():
        if len(set(rows.groups)) < 2:
            raise UserError(f"{name}: {len(rows)} {options.split} rows of one group", expected="two groups at least")
    folders, others = find_adapters(options.folder)
    if not folders:
        raise UserError(
            f"{options.folder} holds no adapter", got="no lowres.json in it or below", hint="a run leaves some in best/"
        )
    for other in others:
        say(f"no adapter: {other}")
    shelf, found, failed = Shelf(task, options.backbone, options.device), list[Scored](), dict[str, str]()
    for folder in folders:
        try:
            found.append(score(shelf, folder, domains))
        except Exception as error:  # what is wrong with one adapter does not stop the others
            if os.environ.get("LOWRES_DEBUG"):
                raise
            failed[str(folder)] = str(error) if isinstance(error, LowresError) else f"{type(error).__name__}: {error}"
            say(f"not scored: {folder}: {error}")
    found.sort(key=lambda one: -one.scores[one.worst].mean)
    rows_ = tuple(one.cells(options.folder, domains) for one in found)
    header = ("adapter", "backbone", "worst", *(f"{task.metric} on {name}" for name in domains), "trained on")
    put(markdown_table(Table("Scores", header, rows_)))
    write_files(found, failed, options, task.metric)
    return 1 if failed else 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="adapters lie in it, at any depth")
    parser.add_argument("task", help="a shipped task, a task file or a table")
    parser.add_argument("--on", action="append", required=True, help="domains, separated by commas; may be repeated")
    parser.add_argument("--split", default="test", help="test (default) or dev")
    parser.add_argument("--json", type=Path, help="also write the scores as JSON")
    parser.add_argument("--csv", type=Path, help="also write the scores as CSV")
    parser.add_argument("--backbone", help="encoder of the adapters, if it is not where they say")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    for name in ("text", "label", "domain", "group"):
        parser.add_argument(f"--{name}-column", help="column of a table; guessed if left out")
    try:
        return run(parser.parse_args())
    except LowresError as error:
        say(f"error: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
