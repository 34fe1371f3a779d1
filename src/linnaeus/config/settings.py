"""Every setting once: typed, documented, with its default. Nothing else in Linnaeus holds a default.

A `RunConfig` is read from a recipe (YAML), from `--set section.field=value`, or built in Python. Fields that say
"auto" are settled by `planning`, which writes each choice and its reason to plan.md; the settled page is saved with
the run and is itself a recipe. Knows nothing of data, models or devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from linnaeus.config.conditions import OnlyFor, OnlyWith, Situation
from linnaeus.errors import ConfigError, nearest_name

Auto = Literal["auto"]
LAYERS = re.compile(r"(convolutions|dense|head|all)(?:\[(-?\d*):(-?\d*)\])?")
"""Names of layers in `loss.l1` and `loss.l2`: a group, or a part of it as Python writes slices."""
Flip = Literal["none", "horizontal", "vertical", "both"]
FeatureKind = Literal["last", "maps", "stages"]
TTAKind = Literal["none", "flip", "flip_shift"]
PositiveEpochs = Annotated[float, Field(gt=0.0)]
Option = int | float | bool | str | list[int] | list[float] | list[dict[str, int | bool | str | list[int]]]
_GEOMETRY = ("translate", "rotate_degrees", "zoom", "shear_degrees")
_STEPPING = OnlyWith("optimizer", but=["lbfgs"])
"""`lbfgs` solves for the head, and takes no steps that these could change."""


class Section(BaseModel):
    """A group of settings: immutable, and strict about names."""

    only_for: ClassVar[Situation | None] = None
    """In which runs its fields act, where they do not say otherwise themselves."""
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DataConfig(Section):
    """Which images, and how they are divided."""

    source: str = "digits"
    """A folder of class folders or of split folders, a table, arrays, any other known layout, a data set
    saved as one file, or a built-in name (`digits`)."""
    format: str | None = None
    """The layout of `source`, such as `table`, where it is not recognised from the path."""
    image_column: str | None = None
    """The column of a table that holds paths or ids of images; found out if not given."""
    label_columns: list[str] = Field(default_factory=list)
    """The column of a table that holds labels, or one 0/1 column per label; found out if not given."""
    image_root: str | None = None
    """The folder below which the images named by a table or by lists lie; by default that of the table or lists."""
    image_shape: list[int] | None = Field(None, min_length=2, max_length=3)
    """The shape of one sample of an array, such as [300, 300, 3] or [3, 300, 300], where it cannot be inferred."""
    corrections: list[str] = Field(default_factory=list)
    """Files of corrections, as `linnaeus review` writes them, to put on top of the labels of `source`, which itself
    stays as it is."""
    classes: list[str] = Field(default_factory=list)
    """Keep only these classes."""
    top_classes: int | None = Field(None, ge=2)
    """Keep only so many of the most frequent classes."""
    box_padding: float | None = Field(None, ge=0.0)
    """Widen every box to each side by this fraction of its width and height."""
    min_box_size_px: float | None = Field(None, ge=0.0)
    """Drop boxes of which a side is shorter than this."""
    test_data: str | None = None
    """A separate test set, with the same class names; the images of `source` are then not used for testing."""
    validation_fraction: float = Field(0.15, gt=0.0, lt=1.0)
    """Fraction of the images kept for validation where the data names no validation split."""
    validation_max: int = Field(2500, ge=1)
    """At most this many validation images are taken away from training (never fewer than 50 per class)."""
    folds: int | None = Field(None, ge=2)
    """Solve for a head without each of so many parts of the training and validation images, and average them: every one
    of these images then has a prediction by a head that has not seen it. For heads by `lbfgs`."""
    fold_training: Annotated[Literal["head", "finetune"], OnlyWith("folds")] = "head"
    """`head` leaves each part out for a head on features, in seconds; `finetune` trains all phases once
    without each part, which takes as many trainings as folds, and lets these networks answer together."""
    out_of_fold: Annotated[Annotated[int, Field(ge=0)] | Auto, OnlyWith("folds", values=[None])] = "auto"
    """So many parts for predictions by heads that have not seen an image, by which wrong
    labels are found; the model stays the single head. `auto`: 5 for heads by `lbfgs` and at most 20,000 images; 0 for
    none."""
    balance: Literal["none", "oversample", "square_root"] = "none"
    """How often an epoch shows each training image: once; `oversample`, once and then again and again one of those with
    the label that is rarest by then; `square_root`, classes in proportion to the square root of their images."""
    oversample_factor: Annotated[float, OnlyWith("balance", values=["oversample"])] = Field(4.0, ge=1.0)
    """Images of an epoch as a multiple of the training images."""
    test_fraction: float = Field(0.15, gt=0.0, lt=1.0)
    """Fraction of the images kept for the final test where the data names no test split."""


class ImageConfig(Section):
    """The exact preprocessing, the same in training and in prediction."""

    size: int | Auto = "auto"
    """Height and width in pixels; `auto` lets the plan choose by the size of the images."""
    resize: Literal["squash", "crop", "pad", "letterbox"] = "squash"
    """`squash` shows the model the whole image, `crop` its centre square, `pad` the whole image on a grey square,
    `letterbox` likewise without ever enlarging it."""
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    """How pixels are resampled; always with antialiasing when shrinking."""
    normalize: Literal["dataset", "backbone", "imagenet", "half", "none"] = "dataset"
    """Mean and standard deviation: measured on the training images, those that the backbone's weights were trained
    with, ImageNet's, 0.5 and 0.5, or 0 and 1."""


class AugmentConfig(Section):
    """Random changes to training images, drawn anew for every image and epoch, on the device."""

    only_for: ClassVar[Situation | None] = "augmented images"

    policy: Literal["none", "trivial_augment", "rand_augment"] = "none"
    """Operations drawn for each image, on top of what follows: `trivial_augment`, one of any strength
    (arXiv 2103.10158); `rand_augment`, several of one strength (arXiv 1909.13719)."""
    policy_num_ops: Annotated[int, OnlyWith("policy", values=["rand_augment"])] = Field(2, ge=1, le=10)
    """Operations for each image."""
    policy_magnitude: Annotated[int, OnlyWith("policy", values=["rand_augment"])] = Field(9, ge=0, le=30)
    """Their strength, up to 30."""
    flip: Annotated[Flip | Auto, OnlyFor(None)] = "none"
    """Mirror images with probability 1/2. `auto`: horizontally, unless the images are grey (characters, scans)."""
    alternate_flip: Annotated[bool, OnlyWith("flip")] = False
    """Mirror each image exactly every other epoch instead of by chance (arXiv 2404.00498, section 3.6)."""
    pad_crop_px: int | Auto = 0
    """Shift by whole pixels: reflect-pad by this many and crop at random; exact, no resampling. `auto`: a 16th of the
    side."""
    probability: float = Field(1.0, gt=0.0, le=1.0)
    """Fraction of the images that are changed at all; the others are shown as they are (mixup and CutMix aside)."""
    distribution: Annotated[Literal["uniform", "normal"], OnlyWith(*_GEOMETRY)] = "uniform"
    """How shift, rotation, zoom and shear are drawn: evenly up to the amounts below, or normally, the amounts being
    standard deviations."""
    translate: float = Field(0.0, ge=0.0, le=1.0)
    """Largest shift as a fraction of the side, uniform in both directions."""
    rotate_degrees: float = Field(0.0, ge=0.0, le=180.0)
    """Largest rotation, uniform to both sides."""
    zoom: float = Field(0.0, ge=0.0, lt=1.0)
    """Zoom factor uniform in [1 - zoom, 1 + zoom]."""
    shear_degrees: float = Field(0.0, ge=0.0, lt=90.0)
    """Largest horizontal shear angle, uniform to both sides."""
    fill: Annotated[Literal["zeros", "border", "reflection"], OnlyWith(*_GEOMETRY)] = "reflection"
    """What geometry shows beyond the edge of the image."""
    brightness: float = Field(0.0, ge=0.0, le=1.0)
    """Brightness factor uniform in [1 - brightness, 1 + brightness]."""
    contrast: float = Field(0.0, ge=0.0, le=1.0)
    """Contrast factor, likewise."""
    saturation: float = Field(0.0, ge=0.0, le=1.0)
    """Saturation factor, likewise."""
    hue: float = Field(0.0, ge=0.0, le=0.5)
    """Hue rotation uniform in [-hue, hue] of a full turn, in YIQ space."""
    noise: float = Field(0.0, ge=0.0, le=1.0)
    """Standard deviation of Gaussian noise, in units of the full 0-1 range."""
    random_erasing: float = Field(0.0, ge=0.0, le=1.0)
    """Probability that a random rectangle is erased (arXiv 1708.04896)."""
    mixup: Annotated[float, OnlyFor("training on images")] = Field(0.0, ge=0.0)
    """Alpha of mixup (arXiv 1710.09412); 0 turns it off."""
    cutmix: Annotated[float, OnlyFor("training on images")] = Field(0.0, ge=0.0)
    """Alpha of CutMix (arXiv 1905.04899); 0 turns it off. With both on, each batch draws one of them."""


class HeadConfig(Section):
    """What turns the features of a backbone into logits."""

    hidden: list[int] = Field(default_factory=list)
    """Widths of hidden layers; none for a linear head."""
    activation: Literal["relu", "leaky_relu", "gelu", "mish"] = "relu"
    """After each hidden layer."""
    batch_norm: bool = False
    """Batch norm after each hidden layer."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of each hidden layer's outputs that is dropped in training."""
    feature_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of the pooled features that is dropped in training."""
    map_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of the last feature maps that is dropped in training, before pooling; such a head cannot use features that
    were extracted once."""
    cosine: bool = False
    """Logits are scaled cosines of features and class vectors (arXiv 1804.09458) instead of dot products."""


class ModelConfig(Section):
    """The network."""

    name: str = "auto"
    """`auto`; a network of ours: `speed_cnn`, `mish_cnn`, `feed_forward`, `gelu_cnn`, `relu_cnn`, `block_cnn`; any
    timm architecture, or several of those joined by `+` (their features side by side)."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Arguments of that architecture, such as `{widths: [64, 256, 256]}`; where several are joined, those of one are
    named `mobilenetv2_100.pad_type`."""
    weights: Annotated[str, OnlyFor("a pretrained backbone")] = "auto"
    """Pretrained weights of a timm architecture: a file, a folder that holds NAME.safetensors (or .pth, .bin), `auto`
    (the hub's cache on this machine), or `none` to start from random ones."""
    allow_download: Annotated[bool, OnlyFor("a pretrained backbone")] = False
    """Fetch weights from the hub where they are nowhere on this machine."""
    features: Annotated[FeatureKind | Auto, OnlyFor("a pretrained backbone")] = "auto"
    """`last`: the backbone's own pooled output; `maps`: its last feature maps, flattened without pooling; `stages`:
    means and deviations of the maps of all its stages (arXiv 2201.03529). `auto`: `stages` where nothing but a head is
    trained, else `last`."""
    head: HeadConfig = Field(default_factory=HeadConfig)
    """What stands on the features."""


class LossConfig(Section):
    """What training makes small."""

    name: Literal["cross_entropy", "focal", "bce", "squeezed_bce", "asymmetric", "binary_focal"] = "cross_entropy"
    """For one label per image `cross_entropy` of a softmax, and `focal` (arXiv 1708.02002), in which images that are
    surely right weigh less. For several labels: `bce`, binary cross-entropy averaged over the labels; `squeezed_bce`,
    its sum over the labels on 0.99 p + 0.005; `asymmetric` (arXiv 2009.14119), which lets the many absent labels weigh
    less; `binary_focal`, the sum of focal losses over the labels. Where images have several labels, the plan takes
    `bce` for a recipe's `cross_entropy` or `focal`."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of the target spread evenly over all classes; with `bce`, over yes and no of each label."""
    gamma: Annotated[float, OnlyWith("name", values=["focal", "binary_focal"])] = Field(2.0, ge=0.0)
    """How much what is surely right loses in weight."""
    class_weights: Literal["none", "balanced", "effective"] = "none"
    """For one label per image: every image counts the same; `balanced`, every class does, whatever its images;
    `effective`, in between, by the effective number of images (arXiv 1901.05555)."""
    beta: Annotated[float, OnlyWith("class_weights", values=["effective"])] = Field(0.999, ge=0.0, lt=1.0)
    """Near 0 every image counts the same, near 1 every class."""
    logit_adjustment: float = Field(0.0, ge=0.0)
    """For one label per image: so many times the logarithm of each class's fraction is added to the logits in training
    (arXiv 2007.07314, equation 10), so that the model itself answers as if classes were equally frequent; 1 is the
    paper's."""
    gamma_neg: Annotated[float, OnlyWith("name", values=["asymmetric"])] = Field(4.0, ge=0.0)
    """How much absent labels that are well kept out lose in weight."""
    gamma_pos: Annotated[float, OnlyWith("name", values=["asymmetric"])] = Field(1.0, ge=0.0)
    """The same for labels that are there."""
    clip: Annotated[float, OnlyWith("name", values=["asymmetric"])] = Field(0.05, ge=0.0, lt=1.0)
    """Absent labels below this probability do not count."""
    l1: dict[str, float] = Field(default_factory=dict)
    """Factor of the sum of the weights' absolute values, added to the loss; layers are named as for `l2`."""
    l2: dict[str, float] = Field(default_factory=dict)
    """Factor of the sum of squared weights of `convolutions`, `dense` layers, `head` or `all`, added to the loss.
    `convolutions[-2:]` are the last two of them, `dense[5:]` all dense layers from the sixth on."""

    @field_validator("l1", "l2")
    @classmethod
    def _known_layers(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(name for name in value if not LAYERS.fullmatch(name))
        if unknown:
            raise ValueError(f"layers are convolutions, dense, head or all, not {', '.join(unknown)}")
        return value


class EarlyStoppingConfig(Section):
    """Early stopping."""

    monitor: Literal[
        "validation_loss",
        "validation_accuracy",
        "validation_balanced_accuracy",
        "validation_micro_f1",
        "validation_mean_average_precision",
        "train_loss",
        "train_accuracy",
    ] = "validation_loss"
    """A column of history.csv; losses are better lower, the others higher. The two accuracies of validation are for one
    label per image, the two after them for several."""
    patience: int = Field(10, ge=1)
    """Epochs without improvement before training stops."""
    min_delta: float = Field(0.0, ge=0.0)
    """Smaller improvements do not count."""


class PhaseConfig(Section):
    """One stretch of training with one optimizer."""

    name: str = "scratch"
    """A word for the history and the progress bar."""
    train: Literal["all", "head"] = "all"
    """`head` leaves the backbone as it is: its features are computed once, and the head is trained on them."""
    last_layers: Annotated[int | None, OnlyWith("train", values=["all"])] = Field(None, ge=1)
    """Of the backbone, train only so many of the last layers (beside the head)."""
    last_stages: Annotated[int | None, OnlyWith("train", values=["all"])] = Field(None, ge=1)
    """Of the backbone, train only so many of the last stages (beside the head)."""
    layer_decay: Annotated[float, OnlyWith("train", values=["all"])] = Field(1.0, gt=0.0, le=1.0)
    """Learning rate of each stage of the backbone as a fraction of that of the next one."""
    batch_norm: Literal["live", "frozen"] = "live"
    """`frozen` leaves the backbone's batch norm at its statistics."""
    ema_decay: Annotated[float, _STEPPING] = Field(0.0, ge=0.0, lt=1.0)
    """Decay per step of a moving average of the weights, which is then validated and kept; 0 for none."""
    feature_views: Annotated[int, OnlyWith("train", values=["head"])] = Field(1, ge=1)
    """Augmented views of each training image to compute features of; with 1 the image itself."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd", "muon", "lbfgs"] = "adamw"
    """`muon` moves convolutions by Muon and everything else by SGD with Nesterov momentum; `lbfgs`, for linear heads
    with `train: head`, solves for the best head under each of a path of penalties, of which validation takes one.
    It minimises cross-entropy, binary for several labels; other losses, `loss.l1` and `loss.l2` are for the others."""
    lr: Annotated[float, _STEPPING] = Field(1e-3, gt=0.0)
    """Peak learning rate (for `muon`: of the convolutions)."""
    head_lr: Annotated[float | None, _STEPPING] = Field(None, gt=0.0)
    """Learning rate of the last layer, where it differs. For `muon` per image of a batch: multiplied by batch_size."""
    bias_lr: Annotated[float | None, _STEPPING] = Field(None, gt=0.0)
    """Learning rate of biases and norms, where it differs. For `muon` per image of a batch, likewise."""
    momentum: Annotated[float, OnlyWith("optimizer", values=["sgd", "muon"])] = Field(0.9, ge=0.0, lt=1.0)
    """Momentum of `sgd` and of the SGD part of `muon`."""
    muon_momentum: Annotated[float, OnlyWith("optimizer", values=["muon"])] = Field(0.6, ge=0.0, lt=1.0)
    """Momentum of the Muon part of `muon`."""
    rmsprop_alpha: Annotated[float, OnlyWith("optimizer", values=["rmsprop"])] = Field(0.9, ge=0.0, lt=1.0)
    """Decay of the running average of squared gradients."""
    weight_decay: Annotated[float, _STEPPING] = Field(0.0, ge=0.0)
    """Decoupled for `adamw` and never on its biases and norms; added to the gradient for the others. For `muon`
    the fraction by which head and biases shrink per step and image of the batch."""
    batch_size: Annotated[int | Auto, _STEPPING] = "auto"
    """Images per step of the optimizer."""
    micro_batch_size: Annotated[int | None, _STEPPING] = Field(None, ge=1)
    """Images per forward pass; gradients of a batch are accumulated. Bounds memory, and batch norm sees this many."""
    epochs: Annotated[PositiveEpochs | Auto, _STEPPING] = "auto"
    """Passes over the training images, the last one broken off where this is no whole number; `auto` follows the number
    of images. A time limit makes it smaller."""
    schedule: Annotated[Literal["constant", "linear", "cosine", "one_cycle", "step", "plateau"], _STEPPING] = "constant"
    """How the learning rate goes over the phase, after the warm-up: it falls to zero (`linear`, `cosine`); rises from a
    25th over the first 0.3 of the phase and falls to nearly zero (`one_cycle`, arXiv 1708.07120, as torch has it); is
    multiplied by `lr_decay_factor` every so many epochs (`step`), or whenever the validation loss has been no lower for so many
    (`plateau`)."""
    lr_decay_factor: Annotated[float, OnlyWith("schedule", values=["step", "plateau"])] = Field(0.1, gt=0.0, lt=1.0)
    """What the learning rate is multiplied by."""
    lr_decay_epochs: Annotated[int, OnlyWith("schedule", values=["step", "plateau"])] = Field(10, ge=1)
    """After how many epochs."""
    warmup_fraction: Annotated[float, _STEPPING] = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of the phase in which the learning rate rises from zero."""
    grad_clip_norm: Annotated[float | None, _STEPPING] = Field(None, gt=0.0)
    """Largest gradient norm."""
    early_stopping: Annotated[EarlyStoppingConfig | None, _STEPPING] = None
    """Early stopping; none by default."""
    monitor: Literal[
        "validation_loss",
        "validation_accuracy",
        "validation_balanced_accuracy",
        "validation_micro_f1",
        "validation_mean_average_precision",
        "last",
    ] = "validation_accuracy"
    """Which epoch's weights are kept: the best by this column, or the last. Where images have several labels, the plan
    takes the mean average precision for an accuracy."""


class ScoreTarget(NamedTuple):
    """A score that one class shall have."""

    score: Literal["recall", "precision"]
    label: str
    value: float


def parse_score_target(text: str) -> ScoreTarget:
    """`recall:Helicopter=0.9`; raises ValueError for anything else, or a value that is not within 0 to 1."""
    score, colon, rest = text.partition(":")
    label, equals, number = rest.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if score not in ("recall", "precision") or not colon or not equals or not label or not 0 < value <= 1:
        raise ValueError(
            f"a target is recall:CLASS=FRACTION or precision:CLASS=FRACTION with a fraction up to 1, not '{text}'"
        )
    return ScoreTarget("recall" if score == "recall" else "precision", label, value)


class EvaluateConfig(Section):
    """How the finished model answers, and how its scores are stated."""

    tta: TTAKind | Auto = "auto"
    """Views of each image whose logits are averaged, in validation, test and prediction alike: the image;
    with its mirror image; with both also shifted by a pixel each way. `auto`: mirrored too where training flips."""
    logit_adjustment: float = Field(0.0, ge=0.0)
    """After training, so many times the logarithm of each class's fraction of the training images is taken from its logit
    (arXiv 2007.07314, equation 9), for good: the model then answers as if classes were equally frequent. For one label
    per image and heads that end in a dense layer with a bias."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Level of every interval."""
    coverage: float = Field(0.95, gt=0.0, lt=1.0)
    """How often the true class of an image shall be in its prediction set (arXiv 2009.14193); of several labels, the
    fraction of them (arXiv 2208.02814)."""
    in_distribution_fraction: float = Field(0.99, gt=0.0, lt=1.0)
    """Fraction of the validation images that shall be found familiar; images whose features lie further from those of
    training images than this are flagged as unfamiliar (arXiv 2204.06507)."""
    decide: Annotated[Literal["argmax", "f1"], OnlyFor("one label per image")] = "argmax"
    """The answer for an image with one label: `argmax`, its most probable class; `f1`, the class with the largest
    probability times a factor per class, chosen on validation images for a large macro F1. (Of several labels each has
    a threshold: `thresholds`.)"""
    targets: list[str] = Field(default_factory=list)
    """Scores wished for single classes, such as `recall:Helicopter=0.9` or `precision:Ship=0.95`: answers are moved as
    little as that needs on the validation images. A target that cannot be met is told."""
    costs: dict[str, dict[str, Annotated[float, Field(ge=0.0)]]] = Field(default_factory=dict)
    """What wrong answers cost, as {true class: {answer: cost}}; others cost 1. The answer is then the one that costs
    least. For several labels: {label: {false_negative: cost, false_positive: cost}}."""
    thresholds: Annotated[Literal["balanced", "per_label", "global"], OnlyFor("several labels per image")] = "balanced"
    """From which probability a label is given, where images have several. `per_label`: each label's best by its own F1;
    `global`: one for all, the best by micro F1; `balanced`: the best for micro F1 that keeps four fifths of the label's
    own best F1."""
    bootstrap_samples: int = Field(1000, ge=100)
    """Resamples behind intervals that have no closed form."""
    explained_errors: int = Field(12, ge=0)
    """The report shows what the network looked at in so many of its most confident mistakes; 0 for none."""
    batch_size: Annotated[int, Field(ge=1)] | Auto = "auto"
    """Images per forward pass without gradients; `auto`: fewer where they are larger, which bounds the memory."""

    @field_validator("targets")
    @classmethod
    def _score_targets(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_score_target(text)
        return value


class RuntimeConfig(Section):
    """The machine."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the network runs."""
    devices: int = Field(1, ge=1)
    """Processes, each with its own device (or fraction of the processor)."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """`bf16` is autocast over float32 weights; `auto` takes it where the processor computes in it."""
    threads: int = Field(0, ge=0)
    """Processor threads; 0 takes every core the process may use."""
    checkpoint_seconds: float = Field(60.0, gt=0.0)
    """A checkpoint is written at every epoch's end and after this long within one."""
    tensorboard: bool = False
    """Also write TensorBoard event files (needs the extra `linnaeus[tensorboard]`)."""

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """`--set runtime.precision=32` comes as a number, since YAML reads it as one."""
        return str(value) if value == 32 else value


class RunConfig(Section):
    """One run, whole."""

    data: DataConfig = Field(default_factory=DataConfig)
    image: ImageConfig = Field(default_factory=ImageConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    phases: tuple[PhaseConfig, ...] = Field(default_factory=lambda: (PhaseConfig(),), min_length=1)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)
    seed: int = Field(0, ge=0, lt=2**31)
    """Everything random follows from it."""
    time_limit_seconds: float | None = Field(None, gt=0.0)
    """Training is planned to end within this time and is stopped at it at the latest; the best weights are kept."""


def parse_config(page: Mapping[str, Any], *, where: str = "the configuration") -> RunConfig:
    """Turn nested dicts into a RunConfig; raises ConfigError naming the field and the nearest known name."""
    try:
        return RunConfig.model_validate(dict(page))
    except ValidationError as error:
        raise ConfigError(f"In {where}: {explain_errors(error)}") from error


def explain_errors(error: ValidationError) -> str:
    """What does not fit, in words, with the nearest known name for a setting that does not exist."""
    return "; ".join(_explain(item) for item in error.errors())


def _explain(item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    dotted = ".".join(path)
    if item["type"] == "extra_forbidden":
        known = _known_fields(path[:-1])
        return f"there is no setting '{dotted}'.{nearest_name(path[-1], known)} Known here: {', '.join(sorted(known))}"
    return f"'{dotted}' = {item['input']!r} does not fit: {item['msg'][:1].lower()}{item['msg'][1:]}"


def _known_fields(path: Iterable[str]) -> list[str]:
    section: type[BaseModel] = RunConfig
    for part in path:
        if part.isdigit():
            continue
        section = SECTIONS.get(part, section)
    return list(section.model_fields)


SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "image": ImageConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "head": HeadConfig,
    "loss": LossConfig,
    "phases": PhaseConfig,
    "early_stopping": EarlyStoppingConfig,
    "evaluate": EvaluateConfig,
    "runtime": RuntimeConfig,
}
