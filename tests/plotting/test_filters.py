"""The figures of filters."""

import numpy as np
import pytest

from convnet import plot_filters
from convnet.plotting.filters import filter_sheet


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


def test_filter_figure_shows_both_sheets_and_the_change(rng):
    before, after = rng.standard_normal((2, 5, 3, 2, 4))
    figure = plot_filters(before, after)
    assert [axes.get_title() for axes in figure.axes] == [
        "before training",
        "after training",
        "change: after - before",
    ]
    for axes, weight in zip(figure.axes, (before, after, after - before), strict=True):
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


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 1, 3, 3, 1), (0, 1, 3, 3), (2, 0, 3, 3), (2, 1, 0, 3)])
def test_filters_have_four_axes_none_empty(shape):
    with pytest.raises(ValueError, match="expected two arrays of one shape"):
        plot_filters(np.zeros(shape), np.zeros(shape))
    with pytest.raises(TypeError, match="plot_filters: after: expected real numbers"):
        plot_filters(np.zeros(shape), np.zeros(shape, complex))
