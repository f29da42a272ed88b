"""How the steps of a training are computed: by one process, or by something else that keeps this contract."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from convnet.core.workspace import Workspace
from convnet.models.sequential import Sequential
from convnet.training.minibatches import Minibatch
from convnet.training.optimizers import Optimizer

__all__ = ["Decisions", "OneProcess", "Parallel"]

Part = tuple[npt.NDArray[Any], npt.NDArray[Any]]


class Decisions(NamedTuple):
    """How a training goes on after an event, of which its callbacks were told."""

    iteration: int
    is_stopping: bool
    learning_rate: float
    epochs: int
    is_interrupted: bool


class Parallel(Protocol):
    """What a `Solver` needs of that which computes its steps.

    Attributes
    ----------
    is_first : bool
        Whether this process calls the callbacks and warns.
    description : str or None
        What the bits of a training depend on; None for a single process.
    """

    is_first: bool
    description: str | None

    def begin(self, model: Sequential, data: Mapping[str, Part], batch_size: int, run: Mapping[str, Any]) -> None:
        """Check what a Solver was made of: model, data, examples of a minibatch, and the description of the run."""

    def part(self, n: int) -> slice:
        """Return which of the n examples of a minibatch this process needs."""

    def train_step(self, model: Sequential, minibatch: Minibatch, optimizer: Optimizer, workspace: Workspace) -> float:
        """Update the parameters and the state once, and return the loss before that.

        The minibatch has the inputs of this process' part, and the labels and the rest of all examples.
        """

    def agree(self, decisions: Decisions, checked: Sequential | None) -> Decisions:
        """Return what the callbacks of the first process have decided.

        After an accuracy check the processes compare their models, of which each has given its own.
        """

    def training(self) -> AbstractContextManager[None]:
        """Return what stands around a training, which this process may leave by an error."""


class OneProcess:
    """The steps of a single process."""

    is_first = True
    description: str | None = None

    def begin(self, model: Sequential, data: Mapping[str, Part], batch_size: int, run: Mapping[str, Any]) -> None:
        """Do nothing: nobody can differ."""

    def part(self, n: int) -> slice:
        """Return all of them."""
        return slice(0, n)

    def train_step(self, model: Sequential, minibatch: Minibatch, optimizer: Optimizer, workspace: Workspace) -> float:
        """Update the model by the whole minibatch."""
        return model.train_step(minibatch.x, minibatch.labels, optimizer, workspace, **minibatch.options)

    def agree(self, decisions: Decisions, checked: Sequential | None) -> Decisions:
        """Return them: this process has decided."""
        return decisions

    def training(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: nobody waits."""
        return nullcontext()
