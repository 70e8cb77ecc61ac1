"""Coverage, width and false verdicts of `lowres.stats` on simulated studies with clustered test rows.

Also of what is said over several pairs (simulated_pairs.py), and of laws, power and promises (simulated_forecasts.py).

python scripts/simulate_intervals.py            # about ten minutes of one core; writes the tables of docs/statistics.md
python scripts/simulate_intervals.py --check    # prints them only
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from simulated_forecasts import (
    CURVES,
    LEVEL,
    PRECISIONS,
    TRUSTS,
    Hits,
    ceiling_study,
    curve_study,
    power_study,
    promise_studies,
)
from simulated_pairs import simulate as simulate_pairs
from simulated_studies import LINEAR, METRICS, MIXES, Setting, Study, simulate, truths

SEED = 20260
BEGIN, END = "<!-- simulation:begin -->", "<!-- simulation:end -->"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
NULL, NULL_T = "false verdicts", "false verdicts by t"
PLAIN = {
    "score": "score, bootstrap of draws",
    "source drop": "source drop, bootstrap of draws",
    "straight": "score, no logit",
}


@dataclass(frozen=True)
class Summary:
    """One quantity over simulated studies: ``hits`` of ``given`` intervals, of ``studies`` studies.

    Widths are relative to the normal interval with the true standard error: ``width`` of ours, ``oracle`` of t with
    the true standard error and the degrees of freedom of the true components.
    """

    hits: int
    given: int
    studies: int
    width: float = math.nan
    oracle: float = math.nan


def summarise(name: str, studies: list[Study], true: float, setting: Setting) -> Summary:
    """Coverage and relative width of one quantity over studies."""
    given = [one for study in studies if (one := study.intervals[name]) is not None]
    hits = sum(one.low <= true <= one.high for one in given)
    if name not in LINEAR:
        return Summary(hits, len(given), len(studies))
    spread = float(np.std([one.mean for one in given], ddof=1))
    draw = float(np.mean([one.draw_share[name] for one in studies]))
    rest = max(spread**2 - draw, 0.0)
    df = (draw + rest) ** 2 / (draw**2 / (setting.draws - 1) + rest**2 / (setting.groups - 1))
    normal = float(stats.norm.ppf(0.975))
    width = float(np.mean([one.high - one.low for one in given])) / (2 * normal * spread)
    return Summary(hits, len(given), len(studies), width, float(stats.t.ppf(0.975, df)) / normal)


def run(setting: Setting, replicates: int, seed: int = SEED) -> dict[str, dict[str, Summary]]:
    """Summaries by metric and quantity; verdicts of the null family and simpler rules are listed as quantities."""
    rng = np.random.default_rng([seed, setting.draws, setting.classes, MIXES.index(setting.mix)])
    studies = [simulate(setting, rng) for _ in range(replicates)]
    result: dict[str, dict[str, Summary]] = {}
    for metric in METRICS:
        mine, true = [one[metric] for one in studies], truths(setting, metric)
        found = {name: summarise(name, mine, value, setting) for name, value in true.items()}
        counts = {NULL: sum(one.false_verdict for one in mine), NULL_T: sum(one.false_by_t for one in mine)}
        for rule, name in PLAIN.items():
            target = true["source drop" if rule == "source drop" else "score"]
            counts[name] = sum(one.plain[rule][0] <= target <= one.plain[rule][1] for one in mine)
        result[metric] = found | {name: Summary(count, replicates, replicates) for name, count in counts.items()}
    return result


Row = tuple[str, dict[str, list[Summary]]]


def percent(cells: list[Summary], worst: Callable[[list[float]], float] = min) -> str:
    """Pooled share of hits in percent, with the worst setting in parentheses; a dash where too few are given."""
    if sum(one.given for one in cells) < sum(one.studies for one in cells) / 5:
        return "–"
    pooled = sum(one.hits for one in cells) / sum(one.given for one in cells)
    return f"{100 * pooled:.1f} ({100 * worst([one.hits / one.given for one in cells if one.given]):.1f})"


def table(head: list[str], rows: list[Row], columns: list[str], cell: Callable[[list[Summary]], str]) -> str:
    """Markdown table: variance mix and draws, then one column a quantity."""
    lines = ["| variance, draws | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cell(found[column]) for column in columns) + " |" for name, found in rows]
    return "\n".join(lines)


def page(rows: list[Row], replicates: int) -> str:
    """The part of docs/statistics.md between the markers."""
    error = 100 * math.sqrt(0.95 * 0.05 / (2 * replicates))
    single = 100 * math.sqrt(0.95 * 0.05 / replicates)
    kinds = [*LINEAR, "recovery", "labels saved"]

    def share(cells: list[Summary]) -> str:
        return f"{100 * sum(one.given for one in cells) / sum(one.studies for one in cells):.0f}"

    def width(cells: list[Summary]) -> str:
        return f"{np.mean([one.width for one in cells]):.2f} / {np.mean([one.oracle for one in cells]):.2f}"

    def false(cells: list[Summary]) -> str:
        return percent(cells, max)

    parts = [
        f"`python scripts/simulate_intervals.py --replicates {replicates}`, seed {SEED}: {replicates} studies for each "
        "of 2 and 3 classes, both scored by accuracy and by macro-F1.\n",
        "**Coverage of the 95 % intervals, %**, pooled over these four settings, and of the lowest setting in "
        f"parentheses. Monte-Carlo error {error:.1f} pooled, {single:.1f} for one setting; a dash where under a fifth "
        "of the studies gave an interval.\n",
        table(kinds, rows, kinds, percent),
        "\n**Studies with any false verdict** when four methods equal the reference, % (highest setting), by `compare` "
        "and with the t of the intervals in its place.\n",
        table(["verdicts", "by the intervals' t"], rows, [NULL, NULL_T], false),
        "\n**Mean width over that of the normal interval with the true standard error** / the same of the t interval "
        "with the true standard error and true degrees of freedom.\n",
        table(list(LINEAR), rows, list(LINEAR), width),
        "\n**Studies in which an interval is given, %**; else the reason is.\n",
        table(kinds[3:], rows, kinds[3:], share),
        "\n**Coverage of simpler rules, %** (lowest setting).\n",
        table(list(PLAIN.values()), rows, list(PLAIN.values()), percent),
    ]
    return "\n".join(parts)


def pairs_table(replicates: int) -> str:
    """What is said over six pairs."""
    rows: list[tuple[str, list[str]]] = []
    for mix in MIXES:
        for draws in (3, 5, 10):
            rng = np.random.default_rng([SEED, 1, draws, MIXES.index(mix)])
            studies = [simulate_pairs(Setting(mix, draws, 2), rng) for _ in range(replicates)]
            cells = []
            for name in studies[0]:
                mean = float(np.mean([one[name][0] for one in studies]))
                held = [
                    low <= (mean if true is None else true) <= high for _, low, high, true in (s[name] for s in studies)
                ]
                cells.append(f"{100 * np.mean(held):.1f}")
            rows.append((f"{mix.name}, {draws}", cells))
    return written(["variance, draws", *studies[0]], rows)


def hits_table(head: str, settings: dict[str, list[Hits]], said: bool = False) -> str:
    """Share of hits among what was said, in percent; with ``said``, of how many studies something was."""
    names = list(dict.fromkeys(name for found in settings.values() for one in found for name in one))
    rows = []
    for title, found in settings.items():
        cells = []
        for name in names:
            asked = [one[name] for one in found if name in one]
            given = [one for one in asked if one is not None]
            share = f" of {100 * len(given) / len(asked):.0f}" if said and asked and len(given) < len(asked) else ""
            cells.append(f"{100 * np.mean(given):.1f}{share}" if given else "–")
        rows.append((title, cells))
    return written([head, *names], rows)


def written(header: list[str], rows: list[tuple[str, list[str]]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows)])


def further(replicates: int) -> str:
    """The second part of the page: pairs, laws, power, promises."""
    few = max(2, replicates * 3 // 10)
    laws, power, promises = dict[str, list[Hits]](), dict[str, list[Hits]](), dict[str, list[Hits]]()
    for place, curve in enumerate(CURVES):
        for draws in (3, 5, 10):
            for budgets in (3, 5):
                rng = np.random.default_rng([SEED, 2, place, draws, budgets])
                found = [curve_study(curve, draws, budgets, rng) for _ in range(few)]
                rng = np.random.default_rng([SEED, 5, place, draws, budgets])
                found += [ceiling_study(curve, draws, budgets, rng) for _ in range(few)]
                rng = np.random.default_rng([SEED, 6, place, draws, budgets])
                found += [ceiling_study(curve, draws, budgets, rng, on_curve=True) for _ in range(few)]
                laws[f"{curve.name}, {draws}, {budgets}"] = found
    for mix in MIXES:
        for draws in (3, 5, 10):
            rng = np.random.default_rng([SEED, 3, draws, MIXES.index(mix)])
            power[f"{mix.name}, {draws}"] = [power_study(Setting(mix, draws, 2), rng) for _ in range(replicates)]
    for place, trust in enumerate(TRUSTS):
        for precision in PRECISIONS:
            rng = np.random.default_rng([SEED, 4, place])
            promises[f"{trust.groups}, {trust.group:g}, {precision}"] = promise_studies(trust, precision, few, rng)
    return "\n".join(
        [
            f"\n**Over six pairs of three domains**: coverage of the 95 % intervals, %; {replicates} studies, accuracy, 2 classes."
            " *Worst pair, named*: the interval of the pair with the lowest mean holds the truth of that pair; *worst"
            " pair*: that of the pair which is truly the worst. *Bootstrap of draws*: the rule of arXiv 2108.13264.\n",
            pairs_table(replicates),
            f"\n**Laws of labels**: coverage of the {LEVEL:.0%} bands, %; {few} studies. Kind of curve, draws, budgets;"
            " *labels to reach*: a score that the truth reaches at twice the most labels, and of how many studies, %, something was"
            " said (else the law lies elsewhere and refuses); *to near the ceiling*: the same score told as so much below a ceiling"
            " that was measured with 1,000 labels on the same test rows; *its last budget*: the law is fitted to that one too, and the"
            " score is that of 500 labels.\n",
            hits_table("curve, draws, budgets", laws, said=True),
            f"\n**Power**: studies, %, that detect the difference which a pilot of as many draws printed as detectable"
            f" (80 wanted), and half of it; {replicates} studies.\n",
            hits_table("variance, draws", power),
            f"\n**Promised precision**: thresholds, %, that keep it on endless rows, and of how many draws a threshold was"
            f" found (a promise is to be broken in at most 5 % of all); coverage of the 95 % interval of the share answered;"
            f" {few} studies of five draws. Groups, half of them to fit on, spread of a group, precision.\n",
            hits_table("groups, spread, precision", promises, said=True),
        ]
    )


def main() -> None:
    """Runs every setting, prints the tables, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=500, help="simulated studies a setting")
    parser.add_argument("--check", action="store_true", help="print only, leave docs/statistics.md as it is")
    options = parser.parse_args()
    start, rows = time.perf_counter(), []
    for mix in MIXES:
        for draws in (3, 5, 10):
            pooled: dict[str, list[Summary]] = {}
            for classes in (2, 3):
                for found in run(Setting(mix, draws, classes), options.replicates).values():
                    for name, one in found.items():
                        pooled.setdefault(name, []).append(one)
            rows.append((f"{mix.name}, {draws}", pooled))
            print(f"{mix.name}, {draws} draws: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    text = page(rows, options.replicates) + "\n" + further(options.replicates)
    print(f"all: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(text)
    if not options.check:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
