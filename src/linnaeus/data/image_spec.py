"""ImageSpec: the exact preprocessing. The same object prepares images in training and in prediction.

Two halves: `fit` brings one decoded image to the network's size (uint8, done once, cached); `normalize` turns a whole
batch into the network's floats (on the device). Knows nothing of files, labels or models.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from linnaeus.config.resolved import ResolvedImage

Channels = tuple[float, float, float]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PAD_GREY = 128
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class ImageSpec:
    """How an image becomes the network's input.

    Attributes:
        height, width: size in pixels that the network sees.
        resize: "squash" maps the whole image onto that size; "crop" keeps the aspect ratio and cuts the centre;
            "pad" keeps the aspect ratio and shows the whole image on grey (128); "letterbox" does that too, and never
            enlarges an image.
        interpolation: "nearest", "bilinear" or "bicubic"; Pillow's filters, antialiased when shrinking.
        mean, std: per channel, of values in 0-1.
    """

    height: int
    width: int
    resize: Literal["squash", "crop", "pad", "letterbox"] = "squash"
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    def fit(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """uint8 RGB [h, w, 3] of any size -> uint8 [height, width, 3]. An image of that size already is unchanged."""
        h, w = image.shape[:2]
        if (h, w) == (self.height, self.width):
            return image
        picture, filter_ = Image.fromarray(image), _FILTERS[self.interpolation]
        target = (self.width, self.height)
        if self.resize == "squash":
            return np.asarray(picture.resize(target, filter_))
        across, down = self.width / w, self.height / h
        if self.resize == "crop":
            factor = max(across, down)  # a side divided by its own ratio may come out a hair too long: hence max
            left, top = max(0.0, (w - self.width / factor) / 2), max(0.0, (h - self.height / factor) / 2)
            return np.asarray(picture.resize(target, filter_, box=(left, top, w - left, h - top)))
        factor = min(across, down) if self.resize == "pad" else min(across, down, 1.0)
        inner = (max(1, round(w * factor)), max(1, round(h * factor)))
        canvas = np.full((self.height, self.width, 3), PAD_GREY, np.uint8)
        left, top = (self.width - inner[0]) // 2, (self.height - inner[1]) // 2
        canvas[top : top + inner[1], left : left + inner[0]] = np.asarray(picture.resize(inner, filter_))
        return canvas

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [B, 3, H, W] 0-255, or float 0-1 -> float32 [B, 3, H, W]: less `mean`, over `std`."""
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        mean, std = _per_channel(self.mean, images.device), _per_channel(self.std, images.device)
        return (images.float() - mean * scale).div_(std * scale)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def _per_channel(values: Channels, device: torch.device) -> torch.Tensor:
    """float32 [1, 3, 1, 1], filled on the device: a copy from the host, at every batch, would make the host wait."""
    return torch.cat([torch.full((1, 1, 1, 1), value, device=device) for value in values], dim=1)


def spec_from_config(config: ResolvedImage, *, mean: Channels | None = None, std: Channels | None = None) -> ImageSpec:
    """The spec of these settings; `mean` and `std` are those of the data, where it asks for them."""
    half = (0.5, 0.5, 0.5)
    fixed = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "half": (half, half)}
    if config.normalize in fixed:
        mean, std = fixed[config.normalize]
    return ImageSpec(
        height=config.size,
        width=config.size,
        resize=config.resize,
        interpolation=config.interpolation,
        mean=mean or (0.0, 0.0, 0.0),
        std=std or (1.0, 1.0, 1.0),
    )
