"""The export to a model of its own: the adapter merged into the encoder, which goes with it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from lowres.errors import UserError
from lowres.export.compared import Compared, compare
from lowres.export.whole import with_encoder
from lowres.models.classifier import Classifier, load_classifier


def write_merged(model: Classifier, folder: Path, rows: Sequence[str]) -> Compared:
    """Writes the whole model into an empty folder, loads it and compares.

    Raises:
        UserError: It has an encoder of its own already.
        LowresError: It answers otherwise.
    """
    if model.whole:
        raise UserError("the model has an encoder of its own already", hint="copy its folder")
    with tempfile.TemporaryDirectory() as place:
        with_encoder(model, model.merged(), Path(place) / "encoder", what="merged").save(folder, rows)
    return compare(model, load_classifier(folder).predict_proba, rows)
