"""Solvers for the tests of checkpoints, and what a training of theirs leaves behind."""

import numpy as np

import convnet

OPTIMIZERS = {
    "SGD": lambda: convnet.SGD(0.05),
    "Momentum": lambda: convnet.Momentum(0.02, nesterov=True),
    "RMSProp": lambda: convnet.RMSProp(1e-3),
    "clipped": lambda: convnet.Momentum(0.02, clip_norm=0.5),
    "Adadelta": lambda: convnet.Adadelta(),
    "Adam": lambda: convnet.Adam(1e-3, weight_decay=0.01),
}


def make_data(seed=0, count=90):
    rng = np.random.default_rng(seed)
    x, labels = rng.standard_normal((count, 1, 8, 8), np.float32), rng.integers(0, 3, count)
    return {"x_train": x, "y_train": labels, "x_validation": x[:31] + 0.1, "y_validation": labels[:31]}


def make_solver(optimizer="SGD", callbacks=(), data=None, **changes):
    model_options = {
        name: changes.pop(name) for name in ("hidden_size", "l2", "loss", "dtype", "fuse") if name in changes
    }
    options = {"batch_size": 7, "epochs": 4, "seed": 3, "num_train_check": 20, "augmentation": convnet.Augmentation()}
    options |= {"schedule": convnet.EpochDecay(0.7)} | changes
    model = convnet.ConvNet1(
        (1, 8, 8),
        num_filters=3,
        num_classes=3,
        seed=1,
        **{"hidden_size": 9, "dropout": convnet.Dropout(0.4)} | model_options,
    )
    return convnet.Solver(model, data or make_data(), OPTIMIZERS[optimizer](), callbacks=callbacks, **options)


def outcome(solver):
    """Return the bytes of all that a training leaves behind."""
    params = {**solver.model.params, **{f"best {name}": param for name, param in solver.best_params.items()}}
    histories = [solver.loss_history, solver.train_accuracy_history, solver.validation_accuracy_history]
    streams = [rng.bit_generator.state for rng in (solver.model.rng, solver.state.shuffling, solver.state.augmenting)]
    return {name: param.tobytes() for name, param in params.items()}, histories, streams, solver.iteration


class Seen(convnet.Callback):
    """Keeps which iterations it saw, in checkpoints too."""

    def __init__(self):
        self.iterations = []

    def on_iteration_end(self, solver):
        self.iterations.append(solver.iteration)

    def state(self):
        return {"iterations": np.array(self.iterations)}

    def load_state(self, arrays):
        self.iterations = arrays["iterations"].tolist()
