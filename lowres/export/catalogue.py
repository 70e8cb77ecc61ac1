"""The ways in which a fitted model leaves the house, by name. Imports none of their libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lowres.errors import UserError, unknown_name
from lowres.export.compared import Compared
from lowres.export.merged_folder import write_merged
from lowres.export.onnx_folder import write_fp32, write_int8
from lowres.export.peft_folder import write_peft
from lowres.export.sentence_folder import write_sentence
from lowres.files import check_free, replacing_folder, write_sums
from lowres.kinds import Given, rows_of
from lowres.models.classifier import Classifier, as_given

Writer = Callable[[Classifier, Path, Sequence[str]], Compared]
"""Writes a model into an empty folder and compares it with its origin on some rows."""
EXPORTS: Final[dict[str, Writer]] = {
    "merged": write_merged,
    "onnx": write_fp32,
    "onnx-int8": write_int8,
    "peft": write_peft,
    "sentence-transformers": write_sentence,
}
TEXTS: Final = (
    "a short text",
    "another one, a little longer",
    "I bought it last week and it was good, but the second one broke after a day.",
    "No.",
    "The plot was thin; the actors were not.",
    "What a lovely day for a walk with friends!",
    "Please send me the invoice of the third of May, and cancel the other order.",
    "it works",
)
"""On which an export is compared where no others are given."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares with its origin."""

    to: str
    folder: Path
    sizes: dict[str, int]
    """Bytes by file."""
    compared: Compared

    def as_dict(self) -> dict[str, object]:
        """The same as JSON-like data."""
        return {
            "to": self.to,
            "folder": str(self.folder),
            "bytes": sum(self.sizes.values()),
            "files": self.sizes,
            "texts": self.compared.texts,
            "gap": self.compared.gap,
            "agreement": self.compared.agreement,
        }


def write_export(model: Classifier, to: str, folder: str | Path, texts: Sequence[Given] = ()) -> Exported:
    """Writes a model as other programs read it, opens what was written and compares; nothing is left where they differ.

    Early exits stay behind: every export runs all layers.

    Args:
        model: The fitted model.
        to: A name of ``EXPORTS``.
        folder: Replaced if it is an export already.
        texts: On which both are asked; none: ``TEXTS``.

    Raises:
        UserError: An unknown name, a model that cannot be written so, missing libraries, or a folder with something else.
        LowresError: The export answers otherwise than its origin.
    """
    if to not in EXPORTS:
        raise unknown_name("export", to, EXPORTS)
    folder = Path(folder)
    check_free(folder)
    if model.backbone.computed == "dynamic":
        raise UserError(
            "a model that computes in eight bits is not exported",
            expected="one with eight bits on disk alone, or the model that it was made of",
            hint="lowres compress ADAPTER --method quantise --bits weights, or lowres export ADAPTER --to onnx-int8",
        )
    rows = rows_of(model.kind, texts if len(texts) else [as_given(model.kind, text) for text in TEXTS])
    with replacing_folder(folder) as draft:
        plain = replace(model.at_speed(0.0), exits={}) if model.exits else model
        plain = replace(plain, device="cpu", precision="fp32")
        compared = EXPORTS[to](plain, draft, rows)
        write_sums(draft)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return Exported(to, folder, sizes, compared)
