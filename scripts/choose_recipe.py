"""Compares recipes on the dev rows of one task: no test row is read.

    python scripts/choose_recipe.py --draws 3 --out docs/data/recipe.json

Each candidate trains the same fits (a source fit of 300 rows, 8 and 32 shots a class) on every domain named and is scored
on that domain's dev rows. Printed: mean score by size of the fit, and seconds a fit.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from lowres.data import splits
from lowres.data.task import Task, load_task
from lowres.models.backbone import find_backbone
from lowres.models.device import resolve
from lowres.results import write_text
from lowres.scoring.metrics import find_metric
from lowres.training.fit import Fit, LoRA, Part, Recipe
from lowres.training.loop import LoopEngine

CANDIDATES: dict[str, tuple[LoRA, Recipe]] = {
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


def main() -> None:
    """Runs all candidates and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="vader-sentiment")
    parser.add_argument("--domains", default="movie,amazon,tweets")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", type=int, default=300, help="dev rows a domain, and rows of the large fit")
    parser.add_argument("--shots", default="8,32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    task, backbone, machine = load_task(options.task), find_backbone(options.backbone), resolve()
    engine = LoopEngine(backbone, backbone.tokens(), machine.device, machine.precision)
    results = json.loads(options.out.read_text())["results"] if options.out and options.out.exists() else []
    for name, (lora, recipe) in CANDIDATES.items():
        if any(result["name"] == name for result in results):
            continue
        result = {"name": name} | measure(lora, recipe, task, engine, options)
        results.append(result)
        print(json.dumps(result), flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_text(
                options.out,
                json.dumps({"task": task.name, "precision": machine.precision, "results": results}, indent=1) + "\n",
            )


def measure(
    lora: LoRA, recipe: Recipe, task: Task, engine: LoopEngine, options: argparse.Namespace
) -> dict[str, object]:
    """Mean dev score of one candidate by size of the fit."""
    metric, position = find_metric(task.metric), {label: place for place, label in enumerate(task.labels)}
    scores: dict[str, list[float]] = {}
    began = time.perf_counter()
    for domain in options.domains.split(","):
        part = task.domains[domain]
        dev = splits.limit_test(task.name, part.dev, options.rows)
        targets = np.array([position[label] for label in dev.labels])
        for draw in range(options.draws):
            few = {f"{k} shots": splits.shots(task.name, part.train, int(k), draw) for k in options.shots.split(",")}
            many = splits.cap(task.name, part.train, options.rows, draw)
            for size, train in [*few.items(), (f"{options.rows} rows", many)]:
                fit = Fit((Part(train),), task.labels, task.name, draw, adapter=lora, recipe=recipe)
                fitted = next(iter(engine.fit_many([fit], {})))[1]
                if isinstance(fitted, Exception):
                    raise fitted
                scores.setdefault(size, []).append(metric.score(targets, engine.predict(fit, fitted, list(dev.texts))))
    means = {size: round(float(np.mean(values)), 4) for size, values in scores.items()}
    count = sum(len(values) for values in scores.values())
    overall = round(float(np.mean(list(means.values()))), 4)
    return {
        "dev": means,
        "mean": overall,
        "seconds_a_fit": round((time.perf_counter() - began) / count, 2),
    }


if __name__ == "__main__":
    main()
