"""Data sets as the command line names them: read, divided into parts, and numbered as a model numbers its classes."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convnet.core.checks import count_of, listed
from convnet.datasets.folders import image_sizes, load_folder
from convnet.datasets.idx_folders import load_idx
from convnet.datasets.image_data import PARTS, ImageData, make_parts
from convnet.datasets.loading import loader_of
from convnet.datasets.mnist import load_mnist
from convnet.datasets.splitting import split
from convnet.models.sequential import Sequential

__all__ = ["MNIST", "Source", "describe", "divided", "read_for"]

MNIST = "mnist"
# Options of `load_folder`, and what they are called here.
OF_FOLDERS = {
    "size": "--size",
    "crop": "--no-crop",
    "channels": "--grey",
    "labels": "--labels",
    "columns": "--columns",
}
# Remedies in the messages of the functions that read data, and what they are called here.
REMEDIES = {
    'labels="labels.csv"': "--labels labels.csv",
    "prefix= says which": "--prefix says which",
    "columns=(file, label) says which two": "--columns FILE LABEL says which two",
    "load_folder(folder, labels=table) takes": "the folder of the files with --labels takes",
    "; make_parts takes arrays": "",
    "split: validation:": "--validation:",
    "split: test:": "--test:",
    "split: expected": "expected",
}
# Images are scaled to squares of these sides, in pixels, if they are larger, or of several sizes.
LEAST_SIDE, MOST_SIDE, STEP = 8, 64, 8
# Held back where nothing else is asked for: of data without a test part, and, for looking on, of data with one.
HELD_BACK, LOOKED_AT, MOST_LOOKED_AT = 0.2, 0.1, 1000


@dataclass(frozen=True)
class Source:
    """A data set, and how it is read.

    Parameters
    ----------
    path : str
        Of a file or a folder, or ``"mnist"``.
    size : pair of ints, optional
        Height and width that files of images are scaled to; `resolved` chooses them.
    crop, grey : bool
        As ``crop`` and ``channels=1`` of `load_folder`.
    labels, columns : optional
        As of `load_folder`.
    prefix : str, optional
        As of `load_idx`.
    """

    path: str = MNIST
    size: tuple[int, int] | None = None
    crop: bool = True
    grey: bool = False
    labels: str | None = None
    columns: tuple[str, str] | None = None
    prefix: str | None = None

    @property
    def name(self) -> str:
        """What a run with these data is called."""
        name = os.path.basename(os.path.abspath(self.path))
        return name.partition(".")[0] or "data"

    def resolved(self) -> "Source":
        """Return the source with an absolute path, and with the size that its files are scaled to."""
        if self.path == MNIST:
            return self
        labels = None if self.labels is None else os.path.abspath(self.labels)
        found = replace(self, path=os.path.abspath(self.path), labels=labels)
        with _remedies_as_options():
            if loader_of(self.path) is not load_folder or self.size is not None:
                return found
            return replace(found, size=chosen_size(image_sizes(self.path, labels=self.labels, columns=self.columns)))

    def read(self, *, shows: bool = False) -> dict[str, ImageData]:
        """Return the parts of the data set; see `read`."""
        given = {"size": self.size, "labels": self.labels, "columns": self.columns}
        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if not self.crop:
            options["crop"] = False
        if self.grey:
            options["channels"] = 1
        return read(self.path, self.prefix, options, shows=shows)


def chosen_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """Return the height and width that images of these sizes are scaled to.

    Images of one size of at most 64 pixels stay as they are. Others become squares: of the median of their shorter
    sides, rounded down to a multiple of 8, but of 64 pixels at most, so that a training takes minutes.
    """
    if len(sizes) == 1:
        (only,) = sizes
        if max(only) <= MOST_SIDE:
            return only
    shorter = sorted(min(size) for size in sizes.elements())
    median = shorter[len(shorter) // 2] if shorter else MOST_SIDE
    side = min(max(median // STEP * STEP, LEAST_SIDE), MOST_SIDE)
    return side, side


@contextmanager
def _remedies_as_options() -> Iterator[None]:
    """Tell the remedy of a ValueError by the options of the command line."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        for name, option in REMEDIES.items():
            text = text.replace(name, option)
        raise ValueError(text) from error


def read(path: str, prefix: str | None, folder_options: Mapping[str, Any], *, shows: bool) -> dict[str, ImageData]:
    """Return the parts of a data set; every image has a name in `files`.

    Files of images that cannot be read are left out, with a warning. `shows` draws a progress bar of them.

    Raises
    ------
    ValueError
        If there are options that are not for data of this kind, or as the function says that reads them.
    """
    with _remedies_as_options():
        load = None if path == MNIST else loader_of(path)
    wrong = [OF_FOLDERS[name] for name in folder_options] if load is not load_folder else []
    wrong += ["--prefix"] if prefix is not None and load is not load_idx else []
    if wrong:
        owner = "folders of IDX files" if wrong == ["--prefix"] else "folders of image files"
        raise ValueError(f"{path}: expected no {wrong[0]}, which is for {owner}; leave it out")
    if load is None:
        images, labels, test_images, test_labels = load_mnist()
        parts = make_parts((images, labels), test=(test_images, test_labels))
    else:
        options = {"skip_broken": True, "progress": shows, **folder_options} if load is load_folder else {}
        with _remedies_as_options():
            parts = load(path, **options, **({} if prefix is None else {"prefix": prefix}))
    # The only part of a data set needs no name, and its images may be held back: then they are no training images.
    beginnings = {name: f"{name} image" if len(parts) > 1 else "image" for name in parts}
    return {
        name: part
        if part.files is not None
        else part._replace(files=[f"{beginnings[name]} {n}" for n in range(len(part.images))])
        for name, part in parts.items()
    }


def divided(
    parts: dict[str, ImageData], validation: float | None, test: float | None, path: str
) -> tuple[dict[str, ImageData], dict[str, float]]:
    """Hold images back from the training part, and return the parts and the sizes that `split` was given.

    Which images are held back depends on the data and the sizes alone, not on the random seed of the training.

    Parameters
    ----------
    parts : dict of str to ImageData
        As they are read. What has a validation or a test part keeps it.
    validation, test : float or int, optional
        As of `split`. By default a fifth is held back for validation, but of data with a test part a tenth, at most
        1000 images, and nothing for a test.
    path : str
        Of the data, for messages.
    """
    given = {"validation": validation, "test": test}
    for name, size in given.items():
        if size is not None and name in parts:
            raise ValueError(f"{path}: expected no --{name}, because the data have a {name} part; leave it out")
    if "train" not in parts:
        raise ValueError(f"{path}: expected images to train with, got only the parts {listed(list(parts))}")
    class_names = parts["train"].class_names
    if len(class_names) < 2:
        raise ValueError(f"{path}: expected images of at least two classes, got one, {class_names[0]}")
    count = len(parts["train"].images)
    sizes = {name: 0 if size is None else size for name, size in given.items()}
    if validation is None and "validation" not in parts:
        has_test = "test" in parts or sizes["test"]
        sizes["validation"] = min(int(LOOKED_AT * count), MOST_LOOKED_AT) if has_test else HELD_BACK
    found = dict(parts)
    if any(sizes.values()):
        with _remedies_as_options():
            found |= split(parts["train"], validation=sizes["validation"], test=sizes["test"])
    if len(found) < 2:
        raise ValueError(f"{path}: expected images to report on, got --validation 0 and no test part; give --test 0.2")
    return {name: found[name] for name in PARTS if name in found}, sizes


def describe(parts: Mapping[str, ImageData], name: str) -> str:
    """Return what a data set consists of, in two lines."""
    train = parts["train"]
    height, width, *channels = train.images.shape[1:]
    counts = {part: len(data.labels) for part, data in parts.items()}
    shares = ", ".join(f"{count:,} {part}" for part, count in counts.items())
    return (
        f"{name}: {count_of(sum(counts.values()), 'image')} of {len(train.class_names)} classes "
        f"({listed(train.class_names)}), {height}x{width} pixels {'in colours' if channels == [3] else 'in grey'}\n"
        f"parts: {shares}"
    )


def read_for(
    model: Sequential,
    path: str,
    *,
    labels: str | None = None,
    columns: Any = None,
    prefix: str | None = None,
    shows: bool = False,
) -> dict[str, ImageData]:
    """Return the parts of a data set, read as a model's training images were, with the model's classes."""
    reader = getattr(model.statistics, "reader", None)
    options: dict[str, Any] = {} if labels is None else {"labels": labels}
    if columns is not None:
        options["columns"] = columns
    if path != MNIST and loader_of(path) is load_folder:
        options |= {"channels": model.input_shape[0]} | ({} if reader is None else reader.to_dict())
    return {name: _renumbered(part, model, path) for name, part in read(path, prefix, options, shows=shows).items()}


def _renumbered(part: ImageData, model: Sequential, path: str) -> ImageData:
    """Return a part with the numbers that its classes have in a model: by their names, or if these are numbers."""
    names = list(model.class_names or map(str, range(model.num_classes)))
    number = {name: label for label, name in enumerate(names)}
    are_numbers = all(name.isdecimal() and int(name) < len(names) for name in part.class_names)
    if are_numbers and not set(part.class_names) <= set(names):
        number = {name: int(name) for name in part.class_names}
    if unknown := [name for name in part.class_names if name not in number]:
        raise ValueError(f"{path}: expected the classes of the model, {listed(names)}, got {listed(unknown)}, too")
    renumber = np.array([number[name] for name in part.class_names], np.int64)
    return part._replace(labels=renumber[part.labels], class_names=tuple(names))
