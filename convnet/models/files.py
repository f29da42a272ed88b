"""Model files: one ``.npz`` with a JSON header, versioned, never a pickle.

A model file is an archive (see `convnet.formats.archives`). Its arrays are the parameters by their names in the model,
such as ``conv1.weight``, what else belongs to the layers as ``state.*``, and, if the model has statistics,
``statistics.mean`` and ``statistics.std``. The JSON object has

- ``format``: ``"convnet model"``, and ``version``: 2 with any ``state.*``, a ``reader``, or windows that version 1 does
  not have: padding that differs from side to side or is above half a pooling's kernel, and ``ceil_mode``; else 1;
- ``model``: ``"ConvNet1"`` or ``"Sequential"``; ``input_shape``; ``l2``;
- ``loss``: a name in `convnet.layers.losses.LOSSES`; ``loss_arguments``: an object of numbers and of lists of numbers,
  such as ``{"margin": 2.0}`` or ``{"class_weights": [1.0, 3.0]}``, and empty where it is missing;
- ``layers``: in order, objects of ``name``, ``class``, ``hyperparameters`` and, for a layer that holds others,
  ``branches``: an object of such lists;
- ``statistics``: null, or an object with ``divide_by_255`` and, if the images were made of files, ``reader``: an object
  of ``size``, which is null or a list of height and width, ``crop``, and ``background``, a list of three levels;
- ``class_names``: null or a list of strings.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import LARGEST, NATIVE, as_number, as_padding, as_pair, as_real, sides_of
from convnet.datasets.preprocessing import Statistics
from convnet.formats.archives import naming, read_archive, write_archive
from convnet.formats.files import PathLike
from convnet.layers import LAYERS
from convnet.layers.base import Layer
from convnet.layers.losses import LOSSES, Loss
from convnet.layers.stack import walk
from convnet.models.contracts import as_class_names
from convnet.models.convnet1 import ConvNet1
from convnet.models.sequential import Sequential

__all__ = ["check_parts", "load_model", "save_model"]

KIND, VERSION, VERSION_2 = "model", 1, 2
# Most classes and layers of a model in a file.
MOST_CLASSES, MOST_LAYERS = 1_000_000, 10_000

# The models that names in a file stand for; layers and losses have tables of their own.
MODELS = {cls.__name__: cls for cls in (Sequential, ConvNet1)}


def save_model(model: Sequential, path: PathLike) -> None:
    """Save a model to a file: parameters and state, architecture, statistics and class names.

    Parameters
    ----------
    model : Sequential
        A model of this library's layers and losses.
    path : path
        Usually ``*.npz``; an existing file is replaced when the new one is complete.

    Raises
    ------
    TypeError
        If the model, a layer, the loss or the statistics is not of this library, or `l2` or an option of the loss does
        not hold numbers.
    ValueError
        If there are class names, but not one string for each class, or `load_model` would refuse the model: its
        parameters do not fit together, or a number is out of range. No file is written after an error.
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
    arrays |= {f"state.{name}": array for name, array in model.state.items()}
    statistics: dict[str, Any] | None = None
    if known is not None:
        statistics = {"divide_by_255": known.divide_by_255}
        if known.reader is not None:
            statistics["reader"] = known.reader.to_dict()
        for name in ("mean", "std"):
            if (array := getattr(known, name)) is not None:
                arrays[f"statistics.{name}"] = array
    header = {
        "model": type(model).__name__,
        "input_shape": model.input_shape,
        "l2": as_number(model.l2, "save_model: l2", at_least=0),
        "loss": loss.__name__,
        "loss_arguments": _plain_arguments(loss_arguments),
        "layers": _described(model.layers),
        "statistics": statistics,
        "class_names": None if model.class_names is None else list(model.class_names),
    }
    try:
        _build(header, arrays)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"save_model: expected a model that load_model accepts, got one with an error: {error}"
        ) from None
    is_new = model.state or (known and known.reader) or any(_has_new_windows(layer) for _, layer in walk(model.layers))
    write_archive(path, KIND, VERSION_2 if is_new else VERSION, header, arrays)


def load_model(path: PathLike) -> Sequential:
    """Load a model that `save_model` saved, ready for `predict_images` if it was saved with statistics.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential
        A ConvNet1 if a ConvNet1 was saved, otherwise a Sequential. `fuse` and `winograd` are not saved; both are True
        in a loaded model.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a whole model file, or is of a newer version.
    """
    header, arrays = read_archive(path, KIND, (VERSION, VERSION_2))
    with naming(path, KIND):
        return _build(header, arrays)


def _require(thing: Any, table: Mapping[str, Any], what: str) -> None:
    """Raise a TypeError unless `thing` is in the table."""
    if thing not in table.values():
        name = getattr(thing, "__name__", repr(thing))
        raise TypeError(f"{what} to be one of {', '.join(table)}, got {name}")


def check_parts(model: Sequential, what: str) -> Statistics | None:
    """Return a model's statistics, after checking that its layers are of this library, and that all fits together.

    Raises
    ------
    TypeError
        If it is no model, or a layer or the statistics are not of this library.
    ValueError
        If there are class names, but not one string for each class, or statistics of images of another size.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"{what}: expected a model such as ConvNet1(), got {model!r:.60}")
    for name, layer in walk(model.layers):
        _require(type(layer), LAYERS, f"{what}: expected the layer {name}")
    as_class_names(model.class_names, model.num_classes, what)  # a list may have been changed
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


def _build(header: Mapping[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Sequential:
    """Return the model of a file's header and arrays."""
    for name, array in arrays.items():
        if not name.startswith("state.") and array.dtype.newbyteorder("=") not in NATIVE:
            raise ValueError(f"{name}: expected real numbers in float32 or float64, got {array.dtype}")
    model_class = MODELS[header["model"]]
    if (count := _count(header["layers"])) > MOST_LAYERS:
        raise ValueError(f"expected at most {MOST_LAYERS:,} layers, got {count:,}")
    stack = [_build_layer(entry, arrays) for entry in header["layers"]]
    classes = tuple(header["input_shape"])
    for layer in stack:
        classes = layer.output_shape(classes)
    if prod(classes) > MOST_CLASSES:  # checked before the loss is tried with so many
        raise ValueError(f"expected at most {MOST_CLASSES:,} classes, got the output shape {classes}")
    loss = _loss(LOSSES[header["loss"]], header.get("loss_arguments", {}))
    model = model_class.from_layers(stack, header["input_shape"], loss=loss, l2=header["l2"])
    model.load_state(_with_prefix(arrays, "state"))
    if (statistics := header["statistics"]) is not None:
        found = _with_prefix(arrays, "statistics")
        model.statistics = Statistics.from_dict(
            statistics | {"image_shape": model.input_shape, "mean": found.get("mean"), "std": found.get("std")}
        )
    model.class_names = header["class_names"]
    return model


def _has_new_windows(layer: Layer) -> bool:
    """Return whether a convolution or pooling has windows that version 1 does not have."""
    options = layer.hyperparameters()
    sides = sides_of(as_padding(options.get("padding", 0), "save_model: padding"))
    kernel_size = as_pair(options.get("kernel_size", LARGEST), "save_model: kernel_size", 1)  # of a pooling alone
    return "ceil_mode" in options or any(
        before != after or 2 * before > size for (before, after), size in zip(sides, kernel_size, strict=True)
    )


def _described(layers: Mapping[str, Layer]) -> list[dict[str, Any]]:
    """Return layers as a file's header has them."""
    described = []
    for name, layer in layers.items():
        entry: dict[str, Any] = {
            "name": name,
            "class": type(layer).__name__,
            "hyperparameters": layer.hyperparameters(),
        }
        if layer.branches:
            entry["branches"] = {branch: _described(inner) for branch, inner in layer.branches.items()}
        described.append(entry)
    return described


def _count(entries: Sequence[Mapping[str, Any]]) -> int:
    """Return how many layers there are in the entries, with those that layers hold."""
    return len(entries) + sum(_count(inner) for entry in entries for inner in entry.get("branches", {}).values())


def _build_layer(entry: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Layer:
    """Return the layer of an entry of ``layers``; what is wrong with it is an error that names it."""
    name = entry["name"]
    cls, params = LAYERS[entry["class"]], _with_prefix(arrays, name)
    branches = {
        branch: [_build_layer(inner, _with_prefix(params, branch)) for inner in entries]
        for branch, entries in entry.get("branches", {}).items()
    }
    own = {key: array for key, array in params.items() if key.partition(".")[0] not in branches}
    try:
        return cls.from_params(own, **branches, **entry["hyperparameters"])
    except ValueError as error:
        raise ValueError(f"layer {name:.40}: {error}") from None


def _plain_arguments(arguments: Mapping[str, Any]) -> dict[str, float | list[float]]:
    """Return the options of a loss as JSON has them, without those that are None, their default."""
    plain: dict[str, float | list[float]] = {}
    for name, value in arguments.items():
        if np.ndim(value):
            plain[name] = as_real(value, f"save_model: {name}", np.float64).tolist()
        elif value is not None:
            plain[name] = as_number(value, f"save_model: {name}")
    return plain


def _loss(function: Loss, arguments: Mapping[str, Any]) -> Loss:
    """Return a loss with its further arguments, after checking that they are its own, and numbers or lists of them."""
    signature = inspect.signature(function)
    signature.bind("scores", "labels", **arguments)
    checked: dict[str, float | list[float]] = {}
    for name, value in arguments.items():
        if name == "weights":
            raise ValueError("weights: expected no weights of examples, which belong to the data, not to the model")
        if signature.parameters[name].default is None:  # one number for each class; the loss itself checks how many
            if not isinstance(value, list):
                raise TypeError(f"{name}: expected a list of numbers, got {value!r:.60}")
            checked[name] = [as_number(number, name) for number in value]
        else:
            checked[name] = as_number(value, name)
    return partial(function, **checked) if checked else function


def _with_prefix(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays whose names begin with ``prefix.``, without that."""
    return {name.removeprefix(prefix + "."): array for name, array in arrays.items() if name.startswith(prefix + ".")}
