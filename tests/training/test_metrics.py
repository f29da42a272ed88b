"""Measures of predictions, against loops over the examples and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convnet
from convnet import (
    balanced_accuracy,
    balanced_weights,
    calibration_error,
    confusion_matrix,
    f1_score,
    precision,
    recall,
    top_k_accuracy,
)

ANSWERS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


def quotient(above, below):
    return above / below if below else math.nan


@settings(deadline=None)
@given(ANSWERS, st.sampled_from([None, 5, 7]))
def test_measures_of_classes_are_counts_of_pairs(pairs, num_classes):
    labels, predictions = [true for true, _ in pairs], np.array([said for _, said in pairs], np.uint8)
    classes = num_classes or max(max(pair) for pair in pairs) + 1
    matrix = confusion_matrix(labels, predictions, num_classes)
    assert matrix.tolist() == [[pairs.count((i, j)) for j in range(classes)] for i in range(classes)]
    right = [pairs.count((k, k)) for k in range(classes)]
    occur = [sum(true == k for true, _ in pairs) for k in range(classes)]
    said = [sum(guess == k for _, guess in pairs) for k in range(classes)]
    for function, above, below in (
        (precision, right, said),
        (recall, right, occur),
        (f1_score, [2 * n for n in right], [a + b for a, b in zip(said, occur, strict=True)]),
    ):
        expected = [quotient(a, b) for a, b in zip(above, below, strict=True)]
        np.testing.assert_allclose(function(labels, predictions, num_classes), expected, rtol=1e-14)
    recalls = [quotient(a, b) for a, b in zip(right, occur, strict=True) if b]
    assert balanced_accuracy(labels, predictions) == pytest.approx(sum(recalls) / len(recalls), abs=1e-14)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 999), st.sampled_from([np.float32, np.float64, np.int8]))
def test_the_k_highest_scores_are_those_of_a_sort(n, classes, seed, dtype):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(-2, 3, (n, classes)).astype(dtype), rng.integers(0, classes, n)  # with many ties
    for k in range(1, classes + 1):
        ranked = [
            sorted(range(classes), key=lambda label, row=row: (-row[label], label))[:k] for row in scores.tolist()
        ]
        expected = sum(label in best for label, best in zip(labels, ranked, strict=True)) / n
        assert top_k_accuracy(labels, scores, k) == pytest.approx(expected, abs=1e-14)
    assert top_k_accuracy(labels, scores, 1) == pytest.approx((scores.argmax(axis=1) == labels).mean())


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 20), st.integers(0, 999))
def test_the_calibration_error_is_that_of_a_loop_over_bins(n, classes, bins, seed):
    rng = np.random.default_rng(seed)
    shares = rng.integers(1, 9, (n, classes)).astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    labels, expected = rng.integers(0, classes, n), 0.0
    best, confidence = shares.argmax(axis=1), shares.max(axis=1)
    for b in range(bins):
        inside = [i for i in range(n) if b < confidence[i] * bins <= b + 1]
        if inside:
            accuracy = sum(best[i] == labels[i] for i in inside) / len(inside)
            expected += len(inside) / n * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    assert calibration_error(labels, shares, bins) == pytest.approx(expected, abs=1e-12)


def test_values_by_hand():
    shares = [[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.2, 0.8]]
    assert calibration_error([0, 0, 0, 0, 0], shares) == pytest.approx(0)
    assert calibration_error([1, 1, 1, 1, 0], shares) == pytest.approx(0.8)
    # The most frequent class alone: right in nine of ten, and no better than chance between two classes.
    labels, said = 9 * [0] + [1], 10 * [0]
    assert balanced_accuracy(labels, said) == 0.5
    assert precision(labels, said).tolist()[0] == 0.9
    assert np.isnan(precision(labels, said)[1])
    assert recall(labels, said).tolist() == [1, 0]
    assert balanced_weights(labels).tolist() == pytest.approx([10 / 18, 5])


def test_scikit_learn_agrees(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    utils = pytest.importorskip("sklearn.utils.class_weight")
    labels, scores = np.concatenate([np.arange(6), rng.integers(0, 6, 500)]), rng.standard_normal((506, 6))
    said = np.where(rng.random(506) < 0.6, labels, scores.argmax(axis=1))
    np.testing.assert_array_equal(confusion_matrix(labels, said), metrics.confusion_matrix(labels, said))
    expected = metrics.precision_recall_fscore_support(labels, said)
    for function, values in zip((precision, recall, f1_score), expected, strict=False):
        np.testing.assert_allclose(function(labels, said), values, rtol=1e-12)
    assert balanced_accuracy(labels, said) == pytest.approx(metrics.balanced_accuracy_score(labels, said))
    assert top_k_accuracy(labels, scores, 2) == pytest.approx(metrics.top_k_accuracy_score(labels, scores, k=2))
    np.testing.assert_allclose(
        balanced_weights(labels), utils.compute_class_weight("balanced", classes=np.arange(6), y=labels)
    )


def test_weighted_examples_count_as_repeated_ones_in_balanced_weights():
    labels, times = np.array([0, 0, 1, 2, 2, 1]), np.array([3, 1, 2, 0, 5, 1])
    assert balanced_weights(labels, weights=times).tolist() == balanced_weights(labels.repeat(times)).tolist()
    with pytest.raises(ValueError, match=r"all 3 classes, got none of 1, the first of which are 1$"):
        balanced_weights([0, 1, 2], weights=[1, 0, 1])
    with pytest.raises(ValueError, match="balanced_weights: weights: expected finite numbers of at least 0, got -1"):
        balanced_weights([0, 1], weights=[1, -1])


def test_balanced_weights_make_classes_equal():
    """In the loss of equal scores each class has the same share, and a model with it is saved."""
    labels = np.array(30 * [0] + 5 * [1] + 15 * [2])
    weights = balanced_weights(labels)
    assert (weights[labels]).mean() == pytest.approx(1)
    _, dscores = convnet.softmax_loss(np.zeros((50, 3)), labels, class_weights=weights)
    pulls = [-dscores[labels == k, k].sum() for k in range(3)]
    np.testing.assert_allclose(pulls, pulls[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: confusion_matrix([], []), ValueError, "confusion_matrix: expected at least one example, got none"),
        (lambda: confusion_matrix([0, 1], [0]), ValueError, "confusion_matrix: predictions: expected labels of shape"),
        (
            lambda: precision([0, 1], [0, 5], 3),
            ValueError,
            r"precision: predictions: .* in \[0, 3\), got 5",
        ),
        (lambda: recall([0, -1], [0, 1]), ValueError, "recall: labels: expected labels in .* got -1"),
        (lambda: f1_score([0.5], [0]), TypeError, "f1_score: labels: expected integer labels"),
        (lambda: f1_score([[0, 1]], [0, 1]), ValueError, r"expected labels of shape \(2,\), got shape \(1, 2\)"),
        (
            lambda: recall(["a", "b"], ["b", "b"]),
            TypeError,
            r"^recall: labels: expected integer labels, got dtype <U1; names.index\(word\) is the number",
        ),
        (
            lambda: confusion_matrix([0, 1], [[0.5, 0.5], [0, 1]]),
            TypeError,
            r"^confusion_matrix: predictions: expected integer .* shape \(2, 2\); scores and .* by argmax\(axis=1\)$",
        ),
        (lambda: recall([0], [0], 0), ValueError, "recall: num_classes: expected at least 1"),
        (lambda: confusion_matrix([0, 10**6], [0, 0]), ValueError, "expected at most 10,000 classes, got 1,000,001"),
        (lambda: balanced_accuracy([], []), ValueError, "balanced_accuracy: expected at least one example"),
        (lambda: top_k_accuracy([0], [[1, 2]], 3), ValueError, "k: expected at most the 2 classes, got 3"),
        (lambda: top_k_accuracy([0], [[1, np.nan]], 1), ValueError, "top_k_accuracy: expected real numbers, got NaN"),
        (lambda: top_k_accuracy([0], [1, 2], 1), ValueError, r"expected an array \(N, K\) with N and K at least 1"),
        (lambda: top_k_accuracy(["a"], [[1, 2]], 1), TypeError, "top_k_accuracy: labels: expected integer labels"),
        (lambda: calibration_error([0], [[2, -1]]), ValueError, r"probabilities in \[0, 1\], got values from -1 to 2"),
        (lambda: calibration_error([0], [[1, 0]], 0), ValueError, "calibration_error: bins: expected at least 1"),
        (lambda: balanced_weights([]), ValueError, "balanced_weights: expected at least one example, got none"),
        (lambda: balanced_weights([0, 3]), ValueError, "all 4 classes, got none of 2, the first of which are 1, 2$"),
        (lambda: balanced_weights([0, 1], 3), ValueError, "all 3 classes, got none of 1, the first of which are 2$"),
        (
            lambda: balanced_weights([0, 4], 3),
            ValueError,
            r"balanced_weights: labels: .* in \[0, 3\), got 4",
        ),
        (lambda: balanced_weights([0, 2**30]), ValueError, "none of 1,073,741,823, .* are 1, 2, .* 9, 10$"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
