"""The default network for small images (8-64 px): few wide convolutions behind a whitened first layer.

Architecture and constants of "94 % on CIFAR-10 in 3.29 seconds on a single GPU" (Jordan, arXiv 2404.00498; figures from
github.com/KellerJordan/cifar10-airbench, airbench94): a frozen 2x2 convolution that whitens image patches, three groups
of two 3x3 convolutions with batch norm and GELU, a global max-pool and a scaled linear head; 1,971,352 trainable
parameters at 10 classes. Filters start as identities (dirac). The number of poolings follows the image size, so that
8 px work too.
"""

from __future__ import annotations

import torch
from torch import nn

from linnaeus.models.classifier import Classifier

WHITENING_EPSILON = 5e-4
_NO_VARIANCE = 1e-6
_NORM_EPSILON = 1e-5  # 1e-12 in airbench, where a channel that is constant in a batch gives NaN
_NORM_MOMENTUM = 0.4


def speed_cnn(*, num_classes: int, image_size: int, widths: list[int] | None = None) -> Classifier:
    """Build it with random weights.

    Args:
        num_classes: K.
        image_size: side in pixels; decides how many of the groups pool.
        widths: channels of the three groups; [64, 256, 256] if None.
    """
    widths = [64, 256, 256] if widths is None else widths
    backbone = SpeedBackbone(widths=widths, image_size=image_size)
    head = ScaledLinear(widths[-1], num_classes)
    return Classifier(backbone, head, name="speed_cnn", options={"widths": widths})


class SpeedBackbone(nn.Module):
    """float [B, 3, S, S] -> features [B, widths[-1]]."""

    def __init__(self, *, widths: list[int], image_size: int) -> None:
        super().__init__()
        kernel = 2
        whitened = 2 * 3 * kernel**2
        self.whiten = nn.Conv2d(3, whitened, kernel)
        self.whiten.weight.requires_grad_(False)
        groups: list[nn.Module] = []
        side, channels = image_size - kernel + 1, whitened
        for width in widths:
            pool = side >= 4
            groups.append(_group(channels, width, pool=pool))
            side, channels = side // 2 if pool else side, width
        self.groups = nn.Sequential(*groups)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = nn.functional.gelu(self.whiten(images))
        return torch.amax(self.groups(x), dim=(2, 3))

    @torch.no_grad()
    def prepare(self, images: torch.Tensor) -> None:
        """Set the first layer's filters to the whitening directions of patches of normalized images [B, 3, H, W].

        The filters are the eigenvectors of the patch covariance over the root of their eigenvalues, and their negatives
        (arXiv 2404.00498, section 3.2). Directions without variance, such as colour in grey images, would amplify
        rounding errors; the others take their places again. Without any variance the layer stays as it is.
        """
        kernel = self.whiten.kernel_size[0]
        patches = nn.functional.unfold(images.float(), kernel).transpose(1, 2).reshape(-1, 3 * kernel**2)
        covariance = patches.T @ patches / len(patches)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        varied = eigenvalues > _NO_VARIANCE
        if not varied.any():
            return
        directions = eigenvectors.T[varied] * torch.rsqrt(eigenvalues[varied] + WHITENING_EPSILON).unsqueeze(1)
        directions = directions.repeat(-(-len(varied) // len(directions)), 1)[: len(varied)]
        filters = torch.cat([directions, -directions]).reshape(self.whiten.weight.shape)
        self.whiten.weight.copy_(filters)


class ScaledLinear(nn.Linear):
    """Linear layer without bias whose logits are divided by the number of features."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        with torch.no_grad():
            self.weight.div_(self.weight.std())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, D] -> [B, K]."""
        return super().forward(features) / self.in_features


def _group(channels_in: int, channels_out: int, *, pool: bool) -> nn.Sequential:
    return nn.Sequential(
        _convolution(channels_in, channels_out),
        nn.MaxPool2d(2) if pool else nn.Identity(),
        _norm(channels_out),
        nn.GELU(),
        _convolution(channels_out, channels_out),
        _norm(channels_out),
        nn.GELU(),
    )


def _convolution(channels_in: int, channels_out: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight.data[:channels_in])
    return convolution


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=_NORM_EPSILON, momentum=_NORM_MOMENTUM)
    norm.weight.requires_grad_(False)
    return norm
