"""How right the forecasts of finished runs were, as Markdown tables.

python scripts/measure_forecasts.py runs/vader runs/newsgroups [--write docs/forecasts-measured.md]

Reads evidence.json and cells.jsonl of each run folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from lowres import seeds
from lowres.analysis.evidence import Evidence
from lowres.analysis.summary import Summary
from lowres.report.markdown import markdown_table
from lowres.report.tables import Table
from lowres.stats.laws import BackTest, back_tests

MARKS = "<!-- forecasts:begin -->", "<!-- forecasts:end -->"
RULES = ("confidence", "doc", "atc", "agreement", "mean")
LEVEL = 0.9


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    name: str
    summary: Summary
    evidence: Evidence
    cells: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Run:
        """From the files of a finished run."""
        summary = Summary.model_validate_json((folder / "summary.json").read_bytes())
        cells = pd.json_normalize(pd.read_json(folder / "cells.jsonl", lines=True).to_dict("records"))
        evidence = Evidence.model_validate_json((folder / "evidence.json").read_bytes())
        return cls(summary.study.task, summary, evidence, cells)

    def inside(self, source: str) -> float:
        """Mean accuracy of source-only in its own domain."""
        own = self.cells[(self.cells.source == source) & (self.cells.target == source)]
        return float(own["metrics.accuracy"].mean())

    def curves(self) -> Iterator[tuple[str, str, list[float], np.ndarray]]:
        """Method, target, labels in all and scores [draws, budgets] of every learning curve."""
        metric, classes = (
            f"metrics.{self.summary.study.metric}",
            sum(c.startswith("metrics.recall.") for c in self.cells),
        )
        few = self.cells[self.cells.shots > 0]
        for (method, _, target), cells in few.groupby(["method", "source", "target"], dropna=False):
            table = cells.pivot_table(index="draw", columns="shots", values=metric)
            table.columns = [shots * classes for shots in table.columns]
            full = self.cells[(self.cells.method == "target-full") & (self.cells.target == target)]
            if method == "target-only" and len(full) and full.train_rows.iloc[0] > table.columns[-1]:
                table[float(full.train_rows.iloc[0])] = full.set_index("draw")[metric]
            table = table.dropna()
            if len(table):
                yield method, f"{self.name}/{target}", [float(x) for x in table.columns], table.to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--write", type=Path, help="a page whose part between the markers is replaced")
    options = parser.parse_args()
    runs = [Run.read(folder) for folder in options.runs]
    tables = [errors(runs), *learned(runs), pairs(runs), correlations(runs), *laws(runs), regrets(runs)]
    text = "\n\n".join(f"{markdown_table(table)}\n\n{table.note}".rstrip() for table in tables)
    print(text)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        head, tail = page.split(MARKS[0])[0], page.split(MARKS[1])[1]
        options.write.write_text(f"{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}", encoding="utf-8")


def forecasts(runs: list[Run]) -> pd.DataFrame:
    """One row a pair, rule and metric, of the first run that has it; the score in the source is the rule ``no drop``."""
    rows = []
    for run in runs:
        for one in run.evidence.forecasts:
            rows.append((run.name, one.source, one.target, one.rule, one.metric, one.predicted.mean, one.measured))
            if (one.rule, one.metric) == ("mean", "accuracy"):
                said = run.inside(one.source)
                rows.append((run.name, one.source, one.target, "no drop", "accuracy", said, one.measured))
    found = pd.DataFrame(rows, columns=["task", "source", "target", "rule", "metric", "said", "measured"])
    found = found.drop_duplicates(["task", "source", "target", "rule", "metric"])
    return found.assign(error=found.said - found.measured)


def errors(runs: list[Run]) -> Table:
    """Mean absolute error of every rule."""
    rows = []
    for (rule, metric), part in forecasts(runs).groupby(["rule", "metric"], sort=False):
        error = part.error.abs()
        rows.append(
            [rule, metric, str(len(part)), f"{error.mean():.3f}", f"{part.error.mean():+.3f}", f"{error.max():.3f}"]
        )
    note = (
        "Said less measured mean score in the target. `no drop` says the score in the source. Pairs that share a domain"
        " share rows and models, so they are fewer independent cases than they are pairs."
    )
    return Table(
        "errors", ["rule", "metric", "pairs", "mean absolute error", "bias", "largest"], sorted_by(rows, 3), note
    )


def learned(runs: list[Run]) -> list[Table]:
    """What the errors on other tasks could teach a forecast: every task is left out once."""
    found = forecasts(runs)
    found = found[found.metric == "accuracy"]
    said = found.pivot_table(index=["task", "source", "target"], columns="rule", values=["said", "error"])
    tasks = said.index.get_level_values("task")
    if len(set(tasks)) < 2:
        return []
    values, errors_ = said["said"], said["error"]
    truth, lost = values["mean"] - errors_["mean"], dict[str, list[np.ndarray]]()
    for task in dict.fromkeys(tasks):
        out = tasks == task
        best = errors_[~out].drop(columns="no drop").abs().mean().idxmin()
        x = np.stack([np.ones(len(said)), values["mean"]], axis=1)
        line = np.linalg.lstsq(x[~out], truth[~out].to_numpy(), rcond=None)[0]
        for name, guess in (
            ("the rule that errs least on the other tasks", values[best]),
            ("mean, less its median error there", values["mean"] - errors_["mean"][~out].median()),
            ("a line through mean, fitted there", pd.Series(x @ line, said.index)),
        ):
            lost.setdefault(name, []).append((guess - truth)[out].to_numpy())
    rows = [
        [name, str(len(said)), f"{np.abs(all_).mean():.3f}", f"{all_.mean():+.3f}", f"{np.abs(all_).max():.3f}"]
        for name, all_ in ((name, np.concatenate(parts)) for name, parts in lost.items())
    ]
    note = "Accuracy. Chosen or fitted on the pairs of all other tasks, tried on the pairs of the one left out."
    return [
        Table("learned", ["learned from other tasks", "pairs", "mean absolute error", "bias", "largest"], rows, note)
    ]


def pairs(runs: list[Run]) -> Table:
    """What every rule said of every pair."""
    found = forecasts(runs)
    found = found[found.metric == "accuracy"]
    rows = []
    for (task, source, target), part in found.groupby(["task", "source", "target"], sort=False):
        said = part.set_index("rule").said
        rows.append(
            [f"{source} → {target} ({task})", f"{said['no drop']:.3f}", f"{part.measured.iloc[0]:.3f}"]
            + [f"{said[rule]:.3f}" if rule in said else "–" for rule in RULES]
        )
    return Table("pairs", ["accuracy", "in source", "measured in target", *RULES], rows, "")


def correlations(runs: list[Run]) -> Table:
    """Rank correlation of each distance with the fall of accuracy from source to target."""
    found = forecasts(runs)
    fall = {
        (one.task, one.source, one.target): one.said - one.measured
        for one in found[found.rule == "no drop"].itertuples()
    }
    rows = []
    for name, title in (
        ("proxy_a", "proxy A-distance"),
        ("words", "word divergence"),
        ("unseen", "unseen words"),
        ("labels", "label shares"),
    ):
        points = {
            (run.name, one.source, one.target): (getattr(one, name), fall[run.name, one.source, one.target])
            for run in reversed(runs)
            for one in run.evidence.distances
            if (run.name, one.source, one.target) in fall
        }
        x, y = np.array(list(points.values()), dtype=float).T
        shown = len(points) > 2 and x.std() > 0 and y.std() > 0
        rank = stats.spearmanr(x, y) if shown else None
        rows.append(
            [title, str(len(points)), f"{rank.statistic:+.2f}" if rank else "–", f"{rank.pvalue:.2f}" if rank else "–"]
        )
    note = "p as if pairs were independent; they share domains, so it is too small."
    return Table("distances", ["distance", "pairs", "Spearman's rank correlation with the drop", "p"], rows, note)


def laws(runs: list[Run]) -> list[Table]:
    """Back-tests of the label law."""
    tests: list[tuple[str, str, BackTest]] = []
    for run in runs:
        for method, target, x, scores in run.curves():
            rng = seeds.generator("back-test", method, target)
            tests += [(method, target, one) for one in back_tests(x, scores, rng, level=LEVEL)]
    rows = [
        _held(method, [one for one in tests if one[0] == method]) for method in dict.fromkeys(one[0] for one in tests)
    ]
    if tests:
        rows.append(_held("all", tests))
    header = [
        "method",
        "back-tests",
        "targets",
        "mean absolute error",
        "mean width",
        "held",
        "if all were independent",
        "if only targets were",
    ]
    note = (
        f"Laws fitted to three or more budgets, asked for the next larger one (at most 4 times as large). Held: share of"
        f" {LEVEL:.0%} bands that hold the measured mean; its 95 % binomial intervals (Clopper and Pearson) count every"
        " back-test, or only one for every target, since those on one target share its test rows and its draws."
    )
    return [Table("laws", header, rows, note)]


def _held(method: str, tests: list[tuple[str, str, BackTest]]) -> list[str]:
    count, held = len(tests), sum(one.held for _, _, one in tests)
    targets = len({target for _, target, _ in tests})
    error = np.mean([abs(one.predicted - one.measured) for _, _, one in tests])
    width = np.mean([one.high - one.low for _, _, one in tests])
    bounds = [
        stats.binomtest(round(held / count * size), size).proportion_ci(method="exact") for size in (count, targets)
    ]
    return [
        method, str(count), str(targets), f"{error:.3f}", f"{width:.3f}", f"{held / count:.0%}",
        *(f"[{one.low:.0%}, {one.high:.0%}]" for one in bounds),
    ]  # fmt: skip


def regrets(runs: list[Run]) -> Table:
    """What each rule loses to the best method measured, and what a pick at random would."""
    lost: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        cells, metric = run.cells, f"metrics.{run.summary.study.metric}"
        for one in run.evidence.choices:
            lost.setdefault((one.rule, one.shots), []).append(one.regret)
            if one.rule == "forecast":
                there = cells[(cells.target == one.target) & (cells.shots == one.shots)]
                means = there[there.source.isna() | (there.source == one.source)].groupby("method")[metric].mean()
                lost.setdefault(("at random", one.shots), []).append(float(means.max() - means.mean()))
    rows = [
        [
            rule,
            str(shots),
            str(len(all_)),
            f"{np.mean(all_):.3f}",
            f"{max(all_):.3f}",
            f"{np.mean(np.array(all_) < 1e-12):.0%}",
        ]
        for (rule, shots), all_ in sorted(lost.items(), key=lambda item: (item[0][1], np.mean(item[1])))
    ]
    return Table("choices", ["rule", "shots", "pairs", "mean regret", "largest", "picked the best"], rows, "")


def sorted_by(rows: list[list[str]], place: int) -> list[list[str]]:
    """Rows by one column of numbers."""
    return sorted(rows, key=lambda row: float(row[place]))


if __name__ == "__main__":
    main()
