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

from convnet import functional, naive, webpage
from convnet.augmentation import Augmentation
from convnet.callbacks import Checkpoint, EarlyStopping, FilterAnimation, ProgressBar
from convnet.datasets import Statistics, load_mnist, load_prepared, preprocess, read_idx, save_prepared
from convnet.digits import prepare_digit
from convnet.gradient_check import gradient_error
from convnet.initializers import he_normal
from convnet.layers import Affine, AveragePool2D, Conv2D, Dropout, Layer, MaxPool2D, ReLU, Sigmoid
from convnet.losses import softmax_loss, svm_loss
from convnet.model_files import load_model, load_tutorial_model, save_model
from convnet.models import ConvNet1, Sequential
from convnet.optimizers import SGD, Adam, Momentum, Optimizer, RMSProp
from convnet.plotting import (
    plot_confusion,
    plot_curves,
    plot_errors,
    plot_examples,
    plot_filters,
    plot_predictions,
    plot_training,
)
from convnet.schedules import Constant, CosineDecay, EpochDecay, OneCycle, StepDecay
from convnet.solver import Callback, Solver
from convnet.threads import get_num_threads, set_num_threads, show_config
from convnet.workspace import Workspace

__all__ = [
    "SGD",
    "Adam",
    "Affine",
    "Augmentation",
    "AveragePool2D",
    "Callback",
    "Checkpoint",
    "Constant",
    "Conv2D",
    "ConvNet1",
    "CosineDecay",
    "Dropout",
    "EarlyStopping",
    "EpochDecay",
    "FilterAnimation",
    "Layer",
    "MaxPool2D",
    "Momentum",
    "OneCycle",
    "Optimizer",
    "ProgressBar",
    "RMSProp",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Solver",
    "Statistics",
    "StepDecay",
    "Workspace",
    "functional",
    "get_num_threads",
    "gradient_error",
    "he_normal",
    "load_mnist",
    "load_model",
    "load_prepared",
    "load_tutorial_model",
    "naive",
    "plot_confusion",
    "plot_curves",
    "plot_errors",
    "plot_examples",
    "plot_filters",
    "plot_predictions",
    "plot_training",
    "prepare_digit",
    "preprocess",
    "read_idx",
    "save_model",
    "save_prepared",
    "set_num_threads",
    "show_config",
    "softmax_loss",
    "svm_loss",
    "webpage",
]
