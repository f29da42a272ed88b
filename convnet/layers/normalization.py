"""Batch normalization: the functions, the layer and its stage."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Mapping
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_count, as_number, as_real, check_shape, join_sizes
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.activations import slope_of
from convnet.layers.base import Layer
from convnet.layers.stage import LEAST_CHANNELS, Grads, Options, Shape, Stage, has_instruction_set

__all__ = ["BatchNorm2D", "BatchNormStage", "batch_norm2d_backward", "batch_norm2d_forward"]

# What is added to the variance, and how much of the running statistics a step keeps, unless a layer says otherwise.
EPSILON, DECAY = 1e-5, 0.9

# What the backward pass needs: x, its mean and its variance.
Cache = tuple[FloatArray, FloatArray, FloatArray]


def batch_norm2d_forward(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike,
    *,
    mean: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    epsilon: float = EPSILON,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Batch normalization of each channel: ``y = weight * (x - mean) / sqrt(variance + epsilon) + bias``.

    Mean and variance are those of a channel over all examples and pixels, unless they are given.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W) or (N, C)
        Images, or vectors of C features.
    weight, bias : array_like, shape (C,)
        Scale and shift of each channel.
    mean, variance : array_like, shape (C,), optional
        Statistics to normalise with, as for prediction. Both or neither.
    epsilon : float
        Added to the variance; above 0.

    Returns
    -------
    y : ndarray, of the shape of x
        In the dtype of `weight`.
    mean, variance : ndarray, shape (C,)
        The statistics used: the mean, and the mean squared deviation from it.

    Raises
    ------
    ValueError
        If shapes do not fit together, one of the statistics is missing, or `epsilon` is not above 0.
    TypeError
        If an array does not hold real numbers.

    Notes
    -----
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", 2015.
    """
    x, weight, bias = _arguments(x, weight, bias)
    epsilon = as_number(epsilon, "BatchNorm2D: epsilon", above=0)
    if (mean is None) != (variance is None):
        raise ValueError("BatchNorm2D: expected mean and variance, or neither, got one of them")
    planes, scratch = _planes(x), _scratch(x)
    if mean is None or variance is None:
        found = np.empty_like(weight), np.empty_like(weight)
        _kernels.batch_norm2d_moments(planes, *found, scratch)
    else:
        found = (
            _of_channels(mean, weight, "mean").astype(weight.dtype),
            _of_channels(variance, weight, "variance").astype(weight.dtype),
        )
    y = np.empty_like(x)
    _kernels.batch_norm2d_forward(planes, weight, bias, *found, epsilon, 1, _planes(y), scratch)
    return (y, *found)


def batch_norm2d_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    mean: npt.ArrayLike,
    variance: npt.ArrayLike,
    *,
    epsilon: float = EPSILON,
    need_dx: bool = True,
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """Gradients of `batch_norm2d_forward`, whose mean and variance are those of x and move with it.

    With ``z = (x - mean) / sqrt(variance + epsilon)`` and means over a channel: ``dbias = sum(dy)``,
    ``dweight = sum(dy * z)``, ``dx = weight / sqrt(variance + epsilon) * (dy - mean(dy) - z * mean(dy * z))``.

    Parameters
    ----------
    dy : array_like, of the shape of x
        Gradient of the loss with respect to the output.
    x : array_like, shape (N, C, H, W) or (N, C)
    weight : array_like, shape (C,)
    mean, variance : array_like, shape (C,)
        From the forward pass.
    epsilon : float
        As in the forward pass.
    need_dx : bool
        False leaves out the gradient with respect to x.

    Returns
    -------
    dx : ndarray, of the shape of x, or None without `need_dx`
    dweight, dbias : ndarray, shape (C,)

    Raises
    ------
    ValueError
        If shapes do not fit together, or `epsilon` is not above 0.
    TypeError
        If an array does not hold real numbers.
    """
    x, weight, bias = _arguments(x, weight, np.zeros(np.shape(weight)))
    epsilon = as_number(epsilon, "BatchNorm2D: epsilon", above=0)
    dy = as_real(dy, "BatchNorm2D: dy", weight.dtype)
    check_shape(dy.shape, x.shape, "BatchNorm2D: dy")
    mean, variance = _of_channels(mean, weight, "mean"), _of_channels(variance, weight, "variance")
    dweight, dbias = np.empty_like(weight), np.empty_like(weight)
    planes, planes_of_x, scratch = _planes(dy), _planes(x), _scratch(x)
    factors = weight, bias, mean, variance, epsilon, 1
    _kernels.batch_norm2d_sums(planes, planes_of_x, *factors, dweight, dbias, scratch)
    if not need_dx:
        return None, dweight, dbias
    dx, count = np.empty_like(x), x.size / max(1, len(weight))
    _kernels.batch_norm2d_dx(planes, planes_of_x, *factors, dweight, dbias, count, _planes(dx), scratch)
    return dx, dweight, dbias


def _arguments(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    weight = as_real(weight, "BatchNorm2D: weight")
    check_shape(weight.shape, ("C",), "BatchNorm2D: weight")
    x = as_real(x, "BatchNorm2D: x", weight.dtype)
    _check_example(x.shape[1:], len(weight))
    return x, weight, _of_channels(bias, weight, "bias")


def _check_example(shape: Shape, channels: int) -> None:
    """Raise unless an example is an image or a vector of so many channels."""
    if len(shape) not in (1, 3) or shape[0] != channels:
        raise ValueError(
            f"BatchNorm2D: expected images or vectors of {channels} channels, (N, {channels}, H, W) or "
            f"(N, {channels}), got examples of shape ({join_sizes(shape)})"
        )


def _of_channels(array: npt.ArrayLike, weight: FloatArray, what: str) -> FloatArray:
    array = as_real(array, f"BatchNorm2D: {what}", weight.dtype)
    check_shape(array.shape, weight.shape, f"BatchNorm2D: {what}")
    return array


# The kernels work on arrays (P, C, Q), of which a channel's elements are [:, c, :].


def _planes(array: FloatArray) -> FloatArray:
    return array.reshape(*array.shape[:2], prod(array.shape[2:]))


def _scratch(x: FloatArray) -> npt.NDArray[np.uint8]:
    return np.empty(_kernels.batch_norm2d_scratch(*_planes(x).shape), np.uint8)


class BatchNorm2D(Layer):
    """Batch normalization of images (N, C, H, W), or of vectors (N, C), as behind an Affine.

    Training normalises each channel with its mean and variance in the minibatch, and keeps running averages of both in
    `state`; prediction uses these. A plan computes it together with a ReLU or LeakyReLU behind it, and for prediction
    makes it a part of the convolution in front of it. A minibatch of a single vector teaches nothing: its deviation
    from the mean is 0. See `functional.batch_norm2d_forward`.

    Parameters
    ----------
    channels : int
        C.
    epsilon : float
        Added to the variance; above 0.
    decay : float
        Part of the running averages that a training step keeps, in [0, 1].
    dtype : float32 or float64
        Dtype of the parameters, and so of the computation.

    Attributes
    ----------
    params : dict
        ``weight`` (C,), at first 1, and ``bias`` (C,), at first 0. L2 and weight decay apply to neither.
    state : dict
        ``running_mean`` (C,), at first 0, and ``running_variance`` (C,), at first 1. A step's variance is counted with
        ``count - 1`` in the place of the count of elements, which makes its expectation right.

    Raises
    ------
    ValueError, TypeError
        If an argument is not a number of the right range.

    Notes
    -----
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", 2015.
    """

    kind = "norm"

    def __init__(
        self,
        channels: int,
        *,
        epsilon: float = EPSILON,
        decay: float = DECAY,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        size = as_count(channels, "BatchNorm2D: channels")
        self._set_up(np.ones(size, dtype), np.zeros(size, dtype), epsilon, decay)

    def _set_up(self, weight: FloatArray, bias: FloatArray, epsilon: float, decay: float) -> None:
        self.epsilon = as_number(epsilon, "BatchNorm2D: epsilon", above=0)
        self.decay = as_number(decay, "BatchNorm2D: decay", at_least=0, at_most=1)
        self.params = {"weight": weight, "bias": bias}
        self.state = {"running_mean": np.zeros_like(weight), "running_variance": np.ones_like(weight)}

    def _describe(self) -> dict[str, Any]:
        return {"channels": len(self.params["weight"])} | super()._describe()

    @property
    def regularised(self) -> frozenset[str]:
        return frozenset()

    def hyperparameters(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, "decay": self.decay}

    @classmethod
    def from_params(  # type: ignore[override]
        cls, params: Mapping[str, npt.ArrayLike], *, epsilon: float = EPSILON, decay: float = DECAY
    ) -> Self:
        own = cls._copy_params(params, {"weight": 1, "bias": 1})
        check_shape(own["bias"].shape, own["weight"].shape, "BatchNorm2D: bias")
        layer = cls.__new__(cls)
        layer._set_up(own["weight"], own["bias"], epsilon, decay)
        return layer

    def statistics(self) -> tuple[FloatArray, FloatArray]:
        """Return the running mean and variance, after checking what someone may have put there."""
        weight = self.params["weight"]
        mean, variance = self.state["running_mean"], self.state["running_variance"]
        return _of_channels(mean, weight, "running_mean"), _of_channels(variance, weight, "running_variance")

    def output_shape(self, input_shape: Shape) -> Shape:
        _check_example(input_shape, len(self.params["weight"]))
        return input_shape

    def __call__(self, x: npt.ArrayLike) -> FloatArray:
        mean, variance = self.statistics()
        return batch_norm2d_forward(x, **self.params, mean=mean, variance=variance, epsilon=self.epsilon)[0]

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, tuple[npt.ArrayLike, FloatArray, FloatArray]]:
        y, mean, variance = batch_norm2d_forward(x, **self.params, epsilon=self.epsilon)
        return y, (x, mean, variance)

    def backward(
        self, dy: npt.ArrayLike, cache: tuple[npt.ArrayLike, FloatArray, FloatArray], need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        dx, dweight, dbias = batch_norm2d_backward(
            dy, cache[0], self.params["weight"], *cache[1:], epsilon=self.epsilon, need_dx=need_dx
        )
        return dx, {"weight": dweight, "bias": dbias}

    def update_state(self, cache: tuple[npt.ArrayLike, FloatArray, FloatArray]) -> None:
        x, mean, variance = cache
        count = np.size(x) // len(mean)
        if count < 2:  # a variance cannot be estimated
            return
        for name, found in (("running_mean", mean), ("running_variance", variance * (count / (count - 1)))):
            running = self.state[name]
            running *= self.decay
            running += (1 - self.decay) * found

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        return BatchNormStage((name,), (self,), input_shape, dtype, options)


class BatchNormStage(Stage):
    """A batch normalization, and in the same pass a ReLU or LeakyReLU, if one follows."""

    def __init__(
        self,
        names: tuple[str, ...],
        layers: tuple[Layer, ...],
        input_shape: Shape,
        dtype: np.dtype,
        options: Options,
    ) -> None:
        super().__init__(names, input_shape, layers[0].output_shape(input_shape), dtype)
        norm, *rest = layers
        assert isinstance(norm, BatchNorm2D)
        self.layer, self.slope = norm, 1.0
        check_shape(norm.params["bias"].shape, norm.params["weight"].shape, f"{names[0]}: bias")
        for layer in rest:
            self.slope = slope_of(layer)
            self.fused = (type(layer).__name__,)
        self.layouts = "same" if input_shape[0] >= LEAST_CHANNELS else "NCHW"
        self.set_layouts("NCHW", "NCHW")

    def set_layouts(self, input_layout: str, output_layout: str) -> None:
        super().set_layouts(input_layout, output_layout)
        has_rows = input_layout == "NHWC" or len(self.input_shape) == 1
        self.algorithm = "vectors" if has_rows and has_instruction_set(self.dtype) else "loops"

    @staticmethod
    def fits(layers: tuple[Any, ...], input_shape: Shape) -> bool:
        """Return whether such layers can be computed in one pass: all can."""
        return True

    def _planes(self, array: FloatArray) -> FloatArray:
        """Return an array in the stage's layout as (P, C, Q)."""
        channels = self.input_shape[0]
        if self.input_layout == "NHWC":
            return array.reshape(array.size // channels, channels, 1)
        return array.reshape(len(array), channels, prod(self.input_shape[1:]))

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        channels, pixels = self.input_shape[0], prod(self.input_shape[1:])
        sizes = (n * pixels, channels, 1) if self.input_layout == "NHWC" else (n, channels, pixels)
        arrays: dict[str, ArraySpec] = {
            "y": (self.output_array(n), self.dtype),
            "scratch": ((_kernels.batch_norm2d_scratch(*sizes),), np.uint8),
        }
        if training:
            arrays |= dict.fromkeys(("mean", "variance", "dweight", "dbias"), ((channels,), self.dtype))
            if self.need_dx:
                arrays["dx"] = self.input_array(n), self.dtype
        return arrays

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        return self.normalise(x, self.layer.statistics(), memory)

    def forward(self, x: FloatArray, memory: Memory, rng: np.random.Generator) -> tuple[FloatArray, Cache]:
        moments = self.moments(x, memory)
        return self.normalise(x, moments, memory), (x, *moments)

    def backward(self, dy: FloatArray, cache: Cache, memory: Memory) -> tuple[FloatArray | None, Grads]:
        sums = self.sums(dy, cache, memory)
        return self.input_gradient(dy, cache, sums, dy.size / self.input_shape[0], memory), self.grads(sums)

    # The parts of these, for whoever normalises several minibatches together.

    def moments(self, x: FloatArray, memory: Memory) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance of each channel of x."""
        _kernels.batch_norm2d_moments(self._planes(x), memory["mean"], memory["variance"], memory["scratch"])
        return memory["mean"], memory["variance"]

    def normalise(self, x: FloatArray, moments: tuple[FloatArray, FloatArray], memory: Memory) -> FloatArray:
        """Return x normalised by mean and variance, behind the activation."""
        _kernels.batch_norm2d_forward(
            self._planes(x), *self._factors(*moments), self._planes(memory["y"]), memory["scratch"]
        )
        return memory["y"]

    def sums(self, dy: FloatArray, cache: Cache, memory: Memory) -> tuple[FloatArray, FloatArray]:
        """Return the gradients with respect to weight and bias."""
        x, *moments = cache
        sums = memory["dweight"], memory["dbias"]
        _kernels.batch_norm2d_sums(
            self._planes(dy), self._planes(x), *self._factors(*moments), *sums, memory["scratch"]
        )
        return sums

    def input_gradient(
        self, dy: FloatArray, cache: Cache, sums: tuple[FloatArray, FloatArray], count: float, memory: Memory
    ) -> FloatArray | None:
        """Return the gradient with respect to x, if it is needed, given `sums` over all elements of a channel."""
        if not self.need_dx:
            return None
        x, *moments = cache
        _kernels.batch_norm2d_dx(
            self._planes(dy),
            self._planes(x),
            *self._factors(*moments),
            *sums,
            max(1, count),
            self._planes(memory["dx"]),
            memory["scratch"],
        )
        return memory["dx"]

    def grads(self, sums: tuple[FloatArray, FloatArray]) -> Grads:
        """Return `sums` by the names of the parameters."""
        return dict(zip((f"{self.names[0]}.weight", f"{self.names[0]}.bias"), sums, strict=True))

    def _factors(
        self, mean: FloatArray, variance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, float, float]:
        """Return what all kernels need of the layer."""
        weight, bias = self.layer.params["weight"], self.layer.params["bias"]
        return weight, bias, mean, variance, self.layer.epsilon, self.slope

    def update_state(self, cache: Cache) -> None:
        self.layer.update_state(cache)
