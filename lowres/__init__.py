"""Measures how far small encoders fall under domain shift, and what wins it back."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lowres.errors import LowresError, UserError, nearest

if TYPE_CHECKING:
    from lowres.estimator import Classifier
    from lowres.export.hot_fix import patch
    from lowres.library import Study, compress, export_model, load
    from lowres.models.several import load_many
    from lowres.results import StudyResult

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "LowresError",
    "Study",
    "StudyResult",
    "UserError",
    "__version__",
    "compress",
    "export_model",
    "load",
    "load_many",
    "patch",
]

_HOME = {
    "Classifier": "estimator",
    "Study": "library",
    "StudyResult": "results",
    "compress": "library",
    "export_model": "library",
    "load": "library",
    "load_many": "models.several",
    "patch": "export.hot_fix",
}


def __getattr__(name: str) -> Any:
    """The library's names, imported when first asked for."""
    if name in _HOME:
        return getattr(import_module(f"lowres.{_HOME[name]}"), name)
    close = [] if name.startswith("_") else nearest(name, __all__)
    said = f", did you mean {' or '.join(close)}?" if close else ""
    raise AttributeError(f"module 'lowres' has no attribute {name!r}{said}", name=name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
