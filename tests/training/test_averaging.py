"""Moving averages of the weights: what is averaged, what the checks and the end of a training see, and checkpoints."""

import numpy as np
import pytest
from guarded import on

import convnet
from convnet import (
    SGD,
    Adam,
    Affine,
    BatchNorm2D,
    Callback,
    Checkpoint,
    Conv2D,
    EarlyStopping,
    Momentum,
    PlateauDecay,
    ReLU,
    Sequential,
    Solver,
)
from convnet.formats.archives import read_archive, write_archive
from convnet.training.averaging import move_averages, share_of
from convnet.training.state import model_arrays, restore

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def make_data(n=60, seed=0):
    """Return images of three classes, by the brightest of three rows; they are neither centred nor square."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 31, 2, 3, 4)).astype(np.float32)
    labels = x.sum(axis=(1, 3)).argmax(axis=1)
    return {"x_train": 3 * x[:n] + 1, "y_train": labels[:n], "x_validation": 3 * x[n:] + 1, "y_validation": labels[n:]}


def make_solver(callbacks=(), optimizer=None, average=0.9, n=60, dtype=np.float32, **options):
    rng = np.random.default_rng(1)
    layers = [
        Conv2D(2, 4, (2, 3), bias=False, rng=rng, dtype=dtype),
        BatchNorm2D(4, dtype=dtype),
        ReLU(),
        Affine(4 * 2 * 2, 3, rng=rng, dtype=dtype),
    ]
    options = {"batch_size": 7, "epochs": 5, "seed": 3, "num_train_check": None} | options
    return Solver(
        Sequential(layers, (2, 3, 4)),
        make_data(n),
        optimizer or Adam(0.02),
        callbacks=callbacks,
        average=average,
        **options,
    )


def arrays_of(model):
    return {name: array.copy() for name, array in model_arrays(model).items()}


def outcome(solver):
    """Return the bytes of all that a training leaves behind."""
    kept = {"model": arrays_of(solver.model), "best": solver.best_params | solver.best_state}
    kept["averages"] = solver.state.averages
    histories = [solver.loss_history, solver.train_accuracy_history, solver.validation_accuracy_history]
    return {(part, name): array.tobytes() for part in kept for name, array in kept[part].items()}, histories


class Recorder(Callback):
    """Keeps the model's arrays after every iteration, and the averages after every epoch."""

    def __init__(self):
        self.arrays, self.averages, self.live = [], [], []

    def on_iteration_end(self, solver):
        self.arrays.append(arrays_of(solver.model))

    def on_epoch_end(self, solver):
        self.averages.append({name: array.copy() for name, array in solver.state.averages.items()})
        self.live.append(arrays_of(solver.model))


def by_definition(arrays, decay, every):
    """Return the average of arrays in float64, one an iteration, as a sum with a weight for each array that counts."""
    counting = arrays[every - 1 :: every]
    weights = []
    for move in range(1, len(counting) + 1):
        share = max(1 - decay**every, 10 / (move + 9))
        weights = [weight * (1 - share) for weight in weights] + [share]
    assert sum(weights) == pytest.approx(1)
    return {
        name: sum(weight * kept[name].astype(np.float64) for weight, kept in zip(weights, counting, strict=True))
        for name in counting[0]
    }


@pytest.mark.parametrize(
    ("n", "batch_size", "every"), [(60, 7, 1), (99, 1, 1), (100, 1, 2), (170, 1, 3)], ids=["9", "99", "100", "170"]
)
@pytest.mark.parametrize("decay", [0.5, 0.97])
def test_averages_are_those_of_the_definition(dtype, n, batch_size, every, decay):
    solver = make_solver(
        [recorder := Recorder()], Momentum(0.002), decay, n, dtype, batch_size=batch_size, epochs=3, restore_best=False
    )
    solver.train()
    for epoch, averages in enumerate(recorder.averages, 1):
        expected = by_definition(recorder.arrays[: epoch * solver.iterations_per_epoch], decay, every)
        assert averages.keys() == expected.keys() == model_arrays(solver.model).keys()
        for name, average in averages.items():
            assert average.dtype == dtype
            close = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-13}
            np.testing.assert_allclose(average, expected[name], **close, err_msg=name)


@pytest.mark.parametrize(("per_epoch", "every"), [(1, 1), (50, 1), (99, 1), (100, 2), (980, 19)])
def test_shares_begin_with_the_whole_and_end_with_the_decays(per_epoch, every):
    shares = [share_of(iteration, 0.999, per_epoch) for iteration in range(1, 12 * every)]
    assert shares[:every] == [1] * every
    moving = [share for share in shares[every - 1 :] if share]
    assert moving == pytest.approx([10 / (move + 9) for move in range(1, 12)])
    assert share_of(10**6 * every, 0.999, per_epoch) == pytest.approx(1 - 0.999**every)


def test_averaging_changes_nothing_in_the_training_itself():
    averaging, plain = make_solver([one := Recorder()]), make_solver([other := Recorder()], average=None)
    averaging.train()
    plain.train()
    assert averaging.loss_history == plain.loss_history
    assert plain.state.averages == {}
    for found, expected in zip(one.arrays + one.live, other.arrays + other.live, strict=True):
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name])
    assert averaging.validation_accuracy_history[0] == plain.validation_accuracy_history[0]
    assert averaging.validation_accuracy_history != plain.validation_accuracy_history  # so that the test could tell


@pytest.mark.parametrize("restore_best", [True, False])
def test_checks_and_the_end_are_of_the_averages(restore_best):
    solver = make_solver([recorder := Recorder()], SGD(0.3), restore_best=restore_best)
    start = arrays_of(solver.model)
    solver.train()
    twin, data = make_solver().model, make_data()
    accuracies = []
    for averages in [start, *recorder.averages]:
        restore(twin, averages)
        accuracies.append(np.mean(twin.predict(data["x_validation"]) == data["y_validation"]))
    assert solver.validation_accuracy_history == accuracies
    best = int(np.argmax(accuracies))
    assert 0 < best < len(accuracies) - 1  # so that the test could tell
    expected = recorder.averages[best - 1 if restore_best else -1]
    for name, array in arrays_of(solver.model).items():
        np.testing.assert_array_equal(array, expected[name])
        np.testing.assert_array_equal((solver.best_params | solver.best_state)[name], recorder.averages[best - 1][name])
    if restore_best:
        assert solver.check_accuracy(data["x_validation"], data["y_validation"]) == solver.best_validation_accuracy


def test_parameters_that_are_loaded_before_the_training_are_those_of_the_first_check():
    solver, other = make_solver(), make_solver()
    trained = make_solver(average=None)
    trained.train()
    solver.model.load_params(trained.model.params)
    solver.model.load_state(trained.model.state)
    restore(other.model, trained.best_params | trained.best_state)
    other.reset()
    solver.train()
    other.train()
    assert solver.validation_accuracy_history[0] == trained.best_validation_accuracy
    assert outcome(solver) == outcome(other)


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_stopped_training_goes_on_where_it_was(restore_best):
    class StopAt(Callback):
        def on_iteration_end(self, solver):
            if solver.iteration in (4, 9, 10, 31):
                solver.stop()

    whole, stopped = make_solver(restore_best=restore_best), make_solver([StopAt()], restore_best=restore_best)
    whole.train()
    for iteration in (4, 9, 10, 31, 45, 45):
        stopped.train()
        assert stopped.iteration == iteration
        given = solver_best(stopped) if restore_best else stopped.state.averages
        for name, array in model_arrays(stopped.model).items():
            np.testing.assert_array_equal(array, given[name])
    assert outcome(stopped) == outcome(whole)
    stopped.reset()
    assert stopped.state.averages.keys() == whole.state.averages.keys()


def solver_best(solver):
    return solver.best_params | solver.best_state


def test_the_bits_do_not_depend_on_the_threads():
    outcomes = []
    for threads in (1, 2, 5):
        with on(threads):
            solver = make_solver()
            solver.train()
            outcomes.append(outcome(solver))
    rng = np.random.default_rng(0)
    large, start = rng.standard_normal(5_000_001).astype(np.float32), rng.standard_normal(5_000_001).astype(np.float32)
    averages = []
    for threads in (1, 2, 5):
        with on(threads):
            averages.append({"a": start.copy()})
            move_averages(averages[-1], {"a": large}, 0.01)
    for kept in averages:
        assert kept["a"].tobytes() == averages[0]["a"].tobytes()
    np.testing.assert_allclose(averages[0]["a"], 0.99 * start + 0.01 * large, rtol=1e-5, atol=1e-6)
    assert outcomes[1:] == outcomes[:-1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("iteration", [12, 18, 45])  # within an epoch, at an epoch's end, and at the training's end
def test_divergence_gives_back_the_averages_of_the_last_check(bad, iteration):
    class Break(Callback):
        def on_iteration_end(self, solver):
            if solver.iteration == iteration:
                solver.model.params["affine1.weight"][1, 0] = bad

    solver = make_solver([Break(), recorder := Recorder()])
    with pytest.raises(FloatingPointError, match=r"the parameter affine1\.weight is the first that is not finite"):
        solver.train()
    expected = recorder.averages[-1]
    for name, array in model_arrays(solver.model).items():
        np.testing.assert_array_equal(array, expected[name])
        np.testing.assert_array_equal(solver.state.averages[name], expected[name])


def test_a_second_interrupt_within_a_check_leaves_the_trained_parameters(monkeypatch):
    solver, plain = make_solver(), make_solver(average=None)
    for _ in range(9):
        plain.step()
        solver.step()
    scores = solver.model.scores

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(solver.model, "scores", interrupted)
        with pytest.raises(KeyboardInterrupt):
            solver.train()
    assert solver.model.scores == scores
    for name, array in model_arrays(plain.model).items():
        np.testing.assert_array_equal(model_arrays(solver.model)[name], array)


OPTIMIZERS = {
    "Momentum": lambda: Momentum(0.02, nesterov=True),
    "Adam": lambda: Adam(0.02, weight_decay=0.01, clip_norm=1.0),
    "Muon": lambda: convnet.Muon(0.02, others=("affine1.weight",)),
}


@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_checkpoint_leads_to_the_same_bits(tmp_path, optimizer, restore_best):
    def make(callbacks=()):
        return make_solver(
            [*callbacks, EarlyStopping(50)],
            OPTIMIZERS[optimizer](),
            schedule=PlateauDecay(0.5, patience=1),
            restore_best=restore_best,
            epochs=4,
        )

    whole = make([Checkpoint(tmp_path, iterations=1, keep=100)])
    whole.train()
    whole.save(tmp_path / "checkpoint-z.npz")  # when the model has the averages already
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == whole.num_iterations + 2
    for path in paths[::4] + paths[-2:]:
        solver = make()
        solver.resume(path)
        solver.train()
        assert outcome(solver) == outcome(whole)
    whole.epochs = again = 5
    whole.train()
    solver = make()
    solver.epochs = again
    solver.resume(paths[-1])
    solver.train()
    assert outcome(solver) == outcome(whole)


def rewritten(path, change):
    """Rewrite a checkpoint after a change of its header and its arrays."""
    header, arrays = read_archive(path, "checkpoint", (2,))
    header, arrays = dict(header), dict(arrays)
    change(header, arrays)
    write_archive(path, "checkpoint", 2, {key: value for key, value in header.items() if key != "format"}, arrays)


def test_a_checkpoint_without_the_averages_is_named(tmp_path):
    solver, path = make_solver(), tmp_path / "one.npz"
    solver.save(path)
    with pytest.raises(ValueError, match=r"average 0\.9, expected 0\.99; make"):
        make_solver(average=0.99).resume(path)
    with pytest.raises(ValueError, match=r"average 0\.9, expected None; make"):
        make_solver(average=None).resume(path)

    def drop(header, arrays):
        for name in [name for name in arrays if name.startswith("averages.")]:
            del arrays[name]

    rewritten(path, drop)
    other = make_solver()
    before = outcome(other)
    with pytest.raises(ValueError, match="the moving averages are missing"):
        other.resume(path)
    assert outcome(other) == before


def test_a_checkpoint_from_before_there_were_averages_is_one_without(tmp_path):
    solver, path = make_solver(average=None), tmp_path / "one.npz"
    for _ in range(3):
        solver.step()
    solver.save(path)
    rewritten(path, lambda header, arrays: header["run"].pop("average"))
    again = make_solver(average=None)
    again.resume(path)
    again.train()
    solver.train()
    assert outcome(again) == outcome(solver)
    with pytest.raises(ValueError, match=r"one\.npz: .*: average is not in it, expected 0\.9; make"):
        make_solver().resume(path)


def test_arrays_of_any_kind_have_an_average():
    arrays = {
        "count": np.array(7),
        "is_seen": np.array([True, False]),
        "big-endian": np.array([1.5, 2.5], ">f4"),
        "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
        "number": np.array(3.0, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    arrays["transposed"].flags.writeable = False
    averages = {name: np.zeros_like(array, order="C") for name, array in arrays.items()}
    move_averages(averages, arrays, 0.5)
    for name, average in averages.items():
        exact = arrays[name] / 2 if name in ("transposed", "number") else arrays[name]
        np.testing.assert_array_equal(average, exact, err_msg=name)


@pytest.mark.parametrize("wrong", [0, 1, -0.5, np.nan, 2])
def test_an_average_out_of_range_is_named(wrong):
    with pytest.raises(ValueError, match="average: expected a finite number above 0 and below 1, got "):
        make_solver(average=wrong)


def test_the_decay_cannot_be_changed():
    solver = make_solver()
    assert (solver.average, make_solver(average=None).average) == (0.9, None)
    with pytest.raises(AttributeError):
        solver.average = 0.5


def test_an_average_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="average: expected a real number, got True"):
        make_solver(average=True)
