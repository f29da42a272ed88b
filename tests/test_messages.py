"""What a user is told of wrong arguments: which one, what came, and the remedy, which works."""

from functools import partial

import numpy as np
import pytest
from cases import squared_loss

import convnet
from convnet import (
    SGD,
    Affine,
    Augmentation,
    Conv2D,
    ConvNet1,
    Mixup,
    Sequential,
    Solver,
    Statistics,
    binary_loss,
    functional,
    gradient_error,
    load_model,
    plot_confusion,
    plot_curves,
    plot_errors,
    plot_examples,
    plot_learning_rates,
    plot_predictions,
    plot_profile,
    plot_training,
    preprocess,
    preprocess_parts,
    read_idx,
    save_model,
    softmax_loss,
    split,
    svm_loss,
)
from convnet.training.parallel import OneProcess

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((30, 1, 8, 6)).astype(np.float32), np.arange(30) % 3
IMAGES = RNG.integers(0, 256, (30, 8, 6), dtype=np.uint8)
RAGGED = [[1, 2], [3]]
ONE_HOT = np.eye(3)[LABELS]


def model():
    return ConvNet1((1, 8, 6), num_filters=2, hidden_size=3, num_classes=3)


def solver(**changes):
    data = {"x_train": X, "y_train": LABELS, "x_validation": X, "y_validation": LABELS}
    return Solver(model(), data | changes, SGD(0.1))


LABELS_AND_REMEDIES = {
    "one-hot": (ONE_HOT, TypeError, "float64", lambda labels: labels.argmax(axis=1)),
    "one-hot integers": (
        np.eye(3, dtype=int)[LABELS],
        ValueError,
        "shape (30, 3)",
        lambda labels: labels.argmax(axis=1),
    ),
    "one-hot truths": (ONE_HOT > 0, TypeError, "bool", lambda labels: labels.argmax(axis=1)),
    "floats": (LABELS.astype(np.float32), TypeError, "float32", lambda labels: labels.astype(int)),
    "column": (LABELS[:, None], ValueError, "shape (30, 1)", lambda labels: labels.reshape(-1).astype(int)),
    "column of floats": (1.0 * LABELS[:, None], TypeError, "float64", lambda labels: labels.reshape(-1).astype(int)),
    "from 1": (LABELS + 1, ValueError, "got 3", lambda labels: labels - 1),
    "words": (
        np.array(["ant", "bee", "cat"])[LABELS],
        TypeError,
        "<U3",
        lambda labels: np.unique(labels, return_inverse=True)[1],
    ),
}
SHOWN = {
    "one-hot": "; one-hot labels become classes by labels.argmax(axis=1)",
    "floats": "; whole numbers become classes by labels.astype(int)",
    "column": "; labels.reshape(-1).astype(int) makes classes of a column",
    "from": "; classes are counted from 0: labels - 1",
    "words": "; numpy.unique(labels, return_inverse=True)[1] numbers the classes",
}
TAKE_LABELS = {
    "Solver": lambda labels: solver(y_train=labels),
    "check_accuracy": lambda labels: solver().check_accuracy(X, labels),
    "loss": lambda labels: model().loss(X, labels),
    "train_step": lambda labels: model().train_step(X, labels, SGD(0.1)),
    "softmax_loss": lambda labels: softmax_loss(np.zeros((30, 3)), labels),
    "svm_loss": lambda labels: svm_loss(np.zeros((30, 3)), labels),
}


@pytest.mark.parametrize("take", TAKE_LABELS.values(), ids=TAKE_LABELS.keys())
@pytest.mark.parametrize("kind", LABELS_AND_REMEDIES)
def test_labels_of_another_kind_are_named_with_a_remedy_that_works(take, kind):
    labels, error, got, remedy = LABELS_AND_REMEDIES[kind]
    with pytest.raises(error) as caught:
        take(labels)
    assert got in str(caught.value)
    assert str(caught.value).endswith(SHOWN[kind.split(" ")[0]])
    np.testing.assert_array_equal(remedy(labels), LABELS)
    take(remedy(labels))


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("kind", [kind for kind in LABELS_AND_REMEDIES if kind not in ("from 1", "words")])
def test_labels_of_preprocess_get_the_same_remedies(kind, part):
    """It does not know how many classes there are, and for words `make_parts` is the way."""

    def prepare(labels):
        given = {"y_train": LABELS, "y_test": LABELS} | {f"y_{part}": labels}
        return preprocess(x_train=IMAGES, x_test=IMAGES, num_validation=6, num_test=None, **given)

    labels, error, _, remedy = LABELS_AND_REMEDIES[kind]
    with pytest.raises(error, match=f"^preprocess: y_{part}: expected ") as caught:
        prepare(labels)
    assert str(caught.value).endswith(SHOWN[kind.split(" ")[0]])
    data, _ = prepare(remedy(labels))
    np.testing.assert_array_equal(data[f"y_{part}"], LABELS[: len(data[f"y_{part}"])])


@pytest.mark.parametrize(
    "labels", [RNG.random((30, 3)), RNG.random(30), np.zeros((30, 3), int)], ids=["rows", "half", "0"]
)
def test_no_remedy_is_given_that_would_be_wrong(labels):
    with pytest.raises((TypeError, ValueError)) as caught:
        solver(y_train=labels)
    assert ";" not in str(caught.value)


def test_labels_of_classes_for_a_loss_of_rows_become_rows():
    with pytest.raises(ValueError, match=r"got shape \(30,\); numpy.eye\(3\)\[labels\] has a row for each example"):
        binary_loss(np.zeros((30, 3)), LABELS)
    binary_loss(np.zeros((30, 3)), np.eye(3)[LABELS])

    own = Sequential([Affine(4, 2, rng=np.random.default_rng(0))], (4,), loss=squared_loss)
    with pytest.raises(ValueError, match=r"expected labels of shape \(3, 2\), one for each class, got shape \(3,\)$"):
        own.loss(np.zeros((3, 4)), np.zeros(3))


INPUTS = {
    "channels last": (lambda x: x.transpose(0, 2, 3, 1), lambda x: x.transpose(0, 3, 1, 2), ".transpose(0, 3, 1, 2)"),
    "no channels": (lambda x: x[:, 0], lambda x: x[:, None], "[:, None]"),
    "rows": (lambda x: x.reshape(len(x), -1), lambda x: x.reshape(-1, 1, 8, 6), ".reshape(-1, 1, 8, 6)"),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("what", ["predict", "loss", "solver", "check_accuracy"])
def test_inputs_of_another_shape_are_named_with_a_remedy_that_works(kind, what):
    change, remedy, shown = INPUTS[kind]
    take = {
        "predict": lambda x: model().predict(x),
        "loss": lambda x: model().loss(x, LABELS),
        "solver": lambda x: solver(x_train=x),
        "check_accuracy": lambda x: solver().check_accuracy(x, LABELS),
    }[what]
    with pytest.raises(ValueError, match=r"\(N, 1, 8, 6\)") as caught:
        take(change(X))
    assert ("x_train" if what == "solver" else "x") + shown in str(caught.value)
    np.testing.assert_array_equal(remedy(change(X)), X)
    take(remedy(change(X)))


def test_images_for_a_model_of_rows_become_rows():
    rows = Sequential([Affine(48, 3, rng=np.random.default_rng(0))], (48,))
    with pytest.raises(ValueError, match=r"x.reshape\(len\(x\), -1\) makes rows of images"):
        rows.predict(X)
    assert rows.predict(X.reshape(len(X), -1)).shape == (30,)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: solver(x_train=RAGGED), "Solver: x_train"),
        (lambda: solver(y_train=RAGGED * 15), "Solver: y_train"),
        (lambda: solver(weights_train=RAGGED), "Solver: weights_train"),
        (lambda: solver().check_accuracy(RAGGED, LABELS), "check_accuracy: x"),
        (lambda: solver().check_accuracy(X, RAGGED), "check_accuracy"),
        (lambda: model().predict(RAGGED), "ConvNet1: x"),
        (lambda: model().loss(X, RAGGED), "softmax_loss"),
        (lambda: Statistics((1, 8, 6), True, None, None).prepare(RAGGED), "Statistics.prepare: x"),
        (lambda: plot_examples(RAGGED, [0, 1]), "plot_examples: images"),
        (lambda: plot_examples(IMAGES, RAGGED), "plot_examples: labels"),
        (lambda: plot_errors(RAGGED, LABELS, LABELS), "plot_errors: images"),
        (lambda: plot_errors(IMAGES, RAGGED, LABELS), "plot_errors: labels"),
        (lambda: plot_confusion(RAGGED, LABELS), "plot_confusion: labels"),
        (lambda: plot_confusion(LABELS, RAGGED), "plot_confusion: predictions"),
        (lambda: gradient_error(float, np.zeros(2), RAGGED, rng=RNG), "gradient_error: gradient"),
        (lambda: functional.conv2d_forward(RAGGED, X), "Conv2D: x"),
    ],
)
def test_lists_of_different_lengths_are_named(call, what):
    with pytest.raises(ValueError, match=f"^{what}: expected an array, got lists of different lengths$"):
        call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: solver(x_train=np.full(X.shape, "a")),
            TypeError,
            "Solver: expected x_train to hold real numbers",
        ),
        (
            lambda: solver(x_train=X.astype(object)),
            TypeError,
            "expected x_train to hold real numbers, got dtype o",
        ),
        (
            lambda: Solver(model(), {"x_train": X, "y_train": LABELS, "x_val": X}, SGD(0.1)),
            ValueError,
            r"got no 'x_validation' but \['x_train', 'x_val', 'y_train'\]",
        ),
        *(
            (
                lambda wrong=wrong: Solver(model(), {"x_train": X, "y_train": LABELS}, SGD(0.1), distributed=wrong),
                TypeError,
                r"Solver: expected distributed to be None or an object such as DataParallel\(\)",
            )
            for wrong in (True, 4, OneProcess, model())
        ),
        (lambda: model().train_step(X, LABELS, SGD), TypeError, "expected optimizer to be an object such as SGD"),
        (lambda: model().train_step(X, LABELS, None), TypeError, "expected optimizer to be an object such as SGD"),
        (lambda: model().predict(X, flips=1), TypeError, "flips: expected True or False, got 1"),
        (lambda: model().probabilities(X, flips=None), TypeError, "flips: expected True or False, got None"),
        (lambda: model().load_params(3), TypeError, "expected the parameters as a dictionary of arrays by name, got 3"),
        (lambda: model().load_state(None), TypeError, "expected the state as a dictionary of arrays by name, got None"),
        (
            lambda: SGD(0.1).update([1], {}),
            TypeError,
            "SGD: expected parameters and gradients as dictionaries",
        ),
        (lambda: ConvNet1(dtype="junk"), TypeError, "dtype: expected float32 or float64, got 'junk'"),
        (lambda: Conv2D(1, 2, 3, rng=RNG, dtype="half"), TypeError, "dtype: expected float32 or float64, got float16"),
        (lambda: ConvNet1((28, 28, 1)), ValueError, r"whose channels seem to come last: \(1, 28, 28\)"),
        (lambda: ConvNet1((32, 24, 3)), ValueError, r"whose channels seem to come last: \(3, 32, 24\)"),
        (
            lambda: Sequential([Affine(3, 2, rng=RNG)], 3),
            ValueError,
            r"got 3; \(3,\) is a shape of one axis",
        ),
        (
            lambda: solver(y_train=LABELS > 0),
            TypeError,
            r"got dtype bool; truth values become classes by labels.astype\(int\)$",
        ),
        (
            lambda: preprocess(np.ma.masked_greater(IMAGES, 200), LABELS, IMAGES, LABELS),
            TypeError,
            r"preprocess: x_train: expected an array without a mask, got a masked one; array.filled\(value\) fills it",
        ),
        (
            lambda: Augmentation()(X, 0),
            TypeError,
            "Augmentation: rng: expected a numpy.random.Generator such as .*, got 0",
        ),
        (lambda: Mixup(1.0)(X, None), TypeError, "Mixup: rng: expected a numpy.random.Generator such as .*, got None"),
        (lambda: ConvNet1(loss="softmax"), TypeError, "loss: expected a function such as softmax_loss, got 's"),
        (
            lambda: ConvNet1(loss=partial(softmax_loss, smooth=0.1)),
            TypeError,
            "^ConvNet1: loss: softmax_loss has no option 'smooth'; did you mean 'smoothing'",
        ),
        (
            lambda: ConvNet1(loss=partial(partial(svm_loss, margin=2), width=0.1)),
            TypeError,
            "^ConvNet1: loss: svm_loss has no option 'width'; its options are margin$",
        ),
        (
            lambda: ConvNet1(loss=partial(softmax_loss, class_weights="balanced")),
            TypeError,
            "^ConvNet1: loss: softmax_loss: class_weights: expected real numbers, got 'balanced'; balanced_weights",
        ),
        (
            lambda: Solver(model(), split(IMAGES, LABELS), SGD(0.1)),
            TypeError,
            r"got parts of raw images; data, statistics = preprocess_parts\(parts\)",
        ),
        (
            lambda: Solver(model(), preprocess_parts(split(IMAGES, LABELS)), SGD(0.1)),
            TypeError,
            r"got a tuple; data, statistics = preprocess\(...\)",
        ),
        (
            lambda: Solver(model(), split(IMAGES, LABELS)["train"], SGD(0.1)),
            TypeError,
            r"got an ImageData; data, statistics = preprocess_parts\(split\(images, validation=0.2\)\)",
        ),
        (
            lambda: setattr(model(), "statistics", preprocess_parts(split(IMAGES, LABELS))),
            TypeError,
            r"expected statistics from preprocess, got a tuple; data, statistics = preprocess\(...\)$",
        ),
        (
            lambda: model().predict(split(IMAGES, LABELS)["train"]),
            TypeError,
            "x: expected an array, got the whole ImageData; give one of its images, labels, class_names, reader, fil",
        ),
        (
            lambda: split(split(IMAGES, LABELS)["train"], 0.2),
            TypeError,
            r"got more; sizes have names: split\(data, validation=0.2\)$",
        ),
        (
            lambda: split("photos", validation=0.2),
            TypeError,
            r"expected images, got a path; split\(load_data\('photos', size=32\)\[\"train\"\]\)$",
        ),
        (
            lambda: ConvNet1(class_names=["a", "b"]),
            TypeError,
            "^ConvNet1: unexpected argument 'class_names'; it is an attribute: model.class_names = names$",
        ),
        (lambda: ConvNet1(classes=3), TypeError, "unexpected argument 'classes'; a ConvNet1 has num_classes="),
        (
            lambda: model().predict("photo.jpg"),
            TypeError,
            "expected prepared images as an array of numbers, got dtype <U9; classify and predict_images take files",
        ),
        (
            lambda: model().predict(np.zeros((20, 30, 3), np.uint8)),
            ValueError,
            "classify and predict_images take raw images of other shapes",
        ),
        (
            lambda: preprocess_parts(split(IMAGES, LABELS)["train"]),
            TypeError,
            r'got an ImageData; {"train": data} has one part, and split\(data\) divides it',
        ),
        (
            lambda: split(IMAGES, LABELS, validation="20 %"),
            TypeError,
            "split: validation: expected a fraction as a float, or a number of images, got '20 %'",
        ),
        (
            lambda: preprocess(IMAGES, LABELS, IMAGES, LABELS, num_validation=3, num_test=9, divide_by_std=None),
            TypeError,
            "divide_by_std: expected True or False, got None",
        ),
        *(
            (lambda call=call: call(class_names=5), TypeError, "plot_.*: class_names: expected a list of texts, got 5")
            for call in (
                partial(plot_examples, IMAGES, LABELS),
                partial(plot_errors, IMAGES, LABELS, LABELS),
                partial(plot_confusion, LABELS, LABELS),
                partial(plot_predictions, IMAGES, ONE_HOT),
            )
        ),
        (lambda: plot_training(model()), TypeError, "plot_training: expected a Solver, got ConvNet1, input"),
        (lambda: plot_learning_rates(None), TypeError, "plot_learning_rates: expected what find_learning_rate returns"),
        (lambda: plot_profile(None), TypeError, "plot_profile: expected what model.plan"),
        (
            lambda: plot_curves({"a": [1]}, [1], xlabel="", ylabel=""),
            TypeError,
            "plot_curves: expected a dictionary of panels, each a dictionary of curves by name",
        ),
        (
            lambda: plot_examples(IMAGES, LABELS.astype(str), class_names=["a", "b", "c"]),
            TypeError,
            "plot_examples: expected integer labels where there are class names, got dtype <U21",
        ),
        (
            lambda: gradient_error(3, np.zeros(2), np.zeros(2), rng=RNG),
            TypeError,
            "gradient_error: expected a function",
        ),
        (lambda: gradient_error(float, [0.0], [0.0], rng=RNG), TypeError, "expected an array of float64, got a list"),
        (
            lambda: gradient_error(float, np.zeros(2), np.zeros(2), rng=0),
            TypeError,
            "gradient_error: rng: expected a numpy.random.Generator",
        ),
        (lambda: save_model(model(), None), TypeError, "expected the path of a file, got None"),
        (lambda: load_model(12345), TypeError, "expected the path of a file, got 12345"),
        (lambda: read_idx(12345), TypeError, "expected the path of a file, got 12345"),
    ],
)
def test_arguments_of_another_kind_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_shapes_whose_last_axis_may_be_channels_are_taken():
    """What is narrow, and what has as many channels, is no image with its channels last."""
    for shape in ((1, 28, 3), (3, 9, 1), (1, 1, 1)):
        assert ConvNet1(shape, kernel_size=1, padding=0, pool_size=1, hidden_size=2).input_shape == shape
    assert convnet.ConvNet1((64, 4, 1), kernel_size=1, padding=0, pool_size=1, hidden_size=2).input_shape == (64, 4, 1)
