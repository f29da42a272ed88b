"""What a training run consists of: its data, and the description by which a checkpoint of another run is refused."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_array, as_weights
from convnet.datasets.augmentation import Augmentation
from convnet.datasets.image_data import ImageData
from convnet.datasets.mixup import Mixup
from convnet.datasets.preprocessing import Statistics, fingerprint
from convnet.layers.labels import labels_of
from convnet.layers.losses import takes_weights
from convnet.models.inputs import shape_remedy
from convnet.models.sequential import Sequential
from convnet.training.optimizers import Optimizer

__all__ = [
    "NOT_HERE",
    "check_arguments",
    "data_sums",
    "described",
    "described_model",
    "example_weights",
    "labelled",
    "labelled_parts",
    "raw_statistics",
]

# Arguments that a Solver has not, and where they are given.
NOT_HERE = {
    "learning_rate": "the learning rate is an argument of the optimizer: SGD(0.02)",
    "momentum": "it is an argument of an optimizer: Momentum(0.01, momentum=0.9)",
    "clip_norm": "it is an argument of the optimizer: SGD(0.02, clip_norm=1.0)",
    "l2": "it is an argument of the model: ConvNet1(l2=1e-4)",
    "loss": "it is an argument of the model: ConvNet1(loss=softmax_loss)",
    "weights": 'weights of the examples are part of the data: data["weights_train"]',
    "class_weights": "it is an option of the loss: ConvNet1(loss=partial(softmax_loss, class_weights=...))",
    "validation_data": 'the validation part is in the data: data["x_validation"] and data["y_validation"]',
    "validation_split": "split and preprocess divide the images before",
    **dict.fromkeys(
        ("metrics", "monitor", "scoring"), "best_by says which epoch is the best: best_by=balanced_accuracy"
    ),
}


def check_arguments(
    model: Sequential,
    data: Mapping[str, npt.NDArray[Any]],
    optimizer: Optimizer,
    schedule: Callable[..., float] | None,
    augmentation: Callable[..., Any] | None,
    distributed: object,
) -> None:
    """Raise an error that names the first of a Solver's objects that is of the wrong kind."""
    if distributed is not None and (isinstance(distributed, type) or not hasattr(distributed, "agree")):
        raise TypeError(
            f"Solver: expected distributed to be None or an object such as DataParallel(), got {distributed!r:.60}"
        )
    for name, value, kind, example in (
        ("model", model, Sequential, "ConvNet1()"),
        ("optimizer", optimizer, Optimizer, "SGD(0.02)"),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"Solver: expected {name} to be an object such as {example}, got {value!r:.60}")
    for name, function, example in (
        ("schedule", schedule, "EpochDecay(0.8)"),
        ("augmentation", augmentation, "Augmentation()"),
    ):
        if function is not None and (not callable(function) or isinstance(function, type)):
            raise TypeError(
                f"Solver: expected {name} to be a function, or an object such as {example}, got {function!r:.60}"
            )
    if isinstance(augmentation, Augmentation) and len(model.input_shape) == 3:
        augmentation.check_size(*model.input_shape[1:])
    if optimizer.state:
        raise ValueError(
            f"Solver: expected an optimizer without the state of earlier training, got {optimizer!r} with one; "
            "make a new one, or create the Solver first and then call optimizer.load_state"
        )
    if not isinstance(data, Mapping):
        found = f"a {type(data).__name__}"
        if isinstance(data, ImageData):
            found = "an ImageData; data, statistics = preprocess_parts(split(images, validation=0.2))"
        elif isinstance(data, tuple):
            found += "; data, statistics = preprocess(...)"
        raise TypeError(f"Solver: expected data to be a dictionary as of preprocess, got {found}")
    if isinstance(data.get("train"), ImageData):
        raise TypeError(
            "Solver: expected data to be a dictionary as of preprocess, got parts of raw images; "
            "data, statistics = preprocess_parts(parts)"
        )


def example_weights(model: Sequential, data: Mapping[str, npt.NDArray[Any]], count: int) -> FloatArray | None:
    """Return the weights of the training examples, or None without any, after checking them and the model's loss."""
    if data.get("weights_train") is None:
        return None
    own = type(model).loss is not Sequential.loss  # a subclass with a loss of its own
    loss: Callable[..., Any] = model.loss if own else model.loss_function
    if not takes_weights(loss):
        raise ValueError(
            "Solver: expected a model whose loss takes weights=, such as softmax_loss, for data with weights_train, "
            f"got one with {described(loss):.60}"
        )
    weights = as_weights(data["weights_train"], "Solver: weights_train", count)
    if not weights.any():
        raise ValueError("Solver: weights_train: expected a weight above 0, got none")
    return weights


def described_model(model: Sequential) -> dict[str, Any]:
    """Describe a model's structure, without its parameters' values, as JSON types."""
    return {
        "model": type(model).__name__,
        "input_shape": list(model.input_shape),
        "l2": float(model.l2),  # a user may have set one of NumPy's
        **{f"layer {name}": repr(layer) for name, layer in model.layers.items()},
        "dtype": sorted({str(param.dtype) for param in model.params.values()}),
        "fuse": model.fuse,
        "winograd": model.winograd,
        "loss": described(model.loss_function),
    }


def data_sums(
    data: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]], weights: FloatArray | None, statistics: object
) -> dict[str, str]:
    """Return shape, dtype and checksum of each array of a Solver's data, and of the weights, if there are any.

    With raw images, the statistics that prepare them belong to the data.
    """
    sums = {
        f"{name}_{part}": fingerprint(array)
        for part, pair in data.items()
        for name, array in zip("xy", pair, strict=True)
    }
    if weights is not None:
        sums["weights_train"] = fingerprint(weights)
    if any(x.dtype == np.uint8 for x, _ in data.values()):
        sums["statistics"] = repr(statistics)
    return sums


def described(thing: Any) -> str | None:
    """Return a text that tells functions and objects apart, and is the same in another process."""
    if thing is None:
        return None
    if isinstance(thing, partial):
        arrays = {name: np.asarray(value).tolist() for name, value in thing.keywords.items() if _is_array(value)}
        # The text of a long array would leave out its middle, that of its list does not.
        return f"{described(thing.func)} with {thing.args!r} {thing.keywords | arrays!r}"
    if isinstance(thing, Mixup):
        return f"Mixup({thing.alpha!r}) after {described(thing.augmentation)}"
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    has_repr = any("__repr__" in vars(cls) for cls in type(thing).__mro__[:-1])  # another than object's
    return repr(thing) if has_repr else type(thing).__qualname__


def _is_array(value: Any) -> bool:
    """Return whether something is an array of NumPy's or another library's, such as a Series of pandas."""
    return hasattr(value, "__array__") and np.ndim(value) > 0


def labelled_parts(
    model: Sequential, data: Mapping[str, npt.NDArray[Any]]
) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return inputs and labels of the training part, and of the validation part if there is one, checked."""
    # A misspelt name, such as x_val, is no reason to train without a validation part; a part of no examples is.
    arrays = [data.get(name) for name in ("x_validation", "y_validation")]
    is_empty = all(isinstance(array, np.ndarray) and array.shape[:1] == (0,) for array in arrays)
    has_validation = not is_empty and any("val" in str(name).lower() for name in data)
    return {part: labelled(model, data, part) for part in ("train", *(("validation",) if has_validation else ()))}


def labelled(
    model: Sequential, data: Mapping[str, npt.NDArray[Any]], part: str
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the inputs and labels of a part of the data, after checking them against the model."""
    try:
        x, labels = as_array(data[f"x_{part}"], f"Solver: x_{part}"), data[f"y_{part}"]
    except KeyError as error:
        raise ValueError(
            f"Solver: expected data with x_{part} and y_{part}, got no {error} but {sorted(map(str, data))!r:.100}"
        ) from None
    if x.dtype.kind not in "iuf":
        raise TypeError(f"Solver: expected x_{part} to hold real numbers, got dtype {x.dtype}")
    if x.shape[1:] != model.input_shape or not len(x):
        raise ValueError(
            f"Solver: expected x_{part} of shape (N, {', '.join(map(str, model.input_shape))}), N at least 1, "
            f"got {x.shape}{shape_remedy(x.shape, model.input_shape, f'x_{part}')}"
        )
    raw_statistics(model, x, f"x_{part}")
    return x, labels_of(model.loss_function).check(labels, f"Solver: y_{part}", len(x), model.num_classes)


def raw_statistics(model: Sequential, x: npt.NDArray[Any], name: str) -> Statistics | None:
    """Return the statistics that prepare raw images, of uint8, or None for prepared inputs.

    Raises
    ------
    ValueError
        If the model has no statistics for raw images, or those of images of another shape.
    """
    if x.dtype != np.uint8:
        return None
    statistics = model.statistics
    if not isinstance(statistics, Statistics) or statistics.image_shape != model.input_shape:
        found = "none" if statistics is None else f"{statistics!r:.60}"
        raise ValueError(
            f"Solver: {name} holds raw images, of uint8: expected model.statistics that prepare them, got {found}; set "
            f"them to what preprocess returned, or prepare the images before, {name}.astype(numpy.float32) at least"
        )
    return statistics
