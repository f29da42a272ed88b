"""Residual connections: the layer, and the stages at which its two branches part and meet."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_real
from convnet.core.threads import elementwise, in_parts
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.activations import slope_of
from convnet.layers.base import Layer
from convnet.layers.stack import chain_shapes, name_layers
from convnet.layers.stage import Grads, Shape, Stage

__all__ = ["ForkStage", "Residual", "SumStage", "SwapStage"]


class Residual(Layer):
    """Add to the output of layers in a row what came in: ``y = layers(x) + x``, or ``y = layers(x) + shortcut(x)``.

    In the original network a ReLU follows; put it behind this layer. A plan computes such a ReLU or LeakyReLU in the
    same pass as the sum.

    Parameters
    ----------
    layers : sequence of Layer
        Applied first to last.
    shortcut : Layer or sequence of Layer, optional
        Applied to x before it is added, where sizes differ: a 1x1 convolution, and perhaps a normalization. By default
        x is added as it is.

    Attributes
    ----------
    branches : mapping
        ``layers`` and, if there is one, ``shortcut``: the layers by kind and running number.
    params, state : mapping of str to ndarray
        Those of all layers: ``layers.conv1.weight``, ``shortcut.conv1.weight``. Read-only; the arrays are the layers'
        own.

    Raises
    ------
    ValueError
        If there are no layers, or one occurs twice.
    TypeError
        If one is not a `Layer`.

    Notes
    -----
    K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", 2015, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from convnet import BatchNorm2D, Conv2D, ReLU, Residual
    >>> rng = np.random.default_rng(0)
    >>> def convolution(channels):
    ...     return Conv2D(channels, channels, 3, padding=1, bias=False, rng=rng)
    >>> block = Residual([convolution(8), BatchNorm2D(8), ReLU(), convolution(8), BatchNorm2D(8)])
    >>> block.output_shape((8, 16, 16))
    (8, 16, 16)
    """

    kind: ClassVar[str] = "residual"

    def __init__(self, layers: Sequence[Layer], shortcut: Layer | Sequence[Layer] | None = None) -> None:
        rows = {"layers": layers}
        if shortcut is not None:
            rows["shortcut"] = [shortcut] if isinstance(shortcut, Layer) else shortcut
        named = {branch: MappingProxyType(name_layers(row, f"Residual: {branch}")) for branch, row in rows.items()}
        everything = [layer for row in named.values() for layer in row.values()]
        name_layers(everything, "Residual")  # none occurs in both
        self.branches = MappingProxyType(named)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"branches": {branch: dict(row) for branch, row in self.branches.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rows = {branch: MappingProxyType(row) for branch, row in state["branches"].items()}
        self.__dict__.update(state, branches=MappingProxyType(rows))

    def __repr__(self) -> str:
        rows = [f"{branch}={list(row.values())!r}" for branch, row in self.branches.items()]
        return f"{type(self).__name__}({', '.join(rows)})"

    @property
    def params(self) -> Mapping[str, FloatArray]:  # type: ignore[override]
        """Parameters of all layers by name, in order."""
        return MappingProxyType(self._arrays("params"))

    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]:  # type: ignore[override]
        """State of all layers by name, in order."""
        return MappingProxyType(self._arrays("state"))

    def _arrays(self, kind: str) -> dict[str, npt.NDArray[Any]]:
        return {
            f"{branch}.{name}.{key}": array
            for branch, row in self.branches.items()
            for name, layer in row.items()
            for key, array in getattr(layer, kind).items()
        }

    @property
    def regularised(self) -> frozenset[str]:
        return frozenset(
            f"{branch}.{name}.{key}"
            for branch, row in self.branches.items()
            for name, layer in row.items()
            for key in layer.regularised
        )

    @classmethod
    def from_params(  # type: ignore[override]
        cls,
        params: Mapping[str, npt.ArrayLike],
        *,
        layers: Sequence[Layer],
        shortcut: Layer | Sequence[Layer] | None = None,
    ) -> Self:
        """Return a layer that holds the given ones, which have their parameters already; it has none of its own."""
        cls._copy_params(params, {})
        return cls(layers, shortcut)

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = {
            branch: [input_shape, *chain_shapes(row, input_shape).values()][-1] for branch, row in self.branches.items()
        }
        added = shapes.get("shortcut", input_shape)
        if shapes["layers"] != added:
            remedy = "" if "shortcut" in shapes else "; give a shortcut, such as a 1x1 convolution of the same stride"
            raise ValueError(
                f"Residual: expected the layers' output to be of the shape that it is added to, {added}, "
                f"got {shapes['layers']}{remedy}"
            )
        return added

    def multiply_adds(self, input_shape: Shape) -> int:
        total = 0
        for row in self.branches.values():
            shape = input_shape
            for layer in row.values():
                total += layer.multiply_adds(shape)
                shape = layer.output_shape(shape)
        return total

    def __call__(self, x: npt.ArrayLike) -> FloatArray:
        outputs = []
        for row in self.branches.values():
            y: npt.ArrayLike = x
            for layer in row.values():
                y = layer(y)
            outputs.append(y)
        return self._sum(x, outputs)

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, dict[str, list[Any]]]:
        outputs, caches = [], {}
        for branch, row in self.branches.items():
            y, kept = x, list[Any]()
            for layer in row.values():
                y, cache = layer.forward(y, rng)
                kept.append(cache)
            outputs.append(y)
            caches[branch] = kept
        return self._sum(x, outputs), caches

    def _sum(self, x: npt.ArrayLike, outputs: list[npt.ArrayLike]) -> FloatArray:
        first = as_real(outputs[0], "Residual: layers")
        second = as_real(outputs[1] if len(outputs) > 1 else x, "Residual: x", first.dtype)
        if first.shape != second.shape:
            self.output_shape(np.shape(x)[1:])  # says what is wrong
            raise ValueError(f"Residual: expected to add arrays of one shape, got {first.shape} and {second.shape}")
        y = np.empty_like(first)
        _write_sum(first, second, 1.0, y)
        return y

    def backward(
        self, dy: npt.ArrayLike, cache: dict[str, list[Any]], need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        gradients: list[Any] = []
        grads: dict[str, FloatArray] = {}
        for branch, row in self.branches.items():
            dx: Any = dy
            for position in reversed(range(len(row))):
                name, layer = list(row.items())[position]
                dx, own = layer.backward(dx, cache[branch][position], need_dx=need_dx or position > 0)
                grads |= {f"{branch}.{name}.{key}": grad for key, grad in own.items()}
            gradients.append(dx)
        in_order = {name: grads[name] for name in self.params}
        if not need_dx:
            return None, in_order
        return self._sum(dy, gradients), in_order

    def update_state(self, cache: dict[str, list[Any]]) -> None:
        for branch, row in self.branches.items():
            for layer, kept in zip(row.values(), cache[branch], strict=True):
                layer.update_state(kept)


def _write_sum(first: FloatArray, second: FloatArray, slope: float, y: FloatArray) -> None:
    """Write the sum of two arrays, its elements that are not positive times a slope."""
    elementwise(lambda a, b, out: _kernels.sum_forward(a, b, slope, out), first, second, y)


# ------------------------------------------------------------------------------------------------- stages
#
# A plan runs its stages on a list of values, of which each stage takes the last and puts its output there. At a fork
# the value is put there twice. The layers work on the second copy, and the sum takes both. If there is a shortcut, the
# two change places in between, and the shortcut's layers work on the other copy. The backward pass is the mirror image.


class BranchStage(Stage):
    """A stage at which the two branches of a `Residual` part, change places, or meet.

    Parameters
    ----------
    of : str
        Name of the `Residual`.
    input_shape, output_shape, dtype
        As of `Stage`.
    """

    def __init__(self, of: str, input_shape: Shape, output_shape: Shape, dtype: np.dtype) -> None:
        super().__init__((), input_shape, output_shape, dtype)
        self.of = of

    @property
    def label(self) -> str:
        return " + ".join((f"{self.of} {self.algorithm}", *self.names))

    def _copied(self, x: FloatArray, given: str, wanted: str, y: FloatArray) -> FloatArray:
        """Return images in the layout that is wanted, copied to y if they have another."""
        if given == wanted:
            return x
        moved = x.transpose(0, 2, 3, 1) if wanted == "NHWC" else x.transpose(0, 3, 1, 2)
        in_parts(lambda part, _: np.copyto(y[part], moved[part]), len(x), x.size)
        return y


class ForkStage(BranchStage):
    """Where the two branches begin: its output goes to both."""

    algorithm = "fork"

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        is_moved = self.input_layout != self.output_layout
        arrays: dict[str, ArraySpec] = {"y": (self.output_array(n), self.dtype)} if is_moved else {}
        if training and self.need_dx:
            arrays["sum"] = self.output_array(n), self.dtype
            if is_moved:
                arrays["dx"] = self.input_array(n), self.dtype
        return arrays

    def predict_last(self, values: list[FloatArray], memory: Memory) -> None:
        x = values.pop()
        y = self._copied(x, self.input_layout, self.output_layout, memory.get("y", x))
        values += [y, y]

    def forward_last(self, values: list[FloatArray], memory: Memory, rng: np.random.Generator) -> None:
        self.predict_last(values, memory)

    def backward_last(self, values: list[FloatArray], cache: Any, memory: Memory) -> Grads:
        first, second = values.pop(), values.pop()
        total = memory["sum"]
        _write_sum(first, second, 1.0, total)
        values.append(self._copied(total, self.output_layout, self.input_layout, memory.get("dx", total)))
        return {}


class SwapStage(BranchStage):
    """Where the layers of a residual connection end and those of its shortcut begin."""

    algorithm = "swap"

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        return {}

    def predict_last(self, values: list[FloatArray], memory: Memory) -> None:
        values[-1], values[-2] = values[-2], values[-1]

    def forward_last(self, values: list[FloatArray], memory: Memory, rng: np.random.Generator) -> None:
        self.predict_last(values, memory)

    def backward_last(self, values: list[FloatArray], cache: Any, memory: Memory) -> Grads:
        self.predict_last(values, memory)
        return {}


class SumStage(BranchStage):
    """Where the two branches end: the sum, and in the same pass a ReLU or LeakyReLU, if one follows."""

    algorithm = "sum"
    slope = 1.0

    def fuse(self, name: str, rectifier: Layer) -> None:
        """Compute a ReLU or LeakyReLU of this name, too; its slope is at least 0."""
        self.names, self.slope, self.fused = (name,), slope_of(rectifier), (type(rectifier).__name__,)

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        is_moved = self.input_layout != self.output_layout
        arrays: dict[str, ArraySpec] = {"y": (self.output_array(n), self.dtype)}
        if is_moved:
            arrays["sum"] = self.input_array(n), self.dtype
        if training and self.slope != 1:
            arrays["dsum"] = self.output_array(n), self.dtype
        return arrays

    def predict_last(self, values: list[FloatArray], memory: Memory) -> None:
        first, second = values.pop(), values.pop()
        total = memory.get("sum", memory["y"])
        _write_sum(first, second, self.slope, total)
        values.append(self._copied(total, self.input_layout, self.output_layout, memory["y"]))

    def forward_last(self, values: list[FloatArray], memory: Memory, rng: np.random.Generator) -> FloatArray:
        self.predict_last(values, memory)
        return values[-1]

    def backward_last(self, values: list[FloatArray], cache: FloatArray, memory: Memory) -> Grads:
        dsum = values.pop()
        if self.slope != 1:
            dy, dsum = dsum, memory["dsum"]
            # A slope of at least 0 keeps the sign: y tells as well as the sum whether it was positive.
            elementwise(lambda *part: _kernels.leaky_relu_backward(self.slope, *part), dy, cache, dsum)
        dsum = self._copied(dsum, self.output_layout, self.input_layout, memory.get("sum", dsum))
        values += [dsum, dsum]
        return {}
