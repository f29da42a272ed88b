"""Tables of images: CSV files with a line for each image, its pixels and its label."""

import csv
import gzip
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_flag, as_shape, listed
from convnet.datasets.image_data import ImageData, parts_of
from convnet.formats.files import PathLike, open_file

__all__ = ["as_label_array", "cells_of", "lines_of", "load_csv"]

# Names of a column of labels, in any case.
LABEL_NAMES = ("label", "labels", "class", "target")
# Lines that are read at a time: so many bytes of pixels as numbers, eight each, and again as text.
CHUNK = 1000
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")

Line = tuple[int, str]


class _Columns(NamedTuple):
    """What the columns of a table are."""

    number: int
    label: int
    names: list[str] | None

    def name(self, pixel: int) -> str:
        """Return how a message calls the column of a pixel."""
        column = pixel + (pixel >= self.label)
        return f"column {column + 1}" + (f" ({self.names[column]!r:.40})" if self.names else "")


def load_csv(
    train: PathLike,
    validation: PathLike | None = None,
    test: PathLike | None = None,
    *,
    label: str | int | None = None,
    class_names: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
    axes: str | None = None,
    header: bool | None = None,
    delimiter: str = ",",
) -> dict[str, ImageData]:
    """Load images from tables, CSV files with a line for each image: its label, and a column for each pixel.

    Parameters
    ----------
    train : path
        A file in UTF-8, gzipped or not. Pixels are whole numbers from 0 to 255, row by row.
    validation, test : path, optional
        Files of the other parts.
    label : str or int, optional
        The column of the labels, by its name in the header, or by its number: 0 for the first, -1 for the last. By
        default it is the one called label, labels, class or target, or the only one in the first line that is no
        number.
    class_names, axes, image_shape
        As of `make_parts`, but that images are grey and square by default: 784 pixels are 28x28.
    header : bool, optional
        Whether the first line has the columns' names. By default it has, if anything in it but the label is
        no number.
    delimiter : str
        What stands between the columns, such as ``";"``, or a tab.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, and ``"validation"`` and ``"test"`` where they are given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a cell is no pixel, a line has another number of columns, or it is not clear which column has the labels or
        what shape the images have. The message names file, line and column.

    Notes
    -----
    This is the layout of Kaggle's "Digit Recognizer", and of its tables of Fashion-MNIST, Sign Language MNIST and
    others. Kaggle's ``test.csv`` has no labels. Its images alone are
    ``numpy.loadtxt(path, numpy.uint8, delimiter=",", skiprows=1).reshape(-1, 28, 28)``.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"load_csv: delimiter: expected one character, got {delimiter!r:.60}")
    if label is not None and (isinstance(label, (bool, float)) or not isinstance(label, (str, int, np.integer))):
        raise TypeError(f"load_csv: label: expected the name or the number of a column, got {label!r:.60}")
    has_header = None if header is None else as_flag(header, "header")
    shape = None if image_shape is None else as_shape(image_shape, "load_csv: image_shape")
    given = {"train": train} | {
        part: path for part, path in (("validation", validation), ("test", test)) if path is not None
    }
    pairs = {part: _read(path, label, has_header, delimiter) for part, path in given.items()}
    pixels = pairs["train"][0].shape[1]
    if shape is None:
        side = isqrt(pixels)
        if side * side != pixels or not pixels:
            raise ValueError(
                f"{train}: expected square images of grey levels, whose number of pixels is a square such as 784, got "
                f"{pixels:,} columns beside the label: image_shape= says another shape, such as (32, 32, 3), and other "
                "columns have to be taken out of the file"
            )
        shape = (side, side)
    return parts_of(pairs, str(train), class_names=class_names, axes=axes, image_shape=shape)


def _read(
    path: PathLike, label: str | int | None, has_header: bool | None, delimiter: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Return the flat images and the labels of a file."""
    lines = lines_of(path)
    first = next(lines, None)
    if first is None:
        raise ValueError(f"{path}: expected a table with a line for each image, got an empty file")
    columns = _columns(path, cells_of(first[1], delimiter), label, has_header)
    pending = [] if columns.names else [first]
    labels: list[str] = []
    images: list[npt.NDArray[np.uint8]] = []
    while chunk := [*pending, *islice(lines, CHUNK - len(pending))]:
        pending = []
        rows = []
        for number, line in chunk:
            name, row = _parted(path, number, line, columns, delimiter)
            labels.append(name)
            rows.append(row)
        images.append(_pixels(path, chunk, rows, columns, delimiter))
    if not images:
        raise ValueError(f"{path}: expected a line for each image, got a header alone")
    return np.concatenate(images), as_label_array(labels)


def as_label_array(cells: Sequence[str]) -> npt.NDArray[Any]:
    """Return cells of labels as an array: of integers if all of them are, otherwise of texts.

    Numbers such as 007 are texts: 7 may be another class.
    """
    if all(INTEGER.fullmatch(cell) for cell in cells):
        return np.array([int(cell) for cell in cells], np.int64)
    return np.array(cells, np.str_)


def lines_of(path: PathLike) -> Iterator[Line]:
    """Yield the lines of a file that are not empty, with their numbers."""
    try:
        with open_file(path) as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if zipped else file as content:
                for number, line in enumerate(content, 1):
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                    if text.strip():
                        yield number, text
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a table, a CSV file, but there is no such file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a table in UTF-8, got other bytes") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole gzip file, but it is broken: {error}") from None


def cells_of(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line without the spaces around them, and without quotation marks."""
    if '"' not in line:
        return [cell.strip() for cell in line.split(delimiter)]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True))]
    except csv.Error:
        return [line]


def _columns(path: PathLike, cells: list[str], label: str | int | None, has_header: bool | None) -> _Columns:
    """Return what the columns are, from the first line."""
    texts = [column for column, cell in enumerate(cells) if not _is_number(cell)]
    if len(cells) < 2:
        raise ValueError(
            f"{path}: expected columns for a label and the pixels, got one; delimiter= says what parts them"
        )
    if label is not None and not isinstance(label, str):
        if not -len(cells) <= label < len(cells):
            raise ValueError(f"{path}: label: expected one of {len(cells)} columns, got the number {label}")
        column = int(label) % len(cells)
        found = bool(set(texts) - {column}) if has_header is None else has_header
        return _Columns(len(cells), column, cells if found else None)
    found = len(texts) > 1 or isinstance(label, str) if has_header is None else has_header
    if not found:
        if isinstance(label, str):
            raise ValueError(
                f"{path}: label: expected the number of a column, for there is no header, got {label!r:.60}"
            )
        if len(texts) != 1:
            raise ValueError(
                f"{path}: expected a column of labels that can be told from the pixels, got numbers alone: label=0 "
                "says that it is the first, label=-1 the last"
            )
        return _Columns(len(cells), texts[0], None)
    wanted = LABEL_NAMES if label is None else (label.lower(),)
    matching = [column for column, cell in enumerate(cells) if cell.lower() in wanted]
    if len(matching) != 1:
        raise ValueError(
            f"{path}: expected one column called {' or '.join(wanted)}, got {len(matching)} among {listed(cells)}; "
            "label= names the column, or says its number"
        )
    return _Columns(len(cells), matching[0], cells)


def _parted(path: PathLike, number: int, line: str, columns: _Columns, delimiter: str) -> tuple[str, str]:
    """Return the label of a line, and the line without it."""
    if '"' in line:
        cells = cells_of(line, delimiter)
        count = len(cells)
        line = delimiter.join(cells[: columns.label] + cells[columns.label + 1 :])
        label = cells[columns.label] if columns.label < count else ""
    else:
        count = line.count(delimiter) + 1
        before = line.split(delimiter, columns.label + 1)
        label = before[columns.label].strip() if columns.label < count else ""
        line = delimiter.join(before[: columns.label] + before[columns.label + 1 :])
    if count != columns.number:
        raise ValueError(
            f"{path}: expected {columns.number:,} columns as in the first line, got {count:,} in line {number}"
        )
    if not label:
        raise ValueError(f"{path}: expected a label in line {number}, got an empty cell")
    return label, line


def _pixels(
    path: PathLike, chunk: list[Line], rows: list[str], columns: _Columns, delimiter: str
) -> npt.NDArray[np.uint8]:
    """Return the pixels of lines without their labels."""
    whole = all(row.strip() for row in rows)  # NumPy leaves out lines that are empty
    options: dict[str, Any] = {"delimiter": delimiter, "comments": None, "ndmin": 2}
    try:
        with warnings.catch_warnings():  # some releases of NumPy read 1.5 as 1, and warn
            warnings.simplefilter("error", DeprecationWarning)
            if whole:
                return np.loadtxt(rows, np.uint8, **options)
    except (ValueError, DeprecationWarning):
        pass
    # Some are no such integers. They may still be 12.0; what they are otherwise is found out here.
    try:
        if not whole:
            raise ValueError
        levels = np.loadtxt(rows, np.float64, **options)
        with np.errstate(invalid="ignore"):
            pixels = levels.astype(np.uint8)
        wrong = np.argwhere(pixels != levels)
        if not wrong.size:
            return pixels
        row, pixel = wrong[0].tolist()
    except ValueError:
        cells = (
            (row, pixel, cell) for row, line in enumerate(rows) for pixel, cell in enumerate(line.split(delimiter))
        )
        row, pixel = next(((row, pixel) for row, pixel, cell in cells if not _is_number(cell)), (0, 0))
    cell = rows[row].split(delimiter)[pixel]
    remedy = "; load_folder(folder, labels=table) takes a table of files and labels" if columns.number == 2 else ""
    raise ValueError(
        f"{path}: expected pixels that are whole numbers from 0 to 255, got {cell!r:.40} in line {chunk[row][0]}, "
        f"{columns.name(pixel)}{remedy}"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.isascii()
