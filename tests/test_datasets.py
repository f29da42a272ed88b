"""IDX files, MNIST, preprocessing, and the pickles of prepared data."""

import gzip
import hashlib
import itertools
import pickle
import struct
import tracemalloc
from math import prod
from pathlib import Path

import numpy as np
import pytest

import convnet
from convnet import Statistics, load_mnist, load_prepared, preprocess, read_idx, save_prepared

# The type byte, struct's letter for it, the dtype in native order, and values that the type can hold.
IDX_TYPES = {
    "uint8": (0x08, "B", [0, 255, 7, 128]),
    "int8": (0x09, "b", [-128, 127, -1, 0, 5]),
    "int16": (0x0B, "h", [-32768, 32767, 256, 1, -2]),
    "int32": (0x0C, "i", [-(2**31), 2**31 - 1, 65536, 1, -2]),
    "float32": (0x0D, "f", [-1.5, 0.0, 2.0**-126, 2.0**100, 0.1875]),
    "float64": (0x0E, "d", [-1.5, 1e300, 1e-300, 0.1, 3.0]),
}
SHAPES = [(), (5,), (3, 4), (2, 3, 5), (2, 1, 3, 2), (2, 3, 1, 2, 2)]


def idx_bytes(code, letter, shape, values):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + struct.pack(
        f">{len(values)}{letter}", *values
    )


def idx_of(array):
    """Return the IDX file of a small uint8 array, made from its list of numbers."""
    return idx_bytes(0x08, "B", array.shape, array.ravel().tolist())


@pytest.fixture(params=[bytes, gzip.compress], ids=["plain", "gzipped"])
def packing(request):
    return request.param


# ------------------------------------------------------------------------------------------------ read_idx


@pytest.mark.parametrize("shape", SHAPES, ids=[f"rank {len(shape)}" for shape in SHAPES])
@pytest.mark.parametrize("name", IDX_TYPES)
def test_read_idx_gives_every_type_and_rank(tmp_path, packing, name, shape):
    code, letter, some = IDX_TYPES[name]
    values = list(itertools.islice(itertools.cycle(some), prod(shape)))
    path = tmp_path / "file"
    path.write_bytes(packing(idx_bytes(code, letter, shape, values)))
    array = read_idx(path)
    assert array.shape == shape
    assert array.dtype == np.dtype(name)
    assert array.dtype.isnative
    for index, value in zip(itertools.product(*map(range, shape)), values, strict=True):
        assert array[index] == value
    np.testing.assert_array_equal(read_idx(str(path)), array)


@pytest.mark.parametrize("shape", [(0,), (0, 28, 28), (3, 0, 2)])
def test_read_idx_gives_arrays_without_elements(tmp_path, packing, shape):
    path = tmp_path / "file"
    path.write_bytes(packing(idx_bytes(0x0D, "f", shape, [])))
    array = read_idx(path)
    assert array.shape == shape
    assert array.dtype == np.float32


MALFORMED = {
    "empty": (b"", ["expected an IDX file", "empty file"]),
    "cut in the magic": (b"\0\0\x08", ["expected an IDX file", "got 00 00 08"]),
    "other first bytes": (b"\x01\0\x08\x01\0\0\0\x01a", ["expected an IDX file", "got 01 00 08 01"]),
    "a text": (b"hello, world", ["expected an IDX file", "got 68 65 6c 6c"]),
    "unknown type": (b"\0\0\x0a\x01\0\0\0\x01a", ["08, 09, 0b, 0c, 0d, 0e", "got 00 00 0a 01"]),
    "cut in the header": (b"\0\0\x08\x03" + 10 * b"\0", ["expected 3 dimensions", "got 10 bytes"]),
    "one byte too short": (
        idx_bytes(0x0B, "h", (2, 3), range(6))[:-1],
        ["expected 12 bytes", "(2, 3) of int16", "got 11"],
    ),
    "no content": (idx_bytes(0x08, "B", (3,), []), ["expected 3 bytes", "got 0"]),
    "one byte too long": (idx_bytes(0x08, "B", (2, 3), range(6)) + b"\0", ["expected 6 bytes", "goes on"]),
    "content after no elements": (idx_bytes(0x08, "B", (0, 28, 28), []) + b"\0", ["expected 0 bytes", "goes on"]),
    "above NumPy's ranks": (idx_bytes(0x08, "B", (1,) * 65, [7]), ["expected a rank", "got shape (1, 1, "]),
    "above NumPy's sizes": (idx_bytes(0x08, "B", (0,) + (2**32 - 1,) * 3, []), ["sizes", "(0, 4294967295, "]),
}


@pytest.mark.parametrize(("content", "fragments"), MALFORMED.values(), ids=MALFORMED.keys())
def test_read_idx_refuses_malformed_files(tmp_path, packing, content, fragments):
    path = tmp_path / "odd-file"
    path.write_bytes(packing(content))
    with pytest.raises(ValueError, match="odd-file: expected") as caught:
        read_idx(path)
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ((0xFFFFFFFF,) * 3, b"abc"),
        ((0xFFFFFFFF,) * 255, b"abc"),
        # A gzip file of this size could hold as much, so its content has to be looked at.
        ((30, 1000, 1000), np.random.default_rng(0).bytes(30_000)),
    ],
    ids=["2**96 bytes", "2**8160 bytes", "30 MB"],
)
def test_read_idx_allocates_nothing_for_what_a_header_only_claims(tmp_path, packing, shape, content):
    path = tmp_path / "bomb"
    path.write_bytes(packing(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + content))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"bomb: expected {prod(shape)} bytes"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6


@pytest.mark.parametrize("kept", [2, 3, 9, 10, 15, -20, -9, -8, -1])
def test_read_idx_refuses_truncated_gzip(tmp_path, kept):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(idx_bytes(0x08, "B", (300,), [i * i % 251 for i in range(300)]))[:kept])
    with pytest.raises(ValueError, match=r"cut\.gz: expected a whole gzip file"):
        read_idx(path)


@pytest.mark.parametrize("values", [[i % 5 for i in range(200)], list(np.random.default_rng(0).bytes(200))])
def test_read_idx_refuses_corrupted_gzip(tmp_path, values):
    good = gzip.compress(idx_bytes(0x08, "B", (200,), values), mtime=0)
    path = tmp_path / "corrupted.gz"
    refused = []
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        try:
            array = read_idx(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: expected ")  # noqa: PT017
            refused.append(position)
        else:
            assert array.tolist() == values
    # The first ten bytes hold a time and other things that may change without harm.
    assert set(range(10, len(good))) <= set(refused)


def test_read_idx_refuses_what_follows_the_gzip_content(tmp_path):
    path = tmp_path / "trailing.gz"
    path.write_bytes(gzip.compress(idx_bytes(0x08, "B", (4,), range(4))) + b"garbage")
    with pytest.raises(ValueError, match=r"trailing\.gz: expected a whole gzip file"):
        read_idx(path)


def test_read_idx_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")


# --------------------------------------------------------------------------------------------------- MNIST


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ],
)
def test_the_package_has_the_original_mnist(name, digest):
    path = Path(convnet.__file__).parent / "data" / "mnist" / f"{name}.gz"
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest


def test_mnist_is_60000_and_10000_digits(mnist):
    x_train, y_train, x_test, y_test = mnist
    assert [array.shape for array in mnist] == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    assert [array.dtype for array in mnist] == [np.uint8, np.int64, np.uint8, np.int64]
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert set(y_train.tolist()) == set(y_test.tolist()) == set(range(10))
    assert x_test.max() == 255
    blocks = [block.astype(np.float64) for block in np.split(x_train, 60)]
    mean = np.mean([block.mean() for block in blocks])
    square = np.mean([(block**2).mean() for block in blocks])
    assert mean == pytest.approx(33.3184, abs=1e-3)
    assert np.sqrt(square - mean**2) == pytest.approx(78.5675, abs=1e-3)


SMALL = {
    "train-images-idx3-ubyte": np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2),
    "train-labels-idx1-ubyte": np.array([3, 1, 4, 1, 9], np.uint8),
    "t10k-images-idx3-ubyte": np.arange(100, 100 + 4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2),
    "t10k-labels-idx1-ubyte": np.array([2, 7, 0, 8], np.uint8),
}


def write_small(folder, zipped=(), **changes):
    """Write the four files of a small data set; `changes` replaces arrays or bytes, or leaves files out by None."""
    for position, (name, array) in enumerate(SMALL.items()):
        content = changes.get(name.partition("-idx")[0].replace("-", "_"), array)
        if content is None:
            continue
        raw = content if isinstance(content, bytes) else idx_of(content)
        if position in zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
        else:
            (folder / name).write_bytes(raw)


@pytest.mark.parametrize("zipped", [(), range(4), (1, 2)], ids=["plain", "gzipped", "mixed"])
@pytest.mark.parametrize("as_path", [str, Path])
def test_load_mnist_reads_another_folder(tmp_path, zipped, as_path):
    write_small(tmp_path, zipped)
    arrays = load_mnist(as_path(tmp_path))
    assert [array.dtype for array in arrays] == [np.uint8, np.int64, np.uint8, np.int64]
    for array, expected in zip(arrays, SMALL.values(), strict=True):
        assert array.tolist() == expected.tolist()


def test_load_mnist_takes_labels_below_num_classes(tmp_path):
    write_small(tmp_path, train_labels=np.array([46, 0, 45, 1, 2], np.uint8))
    assert load_mnist(tmp_path, num_classes=47)[1].tolist() == [46, 0, 45, 1, 2]
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte: expected labels in \[0, 46\), got 46 at 0"):
        load_mnist(tmp_path, num_classes=46)
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte: expected labels in \[0, 10\), got 46 at 0"):
        load_mnist(tmp_path)


def test_load_mnist_says_where_a_label_is_too_large(tmp_path):
    write_small(tmp_path, t10k_labels=np.array([0, 9, 10, 200], np.uint8))
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte: expected labels in \[0, 10\), got 10 at 2"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_labels": SMALL["train-labels-idx1-ubyte"][:4]},
            "train-labels-idx1-ubyte: expected 5 labels, .*train-images-idx3-ubyte, got 4",
        ),
        ({"t10k_images": SMALL["t10k-images-idx3-ubyte"][:3]}, "t10k-labels-idx1-ubyte: expected 3 labels, .* got 4"),
        ({"train_images": np.zeros((5, 6), np.uint8)}, r"train-images-.*: expected uint8 of rank 3, .*\(5, 6\)"),
        ({"t10k_labels": np.zeros((4, 1), np.uint8)}, r"t10k-labels-.*: expected uint8 of rank 1, .*\(4, 1\)"),
        ({"t10k_images": idx_bytes(0x09, "b", (4, 3, 2), [1] * 24)}, "t10k-images-.*: expected uint8 .* got int8"),
        ({"train_labels": idx_bytes(0x0C, "i", (5,), [1] * 5)}, "train-labels-.*: expected uint8 .* got int32"),
        ({"t10k_labels": b""}, "t10k-labels-idx1-ubyte: expected an IDX file"),
    ],
    ids=["labels", "images", "images' rank", "labels' rank", "images' type", "labels' type", "empty"],
)
def test_load_mnist_names_the_file_that_is_wrong(tmp_path, changes, message):
    write_small(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_mnist(tmp_path)


def test_load_mnist_refuses_test_images_of_another_size(tmp_path):
    write_small(tmp_path, t10k_images=np.zeros((4, 2, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"expected training and test images of one size, .*\(3, 2\).*\(2, 3\)"
    ) as caught:
        load_mnist(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("missing", ["train_images", "train_labels", "t10k_images", "t10k_labels"])
def test_load_mnist_names_a_missing_file(tmp_path, missing):
    write_small(tmp_path, **{missing: None})
    with pytest.raises(FileNotFoundError, match=missing.replace("_", "-")):
        load_mnist(tmp_path)


def test_load_mnist_names_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_mnist(tmp_path / "absent")


@pytest.mark.parametrize(("num_classes", "error"), [(0, ValueError), ("ten", TypeError), (True, TypeError)])
def test_load_mnist_refuses_other_numbers_of_classes(tmp_path, num_classes, error):
    write_small(tmp_path)
    with pytest.raises(error, match="num_classes: expected"):
        load_mnist(tmp_path, num_classes=num_classes)


# ------------------------------------------------------------------------------------------- preprocessing

KEYS = ["x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test"]


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


def small_data(channels=0, seed=0):
    """Return random images, not square, in which some pixels hardly vary, and labels; all of it read-only."""
    rng = np.random.default_rng(seed)
    tail = (channels,) if channels else ()
    x_train = rng.integers(0, 256, (16, 5, 7, *tail), dtype=np.uint8)
    x_train[:, 0, 0] = 200  # never varies
    x_train[:, 1, 2] = 30
    x_train[3, 1, 2] = 33  # deviates by less than a grey level
    x_train[:, 4, 6] = rng.integers(100, 104, (16, *tail))  # deviates by about one
    arrays = (
        x_train,
        rng.integers(0, 5, 16),
        rng.integers(0, 256, (9, 5, 7, *tail), dtype=np.uint8),
        rng.integers(0, 5, 9).astype(np.int32),
    )
    for array in arrays:
        array.flags.writeable = False
    return arrays


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


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7, 1, 1)])
def test_statistics_refuse_other_ranks(shape):
    _, statistics = preprocess(*small_data(), num_validation=4, num_test=None)
    with pytest.raises(ValueError, match="expected images of shape"):
        statistics.apply(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8, bool])
def test_statistics_refuse_other_dtypes(dtype):
    _, statistics = preprocess(*small_data(), num_validation=4, num_test=None)
    with pytest.raises(TypeError, match="expected images of dtype uint8"):
        statistics.apply(np.zeros((2, 5, 7), dtype))


# ----------------------------------------------------------------------------------- pickles of prepared data


@pytest.fixture
def small():
    return preprocess(*small_data(), num_validation=4, num_test=None)


@pytest.mark.parametrize("channels", [0, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("num_validation", [0, 4])
@pytest.mark.parametrize("as_path", [str, Path])
@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"per_pixel_std": True},
        {"subtract_mean": False},
        {"divide_by_std": False, "divide_by_255": False},
        {"subtract_mean": False, "divide_by_std": False},
    ],
    ids=["default", "per pixel", "no mean", "mean alone", "255 alone"],
)
def test_prepared_data_comes_back(tmp_path, channels, num_validation, as_path, switches):
    inputs = small_data(channels)
    data, statistics = preprocess(*inputs, num_validation=num_validation, num_test=None, **switches)
    path = as_path(tmp_path / "prepared.pickle")
    save_prepared(path, data, statistics)
    again, loaded = load_prepared(path)
    assert list(again) == KEYS
    for key in KEYS:
        assert again[key].dtype == data[key].dtype
        assert again[key].shape == data[key].shape
        assert again[key].tobytes() == data[key].tobytes()
    assert isinstance(loaded, Statistics)
    assert loaded.divide_by_255 is statistics.divide_by_255
    for name in ("mean", "std"):
        before, after = getattr(statistics, name), getattr(loaded, name)
        assert (before is None) == (after is None)
        if before is not None:
            assert after.shape == before.shape
            assert after.tobytes() == before.tobytes()
    assert loaded.apply(inputs[2]).tobytes() == data["x_test"].tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["prepared.pickle"]


def test_prepared_data_is_saved_in_any_layout(tmp_path, small):
    data, statistics = small
    strided = {key: np.repeat(array, 2, axis=0)[::2] for key, array in data.items()}
    strided["x_train"] = np.asfortranarray(data["x_train"])
    save_prepared(tmp_path / "file", strided, statistics)
    again, _ = load_prepared(tmp_path / "file")
    for key in KEYS:
        assert again[key].tolist() == data[key].tolist()


def without(data, key):
    return {name: array for name, array in data.items() if name != key}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data, statistics: (without(data, "y_test"), statistics), ValueError),
        (lambda data, statistics: (data | {"more": data["x_test"]}, statistics), ValueError),
        (lambda data, statistics: (data | {"x_test": data["x_test"].astype(np.float64)}, statistics), ValueError),
        (lambda data, statistics: (data | {"y_test": data["y_test"][1:]}, statistics), ValueError),
        # Fails in the middle of writing: a function of this kind cannot be pickled.
        (
            lambda data, statistics: (data, Statistics((1, 5, 7), True, lambda: 0, None)),
            (pickle.PicklingError, AttributeError, TypeError, ValueError),
        ),
    ],
    ids=["missing key", "one more", "dtype", "labels", "unpicklable"],
)
def test_a_failing_save_keeps_the_old_file_and_leaves_no_other(tmp_path, small, change, error):
    path = tmp_path / "prepared.pickle"
    save_prepared(path, *small)
    before = path.read_bytes()
    with pytest.raises(error):
        save_prepared(path, *change(*small))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["prepared.pickle"]


def test_a_failing_save_makes_no_file(tmp_path, small):
    with pytest.raises(ValueError, match="save_prepared: expected a dictionary"):
        save_prepared(tmp_path / "prepared.pickle", without(small[0], "x_train"), small[1])
    assert not list(tmp_path.iterdir())


def test_load_prepared_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_prepared(tmp_path / "absent")


def test_load_prepared_refuses_every_truncation(tmp_path, small):
    path = tmp_path / "cut.pickle"
    save_prepared(path, *small)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 101), len(whole) - 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.pickle: expected a pickle of prepared data"):
            load_prepared(path)


@pytest.mark.parametrize("seed", range(10))
def test_load_prepared_refuses_random_bytes(tmp_path, seed):
    path = tmp_path / "noise"
    path.write_bytes(np.random.default_rng(seed).bytes(1000))
    with pytest.raises(ValueError, match="noise: expected a pickle of prepared data"):
        load_prepared(path)


def replaced(part, **changes):
    return lambda content: content | {part: content[part] | changes}


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [1, 2, 3],
        lambda content: None,
        lambda content: {},
        lambda content: content["data"],
        lambda content: content | {"more": 1},
        lambda content: content | {"data": None},
        lambda content: content | {"data": [1, 2]},
        lambda content: content | {"data": without(content["data"], "x_train")},
        replaced("data", more=np.zeros(3)),
        replaced("data", x_train=None),
        replaced("data", x_train="images"),
        replaced("data", x_train=np.zeros((12, 1, 5, 7))),
        replaced("data", x_train=np.zeros((12, 5, 7), np.float32)),
        replaced("data", x_test=np.zeros((9, 1, 5, 7), ">f4")),
        replaced("data", y_train=np.zeros(12, np.int32)),
        replaced("data", y_train=np.zeros((12, 1), np.int64)),
        replaced("data", y_train=np.zeros(11, np.int64)),
        replaced("data", y_train=[0] * 12),
        lambda content: content | {"statistics": None},
        lambda content: content | {"statistics": {}},
        lambda content: content | {"statistics": {1: 2, "mean": None, None: 3}},
        replaced("statistics", more=1),
        replaced("statistics", image_shape=(5, 7)),
        replaced("statistics", image_shape=None),
        replaced("statistics", image_shape=(1, 7, 5)),
        replaced("statistics", divide_by_255=1),
        replaced("statistics", mean=np.zeros((1, 5, 7))),
        replaced("statistics", mean=np.zeros((5, 7), np.float32)),
        replaced("statistics", mean=0.5),
        replaced("statistics", std=0.5),
        replaced("statistics", std=np.zeros(7, np.float32)),
    ],
    ids=[
        *["list", "none", "no keys", "data alone", "one more key", "data none", "data list", "missing array"],
        *["one more array", "x none", "x string", "x dtype", "x rank", "x byte order", "y dtype", "y rank"],
        *["y length", "y list", "statistics none", "statistics empty", "statistics keys", "statistics more"],
        *[
            "shape rank",
            "shape none",
            "shape other",
            "divide_by_255",
            "mean dtype",
            "mean rank",
            "mean number",
            "std number",
            "std rank",
        ],
    ],
)
def test_load_prepared_refuses_other_pickles(tmp_path, small, change):
    data, statistics = small
    content = {
        "data": data,
        "statistics": {
            "image_shape": (1, 5, 7),
            "divide_by_255": True,
            "mean": statistics.mean,
            "std": statistics.std,
        },
    }
    path = tmp_path / "other.pickle"
    path.write_bytes(pickle.dumps(content, protocol=5))
    load_prepared(path)  # is well before the change
    path.write_bytes(pickle.dumps(change(content), protocol=5))
    with pytest.raises(ValueError, match=r"other\.pickle: expected"):
        load_prepared(path)


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
