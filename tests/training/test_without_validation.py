"""A Solver without a validation part: the last parameters stay."""

import io

import numpy as np
import pytest
from cases import drawn
from checkpoint_runs import make_data, make_solver, outcome

import convnet
from convnet import SGD, Checkpoint, EarlyStopping, PlateauDecay, ProgressBar, balanced_accuracy, plot_training

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")

DATA = {name: array for name, array in make_data().items() if name.endswith("_train")}


def bits(model):
    return [array.tobytes() for array in (*model.params.values(), *model.state.values())]


@pytest.mark.parametrize("restore_best", [True, False])
def test_the_last_parameters_stay_and_are_those_of_a_training_with_validation(restore_best):
    without = make_solver(data=DATA | {"x_test": None}, restore_best=restore_best)
    with_one = make_solver(restore_best=False)
    without.train()
    with_one.train()
    assert bits(without.model) == bits(with_one.model)
    assert without.loss_history == with_one.loss_history
    assert without.train_accuracy_history == with_one.train_accuracy_history
    assert without.validation_accuracy_history == without.validation_loss_history == without.best_by_history == []
    assert (without.best_validation_accuracy, without.best_params, without.has_validation) == (-1, {}, False)


def test_the_averages_stay():
    without, with_one = (make_solver(data=data, average=0.9, restore_best=False) for data in (DATA, None))
    restoring = make_solver(data=DATA, average=0.9)
    for solver in (without, with_one, restoring):
        solver.train()
    assert bits(without.model) == bits(with_one.model) == bits(restoring.model)


@pytest.mark.parametrize("average", [None, 0.9])
def test_every_checkpoint_leads_to_the_same_bits(tmp_path, average):
    def make(*callbacks):
        return make_solver("Adam", callbacks, data=DATA, average=average)

    whole = make(Checkpoint(tmp_path, iterations=1, keep=100))
    whole.train()
    for path in sorted(tmp_path.iterdir())[::6]:
        solver = make()
        solver.resume(path)
        solver.train()
        assert outcome(solver) == outcome(whole)
    with pytest.raises(ValueError, match="it is a checkpoint of another run: x_validation is not in it, expected"):
        make_solver("Adam", average=average).resume(tmp_path)


def test_a_training_that_was_stopped_goes_on():
    class Stop(convnet.Callback):
        def on_iteration_end(self, solver):
            if solver.iteration in (5, 20):
                solver.stop()

    whole, stopped = make_solver(data=DATA), make_solver(callbacks=[Stop()], data=DATA)
    whole.train()
    for iterations in (5, 20, whole.num_iterations):
        stopped.train()
        assert stopped.iteration == iterations
    assert outcome(stopped) == outcome(whole)


def test_progress_and_figures_show_what_there_is():
    output = io.StringIO()
    solver = make_solver(data=DATA, callbacks=[ProgressBar(output)], epochs=2)
    solver.train()
    assert "validation" not in output.getvalue()
    assert output.getvalue().startswith("epoch 1/2: loss ")
    figure = plot_training(solver)
    drawn(figure)
    above, below = figure.axes
    assert (len(above.lines), len(below.lines)) == (1, 1)
    np.testing.assert_allclose(below.lines[0].get_ydata(), 100 * np.array(solver.train_accuracy_history))
    assert convnet.find_learning_rate(solver, steps=5).losses.size


def test_divergence_restores_the_last_check():
    class Break(convnet.Callback):
        def on_iteration_end(self, solver):
            if solver.iteration == 20:
                solver.model.params["affine1.weight"][0, 0] = np.nan

    whole = make_solver(data=DATA, epochs=1)
    whole.train()
    solver = make_solver(data=DATA, callbacks=[Break()])
    with pytest.raises(FloatingPointError, match="the model has the parameters of the last accuracy check again"):
        solver.train()
    assert bits(solver.model) == bits(whole.model)


def test_warnings_are_of_the_training_examples():
    rng = np.random.default_rng(0)
    data = {"x_train": rng.standard_normal((60, 1, 8, 8), np.float32), "y_train": np.arange(60) % 3}
    solver = make_solver(data=data, epochs=2)
    solver.model.params["affine1.bias"][:] = -1e3
    with pytest.warns(convnet.ConvnetWarning) as caught:
        solver.train()
    messages = [str(warning.message) for warning in caught]
    assert any(
        "one and the same for all training examples that it was checked on, whatever" in message for message in messages
    )
    assert any("units of relu2 give the same number for all of 50 training examples" in m for m in messages)
    assert not any("validation" in message or "from before the training" in message for message in messages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best_by": "loss"}, "Solver: best_by: expected data with a validation part for validation loss, got none"),
        ({"best_by": balanced_accuracy}, "best_by: expected data with a validation part for balanced_accuracy"),
        ({"schedule": PlateauDecay()}, r"Solver: schedule: expected data with a validation part for PlateauDecay\("),
    ],
)
def test_what_needs_a_validation_part_says_so(options, message):
    with pytest.raises(ValueError, match=message):
        make_solver(data=DATA, **options)


def test_early_stopping_needs_one():
    solver = make_solver(data=DATA, callbacks=[EarlyStopping(2)])
    with pytest.raises(ValueError, match="EarlyStopping: expected data with a validation part, got none"):
        solver.train()
    assert solver.iteration == 0
    with pytest.raises(ValueError, match="Solver: schedule: expected data with a validation part"):
        solver.schedule = PlateauDecay()


def test_a_part_of_no_examples_is_none():
    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 3
    data, _ = convnet.preprocess(images, labels, images, labels, num_validation=0, num_test=None)
    assert len(data["x_validation"]) == 0
    assert not make_solver(data=data).has_validation
    with pytest.raises(ValueError, match=r"expected x_validation of shape .*, N at least 1"):
        make_solver(data=data | {"y_validation": np.zeros(3, int)})


@pytest.mark.parametrize("name", ["x_val", "X_valid", "val_x", "y_validation", "validation"])
def test_a_misspelt_part_is_not_taken_for_none(name):
    with pytest.raises(ValueError, match=r"Solver: expected data with x_validation and y_validation, got no '"):
        make_solver(data=DATA | {name: DATA["x_train"]})


def test_images_of_ones_own_need_neither_validation_nor_test():
    rng = np.random.default_rng(0)
    labels = np.repeat(["no", "yes"], 30)
    images = rng.integers(0, 60, (60, 8, 8), dtype=np.uint8) + np.uint8(120) * (labels == "yes")[:, None, None]
    images[labels == "yes", :, 4:] //= 3
    parts = convnet.split(images, labels, validation=0)
    assert list(parts) == ["train"]
    data, statistics = convnet.preprocess_parts(parts)
    model = convnet.ConvNet1((1, 8, 8), num_filters=4, hidden_size=10, num_classes=2)
    model.statistics, model.class_names = statistics, parts["train"].class_names
    solver = convnet.Solver(model, data, SGD(0.05), batch_size=10, epochs=5)
    solver.train()
    assert solver.check_accuracy(data["x_train"], data["y_train"]) > 0.95
    assert model.classify(images).names == model.classify(list(images)).names
    assert np.mean(np.array(model.classify(images).names) == labels) > 0.95
