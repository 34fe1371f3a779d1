"""The only way files are written: whole or not at all.

Every file is first written beside its final name, flushed to the disk and then renamed over it, so that a reader (or a
resumed run) never sees half a file. Knows nothing of what the files are.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linnaeus.errors import OutputError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary_path)`, flush that file to disk, and rename it to `path`: whole or not at all.

    Raises OutputError if the disk is full or the folder cannot be written; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a file may stand where the folder should be
            temporary.unlink()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"The disk is full: {path} could not be written. What was saved before is intact; "
                "free some space and go on with: linnaeus resume RUN_DIR"
            ) from error
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON with two spaces of indentation, whole or not at all; NaN is an error of ours."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
