"""The ``example.py`` of an exported graph: its answers by onnxruntime, tokenizers and numpy alone."""

from __future__ import annotations

from typing import Final

from lowres.data.tokens import HEAD, HEAD_AND_TAIL, WINDOWS
from lowres.kinds import KINDS

PROGRAM: Final = '''\
"""What the model of this folder says.

python example.py {usage}
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent
CONFIG = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
SESSION, TOKENIZER = InferenceSession(FOLDER / "model.onnx"), Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
TOKENIZER.no_padding()
{cut}


def predict_proba(texts):
    """{gives}"""
    if not len(texts):
        raise ValueError("no texts")
    coded = TOKENIZER.encode_batch(texts{pretokenized})
{read}
    width = max(len(row) for row in rows)
    given = {{
        "input_ids": [row + [CONFIG["pad_id"]] * (width - len(row)) for row in rows],
        "attention_mask": [[1] * len(row) + [0] * (width - len(row)) for row in rows],
{types}    }}
    (logits,) = SESSION.run(["logits"], {{name: np.array(value, dtype=np.int64) for name, value in given.items()}})
{answer}


def predict(texts):
    """{named}"""
{choice}


if __name__ == "__main__":
    if {wrong}:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    for answer in predict({arguments}):
        print(json.dumps(answer, ensure_ascii=False))
'''
CUTS: Final = {
    HEAD: 'TOKENIZER.enable_truncation(CONFIG["max_length"])',
    HEAD_AND_TAIL: "TOKENIZER.no_truncation()",
    WINDOWS: 'TOKENIZER.enable_truncation(CONFIG["max_length"], stride=CONFIG["overlap"])',
}
"""How the tokenizer is set, by what is read of a long text."""
READS: Final = {
    HEAD: "    rows = [one.ids for one in coded]",
    HEAD_AND_TAIL: """\
    most, rows = CONFIG["max_length"], [one.ids for one in coded]
    rows = [row if len(row) <= most else row[: most - most // 2] + row[len(row) - most // 2 :] for row in rows]""",
    WINDOWS: """\
    windows = [[one, *one.overflowing][: CONFIG["windows"]] for one in coded]
    rows = [window.ids for own in windows for window in own]""",
}
"""Encodings to lists of token ids, by the same."""
MEAN: Final = """\
    ends = np.cumsum([len(own) for own in windows])
    logits = np.stack([part.mean(0) for part in np.split(logits, ends[:-1])])
"""
TYPES: Final = """\
        "token_type_ids": [one.type_ids + [0] * (width - len(one.type_ids)) for one in coded],
"""
SOFTMAX: Final = """\
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    {made} odds / odds.sum(-1, keepdims=True)"""
SIGMOID: Final = "    {made} 1 / (1 + np.exp(-logits))"
VALUE: Final = """
    low, high = CONFIG["scale"]
    return low + (high - low) * places"""
AT_WORDS: Final = """
    words = [[one.word_ids.index(word) if word in one.word_ids else None for word in range(len(text))] for one, text in zip(coded, texts)]
    return [[CONFIG["unread"] if place is None else row[place] for place in own] for own, row in zip(words, said)]"""
CHOICES: Final = {
    "one": '    return [CONFIG["labels"][place] for place in predict_proba(texts).argmax(-1)]',
    "many": """\
    return [[label for label, sure in zip(CONFIG["labels"], row) if sure >= CONFIG["given_from"]] for row in predict_proba(texts)]""",
    "value": "    return [float(value) for value in predict_proba(texts)[:, 0]]",
    "words": '    return [[CONFIG["labels"][np.argmax(word)] for word in own] for own in predict_proba(texts)]',
}
"""Probabilities to answers, by the kind's answer; of a model of words its own."""
GIVES: Final = {
    "one": "Probabilities of the labels, [texts, labels].",
    "many": "The probability of each label for itself, [texts, labels].",
    "value": "The numbers, [texts, 1].",
    "words": "Of each list of words the probabilities of the tags, [words, tags].",
}
NAMED: Final = {
    "one": "The most probable label of each text.",
    "many": "Of each text the labels from a probability of one half on.",
    "value": "The number of each text.",
    "words": "Of each list of words the tags.",
}


def example_program(kind: str, truncation: str, inputs: tuple[str, ...]) -> str:
    """Source of ``example.py`` for a model.

    Args:
        kind: A name of ``lowres.kinds.KINDS``.
        truncation: What is read of a long text.
        inputs: What the graph is given.
    """
    words = KINDS[kind].unit == "word"
    answer = "words" if words else KINDS[kind].answer
    made = {"words": "said =", "value": "places ="}.get(answer, "return")
    said = (SOFTMAX if answer in ("one", "words") else SIGMOID).format(made=made)
    said += {"words": AT_WORDS, "value": VALUE}.get(answer, "")
    arguments = "sys.argv[1:]"
    if kind == "pair":
        arguments = "list(zip(sys.argv[1::2], sys.argv[2::2]))"
    elif words:
        arguments = "[text.split() for text in sys.argv[1:]]"
    return PROGRAM.format(
        wrong="len(sys.argv) < 3 or len(sys.argv) % 2 == 0" if kind == "pair" else "len(sys.argv) < 2",
        usage='"a text" "its second text"' if kind == "pair" else '"a text"',
        cut=CUTS[truncation],
        gives=GIVES[answer],
        pretokenized=", is_pretokenized=True" if words else "",
        read=READS[truncation],
        types=TYPES if "token_type_ids" in inputs else "",
        answer=(MEAN if truncation == WINDOWS else "") + said,
        named=NAMED[answer],
        choice=CHOICES[answer],
        arguments=arguments,
    )
