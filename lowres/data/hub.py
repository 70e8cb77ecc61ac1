"""Datasets of the Hugging Face hub, or folders that are laid out like one, as one Parquet file a split.

Only data files are read; a dataset that needs code is refused. What came from the hub is kept under its revision: later
neither the network nor the ``datasets`` library is needed, and no other revision can stand in for the pinned one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lowres.data.spec import HubPart, HubSource
from lowres.errors import DataError, FetchError, LowresError, unknown_name

FORMATS: Final = ("parquet", "json", "csv", "arrow")
TIMEOUT: Final = 10.0
"""Seconds the hub has for its first answer."""
_BATCH: Final = 20_000
_REASONS: Final = {
    "OfflineModeIsEnabled": "not asked, because HF_HUB_OFFLINE is set",
    "RepositoryNotFoundError": "no such dataset, or it is private: `hf auth login`",
    "GatedRepoError": "its terms have to be accepted on its page first: then `hf auth login`",
    "RevisionNotFoundError": "no such revision",
}


@contextmanager
def splits(source: HubSource, folder: Path, cache: Path) -> Iterator[Callable[[HubPart], Path]]:
    """A function from a part to the file of its rows; those of a folder last as long as the block.

    Args:
        source: The section of the task file.
        folder: Where relative paths start.
        cache: Where datasets are kept.

    Raises:
        DataError: No such config, folder or split, or no data files; raised by the function.
        FetchError: The hub cannot be reached, or does not have it; raised by the function.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix=".part-", dir=cache, ignore_cleanup_errors=True)
    except OSError as error:
        raise FetchError(f"cannot write to the cache {cache}: {error.strerror}\nset LOWRES_CACHE") from None
    with place as draft:
        kept = Path(draft) / "kept" if source.local else cache / source.dataset / str(source.revision)

        def place_of(part: HubPart) -> Path:
            within = source.folder_of(part)
            return kept / (f"folder={within}" if within else source.config_of(part) or "default")

        def path_of(part: HubPart) -> Path:
            place = place_of(part)
            path = place / f"{part.hub_split}.parquet"
            if not path.is_file():
                wanted = {other.hub_split for other in source.parts if place_of(other) == place}
                _load(source, folder, part, sorted(wanted), Path(draft), place)
            return path

        yield path_of


def _load(source: HubSource, folder: Path, part: HubPart, wanted: Sequence[str], draft: Path, kept: Path) -> None:
    """Write the wanted splits of the config, or of the folder inside the dataset, that a part names into a folder."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    config, within = source.config_of(part), source.folder_of(part)
    what = f"dataset {source.dataset}" + (f", config {config}" if config else f", folder {within}" if within else "")
    place = _folder(source, folder) if source.local else _on_hub(source)
    import datasets

    try:
        with _no_bars():
            builder = datasets.load_dataset_builder(
                place, config, data_dir=within, revision=source.revision, cache_dir=str(draft / "datasets")
            )
            _check_format(what, builder)
            builder.download_and_prepare()
            for split in wanted:
                if split not in builder.info.splits:
                    raise unknown_name(f"split of {what}", split, builder.info.splits)
                _write(builder.as_dataset(split=split), draft / "split.parquet")
                kept.mkdir(parents=True, exist_ok=True)
                os.replace(draft / "split.parquet", kept / f"{split}.parquet")
    except LowresError:
        raise
    except Exception as error:  # the library raises many kinds
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        if source.local or isinstance(error, (ValueError, RuntimeError, datasets.exceptions.DatasetsError)):
            raise DataError(f"{what} cannot be loaded", got=reason) from None
        raise FetchError(f"{what} did not arrive\n{type(error).__name__}: {reason}\ntry again") from None


def _folder(source: HubSource, folder: Path) -> str:
    path = (folder / source.dataset).resolve()
    if not path.is_dir():
        raise DataError(f"no such folder: {path}", got=f"dataset: {source.dataset}")
    return str(path)


def _on_hub(source: HubSource) -> str:
    """The name on the hub, once the hub has said in one answer that it has this revision."""
    from huggingface_hub import HfApi

    if Path(source.dataset).exists():
        raise DataError(
            f"{source.dataset} is meant for the hub, but is a folder here as well",
            hint=f"work in another folder, or write dataset: ./{source.dataset}",
        )
    try:
        HfApi().dataset_info(source.dataset, revision=source.revision, timeout=TIMEOUT)
    except Exception as error:  # the hub client raises many kinds; all mean that the dataset is not to be had
        kind = type(error).__name__
        raise FetchError(
            f"cannot fetch dataset {source.dataset}, revision {source.revision}\n"
            f"the hub: {_REASONS.get(kind, f'no answer ({kind})')}\n"
            "check the name and the network; once fetched it is kept for use without one"
        ) from None
    return source.dataset


@contextmanager
def _no_bars() -> Iterator[None]:
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _check_format(what: str, builder: Any) -> None:
    kind = type(builder).__module__.rsplit(".", 1)[-1]
    if kind not in FORMATS:
        raise DataError(f"{what} holds no tables", got=f"files of kind {kind}", expected=f"one of {', '.join(FORMATS)}")


def _write(dataset: Any, path: Path) -> None:
    """The plain columns of a split, and lists of what is plain, as Parquet, class labels by name."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = dataset.features
    lists = (datasets.List, datasets.LargeList)
    inner = {name: kind.feature if isinstance(kind, lists) else kind for name, kind in kinds.items()}
    plain = [name for name, kind in inner.items() if isinstance(kind, (datasets.Value, datasets.ClassLabel))]
    writer: pq.ParquetWriter | None = None
    try:
        for batch in dataset.select_columns(plain).with_format("arrow").iter(batch_size=_BATCH):
            for place, name in enumerate(batch.column_names):
                if isinstance(inner[name], datasets.ClassLabel):
                    nested = isinstance(kinds[name], lists)
                    batch = batch.set_column(place, name, _named(batch.column(name), inner[name].names, nested))
            writer = writer or pq.ParquetWriter(path, batch.schema)
            writer.write_table(batch)
        if writer is None:
            pq.write_table(pa.table({name: pa.array([], pa.string()) for name in plain}), path)
    finally:
        if writer is not None:
            writer.close()


def _named(column: Any, names: Sequence[str], nested: bool) -> Any:
    """Numbers of class labels, or ``nested`` lists of them, by name; -1 stands for a label that is not known."""
    import pyarrow as pa

    def named(value: int | None) -> str | None:
        return None if value is None or value < 0 else names[value]

    values = column.to_pylist()
    if nested:
        return pa.array([row and [named(value) for value in row] for row in values], pa.list_(pa.string()))
    return pa.array([named(value) for value in values], pa.string())
