"""The plain loops, against numbers worked out by hand and their own derivatives."""

import numpy as np
import pytest

from convnet import gradient_error, naive


def test_convolution_by_hand():
    x = np.array([[[[1.0, 2, 3], [4, 5, 6]]]])
    weight = np.array([[[[1.0, 10], [100, 1000]]]])
    np.testing.assert_array_equal(naive.conv2d_forward(x, weight, np.array([0.5])), [[[[5421.5, 6532.5]]]])
    padded = naive.conv2d_forward(x, weight, np.array([0.0]), stride=(2, 3), padding=1)
    # Windows at rows -1 and 1, columns -1 and 2: only what lies inside counts.
    np.testing.assert_array_equal(padded, [[[[1000, 300], [40, 6]]]])


def test_convolution_adds_channels_and_keeps_filters_apart(rng):
    x = rng.standard_normal((2, 3, 4, 5))
    weight = rng.standard_normal((2, 3, 2, 3))
    bias = rng.standard_normal(2)
    y = naive.conv2d_forward(x, weight, bias)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 3), axis=(2, 3))
    np.testing.assert_allclose(y, np.einsum("nchwij,fcij->nfhw", windows, weight) + bias[:, None, None], rtol=1e-12)


def test_pooling_by_hand():
    x = np.array([[[[1.0, 5, 5, 2], [5, 0, 1, 9], [3, 3, 7, 7]]]])
    y, argmax = naive.max_pool2d_forward(x, 2)
    np.testing.assert_array_equal(y, [[[[5, 9]]]])
    np.testing.assert_array_equal(argmax, [[[[1, 7]]]])  # of the two fives the first in row order
    dx = naive.max_pool2d_backward(np.array([[[[10.0, 20]]]]), argmax, x.shape)
    np.testing.assert_array_equal(dx, [[[[0, 10, 0, 0], [0, 0, 0, 20], [0, 0, 0, 0]]]])


def test_pooling_pads_with_minus_infinity():
    y, argmax = naive.max_pool2d_forward(np.full((1, 1, 2, 2), -3.0), 2, padding=1)
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -3.0))
    np.testing.assert_array_equal(argmax.ravel(), [0, 1, 2, 3])


def test_padding_that_differs_from_side_to_side_by_hand():
    x = np.array([[[[1.0, 2, 3], [4, 5, 6]]]])
    weight = np.array([[[[1.0, 10], [100, 1000]]]])
    # A row below and two columns to the left: windows at rows 0 and 1, columns -2, 0.
    padding = ((0, 1), (2, 0))
    y = naive.conv2d_forward(x, weight, stride=(1, 2), padding=padding)
    np.testing.assert_array_equal(y, [[[[0, 5421], [0, 54]]]])
    dx, dweight, _ = naive.conv2d_backward(np.array([[[[1.0, 1], [1, 2]]]]), x, weight, stride=(1, 2), padding=padding)
    np.testing.assert_array_equal(dx, [[[[1, 10, 0], [102, 1020, 0]]]])
    np.testing.assert_array_equal(dweight, [[[[9, 12], [4, 5]]]])
    pooled, argmax = naive.max_pool2d_forward(-x, 2, stride=1, padding=((0, 1), (1, 0)))
    np.testing.assert_array_equal(pooled, [[[[-1, -1, -2], [-4, -4, -5]]]])
    np.testing.assert_array_equal(argmax, [[[[0, 0, 1], [3, 3, 4]]]])
    means = naive.average_pool2d_forward(x, 2, stride=1, padding=((0, 1), (1, 0)))
    np.testing.assert_array_equal(means, [[[[1.25, 3, 4], [1, 2.25, 2.75]]]])


def test_sizes_that_are_rounded_up_by_hand():
    x = np.array([[[[1.0, 2, 3, 4, 5]]]])
    y, argmax = naive.max_pool2d_forward(-x, (1, 2), ceil_mode=True)
    np.testing.assert_array_equal(y, [[[[-1, -3, -5]]]])
    np.testing.assert_array_equal(argmax, [[[[0, 2, 4]]]])
    # A window at column 5 would begin behind the image, and is left out.
    assert naive.max_pool2d_forward(x, (1, 2), stride=(1, 5), ceil_mode=True)[0].tolist() == [[[[2]]]]
    # So is one that would begin in the padding: those at columns -1 and 2 stay.
    padded = {"padding": (0, 1), "ceil_mode": True}
    assert naive.average_pool2d_forward(x, (1, 2), stride=(1, 3), **padded).tolist() == [[[[0.5, 3.5]]]]
    # Of four elements at column 3, two lie in the image, one in the padding, and one beyond, which never counts.
    means = naive.average_pool2d_forward(x, (1, 4), stride=(1, 4), **padded)
    np.testing.assert_array_equal(means, [[[[1.5, 3]]]])
    means = naive.average_pool2d_forward(x, (1, 4), stride=(1, 4), count_padding=False, **padded)
    np.testing.assert_array_equal(means, [[[[2, 4.5]]]])
    dx = naive.average_pool2d_backward(np.array([[[[4.0, 3]]]]), x.shape, (1, 4), stride=(1, 4), **padded)
    np.testing.assert_array_equal(dx, [[[[1, 1, 1, 1, 1]]]])


def test_groups_and_dilation_by_hand():
    x = np.arange(18.0).reshape(1, 2, 3, 3)
    weight = np.array([[[[1.0, 10.0]]], [[[2.0, 0.0]]]])
    # The first filter sees the first channel, the second one the second; two columns apart.
    y = naive.conv2d_forward(x, weight, dilation=(1, 2), groups=2)
    np.testing.assert_array_equal(y, [[[[20.0], [53.0], [86.0]], [[18.0], [24.0], [30.0]]]])
    dx, dweight, dbias = naive.conv2d_backward(np.ones_like(y), x, weight, dilation=(1, 2), groups=2)
    np.testing.assert_array_equal(dx[0], [[[1, 0, 10]] * 3, [[2, 0, 0]] * 3])
    np.testing.assert_array_equal(dweight, [[[[9.0, 15.0]]], [[[36.0, 42.0]]]])
    np.testing.assert_array_equal(dbias, [3.0, 3.0])


def test_softmax_loss_by_hand():
    loss, dscores = naive.softmax_loss(np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0]))
    assert loss == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    np.testing.assert_allclose(dscores, [[0.125, -0.125], [-0.25, 0.25]], atol=1e-15)
    assert naive.softmax_loss(np.zeros((3, 7)), np.array([0, 3, 6]))[0] == pytest.approx(np.log(7))
    assert naive.softmax_loss(np.array([[1e5, 0.0]]), np.array([1]))[0] == pytest.approx(1e5)


def test_softmax_loss_with_options_by_hand():
    scores, labels = np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0])
    # The targets are 3/4 and 1/4, the terms 3/4 log 4/3 + 1/4 log 4 and log 2.
    smooth = 0.75 * np.log(4 / 3) + 0.25 * np.log(4)
    assert naive.softmax_loss(scores, labels, smoothing=0.5)[0] == pytest.approx((smooth + np.log(2)) / 2)
    loss, dscores = naive.softmax_loss(scores, labels, class_weights=np.array([1, 3]), weights=np.array([2, 4]))
    assert loss == pytest.approx((6 * np.log(4 / 3) + 4 * np.log(2)) / 10)
    np.testing.assert_allclose(dscores, [[0.15, -0.15], [-0.2, 0.2]], atol=1e-15)
    loss, dscores = naive.softmax_loss(scores, labels, smoothing=0.5, class_weights=np.array([4, 0]))
    # The first label's class has no weight, but class 0 has, with its smoothed term: 4 / 4 log 4; then 4 * 3 / 4 log 2.
    assert loss == pytest.approx((np.log(4) + 3 * np.log(2)) / 4)
    assert naive.softmax_loss(scores, labels, weights=np.zeros(2))[0] == 0


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), ((1, 3), (2, 0)), (3, 2), (2, ((0, 1), (2, 0)))])
def test_convolution_gradients_are_derivatives(rng, stride, padding):
    x, weight, bias = rng.standard_normal((2, 2, 5, 6)), rng.standard_normal((3, 2, 3, 2)), rng.standard_normal(3)
    dy = rng.standard_normal(naive.conv2d_forward(x, weight, bias, stride=stride, padding=padding).shape)
    gradients = naive.conv2d_backward(dy, x, weight, stride=stride, padding=padding)
    for array, gradient in zip((x, weight, bias), gradients, strict=True):
        error = gradient_error(
            lambda: float((dy * naive.conv2d_forward(x, weight, bias, stride=stride, padding=padding)).sum()),
            array,
            gradient,
            rng=rng,
            directions=5,
        )
        assert error < 1e-7


def test_affine_relu_and_pooling_gradients_are_derivatives(rng):
    x = rng.permutation(np.arange(-20.0, 20.0)).reshape(2, 2, 2, 5) + 0.5  # no ties, nothing near 0
    weight, bias = rng.standard_normal((20, 3)), rng.standard_normal(3)
    dy = rng.standard_normal((2, 3))
    for array, gradient in zip((x, weight, bias), naive.affine_backward(dy, x, weight), strict=True):
        assert (
            gradient_error(
                lambda: float((dy * naive.affine_forward(x, weight, bias)).sum()),
                array,
                gradient,
                rng=rng,
                directions=5,
            )
            < 1e-7
        )
    dy = rng.standard_normal(x.shape)
    relu = naive.relu_backward(dy, naive.relu_forward(x))
    assert gradient_error(lambda: float((dy * naive.relu_forward(x)).sum()), x, relu, rng=rng) < 1e-7
    y, argmax = naive.max_pool2d_forward(x, (2, 3), stride=1)
    dy = rng.standard_normal(y.shape)
    pooled = naive.max_pool2d_backward(dy, argmax, x.shape)
    assert (
        gradient_error(lambda: float((dy * naive.max_pool2d_forward(x, (2, 3), stride=1)[0]).sum()), x, pooled, rng=rng)
        < 1e-7
    )


def test_softmax_gradient_is_its_derivative(rng):
    scores, labels = rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
    gradient = naive.softmax_loss(scores, labels)[1]
    assert gradient_error(lambda: naive.softmax_loss(scores, labels)[0], scores, gradient, rng=rng) < 1e-7


def test_average_pooling_by_hand():
    x = np.array([[[[1.0, 2, 3], [4, 5, 9]]]])
    np.testing.assert_array_equal(naive.average_pool2d_forward(x, (2, 1)), [[[[2.5, 3.5, 6]]]])
    padded = naive.average_pool2d_forward(x, 2, padding=1)
    np.testing.assert_array_equal(padded, [[[[0.25, 1.25], [1, 3.5]]]])
    inside = naive.average_pool2d_forward(x, 2, padding=1, count_padding=False)
    np.testing.assert_array_equal(inside, [[[[1, 2.5], [4, 7]]]])
    dx = naive.average_pool2d_backward(np.array([[[[4.0, 8], [12, 16]]]]), x.shape, 2, padding=1, count_padding=False)
    np.testing.assert_array_equal(dx, [[[[4, 4, 4], [12, 8, 8]]]])


@pytest.mark.parametrize("windows", [{"padding": 1}, {"padding": ((2, 0), (1, 2)), "ceil_mode": True}])
@pytest.mark.parametrize("count_padding", [True, False])
def test_average_pooling_gradient_is_the_derivative(rng, count_padding, windows):
    x, options = rng.standard_normal((2, 2, 5, 6)), {"stride": (2, 1), "count_padding": count_padding} | windows
    dy = rng.standard_normal(naive.average_pool2d_forward(x, 3, **options).shape)
    dx = naive.average_pool2d_backward(dy, x.shape, 3, **options)
    loss = lambda: float((dy * naive.average_pool2d_forward(x, 3, **options)).sum())  # noqa: E731
    assert gradient_error(loss, x, dx, rng=rng) < 1e-7


def test_sigmoid_by_hand(rng):
    x = np.log([[3.0, 1.0, 1 / 9]])
    np.testing.assert_allclose(naive.sigmoid_forward(x), [[0.75, 0.5, 0.1]], rtol=1e-14)
    np.testing.assert_allclose(naive.sigmoid_backward(np.ones((1, 3)), x), [[0.1875, 0.25, 0.09]], rtol=1e-14)
    np.testing.assert_array_equal(naive.sigmoid_forward(np.array([-1e5, 1e5])), [0, 1])


def test_global_average_pooling_by_hand():
    x = np.array([[[[1.0, 2, 3], [4, 5, 9]], [[0, 0, 0], [0, 0, -3]]]])
    np.testing.assert_array_equal(naive.global_average_pool_forward(x), [[4, -0.5]])
    dx = naive.global_average_pool_backward(np.array([[12.0, -3]]), x.shape)
    np.testing.assert_array_equal(dx, [[np.full((2, 3), 2), np.full((2, 3), -0.5)]])


def test_gelu_by_hand():
    x, ones = np.array([[-1.0, 0.0, 1.0, 2.0]]), np.ones((1, 4))
    # Phi(1) and Phi(2) of tables of the normal distribution; its density at 1 is 0.2419707, at 2 it is 0.0539910.
    y = [[-0.1586552539, 0, 0.8413447461, 2 * 0.9772498681]]
    np.testing.assert_allclose(naive.gelu_forward(x), y, atol=1e-9)
    dx = [[0.1586552539 - 0.2419707245, 0.5, 0.8413447461 + 0.2419707245, 0.9772498681 + 2 * 0.0539909665]]
    np.testing.assert_allclose(naive.gelu_backward(ones, x), dx, atol=1e-9)
    np.testing.assert_allclose(naive.gelu_forward(x, approximate=True), y, atol=5e-4)
    np.testing.assert_allclose(naive.gelu_backward(ones, x, approximate=True), dx, atol=2e-3)
    # sqrt(2 / pi) * 1.044715 = 0.8335620
    assert naive.gelu_forward(x, approximate=True)[0, 2] == pytest.approx(0.5 * (1 + np.tanh(0.8335620)), abs=1e-7)


def test_silu_by_hand():
    x = np.log([[3.0, 1.0, 1 / 9]])
    np.testing.assert_allclose(naive.silu_forward(x), x * [[0.75, 0.5, 0.1]], rtol=1e-14)
    np.testing.assert_allclose(
        naive.silu_backward(np.ones((1, 3)), x), [[0.75, 0.5, 0.1]] + x * [[0.1875, 0.25, 0.09]], rtol=1e-14
    )
    for forward in (naive.silu_forward, naive.gelu_forward):
        np.testing.assert_array_equal(forward(np.array([-np.inf, -1e5, 1e5, np.inf])), [0, 0, 1e5, np.inf])


# The known answers that the authors of Philox publish with their code (Random123, kat_vectors): all bits 0, all bits 1,
# the digits of pi.
PHILOX_ANSWERS = [
    (0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (2**64 - 1, 2**128 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (0x299F31D0A4093822, 0x0370734413198A2E85A308D3243F6A88, "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("key", "counter", "answer"), PHILOX_ANSWERS)
def test_philox_gives_the_published_words(key, counter, answer):
    assert " ".join(f"{word:08x}" for word in naive.philox(key, counter)) == answer


def test_dropout_by_hand():
    y, kept = naive.dropout_forward(np.arange(1.0, 1001), 0.2, np.random.default_rng(0))
    assert 150 < (~kept).sum() < 250
    np.testing.assert_allclose(y, np.where(kept, np.arange(1, 1001) * 1.25, 0))
    np.testing.assert_allclose(naive.dropout_backward(np.ones(1000), kept, 0.2), np.where(kept, 1.25, 0))


def test_svm_loss_by_hand():
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    # Terms above 0: 2.9; none; 6.3 and 6.6.
    loss, dscores = naive.svm_loss(scores, np.array([0, 1, 2]))
    assert loss == pytest.approx((2.9 + 0 + 12.9) / 3)
    np.testing.assert_allclose(dscores * 3, [[-1, 1, 0], [0, 0, 0], [1, 1, -2]], atol=1e-12)
    assert naive.svm_loss(np.zeros((2, 4)), np.array([1, 2]), 0.5)[0] == pytest.approx(1.5)


def test_binary_loss_by_hand():
    # Probabilities 3/4 and 1/4, then 1/2 and 9/10.
    scores, labels = np.log([[3.0, 1 / 3], [1.0, 9.0]]), np.array([[1, 1], [0, 0.5]])
    loss, dscores = naive.binary_loss(scores, labels)
    terms = -np.log([0.75, 0.25, 0.5, np.sqrt(0.9 * 0.1)])
    assert loss == pytest.approx(terms.mean())
    np.testing.assert_allclose(dscores, np.array([[-0.25, -0.75], [0.5, 0.4]]) / 4, atol=1e-15)
    loss = naive.binary_loss(scores, labels, positive_weights=np.array([1, 3]), weights=np.array([2, 0]))[0]
    assert loss == pytest.approx((terms[0] + 3 * terms[1]) / 2)
    assert naive.binary_loss(np.array([[-1e5], [1e5]]), np.array([1, 1]))[0] == pytest.approx(5e4)


def test_warp_by_hand():
    x = np.array([[[[0.0, 10], [20, 40]]]])
    half = naive.warp(x, np.array([[[1, 0, 0.5], [0, 1, 0.25]]]))
    # Rows 0.5 and 1 (the last), columns 0.25 and 1.
    np.testing.assert_allclose(half, [[[[13.75, 25], [25, 40]]]])
