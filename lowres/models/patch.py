"""A patch: a small change of one saved adapter, kept in a folder of its own, put on by name and taken off by not naming it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from lowres.errors import UserError, clean
from lowres.files import SUMS, holds_sums, write_sums
from lowres.models import adapters
from lowres.models.card import SEEN
from lowres.models.classifier import Classifier, read_json, read_tensors
from lowres.models.several import plain_scale_of
from lowres.settings import parse, shown

RECORD: Final = "patch.json"
WEIGHTS: Final = "patch.safetensors"
FILES: Final = frozenset({"README.md", RECORD, WEIGHTS, SUMS})
"""What a patch folder consists of."""
MOST_RANK: Final = 4
HEAD: Final = "head."
"""What the names of the differences of the head begin with; all others are LoRA's under PEFT's names, of scale 1."""
Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Measured:
    """Scores of one domain's kept test rows without and with the patch."""

    domain: str
    rows: int
    """Test rows that were scored."""
    left_out: int
    """Test rows that are the same as a fix, or of a group with one, and are not scored."""
    before: float
    after: float
    low: float
    """Of the 95 % interval of after − before, paired over the test groups of this one model."""
    high: float

    @property
    def change(self) -> float:
        """After − before."""
        return self.after - self.before


@dataclass(frozen=True)
class PatchRecord:
    """``patch.json``."""

    schema: Literal[1]
    adapter: str
    """Fingerprint of the model that it belongs to."""
    labels: tuple[str, ...]
    rank: int
    fixes: int
    seen: tuple[str, ...]
    """Marks (``lowres.data.leaks.mark``) of the fixes, and of the test rows that are nearly the same, sorted."""
    mended: int
    """Fixes that the model without the patch answers wrongly."""
    replayed: int
    """Train rows on which the model was held to its own answers."""
    steps: int
    task: str
    metric: str
    max_loss: float
    domains: tuple[Measured, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= MOST_RANK:
            raise ValueError(f"rank: got {self.rank}, expected 1 to {MOST_RANK}")


@dataclass(frozen=True)
class Patch:
    """What a patch folder holds.

    Args:
        record: Where it belongs and what it did.
        tensors: LoRA on the linears of the adapter, of scale 1, and the differences ``head.weight`` and ``head.bias``.
    """

    record: PatchRecord
    tensors: Tensors


def fingerprint(model: Classifier) -> str:
    """Hash of a model's tensors, its labels, how it reads, and its backbone's weights.

    Not in it: the files of the tokenizer, the configuration of the encoder, and early exits, which no patch goes beside.
    """
    digest = hashlib.sha256()
    settings = {
        "labels": model.labels,
        "kind": model.kind,
        "reading": [model.max_length, model.pooling, model.normalise, model.truncation],
        "backbone": model.backbone.weights_sha256,
        "scale": adapters.plain_scale(model.adapter),
    }
    digest.update(json.dumps(settings).encode("utf-8", "surrogatepass"))
    for part in (model.tensors, model.head):
        for name in sorted(part):
            digest.update(f"{name} {part[name].dtype} {part[name].shape}".encode())
            digest.update(np.ascontiguousarray(part[name]).tobytes())
    return digest.hexdigest()


def check_patchable(model: Classifier, name: str | Path) -> None:
    """Raises a ``UserError`` where a patch has nothing to go beside: another adapter than plain LoRA, or an encoder or
    exits of the model's own.
    """
    plain_scale_of(name, model)
    if model.whole or model.exits:
        raise UserError(
            f"{name} is a compressed model",
            expected="the adapter that it was made of",
            hint="patch the adapter, then compress it again",
        )


def patched(model: Classifier, patch: Patch, name: str | Path = "the adapter") -> Classifier:
    """The model with a patch on: an ordinary one whose LoRA is both side by side; saving it bakes the patch in.

    Args:
        model: The one that the patch was made for.
        patch: As of ``read_patch``.
        name: Of the model, for errors.

    Raises:
        UserError: The patch was made for another model, or its tensors fit no such model.
    """
    check_patchable(model, name)
    own = fingerprint(model)
    if patch.record.adapter != own or patch.record.labels != model.labels:
        raise UserError(
            f"the patch was made for another adapter than {name}",
            got=f"a patch of {shown(patch.record.adapter[:12])} with labels {', '.join(patch.record.labels)}",
            expected=f"one of {own[:12]} with labels {', '.join(model.labels)}",
        )
    _check_shapes(model, patch)
    scale = adapters.plain_scale(model.adapter) or 0.0
    tensors = adapters.beside([model.tensors, _lora(patch.tensors)], [scale, 1.0])
    about = {
        **model.about,
        "patch": f"{patch.record.fixes} fixes",
        SEEN: sorted({*marks_of(model), *patch.record.seen}),
        "scores": _scores(patch.record),
    }
    return replace(
        model,
        adapter=adapters.plain_config(model.adapter or {"peft_type": "LORA"}, tensors),
        tensors=tensors,
        head={part: model.head[part] + patch.tensors[HEAD + part] for part in ("weight", "bias")},
        about=about,
        counted=None,
    )


def marks_of(model: Classifier) -> frozenset[str]:
    """Marks (``lowres.data.leaks.mark``) of the texts that patches have taught a model, on its folder or baked in.

    Raises:
        UserError: What its folder says is no list of them.
    """
    marks = model.about.get(SEEN, ())
    if not isinstance(marks, list | tuple) or not all(isinstance(mark, str) for mark in marks):
        raise UserError(
            "the adapter does not say which texts it was taught", got=shown(marks), expected="a list of marks"
        )
    return frozenset(marks)


def read_patch(folder: str | Path) -> Patch:
    """A saved patch. Reads safetensors and JSON only.

    Raises:
        UserError: No patch folder, or a damaged one.
    """
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} is no patch folder", got=f"no {RECORD}", hint="lowres patch ADAPTER FIXES makes one")
    content = read_json(folder / RECORD, "patch folder")
    record = parse(PatchRecord, content, f"patch folder {folder} is damaged: {RECORD}")
    if not holds_sums(folder, {RECORD, WEIGHTS}):
        raise UserError(f"patch folder {folder} is damaged", got=f"files other than {SUMS} says", hint="copy it again")
    tensors = read_tensors(folder, WEIGHTS, "patch folder")
    ranks = {value.shape[0 if ".lora_A." in name else 1] for name, value in _lora(tensors).items() if value.ndim == 2}
    pairs = {name.replace(".lora_B.", ".lora_A.") for name in _lora(tensors)}
    whole = {HEAD + "weight", HEAD + "bias"} <= set(tensors) and 2 * len(pairs) == len(tensors) - 2
    if ranks != {record.rank} or not whole:
        raise UserError(
            f"patch folder {folder} is damaged: {WEIGHTS}",
            got=f"{len(tensors)} tensors of ranks {sorted(ranks)}",
            expected=f"pairs of rank {record.rank} and the head",
        )
    return Patch(record, tensors)


def write_patch(patch: Patch, folder: Path) -> None:
    """Writes a patch into a folder that holds nothing, or one."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in patch.tensors.items()}, folder / WEIGHTS)
    record = json.dumps(asdict(patch.record), indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(record + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(patch.record), encoding="utf-8")
    write_sums(folder)


def with_patch(model: Classifier, adapter: str | Path, folder: str | Path | None) -> Classifier:
    """A loaded model with the patch of a folder on, or as it is where none is named.

    Raises:
        UserError: As of ``read_patch`` and ``patched``.
    """
    return model if folder is None else patched(model, read_patch(folder), adapter)


def _check_shapes(model: Classifier, patch: Patch) -> None:
    """Refuses tensors that are not those of the model's linears, of the patch's rank, and of its head: a fingerprint can be
    copied. Where the model has no adapter, PEFT compares the linears with the encoder.
    """
    rank, head = patch.record.rank, {HEAD + part: model.head[part].shape for part in ("weight", "bias")}
    sides = {
        name: (rank, value.shape[1]) if ".lora_A." in name else (value.shape[0], rank)
        for name, value in (model.tensors or _lora(patch.tensors)).items()
        if value.ndim == 2
    }
    wanted, found = {**sides, **head}, {name: value.shape for name, value in patch.tensors.items()}
    if found != wanted:
        name = next(name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name))
        raise UserError(
            "the patch does not fit the adapter that it names",
            got=f"{shown(name)} {_size(found.get(name))}",
            expected=_size(wanted.get(name)),
            hint="make it again: lowres patch ADAPTER FIXES",
        )


def _size(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " × ".join(map(str, shape))


def _lora(tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
    return {name: value for name, value in tensors.items() if not name.startswith(HEAD)}


def _scores(record: PatchRecord) -> list[dict[str, Any]]:
    """The measured scores, as a model card has them."""
    return [
        {"task": record.task, "domain": one.domain, "metric": record.metric, "value": one.after}
        for one in record.domains
    ]


def _card(record: PatchRecord) -> str:
    lines = [
        f"- {clean(one.domain)}: {clean(record.metric)} {one.before:.4f} → {one.after:.4f} on {one.rows} test rows,"
        f" change {one.change:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
        for one in record.domains
    ]
    return "\n".join(
        [
            "# A patch of a lowres adapter",
            "",
            f"{record.fixes} corrected rows, {record.mended} of which the adapter answered wrongly; all are right with it. It"
            f" belongs to the adapter with fingerprint `{record.adapter[:12]}…` and to no other.",
            "",
            f"Task `{clean(record.task)}`, no domain may lose more than {record.max_loss:g}:",
            "",
            *lines,
            "",
            "Intervals are over the test groups of this one model. Put it on: `lowres predict ADAPTER --patch THIS`, or"
            ' `lowres.load("ADAPTER", patch="THIS")`; without the name it is off.',
            "",
        ]
    )
