"""Workspace: memory that the arrays of a plan lie in, step after step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ArraySpec", "Layout", "Memory", "Workspace"]

# Shape and dtype of an array.
ArraySpec = tuple[tuple[int, ...], npt.DTypeLike]

# Bytes of a cache line. An array that starts at one is read by vectors that do not lie across two.
LINE = 64
# Layouts whose arrays a workspace keeps at hand, such as those of the whole minibatch, of the last one of an epoch, and
# of an accuracy check.
MOST_LAYOUTS = 16


class Memory(dict[str, npt.NDArray[Any]]):
    """The arrays of one stage by name, and for how many threads its scratch memory is made.

    Attributes
    ----------
    threads : int
    kept : set of str
        Names that a stage has noted for arrays which it may use again. It is empty after a call with another layout,
        which may have overwritten them.
    """

    threads: int = 1

    def __init__(self) -> None:
        super().__init__()
        self.kept: set[str] = set()


class Layout:
    """Where the arrays of a list of stages lie in one block of memory; computed once, and used for every step.

    A layout here is the offsets in that block. The `layout` of a stage is something else: the order of the axes.

    Parameters
    ----------
    stages : sequence of mappings of str to (shape, dtype)
        The arrays of each stage by name.
    threads : int
        Number of threads that the scratch memory is for.

    Attributes
    ----------
    stages, threads
        As given.
    stage_sizes : list of int
        Bytes of each stage's arrays.
    size : int
        Bytes of all of them.
    """

    def __init__(self, stages: Sequence[Mapping[str, ArraySpec]], threads: int) -> None:
        self.stages, self.threads = stages, threads
        self.stage_sizes = [sum(_padded_size(*spec) for spec in arrays.values()) for arrays in stages]
        self.size = sum(self.stage_sizes)

    def views(self, block: npt.NDArray[np.uint8]) -> list[Memory]:
        """Return the arrays of every stage as views of a block of `size` bytes."""
        memories, start = [], 0
        for arrays in self.stages:
            memory = Memory()
            memory.threads = self.threads
            for name, (shape, dtype) in arrays.items():
                size = prod(shape) * np.dtype(dtype).itemsize
                memory[name] = block[start : start + size].view(dtype).reshape(shape)
                start += _padded_size(shape, dtype)
            memories.append(memory)
        return memories


class Workspace:
    """Memory for the arrays of a training step or a prediction, which the next one uses again.

    Give one to `Sequential.train_step` or `Sequential.scores` that is called many times; a `Solver` has its own. One
    workspace serves one call at a time, of any model. It grows to the largest step that it has seen.
    """

    def __init__(self) -> None:
        self._block = _aligned(0)
        self._memories: dict[Layout, list[Memory]] = {}
        self._last: Layout | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Workspace, ()  # the content is meaningless

    @property
    def size(self) -> int:
        """Bytes of the memory."""
        return self._block.size

    def memories(self, layout: Layout) -> list[Memory]:
        """Return the arrays of a layout: as the previous call left them if it had this layout, else with no meaning."""
        found = self._memories.get(layout)
        if found is not None and self._last is not layout:
            for memory in found:
                memory.kept.clear()
        self._last = layout
        if found is not None:
            return found
        if layout.size > self._block.size:
            self._memories.clear()
            self._block = _aligned(layout.size)
        elif len(self._memories) >= MOST_LAYOUTS:
            self._memories.clear()
        return self._memories.setdefault(layout, layout.views(self._block))


def _padded_size(shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
    """Return the bytes of an array, up to the next cache line."""
    return -(-prod(shape) * np.dtype(dtype).itemsize // LINE) * LINE


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """Return so many bytes, the first of which begins a cache line."""
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size]
