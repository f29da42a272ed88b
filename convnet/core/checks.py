"""Checks of arguments, which raise an error that says what was expected.

The `as_*` functions return the argument in the form that the kernels need. The `check_*` functions return nothing.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "LARGEST",
    "NATIVE",
    "FloatArray",
    "IntArray",
    "Padding",
    "Pair",
    "Sides",
    "all_finite",
    "as_count",
    "as_flag",
    "as_generator",
    "as_labels",
    "as_number",
    "as_padding",
    "as_pair",
    "as_plain",
    "as_real",
    "as_shape",
    "as_weights",
    "check_out",
    "check_pixels",
    "check_shape",
    "count_of",
    "join_sizes",
    "listed",
    "output_size",
    "remedy_for_labels",
    "sides_of",
    "takes_keyword",
]

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.signedinteger[Any]]
Pair = int | Sequence[int]
# Padding as an argument, and checked: (height, width), or ((top, bottom), (left, right)) where the two sides differ.
Padding = Pair | Sequence[Sequence[int]]
Sides = tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

# Largest stride, padding or size that is accepted: products of two stay within the kernels' 64 bits.
LARGEST = 2**31 - 1


# How many names a message lists.
MOST_NAMED = 10
# Elements that `all_finite` tests at a time.
PIECE = 1 << 14

# The dtypes that the kernels compute with. A dtype in the other byte order is equal to neither.
NATIVE = (np.dtype(np.float32), np.dtype(np.float64))


def as_pair(value: Pair, what: str, minimum: int) -> tuple[int, int]:
    """Return an int or a pair of ints as a pair; `what` names it in the error."""
    # The usual case first: every training step calls this several times.
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        first, second = value
        if minimum <= first <= LARGEST and minimum <= second <= LARGEST:
            return first, second
    try:
        values = list(value) if isinstance(value, Sequence) else [value]
        if any(isinstance(v, (bool, np.bool_)) for v in values):
            raise TypeError
        sizes = [operator.index(v) for v in values]
    except TypeError:
        raise TypeError(f"{what}: expected an int or a pair of ints, got {value!r:.80}") from None
    if len(sizes) not in (1, 2) or not minimum <= min(sizes) <= max(sizes) <= LARGEST:
        raise ValueError(f"{what}: expected an int or a pair of ints from {minimum} to {LARGEST}, got {value!r:.80}")
    return sizes[0], sizes[-1]


def as_padding(value: Padding, what: str) -> Sides:
    """Return padding as a pair (height, width) or, where two sides differ, as ((top, bottom), (left, right))."""
    try:
        if isinstance(value, (tuple, list)) and [len(s) for s in value if isinstance(s, (tuple, list))] == [2, 2]:
            (top, bottom), (left, right) = (as_pair(sides, what, 0) for sides in value)
            return (top, left) if (top, left) == (bottom, right) else ((top, bottom), (left, right))
        return as_pair(value, what, 0)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; sides that differ are ((top, bottom), (left, right))") from None


def sides_of(padding: Sides) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return checked padding as ((top, bottom), (left, right))."""
    height, width = padding
    return (height, height) if isinstance(height, int) else height, (width, width) if isinstance(width, int) else width


def as_count(value: int, what: str, minimum: int = 1) -> int:
    """Return an integer of at least `minimum` as an int; `what` names it in the error."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{what}: expected an integer, got {value!r}") from None
    if count < minimum:
        raise ValueError(f"{what}: expected at least {minimum}, got {count}")
    if count > LARGEST:
        raise ValueError(f"{what}: expected at most {LARGEST}, got {count}")
    return count


def as_shape(value: Sequence[int], what: str, axes: int | None = None, minimum: int = 1) -> tuple[int, ...]:
    """Return a shape as a tuple of ints of at least `minimum`, after checking its number of axes if one is given."""
    sizes = tuple(value) if isinstance(value, (Sequence, np.ndarray)) and as_array(value, what).ndim == 1 else None
    if sizes is None or (axes is not None and len(sizes) != axes):
        remedy = f"; ({value},) is a shape of one axis" if isinstance(value, int) and axes in (None, 1) else ""
        raise ValueError(f"{what}: expected a shape{'' if axes is None else f' of {axes} axes'}, got {value!r}{remedy}")
    return tuple(as_count(size, what, minimum) for size in sizes)


def as_number(
    value: float,
    what: str,
    *,
    above: float = -inf,
    at_least: float = -inf,
    at_most: float = inf,
    below: float = inf,
) -> float:
    """Return a finite real number within the bounds as a float; `what` names it in the error."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{what}: expected a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not (isfinite(number) and above < number < below and at_least <= number <= at_most):
        bounds = {"above": above, "of at least": at_least, "below": below, "at most": at_most}
        wanted = " and ".join(f"{words} {bound:g}" for words, bound in bounds.items() if isfinite(bound))
        raise ValueError(f"{what}: expected a finite number{wanted and ' '}{wanted}, got {value!r}")
    return number


def as_flag(value: bool, what: str) -> bool:
    """Return True or False as a bool; `what` names it in the error."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what}: expected True or False, got {value!r}")
    return bool(value)


def as_generator(rng: np.random.Generator, what: str) -> np.random.Generator:
    """Return a random generator, after checking that it is one; `what` names it in the error."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{what}: expected a numpy.random.Generator such as numpy.random.default_rng(0), got {rng!r:.60}"
        )
    return rng


def as_real(value: npt.ArrayLike, what: str, dtype: npt.DTypeLike | None = None) -> FloatArray:
    """Return `value` as a C-contiguous float array; the same object where it already is one.

    `dtype` is the dtype wanted; without it float32 and float64 stay and the rest becomes float32.
    """
    # The usual case first: it is much faster than the rest, and every training step calls this many times.
    if type(value) is np.ndarray and value.flags.c_contiguous and value.flags.aligned and value.dtype in NATIVE:
        plain: FloatArray = value
        if dtype is None or plain.dtype == dtype:
            return plain
    array = as_array(value, what)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{what}: expected real numbers, got dtype {array.dtype}")
    wanted = np.dtype(array.dtype if dtype is None else dtype).newbyteorder("=")
    if wanted not in NATIVE:
        wanted = np.dtype(np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        return as_plain(array, wanted)


def as_array(value: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    """Return `value` as an array, of the dtype that NumPy chooses for it."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):  # what is masked would count like the rest
        raise TypeError(f"{what}: expected an array without a mask, got a masked one; array.filled(value) fills it")
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # NumPy would stack its fields, or say that they differ
        kind = type(value).__name__
        raise TypeError(f"{what}: expected an array, got the whole {kind}; give one of its {listed(value._fields)}")
    try:
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # an object of another library may raise anything
        if isinstance(value, (list, tuple)) and isinstance(error, ValueError):
            raise ValueError(f"{what}: expected an array, got lists of different lengths") from None
        raise TypeError(
            f"{what}: expected an array, got a {type(value).__name__} that NumPy cannot take: {error}"
        ) from None


def as_plain(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array as the kernels read it, in C order and aligned; the same object where it already is so."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])


def as_labels(value: npt.ArrayLike, what: str, count: int, num_classes: int) -> IntArray:
    """Return `count` labels in [0, num_classes) as a contiguous array of the platform's index type."""
    labels = as_array(value, what)
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(
            f"{what}: expected integer labels, got dtype {labels.dtype}{remedy_for_labels(labels, num_classes)}"
        )
    if labels.shape != (count,):
        remedy = remedy_for_labels(labels, num_classes)
        raise ValueError(f"{what}: expected labels of shape ({count},), got shape {labels.shape}{remedy}")
    if count and not 0 <= labels.min() <= labels.max() < num_classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        from_1 = labels.min() == 1 and labels.max() == num_classes
        remedy = "; classes are counted from 0: labels - 1" if from_1 else ""
        raise ValueError(f"{what}: expected labels in [0, {num_classes}), got {wrong}{remedy}")
    return as_plain(labels, np.intp)


def remedy_for_labels(labels: npt.NDArray[Any], num_classes: int | None = None) -> str:
    """Say how labels of another kind or shape become one class an example; "" where nobody knows."""
    if num_classes is None and labels.ndim == 2:
        num_classes = labels.shape[1]
    if labels.dtype.kind in "UST":
        return "; numpy.unique(labels, return_inverse=True)[1] numbers the classes"
    if labels.dtype.kind not in "biuf":
        return ""
    if labels.ndim == 2 and labels.shape[1] == num_classes != 1:
        if ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all():
            return "; one-hot labels become classes by labels.argmax(axis=1)"
        return ""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return "; labels.reshape(-1).astype(int) makes classes of a column" if (labels == np.rint(labels)).all() else ""
    if labels.ndim == 1 and labels.dtype.kind == "b":
        return "; truth values become classes by labels.astype(int)"
    if labels.ndim == 1 and labels.dtype.kind == "f" and (labels == np.rint(labels)).all():
        return "; whole numbers become classes by labels.astype(int)"
    return ""


def as_weights(value: npt.ArrayLike, what: str, count: int) -> FloatArray:
    """Return `count` finite weights of at least 0 as a contiguous array of float64; `what` names them in the error."""
    if isinstance(value, str):
        remedy = "; balanced_weights(labels) makes all classes count alike" if value == "balanced" else ""
        raise TypeError(f"{what}: expected real numbers, got {value!r:.60}{remedy}")
    weights = as_real(value, what, np.float64)
    check_shape(weights.shape, (count,), what)
    valid = np.isfinite(weights) & (weights >= 0)
    if not valid.all():
        raise ValueError(f"{what}: expected finite numbers of at least 0, got {weights[~valid][0]}")
    return weights


def all_finite(array: FloatArray) -> bool:
    """Return whether there is neither NaN nor infinity, without making a large array to find out."""
    flat = array.reshape(-1)
    return all(np.isfinite(flat[start : start + PIECE]).all() for start in range(0, flat.size, PIECE))


# Cached, because every prediction calls this several times, with the same shapes each time.
@functools.lru_cache(1024)
def check_shape(shape: tuple[int, ...], expected: tuple[int | str, ...], what: str) -> None:
    """Raise a ValueError unless an array's shape is the expected one; a letter stands for any size."""
    if len(shape) != len(expected) or any(
        type(want) is not str and want != have for want, have in zip(expected, shape, strict=True)
    ):
        wanted = ", ".join(str(size) for size in expected) + ("," if len(expected) == 1 else "")
        raise ValueError(f"{what}: expected shape ({wanted}), got {shape}")


def check_out(out: FloatArray, x: npt.NDArray[Any], what: str, dtype: npt.DTypeLike | None = None) -> None:
    """Raise a ValueError unless `out` can hold a result of the shape of x, and of its dtype or the given one.

    It must not overwrite x.
    """
    wanted = x.dtype if dtype is None else np.dtype(dtype)
    if not (
        isinstance(out, np.ndarray)
        and (out.shape, out.dtype) == (x.shape, wanted)
        and out.flags.c_contiguous
        and out.flags.writeable
        and not np.may_share_memory(out, x)
    ):
        raise ValueError(
            f"{what}: expected out to be another array of {wanted} of shape {x.shape} in C order, got {out!r:.60}"
        )


def join_sizes(sizes: tuple[int, ...]) -> str:
    """Return sizes as they stand in a shape, without its brackets."""
    return ", ".join(str(size) for size in sizes)


def listed(names: Sequence[object]) -> str:
    """Return names as they stand in a message, the first few of many."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(f"{name}"[:60] for name in names[:MOST_NAMED]) + more if names else "none"


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: 1 image, 2,000 images."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def check_pixels(height: int, width: int, what: str) -> None:
    """Raise a ValueError if an image, with its padding, has more than 2**31 - 1 pixels, the kernels' limit."""
    if height * width > LARGEST:
        raise ValueError(
            f"{what}: expected fewer than 2**31 pixels in an image, padding included, got {height} x {width}"
        )


def output_size(size: int, kernel: int, stride: int, sides: tuple[int, int], what: str, ceil_mode: bool = False) -> int:
    """Return floor((size + before + after - kernel) / stride) + 1, and show the arithmetic where it is below 1.

    With `ceil_mode` it is rounded up; a last window that would begin behind the image is left out.
    """
    before, after = sides
    output = (size + before + after - kernel + (stride - 1) * ceil_mode) // stride + 1
    if ceil_mode and (output - 1) * stride >= size + before:
        output -= 1
    if output < 1:
        rounded, padded = "ceil" if ceil_mode else "floor", f"2*{before}" if before == after else f"{before} + {after}"
        raise ValueError(
            f"{what} = {rounded}(({size} + {padded} - {kernel}) / {stride}) + 1 = {output}, expected at least 1"
        )
    return output


def takes_keyword(function: Callable[..., Any], name: str) -> bool:
    """Return whether a function can be called with the keyword argument `name`."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function without a signature, such as one of C
        return False
    named = parameters.get(name)
    if named is not None and named.kind is not inspect.Parameter.POSITIONAL_ONLY:
        return True
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
