"""The examples in the docstrings."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import convnet

MODULES = ["convnet", "convnet._kernels"] + [
    module.name
    for module in pkgutil.walk_packages(convnet.__path__, "convnet.")
    if not module.name.startswith("convnet._")
]
WITH_EXAMPLES = {
    "convnet",
    "convnet.core.names",
    "convnet.datasets.augmentation",
    "convnet.datasets.digits",
    "convnet.datasets.image_data",
    "convnet.datasets.mixup",
    "convnet.datasets.splitting",
    "convnet.estimator.classifier",
    "convnet.layers.base",
    "convnet.layers.gradient_check",
    "convnet.layers.labels",
    "convnet.layers.losses",
    "convnet.layers.residual",
    "convnet.training.metrics",
    "convnet.training.optimizers",
    "convnet.webpage",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_do_what_they_say(name):
    if name.startswith("convnet.estimator"):
        pytest.importorskip("sklearn")
    if name.startswith("convnet.distributed"):
        pytest.importorskip("mpi4py").rc.initialize = False
    result = doctest.testmod(import_module(name))
    assert result.failed == 0
    assert (result.attempted > 0) == (name in WITH_EXAMPLES)


def test_every_module_with_examples_is_there():
    assert set(MODULES) >= WITH_EXAMPLES
