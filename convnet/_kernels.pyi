"""Types of the compiled module; float arrays are all float32 or all float64 in one call."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

_Float = npt.NDArray[np.floating[Any]]
_Bytes = npt.NDArray[np.uint8]
_Int = npt.NDArray[np.signedinteger[Any]]
_Algorithm = Literal["im2col", "direct", "planar", "pooled", "depthwise", "winograd-2", "winograd-4"]
_Pool = Literal["max", "average"]

# The pool of threads.
MAX_THREADS: int

def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def run_tasks(function: Callable[[int, int], object], count: int, threads: int) -> None: ...

# Instruction sets.
COMPILER: str
BUILT: tuple[str, ...]
INSTRUCTION_SETS: tuple[str, ...]

def use_instruction_set(name: str) -> None: ...
def instruction_set() -> str: ...
def multiply_adds(repeats: int, threads: int) -> float: ...

# Products and the Affine layer.
def multiply_scratch(m: int, k: int, n: int) -> int: ...
def multiply(
    a: _Float,
    b: _Float,
    c: _Float,
    a_is_transposed: bool,
    b_is_transposed: bool,
    beta: float,
    scratch: _Bytes | None,
) -> None: ...
def affine_forward_scratch(n: int, d: int, m: int) -> int: ...
def affine_forward(x: _Float, weight: _Float, bias: _Float, y: _Float, relu: bool, scratch: _Bytes) -> None: ...
def affine_backward_scratch(n: int, d: int, m: int) -> int: ...
def affine_backward(
    dy: _Float,
    x: _Float,
    weight: _Float,
    dx: _Float | None,
    out: _Float,
    dbias: _Float,
    decay: float,
    rate: float,
    scratch: _Bytes,
) -> float: ...
def affine_update(
    rule: Rule,
    dy: _Float,
    x: _Float,
    weight: _Float,
    dx: _Float | None,
    dweight: _Float,
    dbias: _Float,
    first: _Float | None,
    second: _Float | None,
    scratch: _Bytes,
) -> float: ...

# Convolution.
ALGORITHMS: dict[_Algorithm, int]
POOLS: dict[_Pool | None, int]

class Convolution:
    def __init__(
        self,
        is_float: bool,
        channels: int,
        height: int,
        width: int,
        filters: int,
        kernel_h: int,
        kernel_w: int,
        stride_h: int,
        stride_w: int,
        padding_h: int,
        padding_w: int,
        *,
        out_h: int = 0,
        out_w: int = 0,
        dilation_h: int = 1,
        dilation_w: int = 1,
        groups: int = 1,
        winograd: bool = True,
        algorithm: _Algorithm | None = None,
        block_rows: int = 0,
        x_channels_last: bool = False,
        y_channels_last: bool = False,
        slope: float = 1,
        pool: _Pool | None = None,
    ) -> None: ...
    @property
    def out_h(self) -> int: ...
    @property
    def out_w(self) -> int: ...
    @property
    def block_rows(self) -> int: ...
    def algorithms(self, n: int | None = ...) -> tuple[_Algorithm, _Algorithm, _Algorithm]: ...
    def im2col_scratch(self) -> int: ...
    def forward_scratch(self, n: int, threads: int, is_packed: bool = False) -> int: ...
    def packed_size(self, n: int) -> int: ...
    def backward_scratch(self, n: int, threads: int, need_dx: bool) -> int: ...

def im2col(s: Convolution, x: _Float, cols: _Float, scratch: _Bytes) -> None: ...
def col2im(s: Convolution, cols: _Float, x: _Float, scratch: _Bytes) -> None: ...
def conv2d_forward(
    s: Convolution,
    x: _Float,
    weight: _Float,
    bias: _Float,
    y: _Float,
    scratch: _Bytes,
    threads: int,
    codes: _Bytes | None = None,
    packed: _Bytes | None = None,
) -> None: ...
def conv2d_pack(s: Convolution, n: int, weight: _Float, packed: _Bytes, scratch: _Bytes, threads: int) -> None: ...
def are_equal(a: _Bytes, b: _Bytes) -> bool: ...
def conv2d_backward(
    s: Convolution,
    dy: _Float,
    x: _Float,
    weight: _Float,
    dweight: _Float | None,
    dbias: _Float | None,
    dx: _Float | None,
    scratch: _Bytes,
    threads: int,
    y: _Float | None = None,
    codes: _Bytes | None = None,
) -> None: ...

# Pooling.
class Pooling:
    def __init__(
        self,
        height: int,
        width: int,
        kernel_h: int,
        kernel_w: int,
        stride_h: int,
        stride_w: int,
        padding_h: int,
        padding_w: int,
        *,
        out_h: int = 0,
        out_w: int = 0,
    ) -> None: ...
    @property
    def out_h(self) -> int: ...
    @property
    def out_w(self) -> int: ...

def max_pool2d_forward(s: Pooling, x: _Float, y: _Float, argmax: _Int) -> None: ...
def max_pool2d_backward(dy: _Float, argmax: _Int, dx: _Float) -> None: ...
def average_pool2d_forward(s: Pooling, x: _Float, counts: _Float, y: _Float) -> None: ...
def average_pool2d_backward(s: Pooling, dy: _Float, counts: _Float, shares: _Float, dx: _Float) -> None: ...
def global_average_pool_forward(x: _Float, y: _Float) -> None: ...

class ChannelsLastPooling:
    def __init__(self, pool: str, channels: int, height: int, width: int, y_channels_last: bool) -> None: ...
    def scratch(self, threads: int) -> int: ...

def pool_channels_last_forward(
    s: ChannelsLastPooling, x: _Float, y: _Float, codes: _Bytes | None, scratch: _Float, threads: int
) -> None: ...
def pool_channels_last_backward(
    s: ChannelsLastPooling, dy: _Float, codes: _Bytes, dx: _Float, scratch: _Float, threads: int
) -> None: ...
def max_pool_images_forward(x: _Float, y: _Float, pixel: _Int | None, threads: int) -> None: ...
def max_pool_images_backward(dy: _Float, pixel: _Int, dx: _Float, threads: int) -> None: ...

# Activations.
def relu_forward(x: _Float, y: _Float) -> None: ...
def relu_backward(dy: _Float, y: _Float, dx: _Float) -> None: ...
def sum_forward(a: _Float, b: _Float, slope: float, y: _Float) -> None: ...
def leaky_relu_forward(slope: float, x: _Float, y: _Float) -> None: ...
def leaky_relu_backward(slope: float, dy: _Float, x: _Float, dx: _Float) -> None: ...

class SmoothActivation:
    GATED: int
    SIGMOID: int
    TANH: int
    def __init__(self, function: int, linear: float = ..., cubic: float = ...) -> None: ...

def smooth_forward(activation: SmoothActivation, x: _Float, y: _Float) -> None: ...
def smooth_backward(activation: SmoothActivation, dy: _Float, x: _Float, dx: _Float) -> None: ...

# Batch normalization.
def batch_norm2d_scratch(p: int, c: int, q: int) -> int: ...
def batch_norm2d_moments(x: _Float, mean: _Float, variance: _Float, scratch: _Bytes) -> None: ...
def batch_norm2d_forward(
    x: _Float,
    weight: _Float,
    bias: _Float,
    mean: _Float,
    variance: _Float,
    epsilon: float,
    slope: float,
    y: _Float,
    scratch: _Bytes,
) -> None: ...
def batch_norm2d_sums(
    dy: _Float,
    x: _Float,
    weight: _Float,
    bias: _Float,
    mean: _Float,
    variance: _Float,
    epsilon: float,
    slope: float,
    dweight: _Float,
    dbias: _Float,
    scratch: _Bytes,
) -> None: ...
def batch_norm2d_dx(
    dy: _Float,
    x: _Float,
    weight: _Float,
    bias: _Float,
    mean: _Float,
    variance: _Float,
    epsilon: float,
    slope: float,
    dweight: _Float,
    dbias: _Float,
    count: float,
    dx: _Float,
    scratch: _Bytes,
) -> None: ...

# Dropout.
def dropout_mask(key: int, first: int, threshold: int, kept: _Bytes) -> None: ...
def dropout_scale(keep_divisor: float, x: _Float, kept: _Bytes, y: _Float) -> None: ...

# Losses.
def softmax_loss(scores: _Float, labels: _Int, dscores: _Float) -> float: ...
def svm_loss(scores: _Float, labels: _Int, margin: float, dscores: _Float) -> float: ...

# Warping.
def warp(x: _Float, maps: npt.NDArray[np.float64], y: _Float) -> None: ...

# Preparation and augmentation of images.
def prepare(x: _Bytes, unit: float, mean: _Float, std: _Float, y: _Float) -> None: ...
def augment(
    x: _Bytes | _Float,
    moves: _Int,
    maps: npt.NDArray[np.float64] | None,
    reflect: bool,
    has_ground: bool,
    ground: float,
    tones: npt.NDArray[np.float64],
    cuts: _Int,
    unit: float,
    mean: _Float,
    std: _Float,
    y: _Float,
) -> None: ...
def mix_pairs(x: _Float, first: int, end: int, factor: float) -> None: ...

# Updates of parameters.
_RuleKind = Literal["sgd", "momentum", "nesterov", "rmsprop", "adadelta", "adam"]
RULES: dict[_RuleKind, int]

class Rule:
    def __init__(
        self,
        kind: _RuleKind,
        rate: float,
        *,
        decay1: float = 0,
        decay2: float = 0,
        epsilon: float = 0,
        correction: float = 1,
        shrink: float = 1,
        l2: float = 0,
    ) -> None: ...

def move_average(share: float, x: _Float, average: _Float) -> None: ...
def add_l2(l2: float, weight: _Float, dweight: _Float) -> float: ...
def sum_of_squares(x: _Float) -> float: ...
def update(
    rule: Rule, grad: _Float, param: _Float, first: _Float | None = None, second: _Float | None = None
) -> None: ...
