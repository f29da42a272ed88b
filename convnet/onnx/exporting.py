"""Export: a model as the graph of an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from convnet.core.checks import Sides, sides_of
from convnet.core.version import __version__
from convnet.datasets.preprocessing import Statistics
from convnet.formats.files import PathLike, replace_file
from convnet.layers.activations import LeakyReLU, ReLU
from convnet.layers.affine import Affine
from convnet.layers.base import Layer
from convnet.layers.convolution import Conv2D
from convnet.layers.dropout import Dropout
from convnet.layers.global_pooling import GlobalAveragePool
from convnet.layers.labels import BinaryLabels, ClassLabels, labels_of
from convnet.layers.normalization import BatchNorm2D
from convnet.layers.pooling import AveragePool2D, MaxPool2D, Pool2D
from convnet.layers.residual import Residual
from convnet.layers.smooth_activations import GELU, Sigmoid, SiLU, Tanh
from convnet.layers.stage import Shape
from convnet.models.files import check_parts
from convnet.models.sequential import Sequential

__all__ = ["EXPORTED", "export_onnx"]

# Of 2020: old enough for runtimes that are not of today.
OPSET, IR_VERSION = 13, 7


def export_onnx(model: Sequential, path: PathLike) -> None:
    """Write a model as an ONNX file, which ONNX Runtime and other tools read.

    The graph has one input. It is ``images``, uint8 of shape (N, C, H, W), if the model has statistics, whose
    preparation is then part of the graph; otherwise it is ``x``, float32 of shape (N, *input_shape). The number N of
    examples is free. The outputs are ``scores`` (N, K) and, where the labels of the loss have them, ``probabilities``
    (N, K): their softmax, or their sigmoid with `BinaryLabels`.

    Numbers are float32, whatever the model's dtype. Class names are in the file's metadata, under ``class_names``, a
    JSON list; and so is, under ``reader``, how images of any size were made those of the input, if the model knows.

    Parameters
    ----------
    model : Sequential
        A model of this library's layers.
    path : path
        Usually ``*.onnx``; an existing file is replaced when the new one is complete.

    Raises
    ------
    TypeError
        If a layer or the statistics are not of this library, or the model is of a class that computes scores in its
        own way.
    ValueError
        If class names or statistics do not fit the model.
    OSError
        If the file cannot be written; what was there before is still there.

    Notes
    -----
    The file is of operator set 13 and of version 7 of the format. A `GELU` and a `SiLU` are several nodes, because that
    operator set has none for them.
    """
    content = _proto_of(model).SerializeToString()
    with replace_file(path) as file:
        file.write(content)


class Graph:
    """The nodes and constants of a graph that grows."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, array: npt.ArrayLike) -> str:
        """Add a constant of float32; return its name."""
        self.constants.append(numpy_helper.from_array(np.array(array, np.float32, order="C"), name))
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, whose output has its name; return the name."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def with_number(self, operator: str, name: str, x: str, number: float) -> str:
        """Add a node of two inputs, of which the second is a number; return its name."""
        return self.node(operator, name, x, self.constant(f"{name}.number", number))


def _proto_of(model: Sequential) -> ModelProto:
    """Return a model as an ONNX model that is checked."""
    statistics = check_parts(model, "export_onnx")
    if type(model).scores is not Sequential.scores:
        raise TypeError(f"export_onnx: expected a model whose scores are its layers', not {type(model).__name__}'s own")
    graph = Graph()
    name, kind = ("x", TensorProto.FLOAT) if statistics is None else ("images", TensorProto.UINT8)
    inputs = [helper.make_tensor_value_info(name, kind, ["N", *model.input_shape])]
    x = name if statistics is None else _prepared(graph, name, statistics)
    last = _row(graph, model.layers, x, model.input_shape)
    names = [graph.node("Identity", "scores", last)]
    labels = labels_of(model.loss_function)
    if isinstance(labels, ClassLabels):
        names.append(graph.node("Softmax", "probabilities", "scores", axis=1))
    elif isinstance(labels, BinaryLabels):
        names.append(graph.node("Sigmoid", "probabilities", "scores"))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", model.num_classes]) for name in names]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, type(model).__name__, inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="convnet",
        producer_version=__version__,
    )
    metadata = {}
    if model.class_names is not None:
        metadata["class_names"] = json.dumps(list(model.class_names), ensure_ascii=False)
    if statistics is not None and statistics.reader is not None:
        metadata["reader"] = json.dumps(statistics.reader.to_dict())
    helper.set_model_props(proto, metadata)
    checker.check_model(proto, full_check=True)
    return proto


def _prepared(graph: Graph, images: str, statistics: Statistics) -> str:
    """Add what `Statistics.prepare` does."""
    x = graph.node("Cast", "pixels", images, to=TensorProto.FLOAT)
    if statistics.divide_by_255:
        x = graph.with_number("Div", "fractions", x, 255)
    if statistics.mean is not None:
        x = graph.node("Sub", "centred", x, graph.constant("mean", statistics.mean))
    if statistics.std is not None:
        x = graph.node("Div", "prepared", x, graph.constant("std", statistics.std))
    return x


def _row(graph: Graph, layers: Mapping[str, Layer], x: str, shape: Shape, prefix: str = "") -> str:
    """Add layers in a row; return the name of the last one's output."""
    for name, layer in layers.items():
        x = EXPORTED[type(layer)](graph, prefix + name, layer, x, shape)
        shape = layer.output_shape(shape)
    return x


# -------------------------------------------------------------------------------------------------- layers
#
# Each function adds a layer of a name, whose input has the name x and for one example a shape, and returns the name of
# its output.


def _convolution(graph: Graph, name: str, layer: Conv2D, x: str, shape: Shape) -> str:
    params = [graph.constant(f"{name}.{key}", param) for key, param in layer.params.items()]
    return graph.node(
        "Conv",
        name,
        x,
        *params,
        kernel_shape=layer.params["weight"].shape[2:],
        strides=layer.stride,
        pads=_pads(layer.padding),
        dilations=layer.dilation,
        group=layer.groups,
    )


def _affine(graph: Graph, name: str, layer: Affine, x: str, shape: Shape) -> str:
    if len(shape) > 1:
        x = graph.node("Flatten", f"{name}.flat", x, axis=1)
    return graph.node("Gemm", name, x, *(graph.constant(f"{name}.{key}", param) for key, param in layer.params.items()))


def _pads(padding: Sides) -> list[int]:
    """Return a padding as ONNX has it: above, left, below, right."""
    (top, bottom), (left, right) = sides_of(padding)
    return [top, left, bottom, right]


def _windows(layer: Pool2D, shape: Shape) -> dict[str, Any]:
    """Return the attributes of a pooling.

    Tools do not agree on the sizes with `ceil_mode`. So what it adds is written as padding.
    """
    sides = sides_of(layer.padding)
    if layer.ceil_mode:
        sizes = zip(layer.output_shape(shape)[1:], layer.stride, layer.kernel_size, shape[1:], sides, strict=True)
        rows, columns = (
            (before, max((outputs - 1) * stride + kernel - size - before, 0))
            for outputs, stride, kernel, size, (before, _) in sizes
        )
        sides = rows, columns
    return {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": _pads(sides)}


def _max_pool(graph: Graph, name: str, layer: MaxPool2D, x: str, shape: Shape) -> str:
    return graph.node("MaxPool", name, x, **_windows(layer, shape))


def _average_pool(graph: Graph, name: str, layer: AveragePool2D, x: str, shape: Shape) -> str:
    """Add a node, or one for each axis.

    Windows that reach beyond a padding that counts need `ceil_mode`. Tools agree on the sizes along an axis with such
    windows, but not along the other one.
    """
    windows, padding = _windows(layer, shape), _pads(layer.padding)
    reaches_beyond = layer.ceil_mode and any(np.greater(windows["pads"], padding))
    if not (reaches_beyond and layer.count_padding and any(padding)):
        is_counted = layer.count_padding and not reaches_beyond
        return graph.node("AveragePool", name, x, **windows, count_include_pad=int(is_counted))
    for axis, output in enumerate((f"{name}.columns", name)):
        kernel, stride, pads = [1, 1], [1, 1], [0, 0, 0, 0]
        kernel[axis], stride[axis] = layer.kernel_size[axis], layer.stride[axis]
        before, reached, after = padding[axis], windows["pads"][axis + 2], padding[axis + 2]
        pads[axis], pads[axis + 2] = before, min(reached, after)
        options = {"ceil_mode": int(reached > after), "count_include_pad": 1}
        x = graph.node("AveragePool", output, x, kernel_shape=kernel, strides=stride, pads=pads, **options)
    return x


def _global_average_pool(graph: Graph, name: str, layer: GlobalAveragePool, x: str, shape: Shape) -> str:
    return graph.node("Flatten", name, graph.node("GlobalAveragePool", f"{name}.means", x), axis=1)


def _batch_norm(graph: Graph, name: str, layer: BatchNorm2D, x: str, shape: Shape) -> str:
    mean, variance = layer.statistics()
    arrays = layer.params | {"running_mean": mean, "running_variance": variance}
    constants = [graph.constant(f"{name}.{key}", array) for key, array in arrays.items()]
    return graph.node("BatchNormalization", name, x, *constants, epsilon=layer.epsilon, momentum=layer.decay)


def _relu(graph: Graph, name: str, layer: ReLU, x: str, shape: Shape) -> str:
    return graph.node("Relu", name, x)


def _leaky_relu(graph: Graph, name: str, layer: LeakyReLU, x: str, shape: Shape) -> str:
    return graph.node("LeakyRelu", name, x, alpha=layer.slope)


def _sigmoid(graph: Graph, name: str, layer: Sigmoid, x: str, shape: Shape) -> str:
    return graph.node("Sigmoid", name, x)


def _tanh(graph: Graph, name: str, layer: Tanh, x: str, shape: Shape) -> str:
    return graph.node("Tanh", name, x)


def _silu(graph: Graph, name: str, layer: SiLU, x: str, shape: Shape) -> str:
    return graph.node("Mul", name, x, graph.node("Sigmoid", f"{name}.gate", x))


def _gelu(graph: Graph, name: str, layer: GELU, x: str, shape: Shape) -> str:
    """Add ``x * (1 + step) * 0.5``, where the step goes from -1 to 1; runtimes know these nodes for a GELU."""
    if layer.approximate:
        cubes = graph.with_number("Pow", f"{name}.cubes", x, 3)
        scaled = graph.with_number("Mul", f"{name}.scaled_cubes", cubes, 0.044715)
        total = graph.node("Add", f"{name}.sum", x, scaled)
        step = graph.node("Tanh", f"{name}.step", graph.with_number("Mul", f"{name}.scaled", total, sqrt(2 / pi)))
    else:
        step = graph.node("Erf", f"{name}.step", graph.with_number("Div", f"{name}.scaled", x, sqrt(2)))
    gate = graph.with_number("Add", f"{name}.gate", step, 1)
    return graph.with_number("Mul", name, graph.node("Mul", f"{name}.product", x, gate), 0.5)


def _dropout(graph: Graph, name: str, layer: Dropout, x: str, shape: Shape) -> str:
    """Add a node that passes its input on; it keeps the rate for those who train the model further."""
    return graph.node("Dropout", name, x, graph.constant(f"{name}.rate", layer.rate))


def _residual(graph: Graph, name: str, layer: Residual, x: str, shape: Shape) -> str:
    ends = [_row(graph, row, x, shape, f"{name}.{branch}.") for branch, row in layer.branches.items()]
    return graph.node("Add", name, ends[0], ends[1] if len(ends) > 1 else x)


# How each layer of the library is exported.
EXPORTED: dict[type[Layer], Callable[[Graph, str, Any, str, Shape], str]] = {
    Conv2D: _convolution,
    Affine: _affine,
    MaxPool2D: _max_pool,
    AveragePool2D: _average_pool,
    GlobalAveragePool: _global_average_pool,
    ReLU: _relu,
    LeakyReLU: _leaky_relu,
    Sigmoid: _sigmoid,
    Tanh: _tanh,
    GELU: _gelu,
    SiLU: _silu,
    Dropout: _dropout,
    BatchNorm2D: _batch_norm,
    Residual: _residual,
}
