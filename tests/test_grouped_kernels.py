"""Convolutions of groups of channels, depthwise and dilated ones, at every instruction set and any number of threads.

The arrays end where the process's memory ends, so that a kernel that reads on crashes.
"""

import functools

import numpy as np
import pytest
from cases import tolerance
from guarded import at_the_end_of_memory, scratch

from convnet import (
    Conv2D,
    GlobalAveragePool,
    ReLU,
    Sequential,
    _kernels,
    functional,
    get_num_threads,
    naive,
    set_num_threads,
)
from convnet.core.checks import sides_of

# (N, C, H, W), filters, groups, kernel, stride, padding, dilation
CASES = {
    "groups": ((2, 6, 7, 5), 9, 3, (3, 2), (1, 1), (1, 0), (1, 1)),
    "groups of a stride": ((3, 8, 9, 8), 8, 2, (2, 3), (2, 3), (1, 2), (3, 2)),
    "wide groups": ((3, 24, 9, 10), 32, 2, (3, 3), (1, 1), (1, 1), (1, 1)),
    "wide groups of a stride": ((2, 48, 8, 7), 24, 3, (5, 3), (2, 1), (2, 0), (1, 1)),
    "wide groups of one pixel": ((3, 40, 5, 6), 80, 5, (1, 1), (1, 1), (0, 0), (1, 1)),
    "wide groups of no images": ((0, 16, 5, 5), 16, 2, (3, 3), (1, 1), (1, 1), (1, 1)),
    "dilated, wide": ((2, 16, 11, 9), 24, 1, (3, 3), (1, 1), (2, 1), (2, 3)),
    "dilated, wide, of the image's size": ((3, 9, 6, 5), 17, 1, (3, 3), (1, 1), (6, 5), (6, 5)),
    "dilated, more than the image": ((2, 9, 3, 7), 17, 1, (2, 3), (1, 1), (4, 3), (5, 3)),
    "dilated groups": ((2, 24, 12, 10), 36, 2, (3, 2), (1, 1), (3, 0), (3, 2)),
    "dilated": ((2, 3, 9, 11), 4, 1, (3, 3), (1, 1), (2, 2), (2, 2)),
    "dilated above the stride": ((1, 2, 12, 9), 3, 1, (2, 3), (3, 2), (0, 1), (5, 3)),
    "depthwise": ((2, 5, 6, 7), 5, 5, (3, 3), (1, 1), (1, 1), (1, 1)),
    "depthwise without padding": ((2, 3, 5, 6), 3, 3, (2, 3), (1, 1), (0, 0), (1, 1)),
    "depthwise, two filters a channel": ((2, 3, 8, 9), 6, 3, (3, 3), (2, 2), (1, 1), (1, 1)),
    "two filters a channel, dilated": ((2, 2, 9, 10), 4, 2, (3, 2), (1, 3), (2, 1), (2, 4)),
    "depthwise 1x1": ((2, 4, 3, 3), 4, 4, (1, 1), (1, 1), (0, 0), (1, 1)),
    "depthwise of the image's size": ((2, 3, 4, 5), 3, 3, (4, 5), (1, 1), (0, 0), (1, 1)),
    "depthwise of more taps than fit": ((1, 2, 9, 9), 2, 2, (9, 8), (1, 1), (1, 0), (1, 1)),
    "depthwise, wide": ((2, 37, 7, 6), 37, 37, (3, 3), (2, 1), (1, 1), (1, 2)),
    "depthwise, dilated": ((2, 6, 12, 10), 6, 6, (3, 2), (1, 1), (2, 1), (2, 4)),
    "dilated, with more padding than the kernel": ((2, 9, 4, 5), 17, 1, (2, 2), (1, 1), (3, 4), (2, 3)),
    "depthwise of no images": ((0, 3, 5, 5), 3, 3, (3, 3), (1, 1), (1, 1), (1, 1)),
    "groups of other sides": ((2, 4, 7, 6), 6, 2, (3, 2), (2, 1), ((0, 1), (1, 0)), (1, 1)),
    "wide groups of other sides": ((2, 32, 9, 8), 48, 2, (3, 3), (1, 1), ((2, 0), (0, 1)), (1, 1)),
    "dilated, of other sides": ((2, 16, 11, 9), 24, 1, (3, 3), (1, 1), ((0, 3), (4, 1)), (2, 3)),
    "dilated groups of other sides": ((2, 24, 12, 10), 36, 2, (3, 2), (2, 1), ((3, 0), (0, 2)), (3, 2)),
    "depthwise of other sides": ((2, 37, 7, 6), 37, 37, (3, 3), (2, 1), ((0, 1), (2, 0)), (1, 2)),
}


@pytest.fixture(params=_kernels.INSTRUCTION_SETS)
def instruction_set(request):
    before = _kernels.instruction_set()
    _kernels.use_instruction_set(request.param)
    yield request.param
    _kernels.use_instruction_set(before)


@functools.cache  # the loops are slow, and many tests take the same case
def expected_of(dtype, x_shape, filters, groups, kernel, stride, padding, dilation):
    """Return x, weight, bias and dy, and what the plain loops make of them: y, dx, dweight and dbias."""
    rng = np.random.default_rng(0)
    x, weight, bias = (
        rng.standard_normal(shape).astype(dtype)
        for shape in (x_shape, (filters, x_shape[1] // groups, *kernel), (filters,))
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = naive.conv2d_forward(x, weight, bias, **options)
    dy = rng.standard_normal(y.shape).astype(dtype)
    return (x, weight, bias, dy), (y, *naive.conv2d_backward(dy, x, weight, **options))


def geometry_of(dtype, x_shape, filters, groups, kernel, stride, padding, dilation, **forced):
    weight_shape = filters, x_shape[1] // groups, *kernel
    _, out_h, out_w = functional.conv_output_shape(x_shape[1:], weight_shape, stride, padding, dilation, groups)
    (top, _), (left, _) = sides_of(padding)
    return _kernels.Convolution(
        dtype == np.float32,
        *(*x_shape[1:], filters, *kernel, *stride, top, left),
        out_h=out_h,
        out_w=out_w,
        dilation_h=dilation[0],
        dilation_w=dilation[1],
        groups=groups,
        **forced,
    )


def check(dtype, *case, **forced):
    """Compare the kernels with the plain loops."""
    geometry = geometry_of(dtype, *case, **forced)
    given, expected = expected_of(dtype, *case)
    assert (geometry.out_h, geometry.out_w) == expected[0].shape[2:]
    x, weight, bias, dy = (at_the_end_of_memory(array) for array in given)
    y, dx, dweight, dbias = (at_the_end_of_memory(np.full_like(like, np.nan)) for like in (dy, x, weight, bias))
    n, threads = len(x), get_num_threads()
    _kernels.conv2d_forward(geometry, x, weight, bias, y, scratch(geometry.forward_scratch(n, threads)), threads)
    memory = scratch(geometry.backward_scratch(n, threads, True))
    _kernels.conv2d_backward(geometry, dy, x, weight, dweight, dbias, dx, memory, threads)
    for found, true in zip((y, dx, dweight, dbias), expected, strict=True):
        np.testing.assert_allclose(found, true, **tolerance(dtype, true))
    return geometry


@pytest.mark.parametrize("block_rows", [0, 1, 2])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.usefixtures("instruction_set")
def test_the_kernels_compute_what_the_loops_do(dtype, case, block_rows):
    check(dtype, *case, block_rows=block_rows)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("channels", [*range(2, 22), 31, 32, 33, 47])
def test_depthwise_convolution_of_any_number_of_channels(channels):
    check(np.float32, (2, channels, 4, 9), channels, channels, (3, 3), (1, 1), (1, 1), (1, 1))
    check(np.float32, (1, channels, 5, 7), channels, channels, (3, 5), (2, 2), (1, 2), (1, 1))


@pytest.mark.usefixtures("instruction_set")
def test_a_depthwise_convolution_of_a_large_dilation_takes_no_more_memory_than_im2col(rng):
    windows = (1, 1), (300, 300), (300, 300)
    geometry = check(np.float32, (1, 16, 8, 9), 16, 16, (3, 3), *windows)
    assert set(geometry.algorithms()) == {"im2col"}
    x, weight = rng.standard_normal((1, 16, 8, 9), np.float32), rng.standard_normal((16, 1, 3, 3), np.float32)
    layers = [Conv2D(16, 16, 3, padding=300, dilation=300, groups=16, rng=rng), ReLU(), GlobalAveragePool()]
    layers[0].params["weight"][...] = weight
    expected = np.maximum(naive.conv2d_forward(x, weight, np.zeros(16), padding=300, dilation=300, groups=16), 0)
    found = Sequential(layers, (16, 8, 9)).scores(x)
    np.testing.assert_allclose(found, expected.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_depthwise_convolution_is_named(instruction_set):
    algorithms = check(np.float32, *CASES["depthwise"]).algorithms()
    assert set(algorithms) == {"im2col" if instruction_set == "none" else "depthwise"}
    assert check(np.float32, *CASES["groups"]).algorithms()[0] == "im2col"


@pytest.mark.parametrize("algorithm", _kernels.ALGORITHMS)
@pytest.mark.parametrize(
    "case",
    [
        *["groups", "groups of a stride", "wide groups", "wide groups of a stride", "dilated, wide", "dilated groups"],
        *["wide groups of other sides", "dilated, of other sides"],
    ],
)
@pytest.mark.usefixtures("instruction_set")
def test_every_algorithm_takes_groups(case, algorithm):
    check(np.float32, *CASES[case], algorithm=algorithm)


def test_the_algorithm_is_chosen_by_the_shape_of_a_group(instruction_set):
    geometry = check(np.float32, *CASES["wide groups"])
    (n, c, *size), filters, groups, *windows = CASES["wide groups"]
    case = (n, c // groups, *size), filters // groups, 1, *windows
    assert geometry.algorithms(n) == check(np.float32, *case).algorithms(n)
    assert (instruction_set == "none") == (set(geometry.algorithms(n)) == {"im2col"})


# A row of two groups whose phases are so many that the algorithm depends on how many images there are.
PACKED = CASES | {"dilated groups of one image": ((1, 256, 8, 8), 256, 2, (3, 3), (1, 1), (2, 2), (2, 2))}


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("case", PACKED.values(), ids=PACKED)
def test_a_packed_weight_gives_the_same_bits(rng, case):
    (n, *image), filters, groups, kernel, *_ = case
    geometry = geometry_of(np.float32, *case)
    if geometry.packed_size(n) == 0 or n == 0:
        assert n == 0 or geometry.algorithms(n)[0] == "im2col"
        return
    x, bias = (rng.standard_normal(shape, np.float32) for shape in ((n, *image), filters))
    weight = at_the_end_of_memory(rng.standard_normal((filters, image[0] // groups, *kernel), np.float32))
    memory = scratch(geometry.forward_scratch(n, 2))
    packed = at_the_end_of_memory(np.zeros(geometry.packed_size(n), np.uint8))
    _kernels.conv2d_pack(geometry, n, weight, packed, memory, 2)
    found = [np.full((n, filters, geometry.out_h, geometry.out_w), np.nan, np.float32) for _ in range(2)]
    for y, given in zip(found, (None, packed), strict=True):
        _kernels.conv2d_forward(geometry, x, weight, bias, y, memory, 2, None, given)
    assert found[0].tobytes() == found[1].tobytes()


def test_predictions_of_wide_depthwise_layers_are_the_same_each_time(rng):
    layers = [Conv2D(512, 512, 3, padding=1, groups=512, rng=rng) for _ in range(2)]
    model, x = Sequential([*layers, GlobalAveragePool()], (512, 5, 4)), rng.standard_normal((2, 512, 5, 4), np.float32)
    expected = x.astype(float)
    for layer in layers:
        weight, bias = (param.astype(float) for param in layer.params.values())
        expected = functional.conv2d_forward(expected, weight, bias, padding=1, groups=512)
    for _ in range(3):
        np.testing.assert_allclose(model.scores(x), expected.mean(axis=(2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("instruction_set")
def test_infinite_pixels_of_dilated_convolutions_reach_what_they_meet_alone():
    x, weight, dy = np.ones((2, 9, 5, 5), np.float32), np.ones((9, 9, 2, 2), np.float32), np.ones((2, 9, 3, 3))
    x[0, 0, 3, 3] = np.inf
    dweight = functional.conv2d_backward(dy, x, weight, dilation=2)[1]
    np.testing.assert_array_equal(dweight, naive.conv2d_backward(dy, x, weight, dilation=2)[1])
    assert np.isinf(dweight).sum() == 9


@pytest.mark.usefixtures("instruction_set")
def test_a_packed_weight_of_groups_gives_the_same(rng):
    layers = [Conv2D(64, 96, 3, padding=1, groups=2, rng=rng), GlobalAveragePool()]
    model, x = Sequential(layers, (64, 5, 4)), rng.standard_normal((2, 64, 5, 4), np.float32)
    is_packed = "packed" in model.plan().stages[0].arrays(len(x), 1, False)
    assert is_packed == (_kernels.instruction_set() != "none")
    true = naive.conv2d_forward(x, *layers[0].params.values(), padding=1, groups=2).mean(axis=(2, 3))
    for _ in range(2):
        np.testing.assert_allclose(model.scores(x), true, **tolerance(np.float32, true))


@pytest.mark.parametrize("case", ["groups of a stride", "wide groups", "depthwise", "dilated, wide", "dilated groups"])
def test_the_bits_are_the_same_for_any_number_of_threads(rng, dtype, case):
    (n, c, h, w), filters, groups, kernel, stride, padding, dilation = CASES[case]
    x, weight = rng.standard_normal((8 * n, 8 * c, 2 * h, 2 * w)), rng.standard_normal((8 * filters, c, *kernel))
    x, weight = x.astype(dtype), weight[:, : c // groups].astype(dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 8 * groups}
    before, found = get_num_threads(), []
    for threads in (1, 2, 5):
        set_num_threads(threads)
        y = functional.conv2d_forward(x, weight, **options)
        found.append([y, *functional.conv2d_backward(y, x, weight, **options)])
    set_num_threads(before)
    for other in found[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(found[0], other, strict=True))
