"""What flows through a graph: how an example lies in the file's arrays, and how in this library's.

Files of some tools have images with the channels last, and flatten them in that order. Here the channels come first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from convnet.layers.stage import Shape

__all__ = ["Factors", "Value"]


# Most channels or features for which one number stands: a file may claim any size.
MOST_FEATURES = 1 << 20
# What numbers are multiplied by, and what is added to them then.
Factors = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Value:
    """A value of a graph.

    Attributes
    ----------
    name : str
        In the file.
    shape : tuple of ints
        Of one example as this library has it: (C, H, W) or (D,).
    axes : tuple of int or None
        For each axis of the file's array but that of the examples, which of ours it is; None for one of size 1 more.
    is_flat : bool
        Whether the file's array has these axes no longer, but one axis for all of them.
    is_input : bool
        Whether it is the graph's input, perhaps in another order or shape.
    factors : pair of ndarray, shape (D,), or None
        What the features of ours, in our order, are still to be multiplied by, and what is to be added to them then.
    padding : pair of pairs of ints, or None
        How many zeros are still to be put above and below, and left and right, of images.
    """

    name: str
    shape: Shape
    axes: tuple[int | None, ...]
    is_flat: bool = False
    is_input: bool = False
    factors: Factors | None = None
    padding: tuple[tuple[int, int], tuple[int, int]] | None = None

    @classmethod
    def of(cls, name: str, shape: Shape, is_input: bool = False) -> Self:
        """Return a value that lies in the file's arrays as it does in ours."""
        return cls(name, shape, tuple(range(len(shape))), is_input=is_input)

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of one example in the file."""
        if self.is_flat:
            return (prod(self.shape),)
        return tuple(1 if axis is None else self.shape[axis] for axis in self.axes)

    @property
    def is_planes(self) -> bool:
        """Whether an example is (C, H, W) in the file, too."""
        return not self.is_flat and len(self.shape) == 3 and self.dims == self.shape and self.axes == (0, 1, 2)

    @property
    def is_vector(self) -> bool:
        """Whether an example is one axis of features in the file."""
        return len(self.dims) == 1

    @property
    def positions(self) -> npt.NDArray[np.intp] | None:
        """For each feature of an example in the file its place in ours; None if they lie alike."""
        order = [axis for axis in self.axes if axis is not None]
        order += [axis for axis in range(len(self.shape)) if axis not in order]  # of size 1
        if order == sorted(order):
            return None
        return np.arange(prod(self.shape)).reshape(self.shape).transpose(order).reshape(-1)

    def named(self, name: str) -> Self:
        """Return the same under another name."""
        return replace(self, name=name)

    def transposed(self, name: str, order: tuple[int, ...]) -> Self | None:
        """Return it with the file's axes in another order, None if that is impossible."""
        if sorted(order) != list(range(len(self.dims) + 1)) or order[0] != 0:
            return None
        if self.is_flat:
            return self.named(name)
        return replace(self, name=name, axes=tuple(self.axes[place - 1] for place in order[1:]))

    def reshaped(self, name: str, dims: tuple[int, ...]) -> Self | None:
        """Return it with the file's axes flattened, or axes of size 1 added or taken away; None if it is neither."""
        if dims == self.dims:
            return self.named(name)
        if prod(dims) != prod(self.dims):
            return None
        if [size for size in dims if size != 1] == [size for size in self.dims if size != 1] and not self.is_flat:
            long = iter([axis for axis in self.axes if axis is not None and self.shape[axis] != 1])
            short = iter([axis for axis, size in enumerate(self.shape) if size == 1])
            return replace(self, name=name, axes=tuple(next(short, None) if size == 1 else next(long) for size in dims))
        if len(dims) == 1:
            return replace(self, name=name, is_flat=True)
        return None

    def per_channel(self, array: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
        """Return an array that is broadcast over the file's examples as one number for each channel or feature.

        None if it is not of such a shape. The channels are our first axis.
        """
        features = self.dims[0] if self.is_vector else self.shape[0]
        dims = (1,) * (1 + len(self.dims) - array.ndim) + array.shape
        if len(dims) != 1 + len(self.dims) or dims[0] != 1 or (array.size == 1 and features > MOST_FEATURES):
            return None
        channel = 0 if self.is_vector else self.axes.index(0) if 0 in self.axes else -1
        if any(size != 1 and place != channel for place, size in enumerate(dims[1:])) or array.size not in (
            1,
            features,
        ):
            return None
        numbers = np.broadcast_to(array.reshape(-1).astype(np.float64), (features,))
        return self.in_our_order(numbers) if self.is_vector else numbers

    def in_our_order(self, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return numbers of which the first axis is that of the file's features, in the order of ours."""
        if (positions := self.positions) is None:
            return numbers
        moved = np.empty_like(numbers)
        moved[positions] = numbers
        return moved

    def as_ours(self, array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """Return an array that is broadcast over the file's examples as one of our shape; None if it does not fit."""
        try:
            whole = np.broadcast_to(array, (1, *self.dims))[0]
        except ValueError:
            return None
        return self.in_our_order(whole.reshape(-1)).reshape(self.shape)
