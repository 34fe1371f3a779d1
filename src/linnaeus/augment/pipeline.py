"""In order: whole pixels, one resample, a colour matrix, a policy's colours, noise, erasing, mixing."""

from __future__ import annotations

import math

import torch

from linnaeus.augment import colour, crop, flips, geometry, mixing, noise, policy
from linnaeus.augment.draws import HOST, normal, places, uniform
from linnaeus.config.resolved import ResolvedAugment
from linnaeus.errors import ConfigError
from linnaeus.machine import send_to

CHUNK_BYTES = 2**20
"""On a processor, so many bytes of floats per thread are taken through geometry and colour at a time: what one core's
own cache holds. Changes the speed (about twofold at 224 pixels), never the result."""

LEAST_ZOOM = 0.1
"""Normal draws have no end: nothing is made smaller than this, or turned inside out."""


@torch.no_grad()
def augment_batch(
    images: torch.Tensor,
    targets: torch.Tensor,
    config: ResolvedAugment,
    *,
    num_classes: int,
    epoch: int,
    rows: torch.Tensor,
    seed: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change every image of a batch at random, as the configuration asks.

    Args:
        images: uint8 [B, 3, H, W], 0-255; fastest in channels-last layout. Left as it is.
        targets: int64 [B], or uint8 [B, K] of several labels per image.
        config: what to do; whatever is 0 or "none" is not done.
        num_classes: K, the width of soft targets.
        epoch, rows, seed: number of the epoch, row numbers int64 [B] and the run's seed; with them alternating flips
            are settled, nothing else.
        generator: on the processor, where every other random number comes from; the same numbers whatever the device of
            the images, except those that are drawn for every pixel (noise, and what erasing paints).

    Returns images float32 [B, 3, H, W], 0-1, channels-last, and the targets as they were or, with mixup or CutMix, soft
    targets float32 [B, K]. With nothing asked for the images are `images.float() / 255` exactly. All is computed in
    float32, under autocast too, and the host never waits for the device. Raises ConfigError if the images are too small
    for `pad_crop_px`.
    """
    if config.pad_crop_px >= min(images.shape[-2:]):
        raise ConfigError(
            f"augment.pad_crop_px = {config.pad_crop_px} must be less than the height and width of the images, "
            f"{images.shape[-2]} x {images.shape[-1]}. Try a 16th of the side."
        )
    with torch.autocast(images.device.type, enabled=False):
        device, num, shown = images.device, len(images), images
        if config.alternate_flip:
            mirrored, upended = flips.alternating_flips(rows.to(device), flip=config.flip, epoch=epoch, seed=seed)
        else:
            mirrored, upended = flips.draw_flips(num, flip=config.flip, generator=generator, device=device)

        resampled = max(config.translate, config.rotate_degrees, config.zoom, config.shear_degrees) > 0
        if config.pad_crop_px:
            offsets = crop.draw_offsets(num, pad_px=config.pad_crop_px, generator=generator, device=device)
            images = crop.crop_and_flip(
                images, offsets=offsets, pad_px=config.pad_crop_px, mirrored=mirrored, upended=upended
            )
            mirrored = upended = torch.zeros_like(mirrored)
        elif config.flip != "none" and not resampled:
            images = crop.flip_images(images, mirrored=mirrored, upended=upended)

        maps = _draw_maps(images, config, mirrored, upended, generator) if resampled else None
        colours = _draw_colours(num, config, generator, device)
        draws = _draw_operations(images, config, generator)
        if draws is None:
            result = _resample_and_colour(images, maps, colours, config.fill)
        else:
            result = policy.change_colours(_with_policy_maps(images, maps, colours, draws, config.fill), draws)
        if config.noise:
            result = noise.add_noise(result, deviation=config.noise, generator=generator)
        if config.random_erasing:
            result = noise.erase_some(result, probability=config.random_erasing, generator=generator)
        if config.probability < 1.0:
            drawn = uniform(num, 0.0, 1.0, generator=generator, device=HOST)
            unchanged = send_to(places(drawn >= config.probability), device)
            result.index_copy_(0, unchanged, shown.index_select(0, unchanged).float() / 255.0)
        return _mix(result, targets, config, num_classes, generator)


def _draw_operations(images: torch.Tensor, config: ResolvedAugment, generator: torch.Generator) -> policy.Draws | None:
    """The policy's operations for each image; None where none is asked for."""
    if config.policy not in ("trivial_augment", "rand_augment"):
        return None
    return policy.draw_operations(
        len(images),
        policy=config.policy,
        num_operations=config.policy_num_ops,
        level=config.policy_magnitude,
        height=images.shape[-2],
        width=images.shape[-1],
        generator=generator,
    )


def _with_policy_maps(
    images: torch.Tensor,
    maps: torch.Tensor | None,
    colours: torch.Tensor | None,
    draws: policy.Draws,
    fill: geometry.Fill,
) -> torch.Tensor:
    """uint8 [B, 3, H, W] -> float32 [B, 3, H, W], 0-1, channels-last: the policy's geometry is chained to the maps.

    Without other geometry, only the images that the policy moves are resampled; the others keep their very pixels.
    """
    height, width = images.shape[-2:]
    own = policy.policy_maps(draws, height=height, width=width)
    if maps is not None:
        return _resample_and_colour(images, policy.chain(maps, send_to(own, images.device)), colours, fill)
    result = _resample_and_colour(images, None, colours, fill)
    moving = places(policy.moves(draws))
    if len(moving):
        own_moving, moving = send_to(own[moving], images.device), send_to(moving, images.device)
        picked = images.permute(0, 2, 3, 1).index_select(0, moving).permute(0, 3, 1, 2)
        of_picked = None if colours is None else colours[moving]
        moved = _resample_and_colour(picked, own_moving, of_picked, fill)
        result.permute(0, 2, 3, 1).index_copy_(0, moving, moved.permute(0, 2, 3, 1))
    return result


def _draw_maps(
    images: torch.Tensor,
    config: ResolvedAugment,
    mirrored: torch.Tensor,
    upended: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """float32 [B, 2, 3]: an affine map for each image, with its flips."""
    height, width = images.shape[-2:]

    def symmetric(largest: float) -> torch.Tensor:
        if config.distribution == "normal":
            return normal(len(images), largest, generator=generator, device=images.device)
        return uniform(len(images), -largest, largest, generator=generator, device=images.device)

    return geometry.inverse_affine(
        mirrored=mirrored,
        upended=upended,
        zoom=(1.0 + symmetric(config.zoom)).clamp(min=LEAST_ZOOM),
        shear_degrees=symmetric(config.shear_degrees),
        rotate_degrees=symmetric(config.rotate_degrees),
        shift_px=torch.stack([symmetric(config.translate * width), symmetric(config.translate * height)], dim=1),
    )


def _draw_colours(
    num: int, config: ResolvedAugment, generator: torch.Generator, device: torch.device
) -> torch.Tensor | None:
    """float32 [B, 3, 4]: a colour matrix for each image; None if none is asked for."""
    largest = (config.brightness, config.contrast, config.saturation, config.hue)
    if not any(largest):
        return None
    middles = (1.0, 1.0, 1.0, 0.0)
    brightness, contrast, saturation, hue_turns = (
        uniform(num, middle - amount, middle + amount, generator=generator, device=HOST)
        for middle, amount in zip(middles, largest, strict=True)
    )
    matrix = colour.colour_matrix(brightness=brightness, contrast=contrast, saturation=saturation, hue_turns=hue_turns)
    return send_to(matrix, device)


def _resample_and_colour(
    images: torch.Tensor,
    maps: torch.Tensor | None,
    colours: torch.Tensor | None,
    fill: geometry.Fill,
) -> torch.Tensor:
    """uint8 [B, 3, H, W] -> float32 [B, 3, H, W], 0-1, channels-last, chunk by chunk."""
    num, _, height, width = images.shape
    result = torch.empty(images.shape, device=images.device, memory_format=torch.channels_last)
    terms = None if maps is None else geometry.axis_terms(maps, height=height, width=width)
    step = max(num, 1)
    if images.device.type == "cpu":
        step = torch.get_num_threads() * max(1, CHUNK_BYTES // (4 * math.prod(images.shape[1:])))
    for start in range(0, num, step):
        chunk = slice(start, start + step)
        floats = shown = result[chunk].copy_(images[chunk]).div_(255.0)
        if terms is not None:
            floats = geometry.warp(floats, terms[0][chunk], terms[1][chunk], fill=fill)
        if colours is not None:
            floats = colour.apply_colour(floats.contiguous(), colours[chunk])
        if floats is not shown:
            shown.copy_(floats.clamp_(0.0, 1.0))
    return result


def _mix(
    images: torch.Tensor,
    targets: torch.Tensor,
    config: ResolvedAugment,
    num_classes: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup, CutMix, or one of the two at random for the whole batch if both are on."""
    if not (config.mixup or config.cutmix):
        return images, targets
    device, num = images.device, len(images)
    cut = config.cutmix > 0
    if config.mixup and config.cutmix:
        cut = bool(torch.rand(1, generator=generator).numpy()[0] < 0.5)
    partners = mixing.draw_partners(num, generator=generator, device=device)
    alpha = config.cutmix if cut else config.mixup
    fractions = mixing.draw_fractions(num, alpha=alpha, generator=generator, device=device)
    if not cut:
        return mixing.mixup(images, targets, num_classes=num_classes, partners=partners, fractions=fractions)
    height, width = images.shape[-2:]
    boxes = mixing.draw_cut_boxes(fractions, height=height, width=width, generator=generator)
    return mixing.cutmix(images, targets, num_classes=num_classes, partners=partners, boxes=boxes)
