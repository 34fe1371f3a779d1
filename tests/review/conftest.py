"""Every test has caches of its own, and may ask for a small finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.review.small_run import make_run


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNAEUS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """`run_folder(several=False, num_images=48)`."""
    return lambda **settings: make_run(tmp_path, **settings)
