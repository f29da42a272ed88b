"""One function for data sets of every kind: it looks at what a path is, and calls the function for that."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from convnet.core.checks import takes_keyword
from convnet.core.names import meant_by
from convnet.datasets.cifar import is_cifar, load_cifar
from convnet.datasets.folders import load_folder
from convnet.datasets.idx_folders import has_idx_files, load_idx
from convnet.datasets.image_data import ImageData
from convnet.datasets.npz import load_npz
from convnet.datasets.tables import load_csv
from convnet.formats.files import PathLike, as_path

__all__ = ["load_data", "loader_of"]

Load = Callable[..., dict[str, ImageData]]
# By the end of a file's name.
FILES: dict[str, Load] = {".npz": load_npz, ".csv": load_csv, ".csv.gz": load_csv, ".tsv": load_csv}
# What other files are read with first.
OTHERS = {
    ".mat": 'file = scipy.io.loadmat(path) reads it, and make_parts((file["X"], file["y"]), axes="HWCN") takes SVHN\'s',
    ".npy": "make_parts takes arrays: make_parts((numpy.load(images), numpy.load(labels)))",
    **dict.fromkeys(("-ubyte", "-ubyte.gz"), "give the folder of the four files"),
    **dict.fromkeys((".zip", ".tar", ".tar.gz", ".tgz"), "unpack it, and give the folder"),
}


def load_data(path: PathLike, **options: Any) -> dict[str, ImageData]:
    """Load a data set, whatever its files are.

    ==========================================================  ==============
    a folder with a folder of images for each class, or parts   `load_folder`
    a folder of images, with ``labels=`` a table of the labels  `load_folder`
    a folder of MNIST's four files, or KMNIST's or EMNIST's     `load_idx`
    a folder of CIFAR's unpacked files                          `load_cifar`
    a file ``*.npz`` of images and labels                       `load_npz`
    a table ``*.csv``, ``*.csv.gz`` or ``*.tsv``                `load_csv`
    ==========================================================  ==============

    Parameters
    ----------
    path : path
    **options
        Those of the function on the right, such as ``size=(64, 64)`` for a folder of images.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, and ``"validation"`` and ``"test"``, those that there are. `split` makes parts of one.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    TypeError
        If the function for these files has no such option.
    ValueError
        If it is none of these, or as the function for it says.
    """
    place, load = as_path(path), loader_of(path)
    if unknown := [name for name in options if not takes_keyword(load, name)]:
        known = [option.name for option in signature(load).parameters.values() if option.kind is option.KEYWORD_ONLY]
        meant = meant_by(unknown[0], known)
        raise TypeError(
            f"{path}: expected options of {load.__name__}, which reads it, got {', '.join(unknown)}; "
            + (f"did you mean {meant!r}?" if meant else f"its options are {', '.join(known)}")
        )
    return load(path, **({"delimiter": "\t"} if place.name.lower().endswith(".tsv") else {}) | options)


def loader_of(path: PathLike) -> Load:
    """Return the function that reads a data set: which of those of `load_data`.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `load_data`.
    """
    place = as_path(path)
    if not place.exists():
        raise FileNotFoundError(f"{path}: expected a data set, a file or a folder, but there is nothing of this name")
    if place.is_dir():
        return load_idx if has_idx_files(place) else load_cifar if is_cifar(place) else load_folder
    name = place.name.lower()
    for suffix, load in FILES.items():
        if name.endswith(suffix):
            return load
    remedy = next((remedy for suffix, remedy in OTHERS.items() if name.endswith(suffix)), "make_parts takes arrays")
    raise ValueError(
        f"{place}: expected a folder of images, of IDX files or of CIFAR's files, or a file that ends in "
        f"{', '.join(FILES)}, got another file; {remedy}"
    )
