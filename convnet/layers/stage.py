"""Stage: a step of a plan, and LayerStage, which calls a layer's own methods.

A plan (`convnet.models.plan`) is a list of stages. A stage computes one layer, or several in a row in one pass. It is
made once, for one shape of the examples and one dtype: what it checks then, no step has to check again. It says which
arrays it needs for a number of examples, and gets them as a `Memory` with every call.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_real
from convnet.core.workspace import ArraySpec, Memory

__all__ = [
    "LEAST_CHANNELS",
    "Grads",
    "LayerStage",
    "Options",
    "ParameterlessStage",
    "Shape",
    "Stage",
    "Update",
    "has_instruction_set",
]

Shape = tuple[int, ...]
# Channels with which poolings and normalizations are faster channels last: fewer leave vectors empty.
LEAST_CHANNELS = 8
# Gradients by the full names of the parameters, such as "conv1.weight".
Grads = dict[str, FloatArray]


def has_instruction_set(dtype: npt.DTypeLike) -> bool:
    """Return whether an instruction set computes in this dtype: in float32, unless it is ``none``."""
    return bool(np.dtype(dtype) == np.float32 and _kernels.instruction_set() != "none")


class Options(NamedTuple):
    """What a model lets its stages do.

    Attributes
    ----------
    winograd : bool
        Whether convolutions may be computed by Winograd's algorithm; see `functional.conv2d_forward`.
    """

    winograd: bool = True


class Update(NamedTuple):
    """How a weight is updated while its gradient is computed.

    Attributes
    ----------
    rate, l2 : float
        Learning rate, and strength of the L2 regularisation.
    rule : _kernels.Rule, optional
        The optimizer's rule; without it, vanilla SGD.
    arrays : tuple of ndarray
        The optimizer's arrays for the weight, flat, which the rule updates.
    """

    rate: float
    l2: float
    rule: _kernels.Rule | None = None
    arrays: tuple[FloatArray, ...] = ()


class Computed(Protocol):
    """What a stage needs of a layer."""

    params: dict[str, FloatArray]
    state: dict[str, npt.NDArray[Any]]

    def __call__(self, x: npt.ArrayLike) -> FloatArray: ...
    def output_shape(self, input_shape: Shape) -> Shape: ...
    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, Any]: ...
    def backward(self, dy: npt.ArrayLike, cache: Any, need_dx: bool = True) -> tuple[FloatArray | None, Grads]: ...
    def update_state(self, cache: Any) -> None: ...


class Stage:
    """A step of a plan.

    Parameters
    ----------
    names : sequence of str
        Full names of the layers that it computes, in order.
    input_shape, output_shape : tuple of ints
        Shapes of one example.
    dtype : float32 or float64

    Attributes
    ----------
    algorithm : str
        What computes it, such as ``direct`` or ``im2col``; see docs/architecture.md.
    layouts : str
        The layouts of images, the order of their axes, that it takes and gives. ``NCHW``: that alone. ``same``: takes
        either, and gives that of its input. ``any input``: takes either; of images channels last it gives either, of
        others NCHW. ``any``: takes either and gives either; so do stages that make vectors of images. A layout has
        nothing to do with `convnet.core.workspace.Layout`, which are offsets in a block of memory.
    input_layout, output_layout : str
        ``NCHW``, or ``NHWC``, channels last. The plan says so, by `set_layouts`.
    fused : tuple of str
        What is computed in the same pass.
    updated : str or None
        Full name of the weight that `update` can update while it computes the gradient, if there is one.
    need_dx : bool
        Whether the gradient with respect to the input is needed; the plan says so, before it asks for `arrays`.
    """

    algorithm: str = ""
    layouts: str = "NCHW"
    input_layout: str = "NCHW"
    output_layout: str = "NCHW"
    fused: tuple[str, ...] = ()
    need_dx: bool = True

    def __init__(self, names: tuple[str, ...], input_shape: Shape, output_shape: Shape, dtype: np.dtype) -> None:
        self.names, self.input_shape, self.output_shape, self.dtype = names, input_shape, output_shape, dtype

    def set_layouts(self, input_layout: str, output_layout: str) -> None:
        """Set the layouts of what it reads and writes; `layouts` says which are possible."""
        self.input_layout, self.output_layout = input_layout, output_layout

    def input_array(self, n: int) -> Shape:
        """Return the shape of an array of n inputs in their layout."""
        return (n, *_laid_out(self.input_shape, self.input_layout))

    def output_array(self, n: int) -> Shape:
        """Return the shape of an array of n outputs in their layout."""
        return (n, *_laid_out(self.output_shape, self.output_layout))

    @property
    def updated(self) -> str | None:
        """Name of the weight that `update` updates."""
        return None

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        """Return shape and dtype of the arrays that the methods below take from their `memory`, by name.

        Parameters
        ----------
        n : int
            Examples.
        threads : int
            Number of threads that the scratch memory is for.
        training : bool
            If True, the arrays are for `forward` and `backward`. If False, for `predict`.
        """
        raise NotImplementedError

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        """Return the output for x (n, *input_shape), as for prediction."""
        raise NotImplementedError

    def forward(self, x: FloatArray, memory: Memory, rng: np.random.Generator) -> tuple[FloatArray, Any]:
        """Return the output for x (n, *input_shape), as for training, and a cache for the methods below.

        By default the output is that of `predict`, and the cache is x.
        """
        return self.predict(x, memory), x

    def backward(self, dy: FloatArray, cache: Any, memory: Memory) -> tuple[FloatArray | None, Grads]:
        """Return the gradients with respect to the input, None unless it is needed, and to the parameters."""
        raise NotImplementedError

    def update(
        self, dy: FloatArray, cache: Any, memory: Memory, update: Update
    ) -> tuple[FloatArray | None, Grads, float]:
        """Do what `backward` does, and update the weight instead of returning its gradient.

        Returns
        -------
        dx, grads
            As of `backward`, without the weight's gradient.
        penalty : float
            ``0.5 * l2 * sum(weight ** 2)``, before the update.
        """
        raise NotImplementedError

    def update_state(self, cache: Any) -> None:
        """Update the layers' state after the forward pass of a training step."""

    # A plan keeps a list of values. A stage takes the last and puts its result there; one at which branches of a
    # network part or meet does more.

    def predict_last(self, values: list[FloatArray], memory: Memory) -> None:
        """Put the output in the place of the last value, as for prediction."""
        values[-1] = self.predict(values[-1], memory)

    def forward_last(self, values: list[FloatArray], memory: Memory, rng: np.random.Generator) -> Any:
        """Put the output in the place of the last value, as for training, and return the cache."""
        values[-1], cache = self.forward(values[-1], memory, rng)
        return cache

    def backward_last(self, values: list[Any], cache: Any, memory: Memory) -> Grads:
        """Put the input's gradient in the place of the last value, the output's, and return the parameters'."""
        values[-1], grads = self.backward(values[-1], cache, memory)
        return grads

    @property
    def label(self) -> str:
        """What tables call the stage."""
        return " + ".join(self.names)


def _laid_out(shape: Shape, layout: str) -> Shape:
    """Return the shape of one example, given as (C, H, W) if it is an image, in a layout."""
    return (*shape[1:], shape[0]) if layout == "NHWC" else shape


class ParameterlessStage(Stage):
    """A stage of a layer without parameters: its arrays are ``y`` and, if it is needed, ``dx``."""

    algorithm = "loops"

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        arrays: dict[str, ArraySpec] = {"y": (self.output_array(n), self.dtype)}
        if training and self.need_dx:
            arrays["dx"] = self.input_array(n), self.dtype
        return arrays

    def write_dx(self, dy: FloatArray, cache: Any, memory: Memory) -> None:
        """Write the gradient with respect to the input to ``memory["dx"]``."""
        raise NotImplementedError

    def backward(self, dy: FloatArray, cache: Any, memory: Memory) -> tuple[FloatArray | None, Grads]:
        if self.need_dx:
            self.write_dx(dy, cache, memory)
        return memory.get("dx"), {}


class LayerStage(Stage):
    """A stage that calls a layer's own `forward` and `backward`, and checks what they return.

    A user's layers run so. A plan of such stages alone is the reference that every other plan is tested against.
    """

    algorithm = "layer"

    def __init__(self, name: str, layer: Computed, input_shape: Shape, dtype: np.dtype) -> None:
        super().__init__((name,), input_shape, layer.output_shape(input_shape), dtype)
        self.layer = layer

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        # Gradients are copied: the plan adds to them, and the layer may keep those that it returns.
        return {key: (param.shape, param.dtype) for key, param in self.layer.params.items()} if training else {}

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        return self._checked(self.layer(x), (len(x), *self.output_shape), "its output")

    def forward(self, x: FloatArray, memory: Memory, rng: np.random.Generator) -> tuple[FloatArray, Any]:
        y, cache = self._pair(self.layer.forward(x, rng), "forward", "(y, cache)")
        return self._checked(y, (len(x), *self.output_shape), "its output"), cache

    def backward(self, dy: FloatArray, cache: Any, memory: Memory) -> tuple[FloatArray | None, Grads]:
        dx, grads = self._pair(self.layer.backward(dy, cache, need_dx=self.need_dx), "backward", "(dx, grads)")
        (name,) = self.names
        if self.layer.params and not isinstance(grads, Mapping):
            raise TypeError(
                f"{name}: expected backward to return grads as a dictionary with {', '.join(self.layer.params)}, "
                f"got {type(grads).__name__}"
            )
        own = {f"{name}.{key}": self._copied(grads, key, param, memory) for key, param in self.layer.params.items()}
        if not self.need_dx:
            return None, own
        if dx is None:
            raise ValueError(f"{name}: expected backward to return dx, got None")
        return self._checked(dx, (len(dy), *self.input_shape), "dx"), own

    def update_state(self, cache: Any) -> None:
        self.layer.update_state(cache)

    def _pair(self, result: Any, method: str, expected: str) -> tuple[Any, Any]:
        """Return what a method returned, after checking that it is a pair: an array would be unpacked as one."""
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{self.names[0]}: expected {method} to return {expected}, got {type(result).__name__}")
        return result

    def _checked(self, array: npt.ArrayLike, shape: Shape, what: str) -> FloatArray:
        """Return an array of a user's layer as the next stage reads it."""
        plain = as_real(array, f"{self.names[0]}: {what}", self.dtype)
        if plain.shape != shape:
            raise ValueError(f"{self.names[0]}: expected {what} to be of shape {shape}, got {plain.shape}")
        return plain

    def _copied(self, grads: Mapping[str, npt.ArrayLike], key: str, param: FloatArray, memory: Memory) -> FloatArray:
        """Return a copy of a parameter's gradient, of the parameter's shape and dtype."""
        gradient, name = grads.get(key), f"{self.names[0]}.{key}"
        if gradient is None or np.shape(gradient) != param.shape:
            came = "none" if gradient is None else f"shape {np.shape(gradient)}"
            raise ValueError(f"{name}: expected a gradient of the parameter's shape {param.shape}, got {came}")
        own = memory[key]
        own[...] = as_real(gradient, name, param.dtype)
        return own
