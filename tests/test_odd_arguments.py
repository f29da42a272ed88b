"""Odd arguments, each in each place: the call is well, or raises a message of ours, and never warns by NumPy."""

import datetime
import decimal
import io
import pathlib
import warnings

import numpy as np
import pytest

import convnet
from convnet import SGD, Augmentation, ConvNet1, ImageReader, Mixup, Solver, Statistics, preprocess, split
from convnet.datasets.image_data import ImageData

N = 24
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (N, 8, 8), dtype=np.uint8), np.arange(N) % 3
DATA, STATISTICS = preprocess(IMAGES, LABELS, IMAGES, LABELS, num_validation=6, num_test=None)
X, P = STATISTICS.prepare(IMAGES[:, None]), np.full((N, 3), 1 / 3)
PARTS = split(IMAGES, LABELS, validation=6)


class OfAnotherLibrary:
    """As a tensor of PyTorch or a column of pandas: an array, or an error instead."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if self.array is None:
            raise RuntimeError("it is on another device")
        return self.array


class Unhelpful:
    def __len__(self):
        return N

    def __getitem__(self, index):
        raise KeyError(index)


def closed():
    file = io.BytesIO(b"x")
    file.close()
    return file


# Made anew for each call: some can be used once.
ODD = {
    **{repr(value): lambda value=value: value for value in (None, "text", "", b"ab", 3, -1, 10**30, 2.5, True, 1j)},
    **{repr(value): lambda value=value: value for value in (float("nan"), float("inf"), [], [[]], (), {}, {1, 2})},
    "ragged": lambda: [[1, 2], [3]],
    "mixed": lambda: ["a", 1, None],
    "Nones": lambda: [None] * N,
    "words": lambda: ["a", "b", "c"] * 8,
    "large integers": lambda: [10**30] * N,
    "nested": lambda: [[[1, 2], [3, 4]]] * 2,
    "sizes": lambda: [np.zeros((2, 2), np.uint8), np.zeros((3, 2), np.uint8)],
    "bytearray": lambda: bytearray(b"ab"),
    "memoryview": lambda: memoryview(b"abcd"),
    "decimal": lambda: decimal.Decimal("0.5"),
    "date": lambda: datetime.date(2000, 1, 1),
    "object": object,
    "iterator": lambda: iter([1, 2]),
    "generator": lambda: (n for n in range(N)),
    "range": lambda: range(N),
    "class": lambda: np.ndarray,
    "function": lambda: len,
    "unhelpful": Unhelpful,
    "path": lambda: pathlib.Path("absent"),
    "null byte": lambda: "a\0b",
    "surrogate": lambda: "\udc80",
    "text file": lambda: io.StringIO("x"),
    "file": lambda: io.BytesIO(b"x"),
    "closed file": closed,
    "0-d": lambda: np.array(3),
    "0-d object": lambda: np.array(None),
    "empty": lambda: np.zeros(0),
    "no integers": lambda: np.zeros(0, int),
    "no images": lambda: np.zeros((0, 8, 8), np.uint8),
    "no rows": lambda: np.zeros((N, 0, 8), np.uint8),
    "no pixels": lambda: np.zeros((N, 0), np.uint8),
    "objects": lambda: np.array([1, None, "a"] * 8, object),
    "None of objects": lambda: np.array([None] * N, object),
    "complex": lambda: np.zeros(N, complex),
    "complex images": lambda: np.zeros((N, 8, 8), complex),
    "truth values": lambda: np.zeros(N, bool),
    "black and white": lambda: np.zeros((N, 8, 8), bool),
    "NaN": lambda: np.full(N, np.nan),
    "NaN images": lambda: np.full((N, 1, 8, 8), np.nan),
    "infinite images": lambda: np.full((N, 1, 8, 8), np.inf),
    "2**62": lambda: np.full(N, 2**62),
    "2**64 - 1": lambda: np.full(N, 2**64 - 1, np.uint64),
    "negative": lambda: np.full(N, -5),
    "dates": lambda: np.zeros(N, "M8[s]"),
    "durations": lambda: np.zeros(N, "m8[s]"),
    "records": lambda: np.zeros(N, [("a", "u1"), ("b", "f4")]),
    "void": lambda: np.zeros(N, "V4"),
    "masked labels": lambda: np.ma.masked_array(LABELS, mask=LABELS == 1),
    "masked images": lambda: np.ma.masked_array(IMAGES, mask=IMAGES > 200),
    "texts": lambda: np.array(["a", "b", "c"] * 8),
    "texts of bytes": lambda: np.array([b"a", b"b", b"c"] * 8),
    "half": lambda: X.astype(np.float16),
    "long": lambda: X.astype(np.longdouble),
    "16 bits": lambda: IMAGES.astype(">u2"),
    "five axes": lambda: np.zeros((2, 2, 2, 2, 2), np.uint8),
    "last axis": lambda: np.zeros((8, 8, N), np.uint8),
    "planes": lambda: np.zeros((N, 3, 8, 8), np.uint8),
    "one-hot": lambda: np.eye(3)[LABELS],
    "column": lambda: LABELS[:, None],
    "another library's": lambda: OfAnotherLibrary(IMAGES),
    "another library's error": lambda: OfAnotherLibrary(None),
}
if hasattr(np.dtypes, "StringDType"):
    ODD["StringDType"] = lambda: np.array(["a", "b", "c"] * 8, np.dtypes.StringDType())


def model():
    made = ConvNet1((1, 8, 8), num_filters=2, hidden_size=3, num_classes=3)
    made.statistics = STATISTICS
    return made


def placed(function, *names, **given):
    """Return a call for each argument of a function by its name, in which it is the odd one."""
    what = getattr(function, "__qualname__", str(function))
    return {f"{what} {name}": lambda odd, name=name: function(**(given | {name: odd})) for name in names}


MODEL, SCALING = model(), model()
SCALING.statistics = Statistics((1, 8, 8), True, None, None, ImageReader(size=8))
COLOURS = ConvNet1((3, 8, 8), num_filters=2, hidden_size=3, num_classes=3)
COLOURS.statistics = Statistics((3, 8, 8), True, None, None)
ARRAYS = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
OPTIONS = ("num_validation", "num_test", "divide_by_255", "keep_uint8", "channels_first", "per_pixel_std")
SOLVER_OPTIONS = ("schedule", "batch_size", "epochs", "seed", "callbacks", "augmentation", "restore_best", "best_by")
CALLS = {
    **placed(preprocess, *ARRAYS, *OPTIONS, **ARRAYS, num_validation=6, num_test=None),
    **placed(
        split, "images", "labels", "class_names", "reader", "validation", "test", "seed", images=IMAGES, labels=LABELS
    ),
    **placed(convnet.make_parts, "train", "test", "class_names", "axes", "image_shape", train=(IMAGES, LABELS)),
    **placed(ImageReader, "size", "crop", "channels", "background", "max_pixels"),
    **placed(Solver, "model", "data", "optimizer", model=model(), data=DATA, optimizer=SGD(0.1)),
    **placed(Solver, *SOLVER_OPTIONS, "average", model=model(), data=DATA, optimizer=SGD(0.1)),
    **placed(Augmentation(), "x", "rng", "statistics", "out", x=X, rng=RNG),
    **placed(Mixup(1.0), "x", "rng", x=X, rng=RNG),
    **placed(Augmentation, "shift", "rotation", "statistics", "flip", "ground", "reflect", "contrast", "cutout"),
    **placed(Mixup, "alpha", "augmentation", alpha=1.0),
    **placed(MODEL.loss, "x", "labels", "weights", "mixed", x=X, labels=LABELS),
    **placed(convnet.confusion_matrix, "labels", "predictions", "num_classes", labels=LABELS, predictions=LABELS),
    **placed(convnet.balanced_accuracy, "labels", "predictions", labels=LABELS, predictions=LABELS),
    **placed(convnet.top_k_accuracy, "labels", "scores", "k", labels=LABELS, scores=P),
    **placed(convnet.calibration_error, "labels", "probabilities", "bins", labels=LABELS, probabilities=P),
    **placed(convnet.balanced_weights, "labels", "num_classes", labels=LABELS),
    **placed(convnet.save_prepared, "path", "data", "statistics", path="saved", data=DATA, statistics=STATISTICS),
    **{
        f"Statistics {name}": lambda odd, name=name: Statistics.from_dict(STATISTICS.to_dict() | {name: odd})
        for name in ("image_shape", "divide_by_255", "mean", "std", "reader")
    },
    **{
        f"ImageData {name}": lambda odd, name=name: convnet.preprocess_parts(
            {"train": PARTS["train"]._replace(**{name: odd})}
        )
        for name in ImageData._fields
    },
    **{
        f"data {name}": lambda odd, name=name: Solver(model(), DATA | {name: odd}, SGD(0.1))
        for name in ("x_train", "y_train", "x_validation", "y_validation", "weights_train")
    },
    **{
        f"{name} =": lambda odd, name=name: setattr(model(), name, odd)
        for name in ("statistics", "class_names", "l2", "rng", "fuse")
    },
    **{
        f"model {name}": getattr(MODEL, name)
        for name in ("scores", "predict", "probabilities", "predict_images", "classify")
    },
    **{
        f"loading {function.__name__}": function
        for function in (
            convnet.load_data,
            convnet.load_folder,
            convnet.load_csv,
            convnet.load_npz,
            convnet.load_cifar,
            convnet.load_idx,
            convnet.load_prepared,
            convnet.load_model,
            convnet.read_idx,
        )
    },
    "classify by a reader": SCALING.classify,
    "classify a list": lambda odd: SCALING.classify([odd]),
    "classify in colours": COLOURS.classify,
    "apply": STATISTICS.apply,
    "prepare": STATISTICS.prepare,
    "read": ImageReader(8).read,
    "from_dict": Statistics.from_dict,
    "preprocess_parts": convnet.preprocess_parts,
    "resume": lambda odd: Solver(model(), DATA, SGD(0.1)).resume(odd),
    "check_accuracy": lambda odd: Solver(model(), DATA, SGD(0.1)).check_accuracy(odd, LABELS),
    "labels of check_accuracy": lambda odd: Solver(model(), DATA, SGD(0.1)).check_accuracy(X, odd),
}
# Their figures take long to make: the odd ones that are refused come back at once.
FIGURES = {
    **placed(convnet.plot_examples, "images", "labels", "class_names", images=IMAGES, labels=LABELS),
    **placed(convnet.plot_errors, "images", "class_names", images=IMAGES, labels=LABELS, predictions=LABELS),
    **placed(convnet.plot_confusion, "labels", "predictions", "class_names", labels=LABELS, predictions=LABELS),
    **placed(convnet.plot_predictions, "images", "probabilities", "class_names", images=IMAGES, probabilities=P),
}


@pytest.mark.parametrize("name", [*CALLS, *(pytest.param(name, marks=pytest.mark.slow) for name in FIGURES)])
def test_an_odd_argument_is_taken_or_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    call = (CALLS | FIGURES)[name]
    for kind, make in ODD.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", convnet.ConvnetWarning)
            try:
                call(make())
            except (TypeError, ValueError, OSError, AttributeError) as error:
                assert "expected" in str(error), (kind, error)  # noqa: PT017
