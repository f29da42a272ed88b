"""Where the windows of a pooling lie."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import functools
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import (
    FloatArray,
    Padding,
    Pair,
    Sides,
    as_flag,
    as_padding,
    as_pair,
    check_pixels,
    join_sizes,
    output_size,
    sides_of,
)

__all__ = ["PoolWindows", "pool_output_shape", "pool_outputs"]


class PoolWindows(NamedTuple):
    """Where a pooling's windows lie: options of a pooling, checked."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: Sides = (0, 0)
    ceil_mode: bool = False

    @classmethod
    def of(
        cls, what: str, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False
    ) -> Self:
        """Return the options after checking them; the stride is the kernel size by default."""
        kernel = as_pair(kernel_size, f"{what}: kernel_size", 1)
        return cls(
            kernel,
            kernel if stride is None else as_pair(stride, f"{what}: stride", 1),
            as_padding(padding, f"{what}: padding"),
            as_flag(ceil_mode, f"{what}: ceil_mode"),
        )

    def check_padding(self, what: str) -> None:
        """Raise a ValueError if a window could hold nothing but padding."""
        if any(max(sides) >= size for sides, size in zip(sides_of(self.padding), self.kernel_size, strict=True)):
            raise ValueError(
                f"{what}: expected padding below the kernel {self.kernel_size} on each side, so that every window "
                f"holds a pixel, got {self.padding}"
            )

    def geometry(self, input_shape: tuple[int, ...], what: str) -> _kernels.Pooling:
        """Return the geometry of the pooling of images (C, H, W) as the kernels take it."""
        _, oh, ow = pool_outputs(input_shape, self, what)
        _, h, w = input_shape
        (top, _), (left, _) = sides_of(self.padding)
        return _kernels.Pooling(h, w, *self.kernel_size, *self.stride, top, left, out_h=oh, out_w=ow)

    def counts(self, input_shape: tuple[int, ...], count_padding: bool, dtype: npt.DTypeLike, what: str) -> FloatArray:
        """Return (OH, OW): how many elements the mean of each window is over.

        They are those that lie in the image or, with `count_padding`, in the image and its padding. Elements beyond,
        which the last windows have with `ceil_mode`, never count.
        """
        outputs = pool_outputs(input_shape, self, what)[1:]
        axes = zip(input_shape[1:], outputs, self.kernel_size, self.stride, sides_of(self.padding), strict=True)
        along = []
        for size, count, length, step, (before, after) in axes:
            start = np.arange(count) * step - before
            end = np.minimum(start + length, size + after * count_padding)
            along.append(end - (start if count_padding else np.maximum(start, 0)))
        counts: FloatArray = np.multiply.outer(*along).astype(dtype)
        return counts


# Cached, because every call asks this again, with the same shapes each time.
@functools.lru_cache(1024)
def pool_outputs(input_shape: tuple[int, ...], windows: PoolWindows, what: str) -> tuple[int, int, int]:
    """Return the shape (C, OH, OW) of a pooling's output for an image (C, H, W); raise if there is none."""
    if len(input_shape) != 3:
        raise ValueError(f"{what}: expected x of shape (N, C, H, W), got (N, {join_sizes(input_shape)})")
    if 0 in input_shape[1:]:
        raise ValueError(f"{what}: expected images of at least one pixel, got (N, {join_sizes(input_shape)})")
    windows.check_padding(what)
    channels, height, width = input_shape
    kernel, stride, padding, ceil_mode = windows
    rows, columns = sides_of(padding)
    check_pixels(height + sum(rows), width + sum(columns), what)
    oh = output_size(height, kernel[0], stride[0], rows, f"{what}: output height", ceil_mode)
    ow = output_size(width, kernel[1], stride[1], columns, f"{what}: output width", ceil_mode)
    return channels, oh, ow


def pool_output_shape(
    input_shape: tuple[int, ...],
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: Sides,
    what: str,
    ceil_mode: bool = False,
) -> tuple[int, int, int]:
    """Return the shape (C, OH, OW) of a pooling's output for one image.

    Parameters
    ----------
    input_shape : tuple
        (C, H, W).
    kernel_size, stride : pair of ints
        Along the height and the width.
    padding : pair of ints, or pair of pairs
        Along the height and the width, or ((top, bottom), (left, right)).
    what : str
        The name that errors begin with.
    ceil_mode : bool
        Whether sizes are rounded up, as in `max_pool2d_forward`.

    Raises
    ------
    ValueError
        If `input_shape` is not of three axes, the padding is not below the kernel, or an output size is below 1.
    """
    return pool_outputs(tuple(input_shape), PoolWindows(kernel_size, stride, padding, ceil_mode), what)
