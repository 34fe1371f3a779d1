"""How an image becomes the size that the network sees."""

from __future__ import annotations

import numpy as np
import pytest

from linnaeus.data.image_spec import PAD_GREY, ImageSpec


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_smaller_image_is_placed_as_it_is_and_not_enlarged() -> None:
    """20 x 30 pixels in the middle of 64: 22 rows of grey above and 17 columns to the left."""
    small = image(20, 30)
    placed = ImageSpec(64, 64, "place").fit(small)
    assert np.array_equal(placed[22:42, 17:47], small)
    placed[22:42, 17:47] = PAD_GREY
    assert (placed == PAD_GREY).all()


@pytest.mark.parametrize(("height", "width"), [(128, 100), (64, 200), (65, 64)])
def test_a_larger_image_is_placed_as_padding_does(height: int, width: int) -> None:
    large = image(height, width)
    assert np.array_equal(ImageSpec(64, 64, "place").fit(large), ImageSpec(64, 64, "pad").fit(large))
