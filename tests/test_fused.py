"""The convolution with activation and pooling in one pass, in both layouts, against the same steps one by one."""

from itertools import product

import numpy as np
import pytest
from guarded import at_the_end_of_memory, scratch, using

from convnet import _kernels, functional
from convnet.core.checks import sides_of

SETS = _kernels.INSTRUCTION_SETS[1:]
# N, C, (H, W), F, (KH, KW), padding: sizes that are whole vectors, windows and tiles, and sizes that are not.
# The padding is (height, width) or ((top, bottom), (left, right)).
SHAPES = [
    (3, 1, (9, 11), 5, (3, 3), (0, 0)),
    (2, 3, (12, 13), 20, (3, 3), (1, 1)),
    (9, 1, (10, 8), 17, (7, 7), (3, 3)),
    (2, 8, (15, 16), 33, (3, 3), (1, 2)),
    (1, 16, (7, 9), 17, (5, 4), (2, 1)),
    (5, 9, (8, 8), 40, (3, 3), (1, 1)),
    (2, 4, (6, 10), 6, (1, 1), (0, 0)),
    (2, 8, (9, 9), 8, (2, 2), (1, 1)),
    (3, 40, (6, 6), 64, (3, 3), (1, 1)),
    (1, 2, (4, 410), 3, (3, 3), (1, 1)),
    (2, 5, (10, 12), 7, (3, 9), (4, 5)),
    (1, 130, (6, 6), 70, (3, 3), (1, 1)),
    (2, 1, (62, 30), 5, (9, 3), (4, 1)),
    (1, 2, (1, 1), 3, (1, 1), (0, 0)),
    (2, 8, (9, 10), 17, (3, 3), ((0, 1), (2, 0))),
    (3, 9, (7, 12), 16, (3, 3), ((1, 5), (0, 3))),
    (2, 4, (8, 7), 9, (4, 2), ((3, 0), (0, 1))),
]


def last(array, channels_last):
    """Return images in their layout."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if channels_last else array


def first(array, channels_last):
    """Return images in NCHW."""
    return array.transpose(0, 3, 1, 2) if channels_last else array


def windows_of(array):
    """Return (N, F, OH, OW, 4): the elements of the 2x2 windows."""
    n, f, h, w = array.shape
    whole = array[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, f, h // 2, 2, w // 2, 2)
    return whole.transpose(0, 1, 2, 4, 3, 5).reshape(n, f, h // 2, w // 2, 4)


def spread(windows, shape):
    """Return the array whose windows these are, 0 elsewhere."""
    n, f, h, w = shape
    array = np.zeros(shape)
    array[:, :, : h // 2 * 2, : w // 2 * 2] = (
        windows.reshape(n, f, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, f, h // 2 * 2, w // 2 * 2)
    )
    return array


def followed(conv, slope, pool):
    """Return activation and pooling of a convolution's output, and the codes."""
    active = np.where(conv <= 0, slope * conv, conv)
    windows, inputs = windows_of(active), windows_of(conv)
    if pool == "max":
        return windows.max(-1), windows.argmax(-1) + 4 * (windows.max(-1) <= 0)
    if pool == "average":
        return windows.mean(-1), ((inputs > 0) << np.arange(4)).sum(-1)
    return active, None


def gradient(dy, y, codes, slope, pool, shape):
    """Return the gradient with respect to a convolution's output, of this shape."""
    if pool == "max":
        own = np.arange(4) == (codes & 3)[..., None]
        return spread(own * (dy * np.where(codes < 4, 1, slope))[..., None], shape)
    if pool == "average":
        is_positive = codes[..., None] >> np.arange(4) & 1
        return spread(dy[..., None] / 4 * np.where(is_positive, 1, slope), shape)
    return dy * np.where(y <= 0, slope, 1)


def run(s, x, weight, bias, dy, pool, layouts, threads):
    """Return y, codes, dx, dweight and dbias, in NCHW, from memory that ends where the arrays end."""
    x_channels_last, y_channels_last = layouts
    given = [at_the_end_of_memory(a) for a in (last(x, x_channels_last), weight, bias, last(dy, y_channels_last))]
    y, dx, dweight, dbias = (at_the_end_of_memory(np.full_like(given[i], np.nan)) for i in (3, 0, 1, 2))
    codes = at_the_end_of_memory(np.full(last(dy, True).shape, 99, np.uint8)) if pool else None
    n = len(x)
    _kernels.conv2d_forward(s, *given[:3], y, scratch(s.forward_scratch(n, threads)), threads, codes)
    memory = scratch(s.backward_scratch(n, threads, True))
    _kernels.conv2d_backward(s, given[3], *given[:2], dweight, dbias, dx, memory, threads, y, codes)
    return (
        first(y, y_channels_last),
        None if codes is None else first(codes, True),
        first(dx, x_channels_last),
        dweight,
        dbias,
    )


def compare(rng, shape, algorithm, slope, pool, layouts, stride=(1, 1), dilation=(1, 1), groups=1):
    """Compare with the convolution in float64 and what follows it."""
    n, c, size, f, kernel, padding = shape
    is_exact = algorithm in ("direct", "planar", "pooled", "depthwise")
    (top, _), (left, _) = sides_of(padding)
    draw = (lambda shape: rng.integers(-4, 5, shape)) if is_exact else rng.standard_normal
    x, weight, bias = (draw(shape).astype(np.float32) for shape in ((n, c, *size), (f, c // groups, *kernel), (f,)))
    windows = {"padding": padding, "stride": stride, "dilation": dilation, "groups": groups}
    conv = functional.conv2d_forward(x, weight.astype(float), bias, **windows)
    expected, expected_codes = followed(conv, slope, pool)
    dy = draw(expected.shape).astype(np.float32)
    s = _kernels.Convolution(
        True,
        *(c, *size, f, *kernel, *stride, top, left),
        out_h=conv.shape[2],
        out_w=conv.shape[3],
        dilation_h=dilation[0],
        dilation_w=dilation[1],
        groups=groups,
        algorithm=algorithm,
        slope=slope,
        pool=pool,
        x_channels_last=layouts[0],
        y_channels_last=layouts[1],
    )
    results = [run(s, x, weight, bias, dy, pool, layouts, threads) for threads in (1, 3)]
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(one, three)
    y, codes, *gradients = results[0]
    if is_exact and pool:
        most = 4 if slope == 0 and pool == "max" else 15  # which of the inactive units comes first does not matter
        np.testing.assert_array_equal(np.minimum(codes, most), np.minimum(expected_codes, most))
    elif pool == "max":  # each window's code is that of an output as large as its maximum
        of_windows = windows_of(np.where(conv <= 0, slope * conv, conv))
        found = np.take_along_axis(of_windows, (codes & 3)[..., None].astype(int), -1)[..., 0]
        np.testing.assert_allclose(found * (codes < 4) if slope == 0 else found, expected, atol=1e-4)
    elif pool:
        positive = windows_of(conv) > 0
        certain = np.abs(windows_of(conv)) > 1e-3
        np.testing.assert_array_equal((codes[..., None] >> np.arange(4) & 1)[certain], positive[certain])
    dconv = gradient(dy, y, codes, slope, pool, conv.shape)
    true = functional.conv2d_backward(dconv, x, weight.astype(float), **windows)
    for found, right in zip((y, *gradients), (expected, *true), strict=True):
        if is_exact:
            np.testing.assert_array_equal(found, right)
        else:
            assert np.linalg.norm(found - right) <= 2e-5 * np.linalg.norm(right) + 1e-30


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("pool", [None, "max", "average"])
@pytest.mark.parametrize("slope", [0, 0.25, 1])
@pytest.mark.parametrize("algorithm", [None, "direct", "planar", "pooled", "winograd-2", "winograd-4"])
def test_fused_convolution_equals_its_steps(rng, instruction_set, algorithm, slope, pool):
    for shape, layouts in product(SHAPES, product((False, True), repeat=2)):
        _, _, size, _, kernel, padding = shape
        if (slope, pool, layouts) == (1, None, (False, False)) or (pool and size == (1, 1)):
            continue
        if "winograd" in str(algorithm) and (kernel != (3, 3) or max(side for side, _ in sides_of(padding)) > 2):
            continue
        with using(instruction_set):
            compare(rng, shape, algorithm, slope, pool, layouts)


# (H, W), kernel, padding, stride, dilation: one strip and several, strides above the kernel, windows in the padding.
DEPTHWISE = [
    ((9, 11), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((8, 10), (3, 3), (1, 1), (2, 2), (1, 1)),
    ((10, 12), (2, 3), (0, 2), (3, 2), (1, 1)),
    ((9, 13), (2, 2), (1, 0), (3, 4), (1, 1)),
    ((12, 11), (3, 3), (2, 3), (1, 1), (2, 3)),
    ((14, 15), (3, 2), (4, 1), (2, 3), (3, 2)),
    ((7, 6), (5, 5), (2, 2), (1, 1), (1, 1)),
    ((4, 3), (3, 3), (2, 2), (2, 1), (1, 1)),
    ((70, 60), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((61, 75), (3, 5), (1, 2), (2, 2), (1, 1)),
    ((4, 5), (1, 1), (0, 0), (1, 1), (1, 1)),
    ((9, 10), (3, 3), ((0, 1), (0, 1)), (2, 2), (1, 1)),
    ((8, 9), (3, 2), ((4, 0), (1, 3)), (1, 2), (2, 3)),
]


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("case", DEPTHWISE)
@pytest.mark.parametrize(("slope", "pool"), [(1, None), (0, None), (0.25, "max"), (0, "average")])
def test_fused_depthwise_convolution_equals_its_steps(rng, instruction_set, case, slope, pool):
    size, kernel, padding, stride, dilation = case
    for channels, layouts in product((2, 13, 16, 41), product((False, True), repeat=2)):
        shape = (1 if size[0] > 60 else 3, channels, size, channels, kernel, padding)
        with using(instruction_set):
            compare(rng, shape, "depthwise", slope, pool, layouts, stride, dilation, channels)


@pytest.mark.parametrize("instruction_set", SETS)
def test_codes_let_nan_through_and_take_the_first_of_equals(instruction_set):
    x = np.zeros((1, 1, 2, 40), np.float32)
    x[0, 0, :, :10] = [[1, 1, -1, -2, 0, 0, np.nan, 7, 0, 0], [1, 1, -3, -4, 5, 0, 9, np.inf, 0, 0]]
    weight, bias, dy = np.ones((9, 1, 1, 1), np.float32), np.zeros(9, np.float32), np.zeros((1, 9, 1, 20), np.float32)
    for slope, smallest in ((0, 0), (1, -1)):
        with using(instruction_set):
            s = _kernels.Convolution(True, 1, 2, 40, 9, 1, 1, 1, 1, 0, 0, slope=slope, pool="max", y_channels_last=True)
            y, codes, *_ = run(s, x, weight, bias, dy, "max", (False, True), 1)
        for f in range(9):
            np.testing.assert_array_equal(y[0, f, 0, :5], [1, smallest, 5, np.nan, 0])
            np.testing.assert_array_equal(codes[0, f, 0, :5], [0, 4, 2, 0, 4])


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("algorithm", ["direct", "pooled", "winograd-4"])
@pytest.mark.parametrize("pool", [None, "max", "average"])
def test_inactive_units_have_no_gradient_even_of_infinity(rng, instruction_set, algorithm, pool):
    x, weight = (rng.standard_normal(shape, np.float32) for shape in ((2, 8, 8, 8), (9, 8, 3, 3)))
    bias = np.full(9, -1e6, np.float32)
    dy = np.full((2, 9, 8, 8) if pool is None else (2, 9, 4, 4), np.inf, np.float32)
    with using(instruction_set):
        s = _kernels.Convolution(True, 8, 8, 8, 9, 3, 3, 1, 1, 1, 1, algorithm=algorithm, slope=0, pool=pool)
        y, _, *gradients = run(s, x, weight, bias, dy, pool, (False, False), 2)
    assert not y.any()
    assert not any(array.any() for array in gradients)


def test_what_cannot_be_fused_is_refused():
    sizes = (4, 8, 8, 2, 3, 3, 1, 1, 1, 1)
    with using("none"), pytest.raises(ValueError, match="expected float32, an instruction set"):
        _kernels.Convolution(True, *sizes, slope=0)
    with using(_kernels.INSTRUCTION_SETS[-1]):
        with pytest.raises(ValueError, match="expected float32"):
            _kernels.Convolution(False, *sizes, pool="max")
        with pytest.raises(ValueError, match="expected float32"):
            _kernels.Convolution(True, 4, 0, 8, 2, 3, 3, 1, 1, 2, 2, y_channels_last=True)
        if SETS:
            with pytest.raises(ValueError, match="can be fused, got 'im2col'"):
                _kernels.Convolution(True, *sizes, x_channels_last=True, algorithm="im2col")
