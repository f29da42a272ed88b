"""Time this library against PyTorch, TensorFlow and ONNX Runtime, whichever are installed, as tables and a figure.

    pip install ".[benchmark]" && python benchmarks/speed.py

Training steps of ConvNet1 (forward, backward, update by vanilla SGD with L2), predictions with it, convolutions and
poolings, all in float32 on the same arrays; and a training step at each instruction set of this library. Before
anything is timed, what each library returns is compared with a reference in float64; a wrong result ends the program
with status 1. Then the libraries take turns of a few calls, each turn after a pause in which the other libraries' idle
threads fall asleep and a first call that is not counted, and the medians are compared. A peer is timed in the fastest
of its modes, which the table names. Each number of threads has a process of its own, because some libraries cannot
change theirs.

This file is long because every kind of work stands beside the check of its result, and the report behind them.

Shares are of the processor's peak, which benchmarks/peak.c measures; convnet's own times on one thread are in the same
turns as those on several.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import L2, LIBRARIES, RATE, installed, stage_of

import convnet
from convnet import _kernels
from convnet.core.workspace import Layout

PAUSE = 0.1
# Seconds of a call that needs no other to warm up, and is not repeated within a turn.
LONG = 0.2
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
BATCH = 50


class Timed:
    """Functions of several libraries that do the same work: label, floating-point operations, name to (mode, call)."""

    def __init__(self, label, flop, calls):
        self.label, self.flop, self.calls = label, flop, calls

    def result(self, threads, seconds):
        """Time all calls and return the row of the table."""
        alone = {}
        if threads > 1:
            mode, call = self.calls["convnet"]
            alone["convnet, 1 thread"] = mode, on_one_thread(call, threads)
        times = alternate({name: call for name, (_, call) in (self.calls | alone).items()}, seconds)
        return {
            "work": self.label,
            "threads": threads,
            "flop": self.flop,
            "modes": {name: mode for name, (mode, _) in self.calls.items()},
            "times": times,
        }


def on_one_thread(call, threads):
    """Return a call that is convnet's on one thread."""

    def run():
        convnet.set_num_threads(1)
        try:
            return call()
        finally:
            convnet.set_num_threads(threads)

    return run


def alternate(calls, seconds):
    """Return the times of each call in ms: about so many seconds of them, in turns, and at least three."""
    durations = {name: min(timed(call) for _ in range(1 + (timed(call) < LONG))) for name, call in calls.items()}
    turns = 5 if max(durations.values()) < LONG else 3
    times = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            time.sleep(PAUSE)
            if durations[name] < LONG:
                call()
            count = int(max(1, min(40, seconds / turns / durations[name])))
            times[name] += [timed(call) * 1e3 for _ in range(count)]
    return times


def timed(call):
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest(calls, seconds):
    """Return the mode and the call of a library that takes least time."""
    if len(calls) == 1:
        return next(iter(calls.items()))
    times = {}
    for mode, call in calls.items():
        times[mode] = timed(call)
        if times[mode] < LONG:
            times[mode] = min(timed(call) for _ in range(4 if seconds > 0.1 else 1))
    mode = min(times, key=times.get)
    return mode, calls[mode]


def require(right, what):
    """End the program unless a result is right."""
    if not right:
        sys.exit(f"wrong result: {what}")


def close(array, true, tolerance=1e-4):
    """Return whether an array is as close to the true one as a part of its norm."""
    return array.shape == true.shape and np.linalg.norm(array - true) <= tolerance * np.linalg.norm(true)


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
                (name, 2 * product, lambda dy=dy: affine.update(dy, y, memory, 1e-12, L2)[0], true)
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
    "training": training,
    "prediction": prediction,
    "convolution": convolution,
    "pooling": pooling,
}


def measure(options):
    """Measure with one number of threads and print the rows as JSON, one a line."""
    threads = options.measure
    data, _ = convnet.preprocess(*convnet.load_mnist(), num_test=None)
    present = {name: cls for name, (cls, modules) in LIBRARIES.items() if installed(*modules)}
    libraries, unfit = {}, {}
    for name, cls in present.items():
        try:
            libraries[name] = cls(threads)
        except RuntimeError as error:
            unfit[name] = str(error)
    # `main` has limited NumPy's.
    pools = "; ".join([*(library.pools for library in libraries.values()), f"NumPy's BLAS {threads}"])
    versions = [library.version for library in libraries.values()]
    print(json.dumps({"versions": versions, "pools": pools, "unfit": unfit}), flush=True)
    for name in options.only:
        for work in WORKS[name](libraries, data, options):
            print(json.dumps({"group": name} | work.result(threads, options.seconds)), flush=True)


# -------------------------------------------------------------------------------------------------- report


def peak(threads):
    """Return the processor's peak in GFLOP/s, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        source = Path(__file__).parent / "peak.c"
        built = subprocess.run([compiler, "-O2", "-march=native", source, "-o", program, "-lpthread"])
        if built.returncode != 0:
            return None
        # The best of three: another program may take a part of the time.
        return max(float(subprocess.check_output([program, str(threads)], text=True)) for _ in range(3))


def processor():
    """Return what the processor calls itself, with its family and model if it tells them."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = about.get("model name", platform.machine())
    return f"{name} (family {about['cpu family']}, model {about['model']})" if "cpu family" in about else name


def cell(row, name):
    """Return the text of a library's time, and of how many times convnet's it is."""
    if name not in row["times"]:
        return "", ""
    ours, theirs = (statistics.median(row["times"][key]) for key in ("convnet", name))
    digits = 3 if theirs < 1 else 2 if theirs < 100 else 0
    is_peer = name in LIBRARIES and name != "convnet"
    mode = f" ({row['modes'][name]})" if is_peer and row["modes"][name] != "eager" else ""
    return f"{theirs:.{digits}f} ms{mode}", "" if name == "convnet" else f"{theirs / ours:.2f}"


def names_of(rows, names):
    """Return those of the names, but convnet's, that some row has a time of."""
    return [name for name in names if name != "convnet" and any(name in row["times"] for row in rows)]


def table(rows, peers, peaks):
    """Return the rows as Markdown, with their share of the peak if it is known for any."""
    shares = [share(row, peaks.get(row["threads"])) for row in rows]
    has_shares = any(shares)
    heads = ["work", "threads", "convnet", *["share of peak"] * has_shares]
    heads += [text for peer in peers for text in (peer, "times")]
    lines = [heads, ["---"] * len(heads)]
    for row, text in zip(rows, shares, strict=True):
        cells = [row["work"], str(row["threads"]), cell(row, "convnet")[0], *[text] * has_shares]
        for peer in peers:
            cells += cell(row, peer)
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(row, limit):
    """Return the rate of a row's operations in per cent of the peak, or nothing if one of them is not known."""
    if row["flop"] is None or not limit:
        return ""
    return f"{100 * row['flop'] / statistics.median(row['times']['convnet']) / 1e6 / limit:.0f} %"


def slower_on_more(rows):
    """Return the works in which more threads take over 5 % longer than one, by the medians of the same turns.

    None where nothing was timed on both.
    """
    if not any("convnet, 1 thread" in row["times"] for row in rows):
        return None
    late = []
    for row in rows:
        if "convnet, 1 thread" in row["times"]:
            several, one = (statistics.median(row["times"][name]) for name in ("convnet", "convnet, 1 thread"))
            if several > 1.05 * one:
                late.append(f"{row['group']}, {row['work']}: {several:.3f} ms on {row['threads']}, {one:.3f} ms on one")
    return late


def draw(rows, peers, path):
    """Draw how many times as long as convnet each peer takes, in the works that some peer does too."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if any(peer in row["times"] for peer in peers)]
    counts = sorted({row["threads"] for row in rows})
    works = list(dict.fromkeys(row["work"] for row in rows))
    figure, panels = plt.subplots(
        1, len(counts), figsize=(4 + 4 * len(counts), 1.5 + 0.25 * len(works)), sharey=True, squeeze=False
    )
    for axes, threads in zip(panels[0], counts, strict=True):
        for peer, marker in zip(peers, "os^D", strict=False):
            points = [
                (
                    statistics.median(row["times"][peer]) / statistics.median(row["times"]["convnet"]),
                    works.index(row["work"]),
                )
                for row in rows
                if row["threads"] == threads and peer in row["times"]
            ]
            if points:
                axes.scatter(*zip(*points, strict=True), marker=marker, label=peer, zorder=3)
        axes.axvline(1, color="black", linewidth=1)
        axes.set(xscale="log", xlabel="time, in times of convnet's", title=f"{threads} thread{'s' * (threads > 1)}")
        axes.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
        axes.minorticks_off()
        axes.grid(color="0.9")
    panels[0][0].set_yticks(range(len(works)), works)
    panels[0][0].set_ylim(len(works) - 0.5, -0.5)
    handles = {handle.get_label(): handle for axes in panels[0] for handle in axes.collections if handle.get_label()}
    figure.legend(handles.values(), handles, loc="upper center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.4 / figure.get_figheight()))
    figure.savefig(path, dpi=80)


def main():
    """Measure each number of threads in a process of its own, print, draw, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        choices=range(1, 65),
        metavar="N",
        help="numbers of threads (default: 1, and convnet's default)",
    )
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS), help="works (default: all)")
    parser.add_argument("--short", action="store_true", help="few rows and hardly timed: whether results are right")
    parser.add_argument(
        "--seconds", type=float, help="of timed calls, each library, each row (default: 2, and 0.01 with --short)"
    )
    parser.add_argument("--figure", metavar="FILE", help="draw the ratios")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = 0.01 if options.short else 2.0
    if not 0 < options.seconds < 1000:
        parser.error(f"argument --seconds: expected a number above 0 and below 1000, got {options.seconds}")
    if options.figure and not Path(options.figure).absolute().parent.is_dir():
        parser.error(f"argument --figure: expected a file in a folder that exists, got {options.figure}")
    options.only = list(dict.fromkeys(options.only))
    if options.measure:
        measure(options)
        return 0
    counts = sorted(set(options.threads or [1, convnet.get_num_threads()]))
    rows, about = [], {}
    for threads in counts:
        command = [sys.executable, __file__, *sys.argv[1:], "--measure", str(threads)]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | limits) as process:
            for line in process.stdout:
                row = json.loads(line)
                if "work" in row:
                    rows.append(row)
                    print(".", end="", file=sys.stderr, flush=True)
                else:
                    about[threads] = row
        if process.returncode:
            return 1
    print(file=sys.stderr)
    peaks = {threads: peak(threads) for threads in counts}
    print(f"{platform.machine()}, {os.cpu_count()} processors: {processor()}; {platform.system()}; float32, medians.")
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}", *about[counts[0]]["versions"]]
    print(f"{', '.join(versions)}.")
    absent = [name for name, (_, modules) in LIBRARIES.items() if not installed(*modules)]
    if absent:
        print(f"Not installed, and so left out: {', '.join(absent)}.")
    for name, reason in about[counts[0]]["unfit"].items():
        print(f"{name} is left out: {reason}.")
    for threads in counts:
        limit = f"{peaks[threads]:.0f} GFLOP/s" if peaks[threads] else "not measured, for want of a compiler"
        print(f"Threads of the pools: {about[threads]['pools']}. Peak: {limit}.")
    for name in options.only:
        group = [row for row in rows if row["group"] == name]
        names = reversed(_kernels.INSTRUCTION_SETS) if name == "levels" else LIBRARIES
        print(f"\n{table(group, names_of(group, names), peaks)}")
    late = slower_on_more(rows)
    if late is not None:
        print(f"\nOver 5 % slower on more threads than on one, in the same turns: {'; '.join(late) or 'nothing'}.")
    peers = names_of(rows, LIBRARIES)
    if options.figure and not peers:
        print("No figure: there is no other library to draw.", file=sys.stderr)
    elif options.figure:
        draw(rows, peers, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
