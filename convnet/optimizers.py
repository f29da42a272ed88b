"""Optimizers: rules that update parameters from their gradients, in place."""

from collections.abc import Mapping

import numpy as np

from convnet import _kernels
from convnet.functional import FloatArray, as_number

__all__ = ["SGD", "Optimizer"]

DTYPES = (np.float32, np.float64)


class Optimizer:
    """Base of the optimizers: checks what comes in, and leaves the rule to `_update`.

    Parameters
    ----------
    learning_rate : float
        Above 0.

    Attributes
    ----------
    learning_rate : float
        Base rate.
    rate_factor : float
        Factor on it, 1 unless a `Solver` sets it from its schedule before each step.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = as_number(learning_rate, "learning_rate", above=0)
        self.rate_factor = 1.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.learning_rate!r})"

    def update(self, params: Mapping[str, FloatArray], grads: Mapping[str, FloatArray]) -> None:
        """Update every parameter in place.

        Parameters
        ----------
        params : mapping of str to ndarray
            Contiguous and writeable, float32 or float64.
        grads : mapping of str to ndarray
            The gradients: the names, shapes and dtypes of `params`.

        Raises
        ------
        ValueError
            If names, shapes or dtypes differ, or a parameter is not contiguous and writeable; nothing is updated then.
        """
        if params.keys() != grads.keys():
            odd = sorted(params.keys() ^ grads.keys())
            raise ValueError(f"{type(self).__name__}: parameters and gradients differ in the names {odd}")
        for name, param in params.items():
            grad = grads[name]
            if not all(isinstance(a, np.ndarray) and a.dtype in DTYPES and a.dtype.isnative for a in (param, grad)):
                raise ValueError(f"{type(self).__name__}: expected {name} and its gradient in float32 or float64")
            if param.shape != grad.shape or param.dtype != grad.dtype:
                raise ValueError(
                    f"{type(self).__name__}: expected the gradient of {name} to be {param.dtype} of shape "
                    f"{param.shape}, got {grad.dtype} of shape {grad.shape}"
                )
            if not (param.flags.c_contiguous and param.flags.writeable):
                raise ValueError(f"{type(self).__name__}: expected {name} to be contiguous and writeable")
        self._update(params, grads, self.learning_rate * self.rate_factor)

    def _update(self, params: Mapping[str, FloatArray], grads: Mapping[str, FloatArray], rate: float) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Vanilla stochastic gradient descent: ``param -= learning_rate * gradient``.

    Parameters
    ----------
    learning_rate : float
        Above 0.

    Notes
    -----
    H. Robbins, S. Monro, "A stochastic approximation method", 1951.
    """

    def _update(self, params: Mapping[str, FloatArray], grads: Mapping[str, FloatArray], rate: float) -> None:
        for name, param in params.items():
            _kernels.add_scaled(-rate, grads[name].reshape(-1), param.reshape(-1))
