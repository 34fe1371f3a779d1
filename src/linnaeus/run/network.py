"""The network of a run: built from its settings, given pretrained weights, made ready for rare classes.

Beside `fit`, which asks for it before anything is written, when training begins, and once per fold. Knows nothing
of pixels, of training, or of scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from linnaeus.config.resolved import ResolvedConfig
from linnaeus.data.manifest import Manifest
from linnaeus.errors import ModelError
from linnaeus.losses import log_fractions
from linnaeus.models import Classifier, build_classifier
from linnaeus.models.heads import shift_logits
from linnaeus.planning.transfer import is_backbone
from linnaeus.run_folder import RunDir
from linnaeus.training.job import class_count_tensor
from linnaeus.training.run import started

if TYPE_CHECKING:
    from linnaeus.models.weights import WeightsReport


def build_untrained(config: ResolvedConfig, manifest: Manifest) -> Classifier:
    """The network of these settings for these classes, with the random weights of the seed."""
    torch.manual_seed(config.seed)
    return build_classifier(
        config.model.name,
        num_classes=manifest.num_classes,
        image_size=config.image.size,
        options=dict(config.model.options),
        head=config.model.head.model_dump(exclude_defaults=True),
        features=config.model.features,
    )


def load_pretrained_weights(classifier: Classifier, config: ResolvedConfig) -> WeightsReport | None:
    """Put pretrained weights into a backbone, and say which; None for a network that starts from random ones."""
    if not is_backbone(config.model) or config.model.weights == "none":
        return None
    from linnaeus.models.weights import load_pretrained  # takes seconds: timm

    return load_pretrained(
        classifier.backbone,
        name=config.model.name,
        weights=config.model.weights,
        allow_download=config.model.allow_download,
    )


def classifier_to_train(
    config: ResolvedConfig, manifest: Manifest, run: RunDir, *, weights_sha256: str | None
) -> Classifier:
    """The network with which training in this folder begins; pretrained weights are read only where it has not begun.

    Raises ModelError if they are others than those that were planned with, of this SHA-256.
    """
    classifier = build_untrained(config, manifest)
    if weights_sha256 is not None and not started(run):
        loaded = load_pretrained_weights(classifier, config)
        if loaded is None or loaded.sha256 != weights_sha256:
            raise ModelError(
                f"The weights {config.model.weights} have changed since {run.path} began, so it cannot go on. Start "
                "again with --force."
            )
    return classifier


def adjust_logits(classifier: Classifier, config: ResolvedConfig, manifest: Manifest) -> None:
    """Take each class's log fraction from its logit where that is asked for (arXiv 2007.07314, equation 9)."""
    if config.evaluate.logit_adjustment:
        fractions = log_fractions(class_count_tensor(config, manifest))
        shift_logits(classifier.head, -config.evaluate.logit_adjustment * fractions)
