"""Train and run small convolutional networks on a CPU.

>>> from convnet import ConvNet1, SGD, Solver, load_mnist, preprocess
>>> data, statistics = preprocess(*load_mnist())
>>> solver = Solver(ConvNet1(), data, SGD(0.05), epochs=1)
>>> solver.train()  # doctest: +SKIP
"""

__version__ = "0.1.0"

try:
    import convnet._kernels  # noqa: F401
except ImportError as error:
    from pathlib import Path

    raise ImportError(
        f"convnet's compiled module cannot be loaded ({error}): in a clone, run `pip install -e .` in "
        f"{Path(__file__).parent.parent}, or, after `pip install .`, start Python outside that folder"
    ) from None

from convnet import functional, naive
from convnet.callbacks import ProgressBar
from convnet.checkpoints import load_model, save_model
from convnet.datasets import Statistics, load_mnist, load_prepared, preprocess, read_idx, save_prepared
from convnet.gradient_check import gradient_error
from convnet.initializers import he_normal
from convnet.layers import Affine, Conv2D, Layer, MaxPool2D, ReLU
from convnet.losses import softmax_loss
from convnet.models import ConvNet1, Sequential
from convnet.optimizers import SGD, Optimizer
from convnet.plotting import plot_examples, plot_filters, plot_training
from convnet.schedules import EpochDecay
from convnet.solver import Callback, Solver

__all__ = [
    "SGD",
    "Affine",
    "Callback",
    "Conv2D",
    "ConvNet1",
    "EpochDecay",
    "Layer",
    "MaxPool2D",
    "Optimizer",
    "ProgressBar",
    "ReLU",
    "Sequential",
    "Solver",
    "Statistics",
    "functional",
    "gradient_error",
    "he_normal",
    "load_mnist",
    "load_model",
    "load_prepared",
    "naive",
    "plot_examples",
    "plot_filters",
    "plot_training",
    "preprocess",
    "read_idx",
    "save_model",
    "save_prepared",
    "softmax_loss",
]
