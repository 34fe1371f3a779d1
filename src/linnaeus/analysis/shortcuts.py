"""Shortcuts: a property of the file or of the whole picture that alone predicts the label.

Where all cats are 640 px wide and all dogs 800, or all sick patients were scanned as PNG, a model learns the width or
the format, and fails on the next camera. A shallow decision tree on one property, cross-validated, tells how far that
property goes beyond always answering the most frequent class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from linnaeus.analysis.audit_types import Shortcut
from linnaeus.analysis.health import Health
from linnaeus.data.manifest import Manifest

NOTEWORTHY = 0.25
"""Fraction of the majority's mistakes that a property alone must mend. Brightness alone mends 5 % on CIFAR-10."""
FEWEST_IMAGES, MOST_IMAGES, FEWEST_OF_CLASS, NUM_FOLDS, TREE_DEPTH = 40, 20_000, 10, 5, 4

_Labels = npt.NDArray[np.int64]


def find_shortcuts(manifest: Manifest, health: Health, *, seed: int) -> list[Shortcut]:
    """Properties that predict the label, the strongest first."""
    rows = np.flatnonzero(health.readable)
    if len(rows) > MOST_IMAGES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_IMAGES, replace=False))
    questions: list[tuple[str | None, _Labels]] = [(None, manifest.targets[rows].astype(np.int64))]
    if manifest.task == "multi":
        questions = [(name, manifest.targets[rows, k].astype(np.int64)) for k, name in enumerate(manifest.classes)]
    found = []
    for name, values in _properties(health, rows).items():
        for label, targets in questions:
            predicted = _predict(values, targets, seed=seed)
            if predicted is None:
                continue
            accuracy, baseline = predicted
            error_reduction = round((accuracy - baseline) / (1 - baseline), 4)
            if error_reduction >= NOTEWORTHY:
                found.append(
                    Shortcut(
                        property=name,
                        label=label,
                        accuracy=round(accuracy, 4),
                        baseline=round(baseline, 4),
                        error_reduction=error_reduction,
                    )
                )
    return sorted(found, key=lambda shortcut: -shortcut.error_reduction)


def _properties(health: Health, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """Values per row of every property that varies at all."""
    width, height = health.sizes[rows].astype(np.float64).T

    def codes(names: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
        return np.unique(names.astype(str), return_inverse=True)[1].reshape(-1).astype(np.float64)

    properties = {
        "width": width,
        "height": height,
        "aspect ratio": width / np.maximum(height, 1),
        "file format": codes(health.formats[rows]),
        "colour mode": codes(health.modes[rows]),
        "file size": health.num_bytes[rows].astype(np.float64),
        "brightness": np.nan_to_num(health.brightness[rows].astype(np.float64)),
    }
    return {name: values for name, values in properties.items() if len(values) and np.ptp(values) > 0}


def _predict(values: npt.NDArray[np.float64], targets: _Labels, *, seed: int) -> tuple[float, float] | None:
    """Cross-validated accuracy of a shallow tree on one property, and that of always answering the most frequent class;
    None where there are too few images to say.
    """
    counts = np.bincount(targets)
    large = np.isin(targets, np.flatnonzero(counts >= FEWEST_OF_CLASS))
    values, targets = values[large], targets[large]
    if len(targets) < FEWEST_IMAGES or len(np.unique(targets)) < 2:
        return None
    baseline = float(np.bincount(targets).max() / len(targets))
    tree = DecisionTreeClassifier(max_depth=TREE_DEPTH, min_samples_leaf=5, random_state=seed)
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    right = 0
    for learnt, asked in folds.split(values[:, None], targets):
        tree.fit(values[learnt, None], targets[learnt])
        right += int((tree.predict(values[asked, None]) == targets[asked]).sum())
    return right / len(targets), baseline
