"""Import: the graph of an ONNX file as a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from convnet.core.checks import as_shape
from convnet.datasets.preprocessing import Statistics
from convnet.formats.files import PathLike
from convnet.layers.global_pooling import GlobalAveragePool
from convnet.layers.losses import Loss, binary_loss, softmax_loss
from convnet.layers.residual import Residual
from convnet.layers.stage import Shape
from convnet.models.sequential import Sequential
from convnet.onnx.activations import find_activation
from convnet.onnx.heads import check_head, find_scores
from convnet.onnx.operators import OPERATORS, apply, scale_and_shift, unfinished
from convnet.onnx.reading import Graph, read_graph
from convnet.onnx.shapes import ARITHMETIC, Row, images_of
from convnet.onnx.values import Value

__all__ = ["import_onnx"]

# Most residual connections within each other, and most numbers of a raw image.
DEEPEST, MOST_PIXELS = 20, 1 << 24


def import_onnx(path: PathLike, *, input_shape: Sequence[int] | None = None, loss: Loss | None = None) -> Sequential:
    """Load a model from an ONNX file, such as the exporters of PyTorch and Keras write, to predict or train further.

    The graph has one input and leads through layers in a row, with residual connections where two branches are added,
    to class scores. A softmax at its end, or the logarithm of one, is left out: the model's scores are what comes
    before, and `probabilities` are those of the file. A sigmoid at the end is left out, too, and makes a model with
    `binary_loss`; so does a single score without a sigmoid.

    Images are (C, H, W) in the model, also if they are (H, W, C) in the file. If the input is uint8, what the graph
    does to it first becomes the model's statistics. Class names are read from what `export_onnx` writes.

    Parameters
    ----------
    path : path
        Arrays may be in other files of the same folder.
    input_shape : tuple of ints, optional
        Shape of one example, (C, H, W) for images. It is needed where the file leaves sizes open.
    loss : callable, optional
        The loss with which the model is trained further, see `Sequential`. With one of other labels than `BinaryLabels`
        a sigmoid at the end is a layer.

    Returns
    -------
    Sequential
        With parameters of float32, or of float64 if the file's input is.

    Raises
    ------
    ValueError
        If it is not a valid ONNX file, or a node is one that this library has no layer for, or that does not fit into
        a row of layers; the message names the node.
    OSError
        If a file cannot be read.

    Notes
    -----
    A bias that is added, and other arithmetic with one constant a channel, becomes part of the layer before. An
    activation function that is several nodes, such as those of a GELU, is recognised by what they compute. Elements of
    type float16 become float32.
    """
    graph = read_graph(path)
    try:
        with np.errstate(all="ignore"):  # a file may hold numbers of any size
            return _model_of(graph, input_shape, loss)
    except RecursionError:
        raise ValueError(f"{graph.path}: expected a graph that is less deep") from None


class Reader:
    """What follows a graph from its input to its scores.

    Attributes
    ----------
    graph : Graph
    final : str
        Name of the value that holds the scores.
    input_shape : tuple of ints
        Shape of one example, as what the first layer takes.
    """

    def __init__(self, graph: Graph, final: str) -> None:
        self.graph, self.final = graph, final
        self.input_shape: Shape = ()

    def follow(self, x: Value, row: Row, depth: int = 0) -> Value:
        """Add layers to a row, from a value to the scores or to where another row meets it; return its last value."""
        graph = self.graph
        while x.name != self.final:
            if x.padding is None:
                graph.shapes[x.name] = (graph.batch, *x.dims)
            if not row and depth == 0:
                self.input_shape = x.shape
            nodes = graph.consumers[x.name]
            if not nodes:
                raise ValueError(
                    f"{graph.path}: expected a row of layers that ends with the output, got one that ends "
                    f"with {x.name!r:.60}"
                )
            if len(nodes) == 1 and self._meets(nodes[0]):
                break
            x = self._next(x, nodes, row, depth)
        return x

    def _next(self, x: Value, nodes: list[NodeProto], row: Row, depth: int) -> Value:
        """Add the layers between a value and the next one that all of the row goes through; return that one."""
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS and not self._takes_more(nodes[0]):
            return apply(self.graph, nodes[0], x, row)
        if not unfinished(x) and (found := find_activation(self.graph, x.name)) is not None:
            row.append(found[0])
            return x.named(found[1])
        if len(nodes) == 1:
            return apply(self.graph, nodes[0], x, row)
        return self._residual(x, nodes, row, depth)

    def _takes_more(self, node: NodeProto) -> bool:
        """Return whether a node takes more than one computed value, or one twice."""
        return sum(self.graph.is_computed(name) for name in node.input) > 1

    def _meets(self, node: NodeProto) -> bool:
        """Return whether two branches meet in a node: the sum of two computed values."""
        computed = {name for name in node.input if self.graph.is_computed(name)}
        return node.op_type in ("Add", "Sum") and len(computed) == len(node.input) == 2

    def _residual(self, x: Value, nodes: list[NodeProto], row: Row, depth: int) -> Value:
        """Add a residual connection: two branches that part at x and meet in a sum; one may be x itself."""
        graph = self.graph
        if len(nodes) != 2 or depth == DEEPEST:
            kinds = ", ".join(f"{node.op_type:.40}" for node in nodes[:5])
            raise graph.refusal(nodes[0], f"expected one or two branches that meet in a sum, got {len(nodes)}: {kinds}")
        ends: dict[str, tuple[Value, Row]] = {}
        sums = []
        for node in nodes:
            branch: Row = []
            end = x
            if not self._meets(node):
                end = self.follow(self._next(x, [node], branch, depth), branch, depth + 1)
                if end.name == self.final:
                    raise graph.refusal(node, "expected the branch that it begins to meet the other one in a sum")
                node = graph.consumers[end.name][0]
            ends[end.name] = end, branch
            sums.append(node.output[0])
        total = graph.producers[sums[0]]
        if sums[0] != sums[1] or set(total.input) != set(ends):
            raise graph.refusal(total, "expected the sum of the two branches that part last before it")
        (first, layers), (second, shortcut) = (ends[name] for name in total.input)
        if not layers:
            layers, shortcut = shortcut, layers
        if message := unfinished(first) or unfinished(second):
            raise graph.refusal(total, message)
        if (first.shape, first.axes, first.is_flat) != (second.shape, second.axes, second.is_flat):
            raise graph.refusal(total, f"expected a sum of values alike, got {first.dims} and {second.dims}")
        if not layers:
            raise graph.refusal(total, "expected layers in one of the branches")
        try:
            row.append(Residual(layers, shortcut or None))
        except (TypeError, ValueError) as error:
            raise graph.refusal(total, error) from None
        return first.named(total.output[0])


def _model_of(graph: Graph, input_shape: Sequence[int] | None, loss: Loss | None) -> Sequential:
    final, head = find_scores(graph, loss)
    x = _input_of(graph, input_shape)
    reader, layers, statistics = Reader(graph, final), Row(), None
    if graph.input.type.tensor_type.elem_type == TensorProto.UINT8:
        x, statistics = _preparation(graph, x)
    x = reader.follow(x, layers)
    if x.name != final:
        raise graph.refusal(graph.consumers[x.name][0], "expected a sum of two branches that part at the same value")
    if message := unfinished(x):
        raise graph.refusal(graph.producers[final], message)
    if head is not None:
        check_head(graph, head, x)
    if len(x.shape) == 3 and x.shape[1:] == (1, 1):
        layers.append(GlobalAveragePool())
    if loss is None:
        is_binary = prod(x.shape) == 1 if head is None else head.op_type == "Sigmoid"
        loss = binary_loss if is_binary else softmax_loss
    try:
        model = Sequential(layers, reader.input_shape, loss=loss)
        model.statistics = statistics
        if "class_names" in graph.metadata:
            model.class_names = json.loads(graph.metadata["class_names"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{graph.path}: {error}") from None
    return model


def _input_of(graph: Graph, input_shape: Sequence[int] | None) -> Value:
    """Return the input's value: images are (C, H, W) here, also where they are (H, W, C) in the file."""
    found = [dim.dim_value for dim in graph.input.type.tensor_type.shape.dim][1:]
    last = images_of(graph, graph.input.name, tuple(found)).axes == (1, 2, 0)
    if input_shape is not None:
        shape = as_shape(input_shape, "import_onnx: input_shape")
        given = (*shape[1:], shape[0]) if last else shape
        if found and (len(found) != len(given) or any(a not in (b, 0) for a, b in zip(found, given, strict=True))):
            raise ValueError(f"{graph.path}: expected an input_shape that fits the file's, {tuple(found)}, got {shape}")
        found = list(given)
    if not found or min(found) < 1 or prod(found) >= 1 << 40:
        raise ValueError(
            f"{graph.path}: expected examples of a known size, got {tuple(found)}, where 0 is open; give the shape of "
            "one: input_shape=(channels, height, width)"
        )
    return images_of(graph, graph.input.name, tuple(found))


def _preparation(graph: Graph, x: Value) -> tuple[Value, Statistics]:
    """Return what follows the arithmetic with which a graph of uint8 images begins, and that as statistics."""
    if prod(x.shape) > MOST_PIXELS:
        raise ValueError(f"{graph.path}: expected raw images of at most {MOST_PIXELS:,} numbers, got {x.shape}")
    scale, shift = np.ones(()), np.zeros(())
    is_float = divides = False
    while len(nodes := graph.consumers[x.name]) == 1:
        (node,) = nodes
        graph.shapes[x.name] = (graph.batch, *x.dims)
        if node.op_type in ("Identity", "Transpose", "Reshape", "Unsqueeze", "Cast"):
            shape, x = x.shape, apply(graph, node, x, [])
            if x.shape != shape:  # other arrays that become images
                scale, shift = (
                    array if array.size == 1 else _as_pixels(graph, node, x, array.reshape(x.dims))
                    for array in (scale, shift)
                )
            is_float = is_float or node.op_type == "Cast"
        elif is_float and node.op_type in ARITHMETIC:
            factors, terms = (_as_pixels(graph, node, x, array) for array in scale_and_shift(graph, node, x.name))
            if not bool((scale * factors > 0).all()):
                break  # a layer does it: no standard deviation is below 0
            divides = divides or bool(np.isclose(factors, 1 / 255).all())
            scale, shift = scale * factors, shift * factors + terms
            x = x.named(node.output[0])
        else:
            break
    if not is_float or len(x.shape) != 3:
        raise ValueError(
            f"{graph.path}: expected a graph that begins with raw images (C, H, W), of uint8, to convert them to floats"
        )
    std = 1 / (scale * (255 if divides else 1))
    mean = np.broadcast_to(-shift * std, x.shape)
    values = {
        "image_shape": x.shape,
        "divide_by_255": divides,
        "mean": mean.astype(np.float32) if mean.any() else None,
        "std": None if (std == 1).all() else np.broadcast_to(std, x.shape if std.size > 1 else ()).astype(np.float32),
    }
    try:
        if "reader" in graph.metadata:
            values["reader"] = json.loads(graph.metadata["reader"])
        return x, Statistics.from_dict(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{graph.path}: {error}") from None


def _as_pixels(graph: Graph, node: NodeProto, x: Value, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return constants as one number, or one for each channel or each pixel of our images."""
    if array.size == 1:
        return array.reshape(())
    if len(x.shape) == 3 and (channels := x.per_channel(array)) is not None:
        return channels.reshape(-1, 1, 1)
    if (pixels := x.as_ours(array)) is None:
        raise graph.refusal(node, f"expected constants for images of {x.dims}, got shape {array.shape}")
    return pixels
