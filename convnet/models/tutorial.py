"""Files of the original tutorial: pickles of ConvNet1's parameters and of the statistics."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.datasets.preprocessing import Statistics
from convnet.formats.files import PathLike
from convnet.formats.pickles import load_pickle
from convnet.models.convnet1 import ConvNet1

__all__ = ["load_tutorial_model"]

TUTORIAL_PARAMS = {
    "w1": "conv1.weight",
    "b1": "conv1.bias",
    "w2": "affine1.weight",
    "b2": "affine1.bias",
    "w3": "affine2.weight",
    "b3": "affine2.bias",
}


def load_tutorial_model(path: PathLike, statistics_path: PathLike | None = None) -> ConvNet1:
    """Load a ConvNet1 from the pickles that the original tutorial's program saves.

    Parameters
    ----------
    path : path
        ``model_params_ConvNet1.pickle``: a dictionary of w1 (F, C, KH, KW), b1, w2 (D, hidden), b2, w3 and b3, in
        float32 or float64.
    statistics_path : path, optional
        ``mean_and_std.pickle``: a dictionary of mean_image and std, each (H, W, C), of images divided by 255. Where std
        is 0, as at the edge of the digits, it is taken as 1.

    Returns
    -------
    ConvNet1
        With `statistics_path`, the input has the size of the statistics and `predict_images` works. Without it, the
        input is 28 x 28.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is not such a pickle, or asks for anything but arrays, dictionaries, strings and numbers; nothing of
        what it asks for is run.

    Notes
    -----
    V. N. Sichkar, "Neural networks for computer vision in autonomous vehicles and robotics", 2018,
    DOI 10.5281/zenodo.1317904.
    """
    arrays = _tutorial_arrays(path, {"w1": 4, "b1": 1, "w2": 2, "b2": 1, "w3": 2, "b3": 1})
    filters, channels, *kernel = arrays["w1"].shape
    hidden, classes = arrays["w2"].shape[1], arrays["b3"].size
    statistics, size = None, (28, 28)
    if statistics_path is not None:
        found = _tutorial_arrays(statistics_path, {"mean_image": 3, "std": 3})
        mean, std = (np.ascontiguousarray(found[name].transpose(2, 0, 1), np.float32) for name in ("mean_image", "std"))
        try:
            statistics = Statistics.from_dict(
                {"image_shape": mean.shape, "divide_by_255": True, "mean": mean, "std": np.where(std == 0, 1, std)}
            )
        except ValueError as error:
            raise ValueError(f"{statistics_path}: {error}") from None
        if statistics.image_shape[0] != channels:
            raise ValueError(f"{statistics_path}: expected images of {channels} channels, got shape {mean.shape}")
        size = statistics.image_shape[1:]
    # Before the model is made, so that it is no larger than the file.
    expected = {
        "b1": (filters,),
        "w2": (filters * (size[0] // 2) * (size[1] // 2), hidden),
        "b2": (hidden,),
        "w3": (hidden, classes),
        "b3": (classes,),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{path}: expected {name} of shape {shape}, got {arrays[name].shape}")
    if min(filters, channels, *kernel, hidden, classes) < 1:
        shapes = ", ".join(f"{name} {arrays[name].shape}" for name in ("w1", "w2", "w3"))
        raise ValueError(f"{path}: expected sizes of at least 1, got {shapes}")
    if any(length % 2 == 0 for length in kernel):
        raise ValueError(f"{path}: expected filters of odd height and width, got w1 of shape {arrays['w1'].shape}")
    model = ConvNet1(
        (channels, *size),
        num_filters=filters,
        kernel_size=tuple(kernel),
        padding=tuple(length // 2 for length in kernel),
        hidden_size=hidden,
        num_classes=classes,
        dtype=np.result_type(*arrays.values()),
    )
    model.load_params({ours: arrays[name] for name, ours in TUTORIAL_PARAMS.items()})
    model.statistics = statistics
    return model


def _tutorial_arrays(path: PathLike, ranks: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    """Return a pickle's arrays of float32 or float64 by name, after checking how many axes they have."""
    what = f"a dictionary of the arrays {', '.join(ranks)}"
    content = load_pickle(path, what)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a pickle of {what}, got a {type(content).__name__}")
    if content.keys() != ranks.keys():
        names = ", ".join(str(name) for name in content)
        raise ValueError(f"{path}: expected a pickle of {what}, got one of {names or 'nothing':.200}")
    arrays = {}
    for name, rank in ranks.items():
        array = content[name]
        if not isinstance(array, np.ndarray) or array.ndim != rank or array.dtype.kind != "f" or array.itemsize < 4:
            came = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else f"{array!r:.60}"
            raise ValueError(f"{path}: expected {name} to be of {rank} axes in float32 or float64, got {came}")
        arrays[name] = array.astype(array.dtype.newbyteorder("="))
    return arrays
