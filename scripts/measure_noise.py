"""How many flipped labels `lowres tasks check --noise` finds, as a Markdown table.

python scripts/measure_noise.py [--domains amazon] [--share 0.1] [--draws 3] [--write docs/own-data.md]

Flips that share of the train and dev labels of one domain at random, the seed being named by task, domain and draw, and
compares the suspicions with what was flipped. No test row is looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measure_methods import write_between

from lowres import seeds
from lowres.analysis.noise import Doubted, Suspect, find_suspects
from lowres.data.rows import Rows
from lowres.data.task import Task, load_task
from lowres.models.backbone import find_backbone
from lowres.models.device import resolve
from lowres.report.markdown import markdown_table
from lowres.report.tables import Table
from lowres.training.engines import make_engine
from lowres.training.recipe import Recipe

MARKS = "<!-- noise:begin -->", "<!-- noise:end -->"
WORST = 100


@dataclass(frozen=True)
class Found:
    """How right the suspicions were."""

    flipped: int
    suspected: int
    precision: float
    recall: float
    agreed: float
    """Precision among those that the model of all domains doubts too."""
    worst: float
    """Precision among the first."""


def flip(rows: Rows, labels: Sequence[str], share: float, rng: np.random.Generator) -> tuple[Rows, set[str]]:
    """The rows with another label at random for this share of them, and the ids of these."""
    places = {int(place) for place in rng.permutation(len(rows))[: round(share * len(rows))]}
    others = [[other for other in labels if other != label] for label in rows.labels]
    changed = [str(rng.choice(others[at])) if at in places else label for at, label in enumerate(rows.labels)]
    return rows.labelled(changed), {rows.ids[place] for place in places}


def noisy(task: Task, name: str, share: float, draw: int) -> tuple[Task, set[str]]:
    """The task with flipped labels in one domain, and the ids of these rows."""
    rng, domain = seeds.generator("flipped labels", task.name, name, draw), task.domain(name)
    train, of_train = flip(domain.train, task.labels, share, rng)
    dev, of_dev = flip(domain.dev, task.labels, share, rng)
    changed = replace(domain, train=train, dev=dev)
    return replace(task, domains=task.domains | {name: changed}), of_train | of_dev


def judged(doubted: Doubted, flipped: set[str]) -> Found:
    """Suspicions against the truth."""

    def right(suspects: Sequence[Suspect]) -> float:
        return float(np.mean([one.id in flipped for one in suspects])) if suspects else np.nan

    suspects = doubted.suspects
    found = sum(one.id in flipped for one in suspects)
    agreed = [one for one in suspects if one.agreed is not False]
    return Found(
        len(flipped),
        len(suspects),
        right(suspects),
        found / max(1, len(flipped)),
        right(agreed),
        right(suspects[:WORST]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="vader-sentiment")
    parser.add_argument("--domains", help="with commas; all if left out")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--write", type=Path, help="a page whose part between the markers is replaced")
    options = parser.parse_args()
    task, backbone, machine = load_task(options.task), find_backbone(options.backbone), resolve("cpu", "fp32")
    engine = make_engine("fleet", backbone, backbone.tokens(), machine.device, machine.precision)
    names = options.domains.split(",") if options.domains else list(task.domains)
    before = {one.domain: one for one in find_suspects(task, engine, Recipe())}
    rows = []
    for name in names:
        draws = []
        for draw in range(options.draws):
            changed, flipped = noisy(task, name, options.share, draw)
            (doubted,) = (one for one in find_suspects(changed, engine, Recipe()) if one.domain == name)
            draws.append((doubted, judged(doubted, flipped)))
        judgements = [one for _, one in draws]
        mean = {field: np.mean([getattr(one, field) for one in judgements]) for field in Found.__annotations__}
        by_chance = np.mean([doubted.by_chance for doubted, _ in draws])
        rows.append(
            (
                name,
                f"{before[name].rows}",
                f"{len(before[name].suspects)} ({before[name].by_chance:.0f})",
                f"{mean['flipped']:.0f}",
                f"{mean['suspected']:.0f} ({by_chance:.0f})",
                *(f"{mean[field]:.2f}" for field in ("precision", "recall", "agreed", "worst")),
            )
        )
    head = ("domain", "rows", "suspected before (by chance)", "flipped", "suspected after (by chance)")
    judged_by = ("precision", "recall", "precision, agreed", f"precision, worst {WORST}")
    table = Table("Flipped labels", (*head, *judged_by), tuple(rows))
    text = markdown_table(table)
    print(text)
    if options.write:
        write_between(options.write, *MARKS, text)


if __name__ == "__main__":
    main()
