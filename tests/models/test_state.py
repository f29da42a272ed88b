"""State of the layers, such as running statistics: it belongs to the model, as the parameters do."""

import copy
import io
import pickle

import numpy as np
import pytest
from batch_norm import BatchNorm, arrays_of, batch, equal, make_data, make_model, make_solver, outcome

import convnet
from convnet import Adam, Affine, Layer, Momentum, ReLU, Sequential, Solver, Workspace, load_model, save_model
from convnet.formats import read_archive
from convnet.layers import LAYERS

# --------------------------------------------------------------------------------------------- when it is updated


def updates(model):
    return [layer.updates for layer in model.layers.values() if isinstance(layer, BatchNorm)]


def test_a_training_step_updates_the_state_once(rng):
    model, optimizer, workspace = make_model(), Adam(0.01), Workspace()
    x, labels = batch()
    for count in range(1, 4):
        before, (mean, var) = arrays_of(model), (x.mean(axis=0), x.var(axis=0))
        model.train_step(x, labels, optimizer, workspace)
        assert updates(model) == [count, count]
        for name, value in (("mean", mean), ("var", var)):
            old = before[f"norm1.running_{name}"]
            np.testing.assert_allclose(model.state[f"norm1.running_{name}"], old + 0.1 * (value - old), rtol=1e-5)
        for name, array in model.state.items():
            assert (array != before[name]).any()


def test_nothing_but_a_training_step_changes_the_state():
    solver = make_solver()
    model, before = solver.model, arrays_of(solver.model)
    x, labels = batch()
    for _ in range(2):
        model.loss(x, labels)
        model.scores(x)
        model.predict(x)
        model.probabilities(x)
        model.first_non_finite(x)
        solver.check_accuracy(x, labels)
        solver._check_if_due()
        repr(model), model.summary(), str(model.plan())
    equal(arrays_of(model), before)
    assert updates(model) == [0, 0]


@pytest.mark.parametrize("optimizer", [convnet.SGD, Momentum, Adam])
def test_a_training_of_k_steps_updates_k_times(optimizer):
    solver = make_solver(optimizer=optimizer)
    solver.train()
    assert updates(solver.model) == [solver.num_iterations] * 2 == [24, 24]


class Weighted(Sequential):
    """A model with a loss of its own."""

    def loss(self, x, labels):
        loss, grads = super().loss(x, labels)
        return 2 * loss, {name: 2 * grad for name, grad in grads.items()}


@pytest.mark.parametrize("cls", [Sequential, Weighted])
def test_a_loss_that_is_not_finite_leaves_the_state(cls):
    model = make_model(cls=cls)
    x, labels = batch()
    before = arrays_of(model)
    with np.errstate(all="ignore"):
        assert not np.isfinite(model.train_step(np.full_like(x, np.nan), labels, Adam(0.1)))
    equal(arrays_of(model), before)
    assert updates(model) == [0, 0]


def test_the_state_of_a_subclass_with_a_loss_of_its_own_is_updated_once_a_step(rng):
    plain, weighted = make_model(), make_model(cls=Weighted)
    x, labels = batch()
    optimizers = Adam(0.01), Adam(0.01)
    for count in range(1, 4):
        plain.train_step(x, labels, optimizers[0])
        weighted.train_step(x, labels, optimizers[1])
        assert updates(weighted) == [count, count]
    assert weighted.state["norm1.running_mean"].tobytes() == plain.state["norm1.running_mean"].tobytes()
    weighted.loss(x, labels)  # for once not in a training step
    assert updates(weighted) == [3, 3]


def test_a_loss_that_fails_leaves_no_trace():
    class Failing(Sequential):
        def loss(self, x, labels):
            super().loss(x, labels)
            raise ZeroDivisionError

    model = make_model(cls=Failing)
    x, labels = batch()
    with pytest.raises(ZeroDivisionError):
        model.train_step(x, labels, Adam(0.01))
    assert updates(model) == [0, 0]
    with pytest.raises(ZeroDivisionError):
        model.loss(x, labels)
    assert updates(model) == [0, 0]


# ------------------------------------------------------------------------------------- parameters and state together


def test_state_has_names_like_parameters():
    model = make_model()
    names = [f"norm{number}.running_{what}" for number in (1, 2) for what in ("mean", "var")]
    assert list(model.state) == names
    assert model.state[names[0]] is model.layers["norm1"].state["running_mean"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.state[names[0]] = np.zeros(6)
    assert Sequential([ReLU()], (3,)).state == {}


def test_load_state_refuses_what_does_not_fit_and_changes_nothing():
    model, other = make_model(), make_model()
    other.train_step(*batch(), Adam(0.1))
    before = arrays_of(model)
    with pytest.raises(ValueError, match=r"norm2.running_var: expected shape \(16,\), got \(6,\)"):
        model.load_state(dict(other.state) | {"norm2.running_var": np.ones(6)})
    with pytest.raises(ValueError, match="expected the state "):
        model.load_state({})
    equal(arrays_of(model), before)
    model.load_state(other.state)
    model.load_params(other.params)
    equal(arrays_of(model), arrays_of(other))


def test_names_of_state_and_parameters_have_to_differ():
    class Both(BatchNorm):
        def __init__(self):
            super().__init__(3)
            self.state["weight"] = np.zeros(3)

    with pytest.raises(ValueError, match=r"state and parameters share the names \['norm1.weight'\]$"):
        Sequential([Both()], (3,))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_the_state(copied):
    model, optimizer = make_model(), Adam(0.01)
    x, labels = batch()
    for _ in range(3):
        model.train_step(x, labels, optimizer)
    other = copied(model)
    equal(arrays_of(other), arrays_of(model))
    assert other.scores(x).tobytes() == model.scores(x).tobytes()
    assert not any(np.shares_memory(array, model.state[name]) for name, array in other.state.items())
    optimizers = copy.deepcopy(optimizer), optimizer
    for each, its in zip((other, model), optimizers, strict=True):
        each.train_step(x, labels, its)
    equal(arrays_of(other), arrays_of(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda solver: pickle.loads(pickle.dumps(solver))])
def test_a_copy_of_a_solver_goes_on_with_the_same_bits(copied):
    solver = make_solver(epochs=2)
    solver.train()
    other = copied(solver)
    for each in (solver, other):
        each.epochs = 4
        each.train()
    assert outcome(other) == outcome(solver)


def test_a_model_file_keeps_the_state(tmp_path, monkeypatch):
    monkeypatch.setitem(LAYERS, "BatchNorm", BatchNorm)
    model = make_model()
    x, labels = batch()
    for _ in range(3):
        model.train_step(x, labels, Adam(0.01))
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    equal(arrays_of(loaded), arrays_of(model))
    assert loaded.scores(x).tobytes() == model.scores(x).tobytes()
    header, arrays = read_archive(tmp_path / "model.npz", "model", (2,))
    assert header["version"] == 2
    assert set(arrays) == set(model.params) | {f"state.{name}" for name in model.state}
    save_model(Sequential([Affine(3, 2, rng=np.random.default_rng(0))], (3,)), tmp_path / "plain.npz")
    assert read_archive(tmp_path / "plain.npz", "model", (1,))[0]["version"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state.norm1.running_mean": None}, "expected the state "),
        ({"state.norm1.more": np.zeros(6, np.float32)}, "expected the state "),
        (
            {"state.norm1.running_mean": np.zeros(5, np.float32)},
            r"norm1.running_mean: expected shape \(6,\), got \(5,\)",
        ),
        ({"state.norm1.running_mean": np.zeros(6, bool)}, "norm1.running_mean: expected real numbers"),
    ],
)
def test_a_model_file_of_another_state_is_named(tmp_path, monkeypatch, change, message):
    monkeypatch.setitem(LAYERS, "BatchNorm", BatchNorm)
    save_model(make_model(), tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        arrays = dict(file) | change
    np.savez(tmp_path / "model.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=rf"model\.npz: expected a model file of convnet: {message}"):
        load_model(tmp_path / "model.npz")


def test_a_layer_may_count_in_its_state(tmp_path, monkeypatch):
    class Counting(Layer):
        kind = "counting"

        def __init__(self):
            super().__init__()
            self.state = {"steps": np.array(2**24, np.int64)}

        def forward(self, x, rng=None):
            return x, None

        def backward(self, dy, cache, need_dx=True):
            return dy, {}

        def update_state(self, cache):
            self.state["steps"] += 1

    monkeypatch.setitem(LAYERS, "Counting", Counting)

    def make(*callbacks):
        model = Sequential([Counting(), Affine(6, 3, rng=np.random.default_rng(0))], (6,))
        return Solver(model, make_data(), Adam(0.05), batch_size=10, epochs=2, callbacks=callbacks)

    whole = make(convnet.Checkpoint(tmp_path, iterations=5, keep=100))
    whole.train()
    assert whole.best_state["counting1.steps"] == whole.model.state["counting1.steps"]
    again = make()
    again.resume(next(tmp_path.glob("*-0000000005.npz")))
    assert again.model.state["counting1.steps"] == 2**24 + 5
    again.train()
    assert outcome(again) == outcome(whole)
    save_model(again.model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert loaded.state["counting1.steps"] == again.model.state["counting1.steps"]
    assert loaded.state["counting1.steps"].dtype == np.int64
    with pytest.raises(TypeError, match=r"counting1\.steps: expected int64, got float64"):
        loaded.load_state({"counting1.steps": 1.5})


# -------------------------------------------------------------------------------------------- what is regularised


def test_l2_leaves_alone_what_the_layer_does_not_regularise():
    plain, decayed = make_model(), make_model(l2=0.5)
    x, labels = batch()
    assert decayed.plan().regularised == {"affine1.weight", "affine2.weight"}
    (loss, grads), (with_l2, with_l2_grads) = plain.loss(x, labels), decayed.loss(x, labels)
    squares = sum((plain.params[name].astype(float) ** 2).sum() for name in ("affine1.weight", "affine2.weight"))
    assert with_l2 == pytest.approx(loss + 0.25 * squares, rel=1e-5)
    for name, grad in grads.items():
        decay = 0.5 * plain.params[name] if name in decayed.plan().regularised else 0
        np.testing.assert_allclose(with_l2_grads[name], grad + decay, rtol=1e-4, atol=1e-6, err_msg=name)


class Shift(Layer):
    """A layer whose bias is regularised, and whose weight is not."""

    kind = "shift"

    def __init__(self, features):
        super().__init__()
        self.params = {"weight": np.ones(features, np.float32), "bias": np.full(features, 2, np.float32)}

    @property
    def regularised(self):
        return frozenset({"bias"})

    def forward(self, x, rng=None):
        return x * self.params["weight"] + self.params["bias"], x

    def backward(self, dy, cache, need_dx=True):
        return dy * self.params["weight"], {"weight": (dy * cache).sum(axis=0), "bias": dy.sum(axis=0)}


@pytest.mark.parametrize("optimizer", [convnet.SGD, Momentum])
def test_l2_follows_what_is_regularised_in_a_training_step(optimizer):
    x, labels = np.zeros((4, 3), np.float32), [0, 1, 2, 0]
    plain, decayed = (Sequential([Shift(3)], (3,), l2=l2) for l2 in (0, 0.5))
    for model in (plain, decayed):
        model.train_step(x, labels, optimizer(0.1))
    assert decayed.params["shift1.weight"].tobytes() == plain.params["shift1.weight"].tobytes()
    np.testing.assert_allclose(decayed.params["shift1.bias"], plain.params["shift1.bias"] - 0.1 * 0.5 * 2, rtol=1e-5)


def test_weight_decay_follows_what_is_regularised():
    x, labels = np.zeros((4, 3), np.float32), [0, 1, 2, 0]
    plain, decayed = (Sequential([Shift(3)], (3,)) for _ in range(2))
    plain.train_step(x, labels, Adam(0.1))
    optimizer = Adam(0.1, weight_decay=0.5)
    assert optimizer.regularised is None
    decayed.train_step(x, labels, optimizer)
    assert optimizer.regularised == {"shift1.bias"}
    assert decayed.params["shift1.weight"].tobytes() == plain.params["shift1.weight"].tobytes()
    np.testing.assert_allclose(decayed.params["shift1.bias"], plain.params["shift1.bias"] - 0.1 * 0.5 * 2, rtol=1e-5)
    model = make_model()
    before = arrays_of(model)
    optimizer = Adam(0.1, weight_decay=0.5)
    with np.errstate(all="ignore"):
        model.train_step(*batch(), optimizer)
    twin = make_model()
    twin.train_step(*batch(), Adam(0.1))
    for name, param in model.params.items():
        if name.startswith("norm"):
            assert param.tobytes() == twin.params[name].tobytes(), name
        elif name.endswith("weight"):
            np.testing.assert_allclose(param, twin.params[name] - 0.05 * before[name], rtol=1e-4, atol=1e-6)


def test_an_optimizer_without_a_model_decays_what_is_called_weight():
    params = {"a.weight": np.ones(2), "a.bias": np.ones(2)}
    Adam(0.1, weight_decay=0.5).update(params, {name: np.zeros(2) for name in params})
    np.testing.assert_allclose(params["a.weight"], 0.95)
    np.testing.assert_allclose(params["a.bias"], 1)


def test_the_state_is_shown_by_no_table(capsys):
    model = make_model()
    assert "running" not in model.summary() + repr(model)
    output = io.StringIO()
    make_solver([convnet.ProgressBar(output)], epochs=1).train()
    assert "epoch 1/1" in output.getvalue()
