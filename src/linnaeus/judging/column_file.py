"""A table of numbers on disk, column after column, in a file without a name: it is gone when the process is, however.

Reads and writes copy a piece at a time instead of mapping the file, so that its pages never count as memory of the
process. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from linnaeus.errors import OutputError
from linnaeus.metrics.classification import FloatArray

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class ColumnFile:
    """Numbers [num_rows, num_columns] as `dtype`; made by `open_column_file`."""

    file: IO[bytes]
    num_rows: int
    num_columns: int
    dtype: np.dtype[Any]

    def write(self, column: int, start: int, values: npt.NDArray[Any]) -> None:
        """Put values [n] into rows `start` to `start + n` of a column."""
        self._seek(column, start)
        self.file.write(np.ascontiguousarray(values, self.dtype).data)

    def column(self, column: int) -> FloatArray:
        """float64 [num_rows]."""
        return self._read(column, 0, self.num_rows).astype(np.float64)

    def rows(self, start: int, stop: int) -> FloatArray:
        """float64 [stop - start, num_columns]."""
        found = np.empty((self.num_columns, stop - start))
        for column in range(self.num_columns):
            found[column] = self._read(column, start, stop)
        return np.ascontiguousarray(found.T)

    def _read(self, column: int, start: int, stop: int) -> npt.NDArray[Any]:
        self._seek(column, start)
        return np.frombuffer(self.file.read((stop - start) * self.dtype.itemsize), self.dtype)

    def _seek(self, column: int, row: int) -> None:
        self.file.seek((column * self.num_rows + row) * self.dtype.itemsize)


@contextmanager
def open_column_file(num_rows: int, num_columns: int, dtype: npt.DTypeLike) -> Iterator[ColumnFile]:
    """An empty file in the system's temporary folder (TMPDIR), as long as the block lasts.

    Raises OutputError as `nameless_file` does.
    """
    with nameless_file() as file:
        yield ColumnFile(file, num_rows, num_columns, np.dtype(dtype))


@contextmanager
def nameless_file() -> Iterator[IO[bytes]]:
    """A temporary file that no folder lists, so that even a killed process leaves nothing behind.

    Raises OutputError if it cannot be made, or if the disk is full within the block.
    """
    try:
        file = tempfile.TemporaryFile(prefix="linnaeus-")  # noqa: SIM115 - closed below; here only its making may fail
    except OSError as error:
        raise _no_room(error) from error
    try:
        with file:
            yield file
    except OSError as error:
        if error.errno in DISK_FULL:
            raise _no_room(error) from error
        raise


def _no_room(error: OSError) -> OutputError:
    return OutputError(
        f"No temporary file can be written to the folder TMPDIR names, or to /tmp: {error.strerror or error}. Four "
        "bytes are needed there for each image and class, eight for up to 50 million of them, and as long as this "
        "takes. Free some space, or name another folder: TMPDIR=/some/folder linnaeus evaluate ..."
    )
