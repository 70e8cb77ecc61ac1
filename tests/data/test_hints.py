"""What a task file says of the labels: strict, and found in texts as a person would."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowres.data.hints import NAMES, Hints, covered, hint_faults, in_words, labels_by_vote
from lowres.data.spec import parse_spec, read_spec
from lowres.data.task import load_task, shipped_tasks
from lowres.errors import DataError
from tests.conftest import toy_rows, write_table

LABELS = ("bad", "good")
HINTS = Hints({}, {"bad": ("poor", "not good", "don't like", ":("), "good": ("good", "very  good", "like")})


@pytest.mark.parametrize(
    ("text", "votes"),
    [
        ("a Poor film", (1, 0)),
        ("poorly made", (0, 0)),
        ("GOOD, good and good", (0, 1)),
        ("not good", (1, 0)),
        ("not  good, but I like it", (1, 1)),
        ("very good", (0, 1)),
        ("very good, so good", (0, 2)),
        ("I don’t like it", (1, 0)),
        ("well :(", (1, 0)),
        ("", (0, 0)),
        ("goods", (0, 0)),
        ("not", (0, 0)),
    ],
)
def test_whole_words_and_the_longest_first(text: str, votes: tuple[int, int]) -> None:
    assert tuple(HINTS.votes([text], LABELS)[0]) == votes
    assert tuple(HINTS.votes([text], LABELS[::-1])[0]) == votes[::-1]


def test_ties_and_silence_abstain() -> None:
    votes = HINTS.votes(["poor", "good", "poor but good", "poor, not good, yet I like it", "nothing"], LABELS)
    assert labels_by_vote(votes, LABELS) == ("bad", "good", "", "bad", "")
    assert covered(votes) == (4 / 5, 2 / 4)
    assert covered(HINTS.votes(["nothing"], LABELS)) == (0.0, 0.0)
    assert labels_by_vote(HINTS.votes([], LABELS), LABELS) == ()


def test_what_keywords_lack_is_said() -> None:
    texts = {"film": ["not good", "don't like that"], "shop": ["very good", "poor"], "chat": ["nothing"]}
    assert list(HINTS.gaps(texts)) == [
        "keyword ':(' of 'bad' is found in no training row",
        "keyword 'good' of 'good' is found in no training row",  # only inside longer ones
        "keyword 'like' of 'good' is found in no training row",
        "domain 'film': of all labels only 'bad' has keywords that a training row holds",
        "domain 'chat': no keyword is found in a training row",
    ]
    heard = {"shop": ["poor", "not good", "I don't like it :(", "good", "very good", "like"]}
    assert list(HINTS.gaps(heard)) == []


def test_a_label_is_a_text() -> None:
    rows = Hints({"new_card": "Someone asks for a card."}).texts(("new_card", "lostCard", "42"))
    assert rows.texts == ["Someone asks for a card.", "lost card", "42"]
    assert (rows.domain, rows.labels) == (NAMES, ("new_card", "lostCard", "42"))
    assert in_words("--") == "--"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("labels: [bad, good]\nkeywords: {godo: [a]}", r"keywords: no label 'godo' \(did you mean 'good'\?\)"),
        ("labels: [bad, good]\ndescriptions: {baad: x}", r"descriptions: no label 'baad' \(did you mean 'bad'\?\)"),
        ("labels: [bad, good]\ndescriptions: {bad: ' '}", r"descriptions.bad: is empty"),
        ("labels: [bad, good]\nkeywords: {bad: []}", r"keywords.bad: is empty"),
        ("labels: [bad, good]\nkeywords: {bad: [a, ' ']}", r"keywords.bad: holds an empty keyword"),
        ("labels: [bad, good]\nkeywords: {bad: [a b, A  B]}", r"'A B' is there twice"),
        ("labels: [bad, good]\nkeywords: {bad: [ugly], good: [nice, Ugly]}", r"'Ugly' is a keyword of 'bad' too"),
        ("labels: [bad, good]\nkeywords: {bad: ugly}", r"keywords.bad: .*a list"),
        ("labels: [bad, good]\nkeywords: {bad: [no]}", r"put the word in quotes"),
        ("keywords: {a: [x], b: [x]}", r"keyword of 'a' too"),
        ("keyword: {a: [x]}", r"unknown key 'keyword' \(did you mean 'keywords'\?\)"),
    ],
)
def test_faults_are_named(fields: str, message: str) -> None:
    text = f"name: x\nsource: {{kind: files, parts: [{{path: a.csv}}]}}\n{fields}\n"
    with pytest.raises(DataError, match=message):
        parse_spec(text.encode(), "x.yaml")


def test_labels_that_are_left_open_are_checked_with_the_data(tmp_path: Path) -> None:
    write_table(tmp_path / "toy.csv", toy_rows(20))
    task = tmp_path / "toy.yaml"
    head = "name: toy\nsource: {kind: files, parts: [{path: toy.csv}]}\n"
    task.write_text(head + "keywords: {positiv: [good]}\n")
    with pytest.raises(DataError, match="did you mean 'positive'"):
        load_task(task)
    task.write_text(head)
    bare = load_task(task)
    task.write_text(head + "keywords: {positive: [good], negative: [bad]}\n")
    told = load_task(task)
    assert told.fingerprint == bare.fingerprint
    assert told.hints.fingerprint != bare.hints.fingerprint
    assert [one.train.fingerprint for one in told.domains.values()] == [
        one.train.fingerprint for one in bare.domains.values()
    ]


@pytest.mark.parametrize("name", ["vader-sentiment", "newsgroups-rec-vs-talk"])
def test_shipped_hints(name: str) -> None:
    spec = read_spec(shipped_tasks()[name])
    assert set(spec.descriptions) == set(spec.keywords) == set(spec.labels)
    assert all(len(words) >= 20 for words in spec.keywords.values())
    assert not list(hint_faults(spec.labels, spec.descriptions, spec.keywords))
