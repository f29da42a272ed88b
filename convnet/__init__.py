"""Train and run small convolutional networks on a CPU.

>>> from convnet import ConvNet1, SGD, Solver, load_mnist, preprocess
>>> data, statistics = preprocess(*load_mnist())
>>> solver = Solver(ConvNet1(), data, SGD(0.05), epochs=1)
>>> solver.train()  # doctest: +SKIP
"""

try:
    import convnet._kernels  # noqa: F401
except ImportError as error:
    from pathlib import Path

    raise ImportError(
        f"convnet's compiled module cannot be loaded ({error}): in a clone, run `pip install -e .` in "
        f"{Path(__file__).parent.parent}, or, after `pip install .`, start Python outside that folder"
    ) from None

from convnet import functional, naive, webpage
from convnet.core.threads import get_num_threads, set_num_threads, show_config
from convnet.core.version import __version__ as __version__
from convnet.core.workspace import Workspace
from convnet.datasets import (
    Augmentation,
    Mixture,
    Mixup,
    Statistics,
    load_mnist,
    load_prepared,
    prepare_digit,
    preprocess,
    read_idx,
    save_prepared,
)
from convnet.layers import (
    GELU,
    Affine,
    AveragePool2D,
    BatchNorm2D,
    BinaryLabels,
    ClassLabels,
    Conv2D,
    Dropout,
    GlobalAveragePool,
    Labels,
    Layer,
    LeakyReLU,
    MaxPool2D,
    RealLabels,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Tanh,
    binary_loss,
    glorot_normal,
    glorot_uniform,
    gradient_error,
    he_normal,
    he_uniform,
    softmax_loss,
    svm_loss,
    takes_labels,
)
from convnet.models import ConvNet1, Sequential, load_model, load_tutorial_model, save_model
from convnet.plotting import (
    FilterAnimation,
    plot_confusion,
    plot_curves,
    plot_errors,
    plot_examples,
    plot_filters,
    plot_predictions,
    plot_profile,
    plot_training,
)
from convnet.training import (
    SGD,
    Adadelta,
    Adam,
    Callback,
    Checkpoint,
    Constant,
    CosineDecay,
    EarlyStopping,
    EpochDecay,
    Momentum,
    OneCycle,
    Optimizer,
    PlateauDecay,
    ProgressBar,
    RMSProp,
    Solver,
    StepDecay,
)

__all__ = [
    "GELU",
    "SGD",
    "Adadelta",
    "Adam",
    "Affine",
    "Augmentation",
    "AveragePool2D",
    "BatchNorm2D",
    "BinaryLabels",
    "Callback",
    "Checkpoint",
    "ClassLabels",
    "Constant",
    "Conv2D",
    "ConvNet1",
    "CosineDecay",
    "Dropout",
    "EarlyStopping",
    "EpochDecay",
    "FilterAnimation",
    "GlobalAveragePool",
    "Labels",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "Mixture",
    "Mixup",
    "Momentum",
    "OneCycle",
    "Optimizer",
    "PlateauDecay",
    "ProgressBar",
    "RMSProp",
    "ReLU",
    "RealLabels",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Solver",
    "Statistics",
    "StepDecay",
    "Tanh",
    "Workspace",
    "binary_loss",
    "functional",
    "get_num_threads",
    "glorot_normal",
    "glorot_uniform",
    "gradient_error",
    "he_normal",
    "he_uniform",
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
    "plot_profile",
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
    "takes_labels",
    "webpage",
]
