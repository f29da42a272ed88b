"""TrainingState: how far a training has come, and the copies of the model that it keeps."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from math import inf, isnan, nan
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.models.sequential import Sequential
from convnet.training.averaging import in_place_of, move_averages, share_of
from convnet.training.best_by import BestBy

__all__ = ["HISTORIES", "Snapshot", "TrainingState", "model_arrays", "restore"]

# Copies of a model's parameters and state, by name, all of one moment.
Snapshot = dict[str, npt.NDArray[Any]]

# The first has an entry for every iteration, the others for every accuracy check: those of the validation if there is
# such a part, the last one if a function decides which check is the best.
HISTORIES = (
    "loss_history",
    "train_accuracy_history",
    "validation_accuracy_history",
    "validation_loss_history",
    "metric_history",
)


class TrainingState:
    """How far a training has come: with the model and the optimizer, all that determines the rest of it.

    Parameters
    ----------
    model : Sequential
        The model whose copies are kept.
    count : int
        Training examples.
    seed : int
        Random seed of the order of the minibatches, of the augmentation, and of the sample for the training accuracy.
    average : float, optional
        Decay of the moving averages of the model, in (0, 1); without it there are none.
    best_by : str or callable
        What decides which check is the best: ``"accuracy"``, ``"loss"``, or a function.

    Attributes
    ----------
    iteration : int
        Minibatches done.
    loss_history, train_accuracy_history, validation_accuracy_history, validation_loss_history : list of float
    metric_history : list of float
        What the function `best_by` said; empty if it is none.
    order : ndarray of int, shape (count,)
        The order of the examples in the epoch `order_epoch`.
    shuffling, augmenting, sampling : numpy.random.Generator
        Draw the order of the minibatches, the augmentation, and the examples of the accuracy check.
    checked_iteration : int
        After which the accuracies were checked last.
    best_check : int
        Place of the best check in `validation_accuracy_history`; -1 before the first check.
    best_validation_accuracy : float
        The validation accuracy there; -1 before the first check.
    best, checked, last : dict of str to ndarray
        Copies of the model at the best accuracy check, at the last one, and at the last iteration while the model
        itself has the best ones, or the averages; empty where there is none. With averages, `best` and `checked` are
        of them.
    averages : dict of str to ndarray
        Moving averages of the model; empty without `average`.
    is_between_iterations : bool
        False while a step runs, and after a step that failed, until `reset` or `take_over`. A checkpoint can be written
        only while it is True.
    is_stopping : bool
        Whether the training ends after the current iteration.
    """

    def __init__(
        self,
        model: Sequential,
        count: int,
        seed: int,
        average: float | None = None,
        best_by: BestBy = "accuracy",
    ) -> None:
        self.order = np.arange(count)
        self.average, self.best_by = average, best_by
        # Two buffers: one holds the best snapshot, new snapshots go into the other.
        self._copies: list[Snapshot] = []
        self.reset(model, seed)

    def reset(self, model: Sequential, seed: int) -> None:
        """Begin anew, with the model as it is."""
        self.iteration = 0
        self.loss_history: list[float] = []
        self.train_accuracy_history: list[float] = []
        self.validation_accuracy_history: list[float] = []
        self.validation_loss_history: list[float] = []
        self.metric_history: list[float] = []
        self.order_epoch = self.checked_iteration = -1
        self.best_validation_accuracy, self.best_check = -1.0, -1
        self.is_between_iterations, self.is_stopping, self._has_warned = True, False, False
        self.best: Snapshot = {}
        self.last: Snapshot = {}
        if not self._copies or _difference(self._copies[0], model_arrays(model)):
            self._copies = [_copied(model_arrays(model)) for _ in range(2)]
        self.averages = _copied(model_arrays(model)) if self.average is not None else {}
        self.keep(model)
        shuffling, sampling, augmenting = np.random.SeedSequence(seed).spawn(3)
        self.shuffling, self.augmenting = np.random.default_rng(shuffling), np.random.default_rng(augmenting)
        self.sampling = np.random.default_rng(sampling)

    def check(self, model: Sequential) -> None:
        """Raise a ValueError unless the model's arrays have the names, shapes and dtypes of the copies."""
        if difference := _difference(self._copies[0], model_arrays(model)):
            raise ValueError(
                f"Solver: {difference}; after a change of the model make a new Solver, or call reset, which forgets "
                "what was trained"
            )

    def keep(self, model: Sequential) -> None:
        """Keep the model as the one of the last accuracy check, in memory that does not hold the best one."""
        self.check(model)
        self.checked = next(copy for copy in self._copies if copy is not self.best)
        for name, array in model_arrays(model).items():
            self.checked[name][...] = array

    def record(self, validation: float, loss: float, metric: float = nan) -> None:
        """Append what a check found of the validation part; the model that was kept last may be the best.

        Of equal checks the one with the lower loss is the best, and of equal losses the later one.
        """
        self.validation_accuracy_history.append(validation)
        self.validation_loss_history.append(loss)
        if callable(self.best_by):
            self.metric_history.append(metric)
        merits, losses = self.merits, self.validation_loss_history
        ranks = [(merits[check], _lowest_if_nan(-losses[check])) for check in (-1, self.best_check)]
        if not self.best or ranks[0] >= ranks[1]:
            self.best_validation_accuracy, self.best_check = validation, len(losses) - 1
            self.best = self.checked

    @property
    def best_by_history(self) -> list[float]:
        """What `best_by` said at each check: accuracies, losses, or the values of a function."""
        if callable(self.best_by):
            return self.metric_history
        return self.validation_loss_history if self.best_by == "loss" else self.validation_accuracy_history

    @property
    def merits(self) -> list[float]:
        """How good each check was by what decides, the higher the better.

        NaN, of a function or as the losses of checkpoints that had none, is the lowest.
        """
        sign = -1 if self.best_by == "loss" else 1
        return [_lowest_if_nan(sign * value) for value in self.best_by_history]

    def move_averages(self, model: Sequential, iteration: int, iterations_per_epoch: int) -> None:
        """Move the averages, if there are some, towards the model after an iteration; before the first, all the way."""
        if self.average is not None and (share := share_of(iteration, self.average, iterations_per_epoch)):
            move_averages(self.averages, model_arrays(model), share)

    def averaged(self, model: Sequential) -> AbstractContextManager[None]:
        """Give the model its averages, if there are some, until the end of a block."""
        return in_place_of(model_arrays(model), self.averages)

    def go_back(self, model: Sequential) -> None:
        """Restore the model, and its averages, to the last accuracy check."""
        restore(model, self.checked)
        for name, average in self.averages.items():
            average[...] = self.checked[name]

    def keep_last(self, model: Sequential) -> None:
        """Keep the model as the one of the last iteration, before it becomes the best one, or the averages."""
        self.check(model)
        is_checked = self.checked_iteration == self.iteration and not self.averages
        self.last = self.checked if is_checked else _copied(model_arrays(model))

    def take_back_last(self, model: Sequential) -> None:
        """Restore the arrays of the last iteration, unless the model was changed after it got the others."""
        own = model_arrays(model)
        given = [kept for kept in (self.best, self.averages) if kept]
        if self.last and any(all(np.array_equal(own[name], kept[name]) for name in kept) for kept in given):
            restore(model, self.last)
        self.last = {}

    def warn_if_broken(self) -> None:
        """Warn, once, if a step failed before.

        Such a step is not counted, but it may have drawn random numbers or changed parameters.
        """
        if not self.is_between_iterations and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "a step failed before: what follows is not what an undisturbed training does, and no checkpoint of it "
                "can be written; to have that, resume from the last checkpoint, or call reset",
                stacklevel=3,
            )

    def shuffle(self, epoch: int) -> None:
        """Draw the order of an epoch's examples, if it is not drawn yet."""
        if self.order_epoch != epoch:
            self.order.sort()  # so that the new order does not depend on the last one
            self.shuffling.shuffle(self.order)
            self.order_epoch = epoch

    def take_over(self, values: Mapping[str, Any], snapshots: Mapping[str, Snapshot]) -> None:
        """Take over what a checkpoint holds, after it was checked: attributes by name, and the copies of the model."""
        self.order[...] = values["order"]
        for name in ("iteration", "order_epoch", "checked_iteration", "best_validation_accuracy", "is_stopping"):
            setattr(self, name, values[name])
        for name in HISTORIES:
            setattr(self, name, list(values[name]))
        self.best_check = values["best_check"]
        self.is_between_iterations, self._has_warned = True, False
        self.best, self.last = self._filled(0, snapshots["best"]), dict(snapshots["last"])
        self.checked = self._filled(1, snapshots["checked"]) or self.best
        for name, average in self.averages.items():
            average[...] = snapshots["averages"][name]

    def _filled(self, position: int, values: Snapshot) -> Snapshot:
        """Return one of the two copies with these values, or an empty dictionary where there are none."""
        copy = self._copies[position]
        for name, array in values.items():
            copy[name][...] = array
        return copy if values else {}


def _lowest_if_nan(value: float) -> float:
    return -inf if isnan(value) else value


def model_arrays(model: Sequential) -> Snapshot:
    """Return a model's own arrays, parameters and state, by name."""
    return {**model.params, **model.state}


def restore(model: Sequential, snapshot: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give a model the parameters and the state of a snapshot.

    Raises
    ------
    ValueError
        If the model has arrays of other names, shapes or dtypes; nothing is changed then.
    """
    if difference := _difference(snapshot, model_arrays(model)):
        raise ValueError(f"Solver: {difference}; after a change of the model make a new Solver")
    for name, array in model_arrays(model).items():
        array[...] = snapshot[name]


def _copied(arrays: Mapping[str, npt.NDArray[Any]]) -> Snapshot:
    return {name: array.copy() for name, array in arrays.items()}


def _difference(kept: Mapping[str, npt.NDArray[Any]], own: Mapping[str, npt.NDArray[Any]]) -> str:
    """Say which of a model's arrays differs in name, shape or dtype from the one that is kept; "" if none does."""
    for name, array in own.items():
        like = kept.get(name)
        if like is None:
            return (
                f"expected the arrays that the model had when the Solver was made, got {name} too; a layer makes all "
                "its params and state in its constructor"
            )
        if array.shape != like.shape or array.dtype != like.dtype:
            return (
                f"expected {name} to be {like.dtype} of shape {like.shape}, as when the Solver was made, got "
                f"{array.dtype} of shape {array.shape}"
            )
    missing = [name for name in kept if name not in own]
    return f"expected the array {missing[0]}, which the model had when the Solver was made, got none" if missing else ""
