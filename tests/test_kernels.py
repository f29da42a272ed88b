"""The compiled module itself: unfolding, its adjoint, and the stub that describes it."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from cases import CONVOLUTIONS

import convnet
from convnet import _kernels
from convnet.checks import as_pair


def unfold_by_loops(x, kernel, stride, padding):
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    out_h = (padded.shape[2] - kernel[0]) // stride[0] + 1
    out_w = (padded.shape[3] - kernel[1]) // stride[1] + 1
    cols = np.zeros((*x.shape[:2], *kernel, out_h, out_w), x.dtype)
    for n, c, i, j, oh, ow in np.ndindex(cols.shape):
        cols[n, c, i, j, oh, ow] = padded[n, c, oh * stride[0] + i, ow * stride[1] + j]
    return cols.reshape(len(x), x.shape[1] * kernel[0] * kernel[1], out_h * out_w), (
        *kernel,
        out_h,
        out_w,
        *stride,
        *padding,
    )


@pytest.mark.parametrize(("x_shape", "weight_shape", "stride", "padding"), CONVOLUTIONS)
def test_im2col_and_its_adjoint(rng, dtype, x_shape, weight_shape, stride, padding):
    stride, padding = as_pair(stride, "stride", 1), as_pair(padding, "padding", 0)
    x = rng.standard_normal(x_shape).astype(dtype)
    expected, sizes = unfold_by_loops(x, weight_shape[2:], stride, padding)
    cols = np.full(expected.shape, np.nan, dtype)
    _kernels.im2col(x, cols, *sizes)
    np.testing.assert_array_equal(cols, expected)

    # <im2col(x), c> == <x, col2im(c)>, for every x only if col2im is the adjoint.
    c = rng.standard_normal(cols.shape).astype(dtype)
    dx = np.zeros(x_shape, dtype)
    _kernels.col2im(c, dx, *sizes)
    left = (cols.astype(np.float64) * c).sum()
    right = (x.astype(np.float64) * dx).sum()
    assert left == pytest.approx(right, rel=1e-4 if dtype == np.float32 else 1e-11, abs=1e-4)


def test_read_only_input_is_taken_and_never_written(rng, dtype):
    x = rng.standard_normal((1, 1, 3, 3)).astype(dtype)
    x.flags.writeable = False
    cols = np.empty((1, 4, 4), dtype)
    _kernels.im2col(x, cols, 2, 2, 2, 2, 1, 1, 0, 0)
    with pytest.raises(ValueError, match="read-only"):
        _kernels.col2im(cols, x, 2, 2, 2, 2, 1, 1, 0, 0)


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
