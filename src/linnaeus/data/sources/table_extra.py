"""Columns of a table that mean nothing to training but by which a test can be sliced: the camera, the place, the year.

Kept where a person could read the slices: numbers, and words of few different values. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MOST_VALUES = 50
"""Of a column of words; names of files, captions and the like have more and make no slices."""
MOST_COLUMNS = 30


def collect_extra(parts: Sequence[dict[str, pa.Array]], kept: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
    """The first 30 such columns, of the kept rows of all parts: float64 where every cell is a finite number or empty,
    else a dictionary of at most 50 strings; columns with a single value, or none, are left out.

    Args:
        parts: text of each column, from tables read one after the other; only what all of them have is taken.
        kept: positions among the rows of all parts.
    """
    found: dict[str, pa.Array] = {}
    for name in parts[0]:
        if len(found) == MOST_COLUMNS or not all(name in part for part in parts):
            continue
        texts = pa.concat_arrays([part[name].cast(pa.large_string()) for part in parts]).take(pa.array(kept))
        texts = pc.utf8_trim_whitespace(texts)
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts)
        words = pc.unique(texts.drop_null())
        if len(words) < 2:
            continue
        try:
            numbers = pc.cast(texts, pa.float64())
        except pa.ArrowInvalid:
            if len(words) <= MOST_VALUES:
                found[name] = texts.cast(pa.string()).dictionary_encode()
            continue
        if pc.all(pc.is_finite(numbers.drop_null())).as_py():
            found[name] = numbers
    return found
