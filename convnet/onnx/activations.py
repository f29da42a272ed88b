"""Recognising an activation function that a file writes as several nodes, by what they compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import erf
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from convnet.layers.activations import LeakyReLU, ReLU
from convnet.layers.base import Layer
from convnet.layers.smooth_activations import GELU, Sigmoid, SiLU, Tanh
from convnet.onnx.reading import Graph

__all__ = ["find_activation"]

# Most nodes of one activation function.
MOST_NODES = 16
# Where functions are compared, and how far apart their values may be, as a part of their size. The large numbers tell
# a function with an upper bound, such as a Relu that ends at 255, from one without.
SAMPLES = np.concatenate([np.linspace(-9, 9, 181), np.outer([20, 40, 80, 1e3, 1e6, 1e12, 1e30], [-1, 1]).reshape(-1)])
SAMPLES.setflags(write=False)
TOLERANCE = 2e-6

# What nodes compute element by element, of constants of one number beside the input.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "Clip": lambda x, low=-np.inf, high=np.inf: np.minimum(np.maximum(x, low), high),
    "Div": np.divide,
    "Erf": np.vectorize(erf, otypes=[np.float64]),
    "Exp": np.exp,
    "Identity": lambda x: x,
    "Max": lambda *values: reduce(np.maximum, values),
    "Min": lambda *values: reduce(np.minimum, values),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": np.power,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Tanh": np.tanh,
}


def find_activation(graph: Graph, name: str) -> tuple[Layer, str] | None:
    """Return the layer that computes what nodes behind a value do, and the name of their result; None if none does.

    The nodes work element by element, and what they compute in between is used by them alone.

    Parameters
    ----------
    graph : Graph
    name : str
        Of the value.
    """
    values = {name: SAMPLES}
    waiting, found = list(graph.consumers[name]), list[NodeProto]()
    while 0 < len(waiting) <= MOST_NODES and len(found) < MOST_NODES:
        ready = next((node for node in waiting if _is_ready(graph, node, values)), None)
        if ready is None:
            return None
        result = _computed(graph, ready, values)
        if result is None:
            return None
        waiting.remove(ready)
        found.append(ready)
        output = ready.output[0]
        values[output] = result
        waiting += [node for node in graph.consumers[output] if node not in waiting]
        inner = [node for value in values if value != output for node in graph.consumers[value]]
        is_closed = all(node in found for node in inner) and not any(v in graph.outputs for v in values if v != output)
        if is_closed and (layer := _layer_of(result)) is not None:
            return layer, output
    return None


def _is_ready(graph: Graph, node: NodeProto, values: dict[str, Any]) -> bool:
    """Return whether a node works on known values alone, and element by element."""
    return (
        node.op_type in FUNCTIONS
        and len(node.output) == 1
        and all(name in values or not graph.is_computed(name) for name in node.input)
    )


def _computed(graph: Graph, node: NodeProto, values: dict[str, Any]) -> npt.NDArray[np.float64] | None:
    """Return what a node computes of the samples; None if it has other constants than single numbers."""
    arguments: list[Any] = []
    options = {entry.name: entry.f for entry in node.attribute}
    for place, name in enumerate(node.input):
        if name in values:
            arguments.append(values[name])
        elif name:
            constant = graph.constant(node, place, "an input")
            if constant is None or constant.size != 1 or constant.dtype.kind not in "iuf":
                return None
            arguments.append(float(constant.reshape(())))
        else:  # left out, as the lower bound of a Clip
            arguments.append(-np.inf if place == 1 else np.inf)
    if node.op_type == "Clip" and options:  # of the older sets of operators
        arguments += [options.get("min", -np.inf), options.get("max", np.inf)]
    with np.errstate(all="ignore"):
        try:
            return np.asarray(FUNCTIONS[node.op_type](*arguments), np.float64)
        except (TypeError, ValueError):  # more inputs than the function takes
            return None


def _layer_of(values: npt.NDArray[np.float64]) -> Layer | None:
    """Return a layer that computes these values of the samples."""
    candidates: list[Layer] = [ReLU(), Sigmoid(), Tanh(), GELU(), GELU(approximate=True), SiLU()]
    slope = float(values[0] / SAMPLES[0])
    if np.isfinite(slope):
        candidates.append(LeakyReLU(slope))
    for layer in candidates:
        expected = layer(SAMPLES)
        if values.shape == expected.shape and bool((abs(values - expected) <= TOLERANCE * (1 + abs(expected))).all()):
            return layer
    return None
