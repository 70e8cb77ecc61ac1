"""The files of the pages, and the policy that lets a page use its own style and script and nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("page")


@cache
def file(name: str) -> str:
    """A file of a page."""
    return (FOLDER / name).read_text(encoding="utf-8")


def policy(style: str, script: str = "") -> str:
    """Only this style and this script, and nothing from anywhere; without a script none."""
    scripts = f" script-src '{digest(script)}';" if script else ""
    return f"default-src 'none'; style-src '{digest(style)}';{scripts} base-uri 'none'; form-action 'none'"


def digest(text: str) -> str:
    """A source as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
