"""Preprocessing and its statistics."""

import itertools

import numpy as np
import pytest
from cases import KEYS, small_data

from convnet import preprocess


@pytest.fixture(scope="module")
def prepared(mnist):
    return preprocess(*mnist)


def test_mnist_prepared_by_default(mnist, prepared):
    x_train, y_train, x_test, y_test = mnist
    data, statistics = prepared
    assert list(data) == KEYS
    assert [data[key].shape for key in KEYS] == [
        *[(59000, 1, 28, 28), (59000,)],
        *[(1000, 1, 28, 28), (1000,)],
        *[(1000, 1, 28, 28), (1000,)],
    ]
    assert [data[key].dtype for key in KEYS] == 3 * [np.float32, np.int64]
    assert all(data[key].flags.c_contiguous for key in KEYS)

    mean = np.mean([block.mean(axis=0, dtype=np.float64) for block in np.split(x_train[:59000], 59)], axis=0) / 255
    pixel = np.mean([block.mean(dtype=np.float64) for block in np.split(x_train[:59000], 59)])
    square = np.mean([np.square(block, dtype=np.float64).mean() for block in np.split(x_train[:59000], 59)])
    std = np.sqrt(square - pixel**2) / 255
    np.testing.assert_allclose(statistics.mean, mean[None], rtol=1e-6)
    np.testing.assert_allclose(statistics.std, std, rtol=1e-6)
    for part, images, some in (
        ("train", x_train[:59000], [0, 7, 12345, 58999]),
        ("validation", x_train[59000:], [0, 500, 999]),
        ("test", x_test[:1000], [0, 321, 999]),
    ):
        oracle = (images[some].astype(np.float64) / 255 - mean) / std
        np.testing.assert_allclose(data[f"x_{part}"][some, 0], oracle, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data["y_train"], y_train[:59000])
    np.testing.assert_array_equal(data["y_validation"], y_train[59000:])
    np.testing.assert_array_equal(data["y_test"], y_test[:1000])


def test_mnist_statistics_prepare_new_images_bit_for_bit(mnist, prepared):
    data, statistics = prepared
    assert statistics.apply(mnist[2][:1000]).tobytes() == data["x_test"].tobytes()
    assert statistics.apply(mnist[2][5:6]).tobytes() == data["x_test"][5:6].tobytes()


def channels_first(images):
    """Return images (N, H, W) or (N, H, W, C) as float64 (N, C, H, W), copied pixel by pixel."""
    n, h, w, c = (*images.shape, 1)[:4]
    planes = np.empty((n, c, h, w))
    for i, j, k, m in itertools.product(range(n), range(c), range(h), range(w)):
        planes[i, j, k, m] = images[i, k, m] if images.ndim == 3 else images[i, k, m, j]
    return planes


@pytest.mark.parametrize("channels", [0, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("per_pixel_std", [False, True])
@pytest.mark.parametrize("divide_by_std", [False, True])
@pytest.mark.parametrize("subtract_mean", [False, True])
@pytest.mark.parametrize("divide_by_255", [False, True])
def test_preprocess_takes_the_steps_that_are_switched_on(
    divide_by_255, subtract_mean, divide_by_std, per_pixel_std, channels
):
    x_train, y_train, x_test, y_test = small_data(channels)
    data, statistics = preprocess(
        *(x_train, y_train, x_test, y_test),
        num_validation=4,
        num_test=6,
        divide_by_255=divide_by_255,
        subtract_mean=subtract_mean,
        divide_by_std=divide_by_std,
        per_pixel_std=per_pixel_std,
    )
    train, test = channels_first(x_train), channels_first(x_test)
    unit = 255 if divide_by_255 else 1
    mean = train[:12].mean(axis=0) / unit if subtract_mean else 0
    deviation = np.std(train[:12], axis=0) if per_pixel_std else np.std(train[:12])
    std = np.where(per_pixel_std & (deviation < 1), 1, deviation / unit) if divide_by_std else 1
    if per_pixel_std:
        assert (deviation < 1).any()
        assert ((deviation >= 1) & (deviation < 2)).any()
    for part, planes in (("train", train[:12]), ("validation", train[12:]), ("test", test[:6])):
        x = data[f"x_{part}"]
        assert x.dtype == np.float32
        assert x.flags.c_contiguous
        np.testing.assert_allclose(x, (planes / unit - mean) / std, rtol=1e-5, atol=3e-5)
    assert data["y_train"].tolist() == y_train[:12].tolist()
    assert data["y_validation"].tolist() == y_train[12:].tolist()
    assert data["y_test"].tolist() == y_test[:6].tolist()

    assert statistics.divide_by_255 is divide_by_255
    assert (statistics.mean is not None) == subtract_mean
    assert (statistics.std is not None) == divide_by_std
    assert statistics.apply(x_test[:6]).tobytes() == data["x_test"].tobytes()


def test_preprocess_of_constant_images_is_finite():
    images = np.full((6, 3, 4), 77, np.uint8)
    data, _ = preprocess(images, [0] * 6, images, [0] * 6, num_validation=2, num_test=None)
    assert all((data[key] == 0).all() for key in ("x_train", "x_validation", "x_test"))


def test_statistics_come_from_the_training_part_alone():
    x_train, y_train, x_test, y_test = small_data()
    options = {"num_validation": 4, "num_test": None, "per_pixel_std": True}
    data, statistics = preprocess(x_train, y_train, x_test, y_test, **options)
    other_train = x_train.copy()
    other_train[12:] = 255 - other_train[12:]
    other, same = preprocess(other_train, y_train, 255 - x_test, y_test, **options)
    assert same.mean.tobytes() == statistics.mean.tobytes()
    assert same.std.tobytes() == statistics.std.tobytes()
    assert other["x_train"].tobytes() == data["x_train"].tobytes()
    assert other["x_validation"].tobytes() != data["x_validation"].tobytes()
    other_train[11] = 255 - other_train[11]
    assert preprocess(other_train, y_train, x_test, y_test, **options)[1].mean.tobytes() != statistics.mean.tobytes()


def test_preprocess_splits_as_asked():
    x_train, y_train, x_test, y_test = small_data()
    y_train, y_test = np.zeros_like(y_train), np.zeros_like(y_test)
    data, statistics = preprocess(x_train, y_train, x_test, y_test, num_validation=0, num_test=None)
    assert [len(data[key]) for key in KEYS] == [16, 16, 0, 0, 9, 9]
    assert data["x_validation"].shape == (0, 1, 5, 7)
    np.testing.assert_allclose(statistics.mean[0], x_train.mean(axis=0) / 255, rtol=1e-6)
    data, _ = preprocess(x_train, y_train, x_test, y_test, num_validation=15, num_test=9)
    assert [len(data[key]) for key in KEYS] == [1, 1, 15, 15, 9, 9]
    data, _ = preprocess(x_train, y_train, x_test, y_test, num_validation=np.int64(1), num_test=np.int64(1))
    assert [len(data[key]) for key in KEYS] == [15, 15, 1, 1, 1, 1]


@pytest.mark.parametrize("channels", [0, 3])
def test_preprocess_neither_changes_nor_shares_its_inputs(channels):
    inputs = [array.copy() for array in small_data(channels)]
    inputs[3] = inputs[3].astype(np.int64)
    before = [array.tobytes() for array in inputs]
    data, statistics = preprocess(*inputs, num_validation=4, num_test=None)
    for array in [*data.values(), statistics.mean, statistics.std]:
        assert not any(np.shares_memory(array, given) for given in inputs)
        array[...] = 99
    assert [array.tobytes() for array in inputs] == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_validation": 16}, ValueError, "num_validation: expected fewer than the 16 training images, got 16"),
        ({"num_validation": 17}, ValueError, "num_validation: expected fewer than the 16"),
        ({"num_validation": -1}, ValueError, "num_validation: expected at least 0, got -1"),
        ({"num_validation": 1.5}, TypeError, "num_validation: expected an integer"),
        ({"num_test": 10}, ValueError, "num_test: expected at most the 9 test images, got 10"),
        ({"num_test": 0}, ValueError, "num_test: expected at least 1, got 0"),
        ({"num_test": True}, TypeError, "num_test: expected an integer"),
        ({"y_train": [0] * 15}, ValueError, r"expected 16 labels, .* got shape \(15,\)"),
        ({"y_test": [[0]] * 9}, ValueError, r"expected 9 labels, .* got shape \(9, 1\)"),
        ({"y_train": [0.0] * 16}, TypeError, "expected integer labels, got dtype float64"),
        ({"y_test": ["a"] * 9}, TypeError, "expected integer labels"),
        ({"x_train": np.zeros((16, 5, 7))}, TypeError, "expected images of dtype uint8, got float64"),
        ({"x_test": np.zeros((9, 5, 7), np.int64)}, TypeError, "expected images of dtype uint8, got int64"),
        ({"x_test": np.zeros((9, 7, 5), np.uint8)}, ValueError, "expected training and test images of one size"),
        ({"x_test": np.zeros((9, 5, 7, 3), np.uint8)}, ValueError, "expected training and test images of one size"),
        ({"x_train": np.zeros((16, 35), np.uint8)}, ValueError, r"expected images of shape .* got \(16, 35\)"),
    ],
)
def test_preprocess_refuses_what_does_not_fit(changes, error, message):
    arguments = dict(zip(["x_train", "y_train", "x_test", "y_test"], small_data(), strict=True))
    with pytest.raises(error, match=message):
        preprocess(**(arguments | {"num_validation": 4, "num_test": None} | changes))


def test_statistics_do_not_depend_on_the_layout():
    x_train, y_train, x_test, y_test = small_data(3)
    data, statistics = preprocess(x_train, y_train, x_test, y_test, num_validation=4, num_test=None)
    for images in (np.asfortranarray(x_test), np.ascontiguousarray(x_test[:, :, ::-1])[:, :, ::-1]):
        assert statistics.apply(images).tobytes() == data["x_test"].tobytes()
    turned, same = preprocess(np.asfortranarray(x_train), y_train, x_test, y_test, num_validation=4, num_test=None)
    assert turned["x_train"].tobytes() == data["x_train"].tobytes()
    assert same.mean.tobytes() == statistics.mean.tobytes()


@pytest.mark.parametrize("subtract_mean", [True, False], ids=["with a mean image", "without"])
@pytest.mark.parametrize("shape", [(2, 7, 5), (2, 5, 8), (2, 5, 7, 3)])
def test_statistics_refuse_images_of_another_size(shape, subtract_mean):
    _, statistics = preprocess(*small_data(), num_validation=4, num_test=None, subtract_mean=subtract_mean)
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 5, 7\)"):
        statistics.apply(np.zeros(shape, np.uint8))


def test_faint_images_are_normalised_too_and_constant_ones_stay():
    rng = np.random.default_rng(0)
    labels = np.zeros(9, int)
    faint = rng.integers(0, 2, (9, 5, 7), dtype=np.uint8)
    data, _ = preprocess(faint, labels, faint, labels, num_validation=1, num_test=1, subtract_mean=False)
    assert data["x_train"].std() == pytest.approx(1, rel=1e-5)
    constant = np.full((9, 5, 7), 51, np.uint8)
    data, _ = preprocess(constant, labels, constant, labels, num_validation=1, num_test=1, subtract_mean=False)
    np.testing.assert_allclose(data["x_train"], 0.2, rtol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (2, 5, 7, 1, 1)])
def test_statistics_refuse_other_ranks(shape):
    _, statistics = preprocess(*small_data(), num_validation=4, num_test=None)
    with pytest.raises(ValueError, match="expected images of shape"):
        statistics.apply(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8, bool])
def test_statistics_refuse_other_dtypes(dtype):
    _, statistics = preprocess(*small_data(), num_validation=4, num_test=None)
    with pytest.raises(TypeError, match="expected images of dtype uint8"):
        statistics.apply(np.zeros((2, 5, 7), dtype))


@pytest.mark.slow  # half a gigabyte
def test_moments_of_so_many_images_that_products_need_more_than_64_bits_are_right():
    count = 30_000_000
    images = np.zeros((count, 1, 1), np.uint8)
    images[::2] = 255
    labels = np.broadcast_to(np.int8(0), count)
    for per_pixel in (False, True):
        _, statistics = preprocess(
            images, labels, images[:1], labels[:1], num_validation=0, num_test=None, per_pixel_std=per_pixel
        )
        np.testing.assert_allclose(statistics.std, 0.5)
