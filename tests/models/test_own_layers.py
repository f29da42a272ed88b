"""Layers of a user's own in a Sequential."""

import copy

import numpy as np
import pytest

from convnet import SGD, Affine, Layer, Sequential, Workspace, gradient_error


class Wrong(Affine):
    """An Affine layer whose gradients are changed before they are returned."""

    def __init__(self, change, **options):
        super().__init__(3, 3, rng=np.random.default_rng(0), dtype=np.float64)
        self.change = change

    def backward(self, dy, cache, *, need_dx=True):
        return self.change(*super().backward(dy, cache, need_dx=need_dx))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda dx, grads: (dx, grads | {"weight": np.ones(1)}),
            r"affine2.weight: expected .*\(3, 3\), got shape \(1,\)",
        ),
        (lambda dx, grads: (dx, {"weight": grads["weight"]}), r"affine2.bias: expected .*\(3,\), got none"),
        (lambda dx, grads: (None, grads), "affine2: expected backward to return dx, got None"),
    ],
)
def test_a_users_layer_with_wrong_gradients_is_named(rng, change, message):
    model = Sequential([Affine(3, 3, rng=rng, dtype=np.float64), Wrong(change)], (3,), l2=0.1)
    with pytest.raises(ValueError, match=message):
        model.loss(np.ones((2, 3)), [0, 1])


@pytest.mark.parametrize("grads", [None, [np.zeros((3, 3)), np.zeros(3)], np.zeros(3)])
def test_gradients_that_are_no_dictionary_are_named(rng, grads):
    model = Sequential([Affine(3, 3, rng=rng, dtype=np.float64), Wrong(lambda dx, _: (dx, grads))], (3,))
    message = (
        f"affine2: expected backward to return grads as a dictionary with weight, bias, got {type(grads).__name__}"
    )
    with pytest.raises(TypeError, match=message):
        model.loss(np.ones((2, 3)), [0, 1])


def test_a_users_gradient_is_not_written_to(rng):
    stored = np.zeros((3, 3))
    model = Sequential([Wrong(lambda dx, grads: (dx, grads | {"weight": stored[:]}))], (3,), l2=1.0)
    model.loss(np.ones((2, 3)), [0, 1])
    assert not stored.any()


class Forgetful(Layer):
    """A layer whose methods return one thing instead of two, as asked."""

    def __init__(self, method):
        super().__init__()
        self.params = {"weight": np.ones(2)}
        self.method = method

    def forward(self, x, rng=None):
        return x if self.method == "forward" else (x, None)

    def backward(self, dy, cache, *, need_dx=True):
        return dy


@pytest.mark.parametrize(("method", "pair"), [("forward", r"\(y, cache\)"), ("backward", r"\(dx, grads\)")])
def test_users_layers_that_return_too_little_are_named(method, pair):
    model = Sequential([Forgetful(method)], (2,))
    with pytest.raises(TypeError, match=f"layer1: expected {method} to return {pair}, got ndarray"):
        model.loss(np.ones((2, 2)), [0, 1])  # two examples: an array of them could be unpacked into two


def test_a_users_layer_without_its_base_is_named():
    class Bare(Layer):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match=r"layer 1, Bare\(\), has no params; its __init__ has to call super"):
        Sequential([Bare()], (2,))


def test_users_layers_work(rng):
    class Scale(Layer):
        kind = "scale"

        def __init__(self, size):
            self.params = {"weight": np.full(size, 2.0)}

        def forward(self, x, rng=None):
            return x * self.params["weight"], x

        def backward(self, dy, cache, *, need_dx=True):
            return dy * self.params["weight"], {"weight": np.asfortranarray((dy * cache).sum(axis=0))}

    model = Sequential([Scale(6), Affine(6, 4, rng=rng, dtype=np.float64), Scale(4)], (6,), l2=0.3)
    assert list(model.params) == ["scale1.weight", "affine1.weight", "affine1.bias", "scale2.weight"]
    x, labels = rng.standard_normal((3, 6)), [0, 1, 3]
    _, grads = model.loss(x, labels)
    for name, param in model.params.items():
        assert gradient_error(lambda: model.loss(x, labels)[0], param, grads[name], rng=rng) < 1e-7, name


def test_a_training_step_with_a_users_layer_is_loss_and_then_update(rng):
    class Scale(Layer):
        kind = "scale"

        def __init__(self):
            super().__init__()
            self.params = {"weight": np.full(3, 2, np.float32)}

        def forward(self, x, rng=None):
            return x * self.params["weight"], x

        def backward(self, dy, cache, *, need_dx=True):
            return dy * self.params["weight"], {"weight": (dy * cache).sum(axis=0)}

    def model():
        generator = np.random.default_rng(0)
        return Sequential([Affine(4, 3, rng=generator), Scale(), Affine(3, 2, rng=generator)], (4,), l2=0.1)

    x, labels = rng.standard_normal((6, 4)), rng.integers(0, 2, 6)
    one, other = model(), model()
    one.train_step(x, labels, SGD(0.1), Workspace())
    SGD(0.1).update(other.params, other.loss(x, labels)[1])
    for name, param in one.params.items():
        np.testing.assert_allclose(param, other.params[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_layer_may_keep_the_gradient_that_it_returns(rng):
    class Kept(Affine):
        def backward(self, dy, cache, *, need_dx=True):
            return None, self.kept

    layer = Kept(6, 3, rng=rng)
    layer.kept = {"weight": np.ones((6, 3), np.float32), "bias": np.zeros(3, np.float32)}
    model = Sequential([layer], (6,), l2=0.5)
    x, labels = rng.standard_normal((4, 6)), [0, 1, 2, 0]
    for _ in range(2):
        np.testing.assert_allclose(model.loss(x, labels)[1]["affine1.weight"], 1 + 0.5 * layer.params["weight"])
        model.train_step(x, labels, SGD(0.1))
    np.testing.assert_array_equal(layer.kept["weight"], 1)


def test_layers_may_share_a_weight(rng):
    layers = [Affine(6, 5, rng=rng), *(Affine(5, 5, rng=rng) for _ in range(2))]
    layers[2].params["weight"] = layers[1].params["weight"]
    x, labels = rng.standard_normal((4, 6), np.float32), rng.integers(0, 5, 4)
    models = [Sequential(copy.deepcopy(layers), (6,)) for _ in range(2)]
    loss, grads = models[0].loss(x, labels)
    SGD(0.5).update(models[0].params, grads)
    assert models[1].train_step(x, labels, SGD(0.5)) == pytest.approx(loss, rel=1e-6)
    for name, param in models[0].params.items():
        np.testing.assert_allclose(models[1].params[name], param, rtol=1e-5, atol=1e-6)


class Crooked(Layer):
    """A layer that returns arrays of shapes other than it says, as asked."""

    kind = "crooked"

    def __init__(self, y=lambda y: y, dx=lambda dx: dx):
        super().__init__()
        self.params, self.y, self.dx = {"weight": np.ones(2)}, y, dx

    def forward(self, x, rng=None):
        return self.y(x), None

    def backward(self, dy, cache, need_dx=True):
        return self.dx(dy), {"weight": dy.sum(axis=0)}


def test_a_users_layer_whose_output_has_a_wrong_shape_is_named(rng):
    def model(**changes):
        return Sequential([Affine(2, 2, rng=rng, dtype=np.float64), Crooked(**changes)], (2,))

    x, labels = np.ones((3, 2)), [0, 1, 0]
    for wrong in (lambda y: y[:, :1], lambda y: y[:2], lambda y: y.ravel(), lambda y: 0.0):
        message = r"crooked1: expected its output to be of shape \(3, 2\), got "
        with pytest.raises(ValueError, match=message):
            model(y=wrong).loss(x, labels)
        with pytest.raises(ValueError, match=message):
            model(y=wrong).scores(x)
        with pytest.raises(ValueError, match=r"crooked1: expected dx to be of shape \(3, 2\), got "):
            model(dx=wrong).loss(x, labels)
    for wrong in (lambda y: None, lambda y: y.astype(str)):
        with pytest.raises(TypeError, match="crooked1: its output: expected real numbers"):
            model(y=wrong).loss(x, labels)
        with pytest.raises(TypeError, match="crooked1: its output: expected real numbers"):
            model(y=wrong).scores(x)


def test_what_a_users_layer_returns_may_lie_in_memory_in_any_way(rng):
    ways = [np.asfortranarray, lambda a: a.astype(np.float32), lambda a: a[::-1].copy()[::-1], lambda a: a.tolist()]
    x, labels = rng.integers(-4, 5, (3, 2)).astype(float), [0, 1, 0]
    losses = []
    for way in ways:
        last = Affine(2, 3, rng=np.random.default_rng(1), dtype=np.float64)
        first = Affine(2, 2, rng=np.random.default_rng(1), dtype=np.float64)
        first.params["weight"][...] = [[1, 2], [-1, 3]]
        losses.append(Sequential([first, Crooked(way), last], (2,)).loss(x, labels)[0])
    np.testing.assert_allclose(losses, losses[0], rtol=1e-12)
