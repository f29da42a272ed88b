"""A stack of layers: their names, and the shapes that pass through them."""

from collections.abc import Mapping, Sequence

import numpy as np

from convnet.layers.base import Layer

__all__ = ["chain_shapes", "name_layers"]


def name_layers(layers: Sequence[Layer]) -> dict[str, Layer]:
    """Return the layers by kind and running number, in order."""
    if not isinstance(layers, Sequence):
        raise TypeError(f"Sequential: expected a sequence of layers, got {layers!r}")
    if not layers:
        raise ValueError("Sequential: expected at least one layer")
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    seen = set()
    for position, layer in enumerate(layers, 1):
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: expected layer {position} to be a convnet.Layer, got {layer!r}")
        if not hasattr(layer, "params"):
            raise TypeError(
                f"Sequential: layer {position}, {layer!r}, has no params; its __init__ has to call super().__init__()"
            )
        if id(layer) in seen:
            raise ValueError(f"Sequential: layer {position}, {layer!r}, is in the model already; make a second one")
        seen.add(id(layer))
        if "." in layer.kind or layer.kind[-1:].isdigit():
            raise ValueError(
                f"Sequential: layer {position}, {layer!r}: expected a kind without a dot and without a digit at its "
                f"end, where its number follows, got {layer.kind!r}"
            )
        for key, param in layer.params.items():
            if not isinstance(param, np.ndarray) or param.dtype.kind != "f":
                got = param.dtype if isinstance(param, np.ndarray) else type(param).__name__
                raise TypeError(
                    f"Sequential: layer {position}, {layer!r}: expected the parameter {key} to be an array of floats, "
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
