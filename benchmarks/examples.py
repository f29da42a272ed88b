"""Run an example with its defaults for several random seeds: test accuracy, time and peak memory of each.

    pip install ".[examples]"
    python benchmarks/examples.py train
    python benchmarks/examples.py fast_recipe five_epochs
    python benchmarks/examples.py train train_pytorch --seeds 0

A run whose accuracy on the 10,000 test images is more than 0.2 % below what is stated below, or that takes more than
900 MB, is marked; so is a mean of three runs or more that is below it. The exit status is 1 then. Single runs differ by
a tenth of a per cent when sums are rounded in another way. `train_pytorch` is the program of `train` in PyTorch,
without its figures.
"""

import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import convnet

EXAMPLES = Path(__file__).parent.parent / "examples"
MEGABYTES = 900


def invert(images, labels):
    """Return the digits dark on a light ground."""
    return 255 - images, labels


def permute(images, labels):
    """Return the digits with their labels exchanged by a fixed permutation."""
    return images, np.array([3, 8, 5, 0, 9, 1, 7, 2, 6, 4])[labels]


# By name: the command, the random seeds, the percentage that it has to reach, and what is done to the data before.
MEASUREMENTS = {
    "train": (["train.py"], range(3), 98.95, None),
    "fast_recipe": (["fast_recipe.py"], range(5), 99.1, None),
    "inverted": (["fast_recipe.py"], range(1), 99.0, invert),
    "permuted": (["fast_recipe.py"], range(1), 99.0, permute),
    "five_epochs": (["fast_recipe.py", "--epochs", 5], range(3), 99.25, None),
    "fashion": (["fashion.py"], range(3), 93.5, None),
    "tiny_mnist": (["tiny_mnist.py"], range(5), 99.5, None),
    "train_pytorch": (["../benchmarks/train_pytorch.py"], range(3), 98.95, None),
}
# How far a single run may be below that.
SINGLE = 0.2


def write_changed(change, folder: Path) -> None:
    """Write the digits, changed, as four IDX files."""
    x_train, y_train, x_test, y_test = convnet.load_mnist()
    for part, images, labels in (("train", x_train, y_train), ("t10k", x_test, y_test)):
        images, labels = change(images, labels)
        header = struct.pack(">IIII", 0x803, *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">II", 0x801, len(labels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())


def run(script: str, *arguments: object, cwd: str) -> tuple[int, str, float, float]:
    """Return the exit status, the output, the seconds and the peak memory in MB of one run."""
    start = time.perf_counter()
    command = [sys.executable, EXAMPLES.resolve() / script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return process.returncode, text, time.perf_counter() - start, peak / 1e6


def main() -> int:
    """Run all, print a table, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", help="random seeds (default: those of each name)")
    options = parser.parse_args()
    failed = False
    print("| example | seed | test accuracy | time | peak memory |\n| --- | --- | --- | --- | --- |")
    for name in options.names:
        example, seeds, target, change = MEASUREMENTS[name]
        with tempfile.TemporaryDirectory() as folder:
            if change is not None:
                write_changed(change, Path(folder))
            accuracies = []
            for seed in options.seeds or seeds:
                data = [] if change is None else ["--data", folder]
                status, text, seconds, megabytes = run(*example, *data, "--seed", seed, cwd=folder)
                found = re.search(r"^test accuracy (\S+)% on 10000 images$", text, re.MULTILINE)
                accuracy = float(found[1]) if found else 0.0
                is_large = megabytes > MEGABYTES and name != "train_pytorch"
                missed = status != 0 or is_large or accuracy < target - SINGLE
                accuracies.append(accuracy)
                failed |= missed
                row = f"{accuracy:.2f}%{' missed' if missed else ''} | {seconds:.0f} s | {megabytes:.0f} MB"
                print(f"| {name} | {seed} | {row} |", flush=True)
            mean = sum(accuracies) / len(accuracies)
            if len(accuracies) >= 3:
                missed = mean < target
                failed |= missed
                print(f"| {name} | mean | {mean:.2f}%{' missed' if missed else ''} | | |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
