"""Muon, against plain NumPy in float64."""

import copy

import numpy as np
import pytest
from cases import small_batch, small_convnet1
from guarded import on, using

from convnet import Affine, Momentum, Muon, ReLU, Sequential, _kernels
from convnet.training.muon import orthogonalised

SHAPES = {
    "conv1.weight": (5, 2, 3, 2),
    "conv2.weight": (20, 2, 1, 3),
    "affine1.weight": (7, 4),
    "affine2.weight": (3, 9),
    "affine2.bias": (9,),
    "norm1.weight": (5,),
}


def by_singular_values(matrix, iterations=5):
    """Return the matrix whose singular values went through the polynomials one after another."""
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(iterations):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ np.diag(values) @ right


def by_formula(params, gradients, nesterov, others, rates, other_rates):
    """Return parameters after some updates, in float64."""
    params = {name: param.astype(np.float64) for name, param in params.items()}
    velocities = {name: np.zeros(param.shape) for name, param in params.items()}
    for grads, rate, other_rate in zip(gradients, rates, other_rates, strict=True):
        for name, param in params.items():
            velocity = velocities[name] = 0.9 * velocities[name] + grads[name]
            update = 0.9 * velocity + grads[name] if nesterov else velocity
            if param.ndim == 1 or name in others:
                param -= other_rate * update
            elif param.ndim == 2:
                inputs, outputs = param.shape
                param -= rate * np.sqrt(max(1, outputs / inputs)) * by_singular_values(update)
            else:
                rows = update.reshape(len(update), -1)
                factor = np.sqrt(max(1, rows.shape[0] / rows.shape[1]))
                param -= rate * factor * by_singular_values(rows).reshape(param.shape)
    return params


def arrays(rng, dtype):
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("instruction_set", _kernels.INSTRUCTION_SETS)
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("others", [(), ("affine2.weight", "conv1.weight")])
def test_updates_follow_the_formula(rng, dtype, nesterov, others, instruction_set):
    optimizer = Muon(0.05, 0.9, other_learning_rate=0.2, others=others, nesterov=nesterov)
    params, gradients = arrays(rng, dtype), [arrays(rng, dtype) for _ in range(4)]
    factors = [1, 0.5, 0.75, 0.125]
    rates = [[rate * factor for factor in factors] for rate in (0.05, 0.2)]
    expected = by_formula(params, gradients, nesterov, others, *rates)
    kept = copy.deepcopy(gradients)
    with using(instruction_set):
        for grads, factor in zip(gradients, factors, strict=True):
            optimizer.rate_factor = factor
            optimizer.update(params, grads)
    for name, param in params.items():
        assert param.dtype == dtype
        close = {"atol": 2e-4} if dtype == np.float32 else {"atol": 1e-11}
        np.testing.assert_allclose(param, expected[name], rtol=0, **close, err_msg=name)
    for grads, before in zip(gradients, kept, strict=True):
        for name, grad in grads.items():
            np.testing.assert_array_equal(grad, before[name])


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (4, 4), (3, 50), (50, 3), (130, 70)])
def test_singular_values_become_about_1(rng, dtype, shape):
    matrix = (1e-3 * rng.standard_normal(shape)).astype(dtype)
    before = matrix.copy()
    found = orthogonalised(matrix)
    assert found.shape == shape
    assert found.dtype == dtype
    np.testing.assert_array_equal(matrix, before)
    close = {"atol": 1e-3} if dtype == np.float32 else {"atol": 1e-11}
    np.testing.assert_allclose(found, by_singular_values(matrix), rtol=0, **close)
    values = np.linalg.svd(found, compute_uv=False)
    assert values.max() < 1.3
    if shape not in ((130, 70), (4, 4)):  # which have singular values that are nearly 0
        assert values.min() > 0.6
    np.testing.assert_allclose(orthogonalised(np.asfortranarray(matrix)), found, rtol=0, **close)


def test_of_zeros_and_of_what_is_not_finite():
    assert not orthogonalised(np.zeros((3, 2), np.float32)).any()
    with np.errstate(invalid="ignore"):
        assert np.isnan(orthogonalised(np.full((3, 2), np.nan))).all()
    params = {"a.weight": np.ones((3, 2), np.float32)}
    Muon().update(params, {"a.weight": np.zeros((3, 2), np.float32)})
    assert (params["a.weight"] == 1).all()


def test_an_update_does_not_depend_on_the_gradients_size(rng):
    grads = arrays(rng, np.float64)
    params, others = arrays(rng, np.float64), {}
    for size in (1.0, 1e-20, 1e20):
        optimizer, own = Muon(0.1), {name: param.copy() for name, param in params.items()}
        optimizer.update(own, {name: size * grad for name, grad in grads.items()})
        others[size] = own
    for name in ("conv1.weight", "affine1.weight"):
        np.testing.assert_allclose(others[1e-20][name], others[1.0][name], rtol=1e-12)
        np.testing.assert_allclose(others[1e20][name], others[1.0][name], rtol=1e-12)


def test_the_bits_do_not_depend_on_the_threads(rng):
    matrix = rng.standard_normal((300, 2000)).astype(np.float32)
    found = []
    for threads in (1, 2, 5):
        with on(threads):
            found.append(orthogonalised(matrix).tobytes())
    assert found[1:] == found[:-1]


@pytest.mark.parametrize("l2", [0, 0.01])
def test_a_model_is_trained_step_by_step(rng, l2):
    model = small_convnet1(l2=l2)
    twin, optimizer = copy.deepcopy(model), Muon(0.05, 0.9, others=("affine2.weight",))
    params, gradients = {name: param.copy() for name, param in model.params.items()}, []
    for _ in range(3):
        x, labels = small_batch(rng)
        loss, grads = twin.loss(x, labels)
        gradients.append(grads)
        assert model.train_step(x, labels, optimizer) == pytest.approx(loss, rel=1e-12)
        twin.load_params(model.params)
    expected = by_formula(params, gradients, True, ("affine2.weight",), [0.05] * 3, [0.01] * 3)
    for name, param in model.params.items():
        np.testing.assert_allclose(param, expected[name], rtol=0, atol=1e-10, err_msg=name)


def test_training_learns(rng):
    x = rng.standard_normal((200, 6)).astype(np.float32)
    labels = (x[:, :3] + x[:, 3:]).argmax(axis=1)
    model = Sequential([Affine(6, 32, rng=rng), ReLU(), Affine(32, 3, rng=rng)], (6,))
    optimizer = Muon(0.05, others=("affine2.weight",))
    losses = [model.train_step(x, labels, optimizer) for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]


def test_other_parameters_go_by_momentum(rng, dtype):
    params, grads = arrays(rng, dtype), arrays(rng, dtype)
    twins = {name: param.copy() for name, param in params.items()}
    own, other = Muon(0.1, 0.8, other_learning_rate=0.03, others=tuple(SHAPES)), Momentum(0.03, 0.8, nesterov=True)
    for _ in range(3):
        own.update(params, grads)
        other.update(twins, grads)
    for name, param in params.items():
        assert param.tobytes() == twins[name].tobytes()


def test_wrong_arguments_are_named(rng):
    assert repr(Muon(0.1, others=["a"])) == (
        "Muon(0.1, momentum=0.95, other_learning_rate=0.01, others=('a',), nesterov=True, iterations=5)"
    )
    for options, error, message in (
        ({"momentum": 1}, ValueError, "momentum: expected a finite number of at least 0 and below 1, got 1"),
        ({"other_learning_rate": 0}, ValueError, "other_learning_rate: expected a finite number above 0, got 0"),
        ({"iterations": 0}, ValueError, "iterations: expected at least 1, got 0"),
        ({"nesterov": 1}, TypeError, "nesterov: expected True or False, got 1"),
        ({"others": "affine2.weight"}, TypeError, "others: expected a sequence of names, .* got 'affine2"),
        ({"others": [3]}, TypeError, r"others: expected a sequence of names, .* got \[3\]"),
        ({"others": 3}, TypeError, r"others: expected a sequence of names, .* got 3"),
    ):
        with pytest.raises(error, match=f"^{message}"):
            Muon(0.1, **options)
    model = small_convnet1()
    before = {name: param.copy() for name, param in model.params.items()}
    message = r"^Muon: others: expected names of parameters, conv1\.weight, .*, got 'affine9\.weight'"
    with pytest.raises(ValueError, match=message):
        model.train_step(*small_batch(rng), Muon(0.1, others=("affine9.weight",)))
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, before[name])
