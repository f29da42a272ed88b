"""How a graph ends: with scores, and perhaps with a node that makes probabilities of them."""

from __future__ import annotations

from math import prod

from onnx import NodeProto

from convnet.layers.labels import BinaryLabels, ClassLabels, Labels, labels_of
from convnet.layers.losses import Loss
from convnet.onnx.reading import Graph
from convnet.onnx.values import Value

__all__ = ["check_head", "find_scores"]

# What makes probabilities of scores, and of which labels.
HEADS: dict[str, type[Labels]] = {"Softmax": ClassLabels, "LogSoftmax": ClassLabels, "Sigmoid": BinaryLabels}
# What may follow it: nodes that leave the numbers in their order.
RESHAPING = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
# Most outputs of a graph that are looked at: scores, and probabilities of them.
MOST_OUTPUTS = 8


def find_scores(graph: Graph, loss: Loss | None) -> tuple[str, NodeProto | None]:
    """Return the name of the value that holds the scores, and the node that makes probabilities of them, if any.

    If there are several outputs, the scores are what all of them are or are made of. A single output of probabilities
    counts as scores if a loss is given that has no such probabilities.
    """
    names = graph.outputs if len(graph.outputs) <= MOST_OUTPUTS else []
    heads = {name: _head_of(graph, name) for name in names}
    options = []
    for name, head in heads.items():
        before = [] if head is None else [_source(graph, head.input[0])]
        options.append([*before, _source(graph, name)])
    common = [value for values in options for value in values if all(value in others for others in options)]
    if not common or not graph.is_computed(common[0]):
        raise ValueError(f"{graph.path}: expected one output, of class scores, got {graph.outputs!r:.200}")
    found = [head for name, head in heads.items() if head is not None and _source(graph, name) != common[0]]
    if len({HEADS[head.op_type] for head in found}) > 1:
        raise graph.refusal(found[0], "expected probabilities of one kind, got those of a softmax and of a sigmoid")
    if len(options) == 1 and found and loss is not None and not isinstance(labels_of(loss), HEADS[found[0].op_type]):
        return common[-1], None
    return common[0], found[0] if found else None


def check_head(graph: Graph, node: NodeProto, x: Value) -> None:
    """Raise an error if a node makes other probabilities than ours of the value that holds the scores."""
    if node.op_type == "Sigmoid":
        return
    is_over_one = graph.opset >= 13  # and before over all axes from this one on
    axis = graph.attributes(node, axis=-1 if is_over_one else 1)["axis"]
    place = axis + 1 + len(x.dims) if axis < 0 else axis
    summed = x.dims[place - 1 : place if is_over_one else None] if place > 0 else ()
    if not summed or prod(summed) != prod(x.dims):
        raise graph.refusal(node, f"axis: expected that of the classes, got {axis}")


def _source(graph: Graph, name: str) -> str:
    """Return the name of the value that nodes pass on under this name."""
    while (node := graph.producers.get(name)) is not None and node.op_type == "Identity":
        name = node.input[0]
    return name


def _head_of(graph: Graph, name: str) -> NodeProto | None:
    """Return the node that makes a value probabilities, None if there is none."""
    while (node := graph.producers.get(name)) is not None and node.op_type in RESHAPING:
        name = node.input[0]
    is_head = node is not None and node.op_type in HEADS and graph.is_computed(node.input[0])
    return node if is_head else None
