"""SetFit and few-shot methods of lowres on the same shots, draws and rows, with the paired interval of the difference.

    python scripts/compare_with_setfit.py --part dev --draws 2 --configs all --out docs/data/setfit-dev.json
    python scripts/compare_with_setfit.py --part test --draws 10 --configs "defaults" --methods contrastive --out docs/data/setfit-test.json

SetFit trains on the labelled rows of the target alone, as ``target-only`` does; its probabilities are kept below ``--kept``,
so that a broken run goes on. ``--part dev`` scores on dev rows in place of test rows. Needs: pip install lowres[bench].
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measure_methods import on_dev

import lowres
from lowres import seeds
from lowres.analysis.measure import Scores, estimate_of
from lowres.data import splits
from lowres.data.rows import Rows
from lowres.models.backbone import find_backbone
from lowres.results import write_text
from lowres.scoring.metrics import find_metric
from lowres.stats.paired import compare, p_value
from lowres.stats.variance import Block, block, combine, group_sums, interval
from lowres.study.provenance import provenance
from lowres.study.runner import run_plan

CONFIGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "body 5e-5": {"body_learning_rate": 5e-5},
    "body 1e-5": {"body_learning_rate": 1e-5},
    "pairs x 20": {"num_iterations": 20},
    "two epochs": {"num_epochs": 2},
    "unique pairs": {"sampling_strategy": "unique"},
}
"""Arguments of SetFit's trainer."""


def probabilities(
    config: str, shots: Rows, draw: int, labels: Sequence[str], asked: Rows, kept: Path
) -> tuple[npt.NDArray[np.float32], float]:
    """SetFit's probabilities on the asked rows [rows, labels] and seconds of training; from ``kept`` if they are there."""
    versions = [version(name) for name in ("setfit", "sentence-transformers", "torch")]
    name = seeds.digest("setfit", versions, CONFIGS[config], list(labels), shots.fingerprint, asked.fingerprint, draw)
    path = kept / f"{name}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stream:
            return stream["probabilities"], float(stream["seconds"])
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(str(find_backbone("minilm").folder), local_files_only=True)
    data = Dataset.from_dict({"text": list(shots.texts), "label": [labels.index(label) for label in shots.labels]})
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place, seed=draw, report_to="none", show_progress_bar=False, **CONFIGS[config]
        )
        Trainer(model, arguments, train_dataset=data).train()
    seconds = time.perf_counter() - began
    values = np.asarray(model.predict_proba(list(asked.texts), as_numpy=True), dtype=np.float32)
    kept.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft.npz")
    np.savez(draft, probabilities=values, seconds=np.float64(seconds))
    draft.replace(path)
    return values, seconds


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="vader-sentiment")
    parser.add_argument("--targets", default="amazon,tweets,movie")
    parser.add_argument("--shots", default="8,32")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--part", choices=("dev", "test"), required=True)
    parser.add_argument("--configs", default="defaults", help="of SetFit, separated by commas; all: every one")
    parser.add_argument("--methods", default="target-only", help="of lowres, separated by commas; none of a source")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--source-rows", type=int, default=500)
    parser.add_argument("--store", default="runs/store")
    parser.add_argument("--kept", type=Path, default=Path("runs/setfit"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    budgets = [int(number) for number in options.shots.split(",")]
    targets, methods = options.targets.split(","), options.methods.split(",")
    study = lowres.Study(
        task=options.task, targets=targets, shots=budgets, seeds=options.draws, methods=methods, preset=options.preset,
        store=options.store, source_rows=options.source_rows, limit=options.limit,
    )  # fmt: skip
    if options.part == "dev":
        study.__dict__["task"] = on_dev(study.task)
    plan = study.plan
    cells = {cell: fit for cell, fit in plan.fits.items() if cell.method in methods and cell.source is None}
    plan = replace(plan, fits=cells)
    origin = provenance(study.machine.device, study.machine.precision)
    outcome = run_plan(plan, study.engine, study.environment, study.store, origin)
    scores, metric = Scores(outcome), find_metric(plan.task.metric)
    names = list(CONFIGS) if options.configs == "all" else options.configs.split(",")
    found = []
    for config in names:
        for budget in budgets:
            peers: list[Block] = []
            spent: list[float] = []
            for target in targets:
                asked, sums = plan.test_rows[target], []
                for draw in range(options.draws):
                    shots = splits.shots(plan.task.name, plan.task.domains[target].train, budget, draw)
                    values, seconds = probabilities(config, shots, draw, plan.task.labels, asked, options.kept)
                    spent.append(seconds)
                    _, groups = np.unique(np.array(asked.groups), return_inverse=True)
                    sums.append(group_sums(metric.statistics(outcome.targets(target), values), groups))
                peers.append(block(np.stack(sums), metric.value))
            share = 1 / len(targets)
            level = interval(combine((target, share, one) for target, one in zip(targets, peers, strict=True)))
            entry: dict[str, Any] = {
                "config": config, "shots": budget, "score": estimate_of(level).model_dump(), "seconds": float(np.mean(spent)), "methods": [],
            }  # fmt: skip
            differences = []
            for method in methods:
                own = scores.blocks([(method, None, target, budget) for target in targets])
                assert own is not None, f"{method} has failed fits"
                both = zip(targets, own, peers, strict=True)
                differences.append(combine((target, share, one - peer) for target, one, peer in both))
            for method, difference, one in zip(methods, differences, compare(differences), strict=True):
                entry["methods"].append(
                    {
                        "method": method,
                        "difference": estimate_of(one.difference).model_dump(),
                        "p": p_value(difference),
                        "verdict": one.verdict,
                    }
                )
            found.append(entry)
            print(json.dumps(entry))
    about = {name: getattr(options, name) for name in ("task", "part", "shots", "draws", "preset", "limit", "targets")}
    write_text(options.out, json.dumps({**about, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
