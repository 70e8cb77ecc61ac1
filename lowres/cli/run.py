"""``lowres run``, ``plan`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowres.cli.flags import study_flags
from lowres.cli.talk import DownloadProgress, RunProgress, console, guarded, plain, put, say

if TYPE_CHECKING:
    from lowres.analysis.power import Power
    from lowres.export.compression import Compression
    from lowres.library import Study
    from lowres.results import StudyResult
    from lowres.study.plan import Estimate

FORMATS = ("table", "markdown", "json", "html", "latex", "csv")
SHOWING_EVIDENCE = ("table", "markdown", "html")


@study_flags
@guarded
def run(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    json: Annotated[
        bool, typer.Option("--json", help="Print summary.json to stdout and nothing else.", show_default=False)
    ] = False,
) -> None:
    """Measure how far the score falls from each source to each target, and what wins it back.

    Every fit is kept in the store; what is there is never trained again, and an interrupted run goes on.
    """
    study = _study(given, file, sets)
    if study.team.rank:  # the first process of a team speaks for all
        study.run()
        return
    _announce(study)
    with RunProgress(len(study.plan.distinct)) as progress:
        result = study.run(progress)
    _show(result, json)
    for content, error in result.outcome.failed.items():
        say(f"failed fit {content[:12]}: {error}")
    if result.outcome.failed:
        raise typer.Exit(1)


@study_flags
@guarded
def plan(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.", show_default=False)] = False,
) -> None:
    """Say what a study would do: cells, distinct fits, test rows, seconds and disk. Trains nothing."""
    from dataclasses import asdict
    from json import dumps

    from lowres.report.sentences import too_long

    study = _study(given, file, sets)
    stored = study.stored()
    expected, power = study.estimate(stored), study.power()
    recipe, truncated = study.config.recipe, study.truncated(quick=True)
    facts = {
        "task": study.task.name,
        "backbone": study.config.backbone,
        "sources": list(study.plan.sources),
        "targets": list(study.plan.targets),
        "protocol": study.config.protocol,
        "methods": list(study.plan.methods),
        "cells": len(study.plan.cells),
        "distinct_fits": len(study.plan.distinct),
        "stored_fits": len(stored),
        "row_cap": study.plan.row_cap,
        "test_rows": {name: len(rows) for name, rows in study.plan.test_rows.items()},
        "max_length": recipe.max_length,
        "truncation": recipe.truncation,
        "truncated": {name: round(share, 3) for name, share in truncated.items()},
        "seconds": round(expected.seconds),
        "megabytes": round(expected.megabytes, 1),
        "device": study.machine.device,
        "precision": study.machine.precision,
        "power": [asdict(one) for one in power],
        "out": str(study.folder),
    }
    if json:
        put(dumps(facts, indent=2, ensure_ascii=False))
        return
    for line in (
        _title(study),
        _plan_line(study, stored, expected),
        f"methods: {', '.join(study.plan.methods)}",
        too_long(truncated, recipe.max_length, recipe.truncation),
        *_power_lines(power),
        f"results would go to {study.folder}",
    ):
        put(plain(line))


@guarded
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder, or that of a compressed model.")],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    texts: Annotated[
        bool, typer.Option(help="html: quote texts of the data; without them a report can be passed on.")
    ] = True,
    reach: Annotated[
        float | None,
        typer.Option(
            help="table, markdown, html: also say how many labels a class take each target to this score, 0 … 1."
        ),
    ] = None,
) -> None:
    """Show the results of a finished run again, on stdout."""
    from lowres.analysis.summary import Summary
    from lowres.errors import UserError
    from lowres.report import csv, html, latex, markdown, terminal
    from lowres.report.folder import read_compression, read_evidence, read_records, read_summary

    _check_flags(format, texts, reach)
    compression = read_compression(folder)
    if compression is not None:
        if reach is not None or not texts:
            from lowres.errors import UserError

            given = "--reach" if reach is not None else "--no-texts"
            raise UserError(f"{given} is for reports of a study", got="a compressed model")
        show_compression(compression, format)
        return
    summary = read_summary(folder)
    if format not in SHOWING_EVIDENCE:
        renderers = {"json": Summary.to_json, "latex": latex.render, "csv": csv.render}
        put(renderers[format](summary))
        return
    evidence = read_evidence(folder)
    if reach is not None:
        from lowres.analysis.reach import AGAIN, with_asked

        if evidence is None:
            raise UserError(f"{folder} holds no learning curves", got="no evidence.json", hint=AGAIN)
        evidence = with_asked(evidence, summary, reach)
    if format == "table":
        terminal.show(summary, console(), evidence)
    elif format == "markdown":
        put(markdown.render(summary, evidence))
    else:
        shown = evidence.without_texts() if evidence is not None and not texts else evidence
        put(html.render(summary, shown, read_records(folder)))


def show_compression(found: Compression, format: str) -> None:
    """What became of a compressed model, on stdout.

    Raises:
        UserError: A format in which it is not shown.
    """
    from lowres.errors import UserError
    from lowres.report import compressed, terminal

    if format == "table":
        put(compressed.heading(found))
        put("")
        for table in compressed.tables(found):
            put(table.title)
            terminal.put_table(table, console())
            put("")
        put(compressed.verdict(found))
        for line in found.warnings:
            say(f"note: {line}")
        return
    renderers = {
        "json": type(found).to_json,
        "markdown": compressed.render_markdown,
        "html": compressed.render_html,
    }
    if format not in renderers:
        raise UserError(f"a compression is not shown as {format}", expected=f"table, {', '.join(renderers)}")
    put(renderers[format](found))


def _check_flags(format: str, texts: bool, reach: float | None) -> None:
    """Raises: UserError: Flags of ``report`` that do not go together."""
    from lowres.errors import UserError, unknown_name

    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if format != "html" and not texts:
        raise UserError(
            "--no-texts is for --format html", got=f"--format {format}", hint="no other format quotes texts"
        )
    if reach is not None and format not in SHOWING_EVIDENCE:
        raise UserError(
            "--reach is not for this format", got=f"--format {format}", expected=" or ".join(SHOWING_EVIDENCE)
        )


def _study(given: dict[str, Any], file: str | None, sets: list[str]) -> Study:
    from lowres.library import Study
    from lowres.study.config import build_config

    study = Study(config=build_config(given, file=file, sets=sets), downloads=DownloadProgress())
    for line in study.task.notes:
        say(line)
    study.plan  # noqa: B018 - faults of the request come before a backbone is fetched
    return study


def _announce(study: Study) -> None:
    say(_title(study))
    stored = study.stored()
    say(_plan_line(study, stored, study.estimate(stored)))


def _power_lines(power: list[Power]) -> list[str]:
    """What the study could show, a line a budget."""
    if not power:
        return ["what it could show: not known before the store has two draws of it"]
    lines = []
    for one in power:
        over = f", {100 * one.over_all:.1f} over all pairs" if one.over_all is not None else ""
        more = (
            f"{one.draws_to_halve} draws would halve that"
            if one.draws_to_halve
            else "more draws alone cannot halve that, the test rows are too few"
        )
        lines.append(
            f"what it could show at {one.shots} labels a class ({one.method} against target-only, 80 % power):"
            f" {100 * one.on_a_pair:.1f} points on a pair{over}; {more} (from {one.draws} draws of {one.pairs} pairs)"
        )
    return lines


def _draws(count: int) -> str:
    return "1 draw" if count == 1 else f"{count} draws"


def _title(study: Study) -> str:
    from lowres.study.config import StudyConfig
    from lowres.study.protocol import PAIRS

    task, backbone = study.task, study.backbone
    rows = ", ".join(f"{name} {len(rows)}" for name, rows in study.plan.test_rows.items())
    size, own = f"{backbone.parameters / 1e6:.1f}M", study.config.adapter
    size += f" · {own}" * (own != StudyConfig.adapter)
    return (
        f"{task.name} v{task.version} · {backbone.name} {size} · {task.metric} · {_draws(study.config.seeds)} · test rows: {rows}"
        f" · row cap {study.plan.row_cap}" + (f" · {study.config.protocol}" if study.config.protocol != PAIRS else "")
    )


def _plan_line(study: Study, stored: set[str], expected: Estimate) -> str:
    from lowres.study.plan import minutes

    machine = study.machine
    return (
        f"plan: {len(study.plan.cells)} cells, {len(study.plan.distinct)} distinct fits, {len(stored)} already in"
        f" {study.config.store} · about {minutes(expected.seconds)} on {machine.device} ({machine.precision})"
        f" · {expected.megabytes:.0f} MB"
    )


def _show(result: StudyResult, json: bool) -> None:
    if json:
        put(result.summary.to_json())
        return
    from lowres.report import terminal
    from lowres.report.sentences import behind

    screen = console()
    terminal.show(result.summary, screen, result.evidence)
    best = list(result.best_folders().items())
    ready = ""
    if best:
        folder, (target, shots) = best[-1]
        ready = f" · best/{folder.name} ({result.recommended_method(target, shots)}) is ready for `lowres predict`"
    fallen = behind(result.falling_behind())
    if fallen:
        put(fallen)
    put(f"{result.folder}/report.html{ready}")
