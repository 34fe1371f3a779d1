"""Linnaeus turns labelled images into an image classifier you can trust and ship.

    import linnaeus
    run = linnaeus.train("photos/")

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from linnaeus.errors import LinnaeusError
from linnaeus.version import __version__

if TYPE_CHECKING:
    from linnaeus.api import Manifest, Predictor, Run, load, predict, read, resume, train

__all__ = [
    "LinnaeusError",
    "Manifest",
    "Predictor",
    "Run",
    "__version__",
    "load",
    "predict",
    "read",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module("linnaeus.api"), name)
    raise AttributeError(f"module 'linnaeus' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
