"""Convolution: the functions, the layer and its stage."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import (
    FloatArray,
    Padding,
    Pair,
    Sides,
    as_count,
    as_flag,
    as_padding,
    as_pair,
    as_real,
    as_shape,
    check_pixels,
    check_shape,
    join_sizes,
    output_size,
    sides_of,
)
from convnet.core.threads import get_num_threads
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.base import Layer
from convnet.layers.initializers import Initializer, he_normal, initial_weight
from convnet.layers.stage import Grads, Options, Shape, Stage, has_instruction_set

__all__ = [
    "Conv2D",
    "ConvolutionStage",
    "can_fuse",
    "can_fuse_layer",
    "conv2d_backward",
    "conv2d_forward",
    "conv_output_shape",
]


# Weights of at least so many elements are kept packed from one prediction to the next.
LEAST_PACKED = 1 << 12


class Windows(NamedTuple):
    """Where a convolution's windows lie, and which channels a filter sees: options of a convolution, checked."""

    stride: tuple[int, int] = (1, 1)
    padding: Sides = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(cls, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1, groups: int = 1) -> Self:
        """Return the options after checking them."""
        return cls(
            as_pair(stride, "Conv2D: stride", 1),
            as_padding(padding, "Conv2D: padding"),
            as_pair(dilation, "Conv2D: dilation", 1),
            as_count(groups, "Conv2D: groups"),
        )

    @property
    def is_plain(self) -> bool:
        """Whether the stride is 1, and there are neither dilation nor groups."""
        return self.stride == self.dilation == (1, 1) and self.groups == 1


def conv_output_shape(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[int, int, int]:
    """Return the shape (F, OH, OW) of a convolution's output for one image.

    Parameters
    ----------
    input_shape : tuple
        (C, H, W).
    weight_shape : tuple
        (F, C / groups, KH, KW).
    stride, dilation : int or pair of ints
        Along the height and the width.
    padding : int, pair of ints or pair of pairs
        Along the height and the width, or ((top, bottom), (left, right)).
    groups : int

    Raises
    ------
    ValueError
        If the channels differ, the weight is not of four axes, or an output size is below 1.
    TypeError
        If a size is not an integer, or an option not of its type.
    """
    input_shape = as_shape(input_shape, "Conv2D: input_shape (C, H, W)", axes=3, minimum=0)
    weight_shape = as_shape(weight_shape, "Conv2D: weight_shape (F, C / groups, KH, KW)", axes=4)
    return conv_outputs((0, *input_shape), weight_shape, Windows.of(stride, padding, dilation, groups))


# Cached, because every call asks this again, with the same shapes each time.
@functools.lru_cache(1024)
def conv_outputs(x_shape: tuple[int, ...], weight_shape: tuple[int, ...], windows: Windows) -> tuple[int, int, int]:
    """Return the shape (F, OH, OW) of a convolution's output for one image of x; raise if there is none."""
    check_shape(weight_shape, ("F", "C", "KH", "KW"), "Conv2D: weight")
    f, c, kh, kw = weight_shape
    if 0 in weight_shape:
        raise ValueError(f"Conv2D: weight: expected no empty axis, got shape {weight_shape}")
    check_shape(x_shape, ("N", "C", "H", "W"), "Conv2D: x")
    _, channels, height, width = x_shape
    stride, padding, dilation, groups = windows
    if channels != c * groups:
        of_groups = f" ({groups} groups of {c})" if groups > 1 else ""
        raise ValueError(
            f"Conv2D: weight expects {c * groups} input channels{of_groups}, "
            f"got x of shape (N, {join_sizes(x_shape[1:])})"
        )
    if f % groups:
        raise ValueError(f"Conv2D: expected a number of filters that {groups} groups can share evenly, got {f}")
    rows, columns = sides_of(padding)
    check_pixels(height + sum(rows), width + sum(columns), "Conv2D")
    kh, kw = (kh - 1) * dilation[0] + 1, (kw - 1) * dilation[1] + 1
    oh = output_size(height, kh, stride[0], rows, "Conv2D: output height")
    ow = output_size(width, kw, stride[1], columns, "Conv2D: output width")
    return f, oh, ow


def conv_arguments(
    x: npt.ArrayLike, weight: npt.ArrayLike, windows: Windows
) -> tuple[FloatArray, FloatArray, tuple[int, int, int]]:
    """Return checked arrays of a convolution, and the shape of its output for one image."""
    weight = as_real(weight, "Conv2D: weight")
    x = as_real(x, "Conv2D: x", weight.dtype)
    return x, weight, conv_outputs(x.shape, weight.shape, windows)


def geometry_of(
    image_shape: Shape, weight: FloatArray, windows: Windows, winograd: bool, **fused: Any
) -> _kernels.Convolution:
    """Return the geometry of a convolution of images (C, H, W), which decides the kernels' algorithms."""
    (c, h, w), (f, _, kh, kw) = image_shape, weight.shape
    stride, padding, (dilation_h, dilation_w), groups = windows
    (top, _), (left, _) = sides_of(padding)
    _, out_h, out_w = conv_outputs((0, *image_shape), weight.shape, windows)
    return _kernels.Convolution(
        weight.dtype == np.float32,
        *(c, h, w, f, kh, kw, *stride, top, left),
        out_h=out_h,
        out_w=out_w,
        dilation_h=dilation_h,
        dilation_w=dilation_w,
        groups=groups,
        winograd=winograd,
        **fused,
    )


def conv2d_forward(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    winograd: bool = True,
) -> FloatArray:
    """Convolution (cross-correlation) of images with filters.

    ``y[n, f, oh, ow] = bias[f] + sum over c, i, j of
    weight[f, c, i, j] * x[n, c, oh * stride + i * dilation - padding, ow * stride + j * dilation - padding]``, with 0
    outside of x. With `groups`, channels and filters are split into so many groups, in order, and c goes over the
    channels of the filter's own group. If a weight is not finite, an output whose window reaches outside of x may or
    may not be NaN.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.
    weight : array_like, shape (F, C / groups, KH, KW)
        Filters.
    bias : array_like, shape (F,), optional
        Added to each filter's output.
    stride : int or pair of ints
        Step between windows, along the height and the width.
    padding : int, pair of ints or pair of pairs
        Zeros added on each side: along the height and the width, or ((top, bottom), (left, right)). Those above and to
        the left are in the formula; the others count for the size,
        ``OH = floor((H + top + bottom - (KH - 1) * dilation - 1) / stride) + 1``.
    dilation : int or pair of ints
        Pixels from one row or column of a filter to the next.
    groups : int
        Divides C and F. With C groups, a convolution is called depthwise.
    winograd : bool
        If False, sums are not rearranged by Winograd's algorithm, which computes 3x3 convolutions of stride 1 with a
        quarter of the multiplications where that is faster, in float32. Its error is a few times as large; tests hold
        it below 2e-5 of the norm of the result. A number that is not finite reaches all outputs of its tile, of 4x4.

    Returns
    -------
    ndarray, shape (N, F, OH, OW)
        In the dtype of `weight`.

    Raises
    ------
    ValueError
        If shapes do not fit together or an output size is below 1.
    TypeError
        If an array does not hold real numbers, or an option is not of its type.

    Notes
    -----
    An image's windows are unfolded into columns (im2col) and the filters multiplied with them; in float32 without
    writing the columns, where that is faster, or by Winograd's algorithm. K. Chellapilla, S. Puri, P. Simard, "High
    performance convolutional neural networks for document processing", 2006. A. Lavin, S. Gray, "Fast algorithms for
    convolutional neural networks", 2016.
    """
    windows = Windows.of(stride, padding, dilation, groups)
    x, weight, outputs = conv_arguments(x, weight, windows)
    bias = np.zeros(outputs[:1], weight.dtype) if bias is None else as_real(bias, "Conv2D: bias", weight.dtype)
    check_shape(bias.shape, outputs[:1], "Conv2D: bias")
    geometry = geometry_of(x.shape[1:], weight, windows, as_flag(winograd, "Conv2D: winograd"))
    threads = get_num_threads()
    y = np.empty((len(x), *outputs), weight.dtype)
    scratch = np.empty(geometry.forward_scratch(len(x), threads), np.uint8)
    _kernels.conv2d_forward(geometry, x, weight, bias, y, scratch, threads)
    return y


def conv2d_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    need_dx: bool = True,
    winograd: bool = True,
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """Gradients of `conv2d_forward`.

    ``dweight[f, c, i, j] = sum over n, oh, ow of
    dy[n, f, oh, ow] * x[n, c, oh * stride + i * dilation - padding, ow * stride + j * dilation - padding]``;
    ``dbias[f] = sum over n, oh, ow of dy[n, f, oh, ow]``; each product
    ``weight[f, c, i, j] * dy[n, f, oh, ow]`` is added to the element of ``dx`` where the weight met x. If a weight is
    not finite, other elements of dx may be NaN too. If an element of dy is not finite, elements of dweight may be NaN
    that it meets only outside of x.

    Parameters
    ----------
    dy : array_like, shape (N, F, OH, OW)
        Gradient of the loss with respect to the output.
    x : array_like, shape (N, C, H, W)
        Images given to the forward pass.
    weight : array_like, shape (F, C / groups, KH, KW)
        Filters.
    stride, padding, dilation, groups
        As in the forward pass.
    need_dx : bool
        False leaves out the gradient with respect to x, which a network's first layer has no use for.
    winograd : bool
        As in the forward pass; tests hold the gradients' error below 5e-5 of their norm.

    Returns
    -------
    dx : ndarray, shape (N, C, H, W), or None without `need_dx`
    dweight : ndarray, shape (F, C / groups, KH, KW)
    dbias : ndarray, shape (F,)

    Raises
    ------
    ValueError
        If shapes do not fit together.
    TypeError
        If an array does not hold real numbers, or an option is not of its type.
    """
    windows = Windows.of(stride, padding, dilation, groups)
    x, weight, outputs = conv_arguments(x, weight, windows)
    dy = as_real(dy, "Conv2D: dy", weight.dtype)
    check_shape(dy.shape, (len(x), *outputs), "Conv2D: dy")
    geometry = geometry_of(x.shape[1:], weight, windows, as_flag(winograd, "Conv2D: winograd"))
    threads = get_num_threads()
    dx = np.empty_like(x) if need_dx else None
    dweight, dbias = np.empty_like(weight), np.empty(len(weight), weight.dtype)
    scratch = np.empty(geometry.backward_scratch(len(x), threads, need_dx), np.uint8)
    _kernels.conv2d_backward(geometry, dy, x, weight, dweight, dbias, dx, scratch, threads)
    return dx, dweight, dbias


class Conv2D(Layer):
    """Convolution (cross-correlation) of images (N, C, H, W) with filters; see `functional.conv2d_forward`.

    Parameters
    ----------
    in_channels, out_channels : int
        Number of channels: C in the input, F in the output, one per filter.
    kernel_size : int or pair of ints
        Height and width of the filters.
    stride : int or pair of ints
        Step between windows.
    padding : int, pair of ints or pair of pairs
        Zeros added on each side: along the height and the width, or ((top, bottom), (left, right)).
    dilation : int or pair of ints
        Pixels from one row or column of a filter to the next.
    groups : int
        Into how many groups channels and filters are split, of which each sees its own channels alone. It divides both.
        With `in_channels` groups, a convolution is called depthwise.
    bias : bool
        Whether there is a bias. In front of a `BatchNorm2D`, which subtracts the mean, it has no use.
    rng : numpy.random.Generator
        Draws the initial weights. Biases start at 0.
    dtype : float32 or float64
        Dtype of the parameters, and so of the computation.
    initializer : callable
        `he_normal`, `he_uniform`, `glorot_normal`, `glorot_uniform`, or a function of your own: the initial weights are
        ``initializer(shape, fan_in, rng, dtype, fan_out=fan_out)`` with ``fan_in = C / groups * KH * KW`` and
        ``fan_out = F / groups * KH * KW``.

    Attributes
    ----------
    params : dict
        ``weight`` (F, C / groups, KH, KW) and, if there is one, ``bias`` (F,).

    Raises
    ------
    ValueError, TypeError
        If a size or an option is not of its type or out of range, `groups` does not divide the channels and
        the filters, or `initializer` is not a function that returns real numbers of the weight's shape.
    """

    kind = "conv"
    # As in pickles of 0.1, which have neither.
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        initializer: Initializer = he_normal,
    ) -> None:
        super().__init__()
        c, f = as_count(in_channels, "Conv2D: in_channels"), as_count(out_channels, "Conv2D: out_channels")
        kernel = as_pair(kernel_size, "Conv2D: kernel_size", 1)
        self.stride, self.padding, self.dilation, self.groups = Windows.of(stride, padding, dilation, groups)
        for what, count in (("in_channels", c), ("out_channels", f)):
            if count % self.groups:
                raise ValueError(f"Conv2D: expected {what} to be a multiple of groups, {groups}, got {count}")
        c, of_group, area = c // self.groups, f // self.groups, kernel[0] * kernel[1]
        weight = initial_weight(initializer, (f, c, *kernel), c * area, of_group * area, rng, dtype, "Conv2D")
        self.params = {"weight": weight}
        if as_flag(bias, "Conv2D: bias"):
            self.params["bias"] = np.zeros(f, weight.dtype)

    def _describe(self) -> dict[str, Any]:
        f, c, *kernel = self.params["weight"].shape
        return {"in_channels": c * self.groups, "out_channels": f, "kernel_size": tuple(kernel)} | super()._describe()

    @property
    def bias(self) -> FloatArray:
        """The bias, zeros if there is none."""
        weight = self.params["weight"]
        return self.params["bias"] if "bias" in self.params else np.zeros(len(weight), weight.dtype)

    @property
    def windows(self) -> Windows:
        """Stride, padding, dilation and groups."""
        # Checked again: the attributes may have been set since.
        return Windows.of(self.stride, self.padding, self.dilation, self.groups)

    def hyperparameters(self) -> dict[str, Any]:
        options: dict[str, Any] = {"stride": self.stride, "padding": self.padding}
        if self.dilation != (1, 1):
            options["dilation"] = self.dilation
        if self.groups != 1:
            options["groups"] = self.groups
        return options if "bias" in self.params else options | {"bias": False}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.ArrayLike], *, bias: bool = True, **options: Any) -> Self:
        layer = cls.__new__(cls)
        expected = {"weight": 4, "bias": 1} if as_flag(bias, "Conv2D: bias") else {"weight": 4}
        layer.params, layer.state = cls._copy_params(params, expected), {}
        layer.stride, layer.padding, layer.dilation, layer.groups = Windows.of(**options)
        if layer.bias.shape != layer.params["weight"].shape[:1]:
            raise ValueError(
                f"Conv2D: expected a bias for each filter of weight {layer.params['weight'].shape}, "
                f"got shape {layer.bias.shape}"
            )
        return layer

    def output_shape(self, input_shape: Shape) -> Shape:
        return conv_output_shape(input_shape, self.params["weight"].shape, *self.windows)

    def multiply_adds(self, input_shape: Shape) -> int:
        _, oh, ow = self.output_shape(input_shape)
        return self.params["weight"].size * oh * ow

    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, npt.ArrayLike]:
        return conv2d_forward(x, self.params["weight"], self.bias, **self.windows._asdict()), x

    def backward(
        self, dy: npt.ArrayLike, cache: npt.ArrayLike, need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        dx, dweight, dbias = conv2d_backward(
            dy, cache, self.params["weight"], **self.windows._asdict(), need_dx=need_dx
        )
        return dx, {"weight": dweight, "bias": dbias} if "bias" in self.params else {"weight": dweight}

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        return ConvolutionStage((name,), self, input_shape, self.output_shape(input_shape), dtype, options)


def can_fuse(weight: npt.NDArray[Any]) -> bool:
    """Return whether a convolution with these filters can be computed in one pass with what follows.

    It can in float32, with any instruction set but ``none``.

    Parameters
    ----------
    weight : ndarray, shape (F, C, KH, KW)
    """
    weight = np.asarray(weight)
    return weight.ndim == 4 and has_instruction_set(weight.dtype)


def can_fuse_layer(layer: Conv2D, input_shape: Shape) -> bool:
    """Return whether a layer can be computed in one pass with what follows.

    It can if images have pixels, and windows are plain or filters see a channel of their own each.
    """
    if not can_fuse(layer.params["weight"]) or 0 in input_shape:
        return False
    if layer.groups == 1:
        return layer.windows.is_plain
    geometry = geometry_of(input_shape, layer.params["weight"], layer.windows, True)
    return geometry.algorithms()[0] == "depthwise"


def is_kept(what: str, sources: Sequence[FloatArray], copies: Sequence[npt.NDArray[np.uint8]], memory: Memory) -> bool:
    """Return whether the last call left in memory what it made of these arrays; if not, copy them.

    The caller makes it again then, and adds `what` to ``memory.kept`` at the end.
    """
    flat = [array.reshape(-1).view(np.uint8) for array in sources]
    if what in memory.kept and all(map(_kernels.are_equal, flat, copies)):
        return True
    memory.kept.discard(what)
    for array, copy in zip(flat, copies, strict=True):
        copy[...] = array
    return False


class ConvolutionStage(Stage):
    """A convolution, and what is computed in the same pass: its activation, and a pooling of 2x2 windows.

    Parameters
    ----------
    names, input_shape, output_shape, dtype
        As of `Stage`.
    layer : Conv2D
    options : Options
    slope : float
        Factor of what is not positive: 0 for ReLU, 1 for no activation.
    pool : None, "max" or "average"
    fused : tuple of str
        What follows, for people.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        layer: Conv2D,
        input_shape: Shape,
        output_shape: Shape,
        dtype: np.dtype,
        options: Options,
        slope: float = 1.0,
        pool: str | None = None,
        fused: tuple[str, ...] = (),
    ) -> None:
        super().__init__(names, input_shape, output_shape, dtype)
        self.weight, self.bias, self.has_bias = layer.params["weight"], layer.bias, "bias" in layer.params
        check_shape(self.bias.shape, (len(self.weight),), f"{names[0]}: bias")
        self.windows, self.winograd = layer.windows, options.winograd
        self.slope, self.pool, self.fused = slope, pool, (*["bias"] * self.has_bias, *fused)
        if can_fuse_layer(layer, input_shape):
            self.layouts = "any"
        self.set_layouts("NCHW", "NCHW")

    def set_layouts(self, input_layout: str, output_layout: str) -> None:
        super().set_layouts(input_layout, output_layout)
        fused: dict[str, Any] = {"slope": self.slope, "pool": self.pool}
        fused |= {"x_channels_last": input_layout == "NHWC", "y_channels_last": output_layout == "NHWC"}
        self.geometry = geometry_of(self.input_shape, self.weight, self.windows, self.winograd, **fused)
        self.algorithm = " / ".join(dict.fromkeys(self.geometry.algorithms()))

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        size = self.geometry.packed_size(n)
        is_packed = bool(not training and size and self.weight.size >= LEAST_PACKED)
        arrays: dict[str, ArraySpec] = {
            "y": (self.output_array(n), self.dtype),
            "forward scratch": ((self.geometry.forward_scratch(n, threads, is_packed),), np.uint8),
        }
        if is_packed:
            arrays |= {"packed": ((size,), np.uint8), "packed weight": ((self.weight.nbytes,), np.uint8)}
        if training:
            arrays |= {
                "dweight": (self.weight.shape, self.dtype),
                "dbias": (self.bias.shape, self.dtype),
                "backward scratch": ((self.geometry.backward_scratch(n, threads, self.need_dx),), np.uint8),
            }
            if self.pool is not None:
                filters, height, width = self.output_shape
                arrays["codes"] = (n, height, width, filters), np.uint8
            if self.need_dx:
                arrays["dx"] = self.input_array(n), self.dtype
        return arrays

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        return self.predict_with(self.weight, self.bias, x, memory)

    def predict_with(self, weight: FloatArray, bias: FloatArray, x: FloatArray, memory: Memory) -> FloatArray:
        """Return the output for x, as for prediction, with other parameters of the same shapes."""
        packed = memory.get("packed")
        if packed is not None:
            self._pack(weight, len(x), packed, memory)
        return self._compute(weight, bias, x, memory, packed)

    def forward(self, x: FloatArray, memory: Memory, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        return self._compute(self.weight, self.bias, x, memory, None), x

    def _pack(self, weight: FloatArray, n: int, packed: npt.NDArray[np.uint8], memory: Memory) -> None:
        """Pack the weight, unless it was packed by the last call and has not changed."""
        if n == 0 or is_kept("packed", [weight], [memory["packed weight"]], memory):
            return
        _kernels.conv2d_pack(self.geometry, n, weight, packed, memory["forward scratch"], memory.threads)
        memory.kept.add("packed")

    def _compute(
        self,
        weight: FloatArray,
        bias: FloatArray,
        x: FloatArray,
        memory: Memory,
        packed: npt.NDArray[np.uint8] | None,
    ) -> FloatArray:
        y, scratch, codes = memory["y"], memory["forward scratch"], memory.get("codes")
        _kernels.conv2d_forward(self.geometry, x, weight, bias, y, scratch, memory.threads, codes, packed)
        return y

    def backward(self, dy: FloatArray, cache: FloatArray, memory: Memory) -> tuple[FloatArray | None, Grads]:
        dx, dweight, dbias = memory.get("dx"), memory["dweight"], memory["dbias"]
        _kernels.conv2d_backward(
            self.geometry,
            dy,
            cache,
            self.weight,
            dweight,
            dbias,
            dx,
            memory["backward scratch"],
            memory.threads,
            memory["y"],
            memory.get("codes"),
        )
        name = self.names[0]
        return dx, {f"{name}.weight": dweight} | ({f"{name}.bias": dbias} if self.has_bias else {})
