"""The whole of augmentation: its contract, whatever is switched on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.augment import augment_batch, pipeline
from linnaeus.augment.pipeline import _draw_maps
from linnaeus.config.resolved import ResolvedAugment
from linnaeus.errors import ConfigError

EVERYTHING: dict[str, Any] = {
    "flip": "both",
    "pad_crop_px": 2,
    "translate": 0.1,
    "rotate_degrees": 20.0,
    "zoom": 0.2,
    "shear_degrees": 10.0,
    "brightness": 0.5,
    "contrast": 0.5,
    "saturation": 0.5,
    "hue": 0.2,
    "noise": 0.1,
    "random_erasing": 0.5,
    "mixup": 0.4,
    "cutmix": 1.0,
}
NUM_CLASSES = 5


def _batch(num: int = 6, height: int = 12, width: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (num, height, width, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
    return images, torch.arange(num) % NUM_CLASSES


def _config(**settings: Any) -> ResolvedAugment:
    return ResolvedAugment.model_validate({"flip": "none", "pad_crop_px": 0, **settings})


def _augment(
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    state: int = 0,
    epoch: int = 0,
    **settings: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    return augment_batch(
        images,
        targets,
        _config(**settings),
        num_classes=NUM_CLASSES,
        epoch=epoch,
        rows=torch.arange(len(images)),
        seed=0,
        generator=torch.Generator().manual_seed(state),
    )


@pytest.mark.parametrize("channels_last", [True, False])
def test_with_nothing_asked_for_images_are_divided_by_255_exactly(channels_last: bool) -> None:
    images, targets = _batch()
    images = images if channels_last else images.contiguous()
    found, found_targets = _augment(images, targets)
    assert torch.equal(found, images.float() / 255)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found_targets, targets) and found_targets.dtype == torch.int64


@settings(max_examples=60, deadline=None)
@given(
    asked=st.sets(st.sampled_from(sorted(EVERYTHING))),
    fill=st.sampled_from(["zeros", "border", "reflection"]),
    alternate=st.booleans(),
    num=st.integers(1, 7),
    height=st.integers(5, 20),
    width=st.integers(5, 20),
    state=st.integers(0, 2**31),
)
def test_shape_dtype_layout_and_range_hold_whatever_is_asked_for(
    asked: set[str], fill: str, alternate: bool, num: int, height: int, width: int, state: int
) -> None:
    images, targets = _batch(num, height, width)
    kept = images.clone()
    settings_ = {name: EVERYTHING[name] for name in asked} | {"fill": fill, "alternate_flip": alternate}
    found, soft = _augment(images, targets, state=state, **settings_)
    assert found.shape == images.shape and found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.min() >= 0.0 and found.max() <= 1.0
    if asked & {"mixup", "cutmix"}:
        assert soft.shape == (num, NUM_CLASSES) and soft.dtype == torch.float32 and soft.min() >= 0
        torch.testing.assert_close(soft.sum(1), torch.ones(num), rtol=0, atol=1e-5)
    else:
        assert torch.equal(soft, targets)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_every_setting_does_something(name: str) -> None:
    images, targets = _batch(16)
    found, _ = _augment(images, targets, **{name: EVERYTHING[name]})
    assert not torch.allclose(found, images / 255, atol=0.01)


def test_the_same_generator_state_gives_the_same_batch_and_another_does_not() -> None:
    images, targets = _batch()
    first, again, other = (_augment(images, targets, state=state, **EVERYTHING) for state in (4, 4, 5))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_global_generators_are_left_alone() -> None:
    images, targets = _batch()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002
    for mixing in ({}, {"mixup": 0.0}, {"cutmix": 0.0}):
        _augment(images, targets, **{**EVERYTHING, **mixing})
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == numpy_state  # noqa: NPY002


def test_samples_of_a_batch_are_changed_differently() -> None:
    images, targets = _batch(1)
    images = images.expand(8, -1, -1, -1)
    for name in ("rotate_degrees", "zoom", "shear_degrees", "translate", "brightness", "contrast", "saturation", "hue"):
        found, _ = _augment(images, targets.expand(8), **{name: EVERYTHING[name]})
        assert len(found.flatten(1).unique(dim=0)) == 8, name


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, targets = _batch(11)
    at_once, soft = _augment(images, targets, **EVERYTHING)
    monkeypatch.setattr(pipeline, "CHUNK_BYTES", 1)
    in_pieces, soft_in_pieces = _augment(images, targets, **EVERYTHING)
    torch.testing.assert_close(in_pieces, at_once, rtol=0, atol=1e-6)
    assert torch.equal(soft_in_pieces, soft)


def test_an_empty_batch_stays_empty() -> None:
    images, targets = _batch(0)
    found, _ = _augment(images, targets, flip="horizontal", rotate_degrees=10.0, brightness=0.1)
    assert found.shape == images.shape and found.dtype == torch.float32


def test_crops_and_flips_alone_move_whole_pixels() -> None:
    images, targets = _batch(20)
    found, _ = _augment(images, targets, flip="horizontal", pad_crop_px=3)
    values = found * 255
    torch.testing.assert_close(values, values.round(), rtol=0, atol=1e-4)


def test_alternating_flip_shows_the_mirror_image_in_the_next_epoch() -> None:
    images, targets = _batch()
    asked: dict[str, Any] = {"flip": "horizontal", "alternate_flip": True}
    first, second = (_augment(images, targets, epoch=epoch, state=epoch, **asked)[0] for epoch in (0, 1))
    assert torch.equal(first, second.flip(-1))


def test_both_paths_flip_the_same_images() -> None:
    images, targets = _batch()
    asked: dict[str, Any] = {"flip": "both", "alternate_flip": True}
    exact, _ = _augment(images, targets, **asked)
    resampled, _ = _augment(images, targets, **asked, rotate_degrees=1e-6)
    torch.testing.assert_close(resampled, exact, rtol=0, atol=1e-4)


def test_a_shift_never_exceeds_its_fraction_of_each_side() -> None:
    images = torch.zeros(200, 3, 21, 41, dtype=torch.uint8)
    images[:, :, 10, 20] = 255
    found, _ = _augment(images, torch.zeros(200, dtype=torch.int64), translate=0.2, fill="zeros")
    rows, columns = found[:, 0].sum(2).argmax(1), found[:, 0].sum(1).argmax(1)
    assert 3 <= (rows - 10).abs().max() <= 4 and 7 <= (columns - 20).abs().max() <= 8


def test_with_mixup_and_cutmix_each_batch_draws_one() -> None:
    images, targets = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4)
    images[1::2] = 255
    blended = 0
    for state in range(40):
        found, _ = _augment(images, targets, state=state, mixup=4.0, cutmix=4.0)
        blended += bool(((found > 0.01) & (found < 0.99)).any())
    assert 8 <= blended <= 32


def test_autocast_does_not_lower_the_precision() -> None:
    images, targets = _batch()
    asked = {name: EVERYTHING[name] for name in ("rotate_degrees", "brightness", "contrast", "hue")}
    plain, _ = _augment(images, targets, **asked)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = _augment(images, targets, **asked)
    assert torch.equal(plain, cast)


def test_padding_as_large_as_the_image_is_an_error_that_names_the_setting() -> None:
    images, targets = _batch(2, 8, 30)
    with pytest.raises(ConfigError, match=r"augment\.pad_crop_px = 8 .* 8 x 30"):
        _augment(images, targets, pad_crop_px=8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_result_is_the_processor_s() -> None:
    images, targets = _batch()
    asked = {name: value for name, value in EVERYTHING.items() if name not in ("noise", "random_erasing")}
    config = _config(**asked)
    results = []
    for device in ("cpu", "cuda"):
        found, soft = augment_batch(
            images.to(device),
            targets.to(device),
            config,
            num_classes=NUM_CLASSES,
            epoch=0,
            rows=torch.arange(len(images), device=device),
            seed=0,
            generator=torch.Generator().manual_seed(0),
        )
        assert found.device.type == device and found.is_contiguous(memory_format=torch.channels_last)
        results.append((found.cpu(), soft.cpu()))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-4)


def test_so_many_images_are_changed_as_the_probability_says() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2000, 3, 8, 8), dtype=torch.uint8, generator=generator)
    config = _config(probability=0.3, noise=0.1, rotate_degrees=10)
    changed, _ = augment_batch(
        images,
        torch.zeros(2000, dtype=torch.int64),
        config,
        num_classes=2,
        epoch=0,
        rows=torch.arange(2000),
        seed=0,
        generator=generator,
    )
    same = (changed == images.float() / 255).flatten(1).all(1)
    assert abs(same.float().mean().item() - 0.7) < 0.04
    assert not (changed == images.float() / 255).flatten(1).all(1).all()


def test_normally_drawn_amounts_have_the_deviation_that_is_asked_for() -> None:
    """Half a side is 32 px: shifts of deviation 0.1 * 64 = 6.4 px, rotations of deviation 10 degrees."""
    config = _config(distribution="normal", translate=0.1, rotate_degrees=10, zoom=0.05)
    never = torch.zeros(20000, dtype=torch.bool)
    maps = _draw_maps(torch.zeros(20000, 3, 64, 64), config, never, never, torch.Generator().manual_seed(0))
    zoom = 1 / torch.linalg.det(maps[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(maps[:, 0, 1], maps[:, 0, 0]))
    shift = -(torch.linalg.inv(maps[:, :, :2]) @ maps[:, :, 2:]).squeeze(2)
    assert zoom.mean().item() == pytest.approx(1.0, abs=0.002) and zoom.std().item() == pytest.approx(0.05, rel=0.03)
    assert angle.mean().item() == pytest.approx(0.0, abs=0.3) and angle.std().item() == pytest.approx(10, rel=0.03)
    assert shift.std(dim=0).tolist() == pytest.approx([6.4, 6.4], rel=0.03)
    assert shift.abs().max() > 3 * 6.4, "no bound, as a uniform draw would have"
