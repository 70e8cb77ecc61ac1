"""A fitted classifier: backbone, adapter and head together; saved as an ordinary PEFT folder, and loaded from one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from lowres.data.rows import unit_sizes
from lowres.data.tokens import HEAD, Tokens, truncations
from lowres.errors import LowresError, UserError, clean
from lowres.files import SUMS, replacing_folder, write_sums
from lowres.kinds import KINDS, Given, check_list, rows_of
from lowres.models import adapters, early_exit, encoder
from lowres.models.abstention import Counted, operating
from lowres.models.backbone import NAMED, TOKENIZER_FILES, Backbone, copy_encoder, copy_tokenizer, find_backbone, inside
from lowres.models.card import model_card
from lowres.scoring.multilabel import GIVEN_FROM
from lowres.scoring.operating import Operating, operating_steps
from lowres.settings import parse, shown

if TYPE_CHECKING:
    from torch import nn

    from lowres.models.packed import PackedEncoder

SCHEMA = 1
ENCODER = "encoder"
"""Folder of the encoder of a model that brings its own."""
EXITS = "exits.safetensors"
FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
    ENCODER,
    EXITS,
    "compression.json",
    "lowres.json",
    SUMS,
    *TOKENIZER_FILES,
}
"""What an adapter folder consists of."""
STOCK_FILE = "lowres-stock.json"
"""In a folder with a stock head, what is known of it."""
CHECK_TEXTS = ("a short text", "another one, a little longer")
MAX_JSON_BYTES = 16 * 1024 * 1024
Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Origin:
    """Which backbone an adapter belongs to, and where it was."""

    name: str
    hub_id: str | None
    revision: str | None
    folder: str | None
    weights_sha256: str


@dataclass(frozen=True)
class Record:
    """``lowres.json``."""

    schema: Literal[1]
    labels: tuple[str, ...]
    pooling: str
    normalise: bool
    max_length: int
    backbone: Origin
    about: dict[str, Any]
    counted: Counted | None = None
    """Absent from folders of earlier versions."""
    kind: str = "classification"
    """The same."""
    truncation: str = HEAD
    """Absent where it is ``head``."""
    speed: float = 0.0
    """Absent where there are no early exits."""

    def __post_init__(self) -> None:
        if len(set(self.labels)) < max(2, len(self.labels)):
            raise ValueError("labels: expected at least two different names")
        if self.kind not in KINDS:
            raise ValueError(f"kind: got {shown(self.kind)}, expected one of {', '.join(KINDS)}")
        if self.pooling not in ("mean", "cls"):
            raise ValueError(f"pooling: got {shown(self.pooling)}, expected mean or cls")
        if self.max_length < 1:
            raise ValueError("max_length: expected at least 1")
        if not 0 <= self.speed <= 1:
            raise ValueError(f"speed: got {shown(self.speed)}, expected 0 to 1")
        if self.truncation not in (known := truncations(self.kind)):
            raise ValueError(
                f"truncation: got {shown(self.truncation)}, expected {' or '.join(known)} for kind {self.kind}"
            )


@dataclass(frozen=True)
class Classifier:
    """A text classifier over one backbone.

    Args:
        backbone: The frozen encoder.
        adapter: PEFT configuration as in ``adapter_config.json``; None for a frozen backbone.
        tensors: The adapter's weights under PEFT's names.
        head: ``weight`` [classes, hidden] and ``bias`` [classes].
        labels: Names of the classes, in the order of the head.
        max_length: Tokens of a sequence.
        pooling: ``mean`` or ``cls``.
        normalise: Whether pooled vectors have length 1.
        tokenizer: Folder of the tokenizer's files.
        about: Task, training and measured scores, for the model card.
        counted: Its right answers by confidence, where it can say when to abstain.
        kind: A name of ``lowres.kinds.KINDS``. A model of kind ``pair`` reads tuples of two texts, one of ``tokens`` lists of words,
            others texts.
        truncation: What is read of a text with more tokens, a name of ``lowres.data.tokens.TRUNCATIONS``.
        whole: Whether the encoder is this model's own and is saved with it.
        exits: Heads on the layers below the last, ``weight`` [layers − 1, outputs, hidden] and ``bias``; empty: none.
        speed: With exits, how uncertain a text may be to leave early, 0 … 1; at 0 all go through every layer.
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.
    """

    backbone: Backbone
    adapter: Mapping[str, Any] | None
    tensors: Tensors
    head: Tensors
    labels: tuple[str, ...]
    max_length: int
    pooling: str
    normalise: bool
    tokenizer: Path
    about: Mapping[str, Any]
    counted: Counted | None = None
    kind: str = "classification"
    truncation: str = HEAD
    whole: bool = False
    exits: Tensors = field(default_factory=dict)
    speed: float = 0.0
    device: str = "cpu"
    precision: str = "fp32"

    def __repr__(self) -> str:
        method = self.about.get("method", "fitted")
        return f"Classifier({self.backbone.name}, {method}, {self.kind}: {len(self.labels)} labels, {clean(', '.join(self.labels[:4]))})"

    def predict_proba(self, texts: Sequence[Given]) -> npt.NDArray[np.float32]:
        """Probabilities in the order of ``labels``, [texts, classes]; of a model of words [words of all texts, tags]; of one of
        numbers the numbers, [texts, 1].

        Raises:
            UserError: Not texts, or not pairs of texts, or lists of words, where the model reads those.
        """
        if self.exits and self.speed:
            return self.leave(texts).answers
        vectors = encoder.features(
            self.network,
            self.tokens,
            rows_of(self.kind, texts),
            max_length=self.max_length,
            pooling=self.pooling,
            normalise=self.normalise,
            device=self.device,
            precision=self.precision,
            truncation=self.truncation,
        )
        return encoder.said(vectors, self.head, self.kind, self.labels)

    def leave(self, texts: Sequence[Given], speed: float | None = None) -> early_exit.Left:
        """Answers of a model with early exits, as ``predict_proba``, and the layers that each text went through.

        Args:
            texts: Any number of them.
            speed: In place of the model's own.

        Raises:
            UserError: The model has no exits, or the speed is none.
        """
        speed = self.at_speed(self.speed if speed is None else speed).speed
        rows = rows_of(self.kind, texts)
        if not rows:
            return early_exit.Left(
                encoder.said(np.zeros((0, 0), dtype=np.float32), self.head), np.zeros(0, dtype=np.int64)
            )
        return early_exit.leave(self.packed, self.tokens, rows, self.reading, self.exits, self.head, speed, self.device)

    def at_speed(self, speed: float) -> Classifier:
        """The same model, where a text leaves at this uncertainty; what was measured at another one does not hold for it.

        Raises:
            UserError: The model has no exits, or the speed is none.
        """
        if not self.exits:
            raise UserError(
                "the model has no early exits", hint="lowres compress ADAPTER --method early-exit --out DIR"
            )
        if not 0 <= speed <= 1:
            raise UserError("no such speed", got=speed, expected="0 (every layer) to 1 (the first)")
        if speed == self.speed:
            return self
        return replace(self, speed=speed, counted=None, about={**self.about, "scores": []})

    @property
    def reading(self) -> early_exit.Reading:
        """How it reads texts."""
        return early_exit.Reading(
            self.kind, self.labels, self.max_length, self.pooling, self.normalise, self.truncation
        )

    @cached_property
    def packed(self) -> PackedEncoder:
        """The encoder, without an adapter, as it runs layer by layer."""
        return early_exit.packed(self.network, self.precision)

    @overload
    def predict(self, texts: Sequence[Given]) -> list[str]: ...

    @overload
    def predict(self, texts: Sequence[Given], *, min_precision: float) -> list[str | None]: ...

    def predict(self, texts: Sequence[Given], *, min_precision: float | None = None) -> list[str] | list[str | None]:
        """The most probable label of each text. For kinds with other answers: ``predict_all``.

        Args:
            texts: Any number of them.
            min_precision: Share of the answers that have to be right; None for a text that it then does not answer.

        Raises:
            UserError: The labels that the model was measured on do not support this precision.
        """
        if not KINDS[self.kind].single:
            raise UserError(f"the model gives {KINDS[self.kind].title}", expected="predict_all")
        threshold = 0.0 if min_precision is None else self.operating(min_precision).threshold
        check_list(texts)
        if not len(texts):
            return []
        rows = self.predict_proba(texts)
        named = [self.labels[place] for place in rows.argmax(axis=1)]
        if min_precision is None:
            return named
        return [label if sure >= threshold else None for label, sure in zip(named, rows.max(axis=1), strict=True)]

    def predict_all(self, texts: Sequence[Given]) -> list[Any]:
        """One answer a text, as its kind has it: a label; of words a list of tags; of any number of labels a list of those from
        a probability of one half on; of a regression a number.

        Args:
            texts: Any number of them.

        Raises:
            UserError: As of ``predict_proba``.
        """
        return self.answers_of(self.predict_proba(texts), texts) if len(texts) else []

    def answers_of(self, rows: npt.NDArray[np.float32], texts: Sequence[Given]) -> list[Any]:
        """The same from what ``predict_proba`` said of the texts."""
        if KINDS[self.kind].answer == "value":
            return [float(row[0]) for row in rows]
        if KINDS[self.kind].answer == "many":
            return [[label for label, sure in zip(self.labels, row, strict=True) if sure >= GIVEN_FROM] for row in rows]
        named = [self.labels[place] for place in rows.argmax(axis=1)]
        if KINDS[self.kind].unit == "text":
            return named
        ends = np.cumsum(unit_sizes(rows_of(self.kind, texts)))
        return [named[end - size : end] for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)]

    def operating(self, precision: float) -> Operating:
        """The confidence from which on answers keep a precision, and what that rests on."""
        if not KINDS[self.kind].single:
            raise UserError(f"a precision is promised for one label a text, the model gives {KINDS[self.kind].title}")
        return operating(self.counted, precision)

    def counted_on(
        self,
        texts: Sequence[Given],
        labels: Sequence[str],
        *,
        groups: Sequence[str] | None = None,
        task: str = "own",
        domain: str = "own texts",
        part: str = "given",
    ) -> Classifier:
        """The same model, able to say when to abstain. The rows must not be among those it was trained on.

        Args:
            texts: Labelled rows like those to come.
            labels: Their labels by name.
            groups: What each row belongs to; None: rows are independent.
            task: Where the rows come from, for people.
            domain: The same.
            part: The same.
        """
        if not KINDS[self.kind].single:
            raise UserError(f"right answers are not counted for {KINDS[self.kind].title}", expected="one label a text")
        unknown = sorted(set(labels) - set(self.labels))
        if unknown or not len(texts) or len(texts) != len(labels):
            got = f"labels {', '.join(unknown)}" if unknown else f"{len(texts)} texts, {len(labels)} labels"
            raise UserError(
                "no rows to count right answers on", got=got, expected=f"labels of {', '.join(self.labels)}"
            )
        targets = np.array([self.labels.index(label) for label in labels], dtype=np.int64)
        own = groups if groups is not None else [str(number) for number in range(len(texts))]
        steps = operating_steps(targets, self.predict_proba(texts), own)
        return replace(self, counted=Counted(task, domain, part, steps))

    def save(
        self, folder: str | Path, check_texts: Sequence[Given] = (), beside: Mapping[str, str] | None = None
    ) -> Path:
        """Writes the folder, loads it again and compares; nothing is left behind if they differ.

        Args:
            folder: Replaced if it is an adapter folder already.
            check_texts: Texts on which the loaded copy has to give the same probabilities; none: some short ones.
            beside: Content of further files, names of ``FILES``.

        Raises:
            LowresError: The loaded copy answers otherwise.
            UserError: The folder holds something else.
        """
        folder = Path(folder)
        check_place(folder)
        checked = check_texts or [as_given(self.kind, text) for text in CHECK_TEXTS]
        with replacing_folder(folder) as draft:
            for name, text in (beside or {}).items():
                (draft / name).write_text(text, encoding="utf-8")
            self._write(draft)
            again = load_classifier(draft, backbone=self.backbone, device=self.device, precision=self.precision)
            gap = float(np.abs(again.predict_proba(checked) - self.predict_proba(checked)).max())
            if not gap <= 1e-6:
                raise LowresError(f"the saved adapter answers otherwise than the trained one (by {gap:.2g}); not kept")
        return folder

    def record(self) -> dict[str, Any]:
        """What ``lowres.json`` holds."""
        origin = (
            replace(backbone_origin(self.backbone), folder=ENCODER) if self.whole else backbone_origin(self.backbone)
        )
        record = asdict(
            Record(
                1,
                self.labels,
                self.pooling,
                self.normalise,
                self.max_length,
                origin,
                dict(self.about),
                self.counted,
                self.kind,
                self.truncation,
                self.speed,
            )
        )
        for name, usual in (("truncation", HEAD), ("speed", 0.0)):
            if record[name] == usual:
                del record[name]
        return record

    def write_parts(self, folder: Path) -> None:
        """Writes adapter, head and tokenizer into a folder."""
        from safetensors.numpy import save_file

        if self.adapter is not None:
            config = {
                **self.adapter,
                "base_model_name_or_path": self.backbone.hub_id or str(self.backbone.folder),
                "revision": self.backbone.revision if self.backbone.hub_id else None,
            }
            (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
            save_file(
                {name: np.ascontiguousarray(value) for name, value in self.tensors.items()},
                folder / "adapter_model.safetensors",
            )
        if self.whole:
            copy_encoder(self.backbone.folder, folder / ENCODER)
        self.write_head(folder)
        if self.exits:
            exits = {name: np.ascontiguousarray(value) for name, value in self.exits.items()}
            save_file(exits, folder / EXITS)
        copy_tokenizer(self.tokenizer, folder)

    def write_head(self, folder: Path) -> None:
        """Writes ``head.safetensors`` into a folder."""
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(value) for name, value in self.head.items()}, folder / "head.safetensors")

    def _write(self, folder: Path) -> None:
        record = self.record()
        self.write_parts(folder)
        (folder / "lowres.json").write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
        card = model_card(
            record,
            adapted=self.adapter is not None,
            token_types=encoder.tells_apart(self.network),
            shaped=self.backbone.is_shaped,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        write_sums(folder)

    @cached_property
    def network(self) -> nn.Module:
        """The encoder with its adapter, in evaluation mode."""
        model = self.backbone.load(self.device)
        if self.adapter is not None:
            model = adapters.attach_config(model, self.adapter)
            adapters.write(model, self.tensors)
        return model

    def merged(self) -> nn.Module:
        """A new copy of the encoder whose weights hold the adapter's change, on the CPU in fp32, in evaluation mode."""
        network = replace(self, device="cpu").network
        if self.adapter is None:
            return network
        whole: nn.Module = network.merge_and_unload()  # type: ignore[operator]
        return whole.eval().requires_grad_(False)

    @cached_property
    def tokens(self) -> Tokens:
        """The tokenizer; it remembers nothing."""
        return self.backbone.tokens(self.tokenizer, remember=False)


def load_classifier(
    folder: str | Path, *, backbone: Backbone | str | None = None, device: str = "cpu", precision: str = "fp32"
) -> Classifier:
    """A saved adapter, ready to predict. Reads safetensors only and runs no code from the folder.

    Args:
        folder: As written by ``Classifier.save``.
        backbone: The encoder, or where it lies, if it is not where the folder says.
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: No adapter folder, a damaged one, or one made for another backbone.
    """
    folder = Path(folder)
    record = _record(folder)
    head = read_tensors(folder, "head.safetensors")
    adapter, tensors = None, {}
    if (folder / "adapter_config.json").is_file():
        adapter, tensors = read_json(folder / "adapter_config.json"), read_tensors(folder, "adapter_model.safetensors")
        adapters.check_config(adapter, tensors)
    origin = record.backbone
    whole = origin.folder == ENCODER and origin.hub_id is None
    if whole:
        if isinstance(backbone, str):
            raise UserError(f"{folder} brings its own encoder", got=f"backbone {backbone}", hint="name none")
        found = inside(folder / ENCODER, origin.name)
    else:
        found = backbone if isinstance(backbone, Backbone) else _find(origin, backbone)
    if found.weights_sha256 != origin.weights_sha256:
        raise UserError(
            f"adapter folder {folder} was made for other weights",
            got=f"backbone {found.name} {found.weights_sha256[:12]}…",
            expected=f"{origin.name} {origin.weights_sha256[:12]}…",
        )
    outputs = 1 if KINDS[record.kind].answer == "value" else len(record.labels)
    shapes = {"weight": (outputs, found.hidden), "bias": (outputs,)}
    if {name: value.shape for name, value in head.items()} != shapes:
        raise UserError(
            f"adapter folder {folder}: the head does not fit",
            got=_sizes({name: value.shape for name, value in head.items()}),
            expected=f"{_sizes(shapes)}, for {len(record.labels)} labels and backbone {found.name}",
        )
    exits = read_tensors(folder, EXITS) if (folder / EXITS).is_file() else {}
    if exits:
        shapes = {name: (found.layers - 1, *shape) for name, shape in shapes.items()}
        if {name: value.shape for name, value in exits.items()} != shapes:
            raise UserError(f"adapter folder {folder}: the early exits do not fit", expected=_sizes(shapes))
        early_exit.check_reading(
            early_exit.Reading(
                record.kind, record.labels, record.max_length, record.pooling, record.normalise, record.truncation
            )
        )
    if record.max_length > found.longest:
        raise UserError(
            f"adapter folder {folder} keeps more tokens than its backbone can number",
            got=f"max_length {record.max_length}",
            expected=f"at most {found.longest}",
        )
    return Classifier(
        backbone=found,
        adapter=adapter,
        tensors=tensors,
        head=head,
        labels=record.labels,
        max_length=record.max_length,
        pooling=record.pooling,
        normalise=record.normalise,
        tokenizer=folder if (folder / "tokenizer.json").is_file() else found.folder,
        about=record.about,
        counted=record.counted,
        kind=record.kind,
        truncation=record.truncation,
        whole=whole,
        exits=exits,
        speed=record.speed if exits else 0.0,
        device=device,
        precision=precision,
    )


def backbone_origin(backbone: Backbone) -> Origin:
    """What a saved model keeps of its backbone."""
    return Origin(
        name=backbone.name,
        hub_id=backbone.hub_id,
        revision=backbone.revision,
        folder=None if backbone.hub_id else str(backbone.folder),
        weights_sha256=backbone.weights_sha256,
    )


def as_given(kind: str, text: str) -> Given:
    """A text as a model of this kind takes it."""
    return (text, text) if kind == "pair" else text.split() if KINDS[kind].unit == "word" else text


def check_place(folder: Path, files: Collection[str] = FILES, mark: str = "lowres.json") -> None:
    """Refuses a place for a folder of these files that holds something else; ``mark`` is the one that tells it."""
    if folder.is_file():
        raise UserError(f"{folder} is a file", expected="a folder", hint="choose an empty or new folder")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if found and (mark not in found or found - set(files)):
        other = ", ".join(sorted(found - set(files))[:3]) or f"no {mark}"
        raise UserError(f"{folder} holds something else", got=other, hint="choose an empty or new folder")


def _record(folder: Path) -> Record:
    path = folder / "lowres.json"
    if (folder / STOCK_FILE).is_file() and not path.is_file():
        raise UserError(
            f"{folder} is no adapter folder",
            got="a whole model with a stock head",
            hint=f'transformers.pipeline("text-classification", model="{folder}"), or fit without --head stock',
        )
    if not path.is_file():
        raise UserError(
            f"{folder} is no adapter folder",
            got="no lowres.json" if folder.is_dir() else "no such folder",
            hint="give a folder such as runs/NAME/best/TARGET-SHOTS",
        )
    content = read_json(path)
    if content.get("schema") != SCHEMA:
        raise UserError(
            f"adapter folder {folder} is of a format that this version does not read",
            got=f"schema {shown(content.get('schema'))}",
            expected=f"schema {SCHEMA}",
            hint="take the version of lowres that wrote it, or train it again",
        )
    return parse(Record, content, f"adapter folder {folder} is damaged: lowres.json")


def read_json(path: Path, what: str = "adapter folder") -> dict[str, Any]:
    """The object in a JSON file of a folder, which errors call ``what``."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_JSON_BYTES + 1)
        loaded = json.loads(data) if len(data) <= MAX_JSON_BYTES else "more than is read"
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{what} {path.parent} is damaged: {path.name}", got=reason) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{what} {path.parent} is damaged: {path.name}", got=shown(loaded), expected="an object")
    return loaded


def read_tensors(folder: Path, name: str, what: str = "adapter folder") -> dict[str, npt.NDArray[Any]]:
    """Finite numbers from a safetensors file of a folder, which errors call ``what``; no other format is read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / name).is_file():
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl"))
        raise UserError(
            f"{what} {folder} has no {name}",
            got=", ".join(others) or None,
            hint="other formats of weights are never read" if others else "copy the whole folder",
        )
    try:
        loaded: dict[str, npt.NDArray[Any]] = load_file(folder / name)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{what} {folder} is damaged: {name}", got=error) from error
    if not all(value.dtype.kind == "f" and np.isfinite(value).all() for value in loaded.values()):
        raise UserError(f"{what} {folder} is damaged: {name}", got="numbers that are not finite")
    return loaded


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in sorted(shapes.items()))


def _find(origin: Origin, given: str | None) -> Backbone:
    """The backbone an adapter names. Nothing is downloaded but a catalogue entry with a pinned hash."""
    if given is not None:
        return find_backbone(given, origin.revision if given == origin.hub_id else None)
    if origin.hub_id and origin.name in NAMED:
        return find_backbone(origin.name)
    if origin.folder and Path(origin.folder).is_dir():
        return find_backbone(origin.folder)
    raise UserError(
        f"the backbone of this adapter is not here: {origin.hub_id or origin.folder or origin.name}",
        hint="name it: --backbone FOLDER or --backbone HUB-ID",
    )
