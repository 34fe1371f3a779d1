"""Large JSON files element by element: the arrays of one object, in the memory of one element.

The annotation files of detection sets are single JSON objects of hundreds of megabytes; loaded whole they take
gigabytes. Knows nothing of what the elements mean.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from linnaeus.errors import DataError

_BLOCK_CHARS = 4 * 2**20
_DOUBTFUL_CHARS = 4 * 2**20
"""A syntax error with more text than this behind it is damage, not the end of what has been read so far."""
_MAX_ELEMENT_CHARS = 256 * 2**20
"""A single element or value larger than this is refused; nothing that describes an object in an image is."""
_SPACE = " \t\r\n"


def stream_arrays(path: Path, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """(name, element) of the arrays called `names` in the object that a JSON file holds, in the order of the file.

    Raises DataError, naming the file and the character, for a file that cannot be read, is no such object, is damaged
    or ends too early; what came before has been given out by then.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _Scanner(path, file).arrays(names)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a JSON file: {error.reason} (it must be UTF-8).") from error


class _Scanner:
    """A window over the text, which moves forward only."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.text, self.place, self.before = "", 0, 0
        self.decode = json.JSONDecoder().raw_decode

    def arrays(self, names: Collection[str]) -> Iterator[tuple[str, Any]]:
        self.take("{")
        if self.peek() == "}":
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise self.broken("a name in quotes is expected")
            self.take(":")
            if name in names and self.peek() == "[":
                yield from ((name, element) for element in self.elements())
            else:
                self.value()
            if self.take(",}") == "}":
                return

    def elements(self) -> Iterator[Any]:
        self.take("[")
        if self.peek() == "]":
            self.place += 1
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def value(self) -> Any:
        """The value that begins here."""
        self.peek()
        while True:
            try:
                value, end = self.decode(self.text, self.place)
            except json.JSONDecodeError as error:
                sure = len(self.text) - error.pos > _DOUBTFUL_CHARS
                if sure or len(self.text) - self.place > _MAX_ELEMENT_CHARS or not self.more():
                    raise self.broken(error.msg, error.pos) from None
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nesting without end
                raise self.broken(str(error) or type(error).__name__) from None
            else:
                # A number at the very end of the window may go on behind it.
                if end == len(self.text) and not isinstance(value, (dict, list, str)) and self.more():
                    continue
                self.place = end
                return value

    def peek(self) -> str:
        """The next character that is no space; the place moves up to it."""
        while True:
            while self.place < len(self.text):
                if self.text[self.place] not in _SPACE:
                    return self.text[self.place]
                self.place += 1
            if not self.more():
                raise self.broken("the file ends here; it is truncated")

    def take(self, wanted: str) -> str:
        """Step over one of the characters `wanted`."""
        found = self.peek()
        if found not in wanted:
            raise self.broken(f"'{found}' where '{wanted[0]}' is expected")
        self.place += 1
        return found

    def more(self) -> bool:
        """Read on; False at the end of the file."""
        block = self.file.read(_BLOCK_CHARS)
        if block:
            self.before += self.place
            self.text, self.place = self.text[self.place :] + block, 0
        return bool(block)

    def broken(self, why: str, place: int | None = None) -> DataError:
        at = self.before + (self.place if place is None else place)
        return DataError(f"{self.path} is damaged at character {at:,}: {why}.")
