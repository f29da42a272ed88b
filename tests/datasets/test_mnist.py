"""MNIST, and data sets of its four files."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from cases import idx_bytes, idx_of

import convnet
from convnet import load_mnist


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
    path = Path(convnet.__file__).parent / "datasets" / "mnist" / f"{name}.gz"
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
