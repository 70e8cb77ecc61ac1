"""Compares recipes on the dev rows of one task: no test row is read.

    python scripts/choose_recipe.py --draws 3 --out docs/data/recipe.json

Each candidate trains the same fits (a source fit of 300 rows, 8 and 32 shots a class) on every domain named and is scored
on that domain's dev rows. Printed: mean score by size of the fit, and seconds a fit.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lowres.data import splits
from lowres.data.task import Task, load_task
from lowres.data.tokens import Tokens
from lowres.library import write_text
from lowres.models.backbone import find_backbone
from lowres.models.device import resolve
from lowres.scoring.metrics import find_metric
from lowres.training.fit import Fit, LoRA, Part, Recipe
from lowres.training.loop import LoopEngine

CANDIDATES: dict[str, tuple[LoRA, Recipe]] = {
    "all linears, 1e-3, head 1e-2": (LoRA(), Recipe(learning_rate=1e-3, head_learning_rate=1e-2)),
    "all linears, 5e-4, head 5e-3": (LoRA(), Recipe(learning_rate=5e-4, head_learning_rate=5e-3)),
    "all linears, 2e-4, head 5e-3": (LoRA(), Recipe(learning_rate=2e-4, head_learning_rate=5e-3)),
    "all linears, 5e-4, head 2e-2": (LoRA(), Recipe(learning_rate=5e-4, head_learning_rate=2e-2)),
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
        LoRA(),
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
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    task, backbone, machine = load_task(options.task), find_backbone(options.backbone), resolve()
    engine = LoopEngine(
        backbone, Tokens(backbone.folder / "tokenizer.json", backbone.pad_id), machine.device, machine.precision
    )
    results = json.loads(options.out.read_text())["results"] if options.out and options.out.exists() else []
    for name, (lora, recipe) in CANDIDATES.items():
        if any(result["name"] == name for result in results):
            continue
        result = measure(name, lora, recipe, task, engine, options.domains.split(","), options.draws, options.rows)
        results.append(result)
        print(json.dumps(result), flush=True)
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_text(
                options.out,
                json.dumps({"task": task.name, "precision": machine.precision, "results": results}, indent=1) + "\n",
            )


def measure(
    name: str, lora: LoRA, recipe: Recipe, task: Task, engine: LoopEngine, domains: list[str], draws: int, rows: int
) -> dict[str, object]:
    """Mean dev score of one candidate by size of the fit."""
    metric, position = find_metric(task.metric), {label: place for place, label in enumerate(task.labels)}
    scores: dict[str, list[float]] = {}
    began = time.perf_counter()
    for domain in domains:
        part = task.domains[domain]
        dev = splits.limit_test(task.name, part.dev, rows)
        targets = np.array([position[label] for label in dev.labels])
        for draw in range(draws):
            for size, train in (
                ("8 shots", splits.shots(task.name, part.train, 8, draw)),
                ("32 shots", splits.shots(task.name, part.train, 32, draw)),
                (f"{rows} rows", splits.cap(task.name, part.train, rows, draw)),
            ):
                fit = Fit((Part(train),), task.labels, task.name, draw, adapter=lora, recipe=replace(recipe))
                fitted = next(iter(engine.fit_many([fit], {})))[1]
                if isinstance(fitted, Exception):
                    raise fitted
                scores.setdefault(size, []).append(metric.score(targets, engine.predict(fit, fitted, list(dev.texts))))
    means = {size: round(float(np.mean(values)), 4) for size, values in scores.items()}
    count = sum(len(values) for values in scores.values())
    overall = round(float(np.mean(list(means.values()))), 4)
    return {
        "name": name,
        "dev": means,
        "mean": overall,
        "seconds_a_fit": round((time.perf_counter() - began) / count, 2),
    }


if __name__ == "__main__":
    main()
