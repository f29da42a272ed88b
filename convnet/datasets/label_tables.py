"""Labels of image files that stand in a table beside them, a line for each file, as in many of Kaggle's data sets."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from convnet.core.checks import count_of, listed
from convnet.core.surprises import warn
from convnet.datasets.tables import as_label_array, cells_of, lines_of
from convnet.formats.files import PathLike

__all__ = ["LabelTable", "check_options", "labelled_files"]

# A file, or a dictionary of labels by the names of the files.
LabelTable = PathLike | Mapping[str, Any]
# What may stand between the columns.
DELIMITERS = ",;\t"

# A file's name, its label, and where it stands in the table, for messages.
Row = tuple[str, Any, str]


def labelled_files(
    root: Path,
    labels: LabelTable,
    columns: Sequence[str | int] | None,
    images: Iterable[str],
    skips: bool,
) -> tuple[list[Path], Any]:
    """Return the image files that a table names, in its order, and their labels; see `load_folder`.

    Parameters
    ----------
    root : Path
        The folder that the names are relative to.
    labels, columns
        As of `load_folder`.
    images : iterable of str
        The image files in the folder, relative to it.
    skips : bool
        Leave out what the table names and the folder has not, with a warning.
    """
    what = "labels" if isinstance(labels, Mapping) else str(labels)
    known = set(images)
    without_suffix: dict[str, list[str]] = {}
    suffixes = set()
    for image in known:
        stem, suffix = os.path.splitext(image)
        suffixes.add(suffix.lower())
        without_suffix.setdefault(stem, []).append(image)

    def found(name: str) -> list[str]:
        place = os.path.normpath(name)
        return [place] if place in known else sorted(without_suffix.get(place, []))

    def looks_like_a_file(cell: str) -> bool:
        return bool(found(cell)) or os.path.splitext(cell)[1].lower() in suffixes - {""}

    if isinstance(labels, Mapping):
        rows = _rows_of_mapping(labels)
    else:
        if not os.path.exists(labels) and (root / labels).is_file():
            raise FileNotFoundError(f"{labels}: expected the path of a table, got nothing there; give {root / labels}")
        rows = _rows_of_file(labels, columns, looks_like_a_file)
    files: dict[str, tuple[Any, str]] = {}
    missing: list[Row] = []
    for row in rows:
        name, label, where = row
        matching = found(name)
        if not matching:
            missing.append(row)
            continue
        if len(matching) > 1:
            raise ValueError(f"{what}: expected one file for {name!r:.60}{where}, got {listed(matching)}")
        if matching[0] in files:
            raise ValueError(
                f"{what}: expected one label for each file, got {matching[0]}{files[matching[0]][1]} and again{where}; "
                "several labels an example need make_parts for the images, and binary_loss"
            )
        files[matching[0]] = label, where
    if missing and not (skips and files):
        raise _error_of(missing, len(rows), what, root, known)
    if missing:
        warn(
            f"load_folder: {count_of(len(missing), 'file')} of {len(rows):,} in {what} are missing in {root}: "
            f"{listed([name for name, _, _ in missing])}"
        )
    if unlabelled := sorted(known - set(files)):
        warn(
            f"load_folder: {count_of(len(unlabelled), 'image')} of {len(known):,} in {root} left out, without a label "
            f"in {what}: {listed(unlabelled)}"
        )
    given = [label for label, _ in files.values()]
    return [root / name for name in files], given if isinstance(labels, Mapping) else as_label_array(given)


def _error_of(missing: list[Row], count: int, what: str, root: Path, known: Iterable[str]) -> FileNotFoundError:
    """Return the error of files that a table of so many rows names and the folder has not."""
    name, _, where = missing[0]
    end = os.sep + name
    deeper = [image for image in known if image.endswith(end) or os.path.splitext(image)[0].endswith(end)]
    remedy = f"; give the folder {root / deeper[0][: deeper[0].rindex(end)]}" if deeper else ""
    if os.path.normpath(name).startswith(root.name + os.sep):
        remedy = f"; give the folder {root.parent}, for the table begins its names with {root.name}"
    more = f"; {len(missing):,} files of {count:,} are missing" if len(missing) > 1 else ""
    return FileNotFoundError(f"{what}: expected image files in {root}, got none for {name!r:.60}{where}{more}{remedy}")


def _rows_of_mapping(labels: Mapping[str, Any]) -> list[Row]:
    if not labels or not all(isinstance(name, str) for name in labels):
        raise TypeError(
            f"load_folder: labels: expected names of files as texts, each with its label, got {labels!r:.60}"
        )
    return [(name, label, "") for name, label in labels.items()]


def _rows_of_file(path: PathLike, columns: Sequence[str | int] | None, is_file: Callable[[str], bool]) -> list[Row]:
    """Return the rows of a table without its header."""
    lines = list(lines_of(path))
    if not lines:
        raise ValueError(f"{path}: expected a table with a line for each image, got an empty file")
    table = _cells_of_all(path, lines)
    header = table[0][1]
    if columns is None:
        if len(header) != 2:
            raise ValueError(
                f"{path}: expected two columns, the names of the files and the labels, got {listed(header)}; "
                "columns=(file, label) says which two"
            )
        # Most tables begin with the file.
        file, label = (1, 0) if is_file(table[-1][1][1]) and not is_file(table[-1][1][0]) else (0, 1)
    else:
        file, label = (_column(path, column, header) for column in columns)
    rows = []
    has_header = not is_file(header[file]) and header[label] not in {cells[label] for _, cells in table[1:]}
    for number, cells in table[1:] if has_header else table:
        if not cells[file] or not cells[label]:
            raise ValueError(f"{path}: expected a file and a label in line {number}, got an empty cell")
        rows.append((cells[file], cells[label], f" in line {number}"))
    if not rows:
        raise ValueError(f"{path}: expected a line for each image, got a header alone")
    return rows


def _cells_of_all(path: PathLike, lines: list[tuple[int, str]]) -> list[tuple[int, list[str]]]:
    """Return the cells of each line, parted by what makes columns of all lines."""
    wrong: tuple[int, int, int] | None = None
    for delimiter in DELIMITERS:
        table = [(number, cells_of(line, delimiter)) for number, line in lines]
        columns = len(table[0][1])
        other = next(((columns, len(cells), number) for number, cells in table if len(cells) != columns), None)
        if columns > 1 and other is None:
            return table
        wrong = wrong or other
    if wrong is None:
        return table  # of one column
    raise ValueError(f"{path}: expected {wrong[0]:,} columns as in the first line, got {wrong[1]:,} in line {wrong[2]}")


def _column(path: PathLike, column: str | int, header: list[str]) -> int:
    """Return the number of a column that is given by its name or its number."""
    if isinstance(column, str):
        matching = [number for number, name in enumerate(header) if name.lower() == column.lower()]
        if len(matching) != 1:
            raise ValueError(
                f"{path}: columns: expected one column called {column!r:.60}, got {len(matching)} among "
                f"{listed(header)}"
            )
        return matching[0]
    if not -len(header) <= column < len(header):
        raise ValueError(f"{path}: columns: expected one of {len(header)} columns, got the number {column}")
    return int(column) % len(header)


def check_options(labels: LabelTable | None, columns: Sequence[str | int] | None) -> None:
    """Raise an error unless `labels` and `columns` of `load_folder` are of the right kinds."""
    if not isinstance(labels, (str, os.PathLike, Mapping, NoneType)):
        raise TypeError(
            "load_folder: labels: expected the path of a table, or a dictionary of labels by the names of the files, "
            f'such as dict(zip(frame["file"], frame["label"])), got {labels!r:.60}'
        )
    if columns is None:
        return
    if labels is None or isinstance(labels, Mapping):
        raise ValueError(f"load_folder: columns: expected the path of a table as labels=, got {labels!r:.60}")
    is_pair = isinstance(columns, (tuple, list)) and len(columns) == 2
    if not is_pair or not all(isinstance(c, (str, int, np.integer)) and not isinstance(c, bool) for c in columns):
        raise TypeError(
            f"load_folder: columns: expected two columns, those of the file and of the label, by name or number, got "
            f"{columns!r:.60}"
        )
