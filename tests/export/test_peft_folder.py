"""The export to plain PEFT."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lowres.errors import UserError
from lowres.export.catalogue import write_export
from lowres.files import SUMS
from lowres.models.backbone import Backbone
from tests.export.fitted import TEXTS, fitted


def test_peft_opens_it_and_the_card_answers(backbone: Backbone, tmp_path: Path) -> None:
    model = fitted(backbone)
    found = write_export(model, "peft", tmp_path / "out", TEXTS["classification"])
    parts = {
        "adapter_config.json",
        "adapter_model.safetensors",
        "head.safetensors",
        "tokenizer.json",
        "README.md",
        SUMS,
    }
    assert parts <= set(found.sizes) <= parts | {"tokenizer_config.json", "special_tokens_map.json"}
    assert found.compared.gap < 1e-4
    code = re.search(r"```python\n(.*?)```", (found.folder / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert code
    assert "PeftModel.from_pretrained(AutoModel" in code.group(1)
    program = (
        f"texts = {TEXTS['classification']!r}\n{code.group(1)}\nimport json; print(json.dumps(probabilities.tolist()))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=found.folder, capture_output=True, text=True, check=True)
    got = np.array(eval(ran.stdout.strip().splitlines()[-1]))
    assert got == pytest.approx(model.predict_proba(TEXTS["classification"]), abs=1e-5)


def test_a_frozen_backbone_has_nothing_for_peft(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no adapter"):
        write_export(fitted(backbone, adapter=None), "peft", tmp_path / "out")
    assert not list(tmp_path.iterdir())
