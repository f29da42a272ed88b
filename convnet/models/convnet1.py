"""ConvNet1: the network of the original tutorial, with all its options."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Sequence
from math import prod
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import Padding, Pair, as_count, as_shape
from convnet.layers import LAYERS
from convnet.layers.activations import Activation, ReLU
from convnet.layers.affine import Affine
from convnet.layers.base import Layer
from convnet.layers.convolution import Conv2D
from convnet.layers.dropout import Dropout
from convnet.layers.initializers import Initializer, he_normal
from convnet.layers.losses import Loss, softmax_loss
from convnet.layers.pooling import MaxPool2D, Pool2D
from convnet.layers.stack import chain_shapes, name_layers
from convnet.models.sequential import Sequential

__all__ = ["ConvNet1"]


class ConvNet1(Sequential):
    """Conv - activation - pooling - Affine - activation - dropout - Affine - loss, with L2 regularisation.

    The defaults are the tutorial's: ReLU, max pooling, no dropout, softmax loss.

    Parameters
    ----------
    input_shape : tuple of ints
        (C, H, W) of one image.
    num_filters, kernel_size, stride, padding
        Number and size of the convolution's filters, the step between windows, and the zeros added on each side.
    activation : ReLU, LeakyReLU, Sigmoid, Tanh, GELU, SiLU, or an object of one of them
        Applied after the convolution and after the first Affine layer.
    pooling : MaxPool2D, AveragePool2D, or an object of one of them
        A class is instantiated with `pool_size` and `pool_stride`; an instance keeps its own sizes.
    pool_size, pool_stride
        Window and stride of the pooling. By default `pool_size` is 2, and `pool_stride` equals `pool_size`.
    hidden_size : int
        Outputs of the first Affine layer.
    dropout : Dropout, optional
        Such as ``Dropout(0.5)``: applied before the second Affine layer; none by default.
    num_classes : int
        Outputs of the second Affine layer.
    loss : callable
        A loss of the library, such as ``softmax_loss``, or one of your own, see `Sequential`.
    l2 : float
        Regularisation strength, see `Sequential`.
    seed : int
        Random seed of the initial weights, and of dropout.
    dtype : float32 or float64
        Dtype of the parameters, and so of the computation.
    initializer : callable
        Draws the initial weights, see `Conv2D` and `Affine`: `he_normal`, `he_uniform`, `glorot_normal`,
        `glorot_uniform`, or a function of your own.
    fuse, winograd : bool
        See `Sequential`.

    Raises
    ------
    ValueError, TypeError
        If a size is out of range, sizes do not fit together, or an activation, pooling, dropout, loss or initializer is
        of the wrong type.

    Notes
    -----
    The model is that of V. N. Sichkar, "Neural networks for computer vision in autonomous vehicles and robotics",
    2018, DOI 10.5281/zenodo.1317904, with all its options.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        *,
        num_filters: int = 32,
        kernel_size: Pair = 7,
        stride: Pair = 1,
        padding: Padding = 3,
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
        initializer: Initializer = he_normal,
        fuse: bool = True,
        winograd: bool = True,
    ) -> None:
        input_shape = as_shape(input_shape, "ConvNet1: input_shape (C, H, W)", axes=3)
        if input_shape[2] in (1, 3) and min(input_shape[:2]) > 4:
            h, w, c = input_shape
            raise ValueError(
                f"ConvNet1: expected input_shape (C, H, W), got {input_shape}, whose channels seem to come last: "
                f"({c}, {h}, {w})"
            )
        rng = np.random.default_rng(as_count(seed, "seed", 0))
        if isinstance(pooling, Layer) and (pool_size is not None or pool_stride is not None):
            raise ValueError(f"ConvNet1: expected no pool_size and pool_stride beside the object {pooling!r}")
        if type(dropout) not in (Dropout, NoneType):
            raise TypeError(f"ConvNet1: expected dropout to be None or such as Dropout(0.5), got {dropout!r:.60}")
        pool_options = {"kernel_size": 2 if pool_size is None else pool_size, "stride": pool_stride}
        drawn: dict[str, Any] = {"rng": rng, "dtype": dtype, "initializer": initializer}
        features = [
            Conv2D(input_shape[0], num_filters, kernel_size, stride=stride, padding=padding, **drawn),
            _chosen(activation, Activation, "activation"),
            _chosen(pooling, Pool2D, "pooling", **pool_options),
        ]
        *_, pooled = chain_shapes(name_layers(features), input_shape).values()
        classifier = [
            Affine(prod(pooled), hidden_size, **drawn),
            _chosen(activation, Activation, "activation"),
            *([] if dropout is None else [Dropout(dropout.rate)]),
            Affine(hidden_size, num_classes, **drawn),
        ]
        super().__init__(features + classifier, input_shape, loss=loss, l2=l2, rng=rng, fuse=fuse, winograd=winograd)


def _chosen(choice: type[Layer] | Layer, family: type[Layer], what: str, **options: Any) -> Layer:
    """Return a new layer of a family: a class made with the options, or a copy of an object; else a TypeError."""
    classes = [cls for cls in LAYERS.values() if issubclass(cls, family)]
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
