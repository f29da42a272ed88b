"""Model files."""

import io
import json
import zipfile

import numpy as np
import pytest

from convnet import (
    Affine,
    Conv2D,
    ConvNet1,
    MaxPool2D,
    ReLU,
    Sequential,
    load_model,
    preprocess,
    save_model,
    softmax_loss,
)


def convnet1(dtype=np.float32):
    return ConvNet1(
        (1, 9, 8), num_filters=3, kernel_size=3, padding=1, hidden_size=5, num_classes=4, l2=0.25, seed=1, dtype=dtype
    )


def stack(dtype=np.float32):
    rng = np.random.default_rng(2)
    layers = [
        Conv2D(1, 2, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng, dtype=dtype),
        MaxPool2D((2, 3), stride=(1, 2), padding=(1, 0)),
        ReLU(),
        Conv2D(2, 3, 2, rng=rng, dtype=dtype),
        Affine(3 * 5 * 2, 4, rng=rng, dtype=dtype),
    ]
    return Sequential(layers, (1, 9, 8))


def some_images(count=6):
    return np.random.default_rng(3).integers(0, 256, (count, 9, 8), dtype=np.uint8)


def some_statistics(**options):
    labels = np.arange(6) % 4
    return preprocess(some_images(), labels, some_images(), labels, num_validation=2, num_test=None, **options)[1]


@pytest.mark.parametrize("make", [convnet1, stack])
def test_a_model_comes_back_the_same(tmp_path, dtype, make):
    model = make(dtype)
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
    assert loaded.l2 == model.l2
    assert loaded.statistics is None
    assert loaded.class_names is None
    assert list(loaded.params) == list(model.params)
    for name, param in model.params.items():
        assert loaded.params[name].tobytes() == param.tobytes()
        assert loaded.params[name].dtype == dtype
    x = np.random.default_rng(0).standard_normal((3, 1, 9, 8))
    assert loaded.scores(x).tobytes() == model.scores(x).tobytes()
    assert loaded.loss(x, [0, 1, 2])[0] == model.loss(x, [0, 1, 2])[0]


@pytest.mark.parametrize(
    "options",
    [{}, {"per_pixel_std": True}, {"subtract_mean": False}, {"divide_by_std": False}, {"divide_by_255": False}],
)
def test_statistics_and_class_names_come_back(tmp_path, options):
    model = convnet1()
    model.statistics = some_statistics(**options)
    model.class_names = ["zero", "one", "zwei", "tres \N{GREEK SMALL LETTER PI}"]
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert loaded.class_names == model.class_names
    images = some_images(20)
    assert loaded.statistics.apply(images).tobytes() == model.statistics.apply(images).tobytes()
    np.testing.assert_array_equal(loaded.predict_images(images), model.predict_images(images))


def test_the_file_is_as_documented(tmp_path):
    model = convnet1()
    model.statistics = some_statistics()
    save_model(model, tmp_path / "model.npz")
    with zipfile.ZipFile(tmp_path / "model.npz") as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        arrays = {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }
    assert arrays["header"].dtype == np.uint8
    header = json.loads(arrays.pop("header").tobytes())
    assert header == {
        "format": "convnet model",
        "version": 1,
        "model": "ConvNet1",
        "input_shape": [1, 9, 8],
        "l2": 0.25,
        "loss": "softmax_loss",
        "layers": [
            {"name": "conv1", "class": "Conv2D", "hyperparameters": {"stride": [1, 1], "padding": [1, 1]}},
            {"name": "relu1", "class": "ReLU", "hyperparameters": {}},
            {
                "name": "pool1",
                "class": "MaxPool2D",
                "hyperparameters": {"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0]},
            },
            {"name": "affine1", "class": "Affine", "hyperparameters": {}},
            {"name": "relu2", "class": "ReLU", "hyperparameters": {}},
            {"name": "affine2", "class": "Affine", "hyperparameters": {}},
        ],
        "statistics": {"divide_by_255": True},
        "class_names": None,
    }
    assert set(arrays) == set(model.params) | {"statistics.mean", "statistics.std"}
    for name, param in model.params.items():
        np.testing.assert_array_equal(arrays[name], param)


class OtherReLU(ReLU):
    pass


def other_loss(scores, labels):
    return softmax_loss(scores, labels)


def unsaveable():
    layers = [Affine(72, 4, rng=np.random.default_rng(0)), OtherReLU()]
    yield Sequential(layers, (1, 9, 8)), TypeError, "expected the layer relu1 to be one of"
    yield Sequential(layers[:1], (1, 9, 8), loss=other_loss), TypeError, "expected the loss to be one of .*other_loss"
    model = convnet1()
    model.class_names = ["only", "three", "names"]
    yield model, ValueError, "expected 4 class names"
    model = convnet1()
    model.class_names = [1, 2, 3, 4]
    yield model, ValueError, "expected 4 class names"
    model = convnet1()
    model.statistics = {"mean": 0}
    yield model, TypeError, "expected statistics from preprocess"


@pytest.mark.parametrize(("model", "error", "message"), list(unsaveable()))
def test_what_cannot_be_saved_is_named_and_an_old_file_stays(tmp_path, model, error, message):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        save_model(model, path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"model.npz": b"old"}


def changed(path, arrays=None, without=(), **header):
    """Write a model file with some arrays and header entries changed, or left out where they are None."""
    save_model(convnet1(), path)
    with np.load(path) as archive:
        content = dict(archive)
    fields = json.loads(content["header"].tobytes()) | header
    content["header"] = np.frombuffer(json.dumps(fields).encode(), np.uint8)
    content |= arrays or {}
    np.savez(path, **{name: array for name, array in content.items() if name not in without})


LAYER = {"name": "relu1", "class": "ReLU", "hyperparameters": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "it is of version 2, and this release of convnet reads version 1"),
        ({"format": "another"}, "its format is 'another'"),
        ({"model": "Model"}, "'Model' is missing or unknown"),
        ({"loss": "eval"}, "'eval' is missing or unknown"),
        ({"layers": [LAYER | {"class": "os"}]}, "'os' is missing or unknown"),
        ({"layers": [LAYER]}, "a score for each class"),
        ({"layers": []}, "at least one layer"),
        ({"layers": 3}, "expected a model file"),
        ({"layers": [LAYER | {"hyperparameters": {"no": 1}}]}, "unexpected keyword argument"),
        ({"layers": [LAYER | {"hyperparameters": None}]}, "expected a model file"),
        ({"l2": "much"}, "l2: expected a real number"),
        ({"input_shape": [1, 9, 11]}, "expects 48 input features"),
        ({"input_shape": None}, "expected a model file"),
        ({"statistics": {"divide_by_255": 3}}, "expected divide_by_255 to be true or false"),
        ({"statistics": []}, "expected a model file"),
        ({"without": ["header"]}, "'header' is missing or unknown"),
        ({"without": ["conv1.bias"]}, r"expected the parameters \['weight', 'bias'\], got \['weight'\]"),
        ({"arrays": {"header": np.frombuffer(b"{not json", np.uint8)}}, "expected a model file"),
        ({"arrays": {"header": np.frombuffer(b"[1, 2]", np.uint8)}}, "expected a model file"),
        ({"arrays": {"header": np.frombuffer(b"\xff\xfe\x00", np.uint8)}}, "expected a model file"),
        ({"arrays": {"conv1.weight": np.zeros((3, 9))}}, "expected 4 axes"),
        ({"arrays": {"conv1.bias": np.zeros(4, np.float32)}}, "expected a bias for each filter"),
        ({"arrays": {"conv1.bias": np.zeros(3)}}, "expected parameters of one dtype"),
        ({"arrays": {"conv1.bias": np.zeros(3, complex)}}, "expected real numbers"),
        ({"arrays": {"conv1.bias": np.array([None] * 3)}}, "expected a model file"),
        ({"arrays": {"affine2.weight": np.zeros((5, 3), np.float32)}}, "expected a bias for each column"),
    ],
)
def test_wrong_model_files_are_named(tmp_path, change, message):
    path = tmp_path / "model.npz"
    changed(path, **change)
    with pytest.raises(
        ValueError, match=rf"model\.npz: expected a model file of convnet: .*{message}|{message}"
    ) as caught:
        load_model(path)
    assert "model.npz" in str(caught.value)


def test_files_that_are_no_model_files_are_named(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(FileNotFoundError, match=r"model\.npz: expected a model file, but there is no such file"):
        load_model(path)
    save_model(convnet1(), path)
    whole = path.read_bytes()
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for content in (b"", b"hello", array.getvalue(), whole[:100], whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.npz: expected a model file of convnet: "):
            load_model(path)


def test_flipped_bytes_give_a_model_or_a_clear_error(tmp_path):
    path = tmp_path / "model.npz"
    save_model(convnet1(), path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            assert isinstance(load_model(path), Sequential)
        except ValueError as error:
            refused += "model.npz: expected a model file of convnet" in str(error)
    assert refused > 150
