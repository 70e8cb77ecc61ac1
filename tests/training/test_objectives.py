"""Losses against the same formulas written row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lowres.training.objectives import WIDTHS, Heads, Step, losses
from lowres.training.recipe import MMD, Contrastive, Coral, CrossEntropy, Dann, Objective

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


def two_sides() -> tuple[Step, Heads]:
    """Three fits with four labelled and three, two and one unlabelled rows."""
    _, heads = step()
    rng = np.random.default_rng(1)
    unlabelled = (3, 2, 1)
    rows = np.arange(7)[None]
    there = torch.tensor(rows < 4 + np.array(unlabelled)[:, None])
    weights = torch.tensor(np.where(rows < 4, 0.25, 0.0)).repeat(3, 1)
    vectors = torch.tensor(rng.normal(size=(3, 7, 4)), requires_grad=True)
    told = torch.tensor(rng.normal(size=(3, 4)), requires_grad=True), torch.tensor(rng.normal(size=3))
    return (
        Step(vectors, torch.tensor(rng.integers(0, 2, (3, 7))), weights, there),
        Heads(heads.weight, heads.bias, heads.absent, told),
    )


def sides(made: Step, fit: int) -> tuple[np.ndarray, np.ndarray]:
    whole = made.vectors[fit].detach().numpy()
    return whole[:4], whole[4 : int(made.there[fit].sum())]


def test_coral() -> None:
    made, heads = two_sides()
    found, figure = losses(Coral(0.5), made, heads)
    plain, _ = losses(CrossEntropy(), made, heads)
    assert figure is not None
    for fit in (0, 1):  # one row has no covariance
        one, other = (np.cov(side, rowvar=False) for side in sides(made, fit))
        wanted = float(((one - other) ** 2).sum())
        assert float(figure[fit]) == pytest.approx(wanted)
        assert (found - plain)[fit].item() == pytest.approx(0.5 * wanted)
    assert torch.isfinite(found).all()


def test_mmd() -> None:
    made, heads = two_sides()
    found, figure = losses(MMD(2.0), made, heads)
    plain, _ = losses(CrossEntropy(), made, heads)
    assert figure is not None
    for fit in range(3):
        one, other = sides(made, fit)
        whole = np.concatenate([one, other])
        apart = ((whole[:, None] - whole[None]) ** 2).sum(-1)
        middle = np.sort(apart.ravel())[(apart.size - 1) // 2]
        kernel = np.mean([np.exp(-apart / (width * middle)) for width in WIDTHS], axis=0)
        size = len(one)
        wanted = kernel[:size, :size].mean() + kernel[size:, size:].mean() - 2 * kernel[:size, size:].mean()
        assert float(figure[fit]) == pytest.approx(wanted)
        assert (found - plain)[fit].item() == pytest.approx(2 * wanted)


def test_the_discriminator_learns_and_the_vectors_learn_against_it() -> None:
    made, heads = two_sides()
    assert heads.discriminator is not None
    weight, bias = heads.discriminator
    found, share = losses(Dann(0.3), made, heads)
    plain, _ = losses(CrossEntropy(), made, heads)
    assert share is not None
    extra = found - plain
    to_weight, to_vectors = torch.autograd.grad(extra.sum(), (weight, made.vectors))
    for fit in range(3):
        one, other = sides(made, fit)
        own = torch.tensor(np.concatenate([one, other]), requires_grad=True)
        logits = own @ weight[fit].detach() + bias[fit]
        truth = torch.tensor([0.0] * len(one) + [1.0] * len(other), dtype=torch.float64)
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        wanted = (each[: len(one)].mean() + each[len(one) :].mean()) / 2
        assert float(extra[fit]) == pytest.approx(float(wanted))
        right = ((logits > 0) == (truth > 0)).double()
        assert float(share[fit]) == pytest.approx(float(right[: len(one)].mean() + right[len(one) :].mean()) / 2)
        (forward,) = torch.autograd.grad(wanted, own)
        assert to_vectors[fit, : len(own)].numpy() == pytest.approx(-0.3 * forward.numpy())
    assert float(to_weight.abs().sum()) > 0


@pytest.mark.parametrize("objective", [Coral(), MMD(), Dann()])
def test_alignment_of_one_fit_stays_in_it(objective: Objective) -> None:
    made, heads = two_sides()
    alone = Step(*(part[1:2] for part in (made.vectors, made.targets, made.weights, made.there)))
    assert heads.discriminator is not None
    own = Heads(
        heads.weight[1:2],
        heads.bias[1:2],
        heads.absent[1:2],
        (heads.discriminator[0][1:2], heads.discriminator[1][1:2]),
    )
    assert float(losses(objective, made, heads)[0][1]) == pytest.approx(float(losses(objective, alone, own)[0]))


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
