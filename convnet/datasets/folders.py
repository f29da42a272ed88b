"""Folders of image files, one for each class."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_flag, count_of, listed
from convnet.core.surprises import warn
from convnet.datasets.image_data import ImageData, checked_names, warn_of_missing
from convnet.datasets.image_reader import ImageReader, Images, Size, in_threads, opened, turned_size
from convnet.formats.files import PathLike, as_path

__all__ = ["load_folder"]

# Names of folders that are parts of a data set, not classes.
PART_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
# Files with other names are no images.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"),
    *(".jp2", ".tga", ".avif"),
)
# What programs leave in folders and archives.
IGNORED = ("__MACOSX",)

Files = list[tuple[Path, int]]


def load_folder(
    path: PathLike,
    *,
    size: int | Sequence[int] | None = None,
    crop: bool = True,
    channels: int | None = None,
    background: int | Sequence[int] = 255,
    class_names: Sequence[str] | None = None,
    skip_broken: bool = False,
    max_pixels: int = 100_000_000,
    progress: bool = False,
) -> dict[str, ImageData]:
    """Load the image files of a folder that has a folder for each class, as it is or in parts.

    Parameters
    ----------
    path : path
        A folder of ``CLASS/*.png``, or of ``train/CLASS/*.png`` with ``val``, ``valid`` or ``validation``, and ``test``
        beside it. Files may be PNG, JPEG, BMP, GIF, TIFF, WebP, PBM, PGM, PPM, JPEG 2000, TGA or AVIF, as their suffix
        says. Hidden files, those with other suffixes, and files outside the folders of classes are ignored.
    size : int or pair of ints, optional
        Height and width of the images, which are scaled to it, with their proportions kept and without aliasing. By
        default they stay as they are; they then have to be of one size.
    crop : bool
        Where the proportions of an image are not those of `size`: True cuts off what is too much on its two longer
        ends; False scales until all of it can be seen, and fills the rest with `background`.
    channels : 1 or 3, optional
        1 for grey levels, 3 for red, green and blue. By default images are grey if all files are, and otherwise
        red-green-blue. A file with a palette counts as coloured.
    background : int or three ints
        The ground under transparent pixels, and beside images with ``crop=False``: a grey level from 0 to 255, or red,
        green and blue.
    class_names : sequence of str, optional
        The names of the classes, in order, such as ``model.class_names``; each folder has to be one of them. By default
        the names of the folders of all parts, sorted as people do: ``class2`` before ``class10``.
    skip_broken : bool
        Leave out files that cannot be read, with a warning that counts and names them. By default the first one is an
        error.
    max_pixels : int
        Files of more pixels are broken: a small file may unpack to more than the memory holds.
    progress : bool
        Draw a bar on the terminal, with tqdm, if it is installed.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, ``"validation"`` and ``"test"``, those that there are; a folder without parts is ``"train"``.
        Images are uint8, (N, H, W) in grey or (N, H, W, 3), class by class, and by file name within a class. Each
        part knows its `ImageReader`, so that a model does the same with the images that it is given.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If there are no classes, a class has no image, the images differ in size and `size` is not given, or a file is
        broken. Messages name the folder or the file.
    ImportError
        If Pillow is not installed (``pip install "convnet-cpu[images]"``).

    Warns
    -----
    ConvnetWarning
        If files are skipped, or a part has no image of a class.

    Notes
    -----
    Images are turned as their EXIF data say. 16 bits are scaled to 8, colours made grey by the weights of ITU-R BT.601.
    Of a file with several images the first is taken. Files are read by several threads; the result is the same for any
    number of them.
    """
    root = as_path(path)
    reader = ImageReader(size, crop, channels, background, max_pixels)
    skips, shows = as_flag(skip_broken, "skip_broken"), as_flag(progress, "progress")
    folders = {part: _class_folders(folder) for part, folder in _part_folders(root).items()}
    found = {folder.name for classes in folders.values() for folder in classes}
    if class_names is None:
        names = tuple(sorted(found, key=natural_key))
    else:
        names = checked_names(class_names, "load_folder")
        if unknown := sorted(found - set(names), key=natural_key):
            raise ValueError(
                f"{path}: expected folders of the classes {listed(names)}, as class_names says, got {listed(unknown)}"
            )
    label_of = {name: label for label, name in enumerate(names)}
    files: Files = []
    ends = []
    for classes in folders.values():
        for folder in sorted(classes, key=lambda folder: label_of[folder.name]):
            files += [(file, label_of[folder.name]) for file in _image_files(folder)]
        ends.append(len(files))
    images, kept = _read_all(reader, [file for file, _ in files], skips, shows)
    reader = replace(reader, channels=1 if images.ndim == 3 else 3)
    labels = np.array([label for _, label in files], np.int64)
    parts = {}
    for part, start, end in zip(folders, [0, *ends], ends, strict=False):
        first, last = np.searchsorted(kept, (start, end))
        own = labels[kept[first:last]]
        if lost := sorted(set(labels[start:end].tolist()) - set(own.tolist())):
            raise ValueError(
                f"{path}: expected an image of each class that can be read, got only broken files of "
                f"{listed([names[label] for label in lost])} in the {part} part"
            )
        parts[part] = ImageData(images[first:last], own, names, reader)
    remedy = "take images of it in, or split(...) all images anew"
    warn_of_missing({part: data.labels for part, data in parts.items()}, names, "load_folder", remedy)
    return parts


def natural_key(name: str) -> tuple[list[Any], str]:
    """Return what names are sorted by, so that numbers within them count as numbers, and capitals do not matter."""
    pieces = re.split(r"([0-9]+)", name)
    return [int(piece) if index % 2 else piece.casefold() for index, piece in enumerate(pieces)], name


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
    if not root.is_dir():
        kind = "a file" if root.exists() else "nothing there"
        error = ValueError if root.exists() else FileNotFoundError
        remedy = "; load_data finds out what a file holds" if root.exists() else ""
        raise error(f"{root}: expected a folder with a folder of images for each class, got {kind}{remedy}")
    inside = _folders_in(root)
    if not inside:
        raise ValueError(f"{root}: expected a folder of images for each class, got no folder in it")
    # A class may be called train, too; a part has folders in it.
    parts = [folder for folder in inside if folder.name.lower() in PART_NAMES and _folders_in(folder)]
    if not parts:
        return {"train": root}
    if len(parts) < len(inside):
        others = sorted((folder.name for folder in inside if folder not in parts), key=natural_key)
        raise ValueError(
            f"{root}: expected either folders of parts, such as {parts[0].name}, or folders of classes, got "
            f"{listed(others)} beside {listed(sorted(folder.name for folder in parts))}"
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
                    f"{folder}: expected images, for a folder in it is that of a class, got the folder {entry.name}; "
                    "move its images up, or load a folder whose folders are the classes"
                )
            if entry.name.lower().endswith(SUFFIXES):
                names.append(entry.name)
    if not names:
        raise ValueError(
            f"{folder}: expected at least one image of the class {folder.name}, got no file that ends in "
            f"{', '.join(SUFFIXES)}"
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

    def measured(file: Path, name: str) -> Size | None:
        try:
            with opened(file, name, reader.max_pixels) as picture:
                return turned_size(picture)
        except (ValueError, OSError):
            return None

    with closing(in_threads(measured, [(file, str(file)) for file in files], False)) as found:
        sizes = Counter(size for size in found if size is not None)
    common = listed([f"{h}x{w} ({count:,})" for (h, w), count in sizes.most_common()])
    raise ValueError(
        f"load_folder: expected images of one size, got {len(sizes):,} sizes, height x width (files): {common}; "
        "size=(H, W) scales all of them to one"
    )
