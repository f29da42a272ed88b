"""Gradients that are clipped by their norm."""

import copy
import pickle

import numpy as np
import pytest
from guarded import at_the_end_of_memory, on, using

from convnet import SGD, Adadelta, Adam, Affine, Momentum, Optimizer, ReLU, RMSProp, Sequential, _kernels
from convnet.training.clipping import total_norm

MAKERS = {
    "SGD": lambda **options: SGD(0.1, **options),
    "Momentum": lambda **options: Momentum(0.1, **options),
    "RMSProp": lambda **options: RMSProp(0.1, **options),
    "Adadelta": lambda **options: Adadelta(1.0, **options),
    "Adam": lambda **options: Adam(0.1, weight_decay=0.1, **options),
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make(request):
    return request.param


def arrays(rng, dtype, size=1.0):
    shapes = {"affine1.weight": (7, 5), "affine1.bias": (5,), "conv1.weight": (3, 2, 3, 3)}
    return {name: (size * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}


def test_gradients_are_clipped_by_hand():
    params = {"a": np.zeros(1), "b": np.zeros((1, 1))}
    optimizer = SGD(1.0, clip_norm=2.0)
    optimizer.update(params, {"a": np.array([3.0]), "b": np.array([[-4.0]])})  # of norm 5
    np.testing.assert_allclose([params["a"][0], params["b"][0, 0]], [-1.2, 1.6], rtol=1e-15)
    optimizer.update(params, {"a": np.array([1.2]), "b": np.array([[-1.6]])})  # of norm 2, which is not too large
    np.testing.assert_allclose([params["a"][0], params["b"][0, 0]], [-2.4, 3.2], rtol=1e-15)


@pytest.mark.parametrize("clip_norm", [0.5, 1e6])
def test_a_clipped_update_is_that_of_scaled_gradients(rng, dtype, make, clip_norm):
    own, other = make(clip_norm=clip_norm), make()
    params = arrays(rng, dtype)
    twins = {name: param.copy() for name, param in params.items()}
    for _ in range(4):
        grads = arrays(rng, dtype, 3.0)
        kept = {name: grad.copy() for name, grad in grads.items()}
        norm = np.sqrt(sum((grad.astype(np.float64) ** 2).sum() for grad in grads.values()))
        factor = min(1.0, clip_norm / norm)
        own.update(params, grads)
        other.update(twins, {name: (grad * factor).astype(dtype) for name, grad in grads.items()})
        for name, grad in grads.items():
            np.testing.assert_array_equal(grad, kept[name])
            if factor == 1:
                assert params[name].tobytes() == twins[name].tobytes()
            np.testing.assert_allclose(params[name], twins[name], rtol=1e-5 if dtype == np.float32 else 1e-13)


def test_clipping_equals_pytorchs(rng):
    torch = pytest.importorskip("torch")
    params, optimizer = arrays(rng, np.float64), Momentum(0.1, 0.8, clip_norm=1.5)
    theirs = {name: torch.tensor(param, requires_grad=True) for name, param in params.items()}
    their_optimizer = torch.optim.SGD(list(theirs.values()), lr=0.1, momentum=0.8)
    for size in (0.01, 1.0, 100.0):
        grads = arrays(rng, np.float64, size)
        for name, grad in grads.items():
            theirs[name].grad = torch.tensor(grad)
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), 1.5)
        their_optimizer.step()
        optimizer.update(params, grads)
        for name, param in params.items():  # PyTorch adds 1e-6 to the norm
            np.testing.assert_allclose(param, theirs[name].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_norm_is_that_of_float64(rng, dtype):
    grads = [rng.standard_normal(shape).astype(dtype) for shape in ((), (1,), (7,), (8,), (3, 5, 11), (2, 0))]
    expected = np.sqrt(sum((grad.astype(np.longdouble) ** 2).sum() for grad in grads))
    assert total_norm(grads) == pytest.approx(float(expected), rel=1e-14)
    assert total_norm(grads[::-1]) == total_norm(grads)
    assert total_norm([grad[..., ::-1] if grad.ndim else grad for grad in grads]) == pytest.approx(float(expected))
    assert total_norm([]) == 0


def test_the_norm_has_the_same_bits_on_any_threads_and_instruction_set(rng, dtype):
    grads = [rng.standard_normal(5_000_001).astype(dtype), rng.standard_normal((30, 70)).astype(dtype)]
    norms = set()
    for instruction_set in _kernels.INSTRUCTION_SETS:
        for threads in (1, 2, 5):
            with using(instruction_set), on(threads):
                norms.add(total_norm(grads))
    assert len(norms) == 1
    exact = np.sqrt(sum((grad.astype(np.longdouble) ** 2).sum() for grad in grads))
    assert norms.pop() == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100])
def test_the_sum_of_squares_reads_nothing_else(rng, dtype, size):
    x = rng.standard_normal(size).astype(dtype)
    value = _kernels.sum_of_squares(at_the_end_of_memory(x))
    assert value == pytest.approx(sum(float(number) ** 2 for number in x), rel=1e-14)


def test_norms_too_large_for_squares_are_right():
    assert total_norm([np.array([3e200, 0]), np.array([-4e200])]) == pytest.approx(5e200, rel=1e-14)
    assert total_norm([np.full(4, 1e154)]) == pytest.approx(2e154, rel=1e-14)
    assert total_norm([np.full(3, 3e38, np.float32)]) == pytest.approx(3e38 * np.sqrt(3), rel=1e-6)
    params = {"a": np.zeros(2)}
    SGD(1.0, clip_norm=1.0).update(params, {"a": np.array([3e200, -4e200])})
    np.testing.assert_allclose(params["a"], [-0.6, 0.8], rtol=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_left_as_they_are(bad):
    params = {"a": np.zeros(2)}
    SGD(1.0, clip_norm=1.0).update(params, {"a": np.array([5.0, bad])})
    np.testing.assert_array_equal(params["a"], [-5, -bad])


def test_an_optimizer_of_ones_own_gets_clipped_gradients():
    class Plain(Optimizer):
        def update_param(self, name, param, grad, state, rate):
            param -= rate * grad

    params = {"a": np.zeros(2)}
    Plain(1.0, clip_norm=1.0).update(params, {"a": np.array([3.0, 4.0])})
    np.testing.assert_allclose(params["a"], [-0.6, -0.8], rtol=1e-15)


@pytest.mark.parametrize("l2", [0, 0.1])
@pytest.mark.parametrize("instruction_set", _kernels.INSTRUCTION_SETS)
def test_a_training_step_clips_all_gradients_together(rng, dtype, make, l2, instruction_set):
    layers = [Affine(20, 30, rng=rng, dtype=dtype), ReLU(), Affine(30, 4, rng=rng, dtype=dtype)]
    model = Sequential(layers, (20,), l2=l2)
    x, labels = 5 * rng.standard_normal((12, 20)), rng.integers(0, 4, 12)
    models, optimizers = (
        [model, copy.deepcopy(model), copy.deepcopy(model)],
        [make(clip_norm=0.25), make(clip_norm=0.25)],
    )
    plain = make()
    with using(instruction_set):
        for _ in range(3):
            for own, optimizer, threads in zip(models, optimizers, (1, 3), strict=False):
                with on(threads):
                    own.train_step(x, labels, optimizer)
            _, grads = models[2].loss(x, labels)
            norm = np.sqrt(sum((grad.astype(np.float64) ** 2).sum() for grad in grads.values()))
            assert norm > 0.25
            plain.update(models[2].params, {name: (grad * (0.25 / norm)).astype(dtype) for name, grad in grads.items()})
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    for name, param in model.params.items():
        assert param.tobytes() == models[1].params[name].tobytes()
        np.testing.assert_allclose(param, models[2].params[name], **tolerance, err_msg=name)


def test_clip_norm_is_shown_and_checked(make):
    assert repr(SGD(0.1, clip_norm=1)) == "SGD(0.1, clip_norm=1.0)"
    assert repr(Momentum(0.1, clip_norm=0.5)) == "Momentum(0.1, momentum=0.9, nesterov=False, clip_norm=0.5)"
    for wrong in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="clip_norm: expected a finite number above 0"):
            make(clip_norm=wrong)
    with pytest.raises(TypeError, match="clip_norm: expected a real number, got 'small'"):
        make(clip_norm="small")


def test_a_pickled_optimizer_holds_no_clipped_gradient(rng):
    optimizer, param = SGD(0.1, clip_norm=0.5), np.zeros(100_000, np.float32)
    optimizer.update({"a": param}, {"a": rng.standard_normal(param.shape).astype(np.float32)})
    data = pickle.dumps(optimizer)
    assert len(data) < 10_000
    again = pickle.loads(data)
    again.update({"a": param}, {"a": np.ones_like(param)})
