"""Word attributions for eyes: on a terminal, as a page, as JSON Lines. Text from data is never read as markup."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from markupsafe import Markup

import lowres
from lowres.analysis.explain import Change, Explanation
from lowres.errors import clean
from lowres.report.policy import file, policy

if TYPE_CHECKING:
    from rich.text import Text

STEPS = 12
"""Strengths of a word's ground on the page."""
WEAK = 0.1
"""Share of the largest weight below which a word's number is left out."""


def title(one: Explanation) -> str:
    """Label and probability; the predicted label beside it if another one is explained."""
    other = "" if one.label == one.predicted else f" (predicted: {clean(one.predicted)})"
    return f"{clean(one.label)} {one.probability:.1%}{other}"


def note(one: Explanation) -> str:
    """How the weights add up."""
    summed = one.logit - one.empty
    cut = "; the text goes on beyond what the model reads" if one.cut else ""
    return (
        f"the words add {_signed(summed)} to the logit of the empty text ({_signed(one.empty)}); their sum is off by"
        f" {one.gap:.1%} after {one.steps} steps{cut}"
    )


def plain(one: Explanation) -> str:
    """The text with the weights of its strong words in brackets, without colour."""
    largest = _largest(one)
    return " ".join(
        clean(word.word) + (f"({_signed(word.weight)})" if abs(word.weight) >= WEAK * largest else "")
        for word in one.words
    )


def coloured(one: Explanation) -> Text:
    """The text with words for the label in green and words against it in red, stronger ones bold."""
    from rich.text import Text

    largest = _largest(one)
    return Text(" ").join(Text(clean(word.word), style=_style(word.weight / largest)) for word in one.words)


def page(explanations: Sequence[Explanation]) -> str:
    """One HTML file that needs no network; everything that comes from data is escaped."""
    from jinja2 import Environment, StrictUndefined

    style = file("attributions.css")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(file("attributions.html"))
    return template.render(
        explanations=[_shown(one) for one in explanations],
        version=clean(lowres.__version__),
        style=Markup(style),
        policy=policy(style),
    )


def lines(found: Sequence[Explanation | Change]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found)


def compared(found: Sequence[Change], label: str, source: str, target: str) -> str:
    """A table of the words whose weight changed most."""
    head = f"weight for {clean(label)}"
    rows = [
        (
            clean(one.word),
            f"{_signed(one.in_source)} ({one.source_texts})",
            f"{_signed(one.in_target)} ({one.target_texts})",
        )
        for one in found
    ]
    names = (head, f"{clean(source)} (texts)", f"{clean(target)} (texts)")
    widths = [max(len(row[place]) for row in [names, *rows]) for place in range(3)]
    return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in [names, *rows])


def _shown(one: Explanation) -> dict[str, object]:
    largest = _largest(one)
    return {
        "title": title(one),
        "note": note(one),
        "words": [
            {
                "word": clean(word.word),
                "side": "for" if word.weight >= 0 else "against",
                "part": round(STEPS * abs(word.weight) / largest),
                "shown": abs(word.weight) >= WEAK * largest,
                "weight": _signed(word.weight),
            }
            for word in one.words
        ],
    }


def _style(share: float) -> str:
    if abs(share) < WEAK:
        return ""
    return ("bold " if abs(share) >= 0.5 else "") + ("green" if share > 0 else "red")


def _largest(one: Explanation) -> float:
    return max((abs(word.weight) for word in one.words), default=0.0) or 1.0


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
