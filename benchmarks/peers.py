"""The libraries that benchmarks/speed.py compares, each behind the same few methods.

A library is made for a number of threads and has `version` and `pools` to be printed. Where it can do that work it
has methods that return functions by the name of a mode; these are timed, and what they return is checked:

- `training(params)`: step(x, labels) -> loss, with `step.params()` to read the parameters after it;
- `prediction(params, x)`: functions that return the scores of all images x;
- `convolution(x, weight, bias, dy, stride, padding)`: functions that return y, dx, dweight, dbias;
- `pooling(kind, x, dy)`: functions that return y and dx of 2x2 windows;
- `network(layers, x, dy)`: functions of a row of convnet's layers that return y, dx and all parameters' gradients.

All arrays that go in and come out are NumPy's, float32, laid out as convnet has them. What a library wants in another
layout, or as a tensor of its own, is converted before the clock starts.
"""

import importlib.util
import os

import numpy as np

RATE, L2 = 0.05, 1e-4


def installed(*modules):
    """Return whether modules can be imported."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


class Convnet:
    """The library at hand."""

    name = "convnet"

    def __init__(self, threads):
        import convnet

        self.convnet = convnet
        convnet.set_num_threads(threads)
        self.version = f"convnet {convnet.__version__} ({convnet._kernels.instruction_set()})"
        self.pools = f"convnet {threads}"

    def training(self, params):
        """Return training steps by mode."""
        model = self.model(params)
        optimizer, workspace = self.convnet.SGD(RATE), self.convnet.Workspace()

        def step(x, labels):
            return model.train_step(x, labels, optimizer, workspace)

        step.params = lambda: {name: param.copy() for name, param in model.params.items()}
        return {"train_step": step}

    def model(self, params):
        """Return ConvNet1 with these parameters."""
        model = self.convnet.ConvNet1(hidden_size=params["affine1.bias"].size, l2=L2)
        model.load_params(params)
        return model

    def prediction(self, params, x):
        """Return functions that give scores by mode."""
        model = self.model(params)
        return {"scores": lambda: model.scores(x)}

    def convolution(self, x, weight, bias, dy, stride, padding):
        """Return forward and backward passes by mode."""
        params = {"weight": weight, "bias": bias}
        stage, memory = stage_of(self.convnet.Conv2D.from_params(params, stride=stride, padding=padding), x)

        def run():
            y, cache = stage.forward(x, memory, None)
            dx, grads = stage.backward(dy, cache, memory)
            return y, dx, *grads.values()

        return {"stage": run}

    def pooling(self, kind, x, dy):
        """Return forward and backward passes by mode."""
        layer = {"max": self.convnet.MaxPool2D, "average": self.convnet.AveragePool2D}[kind](2)
        stage, memory = stage_of(layer, x)

        def run():
            y, cache = stage.forward(x, memory, None)
            return y, stage.backward(dy, cache, memory)[0]

        return {"stage": run}

    def network(self, layers, x, dy):
        """Return forward and backward passes by mode."""
        stages, memories = stages_of(layers, x)
        rng = np.random.default_rng(0)

        def run():
            values = [x]
            caches = [stage.forward_last(values, memory, rng) for stage, memory in zip(stages, memories, strict=True)]
            y, values, grads = values[0], [dy], {}
            for stage, cache, memory in reversed(list(zip(stages, caches, memories, strict=True))):
                grads = stage.backward_last(values, cache, memory) | grads
            return y, values[0], *grads.values()

        return {"plan": run}


def stages_of(layers, x):
    """Return the stages of a plan of layers for inputs like x, the first one's gradient included, and their memory."""
    import convnet
    from convnet.layers.stack import name_layers
    from convnet.models.plan import Plan

    plan = Plan(name_layers(layers, "layers"), x.shape[1:], x.dtype)
    for stage in plan.stages:
        stage.need_dx = True
    return plan.stages, convnet.Workspace().memories(plan.layout(len(x), True))


def stage_of(layer, x):
    """Return the stage that computes a layer for inputs like x, and memory for it."""
    import convnet
    from convnet.core.workspace import Layout
    from convnet.layers.stage import Options

    stage, threads = layer.stage("layer1", x.shape[1:], x.dtype, Options()), convnet.get_num_threads()
    layout = Layout([stage.arrays(len(x), threads, True)], threads)
    return stage, convnet.Workspace().memories(layout)[0]


class PyTorch:
    """PyTorch's build for CPUs."""

    name = "PyTorch"

    def __init__(self, threads):
        import torch

        if torch.version.cuda is not None:
            raise RuntimeError(f"expected a CPU build of PyTorch, got {torch.__version__}")
        self.torch = torch
        torch.set_num_threads(threads)
        self.version = f"PyTorch {torch.__version__}"
        self.pools = f"PyTorch {torch.get_num_threads()}"

    def training(self, params):
        """Return training steps by mode: eager, with the layout of images that is said to be faster, and compiled."""
        modes = {"eager": self.step(params), "eager, channels_last": self.step(params, channels_last=True)}
        if os.environ.get("CONVNET_BENCHMARK_COMPILE"):
            modes["torch.compile"] = self.step(params, compiled=True)
        return modes

    def tensors(self, params):
        """Return the parameters as tensors, Affine weights as PyTorch's Linear has them."""
        return {
            name: self.torch.tensor(np.ascontiguousarray(param.T if name.startswith("affine") else param))
            for name, param in params.items()
        }

    def scores(self, p, x):
        """Return the network's scores."""
        functional = self.torch.nn.functional
        y = functional.conv2d(x, p["conv1.weight"], p["conv1.bias"], padding=3)
        y = functional.max_pool2d(functional.relu(y), 2).flatten(1)
        y = functional.relu(functional.linear(y, p["affine1.weight"], p["affine1.bias"]))
        return functional.linear(y, p["affine2.weight"], p["affine2.bias"])

    def step(self, params, *, channels_last=False, compiled=False):
        """Return a training step."""
        torch = self.torch
        p = {name: tensor.requires_grad_() for name, tensor in self.tensors(params).items()}
        weights = [tensor for name, tensor in p.items() if name.endswith("weight")]
        biases = [tensor for name, tensor in p.items() if name.endswith("bias")]
        groups = [{"params": weights, "weight_decay": L2}, {"params": biases, "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr=RATE)
        scores = torch.compile(self.scores) if compiled else self.scores

        def step(x, labels):
            images = torch.from_numpy(x)
            if channels_last:
                images = images.to(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(scores(p, images), torch.from_numpy(labels))
            loss.backward()
            optimizer.step()
            return loss.item()

        def read():
            arrays = {name: tensor.detach().numpy() for name, tensor in p.items()}
            return {name: array.T.copy() if name.startswith("affine") else array for name, array in arrays.items()}

        step.params = read
        step.without_l2 = True  # its optimizer adds it to the gradients alone
        return step

    def prediction(self, params, x):
        """Return functions that give scores by mode."""
        torch, p = self.torch, self.tensors(params)

        def batches(size):
            def run():
                with torch.inference_mode():
                    return torch.cat([self.scores(p, part) for part in torch.from_numpy(x).split(size)]).numpy()

            return run

        return {f"inference_mode, batch {size}": batches(size) for size in sizes_for(len(x))}

    def convolution(self, x, weight, bias, dy, stride, padding):
        """Return forward and backward passes by mode."""
        torch = self.torch
        inputs = [torch.tensor(array, requires_grad=True) for array in (x, weight, bias)]
        gradient = torch.tensor(dy)

        def run():
            y = torch.nn.functional.conv2d(*inputs, stride=stride, padding=padding)
            return y, *torch.autograd.grad(y, inputs, gradient)

        return {"eager": run}

    def pooling(self, kind, x, dy):
        """Return forward and backward passes by mode."""
        torch = self.torch
        function = {"max": torch.nn.functional.max_pool2d, "average": torch.nn.functional.avg_pool2d}[kind]
        images, gradient = torch.tensor(x, requires_grad=True), torch.tensor(dy)

        def run():
            y = function(images, 2)
            return y, *torch.autograd.grad(y, images, gradient)

        return {"eager": run}

    def network(self, layers, x, dy):
        """Return forward and backward passes by mode."""
        from torch_layers import network_of

        torch, modes = self.torch, {}
        for name, layout in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
            network = network_of(layers).to(memory_format=layout)
            inputs = [torch.tensor(x).to(memory_format=layout).requires_grad_(), *network.parameters()]
            gradient = torch.tensor(dy)
            gradient = gradient.to(memory_format=layout) if gradient.ndim == 4 else gradient

            def run(network=network, inputs=inputs, gradient=gradient):
                y = network(inputs[0])
                found = y, *torch.autograd.grad(y, inputs, gradient)
                return tuple(tensor.contiguous() for tensor in found)

            modes[name] = run
        return modes


class TensorFlow:
    """TensorFlow's build for CPUs, images as (N, H, W, C), which is its own layout."""

    name = "TensorFlow"

    def __init__(self, threads):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow

        self.tf = tensorflow
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        self.version = f"TensorFlow {tensorflow.__version__}"
        self.pools = f"TensorFlow intra {threads}, inter 1"

    def training(self, params):
        """Return training steps by mode: a graph, and one that XLA compiled."""
        return {"tf.function": self.step(params, jit=False), "tf.function, XLA": self.step(params, jit=True)}

    def variables(self, params):
        """Return the parameters as variables: filters (KH, KW, C, F), and the first Affine weight's rows by pixel."""
        f = params["conv1.bias"].size
        arrays = dict(params)
        arrays["conv1.weight"] = params["conv1.weight"].transpose(2, 3, 1, 0)
        m = params["affine1.bias"].size
        rows = params["affine1.weight"].reshape(f, 14, 14, m)
        arrays["affine1.weight"] = rows.transpose(1, 2, 0, 3).reshape(-1, m)
        return {name: self.tf.Variable(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def step(self, params, jit):
        """Return a training step."""
        tf = self.tf
        p = self.variables(params)
        weights = {name for name in p if name.endswith("weight")}

        def update(x, labels):
            with tf.GradientTape() as tape:
                y = tf.nn.relu(tf.nn.conv2d(x, p["conv1.weight"], 1, "SAME") + p["conv1.bias"])
                y = tf.reshape(tf.nn.max_pool2d(y, 2, 2, "VALID"), (tf.shape(x)[0], -1))
                y = tf.nn.relu(y @ p["affine1.weight"] + p["affine1.bias"])
                scores = y @ p["affine2.weight"] + p["affine2.bias"]
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores))
            grads = tape.gradient(loss, list(p.values()))
            for (name, variable), grad in zip(p.items(), grads, strict=True):
                variable.assign_sub(RATE * (grad + L2 * variable if name in weights else grad))
            return loss

        compiled = tf.function(update, jit_compile=jit)
        tensors = {}

        def prepare(x, labels):
            if x.ctypes.data not in tensors:
                tensors[x.ctypes.data] = tf.constant(x.transpose(0, 2, 3, 1)), tf.constant(labels)
            return tensors[x.ctypes.data]

        def step(x, labels):
            return float(compiled(*prepare(x, labels)))

        def read():
            arrays = {name: variable.numpy() for name, variable in p.items()}
            arrays["conv1.weight"] = arrays["conv1.weight"].transpose(3, 2, 0, 1)
            m = arrays["affine1.bias"].size
            rows = arrays["affine1.weight"].reshape(14, 14, -1, m)
            arrays["affine1.weight"] = rows.transpose(2, 0, 1, 3).reshape(-1, m)
            return arrays

        step.params = read
        step.without_l2 = True
        step.prepare = prepare
        return step


class ONNXRuntime:
    """ONNX Runtime, which predicts."""

    name = "ONNX Runtime"

    def __init__(self, threads):
        import onnxruntime

        self.ort, self.threads = onnxruntime, threads
        self.version = f"ONNX Runtime {onnxruntime.__version__}"
        self.pools = f"ONNX Runtime {threads}"

    def prediction(self, params, x):
        """Return functions that give scores by mode."""
        from onnx import TensorProto, helper, numpy_helper

        node = helper.make_node
        nodes = [
            node("Conv", ["x", "conv1.weight", "conv1.bias"], ["a"], pads=[3, 3, 3, 3]),
            node("Relu", ["a"], ["b"]),
            node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["c"], ["d"]),
            node("Gemm", ["d", "affine1.weight", "affine1.bias"], ["e"]),
            node("Relu", ["e"], ["f"]),
            node("Gemm", ["f", "affine2.weight", "affine2.bias"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "ConvNet1",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
            [numpy_helper.from_array(param, name) for name, param in params.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = self.ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

        def batches(size):
            def run():
                parts = [session.run(None, {"x": x[i : i + size]})[0] for i in range(0, len(x), size)]
                return np.concatenate(parts)

            return run

        return {f"batch {size}": batches(size) for size in sizes_for(len(x))}


def sizes_for(count):
    """Return the batch sizes that are tried for so many images."""
    return [size for size in (1, 50, 100, 250, 1000) if size <= count and (size > 1 or count == 1)]


# Each library with the modules that it needs.
LIBRARIES = {
    "convnet": (Convnet, ["convnet"]),
    "PyTorch": (PyTorch, ["torch"]),
    "TensorFlow": (TensorFlow, ["tensorflow"]),
    "ONNX Runtime": (ONNXRuntime, ["onnxruntime", "onnx"]),
}
