"""What a Solver warns of, each time with a training in which it happens, and when it says nothing."""

import copy
import warnings

import numpy as np
import pytest

import convnet
from convnet import (
    SGD,
    Adam,
    Affine,
    BatchNorm2D,
    ConvNet1,
    ConvnetWarning,
    GlobalAveragePool,
    Momentum,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Solver,
    binary_loss,
    find_learning_rate,
)
from convnet.training.surprises import Surprises


def images_data(n=60, classes=3, seed=0):
    """Return images whose class is the third of them that is light; half of them for validation."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    x = rng.standard_normal((n, 1, 6, 6)).astype(np.float32)
    for label in range(classes):
        x[labels == label, :, 2 * label : 2 * label + 2] += 2
    x = (x - x.mean()) / x.std()
    half = n // 2
    return {"x_train": x[:half], "y_train": labels[:half], "x_validation": x[half:], "y_validation": labels[half:]}


def small_model(**options):
    return ConvNet1((1, 6, 6), num_filters=4, kernel_size=3, padding=1, hidden_size=20, num_classes=3, **options)


def told(make):
    """Return what `make` warns of: the messages of the library's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    assert all(warning.category is ConvnetWarning for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)  # the user's line, not one of the package
    return [str(warning.message) for warning in caught]


def train(data, optimizer, model=None, **options):
    solver = Solver(small_model() if model is None else model, data, optimizer, batch_size=10, **options)
    solver.train()
    return solver


@pytest.mark.parametrize("optimizer", [SGD(0.05), Momentum(0.01), Adam(1e-2)], ids=repr)
@pytest.mark.parametrize("average", [None, 0.9])
def test_a_good_training_says_nothing(optimizer, average):
    solvers = []
    optimizer = copy.deepcopy(optimizer)
    assert told(lambda: solvers.append(train(images_data(), optimizer, epochs=10, average=average))) == []
    assert solvers[0].best_validation_accuracy > 0.8


def test_a_rate_that_is_too_large_is_told_from_all_sides_and_once():
    data = images_data(300)

    def run():
        solver = train(data, SGD(3.0), epochs=2)
        solver.epochs = 4
        solver.train()

    messages = told(run)
    for beginning in (
        "Solver: the training diverges: the loss is about ",
        "Solver: at the end of the training the model predicts one and the same for all 150 validation examples",
        "Solver: 20 of the 20 units of relu2 give the same number for all of 50 validation examples",
    ):
        assert sum(message.startswith(beginning) for message in messages) == 1
    assert all("smaller learning rate than 3" in message for message in messages)


def test_dead_units_are_those_of_the_layers_outputs():
    data, model = images_data(), small_model(seed=3)
    x = data["x_validation"]
    model.params["conv1.bias"][:] = -1e3
    model.params["affine1.bias"][1:] = -1e3  # one unit of 20 stays
    model.params["affine1.weight"][:, 0] = 0
    model.params["affine1.bias"][0] = 1
    hidden = model.layers["relu1"](model.layers["conv1"](x))
    assert not hidden.any()
    messages = told(lambda: train(data, SGD(1e-9), model, epochs=1))
    assert [message[:40] for message in messages if "units" in message] == [
        "Solver: 4 of the 4 units of relu1 give t",
        "Solver: 20 of the 20 units of relu2 give",
    ]


def test_half_of_the_units_may_be_dead():
    model = small_model()
    model.params["affine1.bias"][:10] = -1e3
    assert not any("units" in message for message in told(lambda: train(images_data(), SGD(0.01), model, epochs=1)))


def test_a_sigmoid_that_is_saturated_is_told_too():
    model = small_model(activation=Sigmoid)
    model.params["affine1.bias"][:] = 1e3
    messages = told(lambda: train(images_data(), SGD(1e-9), model, epochs=1))
    assert any(message.startswith("Solver: 20 of the 20 units of sigmoid2 give") for message in messages)


def test_units_within_a_residual_are_named():
    rng = np.random.default_rng(0)
    inner = [convnet.Conv2D(1, 1, 3, padding=1, rng=rng), ReLU(), convnet.Conv2D(1, 1, 3, padding=1, rng=rng)]
    layers = [Residual(inner), GlobalAveragePool(), Affine(1, 3, rng=rng)]
    model = Sequential(layers, (1, 6, 6))
    model.params["residual1.layers.conv1.bias"][:] = -1e3
    messages = told(lambda: train(images_data(), SGD(1e-9), model, epochs=1))
    assert any("1 of the 1 units of residual1.layers.relu1 give" in message for message in messages)


def test_an_untrained_model_is_not_handed_back_without_a_word(monkeypatch):
    data = images_data()
    accuracies = iter([0.5, 0.9, 0.5, 0.2, 0.5, 0.3])  # of training and validation in turn
    real = Solver._accuracy

    def falling(self, *arguments, **options):
        return real(self, *arguments, **options)._replace(accuracy=next(accuracies))

    monkeypatch.setattr(Solver, "_accuracy", falling)
    model = small_model()
    before = {name: param.copy() for name, param in model.params.items()}
    (message,) = told(lambda: train(data, SGD(0.01), model, epochs=2))
    assert message.startswith("Solver: the model has the parameters from before the training again: no later accuracy")
    assert all(np.array_equal(param, before[name]) for name, param in model.params.items())
    accuracies = iter([0.5, 0.9, 0.5, 0.2, 0.5, 0.3])
    assert told(lambda: train(data, SGD(0.01), epochs=2, restore_best=False)) == []


def test_warnings_that_are_errors_leave_the_best_parameters():
    models = [small_model(), small_model()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(images_data(300), SGD(3.0), models[0], epochs=2)
        solver = Solver(models[1], images_data(300), SGD(3.0), batch_size=10, epochs=2)
        warnings.filterwarnings("error", "Solver: (at the end|20 of the 20 units|.* parameters from before)")
        with pytest.raises(ConvnetWarning):
            solver.train()
    for expected, found in zip(models[0].params.values(), models[1].params.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_training_that_is_stopped_before_its_first_epoch_ends_says_so():
    class Stop(convnet.Callback):
        def on_iteration_end(self, solver):
            solver.stop()

    (message,) = told(lambda: train(images_data(), SGD(1e-4), callbacks=[Stop()]))
    assert "again: the training ended before the next accuracy check; train to the end of an epoch" in message


def test_a_few_losses_that_are_high_for_a_moment_are_no_divergence():
    solver = Solver(small_model(), images_data(), SGD(0.1))
    for losses, expected in (
        ([3.0] + [300.0] * 5, 0),
        ([3.0] + [300.0] * 15 + [0.5] * 20, 0),
        ([3.0] * 60 + [29.0] * 60, 0),
        ([3.0] + [0.5] * 40 + [31.0] * 60, 1),
        ([3.0] * 10 + [31.0] * 12, 1),
        ([0.001] + [0.5] * 60, 0),  # no more than that of a model that knows nothing
        ([0.001] + [12.0] * 60, 1),
        ([-3.0] + [300.0] * 60, 0),  # of a loss that may be negative nobody knows what is large
    ):
        solver.state.loss_history[:] = losses
        look = Surprises().look_at_loss
        assert len(told(lambda: look(solver.model, solver.data, solver.state, 0.1))) == expected, losses  # noqa: B023


def test_the_diverged_loss_of_a_model_that_was_trained_before_is_not_one():
    model = small_model()
    train(images_data(), Momentum(0.02), model, epochs=60, restore_best=False)
    solvers = []
    messages = told(lambda: solvers.append(train(images_data(seed=1), Momentum(0.02), model, epochs=1)))
    assert not any("diverges" in message for message in messages)
    assert solvers[0].loss_history[0] < 0.5


@pytest.mark.parametrize(
    ("part", "effect"),
    [("train", "the model cannot learn them"), ("validation", "the validation accuracy says nothing of them")],
)
def test_classes_without_examples_are_named(part, effect):
    data, model = images_data(), small_model()
    kept = data[f"y_{part}"] != 1
    data[f"x_{part}"], data[f"y_{part}"] = data[f"x_{part}"][kept], data[f"y_{part}"][kept]
    assert told(lambda: Solver(model, data, SGD(0.1))) == [
        f"Solver: y_{part} lacks 1 of the 3 classes, 1: {effect}"
        + (
            "; give examples of them, or make a model of fewer classes"
            if part == "train"
            else "; shuffle the examples before they are divided, as split does"
        )
    ]
    model.class_names = ["cat", "dog", "bird"]
    (message,) = told(lambda: Solver(model, data, SGD(0.1)))
    assert "lacks 1 of the 3 classes, 1 (dog): " in message


def test_many_missing_classes_are_counted():
    data, model = images_data(), ConvNet1((1, 6, 6), num_classes=30)
    messages = told(lambda: Solver(model, data, SGD(0.1)))
    assert len(messages) == 2
    assert all("lacks 27 of the 30 classes, 3, 4, 5, 6, 7 and 22 more: " in message for message in messages)


def test_a_class_that_is_never_a_yes_is_named():
    data, rng = images_data(), np.random.default_rng(0)
    for part in ("train", "validation"):
        data[f"y_{part}"] = np.eye(4)[data[f"y_{part}"]]
    model = Sequential([Affine(36, 4, rng=rng)], (1, 6, 6), loss=binary_loss)
    messages = told(lambda: Solver(model, data, SGD(0.1)))
    assert [message[:46] for message in messages] == [
        "Solver: y_train lacks 1 of the 4 classes, 3: t",
        "Solver: y_validation lacks 1 of the 4 classes,",
    ]


RAW = np.random.default_rng(5).integers(0, 256, (60, 1, 6, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: RAW, "holds large numbers, such as pixels that nobody scaled (mean 12"),
        (lambda x: RAW / 255, "holds pixels in 0..1, which are not centred (mean 0.4"),
        (lambda x: x / 255, "hardly varies, as if it had been scaled twice ("),
        (lambda x: x + 5, "is far from centred (mean 4.9"),
        (lambda x: 0 * x, "holds one and the same number everywhere ("),
    ],
    ids=["raw", "0..1", "twice", "shifted", "constant"],
)
def test_inputs_that_nobody_prepared_are_told(change, found):
    data = images_data(120)
    data["x_train"], data["x_validation"] = change(data["x_train"]), change(data["x_validation"])
    (message,) = told(lambda: Solver(small_model(), data, SGD(0.1)))
    assert message.startswith(f"Solver: x_train {found}")
    assert "mean near 0 and a standard deviation near 1: take what preprocess returns" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: RAW / 127.5 - 1,
        lambda x: RAW / 255 - (RAW / 255).mean(),
        lambda x: 3 * x + 1,
        lambda x: (x > 0) - np.float32(0.1),
    ],
    ids=["standardised", "-1..1", "minus mean", "wide", "two tones"],
)
def test_inputs_that_are_prepared_in_another_usual_way_are_not_told(change):
    data = images_data(120)
    data["x_train"], data["x_validation"] = change(data["x_train"]), change(data["x_validation"])
    assert told(lambda: Solver(small_model(), data, SGD(0.1))) == []


def test_vectors_of_zeros_and_ones_are_usual():
    rng = np.random.default_rng(0)
    x = np.eye(6, dtype=np.float32)[rng.integers(0, 6, 60)]
    data = {"x_train": x, "y_train": np.arange(60) % 3, "x_validation": x, "y_validation": np.arange(60) % 3}
    assert told(lambda: Solver(Sequential([Affine(6, 3, rng=rng)], (6,)), data, SGD(0.1))) == []


@pytest.mark.parametrize("part", ["train", "validation"])
def test_parts_that_are_prepared_in_different_ways_are_told(part):
    data = images_data()
    data["x_validation"] = data["x_validation"] * 40 + 100
    messages = told(lambda: Solver(small_model(), data, SGD(0.1)))
    assert len(messages) == 1
    assert messages[0].startswith("Solver: x_train and x_validation seem to be prepared in different ways (mean ")


def test_raw_images_are_looked_at_as_the_model_gets_them(mnist):
    images, labels, *test = mnist
    options = {"num_validation": 500, "keep_uint8": True}
    for scaled, expected in ((True, 0), (False, 1)):
        changes = {} if scaled else {"divide_by_255": False, "divide_by_std": False}
        data, statistics = convnet.preprocess(images[:2000], labels[:2000], *test, **options, **changes)
        model = ConvNet1(hidden_size=10)
        model.statistics = statistics
        assert len(told(lambda: Solver(model, data, SGD(0.1)))) == expected  # noqa: B023


def test_mnist_is_told_of_in_no_usual_preparation(mnist):
    images, labels, *test = mnist
    for changes in ({}, {"divide_by_std": False}, {"per_pixel_std": True}):
        data, _ = convnet.preprocess(images[:6000], labels[:6000], *test, num_validation=1000, **changes)
        assert told(lambda: Solver(ConvNet1(hidden_size=10), data, SGD(0.1))) == []  # noqa: B023


def test_looking_changes_no_bit_and_draws_no_random_number(monkeypatch):
    def outcome():
        rng = np.random.default_rng(0)
        layers = [
            convnet.Conv2D(1, 4, 3, rng=rng),
            BatchNorm2D(4),
            ReLU(),
            convnet.Dropout(0.5),
            Affine(64, 3, rng=rng),
        ]
        model = Sequential(layers, (1, 6, 6))
        solver = train(images_data(), SGD(0.1), model, epochs=3)
        return (
            solver.loss_history,
            [a.tobytes() for a in (*model.params.values(), *model.state.values())],
            str(model.rng),
        )

    found = outcome()
    for name in ("look_at_data", "look_at_loss", "look_at_end"):
        monkeypatch.setattr(convnet.training.surprises.Surprises, name, lambda *_, **__: None)
    assert outcome() == found


def test_the_search_for_a_rate_does_not_repeat_what_the_solver_said():
    data = images_data()
    data["x_train"] = data["x_train"] + 100
    data["x_validation"] = data["x_validation"] + 100
    solvers = []
    assert len(told(lambda: solvers.append(Solver(small_model(), data, SGD(0.1))))) == 1
    assert told(lambda: find_learning_rate(solvers[0], steps=5)) == []
