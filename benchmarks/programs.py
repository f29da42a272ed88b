"""Time programs that people run: the same one in convnet, PyTorch, Keras and ONNX Runtime, whichever are installed.

    pip install ".[benchmark]" && python benchmarks/programs.py
    python benchmarks/programs.py --to-accuracy

A program is a network, a batch size and an optimizer; the table PROGRAMS has them, and where they come from. Timed are
its training step (forward, backward, the optimizer's update), and its predictions of a batch and of one image with the
parameters that training begins with: in float32, with the same arrays in all libraries, and the next minibatch at each
call. Programs for MNIST get its digits. Those for CIFAR-10, which is not in the package, get random images and labels.

Before anything is timed, results are compared with those of convnet in float64; a wrong one ends the program with
status 1. Then the libraries take turns, as speed.py says: each number of threads has a process of its own, in which all
pools are set to it. A peer is timed in the fastest of its modes, which the table names; what a compiler makes is left
out if that fails or takes minutes, and with --short. What a library wants in another layout, or as a tensor of its own,
is made before the clock starts.

Shares are of the processor's peak, which benchmarks/peak.c measures. They count all multiplications of the direct
algorithm and so may exceed 100 %.

With --to-accuracy the first two programs are trained to the end in each library that trains, with the same minibatches
of 59,000 digits; their time is that of the steps, and of gathering and converting each minibatch.
"""

import contextlib
import itertools
import json
import signal
import sys
import time

import numpy as np
from program_peers import LIBRARIES, Program
from turns import (
    Timed,
    close,
    draw,
    fastest,
    libraries_of,
    markdown,
    measure_all,
    names_of,
    options_of,
    parser_of,
    peak,
    print_heading,
    print_slower_on_more,
    ratio,
    require,
    table,
    threads_text,
)

import convnet

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
RELU, TANH, MAX, AVERAGE = ("relu",), ("tanh",), ("max", 2), ("average", 2)
PROGRAMS = {
    "mnist_convnet": Program(
        source="keras.io/examples/vision/mnist_convnet",
        differs="",
        input_shape=MNIST,
        batch=128,
        optimizer=("Adam", 1e-3),
        layers=[
            *(("conv", 32, 3, 0), RELU, MAX),
            *(("conv", 64, 3, 0), RELU, MAX),
            *(("dropout", 0.5), ("affine", 10)),
        ],
        epochs=15,
    ),
    "pytorch_mnist": Program(
        source="github.com/pytorch/examples, mnist",
        differs="Adam instead of Adadelta",
        input_shape=MNIST,
        batch=64,
        optimizer=("Adam", 1e-3),
        layers=[
            *(("conv", 32, 3, 0), RELU, ("conv", 64, 3, 0), RELU, MAX, ("dropout", 0.25)),
            *(("affine", 128), RELU, ("dropout", 0.5), ("affine", 10)),
        ],
        epochs=14,
    ),
    "tensorflow_cifar": Program(
        source="tensorflow.org/tutorials/images/cnn",
        differs="random images",
        input_shape=CIFAR,
        batch=32,
        optimizer=("Adam", 1e-3),
        layers=[
            *(("conv", 32, 3, 0), RELU, MAX, ("conv", 64, 3, 0), RELU, MAX, ("conv", 64, 3, 0), RELU),
            *(("affine", 64), RELU, ("affine", 10)),
        ],
    ),
    "keras_cifar": Program(
        source="github.com/keras-team/keras 2.2, examples/cifar10_cnn.py",
        differs="random images, no augmentation, constant learning rate",
        input_shape=CIFAR,
        batch=32,
        optimizer=("RMSProp", 1e-4),
        layers=[
            *(("conv", 32, 3, 1), RELU, ("conv", 32, 3, 0), RELU, MAX, ("dropout", 0.25)),
            *(("conv", 64, 3, 1), RELU, ("conv", 64, 3, 0), RELU, MAX, ("dropout", 0.25)),
            *(("affine", 512), RELU, ("dropout", 0.5), ("affine", 10)),
        ],
    ),
    "lenet5": Program(
        source="LeCun, Bottou, Bengio, Haffner, 1998, as it is commonly written",
        differs="",
        input_shape=MNIST,
        batch=64,
        optimizer=("SGD", 0.05),
        layers=[
            *(("conv", 6, 5, 2), TANH, AVERAGE, ("conv", 16, 5, 0), TANH, AVERAGE),
            *(("affine", 120), TANH, ("affine", 84), TANH, ("affine", 10)),
        ],
    ),
    "fast_recipe": Program(
        source="examples/fast_recipe.py",
        differs="no augmentation, constant learning rate",
        input_shape=MNIST,
        batch=100,
        optimizer=("Nesterov", 0.01),
        layers=[
            *(("conv", 16, 5, 2), RELU, MAX, ("conv", 32, 3, 1), RELU, MAX),
            *(("affine", 128), RELU, ("affine", 10)),
        ],
        l2=1e-4,
    ),
    "vgg6": Program(
        source="Simonyan, Zisserman, 2014, with six convolutions for CIFAR-10",
        differs="random images",
        input_shape=CIFAR,
        batch=64,
        optimizer=("SGD", 0.01),
        layers=[
            *(("conv", 32, 3, 1), RELU, ("conv", 32, 3, 1), RELU, MAX),
            *(("conv", 64, 3, 1), RELU, ("conv", 64, 3, 1), RELU, MAX),
            *(("conv", 128, 3, 1), RELU, ("conv", 128, 3, 1), RELU, MAX),
            *(("affine", 256), RELU, ("affine", 10)),
        ],
    ),
    "convnet1": Program(
        source="convnet.ConvNet1, examples/train.py",
        differs="constant learning rate",
        input_shape=MNIST,
        batch=50,
        optimizer=("SGD", 0.05),
        layers=[("conv", 32, 7, 3), RELU, MAX, ("affine", 500), RELU, ("affine", 10)],
        l2=1e-4,
    ),
}
GROUPS = ("training step", "prediction of a batch", "prediction of one image")
# Minibatches that are taken in turn, and fewer with --short.
MINIBATCHES, FEW = 50, 3
# Seconds that a compiler may take.
COMPILING = 120


def works(name, libraries, data, options):
    """Yield the works of a program, checked: group, operations, minibatches, and each library's works by mode."""
    program, ours = PROGRAMS[name], libraries["convnet"]
    params = first_parameters(program, ours)
    exact = ours.network(program, params, np.float64, fuse=False)
    count = FEW if options.short else MINIBATCHES
    x, labels = examples(program, data, count * program.batch)
    forward, backward = operations(exact)

    batches = minibatches(program.batch, x, labels)
    modes = steps(name, program, params, libraries, batches[:2], options)
    yield GROUPS[0], program.batch * (forward + backward), batches, modes
    for group, size in zip(GROUPS[1:], (program.batch, 1), strict=True):
        batches = minibatches(size, x)[:count]
        modes = predictions(name, program, params, exact, libraries, batches[0], options)
        yield group, size * forward, batches, modes


def operations(model):
    """Return the operations of the forward and of the backward pass, for one image."""
    shapes = [model.input_shape, *model.output_shapes.values()]
    counts = [layer.multiply_adds(shape) for layer, shape in zip(model.layers.values(), shapes[:-1], strict=True)]
    # As many for the gradients of the weights, and for those of the inputs, but for the images.
    return 2 * sum(counts), 2 * (2 * sum(counts) - next(filter(None, counts)))


def first_parameters(program, ours, bias=0.1):
    """Return what training begins with. Random biases show whether a library adds them."""
    rng = np.random.default_rng(1)
    params = {key: param.copy() for key, param in ours.network(program).params.items()}
    for key, param in params.items():
        if key.endswith("bias"):
            param += bias * rng.standard_normal(param.shape, np.float32)
    return params


def examples(program, data, count):
    """Return images and labels: digits, or random ones where the images are not of the digits' shape."""
    if program.input_shape == MNIST:
        return data["x_train"][:count], data["y_train"][:count]
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *program.input_shape), np.float32), rng.integers(0, 10, count)


def minibatches(batch, *arrays):
    """Return arrays in parts of a size."""
    starts = range(0, len(arrays[0]) - batch + 1, batch)
    return [tuple(array[start : start + batch] for array in arrays) for start in starts]


# -------------------------------------------------------------------------------------------------- checks


def steps(name, program, params, libraries, batches, options):
    """Return the training steps by library and mode.

    Dropout draws other numbers in each library, and the first step of Adam and of RMSProp is hardly more than the sign
    of the gradient. So three things are checked: two steps of vanilla SGD without dropout, the first loss and the
    change of each parameter; the program's own step, whose loss is the same if it has no dropout, and another one if it
    has; and, in `check_optimizers`, the optimizers' updates with given gradients.
    """
    checked, rule = program.to_be_checked(), ("SGD", 0.01)
    exact = libraries["convnet"].network(checked, params, np.float64, fuse=False)
    first, _ = (exact.train_step(*batch, convnet.SGD(rule[1])) for batch in batches)
    squares = sum(float((param.astype(float) ** 2).sum()) for key, param in params.items() if key.endswith("weight"))
    loss = first - 0.5 * checked.l2 * squares
    found = {}
    for library_name, library in libraries.items():
        if not hasattr(library, "training"):
            continue
        penalty, left_out = 0.5 * squares if library.loss_has_l2 else 0.0, set()
        for mode, work in library.training(checked, params, rule, not options.short).items():
            what, true = f"{name}, {library_name}, {mode}, training", loss + checked.l2 * penalty
            value = first_result(work, batches[0], what)
            if value is None:
                left_out.add(mode)
                continue
            require(abs(value - true) <= 1e-5 * true, f"{what}: loss {value}, expected {true}")
            work.run(*work.prepare(*batches[1]))
            for key, param in work.params().items():
                # In some images a ReLU or a pooling decides in another way, for rounding: of vgg6's first weights that
                # has been 1.5 % in PyTorch, on a processor with AVX2 alone, and 0.2 % here.
                require(close(param - params[key], exact.params[key] - params[key], 0.03), f"{what}: {key}")
        found[library_name] = {}
        for mode, work in library.training(program, params, program.optimizer, not options.short).items():
            what = f"{name}, {library_name}, {mode}, training by {program.optimizer[0]}"
            value = None if mode in left_out else first_result(work, batches[0], what)
            if value is not None:
                true = loss + program.l2 * penalty
                is_other = abs(value - true) > 1e-5 * true
                require(is_other == program.has_dropout, f"{what}: loss {value}, without dropout {true}")
                found[library_name][mode] = work
    return found


def predictions(name, program, params, exact, libraries, batch, options):
    """Return the predictions by library and mode."""
    true, found = exact.scores(*batch), {}
    for library_name, library in libraries.items():
        found[library_name] = {}
        for mode, work in library.prediction(program, params, not options.short).items():
            what = f"{name}, {library_name}, {mode}, scores of {len(true)}"
            scores = first_result(work, batch, what)
            if scores is not None:
                require(close(scores, true), what)
                found[library_name][mode] = work
    return found


def check_optimizers(names, libraries, options):
    """Check the updates of the programs' optimizers with given gradients against those of convnet in float64.

    No gradient is so small that it matters where a library adds epsilon.
    """
    rng = np.random.default_rng(2)
    params = {key: rng.standard_normal((9, 5), np.float32) for key in ("affine1.weight", "affine2.weight")}
    gradients = []
    for _ in range(10):
        drawn = {key: rng.uniform(-1, 1, param.shape) for key, param in params.items()}
        gradients.append({key: (grad + np.copysign(0.1, grad)).astype(np.float32) for key, grad in drawn.items()})
    start, *doubled = ({key: a.astype(float) for key, a in arrays.items()} for arrays in (params, *gradients))
    for optimizer in {PROGRAMS[name].optimizer for name in names}:
        (true,) = libraries["convnet"].updates(optimizer, start, doubled, False).values()
        for library_name, library in libraries.items():
            if not hasattr(library, "training"):
                continue
            for mode, after in library.updates(optimizer, params, gradients, not options.short).items():
                for key, param in after.items():
                    what = f"{library_name}, {mode}, updates by {optimizer}"
                    require(close(param - params[key], true[key] - start[key], 1e-3), what)


def first_result(work, batch, what):
    """Return the result of the first call; None, and a message, where a compiler fails or is too slow."""
    arguments = work.prepare(*batch)
    if not work.compiled:
        return work.run(*arguments)
    try:
        with at_most(COMPILING):
            return work.run(*arguments)
    except Exception as error:
        print(f"\nleft out: {what}: {' '.join(f'{type(error).__name__}: {error}'.split()):.200}", file=sys.stderr)
        return None


@contextlib.contextmanager
def at_most(seconds):
    """Raise a TimeoutError in what takes longer."""

    def stop(*_):
        raise TimeoutError(f"took over {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ------------------------------------------------------------------------------------------------- measuring


class Successive:
    """A call that takes the next minibatch each time, and keeps the last result."""

    def __init__(self, work, batches):
        self.run, self.inputs = work.run, itertools.cycle([work.prepare(*batch) for batch in batches])
        self.last = None

    def __call__(self):
        """Make the next call."""
        self.last = self.run(*next(self.inputs))


def measure(options):
    """Measure with one number of threads and print the rows as JSON, one a line."""
    data, _ = convnet.preprocess(*convnet.load_mnist(), num_test=None)
    libraries = libraries_of(LIBRARIES, options.measure)
    check_optimizers(options.only, libraries, options)
    for name in options.only:
        if options.to_accuracy:
            for row in trainings(name, libraries, data, options):
                print(json.dumps(row), flush=True)
            continue
        for group, flop, batches, works_of in works(name, libraries, data, options):
            calls = {}
            for library, modes in works_of.items():
                ways = {mode: Successive(work, batches) for mode, work in modes.items()}
                calls[library] = fastest(ways, options.seconds)
            tried = {library: list(modes) for library, modes in works_of.items()}
            row = Timed(name, flop, calls).result(options.measure, options.seconds, options.short)
            for library, (mode, call) in calls.items():
                require(np.isfinite(call.last).all(), f"{name}, {library}, {mode}, {group}: not finite at the end")
            print(json.dumps({"group": group, "tried": tried} | row), flush=True)


def trainings(name, libraries, data, options):
    """Yield what each library reaches after the program's epochs, and in which time."""
    program = PROGRAMS[name]
    params = first_parameters(program, libraries["convnet"], bias=0)
    arguments = program, params, program.optimizer, not options.short
    epochs, x, labels = options.epochs or program.epochs, data["x_train"], data["y_train"]
    few = minibatches(program.batch, x[: 10 * program.batch], labels)
    for library_name, library in libraries.items():
        if not hasattr(library, "training"):
            continue
        modes = library.training(*arguments)
        modes = {mode: work for mode, work in modes.items() if first_result(work, few[0], mode) is not None}
        mode, _ = fastest({mode: Successive(work, few) for mode, work in modes.items()}, 1.0)
        work = library.training(*arguments)[mode]
        rng, start = np.random.default_rng(0), time.perf_counter()
        for _ in range(epochs):
            for (chosen,) in minibatches(program.batch, rng.permutation(len(x))):
                loss = work.run(*work.prepare(x[chosen], labels[chosen]))
        seconds = time.perf_counter() - start
        require(np.isfinite(loss), f"{name}, {library_name}, {mode}: the last loss is {loss}")
        predict = next(iter(library.prediction(program, work.params(), False).values()))
        scores = [predict.run(*predict.prepare(*batch)) for batch in minibatches(100, data["x_test"])]
        right = float(np.mean(np.concatenate(scores).argmax(axis=1) == data["y_test"]))
        yield {
            "work": name,
            "threads": options.measure,
            "library": f"{library_name} ({mode})" if library_name != "convnet" else library_name,
            "epochs": epochs,
            "accuracy": right,
            "seconds": seconds,
        }


# -------------------------------------------------------------------------------------------------- report


def print_timings(rows, options, peaks):
    """Print the tables, and draw."""
    lines = [["program", "from", "batch", "optimizer", "what differs"], ["---"] * 5]
    for name in options.only:
        program = PROGRAMS[name]
        lines.append([name, program.source, str(program.batch), "{} {:g}".format(*program.optimizer), program.differs])
    print(f"\n{markdown(lines)}")
    peers = names_of(rows, LIBRARIES)
    for group in GROUPS:
        part = [row for row in rows if row["group"] == group]
        print(f"\n{group[0].upper()}{group[1:]}:\n\n{table(part, names_of(part, LIBRARIES), peaks, 'program')}")
        ratios = [(ratio(row, peer), peer, row) for row in part for peer in peers if peer in row["times"]]
        if ratios:
            least, peer, row = min(ratios, key=lambda each: each[0])
            print(f"\nLeast ratio: {least:.2f}, {peer}, {row['work']}, {threads_text(row['threads'])}.")
    for library in peers:
        modes = dict.fromkeys(mode for row in rows for mode in row["tried"].get(library, []))
        if len(modes) > 1:
            print(f"\nModes of {library} that were tried: {'; '.join(modes)}.")
    print_slower_on_more(rows)
    if options.figure and not peers:
        print("No figure: there is no other library to draw.", file=sys.stderr)
    elif options.figure:
        counts = sorted({row["threads"] for row in rows})
        parts = {key: [] for key in itertools.product(counts, GROUPS)}
        for row in rows:
            parts[row["threads"], row["group"]].append(row)
        panels = {key: (f"{key[1]}, {threads_text(key[0])}", part) for key, part in parts.items()}
        draw([[panels[threads, group] for group in GROUPS] for threads in counts], peers, options.figure)


def print_trainings(rows):
    """Print what was reached, and in which time."""
    lines = [["program", "threads", "library", "epochs", "test accuracy", "time", "times"], ["---"] * 7]
    ours = {row["work"]: row["seconds"] for row in rows if row["library"] == "convnet"}
    for row in rows:
        cells = [row["work"], str(row["threads"]), row["library"], str(row["epochs"]), f"{row['accuracy']:.2%}"]
        lines.append([*cells, f"{row['seconds']:.0f} s", f"{row['seconds'] / ours[row['work']]:.2f}"])
    print(f"\n{markdown(lines)}")


def main():
    """Measure each number of threads in a process of its own, print, draw, and return the exit status."""
    parser = parser_of(__doc__, "programs", PROGRAMS)
    parser.add_argument("--to-accuracy", action="store_true", help="train to the end, on the most threads alone")
    parser.add_argument("--epochs", type=int, help="of --to-accuracy (default: those of the program)")
    options = options_of(parser)
    if options.to_accuracy:
        options.only = [name for name in options.only if PROGRAMS[name].epochs]
        if not options.only or (options.epochs is not None and options.epochs < 1):
            parser.error(
                "argument --to-accuracy: expected a program that has a number of epochs, and at least one epoch"
            )
    if options.measure:
        measure(options)
        return 0
    counts = sorted(set(options.threads or [1, convnet.get_num_threads()]))
    rows, about = measure_all(__file__, counts[-1:] if options.to_accuracy else counts)
    peaks = {threads: peak(threads) for threads in about}
    print_heading(LIBRARIES, about, peaks)
    if options.to_accuracy:
        print_trainings(rows)
    else:
        print_timings(rows, options, peaks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
