"""Every public function against its plain loops, over shapes, layouts and values that hypothesis chooses."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cases import LAYOUTS, needs_fusion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convnet import functional, naive
from convnet.layers.labels import BinaryLabels, labels_of
from convnet.layers.losses import LOSSES

settings.register_profile(
    "convnet", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("convnet")

SIZES = st.integers(1, 4)
DTYPES = st.sampled_from([np.float32, np.float64, np.float16, np.int16, np.uint8])
SPECIAL = st.sampled_from([None, None, None, np.nan, np.inf, -np.inf])


@st.composite
def arrays(draw, shape, dtypes=DTYPES, special=SPECIAL):
    """Draw an array as a user may hand it in: small integers, so that float32 is exact, and one value that is not."""
    rng, dtype = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), np.dtype(draw(dtypes))
    array = rng.integers(0 if dtype.kind == "u" else -4, 5, shape).astype(dtype)
    value = draw(special)
    if value is not None and array.size and dtype.kind == "f":
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = value
    return LAYOUTS[draw(st.sampled_from([name for name in LAYOUTS if name != "list"]))](array)


NUMBERS = st.none()


@st.composite
def paddings(draw, kernel):
    """Draw padding below the kernel: (height, width), or ((top, bottom), (left, right))."""
    if draw(st.booleans()):
        return tuple(draw(st.integers(0, k - 1)) for k in kernel)
    return tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)


def padded(size, padding):
    """Return the size of an image with its padding."""
    return [s + (sum(p) if isinstance(p, tuple) else 2 * p) for s, p in zip(size, padding, strict=True)]


@st.composite
def windows(draw):
    """Draw the sizes of images, and windows that fit: (N, C, H, W), kernel size, stride, padding."""
    kernel, stride = (draw(SIZES), draw(SIZES)), (draw(SIZES), draw(SIZES))
    padding = draw(paddings(kernel))
    least = [max(1, k - p) for k, p in zip(kernel, padded((0, 0), padding), strict=True)]
    size = tuple(smallest + draw(st.integers(0, 6)) for smallest in least)
    return (draw(st.integers(0, 3)), draw(st.integers(1, 3)), *size), kernel, stride, padding


def same(results, expected):
    """Compare results with those of the loops; the functions compute in float32 where these have float64."""
    results, expected = ((a,) if not isinstance(a, tuple) else a for a in (results, expected))
    for result, true in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, true, rtol=2e-5, atol=1e-5)


def plain(array):
    return np.asarray(array, np.float64)


@given(st.data())
def test_convolution(data):
    (n, of_group, *size), kernel, stride, padding = data.draw(windows())
    dilation, groups = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))), data.draw(st.integers(1, 3))
    size = [s + (k - 1) * (d - 1) for s, k, d in zip(size, kernel, dilation, strict=True)]
    shape, filters = (n, of_group * groups, *size), data.draw(SIZES) * groups
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    # A NaN of a filter makes NaN of the zeros around an image; the loops leave these out.
    x, weight = data.draw(arrays(shape)), data.draw(arrays((filters, of_group, *kernel), special=NUMBERS))
    bias = data.draw(arrays((filters,)))
    with np.errstate(invalid="ignore"):
        y = functional.conv2d_forward(x, weight, bias, **options)
        true = naive.conv2d_forward(plain(x), plain(weight), plain(bias), **options)
        same(y, true)
        dy = data.draw(arrays(y.shape, special=NUMBERS))
        same(
            functional.conv2d_backward(dy, x, weight, **options),
            naive.conv2d_backward(plain(dy), plain(x), plain(weight), **options),
        )


@pytest.mark.parametrize("kind", ["max", "average"])
@given(data=st.data())
def test_pooling(data, kind):
    shape, kernel, stride, padding = data.draw(windows())
    x = data.draw(arrays(shape))
    options = {"stride": stride, "padding": padding, "ceil_mode": data.draw(st.booleans())}
    with np.errstate(invalid="ignore"):
        if kind == "max":
            y, argmax = functional.max_pool2d_forward(x, kernel, **options)
            same((y, argmax), naive.max_pool2d_forward(plain(x), kernel, **options))
            dy = data.draw(arrays(y.shape))
            same(functional.max_pool2d_backward(dy, argmax, shape), naive.max_pool2d_backward(plain(dy), argmax, shape))
        else:
            options |= {"count_padding": data.draw(st.booleans())}
            y = functional.average_pool2d_forward(x, kernel, **options)
            same(y, naive.average_pool2d_forward(plain(x), kernel, **options))
            dy = data.draw(arrays(y.shape))
            same(
                functional.average_pool2d_backward(dy, shape, kernel, **options),
                naive.average_pool2d_backward(plain(dy), shape, kernel, **options),
            )


@given(st.data())
def test_global_pooling(data):
    shape = data.draw(windows())[0]
    x, dy = data.draw(arrays(shape)), data.draw(arrays(shape[:2]))
    same(functional.global_average_pool_forward(x), naive.global_average_pool_forward(plain(x)))
    same(functional.global_average_pool_backward(dy, shape), naive.global_average_pool_backward(plain(dy), shape))


@given(st.data())
def test_affine(data):
    n, m = data.draw(st.integers(0, 20)), data.draw(st.integers(1, 500))
    shape = (n, *data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    d = int(np.prod(shape[1:]))
    # Products may leave out zeros, with which NaN and infinity would make NaN.
    x, weight = data.draw(arrays(shape, special=NUMBERS)), data.draw(arrays((d, m), special=NUMBERS))
    bias, dy = data.draw(arrays((m,))), data.draw(arrays((n, m), special=NUMBERS))
    y = functional.affine_forward(x, weight, bias)
    same(y, np.reshape(plain(x), (n, d)) @ plain(weight) + plain(bias))
    flat = np.reshape(plain(x), (n, d))
    expected = ((plain(dy) @ plain(weight).T).reshape(shape), flat.T @ plain(dy), plain(dy).sum(axis=0))
    same(functional.affine_backward(dy, x, weight), expected)


@given(st.data())
def test_activations(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    x, dy = data.draw(arrays(shape)), data.draw(arrays(shape))
    with np.errstate(invalid="ignore", over="ignore"):
        y = functional.relu_forward(x)
        same(y, naive.relu_forward(plain(x)))
        same(functional.relu_backward(dy, y), naive.relu_backward(plain(dy), plain(y)))
        same(functional.sigmoid_forward(x), naive.sigmoid_forward(plain(x)))
        slope = data.draw(st.sampled_from([0, 0.125, 1, 2]))
        same(functional.leaky_relu_forward(x, slope), naive.leaky_relu_forward(plain(x), slope))
        same(functional.leaky_relu_backward(dy, x, slope), naive.leaky_relu_backward(plain(dy), plain(x), slope))
        same(functional.tanh_forward(x), naive.tanh_forward(plain(x)))
        same(functional.silu_forward(x), naive.silu_forward(plain(x)))
        approximate = data.draw(st.booleans())
        same(functional.gelu_forward(x, approximate), naive.gelu_forward(plain(x), approximate))
        if np.isfinite(plain(x)).all():
            same(functional.sigmoid_backward(dy, x), naive.sigmoid_backward(plain(dy), plain(x)))
            same(functional.tanh_backward(dy, x), naive.tanh_backward(plain(dy), plain(x)))
            same(functional.silu_backward(dy, x), naive.silu_backward(plain(dy), plain(x)))
            expected = naive.gelu_backward(plain(dy), plain(x), approximate)
            same(functional.gelu_backward(dy, x, approximate), expected)


@given(st.data())
def test_batch_norm(data):
    channels = data.draw(st.integers(1, 4))
    pixels = data.draw(st.sampled_from([(), (2, 3), (1, 1), (7, 11)]))
    shape = (data.draw(st.integers(0, 5)), channels, *pixels)
    weight, bias = (data.draw(arrays(channels, special=NUMBERS)) for _ in range(2))
    epsilon = data.draw(st.floats(0.1, 2))
    x, dy = data.draw(arrays(shape, special=NUMBERS)), data.draw(arrays(shape, special=NUMBERS))
    y, *moments = functional.batch_norm2d_forward(x, weight, bias, epsilon=epsilon)
    true = naive.batch_norm2d_forward(plain(x), plain(weight), plain(bias), epsilon=epsilon)
    same((y, *moments), true)
    given_moments = {"mean": data.draw(arrays(channels, special=NUMBERS)), "variance": np.arange(channels)}
    y, *_ = functional.batch_norm2d_forward(x, weight, bias, epsilon=epsilon, **given_moments)
    plain_moments = {name: plain(array) for name, array in given_moments.items()}
    same(y, naive.batch_norm2d_forward(plain(x), plain(weight), plain(bias), epsilon=epsilon, **plain_moments)[0])
    found = functional.batch_norm2d_backward(dy, x, weight, *moments, epsilon=epsilon)
    same(found, naive.batch_norm2d_backward(plain(dy), plain(x), plain(weight), *true[1:], epsilon=epsilon))


@pytest.mark.parametrize("name", LOSSES)
@given(data=st.data())
def test_losses(data, name):
    n, k = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    scores = data.draw(arrays((n, k), special=NUMBERS))
    labels = LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))](
        np.array(
            data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)), data.draw(st.sampled_from("bBhiq"))
        )
    )
    if isinstance(labels_of(LOSSES[name]), BinaryLabels):
        labels = np.asarray(labels)[:, None] > np.arange(k)
    same(LOSSES[name](scores, labels), getattr(naive, name)(plain(scores), np.asarray(labels)))


@given(st.data())
def test_softmax(data):
    shape = (data.draw(st.integers(0, 4)), data.draw(st.integers(1, 5)))
    scores = data.draw(arrays(shape, special=NUMBERS))
    powers = np.exp(plain(scores))
    same(functional.softmax(scores), powers / powers.sum(axis=1, keepdims=True))


@given(st.data())
def test_dropout(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    x, dy = data.draw(arrays(shape)), data.draw(arrays(shape))
    rate, seed = data.draw(st.floats(0, 0.99)), data.draw(st.integers(0, 99))
    with np.errstate(invalid="ignore"):
        y, kept = functional.dropout_forward(x, rate, np.random.default_rng(seed))
        true, true_kept = naive.dropout_forward(plain(x), rate, np.random.default_rng(seed))
        np.testing.assert_array_equal(kept, true_kept)
        same(y, true)
        same(functional.dropout_backward(dy, kept, rate), naive.dropout_backward(plain(dy), kept, rate))


@given(st.data())
def test_warp(data):
    n, c = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 2))
    x = data.draw(arrays((n, c, data.draw(SIZES), data.draw(SIZES)), special=NUMBERS))
    maps = data.draw(arrays((n, 2, 3), special=NUMBERS))
    same(functional.warp(x, maps), naive.warp(plain(x), plain(maps)))


@needs_fusion
@given(st.data())
def test_fused_convolution(data):
    kernel = (data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7)))
    padding = data.draw(paddings(kernel))
    least = [max(2, k + 1 - p) for k, p in zip(kernel, padded((0, 0), padding), strict=True)]
    size = tuple(smallest + data.draw(st.integers(0, 9)) for smallest in least)
    n, c, f = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 18))
    x, bias = data.draw(arrays((n, c, *size), special=NUMBERS)), data.draw(arrays((f,), special=NUMBERS))
    weight = plain(data.draw(arrays((f, c, *kernel), special=NUMBERS))).astype(np.float32)
    y, argmax = functional.conv_relu_pool_forward(x, weight, bias, padding=padding)
    between = naive.relu_forward(naive.conv2d_forward(plain(x), plain(weight), plain(bias), padding=padding))
    true, indices = naive.max_pool2d_forward(between, 2)
    same(y, true)
    dy = data.draw(arrays(y.shape, special=NUMBERS))
    dbetween = naive.relu_backward(naive.max_pool2d_backward(plain(dy), indices, between.shape), between)
    expected = naive.conv2d_backward(dbetween, plain(x), plain(weight), padding=padding)
    same(functional.conv_relu_pool_backward(dy, argmax, x, weight, padding=padding), expected)


@given(st.data())
def test_affine_update(data):
    n, d, m = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40)), data.draw(st.integers(1, 70))
    x, dy = data.draw(arrays((n, d), special=NUMBERS)), data.draw(arrays((n, m), special=NUMBERS))
    weight = plain(data.draw(arrays((d, m), special=NUMBERS))).astype(data.draw(st.sampled_from([np.float32, float])))
    rate, l2 = data.draw(st.sampled_from([0, 0.125, 1])), data.draw(st.sampled_from([0, 0.5]))
    expected = (plain(dy) @ plain(weight).T, plain(dy).sum(axis=0), 0.5 * l2 * (plain(weight) ** 2).sum())
    updated = plain(weight) - rate * (plain(x).T @ plain(dy) + l2 * plain(weight))
    if functional.can_update(weight):
        same(functional.affine_update(dy, x, weight, rate=rate, l2=l2), expected)
        same(weight, updated)


def test_every_public_function_has_a_property():
    text = Path(__file__).read_text("utf-8")
    names = [
        name for name in functional.__all__ if name.endswith(("_forward", "_backward", "_update", "softmax", "warp"))
    ]
    assert len(names) >= 21
    assert [name for name in names if f"functional.{name}(" not in text] == []


@given(st.data())
def test_wrong_shapes_are_one_clear_error(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=5)))
    other = tuple(data.draw(st.lists(st.integers(0, 3), max_size=5)))
    x, weight, bias = np.zeros(shape), np.zeros(other), np.zeros(data.draw(st.integers(0, 3)))
    calls = [
        lambda: functional.conv2d_forward(x, weight, bias),
        lambda: functional.conv2d_backward(x, weight, weight),
        lambda: functional.affine_forward(x, weight, bias),
        lambda: functional.affine_backward(x, weight, weight),
        lambda: functional.max_pool2d_forward(x, 2),
        lambda: functional.average_pool2d_forward(x, 2),
        lambda: functional.max_pool2d_backward(x, np.zeros(other, int), shape),
        lambda: functional.global_average_pool_forward(x),
        lambda: functional.global_average_pool_backward(x, other),
        lambda: functional.relu_backward(x, weight),
        lambda: functional.sigmoid_backward(x, weight),
        lambda: functional.leaky_relu_backward(x, weight),
        lambda: functional.tanh_backward(x, weight),
        lambda: functional.gelu_backward(x, weight),
        lambda: functional.silu_backward(x, weight),
        lambda: functional.warp(x, weight),
        lambda: functional.batch_norm2d_forward(x, weight, bias),
        lambda: functional.batch_norm2d_backward(x, x, weight, bias, bias),
        *(partial(loss, x, np.zeros(other, int)) for loss in LOSSES.values()),
    ]
    for call in calls:
        try:
            call()
        except (ValueError, TypeError) as error:
            assert "expected" in str(error) or "expects" in str(error), error  # noqa: PT017
