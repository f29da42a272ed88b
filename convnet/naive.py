"""The layer functions as plain loops: the formulas to read, and the oracle that the tests hold the fast ones against.

This file is long because it is one page of a textbook: every formula of the library, in one place and one style.

Each function takes and returns what its fast namesake in `convnet.functional` does (the losses: that in
`convnet.layers.losses`), except for `need_dx`. Only `philox` has no namesake. Nothing here is fast, and nothing is
checked. Every array of results is float64, except `argmax`, which is int, and `kept`, which is bool.

Axes: N images, C channels of H x W pixels, F filters of KH x KW weights, outputs of OH x OW, K classes, D features
in and M features out. Output sizes are ``floor((size + padding on both sides - kernel) / stride) + 1``.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from itertools import product
from math import ceil, cosh, erfc, exp, floor, log, log1p, pi, sqrt, tanh
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "affine_backward",
    "affine_forward",
    "average_pool2d_backward",
    "average_pool2d_forward",
    "batch_norm2d_backward",
    "batch_norm2d_forward",
    "binary_loss",
    "conv2d_backward",
    "conv2d_forward",
    "dropout_backward",
    "dropout_forward",
    "gelu_backward",
    "gelu_forward",
    "global_average_pool_backward",
    "global_average_pool_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "philox",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax_loss",
    "svm_loss",
    "tanh_backward",
    "tanh_forward",
    "warp",
]

Array = npt.NDArray[Any]
Pair = int | tuple[int, int]
Padding = Pair | tuple[tuple[int, int], tuple[int, int]]


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _sides(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding as ((top, bottom), (left, right))."""
    height, width = _pair(padding)
    return _pair(height), _pair(width)


# ------------------------------------------------------------------------------------------ convolution


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Convolution (cross-correlation): slide every filter over the image, multiply and add.

    ``y[n, f, oh, ow] = bias[f] + sum over c, i, j of
    weight[f, c, i, j] * x[n, c, oh * stride + i * dilation - padding, ow * stride + j * dilation - padding]``, with 0
    outside of x. The padding is that above and to the left. With `groups`, a filter sees the channels of its own group
    alone.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    weight : ndarray, shape (F, C / groups, KH, KW)
    bias : ndarray, shape (F,), optional
        0 unless it is given.
    stride, dilation : int or pair of ints
    padding : int, pair of ints or pair of pairs
        Along the height and the width, or ((top, bottom), (left, right)).
    groups : int

    Returns
    -------
    ndarray, shape (N, F, OH, OW)
    """
    (sh, sw), (dh, dw), ((top, bottom), (left, right)) = _pair(stride), _pair(dilation), _sides(padding)
    n_images, _, height, width = x.shape
    filters, channels, kh, kw = weight.shape
    out_h = (height + top + bottom - (kh - 1) * dh - 1) // sh + 1
    out_w = (width + left + right - (kw - 1) * dw - 1) // sw + 1
    y = np.zeros((n_images, filters, out_h, out_w))
    for n, f, oh, ow in product(range(n_images), range(filters), range(out_h), range(out_w)):
        total = 0.0 if bias is None else float(bias[f])
        first = f // (filters // groups) * channels  # of the filter's group
        for c, i, j in product(range(channels), range(kh), range(kw)):
            h = oh * sh + i * dh - top
            w = ow * sw + j * dw - left
            if 0 <= h < height and 0 <= w < width:
                total += float(weight[f, c, i, j]) * float(x[n, first + c, h, w])
        y[n, f, oh, ow] = total
    return y


def conv2d_backward(
    dy: Array,
    x: Array,
    weight: Array,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Gradients of `conv2d_forward`.

    Each product ``weight * x`` of the forward pass hands the gradient of its sum on to both of its factors:
    ``dweight += dy * x`` and ``dx += dy * weight``. The bias is added to every sum: ``dbias += dy``.

    Parameters
    ----------
    dy : ndarray, shape (N, F, OH, OW)
        Gradient of the loss with respect to the output.
    x : ndarray, shape (N, C, H, W)
    weight : ndarray, shape (F, C / groups, KH, KW)
    stride, dilation : int or pair of ints
    padding : int, pair of ints or pair of pairs
        Along the height and the width, or ((top, bottom), (left, right)).
    groups : int

    Returns
    -------
    dx : ndarray, shape (N, C, H, W)
    dweight : ndarray, shape (F, C / groups, KH, KW)
    dbias : ndarray, shape (F,)
    """
    (sh, sw), (dh, dw), ((top, _), (left, _)) = _pair(stride), _pair(dilation), _sides(padding)
    _, _, height, width = x.shape
    filters, channels, kh, kw = weight.shape
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(len(weight))
    for n, f, oh, ow in np.ndindex(dy.shape):
        g = float(dy[n, f, oh, ow])
        dbias[f] += g
        first = f // (filters // groups) * channels  # of the filter's group
        for c, i, j in product(range(channels), range(kh), range(kw)):
            h = oh * sh + i * dh - top
            w = ow * sw + j * dw - left
            if 0 <= h < height and 0 <= w < width:
                dweight[f, c, i, j] += g * float(x[n, first + c, h, w])
                dx[n, first + c, h, w] += g * float(weight[f, c, i, j])
    return dx, dweight, dbias


# ---------------------------------------------------------------------------------------------- pooling


def _output_size(size: int, kernel: int, stride: int, before: int, after: int, ceil_mode: bool) -> int:
    """Return how many windows there are along one axis."""
    if not ceil_mode:
        return (size + before + after - kernel) // stride + 1
    outputs = ceil((size + before + after - kernel) / stride) + 1
    is_behind = (outputs - 1) * stride >= size + before  # the last window holds no pixel
    return outputs - 1 if is_behind else outputs


def _window(size: int, out: int, kernel: int, stride: int, before: int) -> range:
    """Return the part of a window that lies inside the image, along one axis."""
    start = out * stride - before
    return range(max(start, 0), min(start + kernel, size))


def _padded_window(size: int, out: int, kernel: int, stride: int, before: int, after: int) -> range:
    """Return the part of a window that lies inside the image and its padding, along one axis."""
    start = out * stride - before
    return range(start, min(start + kernel, size + after))


def max_pool2d_forward(
    x: Array, kernel_size: Pair, *, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False
) -> tuple[Array, Array]:
    """Largest element of each window, and where it is.

    Elements outside of x count as minus infinity: they are never chosen. A window that holds a NaN gives NaN.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        The kernel size by default.
    padding : int, pair of ints or pair of pairs
    ceil_mode : bool
        If True, OH and OW are rounded up: the last windows may reach beyond the padding.

    Returns
    -------
    y : ndarray, shape (N, C, OH, OW)
    argmax : ndarray of int, shape (N, C, OH, OW)
        ``h * W + w`` of the maximum, the first in row order where several are equal.
    """
    kh, kw = _pair(kernel_size)
    (sh, sw), ((top, bottom), (left, right)) = _pair(kernel_size if stride is None else stride), _sides(padding)
    n_images, channels, height, width = x.shape
    out_h = _output_size(height, kh, sh, top, bottom, ceil_mode)
    out_w = _output_size(width, kw, sw, left, right, ceil_mode)
    y = np.zeros((n_images, channels, out_h, out_w))
    argmax = np.zeros(y.shape, int)
    for n, c, oh, ow in np.ndindex(y.shape):
        best = None
        for h, w in product(_window(height, oh, kh, sh, top), _window(width, ow, kw, sw, left)):
            value = float(x[n, c, h, w])
            if best is None or value > best or (value != value and best == best):  # only NaN differs from itself
                best = value
                argmax[n, c, oh, ow] = h * width + w
        y[n, c, oh, ow] = best
    return y, argmax


def max_pool2d_backward(dy: Array, argmax: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient of `max_pool2d_forward`: only a window's maximum moves its output, so it gets the whole gradient.

    Parameters
    ----------
    dy : ndarray, shape (N, C, OH, OW)
        Gradient of the loss with respect to the output.
    argmax : ndarray of int, shape (N, C, OH, OW)
        From the forward pass.
    input_shape : tuple
        (N, C, H, W)

    Returns
    -------
    ndarray, shape (N, C, H, W)
    """
    dx = np.zeros(input_shape)
    width = input_shape[3]
    for n, c, oh, ow in np.ndindex(dy.shape):
        h, w = divmod(int(argmax[n, c, oh, ow]), width)
        dx[n, c, h, w] += float(dy[n, c, oh, ow])
    return dx


def average_pool2d_forward(
    x: Array,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_padding: bool = True,
) -> Array:
    """Mean of each window, with 0 outside of x.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    kernel_size : int or pair of ints
    stride : int or pair of ints, optional
        The kernel size by default.
    padding : int, pair of ints or pair of pairs
    ceil_mode : bool
        If True, OH and OW are rounded up: the last windows may reach beyond the padding, where nothing counts.
    count_padding : bool
        If True, the padding's zeros count: the sum is divided by the number of elements inside x and its padding, KH *
        KW where no window reaches beyond. If False, it is divided by the number of elements inside x.

    Returns
    -------
    ndarray, shape (N, C, OH, OW)
    """
    kh, kw = _pair(kernel_size)
    (sh, sw), ((top, bottom), (left, right)) = _pair(kernel_size if stride is None else stride), _sides(padding)
    n_images, channels, height, width = x.shape
    out_h = _output_size(height, kh, sh, top, bottom, ceil_mode)
    out_w = _output_size(width, kw, sw, left, right, ceil_mode)
    y = np.zeros((n_images, channels, out_h, out_w))
    for n, c, oh, ow in np.ndindex(y.shape):
        rows, columns = _window(height, oh, kh, sh, top), _window(width, ow, kw, sw, left)
        total = sum(float(x[n, c, h, w]) for h, w in product(rows, columns))
        if count_padding:
            rows = _padded_window(height, oh, kh, sh, top, bottom)
            columns = _padded_window(width, ow, kw, sw, left, right)
        y[n, c, oh, ow] = total / (len(rows) * len(columns))
    return y


def average_pool2d_backward(
    dy: Array,
    input_shape: tuple[int, ...],
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_padding: bool = True,
) -> Array:
    """Gradient of `average_pool2d_forward`: every element moves the mean by 1 / count, so each gets dy / count.

    Parameters
    ----------
    dy : ndarray, shape (N, C, OH, OW)
        Gradient of the loss with respect to the output.
    input_shape : tuple
        (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, count_padding
        As in the forward pass; `dy` has the sizes that `ceil_mode` gives.

    Returns
    -------
    ndarray, shape (N, C, H, W)
    """
    kh, kw = _pair(kernel_size)
    (sh, sw), ((top, bottom), (left, right)) = _pair(kernel_size if stride is None else stride), _sides(padding)
    dx = np.zeros(input_shape)
    height, width = input_shape[2:]
    for n, c, oh, ow in np.ndindex(dy.shape):
        rows, columns = _window(height, oh, kh, sh, top), _window(width, ow, kw, sw, left)
        count = len(rows) * len(columns)
        if count_padding:
            count = len(_padded_window(height, oh, kh, sh, top, bottom))
            count *= len(_padded_window(width, ow, kw, sw, left, right))
        for h, w in product(rows, columns):
            dx[n, c, h, w] += float(dy[n, c, oh, ow]) / count
    return dx


def global_average_pool_forward(x: Array) -> Array:
    """Mean of all pixels of each channel.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)

    Returns
    -------
    ndarray, shape (N, C)
    """
    n_images, channels, height, width = x.shape
    y = np.zeros((n_images, channels))
    for n, c in np.ndindex(y.shape):
        y[n, c] = sum(float(value) for value in x[n, c].flat) / (height * width)
    return y


def global_average_pool_backward(dy: Array, input_shape: tuple[int, ...]) -> Array:
    """Gradient of `global_average_pool_forward`: every pixel moves the mean by 1 / (H * W), so each gets that share.

    Parameters
    ----------
    dy : ndarray, shape (N, C)
        Gradient of the loss with respect to the output.
    input_shape : tuple
        (N, C, H, W)

    Returns
    -------
    ndarray, shape (N, C, H, W)
    """
    dx = np.zeros(input_shape)
    height, width = input_shape[2:]
    for n, c, h, w in np.ndindex(*input_shape):
        dx[n, c, h, w] = float(dy[n, c]) / (height * width)
    return dx


# ------------------------------------------------------------------------------ Affine and activations


def affine_forward(x: Array, weight: Array, bias: Array) -> Array:
    """Affine map: ``y[n, m] = bias[m] + sum over d of x[n, d] * weight[d, m]``.

    Parameters
    ----------
    x : ndarray, shape (N, ...)
        Flattened to (N, D).
    weight : ndarray, shape (D, M)
    bias : ndarray, shape (M,)

    Returns
    -------
    ndarray, shape (N, M)
    """
    features, outputs = weight.shape
    x = x.reshape(len(x), features)
    y = np.zeros((len(x), outputs))
    for n, m in np.ndindex(y.shape):
        total = float(bias[m])
        for d in range(features):
            total += float(x[n, d]) * float(weight[d, m])
        y[n, m] = total
    return y


def affine_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of `affine_forward`.

    ``dx[n, d] += dy[n, m] * weight[d, m]``, ``dweight[d, m] += dy[n, m] * x[n, d]``, ``dbias[m] += dy[n, m]``.

    Parameters
    ----------
    dy : ndarray, shape (N, M)
        Gradient of the loss with respect to the output.
    x : ndarray, shape (N, ...)
    weight : ndarray, shape (D, M)

    Returns
    -------
    dx : ndarray, of the shape of x
    dweight : ndarray, shape (D, M)
    dbias : ndarray, shape (M,)
    """
    features, outputs = weight.shape
    shape = x.shape
    x = x.reshape(len(x), features)
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(outputs)
    for n, m in np.ndindex(dy.shape):
        g = float(dy[n, m])
        dbias[m] += g
        for d in range(features):
            dx[n, d] += g * float(weight[d, m])
            dweight[d, m] += g * float(x[n, d])
    return dx.reshape(shape), dweight, dbias


def batch_norm2d_forward(
    x: Array,
    weight: Array,
    bias: Array,
    *,
    mean: Array | None = None,
    variance: Array | None = None,
    epsilon: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Batch normalization: ``y = weight * (x - mean) / sqrt(variance + epsilon) + bias``, channel by channel.

    Parameters
    ----------
    x : ndarray, shape (N, C, ...)
    weight, bias : ndarray, shape (C,)
    mean, variance : ndarray, shape (C,), optional
        Those of x unless they are given.
    epsilon : float

    Returns
    -------
    y : ndarray, of the shape of x
    mean, variance : ndarray, shape (C,)
    """
    y, channels = np.zeros(x.shape), len(weight)
    means, variances = np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        values = [float(value) for value in x[:, c].flat]
        if mean is not None and variance is not None:
            means[c], variances[c] = mean[c], variance[c]
        elif values:
            means[c] = sum(values) / len(values)
            variances[c] = sum((value - means[c]) ** 2 for value in values) / len(values)
        for position in np.ndindex(y[:, c].shape):
            deviation = float(x[:, c][position]) - means[c]
            y[:, c][position] = weight[c] * deviation / sqrt(variances[c] + epsilon) + bias[c]
    return y, means, variances


def batch_norm2d_backward(
    dy: Array, x: Array, weight: Array, mean: Array, variance: Array, *, epsilon: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm2d_forward`, whose mean and variance are those of x.

    An element moves its own output, the mean, and the variance; dx is the sum of the three.

    Parameters
    ----------
    dy : ndarray, of the shape of x
        Gradient of the loss with respect to the output.
    x : ndarray, shape (N, C, ...)
    weight, mean, variance : ndarray, shape (C,)
    epsilon : float

    Returns
    -------
    dx : ndarray, of the shape of x
    dweight, dbias : ndarray, shape (C,)
    """
    channels = len(weight)
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        root = sqrt(float(variance[c]) + epsilon)
        values, gradients = x[:, c].astype(float), dy[:, c].astype(float)
        dmean = dvariance = 0.0
        for value, g in zip(values.flat, gradients.flat, strict=True):
            dbias[c] += g
            dweight[c] += g * (value - mean[c]) / root
            dmean -= g * weight[c] / root
            dvariance -= g * weight[c] * (value - mean[c]) / (2 * root**3)
        for position in np.ndindex(values.shape):
            of_output = gradients[position] * weight[c] / root
            of_variance = dvariance * 2 * (values[position] - mean[c]) / values.size
            dx[:, c][position] = of_output + dmean / values.size + of_variance
    return dx, dweight, dbias


def relu_forward(x: Array) -> Array:
    """Rectified linear unit: ``y = x`` where x is above 0, else 0; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    ndarray, of the shape of x
    """
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        value = float(x[index])
        y[index] = 0.0 if value <= 0 else value
    return y


def relu_backward(dy: Array, y: Array) -> Array:
    """Gradient of `relu_forward`: ``dx = dy`` where the unit is active (y above 0, or NaN), 0 where it is not.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of the loss with respect to the output.
    y : ndarray, of the shape of dy
        Output of the forward pass.

    Returns
    -------
    ndarray, of the shape of dy
    """
    dx = np.zeros(dy.shape)
    for index in np.ndindex(dy.shape):
        dx[index] = 0.0 if float(y[index]) <= 0 else float(dy[index])
    return dx


def leaky_relu_forward(x: Array, slope: float = 0.01) -> Array:
    """Leaky rectified linear unit: ``y = x`` where x is above 0, else ``slope * x``; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, any shape
    slope : float

    Returns
    -------
    ndarray, of the shape of x
    """
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        value = float(x[index])
        y[index] = slope * value if value <= 0 else value
    return y


def leaky_relu_backward(dy: Array, x: Array, slope: float = 0.01) -> Array:
    """Gradient of `leaky_relu_forward`: ``dx = dy`` where x is above 0 (or NaN), else ``slope * dy``.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of the loss with respect to the output.
    x : ndarray, of the shape of dy
        Input of the forward pass.
    slope : float

    Returns
    -------
    ndarray, of the shape of dy
    """
    dx = np.zeros(dy.shape)
    for index in np.ndindex(dy.shape):
        dx[index] = slope * float(dy[index]) if float(x[index]) <= 0 else float(dy[index])
    return dx


def sigmoid_forward(x: Array) -> Array:
    """Logistic sigmoid: ``y = 1 / (1 + exp(-x))``, for x below 0 in the form ``exp(x) / (1 + exp(x))``.

    The exponent is never positive, so that nothing overflows.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    ndarray, of the shape of x
    """
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        value = float(x[index])
        y[index] = exp(value) / (1 + exp(value)) if value < 0 else 1 / (1 + exp(-value))
    return y


def sigmoid_backward(dy: Array, x: Array) -> Array:
    """Gradient of `sigmoid_forward`: ``dx = dy * y * (1 - y)``, where ``1 - y`` is the sigmoid of -x.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of the loss with respect to the output.
    x : ndarray, of the shape of dy
        Input of the forward pass.

    Returns
    -------
    ndarray, of the shape of dy
    """
    y, one_minus_y = sigmoid_forward(x), sigmoid_forward(-x)
    dx = np.zeros(dy.shape)
    for index in np.ndindex(dy.shape):
        dx[index] = float(dy[index]) * y[index] * one_minus_y[index]
    return dx


def tanh_forward(x: Array) -> Array:
    """Hyperbolic tangent: ``y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    ndarray, of the shape of x
    """
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        y[index] = tanh(float(x[index]))
    return y


def tanh_backward(dy: Array, x: Array) -> Array:
    """Gradient of `tanh_forward`: ``dx = dy / cosh(x)**2``, which is ``dy * (1 - y**2)``.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of the loss with respect to the output.
    x : ndarray, of the shape of dy
        Input of the forward pass.

    Returns
    -------
    ndarray, of the shape of dy
    """
    dx = np.zeros(dy.shape)
    for index in np.ndindex(dy.shape):
        value = float(x[index])
        # cosh(x)**2 overflows a float from about |x| = 355.6. At 350 its inverse is already below 1e-303, so 0 stands
        # for it.
        dx[index] = float(dy[index]) * (0.0 if abs(value) > 350 else 1 / cosh(value) ** 2)
    return dx


def silu_forward(x: Array) -> Array:
    """Sigmoid-weighted linear unit: ``y = x * s``, where s is the sigmoid of x.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    ndarray, of the shape of x
    """
    y, s = np.zeros(x.shape), sigmoid_forward(x)
    for index in np.ndindex(x.shape):
        y[index] = _times(float(s[index]), float(x[index]))
    return y


def silu_backward(dy: Array, x: Array) -> Array:
    """Gradient of `silu_forward`: ``dx = dy * (s + x * s * (1 - s))``, where ``1 - s`` is the sigmoid of -x.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of the loss with respect to the output.
    x : ndarray, of the shape of dy
        Input of the forward pass.

    Returns
    -------
    ndarray, of the shape of dy
    """
    dx, s, one_minus_s = np.zeros(dy.shape), sigmoid_forward(x), sigmoid_forward(-x)
    for index in np.ndindex(dy.shape):
        dx[index] = float(dy[index]) * (s[index] + _times(float(s[index] * one_minus_s[index]), float(x[index])))
    return dx


def gelu_forward(x: Array, approximate: bool = False) -> Array:
    """Gaussian error linear unit: ``y = x * gate``.

    The gate is the probability that a standard normal number is below x, ``0.5 * erfc(-x / sqrt(2))``. The approximate
    gate is ``0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``.

    Parameters
    ----------
    x : ndarray, any shape
    approximate : bool

    Returns
    -------
    ndarray, of the shape of x
    """
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        value = float(x[index])
        y[index] = _times(_gelu_gate(value, approximate), value)
    return y


def gelu_backward(dy: Array, x: Array, approximate: bool = False) -> Array:
    """Gradient of `gelu_forward`: ``dx = dy * (gate + x * slope)``, with the slope of the gate.

    That is the density of the standard normal distribution, ``exp(-x**2 / 2) / sqrt(2 * pi)``. The slope of the
    approximate gate is ``0.5 * (1 - t**2) * sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2)``, where t is its tanh.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of the loss with respect to the output.
    x : ndarray, of the shape of dy
        Input of the forward pass.
    approximate : bool

    Returns
    -------
    ndarray, of the shape of dy
    """
    dx = np.zeros(dy.shape)
    for index in np.ndindex(dy.shape):
        value = float(x[index])
        gate = _gelu_gate(value, approximate)
        if approximate:
            t = 2 * gate - 1
            slope = _times(0.5 * (1 - t * t), sqrt(2 / pi) * (1 + 3 * 0.044715 * value * value))
        else:
            slope = exp(-value * value / 2) / sqrt(2 * pi)
        dx[index] = float(dy[index]) * (gate + _times(slope, value))
    return dx


def _gelu_gate(value: float, approximate: bool) -> float:
    if approximate:
        return 0.5 * (1 + tanh(sqrt(2 / pi) * (value + 0.044715 * value * value * value)))
    return 0.5 * erfc(-value / sqrt(2))


def _times(small: float, large: float) -> float:
    """Return the product, and 0 where the first factor is 0: it goes to 0 faster than the other to infinity."""
    return 0.0 if small == 0 else small * large


# ---------------------------------------------------------------------------------------------- dropout


def philox(key: int, counter: int) -> list[int]:
    """Philox4x32-10: four random words of 32 bits for a key of 64 bits and a counter of 128.

    Two words are multiplied in each of ten rounds; the products' halves are mixed with the other two and with the key,
    which moves on by a constant. Another counter gives words that look independent, so that no state has to be kept.

    Parameters
    ----------
    key, counter : int

    Returns
    -------
    list of four ints

    Notes
    -----
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
    """
    words = [counter >> 32 * i & 0xFFFFFFFF for i in range(4)]
    for step in range(10):
        low, high = ((key >> 32 * i) + step * weyl & 0xFFFFFFFF for i, weyl in enumerate((0x9E3779B9, 0xBB67AE85)))
        first, second = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57
        words = [
            second >> 32 ^ words[1] ^ low,
            second & 0xFFFFFFFF,
            first >> 32 ^ words[3] ^ high,
            first & 0xFFFFFFFF,
        ]
    return words


def dropout_forward(x: Array, rate: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Inverted dropout: drop every element with probability `rate`, else divide it by ``1 - rate``.

    The mean over all draws is x, so that nothing has to be scaled when predicting.

    Parameters
    ----------
    x : ndarray, any shape
    rate : float
        In [0, 1).
    rng : numpy.random.Generator

    Returns
    -------
    y : ndarray, of the shape of x
    kept : ndarray of bool, of the shape of x
    """
    y, kept = np.zeros(x.shape), np.zeros(x.shape, bool)
    key = int(rng.integers(2**64, dtype=np.uint64))
    for number, index in enumerate(np.ndindex(x.shape)):
        kept[index] = philox(key, number // 4)[number % 4] >= floor(rate * 2**32)
        if kept[index]:
            y[index] = float(x[index]) / (1 - rate)
    return y, kept


def dropout_backward(dy: Array, kept: Array, rate: float) -> Array:
    """Gradient of `dropout_forward`: a dropped element moves nothing, a kept one its output by 1 / (1 - rate).

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of the loss with respect to the output.
    kept : ndarray of bool, of the shape of dy
        From the forward pass.
    rate : float

    Returns
    -------
    ndarray, of the shape of dy
    """
    dx = np.zeros(dy.shape)
    for index in np.ndindex(dy.shape):
        if kept[index]:
            dx[index] = float(dy[index]) / (1 - rate)
    return dx


# ----------------------------------------------------------------------------------------------- losses


def softmax_loss(
    scores: Array,
    labels: Array,
    *,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
    weights: Array | None = None,
) -> tuple[float, Array]:
    """Softmax loss: the mean over the examples of minus the log of the probability given to the right class.

    With ``p[n, k] = exp(scores[n, k]) / sum over j of exp(scores[n, j])``:
    ``loss = -(1 / N) * sum over n of log(p[n, labels[n]])``, and
    ``dscores[n, k] = (p[n, k] - 1 if k == labels[n] else p[n, k]) / N``.

    With options every class has a target ``t[n, k]``: ``smoothing / K``, and ``1 - smoothing`` more for the label. The
    term ``-t[n, k] * log(p[n, k])`` is multiplied by the weights of its class and of its example, and N becomes the sum
    over n of ``weights[n] * class_weights[labels[n]]``; where that is 0, so are the loss and its gradient.

    Parameters
    ----------
    scores : ndarray, shape (N, K)
    labels : ndarray of int, shape (N,)
    smoothing : float
    class_weights : ndarray, shape (K,), optional
    weights : ndarray, shape (N,), optional

    Returns
    -------
    loss : float
    dscores : ndarray, shape (N, K)
    """
    n_examples, classes = scores.shape
    of_class = [1.0] * classes if class_weights is None else [float(weight) for weight in class_weights]
    of_example = [1.0] * n_examples if weights is None else [float(weight) for weight in weights]
    count = sum(of_example[n] * of_class[labels[n]] for n in range(n_examples))
    loss = 0.0
    dscores = np.zeros(scores.shape)
    for n in range(n_examples):
        row = [float(scores[n, k]) for k in range(classes)]
        largest = max(row)  # exp(s - largest) cannot overflow, and the factor exp(-largest) cancels
        total = sum(exp(s - largest) for s in row)
        share = of_example[n] / count if count > 0 else 0.0
        for k in range(classes):
            target = (1 - smoothing) * (k == labels[n]) + smoothing / classes
            term = share * of_class[k] * target  # times -log(p[n, k]), whose derivative is p[n, j] - (j == k)
            loss += term * (log(total) - (row[k] - largest)) if term else 0.0
            for j in range(classes):
                dscores[n, j] += term * (exp(row[j] - largest) / total - (j == k))
    return loss, dscores


def svm_loss(scores: Array, labels: Array, margin: float = 1.0) -> tuple[float, Array]:
    """Multi-class SVM loss: each wrong class adds the excess of its score over the right score minus `margin`.

    ``loss = (1 / N) * sum over n, k != labels[n] of max(0, scores[n, k] - scores[n, labels[n]] + margin)``. A class
    without an excess adds 0. A term above 0 has the gradient 1 / N with respect to the wrong score and -1 / N
    with respect to the right one.

    Parameters
    ----------
    scores : ndarray, shape (N, K)
    labels : ndarray of int, shape (N,)
    margin : float

    Returns
    -------
    loss : float
    dscores : ndarray, shape (N, K)
    """
    n_examples, classes = scores.shape
    loss = 0.0
    dscores = np.zeros(scores.shape)
    for n, k in product(range(n_examples), range(classes)):
        right = labels[n]
        term = float(scores[n, k]) - float(scores[n, right]) + margin
        if k == right:
            loss += 0 * float(scores[n, right])  # 0, or NaN where the right score is not finite
        elif not term <= 0:  # above 0, or NaN
            loss += term / n_examples
            dscores[n, k] += 1 / n_examples
            dscores[n, right] -= 1 / n_examples
    return loss, dscores


def binary_loss(
    scores: Array, labels: Array, *, positive_weights: Array | None = None, weights: Array | None = None
) -> tuple[float, Array]:
    """Binary loss: the mean over examples and classes of minus the log of the probability of the right answer.

    A class is present with the probability ``p = 1 / (1 + exp(-s))`` and absent with ``1 - p = 1 / (1 + exp(s))``, for
    its score s. A label y, from 0 to 1, adds ``-y * log(p) - (1 - y) * log(1 - p)``, whose derivative with respect to
    the score is ``-y * (1 - p) + (1 - y) * p``. The terms with y are multiplied by the class's entry of
    `positive_weights`, all terms of an example by its weight. The sum is divided by K times the sum of the weights of
    the examples; where that is 0, so are the loss and its gradient.

    Parameters
    ----------
    scores : ndarray, shape (N, K)
    labels : ndarray, shape (N, K), or (N,) where K is 1
        In [0, 1].
    positive_weights : ndarray, shape (K,), optional
    weights : ndarray, shape (N,), optional

    Returns
    -------
    loss : float
    dscores : ndarray, shape (N, K)
    """
    n_examples, classes = scores.shape
    labels = np.reshape(labels, scores.shape)
    total = float(n_examples) if weights is None else sum(float(weight) for weight in weights)
    loss = 0.0
    dscores = np.zeros(scores.shape)
    for n, k in product(range(n_examples), range(classes)):
        s, y = float(scores[n, k]), float(labels[n, k])
        c = 1.0 if positive_weights is None else float(positive_weights[k])
        weight = 1.0 if weights is None else float(weights[n])
        share = weight / (total * classes) if total > 0 else 0.0
        small = exp(-abs(s))  # cannot overflow
        likelier = 1 / (1 + small)  # the probability of the likelier answer
        p, q = (likelier, small * likelier) if s > 0 else (small * likelier, likelier)
        loss += share * c * y * (log1p(small) + max(-s, 0.0)) + share * (1 - y) * (log1p(small) + max(s, 0.0))
        dscores[n, k] = share * ((1 - y) * p - c * y * q)
    return loss, dscores


# ---------------------------------------------------------------------------------------------- warping


def warp(x: Array, maps: Array) -> Array:
    """Read each output pixel (h, w) of image n at row a and column b, where ``(a, b) = maps[n] @ (h, w, 1)``.

    Between pixels, the four around (a, b) are weighted by how near they are (bilinear interpolation); outside the
    image its nearest pixel counts.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    maps : ndarray, shape (N, 2, 3)

    Returns
    -------
    ndarray, shape (N, C, H, W)
    """
    y = np.zeros(x.shape)
    height, width = x.shape[2:]
    for n, c, h, w in np.ndindex(y.shape):
        row, column = (
            min(max(float(coefficients @ np.array([h, w, 1.0])), 0.0), size - 1.0)
            for coefficients, size in zip(maps[n], (height, width), strict=True)
        )
        for i, j in product((floor(row), floor(row) + 1), (floor(column), floor(column) + 1)):
            weight = (1 - abs(row - i)) * (1 - abs(column - j))
            if weight > 0:  # a neighbour beyond the edge has none
                y[n, c, h, w] += weight * float(x[n, c, i, j])
    return y
