"""The compiled module itself: unfolding, its adjoint, and the stub that describes it."""

import ast
import ctypes
import inspect
import math
import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from cases import CONVOLUTIONS, tolerance

import convnet
from convnet import _kernels
from convnet.checks import as_pair


def unfold(x, kernel, stride, padding):
    """Return im2col of x by NumPy's windows, and the sizes that the kernels take."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))[:, :, :: stride[0], :: stride[1]]
    out_h, out_w = windows.shape[2:4]
    cols = windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), x.shape[1] * math.prod(kernel), out_h * out_w)
    return cols, (*kernel, out_h, out_w, *stride, *padding)


LEVELS = [
    pytest.param(level, id=name) for name, level in convnet.threads.LEVELS.items() if level <= _kernels.simd_highest()
]


@pytest.mark.parametrize(("x_shape", "weight_shape", "stride", "padding"), CONVOLUTIONS)
def test_im2col_and_its_adjoint(rng, dtype, x_shape, weight_shape, stride, padding):
    stride, padding = as_pair(stride, "stride", 1), as_pair(padding, "padding", 0)
    x = rng.standard_normal(x_shape).astype(dtype)
    expected, sizes = unfold(x, weight_shape[2:], stride, padding)
    cols = np.full(expected.shape, np.nan, dtype)
    phases = np.full(_kernels.phases_size(*sizes), np.nan, dtype)
    _kernels.im2col(convnet.threads.LEVEL, x, phases, cols, *sizes)
    np.testing.assert_array_equal(cols, expected)

    # <im2col(x), c> == <x, col2im(c)>, for every x only if col2im is the adjoint.
    c = rng.standard_normal(cols.shape).astype(dtype)
    dx = np.zeros(x_shape, dtype)
    _kernels.col2im(convnet.threads.LEVEL, c, phases, dx, *sizes)
    left = (cols.astype(np.float64) * c).sum()
    right = (x.astype(np.float64) * dx).sum()
    assert left == pytest.approx(right, rel=1e-4 if dtype == np.float32 else 1e-11, abs=1e-4)


def at_the_end_of_memory(array):
    """Return a copy behind which the process has no memory, so that it ends if a kernel touches what follows."""
    if not hasattr(os, "fork"):
        return array.copy()
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory, size))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_w", [1, 2, 5, 9, 20])
@pytest.mark.parametrize("is_padded", [False, True])
def test_im2col_and_its_adjoint_of_rows_of_every_width(rng, dtype, level, kernel_w, stride, is_padded):
    kernel, padding = (2, kernel_w), (1, kernel_w // 2) if is_padded else (0, 0)
    for width in [*range(1, 20), 31, 32, 33, 50]:
        x_shape = (2, 1, 3, width * stride + (0 if is_padded else kernel_w))
        x = at_the_end_of_memory(rng.integers(-9, 9, x_shape).astype(dtype))  # sums are exact in any order
        cols, sizes = unfold(x, kernel, (1, stride), padding)
        found, dx = at_the_end_of_memory(np.full_like(cols, np.nan)), at_the_end_of_memory(np.zeros_like(x))
        phases = at_the_end_of_memory(np.full(_kernels.phases_size(*sizes), np.nan, dtype))
        _kernels.im2col(level, x, phases, found, *sizes)
        np.testing.assert_array_equal(found, cols)
        # Every pixel is copied as often as windows cover it.
        _kernels.col2im(level, found, phases, dx, *sizes)
        ones = unfold(np.arange(x.size, dtype=dtype).reshape(x.shape) + 1, kernel, (1, stride), padding)[0]
        times = np.bincount(ones.astype(int).ravel(), minlength=x.size + 1)[1:].reshape(x.shape)
        np.testing.assert_array_equal(dx, x * times)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (3, 2), (2, 9)])
@pytest.mark.parametrize("block", [1, 2, 9])
def test_convolution_of_rows_of_every_width(rng, dtype, level, kernel, stride, block):
    for width in [*range(1, 19), 31, 32, 33, 50, 129, 131]:
        n, c, f = 2, int(rng.choice([1, 3, 8, 14, 33])), int(rng.choice([1, 5, 8, 13, 50]))
        padding = int(rng.integers(0, kernel[0] + 2)), int(rng.integers(0, kernel[1] + 2))
        h, w = 3 + kernel[0], max(1, (width - 1) * stride[1] + kernel[1] - 2 * padding[1])
        x, weight, bias = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((n, c, h, w), (f, c, *kernel), (f,)))
        cols, sizes = unfold(x, kernel, stride, padding)
        dy = rng.integers(-9, 9, (n, f, cols.shape[2])).astype(dtype)  # sums are exact in any order
        flat = weight.reshape(f, -1)

        blocks = min(block, sizes[2]), min(block, h)

        def scratch(is_backward, need_dx, weight=flat, shape=(c, f, h, w), blocks=blocks, sizes=sizes):
            """Return memory of the sizes that are asked for, full of what must not come out."""
            counts = _kernels.conv2d_scratch(level, dtype == np.float32, is_backward, need_dx, *shape, *blocks, *sizes)
            contents = zip(counts, (np.nan, np.nan, np.nan, -1), (dtype, dtype, dtype, np.intp), strict=True)
            packed, *others = (at_the_end_of_memory(np.full(*content)) for content in contents)
            if packed.size:
                _kernels.conv2d_pack(level, is_backward, at_the_end_of_memory(weight), shape[0], packed)
            return packed, *others

        given = [at_the_end_of_memory(array) for array in (x, flat, bias, dy)]
        y, dweight, dbias, dx = (
            at_the_end_of_memory(np.full_like(like, np.nan)) for like in (dy, flat.reshape(-1, f), bias, x)
        )
        _kernels.conv2d_forward(level, *given[:3], *scratch(False, False), y, blocks[0], *sizes)
        np.testing.assert_array_equal(y, flat @ cols + bias[:, None])
        for need_dx in (False, True):
            gradients = dweight, dbias, dx if need_dx else None
            _kernels.conv2d_backward(level, given[3], *given[:2], *scratch(True, need_dx), *gradients, *blocks, *sizes)
        np.testing.assert_array_equal(dweight, (cols @ dy.transpose(0, 2, 1)).sum(0))
        np.testing.assert_array_equal(dbias, dy.sum((0, 2)))
        places = unfold(np.arange(1.0, 1 + x.size).reshape(x.shape), kernel, stride, padding)[0].astype(int)
        expected = np.bincount(places.ravel(), (flat.T @ dy).ravel(), 1 + x.size)[1:]
        np.testing.assert_array_equal(dx.ravel(), expected)


def test_read_only_input_is_taken_and_never_written(rng, dtype):
    x = rng.standard_normal((1, 1, 3, 3)).astype(dtype)
    x.flags.writeable = False
    cols = np.empty((1, 4, 4), dtype)
    phases = np.empty(9, dtype)
    _kernels.im2col(-1, x, phases, cols, 2, 2, 2, 2, 1, 1, 0, 0)
    with pytest.raises(ValueError, match="read-only"):
        _kernels.col2im(-1, cols, phases, x, 2, 2, 2, 2, 1, 1, 0, 0)


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
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("m", "n", "k"), PRODUCTS)
@pytest.mark.parametrize("transposed", ["neither", "a", "b"])
def test_product_equals_numpys(rng, dtype, level, m, n, k, transposed):
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    c = rng.standard_normal((m, n)).astype(dtype)
    in_memory = (
        np.ascontiguousarray(a.T if transposed == "a" else a),
        np.ascontiguousarray(b.T if transposed == "b" else b),
    )
    for beta in (0, 1, 0.25):
        results = []
        for threads in (1, 3):
            out = c.copy() if beta else np.full_like(c, np.nan)
            _kernels.multiply(level, threads, *in_memory, out, transposed == "a", transposed == "b", beta, None)
            results.append(out)
        expected = beta * c.astype(np.float64) + a.astype(np.float64) @ b.astype(np.float64)
        np.testing.assert_allclose(results[0], expected, **tolerance(dtype))
        assert results[0].tobytes() == results[1].tobytes()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("where", [(0, 0), (36, 19), (20, 70)])
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_product_keeps_what_is_not_finite_to_its_row_and_column(rng, level, where, special):
    a, b = (rng.random(shape).astype(np.float32) + 1 for shape in ((37, 71), (71, 45)))
    a[where] = special
    out = np.empty((37, 45), np.float32)
    _kernels.multiply(level, 2, a, b, out, False, False, 0, None)
    np.testing.assert_array_equal(out[where[0]], special)
    assert np.isfinite(np.delete(out, where[0], 0)).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("density", [0, 0.1, 1])
@pytest.mark.parametrize(
    ("n", "d", "m"), [(1, 1, 1), (4, 64, 64), (50, 200, 33), (7, 65, 500), (130, 129, 10), (0, 5, 6)]
)
@pytest.mark.parametrize("need_dx", [True, False])
def test_affine_backward_equals_its_formula(rng, level, density, n, d, m, need_dx):
    x, dy, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, d), (n, m), (d, m)))
    dy[rng.random(dy.shape) >= density] = 0
    for in_place, decay, rate in ((True, 0.75, 0.5), (False, 0, -1)):
        after = []
        for threads in (1, 2):
            out = weight.copy() if in_place else np.full_like(weight, np.nan)
            before = out if in_place else weight
            dx = np.full((n, d), np.nan, np.float32) if need_dx else None
            scratch = np.empty(_kernels.affine_scratch(level, n, d, m), np.uint8)
            squares = _kernels.affine_backward(level, threads, dy, x, before, dx, out, decay, rate, scratch)
            after.append((out.tobytes(), None if dx is None else dx.tobytes(), squares))
        wide = weight.astype(np.float64)
        assert squares == pytest.approx((wide**2).sum(), rel=1e-5)
        np.testing.assert_allclose(out, decay * wide - rate * (x.T.astype(np.float64) @ dy), rtol=1e-4, atol=1e-4)
        if need_dx:
            np.testing.assert_allclose(dx, dy.astype(np.float64) @ wide.T, rtol=1e-4, atol=1e-4)
        assert after[0] == after[1]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_sparse_gradient_keeps_what_is_not_finite(rng, level, special):
    x, dy, weight = (rng.random(shape).astype(np.float32) + 1 for shape in ((20, 70), (20, 90), (70, 90)))
    dy[:, 5:] = 0
    dy[3, 80] = special
    dx, out = np.empty_like(x), np.empty_like(weight)
    scratch = np.empty(_kernels.affine_scratch(level, 20, 70, 90), np.uint8)
    _kernels.affine_backward(level, 1, dy, x, weight, dx, out, 0, -1, scratch)
    np.testing.assert_array_equal(dx[3], special)
    np.testing.assert_array_equal(out[:, 80], special)
    assert np.isfinite(np.delete(dx, 3, 0)).all()
    assert np.isfinite(np.delete(out, 80, 1)).all()


@pytest.mark.parametrize("level", LEVELS)
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
def test_product_divided_along_the_common_axis_equals_numpys(rng, level, density, m, k, n, beta):
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n), (m, n)))
    a[rng.random(a.shape) >= density] = 0
    results = []
    for threads in (1, 3):
        out = c.copy() if beta else np.full_like(c, np.nan)
        scratch = np.empty(_kernels.multiply_scratch(level, m, k, n), np.uint8)
        _kernels.multiply(level, threads, a, b, out, False, False, beta, scratch)
        results.append(out.tobytes())
    np.testing.assert_allclose(out, beta * c + a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)
    assert results[0] == results[1]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("density", [0, 0.3, 1])
@pytest.mark.parametrize(("k", "n"), [(0, 40), (1, 1), (191, 130), (192, 64), (129, 15), (129, 16), (1601, 517)])
@pytest.mark.parametrize("beta", [0, 0.5])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_product_of_one_row_equals_numpys(rng, level, density, k, n, beta, is_transposed):
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, k), (k, n), (1, n)))
    a[rng.random(a.shape) >= density] = 0
    expected = beta * c + (a.astype(np.float64) @ b)
    a = np.ascontiguousarray(a.T) if is_transposed else a
    results = []
    for threads in (1, 3):
        for scratch in (None, np.empty(_kernels.multiply_scratch(level, 1, k, n), np.uint8)):
            out = c.copy() if beta else np.full_like(c, np.nan)
            _kernels.multiply(level, threads, a, b, out, is_transposed, False, beta, scratch)
            np.testing.assert_allclose(out, expected, rtol=1e-4, atol=2e-4)
            results.append(out.tobytes())
    assert results[:2] == results[2:]


@pytest.mark.parametrize("level", LEVELS[1:])  # all but the loops in Cython
def test_product_of_one_row_leaves_rows_at_zeros_out(rng, level):
    a, b = np.ones((1, 400), np.float32), rng.standard_normal((400, 37)).astype(np.float32)
    b[7], a[0, 7], a[0, 300:] = np.inf, 0, 0
    out, scratch = np.empty((1, 37), np.float32), np.empty(_kernels.multiply_scratch(level, 1, 400, 37), np.uint8)
    _kernels.multiply(level, 2, a, b, out, False, False, 0, scratch)
    np.testing.assert_allclose(out, a @ np.nan_to_num(b, posinf=0), rtol=1e-4, atol=1e-4)
    a[0, 9] = np.nan
    _kernels.multiply(level, 2, a, b, out, False, False, 0, scratch)
    assert np.isnan(out).all()


def test_stub_and_module_agree():
    stub = ast.parse((Path(convnet.__file__).parent / "_kernels.pyi").read_text())
    described = {
        node.name: [arg.arg for arg in node.args.args] for node in stub.body if isinstance(node, ast.FunctionDef)
    }
    present = {
        name: list(inspect.signature(function).parameters)
        for name, function in vars(_kernels).items()
        if callable(function) and not name.startswith("_")
    }
    assert present == described


@pytest.mark.parametrize("size", [1, 27, 144, 1600, 100_000])
@pytest.mark.parametrize(("out_h", "out_w"), [(1, 1), (1, 900), (900, 1), (14, 14), (32, 32), (60, 60), (130, 1000)])
def test_blocks_of_output_rows_are_even_and_no_larger_than_said(size, out_h, out_w):
    rows = _kernels.block_rows(size, out_h, out_w)
    blocks = math.ceil(out_h / rows)
    assert 1 <= rows <= out_h
    assert rows == math.ceil(out_h / blocks)
    assert size * (rows - 1) * out_w < 1 << 18 or (rows - 1) * out_w < 2 * 192
