"""Images and labels from arrays: axes in any order, flat images, labels of any kind."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnet import ImageData, make_parts

KINDS = ["integers", "column", "texts", "objects", "one-hot", "truth"]


def labels_of_kind(kind, classes, names):
    """Return labels of a kind for classes, and the names that are expected."""
    classes = np.asarray(classes, int)
    if kind == "integers":
        return classes * 3 - 2, [str(3 * k - 2) for k in range(len(names))]
    if kind == "column":
        return (classes + 1)[:, None].astype(np.uint8), [str(k + 1) for k in range(len(names))]
    if kind == "texts":
        return [names[k] for k in classes], names
    if kind == "objects":
        return np.array([names[k] for k in classes], object), names
    if kind == "truth":
        return classes == 1, ["False", "True"]
    return np.eye(len(names))[classes], [str(k) for k in range(len(names))]


@settings(deadline=None, max_examples=80)
@given(
    st.permutations("NHWC"),
    st.booleans(),
    st.sampled_from(KINDS),
    st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 5),
    st.integers(0, 99),
)
def test_any_axes_and_labels_give_the_right_images_and_classes(axes, is_grey, kind, shape, more, seed):
    rng = np.random.default_rng(seed)
    num_classes = 2 if kind == "truth" else 3
    names = ["ant", "bee", "a longer name"][:num_classes]
    names.sort()
    classes = {"train": rng.permutation([*range(num_classes), 0, 1]), "test": rng.permutation([*range(num_classes)])}
    classes["validation"] = np.arange(num_classes + more) % num_classes
    order = [letter for letter in axes if not (is_grey and letter == "C")]
    images, given_parts, expected_names = {}, {}, None
    for part, own in classes.items():
        sizes = dict(zip("CHWN", (*shape, len(own)), strict=True))
        images[part] = rng.integers(0, 256, [sizes[letter] for letter in order], dtype=np.uint8)
        labels, expected_names = labels_of_kind(kind, own, names)
        given_parts[part] = images[part], labels
    parts = make_parts(**given_parts, axes="".join(order))
    assert list(parts) == ["train", "validation", "test"]
    for part, data in parts.items():
        assert isinstance(data, ImageData)
        assert data.class_names == tuple(expected_names)
        assert data.labels.tolist() == classes[part].tolist()
        assert data.labels.dtype == np.int64
        for place in itertools.islice(np.ndindex(images[part].shape), 50):
            at = dict(zip(order, place, strict=True))
            assert data.images[tuple(at[letter] for letter in "NHWC" if letter in at)] == images[part][place]


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([np.uint8, np.int64, np.float32, bool, object, "U3", "S3", complex]),
    st.lists(st.integers(0, 5), max_size=5),
    st.sampled_from([np.uint8, np.int64, np.float32, bool, object, "U3", "S3", complex, "datetime64[s]"]),
    st.lists(st.integers(0, 5), max_size=3),
    st.sampled_from([None, "NHW", "NHWC", "NCHW", "HWCN", "", "abc", "NNHW", 3]),
    st.sampled_from([None, (2, 2), (5,), (1, 2, 2), (0, 1), 4, ("a", 1)]),
    st.sampled_from([None, ["a", "b"], [], "ab", ["0"], [1]]),
)
def test_whatever_comes_gives_parts_or_a_message_of_ours(dtype, shape, label_dtype, label_shape, axes, flat, names):
    images, labels = np.zeros(shape, dtype), np.zeros(label_shape, label_dtype)
    try:
        parts = make_parts((images, labels), axes=axes, image_shape=flat, class_names=names)
    except (TypeError, ValueError) as error:
        assert str(error).startswith("make_parts: ")  # noqa: PT017
        assert "expected" in str(error)  # noqa: PT017
    except UserWarning as warning:
        assert "has no image of" in str(warning)  # noqa: PT017
    else:
        assert parts["train"].images.ndim in (3, 4)
        assert len(parts["train"].labels) == len(parts["train"].images)


def test_flat_images_get_their_shape(rng):
    flat = rng.integers(0, 256, (4, 12), dtype=np.uint8)
    labels = [0, 1, 0, 1]
    expected = flat.reshape(4, 3, 4)
    np.testing.assert_array_equal(make_parts((flat, labels), image_shape=(3, 4))["train"].images, expected)
    colour = make_parts((flat, labels), image_shape=(3, 2, 2), axes="NCHW")["train"].images
    np.testing.assert_array_equal(colour, flat.reshape(4, 3, 2, 2).transpose(0, 2, 3, 1))


def test_given_names_are_the_classes():
    images = np.zeros((3, 2, 2), np.uint8)
    with pytest.warns(UserWarning, match="the train part has no image of the class b"):
        parts = make_parts((images, [2, 0, 2]), class_names=["a", "b", "c"])
    assert parts["train"].labels.tolist() == [2, 0, 2]
    parts = make_parts((images, ["x", "y", "x"]), class_names=["y", "x"])
    assert parts["train"].labels.tolist() == [1, 0, 1]
    assert parts["train"].class_names == ("y", "x")


def test_labels_are_mapped_alike_in_all_parts():
    images = np.zeros((2, 2, 2), np.uint8)
    with pytest.warns(UserWarning, match="the test part has no image of the class 3") as found:
        parts = make_parts((images, [3, 9]), test=(images, np.array([9, 9], np.uint8)))
    assert parts["test"].labels.tolist() == [1, 1]
    assert found[0].filename == __file__


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": np.zeros((2, 3))}, TypeError, "train: expected a pair of images and labels"),
        ({"labels": [[0, 1], [1, 1]] * 2}, ValueError, "a single 1 among zeros in each row, got another row at 1"),
        ({"labels": [[0, 1]] * 4, "class_names": ["a"]}, ValueError, "expected 2 names for one-hot labels, got 1"),
        ({"labels": [0.0, 1.0, 2.0, 3.5]}, TypeError, r"labels.astype\(int\) makes integers"),
        ({"labels": [b"a"] * 4}, TypeError, "numpy.char.decode"),
        ({"labels": [None] * 4}, TypeError, "objects of other kinds"),
        ({"labels": [[0], [0, 1], [2], [3]]}, ValueError, "lists of different lengths"),
        ({"labels": list("abca"), "class_names": ["a", "b"]}, ValueError, "among a, b, as class_names says, got c"),
        ({"labels": [0, 1, 2, -1], "class_names": ["a", "b", "c"]}, ValueError, "among 0, 1, 2, .* got -1"),
        ({"labels": [0, 1, 0]}, ValueError, r"expected 4 labels, one for each image, got shape \(3,\)"),
        ({"test": (np.zeros((2, 2, 2), np.uint8), ["a", "b"])}, ValueError, "of one kind .* got integer and text"),
        ({"test": (np.zeros((2, 2, 3), np.uint8), [0, 1])}, ValueError, "one size in all parts"),
        ({"images": np.zeros((5, 5, 3, 4), np.uint8)}, ValueError, 'make_parts.*axes="HWCN"'),
        ({"images": np.zeros((4, 3, 5, 5), np.uint8)}, ValueError, r"images.transpose\(0, 2, 3, 1\)"),
        ({"axes": "NHWC"}, ValueError, r"expected images with the axes NHWC, got shape \(4, 2, 2\)"),
        ({"axes": "NHX"}, ValueError, "axes: expected the letters N, H, W"),
        ({"image_shape": (2, 2)}, ValueError, r"expected flat images of shape \(N, 4\) for \(2, 2\), got"),
    ],
)
def test_what_does_not_fit_is_named(changes, error, message):
    changes = dict(changes)
    pair = changes.pop("images", np.zeros((4, 2, 2), np.uint8)), changes.pop("labels", [0, 1, 0, 1])
    with pytest.raises(error, match=message):
        make_parts(**({"train": pair} | changes))


def test_a_description_leaves_out_the_pixels():
    data = make_parts((np.zeros((500, 8, 6, 3), np.uint8), 250 * ["cat", "dog"]))["train"]
    assert repr(data) == (
        "ImageData(images=<uint8 of shape (500, 8, 6, 3)>, labels=<int64 of shape (500,)>, "
        "class_names=('cat', 'dog'), reader=None)"
    )
    assert "images=[[1, 2], [3]]" in repr(ImageData([[1, 2], [3]], None, ()))  # of what a user made wrong, too
