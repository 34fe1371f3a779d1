"""What a person may say about their data where a reader would otherwise guess. Every reader takes these options.

None and () mean "find it out". A reader ignores what does not concern its layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SourceOptions:
    """Overrides of what readers guess.

    Attributes:
        image_column: the column of a table with paths or ids.
        label_columns: the column of a table with labels, or one 0/1 column per label.
        image_root: the folder below which the images named by a table, or by label files, lie.
        image_shape: of one sample of an array, such as (300, 300, 3) or (3, 300, 300).
        classes: keep only these classes, by name.
        top_classes: keep only so many of the most frequent classes.
        box_padding: widen every box by this fraction of its sides, 0.2 for a fifth.
        min_box_size_px: drop boxes of which a side is shorter than this many pixels.
    """

    image_column: str | None = None
    label_columns: tuple[str, ...] = ()
    image_root: Path | None = None
    image_shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    top_classes: int | None = None
    box_padding: float | None = None
    min_box_size_px: float | None = None


NO_OPTIONS = SourceOptions()
