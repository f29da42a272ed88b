"""Near-misses of names, and attributes that are checked when they are set."""

import copy
import pickle

import numpy as np
import pytest

import convnet
from convnet import (
    SGD,
    Adam,
    Affine,
    Conv2D,
    ConvNet1,
    Dropout,
    Layer,
    MaxPool2D,
    Momentum,
    Optimizer,
    Sequential,
    Solver,
    Statistics,
    load_model,
    save_model,
)
from convnet.core.names import meant_by


def small_model():
    return ConvNet1((1, 8, 8), num_filters=2, hidden_size=3, num_classes=3)


def small_solver(**options):
    x, labels = np.random.default_rng(0).standard_normal((30, 1, 8, 8)), np.arange(30) % 3
    return Solver(
        small_model(), {"x_train": x, "y_train": labels, "x_validation": x, "y_validation": labels}, SGD(0.1), **options
    )


@pytest.mark.parametrize(
    ("make", "name", "meant"),
    [
        (small_model, "classnames", "class_names"),
        (small_model, "class_name", "class_names"),
        (small_model, "classes", "class_names"),
        (small_model, "Class_Names", "class_names"),
        (small_model, "stats", "statistics"),
        (small_model, "statistic", "statistics"),
        (small_model, "L2", "l2"),
        (small_model, "loss_fn", "loss_function"),
        (lambda: SGD(0.1), "lr", "learning_rate"),
        (lambda: Momentum(0.1), "learningrate", "learning_rate"),
        (lambda: Momentum(0.1), "momentun", "momentum"),
        (lambda: Momentum(0.1), "clipnorm", "clip_norm"),
        (lambda: MaxPool2D(2), "strides", "stride"),
        (lambda: MaxPool2D(2), "paddings", "padding"),
        (lambda: Conv2D(1, 2, 3, rng=np.random.default_rng(0)), "dilations", "dilation"),
        (small_solver, "batchsize", "batch_size"),
    ],
)
def test_near_misses_of_attributes_are_refused(make, name, meant):
    thing = make()
    before = dict(vars(thing))
    if name == "num_epochs":  # too far from `epochs` to be sure
        thing.num_epochs = 3
        return
    with pytest.raises(
        AttributeError, match=f"{type(thing).__name__}: it has no attribute '{name}'; did you mean '{meant}'"
    ):
        setattr(thing, name, 1)
    assert vars(thing).keys() == before.keys()


def test_attributes_of_ones_own_are_kept():
    model, layer = small_model(), Dropout(0.5)
    for thing in (model, layer, SGD(0.1), small_solver()):
        thing.note = "mine"
        thing.comment_on_this = thing.best = thing.loss_of_mine = 5
        thing._stats = 1
        assert (thing.note, thing.comment_on_this, thing._stats) == ("mine", 5, 1)
    solver = small_solver()
    solver.best_bye = 6  # nobody can have meant `best_by`, which cannot be set
    assert solver.best_bye == 6


class OwnModel(Sequential):
    def __init__(self, **options):
        self.stats = "before the rest"
        super().__init__([Affine(4, 3, rng=np.random.default_rng(0))], (4,), **options)
        self.classnames = ["own"]
        self.rngs, self.classes = [], 7


class OwnLayer(Layer):
    def __init__(self, kernel, **pads):
        super().__init__()
        self.param, self.kernel, self.stat, self.pads = 1, kernel, 2, pads
        self._checks, self._checked_attributes = [], 5

    def forward(self, x, rng=None):
        return x, None


class OwnOptimizer(Optimizer):
    def __init__(self, lr):
        super().__init__(lr)
        self.lr = lr


def test_subclasses_of_users_may_have_attributes_and_arguments_of_any_name():
    model = OwnModel()
    model.stat, model.class_name = 1, 2
    assert (model.stats, model.classnames, model.classes, model.class_name) == ("before the rest", ["own"], 7, 2)
    assert OwnLayer(3, pad=1).pads == {"pad": 1}
    optimizer = OwnOptimizer(lr=0.5)
    optimizer.lr = 2
    assert (optimizer.learning_rate, optimizer.lr) == (0.5, 2)
    for thing in (model, optimizer, OwnLayer(3, pad=1)):
        assert vars(pickle.loads(pickle.dumps(thing))).keys() == vars(thing).keys()
        assert vars(copy.deepcopy(thing)).keys() == vars(thing).keys()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "expected 3 class names, one for each class, got 2: "),
        ([], r"expected 3 class names, one for each class, got 0: \[\]"),
        ("abc", "expected 3 class names, a list of strings, got 'abc'"),
        ([1, 2, 3], r"expected 3 class names, a list of strings, got \[1, 2, 3\]"),
        (3, "expected 3 class names, a list of strings, got 3"),
        ({"a": 1, "b": 2, "c": 3}, "expected 3 class names, a list of strings, got {"),
    ],
)
def test_class_names_are_checked_when_they_are_set(names, message):
    model = small_model()
    with pytest.raises(ValueError, match=f"ConvNet1: {message}"):
        model.class_names = names
    assert model.class_names is None


@pytest.mark.parametrize("names", [["a", "b", "c"], ("a", "b", "c"), np.array(["a", "b", "c"])], ids=type)
def test_class_names_of_any_sequence_are_saved(tmp_path, names):
    model = small_model()
    model.class_names = names
    save_model(model, tmp_path / "model.npz")
    assert list(load_model(tmp_path / "model.npz").class_names) == ["a", "b", "c"]
    assert list(pickle.loads(pickle.dumps(model)).class_names) == ["a", "b", "c"]
    model.class_names = None
    assert model.class_names is None


@pytest.mark.parametrize(
    ("statistics", "error", "message"),
    [
        (({}, None), TypeError, r"expected statistics from preprocess, got a tuple; data, statistics = pre"),
        ({"mean": 0}, TypeError, "expected statistics from preprocess"),
        (Statistics, TypeError, "expected statistics from preprocess, got <class"),
        (0.5, TypeError, "expected statistics from preprocess, got 0.5"),
        (
            Statistics((3, 8, 8), True, None, None),
            ValueError,
            r"expected statistics of images of shape \(1, 8, 8\), the model's input, got \(3, 8, 8\)",
        ),
    ],
)
def test_statistics_are_checked_when_they_are_set(statistics, error, message):
    model = small_model()
    with pytest.raises(error, match=f"ConvNet1: {message}"):
        model.statistics = statistics
    assert model.statistics is None


@pytest.mark.parametrize(
    ("make", "name", "value", "error", "message"),
    [
        (small_model, "l2", -1, ValueError, "l2: expected a finite number of at least 0, got -1"),
        (small_model, "rng", 3, TypeError, "ConvNet1: rng: expected a numpy.random.Generator such as .*, got 3"),
        (small_model, "fuse", 1, TypeError, "ConvNet1: fuse: expected True or False, got 1"),
        (small_model, "winograd", None, TypeError, "ConvNet1: winograd: expected True or False, got None"),
        (lambda: Adam(0.1), "learning_rate", None, TypeError, "learning_rate: expected a real number, got None"),
        (lambda: Adam(0.1), "learning_rate", 0, ValueError, "learning_rate: expected a finite number above 0, got 0"),
        (lambda: Adam(0.1), "clip_norm", -2, ValueError, "clip_norm: expected a finite number above 0, got -2"),
    ],
)
def test_other_attributes_are_checked_when_they_are_set(make, name, value, error, message):
    thing = make()
    before = getattr(thing, name)
    with pytest.raises(error, match=message):
        setattr(thing, name, value)
    assert getattr(thing, name) is before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(lr=0.1), "SGD: unexpected argument 'lr'; did you mean 'learning_rate'?"),
        (lambda: Momentum(0.1, moment=0.5), "Momentum: unexpected argument 'moment'; did you mean 'momentum'?"),
        (lambda: Adam(1e-3, beta_1=0.5), "Adam: unexpected argument 'beta_1'; did you mean 'beta1'?"),
        (lambda: ConvNet1(numclasses=3), "ConvNet1: unexpected argument 'numclasses'; did you mean 'num_classes'?"),
        (lambda: MaxPool2D(2, pad=1), "MaxPool2D: unexpected argument 'pad'; did you mean 'padding'?"),
        (lambda: MaxPool2D(kernel=2), "MaxPool2D: unexpected argument 'kernel'; did you mean 'kernel_size'?"),
        (lambda: small_solver(batchsize=3), "Solver: unexpected argument 'batchsize'; did you mean 'batch_size'?"),
        (
            lambda: small_solver(lr=0.1),
            "Solver: unexpected argument 'lr'; the learning rate is an argument of the opt",
        ),
        (
            lambda: small_solver(learning_rate=0.1),
            "Solver: unexpected argument 'learning_rate'; the learning rate is a",
        ),
        (lambda: small_solver(loss=1), "Solver: unexpected argument 'loss'; it is an argument of the model: "),
        (
            lambda: small_solver(class_weight="balanced"),
            "Solver: unexpected argument 'class_weight'; it is an option of",
        ),
        (lambda: small_solver(validation_data=1), "Solver: unexpected argument 'validation_data'; the validation part"),
        (lambda: small_solver(monitor="loss"), "Solver: unexpected argument 'monitor'; best_by says which epoch is"),
        (lambda: Conv2D(1, 2, 3), "Conv2D: missing argument 'rng': rng=numpy.random.default_rng(0), which draws"),
        (lambda: Affine(1, 2), "Affine: missing argument 'rng': rng=numpy.random.default_rng(0), which draws"),
    ],
)
def test_arguments_of_a_wrong_name_are_refused_with_the_right_one(make, message):
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value).startswith(message)


def test_an_unknown_argument_like_no_other_is_pythons_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        SGD(0.1, colour=1)


def test_what_is_no_near_miss():
    known = ["learning_rate", "statistics", "class_names", "l2", "rng", "padding"]
    for name in ("note", "name", "l", "p", "pa", "learner", "station", "classic_rock", "r", "status_line", "stat"):
        assert meant_by(name, known, 0.45) is None, name


def test_every_public_class_of_these_kinds_has_the_checks():
    kinds = (Layer, Optimizer, Sequential, Solver)
    public = [getattr(convnet, name) for name in convnet.__all__]  # vars(convnet) has the names that were used alone
    classes = [thing for thing in public if isinstance(thing, type) and issubclass(thing, kinds)]
    assert len(classes) > 20
    assert all(issubclass(cls, convnet.core.names.Named) for cls in classes)
