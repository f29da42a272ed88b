"""The state of a training: the copies of the model that it keeps are of one moment, its layers' state included."""

import json

import numpy as np
import pytest
from batch_norm import BatchNorm, arrays_of, batch, equal, make_data, make_model, make_solver, outcome

import convnet
from convnet import Adam
from convnet.formats import read_archive
from convnet.training.state import TrainingState, model_arrays, restore

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")

# -------------------------------------------------------------------------------------------- the Solver's copies


def test_the_best_model_is_restored_with_its_state():
    kept = []

    class Keep(convnet.Callback):
        def on_epoch_end(self, solver):
            kept.append((arrays_of(solver.model), solver.validation_accuracy_history[-1]))
            if solver.epoch == 2:
                solver.model.params["affine2.weight"][...] *= -1  # from here on it gets worse

    solver = make_solver([Keep()], optimizer=convnet.SGD)
    solver.train()
    best = max(range(len(kept)), key=lambda epoch: kept[epoch][1])
    assert best < len(kept) - 1  # otherwise the test could not tell
    equal(arrays_of(solver.model), kept[best][0])
    equal(solver.best_params | solver.best_state, kept[best][0])
    assert list(solver.best_params) == list(solver.model.params)
    assert list(solver.best_state) == list(solver.model.state)
    data = make_data()
    assert solver.check_accuracy(data["x_validation"], data["y_validation"]) == solver.best_validation_accuracy
    for name, array in solver.model.state.items():
        assert not np.shares_memory(array, solver.best_state[name])


def test_without_restoring_the_last_state_stays():
    solver, steps = make_solver(restore_best=False), make_solver()
    solver.train()
    while steps.iteration < steps.num_iterations:
        steps.step()
    equal(arrays_of(solver.model), arrays_of(steps.model))


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_stopped_training_goes_on_with_the_last_state(restore_best):
    class StopAt(convnet.Callback):
        def on_iteration_end(self, solver):
            if solver.iteration in (4, 12, 13):
                solver.stop()

    whole, stopped = make_solver(restore_best=restore_best), make_solver([StopAt()], restore_best=restore_best)
    whole.train()
    for iterations in (4, 12, 13, 24):
        stopped.train()
        assert stopped.iteration == iterations
        if restore_best:
            equal(arrays_of(stopped.model), stopped.best_params | stopped.best_state)
    assert outcome(stopped) == outcome(whole)


def test_divergence_restores_the_state_of_the_last_check():
    kept = {}

    class Break(convnet.Callback):
        def on_epoch_end(self, solver):
            kept.update(arrays_of(solver.model))

        def on_iteration_end(self, solver):
            if solver.iteration == 15:
                solver.model.params["affine1.weight"][0, 0] = np.nan

    solver = make_solver([Break()])
    with pytest.raises(FloatingPointError, match="iteration 16 is nan"):
        solver.train()
    assert solver.epoch == 2
    equal(arrays_of(solver.model), kept)


def test_a_state_that_is_not_finite_is_found_by_the_accuracy_check():
    kept = {}

    class Break(convnet.Callback):
        def on_epoch_end(self, solver):
            kept.update(arrays_of(solver.model))

        def on_iteration_end(self, solver):
            if solver.iteration == 12:
                solver.model.state["norm2.running_var"][3] = np.inf

    solver = make_solver([Break()])
    with pytest.raises(FloatingPointError, match=r"after iteration 12.* norm2\.running_var is the first"):
        solver.train()
    equal(arrays_of(solver.model), kept)


def test_a_prediction_names_a_state_that_is_not_a_number():
    model = make_model()
    model.state["norm2.running_mean"][2] = np.nan
    with pytest.raises(ValueError, match=r"got NaN for x\[0\]: .*norm2.running_mean is the first that is not finite"):
        model.predict(batch()[0])


def test_reset_begins_with_the_model_as_it_is():
    solver = make_solver()
    start = arrays_of(solver.model)
    solver.train()
    first = outcome(solver)
    restore(solver.model, start)
    solver.reset()
    assert (solver.best_params, solver.best_state) == ({}, {})
    solver.train()
    assert outcome(solver) == first


def test_the_copies_of_a_training_state_do_not_share_memory():
    model = make_model()
    state = TrainingState(model, 10, 0)
    assert (state.iteration, state.best, state.last, state.checked_iteration) == (0, {}, {}, -1)
    start = arrays_of(model)
    equal(state.checked, start)
    model.train_step(*batch(), Adam(0.1))
    equal(state.checked, start)  # they are copies
    state.best = state.checked
    state.keep(model)
    equal(state.best, start)
    equal(state.checked, arrays_of(model))
    for name, array in model_arrays(model).items():
        assert not np.shares_memory(state.best[name], state.checked[name])
        assert not np.shares_memory(array, state.checked[name])
    state.keep_last(model)
    after = arrays_of(model)
    restore(model, state.best)
    equal(arrays_of(model), start)
    state.take_back_last(model)
    equal(arrays_of(model), after)
    assert state.last == {}
    restore(model, state.best)
    state.keep_last(model)
    model.state["norm1.running_mean"][0] = 7  # what a user has changed since is not taken back
    changed = arrays_of(model)
    state.take_back_last(model)
    equal(arrays_of(model), changed)


def test_the_order_of_an_epoch_is_drawn_once():
    state, other = (TrainingState(make_model(), 20, 3) for _ in range(2))
    state.shuffle(0)
    first = state.order.copy()
    state.shuffle(0)
    np.testing.assert_array_equal(state.order, first)
    state.shuffle(1)
    assert (state.order != first).any()
    assert sorted(state.order) == list(range(20))
    other.order[...] = other.order[::-1].copy()  # the order does not depend on the one before
    other.shuffle(0)
    np.testing.assert_array_equal(other.order, first)
    assert state.shuffling.random() != state.augmenting.random()


# ------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("optimizer", [convnet.SGD, Adam])
def test_every_checkpoint_leads_to_the_same_bits(tmp_path, optimizer, restore_best):
    options = {"optimizer": optimizer, "restore_best": restore_best}
    whole = make_solver([convnet.Checkpoint(tmp_path, iterations=1, keep=100)], **options)
    whole.train()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == whole.num_iterations + 1
    for path in paths:
        solver = make_solver(**options)
        solver.resume(path)
        solver.train()
        assert outcome(solver) == outcome(whole)


def test_a_checkpoint_holds_parameters_and_state_by_name(tmp_path):
    solver = make_solver()
    solver.train()
    solver.save(tmp_path / "one.npz")
    header, arrays = read_archive(tmp_path / "one.npz", "checkpoint", (2,))
    names = {*solver.model.params, *solver.model.state}
    for prefix in ("model", "best", "last"):
        assert {name for name in names if f"{prefix}.{name}" in arrays} == names
    assert not any(name.startswith("params.") for name in arrays)
    assert header["instruction_set"] == convnet._kernels.instruction_set()
    json.dumps(header)
    equal({name: arrays[f"best.{name}"] for name in names}, solver.best_params | solver.best_state)


def test_a_checkpoint_without_a_state_is_named_and_changes_nothing(tmp_path):
    solver, other = make_solver(), make_solver()
    solver.step()
    solver.save(tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz") as file:
        arrays = dict(file)
    before = outcome(other)
    for name in ("model.norm1.running_mean", "checked.norm2.running_var"):
        np.savez(tmp_path / "less.npz", **{key: array for key, array in arrays.items() if key != name})
        with pytest.raises(ValueError, match=rf"less\.npz: .*'{name}' is missing"):
            other.resume(tmp_path / "less.npz")
    assert outcome(other) == before


# --------------------------------------------------------------------------------- arrays that are replaced


def replaced(model, dtype=np.float32, change=lambda array: array):
    """Replace a parameter and an array of the state."""
    for layer, part, key in (("affine2", "params", "bias"), ("norm1", "state", "running_var")):
        arrays = getattr(model.layers[layer], part)
        arrays[key] = change(arrays[key].astype(dtype))


class ReplaceAt(convnet.Callback):
    """Replaces the model's arrays after an iteration."""

    def __init__(self, iteration, **options):
        self.iteration, self.options = iteration, options

    def on_iteration_end(self, solver):
        if solver.iteration == self.iteration:
            replaced(solver.model, **self.options)


WRONG = {
    "affine2.bias to be float32 of shape (3,), as when the Solver was made, got float64 of shape (3,)": {
        "dtype": np.float64
    },
    "affine2.bias to be float32 of shape (3,), as when the Solver was made, got float32 of shape (1,)": {
        "change": lambda array: array[:1]
    },
    "affine2.bias to be float32 of shape (3,), as when the Solver was made, got float32 of shape (2, 3)": {
        "change": lambda array: np.stack([array, array])
    },
}


@pytest.mark.parametrize(("message", "options"), WRONG.items(), ids=["dtype", "smaller", "axes"])
def test_arrays_that_were_replaced_by_ones_that_do_not_fit_are_named(tmp_path, message, options):
    for iteration in (None, 1, 5, 6, 11, 12):  # before the training; and after an iteration, that of an epoch's end too
        solver = make_solver([] if iteration is None else [ReplaceAt(iteration, **options)])
        if iteration is None:
            replaced(solver.model, **options)
        with pytest.raises(ValueError, match=r"^Solver: expected affine2") as caught:
            solver.train()
        assert message in str(caught.value)
        assert "make a new Solver, or call reset" in str(caught.value)
        assert solver.iteration == (iteration or 0)
        for act, arguments in ((solver.step, ()), (solver.train, ()), (solver.save, (tmp_path / "one.npz",))):
            with pytest.raises(ValueError, match=r"^Solver: expected affine2"):
                act(*arguments)
        assert not list(tmp_path.iterdir())


def test_a_replaced_array_that_does_not_fit_is_named_before_resume_changes_anything(tmp_path):
    make_solver().save(tmp_path / "one.npz")
    solver = make_solver()
    replaced(solver.model, change=lambda array: array[:1])
    with pytest.raises(ValueError, match=r"^Solver: expected affine2"):
        solver.resume(tmp_path / "one.npz")


def test_arrays_that_were_replaced_by_ones_that_fit_are_trained_on():
    solver, twin = make_solver(), make_solver([ReplaceAt(5)])
    solver.train()
    twin.train()
    assert outcome(solver) == outcome(twin)


def test_reset_takes_over_arrays_of_another_shape():
    solver = make_solver()
    solver.train()
    hidden = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    for name, key, array in (
        ("affine1", "weight", hidden),
        ("affine1", "bias", np.zeros(8, np.float32)),
        ("affine2", "weight", np.ascontiguousarray(solver.model.params["affine2.weight"][:8])),
    ):
        solver.model.layers[name].params[key] = array
    norm = BatchNorm(8)
    solver.model.layers["norm2"].params, solver.model.layers["norm2"].state = norm.params, norm.state
    solver.reset()
    solver.train()
    assert solver.best_params["affine1.weight"].shape == (6, 8)
    equal(arrays_of(solver.model), solver.best_params | solver.best_state)


class Lazy(BatchNorm):
    """Makes an array of its state when it is first used."""

    def update_state(self, cache):
        self.state.setdefault("count", np.zeros(1))
        super().update_state(cache)


@pytest.mark.parametrize("batch_size", [10, 53])  # found by the next step, or by the check after the only one
def test_a_state_that_a_layer_adds_while_it_trains_is_named(batch_size):
    rng = np.random.default_rng(0)
    model = convnet.Sequential([Lazy(6), convnet.Affine(6, 3, rng=rng)], (6,))
    solver = convnet.Solver(model, make_data(), Adam(0.05), batch_size=batch_size)
    message = (
        r"^Solver: expected the arrays .*, got norm1\.count too; a layer makes all its params and state in its constr"
    )
    with pytest.raises(ValueError, match=message):
        solver.train()
    assert solver.iteration == 1
    assert list(solver.best_state) == ["norm1.running_mean", "norm1.running_var"]
    solver = convnet.Solver(model, make_data(), Adam(0.05))
    del model.layers["norm1"].state["count"]
    with pytest.raises(
        ValueError, match=r"^Solver: expected the array norm1\.count, which the model had when .*, got none"
    ):
        solver.train()


def test_restore_changes_nothing_where_one_array_does_not_fit():
    model = make_model()
    snapshot = {name: array + 1 for name, array in model_arrays(model).items()}
    snapshot["norm2.running_var"] = np.ones(3, np.float32)
    before = arrays_of(model)
    with pytest.raises(ValueError, match=r"expected norm2\.running_var to be float32 of shape \(3,\)"):
        restore(model, snapshot)
    equal(arrays_of(model), before)
