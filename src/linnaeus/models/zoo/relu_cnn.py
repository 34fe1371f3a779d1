"""U1: the CNN of a course (reference system U1: 75 to 80 % on photos of 300 px).

Twice: 3x3 convolution, ReLU, batch norm if wanted, max-pool 2, dropout 0.3. Then flatten and dense K. The report gives
no widths; 32 and 64 are those of the tutorials it follows. Written in Keras, so initialised as there.
"""

from __future__ import annotations

from torch import nn

from linnaeus.errors import ModelError
from linnaeus.models.classifier import Classifier
from linnaeus.models.zoo.keras_layers import convolution, dense, norm_of_maps

CHANNELS = (32, 64)
DROPOUT = 0.3


def relu_cnn(
    *,
    num_classes: int,
    image_size: int,
    channels: list[int] | None = None,
    dropout: float = DROPOUT,
    batch_norm: bool = False,
) -> Classifier:
    """Build it with random weights.

    Args:
        num_classes: K.
        image_size: side in pixels, halved by each convolution's pooling.
        channels: of the convolutions; CHANNELS if None.
        dropout: after each of them.
        batch_norm: after each ReLU, before pooling.

    Raises ModelError if the image is too small for so many convolutions.
    """
    channels = list(CHANNELS) if channels is None else channels
    if image_size < 2 ** len(channels):
        raise ModelError(
            f"relu_cnn halves the image {len(channels)} times and needs {2 ** len(channels)} px, not {image_size}."
        )
    layers: list[nn.Module] = []
    depth, side = 3, image_size
    for wider in channels:
        layers += [convolution(depth, wider), nn.ReLU()]
        layers += [norm_of_maps(wider)] if batch_norm else []
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
        depth, side = wider, side // 2
    layers.append(nn.Flatten())
    options = {"channels": channels, "dropout": dropout, "batch_norm": batch_norm}
    return Classifier(nn.Sequential(*layers), dense(depth * side**2, num_classes), name="relu_cnn", options=options)
