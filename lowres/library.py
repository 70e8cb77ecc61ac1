"""Studies and saved models for use inside other programs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowres import settings
from lowres.analysis.measure import summarise
from lowres.analysis.summary import Summary
from lowres.data.sources import Progress as Download
from lowres.data.task import Task, load_task
from lowres.data.tokens import Tokens
from lowres.errors import StoreError, UserError
from lowres.methods.cell import Cell
from lowres.models.backbone import Backbone, find_backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.models.device import Machine, numerics, resolve
from lowres.report import html, markdown
from lowres.scoring.metrics import find_metric
from lowres.study.config import StudyConfig, build_config, safe_stem
from lowres.study.plan import Estimate, Plan, make_plan
from lowres.study.provenance import provenance
from lowres.study.runner import Outcome, Progress, run_plan
from lowres.study.store import Store
from lowres.training.fit import Engine, Environment, Fit
from lowres.training.loop import LoopEngine

if TYPE_CHECKING:
    import pandas as pd

CHECK_TEXTS = 8


class Study:
    """A set of cells, run once, kept, reported.

    Args:
        task: Shipped name, task file, table or folder.
        sources: Source domains; empty: all.
        targets: Target domains; empty: all.
        config: A whole config instead of the other arguments.
        downloads: Told how far a download is.
        options: Any other field of ``StudyConfig``: ``shots``, ``seeds``, ``methods``, ``backbone``, ``limit``, ``store`` …

    Raises:
        UserError: Something asked for is unknown or does not fit the data.
    """

    def __init__(
        self,
        task: str | None = None,
        *,
        sources: Iterable[str] = (),
        targets: Iterable[str] = (),
        config: StudyConfig | None = None,
        downloads: Download | None = None,
        **options: Any,
    ) -> None:
        if config is None:
            given = {"task": task, "source": list(sources), "target": list(targets), **options}
            config = build_config({name: value for name, value in given.items() if value is not None})
        if config.task is None:
            raise UserError("no task given", expected="a shipped task, a task file or a table", hint="lowres tasks ls")
        self.config, self.downloads = config, downloads

    @cached_property
    def task(self) -> Task:
        """The prepared task."""
        config = self.config
        assert config.task is not None
        return load_task(
            config.task,
            text_column=config.text_column,
            label_column=config.label_column,
            domain_column=config.domain_column,
            group_column=config.group_column,
            progress=self.downloads,
        )

    @cached_property
    def backbone(self) -> Backbone:
        """The encoder."""
        return find_backbone(self.config.backbone, self.config.revision, progress=self.downloads)

    @cached_property
    def plan(self) -> Plan:
        """Cells and distinct fits; nothing is trained."""
        return make_plan(self.config, self.task)

    @cached_property
    def machine(self) -> Machine:
        """Device, precision and speed."""
        return resolve(self.config.device, self.config.precision)

    @cached_property
    def environment(self) -> Environment:
        """What besides the fits may change a number.

        Raises:
            UserError: The recipe keeps more tokens than the backbone can number.
        """
        longest = self.config.recipe.max_length
        if longest > self.backbone.longest:
            raise UserError(
                f"recipe.max_length is too long for backbone {self.backbone.name}",
                got=longest,
                expected=f"at most {self.backbone.longest}",
            )
        return Environment(self.backbone.fingerprint, self.config.engine, self.machine.precision, numerics())

    @cached_property
    def store(self) -> Store:
        """Where fits and predictions are kept."""
        return Store(Path(self.config.store))

    @cached_property
    def tokens(self) -> Tokens:
        """The backbone's tokenizer."""
        return Tokens(self.backbone.folder / "tokenizer.json", self.backbone.pad_id)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(self.config.out or f"runs/{safe_stem(self.task.name)}-{self.plan.hash(self.environment)[:8]}")

    def stored(self) -> set[str]:
        """Contents of the fits that the store has already."""
        return {
            content for content, fit in self.plan.distinct.items() if self.store.is_whole(fit.key(self.environment))
        }

    def estimate(self) -> Estimate:
        """Expected seconds and disk of what is not in the store."""
        return self.plan.estimate(self.machine.gflops, self.backbone.flops_per_token(), self.stored())

    def truncated(self) -> dict[str, float]:
        """Share of each domain's test texts that are longer than ``recipe.max_length`` tokens."""
        longest = self.config.recipe.max_length
        return {name: self.tokens.truncated(list(rows.texts), longest) for name, rows in self.plan.test_rows.items()}

    def run(self, progress: Progress | None = None) -> StudyResult:
        """Trains what the store lacks, measures, and writes the run folder. Can be interrupted and run again."""
        longest = self.config.recipe.max_length
        _check_folder(self.folder)
        began = time.perf_counter()
        truncated = self.truncated()
        encoding = time.perf_counter() - began
        engine: Engine = LoopEngine(self.backbone, self.tokens, self.machine.device, self.machine.precision)
        origin = provenance(self.machine.device, self.machine.precision)
        outcome = run_plan(
            self.plan, engine, self.environment, self.store, origin, force=self.config.force, progress=progress
        )
        outcome.seconds.encode = encoding
        outcome.seconds.total = time.perf_counter() - began
        outcome.warnings += [
            f"{name}: {share:.0%} of the test texts are cut at {longest} tokens"
            for name, share in truncated.items()
            if share >= 0.01
        ]
        result = StudyResult(self, outcome, engine, summarise(outcome))
        result.write(origin)
        return result


@dataclass(frozen=True)
class StudyResult:
    """What a study found, and its models."""

    study: Study
    outcome: Outcome
    engine: Engine
    summary: Summary

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.study.folder

    def to_frame(self) -> pd.DataFrame:
        """One row a cell: its coordinates, keys and metrics."""
        import pandas as pd

        return pd.json_normalize(list(self.outcome.records()))

    def best(self, target: str, *, shots: int, source: str | None = None) -> Classifier:
        """The recommended model for a target: ``source-then-target``, at 0 shots ``source-only``, draw 0.

        The rule looks at no target test row. With several sources the first of the study is taken unless one is named.
        """
        fit, cell = self._recommended(target, shots, source)
        fitted = self.study.store.read_fit(fit.key(self.outcome.environment))
        if fitted is None:
            raise StoreError(f"the fit of {cell.method} on {target} is not in the store; run the study again")
        return Classifier(
            backbone=self.study.backbone,
            adapter=self.engine.adapter_config(fit),
            tensors=fitted.adapter,
            head=fitted.head,
            labels=fit.labels,
            max_length=fit.recipe.max_length,
            pooling=self.study.backbone.pooling,
            normalise=fit.recipe.normalise,
            tokenizer=self.study.backbone.folder,
            about=self._about(cell, fit),
        )

    def write(self, origin: dict[str, Any]) -> None:
        """Writes the run folder anew from the store: config, cells, summary, reports and recommended adapters."""
        study = self.study
        resolved = settings.as_dict(study.config) | {
            "source": list(study.plan.sources),
            "target": list(study.plan.targets),
            "methods": list(study.plan.methods),
            "precision": study.machine.precision,
            "device": study.machine.device,
        }
        facts = {
            "study_hash": study.plan.hash(study.environment),
            "task": {"name": study.task.name, "version": study.task.version, "fingerprint": study.task.fingerprint},
            "backbone": {"fingerprint": study.backbone.fingerprint, "weights_sha256": study.backbone.weights_sha256},
            "row_cap": study.plan.row_cap,
            "numerics": study.environment.numerics,
            **origin,
        }
        import yaml

        text = yaml.safe_dump(resolved | {"provenance": facts}, sort_keys=False, allow_unicode=True)
        write_text(self.folder / "study.yaml", text)
        write_text(
            self.folder / "cells.jsonl",
            "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in self.outcome.records()),
        )
        write_text(self.folder / "summary.json", self.summary.to_json())
        write_text(self.folder / "report.md", markdown.render(self.summary))
        write_text(self.folder / "report.html", html.render(self.summary))
        finished = self.best_folders()
        for stale in set((self.folder / "best").glob("*")) - set(finished):
            if (stale / "lowres.json").is_file():
                shutil.rmtree(stale)
        for folder, (target, shots) in finished.items():
            if not self._written(folder, target, shots):
                texts = list(study.task.domains[target].train.texts[:CHECK_TEXTS]) or ["a text"]
                self.best(target, shots=shots).save(folder, texts)

    def best_folders(self) -> dict[Path, tuple[str, int]]:
        """Folder of each recommended model: (target, shots), budgets rising."""
        plan = self.study.plan
        return {
            self.folder / "best" / f"{safe_stem(target)}-{shots}": (target, shots)
            for target in plan.targets
            for shots in sorted(plan.config.shots)
            if self._finished(target, shots)
        }

    def _written(self, folder: Path, target: str, shots: int) -> bool:
        """Whether an earlier run of this study left the same model with the same scores there."""
        fit, cell = self._recommended(target, shots, None)
        try:
            record = json.loads((folder / "lowres.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(record.get("about") == self._about(cell, fit))

    def _recommended(self, target: str, shots: int, source: str | None) -> tuple[Fit, Cell]:
        method = "source-then-target" if shots else "source-only"
        if shots and "source-then-target" not in self.outcome.plan.methods:
            method = "target-only"
        for cell, fit in self.outcome.plan.fits.items():
            if (cell.method, cell.target, cell.shots, cell.draw) == (method, target, shots, 0) and (
                cell.source is None or (cell.source == source if source else cell.source != target)
            ):
                return fit, cell
        raise UserError(
            f"no model for target {target!r} at {shots} shots in this study",
            expected=f"targets {', '.join(self.outcome.plan.targets)}; shots {list(self.outcome.plan.config.shots)}",
        )

    def _finished(self, target: str, shots: int) -> bool:
        try:
            fit, _ = self._recommended(target, shots, None)
        except UserError:
            return False
        return fit.content not in self.outcome.failed

    def _about(self, cell: Cell, fit: Fit) -> dict[str, Any]:
        metric = find_metric(self.study.task.metric)
        probabilities = self.outcome.probabilities.get((fit.content, cell.target))
        values = []
        if probabilities is not None:
            value = metric.score(self.outcome.targets(cell.target), probabilities)
            values = [{"task": cell.task, "domain": cell.target, "metric": metric.name, "value": value}]
        return {
            **cell.as_dict(),
            "train_rows": sum(start.size for start in fit.chain()),
            "key": fit.key(self.outcome.environment),
            "scores": values,
        }


def load(
    folder: str | Path, *, backbone: str | None = None, device: str = "cpu", precision: str = "fp32"
) -> Classifier:
    """A saved adapter: ``predict``, ``predict_proba``, ``save``. See ``lowres.models.classifier.load_classifier``."""
    return load_classifier(folder, backbone=backbone, device=device, precision=precision)


def _check_folder(folder: Path) -> None:
    """Makes the run folder before anything is trained."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"results cannot be written to {folder}", got=error.strerror, hint="choose another --out"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes a file all at once or not at all."""
    draft = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
        os.replace(draft, path)
    except OSError as error:
        if draft:
            Path(draft).unlink(missing_ok=True)
        raise StoreError(f"{path} could not be written: {error.strerror or error}") from error
