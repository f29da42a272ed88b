"""Learning-rate schedules: callables of the fractional epoch that return a factor on the learning rate."""

from collections.abc import Callable
from math import floor

from convnet.functional import as_number

__all__ = ["EpochDecay", "Schedule"]

Schedule = Callable[[float], float]


class EpochDecay:
    """Multiply the learning rate by `decay` after every epoch: ``factor(epoch) = decay ** floor(epoch)``.

    Parameters
    ----------
    decay : float
        In (0, 1].

    Raises
    ------
    ValueError
        If `decay` is outside (0, 1].
    """

    def __init__(self, decay: float) -> None:
        self.decay = as_number(decay, "decay", above=0, at_most=1)

    def __call__(self, epoch: float) -> float:
        """Return the factor at the fractional epoch `epoch`, 0 at the start of training."""
        return self.decay ** floor(epoch)

    def __repr__(self) -> str:
        return f"EpochDecay({self.decay!r})"
