"""The compiled module itself, at every instruction set, and the stub that describes it."""

import ast
import inspect
import math
from pathlib import Path

import numpy as np
import pytest
from cases import CONVOLUTIONS, numbers, tolerance
from guarded import at_the_end_of_memory, on, scratch, using

import convnet
from convnet import _kernels, naive
from convnet.core.checks import as_padding, as_pair, sides_of


@pytest.fixture(params=_kernels.INSTRUCTION_SETS)
def instruction_set(request):
    with using(request.param):
        yield request.param


def unfold(x, kernel, stride, padding):
    """Return im2col of x by NumPy's windows, and the output's sizes."""
    padded = np.pad(x, ((0, 0), (0, 0), *sides_of(padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))[:, :, :: stride[0], :: stride[1]]
    out_h, out_w = windows.shape[2:4]
    cols = windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), x.shape[1] * math.prod(kernel), out_h * out_w)
    return cols, (out_h, out_w)


@pytest.mark.parametrize(("x_shape", "weight_shape", "stride", "padding"), CONVOLUTIONS)
def test_im2col_and_its_adjoint(rng, dtype, x_shape, weight_shape, stride, padding):
    stride, padding = as_pair(stride, "stride", 1), as_padding(padding, "padding")
    x = rng.standard_normal(x_shape).astype(dtype)
    expected, outputs = unfold(x, weight_shape[2:], stride, padding)
    (top, bottom), (left, right) = sides_of(padding)
    sizes = (*x_shape[1:], weight_shape[0], *weight_shape[2:], *stride, top, left)
    others = {} if (top, left) == (bottom, right) else {"out_h": outputs[0], "out_w": outputs[1]}
    s = _kernels.Convolution(dtype == np.float32, *sizes, **others)
    assert (s.out_h, s.out_w) == outputs
    cols = np.full(expected.shape, np.nan, dtype)
    _kernels.im2col(s, x, cols, scratch(s.im2col_scratch()))
    np.testing.assert_array_equal(cols, expected)

    # <im2col(x), c> == <x, col2im(c)>, for every x only if col2im is the adjoint.
    c = rng.standard_normal(cols.shape).astype(dtype)
    dx = np.zeros(x_shape, dtype)
    _kernels.col2im(s, c, dx, scratch(s.im2col_scratch()))
    left = (cols.astype(np.float64) * c).sum()
    right = (x.astype(np.float64) * dx).sum()
    assert left == pytest.approx(right, rel=1e-4 if dtype == np.float32 else 1e-11, abs=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_w", [1, 2, 5, 9, 20])
@pytest.mark.parametrize("is_padded", [False, True])
@pytest.mark.usefixtures("instruction_set")
def test_im2col_and_its_adjoint_of_rows_of_every_width(rng, dtype, kernel_w, stride, is_padded):
    kernel, padding = (2, kernel_w), (1, kernel_w // 2) if is_padded else (0, 0)
    for width in [*range(1, 20), 31, 32, 33, 50]:
        x_shape = (2, 1, 3, width * stride + (0 if is_padded else kernel_w))
        x = at_the_end_of_memory(rng.integers(-9, 9, x_shape).astype(dtype))  # sums are exact in any order
        cols, _ = unfold(x, kernel, (1, stride), padding)
        found, dx = at_the_end_of_memory(np.full_like(cols, np.nan)), at_the_end_of_memory(np.zeros_like(x))
        s = _kernels.Convolution(dtype == np.float32, *x_shape[1:], 1, *kernel, 1, stride, *padding)
        _kernels.im2col(s, x, found, scratch(s.im2col_scratch()))
        np.testing.assert_array_equal(found, cols)
        # Every pixel is copied as often as windows cover it.
        _kernels.col2im(s, found, dx, scratch(s.im2col_scratch()))
        ones = unfold(np.arange(x.size, dtype=dtype).reshape(x.shape) + 1, kernel, (1, stride), padding)[0]
        times = np.bincount(ones.astype(int).ravel(), minlength=x.size + 1)[1:].reshape(x.shape)
        np.testing.assert_array_equal(dx, x * times)


# An algorithm, and the output rows that im2col does at a time. Where an algorithm cannot be, it is another one.
WAYS = [("im2col", 0), ("im2col", 1), ("im2col", 2), ("im2col", 9), ("direct", 0), ("planar", 0), (None, 0)]


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (3, 2), (2, 9)])
@pytest.mark.parametrize(("algorithm", "block_rows"), WAYS)
@pytest.mark.usefixtures("instruction_set")
def test_convolution_of_rows_of_every_width(rng, dtype, kernel, stride, algorithm, block_rows):
    for width in [*range(1, 19), 31, 32, 33, 50, 129, 131]:
        n, c, f = 2, int(rng.choice([1, 3, 8, 14, 33])), int(rng.choice([1, 5, 8, 13, 50]))
        # The padding may differ from side to side.
        padding = tuple(tuple(int(side) for side in rng.integers(0, size + 2, 2)) for size in kernel)
        (top, _), (left, right) = padding
        h, w = 3 + kernel[0], max(1, (width - 1) * stride[1] + kernel[1] - left - right)
        x, weight, bias = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((n, c, h, w), (f, c, *kernel), (f,)))
        cols, outputs = unfold(x, kernel, stride, padding)
        dy = rng.integers(-9, 9, (n, f, *outputs)).astype(dtype)  # sums are exact in any order
        sizes = (c, h, w, f, *kernel, *stride, top, left)
        ways = {"out_h": outputs[0], "out_w": outputs[1], "algorithm": algorithm, "block_rows": block_rows}
        s = _kernels.Convolution(dtype == np.float32, *sizes, **ways)
        assert (s.out_h, s.out_w) == outputs

        given = [at_the_end_of_memory(array) for array in (x, weight, bias, dy)]
        y, dweight, dbias, dx = (at_the_end_of_memory(np.full_like(like, np.nan)) for like in (dy, weight, bias, x))
        flat, flat_dy = weight.reshape(f, -1), dy.reshape(n, f, -1)
        for threads in (1, 2):
            _kernels.conv2d_forward(s, *given[:3], y, scratch(s.forward_scratch(n, threads)), threads)
            np.testing.assert_array_equal(y.reshape(n, f, -1), flat @ cols + bias[:, None])
            for need_dx in (False, True):
                memory, gradients = scratch(s.backward_scratch(n, threads, need_dx)), (dweight, dbias)
                _kernels.conv2d_backward(s, given[3], *given[:2], *gradients, dx if need_dx else None, memory, threads)
                np.testing.assert_array_equal(dweight.reshape(f, -1), (cols @ flat_dy.transpose(0, 2, 1)).sum(0).T)
                np.testing.assert_array_equal(dbias, flat_dy.sum((0, 2)))
        pixels = unfold(np.arange(1.0, 1 + x.size).reshape(x.shape), kernel, stride, padding)[0].astype(int)
        expected = np.bincount(pixels.ravel(), (flat.T @ flat_dy).ravel(), 1 + x.size)[1:]
        np.testing.assert_array_equal(dx.ravel(), expected)


@pytest.mark.parametrize("algorithm", ["im2col", "direct", "planar"])
@pytest.mark.parametrize("where", [(0, 0), (1, 1), (3, 27), (2, 26)])
@pytest.mark.usefixtures("instruction_set")
def test_an_infinite_pixel_reaches_what_meets_it_alone(algorithm, where):
    x, weight, dy = (np.ones(shape, np.float32) for shape in ((2, 3, 4, 28), (6, 3, 3, 3), (2, 6, 4, 28)))
    x[1, 0][where] = np.inf
    s = _kernels.Convolution(True, 3, 4, 28, 6, 3, 3, 1, 1, 1, 1, algorithm=algorithm)
    y, dweight, dbias = np.empty_like(dy), np.empty_like(weight), np.empty(6, np.float32)
    _kernels.conv2d_forward(s, x, weight, np.zeros(6, np.float32), y, scratch(s.forward_scratch(2, 1)), 1)
    _kernels.conv2d_backward(s, dy, x, weight, dweight, dbias, None, scratch(s.backward_scratch(2, 1, False)), 1)
    np.testing.assert_array_equal(y, naive.conv2d_forward(x, weight, np.zeros(6), padding=1))
    np.testing.assert_array_equal(dweight, naive.conv2d_backward(dy, x, weight, padding=1)[1])


def error(found, expected):
    """Return the norm of the difference as a part of the norm of what is expected."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# N, C, (H, W), F, padding: tiles that are whole and not, channels that fill vectors and do not, more than one chunk.
WINOGRAD = [
    (1, 8, (4, 4), 8, (1, 1)),
    (3, 9, (5, 7), 10, (0, 2)),
    (2, 17, (13, 6), 33, (2, 0)),
    (5, 16, (8, 8), 40, (1, 1)),
    (2, 70, (9, 10), 12, (2, 2)),
    (1, 12, (19, 205), 8, (1, 0)),
    (40, 24, (12, 12), 16, (0, 0)),
    (1, 512, (8, 8), 512, (1, 1)),
    (2, 256, (6, 6), 96, (1, 1)),
    (3, 3, (11, 5), 1, (1, 1)),
]
INPUTS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "large mean": lambda rng, shape: rng.standard_normal(shape) + 30,
    "wide range": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 4, shape),
    "after ReLU": lambda rng, shape: np.maximum(rng.standard_normal(shape), 0),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize(("n", "c", "size", "f", "padding"), WINOGRAD)
@pytest.mark.parametrize("tile", [2, 4])
def test_winograd_is_as_exact_as_it_says(rng, instruction_set, tile, n, c, size, f, padding, kind):
    if instruction_set == "none":
        pytest.skip("the loops in Cython have no Winograd algorithm")
    x, weight = INPUTS[kind](rng, (n, c, *size)).astype(np.float32), rng.standard_normal((f, c, 3, 3), np.float32)
    bias, padded = rng.standard_normal(f, np.float32), np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded.astype(float), (3, 3), (2, 3))
    cols, flat = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, c * 9), weight.astype(float).reshape(f, -1)
    out_h, out_w = windows.shape[2:4]
    expected = (cols @ flat.T + bias).reshape(n, out_h, out_w, f).transpose(0, 3, 1, 2)
    dy = rng.standard_normal(expected.shape, np.float32)
    flat_dy = dy.transpose(0, 2, 3, 1).reshape(-1, f).astype(float)
    dpixels = np.zeros(padded.shape)
    dcols = (flat_dy @ flat).reshape(n, out_h, out_w, c, 3, 3)
    for i in range(3):
        for j in range(3):
            dpixels[:, :, i : i + out_h, j : j + out_w] += dcols[..., i, j].transpose(0, 3, 1, 2)
    dx_expected = dpixels[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]

    sizes = (c, *size, f, 3, 3, 1, 1, *padding)
    s = _kernels.Convolution(True, *sizes, algorithm=f"winograd-{tile}")
    chosen = set(s.algorithms())
    assert chosen == {f"winograd-{tile}"}
    results = []
    for threads in (1, 2, 3):
        given = [at_the_end_of_memory(array) for array in (x, weight, bias, dy)]
        y, dweight, dbias, dx = (at_the_end_of_memory(np.full_like(like, np.nan)) for like in (dy, weight, bias, x))
        _kernels.conv2d_forward(s, *given[:3], y, scratch(s.forward_scratch(n, threads)), threads)
        memory = scratch(s.backward_scratch(n, threads, True))
        _kernels.conv2d_backward(s, given[3], *given[:2], dweight, dbias, dx, memory, threads)
        results.append([array.tobytes() for array in (y, dweight, dbias, dx)])
    assert error(y, expected) < 2e-5
    assert error(dweight, (flat_dy.T @ cols).reshape(weight.shape)) < 5e-5
    assert error(dbias, flat_dy.sum(0)) < 5e-5
    assert error(dx, dx_expected) < 5e-5
    assert results[0] == results[1] == results[2]


# (C, H, W), F, (KH, KW), stride, padding; and the algorithms of output, weight gradient and input gradient in float32
# with an instruction set.
W2, W4 = "winograd-2", "winograd-4"
ALGORITHMS = [
    ((32, 28, 28), 32, (3, 3), 1, 1, (W4, W4, W4)),
    ((32, 28, 28), 7, (3, 3), 1, 1, ("planar", "planar", "direct")),
    ((7, 28, 28), 32, (3, 3), 1, 1, ("direct", "direct", "im2col")),
    ((7, 28, 28), 28, (3, 3), 1, 1, ("direct", "direct", "planar")),
    ((1, 28, 28), 6, (5, 5), 1, 2, ("planar", "planar", "im2col")),
    ((6, 14, 14), 16, (5, 5), 1, 0, ("direct", "direct", "planar")),
    ((3, 28, 28), 6, (3, 3), 2, 1, ("im2col", "direct", "im2col")),
    ((32, 28, 28), 32, (3, 3), 2, 1, ("direct", "direct", "im2col")),
    ((32, 28, 28), 32, (5, 5), 1, 2, ("direct", "direct", "direct")),
    ((32, 28, 28), 32, (1, 1), 1, 0, ("im2col", "im2col", "im2col")),
    ((32, 5, 5), 32, (3, 3), 1, 0, (W4, W4, "direct")),
    ((32, 4, 4), 32, (3, 3), 1, 0, (W2, W2, W4)),
    ((64, 11, 11), 64, (7, 7), 1, 0, ("direct", "direct", "im2col")),
    ((2, 28, 28), 32, (3, 3), 1, 1, ("im2col", "direct", "im2col")),
    ((8, 0, 5), 8, (2, 2), 1, 2, ("im2col", "im2col", "im2col")),
    ((8, 4, 7), 32, (2, 2), 1, 0, ("direct", "direct", "planar")),
    ((32, 28, 28), 32, (3, 3), 1, 3, ("direct", "direct", "direct")),
    ((64, 10, 10), 64, (3, 3), 1, 2, (W4, W4, W4)),
]


@pytest.mark.parametrize(("x_shape", "f", "kernel", "stride", "padding", "expected"), ALGORITHMS)
def test_convolution_chooses_its_algorithms_by_its_geometry(
    instruction_set, x_shape, f, kernel, stride, padding, expected
):
    sizes = (*x_shape, f, *kernel, stride, stride, padding, padding)
    for is_float in (True, False):
        for winograd in (True, False):
            s = _kernels.Convolution(is_float, *sizes, winograd=winograd)
            chosen = s.algorithms()
            allowed = expected if winograd else tuple("direct" if "winograd" in name else name for name in expected)
            assert chosen == (allowed if is_float and instruction_set != "none" else ("im2col",) * 3)


def test_convolution_keeps_the_instruction_set_that_it_was_made_for(rng):
    x, weight, bias = (rng.standard_normal(shape, np.float32) for shape in ((3, 9, 8, 8), (9, 9, 3, 3), 9))
    for name in _kernels.INSTRUCTION_SETS:
        results = []
        with using(name):
            s = _kernels.Convolution(True, 9, 8, 8, 9, 3, 3, 1, 1, 1, 1)
        for other in _kernels.INSTRUCTION_SETS:
            with using(other):
                y = np.empty((3, 9, 8, 8), np.float32)
                _kernels.conv2d_forward(s, x, weight, bias, y, scratch(s.forward_scratch(3, 1)), 1)
            results.append(y.tobytes())
        assert len(set(results)) == 1


@pytest.mark.parametrize("algorithm", ["im2col", "direct", "winograd-2", "winograd-4"])
def test_scratch_memory_grows_with_the_threads(algorithm):
    s = _kernels.Convolution(True, 16, 14, 14, 16, 3, 3, 1, 1, 1, 1, algorithm=algorithm)
    forward = [s.forward_scratch(50, threads) for threads in (1, 2, 3)]
    assert forward[1] - forward[0] == forward[2] - forward[1] > 0
    backward = [s.backward_scratch(50, threads, True) for threads in (1, 2, 3, 8)]
    assert backward == sorted(backward)
    assert backward[0] < backward[3]


def test_read_only_input_is_taken_and_never_written(rng, dtype):
    x = rng.standard_normal((1, 1, 3, 3)).astype(dtype)
    x.flags.writeable = False
    cols = np.empty((1, 4, 4), dtype)
    s = _kernels.Convolution(dtype == np.float32, 1, 3, 3, 1, 2, 2, 1, 1, 0, 0)
    _kernels.im2col(s, x, cols, scratch(s.im2col_scratch()))
    with pytest.raises(ValueError, match="read-only"):
        _kernels.col2im(s, cols, x, scratch(s.im2col_scratch()))


# Rows, columns and common axis: none, one, tiles and panels and what is left over of them, more than one block.
PRODUCTS = [
    (1, 1, 1),
    (3, 5, 2),
    (10, 32, 7),
    (13, 33, 129),
    (50, 10, 500),
    (97, 131, 40),
    (12, 64, 128),
    (5, 17, 300),
    (101, 1, 3),
    (1, 200, 257),
    (4, 6, 0),
    (0, 6, 4),
    (4, 0, 6),
    (1, 10, 130),
    (2, 3, 131),
    (3, 19, 200),
]


@pytest.mark.parametrize(("m", "n", "k"), PRODUCTS)
@pytest.mark.parametrize("transposed", ["neither", "a", "b"])
@pytest.mark.usefixtures("instruction_set")
def test_product_equals_numpys(rng, dtype, m, n, k, transposed):
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    c = rng.standard_normal((m, n)).astype(dtype)
    in_memory = [
        at_the_end_of_memory(np.ascontiguousarray(array))
        for array in (a.T if transposed == "a" else a, b.T if transposed == "b" else b)
    ]
    for beta in (0, 1, 0.25):
        results = []
        for threads in (1, 3):
            out = c.copy() if beta else np.full_like(c, np.nan)
            with on(threads):
                _kernels.multiply(*in_memory, out, transposed == "a", transposed == "b", beta, None)
            results.append(out)
        expected = beta * c.astype(np.float64) + a.astype(np.float64) @ b.astype(np.float64)
        np.testing.assert_allclose(results[0], expected, **tolerance(dtype))
        assert results[0].tobytes() == results[1].tobytes()


@pytest.mark.parametrize("where", [(0, 0), (36, 19), (20, 70)])
@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.usefixtures("instruction_set")
def test_product_keeps_what_is_not_finite_to_its_row_and_column(rng, where, special):
    a, b = (rng.random(shape).astype(np.float32) + 1 for shape in ((37, 71), (71, 45)))
    a[where] = special
    out = np.empty((37, 45), np.float32)
    with on(2):
        _kernels.multiply(a, b, out, False, False, 0, None)
    np.testing.assert_array_equal(out[where[0]], special)
    assert np.isfinite(np.delete(out, where[0], 0)).all()


@pytest.mark.parametrize("where", [(0, 0), (1, 0), (69, 9), (136, 4)])
@pytest.mark.usefixtures("instruction_set")
def test_product_of_few_rows_and_columns_keeps_what_is_not_finite_to_its_column(rng, where):
    a, b = (rng.random(shape).astype(np.float32) + 1 for shape in ((2, 137), (137, 10)))
    b[where] = np.inf
    out = np.empty((2, 10), np.float32)
    _kernels.multiply(a, b, out, False, False, 0, None)
    np.testing.assert_array_equal(out[:, where[1]], np.inf)
    assert np.isfinite(np.delete(out, where[1], 1)).all()


@pytest.mark.parametrize("density", [0, 0.1, 1])
@pytest.mark.parametrize(
    ("n", "d", "m"), [(1, 1, 1), (4, 64, 64), (50, 200, 33), (7, 65, 500), (130, 129, 10), (0, 5, 6)]
)
@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.usefixtures("instruction_set")
def test_affine_backward_equals_its_formula(rng, density, n, d, m, need_dx):
    x, dy, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, d), (n, m), (d, m)))
    dy[rng.random(dy.shape) >= density] = 0
    for in_place, decay, rate in ((True, 0.75, 0.5), (False, 0, -1)):
        after = []
        for threads in (1, 2):
            out = weight.copy() if in_place else np.full_like(weight, np.nan)
            before = out if in_place else weight
            dx = np.full((n, d), np.nan, np.float32) if need_dx else None
            dbias, memory = np.full(m, np.nan, np.float32), scratch(_kernels.affine_backward_scratch(n, d, m))
            with on(threads):
                squares = _kernels.affine_backward(dy, x, before, dx, out, dbias, decay, rate, memory)
            after.append((out.tobytes(), None if dx is None else dx.tobytes(), squares))
            np.testing.assert_allclose(dbias, dy.sum(0, np.float64), rtol=1e-4, atol=1e-4)
        wide = weight.astype(np.float64)
        assert squares == pytest.approx((wide**2).sum(), rel=1e-5)
        np.testing.assert_allclose(out, decay * wide - rate * (x.T.astype(np.float64) @ dy), rtol=1e-4, atol=1e-4)
        if need_dx:
            np.testing.assert_allclose(dx, dy.astype(np.float64) @ wide.T, rtol=1e-4, atol=1e-4)
        assert after[0] == after[1]


@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.usefixtures("instruction_set")
def test_sparse_gradient_keeps_what_is_not_finite(rng, special):
    x, dy, weight = (rng.random(shape).astype(np.float32) + 1 for shape in ((20, 70), (20, 90), (70, 90)))
    dy[:, 5:] = 0
    dy[3, 80] = special
    dx, out = np.empty_like(x), np.empty_like(weight)
    memory = scratch(_kernels.affine_backward_scratch(20, 70, 90))
    _kernels.affine_backward(dy, x, weight, dx, out, np.empty(90, np.float32), 0, -1, memory)
    np.testing.assert_array_equal(dx[3], special)
    np.testing.assert_array_equal(out[:, 80], special)
    assert np.isfinite(np.delete(dx, 3, 0)).all()
    assert np.isfinite(np.delete(out, 80, 1)).all()


@pytest.mark.parametrize("density", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        *((2, 900, 40), (5, 512, 500), (13, 450, 1), (15, 700, 63)),  # too few rows, or columns, to leave out zeros
        *((16, 513, 64), (17, 385, 512), (50, 1030, 100), (257, 260, 530), (257, 130, 1030)),
        *((16, 100, 385), (600, 3, 513)),  # too small to be divided along the common axis
    ],
)
@pytest.mark.parametrize("beta", [0, 0.5])
@pytest.mark.usefixtures("instruction_set")
def test_product_divided_along_the_common_axis_equals_numpys(rng, density, m, k, n, beta):
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n), (m, n)))
    a[rng.random(a.shape) >= density] = 0
    results = []
    for threads in (1, 3):
        out = c.copy() if beta else np.full_like(c, np.nan)
        with on(threads):
            _kernels.multiply(a, b, out, False, False, beta, scratch(_kernels.multiply_scratch(m, k, n)))
        results.append(out.tobytes())
    np.testing.assert_allclose(out, beta * c + a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)
    assert results[0] == results[1]


@pytest.mark.parametrize("density", [0, 0.3, 1])
@pytest.mark.parametrize(("k", "n"), [(0, 40), (1, 1), (191, 130), (192, 64), (129, 15), (129, 16), (1601, 517)])
@pytest.mark.parametrize("beta", [0, 0.5])
@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.usefixtures("instruction_set")
def test_product_of_one_row_equals_numpys(rng, density, k, n, beta, is_transposed):
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, k), (k, n), (1, n)))
    a[rng.random(a.shape) >= density] = 0
    expected = beta * c + (a.astype(np.float64) @ b)
    a = np.ascontiguousarray(a.T) if is_transposed else a
    results = []
    for threads in (1, 3):
        for memory in (None, scratch(_kernels.multiply_scratch(1, k, n))):
            out = c.copy() if beta else np.full_like(c, np.nan)
            with on(threads):
                _kernels.multiply(a, b, out, is_transposed, False, beta, memory)
            np.testing.assert_allclose(out, expected, rtol=1e-4, atol=2e-4)
            results.append(out.tobytes())
    assert results[:2] == results[2:]


def test_product_of_one_row_leaves_rows_at_zeros_out(rng, instruction_set):
    if instruction_set == "none":
        pytest.skip("the loops in Cython multiply with zeros")
    a, b = np.ones((1, 400), np.float32), rng.standard_normal((400, 37)).astype(np.float32)
    b[7], a[0, 7], a[0, 300:] = np.inf, 0, 0
    out, memory = np.empty((1, 37), np.float32), scratch(_kernels.multiply_scratch(1, 400, 37))
    _kernels.multiply(a, b, out, False, False, 0, memory)
    np.testing.assert_allclose(out, a @ np.nan_to_num(b, posinf=0), rtol=1e-4, atol=1e-4)
    a[0, 9] = np.nan
    _kernels.multiply(a, b, out, False, False, 0, memory)
    assert np.isnan(out).all()


def affine_forward(x, weight, bias, relu):
    y = at_the_end_of_memory(np.full((len(x), len(bias)), np.nan, x.dtype))
    memory = scratch(_kernels.affine_forward_scratch(len(x), *weight.shape))
    _kernels.affine_forward(x, weight, bias, y, relu, memory)
    return y


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("n", "d", "m"), [(1, 1, 1), (5, 64, 17), (50, 1030, 100), (3000, 3, 70), (0, 4, 5), (4, 0, 5)]
)
@pytest.mark.usefixtures("instruction_set")
def test_affine_forward_equals_its_formula(rng, dtype, relu, n, d, m):
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((n, d), (d, m), (m,)))
    if n > 3 and d:
        x[3, 0] = np.nan
    results = []
    for threads in (1, 3):
        with on(threads):
            results.append(affine_forward(x, weight, bias, relu))
    assert results[0].tobytes() == results[1].tobytes()
    expected = x.astype(np.float64) @ weight.astype(np.float64) + bias
    expected = np.maximum(expected, 0) if relu else expected
    np.testing.assert_allclose(results[0], expected, **tolerance(dtype))
    # The same bits as bias, product and ReLU one after the other.
    y = np.empty_like(results[0])
    y[...] = bias
    _kernels.multiply(x, weight, y, False, False, 1, scratch(_kernels.multiply_scratch(n, d, m)))
    if relu:
        _kernels.relu_forward(y.reshape(-1).copy(), y.reshape(-1))
    assert y.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("m", [2, 10, 500])
def test_affine_backward_adds_rows_to_the_bias_in_order(rng, dtype, m):
    x, dy, weight = (rng.standard_normal(shape).astype(dtype) for shape in ((300, 3), (300, m), (3, m)))
    dbias, out = np.empty(m, dtype), np.empty_like(weight)
    memory = scratch(_kernels.affine_backward_scratch(300, 3, m))
    _kernels.affine_backward(dy, x, weight, None, out, dbias, 0, -1, memory)
    assert dbias.tobytes() == np.add.reduce(dy, axis=0).tobytes()


@pytest.mark.parametrize("size", [1, 7, 1001])
@pytest.mark.parametrize("slope", [0, 0.01, 0.5, 2])
def test_leaky_relu_equals_its_formula(rng, dtype, size, slope):
    x, dy = numbers(rng, size, dtype), rng.standard_normal(size).astype(dtype)
    y, dx = np.empty_like(x), np.empty_like(x)
    _kernels.leaky_relu_forward(slope, x, y)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, np.where((x > 0) | np.isnan(x), x, dtype(slope) * x))
    _kernels.leaky_relu_backward(slope, dy, x, dx)
    np.testing.assert_array_equal(dx, np.where((x > 0) | np.isnan(x), dy, dtype(slope) * dy))


@pytest.mark.parametrize("size", [1, 7, 1001])
@pytest.mark.parametrize("rate", [0, 0.1, 0.75])
def test_dropout_scale_has_numpys_bits(rng, dtype, size, rate):
    x, kept = numbers(rng, size, dtype), rng.random(size) < 0.5
    y = np.full_like(x, np.nan)
    _kernels.dropout_scale(1 - rate, x, kept.view(np.uint8), y)
    np.testing.assert_array_equal(y, np.divide(x, 1 - rate, out=np.zeros_like(x), where=kept))


def mask(key, first, threshold, size):
    kept = np.full(size, 7, np.uint8)
    _kernels.dropout_mask(key, first, threshold, kept)
    return kept


@pytest.mark.parametrize("size", [0, 1, 4, 7, 1001])
@pytest.mark.parametrize(("key", "first"), [(0, 0), (2**64 - 1, 2**32 - 2), (0x299F31D0A4093822, 2**64 - 251)])
def test_dropout_mask_compares_the_words_of_philox(key, first, size):
    words = np.array([naive.philox(key, first + i) for i in range(-(-size // 4))], np.uint32).reshape(-1)[:size]
    for threshold in (0, 2**31, 2**32 - 1, *map(int, words[:9])):
        np.testing.assert_array_equal(mask(key, first, threshold, size), words >= threshold)
    for i, word in enumerate(words[:9]):  # every bit of a word counts
        assert mask(key, first, int(word), size)[i] == 1
        assert mask(key, first, int(word) + 1, size)[i] == 0


def test_instruction_sets_are_named(instruction_set):
    assert _kernels.instruction_set() == instruction_set
    runs = [name for name in _kernels.BUILT if name in _kernels.INSTRUCTION_SETS]
    assert list(_kernels.INSTRUCTION_SETS) == ["none", *runs]
    with pytest.raises(ValueError, match=r"expected one of none.* got 'sse9'"):
        _kernels.use_instruction_set("sse9")
    assert _kernels.instruction_set() == instruction_set


def test_stub_and_module_agree():
    stub = ast.parse((Path(convnet.__file__).parent / "_kernels.pyi").read_text())
    described = {
        node.name: [arg.arg for arg in node.args.args] for node in stub.body if isinstance(node, ast.FunctionDef)
    }
    public = {name: value for name, value in vars(_kernels).items() if not name.startswith("_")}
    present = {
        name: list(inspect.signature(function).parameters)
        for name, function in public.items()
        if callable(function) and not isinstance(function, type)
    }
    assert present == described
    constants = {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}
    assert constants == {name for name in public if name.isupper()}

    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    assert set(classes) == {name for name, value in public.items() if isinstance(value, type)}
    with using(_kernels.INSTRUCTION_SETS[-1]):
        for name, node in classes.items():
            functions = [member for member in node.body if isinstance(member, ast.FunctionDef)]
            methods = {method.name: [arg.arg for arg in method.args.args[1:]] for method in functions}
            arguments, kind = methods.pop("__init__"), public[name]
            constants = {member.target.id for member in node.body if isinstance(member, ast.AnnAssign)}
            assert {*methods, *constants} == {member for member in vars(kind) if not member.startswith("_")}
            values = {"kind": "sgd", "pool": "max", "function": 0}
            instance = kind(**{argument: values.get(argument, 2) for argument in arguments})
            for method, names in methods.items():
                if callable(member := getattr(instance, method)):
                    assert isinstance(member(**dict.fromkeys(names, 2)), tuple if method == "algorithms" else int)
                else:
                    assert not names


@pytest.mark.parametrize("size", [1, 27, 144, 1600, 100_000])
@pytest.mark.parametrize(("out_h", "out_w"), [(1, 1), (1, 900), (900, 1), (14, 14), (32, 32), (60, 60), (130, 1000)])
def test_blocks_of_output_rows_are_even_and_no_larger_than_said(size, out_h, out_w):
    rows = _kernels.Convolution(True, size, out_h, out_w, 1, 1, 1, 1, 1, 0, 0).block_rows
    blocks = math.ceil(out_h / rows)
    assert 1 <= rows <= out_h
    assert rows == math.ceil(out_h / blocks)
    assert size * (rows - 1) * out_w < 1 << 18 or (rows - 1) * out_w < 2 * 192


@pytest.mark.parametrize("algorithm", _kernels.ALGORITHMS)
def test_bias_gradients_of_many_outputs_stay_exact(instruction_set, algorithm):
    if instruction_set == "none":
        pytest.skip("im2col alone computes without an instruction set")
    n, c, size = 40, 8, 96
    x, dy = np.zeros((n, c, size, size), np.float32), np.full((n, 8, size, size), 0.1, np.float32)
    s = _kernels.Convolution(True, c, size, size, 8, 3, 3, 1, 1, 1, 1, algorithm=algorithm)
    dweight, dbias = np.empty((8, c, 3, 3), np.float32), np.empty(8, np.float32)
    memory = scratch(s.backward_scratch(n, 2, False))
    _kernels.conv2d_backward(s, dy, x, np.zeros_like(dweight), dweight, dbias, None, memory, 2)
    np.testing.assert_allclose(dbias, dy[:, 0].sum(dtype=np.float64), rtol=2e-5)


def test_wide_images_do_not_take_winograds_memory():
    s = _kernels.Convolution(True, 1000, 5, 5000, 1000, 3, 3, 1, 1, 1, 1)
    if _kernels.instruction_set() != "none":
        assert s.algorithms()[0] == "direct"
    assert s.forward_scratch(1, 4) < 800e6


def test_few_images_of_many_channels_take_small_tiles(instruction_set):
    if instruction_set == "none":
        pytest.skip("the loops in Cython have no Winograd algorithm")
    sizes = (True, 256, 4, 4, 256, 3, 3, 1, 1, 1, 1)
    free, two, four = (_kernels.Convolution(*sizes, algorithm=name) for name in (None, "winograd-2", "winograd-4"))
    assert free.algorithms()[0] == "winograd-4"
    assert free.forward_scratch(1, 1) == two.forward_scratch(1, 1) < four.forward_scratch(1, 1)
    assert free.forward_scratch(64, 1) == four.forward_scratch(64, 1)


def test_the_input_gradient_alone_needs_no_sums_of_the_weights(rng, dtype):
    x, dy = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((9, 5, 7, 6), (9, 4, 3, 3)))
    weight = rng.integers(-9, 9, (4, 5, 3, 2)).astype(dtype)
    s = _kernels.Convolution(dtype == np.float32, 5, 7, 6, 4, 3, 2, 2, 2, 0, 0)
    assert s.algorithms()[2] == "im2col"
    results = []
    for dweight, dbias in ((None, None), (np.empty_like(weight), np.empty(4, dtype))):
        for threads in (1, 3):
            dx = np.full_like(x, np.nan)
            memory = scratch(s.backward_scratch(9, threads, True))
            _kernels.conv2d_backward(s, dy, x, weight, dweight, dbias, dx, memory, threads)
            results.append(dx.tobytes())
    assert len(set(results)) == 1
