"""Noise, erasing, mixup and CutMix: against their equations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.augment import mixing, noise
from linnaeus.augment.boxes import box_fraction, box_mask

CPU = torch.device("cpu")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(num: int, height: int = 8, width: int = 10) -> torch.Tensor:
    return torch.rand(num, 3, height, width, generator=_generator(9)).contiguous(memory_format=torch.channels_last)


def test_noise_has_the_deviation_asked_for_and_stays_in_range() -> None:
    grey = torch.full((4, 3, 50, 50), 0.5)
    noisy = noise.add_noise(grey, deviation=0.1, generator=_generator())
    assert noisy.std().item() == pytest.approx(0.1, rel=0.03)
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.003)
    loud = noise.add_noise(grey, deviation=1.0, generator=_generator())
    assert loud.min() == 0.0 and loud.max() == 1.0
    assert torch.equal(grey, torch.full_like(grey, 0.5))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(24, 60), width=st.integers(24, 60))
def test_erased_rectangles_have_the_area_and_aspect_of_the_paper(seed: int, height: int, width: int) -> None:
    boxes = noise.draw_erased_boxes(64, height=height, width=width, generator=_generator(seed), device=CPU)
    top, left, bottom, right = boxes.unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (bottom <= height).all() and (right <= width).all()
    tall, wide = (bottom - top).double(), (right - left).double()
    # Sides are rounded to whole pixels, which moves both figures by half a pixel of each side.
    slack = 0.5 * (tall + wide) + 0.25
    fraction_low, fraction_high = (tall * wide - slack) / (height * width), (tall * wide + slack) / (height * width)
    assert (fraction_high >= 0.02 - 1e-6).all() and (fraction_low <= 0.33 + 1e-6).all()
    assert ((tall + 0.5) / (wide - 0.5).clamp(min=0.1) >= 0.3 - 1e-6).all()
    assert ((tall - 0.5) / (wide + 0.5) <= 1 / 0.3 + 1e-6).all()


def test_erased_rectangles_are_spread_over_areas_aspects_and_places() -> None:
    boxes = noise.draw_erased_boxes(4000, height=100, width=100, generator=_generator(), device=CPU)
    top, left, bottom, right = boxes.double().unbind(1)
    fraction = (bottom - top) * (right - left) / 1e4
    assert fraction.mean().item() == pytest.approx(0.175, abs=0.01)
    assert fraction.min() < 0.03 and fraction.max() > 0.32
    assert ((bottom - top) > (right - left)).double().mean().item() == pytest.approx(0.5, abs=0.04)
    assert ((top + bottom) / 2).mean().item() == pytest.approx(50, abs=1)
    assert ((left + right) / 2).mean().item() == pytest.approx(50, abs=1)


def test_erased_rectangles_fit_into_a_ribbon() -> None:
    boxes = noise.draw_erased_boxes(50, height=4, width=400, generator=_generator(), device=CPU)
    assert (boxes[:, 2] <= 4).all() and (boxes[:, 3] <= 400).all() and (boxes[:, 2] > boxes[:, 0]).all()


def test_erasing_changes_the_rectangle_and_nothing_else() -> None:
    images = _images(3)
    boxes = torch.tensor([[1, 2, 5, 6], [0, 0, 0, 0], [0, 0, 8, 10]])
    erased = noise.erase(images, boxes=boxes, generator=_generator())
    mask = box_mask(boxes, height=8, width=10).expand_as(images)
    assert torch.equal(erased[~mask], images[~mask])
    assert not (erased[mask] == images[mask]).any()
    assert erased[2].std() > 0.2 and erased.min() >= 0 and erased.max() <= 1


def test_so_many_samples_are_erased_as_the_probability_says() -> None:
    images = torch.full((400, 3, 12, 12), 2.0)
    touched = (noise.erase_some(images, probability=0.25, generator=_generator()) != 2.0).any(dim=(1, 2, 3))
    assert touched.float().mean().item() == pytest.approx(0.25, abs=0.06)
    assert noise.erase_some(images, probability=0.0, generator=_generator()) is images


def test_a_box_covers_the_fraction_that_its_mask_shows() -> None:
    boxes = torch.tensor([[0, 0, 8, 10], [2, 3, 4, 7], [5, 5, 5, 9]])
    mask = box_mask(boxes, height=8, width=10)
    assert mask.shape == (3, 1, 8, 10)
    assert box_fraction(boxes, height=8, width=10).tolist() == pytest.approx([1.0, 8 / 80, 0.0])
    assert mask.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([1.0, 8 / 80, 0.0])
    assert mask[1, 0, 2:4, 3:7].all()


def test_mixup_by_hand() -> None:
    images = torch.tensor([0.0, 1.0, 0.5]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    mixed, targets = mixing.mixup(
        images,
        torch.tensor([2, 0, 2]),
        num_classes=3,
        partners=torch.tensor([1, 2, 0]),
        fractions=torch.tensor([0.75, 0.5, 0.1]),
    )
    assert mixed[:, 0, 0, 0].tolist() == pytest.approx([0.25, 0.75, 0.05])
    torch.testing.assert_close(targets, torch.tensor([[0.25, 0.0, 0.75], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]]))


def test_cutmix_by_hand() -> None:
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 5)
    boxes = torch.tensor([[1, 1, 3, 4], [0, 0, 0, 0]])
    pasted, targets = mixing.cutmix(
        images, torch.tensor([0, 1]), num_classes=2, partners=torch.tensor([1, 0]), boxes=boxes
    )
    expected = torch.zeros(4, 5)
    expected[1:3, 1:4] = 1.0
    assert torch.equal(pasted[0], expected.expand(3, 4, 5)) and (pasted[1] == 1.0).all()
    torch.testing.assert_close(targets, torch.tensor([[0.7, 0.3], [0.0, 1.0]]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), alpha=st.floats(0.1, 4.0))
def test_cutmix_targets_state_the_pixels_of_each_image(seed: int, alpha: float) -> None:
    generator = _generator(seed)
    num, height, width = 8, 9, 13
    fractions = mixing.draw_fractions(num, alpha=alpha, generator=generator, device=CPU)
    partners = mixing.draw_partners(num, generator=generator, device=CPU)
    boxes = mixing.draw_cut_boxes(fractions, height=height, width=width, generator=generator)
    # Image k is painted with the number k and has class k: the target is the histogram of the pixels.
    images = torch.arange(num).float().view(num, 1, 1, 1).expand(num, 3, height, width)
    pasted, targets = mixing.cutmix(images, torch.arange(num), num_classes=num, partners=partners, boxes=boxes)
    counted = torch.stack([(pasted[:, 0] == k).float().mean(dim=(1, 2)) for k in range(num)], dim=1)
    torch.testing.assert_close(targets, counted, rtol=0, atol=1e-6)


def test_cut_boxes_have_the_sides_of_the_paper_where_the_edge_does_not_cut_them() -> None:
    fractions = torch.full((500,), 0.75)
    boxes = mixing.draw_cut_boxes(fractions, height=40, width=60, generator=_generator())
    tall, wide = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert tall.max() == 20 and wide.max() == 30
    inside = (boxes[:, 0] > 0) & (boxes[:, 2] < 40)
    assert inside.any() and (tall[inside] == 20).all()
    assert tall.min() < 20 and tall.min() >= 10


def test_fractions_follow_the_beta_distribution() -> None:
    fractions = mixing.draw_fractions(20000, alpha=0.4, generator=_generator(), device=CPU)
    assert fractions.dtype == torch.float32 and fractions.min() >= 0 and fractions.max() <= 1
    assert fractions.mean().item() == pytest.approx(0.5, abs=0.01)
    assert fractions.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.03)


def test_partners_are_a_permutation() -> None:
    partners = mixing.draw_partners(50, generator=_generator(), device=CPU)
    assert partners.sort().values.tolist() == list(range(50)) and partners.tolist() != list(range(50))
