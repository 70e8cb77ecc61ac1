"""Screens the methods on dev rows and measures them on test rows; makes the tables of docs/methods-measured.md.

    python scripts/measure_methods.py run vader-sentiment --pairs movie:amazon,amazon:tweets,nyt:movie --part dev \
        --shots 0,8,32 --seeds 3 --out docs/data/methods-dev.json
    python scripts/measure_methods.py run vader-sentiment --pairs … --part test --methods … --seeds 10 --out docs/data/methods-test.json
    python scripts/measure_methods.py table docs/data/methods-dev.json docs/data/methods-test.json --write docs/methods-measured.md

``--part dev`` tests every fit on dev rows in place of test rows: no test row is read. Fits are kept in ``--store``, so that
a broken run goes on, and a run with more methods trains only what is new. A result file holds one entry a method and budget
over the pairs named (score, gain, recovery, net transfer and their 95 % intervals, the paired verdict against the
reference of the budget, seconds a cell), and the config that made it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lowres
from lowres.analysis.costs import Bills, costs
from lowres.analysis.measure import Scores, reference, summarise
from lowres.data.task import Task
from lowres.methods.catalogue import METHODS
from lowres.results import write_text
from lowres.study.plan import Plan
from lowres.study.provenance import provenance
from lowres.study.runner import run_plan
from lowres.training.recipe import Recipe

BEGIN, END = "<!-- {} begin -->", "<!-- {} end -->"


def on_dev(task: Task) -> Task:
    """The task with its dev rows where the test rows were."""
    domains = {name: replace(domain, test=domain.dev) for name, domain in task.domains.items()}
    return replace(task, domains=domains)


def chosen(plan: Plan, pairs: tuple[tuple[str, str], ...]) -> Plan:
    """The cells of these pairs, and those of their sources and targets alone."""
    fits = {
        cell: fit
        for cell, fit in plan.fits.items()
        if (cell.source is None and any(cell.target == target for _, target in pairs))
        or (cell.source, cell.target) in pairs
        or (cell.source == cell.target and any(cell.source == source for source, _ in pairs))
    }
    of = {
        target: tuple(source for source in sources if (source, target) in pairs)
        for target, sources in plan.origins.of.items()
    }
    return replace(plan, origins=replace(plan.origins, of=of), fits=fits)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains what is missing and sums up."""
    pairs = tuple((source, target) for source, _, target in (pair.partition(":") for pair in options.pairs.split(",")))
    study = lowres.Study(
        task=options.task,
        targets=dict.fromkeys(target for _, target in pairs),
        shots=[int(number) for number in options.shots.split(",")],
        seeds=options.seeds,
        methods=options.methods.split(",") if options.methods else list(METHODS),
        preset=options.preset,
        store=options.store,
        source_rows=options.source_rows,
        limit=options.limit,
        backbone=options.backbone,
        adapter=options.adapter,
        recipe={"max_length": options.max_length},
    )
    if options.part == "dev":
        study.__dict__["task"] = on_dev(study.task)
    plan = chosen(study.plan, pairs)
    origin = provenance(study.machine.device, study.machine.precision)
    outcome = run_plan(plan, study.engine, study.environment, study.store, origin)
    scores = Scores(outcome)
    summary = json.loads(summarise(scores, study.backbone.name).to_json())
    spent = {(cost.method, cost.shots): cost for cost in costs(scores, Bills(scores, study.backbone, study.store))}
    whole = pairs[0][0] if len(pairs) == 1 else None
    verdicts = {(one["method"], one["shots"]): one for one in summary["verdicts"] if one["source"] in (whole, None)}
    rows = []
    for one in summary["overall"]:
        place = one["method"], one["shots"]
        cost = spent.get(place)
        rows.append({**one, "seconds": cost and round(cost.seconds, 2), "verdict": verdicts.get(place)})
    return {
        "task": options.task,
        "part": options.part,
        "pairs": [list(pair) for pair in pairs],
        "config": {
            name: getattr(options, name)
            for name in ("shots", "seeds", "preset", "source_rows", "limit", "backbone", "adapter", "max_length")
        },
        "metric": summary["study"]["metric"],
        "row_cap": plan.row_cap,
        "failed": outcome.failed,
        "checks": [line for line in outcome.warnings if "wanted" in line],
        "rows": rows,
        "transfer": summary["transfer"],
        "shift": summary["shift"],
        "scores": summary["scores"],
    }


def tables(found: dict[str, Any]) -> str:
    """One table a budget, the best score first."""
    lines = [_about(found)]
    for budget in sorted({row["shots"] for row in found["rows"]}):
        rows = sorted((row for row in found["rows"] if row["shots"] == budget), key=lambda row: -row["score"]["mean"])
        lines += ["", f"**{budget} shots**", ""]
        lines += [
            "| method | score | gain | recovery | net transfer | negative transfer | against the reference | s a cell |",
            "| :-- | --: | --: | --: | --: | --: | :-- | --: |",
        ]
        for row in rows:
            verdict = row["verdict"]
            said = "reference" if row["method"] == reference(budget) else "–"
            if verdict is not None:
                said = f"{_estimate(verdict['difference'], True)} {verdict['verdict']}"
            rate = row["negative_transfer_rate"]
            cells = [
                f"`{row['method']}`",
                _estimate(row["score"]),
                _estimate(row["gain"], True),
                _estimate(row["recovery"]),
                _estimate(row["net_transfer"], True),
                "–" if rate is None else f"{rate:.0%}",
                said,
                "–" if row["seconds"] is None else f"{row['seconds']:.1f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def adapters_table(found: list[dict[str, Any]]) -> str:
    """One line an adapter: what each method scores with it at the largest budget, and its seconds a cell."""
    most = max(row["shots"] for one in found for row in one["rows"])
    methods = [row["method"] for row in found[0]["rows"] if row["shots"] in (0, most)]
    lines = [
        "| adapter | " + " | ".join(f"`{method}`" for method in methods) + " | s a cell |",
        "| :-- |" + " --: |" * (len(methods) + 1),
    ]
    for one in found:
        rows = {row["method"]: row for row in one["rows"] if row["shots"] in (0, most)}
        seconds = sum(rows[method]["seconds"] or 0.0 for method in methods) / len(methods)
        scores = " | ".join(_estimate(rows[method]["score"]) for method in methods)
        lines.append(f"| `{one['config']['adapter']}` | {scores} | {seconds:.1f} |")
    return f"{_about(found[0], f'{most} shots')}\n\n" + "\n".join(lines)


def _about(found: dict[str, Any], more: str = "") -> str:
    """On what it was measured."""
    config = found["config"]
    pairs = ", ".join(f"{source} → {target}" for source, target in found["pairs"])
    facts = [
        f"{found['part']} rows" + (f", at most {config['limit']} rows a domain" if config["limit"] else ""),
        *([more] if more else []),
        f"{config['seeds']} draws",
        f"{found['row_cap']} source rows",
        f"preset `{config['preset']}`",
        f"{config['max_length']} tokens a text",
        found["metric"].replace("_", "-"),
    ]
    return f"{found['task']}, {pairs}; {'; '.join(facts)}."


def _estimate(one: dict[str, float] | None, signed: bool = False) -> str:
    if one is None:
        return "–"
    sign = "+" if signed else ""
    return f"{one['mean']:{sign}.3f} [{one['low']:{sign}.3f}, {one['high']:{sign}.3f}]"


def write_tables(page: Path, files: list[Path], adapters: bool) -> None:
    """Puts the tables of each result file between its marks on the page, or one of all files that differ in the adapter."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    made = (
        {"adapters": adapters_table([*found.values()])}
        if adapters
        else {name: tables(one) for name, one in found.items()}
    )
    for name, text in made.items():
        write_between(page, BEGIN.format(name), END.format(name), text)


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Puts a text in the place of what stands between two marks of a page."""
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no marks {begin} … {end}")
    write_text(page, f"{before}{begin}\n{text}\n{end}{after}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("task")
    runs.add_argument("--pairs", required=True, help="source:target, separated by commas")
    runs.add_argument("--part", choices=("dev", "test"), required=True)
    runs.add_argument("--methods", default="", help="default: all")
    runs.add_argument("--shots", default="0,8,32")
    runs.add_argument("--seeds", type=int, default=3)
    runs.add_argument("--preset", default="balanced")
    runs.add_argument("--source-rows", type=int, default=500)
    runs.add_argument("--limit", type=int, default=None)
    runs.add_argument("--backbone", default="minilm")
    runs.add_argument("--adapter", default="lora")
    runs.add_argument("--max-length", type=int, default=Recipe().max_length, help="tokens kept of a text")
    runs.add_argument("--store", default="runs/store")
    runs.add_argument("--out", type=Path, required=True)
    shown = commands.add_parser("table")
    shown.add_argument("files", type=Path, nargs="+")
    shown.add_argument("--adapters", action="store_true", help="one table of files that differ in the adapter")
    shown.add_argument("--write", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "table":
        write_tables(options.write, options.files, options.adapters)
        return
    write_text(options.out, json.dumps(run(options), indent=1) + "\n")


if __name__ == "__main__":
    main()
