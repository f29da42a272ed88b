"""The Solver's bookkeeping and its errors."""

from itertools import chain

import numpy as np
import pytest

from convnet import SGD, Adam, Affine, Augmentation, Callback, EpochDecay, ReLU, Sequential, Solver, softmax_loss

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def make_data(rng, n=23, dtype=np.float32):
    """Return three classes that a small network can tell apart: the largest of three sums."""
    x = rng.standard_normal((n + 40, 6)).astype(dtype)
    y = (x[:, :3] + x[:, 3:]).argmax(axis=1)
    return {"x_train": x[:n], "y_train": y[:n], "x_validation": x[n:], "y_validation": y[n:]}


def make_model(seed=0, dtype=np.float32, l2=0.0):
    rng = np.random.default_rng(seed)
    return Sequential([Affine(6, 16, rng=rng, dtype=dtype), ReLU(), Affine(16, 3, rng=rng, dtype=dtype)], (6,), l2=l2)


class Recorder(Callback):
    def __init__(self):
        self.events = []

    def on_train_start(self, solver):
        self.events.append("start")

    def on_iteration_end(self, solver):
        self.events.append(("iteration", solver.iteration))

    def on_epoch_end(self, solver):
        self.events.append(("epoch", solver.epoch))

    def on_train_end(self, solver):
        self.events.append("end")


def test_histories_counters_and_callbacks(rng):
    recorder = Recorder()
    solver = Solver(make_model(), make_data(rng), SGD(0.1), batch_size=10, epochs=3, callbacks=[recorder])
    assert (solver.iterations_per_epoch, solver.num_iterations) == (3, 9)
    solver.train()
    assert (solver.iteration, solver.epoch) == (9, 3)
    assert len(solver.loss_history) == 9
    assert len(solver.train_accuracy_history) == len(solver.validation_accuracy_history) == 4
    assert recorder.events == [
        "start",
        *(("iteration", i) for i in (1, 2, 3)),
        ("epoch", 1),
        *(("iteration", i) for i in (4, 5, 6)),
        ("epoch", 2),
        *(("iteration", i) for i in (7, 8, 9)),
        ("epoch", 3),
        "end",
    ]
    solver.train()
    assert solver.iteration == 9
    solver.epochs = 4
    solver.train()
    assert solver.iteration == 12


def test_a_step_is_gradient_descent_on_the_minibatch(rng):
    data = make_data(rng, 8)
    model, twin = make_model(l2=0.01), make_model(l2=0.01)
    loss = Solver(model, data, SGD(0.3), batch_size=8).step()
    expected, grads = twin.loss(data["x_train"], data["y_train"])  # one minibatch of everything: the order is no matter
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, param in model.params.items():
        np.testing.assert_allclose(param, twin.params[name] - 0.3 * grads[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(23, 10, [10, 10, 3]), (20, 10, [10, 10]), (3, 50, [3]), (5, 1, [1] * 5)]
)
def test_every_epoch_sees_every_example_once_in_a_new_order(rng, monkeypatch, n, batch_size, sizes):
    data = make_data(rng, n)
    data["x_train"] = np.arange(n, dtype=np.float32)[:, None] * np.ones((1, 6), np.float32)
    model = make_model()
    seen = []
    step = model.train_step
    monkeypatch.setattr(model, "train_step", lambda x, *rest: (seen.append(x[:, 0].tolist()), step(x, *rest))[1])
    solver = Solver(model, data, SGD(1e-9), batch_size=batch_size)
    for _ in range(2 * len(sizes)):
        solver.step()
    assert [len(batch) for batch in seen] == 2 * sizes
    epochs = [list(chain(*seen[: len(sizes)])), list(chain(*seen[len(sizes) :]))]
    for epoch in epochs:
        assert sorted(epoch) == list(range(n))
    if n > 10:
        assert epochs[0] != epochs[1]


def test_schedule_gets_the_fractional_epoch_and_scales_the_rate(rng):
    asked, rates = [], []

    class Spy(SGD):
        def update_param(self, name, param, grad, state, rate):
            if name == "affine1.bias":
                rates.append(rate)

    solver = Solver(
        make_model(),
        make_data(rng, 20),
        Spy(0.5),
        schedule=lambda epoch: (asked.append(epoch), EpochDecay(0.1)(epoch))[1],
        batch_size=5,
        epochs=2,
    )
    solver.train()
    assert asked == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]
    np.testing.assert_allclose(rates, [0.5] * 4 + [0.05] * 4)


def test_best_parameters_are_copies_and_are_restored(rng):
    data, kept = make_data(rng), []

    class Keep(Callback):
        def on_epoch_end(self, solver):
            kept.append(
                (
                    {name: param.copy() for name, param in solver.model.params.items()},
                    solver.validation_accuracy_history[-1],
                )
            )
            if solver.epoch == 3:
                for param in solver.model.params.values():
                    param *= -1  # from here on it gets worse

    model = make_model()
    solver = Solver(model, data, SGD(0.2), batch_size=10, epochs=4, callbacks=[Keep()])
    solver.train()
    best = max(range(len(kept)), key=lambda epoch: kept[epoch][1])
    assert solver.best_validation_accuracy == max(solver.validation_accuracy_history) == kept[best][1]
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, kept[best][0][name])
        assert not np.shares_memory(param, solver.best_params[name])
    assert solver.check_accuracy(data["x_validation"], data["y_validation"]) == solver.best_validation_accuracy


def test_training_learns(rng):
    data = make_data(rng, 400)
    solver = Solver(make_model(), data, SGD(0.3), batch_size=20, epochs=30)
    solver.train()
    assert solver.validation_accuracy_history[0] < 0.7
    assert solver.best_validation_accuracy >= 0.9
    np.testing.assert_array_equal(solver.predict(data["x_validation"]), solver.model.predict(data["x_validation"]))


def test_same_seed_same_bytes(rng):
    data = make_data(rng, 50)

    def run(seed):
        solver = Solver(make_model(), data, SGD(0.1), batch_size=7, epochs=3, seed=seed, num_train_check=20)
        solver.train()
        return solver.loss_history, solver.train_accuracy_history, [p.tobytes() for p in solver.model.params.values()]

    assert run(5) == run(5)
    assert run(5)[0] != run(6)[0]


def test_reset_starts_over_with_the_same_order(rng):
    data = make_data(rng, 50)
    model = make_model()
    start = {name: param.copy() for name, param in model.params.items()}
    solver = Solver(model, data, SGD(0.1), batch_size=7, epochs=2)
    solver.train()
    first = solver.loss_history
    model.load_params(start)
    solver.reset()
    assert (solver.iteration, solver.loss_history, solver.best_params) == (0, [], {})
    solver.train()
    assert solver.loss_history == first


class StopAtOnce(Callback):
    def on_iteration_end(self, solver):
        solver.stop()


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_training_after_steps_begins_with_an_accuracy_check(rng, steps):
    data, recorder = make_data(rng), Recorder()
    solver = Solver(make_model(), data, SGD(0.1), batch_size=10, epochs=2, callbacks=[recorder, StopAtOnce()])
    for _ in range(steps):
        solver.step()
    expected = solver.check_accuracy(data["x_validation"], data["y_validation"])
    solver.train()  # stopped before an epoch's end: the check at the start is the one that the best model is of
    assert solver.validation_accuracy_history[0] == expected
    assert recorder.events[0] == "start"
    assert ("epoch", 0) not in recorder.events
    assert solver.iteration == max(steps, min(steps + 1, 6))
    for name, param in solver.model.params.items():
        np.testing.assert_array_equal(param, solver.best_params[name])
    while solver.iteration < solver.num_iterations:
        solver.train()
    ends = [epoch for epoch in (1, 2) if 3 * epoch > steps]
    assert len(solver.validation_accuracy_history) == 1 + len(ends)
    assert [event for event in recorder.events if event[0] == "epoch"] == [
        ("epoch", epoch) for epoch in ([3] if steps == 9 else ends)
    ]


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_stopped_run_goes_on_where_it_was(rng, restore_best):
    class StopAt(Callback):
        def on_iteration_end(self, solver):
            if solver.iteration in (4, 6):
                solver.stop()

    data, params, losses = make_data(rng), [], []
    for callbacks in ([], [StopAt()]):
        solver = Solver(
            make_model(),
            data,
            Adam(0.05),
            batch_size=10,
            epochs=3,
            callbacks=callbacks,
            restore_best=restore_best,
            schedule=EpochDecay(0.5),
        )
        for iterations in (4, 6, 9) if callbacks else (9,):
            solver.train()
            assert solver.iteration == iterations
            assert solver.optimizer.rate_factor == 1
            if restore_best:
                for name, param in solver.model.params.items():
                    np.testing.assert_array_equal(param, solver.best_params[name])
        params.append({name: param.tobytes() for name, param in solver.model.params.items()})
        losses.append(solver.loss_history)
    assert params[0] == params[1]
    assert losses[0] == losses[1]


def test_parameters_that_the_user_loads_after_training_are_trained_on(rng):
    solver = Solver(make_model(), make_data(rng), SGD(1e-30), epochs=1)
    solver.train()
    other = {name: np.full_like(param, 0.25) for name, param in solver.model.params.items()}
    solver.model.load_params(other)
    solver.epochs = 2
    solver.restore_best = False
    solver.train()
    for name, param in solver.model.params.items():
        np.testing.assert_array_equal(param, other[name])


def test_the_last_parameters_stay_if_wished(rng):
    data, params = make_data(rng), {}
    for restore in (True, False):
        solver = Solver(make_model(), data, SGD(0.5), batch_size=5, epochs=8, restore_best=restore)
        solver.train()
        params[restore] = {name: param.copy() for name, param in solver.model.params.items()}
        best = int(np.argmax(solver.validation_accuracy_history))
        assert best < 8  # otherwise the test could not tell
        for name, param in solver.best_params.items():
            assert np.array_equal(param, params[restore][name]) == restore
    again = Solver(make_model(), data, SGD(0.5), batch_size=5, epochs=8)
    while again.iteration < again.num_iterations:
        again.step()
    for name, param in again.model.params.items():
        np.testing.assert_array_equal(param, params[False][name])


def test_augmentation_is_applied_to_minibatches_alone_and_follows_the_seed(rng):
    data = make_data(rng)

    def add_noise(x, rng):
        calls.append(x.copy())
        return x + rng.standard_normal(x.shape).astype(x.dtype)

    def losses(augmentation, seed=0):
        solver = Solver(make_model(), data, SGD(0.1), batch_size=10, epochs=2, seed=seed, augmentation=augmentation)
        solver.train()
        return solver.loss_history

    calls = []
    first = losses(add_noise)
    assert [len(x) for x in calls] == [10, 10, 3] * 2
    np.testing.assert_array_equal(np.sort(np.concatenate(calls[:3]), axis=0), np.sort(data["x_train"], axis=0))
    assert first == losses(add_noise)
    assert first != losses(add_noise, seed=1)
    assert losses(lambda x, rng: x) == losses(None)


def test_an_augmentation_that_may_leave_nothing_of_an_image_is_refused_at_once(rng):
    model = Sequential([Affine(40, 2, rng=rng, dtype=np.float64)], (1, 5, 8))
    data = {"x_train": rng.standard_normal((6, 1, 5, 8)), "y_train": np.arange(6) % 2}
    Solver(model, data, SGD(0.1), augmentation=Augmentation(shift=4))
    with pytest.raises(ValueError, match="expected a shift smaller than the images, 5x8 pixels, got 5"):
        Solver(model, data, SGD(0.1), augmentation=Augmentation(shift=5))


def test_an_augmentation_that_changes_the_shape_is_named(rng):
    solver = Solver(make_model(), make_data(rng), SGD(0.1), augmentation=lambda x, rng: x[:, :5])
    with pytest.raises(ValueError, match=r"augmentation: expected x of shape \(23, 6\), got \(23, 5\)"):
        solver.train()


def test_an_optimizer_with_a_state_is_refused_and_reset_clears_it(rng):
    data, optimizer = make_data(rng), Adam(0.01)
    solver = Solver(make_model(), data, optimizer, epochs=1)
    solver.train()
    assert optimizer.state
    with pytest.raises(ValueError, match=r"optimizer without the state of earlier training, got Adam\(0.01.* with one"):
        Solver(make_model(), data, optimizer)
    solver.reset()
    assert not optimizer.state


def test_an_interrupted_run_goes_on_where_it_was(rng):
    data = make_data(rng, 50)

    class Interrupt(Callback):
        def on_iteration_end(self, solver):
            if solver.iteration == 11 and not self.done:
                self.done = True
                raise KeyboardInterrupt

        done = False

    whole = Solver(make_model(), data, SGD(0.1), batch_size=7, epochs=3)
    whole.train()
    broken = Solver(make_model(), data, SGD(0.1), batch_size=7, epochs=3, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    broken.train()
    assert broken.loss_history == whole.loss_history
    for name, param in whole.model.params.items():
        assert param.tobytes() == broken.model.params[name].tobytes()


def test_an_interrupted_accuracy_check_is_made_again(rng, monkeypatch):
    data = make_data(rng, 20)
    whole = Solver(make_model(), data, SGD(0.1), batch_size=5, epochs=2)
    whole.train()
    broken = Solver(make_model(), data, SGD(0.1), batch_size=5, epochs=2)
    scores, calls = broken.model.scores, []

    def interrupted(x, workspace):
        calls.append(len(x))
        if len(calls) in (2, 5):  # the first check's validation images, and those of the check after epoch 1
            raise KeyboardInterrupt
        return scores(x)

    monkeypatch.setattr(broken.model, "scores", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            broken.train()
    broken.train()
    assert broken.validation_accuracy_history == whole.validation_accuracy_history
    assert broken.train_accuracy_history == whole.train_accuracy_history
    assert broken.loss_history == whole.loss_history


def test_check_accuracy_in_batches_and_on_a_sample(rng):
    data = make_data(rng, 100)
    solver = Solver(make_model(), data, SGD(0.1))
    x, labels = data["x_train"], data["y_train"]
    exact = np.mean([int(solver.model.predict(x[i : i + 1])[0]) == labels[i] for i in range(100)])
    assert solver.check_accuracy(x, labels) == solver.check_accuracy(x, labels, batch_size=7) == exact
    sampled = solver.check_accuracy(x, labels, num_samples=10)
    assert sampled in {i / 10 for i in range(11)}
    assert sampled == solver.check_accuracy(x, labels, num_samples=10)
    assert solver.check_accuracy(x, labels, num_samples=1000) == exact
    with pytest.raises(ValueError, match="at least one example"):
        solver.check_accuracy(x[:0], labels[:0])


def test_check_accuracy_refuses_scores_that_are_nan(rng):
    data = make_data(rng, 100)
    solver = Solver(make_model(), data, SGD(0.1))
    x, labels = data["x_train"].copy(), data["y_train"]
    x[31, 4] = np.nan
    message = r"^check_accuracy: expected scores, got NaN for x\[31\]: the input is the first that is not finite$"
    for options in ({}, {"batch_size": 7}, {"num_samples": 98}):  # the sample is in another order, and has it too
        with pytest.raises(ValueError, match=message):
            solver.check_accuracy(x, labels, **options)
    x[31] = 0
    assert solver.check_accuracy(x, labels) > 0
    solver.model.params["affine2.bias"][1] = np.inf  # the highest of all scores, and no NaN
    assert solver.check_accuracy(x, labels) == np.mean(labels == 1)
    solver.model.params["affine2.bias"][1] = np.nan
    with pytest.raises(ValueError, match=r"got NaN for x\[0\]: the parameter affine2\.bias is the first"):
        solver.check_accuracy(x, labels)
    with pytest.raises(FloatingPointError, match=r"the parameter affine2\.bias is the first"):
        solver.train()


@pytest.mark.parametrize("fuse", [True, False])
def test_check_accuracy_within_a_step_does_not_change_the_step(rng, fuse):
    data = make_data(rng)

    def trained(is_asking):
        """Return what training leaves behind, and the accuracies that the model's parts and the optimizer asked for."""
        solvers, accuracies, make = [], [], np.random.default_rng(0)

        def ask():
            for solver in solvers if is_asking else ():
                accuracies.append(solver.check_accuracy(data["x_validation"], data["y_validation"]))

        class AskingOptimizer(SGD):
            def update_param(self, name, param, grad, state, rate):
                ask()
                super().update_param(name, param, grad, state, rate)

        class AskingLayer(ReLU):
            def backward(self, dy, cache, need_dx=True):
                ask()
                return super().backward(dy, cache, need_dx)

        def loss(scores, labels):
            ask()
            return softmax_loss(scores, labels)

        layers = [Affine(6, 16, rng=make), ReLU(), Affine(16, 8, rng=make), AskingLayer(), Affine(8, 3, rng=make)]
        model = Sequential(layers, (6,), loss=loss, fuse=fuse)
        solvers.append(Solver(model, data, AskingOptimizer(0.1), batch_size=10, epochs=2))
        solvers[0].train()
        return (solvers[0].loss_history, [param.tobytes() for param in model.params.values()]), accuracies

    undisturbed, _ = trained(False)
    found, accuracies = trained(True)
    # In each step by the loss, the layer, and for six parameters; and by the loss of three accuracy checks.
    assert len(accuracies) == 6 * (1 + 1 + 6) + 3
    assert found == undisturbed


def test_divergence_is_named_and_the_last_finite_parameters_come_back(rng):
    data = make_data(rng)
    model = make_model()
    start = {name: param.copy() for name, param in model.params.items()}
    solver = Solver(model, data, SGD(1e30), batch_size=10, epochs=3)
    with pytest.raises(
        FloatingPointError,
        match=r"the loss of iteration [23] is (nan|inf), at learning rate 1e\+30: the (output|parameter)",
    ):
        solver.train()
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, start[name])


def test_nan_in_the_data_is_not_blamed_on_the_learning_rate(rng):
    data = make_data(rng)
    data["x_validation"][3, 2] = np.nan
    with pytest.raises(FloatingPointError, match=r"the input is the first that is not finite.*; look at the data$"):
        Solver(make_model(), data, SGD(0.1)).train()


def test_divergence_after_a_good_epoch_keeps_that_epoch(rng):
    data, kept = make_data(rng), {}

    class Break(Callback):
        def on_epoch_end(self, solver):
            kept.update({name: param.copy() for name, param in solver.model.params.items()})

        def on_iteration_end(self, solver):
            if solver.iteration == 5:
                solver.model.params["affine2.weight"][0, 0] = np.nan

    model = make_model()
    solver = Solver(model, data, SGD(0.1), batch_size=10, epochs=3, callbacks=[Break()])
    with pytest.raises(FloatingPointError, match=r"iteration 6 is nan.*the parameter affine2.weight is the first"):
        solver.train()
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, kept[name])
    assert len(solver.loss_history) == 5


def test_divergence_in_the_last_update_is_found_by_the_accuracy_check(rng):
    class Break(Callback):
        def on_iteration_end(self, solver):
            if solver.iteration == solver.num_iterations:
                solver.model.params["affine1.bias"][2] = np.inf

    model = make_model()
    solver = Solver(model, make_data(rng), SGD(0.1), batch_size=10, epochs=1, callbacks=[Break()])
    with pytest.raises(FloatingPointError, match=r"after iteration 3.*the parameter affine1.bias"):
        solver.train()
    assert all(np.isfinite(param).all() for param in model.params.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": None}, "expected data with x_train and y_train, got no 'x_train'"),
        (
            {"x_train": np.zeros((0, 6)), "y_train": np.zeros(0, int)},
            r"x_train of shape \(N, 6\), N at least 1, got \(0, 6\)",
        ),
        ({"x_validation": np.zeros((40, 5))}, r"x_validation of shape \(N, 6\)"),
        ({"y_train": np.zeros(5, int)}, r"y_train: expected labels of shape \(23,\), got shape \(5,\)"),
        ({"y_validation": np.full(40, 3)}, r"y_validation: expected labels in \[0, 3\), got 3"),
    ],
)
def test_wrong_data_is_named(rng, change, message):
    data = {key: value for key, value in (make_data(rng) | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        Solver(make_model(), data, SGD(0.1))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda data: Solver("model", data, SGD(0.1)),
        lambda data: Solver(make_model(), data, 0.1),
        lambda data: Solver(make_model(), data, SGD(0.1), schedule=0.5),
        lambda data: Solver(make_model(), data, SGD(0.1), callbacks=Recorder()),
        lambda data: Solver(make_model(), data, SGD(0.1), augmentation=2),
        lambda data: Solver(make_model(), data, SGD(0.1), schedule=EpochDecay),
        lambda data: Solver(make_model(), data, SGD),
        lambda data: Solver(make_model(), (data, None), SGD(0.1)),
        lambda data: Solver(make_model(), data, SGD(0.1), callbacks=[3]),
    ],
)
def test_wrong_types_are_named(rng, wrong):
    with pytest.raises(TypeError, match="Solver: expected"):
        wrong(make_data(rng))


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"epochs": 0}, {"seed": -1}, {"num_train_check": 0}])
def test_wrong_numbers_are_named(rng, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}: expected at least"):
        Solver(make_model(), make_data(rng), SGD(0.1), **option)


@pytest.mark.parametrize("event", ["on_train_start", "on_iteration_end", "on_epoch_end", "on_train_end"])
def test_a_failing_callback_takes_no_event_from_the_others(rng, event):
    events = []

    class Failing(Callback):
        def __init__(self, message):
            setattr(self, event, lambda solver: self.fail(message))

        def fail(self, message):
            raise OSError(message)

    class Listening(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                return lambda solver: events.append((name, solver.iteration))
            return super().__getattribute__(name)

    callbacks = [Failing("first"), Listening(), Failing("second")]
    solver = Solver(make_model(), make_data(rng, 20), SGD(0.1), batch_size=10, epochs=1, callbacks=callbacks)
    with pytest.raises(OSError, match="first"):
        solver.train()
    whole = [("on_train_start", 0), ("on_iteration_end", 1), ("on_iteration_end", 2), ("on_epoch_end", 2)]
    count = [name for name, _ in whole].index(event) + 1 if event != "on_train_end" else len(whole)
    assert events == [*whole[:count], ("on_train_end", whole[count - 1][1])]


class FailingAtEnd(Callback):
    def __init__(self, message, error=OSError):
        self.message, self.error = message, error

    def on_train_end(self, solver):
        raise self.error(self.message)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_error_of_the_training_is_not_replaced_by_one_at_its_end(rng, error):
    def augmentation(x, rng):
        raise error("the training's own")

    callbacks = [FailingAtEnd("disk full"), recorder := Recorder(), FailingAtEnd("no terminal", ValueError)]
    solver = Solver(make_model(), make_data(rng), SGD(0.1), callbacks=callbacks, augmentation=augmentation)
    with pytest.raises(error, match="the training's own") as caught:
        solver.train()
    assert caught.value.__notes__ == [
        "on_train_end of a callback raised another error: OSError('disk full')",
        "on_train_end of a callback raised another error: ValueError('no terminal')",
    ]
    assert recorder.events == ["start", "end"]


def test_the_first_error_at_the_end_has_the_others_as_notes(rng):
    callbacks = [FailingAtEnd("disk full"), FailingAtEnd("no terminal", ValueError)]
    solver = Solver(make_model(), make_data(rng), SGD(0.1), callbacks=callbacks, epochs=1)
    with pytest.raises(OSError, match="disk full") as caught:
        solver.train()
    assert caught.value.__notes__ == ["on_train_end of a callback raised another error: ValueError('no terminal')"]
    assert caught.value.__context__ is None
