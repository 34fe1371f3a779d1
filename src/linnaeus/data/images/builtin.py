"""Built-in images: those that come with a dependency, under uris of their own, `builtin://NAME/ROW`.

`digits`: 1,797 handwritten digits of 8x8 pixels (Alpaydin and Kaynak, 1998, UCI), carried by scikit-learn.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

SCHEME = "builtin://"


@lru_cache(maxsize=1)
def digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pixels uint8 [1797, 8, 8, 3], 0-255, and targets int64 [1797]."""
    from sklearn.datasets import load_digits  # scikit-learn takes half a second to import

    loaded = load_digits()
    grey = np.round(loaded.images * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), loaded.target.astype(np.int64)


def read_builtin_pixels(uri: str) -> npt.NDArray[np.uint8]:
    """uint8 RGB [8, 8, 3], 0-255, of `builtin://digits/ROW`."""
    name, _, row = uri.removeprefix(SCHEME).partition("/")
    assert name == "digits" and row.isdigit(), uri
    pixels: npt.NDArray[np.uint8] = digits()[0][int(row)]
    return pixels
