"""Models: stacks of layers with a loss, the plan that computes them, and the files that hold them.

What belongs here knows layers and data, and nothing of training: a model computes its loss, its gradients and its
predictions, and says how it is computed.
"""

from convnet.models.convnet1 import ConvNet1
from convnet.models.files import load_model, save_model
from convnet.models.sequential import Sequential
from convnet.models.tutorial import load_tutorial_model

__all__ = ["ConvNet1", "Sequential", "load_model", "load_tutorial_model", "save_model"]
