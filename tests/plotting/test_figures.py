"""What all figures have in common, and what they need."""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases import drawn, trained
from PIL import Image

from convnet import plot_errors, plot_examples, plot_filters, plot_predictions, plot_training


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


def in_another_process(code, folder):
    """Run code with modules of the folder in front of the installed ones, and return the lines that it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
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
    assert all('figures need matplotlib: pip install "convnet-cpu[examples]"' in line for line in lines)


def shown(draw, images):
    """Return the pixels of the first image that a function draws."""
    figure = draw(images)
    return next(axes.images[0].get_array() for axes in figure.axes if axes.images)


# Every function that draws images.
DRAWING = {
    "examples": lambda images: plot_examples(images, np.zeros(len(images), int)),
    "errors": lambda images: plot_errors(images, np.zeros(len(images), int), np.ones(len(images), int)),
    "predictions": lambda images: plot_predictions(images, np.full((len(images), 2), 0.5)),
}


@pytest.mark.parametrize("draw", DRAWING.values(), ids=DRAWING.keys())
@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 4, 3, 3)], ids=["grey", "colour"])
def test_the_same_image_is_drawn_whatever_its_dtype_and_unit(rng, draw, shape):
    raw = rng.integers(0, 256, shape, dtype=np.uint8)
    raw[0].flat[:2] = 0, 255
    for images in (
        raw,
        raw.astype(np.int64),
        raw.astype(np.float32),
        raw.astype(np.float64),
        raw / 255,
        (raw / 255).astype(np.float32),
        (raw / 255).astype(np.float16),
        raw / 255 + 1e-4,
        (raw / 255).tolist(),
    ):
        np.testing.assert_array_equal(shown(draw, images), raw[0])


def test_masks_are_black_and_white(rng):
    mask = rng.random((3, 5, 4)) < 0.5
    np.testing.assert_array_equal(shown(DRAWING["examples"], mask), np.where(mask[0], 255, 0))


def test_the_unit_is_that_of_all_images():
    """An image that is nearly black beside lighter ones is not drawn lighter."""
    images = np.stack([np.ones((4, 4)), np.full((4, 4), 200.0)])
    np.testing.assert_array_equal(shown(DRAWING["examples"], images), np.ones((4, 4)))


@pytest.mark.parametrize("draw", DRAWING.values(), ids=DRAWING.keys())
@pytest.mark.parametrize("factor", [1.0, -0.01, 1e3])
def test_prepared_inputs_are_refused_with_the_remedy(rng, draw, factor):
    images = rng.standard_normal((3, 5, 4)) * factor
    images[0, 0, :2] = -3 * factor, 3 * factor
    with pytest.raises(
        ValueError, match=r"expected pixels from 0 to 255, or floats in 0..1, got float64 from -"
    ) as error:
        draw(images)
    assert "before they were prepared, or scale them: (images - images.min()) / (" in str(error.value)
    scaled = (images - images.min()) / (images.max() - images.min())
    assert {0, 255} <= set(np.unique(np.stack([shown(draw, scaled[n : n + 1]) for n in range(3)])))


@pytest.mark.parametrize(("axis", "remedy"), [(1, "images[:, 0]"), (3, "images[..., 0]")])
def test_an_axis_of_one_channel_is_left_out(axis, remedy):
    with pytest.raises(ValueError, match="leaves out the axis of the one channel") as error:
        DRAWING["examples"](np.zeros(np.insert([2, 5, 4], axis, 1)))
    assert remedy in str(error.value)


def test_lists_of_different_lengths_are_named():
    with pytest.raises(ValueError, match="plot_examples: images: expected an array, got lists of different lengths"):
        plot_examples([[[0, 1], [2]]], [0])
