"""Random changes to a training batch, on the device it lies on, in a handful of operations for the whole batch.

Ninth step in the life of an image: loader -> AUGMENT -> classifier. Takes uint8 images and gives floats in 0-1;
`ImageSpec.normalize` comes after. Geometry is one affine map and one resample (or, for small images, whole pixels
without any), colour is one matrix. Every random number comes from a torch.Generator that the caller owns, so the same
state gives the same batch and the global generators are left alone. Knows nothing of files, splits or models.
"""

from __future__ import annotations

from linnaeus.augment.pipeline import augment_batch

__all__ = ["augment_batch"]
