"""The figures of examples and predictions."""

import io

import numpy as np
import pytest
from cases import drawn

from convnet import plot_confusion, plot_curves, plot_errors, plot_examples, plot_predictions


def test_examples_are_sorted_by_class():
    images = np.zeros((6, 2, 2), np.uint8)
    figure = plot_examples(
        images + np.arange(6, dtype=np.uint8)[:, None, None], [5, 3, 5, 3, 3, 5], examples_per_class=2
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["3", "5", "", ""]
    assert [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes] == [1, 0, 3, 2]


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


def test_confusion_shows_rates_and_marks_a_class_that_is_never_found():
    labels, predictions = [0] * 300 + [1, 1, 2, 2] + [4], [0] * 299 + [1, 1, 1, 0, 4] + [4]
    figure = plot_confusion(labels, predictions, class_names=["a", "b", "c", "d", "e"])
    drawn(figure)
    recalls, precisions = figure.axes[0].child_axes
    assert [tick.get_text() for tick in recalls.get_yticklabels()] == ["99 %", "100 %", "0 %", "\N{EN DASH}", "100 %"]
    assert [tick.get_color() == "red" for tick in recalls.get_yticklabels()] == [False, False, True, False, False]
    dash = "\N{EN DASH}"
    assert [tick.get_text() for tick in precisions.get_xticklabels()] == ["99 %", "67 %", dash, dash, "50 %"]
    shades = figure.axes[0].images[0].get_array()  # rates within the true class
    assert shades[2, 0] == shades[2, 4] == 0.5
    assert shades[0, 1] == 1 / 300
    right = figure.axes[0].images[1].get_array()
    np.testing.assert_allclose(right.diagonal(), [299 / 300, 1, np.nan, np.nan, 1])
    assert right.mask.sum() == 22  # all but the right predictions of three classes


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
    assert plot_confusion([0, 1], [1, 1]).axes[0].get_title() == "1 error in 2 images (50.00%)"
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
        (lambda: plot_confusion([0, 3], [0, 0], class_names=["a", "b"]), ValueError, "got 2 names and labels up to 3"),
        (lambda: plot_confusion([0, 200], [0, 0]), ValueError, r"labels in \[0, 200\), got 200"),
        (lambda: plot_errors(np.ones((3, 4, 4)), [0, 1], [0, 1]), ValueError, "plot_errors: expected images"),
        (
            lambda: plot_errors(np.ones((1, 4, 4)), [0], [1], max_errors=0),
            ValueError,
            "plot_errors: max_errors: expected at least 1",
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
