"""Pictures: a strip of the data, right answers, and the most confidently wrong ones.

At most MOST_SAMPLES + MOST_RIGHT + MOST_WRONG thumbnails travel in the page, each as a small data URI.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from linnaeus.data.manifest import TEST, TRAIN, Manifest
from linnaeus.errors import UnreadableImageError
from linnaeus.predictions import Predictions
from linnaeus.report.facts import ReportFacts
from linnaeus.report.wording import count, percent

MOST_SAMPLES, MOST_RIGHT, MOST_WRONG = 20, 16, 24
LARGEST_SIDE_PX = 160
LARGEST_BYTES = 16_000
PIXELATED_BELOW_PX = 48
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg"}


@dataclass(frozen=True)
class Picture:
    """A thumbnail and its words. `uri` is None where the image cannot be shown; `coarse` asks for visible pixels."""

    uri: str | None
    coarse: bool
    true: str
    predicted: str | None
    probability: str | None
    id: str


@dataclass(frozen=True)
class Galleries:
    """The two groups of pictures."""

    right: list[Picture]
    wrong: list[Picture]
    num_right: str
    num_wrong: str


def make_samples(facts: ReportFacts) -> list[Picture]:
    """Some training images of every class, always the same for the same run."""
    manifest, seed = facts.manifest, facts.config.seed
    train = manifest.rows(TRAIN)
    if facts.problems:
        names = [id.encode("utf-8", "replace").decode() for id, _ in facts.problems]  # Arrow holds Unicode only
        broken = pa.array(names, pa.large_string())
        readable = ~pc.is_in(manifest.ids.take(pa.array(train)), value_set=broken).to_numpy(zero_copy_only=False)
        train = train[readable]
    targets = manifest.targets[train] if manifest.task == "single" else leading_label(manifest.targets[train])
    samples = train[one_class_after_another(targets, at_most=MOST_SAMPLES, seed=seed)]
    return [_picture(facts, int(row), None, None) for row in samples]


def make_galleries(facts: ReportFacts) -> Galleries:
    """Choose the pictures of test images (always the same for the same run) and embed their thumbnails."""
    test = facts.predictions.of_split(TEST)
    is_right = test.predicted == test.targets
    right, wrong = np.flatnonzero(is_right), np.flatnonzero(~is_right)
    drawn = right[one_class_after_another(test.targets[right], at_most=MOST_RIGHT, seed=facts.config.seed)]
    return Galleries(
        right=_answers(facts, test.take(drawn)),
        wrong=_answers(facts, most_confident(test.take(wrong), at_most=MOST_WRONG)),
        num_right=count(len(right)),
        num_wrong=count(len(wrong)),
    )


def one_class_after_another(
    targets: npt.NDArray[np.int64] | npt.NDArray[np.uint8], *, at_most: int, seed: int
) -> npt.NDArray[np.int64]:
    """Positions of randomly drawn rows: one of each class, then another of each class, until there are enough.

    With more classes than `at_most`, evenly spaced ones are shown.
    """
    generator = np.random.default_rng(seed)
    classes = np.unique(targets)
    if len(classes) > at_most:
        classes = classes[np.linspace(0, len(classes) - 1, at_most).round().astype(int)]
    shuffled = [generator.permutation(np.flatnonzero(targets == k)) for k in classes]
    rounds = max((len(rows) for rows in shuffled), default=0)
    turns = (int(rows[turn]) for turn in range(rounds) for rows in shuffled if turn < len(rows))
    return np.fromiter(itertools.islice(turns, at_most), np.int64)


def first_of_each_kind(kinds: Sequence[Hashable], *, at_most: int, of_a_kind: int) -> list[int]:
    """The first positions of a ranked list, in order; a kind is there more than `of_a_kind` times only where the others
    do not fill the list.
    """
    seen: Counter[Hashable] = Counter()
    chosen: list[int] = []
    others: list[int] = []
    for position, kind in enumerate(kinds):
        (chosen if seen[kind] < of_a_kind else others).append(position)
        seen[kind] += 1
    return sorted([*chosen, *others][:at_most])


def leading_label(targets: npt.NDArray[np.uint8] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 [N]: of uint8 [N, K], the rarest label of each row, or K for a row without one."""
    num_rows, num_labels = targets.shape
    counts = np.where(targets > 0, targets.sum(axis=0, dtype=np.int64), num_rows + 1)
    return np.asarray(np.where(targets.any(axis=1), counts.argmin(axis=1), num_labels), np.int64)


def label_names(manifest: Manifest, row: int) -> str:
    """The labels of a row in words."""
    return ", ".join(manifest.classes[k] for k in np.flatnonzero(manifest.targets[row])) or "no label"


def most_confident(predictions: Predictions, *, at_most: int) -> Predictions:
    """Those whose largest probability is largest, in falling order."""
    if not len(predictions):
        return predictions
    return predictions.take(np.argsort(-predictions.probabilities.max(axis=1), kind="stable")[:at_most])


def data_uri(thumbnail: bytes) -> tuple[str, bool]:
    """Embed a WebP, PNG or JPEG file; returns the URI, and whether the picture is so small that its pixels should show.

    A thumbnail that is larger than it need be is made smaller first, so that the page stays small.
    """
    with Image.open(io.BytesIO(thumbnail)) as picture:
        side = max(picture.size)
        if side > LARGEST_SIDE_PX or len(thumbnail) > LARGEST_BYTES:
            smaller = picture.convert("RGB")
            smaller.thumbnail((LARGEST_SIDE_PX, LARGEST_SIDE_PX))
            buffer = io.BytesIO()
            smaller.save(buffer, "WEBP", quality=78, method=4)
            thumbnail = buffer.getvalue()
    mime = next((name for start, name in _TYPES.items() if thumbnail.startswith(start)), "image/webp")
    return f"data:{mime};base64,{base64.b64encode(thumbnail).decode()}", side < PIXELATED_BELOW_PX


def _answers(facts: ReportFacts, predictions: Predictions) -> list[Picture]:
    if not len(predictions):
        return []
    rows = pc.index_in(predictions.ids, value_set=facts.manifest.ids).to_numpy(zero_copy_only=False)
    probabilities: Sequence[float] = predictions.probabilities.max(axis=1)
    names = [predictions.classes[k] for k in predictions.predicted]
    return [
        _picture(facts, int(row), name, percent(float(probability)))
        for row, name, probability in zip(rows, names, probabilities, strict=True)
    ]


def _picture(facts: ReportFacts, row: int, predicted: str | None, probability: str | None) -> Picture:
    manifest = facts.manifest
    try:
        uri, coarse = data_uri(facts.thumbnails(row))
    except UnreadableImageError:
        uri, coarse = None, False
    true = label_names(manifest, row) if manifest.task == "multi" else manifest.classes[int(manifest.targets[row])]
    return Picture(uri, coarse, true, predicted, probability, manifest.ids[row].as_py())
