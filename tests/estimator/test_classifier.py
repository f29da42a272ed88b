"""ConvNetClassifier, held against scikit-learn's rules and against what its parameters promise."""

import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
import sklearn
import threadpoolctl
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import convnet
from convnet import SGD, Affine, Augmentation, ConvNet1, ConvnetWarning, ImageData, Momentum, ReLU
from convnet.estimator import ConvNetClassifier


@pytest.fixture(autouse=True)
def _keep_the_number_of_threads():
    before = convnet.get_num_threads()
    yield
    convnet.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(images))[:600]  # of many writers
    return images[chosen], labels[chosen]


def blobs(rng, n=90, features=5, classes=3):
    """Return points around as many centres as classes, the centres far from 0 and from each other."""
    labels = np.arange(n) % classes
    return 10 + 4 * np.eye(classes, features)[labels] + rng.standard_normal((n, features)), labels


def quick(**options):
    """Return a classifier of images of 8x8 pixels that trains in a moment."""
    return ConvNetClassifier(**{"image_shape": (8, 8), "epochs": 3, "random_state": 0, **options})


def small(input_shape, num_classes, rng):
    """Make a network without randomness after its beginning."""
    return [Affine(int(np.prod(input_shape)), 12, rng=rng), ReLU(), Affine(12, num_classes, rng=rng)]


class SmallInFloat64:
    """A function with a name that is the same in every process, for the names of tests."""

    def __call__(self, input_shape, num_classes, rng):
        size = int(np.prod(input_shape))
        return [
            Affine(size, 12, rng=rng, dtype=np.float64),
            ReLU(),
            Affine(12, num_classes, rng=rng, dtype=np.float64),
        ]

    def __repr__(self):
        return "small_in_float64"


small_in_float64 = SmallInFloat64()


# ------------------------------------------------------------------------------------------ scikit-learn's rules


@parametrize_with_checks(
    [ConvNetClassifier(), ConvNetClassifier(small_in_float64, epochs=60, optimizer=Momentum, learning_rate=0.02)]
)
@pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")  # of a few examples without a meaning
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_digits_are_learnt_in_every_layout_with_the_same_bits(digits):
    x, y = digits
    images = x.reshape(-1, 8, 8)
    expected = quick(epochs=8).fit(x[:500], y[:500])
    assert expected.score(x[500:], y[500:]) > 0.93
    assert expected.n_features_in_ == 64
    probabilities = expected.predict_proba(x[500:])
    for given, axes in ((images, None), (images[..., None], None), (images[:, None], "NCHW"), (images[:, None], None)):
        got = quick(epochs=8, image_shape=None, axes=axes).fit(given[:500], y[:500])
        assert got.n_features_in_ == 64
        np.testing.assert_array_equal(got.predict_proba(given[500:]), probabilities)
        np.testing.assert_array_equal(got.predict_proba(x[500:]), probabilities)  # rows, too


def test_colours_first_and_last_are_the_same_images(rng):
    planes, y = rng.integers(0, 256, (40, 3, 6, 7)), np.arange(40) % 2
    planes[y == 1, 1] //= 2
    last = planes.transpose(0, 2, 3, 1)
    options = {"epochs": 2, "random_state": 0}
    expected = ConvNetClassifier(**options).fit(planes, y).predict_proba(planes)
    for given in (last, last.astype(np.uint8), planes.astype(np.float32), np.asfortranarray(planes), planes.tolist()):
        got = ConvNetClassifier(**options).fit(given, y).predict_proba(given)
        np.testing.assert_array_equal(got, expected)
    for given, shape in ((planes, (3, 6, 7)), (last, (6, 7, 3))):
        flat = given.reshape(40, -1)
        got = ConvNetClassifier(image_shape=shape, **options).fit(flat, y)
        np.testing.assert_array_equal(got.predict_proba(flat), expected)
        assert got.model_.input_shape == (3, 6, 7)
        np.testing.assert_allclose(got.mean_, planes.mean(axis=(0, 2, 3)))
        np.testing.assert_allclose(got.scale_, planes.std(axis=(0, 2, 3)))


@pytest.mark.parametrize("names", [["nought", "one", "two"], [False, True], [-3, 5, 4], [2.0, 7.0], ["a", "b"]])
def test_labels_of_any_kind_come_back(rng, names):
    x, classes = blobs(rng, classes=len(names))
    labels = np.array(names)[classes]
    classifier = ConvNetClassifier(random_state=0).fit(x, labels.tolist())
    assert classifier.classes_.tolist() == sorted(names)
    assert classifier.classes_.dtype == labels.dtype
    predicted = classifier.predict(x)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels).mean() > 0.9
    assert classifier.score(x, labels) == (predicted == labels).mean()
    decisions, probabilities = classifier.decision_function(x), classifier.predict_proba(x)
    assert decisions.shape == (len(x), len(names)) if len(names) > 2 else (len(x),)
    np.testing.assert_allclose(classifier.predict_log_proba(x), np.log(probabilities), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    if len(names) == 2:
        np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-decisions)), rtol=1e-9)


def test_features_are_scaled_as_by_standard_scaler(rng):
    x, y = blobs(rng)
    x[:, 1] *= 1e6
    x[:, 2] = 0.1  # whose computed variance is not 0
    times = rng.integers(1, 4, len(x))
    classifier = ConvNetClassifier(small, epochs=1, random_state=0).fit(x, y, times)
    scaler = StandardScaler().fit(x.repeat(times, axis=0))
    np.testing.assert_allclose(classifier.mean_, scaler.mean_)
    np.testing.assert_allclose(classifier.scale_, scaler.scale_)
    scores = classifier.model_.scores(scaler.transform(x))
    np.testing.assert_allclose(classifier.decision_function(x), scores, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------ in scikit-learn's tools


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler])
def test_a_pipeline_may_scale_too(digits, scaler):
    x, y = digits
    pipeline = make_pipeline(scaler(), quick(epochs=8)).fit(x[:500], y[:500])
    assert pipeline.score(x[500:], y[500:]) > 0.75


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_grid_is_searched_on_several_processes_with_the_same_results(digits, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CONVNET_NUM_THREADS", raising=False)
    x, y = digits

    def threads_of_the_worker(estimator, x, y):
        return convnet.get_num_threads()

    scoring = {"accuracy": "accuracy", "threads": threads_of_the_worker}
    found = {}
    for jobs in (None, 2):
        search = GridSearchCV(
            quick(), {"epochs": [1, 3]}, cv=3, n_jobs=jobs, scoring=scoring, refit="accuracy", error_score="raise"
        )
        found[jobs] = search.fit(x, y)
    for jobs in found:
        assert found[jobs].best_params_ == {"epochs": 3}
    np.testing.assert_array_equal(*(search.cv_results_["mean_test_accuracy"] for search in found.values()))
    np.testing.assert_array_equal(*(search.predict_proba(x) for search in found.values()))
    # joblib lets each worker use its share of the processors.
    assert set(found[2].cv_results_["mean_test_threads"]) == {max(1, joblib.cpu_count() // 2)}


def test_calibration_and_cross_validation_take_it(digits):
    x, y = digits
    calibrated = CalibratedClassifierCV(quick(epochs=6), cv=2).fit(x[:400], y[:400])
    assert calibrated.score(x[400:], y[400:]) > 0.8
    predicted = cross_val_predict(quick(), x.reshape(-1, 8, 8), y, cv=KFold(2, shuffle=True, random_state=0))
    assert (predicted == y).mean() > 0.8


def test_clones_pickles_and_dumps_are_the_same(digits, tmp_path):
    x, y = digits
    fitted = quick(network=small, augmentation=Augmentation(shift=1, rotation=0), optimizer=Momentum).fit(x, y)
    expected = fitted.predict_proba(x)
    np.testing.assert_array_equal(clone(fitted).fit(x, y).predict_proba(x), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), expected)
    joblib.dump(fitted, tmp_path / "classifier.joblib")
    for mode in (None, "r"):
        loaded = joblib.load(tmp_path / "classifier.joblib", mmap_mode=mode)
        np.testing.assert_array_equal(loaded.predict_proba(x), expected)
    assert "model_" not in vars(clone(fitted))


def test_layers_are_copied_so_that_each_fit_begins_with_their_weights(digits, rng):
    x, y = digits
    layers = small((64,), 10, rng)
    before = layers[0].params["weight"].copy()
    classifier = quick(network=layers, epochs=1)
    expected = classifier.fit(x, y).predict_proba(x)
    np.testing.assert_array_equal(layers[0].params["weight"], before)
    np.testing.assert_array_equal(classifier.fit(x, y).predict_proba(x), expected)
    np.testing.assert_array_equal(clone(classifier).fit(x, y).predict_proba(x), expected)


def test_frames_give_the_names_of_the_features(rng):
    pandas = pytest.importorskip("pandas")
    x, y = blobs(rng)
    frame = pandas.DataFrame(x, columns=list("abcde"))
    classifier = ConvNetClassifier(epochs=2, random_state=0).fit(frame, pandas.Series(y).map({0: "x", 1: "y", 2: "z"}))
    assert classifier.feature_names_in_.tolist() == list("abcde")
    assert set(classifier.predict(frame)) <= {"x", "y", "z"}
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame[list("edcba")])


def test_weights_are_routed_through_a_pipeline(rng):
    x, y = blobs(rng)
    weights = rng.integers(0, 3, len(x)).astype(float)
    plain = ConvNetClassifier(epochs=2, random_state=0)
    expected = clone(plain).fit(x, y, weights).predict_proba(x)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(plain).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(routed).fit(x, y, sample_weight=weights)
        np.testing.assert_array_equal(pipeline.predict_proba(x), expected)
        scores = cross_validate(routed, x, y, cv=2, params={"sample_weight": weights})
        assert len(scores["test_score"]) == 2
        parts = clone(plain).set_partial_fit_request(classes=True, sample_weight=True)
        assert parts.get_metadata_routing().partial_fit.requests == {"classes": True, "sample_weight": True}


# ------------------------------------------------------------------------------------------ weights


def test_an_example_of_weight_0_is_as_if_it_was_not_there(digits, rng):
    x, y = digits
    mask = np.arange(len(x)) % 4 > 0
    results = [quick(epochs=1).fit(x, y, weights).predict_proba(x) for weights in (mask, mask.astype(float))]
    np.testing.assert_array_equal(*results)
    weights = rng.integers(0, 2, len(x))
    fitted = quick().fit(x, y, weights)
    without = quick().fit(x[weights > 0], y[weights > 0])
    np.testing.assert_array_equal(fitted.predict_proba(x), without.predict_proba(x))


def test_in_one_minibatch_an_example_of_weight_2_counts_as_two(rng):
    x, y = blobs(rng, 40)
    times = rng.integers(0, 5, len(x))
    options = {"network": small_in_float64, "epochs": 20, "batch_size": 200, "random_state": 0}
    weighted = ConvNetClassifier(**options).fit(x, y, times)
    repeated = ConvNetClassifier(**options).fit(x.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.predict_proba(x), repeated.predict_proba(x), rtol=1e-8, atol=1e-12)
    assert np.abs(weighted.predict_proba(x) - ConvNetClassifier(**options).fit(x, y).predict_proba(x)).max() > 1e-3


def test_weights_of_examples_and_classes_are_multiplied(rng):
    x, y = blobs(rng)
    own, factors = rng.uniform(0.5, 1.5, len(x)), np.array([1, 5, 0.5])
    options = {"network": small_in_float64, "optimizer": SGD, "batch_size": 90, "random_state": 0}
    names = np.array(["a", "b", "c"])[y]
    begun = ConvNetClassifier(epochs=1, learning_rate=1e-12, **options).fit(x, names, own)
    given = ConvNetClassifier(learning_rate=0.1, class_weight={"b": 5, "c": 0.5}, **options)
    given.partial_fit(x, names, classes=["c", "a", "b"], sample_weight=own)
    # The scales are those of the examples' own weights.
    mean = np.average(x, axis=0, weights=own)
    prepared = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=own))
    model = begun.model_
    model.train_step(prepared, y, SGD(0.1), weights=own * factors[y])
    np.testing.assert_allclose(given.decision_function(x), model.scores(prepared), rtol=1e-8, atol=1e-9)


def test_balanced_weights_are_the_inverse_frequencies(rng):
    x, y = blobs(rng, 90, classes=2)
    chosen = np.flatnonzero((y == 0) | (np.arange(90) % 9 == 1))
    x, y = x[chosen], y[chosen]
    counts = np.bincount(y)
    balanced = ConvNetClassifier(epochs=3, class_weight="balanced", random_state=0).fit(x, y).predict_proba(x)
    by_hand = dict(enumerate(len(y) / (2 * counts)))
    given = ConvNetClassifier(epochs=3, class_weight=by_hand, random_state=0).fit(x, y).predict_proba(x)
    np.testing.assert_array_equal(balanced, given)
    plain = ConvNetClassifier(epochs=3, random_state=0).fit(x, y).predict_proba(x)
    assert balanced[:, 1].mean() > plain[:, 1].mean()


# ------------------------------------------------------------------------------------------ training


def test_a_random_state_decides_everything_on_any_number_of_threads(digits):
    x, y = digits
    found = {}
    for threads in (1, 2, 3):
        convnet.set_num_threads(threads)
        found[threads] = quick().fit(x, y).predict_proba(x)
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_array_equal(found[1], found[3])
    state = np.random.RandomState(0)
    first, second = (quick(random_state=state).fit(x, y).predict_proba(x) for _ in range(2))
    np.testing.assert_array_equal(first, found[1])
    assert (second != first).any()
    other = quick(random_state=None).fit(x, y).predict_proba(x)
    assert (other != found[1]).any()


def test_the_loss_curve_has_the_mean_loss_of_each_epoch(digits, capsys):
    x, y = digits
    classifier = quick(network=small, epochs=4, batch_size=250, optimizer=SGD, learning_rate=1e-9, verbose=True)
    classifier.fit(x, y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 4
    # At such a rate nothing changes; the last minibatch has 100 examples.
    scores = classifier.decision_function(x)
    losses = [convnet.softmax_loss(scores, y)[0]]
    np.testing.assert_allclose(classifier.loss_curve_, losses * 4, rtol=0.05)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"epoch {n + 1}/4: loss {loss:.4f}" for n, loss in enumerate(classifier.loss_curve_)]


def test_a_warm_start_trains_on(digits):
    x, y = digits
    classifier = quick(epochs=2, warm_start=True).fit(x, y)
    loss, before = classifier.loss_curve_[-1], classifier.model_
    params = {name: param.copy() for name, param in before.params.items()}
    classifier.set_params(epochs=3).fit(x, y)
    assert classifier.model_ is before
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 5
    assert classifier.loss_curve_[-1] < loss
    assert any((params[name] != param).any() for name, param in classifier.model_.params.items())
    with pytest.raises(ValueError, match=r"warm_start the classes of the last fit, 0, 1, .* 9, got 0, 1$"):
        classifier.fit(x[y < 2], y[y < 2])
    classifier.set_params(warm_start=False).fit(x, y)
    assert classifier.n_iter_ == 3
    with pytest.raises(ValueError, match=r"got one class, 1$"):
        classifier.fit(x[y == 1], y[y == 1])
    with pytest.raises(NotFittedError):  # what a fit that failed leaves
        classifier.predict(x)


def test_a_training_that_goes_on_takes_what_may_change_and_refuses_the_rest(digits):
    x, y = digits
    classifier = quick(epochs=1, warm_start=True, network=small).fit(x, y)
    again = pickle.loads(pickle.dumps(classifier)).set_params(l2=0.5).fit(x, y)
    assert again.model_.l2 == 0.5
    for name, value in (("network", None), ("image_shape", (4, 16)), ("axes", "NWH")):
        before = getattr(classifier, name)
        classifier.set_params(**{name: value})
        for go_on in (classifier.fit, classifier.partial_fit):
            with pytest.raises(ValueError, match=f"{name}: expected what the training began with, .* begins anew"):
                go_on(x, y)
        classifier.set_params(**{name: before})
    assert classifier.fit(x, y).n_iter_ == 2


def test_partial_fit_is_an_epoch_of_each_part(digits):
    x, y = digits
    classifier = quick(learning_rate=1e-3)
    for _ in range(8):
        for start in range(0, 500, 100):
            classifier.partial_fit(x[start : start + 100], y[start : start + 100], classes=np.arange(10))
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 40
    assert classifier.score(x[500:], y[500:]) > 0.9
    np.testing.assert_allclose(classifier.mean_, x[:100].mean())
    few = y < 3  # a part may lack classes, without a warning
    classifier.partial_fit(x[few], y[few])
    for labels, found in (([0, 11], "11"), (["no", "yes"], "'no', 'yes'"), (["0", "1"], "'0', '1'")):
        with pytest.raises(ValueError, match=f"labels among the classes 0, .* 9, got {found}"):
            classifier.partial_fit(x[:2], labels)


def test_optimizers_keep_what_they_know_when_the_training_goes_on(digits):
    """Of a momentum: two parts one after the other are the steps of one optimizer, not of two new ones."""
    x, y = digits[0][:64], digits[1][:64]
    options = {"network": small_in_float64, "optimizer": Momentum, "learning_rate": 1e-2, "batch_size": 64}
    both = quick(**options).partial_fit(x, y, classes=np.arange(10)).partial_fit(x, y)
    model = quick(**options | {"epochs": 1, "optimizer": SGD, "learning_rate": 1e-12}).fit(x, y).model_
    prepared = ((x - x.mean()) / x.std()).reshape(-1, 1, 8, 8)
    optimizer = Momentum(1e-2)
    for _ in range(2):
        model.train_step(prepared, y, optimizer)
    np.testing.assert_allclose(both.decision_function(x), model.scores(prepared), rtol=1e-6, atol=1e-9)


def test_early_stopping_keeps_the_best_epoch(digits):
    x, y = digits
    options = {"epochs": 50, "early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 4}
    classifier = quick(network=small, learning_rate=3e-3, **options).fit(x, y)
    scores = classifier.validation_scores_
    assert len(scores) == classifier.n_iter_ < 50
    assert classifier.best_validation_score_ == max(scores) == scores[classifier.best_epoch_ - 1]
    assert classifier.n_iter_ - 1 - int(np.argmax(scores)) == 4
    # No example that was held back has a part in the scales: 180 of 600 are.
    assert classifier.mean_ != pytest.approx(x.mean())
    assert classifier.score(x, y) > 0.85
    assert quick().fit(x, y).validation_scores_ is None


def test_what_is_held_back_stays_so_when_the_training_goes_on(rng):
    """There is nothing to learn: who knows the labels of half of the validation part has trained with them."""
    x, y = rng.standard_normal((200, 60)), rng.integers(0, 2, 200)
    options = {"early_stopping": True, "validation_fraction": 0.5, "n_iter_no_change": 30, "random_state": 0}
    classifier = ConvNetClassifier(epochs=30, warm_start=True, **options).fit(x, y)
    first = classifier.best_validation_score_
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*no later accuracy check found a better", ConvnetWarning)
        classifier.fit(x, y)
        assert classifier.best_validation_score_ < first + 0.1 < 0.75
        classifier.set_params(early_stopping=False, epochs=1).fit(x, y)
        with pytest.warns(ConvnetWarning, match="holds examples back now, but did not in the training that goes on"):
            classifier.set_params(early_stopping=True).fit(x, y)


def test_another_optimizer_begins_anew_when_the_training_goes_on(digits):
    x, y = digits[0][:64], digits[1][:64]
    classifier = quick(network=small, epochs=1, optimizer=Momentum, warm_start=True).fit(x, y)
    model, prepared = pickle.loads(pickle.dumps(classifier.model_)), ((x - x.mean()) / x.std()).reshape(-1, 1, 8, 8)
    classifier.set_params(optimizer=SGD, learning_rate=0.1, batch_size=64).partial_fit(x, y)
    model.train_step(prepared, y, SGD(0.1))
    np.testing.assert_allclose(classifier.decision_function(x), model.scores(prepared), rtol=1e-4, atol=1e-4)


def test_predictions_do_not_depend_on_what_is_beside_them(digits):
    x, y = digits
    classifier = quick().fit(x, y)
    whole = classifier.decision_function(x)
    for size in (1, 7, 16, 199, 201, 215):
        parts = [classifier.decision_function(x[start : start + size]) for start in range(0, 430, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole[: sum(map(len, parts))])


def test_the_network_is_a_model_of_its_own(digits):
    x, y = digits
    names = np.array(["n" + str(label) for label in range(10)])
    pixels = x.astype(np.uint8)
    classifier = quick().fit(pixels, names[y])
    file = io.BytesIO()
    pickle.dump(classifier.model_, file)
    file.seek(0)
    model = pickle.load(file)
    found, probabilities = model.classify(pixels.reshape(-1, 8, 8))
    np.testing.assert_allclose(probabilities, classifier.predict_proba(pixels), atol=1e-5)
    assert found == classifier.predict(pixels).tolist()


def test_the_model_goes_into_a_file(digits, tmp_path):
    x, y = digits
    classifier = quick().fit(x, y)
    convnet.save_model(classifier.model_, tmp_path / "digits.npz")
    model = convnet.load_model(tmp_path / "digits.npz")
    pixels = x.reshape(-1, 8, 8).astype(np.uint8)
    np.testing.assert_array_equal(model.predict_images(pixels), classifier.predict(x))


# ------------------------------------------------------------------------------------------ threads, and what is wrong


def test_threadpoolctl_limits_the_threads_and_gives_them_back():
    convnet.set_num_threads(3)
    (info,) = (found for found in threadpoolctl.threadpool_info() if found["internal_api"] == "convnet")
    assert info["num_threads"] == 3
    assert info["version"] == convnet.__version__
    with threadpoolctl.threadpool_limits(1):
        assert convnet.get_num_threads() == 1
    assert convnet.get_num_threads() == 3
    with threadpoolctl.threadpool_limits({"convnet": 2}):
        assert convnet.get_num_threads() == 2
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert convnet.get_num_threads() == 3


def test_without_scikit_learn_one_error_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None; import convnet; import convnet.estimator"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: convnet.estimator needs scikit-learn")
    assert last.endswith('pip install "convnet-cpu[sklearn]", in a clone pip install ".[sklearn]"')
    assert "During handling" not in done.stderr


ROWS = np.arange(24.0).reshape(4, 6)
Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("options", "x", "y", "message"),
    [
        ({"image_shape": (2, 4)}, ROWS, Y, r"X of shape \(N, 8\) for images of shape \(2, 4\), got \(4, 6\)"),
        (
            {},
            np.ma.masked_equal(ROWS, 3),
            Y,
            "ConvNetClassifier: X: expected an array without a mask, got a masked one",
        ),
        ({}, ImageData(ROWS, Y, ("a", "b")), Y, "X: expected an array, got the whole ImageData; give one of its"),
        ({"image_shape": (6,)}, ROWS, Y, r"expected images of two or three axes, such as .* got \(6,\)"),
        ({"image_shape": 6}, ROWS, Y, "image_shape: expected a shape, got 6"),
        ({"image_shape": (2, 3)}, ROWS.reshape(4, 3, 2), Y, r"expected images of image_shape, \(2, 3\), got \(3, 2\)"),
        ({}, np.zeros((4, 3, 3, 3)), Y, r'got \(3, 3, 3\); axes="NHWC" says that they come last'),
        ({}, np.zeros((4, 9, 9, 9)), Y, r"that of at most 4 channels, got \(9, 9, 9\)"),
        ({}, np.zeros((4, 2, 3, 4, 5)), Y, r"expected images of two or three axes, .* got \(2, 3, 4, 5\)"),
        ({"axes": "NHW"}, ROWS, Y, "expected image_shape beside axes='NHW', got rows of features"),
        ({"image_shape": (2, 3), "axes": "xyz"}, ROWS, Y, "axes: expected the letters N, H, W, .* got 'xyz'"),
        ({}, ROWS, [1, 1, 1, 1], "expected examples of at least two classes, got one class, "),
        ({"epochs": 0}, ROWS, Y, "epochs: expected at least 1, got 0"),
        ({"epochs": 2.5}, ROWS, Y, "epochs: expected an integer, got 2.5"),
        ({"batch_size": -1}, ROWS, Y, "batch_size: expected at least 1"),
        ({"learning_rate": 0}, ROWS, Y, "learning_rate: expected a finite number above 0, got 0"),
        ({"l2": "much"}, ROWS, Y, "l2: expected a real number, got 'much'"),
        ({"optimizer": SGD(0.1)}, ROWS, Y, "expected optimizer to be a class such as Momentum"),
        ({"optimizer": "adam"}, ROWS, Y, "expected optimizer to be a class such as Momentum"),
        ({"network": "big"}, ROWS, Y, "network: expected a list of layers, or a function .* got 'big'"),
        ({"network": lambda shape, number: 3}, ROWS, Y, r"a function \(input_shape, .* got <function"),
        ({"network": ConvNet1}, ROWS, Y, r"a function \(input_shape, .* got <class"),
        ({"network": lambda shape, number, rng: 3}, ROWS, Y, "network: expected a list of layers, .* got 3"),
        (
            {"network": lambda shape, number, rng: small(shape, 5, rng)},
            ROWS,
            Y,
            "network: expected 2 scores from the last layer, one for each class, got 5",
        ),
        ({"class_weight": "even"}, ROWS, Y, "class_weight to be None, \"balanced\" or a dictionary, got 'even'"),
        ({"class_weight": {2: 3}}, ROWS, Y, "class_weight: expected weights of the classes 0, 1, got one of 2"),
        ({"class_weight": {1: -3}}, ROWS, Y, "class_weight of 1: expected a finite number of at least 0, got -3"),
        ({"class_weight": {"1": 3}}, ROWS, Y, "class_weight: expected weights of the classes 0, 1, got one of '1'"),
        ({"class_weight": {0: 0, 1: 0}}, ROWS, Y, "class_weight: expected a weight above zero"),
        ({"class_weight": {0: 0}}, ROWS, Y, "above zero for at least two classes, got one class, 1"),
        ({"early_stopping": "yes"}, ROWS, Y, "early_stopping: expected True or False, got 'yes'"),
        ({"early_stopping": True, "validation_fraction": 1}, ROWS, Y, "validation_fraction: .* below 1, got 1"),
        ({"early_stopping": True, "validation_fraction": 0.99}, ROWS, Y, "left to train with, got 4 for validation"),
        ({"early_stopping": True, "n_iter_no_change": 0}, ROWS, Y, "n_iter_no_change: expected at least 1"),
        ({"augmentation": "flip"}, ROWS, Y, "expected augmentation to be a function"),
        ({"augmentation": Augmentation()}, ROWS, Y, "vectors of 6 features; image_shape says what image a row is"),
        ({"random_state": "now"}, ROWS, Y, "'now' cannot be used to seed"),
        ({}, 1e200 * ROWS, Y, "expected numbers whose variance float64 can hold, got 2.3e\\+201"),
    ],
)
@pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")
def test_what_is_wrong_is_said_by_fit(options, x, y, message):
    classifier = ConvNetClassifier(**options)
    with pytest.raises((ValueError, TypeError), match=message):
        classifier.fit(x, y)


def test_what_is_wrong_later_is_said_too(digits):
    x, y = digits
    classifier = quick().fit(x, y)
    with pytest.raises(ValueError, match=r"expected examples of shape \(8, 8\), as in fit, got \(4, 16\)"):
        classifier.predict(x.reshape(-1, 4, 16))
    with pytest.raises(ValueError, match=r"X has 63 features, but ConvNetClassifier is expecting 64"):
        classifier.predict(x[:, 1:])
    huge = x[:2].copy()
    huge[1] = 1e60
    with pytest.raises(ValueError, match=r"expected finite scores, got .* for X\[1\]"):
        classifier.predict(huge)
    with pytest.raises(ValueError, match="sample_weight: expected finite numbers of at least 0, got -1"):
        quick().fit(x, y, -np.ones(len(x)))
    with pytest.raises(ValueError, match="expected the argument classes, all labels there are"):
        quick().partial_fit(x, y)
    with pytest.raises(ValueError, match=r"the classes of the first partial_fit, 0, .* 9, got 0, 1"):
        quick().partial_fit(x, y, classes=np.arange(10)).partial_fit(x, y, classes=[0, 1])
    with pytest.raises(ValueError, match="at least two classes, got one class, 1"):
        quick().partial_fit(x, y, classes=[1])
    for classes, found in (
        (10, "10"),
        ("balanced", "'balanced'"),
        ([[0, 1], [2, 3]], r"\[\[0, 1"),
        ([0, np.nan], r"\[0, nan"),
    ):
        with pytest.raises(ValueError, match=f"classes: expected a list of all labels there are, got {found}"):
            quick().partial_fit(x, y, classes=classes)
    with pytest.raises(ValueError, match="partial_fit holds no examples back"):
        quick(early_stopping=True).partial_fit(x, y, classes=np.arange(10))
    with pytest.raises(ValueError, match="expected class_weight to be a dictionary of weights, got 'balanced'"):
        quick(class_weight="balanced").partial_fit(x, y, classes=np.arange(10))


def test_a_network_that_cannot_learn_warns(rng):
    x, y = blobs(rng)
    with pytest.warns(ConvnetWarning, match="predicts one and the same"):
        ConvNetClassifier(optimizer=SGD, learning_rate=1e-9, epochs=1, network=silent, random_state=0).fit(x, y)


def test_weights_that_early_stopping_leaves_out_warn(rng):
    x, y = blobs(rng)
    with pytest.warns(ConvnetWarning, match="early_stopping keeps the network of the best plain accuracy") as caught:
        ConvNetClassifier(class_weight="balanced", early_stopping=True, epochs=1).fit(x[2:], y[2:])
    assert caught[0].filename == __file__


def silent(input_shape, num_classes, rng):
    layer = Affine(*input_shape, num_classes, rng=rng)
    layer.params["weight"][:] = 0
    layer.params["bias"][:] = np.arange(num_classes)
    return [layer]
