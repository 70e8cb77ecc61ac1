"""Several adapters of one encoder, answered together: side by side on shared products, routed, averaged, or merged into one."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres.data.rows import Spread, unit_sizes
from lowres.errors import UserError, unknown_name
from lowres.kinds import KINDS, Given, rows_of
from lowres.models import adapters, encoder
from lowres.models.backbone import Backbone
from lowres.models.card import SEEN
from lowres.models.classifier import Classifier, load_classifier
from lowres.scoring.metrics import widened
from lowres.settings import shown

if TYPE_CHECKING:
    from lowres.models.stacked import Stacked

Positions = npt.NDArray[np.int64]
Answers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Several:
    """Saved models of one encoder by name; every answer is that of each model's own ``predict_proba`` within 1e-5 in fp32.

    Plain LoRA (rsLoRA, PiSSA and frozen backbones too) on an encoder with a packed form goes through the layers together:
    a text is tokenised and embedded once, layers below every adapter are computed once, and the frozen products are
    shared. Where one model is of another kind (DoRA, AdaLoRA, IA3), or the encoder has no packed form, the models answer
    one after the other; ``together`` says which it is.

    Args:
        models: At least one; all of the same kind, on the same weights, reading texts in the same way.

    Raises:
        UserError: Two models that differ in what they have to share.
    """

    models: Mapping[str, Classifier]

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("no adapters to answer together", expected="at least one")
        (name, first), *others = self.models.items()
        wanted = _reading(first)
        for other, model in others:
            for what, value in _reading(model).items():
                if value != wanted[what]:
                    raise UserError(
                        f"adapters {name} and {other} do not go together: they differ in {what}",
                        got=f"{value} in {other}",
                        expected=f"{wanted[what]}, as in {name}",
                    )

    @property
    def names(self) -> tuple[str, ...]:
        """The models in the order of their answers."""
        return tuple(self.models)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that a model knows, those of the first one first."""
        return tuple(dict.fromkeys(label for model in self.models.values() for label in model.labels))

    @property
    def together(self) -> bool:
        """Whether the models share one pass."""
        return self._stack is not None

    def predict_proba(self, texts: Sequence[Given]) -> Answers:
        """What each model says of each text, [models, units, outputs], outputs in the order of ``labels``; 0 for a label
        that a model does not know.

        Raises:
            UserError: As of ``Classifier.predict_proba``.
        """
        rows = rows_of(self._first.kind, texts)
        return np.stack(self._answers(rows, [np.arange(len(rows))] * len(self.models)))

    def route(self, texts: Sequence[Given], names: Sequence[str]) -> Answers:
        """What the model of its own says of each text, [units, outputs], as of ``predict_proba``.

        Args:
            texts: Any number of them.
            names: Of each text the model that answers it; no other computes it.

        Raises:
            UserError: An unknown name, or not one for each text.
        """
        owners = self._owners(texts, names)
        rows = rows_of(self._first.kind, texts)
        spread = Spread(unit_sizes(rows))
        asked = [np.flatnonzero(owners == place) for place in range(len(self.models))]
        made = np.zeros((int(spread.sizes.sum()), self._outputs), dtype=np.float32)
        for own, said in zip(asked, self._answers(rows, asked), strict=True):
            made[spread.units(own)] = said
        return made

    def average(self, texts: Sequence[Given], weights: Sequence[float] | None = None) -> Answers:
        """The weighted mean of what the models say, [units, outputs].

        Args:
            texts: Any number of them.
            weights: One a model, from 0 on; they count in proportion. None: all the same.

        Raises:
            UserError: Models of different labels, or weights that are none.
        """
        shares = self._shares(weights)
        self._check_labels("averaged")
        return np.asarray(np.einsum("m,muo->uo", shares, self.predict_proba(texts)), dtype=np.float32)

    def merged(self, weights: Sequence[float] | None = None) -> Classifier:
        """One ordinary model: the weighted mean of the changes of the weights, exact, as plain LoRA of the summed rank, and
        the mean of the heads. Its answers are no mean of the models' answers; measure it before use.

        Args:
            weights: See ``average``.

        Raises:
            UserError: As of ``average``, or an adapter that is no plain LoRA.
        """
        shares = self._shares(weights)
        self._check_labels("merged")
        head = {
            part: np.einsum("m,m...->...", shares, np.stack([self._in_order(model, part) for model in self.models.values()]))
            for part in ("weight", "bias")
        }  # fmt: skip
        config, tensors = self._mean_adapter(shares)
        return replace(
            self._first,
            adapter=config,
            tensors=tensors,
            head={part: value.astype(np.float32) for part, value in head.items()},
            about=self._about(shares),
            counted=None,
        )

    @property
    def _first(self) -> Classifier:
        return next(iter(self.models.values()))

    @property
    def _outputs(self) -> int:
        return 1 if KINDS[self._first.kind].answer == "value" else len(self.labels)

    def _answers(self, rows: Sequence[str], asked: Sequence[Positions]) -> list[Answers]:
        """What each model says of those of the rows that it is asked for, [units, outputs] each."""
        models = list(self.models.values())
        if self._stack is None:
            each = zip(models, asked, strict=True)
            said = [model.predict_proba([rows[row] for row in own]) for model, own in each]
        else:
            both = zip(models, self._stack.vectors(rows, asked), strict=True)
            said = [encoder.said(vectors, model.head, model.kind, model.labels) for model, vectors in both]
        if self._outputs == 1:
            return said
        return [widened(one, model.labels, self.labels) for model, one in zip(models, said, strict=True)]

    def _owners(self, texts: Sequence[Given], names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Position of the model of each text."""
        if isinstance(names, str) or len(names) != len(texts):
            got = shown(names) if isinstance(names, str) else f"{len(names)} names, {len(texts)} texts"
            raise UserError("each text is answered by one adapter", got=got, expected="one name a text")
        known = {name: place for place, name in enumerate(self.models)}
        for name in dict.fromkeys(names):
            if name not in known:
                raise unknown_name("adapter", str(name), known)
        return np.array([known[name] for name in names], dtype=np.int64)

    def _shares(self, weights: Sequence[float] | None) -> npt.NDArray[np.float64]:
        """Weights that sum to 1, [models]."""
        given = [1.0] * len(self.models) if weights is None else [float(weight) for weight in weights]
        if (
            len(given) != len(self.models)
            or not all(math.isfinite(one) and one >= 0 for one in given)
            or not sum(given)
        ):
            raise UserError(
                "weights of the adapters",
                got=", ".join(f"{one:g}" for one in given) or "none",
                expected=f"{len(self.models)} numbers from 0 on, one above 0",
            )
        return np.array(given) / sum(given)

    def _check_labels(self, done: str) -> None:
        first = self._first
        for name, model in self.models.items():
            if set(model.labels) != set(first.labels):
                raise UserError(
                    f"adapters {self.names[0]} and {name} cannot be {done}: they differ in labels",
                    got=f"{', '.join(model.labels)} in {name}",
                    expected=f"{', '.join(first.labels)}, as in {self.names[0]}",
                )

    def _in_order(self, model: Classifier, part: str) -> npt.NDArray[Any]:
        """A part of a model's head with its rows in the order of the first model's labels."""
        if self._outputs == 1:
            return model.head[part]
        return model.head[part][[model.labels.index(label) for label in self.labels]]

    def _mean_adapter(
        self, shares: npt.NDArray[np.float64]
    ) -> tuple[dict[str, Any] | None, dict[str, npt.NDArray[np.float32]]]:
        """Settings and tensors of the mean change of the weights; None where every model has the frozen backbone."""
        scales = [plain_scale_of(name, model) for name, model in self.models.items()]
        factors = [float(share) * scale for share, scale in zip(shares, scales, strict=True)]
        tensors = adapters.beside([model.tensors for model in self.models.values()], factors)
        config = next((model.adapter for model in self.models.values() if model.adapter is not None), None)
        return (None, {}) if config is None else (adapters.plain_config(config, tensors), tensors)

    def _about(self, shares: npt.NDArray[np.float64]) -> dict[str, Any]:
        tasks = {str(model.about.get("task")) for model in self.models.values() if model.about.get("task")}
        parts = [f"{share:.3g} × {name}" for name, share in zip(self.models, shares, strict=True)]
        seen = sorted({mark for model in self.models.values() for mark in model.about.get(SEEN, ())})
        return {
            **({"task": tasks.pop()} if len(tasks) == 1 else {}),
            "method": "merged",
            "merged": ", ".join(parts),
            **({SEEN: seen} if seen else {}),
        }

    @cached_property
    def _stack(self) -> Stacked | None:
        from lowres.models.stacked import stacked

        return stacked(list(self.models.values()))


def plain_scale_of(name: str | Path, model: Classifier) -> float:
    """Factor on B A of a model's adapter, 0 where it has none.

    Raises:
        UserError: The adapter is more than W + scale · B A.
    """
    scale = adapters.plain_scale(model.adapter)
    if scale is None:
        kind = "DoRA" if (model.adapter or {}).get("use_dora") else (model.adapter or {}).get("peft_type")
        raise UserError(
            f"adapter {name} is no plain LoRA",
            got=kind,
            expected="W + scale · B A, as of --adapter lora, rslora or pissa",
        )
    return scale


def load_many(
    folders: Sequence[str | Path] | Mapping[str, str | Path],
    *,
    backbone: Backbone | str | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> Several:
    """Several saved adapters of one encoder, which is loaded once, ready to answer together.

    Args:
        folders: As written by ``Classifier.save``; their names, or those of the mapping, name the models.
        backbone: See ``load_classifier``; None: where the first one says.
        device: Where to compute.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UserError: As of ``load_classifier`` and ``Several``, or two folders of one name.
    """
    models: dict[str, Classifier] = {}
    found = backbone
    for name, folder in _named(folders).items():
        models[name] = load_classifier(folder, backbone=found, device=device, precision=precision)
        found = models[name].backbone
    return Several(models)


def _named(folders: Sequence[str | Path] | Mapping[str, str | Path]) -> dict[str, Path]:
    if isinstance(folders, str | Path):
        raise UserError("one folder", got=folders, expected="a list of folders", hint="lowres.load loads a single one")
    if isinstance(folders, Mapping):
        return {name: Path(folder) for name, folder in folders.items()}
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name for path in paths]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            "two adapter folders have one name",
            got=twice[0],
            expected="names of their own",
            hint='give a mapping: {"first": FOLDER, "second": FOLDER}',
        )
    return dict(zip(names, paths, strict=True))


def _reading(model: Classifier) -> dict[str, object]:
    """What models that answer together have to share."""
    tokenizer = (model.tokenizer / "tokenizer.json").read_bytes()
    return {
        "the weights of the backbone": model.backbone.weights_sha256[:12],
        "kind": model.kind,
        "max_length": model.max_length,
        "pooling": model.pooling,
        "normalise": model.normalise,
        "truncation": model.truncation,
        "tokenizer.json": hashlib.sha256(tokenizer).hexdigest()[:12],
        "device": model.device,
        "precision": model.precision,
        **({"scale": " to ".join(model.labels)} if KINDS[model.kind].answer == "value" else {}),
    }
