"""The pool of threads, the instruction sets, and what they must not change: the results."""

import ctypes
import ctypes.util
import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

import convnet
from convnet import _kernels, functional
from convnet.core import threads
from convnet.core.quota import cpu_quota
from convnet.core.threads import in_parts

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")

PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
PROCESSORS = max(1, int(min(PROCESSORS, cpu_quota())))

needs_pool = pytest.mark.skipif(not _kernels.BUILT, reason="a build without GNU C computes on one thread")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def _keep_the_number():
    before = convnet.get_num_threads()
    yield
    convnet.set_num_threads(before)


def run_python(code, **environment):
    """Return what a fresh Python prints, with variables of the environment set, or removed where None."""
    variables = os.environ | environment
    for name in [name for name, value in variables.items() if value is None]:
        del variables[name]
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=120)


NETWORKS = {
    "ConvNet1": lambda: convnet.ConvNet1(hidden_size=70, seed=1),
    "every other option": lambda: convnet.ConvNet1(
        hidden_size=70,
        activation=convnet.Sigmoid,
        pooling=convnet.AveragePool2D(3, stride=2),
        dropout=convnet.Dropout(0.3),
        loss=convnet.svm_loss,
        seed=1,
    ),
    "not fused": lambda: convnet.ConvNet1(hidden_size=70, seed=1, fuse=False),
    "two convolutions": lambda: convnet.Sequential(
        [
            convnet.Conv2D(1, 9, 5, padding=2, rng=np.random.default_rng(1)),
            convnet.ReLU(),
            convnet.MaxPool2D(2),
            convnet.Conv2D(9, 20, 3, stride=2, rng=np.random.default_rng(2)),
            convnet.ReLU(),
            convnet.MaxPool2D(3, stride=1),
            convnet.Affine(20 * 4 * 4, 10, rng=np.random.default_rng(3)),
        ],
        (1, 28, 28),
        l2=1e-3,
    ),
}

OPTIMIZERS = [convnet.Momentum, convnet.RMSProp, convnet.Adam]


def trained(network, optimizer, mnist, num_threads):
    """Return the bytes of parameters, losses and scores after a little training."""
    convnet.set_num_threads(num_threads)
    images, labels = mnist[0][:120, None].astype(np.float32) / 128 - 1, mnist[1][:120]
    data = {"x_train": images, "y_train": labels, "x_validation": images, "y_validation": labels}
    model = NETWORKS[network]()
    rate = 0.01 if optimizer in (convnet.SGD, convnet.Momentum) else 1e-3
    solver = convnet.Solver(model, data, optimizer(rate), batch_size=50, epochs=1, augmentation=convnet.Augmentation())
    solver.train()
    arrays = [*model.params.values(), np.array(solver.loss_history), model.scores(images)]
    return [array.tobytes() for array in arrays]


# Every network, and every optimizer: how a weight is updated does not depend on what the other layers are.
TRAININGS = [(network, convnet.SGD) for network in NETWORKS] + [("ConvNet1", optimizer) for optimizer in OPTIMIZERS]


@pytest.mark.parametrize(("network", "optimizer"), TRAININGS)
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, mnist, network, optimizer):
    monkeypatch.setattr(threads, "PART", 1000)
    one = trained(network, optimizer, mnist, 1)
    for number in (2, 3, 4):
        assert trained(network, optimizer, mnist, number) == one


def test_tasks_run_once_each_whatever_the_threads():
    for number in (1, 2, 5):
        counts = np.zeros(1000, np.int64)

        def task(index, slot, counts=counts, number=number):
            assert 0 <= slot < number
            counts[index] += 1

        _kernels.run_tasks(task, 1000, number)
        assert (counts == 1).all()


@needs_pool
def test_tasks_really_run_at_the_same_time():
    barrier = threading.Barrier(2, timeout=60)
    _kernels.run_tasks(lambda index, slot: barrier.wait(), 2, 2)


@needs_pool
def test_a_thread_begins_with_the_same_share_each_time():
    for number in (2, 3, 4):
        for _ in range(3):
            barrier, slots = threading.Barrier(number, timeout=60), {}

            def task(index, slot, barrier=barrier, slots=slots):
                slots[index] = slot
                barrier.wait()

            _kernels.run_tasks(task, number, number)
            assert slots == {index: index for index in range(number)}


@needs_pool
def test_a_thread_that_is_done_helps_with_the_others_shares():
    for slow in (0, 3, 4):
        others, done = threading.Event(), []

        def task(index, slot, slow=slow, others=others, done=done):
            if index == slow:
                assert others.wait(60)
            else:
                done.append(index)
                if len(done) == 7:
                    others.set()

        _kernels.run_tasks(task, 8, 2)
        assert sorted([*done, slow]) == list(range(8))


def test_what_a_task_raises_comes_out_and_the_pool_goes_on():
    def task(index, slot):
        if index == 7:
            raise KeyError("seven")

    for _ in range(3):
        with pytest.raises(KeyError, match="seven"):
            _kernels.run_tasks(task, 20, 2)
    done = []
    _kernels.run_tasks(lambda index, slot: done.append(index), 20, 2)
    assert sorted(done) == list(range(20))


def test_a_task_may_use_the_pool_itself(rng):
    a, b = rng.standard_normal((60, 70)), rng.standard_normal((70, 80))
    results = np.empty((4, 60, 80), np.float32)
    x, y = a.astype(np.float32), b.astype(np.float32)

    def task(index, slot):
        results[index] = functional.affine_forward(x, y, np.zeros(80))

    _kernels.run_tasks(task, 4, 2)
    np.testing.assert_allclose(results, np.broadcast_to(a @ b, results.shape), rtol=1e-3, atol=1e-3)


def test_parts_cover_everything_in_order(monkeypatch):
    monkeypatch.setattr(threads, "PART", 1)
    for count in (0, 1, 2, 31, 32, 33, 1000):
        seen = []
        in_parts(lambda part, slot, seen=seen: seen.append((part.start, part.stop)), count, 10**9, 1)
        starts, stops = zip(*sorted(seen), strict=True)
        assert (starts[0], stops[-1]) == (0, count)
        assert starts[1:] == stops[:-1]


def test_models_train_side_by_side(mnist):
    alone = [trained("ConvNet1", optimizer, mnist, 2) for optimizer in OPTIMIZERS]
    together = [None] * len(OPTIMIZERS)

    def train(position):
        together[position] = trained("ConvNet1", OPTIMIZERS[position], mnist, 2)

    workers = [threading.Thread(target=train, args=(position,)) for position in range(len(OPTIMIZERS))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert together == alone


FE_UPWARD = {"x86_64": 0x800, "AMD64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}.get(platform.machine())


@pytest.mark.skipif(FE_UPWARD is None or os.name != "posix", reason="how to round upward is not known here")
def test_threads_round_as_their_caller_does(rng):
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    x, weight, bias = rng.standard_normal((300, 400)), rng.standard_normal((400, 500)), np.zeros(500)
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    before = libm.fegetround()
    convnet.set_num_threads(4)
    nearest = functional.affine_forward(x, weight, bias)
    try:
        libm.fesetround(FE_UPWARD)
        results = {4: [], 1: [], 2: []}
        for number, upward in results.items():
            convnet.set_num_threads(number)
            upward += [functional.affine_forward(x, weight, bias).tobytes() for _ in range(5)]
    finally:
        libm.fesetround(before)
    assert results[1] == results[2] == results[4] == [results[1][0]] * 5
    assert results[1][0] != nearest.tobytes()


@needs_pool
@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 keeps errstate for each thread")
def test_tasks_see_the_callers_errstate():
    barrier, seen = threading.Barrier(2, timeout=60), []

    def task(index, slot):
        barrier.wait()
        seen.append(np.geterr()["under"])

    with np.errstate(under="raise"):
        _kernels.run_tasks(task, 2, 2)
    assert seen == ["raise", "raise"]


@needs_pool
def test_fewer_and_more_threads_again():
    for number in (4, 2, 3, 1, 4, 2, 4):
        barrier = threading.Barrier(number, timeout=60)
        for _ in range(3):
            _kernels.run_tasks(lambda index, slot, barrier=barrier: barrier.wait(), number, number)


def test_one_model_predicts_from_eight_threads(mnist):
    model = convnet.ConvNet1(hidden_size=70)
    images = mnist[0][:400, None].astype(np.float32) / 128 - 1
    expected = model.scores(images).tobytes()
    results = [None] * 8

    def predict(position):
        results[position] = {model.scores(images).tobytes() for _ in range(3)}

    workers = [threading.Thread(target=predict, args=(position,)) for position in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [{expected}] * 8


def test_eight_threads_make_a_models_plan_and_layouts_at_once(mnist):
    images = mnist[0][:64, None].astype(np.float32) / 128 - 1
    model = convnet.ConvNet1(hidden_size=20)
    expected = [model.scores(images[: 8 * (position + 1)]).tobytes() for position in range(8)]
    for _ in range(5):
        fresh, barrier, results = convnet.ConvNet1(hidden_size=20), threading.Barrier(8, timeout=60), [None] * 8

        def predict(position, fresh=fresh, barrier=barrier, results=results):
            barrier.wait()
            results[position] = fresh.scores(images[: 8 * (position + 1)]).tobytes()

        workers = [threading.Thread(target=predict, args=(position,)) for position in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert results == expected


@pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself an interrupt")
def test_an_interrupt_within_a_kernel_waits_for_it_and_harms_nothing():
    done = run_python(
        """
import os, signal, threading
import numpy as np
from convnet import functional
x, weight = (np.random.default_rng(0).standard_normal(shape, np.float32) for shape in ((200, 1000), (1000, 1000)))
expected = functional.affine_forward(x, weight, np.zeros(1000)).tobytes()
interrupts = 0
for delay in np.linspace(0.0005, 0.03, 12):
    timer = threading.Timer(delay, os.kill, [os.getpid(), signal.SIGINT])
    try:
        timer.start()
        while True:
            functional.affine_forward(x, weight, np.zeros(1000))
    except KeyboardInterrupt:
        interrupts += 1
    timer.join()
assert functional.affine_forward(x, weight, np.zeros(1000)).tobytes() == expected
print(interrupts)
"""
    )
    assert done.stdout == "12\n", done.stderr


@needs_fork
def test_a_forked_process_starts_threads_of_its_own():
    done = run_python(
        """
import os, warnings
import numpy as np
import convnet
warnings.simplefilter("ignore")  # Python 3.12 warns of a fork with threads
convnet.set_num_threads(2)
x, model = np.ones((50, 1, 28, 28)), convnet.ConvNet1()
before = model.scores(x).tobytes()
child = os.fork()
if child == 0:
    os._exit(0 if model.scores(x).tobytes() == before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert model.scores(x).tobytes() == before
print("the same")
"""
    )
    assert done.stdout == "the same\n", done.stderr


@needs_pool
@needs_fork
def test_a_computation_in_whose_middle_a_process_is_forked_fails_in_the_child_alone():
    done = run_python(
        """
import os, threading, warnings
import convnet
from convnet._kernels import run_tasks
warnings.simplefilter("ignore")  # Python 3.12 warns of a fork with threads
main = os.getpid()

def task(index, slot):
    calls.append(index)
    if slot:
        arrived.release()
        goes_on.wait()
    elif len(forked) == 0:
        # In CPython 3.11 the child may hang if another thread enters or leaves the interpreter at the fork.
        for _ in range(2):
            arrived.acquire(timeout=1)
        forked.append(os.fork())
        goes_on.set()
        if forked == [0]:  # what a signal handler, say, computes in the child
            within = []
            run_tasks(lambda index, slot: within.append(index), 10, 2)
            assert sorted(within) == list(range(10))

for _ in range(20):
    forked, calls, arrived, goes_on = [], [], threading.Semaphore(0), threading.Event()
    try:
        run_tasks(task, 100, 3)
    except RuntimeError as error:
        assert "forked in the middle of this computation" in str(error)
        assert os.getpid() != main and forked == [0]
        run_tasks(lambda index, slot: calls.append(index), 8, 3)  # the child goes on with others
        os._exit(7)
    assert sorted(calls) == list(range(100))
    assert all(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7 for child in forked)
print("the same")
"""
    )
    assert done.stdout == "the same\n", done.stderr


@needs_fork
def test_processes_of_multiprocessing_compute_the_same():
    done = run_python(
        """
import multiprocessing
import numpy as np
import convnet

def scores(seed):
    return convnet.ConvNet1(seed=seed).scores(np.ones((60, 1, 28, 28))).tobytes()

if __name__ == "__main__":
    expected = [scores(seed) for seed in range(3)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(scores, range(3)) == expected
    print("the same")
"""
    )
    assert done.stdout == "the same\n", done.stderr


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_computes_the_same(backend):
    pytest.importorskip("joblib")
    done = run_python(
        f"""
import joblib
import numpy as np
import convnet

def scores(seed):
    import convnet, numpy as np
    return convnet.ConvNet1(seed=seed).scores(np.ones((60, 1, 28, 28))).tobytes(), convnet.get_num_threads()

if __name__ == "__main__":
    results = joblib.Parallel(2, backend="{backend}")(joblib.delayed(scores)(seed) for seed in range(3))
    assert [result[0] for result in results] == [scores(seed)[0] for seed in range(3)]
    limit = max(1, joblib.cpu_count() // 2) if "{backend}" == "loky" else {PROCESSORS}
    assert {{result[1] for result in results}} == {{limit}}
    print("the same")
""",
        CONVNET_NUM_THREADS=None,
        OMP_NUM_THREADS=None,
    )
    assert done.stdout == "the same\n", done.stderr


@needs_pool
@pytest.mark.skipif(PROCESSORS < 2 or not sys.platform.startswith("linux"), reason="needs two processors of Linux")
def test_threads_wake_on_other_processors_than_the_callers():
    done = run_python(
        """
import os, time
import numpy as np
import convnet
whole, x, model = os.sched_getaffinity(0), np.ones((200, 1, 28, 28)), convnet.ConvNet1()
convnet.set_num_threads(2)
for _ in range(5):
    model.scores(x)
    time.sleep(0.05)  # long enough for the thread to sleep
before = {int(name) for name in os.listdir("/proc/self/task")}
assert os.sched_getaffinity(0) == whole
masks = [os.sched_getaffinity(thread) for thread in before - {os.getpid()}]
limited = [mask for mask in masks if mask != whole]
assert limited and all(mask < whole and len(mask) == len(whole) - 1 for mask in limited), masks
os.sched_setaffinity(0, {min(whole)})  # the caller may use no other: the thread keeps what it had
time.sleep(0.05)
model.scores(x)
assert [os.sched_getaffinity(thread) for thread in before - {os.getpid()}] == masks
print("the same")
"""
    )
    assert done.stdout == "the same\n", done.stderr


def test_number_of_threads_is_set_and_read():
    convnet.set_num_threads(3)
    assert convnet.get_num_threads() == 3
    convnet.set_num_threads(10**6)
    assert convnet.get_num_threads() == _kernels.MAX_THREADS
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="set_num_threads: expected at least 1"):
            convnet.set_num_threads(wrong)
    with pytest.raises(TypeError, match="set_num_threads: expected an integer"):
        convnet.set_num_threads(1.5)


PRINT = "import convnet; print(convnet.get_num_threads())"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
@pytest.mark.parametrize(
    ("ours", "openmp", "expected"),
    [
        ("5", None, 5),
        ("5", "1", 5),
        ("", "1", 1),
        (None, "1", 1),
        (None, "1,4", 1),
        (None, "999999", None),
        (None, "x", None),
    ],
)
def test_environment_sets_the_threads(ours, openmp, expected):
    done = run_python(PRINT, CONVNET_NUM_THREADS=ours, OMP_NUM_THREADS=openmp)
    assert int(done.stdout) == (PROCESSORS if expected is None else expected)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_affinity_limits_the_threads():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{one}]); {PRINT}"
    assert run_python(code, CONVNET_NUM_THREADS=None, OMP_NUM_THREADS=None).stdout == "1\n"


@pytest.mark.parametrize("wrong", ["0", "-2", "many"])
def test_wrong_number_of_threads_in_the_environment_is_one_clear_error(wrong):
    done = run_python(PRINT, CONVNET_NUM_THREADS=wrong)
    expected = f"ValueError: CONVNET_NUM_THREADS: expected an integer of at least 1, got {wrong!r}"
    assert done.stderr.splitlines()[-1] == expected


PRESENT = _kernels.INSTRUCTION_SETS


def test_instruction_sets_have_names_the_slowest_first():
    assert PRESENT[0] == "none"
    assert len(set(PRESENT)) == len(PRESENT)
    assert set(PRESENT) <= {"none", *_kernels.BUILT}
    assert all(isinstance(name, str) for name in (*PRESENT, *_kernels.BUILT))


def test_an_instruction_set_is_taken_by_its_name():
    before = _kernels.instruction_set()
    assert before in PRESENT
    try:
        for name in PRESENT:
            _kernels.use_instruction_set(name)
            assert _kernels.instruction_set() == name
        with pytest.raises(ValueError, match=r"expected one of none.* on this machine, got 'sse9'"):
            _kernels.use_instruction_set("sse9")
        assert _kernels.instruction_set() == PRESENT[-1]
    finally:
        _kernels.use_instruction_set(before)


@pytest.mark.parametrize("name", PRESENT)
def test_environment_forces_an_instruction_set(name):
    done = run_python("import convnet; convnet.show_config()", CONVNET_SIMD=name, CONVNET_NUM_THREADS="3")
    assert f"in use: {name}\n" in done.stdout
    assert done.stdout.endswith("threads: 3\n")
    assert "compiler: " in done.stdout


def test_unknown_instruction_set_is_one_clear_error():
    done = run_python("import convnet", CONVNET_SIMD="sse9")
    expected = f"ValueError: CONVNET_SIMD: expected one of {', '.join(PRESENT)} on this machine, got 'sse9'"
    assert done.stderr.splitlines()[-1] == expected


@pytest.mark.parametrize("shape", [(0,), (3,), (7, 5, 3), (1000,)])
def test_elementwise_gives_each_element_to_one_part(monkeypatch, shape):
    monkeypatch.setattr(threads, "PART", 10)
    x, y = np.arange(np.prod(shape), dtype=float).reshape(shape), np.zeros(shape)

    def kernel(some_x, some_y):
        assert some_x.ndim == some_y.ndim == 1
        some_y += some_x + 1

    convnet.set_num_threads(3)
    threads.elementwise(kernel, x, y)
    np.testing.assert_array_equal(y, x + 1)
