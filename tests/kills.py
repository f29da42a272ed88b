"""Kill trainings at random moments and resume them, and compare the bytes of their ends with those of one left alone.

    python tests/kills.py --kills 1000

The training has what has a state: batch normalization, a depthwise convolution in a residual connection, dropout,
moving averages, a schedule that looks at the accuracies, augmentation and mixup of raw images, and a callback that
writes a file of its own. A checkpoint is written after every third step. Each training has to go on from the newest one
in the folder, and never from an earlier step than before. A training that ends before it is killed is compared, and
another one begins. The folder of a comparison that fails stays.
"""

import argparse
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import convnet
from convnet import Affine, BatchNorm2D, Conv2D, ReLU, Residual

LEAST_TORN = 3  # kills while a checkpoint was being written


def train(folder: str, out: str) -> None:
    """Train, from the last checkpoint in the folder if there is one, and write what the training leaves."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (350, 8, 8), dtype=np.uint8), rng.integers(0, 3, 350)
    parts = images[:300], labels[:300], images[300:], labels[300:]
    data, statistics = convnet.preprocess(*parts, num_validation=50, num_test=None, keep_uint8=True)
    layers = [
        Conv2D(1, 8, 3, padding=1, bias=False, rng=rng),
        BatchNorm2D(8),
        ReLU(),
        Residual([Conv2D(8, 8, 3, padding=1, groups=8, rng=rng), BatchNorm2D(8)]),
        convnet.Dropout(0.3),
        Affine(512, 200, rng=rng),
        BatchNorm2D(200),
        ReLU(),
        Affine(200, 3, rng=rng),
    ]
    model = convnet.Sequential(layers, (1, 8, 8))
    model.statistics = statistics
    augmentation = convnet.Mixup(0.4, convnet.Augmentation(flip=True, brightness=0.1, cutout=3))
    callbacks = [convnet.Checkpoint(folder, iterations=3), convnet.FilterAnimation(out + ".gif", frames=10)]
    solver = convnet.Solver(
        model,
        data,
        convnet.Adam(1e-3),
        schedule=convnet.PlateauDecay(0.5, patience=5),
        epochs=48,
        batch_size=10,
        augmentation=augmentation,
        average=0.99,
        callbacks=callbacks,
    )
    with contextlib.suppress(FileNotFoundError):
        solver.resume(folder)
    print("ready", solver.iteration, flush=True)
    solver.train()
    histories = [solver.loss_history, solver.train_accuracy_history, solver.validation_accuracy_history]
    arrays = {"best": solver.best_params | solver.best_state, "average": solver.state.averages}
    arrays = {f"{kind} {name}": array for kind, found in arrays.items() for name, array in found.items()}
    np.savez(out, *map(np.array, histories), **model.params, **model.state, **arrays)


class Runs:
    """Trainings in processes of their own, by name."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.reached = 0  # the iteration that the training went on from last
        self.resumed = 0  # how many went on from a checkpoint

    def newest(self, name: str) -> int:
        """Return the iteration of the newest checkpoint of a training, 0 if there is none."""
        paths = (self.place / name).glob("checkpoint-*.npz")
        return max((int(path.stem.rpartition("-")[2]) for path in paths), default=0)

    def start(self, name: str) -> subprocess.Popen:
        """Start a training, or go on from its newest checkpoint, and return when its next step is near."""
        before, self.reached = self.reached, self.newest(name)
        assert self.reached >= before, f"{self.place}: after iteration {before} the newest one is {self.reached}"
        self.resumed += self.reached > 0
        expected = f"ready {self.reached}\n"
        command = [sys.executable, "-P", __file__, "--train", self.place / name, self.place / f"{name}.npz"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ready = process.stdout.readline()
        if ready != expected:
            process.kill()
            raise AssertionError(f"{self.place}: expected {expected!r}, got {ready!r}\n{process.communicate()[1]}")
        return process

    def has_ended(self, process: subprocess.Popen) -> bool:
        """Wait for a process, and return whether it ended by itself."""
        _, errors = process.communicate(timeout=600)  # on a busy machine
        assert process.returncode in (0, -signal.SIGKILL), errors
        return process.returncode == 0

    def result(self, name: str) -> list[bytes]:
        """Return the bytes that a training has left: the arrays and the animation."""
        return [(self.place / f"{name}.{suffix}").read_bytes() for suffix in ("npz", "npz.gif")]


def compare(place: Path, least: int, seed: int = 0) -> tuple[int, int, int]:
    """Kill trainings so many times, and compare each with one that was left alone.

    Returns
    -------
    kills, torn, ends : int
        How many kills there were, how many of them left a half-written checkpoint, and how many trainings ended and
        were compared.
    """
    runs, began = Runs(place), time.monotonic()
    assert runs.has_ended(runs.start("whole"))
    longest = min(0.3, (time.monotonic() - began) / 4)
    expected, moments, kills, ends, torn = runs.result("whole"), random.Random(seed), 0, 0, set()
    while kills < least or len(torn) < LEAST_TORN:  # a fast machine ends several trainings meanwhile
        assert kills < least + 270, "no kill met a checkpoint that was being written"
        process = runs.start("killed")
        time.sleep(moments.uniform(0, longest))
        process.kill()
        if runs.has_ended(process):
            assert runs.result("killed") == expected, f"{place}: another end after {kills} kills"
            shutil.rmtree(place / "killed")
            runs.reached, ends = 0, ends + 1
        else:
            kills += 1
            torn |= {path.name for path in (place / "killed").glob("*.tmp")}
    assert runs.has_ended(runs.start("killed"))
    assert runs.result("killed") == expected, f"{place}: another end after {kills} kills"
    assert runs.resumed, "no training went on from a checkpoint"
    return kills, len(torn), ends + 1


def main() -> None:
    """Compare, and print the numbers."""
    parser = argparse.ArgumentParser(description="Kill trainings, resume them, and compare their ends.")
    parser.add_argument("--kills", type=int, default=1000, help="least number of kills (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments (default: 0)")
    parser.add_argument("--train", nargs=2, metavar=("FOLDER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(*options.train)
        return
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="convnet-kills-"))
    try:
        kills, torn, ends = compare(folder, options.kills, options.seed)
    except BaseException:
        print(f"the trainings are kept in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)
    print(
        f"kills {kills:,}, in the middle of a write {torn:,}; trainings that ended with the same bytes {ends:,}; "
        f"{time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
