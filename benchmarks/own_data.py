"""Measure how data of one's own are loaded and trained with: image files, and an array that lies in a file.

    pip install ".[images]" && python benchmarks/own_data.py --data DIR

DIR holds the image files of CIFAR-10, or of any other data set of one size, as ``train/CLASS/*`` and ``test/CLASS/*``.
The first row loads them, the second one loads them and trains on the raw images; each is a process of its own, whose
peak memory it has. Without DIR they are left out. The third one loads a table of the size of MNIST's, of random pixels
of which three in four are 0. The other rows train on an array of 8 GB in a file that is mapped into memory, and on an
array of 20,000 images in memory, in turns of 10 steps. The file is sparse: its pages are zeros, and come from the
system, not from a disk. The program ends with status 1 if a figure is beyond its limit.
"""

import argparse
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import convnet
from convnet import Affine, Conv2D, Dropout, MaxPool2D, ReLU, Sequential

MAPPED_BYTES = 8 * 2**30
STEPS, TURN = 200, 10
# Seconds, and megabytes of peak memory.
MOST_SECONDS, MOST_TABLE, MOST_LOADED, MOST_MAPPED, MOST_SLOWER = 60, 10, 600, 1024, 1.10


def network(num_classes):
    """Return the network of Keras' example for CIFAR-10, the program keras_cifar of `programs.py`."""
    rng, layers = np.random.default_rng(0), []
    for channels, filters in ((3, 32), (32, 64)):
        layers += [Conv2D(channels, filters, 3, padding=1, rng=rng), ReLU(), Conv2D(filters, filters, 3, rng=rng)]
        layers += [ReLU(), MaxPool2D(2), Dropout(0.25)]
    layers += [Affine(64 * 6 * 6, 512, rng=rng), ReLU(), Dropout(0.5), Affine(512, num_classes, rng=rng)]
    return Sequential(layers, (3, 32, 32))


def peak():
    """Return the peak memory of this process in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(what, seconds, megabytes, limit):
    """Print a row of the table."""
    print(f"| {what} | {seconds} | {megabytes:.0f} MB | {limit} |", flush=True)


def load_table():
    """Load a table of 60,000 images of 28x28 pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60_000, 784), np.uint8) * (rng.random((60_000, 784)) < 0.25)
    labels = np.arange(60_000) % 10
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.csv"
        with path.open("w") as file:
            file.write("label," + ",".join(f"pixel{number}" for number in range(784)) + "\n")
            file.writelines(
                f"{n}," + ",".join(map(str, row.tolist())) + "\n" for n, row in zip(labels, pixels, strict=True)
            )
        start = time.perf_counter()
        (part,) = convnet.load_csv(path).values()
        took = time.perf_counter() - start
    assert np.array_equal(part.images.reshape(60_000, 784), pixels)
    row("load a table of 60,000 x 785", f"{took:.1f} s", peak(), f"{MOST_TABLE} s")
    return took < MOST_TABLE


def load(folder, trains):
    """Load the files, and train on them."""
    start = time.perf_counter()
    parts = convnet.load_folder(folder)
    took = time.perf_counter() - start
    count = sum(len(part.images) for part in parts.values())
    assert {part.images.shape[1:] for part in parts.values()} == {(32, 32, 3)}
    if not trains:
        row(f"load {count:,} files", f"{took:.1f} s", peak(), f"{MOST_SECONDS} s")
        return took < MOST_SECONDS
    data, known = convnet.preprocess_parts(parts, keep_uint8=True)
    model = network(len(parts["train"].class_names))
    model.statistics = known
    del parts
    solver = convnet.Solver(
        model, data | {"x_validation": data["x_test"], "y_validation": data["y_test"]}, convnet.Adam()
    )
    seconds = median_steps({"files": solver})["files"]
    solver.check_accuracy(data["x_test"], data["y_test"])
    row("load, and train on raw images", f"{1e3 * seconds:.1f} ms a step", peak(), f"{MOST_LOADED} MB")
    return peak() < MOST_LOADED


def median_steps(solvers):
    """Make the steps of each Solver in turns, and return the median time of a step."""
    times = {name: [] for name in solvers}
    for _ in range(STEPS // TURN):
        for name, solver in solvers.items():
            for _ in range(TURN):
                start = time.perf_counter()
                solver.step()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(kept) for name, kept in times.items()}


def mapped_solver(images):
    """Return a Solver on raw images (N, 3, 32, 32)."""
    count = len(images)
    model = network(10)
    model.statistics = convnet.Statistics((3, 32, 32), True, None, np.array(0.25, np.float32))
    labels = np.arange(count) % 10
    data = {"x_train": images, "y_train": labels, "x_validation": images[:1000], "y_validation": labels[:1000]}
    return convnet.Solver(model, data, convnet.Adam())


def train_mapped():
    """Train on a mapped array and on one in memory."""
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.name, MAPPED_BYTES)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)  # minibatches are drawn from everywhere: reading ahead is in vain
        images = np.frombuffer(mapped, np.uint8, MAPPED_BYTES // 3072 * 3072).reshape(-1, 3, 32, 32)
        found = median_steps(
            {"mapped": mapped_solver(images), "memory": mapped_solver(np.zeros((20_000, 3, 32, 32), np.uint8))}
        )
    ratio = found["mapped"] / found["memory"]
    row("train on 8 GB in a file", f"{1e3 * found['mapped']:.1f} ms a step", peak(), f"{MOST_MAPPED} MB")
    row(
        "train on 61 MB in memory",
        f"{1e3 * found['memory']:.1f} ms a step",
        peak(),
        f"{ratio:.2f}, at most {MOST_SLOWER}",
    )
    return peak() < MOST_MAPPED and ratio < MOST_SLOWER


MEASUREMENTS = {
    "load": lambda folder: load(folder, trains=False),
    "train": lambda folder: load(folder, trains=True),
    "table": lambda folder: load_table(),
    "mapped": lambda folder: train_mapped(),
}


def main():
    """Measure each in a process of its own; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of train/CLASS/* and test/CLASS/*")
    parser.add_argument("--only", choices=MEASUREMENTS, help="one of the rows, without the table's head")
    options = parser.parse_args()
    if options.only is not None:
        return int(not MEASUREMENTS[options.only](options.data))
    convnet.show_config()
    print("\n| what | time | peak memory | limit |\n| --- | --- | --- | --- |", flush=True)
    kinds = [kind for kind in MEASUREMENTS if options.data is not None or kind not in ("load", "train")]
    command = [sys.executable, __file__, *([] if options.data is None else ["--data", str(options.data)]), "--only"]
    return max(subprocess.run([*command, kind]).returncode != 0 for kind in kinds)


if __name__ == "__main__":
    sys.exit(main())
