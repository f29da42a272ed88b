"""Data: IDX files, the MNIST digits that come with the package, preprocessing, and pickles of prepared data."""

import gzip
import os
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from convnet.checks import FloatArray, as_count
from convnet.files import PathLike, open_file, replace_file
from convnet.pickles import load_pickle

__all__ = ["Statistics", "load_mnist", "load_prepared", "preprocess", "read_idx", "save_prepared"]

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

# The third byte of an IDX file and the big-endian type that it stands for.
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate cannot shrink data by more than this factor (zlib's documentation, "Maximum compression factor").
DEFLATE_LIMIT = 1032
CHUNK = 1 << 20


# -------------------------------------------------------------------------------------------- IDX files


def read_idx(path: PathLike) -> npt.NDArray[Any]:
    """Read an IDX file, gzipped or not, of any element type and rank.

    Parameters
    ----------
    path : path
        The file; whether it is gzipped is told by its first two bytes.

    Returns
    -------
    ndarray
        In native byte order: uint8, int8, int16, int32, float32 or float64, as the file says. A gzipped file may unpack
        to 1,032 times its size; it is refused at once where its header claims more.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an IDX file, or is shorter or longer than its header says, or broken gzip.

    Notes
    -----
    The format is two zero bytes, a byte for the element type, a byte for the rank, each dimension as a big-endian
    32-bit unsigned integer, then the elements, big-endian, the last dimension fastest (Y. LeCun, C. Cortes,
    C. J. C. Burges, "The MNIST database of handwritten digits").
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not zipped:
                return _parse_idx(file, size, path)
            with gzip.open(file) as content:
                return _parse_idx(content, size * DEFLATE_LIMIT, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected an IDX file, but there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole gzip file, but it is broken: {error}") from None


def _parse_idx(file: IO[bytes] | gzip.GzipFile, limit: int, path: PathLike) -> npt.NDArray[Any]:
    """Read the header and elements of an IDX file whose content is at most `limit` bytes long."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES:
        raise ValueError(
            f"{path}: expected an IDX file, which begins with the bytes 00 00, a type out of "
            f"{', '.join(f'{code:02x}' for code in IDX_TYPES)} and a rank, got {magic.hex(' ') or 'an empty file'}"
        )
    dtype, rank = np.dtype(IDX_TYPES[magic[2]]), magic[3]
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(f"{path}: expected {rank} dimensions of 4 bytes after the magic, got {len(header)} bytes")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    expected = prod(shape) * dtype.itemsize
    claim = f"{path}: expected {expected} bytes of elements, as the header says (shape {shape} of {dtype.name})"
    if expected > limit:
        raise ValueError(f"{claim}, but the file is too small to hold them")
    # In pieces, so that memory grows with what the file holds and not with what its header claims.
    content = bytearray()
    while len(content) <= expected and (piece := file.read(min(CHUNK, expected + 1 - len(content)))):
        content += piece
    if len(content) < expected:
        raise ValueError(f"{claim}, got {len(content)}")
    if len(content) > expected:
        raise ValueError(f"{claim}, but the file goes on after them")
    try:
        array = np.frombuffer(content, dtype).reshape(shape)
    except ValueError:
        raise ValueError(f"{path}: expected a rank and sizes that NumPy can hold, got shape {shape}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


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
    folder = Path(__file__).parent / "data" / "mnist" if directory is None else Path(directory)
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


# ---------------------------------------------------------------------------------------- preprocessing


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
    """

    image_shape: tuple[int, int, int]
    divide_by_255: bool
    mean: FloatArray | None
    std: FloatArray | None

    def apply(self, images: npt.ArrayLike) -> FloatArray:
        """Prepare images as the training images were prepared.

        Parameters
        ----------
        images : array_like of uint8, shape (N, H, W) or (N, H, W, C)

        Returns
        -------
        ndarray of float32, shape (N, C, H, W)

        Raises
        ------
        TypeError
            If the images are not uint8.
        ValueError
            If their shape is not that of the training images.
        """
        planes = _channels_first(images)
        if planes.shape[1:] != self.image_shape:
            c, h, w = self.image_shape
            raise ValueError(
                f"expected images of shape (N, {h}, {w}{f', {c}' if c > 1 else ''}), got {np.shape(images)}"
            )
        prepared = planes.astype(np.float32, order="C")
        if self.divide_by_255:
            prepared /= 255
        if self.mean is not None:
            prepared -= self.mean
        if self.std is not None:
            prepared /= self.std
        return prepared

    def __repr__(self) -> str:
        mean, std = (None if array is None else f"<{fingerprint(array)}>" for array in (self.mean, self.std))
        return f"Statistics(image_shape={self.image_shape}, divide_by_255={self.divide_by_255}, mean={mean}, std={std})"

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as a dictionary of arrays, numbers and None."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the statistics that `to_dict` gave, after checking them.

        Raises
        ------
        ValueError
            If the dictionary is not one of `to_dict`.
        """
        names = [field.name for field in fields(cls)]
        if values.keys() != set(names):
            raise ValueError(f"expected the statistics {', '.join(names)}, got {list(values)}")
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
        return cls(**values)


def _channels_first(images: npt.ArrayLike) -> Images:
    """Return uint8 images (N, H, W) or (N, H, W, C) as a view (N, C, H, W)."""
    array = np.asarray(images)
    if array.dtype != np.uint8:
        raise TypeError(f"expected images of dtype uint8, got {array.dtype}")
    if array.ndim not in (3, 4):
        raise ValueError(f"expected images of shape (N, H, W) or (N, H, W, C), got {array.shape}")
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
) -> tuple[dict[str, npt.NDArray[Any]], Statistics]:
    """Split off a validation set, normalise, and put the channels first.

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
        Divide by each pixel's own standard deviation instead, where one below 1/255 (a single grey level) counts as
        1: some pixels hardly ever vary.

    Returns
    -------
    data : dict of str to ndarray
        ``x_train``, ``x_validation``, ``x_test`` of float32 (N, C, H, W) and ``y_train``, ``y_validation``,
        ``y_test`` of int64 (N,).
    statistics : Statistics
        Taken from the training part alone, without the validation images; ``statistics.apply`` takes the same steps
        with new images.

    Raises
    ------
    ValueError
        If shapes do not fit together, or the split asks for more images than there are.
    TypeError
        If images are not uint8 or labels not integers.
    """
    train, test = _channels_first(x_train), _channels_first(x_test)
    train_labels, test_labels = _label_array(y_train, len(train)), _label_array(y_test, len(test))
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"preprocess: expected training and test images of one size, got {train.shape[1:]} and {test.shape[1:]}"
        )
    kept = len(train) - as_count(num_validation, "num_validation", 0)
    if kept < 1:
        raise ValueError(f"num_validation: expected fewer than the {len(train)} training images, got {num_validation}")
    if not len(test):
        raise ValueError("preprocess: expected at least one test image, got none")
    tested = len(test) if num_test is None else as_count(num_test, "num_test")
    if tested > len(test):
        raise ValueError(f"num_test: expected at most the {len(test)} test images, got {num_test}")

    unit = 255.0 if divide_by_255 else 1.0
    mean, deviation, pixel_deviation = _moments(train[:kept])
    if per_pixel_std:
        std = np.where(pixel_deviation < 1, 1, pixel_deviation / unit)
    else:
        std = np.asarray(deviation / unit or 1.0)
    statistics = Statistics(
        image_shape=train.shape[1:],
        divide_by_255=bool(divide_by_255),
        mean=(mean / unit).astype(np.float32) if subtract_mean else None,
        std=np.asarray(std, np.float32) if divide_by_std else None,
    )
    images, test_images = np.asarray(x_train), np.asarray(x_test)
    data = {
        "x_train": statistics.apply(images[:kept]),
        "y_train": train_labels[:kept],
        "x_validation": statistics.apply(images[kept:]),
        "y_validation": train_labels[kept:],
        "x_test": statistics.apply(test_images[:tested]),
        "y_test": test_labels[:tested],
    }
    return data, statistics


def _label_array(labels: npt.ArrayLike, count: int) -> Labels:
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"expected integer labels, got dtype {array.dtype}")
    if array.shape != (count,):
        raise ValueError(f"expected {count} labels, one for each image, got shape {array.shape}")
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


# ------------------------------------------------------------------------------- pickles of prepared data

DATA_KEYS = ("x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test")


def save_prepared(path: PathLike, data: Mapping[str, npt.NDArray[Any]], statistics: Statistics) -> None:
    """Save what `preprocess` returned to a pickle file, whole or not at all.

    Parameters
    ----------
    path : path
        The file; an existing one is replaced when the new one is complete.
    data, statistics
        What `preprocess` returned.

    Raises
    ------
    ValueError
        If `data` and `statistics` are not those that `preprocess` makes.
    """
    if not isinstance(statistics, Statistics):
        raise ValueError(f"save_prepared: expected statistics from preprocess, got {statistics!r:.60}")
    content = {"data": _contiguous(data), "statistics": _contiguous(statistics.to_dict())}
    _check_prepared(content["data"], content["statistics"], "save_prepared")
    with replace_file(path) as file:
        pickle.dump(content, file, protocol=5)


def load_prepared(path: PathLike) -> tuple[dict[str, npt.NDArray[Any]], Statistics]:
    """Load a pickle file of `save_prepared`.

    The unpickler builds arrays, dictionaries, strings and numbers; a file that asks for anything else is refused
    before any of its wishes are carried out.

    Parameters
    ----------
    path : path

    Returns
    -------
    data, statistics
        As from `preprocess`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a pickle of prepared data.
    """
    content = load_pickle(path, "prepared data")
    if not (isinstance(content, dict) and content.keys() == {"data", "statistics"}):
        raise ValueError(f"{path}: expected a pickle of prepared data, a dictionary of data and statistics")
    if not isinstance(content["statistics"], dict):
        raise ValueError(f"{path}: expected statistics in a dictionary, got {type(content['statistics']).__name__}")
    return content["data"], _check_prepared(content["data"], content["statistics"], str(path))


def _contiguous(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dictionary whose arrays are contiguous, as the unpickler wants them."""
    return {
        key: np.asarray(value, order="C") if isinstance(value, np.ndarray) else value for key, value in values.items()
    }


def _check_prepared(data: Any, statistics: Mapping[str, Any], what: str) -> Statistics:
    """Return the statistics after checking them and the data, and that they are of the same images."""
    _check_data(data, what)
    try:
        checked = Statistics.from_dict(statistics)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    if data["x_train"].shape[1:] != checked.image_shape:
        raise ValueError(
            f"{what}: expected data and statistics of one image shape, got {data['x_train'].shape[1:]} "
            f"and {checked.image_shape}"
        )
    return checked


def _check_data(data: Any, what: str) -> None:
    """Raise a ValueError unless `data` is a dictionary of the six arrays that `preprocess` makes."""
    if not isinstance(data, dict) or data.keys() != set(DATA_KEYS):
        raise ValueError(f"{what}: expected a dictionary of the arrays {', '.join(DATA_KEYS)}")
    for part in ("train", "validation", "test"):
        x, y = data[f"x_{part}"], data[f"y_{part}"]
        for name, array, dtype, rank in ((f"x_{part}", x, np.float32, 4), (f"y_{part}", y, np.int64, 1)):
            if getattr(array, "dtype", None) != dtype or array.ndim != rank:
                raise ValueError(f"{what}: expected {name} to be {np.dtype(dtype)} of rank {rank}, got {array!r:.60}")
        if len(x) != len(y):
            raise ValueError(f"{what}: expected as many images as labels, got {len(x)} x_{part} and {len(y)} y_{part}")
