"""Backbones of the hub by name, with files made here: a tiny ``.bin`` as old repositories have it, and worse ones."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lowres.errors import FetchError, LowresError, UserError
from lowres.models import convert
from lowres.models.backbone import NAMED, Backbone, find_backbone, is_kept, kept
from lowres.models.classifier import Classifier, load_classifier
from lowres.models.hub import HUB, HubBackbone

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "##s")
REVISION = "0123456789abcdef0123456789abcdef01234567"
PLAIN = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
}
DOCS = Path(__file__).parents[2] / "docs" / "backbones.md"


class Own:
    """What no file of tensors needs."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bert() -> Any:
    import torch
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng():
        torch.manual_seed(3)
        return BertModel(BertConfig(**PLAIN)).eval()


def old_state(model: Any) -> OrderedDict[str, Any]:
    """As ``pytorch_model.bin`` of old: prefix, old names, a tied head, a transposed tensor, a buffer of integers."""
    import torch

    state = OrderedDict(
        (
            "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
            value,
        )
        for name, value in model.state_dict().items()
    )
    name = "bert.encoder.layer.0.attention.self.query.weight"
    state[name] = state[name].t().contiguous().t()
    state["bert.embeddings.position_ids"] = torch.arange(64)
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    return state


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a mirror beside it."""
    monkeypatch.setenv("LOWRES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOWRES_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "cache"


@pytest.fixture
def place(cache: Path) -> Path:
    """Where the mirror holds the files of ``tiny``."""
    import torch

    folder = cache.parent / "mirror" / "hub" / "owner" / "tiny" / REVISION
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(PLAIN))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    torch.save(old_state(bert()), folder / "pytorch_model.bin")
    return folder


def pin(monkeypatch: pytest.MonkeyPatch, place: Path, **changes: Any) -> HubBackbone:
    """Puts ``tiny`` into the catalogue."""
    entry = HubBackbone(
        hub_id="owner/tiny",
        revision=REVISION,
        weights="pytorch_model.bin",
        sha256=sha256(place / "pytorch_model.bin") if (place / "pytorch_model.bin").is_file() else None,
        pooling="mean",
        model_type="bert",
        about="tiny",
    )
    entry = replace(entry, **changes)
    monkeypatch.setitem(NAMED, "tiny", entry)
    return entry


def nothing_is_left(cache: Path) -> bool:
    return not [path for path in cache.rglob("*") if path.is_file() or path.name.startswith((".part", "tmp"))]


def refused(cache: Path, kind: type[LowresError], words: str) -> str:
    with pytest.raises(kind, match=words) as caught:
        find_backbone("tiny")
    assert str(caught.value).count("\n") <= 2
    assert nothing_is_left(cache)
    return str(caught.value)


def test_a_bin_is_converted_and_kept(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    entry = pin(monkeypatch, place)
    assert not is_kept("tiny")
    found = find_backbone("tiny")
    assert found.folder == kept("tiny") == cache / "models" / f"tiny-{str(entry.sha256)[:12]}"
    assert (found.name, found.hub_id, found.revision) == ("tiny", "owner/tiny", REVISION)
    assert (found.hidden, found.layers, found.pooling, found.longest) == (32, 2, "mean", 64)
    assert found.config["model_type"] == "bert"
    loaded, original = found.load().state_dict(), bert().state_dict()
    assert set(original) - set(loaded) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(torch.equal(value, original[name]) for name, value in loaded.items())
    positions = 64
    assert found.parameters == sum(part.numel() for part in bert().parameters()) + positions, "the head is left out"
    assert [path.name for path in (cache / "models").iterdir()] == [found.folder.name]
    assert not list(found.folder.glob("*.bin"))
    shutil.rmtree(place)
    assert is_kept("tiny")
    assert find_backbone("tiny").fingerprint == found.fingerprint


@pytest.mark.parametrize(("lower_case", "first"), [(True, 5), (False, 1)])
def test_case_of_a_vocabulary_without_settings(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, lower_case: bool, first: int
) -> None:
    pin(monkeypatch, place, lower_case=lower_case)
    tokens = find_backbone("tiny").tokens()
    assert tokens.encode(["GOOD days"], 8)[0].tolist() == [2, first, 7, 8, 3]
    assert tokens.encode(["gööd"], 8)[0].tolist() == [2, 5 if lower_case else 1, 3]


def test_an_uncased_folder_with_a_vocabulary_only(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, place)
    folder = shutil.copytree(find_backbone("tiny").folder, cache.parent / "own")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    tokens = find_backbone(str(folder)).tokens()
    assert tokens.encode(["GOOD days"], 8)[0].tolist() == [2, 5, 7, 8, 3]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_is_the_entrys(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, pooling: str) -> None:
    pin(monkeypatch, place, pooling=pooling)
    assert find_backbone("tiny").pooling == pooling


def test_conversion_gives_the_same_bytes(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, place)
    first = find_backbone("tiny").weights_sha256
    shutil.rmtree(cache)
    assert find_backbone("tiny").weights_sha256 == first


def test_the_format_before_zip_is_read_too(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.save(old_state(bert()), place / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    pin(monkeypatch, place)
    assert find_backbone("tiny").hidden == 32


def test_a_wrong_hash_is_refused_before_anything_is_read(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, place, sha256="0" * 64)
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: pytest.fail("a process was started"))
    assert sha256(place / "pytorch_model.bin") in refused(cache, FetchError, "not the pinned file")


def own_class(path: Path) -> None:
    import torch

    torch.save({"bert.x": Own()}, path)


def numbers(path: Path) -> None:
    import torch

    torch.save({"bert.x": torch.zeros(2), "epoch": 3}, path)


def a_list(path: Path) -> None:
    import torch

    torch.save([torch.zeros(2)], path)


def no_torch_file(path: Path) -> None:
    path.write_bytes(b"<html>" * 100)


@pytest.mark.parametrize(
    ("make", "words"),
    [(own_class, r"asks for [\w.]*test_hub\.Own"), (numbers, "epoch: int"), (a_list, "list"), (no_torch_file, "Error")],
)
def test_anything_but_tensors_is_refused(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, make: Any, words: str
) -> None:
    make(place / "pytorch_model.bin")
    pin(monkeypatch, place)
    refused(cache, UserError, words)


def test_a_file_that_wants_to_run_does_not(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    trace = cache.parent / "trace"

    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (trace,)

    torch.save({"bert.x": Touch()}, place / "pytorch_model.bin")
    torch.load(place / "pytorch_model.bin", weights_only=False)
    assert trace.exists(), "the file is what it is meant to be"
    trace.unlink()
    pin(monkeypatch, place)
    refused(cache, UserError, "asks for")
    assert not trace.exists()


def test_weights_of_another_encoder_are_refused(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    state = {name: value for name, value in old_state(bert()).items() if ".layer.1." not in name}
    torch.save(state, place / "pytorch_model.bin")
    pin(monkeypatch, place)
    refused(cache, UserError, r"encoder\.layer\.1.* more")


def test_code_beside_the_weights_is_refused(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "config.json").write_text(json.dumps({**PLAIN, "auto_map": {"AutoModel": "evil.Model"}}))
    pin(monkeypatch, place)
    refused(cache, UserError, "never run")


@pytest.mark.parametrize("end", ["crash", "late"])
def test_a_failed_process_leaves_nothing(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    def run(command: list[str], **options: Any) -> Any:
        Path(command[-2]).write_bytes(b"half")
        if end == "late":
            raise subprocess.TimeoutExpired(command, 1)
        return SimpleNamespace(returncode=-9, stderr="")

    pin(monkeypatch, place)
    monkeypatch.setattr(convert.subprocess, "run", run)
    refused(cache, FetchError, "-9" if end == "crash" else "not converted within")


def test_safetensors_of_a_pinned_commit_need_no_hash(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert().save_pretrained(place / "new")
    (place / "pytorch_model.bin").unlink()
    shutil.move(place / "new" / "model.safetensors", place)
    pin(monkeypatch, place, weights="model.safetensors", sha256="0" * 64)
    refused(cache, FetchError, "not the pinned file")
    pin(monkeypatch, place, weights="model.safetensors", sha256=None)
    found = find_backbone("tiny")
    assert found.folder.name == f"tiny-{REVISION[:12]}"
    assert found.weights_sha256 == sha256(place / "model.safetensors")


def test_without_a_hash_and_without_the_hub_no_bin_is_read(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, place, sha256=None)
    said = refused(cache, FetchError, "HF_HUB_OFFLINE")
    assert "lowres models fetch tiny" in said


@pytest.mark.parametrize(
    ("commit", "etag", "words"),
    [
        (REVISION, "right", None),
        (REVISION, "0" * 64, "not the pinned file"),
        (REVISION, "0" * 40, "states no sha256"),
        (REVISION, None, "states no sha256"),
        ("f" * 40, "right", "states no sha256"),
    ],
)
def test_the_hash_that_the_hub_states(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, commit: str, etag: str | None, words: str | None
) -> None:
    import huggingface_hub

    etag = sha256(place / "pytorch_model.bin") if etag == "right" else etag
    asked = []

    def metadata(url: str, **options: Any) -> Any:
        asked.append(url)
        return SimpleNamespace(commit_hash=commit, etag=etag)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    pin(monkeypatch, place, sha256=None)
    if words:
        refused(cache, FetchError, words)
    else:
        assert find_backbone("tiny").folder.name == f"tiny-{REVISION[:12]}"
    assert [url.split("/", 3)[-1] for url in asked] == [f"owner/tiny/resolve/{REVISION}/pytorch_model.bin"]


def test_files_come_from_the_hub_where_no_mirror_has_them(
    place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    got = []

    def download(hub_id: str, part: str, *, revision: str, local_files_only: bool = False) -> str:
        if local_files_only:
            raise FileNotFoundError(part)
        got.append((hub_id, part, revision))
        return str(place / part)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, **options: SimpleNamespace())
    monkeypatch.delenv("LOWRES_MIRROR")
    pin(monkeypatch, place)
    assert find_backbone("tiny").hidden == 32
    assert got == [("owner/tiny", part, REVISION) for part in ("config.json", "vocab.txt", "pytorch_model.bin")]


@pytest.mark.parametrize("name", sorted(HUB))
def test_offline_every_entry_says_what_to_do_next(name: str, cache: Path) -> None:
    with pytest.raises(FetchError) as caught:
        find_backbone(name)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "HF_HUB_OFFLINE" in lines[1]
    assert f"lowres models fetch {name}" in lines[2]
    assert f"$LOWRES_MIRROR/hub/{HUB[name].hub_id}/{HUB[name].revision}/" in lines[2]
    assert nothing_is_left(cache)


def test_a_cache_that_cannot_be_written(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, place)
    cache.write_text("a file")
    with pytest.raises(FetchError, match="set LOWRES_CACHE"):
        find_backbone("tiny")


def test_a_hub_id_with_a_bin_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    (tmp_path / "config.json").write_text(json.dumps(PLAIN))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *words, **options: str(tmp_path))
    with pytest.raises(UserError, match="--backbone bert-tiny"):
        find_backbone("prajjwal1/bert-tiny")
    with pytest.raises(UserError, match="save_pretrained"):
        find_backbone("owner/other")


def test_a_saved_adapter_finds_its_backbone_again(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, place)
    found = find_backbone("tiny")
    rng = np.random.default_rng(0)
    head = {"weight": rng.normal(size=(2, 32)).astype("float32"), "bias": np.zeros(2, "float32")}
    made = Classifier(found, None, {}, head, ("no", "yes"), 16, found.pooling, True, found.folder, {"task": "toy"})
    folder = made.save(cache.parent / "kept", ["good days"])
    record = json.loads((folder / "lowres.json").read_text())["backbone"]
    assert (record["hub_id"], record["revision"], record["folder"]) == ("owner/tiny", REVISION, None)
    shutil.rmtree(cache)
    assert np.array_equal(load_classifier(folder).predict_proba(["bad day"]), made.predict_proba(["bad day"]))


def test_a_folder_is_not_taken_for_an_entry(encoder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder, tmp_path / "own" / "distilbert")
    assert find_backbone(str(folder)).name == "own/distilbert"
    assert find_backbone(str(encoder)).name == "bert"


def test_the_catalogue_is_well_formed() -> None:
    for name, spec in HUB.items():
        assert NAMED[name] is spec
        assert re.fullmatch(r"[0-9a-f]{40}", spec.revision), name
        assert spec.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", spec.sha256), name
        assert spec.pooling in ("mean", "cls")
        assert spec.weights in ("model.safetensors", "pytorch_model.bin")
        assert all(part in spec.about for part in ("layers", "wide", "parameters", f"{spec.pooling} pooling")), name


def test_the_documents_table_is_the_catalogue() -> None:
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    table = {row[0]: row for row in rows}
    assert set(table) == set(NAMED)
    for name, spec in HUB.items():
        _, hub_id, revision, weights, known, pooling, shape, parameters, _ = table[name]
        assert (hub_id, revision, weights, pooling) == (spec.hub_id, spec.revision, spec.weights, spec.pooling), name
        assert (known == "yes") is (spec.sha256 is not None), name
        layers, wide = shape.split(" × ")
        assert f"{layers} layers, {wide} wide, {parameters} parameters" in spec.about, name


def test_commands(place: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.cli.complete import backbones
    from lowres.cli.main import app

    pin(monkeypatch, place)
    call = CliRunner().invoke
    listed = call(app, ["models", "ls"]).stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(NAMED)
    assert all("not fetched" in line for line in listed)
    fetched = call(app, ["models", "fetch", "tiny"])
    assert fetched.exit_code == 0, fetched.output
    assert fetched.stdout.strip() == str(kept("tiny"))
    assert "2 layers, mean pooling" in fetched.stderr
    listed = call(app, ["models", "ls"]).stdout.splitlines()
    assert [line.split()[0] for line in listed if "in the cache" in line] == ["tiny"]
    typo = call(app, ["models", "fetch", "distilbrt"])
    assert typo.exit_code == 2
    assert "did you mean 'distilbert'?" in typo.stderr
    assert backbones("bert-") == ["bert-tiny", "bert-mini", "bert-small"]


def test_the_catalogue_is_light() -> None:
    code = (
        "import sys, lowres.models.backbone\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_incomplete_folder_is_not_filled_with_chance(encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(encoder, tmp_path / "copy")
    tensors = {k: v for k, v in load_file(folder / "model.safetensors").items() if "layer.1.output" not in k}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"without encoder\.layer\.1\.output"):
        Backbone("copy", folder).load()
