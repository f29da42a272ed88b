"""The pickles of prepared data."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from cases import KEYS, small_data

from convnet import Statistics, load_prepared, preprocess, preprocess_parts, save_prepared, split


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


@pytest.mark.parametrize("channels", [0, 3], ids=["grey", "colour"])
def test_raw_images_come_back_with_their_statistics(tmp_path, channels):
    data, statistics = preprocess(*small_data(channels), num_validation=4, num_test=None, keep_uint8=True)
    save_prepared(tmp_path / "file", data, statistics)
    again, loaded = load_prepared(tmp_path / "file")
    for key in KEYS:
        assert again[key].dtype == data[key].dtype
        assert again[key].tobytes() == data[key].tobytes()
    assert repr(loaded) == repr(statistics)


def test_prepared_data_is_saved_in_any_layout(tmp_path, small):
    data, statistics = small
    strided = {key: np.repeat(array, 2, axis=0)[::2] for key, array in data.items()}
    strided["x_train"] = np.asfortranarray(data["x_train"])
    save_prepared(tmp_path / "file", strided, statistics)
    again, _ = load_prepared(tmp_path / "file")
    for key in KEYS:
        assert again[key].tolist() == data[key].tolist()


@pytest.mark.parametrize("sizes", [{"validation": 0}, {"validation": 4}, {"validation": 0, "test": 4}], ids=str)
def test_images_of_ones_own_need_no_validation_and_no_test(tmp_path, sizes):
    images, labels, *_ = small_data()
    data, statistics = preprocess_parts(split(images, labels, **sizes), keep_uint8=True)
    save_prepared(tmp_path / "file", data, statistics)
    again, loaded = load_prepared(tmp_path / "file")
    assert list(again) == list(data)
    assert all(again[name].tobytes() == data[name].tobytes() for name in data)
    assert repr(loaded) == repr(statistics)


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
