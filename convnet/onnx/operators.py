"""Operators: the layers that a node of a graph stands for.

Each function takes the graph, a node, the value that it works on, and the layers so far of the row that it belongs to.
It adds layers to the row, or changes the last one, and returns the value that the node computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from convnet.core.checks import Padding, join_sizes
from convnet.layers.activations import LeakyReLU, ReLU
from convnet.layers.affine import Affine
from convnet.layers.base import Layer
from convnet.layers.convolution import Conv2D
from convnet.layers.dropout import Dropout
from convnet.layers.global_pooling import GlobalAveragePool
from convnet.layers.normalization import BatchNorm2D
from convnet.layers.pooling import AveragePool2D, MaxPool2D
from convnet.layers.smooth_activations import GELU, Sigmoid, SiLU, Tanh
from convnet.onnx.reading import Graph
from convnet.onnx.shapes import Row, flatten, reshape, same, squeeze, transpose
from convnet.onnx.values import Value

__all__ = ["OPERATORS", "apply", "scale_and_shift", "unfinished"]

Operator = Callable[[Graph, NodeProto, Value, Row], Value]

# What of a value is still to be done by a layer behind it: the nodes that do it or pass the value on, and what is wrong
# with others.
UNFINISHED = {
    "factors": (
        {"Add", "Cast", "Div", "Dropout", "Gemm", "Identity", "MatMul", "Mul", "Sub"},
        "expected a Gemm behind features that are multiplied by constants, as by a normalization behind a Relu",
    ),
    "padding": (
        {"Cast", "Conv", "Identity", "Pad", "Transpose"},
        "expected a Conv behind zeros that are put around images",
    ),
}


def apply(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Add the layers of a node to a row; return its value. A node that has none here is an error that names it."""
    if node.op_type not in OPERATORS:
        raise graph.refusal(node, f"expected one of {', '.join(sorted(OPERATORS))}")
    if message := unfinished(x, node.op_type):
        raise graph.refusal(node, message)
    try:
        value = OPERATORS[node.op_type](graph, node, x, row)
    except (TypeError, ValueError) as error:
        if str(error).startswith(f"{graph.path}: "):
            raise
        raise graph.refusal(node, error) from None
    return value


def unfinished(x: Value, operator: str = "") -> str:
    """Say what is wrong with what follows a value of which something is still to be done; "" if nothing is."""
    for attribute, (operators, message) in UNFINISHED.items():
        if getattr(x, attribute) is not None and operator not in operators:
            return message
    return ""


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
    """Return the padding as layers take it, with that of a Pad before."""
    top, left, bottom, right = attributes["pads"]
    before = x.padding or ((0, 0), (0, 0))
    if min(attributes["strides"]) < 1:
        raise ValueError(f"strides: expected positive integers, got {attributes['strides']}")
    if attributes["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        sides = []
        for size, added, length, stride, dilation in zip(
            x.shape[1:], before, kernel, attributes["strides"], attributes["dilations"], strict=True
        ):
            size, extent = size + sum(added), (length - 1) * dilation + 1
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
    return (before[0][0] + top, before[0][1] + bottom), (before[1][0] + left, before[1][1] + right)


def _pad(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    found = graph.attributes(node, mode="constant", pads=None, value=0.0)
    pads, value = found["pads"] or graph.numbers(node, 1, "the pads") or (), graph.constant(node, 2, "the value")
    if found["mode"] != "constant" or found["value"] != 0 or (value is not None and value.any()):
        raise ValueError("expected a padding with zeros")
    rank = 1 + len(x.dims)
    places = graph.numbers(node, 3, "the axes")
    places = list(range(rank)) if places is None else [place % rank for place in places]
    sides = dict(zip((1, 2), x.padding or ((0, 0), (0, 0)), strict=True))
    for place, before, after in zip(places, pads, pads[len(places) :], strict=False):
        axis = None if place == 0 or x.is_flat else x.axes[place - 1]
        if axis in sides and len(x.shape) == 3 and min(before, after) >= 0:
            sides[axis] = (sides[axis][0] + before, sides[axis][1] + after)
        elif (before, after) != (0, 0):
            raise ValueError(f"pads: expected zeros above, below and beside images, got {list(pads)}")
    if len(pads) != 2 * len(places):
        raise ValueError(f"pads: expected {2 * len(places)} integers, got {len(pads)}")
    is_padded = any(map(any, sides.values()))
    return replace(x.named(node.output[0]), padding=(sides[1], sides[2]) if is_padded else None)


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


# What each operator stands for.
OPERATORS: dict[str, Operator] = {
    "Add": _arithmetic,
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Cast": same,
    "Clip": _clip,
    "Conv": _convolution,
    "Div": _arithmetic,
    "Dropout": _dropout,
    "Flatten": flatten,
    "Gelu": _activation,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Identity": same,
    "LeakyRelu": _activation,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Mul": _arithmetic,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMax": _reduced,
    "ReduceMean": _reduced,
    "Relu": _activation,
    "Reshape": reshape,
    "Sigmoid": _activation,
    "Squeeze": squeeze,
    "Sub": _arithmetic,
    "Swish": _swish,
    "Tanh": _activation,
    "Transpose": transpose,
    "Unsqueeze": squeeze,
}
