"""The types of audit.json: what is wrong with a data set, or may be, for programs and for the audit page.

`docs/audit-json.md` is generated from the docstrings below. Knows nothing of how anything is found: `audit` fills these
in.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT: Literal[1] = 1

UnreadableKind = Literal["empty", "truncated", "missing", "too large", "outside", "unknown", "damaged"]
"""Why an image cannot be decoded, in a word."""
Tie = Literal["file", "pixels", "near"]
Relation = Literal["first", "file", "pixels", "near", "mirrored"]
Level = Literal["serious", "look", "fine"]
PageSection = Literal["data", "shapes", "files", "duplicates", "looks", "shortcuts"]


class AuditPart(BaseModel):
    """A part of audit.json: immutable."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, validate_by_name=True, serialize_by_alias=True
    )


class Quartiles(AuditPart):
    """How numbers are spread."""

    min: float
    """The least."""
    lower_quartile: float
    """A quarter of them is no larger."""
    median: float
    """Half of them is no larger."""
    upper_quartile: float
    """Three quarters of them are no larger."""
    max: float
    """The largest."""


class NamedImage(AuditPart):
    """How every list names an image."""

    row: int
    """Its number in the manifest, from 0."""
    id: str
    """Its name in the data."""


class UnreadableImage(NamedImage):
    """An image that cannot be decoded."""

    kind: UnreadableKind
    """Why, in a word."""
    reason: str
    """Why, in a sentence."""


class WrongExtension(NamedImage):
    """A file that is not what its name says."""

    extension: str
    """The format that the name promises."""
    found: str
    """The format according to its first bytes."""


class LargeImage(NamedImage):
    """An image of suspiciously many pixels."""

    width: int | None
    """In pixels; null where it is too large to open."""
    height: int | None
    """In pixels; null where it is too large to open."""
    file_bytes: int
    """Size of the file; a small file with very many pixels may be a decompression bomb."""


class DarkImage(NamedImage):
    """An image that is blank or very dark."""

    brightness: float
    """Mean of its grey values, 0-255."""


class BlurredImage(NamedImage):
    """An image without fine detail."""

    sharpness: float
    """Variance of the Laplacian over that of the image, at 256 px."""


class ClassCount(AuditPart):
    """A class and its images."""

    name: str = Field(alias="class")
    """Its name."""
    num_images: int
    """How many images it has."""


class Imbalance(AuditPart):
    """How unevenly images are spread over the classes."""

    ratio: float | None
    """Images of the most frequent class to those of the rarest; null where one has none."""
    largest: ClassCount
    """The most frequent class."""
    smallest: ClassCount
    """The rarest class."""


class SizeCount(AuditPart):
    """A size and how many images have it."""

    width: int
    """In pixels."""
    height: int
    """In pixels."""
    num_images: int
    """How many images have it."""


class Sizes(AuditPart):
    """Sizes of images as they are shown, turned as EXIF says; of boxes, where the data has them."""

    width: Quartiles | None
    """In pixels; null where no size is known."""
    height: Quartiles | None
    """In pixels; null where no size is known."""
    num_different: int
    """How many sizes there are."""
    common: list[SizeCount]
    """The most frequent twelve."""


class Duplicate(NamedImage):
    """One image of a group."""

    split: str | None
    """The split that the data put it in; null where it is not divided."""
    labels: list[str]
    """Its labels."""
    relation: Relation
    """Its relation to the first image of the group."""


class DuplicateGroup(AuditPart):
    """Images that show the same picture.

    Near duplicates are rescaled, recompressed, brightened or mirrored copies. Two images count as such if a 32 x 32
    grey rendering of them correlates at 0.97 or more in its coarse frequencies and at 0.90 or more in its fine ones.
    Images that are almost flat, or smaller than 32 px, are compared by their bytes and pixels only. A group holds all
    images that a chain of pairs connects.
    """

    kind: Tie
    """The weakest relation in the group: equal files, equal decoded pixels, or near duplicates."""
    leak: bool
    """Whether it stands in two splits that the data brought."""
    labels_differ: bool
    """Whether its members have different labels."""
    splits: list[str]
    """The splits it stands in."""
    members: list[Duplicate]
    """Those of training first, then those held out."""


class LeakCount(AuditPart):
    """Held-out images with a duplicate in another split."""

    num_images: int
    """How many."""
    fraction: float
    """Fraction of the split, 0-1."""


class Leaks(AuditPart):
    """Held-out images with a duplicate in a split that is used for training or for choosing the model.

    Only splits that the data brought can leak; Linnaeus keeps duplicates together when it makes a split.
    """

    num_groups: int
    """Groups that stand in two splits."""
    test: LeakCount
    """Test images with a copy in training or validation."""
    validation: LeakCount
    """Validation images with a copy in training."""
    test_rows: list[int]
    """The rows of those test images."""


class Shortcut(AuditPart):
    """A property of the file or of the whole picture that alone predicts the label.

    Found by a decision tree of depth 4, cross-validated in five parts. Of boxes, the `findings` call width, height and
    aspect ratio something to `look` at and all others `serious`: its class may well
    determine the size of an object.
    """

    property: str
    """`width`, `height`, `aspect ratio`, `file format`, `colour mode`, `file size` or `brightness`."""
    label: str | None
    """The label that it predicts, of several; null where it predicts the class."""
    accuracy: float
    """How often the tree is right, 0-1."""
    baseline: float
    """How often always answering the most frequent class is right, 0-1."""
    error_reduction: float
    """Fraction of the baseline's mistakes that the property avoids; properties from 0.25 are listed."""


class Finding(AuditPart):
    """What matters, in a sentence."""

    level: Level
    """How serious it is."""
    what: str
    """A few words."""
    sentence: str
    """What was found, with an example."""
    section: PageSection
    """The section of audit.html with details."""


class Audit(AuditPart):
    """What `linnaeus inspect` found."""

    format: Literal[1] = FORMAT
    """Version of this description."""
    source: str
    """What was inspected, as it was typed."""
    num_images: int
    """Samples; objects where the data has boxes."""
    num_scenes: int | None
    """Scenes that the objects lie in, where the data has boxes."""
    task: Literal["single", "multi"]
    """One label per image, or several."""
    classes: list[str]
    """Names, in the order of every table here."""
    splits: dict[str, int]
    """Images of each split; splits without images are left out."""
    counts: dict[str, dict[str, int]]
    """Images of each split (`train`, `validation`, `test`, `unassigned`) and class; splits without images are left
    out."""
    imbalance: Imbalance
    """The most frequent class and the rarest."""
    cooccurrence: list[list[int]] | None
    """For several labels: images that have label `i` and label `j`; the diagonal counts label `i`."""
    skipped: dict[str, int]
    """Why files were passed over while reading, with their number."""
    notes: list[str]
    """What the reader guessed or noticed."""
    sizes: Sizes
    """Widths and heights."""
    aspect_ratio: Quartiles | None
    """Width over height; null where no size is known."""
    file_bytes: Quartiles | None
    """Sizes of the files; null where images have no files of their own."""
    modes: dict[str, int]
    """Images by how pixels are stored (`RGB`, `L`, `CMYK` ...)."""
    formats: dict[str, int]
    """Images by what their files are, by the first bytes."""
    unreadable: list[UnreadableImage]
    """Images that cannot be decoded."""
    wrong_extension: list[WrongExtension]
    """Files that are not what their name says."""
    very_large: list[LargeImage]
    """Images of 50 megapixels or more and 50 times the median, or too large to open."""
    blank: list[DarkImage]
    """Grey values that deviate by less than 2 of 255."""
    very_dark: list[DarkImage]
    """Mean and deviation of the grey values below 20 of 255."""
    very_blurred: list[BlurredImage]
    """Images of 64 px or more without fine detail."""
    duplicates: list[DuplicateGroup]
    """Leaks come first, then groups whose labels differ, then the larger."""
    leaks: Leaks
    """Copies across splits."""
    shortcuts: list[Shortcut]
    """Properties that alone predict the label, the strongest first."""
    findings: list[Finding]
    """What matters, the gravest first."""
