"""The libraries that benchmarks/programs.py compares, each building a network from the one description of it.

Each is the library of peers.py, with these methods instead; they return works, or results, by the name of a mode:

- `training(program, params, optimizer, compiling)`: training steps, whose `run` returns the loss;
- `prediction(program, params, compiling)`: predictions, whose `run` returns the scores;
- `updates(optimizer, params, gradients, compiling)`: the parameters after updates with given gradients.

Parameters are convnet's, by its names and in its layouts; each library makes copies. All go through the layers in the
same order, first the weight and then the bias, so that parameters are matched by their order. With `compiling` there
are modes that a compiler makes, too.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import peers

# What layers are called in convnet, in PyTorch, in Keras and in ONNX.
NAMES = {
    "max": ("MaxPool2D", "MaxPool2d", "MaxPooling2D", "MaxPool"),
    "average": ("AveragePool2D", "AvgPool2d", "AveragePooling2D", "AveragePool"),
    "dropout": ("Dropout", "Dropout", "Dropout", None),
    "relu": ("ReLU", "ReLU", "ReLU", "Relu"),
    "tanh": ("Tanh", "Tanh", None, "Tanh"),
}


class Program(NamedTuple):
    """A network and how it is trained.

    Layers are ("conv", filters, kernel size, padding), ("affine", units), ("max", size), ("average", size), ("dropout",
    rate), ("relu",) and ("tanh",). An affine layer flattens its input. The optimizer is "SGD", "Nesterov"
    (with a momentum of 0.9), "RMSProp" (with a decay of 0.9) or "Adam", and a learning rate.
    """

    source: str
    differs: str
    input_shape: tuple
    batch: int
    optimizer: tuple
    layers: list
    l2: float = 0.0
    epochs: int = 0

    @property
    def has_dropout(self):
        """Whether there is a dropout."""
        return any(kind == "dropout" for kind, *_ in self.layers)

    def to_be_checked(self):
        """Return the program with every dropout at rate 0, and with so much L2 that it shows in the gradients."""
        layers = [(kind, 0.0) if kind == "dropout" else (kind, *sizes) for kind, *sizes in self.layers]
        return self._replace(layers=layers, l2=100 * self.l2)


class Work(NamedTuple):
    """What a library does with a minibatch: ``run(*prepare(x, labels))``, or ``run(*prepare(x))``.

    `prepare` makes tensors of the library's own, which is not timed. `params` returns the parameters as they are. The
    first call of what is `compiled` takes long, and may fail.
    """

    run: Any
    prepare: Any
    params: Any = None
    compiled: bool = False


class Convnet(peers.Convnet):
    """The library at hand."""

    loss_has_l2 = True

    def network(self, program, params=None, dtype=np.float32, fuse=True):
        """Return the model, with these parameters, or with those that its layers draw."""
        convnet, shape, layers = self.convnet, program.input_shape, []
        new = {"rng": np.random.default_rng(0), "dtype": dtype}
        for kind, *sizes in program.layers:
            if kind == "conv":
                filters, kernel, padding = sizes
                layer = convnet.Conv2D(shape[0], filters, kernel, padding=padding, **new)
            elif kind == "affine":
                layer = convnet.Affine(int(np.prod(shape)), *sizes, **new)
            else:
                layer = getattr(convnet, NAMES[kind][0])(*sizes)
            layers.append(layer)
            shape = layer.output_shape(shape)
        model = convnet.Sequential(layers, program.input_shape, l2=program.l2, fuse=fuse)
        if params is not None:
            model.load_params(params)
        return model

    def optimizer(self, name, rate):
        """Return an optimizer."""
        convnet = self.convnet
        if name == "Adam":
            return convnet.Adam(rate, epsilon=1e-7)
        if name == "RMSProp":
            return convnet.RMSProp(rate, decay=0.9, epsilon=1e-7)
        return convnet.Momentum(rate, nesterov=True) if name == "Nesterov" else convnet.SGD(rate)

    def training(self, program, params, optimizer, compiling):
        """Return training steps by mode."""
        model, rule, workspace = self.network(program, params), self.optimizer(*optimizer), self.convnet.Workspace()

        def run(x, labels):
            return model.train_step(x, labels, rule, workspace)

        return {"train_step": Work(run, lambda *arrays: arrays, lambda: copied(model.params))}

    def prediction(self, program, params, compiling):
        """Return predictions by mode."""
        model, workspace = self.network(program, params), self.convnet.Workspace()
        return {"scores": Work(lambda x: model.scores(x, workspace), lambda x: (x,))}

    def updates(self, optimizer, params, gradients, compiling):
        """Return the parameters after some updates, by mode."""
        rule, params = self.optimizer(*optimizer), copied(params)
        for grads in gradients:
            rule.update(params, grads)
        return {"update": params}


class PyTorch(peers.PyTorch):
    """PyTorch's build for CPUs."""

    loss_has_l2 = False

    def __init__(self, threads):
        super().__init__(threads)
        # Each program and mode is compiled anew; above a limit PyTorch would compute them without compiling.
        self.torch._dynamo.config.recompile_limit = 1000

    def network(self, program, params):
        """Return the model, with these parameters."""
        nn, layers = self.torch.nn, []
        weights = iter([param for name, param in params.items() if name.endswith("weight")])
        for kind, *sizes in program.layers:
            if kind == "conv":
                filters, kernel, padding = sizes
                layers.append(nn.Conv2d(next(weights).shape[1], filters, kernel, padding=padding))
            elif kind == "affine":
                if not any(isinstance(layer, nn.Linear) for layer in layers):
                    layers.append(nn.Flatten())
                layers.append(nn.Linear(len(next(weights)), *sizes))
            else:
                layers.append(getattr(nn, NAMES[kind][1])(*sizes))
        model = nn.Sequential(*layers)
        with self.torch.no_grad():
            for own, param in zip(model.parameters(), params.values(), strict=True):
                own.copy_(self.torch.from_numpy(param.T if param.ndim == 2 else param))
        return model

    def optimizer(self, name, rate, groups, way):
        """Return an optimizer, computed in one of the ways of `ways`."""
        optim, options = self.torch.optim, {way: True} if way else {}
        if name == "Adam":
            return optim.Adam(groups, rate, eps=1e-7, **options)
        if name == "RMSProp":
            return optim.RMSprop(groups, rate, alpha=0.9, eps=1e-7, **options)
        if name == "Nesterov":
            return optim.SGD(groups, rate, momentum=0.9, nesterov=True, **options)
        return optim.SGD(groups, rate, **options)

    def ways(self, name):
        """Return the ways to compute an optimizer: the default one, and the fused one or else, by lists of tensors."""
        return "", "foreach" if name == "RMSProp" else "fused"

    def training(self, program, params, optimizer, compiling):
        """Return training steps by mode: each layout of images with each way of the optimizer, and compiled."""
        modes = {}
        for layout in ("eager", "channels_last"):
            for way in self.ways(optimizer[0]):
                modes[f"{layout}, {way}" if way else layout] = self.step(program, params, optimizer, layout, way)
        if compiling:
            way = self.ways(optimizer[0])[1]
            modes["torch.compile"] = self.step(program, params, optimizer, "channels_last", way, True)
        return modes

    def step(self, program, params, optimizer, layout, way, compiled=False):
        """Return a training step."""
        torch, model = self.torch, self.arranged(self.network(program, params), layout)
        weights = [param for param in model.parameters() if param.ndim > 1]
        biases = [param for param in model.parameters() if param.ndim == 1]
        rule = self.optimizer(*optimizer, [{"params": weights, "weight_decay": program.l2}, {"params": biases}], way)
        scores = torch.compile(model, dynamic=False) if compiled else model

        def run(images, labels):
            rule.zero_grad()
            loss = torch.nn.functional.cross_entropy(scores(images), labels)
            loss.backward()
            rule.step()
            return loss.item()

        def prepare(x, labels):
            return self.arranged(torch.from_numpy(x), layout), torch.from_numpy(labels)

        def read():
            arrays = [param.detach().numpy() for param in model.parameters()]
            arrays = [(array.T if array.ndim == 2 else array).copy() for array in arrays]
            return dict(zip(params, arrays, strict=True))

        return Work(run, prepare, read, compiled)

    def arranged(self, what, layout):
        """Return a model or a tensor in a layout of images."""
        return what.to(memory_format=self.torch.channels_last) if layout == "channels_last" else what

    def prediction(self, program, params, compiling):
        """Return predictions by mode."""
        modes = {layout: self.scores(program, params, layout) for layout in ("eager", "channels_last")}
        if compiling:
            modes["torch.compile"] = self.scores(program, params, "channels_last", True)
        return modes

    def scores(self, program, params, layout, compiled=False):
        """Return a prediction."""
        torch, model = self.torch, self.arranged(self.network(program, params).eval(), layout)
        scores = torch.compile(model, dynamic=False, options={"freezing": True}) if compiled else model

        def run(images):
            with torch.inference_mode():
                return scores(images).numpy()

        return Work(run, lambda x: (self.arranged(torch.from_numpy(x), layout),), compiled=compiled)

    def updates(self, optimizer, params, gradients, compiling):
        """Return the parameters after some updates, by mode."""
        torch, modes = self.torch, {}
        for way in self.ways(optimizer[0]):
            own = {name: torch.tensor(param, requires_grad=True) for name, param in params.items()}
            rule = self.optimizer(*optimizer, list(own.values()), way)
            for grads in gradients:
                for name, param in own.items():
                    param.grad = torch.from_numpy(grads[name])
                rule.step()
            modes[way or "default"] = {name: param.detach().numpy() for name, param in own.items()}
        return modes


class Keras(peers.TensorFlow):
    """Keras on TensorFlow's build for CPUs, images as (N, H, W, C), which is its own layout."""

    loss_has_l2 = True

    def __init__(self, threads):
        super().__init__(threads)
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras

        self.keras = keras
        self.version += f", Keras {keras.__version__}"

    def network(self, program, params):
        """Return the model, with these parameters, and the shape of what it flattens."""
        keras, (c, h, w), flattened = self.keras, program.input_shape, None
        regularizer = keras.regularizers.L2(program.l2 / 2) if program.l2 else None
        y = inputs = keras.Input((h, w, c))
        for kind, *sizes in program.layers:
            if kind == "conv":
                filters, kernel, padding = sizes
                border = {0: "valid", (kernel - 1) / 2: "same"}[padding]
                y = keras.layers.Conv2D(filters, kernel, padding=border, kernel_regularizer=regularizer)(y)
            elif kind == "affine":
                if flattened is None:
                    flattened = y.shape[1:]
                    y = keras.layers.Flatten()(y)
                y = keras.layers.Dense(*sizes, kernel_regularizer=regularizer)(y)
            elif name := NAMES[kind][2]:
                y = getattr(keras.layers, name)(*sizes)(y)
            else:
                y = keras.layers.Activation(kind)(y)
        model = keras.Model(inputs, y)
        first = next(name for name in params if name.startswith("affine"))
        for (name, param), own in zip(params.items(), model.trainable_variables, strict=True):
            own.assign(to_keras(param, flattened if name == first else None))
        return model, flattened

    def optimizer(self, name, rate):
        """Return an optimizer."""
        optimizers = self.keras.optimizers
        if name == "Adam":
            return optimizers.Adam(rate, epsilon=1e-7)
        if name == "RMSProp":
            return optimizers.RMSprop(rate, rho=0.9, epsilon=1e-7)
        return optimizers.SGD(rate, momentum=0.9, nesterov=True) if name == "Nesterov" else optimizers.SGD(rate)

    def modes(self, compiling):
        """Return whether XLA compiles, by mode."""
        return {"tf.function": False} | ({"tf.function, XLA": True} if compiling else {})

    def training(self, program, params, optimizer, compiling):
        """Return training steps by mode: a graph, and one that XLA compiled."""
        return {mode: self.step(program, params, optimizer, jit) for mode, jit in self.modes(compiling).items()}

    def step(self, program, params, optimizer, jit):
        """Return a training step."""
        tf, (model, flattened), rule = self.tf, self.network(program, params), self.optimizer(*optimizer)
        variables = model.trainable_variables
        rule.build(variables)

        def update(images, labels):
            with tf.GradientTape() as tape:
                scores = model(images, training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
                loss = tf.add_n([tf.reduce_mean(losses), *model.losses])
            rule.apply(tape.gradient(loss, variables), variables)
            return loss

        compiled = tf.function(update, jit_compile=jit)

        def read():
            first = next(name for name in params if name.startswith("affine"))
            pairs = zip(params, variables, strict=True)
            return {name: from_keras(own.numpy(), flattened if name == first else None) for name, own in pairs}

        def prepare(x, labels):
            return tf.constant(x.transpose(0, 2, 3, 1)), tf.constant(labels)

        return Work(lambda *tensors: float(compiled(*tensors)), prepare, read, jit)

    def prediction(self, program, params, compiling):
        """Return predictions by mode."""
        model, _ = self.network(program, params)
        return {mode: self.scores(model, jit) for mode, jit in self.modes(compiling).items()}

    def scores(self, model, jit):
        """Return a prediction."""
        tf = self.tf
        compiled = tf.function(lambda images: model(images, training=False), jit_compile=jit)

        def prepare(x):
            return (tf.constant(x.transpose(0, 2, 3, 1)),)

        return Work(lambda images: compiled(images).numpy(), prepare, compiled=jit)

    def updates(self, optimizer, params, gradients, compiling):
        """Return the parameters after some updates, by mode."""
        return {
            mode: self.updated(self.optimizer(*optimizer), params, gradients, jit)
            for mode, jit in self.modes(compiling).items()
        }

    def updated(self, rule, params, gradients, jit):
        """Return the parameters after some updates."""
        variables = [self.keras.Variable(param) for param in params.values()]
        rule.build(variables)
        update = self.tf.function(lambda grads: rule.apply(grads, variables), jit_compile=jit)
        for grads in gradients:
            update([self.tf.constant(grad) for grad in grads.values()])
        return dict(zip(params, [own.numpy() for own in variables], strict=True))


def to_keras(param, flattened):
    """Return a parameter as Keras has it; that of the first affine layer with the shape (H, W, C) of its input."""
    if flattened is not None:
        h, w, c = flattened
        return param.reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(param.shape)
    return param.transpose(2, 3, 1, 0) if param.ndim == 4 else param


def from_keras(array, flattened):
    """Return a parameter as convnet has it."""
    if flattened is not None:
        return array.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(array.shape)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


class ONNXRuntime(peers.ONNXRuntime):
    """ONNX Runtime, which predicts."""

    def prediction(self, program, params, compiling):
        """Return predictions by mode."""
        from onnx import TensorProto, helper, numpy_helper

        nodes, names, is_flat = [], iter(params), False

        def add(kind, *inputs, **attributes):
            nodes.append(helper.make_node(kind, [f"y{len(nodes)}", *inputs], [f"y{len(nodes) + 1}"], **attributes))

        for kind, *sizes in program.layers:
            if kind == "conv":
                add("Conv", next(names), next(names), pads=[sizes[2]] * 4)
            elif kind == "affine":
                if not is_flat:
                    add("Flatten")
                    is_flat = True
                add("Gemm", next(names), next(names))
            elif kind in ("max", "average"):
                add(NAMES[kind][3], kernel_shape=sizes * 2, strides=sizes * 2)
            elif kind != "dropout":
                add(NAMES[kind][3])
        graph = helper.make_graph(
            nodes,
            "program",
            [helper.make_tensor_value_info("y0", TensorProto.FLOAT, ["N", *program.input_shape])],
            [helper.make_tensor_value_info(f"y{len(nodes)}", TensorProto.FLOAT, ["N", 10])],
            [numpy_helper.from_array(param, name) for name, param in params.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = self.ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return {"session": Work(lambda x: session.run(None, {"y0": x})[0], lambda x: (x,))}


def copied(params):
    """Return copies of parameters."""
    return {name: param.copy() for name, param in params.items()}


# Each library with the modules that it needs.
LIBRARIES = {
    "convnet": (Convnet, ["convnet"]),
    "PyTorch": (PyTorch, ["torch"]),
    "Keras": (Keras, ["tensorflow", "keras"]),
    "ONNX Runtime": (ONNXRuntime, ["onnxruntime", "onnx"]),
}
