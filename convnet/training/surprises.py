"""What a Solver warns of: what is allowed, but would surprise its user.

A Solver looks at the data when it is made, at the loss after every epoch, and at the model when the training ends. It
gives each warning once. Nothing is changed, and no random numbers are drawn.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_real
from convnet.core.surprises import warn
from convnet.datasets.preprocessing import Statistics
from convnet.layers.activations import Activation
from convnet.layers.base import Layer
from convnet.layers.labels import labels_of
from convnet.models.sequential import Sequential
from convnet.training.best_by import called
from convnet.training.state import TrainingState

__all__ = ["Surprises"]

Part = tuple[npt.NDArray[Any], npt.NDArray[Any]]

# How many values and examples are looked at to see how inputs are prepared.
MAX_VALUES, MAX_EXAMPLES = 1_000_000, 1000
# A mean or a standard deviation above LARGE, or a standard deviation below SMALL, is unusual. Images in -1..1 or of one
# colour, and pixels in 0..1 minus their mean, lie between.
LARGE, SMALL = 10.0, 0.01
# A loss has diverged if it is this many times the loss of the untrained model, and also of a model whose scores are 0.
DIVERGED = 10.0
# The median of the losses of this many last iterations is compared: a single loss may be far above the rest.
RECENT = 50
# A layer's units are looked at on this many examples. A warning is given if this share of the units is constant.
EXAMPLES_OF_UNITS, CONSTANT_UNITS = 50, 0.9
# Fewer validation examples may be predicted alike by chance, and fewer losses may be high for a moment.
FEWEST = 20
# Classes that a message names.
NAMED = 5


class Surprises:
    """The warnings of one Solver, each given once, or not at all."""

    def __init__(self, warns: bool = True) -> None:
        self._warns, self._given = warns, set[str]()

    def _warn(self, what: str, message: str) -> None:
        if self._warns and what not in self._given:
            self._given.add(what)
            warn(f"Solver: {message}")

    # ------------------------------------------------------------------------------------------ data

    def look_at_data(self, model: Sequential, data: Mapping[str, Part]) -> None:
        """Warn of classes without examples, and of inputs that nobody prepared.

        Parameters
        ----------
        model : Sequential
        data : mapping of str to (inputs, labels)
            The parts ``train`` and, if there is one, ``validation``, checked.
        """
        for part, (_, labels) in data.items():
            self._look_at_labels(model, part, labels)
        values = {part: _values(model, x) for part, (x, _) in data.items()}
        train, validation = values["train"], values.get("validation")
        if train is None or None in values.values():
            return  # the training itself says what is not finite
        if found := _unprepared(train, is_image=len(model.input_shape) == 3):
            self._warn(
                "inputs",
                f"x_train {found} ({train}); a network learns well from inputs with a mean near 0 and a standard "
                "deviation near 1: take what preprocess returns, or subtract the mean and divide by the deviation",
            )
        elif validation is not None and len(data["validation"][0]) >= FEWEST and _differ(train, validation):
            self._warn(
                "inputs",
                f"x_train and x_validation seem to be prepared in different ways ({train}, and {validation}); prepare "
                "both alike, as preprocess does",
            )

    def _look_at_labels(self, model: Sequential, part: str, labels: npt.NDArray[Any]) -> None:
        missing = labels_of(model.loss_function).missing(labels, model.num_classes)
        if not missing:
            return
        names = model.class_names
        shown = [f"{label}" if names is None else f"{label} ({names[label]})" for label in missing[:NAMED]]
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        effect = {
            "train": "the model cannot learn them; give examples of them, or make a model of fewer classes",
            "validation": "the validation accuracy says nothing of them; shuffle the examples before they are "
            "divided, as split does",
        }[part]
        self._warn(
            f"classes of {part}",
            f"y_{part} lacks {len(missing)} of the {model.num_classes} classes, {', '.join(shown)}{more}: {effect}",
        )

    # ------------------------------------------------------------------------------------------ training

    def look_at_loss(self, model: Sequential, data: Mapping[str, Part], state: TrainingState, rate: float) -> None:
        """Warn, after an epoch, of a loss that is finite and far above that of the untrained model."""
        losses = state.loss_history
        if len(losses) < FEWEST:
            return
        first, recent = losses[0], float(np.median(losses[-min(RECENT, len(losses) // 2) :]))
        if not 0 < DIVERGED * first < recent:
            return
        labels = data["train"][1][:RECENT]
        # The first loss of a model that was trained before is small, and may grow by a large factor without harm.
        if DIVERGED * model.loss_function(np.zeros((len(labels), model.num_classes)), labels)[0] < recent:
            self._warn(
                "loss",
                f"the training diverges: the loss is about {recent:.3g} after iteration {state.iteration}, and was "
                f"{first:.3g} at first; begin with a smaller learning rate than {rate:g}, for which find_learning_rate "
                "has a suggestion, and look at how the inputs are prepared",
            )

    def look_at_end(
        self,
        model: Sequential,
        data: Mapping[str, Part],
        state: TrainingState,
        rate: float,
        *,
        is_constant: bool,
        restores: bool,
    ) -> None:
        """Warn of a model that has learnt nothing when a training ends.

        Parameters
        ----------
        model : Sequential
            As it is after the last iteration.
        data, state
            Of the Solver.
        rate : float
            The learning rate, for the message.
        is_constant : bool
            Whether the predictions for the validation examples, or the training examples if there is no validation
            part, were one and the same at the last accuracy check.
        restores : bool
            Whether the model gets the best parameters.
        """
        part = "validation" if "validation" in data else "training"
        x, labels = data.get("validation", data["train"])
        remedy = (
            f"; try a smaller learning rate than {rate:g}, or one that grows at first, such as that of OneCycle, and "
            "look at how the inputs are prepared"
        )
        checked = (
            f"{len(x)} validation examples" if part == "validation" else "training examples that it was checked on"
        )
        if is_constant and len(x) >= FEWEST and (labels != labels[0]).any():
            self._warn(
                "predictions",
                f"at the end of the training the model predicts one and the same for all {checked}, whatever they show"
                f"{remedy}, and at how many examples each class has",
            )
        for name, constant, units in _constant_units(model, x):
            if constant >= CONSTANT_UNITS * units:
                self._warn(
                    f"units of {name}",
                    f"{constant} of the {units} units of {name} give the same number for all of "
                    f"{min(len(x), EXAMPLES_OF_UNITS)} {part} examples, as a ReLU does whose inputs are all negative: "
                    f"they tell nothing, and hardly learn any more{remedy}",
                )
        if state.metric_history and np.isnan(state.metric_history).all():
            self._warn(
                "best_by",
                f"best_by: {called(state.best_by)} gave NaN at every accuracy check, so that the validation loss alone "
                "decided which is the best",
            )
        if restores and state.iteration and state.best_check == 0:
            checks = len(state.best_by_history)
            why = (
                f"no later accuracy check found a better {called(state.best_by)} than {state.best_by_history[0]:.4g}"
                f"{remedy}"
                if checks > 1
                else "the training ended before the next accuracy check; train to the end of an epoch, or set "
                "restore_best=False"
            )
            self._warn("best", f"the model has the parameters from before the training again: {why}")


class _Values(NamedTuple):
    """How the values of prepared inputs are distributed."""

    mean: float
    std: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"mean {self.mean:.3g}, standard deviation {self.std:.3g}, from {self.low:.3g} to {self.high:.3g}"


def _spread_out(x: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return so many examples, or all if there are fewer, from all over the data."""
    return x[:: max(1, len(x) // count)][:count]


def _values(model: Sequential, x: npt.NDArray[Any]) -> _Values | None:
    """Return how the inputs of some examples are distributed, prepared as the model gets them; None if not finite."""
    features = max(1, x[:1].size)
    prepared = _prepared(model, _spread_out(x, min(MAX_EXAMPLES, max(10, MAX_VALUES // features))))
    sample = prepared.astype(np.float64)
    if not np.isfinite(sample).all():
        return None
    return _Values(*(float(value) for value in (sample.mean(), sample.std(), sample.min(), sample.max())))


def _prepared(model: Sequential, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return inputs as the model's first layer gets them, in the dtype of its parameters."""
    if x.dtype == np.uint8 and isinstance(model.statistics, Statistics):
        x = model.statistics.prepare(x)
    return as_real(x, "Solver: x", next((param.dtype for param in model.params.values()), None))


def _unprepared(values: _Values, *, is_image: bool) -> str:
    """Say what is unusual about the inputs of a network, "" if nothing is."""
    mean, std, low, high = values
    if low == high:
        return "holds one and the same number everywhere"
    if std > LARGE or abs(mean) > LARGE:
        return "holds large numbers, such as pixels that nobody scaled"
    if std < SMALL:
        return "hardly varies, as if it had been scaled twice"
    if abs(mean) > 1 and abs(mean) > 3 * std:
        return "is far from centred"
    if is_image and low >= 0 and high <= 1:
        return "holds pixels in 0..1, which are not centred"
    return ""


def _differ(first: _Values, second: _Values) -> bool:
    """Return whether the inputs of two parts cannot come from one preparation."""
    smaller, larger = sorted((first.std, second.std))
    return larger > LARGE * smaller or abs(first.mean - second.mean) > 3 * larger


def _constant_units(model: Sequential, x: npt.NDArray[Any]) -> Iterator[tuple[str, int, int]]:
    """Yield for each activation its name, how many of its units (or channels) are constant, and how many it has."""
    with np.errstate(all="ignore"):
        yield from _constant_in(model.layers, "", _prepared(model, _spread_out(x, EXAMPLES_OF_UNITS)))


def _constant_in(layers: Mapping[str, Layer], prefix: str, x: npt.NDArray[Any]) -> Iterator[tuple[str, int, int]]:
    for name, layer in layers.items():
        for branch, inner in layer.branches.items():
            yield from _constant_in(inner, f"{prefix}{name}.{branch}.", x)
        x = layer(x)
        if isinstance(layer, Activation) and len(x) > 1:
            others = tuple(axis for axis in range(x.ndim) if axis != 1)
            constant = x.max(axis=others) == x.min(axis=others)
            yield f"{prefix}{name}", int(constant.sum()), constant.size
