"""CIFAR-10 and CIFAR-100, from the files of their authors.

There are two versions of each: pickles of Python 2, and plain records of bytes. `pickle.load` would run whatever a file
asks for, so that a file from a stranger can do anything that its reader may. The pickles are therefore read by
`convnet.formats.pickles`, which builds arrays, lists and texts, and runs nothing.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_flag
from convnet.datasets.image_data import ImageData, parts_of
from convnet.formats.files import PathLike, as_path, read_file
from convnet.formats.pickles import load_pickle

__all__ = ["is_cifar", "load_cifar"]

# Each image is 3 planes of 32 rows of 32 pixels: red, green, blue.
SHAPE = (3, 32, 32)
SIZE = 3 * 32 * 32
# The kinds of labels of CIFAR-100, in the order in which they stand in front of an image.
COARSE, FINE = "coarse", "fine"


class _Version(NamedTuple):
    """The files of a data set: those of the training images, that of the test images, and those of the names."""

    train: tuple[str, ...]
    test: str
    names: dict[str, str]  # for each kind of label
    is_pickled: bool


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR10, CIFAR100 = {"": "label_names"}, {COARSE: "coarse_label_names", FINE: "fine_label_names"}
VERSIONS = (
    _Version(BATCHES, "test_batch", {"": "batches.meta"}, True),
    _Version(tuple(f"{name}.bin" for name in BATCHES), "test_batch.bin", {"": "batches.meta.txt"}, False),
    _Version(("train",), "test", dict.fromkeys(CIFAR100, "meta"), True),
    _Version(("train.bin",), "test.bin", {kind: f"{name}.txt" for kind, name in CIFAR100.items()}, False),
)


def load_cifar(path: PathLike, *, coarse: bool = False) -> dict[str, ImageData]:
    """Load CIFAR-10 or CIFAR-100 from the folder of its unpacked files, in the Python or the binary version.

    Parameters
    ----------
    path : path
        The folder of ``data_batch_1`` to ``data_batch_5``, ``test_batch`` and ``batches.meta``, or for CIFAR-100 of
        ``train``, ``test`` and ``meta``. In the binary version the names end in ``.bin``, and those of the classes
        stand in ``batches.meta.txt``, or ``fine_label_names.txt`` and ``coarse_label_names.txt``.
    coarse : bool
        Take the 20 superclasses of CIFAR-100 for labels, not its 100 classes.

    Returns
    -------
    dict of str to ImageData
        ``"train"`` and ``"test"``, of images (N, 32, 32, 3).

    Raises
    ------
    FileNotFoundError
        If the folder or one of the files is missing.
    ValueError
        If a file is damaged, or superclasses of CIFAR-10 are asked for. Nothing that a pickle asks for is run.

    Notes
    -----
    A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    folder, kind = as_path(path), COARSE if as_flag(coarse, "coarse") else FINE
    version = _version_in(folder)
    if version is None:
        raise FileNotFoundError(
            f"{path}: expected a folder of CIFAR's unpacked files, such as {BATCHES[0]}, {BATCHES[0]}.bin, train or "
            f"train.bin, got {'a folder without them' if folder.is_dir() else 'no folder'}"
        )
    if "" in version.names:
        if coarse:
            raise ValueError(f"{path}: coarse: expected the files of CIFAR-100, for CIFAR-10 has no superclasses")
        kind = ""
    names = _class_names(folder, version, kind)
    read = _read_pickle if version.is_pickled else _read_records
    parts = {}
    for part, files in (("train", version.train), ("test", (version.test,))):
        batches = [read(_file(folder, name), kind) for name in files]
        parts[part] = np.concatenate([images for images, _ in batches]), np.concatenate([own for _, own in batches])
    return parts_of(parts, str(path), class_names=names, image_shape=SHAPE, axes="NCHW")


def is_cifar(folder: Path) -> bool:
    """Return whether a folder has files by the names of CIFAR's."""
    return _version_in(folder) is not None


def _version_in(folder: Path) -> _Version | None:
    """Return which version a folder holds, by its first training file."""
    return next((version for version in VERSIONS if (folder / version.train[0]).is_file()), None)


def _file(folder: Path, name: str) -> Path:
    """Return the path of a file of the data set, after checking that it is there."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected this file of CIFAR beside the others, but there is none")
    return path


def _class_names(folder: Path, version: _Version, kind: str) -> list[str]:
    path = _file(folder, version.names[kind])
    if not version.is_pickled:
        return [line.strip() for line in read_file(path).decode("utf-8", "replace").splitlines() if line.strip()]
    content = load_pickle(path, "the names of CIFAR's classes")
    names = content.get((CIFAR100 if kind else CIFAR10)[kind]) if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: expected the names of CIFAR's classes, got a pickle without them")
    return names


def _read_pickle(path: Path, kind: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the flat images and the labels of a batch of the Python version."""
    content = load_pickle(path, "images of CIFAR")
    key = f"{kind}_labels" if kind else "labels"
    found = (content.get("data"), content.get(key)) if isinstance(content, dict) else (None, None)
    images, labels = found
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (SIZE,):
        raise ValueError(f"{path}: expected an array of images called data, uint8 of shape (N, {SIZE})")
    if not isinstance(labels, list) or len(labels) != len(images) or not all(type(label) is int for label in labels):
        raise ValueError(f"{path}: expected {len(images)} integers called {key}, one for each image")
    if labels and not -(2**63) <= min(labels) <= max(labels) < 2**63:
        raise ValueError(f"{path}: expected labels of a class, got {max(labels, key=abs)}")
    return images, np.array(labels, np.int64)


def _read_records(path: Path, kind: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the flat images and the labels of a file of the binary version."""
    content = np.frombuffer(read_file(path), np.uint8)
    number = 2 if kind else 1
    if not content.size or content.size % (SIZE + number):
        raise ValueError(
            f"{path}: expected records of {SIZE + number:,} bytes, {number} for labels and {SIZE:,} for an image, got "
            f"{content.size:,} bytes"
        )
    records = content.reshape(-1, SIZE + number)
    return records[:, number:], records[:, 1 if kind == FINE else 0].astype(np.int64)
