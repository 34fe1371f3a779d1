"""The report: one HTML file that a person reads, complete in itself, needing no network and no other file.

`sections` says what stands on it and in which order; `templates/` says how that looks.
Every name that came with the data is escaped, and the page's own policy forbids it to load or run anything else.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from linnaeus.atomic import write_text
from linnaeus.report.embedded import PLACE, render_page
from linnaeus.report.facts import ReportFacts
from linnaeus.report.headline import level_words, one_line
from linnaeus.report.sections import OPENING, PARTS, show_parts, show_sections
from linnaeus.version import __version__

__all__ = ["ReportFacts", "render_report", "write_report"]


def write_report(path: Path, facts: ReportFacts) -> None:
    """Write the page, whole or not at all. Raises OutputError if it cannot be written."""
    write_text(path, render_report(facts))


def render_report(facts: ReportFacts) -> str:
    """The page as HTML text."""
    environment = make_environment()
    values = {
        "title": facts.title,
        "one_line": one_line(facts),
        "level": level_words(facts.evaluation.confidence),
        "opening": show_sections(OPENING, facts, task=facts.manifest.task, omitted={}),
        "parts": show_parts(PARTS, facts),
    }
    return render_page(environment, "report.html", {**frame_parts(environment), **values})


def make_environment() -> Environment:
    """What every page of ours is rendered with: names are escaped, and a missing value is an error."""
    return Environment(
        loader=PackageLoader("linnaeus.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def frame_parts(environment: Environment) -> dict[str, Any]:
    """What `frame.html` asks for, beside the blocks that a page fills."""
    # Text of ours; the policy names its hash, so that no other script can run in the page.
    script = environment.get_template("report.js").render()
    favicon = environment.get_template("favicon.svg").render()
    return {
        "version": __version__,
        "picture_rules": Markup(PLACE),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "favicon": base64.b64encode(favicon.encode()).decode(),
    }
