"""Features for a review: of a run's images, for neighbours, and of new images, for the order in which to label them.

Those of a frozen backbone are in the cache since training; those of any other network are computed here, once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from linnaeus.analysis.copies import find_copies
from linnaeus.bundle import Bundle
from linnaeus.config.resolved import ResolvedConfig
from linnaeus.data.appearance import image_sizes
from linnaeus.data.cache.images import open_cache
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import TEST, TRAIN, UNASSIGNED, VALIDATION, Manifest
from linnaeus.data.sources.folder import walk_images
from linnaeus.errors import DataNotFoundError, NoImagesError
from linnaeus.models import MODELS, Classifier, build_classifier
from linnaeus.progress import SILENT, Progress
from linnaeus.review.decisions import Decisions
from linnaeus.review.neighbours import find_neighbours
from linnaeus.review.queues import Queue, contradictions
from linnaeus.review.selection import most_informative
from linnaeus.review.session import Session, train_command
from linnaeus.run_folder import RunDir
from linnaeus.training.features import extract_features
from linnaeus.training.phases import on_features
from linnaeus.training.runtime import Runtime

_NUM_SIZES = 20
Features = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]


def prepare_run(session: Session, config: ResolvedConfig, runtime: Runtime) -> None:
    """What a review of a run does while the page is open: seeks copies with different labels, then neighbours.

    Raises OutputError where the cache cannot be written.
    """
    manifest, spec = session.manifest, session.bundle.image_spec
    session.preparing = "Looking for copies"
    cache = open_cache(manifest, spec, threads=config.runtime.threads, progress=session.progress)
    copies = contradictions(manifest, find_copies(cache, source_px=_usual_side(manifest)))
    if len(copies.rows):
        session.queues.insert(1, copies)
    session.preparing = "Looking for neighbours"
    store = ImageStore(cache, manifest, runtime.device)
    classifier = _frozen(config, manifest, session.bundle) or session.bundle.classifier
    extract = functools.partial(
        _extract,
        classifier,
        store,
        config=config,
        bundle=session.bundle,
        runtime=runtime,
        progress=session.progress,
    )
    learned = _training_features(extract, manifest)
    others = np.flatnonzero(np.isin(manifest.splits, (TEST, UNASSIGNED)) & cache.readable)
    rest = extract(others, np.zeros(0, np.int64)) if len(others) else learned
    apart = np.isin(np.arange(len(manifest)), others)
    session.neighbours = find_neighbours(
        learned,
        manifest.rows_of(TRAIN, VALIDATION),
        feature_of=lambda row: rest[row] if apart[row] else learned[row],
        labels_of=session.given,
        same_rows=True,
        seed=config.seed,
    )


def open_folder(
    folder: Path,
    run: RunDir,
    config: ResolvedConfig,
    reviewed: Session,
    *,
    runtime: Runtime,
    progress: Progress = SILENT,
) -> tuple[Session, Features]:
    """The session of a folder of new images, the most informative first for the run's model, and their features.

    Raises DataNotFoundError if there is no such folder, NoImagesError if no image in it can be read.
    """
    bundle, known = reviewed.bundle, reviewed.manifest
    found = _read_folder(folder, known)
    cache = open_cache(found, bundle.image_spec, threads=config.runtime.threads, progress=progress)
    rows = np.flatnonzero(cache.readable)
    if not len(rows):
        raise NoImagesError(f"None of the {len(found):,} images in {folder} can be read.")
    store = ImageStore(cache, found, runtime.device)
    none = np.zeros(0, np.int64)
    features = _extract(
        bundle.classifier, store, rows, none, config=config, bundle=bundle, runtime=runtime, progress=progress
    )
    probabilities = np.full((len(found), len(bundle.classes)), np.nan, np.float32)
    probabilities[rows] = _answers(bundle, features[rows])
    order = rows[
        most_informative(
            features[rows].astype(np.float32),
            probabilities[rows],
            several=bundle.thresholds is not None,
            seed=config.seed,
        )
    ]
    hint = "The most informative images for training: uncertain and diverse."
    session = Session(
        title=folder.name,
        manifest=found,
        probabilities=probabilities,
        issues=reviewed.issues.iloc[:0],
        queues=[Queue("Most informative", hint, order)],
        decisions=Decisions(run.new_labels, found.task),
        bundle=bundle,
        labelled=False,
        reference=known,
        command=train_command(run, config, run.new_labels),
    )
    session.preparing = "Looking for neighbours"
    return session, features


def prepare_folder(
    session: Session, reviewed: Session, config: ResolvedConfig, runtime: Runtime, *, features: Features
) -> None:
    """Neighbours of new images, given their features, among the run's training images, by the run's own model."""
    known = reviewed.manifest
    cache = open_cache(known, session.bundle.image_spec, threads=config.runtime.threads, progress=session.progress)
    store = ImageStore(cache, known, runtime.device)
    extract = functools.partial(
        _extract,
        session.bundle.classifier,
        store,
        config=config,
        bundle=session.bundle,
        runtime=runtime,
        progress=session.progress,
    )
    learned = _training_features(extract, known)
    session.neighbours = find_neighbours(
        learned,
        known.rows_of(TRAIN, VALIDATION),
        feature_of=lambda row: features[row],
        labels_of=reviewed.given,
        same_rows=False,
        seed=config.seed,
    )


def _extract(
    classifier: Classifier,
    store: ImageStore,
    train_rows: Rows,
    other_rows: Rows,
    *,
    config: ResolvedConfig,
    bundle: Bundle,
    runtime: Runtime,
    progress: Progress = SILENT,
) -> Features:
    """float16 [N, D]; rows that were not asked for are zero."""
    kept = extract_features(
        classifier.to(runtime.device),
        store,
        train_rows=train_rows,
        other_rows=other_rows,
        spec=bundle.image_spec,
        autocast=runtime.fabric.autocast,
        batch_size=config.evaluate.batch_size,
        progress=progress,
    )
    values: Features = kept.values[0]
    return values


def _training_features(extract: Callable[[Rows, Rows], Features], manifest: Manifest) -> Features:
    """Asked for exactly as training does, so that what it computed is found in the cache."""
    return extract(manifest.rows(TRAIN), manifest.rows(VALIDATION))


def _frozen(config: ResolvedConfig, manifest: Manifest, bundle: Bundle) -> Classifier | None:
    """The backbone as it was before any fine-tuning, whose features training has computed; None without one."""
    phase = next((phase for phase in config.phases if on_features(config, phase)), None)
    weights = Path(config.model.weights)
    if phase is None or phase.feature_views > 1 or config.model.name in MODELS or not weights.is_file():
        return None
    from linnaeus.models.weights import load_pretrained  # takes seconds: timm

    classifier = build_classifier(
        config.model.name,
        num_classes=manifest.num_classes,
        image_size=bundle.image_spec.height,
        options=dict(config.model.options),
        head=config.model.head.model_dump(exclude_defaults=True),
        features=config.model.features,
    )
    load_pretrained(classifier.backbone, name=config.model.name, weights=str(weights), allow_download=False)
    return classifier


@torch.inference_mode()
def _answers(bundle: Bundle, features: Features) -> npt.NDArray[np.float32]:
    device = next(bundle.classifier.parameters()).device
    logits = bundle.classifier.eval().logits(torch.from_numpy(features.astype(np.float32)).to(device)).float()
    logits = logits / torch.tensor(bundle.temperature, device=logits.device)
    found = logits.sigmoid() if bundle.thresholds is not None else logits.softmax(dim=1)
    return np.asarray(found.cpu().numpy(), np.float32)


def _read_folder(folder: Path, like: Manifest) -> Manifest:
    """The images in a folder, all without labels, with the classes of the run."""
    if not folder.is_dir():
        raise DataNotFoundError(f"There is no folder {folder}.")
    root = folder.absolute()
    names = [name for name in walk_images(root) if _is_text(name)]
    if not names:
        raise NoImagesError(f"There are no images in {folder}.")
    paths = pa.array([str(root / name) for name in names], pa.large_string())
    shape = (len(names),) if like.task == "single" else (len(names), like.num_classes)
    return Manifest(
        ids=paths,
        uris=paths,
        targets=np.zeros(shape, like.targets.dtype),
        splits=np.full(len(names), UNASSIGNED, np.int8),
        classes=like.classes,
        task=like.task,
    )


def _is_text(name: str) -> bool:
    return name.isprintable() and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _usual_side(manifest: Manifest) -> int:
    """The shorter side in pixels that images usually have in their files, from a few of them."""
    rows = np.linspace(0, len(manifest) - 1, min(_NUM_SIZES, len(manifest))).round().astype(np.int64)
    sides = image_sizes(manifest, rows).min(axis=1)
    return int(np.median(sides[sides > 0])) if sides.any() else 0
