"""Losses against the same formulas written row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lowres.training.objectives import Heads, Step, losses
from lowres.training.recipe import Contrastive, CrossEntropy

ROWS, CLASSES = (5, 3, 1), (3, 2, 2)


def step() -> tuple[Step, Heads]:
    rng = np.random.default_rng(0)
    longest, most = max(ROWS), max(CLASSES)
    there = np.arange(longest)[None] < np.array(ROWS)[:, None]
    weights = np.where(there, rng.uniform(0.1, 1, (3, longest)), 0.0)
    weights /= weights.sum(1, keepdims=True)
    targets = np.where(there, rng.integers(0, 2, (3, longest)), 0)
    absent = np.arange(most)[None] >= np.array(CLASSES)[:, None]
    made = Step(
        torch.tensor(rng.normal(size=(3, longest, 4))),
        torch.tensor(targets),
        torch.tensor(weights),
        torch.tensor(there),
    )
    heads = Heads(
        torch.tensor(rng.normal(size=(3, most, 4))), torch.tensor(rng.normal(size=(3, most))), torch.tensor(absent)
    )
    return made, heads


def test_cross_entropy() -> None:
    made, heads = step()
    for fit, (rows, classes) in enumerate(zip(ROWS, CLASSES, strict=True)):
        wanted = 0.0
        for row in range(rows):
            logits = (
                heads.weight[fit, :classes].numpy() @ made.vectors[fit, row].numpy() + heads.bias[fit, :classes].numpy()
            )
            own = logits[made.targets[fit, row]]
            wanted += float(made.weights[fit, row]) * (np.log(np.exp(logits).sum()) - own)
        assert float(losses(CrossEntropy(), made, heads)[0][fit]) == pytest.approx(wanted)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_contrastive(temperature: float) -> None:
    made, heads = step()
    found, _ = losses(Contrastive(temperature), made, heads)
    for fit, rows in enumerate(ROWS):
        vectors = [vector / np.linalg.norm(vector) for vector in made.vectors[fit, :rows].numpy()]
        targets, shares, each = made.targets[fit].tolist(), [], []
        for row in range(rows):
            others = [at for at in range(rows) if at != row]
            alike = [at for at in others if targets[at] == targets[row]]
            if not alike:
                continue
            scores = {at: float(vectors[row] @ vectors[at]) / temperature for at in others}
            total = np.log(sum(np.exp(score) for score in scores.values()))
            each.append(-np.mean([scores[at] - total for at in alike]))
            shares.append(float(made.weights[fit, row]))
        wanted = float(np.average(each, weights=shares)) if each else 0.0
        assert float(found[fit]) == pytest.approx(wanted)


@pytest.mark.parametrize("objective", [CrossEntropy(), Contrastive()])
def test_what_a_fit_holds_stays_in_it(objective: CrossEntropy | Contrastive) -> None:
    made, heads = step()
    vectors = made.vectors.clone()
    vectors[1] = float("nan")
    vectors.requires_grad_()
    found, _ = losses(objective, Step(vectors, made.targets, made.weights, made.there), heads)
    assert torch.isnan(found).tolist() == [False, True, False]
    (grads,) = torch.autograd.grad(found.sum(), vectors)
    assert torch.isfinite(grads[0]).all()
    assert torch.isfinite(grads[2]).all()
