"""Layers: parameters and hyper-parameters around the functions of `convnet.functional`.

A layer keeps nothing between its forward and backward pass; what the backward pass needs travels in the cache that
`forward` returns.
"""

from __future__ import annotations  # numpy.random is imported when it is used, not with the package

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from convnet import functional
from convnet.checks import FloatArray, Pair, as_count, as_flag, as_number, as_pair, as_real
from convnet.initializers import he_normal
from convnet.workspace import Empty, takes_empty

__all__ = ["Affine", "AveragePool2D", "Conv2D", "Dropout", "Layer", "MaxPool2D", "ReLU", "Sigmoid"]

Shape = tuple[int, ...]


class Layer:
    """Base of the layers, and what a layer of your own has to provide.

    A subclass gives `forward`, `backward` and, unless its output has the shape of its input, `output_shape`. Its
    constructor calls ``super().__init__()`` first, and puts what is trained into `params`. It goes into a `Sequential`;
    model files hold the library's own layers alone.

    Attributes
    ----------
    params : dict of str to ndarray
        Parameters by name, updated in place by an optimizer; those named ``weight`` are regularised.
    kind : str
        What a model calls layers of this class, with a running number: ``conv1``, ``affine2``.

    Examples
    --------
    >>> import numpy as np
    >>> class LeakyReLU(Layer):
    ...     kind = "leaky"
    ...
    ...     def __init__(self, slope=0.1):
    ...         super().__init__()
    ...         self.slope = slope
    ...
    ...     def forward(self, x, rng=None):
    ...         return np.where(x > 0, x, self.slope * x), x
    ...
    ...     def backward(self, dy, cache, *, need_dx=True):
    ...         return np.where(cache > 0, dy, self.slope * dy), {}

    Whether its gradient is right, along random directions:

    >>> from convnet import gradient_error
    >>> rng = np.random.default_rng(0)
    >>> layer, x, dy = LeakyReLU(), rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    >>> dx, _ = layer.backward(dy, layer.forward(x)[1])
    >>> gradient_error(lambda: float((dy * layer(x)).sum()), x, dx, rng=rng) < 1e-7
    True
    """

    kind: ClassVar[str] = "layer"
    params: dict[str, FloatArray]

    def __init__(self) -> None:
        self.params = {}

    def __call__(self, x: npt.ArrayLike, *, empty: Empty = np.empty) -> FloatArray:
        """Return the output for x, as for prediction; nothing is kept."""
        return (self.forward(x, empty=empty) if takes_empty(self.forward) else self.forward(x))[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._describe().items())})"

    def _describe(self) -> dict[str, Any]:
        """Return the constructor's arguments that tell layers of this class apart."""
        return self.hyperparameters()

    def hyperparameters(self) -> dict[str, Any]:
        """Return, as JSON types, the keyword arguments that `from_params` needs beside the parameters."""
        return {}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.ArrayLike], **hyperparameters: Any) -> Self:
        """Return a layer with the given parameters, copied, and hyper-parameters.

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

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, Any]:
        """Return the output for x, as for training, and the cache that `backward` needs.

        Parameters
        ----------
        x : array_like, shape (N, ...)
        rng : numpy.random.Generator, optional
            Used only by layers with randomness.
        empty : callable
            ``empty(shape, dtype)`` gives the memory of arrays: numpy.empty, or in a training step that of a
            `Workspace`, where they last until the step's end. A layer of your own may do without this argument.

        Returns
        -------
        y : ndarray, shape (N, ...)
        cache : object
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(
        self, dy: npt.ArrayLike, cache: Any, *, need_dx: bool = True, empty: Empty = np.empty
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
        empty : callable
            As for `forward`.

        Returns
        -------
        dx : ndarray, of the shape of the input; may be None without `need_dx`
        grads : dict of str to ndarray
            The keys, shapes and dtypes of `params`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")


class Conv2D(Layer):
    """Convolution (cross-correlation) of images (N, C, H, W) with filters; see `functional.conv2d_forward`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels C of the input, and filters F, which are the channels of the output.
    kernel_size : int or pair of ints
        Height and width of the filters.
    stride, padding : int or pair of ints
        Step between windows, and zeros added on each side.
    rng : numpy.random.Generator
        Draws the initial weights: He normal with ``fan_in = C * KH * KW``. Biases start at 0.
    dtype : float32 or float64
        Of the parameters, and so of the computation.

    Attributes
    ----------
    params : dict
        ``weight`` (F, C, KH, KW) and ``bias`` (F,).

    Raises
    ------
    ValueError, TypeError
        If a size, the stride or the padding is not an integer (or pair) of the right range.
    """

    kind = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        c, f = as_count(in_channels, "Conv2D: in_channels"), as_count(out_channels, "Conv2D: out_channels")
        kernel = as_pair(kernel_size, "Conv2D: kernel_size", 1)
        self.stride, self.padding = as_pair(stride, "Conv2D: stride", 1), as_pair(padding, "Conv2D: padding", 0)
        weight = he_normal((f, c, *kernel), c * kernel[0] * kernel[1], rng, dtype)
        self.params = {"weight": weight, "bias": np.zeros(f, weight.dtype)}

    def _describe(self) -> dict[str, Any]:
        f, c, *kernel = self.params["weight"].shape
        return {"in_channels": c, "out_channels": f, "kernel_size": tuple(kernel)} | super()._describe()

    def hyperparameters(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding}

    @classmethod
    def from_params(  # type: ignore[override]
        cls, params: Mapping[str, npt.ArrayLike], *, stride: Pair = 1, padding: Pair = 0
    ) -> Self:
        layer = cls.__new__(cls)
        layer.params = cls._copy_params(params, {"weight": 4, "bias": 1})
        layer.stride, layer.padding = as_pair(stride, "Conv2D: stride", 1), as_pair(padding, "Conv2D: padding", 0)
        if layer.params["bias"].shape != layer.params["weight"].shape[:1]:
            raise ValueError(
                f"Conv2D: expected a bias for each filter of weight {layer.params['weight'].shape}, "
                f"got shape {layer.params['bias'].shape}"
            )
        return layer

    def output_shape(self, input_shape: Shape) -> Shape:
        return functional.conv_output_shape(input_shape, self.params["weight"].shape, self.stride, self.padding)

    def multiply_adds(self, input_shape: Shape) -> int:
        _, oh, ow = self.output_shape(input_shape)
        return self.params["weight"].size * oh * ow

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, npt.ArrayLike]:
        return functional.conv2d_forward(x, **self.params, stride=self.stride, padding=self.padding, empty=empty), x

    def backward(
        self, dy: npt.ArrayLike, cache: npt.ArrayLike, *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        dx, dweight, dbias = functional.conv2d_backward(
            dy, cache, self.params["weight"], stride=self.stride, padding=self.padding, need_dx=need_dx, empty=empty
        )
        return dx, {"weight": dweight, "bias": dbias}


class Affine(Layer):
    """Affine map ``y = x @ weight + bias`` of examples (N, ...), flattened; see `functional.affine_forward`.

    Parameters
    ----------
    in_features, out_features : int
        Elements D of one example of the input, and M of the output.
    rng : numpy.random.Generator
        Draws the initial weights: He normal with ``fan_in = D``. Biases start at 0.
    dtype : float32 or float64
        Of the parameters, and so of the computation.

    Attributes
    ----------
    params : dict
        ``weight`` (D, M) and ``bias`` (M,).

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of at least 1.
    """

    kind = "affine"

    def __init__(
        self, in_features: int, out_features: int, *, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
    ) -> None:
        d, m = as_count(in_features, "Affine: in_features"), as_count(out_features, "Affine: out_features")
        weight = he_normal((d, m), d, rng, dtype)
        self.params = {"weight": weight, "bias": np.zeros(m, weight.dtype)}

    def _describe(self) -> dict[str, Any]:
        d, m = self.params["weight"].shape
        return {"in_features": d, "out_features": m}

    @classmethod
    def from_params(cls, params: Mapping[str, npt.ArrayLike]) -> Self:  # type: ignore[override]
        layer = cls.__new__(cls)
        layer.params = cls._copy_params(params, {"weight": 2, "bias": 1})
        if layer.params["bias"].shape != layer.params["weight"].shape[1:]:
            raise ValueError(
                f"Affine: expected a bias for each column of weight {layer.params['weight'].shape}, "
                f"got shape {layer.params['bias'].shape}"
            )
        return layer

    def output_shape(self, input_shape: Shape) -> Shape:
        d, m = self.params["weight"].shape
        features = prod(input_shape)
        if features != d:
            sizes = " * ".join(str(size) for size in input_shape)
            raise ValueError(f"Affine: weight expects {d} input features, got {sizes} = {features}")
        return (m,)

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.params["weight"].size

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, npt.ArrayLike]:
        return functional.affine_forward(x, **self.params, empty=empty), x

    def backward(
        self, dy: npt.ArrayLike, cache: npt.ArrayLike, *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        dx, dweight, dbias = functional.affine_backward(dy, cache, self.params["weight"], need_dx=need_dx, empty=empty)
        return dx, {"weight": dweight, "bias": dbias}

    def backward_and_update(
        self,
        dy: npt.ArrayLike,
        cache: npt.ArrayLike,
        *,
        rate: float,
        l2: float,
        need_dx: bool = True,
        empty: Empty = np.empty,
    ) -> tuple[FloatArray | None, dict[str, FloatArray], float]:
        """Return what `backward` does but for the weight, which is updated at once; see `functional.affine_update`.

        Parameters
        ----------
        dy, cache, need_dx
            As for `backward`.
        rate, l2 : float
            Learning rate of vanilla SGD, and strength of the regularisation.

        Returns
        -------
        dx : ndarray, of the shape of the input; None without `need_dx`
        grads : dict of str to ndarray
            Of the bias.
        penalty : float
            ``0.5 * l2 * sum(weight ** 2)``, before the update.
        """
        dx, dbias, penalty = functional.affine_update(
            dy, cache, self.params["weight"], rate=rate, l2=l2, need_dx=need_dx, empty=empty
        )
        return dx, {"bias": dbias}, penalty


class _Pool2D(Layer):
    """What the poolings have in common: windows, and the shape of the output."""

    kind = "pool"

    def __init__(self, kernel_size: Pair, *, stride: Pair | None = None, padding: Pair = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size, self.stride, self.padding = functional.pool_sizes(kernel_size, stride, padding, name)
        functional.check_pool_padding(self.kernel_size, self.padding, name)

    def hyperparameters(self) -> dict[str, Any]:
        return {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}

    def output_shape(self, input_shape: Shape) -> Shape:
        return functional.pool_output_shape(
            input_shape, self.kernel_size, self.stride, self.padding, type(self).__name__
        )


class MaxPool2D(_Pool2D):
    """Largest element of each window of images (N, C, H, W); see `functional.max_pool2d_forward`.

    ``y[n, c, oh, ow] = max over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``.

    Parameters
    ----------
    kernel_size : int or pair of ints
        Height and width of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int or pair of ints
        Minus infinities added on each side, at most half the kernel.

    Raises
    ------
    ValueError, TypeError
        If an argument is not an integer (or pair) of the right range.

    Notes
    -----
    M. Riesenhuber, T. Poggio, "Hierarchical models of object recognition in cortex", 1999.
    """

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, Any]:
        y, argmax = functional.max_pool2d_forward(
            x, self.kernel_size, stride=self.stride, padding=self.padding, empty=empty
        )
        return y, (argmax, np.shape(x))

    def backward(
        self, dy: npt.ArrayLike, cache: Any, *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return functional.max_pool2d_backward(dy, *cache, empty=empty), {}


class AveragePool2D(_Pool2D):
    """Mean of each window of images (N, C, H, W); see `functional.average_pool2d_forward`.

    ``y[n, c, oh, ow] = (1 / count) * sum over i, j of x[n, c, oh * stride + i - padding, ow * stride + j - padding]``.

    Parameters
    ----------
    kernel_size : int or pair of ints
        Height and width of a window.
    stride : int or pair of ints, optional
        Step between windows; the kernel size by default.
    padding : int or pair of ints
        Zeros added on each side, at most half the kernel.
    count_padding : bool
        Whether the padding's zeros count as elements of the mean.

    Raises
    ------
    ValueError, TypeError
        If an argument is not an integer (or pair) of the right range.

    Notes
    -----
    Y. LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990, averages and subsamples.
    """

    def __init__(
        self, kernel_size: Pair, *, stride: Pair | None = None, padding: Pair = 0, count_padding: bool = True
    ) -> None:
        super().__init__(kernel_size, stride=stride, padding=padding)
        self.count_padding = as_flag(count_padding, "AveragePool2D: count_padding")

    def hyperparameters(self) -> dict[str, Any]:
        return super().hyperparameters() | {"count_padding": self.count_padding}

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, Shape]:
        return functional.average_pool2d_forward(x, **self.hyperparameters(), empty=empty), np.shape(x)

    def backward(
        self, dy: npt.ArrayLike, cache: Shape, *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return functional.average_pool2d_backward(dy, cache, **self.hyperparameters(), empty=empty), {}


class FusedConvReLUPool(Layer):
    """A Conv2D of stride 1, a ReLU and a MaxPool2D of 2x2 windows, computed in one pass over memory.

    Equal within rounding to the three layers one after the other. A `Sequential` puts it in their place by itself.

    Parameters
    ----------
    conv : Conv2D
        The first of them; `params` are its own.
    """

    def __init__(self, conv: Conv2D) -> None:
        self.conv = conv
        self.params = conv.params

    @staticmethod
    def fits(conv: Layer, relu: Layer | None = None, pool: Layer | None = None) -> bool:
        """Return whether a layer and those that follow it, if any, can be fused."""
        return (
            type(conv) is Conv2D
            and type(relu) is ReLU
            and type(pool) is MaxPool2D
            and conv.stride == (1, 1)
            and (pool.kernel_size, pool.stride, pool.padding) == ((2, 2), (2, 2), (0, 0))
            and functional.can_fuse(conv.params["weight"])
        )

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, Any]:
        y, codes = functional.conv_relu_pool_forward(x, **self.params, padding=self.conv.padding, empty=empty)
        return y, (codes, x)

    def backward(
        self, dy: npt.ArrayLike, cache: Any, *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        codes, x = cache
        dx, dweight, dbias = functional.conv_relu_pool_backward(
            dy, codes, x, self.params["weight"], padding=self.conv.padding, need_dx=need_dx, empty=empty
        )
        return dx, {"weight": dweight, "bias": dbias}


class ReLU(Layer):
    """Rectified linear unit ``y = max(x, 0)``, for inputs of any shape; see `functional.relu_forward`.

    Notes
    -----
    V. Nair, G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """

    kind = "relu"

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, FloatArray]:
        y = functional.relu_forward(x, empty=empty)
        return y, y

    def backward(
        self, dy: npt.ArrayLike, cache: FloatArray, *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return functional.relu_backward(dy, cache, empty=empty), {}


class Sigmoid(Layer):
    """Logistic sigmoid ``y = 1 / (1 + exp(-x))``, for inputs of any shape; see `functional.sigmoid_forward`.

    Notes
    -----
    D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors", 1986.
    """

    kind = "sigmoid"

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, npt.ArrayLike]:
        return functional.sigmoid_forward(x, empty=empty), x

    def backward(
        self, dy: npt.ArrayLike, cache: npt.ArrayLike, *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return functional.sigmoid_backward(dy, cache, empty=empty), {}


class Dropout(Layer):
    """Inverted dropout of elements, when training only; see `functional.dropout_forward`.

    ``layer.forward(x, rng)``, for training, draws from `rng` which elements become 0; the others become
    ``x / (1 - rate)``. ``layer(x)``, for prediction, is x.

    Parameters
    ----------
    rate : float
        Probability, in [0, 1), with which an element becomes 0.

    Raises
    ------
    ValueError, TypeError
        If `rate` is not a number in [0, 1).

    Notes
    -----
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", 2014.
    """

    kind = "dropout"

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = as_number(rate, "Dropout: rate", at_least=0, below=1)

    def hyperparameters(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def __call__(self, x: npt.ArrayLike, *, empty: Empty = np.empty) -> FloatArray:
        return as_real(x, "Dropout: x")

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None, *, empty: Empty = np.empty
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        if rng is None:
            raise TypeError("Dropout: expected forward(x, rng) with a numpy.random.Generator to draw with, got none")
        return functional.dropout_forward(x, self.rate, rng, empty=empty)

    def backward(
        self, dy: npt.ArrayLike, cache: npt.NDArray[np.bool_], *, need_dx: bool = True, empty: Empty = np.empty
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return functional.dropout_backward(dy, cache, self.rate, empty=empty), {}
