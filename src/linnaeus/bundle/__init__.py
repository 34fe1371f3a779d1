"""The Bundle: the thing you ship. A classifier with everything needed to use it, alone or with others as an ensemble.

Near the end of the life of an image: ... report -> BUNDLE -> predict. `files.py` keeps it as a folder, `facts.py` says
what its bundle.json holds. Knows nothing of data, training or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from linnaeus.data.image_spec import ImageSpec
from linnaeus.data.manifest import Task
from linnaeus.metrics.conformal import LabelSetRule, SetRule
from linnaeus.metrics.ood import OodDetector
from linnaeus.metrics.operating_point import OperatingPoint
from linnaeus.models import Classifier
from linnaeus.models.ensemble import EnsembleClassifier

TTA = Literal["none", "flip", "flip_shift"]


@dataclass(frozen=True)
class Bundle:
    """A trained classifier, ready to use.

    Attributes:
        classifier: in evaluation mode after loading.
        image_spec: how an image becomes its input.
        classes: K names, in the order of the logits.
        tta: the views of each image whose logits are averaged (`linnaeus.predictions.view_logits`).
        temperature: logits are divided by it before the softmax, or before the sigmoids of several labels; then it is
            one number, or one per label.
        operating_point: how probabilities become one answer; None for the most probable class, and for several labels.
        thresholds: K probabilities from which a label is given, for several labels per image; None for one label.
        sets: which classes stand in an image's prediction set; None where nobody calibrated them.
        ood: which images look unlike those of training; of an ensemble, by the features of its first member.
        provenance: JSON values that say where it comes from; see `linnaeus.bundle.card` for those the card shows.
        members: of an ensemble, the models that answer together, each with its own preprocessing, views and order of
            classes; `classifier` is then theirs together. Made by `ensemble_bundle`.
        weight: of this model in an ensemble that it is a member of.
    """

    classifier: Classifier
    image_spec: ImageSpec
    classes: tuple[str, ...]
    tta: TTA
    temperature: float | tuple[float, ...] = 1.0
    thresholds: tuple[float, ...] | None = None
    operating_point: OperatingPoint | None = None
    sets: SetRule | LabelSetRule | None = None
    ood: OodDetector | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[Bundle, ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.image_spec.height != self.image_spec.width:
            raise ValueError("networks are built for square images")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError("class names must be there and differ")
        if self.thresholds is not None and len(self.thresholds) != len(self.classes):
            raise ValueError("there must be one threshold per class")
        if self.thresholds is not None and not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ValueError("thresholds must be probabilities")
        if isinstance(self.temperature, tuple) and len(self.temperature) != len(self.classes):
            raise ValueError("there must be one temperature, or one per class")
        if self.operating_point is not None and self.operating_point.num_classes != len(self.classes):
            raise ValueError("the operating point must be of these classes")

    @property
    def task(self) -> Task:
        """ "multi" where an image may have several labels, each from its threshold on; else "single"."""
        return "single" if self.thresholds is None else "multi"


def ensemble_bundle(
    members: Sequence[Bundle],
    *,
    weights: Sequence[float],
    classes: tuple[str, ...],
    thresholds: tuple[float, ...] | None,
    provenance: Mapping[str, Any],
) -> Bundle:
    """One bundle whose answer is the weighted mean of its members' probabilities.

    Args:
        members: of the same classes, each in its own order; themselves no ensembles.
        weights: of each, above 0.
        classes: in the order of the answer.
        thresholds: of the mean, in that order, for several labels per image; None for one label.
        provenance: as of a Bundle.

    Raises ValueError if they are not of the same classes, or one is an ensemble itself.
    """
    if any(set(member.classes) != set(classes) for member in members) or any(member.members for member in members):
        raise ValueError("members of an ensemble must be plain models of the same classes")
    weighted = tuple(replace(member, weight=float(w)) for member, w in zip(members, weights, strict=True))
    specs = [member.image_spec for member in weighted]
    shapes = {(spec.height, spec.resize, spec.interpolation) for spec in specs}
    classifier = EnsembleClassifier(
        [member.classifier for member in weighted],
        orders=[[member.classes.index(name) for name in classes] for member in weighted],
        normalizations=[(spec.mean, spec.std) for spec in specs],
        temperatures=[member.temperature for member in weighted],
        weights=[member.weight for member in weighted],
        same_image=len(shapes) == 1,
        task="single" if thresholds is None else "multi",
    )
    plain = replace(specs[0], mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # each member normalizes for itself
    return Bundle(
        classifier.eval(), plain, classes, "none", thresholds=thresholds, provenance=provenance, members=weighted
    )
