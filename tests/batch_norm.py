"""A layer with state, a model of such layers, and a Solver that trains it, for the tests of state."""

import numpy as np

from convnet import Adam, Affine, Layer, ReLU, Sequential, Solver


class BatchNorm(Layer):
    """y = weight * (x - mean) / sqrt(var + 1e-5) + bias: by the batch in training, by running statistics otherwise."""

    kind = "norm"

    def __init__(self, features, rate=0.1):
        super().__init__()
        self.rate = rate
        self.params = {"weight": np.ones(features, np.float32), "bias": np.zeros(features, np.float32)}
        self.state = {"running_mean": np.zeros(features, np.float32), "running_var": np.ones(features, np.float32)}
        self.updates = 0

    @property
    def regularised(self):
        return frozenset()

    def hyperparameters(self):
        return {"rate": self.rate}

    @classmethod
    def from_params(cls, params, rate=0.1):
        layer = cls(len(params["weight"]), rate)
        layer.params = cls._copy_params(params, {"weight": 1, "bias": 1})
        return layer

    def __call__(self, x):
        normalised = (x - self.state["running_mean"]) / np.sqrt(self.state["running_var"] + np.float32(1e-5))
        return normalised * self.params["weight"] + self.params["bias"]

    def forward(self, x, rng=None):
        mean, var = x.mean(axis=0), x.var(axis=0)
        normalised = (x - mean) / np.sqrt(var + np.float32(1e-5))
        return normalised * self.params["weight"] + self.params["bias"], (normalised, mean, var)

    def backward(self, dy, cache, need_dx=True):
        normalised, _, var = cache
        grads = {"weight": (dy * normalised).sum(axis=0), "bias": dy.sum(axis=0)}
        centred = dy - grads["bias"] / len(dy) - normalised * grads["weight"] / len(dy)
        return centred * self.params["weight"] / np.sqrt(var + np.float32(1e-5)), grads

    def update_state(self, cache):
        self.updates += 1
        for name, value in zip(("running_mean", "running_var"), cache[1:], strict=True):
            self.state[name] += np.float32(self.rate) * (value - self.state[name])


def make_model(seed=0, cls=Sequential, **options):
    rng = np.random.default_rng(seed)
    layers = [BatchNorm(6), Affine(6, 16, rng=rng), BatchNorm(16), ReLU(), Affine(16, 3, rng=rng)]
    return cls(layers, (6,), **options)


def make_data(n=53, seed=1):
    """Return three classes of vectors that are neither centred nor of one scale."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 40, 6))
    labels = (x[:, :3] + x[:, 3:]).argmax(axis=1)
    x = (x * [1, 5, 0.1, 2, 1, 1] + [3, -2, 0, 1, 0, 9]).astype(np.float32)
    return {"x_train": x[:n], "y_train": labels[:n], "x_validation": x[n:], "y_validation": labels[n:]}


def make_solver(callbacks=(), optimizer=Adam, **options):
    model_options = {name: options.pop(name) for name in ("cls", "l2") if name in options}
    options = {"batch_size": 10, "epochs": 4, "num_train_check": 20} | options
    return Solver(make_model(**model_options), make_data(), optimizer(0.05), callbacks=callbacks, **options)


def arrays_of(model):
    """Return copies of all that a model is: its parameters and its state."""
    return {name: array.copy() for name, array in (*model.params.items(), *model.state.items())}


def equal(found, expected):
    """Assert that two dictionaries of arrays hold the same bits."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        assert array.tobytes() == expected[name].tobytes(), name


def outcome(solver):
    """Return the bytes of all that a training leaves behind."""
    arrays = arrays_of(solver.model)
    arrays |= {f"best {name}": array for name, array in (solver.best_params | solver.best_state).items()}
    histories = [solver.loss_history, solver.train_accuracy_history, solver.validation_accuracy_history]
    return {name: array.tobytes() for name, array in arrays.items()}, histories, solver.iteration


def batch(n=12):
    data = make_data()
    return data["x_train"][:n], data["y_train"][:n]
