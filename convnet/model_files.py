"""Model files: one ``.npz`` with a JSON header, versioned, never a pickle.

A model file is an archive (see `convnet.archives`). Its arrays are the parameters by their names in the model, such as
``conv1.weight``, and, if the model has statistics, ``statistics.mean`` and ``statistics.std``. The JSON object has

- ``format``: ``"convnet model"``, and ``version``: 1;
- ``model``: ``"ConvNet1"`` or ``"Sequential"``; ``input_shape``; ``l2``;
- ``loss``: ``"softmax_loss"`` or ``"svm_loss"``; ``loss_arguments``: an object, such as ``{"margin": 2.0}``, and empty
  where it is missing;
- ``layers``: in order, objects of ``name``, ``class`` and ``hyperparameters``;
- ``statistics``: null, or an object with ``divide_by_255``; ``class_names``: null or a list of strings.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import layers, losses, models
from convnet.archives import naming, read_archive, write_archive
from convnet.checks import as_number
from convnet.datasets import Statistics
from convnet.files import PathLike
from convnet.pickles import load_pickle

__all__ = ["load_model", "load_tutorial_model", "save_model"]

KIND, VERSION = "model", 1
# Of a model in a file.
MOST_CLASSES, MOST_LAYERS = 1_000_000, 10_000

# The one place where names in a file turn into classes of this library.
MODELS = {cls.__name__: cls for cls in (models.Sequential, models.ConvNet1)}
LAYERS: dict[str, type[layers.Layer]] = {
    cls.__name__: cls
    for cls in (
        layers.Conv2D,
        layers.Affine,
        layers.MaxPool2D,
        layers.AveragePool2D,
        layers.ReLU,
        layers.Sigmoid,
        layers.Dropout,
    )
}
LOSSES: dict[str, models.Loss] = {function.__name__: function for function in (losses.softmax_loss, losses.svm_loss)}


def save_model(model: models.Sequential, path: PathLike) -> None:
    """Save a model to a file: parameters, architecture, statistics and class names.

    Parameters
    ----------
    model : Sequential
        Of this library's layers and losses.
    path : path
        Usually ``*.npz``; an existing file is replaced when the new one is complete.

    Raises
    ------
    TypeError
        If the model, a layer, the loss or the statistics is not of this library.
    ValueError
        If there are class names, but not one string for each class.
    OSError
        If the file cannot be written; what was there before is still there.
    """
    known = check_parts(model, "save_model")
    _require(type(model), MODELS, "save_model: expected the model")
    loss, loss_arguments = model.loss_function, dict[str, Any]()
    if isinstance(model.loss_function, partial) and not model.loss_function.args:
        loss, loss_arguments = model.loss_function.func, model.loss_function.keywords
    _require(loss, LOSSES, "save_model: expected the loss")
    arrays: dict[str, npt.NDArray[Any]] = dict(model.params)
    statistics = None
    if known is not None:
        statistics = {"divide_by_255": known.divide_by_255}
        for name in ("mean", "std"):
            if (array := getattr(known, name)) is not None:
                arrays[f"statistics.{name}"] = array
    header = {
        "model": type(model).__name__,
        "input_shape": model.input_shape,
        "l2": model.l2,
        "loss": loss.__name__,
        "loss_arguments": {name: float(value) for name, value in loss_arguments.items()},
        "layers": [
            {"name": name, "class": type(layer).__name__, "hyperparameters": layer.hyperparameters()}
            for name, layer in model.layers.items()
        ],
        "statistics": statistics,
        "class_names": None if model.class_names is None else list(model.class_names),
    }
    write_archive(path, KIND, VERSION, header, arrays)


def load_model(path: PathLike) -> models.Sequential:
    """Load a model that `save_model` saved, ready for `predict_images` if it was saved with statistics.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential
        A ConvNet1 where one was saved; whether it fuses layers is not saved, and it does.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a whole model file, or is of a newer version.
    """
    header, arrays = read_archive(path, KIND, VERSION)
    with naming(path, KIND):
        return _build(header, arrays)


def _require(thing: Any, table: Mapping[str, Any], what: str) -> None:
    """Raise a TypeError unless `thing` is in the table."""
    if thing not in table.values():
        name = getattr(thing, "__name__", repr(thing))
        raise TypeError(f"{what} to be one of {', '.join(table)}, got {name}")


def check_parts(model: models.Sequential, what: str) -> Statistics | None:
    """Return a model's statistics, after checking that its layers are of this library, and that all fits together.

    Raises
    ------
    TypeError
        If it is no model, or a layer or the statistics are not of this library.
    ValueError
        If there are class names, but not one string for each class, or statistics of images of another size.
    """
    if not isinstance(model, models.Sequential):
        raise TypeError(f"{what}: expected a model such as ConvNet1(), got {model!r:.60}")
    for name, layer in model.layers.items():
        _require(type(layer), LAYERS, f"{what}: expected the layer {name}")
    _check_class_names(model, what)
    statistics = model.statistics
    if not isinstance(statistics, (Statistics, NoneType)):
        raise TypeError(f"{what}: expected statistics from preprocess, got {statistics!r:.60}")
    if statistics is not None:
        try:
            Statistics.from_dict(statistics.to_dict())
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        if statistics.image_shape != model.input_shape:
            raise ValueError(
                f"{what}: expected statistics of images of shape {model.input_shape}, the model's input, "
                f"got {statistics.image_shape}"
            )
    return statistics


def _build(header: Mapping[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> models.Sequential:
    """Return the model of a file's header and arrays."""
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise ValueError(f"{name}: expected real numbers in float32 or float64, got {array.dtype}")
    model_class = MODELS[header["model"]]
    if len(header["layers"]) > MOST_LAYERS:
        raise ValueError(f"expected at most {MOST_LAYERS:,} layers, got {len(header['layers']):,}")
    stack = [
        LAYERS[entry["class"]].from_params(_with_prefix(arrays, entry["name"]), **entry["hyperparameters"])
        for entry in header["layers"]
    ]
    classes = tuple(header["input_shape"])
    for layer in stack:
        classes = layer.output_shape(classes)
    if prod(classes) > MOST_CLASSES:  # any number can be claimed, and the loss is tried with them
        raise ValueError(f"expected at most {MOST_CLASSES:,} classes, got the output shape {classes}")
    loss = _loss(LOSSES[header["loss"]], header.get("loss_arguments", {}))
    model = model_class.from_layers(stack, header["input_shape"], loss=loss, l2=header["l2"])
    if (statistics := header["statistics"]) is not None:
        found = _with_prefix(arrays, "statistics")
        model.statistics = Statistics.from_dict(
            statistics | {"image_shape": model.input_shape, "mean": found.get("mean"), "std": found.get("std")}
        )
    model.class_names = header["class_names"]
    _check_class_names(model, "class_names")
    return model


def _loss(function: models.Loss, arguments: Mapping[str, float]) -> models.Loss:
    """Return a loss with its further arguments, after checking that they are its own and numbers."""
    inspect.signature(function).bind("scores", "labels", **arguments)
    numbers = {name: as_number(value, name) for name, value in arguments.items()}
    return partial(function, **numbers) if numbers else function


def _check_class_names(model: models.Sequential, what: str) -> None:
    """Raise a ValueError unless the model has no class names or a string for each class."""
    names = model.class_names
    if names is not None and not (
        isinstance(names, Sequence)
        and not isinstance(names, str)
        and len(names) == model.num_classes
        and all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"{what}: expected {model.num_classes} class names, got {names!r:.60}")


def _with_prefix(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays whose names begin with ``prefix.``, without that."""
    return {name.removeprefix(prefix + "."): array for name, array in arrays.items() if name.startswith(prefix + ".")}


# ------------------------------------------------------------------------------- pickles of the original tutorial

TUTORIAL_PARAMS = {
    "w1": "conv1.weight",
    "b1": "conv1.bias",
    "w2": "affine1.weight",
    "b2": "affine1.bias",
    "w3": "affine2.weight",
    "b3": "affine2.bias",
}


def load_tutorial_model(path: PathLike, statistics_path: PathLike | None = None) -> models.ConvNet1:
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
        For images of the statistics' size, 28 x 28 without them, ready for `predict_images` with them.

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
    if min(filters, channels, *kernel, hidden, classes) < 1 or any(length % 2 == 0 for length in kernel):
        raise ValueError(f"{path}: expected filters of odd height and width, got w1 of shape {arrays['w1'].shape}")
    model = models.ConvNet1(
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
