"""The callbacks that write a table and TensorBoard's files: through kills, resumed checkpoints and full disks."""

import csv
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from checkpoint_runs import make_solver

import convnet
from convnet import Callback, Checkpoint, CSVLog, TensorBoard
from convnet.training import logs

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")

EPOCH = 13  # iterations of an epoch: 90 examples in minibatches of 7


class Killed(Exception):  # noqa: N818
    pass


class Kill(Callback):
    """Ends the training at an iteration as a signal would: what other callbacks do at its end has to be done before."""

    def __init__(self, iteration):
        self.iteration = iteration

    def on_iteration_end(self, solver):
        if solver.iteration == self.iteration:
            raise Killed


def rows_of(path):
    content = path.read_bytes().decode()
    assert content.endswith("\n")
    assert "\r" not in content
    return list(csv.DictReader(content.splitlines()))


def without_times(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_line_an_epoch(tmp_path):
    solver = make_solver(callbacks=[CSVLog(tmp_path / "log.csv")], best_by=convnet.balanced_accuracy)
    solver.train()
    rows = rows_of(tmp_path / "log.csv")
    assert list(rows[0]) == [
        *("epoch", "iteration", "loss", "train_accuracy", "validation_accuracy", "validation_loss", "best_by"),
        *("learning_rate", "seconds"),
    ]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [int(row["iteration"]) for row in rows] == [EPOCH, 2 * EPOCH, 3 * EPOCH, 4 * EPOCH]
    for epoch, row in enumerate(rows, 1):
        assert float(row["loss"]) == pytest.approx(np.mean(solver.loss_history[EPOCH * (epoch - 1) : EPOCH * epoch]))
        assert float(row["train_accuracy"]) == solver.train_accuracy_history[epoch]
        assert float(row["validation_accuracy"]) == solver.validation_accuracy_history[epoch]
        assert float(row["validation_loss"]) == solver.validation_loss_history[epoch]
        assert float(row["best_by"]) == solver.best_by_history[epoch]
        assert float(row["learning_rate"]) == pytest.approx(0.05 * 0.7 ** (epoch - 1))
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_without_a_validation_part(tmp_path):
    data = {"x_train": np.ones((9, 1, 8, 8), np.float32), "y_train": np.arange(9) % 3}
    solver = make_solver(callbacks=[CSVLog(tmp_path / "log.csv")], data=data, epochs=1, num_train_check=None)
    solver.train()
    (row,) = rows_of(tmp_path / "log.csv")
    assert list(row) == ["epoch", "iteration", "loss", "train_accuracy", "learning_rate", "seconds"]


@pytest.mark.parametrize("killed_at", [1, EPOCH - 1, EPOCH, EPOCH + 1, 2 * EPOCH + 3])
def test_no_line_twice_and_none_missing_after_a_kill(tmp_path, killed_at):
    whole = tmp_path / "whole.csv"
    make_solver(callbacks=[CSVLog(whole)]).train()
    path, folder = tmp_path / "log.csv", tmp_path / "checkpoints"
    callbacks = [CSVLog(path), Kill(killed_at), Checkpoint(folder, iterations=5, keep=100)]
    with pytest.raises(Killed):
        make_solver(callbacks=callbacks).train()
    assert path.read_text().splitlines()[0] == whole.read_text().splitlines()[0]
    assert len(rows_of(path)) == (killed_at - 1) // EPOCH  # the end of an epoch comes after that of its last iteration
    newest = sorted(folder.iterdir())[-1]
    newest.unlink()  # the one of the end, which a kill would not have left
    resumed = make_solver(callbacks=[CSVLog(path)])
    resumed.resume(folder)
    resumed.train()
    assert without_times(rows_of(path)) == without_times(rows_of(whole))
    seconds = [float(row["seconds"]) for row in rows_of(path)]
    assert seconds == sorted(seconds)


def test_the_seconds_go_on_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    """Each iteration takes a second of a clock that stands still while nothing is trained."""
    clock, folder = SimpleNamespace(now=1000.0), tmp_path / "checkpoints"
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class Tick(Callback):
        def on_iteration_end(self, solver):
            clock.now += 1

    path = tmp_path / "log.csv"
    callbacks = [CSVLog(path), Tick(), Kill(EPOCH - 2), Checkpoint(folder, iterations=5, keep=100)]
    with pytest.raises(Killed):
        make_solver(callbacks=callbacks).train()
    clock.now += 500
    log = CSVLog(path)
    solver = make_solver(callbacks=[log, Tick()], epochs=2)
    solver.resume(sorted(folder.iterdir())[-2])
    assert solver.iteration == 10
    solver.train()
    clock.now += 500
    solver.epochs = 3
    solver.train()
    assert [float(row["seconds"]) for row in rows_of(path)] == [EPOCH, 2 * EPOCH, 3 * EPOCH]
    solver.reset()
    solver.train()
    assert log.seconds == 3 * EPOCH


def test_lines_of_epochs_that_are_trained_again_are_gone(tmp_path):
    path, folder = tmp_path / "log.csv", tmp_path / "checkpoints"
    make_solver(callbacks=[CSVLog(path), Checkpoint(folder, iterations=EPOCH, keep=100)]).train()
    resumed = make_solver(callbacks=[CSVLog(path)], epochs=2)
    resumed.resume(sorted(folder.iterdir())[1])
    resumed.train()
    assert [row["epoch"] for row in rows_of(path)] == ["1", "2"]


def test_training_on_and_a_new_training(tmp_path):
    log = CSVLog(tmp_path / "log.csv")
    solver = make_solver(callbacks=[log], epochs=1)
    solver.train()
    solver.train()  # does nothing
    assert [row["epoch"] for row in rows_of(log.path)] == ["1"]
    solver.epochs = 3
    solver.train()
    assert [row["epoch"] for row in rows_of(log.path)] == ["1", "2", "3"]
    solver.reset()
    solver.epochs = 1
    solver.train()
    assert [row["epoch"] for row in rows_of(log.path)] == ["1"]


@pytest.mark.parametrize("steps", [0, 5, EPOCH, EPOCH + 5])
def test_steps_before_the_training_are_no_lines_of_their_own(tmp_path, steps):
    log = CSVLog(tmp_path / "log.csv")
    solver = make_solver(callbacks=[log], epochs=3)
    for _ in range(steps):
        solver.step()
    solver.train()
    rows = rows_of(log.path)
    epochs = [epoch for epoch in (1, 2, 3) if epoch * EPOCH >= steps]
    assert [int(row["epoch"]) for row in rows] == epochs
    assert [float(row["train_accuracy"]) for row in rows] == solver.train_accuracy_history[-len(epochs) :]
    for row, epoch in zip(rows, epochs, strict=True):
        assert float(row["loss"]) == pytest.approx(np.mean(solver.loss_history[EPOCH * (epoch - 1) : EPOCH * epoch]))


def test_what_a_checkpoint_does_not_know_is_an_empty_field(tmp_path):
    folder = tmp_path / "checkpoints"
    make_solver(callbacks=[Checkpoint(folder)], epochs=1).train()
    solver = make_solver(callbacks=[CSVLog(tmp_path / "log.csv")], epochs=2)
    solver.resume(folder)
    solver.train()
    first, second = rows_of(tmp_path / "log.csv")
    assert (first["learning_rate"], first["seconds"]) == ("", "")
    assert float(first["loss"]) > 0
    assert float(second["learning_rate"]) == pytest.approx(0.05 * 0.7)


@pytest.mark.parametrize(
    "make", [lambda folder: CSVLog(folder / "log.csv"), TensorBoard], ids=["CSVLog", "TensorBoard"]
)
def test_wrong_paths(tmp_path, make):
    if make is TensorBoard:
        pytest.importorskip("tensorboard")
    for wrong, error in ((3, TypeError), ("", ValueError), (None, TypeError)):
        with pytest.raises(error, match=rf"^{make(tmp_path).__class__.__name__}: expected the path of a f\w+, got "):
            (TensorBoard if make is TensorBoard else CSVLog)(wrong)
    (tmp_path / "file").write_text("x")
    solver = make_solver(callbacks=[make(tmp_path / "file")])
    with pytest.raises(OSError, match="expected a folder"):
        solver.train()
    assert solver.iteration == 0


def test_a_table_that_cannot_be_written_any_more_is_a_warning(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    class Remove(Callback):
        def on_iteration_end(self, solver):
            shutil.rmtree(folder, ignore_errors=True)

    solver = make_solver(callbacks=[CSVLog(folder / "log.csv"), Remove()], epochs=1)
    with pytest.warns(UserWarning, match=r"log\.csv was not written, and training goes on: "):
        solver.train()
    assert solver.epoch == 1


def scalars_of(folder):
    """Return what TensorBoard itself shows of a folder: steps and values by tag."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance={accumulator.SCALARS: 0})
    events.Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found
    return found


def test_tensorboard_shows_epochs_and_iterations(tmp_path):
    pytest.importorskip("tensorboard")
    solver = make_solver(callbacks=[TensorBoard(tmp_path / "new" / "run", iterations=5)], epochs=2)
    solver.train()
    found = scalars_of(tmp_path / "new" / "run")
    assert set(found) == {
        *("epoch/loss", "epoch/train_accuracy", "epoch/validation_accuracy", "epoch/validation_loss"),
        *("epoch/learning_rate", "iteration/loss", "iteration/learning_rate"),
    }
    steps, losses = zip(*found["iteration/loss"], strict=True)
    assert steps == (5, 10, 15, 20, 25)
    np.testing.assert_allclose(losses, solver.loss_history[4::5], rtol=1e-6)
    steps, accuracies = zip(*found["epoch/validation_accuracy"], strict=True)
    assert steps == (0, EPOCH, 2 * EPOCH)
    np.testing.assert_allclose(accuracies, solver.validation_accuracy_history, rtol=1e-6)
    assert [step for step, _ in found["epoch/loss"]] == [EPOCH, 2 * EPOCH]
    rates = [rate for _, rate in found["epoch/learning_rate"]]
    np.testing.assert_allclose(rates, [0.05, 0.05 * 0.7], rtol=1e-6)


@pytest.mark.parametrize("killed_at", [3, EPOCH, EPOCH + 7])
def test_tensorboard_has_each_step_once_after_a_kill(tmp_path, killed_at):
    pytest.importorskip("tensorboard")
    whole, path, folder = tmp_path / "whole", tmp_path / "run", tmp_path / "checkpoints"
    make_solver(callbacks=[TensorBoard(whole, iterations=1)], epochs=2).train()
    callbacks = [TensorBoard(path, iterations=1), Kill(killed_at), Checkpoint(folder, iterations=5, keep=100)]
    with pytest.raises(Killed):
        make_solver(callbacks=callbacks, epochs=2).train()
    sorted(folder.iterdir())[-1].unlink()
    resumed = make_solver(callbacks=[TensorBoard(path, iterations=1)], epochs=2)
    resumed.resume(folder)
    resumed.train()
    assert scalars_of(path) == scalars_of(whole)


def test_a_new_training_takes_the_place_of_an_earlier_one_in_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    make_solver(callbacks=[TensorBoard(tmp_path / "a")], epochs=3).train()
    for folder in ("a", "b"):
        make_solver(callbacks=[TensorBoard(tmp_path / folder)], epochs=1).train()
    assert scalars_of(tmp_path / "a") == scalars_of(tmp_path / "b")


def test_tensorboard_that_cannot_write_any_more_is_a_warning(tmp_path):
    pytest.importorskip("tensorboard")
    callback = TensorBoard(tmp_path)

    class Fill(Callback):
        def on_iteration_end(self, solver):
            def add_event(event):
                raise OSError("No space left on device")

            if callback._writer is not None:
                callback._writer.add_event = add_event

    solver = make_solver(callbacks=[callback, Fill()], epochs=2)
    with pytest.warns(UserWarning, match="training goes on without TensorBoard: No space left") as caught:
        solver.train()
    assert sum("TensorBoard" in str(warning.message) for warning in caught) == 1
    assert solver.epoch == 2


def test_tensorboard_is_imported_when_it_is_used():
    code = "import convnet, sys; convnet.CSVLog('a.csv'); sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code]).returncode == 0


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "convnet-cpu\[tensorboard\]"'):
        TensorBoard("runs")


def test_wrong_arguments_are_named(tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(ValueError, match="TensorBoard: iterations: expected at least 1, got 0"):
        TensorBoard(tmp_path, iterations=0)
