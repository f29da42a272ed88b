"""Workspace: memory that a training step takes its arrays from, and the next step again."""

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Empty", "Workspace", "takes_empty"]

# What gives an array of a shape and a dtype, without meaningful content, as numpy.empty does.
Empty = Callable[[int | Sequence[int], npt.DTypeLike], npt.NDArray[Any]]

# Bytes of a cache line. An array that starts at one is read by vectors that do not lie across two.
LINE = 64


class Workspace:
    """Memory for the arrays of a training step.

    The arrays of a step are asked for in the same order each time, so that the first one always gets the first piece
    of memory, and so on; a piece is made anew only when it is too small. An array is valid until `rewind` is called.
    """

    def __init__(self) -> None:
        # Pieces of memory, and the array that was last made of each.
        self._pieces: list[tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]] = []
        self._used = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Workspace, ()  # the content is meaningless

    def rewind(self) -> None:
        """Take back all arrays: the next one gets the first piece of memory again."""
        self._used = 0

    def empty(self, shape: int | Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array without meaningful content, as ``numpy.empty`` does, at the start of a cache line."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        index = self._used
        self._used += 1
        piece = None
        if index < len(self._pieces):
            piece, last = self._pieces[index]
            if last.shape == shape and last.dtype == dtype:
                return last
        size = prod(shape) * np.dtype(dtype).itemsize
        if piece is None or len(piece) < size:
            piece = _aligned(size)
        array = piece[:size].view(dtype).reshape(shape)
        self._pieces[index : index + 1] = [(piece, array)]
        return array

    def owns(self, array: npt.NDArray[Any]) -> bool:
        """Return whether an array lies in this workspace's memory."""
        return array.base is not None and any(array.base is piece.base for piece, _ in self._pieces)


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size]


@functools.lru_cache(256)
def _has_empty(function: Callable[..., Any]) -> bool:
    return "empty" in inspect.signature(function).parameters


def takes_empty(function: Callable[..., Any]) -> bool:
    """Return whether a method or an object's call has the argument `empty`, which one that a user wrote may lack."""
    if isinstance(function, types.MethodType):
        return _has_empty(function.__func__)
    return _has_empty(function if isinstance(function, types.FunctionType) else type(function).__call__)
