"""The checked functions and their kernels, against the plain loops of convnet.naive."""

import time

import numpy as np
import pytest
from cases import CONVOLUTIONS, FUSED, POOLINGS, needs_fusion, tolerance

import convnet
from convnet import _kernels, functional, naive


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("block_rows", [None, 1, 2, 3])
@pytest.mark.parametrize(("x_shape", "weight_shape", "stride", "padding"), CONVOLUTIONS)
def test_convolution_equals_the_loops(rng, monkeypatch, dtype, x_shape, weight_shape, stride, padding, block_rows):
    if block_rows is not None:
        monkeypatch.setattr(_kernels, "block_rows", lambda size, out_h, out_w: min(block_rows, out_h))
    x, weight = normal(rng, x_shape, dtype), normal(rng, weight_shape, dtype)
    bias = normal(rng, weight_shape[0], dtype)
    y = functional.conv2d_forward(x, weight, bias, stride=stride, padding=padding)
    expected = naive.conv2d_forward(x, weight, bias, stride=stride, padding=padding)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, **tolerance(dtype))
    assert y.shape == expected.shape

    dy = normal(rng, y.shape, dtype)
    gradients = functional.conv2d_backward(dy, x, weight, stride=stride, padding=padding)
    oracle = naive.conv2d_backward(dy, x, weight, stride=stride, padding=padding)
    for gradient, true, like in zip(gradients, oracle, (x, weight, bias), strict=True):
        assert gradient.dtype == dtype
        assert gradient.shape == like.shape
        np.testing.assert_allclose(gradient, true, **tolerance(dtype))
    without = functional.conv2d_backward(dy, x, weight, stride=stride, padding=padding, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], gradients[1])


@pytest.mark.parametrize(
    ("channels", "filters", "kernel", "size"),
    [(16, 16, 3, 32), (16, 2, 3, 60), (16, 2, 3, 200), (3, 1, 11, 300), (1, 1, 2, 2000)],
)
def test_convolution_needs_little_memory_besides_its_results(channels, filters, kernel, size):
    allocated = []

    def empty(shape, dtype):
        allocated.append(np.empty(shape, dtype))
        return allocated[-1]

    x, weight = np.zeros((1, channels, size, size), np.float32), np.zeros((filters, channels, kernel, kernel))
    convnet.set_num_threads(1)
    y = functional.conv2d_forward(x, weight.astype(np.float32), np.zeros(filters), empty=empty)
    scratch = sum(array.nbytes for array in allocated if array.shape != (1, filters, y[0, 0].size))
    assert 0 < scratch < (3 << 19)


@pytest.mark.parametrize("groups", [1, 2, 5, 8])
def test_convolution_gradient_is_the_same_summed_in_groups(rng, monkeypatch, groups):
    x, weight = normal(rng, (5, 2, 6, 7), np.float64), normal(rng, (3, 2, 3, 2), np.float64)
    monkeypatch.setattr(functional, "GROUPS", groups)
    y = functional.conv2d_forward(x, weight, np.ones(3), padding=1)
    dy = normal(rng, y.shape, np.float64)
    for got, true in zip(
        functional.conv2d_backward(dy, x, weight, padding=1),
        naive.conv2d_backward(dy, x, weight, padding=1),
        strict=True,
    ):
        np.testing.assert_allclose(got, true, **tolerance(np.float64))


@pytest.mark.parametrize(("shape", "kernel_size", "stride", "padding"), POOLINGS)
def test_max_pooling_equals_the_loops(rng, dtype, shape, kernel_size, stride, padding):
    x = rng.integers(-3, 4, shape).astype(dtype)  # few values, so that there are ties
    y, argmax = functional.max_pool2d_forward(x, kernel_size, stride=stride, padding=padding)
    expected, indices = naive.max_pool2d_forward(x, kernel_size, stride=stride, padding=padding)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, indices)
    assert y.shape == expected.shape

    dy = normal(rng, y.shape, dtype)
    dx = functional.max_pool2d_backward(dy, argmax, shape)
    assert dx.dtype == dtype
    assert dx.shape == shape
    np.testing.assert_allclose(dx, naive.max_pool2d_backward(dy, indices, shape), **tolerance(dtype))


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize(("shape", "kernel_size", "stride", "padding"), POOLINGS)
def test_average_pooling_equals_the_loops(rng, dtype, shape, kernel_size, stride, padding, count_padding):
    x = normal(rng, shape, dtype)
    options = {"stride": stride, "padding": padding, "count_padding": count_padding}
    y = functional.average_pool2d_forward(x, kernel_size, **options)
    expected = naive.average_pool2d_forward(x, kernel_size, **options)
    assert y.dtype == dtype
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, **tolerance(dtype))

    dy = normal(rng, y.shape, dtype)
    dx = functional.average_pool2d_backward(dy, shape, kernel_size, **options)
    assert dx.dtype == dtype
    assert dx.shape == shape
    np.testing.assert_allclose(dx, naive.average_pool2d_backward(dy, shape, kernel_size, **options), **tolerance(dtype))
    # The pooling is linear, so that its gradient is its adjoint: <pool(x), dy> == <x, dx>.
    left, right = (y.astype(np.float64) * dy).sum(), (x.astype(np.float64) * dx).sum()
    assert left == pytest.approx(right, **({"abs": 1e-4} if dtype == np.float32 else {"rel": 1e-11, "abs": 1e-12}))


def test_average_pooling_lets_nan_and_infinity_through(dtype):
    x = np.ones((1, 1, 4, 6), dtype)
    x[0, 0, 1, 1], x[0, 0, 3, 2] = np.nan, np.inf
    np.testing.assert_array_equal(functional.average_pool2d_forward(x, 2)[0, 0], [[np.nan, 1, 1], [1, np.inf, 1]])


@pytest.mark.parametrize("fill", [np.nan, -np.inf, np.inf], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_max_pooling_of_special_values(rng, dtype, fill, stride):
    x = normal(rng, (3, 2, 7, 6), dtype)
    x[rng.random(x.shape) < 0.4] = fill
    x[0, 0] = fill
    y, argmax = functional.max_pool2d_forward(x, 3, stride=stride, padding=1)
    expected, indices = naive.max_pool2d_forward(x, 3, stride=stride, padding=1)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, indices)


@pytest.fixture(params=range(_kernels.simd_highest() + 1), ids=lambda level: ("portable", "AVX2", "AVX-512")[level])
def level(request, monkeypatch):
    monkeypatch.setattr(functional, "LEVEL", request.param)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize(("x_shape", "weight_shape", "padding"), FUSED)
def test_fused_convolution_equals_the_loops(rng, x_shape, weight_shape, padding):
    x, weight = normal(rng, x_shape, np.float32), normal(rng, weight_shape, np.float32)
    bias = normal(rng, weight_shape[0], np.float32)
    y, codes = functional.conv_relu_pool_forward(x, weight, bias, padding=padding)
    conv = naive.conv2d_forward(x, weight, bias, padding=padding)
    expected, argmax = naive.max_pool2d_forward(naive.relu_forward(conv), 2)
    assert y.dtype == np.float32
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)

    dy = normal(rng, y.shape, np.float32)
    dconv = naive.relu_backward(naive.max_pool2d_backward(dy, argmax, conv.shape), naive.relu_forward(conv))
    oracle = naive.conv2d_backward(dconv, x, weight, padding=padding)
    whole = functional.conv_relu_pool_backward(dy, codes, x, weight, padding=padding)
    without = functional.conv_relu_pool_backward(dy, codes, x, weight, padding=padding, need_dx=False)
    assert without[0] is None
    for gradient, true in [*zip(whole, oracle, strict=True), *zip(without[1:], oracle[1:], strict=True)]:
        assert gradient.dtype == np.float32
        assert gradient.shape == true.shape
        np.testing.assert_allclose(gradient, true, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("level")
def test_fused_convolution_takes_the_first_of_equals_and_lets_nan_through():
    x, one = np.zeros((1, 1, 2, 40), np.float32), np.ones((1, 1, 1, 1), np.float32)
    x[0, 0, :, :10] = [[1, 1, -1, -2, 0, 0, np.nan, 7, 0, 0], [1, 1, -3, -4, 5, 0, 9, np.inf, 0, 0]]
    y, codes = functional.conv_relu_pool_forward(x, one, [0.0])
    np.testing.assert_array_equal(y[0, 0, 0, :5], [1, 0, 5, np.nan, 0])
    closed = 4
    np.testing.assert_array_equal(codes[0, 0, 0, :5], [0, closed, 2, 0, closed])
    # Only the third cell has a gradient: 3, times the 5 that was its maximum.
    dy = np.zeros((1, 1, 1, 20), np.float32)
    dy[..., 2] = 3
    _, dweight, dbias = functional.conv_relu_pool_backward(dy, codes, np.nan_to_num(x), one, need_dx=False)
    assert (dweight.item(), dbias.item()) == (15, 3)


@pytest.mark.usefixtures("level")
def test_fused_convolution_ignores_the_gradient_of_closed_cells(rng):
    x, weight = normal(rng, (1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32)
    _, codes = functional.conv_relu_pool_forward(x, weight, [-1e6], padding=1)
    dy = np.full((1, 1, 2, 2), np.inf)
    for need_dx in (True, False):
        gradients = functional.conv_relu_pool_backward(dy, codes, x, weight, padding=1, need_dx=need_dx)
        assert all(gradient is None or not gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("n", "d", "m"), [(4, 6, 3), (1, 1, 1), (0, 5, 2), (3, 7, 1)])
def test_affine_equals_the_loops(rng, dtype, n, d, m):
    x, weight, bias = normal(rng, (n, d), dtype), normal(rng, (d, m), dtype), normal(rng, m, dtype)
    y = functional.affine_forward(x, weight, bias)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, naive.affine_forward(x, weight, bias), **tolerance(dtype))
    dy = normal(rng, (n, m), dtype)
    gradients = functional.affine_backward(dy, x, weight)
    oracle = naive.affine_backward(dy, x, weight)
    for gradient, true, like in zip(gradients, oracle, (x, weight, bias), strict=True):
        assert gradient.dtype == dtype
        assert gradient.shape == like.shape
        np.testing.assert_allclose(gradient, true, **tolerance(dtype))
    assert functional.affine_backward(dy, x, weight, need_dx=False)[0] is None


def test_affine_flattens_all_axes_after_the_first(rng):
    x, weight = normal(rng, (3, 2, 4, 5), np.float64), normal(rng, (40, 3), np.float64)
    y = functional.affine_forward(x, weight, np.zeros(3))
    np.testing.assert_allclose(y, naive.affine_forward(x, weight, np.zeros(3)), **tolerance(np.float64))
    dx, _, _ = functional.affine_backward(y, x, weight)
    assert dx.shape == x.shape


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_relu_equals_the_loops(rng, dtype, shape):
    x = rng.integers(-2, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.2] = np.nan
    y = functional.relu_forward(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, naive.relu_forward(x))
    dy = normal(rng, shape, dtype)
    dx = functional.relu_backward(dy, y)
    assert dx.dtype == dtype
    np.testing.assert_array_equal(dx, naive.relu_backward(dy, y))
    np.testing.assert_array_equal(dx, functional.relu_backward(dy, x))


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_sigmoid_equals_the_loops(rng, dtype, shape):
    x = (5 * rng.standard_normal(shape)).astype(dtype)
    y = functional.sigmoid_forward(x)
    assert y.dtype == dtype
    assert y.shape == shape
    np.testing.assert_allclose(y, naive.sigmoid_forward(x), rtol=1e-6 if dtype == np.float32 else 1e-14)
    dy = normal(rng, shape, dtype)
    dx = functional.sigmoid_backward(dy, x)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, naive.sigmoid_backward(dy, x), rtol=1e-5 if dtype == np.float32 else 1e-13)


def test_sigmoid_is_stable_at_both_ends(dtype):
    far = 80.0 if dtype == np.float32 else 700.0
    x = np.array([-np.inf, -1e30, -far, 0, far, 1e30, np.inf, np.nan], dtype)
    y = functional.sigmoid_forward(x)
    np.testing.assert_array_equal(y[[0, 1, 3, 4, 5, 6, 7]], [0, 0, 0.5, 1, 1, 1, np.nan])
    assert y[2] == pytest.approx(np.exp(-far), rel=1e-5)
    dx = functional.sigmoid_backward(np.ones_like(x), x)
    np.testing.assert_array_equal(dx[[0, 1, 3, 5, 6, 7]], [0, 0, 0.25, 0, 0, np.nan])
    # Where y rounds to 1, its derivative is still the small number that it is.
    np.testing.assert_allclose(dx[[2, 4]], np.exp(-far), rtol=1e-5)


@pytest.mark.parametrize("rate", [0, 0.25, 0.9])
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_dropout_equals_the_loops(rng, dtype, shape, rate):
    x, dy = normal(rng, shape, dtype), normal(rng, shape, dtype)
    y, kept = functional.dropout_forward(x, rate, np.random.default_rng(3))
    expected, throws = naive.dropout_forward(x, rate, np.random.default_rng(3))
    assert y.dtype == dtype
    np.testing.assert_array_equal(kept, throws)
    np.testing.assert_allclose(y, expected, **tolerance(dtype))
    dx = functional.dropout_backward(dy, kept, rate)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, naive.dropout_backward(dy, throws, rate), **tolerance(dtype))


def test_dropout_drops_what_is_not_finite_too():
    y, kept = functional.dropout_forward(np.full(100, np.inf), 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(y, np.where(kept, np.inf, 0))


def shift_map(rows, columns):
    """Return the map that moves an image down and to the right by so many pixels."""
    return [[1, 0, -rows], [0, 1, -columns]]


@pytest.mark.parametrize("shape", [(2, 1, 5, 7), (3, 3, 4, 4), (1, 2, 1, 6), (2, 1, 1, 1), (0, 1, 3, 3)])
def test_warp_equals_the_loops(rng, dtype, shape):
    x, maps = normal(rng, shape, dtype), np.eye(2, 3) + 0.3 * rng.standard_normal((shape[0], 2, 3))
    maps[:, :, 2] += rng.integers(-2, 3, (shape[0], 2))
    y = functional.warp(x, maps)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, naive.warp(x, maps), **tolerance(dtype))


def test_warp_shifts_with_the_edge_repeated(rng, dtype):
    x = normal(rng, (2, 3, 5, 4), dtype)
    y = functional.warp(x, [shift_map(2, -1), shift_map(0, 0)])
    down_and_left = np.pad(x[0], ((0, 0), (2, 0), (0, 1)), mode="edge")[:, :5, 1:]
    np.testing.assert_array_equal(y[0], down_and_left)
    np.testing.assert_array_equal(y[1], x[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_warp_reads_whole_pixels_alone(dtype, bad):
    x = np.ones((1, 1, 3, 3), dtype)
    x[0, 0, 1, 1] = bad
    np.testing.assert_array_equal(functional.warp(x, [shift_map(0, 0)]), x)
    np.testing.assert_array_equal(functional.warp(x, [shift_map(1, 1)])[0, 0], [[1, 1, 1], [1, 1, 1], [1, 1, bad]])


def test_numbers_are_arrays_of_no_axes():
    for function in (functional.relu_forward, functional.sigmoid_forward):
        assert function(0.5).shape == ()
    assert functional.sigmoid_backward(1.0, 0.0) == 0.25
    y, kept = functional.dropout_forward(3.0, 0.0, np.random.default_rng(0))
    assert isinstance(kept, np.ndarray)
    assert y.shape == kept.shape == ()


def test_warp_turns_by_a_right_angle(rng):
    x = normal(rng, (1, 2, 5, 5), np.float64)
    turned = functional.warp(x, [[[0, 1, 0], [-1, 0, 4]]])
    np.testing.assert_allclose(turned, np.rot90(x, axes=(2, 3)), rtol=1e-12)


def test_softmax_is_the_ratio_of_exponentials(rng, dtype):
    scores = normal(rng, (5, 4), dtype)
    exact = np.exp(scores.astype(np.longdouble))
    probabilities = functional.softmax(scores)
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, exact / exact.sum(axis=1, keepdims=True), **tolerance(dtype))
    np.testing.assert_allclose(functional.softmax(scores + 1000), probabilities, rtol=1e-3)
    assert functional.softmax(np.zeros((0, 4))).shape == (0, 4)


# Every function, called with arrays of one layout, has to give the bytes that it gives for contiguous arrays.
CALLS = {
    "conv2d_forward": lambda a: functional.conv2d_forward(a(3, 2, 6, 5), a(4, 2, 3, 2), a(4), stride=2, padding=1),
    "conv2d_backward": lambda a: functional.conv2d_backward(a(2, 3, 5, 5), a(2, 2, 6, 5), a(3, 2, 2, 1)),
    "max_pool2d_forward": lambda a: functional.max_pool2d_forward(a(2, 3, 6, 5), 2),
    "max_pool2d_backward": lambda a: functional.max_pool2d_backward(a(1, 1, 2, 2), a(1, 1, 2, 2, ints=4), (1, 1, 4, 4)),
    "conv_relu_pool_forward": lambda a: functional.conv_relu_pool_forward(
        a(2, 2, 6, 5), np.ones((3, 2, 3, 2), np.float32), a(3), padding=1
    ),
    "average_pool2d_forward": lambda a: functional.average_pool2d_forward(a(2, 3, 6, 5), 3, padding=1),
    "average_pool2d_backward": lambda a: functional.average_pool2d_backward(a(2, 3, 3, 2), (2, 3, 6, 5), 2),
    "sigmoid_forward": lambda a: functional.sigmoid_forward(a(3, 4)),
    "sigmoid_backward": lambda a: functional.sigmoid_backward(a(3, 4), a(3, 4)),
    "dropout_forward": lambda a: functional.dropout_forward(a(3, 4), 0.5, np.random.default_rng(0))[0],
    "dropout_backward": lambda a: functional.dropout_backward(a(3, 4), np.eye(3, 4, dtype=bool), 0.5),
    "warp": lambda a: functional.warp(a(2, 1, 4, 5), a(2, 2, 3)),
    "affine_forward": lambda a: functional.affine_forward(a(3, 2, 4), a(8, 5), a(5)),
    "affine_backward": lambda a: functional.affine_backward(a(3, 5), a(3, 2, 4), a(8, 5)),
    "relu_forward": lambda a: functional.relu_forward(a(3, 4)),
    "relu_backward": lambda a: functional.relu_backward(a(3, 4), a(3, 4)),
    "softmax": lambda a: functional.softmax(a(3, 4)),
}


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(call, id=name, marks=needs_fusion if name.startswith("conv_relu_pool") else ())
        for name, call in CALLS.items()
    ],
)
def test_layout_does_not_matter_and_arguments_stay_as_they_are(dtype, layout, call):
    def run(arrange):
        rng, given = np.random.default_rng(7), []

        def make(*shape, ints=0):
            values = rng.integers(0, ints, shape) if ints else rng.standard_normal(shape).astype(dtype)
            array = arrange(values)
            given.append((array, values))
            return array

        result = call(make)
        for array, values in given:
            np.testing.assert_array_equal(array, values)
        return result if isinstance(result, tuple) else (result,)

    for got, expected in zip(run(layout), run(np.ascontiguousarray), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
        assert got.flags.c_contiguous


def test_the_weight_decides_the_dtype(rng):
    images = rng.integers(0, 256, (2, 1, 5, 5)).astype(np.uint8)
    for weight_dtype, result in ((np.float32, np.float32), (np.float64, np.float64), (np.float16, np.float32)):
        weight = np.ones((2, 1, 3, 3), weight_dtype)
        assert functional.conv2d_forward(images, weight, np.zeros(2)).dtype == result
        assert functional.affine_forward(images, np.ones((25, 2), weight_dtype), np.zeros(2)).dtype == result
    assert functional.relu_forward(images).dtype == np.float32
    assert functional.max_pool2d_forward(images.astype(np.float64), 2)[0].dtype == np.float64


def test_what_float32_cannot_hold_becomes_infinite_without_a_warning():
    weight = np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(functional.affine_forward([[1e300]], weight, [0]), [[np.inf]])
    assert np.isnan(functional.softmax([[np.inf, 0.0]])[0, 0])


@pytest.mark.parametrize(
    "wrong", [np.ones((2, 1, 5, 5), bool), np.ones((2, 1, 5, 5), complex), np.full((2, 1, 5, 5), "1"), [[[[object()]]]]]
)
def test_what_is_not_a_real_number_is_refused(wrong):
    for call in (
        lambda: functional.conv2d_forward(wrong, np.ones((2, 1, 3, 3)), np.zeros(2)),
        lambda: functional.max_pool2d_forward(wrong, 2),
        lambda: functional.affine_forward(wrong, np.ones((25, 2)), np.zeros(2)),
        lambda: functional.relu_forward(wrong),
    ):
        with pytest.raises(TypeError, match="x: expected real numbers, got dtype"):
            call()


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((4, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: functional.conv2d_forward(X, W, np.zeros(4)),
            ValueError,
            r"^Conv2D: weight expects 3 input channels, got x of shape \(N, 1, 28, 28\)$",
        ),
        (lambda: functional.conv2d_forward(X, W[0], np.zeros(4)), ValueError, r"expected shape \(F, C, KH, KW\), got"),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(3)),
            ValueError,
            r"bias: expected shape \(4,\), got \(3,\)",
        ),
        (lambda: functional.conv2d_forward(X, W[:0], np.zeros(0)), ValueError, "expected no empty axis"),
        (
            lambda: functional.conv2d_forward(X[..., :3], W[:, :1], np.zeros(4)),
            ValueError,
            r"output width = floor\(\(3 \+ 2\*0 - 5\) / 1\) \+ 1 = -1, expected at least 1",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=0),
            ValueError,
            "stride: expected .* from 1 to 2147483647, got 0",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), padding=-1),
            ValueError,
            "padding: expected .* from 0 to",
        ),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=1.5), TypeError, "pair of ints, got 1.5"),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=True), TypeError, "pair of ints, got True"),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=(1, 2, 3)), ValueError, "pair of ints"),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), padding="same"), TypeError, "got 'same'"),
        (lambda: functional.conv2d_backward(X, X, W[:, :1]), ValueError, r"dy: expected shape \(8, 4, 24, 24\), got"),
        (lambda: functional.max_pool2d_forward(X, 2, stride=2**63 - 1), ValueError, "from 1 to 2147483647"),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), padding=2**70),
            ValueError,
            "from 0 to 2147483647",
        ),
        (lambda: functional.max_pool2d_forward(X[:, :, :0], 2, padding=1), ValueError, "at least one pixel"),
        (
            lambda: functional.max_pool2d_backward(
                np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 2**31 + 5), (1, 1, 65536, 32769)
            ),
            ValueError,
            r"fewer than 2\*\*31 pixels",
        ),
        (lambda: functional.max_pool2d_backward(X, X.astype(int), 5), ValueError, "a shape of 4 axes, got 5"),
        (
            lambda: functional.max_pool2d_backward(X, X.astype(int), np.array([8, 2, 28, 28])),
            ValueError,
            r"dy: expected shape \(8, 2, OH, OW\)",
        ),
        (lambda: functional.relu_forward([[1.0], [1.0, 2.0]]), ValueError, "lists of different lengths"),
        (
            lambda: functional.max_pool2d_forward(X[0], 2),
            ValueError,
            r"x: expected shape \(N, C, H, W\), got \(1, 28, 28\)",
        ),
        (lambda: functional.max_pool2d_forward(X, 2, padding=2), ValueError, "at most half the kernel"),
        (lambda: functional.max_pool2d_forward(X, 29), ValueError, r"floor\(\(28 \+ 2\*0 - 29\) / 29\) \+ 1 = 0"),
        (lambda: functional.max_pool2d_backward(X, X, X.shape), TypeError, "argmax: expected integers"),
        (
            lambda: functional.max_pool2d_backward(X, np.full(X.shape, 784), X.shape),
            ValueError,
            r"indices in \[0, 784\)",
        ),
        (
            lambda: functional.max_pool2d_backward(X, np.full(X.shape, -1), X.shape),
            ValueError,
            r"indices in \[0, 784\)",
        ),
        (
            lambda: functional.max_pool2d_backward(X, np.zeros((8, 1, 2, 2), int), X.shape),
            ValueError,
            "argmax: expected shape",
        ),
        (
            lambda: functional.conv_relu_pool_forward(X, np.ones((4, 1, 5, 5)), np.zeros(4)),
            ValueError,
            "got float64 of",
        ),
        (
            lambda: functional.conv_relu_pool_forward(X, np.ones((4, 1, 5, 9), np.float32), np.zeros(4)),
            ValueError,
            "expected filters that can_fuse accepts",
        ),
        (lambda: functional.conv_relu_pool_forward(X, W, np.zeros(4)), ValueError, "expects 3 input channels"),
        pytest.param(
            lambda: functional.conv_relu_pool_backward(
                np.ones((8, 4, 12, 12)), np.full((8, 4, 12, 12), 5, np.uint8), X, W[:, :1]
            ),
            ValueError,
            "codes: expected at most 4, got 5",
            marks=needs_fusion,
        ),
        (
            lambda: functional.affine_update(np.ones((2, 2)), np.ones((2, 5)), np.ones((2, 5)).T, rate=1, l2=0),
            ValueError,
            "expected a weight that can_update accepts",
        ),
        (
            lambda: functional.affine_forward(X, np.ones((5, 2)), np.zeros(2)),
            ValueError,
            "expects 5 input features, got x",
        ),
        (lambda: functional.affine_forward(np.ones(5), np.ones((5, 2)), np.zeros(2)), ValueError, "input features"),
        (
            lambda: functional.affine_backward(np.ones((2, 3)), np.ones((2, 5)), np.ones((5, 2))),
            ValueError,
            "dy: expected shape",
        ),
        (
            lambda: functional.relu_backward(np.ones((1, 3)), np.ones((2, 3))),
            ValueError,
            r"expected shape \(2, 3\), got \(1, 3\)",
        ),
        (lambda: functional.average_pool2d_forward(X[0], 2), ValueError, r"AveragePool2D: x: expected shape"),
        (lambda: functional.average_pool2d_forward(X, 29), ValueError, "AveragePool2D: output height = floor"),
        (lambda: functional.average_pool2d_forward(X, 2, padding=2), ValueError, "at most half the kernel"),
        (lambda: functional.average_pool2d_forward(X, 2, count_padding=1), TypeError, "expected True or False, got 1"),
        (
            lambda: functional.average_pool2d_backward(X, X.shape, 2),
            ValueError,
            r"AveragePool2D: dy: expected shape \(8, 1, 14, 14\), got \(8, 1, 28, 28\)",
        ),
        (
            lambda: functional.sigmoid_backward(np.ones(2), np.ones(3)),
            ValueError,
            r"Sigmoid: dy: expected shape \(3,\)",
        ),
        (
            lambda: functional.dropout_forward(X, 1, np.random.default_rng(0)),
            ValueError,
            "at least 0 and below 1, got 1",
        ),
        (lambda: functional.dropout_forward(X, 0.5, 0), TypeError, "numpy.random.Generator to draw with, got 0"),
        (lambda: functional.dropout_backward(X, np.ones(X.shape), 0.5), TypeError, "kept: expected bool, got dtype"),
        (lambda: functional.dropout_backward(X, np.ones(3, bool), 0.5), ValueError, "Dropout: dy: expected shape"),
        (lambda: functional.warp(X, np.ones((2, 2, 3))), ValueError, r"warp: maps: expected shape \(8, 2, 3\)"),
        (lambda: functional.warp(X, np.full((8, 2, 3), np.nan)), ValueError, "warp: maps: expected numbers from"),
        (lambda: functional.warp(X, np.full((8, 2, 3), 1e308)), ValueError, "warp: maps: expected numbers from"),
        (lambda: functional.warp(X[:, :, :0], np.ones((8, 2, 3))), ValueError, "at least one pixel"),
        (lambda: functional.softmax(np.ones(3)), ValueError, r"expected shape \(N, K\), got \(3,\)"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


LARGEST = 2**31 - 1


def broadcast(*shape):
    return np.broadcast_to(np.float32(0), shape)


@pytest.mark.parametrize(
    "call",
    [
        lambda: functional.conv2d_forward(np.zeros((0, 1, 3, 3)), np.zeros((1, 1, 3, 3)), np.zeros(1), padding=LARGEST),
        lambda: functional.conv2d_forward(np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 3, 3)), np.zeros(1), padding=2**20),
        lambda: functional.conv2d_backward(
            np.zeros((0, 1, 9, 9)), np.zeros((0, 1, 3, 3)), np.zeros((1, 1, 3, 3)), padding=LARGEST
        ),
        lambda: functional.conv_relu_pool_forward(
            np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 3, 3), np.float32), np.zeros(1), padding=2**20
        ),
        lambda: functional.max_pool2d_forward(np.zeros((1, 1, 3, 3)), 2, padding=LARGEST),
        lambda: functional.max_pool2d_backward(
            np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1), int), (1, 1, 2**20, 2**20)
        ),
        lambda: functional.average_pool2d_backward(np.zeros((1, 1, 1, 1)), (1, 1, LARGEST, LARGEST), 2),
        lambda: functional.affine_forward(np.zeros((0, 2**40)), broadcast(2**20, 2**40), np.zeros(3)),
        lambda: convnet.Conv2D(LARGEST, LARGEST, LARGEST, rng=np.random.default_rng(0)),
        lambda: convnet.ConvNet1((1, LARGEST, LARGEST)),
        lambda: convnet.Sequential([convnet.ReLU()], (LARGEST, LARGEST, LARGEST)),
        lambda: convnet.Workspace().empty((2**40, 2**40), np.float32),
        lambda: convnet.softmax_loss(broadcast(2**40, 2**22), np.zeros(1, int)),
        lambda: convnet.ConvNet1(hidden_size=1).predict(broadcast(2**40, 1, 28, 28)),
    ],
)
def test_sizes_whose_products_overflow_are_refused(call):
    with pytest.raises((ValueError, MemoryError)) as caught:
        call()
    assert "-" not in str(caught.value).replace("2**31 - 1", "")  # no product that went round


def test_an_unaligned_weight_is_not_updated_in_place():
    memory = np.zeros(4 * 6 * 5 + 1, np.uint8)
    weight = memory[1:].view(np.float32).reshape(6, 5)
    assert not functional.can_update(weight)
    with pytest.raises(ValueError, match=r"affine_update|Affine"):
        functional.affine_update(np.ones((2, 5)), np.ones((2, 6)), weight, rate=0.1, l2=0.1)


@pytest.mark.parametrize("pool", ["max", "average"])
def test_a_kernel_far_larger_than_the_image_costs_no_more_than_it(rng, pool):
    x = rng.standard_normal((1, 1, 2, 5)).astype(np.float32)
    kernel, padding = (2, 10**9 + 5), (0, 5 * 10**8)  # the window holds the whole image
    started = time.process_time()
    if pool == "max":
        y, argmax = functional.max_pool2d_forward(x, kernel, stride=1, padding=padding)
        assert y.tolist() == [[[[x.max()]]]]
        assert argmax.tolist() == [[[[x.argmax()]]]]
    else:
        sizes = {"stride": 1, "padding": padding, "count_padding": False}
        y = functional.average_pool2d_forward(x, kernel, **sizes)
        np.testing.assert_allclose(y, x.mean(keepdims=True), rtol=1e-5)
        dx = functional.average_pool2d_backward(np.ones((1, 1, 1, 1)), x.shape, kernel, **sizes)
        np.testing.assert_allclose(dx, 0.1)
    assert time.process_time() - started < 1  # some seconds when the whole kernel is walked through


def test_lists_and_other_shapes_are_taken_or_named(rng):
    weight = rng.standard_normal((1, 1, 1, 1))
    assert not functional.can_fuse(weight.tolist())
    assert not functional.can_fuse(np.zeros((3, 3), np.float32))
    assert not functional.can_update([[1.0]])
    with pytest.raises(ValueError, match="weight that can_update accepts"):
        functional.affine_update([[1.0]], [[1.0]], [[1.0]], rate=0.1, l2=0)
    with pytest.raises(TypeError, match="Affine: rate: expected a real number, got 'a'"):
        functional.affine_update([[1.0]], [[1.0]], np.ones((1, 1)), rate="a", l2=0)
    with pytest.raises(ValueError, match=r"weight_shape \(F, C, KH, KW\): expected a shape of 4 axes, got \(1, 1, 1\)"):
        functional.conv_output_shape((1, 5, 5), (1, 1, 1), (1, 1), (0, 0))
    with pytest.raises(TypeError, match="Conv2D: stride: expected an int or a pair of ints"):
        functional.conv_output_shape((1, 5, 5), (1, 1, 1, 1), "a", (0, 0))
    for shape in ([1, 5, 7], np.array([1, 5, 7])):
        assert functional.conv_output_shape(shape, [2, 1, 3, 3], 1, 0) == (2, 3, 5)
        assert functional.pool_output_shape(shape, (2, 3), (1, 2), (0, 0), "MaxPool2D") == (1, 4, 3)


@needs_fusion
def test_codes_of_another_type_are_named(rng):
    x, weight = rng.standard_normal((2, 1, 6, 6)), rng.standard_normal((3, 1, 3, 3)).astype(np.float32)
    y, codes = functional.conv_relu_pool_forward(x, weight, np.zeros(3))
    with pytest.raises(TypeError, match="Conv2D: codes: expected uint8, got int64"):
        functional.conv_relu_pool_backward(y, codes.tolist(), x, weight)
