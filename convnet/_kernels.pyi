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
def add_scaled(factor: float, x: _Float, y: _Float) -> None: ...
def add_l2(l2: float, weight: _Float, dweight: _Float) -> float: ...
