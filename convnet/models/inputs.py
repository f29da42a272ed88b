"""What a model is given, inputs and values of its parameters, and what it answers."""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_array, as_real, join_sizes
from convnet.core.surprises import warn
from convnet.datasets.preprocessing import Statistics

__all__ = [
    "Predictions",
    "as_inputs",
    "check_examples",
    "load_arrays",
    "mirrored",
    "shape_remedy",
    "warn_if_unprepared",
]

# Examples that are looked at to tell whether inputs are prepared.
EXAMPLES = 4
# Whole numbers up to such a value are pixels.
LEAST_PIXEL = 20


class Predictions(NamedTuple):
    """What a model says of images.

    Attributes
    ----------
    names : list of str
        For each image the name of the class with the highest probability.
    probabilities : ndarray, shape (N, K)
    """

    names: list[str]
    probabilities: FloatArray


def check_examples(array: npt.NDArray[Any], what: str, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless an array is of shape (N, *shape)."""
    if array.shape[1:] != shape or array.ndim == 0:
        remedy = shape_remedy(array.shape, shape, "x")
        if not remedy and len(shape) == 3 and array.dtype == np.uint8:
            remedy = "; classify and predict_images take raw images of other shapes"
        raise ValueError(f"{what}: expected x of shape (N, {join_sizes(shape)}), got {array.shape}{remedy}")


def shape_remedy(found: tuple[int, ...], shape: tuple[int, ...], name: str) -> str:
    """Say how an array called `name` gets the shape (N, *shape); "" where nobody knows."""
    if found == shape:
        return f"; one example {name} is given as {name}[None]"
    if len(found) == 4 and found[1:] == (*shape[1:], *shape[:1]):
        return f", whose channels come last: {name}.transpose(0, 3, 1, 2) puts them first"
    if len(shape) == 3 and shape[0] == 1 and found[1:] == shape[1:]:
        return f"; {name}[:, None] adds the axis of the one channel"
    if len(found) == 2 and len(shape) > 1 and found[1] == prod(shape):
        return f"; {name}.reshape(-1, {join_sizes(shape)}) makes images of rows"
    if len(shape) == 1 and len(found) > 2 and prod(found[1:]) == shape[0]:
        return f"; {name}.reshape(len({name}), -1) makes rows of images"
    return ""


def as_inputs(
    x: npt.ArrayLike, what: str, shape: tuple[int, ...], dtype: np.dtype | None, statistics: object
) -> FloatArray:
    """Return x of shape (N, *shape) in C order and in a dtype, raw images prepared.

    Parameters
    ----------
    x : array_like, shape (N, *shape)
    what : str
        Names the model in errors.
    shape : tuple of ints
    dtype : dtype or None
        As of `as_real`.
    statistics : Statistics or None
        Prepare images of uint8. Without them, these are numbers like any others.

    Raises
    ------
    ValueError
        If the shape is another one.
    TypeError
        If x does not hold real numbers.
    """
    array = as_array(x, f"{what}: x")
    if len(shape) == 3 and array.dtype.kind in "USTO":
        raise TypeError(
            f"{what}: x: expected prepared images as an array of numbers, got dtype {array.dtype}; classify and "
            "predict_images take files"
        )
    if array.dtype == np.uint8 and isinstance(statistics, Statistics):
        check_examples(array, what, shape)
        array = statistics.prepare(array)
    inputs = as_real(array, f"{what}: x", dtype)
    check_examples(inputs, what, shape)
    return inputs


def mirrored(x: FloatArray, statistics: object) -> FloatArray:
    """Mirror prepared images left to right, as if the raw images had been mirrored and then prepared.

    With `Statistics` that is ``((x * std + mean)[..., ::-1] - mean) / std``: the mean image is not mirrored. Without
    them the prepared images are mirrored.
    """
    y = x[..., ::-1].copy()
    if isinstance(statistics, Statistics):
        mean, std = (a if a.size == 1 else a.reshape(x.shape[1:]) for a in statistics.flat(x.dtype))
        if mean.size > 1 or std.size > 1:  # otherwise all pixels are prepared alike
            y *= std[..., ::-1]
            y += mean[..., ::-1]
            y -= mean
            y /= std
    return y


def warn_if_unprepared(x: npt.NDArray[Any], what: str, shape: tuple[int, ...], statistics: object) -> None:
    """Warn if images seem to be raw where prepared ones are expected; a few of them are looked at.

    Raw images of uint8 are prepared by `Statistics`, and a warning says if there are none. Floats are taken as they
    are. Whole numbers from 0 to 255 are raw. With `Statistics` the range of prepared images is known, too: floats far
    outside of it, or in 0..1 where the mean was to be subtracted, are raw.

    Parameters
    ----------
    x : ndarray, shape (N, *shape)
    what : str
        Begins the message.
    shape : tuple of ints
        Other inputs than images, (C, H, W), are not looked at.
    statistics : Statistics or None
    """
    if len(shape) != 3 or x.shape[1:] != shape or not x.size or x.dtype.kind not in "iuf":
        return
    known = statistics if isinstance(statistics, Statistics) and statistics.image_shape == shape else None
    if x.dtype == np.uint8:
        if known is None:
            warn(
                f"{what}: x holds raw images, of uint8, and the model has no statistics that prepare them: their "
                "pixels are taken as they are; set model.statistics to what preprocess returned, or, if that is meant, "
                "give x.astype(numpy.float32)"
            )
        return
    sample = x[:: max(1, len(x) // EXAMPLES)][:EXAMPLES]
    # By the ufuncs themselves, and not more than is needed: one image is predicted in microseconds.
    low = float(np.minimum.reduce(sample, axis=None))
    if known is None and not low >= 0:
        return
    high = float(np.maximum.reduce(sample, axis=None))
    pixels = low >= 0 and LEAST_PIXEL < high <= 255 and bool((sample == np.rint(sample)).all())
    if known is not None:
        least, most = known.prepared_range
        beyond = low < least - (most - least) or high > most + (most - least)
        fractions = 0 <= low < high <= 1 and high > 0.5
        if beyond or (least < 0 and (fractions or pixels)) or (fractions and most > LEAST_PIXEL):
            warn(
                f"{what}: x seems not to be prepared: it goes from {low:.3g} to {high:.3g}, and what model.statistics "
                f"prepare from {least:.3g} to {most:.3g}; give raw images as uint8, to predict_images or of shape "
                "(N, C, H, W), or prepare them first, model.statistics.apply(images)"
            )
    elif pixels:
        warn(
            f"{what}: x seems to hold raw images, whole numbers from {low:g} to {high:g}, and the model has no "
            "statistics that prepare them; set model.statistics to what preprocess returned, and give images as uint8, "
            "or prepare them as those that the model was trained with"
        )


def load_arrays(own: Mapping[str, npt.NDArray[Any]], given: Mapping[str, npt.ArrayLike], what: str) -> None:
    """Copy the given values into a model's own arrays, or change nothing if names or shapes differ."""
    if not isinstance(given, Mapping):
        raise TypeError(f"expected {what} as a dictionary of arrays by name, got {given!r:.60}")
    if own.keys() != given.keys():
        raise ValueError(f"expected {what} {list(own)}, got {list(given)}")
    new = {
        # A state may hold counts, too, which float32 would round.
        name: as_real(given[name], name, array.dtype) if array.dtype.kind == "f" else as_array(given[name], name)
        for name, array in own.items()
    }
    for name, array in new.items():
        if array.shape != own[name].shape:
            raise ValueError(f"{name}: expected shape {own[name].shape}, got {array.shape}")
        if not np.can_cast(array.dtype, own[name].dtype, "same_kind"):
            raise TypeError(f"{name}: expected {own[name].dtype}, got {array.dtype}")
    for name, array in new.items():
        own[name][...] = array
