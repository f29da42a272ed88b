"""Tables of text: columns as wide as their widest cell."""

from collections.abc import Sequence

__all__ = ["format_table"]


def format_table(rows: Sequence[Sequence[str]], alignment: str) -> str:
    """Return rows of cells as lines of equal length.

    Parameters
    ----------
    rows : sequence of sequences of str
        Each has as many cells as there are columns.
    alignment : str
        For each column ``<`` or ``>``: to the left or to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(row, alignment, widths, strict=True))
        for row in rows
    )
