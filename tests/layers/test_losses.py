"""The loss functions. What holds for all of them is tested for every loss of the table."""

import inspect
from functools import partial

import numpy as np
import pytest
from cases import normal, tolerance

import convnet
from convnet import (
    SGD,
    Affine,
    ReLU,
    Sequential,
    binary_loss,
    functional,
    gradient_error,
    layers,
    naive,
    softmax_loss,
    svm_loss,
    webpage,
)
from convnet.layers import losses
from convnet.layers.labels import BinaryLabels, labels_of
from convnet.layers.losses import LOSSES

# Stands for an array of weights, of as many as there are examples or classes.
WEIGHTS = "weights"


def is_binary(loss):
    return isinstance(labels_of(loss), BinaryLabels)


def options_of(name):
    """Return the options of a loss, all its parameters but the scores and the labels."""
    return dict(list(inspect.signature(LOSSES[name]).parameters.items())[2:])


def values(name):
    """Yield the options of a loss: none; each alone, as half its default, or 1/8 instead of 0, or weights; and all."""
    yield {}
    every = {option: WEIGHTS if p.default is None else p.default / 2 or 0.125 for option, p in options_of(name).items()}
    yield from ({option: value} for option, value in every.items())
    if len(every) > 1:
        yield every


def some_labels(name, rng, n, k):
    """Return labels as a loss takes them."""
    return rng.integers(0, 9, (n, k)) / 8 if is_binary(LOSSES[name]) else rng.integers(0, k, n)


def filled(options, n, k):
    """Return options with an array for each that is WEIGHTS: of the examples, or of the classes."""
    lengths = {option: n if option == "weights" else k for option, value in options.items() if value is WEIGHTS}
    return options | {option: 0.25 + np.arange(length) % 4 * 0.75 for option, length in lengths.items()}


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
    labels = some_labels(name, rng, n, k)
    before, options = scores.copy(), filled(options, n, k)
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
def test_an_option_is_a_float_or_weights_with_a_default_that_the_loops_share(name):
    for option, parameter in options_of(name).items():
        assert parameter.default is None or isinstance(parameter.default, float), option
        assert inspect.signature(getattr(naive, name)).parameters[option].default == parameter.default


def by_definition(scores, labels, smoothing, class_weights):
    """Return the loss as PyTorch's cross_entropy defines its mean, in log probabilities and NumPy's means."""
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    right = class_weights[labels]
    hard = -(right * logs[np.arange(len(labels)), labels]).sum() / right.sum()
    smooth = -(class_weights * logs).sum() / right.sum()
    return (1 - smoothing) * hard + smoothing / scores.shape[1] * smooth


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_mean_of_a_weighted_softmax_loss_is_pytorchs(rng, smoothing):
    scores, labels, class_weights = rng.standard_normal((6, 4)), np.array([3, 0, 1, 1, 3, 2]), np.array([2, 0, 1, 0.5])
    options = {"smoothing": smoothing, "class_weights": class_weights}
    loss, dscores = softmax_loss(scores, labels, **options)
    assert loss == pytest.approx(by_definition(scores, labels, **options), rel=1e-13)
    torch = pytest.importorskip("torch")
    theirs = torch.tensor(scores, requires_grad=True)
    value = torch.nn.functional.cross_entropy(
        theirs, torch.tensor(labels), weight=torch.tensor(class_weights), label_smoothing=smoothing
    )
    value.backward()
    assert loss == pytest.approx(value.item(), rel=1e-13)
    np.testing.assert_allclose(dscores, theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_options_that_change_nothing_give_the_plain_loss(rng, dtype):
    scores, labels = rng.standard_normal((5, 3)).astype(dtype), rng.integers(0, 3, 5)
    loss, dscores = softmax_loss(scores, labels)
    for options in ({"smoothing": 0}, {"smoothing": 0.0, "class_weights": None, "weights": None}):
        value, gradient = softmax_loss(scores, labels, **options)
        assert value == loss
        np.testing.assert_array_equal(gradient, dscores)
    for options in ({"class_weights": np.full(3, 7)}, {"weights": [2] * 5}, {"smoothing": 1e-300}):
        value, gradient = softmax_loss(scores, labels, **options)
        assert value == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(gradient, dscores, **tolerance(dtype))


def test_a_label_is_smoothed_towards_all_classes():
    loss, dscores = softmax_loss(np.log([[1.0, 3.0]]), [1], smoothing=0.5)
    assert loss == pytest.approx(0.75 * np.log(4 / 3) + 0.25 * np.log(4))
    np.testing.assert_allclose(dscores, [[0.25 - 0.25, 0.75 - 0.75]], atol=1e-15)  # the targets are the probabilities


@pytest.mark.parametrize("options", [{}, {"smoothing": 0.2, "class_weights": [1, 2, 0.5, 0]}])
def test_an_example_of_weight_2_counts_as_two_and_one_of_weight_0_as_none(rng, options):
    scores, labels = rng.standard_normal((4, 4)), np.array([0, 1, 2, 0])
    loss, dscores = softmax_loss(scores, labels, weights=[2, 0, 1, 1], **options)
    chosen = [0, 0, 2, 3]
    expected, gradient = softmax_loss(scores[chosen], labels[chosen], **options)
    assert loss == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(
        dscores, [2 * gradient[0], np.zeros(4), gradient[2], gradient[3]], rtol=1e-12, atol=1e-16
    )


def test_examples_that_all_count_as_none_give_no_loss_and_no_gradient():
    scores = [[1.0, 2.0], [3.0, 4.0]]
    for options in ({"weights": [0, 0]}, {"class_weights": [1, 0]}, {"class_weights": [1, 0], "smoothing": 0.5}):
        loss, dscores = softmax_loss(scores, [1, 1], **options)
        assert loss == 0
        np.testing.assert_array_equal(dscores, np.zeros((2, 2)))


def test_weights_of_every_size_are_safe():
    scores, labels = [[1.0, 2.0], [0.0, 1.0]], [1, 0]
    expected = softmax_loss(scores, labels)[0]
    for size in (1e-300, 1e300):
        assert softmax_loss(scores, labels, weights=[size, size])[0] == pytest.approx(expected)
        assert softmax_loss(scores, labels, class_weights=[size, size])[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="softmax_loss: expected weights with a finite sum, got inf"):
        softmax_loss(scores, labels, weights=[1.7e308, 1.7e308])


def test_a_smoothed_loss_is_right_where_exponentials_overflow_or_vanish():
    loss, dscores = softmax_loss([[1e4, 0.0, -1e4]], [0], smoothing=0.3)
    assert loss == pytest.approx(0.1 * 1e4 + 0.1 * 2e4)
    np.testing.assert_allclose(dscores, [[0.2, -0.1, -0.1]])
    assert softmax_loss([[0.0, -np.inf]], [0], class_weights=[1, 2])[0] == 0  # minus infinity as a wrong score
    assert softmax_loss([[0.0, -np.inf]], [0], smoothing=0.1)[0] == np.inf


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"smoothing": -0.1}, ValueError, "smoothing: expected a finite number of at least 0 and below 1, got -0.1"),
        ({"smoothing": 1}, ValueError, "smoothing: .* got 1"),
        ({"smoothing": False}, TypeError, "smoothing: expected a real number, got False"),
        ({"class_weights": [1.0, 2.0]}, ValueError, r"class_weights: expected shape \(3,\), got \(2,\)"),
        ({"class_weights": 2.0}, ValueError, r"class_weights: expected shape \(3,\), got \(\)"),
        ({"class_weights": [1, -1, 2]}, ValueError, "class_weights: expected finite numbers of at least 0, got -1.0"),
        ({"weights": [1, np.nan]}, ValueError, "weights: expected finite numbers of at least 0, got nan"),
        ({"weights": [1, np.inf]}, ValueError, "weights: expected finite numbers of at least 0, got inf"),
        ({"weights": [1, 2, 3]}, ValueError, r"weights: expected shape \(2,\), got \(3,\)"),
        ({"weights": [True, False]}, TypeError, "weights: expected real numbers, got dtype bool"),
    ],
)
def test_wrong_options_of_the_softmax_loss_are_named(options, error, message):
    with pytest.raises(error, match=f"^softmax_loss: {message}"):
        softmax_loss(np.ones((2, 3)), [0, 1], **options)


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
        labels = [[1 - label, label], [1, 0]] if is_binary(LOSSES[name]) else [label, 0]
        assert not np.isfinite(LOSSES[name](scores, labels, **filled(options, 2, 2))[0])


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
    loss = partial(LOSSES[name], **filled(options, 6, 5))
    scores, labels = rng.standard_normal((6, 5)), some_labels(name, rng, 6, 5)
    gradient = loss(scores, labels)[1]
    assert gradient_error(lambda: loss(scores, labels)[0], scores, gradient, rng=rng) < 1e-7


@pytest.mark.parametrize("name", LOSSES)
def test_layout_does_not_matter(rng, dtype, layout, name):
    scores, labels = rng.standard_normal((4, 6)).astype(dtype), some_labels(name, rng, 4, 6)
    expected = getattr(naive, name)(scores, labels)
    value, dscores = LOSSES[name](layout(scores), layout(labels))
    assert value == pytest.approx(expected[0], rel=1e-6)
    np.testing.assert_allclose(dscores, expected[1], **tolerance(dtype))


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not is_binary(loss)])
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
def test_an_option_that_is_no_number_is_named(rng, name):
    for option in options_of(name):
        with pytest.raises(TypeError, match=f"^{name}: {option}: expected (a real number, got 'wide'|real numbers)"):
            LOSSES[name](np.ones((1, 2)), some_labels(name, rng, 1, 2), **{option: "wide"})


@pytest.mark.parametrize("margin", [0, -1, np.nan, np.inf])
def test_margin_has_to_be_finite_and_above_0(margin):
    with pytest.raises(ValueError, match="svm_loss: margin: expected a finite number above 0"):
        svm_loss(np.ones((1, 2)), [0], margin)


def test_the_mean_of_a_binary_loss_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    scores, labels, positive_weights = rng.standard_normal((6, 4)), rng.random((6, 4)), np.array([2, 0, 1, 0.5])
    theirs = torch.tensor(scores, requires_grad=True)
    value = torch.nn.functional.binary_cross_entropy_with_logits(
        theirs, torch.tensor(labels), pos_weight=torch.tensor(positive_weights)
    )
    value.backward()
    loss, dscores = binary_loss(scores, labels, positive_weights=positive_weights)
    assert loss == pytest.approx(value.item(), rel=1e-13)
    np.testing.assert_allclose(dscores, theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_binary_loss_is_right_for_scores_of_every_size(dtype):
    scores = np.array([[1e30, -1e30, 800, -800, 30, -30]], dtype)
    right, wrong = [[1, 0, 1, 0, 1, 0]], [[0, 1, 0, 1, 0, 1]]
    loss, dscores = binary_loss(scores, right)
    assert loss == pytest.approx(2 * np.log1p(np.exp(-30.0)) / 6, rel=1e-9)  # not 0: nothing was cancelled
    small = np.exp(-30.0) / 6
    np.testing.assert_allclose(dscores, [[0, 0, 0, 0, -small, small]], rtol=1e-6, atol=1e-300)
    loss, dscores = binary_loss(scores[:, 2:], np.array(wrong)[:, 2:])
    assert loss == pytest.approx((800 + 800 + 30 + 30) / 4)
    np.testing.assert_allclose(dscores, np.array([[1, -1, 1, -1]]) / 4, rtol=1e-12)


def test_binary_loss_of_one_class_takes_its_labels_as_a_vector(rng):
    scores = rng.standard_normal((5, 1))
    for labels in ([0, 1, 1, 0, 1], np.array([0, 1, 1, 0, 1], bool), [0.0, 1.0, 1.0, 0.0, 1.0]):
        loss, dscores = binary_loss(scores, labels)
        expected, gradient = binary_loss(scores, np.reshape(labels, (5, 1)))
        assert loss == expected
        np.testing.assert_array_equal(dscores, gradient)
    # Two classes with the scores 0 and s are the same question.
    both = softmax_loss(np.concatenate([np.zeros((5, 1)), scores], axis=1), [0, 1, 1, 0, 1])
    assert loss == pytest.approx(both[0], rel=1e-13)
    np.testing.assert_allclose(dscores[:, 0], both[1][:, 1], rtol=1e-12)


def test_weights_of_a_binary_loss_count_examples_and_positive_answers(rng):
    scores, labels = rng.standard_normal((3, 2)), np.array([[1, 0], [0, 1], [1, 1]])
    loss, dscores = binary_loss(scores, labels, weights=[2, 0, 1])
    chosen = [0, 0, 2]
    expected, gradient = binary_loss(scores[chosen], labels[chosen])
    assert loss == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(dscores, [2 * gradient[0], np.zeros(2), gradient[2]], rtol=1e-12)
    assert binary_loss(np.zeros((1, 2)), [[1, 0]], positive_weights=[3, 5])[0] == pytest.approx(2 * np.log(2))
    loss, dscores = binary_loss(scores, labels, weights=[0, 0, 0])
    assert loss == 0
    assert not dscores.any()


@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        (np.ones((0, 3)), [], ValueError, r"expected scores of shape \(N, K\) with N and K at least 1, got \(0, 3\)"),
        (np.ones((2, 3)), [0, 1], ValueError, r"labels of shape \(2, 3\), one for each class, got shape \(2,\)"),
        (np.ones((2, 1)), [0], ValueError, r"labels of shape \(2, 1\) or \(2,\), got shape \(1,\)"),
        (np.ones((1, 2)), [[0, 2]], ValueError, r"labels in \[0, 1\], got 2"),
        (np.ones((1, 2)), [[0, -0.5]], ValueError, r"labels in \[0, 1\], got -0.5"),
        (np.ones((1, 2)), [[0, np.nan]], ValueError, r"labels in \[0, 1\], got nan"),
        (np.ones((1, 2)), [["a", "b"]], TypeError, "labels of numbers or truth values, got dtype <U1"),
        (np.ones((1, 2), complex), [[0, 1]], TypeError, "real numbers, got dtype complex128"),
    ],
)
def test_wrong_arguments_of_the_binary_loss_are_named(scores, labels, error, message):
    with pytest.raises(error, match=f"^binary_loss.*{message}"):
        binary_loss(scores, labels)


@pytest.mark.parametrize("loss", [binary_loss, partial(binary_loss, positive_weights=[1.0, 2.0, 0.5])])
def test_a_model_learns_several_labels_an_example(rng, loss):
    x = rng.standard_normal((40, 6))
    labels = x[:, :3] > 0.5
    layers = [Affine(6, 16, rng=rng, dtype=np.float64), ReLU(), Affine(16, 3, rng=rng, dtype=np.float64)]
    model = Sequential(layers, (6,), loss=loss)
    value, grads = model.loss(x, labels)
    for name, param in model.params.items():
        assert gradient_error(lambda: model.loss(x, labels)[0], param, grads[name], rng=rng) < 1e-6
    losses = [model.train_step(x, labels, SGD(1.0)) for _ in range(300)]
    assert losses[0] == value
    assert ((model.scores(x) > 0) == labels).mean() > 0.95


def test_page_says_which_losses_give_no_probabilities(tmp_path, rng):
    def is_denied(loss):
        model = Sequential([Affine(64, 10, rng=rng)], (1, 8, 8), loss=loss)
        webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))
        return "with this model's loss they are not probabilities" in (tmp_path / "page.html").read_text("utf-8")

    for loss in (softmax_loss, partial(softmax_loss), partial(softmax_loss, smoothing=0.5, class_weights=None)):
        assert not is_denied(loss)
    for loss in (svm_loss, partial(svm_loss, margin=2.0), lambda scores, labels: softmax_loss(scores, labels)):
        assert is_denied(loss)
    assert is_denied(partial(softmax_loss, class_weights=np.arange(10)))


def test_the_page_refuses_labels_of_several_classes_an_example(tmp_path, rng):
    model = Sequential([Affine(64, 10, rng=rng)], (1, 8, 8), loss=binary_loss)
    message = r"^export: expected a loss of one class an example, such as softmax_loss, got one of BinaryLabels\(\); "
    with pytest.raises(ValueError, match=message):
        webpage.export(model, tmp_path / "page.html", (np.zeros((1, 1, 8, 8)), [0]))
    assert not (tmp_path / "page.html").exists()
