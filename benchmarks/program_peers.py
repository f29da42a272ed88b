"""The libraries that benchmarks/programs.py compares: each builds a program's network from the one description of it.

Each is the library of peers.py, with these methods instead:

- `training(program, params, optimizer, compiling)`: training steps by mode, whose `run` returns the loss;
- `prediction(program, params, compiling)`: predictions by mode, whose `run` returns the scores;
- `updates(optimizer, params, gradients)`: the parameters after updates with given gradients, by mode; of the libraries
  that train.

`params` are convnet's, by its names and in its layouts; every library gets a copy. A library goes through its layers in
the order of convnet, first the weight and then the bias, so that parameters are matched by their order. An optimizer is
a name and a learning rate. With `compiling` there are modes that a compiler makes, too.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import peers


class Program(NamedTuple):
    """A network and how it is trained.

    The layers are tuples: ("conv", filters, kernel size, padding), ("affine", units), ("max", size), ("average", size),
    ("dropout", rate), ("relu",), ("sigmoid",), ("tanh",). What is affine flattens its input.
    """

    source: str
    input_shape: tuple  # (C, H, W)
    batch: int
    optimizer: tuple
    layers: list
    l2: float = 0.0
    epochs: int = 0

    def without_dropout(self):
        """Return the program with all rates of dropout 0."""
        return self._replace(layers=[("dropout", 0.0) if kind == "dropout" else (kind, *a) for kind, *a in self.layers])


class Work(NamedTuple):
    """What a library does with a minibatch: `run(*prepare(x, labels))`, or `run(*prepare(x))`.

    `params` returns the parameters as they are. `prepare` makes the library's tensors, and is not timed. `leaves_out_l2`
    says that the loss is that without the L2 term.
    """

    run: Any
    prepare: Any
    params: Any = None
    leaves_out_l2: bool = False


class Convnet(peers.Convnet):
    """The library at hand."""

    def model(self, program, params=None, *, dtype=np.float32, fuse=True):
        """Return the network, with these parameters or with those that it begins with."""
        convnet, shape, layers = self.convnet, program.input_shape, []
        new = {"rng": np.random.default_rng(0), "dtype": dtype}
        for kind, *sizes in program.layers:
            if kind == "conv":
                filters, kernel, padding = sizes
                layers.append(convnet.Conv2D(shape[0], filters, kernel, padding=padding, **new))
            elif kind == "affine":
                layers.append(convnet.Affine(int(np.prod(shape)), *sizes, **new))
            else:
                classes = {
                    "max": convnet.MaxPool2D,
                    "average": convnet.AveragePool2D,
                    "dropout": convnet.Dropout,
                    "relu": convnet.ReLU,
                    "sigmoid": convnet.Sigmoid,
                    "tanh": convnet.Tanh,
                }
                layers.append(classes[kind](*sizes))
            shape = layers[-1].output_shape(shape)
        model = convnet.Sequential(layers, program.input_shape, l2=program.l2, fuse=fuse)
        if params is not None:
            model.load_params(params)
        return model

    def optimizer(self, kind, rate):
        """Return an optimizer."""
        return {
            "sgd": lambda: self.convnet.SGD(rate),
            "nesterov": lambda: self.convnet.Momentum(rate, nesterov=True),
            "rmsprop": lambda: self.convnet.RMSProp(rate, decay=0.9, epsilon=1e-7),
            "adam": lambda: self.convnet.Adam(rate, epsilon=1e-7),
        }[kind]()

    def training(self, program, params, optimizer, compiling=False):
        """Return training steps by mode."""
        model, rule, workspace = self.model(program, params), self.optimizer(*optimizer), self.convnet.Workspace()

        def step(x, labels):
            return model.train_step(x, labels, rule, workspace)

        return {"train_step": Work(step, lambda x, labels: (x, labels), lambda: copied(model.params))}

    def prediction(self, program, params, compiling=False):
        """Return predictions by mode."""
        model = self.model(program, params)
        return {"scores": Work(model.scores, lambda x: (x,))}

    def updates(self, optimizer, params, gradients):
        """Return the parameters after updates, by mode."""
        rule, params = self.optimizer(*optimizer), copied(params)
        for grads in gradients:
            rule.update(params, grads)
        return {"update": params}


class PyTorch(peers.PyTorch):
    """PyTorch's build for CPUs."""

    def model(self, program, params):
        """Return the network as a Sequential."""
        torch, nn = self.torch, self.torch.nn
        weights = iter([param for name, param in params.items() if name.endswith("weight")])
        layers = []
        for kind, *sizes in program.layers:
            if kind == "conv":
                filters, kernel, padding = sizes
                layers.append(nn.Conv2d(next(weights).shape[1], filters, kernel, padding=padding))
            elif kind == "affine":
                if not any(isinstance(layer, nn.Flatten) for layer in layers):
                    layers.append(nn.Flatten())
                layers.append(nn.Linear(len(next(weights)), *sizes))
            else:
                classes = {
                    "max": nn.MaxPool2d,
                    "average": nn.AvgPool2d,
                    "dropout": nn.Dropout,
                    "relu": nn.ReLU,
                    "sigmoid": nn.Sigmoid,
                    "tanh": nn.Tanh,
                }
                layers.append(classes[kind](*sizes))
        model = nn.Sequential(*layers)
        with torch.no_grad():
            for own, param in zip(model.parameters(), params.values(), strict=True):
                own.copy_(torch.from_numpy(param.T if param.ndim == 2 else param))
        return model

    def optimizers(self, optimizer, groups):
        """Return functions that make the optimizer by mode: the default, and the fused one where the CPU has it."""
        optim, (kind, rate) = self.torch.optim, optimizer
        cls, options, has_fused = {
            "sgd": (optim.SGD, {}, True),
            "nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True}, True),
            "rmsprop": (optim.RMSprop, {"alpha": 0.9, "eps": 1e-7}, False),
            "adam": (optim.Adam, {"eps": 1e-7}, True),
        }[kind]
        ways = {"": {}, "fused": {"fused": True}} if has_fused else {"": {}, "foreach": {"foreach": True}}
        return {mode: lambda way=way: cls(groups, lr=rate, **options, **way) for mode, way in ways.items()}

    def training(self, program, params, optimizer, compiling=False):
        """Return training steps by mode: of each layout of the images and each optimizer, and compiled."""
        modes = {}
        for layout in ("eager", "channels_last", *["torch.compile"] * compiling):
            for way in self.optimizers(optimizer, []) if layout != "torch.compile" else ["default"]:
                pass
        return modes


def copied(params):
    """Return copies of parameters."""
    return {name: param.copy() for name, param in params.items()}
