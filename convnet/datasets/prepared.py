"""Pickle files of prepared data: what `preprocess` returned, so that it need not be computed again."""

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.datasets.image_data import PARTS
from convnet.datasets.preprocessing import Statistics
from convnet.formats.files import PathLike, replace_file
from convnet.formats.pickles import load_pickle

__all__ = ["load_prepared", "save_prepared"]


def save_prepared(path: PathLike, data: Mapping[str, npt.NDArray[Any]], statistics: Statistics) -> None:
    """Save what `preprocess` or `preprocess_parts` returned to a pickle file, whole or not at all.

    Parameters
    ----------
    path : path
        The file; an existing one is replaced when the new one is complete.
    data, statistics
        What one of them returned.

    Raises
    ------
    ValueError
        If `data` and `statistics` are not those that they make.
    """
    if not isinstance(statistics, Statistics):
        raise ValueError(f"save_prepared: expected statistics from preprocess, got {statistics!r:.60}")
    if not isinstance(data, Mapping):
        raise ValueError(
            f"save_prepared: expected a dictionary of arrays as of preprocess, got a {type(data).__name__}"
        )
    content = {"data": _contiguous(data), "statistics": _contiguous(statistics.to_dict())}
    _check_prepared(content["data"], content["statistics"], "save_prepared")
    with replace_file(path) as file:
        pickle.dump(content, file, protocol=5)


def load_prepared(path: PathLike) -> tuple[dict[str, npt.NDArray[Any]], Statistics]:
    """Load a pickle file of `save_prepared`.

    The unpickler builds arrays, dictionaries, strings and numbers. A file that asks for anything else is refused, and
    nothing of it is run.

    Parameters
    ----------
    path : path

    Returns
    -------
    data, statistics
        As they were saved.

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
    """Raise a ValueError unless `data` is a dictionary of images and labels of a training part, and of further ones."""
    parts = [part for part in PARTS if isinstance(data, dict) and f"x_{part}" in data]
    if "train" not in parts or data.keys() != {f"{letter}_{part}" for part in parts for letter in "xy"}:
        raise ValueError(
            f"{what}: expected a dictionary of the arrays x_train and y_train, and of the same for validation and test "
            "if there are such parts"
        )
    for part in parts:
        x, y = data[f"x_{part}"], data[f"y_{part}"]
        for name, array, dtypes, rank in (
            (f"x_{part}", x, (np.float32, np.uint8), 4),
            (f"y_{part}", y, (np.int64,), 1),
        ):
            wanted = [np.dtype(dtype) for dtype in dtypes]
            if getattr(array, "dtype", None) not in wanted or array.ndim != rank:
                texts = " or ".join(map(str, wanted))
                raise ValueError(f"{what}: expected {name} to be {texts} of rank {rank}, got {array!r:.60}")
        if len(x) != len(y):
            raise ValueError(f"{what}: expected as many images as labels, got {len(x)} x_{part} and {len(y)} y_{part}")
