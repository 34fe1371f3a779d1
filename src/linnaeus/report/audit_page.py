"""The audit as one HTML file, in the frame and with the stylesheet of the report.

Everything shown is in the audit; pictures come from the files when the page is written. Lists are cut
where a page would grow without end, and say so; audit.json has them whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from linnaeus.analysis.audit_types import Audit
from linnaeus.atomic import write_text
from linnaeus.report.audit_sections import (
    make_cooccurrence,
    make_data,
    make_files,
    make_groups,
    make_looks,
    make_shapes,
    make_shortcuts,
    make_tiles,
)
from linnaeus.report.audit_trace import TraceView
from linnaeus.report.embedded import render_page
from linnaeus.report.page import frame_parts, make_environment
from linnaeus.report.wording import count, plural


@dataclass(frozen=True)
class AuditFacts:
    """What the page shows.

    Attributes:
        title: a few words, such as the name of the data.
        audit: what audit.json holds.
        thumbnails: row -> a WebP, PNG or JPEG file; UnreadableImageError where there is none.
        trace: one image through every step, if that was asked for.
    """

    title: str
    audit: Audit
    thumbnails: Callable[[int], bytes]
    trace: TraceView | None = None


def write_audit_page(path: Path, facts: AuditFacts) -> None:
    """Write the page, whole or not at all. Raises OutputError if it cannot be written."""
    write_text(path, render_audit_page(facts))


def render_audit_page(facts: AuditFacts) -> str:
    """The page as HTML text."""
    environment = make_environment()
    audit = facts.audit
    findings = audit.findings
    values = {
        "title": facts.title,
        "num_images": count(audit.num_images),
        "what": "images" if audit.num_scenes is None else f"objects in {plural(audit.num_scenes, 'scene')},",
        "num_classes": plural(len(audit.classes), "class", "classes"),
        "several": audit.task == "multi",
        "findings": findings,
        "num_serious": sum(finding.level == "serious" for finding in findings),
        "clean": all(finding.level == "fine" for finding in findings),
        "tiles": make_tiles(audit),
        "data": make_data(audit),
        "cooccurrence": make_cooccurrence(audit),
        "shapes": make_shapes(audit),
        "files": make_files(audit),
        "groups": make_groups(audit, facts.thumbnails),
        "looks": make_looks(audit, facts.thumbnails),
        "shortcuts": make_shortcuts(audit),
        "of_boxes": audit.num_scenes is not None,
        "trace": facts.trace,
    }
    return render_page(environment, "audit.html", {**frame_parts(environment), **values})
