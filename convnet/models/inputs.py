"""What a model is given: inputs, prepared or as raw images, and values of its parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_array, as_real, join_sizes
from convnet.datasets.preprocessing import Statistics

__all__ = ["as_inputs", "check_examples", "load_arrays"]


def check_examples(array: npt.NDArray[Any], what: str, shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless an array is of shape (N, *shape)."""
    if array.shape[1:] != shape or array.ndim == 0:
        remedy = "; one example x is given as x[None]" if array.shape == shape else ""
        if array.ndim == 4 and array.shape[1:] == (*shape[1:], *shape[:1]):
            remedy = ", whose channels come last: x.transpose(0, 3, 1, 2) puts them first"
        raise ValueError(f"{what}: expected x of shape (N, {join_sizes(shape)}), got {array.shape}{remedy}")


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
    if array.dtype == np.uint8 and isinstance(statistics, Statistics):
        check_examples(array, what, shape)
        array = statistics.prepare(array)
    inputs = as_real(array, f"{what}: x", dtype)
    check_examples(inputs, what, shape)
    return inputs


def load_arrays(own: Mapping[str, npt.NDArray[Any]], given: Mapping[str, npt.ArrayLike], what: str) -> None:
    """Copy the given values into a model's own arrays, or change nothing if names or shapes differ."""
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
