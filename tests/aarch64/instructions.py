"""Count the instructions of some works on an emulated aarch64: a count is the same on every machine.

    python tests/aarch64/instructions.py PYTHON PLUGIN

PYTHON is an emulated Python that has the library, PLUGIN the library made from instructions.c; run.sh makes both.
A work is done once and three times, each in a process of its own with one thread: half of the difference is its count.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial

SETS = ("none", "portable", "neon")
REPEATS = (1, 3)


def works():
    """Return the works by name: functions without arguments."""
    import numpy as np

    import convnet
    from convnet import functional

    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((2, 32, 28, 28), dtype=np.float32) for _ in range(2))
    weight, bias = rng.standard_normal((32, 32, 3, 3), dtype=np.float32), np.zeros(32, np.float32)
    images, labels = rng.standard_normal((10, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 10)
    model, optimizer = convnet.ConvNet1(), convnet.SGD(0.01)
    found = {}
    for name, winograd in (("direct", False), ("by Winograd", True)):
        options = {"padding": 1, "winograd": winograd}
        found[f"3x3 convolution, {name}, forward"] = partial(functional.conv2d_forward, x, weight, bias, **options)
        found[f"3x3 convolution, {name}, backward"] = partial(functional.conv2d_backward, dy, x, weight, **options)
    found["training step of ConvNet1"] = partial(model.train_step, images, labels, optimizer)
    assert tuple(found) == NAMES
    return found


# As `works` has them, for the process that counts, whose Python need not have the library.
NAMES = (
    "3x3 convolution, direct, forward",
    "3x3 convolution, direct, backward",
    "3x3 convolution, by Winograd, forward",
    "3x3 convolution, by Winograd, backward",
    "training step of ConvNet1",
)


def count(python, plugin, name, instruction_set):
    """Return the instructions of a work, those that multiply and add vectors, and those that load or store."""
    counts = []
    for repeats in REPEATS:
        with tempfile.NamedTemporaryFile("r") as log:
            environment = os.environ | {
                "QEMU_PLUGIN": f"file={plugin}",
                "QEMU_LOG": "plugin",
                "QEMU_LOG_FILENAME": log.name,
                "CONVNET_SIMD": instruction_set,
                "CONVNET_NUM_THREADS": "1",
                "PYTHONHASHSEED": "0",
            }
            subprocess.run([python, "-P", __file__, "--work", name, str(repeats)], check=True, env=environment)
            counts.append([int(number) for number in log.read().split()])
    return [(more - less) / (REPEATS[1] - REPEATS[0]) for less, more in zip(*counts, strict=True)]


def main(python, plugin):
    """Print a table of the counts."""
    print("| work | instruction set | instructions | multiply-adds of vectors | loads and stores |")
    print("| --- | --- | --- | --- | --- |")
    for name in NAMES:
        for instruction_set in SETS:
            numbers = count(python, plugin, name, instruction_set)
            columns = " | ".join(f"{number / 1e6:.2f} M" for number in numbers)
            print(f"| {name} | `{instruction_set}` | {columns} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        work = works()[sys.argv[2]]
        for _ in range(int(sys.argv[3])):
            work()
    else:
        main(*sys.argv[1:])
