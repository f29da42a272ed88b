"""Where figures are drawn: in one of their own, which a notebook shows, or in Axes of the user's."""

import copy
import io
import pickle
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from cases import image_solver
from matplotlib.figure import Figure
from PIL import Image

import convnet
from convnet.models.profile import Profile, StageTime

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")
matplotlib.use("Agg")  # pyplot opens no window

X = np.arange(4)
IMAGES, LABELS = np.arange(9 * 6 * 5, dtype=np.uint8).reshape(9, 6, 5), np.arange(9) % 3
STAGES = [StageTime("conv1", "direct", 1e-3, 2e-3, 10**7, 2 * 10**7), StageTime("affine1", "GEMM", 1e-3, 0, 10**7, 0)]


def plot_training(**options):
    solver = image_solver(np.random.default_rng(1), 1)
    solver.train()
    return convnet.plot_training(solver, **options)


def plot_learning_rates(**options):
    found = convnet.LearningRates(np.geomspace(1e-4, 1, 9), np.linspace(2, 1, 9), np.linspace(2, 1, 9), 0.1, False)
    return convnet.plot_learning_rates(found, **options)


# Each function of a figure, its panels, and whether they are images of which nobody knows the number before.
PLOTS = {
    "plot_training": (plot_training, 2, False),
    "plot_learning_rates": (plot_learning_rates, 1, False),
    "plot_curves": (
        lambda **options: convnet.plot_curves(
            {name: {"u": X, "v": X**2} for name in "abcd"}, X, xlabel="x", ylabel="y", **options
        ),
        4,
        False,
    ),
    "plot_filters": (
        lambda **options: convnet.plot_filters(np.eye(3)[None, None], np.eye(3)[None, None], **options),
        3,
        False,
    ),
    "plot_profile": (
        lambda **options: convnet.plot_profile(Profile(STAGES, 2, 2, 1e11, "a step"), **options),
        1,
        False,
    ),
    "plot_confusion": (lambda **options: convnet.plot_confusion(LABELS, LABELS[::-1], **options), 1, False),
    "plot_errors": (lambda **options: convnet.plot_errors(IMAGES, LABELS, (LABELS + 1) % 3, **options), 9, True),
    "plot_examples": (
        lambda **options: convnet.plot_examples(IMAGES, LABELS, examples_per_class=2, **options),
        6,
        True,
    ),
    "plot_predictions": (lambda **options: convnet.plot_predictions(IMAGES[:2], np.eye(2), **options), 4, True),
}
plots = pytest.mark.parametrize(("plot", "panels", "is_sheet"), PLOTS.values(), ids=PLOTS.keys())


def inside(axes, box):
    """Return whether Axes lie within a box, up to rounding."""
    return all(box.x0 - 1e-6 <= x <= box.x1 + 1e-6 for x in (axes.get_position().x0, axes.get_position().x1)) and all(
        box.y0 - 1e-6 <= y <= box.y1 + 1e-6 for y in (axes.get_position().y0, axes.get_position().y1)
    )


def test_every_function_of_a_figure_is_here():
    assert set(PLOTS) == {name for name in convnet.plotting.__all__ if name.startswith("plot_")}


@plots
def test_a_notebook_gets_a_png_of_a_new_figure(plot, panels, is_sheet):
    figure = plot()
    assert len(figure.axes) == panels
    with Image.open(io.BytesIO(figure._repr_png_())) as image:
        assert image.format == "PNG"
        np.testing.assert_allclose(image.size, figure.get_size_inches() * figure.dpi, atol=1)
        assert len(np.unique(np.asarray(image.convert("L")))) > 3


def test_copies_of_a_figure_show_themselves():
    figure = plot_learning_rates()
    for same in (copy.deepcopy(figure), pickle.loads(pickle.dumps(figure))):
        same.axes[0].set_title("another")
        assert same._repr_png_() != figure._repr_png_()


@plots
def test_one_axes_is_the_place_of_all_panels(plot, panels, is_sheet):
    figure = Figure(figsize=(12, 6))
    left, right = figure.subplots(1, 2)
    box = right.get_position()
    assert plot(ax=right) is figure
    assert not left.has_data()
    new = [axes for axes in figure.axes if axes not in (left, right)]
    if panels == 1:
        assert new == []
        assert right.has_data()
    else:
        assert len(new) == panels or (is_sheet and len(new) > panels)  # cells of the last row may be empty
        assert not right.axison
        assert all(inside(axes, box) for axes in new)
        assert any(axes.has_data() for axes in new)
    with Image.open(io.BytesIO(figure._repr_png_())) as image:
        assert image.size == (1200, 600)


@plots
def test_an_axes_for_each_panel(plot, panels, is_sheet):
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, panels + 1)
    if is_sheet:
        with pytest.raises(
            ValueError, match=rf"ax: expected one Axes .*, whose place the images share, got {panels} in"
        ):
            plot(ax=axes[0, :panels])
    else:
        assert plot(ax=axes[0, :panels]) is figure
        assert len(figure.axes) == axes.size
        assert all(panel.has_data() for panel in axes[0, :panels])
        assert not any(panel.has_data() for panel in (*axes[1], axes[0, -1]))


@plots
def test_wrong_axes_are_named(plot, panels, is_sheet):
    figure = Figure()
    with pytest.raises(
        TypeError, match=r"^plot_\w+: ax: expected one Axes of matplotlib.*, got <Figure.*subplots\(\) makes"
    ):
        plot(ax=figure)
    for wrong in ("left", 3, [None, None], object()):
        with pytest.raises(TypeError, match=r"^plot_\w+: ax: expected one Axes of matplotlib"):
            plot(ax=wrong)
    for wrong in ([], list(figure.subplots(1, panels + 1))):
        with pytest.raises(
            ValueError, match=rf"^plot_\w+: ax: expected one Axes of matplotlib.*, got {len(wrong)} in a list"
        ):
            plot(ax=wrong)
    if panels > 1:
        with pytest.raises(
            ValueError, match="made by subplots or add_subplot, got one that was put at a place of its own"
        ):
            plot(ax=Figure().add_axes((0, 0, 1, 1)))
        if not is_sheet:
            with pytest.raises(ValueError, match=r"or \d in a list, got one of them twice"):
                plot(ax=[Figure().subplots()] * panels)
            with pytest.raises(ValueError, match="of one figure, got Axes of several"):
                plot(ax=[Figure().subplots() for _ in range(panels)])


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_the_title_of_a_sheet_stands_above_the_titles_of_its_images(layout):
    figure = Figure(figsize=(12, 10), layout=layout)
    place = figure.subplots(2, 2)[1, 0]
    convnet.plot_errors(IMAGES, LABELS, (LABELS + 1) % 3, ax=place)
    figure.savefig(io.BytesIO(), format="png")
    (title,) = place.texts
    assert title.get_text().startswith("9 errors in 9 images")
    low = title.get_window_extent().y0
    assert place.bbox.y0 < low < place.bbox.y1
    images = [axes for axes in figure.axes if axes.has_data()]
    assert len(images) == 9
    assert all(axes.title.get_window_extent().y1 <= low for axes in images)


@pytest.mark.parametrize("wrapped", [lambda axes: axes, lambda axes: [axes], lambda axes: np.array([[axes]])])
def test_one_image_is_drawn_in_the_place_of_an_axes(wrapped):
    figure = Figure()
    place = figure.subplots()
    convnet.plot_errors(IMAGES[:1], [0], [1], ax=wrapped(place))
    assert [axes.has_data() for axes in figure.axes] == [False, True]


def test_a_sheet_has_as_many_columns_as_its_place_is_wide():
    columns = []
    for width in (3, 6):
        figure = Figure(figsize=(width, 6))
        convnet.plot_errors(IMAGES, LABELS, (LABELS + 1) % 3, ax=figure.subplots())
        columns.append(len({round(axes.get_position().x0, 6) for axes in figure.axes if axes.has_data()}))
    assert columns == [2, 5]  # of 0.8 inches, in a place of 0.775 times the width


@plots
def test_axes_of_subfigures(plot, panels, is_sheet):
    figure = Figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plot(ax=right.subplots()) is figure
    assert left.axes == []
    figure.savefig(io.BytesIO(), format="png")


def test_a_figure_of_pyplot_is_left_to_pyplot():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    try:
        assert plot_learning_rates(ax=axes) is figure
        assert not hasattr(figure, "_repr_png_")
    finally:
        plt.close(figure)


def test_a_figure_needs_no_pyplot():
    code = "import convnet, sys; convnet.plot_confusion([0, 1], [1, 1])._repr_png_(); print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True).stdout
    assert "'matplotlib.figure'" in modules
    assert "'matplotlib.pyplot'" not in modules
