"""Tiny encoders and a tiny task, made here: no test downloads anything unless it is marked slow."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from lowres import seeds
from lowres.data.task import Task, load_task
from lowres.models.backbone import Backbone, find_backbone
from tests.offline import pytest_configure, pytest_runtest_protocol  # noqa: F401 - no test reaches the network

HEARING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from lowres.__main__ import run; run()"
)
"""A program for ``python -c``: the command line, Ctrl-C not ignored as it is in the background of some shells."""
SHAPES = ("bert", "roberta", "distilbert", "electra", "mpnet")
GOOD, BAD = ("good", "great", "fine", "lovely"), ("bad", "awful", "poor", "ugly")
THINGS = {
    "shop": ("box", "price", "parcel", "phone"),
    "film": ("plot", "actor", "scene", "movie"),
    "chat": ("lol", "day", "friend", "team"),
}
FILLER = ("the", "was", "and", "a", "very", "really", "so", "it", "my", "this")


def toy_text(domain: str, label: str, number: int) -> str:
    """A sentence whose mood word tells the label; in ``chat`` the mood words of two labels are rarer and mixed."""
    rng = seeds.generator("toy", domain, label, number)
    mood = GOOD if label == "positive" else BAD
    other = BAD if label == "positive" else GOOD
    words = [*rng.choice(FILLER, 3), *rng.choice(THINGS[domain], 2), *rng.choice(mood, 2, replace=False)]
    if domain == "chat" and number % 4 == 0:
        words[-2:] = rng.choice(other, 2, replace=False)
    return " ".join(str(word) for word in rng.permutation(words)) + f" {number}"


def toy_rows(per_class: int = 60) -> list[dict[str, str]]:
    """Rows of three domains and two labels."""
    return [
        {"text": toy_text(domain, label, number), "label": label, "domain": domain}
        for domain in THINGS
        for label in ("negative", "positive")
        for number in range(per_class)
    ]


def pair_rows(per_class: int = 40) -> list[dict[str, str]]:
    """Rows of three domains whose label says whether the moods of two texts are the same."""
    other = {"negative": "positive", "positive": "negative"}
    moods = [("negative", "positive")[number % 2] for number in range(per_class)]
    return [
        {
            "premise": toy_text(domain, mood, number),
            "hypothesis": toy_text(domain, mood if label == "agree" else other[mood], per_class + number),
            "label": label,
            "domain": domain,
        }
        for domain in THINGS
        for label in ("agree", "differ")
        for number, mood in enumerate(moods)
    ]


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_encoder(folder: Path, shape: str, lm_head: bool = False) -> Path:
    """Saves an encoder of 2 layers and 32 dimensions with a word tokenizer, like ``save_pretrained`` of a real one; with
    its masked-LM head where that is asked for.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        AutoModel,
        AutoModelForMaskedLM,
        BertConfig,
        DistilBertConfig,
        ElectraConfig,
        MPNetConfig,
        PreTrainedTokenizerFast,
        RobertaConfig,
    )

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *GOOD,
        *BAD,
        *FILLER,
        *(thing for part in THINGS.values() for thing in part),
    ]
    words += [str(number) for number in range(100)]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    second = "$B [SEP]" if shape == "roberta" else "$B:1 [SEP]:1"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A [SEP] {second}", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    common = {"vocab_size": len(words), "pad_token_id": 0}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    configs = {
        "bert": lambda: BertConfig(**common, **wide, max_position_embeddings=64),
        "roberta": lambda: RobertaConfig(**common, **wide, max_position_embeddings=66),
        "mpnet": lambda: MPNetConfig(**{**common, "pad_token_id": 1}, **wide, max_position_embeddings=66),
        "electra": lambda: ElectraConfig(**common, **wide, embedding_size=16, max_position_embeddings=64),
        "distilbert": lambda: DistilBertConfig(
            **common, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = (AutoModelForMaskedLM if lm_head else AutoModel).from_config(configs[shape]())
    model.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny matrices are slower on several threads."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole run, so that nothing depends on what this machine holds."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("LOWRES_CACHE", str(folder))
    patch.delenv("LOWRES_MIRROR", raising=False)
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("PIP_NO_INDEX", "1")
    return folder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny encoders by shape."""
    place = tmp_path_factory.mktemp("encoders")
    return {shape: make_encoder(place / shape, shape) for shape in SHAPES}


@pytest.fixture(scope="session")
def encoder(encoders: dict[str, Path]) -> Path:
    """Folder of a tiny BERT."""
    return encoders["bert"]


@pytest.fixture(scope="session")
def backbone(encoder: Path) -> Backbone:
    return find_backbone(str(encoder))


@pytest.fixture(scope="session")
def toy_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 3 domains × 2 labels × 60 rows."""
    return write_table(tmp_path_factory.mktemp("toy") / "toy.csv", toy_rows())


@pytest.fixture(scope="session")
def toy_task(toy_table: Path) -> Task:
    return load_task(toy_table)


UNEVEN = """
name: uneven
labels: [negative, neutral, positive]
label_sets: differ
source: {kind: files, parts: [{path: uneven.csv}]}
descriptions: {negative: bad and awful, neutral: it was so, positive: good and great}
keywords: {negative: [bad, awful, poor], neutral: [meh], positive: [good, great, fine]}
"""
UNEVEN_LABELS = {
    "shop": ("negative", "neutral", "positive"),
    "film": ("negative", "positive"),
    "chat": ("negative", "neutral"),
}


def uneven_rows(per_class: int = 40) -> list[dict[str, str]]:
    """Rows of three domains of which only ``shop`` has every label; ``neutral`` has a word that no other has."""
    return [
        {"text": f"meh {thing} {number}" if label == "neutral" else toy_text(domain, label, number), "label": label, "domain": domain}
        for domain, labels in UNEVEN_LABELS.items()
        for label in labels
        for number in range(per_class)
        for thing in [THINGS[domain][number % 4]]
    ]  # fmt: skip


@pytest.fixture(scope="session")
def uneven_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task file whose domains differ in labels."""
    folder = tmp_path_factory.mktemp("uneven")
    write_table(folder / "uneven.csv", uneven_rows())
    (folder / "uneven.yaml").write_text(UNEVEN, encoding="utf-8")
    return folder / "uneven.yaml"


@pytest.fixture(scope="session")
def uneven_task(uneven_file: Path) -> Task:
    return load_task(uneven_file)


@pytest.fixture(scope="session")
def pair_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of pairs: 3 domains × 2 labels × 40 rows."""
    return write_table(tmp_path_factory.mktemp("pairs") / "pairs.csv", pair_rows())


@pytest.fixture(scope="session")
def pair_task(pair_table: Path) -> Task:
    return load_task(pair_table)


@pytest.fixture(scope="session")
def hinted_task(toy_task: Task) -> Task:
    """The tiny task with descriptions and keywords, as of a task file."""
    hints = {
        "descriptions": {"negative": "bad and awful", "positive": "good and great"},
        "keywords": {"negative": BAD[:3], "positive": GOOD[:3]},
    }
    return replace(toy_task, spec=toy_task.spec.model_copy(update=hints))
