"""Tables that people read: as text on a terminal, and as HTML in a notebook, from the same rows."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Table"]

SIDES = {"<": "left", ">": "right"}


class Table(NamedTuple):
    """Rows of cells below a title; ``str(table)`` is the text, and a notebook shows the HTML.

    Attributes
    ----------
    rows : sequence of sequences of str
        Each has as many cells as there are columns. The first row has the columns' names.
    alignment : str
        For each column ``<`` or ``>``: to the left or to the right.
    title, note : str
        What stands above and below the rows, if anything.
    """

    rows: Sequence[Sequence[str]]
    alignment: str
    title: str = ""
    note: str = ""

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = [
            "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(row, self.alignment, widths, strict=True))
            for row in self.rows
        ]
        return "\n".join(part for part in (self.title, *lines, self.note) if part)

    def _repr_html_(self) -> str:
        """Return the table as HTML without colours of its own, which reads on light and on dark pages."""
        head, *body = (
            "".join(
                f'<{tag} style="text-align: {SIDES[align]}; white-space: pre">{_escaped(cell)}</{tag}>'
                for cell, align in zip(row, self.alignment, strict=True)
            )
            for row, tag in zip(self.rows, ("th", *["td"] * (len(self.rows) - 1)), strict=True)
        )
        rows = "".join(f"<tr>{row}</tr>" for row in body)
        title, note = (f"<p>{_escaped(text)}</p>" if text else "" for text in (self.title, self.note))
        return f"<div>{title}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}</div>"


def _escaped(text: str) -> str:
    """Return a text in which nothing is taken for HTML: the name of a class may be any text."""
    from html import escape  # here, because importing it takes milliseconds

    return escape(text)
