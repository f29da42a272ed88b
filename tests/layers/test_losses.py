"""The loss functions."""

import numpy as np
import pytest
from cases import normal, tolerance

from convnet import functional, gradient_error, naive, softmax_loss, svm_loss


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


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 2), (5, 3), (7, 10), (3, 100)])
def test_softmax_loss_equals_the_loops(rng, dtype, n, k):
    scores = (3 * rng.standard_normal((n, k))).astype(dtype)
    labels = rng.integers(0, k, n)
    loss, dscores = softmax_loss(scores, labels)
    expected, gradient = naive.softmax_loss(scores, labels)
    assert isinstance(loss, float)
    assert dscores.dtype == dtype
    assert loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(dscores, gradient, **tolerance(dtype))


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


@pytest.mark.parametrize("margin", [1.0, 0.25, 3])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 2), (5, 3), (7, 10), (3, 100)])
def test_svm_loss_equals_the_loops(rng, dtype, n, k, margin):
    scores = (3 * rng.standard_normal((n, k))).astype(dtype)
    labels = rng.integers(0, k, n)
    loss, dscores = svm_loss(scores, labels, margin)
    expected, gradient = naive.svm_loss(scores, labels, margin)
    assert isinstance(loss, float)
    assert dscores.dtype == dtype
    assert loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(dscores, gradient, **tolerance(dtype))


def test_svm_loss_has_no_gradient_where_the_margin_is_just_kept():
    loss, dscores = svm_loss([[2.0, 1.0, 3.0]], [0])
    assert loss == 2
    np.testing.assert_array_equal(dscores, [[-1, 0, 1]])


LOSSES = [softmax_loss, svm_loss, lambda scores, labels: svm_loss(scores, labels, margin=0.5)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_loss_of_what_is_not_finite_is_not_finite(loss, bad):
    for label in (0, 1):
        assert not np.isfinite(loss([[0.0, bad], [0.0, 1.0]], [label, 0])[0])


@pytest.mark.parametrize(
    "scores", [[[0.0, -np.inf, 0.5]], [[np.inf, 0.0, 1.0]], [[0.0, np.nan, 1.0]], [[np.nan, 0.0, 1.0]]]
)
def test_svm_loss_of_what_is_not_finite_equals_the_loops(scores):
    with np.errstate(invalid="ignore"):
        loss, dscores = naive.svm_loss(np.array(scores), [0])
    value, gradient = svm_loss(scores, [0])
    np.testing.assert_array_equal(value, loss)
    np.testing.assert_array_equal(gradient, dscores)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_the_derivative(rng, loss):
    scores, labels = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    gradient = loss(scores, labels)[1]
    assert gradient_error(lambda: loss(scores, labels)[0], scores, gradient, rng=rng) < 1e-7


@pytest.mark.parametrize("loss", LOSSES[:2])
def test_layout_does_not_matter(rng, dtype, layout, loss):
    scores, labels = rng.standard_normal((4, 6)).astype(dtype), rng.integers(0, 6, 4)
    expected = getattr(naive, loss.__name__)(scores, labels)
    value, dscores = loss(layout(scores), layout(labels))
    assert value == pytest.approx(expected[0], rel=1e-6)
    np.testing.assert_allclose(dscores, expected[1], **tolerance(dtype))


@pytest.mark.parametrize("loss", LOSSES[:2])
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
def test_wrong_arguments_are_named(loss, scores, labels, error, message):
    with pytest.raises(error, match=f"{loss.__name__}.*{message}"):
        loss(scores, labels)


@pytest.mark.parametrize("margin", [0, -1, np.nan, np.inf])
def test_margin_has_to_be_finite_and_above_0(margin):
    with pytest.raises(ValueError, match="svm_loss: margin: expected a finite number above 0"):
        svm_loss(np.ones((1, 2)), [0], margin)
