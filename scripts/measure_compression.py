"""Compresses one saved model in several ways and makes the table of docs/compression-measured.md.

    python scripts/measure_compression.py run runs/vader/best/amazon-32 vader-sentiment --target amazon,tweets \
        --as "quantise bits=dynamic" --as "distil layers=3 epochs=4" --models runs/small --out docs/data/compression-vader.json
    python scripts/measure_compression.py time runs/vader/best/amazon-32 vader-sentiment --models runs/small --out docs/data/compression-vader.json
    python scripts/measure_compression.py table docs/data/compression-vader.json --write docs/compression-measured.md

Each ``--as`` is a method and its settings, as of ``lowres compress``, or the name of an export to ONNX. What the result file has already is not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure_methods import BEGIN, END, write_between

from lowres.cli.talk import ShareProgress
from lowres.data.task import load_task
from lowres.export.catalogue import EXPORTS, write_export
from lowres.export.compare import timed
from lowres.export.compared import plain
from lowres.export.compress import Ground, compared, compress, ground
from lowres.export.compression import Compression
from lowres.export.onnx_folder import says
from lowres.export.shrink import settings_of
from lowres.export.whole import with_encoder
from lowres.kinds import Given, rows_of
from lowres.models.classifier import Classifier, load_classifier
from lowres.report.compressed import how, matrix
from lowres.report.markdown import markdown_table
from lowres.results import write_text


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """A method and its settings."""
    method, *given = text.split()
    return method, {name: _value(value) for name, _, value in (one.partition("=") for one in given)}


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def run(options: argparse.Namespace) -> None:
    """Makes what the file lacks, one after another."""
    model, task = load_classifier(options.adapter), load_task(options.task)
    names = {part: [one for one in (getattr(options, part) or "").split(",") if one] for part in ("source", "target")}
    where = ground(model, task, sources=names["source"], targets=names["target"], limit=options.limit)
    done = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else []
    for text in options.methods:
        if any(one["as"] == text for one in done):
            continue
        method, given = parsed(text)
        place = options.models / "-".join(text.replace("=", "-").split())
        if method in EXPORTS:
            found = exported(model, where, method, place)
        else:
            with ShareProgress(text) as told:
                found = compress(model, where, method, settings_of(method, given), place, told=told)
        done.append({"as": text, "found": json.loads(found.to_json())})
        write_text(options.out, json.dumps(done, indent=1) + "\n")


AT_ONCE = 32
"""Texts that an example is asked about at once."""


class Elsewhere(Classifier):
    """A model whose answers are those of an exported folder's own example."""

    def predict_proba(self, texts: Sequence[Given]) -> Any:
        """As of ``Classifier.predict_proba``."""
        rows = plain(self.kind, rows_of(self.kind, texts))
        return np.concatenate([self.about["says"](rows[at : at + AT_ONCE]) for at in range(0, len(rows), AT_ONCE)])


def exported(model: Classifier, where: Ground, to: str, place: Path) -> Compression:
    """An export beside its origin."""
    began = time.perf_counter()
    written = write_export(model, to, place, where.unlabelled[:64])
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        before = with_encoder(model, model.merged(), Path(folder) / "before", what="merged")
        values = {one.name: getattr(before, one.name) for one in fields(before)}
        after = Elsewhere(**{**values, "about": {**before.about, "says": says(place)}})
        found = compared([(before, after)], where, to, None, seconds, 0)
    return found.model_copy(update={"after": found.after.model_copy(update={"bytes": written.sizes["model.onnx"]})})


def again(options: argparse.Namespace) -> None:
    """Takes the times of kept models anew, all of them one after another on an idle machine."""
    model, task = load_classifier(options.adapter), load_task(options.task)
    done = json.loads(options.out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        before = with_encoder(model, model.merged(), Path(folder) / "before", what="merged")
        for one in done:
            found = Compression.model_validate(one["found"])
            texts = list(task.domain(found.domains[0].domain).test.texts)
            place = options.models / "-".join(one["as"].replace("=", "-").split())
            if found.method in EXPORTS:
                values = {part.name: getattr(before, part.name) for part in fields(before)}
                after: Classifier = Elsewhere(**{**values, "about": {"says": says(place)}})
            else:
                after = load_classifier(place)
            times, gains = timed(before, after, texts)
            sides = {
                name: side.model_copy(update={"milliseconds": own})
                for name, side, own in zip(("before", "after"), (found.before, found.after), times, strict=True)
            }
            fresh = found.model_copy(update={**sides, "speed_up": gains, "threads": torch.get_num_threads()})
            one["found"] = json.loads(fresh.to_json())
    write_text(options.out, json.dumps(done, indent=1) + "\n")


def table(path: Path) -> str:
    """The matrix of a result file, and how it was measured."""
    found = [Compression.model_validate(one["found"]) for one in json.loads(path.read_text(encoding="utf-8"))]
    first = found[0]
    rows = ", ".join(f"{one.domain} {one.rows}" for one in first.domains)
    about = f"{first.task} v{first.task_version}, {first.model}; test rows: {rows}. {how(first)}"
    return f"{about}\n\n{markdown_table(matrix(found))}"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("adapter", type=Path)
    runs.add_argument("task")
    runs.add_argument("--source")
    runs.add_argument("--target")
    runs.add_argument("--limit", type=int)
    runs.add_argument("--as", action="append", dest="methods", required=True, help="a method and its settings")
    runs.add_argument("--models", type=Path, default=Path("runs/compressed"), help="folder of the models made")
    runs.add_argument("--out", type=Path, required=True)
    timing = commands.add_parser("time")
    timing.add_argument("adapter", type=Path)
    timing.add_argument("task")
    timing.add_argument("--models", type=Path, default=Path("runs/compressed"))
    timing.add_argument("--out", type=Path, required=True)
    shown = commands.add_parser("table")
    shown.add_argument("files", type=Path, nargs="+")
    shown.add_argument("--write", type=Path, required=True)
    options = parser.parse_args()
    if options.command in ("run", "time"):
        (run if options.command == "run" else again)(options)
        return
    for path in options.files:
        write_between(options.write, BEGIN.format(path.stem), END.format(path.stem), table(path))


if __name__ == "__main__":
    main()
