"""How an image becomes the size that the network sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from linnaeus.data.image_spec import PAD_GREY, ImageSpec


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_smaller_image_is_placed_as_it_is_and_not_enlarged() -> None:
    """20 x 30 pixels in the middle of 64: 22 rows of grey above and 17 columns to the left."""
    small = image(20, 30)
    placed = ImageSpec(64, 64, "letterbox").fit(small)
    assert np.array_equal(placed[22:42, 17:47], small)
    placed[22:42, 17:47] = PAD_GREY
    assert (placed == PAD_GREY).all()


@pytest.mark.parametrize(("height", "width"), [(128, 100), (64, 200), (65, 64)])
def test_a_larger_image_is_placed_as_padding_does(height: int, width: int) -> None:
    large = image(height, width)
    assert np.array_equal(ImageSpec(64, 64, "letterbox").fit(large), ImageSpec(64, 64, "pad").fit(large))


@given(height=st.integers(1, 700), width=st.integers(1, 700), size=st.sampled_from([32, 64, 96, 128, 224, 299, 300]))
def test_the_centre_can_be_cut_from_images_of_any_size(height: int, width: int, size: int) -> None:
    """A uniform image stays what it is, and 168 / (224 / 168) must not end left of the image's edge."""
    plain = np.full((height, width, 3), 77, np.uint8)
    assert (ImageSpec(size, size, "crop").fit(plain) == 77).all()


def test_what_is_cut_is_the_centre() -> None:
    """Of 100 x 60 pixels the middle 60 rows; at the cut Pillow's filter reaches over it."""
    tall = image(100, 60)
    centre = Image.fromarray(tall[20:80]).resize((30, 30), Image.Resampling.BILINEAR)
    cut = ImageSpec(30, 30, "crop").fit(tall)
    assert np.abs(cut[1:-1].astype(int) - np.asarray(centre)[1:-1]).max() <= 1, "but for rounding"
