"""What the columns of a table mean: a guess from their names and values, with which a person may disagree.

The guess is put in words by `Columns.describe`, and `--image-column` and `--label-columns` go before it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION
from linnaeus.data.sources.file_index import MISSING, FileIndex
from linnaeus.data.sources.options import SourceOptions
from linnaeus.errors import DataError, nearest_name

# fmt: off
IMAGE_NAMES = (
    "path", "filepath", "file_path", "image_path", "img_path", "filename", "file_name", "image_name", "file", "image",
    "img", "image_id", "imageid", "id", "name", "uri", "url",
)
LABEL_NAMES = (
    "label", "class", "class_name", "category", "target", "labels", "classes", "categories", "tags", "tag", "genre",
    "genres", "species", "breed", "diagnosis", "dx", "y",
)
SPLIT_NAMES = ("split", "set", "subset", "partition", "fold")
SPLIT_VALUES = {
    "train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION,
    "dev": VALIDATION, "test": TEST, "testing": TEST, "": UNASSIGNED,
}
GROUP_NAMES = ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "scene", "scene_id")
BOX_NAMES = (
    ("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"), ("x1", "y1", "x2", "y2"),
)
SIZED_BOX_NAMES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
WEIGHT_NAMES = ("weight", "weights", "sample_weight", "sample_weights")
# fmt: on
YES_NO = {"0", "1", "0.0", "1.0", "true", "false", "True", "False", "TRUE", "FALSE"}
YES = ("1", "1.0", "true", "True", "TRUE")
_SAMPLE_ROWS = 200
_LITERAL_ROWS = 1000

LabelKind = Literal["single", "indicators", "delimited", "list"]


@dataclass(frozen=True)
class Columns:
    """Which column is what.

    Attributes:
        image: paths or ids.
        labels: one column of text, or one of 0 and 1 per label ("indicators").
        kind: one name per cell, 0/1 columns, names divided by `delimiter`, or list literals.
        split, group, weight: None where there is none.
        box: four columns, or None; `sized` says that the last two are width and height.
    """

    image: str
    labels: tuple[str, ...]
    kind: LabelKind
    delimiter: str = ""
    split: str | None = None
    group: str | None = None
    weight: str | None = None
    box: tuple[str, ...] | None = None
    sized: bool = False

    def extra(self, names: Sequence[str]) -> list[str]:
        """The columns that are none of these."""
        taken = {self.image, *self.labels, self.split, self.group, self.weight, *(self.box or ())}
        return [name for name in names if name not in taken]

    def describe(self) -> str:
        """The guess in words."""
        first, last = self.labels[0], self.labels[-1]
        labels = {
            "single": f"labels from '{first}'",
            "indicators": f"{len(self.labels)} labels from the 0/1 columns '{first}' to '{last}'",
            "delimited": f"several labels from '{first}', divided at '{self.delimiter}'",
            "list": f"several labels from the lists in '{first}'",
        }[self.kind]
        parts = [f"images from column '{self.image}'", labels]
        parts += [f"splits from '{self.split}'"] if self.split else []
        parts += [f"groups from '{self.group}'"] if self.group else []
        parts += [f"weights from '{self.weight}'"] if self.weight else []
        parts += [f"boxes from {', '.join(self.box)}"] if self.box else []
        return ", ".join(parts)


def guess_columns(table: pa.Table, where: Path, index: FileIndex, options: SourceOptions) -> Columns:
    """Look at names and values; raises DataError, naming the columns there are, where no guess is possible."""
    names = table.column_names
    for name in (*([options.image_column] if options.image_column else []), *options.label_columns):
        if name not in names:
            raise DataError(f"{where} has no column '{name}'.{nearest_name(name, names)} It has {_quoted(names)}.")
    image = options.image_column or _image_column(table, where, index, options)
    free = [name for name in names if name != image]
    split = _named(
        free, SPLIT_NAMES, lambda name: all(v.strip().lower() in SPLIT_VALUES for v in _distinct(table, name))
    )
    group = _named(free, GROUP_NAMES)
    weight = _named(
        [name for name in free if name not in options.label_columns],
        WEIGHT_NAMES,
        lambda name: all(number_of(value) is not None for value in _distinct(table, name)),
    )
    box, sized = _box_columns(free)
    taken = {split, group, weight, *(box or ())}
    free = [name for name in free if name not in taken or name in options.label_columns]
    labels, kind, delimiter = _label_columns(table, where, free, options.label_columns)
    return Columns(image, labels, kind, delimiter, split, group, weight, box, sized)


def number_of(value: str) -> float | None:
    """The number that a cell holds, 1 for an empty one; None for what is no finite number."""
    try:
        number = float(value) if value.strip() else 1.0
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _image_column(table: pa.Table, where: Path, index: FileIndex, options: SourceOptions) -> str:
    step = max(1, table.num_rows // _SAMPLE_ROWS)
    sample = table.take(pa.array(range(0, table.num_rows, step)))
    best, best_score = "", (0, 0)
    for name in table.column_names:
        found = sum(_leads_to_a_file(value, index) for value in sample[name].to_pylist())
        lower = name.strip().lower()
        score = (found, len(IMAGE_NAMES) - IMAGE_NAMES.index(lower) if lower in IMAGE_NAMES else 0)
        if found and score > best_score:
            best, best_score = name, score
    if best:
        return best
    named = _named(table.column_names, IMAGE_NAMES) or table.column_names[0]
    raise DataError(
        f"{where}: no column names images below {index.root} ({len(index.paths):,} images there). Row 1 of "
        f"'{named}' is '{table[named][0].as_py()[:80]}'. Name the column with --image-column and the folder of the "
        f"images with --image-root; the columns are {_quoted(table.column_names)}."
    )


def _leads_to_a_file(value: str, index: FileIndex) -> bool:
    if not value or len(value) > 4096 or "\0" in value:
        return False
    if index.find(value) != MISSING:
        return True
    try:
        return value.startswith(("/", "~")) and Path(value).expanduser().is_file()
    except (OSError, RuntimeError):
        return False


def _label_columns(
    table: pa.Table, where: Path, free: list[str], asked: tuple[str, ...]
) -> tuple[tuple[str, ...], LabelKind, str]:
    indicators = tuple(name for name in asked or free if set(_distinct(table, name)) <= YES_NO)
    if len(asked) > 1:
        if len(indicators) < len(asked):
            wrong = next(name for name in asked if name not in indicators)
            row, value = next((r, v) for r, v in enumerate(table[wrong].to_pylist(), 1) if v not in YES_NO)
            raise DataError(
                f"{where}, row {row}: '{wrong}' is '{value[:40]}'. Of several label columns each holds 0 or 1."
            )
        return asked, "indicators", ""
    exact = _named(free, LABEL_NAMES[:5])
    if not asked and not exact and len(indicators) > 1:
        return indicators, "indicators", ""
    guessed = exact or _named(free, LABEL_NAMES) or _like_a_label(table, free)
    name = asked[0] if asked else guessed
    if name is None:
        raise DataError(
            f"{where}: which column holds the labels? Name it with --label-columns; the columns are {_quoted(free)}."
        )
    kind, delimiter = _kind_of(_distinct(table, name), name)
    return (name,), kind, delimiter


def _like_a_label(table: pa.Table, free: list[str]) -> str | None:
    """The only column whose values come again and again."""
    repeating = [name for name in free if 1 < len(_distinct(table, name)) <= table.num_rows / 2]
    return repeating[0] if len(repeating) == 1 else None


def _kind_of(values: list[str], name: str) -> tuple[LabelKind, str]:
    """Whether cells hold one name or several: lists, or parts that come again in other combinations."""
    full = {value.strip(): None for value in values if value.strip()}
    sample = list(full)[:_LITERAL_ROWS]
    if sample and sum(literal_list(value) is not None for value in sample) > len(sample) / 2:
        return "list", ""
    plural = name.strip().lower() in ("labels", "classes", "categories", "tags", "genres")
    for delimiter in ("|", ";", ",", *([" "] if plural else [])):
        divided = [value for value in full if delimiter in value]
        parts = {part.strip() for value in full for part in value.split(delimiter)}
        alone = any(part.strip() in full for value in divided for part in value.split(delimiter))
        if divided and len(parts) <= len(full) and (alone or delimiter in "|;"):
            return "delimited", delimiter
    return "single", ""


def literal_list(text: str) -> list[str] | None:
    """The strings of a list literal such as "['Comedy', 'Drama']"; None if the text is no such thing."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    if not isinstance(found, list) or not all(isinstance(item, (str, int)) for item in found):
        return None
    return [str(item) for item in found]


def _box_columns(names: list[str]) -> tuple[tuple[str, ...] | None, bool]:
    by_lower = {name.strip().lower(): name for name in names}
    for sized, wanted in ((False, BOX_NAMES), (True, SIZED_BOX_NAMES)):
        for four in wanted:
            if all(name in by_lower for name in four):
                return tuple(by_lower[name] for name in four), sized
    return None, False


def _named(names: list[str], known: tuple[str, ...], fits: Callable[[str], bool] = lambda name: True) -> str | None:
    """The first of the known names, in their order, that is a column and fits."""
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in known if name in by_lower and fits(by_lower[name])), None)


def _distinct(table: pa.Table, name: str) -> list[str]:
    values: list[str] = pc.unique(table[name]).to_pylist()
    return values


def _quoted(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:30])
    return f"{shown} and {len(names) - 30} more" if len(names) > 30 else shown
