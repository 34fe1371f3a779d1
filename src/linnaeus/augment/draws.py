"""Random numbers for a batch, from the caller's generator, wherever that generator lives.

A generator on the CPU may serve images on another device: the few numbers per image are drawn on its own device and
carried over, so that the same seed gives the same parameters everywhere.
"""

from __future__ import annotations

import torch


def uniform(num: int, low: float, high: float, *, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """float32 [num], uniform in [low, high), on `device`."""
    drawn = torch.rand(num, generator=generator, device=generator.device)
    return drawn.mul_(high - low).add_(low).to(device)


def normal(num: int, deviation: float, *, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """float32 [num], normal of mean 0, on `device`."""
    return torch.randn(num, generator=generator, device=generator.device).mul_(deviation).to(device)


def generator_on(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """The generator itself if it lives on `device`, else a new one there, seeded by a draw from it.

    For whole images of random numbers, which would be slow to carry over.
    """
    if generator.device.type == device.type:
        return generator
    return torch.Generator(device).manual_seed(draw_seed(generator))


def draw_seed(generator: torch.Generator) -> int:
    """A seed for another generator, 0 to 2**62 - 1."""
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device).item())
