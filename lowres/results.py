"""What a study leaves behind: the typed result, the run folder and the recommended models."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lowres
from lowres import settings
from lowres.analysis.evidence import Evidence
from lowres.analysis.gather import gather
from lowres.analysis.measure import Scores
from lowres.analysis.summary import Summary
from lowres.errors import LowresError, StoreError, UserError, unknown_name
from lowres.files import clear_drafts, holds_sums, replacing
from lowres.kinds import KINDS
from lowres.methods.catalogue import recommended
from lowres.methods.cell import Cell
from lowres.models.abstention import Counted
from lowres.models.backbone import Backbone
from lowres.models.classifier import FILES, Classifier, load_classifier
from lowres.report import html, markdown
from lowres.report.folder import read_evidence
from lowres.report.sentences import falling_behind
from lowres.scoring.operating import operating_steps
from lowres.study.config import safe_stem
from lowres.study.plan import Plan
from lowres.study.runner import Outcome
from lowres.study.store import Store
from lowres.training.fit import Engine, Fit, Fitted, Tensors

if TYPE_CHECKING:
    import pandas as pd

    from lowres.models.stock import StockClassifier
    from lowres.training.stock import StockEngine

CHECK_TEXTS = 8


@dataclass(frozen=True)
class StudyResult:
    """What a study found, and its models."""

    scores: Scores
    engine: Engine
    backbone: Backbone
    store: Store
    folder: Path
    """The run folder."""
    summary: Summary

    @property
    def outcome(self) -> Outcome:
        """What the run left."""
        return self.scores.outcome

    @property
    def plan(self) -> Plan:
        """What was run."""
        return self.outcome.plan

    @cached_property
    def evidence(self) -> Evidence:
        """What it shows beyond the summary; made when first asked for, unless the run folder has it from the same fits."""
        study = f"{self.plan.hash(self.outcome.environment)} {lowres.__version__}"
        if not self.outcome.trained and not self.outcome.failed:
            try:
                kept = read_evidence(self.folder)
            except UserError:
                kept = None  # damaged: made again
            if kept is not None and kept.is_of(study):
                return kept
        return gather(self.scores, self.engine, self.store).sealed(study)

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """One record a finished cell, as in ``cells.jsonl``."""
        return list(self.outcome.records())

    def to_frame(self) -> pd.DataFrame:
        """One row a cell: its coordinates, keys and metrics."""
        import pandas as pd

        return pd.json_normalize(self.records)

    def best(self, target: str, *, shots: int, source: str | None = None) -> Classifier:
        """The recommended model for a target, draw 0: of the methods studied the first of ``RECOMMENDED``
        (``lowres.methods.catalogue``); at 0 shots ``source-only``.

        The rule looks at no target test row. With several sources the first of the study is taken unless one is named.
        """
        fit, cell = self._recommended(target, shots, source)
        return classifier(self.outcome, self.engine, self.backbone, self.store, cell, fit)

    def write(self, origin: dict[str, Any]) -> None:
        """Writes the run folder anew from the store: config, cells, summary, evidence, reports and recommended adapters."""
        plan, environment = self.plan, self.outcome.environment
        resolved = settings.as_dict(plan.config) | {
            "source": list(plan.origins.domains),
            "target": list(plan.targets),
            "methods": list(plan.methods),
            "precision": environment.precision,
            "device": origin["device"],
        }
        facts = {
            "study_hash": plan.hash(environment),
            "task": {"name": plan.task.name, "version": plan.task.version, "fingerprint": plan.task.fingerprint},
            "backbone": {"fingerprint": self.backbone.fingerprint, "weights_sha256": self.backbone.weights_sha256},
            "row_cap": plan.row_cap,
            "numerics": environment.numerics,
            **origin,
        }
        import yaml

        text = yaml.safe_dump(resolved | {"provenance": facts}, sort_keys=False, allow_unicode=True)
        write_text(self.folder / "study.yaml", text)
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in self.records)
        write_text(self.folder / "cells.jsonl", "".join(lines))
        write_text(self.folder / "summary.json", self.summary.to_json())
        write_text(self.folder / "evidence.json", self.evidence.to_json())
        write_text(self.folder / "report.md", markdown.render(self.summary, self.evidence))
        write_text(self.folder / "report.html", html.render(self.summary, self.evidence, self.records))
        for name in ("study.yaml", "cells.jsonl", "summary.json", "evidence.json", "report.md", "report.html"):
            clear_drafts(self.folder, f".{name}-*")
        clear_drafts(self.folder / "best", ".draft-*")
        finished = self.best_folders()
        for stale in set((self.folder / "best").glob("*")) - set(finished):
            if _recommended_before(stale):
                shutil.rmtree(stale)
        for folder, (target, shots) in finished.items():
            if not self._written(folder, target, shots):
                if folder.is_dir() and {path.name for path in folder.iterdir()} <= FILES:
                    shutil.rmtree(folder)  # a damaged one of an earlier run
                texts = list(plan.task.domains[target].train.texts[:CHECK_TEXTS])
                self.best(target, shots=shots).save(folder, texts)

    def recommended_method(self, target: str, shots: int) -> str:
        """Name of the method behind ``best``."""
        return self._recommended(target, shots, None)[1].method

    def falling_behind(self) -> list[tuple[str, float, float]]:
        """Models in ``best/`` that scored below the one of their target without target labels: name, its score, the other's.

        One draw each, as handed over; scores are measured on the target's test rows and choose nothing.
        """
        return falling_behind(self.summary, self.records)

    def best_folders(self) -> dict[Path, tuple[str, int]]:
        """Folder of each recommended model: (target, shots), budgets rising."""
        plan = self.plan
        return {
            self.folder / "best" / f"{safe_stem(target)}-{shots}": (target, shots)
            for target in plan.targets
            for shots in sorted(plan.config.shots)
            if self._finished(target, shots)
        }

    def _written(self, folder: Path, target: str, shots: int) -> bool:
        """Whether an earlier run of this study left the same model with the same scores there, whole."""
        try:
            there = load_classifier(folder, backbone=self.backbone)
        except LowresError:
            return False
        fit, cell = self._recommended(target, shots, None)
        fitted = self.store.read_fit(fit.key(self.outcome.environment))
        return (
            fitted is not None
            and holds_sums(folder, {"lowres.json", "head.safetensors", "tokenizer.json"})
            and there.about == about(self.outcome, cell, fit)
            and there.counted == counted(self.outcome, cell, fit)
            and _same(there.tensors, fitted.adapter)
            and _same(there.head, fitted.head)
        )

    def _recommended(self, target: str, shots: int, source: str | None) -> tuple[Fit, Cell]:
        if source is not None and source not in self.plan.sources:
            raise unknown_name("source domain", source, self.plan.sources)
        method = recommended(self.plan.methods, shots)
        for cell, fit in self.plan.fits.items():
            if (cell.method, cell.target, cell.shots, cell.draw) == (method, target, shots, 0) and (
                cell.source is None
                or (cell.source == source if source else cell.source in self.plan.origins.of[target])
            ):
                return fit, cell
        raise UserError(
            f"no model for target {target!r} at {shots} shots in this study",
            expected=f"targets {', '.join(self.plan.targets)}; shots {list(self.plan.config.shots)}",
        )

    def _finished(self, target: str, shots: int) -> bool:
        try:
            fit, _ = self._recommended(target, shots, None)
        except UserError:
            return False
        return fit.content not in self.outcome.failed


def classifier(outcome: Outcome, engine: Engine, backbone: Backbone, store: Store, cell: Cell, fit: Fit) -> Classifier:
    """The model of a finished cell, read from the store."""
    fitted = _kept(outcome, store, cell, fit)
    return Classifier(
        backbone=backbone,
        adapter=engine.adapter_config(fit),
        tensors=fitted.adapter,
        head=fitted.head,
        labels=fit.labels,
        max_length=fit.recipe.max_length,
        pooling=backbone.pooling,
        normalise=fit.recipe.normalise,
        tokenizer=backbone.folder,
        about=about(outcome, cell, fit),
        counted=counted(outcome, cell, fit),
        kind=outcome.plan.task.kind,
        truncation=fit.recipe.truncation,
    )


def stock_classifier(
    outcome: Outcome, engine: StockEngine, backbone: Backbone, store: Store, cell: Cell, fit: Fit
) -> StockClassifier:
    """The same with a stock head."""
    from lowres.models.stock import StockClassifier

    return StockClassifier(
        network=engine.merged(fit, _kept(outcome, store, cell, fit)),
        backbone=backbone,
        labels=fit.labels,
        max_length=fit.recipe.max_length,
        about=about(outcome, cell, fit),
        kind=outcome.plan.task.kind,
    )


def _kept(outcome: Outcome, store: Store, cell: Cell, fit: Fit) -> Fitted:
    """What the store has of a finished cell's fit."""
    fitted = store.read_fit(fit.key(outcome.environment))
    if fitted is None:
        raise StoreError(f"the fit of {cell.method} on {cell.target} is not in the store; run it again")
    return fitted


def about(outcome: Outcome, cell: Cell, fit: Fit) -> dict[str, Any]:
    """What the model card says of a cell's model, with this model's own score."""
    metric = outcome.plan.task.measure
    probabilities = outcome.probabilities.get((fit.content, cell.target))
    values = []
    if probabilities is not None:
        value = metric.score(outcome.targets(cell.target), probabilities)
        values = [{"task": cell.task, "domain": cell.target, "metric": metric.name, "value": value}]
    return {
        **cell.as_dict(),
        "train_rows": fit.rows_trained,
        "key": fit.key(outcome.environment),
        "scores": values,
    }


def counted(outcome: Outcome, cell: Cell, fit: Fit) -> Counted | None:
    """Right answers of a cell's model by confidence on its target's test rows, as the engine gave them.

    This measures one model, as a score does; no model and no recipe is chosen by it.
    """
    probabilities = outcome.probabilities.get((fit.content, cell.target))
    if probabilities is None or not KINDS[outcome.plan.task.kind].single:
        return None
    groups = outcome.plan.test_rows[cell.target].groups
    steps = operating_steps(outcome.targets(cell.target), probabilities, groups)
    return Counted(cell.task, cell.target, "test", steps)


def _recommended_before(folder: Path) -> bool:
    """Whether a run put this adapter folder here: it bears the name of the target and shots that it tells of."""
    try:
        about = json.loads((folder / "lowres.json").read_bytes())["about"]
        name = f"{safe_stem(str(about['target']))}-{about['shots']}"
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return not folder.is_symlink() and folder.name == name


def _same(tensors: Tensors, others: Tensors) -> bool:
    return tensors.keys() == others.keys() and all(
        np.array_equal(value, others[name]) for name, value in tensors.items()
    )


def check_folder(folder: Path) -> None:
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(text)
    except OSError as error:
        raise StoreError(f"{path} could not be written: {error.strerror or error}") from error
