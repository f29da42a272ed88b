"""What all checked functions have in common: layouts, dtypes, refused arguments, huge sizes."""

import numpy as np
import pytest
from cases import needs_fusion

import convnet
from convnet import functional
from convnet.core.workspace import Layout


def test_numbers_are_arrays_of_no_axes():
    for function in (functional.relu_forward, functional.sigmoid_forward, functional.tanh_forward):
        assert function(0.5).shape == ()
    assert functional.sigmoid_backward(1.0, 0.0) == 0.25
    assert functional.tanh_backward(3.0, 0.0) == 3
    assert functional.gelu_backward(2.0, 0.0) == functional.silu_backward(2.0, 0.0) == 1
    assert functional.leaky_relu_forward(-2.0, 0.25) == -0.5
    y, kept = functional.dropout_forward(3.0, 0.0, np.random.default_rng(0))
    assert isinstance(kept, np.ndarray)
    assert y.shape == kept.shape == ()


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
    "global_average_pool_forward": lambda a: functional.global_average_pool_forward(a(2, 3, 6, 5)),
    "global_average_pool_backward": lambda a: functional.global_average_pool_backward(a(2, 3), (2, 3, 6, 5)),
    "sigmoid_forward": lambda a: functional.sigmoid_forward(a(3, 4)),
    "sigmoid_backward": lambda a: functional.sigmoid_backward(a(3, 4), a(3, 4)),
    "leaky_relu_forward": lambda a: functional.leaky_relu_forward(a(3, 4), 0.1),
    "leaky_relu_backward": lambda a: functional.leaky_relu_backward(a(3, 4), a(3, 4), 0.1),
    "tanh_forward": lambda a: functional.tanh_forward(a(3, 4)),
    "tanh_backward": lambda a: functional.tanh_backward(a(3, 4), a(3, 4)),
    "gelu_forward": lambda a: functional.gelu_forward(a(3, 4)),
    "gelu_backward": lambda a: functional.gelu_backward(a(3, 4), a(3, 4), approximate=True),
    "silu_forward": lambda a: functional.silu_forward(a(3, 4)),
    "silu_backward": lambda a: functional.silu_backward(a(3, 4), a(3, 4)),
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
        lambda: functional.global_average_pool_backward(np.zeros((1, 1)), (1, 1, LARGEST, LARGEST)),
        lambda: functional.affine_forward(np.zeros((0, 2**40)), broadcast(2**20, 2**40), np.zeros(3)),
        lambda: convnet.Conv2D(LARGEST, LARGEST, LARGEST, rng=np.random.default_rng(0)),
        lambda: convnet.ConvNet1((1, LARGEST, LARGEST)),
        lambda: convnet.Sequential([convnet.ReLU()], (LARGEST, LARGEST, LARGEST)),
        lambda: convnet.Workspace().memories(Layout([{"y": ((2**40, 2**40), np.float32)}], 1)),
        lambda: convnet.softmax_loss(broadcast(2**40, 2**22), np.zeros(1, int)),
        lambda: convnet.ConvNet1(hidden_size=1).predict(broadcast(2**40, 1, 28, 28)),
    ],
)
def test_sizes_whose_products_overflow_are_refused(call):
    with pytest.raises((ValueError, MemoryError)) as caught:
        call()
    assert "-" not in str(caught.value).replace("2**31 - 1", "")  # no product that went round


def test_lists_and_other_shapes_are_taken_or_named(rng):
    weight = rng.standard_normal((1, 1, 1, 1))
    assert not functional.can_fuse(weight.tolist())
    assert not functional.can_fuse(np.zeros((3, 3), np.float32))
    assert not functional.can_update([[1.0]])
    with pytest.raises(ValueError, match="weight that can_update accepts"):
        functional.affine_update([[1.0]], [[1.0]], [[1.0]], rate=0.1, l2=0)
    with pytest.raises(TypeError, match="Affine: rate: expected a real number, got 'a'"):
        functional.affine_update([[1.0]], [[1.0]], np.ones((1, 1)), rate="a", l2=0)
    with pytest.raises(
        ValueError, match=r"weight_shape \(F, C / groups, KH, KW\): expected a shape of 4 axes, got \(1, 1, 1\)"
    ):
        functional.conv_output_shape((1, 5, 5), (1, 1, 1), (1, 1), (0, 0))
    with pytest.raises(TypeError, match="Conv2D: stride: expected an int or a pair of ints"):
        functional.conv_output_shape((1, 5, 5), (1, 1, 1, 1), "a", (0, 0))
    for shape in ([1, 5, 7], np.array([1, 5, 7])):
        assert functional.conv_output_shape(shape, [2, 1, 3, 3], 1, 0) == (2, 3, 5)
        assert functional.pool_output_shape(shape, (2, 3), (1, 2), (0, 0), "MaxPool2D") == (1, 4, 3)
