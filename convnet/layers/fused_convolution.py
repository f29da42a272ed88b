"""Convolution, activation and 2x2 pooling in one pass: the functions, and the stage for such layers in a row."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, Padding, as_plain, as_real, check_shape
from convnet.core.threads import get_num_threads
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.activations import LeakyReLU, ReLU, slope_of
from convnet.layers.base import Layer
from convnet.layers.convolution import (
    Conv2D,
    ConvolutionStage,
    Windows,
    can_fuse,
    can_fuse_layer,
    conv_arguments,
    geometry_of,
    is_kept,
)
from convnet.layers.normalization import BatchNorm2D
from convnet.layers.pool_windows import pool_output_shape
from convnet.layers.pooling import AveragePool2D, MaxPool2D, is_two_by_two
from convnet.layers.stage import Options, Shape

__all__ = [
    "FOLDED",
    "FUSED",
    "FoldedConvolutionStage",
    "FusedConvolutionStage",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
]

# Layers that one pass computes; the longest come first.
FUSED: tuple[tuple[type[Layer], ...], ...] = (
    (Conv2D, ReLU, MaxPool2D),
    (Conv2D, ReLU, AveragePool2D),
    (Conv2D, LeakyReLU, MaxPool2D),
    (Conv2D, LeakyReLU, AveragePool2D),
    (Conv2D, MaxPool2D),
    (Conv2D, AveragePool2D),
    (Conv2D, ReLU),
    (Conv2D, LeakyReLU),
)
# The same with a batch normalization, which prediction folds into the convolution.
FOLDED: tuple[tuple[Any, ...], ...] = tuple((Conv2D, BatchNorm2D, *classes[1:]) for classes in (*FUSED, (Conv2D,)))
# The argmax of `conv_relu_pool_forward` where ReLU is inactive.
INACTIVE = 4


def conv_relu_pool_forward(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike, *, padding: Padding = 0
) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
    """Max pooling 2x2 of ReLU of a convolution of stride 1, without writing what lies between to memory.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    weight : array_like of float32, shape (F, C, KH, KW)
        Filters that `can_fuse` accepts.
    bias : array_like, shape (F,)
    padding : int, pair of ints or pair of pairs
        Zeros added on each side of x, as in `conv2d_forward`.

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
        If an array does not hold real numbers, or padding is not of its type.
    """
    x, weight, outputs, geometry = _fused_arguments(x, weight, padding)
    bias, threads = as_real(bias, "Conv2D: bias", weight.dtype), get_num_threads()
    check_shape(bias.shape, outputs[:1], "Conv2D: bias")
    filters, height, width = outputs
    y, codes = np.empty((len(x), *outputs), np.float32), np.empty((len(x), height, width, filters), np.uint8)
    scratch = np.empty(geometry.forward_scratch(len(x), threads), np.uint8)
    _kernels.conv2d_forward(geometry, x, weight, bias, y, scratch, threads, codes)
    return y, as_plain(np.minimum(codes, INACTIVE).transpose(0, 3, 1, 2), np.uint8)


def conv_relu_pool_backward(
    dy: npt.ArrayLike,
    argmax: npt.NDArray[np.uint8],
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    padding: Padding = 0,
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
    x, weight, outputs, geometry = _fused_arguments(x, weight, padding)
    dy, threads = as_real(dy, "Conv2D: dy", weight.dtype), get_num_threads()
    check_shape(dy.shape, (len(x), *outputs), "Conv2D: dy")
    argmax = np.asarray(argmax)
    if argmax.dtype != np.uint8:
        raise TypeError(f"Conv2D: argmax: expected uint8, got {argmax.dtype}")
    check_shape(argmax.shape, dy.shape, "Conv2D: argmax")
    if argmax.size and argmax.max() > INACTIVE:
        raise ValueError(f"Conv2D: argmax: expected at most {INACTIVE}, got {argmax.max()}")
    codes = as_plain(argmax.transpose(0, 2, 3, 1), np.uint8)
    dweight, dbias = np.empty_like(weight), np.empty(len(weight), np.float32)
    dx = np.empty_like(x) if need_dx else None
    scratch = np.empty(geometry.backward_scratch(len(x), threads, need_dx), np.uint8)
    _kernels.conv2d_backward(geometry, dy, x, weight, dweight, dbias, dx, scratch, threads, None, codes)
    return dx, dweight, dbias


def _fused_arguments(
    x: npt.ArrayLike, weight: npt.ArrayLike, padding: Padding
) -> tuple[FloatArray, FloatArray, Shape, _kernels.Convolution]:
    """Return checked arguments, the shape of an image's output, and the geometry."""
    windows = Windows.of(padding=padding)
    x, weight, shape = conv_arguments(x, weight, windows)
    if not can_fuse(weight):
        raise ValueError(
            f"Conv2D: expected filters that can_fuse accepts, float32 with an instruction set, got {weight.dtype} of "
            f"shape {weight.shape} with the set {_kernels.instruction_set()!r}; use the three functions one by one"
        )
    if 0 in x.shape[2:]:
        raise ValueError(f"Conv2D: expected images of at least one pixel, got x of shape {x.shape}")
    outputs = pool_output_shape(shape, (2, 2), (2, 2), (0, 0), "MaxPool2D")
    return x, weight, outputs, geometry_of(x.shape[1:], weight, windows, True, slope=0, pool="max")


class FusedConvolutionStage(ConvolutionStage):
    """A Conv2D that can be fused, and in the same pass a ReLU or LeakyReLU, a pooling of 2x2 windows, or both.

    Nothing between the layers is written to memory. Equal within rounding to the layers one after the other.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        layers: tuple[Layer, ...],
        input_shape: Shape,
        dtype: np.dtype,
        options: Options,
    ) -> None:
        conv, *rest = layers
        assert isinstance(conv, Conv2D)
        shape, slope, pool, fused = conv.output_shape(input_shape), 1.0, None, list[str]()
        for layer in rest:
            shape = layer.output_shape(shape)
            if isinstance(layer, (ReLU, LeakyReLU)):
                slope = slope_of(layer)
                fused.append(type(layer).__name__)
            else:
                pool = "max" if isinstance(layer, MaxPool2D) else "average"
                fused.append(f"2x2 {pool} pooling")
        super().__init__(names, conv, input_shape, shape, dtype, options, slope, pool, tuple(fused))

    @staticmethod
    def fits(layers: tuple[Any, ...], input_shape: Shape) -> bool:
        """Return whether such layers have the sizes for it, and a slope that keeps the order of numbers."""
        conv, *rest = layers
        return can_fuse_layer(conv, input_shape) and all(
            layer.slope >= 0 if isinstance(layer, LeakyReLU) else isinstance(layer, ReLU) or is_two_by_two(layer)
            for layer in rest
        )


class FoldedConvolutionStage(FusedConvolutionStage):
    """A prediction by a Conv2D and a BatchNorm2D, and what may follow a Conv2D in a FusedConvolutionStage.

    With ``scale = norm.weight / sqrt(running_variance + epsilon)`` both are one convolution, of the filters
    ``weight * scale`` and the bias ``(bias - running_mean) * scale + norm.bias``. It is made once, and again when one
    of the six arrays has changed.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        layers: tuple[Layer, ...],
        input_shape: Shape,
        dtype: np.dtype,
        options: Options,
    ) -> None:
        conv, norm, *rest = layers
        assert isinstance(norm, BatchNorm2D)
        norm.output_shape(conv.output_shape(input_shape))
        check_shape(norm.params["bias"].shape, norm.params["weight"].shape, f"{names[1]}: bias")
        super().__init__(names, (conv, *rest), input_shape, dtype, options)
        position = int(self.has_bias)
        self.norm, self.fused = norm, (*self.fused[:position], "BatchNorm2D", *self.fused[position:])

    @staticmethod
    def fits(layers: tuple[Any, ...], input_shape: Shape) -> bool:
        conv, _, *rest = layers
        return FusedConvolutionStage.fits((conv, *rest), input_shape)

    def _sources(self) -> list[FloatArray]:
        params = self.norm.params
        return [self.weight, self.bias, params["weight"], params["bias"], *self.norm.statistics()]

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        copies = {f"copy {i}": ((array.nbytes,), np.uint8) for i, array in enumerate(self._sources())}
        folded = {"folded weight": (self.weight.shape, self.dtype), "folded bias": (self.bias.shape, self.dtype)}
        return super().arrays(n, threads, training) | copies | folded

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        weight, bias = memory["folded weight"], memory["folded bias"]
        sources = self._sources()
        if not is_kept("folded", sources, [memory[f"copy {i}"] for i in range(len(sources))], memory):
            norm_weight, norm_bias, mean, variance = (array.astype(np.float64) for array in sources[2:])
            scale = norm_weight / np.sqrt(variance + self.norm.epsilon)
            weight[...] = self.weight * scale[:, np.newaxis, np.newaxis, np.newaxis]
            bias[...] = (self.bias - mean) * scale + norm_bias
            memory.kept.add("folded")
        return self.predict_with(weight, bias, x, memory)
