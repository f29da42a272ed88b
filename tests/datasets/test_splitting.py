"""Parts of a data set: how images are shared among them, and how they are prepared."""

import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnet import ConvNet1, ConvnetWarning, ImageData, Statistics, preprocess, preprocess_parts, split


def numbered(labels, shape=(2, 3)):
    """Return images whose pixels tell their number, for labels."""
    images = np.zeros((len(labels), *shape), np.uint8)
    images[:, 0, 0] = np.arange(len(labels)).reshape(-1, *[1] * (len(shape) - 2)) % 256
    images[:, 0, 1] = np.arange(len(labels)).reshape(-1, *[1] * (len(shape) - 2)) // 256
    return images


def numbers(images):
    flat = images.reshape(*images.shape[:3], -1)[..., 0].astype(int)
    return flat[:, 0, 0] + 256 * flat[:, 0, 1]


@pytest.mark.filterwarnings("ignore:split. the")
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.one_of(st.integers(0, 90), st.floats(0, 0.99)),
    st.one_of(st.integers(0, 90), st.floats(0, 0.99)),
    st.integers(0, 3),
)
def test_parts_hold_every_image_once_and_each_class_by_its_share(labels, validation, test, seed):
    count = len(labels)

    def size(value):
        if isinstance(value, int):
            return value
        return 0 if value == 0 else max(1, int(value * count + 0.5))

    sizes = {"validation": size(validation), "test": size(test)}
    arguments = {"validation": validation, "test": test, "seed": seed}
    if sum(sizes.values()) >= count:
        with pytest.raises(ValueError, match="split: "):
            split(numbered(labels), labels, **arguments)
        return
    parts = split(numbered(labels), labels, **arguments)
    sizes["train"] = count - sum(sizes.values())
    assert {name: len(part.images) for name, part in parts.items()} == {
        name: sizes[name] for name in ("train", "validation", "test") if sizes[name]
    }
    distinct = sorted(set(labels))
    seen = []
    for part in parts.values():
        assert part.class_names == tuple(str(label) for label in distinct)
        seen += numbers(part.images).tolist()
        assert [distinct[k] for k in part.labels] == [labels[i] for i in numbers(part.images)]
    assert sorted(seen) == list(range(count))
    rest = Counter(labels)
    for name in ("test", "validation"):
        taken = Counter(distinct[k] for k in parts[name].labels) if name in parts else Counter()
        total = sum(rest.values())
        for label in distinct:
            assert abs(taken[label] - Fraction(sizes[name] * rest[label], total)) < 1
        rest -= taken


def test_a_seed_gives_the_same_parts_and_another_one_others():
    labels = np.arange(60) % 3
    first, again, other = (split(numbered(labels), labels, validation=0.25, seed=seed) for seed in (0, 0, 1))
    assert all(first[name].images.tobytes() == again[name].images.tobytes() for name in first)
    assert first["validation"].images.tobytes() != other["validation"].images.tobytes()
    order = numbers(first["train"].images)
    assert (np.diff(order) < 0).any()  # shuffled


def test_split_takes_an_image_data_and_keeps_its_names():
    files = [f"{number}.png" for number in range(20)]
    data = ImageData(numbered(range(20), (2, 3, 3)), np.arange(20) % 2, ("no", "yes"), None, files)
    parts = {"test": data} | split(*data, validation=4)
    assert parts["train"].class_names == ("no", "yes")
    assert parts["train"].images.shape == (16, 2, 3, 3)
    assert parts["test"] is data
    again = split(data, validation=4)
    for name in ("train", "validation"):
        assert again[name].images.tobytes() == parts[name].images.tobytes()
        assert again[name].class_names == ("no", "yes")
        assert again[name].files == [f"{number}.png" for number in numbers(again[name].images)]


@pytest.mark.parametrize("files", [["0.png"], 4, "0123"])
def test_files_are_one_for_each_image(files):
    data = ImageData(numbered(range(4)), np.array([0, 1, 0, 1]), ("a", "b"), None, files)
    with pytest.raises(ValueError, match="split: files: expected a list of 4 paths, one for each image, got "):
        split(data, validation=1)
    assert split(data._replace(files=None), validation=2)["train"].files is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ImageData(numbered(range(4)), [0, 1, 0, 1], ("a", "b")), np.arange(4)), "expected an ImageData alone"),
        ((ImageData(numbered(range(4)), [0, 1, 0, 1], ("a", "b")), None, ["a", "b"]), "expected an ImageData alone"),
        (
            ({"train": None},),
            r'.* got a dictionary of parts, train; split\(parts\["train"\], ...\) divides one',
        ),
        ((numbered(range(4)),), "expected labels beside the images, or an ImageData, got none"),
    ],
)
def test_other_arguments_of_split_are_named(arguments, message):
    with pytest.raises(TypeError, match=f"^split: {message}"):
        split(*arguments)


def test_a_class_that_a_part_lacks_is_named():
    labels = 30 * ["cat"] + 30 * ["dog"] + ["emu"]
    with pytest.warns(UserWarning, match=r"the validation part has no image of the class emu; a class needs") as found:
        split(numbered(labels), labels, validation=0.1)
    assert found[0].filename == __file__


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"validation": 1.0}, ValueError, "split: validation: expected a finite number of at least 0 and below 1"),
        ({"validation": float("nan")}, ValueError, "split: validation"),
        ({"validation": -1}, ValueError, "split: validation: expected at least 0"),
        ({"validation": 13}, ValueError, "split: validation: expected at most the 12 images, got 13"),
        ({"validation": 6, "test": 0.5}, ValueError, "images left to train with, got 6 of 12 for validation and 6"),
        ({"validation": True}, TypeError, "split: validation"),
        ({"test": "0.1"}, TypeError, "split: test"),
        ({"seed": 0.5}, TypeError, "seed"),
        ({"labels": [0] * 11}, ValueError, r"split: expected 12 labels, one for each image, got shape \(11,\)"),
        ({"labels": [0.5] * 12}, TypeError, "expected integer labels, texts, or one-hot rows, got dtype float64"),
        ({"images": np.zeros((12, 6), np.uint8)}, ValueError, r"images.reshape\(-1, H, W\)"),
        ({"images": np.zeros((12, 3, 8, 8), np.uint8)}, ValueError, r"images.transpose\(0, 2, 3, 1\)"),
        ({"images": np.zeros((12, 2, 3))}, TypeError, r"\(255 \* images\).round\(\).astype\(numpy.uint8\)"),
        ({"images": []}, TypeError, "uint8"),
        ({"images": ["a.png"] * 12}, TypeError, r"got <U5; load_folder reads .* ImageReader\(size=...\).read"),
    ],
)
def test_split_names_what_is_wrong(changes, error, message):
    labels = np.arange(12) % 2
    with pytest.raises(error, match=message):
        split(**({"images": numbered(labels), "labels": labels} | changes))


def some_parts(rng, sizes, tail=()):
    names = ("a", "b")
    return {
        name: ImageData(rng.integers(0, 256, (size, 5, 7, *tail), dtype=np.uint8), np.arange(size) % 2, names)
        for name, size in sizes.items()
    }


@pytest.mark.parametrize("tail", [(), (1,), (3,)])
@pytest.mark.parametrize(
    "sizes", [{"train": 6}, {"train": 6, "test": 4}, {"test": 2, "validation": 4, "train": 6}, {"train": 6, "test": 0}]
)
def test_parts_are_prepared_by_the_statistics_of_the_training_part(rng, sizes, tail):
    parts = some_parts(rng, sizes, tail)
    train = parts["train"].images.astype(np.float64).reshape(6, 5, 7, -1)
    mean, std = train.mean(axis=0), train.std()
    for options in ({}, {"keep_uint8": True}):
        data, statistics = preprocess_parts(parts, **options)
        order = [name for name in ("train", "validation", "test") if name in sizes]
        assert list(data) == [f"{letter}_{name}" for name in order for letter in "xy"]
        for name, part in parts.items():
            x = data[f"x_{name}"]
            assert x.flags.c_contiguous
            planes = part.images.reshape(len(part.images), 5, 7, *(tail or (1,)))
            expected = planes if options else (planes - mean) / std
            assert x.dtype == (np.uint8 if options else np.float32)
            np.testing.assert_allclose(x.transpose(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-5)
            assert data[f"y_{name}"].tolist() == part.labels.tolist()
            assert not np.shares_memory(data[f"y_{name}"], part.labels)
        assert isinstance(statistics, Statistics)


def test_parts_give_what_preprocess_gives(rng):
    parts = some_parts(rng, {"train": 16, "validation": 4, "test": 6})
    train, validation, test = parts.values()
    options = {"divide_by_255": False, "per_pixel_std": True}
    data, statistics = preprocess_parts(parts, **options)
    joined = [np.concatenate(pair) for pair in zip(train[:2], validation[:2], strict=True)]
    expected, same = preprocess(*joined, *test[:2], num_validation=4, num_test=None, **options)
    assert list(data) == list(expected)
    assert all(data[name].tobytes() == expected[name].tobytes() for name in data)
    assert repr(statistics) == repr(same)


def test_a_class_missing_in_a_part_is_named(rng):
    parts = some_parts(rng, {"train": 6, "test": 4})
    lacking = parts["test"]._replace(labels=np.zeros(4, int))
    with pytest.warns(UserWarning, match="preprocess_parts: the test part has no image of the class b; split") as found:
        preprocess_parts(parts | {"test": lacking})
    assert found[0].filename == __file__


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda parts: parts["train"], TypeError, "expected a dictionary of ImageData"),
        (lambda parts: {"train": parts["train"][:2]}, TypeError, "expected a dictionary of ImageData"),
        (lambda parts: {"test": parts["test"]}, ValueError, "expected the part train, .* got test"),
        (lambda parts: parts | {"val": parts["test"]}, ValueError, "got train, test, val"),
        (lambda parts: parts | {"test": parts["test"]._replace(class_names=("b", "a"))}, ValueError, "class names"),
        (lambda parts: parts | {"test": parts["test"]._replace(labels=[0, 2, 1, 0])}, ValueError, r"\[0, 2\), got 2"),
        (lambda parts: parts | {"test": parts["test"]._replace(labels=[0, 1])}, ValueError, "expected 4 labels"),
        (lambda parts: parts | {"test": parts["test"]._replace(labels=list("abab"))}, TypeError, "make_parts"),
        (
            lambda parts: parts | {"test": parts["test"]._replace(images=np.zeros((4, 7, 5), np.uint8))},
            ValueError,
            r"one size in all parts, got \(5, 7\) in the train part, \(7, 5\) in the test part",
        ),
        (
            lambda parts: {"train": ImageData(np.zeros((0, 5, 7), np.uint8), np.zeros(0, int), ("a",))},
            ValueError,
            "expected at least one training image, got none",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(rng, change, error, message):
    with pytest.raises(error, match=message):
        preprocess_parts(change(some_parts(rng, {"train": 6, "test": 4})))


@pytest.mark.parametrize(("labels", "missing"), [(np.repeat(np.arange(4), 5), "class 3"), (np.arange(20) // 2, "9")])
def test_preprocess_warns_of_images_sorted_by_class(labels, missing):
    images = numbered(labels)
    with pytest.warns(UserWarning, match=r"preprocess: the .* part has no image of the class") as found:
        preprocess(images, labels, images, labels, num_validation=6, num_test=None)
    messages = [str(warning.message) for warning in found]
    assert any("the training part" in message and missing in message for message in messages)
    assert any("the validation part" in message and "0" in message for message in messages)
    assert found[0].filename == __file__


@pytest.mark.parametrize(
    ("test_labels", "message"),
    [
        (np.arange(20) // 5, "preprocess: the test part has no image of the classes 2, 3; split"),
        (np.arange(20) % 5, "preprocess: the (training|validation) part has no image of the class 4; split"),
    ],
    ids=["sorted", "one more class"],
)
def test_preprocess_warns_of_a_test_part_of_other_classes(test_labels, message):
    labels = np.arange(20) % 4
    with pytest.warns(ConvnetWarning) as found:
        preprocess(numbered(labels), labels, numbered(labels), test_labels, num_validation=8, num_test=10)
    assert all(re.match(message, str(warning.message)) for warning in found)


@pytest.mark.parametrize("shape", [(8, 3, 6, 5), (8, 1, 6, 5), (8, 4, 9, 9)])
def test_planes_first_are_refused_or_taken_as_asked(rng, shape):
    images, labels = rng.integers(0, 256, shape, dtype=np.uint8), np.zeros(8, int)
    with pytest.raises(ValueError, match=r"looks like channels first: images.transpose\(0, 2, 3, 1\) puts them last"):
        preprocess(images, labels, images, labels, num_validation=2)
    options = {"num_validation": 2, "num_test": None}
    data, statistics = preprocess(images, labels, images, labels, channels_first=True, **options)
    moved = images.transpose(0, 2, 3, 1)
    expected, _ = preprocess(moved, labels, moved, labels, **options)
    assert all(data[name].tobytes() == expected[name].tobytes() for name in data)
    assert statistics.image_shape == shape[1:]
    data, _ = preprocess(images, labels, images, labels, channels_first=False, **options)
    assert data["x_train"].shape == (6, shape[3], shape[1], shape[2])
    with pytest.raises(TypeError, match="channels_first"):
        preprocess(images, labels, images, labels, channels_first="yes", **options)


def test_raw_images_with_planes_first_are_told_how_to_be_given(rng):
    images, labels = rng.integers(0, 256, (8, 28, 28, 3), dtype=np.uint8), np.zeros(8, int)
    model = ConvNet1((3, 28, 28))
    model.statistics = preprocess(images, labels, images, labels, num_validation=2, num_test=None)[1]
    planes = images.transpose(0, 3, 1, 2)
    for given_images in (planes, np.ascontiguousarray(planes)):
        with pytest.raises(ValueError, match=r"channels come first: images.transpose\(0, 2, 3, 1\) puts them last"):
            model.predict_images(given_images)
    np.testing.assert_array_equal(model.predict_images(images[0]), model.predict(planes[:1]))
    np.testing.assert_array_equal(model.predict_images(images), model.predict(planes))
    with pytest.raises(ValueError, match=r"channels come last: x.transpose\(0, 3, 1, 2\) puts them first"):
        model.predict(images)
