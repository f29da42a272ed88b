"""Forward and backward functions of the layers on NumPy arrays: checked here, computed by the compiled kernels.

Axes: N images, C channels of H x W pixels, F filters of KH x KW weights, outputs of OH x OW, D features in and M
features out. Output sizes are ``floor((size + 2 * padding - kernel) / stride) + 1``.

Arguments are never changed. Any real array is accepted, whatever its order, strides or byte order. Functions with
parameters compute in the dtype of `weight`; the others keep float32 and float64 and convert the rest to float32.
N = 0 is allowed everywhere.

`empty` gives the memory of the arrays that a function returns or needs: numpy.empty, or that of a `Workspace`.
"""

from __future__ import annotations  # numpy.random is imported when it is used, not with the package

import functools
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.checks import (
    LARGEST,
    NATIVE,
    FloatArray,
    IntArray,
    Pair,
    as_flag,
    as_number,
    as_pair,
    as_plain,
    as_real,
    as_shape,
    check_shape,
)
from convnet.threads import LEVEL, get_num_threads, in_parts
from convnet.workspace import Empty

__all__ = [
    "affine_backward",
    "affine_forward",
    "affine_update",
    "average_pool2d_backward",
    "average_pool2d_forward",
    "can_fuse",
    "can_update",
    "conv2d_backward",
    "conv2d_forward",
    "conv_output_shape",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
    "dropout_backward",
    "dropout_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "pool_output_shape",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax",
    "warp",
]

# In how many groups of images a convolution's weight gradient is summed, each on a thread, and the bytes that these
# partial sums may take together.
GROUPS, GROUPS_BYTES = 8, 1 << 24


# ------------------------------------------------------------------------------------------ convolution


def output_size(size: int, kernel: int, stride: int, padding: int, what: str) -> int:
    """Return floor((size + 2 * padding - kernel) / stride) + 1, and show the arithmetic where it is below 1."""
    output = (size + 2 * padding - kernel) // stride + 1
    if output < 1:
        raise ValueError(
            f"{what} = floor(({size} + 2*{padding} - {kernel}) / {stride}) + 1 = {output}, expected at least 1"
        )
    return output


def conv_output_shape(
    input_shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, int, int]:
    """Return the shape (F, OH, OW) of a convolution's output for one image.

    Parameters
    ----------
    input_shape : tuple
        (C, H, W).
    weight_shape : tuple
        (F, C, KH, KW).
    stride, padding : pair of ints
        Along the height and the width.

    Raises
    ------
    ValueError
        If the channels differ, the weight is not of four axes, or an output size is below 1.
    TypeError
        If a size is not an integer, or stride or padding not a pair of ints.
    """
    input_shape = as_shape(input_shape, "Conv2D: input_shape (C, H, W)", axes=3, minimum=0)
    weight_shape = as_shape(weight_shape, "Conv2D: weight_shape (F, C, KH, KW)", axes=4)
    stride, padding = as_pair(stride, "Conv2D: stride", 1), as_pair(padding, "Conv2D: padding", 0)
    return _conv_outputs((0, *input_shape), weight_shape, stride, padding)


# Remembered, as all that is worked out from the shapes of arrays before each prediction of one image.
@functools.lru_cache(1024)
def _conv_outputs(
    x_shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, int, int]:
    """Return the shape (F, OH, OW) of a convolution's output for one image of x; raise if there is none."""
    check_shape(weight_shape, ("F", "C", "KH", "KW"), "Conv2D: weight")
    f, c, kh, kw = weight_shape
    if 0 in weight_shape:
        raise ValueError(f"Conv2D: weight: expected no empty axis, got shape {weight_shape}")
    check_shape(x_shape, ("N", "C", "H", "W"), "Conv2D: x")
    _, channels, height, width = x_shape
    if channels != c:
        raise ValueError(f"Conv2D: weight expects {c} input channels, got x of shape (N, {_join(x_shape[1:])})")
    _check_pixels(height + 2 * padding[0], width + 2 * padding[1], "Conv2D")
    oh = output_size(height, kh, stride[0], padding[0], "Conv2D: output height")
    ow = output_size(width, kw, stride[1], padding[1], "Conv2D: output width")
    return f, oh, ow


def _join(sizes: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in sizes)


def _conv_arguments(
    x: npt.ArrayLike, weight: npt.ArrayLike, stride: Pair, padding: Pair
) -> tuple[FloatArray, FloatArray, tuple[int, int], tuple[int, int], tuple[int, int, int]]:
    weight = as_real(weight, "Conv2D: weight")
    x = as_real(x, "Conv2D: x", weight.dtype)
    stride, padding = as_pair(stride, "Conv2D: stride", 1), as_pair(padding, "Conv2D: padding", 0)
    return x, weight, stride, padding, _conv_outputs(x.shape, weight.shape, stride, padding)


def _conv_scratch(
    x: FloatArray,
    weight: FloatArray,
    sizes: tuple[int, ...],
    threads: int,
    empty: Empty,
    *,
    is_backward: bool = False,
    need_dx: bool = False,
) -> tuple[list[tuple[FloatArray, FloatArray, FloatArray, IntArray]], tuple[int, int]]:
    """Return for each thread the memory that a convolution's pass needs, and how many rows it does at a time.

    The memory begins with the packed weights, which are all threads'. The rows are those of the output, and of the
    input's gradient.
    """
    f, c, kh, kw = weight.shape
    h, w = x.shape[2:]
    blocks = _kernels.block_rows(c * kh * kw, *sizes[2:4]), _kernels.block_rows(f * kh * kw, h, w)
    is_float = weight.dtype == np.float32
    size, phases, cols, places = _kernels.conv2d_scratch(
        LEVEL, is_float, is_backward, need_dx, c, f, h, w, *blocks, *sizes
    )
    packed = empty((size,), weight.dtype)
    if size:
        _kernels.conv2d_pack(LEVEL, is_backward, weight.reshape(f, -1), c, packed)
    arrays = empty((threads, phases), weight.dtype), empty((threads, cols), weight.dtype)
    return [(packed, *scratch) for scratch in zip(*arrays, empty((threads, places), np.intp), strict=True)], blocks


def conv2d_forward(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    empty: Empty = np.empty,
) -> FloatArray:
    """Convolution (cross-correlation) of images with filters.

    ``y[n, f, oh, ow] = bias[f] + sum over c, i, j of
    weight[f, c, i, j] * x[n, c, oh * stride + i - padding, ow * stride + j - padding]``, with 0 outside of x. A weight
    that is not finite may or may not make an output NaN whose window reaches outside of x.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    weight : array_like, shape (F, C, KH, KW)
        Filters.
    bias : array_like, shape (F,)
        Added to each filter's output.
    stride, padding : int or pair of ints
        Step between windows, and zeros added on each side, along the height and the width.

    Returns
    -------
    ndarray, shape (N, F, OH, OW)
        In the dtype of `weight`.

    Raises
    ------
    ValueError
        If shapes do not fit together or an output size is below 1.
    TypeError
        If an array does not hold real numbers, or stride or padding is not an int or a pair of ints.

    Notes
    -----
    An image's windows are unfolded into columns (im2col) and the filters multiplied with them; in float32 without
    writing the columns, where that is faster. K. Chellapilla, S. Puri, P. Simard, "High performance convolutional
    neural networks for document processing", 2006.
    """
    x, weight, stride, padding, (f, oh, ow) = _conv_arguments(x, weight, stride, padding)
    bias = as_real(bias, "Conv2D: bias", weight.dtype)
    check_shape(bias.shape, (f,), "Conv2D: bias")
    y = empty((len(x), f, oh * ow), weight.dtype)
    sizes = (*weight.shape[2:], oh, ow, *stride, *padding)
    threads = get_num_threads()
    scratch, (block, _) = _conv_scratch(x, weight, sizes, threads, empty)

    def task(images: slice, slot: int) -> None:
        _kernels.conv2d_forward(LEVEL, x[images], weight.reshape(f, -1), bias, *scratch[slot], y[images], block, *sizes)

    in_parts(task, len(x), len(x) * weight.size * oh * ow // 8, threads)
    return y.reshape(len(x), f, oh, ow)


def conv2d_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    need_dx: bool = True,
    empty: Empty = np.empty,
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """Gradients of `conv2d_forward`.

    ``dweight[f, c, i, j] = sum over n, oh, ow of
    dy[n, f, oh, ow] * x[n, c, oh * stride + i - padding, ow * stride + j - padding]``;
    ``dbias[f] = sum over n, oh, ow of dy[n, f, oh, ow]``; ``dx`` adds ``weight[f, c, i, j] * dy[n, f, oh, ow]`` to
    the element of x that it was multiplied with. A weight that is not finite may make other elements of dx NaN too, and
    a dy that is not finite elements of dweight that it meets outside of x alone.

    Parameters
    ----------
    dy : array_like, shape (N, F, OH, OW)
        Gradient of the loss with respect to the output.
    x : array_like, shape (N, C, H, W)
        Images given to the forward pass.
    weight : array_like, shape (F, C, KH, KW)
        Filters.
    stride, padding : int or pair of ints
        As in the forward pass.
    need_dx : bool
        False leaves out the gradient with respect to x, which a network's first layer has no use for.

    Returns
    -------
    dx : ndarray, shape (N, C, H, W), or None without `need_dx`
    dweight : ndarray, shape (F, C, KH, KW)
    dbias : ndarray, shape (F,)

    Raises
    ------
    ValueError
        If shapes do not fit together.
    TypeError
        If an array does not hold real numbers, or stride or padding is not an int or a pair of ints.
    """
    x, weight, stride, padding, (f, oh, ow) = _conv_arguments(x, weight, stride, padding)
    dy = as_real(dy, "Conv2D: dy", weight.dtype)
    check_shape(dy.shape, (len(x), f, oh, ow), "Conv2D: dy")
    dy = dy.reshape(len(x), f, oh * ow)
    sizes = (*weight.shape[2:], oh, ow, *stride, *padding)
    threads = get_num_threads()
    scratch, blocks = _conv_scratch(x, weight, sizes, threads, empty, is_backward=True, need_dx=need_dx)
    groups = max(1, min(GROUPS, len(x), GROUPS_BYTES // weight.nbytes))
    dweights = empty((groups, weight[0].size, f), weight.dtype)
    dbiases = empty((groups, f), weight.dtype)
    dx = empty(x.shape, x.dtype) if need_dx else None

    def task(part: slice, slot: int) -> None:
        for group in range(part.start, part.stop):
            images = slice(len(x) * group // groups, len(x) * (group + 1) // groups)
            _kernels.conv2d_backward(
                LEVEL,
                dy[images],
                x[images],
                weight.reshape(f, -1),
                *scratch[slot],
                dweights[group],
                dbiases[group],
                None if dx is None else dx[images],
                *blocks,
                *sizes,
            )

    in_parts(task, groups, len(x) * weight.size * oh * ow // 8, threads)
    for group in range(1, groups):
        dweights[0] += dweights[group]
        dbiases[0] += dbiases[group]
    dweight = empty((f, weight[0].size), weight.dtype)
    dweight[...] = dweights[0].T
    return dx, dweight.reshape(weight.shape), dbiases[0]


# ---------------------------------------------------------------------------------------------- pooling


def check_pool_padding(kernel_size: tuple[int, int], padding: tuple[int, int], what: str) -> None:
    """Raise a ValueError if the padding is above half the kernel, so that a window could lie outside the image."""
    if 2 * padding[0] > kernel_size[0] or 2 * padding[1] > kernel_size[1]:
        raise ValueError(f"{what}: expected padding of at most half the kernel {kernel_size}, got {padding}")


def pool_output_shape(
    input_shape: tuple[int, ...],
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    what: str,
) -> tuple[int, int, int]:
    """Return the shape (C, OH, OW) of a pooling's output for one image.

    Parameters
    ----------
    input_shape : tuple
        (C, H, W).
    kernel_size, stride, padding : pair of ints
        Along the height and the width.
    what : str
        The name that errors begin with.

    Raises
    ------
    ValueError
        If `input_shape` is not of three axes, the padding is above half the kernel, or an output size is below 1.
    """
    if len(input_shape) != 3:
        raise ValueError(f"{what}: expected x of shape (N, C, H, W), got (N, {_join(input_shape)})")
    if 0 in input_shape[1:]:
        raise ValueError(f"{what}: expected images of at least one pixel, got (N, {_join(input_shape)})")
    check_pool_padding(kernel_size, padding, what)
    oh = output_size(input_shape[1], kernel_size[0], stride[0], padding[0], f"{what}: output height")
    ow = output_size(input_shape[2], kernel_size[1], stride[1], padding[1], f"{what}: output width")
    return input_shape[0], oh, ow


def max_pool2d_forward(
    x: npt.ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    empty: Empty = np.empty,
) -> tuple[FloatArray, IntArray]:
    """Largest element of each window.

    ``y[n, c, oh, ow] = max over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``, with minus
    infinity outside of x. A window that holds a NaN gives NaN.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    kernel_size : int or pair of ints
        Height and width of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int or pair of ints
        Minus infinities added on each side, at most half the kernel.

    Returns
    -------
    y : ndarray, shape (N, C, OH, OW)
    argmax : ndarray of int32, shape (N, C, OH, OW)
        ``h * W + w`` of each maximum, the first in row order where several are equal.

    Raises
    ------
    ValueError
        If x is not of four axes, the padding is above half the kernel, or an output size is below 1.
    TypeError
        If x does not hold real numbers, or another argument is not an int or a pair of ints.

    Notes
    -----
    M. Riesenhuber, T. Poggio, "Hierarchical models of object recognition in cortex", 1999.
    """
    x, kernel, stride, padding, (oh, ow) = _pool_arguments(x, kernel_size, stride, padding, "MaxPool2D")
    n, c, h, w = x.shape
    planes = x.reshape(n * c, h, w)
    y = empty((n * c, oh, ow), x.dtype)
    argmax = empty((n * c, oh, ow), np.int32)

    def task(part: slice, _: int) -> None:
        _kernels.max_pool2d_forward(planes[part], y[part], argmax[part], *kernel, *stride, *padding)

    in_parts(task, n * c, 2 * x.size)
    return y.reshape(n, c, oh, ow), argmax.reshape(n, c, oh, ow)


def _pool_arguments(
    x: npt.ArrayLike, kernel_size: Pair, stride: Pair | None, padding: Pair, what: str
) -> tuple[FloatArray, tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    x = as_real(x, f"{what}: x")
    check_shape(x.shape, ("N", "C", "H", "W"), f"{what}: x")
    kernel, stride, padding = pool_sizes(kernel_size, stride, padding, what)
    _check_pixels(x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1], what)
    return x, kernel, stride, padding, pool_output_shape(x.shape[1:], kernel, stride, padding, what)[1:]


def pool_sizes(
    kernel_size: Pair, stride: Pair | None, padding: Pair, what: str
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel size, stride and padding as pairs; the stride is the kernel size by default."""
    kernel = as_pair(kernel_size, f"{what}: kernel_size", 1)
    return (
        kernel,
        kernel if stride is None else as_pair(stride, f"{what}: stride", 1),
        as_pair(padding, f"{what}: padding", 0),
    )


def _check_pixels(height: int, width: int, what: str) -> None:
    """Raise a ValueError if an image, with its padding, has so many pixels that a place does not fit 32 bits."""
    if height * width > LARGEST:
        raise ValueError(
            f"{what}: expected fewer than 2**31 pixels in an image, padding included, got {height} x {width}"
        )


def max_pool2d_backward(
    dy: npt.ArrayLike, argmax: npt.ArrayLike, input_shape: tuple[int, ...], *, empty: Empty = np.empty
) -> FloatArray:
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
    _check_pixels(h, w, "MaxPool2D")
    check_shape(dy.shape, (n, c, "OH", "OW"), "MaxPool2D: dy")
    indices = np.asarray(argmax)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"MaxPool2D: argmax: expected integers, got dtype {indices.dtype}")
    check_shape(indices.shape, dy.shape, "MaxPool2D: argmax")
    if indices.size and not 0 <= indices.min() <= indices.max() < h * w:
        raise ValueError(f"MaxPool2D: argmax: expected indices in [0, {h * w}), got {indices.min()} to {indices.max()}")
    outputs = dy.shape[2] * dy.shape[3]
    gradients = dy.reshape(n * c, outputs)
    indices = as_plain(indices, np.int32).reshape(n * c, outputs)
    dx = empty((n * c, h * w), dy.dtype)
    if not dx.size:  # however many images of no pixels there are
        return dx.reshape(n, c, h, w)

    def task(part: slice, _: int) -> None:
        _kernels.max_pool2d_backward(gradients[part], indices[part], dx[part])

    in_parts(task, n * c, 2 * dx.size)
    return dx.reshape(n, c, h, w)


def average_pool2d_forward(
    x: npt.ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    count_padding: bool = True,
    empty: Empty = np.empty,
) -> FloatArray:
    """Mean of each window.

    ``y[n, c, oh, ow] = (1 / count) * sum over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``,
    with 0 outside of x.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    kernel_size : int or pair of ints
        Height KH and width KW of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int or pair of ints
        Zeros added on each side, at most half the kernel.
    count_padding : bool
        Whether the count is KH * KW everywhere, or else the number of the window's elements that lie inside x.

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Raises
    ------
    ValueError
        If x is not of four axes, the padding is above half the kernel, or an output size is below 1.
    TypeError
        If x does not hold real numbers, or another argument is not an int or a pair of ints.

    Notes
    -----
    Y. LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990, averages and subsamples.
    """
    x, kernel, stride, padding, (oh, ow) = _pool_arguments(x, kernel_size, stride, padding, "AveragePool2D")
    n, c, h, w = x.shape
    counts = _window_counts((h, w), (oh, ow), kernel, stride, padding, count_padding).astype(x.dtype)
    planes = x.reshape(n * c, h, w)
    y = empty((n * c, oh, ow), x.dtype)

    def task(part: slice, _: int) -> None:
        _kernels.average_pool2d_forward(planes[part], counts, y[part], *kernel, *stride, *padding)

    in_parts(task, n * c, 2 * x.size)
    return y.reshape(n, c, oh, ow)


def average_pool2d_backward(
    dy: npt.ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    count_padding: bool = True,
    empty: Empty = np.empty,
) -> FloatArray:
    """Gradient of `average_pool2d_forward`: each element of a window gets an equal share, ``dy / count``.

    Parameters
    ----------
    dy : array_like, shape (N, C, OH, OW)
        Gradient of the loss with respect to the output.
    input_shape : tuple
        (N, C, H, W) of the forward pass's x.
    kernel_size, stride, padding, count_padding
        As in the forward pass.

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Raises
    ------
    ValueError
        If shapes do not fit together.
    TypeError
        If `dy` does not hold real numbers, or another argument is not an int or a pair of ints.
    """
    n, c, h, w = as_shape(input_shape, "AveragePool2D: input_shape (N, C, H, W)", axes=4, minimum=0)
    kernel, stride, padding = pool_sizes(kernel_size, stride, padding, "AveragePool2D")
    dy = as_real(dy, "AveragePool2D: dy")
    _, oh, ow = pool_output_shape((c, h, w), kernel, stride, padding, "AveragePool2D")
    check_shape(dy.shape, (n, c, oh, ow), "AveragePool2D: dy")
    counts = _window_counts((h, w), (oh, ow), kernel, stride, padding, count_padding).astype(dy.dtype)
    gradients = dy.reshape(n * c, oh, ow)
    shares = empty(gradients.shape, dy.dtype)
    dx = empty((n * c, h, w), dy.dtype)

    def task(part: slice, _: int) -> None:
        _kernels.average_pool2d_backward(gradients[part], counts, shares[part], dx[part], *kernel, *stride, *padding)

    in_parts(task, n * c, 2 * dx.size)
    return dx.reshape(n, c, h, w)


def _window_counts(
    size: tuple[int, int],
    outputs: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    count_padding: bool,
) -> npt.NDArray[np.int64]:
    """Return (OH, OW): how many elements the mean of each window is over."""
    if as_flag(count_padding, "AveragePool2D: count_padding"):
        return np.full(outputs, kernel[0] * kernel[1], np.int64)
    inside = []
    for axis in range(2):
        start = np.arange(outputs[axis]) * stride[axis] - padding[axis]
        inside.append(np.minimum(start + kernel[axis], size[axis]) - np.maximum(start, 0))
    counts: npt.NDArray[np.int64] = inside[0][:, None] * inside[1]
    return counts


# ------------------------------------------------------ convolution, ReLU and 2x2 max pooling in one pass


def can_fuse(weight: npt.NDArray[Any]) -> bool:
    """Return whether `conv_relu_pool_forward` takes these filters: float32, of a width that a vector holds.

    Parameters
    ----------
    weight : ndarray, shape (F, C, KH, KW)
    """
    weight = np.asarray(weight)
    return LEVEL >= 0 and weight.ndim == 4 and weight.dtype == np.float32 and weight.shape[3] <= _kernels.MAX_KERNEL_W


def conv_relu_pool_forward(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike, *, padding: Pair = 0, empty: Empty = np.empty
) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Max pooling 2x2 of ReLU of a convolution of stride 1, without writing what lies between to memory.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    weight : array_like of float32, shape (F, C, KH, KW)
        Filters that `can_fuse` accepts.
    bias : array_like, shape (F,)
    padding : int or pair of ints
        Zeros added on each side of x.

    Returns
    -------
    y : ndarray of float32, shape (N, F, PH, PW)
        Equal within rounding to the three functions one after the other.
    codes : ndarray of uint8, shape (N, F, PH, PW)
        For the backward pass: where in its window each maximum is, or that ReLU closed it.

    Raises
    ------
    ValueError
        If shapes do not fit together, an output size is below 1, or `can_fuse` does not accept the filters.
    TypeError
        If an array does not hold real numbers, or padding is not an int or a pair of ints.
    """
    x, weight, padding, (f, ph, pw) = _fused_arguments(x, weight, padding)
    bias = as_real(bias, "Conv2D: bias", weight.dtype)
    check_shape(bias.shape, (f,), "Conv2D: bias")
    y = empty((len(x), f, ph, pw), np.float32)
    codes = empty(y.shape, np.uint8)
    padded = _padded(x, padding, empty)
    _kernels.conv_relu_pool_forward(LEVEL, get_num_threads(), x, weight, bias, padded, y, codes, *padding)
    return y, codes


def conv_relu_pool_backward(
    dy: npt.ArrayLike,
    codes: npt.NDArray[np.uint8],
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    padding: Pair = 0,
    need_dx: bool = True,
    empty: Empty = np.empty,
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """Gradients of `conv_relu_pool_forward`.

    Parameters
    ----------
    dy : array_like, shape (N, F, PH, PW)
        Gradient of the loss with respect to the output.
    codes : ndarray of uint8, shape (N, F, PH, PW)
        From the forward pass.
    x, weight, padding
        As in the forward pass.
    need_dx : bool
        False leaves out the gradient with respect to x.

    Returns
    -------
    dx : ndarray, shape (N, C, H, W), or None without `need_dx`
    dweight : ndarray, shape (F, C, KH, KW)
    dbias : ndarray, shape (F,)

    Raises
    ------
    ValueError
        If shapes do not fit together.
    TypeError
        If an array does not hold real numbers, or `codes` is not of uint8.
    """
    x, weight, padding, (f, ph, pw) = _fused_arguments(x, weight, padding)
    dy = as_real(dy, "Conv2D: dy", weight.dtype)
    check_shape(dy.shape, (len(x), f, ph, pw), "Conv2D: dy")
    codes = np.asarray(codes)
    if codes.dtype != np.uint8:
        raise TypeError(f"Conv2D: codes: expected uint8, got {codes.dtype}")
    check_shape(codes.shape, dy.shape, "Conv2D: codes")
    codes = as_plain(codes, np.uint8)
    if codes.size and codes.max() > _kernels.CLOSED:
        raise ValueError(f"Conv2D: codes: expected at most {_kernels.CLOSED}, got {codes.max()}")
    if need_dx:
        _, oh, ow = conv_output_shape(x.shape[1:], weight.shape, (1, 1), padding)
        dconv = empty((len(x) * f, oh, ow), np.float32)
        planes, plane_codes = dy.reshape(-1, ph, pw), codes.reshape(-1, ph, pw)

        def task(part: slice, _: int) -> None:
            _kernels.relu_pool_backward(planes[part], plane_codes[part], dconv[part])

        in_parts(task, len(dconv), dconv.size)
        return conv2d_backward(dconv.reshape(len(x), f, oh, ow), x, weight, padding=padding, empty=empty)
    rows = empty((*weight.shape[:3], 8), np.float32)
    dweight = empty(weight.shape, np.float32)
    dbias = empty(f, np.float32)
    padded = _padded(x, padding, empty)
    _kernels.conv_relu_pool_backward(LEVEL, get_num_threads(), dy, codes, x, weight, padded, rows, dbias, *padding)
    dweight[...] = rows[..., : weight.shape[3]]
    return None, dweight, dbias


def _fused_arguments(
    x: npt.ArrayLike, weight: npt.ArrayLike, padding: Pair
) -> tuple[FloatArray, FloatArray, tuple[int, int], tuple[int, int, int]]:
    x, weight, _, padding, shape = _conv_arguments(x, weight, (1, 1), padding)
    if not can_fuse(weight):
        raise ValueError(f"Conv2D: expected filters that can_fuse accepts, got {weight.dtype} of shape {weight.shape}")
    return x, weight, padding, _pooled(shape)


@functools.lru_cache(1024)
def _pooled(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return pool_output_shape(shape, (2, 2), (2, 2), (0, 0), "MaxPool2D")


def _padded(x: FloatArray, padding: tuple[int, int], empty: Empty) -> FloatArray:
    """Return memory for the images with their padding, and for what the kernel reads beyond."""
    n, c, h, w = x.shape
    return empty((n, c * (h + 2 * padding[0]) * (w + 2 * padding[1]) + _kernels.SLACK), np.float32)


# ------------------------------------------------------------------------------ Affine and activations


def _affine_arguments(x: npt.ArrayLike, weight: npt.ArrayLike) -> tuple[FloatArray, FloatArray, tuple[int, ...]]:
    weight = as_real(weight, "Affine: weight")
    x = as_real(x, "Affine: x", weight.dtype)
    return x.reshape(_flattened(x.shape, weight.shape)), weight, x.shape


@functools.lru_cache(1024)
def _flattened(x_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape (N, D) of an Affine layer's input; raise unless it fits the weight."""
    check_shape(weight_shape, ("D", "M"), "Affine: weight")
    d, features = weight_shape[0], prod(x_shape[1:])
    if len(x_shape) < 2 or features != d:
        raise ValueError(f"Affine: weight expects {d} input features, got x of shape {x_shape}")
    return x_shape[0], d


def affine_forward(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike, *, empty: Empty = np.empty
) -> FloatArray:
    """Affine map of each example: ``y = x @ weight + bias``, all axes of x after the first flattened.

    Where many elements of x are 0, as after ReLU, these are left out: 0 times NaN or infinity may count as 0 then.

    Parameters
    ----------
    x : array_like, shape (N, ...)
        Examples, of D elements each.
    weight : array_like, shape (D, M)
    bias : array_like, shape (M,)

    Returns
    -------
    ndarray, shape (N, M)
        In the dtype of `weight`.

    Raises
    ------
    ValueError
        If shapes do not fit together.
    TypeError
        If an array does not hold real numbers.
    """
    x, weight, _ = _affine_arguments(x, weight)
    bias = as_real(bias, "Affine: bias", weight.dtype)
    check_shape(bias.shape, (weight.shape[1],), "Affine: bias")
    y = empty((len(x), len(bias)), weight.dtype)
    y[...] = bias
    scratch = empty(_kernels.multiply_scratch(LEVEL, len(x), *weight.shape), np.uint8)
    _kernels.multiply(LEVEL, get_num_threads(), x, weight, y, False, False, 1, scratch)
    return y


def affine_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    need_dx: bool = True,
    empty: Empty = np.empty,
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """Gradients of `affine_forward`: ``dx = dy @ weight.T``, ``dweight = x.T @ dy``, ``dbias = sum over n of dy[n]``.

    Where many elements of dy are 0, as after ReLU, these are left out: 0 times NaN or infinity may count as 0 then.

    Parameters
    ----------
    dy : array_like, shape (N, M)
        Gradient of the loss with respect to the output.
    x : array_like, shape (N, ...)
        Examples given to the forward pass.
    weight : array_like, shape (D, M)
    need_dx : bool
        False leaves out the gradient with respect to x.

    Returns
    -------
    dx : ndarray, of the shape of x, or None without `need_dx`
    dweight : ndarray, shape (D, M)
    dbias : ndarray, shape (M,)

    Raises
    ------
    ValueError
        If shapes do not fit together.
    TypeError
        If an array does not hold real numbers.
    """
    weight = as_real(weight, "Affine: weight")
    dweight = empty(weight.shape, weight.dtype)
    dx, dbias, _ = _affine_backward(dy, x, weight, dweight, 0, -1, need_dx, empty)
    return dx, dweight, dbias


def _affine_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    out: FloatArray,
    decay: float,
    rate: float,
    need_dx: bool,
    empty: Empty,
) -> tuple[FloatArray | None, FloatArray, float]:
    """Return dx, dbias and the sum of weight ** 2, after out = decay * out - rate * x.T @ dy."""
    x, weight, shape = _affine_arguments(x, weight)
    dy = as_real(dy, "Affine: dy", weight.dtype)
    check_shape(dy.shape, (len(x), weight.shape[1]), "Affine: dy")
    dx = empty(x.shape, weight.dtype) if need_dx else None
    scratch = empty(_kernels.affine_scratch(LEVEL, len(x), *weight.shape), np.uint8)
    squares = _kernels.affine_backward(LEVEL, get_num_threads(), dy, x, weight, dx, out, decay, rate, scratch)
    dbias = np.add.reduce(dy, axis=0, out=empty(weight.shape[1], weight.dtype))
    return None if dx is None else dx.reshape(shape), dbias, squares


def can_update(weight: npt.NDArray[Any]) -> bool:
    """Return whether `affine_update` can change this weight where it lies in memory.

    Parameters
    ----------
    weight : ndarray, shape (D, M)
    """
    if not isinstance(weight, np.ndarray) or weight.dtype not in NATIVE:
        return False
    return weight.flags.c_contiguous and weight.flags.aligned and weight.flags.writeable


def affine_update(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: FloatArray,
    *,
    rate: float,
    l2: float,
    need_dx: bool = True,
    empty: Empty = np.empty,
) -> tuple[FloatArray | None, FloatArray, float]:
    """Gradients of `affine_forward`, and the update of the weight by vanilla SGD, in one pass over the weight.

    ``dx = dy @ weight.T``; then ``weight -= rate * (x.T @ dy + l2 * weight)``, without writing the gradient to memory.

    Parameters
    ----------
    dy : array_like, shape (N, M)
        Gradient of the loss with respect to the output.
    x : array_like, shape (N, ...)
        Examples given to the forward pass.
    weight : ndarray, shape (D, M)
        That `can_update` accepts; changed.
    rate, l2 : float
        Learning rate, and strength of the regularisation.
    need_dx : bool
        False leaves out the gradient with respect to x.

    Returns
    -------
    dx : ndarray, of the shape of x, or None without `need_dx`
    dbias : ndarray, shape (M,)
    penalty : float
        ``0.5 * l2 * sum(weight ** 2)``, before the update.

    Raises
    ------
    ValueError
        If shapes do not fit together, a number is not finite, or `can_update` does not accept the weight.
    TypeError
        If an array does not hold real numbers, or `rate` or `l2` is none.
    """
    if not can_update(weight):
        raise ValueError("Affine: expected a weight that can_update accepts: float32 or float64, in C order, writeable")
    rate, l2 = as_number(rate, "Affine: rate"), as_number(l2, "Affine: l2")
    dx, dbias, squares = _affine_backward(dy, x, weight, weight, 1 - rate * l2, rate, need_dx, empty)
    return dx, dbias, 0.5 * l2 * squares


def relu_forward(x: npt.ArrayLike, *, empty: Empty = np.empty) -> FloatArray:
    """Rectified linear unit: ``y = max(x, 0)``, and NaN where x is NaN.

    Parameters
    ----------
    x : array_like, any shape

    Returns
    -------
    ndarray, of the shape of x

    Raises
    ------
    TypeError
        If x does not hold real numbers.

    Notes
    -----
    V. Nair, G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """
    x = as_real(x, "ReLU: x")
    y = empty(x.shape, x.dtype)
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    in_parts(lambda part, _: _kernels.relu_forward(flat_x[part], flat_y[part]), x.size, x.size)
    return y


def relu_backward(dy: npt.ArrayLike, y: npt.ArrayLike, *, empty: Empty = np.empty) -> FloatArray:
    """Gradient of `relu_forward`: ``dx = dy`` where y is positive (or NaN), 0 elsewhere, at y = 0 too.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    y : array_like, of the shape of dy
        Output of the forward pass. Its input serves as well: both are positive at the same places.

    Returns
    -------
    ndarray, of the shape of dy

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If an array does not hold real numbers.
    """
    dy = as_real(dy, "ReLU: dy")
    y = as_real(y, "ReLU: y", dy.dtype)
    check_shape(dy.shape, y.shape, "ReLU: dy")
    dx = empty(dy.shape, dy.dtype)
    flat_dy, flat_y, flat_dx = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)
    in_parts(lambda part, _: _kernels.relu_backward(flat_dy[part], flat_y[part], flat_dx[part]), dy.size, dy.size)
    return dx


def sigmoid_forward(x: npt.ArrayLike, *, empty: Empty = np.empty) -> FloatArray:
    """Logistic sigmoid: ``y = 1 / (1 + exp(-x))``.

    Computed from ``exp(-abs(x))``, which never overflows: at the lower end y goes down to the smallest number of its
    dtype, and not to 0 at once.

    Parameters
    ----------
    x : array_like, any shape

    Returns
    -------
    ndarray, of the shape of x
        In [0, 1], and NaN where x is NaN.

    Raises
    ------
    TypeError
        If x does not hold real numbers.

    Notes
    -----
    D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors", 1986,
    equation 2.
    """
    x = as_real(x, "Sigmoid: x")
    y, exponentials, at_least_0 = (empty(x.shape, dtype) for dtype in (x.dtype, x.dtype, np.bool_))
    flat_x, flat_y, flat_e, flat_at_least_0 = (array.reshape(-1) for array in (x, y, exponentials, at_least_0))

    def task(part: slice, _: int) -> None:
        e = _exp_of_minus_abs(flat_x[part], flat_e[part])
        np.copyto(flat_y[part], e)
        np.copyto(flat_y[part], 1, where=np.greater_equal(flat_x[part], 0, out=flat_at_least_0[part]))
        e += 1
        flat_y[part] /= e

    in_parts(task, x.size, 16 * x.size)
    return y


def sigmoid_backward(dy: npt.ArrayLike, x: npt.ArrayLike, *, empty: Empty = np.empty) -> FloatArray:
    """Gradient of `sigmoid_forward`: ``dx = dy * y * (1 - y)``, computed as ``dy * e / (1 + e)**2``, e = exp(-abs(x)).

    The second form keeps its precision where y rounds to 1: there ``1 - y`` would be 0.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    x : array_like, of the shape of dy
        Input of the forward pass.

    Returns
    -------
    ndarray, of the shape of dy

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If an array does not hold real numbers.
    """
    dy = as_real(dy, "Sigmoid: dy")
    x = as_real(x, "Sigmoid: x", dy.dtype)
    check_shape(dy.shape, x.shape, "Sigmoid: dy")
    dx, squares = empty(dy.shape, dy.dtype), empty(dy.shape, dy.dtype)
    flat_dy, flat_x, flat_dx, flat_squares = (array.reshape(-1) for array in (dy, x, dx, squares))

    def task(part: slice, _: int) -> None:
        e, square = _exp_of_minus_abs(flat_x[part], flat_dx[part]), flat_squares[part]
        np.add(e, 1, out=square)
        np.square(square, out=square)
        e /= square
        e *= flat_dy[part]

    in_parts(task, dy.size, 16 * dy.size)
    return dx


def _exp_of_minus_abs(x: FloatArray, out: FloatArray) -> FloatArray:
    np.abs(x, out=out)
    np.negative(out, out=out)
    return np.exp(out, out=out)


# ---------------------------------------------------------------------------------------------- dropout


def dropout_forward(
    x: npt.ArrayLike, rate: float, rng: np.random.Generator, *, empty: Empty = np.empty
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Inverted dropout: 0 with probability `rate`, ``x / (1 - rate)`` otherwise, so that the mean stays.

    Parameters
    ----------
    x : array_like, any shape
    rate : float
        In [0, 1).
    rng : numpy.random.Generator
        Draws a number in [0, 1) for each element of x, in order; below `rate` the element is dropped.

    Returns
    -------
    y : ndarray, of the shape of x
    kept : ndarray of bool, of the shape of x
        For the backward pass.

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1).
    TypeError
        If x does not hold real numbers, or `rng` is not a Generator.

    Notes
    -----
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", 2014; section 10 has the form that scales when training.
    """
    x, rate = as_real(x, "Dropout: x"), as_number(rate, "Dropout: rate", at_least=0, below=1)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"Dropout: expected a numpy.random.Generator to draw with, got {rng!r}")
    drawn = rng.random(out=empty(x.shape, np.float64))
    kept = np.greater_equal(drawn, rate, out=empty(x.shape, np.bool_))
    return _scale_kept(x, kept, rate, empty), kept


def dropout_backward(
    dy: npt.ArrayLike, kept: npt.NDArray[np.bool_], rate: float, *, empty: Empty = np.empty
) -> FloatArray:
    """Gradient of `dropout_forward`: 0 where the element was dropped, ``dy / (1 - rate)`` elsewhere.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    kept : ndarray of bool, of the shape of dy
        From the forward pass.
    rate : float
        In [0, 1), as in the forward pass.

    Returns
    -------
    ndarray, of the shape of dy

    Raises
    ------
    ValueError
        If the shapes differ or `rate` lies outside [0, 1).
    TypeError
        If `dy` does not hold real numbers or `kept` bools.
    """
    dy, kept = as_real(dy, "Dropout: dy"), np.asarray(kept)
    rate = as_number(rate, "Dropout: rate", at_least=0, below=1)
    if kept.dtype != np.bool_:
        raise TypeError(f"Dropout: kept: expected bool, got dtype {kept.dtype}")
    check_shape(dy.shape, kept.shape, "Dropout: dy")
    return _scale_kept(dy, kept, rate, empty)


def _scale_kept(x: FloatArray, kept: npt.NDArray[np.bool_], rate: float, empty: Empty) -> FloatArray:
    # Not a product with 0 and 1: a dropped infinity is 0, not NaN.
    y = empty(x.shape, x.dtype)
    y[...] = 0
    np.divide(x, 1 - rate, out=y, where=kept)
    return y


# ---------------------------------------------------------------------------------------------- softmax


def softmax(scores: npt.ArrayLike) -> FloatArray:
    """Probabilities of the classes: ``exp(scores[n, k]) / sum over j of exp(scores[n, j])``.

    Parameters
    ----------
    scores : array_like, shape (N, K)

    Returns
    -------
    ndarray, shape (N, K)
        Each row sums to 1.

    Raises
    ------
    ValueError
        If `scores` is not of two axes.
    TypeError
        If `scores` does not hold real numbers.
    """
    scores = as_real(scores, "softmax: scores")
    check_shape(scores.shape, ("N", "K"), "softmax: scores")
    with np.errstate(invalid="ignore", over="ignore"):  # an infinite score gives NaN
        exponentials: FloatArray = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


# ---------------------------------------------------------------------------------------------- warping


def warp(x: npt.ArrayLike, maps: npt.ArrayLike, *, empty: Empty = np.empty) -> FloatArray:
    """Move the pixels of images: each output pixel is read where an affine map sends it.

    ``y[n, c, h, w] = x[n, c]`` at row a and column b, where ``(a, b) = maps[n] @ (h, w, 1)``: bilinear between pixels,
    and outside the image that of its nearest pixel.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images of at least one pixel.
    maps : array_like, shape (N, 2, 3)
        For each image the map from the output's to the input's rows and columns.

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Raises
    ------
    ValueError
        If a shape is wrong, or a map's number is above 2**31 - 1 in size or not finite.
    TypeError
        If an array does not hold real numbers.

    Notes
    -----
    G. Wolberg, "Digital image warping", 1990: inverse mapping with bilinear interpolation.
    """
    x, maps = as_real(x, "warp: x"), as_real(maps, "warp: maps", np.float64).astype(np.float64, copy=False)
    check_shape(x.shape, ("N", "C", "H", "W"), "warp: x")
    check_shape(maps.shape, (len(x), 2, 3), "warp: maps")
    if 0 in x.shape[2:]:
        raise ValueError(f"warp: expected images of at least one pixel, got shape {x.shape}")
    if not (np.abs(maps) <= LARGEST).all():
        raise ValueError(f"warp: maps: expected numbers from -{LARGEST} to {LARGEST}")
    y = empty(x.shape, x.dtype)
    if not y.size:  # however large images without channels are
        return y
    in_parts(lambda part, _: _kernels.warp(x[part], maps[part], y[part]), len(x), 16 * x.size)
    return y
