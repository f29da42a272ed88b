"""Preprocessing: from raw images to the inputs of a model, and the statistics that repeat it."""

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import (
    FloatArray,
    as_array,
    as_count,
    as_flag,
    as_labels,
    as_plain,
    check_out,
    join_sizes,
    listed,
    remedy_for_labels,
)
from convnet.core.tables import Table
from convnet.core.threads import in_parts
from convnet.datasets.image_data import (
    PARTS,
    ImageData,
    Labels,
    as_images,
    check_count,
    check_one_size,
    checked_names,
    warn_of_missing,
)
from convnet.datasets.image_reader import ImageReader, Images, as_batch

__all__ = ["Statistics", "fingerprint", "preprocess", "preprocess_parts"]


def fingerprint(array: npt.NDArray[Any]) -> str:
    """Return an array's dtype and shape, and a checksum of its numbers in whatever order its bytes are."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return f"{plain.dtype} of shape {array.shape} with crc32 {zlib.crc32(plain.data):08x}"


@dataclass(frozen=True, eq=False)
class Statistics:
    """Preprocessing of images, fixed by a training set: ``((image / 255) - mean) / std``, each step optional.

    Parameters
    ----------
    image_shape : tuple of ints
        (C, H, W) of the images.
    divide_by_255 : bool
        Whether pixels are divided by 255 first; mean and std are in the unit that this leaves.
    mean : ndarray of float32, shape (C, H, W), or None
        The mean image to subtract.
    std : ndarray of float32, shape () or (C, H, W), or None
        The standard deviation to divide by.
    reader : ImageReader or None
        How the training images were made of files. With it `apply` does the same with images of other sizes.
    """

    image_shape: tuple[int, int, int]
    divide_by_255: bool
    mean: FloatArray | None
    std: FloatArray | None
    reader: ImageReader | None = None

    def apply(self, images: Any) -> FloatArray:
        """Prepare images as the training images were prepared.

        Parameters
        ----------
        images : array_like of uint8, shape (N, H, W) or (N, H, W, C), or images of any kind
            One image, or a list or an iterator of them, or the images of an `ImageData`. An image may be a path, the
            bytes of a file, a file opened for bytes, an image of Pillow, or an array; see `ImageReader.read`. With a
            `reader` images are scaled and cropped as in training; otherwise they have to be of the model's size. They
            are turned as their EXIF data say, and get as many channels as the model has. An array of three axes is one
            image (H, W, C) if the model has colours, and otherwise N images (N, H, W).

        Returns
        -------
        ndarray of float32, shape (N, C, H, W)

        Raises
        ------
        TypeError
            If it is no image, or an array is not uint8.
        ValueError
            If sizes are not those of the training images, and there is no reader; if an `ImageData` was read in another
            way than the training images; or if a file is broken. The message names it.
        OSError
            If a file cannot be read.
        ImportError
            If Pillow is needed and not installed (``pip install "convnet-cpu[images]"``).
        """
        if isinstance(images, ImageData):
            own, other = self.reader, images.reader
            if own is not None and other is not None and own.to_dict() != other.to_dict():
                raise ValueError(f"expected images that were read as those of training, by {own}, got some by {other}")
            images = images.images
        batch = as_batch(images, self.image_shape, self.reader)
        planes = _channels_first(images if batch is None else batch, "images", False)
        if planes.shape[1:] != self.image_shape:
            c, h, w = self.image_shape
            found, remedy = np.shape(images), ""
            if found[1:] == self.image_shape:
                remedy = ", whose channels come first: images.transpose(0, 2, 3, 1) puts them last"
            elif found == (h, w, c):
                remedy = ": a single image is given as images[None]"
            raise ValueError(f"expected images of shape (N, {h}, {w}{f', {c}' if c > 1 else ''}), got {found}{remedy}")
        return self.prepare(planes)

    def prepare(self, x: npt.ArrayLike, *, out: FloatArray | None = None) -> FloatArray:
        """Do what `apply` does with raw images whose channels come first already.

        Parameters
        ----------
        x : array_like of uint8, shape (N, C, H, W)
            Such as the images of ``preprocess(..., keep_uint8=True)``.
        out : ndarray of float32, shape (N, C, H, W), optional
            Where the result is written, in C order; by default a new array.

        Returns
        -------
        ndarray of float32, shape (N, C, H, W)

        Raises
        ------
        TypeError
            If the images are not uint8.
        ValueError
            If their shape is not that of the training images, or `out` does not fit.
        """
        array = as_array(x, "Statistics.prepare: x")
        if array.dtype != np.uint8:
            raise TypeError(f"expected images of dtype uint8, got {array.dtype}")
        if array.ndim != 4 or array.shape[1:] != self.image_shape:
            last = array.ndim == 4 and array.shape[1:] == (*self.image_shape[1:], self.image_shape[0])
            remedy = ", whose channels come last, as `apply` takes them" if last else ""
            raise ValueError(f"expected images of shape (N, {join_sizes(self.image_shape)}), got {array.shape}{remedy}")
        y: FloatArray = np.empty(array.shape, np.float32) if out is None else out
        check_out(y, array, "Statistics.prepare", np.float32)
        if y.size:
            raw, prepared = as_plain(array, np.uint8).reshape(len(array), -1), y.reshape(len(array), -1)
            mean, std = self.flat(np.float32)
            in_parts(
                lambda part, _: _kernels.prepare(raw[part], self.unit, mean, std, prepared[part]),
                len(raw),
                8 * raw.size,
            )
        return y

    @functools.cached_property
    def prepared_range(self) -> tuple[float, float]:
        """The least and the largest number that a prepared image can have."""
        (mean, std), most = self.flat(np.float64), 255 / self.unit
        return float((-mean / std).min()), float(((most - mean) / std).max())

    @property
    def unit(self) -> float:
        """What pixels are divided by first: 255 or 1."""
        return 255.0 if self.divide_by_255 else 1.0

    def flat(self, dtype: npt.DTypeLike) -> tuple[FloatArray, FloatArray]:
        """Return mean and std as the kernels take them: on one axis, one number, 0 and 1 for none, or one a pixel."""

        def flattened(array: FloatArray | None, neutral: float) -> FloatArray:
            if array is None:
                return np.full(1, neutral, dtype)
            if array.size > 1 and array.shape != self.image_shape:  # such as (C, 1, 1), which someone may have set
                array = np.broadcast_to(array, self.image_shape)
            return as_plain(array, dtype).reshape(-1)

        return flattened(self.mean, 0), flattened(self.std, 1)

    def __repr__(self) -> str:
        mean, std = (None if array is None else f"<{fingerprint(array)}>" for array in (self.mean, self.std))
        return f"Statistics(image_shape={self.image_shape}, divide_by_255={self.divide_by_255}, mean={mean}, std={std})"

    def _repr_html_(self) -> str:
        rows = [
            ("preparation of images", ""),
            ("shape", str(self.image_shape)),
            ("divided by 255", "yes" if self.divide_by_255 else "no"),
            ("mean, subtracted", _described(self.mean)),
            ("standard deviation, divided by", _described(self.std)),
            ("made of files by", "-" if self.reader is None else str(self.reader)),
        ]
        return Table(rows, "<<")._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as a dictionary of arrays, numbers, None and, if there is one, what the reader does."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "reader"}
        return values if self.reader is None else values | {"reader": self.reader.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the statistics that `to_dict` gave, after checking them.

        Raises
        ------
        ValueError
            If the dictionary is not one of `to_dict`.
        """
        names = [field.name for field in fields(cls) if field.name != "reader"]  # which older files do not have
        if not isinstance(values, Mapping) or values.keys() - {"reader"} != set(names):
            found = list(values) if isinstance(values, Mapping) else f"a {type(values).__name__}"
            raise ValueError(f"expected a dictionary of the statistics {', '.join(names)}, got {found}")
        shape = values["image_shape"]
        if not (isinstance(shape, tuple) and len(shape) == 3 and all(type(size) is int for size in shape)):
            raise ValueError(f"expected an image shape (C, H, W), got {shape!r:.60}")
        if not isinstance(values["divide_by_255"], bool):
            raise ValueError(f"expected divide_by_255 to be true or false, got {values['divide_by_255']!r:.60}")
        for name, shapes in (("mean", [shape]), ("std", [(), shape])):
            array = values[name]
            if array is not None and (getattr(array, "dtype", None) != np.float32 or array.shape not in shapes):
                raise ValueError(
                    f"expected the statistic {name} to be float32 of shape {shapes[-1]}, got {array!r:.60}"
                )
            if array is not None and not np.isfinite(array).all():
                raise ValueError(f"expected the statistic {name} to be finite, got NaN or infinity")
        if values["std"] is not None and not (values["std"] > 0).all():
            raise ValueError("expected a standard deviation above 0")
        reader = None
        if values.get("reader") is not None:
            reader = ImageReader.from_dict(values["reader"])
            if reader.size not in (None, shape[1:]):
                raise ValueError(f"expected a reader of images of {shape[1:]}, got one of {reader.size}")
        return cls(**{**values, "reader": reader})


def _described(array: FloatArray | None) -> str:
    """Return what a statistic is: a number, or the range of an image."""
    if array is None:
        return "-"
    return f"{array.min():.4g}" if array.size == 1 else f"an image, from {array.min():.4g} to {array.max():.4g}"


def _channels_first(images: npt.ArrayLike, what: str, channels_first: bool | None = None) -> Images:
    """Return uint8 images (N, H, W) or (N, H, W, C), or channels first already, as a view (N, C, H, W)."""
    array = as_images(images, what, channels_first)
    return array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2)


def preprocess(
    x_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    x_test: npt.ArrayLike,
    y_test: npt.ArrayLike,
    *,
    num_validation: int = 1000,
    num_test: int | None = 1000,
    divide_by_255: bool = True,
    subtract_mean: bool = True,
    divide_by_std: bool = True,
    per_pixel_std: bool = False,
    keep_uint8: bool = False,
    channels_first: bool | None = None,
) -> tuple[dict[str, npt.NDArray[Any]], Statistics]:
    """Split off a validation set, normalise, and put the channels first.

    This is for data sets whose images are in a random order, as MNIST's are. `split` and `preprocess_parts` do the
    same for images of your own.

    Parameters
    ----------
    x_train, x_test : array_like of uint8, shape (N, H, W) or (N, H, W, C)
        Images.
    y_train, y_test : array_like of int, shape (N,)
        Labels.
    num_validation : int
        The last this many training images become the validation set.
    num_test : int, optional
        The first this many test images are taken; None takes all.
    divide_by_255 : bool
        Divide pixels by 255.
    subtract_mean : bool
        Subtract the mean training image.
    divide_by_std : bool
        Divide by the standard deviation of all training pixels, one number; by 1 where all pixels are equal.
    per_pixel_std : bool
        Divide by each pixel's own standard deviation instead. Some pixels hardly ever vary: a standard deviation below
        1/255, a single grey level, counts as 1.
    keep_uint8 : bool
        Split the images and put the channels first, but leave their pixels as they are. 50,000 images of CIFAR then
        take 154 MB instead of 614, and no further memory if their channels are first already. A model with these
        `statistics` prepares each minibatch when it is used, with the same results: ``model.statistics = statistics``.
    channels_first : bool, optional
        True for images (N, C, H, W), False for images (N, H, W, C). By default they are (N, H, W, C), but images whose
        channels seem to come first are an error: at most 4 where the height should be, and more than 4 where the
        channels should be.

    Returns
    -------
    data : dict of str to ndarray
        ``x_train``, ``x_validation``, ``x_test`` of float32, or of uint8 with `keep_uint8`, (N, C, H, W), and
        ``y_train``, ``y_validation``, ``y_test`` of int64 (N,).
    statistics : Statistics
        Those of the training part alone, without the validation images. ``statistics.apply`` prepares new images in the
        same way.

    Raises
    ------
    ValueError
        If shapes do not fit together, or the split asks for more images than there are.
    TypeError
        If images are not uint8 or labels not integers.

    Warns
    -----
    ConvnetWarning
        If a part has no image of a class that another one has, as when the images are sorted by class.
    """
    first = None if channels_first is None else as_flag(channels_first, "channels_first")
    train = _channels_first(x_train, "preprocess: x_train", first)
    test = _channels_first(x_test, "preprocess: x_test", first)
    train_labels = _label_array(y_train, train, "preprocess: y_train")
    test_labels = _label_array(y_test, test, "preprocess: y_test")
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"preprocess: expected training and test images of one size, got {train.shape[1:]} and {test.shape[1:]}"
        )
    kept = len(train) - as_count(num_validation, "preprocess: num_validation", 0)
    if kept < 1:
        raise ValueError(
            f"preprocess: num_validation: expected fewer than the {len(train)} training images, got {num_validation}"
        )
    if not len(test):
        raise ValueError("preprocess: expected at least one test image, got none")
    tested = len(test) if num_test is None else as_count(num_test, "preprocess: num_test")
    if tested > len(test):
        raise ValueError(f"preprocess: num_test: expected at most the {len(test)} test images, got {num_test}")
    found = {"training": train_labels[:kept], "validation": train_labels[kept:], "test": test_labels[:tested]}
    warn_of_missing(found, None, "preprocess")
    return _prepare(
        {
            "train": (train[:kept], train_labels[:kept]),
            "validation": (train[kept:], train_labels[kept:]),
            "test": (test[:tested], test_labels[:tested]),
        },
        None,
        divide_by_255=divide_by_255,
        subtract_mean=subtract_mean,
        divide_by_std=divide_by_std,
        per_pixel_std=per_pixel_std,
        keep_uint8=keep_uint8,
    )


def preprocess_parts(
    parts: Mapping[str, ImageData],
    *,
    divide_by_255: bool = True,
    subtract_mean: bool = True,
    divide_by_std: bool = True,
    per_pixel_std: bool = False,
    keep_uint8: bool = False,
) -> tuple[dict[str, npt.NDArray[Any]], Statistics]:
    """Normalise the parts of a data set by statistics of its training part, and put the channels first.

    Parameters
    ----------
    parts : mapping of str to ImageData
        ``"train"``, and ``"validation"`` and ``"test"`` if there are such parts: what `load_folder`, `split` and the
        other functions for data of one's own return.
    divide_by_255, subtract_mean, divide_by_std, per_pixel_std, keep_uint8 : bool
        As of `preprocess`.

    Returns
    -------
    data : dict of str to ndarray
        As of `preprocess`, for the parts that there are.
    statistics : Statistics
        Of the training part alone, with its `reader`.

    Raises
    ------
    ValueError
        If there is no training part or it is empty, a name is that of no part, or shapes, labels or class names do not
        fit together.
    TypeError
        If a part is no ImageData, images are not uint8, or labels not integers.

    Warns
    -----
    ConvnetWarning
        If a part has no image of a class.
    """
    if not isinstance(parts, Mapping) or not all(isinstance(part, ImageData) for part in parts.values()):
        remedy = '; {"train": data} has one part, and split(data) divides it' if isinstance(parts, ImageData) else ""
        raise TypeError(
            f"preprocess_parts: expected a dictionary of ImageData, as load_folder, split and make_parts return it, "
            f"got {'an ImageData' if remedy else format(repr(parts), '.60')}{remedy}"
        )
    if "train" not in parts or not set(parts) <= set(PARTS):
        raise ValueError(
            f"preprocess_parts: expected the part train, and perhaps validation and test, got {listed(list(parts))}"
        )
    arrays = {}
    for name in (name for name in PARTS if name in parts):
        images = as_images(parts[name].images, f"preprocess_parts: {name}", False)
        arrays[name] = images, _label_array(parts[name].labels, images, f"preprocess_parts: {name}: labels")
        if checked_names(parts[name].class_names, f"preprocess_parts: {name}") != tuple(parts["train"].class_names):
            raise ValueError(
                f"preprocess_parts: expected the same class names in all parts, got "
                f"{listed(parts['train'].class_names)} in train and {listed(parts[name].class_names)} in {name}"
            )
    check_one_size({name: images for name, (images, _) in arrays.items()}, "preprocess_parts")
    if not len(arrays["train"][0]):
        raise ValueError("preprocess_parts: expected at least one training image, got none")
    reader = parts["train"].reader
    for name, part in parts.items():
        if not isinstance(part.reader, (ImageReader, NoneType)):
            raise TypeError(f"preprocess_parts: {name}: reader: expected an ImageReader, got {part.reader!r:.60}")
        if part.reader not in (None, reader):
            raise ValueError(
                f"preprocess_parts: expected parts that were read alike, got {reader} of train and {part.reader} of "
                f"{name}"
            )
    names, labels = parts["train"].class_names, {name: labels for name, (_, labels) in arrays.items()}
    for name, array in labels.items():
        as_labels(array, f"preprocess_parts: {name}", len(array), len(names))
    warn_of_missing(labels, names, "preprocess_parts")
    return _prepare(
        {name: (_channels_first(images, name, False), labels) for name, (images, labels) in arrays.items()},
        reader,
        divide_by_255=divide_by_255,
        subtract_mean=subtract_mean,
        divide_by_std=divide_by_std,
        per_pixel_std=per_pixel_std,
        keep_uint8=keep_uint8,
    )


def _prepare(
    parts: Mapping[str, tuple[Images, Labels]],
    reader: ImageReader | None,
    *,
    divide_by_255: bool,
    subtract_mean: bool,
    divide_by_std: bool,
    per_pixel_std: bool,
    keep_uint8: bool,
) -> tuple[dict[str, npt.NDArray[Any]], Statistics]:
    """Return the data and the statistics of parts whose images are (N, C, H, W); see `preprocess`."""
    train, _ = parts["train"]
    divide_by_255, subtract_mean = as_flag(divide_by_255, "divide_by_255"), as_flag(subtract_mean, "subtract_mean")
    divide_by_std, per_pixel_std = as_flag(divide_by_std, "divide_by_std"), as_flag(per_pixel_std, "per_pixel_std")
    unit = 255.0 if divide_by_255 else 1.0
    mean, deviation, pixel_deviation = _moments(train)
    if per_pixel_std:
        std = np.where(pixel_deviation < 1, 1, pixel_deviation / unit)
    else:
        std = np.asarray(deviation / unit or 1.0)
    statistics = Statistics(
        image_shape=train.shape[1:],
        divide_by_255=divide_by_255,
        mean=(mean / unit).astype(np.float32) if subtract_mean else None,
        std=np.asarray(std, np.float32) if divide_by_std else None,
        reader=reader,
    )
    make = np.ascontiguousarray if as_flag(keep_uint8, "keep_uint8") else statistics.prepare
    data: dict[str, npt.NDArray[Any]] = {}
    for name, (images, labels) in parts.items():
        data[f"x_{name}"], data[f"y_{name}"] = make(images), labels
    return data, statistics


def _label_array(labels: npt.ArrayLike, images: npt.NDArray[Any], what: str) -> Labels:
    """Return labels as integers (N,), after checking them."""
    array = as_array(labels, what)
    remedy = remedy_for_labels(array)
    if array.dtype.kind not in "iu":
        if array.dtype.kind in "UOST" or not remedy:
            remedy = "; make_parts makes classes of labels of other kinds" if array.dtype.kind in "bfUOST" else ""
        raise TypeError(f"{what}: expected integer labels, got dtype {array.dtype}{remedy}")
    check_count(images, array, what, remedy)
    if array.size and array.max() >= 2**63:
        raise ValueError(f"{what}: expected labels of 64 bits, got {array.max()}")
    return array.astype(np.int64)


def _moments(images: Images) -> tuple[npt.NDArray[np.float64], float, npt.NDArray[np.float64]]:
    """Return each pixel's mean, all pixels' standard deviation, and each pixel's, from exact sums of integers."""
    total = np.zeros(images.shape[1:], np.int64)
    squares = np.zeros(images.shape[1:], np.int64)
    for start in range(0, len(images), 1024):
        block = images[start : start + 1024].astype(np.int64)
        total += block.sum(axis=0)
        squares += (block * block).sum(axis=0)
    count = len(images)
    mean = total / count
    # In Python's integers: of more than 10 million images the products need more than 64 bits.
    scaled = np.asarray(count * squares.astype(object) - total.astype(object) ** 2, object)
    pixel_deviation = np.sqrt(scaled.astype(np.float64) / count**2)
    pixels = count * total.size
    deviation = ((pixels * int(squares.sum()) - int(total.sum()) ** 2) / pixels**2) ** 0.5 if pixels else 0.0
    return mean, deviation, pixel_deviation
