"""A model beside the one that was made of it: size, time, operations, scores, agreement, and the drop under shift."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.analysis.asked import answers
from lowres.analysis.measure import difference_of, estimate_of
from lowres.data.rows import Rows
from lowres.export.compression import Falls, OnDomain, Side
from lowres.kinds import KINDS
from lowres.models.classifier import Classifier
from lowres.models.shaped import in_layer
from lowres.scoring.metric import Metric, Probabilities
from lowres.scoring.metrics import calibration_error, share
from lowres.stats.shift import drop
from lowres.stats.variance import Block, block, combine, group_sums, interval

AT_ONCE: Final = (1, 32)
"""Texts that are asked at once when it is timed."""
TIMED: Final = 96
"""Texts of a timing."""
ROUNDS: Final = 5


@dataclass(frozen=True)
class Asked:
    """What one model says of the test rows of each domain."""

    said: Mapping[str, Probabilities]
    truth: Mapping[str, npt.NDArray[Any]]
    layers: Mapping[str, float]
    """Mean layers of a text; empty without early exits."""


def ask(model: Classifier, tests: Mapping[str, Rows], labels: Sequence[str]) -> Asked:
    """Asks a model about all domains."""
    said, truths, layers = {}, {}, {}
    for name, rows in tests.items():
        truths[name], said[name], _ = answers(model, rows, labels)
        if model.exits:
            layers[name] = float(model.leave(list(rows.texts)).depths.mean())
    return Asked(said, truths, layers)


def on_domains(
    pairs: Sequence[tuple[Asked, Asked]], tests: Mapping[str, Rows], metric: Metric, sources: Sequence[str], kind: str
) -> list[OnDomain]:
    """Scores of both models on every domain; over draws where there are several pairs."""
    found = []
    for name, rows in tests.items():
        before, after = (_block([pair[side] for pair in pairs], name, rows, metric) for side in (0, 1))
        found.append(
            OnDomain(
                domain=name,
                role="source" if name in sources else "target",
                rows=len(rows),
                before=estimate_of(interval(combine([(name, 1.0, before)]), bounds=metric.bounds)),
                after=estimate_of(interval(combine([(name, 1.0, after)]), bounds=metric.bounds)),
                change=difference_of(interval(combine([(name, 1.0, after - before)])), metric),
                agreement=None if KINDS[kind].answer == "value" else _agreement(pairs, name, rows, kind),
                calibration_before=_calibration(pairs, 0, name, kind),
                calibration_after=_calibration(pairs, 1, name, kind),
                layers=float(np.mean([pair[1].layers[name] for pair in pairs])) if pairs[0][1].layers else None,
            )
        )
    return found


def falls(
    pairs: Sequence[tuple[Asked, Asked]], tests: Mapping[str, Rows], metric: Metric, sources: Sequence[str]
) -> list[Falls]:
    """The drop from each source to each target before and after, and by how much it grew, all paired."""
    sides = [
        {name: _block([pair[side] for pair in pairs], name, rows, metric) for name, rows in tests.items()}
        for side in (0, 1)
    ]
    made = []
    for source, target in ((one, other) for one in sources for other in tests if other not in sources):
        before, after = (drop(combine([(source, 1.0, side[source])]), side[target], same_rows=False) for side in sides)
        growth = drop(
            combine([(source, 1.0, sides[1][source] - sides[0][source])]),
            sides[1][target] - sides[0][target],
            same_rows=False,
        )
        made.append(
            Falls(
                source=source,
                target=target,
                before=difference_of(interval(before), metric),
                after=difference_of(interval(after), metric),
                growth=difference_of(interval(growth), metric),
            )
        )
    return made


def side(model: Classifier, texts: Sequence[str], milliseconds: Mapping[str, float]) -> Side:
    """What a whole model costs."""
    return Side(
        bytes=stored(model),
        parameters=model.backbone.parameters + _in_heads(model),
        flops=flops(model, texts),
        milliseconds=dict(milliseconds),
    )


def stored(model: Classifier) -> int:
    """Bytes of a whole model's encoder, head and exits on disk."""
    return sum(path.stat().st_size for path in model.backbone.folder.glob("*.safetensors")) + 4 * _in_heads(model)


def _in_heads(model: Classifier) -> int:
    """Weights of the head and the exits."""
    return sum(int(value.size) for part in (model.head, model.exits) for value in part.values())


def flops(model: Classifier, texts: Sequence[str]) -> float:
    """Operations of a text, mean: two a weight of the layers' linears and token, and four a pair of tokens and dimension of
    attention; those of a text that leaves early as far as it went.
    """
    rows = list(texts)
    each = operations(model, rows)
    if model.exits:
        each = each * (np.arange(each.shape[1]) < model.leave(rows).depths[:, None])
    return float(each.sum() / len(rows))


def operations(model: Classifier, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Those of each layer for each text, or each of its windows, [texts, layers]; see ``flops``."""
    lengths = [len(one) for one in model.tokens.encode(texts, model.max_length, model.truncation)]
    tokens = np.array(lengths, dtype=np.float64)[:, None]
    weights, wide = _layer_sizes(model.network)
    return np.asarray(2 * weights * tokens + 4 * wide * tokens**2)


def _layer_sizes(network: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of each layer the weights of its linears, and the dimensions that attention compares, [layers]."""
    weights: dict[int, float] = {}
    wide: dict[int, float] = {}
    for name, module in network.named_modules():
        layer = in_layer(name + ".")
        if layer is None:
            continue
        if hasattr(module, "in_features") and hasattr(module, "out_features") and not hasattr(module, "base_layer"):
            weights[layer] = weights.get(layer, 0.0) + module.in_features * module.out_features
        size = getattr(module, "attention_head_size", None)
        if isinstance(size, int):
            heads = getattr(module, "num_attention_heads", None) or module.n_heads
            wide[layer] = float(size * heads)
    order = sorted(weights)
    return np.array([weights[one] for one in order]), np.array([wide.get(one, 0.0) for one in order])


def timed(
    before: Classifier, after: Classifier, texts: Sequence[str]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Milliseconds of a text of both models, by how many are asked at once, and how many times faster the second is.

    Both take turns on the same texts; medians, of the quotient over the turns.
    """
    chosen = [texts[place] for place in seeds.generator("timed").permutation(len(texts))[:TIMED]]
    both = [before, after]
    found: list[dict[str, float]] = [{}, {}]
    gains = {}
    for size in AT_ONCE:
        chunks = [chosen[begin : begin + size] for begin in range(0, len(chosen), size)]
        for model in both:
            model.predict_proba(chunks[0])
        turns = [[_seconds(model, chunks) for model in both] for _ in range(ROUNDS)]
        for place in (0, 1):
            found[place][str(size)] = 1e3 * float(np.median([turn[place] for turn in turns])) / len(chosen)
        gains[str(size)] = float(np.median([first / second for first, second in turns]))
    return found, gains


def _seconds(model: Classifier, chunks: Sequence[Sequence[str]]) -> float:
    began = time.perf_counter()
    for chunk in chunks:
        model.predict_proba(chunk)
    return time.perf_counter() - began


def _block(asked: Sequence[Asked], name: str, rows: Rows, metric: Metric) -> Block:
    """The score on a domain of each draw, with what each test group adds."""
    _, position = np.unique(rows.unit_groups, return_inverse=True)
    sums = [group_sums(metric.statistics(one.truth[name], one.said[name]), position) for one in asked]
    return block(np.stack(sums), metric.value)


def _agreement(pairs: Sequence[tuple[Asked, Asked]], name: str, rows: Rows, kind: str) -> Any:
    """Share of the units on which both say the same."""
    _, position = np.unique(rows.unit_groups, return_inverse=True)
    sums = []
    for before, after in pairs:
        if KINDS[kind].answer == "many":
            same = ((before.said[name] >= 0.5) == (after.said[name] >= 0.5)).all(axis=1)
        else:
            same = before.said[name].argmax(axis=1) == after.said[name].argmax(axis=1)
        sums.append(group_sums(np.stack([same, np.ones_like(same)], axis=1).astype(np.float64), position))
    return estimate_of(interval(combine([(name, 1.0, block(np.stack(sums), share))]), bounds=(0.0, 1.0)))


def _calibration(pairs: Sequence[tuple[Asked, Asked]], place: int, name: str, kind: str) -> float | None:
    if not KINDS[kind].single:
        return None
    return float(np.mean([calibration_error(pair[place].truth[name], pair[place].said[name]) for pair in pairs]))
