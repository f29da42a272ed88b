"""The loss functions. What holds for all of them is tested for every loss of the table."""

import inspect
from functools import partial

import numpy as np
import pytest
from cases import normal, tolerance

import convnet
from convnet import Affine, Sequential, functional, gradient_error, layers, naive, softmax_loss, svm_loss, webpage
from convnet.layers import losses
from convnet.layers.losses import LOSSES


def options_of(loss):
    """Return the options of a loss, all its parameters but the scores and the labels."""
    return dict(list(inspect.signature(loss).parameters.items())[2:])


def values(name):
    """Yield the options of a loss: their defaults, and for each option half its default, or 1/8 instead of 0."""
    yield {}
    yield from ({option: p.default / 2 or 0.125} for option, p in options_of(LOSSES[name]).items())


# (the name of a loss, its options)
CASES = [
    pytest.param(name, options, id=" ".join([name, *(f"{key}={value}" for key, value in options.items())]))
    for name in LOSSES
    for options in values(name)
]


def test_softmax_is_the_ratio_of_exponentials(rng, dtype):
    scores = normal(rng, (5, 4), dtype)
    exact = np.exp(scores.astype(np.longdouble))
    probabilities = functional.softmax(scores)
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, exact / exact.sum(axis=1, keepdims=True), **tolerance(dtype))
    np.testing.assert_allclose(functional.softmax(scores + 1000), probabilities, rtol=1e-3)
    assert functional.softmax(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.softmax(np.ones(3)), ValueError, r"expected shape \(N, K\), got \(3,\)"),
    ],
)
def test_wrong_arguments_of_softmax_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 2), (5, 3), (7, 10), (3, 100)])
def test_loss_equals_the_loops(rng, dtype, n, k, name, options):
    scores = (3 * rng.standard_normal((n, k))).astype(dtype)
    labels = rng.integers(0, k, n)
    before = scores.copy()
    loss, dscores = LOSSES[name](scores, labels, **options)
    expected, gradient = getattr(naive, name)(scores, labels, **options)
    assert isinstance(loss, float)
    assert loss == pytest.approx(expected, rel=1e-12, abs=1e-15)  # of float32 scores too: it is summed in float64
    assert dscores.dtype == dtype
    np.testing.assert_allclose(dscores, gradient, **tolerance(dtype))
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_public_by_its_name(name):
    assert LOSSES[name].__name__ == name
    for module in (convnet, layers, losses, naive):
        assert name in module.__all__, module.__name__


@pytest.mark.parametrize("name", LOSSES)
def test_an_option_is_a_float_with_a_default_that_the_loops_share(name):
    for option, parameter in options_of(LOSSES[name]).items():
        assert isinstance(parameter.default, float), option
        assert inspect.signature(getattr(naive, name)).parameters[option].default == parameter.default


def test_softmax_loss_is_right_where_exponentials_overflow_or_vanish():
    scores = np.array([[1e4, 0.0, -1e4], [-1e30, 0.0, 1.0]])
    loss, dscores = softmax_loss(scores, [1, 2])
    assert loss == pytest.approx((1e4 + np.log1p(np.exp(-1.0))) / 2)
    assert np.isfinite(dscores).all()
    np.testing.assert_allclose(dscores.sum(axis=1), 0, atol=1e-12)


def test_softmax_loss_keeps_small_gradients():
    # The probability of the right class is within 1e-9 of 1; in float32 `p - 1` alone would be 0 or 6e-8.
    _, dscores = softmax_loss(np.array([[21.0, 0.0]], np.float32), [0])
    assert dscores[0, 0] == pytest.approx(-1 / (1 + np.exp(21.0)), rel=1e-5)


def test_svm_loss_takes_a_margin_without_its_name(rng):
    scores, labels = rng.standard_normal((5, 3)), rng.integers(0, 3, 5)
    assert svm_loss(scores, labels, 3)[0] == pytest.approx(naive.svm_loss(scores, labels, 3)[0], rel=1e-12)


def test_svm_loss_has_no_gradient_where_the_margin_is_just_kept():
    loss, dscores = svm_loss([[2.0, 1.0, 3.0]], [0])
    assert loss == 2
    np.testing.assert_array_equal(dscores, [[-1, 0, 1]])


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_loss_of_what_is_not_finite_is_not_finite(bad, dtype, name, options):
    scores = np.array([[0.0, bad], [0.0, 1.0]], dtype)
    for label in (0, 1):
        assert not np.isfinite(LOSSES[name](scores, [label, 0], **options)[0])


@pytest.mark.parametrize(
    "scores", [[[0.0, -np.inf, 0.5]], [[np.inf, 0.0, 1.0]], [[0.0, np.nan, 1.0]], [[np.nan, 0.0, 1.0]]]
)
def test_svm_loss_of_what_is_not_finite_equals_the_loops(scores):
    with np.errstate(invalid="ignore"):
        loss, dscores = naive.svm_loss(np.array(scores), [0])
    value, gradient = svm_loss(scores, [0])
    np.testing.assert_array_equal(value, loss)
    np.testing.assert_array_equal(gradient, dscores)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_gradient_is_the_derivative(rng, name, options):
    loss = partial(LOSSES[name], **options)
    scores, labels = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    gradient = loss(scores, labels)[1]
    assert gradient_error(lambda: loss(scores, labels)[0], scores, gradient, rng=rng) < 1e-7


@pytest.mark.parametrize("name", LOSSES)
def test_layout_does_not_matter(rng, dtype, layout, name):
    scores, labels = rng.standard_normal((4, 6)).astype(dtype), rng.integers(0, 6, 4)
    expected = getattr(naive, name)(scores, labels)
    value, dscores = LOSSES[name](layout(scores), layout(labels))
    assert value == pytest.approx(expected[0], rel=1e-6)
    np.testing.assert_allclose(dscores, expected[1], **tolerance(dtype))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        (np.ones((0, 3)), [], ValueError, r"expected scores of shape \(N, K\) with N and K at least 1, got \(0, 3\)"),
        (np.ones((2, 0)), [0, 0], ValueError, "at least 1, got"),
        (np.ones(3), [0], ValueError, r"got \(3,\)"),
        (np.ones((2, 3)), [0], ValueError, r"labels of shape \(2,\), got shape \(1,\)"),
        (np.ones((2, 3)), [0, 3], ValueError, r"labels in \[0, 3\), got 3"),
        (np.ones((2, 3)), [-1, 0], ValueError, r"labels in \[0, 3\), got -1"),
        (np.ones((2, 3)), [0.0, 1.0], TypeError, "integer labels, got dtype float64"),
        (np.ones((2, 3)), [True, False], TypeError, "integer labels, got dtype bool"),
        (np.ones((2, 3), complex), [0, 1], TypeError, "real numbers, got dtype complex128"),
    ],
)
def test_wrong_arguments_are_named(name, scores, labels, error, message):
    with pytest.raises(error, match=f"^{name}.*{message}"):
        LOSSES[name](scores, labels)


@pytest.mark.parametrize("name", LOSSES)
def test_an_option_that_is_no_number_is_named(name):
    for option in options_of(LOSSES[name]):
        with pytest.raises(TypeError, match=f"^{name}: {option}: expected a real number, got 'wide'"):
            LOSSES[name](np.ones((1, 2)), [0], **{option: "wide"})


@pytest.mark.parametrize("margin", [0, -1, np.nan, np.inf])
def test_margin_has_to_be_finite_and_above_0(margin):
    with pytest.raises(ValueError, match="svm_loss: margin: expected a finite number above 0"):
        svm_loss(np.ones((1, 2)), [0], margin)


def smooth_loss(scores, labels, smoothing=0.25):
    """Return the softmax loss of labels of which a part is spread evenly over the classes."""
    loss, dscores = softmax_loss(scores, labels)
    every = [softmax_loss(scores, np.full(len(scores), k)) for k in range(np.shape(scores)[1])]
    return (
        (1 - smoothing) * loss + smoothing * float(np.mean([each for each, _ in every])),
        (1 - smoothing) * dscores + smoothing * np.mean([each for _, each in every], axis=0),
    )


def test_page_says_which_losses_give_no_probabilities(monkeypatch, tmp_path, rng):
    def is_denied(loss):
        model = Sequential([Affine(64, 10, rng=rng)], (1, 8, 8), loss=loss)
        webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))
        return "with this model's loss they are not probabilities" in (tmp_path / "page.html").read_text("utf-8")

    monkeypatch.setattr(losses, "SOFTMAX_LOSSES", (softmax_loss, smooth_loss))
    for loss in (softmax_loss, partial(softmax_loss), smooth_loss, partial(smooth_loss, smoothing=0.5)):
        assert not is_denied(loss)
    for loss in (svm_loss, partial(svm_loss, margin=2.0), lambda scores, labels: softmax_loss(scores, labels)):
        assert is_denied(loss)
