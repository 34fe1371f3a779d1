"""Which mistakes are explained, and by which training images."""

from typing import cast

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from linnaeus.analysis.errors import MOST_OF_A_KIND, choose_mistakes, explain_errors
from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.loader import ImageStore
from linnaeus.data.manifest import manifest_from_columns
from linnaeus.models import Classifier
from linnaeus.predictions import Predictions, predictions_of


def predictions(logits, targets) -> Predictions:
    targets = np.asarray(targets)
    num, classes = np.shape(logits)
    ids = pa.array([str(k) for k in range(num)], pa.large_string())
    names = tuple("abcdef"[:classes])
    return Predictions(ids, np.asarray(logits, np.float32), targets, names, np.full(num, 2, np.int8), "")


def test_the_surest_mistakes_come_first_and_one_kind_does_not_crowd_out_others():
    sure = [9, 8, 7, 6, 5]
    logits = [[0, s, 0] for s in sure] + [[0, 0, 1.0], [3.0, 0, 0]]
    found = choose_mistakes(predictions(logits, [0, 0, 0, 0, 0, 1, 0]), thresholds=None, at_most=4)
    assert [mistake.position for mistake in found] == [0, 1, 5]
    assert MOST_OF_A_KIND == 2
    assert [mistake.label for mistake in found] == [1, 1, 2]
    assert len(choose_mistakes(predictions(logits, [0] * 5 + [1, 0]), thresholds=None, at_most=1)) == 1


def test_of_several_labels_false_negatives_and_false_positives_are_told_apart_once_per_image():
    logits = [[4.0, -4.0], [-5.0, 6.0]]
    found = choose_mistakes(predictions(logits, np.array([[0, 1], [1, 1]], np.uint8)), thresholds=(0.5, 0.5), at_most=9)
    assert [(m.position, m.label, m.given) for m in found] == [(1, 0, False), (0, 0, True)]


class Means(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.look(images).mean(dim=(2, 3))


class Store:
    """What an ImageStore offers, over an array in memory."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def sample(self, rows):
        return self.pixels[torch.from_numpy(np.asarray(rows))]


def test_an_error_is_explained_by_heat_and_by_the_most_similar_training_images():
    colours = np.array([[255, 0, 0], [200, 60, 0], [0, 255, 0], [0, 0, 255], [250, 10, 0], [240, 0, 0]], np.uint8)
    pixels = np.zeros((6, 8, 8, 3), np.uint8)
    pixels[:, :4] = colours[:, None, None]
    splits = np.array([0, 0, 0, 0, 2, 0])
    manifest = manifest_from_columns(
        [f"{k}.png" for k in range(6)],
        [f"/{k}.png" for k in range(6)],
        list("aabbba"),
        splits=splits.tolist(),
        classes=("a", "b"),
    )
    head = nn.Linear(3, 2)
    classifier = Classifier(Means(), head, name="mish_cnn", options={})
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[5.0, 0, 0], [0, 5.0, 5.0]]))
        head.bias.zero_()
    store, spec = Store(pixels), ImageSpec(8, 8)
    logits = classifier(spec.normalize(store.sample([4]))).detach().numpy()
    features = classifier.features(spec.normalize(store.sample(range(6)))).detach().numpy()
    (found,) = explain_errors(
        classifier,
        cast(ImageStore, store),
        manifest,
        predictions_of(manifest, np.array([4]), logits),
        spec=spec,
        thresholds=None,
        at_most=5,
        features=features[[4]],
        known_rows=np.array([0, 1, 2]),
        known=features[:3],
    )
    assert (found.row, found.mistake.label, found.place) == (4, 0, "upper")
    assert found.heat is not None
    assert found.heat[:4].min() == 1
    assert found.heat[4:].max() == 0
    assert [row for row, _ in found.neighbours] == [0, 1, 2]
    features = np.array([250, 10, 0]) / np.linalg.norm([250, 10, 0])
    assert abs(found.neighbours[0][1] - features[0]) < 1e-5
