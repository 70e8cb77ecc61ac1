"""Measures how far small encoders fall under domain shift, and what wins it back."""

from __future__ import annotations

__version__ = "0.1.0"
