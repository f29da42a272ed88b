"""PyTorch's layers for convnet's, with the same parameters: for benchmarks of one network in both libraries."""

import numpy as np
import torch
from torch import nn

# Layers without parameters, by the names that they have in convnet; those of the activations are the same in PyTorch.
ACTIVATIONS = ("ReLU", "SiLU", "Sigmoid", "Tanh")


class Added(nn.Module):
    """The output of layers, added to their input or to that of a shortcut."""

    def __init__(self, layers, shortcut):
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x):
        """Return the sum."""
        return self.layers(x) + self.shortcut(x)


def as_tensor(array):
    """Return a copy of an array."""
    return torch.from_numpy(np.array(array, order="C"))


def module_of(layer):
    """Return PyTorch's layer for one of convnet's, with copies of its parameters; running statistics start anew."""
    name, params = type(layer).__name__, layer.params
    if name == "Conv2D":
        f, c, *kernel = params["weight"].shape
        options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
        module = nn.Conv2d(c * layer.groups, f, kernel, bias="bias" in params, **options)
        weight = params["weight"]
    elif name == "Affine":
        module, weight = nn.Linear(*params["weight"].shape), params["weight"].T
    elif name == "BatchNorm2D":
        module = nn.BatchNorm2d(len(params["weight"]), eps=layer.epsilon, momentum=1 - layer.decay)
        weight = params["weight"]
    elif name == "MaxPool2D":
        return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
    elif name == "GELU":
        return nn.GELU(approximate="tanh" if layer.approximate else "none")
    elif name == "GlobalAveragePool":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    elif name == "Residual":
        return Added(*(network_of(layer.branches.get(branch, {}).values()) for branch in ("layers", "shortcut")))
    elif name in ACTIVATIONS:
        return getattr(nn, name)()
    else:
        raise ValueError(f"expected a layer that has one like it here, got {layer!r}")
    module.weight.data = as_tensor(weight)
    if "bias" in params:
        module.bias.data = as_tensor(params["bias"])
    return nn.Sequential(nn.Flatten(), module) if name == "Affine" else module


def network_of(layers):
    """Return PyTorch's network for a row of convnet's layers."""
    return nn.Sequential(*map(module_of, layers))
