"""Raw images where prepared ones are expected, each with the right answers beside the wrong ones."""

import warnings

import numpy as np
import pytest

import convnet
from convnet import SGD, Affine, ConvNet1, ConvnetWarning, Sequential, Solver, preprocess, softmax_loss


def told(make):
    """Return what `make` warns of: the messages of the library's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    assert all((warning.category, warning.filename) == (ConvnetWarning, __file__) for warning in caught)
    return [str(warning.message) for warning in caught]


@pytest.fixture
def photos():
    return np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def model_for(photos, **options):
    labels = np.arange(len(photos)) % 3
    data, statistics = preprocess(photos, labels, photos, labels, num_validation=10, num_test=None, **options)
    model = Sequential([Affine(90, 3, rng=np.random.default_rng(1))], (3, 6, 5))
    model.statistics = statistics
    return model, data["x_test"]


METHODS = {
    "scores": lambda model, x: model.scores(x),
    "probabilities": lambda model, x: model.probabilities(x),
    "predict": lambda model, x: model.predict(x),
    "flips": lambda model, x: model.predict(x, flips=True),
}
# The floats that a user may give instead of prepared ones, from raw images (N, C, H, W).
WRONG = {
    "0..255": lambda raw: raw.astype(np.float32),
    "0..1": lambda raw: raw / 255,
    "ints": lambda raw: raw.astype(int),
}
PREPARATIONS = {
    "default": {},
    "mean": {"divide_by_std": False},
    "pixel std": {"per_pixel_std": True},
    "no unit": {"divide_by_255": False},
    "mean alone": {"divide_by_255": False, "divide_by_std": False},
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("count", [1, 40])
def test_floats_that_nobody_prepared_are_told(photos, method, wrong, count):
    model, prepared = model_for(photos)
    raw = np.ascontiguousarray(photos.transpose(0, 3, 1, 2))[:count]
    (message,) = told(lambda: method(model, wrong(raw)))
    assert message.startswith("Sequential: x seems not to be prepared: it goes from ")
    assert "give raw images as uint8, to predict_images or of shape (N, C, H, W)" in message
    assert told(lambda: method(model, prepared[:count])) == []
    assert told(lambda: method(model, raw)) == []
    np.testing.assert_array_equal(method(model, raw), method(model, prepared[:count]))


@pytest.mark.parametrize("options", PREPARATIONS.values(), ids=PREPARATIONS.keys())
def test_what_the_statistics_prepare_is_right_and_pixels_are_told(photos, options):
    model, prepared = model_for(photos, **options)
    raw = photos.transpose(0, 3, 1, 2)
    assert told(lambda: model.predict(prepared)) == []
    assert told(lambda: model.predict(prepared * 1.3)) == []  # an augmentation may go a little further
    assert len(told(lambda: model.predict(raw.astype(np.float32)))) == 1
    assert len(told(lambda: model.predict(raw / 255))) == 1


def test_the_range_of_prepared_images_is_reached_by_black_and_white(photos):
    for options in PREPARATIONS.values():
        model, _ = model_for(photos, **options)
        ends = np.stack([np.zeros((3, 6, 5), np.uint8), np.full((3, 6, 5), 255, np.uint8)])
        prepared = model.statistics.prepare(ends)
        np.testing.assert_allclose(model.statistics.prepared_range, (prepared[0].min(), prepared[1].max()), rtol=1e-5)


def test_digits(mnist):
    images, labels, *test = mnist
    data, statistics = preprocess(images[:2000], labels[:2000], *test, num_validation=500, num_test=None)
    model = ConvNet1(hidden_size=10)
    model.statistics = statistics
    for x in (data["x_test"], data["x_test"][:1], np.zeros((1, 1, 28, 28)), 0.1 * data["x_train"]):
        assert told(lambda: model.predict(x)) == []  # noqa: B023
    for n in range(0, 2000, 7):
        assert told(lambda: model.predict(data["x_test"][n : n + 1])) == []  # noqa: B023
    assert len(told(lambda: model.predict(test[0][:, None].astype(np.float32)))) == 1
    assert len(told(lambda: model.predict(test[0][:1, None] / 255))) == 1


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_a_model_without_statistics_says_that_pixels_are_taken_as_they_are(photos, method):
    model, prepared = model_for(photos)
    model.statistics = None
    raw = np.ascontiguousarray(photos.transpose(0, 3, 1, 2))
    (message,) = told(lambda: method(model, raw))
    assert message.startswith("Sequential: x holds raw images, of uint8, and the model has no statistics that prepare")
    (message,) = told(lambda: method(model, raw.astype(np.float32)))
    assert message.startswith("Sequential: x seems to hold raw images, whole numbers from 0 to 253, and the model has")
    assert told(lambda: method(model, prepared)) == []
    assert told(lambda: method(model, raw / 255)) == []  # as it may have been trained


def test_training_steps_say_it_of_bytes(photos):
    model, _ = model_for(photos)
    model.statistics = None
    raw, labels = photos.transpose(0, 3, 1, 2), np.arange(40) % 3
    assert len(told(lambda: model.loss(raw, labels))) == 1
    assert len(told(lambda: model.train_step(raw, labels, SGD(1e-6)))) == 1


def test_a_solver_looks_at_what_its_accuracy_is_asked_for(photos):
    model, prepared = model_for(photos)
    labels = np.arange(40) % 3
    data = {"x_train": prepared, "y_train": labels, "x_validation": prepared, "y_validation": labels}
    solver = Solver(model, data, SGD(1e-4), epochs=1)
    (message,) = told(lambda: solver.check_accuracy(photos.transpose(0, 3, 1, 2).astype(np.float32), labels))
    assert message.startswith("check_accuracy: x seems not to be prepared: it goes from 0 to 253")
    assert told(lambda: solver.check_accuracy(prepared, labels)) == []


def test_vectors_are_not_images():
    model = Sequential([Affine(4, 3, rng=np.random.default_rng(0))], (4,), loss=softmax_loss)
    assert told(lambda: model.predict(np.array([[200, 100, 30, 0]], np.uint8))) == []
    assert told(lambda: model.predict(np.array([[200.0, 100, 30, 0]]))) == []


def test_floats_in_predict_images_are_refused_with_the_remedy(photos):
    model, _ = model_for(photos)
    with pytest.raises(TypeError, match="expected images of dtype uint8, got float64") as error:
        model.predict_images(photos / 255)
    assert "numpy.uint8" in str(error.value)
    assert isinstance(model.predict_images(photos), np.ndarray)
    assert convnet.ConvnetWarning.__mro__[1] is UserWarning
