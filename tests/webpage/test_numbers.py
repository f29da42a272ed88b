"""The page's numbers against the library's, in a browser."""

import numpy as np
import pytest
from layer_cases import ROWS, model_of
from pages import agree, draw, scores_of, scores_of_images

import convnet
from convnet import (
    Affine,
    AveragePool2D,
    Conv2D,
    Dropout,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Statistics,
    functional,
    webpage,
)
from convnet.datasets import digits
from convnet.layers import LAYERS
from convnet.webpage import _encoded


def test_scores_equal_those_of_the_library(open_page, page_file, convnet1, mnist):
    page = open_page(page_file)
    images = mnist[2][:1000]
    agree(scores_of_images(page, images), convnet1.scores(convnet1.statistics.apply(images)))


def test_two_convolutions_average_pooling_sigmoid_and_dropout(open_page, tmp_path, mnist, rng):
    layers = [
        Conv2D(1, 6, 5, padding=2, rng=rng),
        Sigmoid(),
        AveragePool2D(2),
        Conv2D(6, 8, 3, stride=2, rng=rng),
        ReLU(),
        Dropout(0.3),
        Affine(8 * 6 * 6, 30, rng=rng),
        Sigmoid(),
        Affine(30, 10, rng=rng),
    ]
    images, labels, *test = mnist
    data, statistics = convnet.preprocess(images[:3000], labels[:3000], *test, num_validation=100)
    model = Sequential(layers, (1, 28, 28), rng=rng)
    model.statistics = statistics
    convnet.Solver(model, data, convnet.Adam(3e-3), epochs=2).train()
    webpage.export(model, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    agree(scores_of_images(page, test[0][:200]), model.scores(statistics.apply(test[0][:200])))
    draw(page, 1)
    assert page.locator("#verdict").inner_text() != ""
    titles = page.locator("#panels h2").all_inner_texts()
    assert titles == [
        "Conv2D, Sigmoid: 6 maps of 28 x 28",
        "AveragePool2D: 6 maps of 14 x 14",
        "Conv2D, ReLU: 8 maps of 6 x 6",
        "Affine, Sigmoid: 30 units",
    ]


STACKS = {
    "strides and paddings": ((2, 11, 8), lambda rng: [Conv2D(2, 3, (3, 2), stride=(2, 3), padding=(1, 4), rng=rng)]),
    "kernel of the image": ((3, 5, 4), lambda rng: [Conv2D(3, 4, (5, 4), rng=rng)]),
    "max pooling": ((2, 9, 7), lambda rng: [MaxPool2D((3, 2), stride=(2, 1), padding=(1, 0))]),
    "overlapping": ((1, 8, 8), lambda rng: [MaxPool2D(3, stride=2, padding=1), AveragePool2D(2, stride=1)]),
    "padding counted": ((2, 7, 9), lambda rng: [AveragePool2D((2, 3), stride=2, padding=1)]),
    "padding not counted": ((2, 7, 9), lambda rng: [AveragePool2D((2, 3), padding=1, count_padding=False)]),
    "other sides": ((2, 9, 7), lambda rng: [Conv2D(2, 3, 3, stride=2, padding=((0, 1), (3, 0)), rng=rng)]),
    "rounded up": ((2, 9, 7), lambda rng: [MaxPool2D((2, 4), stride=3, padding=((1, 0), (3, 2)), ceil_mode=True)]),
    "vectors": ((13,), lambda rng: [Affine(13, 7, rng=rng), Sigmoid(), Dropout(0.5), Affine(7, 6, rng=rng), ReLU()]),
    "activations first": ((2, 3, 4), lambda rng: [ReLU(), Sigmoid(), Dropout(0.1)]),
    "two axes": ((5, 6), lambda rng: [ReLU(), Affine(30, 7, rng=rng), Sigmoid()]),
    "four axes": ((2, 3, 4, 5), lambda rng: [Sigmoid()]),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_layer_and_option(open_page, tmp_path, rng, name, dtype):
    input_shape, make = STACKS[name]
    layers = make(rng)
    shape = input_shape
    for layer in layers:
        shape = layer.output_shape(shape)
        for key in layer.params:
            layer.params[key] = (layer.params[key] + 0.1 * rng.standard_normal(layer.params[key].shape)).astype(dtype)
    last = Affine(int(np.prod(shape)), 4, rng=rng, dtype=dtype)
    model = Sequential([*layers, last], input_shape, loss=convnet.svm_loss)
    x = rng.standard_normal((20, *input_shape))
    webpage.export(model, tmp_path / "page.html", samples=(x, rng.integers(0, 4, 20)))
    page = open_page(tmp_path / "page.html")
    expected = model.scores(x)
    agree(scores_of(page, x), expected, 3e-3 * np.abs(expected).max())
    assert page.locator("#field").count() == 0
    assert "%" in page.locator("#verdict").inner_text()


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_row_of_the_layers(open_page, tmp_path, rng, case, dtype):
    model = model_of(case, dtype)
    for array in model.state.values():
        array += rng.uniform(0.1, 1, array.shape).astype(array.dtype)
    x = rng.standard_normal((20, *case.input_shape))
    webpage.export(model, tmp_path / "page.html", samples=(x, rng.integers(0, 4, 20)))
    expected = model.scores(x)
    agree(scores_of(open_page(tmp_path / "page.html"), x), expected, 3e-3 * np.abs(expected).max())


@pytest.mark.parametrize("std", ["scalar", "of each pixel", "none"])
@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("divide_by_255", [True, False])
def test_every_kind_of_statistics(open_page, tmp_path, rng, divide_by_255, mean, std):
    shape = (1, 8, 9)
    stds = {"scalar": np.array(50.0), "of each pixel": rng.uniform(20, 90, shape), "none": None}[std]
    model = Sequential([Affine(72, 10, rng=rng)], shape)
    model.statistics = Statistics(
        shape,
        divide_by_255,
        rng.uniform(0, 99, shape).astype(np.float32) if mean else None,
        None if stds is None else stds.astype(np.float32),
    )
    images = rng.integers(0, 256, (20, 8, 9), np.uint8)
    webpage.export(model, tmp_path / "page.html", (images, np.arange(20) % 10))
    expected = model.scores(model.statistics.apply(images))
    agree(scores_of_images(open_page(tmp_path / "page.html"), images), expected, 0.002 * abs(expected).max())


def test_the_script_knows_every_layer_of_the_library(open_page, page_file):
    page = open_page(page_file)
    assert set(page.evaluate("() => Object.keys(LAYERS)")) == set(LAYERS)


def test_large_and_small_parameters(open_page, tmp_path, rng):
    layers = [Affine(5, 4, rng=rng), Affine(4, 3, rng=rng)]
    layers[0].params["weight"] *= 1e9
    layers[1].params["weight"] *= 1e-9
    layers[1].params["bias"][:] = 0
    model = Sequential(layers, (5,))
    x = rng.standard_normal((20, 5)).astype(np.float32)
    webpage.export(model, tmp_path / "page.html", samples=(x, np.zeros(20, int)))
    agree(scores_of(open_page(tmp_path / "page.html"), x), model.scores(x))


@pytest.mark.parametrize("scale", [1e60, 1e-50])
def test_numbers_beyond_the_range_of_float32(open_page, tmp_path, rng, scale):
    layers = [Affine(5, 4, rng=rng, dtype=np.float64), Affine(4, 3, rng=rng, dtype=np.float64)]
    layers[0].params["weight"] *= scale
    layers[1].params["weight"] /= scale
    model = Sequential(layers, (5,))
    x = rng.standard_normal((20, 5))
    webpage.export(model, tmp_path / "page.html", samples=(x, np.zeros(20, int)))
    agree(scores_of(open_page(tmp_path / "page.html"), x), model.scores(x), 3e-2)
    with pytest.raises(ValueError, match="samples within float32's range"):
        webpage.export(model, tmp_path / "page.html", samples=(1e40 * x, np.zeros(20, int)))


def test_softmax_of_large_scores(open_page, page_file, rng):
    scores = 1000 * rng.standard_normal(7)
    script = "(scores) => [...softmax({ shape: [scores.length], data: Float64Array.from(scores) }).data]"
    found = open_page(page_file).evaluate(script, scores.tolist())
    np.testing.assert_allclose(found, functional.softmax(scores[np.newaxis])[0], atol=1e-12)


def test_every_number_of_half_precision(open_page, page_file):
    found = open_page(page_file).evaluate("() => Array.from({ length: 65536 }, (_, bits) => half_to_number(bits))")
    expected = np.arange(65536).astype(np.uint16).view(np.float16).astype(np.float64)
    np.testing.assert_array_equal(np.array(found, float), expected)


def bitmaps(rng, mnist):
    """Yield pictures to prepare: digits, noise, drawings in the dark and the light, and awkward shapes."""
    yield from mnist[2][:6]
    y, x = np.indices((180, 140))
    for slope in (0, 0.3, 0.6):
        stroke = np.hypot(y - 90, (x - 70) * 1.5) < 60
        sheet = 200 - 120 * (stroke & (np.hypot(y - 90, (x - 70) * 1.5) > 45)) - slope * x + 0.2 * y
        yield np.clip(sheet + rng.normal(0, 4, sheet.shape), 0, 255).astype(np.uint8)
        yield np.clip(255 - sheet, 0, 255).astype(np.uint8)
    for shape in ((2, 2), (1, 9), (9, 1), (28, 28), (300, 211), (90, 600)):
        yield rng.integers(0, 256, shape, np.uint8)
        sheet = np.zeros(shape, np.uint8)
        sheet[shape[0] // 2, shape[1] // 2 :] = 255
        yield sheet
    yield np.full((300, 211), 77, np.uint8)  # even but for the rounding of what scales it
    sheet = np.full((700, 500), 220, np.uint8)
    sheet[610:666, 30:86] -= mnist[2][0].repeat(2, axis=0).repeat(2, axis=1) // 2
    yield sheet


def test_preparation_equals_prepare_digit(open_page, page_file, rng, mnist):
    page = open_page(page_file)
    names = ("LARGEST_SIDE", "EVEN", "NOISE", "CLEAR", "EDGE", "SMALL")
    assert page.evaluate(f"() => [{', '.join(names)}]") == [getattr(digits, name) for name in names]
    script = "([bitmap, size]) => [...(prepare_digit(decode_array(bitmap), size)?.data ?? [])]"
    refused = 0
    for bitmap in bitmaps(rng, mnist):
        for size in ((28, 28), (16, 40)):
            found = page.evaluate(script, [_encoded(bitmap, "uint8"), size])
            try:
                expected = convnet.prepare_digit(bitmap, size).reshape(-1)
            except ValueError:
                assert found == []
                refused += 1
            else:
                assert np.abs(np.array(found) - expected).max() <= 1
    assert refused >= 4  # sheets of noise


def test_what_a_residual_connection_sees(open_page, tmp_path, rng):
    layers = [
        Residual([Conv2D(1, 1, 3, padding=1, rng=rng)]),
        Residual([Conv2D(1, 1, 1, rng=rng)], [Conv2D(1, 1, (5, 1), padding=(2, 0), rng=rng)]),
        Affine(72, 10, rng=rng),
    ]
    model = Sequential(layers, (1, 8, 9))
    webpage.export(model, tmp_path / "page.html", (rng.standard_normal((20, 1, 8, 9)), np.arange(20) % 10))
    found = open_page(tmp_path / "page.html").evaluate("() => [receptive_field(0, 4, 5), receptive_field(1, 4, 5)]")
    assert found == [[[3, 5], [4, 6]], [[1, 7], [4, 6]]]
