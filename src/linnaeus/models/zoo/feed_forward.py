"""X1: a feed-forward network on raw pixels (reference system X1: 58.0 % on objects of xView).

Flatten; dense 64, 128, 256, 512, 1024, 2048, 512, 256, each followed by batch norm, LeakyReLU(0.01) and dropout; dense
K. 13,633,996 parameters at 224 px and 12 classes, of which 13,624,396 are trained. Nearly all of the first layer's
weights look at single pixels, so it learns what colour stands where; it is here to be compared with.
"""

from __future__ import annotations

from torch import nn

from linnaeus.errors import ModelError
from linnaeus.models.classifier import Classifier
from linnaeus.models.zoo.keras_layers import dense, norm_of_vectors

WIDTHS = (64, 128, 256, 512, 1024, 2048, 512, 256)
DROPOUTS = (0.3, 0.3, 0.3, 0.3, 0.3, 0.4, 0.4, 0.4)
"""The report says 0.3 to 0.4; here the more where its penalties are, from the widest layer on."""
_SLOPE = 0.01


def feed_forward(
    *, num_classes: int, image_size: int, widths: list[int] | None = None, dropouts: list[float] | None = None
) -> Classifier:
    """Build it with random weights.

    Args:
        num_classes: K.
        image_size: side in pixels.
        widths: of the hidden layers; WIDTHS if None.
        dropouts: after each of them; DROPOUTS if None.

    Raises ModelError if there is not one dropout for each width.
    """
    widths = list(WIDTHS) if widths is None else widths
    dropouts = list(DROPOUTS) if dropouts is None else dropouts
    if len(widths) != len(dropouts) or not widths:
        raise ModelError(f"feed_forward needs one dropout for each width, not {len(dropouts)} for {len(widths)}.")
    layers: list[nn.Module] = [nn.Flatten()]
    width = 3 * image_size**2
    for wider, dropout in zip(widths, dropouts, strict=True):
        layers += [dense(width, wider), norm_of_vectors(wider), nn.LeakyReLU(_SLOPE), nn.Dropout(dropout)]
        width = wider
    options = {"widths": widths, "dropouts": dropouts}
    return Classifier(nn.Sequential(*layers), dense(width, num_classes), name="feed_forward", options=options)
