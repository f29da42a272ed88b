"""The optimizers and schedules."""

import numpy as np
import pytest

from convnet import SGD, EpochDecay


def test_sgd_steps_down_the_gradient_in_place(rng, dtype):
    params = {"a": rng.standard_normal((3, 5)).astype(dtype), "b": rng.standard_normal(7).astype(dtype)}
    arrays, before = dict(params), {name: param.copy() for name, param in params.items()}
    grads = {name: rng.standard_normal(param.shape).astype(dtype) for name, param in params.items()}
    optimizer = SGD(0.25)
    optimizer.update(params, grads)
    optimizer.rate_factor = 0.5
    optimizer.update(params, grads)
    for name in params:
        assert params[name] is arrays[name]
        np.testing.assert_allclose(params[name], before[name] - 0.375 * grads[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "grads",
    [
        {"a": np.ones(3)},
        {"a": np.ones(3), "b": np.ones(2), "c": np.ones(1)},
        {"a": np.ones(3), "b": np.ones(3)},
        {"a": np.ones(3), "b": np.ones(2, np.float32)},
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(grads):
    params = {"a": np.zeros(3), "b": np.zeros(2)}
    with pytest.raises(ValueError, match="SGD: "):
        SGD(0.1).update(params, grads)
    assert not params["a"].any()


@pytest.mark.parametrize("param", [np.zeros((4, 4))[:, ::2], np.zeros((4, 2), order="F"), np.zeros((4, 2))])
def test_parameters_have_to_be_contiguous_and_writeable(param):
    if param.flags.c_contiguous:
        param.flags.writeable = False
    with pytest.raises(ValueError, match="contiguous and writeable"):
        SGD(0.1).update({"a": param}, {"a": np.ones((4, 2))})


@pytest.mark.parametrize("wrong", [np.ones(2, np.float16), np.ones(2, int), np.ones(2, ">f8"), [1.0, 1.0]])
def test_other_arrays_are_refused_before_anything_changes(wrong):
    params = {"a": np.zeros(3), "b": wrong}
    with pytest.raises(ValueError, match="SGD: expected b and its gradient in float32 or float64"):
        SGD(0.1).update(params, {"a": np.ones(3), "b": wrong})
    assert not params["a"].any()


@pytest.mark.parametrize("rate", [0, -1, np.nan, np.inf])
def test_learning_rate_has_to_be_finite_and_above_0(rate):
    with pytest.raises(ValueError, match="learning_rate: expected a finite number above 0"):
        SGD(rate)


def test_learning_rate_has_to_be_a_number():
    with pytest.raises(TypeError, match="learning_rate: expected a real number, got 'fast'"):
        SGD("fast")


def test_epoch_decay_is_a_staircase():
    schedule = EpochDecay(0.5)
    assert [schedule(epoch) for epoch in (0, 0.99, 1, 1.5, 3)] == [1, 1, 0.5, 0.5, 0.125]
    assert EpochDecay(1)(7.3) == 1
    for wrong in (0, 1.01, -0.5):
        with pytest.raises(ValueError, match="decay: expected a finite number above 0 and at most 1"):
            EpochDecay(wrong)
