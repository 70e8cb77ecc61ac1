"""Measures how far small encoders fall under domain shift, and what wins it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowres.library import Study, load
    from lowres.results import StudyResult

__version__ = "0.1.0"
__all__ = ["Study", "StudyResult", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """The library's names, imported when first asked for."""
    if name == "StudyResult":
        from lowres.results import StudyResult

        return StudyResult
    if name in __all__:
        from lowres import library

        return getattr(library, name)
    raise AttributeError(f"module 'lowres' has no attribute {name!r}")
