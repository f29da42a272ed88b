"""The layers: one contract for all of them, driven by the rows of layer_cases.py."""

import copy
import pickle

import numpy as np
import pytest
from cases import tolerance
from layer_cases import CASES, IMAGE, ROWS, forward, generator, model_of, tie_free

from convnet import Affine, AveragePool2D, Conv2D, ReLU, Workspace, gradient_error, load_model, save_model
from convnet.core.threads import get_num_threads
from convnet.core.workspace import Layout
from convnet.layers import LAYERS
from convnet.layers.stage import LayerStage, Options, Update


@pytest.fixture(params=ROWS)
def case(request):
    return request.param


@pytest.fixture
def layer(case, dtype):
    return case.make(dtype)


def rebuilt(layer, cls=None):
    """Return a layer with copies of the parameters, as `from_params` of its class, or of another, makes it."""
    branches = {branch: [rebuilt(inner) for inner in row.values()] for branch, row in layer.branches.items()}
    own = {} if branches else layer.params
    return (cls or type(layer)).from_params(own, **branches, **layer.hyperparameters())


def same(grads, expected, **tolerances):
    """Assert that two dictionaries of arrays have the same names and values."""
    assert grads.keys() == expected.keys()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[name], **tolerances, err_msg=name)


def test_every_layer_of_the_library_has_a_row():
    assert {type(case.make(np.float32)) for case in CASES} == set(LAYERS.values())
    assert len({case.name for case in CASES}) == len(CASES)


def test_kinds_tell_layers_apart():
    kinds = [cls.kind for cls in LAYERS.values() if cls.kind != "pool"]
    assert len(set(kinds)) == len(kinds)
    assert all(cls.kind.isidentifier() and cls.kind == cls.kind.lower() for cls in LAYERS.values())
    assert "layer" not in kinds


def test_contract(rng, dtype, case, layer):
    x = tie_free(rng, (2, *case.input_shape), dtype)
    before, params = x.copy(), copy.deepcopy(dict(layer.params))
    y, cache = forward(layer, x)
    assert y.dtype == dtype
    assert y.shape == (2, *layer.output_shape(case.input_shape))
    assert forward(layer, x)[0].tobytes() == y.tobytes()
    if case.predict is None:
        assert layer(x).tobytes() == y.tobytes()

    dy = rng.standard_normal(y.shape).astype(dtype)
    dy_before = dy.copy()
    dx, grads = layer.backward(dy, cache)
    assert dx.dtype == dtype
    assert dx.shape == x.shape
    assert grads.keys() == layer.params.keys()
    for name, param in layer.params.items():
        assert param.dtype == dtype
        assert grads[name].dtype == dtype
        assert grads[name].shape == param.shape
        assert not np.shares_memory(grads[name], param)
    again, _ = layer.backward(dy, forward(layer, x)[1])
    np.testing.assert_array_equal(again, dx)
    _, without = layer.backward(dy, cache, need_dx=False)
    assert without.keys() == grads.keys()
    for name in grads:
        np.testing.assert_array_equal(without[name], grads[name])
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(dy, dy_before)
    for name, param in layer.params.items():
        np.testing.assert_array_equal(param, params[name])


def test_what_is_regularised_and_kept_is_there(rng, dtype, case, layer):
    assert layer.regularised <= layer.params.keys()
    assert not layer.params.keys() & layer.state.keys()
    assert layer.multiply_adds(case.input_shape) >= 0
    state = dict(layer.state)
    layer.update_state(forward(layer, rng.standard_normal((3, *case.input_shape)).astype(dtype))[1])
    assert layer.state.keys() == state.keys()
    assert all(layer.state[name] is array for name, array in state.items())  # changed in place


def test_layers_compute_what_the_loops_do(rng, dtype, case, layer):
    x = tie_free(rng, (2, *case.input_shape), dtype)
    y, cache = forward(layer, x)
    expected, kept = case.forward(layer, x, generator())
    assert y.shape == np.shape(expected)
    np.testing.assert_allclose(y, expected, **tolerance(dtype, expected))
    predicted = expected if case.predict is None else case.predict(layer, x)
    np.testing.assert_allclose(layer(x), predicted, **tolerance(dtype, predicted))

    dy = rng.standard_normal(y.shape).astype(dtype)
    dx, grads = layer.backward(dy, cache)
    true, true_grads = case.backward(layer, dy, kept)
    assert dx.shape == np.shape(true)
    np.testing.assert_allclose(dx, true, **tolerance(dtype, true))
    for name, grad in grads.items():
        same({name: grad}, {name: true_grads[name]}, **tolerance(dtype, true_grads[name]))
    assert grads.keys() == true_grads.keys()


def test_layout_does_not_matter(rng, dtype, case, layer, layout):
    x = tie_free(rng, (2, *case.input_shape), dtype)
    y, cache = forward(layer, x)
    dy = rng.standard_normal(y.shape).astype(dtype)
    given, given_dy = layout(x), layout(dy)
    found, given_cache = forward(layer, given)
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-5)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(layer(given), layer(x), rtol=1e-5, atol=1e-5)
    dx, grads = layer.backward(given_dy, given_cache)
    expected, expected_grads = layer.backward(dy, cache)
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-5)
    same(grads, expected_grads, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(given, x)
    np.testing.assert_array_equal(given_dy, dy)


def test_no_images(dtype, case, layer):
    x = np.zeros((0, *case.input_shape), dtype)
    y, cache = forward(layer, x)
    assert y.shape == layer(x).shape == (0, *layer.output_shape(case.input_shape))
    dx, grads = layer.backward(y, cache)
    assert dx.shape == x.shape
    assert all((grad == 0).all() for grad in grads.values())


@pytest.mark.parametrize("copied", [lambda layer: pickle.loads(pickle.dumps(layer)), copy.deepcopy])
def test_a_copy_is_the_same_layer(rng, dtype, case, layer, copied):
    x = rng.standard_normal((2, *case.input_shape)).astype(dtype)
    other = copied(layer)
    assert other(x).tobytes() == layer(x).tobytes()
    assert repr(other) == repr(layer)
    for name, param in other.params.items():
        assert not np.shares_memory(param, layer.params[name])


def test_from_params_gives_the_same_layer(rng, dtype, case, layer):
    x = rng.standard_normal((2, *case.input_shape)).astype(dtype)
    other = rebuilt(layer)
    assert other(x).tobytes() == layer(x).tobytes()
    assert repr(other) == repr(layer)
    assert other.params.keys() == layer.params.keys()
    for name, param in other.params.items():
        assert not np.shares_memory(param, layer.params[name])


def test_gradients_are_derivatives(rng, case):
    layer = case.make(np.float64)
    x = tie_free(rng, (3, *case.input_shape))
    y, cache = forward(layer, x)
    dy = rng.standard_normal(y.shape)
    dx, grads = layer.backward(dy, cache)

    def loss():
        return float((dy * forward(layer, x)[0]).sum())

    assert gradient_error(loss, x, dx, rng=rng) <= 1e-7
    for name, param in layer.params.items():
        assert gradient_error(loss, param, grads[name], rng=rng) <= 1e-7


def test_nothing_is_kept_between_forward_and_backward(rng, dtype, case, layer):
    first, second = (tie_free(rng, (2, *case.input_shape), dtype) for _ in range(2))
    y, cache = forward(layer, first)
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected, _ = layer.backward(dy, cache)
    forward(layer, second)
    layer(second[:1])
    np.testing.assert_array_equal(layer.backward(dy, cache)[0], expected)


def test_a_model_file_brings_the_layer_back(rng, tmp_path, dtype, case):
    model = model_of(case, dtype)
    x = rng.standard_normal((3, *case.input_shape)).astype(dtype)
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert repr(loaded) == repr(model)
    assert loaded.scores(x).tobytes() == model.scores(x).tobytes()
    assert all(param.dtype == dtype for param in loaded.params.values())


# --------------------------------------------------------------------------------------------------- the stage


def staged(layer, input_shape, dtype, *, need_dx=True):
    """Return the layer's stage, and a function that gives it memory for some examples."""
    stage = layer.stage("the layer", input_shape, np.dtype(dtype), Options())
    stage.need_dx = need_dx
    workspace = Workspace()

    def memory(n, training):
        threads = get_num_threads()
        (arrays,) = workspace.memories(Layout([stage.arrays(n, threads, training)], threads))
        for array in arrays.values():
            array.reshape(-1).view(np.uint8)[...] = 0xFF  # NaN in floats: nothing may rely on what is there
        return arrays

    return stage, memory


def test_the_stage_says_what_it_is(case, layer, dtype):
    stage, _ = staged(layer, case.input_shape, dtype)
    assert stage.names == ("the layer",)
    assert stage.input_shape == case.input_shape
    assert stage.output_shape == layer.output_shape(case.input_shape)
    assert stage.dtype == dtype
    assert stage.algorithm
    assert (stage.input_layout, stage.output_layout) == ("NCHW", "NCHW")
    assert stage.layouts in ("NCHW", "same", "any input", "any")


@pytest.mark.parametrize("n", [1, 5])
def test_the_stage_computes_what_the_layer_does(rng, dtype, case, layer, n):
    stage, memory = staged(layer, case.input_shape, dtype)
    x = tie_free(rng, (n, *case.input_shape), dtype)
    before = x.copy()
    expected, own_cache = forward(layer, x)
    arrays = memory(n, training=True)
    y, cache = stage.forward(x, arrays, generator())
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    np.testing.assert_allclose(y, expected, **tolerance(dtype, expected))
    dy = rng.standard_normal(y.shape).astype(dtype)
    dy_before = dy.copy()
    dx, grads = stage.backward(dy, cache, arrays)
    true, true_grads = layer.backward(dy, own_cache)
    assert dx.shape == x.shape
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, true, **tolerance(dtype, true))
    same(grads, {f"the layer.{name}": grad for name, grad in true_grads.items()}, **tolerance(dtype))
    assert all(grads[f"the layer.{name}"].dtype == dtype for name in layer.params)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(dy, dy_before)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_the_stage_predicts_what_the_layer_does(rng, dtype, case, layer, n):
    stage, memory = staged(layer, case.input_shape, dtype)
    x = tie_free(rng, (n, *case.input_shape), dtype)
    y = stage.predict(x, memory(n, training=False))
    assert y.shape == (n, *stage.output_shape)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, layer(x), **tolerance(dtype))


def test_the_stage_of_the_first_layer_leaves_out_dx(rng, dtype, case, layer):
    x, dy = tie_free(rng, (3, *case.input_shape), dtype), None
    found = []
    for need_dx in (True, False):
        stage, memory = staged(layer, case.input_shape, dtype, need_dx=need_dx)
        arrays = memory(3, training=True)
        y, cache = stage.forward(x, arrays, generator())
        dy = rng.standard_normal(y.shape).astype(dtype) if dy is None else dy
        dx, grads = stage.backward(dy, cache, arrays)
        assert (dx is None) == (not need_dx)
        assert ("dx" in arrays) <= need_dx
        found.append({name: grad.copy() for name, grad in grads.items()})
    same(found[1], found[0], **tolerance(dtype))


def test_a_stage_that_can_update_does_what_backward_and_sgd_do(rng, dtype, case, layer):
    stage, memory = staged(layer, case.input_shape, dtype)
    x = tie_free(rng, (3, *case.input_shape), dtype)
    arrays = memory(3, training=True)
    y, cache = stage.forward(x, arrays, generator())
    dy = rng.standard_normal(y.shape).astype(dtype)
    if stage.updated is None:
        with pytest.raises(NotImplementedError):
            stage.update(dy, cache, arrays, Update(0.25, 0.5))
        return
    assert stage.updated == "the layer.weight"
    true, true_grads = layer.backward(dy, forward(layer, x)[1])
    weight = layer.params["weight"].copy()
    dx, grads, penalty = stage.update(dy, cache, arrays, Update(0.25, 0.5))
    np.testing.assert_allclose(dx, true, **tolerance(dtype, true))
    same(grads, {"the layer.bias": true_grads["bias"]}, **tolerance(dtype))
    np.testing.assert_allclose(
        layer.params["weight"], weight - 0.25 * (true_grads["weight"] + 0.5 * weight), **tolerance(dtype)
    )
    assert penalty == pytest.approx(0.25 * (weight.astype(np.float64) ** 2).sum(), rel=1e-5)


def test_a_layer_stage_computes_any_layer(rng, dtype, case, layer):
    stage = LayerStage("the layer", layer, case.input_shape, np.dtype(dtype))
    x = tie_free(rng, (3, *case.input_shape), dtype)
    (arrays,) = Workspace().memories(Layout([stage.arrays(3, 1, True)], 1))
    y, cache = stage.forward(x, arrays, generator())
    expected, own_cache = forward(layer, x)
    assert y.tobytes() == expected.tobytes()
    dx, grads = stage.backward(y, cache, arrays)
    true, true_grads = layer.backward(expected, own_cache)
    assert dx.tobytes() == true.tobytes()
    for name, grad in true_grads.items():
        assert grads[f"the layer.{name}"].tobytes() == grad.tobytes()


def test_multiply_adds_are_those_of_the_loops():
    counts = {
        Conv2D(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), rng=np.random.default_rng(0)): 4 * 4 * 4 * 3 * 3 * 2,
        Affine(105, 4, rng=np.random.default_rng(0)): 420,
        ReLU(): 0,
        AveragePool2D(2): 0,
    }
    for layer, count in counts.items():
        assert layer.multiply_adds(IMAGE) == count


def test_a_subclass_of_any_layer_may_add_state(case, layer, dtype):
    cls = type(layer)

    class Counting(cls):
        def update_state(self, cache):
            self.state["count"] = self.state.get("count", 0) + np.ones(1)

    if layer.branches:  # its state is that of its layers
        with pytest.raises(TypeError, match="does not support item assignment"):
            rebuilt(layer, Counting).update_state(None)
        return
    copies = [rebuilt(layer, cls) for cls in (cls, Counting)]
    made = case.make(dtype)
    made.__class__ = Counting  # as its constructor left it
    for counting in (copies[1], made):
        assert counting.state.keys() == layer.state.keys()
        counting.update_state(None)
        assert counting.state.keys() == {*layer.state, "count"}
    assert "count" not in {*copies[0].state, *layer.state}  # each has its own
