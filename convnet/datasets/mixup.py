"""Mixup: training examples that are two examples at once."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_generator, as_number, as_real
from convnet.core.threads import in_parts
from convnet.datasets.augmentation import Augment, Mixture

__all__ = ["Mixup"]


class Mixup:
    """Mix the examples of a minibatch in pairs, and their losses with them.

    For a factor f, which is drawn from Beta(alpha, alpha) for each minibatch, example n becomes
    ``f * x[n] + (1 - f) * x[N - 1 - n]``, and its loss ``f`` times that for its own label and ``1 - f`` times that for
    the label of its partner, example N - 1 - n. A Solver's minibatches are in random order, so that partners are
    random. Where examples have weights, each label counts with the weight of the example that it comes from.

    Parameters
    ----------
    alpha : float
        Above 0. Small numbers, such as 0.2, mostly leave one example nearly as it is; 1 makes all factors equally
        likely.
    augmentation : callable, optional
        ``augmentation(x, rng) -> x``, such as an `Augmentation`, applied to the inputs first.

    Raises
    ------
    ValueError, TypeError
        If `alpha` is no number above 0, or `augmentation` is not callable.

    Notes
    -----
    H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: beyond empirical risk minimization", 2018. As there, a
    minibatch is mixed with itself in another order, by one factor.

    Examples
    --------
    >>> import numpy as np
    >>> mixture = Mixup(1.0)(np.array([[0.0], [4.0]]), np.random.default_rng(0))
    >>> mixture.partners
    array([1, 0])
    >>> bool(np.isclose(mixture.x[0, 0], 4 * (1 - mixture.factor)))
    True
    """

    def __init__(self, alpha: float, augmentation: Augment | None = None) -> None:
        self.alpha = as_number(alpha, "Mixup: alpha", above=0)
        if augmentation is not None and (not callable(augmentation) or isinstance(augmentation, type)):
            raise TypeError(
                "Mixup: expected augmentation to be a function, or an object such as Augmentation(), got "
                f"{augmentation!r:.60}"
            )
        self.augmentation = augmentation

    def __call__(self, x: FloatArray, rng: np.random.Generator) -> Mixture:
        """Return the augmented and mixed inputs, a new array, with their partners and the factor.

        Parameters
        ----------
        x : array_like, shape (N, ...)
        rng : numpy.random.Generator

        Returns
        -------
        Mixture

        Raises
        ------
        ValueError
            If the augmentation mixes the inputs already.
        TypeError
            If x does not hold real numbers, or `rng` is no Generator.
        """
        as_generator(rng, "Mixup: rng")
        augmented = x if self.augmentation is None else self.augmentation(x, rng)
        return self.mix(np.array(self.unmixed(augmented)), rng)

    @staticmethod
    def unmixed(augmented: npt.ArrayLike | Mixture) -> FloatArray:
        """Return what an augmentation returned as a float array, after checking that it is not mixed."""
        if isinstance(augmented, Mixture):
            raise ValueError("Mixup: expected an augmentation that does not mix its inputs, got a Mixture from it")
        array = as_real(augmented, "Mixup: x")
        if not array.ndim:
            raise ValueError(f"Mixup: expected x of shape (N, ...), got {augmented!r:.60}")
        return array

    def mix(self, x: FloatArray, rng: np.random.Generator) -> Mixture:
        """Mix the examples of x, a float array in C order, in place."""
        count = len(x)
        factor = float(rng.beta(self.alpha, self.alpha))
        if x.size:
            rows = x.reshape(count, -1)
            # The one in the middle of an odd number is its own partner.
            in_parts(lambda part, _: _kernels.mix_pairs(rows, part.start, part.stop, factor), count // 2, 2 * x.size)
        return Mixture(x, np.arange(count)[::-1], factor)

    def __repr__(self) -> str:
        inner = "" if self.augmentation is None else f", {self.augmentation!r}"
        return f"Mixup({self.alpha!r}{inner})"
