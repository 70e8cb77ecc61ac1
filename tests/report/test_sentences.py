from __future__ import annotations

from typing import Any

import pytest

from lowres.analysis.evidence import Evidence, Law, Reach
from lowres.analysis.summary import Estimate, Summary
from lowres.report import sentences
from tests.report import studies
from tests.report.test_report import summary


def changed(found: Summary, part: str, number: int, **values: Any) -> Summary:
    """The summary with one entry of a part changed."""
    entries = list(getattr(found, part))
    entries[number] = entries[number].model_copy(update=values)
    return found.model_copy(update={part: entries})


def estimate(mean: float, low: float, high: float) -> Estimate:
    return Estimate(mean=mean, low=low, high=high)


def law(pays: float | None, reason: str | None = None, method: str = "source-then-target") -> Evidence:
    found = Law(
        method=method,
        source=None,
        target=None,
        against="labels",
        points=[],
        curve=[],
        pays_until=pays,
        reason=reason,
        pays_band=None if pays is None else (80.0, None),
    )
    return Evidence(laws=[found])


def test_three_sentences_on_one_pair() -> None:
    one = changed(summary(), "transfer", 0, gain=estimate(0.03, 0.01, 0.05))
    assert sentences.sentences(one, law(120.4)) == [
        "From movie to amazon the score falls by 8.9 points of macro-F1 [5.9, 11.9].",
        "What wins most back is source-then-target with 8 labels a class: 3.0 points [1.0, 5.0] over the model without target"
        " labels; that is 51 % [35, 68] of the target drop; 2.3 points more than target-only.",
        "Beyond about 120 target labels (90 % band from 80 upwards), twice as many bring source-then-target less than one point; ready for use in best/:"
        " source-then-target at 8 labels a class for amazon.",
    ]


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ((0.02, -0.01, 0.05), "no fall is shown: 2.0 points of macro-F1 [−1.0, 5.0]"),
        ((-0.05, -0.08, -0.02), "does not fall but rises, by 5.0 points of macro-F1 [−8.0, −2.0]"),
        ((0.0, 0.0, 0.0), "no fall is shown: 0.0 points"),
    ],
)
def test_no_fall_is_claimed_that_is_not_shown(drop: tuple[float, float, float], said: str) -> None:
    assert said in sentences.sentences(changed(summary(), "shift", 0, source_drop=estimate(*drop)))[0]


def test_many_pairs_are_counted_and_the_worst_is_named() -> None:
    found = studies.study()[0]
    for number in range(len(found.shift)):
        found = changed(found, "shift", number, source_drop=estimate(0.1, 0.05 if number < 4 else -0.01, 0.2))
    found = changed(found, "shift", 2, source_drop=estimate(0.3, 0.2, 0.4))
    worst = found.shift[2]
    assert sentences.sentences(found)[0] == (
        "The score falls on 4 of 6 pairs (95 % interval above 0), most from"
        f" {worst.source} to {worst.target}: 30.0 points of macro-F1 [20.0, 40.0]."
    )
    for number in range(len(found.shift)):
        found = changed(found, "shift", number, source_drop=estimate(0.1, -0.1, 0.2))
    assert sentences.sentences(found)[0].startswith("On none of 6 pairs is a fall shown")


def test_nothing_wins_it_back() -> None:
    one = changed(summary(), "transfer", 0, gain=estimate(-0.01, -0.03, 0.01))
    assert sentences.sentences(one)[1] == (
        "Nothing is shown to win it back: source-then-target with 8 labels a class comes nearest, −1.0 points [−3.0, 1.0] over"
        " the model without target labels."
    )


def test_over_pairs_the_mean_speaks() -> None:
    second = sentences.sentences(studies.study()[0])[1]
    assert second.startswith("What wins most back is source-then-target with 32 labels a class: 8.2 points [7.2, 9.2]")
    assert "on average over the pairs; that is 50 % [30, 70] of the target drop" in second
    assert second.endswith("no difference to target-only shown (could have seen 2.1 points).")


def test_where_labels_stop_paying_is_not_made_up() -> None:
    refused = sentences.sentences(summary(), law(None, "two budgets, three are needed"))[2]
    assert refused.startswith("How many labels are worth buying is not said (two budgets, three are needed);")
    alone = law(None, "no").laws + law(80, method="target-only").laws
    assert "twice as many bring target-only less" in sentences.sentences(summary(), Evidence(laws=alone))[2]
    without = sentences.sentences(summary())[2]
    assert "does what 30 target labels alone would" in without
    assert (
        "labels" not in sentences.sentences(changed(summary(), "transfer", 0, labels_saved=None))[2].split(";")[0][:20]
    )


def test_one_line_a_target_over_its_budgets() -> None:
    lines = sentences.verdicts(studies.study()[0])
    assert [line.split(":")[0] for line in lines] == ["amazon", "tweets", "movie"]
    assert lines[0] == (
        "amazon: with 8 labels a class, both sources add, most movie (5.0 points);"
        " at 32, no difference to target-only shown from any source (could have seen 2.1 points)"
    )


def test_what_no_difference_is_shown_to_is_said_once() -> None:
    found = studies.study(("a", "b"), shots=(0, 4, 16, 32))[0]
    assert sentences.verdicts(found)[0] == (
        "b: with 4 labels a class no difference to target-only shown (could have seen 2.1 points); at 16 no difference shown"
        " (could have seen 2.1 points); at 32 no difference shown (could have seen 2.1 points)"
    )


def test_sources_that_cost_are_named() -> None:
    found = studies.study(("a", "b", "c", "d"))[0]
    places = [number for number, one in enumerate(found.verdicts) if (one.target, one.shots) == ("b", 8)]
    assert len(places) == 3
    found = changed(found, "verdicts", places[0], verdict="worse", difference=estimate(-0.07, -0.09, -0.05))
    found = changed(found, "verdicts", places[1], verdict="no difference shown")
    line = next(line for line in sentences.verdicts(found) if line.startswith("b:"))
    assert line.startswith(
        f"b: with 8 labels a class, 1 of 3 sources adds, {found.verdicts[places[2]].source} (5.0 points),"
        f" 1 of 3 sources costs, {found.verdicts[places[0]].source} (7.0 points); at 32,"
    )


def test_a_study_without_few_shot_methods_says_what_it_can() -> None:
    bare = summary().model_copy(update={"transfer": [], "verdicts": []})
    assert sentences.verdicts(bare) == []
    assert sentences.sentences(bare)[1] == "What wins it back was not measured."
    assert sentences.sentences(bare.model_copy(update={"shift": []}))[0] == "How far it falls was not measured."


def test_long_names_are_cut_and_strange_ones_cleaned() -> None:
    (line,) = sentences.verdicts(summary("x" * 300))
    assert len(line.split(":")[0]) == sentences.LONGEST
    assert "\x1b" not in "".join(sentences.sentences(summary("a\x1b[31m")))


def reach(method: str, source: str | None, labels: float | None, **values: Any) -> Reach:
    known: dict[str, Any] = (
        {"low": 40.0, "high": None, "reason": None} if labels else {"low": None, "high": None, "reason": "why"}
    )
    place = {"method": method, "source": source, "target": "amazon", "wanted": "ceiling less a point", "score": 0.842}
    return Reach.model_validate(place | {"labels": labels} | known | values)


def test_labels_to_reach_a_score_in_one_sentence_a_target() -> None:
    def said(*found: Reach) -> list[str]:
        return sentences.reached(Evidence(reaches=list(found)))

    alone, both = reach("target-only", None, 150), reach("source-then-target", "movie", 60, high=210.4)
    assert said(alone, both) == [
        "amazon: .842, a point below the ceiling, takes about 60 labels a class by source-then-target from movie"
        " (90 % band 40 to 210); 150 by target-only"
    ]
    assert said(alone)[0].endswith("by target-only (90 % band from 40 upwards)")
    assert said(reach("probe", None, 12, low=None, high=30.0))[0].endswith("(90 % band up to 30)")
    assert said(reach("probe", None, 12, low=None))[0].endswith("(90 % band open on both sides)")
    assert said(reach("target-only", None, None), reach("probe", None, None, target="tweets")) == [
        "amazon: .842, a point below the ceiling, takes a number of labels that is not known (target-only: why)",
        "tweets: .842, a point below the ceiling, takes a number of labels that is not known (probe: why)",
    ]
    assert said(reach("probe", None, 12, wanted="asked"))[0].startswith("amazon: .842 takes about 12 labels")
    worse = reach("source-then-target", "movie", 190)
    assert said(alone, worse, reach("source-then-target", "nyt", 250))[0].endswith(
        "; 190 by source-then-target from movie"
    )


def test_what_was_measured_goes_before_a_law_that_asks_for_more() -> None:
    def said(*found: Reach) -> list[str]:
        return sentences.reached(Evidence(reaches=list(found)))

    alone = reach("target-only", None, 22, wanted="asked")
    both = reach("source-then-target", "movie", None, wanted="asked", measured=8)
    start = reach("source-only", "nyt", None, wanted="asked", measured=0)
    assert said(alone, both) == ["amazon: .842 was reached with 8 labels a class by source-then-target from movie"]
    assert said(alone, both, start) == ["amazon: .842 was reached without target labels by source-only from nyt"]
    assert "about 22 labels" in said(alone, both.model_copy(update={"measured": 32.0}))[0]
    assert sentences.reached(None) == []
