"""Convolution, ReLU and max pooling in one pass."""

import numpy as np
import pytest
from cases import FUSED, needs_fusion, normal

from convnet import _kernels, functional, naive


@pytest.fixture(params=_kernels.INSTRUCTION_SETS[1:])
def fusing(request):
    before = _kernels.instruction_set()
    _kernels.use_instruction_set(request.param)
    yield
    _kernels.use_instruction_set(before)


@pytest.mark.usefixtures("fusing")
@pytest.mark.parametrize(("x_shape", "weight_shape", "padding"), FUSED)
def test_fused_convolution_equals_the_loops(rng, x_shape, weight_shape, padding):
    x, weight = normal(rng, x_shape, np.float32), normal(rng, weight_shape, np.float32)
    bias = normal(rng, weight_shape[0], np.float32)
    y, argmax = functional.conv_relu_pool_forward(x, weight, bias, padding=padding)
    conv = naive.conv2d_forward(x, weight, bias, padding=padding)
    expected, indices = naive.max_pool2d_forward(naive.relu_forward(conv), 2)
    assert y.dtype == np.float32
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)

    dy = normal(rng, y.shape, np.float32)
    dconv = naive.relu_backward(naive.max_pool2d_backward(dy, indices, conv.shape), naive.relu_forward(conv))
    oracle = naive.conv2d_backward(dconv, x, weight, padding=padding)
    whole = functional.conv_relu_pool_backward(dy, argmax, x, weight, padding=padding)
    without = functional.conv_relu_pool_backward(dy, argmax, x, weight, padding=padding, need_dx=False)
    assert without[0] is None
    for gradient, true in [*zip(whole, oracle, strict=True), *zip(without[1:], oracle[1:], strict=True)]:
        assert gradient.dtype == np.float32
        assert gradient.shape == true.shape
        np.testing.assert_allclose(gradient, true, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("fusing")
def test_fused_convolution_takes_the_first_of_equals_and_lets_nan_through():
    x, one = np.zeros((1, 1, 2, 40), np.float32), np.ones((1, 1, 1, 1), np.float32)
    x[0, 0, :, :10] = [[1, 1, -1, -2, 0, 0, np.nan, 7, 0, 0], [1, 1, -3, -4, 5, 0, 9, np.inf, 0, 0]]
    y, argmax = functional.conv_relu_pool_forward(x, one, [0.0])
    np.testing.assert_array_equal(y[0, 0, 0, :5], [1, 0, 5, np.nan, 0])
    np.testing.assert_array_equal(argmax[0, 0, 0, :5], [0, 4, 2, 0, 4])
    # Only the third cell has a gradient: 3, times the 5 that was its maximum.
    dy = np.zeros((1, 1, 1, 20), np.float32)
    dy[..., 2] = 3
    _, dweight, dbias = functional.conv_relu_pool_backward(dy, argmax, np.nan_to_num(x), one, need_dx=False)
    assert (dweight.item(), dbias.item()) == (15, 3)


@pytest.mark.usefixtures("fusing")
def test_fused_convolution_ignores_the_gradient_of_closed_cells(rng):
    x, weight = normal(rng, (1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32)
    _, argmax = functional.conv_relu_pool_forward(x, weight, [-1e6], padding=1)
    dy = np.full((1, 1, 2, 2), np.inf)
    for need_dx in (True, False):
        gradients = functional.conv_relu_pool_backward(dy, argmax, x, weight, padding=1, need_dx=need_dx)
        assert all(gradient is None or not gradient.any() for gradient in gradients)


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((4, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: functional.conv_relu_pool_forward(X, np.ones((4, 1, 5, 5)), np.zeros(4)),
            ValueError,
            "got float64 of",
        ),
        pytest.param(
            lambda: functional.conv_relu_pool_forward(X[:, :, :0], W[:, :1], np.zeros(4), padding=4),
            ValueError,
            "expected images of at least one pixel",
            marks=needs_fusion,
        ),
        (lambda: functional.conv_relu_pool_forward(X, W, np.zeros(4)), ValueError, "expects 3 input channels"),
        pytest.param(
            lambda: functional.conv_relu_pool_backward(
                np.ones((8, 4, 12, 12)), np.full((8, 4, 12, 12), 5, np.uint8), X, W[:, :1]
            ),
            ValueError,
            "argmax: expected at most 4, got 5",
            marks=needs_fusion,
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@needs_fusion
def test_indices_of_another_type_are_named(rng):
    x, weight = rng.standard_normal((2, 1, 6, 6)), rng.standard_normal((3, 1, 3, 3)).astype(np.float32)
    y, argmax = functional.conv_relu_pool_forward(x, weight, np.zeros(3))
    with pytest.raises(TypeError, match="Conv2D: argmax: expected uint8, got int64"):
        functional.conv_relu_pool_backward(y, argmax.tolist(), x, weight)
