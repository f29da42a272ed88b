"""The search for a learning rate, by a short training in which it grows."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import copy
import warnings
from dataclasses import dataclass

import numpy as np

from convnet.core.checks import FloatArray, as_count, as_number
from convnet.core.surprises import ConvnetWarning
from convnet.training.solver import Solver

__all__ = ["LearningRates", "find_learning_rate"]

# The suggestion is the rate with the lowest loss divided by this. Where the search is as short as here, a tenth of that
# rate, which is often advised, mostly trains more slowly than a third, and no better.
PART = 3


@dataclass(frozen=True)
class LearningRates:
    """What `find_learning_rate` found; ``print`` shows it, and `plot_learning_rates` draws it.

    Attributes
    ----------
    rates : ndarray of float64, shape (M,)
        The learning rate of each step.
    losses : ndarray of float64, shape (M,)
        The loss of each step's minibatch, before the step.
    smoothed : ndarray of float64, shape (M,)
        Moving average of the losses.
    suggestion : float or None
        A third of the rate at which the smoothed loss is lowest; None if it never fell.
    has_diverged : bool
        Whether the search ended because the loss grew too large; otherwise it came to the highest rate.
    """

    rates: FloatArray
    losses: FloatArray
    smoothed: FloatArray
    suggestion: float | None
    has_diverged: bool

    def __str__(self) -> str:
        lowest = int(self.smoothed.argmin())
        lines = [
            f"{len(self.rates)} steps with learning rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}",
            f"smoothed loss: {self.smoothed[0]:.4g} at first, lowest {self.smoothed[lowest]:.4g} at the rate "
            f"{self.rates[lowest]:.2g}, {self.smoothed[-1]:.4g} at last",
        ]
        if self.suggestion is None:
            lines.append("no suggestion: the smoothed loss never fell; try a lower rate at first, or look at the data")
        else:
            note = "" if self.has_diverged else "; the loss did not grow at the highest rate, so try higher ones"
            lines.append(f"suggestion: {self.suggestion:.2g}, a third of the rate with the lowest loss{note}")
        return "\n".join(lines)


def find_learning_rate(
    solver: Solver,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
    smoothing: float = 0.9,
) -> LearningRates:
    """Look for a learning rate: train a copy of a Solver's model with a rate that grows, and watch the loss.

    The rate of step i is ``lowest * (highest / lowest) ** (i / (steps - 1))``. The smoothed loss is
    ``sum over j <= i of (smoothing ** (i - j) * loss[j]) / sum over j <= i of smoothing ** (i - j)``. The search ends
    after `steps`, or when the loss is not finite or the smoothed loss above twice its first value. Minibatches,
    augmentation, weights and regularisation are those of the Solver. Neither the Solver nor its model, optimizer,
    callbacks and random generators are changed or called.

    Parameters
    ----------
    solver : Solver
        Before its training, or between two calls of `Solver.train`. Its schedule, and the optimizer's learning rate,
        have no part in the search.
    lowest, highest : float
        Above 0; `highest` is above `lowest`.
    steps : int
        At least 2.
    smoothing : float
        In [0, 1).

    Returns
    -------
    LearningRates

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its range or type.

    Notes
    -----
    L. N. Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3, where the rate grows
    linearly and the accuracy is watched. A third of the rate with the lowest loss is a rule of thumb, and the place to
    begin: try two or three times as much, and as little, too. Schedules that begin with small rates, such as
    `OneCycle`, bear larger ones.
    """
    if not isinstance(solver, Solver):
        raise TypeError(f"find_learning_rate: expected a Solver, got {solver!r:.60}")
    lowest = as_number(lowest, "lowest", above=0)
    highest = as_number(highest, "highest", above=lowest)
    rates = np.geomspace(lowest, highest, as_count(steps, "steps", 2))
    smoothing = as_number(smoothing, "smoothing", at_least=0, below=1)
    twin = _twin(solver)
    losses, smoothed = list[float](), list[float]()
    total = weight = 0.0
    has_diverged = False
    for rate in rates.tolist():
        twin.optimizer.learning_rate = rate
        try:
            loss = twin.step()
        except FloatingPointError:
            has_diverged = True
            break
        total, weight = smoothing * total + loss, smoothing * weight + 1
        losses.append(loss)
        smoothed.append(total / weight)
        if smoothed[-1] > smoothed[0] + abs(smoothed[0]):
            has_diverged = True
            break
    if not losses:
        raise ValueError(f"find_learning_rate: expected a finite loss, got none at the lowest rate, {lowest:g}")
    best = int(np.argmin(smoothed))
    suggestion = float(rates[best]) / PART if best else None
    return LearningRates(rates[: len(losses)], np.array(losses), np.array(smoothed), suggestion, has_diverged)


def _twin(solver: Solver) -> Solver:
    """Return a Solver that trains a copy of the model from where the given one stands, without its callbacks."""
    model, optimizer = copy.deepcopy(solver.model), copy.deepcopy(solver.optimizer)
    state, optimizer.state = optimizer.state, {}
    arrays = solver.data.items()
    data = {f"{name}_{part}": array for part, pair in arrays for name, array in zip("xy", pair, strict=True)}
    if solver.weights is not None:
        data["weights_train"] = solver.weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvnetWarning)  # the Solver itself gave those of its data
        twin = Solver(
            model,
            data,
            optimizer,
            batch_size=solver.batch_size,
            seed=solver.seed,
            augmentation=copy.deepcopy(solver.augmentation),
        )
    optimizer.load_state(state)
    return twin
