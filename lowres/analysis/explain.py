"""Which words an answer rests on: integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), by Captum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres.data.encodings import whole
from lowres.data.tokens import Pieces
from lowres.errors import UserError, unknown_name
from lowres.kinds import KINDS, PAIR, Given, readable, rows_of
from lowres.models import encoder
from lowres.models.classifier import Classifier
from lowres.models.pooling import pool

if TYPE_CHECKING:
    from torch import Tensor

STEPS = (32, 64, 128, 256, 512)
"""Points on the way from the empty text, doubled until the gap is small."""
SMALL = 0.02
"""Gap between the sum of the attributions and the difference of the logits, as a share of the latter."""
AT_ONCE = 32
"""Points in one pass."""
FEWEST = 5
"""Texts of each domain that must hold a word to compare it."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WordWeight:
    """A word and what it adds to the logit of the label."""

    word: str
    weight: float


@dataclass(frozen=True)
class Explanation:
    """Why a text gets its label, word by word.

    ``logit`` is that of ``label`` for the text, ``empty`` for the same text with every word replaced by padding; the
    weights sum to their difference but for ``gap``, a share of that difference.
    """

    text: str
    label: str
    predicted: str
    probability: float
    """Of ``label``."""
    words: tuple[WordWeight, ...]
    logit: float
    empty: float
    gap: float
    steps: int
    cut: bool
    """Whether the text was longer than the model reads."""


@dataclass(frozen=True)
class Change:
    """A word whose mean weight differs between two domains."""

    word: str
    in_source: float
    in_target: float
    source_texts: int
    target_texts: int


def explain(model: Classifier, texts: Sequence[Given], label: str | None = None) -> list[Explanation]:
    """What each word of each text adds to the logit of the predicted label, or of another one.

    The way leads from the text's own token embeddings, with those of the padding token in place of every word, to those
    of the text; marks of the tokenizer and positions stay.

    Raises:
        UserError: A model of another kind, an unknown label, an empty text, not the texts the model reads, one that computes in eight bits,
            or Captum is not installed.
    """
    if not KINDS[model.kind].single:
        raise UserError(
            "what words add is told of models with one label a text",
            got=f"a model of kind {model.kind}: {KINDS[model.kind].title}",
        )
    if model.backbone.computed == "dynamic":
        raise UserError("products in eight bits have no gradients", hint="explain the model that it was made of")
    if label is not None and label not in model.labels:
        raise unknown_name("label", label, model.labels)
    rows = rows_of(model.kind, texts)
    if not all(side.strip() for row in rows for side in row.split(PAIR)):
        raise UserError("an empty text has no words to explain")
    return [_explain(model, whole(row), label) for row in rows]


def changes(
    model: Classifier, source: Sequence[str], target: Sequence[str], label: str, most: int = 12
) -> list[Change]:
    """Words whose mean weight for a label differs most between the texts of two domains, in order of the difference.

    Only words that ``FEWEST`` texts of both domains hold are compared.
    """
    own, other = (_weights(explain(model, texts, label)) for texts in (source, target))
    both = [word for word in own if word in other and min(len(own[word]), len(other[word])) >= FEWEST]
    found = [
        Change(word, float(np.mean(own[word])), float(np.mean(other[word])), len(own[word]), len(other[word]))
        for word in both
    ]
    return sorted(found, key=lambda one: (-abs(one.in_target - one.in_source), one.word))[:most]


def _weights(explanations: Sequence[Explanation]) -> dict[str, list[float]]:
    """Summed weight in each text that holds it, by word in lower case; what holds no letter is left out."""
    found: dict[str, list[float]] = {}
    for one in explanations:
        here: dict[str, float] = {}
        for word in one.words:
            here[word.word.lower()] = here.get(word.word.lower(), 0.0) + word.weight
        for name, weight in here.items():
            if any(character.isalpha() for character in name):
                found.setdefault(name, []).append(weight)
    return found


def _explain(model: Classifier, text: str, label: str | None) -> Explanation:
    windows = model.tokens.pieces(text, model.max_length, model.truncation)
    probabilities = model.predict_proba([text])[0]
    place = int(probabilities.argmax()) if label is None else model.labels.index(label)
    found = [_integrated(model, pieces, place) for pieces in windows]
    weights = [own / len(windows) for own, *_ in found]  # the logit of a text is the mean of those of its windows
    logit, empty = (float(np.mean([one[at] for one in found])) for at in (1, 2))
    return Explanation(
        text=readable(text),
        label=model.labels[place],
        predicted=model.labels[int(probabilities.argmax())],
        probability=float(probabilities[place]),
        words=_merged(text, windows, weights),
        logit=logit,
        empty=empty,
        gap=_gap(np.concatenate(weights), logit - empty),
        steps=max(steps for *_, steps in found),
        cut=windows[0].cut,
    )


def _gap(weights: Floats, difference: float) -> float:
    return abs(float(weights.sum()) - difference) / max(abs(difference), 1e-9)


def _integrated(model: Classifier, pieces: Pieces, place: int) -> tuple[Floats, float, float, int]:
    """Attribution of each token, [tokens], the logits of the text and of the empty one, and the steps that it took."""
    import torch

    gradients = _captum()
    given = encoder.inputs(model.network, torch.from_numpy(pieces.ids.astype(np.int64)).to(model.device)[None])
    ids = given.pop("input_ids")
    blank = torch.tensor([word is not None for word in pieces.words], device=model.device)
    table: Any = model.network.get_input_embeddings()  # type: ignore[operator]
    with torch.no_grad():
        there = table(ids)
        start = table(torch.where(blank, model.tokens.pad_id, ids))
    rest = (torch.ones_like(ids), *given.values())

    def logits(embedded: Tensor, mask: Tensor, *types: Tensor) -> Tensor:
        return _logits(model, embedded, mask, dict(zip(given, types, strict=True)))

    with torch.no_grad():
        logit, empty = (float(logits(one, *rest)[0, place]) for one in (there, start))
    method = gradients(logits)
    for steps in STEPS:
        found = method.attribute(
            there, start, target=place, additional_forward_args=rest, n_steps=steps, internal_batch_size=AT_ONCE
        )
        weights = found[0].sum(dim=-1).double().cpu().numpy()
        if _gap(weights, logit - empty) < SMALL:
            break
    return weights, logit, empty, steps


def _logits(model: Classifier, embedded: Tensor, mask: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    """Logits of embedded tokens in fp32, [texts, classes]."""
    import torch

    hidden = model.network(inputs_embeds=embedded, attention_mask=mask, **given).last_hidden_state
    vectors = pool(hidden, mask, model.pooling, model.normalise)
    weight, bias = (torch.from_numpy(np.array(model.head[name])).to(vectors) for name in ("weight", "bias"))
    return vectors @ weight.T + bias


def _merged(text: str, windows: Sequence[Pieces], weights: Sequence[Floats]) -> tuple[WordWeight, ...]:
    """Weights of whole words over all windows, in order, and a bar between the texts of a pair; the tokenizer's marks,
    whose embedding never changes, have none.
    """
    spans: dict[int, list[int]] = {}
    sums: dict[int, float] = {}
    for pieces, own in zip(windows, weights, strict=True):
        for word, (begin, end), weight in zip(pieces.words, pieces.spans, own, strict=True):
            if word is not None:
                known = spans.setdefault(word, [begin, end])
                known[:] = min(known[0], begin), max(known[1], end)
                sums[word] = sums.get(word, 0.0) + float(weight)
    found = [WordWeight(text[begin:end].strip(), sums[word]) for word, (begin, end) in spans.items()]
    first, mark, _ = text.partition(PAIR)
    if mark:
        found.insert(sum(begin < len(first) for begin, _ in spans.values()), WordWeight(readable(mark).strip(), 0.0))
    return tuple(found)


def _captum() -> Callable[..., Any]:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise UserError("explaining needs Captum", got=error, hint="pip install 'lowres[explain]'") from None
    found: Callable[..., Any] = IntegratedGradients
    return found
