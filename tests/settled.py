"""A configuration in which nothing is left to choose, as planning makes one, for tests that need no plan."""

from __future__ import annotations

from typing import Any

from linnaeus.config.resolved import ResolvedConfig, resolve
from linnaeus.config.settings import parse_config

SETTLED: dict[str, Any] = {
    "data": {"out_of_fold": 0},
    "image": {"size": 32},
    "augment": {"flip": "none", "pad_crop_px": 2},
    "model": {"name": "speed_cnn", "features": "last"},
    "evaluate": {"views": "one", "batch_size": 16},
}
PHASE = {"batch_size": 8, "epochs": 2}


def settled_config(**sections: Any) -> ResolvedConfig:
    """With other values in its sections: `settled_config(image={"size": 64}, phases=[{"epochs": 5}])`."""
    given = dict(sections)
    phases = [PHASE | phase for phase in given.pop("phases", [{}])]
    page = {name: SETTLED.get(name, {}) | given.get(name, {}) for name in {**SETTLED, **given}}
    return resolve(parse_config({**page, "phases": phases}))
