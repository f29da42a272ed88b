"""Models: Sequential, a stack of layers with a loss, and ConvNet1."""

from __future__ import annotations  # numpy.random is imported when it is used, not with the package

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.functional import FloatArray, IntArray, Pair, as_count, as_number, as_real, as_shape, softmax
from convnet.layers import Affine, Conv2D, FusedConvReLUPool, Layer, MaxPool2D, ReLU
from convnet.losses import softmax_loss

__all__ = ["ConvNet1", "Sequential"]

Loss = Callable[[FloatArray, npt.ArrayLike], tuple[float, FloatArray]]


class Preparation(Protocol):
    """What a model's `statistics` have to be able to do."""

    def apply(self, images: npt.ArrayLike) -> FloatArray:
        """Return the prepared inputs (N, C, H, W) for images as a data set holds them."""


# Images that are predicted at a time: the 12 MiB of activations that ConvNet1 makes for them stay in a server's
# cache. 32 to 256 measured alike; 1,000 took 1.4 times as long, and 100 MiB.
PREDICTION_BATCH = 100


class Sequential:
    """A stack of layers with a loss and L2 regularisation.

    Parameters
    ----------
    layers : sequence of Layer
        Applied first to last. Parameters are named by kind of layer and running number: ``conv1.weight``,
        ``affine2.bias``.
    input_shape : tuple of ints
        Shape of one example: (C, H, W) for images.
    loss : callable
        ``loss(scores, labels) -> (loss, dscores)``.
    l2 : float
        Regularisation strength: the loss includes ``0.5 * l2 * sum(weight ** 2)`` over weights, not biases.
    rng : numpy.random.Generator, optional
        Handed to the layers' `forward`, for those with randomness.
    fuse : bool
        Whether a convolution, a ReLU and a max pooling in a row may be computed in one pass, where they have the sizes
        for it; the results are equal within rounding.

    Attributes
    ----------
    layers : dict of str to Layer
        Read-only, in order.
    params : mapping of str to ndarray
        Read-only, in order; its arrays are the layers' own.
    input_shape, output_shapes
        Shape of one example, and that of each layer's output by the layer's name.
    num_classes : int
        Length K of the last layer's output.
    statistics : Statistics or None
        Preprocessing that `predict_images` applies; saved with the model.
    class_names : sequence of str or None
        Names of the K classes; saved with the model.

    Raises
    ------
    ValueError
        If there are no layers, one occurs twice, shapes do not fit together (the message names the layer and shows
        the arithmetic), the last output is not a vector of scores, or the parameters differ in dtype.
    TypeError
        If a layer is not a `Layer`.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Sequence[int],
        *,
        loss: Loss = softmax_loss,
        l2: float = 0.0,
        rng: np.random.Generator | None = None,
        fuse: bool = True,
    ) -> None:
        self.layers = MappingProxyType(_name_layers(layers))
        self.input_shape = as_shape(input_shape, "input_shape")
        self.output_shapes = _chain_shapes(self.layers, self.input_shape)
        self.loss_function = loss
        self.l2 = as_number(l2, "l2", at_least=0)
        self.rng = rng
        self.fuse = bool(fuse)
        self.statistics: Preparation | None = None
        self.class_names: Sequence[str] | None = None
        dtypes = {param.dtype for param in self.params.values()}
        if len(dtypes) > 1:
            raise ValueError(
                f"{type(self).__name__}: expected parameters of one dtype, got {sorted(str(d) for d in dtypes)}"
            )
        *_, last = self.output_shapes.values()
        if len(last) != 1:
            raise ValueError(
                f"{type(self).__name__}: expected the last layer to give a score for each class, got shape {last}"
            )
        self.num_classes = last[0]

    @classmethod
    def from_layers(cls, layers: Sequence[Layer], input_shape: Sequence[int], **options: Any) -> Self:
        """Return a model of this class from its layers, whatever arguments its own constructor takes.

        Parameters
        ----------
        layers, input_shape, **options
            As for `Sequential`.
        """
        model = cls.__new__(cls)
        Sequential.__init__(model, layers, input_shape, **options)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"layers": dict(self.layers)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, layers=MappingProxyType(state["layers"]))

    def __repr__(self) -> str:
        lines = [f"  {name}: {layer!r} -> {self.output_shapes[name]}" for name, layer in self.layers.items()]
        return "\n".join([f"{type(self).__name__}, input {self.input_shape}, l2 {self.l2:g}", *lines])

    @property
    def params(self) -> Mapping[str, FloatArray]:
        """Parameters by name, in order; update the arrays in place."""
        return MappingProxyType(
            {f"{name}.{key}": array for name, layer in self.layers.items() for key, array in layer.params.items()}
        )

    def load_params(self, params: Mapping[str, npt.ArrayLike]) -> None:
        """Copy the given values into the parameters.

        Parameters
        ----------
        params : mapping of str to array_like
            The names and shapes of `params`.

        Raises
        ------
        ValueError
            If names or shapes differ; nothing is changed then.
        """
        own = self.params
        if own.keys() != params.keys():
            raise ValueError(f"expected the parameters {list(own)}, got {list(params)}")
        new = {name: as_real(params[name], name, own[name].dtype) for name in own}
        for name, array in new.items():
            if array.shape != own[name].shape:
                raise ValueError(f"{name}: expected shape {own[name].shape}, got {array.shape}")
        for name, array in new.items():
            own[name][...] = array

    # ------------------------------------------------------------------------------------------ training

    def loss(self, x: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, dict[str, FloatArray]]:
        """Return the loss of a minibatch and its gradients.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
            N at least 1.
        labels : array_like of int, shape (N,)
            In [0, K).

        Returns
        -------
        loss : float
            The loss function's value plus ``0.5 * l2 * sum(weight ** 2)``.
        grads : dict of str to ndarray
            Gradients by the names of `params`, fresh arrays.

        Raises
        ------
        ValueError
            If a shape is wrong, N is 0, or a label lies outside [0, K).
        TypeError
            If x does not hold real numbers or `labels` integers.
        """
        y = self._check_input(x)
        stages = self._stages()
        caches = []
        for _, layer in stages:
            y, cache = layer.forward(y, self.rng)
            caches.append(cache)
        loss, dy = self.loss_function(y, labels)

        first_with_params = next((name for name, layer in stages if layer.params), None)
        grads: dict[str, FloatArray] = {}
        for name, layer in reversed(stages if first_with_params else []):
            # What lies before the first parameters has no use for a gradient.
            first = name == first_with_params
            dx, layer_grads = layer.backward(dy, caches.pop(), need_dx=not first)
            for key, param in layer.params.items():
                full_name = f"{name}.{key}"
                grad = grads[full_name] = _own_gradient(layer_grads.get(key), param, full_name)
                if key == "weight" and self.l2:
                    loss += _kernels.add_l2(self.l2, param.reshape(-1), grad.reshape(-1))
            if first:
                break
            if dx is None:
                raise ValueError(f"{name}: expected backward to return dx, got None")
            dy = dx
        return loss, {name: grads[name] for name in self.params}

    def first_non_finite(self, x: npt.ArrayLike) -> str | None:
        """Run x through the layers and say where the first number that is not finite appears.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)

        Returns
        -------
        str or None
            Such as ``"the output of conv1"`` or ``"the parameter affine2.weight"``; None if all is finite.
        """
        y = self._check_input(x)
        if not np.isfinite(y).all():
            return "the input"
        for name, layer in self.layers.items():
            for key, param in layer.params.items():
                if not np.isfinite(param).all():
                    return f"the parameter {name}.{key}"
            y = layer.forward(y, self.rng)[0]
            if not np.isfinite(y).all():
                return f"the output of {name}"
        return None

    # ---------------------------------------------------------------------------------------- predicting

    def scores(self, x: npt.ArrayLike) -> FloatArray:
        """Return the class scores (N, K) of prepared inputs x (N, *input_shape), computed some images at a time."""
        x = self._check_input(x)
        starts = range(0, len(x), PREDICTION_BATCH) or [0]
        return np.concatenate([self._forward(x[start : start + PREDICTION_BATCH]) for start in starts])

    def probabilities(self, x: npt.ArrayLike) -> FloatArray:
        """Return the class probabilities (N, K) of prepared inputs x: the softmax of their scores."""
        return softmax(self.scores(x))

    def predict(self, x: npt.ArrayLike) -> IntArray:
        """Return the label (N,) with the highest score for each prepared input of x (N, *input_shape)."""
        labels: IntArray = self.scores(x).argmax(axis=1)
        return labels

    def predict_images(self, images: npt.ArrayLike) -> IntArray:
        """Return the label of each image as a data set holds it, preparing it with `statistics` first.

        Parameters
        ----------
        images : array_like of uint8, shape (N, H, W) or (N, H, W, C)

        Returns
        -------
        ndarray of int, shape (N,)

        Raises
        ------
        ValueError
            If the model has no statistics, or the images' shape is not the model's.
        TypeError
            If the images are not uint8.
        """
        if self.statistics is None:
            raise ValueError("predict_images: the model has no statistics; set model.statistics to preprocess's")
        return self.predict(self.statistics.apply(images))

    def _forward(self, x: FloatArray) -> FloatArray:
        for _, layer in self._stages():
            x = layer(x)
        return x

    def _stages(self) -> list[tuple[str, Layer]]:
        """Return what is executed, with names: the layers, but for runs of three that are fused into one."""
        names = list(self.layers)
        stages: list[tuple[str, Layer]] = []
        while names:
            run = [self.layers[name] for name in names[:3]]
            if self.fuse and FusedConvReLUPool.fits(run):
                stages.append((names[0], FusedConvReLUPool(cast(Conv2D, run[0]))))
                del names[:3]
            else:
                stages.append((names.pop(0), run[0]))
        return stages

    def _check_input(self, x: npt.ArrayLike) -> FloatArray:
        params = self.params
        dtype = next(iter(params.values())).dtype if params else None
        array = as_real(x, f"{type(self).__name__}: x", dtype)
        if array.shape[1:] != self.input_shape or array.ndim == 0:
            raise ValueError(
                f"{type(self).__name__}: expected x of shape (N, {', '.join(map(str, self.input_shape))}), "
                f"got {array.shape}"
            )
        return array


def _own_gradient(gradient: npt.ArrayLike | None, param: FloatArray, name: str) -> FloatArray:
    """Return a layer's gradient as a fresh array like the parameter, after checking its shape."""
    if gradient is None or np.shape(gradient) != param.shape:
        came = "none" if gradient is None else f"shape {np.shape(gradient)}"
        raise ValueError(f"{name}: expected a gradient of the parameter's shape {param.shape}, got {came}")
    array = as_real(gradient, name, param.dtype)
    # The library's layers return arrays that nobody else holds; one that is a view may be somebody's.
    return array if array is gradient and array.base is None else array.copy()


def _name_layers(layers: Sequence[Layer]) -> dict[str, Layer]:
    """Return the layers by kind and running number, in order."""
    if not isinstance(layers, Sequence):
        raise TypeError(f"Sequential: expected a sequence of layers, got {layers!r}")
    if not layers:
        raise ValueError("Sequential: expected at least one layer")
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for position, layer in enumerate(layers, 1):
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: expected layer {position} to be a convnet.Layer, got {layer!r}")
        if any(layer is other for other in named.values()):
            raise ValueError(f"Sequential: layer {position}, {layer!r}, is in the model already; make a second one")
        counts[layer.kind] = counts.get(layer.kind, 0) + 1
        named[f"{layer.kind}{counts[layer.kind]}"] = layer
    return named


def _chain_shapes(layers: Mapping[str, Layer], input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's output for one example; an impossible one is an error that names the layer."""
    shapes = {}
    shape = input_shape
    for name, layer in layers.items():
        try:
            shapes[name] = layer.output_shape(shape)
        except ValueError as error:
            raise ValueError(f"layer {name}, given one example of shape {shape}: {error}") from None
        shape = shapes[name]
    return shapes


class ConvNet1(Sequential):
    """Conv - ReLU - max pooling - Affine - ReLU - Affine - softmax loss, with L2 regularisation.

    Parameters
    ----------
    input_shape : tuple of ints
        (C, H, W) of one image.
    num_filters, kernel_size, stride, padding
        Of the convolution.
    pool_size, pool_stride
        Of the max pooling; the stride is the size by default.
    hidden_size : int
        Outputs of the first Affine layer.
    num_classes : int
        Outputs of the second.
    l2 : float
        Regularisation strength, see `Sequential`.
    seed : int
        Random seed of the initial weights, which are He normal.
    dtype : float32 or float64
        Of the parameters, and so of the computation.
    fuse : bool
        See `Sequential`.

    Raises
    ------
    ValueError, TypeError
        If a size is out of range or sizes do not fit together.

    Notes
    -----
    The model is that of V. N. Sichkar, "Neural networks for computer vision in autonomous vehicles and robotics",
    2018, DOI 10.5281/zenodo.1317904.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        *,
        num_filters: int = 32,
        kernel_size: Pair = 7,
        stride: Pair = 1,
        padding: Pair = 3,
        pool_size: Pair = 2,
        pool_stride: Pair | None = None,
        hidden_size: int = 500,
        num_classes: int = 10,
        l2: float = 1e-4,
        seed: int = 0,
        dtype: npt.DTypeLike = np.float32,
        fuse: bool = True,
    ) -> None:
        input_shape = as_shape(input_shape, "ConvNet1: input_shape (C, H, W)", axes=3)
        rng = np.random.default_rng(as_count(seed, "seed", 0))
        features = [
            Conv2D(input_shape[0], num_filters, kernel_size, stride=stride, padding=padding, rng=rng, dtype=dtype),
            ReLU(),
            MaxPool2D(pool_size, stride=pool_stride),
        ]
        *_, pooled = _chain_shapes(_name_layers(features), input_shape).values()
        classifier = [
            Affine(int(np.prod(pooled)), hidden_size, rng=rng, dtype=dtype),
            ReLU(),
            Affine(hidden_size, num_classes, rng=rng, dtype=dtype),
        ]
        super().__init__(features + classifier, input_shape, l2=l2, rng=rng, fuse=fuse)
