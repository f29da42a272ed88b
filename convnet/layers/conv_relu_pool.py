"""Convolution, ReLU and 2x2 max pooling together: the functions, and the stage for three such layers in a row."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, Pair, as_plain, as_real, check_shape
from convnet.core.threads import in_parts
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.activations import ReLU
from convnet.layers.convolution import Conv2D, conv2d_backward, conv_arguments, conv_output_shape, geometry_of
from convnet.layers.pooling import MaxPool2D, pool_output_shape
from convnet.layers.stage import Grads, Options, Shape, Stage

__all__ = ["ConvReLUPoolStage", "can_fuse", "conv_relu_pool_backward", "conv_relu_pool_forward"]


# The part of the vectors that have to be filled for one pass over three layers to be faster.
LEAST_FILLED = 0.6


def can_fuse(weight: npt.NDArray[Any]) -> bool:
    """Return whether `conv_relu_pool_forward` takes these filters: float32 and at most MAX_KERNEL_W wide.

    It takes none with the instruction set ``none``.

    Parameters
    ----------
    weight : ndarray, shape (F, C, KH, KW)
    """
    weight = np.asarray(weight)
    return (
        _kernels.instruction_set() != "none"
        and weight.ndim == 4
        and weight.dtype == np.float32
        and weight.shape[3] <= _kernels.MAX_KERNEL_W
    )


def conv_relu_pool_forward(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike, *, padding: Pair = 0
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
    argmax : ndarray of uint8, shape (N, F, PH, PW)
        For the backward pass: the index of each maximum in its window, 0 to 3 row by row, or 4 where it is at most 0,
        so that ReLU is inactive.

    Raises
    ------
    ValueError
        If shapes do not fit together, an output size is below 1, or `can_fuse` does not accept the filters.
    TypeError
        If an array does not hold real numbers, or padding is not an int or a pair of ints.
    """
    x, weight, padding, outputs = _fused_arguments(x, weight, padding)
    bias = as_real(bias, "Conv2D: bias", weight.dtype)
    check_shape(bias.shape, outputs[:1], "Conv2D: bias")
    geometry = _geometry_of(x.shape[1:], weight, padding)
    y = np.empty((len(x), *outputs), np.float32)
    argmax = np.empty(y.shape, np.uint8)
    scratch = np.empty(geometry.scratch(len(x)), np.uint8)
    _kernels.conv_relu_pool_forward(geometry, x, weight, bias, y, argmax, scratch)
    return y, argmax


def conv_relu_pool_backward(
    dy: npt.ArrayLike,
    argmax: npt.NDArray[np.uint8],
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    padding: Pair = 0,
    need_dx: bool = True,
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """Gradients of `conv_relu_pool_forward`.

    Parameters
    ----------
    dy : array_like, shape (N, F, PH, PW)
        Gradient of the loss with respect to the output.
    argmax : ndarray of uint8, shape (N, F, PH, PW)
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
        If an array does not hold real numbers, or `argmax` is not of uint8.
    """
    x, weight, padding, outputs = _fused_arguments(x, weight, padding)
    dy = as_real(dy, "Conv2D: dy", weight.dtype)
    check_shape(dy.shape, (len(x), *outputs), "Conv2D: dy")
    argmax = np.asarray(argmax)
    if argmax.dtype != np.uint8:
        raise TypeError(f"Conv2D: argmax: expected uint8, got {argmax.dtype}")
    check_shape(argmax.shape, dy.shape, "Conv2D: argmax")
    argmax = as_plain(argmax, np.uint8)
    if argmax.size and argmax.max() > _kernels.INACTIVE:
        raise ValueError(f"Conv2D: argmax: expected at most {_kernels.INACTIVE}, got {argmax.max()}")
    if need_dx:
        dconv = np.empty((len(x), *conv_output_shape(x.shape[1:], weight.shape, (1, 1), padding)), np.float32)
        _unpool(dy, argmax, dconv)
        return conv2d_backward(dconv, x, weight, padding=padding)
    geometry = _geometry_of(x.shape[1:], weight, padding)
    dweight, dbias = np.empty_like(weight), np.empty(len(weight), np.float32)
    scratch = np.empty(geometry.scratch(len(x)), np.uint8)
    _kernels.conv_relu_pool_backward(geometry, dy, argmax, x, dweight, dbias, scratch)
    return None, dweight, dbias


def _unpool(dy: FloatArray, argmax: npt.NDArray[np.uint8], dconv: FloatArray) -> None:
    """Write the gradient with respect to the convolution's output: dy at each maximum that is active, 0 elsewhere."""
    n, f, *outputs = dconv.shape
    gradients, indices = (array.reshape(n * f, *array.shape[2:]) for array in (dy, argmax))
    planes = dconv.reshape(n * f, *outputs)

    def task(part: slice, _: int) -> None:
        _kernels.relu_pool_backward(gradients[part], indices[part], planes[part])

    in_parts(task, n * f, dconv.size)


def _pool(geometry: _kernels.ConvReLUPool, conv: FloatArray, y: FloatArray, argmax: npt.NDArray[np.uint8]) -> None:
    """Write the largest of each 2x2 window, or 0 where it is negative, and which one it was."""
    planes, outputs = (array.reshape(-1, *array.shape[2:]) for array in (conv, y))
    indices = argmax.reshape(-1, *argmax.shape[2:])

    def task(part: slice, _: int) -> None:
        _kernels.relu_pool_forward(geometry, planes[part], outputs[part], indices[part])

    in_parts(task, len(planes), conv.size)


def _fused_arguments(
    x: npt.ArrayLike, weight: npt.ArrayLike, padding: Pair
) -> tuple[FloatArray, FloatArray, tuple[int, int], tuple[int, int, int]]:
    x, weight, _, padding, shape = conv_arguments(x, weight, (1, 1), padding)
    if not can_fuse(weight):
        raise ValueError(f"Conv2D: expected filters that can_fuse accepts, got {weight.dtype} of shape {weight.shape}")
    return x, weight, padding, pool_output_shape(shape, (2, 2), (2, 2), (0, 0), "MaxPool2D")


def _geometry_of(image_shape: Shape, weight: FloatArray, padding: tuple[int, int]) -> _kernels.ConvReLUPool:
    (c, h, w), (f, _, kh, kw) = image_shape, weight.shape
    return _kernels.ConvReLUPool(c, h, w, f, kh, kw, *padding)


class ConvReLUPoolStage(Stage):
    """A Conv2D of stride 1, a ReLU and a MaxPool2D of 2x2 windows.

    They are computed in one pass over memory, or in two: where Winograd's algorithm computes the convolution, and where
    rows leave much of the vectors empty, the convolution is written to memory, and then rectified and pooled. Equal
    within rounding to the three layers one after the other.
    """

    fused = ("bias", "ReLU", "2x2 max pooling")

    def __init__(
        self,
        names: tuple[str, ...],
        layers: tuple[Conv2D, ReLU, MaxPool2D],
        input_shape: Shape,
        dtype: np.dtype,
        options: Options,
    ) -> None:
        conv, _, pool = layers
        self.conv_shape = conv.output_shape(input_shape)
        super().__init__(names, input_shape, pool.output_shape(self.conv_shape), dtype)
        self.weight, self.bias = conv.params["weight"], conv.params["bias"]
        check_shape(self.bias.shape, self.conv_shape[:1], f"{names[0]}: bias")
        self.geometry = _geometry_of(input_shape, self.weight, conv.padding)
        self.conv_geometry = geometry_of(input_shape, self.weight, conv.stride, conv.padding, options.winograd)
        alone = self.conv_geometry.forward_algorithm
        self.in_one_pass = not alone.startswith("winograd") and self.geometry.filled >= LEAST_FILLED
        self.algorithm = "direct" if self.in_one_pass else alone

    @staticmethod
    def fits(layers: tuple[Conv2D, ReLU, MaxPool2D]) -> bool:
        """Return whether three such layers have the sizes for it."""
        conv, _, pool = layers
        return (
            conv.stride == (1, 1)
            and (pool.kernel_size, pool.stride, pool.padding) == ((2, 2), (2, 2), (0, 0))
            and can_fuse(conv.params["weight"])
        )

    @property
    def is_gradient_dense(self) -> bool:
        """Whether the gradients are those of the convolution, with zeros where the pooling let nothing through."""
        return self.need_dx or self.conv_geometry.weight_gradient_algorithm.startswith("winograd")

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        arrays: dict[str, ArraySpec] = {
            "y": ((n, *self.output_shape), np.float32),
            "argmax": ((n, *self.output_shape), np.uint8),
        }
        if self.in_one_pass or (training and not self.is_gradient_dense):
            arrays["scratch"] = (self.geometry.scratch(n),), np.uint8
        if not self.in_one_pass:
            arrays["forward scratch"] = (self.conv_geometry.forward_scratch(n, threads),), np.uint8
        if not self.in_one_pass or (training and self.is_gradient_dense):
            arrays["conv"] = (n, *self.conv_shape), np.float32  # and in the backward pass its gradient
        if training:
            arrays |= {"dweight": (self.weight.shape, np.float32), "dbias": (self.bias.shape, np.float32)}
        if training and self.is_gradient_dense:
            size = self.conv_geometry.backward_scratch(n, threads, self.need_dx)
            arrays["backward scratch"] = (size,), np.uint8
        if training and self.need_dx:
            arrays["dx"] = (n, *self.input_shape), np.float32
        return arrays

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        y, argmax = memory["y"], memory["argmax"]
        if self.in_one_pass:
            _kernels.conv_relu_pool_forward(self.geometry, x, self.weight, self.bias, y, argmax, memory["scratch"])
            return y
        conv, scratch = memory["conv"], memory["forward scratch"]
        _kernels.conv2d_forward(self.conv_geometry, x, self.weight, self.bias, conv, scratch, memory.threads)
        _pool(self.geometry, conv, y, argmax)
        return y

    def backward(self, dy: FloatArray, cache: FloatArray, memory: Memory) -> tuple[FloatArray | None, Grads]:
        argmax, dweight, dbias = memory["argmax"], memory["dweight"], memory["dbias"]
        dx = memory.get("dx")
        if self.is_gradient_dense:
            dconv, scratch = memory["conv"], memory["backward scratch"]
            _unpool(dy, argmax, dconv)
            _kernels.conv2d_backward(
                self.conv_geometry, dconv, cache, self.weight, dweight, dbias, dx, scratch, memory.threads
            )
        else:
            _kernels.conv_relu_pool_backward(self.geometry, dy, argmax, cache, dweight, dbias, memory["scratch"])
        name = self.names[0]
        return dx, {f"{name}.weight": dweight, f"{name}.bias": dbias}
