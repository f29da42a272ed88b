"""What training allocates, and that nothing of it stays."""

import copy
import gc
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import convnet

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")

OPTIONS = {
    "defaults": {},
    "all others": {
        "activation": convnet.Sigmoid,
        "pooling": convnet.AveragePool2D,
        "dropout": convnet.Dropout(0.5),
        "loss": convnet.svm_loss,
    },
    "not fused": {"fuse": False},
    "leaky": {"activation": convnet.LeakyReLU},
    "tanh": {"activation": convnet.Tanh, "pooling": convnet.MaxPool2D(3, stride=2)},
    "float64": {"dtype": np.float64, "dropout": convnet.Dropout(0.5)},
}

OPTIMIZERS = [convnet.SGD(0.01), convnet.Momentum(0.01), convnet.Adam(1e-4), convnet.SGD(0.01, clip_norm=1e-3)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_after_its_first_step_a_solver_allocates_nothing_large(mnist, options, optimizer):
    images, labels = mnist[0][:350, None].astype(np.float32) / 128 - 1, mnist[1][:350]
    data = {"x_train": images, "y_train": labels, "x_validation": images[:9], "y_validation": labels[:9]}
    optimizer = copy.deepcopy(optimizer)
    statistics = convnet.Statistics((1, 28, 28), False, mean=images.mean(axis=0), std=None)
    # NumPy's own buffer for the broadcast mean takes 32 KiB a thread, and twice that in float64.
    augmentation = convnet.Augmentation(statistics=None if options.get("dtype") is np.float64 else statistics)
    model = convnet.ConvNet1(hidden_size=120, **options)
    solver = convnet.Solver(model, data, optimizer, batch_size=100, augmentation=augmentation)
    solver.step()
    peaks = {place: [] for place in range(4)}  # of the four steps of an epoch
    tracemalloc.start()
    try:
        for _ in range(8):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            solver.step()
            peaks[solver.iteration % 4].append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    # The lesser of two epochs: what other threads of the process allocate is counted too. A minibatch has 306 KiB.
    assert max(map(min, peaks.values())) < 1 << 17, peaks


def test_whole_epochs_allocate_nothing_large(rng):
    images, labels = rng.standard_normal((9000, 1, 8, 8), np.float32), rng.integers(0, 10, 9000)
    data = {"x_train": images, "y_train": labels, "x_validation": images[:2000], "y_validation": labels[:2000]}
    model = convnet.ConvNet1((1, 8, 8), num_filters=16, hidden_size=300)
    peaks = []

    class Watch(convnet.Callback):
        def on_iteration_end(self, solver):
            if solver.iteration == 1:
                tracemalloc.start()
            now, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - now)
            tracemalloc.reset_peak()

        def on_train_end(self, solver):
            peaks.append(tracemalloc.get_traced_memory()[1] - tracemalloc.get_traced_memory()[0])

    solver = convnet.Solver(model, data, convnet.SGD(0.01), batch_size=100, epochs=3, callbacks=[Watch()])
    try:
        solver.train()
    finally:
        tracemalloc.stop()
    assert len(peaks) == 271
    assert max(peaks) < 1 << 16


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell the memory of a process")
def test_ten_thousand_steps_of_random_shapes_leave_memory_where_it_was(rng):
    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = None
    for count in range(1000):
        c, f, k, h, w = rng.integers(1, [4, 6, 4, 5, 5], endpoint=True)
        options = {"activation": convnet.Sigmoid} if count % 3 == 0 else {}
        options |= {"pooling": convnet.AveragePool2D} if count % 5 == 0 else {}
        shape = (int(c), int(k + 2 * h), int(k + 2 * w))
        model = convnet.ConvNet1(
            shape, num_filters=int(f), kernel_size=int(k), padding=0, hidden_size=int(rng.integers(1, 40)), **options
        )
        optimizer, workspace = [convnet.SGD(0.01), convnet.Adam(0.001)][count % 2], convnet.Workspace()
        for _ in range(10):
            n = int(rng.integers(1, 30))
            x, labels = rng.standard_normal((n, *shape)), rng.integers(0, 10, n)
            model.train_step(x, labels, optimizer, workspace)
        model.predict(x)
        if count == 200:
            before = resident()
    assert resident() - before < 8 << 20
