"""The figures."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from convnet import (
    SGD,
    Affine,
    Sequential,
    Solver,
    plot_confusion,
    plot_curves,
    plot_errors,
    plot_examples,
    plot_filters,
    plot_predictions,
    plot_training,
)
from convnet.plotting import filter_sheet


def drawn(figure):
    """Return the pixels of a figure saved as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    with Image.open(file) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def trained(rng, iterations=4):
    data = {"x_train": rng.standard_normal((20, 3)), "y_train": rng.integers(0, 2, 20)}
    data |= {"x_validation": data["x_train"], "y_validation": data["y_train"]}
    solver = Solver(Sequential([Affine(3, 2, rng=rng)], (3,)), data, SGD(0.1), batch_size=5, epochs=2)
    if iterations:
        solver.train()
    return solver


def test_figures_are_real_images(rng):
    images = rng.integers(0, 256, (30, 6, 9), dtype=np.uint8)
    filters = rng.standard_normal((7, 1, 3, 4))
    for figure in (
        plot_examples(images, np.arange(30) % 4),
        plot_examples(np.stack([images] * 3, axis=-1), np.arange(30) % 4, class_names=["a", "b", "c", "d"]),
        plot_training(trained(rng)),
        plot_filters(filters, -filters),
    ):
        pixels = drawn(figure)
        assert min(pixels.shape[:2]) > 100
        assert len(np.unique(pixels)) > 20


def test_examples_are_sorted_by_class():
    images = np.zeros((6, 2, 2), np.uint8)
    figure = plot_examples(
        images + np.arange(6, dtype=np.uint8)[:, None, None], [5, 3, 5, 3, 3, 5], examples_per_class=2
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["3", "5", "", ""]
    assert [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes] == [1, 0, 3, 2]


def test_training_figure_shows_the_histories(rng):
    solver = trained(rng)
    above, below = plot_training(solver).axes
    np.testing.assert_array_equal(above.lines[0].get_ydata(), solver.loss_history)
    assert above.lines[0].get_linestyle() == "None"
    np.testing.assert_allclose(below.lines[0].get_ydata(), 100 * np.array(solver.train_accuracy_history))
    np.testing.assert_allclose(below.lines[1].get_ydata(), 100 * np.array(solver.validation_accuracy_history))
    np.testing.assert_array_equal(below.lines[1].get_xdata(), [0, 1, 2])
    for axes in (above, below):
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_training_figure_of_an_interrupted_epoch(rng):
    solver = trained(rng, iterations=0)
    solver._check_if_due()
    solver.step()
    assert len(np.unique(drawn(plot_training(solver)))) > 20


@pytest.mark.parametrize(("count", "side"), [(1, 1), (2, 2), (5, 3), (32, 6), (36, 6)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_filters_are_laid_out_on_a_square_grid(rng, count, side, channels):
    weight = rng.standard_normal((count, channels, 3, 4))
    sheet = filter_sheet(weight)
    rows = -(-count // side)
    assert sheet.shape[:2] == (rows * 4 - 1, side * 5 - 1)
    for index in range(rows * side):
        top, left = index // side * 4, index % side * 5
        tile = sheet[top : top + 3, left : left + 4]
        if index >= count:
            assert (tile == 1).all()
            continue
        values = weight[index].transpose(1, 2, 0) if channels == 3 else weight[index].mean(axis=0)
        np.testing.assert_allclose(tile, (values - values.min()) / (values.max() - values.min()), rtol=1e-5, atol=1e-6)


def test_a_constant_filter_is_drawn_too():
    assert np.isfinite(filter_sheet(np.full((2, 1, 3, 3), 7.0))).all()


def test_wrong_arguments_are_named(rng):
    with pytest.raises(ValueError, match=r"expected images \(N, H, W\) or \(N, H, W, 3\) and labels \(N,\), got"):
        plot_examples(np.zeros((3, 4, 4)), [0, 1])
    with pytest.raises(ValueError, match="expected a Solver that has trained"):
        plot_training(trained(rng, iterations=0))
    with pytest.raises(ValueError, match="expected two arrays of one shape"):
        plot_filters(np.zeros((2, 1, 3, 3)), np.zeros((2, 1, 3, 4)))


def test_without_matplotlib_the_error_says_how_to_get_it(tmp_path):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('hidden')")
    code = (
        "import sys; sys.path.insert(0, '.'); import convnet, numpy; convnet.plot_filters(*numpy.ones((2, 1, 1, 2, 2)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: figures need matplotlib: pip install")


def test_a_figure_has_the_size_it_says(rng, tmp_path):
    images = rng.integers(0, 256, (8, 4, 4), dtype=np.uint8)
    for figure in (plot_examples(images, np.arange(8) % 2), plot_filters(*rng.standard_normal((2, 3, 3, 2, 2)))):
        figure.savefig(tmp_path / "figure.png", dpi=50)
        with Image.open(tmp_path / "figure.png") as image:
            assert image.format == "PNG"
            assert image.size == tuple(int(50 * inches) for inches in figure.get_size_inches())


def test_filter_figure_shows_both_sheets(rng):
    before, after = rng.standard_normal((2, 5, 3, 2, 4))
    figure = plot_filters(before, after)
    assert [axes.get_title() for axes in figure.axes] == ["initialised filters", "trained filters"]
    for axes, weight in zip(figure.axes, (before, after), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), filter_sheet(weight))


@pytest.mark.parametrize("value", [-3.0, 0.0, 7.0])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_constant_filter_is_black_beside_the_others(rng, channels, value):
    weight = rng.standard_normal((2, channels, 3, 3))
    weight[1] = value
    sheet = filter_sheet(weight)
    assert sheet.shape == ((3, 7, 3) if channels == 3 else (3, 7))
    assert (sheet[:, 3] == 1).all()
    assert (sheet[:, 4:] == 0).all()
    assert sheet[:, :3].min() == 0
    assert sheet[:, :3].max() == 1


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
@pytest.mark.parametrize("tail", [(), (3,)], ids=["grey", "colour"])
def test_examples_look_the_same_in_every_dtype(rng, dtype, tail):
    images = rng.integers(0, 256, (2, 3, 3, *tail), dtype=np.uint8)
    expected = drawn(plot_examples(images, [0, 1], examples_per_class=1))
    pixels = drawn(plot_examples(images.astype(dtype), [0, 1], examples_per_class=1))
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 4)), [0, 1]),
        (np.zeros((2, 4, 4)), [0, 1, 2]),
        (np.zeros((2, 4, 4)), [[0], [1]]),
        (np.zeros((0, 4, 4)), np.zeros(0, int)),
        (np.zeros((2, 4, 4, 2), np.uint8), [0, 1]),
    ],
    ids=["rank", "labels", "labels' rank", "none", "two channels"],
)
def test_examples_that_do_not_fit_are_named(images, labels):
    with pytest.raises(ValueError, match=r"plot_examples: expected images .* got"):
        plot_examples(images, labels)


@pytest.mark.parametrize("count", [0, -1])
def test_examples_per_class_has_to_be_a_count(count):
    with pytest.raises(ValueError, match="examples_per_class: expected at least 1"):
        plot_examples(np.zeros((2, 4, 4)), [0, 1], examples_per_class=count)


def test_steps_without_an_accuracy_check_are_no_training(rng):
    solver = trained(rng, iterations=0)
    solver.step()
    with pytest.raises(ValueError, match="plot_training: expected a Solver"):
        plot_training(solver)


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 1, 3, 3, 1), (0, 1, 3, 3), (2, 0, 3, 3), (2, 1, 0, 3)])
def test_filters_have_four_axes_none_empty(shape):
    with pytest.raises(ValueError, match="expected two arrays of one shape"):
        plot_filters(np.zeros(shape), np.zeros(shape))
    with pytest.raises(TypeError, match="after: expected real numbers"):
        plot_filters(np.zeros(shape), np.zeros(shape, complex))


def in_another_process(code, folder):
    """Run code with modules of the folder in front of the installed ones, and return the lines that it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_importing_the_package_does_not_import_matplotlib(tmp_path):
    code = "import sys, convnet; print(*[name for name in sys.modules if name.startswith('matplotlib')])"
    assert in_another_process(code, tmp_path) == [""]


def test_every_figure_says_how_to_get_matplotlib(tmp_path):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('hidden')")
    code = """
import numpy as np
from convnet import (
    SGD,
    Affine,
    Sequential,
    Solver,
    plot_confusion,
    plot_curves,
    plot_errors,
    plot_examples,
    plot_filters,
    plot_training,
)

rng = np.random.default_rng(0)
data = {"x_train": np.ones((4, 3)), "y_train": [0, 1, 0, 1], "x_validation": np.ones((1, 3)), "y_validation": [0]}
solver = Solver(Sequential([Affine(3, 2, rng=rng)], (3,)), data, SGD(0.1), epochs=1)
solver.train()
for draw in (
    lambda: plot_examples(np.zeros((2, 4, 4)), [0, 1]),
    lambda: plot_training(solver),
    lambda: plot_filters(np.zeros((2, 1, 3, 3)), np.zeros((2, 1, 3, 3))),
):
    try:
        draw()
    except ImportError as error:
        print(error)
"""
    lines = in_another_process(code, tmp_path)
    assert len(lines) == 3
    assert all('figures need matplotlib: pip install "convnet[examples]"' in line for line in lines)


def test_curves_have_their_names_and_values(rng):
    panels = {"first": {"a": [1.0, 2, 3], "b": [3.0, 2, 1]}, "second": {"c": [1.0, 1, 2]}}
    figure = plot_curves(panels, [0, 10, 20], xlabel="iteration", ylabel="error (%)", log_scale=True)
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["first", "second"]
    assert [line.get_label() for line in first.lines] == ["a", "b"]
    np.testing.assert_array_equal(first.lines[1].get_xydata(), [[0, 3], [10, 2], [20, 1]])
    assert (second.get_xlabel(), second.get_ylabel(), second.get_yscale()) == ("iteration", "error (%)", "log")
    assert len(np.unique(drawn(figure))) > 20
    five = plot_curves({str(i): {"a": [1.0]} for i in range(5)}, [0], xlabel="x", ylabel="y")
    assert len(five.axes) == 5


def test_curves_of_nothing_above_0_are_drawn_without_a_warning():
    drawn(plot_curves({"p": {"c": [0.0, 0.0]}}, [0, 1], xlabel="x", ylabel="y", log_scale=True))


def test_legends_hide_no_curve(rng):
    curves = {name: np.linspace(90, 2, 8) + i for i, name in enumerate(("Momentum at 0.005", "RMSProp", "Adam", "SGD"))}
    figure = plot_curves({"a": curves, "b": {"c": curves["SGD"]}}, np.arange(8), xlabel="x", ylabel="y", log_scale=True)
    drawn(figure)
    for axes in figure.axes:
        box = axes.get_legend().get_window_extent()
        assert not box.overlaps(axes.bbox)
        assert figure.bbox.y0 <= box.y0
        assert not box.overlaps(axes.xaxis.label.get_window_extent())
    assert len({line.get_linestyle() for line in figure.axes[0].lines}) == 4

    solver = trained(rng)
    for epochs in (1, 2, 10):
        solver.iteration = epochs * solver.iterations_per_epoch
        solver.train_accuracy_history = [0.1, *np.linspace(0.974, 1, epochs)]
        solver.validation_accuracy_history = [0.11, *np.linspace(0.983, 0.992, epochs)]
        figure = plot_training(solver)
        drawn(figure)
        below = figure.axes[1]
        points = below.transData.transform(np.concatenate([line.get_xydata() for line in below.lines]))
        box = below.get_legend().get_window_extent()
        assert not any(box.contains(*point) for point in points)


def test_losses_of_0_are_drawn(rng):
    solver = trained(rng)
    solver.loss_history = [0.0, 2.0, 0.0, 1.0]
    figure = plot_training(solver)
    assert figure.axes[0].get_yscale() == "symlog"
    drawn(figure)
    solver.loss_history = [0.0, 0.0]
    drawn(plot_training(solver))


def test_titles_of_long_names_do_not_overlap(rng):
    images, labels = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 4
    names = ["T-shirt/top", "Ankle boot", "Pullover", "Sandal"]
    for count in (3, 40):
        figure = plot_errors(images, labels, (labels + 1) % 4, class_names=names, max_errors=count)
        drawn(figure)
        texts = [axes.title for axes in figure.axes if axes.images] + [figure._suptitle]
        boxes = [text.get_window_extent() for text in texts]
        for index, box in enumerate(boxes):
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[:index])


def test_confusion_counts_every_pair():
    labels, predictions = [0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 0, 0]
    figure = plot_confusion(labels, predictions)
    axes = figure.axes[0]
    counts = {(text.get_position()): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "2", (1, 0): "1", (1, 1): "1", (0, 2): "2"}  # by (predicted, true)
    assert axes.get_title() == "3 errors in 6 images (50.00%)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2"]
    named = plot_confusion(labels, predictions, class_names=["cat", "dog", "horse"])
    assert [tick.get_text() for tick in named.axes[0].get_yticklabels()] == ["cat", "dog", "horse"]
    assert len(np.unique(drawn(figure))) > 20


def test_errors_are_drawn_with_both_labels(rng):
    images = rng.integers(0, 256, (7, 4, 5), dtype=np.uint8)
    labels, predictions = np.array([0, 1, 2, 0, 1, 2, 0]), np.array([0, 2, 2, 1, 1, 0, 0])
    figure = plot_errors(images, labels, predictions)
    drawn_axes = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn_axes] == [
        "1 \N{RIGHTWARDS ARROW} 2",
        "0 \N{RIGHTWARDS ARROW} 1",
        "2 \N{RIGHTWARDS ARROW} 0",
    ]
    for axes, index in zip(drawn_axes, (1, 3, 5), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), images[index])
    assert figure.get_suptitle() == "3 errors in 7 images: true \N{RIGHTWARDS ARROW} predicted"
    few = plot_errors(images, labels, predictions, class_names=["a", "b", "c"], max_errors=2)
    assert [axes.get_title()[0] for axes in few.axes if axes.images] == ["b", "a"]
    assert "the first 2" in few.get_suptitle()
    none = plot_errors(images, labels, labels)
    assert "0 errors in 7 images" in none.get_suptitle()
    drawn(none)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: plot_curves({}, [1], xlabel="x", ylabel="y"), ValueError, "at least one panel"),
        (lambda: plot_curves({"p": {}}, [1], xlabel="x", ylabel="y"), ValueError, "a curve in each"),
        (lambda: plot_curves({"p": {"c": [[1]]}}, [[1]], xlabel="x", ylabel="y"), ValueError, r"x of shape \(M,\)"),
        (lambda: plot_confusion([0], [0], class_names=["a"] * 201), ValueError, "at most 200 class names, got 201"),
        (lambda: plot_curves({"p": {"c": [1, 2]}}, [1], xlabel="x", ylabel="y"), ValueError, r"c: expected 1 points"),
        (lambda: plot_confusion([], []), ValueError, "plot_confusion: expected at least one example"),
        (
            lambda: plot_confusion([0, 1], [0]),
            ValueError,
            r"plot_confusion: predictions: expected labels of shape \(2,\)",
        ),
        (lambda: plot_confusion([0.5], [0]), TypeError, "plot_confusion: labels: expected integer labels"),
        (lambda: plot_confusion([0, 3], [0, 0], class_names=["a", "b"]), ValueError, r"labels in \[0, 2\), got 3"),
        (lambda: plot_confusion([0, 200], [0, 0]), ValueError, r"labels in \[0, 200\), got 200"),
        (lambda: plot_errors(np.ones((3, 4, 4)), [0, 1], [0, 1]), ValueError, "plot_errors: expected images"),
        (
            lambda: plot_errors(np.ones((1, 4, 4)), [0], [1], max_errors=0),
            ValueError,
            "max_errors: expected at least 1",
        ),
    ],
)
def test_wrong_arguments_of_the_figures_of_predictions_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_predictions_are_bars_beside_their_images(rng):
    images = rng.integers(0, 256, (3, 6, 9), np.uint8)
    probabilities = np.array([[0.1, 0.7, 0.2], [1, 0, 0], [0.3, 0.3, 0.4]])
    figure = plot_predictions(images, probabilities, class_names=["a", "b", "c"])
    shown, bars = figure.axes[::2], figure.axes[1::2]
    for axes, image in zip(shown, images, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
    for axes, row in zip(bars, probabilities, strict=True):
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(row.tolist())
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
        assert [text.get_text() for text in axes.texts] == [f"{100 * share:.1f} %" for share in row]
        colours = [bar.get_facecolor() for bar in axes.patches]
        winner = row.argmax()
        assert all((colour == colours[winner]) == (label == winner) for label, colour in enumerate(colours))
    assert min(drawn(figure).shape[:2]) > 100
    one = plot_predictions(np.stack([images[:1]] * 3, axis=-1), np.ones((1, 1)))
    assert [label.get_text() for label in one.axes[1].get_yticklabels()] == ["0"]


@pytest.mark.parametrize(
    ("images", "probabilities", "names", "error", "message"),
    [
        (np.zeros((2, 4, 4)), np.ones((3, 4)), None, ValueError, r"got \(2, 4, 4\) and \(3,\)"),
        (np.zeros((2, 4, 4)), np.ones(2), None, ValueError, r"got shape \(2,\)"),
        (np.zeros((2, 4, 4)), np.full((2, 3), 1.5), None, ValueError, "values from 1 to 1.5"),
        (np.zeros((2, 4, 4)), np.full((2, 3), np.nan), None, ValueError, r"in \[0, 1\]"),
        (np.zeros((2, 4, 4)), np.ones((2, 3)), ["a"], ValueError, "3 class names, got 1"),
        (np.zeros((2, 4, 4)), np.ones((2, 201)), None, ValueError, "K from 1 to 200"),
        (np.zeros((51, 4, 4)), np.ones((51, 3)), None, ValueError, "at most 50 images of 3 classes, got 51"),
        (np.zeros((0, 4, 4)), np.ones((0, 3)), None, ValueError, "expected images"),
        (np.zeros((2, 4, 4)), np.full((2, 3), "a"), None, TypeError, "plot_predictions: probabilities"),
    ],
)
def test_wrong_arguments_of_plot_predictions_are_named(images, probabilities, names, error, message):
    with pytest.raises(error, match=message):
        plot_predictions(images, probabilities, class_names=names)


def test_names_of_classes_are_no_formulas():
    names = ["$\\frac$", "$a_b$"]
    figures = [
        plot_predictions(np.zeros((1, 5, 5)), [[0.3, 0.7]], class_names=names),
        plot_confusion([0, 1], [0, 1], class_names=names),
        plot_errors(np.zeros((2, 5, 5), np.uint8), [0, 1], [1, 0], class_names=names),
        plot_examples(np.zeros((2, 5, 5), np.uint8), [0, 1], class_names=names),
    ]
    for figure in figures:
        figure.savefig(io.BytesIO())


def test_a_figure_of_predictions_is_not_endless():
    with pytest.raises(ValueError, match="expected at most 2 images of 200 classes, got 3"):
        plot_predictions(np.zeros((3, 5, 5)), np.full((3, 200), 0.005))
