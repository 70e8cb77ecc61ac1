"""What a study is asked to do: one dataclass for flags, config file and library."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowres import seeds
from lowres.data.tokens import TRUNCATIONS
from lowres.errors import UserError, nearest
from lowres.methods.settings import DEFAULT, MethodSettings
from lowres.models.adapters import LINEARS
from lowres.models.device import DEVICES, PRECISIONS
from lowres.settings import MAX_YAML_BYTES, load_yaml, parse, setting, shown
from lowres.study.presets import PRESETS
from lowres.study.protocol import PAIRS, PROTOCOLS
from lowres.training.engines import ENGINES
from lowres.training.recipe import ADAPTERS, IA3, Adapter, LoRA, Recipe, make_adapter

MOST_DRAWS = 1000
MOST = 1_000_000
"""Of anything else that is a number."""
MOST_RANK = 1024
"""As wide as the widest small encoder; a higher rank only takes memory."""


@dataclass(frozen=True)
class StudyConfig:
    """The request, as given. What it resolves to is written beside the results."""

    task: str | None = setting(
        "A shipped task, a task file (.yaml), a table (.csv .tsv .jsonl .parquet) or a folder.", None
    )
    source: tuple[str, ...] = setting("Source domains, separated by commas; default: all.", ())
    target: tuple[str, ...] = setting("Target domains, separated by commas; default: all.", ())
    protocol: str = setting(
        "What a target is learnt from; " + "; ".join(f"{name}: {what}" for name, what in PROTOCOLS.items()) + ".", PAIRS
    )
    shots: tuple[int, ...] = setting("Labelled target rows per class, separated by commas.", (0, 8, 32))
    seeds: int = setting("Number of draws.", 5)
    methods: tuple[str, ...] = setting(
        "Methods to compare; the references are always measured (lowres methods ls).", DEFAULT
    )
    backbone: str = setting("Pretrained encoder: minilm, a folder, or a hub id.", "minilm")
    revision: str | None = setting("Commit, tag or branch of a backbone given by hub id.", None)
    source_rows: int = setting(
        "Row cap of a source fit (of a set of sources together) and of the ceiling; at most the smallest training part.",
        1000,
    )
    limit: int | None = setting("At most so many test rows a domain; marked in every result.", None)
    engine: str = setting("; ".join(f"{name}: {what}" for name, what in ENGINES.items()) + ".", "fleet")
    precision: str = setting("auto, fp32 or bf16; auto takes bf16 where this machine gains from it.", "auto")
    device: str = setting("auto, cpu, cuda or mps.", "auto")
    adapter: str = setting(
        "; ".join(f"{name}: {what}" for name, (_, what) in ADAPTERS.items())
        + ". All but lora and rslora are trained by the loop engine.",
        "lora",
    )
    lora: LoRA = setting("Adapter settings: rank, alpha, linears, live_layers.", factory=LoRA)
    recipe: Recipe = setting("Training settings: learning_rate, min_steps, epochs, batch, max_length …", factory=Recipe)
    method: MethodSettings = setting("Settings of one method, such as contrastive.temperature.", factory=MethodSettings)
    text_column: str | None = setting("Column of the text, for a table.", None)
    pair_column: str | None = setting("Column of the second text, for a table whose rows are pairs of texts.", None)
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
            _at_least("seeds", self.seeds, 1) or _at_most("seeds", self.seeds, MOST_DRAWS),
            _at_least("source-rows", self.source_rows, 2),
            _at_least("limit", self.limit, 2),
            "shots: give at least one number" if not self.shots else None,
            *(_at_least("shots", budget, 0) for budget in self.shots),
            *(_repeated(name, getattr(self, name)) for name in ("shots", "source", "target", "methods")),
            _one_of("protocol", self.protocol, list(PROTOCOLS)),
            _one_of("engine", self.engine, list(ENGINES)),
            _one_of("precision", self.precision, PRECISIONS),
            _one_of("device", self.device, DEVICES),
            *_recipe_faults(self.recipe),
            *_lora_faults(self.lora),
            *self.method.faults(),
            _one_of("adapter", self.adapter, list(ADAPTERS)) or _unused(self.adapter, self.lora),
        ]

    @property
    def trained(self) -> Adapter:
        """The adapter that is trained: its kind, with the settings that it has."""
        return make_adapter(self.adapter, self.lora)


DEVICE_FILES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their ending."""
LISTS = ("source", "target", "shots", "methods")
ALIASES = {"live_layers": "lora.live_layers"}


def read_config(path: str | Path) -> dict[str, Any]:
    """Names and values of a config file; the ``provenance`` that a run writes beside them is left out.

    Raises:
        UserError: No such file, no YAML, or no mapping.
    """
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_YAML_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"config {path} could not be read", got=getattr(error, "strerror", error)) from error
    loaded = load_yaml(data, f"config {path}")
    if not isinstance(loaded, dict):
        raise UserError(f"config {path} holds no names with values", got=shown(loaded), expected="source: movie …")
    return {str(name): value for name, value in loaded.items() if name != "provenance"}


def build_config(given: Mapping[str, Any], *, file: str | Path | None = None, sets: Sequence[str] = ()) -> StudyConfig:
    """A config from flags (those that were given), a file and ``key=value`` settings; the first named wins.

    Args:
        given: Flag names and values.
        file: A YAML file with the same names. ``preset`` stands for several settings, there and among the flags.
        sets: Such as ``recipe.learning_rate=5e-4``.
    """
    merged: dict[str, Any] = {}
    content = {} if file is None else read_config(file)
    settled = dict(_pair(text) for text in sets)
    chosen = given.get("preset") or settled.get("preset")
    for values in (_preset(content.get("preset")), content, _preset(chosen), settled, given):
        for name, value in values.items():
            if name != "preset":
                _put(merged, name.replace("-", "_"), value)
    for name in LISTS:
        if name in merged:
            merged[name] = _listed(name, merged[name])
    return parse(StudyConfig, merged, str(file) if file else "settings")


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        got = "no key before '='" if sign else "no '='"
        raise UserError(f"--set {text}", got=got, expected="key=value, such as recipe.learning_rate=5e-4")
    return name.strip().replace("-", "_"), value.strip()


def _preset(name: object) -> Mapping[str, Any]:
    """The settings that a preset stands for; none without one."""
    if name is None:
        return {}
    fault = _one_of("preset", name, list(PRESETS)) if isinstance(name, str) else f"preset: got {shown(name)}"
    if fault:
        raise UserError(fault)
    return PRESETS[str(name)]


def _put(merged: dict[str, Any], name: str, value: Any) -> None:
    name = ALIASES.get(name, name)
    if name == "lora.live_layers" and value == "all":
        value = None
    if isinstance(value, Mapping):
        for inner, item in value.items():
            _put(merged, f"{name}.{inner}".replace("-", "_"), item)
        return
    *path, last = name.split(".")
    place = merged
    for part in path:
        deeper = place.setdefault(part, {})
        if not isinstance(deeper, dict):
            raise UserError(f"setting {name} is set twice", got=f"{part} has a value of its own")
        place = deeper
    if isinstance(place.get(last), dict):
        raise UserError(f"setting {name} has a value of its own", got=f"{name}.{next(iter(place[last]))} as well")
    place[last] = value


def parted(name: str, text: str) -> list[str]:
    """The values of a setting that takes several with commas.

    Raises:
        UserError: There are none.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise UserError(
            f"{name} names nothing", got=repr(text), expected="names with commas between them",
            hint=f"leave {name} out for its default",
        )  # fmt: skip
    return found


def _listed(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return parted(name, value)
    return [value] if isinstance(value, int) else value


def _at_least(name: str, value: int | None, least: int) -> str | None:
    return None if value is None or value >= least else f"{name}: got {shown(value)}, expected at least {least}"


def _at_most(name: str, value: int, most: int) -> str | None:
    return None if value <= most else f"{name}: got {shown(value)}, expected at most {most}"


def _one_of(name: str, value: str, known: Sequence[str]) -> str | None:
    if value in known:
        return None
    close = nearest(value, known)
    return f"{name}: got {shown(value)}, expected one of {', '.join(known)}" + (
        f"; did you mean {close[0]!r}?" if close else ""
    )


def _repeated(name: str, values: Sequence[object]) -> str | None:
    return f"{name}: {', '.join(map(str, values))} repeats one" if len(set(values)) < len(values) else None


def _recipe_faults(recipe: Recipe) -> list[str | None]:
    positive = {
        name: getattr(recipe, name) for name in ("learning_rate", "head_learning_rate", "batch", "min_steps", "epochs")
    }
    return [
        *(
            f"recipe.{name}: got {shown(value)}, expected more than 0, at most {MOST}"
            for name, value in positive.items()
            if not 0 < value <= MOST
        ),
        _at_least("recipe.max_length", recipe.max_length, 4),
        _one_of("recipe.truncation", recipe.truncation, list(TRUNCATIONS)),
        None if 0 <= recipe.warmup < 1 else f"recipe.warmup: got {recipe.warmup}, expected 0 up to 1",
    ]


def _lora_faults(lora: LoRA) -> list[str | None]:
    return [
        _at_least("lora.rank", lora.rank, 1) or _at_most("lora.rank", lora.rank, MOST_RANK),
        _at_least("lora.alpha", lora.alpha, 1) or _at_most("lora.alpha", lora.alpha, MOST),
        _one_of("lora.linears", lora.linears, LINEARS),
        _at_least("live-layers", lora.live_layers, 1),
    ]


def _unused(adapter: str, lora: LoRA) -> str | None:
    """Settings that were given to an adapter that has no use for them."""
    if ADAPTERS[adapter][0] is not IA3:
        return None
    given = [f"lora.{name}" for name in ("rank", "alpha", "linears") if getattr(lora, name) != getattr(LoRA(), name)]
    return f"adapter {adapter}: has no use for {', '.join(given)}" if given else None


def safe_stem(name: str) -> str:
    """A name from data as a file name on any system; one that had to be changed gets a few digits of its hash.

    In lower case, since some disks do not tell it from upper case.
    """
    stem = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")[:80]
    if DEVICE_FILES.fullmatch(stem):
        stem = f"name-{stem}"
    return stem if stem == name != "" else f"{stem or 'name'}-{seeds.digest(name)[:6]}"
