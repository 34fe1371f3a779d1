"""Reading the pickles in which CIFAR is distributed, without the power that a pickle has.

A pickle is a program. This reader knows only those of its instructions that build dicts, lists, tuples, text, bytes,
whole numbers and NumPy arrays, and of names only the three by which an array is spelled out; these are recognised, not
called, so there is nothing that a hostile file could run. Anything else is refused. The values of an array stay in the
file: what comes back says where they lie.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linnaeus.errors import DataError, LinnaeusError

_RECONSTRUCT, _NDARRAY, _DTYPE = "reconstruct", "ndarray", "dtype"
_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _DTYPE,
}
_BYTES_BEFORE = {"BINSTRING": 5, "SHORT_BINSTRING": 2, "BINBYTES": 5, "SHORT_BINBYTES": 2, "BINBYTES8": 9}
"""Instruction and length before the bytes themselves."""
_TEXT = {"STRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", *_BYTES_BEFORE}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_NOTHING = {"PROTO", "FRAME"}
_MARK = object()


@dataclass(frozen=True)
class PickledText:
    """Text or bytes, and where they lie in the file (-1 where they are escaped there)."""

    text: str
    start: int
    length: int


@dataclass
class PickledArray:
    """A NumPy array of which the values lie in the file, in C order, from byte `start` on."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    start: int = -1


@dataclass
class _Name:
    meaning: str


@dataclass
class _DtypeOf:
    name: str


def read_plain_pickle(path: Path, where: str) -> Any:
    """The dict, list or tuple in a pickle; its text is PickledText, its arrays are PickledArray.

    Args:
        path: the file.
        where: what to call it in messages.

    Raises DataError for a damaged file, and for one that asks for anything but plain data.
    """
    try:
        with path.open("rb") as file:
            return _Reader(where).run(file)
    except LinnaeusError:
        raise
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle breaks in every way: stack, memo, lengths, types
        raise DataError(f"{where} is no pickle that can be read: {error}") from error


def text_of(value: Any) -> str:
    """The str of a PickledText; raises TypeError for anything else."""
    if not isinstance(value, PickledText):
        raise TypeError(f"text was expected, not {type(value).__name__}")
    return value.text


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.doing: dict[str, Callable[[], None]] = {
            "EMPTY_DICT": lambda: self.stack.append({}),
            "EMPTY_LIST": lambda: self.stack.append([]),
            "MARK": lambda: self.stack.append(_MARK),
            "DICT": lambda: self.stack.append(_pairs(self.since_mark())),
            "LIST": lambda: self.stack.append(self.since_mark()),
            "TUPLE": lambda: self.stack.append(tuple(self.since_mark())),
            "APPEND": lambda: self.extend([self.stack.pop()]),
            "APPENDS": lambda: self.extend(self.since_mark()),
            "SETITEM": lambda: self.update([self.stack.pop() for _ in range(2)][::-1]),
            "SETITEMS": lambda: self.update(self.since_mark()),
            "STACK_GLOBAL": self.stack_global,
            "REDUCE": self.reduce,
            "BUILD": self.build,
            "MEMOIZE": lambda: self.memo.__setitem__(len(self.memo), self.stack[-1]),
        }

    def run(self, file: Any) -> Any:
        argument: Any
        for instruction, argument, position in pickletools.genops(file):
            name, place = instruction.name, position or 0
            if name == "STOP":
                break
            if name in self.doing:
                self.doing[name]()
            elif name in _NUMBERS:
                self.stack.append(argument)
            elif name in _TEXT:
                self.stack.append(_text(name, argument, place))
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _TUPLES:
                count = _TUPLES[name]
                items = tuple(self.stack.pop() for _ in range(count))[::-1]
                self.stack.append(items)
            elif name in _PUTS:
                self.memo[argument] = self.stack[-1]
            elif name in _GETS:
                self.stack.append(self.memo[argument])
            elif name == "GLOBAL":
                self.name(*argument.split(" ", 1))
            elif name not in _NOTHING:
                self.refuse(f"the instruction {name} at byte {place}")
        (result,) = self.stack
        return result

    def refuse(self, what: str) -> None:
        raise DataError(f"{self.where} is refused: it asks for {what}, and data needs no such thing.")

    def since_mark(self) -> list[Any]:
        place = max(k for k, item in enumerate(self.stack) if item is _MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("it appends to what is no list")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("it sets items of what is no dict")
        target.update(_pairs(items))

    def name(self, module: str, name: str) -> None:
        if (module, name) not in _NAMES:
            self.refuse(f"{module}.{name}")
        self.stack.append(_Name(_NAMES[module, name]))

    def stack_global(self) -> None:
        name, module = text_of(self.stack.pop()), text_of(self.stack.pop())
        self.name(module, name)

    def reduce(self) -> None:
        arguments, callable_ = self.stack.pop(), self.stack.pop()
        meaning = callable_.meaning if isinstance(callable_, _Name) else ""
        if meaning == _RECONSTRUCT:
            self.stack.append(PickledArray())
        elif meaning == _DTYPE:
            self.stack.append(_DtypeOf(text_of(arguments[0])))
        else:
            self.refuse("a call")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _DtypeOf):
            order: Any = text_of(state[1])
            target.name = np.dtype(target.name).newbyteorder("=" if order == "|" else order).str
        elif isinstance(target, PickledArray):
            _, shape, dtype, fortran, content = state
            if fortran or content.start < 0 or math.prod(shape) * np.dtype(dtype.name).itemsize != content.length:
                raise ValueError("an array of another form than CIFAR's")
            target.shape, target.dtype, target.start = tuple(int(size) for size in shape), dtype.name, content.start
        else:
            self.refuse("the state of an object")


def _pairs(items: list[Any]) -> dict[str, Any]:
    return {text_of(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _text(name: str, argument: Any, place: int) -> PickledText:
    text = argument.decode("latin-1") if isinstance(argument, bytes) else argument
    return PickledText(text, place + _BYTES_BEFORE[name] if name in _BYTES_BEFORE else -1, len(text))
