"""A made-up study of several domains with something in every part, for tests of what is shown. No number means anything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from lowres import seeds
from lowres.analysis.evidence import Evidence
from lowres.analysis.summary import Summary

METHODS = ("source-only", "target-full", "target-only", "source-then-target")
Records = list[dict[str, Any]]


def estimate(mean: float, width: float = 0.03) -> dict[str, float]:
    return {"mean": mean, "low": mean - width, "high": mean + width}


def study(
    domains: Sequence[str] = ("movie", "amazon", "tweets"),
    shots: Sequence[int] = (0, 8, 32),
    labels: Sequence[str] = ("neg", "pos"),
    texts: Sequence[str] = ("a text", "another, longer text"),
    draws: int = 2,
) -> tuple[Summary, Evidence, Records]:
    """Summary, evidence and records of all pairs of the domains."""
    numbers = _numbers()
    pairs = [(one, other) for one in domains for other in domains if one != other]
    few = [budget for budget in shots if budget]
    means = {("source-only", name, name, 0): 0.9 + 0.05 * next(numbers) for name in domains}
    means |= {("source-only", one, other, 0): 0.6 + 0.2 * next(numbers) for one, other in pairs}
    means |= {("target-full", None, name, None): 0.85 + 0.1 * next(numbers) for name in domains}
    means |= {("target-only", None, name, k): 0.5 + 0.06 * math.log2(k) for name in domains for k in few}
    means |= {("source-then-target", *pair, k): 0.7 + 0.03 * math.log2(k) for pair in pairs for k in few}
    records = [
        {
            "method": method, "source": source, "target": target, "shots": k, "draw": draw, "train_rows": 100, "test_rows": 200,
            "key": seeds.digest(method, source, target, k, draw), "metrics": {"macro_f1": mean, "accuracy": mean},
        }
        for (method, source, target, k), mean in means.items()
        for draw in range(draws)
    ]  # fmt: skip
    summary = {
        "schema": 1, "lowres": "0", "warnings": [f"note on {domains[0]}"],
        "study": {
            "task": "made-up", "task_version": 1, "backbone": "tiny", "metric": "macro_f1", "domains": list(domains),
            "sources": list(domains), "targets": list(domains), "shots": list(shots), "seeds": draws, "methods": list(METHODS),
            "limit": None, "row_cap": 300,
        },
        "fits": {"cells": len(records), "distinct": len(records), "trained": len(records), "reused": 0, "failed": 0},
        "seconds": {"total": 90, "train": 50, "evaluate": 40, "encode": 0},
        "scores": [
            {"method": method, "source": source, "target": target, "shots": k, "metric": "macro_f1", "seeds": draws, **estimate(mean)}
            for (method, source, target, k), mean in means.items()
        ],
        "shift": [_shift(means, *pair) for pair in pairs],
        "transfer": [one for pair in pairs for k in few for one in _transfers(means, *pair, k)],
        "overall": [_overall(means, pairs, k) for k in few] if len(pairs) > 1 else [],
        "verdicts": [_verdict(source, target, k) for source, target in [*pairs, (None, None)] for k in few],
    }  # fmt: skip
    return Summary.model_validate(summary), evidence(domains, pairs, few, labels, texts), records


def evidence(
    domains: Sequence[str], pairs: list[tuple[str, str]], few: list[int], labels: Sequence[str], texts: Sequence[str]
) -> Evidence:
    """Something in every part."""
    numbers, (source, target) = _numbers(), pairs[0]
    places = [{"source": one, "target": other} for one, other in pairs]
    most = {"method": "source-then-target", "shots": max(few)}
    start = {"method": "source-only", "shots": 0}
    curve = [(step / 10, 0.02 * step) for step in range(1, 11)]
    return Evidence.model_validate(
        {
            "aggregates": [most | {"interquartile_mean": estimate(0.8), "against": "target-only", "improvement": estimate(0.7)}],
            "costs": [start | {"labels": 0, "seconds": 9.5, "flops": 2e12, "score": 0.7}, most | {"labels": 64, "seconds": 12, "flops": 3e12, "score": 0.8}],
            "laws": [*_laws(None, None), *itertools.chain.from_iterable(_laws(*pair) for pair in pairs)],
            "classes": len(labels),
            "reaches": [
                place | {"method": "source-then-target", "wanted": "ceiling less a point", "score": 0.87, "labels": 90.0, "low": 41.5, "high": None, "reason": None}
                for place in places
            ],
            "forecasts": [
                place | {"rule": rule, "metric": "accuracy", "predicted": estimate(0.7 + 0.1 * next(numbers)), "measured": 0.72}
                for place in places
                for rule in ("atc", "doc", "mean")
            ],
            "distances": [
                place | {"proxy_a": 1.5, "words": 0.4, "unseen": 0.2, "length": 1.3, "labels": 0.05, "of_labels": None}
                for place in places
            ],
            "flips": [
                place | most | {"row": f"row {number}", "text": text, "label": labels[0], "mended": bool(number), "share": 0.75}
                for place in places
                for number, text in enumerate(texts)
            ],
            "words": [place | {"word": text.split()[0], "label": label, "in_source": 1.2, "in_target": -0.4} for place in places for text in texts for label in labels],
            "calibration": [
                place | start | {"temperature": 1.4, "source_before": 0.04, "source_after": 0.02, "target_before": 0.13, "target_after": 0.08}
                for place in places
            ],
            "risks": [
                place | start | {"domain": place[where], "points": curve} for place in places for where in ("source", "target")
            ] + [place | most | {"domain": place["target"], "points": curve} for place in places],
            "promises": [
                place | start | {"precision": 0.95, "fitted_on": source, "measured_on": place["target"], "threshold": 0.8, "coverage": estimate(0.6), "kept": 0.93, "reason": None}
                for place in places
            ] + [places[0] | most | {"precision": 0.95, "fitted_on": target, "measured_on": target, "threshold": None, "coverage": None, "kept": None, "reason": f"too few rows of {target}"}],
            "sets": [place | start | {"wanted": 0.9, "in_source": 0.91, "in_target": 0.84, "size": 1.2, "reason": None} for place in places],
            "outside": [
                place | budget | {"rows": 250, "prevalence": 0.2, "auroc": estimate(0.7 + 0.2 * next(numbers)), "precision": 0.95, "recall": 0.3, "lowest": 0.1, "highest": 0.5, "reason": None}
                for place in places
                for budget in (start, most)
            ] + [places[0] | most | {"shots": 0, "rows": 250, "prevalence": 0.2, "auroc": None, "precision": 0.95, "recall": 0.0, "lowest": 0.0, "highest": 0.0, "reason": f"one group of {target}"}],
            "choices": [place | {"shots": max(few), "rule": "source-dev", "picked": "target-only", "best": "source-then-target", "regret": 0.02} for place in places],
            "map": [
                {"domain": name, "label": label, "pca": (next(numbers), next(numbers)), "tsne": (next(numbers), next(numbers))}
                for name in domains
                for label in labels
                for _ in range(5)
            ],
            "acted": [
                {"method": "source-then-target", "check": "answers on its rows changed", "fits": 10, "passed": 0.9, "worst": 2e-4, "wanted": "> 0.001"},
                {"method": "target-full", "check": "adapter moved", "fits": 5, "passed": 1.0, "worst": 1.25, "wanted": "> 0"},
            ],
            "notes": [f"{target}: a note"],
        }
    )  # fmt: skip


def _numbers() -> Iterator[float]:
    """Numbers in 0 … 1, always the same."""
    return (math.modf(0.618034 * step)[0] for step in itertools.count(1))


def _laws(source: str | None, target: str | None) -> list[dict[str, Any]]:
    place = {"method": "source-then-target", "source": source, "target": target}
    points = [
        {"x": x, "mean": 0.9 - x**-0.5, "low": 0.87 - x**-0.5, "high": 0.93 - x**-0.5} for x in (16.0, 64.0, 300.0)
    ]
    fitted = {"points": points, "curve": points, "pays_until": 120.0, "reason": None}
    refused = {"points": points[:2], "curve": [], "pays_until": None, "reason": "two budgets, three are needed"}
    return [place | {"against": "labels"} | fitted, place | {"against": "seconds"} | refused]


def _shift(means: dict[Any, float], source: str, target: str) -> dict[str, Any]:
    start = means["source-only", source, target, 0]
    return {
        "source": source, "target": target, "metric": "macro_f1", "scenario": "classic",
        "source_drop": estimate(means["source-only", source, source, 0] - start),
        "target_drop": estimate(means["target-full", None, target, None] - start),
    }  # fmt: skip


def _transfers(means: dict[Any, float], source: str, target: str, shots: int) -> Iterator[dict[str, Any]]:
    start = means["source-only", source, target, 0]
    alone, both = means["target-only", None, target, shots], means["source-then-target", source, target, shots]
    place = {
        "source": source,
        "target": target,
        "shots": shots,
        "recovery_reason": None,
        "recovery": estimate(0.5, 0.2),
    }
    yield place | {"method": "target-only", "gain": estimate(alone - start), "net_transfer": None, "labels_saved": None}
    yield place | {
        "method": "source-then-target", "gain": estimate(both - start), "net_transfer": estimate(both - alone),
        "labels_saved": {"mean": 3 * shots, "low": 2 * shots, "high": 5 * shots},
    }  # fmt: skip


def _overall(means: dict[Any, float], pairs: list[tuple[str, str]], shots: int) -> dict[str, Any]:
    source, target = pairs[0]
    worst = {"source": source, "target": target, "mean": means["source-then-target", source, target, shots]}
    return {
        "method": "source-then-target", "shots": shots, "score": estimate(0.8), "gain": estimate(0.05 + shots / 1000, 0.01),
        "recovery": estimate(0.5, 0.2), "net_transfer": estimate(0.04), "worst_pair": worst, "negative_transfer_rate": 0.25,
    }  # fmt: skip


def _verdict(source: str | None, target: str | None, shots: int) -> dict[str, Any]:
    shown = shots == 8
    return {
        "method": "source-then-target", "against": "target-only", "source": source, "target": target, "shots": shots,
        "difference": estimate(0.05 if shown else 0.01), "p_adjusted": 0.01 if shown else 0.4,
        "verdict": "better" if shown else "no difference shown", "minimum_detectable": 0.021,
    }  # fmt: skip
