"""The MNIST digits, whose four files lie beside this one, and any other data set in four such files."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_count
from convnet.datasets.idx import read_idx
from convnet.formats.files import PathLike

__all__ = ["load_mnist"]

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def load_mnist(directory: PathLike | None = None, num_classes: int = 10) -> tuple[Images, Labels, Images, Labels]:
    """Load MNIST, or any data set in its four files.

    Parameters
    ----------
    directory : path, optional
        Folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte``, each as it is or with ``.gz``. By default the MNIST digits in this package.
    num_classes : int
        Labels have to be in [0, num_classes).

    Returns
    -------
    x_train : ndarray of uint8, shape (N, H, W)
    y_train : ndarray of int64, shape (N,)
    x_test : ndarray of uint8, shape (T, H, W)
    y_test : ndarray of int64, shape (T,)

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is malformed, images and labels differ in number, the training and test images differ in size, or
        a label lies outside [0, num_classes). The message names the file, what was expected and what came.

    Notes
    -----
    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
    """
    folder = Path(__file__).parent if directory is None else Path(directory)
    as_count(num_classes, "num_classes")
    x_train, y_train = _load_part(folder, "train", num_classes)
    x_test, y_test = _load_part(folder, "t10k", num_classes)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"{folder}: expected training and test images of one size, got {x_train.shape[1:]} and {x_test.shape[1:]}"
        )
    return x_train, y_train, x_test, y_test


def _load_part(folder: Path, part: str, num_classes: int) -> tuple[Images, Labels]:
    images_path, labels_path = (
        _plain_or_gzipped(folder / name) for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    )
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, rank in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != rank:
            raise ValueError(f"{path}: expected uint8 of rank {rank}, got {array.dtype} of shape {array.shape}")
    if len(images) != len(labels):
        raise ValueError(
            f"{labels_path}: expected {len(images)} labels, one for each image of {images_path.name}, got {len(labels)}"
        )
    if len(labels) and labels.max() >= num_classes:
        where = int((labels >= num_classes).argmax())
        raise ValueError(f"{labels_path}: expected labels in [0, {num_classes}), got {labels[where]} at {where}")
    return images, labels.astype(np.int64)


def _plain_or_gzipped(path: Path) -> Path:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{path}: expected this file or {path.name}.gz, but there is neither")
