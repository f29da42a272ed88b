"""Layers in a row, and layers that hold others: their names, and the shapes that pass through them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from convnet.layers.base import Layer

__all__ = ["chain_shapes", "name_layers", "walk"]


def name_layers(layers: Sequence[Layer], what: str = "Sequential") -> dict[str, Layer]:
    """Return the layers by kind and running number, in order; errors begin with `what`."""
    if not isinstance(layers, Sequence):
        raise TypeError(f"{what}: expected a sequence of layers, got {layers!r:.60}")
    if not layers:
        raise ValueError(f"{what}: expected at least one layer")
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    seen = set()
    for position, layer in enumerate(layers, 1):
        if not isinstance(layer, Layer):
            raise TypeError(f"{what}: expected layer {position} to be a convnet.Layer, got {layer!r}")
        if not hasattr(layer, "params"):
            raise TypeError(
                f"{what}: layer {position}, {layer!r}, has no params; its __init__ has to call super().__init__()"
            )
        for _, inner in walk({"": layer}):
            if id(inner) in seen:
                raise ValueError(f"{what}: layer {position}, {inner!r}, is in the model already; make a second one")
            seen.add(id(inner))
        if "." in layer.kind or layer.kind[-1:].isdigit():
            raise ValueError(
                f"{what}: layer {position}, {layer!r}: expected a kind without a dot and without a digit at its "
                f"end, where its number follows, got {layer.kind!r}"
            )
        for key, param in layer.params.items():
            if not isinstance(param, np.ndarray) or param.dtype.kind != "f":
                got = param.dtype if isinstance(param, np.ndarray) else type(param).__name__
                raise TypeError(
                    f"{what}: layer {position}, {layer!r}: expected the parameter {key} to be an array of floats, "
                    f"got {got}"
                )
        counts[layer.kind] = counts.get(layer.kind, 0) + 1
        named[f"{layer.kind}{counts[layer.kind]}"] = layer
    return named


def chain_shapes(layers: Mapping[str, Layer], input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's output for one example; an impossible one is an error that names the layer."""
    shapes = {}
    shape = input_shape
    for name, layer in layers.items():
        try:
            shapes[name] = layer.output_shape(shape)
        except ValueError as error:
            raise ValueError(f"layer {name}, given one example of shape {shape}: {error}") from None
        shape = shapes[name]
    return shapes


def walk(layers: Mapping[str, Layer], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the full name and the layer for each of the layers, and behind it for those that it holds."""
    for name, layer in layers.items():
        yield prefix + name, layer
        for branch, inner in layer.branches.items():
            yield from walk(inner, f"{prefix}{name}.{branch}.")
