"""The page of `linnaeus compare`, in the frame and with the stylesheet of the report. Rendering only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from linnaeus.atomic import write_text
from linnaeus.judging.pairwise import Pairing
from linnaeus.report.embedded import render_page
from linnaeus.report.headline import level_words
from linnaeus.report.page import frame_parts, make_environment
from linnaeus.report.wording import CACHED_FEATURES, capital, duration, figure, score_words

_UNBOUNDED = ("log_loss", "brier", "ece")


@dataclass(frozen=True)
class Row:
    """One run: its name, (value, words, interval) of each score, and its time and size in words."""

    name: str
    scores: list[tuple[float, str, str]]
    facts: list[tuple[float, str]]


def write_compare_page(
    path: Path,
    runs: pd.DataFrame,
    score_names: Sequence[str],
    pairings: Sequence[Pairing],
    *,
    level: float,
    images: str,
) -> None:
    """Write the page, whole or not at all. Raises OutputError if it cannot be written.

    Args:
        runs: as of `linnaeus.runs.compare.RunComparison.to_frame`.
        score_names: the scores among its columns.
        pairings: of every two runs.
        level: of the intervals, such as 0.95.
        images: what they are, such as "test images".
    """
    environment = make_environment()
    rows = [_row({str(k): v for k, v in row.items()}, score_names) for row in runs.to_dict("records")]
    values = {
        "rows": rows,
        "score_names": [capital(score_words(name)) for name in score_names],
        "pairings": pairings,
        "num_significant": sum(pairing.significant for pairing in pairings),
        "level": level_words(level),
        "images": f"{pairings[0].comparison.num_images:,} {images}",
        "cached_features": CACHED_FEATURES if any(runs["seconds_of_cached_features"]) else None,
    }
    write_text(path, render_page(environment, "compare.html", {**frame_parts(environment), **values}))


def _row(row: dict[str, object], score_names: Sequence[str]) -> Row:
    scores = []
    for name in score_names:
        value, low, high = (float(str(row[key])) for key in (name, f"{name}_low", f"{name}_high"))
        write = (lambda v: f"{v:.3f}") if name in _UNBOUNDED else figure
        scores.append((value, write(value), f"{write(low)}–{write(high)}"))
    seconds, parameters, size = (float(str(row[key])) for key in ("seconds", "num_parameters", "num_bytes"))
    cached = float(str(row["seconds_of_cached_features"]))
    in_words = duration(seconds) if seconds == seconds else ""
    facts = [
        (seconds, f"{in_words} + {duration(cached)}" if cached else in_words),
        (parameters, f"{parameters / 1e6:.1f} M"),
        (size, f"{size / 1e6:.1f} MB"),
    ]
    return Row(str(row["run"]), scores, facts)
