"""Random numbers for a batch, from the caller's generator, which lives on the processor whatever the images lie on.

The few numbers per image are drawn there and sent on, so that the same seed gives the same parameters everywhere, and
so that what is done (to which images, to how many) is known without asking the device, which would have to finish all
its work before it could answer.
"""

from __future__ import annotations

import numpy as np
import torch

from linnaeus.machine import send_to

HOST = torch.device("cpu")


def uniform(num: int, low: float, high: float, *, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """float32 [num], uniform in [low, high), on `device`."""
    return send_to(torch.rand(num, generator=generator).mul_(high - low).add_(low), device)


def normal(num: int, deviation: float, *, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """float32 [num], normal of mean 0, on `device`."""
    return send_to(torch.randn(num, generator=generator).mul_(deviation), device)


def places(chosen: torch.Tensor) -> torch.Tensor:
    """int64 [M] of the M true entries of bool [num], both on the processor."""
    return torch.from_numpy(np.flatnonzero(chosen.numpy()))


def generator_on(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """The generator itself where the device is the processor, else a new one there, seeded by a draw from it.

    For whole images of random numbers, which would be slow to send.
    """
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(draw_seed(generator))


def draw_seed(generator: torch.Generator) -> int:
    """A seed for another generator, 0 to 2**62 - 1."""
    return int(torch.randint(2**62, (1,), generator=generator).numpy()[0])
