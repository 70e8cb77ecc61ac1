"""Seconds and scores of one grid of cells: transformers' Trainer, SetFit and lowres side by side, in one run.

    python scripts/bench_grid.py --out docs/data/bench.json --write docs/performance.md
    python scripts/bench_grid.py --device cuda --out docs/data/bench-cuda.json

The grid: one source, one target of the shipped sentiment task, all test rows capped alike. Five cells a draw:
source-only on the source and on the target, target-full, target-only and source-then-target with k shots. Contenders:

* documented: Trainer with a PEFT model for sequence classification as PEFT's documentation shows it, one cell after
  another; every cell trains what it needs from scratch; tests in the order of the rows.
* careful: the same by a hand that knows: fits that several cells need are trained once, tests are sorted by length.
* setfit: SetFit with its defaults, on the target-only cells (its pairs of a source of hundreds of rows take hours).
* exact: lowres, all layers live.  fast, balanced, thorough: its presets.

Rows, number of optimiser steps, batch size and length limit are the same for all but SetFit, which has its own. Peers
compute in fp32 as their documentation does; lowres as it decides for the machine. Peers: pip install lowres[bench].
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.sources import cache_dir
from lowres.data.task import Task, load_task
from lowres.library import Study
from lowres.models.backbone import find_backbone
from lowres.results import write_text
from lowres.scoring.metrics import find_metric
from lowres.study.config import build_config
from lowres.training.recipe import Recipe

MARKS = "<!-- bench:begin -->", "<!-- bench:end -->"
CELLS = ("SS", "ST", "TT", "target-only", "source-then-target")
PEERS = ("documented", "careful", "setfit")
OWN = {"exact": {}, "fast": {"preset": "fast"}, "balanced": {"preset": "balanced"}, "thorough": {"preset": "thorough"}}
Result = dict[str, Any]


def main() -> None:
    """Runs the contenders one after another, each in a process of its own, and prints and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="vader-sentiment")
    parser.add_argument("--source", default="movie")
    parser.add_argument("--target", default="amazon")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--rows", type=int, default=300, help="source rows, and rows of target-full")
    parser.add_argument("--limit", type=int, default=500, help="test rows a domain")
    parser.add_argument("--max-length", type=int, default=Recipe().max_length, help="tokens kept of a text")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--peer-draws", type=int, default=4, help="draws of careful and setfit")
    parser.add_argument("--documented-draws", type=int, default=1, help="of documented, which trains what careful does")
    parser.add_argument("--growth", default="1,2,4,8", help="draws of the curve of cost; empty for none")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", default=",".join([*PEERS, *OWN]))
    parser.add_argument("--out", type=Path, help="JSON of everything measured")
    parser.add_argument("--write", type=Path, help="Markdown file whose marked part is replaced")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, draws = options.one.split(":")
        print(json.dumps(run_one(name, int(draws), options)))
        return
    found: Result = {"about": about(options), "contenders": {}, "growth": {}}
    for name in options.only.split(","):
        draws = {
            "documented": options.documented_draws,
            "careful": options.peer_draws,
            "setfit": options.peer_draws,
        }.get(name, options.draws)
        found["contenders"][name] = in_process(name, draws)
        print(line(name, found["contenders"][name]), flush=True)
    for draws in filter(None, options.growth.split(",")):
        for name in ("exact", "fast"):
            found["growth"][f"{name}:{draws}"] = in_process(name, int(draws))["seconds"]
            print(f"{name}, {draws} draws: {found['growth'][f'{name}:{draws}']:.1f} s", flush=True)
    text = table(found)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.out, json.dumps(found, indent=1) + "\n")
    if options.write:
        before, _, rest = options.write.read_text(encoding="utf-8").partition(MARKS[0])
        _, _, after = rest.partition(MARKS[1])
        write_text(options.write, f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")


def in_process(name: str, draws: int) -> Result:
    """One contender in a fresh process, so that none profits from what another has loaded."""
    words = [sys.executable, __file__, *sys.argv[1:], "--one", f"{name}:{draws}"]
    with tempfile.TemporaryDirectory() as place:
        for entry in cache_dir().glob("*"):
            if entry.name != "prefix":  # what the frozen layers say is part of what is measured
                (Path(place) / entry.name).symlink_to(entry)
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env={**os.environ, "LOWRES_CACHE": place}
        )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    found: Result = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def run_one(name: str, draws: int, options: argparse.Namespace) -> Result:
    """Seconds from a loaded task to all scores, peak memory, and the score of every cell and draw."""
    task = load_task(options.task)
    began = time.perf_counter()
    if name in OWN:
        scores, more = lowres(name, draws, options)
    else:
        grid = Grid(task, options)
        scores, more = {"documented": documented, "careful": careful, "setfit": setfit}[name](grid, draws), {}
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds, "cells": len(scores) * draws, "per_cell": seconds / (len(scores) * draws), "peak_mb": peak,
        "scores": scores, **more,
    }  # fmt: skip


def lowres(name: str, draws: int, options: argparse.Namespace) -> tuple[dict[str, list[float]], Result]:
    """The grid as one study, with an empty store."""
    with tempfile.TemporaryDirectory() as place:
        config = build_config(
            {
                "task": options.task, "source": options.source, "target": options.target, "shots": [0, options.shots],
                "seeds": draws, "methods": "source-only,target-full,target-only,source-then-target",
                "backbone": options.backbone, "source_rows": options.rows, "limit": options.limit, "device": options.device,
                "recipe.max_length": options.max_length, "store": f"{place}/store", "out": f"{place}/out", **OWN[name],
            }
        )  # fmt: skip
        study = Study(config=config)
        result = study.run()
    scores: dict[str, list[float]] = {cell: [] for cell in CELLS}
    for record in result.outcome.records():
        own = record["method"] == "source-only" and record["source"] == record["target"]
        cell = {"source-only": "SS" if own else "ST", "target-full": "TT"}.get(record["method"], record["method"])
        if record["target"] == options.target or cell == "SS":
            scores[cell].append(record["metrics"][result.summary.study.metric])
    spent = result.outcome.seconds
    floor = study.estimate(set())
    return scores, {
        "stages": {"train": spent.train, "test": spent.evaluate, "encode": spent.encode},
        "precision": study.machine.precision,
        "engine": study.engine.name,
        "fits": len(study.plan.distinct),
        "gflops": study.machine.gflops,
        "floor": floor.floor,
    }


class Grid:
    """The rows of the grid for the peers."""

    def __init__(self, task: Task, options: argparse.Namespace) -> None:
        self.task, self.options, self.metric = task, options, find_metric(task.metric)
        self.folder = str(find_backbone(options.backbone).folder)
        self.recipe = Recipe()
        self.cuda = options.device == "cuda"
        self.tests = {
            name: splits.limit_test(task.name, task.domains[name].test, options.limit) for name in self.domains
        }

    @property
    def domains(self) -> tuple[str, str]:
        """Source and target."""
        return self.options.source, self.options.target

    def full(self, domain: str, draw: int) -> Rows:
        """Rows of a source fit and of the ceiling."""
        return splits.cap(self.task.name, self.task.domains[domain].train, self.options.rows, draw)

    def few(self, draw: int) -> Rows:
        """The labelled rows of the target."""
        return splits.shots(self.task.name, self.task.domains[self.options.target].train, self.options.shots, draw)

    def targets(self, rows: Rows) -> np.ndarray:
        """Label positions, [rows]."""
        return np.array([self.task.labels.index(label) for label in rows.labels])

    def score(self, rows: Rows, logits: np.ndarray) -> float:
        """The task's metric."""
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        return float(self.metric.score(self.targets(rows), shifted / shifted.sum(1, keepdims=True)))


class Peer:
    """Trainer and PEFT as their documentation shows them."""

    def __init__(self, grid: Grid) -> None:
        from transformers import AutoTokenizer

        self.grid, self.tokenizer = grid, AutoTokenizer.from_pretrained(grid.folder)
        self.scratch = tempfile.mkdtemp()

    def coded(self, rows: Rows) -> Any:
        """Rows as a tokenised dataset."""
        from datasets import Dataset

        data = Dataset.from_dict({"text": list(rows.texts), "labels": self.grid.targets(rows).tolist()})
        limit = self.grid.options.max_length
        return data.map(
            lambda batch: self.tokenizer(batch["text"], truncation=True, max_length=limit), batched=True,
            remove_columns=["text"],
        )  # fmt: skip

    def trainer(self, rows: Rows, draw: int, model: Any = None) -> Any:
        """A trained Trainer."""
        from peft import LoraConfig, TaskType, get_peft_model
        from transformers import (
            AutoModelForSequenceClassification,
            DataCollatorWithPadding,
            Trainer,
            TrainingArguments,
            set_seed,
        )

        set_seed(draw)
        if model is None:
            base = AutoModelForSequenceClassification.from_pretrained(
                self.grid.folder, num_labels=len(self.grid.task.labels)
            )
            config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.1)
            model = get_peft_model(base, config)
        arguments = TrainingArguments(
            self.scratch, max_steps=self.grid.recipe.steps(len(rows)), per_device_train_batch_size=self.grid.recipe.batch,
            per_device_eval_batch_size=32, learning_rate=1e-3, weight_decay=0.01, seed=draw, report_to=[],
            disable_tqdm=True, logging_strategy="no", use_cpu=not self.grid.cuda,
        )  # fmt: skip
        trainer = Trainer(
            model, arguments, train_dataset=self.coded(rows), processing_class=self.tokenizer,
            data_collator=DataCollatorWithPadding(self.tokenizer),
        )  # fmt: skip
        trainer.train()
        return trainer

    def answers(self, trainer: Any, rows: Rows, by_length: bool = False) -> float:
        """Score on test rows."""
        order = np.argsort([len(text) for text in rows.texts], kind="stable") if by_length else np.arange(len(rows))
        sorted_rows = rows.take(order.tolist())
        return self.grid.score(sorted_rows, trainer.predict(self.coded(sorted_rows)).predictions)


def documented(grid: Grid, draws: int) -> dict[str, list[float]]:
    """Every cell for itself."""
    peer, (source, target) = Peer(grid), grid.domains
    scores: dict[str, list[float]] = {cell: [] for cell in CELLS}
    for draw in range(draws):
        for cell in CELLS:
            if cell in ("SS", "ST", "source-then-target"):
                trained = peer.trainer(grid.full(source, draw), draw)
                if cell == "source-then-target":
                    trained = peer.trainer(grid.few(draw), draw, trained.model)
            else:
                trained = peer.trainer(grid.full(target, draw) if cell == "TT" else grid.few(draw), draw)
            scores[cell].append(peer.answers(trained, grid.tests[source if cell == "SS" else target]))
    return scores


def careful(grid: Grid, draws: int) -> dict[str, list[float]]:
    """Shared fits once, tests sorted by length, no checkpoints."""
    peer, (source, target) = Peer(grid), grid.domains
    scores: dict[str, list[float]] = {cell: [] for cell in CELLS}

    def score(cell: str, trained: Any, domain: str) -> None:
        scores[cell].append(peer.answers(trained, grid.tests[domain], by_length=True))

    for draw in range(draws):
        trained = peer.trainer(grid.full(source, draw), draw)
        score("SS", trained, source)
        score("ST", trained, target)
        score("source-then-target", peer.trainer(grid.few(draw), draw, trained.model), target)
        score("TT", peer.trainer(grid.full(target, draw), draw), target)
        score("target-only", peer.trainer(grid.few(draw), draw), target)
    return scores


def setfit(grid: Grid, draws: int) -> dict[str, list[float]]:
    """SetFit with its defaults on the labelled rows of the target."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    _, target = grid.domains
    scores: dict[str, list[float]] = {"target-only": []}
    for draw in range(draws):
        rows = grid.few(draw)
        model = SetFitModel.from_pretrained(grid.folder, local_files_only=True)
        with tempfile.TemporaryDirectory() as place:
            arguments = TrainingArguments(output_dir=place, seed=draw, report_to="none", show_progress_bar=False)
            data = Dataset.from_dict({"text": list(rows.texts), "label": grid.targets(rows).tolist()})
            trainer = Trainer(model, arguments, train_dataset=data)
            trainer.train()
        test = grid.tests[target]
        probabilities = np.asarray(model.predict_proba(list(test.texts), as_numpy=True))
        scores["target-only"].append(float(grid.metric.score(grid.targets(test), probabilities)))
    return scores


def about(options: argparse.Namespace) -> Result:
    """Machine and versions."""
    import torch

    names = ("torch", "transformers", "peft", "accelerate", "setfit")
    return {
        "machine": torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in names},
        "grid": {name: getattr(options, name) for name in ("task", "source", "target", "backbone", "shots", "rows", "limit")},
        "steps": {"source and target-full": Recipe().steps(options.rows), "shots": Recipe().steps(2 * options.shots)},
    }  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None


def line(name: str, found: Result) -> str:
    """One line of progress."""
    means = ", ".join(f"{cell} {np.mean(values):.3f}" for cell, values in found["scores"].items())
    return f"{name}: {found['seconds']:.1f} s for {found['cells']} cells, {found['per_cell']:.2f} s a cell; {means}"


def interval(values: list[float]) -> str:
    """Mean of draws with a 95 % t interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f} (one draw)"
    wide = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean:.3f} ± {wide:.3f}"


def table(found: Result) -> str:
    """Markdown of everything measured."""
    contenders, facts = found["contenders"], found["about"]
    grid = facts["grid"]
    heads = ["", "seconds a cell", "× documented", "× careful", "× SetFit", "peak memory", "mean score"]
    rows = []
    for name, one in contenders.items():
        cells = [f"{one['per_cell']:.2f}", *(_ratio(contenders, peer, name) for peer in PEERS)]
        both = [
            float(np.mean([one["scores"][cell][draw] for cell in one["scores"]]))
            for draw in range(len(next(iter(one["scores"].values()))))
        ]
        rows.append([name, *cells, f"{one['peak_mb']:.0f} MB", interval(both)])
    draws = ", ".join(f"{name} {len(next(iter(one['scores'].values())))}" for name, one in contenders.items())
    lines = [
        f"Draws: {draws}. {grid['task']}, {grid['source']} → {grid['target']}, {grid['shots']} shots, {grid['rows']} source rows, {grid['limit']} test rows a domain,"
        f" {grid['backbone']}; {facts['machine']}, {facts['threads']} threads; "
        + ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
        + ".", "",
        _markdown(heads, rows), "",
        _markdown(["score", *CELLS], [[name, *[interval(one["scores"][cell]) if cell in one["scores"] else "–" for cell in CELLS]] for name, one in contenders.items()]),
    ]  # fmt: skip
    own = {name: one for name, one in contenders.items() if "stages" in one}
    if own:
        stages = [
            [name, one["precision"], str(one["fits"]), *[f"{one['stages'][stage]:.1f}" for stage in ("train", "test", "encode")],
             f"{one['seconds'] - sum(one['stages'].values()):.1f}", f"{one['floor']:.1f}", f"{one['floor'] / one['seconds']:.0%}"]
            for name, one in own.items()
        ]  # fmt: skip
        lines += [
            "",
            _markdown(
                [
                    "where the seconds go",
                    "precision",
                    "fits",
                    "train",
                    "test",
                    "tokenise",
                    "load and write",
                    "floor",
                    "share",
                ],
                stages,
            ),
        ]
    peers = [name for name in PEERS if name in contenders]
    if own and peers:
        paired = [
            [name, *[difference(one["scores"], contenders[peer]["scores"]) for peer in peers]]
            for name, one in own.items()
        ]
        lines += ["", _markdown(["score less that of", *peers], paired)]
    if found["growth"]:
        draws = sorted({int(name.split(":")[1]) for name in found["growth"]})
        seconds = {name: [found["growth"][f"{name}:{number}"] for number in draws] for name in ("exact", "fast")}
        grown = [
            [name, *[f"{one:.1f} ({one / number / len(CELLS):.2f})" for one, number in zip(all_of, draws, strict=True)],
             f"{all_of[-1] / all_of[0]:.1f}"] for name, all_of in seconds.items()
        ]  # fmt: skip
        heads = ["seconds (a cell) by draws", *map(str, draws), f"{draws[-1]} draws / {draws[0]}"]
        lines += ["", _markdown(heads, grown)]
    return "\n".join(lines)


def difference(own: dict[str, list[float]], peer: dict[str, list[float]]) -> str:
    """Mean difference over the cells of the peer, paired by draw, with a 95 % t interval."""
    draws = min(len(values) for scores in (own, peer) for values in scores.values())
    found = [float(np.mean([own[cell][draw] - peer[cell][draw] for cell in peer])) for draw in range(draws)]
    return interval(found)


def _ratio(contenders: Result, peer: str, name: str) -> str:
    if peer not in contenders or name in PEERS:
        return "–"
    return f"{contenders[peer]['per_cell'] / contenders[name]['per_cell']:.1f}"


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|:--" + "|--:" * (len(heads) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


if __name__ == "__main__":
    main()
