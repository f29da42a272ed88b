"""Reading: an ONNX file as nodes and constants, with nothing believed that the file says of itself.

A constant takes no more memory than the file has bytes for it. What else nodes compute from constants, such as the
shape of a reshaping, is computed only when it is asked for, and only where the result is small.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convnet.formats.files import PathLike, read_file

__all__ = ["BATCH", "Graph", "read_graph"]

# The oldest set of operators that is read.
OLDEST = 7
# What stands for the number of examples, N, where nodes compute with it and the file leaves it open.
BATCH = 8191
# Types of elements of an input.
INPUTS = (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
# Nodes that compute constants from constants.
FOLDED = {
    *("Add", "Cast", "Concat", "Constant", "Div", "Gather", "Identity", "Mul", "Neg", "Reshape", "Shape", "Slice"),
    *("Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
}
# Most nodes in a row of which one computes a constant for the next; and how many elements nodes may make of constants,
# or take of them for parameters, beyond one for each byte of the file.
DEEPEST, MOST_FOLDED = 100, 1 << 16


class Graph:
    """The nodes and constants of a file.

    Parameters
    ----------
    proto : ModelProto
        A valid one, whose arrays are in it.
    path : str
        Begins messages.
    size : int
        Bytes of the file.

    Attributes
    ----------
    input : ValueInfoProto
        The only input that is no constant.
    batch : int
        Number of examples that the file's shapes are for; `BATCH` where it is open.
    dtype : dtype
        Of parameters: float64 if that is the input's, or float32.
    shapes : dict of str to tuple of ints
        Shapes with that number of examples, of values that whoever follows the graph has come to.
    """

    def __init__(self, proto: ModelProto, path: str, size: int) -> None:
        self.path, self.nodes = path, list(proto.graph.node)
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.outputs = [output.name for output in proto.graph.output]
        self.opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
        if self.opset < OLDEST:
            raise ValueError(f"{path}: expected operators of set {OLDEST} or newer, got set {self.opset}")
        self.tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self.budget = MOST_FOLDED + size
        inputs = [value for value in proto.graph.input if value.name not in self.tensors]
        if len(inputs) != 1:
            raise ValueError(f"{path}: expected a graph with one input, got {[value.name for value in inputs]!r:.200}")
        self.input: ValueInfoProto = inputs[0]
        kind, dims = self.input.type.tensor_type.elem_type, self.input.type.tensor_type.shape.dim
        if kind not in INPUTS:
            found = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else kind
            raise ValueError(f"{path}: expected an input of floats or of uint8, got one of type {found}")
        self.dtype = np.dtype(np.float64 if kind == TensorProto.DOUBLE else np.float32)
        self.batch = dims[0].dim_value if dims and dims[0].dim_value > 0 else BATCH
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.consumers = self._consumers()
        other = next((node for node in self.nodes if node.domain not in ("", "ai.onnx")), None)
        if other is not None:
            raise self.refusal(other, f"expected an operator of ONNX itself, got one of {other.domain!r:.60}")

    def _consumers(self) -> dict[str, list[NodeProto]]:
        """Return by each value that is computed from the input the nodes that compute with it, not with its shape."""
        consumers: dict[str, list[NodeProto]] = {self.input.name: []}
        for node in self.nodes:
            computed = [name for name in dict.fromkeys(node.input) if name in consumers]
            if node.op_type != "Shape" and computed:
                for name in computed:
                    consumers[name].append(node)
                consumers |= {name: [] for name in node.output if name}
        return consumers

    # ------------------------------------------------------------------------------------------- messages

    def refusal(self, node: NodeProto, message: object) -> ValueError:
        """Return an error that names a node."""
        name = f" {node.name!r:.60}" if node.name else ""
        output = "" if node.name or not node.output else f" that computes {node.output[0]!r:.60}"
        return ValueError(f"{self.path}: node{name} of type {node.op_type:.40}{output}: {message}")

    # ------------------------------------------------------------------------------------------- constants

    def is_computed(self, name: str) -> bool:
        """Return whether a value depends on the numbers of the input."""
        return name in self.consumers

    def constant(self, node: NodeProto, place: int, what: str) -> npt.NDArray[Any] | None:
        """Return an input of a node, None if it is left out; an input that is no constant is an error."""
        if place >= len(node.input) or not node.input[place]:
            return None
        try:
            array = self._evaluated(node.input[place], 0)
            self.spend(array.size)
        except ValueError as error:
            raise self.refusal(node, f"expected {what} to be a constant, {error}") from None
        return array

    def numbers(self, node: NodeProto, place: int, what: str) -> list[int] | None:
        """Return an input of a node as a list of ints, None if it is left out."""
        array = self.constant(node, place, what)
        if array is None:
            return None
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
            raise self.refusal(node, f"expected {what} to be a few integers, got {array.dtype} of shape {array.shape}")
        return [int(number) for number in array.reshape(-1)]

    def _evaluated(self, name: str, depth: int) -> npt.NDArray[Any]:
        """Return a constant of the file, or what nodes compute from constants."""
        if name in self.constants:
            return self.constants[name]
        if name in self.tensors:
            array = _array_of(self.tensors[name])
        else:
            node = self.producers.get(name)
            if node is None or node.op_type not in FOLDED or self.is_computed(name) or len(node.output) != 1:
                raise ValueError(
                    f"got {name!r:.60}, which is computed{'' if node is None else f' by {node.op_type:.40}'}"
                )
            if depth == DEEPEST:
                raise ValueError(f"got one that more than {DEEPEST} nodes in a row compute")
            array = self._folded(node, depth)
        self.constants[name] = array
        return array

    def spend(self, size: int) -> None:
        """Count elements that nodes make of constants, or take for parameters of their own; too many are an error."""
        self.budget -= size
        if self.budget < 0:
            raise ValueError("got one with which nodes take more memory than the file")

    def _folded(self, node: NodeProto, depth: int) -> npt.NDArray[Any]:
        """Return what a node computes from constants, after making sure that it is small."""
        if node.op_type == "Shape":
            shape = self.shapes.get(node.input[0])
            if shape is None:
                raise ValueError(f"got the shape of {node.input[0]!r:.60}, which is not known")
            attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
            return np.array(shape[slice(attributes.get("start", 0), attributes.get("end"))], np.int64)
        inputs: list[npt.NDArray[Any] | None] = [
            self._evaluated(name, depth + 1) if name else None for name in node.input
        ]
        self.spend(_size_of_result(node, inputs))
        try:
            evaluator = ReferenceEvaluator(node, opsets={"": self.opset})
            feeds = {name: array for name, array in zip(node.input, inputs, strict=True) if array is not None}
            (result,) = evaluator.run(None, feeds)
        except Exception as error:  # whatever an operator says of odd inputs
            raise ValueError(f"got one that {node.op_type} cannot compute: {error!s:.100}") from None
        return np.asarray(result)

    # ------------------------------------------------------------------------------------------- attributes

    def attributes(self, node: NodeProto, **defaults: Any) -> dict[str, Any]:
        """Return a node's attributes, and the defaults of those that it leaves out; others are an error.

        A default tells the type that is expected, too: an int, a float, a text, or a tuple of ints of this length. None
        leaves the length of ints open.
        """
        found = dict(defaults)
        for entry in node.attribute:
            if entry.name not in defaults:
                raise self.refusal(node, f"expected no attribute {entry.name!r:.40}")
            found[entry.name] = self._attribute(node, entry, defaults[entry.name])
        return found

    def _attribute(self, node: NodeProto, entry: AttributeProto, default: Any) -> Any:
        value = helper.get_attribute_value(entry)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(default, tuple) or default is None:
            length = None if default is None else len(default)
            if isinstance(value, Sequence) and all(type(number) is int for number in value):
                value = tuple(value)
                if length in (None, len(value)):
                    return value
            expected = "integers" if length is None else f"{length} integers"
            raise self.refusal(node, f"{entry.name}: expected {expected}, got {value!r:.60}")
        if type(value) is not type(default):
            raise self.refusal(node, f"{entry.name}: expected {type(default).__name__}, got {value!r:.60}")
        return value


def _size_of_result(node: NodeProto, inputs: Sequence[npt.NDArray[Any] | None]) -> int:
    """Return how many elements a node's result has at most."""
    arrays = [array for array in inputs if array is not None]
    sizes = [array.size for array in arrays]
    if node.op_type == "Concat":
        return sum(sizes)
    if node.op_type == "Gather":
        return prod(sizes)
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        return prod(max(side) for side in zip(*(_padded(array.shape, arrays) for array in arrays), strict=True))
    return max(sizes, default=0)


def _padded(shape: tuple[int, ...], arrays: Sequence[npt.NDArray[Any]]) -> tuple[int, ...]:
    """Return a shape with as many axes as the array with the most."""
    return (1,) * (max(array.ndim for array in arrays) - len(shape)) + shape


def _array_of(tensor: TensorProto) -> npt.NDArray[Any]:
    """Return a tensor's array, whose elements have to be in the file."""
    if tensor.data_type == TensorProto.STRING or any(size < 0 for size in tensor.dims):
        raise ValueError(f"got {tensor.name!r:.60}, which holds no numbers or has a negative size")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # bytes that are too few or too many, or an unknown type
        raise ValueError(f"got {tensor.name!r:.60}, which cannot be read: {error!s:.100}") from None


# --------------------------------------------------------------------------------------------------- files


def read_graph(path: PathLike) -> Graph:
    """Return the graph of a file, after checking that it is valid.

    Raises
    ------
    ValueError
        If it is no valid ONNX file, or arrays lie in other files than of its own folder.
    OSError
        If a file cannot be read.
    """
    content, name = read_file(path), os.fspath(path)
    try:
        proto = ModelProto.FromString(content)
    except DecodeError:
        raise ValueError(f"{name}: expected an ONNX file, got something else or a part of one") from None
    if proto.functions:
        raise ValueError(
            f"{name}: expected a graph without functions of its own; onnx.inliner puts them into the graph"
        )
    size = len(content) + _load_external(proto, Path(name))
    try:
        checker.check_model(proto)
    except (checker.ValidationError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{name}: expected a valid ONNX file: {reason:.200}") from None
    if proto.graph.sparse_initializer:
        raise ValueError(f"{name}: expected arrays that are stored whole, got sparse ones")
    return Graph(proto, name, size)


def _load_external(proto: ModelProto, path: Path) -> int:
    """Put the bytes of arrays that lie in files beside this one into the arrays; return how many they are.

    All arrays together take no more than these files have.
    """
    if any(entry.t.data_location == TensorProto.EXTERNAL for node in proto.graph.node for entry in node.attribute):
        raise ValueError(f"{path}: expected arrays in other files to be initializers, got one that belongs to a node")
    sizes: dict[Path, int] = {}
    total = 0
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            file, offset, needed = _place_of(tensor, path)
            sizes[file] = file.stat().st_size
            total += needed
            if total > sum(sizes.values()):
                raise ValueError(f"{path}: expected each array to have bytes of its own in another file")
            with open(file, "rb") as opened:
                opened.seek(offset)
                tensor.raw_data = opened.read(needed)
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    return total


def _place_of(tensor: TensorProto, path: Path) -> tuple[Path, int, int]:
    """Return the file beside this one that an array lies in, and its first byte there and how many it has.

    The file has to lie in the folder of this one or below, and no link may lead out of it.
    """
    entries: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    what, location = f"{path}: the array {tensor.name!r:.60}", entries.get("location", "")
    folder = Path(os.path.realpath(path.parent))
    if not location or "\0" in location or Path(location).is_absolute():
        raise ValueError(f"{what}: expected the name of a file in the same folder, got {location!r:.60}")
    file = Path(os.path.realpath(folder / location))
    if not file.is_relative_to(folder):
        raise ValueError(f"{what}: expected a file in the folder of the ONNX file, got {location!r:.60} outside of it")
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "-1"))
        needed = prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{what}: expected numbers, with their place in another file, got {entries!r:.100}") from None
    if not file.is_file():
        raise FileNotFoundError(f"{what} is in the file {location!r:.60} of the same folder, which is missing")
    size = file.stat().st_size
    if min(tensor.dims, default=0) < 0 or length not in (-1, needed) or not 0 <= offset <= size - needed:
        raise ValueError(
            f"{what}: expected {needed} bytes of {location!r:.60}, got {length} from byte {offset} of {size}"
        )
    return file, offset, needed
