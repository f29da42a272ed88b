"""Muon: an optimizer that makes the update of each weight matrix nearly orthogonal."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from convnet import _kernels
from convnet.core.checks import FloatArray, as_count, as_flag, as_number
from convnet.core.threads import elementwise
from convnet.layers.affine import affine_forward
from convnet.training.clipping import total_norm
from convnet.training.optimizers import Optimizer, State

__all__ = ["Muon", "orthogonalised"]

# Of the polynomial a * s + b * s**3 + c * s**5 that an iteration applies to each singular value s. Small ones grow
# nearly fourfold at a time; large ones end between 0.7 and 1.2, and not at 1.
COEFFICIENTS = 3.4445, -4.7750, 2.0315


class Muon(Optimizer):
    """Momentum whose update of each weight matrix is replaced by the nearest orthogonal matrix, approximately.

    ``velocity = momentum * velocity + grad``, from 0; ``update = momentum * velocity + grad`` with Nesterov's momentum,
    else ``update = velocity``. For weights of two or more axes, as a matrix, that of a convolution as
    (F, C * KH * KW): ``param -= learning_rate * sqrt(max(1, outputs / inputs)) * orthogonalised(update)``, where F or
    the features out are the outputs. All singular values of the update are then about as large, so that rare
    directions are learnt as fast as frequent ones. For all other parameters:
    ``param -= other_learning_rate * update``.

    Parameters
    ----------
    learning_rate : float
        Above 0; about the largest singular value of an update.
    momentum : float
        In [0, 1).
    other_learning_rate : float
        Above 0; of the other parameters, as for `Momentum`. A schedule changes both rates.
    others : sequence of str
        Names of weights that are updated as the other parameters are, such as that of the last layer,
        ``("affine2.weight",)``.
    nesterov : bool
        Whether the gradient counts as if it had been taken one step of the velocity ahead.
    iterations : int
        Newton-Schulz iterations, at least 1.
    clip_norm : float, optional
        As for `Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter is not a number of its range, or `others` is no sequence of names; at the first update, if
        the model has no parameter of one of these names.

    Notes
    -----
    K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. The other parameters go by SGD
    with momentum here, where the authors take AdamW. L2 is part of the gradient, of which only the direction counts.

    A step costs about ``6 * iterations * M * N * min(M, N)`` operations for each M x N matrix: little for convolutions,
    but for the first Affine layer of ConvNet1 many times the rest of a step.
    """

    state_names = ("velocity",)

    def __init__(
        self,
        learning_rate: float = 0.02,
        momentum: float = 0.95,
        *,
        other_learning_rate: float = 0.01,
        others: Sequence[str] = (),
        nesterov: bool = True,
        iterations: int = 5,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, clip_norm=clip_norm)
        self.momentum = as_number(momentum, "momentum", at_least=0, below=1)
        self.other_learning_rate = as_number(other_learning_rate, "other_learning_rate", above=0)
        if not isinstance(others, (tuple, list)) or not all(isinstance(name, str) for name in others):
            raise TypeError(f'others: expected a sequence of names, such as ("affine2.weight",), got {others!r:.60}')
        self.others = tuple(others)
        self.nesterov = as_flag(nesterov, "nesterov")
        self.iterations = as_count(iterations, "iterations")

    def hyperparameters(self) -> dict[str, Any]:
        names = ("momentum", "other_learning_rate", "others", "nesterov", "iterations")
        return {name: getattr(self, name) for name in names}

    def check_params(self, params: Mapping[str, FloatArray]) -> None:
        super().check_params(params)
        for name in self.others:
            if name not in params:
                raise ValueError(f"Muon: others: expected names of parameters, {', '.join(params):.200}, got {name!r}")

    def update_param(self, name: str, param: FloatArray, grad: FloatArray, state: State, rate: float) -> None:
        velocity, shape = state["velocity"], self.state[name]["velocity"].shape
        if len(shape) < 2 or name in self.others:
            other_rate = self.other_learning_rate * self.rate_factor
            rule = _kernels.Rule("nesterov" if self.nesterov else "momentum", other_rate, decay1=self.momentum)
            elementwise(partial(_kernels.update, rule), grad, param, velocity)
            return
        velocity *= self.momentum
        velocity += grad
        matrix = (self.momentum * velocity + grad if self.nesterov else velocity).reshape(shape[0], -1)
        # An Affine layer has the shape (inputs, outputs), a convolution (outputs, inputs).
        outputs, inputs = matrix.shape[::-1] if len(shape) == 2 else matrix.shape
        param -= rate * sqrt(max(1.0, outputs / inputs)) * orthogonalised(matrix, self.iterations).reshape(-1)


def orthogonalised(matrix: FloatArray, iterations: int = 5) -> FloatArray:
    """Return a matrix with the same singular vectors, whose singular values are about 1, by Newton-Schulz iterations.

    From ``X = matrix / norm``, each iteration computes ``X = a * X + (b * A + c * A @ A) @ X`` with ``A = X @ X.T``.
    The bits are the same for any number of threads.

    Parameters
    ----------
    matrix : ndarray, shape (M, N)
        Float32 or float64. For zeros the result is zeros.
    iterations : int
        How many. Singular values below about ``0.3 ** iterations`` of the norm stay below 1.

    Returns
    -------
    ndarray, shape (M, N)
    """
    a, b, c = COEFFICIENTS
    norm = total_norm([matrix])
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix / norm if norm > 0 else matrix
    x = np.ascontiguousarray(x.T if is_tall else x)  # A is then as small as it can be
    nothing, nothing_wide = (np.zeros(size, matrix.dtype) for size in x.shape)
    for _ in range(iterations):
        square = affine_forward(x, x.T, nothing)
        polynomial = affine_forward(c * square, square, nothing)
        polynomial += b * square
        x = affine_forward(polynomial, x, nothing_wide) + a * x
    return x.T if is_tall else x
