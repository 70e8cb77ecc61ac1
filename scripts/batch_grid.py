"""Runs many studies from one file: tasks × backbones × variants, one after another, and one table over all of them.

    python scripts/batch_grid.py grid.yaml --plan            # what it would take; trains nothing
    python scripts/batch_grid.py grid.yaml                   # runs/grid/: a folder a study, grid.csv, grid.md, grid.json
    python scripts/batch_grid.py grid.yaml --part 2/3        # every third study, for the second of three machines

    # grid.yaml: names and values are those of the flags of `lowres run`
    defaults: {shots: [0, 8], seeds: 5, source-rows: 500}
    tasks: [vader-sentiment, {task: reviews.csv, source: shop, group-column: review}]
    backbones: [minilm, {backbone: owner/model, revision: main}]
    variants: {fast: {preset: fast}, wide: {preset: thorough, methods: [joint, contrastive]}}
    overrides: [{when: {task: reviews.csv, variant: wide}, set: {seeds: 10}}]

What is said of a study in several places: the task's entry wins over the defaults, the backbone's over the task's, the
variant's over both, overrides over all, a later one over an earlier. Every fit is kept in the store: the same command
again trains nothing. A study that fails does not stop the others: it is named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lowres
from lowres.analysis.summary import Estimate, Score
from lowres.cli.talk import plain, put, say
from lowres.errors import LowresError, UserError, unknown_name
from lowres.report.csv import csv_table
from lowres.report.markdown import markdown_table
from lowres.report.tables import MISSING, Table, counted, estimate, share, transfer_of
from lowres.results import StudyResult, write_text
from lowres.settings import parse
from lowres.study.config import StudyConfig, build_config, read_config, safe_stem
from lowres.study.plan import minutes

HEADER = ("study", "pair", "source drop", "shots", "highest score", "score", "recovery", "s a cell")
NOTE = "The method with the highest mean on the test rows, which flatters it; the report of a study has the verdicts."
AXES = ("task", "backbone", "variant")
Row = dict[str, Any]


@dataclass(frozen=True)
class Override:
    when: dict[str, str]
    set: dict[str, Any]


@dataclass(frozen=True)
class Grid:
    tasks: tuple[str | dict[str, Any], ...]
    backbones: tuple[str | dict[str, Any], ...] = (StudyConfig.backbone,)
    variants: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})
    defaults: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[dict[str, Any], ...] = ()


def studies(file: Path, out: Path) -> dict[str, tuple[dict[str, str], StudyConfig]]:
    """Coordinates and config of each study by its name; all faults of the file that need no data are found here."""
    grid = parse(Grid, read_config(file), str(file))
    overrides = [parse(Override, one, f"{file}, overrides") for one in grid.overrides]
    for one in overrides:
        for axis in set(one.when) - set(AXES):
            raise unknown_name("axis of the grid", axis, AXES)
    tasks = [_entry("task", one) for one in grid.tasks]
    backbones = [_entry("backbone", one) for one in grid.backbones]
    for axis, given in (
        *(("task", one) for one in tasks),
        *(("backbone", one) for one in backbones),
        *(("", one) for one in (grid.defaults, *grid.variants.values(), *(one.set for one in overrides))),
    ):
        for name in set(given) & {"task", "backbone", "out"} - {axis}:
            raise UserError(
                f"{file}: {name} cannot be set here", hint="tasks: and backbones: name them, --out the folder"
            )
    found: dict[str, tuple[dict[str, str], StudyConfig]] = {}
    met: set[int] = set()
    for task, backbone, variant in itertools.product(tasks, backbones, grid.variants):
        place = dict(zip(AXES, (task["task"], backbone["backbone"], variant), strict=True))
        parts = (Path(place["task"]).stem, Path(place["backbone"]).name, variant)
        name = "-".join(safe_stem(part) for part in parts if part)
        if name in found:
            raise UserError(f"{file}: two studies are called {name}", expected="other tasks, backbones or variants")
        met |= {number for number, one in enumerate(overrides) if one.when.items() <= place.items()}
        late = [one.set for one in overrides if one.when.items() <= place.items()]
        merged: dict[str, Any] = {"out": str(out / name)}
        for values in (grid.defaults, task, backbone, grid.variants[variant], *late):
            merged |= _flat(values)
        try:
            found[name] = place, build_config(merged)
        except UserError as error:
            raise UserError(f"{file}: {name}: {error}") from None
    for number, one in enumerate(overrides):
        if number not in met:
            raise UserError(f"{file}: an override meets no study", got=one.when)
    if not found:
        raise UserError(f"{file}: no study", expected="at least one task, one backbone and one variant")
    return found


def _entry(kind: str, given: str | dict[str, Any]) -> dict[str, Any]:
    entry = given if isinstance(given, dict) else {kind: given}
    if not isinstance(entry.get(kind), str):
        raise UserError(f"an entry of {kind}s: names no {kind}", got=", ".join(map(str, entry)))
    return entry


def _flat(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by path, such as ``recipe.batch``, so that one of them can be given without the others."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        path = f"{prefix}{name}".replace("-", "_")
        flat |= _flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def rows(place: Mapping[str, str], result: StudyResult) -> Iterator[tuple[Row, tuple[str, ...]]]:
    """A row for programs and one for people of each pair and budget: the drop, and the method with the highest mean."""
    summary = result.summary
    seconds = {(cost.method, cost.shots): cost.seconds for cost in result.evidence.costs}
    for one, shots in itertools.product(summary.shift, summary.study.shots):
        able = [
            score
            for score in summary.scores
            if score.source in (one.source, None) and (score.target, score.shots) == (one.target, shots)
        ]
        best = max(able, key=lambda score: score.mean, default=None)
        method = best.method if best else None
        won = transfer_of(summary, method, one.source, one.target, shots)
        recovery, spent = won.recovery if won else None, seconds.get((str(method), shots))
        yield (
            {
                **place,
                "source": one.source,
                "target": one.target,
                "metric": one.metric,
                **_spread("drop", one.source_drop),
                "shots": shots,
                "best": method,
                **_spread("score", best),
                **_spread("recovery", recovery),
                "seconds": spent,
            },
            (
                " · ".join(filter(None, place.values())),
                f"{one.source} → {one.target}",
                estimate(one.source_drop),
                str(shots),
                method or MISSING,
                estimate(best),
                share(recovery),
                MISSING if spent is None else counted(spent, 1),
            ),
        )


def _spread(name: str, found: Estimate | Score | None) -> dict[str, float | None]:
    values = (found.mean, found.low, found.high) if found else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def write_tables(out: Path, found: list[tuple[Row, tuple[str, ...]]], told: Mapping[str, Row]) -> str:
    """Writes the table in three forms; gives the Markdown."""
    every = [row for row, _ in found]
    write_text(
        out / "grid.csv", csv_table(list(every[0]) if every else ["task"], (list(row.values()) for row in every))
    )
    write_text(out / "grid.json", json.dumps({"studies": told, "rows": every}, indent=1, ensure_ascii=False) + "\n")
    table = markdown_table(Table("Grid", HEADER, tuple(cells for _, cells in found))) + "\n"
    write_text(out / "grid.md", f"{table}\n{NOTE}\n")
    return table


def plan(name: str, study: lowres.Study) -> set[str]:
    """Says what a study would do; gives the keys of its fits."""
    stored, expected = study.stored(), study.estimate()
    about = f"{len(study.plan.distinct)} distinct fits, {len(stored)} in {study.config.store}"
    put(plain(f"{name}: {len(study.plan.cells)} cells, {about}, about {minutes(expected.seconds)}"))
    return {fit.key(study.environment) for fit in study.plan.distinct.values()}


def run(options: argparse.Namespace) -> int:
    """Plans or runs each study of this part; the exit code."""
    out = options.out or Path("runs") / safe_stem(options.grid.stem)
    every = list(studies(options.grid, out).items())
    number, parts = _part(options.part, len(every))
    keys: set[str] = set()
    found: list[tuple[Row, tuple[str, ...]]] = []
    told: dict[str, Row] = {}
    table = ""
    for name, (place, config) in every[number - 1 :: parts]:
        told[name] = {"folder": config.out}
        try:
            study = lowres.Study(config=config)
            if options.plan:
                keys |= plan(name, study)
                continue
            say(f"{name}: {len(study.plan.cells)} cells, {len(study.plan.distinct)} distinct fits")
            result = study.run()
            told[name] |= {**result.summary.fits.model_dump(), "seconds": result.summary.seconds.total}
            for error in result.outcome.failed.values():
                told[name]["error"] = f"{len(result.outcome.failed)} fits failed: {error}"
            found += rows(place, result)
        except Exception as error:  # the failure of one study is its result
            if os.environ.get("LOWRES_DEBUG"):
                raise
            told[name]["error"] = str(error) if isinstance(error, LowresError) else f"{type(error).__name__}: {error}"
        if "error" in told[name]:
            say(f"{name} failed: {told[name]['error']}")
        if not options.plan:
            table = write_tables(out, found, told)
    if options.plan:
        put(f"in all: {len(keys)} distinct fits")
    else:
        put(f"{table}{out}/grid.md, grid.csv, grid.json")
    failed = [name for name, about in told.items() if "error" in about]
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _part(text: str, most: int) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= most:
        raise UserError(
            f"--part {text}", expected=f"which part of how many, such as 1/2, at most one of {most} studies each"
        )
    return int(match[1]), int(match[2])


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path, help="YAML file of the grid")
    parser.add_argument("--out", type=Path, help="folder of the results; default: runs/ and the name of the grid")
    parser.add_argument("--plan", action="store_true", help="say what it would take; train nothing")
    parser.add_argument("--part", default="1/1", help="which part of the studies, such as 2/3; default: all")
    try:
        return run(parser.parse_args())
    except LowresError as error:
        say(f"error: {error}")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
