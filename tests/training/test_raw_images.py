"""Raw images, of uint8, in a Solver and in a model: their statistics prepare them where they are used."""

import tracemalloc

import numpy as np
import pytest
from checkpoint_runs import OPTIMIZERS, outcome

import convnet
from convnet import Augmentation, ConvNet1, Mixup, Solver, Statistics, preprocess

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")

SHAPES = {"grey": (75, 8, 8), "colour": (75, 8, 9, 3)}


def make_images(shape):
    rng = np.random.default_rng(7)
    images, labels = rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 3, shape[0])
    return images, labels, images[:20], labels[:20]


def prepared(shape, *, keep_uint8):
    return preprocess(*make_images(shape), num_validation=12, num_test=None, keep_uint8=keep_uint8)


def make_solver(data, statistics, *, dtype=np.float32, optimizer="SGD", **changes):
    shape = data["x_train"].shape[1:]
    model = ConvNet1(shape, num_filters=3, hidden_size=9, num_classes=3, dropout=convnet.Dropout(0.4), dtype=dtype)
    model.statistics = statistics
    options = {"batch_size": 7, "epochs": 3, "seed": 3, "num_train_check": 20} | changes
    return Solver(model, data, OPTIMIZERS[optimizer](), **options)


def noise(x, rng):
    return x + rng.standard_normal(x.shape).astype(x.dtype)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_preprocess_keeps_the_pixels_and_takes_the_same_statistics(shape):
    (data, statistics), (raw, raw_statistics) = (prepared(shape, keep_uint8=keep) for keep in (False, True))
    assert repr(statistics) == repr(raw_statistics)
    assert data.keys() == raw.keys()
    for part in ("train", "validation", "test"):
        x = raw[f"x_{part}"]
        assert x.dtype == np.uint8
        assert x.flags.c_contiguous
        assert statistics.prepare(x).tobytes() == data[f"x_{part}"].tobytes()
        np.testing.assert_array_equal(raw[f"y_{part}"], data[f"y_{part}"])
    images, labels = make_images(shape)[:2]
    again, _ = preprocess(images, labels, images, labels, num_validation=12, num_test=None, keep_uint8=True)
    assert np.may_share_memory(again["x_train"], images) == (len(shape) == 3)  # the channel of grey images is first
    with pytest.raises(TypeError, match="keep_uint8: expected True or False, got 1"):
        preprocess(images, labels, images, labels, num_validation=12, num_test=None, keep_uint8=1)


def test_statistics_prepare_writes_to_out_and_names_what_is_wrong(rng):
    data, statistics = prepared(SHAPES["colour"], keep_uint8=True)
    x, out = data["x_test"], np.empty((20, 3, 8, 9), np.float32)
    assert statistics.prepare(x, out=out) is out
    np.testing.assert_array_equal(out, statistics.prepare(x))
    np.testing.assert_array_equal(out[::-1], statistics.prepare(x[::-1]))
    np.testing.assert_array_equal(out, statistics.apply(make_images(SHAPES["colour"])[0][:20]))
    assert statistics.prepare(x[:0]).shape == (0, 3, 8, 9)
    with pytest.raises(TypeError, match="expected images of dtype uint8, got float32"):
        statistics.prepare(out)
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 3, 8, 9\), got \(20, 3, 8, 8\)"):
        statistics.prepare(x[..., :8])
    with pytest.raises(ValueError, match=r"Statistics\.prepare: expected out to be another array of float32"):
        statistics.prepare(x, out=out.astype(float))


def test_statistics_may_be_one_number_for_each_channel(rng):
    x = rng.integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
    mean, std = (rng.uniform(0.2, 0.8, (3, 1, 1)).astype(np.float32) for _ in range(2))
    expected = (x.astype(np.float32) / 255 - mean) / std
    statistics = Statistics((3, 4, 6), True, mean, std)
    np.testing.assert_array_equal(statistics.prepare(x), expected)
    still = Augmentation(shift=0, rotation=0, statistics=statistics)
    np.testing.assert_array_equal(still(x, rng), expected)
    np.testing.assert_allclose(still(expected, rng), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "augmentation", [None, noise, Mixup(0.5), Mixup(0.5, noise)], ids=["none", "noise", "mixup", "mixup of noise"]
)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_training_has_the_bits_of_images_that_were_prepared_before(shape, augmentation, dtype):
    outcomes = []
    for keep in (False, True):
        solver = make_solver(*prepared(shape, keep_uint8=keep), augmentation=augmentation, dtype=dtype)
        solver.train()
        outcomes.append(outcome(solver))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"shift": 2, "rotation": 0, "flip": True, "cutout": 2}], ids=repr)
def test_an_augmentation_of_raw_images_is_that_of_prepared_ones_within_rounding(options, dtype):
    (data, statistics), (raw, _) = (prepared(SHAPES["colour"], keep_uint8=keep) for keep in (False, True))
    augmentation = Augmentation(**options, statistics=statistics)
    solver = make_solver(data, statistics, augmentation=augmentation, dtype=dtype)
    solver.train()
    # With the Augmentation's own statistics, without, and with others, those of the model count.
    others = Statistics((3, 8, 9), False, None, None)
    losses = set()
    for own in (statistics, None, others):
        twin = make_solver(raw, statistics, augmentation=Augmentation(**options, statistics=own), dtype=dtype)
        twin.train()
        np.testing.assert_allclose(twin.loss_history, solver.loss_history, rtol=1e-3)
        losses.add(tuple(twin.loss_history))
    assert len(losses) == 1


def test_images_may_be_mapped_from_a_file_or_lie_in_any_layout(tmp_path):
    data, statistics = prepared(SHAPES["colour"], keep_uint8=True)
    np.save(tmp_path / "images.npy", data["x_train"])
    expected = make_solver(data, statistics)
    expected.train()
    last = np.ascontiguousarray(data["x_train"].transpose(0, 2, 3, 1))
    for x in (np.load(tmp_path / "images.npy", mmap_mode="r"), last.transpose(0, 3, 1, 2)):
        solver = make_solver({**data, "x_train": x}, statistics)
        solver.train()
        assert outcome(solver) == outcome(expected)


def test_prepared_inputs_of_any_layout_have_the_bits_of_contiguous_ones(rng):
    data, _ = prepared(SHAPES["colour"], keep_uint8=False)
    losses = []
    for x in (data["x_train"], np.asfortranarray(data["x_train"])):
        solver = make_solver({**data, "x_train": x}, None, epochs=1)
        solver.train()
        losses.append(solver.loss_history)
    assert losses[0] == losses[1]


class Halved:
    def apply(self, images):
        return images / 2


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("statistics", [None, Halved()], ids=["none", "a user's"])
def test_raw_images_without_their_statistics_are_refused(part, statistics):
    data, own = prepared(SHAPES["colour"], keep_uint8=False)
    raw, _ = prepared(SHAPES["colour"], keep_uint8=True)
    mixed = {**data, f"x_{part}": raw[f"x_{part}"]}
    with pytest.raises(
        ValueError,
        match=rf"^Solver: x_{part} holds raw images, of uint8: expected model.statistics that prepare them, got .*"
        "; set them to what preprocess returned",
    ):
        make_solver(mixed, statistics)
    make_solver(mixed, own).train()  # a part may be prepared
    solver = make_solver(raw, own)
    solver.model.statistics = None
    with pytest.raises(ValueError, match=r"^Solver: x_train holds raw images, .* got none"):
        solver.step()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_method_of_a_model_takes_raw_images(dtype):
    (data, statistics), (raw, _) = (prepared(SHAPES["colour"], keep_uint8=keep) for keep in (False, True))
    solver = make_solver(raw, statistics, dtype=dtype)
    solver.train()
    model, x, y = solver.model, data["x_train"], data["y_train"]
    for method in (model.scores, model.probabilities, model.predict, solver.predict):
        assert method(raw["x_train"]).tobytes() == method(x).tobytes()
    many = np.concatenate([raw["x_train"]] * 9)  # more than are predicted at a time
    assert model.scores(many).tobytes() == model.scores(statistics.prepare(many)).tobytes()
    assert model.scores(raw["x_train"][:0]).shape == (0, 3)
    losses = []
    for inputs in (x, raw["x_train"]):
        model.rng = np.random.default_rng(1)  # of the dropout
        losses.append(model.loss(inputs, y)[0])
    assert losses[0] == losses[1]
    assert solver.check_accuracy(raw["x_train"], y) == solver.check_accuracy(x, y)
    assert model.first_non_finite(raw["x_train"]) is None
    with pytest.raises(ValueError, match=r"ConvNet1: expected x of shape \(N, 3, 8, 9\), got \(63, 9, 8, 3\)"):
        model.scores(raw["x_train"].transpose(0, 3, 2, 1))
    with pytest.raises(ValueError, match=r"got \(3, 8, 9\); one example x is given as x\[None\]"):
        model.scores(raw["x_train"][0])
    with pytest.raises(ValueError, match=r"expected x of shape \(N, 3, 8, 9\), got \(\)"):
        model.scores(np.uint8(1))
    # Without statistics they are numbers.
    model.statistics = None
    np.testing.assert_array_equal(model.scores(raw["x_test"]), model.scores(raw["x_test"].astype(dtype)))


AUGMENTATIONS = {
    "one pass": Augmentation(shift=2, rotation=0, flip=True, ground=0, contrast=0.2, brightness=0.1, cutout=3),
    "turned, mixed": Mixup(0.4, Augmentation(flip_vertically=True, reflect=True)),
    "own, mixed": Mixup(1.0, noise),
}


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_every_checkpoint_leads_to_the_same_bits(tmp_path, augmentation):
    data, statistics = prepared(SHAPES["colour"], keep_uint8=True)
    data["weights_train"] = np.random.default_rng(0).uniform(0, 3, len(data["x_train"]))

    def make(**options):
        return make_solver(data, statistics, augmentation=augmentation, optimizer="Adam", **options)

    whole = make(callbacks=[convnet.Checkpoint(tmp_path, iterations=1, keep=100)])
    whole.train()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == whole.num_iterations + 1
    for path in paths[::4]:
        solver = make()
        solver.resume(path)
        solver.train()
        assert outcome(solver) == outcome(whole)


def test_a_checkpoint_of_other_statistics_or_another_mixup_is_refused(tmp_path):
    data, statistics = prepared(SHAPES["colour"], keep_uint8=True)
    solver = make_solver(data, statistics, augmentation=Mixup(0.4, noise))
    solver.save(tmp_path / "one.npz")
    others = Statistics((3, 8, 9), True, None, None)
    with pytest.raises(ValueError, match="it is a checkpoint of another run: statistics 'Statistics"):
        make_solver(data, others, augmentation=Mixup(0.4, noise)).resume(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"augmentation 'Mixup\(0.4\) after .*noise', expected 'Mixup\(0.5\)"):
        make_solver(data, statistics, augmentation=Mixup(0.5, noise)).resume(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"augmentation 'Mixup\(0.4\) after .*noise', expected .* after None"):
        make_solver(data, statistics, augmentation=Mixup(0.4)).resume(tmp_path / "one.npz")
    make_solver(data, statistics, augmentation=Mixup(0.4, noise)).resume(tmp_path / "one.npz")


@pytest.mark.parametrize("augmentation", [None, *AUGMENTATIONS.values()][:3], ids=repr)
def test_a_step_on_raw_images_allocates_nothing_large(rng, augmentation):
    x = rng.integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
    data = {"x_train": x, "y_train": np.arange(300) % 3, "x_validation": x[:9], "y_validation": np.arange(9) % 3}
    statistics = Statistics((3, 32, 32), True, np.full((3, 32, 32), 0.5, np.float32), np.float32(0.2))
    solver = make_solver(data, statistics, batch_size=100, augmentation=augmentation)
    for _ in range(3):
        solver.step()
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(4):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            solver.step()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert min(peaks) < 1 << 16
