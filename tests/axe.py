"""Violations of accessibility that axe-core finds, for tests of pages in a real browser.

Set LINNAEUS_AXE to the path of axe.min.js (npm pack axe-core); without it such tests are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

needs_axe = pytest.mark.skipif("LINNAEUS_AXE" not in os.environ, reason="LINNAEUS_AXE is not the path of axe.min.js")


def violations(page: Any) -> list[str]:
    """What axe finds on a page of Playwright's, whatever its impact: `rule (impact): the first element`.

    The page must have been opened by a context with `bypass_csp=True`.
    """
    page.evaluate(Path(os.environ["LINNAEUS_AXE"]).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{rule['id']} ({rule['impact']}): {rule['nodes'][0]['html'][:120]}" for rule in found]
