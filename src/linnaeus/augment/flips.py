"""Which images of a batch are mirrored: by chance, or exactly every other epoch.

Only decides; `crop` and `geometry` carry it out together with whatever else moves pixels.
"""

from __future__ import annotations

from typing import Literal

import torch

from linnaeus.augment.draws import uniform

Flip = Literal["none", "horizontal", "vertical", "both"]

# The increment and multipliers of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014, doi 10.1145/2660193.2660195).
_GOLDEN_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def draw_flips(
    num: int, *, flip: Flip, generator: torch.Generator, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mirrored, upended), bool [num] each: left and right, top and bottom exchanged with probability 1/2.

    "horizontal" never upends, "vertical" never mirrors, "none" does neither.
    """
    never = torch.zeros(num, dtype=torch.bool, device=device)
    mirrored = upended = never
    if flip in ("horizontal", "both"):
        mirrored = uniform(num, 0.0, 1.0, generator=generator, device=device) < 0.5
    if flip in ("vertical", "both"):
        upended = uniform(num, 0.0, 1.0, generator=generator, device=device) < 0.5
    return mirrored, upended


def alternating_flips(rows: torch.Tensor, *, flip: Flip, epoch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(mirrored, upended), bool [B] each, for rows int64 [B]: a pseudo-random start, then every other epoch.

    arXiv 2404.00498, section 3.6: each row's first flip is a hash of the row, so that any two epochs in succession
    show every image both ways, where chance would show half of them the same way twice. For "both", which the paper
    does not have, any four epochs in succession show all four orientations.
    """
    never = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    first = _hash(rows, seed)
    turns = first & 3
    if flip == "both":
        state = (turns + epoch) & 3
        # 0, 1, 2, 3 -> upright, mirrored, mirrored and upended, upended
        return (state == 1) | (state == 2), state >= 2
    flipped = ((turns + epoch) & 1).bool()
    return (flipped if flip == "horizontal" else never), (flipped if flip == "vertical" else never)


def _hash(rows: torch.Tensor, seed: int) -> torch.Tensor:
    """int64 [B] -> int64 [B] of well-mixed bits: SplitMix64, whose arithmetic is modulo 2**64 like int64's."""
    mixed = rows.long() + _as_int64((seed + 1) * _GOLDEN_GAMMA)
    mixed = (mixed ^ _shift_right(mixed, 30)) * _as_int64(_MIX_1)
    mixed = (mixed ^ _shift_right(mixed, 27)) * _as_int64(_MIX_2)
    return mixed ^ _shift_right(mixed, 31)


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift: zeros come in from the left, where int64's own shift repeats the sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _as_int64(value: int) -> int:
    """The int64 with the lowest 64 bits of `value`."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
