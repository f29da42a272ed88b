"""Learning-rate schedules: callables of the fractional epoch that return a factor on the learning rate.

Any function does: ``schedule(epoch) -> factor``, where epoch is 0 before the first minibatch and 1.5 in the middle of
the second epoch. No schedule is a constant factor of 1. A schedule that takes the keyword ``accuracies`` gets the
validation accuracies so far, too: a list whose first entry is from before the training. As a function of these alone it
has no state of its own, so that a training that resumes goes on bit for bit.
"""

from collections.abc import Callable, Sequence
from math import cos, floor, inf, pi

from convnet.core.checks import as_count, as_number

__all__ = ["Constant", "CosineDecay", "EpochDecay", "OneCycle", "PlateauDecay", "Schedule", "StepDecay"]

Schedule = Callable[..., float]


class Constant:
    """Keep the learning rate: ``factor(epoch) = 1``, which is what a `Solver` without a schedule does."""

    def __call__(self, epoch: float) -> float:
        """Return 1."""
        return 1.0

    def __repr__(self) -> str:
        return "Constant()"


class StepDecay:
    """Multiply the learning rate by `decay` every so many epochs: ``factor(epoch) = decay ** floor(epoch / every)``.

    Parameters
    ----------
    every : float
        Epochs, above 0.
    decay : float
        In (0, 1].

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", 2016, section 4.2, for one.
    """

    def __init__(self, every: float, decay: float) -> None:
        self.every = as_number(every, "every", above=0)
        self.decay = as_number(decay, "decay", above=0, at_most=1)

    def __call__(self, epoch: float) -> float:
        """Return the factor at the fractional epoch `epoch`, 0 at the start of training."""
        return float(self.decay ** floor(epoch / self.every))

    def __repr__(self) -> str:
        return f"StepDecay({self.every!r}, {self.decay!r})"


class EpochDecay(StepDecay):
    """Multiply the learning rate by `decay` after every epoch: ``factor(epoch) = decay ** floor(epoch)``.

    Parameters
    ----------
    decay : float
        In (0, 1].

    Raises
    ------
    ValueError
        If `decay` is outside (0, 1].

    Notes
    -----
    The decay of V. N. Sichkar, "Neural networks for computer vision in autonomous vehicles and robotics", 2018,
    DOI 10.5281/zenodo.1317904.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(1, decay)

    def __repr__(self) -> str:
        return f"EpochDecay({self.decay!r})"


class CosineDecay:
    """Lower the learning rate along half a cosine to a last factor, in a given number of epochs, and keep it there.

    ``factor(epoch) = last + (1 - last) * (1 + cos(pi * epoch / epochs)) / 2``, up to ``epoch = epochs``.

    Parameters
    ----------
    epochs : int
        As many as the Solver trains.
    last : float
        In [0, 1].

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, equation 5, without
    restarts.
    """

    def __init__(self, epochs: int, *, last: float = 0.0) -> None:
        self.epochs = as_count(epochs, "epochs")
        self.last = as_number(last, "last", at_least=0, at_most=1)

    def __call__(self, epoch: float) -> float:
        """Return the factor at the fractional epoch `epoch`, 0 at the start of training."""
        return _cosine(1.0, self.last, min(epoch / self.epochs, 1.0))

    def __repr__(self) -> str:
        return f"CosineDecay({self.epochs!r}, last={self.last!r})"


class OneCycle:
    """Raise the learning rate from a first factor to 1, then lower it to a last one, each along half a cosine.

    With ``done = epoch / epochs``: ``first + (1 - first) * (1 - cos(pi * done / warmup)) / 2`` before ``warmup``, then
    ``last + (1 - last) * (1 + cos(pi * (done - warmup) / (1 - warmup))) / 2``. The optimizer's learning rate is the
    peak; after `epochs` epochs the last factor stays. A momentum is not changed with it.

    Parameters
    ----------
    epochs : int
        As many as the Solver trains.
    warmup : float
        In [0, 1): the fraction of the epochs before the peak.
    first, last : float
        In [0, 1].

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    L. N. Smith, N. Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018.
    """

    def __init__(self, epochs: int, *, warmup: float = 0.3, first: float = 0.04, last: float = 0.0) -> None:
        self.epochs = as_count(epochs, "epochs")
        self.warmup = as_number(warmup, "warmup", at_least=0, below=1)
        self.first = as_number(first, "first", at_least=0, at_most=1)
        self.last = as_number(last, "last", at_least=0, at_most=1)

    def __call__(self, epoch: float) -> float:
        """Return the factor at the fractional epoch `epoch`, 0 at the start of training."""
        done = min(epoch / self.epochs, 1.0)
        if done < self.warmup:
            return _cosine(self.first, 1.0, done / self.warmup)
        return _cosine(1.0, self.last, (done - self.warmup) / (1 - self.warmup))

    def __repr__(self) -> str:
        return f"OneCycle({self.epochs!r}, warmup={self.warmup!r}, first={self.first!r}, last={self.last!r})"


class PlateauDecay:
    """Multiply the learning rate by `decay` whenever the validation accuracy has stopped rising.

    An epoch is better if its accuracy is above the best one before, from before the training on, by more than
    `threshold`. After `patience` epochs in a row without a better one the factor is multiplied by `decay`, and the
    epochs are counted anew.

    Parameters
    ----------
    decay : float
        In (0, 1).
    patience : int
        Epochs, at least 1.
    threshold : float
        At least 0; in the unit of the accuracies, which are fractions.
    minimum : float
        In [0, 1]: the factor is not lowered further.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range.

    Notes
    -----
    The rule of PyTorch's ``ReduceLROnPlateau`` with ``mode="max"`` and ``threshold_mode="abs"``, but that its patience
    counts one epoch less.
    """

    def __init__(self, decay: float = 0.1, *, patience: int = 5, threshold: float = 0.0, minimum: float = 0.0) -> None:
        self.decay = as_number(decay, "decay", above=0, below=1)
        self.patience = as_count(patience, "patience")
        self.threshold = as_number(threshold, "threshold", at_least=0)
        self.minimum = as_number(minimum, "minimum", at_least=0, at_most=1)

    def __call__(self, epoch: float, *, accuracies: Sequence[float] = ()) -> float:
        """Return the factor after the epochs with these validation accuracies."""
        best, waited, factor = -inf, 0, 1.0
        for accuracy in accuracies:
            if accuracy > best + self.threshold:
                best, waited = accuracy, 0
            else:
                waited += 1
            if waited == self.patience:
                factor, waited = max(factor * self.decay, self.minimum), 0
        return factor

    def __repr__(self) -> str:
        return (
            f"PlateauDecay({self.decay!r}, patience={self.patience!r}, threshold={self.threshold!r}, "
            f"minimum={self.minimum!r})"
        )


def _cosine(start: float, end: float, done: float) -> float:
    """Return the value between start and end, along half a cosine, when the fraction `done` of the way is done."""
    return end + (start - end) * (1 + cos(pi * done)) / 2
