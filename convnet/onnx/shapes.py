"""Order and shape: what nodes do that move axes, and change no number.

The functions are as those of `convnet.onnx.operators`, whose table has them.
"""

from __future__ import annotations

from math import prod

from onnx import NodeProto, TensorProto

from convnet.layers.base import Layer
from convnet.onnx.reading import BATCH, Graph
from convnet.onnx.values import Value

__all__ = ["ARITHMETIC", "Row", "flatten", "images_of", "reshape", "same", "squeeze", "transpose"]

Row = list[Layer]

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def same(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Pass a value on, as an Identity or a Cast to other floats does."""
    if node.op_type == "Cast":
        kind = graph.attributes(node, to=0, saturate=1, round_mode="up")["to"]
        if kind not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16):
            raise ValueError("expected a conversion to floats")
    return x.named(node.output[0])


def transpose(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Return a value with the file's axes in another order."""
    order = graph.attributes(node, perm=None)["perm"] or tuple(range(len(x.dims) + 1))[::-1]
    if (moved := x.transposed(node.output[0], order)) is None:
        raise ValueError(f"perm: expected an order that leaves the examples first, got {order}")
    return moved


def images_of(graph: Graph, name: str, dims: tuple[int, ...]) -> Value:
    """Return the value of examples that no layer has changed; a graph of (H, W, C) puts the channels first itself."""

    def puts_channels_first(node: NodeProto) -> bool:
        if node.op_type == "Transpose":
            return bool(graph.attributes(node, perm=None)["perm"] == (0, 3, 1, 2))
        return node.op_type == "Reshape" and dims[2] == 1 != dims[0]

    value, last = name, False
    while len(dims) == 3 and not last and (nodes := graph.consumers[value]):
        last = any(puts_channels_first(node) for node in nodes)
        if len(nodes) > 1 or nodes[0].op_type not in ("Cast", "Identity", "Pad", *ARITHMETIC):
            break
        value = nodes[0].output[0]
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


def flatten(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Return a value with one axis for each example."""
    axis = graph.attributes(node, axis=1)["axis"]
    if axis not in (1, 1 - (len(x.dims) + 1)):
        raise ValueError(f"axis: expected 1, so that each example stays one, got {axis}")
    return _reshape_to(graph, node, x, row, (prod(x.dims),))


def reshape(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Return a value in the shape of a Reshape, which may be one that nodes compute."""
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


def squeeze(graph: Graph, node: NodeProto, x: Value, row: Row) -> Value:
    """Return a value with axes of size 1 taken away or added."""
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
