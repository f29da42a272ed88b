"""Models: stacks of layers with a loss, the plan that computes them, and the files that hold them.

A model computes its loss, its gradients and its predictions, and says how it is computed. This package uses layers and
data sets; it must not import training.
"""

from convnet.models.convnet1 import ConvNet1
from convnet.models.files import load_model, save_model
from convnet.models.sequential import Sequential
from convnet.models.tutorial import load_tutorial_model

__all__ = ["ConvNet1", "Sequential", "load_model", "load_tutorial_model", "save_model"]
