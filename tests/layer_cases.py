"""One row for every layer of the library, in every variant worth testing.

The rows drive the tests of the contract, of the comparison with the plain loops, of gradients, layouts, pickles, model
files, stages and the page. A new layer needs a row here, and no other test of its own for any of these.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from convnet import (
    GELU,
    Affine,
    AveragePool2D,
    BatchNorm2D,
    Conv2D,
    Dropout,
    GlobalAveragePool,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
    naive,
)

IMAGE = (3, 7, 5)


class Case(NamedTuple):
    """A layer in one variant.

    Attributes
    ----------
    name : str
        Of the test.
    make : callable
        ``make(dtype) -> layer``; the same layer each time.
    input_shape : tuple of ints
        Of one example.
    forward : callable
        ``forward(layer, x, rng) -> (y, cache)`` by the plain loops, as for training.
    backward : callable
        ``backward(layer, dy, cache) -> (dx, grads)`` by the plain loops.
    predict : callable, optional
        ``predict(layer, x) -> y``, where prediction differs from training.
    """

    name: str
    make: Callable[[Any], Layer]
    input_shape: tuple[int, ...]
    forward: Callable[[Any, Any, Any], tuple[Any, Any]]
    backward: Callable[[Any, Any, Any], tuple[Any, dict[str, Any]]]
    predict: Callable[[Any, Any], Any] | None = None


def by_name(grads):
    """Return what the loops of a layer with weight and bias give: dx, and the gradients by name."""
    dx, dweight, dbias = grads
    return dx, {"weight": dweight, "bias": dbias}


def with_bias(layer):
    """Return the layer with a bias, which is 0 in a new one."""
    layer.params["bias"][...] = np.random.default_rng(2).standard_normal(layer.params["bias"].shape)
    return layer


def convolution(name, input_shape, filters, kernel_size, **options):
    def make(dtype):
        rng = np.random.default_rng(1)
        layer = Conv2D(input_shape[0], filters, kernel_size, rng=rng, dtype=dtype, **options)
        return with_bias(layer) if "bias" in layer.params else layer

    def sizes(layer):
        return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}

    def backward(layer, dy, x):
        dx, grads = by_name(naive.conv2d_backward(dy, x, layer.params["weight"], **sizes(layer)))
        return dx, {name: grads[name] for name in layer.params}

    return Case(
        name,
        make,
        input_shape,
        lambda layer, x, rng: (naive.conv2d_forward(x, **layer.params, **sizes(layer)), x),
        backward,
    )


def affine(name, input_shape, outputs):
    def make(dtype):
        return with_bias(Affine(int(np.prod(input_shape)), outputs, rng=np.random.default_rng(1), dtype=dtype))

    return Case(
        name,
        make,
        input_shape,
        lambda layer, x, rng: (naive.affine_forward(x, **layer.params), x),
        lambda layer, dy, x: by_name(naive.affine_backward(dy, x, layer.params["weight"])),
    )


def max_pooling(name, input_shape, kernel_size, **options):
    def forward(layer, x, rng):
        y, argmax = naive.max_pool2d_forward(x, **layer.hyperparameters())
        return y, (argmax, x.shape)

    return Case(
        name,
        lambda dtype: MaxPool2D(kernel_size, **options),
        input_shape,
        forward,
        lambda layer, dy, cache: (naive.max_pool2d_backward(dy, *cache), {}),
    )


def average_pooling(name, input_shape, kernel_size, **options):
    return Case(
        name,
        lambda dtype: AveragePool2D(kernel_size, **options),
        input_shape,
        lambda layer, x, rng: (naive.average_pool2d_forward(x, **layer.hyperparameters()), x.shape),
        lambda layer, dy, shape: (naive.average_pool2d_backward(dy, shape, **layer.hyperparameters()), {}),
    )


def global_pooling(name, input_shape):
    return Case(
        name,
        lambda dtype: GlobalAveragePool(),
        input_shape,
        lambda layer, x, rng: (naive.global_average_pool_forward(x), x.shape),
        lambda layer, dy, shape: (naive.global_average_pool_backward(dy, shape), {}),
    )


def activation(name, layer_class, forward, backward, input_shape=IMAGE, **options):
    """Return the row of an activation function, whose loops compute both from the input x."""
    return Case(
        name,
        lambda dtype: layer_class(**options),
        input_shape,
        lambda layer, x, rng: (forward(x, **layer.hyperparameters()), x),
        lambda layer, dy, x: (backward(dy, x, **layer.hyperparameters()), {}),
    )


def dropout(name, input_shape, rate):
    return Case(
        name,
        lambda dtype: Dropout(rate),
        input_shape,
        lambda layer, x, rng: naive.dropout_forward(x, layer.rate, rng),
        lambda layer, dy, kept: (naive.dropout_backward(dy, kept, layer.rate), {}),
        lambda layer, x: x,
    )


def batch_norm(name, input_shape, **options):
    """Return the row of a batch normalization with weights, biases and running statistics of its own."""

    def make(dtype):
        layer, rng = BatchNorm2D(input_shape[0], dtype=dtype, **options), np.random.default_rng(2)
        layer.params["weight"][...] = rng.uniform(0.5, 2, input_shape[0])
        return with_bias(layer)

    def forward(layer, x, rng):
        y, mean, variance = naive.batch_norm2d_forward(x, **layer.params, epsilon=layer.epsilon)
        return y, (x, mean, variance)

    def backward(layer, dy, cache):
        return by_name(
            naive.batch_norm2d_backward(dy, cache[0], layer.params["weight"], *cache[1:], epsilon=layer.epsilon)
        )

    def predict(layer, x):
        mean, variance = layer.state["running_mean"], layer.state["running_variance"]
        return naive.batch_norm2d_forward(x, **layer.params, mean=mean, variance=variance, epsilon=layer.epsilon)[0]

    return Case(name, make, input_shape, forward, backward, predict)


def residual(name, rows, shortcut=()):
    """Return the row of a residual connection of the layers of other rows, whose loops it is made of."""
    cases = {"layers": rows} | ({"shortcut": shortcut} if shortcut else {})

    def make(dtype):
        made = {branch: [case.make(dtype) for case in row] for branch, row in cases.items()}
        return Residual(made["layers"], made.get("shortcut"))

    def through(layer, x, step):
        """Return x, or what the shortcut makes of it, plus what the layers make of it."""
        total = 0 if shortcut else x
        for branch, row in cases.items():
            y = x
            for case, inner in zip(row, layer.branches[branch].values(), strict=True):
                y = step(branch, case, inner, y)
            total = total + y
        return total

    def forward(layer, x, rng):
        caches = {branch: [] for branch in cases}

        def step(branch, case, inner, x):
            y, cache = case.forward(inner, x, rng)
            caches[branch].append(cache)
            return y

        return through(layer, x, step), caches

    def predict(layer, x):
        return through(layer, x, lambda _, case, inner, x: (case.predict or outputs_of(case))(inner, x))

    def backward(layer, dy, caches):
        total, grads = (0 if shortcut else dy), {}
        for branch, row in cases.items():
            dx = dy
            inner = list(layer.branches[branch].items())
            for position in reversed(range(len(row))):
                key, part = inner[position]
                dx, own = row[position].backward(part, dx, caches[branch][position])
                grads |= {f"{branch}.{key}.{name}": grad for name, grad in own.items()}
            total = total + dx
        return total, grads

    return Case(name, make, rows[0].input_shape, forward, backward, predict)


def outputs_of(case):
    return lambda layer, x: case.forward(layer, x, generator())[0]


CASES = [
    convolution("conv", IMAGE, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
    convolution("conv of the same size", IMAGE, 5, 3, padding=1),
    convolution("conv 1x1", IMAGE, 2, 1),
    convolution("conv without bias", (5, 6, 7), 9, 3, padding=1, bias=False),
    convolution("conv of the image's size", IMAGE, 3, (7, 5)),
    convolution("conv of many channels", (17, 6, 9), 18, 3, padding=(0, 2)),
    convolution("conv of groups", (6, 7, 5), 9, 3, padding=1, groups=3),
    convolution(
        "conv of groups, dilated", (8, 9, 8), 8, (2, 3), stride=(2, 3), padding=(1, 2), dilation=(3, 2), groups=2
    ),
    convolution("depthwise conv", (9, 7, 5), 9, 3, stride=2, padding=1, groups=9, bias=False),
    convolution("depthwise conv of two filters a channel", (9, 7, 5), 18, 3, stride=2, padding=1, groups=9),
    convolution("dilated conv", (8, 9, 8), 9, 3, padding=2, dilation=2),
    convolution("conv of other sides", IMAGE, 4, (3, 2), stride=(2, 1), padding=((0, 1), (1, 0))),
    convolution("conv of other sides and many channels", (17, 6, 9), 18, 3, padding=((2, 0), (0, 1))),
    convolution(
        "conv of other sides and groups, dilated",
        (8, 9, 8),
        8,
        (2, 3),
        stride=(2, 3),
        padding=((0, 2), (1, 0)),
        dilation=(3, 2),
        groups=2,
    ),
    convolution("depthwise conv of other sides", (9, 7, 5), 9, 3, stride=2, padding=((0, 1), (0, 2)), groups=9),
    convolution("dilated conv of other sides", (8, 9, 8), 9, 3, padding=((3, 1), (0, 4)), dilation=2),
    affine("affine", IMAGE, 4),
    affine("affine of vectors", (13,), 33),
    affine("affine of one number", (1,), 1),
    max_pooling("max pool", IMAGE, (2, 3), stride=2, padding=(1, 0)),
    max_pooling("max pool 2x2", IMAGE, 2),
    max_pooling("max pool of overlapping windows", IMAGE, 3, stride=1, padding=1),
    max_pooling("max pool of other sides", IMAGE, 3, stride=2, padding=((0, 1), (2, 1))),
    max_pooling("max pool, rounded up", IMAGE, 2, ceil_mode=True),
    max_pooling(
        "max pool of other sides, rounded up", IMAGE, (2, 4), stride=3, padding=((1, 0), (3, 2)), ceil_mode=True
    ),
    average_pooling("average pool", IMAGE, (2, 3), stride=2, padding=(1, 0)),
    average_pooling("average pool, padding not counted", IMAGE, 3, stride=1, padding=1, count_padding=False),
    average_pooling("average pool of other sides", IMAGE, 3, stride=2, padding=((0, 1), (2, 1))),
    average_pooling("average pool, rounded up", IMAGE, 2, ceil_mode=True),
    average_pooling("average pool, padded, rounded up", IMAGE, (2, 3), stride=(3, 2), padding=(1, 2), ceil_mode=True),
    average_pooling(
        "average pool of other sides, rounded up, padding not counted",
        IMAGE,
        (2, 4),
        stride=3,
        padding=((1, 0), (3, 2)),
        ceil_mode=True,
        count_padding=False,
    ),
    global_pooling("global average pool", IMAGE),
    global_pooling("global average pool of many channels", (33, 2, 6)),
    global_pooling("global average pool of one pixel", (2, 1, 1)),
    activation("relu", ReLU, naive.relu_forward, naive.relu_backward),
    activation("relu of vectors", ReLU, naive.relu_forward, naive.relu_backward, (13,)),
    activation("leaky relu", LeakyReLU, naive.leaky_relu_forward, naive.leaky_relu_backward),
    activation("leaky relu of slope 0", LeakyReLU, naive.leaky_relu_forward, naive.leaky_relu_backward, slope=0),
    activation("leaky relu of slope -1.5", LeakyReLU, naive.leaky_relu_forward, naive.leaky_relu_backward, slope=-1.5),
    activation("sigmoid", Sigmoid, naive.sigmoid_forward, naive.sigmoid_backward),
    activation("tanh", Tanh, naive.tanh_forward, naive.tanh_backward),
    activation("tanh of vectors", Tanh, naive.tanh_forward, naive.tanh_backward, (13,)),
    activation("gelu", GELU, naive.gelu_forward, naive.gelu_backward),
    activation("gelu of vectors", GELU, naive.gelu_forward, naive.gelu_backward, (13,)),
    activation("approximate gelu", GELU, naive.gelu_forward, naive.gelu_backward, approximate=True),
    activation("silu", SiLU, naive.silu_forward, naive.silu_backward),
    activation("silu of vectors", SiLU, naive.silu_forward, naive.silu_backward, (13,)),
    dropout("dropout", IMAGE, 0.4),
    dropout("dropout of nothing", (13,), 0),
    batch_norm("batch norm", IMAGE),
    batch_norm("batch norm of vectors", (13,), epsilon=0.1, decay=0.5),
    batch_norm("batch norm of many channels", (33, 5, 4)),
    residual("residual", [convolution("", IMAGE, 3, 3, padding=1, bias=False), batch_norm("", IMAGE)]),
    residual(
        "residual with a shortcut",
        [
            convolution("", (9, 7, 5), 10, 3, stride=2, padding=1, bias=False),
            batch_norm("", (10, 4, 3)),
            activation("", Tanh, naive.tanh_forward, naive.tanh_backward, (10, 4, 3)),
        ],
        [convolution("", (9, 7, 5), 10, 1, stride=2, bias=False), batch_norm("", (10, 4, 3))],
    ),
    residual("residual of vectors", [affine("", (13,), 13), dropout("", (13,), 0.4)]),
    residual(
        "residual within a residual",
        [
            convolution("", (8, 6, 5), 8, 3, padding=1),
            residual("", [batch_norm("", (8, 6, 5)), convolution("", (8, 6, 5), 8, 1)]),
        ],
    ),
]
ROWS = [pytest.param(case, id=case.name) for case in CASES]


def forward(layer, x):
    """Return the layer's forward pass with the same random numbers each time."""
    return layer.forward(x, generator())


def generator():
    return np.random.default_rng(5)


def tie_free(rng, shape, dtype=np.float64):
    """Return distinct numbers, none near 0: a small step changes no maximum and passes no kink of an activation."""
    count = int(np.prod(shape))
    return ((rng.permutation(count) - count // 2 + 0.5) / 10).reshape(shape).astype(dtype)


def model_of(case, dtype):
    """Return a model of the layer with what is needed behind it to get the scores of four classes."""
    layer = case.make(dtype)
    features = int(np.prod(layer.output_shape(case.input_shape)))
    last = with_bias(Affine(features, 4, rng=np.random.default_rng(3), dtype=dtype))
    return Sequential([layer, last], case.input_shape, l2=0.01, rng=generator())
