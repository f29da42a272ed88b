"""Images with labels and the names of their classes, and how they are made from arrays of any axes and labels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_array, as_shape, listed
from convnet.core.surprises import warn
from convnet.datasets.image_reader import ImageReader, Images, remedy_for_levels
from convnet.formats.files import PathLike

__all__ = [
    "PARTS",
    "ImageData",
    "Images",
    "Labels",
    "as_classes",
    "as_images",
    "check_count",
    "check_one_size",
    "checked_names",
    "make_parts",
    "parts_of",
    "warn_of_missing",
    "with_channels_last",
]

Labels = npt.NDArray[np.int64]
Pair = tuple[npt.ArrayLike, npt.ArrayLike]

# The parts of a data set, in the order in which they are listed.
PARTS = ("train", "validation", "test")
# More classes than this are a sign of labels that are none, such as numbers to be predicted.
MOST_CLASSES = 100_000


class ImageData(NamedTuple):
    """The images of one part of a data set, their labels, and the names of the classes.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, H, W) or (N, H, W, C)
    labels : ndarray of int64, shape (N,)
        Each in [0, K).
    class_names : tuple of str
        K names.
    reader : ImageReader or None
        How the images were read, if they were read from files. `split` and `preprocess_parts` hand it on, and a model's
        `statistics` keep it.
    files : sequence of path or None
        The file of each image, if they were read from files. `split` hands them on.
    """

    images: Images
    labels: Labels
    class_names: tuple[str, ...]
    reader: ImageReader | None = None
    files: Sequence[PathLike] | None = None

    def __repr__(self) -> str:
        """Describe the arrays by dtype and shape, and leave out the files: they would fill the screen."""
        described = {
            name: f"<{value.dtype} of shape {value.shape}>" if isinstance(value, np.ndarray) else repr(value)
            for name, value in self._asdict().items()
            if name != "files"
        }
        return f"ImageData({', '.join(f'{name}={text}' for name, text in described.items())})"


def make_parts(
    train: Pair,
    validation: Pair | None = None,
    test: Pair | None = None,
    *,
    class_names: Sequence[str] | None = None,
    axes: str | None = None,
    image_shape: Sequence[int] | None = None,
) -> dict[str, ImageData]:
    """Make the parts of a data set from arrays: axes in any order, or flat images, and labels of any kind.

    Parameters
    ----------
    train : pair of array_like
        Images of uint8, and their labels: integers from any start, texts, truth values, of shape (N,) or (N, 1), or
        one-hot (N, K).
    validation, test : pair of array_like, optional
        As `train`, if there are such parts.
    class_names : sequence of str, optional
        The names of the K classes, in order. Integer labels then have to lie in [0, K), and texts have to be among the
        names. By default the classes are the distinct labels of all parts, sorted: labels 1 to 26 become the classes 0
        to 25, with the names "1" to "26". One-hot labels are the classes 0..K-1, with or without names.
    axes : str, optional
        The order of the images' axes: the letters N, H and W, and C if there are channels. ``"NCHW"`` has the channels
        first, and ``"HWCN"`` is the order in SVHN's files. By default ``"NHW"`` or ``"NHWC"``.
    image_shape : sequence of ints, optional
        The shape of one image, if they are flat, (N, D). Its product is D, and its axes are those of `axes` without N.

    Returns
    -------
    dict of str to ImageData
        ``"train"``, and ``"validation"`` and ``"test"`` where they are given.

    Raises
    ------
    ValueError
        If shapes do not fit together, an image has other axes, or a label is of no class.
    TypeError
        If images are not uint8, or labels are neither integers nor texts.

    Warns
    -----
    ConvnetWarning
        If a part has no image of a class that another part has.

    Examples
    --------
    >>> import numpy as np
    >>> planes = np.zeros((4, 3, 32, 32), np.uint8)
    >>> data = make_parts((planes, ["dog", "cat", "cat", "dog"]), axes="NCHW")["train"]
    >>> data.images.shape, data.labels.tolist(), data.class_names
    ((4, 32, 32, 3), [1, 0, 0, 1], ('cat', 'dog'))
    """
    given = {name: pair for name, pair in zip(PARTS, (train, validation, test), strict=True) if pair is not None}
    for name, pair in given.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"make_parts: {name}: expected a pair of images and labels, got {pair!r:.60}")
    return parts_of(given, "make_parts", class_names=class_names, axes=axes, image_shape=image_shape)


def parts_of(
    given: Mapping[str, Pair],
    what: str,
    *,
    class_names: Sequence[str] | None = None,
    axes: str | None = None,
    image_shape: Sequence[int] | None = None,
) -> dict[str, ImageData]:
    """Return the parts of pairs of images and labels, by name; see `make_parts`.

    Errors begin with `what`.
    """
    images = {name: arrange(pair[0], f"{what}: {name}", axes, image_shape) for name, pair in given.items()}
    classes, names = as_classes({name: pair[1] for name, pair in given.items()}, class_names, what)
    for name, array in images.items():
        check_count(array, classes[name], f"{what}: {name}")
    check_one_size(images, what)
    warn_of_missing(classes, names, what)
    return {name: ImageData(images[name], classes[name], names) for name in PARTS if name in given}


def arrange(value: npt.ArrayLike, what: str, axes: str | None, image_shape: Sequence[int] | None) -> Images:
    """Return images of uint8 of the given axes as (N, H, W) or (N, H, W, C); see `make_parts`."""
    array = with_channels_last(as_array(value, what), what, axes, image_shape)
    return as_images(array, what, None if axes is None else False)


def with_channels_last(
    array: npt.NDArray[Any], what: str, axes: str | None, image_shape: Sequence[int] | None
) -> npt.NDArray[Any]:
    """Return images of any dtype and of the given axes as a view (N, H, W) or (N, H, W, C); see `make_parts`."""
    if axes is not None and (not isinstance(axes, str) or sorted(axes.upper()) not in (["H", "N", "W"], list("CHNW"))):
        raise ValueError(f"{what}: axes: expected the letters N, H, W, and C for channels, got {axes!r:.60}")
    order = None if axes is None else axes.upper()
    if image_shape is not None:
        shape = as_shape(image_shape, f"{what}: image_shape")
        if len(shape) not in (2, 3):
            raise ValueError(f"{what}: image_shape: expected two or three sizes, got {image_shape!r:.60}")
        if array.ndim != 2 or array.shape[1] != np.prod(shape, dtype=object):
            wanted = np.prod(shape, dtype=object)
            raise ValueError(f"{what}: expected flat images of shape (N, {wanted}) for {shape}, got {array.shape}")
        array = array.reshape(len(array), *shape)
        if order is not None and (len(order) != array.ndim or order[0] != "N"):
            raise ValueError(
                f"{what}: axes: expected N first, and then a letter for each of {shape}, as flat images have it, "
                f"got {axes!r}"
            )
    if order is not None:
        if len(order) != array.ndim:
            raise ValueError(f"{what}: expected images with the axes {axes}, got shape {array.shape}")
        array = array.transpose([order.index(letter) for letter in "NHWC" if letter in order])
    return array


def as_images(value: npt.ArrayLike, what: str, channels_first: bool | None = None) -> Images:
    """Return uint8 images (N, H, W) or (N, H, W, C), after checking them, as a view.

    Parameters
    ----------
    value : array_like of uint8
    what : str
        Begins each message.
    channels_first : bool, optional
        Whether four axes are (N, C, H, W). By default they are (N, H, W, C), and images whose channels seem to come
        first are refused: at most 4 where the height should be, and more than 4 where the channels should be.

    Raises
    ------
    TypeError
        If the images are not uint8.
    ValueError
        If they have other axes.
    """
    array = as_array(value, what)
    if array.dtype != np.uint8:
        remedy = remedy_for_levels(array, "images")
        if array.dtype.kind in "UTO":
            remedy = "; load_folder reads the files of a folder, and ImageReader(size=...).read that of a path"
        raise TypeError(f"{what}: expected images of dtype uint8, got {array.dtype}{remedy}")
    if array.ndim not in (3, 4):
        remedy = {
            2: "; flat images become images by images.reshape(-1, H, W), a single one by images[None]",
        }.get(array.ndim, "")
        raise ValueError(f"{what}: expected images of shape (N, H, W) or (N, H, W, C), got {array.shape}{remedy}")
    if array.ndim == 4 and channels_first:
        array = array.transpose(0, 2, 3, 1)
    elif array.ndim == 4 and channels_first is None and array.shape[1] <= 4 < array.shape[3]:
        raise ValueError(
            f"{what}: expected images of shape (N, H, W, C), got {array.shape}, which looks like channels first: "
            "images.transpose(0, 2, 3, 1) puts them last"
        )
    return array


def check_one_size(images: Mapping[str, npt.NDArray[Any]], what: str) -> None:
    """Raise a ValueError unless the images of all parts have one shape."""
    shapes = {name: array.shape[1:] for name, array in images.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{shape} in the {name} part" for name, shape in shapes.items())
        raise ValueError(f"{what}: expected images of one size in all parts, got {found}")


def check_count(images: npt.NDArray[Any], labels: npt.NDArray[Any], what: str, remedy: str = "") -> None:
    """Raise a ValueError unless there is one label for each image; a remedy ends the message."""
    if labels.shape == (len(images),):
        return
    if labels.ndim == 1 and len(labels) in images.shape[1:]:
        remedy = (
            '; if the images are on the last axis, as in the files of SVHN, make_parts(..., axes="HWCN") takes them'
        )
    raise ValueError(f"{what}: expected {len(images)} labels, one for each image, got shape {labels.shape}{remedy}")


def as_classes(
    labels: Mapping[str, npt.ArrayLike], class_names: Sequence[str] | None, what: str
) -> tuple[dict[str, Labels], tuple[str, ...]]:
    """Return labels of any kind as classes 0..K-1 for each part, and the K names; see `make_parts`."""
    place = {name: f"{what}: labels of {name}" if len(labels) > 1 else f"{what}: labels" for name in labels}
    found = {name: _one_axis(value, place[name]) for name, value in labels.items()}
    kinds = {(_kind(array), width) for array, width in found.values() if array.size}
    if len(kinds) > 1:
        described = " and ".join(sorted(kind if width is None else f"one-hot of {width}" for kind, width in kinds))
        raise ValueError(f"{what}: expected labels of one kind in all parts, got {described}")
    kind, width = kinds.pop() if kinds else ("integer", None)
    values: Sequence[Any]  # the labels that stand for the classes, in order
    if class_names is not None:
        names = checked_names(class_names, what)
        if width not in (None, len(names)):
            raise ValueError(f"{what}: class_names: expected {width} names for one-hot labels, got {len(names)}")
        values = names if kind == "text" else range(len(names))
    else:
        distinct = {value for array, _ in found.values() for value in np.unique(array).tolist()}
        values = range(width) if width is not None else sorted(distinct)
        if len(values) > MOST_CLASSES:
            raise ValueError(f"{what}: expected labels of at most {MOST_CLASSES:,} classes, got {len(values):,}")
        names = tuple(str(value) for value in values)
    classes = {value: label for label, value in enumerate(values)}
    return {name: _mapped(array, classes, place[name]) for name, (array, _) in found.items()}, names


def _kind(array: npt.NDArray[Any]) -> str:
    return {"U": "text", "b": "truth value"}.get(array.dtype.kind, "integer")


def _mapped(array: npt.NDArray[Any], classes: Mapping[Any, int], what: str) -> Labels:
    """Return the class of each label."""
    values, places = np.unique(array, return_inverse=True)
    unknown = [value for value in values.tolist() if value not in classes]
    if unknown:
        raise ValueError(
            f"{what}: expected classes among {listed(list(classes))}, as class_names says, got {listed(unknown)}"
        )
    return np.array([classes[value] for value in values.tolist()], np.int64)[places.reshape(array.shape)]


def _one_axis(value: npt.ArrayLike, what: str) -> tuple[npt.NDArray[Any], int | None]:
    """Return labels on one axis, and for one-hot ones the number of classes."""
    array = as_array(value, what)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2):
        raise ValueError(f"{what}: expected labels of shape (N,), (N, 1) or one-hot (N, K), got {array.shape}")
    if array.ndim == 2:
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{what}: expected one-hot labels (N, K) of numbers, got dtype {array.dtype}")
        is_one = array == 1
        wrong = np.flatnonzero(~((is_one | (array == 0)).all(axis=1) & (is_one.sum(axis=1) == 1)))
        if wrong.size:
            raise ValueError(
                f"{what}: expected one-hot labels, a single 1 among zeros in each row, got another row at {wrong[0]}; "
                "several labels an example need binary_loss"
            )
        return is_one.argmax(axis=1) if array.shape[1] else np.empty(0, np.int64), array.shape[1]
    if not array.size:
        return array, None
    if array.dtype.kind == "S":
        raise TypeError(f"{what}: expected texts, got bytes; numpy.char.decode(labels) makes texts of them")
    if array.dtype.kind in "OT":
        texts = array.tolist()
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{what}: expected integers or texts, got an array of objects of other kinds")
        return np.array(texts, np.str_), None
    if array.dtype.kind not in "biuU":
        remedy = "; labels.astype(int) makes integers of whole numbers" if array.dtype.kind == "f" else ""
        raise TypeError(f"{what}: expected integer labels, texts, or one-hot rows, got dtype {array.dtype}{remedy}")
    return array, None


def checked_names(class_names: Sequence[str], what: str) -> tuple[str, ...]:
    """Return class names as a tuple, after checking that they are texts and differ."""
    is_list = isinstance(class_names, Sequence) and not isinstance(class_names, str)
    is_list = is_list or (isinstance(class_names, np.ndarray) and class_names.ndim == 1)
    if not is_list or not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"{what}: class_names: expected a list of texts, got {class_names!r:.60}")
    names = tuple(str(name) for name in class_names)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what}: class_names: expected at least one name, and each once, got {listed(names)}")
    return names


def warn_of_missing(
    labels: Mapping[str, Labels],
    class_names: Sequence[str] | None,
    what: str,
    remedy: str = "split(...) shares the images of each class among the parts",
) -> None:
    """Warn of each class that a part lacks and another part has, by name; empty parts are left out.

    Parameters
    ----------
    labels : mapping of str to ndarray of int
        For each part.
    class_names : sequence of str or None
        By default the classes are called by their labels. With names, a class that no part has is missing, too.
    what : str
        Begins the message.
    remedy : str
        Ends the message.
    """
    present = {name: np.unique(array) for name, array in labels.items() if len(array)}
    if class_names is None:
        known = np.unique(np.concatenate([*present.values(), np.empty(0, np.int64)]))
    else:
        known = np.arange(len(class_names))
    for name, found in present.items():
        missing = np.setdiff1d(known, found).tolist()
        if missing:
            names = [label if class_names is None else class_names[label] for label in missing]
            warn(
                f"{what}: the {name} part has no image of the {'class' if len(names) == 1 else 'classes'} "
                f"{listed(names)}; {remedy}"
            )
