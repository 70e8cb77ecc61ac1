"""Compares recipes or presets on the dev rows of one task: no test row is read.

    python scripts/choose_recipe.py --candidates recipe --engine loop --draws 3 --out docs/data/recipe.json
    python scripts/choose_recipe.py --candidates preset --draws 10 --out docs/data/preset.json

Each candidate trains the same fits (a source fit of 300 rows, 8 and 32 shots a class) on every domain named and is scored
on that domain's dev rows. Printed: mean score by size of the fit, seconds a fit, and the difference from the first
candidate over the draws with its 95 % interval (t, paired by draw).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lowres.data import splits
from lowres.data.task import Task, load_task
from lowres.models.backbone import find_backbone
from lowres.models.device import resolve
from lowres.results import write_text
from lowres.scoring.metrics import find_metric
from lowres.training.engines import ENGINES, make_engine
from lowres.training.fit import Engine, Fit, Part
from lowres.training.recipe import LoRA, Recipe

RECIPES: dict[str, tuple[LoRA, Recipe]] = {
    "all linears, 1e-3, head 1e-2": (LoRA(linears="all"), Recipe(learning_rate=1e-3, head_learning_rate=1e-2)),
    "all linears, 5e-4, head 5e-3": (LoRA(linears="all"), Recipe(learning_rate=5e-4, head_learning_rate=5e-3)),
    "all linears, 2e-4, head 5e-3": (LoRA(linears="all"), Recipe(learning_rate=2e-4, head_learning_rate=5e-3)),
    "all linears, 5e-4, head 2e-2": (LoRA(linears="all"), Recipe(learning_rate=5e-4, head_learning_rate=2e-2)),
    "query and value, 1e-3, head 1e-2": (
        LoRA(linears="query-value"),
        Recipe(learning_rate=1e-3, head_learning_rate=1e-2),
    ),
    "query and value, 1e-3, head 3e-2": (
        LoRA(linears="query-value"),
        Recipe(learning_rate=1e-3, head_learning_rate=3e-2),
    ),
    "query and value, 5e-4, head 2e-2": (
        LoRA(linears="query-value"),
        Recipe(learning_rate=5e-4, head_learning_rate=2e-2),
    ),
    "all linears, 5e-4, not normalised, head 5e-4": (
        LoRA(linears="all"),
        Recipe(normalise=False, learning_rate=5e-4, head_learning_rate=5e-4),
    ),
}
STEADY = Recipe(learning_rate=1e-3, head_learning_rate=3e-2)
PRESETS: dict[str, tuple[LoRA, Recipe]] = {
    "all layers, query and value, 1e-3": (LoRA(), STEADY),
    "all layers, query and value, 1e-3, 40 steps": (LoRA(), replace(STEADY, min_steps=40)),
    "top 3 layers, query and value, 1e-3": (LoRA(live_layers=3), STEADY),
    "top 2 layers, query and value, 1e-3": (LoRA(live_layers=2), STEADY),
    "top 2 layers, query and value, 2e-3": (LoRA(live_layers=2), replace(STEADY, learning_rate=2e-3)),
    "top 2 layers, all linears, 1e-3": (LoRA(linears="all", live_layers=2), STEADY),
    "top 3 layers, query and value, 2e-3, 40 steps": (
        LoRA(live_layers=3),
        replace(STEADY, learning_rate=2e-3, min_steps=40),
    ),
    "top 2 layers, query and value, 2e-3, 40 steps": (
        LoRA(live_layers=2),
        replace(STEADY, learning_rate=2e-3, min_steps=40),
    ),
    "top 2 layers, query and value, 4e-3, 40 steps": (
        LoRA(live_layers=2),
        replace(STEADY, learning_rate=4e-3, min_steps=40),
    ),
    "top 2 layers, query and value, 8e-3, 40 steps": (
        LoRA(live_layers=2),
        replace(STEADY, learning_rate=8e-3, min_steps=40),
    ),
    "top 3 layers, query and value, 4e-3, 40 steps": (
        LoRA(live_layers=3),
        replace(STEADY, learning_rate=4e-3, min_steps=40),
    ),
    "top 1 layer, all linears, 2e-3": (LoRA(linears="all", live_layers=1), replace(STEADY, learning_rate=2e-3)),
    "all layers, query and value, 1e-3, 120 steps": (LoRA(), replace(STEADY, min_steps=120, epochs=6)),
    "all layers, all linears, 5e-4, 120 steps": (
        LoRA(linears="all"),
        Recipe(learning_rate=5e-4, head_learning_rate=2e-2, min_steps=120, epochs=6),
    ),
}
CANDIDATES = {"recipe": RECIPES, "preset": PRESETS}


def main() -> None:
    """Runs all candidates and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="vader-sentiment")
    parser.add_argument("--domains", default="movie,amazon,tweets")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", type=int, default=300, help="dev rows a domain, and rows of the large fit")
    parser.add_argument("--shots", default="8,32")
    parser.add_argument("--candidates", choices=sorted(CANDIDATES), default="preset")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="fleet")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    task, backbone, machine = load_task(options.task), find_backbone(options.backbone), resolve()
    engine = make_engine(options.engine, backbone, backbone.tokens(), machine.device, machine.precision)
    results = json.loads(options.out.read_text())["results"] if options.out and options.out.exists() else []
    for name, (lora, recipe) in CANDIDATES[options.candidates].items():
        if any(result["name"] == name for result in results):
            continue
        if (lora.live_layers or 0) > backbone.layers:
            print(f"left out, {backbone.name} has {backbone.layers} layers: {name}", file=sys.stderr)
            continue
        result = {"name": name} | measure(lora, recipe, task, engine, options)
        results.append(result | against(result, results[0] if results else result))
        print(json.dumps(results[-1]), flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_text(
                options.out,
                json.dumps({"task": task.name, "precision": machine.precision, "results": results}, indent=1) + "\n",
            )


def measure(lora: LoRA, recipe: Recipe, task: Task, engine: Engine, options: argparse.Namespace) -> dict[str, object]:
    """Mean dev score of one candidate by size of the fit and by draw."""
    metric, position = find_metric(task.metric), {label: place for place, label in enumerate(task.labels)}
    fits: dict[Fit, tuple[str, str]] = {}
    for domain in options.domains.split(","):
        train = task.domains[domain].train
        for draw in range(options.draws):
            few = {f"{k} shots": splits.shots(task.name, train, int(k), draw) for k in options.shots.split(",")}
            many = {f"{options.rows} rows": splits.cap(task.name, train, options.rows, draw)}
            for size, rows in (few | many).items():
                fits[Fit((Part(rows),), task.labels, task.name, draw, adapter=lora, recipe=recipe)] = domain, size
    began = time.perf_counter()
    scores: dict[str, list[float]] = {}
    by_draw: dict[int, list[float]] = {}
    for fit, fitted in engine.fit_many(list(fits), {}):
        if isinstance(fitted, Exception):
            raise fitted
        domain, size = fits[fit]
        dev = splits.limit_test(task.name, task.domains[domain].dev, options.rows)
        targets = np.array([position[label] for label in dev.labels])
        score = metric.score(targets, engine.predict(fit, fitted, list(dev.texts)))
        scores.setdefault(size, []).append(score)
        by_draw.setdefault(fit.draw, []).append(score)
    return {
        "dev": {size: round(float(np.mean(values)), 4) for size, values in scores.items()},
        "mean": round(float(np.mean([np.mean(values) for values in scores.values()])), 4),
        "draws": [round(float(np.mean(by_draw[draw])), 5) for draw in sorted(by_draw)],
        "seconds_a_fit": round((time.perf_counter() - began) / len(fits), 2),
    }


def against(result: dict[str, Any], reference: dict[str, Any]) -> dict[str, object]:
    """The difference from a reference, paired by draw, with its 95 % interval."""
    gaps = np.array(result["draws"]) - np.array(reference["draws"])
    wide = float(stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5) if len(gaps) > 1 else math.nan
    mean = float(gaps.mean())
    return {"difference": [round(value, 4) for value in (mean, mean - wide, mean + wide)]}


if __name__ == "__main__":
    main()
