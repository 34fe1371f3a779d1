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
    """Which images, and how they are split."""

    source: str = "digits"
    """A folder with one folder per class (or with split folders above them), a table, arrays, any other known layout, a
    data set saved as one file, or a built-in name (`digits`)."""
    format: str | None = None
    """The layout of `source`, such as `table`, where it is not recognised from the path."""
    image_column: str | None = None
    """The column of a table that holds the paths or ids of the images; detected if not given."""
    label_columns: list[str] = Field(default_factory=list)
    """Label column(s) of a table: one column of class names, or several 0/1 columns, one per label; detected if not
    given."""
    image_root: str | None = None
    """The folder that the image paths of a table or of lists start from; by default that of the table or lists."""
    image_shape: list[int] | None = Field(None, min_length=2, max_length=3)
    """The shape of one sample of an array, such as [300, 300, 3] or [3, 300, 300], where it cannot be inferred."""
    corrections: list[str] = Field(default_factory=list)
    """Files of label corrections written by `linnaeus review`, applied on top of the labels of `source`, which itself
    is not changed."""
    classes: list[str] = Field(default_factory=list)
    """Classes to keep; all others are left out."""
    top_classes: int | None = Field(None, ge=2)
    """Keep only this many of the most frequent classes."""
    box_padding: float | None = Field(None, ge=0.0)
    """Every bounding box is enlarged on each side by this fraction of its width and height."""
    min_box_size_px: float | None = Field(None, ge=0.0)
    """Bounding boxes with a side shorter than this are left out."""
    test_data: str | None = None
    """Separate test data with the same class names; the images of `source` are then used for training and validation
    only."""
    validation_fraction: float = Field(0.15, gt=0.0, lt=1.0)
    """Fraction of the images used for validation, where the data has no validation split."""
    validation_max: int = Field(2500, ge=1)
    """Maximum number of validation images taken from the training images (but never fewer than 50 per class)."""
    folds: int | None = Field(None, ge=2)
    """Number of cross-validation folds. One head is trained per fold on the other folds; the averaged head is shipped,
    and every training and validation image gets an out-of-fold prediction. For heads trained with `lbfgs`."""
    fold_training: Annotated[Literal["head", "finetune"], OnlyWith("folds")] = "head"
    """`head` trains one head per fold on features, in seconds; `finetune` runs all phases once per fold, which takes as
    many trainings as there are folds, and ships the ensemble of these networks."""
    out_of_fold: Annotated[Annotated[int, Field(ge=0)] | Auto, OnlyWith("folds", values=[None])] = "auto"
    """Number of folds for out-of-fold predictions, by which label errors are found, where the model itself is one head
    trained on all images. `auto`: 5 for heads trained with `lbfgs` on at most 20,000 images; 0 turns them off."""
    balance: Literal["none", "oversample", "square_root"] = "none"
    """How often an epoch shows each training image: `none`, once; `oversample`, once, and then repeatedly an image with
    the label that is rarest so far; `square_root`, classes in proportion to the square root of their number of
    images."""
    oversample_factor: Annotated[float, OnlyWith("balance", values=["oversample"])] = Field(4.0, ge=1.0)
    """Number of images in an epoch, as a multiple of the number of training images."""
    test_fraction: float = Field(0.15, gt=0.0, lt=1.0)
    """Fraction of the images used for the final test, where the data has no test split."""


class ImageConfig(Section):
    """The exact preprocessing, the same in training and in prediction."""

    size: int | Auto = "auto"
    """Height and width in pixels; with `auto` the plan chooses by the size of the images."""
    resize: Literal["squash", "crop", "pad", "letterbox"] = "squash"
    """`squash` scales the whole image to the size without keeping its aspect ratio, `crop` cuts out the centre square,
    `pad` fits the whole image into a grey square, `letterbox` does the same but never enlarges it."""
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    """How pixels are resampled; always antialiased when the image becomes smaller."""
    normalize: Literal["dataset", "backbone", "imagenet", "half", "none"] = "dataset"
    """Mean and standard deviation: those of the training images, those that the backbone was pretrained with, those of
    ImageNet, 0.5 and 0.5, or 0 and 1."""


class AugmentConfig(Section):
    """Random changes to training images, drawn anew for every image and epoch, on the device."""

    only_for: ClassVar[Situation | None] = "augmented images"

    policy: Literal["none", "trivial_augment", "rand_augment"] = "none"
    """Automatic augmentation on top of the settings below: `trivial_augment` applies one random operation of random
    strength (arXiv 2103.10158); `rand_augment` applies several of one strength (arXiv 1909.13719)."""
    policy_num_ops: Annotated[int, OnlyWith("policy", values=["rand_augment"])] = Field(2, ge=1, le=10)
    """Number of operations per image."""
    policy_magnitude: Annotated[int, OnlyWith("policy", values=["rand_augment"])] = Field(9, ge=0, le=30)
    """Strength of the operations, up to 30."""
    flip: Annotated[Flip | Auto, OnlyFor(None)] = "none"
    """Flip images with probability 1/2. `auto`: horizontally, unless the images are grey (characters, scans)."""
    alternate_flip: Annotated[bool, OnlyWith("flip")] = False
    """Flip each image exactly every other epoch instead of at random (arXiv 2404.00498, section 3.6)."""
    pad_crop_px: int | Auto = 0
    """Random crop after reflection padding by this many pixels: an exact shift without resampling. `auto`: a 16th of
    the side."""
    probability: float = Field(1.0, gt=0.0, le=1.0)
    """Fraction of the images that are augmented; the others are shown unchanged (except for mixup and CutMix)."""
    distribution: Annotated[Literal["uniform", "normal"], OnlyWith(*_GEOMETRY)] = "uniform"
    """How translation, rotation, zoom and shear are drawn: uniformly up to the amounts below, or from a normal
    distribution with the amounts as standard deviations."""
    translate: float = Field(0.0, ge=0.0, le=1.0)
    """Maximum translation as a fraction of the side, in both directions."""
    rotate_degrees: float = Field(0.0, ge=0.0, le=180.0)
    """Maximum rotation, in both directions."""
    zoom: float = Field(0.0, ge=0.0, lt=1.0)
    """Zoom factor uniform in [1 - zoom, 1 + zoom]."""
    shear_degrees: float = Field(0.0, ge=0.0, lt=90.0)
    """Maximum horizontal shear angle, in both directions."""
    fill: Annotated[Literal["zeros", "border", "reflection"], OnlyWith(*_GEOMETRY)] = "reflection"
    """What is shown beyond the edge of the image after a geometric transformation."""
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
    """Probability of random erasing of a rectangle (arXiv 1708.04896)."""
    mixup: Annotated[float, OnlyFor("training on images")] = Field(0.0, ge=0.0)
    """Alpha of mixup (arXiv 1710.09412); 0 turns it off."""
    cutmix: Annotated[float, OnlyFor("training on images")] = Field(0.0, ge=0.0)
    """Alpha of CutMix (arXiv 1905.04899); 0 turns it off. With both on, each batch draws one of them."""


class HeadConfig(Section):
    """The layers that turn the features of a backbone into logits."""

    hidden: list[int] = Field(default_factory=list)
    """Widths of the hidden layers; an empty list is a linear head."""
    activation: Literal["relu", "leaky_relu", "gelu", "mish"] = "relu"
    """Activation after each hidden layer."""
    batch_norm: bool = False
    """Batch norm after each hidden layer."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout rate after each hidden layer."""
    feature_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout rate of the pooled features."""
    map_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout rate of the last feature maps, before pooling; such a head cannot use cached features."""
    cosine: bool = False
    """Logits are scaled cosine similarities of features and class vectors (arXiv 1804.09458) instead of dot
    products."""


class ModelConfig(Section):
    """The network."""

    name: str = "auto"
    """`auto`; `none` for no backbone, so that the plan takes a network of our own; one of those: `speed_cnn`,
    `mish_cnn`, `feed_forward`, `gelu_cnn`, `relu_cnn`, `block_cnn`; any timm architecture, or several of them joined by
    `+` (their features are concatenated)."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Arguments of the architecture, such as `{widths: [64, 256, 256]}`; where several are joined, the arguments of one
    of them are written as `mobilenetv2_100.pad_type`."""
    weights: Annotated[str, OnlyFor("a pretrained backbone")] = "auto"
    """Pretrained weights of a timm architecture: a file, a folder that holds NAME.safetensors (or .pth, .bin), `auto`
    (packages installed with Linnaeus, then the Hugging Face cache on this machine), or `none` for random weights."""
    allow_download: Annotated[bool, OnlyFor("a pretrained backbone")] = False
    """Download weights from the Hugging Face hub if they are not on this machine."""
    features: Annotated[FeatureKind | Auto, OnlyFor("a pretrained backbone")] = "auto"
    """`last`: the backbone's own pooled output; `maps`: its last feature maps, flattened without pooling; `stages`:
    means and standard deviations of the feature maps of all stages (arXiv 2201.03529). `auto`: `stages` if only a head
    is trained, else `last`."""
    head: HeadConfig = Field(default_factory=HeadConfig)
    """The head on top of the features."""


class LossConfig(Section):
    """The loss that training minimises."""

    name: Literal["cross_entropy", "focal", "bce", "squeezed_bce", "asymmetric", "binary_focal"] = "cross_entropy"
    """For one label per image: `cross_entropy`, or `focal` (arXiv 1708.02002), which gives less weight to images that
    are already classified confidently. For several labels: `bce`, binary cross-entropy averaged over the labels;
    `squeezed_bce`, its sum over the labels on 0.99 p + 0.005; `asymmetric` (arXiv 2009.14119), which gives less weight
    to the many absent labels; `binary_focal`, the sum of focal losses over the labels. Where images have several
    labels, the plan replaces a recipe's `cross_entropy` or `focal` by `bce`."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of the target that is spread evenly over all classes; with `bce`, over present and absent of each
    label."""
    gamma: Annotated[float, OnlyWith("name", values=["focal", "binary_focal"])] = Field(2.0, ge=0.0)
    """Focusing parameter: how much the weight of confidently classified images is reduced."""
    class_weights: Literal["none", "balanced", "effective"] = "none"
    """For one label per image. `none`: every image has the same weight; `balanced`: every class has the same weight;
    `effective`: in between, by the effective number of images (arXiv 1901.05555)."""
    beta: Annotated[float, OnlyWith("class_weights", values=["effective"])] = Field(0.999, ge=0.0, lt=1.0)
    """Near 0 every image has the same weight, near 1 every class."""
    logit_adjustment: float = Field(0.0, ge=0.0)
    """For one label per image: this many times the logarithm of each class's frequency is added to its logit in
    training (arXiv 2007.07314, equation 10), so that the model predicts as if all classes were equally frequent; the
    paper uses 1."""
    gamma_neg: Annotated[float, OnlyWith("name", values=["asymmetric"])] = Field(4.0, ge=0.0)
    """Focusing parameter of absent labels."""
    gamma_pos: Annotated[float, OnlyWith("name", values=["asymmetric"])] = Field(1.0, ge=0.0)
    """Focusing parameter of present labels."""
    clip: Annotated[float, OnlyWith("name", values=["asymmetric"])] = Field(0.05, ge=0.0, lt=1.0)
    """Absent labels with a probability below this do not contribute to the loss."""
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
    """A column of history.csv. Losses are better when lower, all others when higher. The two validation accuracies are
    for one label per image, the two columns after them for several."""
    patience: int = Field(10, ge=1)
    """Number of epochs without improvement after which training stops."""
    min_delta: float = Field(0.0, ge=0.0)
    """Smallest change that counts as an improvement."""


class PhaseConfig(Section):
    """One phase of training with one optimizer."""

    name: str = "scratch"
    """Name of the phase in history.csv and on the progress bar."""
    train: Literal["all", "head"] = "all"
    """`head` keeps the backbone frozen: its features are computed once, and only the head is trained on them."""
    last_layers: Annotated[int | None, OnlyWith("train", values=["all"])] = Field(None, ge=1)
    """Train only this many of the last layers of the backbone (and the head)."""
    last_stages: Annotated[int | None, OnlyWith("train", values=["all"])] = Field(None, ge=1)
    """Train only this many of the last stages of the backbone (and the head)."""
    layer_decay: Annotated[float, OnlyWith("train", values=["all"])] = Field(1.0, gt=0.0, le=1.0)
    """Learning rate of each stage of the backbone, as a fraction of that of the next stage."""
    batch_norm: Literal["live", "frozen"] = "live"
    """`frozen` keeps the running statistics of the backbone's batch norm layers."""
    ema_decay: Annotated[float, _STEPPING] = Field(0.0, ge=0.0, lt=1.0)
    """Decay per step of an exponential moving average of the weights, which is then validated and kept; 0 turns it
    off."""
    feature_views: Annotated[int, OnlyWith("train", values=["head"])] = Field(1, ge=1)
    """Number of augmented views of each training image to compute features of; 1 is the image itself."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd", "muon", "lbfgs"] = "adamw"
    """`muon` trains convolutions with Muon and everything else with SGD and Nesterov momentum. `lbfgs`, for linear
    heads with `train: head`, finds the optimal head for each of a range of L2 penalties, of which the best on
    validation is kept. It minimises cross-entropy (binary for several labels); other losses, `loss.l1` and `loss.l2`
    need another optimizer."""
    lr: Annotated[float, _STEPPING] = Field(1e-3, gt=0.0)
    """Peak learning rate (for `muon`: of the convolutions)."""
    head_lr: Annotated[float | None, _STEPPING] = Field(None, gt=0.0)
    """Learning rate of the last layer, if different. For `muon` it is per image of a batch: it is multiplied by
    batch_size."""
    bias_lr: Annotated[float | None, _STEPPING] = Field(None, gt=0.0)
    """Learning rate of biases and norms, if different. For `muon` it is per image of a batch, likewise."""
    momentum: Annotated[float, OnlyWith("optimizer", values=["sgd", "muon"])] = Field(0.9, ge=0.0, lt=1.0)
    """Momentum of `sgd` and of the SGD part of `muon`."""
    muon_momentum: Annotated[float, OnlyWith("optimizer", values=["muon"])] = Field(0.6, ge=0.0, lt=1.0)
    """Momentum of the Muon part of `muon`."""
    rmsprop_alpha: Annotated[float, OnlyWith("optimizer", values=["rmsprop"])] = Field(0.9, ge=0.0, lt=1.0)
    """Decay of the running average of squared gradients."""
    weight_decay: Annotated[float, _STEPPING] = Field(0.0, ge=0.0)
    """Decoupled for `adamw`, and never applied to its biases and norms; added to the gradient for the others. For
    `muon` the fraction by which head and biases shrink per step and image of the batch."""
    batch_size: Annotated[int | Auto, _STEPPING] = "auto"
    """Number of images per optimizer step."""
    micro_batch_size: Annotated[int | None, _STEPPING] = Field(None, ge=1)
    """Number of images per forward pass; the gradients of a batch are accumulated. Limits memory; batch norm computes
    its statistics over this many images."""
    epochs: Annotated[PositiveEpochs | Auto, _STEPPING] = "auto"
    """Number of passes over the training images; if it is not a whole number, the last pass is cut short. `auto`
    depends on the number of images. A time limit reduces it."""
    schedule: Annotated[Literal["constant", "linear", "cosine", "one_cycle", "step", "plateau"], _STEPPING] = "constant"
    """Learning rate schedule after the warm-up: `linear` and `cosine` decay to zero; `one_cycle` rises from a 25th of
    the peak over the first 0.3 of the phase and decays to nearly zero (arXiv 1708.07120, as in torch); `step`
    multiplies by `lr_decay_factor` every `lr_decay_epochs` epochs; `plateau` does so when the validation loss has not
    improved for that many epochs."""
    lr_decay_factor: Annotated[float, OnlyWith("schedule", values=["step", "plateau"])] = Field(0.1, gt=0.0, lt=1.0)
    """Factor by which the learning rate is multiplied."""
    lr_decay_epochs: Annotated[int, OnlyWith("schedule", values=["step", "plateau"])] = Field(10, ge=1)
    """Number of epochs after which it is."""
    warmup_fraction: Annotated[float, _STEPPING] = Field(0.0, ge=0.0, lt=1.0)
    """Fraction of the phase during which the learning rate rises linearly from zero."""
    grad_clip_norm: Annotated[float | None, _STEPPING] = Field(None, gt=0.0)
    """Maximum norm of the gradient."""
    early_stopping: Annotated[EarlyStoppingConfig | None, _STEPPING] = None
    """Early stopping; off by default."""
    monitor: Literal[
        "validation_loss",
        "validation_accuracy",
        "validation_balanced_accuracy",
        "validation_micro_f1",
        "validation_mean_average_precision",
        "last",
    ] = "validation_accuracy"
    """Which epoch's weights are kept: the best by this column of history.csv, or the last. Where images have several
    labels, the plan replaces an accuracy by mean average precision."""


class ScoreTarget(NamedTuple):
    """The lowest acceptable score of one class."""

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
            f"a target is recall:CLASS=VALUE or precision:CLASS=VALUE with a value above 0 and up to 1, not '{text}'"
        )
    return ScoreTarget("recall" if score == "recall" else "precision", label, value)


class EvaluateConfig(Section):
    """How the finished model predicts, and how it is evaluated."""

    tta: TTAKind | Auto = "auto"
    """Test-time augmentation: the views of an image whose logits are averaged, in validation, test and
    prediction alike. `none`: only the image; `flip`: the image and its horizontal flip; `flip_shift`: also both shifted
    by one pixel in each direction. `auto`: `flip` for our own networks if training flips images, else `none`."""
    logit_adjustment: float = Field(0.0, ge=0.0)
    """After training, this many times the logarithm of each class's frequency in the training images is subtracted from
    its logit (arXiv 2007.07314, equation 9), as part of the model: it then predicts as if all classes were equally
    frequent. For one label per image and heads that end in a dense layer with a bias."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Confidence level of all intervals."""
    coverage: float = Field(0.95, gt=0.0, lt=1.0)
    """Probability with which a prediction set shall contain the true class (arXiv 2009.14193); for several labels, the
    fraction of an image's labels that it shall contain (arXiv 2208.02814)."""
    in_distribution_fraction: float = Field(0.99, gt=0.0, lt=1.0)
    """Fraction of the validation images that count as in-distribution. Images whose features are further from those of
    the training images are flagged as out-of-distribution (arXiv 2204.06507)."""
    decide: Annotated[Literal["argmax", "f1"], OnlyFor("one label per image")] = "argmax"
    """Which class is predicted, with one label per image: `argmax`, the most probable class; `f1`, the class with the
    largest probability times a factor per class, where the factors maximise macro F1 on validation images. (With
    several labels, each label has a threshold: `thresholds`.)"""
    targets: list[str] = Field(default_factory=list)
    """Lowest acceptable recall or precision of single classes, such as `recall:Helicopter=0.9` or
    `precision:Ship=0.95`. Predictions are changed as little as is necessary to reach them on the validation images; a
    target that cannot be reached is reported."""
    costs: dict[str, dict[str, Annotated[float, Field(ge=0.0)]]] = Field(default_factory=dict)
    """Costs of wrong predictions, as {true class: {predicted class: cost}}; those not listed cost 1. The class with the
    lowest expected cost is predicted. For several labels: {label: {false_negative: cost, false_positive: cost}}."""
    thresholds: Annotated[Literal["balanced", "per_label", "global"], OnlyFor("several labels per image")] = "balanced"
    """How the probability is chosen from which a label is predicted, with several labels per image. `per_label`: the
    threshold with the best F1 of each label; `global`: one threshold for all labels, with the best micro F1;
    `balanced`: the thresholds with the best micro F1 that keep at least four fifths of each label's best F1."""
    bootstrap_samples: int = Field(1000, ge=100)
    """Number of bootstrap resamples for intervals that have no closed form."""
    explained_errors: int = Field(12, ge=0)
    """Number of the most confident errors for which the report shows a heat map; 0 for none."""
    batch_size: Annotated[int, Field(ge=1)] | Auto = "auto"
    """Number of images per forward pass without gradients. `auto` takes smaller batches for larger images, which limits
    memory."""

    @field_validator("targets")
    @classmethod
    def _score_targets(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_score_target(text)
        return value


class RuntimeConfig(Section):
    """The machine that the run uses."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the network runs."""
    devices: int = Field(1, ge=1)
    """Number of processes, each with its own device (or its part of the CPU cores)."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """`bf16` is automatic mixed precision with float32 weights; `auto` uses it where the processor computes in
    bfloat16."""
    threads: int = Field(0, ge=0)
    """Number of CPU threads; 0 uses all available cores."""
    checkpoint_seconds: float = Field(60.0, gt=0.0)
    """A checkpoint is written at the end of every epoch and, within an epoch, after this many seconds."""
    log_every_steps: int = Field(20, ge=1)
    """Losses are read from the device, shown, and checked for being finite after this many steps, and at the end of
    every epoch. Each reading makes the processor wait for a GPU, and the GPU wait for the processor."""
    tensorboard: bool = False
    """Also write TensorBoard event files (needs the extra `linnaeus[tensorboard]`)."""

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """`--set runtime.precision=32` comes as a number, since YAML reads it as one."""
        return str(value) if value == 32 else value


class RunConfig(Section):
    """All settings of a run."""

    data: DataConfig = Field(default_factory=DataConfig)
    image: ImageConfig = Field(default_factory=ImageConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    phases: tuple[PhaseConfig, ...] = Field(default_factory=lambda: (PhaseConfig(),), min_length=1)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)
    seed: int = Field(0, ge=0, lt=2**31)
    """Random seed."""
    time_limit_seconds: float | None = Field(None, gt=0.0)
    """Training is planned to end within this time and is stopped when it is over; the best weights are kept."""


def parse_config(page: Mapping[str, Any], *, where: str = "the configuration") -> RunConfig:
    """Turn nested dicts into a RunConfig; raises ConfigError naming the field and the nearest known name."""
    try:
        return RunConfig.model_validate(dict(page))
    except ValidationError as error:
        raise ConfigError(f"In {where}: {explain_errors(error)}") from error


_MOST_EXPLAINED = 3


def explain_errors(error: ValidationError) -> str:
    """What does not fit, in words, with the nearest known name for a setting that does not exist.

    Of many such faults the first few, and how many there are.
    """
    items = error.errors()
    words = [_explain(item) for item in items[:_MOST_EXPLAINED]]
    more = len(items) - len(words)
    return "; ".join([*words, f"and {more} more that do not fit"] if more else words)


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
