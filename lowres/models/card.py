"""The model card of a saved adapter, with the plain code that reproduces its probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lowres.data.tokens import HEAD, MOST_WINDOWS, WINDOWS, overlap
from lowres.errors import clean
from lowres.kinds import KINDS

SEEN: Final = "seen"
"""The item of ``about`` with the marks of texts that a patch has taught; no card shows it."""
SNIPPET = """\
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

adapter, backbone = ".", {backbone!r}  # this folder; the encoder's hub id or folder
tokenizer, head = AutoTokenizer.from_pretrained(adapter), load_file(f"{{adapter}}/head.safetensors")
model = {model}
{batch}
with torch.inference_mode():
    hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
{answer}
"""


BATCH = {
    "head": """\
batch = tokenizer({texts}, padding=True, truncation=True, max_length={max_length}, return_tensors="pt"{more})""",
    "head+tail": """\
tokens = [ids if len(ids) <= {max_length} else ids[:{head}] + ids[len(ids) - {tail}:] for ids in tokenizer(texts)["input_ids"]]
batch = tokenizer.pad({{"input_ids": tokens}}, return_tensors="pt")""",
    "windows": """\
batch = tokenizer(texts, padding=True, truncation=True, max_length={max_length}, stride={overlap}, return_overflowing_tokens=True, return_tensors="pt")
text = batch.pop("overflow_to_sample_mapping")  # of each window""",
}
"""How texts become a batch, by what is read of a long one."""
WINDOWED = """\
    vectors = torch.stack([vectors[text == one][:{most}].mean(0) for one in range(len(texts))])
"""
WORDS = """\
    words = [batch.word_ids(row) for row in range(len(texts))]  # a word beyond max_length has none
    firsts = [[own.index(word) for word in sorted(set(own) - {None})] for own in words]
    logits = [hidden[row, places] @ head["weight"].T + head["bias"] for row, places in enumerate(firsts)]
    probabilities = [torch.softmax(one, dim=-1) for one in logits]  # of each text, a row a word
"""


GIVEN = {"pair": "tuples of two strings", "tokens": "lists of words"}
"""What the code of a kind is given, where that is not strings."""


def _answer(record: Mapping[str, Any], pooled: str) -> str:
    """The lines from hidden vectors to what the model says."""
    if KINDS[record["kind"]].unit == "word":
        return WORDS.rstrip()
    mean = WINDOWED.format(most=MOST_WINDOWS) if record.get("truncation", HEAD) == WINDOWS else ""
    logits = f'    vectors = {pooled}\n{mean}    logits = vectors @ head["weight"].T + head["bias"]\n'
    answer = KINDS[record["kind"]].answer
    if answer == "value":
        low, high = record["labels"]
        return f"{logits}    values = {low} + ({high} - {low}) * torch.sigmoid(logits[:, 0])"
    return f"{logits}    probabilities = torch.{'softmax(logits, dim=-1)' if answer == 'one' else 'sigmoid(logits)'}"


def _shown(value: object) -> str:
    """A value as Markdown that is nothing but its text: a plain word, or a code span."""
    text = " ".join(clean(str(value)).split()).replace("`", "'")
    return text if re.fullmatch(r"[A-Za-z0-9 ]*(-[A-Za-z0-9]+)*(: [a-z-]+)?", text) else f"`{text}`"


SHAPED = """\
import lowres  # the linears of this encoder are not those of its configuration: other programs cannot load them

model = lowres.load(".")  # this folder
probabilities = model.predict_proba(texts)
# for a program without lowres or torch: lowres export FOLDER --to onnx --out OTHER
"""


def model_card(record: Mapping[str, Any], *, adapted: bool, token_types: bool, shaped: bool = False) -> str:
    """README.md with metadata, measured scores and the snippet.

    Args:
        record: The content of ``lowres.json``.
        adapted: Whether there is an adapter beside the head.
        token_types: Whether the encoder has a token type for a second text; not all tokenizers give it unasked.
        shaped: Whether only this project can load the encoder.
    """
    origin, pair = record["backbone"], record["kind"] == "pair"
    words = KINDS[record["kind"]].unit == "word"
    pinned = f", revision={str(origin['revision'])!r}" if origin["hub_id"] and origin["revision"] else ""
    plain = f"AutoModel.from_pretrained(backbone{pinned})"
    pooled = "(hidden * mask).sum(1) / mask.sum(1)" if record["pooling"] == "mean" else "hidden[:, 0]"
    if record["normalise"]:
        pooled = f"torch.nn.functional.normalize({pooled}, dim=-1)"
    longest, truncation = record["max_length"], record.get("truncation", HEAD)
    batch = BATCH[truncation].format(
        max_length=longest,
        head=math.ceil(longest / 2),
        tail=longest // 2,
        overlap=overlap(longest),
        texts="[one for one, _ in texts], [two for _, two in texts]" if pair else "texts",
        more=", is_split_into_words=True" if words else ", return_token_type_ids=True" if pair and token_types else "",
    )
    code = SNIPPET.format(
        backbone=str(origin["hub_id"] or origin["folder"]).replace("`", "'"),
        model=f"PeftModel.from_pretrained({plain}, adapter).eval()" if adapted else f"{plain}.eval()",
        batch=batch,
        answer=_answer(record, pooled),
    )
    if origin["folder"] == "encoder" and not origin["hub_id"]:
        first, _, rest = code.partition("\ntokenizer, head")
        first = (
            first[: first.index("adapter, backbone")] + 'adapter = "."  # this folder\nbackbone = f"{adapter}/encoder"'
        )
        code = f"{first}\ntokenizer, head{rest}"
    if shaped:
        code = SHAPED
    elif not adapted:
        code = code.replace("from peft import PeftModel\n", "")
    notes = []
    counted = record.get("counted")
    if counted:
        notes.append(
            f"abstaining: `lowres predict --min-precision P` takes its threshold from {counted['steps']['rows']} labelled"
            f" {_shown(counted['part'])} rows of {_shown(counted['domain'])}. The model was not trained on them; the"
            " threshold is set on them, so check the promise on other rows. It is for rows like them, not for another domain"
        )
    if record.get("speed"):
        notes.append(
            f"early exits: `lowres predict` lets a text leave before the last layer at an uncertainty below {record['speed']:g};"
            " --speed sets another one. Code without lowres runs all layers"
        )
    usage = f"{'In Python' if shaped else 'Without `lowres`'}, with `texts` a list of {GIVEN.get(record['kind'], 'strings')}:"
    return card(record, "peft" if adapted else "safetensors", notes, f"{usage}\n\n```python\n{code.rstrip()}\n```")


def card(record: Mapping[str, Any], library: str, notes: Sequence[str], usage: str) -> str:
    """README.md with metadata and measured scores.

    Args:
        record: The content of ``lowres.json``.
        library: What opens the folder.
        notes: Further facts, Markdown.
        usage: How the folder is used, Markdown.
    """
    import yaml

    about, origin = record["about"], record["backbone"]
    name = origin["hub_id"] or origin["folder"] or origin["name"]
    task = "token-classification" if KINDS[record["kind"]].unit == "word" else "text-classification"
    results = [
        {
            "task": {"type": task},
            "dataset": {"name": f"{score['task']} ({score['domain']})", "type": score["task"]},
            "metrics": [{"type": score["metric"], "value": round(score["value"], 4)}],
        }
        for score in about.get("scores", [])
    ]
    meta: dict[str, Any] = {"library_name": library, "tags": ["lowres", task]}
    if origin["hub_id"]:
        meta["base_model"] = origin["hub_id"]
    title = f"{about.get('task', 'classifier')}: {about.get('method', 'lowres')}"
    if results:
        meta["model-index"] = [{"name": title, "results": results}]
    lines = [f"- {_shown(key)}: {_shown(value)}" for key, value in about.items() if key not in ("scores", SEEN)]
    lines += [
        f"- {_shown(score['metric'])} on {_shown(score['domain'])}: {score['value']:.3f}"
        for score in about.get("scores", [])
    ]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(meta, sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# {_shown(title)}",
            "",
            f"Labels: {', '.join(map(_shown, record['labels']))}. Backbone: {_shown(name)}"
            + (f", revision {_shown(origin['revision'])}." if origin["revision"] else "."),
            "",
            *lines,
            *(f"- {note}" for note in notes),
            "",
            usage,
            "",
        ]
    )
