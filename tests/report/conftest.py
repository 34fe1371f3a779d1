"""Small but whole facts for the page, made without files."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from tests.settled import settled

from linnaeus.config.settings import EvaluateConfig
from linnaeus.data.manifest import Manifest, manifest_from_columns
from linnaeus.judging.evaluation import Seconds
from linnaeus.judging.judge import Settled, Submission, judge
from linnaeus.judging.operating_point import Chosen
from linnaeus.predictions import Predictions
from linnaeus.report.facts import ReportFacts

FEW_RESAMPLES = EvaluateConfig(bootstrap_samples=100)
# Of each image: whether it has sky, tree, cat; what was predicted. The test images are those below.
TRUE = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.uint8)
PREDICTED = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.uint8)


def tiny_picture(row: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (row % 256, 90, 120)).save(file, "PNG")
    return file.getvalue()


def make_history(num_epochs: int, phases: tuple[str, ...] = ("scratch",)) -> pd.DataFrame:
    epochs = np.arange(1, num_epochs + 1)
    falling = 2.0 / epochs
    return pd.DataFrame(
        {
            "epoch": epochs,
            "phase": [phases[k * len(phases) // num_epochs] for k in range(num_epochs)],
            "train_loss": falling,
            "train_accuracy": 1 - falling / 3,
            "validation_loss": falling + 0.1 * (epochs > 3) * epochs,
            "validation_accuracy": 1 - falling / 2.5,
            "validation_balanced_accuracy": 1 - falling / 2.4,
            "images_per_second": 300.0,
        }
    )


@pytest.fixture
def make_facts() -> Callable[..., ReportFacts]:
    """A builder: `make(classes, accuracy=..., per_class=..., num_groups=..., **fields of ReportFacts)`.

    A third of the images each is for training, validation and test; the judge judges about `accuracy` of them right.
    """

    def make(
        classes=("ant", "bee", "cow"), *, accuracy=0.7, per_class=24, num_groups=None, prefix="", **fields
    ) -> ReportFacts:
        num_classes = len(classes)
        targets = np.repeat(np.arange(num_classes), per_class)
        splits = np.tile(np.arange(per_class) % 3, num_classes)
        manifest = manifest_from_columns(
            [f"{prefix}{row}.png" for row in range(len(targets))],
            [f"/nowhere/{row}.png" for row in range(len(targets))],
            [classes[k] for k in targets],
            splits=splits.tolist(),
            classes=classes,
            skipped={"no image": 2, "hidden": 0},
        )
        rows = np.flatnonzero(splits > 0)
        right = np.random.default_rng(3).random(len(rows)) < accuracy
        predicted = np.where(right, targets[rows], (targets[rows] + 1 + rows % (num_classes - 1)) % num_classes)
        logits = np.eye(num_classes, dtype=np.float32)[predicted] * (1 + rows[:, None] / len(targets))
        predictions = Predictions(
            manifest.ids.take(pa.array(rows)),
            logits.astype(np.float32),
            targets[rows],
            manifest.classes,
            manifest.splits[rows],
            manifest.fingerprint,
        )
        groups = None if num_groups is None else np.arange(len(rows)) // 2 % num_groups
        found = judge(Submission(predictions, groups=groups), FEW_RESAMPLES, seed=0)
        seconds = Seconds(prepare=0.4, train=72.0, total=72.4)
        values = {
            "title": "animals",
            "config": settled({"phases": [{"epochs": 5}]}),
            "manifest": manifest,
            "predictions": found.predictions,
            "evaluation": found.evaluation.model_copy(update={"seconds": seconds}),
            "history": make_history(5),
            "decisions": [("model", "speed_cnn", "small images")],
            "environment": {"device": "CPU"},
            "thumbnails": tiny_picture,
            "problems": [("broken.png", "truncated")],
            "num_parameters": 404_778,
        }
        return ReportFacts(**{**values, **fields})

    return make


@pytest.fixture
def make_label_facts() -> Callable[..., ReportFacts]:
    """A builder: `make(classes, **fields of ReportFacts)`, for three labels."""

    def build(classes: tuple[str, ...] = ("sky", "tree", "cat"), **fields: Any) -> ReportFacts:
        targets = np.concatenate([TRUE, TRUE, TRUE])
        splits = np.repeat(np.array([0, 1, 2], np.int8), len(TRUE))
        ids = pa.array([f"{row}.png" for row in range(len(targets))], pa.large_string())
        manifest = Manifest(ids, ids, targets, splits, classes, task="multi")
        logits = np.where(np.concatenate([PREDICTED] * 3) > 0, 2.0, -2.0).astype(np.float32)
        logits[-5, 2] = 4.0  # the surest mistake: image 13 has no cat
        predictions = Predictions(ids, logits, targets, classes, splits, manifest.fingerprint)
        half = Settled(1.0, Chosen("f1", None, (0.5, 0.5, 0.5), ()))
        evaluation = judge(Submission(predictions, settled=half), FEW_RESAMPLES, seed=0).evaluation
        values: dict[str, Any] = {
            "title": "hills",
            "config": settled({"phases": [{"monitor": "validation_mean_average_precision"}]}),
            "manifest": manifest,
            "predictions": predictions,
            "evaluation": evaluation.model_copy(update={"seconds": Seconds(train=2.0, total=3.0)}),
            "history": pd.DataFrame(
                {
                    "epoch": [1, 2],
                    "phase": "scratch",
                    "train_loss": [0.7, 0.5],
                    "validation_loss": [0.7, 0.6],
                    "validation_micro_f1": [0.3, 0.6],
                    "validation_mean_average_precision": [0.4, 0.55],
                }
            ),
            "decisions": [("loss", "bce", "several labels")],
            "environment": {"device": "CPU"},
            "thumbnails": tiny_picture,
            "problems": [],
            "num_parameters": 7,
        }
        return ReportFacts(**{**values, **fields})

    return build
