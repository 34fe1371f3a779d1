"""The loader: cached pixels and row numbers in, whole batches on the device out. No worker processes.

After the cache, before augmentation, in the life of an image. On CUDA all pixels stay in device memory when they fit;
otherwise a batch is one gather from the memory-mapped file into pinned memory, copied beside the computing: it is
asked for when the step before has been handed to the GPU, so gather and copy overlap with that step. Knows nothing of
files, splits or models, and never hands out a row that could not be decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from linnaeus.data.cache.images import CachedImages
from linnaeus.data.manifest import Manifest
from linnaeus.machine import send_to

RESIDENT_FRACTION = 0.6
"""Pixels are kept in CUDA memory when they take at most this fraction of what is free; the rest is for the network."""
_UPLOAD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Batch:
    """B samples on the device.

    Attributes:
        images: uint8 [B, 3, H, W], 0-255, channels_last strides.
        targets: int64 [B], or uint8 [B, K] where an image has several labels.
        rows: int64 [B], row numbers in the manifest.
        weights: float32 [B], how much each sample counts in the loss, 1 on the average; None where all count the same.
    """

    images: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor
    weights: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


class ImageStore:
    """The pixels and targets of a manifest, ready to be asked for by row number.

    Args:
        cache: of the same manifest, row by row.
        manifest: N samples.
        device: where batches are wanted.
    """

    def __init__(self, cache: CachedImages, manifest: Manifest, device: torch.device) -> None:
        assert len(cache.pixels) == len(manifest), f"{len(cache.pixels)} cached images, {len(manifest)} rows"
        self.device = device
        self.key = cache.path.name
        self.num_rows = len(manifest)
        self.readable = cache.readable
        self._pixels = np.asarray(cache.pixels)
        self._targets = torch.from_numpy(np.array(manifest.targets)).to(device)
        self._weights = weights_on(device, manifest)
        fits = device.type == "cuda" and self._pixels.nbytes <= RESIDENT_FRACTION * torch.cuda.mem_get_info(device)[0]
        self._resident = _upload(self._pixels, device) if fits else None
        self._side: torch.cuda.Stream | None = None
        if device.type == "cuda" and not fits:
            self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def batches(self, rows: npt.NDArray[np.int64], *, batch_size: int, first_batch: int = 0) -> Iterator[Batch]:
        """Batches of `rows` in the order given; the last may be smaller.

        Args:
            rows: int64 [M], every one readable.
            batch_size: B.
            first_batch: so many batches are passed over, as a resumed epoch needs.
        """
        order = self._checked(rows)
        # Moved once: a small copy per batch would make the host wait for the device.
        on_device = order.to(self.device)
        for start in range(first_batch * batch_size, len(order), batch_size):
            part = slice(start, start + batch_size)
            chosen = on_device[part]
            weights = None if self._weights is None else self._weights[chosen]
            yield Batch(self._images(order, on_device, part), self._targets[chosen], chosen, weights)

    def sample(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """uint8 [M, 3, H, W], channels_last, on the device: the images of these rows, every one readable."""
        order = self._checked(rows)
        return self._images(order, order.to(self.device), slice(None))

    def _checked(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        assert self.readable[rows].all(), f"rows that could not be decoded: {rows[~self.readable[rows]][:5].tolist()}"
        return torch.from_numpy(np.array(rows, np.int64))

    def _images(self, order: torch.Tensor, on_device: torch.Tensor, part: slice) -> torch.Tensor:
        if self._resident is not None:
            gathered = self._resident.index_select(0, on_device[part])
        else:
            chosen = order[part].numpy()
            host = torch.empty(
                (len(chosen), *self._pixels.shape[1:]), dtype=torch.uint8, pin_memory=self.device.type == "cuda"
            )
            # NumPy's take is a plain copy per row; torch's index_select over threads took 30 times as long for 32 px
            # batches on two busy cores. "clip" spares a second buffer; rows were checked.
            np.take(self._pixels, chosen, axis=0, out=host.numpy(), mode="clip")
            gathered = host.to(self.device) if self._side is None else upload_beside(host, self.device, self._side)
        return gathered.permute(0, 3, 1, 2)


def upload_beside(host: torch.Tensor, device: torch.device, side: torch.cuda.Stream) -> torch.Tensor:
    """A pinned tensor on its way to the GPU over a stream of its own; work given to the GPU from now on awaits it."""
    with torch.cuda.stream(side):
        arriving = host.to(device, non_blocking=True)
    current = torch.cuda.current_stream(device)
    current.wait_stream(side)
    arriving.record_stream(current)  # its memory is used there too, and may not be given away before
    return arriving


def weights_on(device: torch.device, manifest: Manifest) -> torch.Tensor | None:
    """float32 [N]: how much each sample counts in the loss. Raises DataError if no training row counts at all."""
    weights = manifest.loss_weights()
    return None if weights is None else torch.from_numpy(weights).to(device)


def _upload(pixels: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Copy in pieces: one copy of a whole memory map would stage all of it in host memory.

    The map is copy-on-write, which is what torch takes without a copy and without a warning.
    """
    resident = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    step = max(1, _UPLOAD_BYTES // max(1, pixels[0].nbytes))
    for start in range(0, len(pixels), step):
        resident[start : start + step].copy_(torch.from_numpy(pixels[start : start + step]))
    return resident


class FeatureStore:
    """Features computed once, asked for by row number like the images of an `ImageStore`.

    Args:
        features: float [V, N, D], V views of each of the manifest's N rows; view 0 is the image as it is. Rows that
            were never asked for may hold anything.
        manifest: the N samples, with their targets.
        device: where batches are wanted.
        seed: of the draw of a view for each row and epoch.
        earlier_seconds: spent on these features before they were opened here, under their key.
    """

    def __init__(
        self,
        features: npt.NDArray[np.float16] | npt.NDArray[np.float32],
        manifest: Manifest,
        device: torch.device,
        *,
        seed: int,
        earlier_seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.device = device
        self.features = features
        self.earlier_seconds = dict(earlier_seconds or {})
        self._targets = torch.from_numpy(np.array(manifest.targets)).to(device)
        self._weights = weights_on(device, manifest)
        self._seed = seed

    def batches(
        self, rows: npt.NDArray[np.int64], *, batch_size: int, first_batch: int = 0, epoch: int | None = None
    ) -> Iterator[Batch]:
        """Batches whose `images` are float32 [B, D]: view 0, or with `epoch` a view drawn for each row."""
        views = np.zeros(len(rows), np.int64)
        if epoch is not None and len(self.features) > 1:
            views = np.random.default_rng([self._seed, epoch]).integers(len(self.features), size=len(rows))
        for start in range(first_batch * batch_size, len(rows), batch_size):
            part = slice(start, start + batch_size)
            chosen = send_to(torch.from_numpy(rows[part]), self.device)
            features = torch.from_numpy(self.features[views[part], rows[part]].astype(np.float32))
            weights = None if self._weights is None else self._weights[chosen]
            yield Batch(send_to(features, self.device), self._targets[chosen], chosen, weights)
