"""Expressions that were tried on dev rows and did not become methods, measured beside those that are.

    python scripts/tried_methods.py run vader-sentiment --pairs movie:amazon,amazon:tweets,nyt:movie --part dev --shots 8 \
        --seeds 3 --preset fast --methods source-only,joint,soup,self-train,TRIED --out docs/data/methods-dev-tried.json

``--methods`` takes their names, and ``TRIED`` for all of them. Everything else is as in ``measure_methods.py``.
"""

from __future__ import annotations

import sys

import measure_methods

from lowres.methods.adaptation import tapt
from lowres.methods.averaging import orders, soup
from lowres.methods.catalogue import METHODS, Method
from lowres.methods.cell import Bench
from lowres.methods.transfer import joint, mixed
from lowres.training.fit import Fit, Part


def soup_teaches(bench: Bench) -> Fit:
    """``self-train`` with a soup as the teacher."""
    return bench.fit(_taught(bench, soup(bench)))


def soup_teaches_on(bench: Bench) -> Fit:
    """The same, going on from ``joint``."""
    return bench.fit(_taught(bench, soup(bench)), start=joint(bench))


def joint_keywords(bench: Bench) -> Fit:
    """``joint`` with the rows that a fit on keywords is surest of."""
    return bench.fit([*mixed(bench), bench.guessed(bench.fit([bench.ruled]))])


def soup_keywords(bench: Bench) -> Fit:
    """A soup of ``joint-keywords``."""
    return orders(bench, joint_keywords(bench))


def both_teach(bench: Bench) -> Fit:
    """``self-train`` with two teachers: a soup, and a fit on keywords."""
    return bench.fit(_taught(bench, bench.fit([bench.ruled]), soup(bench)))


def soup_tapt(bench: Bench) -> Fit:
    """A soup of ``tapt``."""
    return orders(bench, tapt(bench))


def _taught(bench: Bench, *teachers: Fit) -> list[Part]:
    share = bench.settings.method.self_train.share
    return [*mixed(bench), *(bench.guessed(teacher, share) for teacher in teachers)]


STU, RULES = frozenset({"S", "T", "U"}), frozenset({"S", "T", "U", "rules"})
TRIED = {
    "soup-teaches": Method(soup_teaches, STU, zero=True),
    "soup-teaches-on": Method(soup_teaches_on, STU, zero=True),
    "joint-keywords": Method(joint_keywords, RULES, zero=True),
    "soup-keywords": Method(soup_keywords, RULES, zero=True),
    "both-teach": Method(both_teach, RULES, zero=True),
    "soup-tapt": Method(soup_tapt, STU, zero=True),
}


def main() -> None:
    """Adds them to the catalogue of this process and measures."""
    METHODS.update(TRIED)
    sys.argv = [word.replace("TRIED", ",".join(TRIED)) for word in sys.argv]
    measure_methods.main()


if __name__ == "__main__":
    main()
