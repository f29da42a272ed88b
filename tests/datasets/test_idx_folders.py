"""Data sets in four IDX files under the names of MNIST, KMNIST and EMNIST."""

import shutil

import numpy as np
import pytest
from data_files import IDX_NAMES, write_idx
from data_files import write_idx_files as write

from convnet import load_idx


@pytest.mark.parametrize("kind", IDX_NAMES)
def test_each_naming_is_read(tmp_path, rng, kind):
    written = write(tmp_path / "set", IDX_NAMES[kind], rng, first=1)
    parts = load_idx(tmp_path / "set")
    assert list(parts) == ["train", "test"]
    for data, (images, labels) in zip(parts.values(), written, strict=True):
        expected = images.swapaxes(1, 2) if kind == "EMNIST" else images
        np.testing.assert_array_equal(data.images, expected)
        assert data.labels.tolist() == (labels - 1).tolist()
        assert data.class_names == ("1", "2", "3")
    turned = load_idx(tmp_path / "set", axes="NWH")
    np.testing.assert_array_equal(turned["train"].images, written[0][0].swapaxes(1, 2))


def test_a_mapping_names_the_classes(tmp_path, rng):
    write(tmp_path, IDX_NAMES["EMNIST"], rng, first=1)
    mapping = tmp_path / "emnist-letters-mapping.txt"
    mapping.write_text("1 65 97\n2 66 98 \n3 67 99\n\n")
    parts = load_idx(tmp_path)
    assert parts["train"].class_names == ("A", "B", "C")
    assert parts["test"].labels.tolist() == [0, 1, 2, 0]
    for content, message in [
        ("1 65\n2 66\n", "train: expected labels of emnist-letters-mapping.txt, got 3"),
        ("1 65\nx\n", "mapping.txt: expected a label and the code of its character in line 2, got 'x'"),
        ("1 65\n2 -3\n", "in line 2"),
        ("1 65\n2 65\n", "a character of its own"),
        ("", "a character of its own"),
    ]:
        mapping.write_text(content)
        with pytest.raises(ValueError, match=message):
            load_idx(tmp_path)


def test_one_of_several_data_sets_is_chosen(tmp_path, rng):
    write(tmp_path, IDX_NAMES["EMNIST"], rng)
    (expected, _), _ = write(tmp_path, IDX_NAMES["MNIST"], rng)
    with pytest.raises(ValueError, match=r"of one data set, got the prefixes '', 'emnist-letters'; prefix= says which"):
        load_idx(tmp_path)
    np.testing.assert_array_equal(load_idx(tmp_path, prefix="")["train"].images, expected)
    assert load_idx(tmp_path, prefix="emnist-letters")["train"].images.shape == (7, 4, 5)
    with pytest.raises(ValueError, match="prefix: expected one of '', 'emnist-letters', got 'mnist'"):
        load_idx(tmp_path, prefix="mnist")


def test_what_is_missing_or_damaged_is_named(tmp_path, rng):
    with pytest.raises(FileNotFoundError, match=r"expected a folder of IDX files, .* got a folder without them"):
        load_idx(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"absent: .* got no folder"):
        load_idx(tmp_path / "absent")
    full = tmp_path / "full"
    write(full, IDX_NAMES["MNIST"], rng)
    for name, error, message in [
        ("train-labels-idx1-ubyte", FileNotFoundError, "train-images-idx3-ubyte: expected images and labels"),
        ("t10k-images-idx3-ubyte", FileNotFoundError, "t10k-labels-idx1-ubyte: expected images and labels"),
    ]:
        folder = tmp_path / f"without {name}"
        shutil.copytree(full, folder)
        (folder / name).unlink()
        with pytest.raises(error, match=message):
            load_idx(folder)
    for kind in ("images-idx3", "labels-idx1"):
        (full / f"t10k-{kind}-ubyte").unlink()
    assert list(load_idx(full)) == ["train"]
    write_idx(full / "train-labels-idx1-ubyte", np.zeros(6, np.uint8))
    with pytest.raises(ValueError, match=r"full: train: expected 7 labels"):
        load_idx(full)
    (full / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x07abc")
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte: expected 7 bytes of elements"):
        load_idx(full)
