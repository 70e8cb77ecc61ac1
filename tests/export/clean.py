"""Programs that run where nothing but onnxruntime, tokenizers and numpy can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

WANTED = ("numpy", "onnxruntime", "tokenizers", "flatbuffers", "protobuf", "packaging")
"""Distributions that ``pip install onnxruntime tokenizers numpy`` brings and that are imported."""
FORBIDDEN = ("torch", "transformers", "lowres", "onnx", "peft", "safetensors", "scipy")
FENCE = f"""\
import importlib.util, sys
sys.path.insert(0, sys.argv.pop(1))
assert not [name for name in {FORBIDDEN!r} if importlib.util.find_spec(name)]
"""


def clean_site(folder: Path) -> Path:
    """A folder with links to the wanted distributions alone, as the packages of a new environment."""
    folder.mkdir(exist_ok=True)
    for name in WANTED:
        for file in distribution(name).files or ():
            top = Path(str(file)).parts[0]
            link = folder / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(str(distribution(name).locate_file(top))))
    return folder


def run_clean(site: Path, code: str, *arguments: str, cwd: Path) -> str:
    """Standard output of a program that sees the site and Python's own library."""
    line = [sys.executable, "-S", "-I", "-c", FENCE + code, str(site), *arguments]
    ran = subprocess.run(line, cwd=cwd, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def answers_of(site: Path, folder: Path, texts: list[Any]) -> list[Any]:
    """What ``example.py`` of an export says of texts, as lists."""
    code = (
        "import json, runpy\n"
        "model = runpy.run_path('example.py')\n"
        "texts = [tuple(text) if len(sys.argv) > 2 else text for text in json.loads(sys.argv[1])]\n"
        "rows = [[list(map(float, unit)) for unit in row] if getattr(row[0], '__len__', None) else list(map(float, row))\n"
        "        for row in model['predict_proba'](texts)]\n"
        "print(json.dumps([rows, model['predict'](texts)]))\n"
    )
    more = ["pairs"] if isinstance(texts[0], tuple) else []
    found: list[Any] = json.loads(run_clean(site, code, json.dumps(texts), *more, cwd=folder))
    return found
