"""Prediction: a bundle and new images in, a table of labels out.

The last step in the life of an image: bundle -> PREDICT. Images are decoded by the same function as in training, fitted
and normalized by the bundle's ImageSpec and seen in the bundle's views. An image that cannot be read is a row with its
error; it is never replaced by another and never stops the rest. Knows nothing of manifests, training or commands.
"""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from linnaeus.bundle import Bundle
from linnaeus.data.images.decode import PILLOW_RULES, read_image
from linnaeus.data.sources.folder import walk_images
from linnaeus.errors import ConfigError, DataError, UnreadableImageError
from linnaeus.machine import choose_device, choose_precision
from linnaeus.metrics.conformal import prediction_sets as sets_of
from linnaeus.metrics.operating_point import decide, ranked_answers
from linnaeus.models.classifier import Classifier
from linnaeus.models.folding import folded
from linnaeus.predictions import short_features, view_logits
from linnaeus.progress import SILENT, Progress

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Batch:
    """Consecutive files; `pixels` uint8 [R, H, W, 3], one for each member of an ensemble, are of those that could be
    read, at the places `read`.
    """

    paths: list[Path]
    errors: list[str]
    read: list[int]
    pixels: list[Pixels]


class Predictor:
    """Answers what images show.

    Args:
        bundle: the model; its classifier is moved to the device, and a copy with its batch norms folded answers.
        device: "cpu", "cuda", "mps", or "auto" for the fastest there is.
        batch_size: images per forward pass; bounds the memory together with the image size.
        precision: "32", "bf16" (autocast), or "auto" for bfloat16 where the hardware computes in it, as in training.

    Raises DeviceError if there is no such device.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu", batch_size: int = 64, precision: str = "auto") -> None:
        if batch_size < 1:
            raise ConfigError(f"The batch size must be 1 at least, not {batch_size}.")
        self.bundle = bundle
        self.device = torch.device(choose_device(device))
        self._in_bfloat16 = choose_precision(precision, self.device.type)[0] == "bf16"
        self.batch_size = batch_size
        self._members = bundle.members or (bundle,)
        self._networks = [
            folded(
                member.classifier.to(self.device).eval(),
                height=member.image_spec.height,
                width=member.image_spec.width,
            )
            for member in self._members
        ]

    def predict(
        self,
        paths: Sequence[str | Path] | str | Path,
        *,
        top_k: int = 1,
        all_probabilities: bool = False,
        prediction_sets: bool = False,
        progress: Progress = SILENT,
    ) -> pd.DataFrame:
        """Classify files, everything in folders, and globs (see `expand_paths`).

        Returns one row per file, in order: `path` as given, `label` and `probability` (0-1) of the most likely class
        (or of the answer that the bundle's operating point gives), `error` (empty if all is well; else label and
        probability are missing), and for `top_k` > 1 also `label_2`, `probability_2` and so on, as far as there are
        classes. Where an image may have several labels, `labels` after the path is the list of those that reach their
        thresholds, in the order of the classes, and `num_labels` their number: an empty list and 0 for an image that is
        given none, missing for a file that cannot be read. `all_probabilities` adds a column `probability:NAME` for
        every class; `prediction_sets` a column `prediction_set` of the classes in the prediction set, the most probable
        first. `ood` (out of distribution) says which images look unlike those of training, where the bundle knows.
        Raises ConfigError for `top_k` < 1, and for `prediction_sets` where the bundle has none.
        """
        if top_k < 1:
            raise ConfigError(f"The number of classes to list must be 1 at least, not {top_k}.")
        if prediction_sets and self.bundle.sets is None:
            raise ConfigError("This model has no prediction sets: it had no validation images to calibrate them on.")
        files = expand_paths([paths] if isinstance(paths, (str, Path)) else paths)
        num_classes = len(self.bundle.classes)
        num_shown = min(top_k, num_classes)
        best = np.zeros((len(files), num_shown), np.int64)
        shown = np.full((len(files), num_shown), np.nan)
        given = None if self.bundle.thresholds is None else np.zeros((len(files), num_classes), np.bool_)
        every = np.full((len(files), num_classes), np.nan) if all_probabilities else None
        flagged = None if self.bundle.ood is None else np.zeros(len(files), np.bool_)
        members = np.zeros((len(files), num_classes), np.bool_) if prediction_sets else None
        order = np.zeros((len(files), num_classes), np.int64) if prediction_sets else None
        errors: list[str] = []
        with progress.task("Predicting", total=len(files), unit="images") as task:
            for batch in self._batches(files):
                if batch.read:
                    rows = len(errors) + np.array(batch.read)
                    probabilities, ood = self._answers(batch.pixels)
                    best[rows] = ranked_answers(probabilities, self.bundle.operating_point)[:, :num_shown]
                    shown[rows] = np.take_along_axis(probabilities, best[rows], axis=1)
                    if given is not None:
                        given[rows] = self.given_labels(probabilities)
                    if every is not None:
                        every[rows] = probabilities
                    if flagged is not None:
                        flagged[rows] = ood
                    if members is not None and order is not None and self.bundle.sets is not None:
                        members[rows] = sets_of(probabilities, self.bundle.sets)
                        order[rows] = np.argsort(-probabilities, axis=1, kind="stable")
                errors += batch.errors
                task.advance(len(batch.paths))
        table = _table(files, errors, best, shown, self.bundle.classes, given=given, every=every)
        failed = np.array([bool(error) for error in errors], np.bool_)
        if members is not None and order is not None:
            names = np.array(self.bundle.classes, dtype=object)
            lists = [names[o[m[o]]].tolist() for o, m in zip(order, members, strict=True)]
            table["prediction_set"] = pd.Series(lists, dtype=object).mask(pd.Series(failed), None)
        if flagged is not None:
            table["ood"] = pd.Series(flagged, dtype="boolean").mask(pd.Series(failed))
        return table

    def fit(self, image: Pixels) -> list[Pixels]:
        """The image uint8 RGB [h, w, 3] as the model sees it, or as each member of an ensemble does."""
        return [member.image_spec.fit(image) for member in self._members]

    def probabilities(self, *images: Pixels) -> npt.NDArray[np.float64]:
        """uint8 [B, H, W, 3], fitted (for an ensemble: to each member, in turn) -> float64 [B, K] in 0-1.

        Rows sum to 1 for one label per image; where there may be several, each label has a probability of its own. One
        array is enough for an ensemble whose members fit images alike.
        """
        return self._answers(images)[0]

    def _answers(self, images: Sequence[Pixels]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_] | None]:
        """`probabilities`, and bool [B], which images are out of distribution, by the features of the first member;
        None where that is not known.
        """
        if len(images) == 1:
            images = list(images) * len(self._members)
        total = sum(member.weight for member in self._members)
        parts, seen = [], []
        for member, network, pixels in zip(self._members, self._networks, images, strict=True):
            order = [member.classes.index(name) for name in self.bundle.classes]
            found, features = self._of_member(member, network, pixels)
            parts.append(member.weight / total * found[:, order])
            seen.append(features)
        known = self.bundle.ood
        ood = None if known is None else known.flag(seen[0])
        mean = np.asarray(np.sum(parts, axis=0), np.float64)
        return (self._tempered(mean) if self.bundle.members else mean), ood

    def _tempered(self, mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """An ensemble's mean probabilities at its own temperature, beside those of its members."""
        temperature = torch.tensor(self.bundle.temperature, dtype=torch.float64)
        if bool((temperature == 1).all()):
            return mean
        kept = torch.from_numpy(mean).clamp(1e-12, 1 - 1e-12)
        if self.bundle.task == "single":
            return (kept.log() / temperature).softmax(dim=1).numpy()
        return (kept.logit() / temperature).sigmoid().numpy()

    @torch.inference_mode()
    def _of_member(
        self, member: Bundle, network: Classifier, images: Pixels
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float16]]:
        """uint8 [B, H, W, 3], fitted by the member's ImageSpec -> float64 [B, K], in its own order of classes, and the
        features [B, D].
        """
        batch = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        normalized = member.image_spec.normalize(batch).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bfloat16):
            features = network.features(normalized)
            straight = network.logits(features)
            logits = view_logits(network, normalized, tta=member.tta, straight=straight).cpu()
        logits = logits.double() / torch.tensor(member.temperature, dtype=torch.float64)
        found = torch.softmax(logits, dim=1) if self.bundle.task == "single" else logits.sigmoid()
        return found.numpy(), short_features(features)

    def given_labels(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """float64 [B, K] of `probabilities` -> bool [B, K], the labels that each image is given.

        Those that reach their thresholds where there may be several, else the most likely one, or the answer of the
        operating point.
        """
        if self.bundle.thresholds is not None:
            return np.asarray(probabilities >= np.array(self.bundle.thresholds))
        return np.asarray(
            np.arange(probabilities.shape[1]) == decide(probabilities, self.bundle.operating_point)[:, None]
        )

    def _batches(self, files: list[Path]) -> Iterator[_Batch]:
        """Decode a batch ahead of the network, in threads; at most two batches are in memory."""
        ahead: deque[tuple[list[Path], list[Future[list[Pixels] | str]]]] = deque()
        pool = ThreadPoolExecutor(thread_name_prefix="decode")
        try:
            with PILLOW_RULES:
                for start in range(0, len(files), self.batch_size):
                    paths = files[start : start + self.batch_size]
                    ahead.append((paths, [pool.submit(self._decode, path) for path in paths]))
                    if len(ahead) > 1:
                        yield self._collect(*ahead.popleft())
                while ahead:
                    yield self._collect(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _collect(self, paths: list[Path], decoding: list[Future[list[Pixels] | str]]) -> _Batch:
        outcomes = [future.result() for future in decoding]
        fitted = [outcome for outcome in outcomes if not isinstance(outcome, str)]
        return _Batch(
            paths=paths,
            errors=[outcome if isinstance(outcome, str) else "" for outcome in outcomes],
            read=[place for place, outcome in enumerate(outcomes) if not isinstance(outcome, str)],
            pixels=[np.stack(of_member) for of_member in zip(*fitted, strict=True)],
        )

    def _decode(self, path: Path) -> list[Pixels] | str:
        """The fitted image, or why there is none."""
        try:
            if path.is_dir():
                return _why_no_images(path)
            if not path.exists():
                return "no such file"
            if not path.is_file():
                return "not a regular file"
            return self.fit(read_image(str(path)))
        except UnreadableImageError as error:
            return str(error).removeprefix(f"{path}: ")
        except OSError as error:
            return f"it cannot be reached ({error.strerror})"


def expand_paths(arguments: Iterable[str | Path]) -> list[Path]:
    """The files that a person names on a command line, in order.

    A file stands for itself, whatever its name. A folder stands for the images in it and in the folders below, sorted,
    without hidden files and litter, as in training data. What does not exist but has `*`, `?` or `[` in its name stands
    for the files it matches; `**` also reaches into folders. Anything else that does not exist, and a folder without
    images, stays in the list and becomes a row with an error.
    """
    return [path for argument in arguments for path in _expand(Path(argument))]


def _expand(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            return _images_in(path)
        if path.exists() or not glob.has_magic(str(path)):
            return [path]
    except OSError:  # no permission, or a name too long; its row will say so
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
    # `**` matches a folder and also what is in it
    return list(dict.fromkeys(file for match in matches for file in _expand(Path(match)))) or [path]


def _images_in(folder: Path) -> list[Path]:
    """The images in a folder; the folder itself, too, if a part of it cannot be read, or alone if there are none."""
    found: list[Path] = []
    try:
        for name in walk_images(folder):
            found.append(folder / name)
    except DataError:
        return [*found, folder]
    return found or [folder]


def _why_no_images(folder: Path) -> str:
    try:
        for _ in walk_images(folder):
            pass
    except DataError as error:
        return str(error)
    return "no images in this folder"


def _table(
    files: list[Path],
    errors: list[str],
    best: npt.NDArray[np.int64],
    shown: npt.NDArray[np.float64],
    classes: tuple[str, ...],
    *,
    given: npt.NDArray[np.bool_] | None,
    every: npt.NDArray[np.float64] | None,
) -> pd.DataFrame:
    """Positions `best` int64 [N, k] and their probabilities `shown` float64 [N, k] as columns; see `predict`.

    `given` [N, K]: the labels of each image where there may be several; `every` [N, K]: all probabilities, if asked.
    """
    failed = np.array([bool(error) for error in errors], np.bool_)
    names = np.array(classes, dtype=object)

    def label(rank: int) -> pd.Series[str]:
        return pd.Series(names[best[:, rank]], dtype="str").mask(failed)

    columns: dict[str, object] = {"path": pd.Series([_path_text(file) for file in files], dtype="str")}
    if given is not None:
        lists = [None if bad else names[row].tolist() for row, bad in zip(given, failed, strict=True)]
        columns["labels"] = pd.Series(lists, dtype=object)
        columns["num_labels"] = pd.Series(given.sum(axis=1), dtype="Int64").mask(failed)
    columns |= {"label": label(0), "probability": shown[:, 0], "error": pd.Series(errors, dtype="str")}
    for rank in range(1, best.shape[1]):
        columns |= {f"label_{rank + 1}": label(rank), f"probability_{rank + 1}": shown[:, rank]}
    if every is not None:
        columns |= {f"probability:{name}": every[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame(columns)


def _path_text(path: Path) -> str:
    r"""The path, with bytes that are no UTF-8 as `\xff`, so that it can be printed and written."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
