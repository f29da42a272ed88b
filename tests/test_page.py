"""The page: its numbers against the library's, in a browser, and what it does when one draws, types and points."""

import re
import shutil

import numpy as np
import pytest
from test_digits import STROKES

import convnet
from convnet import (
    Affine,
    AveragePool2D,
    Conv2D,
    Dropout,
    MaxPool2D,
    ReLU,
    Sequential,
    Sigmoid,
    digits,
    functional,
    webpage,
)
from convnet.datasets import Statistics
from convnet.model_files import LAYERS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Without the last ones a browser asks its maker's servers at every start.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)} is on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Return a function that opens a file; at the end of the test no page may have complained or asked for anything."""
    complaints, pages = [], []

    def opened(path, **options):
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


def scores_of(page, inputs):
    """Return the scores that the page computes for inputs (N, ...)."""
    script = """([shape, rows]) => rows.map((row) =>
        [...model.scores({ shape, data: Float32Array.from(row) }).data])"""
    rows = inputs.reshape(len(inputs), -1).astype(float).tolist()
    return np.array(page.evaluate(script, [inputs.shape[1:], rows]))


def scores_of_images(page, images):
    script = """([shape, rows]) => rows.map((row) =>
        [...model.scores(apply_statistics({ shape, data: Uint8Array.from(row) }, statistics)).data])"""
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.array(page.evaluate(script, [planes.shape[1:], planes.reshape(len(planes), -1).tolist()]))


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
    """Return the pixels (h, w, 3) that a map of numbers has to show."""
    palette = {name: np.array(levels) for name, levels in page.evaluate("() => palette").items()}
    full = np.where(values[..., np.newaxis] < 0, palette["least"], palette["ink"])
    return palette["ground"] + np.abs(values[..., np.newaxis]) / most * (full - palette["ground"])


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


# ------------------------------------------------------------------------------------------------------- the numbers


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


def test_pictures_marks_and_bars_show_what_the_layers_compute(open_page, tmp_path, rng):
    conv = Conv2D(2, 3, (3, 2), stride=(2, 1), padding=(1, 1), rng=rng)
    pool, hidden, last = MaxPool2D(2), Affine(3 * 2 * 4, 7, rng=rng), Affine(7, 4, rng=rng)
    model = Sequential([conv, ReLU(), pool, hidden, ReLU(), last], (2, 9, 8), rng=rng)
    x = rng.standard_normal((9, 2, 9, 8)).astype(np.float32)
    webpage.export(model, tmp_path / "page.html", samples=(x, np.arange(9) % 4))
    page = open_page(tmp_path / "page.html")
    shown = np.array(page.evaluate("() => [...samples[sample].image.data]")).reshape(1, 2, 9, 8)
    layers = check_panels(page, model, shown)
    maps, pooled = layers["relu1"], layers["pool1"]
    (both,) = pixels(page, "#image")  # the channels, one beside the other
    np.testing.assert_allclose(both, coloured(page, np.concatenate(shown[0], axis=1), np.abs(shown).max()), atol=4)

    for group, outputs in enumerate((maps, pooled)):
        for channel in range(3):
            button = page.locator(".maps").nth(group).locator("button").nth(channel)
            button.focus()
            weight = conv.params["weight"][channel]
            wanted = coloured(page, weight, np.abs(weight).max())
            np.testing.assert_allclose(pixels(page, ".filter canvas"), wanted, atol=4)
            i, j = np.unravel_index(outputs[0, channel].argmax(), outputs.shape[2:])
            rows, columns = (
                (range(i, i + 1), range(j, j + 1)) if group == 0 else (range(2 * i, 2 * i + 2), range(2 * j, 2 * j + 2))
            )
            top, bottom = max(2 * rows[0] - 1, 0), min(2 * rows[-1] - 1 + 3, 9)
            left, right = max(columns[0] - 1, 0), min(columns[-1] - 1 + 2, 8)
            marks = page.evaluate(
                "() => [...document.querySelectorAll('.field-mark')].map(({ style }) => "
                "[style.top, style.height, style.left, style.width].map(parseFloat))"
            )
            for side, mark in enumerate(marks):
                wanted = [top / 9, (bottom - top) / 9, (8 * side + left) / 16, (right - left) / 16]
                np.testing.assert_allclose(mark, 100 * np.array(wanted), atol=0.01)
            assert len(marks) == 2
            seen = [both[top:bottom, left:right], both[top:bottom, 8 + left : 8 + right]]
            np.testing.assert_array_equal(pixels(page, ".seen canvas"), seen)


def test_where_a_map_is_strongest_is_said_in_all_cases(open_page, tmp_path, rng):
    conv = Conv2D(1, 4, 1, padding=1, rng=rng)
    conv.params["weight"][:, 0, 0, 0] = [1, 0, -1, 1]
    conv.params["bias"][:] = [-1000, 0, 1, 0.5]
    model = Sequential([conv, Affine(4 * 6 * 6, 3, rng=rng)], (1, 4, 4))
    x = rng.uniform(1, 2, (3, 1, 4, 4))
    webpage.export(model, tmp_path / "page.html", samples=(x, [0, 1, 2]))
    page = open_page(tmp_path / "page.html")
    row, column = (place + 2 for place in np.unravel_index(x[0, 0].argmax(), (4, 4)))
    for index, words, marks in (
        (0, f"It is highest, -998, at row {row}, column {column};", 1),
        (1, "It does not fire.", 0),
        (2, "It fires strongest, 1.00, at row 1, column 1; it sees only padding there.", 0),
        (3, f"It fires strongest, {x[0].max() + 0.5:.2f}, at row {row}, column {column};", 1),
    ):
        page.locator(".maps button").nth(index).hover()
        assert words in page.locator(".detail").inner_text()
        assert page.locator(".field-mark").count() == page.locator(".seen canvas").count() == marks


def test_the_filters_shown_are_those_of_the_last_convolution_before_the_maps(open_page, tmp_path, rng):
    layers = [Conv2D(1, 2, 3, rng=rng), ReLU(), Conv2D(2, 3, (2, 3), rng=rng), ReLU(), Affine(3 * 5 * 4, 3, rng=rng)]
    model = Sequential(layers, (1, 8, 8))
    x = rng.standard_normal((3, 1, 8, 8))
    webpage.export(model, tmp_path / "page.html", samples=(x, [0, 1, 2]))
    page = open_page(tmp_path / "page.html")
    for sample in (0, 1):
        page.locator("#samples button").nth(sample).click()
        check_panels(page, model, np.array(page.evaluate("() => [...samples[sample].image.data]")).reshape(1, 1, 8, 8))
    page.locator(".maps").nth(1).locator("button").nth(1).hover()
    assert "Filter 2 of conv2, 2 x 3, 2 channels." in page.locator(".detail").nth(1).inner_text()
    weight = model.params["conv2.weight"][1]
    np.testing.assert_allclose(pixels(page, ".filter canvas"), coloured(page, weight, np.abs(weight).max()), atol=4)
    assert page.locator(".filter").get_attribute("aria-label") == "Weights of filter 2, 2 by 2 by 3"


def test_softmax_of_large_scores(open_page, page_file, rng):
    scores = 1000 * rng.standard_normal(7)
    script = "(scores) => [...softmax({ shape: [scores.length], data: Float64Array.from(scores) }).data]"
    found = open_page(page_file).evaluate(script, scores.tolist())
    np.testing.assert_allclose(found, functional.softmax(scores[np.newaxis])[0], atol=1e-12)


def test_every_number_of_half_precision(open_page, page_file):
    found = open_page(page_file).evaluate("() => Array.from({ length: 65536 }, (_, bits) => half_to_number(bits))")
    expected = np.arange(65536).astype(np.uint16).view(np.float16).astype(np.float64)
    np.testing.assert_array_equal(np.array(found, float), expected)


def test_the_winner_of_many_classes_is_scrolled_to(open_page, tmp_path, rng):
    model = Sequential([Affine(5, 200, rng=rng)], (5,))
    model.params["affine1.bias"][150] = 99
    webpage.export(model, tmp_path / "page.html", samples=(rng.standard_normal((3, 5)), [150, 150, 150]))
    page = open_page(tmp_path / "page.html")
    assert page.evaluate("() => element('bars').tabIndex") == 0  # so that the keyboard can scroll it
    top, bottom = page.evaluate(
        "() => { const { top } = element('bars').getBoundingClientRect(); const row = bars[150].percent"
        ".getBoundingClientRect(); return [row.top - top, row.bottom - top]; }"
    )
    assert 0 < top < bottom < page.evaluate("() => element('bars').clientHeight")


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
    script = "([shape, row, size]) => [...(prepare_digit({ shape, data: Uint8Array.from(row) }, size)?.data ?? [])]"
    refused = 0
    for bitmap in bitmaps(rng, mnist):
        for size in ((28, 28), (16, 40)):
            found = page.evaluate(script, [bitmap.shape, bitmap.reshape(-1).tolist(), size])
            try:
                expected = convnet.prepare_digit(bitmap, size).reshape(-1)
            except ValueError:
                assert found == []
                refused += 1
            else:
                assert np.abs(np.array(found) - expected).max() <= 1
    assert refused >= 4  # sheets of noise


# --------------------------------------------------------------------------------------------------- drawing on it


def test_drawn_digits_are_read_and_every_panel_follows(open_page, page_file, convnet1):
    page = open_page(page_file)
    assert page.locator("#verdict").inner_text() == "Draw something."
    assert page.locator("#image").get_attribute("aria-label") == "Nothing yet"
    right = 0
    for digit in (0, 2, 3, 4, 5, 7):
        if not page.locator("#clear").is_disabled():
            page.locator("#clear").click()
        settle(page)
        draw(page, digit)
        right += page.locator("#verdict").inner_text().startswith(f"{digit}, ")
        (image,) = pixels(page, "#image")
        drawn = page.evaluate("() => { const { shape, data } = bitmap(); return [shape, [...data]]; }")
        prepared = convnet.prepare_digit(np.array(drawn[1], np.uint8).reshape(drawn[0]))
        np.testing.assert_allclose(image, np.stack([prepared] * 3, axis=-1), atol=1)
        check_panels(page, convnet1, convnet1.statistics.apply(image[np.newaxis, :, :, 0].astype(np.uint8)))
    assert right >= 5
    assert page.locator("#image").get_attribute("aria-label") == "The example as the network gets it, 1 by 28 by 28"
    assert page.locator("#bars .winner").count() == 1


def test_the_field_shows_the_ink(open_page, page_file):
    page = open_page(page_file)
    page.evaluate("() => { strokes = [[[100, 50], [100, 150]], [[200, 100]]]; update(); }")
    alpha = "([x, y]) => context_of(field).getImageData(x, y, 1, 1).data[3]"
    for x, y in ((100, 100), (200, 100)):
        found = [page.evaluate(alpha, [x + dx, y]) for dx in (-13, -8, 0, 8, 13)]
        assert found == [0, 255, 255, 255, 0]
    assert [page.evaluate(alpha, [100, y]) for y in (37, 42, 158, 163)] == [0, 255, 255, 0]


def test_a_tap_leaves_a_dot(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").click()
    settle(page)
    assert page.locator("#verdict").inner_text() != "Draw something."
    page.locator("#clear").click()
    settle(page)
    assert page.locator("#verdict").inner_text() == "Draw something."
    page.keyboard.press(" ")
    settle(page)
    assert page.locator("#verdict").inner_text() != "Draw something."


def test_undo_within_a_stroke_ends_it(open_page, page_file):
    page = open_page(page_file)
    box = page.locator("#field").bounding_box()
    for x in (60, 120):
        page.mouse.move(box["x"] + x, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + x, box["y"] + 150, steps=4)
        if x == 60:
            page.mouse.up()
    before = page.evaluate("() => strokes[0].length")
    page.keyboard.press("Control+z")
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [before]
    page.locator("#field").focus()
    for key in (" ", "ArrowLeft", "Control+z", "ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [before]
    assert not page.evaluate("() => pen.down")


def test_undo_and_clear(open_page, page_file):
    page = open_page(page_file)
    blank = pictures(page)
    assert page.locator("#undo").is_disabled()
    draw(page, 4)
    both = pictures(page)
    page.locator("#undo").click()
    settle(page)
    page.mouse.move(0, 0)
    assert pictures(page) not in (blank, both)
    page.locator("#clear").click()
    settle(page)
    assert pictures(page) == blank
    assert page.locator("#clear").is_disabled()


def test_fingers_draw(open_page, page_file):
    page = open_page(page_file, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    script = """(points) => {
        const field = document.getElementById("field");
        const box = field.getBoundingClientRect();
        field.setPointerCapture = () => {};  // there is no such finger to capture
        points.forEach(([x, y], i) => field.dispatchEvent(new PointerEvent(i ? "pointermove" : "pointerdown", {
            pointerId: 7, pointerType: "touch", clientX: box.left + x * box.width, clientY: box.top + y * box.height,
        })));
        field.dispatchEvent(new PointerEvent("pointerup", { pointerId: 7, pointerType: "touch" }));
    }"""
    page.evaluate(script, STROKES[7][0])
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("() => getComputedStyle(field).touchAction") == "none"


def test_another_finger_does_not_draw_and_a_stroke_can_be_cancelled(open_page, page_file):
    page = open_page(page_file)
    script = """([name, pointerId, x, y]) => {
        field.setPointerCapture = () => {};  // there is no such finger to capture
        const box = field.getBoundingClientRect();
        const place = { clientX: box.left + x, clientY: box.top + y };
        field.dispatchEvent(new PointerEvent(name, { pointerId, pointerType: "touch", ...place }));
        return strokes.map((stroke) => stroke.length);
    }"""
    events = [
        (("pointerdown", 7, 40, 40), [1]),
        (("pointermove", 7, 40, 60), [2]),
        (("pointerdown", 8, 90, 90), [2]),
        (("pointermove", 8, 90, 99), [2]),
        (("pointerup", 8, 90, 99), [2]),
        (("pointermove", 7, 40, 80), [3]),
        (("pointercancel", 7, 40, 80), [3]),
        (("pointermove", 7, 40, 99), [3]),
        (("pointerdown", 8, 90, 90), [3, 1]),
    ]
    for event, expected in events:
        assert page.evaluate(script, event) == expected


def test_a_stroke_goes_on_outside_the_field_and_takes_all_points_of_a_frame(open_page, page_file):
    page = open_page(page_file)
    box = page.locator("#field").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] - 10, box["y"] + 50)
    page.mouse.move(box["x"] + 50, box["y"] + 90)
    script = """() => {
        const [first, second] = [5, 9].map((clientX) => new PointerEvent("pointermove", { clientX }));
        field.dispatchEvent(new PointerEvent("pointermove", {
            pointerId: drawing_pointer, coalescedEvents: [first, second] }));
        return strokes.map((stroke) => stroke.length);
    }"""
    assert page.evaluate(script) == [5]
    page.keyboard.press(" ")  # the keyboard's pen stays where it is meanwhile
    page.keyboard.press("ArrowLeft")
    page.mouse.up()
    settle(page)
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [5]
    assert page.locator("#verdict").get_attribute("aria-busy") == "false"


def test_the_right_button_does_not_draw(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").click(button="right")
    assert page.evaluate("() => strokes.length") == 0


def test_the_keyboards_pen_is_seen_and_stays_in_the_field(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").focus()
    pictures = []
    for keys in ([], ["ArrowDown"], [" "], ["Shift+ArrowLeft"] * 12, ["Shift+ArrowUp"] * 12, [" "]):
        for key in keys:
            page.keyboard.press(key)
        settle(page)
        pictures.append(page.evaluate("() => field.toDataURL()"))
    assert len(set(pictures)) == len(pictures)  # lifted, it is drawn otherwise than down
    assert page.evaluate("() => [pen.x, pen.y]") == [8, 8]


def test_the_pen_is_lifted_where_the_field_loses_the_focus(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => [pen.down, pen.shown]") == [True, True]
    settle(page)
    page.locator("#clear").focus()
    assert page.evaluate("() => [pen.down, pen.shown]") == [False, False]
    settle(page)
    assert page.locator("#verdict").get_attribute("aria-busy") == "false"
    page.locator("#field").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => strokes.map((stroke) => stroke.length)") == [2]


def test_the_keyboard_reaches_everything(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "field"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(9):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    settle(page)
    drawn = page.locator("#verdict").inner_text()
    assert drawn.startswith("1, ")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.ariaLabel ?? document.activeElement.textContent"))
    assert {"Undo", "Clear"} <= set(reached)
    assert sum(text.startswith("Example: ") for text in reached if text) >= 10
    assert reached.count("map 1 of 32") == 2
    page.locator(".maps button").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.ariaLabel") == "map 2 of 32"
    assert "Filter 2 of conv1" in page.locator(".detail").first.inner_text()
    columns = page.evaluate(
        "() => getComputedStyle(document.querySelector('.maps')).gridTemplateColumns.split(' ').length"
    )
    for key, reached in (("ArrowDown", 2 + columns), ("ArrowLeft", 1 + columns), ("ArrowUp", 1), ("ArrowUp", 1)):
        page.keyboard.press(key)
        assert page.evaluate("() => document.activeElement.ariaLabel") == f"map {reached} of 32"
    page.locator(".maps button").nth(4).click()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("() => document.activeElement.ariaLabel") == "map 5 of 32"


def test_what_has_the_focus_what_is_chosen_and_what_is_misread_look_different(open_page, page_file):
    page = open_page(page_file)
    look = """(button) => (({ outlineStyle, outlineColor, borderStyle, borderColor, borderWidth }) => [
        outlineStyle, outlineColor, borderStyle, borderColor, borderWidth])(getComputedStyle(button))"""
    for buttons in (page.locator(".maps button"), page.locator("#samples button")):
        plain = buttons.nth(1).evaluate(look)
        buttons.nth(2).click()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        both = buttons.nth(2).evaluate(look)
        page.locator("#field").focus()
        chosen = buttons.nth(2).evaluate(look)
        assert both[0] == "solid"
        assert both[:2] != chosen[:2] == plain[:2]
        assert both[2:] == chosen[2:] != plain[2:]
    assert page.locator("#samples button").last.evaluate(look)[2] == "dashed"


def test_everything_has_a_name_and_what_changes_is_read_out(open_page, page_file):
    page = open_page(page_file)
    page.locator("#samples button").nth(3).click()
    page.locator(".maps button").nth(3).hover()
    nameless = """() => [...document.querySelectorAll("[role=img], [role=group], [role=application], button")]
        .filter((node) => !(node.ariaLabel || node.textContent || node.getAttribute("aria-labelledby")))
        .map((node) => node.outerHTML)"""
    assert page.evaluate(nameless) == []
    # Every picture is one by itself, or part of a picture or of a button.
    bare = """() => [...document.querySelectorAll("canvas")]
        .filter((canvas) => !canvas.closest("[role=img], [role=application], button")).length"""
    assert page.evaluate(bare) == 0
    assert page.evaluate("() => document.documentElement.lang") == "en"
    for place in ("#verdict", "#sample-note", ".detail"):
        assert page.locator(place).first.get_attribute("role") == "status"
    titles = page.evaluate("() => [...document.querySelectorAll('#bars .name')].map(({ title }) => title)")
    assert titles == list("0123456789")
    arrow = "(item) => getComputedStyle(item.querySelector('.percent'), '::after').content"
    marked = [" ◀" in item.evaluate(arrow) for item in page.locator("#bars li").all()]
    assert marked == [label == 3 for label in range(10)]


def test_a_filter_shows_its_weights_and_where_it_fires_strongest(open_page, page_file, convnet1, mnist):
    page = open_page(page_file)
    page.locator("#samples button").nth(3).click()
    chosen = page.evaluate("() => [...samples[3].image.data]")
    image = np.array(chosen, np.uint8).reshape(1, 28, 28)
    maps = np.maximum(convnet1.layers["conv1"](convnet1.statistics.apply(image))[0], 0)
    for index in (0, 7, 31):
        page.locator(".maps").first.locator("button").nth(index).hover()
        words = page.locator(".detail").first.inner_text()
        assert f"Filter {index + 1} of conv1, 7 x 7" in words
        top = maps[index]
        if top.max() > 0.01:
            row, column = (int(text) - 1 for text in re.search(r"row (\d+), column (\d+)", words).groups())
            assert top[row, column] == pytest.approx(top.max(), rel=1e-2)
            style = page.locator(".field-mark").evaluate("(mark) => [mark.style.top, mark.style.left]")
            corner = [max(place - 3, 0) * 100 / 28 for place in (row, column)]
            assert [float(text.rstrip("%")) for text in style] == pytest.approx(corner, abs=0.01)
    weights = page.locator(".filter canvas").first
    assert weights.evaluate("(canvas) => [canvas.width, canvas.height]") == [7, 7]


def test_samples_of_all_classes_and_one_that_is_misread(open_page, page_file):
    page = open_page(page_file)
    buttons = page.locator("#samples button")
    labels = [button.get_attribute("aria-label") for button in buttons.all()]
    assert labels[:10] == [f"Example: {label}" for label in range(10)]
    assert "misreads" in labels[10]
    images = page.evaluate("() => samples.map(({ image }) => [...image.data])")
    for picture, image in zip(pixels(page, "#samples canvas"), images, strict=True):
        np.testing.assert_array_equal(picture[:, :, 0].reshape(-1), image)
    assert re.fullmatch(r"ConvNet1, [0-9,]+ parameters\.", page.locator("#about").inner_text())
    assert "half precision, which changes the label of" in page.locator("#cost").inner_text()
    for index in range(10):
        buttons.nth(index).click()
        assert page.locator("#verdict").inner_text().startswith(f"{index}, ")
        assert buttons.nth(index).get_attribute("aria-pressed") == "true"
    buttons.nth(10).click()
    truth = labels[10].split(": ")[1][0]
    assert not page.locator("#verdict").inner_text().startswith(truth)
    assert page.locator("#sample-note").inner_text().startswith(f"Label: {truth}; the network misreads it")
    assert page.locator("#undo").is_disabled()
    page.locator("#clear").click()
    settle(page)
    assert page.locator("#verdict").inner_text() == "Draw something."
    assert page.locator("#sample-note").inner_text() == "A dashed frame: the network misreads it."


def test_a_sample_takes_the_place_of_a_drawing_until_it_is_undone(open_page, page_file):
    page = open_page(page_file)
    draw(page, 3)
    drawn = pictures(page)
    page.locator("#samples button").nth(7).click()
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")
    page.locator("#undo").click()
    settle(page)
    page.mouse.move(0, 0)
    assert pictures(page) == drawn
    assert page.locator("#samples [aria-pressed=true]").count() == 0
    page.locator("#samples button").nth(7).click()
    draw(page, 2)
    assert page.locator("#samples [aria-pressed=true]").count() == 0
    assert page.evaluate("() => strokes.length") == len(STROKES[2])
    page.locator("#samples button").nth(7).click()
    page.locator("#clear").click()
    settle(page)
    assert page.locator("#verdict").inner_text() == "Draw something."


def test_what_a_map_shows_is_seen_from_every_map_of_a_phone(open_page, page_file):
    page = open_page(page_file, viewport={"width": 390, "height": 600}, has_touch=True, is_mobile=True)
    page.locator("#samples button").nth(3).tap()
    for index in (0, 11, 31):
        page.locator(".maps").first.locator("button").nth(index).tap()
        box = page.locator(".detail p").first.bounding_box()
        assert 0 <= box["y"] <= 600 - box["height"]
        assert f"Filter {index + 1} of conv1" in page.locator(".detail").first.inner_text()


def test_the_whole_field_and_the_maps_are_seen_on_low_screens_and_with_large_text(open_page, page_file):
    page = open_page(page_file)
    for width, height in ((667, 375), (640, 450), (390, 700)):
        page.set_viewport_size({"width": width, "height": height})
        box = page.locator("#field").bounding_box()
        assert box["height"] == box["width"] <= 0.75 * height
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    page.locator("#samples button").nth(3).click()
    page.locator(".maps button").nth(11).click()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert page.locator(".detail").first.bounding_box()["height"] <= 0.46 * 740


def test_pointing_at_a_map_moves_nothing_and_escape_chooses_none(open_page, tmp_path, rng):
    layers = [Conv2D(3, 64, 1, rng=rng), Conv2D(64, 8, 3, rng=rng), ReLU(), Affine(8 * 36, 3, rng=rng)]
    model = Sequential(layers, (3, 8, 8))
    webpage.export(model, tmp_path / "page.html", samples=(rng.standard_normal((3, 3, 8, 8)), [0, 1, 2]))
    page = open_page(tmp_path / "page.html", viewport={"width": 800, "height": 900})
    places = "() => [...document.querySelectorAll('.maps, #panels')].map((node) => node.getBoundingClientRect().height)"
    before = page.evaluate(places)
    for panel in (0, 1):
        page.locator(".maps").nth(panel).locator("button").nth(2).hover()
        assert page.locator(".filter canvas").count() == (3, 64)[panel]
        assert page.evaluate(places) == before
    page.locator(".maps").nth(1).locator("button").nth(2).focus()
    page.keyboard.press("Escape")
    assert page.locator(".field-mark, .filter, .maps [aria-pressed=true]").count() == 0


def test_marks_keep_their_colours_where_others_are_forced(open_page, page_file):
    page = open_page(page_file, forced_colors="active", color_scheme="light")
    page.locator("#samples button").nth(3).click()
    page.locator(".maps button").nth(3).hover()
    assert page.locator(".field-mark").evaluate("(mark) => getComputedStyle(mark).borderTopColor") == "rgb(179, 38, 30)"


# Text on its ground; WCAG 2.2 asks for 4.5, and for 3 of what is no text.
CONTRAST = """() => {
    const luminance = (name) => {
        const parts = colour(name).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const ratio = (a, b) => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    return {
        text: ["--text", "--quiet", "--winner"].flatMap((name) => ["--ground", "--panel"].map((on) => ratio(name, on))),
        other: ["--bar", "--focus", "--ink", "--least", "--line"].map((name) => ratio(name, "--ground")),
        borders: ratio("--line", "--panel"),
    };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_contrast(open_page, page_file, scheme):
    page = open_page(page_file, color_scheme=scheme)
    found = page.evaluate(CONTRAST)
    assert min(found["text"]) >= 4.5
    assert min(*found["other"], found["borders"]) >= 3
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_follows_the_system_from_light_to_dark(open_page, page_file):
    page = open_page(page_file, color_scheme="light")
    draw(page, 3)
    ground = """() => [...document.querySelectorAll(".maps canvas")].map((canvas) =>
        context_of(canvas).getImageData(0, 0, 1, 1).data[0])"""
    light = pictures(page)
    assert 0xFF in page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    settle(page)
    assert set(page.evaluate(ground)) >= {0x14}
    assert not {0xFF} & set(page.evaluate(ground))
    page.emulate_media(color_scheme="light")
    settle(page)
    assert pictures(page) == light


def test_fits_the_width_of_the_screen(open_page, page_file):
    page = open_page(page_file)
    page.locator("#samples button").first.click()
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_colours_other_channels_and_other_sizes(open_page, tmp_path, rng):
    for channels, size in ((3, (12, 10)), (1, (8, 8)), (1, (40, 30)), (2, (9, 9))):
        images = rng.integers(0, 256, (40, *size, channels), np.uint8)
        labels = np.arange(40) % 3
        data, statistics = convnet.preprocess(images, labels, images, labels, num_validation=2, num_test=5)
        h, w = data["x_train"].shape[2:]
        conv = Conv2D(channels, 4, 3, padding=1, rng=rng)
        model = Sequential([conv, ReLU(), MaxPool2D(2), Affine(4 * (h // 2) * (w // 2), 3, rng=rng)], (channels, h, w))
        model.statistics = statistics
        model.class_names = ["</script><b>", "two", "three"]
        path = tmp_path / f"{channels}.html"
        webpage.export(model, path, samples=(images, labels))
        page = open_page(path)
        agree(scores_of_images(page, images), model.scores(statistics.apply(images)))
        for index in range(3):
            page.locator("#samples button").nth(index).click()
            pixel_values = np.array(page.evaluate("() => [...samples[sample].image.data]")).reshape(channels, h, w)
            wanted = (
                coloured(page, np.concatenate(pixel_values, axis=1), pixel_values.max())
                if channels == 2
                else np.broadcast_to(pixel_values.transpose(1, 2, 0), (h, w, 3))
            )
            np.testing.assert_allclose(pixels(page, "#image")[0], wanted, atol=1)
            chosen = pixel_values.transpose(1, 2, 0)[np.newaxis].astype(np.uint8)
            check_panels(page, model, statistics.apply(chosen))
        assert page.locator("#field").count() == (channels == 1)
        if channels == 1:
            draw(page, 2)
            assert page.locator("#image").evaluate("(canvas) => [canvas.width, canvas.height]") == [w, h]
        assert page.locator("#bars li span").first.inner_text() == "</script><b>"
        page.locator(".maps button").nth(1).hover()
        assert page.locator(".field-mark").count() in (0, 2 if channels == 2 else 1)


def test_the_policy_stops_requests(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    script = """async () => {
        const stopped = [];
        document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
        await fetch("https://example.org/").catch(() => null);
        const [image, script, style] = ["img", "script", "style"].map((tag) => document.createElement(tag));
        image.src = "https://example.org/a.png";
        script.textContent = "window.ran = true";
        style.textContent = "body { display: none }";
        document.body.append(image, script, style);
        for (let i = 0; i < 100 && stopped.length < 4; i++) await new Promise((done) => setTimeout(done, 50));
        return [stopped.toSorted(), window.ran ?? false];
    }"""
    assert page.evaluate(script) == [["connect-src", "img-src", "script-src-elem", "style-src-elem"], False]
    page.close()


# ------------------------------------------------------------------------------------ samples, keys, what is read out


def test_a_page_without_samples_draws_and_complains_of_nothing(open_page, tmp_path, mnist, rng):
    model = Sequential([Affine(784, 100, rng=rng)], (1, 28, 28))
    model.statistics = convnet.preprocess(*mnist, num_test=1)[1]
    webpage.export(model, tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    draw(page, 7)
    assert "%" in page.locator("#verdict").inner_text()
    assert not page.locator("#try").is_visible()


def test_a_sample_chosen_at_once_stays(open_page, page_file):
    page = open_page(page_file)
    draw(page, 3)
    # Chosen before the drawing's frame is due, and looked at after it.
    page.evaluate("""() => {
        field.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp" }));
        document.querySelectorAll("#samples button")[7].click();
    }""")
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")
    page.locator("#field").focus()
    page.keyboard.press("ArrowUp")  # moves the pen alone
    settle(page)
    assert page.locator("#verdict").inner_text().startswith("7, ")


def test_a_key_held_down_counts_once_and_the_browsers_keys_stay_its_own(open_page, page_file):
    page = open_page(page_file)
    page.locator("#field").focus()
    for _ in range(4):
        page.keyboard.down(" ")
    page.keyboard.up(" ")
    assert page.evaluate("() => [strokes.length, pen.down]") == [1, True]
    prevented = """() => {
        const event = new KeyboardEvent("keydown", {key: "ArrowLeft", altKey: true, cancelable: true, bubbles: true});
        document.activeElement.dispatchEvent(event);
        return event.defaultPrevented;
    }"""
    assert not page.evaluate(prevented)
    page.locator(".maps button").first.focus()
    assert not page.evaluate(prevented)


def test_nothing_is_read_out_before_a_stroke_is_done(open_page, page_file):
    page = open_page(page_file)
    busy = "() => ['#verdict', '.detail'].map((name) => document.querySelector(name).ariaBusy)"
    page.locator("#field").focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert page.evaluate(busy) == ["true", "true"]
    page.keyboard.press(" ")
    settle(page)
    assert page.evaluate(busy) == ["false", "false"]


def test_too_much_ink_is_said(open_page, page_file):
    page = open_page(page_file)
    page.evaluate("() => { strokes = [...Array(40).keys()].map((i) => [[0, 7 * i], [256, 7 * i]]); update(); }")
    assert page.locator("#verdict").inner_text() == "Nothing stands out: there is too much ink."


def test_ctrl_z_undoes_and_the_keyboard_stays_in_the_field(open_page, page_file):
    page = open_page(page_file)
    draw(page, 4)
    page.keyboard.press("Control+z")
    settle(page)
    assert page.evaluate("() => strokes.length") == 1
    page.locator("#clear").click()
    settle(page)
    assert page.evaluate("() => document.activeElement.id") == "field"
    assert page.locator("#verdict").inner_text() == "Draw something."
