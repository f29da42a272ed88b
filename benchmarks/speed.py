"""Time this library against PyTorch, TensorFlow and ONNX Runtime, whichever are installed, as tables and a figure.

    pip install ".[benchmark]" && python benchmarks/speed.py

Training steps of ConvNet1 (forward, backward, update by vanilla SGD with L2), predictions with it, convolutions,
poolings and other parts of networks, all in float32 on the same arrays; and a training step of this library at each
instruction set, and with each optimizer. Before anything is timed, what each library returns is compared with a
reference in float64; a wrong result ends the program with status 1. Then the libraries take turns of a few calls, each
turn after a pause in which the other libraries' idle threads fall asleep and a first call that is not counted, and the
medians are compared. A peer is timed in the fastest of its modes, which the table names. Each number of threads has a
process of its own, because some libraries cannot change theirs.

Shares are of the processor's peak, which benchmarks/peak.c measures; convnet's own times on one thread are in the same
turns as those on several.
"""

import functools
import itertools
import json
import sys

import numpy as np
from peers import L2, LIBRARIES, RATE, stage_of
from turns import (
    Timed,
    close,
    draw,
    fastest,
    libraries_of,
    measure_all,
    names_of,
    options_of,
    parser_of,
    peak,
    print_heading,
    print_slower_on_more,
    require,
    table,
    threads_text,
)

import convnet
from convnet import _kernels
from convnet.core.workspace import Layout
from convnet.layers.stage import Update

# (hidden size, batch size)
TRAINING = [(500, 50), (100, 50), (500, 1), (500, 10), (500, 250), (500, 1000)]
PREDICTION = [10000, 1]
# (C, F, image size, kernel size, stride, padding)
CONVOLUTION = [
    (1, 16, 28, 5, 1, 2),
    (1, 32, 64, 7, 2, 3),
    (3, 32, 32, 3, 1, 1),
    (3, 64, 64, 7, 2, 3),
    (16, 16, 32, 3, 1, 1),
    (16, 32, 14, 5, 1, 2),
    (32, 32, 28, 3, 1, 1),
    (32, 64, 14, 5, 1, 2),
    (64, 64, 16, 3, 1, 1),
    (64, 64, 32, 3, 2, 1),
    (64, 64, 28, 1, 1, 0),
]
# (kind, channels, image size)
POOLING = [(kind, *sizes) for kind in ("max", "average") for sizes in sorted({row[1:3] for row in CONVOLUTION})]
# (label, channels, image size, function of options of layers that returns them)
LAYERS = [
    ("convolution 64->64, 3x3", 64, 16, lambda new: [plain(64, new)]),
    ("the same, batch normalization, ReLU", 64, 16, lambda new: block(64, new)),
    ("residual block of two such", 64, 16, lambda new: [convnet.Residual([*block(64, new), *block(64, new)[:2]])]),
    ("convolution of 4 groups, 64->64, 3x3", 64, 16, lambda new: [plain(64, new, groups=4)]),
    ("convolution of 8 groups, 64->64, 3x3", 64, 16, lambda new: [plain(64, new, groups=8)]),
    ("convolution of 4 groups, 64->64, 3x3/2", 64, 32, lambda new: [plain(64, new, groups=4, stride=2)]),
    ("depthwise convolution, 32, 3x3", 32, 32, lambda new: [plain(32, new, groups=32)]),
    ("depthwise convolution, 64, 3x3", 64, 16, lambda new: [plain(64, new, groups=64)]),
    ("depthwise convolution, 64, 3x3/2", 64, 32, lambda new: [plain(64, new, groups=64, stride=2)]),
    ("dilated convolution, 64->64, 3x3", 64, 16, lambda new: [plain(64, new, dilation=2, padding=2)]),
    ("GELU", 64, 16, lambda new: [convnet.GELU()]),
    ("GELU, approximate", 64, 16, lambda new: [convnet.GELU(approximate=True)]),
    ("SiLU", 64, 16, lambda new: [convnet.SiLU()]),
    ("global average pooling", 64, 16, lambda new: [convnet.GlobalAveragePool()]),
]
BATCH = 50
OPTIMIZERS = {"Momentum": convnet.Momentum, "RMSProp": convnet.RMSProp, "Adam": convnet.Adam}


def plain(channels, new, **options):
    """Return a 3x3 convolution that keeps the number of channels, without a bias, of which a normalization has one."""
    return convnet.Conv2D(channels, channels, 3, **{"padding": 1, "bias": False} | options, **new)


def block(channels, new):
    """Return such a convolution with batch normalization and ReLU."""
    return [plain(channels, new), convnet.BatchNorm2D(channels, dtype=new["dtype"]), convnet.ReLU()]


# --------------------------------------------------------------------------------------------------- works


def training(libraries, data, options, sizes=TRAINING):
    """Yield the training steps."""
    for hidden, batch in sizes[: 1 if options.short else None]:
        start = convnet.ConvNet1(hidden_size=hidden, l2=L2, seed=0)
        params = {name: param.copy() for name, param in start.params.items()}
        exact = convnet.ConvNet1(hidden_size=hidden, l2=L2, seed=0, dtype=np.float64, fuse=False)
        exact.load_params(params)
        starts = range(0, min(200, 50000 // batch) * batch, batch)
        batches = [(data["x_train"][i : i + batch], data["y_train"][i : i + batch]) for i in starts]
        first = settled(exact, data, batch)
        loss, _ = exact.loss(*first)
        exact.train_step(*first, convnet.SGD(RATE))
        penalty = 0.5 * L2 * sum(float((p.astype(float) ** 2).sum()) for n, p in params.items() if n.endswith("weight"))
        calls = {}
        for name, library in libraries.items():
            if not hasattr(library, "training"):
                continue
            modes = {}
            for mode, step in library.training(params).items():
                what = f"{name}, {mode}, training"
                value = step(*first) + (penalty if hasattr(step, "without_l2") else 0)
                require(abs(value - loss) <= 1e-5 * loss, f"{what}: loss {value}, expected {loss}")
                for key, param in step.params().items():
                    change, true_change = param - params[key], exact.params[key] - params[key]
                    require(close(param, exact.params[key]) and close(change, true_change, 0.01), f"{what}: {key}")
                modes[mode] = successive(step, batches)
            calls[name] = fastest(modes, options.seconds)
        features = params["affine1.weight"].size + params["affine2.weight"].size
        flop = batch * (2 * 2 * 49 * 32 * 784 - 2 * 49 * 32 * (784 - 196) + 6 * features)
        yield Timed(f"training step, hidden {hidden}, batch {batch}", flop, calls)


class AtInstructionSet:
    """The library at hand with another instruction set."""

    def __init__(self, library, name):
        self.library, self.name = library, name

    def training(self, params):
        """Return training steps by mode."""
        modes = self.library.training(params)
        return {mode: self.switched(step) for mode, step in modes.items()}

    def switched(self, step):
        """Return a step that is made with this instruction set."""

        def run(x, labels):
            before = _kernels.instruction_set()
            _kernels.use_instruction_set(self.name)
            try:
                return step(x, labels)
            finally:
                _kernels.use_instruction_set(before)

        run.params = step.params
        return run


def levels(libraries, data, options):
    """Yield a training step with the instruction set in use and with all others of this processor."""
    ours = libraries["convnet"]
    names = [name for name in _kernels.INSTRUCTION_SETS if name != _kernels.instruction_set()]
    others = {name: AtInstructionSet(ours, name) for name in names}
    yield from training({"convnet": ours} | others, data, options, TRAINING[:1])


def optimizers(libraries, data, options):
    """Yield a training step by each optimizer.

    The learning rate is so small that all compute with the same numbers: the more zeros a gradient has, the faster is
    a step, whatever the optimizer.
    """
    batch = data["x_train"][:BATCH], data["y_train"][:BATCH]
    calls, losses = {}, set()
    for name in ("convnet", *OPTIMIZERS):
        model = convnet.ConvNet1(l2=L2, seed=0)
        optimizer, workspace = OPTIMIZERS.get(name, convnet.SGD)(1e-9), convnet.Workspace()
        step = functools.partial(model.train_step, *batch, optimizer, workspace)
        losses.add(step())
        calls[name] = "train_step", step
    require(len(losses) == 1, f"the optimizers' first losses differ: {losses}")
    yield Timed(f"training step by SGD, hidden 500, batch {BATCH}", None, calls)


def settled(model, data, batch):
    """Return a minibatch of which no hidden unit's input is 0 but for rounding.

    Such a unit is active in one library and not in another, and of 250 images a single one changes the gradient of the
    bias by 0.2 %.
    """
    x = data["x_train"][: batch + 100]
    hidden = x
    for name in ("conv1", "relu1", "pool1", "affine1"):
        hidden = model.layers[name](hidden)
    chosen = np.flatnonzero((np.abs(hidden) > 1e-5 * hidden.std()).all(axis=1))[:batch]
    return x[chosen], data["y_train"][chosen]


def successive(step, batches):
    """Return a call that makes a step on the next minibatch each time."""
    if hasattr(step, "prepare"):
        for batch in batches:
            step.prepare(*batch)
    count = 0

    def run():
        nonlocal count
        step(*batches[count % len(batches)])
        count += 1

    return run


def prediction(libraries, data, options):
    """Yield the predictions, with the parameters after some training and with those that training begins with."""
    model = convnet.ConvNet1(l2=L2, seed=0)
    starting = {name: param.copy() for name, param in model.params.items()}
    optimizer = convnet.SGD(RATE)
    for start in range(0, BATCH * (10 if options.short else 500), BATCH):
        part = slice(start, start + BATCH)
        model.train_step(data["x_train"][part], data["y_train"][part], optimizer)
    exact = convnet.ConvNet1(dtype=np.float64, fuse=False)
    works = itertools.product(PREDICTION[1 if options.short else 0 :], ((model.params, ""), (starting, ", untrained")))
    for count, (params, remark) in works:
        exact.load_params(params)
        x = data["x_test"][:count]
        true = exact.scores(x)
        calls = {}
        for name, library in libraries.items():
            if hasattr(library, "prediction"):
                modes = library.prediction(params, x)
                for mode, call in modes.items():
                    require(close(call(), true), f"{name}, {mode}, scores")
                calls[name] = fastest(modes, options.seconds)
        flop = count * 2 * (49 * 32 * 784 + params["affine1.weight"].size + params["affine2.weight"].size)
        yield Timed(f"prediction of {count:,} image{'s' if count > 1 else ''}{remark}", flop, calls)


def convolution(libraries, data, options):
    """Yield the convolutions."""
    rng = np.random.default_rng(0)
    for c, f, size, kernel, stride, padding in CONVOLUTION[:: 4 if options.short else 1]:
        x = rng.standard_normal((BATCH, c, size, size), np.float32)
        weight, bias = rng.standard_normal((f, c, kernel, kernel), np.float32), rng.standard_normal(f, np.float32)
        y = convnet.functional.conv2d_forward(x, weight.astype(float), bias, stride=stride, padding=padding)
        dy = rng.standard_normal(y.shape, np.float32)
        true = y, *convnet.functional.conv2d_backward(dy, x, weight.astype(float), stride=stride, padding=padding)
        calls = {}
        for name, library in libraries.items():
            if hasattr(library, "convolution"):
                modes = library.convolution(x, weight, bias, dy, stride, padding)
                for mode, call in modes.items():
                    for array, exact in zip(call(), true, strict=True):
                        require(close(as_array(array), exact), f"{name}, {mode}, convolution {x.shape} {weight.shape}")
                calls[name] = fastest(modes, options.seconds)
        label = f"convolution {c}->{f}, {size} px, {kernel}x{kernel}" + (f"/{stride}" if stride > 1 else "")
        yield Timed(label, 6 * y.size * weight[0].size, calls)


def pooling(libraries, data, options):
    """Yield the poolings."""
    rng = np.random.default_rng(0)
    for kind, c, size in POOLING[:: 5 if options.short else 1]:
        # All different: a tie's gradient goes to the first in convnet and in PyTorch, but to both below.
        x = rng.permutation(BATCH * c * size * size).astype(np.float32).reshape(BATCH, c, size, size)
        windows = x.reshape(BATCH, c, size // 2, 2, size // 2, 2).astype(float)
        y = windows.max((3, 5)) if kind == "max" else windows.mean((3, 5))
        dy = rng.standard_normal(y.shape, np.float32)
        shares = windows == y[:, :, :, None, :, None] if kind == "max" else np.full(windows.shape, 0.25)
        dx = (shares * dy[:, :, :, None, :, None]).reshape(x.shape)
        calls = {}
        for name, library in libraries.items():
            if hasattr(library, "pooling"):
                modes = library.pooling(kind, x, dy)
                for mode, call in modes.items():
                    for array, exact in zip(call(), (y, dx), strict=True):
                        require(close(as_array(array), exact), f"{name}, {mode}, {kind} pooling {x.shape}")
                calls[name] = fastest(modes, options.seconds)
        yield Timed(f"{kind} pooling 2x2, {c} channels, {size} px", None, calls)


def layers(libraries, data, options):
    """Yield other parts of networks."""
    rng = np.random.default_rng(0)
    for label, c, size, make in LAYERS[:: 3 if options.short else 1]:
        row, exact = (make({"rng": np.random.default_rng(0), "dtype": dtype}) for dtype in (np.float32, np.float64))
        shape = c, size, size
        x = rng.standard_normal((BATCH, *shape), np.float32)
        for layer, twin in zip(row, exact, strict=True):
            shape = layer.output_shape(shape)
            for name, param in layer.params.items():
                twin.params[name][...] = param
        dy = rng.standard_normal((BATCH, *shape), np.float32)
        true = libraries["convnet"].network(exact, x.astype(float), dy.astype(float))["plan"]()
        calls = {}
        for name, library in libraries.items():
            if hasattr(library, "network"):
                modes = library.network(row, x, dy)
                for mode, call in modes.items():
                    for array, expected in zip(call(), true, strict=True):
                        require(close(as_array(array), expected), f"{name}, {mode}, {label}")
                calls[name] = fastest(modes, options.seconds)
        yield Timed(f"{label}, {size} px", None, calls)


def as_array(array):
    """Return a tensor as an array."""
    return array.detach().numpy() if hasattr(array, "detach") else array


def parts(libraries, data, options):
    """Yield a training step and its parts, of this library alone, and what two of them replace."""
    functional = convnet.functional
    model, layers = convnet.ConvNet1(l2=L2, seed=0), convnet.ConvNet1(l2=L2, seed=0).layers
    p = {name: param.copy() for name, param in model.params.items()}
    exact = {name: param.astype(float) for name, param in p.items()}
    x, rng = data["x_train"][:BATCH], np.random.default_rng(0)
    weight, optimizer = layers["affine1"].params["weight"], convnet.SGD(1e-12)
    unfused = functional.conv2d_forward(x, exact["conv1.weight"], exact["conv1.bias"], padding=3)
    pooled, argmax = functional.max_pool2d_forward(functional.relu_forward(unfused), 2)
    dy = rng.standard_normal(pooled.shape, np.float32)
    dhidden = rng.standard_normal((BATCH, weight.shape[1]), np.float32)
    gradient = functional.max_pool2d_backward(np.where(pooled > 0, dy, 0), argmax, unfused.shape)
    dconv = functional.conv2d_backward(gradient, x, exact["conv1.weight"], padding=3, need_dx=False)[1]
    y = pooled.astype(np.float32)
    hidden = functional.affine_forward(y, exact["affine1.weight"], exact["affine1.bias"])
    few = np.where(rng.random(dhidden.shape) < 0.1, dhidden, 0)
    dx, dx_few = (functional.affine_backward(gradient, y, exact["affine1.weight"])[0] for gradient in (dhidden, few))

    affine, memory = stage_of(layers["affine1"], y)

    def apart():
        dx, grads = affine.backward(dhidden, y, memory)
        flat_weight, dweight = weight.reshape(-1), grads["layer1.weight"]
        _kernels.add_l2(L2, flat_weight, dweight.reshape(-1))
        optimizer.update({"weight": weight}, {"weight": dweight})
        return dx

    steps, minibatches, sgd = convnet.Workspace(), itertools.count(), convnet.SGD(RATE)

    def step():
        start = next(minibatches) % (len(data["x_train"]) // BATCH) * BATCH
        minibatch = slice(start, start + BATCH)
        return model.train_step(data["x_train"][minibatch], data["y_train"][minibatch], sgd, steps)

    for _ in range(200):
        step()
    outputs = [x]
    for layer in list(model.layers.values())[:5]:
        outputs.append(layer(outputs[-1]))
    pooling, active = (f"{np.mean(outputs[i] != 0):.0%}" for i in (3, 5))
    name = f"training step, alone; not 0: {pooling} of the pooling's output, {active} of the hidden layer's"
    convolved, product = 2 * BATCH * 49 * 32 * 784, 2 * BATCH * weight.size
    works = [
        (name, convolved * 1.25 + 3 * product, step),
        ("Affine, forward", product, lambda: affine.predict(y, memory), hidden),
        ("the same by NumPy's product", product, lambda: y.reshape(BATCH, -1) @ weight + p["affine1.bias"], hidden),
        ("Affine, input gradient, and gradient of the weight, then its update", 2 * product, apart, dx),
    ]
    if functional.can_fuse(p["conv1.weight"]):
        fused = convnet.Sequential(list(layers.values()), x.shape[1:]).plan().stages[0]
        threads = convnet.get_num_threads()
        (held,) = convnet.Workspace().memories(Layout([fused.arrays(BATCH, threads, True)], threads))
        fused.predict(x, held)
        works += [
            ("convolution, ReLU, pooling", convolved, lambda: fused.predict(x, held), pooled),
            ("their weight gradient", convolved / 4, lambda: fused.backward(dy, x, held)[1]["conv1.weight"], dconv),
            *(
                (name, 2 * product, lambda dy=dy: affine.update(dy, y, memory, Update(1e-12, L2))[0], true)
                for name, dy, true in (
                    ("Affine, input gradient and update in one", dhidden, dx),
                    ("the same where nine tenths of the gradient are 0", few, dx_few),
                )
            ),
        ]
    for label, flop, call, *true in works:
        result = call()
        if true:
            require(close(result, true[0]), label)
        yield Timed(label, flop, {"convnet": ("stage", call)})


WORKS = {
    "parts": parts,
    "levels": levels,
    "optimizers": optimizers,
    "training": training,
    "prediction": prediction,
    "convolution": convolution,
    "pooling": pooling,
    "layers": layers,
}


def measure(options):
    """Measure with one number of threads and print the rows as JSON, one a line."""
    threads = options.measure
    data, _ = convnet.preprocess(*convnet.load_mnist(), num_test=None)
    libraries = libraries_of(LIBRARIES, threads)
    for name in options.only:
        for work in WORKS[name](libraries, data, options):
            print(json.dumps({"group": name} | work.result(threads, options.seconds)), flush=True)


def main():
    """Measure each number of threads in a process of its own, print, draw, and return the exit status."""
    options = options_of(parser_of(__doc__, "works", WORKS))
    if options.measure:
        measure(options)
        return 0
    counts = sorted(set(options.threads or [1, convnet.get_num_threads()]))
    rows, about = measure_all(__file__, counts)
    peaks = {threads: peak(threads) for threads in counts}
    print_heading(LIBRARIES, about, peaks)
    for name in options.only:
        group = [row for row in rows if row["group"] == name]
        columns = {"levels": tuple(reversed(_kernels.INSTRUCTION_SETS)), "optimizers": tuple(OPTIMIZERS)}
        names = columns.get(name, LIBRARIES)
        print(f"\n{table(group, names_of(group, names), peaks)}")
    print_slower_on_more(rows)
    peers = names_of(rows, LIBRARIES)
    if options.figure and not peers:
        print("No figure: there is no other library to draw.", file=sys.stderr)
    elif options.figure:
        compared = [row for row in rows if any(peer in row["times"] for peer in peers)]
        panels = [(threads_text(threads), [row for row in compared if row["threads"] == threads]) for threads in counts]
        draw([panels], peers, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
