"""Operators: the layers that a node of a graph stands for.

Each function takes the graph, a node, the value that it works on, and the layers so far of the row that it belongs to.
It adds layers to the row, or changes the last one, and returns the value that the node computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from convnet.core.checks import Padding, join_sizes
from convnet.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from convnet.layers.affine import Affine
from convnet.layers.base import Layer
from convnet.layers.convolution import Conv2D
from convnet.layers.dropout import Dropout
from convnet.layers.gated_activations import GELU, SiLU
from convnet.layers.global_pooling import GlobalAveragePool
from convnet.layers.normalization import BatchNorm2D
from convnet.layers.pooling import AveragePool2D, MaxPool2D
from convnet.onnx.reading import BATCH, Graph
from convnet.onnx.values import Value

__all__ = ["ARITHMETIC", "NEEDS_GEMM", "OPERATORS", "apply", "images_of", "scale_and_shift"]

Row = list[Layer]
Operator = Callable[[Graph, NodeProto, Value, Row], Value]

ARITHMETIC = ("Add", "Sub", "Mul", "Div")
# What is wrong where features of which a value has factors end otherwise.
NEEDS_GEMM = "expected a Gemm behind features that are multiplied by constants, as by a normalization behind a Relu"


def apply(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Add the layers of a node to a row; return its value. A node that has none here is an error that names it."""
    if node.op_type not in OPERATORS:
        raise graph.refusal(node, f"expected one of {', '.join(sorted(OPERATORS))}")
    if x.factors is not None and node.op_type not in BEHIND_FACTORS:
        raise graph.refusal(node, NEEDS_GEMM)
    try:
        value = OPERATORS[node.op_type](graph, node, x, row)
    except (TypeError, ValueError) as error:
        if str(error).startswith(f"{graph.path}: "):
            raise
        raise graph.refusal(node, error) from None
    return value


def _param(graph: Graph, node: NodeProto, place: int, what: str, ndim: int) -> npt.NDArray[Any] | None:
    """Return a constant input with so many axes as a parameter, None if it is left out."""
    array = graph.constant(node, place, what)
    if array is None:
        return None
    if array.ndim != ndim or not (array.dtype.kind == "f" or array.dtype.name == "bfloat16"):
        raise ValueError(f"expected {what} to be floats with {ndim} axes, got {array.dtype} of shape {array.shape}")
    return array.astype(graph.dtype)


def _needed(graph: Graph, node: NodeProto, place: int, what: str, ndim: int) -> npt.NDArray[Any]:
    array = _param(graph, node, place, what, ndim)
    if array is None:
        raise ValueError(f"expected {what}, got none")
    return array


def _after(node: NodeProto, layer: Layer, x: Value, row: Row) -> Value:
    """Add a layer to a row; return its output, which lies in the file as in ours."""
    shape = layer.output_shape(x.shape)
    row.append(layer)
    return Value.of(node.output[0], shape)


# -------------------------------------------------------------------------------------- images (C, H, W)


def _check_planes(x: Value) -> None:
    if not x.is_planes:
        raise ValueError(f"expected images (C, H, W), got (N, {join_sizes(x.dims)}) with axes in another order")


def _padding(attributes: dict[str, Any], x: Value, kernel: tuple[int, ...]) -> Padding:
    """Return the padding as layers take it."""
    top, left, bottom, right = attributes["pads"]
    if min(attributes["strides"]) < 1:
        raise ValueError(f"strides: expected positive integers, got {attributes['strides']}")
    if attributes["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        sides = []
        for size, length, stride, dilation in zip(
            x.shape[1:], kernel, attributes["strides"], attributes["dilations"], strict=True
        ):
            extent = (length - 1) * dilation + 1
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            sides.append((total // 2, total - total // 2))
        if attributes["auto_pad"] == "SAME_LOWER":
            sides = [(after, before) for before, after in sides]
        (top, bottom), (left, right) = sides
    elif attributes["auto_pad"] not in ("NOTSET", "VALID"):
        raise ValueError(
            f"auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {attributes['auto_pad']!r:.40}"
        )
    elif attributes["auto_pad"] == "VALID":
        top = left = bottom = right = 0
    if min(top, left, bottom, right) < 0:
        raise ValueError(f"pads: expected none below 0, got {attributes['pads']}")
    return (top, bottom), (left, right)


def _convolution(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    weight, bias = _needed(graph, node, 1, "the weight", 4), _param(graph, node, 2, "the bias", 1)
    kernel = weight.shape[2:]
    found = graph.attributes(
        node, auto_pad="NOTSET", dilations=(1, 1), group=1, kernel_shape=kernel, pads=(0, 0, 0, 0), strides=(1, 1)
    )
    if found["kernel_shape"] != kernel:
        raise ValueError(f"kernel_shape: expected that of the weight, {kernel}, got {found['kernel_shape']}")
    padding = _padding(found, x, kernel)
    if x.axes == (0, None, None) and kernel == (1, 1) and found["group"] == 1 and not np.any(padding):
        features = replace(x, axes=(0,))  # one pixel of each channel
        return replace(_affine(node, weight[:, :, 0, 0].T, bias, features, row), axes=(0, None, None))
    _check_planes(x)
    layer = Conv2D.from_params(
        {"weight": weight} if bias is None else {"weight": weight, "bias": bias},
        stride=found["strides"],
        padding=padding,
        dilation=found["dilations"],
        groups=found["group"],
        bias=bias is not None,
    )
    return _after(node, layer, x, row)


def _pool(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    own: dict[str, Any] = {"storage_order": 0} if node.op_type == "MaxPool" else {"count_include_pad": 0}
    found = graph.attributes(
        node,
        auto_pad="NOTSET",
        ceil_mode=0,
        dilations=(1, 1),
        kernel_shape=(0, 0),
        pads=(0, 0, 0, 0),
        strides=(1, 1),
        **own,
    )
    _check_planes(x)
    if found["dilations"] != (1, 1):
        raise ValueError(f"dilations: expected none in a pooling, got {found['dilations']}")
    if len([name for name in node.output if name]) > 1:
        raise ValueError("expected a pooling that gives its maxima alone, got one that gives their places, too")
    windows = {
        "kernel_size": found["kernel_shape"],
        "stride": found["strides"],
        "padding": _padding(found, x, found["kernel_shape"]),
        "ceil_mode": bool(found["ceil_mode"]),
    }
    if node.op_type == "MaxPool":
        return _after(node, MaxPool2D(**windows), x, row)
    return _after(node, AveragePool2D(**windows, count_padding=bool(found["count_include_pad"])), x, row)


def _global_pool(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    graph.attributes(node)
    _check_planes(x)
    if node.op_type == "GlobalMaxPool":
        return _after(node, MaxPool2D(x.shape[1:]), x, row)
    return replace(_after(node, GlobalAveragePool(), x, row), axes=(0, None, None))


def _reduced(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    found = graph.attributes(node, axes=None, keepdims=1, noop_with_empty_axes=0)
    axes = found["axes"] or graph.numbers(node, 1, "axes") or ()
    rank = 1 + len(x.dims)
    places = sorted(axis % rank for axis in axes if -rank <= axis < rank)
    if (
        x.is_flat
        or len(x.shape) != 3
        or len(x.axes) != 3
        or [x.axes[place - 1] for place in places] != [1, 2]
        or 0 in places
    ):
        raise ValueError(f"expected the height and the width of images as axes, got {axes}")
    layer = GlobalAveragePool() if node.op_type == "ReduceMean" else MaxPool2D(x.shape[1:])
    pooled = _after(node, layer, x, row)
    kept = [axis if axis in pooled.axes else None for axis in x.axes if axis == 0 or found["keepdims"]]
    return replace(pooled, axes=tuple(kept))


def _batch_norm(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    found = graph.attributes(node, epsilon=1e-5, momentum=0.9, spatial=1, training_mode=0)
    names = ("weight", "bias", "running_mean", "running_variance")
    arrays = {name: _needed(graph, node, 1 + place, name, 1) for place, name in enumerate(names)}
    if found["training_mode"] or found["spatial"] != 1 or len([name for name in node.output if name]) > 1:
        raise ValueError("expected a normalization by running statistics of each channel, as for prediction")
    if x.is_flat and len(x.shape) == 1:
        arrays = {name: x.in_our_order(array) for name, array in arrays.items()}
    elif x.is_flat or (len(x.shape) == 3 and x.axes[:1] != (0,)):
        raise ValueError("expected channels or the outputs of a Gemm, got flattened images or channels that come last")
    layer = BatchNorm2D.from_params(
        {name: arrays[name] for name in names[:2]}, epsilon=found["epsilon"], decay=found["momentum"]
    )
    shapes = {name: arrays[name].shape for name in names}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"expected arrays of one shape, got {shapes}")
    layer.output_shape(x.shape)
    for name in names[2:]:
        layer.state[name][...] = arrays[name]
    row.append(layer)
    return x.named(node.output[0])


# ----------------------------------------------------------------------------------------------- vectors


def _affine(node: NodeProto, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None, x: Value, row: Row) -> Value:
    """Add an Affine layer of a weight (D, M), whose rows are in the order of the file's features."""
    if not x.is_vector:
        raise ValueError(f"expected one axis of features, got (N, {join_sizes(x.dims)}); flatten them first")
    if len(weight) != x.dims[0]:
        raise ValueError(f"expected a weight of {x.dims[0]} features, got shape {weight.shape}")
    m = weight.shape[1]
    if bias is not None and bias.shape not in ((), (1,), (1, 1), (m,), (1, m)):
        raise ValueError(f"expected a bias of shape ({m},), got {bias.shape}")
    shift = np.zeros(m) if bias is None else np.broadcast_to(bias.reshape(-1), (m,))
    weight = x.in_our_order(weight)
    if x.factors is not None:
        scales, shifts = x.factors
        shift, weight = shift + shifts @ weight, (scales[:, None] * weight).astype(weight.dtype)
    params = {"weight": weight, "bias": shift.astype(weight.dtype)}
    return _after(node, Affine.from_params(params), x, row)


def _gemm(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    found = graph.attributes(node, alpha=1.0, beta=1.0, transA=0, transB=0)
    weight, bias = _needed(graph, node, 1, "B", 2), graph.constant(node, 2, "C")
    if found["transA"]:
        raise ValueError("expected transA of 0, with an example a row")
    if found["transB"]:
        weight = weight.T
    if bias is not None:
        bias = bias.astype(np.float64) * found["beta"]
    return _affine(node, (weight * found["alpha"]).astype(weight.dtype), bias, x, row)


def _matmul(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    graph.attributes(node)
    if not node.input or node.input[0] != x.name:
        raise ValueError("expected the examples as the first factor and a constant as the second")
    return _affine(node, _needed(graph, node, 1, "the second factor", 2), None, x, row)


# ------------------------------------------------------------------------------- elements, one by one


def _activation(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    layer: Layer
    if node.op_type == "LeakyRelu":
        layer = LeakyReLU(graph.attributes(node, alpha=0.01)["alpha"])
    elif node.op_type == "Gelu":
        kind = graph.attributes(node, approximate="none")["approximate"]
        if kind not in ("none", "tanh"):
            raise ValueError(f"approximate: expected none or tanh, got {kind!r:.40}")
        layer = GELU(approximate=kind == "tanh")
    else:
        graph.attributes(node)
        layer = {"Relu": ReLU, "Sigmoid": Sigmoid, "Tanh": Tanh}[node.op_type]()
    row.append(layer)
    return x.named(node.output[0])


def _swish(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    alpha = graph.attributes(node, alpha=1.0)["alpha"]
    if alpha != 1:
        raise ValueError(f"alpha: expected 1, got {alpha:g}")
    row.append(SiLU())
    return x.named(node.output[0])


def _prelu(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    slope = graph.constant(node, 1, "the slope")
    if slope is None or slope.size == 0 or (slope != slope.reshape(-1)[0]).any():
        raise ValueError("expected one slope for all channels, as of a LeakyRelu")
    row.append(LeakyReLU(float(slope.reshape(-1)[0])))
    return x.named(node.output[0])


def _clip(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    found = graph.attributes(node, min=-inf, max=inf)
    bounds = [graph.constant(node, place, "a bound") for place in (1, 2)]
    low, high = (
        found[name] if array is None else float(array.reshape(())) for name, array in zip(found, bounds, strict=True)
    )
    if low != 0 or high < np.finfo(np.float32).max:
        raise ValueError(f"expected the bounds 0 and infinity, as of a Relu, got {low:g} and {high:g}")
    row.append(ReLU())
    return x.named(node.output[0])


def _dropout(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    found = graph.attributes(node, ratio=0.5, seed=0)
    rate, training = graph.constant(node, 1, "the ratio"), graph.constant(node, 2, "training_mode")
    if training is not None and training.any():
        raise ValueError("expected a dropout as for prediction, got training_mode")
    row.append(Dropout(found["ratio"] if rate is None else float(rate.reshape(()))))
    return x.named(node.output[0])


def _arithmetic(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Multiply channels or features by constants, or add some.

    It is done by the layer before, if it is linear, by the one behind features, or by a convolution for each channel.
    """
    pair = scale_and_shift(graph, node, x.name)
    scale, shift = (x.per_channel(array) for array in pair)
    if scale is None or shift is None:
        raise ValueError(f"expected one constant for each channel, got shape {np.broadcast(*pair).shape}")
    last = row[-1] if row else None
    graph.spend(2 * len(scale))
    if x.factors is not None:
        return replace(x.named(node.output[0]), factors=(x.factors[0] * scale, x.factors[1] * scale + shift))
    if isinstance(last, (Conv2D, Affine, BatchNorm2D)) and _outputs(last) == len(scale) == x.shape[0]:
        _scale_outputs(row, scale, shift)
    elif x.is_vector:
        return replace(x.named(node.output[0]), factors=(scale, shift))
    elif len(x.shape) != 3:
        raise ValueError(f"expected images (C, H, W) or one axis of features, got (N, {join_sizes(x.dims)})")
    else:
        row.append(
            Conv2D.from_params(
                {"weight": scale.astype(graph.dtype).reshape(-1, 1, 1, 1), "bias": shift.astype(graph.dtype)},
                stride=1,
                padding=0,
                groups=len(scale),
            )
        )
    return x.named(node.output[0])


def scale_and_shift(graph: Graph, node: NodeProto, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return what Add, Sub, Mul or Div with a constant multiplies a value by, and then adds."""
    graph.attributes(node)
    place = 1 if node.input[0] == name else 0
    constant = graph.constant(node, place, "an operand")
    if constant is None or constant.dtype.kind not in "iuf":
        raise graph.refusal(node, "expected an operand of numbers")
    number = constant.astype(np.float64)
    if node.op_type == "Add":
        return np.ones(1), number
    if node.op_type == "Sub":
        return (np.ones(1), -number) if place == 1 else (-np.ones(1), number)
    if node.op_type == "Mul":
        return number, np.zeros(1)
    if place == 0 or not number.all():
        raise graph.refusal(node, "expected a division by constants that are not 0")
    return 1 / number, np.zeros(1)


def _outputs(layer: Layer) -> int:
    """Return how many channels or features a layer with parameters gives."""
    return int(layer.params["weight"].shape[1 if isinstance(layer, Affine) else 0])


def _scale_outputs(row: Row, scale: npt.NDArray[Any], shift: npt.NDArray[Any]) -> None:
    """Multiply the outputs of the last layer of a row, and add to them."""
    last = row[-1]
    weight = last.params["weight"].astype(np.float64)
    bias = np.float64(0) if "bias" not in last.params else last.params["bias"].astype(np.float64)
    shape = (1, -1) if isinstance(last, Affine) else (-1, *(1,) * (weight.ndim - 1))
    dtype = last.params["weight"].dtype
    params = {"weight": (weight * scale.reshape(shape)).astype(dtype), "bias": (bias * scale + shift).astype(dtype)}
    if isinstance(last, Conv2D):
        row[-1] = Conv2D.from_params(params, **(last.hyperparameters() | {"bias": True}))
    else:
        for name, array in params.items():
            last.params[name][...] = array


# ------------------------------------------------------------------------------------- order and shape


def _same(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    if node.op_type == "Cast":
        kind = graph.attributes(node, to=0, saturate=1, round_mode="up")["to"]
        if kind not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16):
            raise ValueError("expected a conversion to floats")
    return x.named(node.output[0])


def _transpose(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    order = graph.attributes(node, perm=None)["perm"] or tuple(range(len(x.dims) + 1))[::-1]
    if (moved := x.transposed(node.output[0], order)) is None:
        raise ValueError(f"perm: expected an order that leaves the examples first, got {order}")
    return moved


def images_of(graph: Graph, name: str, dims: tuple[int, ...]) -> Value:
    """Return the value of examples that no layer has changed; a graph of (H, W, C) puts the channels first itself."""
    value, last = name, False
    while len(dims) == 3 and not last and len(nodes := graph.consumers[value]) == 1:
        (node,) = nodes
        if node.op_type == "Transpose":
            last = graph.attributes(node, perm=None)["perm"] == (0, 3, 1, 2)
        elif node.op_type == "Reshape":
            last = dims[2] == 1 != dims[0]
        if node.op_type not in ("Cast", "Identity", *ARITHMETIC):
            break
        value = node.output[0]
    if last:
        return Value(name, (dims[2], *dims[:2]), (1, 2, 0), is_input=True)
    return Value.of(name, dims, is_input=True)


def _reshape_to(graph: Graph, node: NodeProto, x: Value, row: Row, dims: tuple[int, ...]) -> Value:
    """Return a value reshaped; an input that has other axes may become images."""
    is_in_order = x.axes == tuple(range(len(x.shape)))
    if x.is_input and not row and is_in_order and len(x.shape) != 3 == len(dims) and prod(dims) == prod(x.shape):
        return images_of(graph, node.output[0], dims)
    if (reshaped := x.reshaped(node.output[0], dims)) is not None:
        return reshaped
    raise ValueError(f"expected to flatten {x.dims} or to move axes of size 1, got the shape {dims}")


def _flatten(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    axis = graph.attributes(node, axis=1)["axis"]
    if axis not in (1, 1 - (len(x.dims) + 1)):
        raise ValueError(f"axis: expected 1, so that each example stays one, got {axis}")
    return _reshape_to(graph, node, x, row, (prod(x.dims),))


def _reshape(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    found = graph.attributes(node, allowzero=0)
    wanted = graph.numbers(node, 1, "the shape")
    if not wanted:
        raise ValueError("expected a shape")
    present = (graph.batch, *x.dims)
    if not found["allowzero"]:
        wanted = [present[place] if size == 0 and place < len(present) else size for place, size in enumerate(wanted)]
    known = prod(size for size in wanted if size != -1)
    total = prod(present)
    if wanted.count(-1) == 1 and known > 0 and total % known == 0:
        wanted[wanted.index(-1)] = total // known
    if wanted[0] == 1 and graph.batch == BATCH and wanted[1:] and prod(wanted) == prod(x.dims):
        wanted[0] = graph.batch  # written for one example
    if wanted[0] != graph.batch or prod(wanted) != total or min(wanted) < 1:
        raise ValueError(f"expected a shape of as many examples with {x.dims} elements each, got {wanted}")
    return _reshape_to(graph, node, x, row, tuple(wanted[1:]))


def _squeeze(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    axes = graph.attributes(node, axes=None)["axes"] or graph.numbers(node, 1, "axes") or ()
    dims: list[int] = [graph.batch, *x.dims]
    if node.op_type == "Squeeze":
        rank = len(dims)
        places = {axis % rank for axis in axes if -rank <= axis < rank} or {
            i for i, size in enumerate(dims) if size == 1
        }
        if 0 in places or any(dims[place] != 1 for place in places):
            raise ValueError(f"axes: expected axes of size 1 of {tuple(dims)}, got {axes}")
        dims = [size for place, size in enumerate(dims) if place not in places]
    else:
        rank = len(dims) + len(axes)
        for place in sorted(axis % rank for axis in axes):
            dims.insert(place, 1)
        if dims[0] != graph.batch:
            raise ValueError(f"axes: expected none before the examples, got {axes}")
    return _reshape_to(graph, node, x, row, tuple(dims[1:]))


# What may follow constants that features are multiplied by: what takes them over, or leaves features as they are.
BEHIND_FACTORS = {"Add", "Cast", "Div", "Dropout", "Gemm", "Identity", "MatMul", "Mul", "Sub"}
# What each operator stands for.
OPERATORS: dict[str, Operator] = {
    "Add": _arithmetic,
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Cast": _same,
    "Clip": _clip,
    "Conv": _convolution,
    "Div": _arithmetic,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gelu": _activation,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Identity": _same,
    "LeakyRelu": _activation,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Mul": _arithmetic,
    "PRelu": _prelu,
    "ReduceMax": _reduced,
    "ReduceMean": _reduced,
    "Relu": _activation,
    "Reshape": _reshape,
    "Sigmoid": _activation,
    "Squeeze": _squeeze,
    "Sub": _arithmetic,
    "Swish": _swish,
    "Tanh": _activation,
    "Transpose": _transpose,
    "Unsqueeze": _squeeze,
}
