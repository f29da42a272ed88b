"""The page in a browser: what several test files do with it."""

import re

import numpy as np
import pytest
from cases import STROKES

from convnet import Dropout, ReLU, Sigmoid, functional
from convnet.webpage import _encoded  # a long text reaches the browser faster than many numbers


def scores_of(page, inputs):
    """Return the scores that the page computes for inputs (N, ...)."""
    script = "(inputs) => inputs.map((input) => [...model.scores(decode_array(input)).data])"
    return np.array(page.evaluate(script, [_encoded(row, "float32") for row in inputs]))


def scores_of_images(page, images):
    script = """(images) => images.map((image) =>
        [...model.scores(apply_statistics(decode_array(image), statistics)).data])"""
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.array(page.evaluate(script, [_encoded(image, "uint8") for image in planes]))


def agree(found, expected, tolerance=1e-2):
    """Assert that scores agree, and labels where the two best scores are not that close."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > tolerance
    np.testing.assert_array_equal(found.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])
    assert clear.mean() > 0.5


def draw(page, digit):
    """Draw a digit with the mouse."""
    box = page.locator("#field").bounding_box()
    for line in STROKES[digit]:
        places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in line]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=4)
        page.mouse.up()
    settle(page)


def settle(page):
    """Wait until the page has drawn what it was told."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pictures(page):
    """Return what every canvas of the page shows."""
    return page.evaluate("() => [...document.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())")


PIXELS = """(selector) => [...document.querySelectorAll(selector)].map((canvas) => {
    const { data } = context_of(canvas).getImageData(0, 0, canvas.width, canvas.height);
    return { width: canvas.width, data: [...data].filter((_, i) => i % 4 < 3) };
})"""


def pixels(page, selector):
    """Return what the canvases that a selector finds show, each (h, w, 3)."""
    found = page.evaluate(PIXELS, selector)
    return [np.array(picture["data"]).reshape(-1, picture["width"], 3) for picture in found]


def coloured(page, values, most):
    """Return the pixels (h, w, 3) that a map of numbers has to show: the colour grows with the square root."""
    palette = {name: np.array(levels) for name, levels in page.evaluate("() => palette").items()}
    full = np.where(values[..., np.newaxis] < 0, palette["least"], palette["ink"])
    return palette["ground"] + np.sqrt(np.abs(values[..., np.newaxis]) / most) * (full - palette["ground"])


def check_panels(page, model, x):
    """Assert that maps, units, bars and text alternatives are those of an input (1, ...); return the layers' outputs.

    An activation is shown in place of the layer before it, the last layer as bars alone.
    """
    outputs, shown = {}, {}
    for name, layer in model.layers.items():
        if isinstance(layer, (ReLU, Sigmoid, Dropout)) and shown:
            shown.popitem()
        x = outputs[name] = shown[name] = layer(x)
    shown.popitem()
    maps = [values[0] for values in shown.values() if values.ndim == 4]
    found = pixels(page, ".maps canvas")
    for picture, (values, most) in zip(found, ((plane, np.abs(of).max()) for of in maps for plane in of), strict=True):
        np.testing.assert_allclose(picture, coloured(page, values, most), atol=4)
    units = [values[0] for values in shown.values() if values.ndim == 2]
    rows, canvases = pixels(page, ".vector canvas"), page.locator(".vector canvas").all()
    for row, canvas, values in zip(rows, canvases, units, strict=True):
        wanted = coloured(page, values, np.abs(values).max())
        np.testing.assert_allclose(row.reshape(-1, 3)[: len(values)], wanted, atol=4)
        active, count = re.fullmatch(r"(\d+) of (\d+) units are above 0", canvas.get_attribute("aria-label")).groups()
        assert int(active) == pytest.approx((values > 0).sum(), abs=1)  # one may be 0 but for half precision
        assert int(count) == len(values)

    probabilities = functional.softmax(x)[0]
    widths = page.evaluate(
        "() => [...document.querySelectorAll('#bars .bar')].map(({ style }) => parseFloat(style.width))"
    )
    np.testing.assert_allclose(widths, 100 * probabilities, atol=0.4)
    percents = [float(text.split()[0]) for text in page.locator("#bars .percent").all_inner_texts()]
    np.testing.assert_allclose(percents, 100 * probabilities, atol=0.4)
    weights = page.evaluate(
        "() => [...document.querySelectorAll('#bars li .name')].map((name) => getComputedStyle(name).fontWeight)"
    )
    assert [weight == "700" for weight in weights] == [label == probabilities.argmax() for label in range(len(weights))]
    return outputs
