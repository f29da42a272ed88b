"""Types of the compiled module; float arrays are all float32 or all float64 in one call."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_Float = npt.NDArray[np.floating[Any]]
_Codes = npt.NDArray[np.uint8]
_Int = npt.NDArray[np.signedinteger[Any]]

MAX_THREADS: int
SLACK: int
MAX_KERNEL_W: int
CLOSED: int
NUM_LEVELS: int
COMPILER: str

def simd_highest() -> int: ...
def run_tasks(function: Callable[[int, int], object], count: int, threads: int) -> None: ...
def multiply_scratch(level: int, m: int, k: int, n: int) -> int: ...
def multiply(
    level: int,
    threads: int,
    a: _Float,
    b: _Float,
    c: _Float,
    a_is_transposed: bool,
    b_is_transposed: bool,
    beta: float,
    scratch: npt.NDArray[np.uint8] | None,
) -> None: ...
def affine_scratch(level: int, n: int, d: int, m: int) -> int: ...
def affine_backward(
    level: int,
    threads: int,
    dy: _Float,
    x: _Float,
    weight: _Float,
    dx: _Float | None,
    out: _Float,
    decay: float,
    rate: float,
    scratch: npt.NDArray[np.uint8],
) -> float: ...
def phases_size(
    kernel_h: int,
    kernel_w: int,
    out_h: int,
    out_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> int: ...
def block_rows(size: int, out_h: int, out_w: int) -> int: ...
def im2col(
    level: int,
    x: _Float,
    phases: _Float,
    cols: _Float,
    kernel_h: int,
    kernel_w: int,
    out_h: int,
    out_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def col2im(
    level: int,
    cols: _Float,
    phases: _Float,
    x: _Float,
    kernel_h: int,
    kernel_w: int,
    out_h: int,
    out_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def conv2d_scratch(
    level: int,
    is_float: bool,
    is_backward: bool,
    need_dx: bool,
    channels: int,
    filters: int,
    height: int,
    width: int,
    block: int,
    adjoint_block: int,
    kernel_h: int,
    kernel_w: int,
    out_h: int,
    out_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> tuple[int, int, int, int]: ...
def conv2d_pack(level: int, is_backward: bool, weight: _Float, channels: int, packed: _Float) -> None: ...
def conv2d_forward(
    level: int,
    x: _Float,
    weight: _Float,
    bias: _Float,
    packed: _Float,
    phases: _Float,
    cols: _Float,
    places: _Int,
    y: _Float,
    block: int,
    kernel_h: int,
    kernel_w: int,
    out_h: int,
    out_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def conv2d_backward(
    level: int,
    dy: _Float,
    x: _Float,
    weight: _Float,
    packed: _Float,
    phases: _Float,
    cols: _Float,
    places: _Int,
    dweight: _Float,
    dbias: _Float,
    dx: _Float | None,
    block: int,
    adjoint_block: int,
    kernel_h: int,
    kernel_w: int,
    out_h: int,
    out_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
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
    counts: _Float,
    shares: _Float,
    dx: _Float,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
) -> None: ...
def conv_relu_pool_forward(
    level: int,
    threads: int,
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
    threads: int,
    dy: _Float,
    codes: _Codes,
    x: _Float,
    weight: _Float,
    padded: _Float,
    dweight: _Float,
    dbias: _Float,
    padding_h: int,
    padding_w: int,
) -> None: ...
def relu_pool_backward(dy: _Float, codes: _Codes, dx: _Float) -> None: ...
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
