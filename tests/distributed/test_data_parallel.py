"""Training with several processes: the same bits for any number of them, and an end for all when one fails."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import parallel_runs as runs
import pytest

import convnet

PROGRAM = Path(runs.__file__)
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")


def command(folder, case, processes, *, launcher=("-m", "mpi4py"), **options):
    start = [MPIEXEC, "-n", str(processes)] if processes else []
    return [*start, sys.executable, *launcher, PROGRAM, folder, case, json.dumps(options)]


def run(folder, case, processes, threads=1, *, launcher=("-m", "mpi4py"), environment=(), **options):
    """Run a case, and return the ended process and what each of its processes has written."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"CONVNET_NUM_THREADS": str(threads)} | dict(environment)
    done = subprocess.run(
        command(folder, case, processes, launcher=launcher, **options),
        capture_output=True,
        text=True,
        timeout=120,
        env={name: value for name, value in environment.items() if value},
    )
    files = [folder / f"{rank}.npz" for rank in range(max(1, processes))]
    return done, [dict(np.load(file)) for file in files if file.exists()]


def trained(folder, case, processes, threads=1, **options):
    done, outcomes = run(folder, case, processes, threads, **options)
    assert done.returncode == 0, done.stderr
    assert len(outcomes) == max(1, processes)
    return outcomes


def same(first, second):
    names = (first.keys() | second.keys()) - {"seen", "threads"}
    return [
        name for name in names if name not in first or name not in second or not same_bits(first[name], second[name])
    ]


def same_bits(first, second):
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


@pytest.mark.parametrize("case", ["all", "weighted", "exact", "own layer"])
def test_any_number_of_processes_and_threads_gives_the_same_bits(tmp_path, case):
    alone = trained(tmp_path / "alone", case, 0, launcher=(), threads=2)[0]
    assert alone["iteration"] == 12
    assert np.isfinite(alone["losses"]).all()
    for processes, threads in ((1, 1), (2, 1), (2, 2), (4, 1), (8, 1)):
        for outcome in trained(tmp_path / f"{processes} {threads}", case, processes, threads):
            assert not same(alone, outcome), (processes, threads)


def test_synchronised_normalizations_give_the_same_bits_for_any_number_of_processes(tmp_path):
    alone = trained(tmp_path / "alone", "normalized", 1, threads=2, synchronised=True)[0]
    for processes in (2, 8):  # more than the last minibatch has leaves
        for outcome in trained(tmp_path / f"{processes}", "normalized", processes, synchronised=True):
            assert not same(alone, outcome), processes


@pytest.mark.parametrize(
    ("case", "tolerance"), [("weighted", 2e-3), ("exact", 1e-9), ("normalized", 5e-3), ("own layer", 2e-3)]
)
def test_a_step_is_that_of_the_whole_minibatch(tmp_path, case, tolerance):
    options = {"epochs": 1 if case == "normalized" else 3, "restore_best": False}
    solver = runs.make(case, **options)
    solver.train()
    expected = runs.outcome(solver)
    for outcome in trained(tmp_path, case, 2, synchronised=True, **options):
        for name, array in outcome.items():
            if name == "losses" or name.startswith("model"):
                scale = np.abs(expected[name]).max()
                np.testing.assert_allclose(array, expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


def test_a_layer_that_looks_at_a_leaf_alone_is_named(tmp_path):
    for synchronised, count in ((True, 1), (False, 0)):
        done, _ = run(tmp_path, "own layer", 2, synchronised=synchronised, epochs=1)
        assert done.returncode == 0, done.stderr
        message = "DataParallel(synchronised=True): the state of levelled1 comes from each leaf alone"
        assert done.stderr.count(message) == count


def test_running_statistics_are_the_mean_of_those_of_the_leaves(tmp_path):
    # A minibatch of all examples, in leaves of 30, 30, 30 and 30; one step.
    options = {"batch_size": 120, "epochs": 1, "average": None, "restore_best": False}
    found = trained(tmp_path, "all", 4, leaf_size=30, **options)[0]
    solver = runs.make("all", **options)
    solver.state.shuffle(0)
    order = solver.state.order
    part = slice(0, 120)
    minibatch = solver._minibatches.take(order, solver.augmentation, solver.state.augmenting, part)
    x = minibatch.x.astype(np.float64)
    weight = solver.model.params["conv1.weight"].astype(np.float64)
    means, variances = [], []
    for start in range(0, 120, 30):
        y = convnet.naive.conv2d_forward(x[start : start + 30], weight, np.zeros(8), padding=1)
        means.append(y.mean((0, 2, 3)))
        variances.append(y.var((0, 2, 3)))
    mean, variance = 0.1 * np.mean(means, 0), 0.9 + 0.1 * np.mean(variances, 0)
    np.testing.assert_allclose(found["model norm1.running_mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["model norm1.running_variance"], variance, rtol=1e-4)


def test_callbacks_run_in_the_first_process_and_decide_for_all(tmp_path):
    first, second = trained(tmp_path / "all", "all", 2)
    assert first["seen"].tolist() == list(range(1, 13))
    assert not len(second["seen"])
    stopped = trained(tmp_path / "stopped", "stopped", 2)
    assert [outcome["iteration"] for outcome in stopped] == [5, 5]
    slower = trained(tmp_path / "slower", "slower", 2)
    assert not same(*slower)
    np.testing.assert_array_equal(slower[0]["losses"][:5], first["losses"][:5])
    assert not np.array_equal(slower[0]["losses"], first["losses"])


@pytest.mark.parametrize(
    ("case", "processes", "options", "message"),
    [
        ("all", 3, {}, "ValueError: DataParallel: expected a power of two of processes, 1, 2, 4, ..., got 3"),
        ("all", 4, {"leaf_size": 10}, "expected minibatches of 4 leaves or more, one for each process, got 2 from 32 "),
        (
            "other parameters",
            2,
            {},
            "expected the same initial conv1.weight (random generators need a random seed) in all",
        ),
        ("other labels", 2, {}, "expected the same y_train in all processes, got 'int64 of shape (120,) with crc32"),
        ("other inputs", 2, {}, "expected the same examples of x_train in all processes, got 'float32 of shape (120, "),
        ("other weights", 2, {}, "expected the same weights_train in all processes, got 'float64 of shape (120,) with"),
        ("other generator", 2, {}, "expected the same model.rng (random generators need a random seed) in all"),
        ("diverging", 2, {}, "FloatingPointError: the loss of iteration 2 is "),
        ("input not finite", 2, {"num_train_check": 1}, ": the input is the first that is not finite"),
        ("layer fails", 2, {}, "LookupError: a layer of one process"),
        ("callback fails", 2, {}, "LookupError: the callback of the first process"),
        (
            "callback fails",
            2,
            {"catches": True},
            "LeftError: DataParallel: expected process 0 where process 1 waits for",
        ),
        ("callback leaves", 2, {}, "process 0 where process 1 waits for it, but it left the training by SystemExit"),
        ("layer fails", 2, {"catches": True}, "waits for it, but it left the training by LookupError: a layer of one"),
        ("layer leaves", 2, {}, "process 1 where process 0 waits for it, but it left the training by SystemExit"),
        ("other losses", 2, {}, "expected the same loss in all processes in iteration 1, got "),
        ("other epochs", 2, {}, "expected the same epochs in all processes, got 3 in process 0 and 4 in process 1"),
        ("one trains", 2, {}, "waits for it, but it has ended its program; every process has to make the same Solvers"),
        (
            "one loads",
            2,
            {},
            "expected the same calls in all processes, got load_once in process 0 and Solver in process 1",
        ),
        ("callback interferes", 2, {}, "expected the same loss in all processes in iteration 7, got "),
        (
            "callback interferes, no l2",
            2,
            {},
            "expected the same parameters and state in all processes after iteration 8",
        ),
    ],
)
def test_an_error_ends_all_processes_with_one_message(tmp_path, case, processes, options, message):
    start = time.perf_counter()
    done, outcomes = run(tmp_path, case, processes, **options)
    assert done.returncode != 0
    assert len(outcomes) == options.get("catches", False)  # the first process goes on then
    assert message in done.stderr
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert time.perf_counter() - start < 60


def test_processes_that_would_wait_for_ever_are_refused(tmp_path):
    done, _ = run(tmp_path, "all", 2, launcher=())
    assert done.returncode != 0
    assert "start them with mpiexec -n N python -m mpi4py PROGRAM" in done.stderr


def test_a_process_takes_its_share_of_the_processors(tmp_path):
    processors = len(os.sched_getaffinity(0))
    for processes in (1, 2):
        environment = {"CONVNET_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
        outcomes = trained(tmp_path / f"{processes}", "all", processes, environment=environment, epochs=1)
        assert [int(outcome["threads"]) for outcome in outcomes] == [max(1, processors // processes)] * processes


def test_a_checkpoint_resumes_with_another_number_of_processes(tmp_path):
    whole = trained(tmp_path / "whole", "all", 1)[0]
    for first, second in ((2, 4), (4, 1), (1, 2)):
        folder = tmp_path / f"{first} {second}"
        ended, _ = run(folder, "callback fails", first, checkpoints=str(folder / "checkpoints"))  # in iteration 5
        assert ended.returncode != 0
        for outcome in trained(folder, "all", second, resume=True, checkpoints=str(folder / "checkpoints")):
            assert not same(whole, outcome)


@pytest.mark.parametrize("case", ["layer of all fails", "diverging"])
def test_training_goes_on_after_a_step_that_failed_in_all_processes(tmp_path, case):
    options = {"catches": "again", "leaf_size": 8}  # a leaf for each process
    first, *others = trained(tmp_path, case, 4, **options)
    assert first["iteration"] == 12
    assert [same(first, other) for other in others] == [[]] * 3


def test_a_program_that_catches_all_errors_ends(tmp_path):
    for case in ("layer fails", "optimizer fails"):  # in one process, before and after what all wait for
        done, outcomes = run(tmp_path / case, case, 2, catches="all")
        assert (done.returncode, len(outcomes)) == (0, 2), done.stderr


def test_a_process_that_resumes_alone_is_found_unless_nothing_was_trained(tmp_path):
    whole = trained(tmp_path / "whole", "all", 1)[0]
    for outcome in trained(tmp_path / "start", "all", 2, resume="one"):
        assert not same(whole, outcome)
    run(tmp_path / "ended", "callback fails", 2, checkpoints=str(tmp_path / "ended" / "checkpoints"))
    done, outcomes = run(tmp_path / "ended", "all", 2, resume="first")
    assert not outcomes
    assert "expected all processes at the same iteration, got 5 in process 0 and 0 in process 1" in done.stderr


@pytest.mark.slow
def test_the_program_of_the_page_runs(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text("utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "train.py").write_text(program)
    start = [MPIEXEC, "-n", "4", sys.executable, "-m", "mpi4py", "train.py"]
    done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"^validation accuracy (\d+\.\d+)%", done.stdout, re.M)
    assert float(accuracy) > 95
    assert done.stdout.count("epoch 1/1") == 1
    assert convnet.load_model(tmp_path / "digits.npz").statistics is not None


def test_a_checkpoint_of_other_leaves_is_refused(tmp_path):
    run(tmp_path, "callback fails", 2, checkpoints=str(tmp_path / "checkpoints"))
    done, _ = run(tmp_path, "all", 2, resume=True, leaf_size=8)
    assert "distributed 'DataParallel(4)', expected 'DataParallel(8)'" in done.stderr


@pytest.mark.parametrize("case", ["weighted", "exact"])  # raw images, and prepared ones
def test_data_that_one_process_loads_give_the_same_bits(tmp_path, case):
    expected = trained(tmp_path / "each", case, 2)[0]
    for processes in (1, 4):
        for outcome in trained(tmp_path / f"{processes}", case, processes, once=True):
            assert not same(expected, outcome), processes
        assert (tmp_path / f"{processes}" / "loads.txt").read_text() == "0\n"


def test_an_error_of_the_process_that_loads_ends_all(tmp_path):
    done, _ = run(tmp_path / "ends", "load fails", 2, once=True)
    assert done.returncode
    assert done.stderr.count("\nLookupError: the data of the first process") == 1
    done, _ = run(tmp_path / "caught", "load fails", 2, once=True, catches=True)
    assert done.returncode == 0, done.stderr
    caught = [(tmp_path / "caught" / f"{rank}.txt").read_text() for rank in range(2)]
    assert caught[0] == "LookupError: the data of the first process"
    assert (
        caught[1] == f"RuntimeError: DataParallel: expected data from load_once, but in process 0 it raised {caught[0]}"
    )


@pytest.mark.parametrize("catches", [False, True, "again"])
def test_an_interrupt_ends_all_processes_after_the_same_iteration(tmp_path, catches):
    folder, options = tmp_path / "checkpoints", {"epochs": 20}
    given = options | {"checkpoints": str(folder), "every": 1000, "catches": catches}
    with subprocess.Popen(
        command(tmp_path, "slow", 2, **given),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"CONVNET_NUM_THREADS": "1"},
    ) as started:
        deadline = time.monotonic() + 60
        while not list(folder.glob("checkpoint-*.npz")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        started.send_signal(signal.SIGINT)  # mpiexec hands it on
        try:
            output, _ = started.communicate(timeout=60)
        finally:
            started.kill()
    files = [tmp_path / f"{rank}.npz" for rank in range(2)]
    if catches:
        outcomes = [dict(np.load(file)) for file in files]
        assert not same(*outcomes)
        assert started.returncode == 0, output
    else:
        assert not any(file.exists() for file in files)
        assert started.returncode
        assert output.count("Traceback") == output.count("\nKeyboardInterrupt\n") == 1, output
    if catches != "again":
        last = max(folder.glob("checkpoint-*.npz"))
        assert 0 < int(last.stem.split("-")[-1]) < 80
        trained(tmp_path, "all", 2, resume=True, checkpoints=str(folder), **options)
    whole = trained(tmp_path / "whole", "all", 1, **options)[0]
    assert not same(whole, dict(np.load(files[0])))


@pytest.mark.slow
def test_a_run_survives_kills_of_any_process(tmp_path):
    whole = trained(tmp_path / "whole", "all", 1, epochs=250)[0]
    draws, kills, processes = random.Random(1), 0, 2
    folder = tmp_path / "killed"
    folder.mkdir()
    begun = folder / "begun.txt"
    begun.touch()
    while not (folder / "0.npz").exists():
        names = sorted(file.stem for file in (folder / "checkpoints").glob("*.npz"))
        newest = int(names[-1].split("-")[-1]) if names else 0
        before = begun.read_text().split()
        options = {"resume": True, "checkpoints": str(folder / "checkpoints"), "epochs": 250}
        with subprocess.Popen(
            command(folder, "slow", processes, **options),  # so that it is not over before the last kill
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"CONVNET_NUM_THREADS": "1"},
        ) as started:
            deadline = time.monotonic() + 60 * (draws.random() < 0.8)  # the others are killed while they start
            while begun.read_text().split() == before and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(draws.uniform(0, 0.8))
            found = children_of(started.pid) if kills < 30 else []
            if found:
                os.kill(draws.choice(found), signal.SIGKILL)
                kills += 1
            output, _ = started.communicate(timeout=120)
        is_whole = (folder / "0.npz").exists()
        if not (is_whole and found):  # it may have ended just before the kill
            assert (started.returncode == 0) == is_whole, output
        assert begun.read_text().split()[len(before) :] in ([], [str(newest)])  # unless it was killed before that
        processes = draws.choice([1, 2, 4])
    assert kills == 30
    assert len(set(begun.read_text().split())) > 15
    assert not same(whole, dict(np.load(folder / "0.npz")))


def children_of(parent):
    """Return the processes of the program that mpiexec has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            parents = dict(line.split(":\t") for line in (entry / "status").read_text().splitlines() if ":\t" in line)
            grandparent = Path("/proc", parents["PPid"], "status").read_text()
        except (OSError, KeyError):
            continue
        if b"mpi4py" in arguments and f"PPid:\t{parent}\n" in grandparent:
            found.append(int(entry.name))
    return found
