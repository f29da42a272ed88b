"""What can be read of a training, while it runs and afterwards."""

from typing import Any

import numpy.typing as npt

from convnet.core.checks import FloatArray
from convnet.models.sequential import Sequential
from convnet.training.best_by import BestBy
from convnet.training.state import TrainingState

__all__ = ["Progress"]


class Progress:
    """The attributes of a `Solver` that are read-only: how far the training has come, and its best parameters.

    They are those of its `state`, and what follows from them. The docstring of `Solver` says what each one is.
    """

    model: Sequential
    data: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    state: TrainingState
    epochs: int
    iterations_per_epoch: int

    @property
    def iteration(self) -> int:
        """Minibatches done."""
        return self.state.iteration

    @property
    def has_validation(self) -> bool:
        """Whether the data have a validation part."""
        return "validation" in self.data

    @property
    def average(self) -> float | None:
        """Decay of the moving averages; None without them."""
        return self.state.average

    @property
    def best_by(self) -> BestBy:
        """What decides which accuracy check is the best: ``"accuracy"``, ``"loss"``, or a function."""
        return self.state.best_by

    @property
    def loss_history(self) -> list[float]:
        """The loss of every iteration."""
        return self.state.loss_history

    @property
    def train_accuracy_history(self) -> list[float]:
        """Training accuracies as fractions, when `train` began and after every epoch."""
        return self.state.train_accuracy_history

    @property
    def validation_accuracy_history(self) -> list[float]:
        """Validation accuracies as fractions, when `train` began and after every epoch."""
        return self.state.validation_accuracy_history

    @property
    def validation_loss_history(self) -> list[float]:
        """Validation losses, when `train` began and after every epoch."""
        return self.state.validation_loss_history

    @property
    def best_by_history(self) -> list[float]:
        """What `best_by` said when `train` began and after every epoch: accuracies, losses, or a function's values."""
        return self.state.best_by_history

    @property
    def best_validation_accuracy(self) -> float:
        """The validation accuracy of the best check so far, -1 before the first check."""
        return self.state.best_validation_accuracy

    @property
    def is_between_iterations(self) -> bool:
        """False while a step runs, and after a step that failed, until `reset` or `resume`."""
        return self.state.is_between_iterations

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return self.iteration // self.iterations_per_epoch

    @property
    def num_iterations(self) -> int:
        """Iterations of all epochs."""
        return self.epochs * self.iterations_per_epoch

    @property
    def best_params(self) -> dict[str, FloatArray]:
        """Copies of the parameters of the best accuracy check; empty before the first one."""
        return {name: self.state.best[name].copy() for name in self.model.params if name in self.state.best}

    @property
    def best_state(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of the model's state at the best accuracy check; empty before the first one."""
        return {name: self.state.best[name].copy() for name in self.model.state if name in self.state.best}
