"""Layer: the contract of all layers, the library's and a user's."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_real
from convnet.core.names import Named
from convnet.layers.stage import LayerStage, Options, Shape, Stage

__all__ = ["Layer"]

NOTHING: Mapping[str, npt.NDArray[Any]] = MappingProxyType({})


class Layer(Named):
    """Base of the layers, and what a layer of your own has to provide.

    A subclass gives `forward`, `backward` and, unless its output has the shape of its input, `output_shape`. Its
    constructor calls ``super().__init__()`` first, puts what is trained into `params`, and what else belongs to the
    model into `state`. It goes into a `Sequential`; model files hold the library's own layers alone.

    A layer keeps nothing between its forward and its backward pass: what the backward pass needs travels in the cache
    that `forward` returns.

    Attributes
    ----------
    params : dict of str to ndarray
        Parameters by name, updated in place by an optimizer.
    state : dict of str to ndarray
        Arrays that are not trained but belong to the model, such as running statistics, changed in place by
        `update_state`. They are saved, restored and copied wherever `params` are.
    regularised : frozenset of str
        The names in `params` that L2 and weight decay apply to: those called ``weight``, unless a subclass says
        otherwise.
    branches : mapping of str to mapping of str to Layer
        The layers that it holds, in rows by the name of the constructor's argument, each by its name; empty but for
        layers such as `Residual`. Model files, the page and `Sequential.summary` follow it.
    kind : str
        What a model calls layers of this class, with a running number: ``conv1``, ``affine2``.

    Examples
    --------
    >>> import numpy as np
    >>> class Swish(Layer):
    ...     kind = "swish"
    ...
    ...     def forward(self, x, rng=None):
    ...         return x / (1 + np.exp(-x)), x
    ...
    ...     def backward(self, dy, cache, need_dx=True):
    ...         gate = 1 / (1 + np.exp(-cache))
    ...         return dy * gate * (1 + cache * (1 - gate)), {}

    Whether its gradient is right, along random directions:

    >>> from convnet import gradient_error
    >>> rng = np.random.default_rng(0)
    >>> layer, x, dy = Swish(), rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    >>> dx, _ = layer.backward(dy, layer.forward(x)[1])
    >>> gradient_error(lambda: float((dy * layer(x)).sum()), x, dx, rng=rng) < 1e-7
    True
    """

    kind: ClassVar[str] = "layer"
    params: dict[str, FloatArray]
    # The class has an empty one, for layers of a user's that do without `super().__init__()`.
    state: dict[str, npt.NDArray[Any]] = NOTHING  # type: ignore[assignment]
    branches: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    _required_arguments = MappingProxyType({"rng": "rng=numpy.random.default_rng(0), which draws the initial weights"})
    # How often an attribute was set, by which a plan knows that it was made of the layer as it is.
    _changes: int = 0

    def __init__(self) -> None:
        self.params = {}
        self.state = {}

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        object.__setattr__(self, "_changes", self._changes + 1)

    def __call__(self, x: npt.ArrayLike) -> FloatArray:
        """Return the output for x, as for prediction; nothing is kept or changed."""
        return self.forward(x)[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._describe().items())})"

    def _describe(self) -> dict[str, Any]:
        """Return the constructor's arguments that tell layers of this class apart."""
        return self.hyperparameters()

    @property
    def regularised(self) -> frozenset[str]:
        """The names in `params` that L2 and weight decay apply to."""
        return frozenset(name for name in self.params if name.rpartition(".")[2] == "weight")

    def hyperparameters(self) -> dict[str, Any]:
        """Return, as JSON types, the keyword arguments that `from_params` needs beside parameters and branches."""
        return {}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.ArrayLike], **hyperparameters: Any) -> Self:
        """Return a layer with the given parameters, copied, and hyper-parameters; its state is a new layer's.

        Raises
        ------
        ValueError
            If the parameters' names, shapes or dtypes are not this layer's.
        """
        cls._copy_params(params, {})
        return cls(**hyperparameters)

    @classmethod
    def _copy_params(cls, params: Mapping[str, npt.ArrayLike], expected: Mapping[str, int]) -> dict[str, FloatArray]:
        """Return copies of the parameters after checking their names and numbers of axes."""
        if params.keys() != expected.keys():
            raise ValueError(f"{cls.__name__}: expected the parameters {list(expected)}, got {list(params)}")
        arrays = {name: as_real(params[name], f"{cls.__name__}: {name}").copy() for name in expected}
        for name, array in arrays.items():
            if array.ndim != expected[name]:
                raise ValueError(f"{cls.__name__}: {name}: expected {expected[name]} axes, got shape {array.shape}")
            if 0 in array.shape:
                raise ValueError(f"{cls.__name__}: {name}: expected no empty axis, got shape {array.shape}")
        if len({array.dtype for array in arrays.values()}) > 1:
            raise ValueError(f"{cls.__name__}: expected parameters of one dtype")
        return arrays

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output for one example, from that of its input.

        Raises
        ------
        ValueError
            If the layer cannot take such an input; the message shows the arithmetic.
        """
        return input_shape

    def multiply_adds(self, input_shape: Shape) -> int:
        """Return how many multiplications with a weight, each with an addition, the output for one example takes."""
        return 0

    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, Any]:
        """Return the output for x, as for training, and the cache that `backward` needs.

        Parameters
        ----------
        x : array_like, shape (N, ...)
        rng : numpy.random.Generator, optional
            Used only by layers with randomness.

        Returns
        -------
        y : ndarray, shape (N, ...)
        cache : object
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(
        self, dy: npt.ArrayLike, cache: Any, need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        """Return the gradients with respect to the input and the parameters.

        Parameters
        ----------
        dy : array_like, of the shape of the output
            Gradient of the loss with respect to the output.
        cache : object
            From `forward`.
        need_dx : bool
            False allows the layer to leave out the input's gradient.

        Returns
        -------
        dx : ndarray, of the shape of the input; may be None without `need_dx`
        grads : dict of str to ndarray
            The keys, shapes and dtypes of `params`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def update_state(self, cache: Any) -> None:
        """Update `state` in place, after the forward pass of a training step and at no other time.

        Parameters
        ----------
        cache : object
            From `forward`.
        """

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        """Return how a plan computes this layer; see `convnet.layers.stage.Stage`.

        A layer of the library that has a kernel of its own overrides it. Layers of a user's, subclasses of the
        library's too, are computed by `forward` and `backward`, whatever this method says.
        """
        return LayerStage(name, self, input_shape, dtype)
