"""A model's layers as a table."""

from collections.abc import Mapping

from convnet.core.tables import Table
from convnet.layers.base import Layer

__all__ = ["summary_table"]


def summary_table(layers: Mapping[str, Layer], input_shape: tuple[int, ...], title: str = "", note: str = "") -> Table:
    """Return a table: each layer's output shape, parameters, and multiply-adds for one example.

    The layers that a layer holds stand below it, indented, and are counted in it.
    """
    rows: list[tuple[str, ...]] = [("layer", "class", "output shape", "parameters", "multiply-adds")]
    rows.append(("input", "", str(input_shape), "0", "0"))
    totals = [0, 0]

    def add(layers: Mapping[str, Layer], shape: tuple[int, ...], indent: str, prefix: str) -> None:
        for name, layer in layers.items():
            given, shape = shape, layer.output_shape(shape)
            counts = [sum(param.size for param in layer.params.values()), layer.multiply_adds(given)]
            if not indent:
                totals[:] = [total + count for total, count in zip(totals, counts, strict=True)]
            what = indent + prefix + name, type(layer).__name__, str(shape)
            rows.append((*what, *(f"{count:,}" for count in counts)))
            for branch, inner in layer.branches.items():
                add(inner, given, indent + "  ", f"{branch}.")

    add(layers, input_shape, "", "")
    rows.append(("total", "", "", *(f"{total:,}" for total in totals)))
    return Table(rows, "<<<>>", title, note)
