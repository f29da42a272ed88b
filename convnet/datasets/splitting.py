"""A data set divided into parts: shuffled, and with the same share of every class in each part."""

import os
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_count, as_number, listed
from convnet.datasets.image_data import ImageData, as_classes, as_images, check_count, warn_of_missing
from convnet.datasets.image_reader import ImageReader
from convnet.formats.files import PathLike

__all__ = ["divide", "split"]


def split(
    images: npt.ArrayLike | ImageData,
    labels: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    reader: ImageReader | None = None,
    files: Sequence[PathLike] | None = None,
    *,
    validation: float = 0.1,
    test: float = 0,
    seed: int = 0,
) -> dict[str, ImageData]:
    """Divide images into a training, a validation and a test part, each with the same share of every class.

    The images are shuffled. Which images are in which part depends on the labels, the sizes and the random seed alone.

    Parameters
    ----------
    images : ImageData, or array_like of uint8, shape (N, H, W) or (N, H, W, C)
        An `ImageData` brings labels, class names, reader and files with it; leave these out then.
    labels : array_like, shape (N,)
        Of any kind that `make_parts` takes.
    class_names : sequence of str, optional
        As of `make_parts`.
    reader : ImageReader, optional
        The `reader` of each part.
    files : sequence of path, optional
        The `files` of the images, one for each.
    validation, test : float or int
        How large these parts are: a fraction of the images as a float in [0, 1), or a number of images as an int. A
        part of 0 is left out; any other has at least one image. The rest is the training part.
    seed : int
        Random seed of the order.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, and ``"validation"`` and ``"test"`` where they have images.

    Raises
    ------
    ValueError
        If nothing is left to train with, or images and labels do not fit together.
    TypeError
        If an argument is of the wrong type.

    Warns
    -----
    ConvnetWarning
        If a part has no image of a class, which may happen if the class has few images. The message names the classes.

    Notes
    -----
    The number of images of each class in a part is found by the method of T. Hare, 1857. If the part has n of N images,
    a class of ``count`` images gets ``n * count / N`` of them, rounded down. The classes with the largest remainders
    get one more each, until there are n. The test part is drawn first, the validation part from the rest.

    Examples
    --------
    >>> import numpy as np
    >>> labels = 30 * ["cat"] + 60 * ["dog"]
    >>> parts = split(np.zeros((90, 8, 8), np.uint8), labels, validation=0.1, test=30)
    >>> {name: np.bincount(part.labels).tolist() for name, part in parts.items()}
    {'train': [17, 34], 'validation': [3, 6], 'test': [10, 20]}
    """
    if isinstance(images, ImageData):
        if any(value is not None for value in (labels, class_names, reader, files)):
            raise TypeError(
                "split: expected an ImageData alone, for it holds the labels and the rest, got more; sizes have names: "
                "split(data, validation=0.2)"
            )
        return split(*images, validation=validation, test=test, seed=seed)
    if isinstance(images, Mapping):
        raise TypeError(
            f"split: expected the images of one part, got a dictionary of parts, {listed(list(images))}; "
            'split(parts["train"], ...) divides one'
        )
    if isinstance(images, (str, os.PathLike)):
        raise TypeError(f'split: expected images, got a path; split(load_data({str(images)!r:.60}, size=32)["train"])')
    if labels is None:
        raise TypeError("split: expected labels beside the images, or an ImageData, got none")
    if not isinstance(reader, (ImageReader, NoneType)):
        raise TypeError(f"split: reader: expected an ImageReader, got {reader!r:.60}")
    array = as_images(images, "split")
    found, names = as_classes({"train": labels}, class_names, "split")
    classes = found["train"]
    check_count(array, classes, "split")
    count = len(array)
    if files is not None and (not isinstance(files, Sequence) or isinstance(files, str) or len(files) != count):
        raise ValueError(f"split: files: expected a list of {count} paths, one for each image, got {files!r:.60}")
    sizes = {"validation": _size(validation, count, "validation"), "test": _size(test, count, "test")}
    if count - sum(sizes.values()) < 1:
        raise ValueError(
            f"split: expected images left to train with, got {sizes['validation']} of {count} for validation and "
            f"{sizes['test']} for the test"
        )
    parts = {
        name: ImageData(
            array[chosen],
            classes[chosen],
            names,
            reader,
            None if files is None else [files[n] for n in chosen.tolist()],
        )
        for name, chosen in divide(classes, len(names), sizes, as_count(seed, "seed", 0)).items()
        if len(chosen)
    }
    remedy = "a class needs more images, or the part has to be larger"
    warn_of_missing({name: part.labels for name, part in parts.items()}, names, "split", remedy)
    return parts


def divide(
    classes: npt.NDArray[np.integer[Any]], num_classes: int, sizes: Mapping[str, int], seed: int
) -> dict[str, npt.NDArray[np.intp]]:
    """Return which examples belong to the training, the validation and the test part, shuffled; see `split`.

    Parameters
    ----------
    classes : ndarray of int, shape (N,)
        Each in [0, num_classes).
    num_classes : int
    sizes : mapping of str to int
        Of ``"validation"`` and ``"test"``, 0 where it is missing; together at most N.
    seed : int
        Random seed of the order.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    # By class, and within a class in the shuffled order: each part takes the next examples of every class.
    grouped = order[np.argsort(classes[order], kind="stable")]
    remaining = np.bincount(classes, minlength=num_classes)
    first = np.cumsum(remaining) - remaining
    part_of = np.zeros(len(classes), np.int8)
    for part, name in ((2, "test"), (1, "validation")):
        shares = _shares(sizes.get(name, 0), remaining)
        for start, share in zip(first, shares, strict=True):
            part_of[grouped[start : start + share]] = part
        first, remaining = first + shares, remaining - shares
    return {name: order[part_of[order] == part] for part, name in enumerate(("train", "validation", "test"))}


def _size(value: float, count: int, name: str) -> int:
    """Return how many images a part has, for a fraction or a number."""
    if isinstance(value, (float, np.floating)):
        fraction = as_number(value, f"split: {name}", at_least=0, below=1)
        return max(int(fraction * count + 0.5), 1) if fraction else 0
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"split: {name}: expected a fraction as a float, or a number of images, got {value!r:.60}")
    size = as_count(value, f"split: {name}", 0)
    if size > count:
        raise ValueError(f"split: {name}: expected at most the {count} images, got {size}")
    return size


def _shares(size: int, counts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return how many of the images of each class belong to a part of the given size, in integers throughout."""
    total = max(int(counts.sum()), 1)
    shares, remainders = size * counts // total, size * counts % total
    # Of equal remainders the larger class's first; it can spare an image.
    largest = np.lexsort((-counts, -remainders))
    shares[largest[: size - int(shares.sum())]] += 1
    return shares
