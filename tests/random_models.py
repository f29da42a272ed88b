"""Random models of all layers, for tests of what models are written as."""

import numpy as np

from convnet import (
    GELU,
    Affine,
    AveragePool2D,
    BatchNorm2D,
    Conv2D,
    Dropout,
    GlobalAveragePool,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Statistics,
    Tanh,
)


def activation(rng):
    make = [ReLU, LeakyReLU, Sigmoid, Tanh, GELU, SiLU, lambda: GELU(approximate=True), lambda: LeakyReLU(0.3)]
    return make[rng.integers(len(make))]()


def normalization(rng, channels):
    layer = BatchNorm2D(channels, epsilon=float(rng.choice([1e-5, 1e-3])))
    layer.params["weight"][...] = rng.uniform(0.5, 1.5, channels)
    layer.params["bias"][...] = rng.normal(size=channels)
    layer.state["running_mean"][...] = rng.normal(size=channels)
    layer.state["running_variance"][...] = rng.uniform(0.5, 2, channels)
    return layer


def convolution(rng, channels, filters, **options):
    layer = Conv2D(channels, filters, tuple(rng.integers(1, 4, 2).tolist()), padding=1, rng=rng, **options)
    if "bias" in layer.params:
        layer.params["bias"][...] = rng.normal(size=filters)
    return layer


def residual(rng, channels):
    def same():
        return Conv2D(channels, channels, 3, padding=1, bias=False, rng=rng)

    layers = [same(), normalization(rng, channels), activation(rng), same()]
    if rng.random() < 0.3:
        layers.insert(2, Residual([same(), activation(rng)]))
    shortcut = [Conv2D(channels, channels, 1, rng=rng), normalization(rng, channels)]
    return Residual(layers, shortcut if rng.random() < 0.5 else None)


def middle(rng, channels):
    """Return one or two layers for images of so many channels, and how many they give."""
    kind = rng.integers(6)
    pool = (MaxPool2D, AveragePool2D)[rng.integers(2)]
    if kind == 0:
        filters = int(rng.integers(1, 7))
        return [convolution(rng, channels, filters, bias=bool(rng.integers(2))), activation(rng)], filters
    if kind == 1:
        groups = channels if rng.random() < 0.5 else 1
        filters = 2 * channels
        options = {"groups": groups, "stride": int(rng.integers(1, 3)), "dilation": int(rng.integers(1, 3))}
        return [convolution(rng, channels, filters, **options)], filters
    if kind == 2:
        return [normalization(rng, channels), activation(rng)], channels
    if kind == 3:
        options = {"stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, 2))}
        if pool is AveragePool2D:
            options["count_padding"] = bool(rng.integers(2))
        return [pool(int(rng.integers(2, 4)), **options)], channels
    if kind == 4:
        return [Dropout(0.3)], channels
    return [residual(rng, channels), activation(rng)], channels


def random_model(seed, statistics=None):
    """Return a model of up to eight stages; with statistics of images or without, or either if it is None."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(9, 17)), int(rng.integers(9, 17)))
    layers, channels = [], shape[0]
    size = shape
    for _ in range(rng.integers(1, 9)):
        more, after = middle(rng, channels)
        try:
            given = size
            for layer in more:
                given = layer.output_shape(given)
        except ValueError:  # the images are too small
            continue
        layers, channels, size = layers + more, after, given
    if rng.random() < 0.4:
        layers.append(GlobalAveragePool())
        size = size[:1]
    hidden, classes = int(rng.integers(2, 9)), int(rng.integers(2, 6))
    layers += [Affine(int(np.prod(size)), hidden, rng=rng), activation(rng)]
    if rng.random() < 0.3:
        layers.append(normalization(rng, hidden))
    model = Sequential([*layers, Affine(hidden, classes, rng=rng)], shape)
    if rng.random() < 0.5 if statistics is None else statistics:
        model.statistics = Statistics(
            shape,
            bool(rng.integers(2)),
            rng.uniform(0, 1, shape).astype(np.float32) if rng.random() < 0.7 else None,
            rng.uniform(0.2, 1, shape if rng.random() < 0.5 else ()).astype(np.float32) if rng.random() < 0.7 else None,
        )
    return model


def inputs_for(model, count, seed=0):
    """Return raw images, or prepared inputs for a model without statistics."""
    rng = np.random.default_rng(seed)
    if model.statistics is not None:
        return rng.integers(0, 256, (count, *model.input_shape), dtype=np.uint8)
    return rng.normal(size=(count, *model.input_shape)).astype(np.float32)
