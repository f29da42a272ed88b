"""Layers, with one file per family: functions on NumPy arrays, classes, and the stages of a plan.

Losses, initial values and the numerical check of gradients belong here too. How a layer is added stands in
docs/contributing.md; LAYERS is the one table of them, from which files, options and the tests take what they need.
"""

from convnet.layers.activations import LeakyReLU, ReLU
from convnet.layers.affine import Affine
from convnet.layers.base import Layer
from convnet.layers.convolution import Conv2D
from convnet.layers.dropout import Dropout
from convnet.layers.global_pooling import GlobalAveragePool
from convnet.layers.gradient_check import gradient_error
from convnet.layers.initializers import glorot_normal, glorot_uniform, he_normal, he_uniform
from convnet.layers.labels import BinaryLabels, ClassLabels, Labels, RealLabels, takes_labels
from convnet.layers.losses import balanced_weights, binary_loss, softmax_loss, svm_loss
from convnet.layers.normalization import BatchNorm2D
from convnet.layers.pooling import AveragePool2D, MaxPool2D
from convnet.layers.residual import Residual
from convnet.layers.smooth_activations import GELU, Sigmoid, SiLU, Tanh

__all__ = [
    "GELU",
    "LAYERS",
    "Affine",
    "AveragePool2D",
    "BatchNorm2D",
    "BinaryLabels",
    "ClassLabels",
    "Conv2D",
    "Dropout",
    "GlobalAveragePool",
    "Labels",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "ReLU",
    "RealLabels",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "balanced_weights",
    "binary_loss",
    "glorot_normal",
    "glorot_uniform",
    "gradient_error",
    "he_normal",
    "he_uniform",
    "softmax_loss",
    "svm_loss",
    "takes_labels",
]

# The library's layers by name.
LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        Conv2D,
        Affine,
        MaxPool2D,
        AveragePool2D,
        GlobalAveragePool,
        ReLU,
        LeakyReLU,
        Sigmoid,
        Tanh,
        GELU,
        SiLU,
        Dropout,
        BatchNorm2D,
        Residual,
    )
}
