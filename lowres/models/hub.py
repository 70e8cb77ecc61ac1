"""Backbones of the hub by short name: which files of which commit, and what has to be known before they are read.

``docs/backbones.md`` says how far each is trusted. Importing this imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lowres.errors import FetchError, UserError
from lowres.models.convert import check_sha256, convert

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

TIMEOUT: Final = 10.0
"""Seconds the hub has for its first answer."""
_REASONS: Final = {
    "OfflineModeIsEnabled": "not asked, because HF_HUB_OFFLINE is set",
    "RepositoryNotFoundError": "no such model, or it is private",
    "RevisionNotFoundError": "no such revision",
    "EntryNotFoundError": "no such file",
    "RemoteEntryNotFoundError": "no such file",
}


@dataclass(frozen=True)
class HubBackbone:
    """An encoder with a WordPiece vocabulary on the hub, pinned to a commit."""

    hub_id: str
    revision: str
    weights: str
    """``model.safetensors``, or a ``.bin`` that is converted."""
    sha256: str | None
    """Of the weights file; None if no public source of it was found."""
    pooling: str
    model_type: str
    """Architecture, for a ``config.json`` that names none."""
    about: str
    lower_case: bool = True

    @property
    def weights_sha256(self) -> str:
        """What names the folder in the cache: the hash of the weights file, or the commit where that is not known."""
        return self.sha256 or self.revision


HUB: dict[str, HubBackbone] = {
    "tinybert": HubBackbone(
        hub_id="huawei-noah/TinyBERT_General_4L_312D",
        revision="34707a33cd59a94ecde241ac209bf35103691b43",
        weights="pytorch_model.bin",
        sha256=None,
        pooling="mean",
        model_type="bert",
        about="TinyBERT, general: 4 layers, 312 wide, 14.4M parameters, mean pooling; from the hub, for its licence see its page",
    ),
    "bert-tiny": HubBackbone(
        hub_id="prajjwal1/bert-tiny",
        revision="6f75de8b60a9f8a2fdf7b69cbd86d9e64bcb3837",
        weights="pytorch_model.bin",
        sha256="dab2c2bddcfb48ea430ef63fd76d46d67d704487844d967256a50dd7d7fd0a66",
        pooling="mean",
        model_type="bert",
        about="BERT tiny: 2 layers, 128 wide, 4.4M parameters, mean pooling; from the hub (18 MB), MIT",
    ),
    "bert-mini": HubBackbone(
        hub_id="google/bert_uncased_L-4_H-256_A-4",
        revision="387825ce42dbb39b87911cdf8e383ee3b25184f8",
        weights="pytorch_model.bin",
        sha256=None,
        pooling="mean",
        model_type="bert",
        about="BERT mini: 4 layers, 256 wide, 11.2M parameters, mean pooling; from the hub, Apache-2.0",
    ),
    "bert-small": HubBackbone(
        hub_id="prajjwal1/bert-small",
        revision="0ec5f86f27c1a77d704439db5e01c307ea11b9d4",
        weights="pytorch_model.bin",
        sha256=None,
        pooling="mean",
        model_type="bert",
        about="BERT small: 4 layers, 512 wide, 28.8M parameters, mean pooling; from the hub, MIT",
    ),
    "electra-small": HubBackbone(
        hub_id="google/electra-small-discriminator",
        revision="fa8239aadc095e9164941d05878b98afe9b953c3",
        weights="pytorch_model.bin",
        sha256="735154b1a8a78ba97da3c8c53c2e3d1d58b8dec5fa5caf0e144661c8bbe0e787",
        pooling="mean",
        model_type="electra",
        about="ELECTRA small, discriminator: 12 layers, 256 wide, 13.5M parameters, mean pooling; from the hub, Apache-2.0",
    ),
    "minilm-l12": HubBackbone(
        hub_id="microsoft/MiniLM-L12-H384-uncased",
        revision="44acabbec0ef496f6dbc93adadea57f376b7c0ec",
        weights="pytorch_model.bin",
        sha256=None,
        pooling="mean",
        model_type="bert",
        about="MiniLM L12 H384, not tuned for sentences: 12 layers, 384 wide, 33.4M parameters, mean pooling; from the hub, MIT",
    ),
    "distilbert": HubBackbone(
        hub_id="distilbert/distilbert-base-uncased",
        revision="12040accade4e8a0f71eabdb258fecc2e7e948be",
        weights="model.safetensors",
        sha256="5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063",
        pooling="mean",
        model_type="distilbert",
        about="DistilBERT, uncased: 6 layers, 768 wide, 66.4M parameters, mean pooling; from the hub, Apache-2.0",
    ),
}


def gather(name: str, spec: HubBackbone, draft: Path) -> None:
    """Fills a new folder: configuration, vocabulary, weights as safetensors, and what the catalogue says of them.

    Args:
        name: Of the catalogue.
        spec: Its entry.
        draft: The folder; it does not exist.

    Raises:
        FetchError: A file cannot be had, or is not what was pinned.
        UserError: The weights hold something else than tensors.
    """
    config = _config(name, spec)
    vocabulary = _file(name, spec, "vocab.txt")
    binary = not spec.weights.endswith(".safetensors")
    sha256 = spec.sha256 or (_stated_sha256(name, spec) if binary else None)
    source = _file(name, spec, spec.weights)
    try:
        (draft / "1_Pooling").mkdir(parents=True)
        _write(draft / "config.json", {"model_type": spec.model_type, **config})
        _write(draft / "1_Pooling" / "config.json", {f"pooling_mode_{_MODES[spec.pooling]}": True})
        _write(draft / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": spec.lower_case})
        shutil.copyfile(vocabulary, draft / "vocab.txt")
        target, where = draft / "model.safetensors", f"{spec.weights} of {spec.hub_id}"
        if binary:
            convert(source, target, where, str(sha256), spec.model_type)
            return
        shutil.copyfile(source, target)
    except OSError as error:
        raise FetchError(
            f"cannot write backbone {name} into the cache: {error}\nfree space or set LOWRES_CACHE"
        ) from None
    if sha256 is not None:
        check_sha256(target, where, sha256)


_MODES: Final = {"mean": "mean_tokens", "cls": "cls_token"}


def _config(name: str, spec: HubBackbone) -> dict[str, Any]:
    path = _file(name, spec, "config.json")
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"backbone {name}: {path} is no JSON", got=error) from None
    if not isinstance(loaded, dict):
        raise UserError(f"backbone {name}: {path} is no configuration", got=type(loaded).__name__)
    return loaded


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _file(name: str, spec: HubBackbone, part: str) -> Path:
    """A file of the pinned commit: from ``LOWRES_MIRROR``, else the hub's own cache, else the hub."""
    mirror = os.environ.get("LOWRES_MIRROR")
    held = Path(mirror) / "hub" / spec.hub_id / spec.revision / part if mirror else None
    if held is not None and held.is_file():
        return held
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(spec.hub_id, part, revision=spec.revision, local_files_only=True))
    except Exception:  # the client raises many kinds; all mean that the file is not in its cache
        _metadata(name, spec, part)
    try:
        return Path(hf_hub_download(spec.hub_id, part, revision=spec.revision))
    except Exception as error:
        raise _not_to_be_had(name, spec, part, error) from None


def _metadata(name: str, spec: HubBackbone, part: str) -> HfFileMetadata:
    """What the hub says of a file, asked once: an answer or an error within seconds."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        return get_hf_file_metadata(hf_hub_url(spec.hub_id, part, revision=spec.revision), timeout=TIMEOUT)
    except Exception as error:  # the client raises many kinds; all mean that the hub gave no answer
        raise _not_to_be_had(name, spec, part, error) from None


def _stated_sha256(name: str, spec: HubBackbone) -> str:
    """The hash that the hub states for the weights of exactly the pinned commit."""
    said = _metadata(name, spec, spec.weights)
    if said.commit_hash != spec.revision or not re.fullmatch(r"[0-9a-f]{64}", said.etag or ""):
        raise FetchError(
            f"backbone {name}: the hub states no sha256 of {spec.weights} at {spec.hub_id} {spec.revision[:12]}\n"
            "without one it is not converted; save it once with model.save_pretrained(folder) and give that folder"
        )
    return str(said.etag)


def _not_to_be_had(name: str, spec: HubBackbone, part: str, error: Exception) -> FetchError:
    kind = type(error).__name__
    place = f"$LOWRES_MIRROR/hub/{spec.hub_id}/{spec.revision}/"
    advice = f"`lowres models fetch {name}` where there is a network, or put {part} into {place}"
    if part == spec.weights and spec.sha256 is None:
        advice = f"`lowres models fetch {name}` where there is a network: its sha256 is known to the hub only"
    return FetchError(
        f"backbone {name}: cannot ask for {part} of {spec.hub_id}\n"
        f"the hub: {_REASONS.get(kind, f'no answer ({kind})')}\nnext: {advice}"
    )
