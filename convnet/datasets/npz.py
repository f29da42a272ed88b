"""Data sets in one file of named arrays."""

import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy.typing as npt

from convnet.core.checks import listed
from convnet.datasets.idx import DEFLATE_LIMIT
from convnet.datasets.image_data import PARTS, ImageData, parts_of
from convnet.formats.archives import array_of
from convnet.formats.files import PathLike, open_file

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

__all__ = ["load_npz"]

# What the arrays of images and labels are called, and the parts in their names.
PATTERNS = (("{}_images", "{}_labels"), ("x_{}", "y_{}"))
PART_NAMES = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
# What they are called in a file of one part.
WHOLE = (("images", "labels"), ("x", "y"))


def load_npz(
    path: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    axes: str | None = None,
    image_shape: Sequence[int] | None = None,
) -> dict[str, ImageData]:
    """Load a data set from an ``.npz`` file of images and labels, such as MedMNIST's and Keras' are.

    Parameters
    ----------
    path : path
        A file with the arrays ``train_images`` and ``train_labels``, or ``x_train`` and ``y_train``, and the same with
        ``val``, ``valid`` or ``validation``, and with ``test``, if there are such parts. ``images`` and ``labels``, or
        ``x`` and ``y``, are the training part. Capital letters do not matter, and other arrays are ignored.
    class_names, axes, image_shape
        As of `make_parts`, which is given the arrays.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, ``"validation"`` and ``"test"``, those that there are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or has no such arrays. The message lists those that there are.
    ValueError, TypeError
        As of `make_parts`.

    Notes
    -----
    J. Yang et al., "MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image classification",
    2023. Arrays of Python objects are refused, because to read them would run what the file asks for.
    """
    try:
        with open_file(path) as file, _opened(file, path) as archive:
            size = os.fstat(file.fileno()).st_size
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            names = _names(list(members), path)
            pairs = {
                part: (_array(archive, members[images], path, size), _array(archive, members[labels], path, size))
                for part, (images, labels) in names.items()
            }
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected an .npz file, but there is no such file") from None
    return parts_of(pairs, str(path), class_names=class_names, axes=axes, image_shape=image_shape)


def _opened(file: IO[bytes], path: PathLike) -> "ZipFile":
    """Return the archive in a file."""
    import zipfile  # here, because importing it takes milliseconds

    try:
        return zipfile.ZipFile(file)
    except Exception as error:  # a damaged archive can raise nearly anything
        raise ValueError(f"{path}: expected an .npz file, got one that is damaged, or another file ({error})") from None


def _names(files: Sequence[str], path: PathLike) -> dict[str, tuple[str, str]]:
    """Return the names of images and labels of each part, out of the names of all arrays of a file."""
    by_name = {name.lower(): name for name in files}
    candidates = [
        {part: [tuple(text.format(name) for text in pair) for name in PART_NAMES[part]] for part in PARTS}
        for pair in PATTERNS
    ] + [{"train": [pair]} for pair in WHOLE]
    for names in candidates:
        found = {}
        for part, pairs in names.items():
            for images, labels in pairs:
                if (images in by_name) != (labels in by_name):
                    there, missing = (images, labels) if images in by_name else (labels, images)
                    raise ValueError(f"{path}: expected {missing} beside {there}, got the arrays {listed(files)}")
                if images in by_name:
                    found[part] = by_name[images], by_name[labels]
        if "train" in found:
            return found
    raise ValueError(
        f"{path}: expected the arrays train_images and train_labels, x_train and y_train, images and labels, or x and "
        f"y, got {listed(files)}; make_parts takes arrays by any name: file = numpy.load(path)"
    )


def _array(archive: "ZipFile", member: "ZipInfo", path: PathLike, size: int) -> npt.NDArray[Any]:
    """Return an array of an archive of so many bytes."""
    name = member.filename.removesuffix(".npy")
    try:
        if member.compress_size > size or member.file_size > DEFLATE_LIMIT * max(member.compress_size, 1):
            raise ValueError("it claims to hold more than it has bytes for")
        return array_of(archive.read(member), name, "iufbU")
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        remedy = "; save texts as an array of dtype str: objects could run anything" if "object" in str(error) else ""
        raise ValueError(f"{path}: {name}: expected an array: {str(error)[:300]}{remedy}") from None
