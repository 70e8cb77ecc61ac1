"""Reads what a run folder keeps for reports: ``summary.json``, and if they are there ``evidence.json`` and ``cells.jsonl``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lowres.analysis.evidence import Evidence
from lowres.analysis.summary import Summary
from lowres.errors import UserError
from lowres.export.compression import Compression
from lowres.settings import fault

Model = TypeVar("Model", bound=BaseModel)


class Record(BaseModel):
    """What reports need of a line of ``cells.jsonl``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    method: str
    source: str | None
    target: str
    shots: int | None
    draw: int
    key: str
    train_rows: int
    test_rows: int
    metrics: dict[str, Any]


def read_summary(folder: Path) -> Summary:
    """The summary.

    Raises:
        UserError: There is none, or it is broken or of another version.
    """
    path = folder / "summary.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is no run folder", got="no summary.json", hint="lowres run writes one; its last line names it"
        )
    return _read(path, Summary)


def read_compression(folder: Path) -> Compression | None:
    """What became of a model when it was made smaller; None where the folder is none of such a model.

    Raises:
        UserError: It is broken or of another version.
    """
    path = folder / "compression.json"
    return _read(path, Compression) if path.is_file() else None


def read_evidence(folder: Path) -> Evidence | None:
    """What the study shows beyond the summary; None where the run wrote none.

    Raises:
        UserError: It is broken or of another version.
    """
    path = folder / "evidence.json"
    return _read(path, Evidence) if path.is_file() else None


def read_records(folder: Path) -> list[dict[str, Any]]:
    """One record a finished cell; none where the run wrote none.

    Raises:
        UserError: A line is none.
    """
    path = folder / "cells.jsonl"
    if not path.is_file():
        return []
    reader, found = TypeAdapter(Record), []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            found.append(reader.validate_json(line).model_dump())
        except ValidationError as error:
            raise UserError(
                f"{path}, line {number}, is no record of a cell", got=_faults(error), hint="run the study again"
            ) from None
    return found


def _read(path: Path, kind: type[Model]) -> Model:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(
            f"{path} is no {path.name} that this version reads (schema 1)",
            got=_faults(error),
            hint="run the study again",
        ) from None


def _faults(error: ValidationError) -> str:
    return "; ".join(fault(detail) for detail in error.errors()[:3])
