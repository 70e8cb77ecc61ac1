"""An outcome with probabilities made here: what analyses read, without training anything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lowres import seeds
from lowres.data.task import Task
from lowres.study.config import build_config
from lowres.study.plan import make_plan
from lowres.study.runner import Outcome
from lowres.training.fit import Environment


def made_outcome(task: Task, right: Callable[[str, str | None, str], float], **changes: object) -> Outcome:
    """Every cell answered: confidences uniform in .5 … 1 and right with this probability (method, source, target)."""
    given = {"task": "toy", "shots": [0, 4], "seeds": 3, "source_rows": 20, **changes}
    plan = make_plan(build_config(given), task)
    outcome = Outcome(plan, Environment("none", "loop", "fp32", "none"))
    for cell, fit in plan.fits.items():
        targets = outcome.targets(cell.target)
        rng = seeds.generator("synthetic", fit.content, cell.target)
        good = rng.random(len(targets)) < right(cell.method, cell.source, cell.target)
        sure = rng.uniform(0.5, 1.0, len(targets)).astype(np.float32)
        answers = np.where(good, targets, (targets + 1) % len(task.labels))
        probabilities = np.tile((1 - sure)[:, None] / (len(task.labels) - 1), (1, len(task.labels)))
        probabilities[np.arange(len(targets)), answers] = sure
        outcome.probabilities.setdefault((fit.content, cell.target), probabilities)
    return outcome
