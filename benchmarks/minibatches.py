"""Time what comes before a training step: gathering, augmenting and preparing a minibatch.

    pip install . && python benchmarks/minibatches.py

The first table has the time of an `Augmentation` on raw and on prepared images of 3x32x32 pixels. The second one has
steps of small networks: the step alone, the minibatch alone, both one after the other as a Solver does them, and both
at once, the next minibatch made by another Python thread. Medians of single runs in turns.
"""

import argparse
import itertools
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import convnet
from convnet import Affine, Augmentation, Conv2D, Dropout, MaxPool2D, Mixup, ReLU, Sequential
from convnet.training.minibatches import Minibatches

CROP = {"shift": 4, "rotation": 0, "flip": True, "ground": 0}
ALL = {**CROP, "cutout": 8, "contrast": 0.3, "brightness": 0.2}
OPTIONS = {"none": {"shift": 0, "rotation": 0}, "crop, flip": CROP, "all without rotation": ALL, "rotation": {}}


def two_convolutions(rng):
    """Return a small network for CIFAR, of 2.4 million multiply-adds an image."""
    layers = [Conv2D(3, 16, 5, padding=2, rng=rng), ReLU(), MaxPool2D(2), Conv2D(16, 32, 3, padding=1, rng=rng), ReLU()]
    return Sequential([*layers, MaxPool2D(2), Affine(32 * 8 * 8, 10, rng=rng)], (3, 32, 32))


def keras_cifar(rng):
    """Return the network of the program of this name in `programs.py`."""
    layers = []
    for channels, filters in ((3, 32), (32, 64)):
        layers += [Conv2D(channels, filters, 3, padding=1, rng=rng), ReLU(), Conv2D(filters, filters, 3, rng=rng)]
        layers += [ReLU(), MaxPool2D(2), Dropout(0.25)]
    layers += [Affine(64 * 6 * 6, 512, rng=rng), ReLU(), Dropout(0.5), Affine(512, 10, rng=rng)]
    return Sequential(layers, (3, 32, 32))


# Network, shape of the images, examples of a minibatch, augmentation.
PROGRAMS = {
    "two convolutions, crop, flip": (two_convolutions, (32, 32, 3), 50, Augmentation(**CROP)),
    "two convolutions, all, mixup": (two_convolutions, (32, 32, 3), 50, Mixup(1.0, Augmentation(**ALL))),
    "two convolutions, rotation": (two_convolutions, (32, 32, 3), 50, Augmentation()),
    "keras_cifar, crop, flip": (keras_cifar, (32, 32, 3), 32, Augmentation(**CROP)),
    "ConvNet1, rotation": (lambda rng: convnet.ConvNet1(), (28, 28), 50, Augmentation()),
}


def prepared(shape):
    """Return raw data of random images, and their statistics."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4000, *shape), dtype=np.uint8), rng.integers(0, 10, 4000)
    return convnet.preprocess(images, labels, images, labels, num_test=100, keep_uint8=True)


def medians(calls, seconds):
    """Call functions in turns, ten times each, and return the median time of each."""
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end:
        for name, call in calls.items():
            for _ in range(10):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(kept) for name, kept in times.items()}


def images_table(seconds):
    """Print how long an image takes."""
    data, known = prepared((32, 32, 3))
    raw, rng = data["x_train"][:100], np.random.default_rng(0)
    floats, out = known.prepare(raw), np.empty(raw.shape, np.float32)
    print("| augmentation | raw | prepared |\n| --- | --- | --- |")
    for name, options in OPTIONS.items():
        augmentation = Augmentation(statistics=known, **options)
        calls = {
            kind: lambda x=x, change=augmentation: change(x, rng, out=out)
            for kind, x in (("raw", raw), ("prepared", floats))
        }
        cells = [f"{1e9 * value / len(raw):,.0f} ns" for value in medians(calls, seconds).values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def program_row(threads, name, seconds):
    """Print how long a program's steps and minibatches take."""
    network, shape, batch_size, augmentation = PROGRAMS[name]
    data, known = prepared(shape)
    model, optimizer = network(np.random.default_rng(0)), convnet.Momentum(1e-4)
    model.statistics = known
    x, labels, workspace = data["x_train"], data["y_train"], convnet.Workspace()
    makers = [Minibatches(model, x, labels, None, batch_size) for _ in range(2)]
    rng, order, numbers = np.random.default_rng(0), np.random.default_rng(1).permutation(len(x)), itertools.count()

    def make():
        number = next(numbers)
        start = number * batch_size % (len(x) - batch_size)
        return makers[number % 2].take(order[start : start + batch_size], augmentation, rng)

    def step(batch):
        model.train_step(batch.x, batch.labels, optimizer, workspace, **batch.options)

    with ThreadPoolExecutor(1) as executor:
        waiting = [executor.submit(make)]

        def at_once():
            batch = waiting.pop().result()
            waiting.append(executor.submit(make))
            step(batch)
            waiting[0].exception()  # so that nothing of it goes on in another's turn

        fixed = make()
        calls = {"step": lambda: step(fixed), "minibatch": make, "in turn": lambda: step(make()), "at once": at_once}
        found = medians(calls, seconds)
    share = found["minibatch"] / found["step"]
    cells = [f"{1e3 * found[kind]:.3f} ms" for kind in calls]
    print(f"| {name} | {threads} | {' | '.join(cells)} | {share:.1%} |", flush=True)


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each call is timed (default: 1)")
    options = parser.parse_args()
    convnet.show_config()
    convnet.set_num_threads(1)
    print("\nAn image of 3x32x32, in minibatches of 100, on one thread:\n")
    images_table(options.seconds)
    print("\n| program | threads | step | minibatch | one after the other | at once | minibatch / step |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threads in (1, 2):
        convnet.set_num_threads(threads)
        for name in PROGRAMS:
            program_row(threads, name, options.seconds)


if __name__ == "__main__":
    main()
