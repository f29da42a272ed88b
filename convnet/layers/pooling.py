"""Poolings: the functions, the layers and their stages."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import (
    FloatArray,
    IntArray,
    Padding,
    Pair,
    as_flag,
    as_plain,
    as_real,
    as_shape,
    check_pixels,
    check_shape,
)
from convnet.core.threads import in_parts
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.base import Layer
from convnet.layers.pool_windows import PoolWindows, pool_outputs
from convnet.layers.stage import LEAST_CHANNELS, Options, ParameterlessStage, Shape, Stage, has_instruction_set

__all__ = [
    "AveragePool2D",
    "MaxPool2D",
    "average_pool2d_backward",
    "average_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
]


def _images(x: npt.ArrayLike, what: str) -> FloatArray:
    """Return checked images (N, C, H, W)."""
    x = as_real(x, f"{what}: x")
    check_shape(x.shape, ("N", "C", "H", "W"), f"{what}: x")
    return x


def max_pool2d_forward(
    x: npt.ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> tuple[FloatArray, IntArray]:
    """Largest element of each window.

    ``y[n, c, oh, ow] = max over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``, with minus
    infinity outside of x. The padding is that above and to the left; that below and to the right counts for the sizes,
    ``OH = floor((H + top + bottom - KH) / stride) + 1``. A window that holds a NaN gives NaN.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    kernel_size : int or pair of ints
        Height KH and width KW of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int, pair of ints or pair of pairs
        Minus infinities added on each side, at most the kernel size minus 1: along the height and the width, or
        ((top, bottom), (left, right)).
    ceil_mode : bool
        If True, OH and OW are rounded up, so that the last windows may reach beyond the padding, where minus infinity
        is, too. A window that would begin behind x is left out.

    Returns
    -------
    y : ndarray, shape (N, C, OH, OW)
    argmax : ndarray of int32, shape (N, C, OH, OW)
        ``h * W + w`` of each maximum, the first in row order where several are equal.

    Raises
    ------
    ValueError
        If x is not of four axes, the padding is not below the kernel, or an output size is below 1.
    TypeError
        If x does not hold real numbers, or another argument is not of its type.

    Notes
    -----
    M. Riesenhuber, T. Poggio, "Hierarchical models of object recognition in cortex", 1999.
    """
    x = _images(x, "MaxPool2D")
    windows = PoolWindows.of("MaxPool2D", kernel_size, stride, padding, ceil_mode)
    geometry = windows.geometry(x.shape[1:], "MaxPool2D")
    y = np.empty((*x.shape[:2], geometry.out_h, geometry.out_w), x.dtype)
    argmax = np.empty(y.shape, np.int32)
    _max_forward(geometry, x, y, argmax)
    return y, argmax


def max_pool2d_backward(dy: npt.ArrayLike, argmax: npt.ArrayLike, input_shape: tuple[int, ...]) -> FloatArray:
    """Gradient of `max_pool2d_forward`: each window's gradient goes to its maximum, the first where several are equal.

    ``dx[n, c].flat[argmax[n, c, oh, ow]] += dy[n, c, oh, ow]``.

    Parameters
    ----------
    dy : array_like, shape (N, C, OH, OW)
        Gradient of the loss with respect to the output.
    argmax : array_like of int, shape (N, C, OH, OW)
        From the forward pass.
    input_shape : tuple
        (N, C, H, W) of the forward pass's x.

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Raises
    ------
    ValueError
        If shapes do not fit together or an index lies outside the image.
    TypeError
        If `dy` does not hold real numbers or `argmax` integers.
    """
    dy = as_real(dy, "MaxPool2D: dy")
    n, c, h, w = as_shape(input_shape, "MaxPool2D: input_shape (N, C, H, W)", axes=4, minimum=0)
    check_pixels(h, w, "MaxPool2D")
    check_shape(dy.shape, (n, c, "OH", "OW"), "MaxPool2D: dy")
    indices = np.asarray(argmax)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"MaxPool2D: argmax: expected integers, got dtype {indices.dtype}")
    check_shape(indices.shape, dy.shape, "MaxPool2D: argmax")
    if indices.size and not 0 <= indices.min() <= indices.max() < h * w:
        raise ValueError(f"MaxPool2D: argmax: expected indices in [0, {h * w}), got {indices.min()} to {indices.max()}")
    dx = np.empty((n, c, h, w), dy.dtype)
    _max_backward(dy, as_plain(indices, np.int32), dx)
    return dx


def average_pool2d_forward(
    x: npt.ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_padding: bool = True,
) -> FloatArray:
    """Mean of each window.

    ``y[n, c, oh, ow] = (1 / count) * sum over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``,
    with 0 outside of x. The padding is that above and to the left; that below and to the right counts for the sizes,
    ``OH = floor((H + top + bottom - KH) / stride) + 1``.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    kernel_size : int or pair of ints
        Height KH and width KW of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int, pair of ints or pair of pairs
        Zeros added on each side, at most the kernel size minus 1: along the height and the width, or
        ((top, bottom), (left, right)).
    ceil_mode : bool
        If True, OH and OW are rounded up, so that the last windows may reach beyond the padding; what lies there does
        not count. A window that would begin behind x is left out.
    count_padding : bool
        If True, the count is the number of the window's elements inside x and its padding: KH * KW, but for windows
        that reach beyond by `ceil_mode`. If False, it is the number of those inside x.

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Raises
    ------
    ValueError
        If x is not of four axes, the padding is not below the kernel, or an output size is below 1.
    TypeError
        If x does not hold real numbers, or another argument is not of its type.

    Notes
    -----
    Y. LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990, averages and subsamples.
    """
    x = _images(x, "AveragePool2D")
    windows = PoolWindows.of("AveragePool2D", kernel_size, stride, padding, ceil_mode)
    geometry = windows.geometry(x.shape[1:], "AveragePool2D")
    count_padding = as_flag(count_padding, "AveragePool2D: count_padding")
    counts = windows.counts(x.shape[1:], count_padding, x.dtype, "AveragePool2D")
    y = np.empty((*x.shape[:2], geometry.out_h, geometry.out_w), x.dtype)
    _average_forward(geometry, x, counts, y)
    return y


def average_pool2d_backward(
    dy: npt.ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_padding: bool = True,
) -> FloatArray:
    """Gradient of `average_pool2d_forward`: each element of a window gets an equal share, ``dy / count``.

    Parameters
    ----------
    dy : array_like, shape (N, C, OH, OW)
        Gradient of the loss with respect to the output.
    input_shape : tuple
        (N, C, H, W) of the forward pass's x.
    kernel_size, stride, padding, ceil_mode, count_padding
        As in the forward pass.

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Raises
    ------
    ValueError
        If shapes do not fit together.
    TypeError
        If `dy` does not hold real numbers, or another argument is not of its type.
    """
    n, *image_shape = as_shape(input_shape, "AveragePool2D: input_shape (N, C, H, W)", axes=4, minimum=0)
    windows = PoolWindows.of("AveragePool2D", kernel_size, stride, padding, ceil_mode)
    dy = as_real(dy, "AveragePool2D: dy")
    geometry = windows.geometry(tuple(image_shape), "AveragePool2D")
    check_shape(dy.shape, (n, image_shape[0], geometry.out_h, geometry.out_w), "AveragePool2D: dy")
    count_padding = as_flag(count_padding, "AveragePool2D: count_padding")
    counts = windows.counts(tuple(image_shape), count_padding, dy.dtype, "AveragePool2D")
    dx = np.empty((n, *image_shape), dy.dtype)
    _average_backward(geometry, dy, counts, np.empty_like(dy), dx)
    return dx


# The kernels work on planes (N * C, H, W), which are dealt out to the threads. Max pooling takes WORK additions for a
# pixel, average pooling for an output.
WORK = 8


def _planes(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _max_forward(geometry: _kernels.Pooling, x: FloatArray, y: FloatArray, argmax: npt.NDArray[np.int32]) -> None:
    images, outputs, indices = _planes(x), _planes(y), _planes(argmax)

    def task(part: slice, _: int) -> None:
        _kernels.max_pool2d_forward(geometry, images[part], outputs[part], indices[part])

    in_parts(task, len(images), WORK * x.size)


def _max_backward(dy: FloatArray, argmax: npt.NDArray[np.int32], dx: FloatArray) -> None:
    if not dx.size:  # nothing to do, even if there are many images without pixels
        return
    gradients, indices, images = _planes(dy), _planes(argmax), _planes(dx)

    def task(part: slice, _: int) -> None:
        _kernels.max_pool2d_backward(gradients[part], indices[part], images[part])

    in_parts(task, len(images), WORK * dx.size)


def _average_forward(geometry: _kernels.Pooling, x: FloatArray, counts: FloatArray, y: FloatArray) -> None:
    images, outputs = _planes(x), _planes(y)

    def task(part: slice, _: int) -> None:
        _kernels.average_pool2d_forward(geometry, images[part], counts, outputs[part])

    in_parts(task, len(images), WORK * y.size)


def _average_backward(
    geometry: _kernels.Pooling, dy: FloatArray, counts: FloatArray, shares: FloatArray, dx: FloatArray
) -> None:
    gradients, scratch, images = _planes(dy), _planes(shares), _planes(dx)

    def task(part: slice, _: int) -> None:
        _kernels.average_pool2d_backward(geometry, gradients[part], counts, scratch[part], images[part])

    in_parts(task, len(images), WORK * dy.size)


def is_two_by_two(layer: Pool2D) -> bool:
    """Return whether a layer's windows are of 2x2 pixels and lie side by side in the image."""
    return layer.windows == PoolWindows((2, 2), (2, 2))


class Pool2D(Layer):
    """What the poolings have in common: windows, and the shape of the output."""

    kind = "pool"
    ceil_mode: bool = False  # as in pickles of 0.1, which do not have it

    def __init__(
        self, kernel_size: Pair, *, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        windows = PoolWindows.of(type(self).__name__, kernel_size, stride, padding, ceil_mode)
        windows.check_padding(type(self).__name__)
        self.kernel_size, self.stride, self.padding, self.ceil_mode = windows

    @property
    def windows(self) -> PoolWindows:
        """Kernel size, stride, padding and whether sizes are rounded up."""
        # Checked again: the attributes may have been set since.
        return PoolWindows.of(type(self).__name__, self.kernel_size, self.stride, self.padding, self.ceil_mode)

    def hyperparameters(self) -> dict[str, Any]:
        options: dict[str, Any] = {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}
        return options | {"ceil_mode": True} if self.ceil_mode else options

    def output_shape(self, input_shape: Shape) -> Shape:
        return pool_outputs(input_shape, self.windows, type(self).__name__)


class MaxPool2D(Pool2D):
    """Largest element of each window of images (N, C, H, W); see `functional.max_pool2d_forward`.

    ``y[n, c, oh, ow] = max over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``.

    Parameters
    ----------
    kernel_size : int or pair of ints
        Height and width of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int, pair of ints or pair of pairs
        Minus infinities added on each side, at most the kernel size minus 1: along the height and the width, or
        ((top, bottom), (left, right)).
    ceil_mode : bool
        Whether sizes are rounded up, so that the last windows may reach beyond the padding.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its type, or out of range.

    Notes
    -----
    M. Riesenhuber, T. Poggio, "Hierarchical models of object recognition in cortex", 1999.
    """

    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, Any]:
        y, argmax = max_pool2d_forward(x, **self.hyperparameters())
        return y, (argmax, np.shape(x))

    def backward(
        self, dy: npt.ArrayLike, cache: Any, need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return max_pool2d_backward(dy, *cache), {}

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        _, height, width = input_shape
        is_of_images = self.windows == PoolWindows((height, width), self.windows.stride)
        if is_of_images and has_instruction_set(dtype) and input_shape[0] >= LEAST_CHANNELS:
            return ImageMaxPoolStage(name, self, input_shape, dtype)
        return MaxPoolStage(name, self, input_shape, dtype)


class AveragePool2D(Pool2D):
    """Mean of each window of images (N, C, H, W); see `functional.average_pool2d_forward`.

    ``y[n, c, oh, ow] = (1 / count) * sum over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``.

    Parameters
    ----------
    kernel_size : int or pair of ints
        Height and width of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int, pair of ints or pair of pairs
        Zeros added on each side, at most the kernel size minus 1: along the height and the width, or
        ((top, bottom), (left, right)).
    ceil_mode : bool
        Whether sizes are rounded up, so that the last windows may reach beyond the padding; what lies there does not
        count.
    count_padding : bool
        Whether the padding's zeros count as elements of the mean.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its type, or out of range.

    Notes
    -----
    Y. LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990, averages and subsamples.
    """

    def __init__(
        self,
        kernel_size: Pair,
        *,
        stride: Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_padding: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode)
        self.count_padding = as_flag(count_padding, "AveragePool2D: count_padding")

    def hyperparameters(self) -> dict[str, Any]:
        return super().hyperparameters() | {"count_padding": self.count_padding}

    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, Shape]:
        return average_pool2d_forward(x, **self.hyperparameters()), np.shape(x)

    def backward(
        self, dy: npt.ArrayLike, cache: Shape, need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return average_pool2d_backward(dy, cache, **self.hyperparameters()), {}

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        return AveragePoolStage(name, self, input_shape, dtype)


class PoolStage(ParameterlessStage):
    """What the stages of poolings have in common: in NCHW any pooling, and channels last one of 2x2 windows.

    Attributes
    ----------
    pool : str
        ``max`` or ``average``.
    """

    pool: str

    def __init__(self, name: str, layer: Pool2D, input_shape: Shape, dtype: np.dtype) -> None:
        super().__init__((name,), input_shape, layer.output_shape(input_shape), dtype)
        self.geometry = layer.windows.geometry(input_shape, name)
        if has_instruction_set(dtype) and is_two_by_two(layer) and input_shape[0] >= LEAST_CHANNELS:
            self.layouts = "any input"

    def set_layouts(self, input_layout: str, output_layout: str) -> None:
        super().set_layouts(input_layout, output_layout)
        self.algorithm = "vectors" if input_layout == "NHWC" else "loops"
        if input_layout == "NHWC":
            channels, height, width = self.input_shape
            gives_last = output_layout == "NHWC"
            self.channels_last = _kernels.ChannelsLastPooling(self.pool, channels, height, width, gives_last)

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        arrays = super().arrays(n, threads, training)
        if self.input_layout == "NCHW":
            return arrays | self.planar_arrays(n, training)
        channels, height, width = self.output_shape
        arrays["scratch"] = (self.channels_last.scratch(threads),), np.float32
        return arrays | ({"codes": ((n, height, width, channels), np.uint8)} if training else {})

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        if self.input_layout == "NCHW":
            self.pool_planes(x, memory)
        else:
            y, codes, scratch = memory["y"], memory.get("codes"), memory["scratch"]
            _kernels.pool_channels_last_forward(self.channels_last, x, y, codes, scratch, memory.threads)
        return memory["y"]

    def write_dx(self, dy: FloatArray, cache: Any, memory: Memory) -> None:
        if self.input_layout == "NCHW":
            self.write_planes(dy, memory)
        else:
            dx, codes, scratch = memory["dx"], memory["codes"], memory["scratch"]
            _kernels.pool_channels_last_backward(self.channels_last, dy, codes, dx, scratch, memory.threads)

    def planar_arrays(self, n: int, training: bool) -> dict[str, ArraySpec]:
        """Return what the two methods below take from their memory beside y and dx."""
        raise NotImplementedError

    def pool_planes(self, x: FloatArray, memory: Memory) -> None:
        """Write the output in NCHW."""
        raise NotImplementedError

    def write_planes(self, dy: FloatArray, memory: Memory) -> None:
        """Write the gradient with respect to the input in NCHW."""
        raise NotImplementedError


class MaxPoolStage(PoolStage):
    """A max pooling."""

    pool = "max"

    def planar_arrays(self, n: int, training: bool) -> dict[str, ArraySpec]:
        return {"argmax": ((n, *self.output_shape), np.int32)}

    def pool_planes(self, x: FloatArray, memory: Memory) -> None:
        _max_forward(self.geometry, x, memory["y"], memory["argmax"])

    def write_planes(self, dy: FloatArray, memory: Memory) -> None:
        _max_backward(dy, memory["argmax"], memory["dx"])


class ImageMaxPoolStage(MaxPoolStage):
    """A max pooling whose one window is the whole image, channels first or last."""

    def __init__(self, name: str, layer: MaxPool2D, input_shape: Shape, dtype: np.dtype) -> None:
        super().__init__(name, layer, input_shape, dtype)
        self.layouts = "any input"

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        if self.input_layout == "NCHW":
            return super().arrays(n, threads, training)
        pixels = {"pixel": ((n, self.input_shape[0]), np.int32)} if training else {}
        return ParameterlessStage.arrays(self, n, threads, training) | pixels

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        if self.input_layout == "NCHW":
            return super().predict(x, memory)
        y = memory["y"].reshape(len(x), self.input_shape[0])
        _kernels.max_pool_images_forward(self._pixels(x), y, memory.get("pixel"), memory.threads)
        return memory["y"]

    def write_dx(self, dy: FloatArray, cache: Any, memory: Memory) -> None:
        if self.input_layout == "NCHW":
            super().write_dx(dy, cache, memory)
            return
        flat = dy.reshape(len(dy), self.input_shape[0])
        _kernels.max_pool_images_backward(flat, memory["pixel"], self._pixels(memory["dx"]), memory.threads)

    def _pixels(self, images: FloatArray) -> FloatArray:
        """Return images (N, H, W, C) as (N, H * W, C)."""
        channels, height, width = self.input_shape
        return images.reshape(len(images), height * width, channels)


class AveragePoolStage(PoolStage):
    """An average pooling."""

    pool = "average"

    def __init__(self, name: str, layer: AveragePool2D, input_shape: Shape, dtype: np.dtype) -> None:
        super().__init__(name, layer, input_shape, dtype)
        self.counts = layer.windows.counts(input_shape, layer.count_padding, dtype, name)

    def planar_arrays(self, n: int, training: bool) -> dict[str, ArraySpec]:
        return {"shares": ((n, *self.output_shape), self.dtype)} if training else {}

    def pool_planes(self, x: FloatArray, memory: Memory) -> None:
        _average_forward(self.geometry, x, self.counts, memory["y"])

    def write_planes(self, dy: FloatArray, memory: Memory) -> None:
        _average_backward(self.geometry, dy, self.counts, memory["shares"], memory["dx"])
