"""The types of evaluation.json, format 2: what a model is worth, for programs and for the report.

Every section says the same of a run, of folds, of an ensemble, of averaged weights and of a foreign file; one that
could not be worked out is null, and `omitted` says why. `docs/evaluation-json.md` is generated from the docstrings
below. Knows nothing of how a number is computed: `judge` fills these in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linnaeus.errors import RunError

FORMAT: Literal[2] = 2
ScoreName = Literal["accuracy", "micro_f1"]
"""By which two models are compared: accuracy, or micro F1 where images have several labels."""


class Section(BaseModel):
    """A part of evaluation.json: immutable; fields that it does not know are left out when it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, ser_json_inf_nan="constants")


class Score(Section):
    """A score with its interval, whose level is `confidence`."""

    value: float
    """Measured on these images."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    @classmethod
    def of(cls, value: float, interval: tuple[float, float]) -> Score:
        """A value with both ends of its interval."""
        return cls(value=value, low=interval[0], high=interval[1])


class ClassScores(Section):
    """Scores of one class, or of one label where images have several."""

    precision: float
    """Of the images predicted as this class, the fraction that belongs to it."""
    recall: float
    """Of the images of this class, the fraction that was predicted as it (sensitivity)."""
    specificity: float
    """Of the images of all other classes, the fraction that was not predicted as this one."""
    f1: float
    """Harmonic mean of precision and recall; the same number as the Dice coefficient."""
    roc_auc: float | None
    """Area under the ROC curve; null where there are no images of the class, or no others."""
    average_precision: float
    """Area under the precision-recall curve, without interpolation (scikit-learn's `average_precision_score`)."""
    support: int
    """Images of this class."""
    threshold: float | None = None
    """For several labels per image: the label is predicted where its probability is no less."""
    false_negatives: int | None = None
    """For several labels per image: images that have the label, and it was not predicted."""
    false_positives: int | None = None
    """For several labels per image: images without the label for which it was predicted."""


class Scores(Section):
    """Scores of one set of images. Those that do not apply to one label per image, or to several, are null."""

    accuracy: Score | None = None
    """Fraction of images whose class is right. One label per image, like the next five."""
    balanced_accuracy: Score | None = None
    """Recall averaged over the classes that have images; every class counts alike."""
    macro_precision: Score | None = None
    """Precision averaged over the classes that occur, as true or as predicted class; of several labels, over labels."""
    macro_f1: Score | None = None
    """F1 averaged over the same classes, or labels."""
    top_3_accuracy: Score | None = None
    """Fraction of images whose class is among the 3 most probable; only where there are more than 3 classes."""
    top_5_accuracy: Score | None = None
    """Fraction of images whose class is among the 5 most probable; only where there are more than 5 classes."""
    micro_f1: Score | None = None
    """F1 of all pairs of image and label together. Several labels per image, like the
    scores down to `mean_average_precision`."""
    weighted_f1: Score | None = None
    """F1 averaged over labels, each with the weight of its images."""
    samples_f1: Score | None = None
    """F1 of each image's labels, averaged over images; 1 for an image without labels for which none was predicted."""
    micro_precision: Score | None = None
    """Of all labels predicted, the fraction that is right."""
    micro_recall: Score | None = None
    """Of all labels that images have, the fraction that was predicted."""
    macro_recall: Score | None = None
    """Recall averaged over labels."""
    hamming_accuracy: Score | None = None
    """Of all pairs of image and label, the fraction that is right (1 - Hamming loss); high without any label predicted,
    where labels are rare."""
    subset_accuracy: Score | None = None
    """Fraction of images with not one wrong label (scikit-learn's `accuracy_score` for several labels)."""
    mean_average_precision: Score | None = None
    """Average precision of each label that some image has, averaged; needs no threshold."""
    log_loss: Score
    """Mean of minus the log of the true class's probability; lower is better, no upper bound."""
    brier: Score
    """Mean squared distance of the probabilities from the truth, 0-2 (several labels: 0-1 per label); lower is
    better."""
    ece: Score
    """Expected calibration error over 15 bins of equal width (arXiv 1706.04599), 0-1; lower is better."""
    per_class: dict[str, ClassScores] | None = None
    """One entry per class or label, by name, in the order of the model's outputs; null for baselines."""
    confusion: list[list[int]] | None = None
    """`confusion[i][j]`: images of class i predicted as class j, in the order of `per_class`. One label per image."""
    wrong_labels: list[int] | None = None
    """`wrong_labels[k]`: images with k false positives and false negatives together. Several labels per image."""
    num_images: int
    """Images behind these scores, those without any label included."""
    num_groups: int | None = None
    """Groups of images that belong together; intervals and tests resample whole groups. Null where each is its own."""

    def named(self) -> Iterator[tuple[str, Score]]:
        """Every score that applies, by name, in the order above."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Score):
                yield name, value

    def score(self, name: str) -> Score:
        """The score of this name. Raises KeyError where it does not apply to these images."""
        return dict(self.named())[name]

    @property
    def several_labels(self) -> bool:
        """Whether an image may have several labels."""
        return self.accuracy is None

    @property
    def main(self) -> ScoreName:
        """Name of the score by which models are compared."""
        return "micro_f1" if self.several_labels else "accuracy"


class PairedDifference(Section):
    """Two models on the same images: a paired test, by whole groups where images belong together."""

    score: ScoreName
    """What is compared."""
    first: float
    """That score of the first model."""
    second: float
    """That score of the second model."""
    value: float
    """Second less first."""
    low: float
    """Lower end of the interval of the difference (paired bootstrap)."""
    high: float
    """Upper end of the interval."""
    p_value: float
    """Of McNemar's exact test; of a permutation test for several labels, or where images belong to groups."""
    significant: bool
    """Whether p_value < 1 - confidence."""


class ReliabilityBin(Section):
    """One bar of the reliability diagram."""

    low: float
    """Lower edge of the bin, a probability."""
    high: float
    """Upper edge."""
    count: int
    """Number of predictions in the bin."""
    confidence: float
    """Their mean probability."""
    accuracy: float
    """Fraction of them that is correct."""


class CalibrationState(Section):
    """Calibration of the probabilities at one temperature."""

    log_loss: float
    """Mean log loss."""
    brier: float
    """Mean Brier score."""
    ece: float
    """Expected calibration error."""
    reliability: list[ReliabilityBin]
    """The bins that are not empty, from low to high probability."""


class CalibrationChange(Section):
    """Before and after dividing the logits by the temperature."""

    before: CalibrationState | None
    """At temperature 1; null for predictions that were given as probabilities."""
    after: CalibrationState
    """At the temperature of the model."""


class Calibration(Section):
    """Temperature scaling (arXiv 1706.04599), fitted on images not used for training, for the model as it ships."""

    temperature: float | dict[str, float]
    """Divisor of the logits: one number, or for several labels one per label."""
    validation: CalibrationChange | None
    """On the images on which it was fitted; null without such images."""
    test: CalibrationChange
    """On the test images."""


class TargetOutcome(Section):
    """A target for the score of one class (`evaluate.targets`), and whether it was reached."""

    score: Literal["recall", "precision"]
    """Which score."""
    class_name: str
    """Of which class or label."""
    target: float
    """The lowest acceptable value."""
    validation: float | None
    """The value on the images on which the operating point was chosen; null if undefined."""
    met: bool
    """Whether this reaches the target."""
    test: Score | None
    """The value on the test images; null if undefined."""


class OperatingPointEvaluation(Section):
    """The rule by which classes are predicted from probabilities."""

    rule: Literal["argmax", "f1", "costs"]
    """The decision rule before targets are applied."""
    weights: dict[str, float] | None = None
    """Factor of each class's probability, where the prediction is not simply the most probable class."""
    costs: list[list[float]] | None = None
    """Cost of predicting class j for an image of class i, where predictions minimise the expected cost."""
    num_changed: int | None = None
    """Number of test images whose predicted class is not the most probable one."""
    accuracy_of_argmax: Score | None = None
    """Accuracy if the most probable class were predicted."""
    mean_cost: float | None = None
    """Mean cost of the predictions for test images."""
    mean_cost_of_argmax: float | None = None
    """Mean cost if the most probable class were predicted."""
    targets: list[TargetOutcome] = Field(default_factory=list)
    """Targets for scores of single classes."""


class PredictionSets(Section):
    """Sets of classes that contain the true class with a given probability (conformal prediction).

    RAPS (arXiv 2009.14193) for one label per image, conformal risk control (arXiv 2208.02814) for several.
    """

    target_coverage: float
    """`evaluate.coverage`: probability that the set contains the true class; for several labels, the fraction of an
    image's labels."""
    coverage: Score | None
    """Coverage on the test images; null if no test image has a label."""
    mean_size: float
    """Mean number of classes in a set."""
    sizes: list[float]
    """Fraction of sets with 1, 2, ... classes; the last entry is for 10 and more."""
    empty: float
    """Fraction of sets without a class."""
    per_class: dict[str, float | None]
    """Coverage of each class's test images; null without any."""
    penalty: float | None
    """Penalty of RAPS (lambda); null for several labels."""
    num_free: int | None
    """Classes free of the penalty (k_reg of RAPS); null for several labels."""
    threshold: float | None
    """Threshold of the rule; null if there are too few calibration images, and then every set contains every class."""


class OodEvaluation(Section):
    """Out-of-distribution detection by the distance to the nearest features of training images (arXiv 2204.06507)."""

    in_distribution_fraction: float
    """Fraction of the validation images that are not flagged; it determines the threshold."""
    threshold: float
    """Images whose distance is larger are flagged."""
    num_neighbours: int
    """The distance is that to the k-th nearest training image; this is k."""
    num_reference: int
    """Training images whose features the model keeps."""
    flagged: Score
    """Fraction of the test images that is flagged."""
    accuracy_in_distribution: Score | None
    """Accuracy on the test images that are not flagged; null without any."""
    accuracy_flagged: Score | None
    """Accuracy on the flagged test images; null without any."""


class SelectivePoint(Section):
    """Accuracy of the predictions of at least some confidence."""

    threshold: float
    """The lowest confidence."""
    coverage: float
    """Fraction of the images with at least this confidence."""
    accuracy: float
    """Accuracy on these images."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""


class SelectiveGoal(Section):
    """The largest coverage at which an accuracy is reached."""

    accuracy: float
    """The accuracy."""
    coverage: float
    """Fraction of the images with at least this confidence."""
    threshold: float
    """The lowest confidence."""


class SelectivePrediction(Section):
    """Leaving the least confident predictions to a person (El-Yaniv and Wiener, JMLR 11 (2010), 1605-1641)."""

    points: list[SelectivePoint]
    """The accuracy-coverage curve, at most 100 points."""
    aurc: float
    """Area under the risk-coverage curve: mean error over all coverages; lower is better."""
    goals: list[SelectiveGoal]
    """For accuracies above that of all images."""


class Slice(Section):
    """A subset of the test images, compared with the rest."""

    column: str
    """What the images have in common."""
    value: str
    """Its value or range."""
    same_images: list[str]
    """Other descriptions of the very same images."""
    num_images: int
    """Images in it."""
    num_groups: int | None = None
    """Groups in it, where images belong together."""
    score: Score
    """Accuracy, or F1 per image where images have several labels."""
    rest: float
    """The score of all other test images."""
    p_value: float
    """One-sided, corrected for the number of slices by Holm's method."""
    worse: bool
    """Whether p_value < 1 - confidence."""


class Slices(Section):
    """Subsets on which the model performs worse than on the rest."""

    num_tested: int
    """Slices that were compared."""
    minimum_support: int
    """Number of images below which a slice is not compared."""
    overall: float
    """The score of all test images."""
    slices: list[Slice]
    """Up to 30, those that are worse first and then by score."""


class RocCurve(Section):
    """Points of a ROC curve, at most 100."""

    false_positive_rate: list[float]
    """Rising."""
    true_positive_rate: list[float]
    """Rising (recall)."""
    threshold: list[float | None]
    """Falling; null for the first point, at which nothing is predicted."""


class PrecisionRecallCurve(Section):
    """Points of a precision-recall curve, at most 100."""

    recall: list[float]
    """Rising."""
    precision: list[float]
    """At that recall."""
    threshold: list[float]
    """Falling."""


class ClassCurves(Section):
    """Curves of one class against the rest."""

    roc: RocCurve
    """ROC curve."""
    precision_recall: PrecisionRecallCurve
    """Precision-recall curve."""


class Baseline(Section):
    """A classifier on the features of the pretrained network without any training; a trained model should be better."""

    test: Scores
    """Of the test images, without those of single classes."""
    validation: Scores
    """Of the validation images, likewise."""
    num_neighbours: int | None = None
    """Of `nearest_neighbours`: their number; the best of 1, 3, 5, 10, 20 and 50 on the validation images."""
    model_minus_baseline: PairedDifference
    """The baseline first, the model second, on the test images."""


class WithAndWithout(Section):
    """A number for a head that was trained without balancing and for one with it; null without a denominator."""

    without: float | None
    """Without."""
    with_balancing: float | None
    """With."""


class BalancedClasses(Section):
    """The third of the classes with the fewest training images, or with the most."""

    classes: list[str]
    """Their names."""
    train_images: int
    """Their training images."""
    num_images: int | None = None
    """Their validation images. One label per image, like the next five."""
    recall: WithAndWithout | None = None
    """Of these classes together."""
    precision: WithAndWithout | None = None
    """Of these classes together."""
    only_with: int | None = None
    """Images that are correct only with balancing."""
    only_without: int | None = None
    """Images that are correct only without."""
    p_value: float | None = None
    """Of the paired test."""
    average_precision: WithAndWithout | None = None
    """For several labels: the mean over the labels that some image has."""


class Balancing(Section):
    """Effect of balancing: linear heads with and without it on the same features, evaluated on validation images."""

    num_images: int
    """Validation images."""
    scores: dict[str, WithAndWithout]
    """`accuracy`, `balanced_accuracy` and `macro_f1`, or for several labels `mean_average_precision`."""
    rare: BalancedClasses
    """The rarest third of the classes."""
    common: BalancedClasses
    """The most common third."""


class EnsembleEvaluation(Section):
    """How `linnaeus ensemble` made the model, and whether it is better than the best single run."""

    method: Literal["probabilities", "weights"]
    """What was averaged."""
    weights: dict[str, float]
    """Path of each run -> its weight, 0-1; 0 for those left out."""
    members: dict[str, Score]
    """Path of each run -> its own score on the test images."""
    best_single_run: str
    """Path of the run that is best on the validation images."""
    ensemble_minus_best: PairedDifference
    """The best single run first, the ensemble second, on the test images."""
    verdict: str
    """The result of the paired test as a sentence."""


class Seconds(Section):
    """How long the run took."""

    prepare: float | None = None
    """Reading, caching and planning."""
    train: float | None = None
    """Training."""
    evaluate: float | None = None
    """Evaluation."""
    total: float | None = None
    """All of it."""
    cached_features: float | None = None
    """Time that earlier runs spent on computing features that this run found in the cache."""


class Evaluation(Section):
    """evaluation.json. Fields are not removed or given another meaning within one format; new ones may be added."""

    format: Literal[2] = FORMAT
    """Version of this description."""
    confidence: float
    """Level of every interval, and 1 less that of every test."""
    bootstrap_samples: int
    """Resamples behind intervals that have no closed form."""
    seed: int
    """Of the resampling: with the same predictions it gives the same intervals."""
    test: Scores
    """On the test images, measured once, after everything else was settled."""
    validation: Scores | None = None
    """The same on validation images, by the same model. Weights, temperature, thresholds and operating
    point were chosen on them, so these scores are optimistic."""
    test_without_duplicates: Scores | None = None
    """Where test images have a copy in training or validation: `test` without those images."""
    calibration: Calibration
    """Temperature and reliability."""
    operating_point: OperatingPointEvaluation | None = None
    """How classes are predicted from probabilities."""
    prediction_sets: PredictionSets | None = None
    """Sets of classes with a target coverage."""
    ood: OodEvaluation | None = None
    """Out-of-distribution detection."""
    selective_prediction: SelectivePrediction
    """Accuracy without the least confident predictions."""
    slices: Slices
    """Subsets of the test images on which the model performs worse."""
    curves: dict[str, ClassCurves]
    """By class; of more than 30 classes the 30 with the lowest average precision."""
    baselines: dict[str, Baseline] | None = None
    """`nearest_centroid` (one label per image only) and `nearest_neighbours`, where the features of a pretrained
    network were computed before training."""
    balancing: Balancing | None = None
    """Where classes are balanced and the first phase is on features."""
    tta: PairedDifference | None = None
    """For backbones without test-time augmentation although training flips images: the model as it is (first) and with
    flip test-time augmentation (second), on validation images."""
    ensemble: EnsembleEvaluation | None = None
    """Of an ensemble or of averaged weights."""
    seconds: Seconds = Field(default_factory=Seconds)
    """How long it took."""
    omitted: dict[str, str] = Field(default_factory=dict)
    """Section -> why it could not be computed for this model."""

    def to_json(self) -> dict[str, object]:
        """Plain JSON values, for `atomic.write_json`."""
        return self.model_dump(mode="json")


def read_evaluation(path: Path) -> Evaluation:
    """Read what a run wrote.

    Raises RunError, with what to do, if the file is missing, damaged, or of a format that this Linnaeus does not read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}. Compute it again: linnaeus resume {path.parent}") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise RunError(
            f"{path} is of format {found}, from before the first release; this Linnaeus reads format {FORMAT}. Train "
            f"the run again: linnaeus train DATA --out {path.parent} --force"
        )
    try:
        return Evaluation.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path} is damaged at {where}: {first['msg']}.") from error
