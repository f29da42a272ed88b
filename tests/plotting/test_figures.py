"""What all figures have in common, and what they need."""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases import drawn, trained
from PIL import Image

from convnet import plot_examples, plot_filters, plot_training


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
