"""The optimizers."""

import copy
import io

import numpy as np
import pytest
from guarded import using

from convnet import SGD, Adadelta, Adam, Momentum, Optimizer, RMSProp, _kernels

OPTIMIZERS = {
    "SGD": lambda: SGD(0.02),
    "Momentum": lambda: Momentum(0.02, 0.8),
    "Nesterov": lambda: Momentum(0.02, 0.9, nesterov=True),
    "RMSProp": lambda: RMSProp(0.01, decay=0.95, epsilon=1e-6),
    "Adadelta": lambda: Adadelta(0.5, decay=0.8, epsilon=1e-3),
    "Adam": lambda: Adam(0.01, beta1=0.85, beta2=0.99),
    "Adam with weight decay": lambda: Adam(0.02, weight_decay=0.1),
}


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def make(request):
    return request.param


def parameters(dtype=np.float64):
    rng = np.random.default_rng(11)
    shapes = {"conv1.weight": (3, 1, 2, 2), "conv1.bias": (3,), "affine1.weight": (7, 5), "affine1.bias": (5,)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def gradients(params, step):
    """Return gradients that depend on the parameters, so that an error in one step shows in all that follow."""
    rng = np.random.default_rng(step)
    return {
        name: (np.sin(3 * param) + rng.standard_normal(param.shape)).astype(param.dtype)
        for name, param in params.items()
    }


def train(optimizer, params, steps):
    for step in steps:
        optimizer.rate_factor = 1 / (1 + step / 50)
        optimizer.update(params, gradients(params, step))


def by_formula(kind, param, grads, rates):
    """Return the parameter after some updates by the published formulas, written with sums over all past gradients."""
    param, steps = param.copy(), []
    for t, rate in enumerate(rates, 1):
        past = np.array(grads[:t])
        ages = np.arange(t - 1, -1, -1).reshape(-1, *[1] * param.ndim)
        if kind == "SGD":
            param -= rate * past[-1]
        elif kind == "Momentum":
            param -= rate * (0.8**ages * past).sum(axis=0)
        elif kind == "Nesterov":
            param -= rate * ((0.9 ** (ages + 1) * past).sum(axis=0) + past[-1])
        elif kind == "RMSProp":
            param -= rate * past[-1] / (np.sqrt((0.05 * 0.95**ages * past**2).sum(axis=0)) + 1e-6)
        elif kind == "Adadelta":
            square = (0.2 * 0.8**ages * past**2).sum(axis=0)
            own = sum((0.2 * 0.8 ** (t - 2 - i) * step**2 for i, step in enumerate(steps)), np.zeros(param.shape))
            steps.append(np.sqrt(own + 1e-3) / np.sqrt(square + 1e-3) * past[-1])
            param -= rate * steps[-1]
        else:
            mean = (0.15 * 0.85**ages * past).sum(axis=0) / (1 - 0.85**t)
            square = (0.01 * 0.99**ages * past**2).sum(axis=0) / (1 - 0.99**t)
            param -= rate * mean / (np.sqrt(square) + 1e-8)
    return param


KINDS = [kind for kind in OPTIMIZERS if kind != "Adam with weight decay"]


@pytest.mark.parametrize("kind", KINDS)
def test_updates_follow_the_formulas(rng, dtype, kind):
    optimizer, start = OPTIMIZERS[kind](), rng.standard_normal((3, 5)).astype(dtype)
    grads = [rng.standard_normal((3, 5)).astype(dtype) for _ in range(8)]
    params = {"weight": start.copy()}
    rates = []
    for step, grad in enumerate(grads):
        optimizer.rate_factor = 1 - step / 10
        rates.append(optimizer.learning_rate * optimizer.rate_factor)
        optimizer.update(params, {"weight": grad})
    expected = by_formula(kind, start.astype(np.float64), np.array(grads, np.float64), rates)
    assert params["weight"].dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(params["weight"], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("instruction_set", _kernels.INSTRUCTION_SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_updates_follow_the_formulas_at_every_instruction_set(rng, kind, instruction_set):
    # As many elements as fill vectors, and some more.
    optimizer, start = OPTIMIZERS[kind](), rng.standard_normal(37).astype(np.float32)
    grads, params = [rng.standard_normal(37).astype(np.float32) for _ in range(4)], {"weight": start.copy()}
    with using(instruction_set):
        for grad in grads:
            optimizer.update(params, {"weight": grad})
    expected = by_formula(kind, start.astype(float), np.array(grads, float), [optimizer.learning_rate] * 4)
    np.testing.assert_allclose(params["weight"], expected, rtol=1e-5, atol=1e-5)


def test_adadeltas_first_steps_by_hand():
    optimizer, params = Adadelta(), {"weight": np.zeros(2)}
    optimizer.update(params, {"weight": np.array([1.0, -100.0])})
    first = np.sqrt(1e-6) / np.sqrt(0.1 * np.array([1, 1e4]) + 1e-6) * [1, -100]
    np.testing.assert_allclose(params["weight"], -first, rtol=1e-14)
    optimizer.update(params, {"weight": np.array([2.0, 0.0])})
    second = np.sqrt(0.1 * first[0] ** 2 + 1e-6) / np.sqrt(0.1 * 0.9 + 0.1 * 4 + 1e-6) * 2
    np.testing.assert_allclose(params["weight"], [-first[0] - second, -first[1]], rtol=1e-14)


def torch_optimizer(torch, kind, params):
    weights, biases = ([p for name, p in params.items() if end in name] for end in ("weight", "bias"))
    every = weights + biases
    if kind == "SGD":
        return torch.optim.SGD(every, lr=0.02)
    if kind == "Momentum":
        return torch.optim.SGD(every, lr=0.02, momentum=0.8)
    if kind == "Nesterov":
        return torch.optim.SGD(every, lr=0.02, momentum=0.9, nesterov=True)
    if kind == "RMSProp":
        return torch.optim.RMSprop(every, lr=0.01, alpha=0.95, eps=1e-6)
    if kind == "Adadelta":
        return torch.optim.Adadelta(every, lr=0.5, rho=0.8, eps=1e-3)
    if kind == "Adam":
        return torch.optim.Adam(every, lr=0.01, betas=(0.85, 0.99))
    groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.02, weight_decay=0.1)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_100_steps_equal_pytorchs(kind):
    torch = pytest.importorskip("torch")
    optimizer, params = OPTIMIZERS[kind](), parameters()
    theirs = {name: torch.tensor(param) for name, param in params.items()}
    their_optimizer = torch_optimizer(torch, kind, theirs)
    rate = their_optimizer.param_groups[0]["lr"]
    for step in range(100):
        optimizer.rate_factor = 1 / (1 + step / 50)
        for group in their_optimizer.param_groups:
            group["lr"] = rate * optimizer.rate_factor
        for name, grad in gradients({name: tensor.numpy() for name, tensor in theirs.items()}, step).items():
            theirs[name].grad = torch.tensor(grad)
        their_optimizer.step()
        optimizer.update(params, gradients(params, step))
        for name, param in params.items():
            np.testing.assert_allclose(param, theirs[name].numpy(), rtol=0, atol=1e-10, err_msg=f"{name}, step {step}")


def test_updates_are_in_place_and_leave_the_gradients(make, dtype):
    optimizer, params = make(), parameters(dtype)
    arrays, before = dict(params), {name: param.copy() for name, param in params.items()}
    grads = gradients(params, 0)
    kept = {name: grad.copy() for name, grad in grads.items()}
    optimizer.update(params, grads)
    state = {name: dict(arrays) for name, arrays in optimizer.state.items()}
    optimizer.update(params, grads)
    for name in params:
        assert params[name] is arrays[name]
        assert (params[name] != before[name]).all()
        np.testing.assert_array_equal(grads[name], kept[name])
        for key, array in state.get(name, {}).items():
            assert optimizer.state[name][key] is array
            assert array.dtype == (np.int64 if key == "steps" else dtype)


def test_state_can_be_saved_and_restored(make, dtype):
    params, optimizer = parameters(dtype), make()
    train(optimizer, params, range(5))
    # As it may be saved: a file of arrays, named by parameter and entry.
    file = io.BytesIO()
    np.savez(file, **{f"{name}/{key}": a for name, arrays in optimizer.state.items() for key, a in arrays.items()})
    file.seek(0)
    saved = {}
    for full_name, array in np.load(file).items():
        name, _, key = full_name.partition("/")
        saved.setdefault(name, {})[key] = array
    branch, other = {name: param.copy() for name, param in params.items()}, make()
    other.load_state(saved)
    train(optimizer, params, range(5, 10))
    train(other, branch, range(5, 10))
    for name in params:
        assert branch[name].tobytes() == params[name].tobytes()
    if optimizer.state:
        forgetful, fresh = make(), {name: param.copy() for name, param in params.items()}
        train(forgetful, fresh, range(10, 12))
        train(optimizer, params, range(10, 12))
        assert any((fresh[name] != params[name]).any() for name in params)


def test_a_loaded_state_is_a_copy(make):
    optimizer, params = make(), parameters()
    train(optimizer, params, range(2))
    saved = copy.deepcopy(optimizer.state)
    other = make()
    other.load_state(optimizer.state)
    train(other, params, range(2))
    for name, arrays in saved.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(optimizer.state[name][key], array)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {}}, r"Adam: expected for a the arrays \['mean', 'mean_square', 'steps'\], got \[\]"),
        ({"a": {"velocity": np.ones(3)}}, r"got \['velocity'\]"),
        ({"a": {"mean": np.ones(3), "mean_square": np.ones(3), "steps": -1}}, "expected steps of a to be a count"),
        ({"a": {"mean": np.ones(3), "mean_square": np.ones(3), "steps": 1.5}}, "expected steps of a to be a count"),
        ({"a": {"mean": ["x"], "mean_square": np.ones(3), "steps": 1}}, "expected mean of a in float32 or float64"),
    ],
)
def test_a_state_that_is_none_is_refused_and_changes_nothing(state, message):
    optimizer = Adam()
    optimizer.update({"a": np.ones(3)}, {"a": np.ones(3)})
    before = optimizer.state
    with pytest.raises(ValueError, match=message):
        optimizer.load_state(state)
    assert optimizer.state is before


def test_the_state_of_another_model_is_refused_before_anything_changes():
    optimizer = Momentum(0.1)
    optimizer.update({"a": np.ones(3), "b": np.ones(2)}, {"a": np.ones(3), "b": np.ones(2)})
    params = {"a": np.zeros(3), "b": np.zeros(4)}
    with pytest.raises(ValueError, match=r"velocity of b to be float64 of shape \(4,\), got float64 of shape \(2,\)"):
        optimizer.update(params, {"a": np.ones(3), "b": np.ones(4)})
    assert not params["a"].any()
    with pytest.raises(ValueError, match="another model needs an optimizer of its own"):
        optimizer.update({"a": np.zeros(3, np.float32)}, {"a": np.ones(3, np.float32)})


def test_a_state_of_other_names_is_refused_before_anything_changes():
    optimizer, params = Momentum(0.1), {"a": np.zeros(3)}
    for names in (["z"], ["a", "z"]):
        optimizer.load_state({name: {"velocity": np.ones(3)} for name in names})
        with pytest.raises(ValueError, match=r"parameters and state differ in the names \['.*z'\]"):
            optimizer.update(params, {"a": np.ones(3)})
    assert not params["a"].any()


def test_a_loaded_count_is_not_limited_by_its_type():
    optimizer, other = Adam(0.1), Adam(0.1)
    params, same = {"a": np.ones(3)}, {"a": np.ones(3)}
    state = {"mean": np.zeros(3), "mean_square": np.zeros(3)}
    optimizer.load_state({"a": state | {"steps": np.uint8(255)}})
    other.load_state({"a": state | {"steps": 255}})
    optimizer.update(params, {"a": np.ones(3)})
    other.update(same, {"a": np.ones(3)})
    np.testing.assert_array_equal(params["a"], same["a"])


@pytest.mark.parametrize("state", [None, 3, {"a": 3}, {"a": None}])
def test_what_is_no_state_is_named(state):
    with pytest.raises(TypeError, match="Momentum: expected a state, the arrays by name of each parameter, got"):
        Momentum(0.1).load_state(state)


def test_weight_decay_shrinks_the_weights_alone():
    params = {name: np.full(3, 8.0) for name in ("affine1.weight", "affine1.bias", "weight", "weightless")}
    Adam(0.5, weight_decay=0.25).update(params, {name: np.zeros(3) for name in params})
    for name, param in params.items():
        np.testing.assert_array_equal(param, 7.0 if name.endswith("weight") else 8.0)


def test_users_optimizers_work():
    class Sign(Optimizer):
        state_names = ("last", "steps")

        def update_param(self, name, param, grad, state, rate):
            param -= rate * np.sign(grad + state["last"]) / state["steps"]
            state["last"][...] = grad

    optimizer, params = Sign(1.0), {"a": np.zeros((1, 2))}
    optimizer.update(params, {"a": np.array([[3.0, -3.0]])})
    optimizer.update(params, {"a": np.array([[-4.0, -1.0]])})
    np.testing.assert_array_equal(params["a"], [[-0.5, 1.5]])


def test_repr_shows_the_hyperparameters():
    assert repr(SGD(0.1)) == "SGD(0.1)"
    assert repr(Momentum(0.1, nesterov=True)) == "Momentum(0.1, momentum=0.9, nesterov=True)"
    assert repr(RMSProp()) == "RMSProp(0.001, decay=0.99, epsilon=1e-08)"
    assert repr(Adadelta()) == "Adadelta(1.0, decay=0.9, epsilon=1e-06)"
    assert repr(Adam(weight_decay=0.1)) == "Adam(0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.1)"


@pytest.mark.parametrize(
    "grads",
    [
        {"a": np.ones(3)},
        {"a": np.ones(3), "b": np.ones(2), "c": np.ones(1)},
        {"a": np.ones(3), "b": np.ones(3)},
        {"a": np.ones(3), "b": np.ones(2, np.float32)},
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(make, grads):
    params, optimizer = {"a": np.zeros(3), "b": np.zeros(2)}, make()
    with pytest.raises(ValueError, match=f"{type(optimizer).__name__}: "):
        optimizer.update(params, grads)
    assert not params["a"].any()
    assert not optimizer.state


@pytest.mark.parametrize("param", [np.zeros((4, 4))[:, ::2], np.zeros((4, 2), order="F"), np.zeros((4, 2))])
def test_parameters_have_to_be_contiguous_and_writeable(make, param):
    param = param.view()
    if param.flags.c_contiguous:
        param.flags.writeable = False
    with pytest.raises(ValueError, match="contiguous and writeable"):
        make().update({"a": param}, {"a": np.ones((4, 2))})


@pytest.mark.parametrize("wrong", [np.ones(2, np.float16), np.ones(2, int), np.ones(2, ">f8"), [1.0, 1.0]])
def test_other_arrays_are_refused_before_anything_changes(wrong):
    params = {"a": np.zeros(3), "b": wrong}
    with pytest.raises(ValueError, match="SGD: expected b and its gradient in float32 or float64"):
        SGD(0.1).update(params, {"a": np.ones(3), "b": wrong})
    assert not params["a"].any()


@pytest.mark.parametrize("optimizer", [SGD, Momentum, RMSProp, Adadelta, Adam])
@pytest.mark.parametrize("rate", [0, -1, np.nan, np.inf])
def test_learning_rate_has_to_be_finite_and_above_0(optimizer, rate):
    with pytest.raises(ValueError, match="learning_rate: expected a finite number above 0"):
        optimizer(rate)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD("fast"), TypeError, "learning_rate: expected a real number, got 'fast'"),
        (lambda: Momentum(0.1, 1), ValueError, "momentum: expected a finite number of at least 0 and below 1, got 1"),
        (lambda: Momentum(0.1, -0.1), ValueError, "momentum: .* got -0.1"),
        (lambda: Momentum(0.1, nesterov=2), TypeError, "nesterov: expected True or False, got 2"),
        (lambda: RMSProp(decay=1.0), ValueError, "decay: .* got 1.0"),
        (lambda: RMSProp(epsilon=0), ValueError, "epsilon: expected a finite number of at least .*, got 0"),
        (lambda: Adadelta(decay=-0.1), ValueError, "decay: .* got -0.1"),
        (lambda: Adadelta(epsilon=0), ValueError, "epsilon: expected a finite number of at least .*, got 0"),
        (lambda: Adam(epsilon=1e-50), ValueError, "epsilon: expected a finite number of at least .*, got 1e-50"),
        (lambda: Adam(beta1=1), ValueError, "beta1: .* got 1"),
        (lambda: Adam(beta2=np.nan), ValueError, "beta2: .* got nan"),
        (lambda: Adam(weight_decay=-1), ValueError, "weight_decay: expected a finite number of at least 0, got -1"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
