"""Model files."""

import copy
import inspect
import io
import json
import zipfile
from functools import partial

import numpy as np
import pytest

import convnet
from convnet import (
    SGD,
    Affine,
    AveragePool2D,
    Conv2D,
    ConvNet1,
    Dropout,
    GlobalAveragePool,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Statistics,
    load_model,
    preprocess,
    save_model,
    softmax_loss,
    svm_loss,
)
from convnet.formats.archives import read_archive, write_archive
from convnet.layers.labels import BinaryLabels, labels_of
from convnet.layers.losses import LOSSES


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


def other_windows(dtype=np.float32):
    """Return a model whose windows files of version 1 do not have."""
    rng = np.random.default_rng(2)
    layers = [
        Conv2D(1, 2, (3, 2), stride=2, padding=((0, 1), (0, 1)), rng=rng, dtype=dtype),
        MaxPool2D(3, stride=2, padding=((0, 2), (1, 1)), ceil_mode=True),
        Affine(2 * 2 * 3, 4, rng=rng, dtype=dtype),
    ]
    return Sequential(layers, (1, 9, 8))


def other_options(dtype=np.float32):
    return ConvNet1(
        (1, 9, 8),
        num_filters=3,
        kernel_size=3,
        hidden_size=5,
        num_classes=4,
        activation=Sigmoid,
        pooling=AveragePool2D(3, stride=2, padding=1, count_padding=False),
        loss=partial(svm_loss, margin=0.5),
        dtype=dtype,
    )


def some_images(count=6):
    return np.random.default_rng(3).integers(0, 256, (count, 9, 8), dtype=np.uint8)


def some_statistics(**options):
    labels = np.arange(6) % 2
    return preprocess(some_images(), labels, some_images(), labels, num_validation=2, num_test=None, **options)[1]


@pytest.mark.parametrize("make", [convnet1, stack, other_windows, other_options])
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


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_its_options_come_back(tmp_path, rng, name):
    # A value for each option that is not its default.
    parameters = dict(list(inspect.signature(LOSSES[name]).parameters.items())[2:])
    parameters.pop("weights", None)
    options = {
        key: [0.5, 1.0, 0.0, 2.5] if p.default is None else p.default / 2 or 0.125 for key, p in parameters.items()
    }
    x, labels = 3 * rng.standard_normal((6, 3)), np.arange(6) % 4
    if isinstance(labels_of(LOSSES[name]), BinaryLabels):
        labels = rng.random((6, 4))
    for given in ({}, options, {key: np.array(value)[()] for key, value in options.items()}):
        loss = partial(LOSSES[name], **given) if given else LOSSES[name]
        model = Sequential([Affine(3, 4, rng=rng)], (3,), loss=loss)
        save_model(model, tmp_path / "model.npz")
        loaded = load_model(tmp_path / "model.npz")
        assert getattr(loaded.loss_function, "func", loaded.loss_function) is LOSSES[name]
        assert getattr(loaded.loss_function, "keywords", {}) == (options if given else {})
        assert loaded.loss(x, labels)[0] == model.loss(x, labels)[0]


@pytest.mark.parametrize("option", [{"class_weights": None}, {"smoothing": 0.25, "class_weights": None}])
def test_an_option_of_the_loss_that_is_none_is_not_saved(tmp_path, rng, option):
    model = Sequential([Affine(3, 4, rng=rng)], (3,), loss=partial(softmax_loss, **option))
    save_model(model, tmp_path / "model.npz")
    left = {key: value for key, value in option.items() if value is not None}
    assert getattr(load_model(tmp_path / "model.npz").loss_function, "keywords", {}) == left


class Series:
    """An array of another library's, as a Series of pandas is one: neither NumPy's nor a Sequence."""

    ndim = 1

    def __init__(self, values):
        self.values = np.array(values)

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype)


def test_weights_of_classes_may_be_an_array_of_another_library(tmp_path, rng):
    model = Sequential([Affine(3, 4, rng=rng)], (3,), loss=partial(softmax_loss, class_weights=Series([1, 2, 0.5, 3])))
    save_model(model, tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").loss_function.keywords == {"class_weights": [1.0, 2.0, 0.5, 3.0]}


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
        "loss_arguments": {},
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


class OwnStatistics:
    def apply(self, images):
        return images / 255


def unsaveable():
    layers = [Affine(72, 4, rng=np.random.default_rng(0)), OtherReLU()]
    yield Sequential(layers, (1, 9, 8)), TypeError, "expected the layer relu1 to be one of"
    weighted = partial(softmax_loss, weights=[2.0])
    yield Sequential(layers[:1], (1, 9, 8), loss=weighted), ValueError, "expected no weights of examples"
    yield Sequential(layers[:1], (1, 9, 8), loss=other_loss), TypeError, "expected the loss to be one of .*other_loss"
    yield Sequential(layers[:1], (1, 9, 8), loss=partial(other_loss)), TypeError, "got other_loss"
    model = convnet1()
    model.class_names = list("abcd")
    model.class_names.append("e")
    yield model, ValueError, "expected 4 class names"
    model = convnet1()
    model.class_names = list("abcd")
    model.class_names[1] = 1
    yield model, ValueError, "expected 4 class names"
    model = convnet1()
    model.statistics = OwnStatistics()
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
        ({"version": 3}, "it is of version 3, and this release of convnet reads version 1 and 2"),
        ({"format": "another"}, "its format is 'another'"),
        ({"model": "Model"}, "'Model' is missing or unknown"),
        ({"loss": "eval"}, "'eval' is missing or unknown"),
        ({"loss_arguments": {"margin": 2}}, "got an unexpected keyword argument 'margin'"),
        ({"loss": "svm_loss", "loss_arguments": {"margin": "wide"}}, "margin: expected a real number, got 'wide'"),
        ({"loss": "svm_loss", "loss_arguments": {"margin": -1}}, "margin: expected a finite number above 0"),
        ({"loss": "svm_loss", "loss_arguments": {"margin": [1.0]}}, r"margin: expected a real number, got \[1.0\]"),
        ({"loss_arguments": {"smoothing": 1}}, "smoothing: expected a finite number of at least 0 and below 1, got 1"),
        ({"loss_arguments": {"class_weights": 2}}, "class_weights: expected a list of numbers, got 2"),
        ({"loss_arguments": {"class_weights": {"a": 2}}}, "class_weights: expected a list of numbers, got {'a': 2}"),
        ({"loss_arguments": {"class_weights": ["heavy"] * 4}}, "class_weights: expected a real number, got 'heavy'"),
        ({"loss_arguments": {"class_weights": [[1.0]] * 4}}, r"class_weights: expected a real number, got \[1.0\]"),
        ({"loss_arguments": {"class_weights": [1.0, 2.0]}}, r"class_weights: expected shape \(4,\), got \(2,\)"),
        ({"loss_arguments": {"class_weights": [-1.0] * 4}}, "class_weights: expected finite numbers of at least 0"),
        ({"loss_arguments": {"weights": [1.0]}}, "expected no weights of examples"),
        ({"layers": [LAYER | {"class": "Dropout", "hyperparameters": {"rate": 2}}]}, "rate: expected a finite number"),
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


def test_a_loaded_model_trains_on_as_the_saved_one(tmp_path, dtype):
    model = convnet1(dtype)
    save_model(model, str(tmp_path / "model"))
    loaded = load_model(str(tmp_path / "model"))
    x = np.random.default_rng(0).standard_normal((3, 1, 9, 8))
    for one in (model, loaded):
        SGD(0.1).update(one.params, one.loss(x, [0, 1, 2])[1])
    assert loaded.scores(x).tobytes() == model.scores(x).tobytes()


def test_a_model_of_colour_images_predicts_the_same(tmp_path):
    rng = np.random.default_rng(4)
    model = Sequential([Conv2D(3, 2, (2, 3), stride=(1, 2), rng=rng), ReLU(), Affine(2 * 4 * 3, 5, rng=rng)], (3, 5, 7))
    for param in model.params.values():
        param += rng.standard_normal(param.shape).astype(np.float32)
    images = rng.integers(0, 256, (20, 5, 7, 3), dtype=np.uint8)
    model.statistics = preprocess(images, [0] * 20, images, [0] * 20, num_validation=1, num_test=None)[1]
    model.class_names = ("a", "b", "c", "d", "e")
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert loaded.statistics.mean.tobytes() == model.statistics.mean.tobytes()
    assert loaded.statistics.std.tobytes() == model.statistics.std.tobytes()
    assert loaded.predict_images(images).tolist() == model.predict_images(images).tolist()
    assert len(set(loaded.predict_images(images).tolist())) > 1
    assert list(loaded.class_names) == ["a", "b", "c", "d", "e"]


def test_parameters_written_on_another_machine_come_back(tmp_path):
    model, path = convnet1(), tmp_path / "model.npz"
    changed(path, arrays={name: param.astype(">f4") for name, param in model.params.items()})
    loaded = load_model(path)
    for name, param in model.params.items():
        assert loaded.params[name].tobytes() == param.tobytes()
        assert loaded.params[name].dtype.isnative


def with_param(name, change):
    """Return a model with one parameter replaced."""
    model = convnet1()
    layer, key = name.split(".")
    model.layers[layer].params[key] = change(model.params[name])
    return model


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("conv1.bias", lambda a: np.zeros(4, a.dtype), "layer conv1: Conv2D: expected a bias for each filter"),
        ("affine2.bias", lambda a: np.zeros(1, a.dtype), "layer affine2: Affine: expected a bias for each column"),
        ("affine1.bias", lambda a: a.astype(np.float16), "affine1.bias: expected .*float32 or float64, got float16"),
        ("affine1.weight", lambda a: a.astype(np.float64), "layer affine1: Affine: expected parameters of one dtype"),
        ("affine1.weight", lambda a: a.astype(int), "affine1.weight: expected real numbers in float32 or float64"),
        ("affine2.weight", lambda a: a[:-1], "expects 4 input features, got 5"),
        ("conv1.weight", lambda a: a[0], "layer conv1: Conv2D: weight: expected 4 axes"),
    ],
)
def test_parameters_that_could_not_be_loaded_again_are_not_saved(tmp_path, name, change, message):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=f"save_model: expected a model that load_model accepts, .*{message}"):
        save_model(with_param(name, change), path)
    assert path.read_bytes() == b"old"


def test_layers_of_different_dtypes_are_not_saved(tmp_path):
    model = convnet1()
    params = model.layers["affine1"].params
    params |= {key: param.astype(np.float64) for key, param in params.items()}
    with pytest.raises(ValueError, match=r"save_model: .* expected parameters of one dtype, got .*float32.*float64"):
        save_model(model, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("l2", "error", "message"),
    [
        (-1, ValueError, "expected a finite number of at least 0, got -1"),
        (np.nan, ValueError, "expected a finite number of at least 0, got nan"),
        ("much", TypeError, "expected a real number, got 'much'"),
    ],
)
def test_a_regularisation_that_could_not_be_loaded_again_is_not_saved(tmp_path, l2, error, message):
    model = convnet1()
    vars(model)["l2"] = l2  # past the check
    with pytest.raises(error, match=f"save_model: l2: {message}"):
        save_model(model, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("l2", [np.float32(1e-4), np.float64(0.5), np.int64(2), 1])
def test_a_regularisation_may_be_any_real_number(tmp_path, l2):
    model = convnet1()
    model.l2 = l2
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert type(loaded.l2) is float
    assert loaded.l2 == l2


class OtherSequential(Sequential):
    pass


def test_a_model_of_another_class_cannot_be_saved(tmp_path):
    model = OtherSequential([Affine(72, 4, rng=np.random.default_rng(0))], (1, 9, 8))
    with pytest.raises(TypeError, match="expected the model to be one of Sequential, ConvNet1, got OtherSequential"):
        save_model(model, tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_a_model_cannot_be_saved_in_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        save_model(convnet1(), tmp_path / "absent" / "model.npz")


@pytest.mark.parametrize(
    "statistics",
    [
        Statistics((1, 9, 9), True, np.zeros((1, 9, 9), np.float32), None),
        Statistics((1, 9, 9), True, None, None),
        Statistics((1, 9, 8), True, np.zeros((1, 9, 8)), None),
        Statistics((1, 9, 8), True, None, np.ones(8, np.float32)),
    ],
    ids=["size", "size without arrays", "dtype", "rank"],
)
def test_statistics_that_could_not_be_loaded_again_are_not_saved(tmp_path, statistics):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    model = convnet1()
    vars(model)["statistics"] = statistics  # past the check
    with pytest.raises((ValueError, TypeError), match="save_model: expected"):
        save_model(model, path)
    assert path.read_bytes() == b"old"


HEADER_KEYS = ["format", "version", "model", "input_shape", "l2", "loss", "layers", "statistics", "class_names"]


@pytest.mark.parametrize("key", HEADER_KEYS)
def test_a_header_without_one_of_its_entries_is_named(tmp_path, key):
    path = tmp_path / "model.npz"
    changed(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    assert sorted(header) == sorted([*HEADER_KEYS, "loss_arguments"])
    del header[key]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"model\.npz: expected a model file of convnet: '{key}' is missing"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": {"header": np.frombuffer(b"[" * 100_000, np.uint8)}},
        {"arrays": {"header": np.frombuffer(b"null", np.uint8)}},
        {"arrays": {"header": np.zeros(3)}},
        {"l2": 10**400},
        {"l2": -1},
        {"l2": float("nan")},
        {"input_shape": [1, 9]},
        {"input_shape": ["1", "9", "8"]},
        {"model": ["ConvNet1"]},
        {"version": "1"},
        {"layers": [{}]},
        {"layers": [LAYER | {"class": "MaxPool2D", "hyperparameters": {"kernel_size": 0}}]},
        {"layers": [LAYER | {"class": "MaxPool2D", "hyperparameters": {"kernel_size": [2, 2, 2]}}]},
        {"layers": [LAYER | {"name": None}] * 2},
        {"arrays": {"affine1.weight": np.zeros((49, 5), np.float32)}},
        {"arrays": {name: np.zeros(shape) for name, shape in (("affine2.weight", (5, 4)), ("affine2.bias", (4,)))}},
        {"arrays": {"conv1.weight": np.zeros((3, 1, 3, 3), bool)}},
        {"arrays": {"conv1.weight": np.full((3, 1, 3, 3), "a")}},
        {"arrays": {"conv1.weight": np.zeros((3, 1, 3, 3), np.int64)}},
        {"arrays": {"conv1.weight": np.full((3, 1, 3, 3), None)}},
        {"arrays": {"conv1.more": np.zeros(3, np.float32)}},
        {"class_names": 5},
        {"class_names": ["too", "few"]},
        {"class_names": [1, 2, 3, 4]},
        {"class_names": "four"},
    ],
    ids=[
        *["deep header", "header null", "header floats", "l2 huge", "l2 negative", "l2 nan", "shape rank"],
        *["shape strings", "model list", "version string", "layer empty", "kernel 0", "kernel triple", "layer no name"],
        *["do not fit", "dtypes differ", "booleans", "strings", "integers", "objects", "one more parameter"],
        *["names number", "names few", "names no strings", "names a string"],
    ],
)
def test_more_wrong_model_files_are_named(tmp_path, change):
    path = tmp_path / "model.npz"
    changed(path, **change)
    with pytest.raises(ValueError, match=r"model\.npz: expected a model file of convnet"):
        load_model(path)


NEW_WINDOWS = {
    "other sides": Conv2D(1, 1, 2, padding=((0, 1), (0, 0)), rng=np.random.default_rng(0)),
    "pooling of other sides": MaxPool2D(3, padding=((0, 1), (1, 1))),
    "padding above half the kernel": AveragePool2D(3, padding=2),
    "rounded up": MaxPool2D(2, ceil_mode=True),
}


@pytest.mark.parametrize("name", NEW_WINDOWS)
def test_a_file_with_windows_that_version_1_does_not_have_is_of_version_2(tmp_path, name):
    layer, path = NEW_WINDOWS[name], tmp_path / "model.npz"
    for layers in ([layer, GlobalAveragePool()], [Residual([layer], [copy.deepcopy(layer)]), GlobalAveragePool()]):
        model = Sequential(layers, (1, 5, 5))
        save_model(model, path)
        with pytest.raises(ValueError, match="it is of version 2, and this release of convnet reads version 1"):
            read_archive(path, "model", (1,))
        assert repr(load_model(path)) == repr(model)
    layers = [
        Conv2D(1, 2, 3, padding=5, rng=np.random.default_rng(0)),
        MaxPool2D(3, padding=(1, 0)),
        GlobalAveragePool(),
    ]
    save_model(Sequential(layers, (1, 5, 5)), path)
    assert read_archive(path, "model", (1,))[0]["version"] == 1


@pytest.mark.parametrize(
    "padding",
    [
        *[[[0, 1]], [[0, 1], [0]], [[0, 1], 1], [[0, -1], [0, 0]], [[0, 1.0], [0, 0]], [[0, True], [0, 0]]],
        *[
            [[0, 3], [0, 0]],
            [[0, 2**31], [0, 0]],
            [[[0, 1]] * 2] * 2,
            [["0", "1"]] * 2,
            "01",
            {"top": 1},
            [[0, 1]] * 1000,
        ],
    ],
    ids=lambda padding: f"{padding!r:.30}",
)
def test_wrong_padding_in_a_file_is_one_clear_error(tmp_path, padding):
    path = tmp_path / "model.npz"
    save_model(Sequential([MaxPool2D(3, padding=((0, 1), (0, 0))), GlobalAveragePool()], (1, 5, 5)), path)
    header, arrays = read_archive(path, "model", (2,))
    header["layers"][0]["hyperparameters"]["padding"] = padding
    write_archive(path, "model", 2, header, arrays)
    message = r"model\.npz: expected a model file of convnet: .*MaxPool2D: .*padding"
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert len(str(caught.value)) < 1000


def test_a_file_without_arguments_of_the_loss_has_none(tmp_path):
    path = tmp_path / "model.npz"
    changed(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    del header["loss_arguments"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    assert load_model(path).loss_function is softmax_loss


def test_a_loaded_model_with_dropout_predicts_and_trains(tmp_path):
    model = ConvNet1((1, 9, 8), num_filters=3, kernel_size=3, hidden_size=50, num_classes=4, dropout=Dropout(0.5))
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert repr(loaded) == repr(model)
    x, labels = np.random.default_rng(0).standard_normal((6, 1, 9, 8)), np.arange(6) % 4
    assert loaded.scores(x).tobytes() == model.scores(x).tobytes()
    assert loaded.loss(x, labels)[0] != loaded.loss(x, labels)[0]  # each time other units are dropped


def test_a_header_that_claims_a_billion_classes_is_refused(tmp_path):
    header = {"model": "Sequential", "input_shape": [10**9], "l2": 0.0, "loss": "softmax_loss", "loss_arguments": {}}
    header |= {"layers": [{"name": "relu1", "class": "ReLU", "hyperparameters": {}}]}
    header |= {"statistics": None, "class_names": None}
    write_archive(tmp_path / "model.npz", "model", 1, header, {})
    with pytest.raises(ValueError, match=r"model\.npz: .*expected at most 1,000,000 classes, got the output shape"):
        load_model(tmp_path / "model.npz")


def test_layers_without_end_are_refused(tmp_path):
    path = tmp_path / "model.npz"
    save_model(Sequential([convnet.ReLU()], (3,)), path)
    for count, refused in ((3000, False), (20_000, True)):
        header = json.loads(bytes(np.load(path)["header"]))
        header["layers"] = [{"name": "relu1", "class": "ReLU", "hyperparameters": {}}] * count
        write_archive(tmp_path / "many.npz", "model", 1, header, {})
        if refused:
            with pytest.raises(ValueError, match="expected at most 10,000 layers, got 20,000"):
                convnet.load_model(tmp_path / "many.npz")
        else:
            assert len(convnet.load_model(tmp_path / "many.npz").layers) == count


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_statistics_that_are_not_finite_are_not_saved(tmp_path, name, value):
    model = convnet.ConvNet1((1, 8, 8), hidden_size=2)
    arrays = {"mean": np.zeros((1, 8, 8), np.float32), "std": np.ones((1, 8, 8), np.float32)}
    arrays[name][0, 3, 4] = value
    model.statistics = convnet.Statistics((1, 8, 8), True, **arrays)
    with pytest.raises(ValueError, match=f"save_model: expected the statistic {name} to be finite"):
        save_model(model, tmp_path / "model.npz")


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"save_model: expected a model such as ConvNet1\(\), got 'model'"):
        save_model("model", tmp_path / "model.npz")
    with pytest.raises(TypeError, match="export: expected a model such as ConvNet1"):
        convnet.webpage.export("model", tmp_path / "page.html")
