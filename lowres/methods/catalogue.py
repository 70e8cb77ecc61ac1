"""All methods by name: what each may use and at which budgets it says something of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from lowres.errors import unknown_name
from lowres.methods import adaptation, averaging, baselines, prior, transfer
from lowres.methods.cell import Bench
from lowres.training.fit import Fit


@dataclass(frozen=True)
class Method:
    """A recipe and the budgets it is measured at.

    ``uses``: S labelled source rows, T target shots, U unlabelled target rows, ``others`` labelled rows of all other
    sources, ``pool`` as many labelled target rows as a source fit has, ``names`` and ``rules`` the descriptions (or
    names) and the keywords of the labels in the task file.
    """

    expression: Callable[[Bench], Fit]
    uses: frozenset[str]
    zero: bool = False
    """Whether it is measured at 0 shots."""
    few: bool = True
    """Whether it is measured at more than 0 shots."""
    source: str = ""
    """Where it is described."""
    not_for: frozenset[str] = frozenset()
    """Kinds of task for which it has no meaning, or none that is built."""
    adapts: bool = True
    """Whether it trains an adapter, so that a model of it can be saved; ``label-names`` does with target shots."""

    @property
    def summary(self) -> str:
        """Its sentence."""
        return (self.expression.__doc__ or "").strip().splitlines()[0]

    @property
    def uses_source(self) -> bool:
        """Whether it is measured once for every source."""
        return "S" in self.uses

    @property
    def transfers(self) -> bool:
        """Whether labels of other domains help it: what net transfer and labels saved are about."""
        return bool({"S", "others"} & self.uses)

    def budgets(self, shots: list[int]) -> list[int | None]:
        """Those of the study's budgets at which it is measured; [None] for the ceiling."""
        if "pool" in self.uses:
            return [None]
        return [budget for budget in shots if (self.zero if budget == 0 else self.few)] or ([0] if not self.few else [])


S, T, ST, STU, POOL, OTHERS, NAMES, RULES = (
    frozenset("S"),
    frozenset("T"),
    frozenset("ST"),
    frozenset("STU"),
    frozenset({"pool"}),
    frozenset({"others", "T"}),
    frozenset({"names", "T"}),
    frozenset({"rules", "U", "T"}),
)

TOKENS, OTHER_ANSWERS = frozenset({"tokens"}), frozenset({"multilabel", "regression"})
SINGLE_ONLY = TOKENS | OTHER_ANSWERS
"""Needs rows with one label: classes, pseudo-labels, label names, or words as features."""

METHODS: dict[str, Method] = {
    "source-only": Method(baselines.source_only, S, zero=True, few=False),
    "target-full": Method(baselines.target_full, POOL),
    "target-only": Method(baselines.target_only, T),
    "source-then-target": Method(transfer.source_then_target, ST, source="a:1811.01088"),
    "joint": Method(transfer.joint, ST),
    "full-finetune": Method(transfer.full_finetune, ST, zero=True, adapts=False),
    "probe-then-lora": Method(transfer.probe_then_lora, T, source="a:2202.10054"),
    "contrastive": Method(transfer.contrastive, T, source="a:2209.11055", not_for=SINGLE_ONLY),
    "interpolate": Method(averaging.interpolate, ST, source="a:2109.01903"),
    "soup": Method(averaging.soup, ST, zero=True, source="a:2203.05482"),
    "merge-domains": Method(averaging.merge_domains, OTHERS, zero=True, source="a:2402.15414"),
    "meta": Method(averaging.meta, OTHERS, zero=True, source="a:1803.02999", not_for=SINGLE_ONLY),
    "select-source": Method(
        transfer.select_source, STU, zero=True, source="doi:10.18653/v1/D19-6109", not_for=SINGLE_ONLY
    ),
    "self-train": Method(adaptation.self_train, STU, zero=True, source="a:2009.11538", not_for=SINGLE_ONLY),
    "tapt": Method(adaptation.tapt, STU, zero=True, source="a:2004.10964"),
    "coral": Method(adaptation.coral, STU, zero=True, source="a:1607.01719"),
    "mmd": Method(adaptation.mmd, STU, zero=True, source="a:1502.02791"),
    "dann": Method(adaptation.dann, STU, zero=True, source="a:1505.07818"),
    "label-names": Method(prior.label_names, NAMES, zero=True, source="a:1909.00161", not_for=SINGLE_ONLY),
    "keywords": Method(prior.keywords, RULES, zero=True, source="a:2010.07835", not_for=SINGLE_ONLY),
    "nearest": Method(baselines.nearest, T, source="a:1703.05175", not_for=OTHER_ANSWERS, adapts=False),
    "probe": Method(baselines.probe, T, adapts=False),
    "probe-joint": Method(baselines.probe_joint, ST, zero=True, adapts=False),
    "tfidf": Method(baselines.tfidf, T, not_for=TOKENS, adapts=False),
    "tfidf-joint": Method(baselines.tfidf_joint, ST, zero=True, not_for=TOKENS, adapts=False),
    "tree": Method(baselines.tree, ST, zero=True, not_for=SINGLE_ONLY, adapts=False),
    "majority": Method(baselines.majority, S, zero=True, few=False, adapts=False),
}

ASK_LM_HEAD = frozenset({"tapt"})
"""Methods whose expression depends on whether the backbone has its masked-LM head."""
REFERENCES = ("source-only", "target-full", "target-only")
"""Always measured: drop, gain, recovery and net transfer are differences to them."""

RECOMMENDED = ("source-then-target", "soup", "joint", "target-only")
"""Of the methods studied the first of these is handed over, whose largest regret over tasks is least (docs/methods-measured.md); the rule
looks at no target test row."""


def recommended(methods: Collection[str], shots: int) -> str | None:
    """The method whose model is handed over at a budget; at 0 shots ``source-only``."""
    return next((name for name in (RECOMMENDED if shots else ("source-only",)) if name in methods), None)


def find_method(name: str) -> Method:
    """A method by name.

    Raises:
        UserError: No such method; names the nearest.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS, hint="lowres methods ls")
    return METHODS[name]
