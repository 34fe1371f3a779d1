"""Predictions: what a model thinks of a manifest's rows. The second of the two tables.

Metrics, calibration, thresholds, label issues, galleries and the report are functions of a Manifest and a Predictions;
nothing in them knows how the logits came about. `predict` fills one from a classifier.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from scipy.special import expit, logit, softmax
from torch import nn

from linnaeus.atomic import write_whole
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import Batch
from linnaeus.data.manifest import Manifest, Task
from linnaeus.errors import DataError
from linnaeus.metrics.operating_point import OperatingPoint, decide
from linnaeus.models.classifier import Classifier

_T = TypeVar("_T", bound=np.generic)
TTA = Literal["none", "flip", "flip_shift"]
Temperature = float | tuple[float, ...]
"""Of all logits, or of each label's where images have several."""
_LEAST_PROBABILITY = 1e-12
NUM_TTA_VIEWS: dict[TTA, int] = {"none": 1, "flip": 2, "flip_shift": 6}


@dataclass(frozen=True)
class Predictions:
    """Logits of N samples.

    Attributes:
        ids: names of the samples, as in the manifest.
        logits: float32 [N, K].
        targets: int64 [N] or uint8 [N, K], copied from the manifest.
        classes: K names.
        splits: int8 [N], positions in SPLITS.
        manifest_fingerprint: of the manifest that the ids belong to.
        temperature: logits are divided by it before they become probabilities.
        operating_point: how probabilities become one answer; None for the most probable class, and for several labels.
        features: float16 [N, D], what the head saw of each image, if it was kept; never saved.
        ood_distances: float32 [N], distance of each image's features from those of training images; None where the
            model has no detector.
    """

    ids: pa.LargeStringArray
    logits: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    classes: tuple[str, ...]
    splits: npt.NDArray[np.int8]
    manifest_fingerprint: str
    temperature: Temperature = 1.0
    operating_point: OperatingPoint | None = None
    features: npt.NDArray[np.float16] | None = None
    ood_distances: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def task(self) -> Task:
        """ "single" for one label per image, "multi" for several."""
        return "multi" if self.targets.ndim == 2 else "single"

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """float64 [N, K]: softmax of logits over temperature, or for several labels the sigmoid of each."""
        return probabilities_of(self.logits, task=self.task, temperature=self.temperature)

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """int64 [N]: the answer, for one label per image: the most probable class, or what the operating point says."""
        assert self.task == "single", "several labels are given by thresholds: given_labels"
        if self.operating_point is None:
            return np.asarray(self.logits.argmax(axis=1), np.int64)
        return decide(self.probabilities, self.operating_point)

    def given_labels(self, thresholds: npt.NDArray[np.float64] | float = 0.5) -> npt.NDArray[np.uint8]:
        """uint8 [N, K]: 1 for every label whose probability reaches its threshold (float64 [K], or one for all)."""
        return (self.probabilities >= thresholds).astype(np.uint8)

    def of_split(self, split: int) -> Predictions:
        """Those of one split."""
        return self.take(np.flatnonzero(self.splits == split))

    def take(self, rows: npt.NDArray[np.int64]) -> Predictions:
        """Those of these rows, in this order."""
        return replace(
            self,
            ids=self.ids.take(pa.array(rows)),
            logits=self.logits[rows],
            targets=self.targets[rows],
            splits=self.splits[rows],
            features=None if self.features is None else self.features[rows],
            ood_distances=None if self.ood_distances is None else self.ood_distances[rows],
        )

    def save(self, path: Path) -> None:
        """Write one Parquet file, whole or not at all."""
        multi = self.targets.ndim == 2
        flat_logits = pa.array(self.logits.reshape(-1))
        columns = {
            "id": self.ids,
            "split": pa.array(self.splits),
            "target": pa.FixedSizeListArray.from_arrays(pa.array(self.targets.reshape(-1)), len(self.classes))
            if multi
            else pa.array(self.targets),
            "logits": pa.FixedSizeListArray.from_arrays(flat_logits, len(self.classes)),
        }
        if self.ood_distances is not None:
            columns["ood_distance"] = pa.array(self.ood_distances)
        facts = {"format": 1, "classes": self.classes, "manifest": self.manifest_fingerprint, "multi": multi}
        facts |= {"temperature": self.temperature}
        if self.operating_point is not None:
            facts["operating_point"] = asdict(self.operating_point)
        table = pa.table(columns).replace_schema_metadata({"linnaeus": json.dumps(facts, ensure_ascii=False)})
        write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))

    @staticmethod
    def load(path: Path) -> Predictions:
        """Read what `save` wrote; raises DataError if the file is damaged or something else."""
        try:
            table = pq.read_table(path)
            facts = json.loads((table.schema.metadata or {})[b"linnaeus"])
            classes = tuple(facts["classes"])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise DataError(f"{path} does not hold predictions that Linnaeus wrote: {error}") from error

        def matrix(name: str) -> np.ndarray:
            flat = np.asarray(table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False))
            return flat.reshape(-1, len(classes))

        targets = matrix("target") if facts["multi"] else table["target"].to_numpy()
        ids = table["id"].combine_chunks().cast(pa.large_string())
        temperature = facts.get("temperature", 1.0)
        return Predictions(
            ids,
            matrix("logits"),
            targets,
            classes,
            table["split"].to_numpy(),
            facts["manifest"],
            temperature=tuple(temperature) if isinstance(temperature, list) else temperature,
            operating_point=_point_from(facts.get("operating_point")),
            ood_distances=table["ood_distance"].to_numpy() if "ood_distance" in table.column_names else None,
        )


def _point_from(facts: dict[str, Any] | None) -> OperatingPoint | None:
    if facts is None:
        return None
    if facts["weights"] is not None:
        return OperatingPoint(weights=tuple(facts["weights"]))
    return OperatingPoint(costs=tuple(tuple(row) for row in facts["costs"]))


def probabilities_of(
    logits: npt.NDArray[np.floating], *, task: Task, temperature: Temperature
) -> npt.NDArray[np.float64]:
    """float64 [N, K] from logits [N, K]: softmax of logits over temperature, or for several labels their sigmoids."""
    scaled = logits.astype(np.float64) / np.asarray(temperature, np.float64)
    return np.asarray(expit(scaled) if task == "multi" else softmax(scaled, axis=1), np.float64)


def predictions_of(manifest: Manifest, rows: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> Predictions:
    """Predictions of a manifest's rows from their logits [len(rows), K]."""
    return Predictions(
        ids=manifest.ids.take(pa.array(rows)),
        logits=logits,
        targets=manifest.targets[rows],
        classes=manifest.classes,
        splits=manifest.splits[rows],
        manifest_fingerprint=manifest.fingerprint,
    )


def groups_of(predictions: Predictions, manifest: Manifest) -> npt.NDArray[np.int64] | None:
    """int64 [N]: the group that the manifest says each image belongs to; None where each is its own."""
    if manifest.groups is None:
        return None
    return np.asarray(manifest.groups[rows_of(predictions, manifest)], np.int64)


def rows_of(predictions: Predictions, manifest: Manifest) -> npt.NDArray[np.int64]:
    """int64 [N]: the row of each prediction in its manifest. Raises DataError if an id is not there."""
    found = pc.index_in(predictions.ids, value_set=manifest.ids)
    if found.null_count:
        missing = predictions.ids[pc.index(pc.is_null(found), True).as_py()].as_py()
        raise DataError(f"The predictions speak of {missing}, which is not in the manifest.")
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def concatenate_predictions(first: Predictions, second: Predictions) -> Predictions:
    """The rows of both, which belong to the same manifest."""
    assert first.manifest_fingerprint == second.manifest_fingerprint
    return replace(
        first,
        ids=pa.concat_arrays([first.ids, second.ids]),
        logits=np.concatenate([first.logits, second.logits]),
        targets=np.concatenate([first.targets, second.targets]),
        splits=np.concatenate([first.splits, second.splits]),
        features=_joined(first.features, second.features),
        ood_distances=_joined(first.ood_distances, second.ood_distances),
    )


def _joined(first: npt.NDArray[_T] | None, second: npt.NDArray[_T] | None) -> npt.NDArray[_T] | None:
    return None if first is None or second is None else np.concatenate([first, second])


def mean_predictions(members: Sequence[Predictions], weights: Sequence[float]) -> Predictions:
    """What models answer together: the weighted mean of their probabilities, as logits at temperature 1.

    Args:
        members: of the same images and classes in the same order, each at its own temperature; at least one.
        weights: of each in the mean, 0 or more, not all 0.

    Returns the first one's rows, without features, distances or operating point. A single member that is at temperature
    1 keeps its logits.
    """
    first = replace(members[0], temperature=1.0, operating_point=None, features=None, ood_distances=None)
    if len(members) == 1 and members[0].temperature == 1.0:
        return first
    total = float(sum(weights))
    mean = np.sum([w / total * each.probabilities for w, each in zip(weights, members, strict=True)], axis=0)
    mean = np.clip(mean, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    logits = logit(mean) if first.task == "multi" else np.log(mean)
    return replace(first, logits=logits.astype(np.float32))


def view_logits(
    classifier: nn.Module, images: torch.Tensor, *, tta: TTA, straight: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits float32 [B, K] averaged over views of normalized images float [B, 3, H, W].

    "flip" averages the image and its mirror image. "flip_shift" gives half the weight to that and half to both
    shifted by one pixel up-left and down-right over a reflected border (arXiv 2404.00498, section 3.5). `straight` are
    the logits of the images as they are, where they are known already.
    """
    straight = (classifier(images) if straight is None else straight).float()
    if tta == "none":
        return straight
    mirrored: torch.Tensor = classifier(images.flip(-1)).float()
    upright = (straight + mirrored) / 2
    if tta == "flip":
        return upright
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    shifted = torch.zeros_like(upright)
    for offset in (0, 2):
        view = padded[:, :, offset : offset + height, offset : offset + width]
        view = view.contiguous(memory_format=torch.channels_last)
        shifted += view_logits(classifier, view, tta="flip") / 2
    return (upright + shifted) / 2


@torch.inference_mode()
def predict(
    classifier: nn.Module,
    batches: Iterable[Batch],
    manifest: Manifest,
    *,
    spec: ImageSpec | None,
    tta: TTA,
    keep_features: bool = False,
) -> Predictions:
    """Run a classifier in evaluation mode over batches of a manifest's rows; the training flag is put back afterwards.

    Without `spec` the batches hold features, and `classifier` is a head. With `keep_features` it is a Classifier, and
    the features of the unchanged images are kept.

    The caller opens the autocast context, if any.
    """
    was_training = classifier.training
    classifier.eval()
    rows, logits, features = [], [], []
    for batch in batches:
        images = batch.images
        if spec is not None:
            images = spec.normalize(images).contiguous(memory_format=torch.channels_last)
        straight = None
        if keep_features:
            assert isinstance(classifier, Classifier)
            own = classifier.features(images)
            straight = classifier.logits(own)
            features.append(short_features(own))
        logits.append(view_logits(classifier, images, tta=tta, straight=straight).cpu())
        rows.append(batch.rows.cpu())
    classifier.train(was_training)
    found = predictions_of(manifest, torch.cat(rows).numpy(), torch.cat(logits).numpy().astype(np.float32))
    return replace(found, features=np.concatenate(features)) if keep_features else found


def short_features(features: torch.Tensor) -> npt.NDArray[np.float16]:
    """float16 [B, D] of features [B, ...], kept within what float16 can hold."""
    flat = features.float().flatten(1).clamp(-65504.0, 65504.0)
    return flat.half().cpu().numpy()
