"""Folders of image files: one for each class, or one with a table of labels."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_flag, count_of, listed
from convnet.core.surprises import ConvnetWarning, warn
from convnet.datasets.image_data import ImageData, as_classes, checked_names, warn_of_missing
from convnet.datasets.image_reader import ImageReader, Images, Size, in_threads, opened, turned_size
from convnet.datasets.label_tables import LabelTable, check_options, labelled_files
from convnet.formats.files import PathLike, as_path

__all__ = ["SUFFIXES", "image_sizes", "load_folder", "natural_key"]

# Names of folders that are parts of a data set, not classes.
PART_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
# Files with other names are no images.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".jp2", ".tga", ".avif"),
)
# Files that `image_sizes` looks at, at most.
MOST_MEASURED = 500
# What programs leave in folders and archives.
IGNORED = ("__MACOSX",)

Files = list[tuple[Path, int]]


def load_folder(
    path: PathLike,
    *,
    labels: LabelTable | None = None,
    columns: Sequence[str | int] | None = None,
    size: int | Sequence[int] | None = None,
    crop: bool = True,
    channels: int | None = None,
    background: int | Sequence[int] = 255,
    class_names: Sequence[str] | None = None,
    skip_broken: bool = False,
    max_pixels: int = 100_000_000,
    progress: bool = False,
) -> dict[str, ImageData]:
    """Load the image files of a folder that has a folder for each class, or a table of the labels.

    Parameters
    ----------
    path : path
        A folder of ``CLASS/*.png``; or of ``train/CLASS/*.png``, and the same in ``val`` (``valid``, ``validation``)
        and ``test`` if there are such parts. Files may be PNG, JPEG, BMP, GIF, TIFF, WebP, PBM, PGM, PPM, JPEG 2000,
        TGA or AVIF, by their suffix. Hidden files, those with other suffixes, and files outside the folders of classes
        are ignored.
    labels : path or mapping of str to str or int, optional
        The labels, if the images are not in a folder for each class: the path of a CSV file, as in many of Kaggle's
        data sets, or a dictionary of labels by file. The CSV file has a line for each image, with its file and its
        label. The names of the image files are relative to `path`, with or without their suffix. The images are the
        training part, in the order of the table.
    columns : pair of str or int, optional
        The columns of the files and of the labels, if the table has more than two: their names in the first line, or
        their numbers, 0 for the first.
    size : int or pair of ints, optional
        Height and width to which the images are scaled. Their proportions are kept, and there is no aliasing. By
        default images stay as they are, and have to be of one size.
    crop : bool
        What is done if an image has other proportions than `size`. True cuts off both ends of its longer side; False
        scales the image until all of it fits, and fills the rest with `background`.
    channels : 1 or 3, optional
        1 for grey levels, 3 for red, green and blue. By default images are grey if all files are, and otherwise
        red-green-blue. A file with a palette counts as coloured.
    background : int or three ints
        The ground under transparent pixels, and beside images with ``crop=False``: a grey level from 0 to 255, or red,
        green and blue.
    class_names : sequence of str, optional
        The names of the classes, in order, such as ``model.class_names``; the name of each folder has to be among them.
        By default they are the names of the folders of all parts, sorted as people do: ``class2`` before ``class10``.
        With `labels` they are as of `make_parts`.
    skip_broken : bool
        Leave out files that cannot be read, and those that the table names and the folder does not have. A warning
        counts and names them. By default the first one is an error.
    max_pixels : int
        Files of more pixels count as broken: a small file may unpack to more than the memory holds.
    progress : bool
        Draw a bar on the terminal, with tqdm, if it is installed.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, ``"validation"`` and ``"test"``, those that there are; a folder without parts is ``"train"``.
        Images are uint8, (N, H, W) in grey or (N, H, W, 3). Without `labels` they are sorted by class, and within a
        class by file name. Each part has its `ImageReader`, so that a model reads other images in the same way, and the
        paths of its files.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, no table, or no file that the table names.
    ValueError
        If there are no classes, a class has no image, the images differ in size and `size` is not given, a file is
        broken, or it is not clear which columns of a table to take. Messages name the folder, the file or the line.
    ImportError
        If Pillow is not installed (``pip install "convnet-cpu[images]"``).

    Warns
    -----
    ConvnetWarning
        If files are skipped, images are in no line of the table, or a part has no image of a class.

    Notes
    -----
    Images are turned as their EXIF data say. 16 bits are scaled to 8. Colours become grey by the weights of ITU-R
    BT.601. If a file has several images, the first is taken. Several threads read the files; the result is the same for
    any number of threads.
    """
    root = as_path(path)
    reader = ImageReader(size, crop, channels, background, max_pixels)
    skips, shows = as_flag(skip_broken, "skip_broken"), as_flag(progress, "progress")
    check_options(labels, columns)
    if labels is not None:
        files_of, names = _by_table(root, labels, columns, class_names, skips)
    else:
        files_of, names = _by_folders(root, class_names)
    files = [file for own in files_of.values() for file in own]
    images, kept = _read_all(reader, [file for file, _ in files], skips, shows)
    reader = replace(reader, channels=1 if images.ndim == 3 else 3)
    classes = np.array([label for _, label in files], np.int64)
    parts, start = {}, 0
    for part, own_files in files_of.items():
        end = start + len(own_files)
        first, last = np.searchsorted(kept, (start, end))
        own = classes[kept[first:last]]
        if lost := sorted(set(classes[start:end].tolist()) - set(own.tolist())):
            raise ValueError(
                f"{path}: expected an image of each class that can be read, got only broken files of "
                f"{listed([names[label] for label in lost])} in the {part} part"
            )
        paths = [files[number][0] for number in kept[first:last].tolist()]
        parts[part] = ImageData(images[first:last], own, names, reader, paths)
        start = end
    remedy = "add images of it, or put all images into one part and divide them by split"
    warn_of_missing({part: data.labels for part, data in parts.items()}, names, "load_folder", remedy)
    return parts


def image_sizes(
    path: PathLike, *, labels: LabelTable | None = None, columns: Sequence[str | int] | None = None
) -> Counter[Size]:
    """Count the sizes, height and width, of the image files that `load_folder` would load, without loading them.

    Of many files 500 are looked at, evenly spaced. Files that cannot be read are left out.

    Parameters
    ----------
    path, labels, columns
        As of `load_folder`.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As of `load_folder`.
    """
    root = as_path(path)
    check_options(labels, columns)
    with warnings.catch_warnings():  # which loading gives, too
        warnings.simplefilter("ignore", ConvnetWarning)
        found = _by_folders(root, None) if labels is None else _by_table(root, labels, columns, None, True)
    files = [file for own in found[0].values() for file, _ in own]
    step = -(-len(files) // MOST_MEASURED)
    return _sizes_of(files[:: max(step, 1)], ImageReader().max_pixels)


def _by_folders(root: Path, class_names: Sequence[str] | None) -> tuple[dict[str, Files], tuple[str, ...]]:
    """Return the files and classes of each part, from the folders that they are in, and the names of the classes."""
    folders = {part: _class_folders(folder) for part, folder in _part_folders(root).items()}
    found = {folder.name for classes in folders.values() for folder in classes}
    if class_names is None:
        names = tuple(sorted(found, key=natural_key))
    else:
        names = checked_names(class_names, "load_folder")
        if unknown := sorted(found - set(names), key=natural_key):
            raise ValueError(
                f"{root}: expected folders of the classes {listed(names)}, as class_names says, got {listed(unknown)}"
            )
    label_of = {name: label for label, name in enumerate(names)}
    files: dict[str, Files] = {part: [] for part in folders}
    for part, classes in folders.items():
        for folder in sorted(classes, key=lambda folder: label_of[folder.name]):
            files[part] += [(file, label_of[folder.name]) for file in _image_files(folder)]
    return files, names


def _by_table(
    root: Path,
    labels: LabelTable,
    columns: Sequence[str | int] | None,
    class_names: Sequence[str] | None,
    skips: bool,
) -> tuple[dict[str, Files], tuple[str, ...]]:
    """Return the files and classes of the training part, from a table, and the names of the classes."""
    _check_folder(root, "a folder of images")
    images = []
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith(".") and name not in IGNORED]
        images += [os.path.relpath(os.path.join(folder, name), root) for name in names if _is_image(name)]
    if not images:
        raise ValueError(f"{root}: expected a folder of images, got no file that ends in {', '.join(SUFFIXES)}")
    files, given = labelled_files(root, labels, columns, images, skips)
    what = "load_folder" if isinstance(labels, Mapping) else str(labels)
    classes, found_names = as_classes({"train": given}, class_names, what)
    return {"train": list(zip(files, classes["train"].tolist(), strict=True))}, found_names


def natural_key(name: str) -> tuple[list[Any], str]:
    """Return what names are sorted by, so that numbers within them count as numbers, and capitals do not matter."""
    pieces = re.split(r"([0-9]+)", name)
    return [int(piece) if index % 2 else piece.casefold() for index, piece in enumerate(pieces)], name


def _check_folder(root: Path, expected: str) -> None:
    """Raise an error unless a path is that of a folder."""
    if not root.is_dir():
        kind = "a file" if root.exists() else "nothing there"
        error = ValueError if root.exists() else FileNotFoundError
        remedy = "; load_data finds out what a file holds" if root.exists() else ""
        raise error(f"{root}: expected {expected}, got {kind}{remedy}")


def _is_image(name: str) -> bool:
    """Return whether a file is an image, by its name; what is hidden is none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden."""
    with os.scandir(folder) as entries:
        return [
            folder / entry.name
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".") and entry.name not in IGNORED
        ]


def _part_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the parts by name, in order; the whole folder as the training part if it has no parts."""
    _check_folder(root, "a folder with a folder of images for each class")
    inside = _folders_in(root)
    if not inside:
        content = "no folder in it"
        if any(map(_is_image, os.listdir(root))):
            content = (
                "images and no folder in it; if they are one class, give the folder above; if a table has their "
                'labels, give it, too: labels="labels.csv"'
            )
        raise ValueError(f"{root}: expected a folder of images for each class, got {content}")
    # A class may be called train, too; a part has folders in it.
    parts = [folder for folder in inside if folder.name.lower() in PART_NAMES and _folders_in(folder)]
    if not parts:
        return {"train": root}
    if len(parts) < len(inside):
        others = sorted((folder.name for folder in inside if folder not in parts), key=natural_key)
        raise ValueError(
            f"{root}: expected either folders of parts, such as {parts[0].name}, or folders of classes, got "
            f"{listed(others)} beside {listed(sorted(folder.name for folder in parts))}; a part has a folder of images "
            f"for each class, and {parts[0]} alone can be loaded, too"
        )
    found: dict[str, Path] = {}
    for folder in parts:
        name = PART_NAMES[folder.name.lower()]
        if name in found:
            raise ValueError(f"{root}: expected one folder for the {name} part, got {found[name].name}, {folder.name}")
        found[name] = folder
    return {name: found[name] for name in ("train", "validation", "test") if name in found}


def _class_folders(part: Path) -> list[Path]:
    folders = _folders_in(part)
    if not folders:
        raise ValueError(f"{part}: expected a folder of images for each class, got no folder in it")
    return folders


def _image_files(folder: Path) -> list[Path]:
    """Return the image files of a class, in order."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in IGNORED:
                continue
            if entry.is_dir():
                raise ValueError(
                    f"{folder}: expected the images of the class {folder.name}, got the folder {entry.name} among "
                    "them; move its images up, or load a folder whose folders are the classes"
                )
            if _is_image(entry.name):
                names.append(entry.name)
    if not names:
        raise ValueError(
            f"{folder}: expected at least one image of the class {folder.name}, got no file that ends in "
            f"{', '.join(SUFFIXES)}; put images into it, or remove it"
        )
    return [folder / name for name in sorted(names, key=natural_key)]


def _read_all(reader: ImageReader, files: list[Path], skips: bool, shows: bool) -> tuple[Images, npt.NDArray[np.intp]]:
    """Return the images of all files, (N, H, W) or (N, H, W, 3), and which files they are of."""
    images: Images | None = None
    kept: list[int] = []
    broken: list[tuple[Path, Exception]] = []
    with closing(reader.read_each(files, shows)) as results:
        for index, result in enumerate(results):
            if isinstance(result, Exception):
                if not skips and isinstance(result, ValueError):
                    raise ValueError(f"{result}; skip_broken=True leaves out files that cannot be read") from None
                if not skips:
                    raise result
                broken.append((files[index], result))
                continue
            if images is None:
                images = np.empty((len(files), *result.shape), np.uint8)
            if images.shape[1:3] != result.shape[:2]:
                _raise_of_sizes(reader, files)
            if images.ndim < result.ndim + 1:  # the first file with colours
                images = np.repeat(images[..., np.newaxis], 3, axis=3)
            images[len(kept)] = result if images.ndim == result.ndim + 1 else result[..., np.newaxis]
            kept.append(index)
    if images is None:
        raise ValueError(f"{broken[0][1]}; no file of {len(files)} could be read")
    if broken:
        named = listed([f"{file.parent.name}/{file.name}" for file, _ in broken])
        warn(
            f"load_folder: {count_of(len(broken), 'file')} of {len(files):,} could not be read and left out: "
            f"{named}; the first because: {broken[0][1]}"
        )
    return images[: len(kept)], np.array(kept, np.intp)


def _raise_of_sizes(reader: ImageReader, files: list[Path]) -> None:
    """Raise the error of images of different sizes, which counts them."""
    sizes = _sizes_of(files, reader.max_pixels)
    common = listed([f"{h}x{w} ({count:,})" for (h, w), count in sizes.most_common()])
    raise ValueError(
        f"load_folder: expected images of one size, got {len(sizes):,} sizes, height x width (files): {common}; "
        "size=(H, W) scales all of them to one"
    )


def _sizes_of(files: list[Path], max_pixels: int) -> Counter[Size]:
    """Count the sizes of image files, of those that can be read."""

    def measured(file: Path, name: str) -> Size | None:
        try:
            with opened(file, name, max_pixels) as picture:
                return turned_size(picture)
        except (ValueError, OSError):
            return None

    with closing(in_threads(measured, [(file, str(file)) for file in files], False)) as found:
        return Counter(size for size in found if size is not None)
