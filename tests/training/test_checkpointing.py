"""The callback that writes checkpoints: when it writes, what stays in the folder, and when it writes none."""

import errno
import os
import signal
import subprocess
import sys
from datetime import datetime

import numpy as np
import pytest
from checkpoint_runs import Seen, make_solver, outcome

import convnet
from convnet.training import checkpoints

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def test_a_folder_gives_its_newest_checkpoint_and_only_the_newest_stay(tmp_path):
    for count in (3, 6):  # of this training, and of the one before
        solver = make_solver(
            callbacks=[convnet.Checkpoint(tmp_path / "deep" / "folder", iterations=5, keep=3)], epochs=1
        )
        solver.train()
        names = [path.name for path in (tmp_path / "deep" / "folder").iterdir()]
        assert len(names) == count
    again = make_solver()
    again.resume(tmp_path / "deep" / "folder")
    assert again.iteration == solver.iteration == 13


class Interrupting(convnet.Callback):
    """Sends Ctrl-C from within the model's step of an iteration."""

    def __init__(self, model, iteration):
        self.iteration, self.train_step, self.count = iteration, model.train_step, 0
        model.train_step = self

    def __call__(self, *arguments):
        self.count += 1
        if self.count == self.iteration:
            signal.raise_signal(signal.SIGINT)
        return self.train_step(*arguments)


def test_an_interrupt_waits_for_the_iterations_end(tmp_path):
    whole = make_solver()
    whole.train()
    solver = make_solver(callbacks=[convnet.Checkpoint(tmp_path)])
    Interrupting(solver.model, 17)
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert solver.iteration == 17
    assert solver.is_between_iterations
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = make_solver()
    again.resume(tmp_path)
    assert again.iteration == 17
    again.train()
    assert outcome(again) == outcome(whole)


def test_a_step_that_fails_leaves_the_last_good_checkpoint(tmp_path):
    calls = []

    def failing(x, rng):
        calls.append(rng.random())
        if len(calls) == 20:
            raise MemoryError
        return x

    solver = make_solver(callbacks=[convnet.Checkpoint(tmp_path, iterations=6)], augmentation=failing)
    with pytest.raises(MemoryError):
        solver.train()
    with pytest.raises(RuntimeError, match="expected a Solver between two iterations"):
        solver.save(tmp_path / "broken.npz")
    again = make_solver(augmentation=failing)
    again.resume(tmp_path)
    assert again.iteration == 18


class FailingAugmentation(convnet.Augmentation):
    """Fails at some calls, after it has drawn a number."""

    def __init__(self, *calls, error=MemoryError):
        super().__init__()
        self.calls, self.error, self.count = calls, error, 0

    def __call__(self, x, rng, **options):
        self.count += 1
        if self.count in self.calls:
            rng.random()
            raise self.error
        return super().__call__(x, rng, **options)


AFTER_A_FAILED_STEP = "a step failed before: what follows is not what an undisturbed training does"


# KeyboardInterrupt as a second Ctrl-C raises it.
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_training_that_goes_on_after_a_failed_step_writes_no_checkpoint(tmp_path, error):
    def make(*calls):
        checkpoint = convnet.Checkpoint(tmp_path / "folder", iterations=1, keep=100)
        return make_solver(callbacks=[checkpoint], augmentation=FailingAugmentation(*calls, error=error))

    whole = make_solver(augmentation=FailingAugmentation())
    whole.train()
    solver = make(4, 10)
    with pytest.raises(error):
        solver.train()
    assert (solver.iteration, solver.is_between_iterations) == (3, False)
    with pytest.warns(UserWarning, match=AFTER_A_FAILED_STEP) as caught:
        solver.step()
    assert caught[0].filename == __file__
    solver.step()  # without another warning, which would be an error here
    with pytest.raises(error):
        solver.train()  # and this neither
    assert solver.iteration == 8
    solver.train()
    assert (solver.iteration, solver.is_between_iterations) == (solver.num_iterations, False)
    with pytest.raises(RuntimeError, match=r"got one with a step that runs or failed: .*; resume from an earlier"):
        solver.save(tmp_path / "one.npz")
    names = sorted(path.stem[-2:] for path in (tmp_path / "folder").iterdir())
    assert names == ["00", "01", "02", "03"]  # those from before
    solver.resume(tmp_path / "folder")
    assert (solver.iteration, solver.is_between_iterations) == (3, True)
    solver.train()
    assert outcome(solver) == outcome(whole)
    assert len(list((tmp_path / "folder").iterdir())) == whole.num_iterations + 1


def test_reset_after_a_failed_step_begins_a_whole_training(tmp_path):
    solver = make_solver(augmentation=FailingAugmentation(2, 5))
    for _ in range(2):  # the second time there is a warning again
        with pytest.raises(MemoryError):
            solver.train()
        with pytest.warns(UserWarning, match=AFTER_A_FAILED_STEP) as caught:
            solver.train() if solver.augmentation.count > 4 else solver.step()
        assert caught[0].filename == __file__
        assert not solver.is_between_iterations
        solver.reset()
        assert solver.is_between_iterations
        solver.save(tmp_path / "one.npz")


def test_a_training_that_diverged_in_the_last_step_before_a_check_leaves_the_checkpoint_from_before(tmp_path):
    class Break(convnet.Callback):
        def on_iteration_end(self, solver):
            if solver.iteration == 26:
                solver.model.params["affine1.bias"][2] = np.inf

    whole = make_solver()
    whole.train()
    solver = make_solver(callbacks=[Break(), convnet.Checkpoint(tmp_path, iterations=10)])
    with pytest.raises(FloatingPointError, match="not all is finite after iteration 26"):
        solver.train()
    assert not solver.is_between_iterations  # the model is that of iteration 13
    again = make_solver()
    again.resume(tmp_path)
    assert again.iteration == 20
    again.train()
    assert outcome(again) == outcome(whole)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError("read-only")])
def test_training_goes_on_when_a_checkpoint_cannot_be_written(tmp_path, monkeypatch, error):
    whole = make_solver()
    whole.train()
    solver = make_solver(callbacks=[convnet.Checkpoint(tmp_path, iterations=20)])
    writing, counts = checkpoints.write_archive, []

    def failing(*arguments):
        counts.append(1)
        if len(counts) > 1:
            raise error
        writing(*arguments)

    monkeypatch.setattr(checkpoints, "write_archive", failing)
    with pytest.warns(UserWarning, match="no checkpoint was written after iteration .*, and training goes on: "):
        solver.train()
    assert outcome(solver) == outcome(whole)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_to_is_known_when_training_begins(tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    solver = make_solver(callbacks=[convnet.Checkpoint(tmp_path / "file")])
    with pytest.raises(FileExistsError, match=r"expected a folder, but .*file is a file"):
        solver.train()
    assert solver.iteration == 0


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    leftover = tmp_path / f".checkpoint-x.npz.{process.pid}-1.tmp"
    own = tmp_path / f".checkpoint-x.npz.{os.getpid()}-1.tmp"
    for path in (leftover, own):
        path.write_bytes(b"half")
    make_solver(callbacks=[convnet.Checkpoint(tmp_path)], epochs=1).train()
    assert not leftover.exists()
    assert own.exists()


class Clock:
    """A clock that can be set."""

    hour = 3

    @classmethod
    def now(cls, zone):
        return datetime(2026, 10, 25, cls.hour, tzinfo=zone)


def test_a_clock_that_is_set_back_does_not_make_new_checkpoints_old(tmp_path, monkeypatch):
    monkeypatch.setattr("convnet.training.checkpointing.datetime", Clock)
    undisturbed = make_solver()
    undisturbed.train()
    for hour, epochs in ((3, 1), (2, 2), (1, 3), (2, 4)):
        monkeypatch.setattr(Clock, "hour", hour)
        solver = make_solver(epochs=epochs, callbacks=[convnet.Checkpoint(tmp_path, iterations=1)])
        if epochs > 1:
            solver.resume(tmp_path)
        assert solver.epoch == epochs - 1
        solver.train()
    for name, param in solver.model.params.items():
        assert param.tobytes() == undisturbed.model.params[name].tobytes()
    assert len(list(tmp_path.iterdir())) == 2


class InterruptingAugmentation(convnet.Augmentation):
    """Presses Ctrl-C in the middle of a step."""

    at = None

    def __call__(self, x, rng, **options):
        if self.at == 0:
            signal.raise_signal(signal.SIGINT)
        self.at = None if self.at is None else self.at - 1
        return super().__call__(x, rng, **options)


def test_callbacks_see_every_iteration_once_whenever_ctrl_c_comes(tmp_path):
    undisturbed = make_solver()
    undisturbed.train()
    starts = 0
    while True:
        solver = make_solver(
            callbacks=[seen := Seen(), convnet.Checkpoint(tmp_path)], augmentation=InterruptingAugmentation()
        )
        solver.augmentation.at = 2
        if starts:
            solver.resume(tmp_path)
        starts += 1
        try:
            solver.train()
            break
        except KeyboardInterrupt:
            pass
    assert starts >= 4
    assert seen.iterations == list(range(1, undisturbed.iteration + 1))


class Failing(convnet.Callback):
    def on_train_end(self, solver):
        raise OSError("no space left for the animation")


def test_a_callback_that_fails_at_the_end_does_not_cost_the_checkpoint(tmp_path):
    solver = make_solver(callbacks=[Failing(), convnet.Checkpoint(tmp_path)])
    with pytest.raises(OSError, match="no space left for the animation"):
        solver.train()
    again = make_solver()
    again.resume(tmp_path)
    assert again.iteration == solver.num_iterations


def test_a_new_training_leaves_the_last_checkpoints_of_the_one_before(tmp_path):
    first = make_solver(epochs=1, callbacks=[convnet.Checkpoint(tmp_path, iterations=1)])
    first.train()
    before = sorted(tmp_path.iterdir())
    assert len(before) == 2
    for _ in range(2):
        make_solver(epochs=1, callbacks=[convnet.Checkpoint(tmp_path, iterations=1)], seed=9).train()
        assert len(list(tmp_path.iterdir())) == 4
        before = [path for path in before if path.exists()]
    assert before == []  # only the third training drops those of the first
    make_solver(epochs=1, callbacks=[convnet.Checkpoint(tmp_path / "b", iterations=1)]).train()
    kept = sorted((tmp_path / "b").iterdir())
    make_solver(epochs=1, callbacks=[convnet.Checkpoint(tmp_path / "b", iterations=1)], seed=9).train()
    again = make_solver(callbacks=[convnet.Checkpoint(tmp_path / "b", iterations=1)])
    again.resume(kept[-1])
    assert again.iteration == first.iteration
