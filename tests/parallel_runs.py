"""Trainings that the tests run under mpiexec: ``python -m mpi4py parallel_runs.py FOLDER CASE OPTIONS``.

OPTIONS is JSON: ``leaf_size`` and ``synchronised`` for `DataParallel`; ``resume``, true for all processes or the name
of one that resumes alone; ``catches``, whether errors and interrupts are caught: with "again" training then goes on,
and with "all" errors that it ends by are caught, too; ``checkpoints``, their folder, with a file after ``every`` so
many iterations; ``once``, whether one process loads the data; the rest for `Solver`.
Every process writes what it ends with to FOLDER/RANK.npz. The first one appends the iteration at which its training
begins to FOLDER/begun.txt.
"""

import contextlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import convnet
from convnet import Affine, Augmentation, BatchNorm2D, Conv2D, Dropout, MaxPool2D, Mixup, ReLU, Residual, Sequential
from convnet.training.state import TrainingState


class Recorder(convnet.Callback):
    """Keeps what it sees, and in some cases interferes."""

    def __init__(self, case):
        self.case, self.seen = case, []

    def on_iteration_end(self, solver):
        self.seen.append(solver.iteration)
        if self.case == "slow":
            time.sleep(0.025)
        if self.case == "stopped" and solver.iteration == 5:
            solver.stop()
        if self.case == "slower" and solver.iteration == 5:
            solver.optimizer.learning_rate = 1e-6
        if self.case == "callback fails" and solver.iteration == 5:
            raise LookupError("the callback of the first process")
        if self.case == "callback leaves" and solver.iteration == 5:
            sys.exit()
        if self.case.startswith("callback interferes") and solver.iteration == 5:
            solver.schedule = None


class Failing(convnet.Layer):
    """Raises an error in the forward pass of one process, or once in the backward pass of all of them.

    With `leaves` it ends the program of that process instead.
    """

    kind = "failing"

    def __init__(self, rank, wanted=None, leaves=False):
        super().__init__()
        self.rank, self.wanted, self.leaves, self.calls = rank, wanted, leaves, 0

    def forward(self, x, rng=None):
        self.calls += 1
        if self.rank == self.wanted and self.calls > 6:
            raise SystemExit if self.leaves else LookupError("a layer of one process")
        return x, None

    def backward(self, dy, cache, need_dx=True):
        if self.wanted is None and self.calls == 4:
            time.sleep(0.2 * (self.rank % 2))  # so that some have seen more messages arrive than others
            self.calls += 1
            raise LookupError("a layer of all processes")
        return dy, {}


class FailingMomentum(convnet.Momentum):
    """Raises an error at the end of a step of another process than the first, once."""

    rank = calls = 0

    def update(self, params, grads):
        super().update(params, grads)
        self.calls += 1
        if self.rank and self.calls == 4:
            raise LookupError("an optimizer of one process")


class Levelled(convnet.Layer):
    """Divides by a running mean, which its backward pass needs, too, and counts the steps."""

    kind = "levelled"

    def __init__(self):
        super().__init__()
        self.state = {"level": np.ones((), np.float32), "steps": np.zeros((), np.int64)}

    def __call__(self, x):
        return x / self.state["level"]

    def forward(self, x, rng=None):
        return self(x), x

    def backward(self, dy, cache, need_dx=True):
        return dy / self.state["level"], {}

    def update_state(self, cache):
        level = 0.5 * self.state["level"] + 0.5 * np.abs(cache).mean()
        self.state = {"level": np.array(level, np.float32), "steps": np.array(self.state["steps"] + 1)}


def mirrored(x, rng):
    """Return an array of another dtype and another order in memory."""
    return x.astype(np.float64)[..., ::-1]


class Uneven:
    """A loss that is another one in each process."""

    def __init__(self, rank):
        self.factor = 1 + rank

    def __call__(self, scores, labels):
        loss, dscores = convnet.softmax_loss(scores, labels)
        return self.factor * loss, self.factor * dscores


def data_of(case, count=150):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 12, 12), np.uint8)
    labels = rng.integers(0, 4, count)
    if case == "weighted":
        parts = {
            name: convnet.ImageData(images[part].transpose(0, 2, 3, 1), labels[part], list("abcd"))
            for name, part in (("train", slice(0, 120)), ("validation", slice(120, None)))
        }
        data, statistics = convnet.preprocess_parts(parts, keep_uint8=True)
        return data | {"weights_train": rng.uniform(0, 2, 120)}, statistics
    x = (images / np.float32(255) - np.float32(0.5)) * 2
    return {"x_train": x[:120], "y_train": labels[:120], "x_validation": x[120:], "y_validation": labels[120:]}, None


def position_in_order(data, position):
    """Return which training example is at a position of the first epoch, whose seed is 1."""
    state = TrainingState(Sequential([Affine(2, 2, rng=np.random.default_rng(0))], (2,)), 120, 1)
    state.shuffle(0)
    return state.order[position]


def make(case, rank=0, distributed=None, callbacks=(), data=None, **options):
    """Return the Solver of a case."""
    rng = np.random.default_rng(rank if case == "other parameters" else 7)
    data, statistics = data or data_of(case)
    if case == "other labels" and rank:
        data["y_train"] = data["y_train"][::-1].copy()
    if case == "other weights":
        data["weights_train"] = np.full(120, 1.0 + rank)
    if case == "other inputs":
        data["x_train"] += rank
    if case == "input not finite":
        data["x_train"][position_in_order(data, 31), 0, 6, 6] = np.nan  # in the last leaf of the first minibatch
    dtype = np.float64 if case == "exact" else np.float32

    def block(inputs, filters):
        return [Conv2D(inputs, filters, 3, padding=1, bias=False, rng=rng), BatchNorm2D(filters), ReLU()]

    loss, augmentation, optimizer, average = convnet.softmax_loss, None, convnet.Momentum(0.05), None
    if case == "normalized":
        layers = [*block(3, 8), Residual([*block(8, 16)], [Conv2D(8, 16, 1, rng=rng)]), MaxPool2D(2)]
        layers += [Affine(16 * 36, 4, rng=rng)]
    elif case in ("exact", "weighted", "input not finite"):  # nothing that looks at a leaf alone
        layers = [Conv2D(3, 8, 3, padding=1, dtype=dtype, rng=rng), ReLU(), MaxPool2D(2)]
        layers += [Affine(8 * 36, 4, dtype=dtype, rng=rng)]
        loss = partial(convnet.softmax_loss, class_weights=[1, 2, 3, 4], smoothing=0.1)
        augmentation = Augmentation(shift=1, rotation=5)
        if case == "exact":
            data = {name: x.astype(dtype) if name[0] == "x" else x for name, x in data.items()}
            augmentation = Mixup(0.4, augmentation)
        else:
            optimizer = convnet.Adam(1e-3, weight_decay=1e-2)
    elif case == "own layer":
        layers = [Conv2D(3, 8, 3, padding=1, rng=rng), Levelled(), ReLU(), MaxPool2D(2), Affine(8 * 36, 4, rng=rng)]
        augmentation = mirrored
    else:
        layers = [*block(3, 8), Residual([*block(8, 8)]), MaxPool2D(2), Dropout(0.3), Affine(8 * 36, 4, rng=rng)]
        augmentation = Mixup(0.4, Augmentation(shift=1, rotation=0, flip=True, cutout=3))
        optimizer, average = convnet.Momentum(0.05, nesterov=True, clip_norm=1.0), 0.9
    if case in ("layer fails", "layer leaves"):
        layers.insert(0, Failing(rank, 1, case == "layer leaves"))
    if case == "optimizer fails":
        optimizer = FailingMomentum(0.05)
        optimizer.rank = rank
    if case == "other losses":
        loss, augmentation = Uneven(rank), None
    if case == "layer of all fails":
        layers = [Conv2D(3, 4, 3, padding=1, rng=rng), Failing(rank), ReLU()]
        layers += [Affine(4 * 144, 40, rng=rng), Affine(40, 40, rng=rng), Affine(40, 4, rng=rng)]
    if case == "other generator":
        rng = np.random.default_rng(rank)
    l2 = 0 if case.endswith("no l2") else 1e-3
    model = Sequential(layers, (3, 12, 12), l2=l2, loss=loss, rng=rng)
    model.statistics = statistics
    arguments = {"batch_size": 32, "epochs": 3, "seed": 1, "average": average, "num_train_check": 20}
    arguments |= {"schedule": convnet.OneCycle(6)} | options
    if case == "other epochs":
        arguments["epochs"] += rank
    solver = convnet.Solver(
        model, data, optimizer, augmentation=augmentation, distributed=distributed, callbacks=callbacks, **arguments
    )
    if case == "diverging":
        solver.optimizer.learning_rate = 1e30
    return solver


def outcome(solver):
    """Return all that a training leaves behind, as arrays by name."""
    arrays = {f"model {name}": array for name, array in (*solver.model.params.items(), *solver.model.state.items())}
    arrays |= {f"best {name}": array for name, array in (*solver.best_params.items(), *solver.best_state.items())}
    arrays |= {
        f"optimizer {name} {key}": array for name, kept in solver.optimizer.state.items() for key, array in kept.items()
    }
    streams = [rng.bit_generator.state for rng in (solver.model.rng, solver.state.shuffling, solver.state.augmenting)]
    return arrays | {
        "losses": np.array(solver.loss_history),
        "accuracies": np.array([solver.train_accuracy_history, solver.validation_accuracy_history]),
        "streams": np.array(json.dumps(streams, default=str)),
        "iteration": np.array(solver.iteration),
    }


def main(folder, case, options):
    from convnet.distributed import DataParallel

    options = json.loads(options)
    distributed = DataParallel(options.pop("leaf_size", 4), synchronised=options.pop("synchronised", False))
    recorder, resume, catches = Recorder(case), options.pop("resume", False), options.pop("catches", False)
    callbacks = [recorder]
    data = None
    if options.pop("once", False):

        def load():
            with open(Path(folder) / "loads.txt", "a") as file:
                print(distributed.rank, file=file)
            if case == "load fails":
                raise LookupError("the data of the first process")
            data, statistics = data_of(case)
            for name in ("x_train", "x_validation") if case == "exact" else ():  # mapped, and with gaps
                np.save(Path(folder) / f"{name}.npy", data[name])
                data[name] = np.load(Path(folder) / f"{name}.npy", mmap_mode="r")
                data[f"y{name[1:]}"] = np.repeat(data[f"y{name[1:]}"], 2)[::2]
            return data, statistics

        try:
            data = distributed.load_once(load)
        except (LookupError, RuntimeError) as error:
            if not catches:
                raise
            (Path(folder) / f"{distributed.rank}.txt").write_text(f"{type(error).__name__}: {error}")
            return
        assert not any(array.flags.writeable for array in data[0].values())
    if case == "one loads" and distributed.is_first:
        distributed.load_once(dict)
    if "checkpoints" in options:
        callbacks.append(convnet.Checkpoint(options.pop("checkpoints"), iterations=options.pop("every", 1)))
    solver = make(case, distributed.rank, distributed, callbacks, data, **options)
    place = Path(folder) / "checkpoints"
    if resume == "one" and distributed.rank:  # where it stands already: as after a race for the first checkpoint
        solver.save(Path(folder) / "start.npz")
        solver.resume(Path(folder) / "start.npz")
    elif resume and (resume != "first" or distributed.is_first) and list(place.glob("*.npz")):
        solver.resume(place)
    if case == "one trains" and not distributed.is_first:
        return
    if distributed.is_first:
        with open(Path(folder) / "begun.txt", "a") as file:
            print(solver.iteration, file=file)
    try:
        solver.train()
    except (LookupError, FloatingPointError, KeyboardInterrupt):
        if not catches:
            raise
    except RuntimeError:
        if catches != "all":
            raise
    if catches == "all":
        with contextlib.suppress(RuntimeError):
            solver.train()
    if catches == "again":
        if case == "diverging":
            solver.optimizer.learning_rate = 0.01
        solver.train()
    seen = {"seen": np.array(recorder.seen), "threads": np.array(convnet.get_num_threads())}
    with open(Path(folder) / f"{distributed.rank}.npz", "wb") as file:
        np.savez(file, **outcome(solver), **seen)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
