"""Train and run small convolutional networks on a CPU.

>>> from convnet import ConvNet1, Momentum, Solver, load_mnist, preprocess
>>> data, statistics = preprocess(*load_mnist())
>>> solver = Solver(ConvNet1(), data, Momentum(0.01), epochs=1)
>>> solver.train()  # doctest: +SKIP
"""

import sys
from importlib import import_module

from convnet.core.version import __version__ as __version__

try:
    import convnet._kernels  # noqa: F401
except ImportError as error:
    from pathlib import Path

    raise ImportError(
        f"convnet's compiled module cannot be loaded ({error}): in a clone, run `pip install -e .` in "
        f"{Path(__file__).parent.parent}, or, after `pip install .`, start Python outside that folder"
    ) from None

# This one sets the instruction set and the number of threads from the environment.
from convnet.core.threads import get_num_threads, set_num_threads, show_config

# The modules that the other names of the package are in. Each is imported when one of its names is first asked for, so
# that `import convnet` is quick. __init__.pyi tells type checkers the same.
_NAMES_IN = {
    "convnet.core.surprises": "ConvnetWarning",
    "convnet.core.workspace": "Workspace",
    "convnet.datasets": (
        "Augmentation ImageData ImageReader Mixture Mixup Statistics load_cifar load_csv load_data "
        "load_folder load_idx load_mnist load_npz load_prepared make_parts prepare_digit preprocess "
        "preprocess_parts read_idx save_prepared split"
    ),
    "convnet.layers": (
        "Affine AveragePool2D BatchNorm2D BinaryLabels ClassLabels Conv2D Dropout GELU GlobalAveragePool "
        "Labels Layer LeakyReLU MaxPool2D ReLU RealLabels Residual SiLU Sigmoid Tanh balanced_weights "
        "binary_loss glorot_normal glorot_uniform gradient_error he_normal he_uniform softmax_loss svm_loss "
        "takes_labels"
    ),
    "convnet.models": "ConvNet1 Sequential load_model load_tutorial_model save_model",
    "convnet.plotting": (
        "FilterAnimation plot_confusion plot_curves plot_errors plot_examples plot_filters "
        "plot_learning_rates plot_predictions plot_profile plot_training"
    ),
    "convnet.training": (
        "Adadelta Adam CSVLog Callback Checkpoint Constant CosineDecay EarlyStopping EpochDecay LearningRates "
        "Momentum Muon OneCycle Optimizer PlateauDecay ProgressBar RMSProp SGD Solver StepDecay TensorBoard "
        "balanced_accuracy calibration_error confusion_matrix f1_score find_learning_rate precision recall "
        "top_k_accuracy"
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names.split()}
_MODULES = ("functional", "naive", "webpage")
_PACKAGES = ("core", "datasets", "formats", "layers", "models", "plotting", "training")

__all__ = ["get_num_threads", "set_num_threads", "show_config"]
__all__ += sorted([*_MODULE_OF, *_MODULES])


def __getattr__(name: str) -> object:
    """Import a name of the package, or one of its modules."""
    if name not in (*__all__, *_PACKAGES):
        raise AttributeError(f"module 'convnet' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    home = _MODULE_OF.get(name, f"convnet.{name}")
    try:
        module = import_module(home)
    except AttributeError as error:  # which would read as if the name did not exist
        raise ImportError(f"{home} cannot be imported: {error}") from error
    value = globals()[name] = getattr(module, name) if name in _MODULE_OF else module
    return value


def __dir__() -> list[str]:
    """Return the names of the package, imported or not."""
    return sorted({*__all__, *_PACKAGES, *(name for name in globals() if name.startswith("__"))})
