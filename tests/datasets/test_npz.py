"""Data sets in .npz files: names of arrays, kinds of labels, and what is wrong with files."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convnet import load_npz

NAMES = {
    "MedMNIST": ("{}_images", "{}_labels", "val"),
    "Keras": ("x_{}", "y_{}", "valid"),
    "capitals": ("X_{}", "Y_{}", "validation"),
}


def save(path, kind, rng, compressed=True, labels=lambda classes: classes[:, None]):
    """Save three parts, and return their images and classes."""
    images_name, labels_name, validation = NAMES[kind]
    parts, arrays = {}, {"unused": np.zeros(3)}
    for part, name, count in (("train", "train", 7), ("validation", validation, 4), ("test", "test", 3)):
        images, classes = rng.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8), np.arange(count) % 3
        parts[part] = images, classes
        arrays |= {images_name.format(name): images, labels_name.format(name): labels(classes)}
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return parts


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", NAMES)
def test_the_names_of_data_sets_are_known(tmp_path, rng, kind, compressed):
    expected = save(tmp_path / "set.npz", kind, rng, compressed)
    parts = load_npz(tmp_path / "set.npz")
    assert list(parts) == ["train", "validation", "test"]
    for part, (images, classes) in expected.items():
        np.testing.assert_array_equal(parts[part].images, images)
        assert parts[part].labels.tolist() == classes.tolist()
        assert parts[part].class_names == ("0", "1", "2")


def test_labels_may_be_texts_or_one_hot(tmp_path, rng):
    words = np.array(["dog", "ant", "cat"])
    save(tmp_path / "set.npz", "Keras", rng, labels=lambda classes: words[classes])
    parts = load_npz(tmp_path / "set.npz")
    assert parts["train"].class_names == ("ant", "cat", "dog")
    assert parts["test"].labels.tolist() == [2, 0, 1]
    save(tmp_path / "set.npz", "Keras", rng, labels=lambda classes: np.eye(3)[classes])
    parts = load_npz(tmp_path / "set.npz", class_names=words.tolist())
    assert parts["test"].labels.tolist() == [0, 1, 2]
    assert parts["test"].class_names == ("dog", "ant", "cat")


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y")])
def test_a_file_may_have_one_part(tmp_path, rng, names):
    images = rng.integers(0, 256, (4, 3, 6, 5), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", **dict(zip(names, (images.reshape(4, -1), [1, 2, 1, 2]), strict=True)))
    parts = load_npz(tmp_path / "set.npz", image_shape=(3, 6, 5), axes="NCHW")
    assert list(parts) == ["train"]
    np.testing.assert_array_equal(parts["train"].images, images.transpose(0, 2, 3, 1))


def test_what_does_not_fit_is_named(tmp_path, rng):
    path, images = tmp_path / "set.npz", rng.integers(0, 256, (4, 6, 5), dtype=np.uint8)
    with pytest.raises(FileNotFoundError, match=r"set\.npz: expected an \.npz file, but there is no such file"):
        load_npz(path)
    for arrays, error, message in [
        ({"pictures": images}, ValueError, r"got pictures; make_parts takes arrays by any name"),
        ({"x_train": images, "Y": images}, ValueError, "expected y_train beside x_train, got the arrays x_train, Y"),
        ({"x_train": images, "y_train": [0, 1]}, ValueError, r"set\.npz: train: expected 4 labels"),
        ({"x_test": images, "y_test": [0, 1, 0, 1]}, ValueError, "expected the arrays train_images and train_labels"),
        (
            {"x": images, "y": np.array(["a", None], object)},
            ValueError,
            "y: expected an array: .*save texts as an array of dtype str",
        ),
        ({"x": images / 255, "y": [0, 1, 0, 1]}, TypeError, r"set\.npz: train: expected images of dtype uint8"),
        ({"x": images, "y": np.eye(4) + 1}, ValueError, r"one-hot labels, a single 1"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(error, match=message):
            load_npz(path)
    np.savez(path, é=images)
    misspelt = path.read_bytes().replace("é".encode(), b"\x9a\x9a")
    for content in (b"no archive", misspelt):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"set\.npz: expected an \.npz file, got one that is damaged, or another "):
            load_npz(path)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_a_damaged_file_is_one_clear_error(tmp_path, compressed, place, value, cut):
    path = tmp_path / "set.npz"
    save(path, "MedMNIST", np.random.default_rng(0), compressed)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content[: place % len(content)] if cut else content)
    try:
        parts = load_npz(path)
    except (ValueError, TypeError) as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert "expected" in str(error)  # noqa: PT017
    else:
        assert parts["train"].images.shape == (7, 6, 5, 3)
