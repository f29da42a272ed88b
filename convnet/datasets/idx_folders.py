"""Folders of data sets in the four IDX files of MNIST, under the names that its followers gave them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convnet.core.checks import listed
from convnet.datasets.idx import read_idx
from convnet.datasets.image_data import ImageData, parts_of
from convnet.formats.files import PathLike, as_path, read_file

__all__ = ["has_idx_files", "load_idx"]

# Such as train-images-idx3-ubyte, t10k-labels.idx1-ubyte, and emnist-letters-test-images-idx3-ubyte.gz.
NAME = re.compile(r"(?:(.*)-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(?:\.gz)?", re.DOTALL)
PART = {"train": "train", "t10k": "test", "test": "test"}

Files = dict[str, dict[str, Path]]


def load_idx(
    path: PathLike, *, prefix: str | None = None, axes: str | None = None, class_names: Sequence[str] | None = None
) -> dict[str, ImageData]:
    """Load a data set in four IDX files: MNIST, Fashion-MNIST, KMNIST or EMNIST.

    Parameters
    ----------
    path : path
        The folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte``, gzipped or not. ``test`` may stand for ``t10k``, and a dot in front of ``idx``.
    prefix : str, optional
        What the names begin with, if the folder holds several data sets: ``"emnist-letters"`` for the files
        ``emnist-letters-train-images-idx3-ubyte.gz`` and so on.
    axes : str, optional
        As of `make_parts`. By default ``"NHW"``; but ``"NWH"`` for names that begin with ``emnist``, because EMNIST's
        images are stored column by column and lie on their side if they are read as MNIST's are.
    class_names : sequence of str, optional
        As of `make_parts`. By default those of ``PREFIX-mapping.txt``, if there is such a file, as there is with
        EMNIST; the labels otherwise.

    Returns
    -------
    dict of str to ImageData
        ``"train"`` and ``"test"``, those that there are.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file is missing.
    ValueError
        If there are several data sets and no prefix, or a file is damaged, or images and labels do not fit together.

    Notes
    -----
    G. Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", 2017; T. Clanuwat et al., "Deep learning
    for classical Japanese literature", 2018 (KMNIST).
    """
    folder = as_path(path)
    sets = _data_sets(folder)
    if not sets:
        found = "a folder without them" if folder.is_dir() else "no folder"
        raise FileNotFoundError(
            f"{path}: expected a folder of IDX files, such as train-images-idx3-ubyte, train-labels-idx1-ubyte and the "
            f"same with t10k, got {found}"
        )
    known = listed([repr(name) for name in sorted(sets)])
    if prefix is None and len(sets) > 1:
        raise ValueError(f"{path}: expected the files of one data set, got the prefixes {known}; prefix= says which")
    chosen = next(iter(sets)) if prefix is None else prefix
    if chosen not in sets:
        raise ValueError(f"{path}: prefix: expected one of {known}, got {prefix!r:.60}")
    pairs = {}
    for part in ("train", "test"):
        files = sets[chosen].get(part, {})
        if files and len(files) < 2:
            (found_file,) = files.values()
            raise FileNotFoundError(f"{found_file}: expected images and labels, but there is no other file beside it")
        if files:
            pairs[part] = read_idx(files["images"]), read_idx(files["labels"])
    if "train" not in pairs:
        raise FileNotFoundError(f"{path}: expected training images, train-images-idx3-ubyte, got the test images alone")
    what = f"{folder / chosen}-*" if chosen else str(path)
    if axes is None and chosen.lower().startswith("emnist"):
        axes = "NWH"
    mapping = folder / f"{chosen}-mapping.txt"
    if class_names is None and mapping.is_file():
        names = _read_mapping(mapping)
        for part, (images, labels) in pairs.items():
            unknown = sorted(set(labels.reshape(-1).tolist()) - set(names))
            if unknown:
                raise ValueError(f"{what}: {part}: expected labels of {mapping.name}, got {listed(unknown)}")
            pairs[part] = images, np.array([names[label] for label in labels.reshape(-1).tolist()], np.str_)
        class_names = list(names.values())
    return parts_of(pairs, what, class_names=class_names, axes=axes)


def has_idx_files(folder: Path) -> bool:
    """Return whether a folder has files by names of IDX files."""
    return bool(_data_sets(folder))


def _data_sets(folder: Path) -> dict[str, Files]:
    """Return the files of each data set in a folder: by prefix, part, and images or labels."""
    sets: dict[str, Files] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if match := NAME.fullmatch(file.name):
            prefix, part, kind = match.groups()
            # Of a file and its gzipped copy the first one is taken, which is the plain one.
            sets.setdefault(prefix or "", {}).setdefault(PART[part], {}).setdefault(kind, file)
    return sets


def _read_mapping(path: Path) -> dict[int, str]:
    """Return the name of each label: the character of the first code, of which there may be two for two cases."""
    names: dict[int, str] = {}
    for number, line in enumerate(read_file(path).decode("ascii", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, code, *_ = map(int, line.split())
            names[label] = chr(code)
        except (ValueError, OverflowError):
            raise ValueError(
                f"{path}: expected a label and the code of its character in line {number}, got {line!r:.60}"
            ) from None
    if len(set(names.values())) < len(names) or not names:
        raise ValueError(f"{path}: expected a character of its own for each label")
    return names
