"""The examples in the docstrings."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import convnet

MODULES = [f"convnet.{module.name}" for module in pkgutil.iter_modules(convnet.__path__)]
WITH_EXAMPLES = {
    f"convnet.{name}" for name in ("augmentation", "digits", "gradient_check", "layers", "optimizers", "webpage")
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_do_what_they_say(name):
    result = doctest.testmod(import_module(name))
    assert result.failed == 0
    assert (result.attempted > 0) == (name in WITH_EXAMPLES)
