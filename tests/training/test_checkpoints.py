"""Checkpoints: a training that is interrupted, killed or moved to another process ends with the same bits."""

import io
import signal
from functools import partial

import kills
import numpy as np
import pytest
from checkpoint_runs import OPTIMIZERS, Seen, make_data, make_solver, outcome

import convnet
from convnet import Statistics, _kernels, softmax_loss
from convnet.formats.archives import write_archive
from convnet.training import checkpoints
from convnet.training.run import described

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_checkpoint_leads_to_the_same_bits(tmp_path, optimizer, restore_best):
    whole = make_solver(optimizer, [convnet.Checkpoint(tmp_path, iterations=1, keep=100)], restore_best=restore_best)
    whole.train()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == whole.num_iterations + 1
    for path in paths[::5] + paths[-14:]:
        solver = make_solver(optimizer, restore_best=restore_best)
        solver.resume(path)
        solver.train()
        assert outcome(solver) == outcome(whole)


def test_more_epochs_and_other_callbacks_may_follow(tmp_path):
    whole = make_solver()
    whole.train()
    make_solver(callbacks=[convnet.Checkpoint(tmp_path)], epochs=2).train()
    more = make_solver(callbacks=[convnet.ProgressBar(io.StringIO())], epochs=4)
    more.resume(tmp_path)
    assert more.epoch == 2
    more.train()
    assert outcome(more) == outcome(whole)


class StopAt(convnet.Callback):
    """Ends the training after some iterations."""

    def __init__(self, *iterations):
        self.iterations = iterations

    def on_iteration_end(self, solver):
        if solver.iteration in self.iterations:
            solver.stop()


# An epoch has 13 iterations: steps within the first, up to its end, beyond it, and between two calls of `train`.
@pytest.mark.parametrize("steps", [(1, 0), (13, 0), (20, 0), (1, 3), (0, 14), (52, 0), (60, 0)])
@pytest.mark.parametrize("restore_best", [True, False])
def test_every_checkpoint_of_a_training_with_steps_leads_to_the_same_bits(tmp_path, steps, restore_best):
    whole = make_solver("Adam", [StopAt(22), convnet.Checkpoint(tmp_path, iterations=1, keep=100)])
    whole.restore_best = restore_best
    for count in steps:
        for _ in range(count):
            whole.step()
        whole.train()
    whole.train()
    assert whole.iteration >= whole.num_iterations
    assert len(whole.train_accuracy_history) == len(whole.validation_accuracy_history) >= 1
    paths = sorted(tmp_path.iterdir())
    for path in paths[:3] + paths[3:-3:6] + paths[-3:]:
        solver = make_solver("Adam", restore_best=restore_best)
        solver.resume(path)
        if steps[1] and solver.iteration <= 22:
            continue  # what follows are steps, which a Solver that resumes does not make
        solver.train()
        assert outcome(solver) == outcome(whole)


def test_early_stopping_stays_stopped_and_an_epochs_end_is_not_lost(tmp_path):
    def stopping(*callbacks):
        return make_solver(callbacks=[convnet.EarlyStopping(1), *callbacks], epochs=30)

    whole = stopping(convnet.Checkpoint(tmp_path, iterations=1, keep=1000))
    whole.train()
    assert whole.epoch < 30
    for path in sorted(tmp_path.iterdir())[-3:]:
        solver = stopping()
        solver.resume(path)
        solver.train()
        assert outcome(solver) == outcome(whole)


def test_an_interrupt_within_a_step_that_fails_is_not_lost():
    solver = make_solver()

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        raise FloatingPointError("not finite")

    solver.model.train_step = interrupted
    with pytest.raises(KeyboardInterrupt) as caught:
        solver.train()
    assert isinstance(caught.value.__context__, FloatingPointError)


def test_a_checkpoint_within_a_step_is_refused(tmp_path):
    def saving(scores, labels):
        if solvers:
            with pytest.raises(RuntimeError, match="got one with a step that runs or failed"):
                solvers[0].save(tmp_path / "one.npz")
        return convnet.softmax_loss(scores, labels)

    solvers = []
    solvers.append(make_solver(loss=saving))
    solvers[0].step()
    assert not list(tmp_path.iterdir())
    solvers[0].save(tmp_path / "one.npz")


DIFFERENCES = {
    "batch_size 7, expected 8": {"batch_size": 8},
    "seed 3, expected 4": {"seed": 4},
    "restore_best True, expected False": {"restore_best": False},
    "num_train_check 20, expected None": {"num_train_check": None},
    "schedule 'EpochDecay(0.7)', expected None": {"schedule": None},
    "augmentation 'Augmentation": {"augmentation": None},
    "expected 'Augmentation(shift=1, rotation=5.0)'": {"augmentation": convnet.Augmentation(shift=1, rotation=5)},
    "statistics=Statistics(image_shape=(1, 8, 8)": {
        "augmentation": convnet.Augmentation(
            shift=1, rotation=10, statistics=Statistics((1, 8, 8), True, np.full((1, 8, 8), 0.5, np.float32), None)
        )
    },
    "optimizer 'SGD(0.05)', expected 'Adam": {"optimizer": "Adam"},
    "loss 'convnet.layers.losses.softmax_loss', expected 'convnet.layers.losses.svm_loss'": {"loss": convnet.svm_loss},
    "fuse True, expected False": {"fuse": False},
    "dtype ['float32'], expected ['float64']": {"dtype": np.float64},
    "layer affine1 'Affine(in_features=48, out_features=9)', expected": {"hidden_size": 10},
    "l2 0.0001, expected 0.5": {"l2": 0.5},
    "x_train 'float32 of shape (90, 1, 8, 8) with crc32 ": {"data": make_data(seed=5)},
}


@pytest.mark.parametrize(("message", "changes"), DIFFERENCES.items(), ids=DIFFERENCES)
def test_a_checkpoint_of_another_run_is_refused_with_the_difference(tmp_path, message, changes):
    solver = make_solver()
    solver.save(tmp_path / "one.npz")
    other = make_solver(**changes)
    before = outcome(other)
    with pytest.raises(ValueError, match=r"one\.npz: it is a checkpoint of another run: ") as caught:
        other.resume(tmp_path / "one.npz")
    assert message in str(caught.value)
    assert str(caught.value).endswith("; make the model and the Solver as they were then, or use another folder")
    assert outcome(other) == before


def test_a_regularisation_of_numpys_type_is_the_same_number(tmp_path):
    solver, other = make_solver(), make_solver()
    solver.model.l2, other.model.l2 = np.float32(0.25), 0.25
    solver.save(tmp_path / "one.npz")
    other.resume(tmp_path / "one.npz")


def test_data_in_the_other_byte_order_are_the_same_data(tmp_path):
    make_solver().save(tmp_path / "one.npz")
    swapped = {name: array.astype(array.dtype.newbyteorder()) for name, array in make_data().items()}
    again = make_solver(data=swapped)
    again.resume(tmp_path / "one.npz")
    assert again.iteration == 0
    swapped["x_train"][3, 0, 2, 1] += 1
    with pytest.raises(ValueError, match="x_train 'float32 of shape"):
        make_solver(data=swapped).resume(tmp_path / "one.npz")


def test_no_checkpoints_and_other_files_are_named(tmp_path):
    solver = make_solver()
    with pytest.raises(FileNotFoundError, match="expected a checkpoint or a folder of them, but there is none"):
        solver.resume(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent: expected a checkpoint or a folder"):
        solver.resume(tmp_path / "absent")
    convnet.save_model(solver.model, tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"expected a checkpoint file of convnet: its format is 'convnet model'"):
        solver.resume(tmp_path / "model.npz")
    for version in (1, 3):
        write_archive(tmp_path / "other.npz", "checkpoint", version, {}, {})
        message = f"it is of version {version}, and this release of convnet reads version 2"
        with pytest.raises(ValueError, match=message):
            solver.resume(tmp_path / "other.npz")


def test_a_damaged_checkpoint_leads_to_the_one_before(tmp_path):
    make_solver(callbacks=[convnet.Checkpoint(tmp_path, iterations=10)], epochs=2).train()
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    solver = make_solver()
    with pytest.warns(UserWarning, match="expected a checkpoint file of convnet.*; the one before is taken"):
        solver.resume(tmp_path)
    assert solver.iteration == 20


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_every_generator_of_the_model_goes_on(tmp_path, bits):
    def make():
        solver = make_solver()
        solver.model.rng = np.random.Generator(bits(5))
        return solver

    whole = make()
    whole.train()
    first, second = make(), make()
    for _ in range(9):
        first.step()
    first.save(tmp_path / "one.npz")
    second.resume(tmp_path / "one.npz")
    assert second.model.rng.random() == first.model.rng.random()


def test_what_is_wrong_in_a_checkpoint_is_named_and_changes_nothing(tmp_path):
    written = []
    solver = make_solver("Adam")
    for _ in range(3):
        solver.step()
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as context:
        context.setattr(checkpoints, "write_archive", lambda *arguments: written.append(arguments[3:]))
        solver.save("unused")
    ((header, arrays),) = written
    changes = [
        ({"iteration": -1}, {}, "iteration"),
        ({"iteration": 4}, {}, "loss_history: expected 4 entries, got 3"),
        ({"order_epoch": "x"}, {}, "epoch"),
        ({"is_stopping": 3}, {}, "is_stopping"),
        ({"generators": {}}, {}, "'shuffling' is missing"),
        (
            {"generators": header["generators"] | {"model": {"bit_generator": "MT19937"}}},
            {},
            "state must be for a PCG64",
        ),
        ({"optimizer_has_state": False}, {"model.conv1.bias": np.zeros(9)}, "model.conv1.bias: expected float32"),
        ({}, {"model.conv1.weight": np.zeros(3, np.float32)}, "model.conv1.weight: expected float32 of shape"),
        ({}, {"checked.conv1.bias": np.zeros(3)}, "checked.conv1.bias: expected float32"),
        ({}, {"optimizer.mean.conv1.bias": np.zeros(4, np.float32)}, "optimizer.mean.conv1.bias: expected"),
        ({}, {"order": np.zeros(90, np.int64)}, "expected a permutation of 90 examples"),
        ({}, {"loss_history": np.zeros((3, 1))}, "expected an axis of float64"),
        ({}, {"validation_accuracy_history": np.zeros(1)}, "validation_accuracy_history: expected 0 entries, got 1"),
        (
            {"checked_iteration": 27},
            {f"{part}_accuracy_history": np.zeros(4) for part in ("train", "validation")},
            "train_accuracy_history: expected 1 to 3 entries, got 4",
        ),
        (
            {"checked_iteration": 27},
            {"train_accuracy_history": np.zeros(3), "validation_accuracy_history": np.zeros(2)},
            "validation_accuracy_history: expected 3 entries, got 2",
        ),
        ({"checked_iteration": 2}, {}, "train_accuracy_history: expected 1 entries, got 0"),
    ]
    for header_changes, array_changes, message in changes:
        path = tmp_path / "wrong.npz"
        write_archive(path, "checkpoint", 2, header | header_changes, arrays | array_changes)
        other = make_solver("Adam")
        before = outcome(other)
        with pytest.raises(ValueError, match=r"wrong\.npz: expected a checkpoint file of convnet: ") as caught:
            other.resume(path)
        assert message in str(caught.value)
        assert outcome(other) == before


def test_another_instruction_set_is_a_warning(tmp_path, monkeypatch):
    solver = make_solver()
    monkeypatch.setattr("convnet._kernels.instruction_set", lambda: "sse9")
    solver.save(tmp_path / "one.npz")
    monkeypatch.undo()
    current = _kernels.instruction_set()
    message = f"written with the instruction set 'sse9', and '{current}' is in use: .*see CONVNET_SIMD"
    with pytest.warns(UserWarning, match=message):
        solver.resume(tmp_path / "one.npz")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_training_that_is_killed_thirty_times_ends_with_the_same_bytes(tmp_path):
    kills.compare(tmp_path, 30)


def test_what_has_a_checkpoints_name_and_cannot_be_read_is_passed_over(tmp_path):
    make_solver(epochs=1, callbacks=[convnet.Checkpoint(tmp_path)]).train()
    (tmp_path / "checkpoint-99991231T000000000000-0000000001.npz").mkdir()
    solver = make_solver()
    with pytest.warns(UserWarning, match="the one before is taken"):
        solver.resume(tmp_path)
    assert solver.epoch == 1


class Collecting(Seen):
    """As `Seen`, and takes over a state in the list that it has."""

    def load_state(self, arrays):
        self.iterations[:] = arrays["iterations"].tolist()


class Refusing(Seen):
    """As `Seen`, and finds a state wrong after it took over a part of it."""

    def load_state(self, arrays):
        self.iterations = arrays["iterations"][:1].tolist()
        if len(arrays["iterations"]) > 2:
            raise ValueError("expected fewer iterations")
        super().load_state(arrays)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_callback_that_refuses_its_state_changes_nothing(tmp_path, steps):
    def make():
        return make_solver("Adam", [Seen(), Collecting(), Refusing(), Seen()], epochs=1)

    whole = make()
    whole.train()
    whole.save(tmp_path / "one.npz")
    other = make()
    for _ in range(steps):
        other.step()
        for callback in other.callbacks:
            callback.on_iteration_end(other)
    other.save(tmp_path / "before.npz")
    before = outcome(other)
    with pytest.raises(ValueError, match=r"one\.npz: .*expected fewer iterations"):
        other.resume(tmp_path / "one.npz")
    assert outcome(other) == before
    assert [callback.iterations for callback in other.callbacks] == [list(range(1, steps + 1))] * 4
    other.save(tmp_path / "after.npz")
    assert (tmp_path / "after.npz").read_bytes() == (tmp_path / "before.npz").read_bytes()


def test_an_optimizer_that_refuses_its_state_changes_nothing(tmp_path):
    whole = make_solver("Adam", [Seen()], epochs=1)
    whole.train()
    whole.save(tmp_path / "one.npz")
    other = make_solver("Adam", [Seen()], epochs=1)
    other.optimizer.load_state = lambda state: exec("raise ValueError('expected another state')")
    before = outcome(other)
    with pytest.raises(ValueError, match=r"one\.npz: .*expected another state"):
        other.resume(tmp_path / "one.npz")
    assert outcome(other) == before
    assert other.callbacks[0].iterations == []


def test_a_checkpoint_tells_long_weights_of_classes_apart():
    def loss(weights):
        return partial(softmax_loss, class_weights=weights)

    weights, others = np.ones(3000), np.ones(3000)
    others[1500] = 2
    assert described(loss(weights)) == described(loss(weights.copy())) == described(loss(weights.tolist()))
    assert described(loss(weights)) != described(loss(others))


class Series:
    """An array of another library's, whose text leaves out its middle."""

    ndim = 1

    def __init__(self, values):
        self.values = np.array(values)

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype)

    def __repr__(self):
        return "1.0, ..., 1.0"


def test_a_checkpoint_tells_arrays_of_other_libraries_apart():
    def loss(weights):
        return partial(softmax_loss, class_weights=weights)

    assert described(loss(Series([1.0, 2.0, 1.0]))) == described(loss([1.0, 2.0, 1.0]))
    assert described(loss(Series([1.0, 3.0, 1.0]))) != described(loss([1.0, 2.0, 1.0]))
    assert described(loss(np.float64(2.0))) == described(loss(np.float64(2.0)))


def test_what_is_not_in_a_checkpoint_is_said_so(tmp_path):
    weights = {"weights_train": np.ones(90)}
    plain, weighted = make_solver(), make_solver(data=make_data() | weights)
    plain.save(tmp_path / "plain.npz")
    weighted.save(tmp_path / "weighted.npz")
    with pytest.raises(
        ValueError, match=r"of another run: weights_train is not in it, expected 'float64 of shape \(90,\)"
    ):
        weighted.resume(tmp_path / "plain.npz")
    with pytest.raises(
        ValueError, match=r"of another run: weights_train 'float64 of shape .*', expected nothing; make"
    ):
        plain.resume(tmp_path / "weighted.npz")
