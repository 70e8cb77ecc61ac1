"""What a study is asked to do: one dataclass for flags, config file and library."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowres import seeds
from lowres.errors import UserError, nearest
from lowres.methods.catalogue import DEFAULT
from lowres.models.adapters import LINEARS
from lowres.models.device import DEVICES, PRECISIONS
from lowres.settings import parse, setting
from lowres.training.fit import LoRA, Recipe

MAX_CONFIG_BYTES = 256 * 1024
ENGINES = ("loop",)


@dataclass(frozen=True)
class StudyConfig:
    """The request, as given. What it resolves to is written beside the results."""

    task: str | None = setting(
        "A shipped task, a task file (.yaml), a table (.csv .tsv .jsonl .parquet) or a folder.", None
    )
    source: tuple[str, ...] = setting("Source domains, separated by commas; default: all.", ())
    target: tuple[str, ...] = setting("Target domains, separated by commas; default: all.", ())
    shots: tuple[int, ...] = setting("Labelled target rows per class, separated by commas.", (0, 8, 32))
    seeds: int = setting("Number of draws.", 5)
    methods: tuple[str, ...] = setting(
        "Methods to compare; the references are always measured (lowres methods ls).", DEFAULT
    )
    backbone: str = setting("Pretrained encoder: minilm, a folder, or a hub id.", "minilm")
    revision: str | None = setting("Commit, tag or branch of a backbone given by hub id.", None)
    source_rows: int = setting("Row cap of a source fit and of the ceiling.", 1000)
    limit: int | None = setting("At most so many test rows a domain; marked in every result.", None)
    engine: str = setting("loop: one fit after another, the reference.", "loop")
    precision: str = setting("auto, fp32 or bf16; auto takes bf16 where this machine gains from it.", "auto")
    device: str = setting("auto, cpu, cuda or mps.", "auto")
    lora: LoRA = setting("Adapter settings: rank, alpha, linears, live_layers.", factory=LoRA)
    recipe: Recipe = setting("Training settings: learning_rate, min_steps, epochs, batch, max_length …", factory=Recipe)
    text_column: str | None = setting("Column of the text, for a table.", None)
    label_column: str | None = setting("Column of the label, for a table.", None)
    domain_column: str | None = setting("Column of the domain, for a table.", None)
    group_column: str | None = setting(
        "Column that says which rows belong together (review, document), for a table.", None
    )
    out: str | None = setting("Folder of the results; default: runs/TASK-HASH.", None)
    store: str = setting("Folder that keeps every fit and prediction.", "runs/store")
    force: bool = setting("Train again what the store already has.", False)

    def __post_init__(self) -> None:
        faults = [fault for fault in self._faults() if fault]
        if faults:
            raise UserError("; ".join(faults[:3]))

    def _faults(self) -> list[str | None]:
        return [
            _at_least("seeds", self.seeds, 1),
            _at_least("source-rows", self.source_rows, 2),
            _at_least("limit", self.limit, 2),
            "shots: give at least one number" if not self.shots else None,
            *(_at_least("shots", budget, 0) for budget in self.shots),
            f"shots: {list(self.shots)} repeats a number" if len(set(self.shots)) < len(self.shots) else None,
            *(_repeated(name, getattr(self, name)) for name in ("source", "target", "methods")),
            _one_of("engine", self.engine, ENGINES),
            _one_of("precision", self.precision, PRECISIONS),
            _one_of("device", self.device, DEVICES),
            *_recipe_faults(self.recipe),
            *_lora_faults(self.lora),
        ]


LISTS = ("source", "target", "shots", "methods")
ALIASES = {"live_layers": "lora.live_layers"}


def read_config(path: str | Path) -> dict[str, Any]:
    """Names and values of a config file; the ``provenance`` that a run writes beside them is left out.

    Raises:
        UserError: No such file, no YAML, or no mapping.
    """
    import yaml

    file = Path(path)
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(f"config {file} is larger than {MAX_CONFIG_BYTES // 1024} KiB")
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"config {file} could not be read", got=error.strerror) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"config {file} is no YAML that can be read", got=error) from error
    if not isinstance(loaded, dict):
        raise UserError(
            f"config {file} holds no names with values", got=type(loaded).__name__, expected="source: movie …"
        )
    return {str(name): value for name, value in loaded.items() if name != "provenance"}


def build_config(given: Mapping[str, Any], *, file: str | Path | None = None, sets: Sequence[str] = ()) -> StudyConfig:
    """A config from flags (those that were given), a file and ``key=value`` settings; the first named wins.

    Args:
        given: Flag names and values.
        file: A YAML file with the same names.
        sets: Such as ``recipe.learning_rate=5e-4``.
    """
    merged: dict[str, Any] = {}
    if file is not None:
        for name, value in read_config(file).items():
            _put(merged, name.replace("-", "_"), value)
    for text in sets:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UserError(f"--set {text}", got="no '='", expected="key=value, such as recipe.learning_rate=5e-4")
        _put(merged, name.strip().replace("-", "_"), value.strip())
    for name, value in given.items():
        _put(merged, name, value)
    for name in LISTS:
        if name in merged:
            merged[name] = _listed(merged[name])
    return parse(StudyConfig, merged, str(file) if file else "settings")


def _put(merged: dict[str, Any], name: str, value: Any) -> None:
    name = ALIASES.get(name, name)
    if name == "lora.live_layers" and value == "all":
        value = None
    if isinstance(value, Mapping):
        for inner, item in value.items():
            _put(merged, f"{name}.{inner}", item)
        return
    *path, last = name.split(".")
    place = merged
    for part in path:
        deeper = place.setdefault(part, {})
        if not isinstance(deeper, dict):
            raise UserError(f"setting {name}", got=f"{part} has a value of its own")
        place = deeper
    place[last] = value


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def _at_least(name: str, value: int | None, least: int) -> str | None:
    return None if value is None or value >= least else f"{name}: got {value}, expected at least {least}"


def _one_of(name: str, value: str, known: Sequence[str]) -> str | None:
    if value in known:
        return None
    close = nearest(value, known)
    return f"{name}: got {value!r}, expected one of {', '.join(known)}" + (
        f"; did you mean {close[0]!r}?" if close else ""
    )


def _repeated(name: str, values: tuple[str, ...]) -> str | None:
    return f"{name}: {', '.join(values)} repeats a name" if len(set(values)) < len(values) else None


def _recipe_faults(recipe: Recipe) -> list[str | None]:
    positive = {
        name: getattr(recipe, name) for name in ("learning_rate", "head_learning_rate", "batch", "min_steps", "epochs")
    }
    return [
        *(f"recipe.{name}: got {value}, expected more than 0" for name, value in positive.items() if not value > 0),
        _at_least("recipe.max_length", recipe.max_length, 4),
        None if 0 <= recipe.warmup < 1 else f"recipe.warmup: got {recipe.warmup}, expected 0 up to 1",
    ]


def _lora_faults(lora: LoRA) -> list[str | None]:
    return [
        _at_least("lora.rank", lora.rank, 1),
        _at_least("lora.alpha", lora.alpha, 1),
        _one_of("lora.linears", lora.linears, LINEARS),
        _at_least("live-layers", lora.live_layers, 1),
    ]


def safe_stem(name: str) -> str:
    """A name from data as a file name; one that had to be changed gets a few digits of its hash."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80]
    return stem if stem == name else f"{stem or 'name'}-{seeds.digest(name)[:6]}"
