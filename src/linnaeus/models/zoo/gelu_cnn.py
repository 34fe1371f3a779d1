"""X2: a CNN with GELU (reference system X2: 78.7 % on objects of xView).

Six 3x3 "valid" convolutions of 32 to 1024 channels, each followed by max-pool 2, batch norm and GELU; flatten, which at
224 px leaves one pixel of 1,024 channels; dense 512, 256, 128, each with batch norm, GELU and dropout; dense K.
6,990,412 parameters at 224 px and 12 classes, of which 6,984,588 are trained.
"""

from __future__ import annotations

from torch import nn

from linnaeus.errors import ModelError
from linnaeus.models.classifier import Classifier
from linnaeus.models.zoo.keras_layers import convolution, dense, he_normal, norm_of_maps, norm_of_vectors

CHANNELS = (32, 64, 128, 256, 512, 1024)
WIDTHS = (512, 256, 128)
DROPOUTS = (0.4, 0.4, 0.3)
"""The report says 0.3 to 0.4."""


def gelu_cnn(
    *,
    num_classes: int,
    image_size: int,
    channels: list[int] | None = None,
    widths: list[int] | None = None,
    dropouts: list[float] | None = None,
) -> Classifier:
    """Build it with random weights.

    Args:
        num_classes: K.
        image_size: side in pixels; with all six convolutions 190 at least.
        channels: of the convolutions; CHANNELS if None. Fewer of them take smaller images.
        widths, dropouts: of the hidden dense layers; WIDTHS and DROPOUTS if None.

    Raises ModelError if the image is too small for so many convolutions, or there is not one dropout for each width.
    """
    channels = list(CHANNELS) if channels is None else channels
    widths = list(WIDTHS) if widths is None else widths
    dropouts = list(DROPOUTS) if dropouts is None else dropouts
    if len(widths) != len(dropouts) or not widths:
        raise ModelError(f"gelu_cnn needs one dropout for each width, not {len(dropouts)} for {len(widths)}.")
    least = smallest_side(len(channels))
    if image_size < least:
        raise ModelError(
            f"gelu_cnn with {len(channels)} convolutions needs {least} px at least, not {image_size}. Take a larger "
            "--image-size, or fewer of model.options.channels."
        )
    layers: list[nn.Module] = []
    depth, side = 3, image_size
    for wider in channels:
        layers.append(convolution(depth, wider, same=False, initialize=he_normal))
        layers += [nn.MaxPool2d(2), norm_of_maps(wider), nn.GELU()]
        depth, side = wider, (side - 2) // 2
    layers.append(nn.Flatten())
    width = depth * side**2
    for wider, dropout in zip(widths, dropouts, strict=True):
        layers += [dense(width, wider), norm_of_vectors(wider), nn.GELU(), nn.Dropout(dropout)]
        width = wider
    options = {"channels": channels, "widths": widths, "dropouts": dropouts}
    return Classifier(nn.Sequential(*layers), dense(width, num_classes), name="gelu_cnn", options=options)


def smallest_side(num_convolutions: int) -> int:
    """The least side in pixels of which so many convolutions and poolings leave a pixel."""
    side = 1
    for _ in range(num_convolutions):
        side = 2 * side + 2
    return side
