"""The layers of a network for images or features of a given size, for those who do not choose their own."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_count, as_shape
from convnet.layers.activations import ReLU
from convnet.layers.affine import Affine
from convnet.layers.base import Layer
from convnet.layers.convolution import Conv2D
from convnet.layers.dropout import Dropout
from convnet.layers.normalization import BatchNorm2D
from convnet.layers.pooling import MaxPool2D

__all__ = ["default_layers", "small_layers"]

# Filters of each convolution.
FILTERS = 64
# Maps are halved so often, and further as long as their shorter side is longer than this; never below the other.
STAGES, LARGE_SIDE, LEAST_SIDE = 3, 8, 2
HIDDEN = 128
DROPOUT = 0.5


def default_layers(
    input_shape: Sequence[int], num_classes: int, rng: np.random.Generator, *, dtype: npt.DTypeLike = np.float32
) -> list[Layer]:
    """Return the layers of a network that suits the size of its inputs.

    For images: stages of a 3x3 convolution of 64 filters, a batch normalization, a ReLU and a 2x2 max pooling; then an
    Affine layer of 128 units with a batch normalization and a ReLU, a dropout of 0.5, and an Affine layer for the
    scores. There are three stages, or fewer where the maps would become less than 2 pixels high or wide, or more until
    they are at most 8 high or wide. Images of less than 4 pixels have one stage, without pooling. For vectors of
    features: an Affine layer of 128 units, a ReLU, and an Affine layer for the scores.

    Parameters
    ----------
    input_shape : sequence of ints
        (C, H, W) of one image, or (D,).
    num_classes : int
        Number of scores.
    rng : numpy.random.Generator
        Draws the initial weights.
    dtype : float32 or float64
        Dtype of the parameters, and so of the computation.

    Raises
    ------
    ValueError
        If the inputs are neither images nor vectors.
    """
    shape, num_classes = as_shape(input_shape, "default_layers: input_shape"), as_count(num_classes, "num_classes")
    drawn: dict[str, Any] = {"rng": rng, "dtype": dtype}
    if len(shape) == 1:
        return [Affine(shape[0], HIDDEN, **drawn), ReLU(), Affine(HIDDEN, num_classes, **drawn)]
    if len(shape) != 3:
        raise ValueError(f"default_layers: expected input_shape (C, H, W) or (D,), got {shape}")
    layers: list[Layer] = []
    channels, height, width = shape
    for stage in itertools.count():
        side = min(height, width)
        halves = side // 2 >= LEAST_SIDE
        if stage and not (halves and (stage < STAGES or side > LARGE_SIDE)):
            break
        layers += [
            Conv2D(channels, FILTERS, 3, padding=1, bias=False, **drawn),
            BatchNorm2D(FILTERS, dtype=dtype),
            ReLU(),
        ]
        if halves:
            layers.append(MaxPool2D(2))
            height, width = height // 2, width // 2
        channels = FILTERS
    layers += [Affine(prod((channels, height, width)), HIDDEN, **drawn), BatchNorm2D(HIDDEN, dtype=dtype), ReLU()]
    return [*layers, Dropout(DROPOUT), Affine(HIDDEN, num_classes, **drawn)]


def small_layers(input_shape: Sequence[int], num_classes: int, rng: np.random.Generator) -> list[Layer]:
    """Return the layers of a small network for small grey images of which there are many, such as MNIST's.

    A 5x5 convolution of 16 filters and a 3x3 one of 32, each with a ReLU and a 2x2 max pooling; then an Affine layer of
    128 units with a ReLU, and an Affine layer for the scores.

    Parameters
    ----------
    input_shape : sequence of ints
        (C, H, W) of one image, at least 4 pixels high and wide.
    num_classes : int
        Number of scores.
    rng : numpy.random.Generator
        Draws the initial weights.

    Raises
    ------
    ValueError
        If the inputs are no images, or smaller ones.
    """
    shape, num_classes = as_shape(input_shape, "small_layers: input_shape"), as_count(num_classes, "num_classes")
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise ValueError(f"small_layers: expected input_shape (C, H, W), H and W at least 4, got {shape}")
    channels, height, width = shape
    return [
        Conv2D(channels, 16, 5, padding=2, rng=rng),
        ReLU(),
        MaxPool2D(2),
        Conv2D(16, 32, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2D(2),
        Affine(32 * (height // 4) * (width // 4), HIDDEN, rng=rng),
        ReLU(),
        Affine(HIDDEN, num_classes, rng=rng),
    ]
