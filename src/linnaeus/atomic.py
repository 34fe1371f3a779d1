"""The only way files are written: whole or not at all.

Every file is first written beside its final name, flushed to the disk and then renamed over it, so that a reader (or a
resumed run) never sees half a file. A lock keeps processes from making the same thing at the same time. Knows nothing
of what the files are.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from linnaeus.errors import OutputError
from linnaeus.progress import Progress

_log = logging.getLogger(__name__)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary_path)`, flush that file to disk, and rename it to `path`: whole or not at all.

    Raises OutputError if the disk is full or the folder cannot be written; nothing is left behind then.
    """
    temporary = unique_beside(path)
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


def unique_beside(path: Path, *, word: str = "part") -> Path:
    """A name in the same folder, `.NAME.RANDOM.part`, that no other process, thread or machine comes upon."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{word}")


@contextlib.contextmanager
def locked(path: Path, progress: Progress | None, *, work: str = "") -> Iterator[bool]:
    """Hold the lock of a file or folder; the system drops it when the process dies. Yields whether there is a lock.

    With a progress, waits for whoever holds it, and says which `work` that is doing, if it is named; without, raises
    BlockingIOError. Where the system has no flock (Windows, some network drives) nothing is held. The lock is the file
    `NAME.lock` beside `path`, in a folder that exists; it is there only while it is held.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    place = path.with_name(f"{path.name}.lock")
    while True:
        with place.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if progress is None:
                    raise
                if work:
                    progress.say(f"Another process is {work}; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                _log.debug("%s cannot be locked: %s", path, error)
                place.unlink(missing_ok=True)
                yield False
                return
            if not _is_same_file(file.fileno(), place):
                continue  # whoever held it before has deleted it
            try:
                yield True
            finally:
                place.unlink(missing_ok=True)
            return


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
