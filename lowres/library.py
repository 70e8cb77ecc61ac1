"""Studies and saved models for use inside other programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from lowres.analysis.asked import answers as answers
from lowres.analysis.asked import score as score
from lowres.analysis.asked import task_of
from lowres.analysis.measure import Scores, summarise
from lowres.analysis.noise import Doubted, find_suspects
from lowres.analysis.outlook import LEAST_TEXTS, Outlook, look_ahead, unlabelled
from lowres.analysis.power import Power, power
from lowres.analysis.rank import Suited, cached_backbones, rank
from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.sources import Progress as Download
from lowres.data.task import Task, load_task
from lowres.data.tokens import Tokens, check_truncation
from lowres.errors import FitError, UserError, unknown_name
from lowres.export.catalogue import Exported, write_export
from lowres.export.compress import MOST_TEXTS, ground
from lowres.export.compress import compress as make_smaller
from lowres.export.compression import Compression
from lowres.export.shrink import settings_of
from lowres.kinds import Given, rows_of
from lowres.methods.catalogue import ASK_LM_HEAD
from lowres.models.backbone import Backbone, find_backbone
from lowres.models.classifier import Classifier, load_classifier
from lowres.models.device import Machine, Team, numerics, resolve, team
from lowres.models.lm_head import has_lm_head
from lowres.models.patch import with_patch
from lowres.report.sentences import LEAST_CUT, too_long
from lowres.results import StudyResult, check_folder, classifier, stock_classifier, write_text
from lowres.study.config import StudyConfig, build_config, safe_stem
from lowres.study.plan import Estimate, Plan, make_plan, single_cell, single_plan, source_plan, trainable
from lowres.study.protocol import targets_of
from lowres.study.provenance import provenance
from lowres.study.runner import Progress, kept_answers, run_plan
from lowres.study.store import Store
from lowres.study.validation import Candidate, Validated, validate, validation
from lowres.training.engines import make_engine
from lowres.training.fit import STOCK, Engine, Environment, Fit
from lowres.training.recipe import Recipe
from lowres.tuning.result import Tuned, check_out, config_text, tuned
from lowres.tuning.search import Searched, check_counts, import_optuna, make_search

if TYPE_CHECKING:
    from lowres.models.stock import StockClassifier
    from lowres.training.stock import StockEngine

HEADS: Final = {
    "linear": "one linear layer over the pooled vector; answers, explains and exports here",
    STOCK: "the stock sequence-classification head of the encoder, for transformers.pipeline",
}
"""What a single fit trains on top of the encoder."""
QUICK_CHARACTERS: Final = 400_000
"""Characters that a quick look at the lengths of texts tokenises, over all domains."""


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
        UserError: A setting is wrong. What does not fit the data is said when ``plan`` is made.
    """

    def __init__(
        self,
        task: str | Path | None = None,
        *,
        sources: Iterable[str] = (),
        targets: Iterable[str] = (),
        config: StudyConfig | None = None,
        downloads: Download | None = None,
        **options: Any,
    ) -> None:
        if config is None:
            given = {"task": task, "source": _names(sources), "target": _names(targets), **options}
            config = build_config(
                {
                    name: str(value) if isinstance(value, Path) else value
                    for name, value in given.items()
                    if value is not None
                }
            )
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
            pair_column=config.pair_column,
            label_column=config.label_column,
            domain_column=config.domain_column,
            group_column=config.group_column,
            wanted=(*config.source, *config.target),
            progress=self.downloads,
        )

    @cached_property
    def backbone(self) -> Backbone:
        """The encoder."""
        return find_backbone(self.config.backbone, self.config.revision, progress=self.downloads)

    @cached_property
    def plan(self) -> Plan:
        """Cells and distinct fits; nothing is trained. Its config names the columns that were guessed."""
        columns: dict[str, Any] = dict(self.task.columns)
        return make_plan(replace(self.config, **columns), self.task, self._lm_head(*self.config.methods))

    def _lm_head(self, *methods: str | None) -> bool:
        """Whether one of the methods asks for the backbone's masked-LM head, and it is there."""
        return bool(ASK_LM_HEAD.intersection(methods)) and has_lm_head(self.backbone)

    @cached_property
    def machine(self) -> Machine:
        """Device, precision and speed."""
        return resolve(self.config.device, self.config.precision)

    @cached_property
    def team(self) -> Team:
        """The processes that run this study together, as ``torchrun`` started them; the first writes the results."""
        return team(self.machine.device)

    @cached_property
    def environment(self) -> Environment:
        """What besides the fits may change a number.

        Raises:
            UserError: The recipe keeps more tokens than the backbone can number, or more layers are to live than it has.
        """
        check_reach(self.backbone, self.config)
        return Environment(self.backbone.fingerprint, self.config.engine, self.machine.precision, numerics())

    @cached_property
    def store(self) -> Store:
        """Where fits and predictions are kept."""
        return Store(Path(self.config.store))

    @cached_property
    def tokens(self) -> Tokens:
        """The backbone's tokenizer."""
        return self.backbone.tokens()

    @cached_property
    def engine(self) -> Engine:
        """Who trains and predicts."""
        return make_engine(self.config.engine, self.backbone, self.tokens, self.machine.device, self.machine.precision)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(self.config.out or f"runs/{safe_stem(self.task.name)}-{self.plan.hash(self.environment)[:8]}")

    def stored(self) -> set[str]:
        """Contents of the fits that the store has already."""
        return {
            content for content, fit in self.plan.distinct.items() if self.store.is_whole(fit.key(self.environment))
        }

    def estimate(self, done: set[str] | None = None) -> Estimate:
        """Expected seconds and disk of what is not done; by default, what the store has is."""
        done = self.stored() if done is None else done
        return self.plan.estimate(
            self.machine.gflops,
            self.backbone.flops_per_token(self.config.lora.live_layers),
            done,
            self.backbone.layer_weights,
        )

    def power(self) -> list[Power]:
        """Which net transfer this study could show, by budget; empty before the store has two draws of it."""
        return power(Scores(kept_answers(self.plan, self.environment, self.store)))

    def truncated(self, quick: bool = False) -> dict[str, float]:
        """Share of each domain's test texts of which ``recipe.truncation`` leaves tokens unread.

        Args:
            quick: From some of the texts, in half a second or so.
        """
        tests = {name: rows.texts for name, rows in self.plan.test_rows.items()}
        recipe = self.config.recipe
        if quick:
            return about_truncated(self.tokens, tests, recipe)
        return {
            name: self.tokens.truncated(list(texts), recipe.max_length, recipe.truncation)
            for name, texts in tests.items()
        }

    @overload
    def fit(
        self,
        on: str,
        *,
        start_from: str | None = None,
        shots: int | None = None,
        method: str | None = None,
        draw: int = 0,
        head: Literal["linear"] = "linear",
    ) -> Classifier: ...

    @overload
    def fit(
        self,
        on: str,
        *,
        start_from: str | None = None,
        shots: int | None = None,
        method: str | None = None,
        draw: int = 0,
        head: str,
    ) -> Classifier | StockClassifier: ...

    def fit(
        self,
        on: str,
        *,
        start_from: str | None = None,
        shots: int | None = None,
        method: str | None = None,
        draw: int = 0,
        head: str = "linear",
    ) -> Classifier | StockClassifier:
        """One adapter on one domain, from the store if it is there; scored on the domain's test rows.

        Args:
            on: Domain to train on.
            start_from: Domain to train on first; with 0 ``shots`` the only one.
            shots: Rows per class; None: all, up to the row cap.
            method: By default ``target-full``, with shots ``target-only``, with ``start_from`` ``source-then-target``.
            draw: Which draw of rows, start and order.
            head: A name of ``HEADS``; with ``stock`` the model is one that ``transformers.pipeline`` opens.
        """
        if head not in HEADS:
            raise unknown_name("head", head, HEADS)
        cell = single_cell(self.task, on, start_from, shots, method, draw)
        plan = single_plan(self.config, self.task, cell, self._lm_head(cell.method))
        fit, origin = plan.fits[cell], provenance(self.machine.device, self.machine.precision)
        stock = self._stock_engine(fit, cell.method) if head == STOCK else None
        environment = replace(self.environment, engine=STOCK) if stock else self.environment
        outcome = run_plan(plan, stock or self.engine, environment, self.store, origin, force=self.config.force)
        for error in outcome.failed.values():
            raise FitError(f"the fit on {on} failed: {error}")
        if stock:
            return stock_classifier(outcome, stock, self.backbone, self.store, cell, fit)
        return classifier(outcome, self.engine, self.backbone, self.store, cell, fit)

    def _stock_engine(self, fit: Fit, method: str) -> StockEngine:
        """Who trains a fit with a stock head, if it can be."""
        from lowres.training.stock import StockEngine, check_stock

        check_stock(fit, method)
        return StockEngine(self.backbone, self.tokens, self.machine.device, self.machine.precision, fit.labels)

    def forecast(
        self, texts: Sequence[Given] | None = None, name: str = "texts", progress: Progress | None = None
    ) -> Outlook:
        """What models of the sources will score on the targets, without a look at any target label.

        Trains ``source-only`` on each source, from the store if it is there.

        Args:
            texts: Texts of one further domain, or tuples of two for a task of pairs, in place of the targets of the study.
            name: What to call it.
            progress: Told how far it is.

        Raises:
            UserError: A domain that cannot be used, or too few texts.
            FitError: A fit could not be trained; the others are kept.
        """
        config, targets = self.config, self._unlabelled(texts, name)
        plan = source_plan(config, self.task, [rows.domain for rows in targets])
        if not plan.pairs:
            raise UserError("the target is the source", expected="another domain, or texts of their own")
        origin = provenance(self.machine.device, self.machine.precision)
        outcome = run_plan(
            plan, self.engine, self.environment, self.store, origin, force=config.force, progress=progress
        )
        for error in outcome.failed.values():
            raise FitError(f"{len(outcome.failed)} of {len(plan.distinct)} source fits failed: {error}")
        name_of_backbone = self.backbone.hub_id or self.backbone.name
        return look_ahead(outcome, self.engine, self.store, name_of_backbone, targets)

    def fits_ahead(self, texts: Sequence[Given] | None = None, name: str = "texts") -> int:
        """How many fits ``forecast`` needs."""
        return len(
            source_plan(self.config, self.task, [rows.domain for rows in self._unlabelled(texts, name)]).distinct
        )

    def _unlabelled(self, texts: Sequence[Given] | None, name: str) -> list[Rows]:
        """What is forecast for: these texts, or the test texts of the targets."""
        task, config = self.task, self.config
        task.check_single("a forecast")
        if texts is not None:
            if name in task.domains:
                raise UserError(f"the texts cannot be called {name}", got="a domain of the task")
            return [unlabelled(name, rows_of(task.kind, texts))]
        names = config.target or targets_of(config.protocol, list(task.domains), config.source or trainable(task))
        parts = [splits.limit_test(task.name, task.domain(one).test, config.limit) for one in names]
        asked = [rows for rows in parts if config.target or len(rows) >= LEAST_TEXTS]
        return [unlabelled(rows.domain, rows.texts, rows.groups) for rows in asked]

    def validate(
        self, *, by: str | None = None, folds: int = 4, dev_rows: int | None = None, progress: Progress | None = None
    ) -> dict[str, Validated]:
        """The score of each method at the study's one budget, by draw, from rows that a choice may look at.

        Args:
            by: ``source-dev`` or ``few-shot``, see ``tune``.
            folds: Of the cross-validation.
            dev_rows: At most so many dev rows a source.
            progress: Told of the waves of fits.

        Raises:
            UserError: The request does not fit the data.
            FitError: A fit could not be trained; the others are kept.
        """
        names = self.config.methods
        how = validation(
            self.config, self.task, names, by=by, folds=folds, dev_rows=dev_rows, lm_head=self._lm_head(*names)
        )
        candidates = [Candidate(name, self.config) for name in names]
        origin = provenance(self.machine.device, self.machine.precision)
        found, _ = validate(how, candidates, self.engine, self.environment, self.store, origin, progress)
        for one in found:
            if isinstance(one, FitError):
                raise one
        return {one.candidate.method: one for one in found if isinstance(one, Validated)}

    def tune(
        self,
        *,
        by: str | None = None,
        trials: int = 24,
        wave: int = 8,
        folds: int = 4,
        over: Sequence[str] = (),
        dev_rows: int | None = None,
        study_db: str | Path | None = None,
        out: str | Path | None = None,
        progress: Progress | None = None,
        told: Callable[[Searched], None] = lambda _: None,
    ) -> Tuned:
        """Searches recipe, rank and method settings of the study's methods at its one budget; writes the chosen config.

        Reads no dev or test row of a target. Can be interrupted and called again; more ``trials`` go on from those made.

        Args:
            by: ``source-dev`` (dev rows of the source) or ``few-shot`` (cross-validation over the target shots); None: the
                latter, at 0 shots the former.
            trials: In all; the first are the default recipes of the methods.
            wave: Trials that are proposed, and trained together, at once.
            folds: Of the cross-validation; at most one a shot is made.
            over: Settings that are searched, by path; none: all that the methods feel.
            dev_rows: At most so many dev rows a source.
            study_db: SQLite file of the search; None: ``tune.db`` beside the store.
            out: YAML file of the chosen config, every trial beside it as JSON; None: ``runs/TASK-tuned-HASH.yaml``.
            progress: Told of the waves of fits.
            told: Told after every wave of trials.

        Raises:
            UserError: The request does not fit the data, Optuna is not installed, or a file cannot be used.
            FitError: The default recipe could not be trained.
        """
        import_optuna()
        columns: dict[str, Any] = dict(self.task.columns)
        config = replace(self.config, **columns)
        check_counts(trials, wave, len(config.methods))
        how = validation(
            config,
            self.task,
            config.methods,
            by=by,
            folds=folds,
            dev_rows=dev_rows,
            lm_head=self._lm_head(*config.methods),
        )
        origin = provenance(self.machine.device, self.machine.precision)
        search = make_search(how, config.methods, config, self.engine, self.environment, self.store, origin, list(over))
        path = Path(out or f"runs/{safe_stem(self.task.name)}-tuned-{search.name[:8]}.yaml")
        check_out(path)
        database = Path(study_db) if study_db else self.store.folder.parent / "tune.db"
        done = search.go(database, trials, wave, progress, told)
        found = tuned(search, done, self.backbone.hub_id or self.backbone.name)
        found = found.model_copy(update={"config": str(path)})
        write_text(path, config_text(search, done, found, origin))
        write_text(path.with_suffix(".json"), found.to_json())
        return found

    def run(self, progress: Progress | None = None) -> StudyResult:
        """Trains what the store lacks, measures, and writes the run folder. Can be interrupted and run again."""
        recipe = self.config.recipe
        above = next(place for place in (self.store.folder, *self.store.folder.parents) if place.exists())
        if not above.is_dir():
            raise UserError(
                f"the store cannot be {self.store.folder}: {above} is a file",
                expected="a folder",
                hint="choose another --store",
            )
        began = time.perf_counter()
        truncated = self.truncated()
        encoding = time.perf_counter() - began
        if self.stored() < set(self.plan.distinct):
            self.engine.features(["a text"], recipe)  # an encoder that cannot be loaded is said at once
        check_folder(self.folder)
        origin = provenance(self.machine.device, self.machine.precision, self.team.rank)
        outcome = run_plan(
            self.plan,
            self.engine,
            self.environment,
            self.store,
            origin,
            force=self.config.force,
            progress=progress,
            team=self.team,
        )
        outcome.seconds.encode = encoding
        outcome.seconds.total = time.perf_counter() - began
        if any(share >= LEAST_CUT for share in truncated.values()):
            outcome.warnings.append(too_long(truncated, recipe.max_length, recipe.truncation))
        if outcome.trained and self.engine.notice:
            outcome.warnings.append(self.engine.notice)
        scores = Scores(outcome)
        result = StudyResult(
            scores,
            self.engine,
            self.backbone,
            self.store,
            self.folder,
            summarise(scores, self.backbone.hub_id or self.backbone.name),
        )
        if self.team.rank == 0:
            result.write(origin)
        return result


def about_truncated(tokens: Tokens, texts: Mapping[str, Sequence[str]], recipe: Recipe) -> dict[str, float]:
    """Share of each domain's texts of which a recipe leaves tokens unread, from as many of them as takes half a second."""
    each = QUICK_CHARACTERS // max(1, len(texts))
    reading = recipe.max_length, each, recipe.truncation
    return {name: tokens.truncated_about(own, *reading) for name, own in texts.items()}


def check_reach(backbone: Backbone, config: StudyConfig) -> None:
    """Raises a ``UserError`` where the recipe keeps more tokens, or adapts more layers, than the backbone has."""
    longest, live = config.recipe.max_length, config.lora.live_layers
    if longest > backbone.longest:
        raise UserError(
            f"recipe.max_length is too long for backbone {backbone.name}",
            got=longest,
            expected=f"at most {backbone.longest}",
        )
    if live is not None and live > backbone.layers:
        raise UserError(
            f"backbone {backbone.name} has not so many layers",
            got=f"--live-layers {live}",
            expected=f"1 to {backbone.layers}, or all",
        )


def _names(given: Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def rank_backbones(
    task: str | Path | Task,
    backbones: Sequence[str] = (),
    *,
    rows: int = 500,
    device: str = "auto",
    progress: Download | None = None,
) -> list[Suited]:
    """Backbones by how well their frozen features suit a task (LogME), the best first; trains nothing.

    Args:
        task: As of a ``Study``, or a prepared one.
        backbones: Names, folders or hub ids; none: those of the catalogue that are in the cache.
        rows: Training rows a domain.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Told how far a download is.

    Raises:
        UserError: An unknown backbone, none in the cache, or no rows to rank on.
    """
    if rows < 2:
        raise UserError("rows", got=rows, expected="at least 2")
    names = list(dict.fromkeys(backbones)) or cached_backbones()
    if not names:
        raise UserError("no backbone is in the cache", hint="lowres models fetch minilm")
    loaded = task if isinstance(task, Task) else load_task(task, progress=progress)
    machine = resolve(device)

    def engine(backbone: Backbone) -> Engine:
        return make_engine("fleet", backbone, backbone.tokens(), machine.device, machine.precision)

    found = (find_backbone(name, progress=progress) for name in names)
    return rank(loaded, found, engine, rows, Recipe())


def doubted_labels(
    task: str | Path | Task,
    *,
    backbone: str = "minilm",
    recipe: Mapping[str, object] | None = None,
    device: str = "auto",
    progress: Download | None = None,
) -> list[Doubted]:
    """By domain, the train and dev rows whose label is probably wrong (confident learning); looks at no test row.

    Args:
        task: As of a ``Study``, or a prepared one; one label a text.
        backbone: Name, folder or hub id of the encoder whose frozen features are used.
        recipe: How texts are read, as of a ``Study``: ``max_length``, ``truncation``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Told how far a download is.

    Raises:
        UserError: A task of another kind or with too few rows, an unknown backbone or one that reads less, or cleanlab is
            not installed.
    """
    loaded = task if isinstance(task, Task) else load_task(task, progress=progress)
    config = build_config({"backbone": backbone, "recipe": dict(recipe or {})})
    check_truncation(config.recipe.truncation, loaded.kind)
    found, machine = find_backbone(backbone, progress=progress), resolve(device)
    check_reach(found, config)
    engine = make_engine("fleet", found, found.tokens(), machine.device, machine.precision)
    return find_suspects(loaded, engine, config.recipe)


def compress(
    model: Classifier | str | Path,
    out: str | Path,
    *,
    method: str,
    task: str | Path | Task | None = None,
    sources: Iterable[str] = (),
    targets: Iterable[str] = (),
    limit: int | None = None,
    texts: int = MOST_TEXTS,
    max_loss: float | None = None,
    progress: Callable[[float], None] = lambda _: None,
    **settings: object,
) -> Compression:
    """A smaller or faster model in a folder of its own, compared with the one that it was made of.

    Args:
        model: A fitted one, or the folder of a saved one.
        out: Folder of the new model.
        method: ``distil``, ``prune``, ``lowrank``, ``quantise`` or ``early-exit``.
        task: Where it is compared; None: the shipped task that it was made for.
        sources: Domains; none: what it was trained on.
        targets: Domains; none: the one it was made for, without a source all others.
        limit: At most so many test rows a domain.
        texts: At most so many train texts a domain; their labels are not looked at.
        max_loss: Refuse a model whose score on any domain falls by more.
        progress: Told how far it is, 0 … 1.
        settings: Of the method, see ``lowres.export.shrink``.

    Raises:
        UserError: The request does not fit the model or the task.
        MaxLossError: The score fell by more than ``max_loss``; nothing is written. Its ``found`` is what was measured.
    """
    found = settings_of(method, settings)
    model = model if isinstance(model, Classifier) else load(model)
    loaded = task_of(model, task, wanted=(*_names(sources), *_names(targets)))
    where = ground(model, loaded, sources=_names(sources), targets=_names(targets), limit=limit, texts=texts)
    return make_smaller(model, where, method, found, out, max_loss=max_loss, told=progress)


def load(
    folder: str | Path,
    *,
    backbone: str | None = None,
    patch: str | Path | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> Classifier:
    """A saved adapter: ``predict``, ``predict_proba``, ``save``. See ``lowres.models.classifier.load_classifier``.

    Args:
        folder: Of the adapter.
        backbone: The encoder, if it is not where the adapter says.
        patch: A folder of ``lowres patch`` that is put on; saving the model then bakes it in.
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.
    """
    model = load_classifier(folder, backbone=backbone, device=device, precision=precision)
    return with_patch(model, folder, patch)


def export_model(
    adapter: Classifier | str | Path,
    to: str,
    out: str | Path,
    *,
    texts: Sequence[Given] = (),
    backbone: str | None = None,
) -> Exported:
    """Writes a model as other programs read it, opens it there and compares. See ``lowres.export.catalogue.write_export``.

    Args:
        adapter: A fitted model, or the folder of a saved one.
        to: A name of ``lowres.export.catalogue.EXPORTS``: ``merged``, ``onnx``, ``onnx-int8``, ``peft``,
            ``sentence-transformers``.
        out: Folder of the export.
        texts: On which both are asked; none: some short ones.
        backbone: The encoder of a saved model, if it is not where its folder says.
    """
    model = adapter if isinstance(adapter, Classifier) else load(adapter, backbone=backbone)
    return write_export(model, to, out, texts)
