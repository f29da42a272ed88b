"""Affine: the functions, the layer and its stage."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import functools
from collections.abc import Mapping
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import NATIVE, FloatArray, as_count, as_number, as_real, check_shape
from convnet.core.threads import elementwise
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.activations import ReLU
from convnet.layers.base import Layer
from convnet.layers.initializers import Initializer, he_normal, initial_weight
from convnet.layers.stage import Grads, Options, Shape, Stage, Update, has_instruction_set

__all__ = ["Affine", "affine_backward", "affine_forward", "affine_update", "can_update"]


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


def affine_forward(x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike) -> FloatArray:
    """Affine map of each example: ``y = x @ weight + bias``, all axes of x after the first flattened.

    The kernel may skip elements of x that are 0, as many are after ReLU. Then 0 * NaN and 0 * infinity count as 0.

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
    y = np.empty((len(x), len(bias)), weight.dtype)
    scratch = np.empty(_kernels.affine_forward_scratch(len(x), *weight.shape), np.uint8)
    _kernels.affine_forward(x, weight, bias, y, False, scratch)
    return y


def affine_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    need_dx: bool = True,
) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """Gradients of `affine_forward`: ``dx = dy @ weight.T``, ``dweight = x.T @ dy``, ``dbias = sum over n of dy[n]``.

    If many elements of dy are 0, as after ReLU, the kernel may skip them. Then 0 * NaN and 0 * infinity count as 0.

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
    dweight = np.empty_like(weight)
    dx, dbias, _ = _affine_backward(dy, x, weight, dweight, 0, -1, need_dx)
    return dx, dweight, dbias


def _affine_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    out: FloatArray,
    decay: float,
    rate: float,
    need_dx: bool,
) -> tuple[FloatArray | None, FloatArray, float]:
    """Set out = decay * out - rate * x.T @ dy; return dx, dbias, and the sum of weight ** 2 from before that."""
    x, weight, shape = _affine_arguments(x, weight)
    dy = as_real(dy, "Affine: dy", weight.dtype)
    check_shape(dy.shape, (len(x), weight.shape[1]), "Affine: dy")
    dx, dbias = np.empty_like(x) if need_dx else None, np.empty(weight.shape[1], weight.dtype)
    scratch = np.empty(_kernels.affine_backward_scratch(len(x), *weight.shape), np.uint8)
    squares = _kernels.affine_backward(dy, x, weight, dx, out, dbias, decay, rate, scratch)
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
        A weight that `can_update` accepts; it is changed.
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
        If shapes do not fit together, a number is not finite, `can_update` does not accept the weight, or the weight
        shares memory with x or dy.
    TypeError
        If an array does not hold real numbers, or `rate` or `l2` is not a number.
    """
    if not can_update(weight):
        raise ValueError("Affine: expected a weight that can_update accepts: float32 or float64, in C order, writeable")
    x, dy = as_real(x, "Affine: x", weight.dtype), as_real(dy, "Affine: dy", weight.dtype)
    if np.may_share_memory(weight, x) or np.may_share_memory(weight, dy):
        raise ValueError("Affine: expected a weight that shares no memory with x and dy, because it is changed")
    rate, l2 = as_number(rate, "Affine: rate"), as_number(l2, "Affine: l2")
    dx, dbias, squares = _affine_backward(dy, x, weight, weight, 1 - rate * l2, rate, need_dx)
    return dx, dbias, 0.5 * l2 * squares


class Affine(Layer):
    """Affine map ``y = x @ weight + bias`` of examples (N, ...), flattened; see `functional.affine_forward`.

    Parameters
    ----------
    in_features, out_features : int
        Number of elements of one example: D in the input, M in the output.
    rng : numpy.random.Generator
        Draws the initial weights. Biases start at 0.
    dtype : float32 or float64
        Dtype of the parameters, and so of the computation.
    initializer : callable
        `he_normal`, `he_uniform`, `glorot_normal`, `glorot_uniform`, or a function of your own: the initial weights are
        ``initializer(shape, fan_in, rng, dtype, fan_out=fan_out)`` with ``fan_in = D`` and ``fan_out = M``.

    Attributes
    ----------
    params : dict
        ``weight`` (D, M) and ``bias`` (M,).

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of at least 1, or `initializer` is not a function that returns real numbers of the
        weight's shape.
    """

    kind = "affine"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
        initializer: Initializer = he_normal,
    ) -> None:
        super().__init__()
        d, m = as_count(in_features, "Affine: in_features"), as_count(out_features, "Affine: out_features")
        weight = initial_weight(initializer, (d, m), d, m, rng, dtype, "Affine")
        self.params = {"weight": weight, "bias": np.zeros(m, weight.dtype)}

    def _describe(self) -> dict[str, Any]:
        d, m = self.params["weight"].shape
        return {"in_features": d, "out_features": m}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.ArrayLike]) -> Self:  # type: ignore[override]
        layer = cls.__new__(cls)
        layer.params, layer.state = cls._copy_params(params, {"weight": 2, "bias": 1}), {}
        if layer.params["bias"].shape != layer.params["weight"].shape[1:]:
            raise ValueError(
                f"Affine: expected a bias for each column of weight {layer.params['weight'].shape}, "
                f"got shape {layer.params['bias'].shape}"
            )
        return layer

    def output_shape(self, input_shape: Shape) -> Shape:
        check_shape(self.params["weight"].shape, ("D", "M"), "Affine: weight")
        d, m = self.params["weight"].shape
        features = prod(input_shape)
        if features != d:
            sizes = " * ".join(str(size) for size in input_shape)
            raise ValueError(f"Affine: weight expects {d} input features, got {sizes} = {features}")
        return (m,)

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.params["weight"].size

    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, npt.ArrayLike]:
        return affine_forward(x, **self.params), x

    def backward(
        self, dy: npt.ArrayLike, cache: npt.ArrayLike, need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        dx, dweight, dbias = affine_backward(dy, cache, self.params["weight"], need_dx=need_dx)
        return dx, {"weight": dweight, "bias": dbias}

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        return AffineStage((name,), (self,), input_shape, dtype, options)


class AffineStage(Stage):
    """An Affine layer, and a ReLU behind it if there is one."""

    algorithm = "GEMM"

    def __init__(
        self,
        names: tuple[str, ...],
        layers: tuple[Affine] | tuple[Affine, ReLU],
        input_shape: Shape,
        dtype: np.dtype,
        options: Options,
    ) -> None:
        affine = layers[0]
        super().__init__(names, input_shape, affine.output_shape(input_shape), dtype)
        self.weight, self.bias = affine.params["weight"], affine.params["bias"]
        check_shape(self.bias.shape, self.output_shape, f"{names[0]}: bias")
        self.relu = layers[1] if len(layers) > 1 else None
        self.fused = ("bias",) if self.relu is None else ("bias", "ReLU")

    @staticmethod
    def fits(layers: tuple[Affine, ReLU], input_shape: Shape) -> bool:
        """Return whether two such layers can be computed together: always."""
        return True

    @property
    def updated(self) -> str | None:
        return f"{self.names[0]}.weight" if can_update(self.weight) else None

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        d, m = self.weight.shape
        arrays: dict[str, ArraySpec] = {
            "y": ((n, m), self.dtype),
            "forward scratch": ((_kernels.affine_forward_scratch(n, d, m),), np.uint8),
        }
        if training:
            arrays |= {
                "dweight": ((d, m), self.dtype),
                "dbias": ((m,), self.dtype),
                "backward scratch": ((_kernels.affine_backward_scratch(n, d, m),), np.uint8),
            }
            if self.relu is not None:
                arrays["drelu"] = (n, m), self.dtype
            if self.need_dx:
                arrays["dx"] = (n, d), self.dtype
        return arrays

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        y, rows = memory["y"], x.reshape(len(x), len(self.weight))
        _kernels.affine_forward(rows, self.weight, self.bias, y, self.relu is not None, memory["forward scratch"])
        return y

    def backward(self, dy: FloatArray, cache: FloatArray, memory: Memory) -> tuple[FloatArray | None, Grads]:
        dweight = memory["dweight"]
        dx, dbias, _ = self._gradients(dy, cache, memory, dweight, 0, -1)
        return dx, {f"{self.names[0]}.weight": dweight, f"{self.names[0]}.bias": dbias}

    def update(
        self, dy: FloatArray, cache: FloatArray, memory: Memory, update: Update
    ) -> tuple[FloatArray | None, Grads, float]:
        if update.rule is None:
            decay = 1 - update.rate * update.l2
            dx, dbias, squares = self._gradients(dy, cache, memory, self.weight, decay, update.rate)
        elif has_instruction_set(self.dtype) and len(cache):
            dx, dbias, squares = self._update(update.rule, update.arrays, dy, cache, memory)
        else:
            dweight = memory["dweight"]
            dx, dbias, squares = self._gradients(dy, cache, memory, dweight, 0, -1)
            elementwise(functools.partial(_kernels.update, update.rule), dweight, self.weight, *update.arrays)
        return dx, {f"{self.names[0]}.bias": dbias}, 0.5 * update.l2 * squares

    def _before_relu(self, dy: FloatArray, memory: Memory) -> FloatArray:
        """Return the gradient with respect to what comes before the ReLU, if there is one."""
        if self.relu is None:
            return dy
        self.relu.apply_gradient(dy, memory["y"], memory["drelu"])
        return memory["drelu"]

    def _gradients(
        self, dy: FloatArray, x: FloatArray, memory: Memory, out: FloatArray, decay: float, rate: float
    ) -> tuple[FloatArray | None, FloatArray, float]:
        """Set out = decay * out - rate * x.T @ dy; return dx, dbias, and the sum of weight ** 2 from before that."""
        dy, rows = self._before_relu(dy, memory), x.reshape(len(x), len(self.weight))
        dx, dbias, scratch = memory.get("dx"), memory["dbias"], memory["backward scratch"]
        squares = _kernels.affine_backward(dy, rows, self.weight, dx, out, dbias, decay, rate, scratch)
        return None if dx is None else dx.reshape(x.shape), dbias, squares

    def _update(
        self, rule: _kernels.Rule, arrays: tuple[FloatArray, ...], dy: FloatArray, x: FloatArray, memory: Memory
    ) -> tuple[FloatArray | None, FloatArray, float]:
        """Update the weight by a rule; return what `_gradients` does."""
        dy, rows = self._before_relu(dy, memory), x.reshape(len(x), len(self.weight))
        first, second = (*arrays, None, None)[:2]
        dx, dweight, dbias = memory.get("dx"), memory["dweight"], memory["dbias"]
        scratch = memory["backward scratch"]
        squares = _kernels.affine_update(rule, dy, rows, self.weight, dx, dweight, dbias, first, second, scratch)
        return None if dx is None else dx.reshape(x.shape), dbias, squares
