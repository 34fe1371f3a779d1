"""C1: the Mish CNN that students trained on CIFAR-10 (reference system C1: 86 %, 404,778 parameters at 32 px).

conv 32, 32, pool, dropout 0.2; conv 64, 64, pool, dropout 0.3; conv 128, pool, dropout 0.4; flatten; dense 128, batch
norm, dropout 0.5; dense K. Every 3x3 "same" convolution is He-uniform, followed by Mish and then batch norm. Built in
Keras by its authors, so initialisation, batch-norm momentum (0.99) and epsilon (1e-3) are those of Keras.
"""

from __future__ import annotations

from torch import nn

from linnaeus.errors import ModelError
from linnaeus.models.classifier import Classifier


def mish_cnn(*, num_classes: int, image_size: int) -> Classifier:
    """Build it with random weights for images of `image_size` px (8 at least; ModelError below)."""
    if image_size < 8:
        raise ModelError(f"mish_cnn halves the image three times and needs 8 px at least, not {image_size}.")
    num_flat = 128 * (image_size // 8) ** 2
    hidden = nn.Linear(num_flat, 128)
    backbone = nn.Sequential(
        *_convolution(3, 32),
        *_convolution(32, 32),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        *_convolution(32, 64),
        *_convolution(64, 64),
        nn.MaxPool2d(2),
        nn.Dropout(0.3),
        *_convolution(64, 128),
        nn.MaxPool2d(2),
        nn.Dropout(0.4),
        nn.Flatten(),
        hidden,
        nn.Mish(),
        nn.BatchNorm1d(128, eps=1e-3, momentum=0.01),
        nn.Dropout(0.5),
    )
    head = nn.Linear(128, num_classes)
    for layer in (hidden, head):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return Classifier(backbone, head, name="mish_cnn", options={})


def _convolution(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return [convolution, nn.Mish(), nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01)]
