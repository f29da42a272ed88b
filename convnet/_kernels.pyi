"""Types of the compiled module; float arrays are all float32 or all float64 in one call."""

from typing import Any

import numpy as np
import numpy.typing as npt

_Float = npt.NDArray[np.floating[Any]]
_Codes = npt.NDArray[np.uint8]
_Int = npt.NDArray[np.signedinteger[Any]]

SLACK: int
MAX_KERNEL_W: int
CLOSED: int

def im2col(x: _Float, cols: _Float, stride_h: int, stride_w: int, padding_h: int, padding_w: int) -> None: ...
def col2im(cols: _Float, x: _Float, stride_h: int, stride_w: int, padding_h: int, padding_w: int) -> None: ...
def max_pool2d_forward(
    x: _Float,
    y: _Float,
    argmax: _Int,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def max_pool2d_backward(dy: _Float, argmax: _Int, dx: _Float) -> None: ...
def average_pool2d_forward(
    x: _Float,
    counts: _Float,
    y: _Float,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def average_pool2d_backward(
    dy: _Float,
    dx: _Float,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def simd_level() -> int: ...
def conv_relu_pool_forward(
    level: int,
    x: _Float,
    weight: _Float,
    bias: _Float,
    padded: _Float,
    y: _Float,
    codes: _Codes,
    padding_h: int,
    padding_w: int,
) -> None: ...
def conv_relu_pool_backward(
    level: int,
    dy: _Float,
    codes: _Codes,
    x: _Float,
    padded: _Float,
    dweight: _Float,
    dbias: _Float,
    kernel_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def relu_forward(x: _Float, y: _Float) -> None: ...
def relu_backward(dy: _Float, y: _Float, dx: _Float) -> None: ...
def softmax_loss(scores: _Float, labels: _Int, dscores: _Float) -> float: ...
def svm_loss(scores: _Float, labels: _Int, margin: float, dscores: _Float) -> float: ...
def warp(x: _Float, maps: npt.NDArray[np.float64], y: _Float) -> None: ...
def add_scaled(factor: float, x: _Float, y: _Float) -> None: ...
def add_l2(l2: float, weight: _Float, dweight: _Float) -> float: ...
def momentum_update(
    rate: float, momentum: float, nesterov: bool, grad: _Float, velocity: _Float, param: _Float
) -> None: ...
def rmsprop_update(
    rate: float, decay: float, epsilon: float, grad: _Float, mean_square: _Float, param: _Float
) -> None: ...
def adam_update(
    step: float,
    correction: float,
    shrink: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    grad: _Float,
    mean: _Float,
    mean_square: _Float,
    param: _Float,
) -> None: ...
