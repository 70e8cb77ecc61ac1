"""Proof that training acted: what every fit is asked afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lowres.data.rows import Spread, unit_sizes
from lowres.kinds import KINDS
from lowres.models.heads import answers, initial_head, losses
from lowres.training.beginning import first_head
from lowres.training.check import Check
from lowres.training.fit import Engine, Fit, Fitted, Tensors
from lowres.training.recipe import (
    IA3,
    MMD,
    AdaLoRA,
    Adapter,
    AllWeights,
    Contrastive,
    Coral,
    CrossEntropy,
    Dann,
    DoRA,
    PiSSA,
    RsLoRA,
    SimCSE,
)

MOST_ROWS = 32
"""Of a fit's own rows that it is asked about."""
LEAST_CHANGE = 0.001
"""Mean change of a probability that is no rounding."""


def logged(step: int, loss: float, figure: float | None) -> dict[str, float]:
    """One entry of a training log, with the figure of the objective where it has one."""
    entry = {"step": step + 1, "loss": round(loss, 6)}
    return entry if figure is None or math.isnan(figure) else entry | {"figure": round(figure, 6)}


def gradient_checks(
    fit: Fit, first: Tensors, last: Tensors, log: Sequence[dict[str, Any]], scale: float | None = None
) -> tuple[Check, ...]:
    """The adapter moved, and acted as its kind; from a fresh head the loss fell; the objective did what it is for.

    Args:
        fit: What was trained.
        first: What it began with, by name.
        last: The same names afterwards.
        log: Of its steps.
        scale: Factor on B A with which it was trained, as the engine says.
    """
    change = _norm(last[name] - first[name] for name in first)
    moved = "weights moved" if isinstance(fit.adapter, AllWeights) else "adapter moved"
    checks = [Check(moved, change > 0.0, change, "> 0"), *_kind_checks(fit.adapter, first, last, scale)]
    if not fit.takes_head and log and not isinstance(fit.objective, SimCSE):  # whose texts tell more, held out
        fall = _fall(log, "loss")
        checks.append(Check("training loss fell", fall > 0.0, fall, "> 0"))
    if isinstance(fit.objective, Coral | MMD) and log:
        fall = _fall(log, "figure")
        checks.append(Check("distance of the domains fell", fall > 0.0, fall, "> 0"))
    if isinstance(fit.objective, Dann) and log:
        told = float(np.mean([entry["figure"] for entry in log]))
        checks.append(Check("discriminator better than chance", told > 0.5, told, "> 0.5"))
    return tuple(checks)


def _kind_checks(adapter: Adapter | None, first: Tensors, last: Tensors, scale: float | None) -> Iterator[Check]:
    """What a kind of adapter does that plain LoRA does not."""
    if isinstance(adapter, RsLoRA):
        wanted, found = adapter.alpha / math.sqrt(adapter.rank), float("nan") if scale is None else scale
        yield Check("scale is alpha / sqrt(rank)", math.isclose(found, wanted, rel_tol=1e-6), found, f"= {wanted:.6g}")
    elif isinstance(adapter, DoRA):
        moved = _norm(last[name] - first[name] for name in first if "lora_magnitude_vector" in name)
        yield Check("magnitudes moved", moved > 0.0, moved, "> 0")
    elif isinstance(adapter, PiSSA):
        taken = _norm(value[:, adapter.rank :] for name, value in first.items() if ".lora_B." in name)
        yield Check("start is no plain LoRA's", taken > 0.0, taken, "> 0")
    elif isinstance(adapter, AdaLoRA):
        between = [value for name, value in last.items() if name.endswith(".lora_E")]
        left, most = sum(int(np.count_nonzero(value)) for value in between), adapter.rank * len(between)
        yield Check("ranks changed", 0 < left <= most, float(left), f"1 to {most}")
    elif isinstance(adapter, IA3):
        apart = _norm(value - 1.0 for name, value in last.items() if name.endswith(".ia3_l"))
        yield Check("factors moved from 1", apart > 0.0, apart, "> 0")


def _norm(arrays: Iterable[npt.NDArray[Any]]) -> float:
    return math.sqrt(sum(float(np.sum(np.square(array))) for array in arrays))


def encoder_checks(fit: Fit, fitted: Fitted, engine: Engine, starts: Mapping[str, Fitted]) -> tuple[Check, ...]:
    """What only the encoder before and after training can tell.

    Args:
        fit: A fit that was trained by gradient.
        fitted: What came out of it.
        engine: Gives the features.
        starts: What came out of the fits it needs, by content.
    """
    start = (fit.start, starts[fit.start.content]) if isinstance(fit.start, Fit) else None
    if isinstance(fit.objective, SimCSE):
        return _held_out(fit, fitted, engine)
    if isinstance(fit.objective, Contrastive):
        return _drawn_together(fit, fitted, engine, start)
    if isinstance(fit.objective, CrossEntropy) and fit.takes_head and start is not None:
        return _went_on(fit, fitted, engine, start)
    return ()


def _went_on(fit: Fit, fitted: Fitted, engine: Engine, start: tuple[Fit, Fitted]) -> tuple[Check, ...]:
    """Of a fit that goes on with adapter and head of another: its first loss is nearer to what they give on the same rows
    than to what a fresh head does, and what it says of its rows changed.
    """
    places, weights = fit.batches()[0]
    units, weights = fit.spread(places, weights)
    first = [fit.texts[place] for place in places]
    texts = list(dict.fromkeys((*first, *fit.texts[-MOST_ROWS:])))
    at = {text: place for place, text in enumerate(texts)}
    before, after = (engine.features(texts, under[0].recipe, under) for under in (start, (fit, fitted)))
    hidden = before.shape[1]
    given, fresh = first_head(fit, start[1], hidden), initial_head(hidden, fit.outputs, fit.task, fit.draw)
    rows = Spread(unit_sizes(texts)).units(np.array([at[text] for text in first]))
    taken, forgotten = (
        float(np.sum(weights * losses(_logits(before[rows], head), fit.targets[units]))) for head in (given, fresh)
    )
    began = fitted.log[0]["loss"]
    nearer = abs(began - forgotten) - abs(began - taken)
    said, started = (
        answers(_logits(vectors, head), KINDS[fit.kind].answer, ("0", "1"))
        for vectors, head in ((after, fitted.head), (before, given))
    )
    change = float(np.abs(said - started).mean())
    return (
        Check("first loss nearer to its start's than to a fresh head's", nearer > 0.0, nearer, "> 0"),
        Check("answers on its rows changed", change > LEAST_CHANGE, change, f"> {LEAST_CHANGE}"),
    )


def _logits(vectors: npt.NDArray[np.float32], head: Tensors) -> npt.NDArray[np.float64]:
    """Of a linear head, [units, outputs]."""
    return np.asarray(vectors.astype(float) @ head["weight"].T + head["bias"])


def _drawn_together(fit: Fit, fitted: Fitted, engine: Engine, start: tuple[Fit, Fitted] | None) -> tuple[Check, ...]:
    """Cosine of rows of one class less that of rows of two, after training against before; 0 without such pairs."""
    texts, targets = fit.texts[-MOST_ROWS:], fit.targets[-MOST_ROWS:]
    same = targets[:, None] == targets[None, :]
    other = ~np.eye(len(targets), dtype=np.bool_)
    gaps = []
    for under in (start, (fit, fitted)):
        vectors = _lengthened(engine.features(texts, fit.recipe, under))
        alike = vectors @ vectors.T
        pairs = [alike[same & other], alike[~same]]
        gaps.append(float(pairs[0].mean() - pairs[1].mean()) if all(map(len, pairs)) else 0.0)
    closer = gaps[1] - gaps[0]
    return (Check("vectors of a class closer than before", closer > 0.0, closer, "> 0"),)


def _held_out(fit: Fit, fitted: Fitted, engine: Engine) -> tuple[Check, ...]:
    """Of an encoder that looked at unlabelled texts: its loss on texts it was not shown, against that of the frozen one."""
    if len(fit.parts) < 4 or not isinstance(fit.objective, SimCSE):
        return ()
    pairs = [list(part.rows.texts) for part in fit.parts[2:4]]
    losses = []
    for under in (None, (fit, fitted)):
        texts, views = (engine.features(one, fit.recipe, under) for one in pairs)
        losses.append(_view_loss(texts, views, fit.objective.temperature))
    return (held_out_check("loss", *losses),)


def held_out_check(name: str, before: float, after: float) -> Check:
    """A loss on texts that an encoder was not shown, frozen and adapted."""
    return Check(f"held-out {name} below the frozen encoder's", after < before, before - after, "> 0")


def _view_loss(texts: npt.NDArray[np.float32], views: npt.NDArray[np.float32], temperature: float) -> float:
    """Mean loss of finding each text among all by its other view, rows scaled to length 1; [rows, hidden] each."""
    one, other = map(_lengthened, (texts, views))
    alike = other @ one.T / temperature
    top = alike.max(1, keepdims=True)
    total = np.log(np.exp(alike - top).sum(1)) + top[:, 0]
    return float(np.mean(total - np.diag(alike)))


def _lengthened(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The rows scaled to length 1."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors.astype(float) / lengths)


def _fall(log: Sequence[dict[str, Any]], name: str) -> float:
    """Mean of the first tenth of the steps less that of the last."""
    width = max(1, len(log) // 10)
    values = [entry[name] for entry in log]
    return float(np.mean(values[:width]) - np.mean(values[-width:]))
