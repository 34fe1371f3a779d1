"""Settled configurations for tests that need one: all that the plan would choose is chosen, as small as can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linnaeus.config.pages import overlay
from linnaeus.config.resolved import ResolvedConfig, resolve
from linnaeus.config.settings import parse_config

PAGE: Mapping[str, Any] = {
    "data": {"out_of_fold": 0},
    "image": {"size": 32},
    "augment": {"flip": "none", "pad_crop_px": 2},
    "model": {"name": "speed_cnn", "features": "last"},
    "phases": [{"batch_size": 8, "epochs": 2}],
    "evaluate": {"tta": "none", "batch_size": 16},
}


def settled(page: Mapping[str, Any]) -> ResolvedConfig:
    """That configuration with a page laid over it; every phase that the page has begins as the one above."""
    phases = [{**PAGE["phases"][0], **phase} for phase in page.get("phases", [{}])]
    return resolve(parse_config(overlay(PAGE, {**page, "phases": phases})))
