"""Models: Sequential, a stack of layers with a loss, and ConvNet1."""

from __future__ import annotations  # numpy.random is imported when it is used, not with the package

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite, prod
from types import MappingProxyType, NoneType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.checks import FloatArray, IntArray, Pair, as_count, as_flag, as_number, as_real, as_shape
from convnet.functional import can_update, softmax
from convnet.layers import (
    Affine,
    AveragePool2D,
    Conv2D,
    Dropout,
    FusedConvReLUPool,
    Layer,
    MaxPool2D,
    ReLU,
    Sigmoid,
)
from convnet.losses import softmax_loss
from convnet.threads import in_parts
from convnet.workspace import Empty, Workspace, takes_empty

__all__ = ["ConvNet1", "Sequential"]

Loss = Callable[[FloatArray, npt.ArrayLike], tuple[float, FloatArray]]


class Preparation(Protocol):
    """What a model's `statistics` have to be able to do."""

    def apply(self, images: npt.ArrayLike) -> FloatArray:
        """Return the prepared inputs (N, C, H, W) for images as a data set holds them."""


class Updater(Protocol):
    """What `Sequential.train_step` needs of an optimizer."""

    @property
    def plain_rate(self) -> float | None:
        """The rate, if the update of every parameter is ``param -= rate * grad``."""

    def update(self, params: Mapping[str, FloatArray], grads: Mapping[str, FloatArray]) -> None:
        """Update every parameter in place."""


# Images that are predicted at a time: in parts of 50 each takes a seventh longer, of 100 a thirteenth, of 500 as long.
PREDICTION_BATCH = 200


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
        Handed to the layers' `forward`, for those with randomness, such as Dropout; ``default_rng(0)`` by default.
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
        If a layer is not a `Layer`, the loss does not give a number and a gradient, or `rng` is not a Generator.

    Notes
    -----
    Of L2: A. Krogh, J. A. Hertz, "A simple weight decay can improve generalization", 1992.
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
        self.rng = np.random.default_rng(0) if rng is None else rng
        if not isinstance(self.rng, np.random.Generator):
            raise TypeError(f"{type(self).__name__}: expected rng to be a numpy.random.Generator, got {rng!r:.60}")
        self.fuse = as_flag(fuse, f"{type(self).__name__}: fuse")
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
        _check_loss(loss, self.num_classes, f"{type(self).__name__}: loss")

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

    def summary(self) -> str:
        """Return a table: each layer's output shape, parameters, and multiply-adds for one example."""
        rows: list[tuple[str, ...]] = [("layer", "class", "output shape", "parameters", "multiply-adds")]
        rows.append(("input", "", str(self.input_shape), "0", "0"))
        totals = [0, 0]
        shape = self.input_shape
        for name, layer in self.layers.items():
            counts = [sum(param.size for param in layer.params.values()), layer.multiply_adds(shape)]
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
            shape = self.output_shapes[name]
            rows.append((name, type(layer).__name__, str(shape), *(f"{count:,}" for count in counts)))
        rows.append(("total", "", "", *(f"{total:,}" for total in totals)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(row, "<<<>>", widths, strict=True))
            for row in rows
        )

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
        workspace = Workspace()
        loss, dy, caches = self._forward_training(x, labels, workspace.empty)
        grads: dict[str, FloatArray] = {}
        for name, layer, layer_grads, _ in self._backward(dy, caches, workspace.empty):
            for key, param in layer.params.items():
                full_name = f"{name}.{key}"
                grad = grads[full_name] = _own_gradient(layer_grads.get(key), param, full_name, workspace)
                loss += self._add_l2(key, param, grad)
        return loss, {name: grads[name] for name in self.params}

    def train_step(
        self, x: npt.ArrayLike, labels: npt.ArrayLike, optimizer: Updater, workspace: Workspace | None = None
    ) -> float:
        """Make one update of the parameters: `loss` and then ``optimizer.update``, equal to it within rounding.

        With vanilla SGD the weights of Affine layers are updated while their gradients are computed, which then need
        not be written to memory.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
            N at least 1.
        labels : array_like of int, shape (N,)
            In [0, K).
        optimizer : Optimizer
        workspace : Workspace, optional
            Memory that each step uses again; without one it is allocated anew.

        Returns
        -------
        float
            The loss before the update. Where the loss function's part of it is not finite nothing is updated.

        Raises
        ------
        ValueError, TypeError
            As for `loss`.
        """
        if type(self).loss is not Sequential.loss:  # a subclass with a loss of its own
            loss, grads = self.loss(x, labels)
            if isfinite(loss):
                optimizer.update(self.params, grads)
            return loss
        workspace = Workspace() if workspace is None else workspace
        workspace.rewind()
        loss, dy, caches = self._forward_training(x, labels, workspace.empty)
        if not isfinite(loss):
            return loss
        params, grads = {}, {}
        for name, layer, layer_grads, penalty in self._backward(dy, caches, workspace.empty, optimizer.plain_rate):
            for key, param in layer.params.items():
                if key == "weight" and penalty is not None:
                    loss += penalty
                    continue
                full_name = f"{name}.{key}"
                grad = _own_gradient(layer_grads.get(key), param, full_name, workspace)
                loss += self._add_l2(key, param, grad)
                params[full_name], grads[full_name] = param, grad
        optimizer.update(params, grads)
        return loss

    def _forward_training(
        self, x: npt.ArrayLike, labels: npt.ArrayLike, empty: Empty
    ) -> tuple[float, FloatArray, list[tuple[str, Layer, Any]]]:
        """Return the loss without L2, its gradient with respect to the scores, and what `_backward` needs."""
        y = self._check_input(x)
        caches = []
        for name, layer in self._stages():
            options: dict[str, Any] = {"empty": empty} if takes_empty(layer.forward) else {}
            y, cache = _two(layer.forward(y, self.rng, **options), name, "forward", "(y, cache)")
            caches.append((name, layer, cache))
        loss, dy = self.loss_function(y, labels)
        return loss, dy, caches

    def _backward(
        self, dy: FloatArray, caches: list[tuple[str, Layer, Any]], empty: Empty, rate: float | None = None
    ) -> Iterator[tuple[str, Layer, Mapping[str, npt.ArrayLike], float | None]]:
        """Yield the name, the layer and the gradients of each, last to first, down to the first with parameters.

        With the rate of vanilla SGD the weights of Affine layers are updated instead; the last thing yielded is their
        part of the loss then, and None for the others.
        """
        first_with_params = next((name for name, layer, _ in caches if layer.params), None)
        weights = [id(param) for _, layer, _ in caches for param in layer.params.values()]
        if len(set(weights)) < len(weights):  # shared by layers: none may change before all gradients are computed
            rate = None
        for name, layer, cache in reversed(caches if first_with_params else []):
            # What lies before the first parameters has no use for a gradient.
            need_dx, penalty = name != first_with_params, None
            if rate is not None and type(layer) is Affine and can_update(layer.params["weight"]):
                dx, grads, penalty = layer.backward_and_update(
                    dy, cache, rate=rate, l2=self.l2, need_dx=need_dx, empty=empty
                )
            else:
                options: dict[str, Any] = {"empty": empty} if takes_empty(layer.backward) else {}
                result = layer.backward(dy, cache, need_dx=need_dx, **options)
                dx, grads = _two(result, name, "backward", "(dx, grads)")
            yield name, layer, grads, penalty
            if not need_dx:
                return
            if dx is None:
                raise ValueError(f"{name}: expected backward to return dx, got None")
            dy = dx

    def _add_l2(self, key: str, param: FloatArray, grad: FloatArray) -> float:
        """Add the gradient of the regularisation to that of a weight, and return the weight's part of the loss."""
        if key != "weight" or not self.l2:
            return 0.0
        flat_param, flat_grad = param.reshape(-1), grad.reshape(-1)
        sums: dict[int, float] = {}

        def task(part: slice, _: int) -> None:
            sums[part.start] = _kernels.add_l2(self.l2, flat_param[part], flat_grad[part])

        in_parts(task, param.size, param.size)
        return sum(sums[start] for start in sorted(sums))

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
        rng = copy.deepcopy(self.rng)
        if not np.isfinite(y).all():
            return "the input"
        for name, layer in self.layers.items():
            for key, param in layer.params.items():
                if not np.isfinite(param).all():
                    return f"the parameter {name}.{key}"
            y = layer.forward(y, rng)[0]
            if not np.isfinite(y).all():
                return f"the output of {name}"
        return None

    # ---------------------------------------------------------------------------------------- predicting

    def scores(self, x: npt.ArrayLike, workspace: Workspace | None = None) -> FloatArray:
        """Return the class scores of prepared inputs, computed some images at a time.

        Parameters
        ----------
        x : array_like, shape (N, *input_shape)
        workspace : Workspace, optional
            Memory that each call uses again; without one it is allocated anew.

        Returns
        -------
        ndarray, shape (N, K)
            A fresh array.

        Raises
        ------
        ValueError
            If the shape is wrong.
        TypeError
            If x does not hold real numbers.
        """
        x = self._check_input(x)
        stages = self._stages()
        if workspace is None and len(x) > PREDICTION_BATCH:
            workspace = Workspace()
        empty = np.empty if workspace is None else workspace.empty
        parts = []
        for start in range(0, max(len(x), 1), PREDICTION_BATCH):
            if workspace is not None:
                workspace.rewind()
            y = x[start : start + PREDICTION_BATCH]
            for _, layer in stages:
                y = layer(y, empty=empty) if takes_empty(layer) else layer(y)
            parts.append(y.copy())
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def probabilities(self, x: npt.ArrayLike) -> FloatArray:
        """Return the class probabilities (N, K) of prepared inputs x: the softmax of their scores."""
        return softmax(self.scores(x))

    def predict(self, x: npt.ArrayLike) -> IntArray:
        """Return the label (N,) with the highest score for each prepared input of x (N, *input_shape).

        Raises
        ------
        ValueError
            If the shape is wrong, or a score is NaN: none is the highest then.
        TypeError
            If x does not hold real numbers.
        """
        scores = self.scores(x)
        unknown = np.isnan(scores)
        if unknown.any():
            n = int(unknown.any(axis=1).argmax())
            where = self.first_non_finite(np.asarray(x)[n : n + 1])
            raise ValueError(f"predict: expected scores, got NaN for x[{n}]: {where} is the first that is not finite")
        labels: IntArray = scores.argmax(axis=1)
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

    def _stages(self) -> list[tuple[str, Layer]]:
        """Return what is executed, with names: the layers, but for runs of three that are fused into one."""
        layers = list(self.layers.values())
        stages: list[tuple[str, Layer]] = []
        fused = 0
        for i, (name, layer) in enumerate(self.layers.items()):
            if fused:
                fused -= 1
            elif self.fuse and type(layer) is Conv2D and FusedConvReLUPool.fits(*layers[i : i + 3]):
                stages.append((name, FusedConvReLUPool(layer)))
                fused = 2
            else:
                stages.append((name, layer))
        return stages

    def _check_input(self, x: npt.ArrayLike) -> FloatArray:
        dtype = next((param.dtype for layer in self.layers.values() for param in layer.params.values()), None)
        array = as_real(x, f"{type(self).__name__}: x", dtype)
        if array.shape[1:] != self.input_shape or array.ndim == 0:
            raise ValueError(
                f"{type(self).__name__}: expected x of shape (N, {', '.join(map(str, self.input_shape))}), "
                f"got {array.shape}"
            )
        return array


def _check_loss(loss: Loss, num_classes: int, what: str) -> None:
    """Raise a TypeError unless the loss of a trial, one example with equal scores, is a number and its gradient.

    What the loss itself finds wrong with its arguments, such as a margin below 0, stays the ValueError that it is.
    """
    try:
        value, dscores = loss(np.zeros((1, num_classes)), np.zeros(1, np.intp))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    except Exception as error:
        raise TypeError(
            f"{what}: expected a function such as softmax_loss, got {loss!r:.60}, which raised {error!r:.200}"
        ) from error
    try:
        as_number(value, "loss")
        fits = as_real(dscores, "dscores").shape == (1, num_classes)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise TypeError(
            f"{what}: expected a function like softmax_loss, (scores, labels) -> (loss, dscores), got {loss!r:.60}"
        )


def _own_gradient(gradient: npt.ArrayLike | None, param: FloatArray, name: str, workspace: Workspace) -> FloatArray:
    """Return a layer's gradient, of the parameter's shape and dtype, in the workspace or as a copy."""
    if gradient is None or np.shape(gradient) != param.shape:
        came = "none" if gradient is None else f"shape {np.shape(gradient)}"
        raise ValueError(f"{name}: expected a gradient of the parameter's shape {param.shape}, got {came}")
    array = as_real(gradient, name, param.dtype)
    return array if array is gradient and workspace.owns(array) else array.copy()


def _two(result: Any, name: str, method: str, expected: str) -> tuple[Any, Any]:
    """Return what a layer's method returned, after checking that it is a pair: an array would be unpacked as one."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{name}: expected {method} to return {expected}, got {type(result).__name__}")
    return result


def _name_layers(layers: Sequence[Layer]) -> dict[str, Layer]:
    """Return the layers by kind and running number, in order."""
    if not isinstance(layers, Sequence):
        raise TypeError(f"Sequential: expected a sequence of layers, got {layers!r}")
    if not layers:
        raise ValueError("Sequential: expected at least one layer")
    named: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    seen = set()
    for position, layer in enumerate(layers, 1):
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: expected layer {position} to be a convnet.Layer, got {layer!r}")
        if not hasattr(layer, "params"):
            raise TypeError(
                f"Sequential: layer {position}, {layer!r}, has no params; its __init__ has to call super().__init__()"
            )
        if id(layer) in seen:
            raise ValueError(f"Sequential: layer {position}, {layer!r}, is in the model already; make a second one")
        seen.add(id(layer))
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


ACTIVATIONS = (ReLU, Sigmoid)
POOLINGS = (MaxPool2D, AveragePool2D)


class ConvNet1(Sequential):
    """Conv - activation - pooling - Affine - activation - dropout - Affine - loss, with L2 regularisation.

    The defaults are the tutorial's: ReLU, max pooling, no dropout, softmax loss.

    Parameters
    ----------
    input_shape : tuple of ints
        (C, H, W) of one image.
    num_filters, kernel_size, stride, padding
        Of the convolution.
    activation : ReLU, Sigmoid, or an object of one of them
        Applied after the convolution and after the first Affine layer.
    pooling : MaxPool2D, AveragePool2D, or an object of one of them
        A class is made with `pool_size` and `pool_stride`; an object has its own.
    pool_size, pool_stride
        Of the pooling; 2, and the stride the size, by default.
    hidden_size : int
        Outputs of the first Affine layer.
    dropout : Dropout, optional
        Such as ``Dropout(0.5)``: applied before the second Affine layer; none by default.
    num_classes : int
        Outputs of the second Affine layer.
    loss : callable
        ``softmax_loss``, ``svm_loss``, or one of your own, see `Sequential`.
    l2 : float
        Regularisation strength, see `Sequential`.
    seed : int
        Random seed of the initial weights, which are He normal, and of dropout.
    dtype : float32 or float64
        Of the parameters, and so of the computation.
    fuse : bool
        See `Sequential`.

    Raises
    ------
    ValueError, TypeError
        If a size is out of range, sizes do not fit together, or an activation, pooling, dropout or loss is none.

    Notes
    -----
    The model is that of V. N. Sichkar, "Neural networks for computer vision in autonomous vehicles and robotics",
    2018, DOI 10.5281/zenodo.1317904, with every option of its table.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        *,
        num_filters: int = 32,
        kernel_size: Pair = 7,
        stride: Pair = 1,
        padding: Pair = 3,
        activation: type[Layer] | Layer = ReLU,
        pooling: type[Layer] | Layer = MaxPool2D,
        pool_size: Pair | None = None,
        pool_stride: Pair | None = None,
        hidden_size: int = 500,
        dropout: Dropout | None = None,
        num_classes: int = 10,
        loss: Loss = softmax_loss,
        l2: float = 1e-4,
        seed: int = 0,
        dtype: npt.DTypeLike = np.float32,
        fuse: bool = True,
    ) -> None:
        input_shape = as_shape(input_shape, "ConvNet1: input_shape (C, H, W)", axes=3)
        rng = np.random.default_rng(as_count(seed, "seed", 0))
        if isinstance(pooling, Layer) and (pool_size is not None or pool_stride is not None):
            raise ValueError(f"ConvNet1: expected no pool_size and pool_stride beside the object {pooling!r}")
        if type(dropout) not in (Dropout, NoneType):
            raise TypeError(f"ConvNet1: expected dropout to be None or such as Dropout(0.5), got {dropout!r:.60}")
        pool_options = {"kernel_size": 2 if pool_size is None else pool_size, "stride": pool_stride}
        features = [
            Conv2D(input_shape[0], num_filters, kernel_size, stride=stride, padding=padding, rng=rng, dtype=dtype),
            _chosen(activation, ACTIVATIONS, "activation"),
            _chosen(pooling, POOLINGS, "pooling", **pool_options),
        ]
        *_, pooled = _chain_shapes(_name_layers(features), input_shape).values()
        classifier = [
            Affine(prod(pooled), hidden_size, rng=rng, dtype=dtype),
            _chosen(activation, ACTIVATIONS, "activation"),
            *([] if dropout is None else [Dropout(dropout.rate)]),
            Affine(hidden_size, num_classes, rng=rng, dtype=dtype),
        ]
        super().__init__(features + classifier, input_shape, loss=loss, l2=l2, rng=rng, fuse=fuse)


def _chosen(choice: type[Layer] | Layer, classes: tuple[type[Layer], ...], what: str, **options: Any) -> Layer:
    """Return a new layer: a class made with the options, or a copy of an object; anything else is a TypeError."""
    for cls in classes:
        if choice is cls:
            return cls(**options)
        if type(choice) is cls:
            return cls.from_params({}, **choice.hyperparameters())
    names = " or ".join(cls.__name__ for cls in classes)
    raise TypeError(
        f"ConvNet1: expected {what} to be {names}, the class or an object of it, got {choice!r:.60}; "
        "layers of your own go into a Sequential"
    )
