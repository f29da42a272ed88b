"""From arrays of any kind to the data of a Solver: right pairs of image and class, or a message of ours."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convnet
from convnet import ImageData, make_parts, preprocess, preprocess_parts, split

AXES = ["NHWC", "NCHW", "HWCN", "CHWN", "NWHC", "NHW", "HWN", "NWH"]
ORDERS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "reversed": lambda a: a[::-1, ::-1][::-1, ::-1]}


def labels_as(kind, classes):
    """Return labels of a kind for classes 0 to 2, and the names in the order of the classes."""
    if kind == "one-hot":
        return np.eye(3, dtype=np.float32)[classes], ("0", "1", "2")
    if kind == "texts":
        return np.array(["a", "b", "c"])[classes], ("a", "b", "c")
    if kind == "objects":
        return np.array(["a", "b", "c"], object)[classes], ("a", "b", "c")
    if kind == "list":
        return [int(label) - 5 for label in classes], ("-5", "-4", "-3")
    if kind == "column":
        return classes[:, None].astype(np.uint8), ("0", "1", "2")
    return (classes + 2**62).astype(kind), tuple(str(2**62 + label) for label in range(3))


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(AXES),
    st.sampled_from(list(ORDERS)),
    st.booleans(),
    st.sampled_from(["one-hot", "texts", "objects", "list", "column", np.int64, ">i8", np.uint64]),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    st.integers(9, 60),
    st.one_of(st.integers(1, 3), st.floats(0.05, 0.3)),
    st.one_of(st.integers(0, 3), st.floats(0.05, 0.3)),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore:.*has no image of the class")
def test_every_image_keeps_its_class(axes, order, writeable, kind, shape, count, validation, test, raw):
    sizes = dict(zip("CHWN", (*shape, count), strict=True))
    numbered = np.arange(count, dtype=np.uint8)  # an image's pixels say which it is
    images = np.broadcast_to(
        numbered.reshape([count if letter == "N" else 1 for letter in axes]), [sizes[letter] for letter in axes]
    )
    images = ORDERS[order](images.copy())
    images.flags.writeable = writeable
    classes = np.arange(count) * 7 // 3 % 3
    labels, names = labels_as(kind, classes)
    (whole,) = make_parts((images, labels), axes=axes).values()
    assert whole.class_names == names
    parts = split(*whole, validation=validation, test=test, seed=count)
    channels = shape[0] if "C" in axes else 1
    data, statistics = preprocess_parts(parts, keep_uint8=raw)
    seen = []
    for part, own in parts.items():
        x, y = data[f"x_{part}"], data[f"y_{part}"]
        assert x.shape == (len(own.images), channels, *shape[1:])
        levels = x if raw else x * statistics.std * 255 + statistics.mean * 255
        which = np.round(levels[:, 0, 0, 0]).astype(int)
        np.testing.assert_allclose(levels, np.broadcast_to(which[:, None, None, None], x.shape), atol=1e-2)
        np.testing.assert_array_equal(y, classes[which])
        seen += which.tolist()
    assert sorted(seen) == list(range(count))
    for part, size in (("validation", validation), ("test", test)):
        wanted = size if isinstance(size, int) else max(int(size * count + 0.5), 1)
        assert len(parts[part].images if part in parts else []) == wanted


WEIRD = [
    *(None, 3, 2.5, "text", b"bytes", {}, {1, 2}, [], [[]], [[1], [2, 3]], (), object(), iter([1]), range(3), 1j),
    *(np.array(3), np.zeros(3), np.zeros((2, 0), np.uint8), np.zeros((3, 2, 2), np.uint8), np.zeros((3, 2, 2))),
    *(np.zeros(3, "M8[s]"), np.zeros(3, "V4"), np.zeros(3, [("a", "u1")]), np.array([1, None, "a"], object)),
    *(
        np.array([np.nan, 1, 2]),
        np.array([2**64 - 1, 0, 1], np.uint64),
        np.zeros((2, 2, 2, 2, 2), np.uint8),
        [10**30] * 3,
    ),
    *(
        np.ma.masked_array(np.zeros((3, 2, 2), np.uint8), mask=True),
        np.array(["a", "b", "c"]),
        ["a", 1, "b"],
        [b"a"] * 3,
    ),
    *(np.zeros((0, 2, 2), np.uint8), np.zeros(0, int), [True, False, True], np.eye(3), np.eye(3) * 2, "abc"),
]
CALLS = {
    "make_parts": lambda a, b: make_parts((a, b)),
    "make_parts pair": lambda a, b: make_parts(a, test=b),
    "make_parts options": lambda a, b: make_parts((np.zeros((3, 2, 2), np.uint8), [0, 1, 2]), axes=a, image_shape=b),
    "make_parts names": lambda a, b: make_parts((np.zeros((3, 2, 2), np.uint8), a), class_names=b),
    "split": split,
    "split sizes": lambda a, b: split(np.zeros((9, 2, 2), np.uint8), [0, 1, 2] * 3, validation=a, test=b),
    "split names": lambda a, b: split(np.zeros((3, 2, 2), np.uint8), a, b),
    "preprocess": lambda a, b: preprocess(a, b, a, b, num_validation=1, num_test=None),
    "preprocess numbers": lambda a, b: preprocess(
        np.zeros((9, 2, 2), np.uint8), range(9), np.zeros((9, 2, 2), np.uint8), range(9), num_validation=a, num_test=b
    ),
    "preprocess_parts": lambda a, b: preprocess_parts({"train": ImageData(a, b, ("a", "b", "c"))}),
    "preprocess_parts names": lambda a, b: preprocess_parts({"train": ImageData(np.zeros((3, 2, 2), np.uint8), a, b)}),
    "load_csv": lambda a, b: convnet.load_csv(a, label=b),
    "load_npz": lambda a, b: convnet.load_npz(a, axes=b),
    "load_cifar": lambda a, b: convnet.load_cifar(a, coarse=b),
    "load_idx": lambda a, b: convnet.load_idx(a, prefix=b),
    "load_data": lambda a, b: convnet.load_data(a, axes=b),
    "load_folder": lambda a, b: convnet.load_folder(a, size=b),
    "ImageReader": lambda a, b: convnet.ImageReader(a, background=b),
}


@pytest.mark.parametrize("name", CALLS)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(WEIRD), st.sampled_from(WEIRD))
def test_whatever_comes_is_taken_or_answered_by_a_message_of_ours(name, first, second):
    try:
        CALLS[name](first, second)
    except (TypeError, ValueError, FileNotFoundError) as error:
        assert "expected" in str(error), error  # noqa: PT017
    except UserWarning as warning:
        assert "has no image of" in str(warning)  # noqa: PT017
